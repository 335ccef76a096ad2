"""Knowledge bases of one's own, living and current: what that issue must show."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from acceptance.steps import WORK, Step, run

TITLE = "Knowledge bases: built, changed, killed"
# A dump of a million items is 0.5 GB, and takes a quarter of an hour. ACCEPTANCE_ITEMS asks for another number.
ITEMS = os.environ.get("ACCEPTANCE_ITEMS", "1000000")
_SETS = {"wikimel": ("ghmfc", 18_880), "richpedia": ("ghmfc", 17_805), "wikidiverse": ("kgmel", 20_844)}
_LIMIT_S = 20.0


def run_all(say: Callable[[str], None]) -> str:
    """Run all steps and return the results page."""
    builds = {name: run(_build(name, form), say) for name, (form, _) in _SETS.items()}
    changes = run(_step("benchmarks", "kb_changes"), say)
    survival = run(_step("experiments", "kb_survival"), say)
    options = ("--items", ITEMS, "--suffix", ".json.gz", "--names", "--kills", "3")
    dump = run(_step("benchmarks", "wikidata_dump", str(WORK / "wikidata-dump"), *options), say)
    texts = run(Step("kb-texts", ["python", "-m", "pytest", "-q", "tests/sources"]), say)
    representations = run(_step("experiments", "representations", "--work", str(WORK / "representations")), say)
    rows = [_built(name, record) for name, record in builds.items()]
    return "\n\n".join(
        [
            _table("Built from published files, names indexed", rows),
            _text_rows(representations),
            _shown("From adding an entity to finding it", changes),
            _shown("Changed ten thousand times by a process that is killed", survival),
            _shown("A dump of Wikidata's form", dump),
            _shown("Markup, web service, RDF, odd items", texts),
        ]
    )


def _build(name: str, form: str) -> Step:
    out = WORK / f"kb-{name}"
    shutil.rmtree(out, ignore_errors=True)  # what is done again starts from nothing
    source = str(Path(os.environ.get("DUALWAY_REALDATA", "../shared/realdata")) / name)
    return Step(f"kb-{name}", ["dualway", "kb", "build", source, "--from", form, "--out", str(out), "--quiet"])


def _step(package: str, name: str, *options: str) -> Step:
    out = WORK / f"{name}.out.json"
    return Step(f"{package}-{name}", ["python", "-m", f"{package}.{name}", *options, "--json", str(out)], result=out)


def _built(name: str, record: dict[str, Any]) -> str:
    words = record["stdout"].splitlines()
    wanted = f"{_SETS[name][1]:,} entities"
    holds = wanted in words[0] and record["seconds"] < _LIMIT_S
    shared = next(line for line in words if line.startswith("homonyms")).removeprefix("homonyms").strip()
    return (
        f"| {name} | {wanted}, {shared} | {record['seconds']} s | {'yes' if holds else 'NO'} | `{record['command']}` |"
    )


def _table(title: str, rows: list[str]) -> str:
    return "\n".join(
        [
            f"## {title}",
            "",
            "| Data | Entities | Whole command | All, in under 20 s | Command |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def _text_rows(record: dict[str, Any]) -> str:
    """Return the table of trainings that differ in what stands for an entity; it is written as a table already."""
    found = record["stdout"].strip()
    return f"## What text stands for an entity\n\n`{record['command']}`, {record['seconds']:,} s:\n\n{found}"


def _shown(title: str, record: dict[str, Any]) -> str:
    return f"## {title}\n\n`{record['command']}`, {record['seconds']:,} s:\n\n```text\n{record['stdout'].strip()}\n```"
