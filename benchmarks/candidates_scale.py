"""The index of names by size: building, opening, searching, and taking in a change.

    python -m benchmarks.candidates_scale [--sizes 18000,100000,1000000] [--json FILE]

Names are generated: a first name of a thousand, a last name of twenty thousand, drawn with a long tail, and now and
then a third word of its own. A mention is such a name, half of them without the first word, in a caption of twenty
words. Each size has a process of its own; the index is written to a temporary folder and mapped from there.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.machine import describe_machine
from dualway.candidates.name_store import write_segments
from dualway.candidates.names import NameIndex
from dualway.schema import Mention

K = 100
_SYLLABLES = np.array([consonant + vowel for consonant in "bcdfghjklmnprstvwz" for vowel in ("a", "e", "i", "on", "u")])


def main() -> None:
    """Run all sizes and print their figures."""
    parser = argparse.ArgumentParser(description="The index of names by size.")
    parser.add_argument("--sizes", default="18000,100000,1000000")
    parser.add_argument("--mentions", type=int, default=500)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(describe_machine())
    results = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for result in pool.map(partial(measure, num_mentions=options.mentions), map(int, options.sizes.split(","))):
            results.append(result)
            print(", ".join(f"{name} {value:,.3f}" for name, value in result.items()))
    if options.json:
        options.json.write_text(json.dumps({"machine": describe_machine(), "sizes": results}, indent=1) + "\n")


def measure(size: int, num_mentions: int) -> dict[str, float]:
    """Return the figures of one size."""
    chance = np.random.default_rng(0)
    names = generated(size, chance)
    ids = [f"Q{number}" for number in chance.permutation(size * 2)[:size].tolist()]
    keys, revisions = np.arange(size, dtype=np.int64), np.ones(size, dtype=np.int64)
    before = peak_mb()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        build_s, files = timed(lambda: write_segments(folder, zip(range(size), names, [()] * size), revision=1))
        build_mb = peak_mb() - before
        open_s, index = timed(lambda: NameIndex.open(folder, keys, revisions, ids, lambda rows: []))
        mentions = [said(name, names, chance) for name in names[:num_mentions]]
        index.search(mentions[:50], K)
        search_s, lists = timed(lambda: index.search(mentions, K))
        score_s, _ = timed(lambda: index.score([mention.surface for mention in mentions], lists.rows))
        changes = []
        for number in range(30):
            keys, revisions = np.append(keys, size + number), np.append(revisions, number + 2)
            ids = [*ids, f"N{number}"]
            added = [(f"Newly Added {number}", ())]
            apply_s, index = timed(partial(index.apply, keys, revisions, ids, lambda rows, names=added: names))
            changes.append(apply_s)
    return {
        "strings": size,
        "build_us_a_string": 1e6 * build_s / size,
        "build_peak_mb": build_mb,
        "on_disk_mb": sum(file.size for file in files) / 1e6,
        "open_s": open_s,
        "search_ms_a_mention": 1e3 * search_s / num_mentions,
        "score_ms_a_mention": 1e3 * score_s / num_mentions,
        "add_ms_median": 1e3 * statistics.median(changes),
        "add_ms_max": 1e3 * max(changes),
    }


def generated(size: int, chance: np.random.Generator) -> list[str]:
    """Return names, some of them of several entities."""
    first = _words(1_000, chance)[_long_tail(1_000, size, chance)]
    last = _words(20_000, chance)[_long_tail(20_000, size, chance)]
    third = np.where(chance.random(size) < 0.2, _words(size, chance), "")
    return [" ".join(filter(None, parts)) for parts in zip(first.tolist(), third.tolist(), last.tolist())]


def said(name: str, names: list[str], chance: np.random.Generator) -> Mention:
    """Return a mention of a name."""
    surface = name if chance.random() < 0.5 else name.split()[-1]
    around = " ".join(names[i].split()[0] for i in chance.integers(0, len(names), 20))
    return Mention(f"{surface} and {around}", surface)


def _words(number: int, chance: np.random.Generator) -> np.ndarray:
    parts = _SYLLABLES[chance.integers(0, len(_SYLLABLES), (number, 3))]
    return np.char.title(np.char.add(np.char.add(parts[:, 0], parts[:, 1]), parts[:, 2]))


def _long_tail(number: int, size: int, chance: np.random.Generator) -> np.ndarray:
    return (number * chance.random(size) ** 2).astype(np.int64)


def timed(work):
    """Return seconds and result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def peak_mb() -> float:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
