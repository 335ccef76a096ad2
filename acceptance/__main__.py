"""`python -m acceptance`: run what is missing and write the dated results page."""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
from importlib import metadata
from pathlib import Path

from benchmarks.machine import describe_machine

from acceptance import knowledge_bases, main_job, seeing, world
from acceptance.steps import WORK
from dualway.storage import write_text

PARTS = {"main-job": main_job, "world": world, "seeing": seeing, "knowledge-bases": knowledge_bases}


def main() -> None:
    """Run the parts; a killed run goes on where it was."""
    parser = argparse.ArgumentParser(description="Run every promised figure in full and write docs/results/.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--fresh", action="store_true", help="forget what was done before")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown part {unknown.pop()!r}; choose from {', '.join(PARTS)}")
    if options.fresh:
        shutil.rmtree(WORK, ignore_errors=True)
    today = datetime.date.today().isoformat()
    for name in options.parts or PARTS:
        part = PARTS[name]
        body = part.run_all(lambda line: print(line, file=sys.stderr, flush=True))
        path = Path("docs") / "results" / f"{today}-{name}.md"
        write_text(path, f"# {part.TITLE}\n\n{_setting(today)}\n\n{body}\n")
        print(path)


def _setting(today: str) -> str:
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in ("dualway", "torch", "transformers"))
    return f"{today}. {describe_machine()}. {versions}. Written by `make acceptance`."


if __name__ == "__main__":
    main()
