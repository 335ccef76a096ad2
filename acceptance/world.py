"""The generated world, the demo, and every file format: what that issue must show."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from acceptance.steps import WORK, Step, run

TITLE = "The generated world, the demo, and every file format"
_FULL = "paper"
_BEATEN = ("paper, no picture", "paper, whole picture", "lexical")
_DEMO_LIMIT_S = 360


def run_all(say: Callable[[str], None]) -> str:
    """Run all steps and return the results page."""
    with _empty_cache():
        demo = run(Step("demo", ["dualway", "demo", "--out", str(WORK / "demo"), "--json", "-q"]), say)
    world = run(_experiment("world", "--json", str(WORK / "world.out.json"), result=True), say)
    switches = run(_experiment("switches"), say)
    detector = run(_experiment("detector"), say)
    formats = run(
        Step("formats", ["python", "-m", "pytest", "-q", "tests/datasets", "tests/features", "tests/cli", "-n", "2"]),
        say,
    )
    parts = [
        _promises(demo, world),
        _shown("The worlds", world),
        _shown("Every switch, trained once", switches),
        _shown("The weight-free detector", detector),
        "\n".join(["## Formats, feature files, commands", "", "```", f"$ {formats['command']}", _last(formats), "```"]),
    ]
    return "\n\n".join(parts)


@contextmanager
def _empty_cache() -> Generator[None]:
    """Let no vector of an earlier run be found, as on a fresh machine."""
    before = os.environ.get("DUALWAY_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DUALWAY_CACHE"] = folder
        try:
            yield
        finally:
            os.environ.pop("DUALWAY_CACHE")
            if before is not None:
                os.environ["DUALWAY_CACHE"] = before


def _experiment(name: str, *arguments: str, result: bool = False) -> Step:
    work = [] if name == "detector" else ["--work", str(WORK / f"experiment-{name}")]
    out = WORK / f"{name}.out.json" if result else None
    return Step(f"experiment-{name}", ["python", "-m", f"experiments.{name}", *work, *arguments], result=out)


def _promises(demo: dict[str, Any], world: dict[str, Any]) -> str:
    """Return the table of what must hold.

    Raises:
        SystemExit: Something does not; the table is shown.
    """
    rows = [("`dualway demo` in at most 6 minutes", f"{demo['seconds']:.0f} s", demo["seconds"] <= _DEMO_LIMIT_S)]
    main = _comparisons(world["result"]["main"])
    for system in _BEATEN:
        rows.append((f"main world: `{_FULL}` beats `{system}`", _difference(main[system]), main[system]["high"] < 0))
    text = _comparisons(world["result"]["text-decidable"])
    swapped, without = text["paper, pictures swapped"], text["paper, no picture"]
    rows.append(
        (
            "text-decidable world, added question: another picture changes nothing for the trained model",
            _difference(swapped),
            _holds_zero(swapped),
        )
    )
    known = ("text-decidable world: training with pictures changes nothing", _difference(without))
    lines = ["## Promises", "", "| promise | other minus `paper`, points [95 %, paired] | holds |", "|---|---|---|"]
    lines += [f"| {promise} | {measured} | {'yes' if holds else 'NO'} |" for promise, measured, holds in rows]
    lines.append(f"| {known[0]} | {known[1]} | {'yes' if _holds_zero(without) else 'NO: docs/world.md says why'} |")
    page = "\n".join(lines)
    if not all(holds for _, _, holds in rows):
        raise SystemExit(f"{page}\n\na promise is not kept")
    return page


def _holds_zero(found: dict[str, Any]) -> bool:
    return found["low"] <= 0 <= found["high"]


def _comparisons(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {found["system"]: found for found in report["protocols"]["top100"]["comparisons"]}


def _difference(found: dict[str, Any]) -> str:
    return f"{100 * found['difference']:+.1f} [{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"


def _shown(title: str, record: dict[str, Any]) -> str:
    return f"## {title}\n\n{record['stdout'].strip()}\n\n```\n$ {record['command']}\n```"


def _last(record: dict[str, Any]) -> str:
    return next((line for line in reversed(record["stdout"].splitlines()) if " passed" in line), "")
