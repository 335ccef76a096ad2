"""Calls of the command line, in this process or in one of its own, and files for them."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import dualway.cli

# (caption, mention, entity): four scripts, a homonym, NIL, and an entity that the knowledge base lacks.
LINKS = [
    ("Foster with co-star Mel Gibson", "Foster", "Q1"),
    ("Foster with co-star Mel Gibson", "Mel Gibson", "Q4"),
    ("Foster saves a goal", "Foster", "Q3"),
    ("Gretzky on the ice", "Gretzky", "Q5"),
    ("Jones at home", "Jones", "Q6"),
    ("Shostakovich at the piano", "Shostakovich", "Q11"),
    ("Silva swims", "Silva", "Q10"),
    ("صلاح scores", "صلاح", "Q8"),
    ("Fans in 東京", "東京", "Q9"),
    ("Nobody here", "Nobody", None),
    ("A stranger", "stranger", "Q999"),
]


class Done(NamedTuple):
    """What a call of the command line left: its exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout; NaN and Infinity are refused, as strict readers do."""
        return parse(self.out)


def parse(text: str) -> Any:
    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def read_lines(path: Path) -> list[Any]:
    return [parse(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_lines(path: Path, records: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def listing(folder: Path) -> set[str]:
    """Everything below a folder, hidden files too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def call(*arguments: object) -> Done:
    """Run the command line inside this process."""
    out, err = io.StringIO(), io.StringIO()
    before, code = sys.argv, 0
    sys.argv = ["dualway", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            dualway.cli.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = before
    done = Done(code, out.getvalue(), err.getvalue())
    assert "Traceback" not in done.err, done.err
    return done


def spawn(*arguments: object, shell: str = 'exec "$@"', **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own, under a line of shell in which "$@" is the command."""
    command = ["sh", "-c", shell, "sh", *COMMAND, *map(str, arguments)]
    settings = {"capture_output": True, "timeout": 120, **settings}
    return subprocess.run(command, text=True, encoding="utf-8", check=False, **settings)


COMMAND = [sys.executable, "-c", "from dualway.cli import main; main()"]
