"""From adding an entity to finding it, in a knowledge base that is in use.

    python -m benchmarks.kb_changes [--entities 100000] [--changes 300] [--json FILE]

A knowledge base of generated names is built once; an index is open on it. Each change is one revision of its own,
published on disk, after which the index has followed and a search by the new name finds it: the time is from the call
to the answer of that search. By turns one entity is added, one changed, one removed. Beside it in the same run, what
following replaces: opening the knowledge base and building its index of names anew.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.candidates_scale import generated
from benchmarks.machine import describe_machine
from dualway.index.living import Index
from dualway.index.names import index_names
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Mention, Representation

LIMIT_MS = 50.0


def main() -> None:
    """Run the measurement and print it."""
    parser = argparse.ArgumentParser(description="From adding an entity to finding it.")
    parser.add_argument("--entities", type=int, default=100_000)
    parser.add_argument("--changes", type=int, default=300)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = measure(options.entities, options.changes)
    print(describe(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def measure(num_entities: int, num_changes: int) -> dict[str, object]:
    """Return the times in milliseconds, by what was done."""
    names = generated(num_entities + num_changes, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "kb"
        start = time.perf_counter()
        KnowledgeBase.create(folder, map(entity, range(num_entities), names)).close()
        index_names(folder)
        build_s = time.perf_counter() - start
        index, open_s = timed(lambda: Index.open(folder))
        fresh, anew_s = timed(lambda: anew(folder))
        del fresh
        times: dict[str, list[float]] = {"add": [], "change": [], "remove": []}
        for number in range(num_changes):
            what = ("add", "change", "remove")[number % 3]
            act = partial(change, index, what, num_entities + number, names[num_entities + number])
            found, seconds = timed(act)
            if not found:
                raise SystemExit(f"{what} {number}: a search does not show it")
            times[what].append(seconds * 1000)
        index.close()
    return {
        "machine": describe_machine(),
        "entities": num_entities,
        "build_s": round(build_s, 2),
        "open_s": round(open_s, 3),
        "anew_ms": round(anew_s * 1000, 1),
        "changes": {
            what: {
                "n": len(values),
                "median_ms": round(statistics.median(values), 2),
                "p95_ms": round(float(np.percentile(values, 95)), 2),
                "max_ms": round(max(values), 2),
            }
            for what, values in times.items()
        },
        "limit_ms": LIMIT_MS,
        "within": all(max(values) < LIMIT_MS for values in times.values()),
    }


def change(index: Index, what: str, number: int, name: str) -> bool:
    """Make one change, search, and tell whether the answer shows it."""
    marked = f"{name} {'abcdefghij'[number % 10]}{number}"
    target = f"Q{number % 1000 + (0 if what == 'change' else 5000)}"
    if what == "add":
        index.add([entity(number, marked)])
    elif what == "change":
        index.update([replace(index.snapshot.kb.entity(target), name=marked)])
    else:
        marked = index.snapshot.kb.names[index.snapshot.kb.row(target)]
        index.remove([target])
    snapshot = index.snapshot
    rows = snapshot.search([Mention(f"{marked} at the premiere", marked)], 10).rows[0]
    ids = [snapshot.kb.ids[row] for row in rows.tolist() if row >= 0]
    return target not in ids if what == "remove" else (f"Q{number}" if what == "add" else target) in ids


def entity(number: int, name: str) -> Entity:
    """Return an entity with a text as long as a short description."""
    text = f"{name} is known for what number {number} is known for, and was born in a place of that name."
    return Entity(f"Q{number}", name, types=("human",), representations=(Representation("static", text),))


def anew(folder: Path) -> int:
    """Open everything without an index on disk, as every change would ask for without following."""
    from dualway.candidates.names import NameIndex

    with KnowledgeBase.open(folder) as kb:
        return len(NameIndex(kb.ids, kb.names, kb.aliases))


def timed(call):
    """Return what a call returns, and how many seconds it took."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def describe(result) -> str:
    """Return the figures for people."""
    lines = [
        result["machine"],
        f"{result['entities']:,} entities: built with names in {result['build_s']} s, opened in {result['open_s']} s, "
        f"opened with names indexed anew in {result['anew_ms']:,} ms",
        "from the call to the answer of a search, in ms:",
        *(
            f"  {what:<7} n {n:>4}  median {median:>6.2f}  p95 {p95:>6.2f}  max {most:>6.2f}"
            for what, (n, median, p95, most) in ((w, v.values()) for w, v in result["changes"].items())
        ),
        f"all under {result['limit_ms']:.0f} ms: {'yes' if result['within'] else 'NO'}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
