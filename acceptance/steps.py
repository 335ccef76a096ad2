"""A step: a command whose result is a JSON file; done once, redone when its command changes or on --fresh."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualway.storage import write_json

WORK = Path(".acceptance")


@dataclass(frozen=True)
class Step:
    """One command of the acceptance run.

    Attributes:
        name: Name of its record under .acceptance/.
        command: Arguments, without `dualway` or `python` path: ["dualway", ..] or ["python", ..].
        result: JSON file that the command writes; None keeps its stdout.
        skip_if: A path whose existence means that the command's work is done.
    """

    name: str
    command: Sequence[str]
    result: Path | None = None
    skip_if: Path | None = None

    @property
    def shown(self) -> str:
        """The command as a person types it."""
        return " ".join(f"'{part}'" if " " in part else part for part in self.command)


def run(step: Step, say: Callable[[str], None]) -> dict[str, Any]:
    """Run a step, or return its record of an earlier run.

    Raises:
        SystemExit: The command failed; its output is shown. The next run goes on here.
    """
    path = WORK / f"{step.name}.json"
    if path.is_file():
        record = json.loads(path.read_text())
        if record["command"] == step.shown:
            say(f"{step.name}: done before")
            return record
    if step.skip_if is not None and step.skip_if.exists():
        record = {"command": step.shown, "seconds": 0.0, "stdout": "", "result": None}
    else:
        record = _execute(step, say)
    write_json(path, record)
    return record


def _execute(step: Step, say: Callable[[str], None]) -> dict[str, Any]:
    say(f"{step.name}: {step.shown}")
    binary = Path(sys.executable).parent
    program = sys.executable if step.command[0] == "python" else str(binary / step.command[0])
    start = time.perf_counter()
    done = subprocess.run([program, *step.command[1:]], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{step.name} failed with exit code {done.returncode}\n{done.stdout}")
    return {
        "command": step.shown,
        "seconds": round(time.perf_counter() - start, 1),
        "exit_code": done.returncode,
        "stdout": done.stdout[-20000:],
        "result": None if step.result is None else json.loads(step.result.read_text()),
    }
