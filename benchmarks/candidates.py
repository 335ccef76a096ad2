"""Candidate search against the paper's retriever, in the same run.

    python -m benchmarks.candidates [--rounds 5] [--per-round 20] [--json FILE]

Ours (NameIndex.search, k = 100, arrays out) answers every WikiMEL dev mention; fuzzywuzzy 0.18 (`process.extract`,
default scorer, limit 100, with python-Levenshtein) answers a few mentions a round, since it takes about half a second
each. Both see the same 18,880 names. The rounds alternate, and the ratio is taken round by round. Recall@100 of ours
is over all dev mentions; that of fuzzywuzzy over the mentions it was asked, beside ours on the same ones. The
variant "names only" leaves the caption's words out, as fuzzywuzzy does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.machine import describe_machine
from dualway.candidates.names import NameIndex
from dualway.datasets import open_dataset
from dualway.datasets.entities import read_entities
from dualway.schema import Mention

K = 100


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description="Candidate search against fuzzywuzzy 0.18, in one run.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--per-round", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = compare(options.rounds, options.per_round)
    print(describe(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def compare(rounds: int, per_round: int) -> dict[str, object]:
    """Return timings, ratios and recalls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fuzzywuzzy import fuzz, process
    if fuzz.SequenceMatcher.__module__.startswith("difflib"):
        raise SystemExit("fuzzywuzzy runs without python-Levenshtein: pip install python-Levenshtein")
    folder = realdata() / "wikimel"
    entities, _ = read_entities(folder, "ghmfc")
    dev = open_dataset(folder, "dev")
    index = NameIndex([e.id for e in entities], [e.name for e in entities])
    names = {entity.id: entity.name for entity in entities}
    row_of = {entity.id: row for row, entity in enumerate(entities)}
    gold = np.array([row_of[dev.gold[m.id]] for m in dev.mentions])
    bare = [replace(mention, text=mention.surface, start=0) for mention in dev.mentions]
    sample = np.random.default_rng(0).permutation(len(dev.mentions))[: rounds * per_round]
    index.search(dev.mentions[:200], K)  # warm-up
    ours, ours_bare, theirs, theirs_hits = [], [], [], 0
    for number in range(rounds):
        ours.append(per_mention(index, dev.mentions))
        ours_bare.append(per_mention(index, bare))
        asked = sample[number * per_round : (number + 1) * per_round].tolist()
        start = time.perf_counter()
        answers = [process.extract(dev.mentions[i].surface, names, limit=K) for i in asked]
        theirs.append((time.perf_counter() - start) / per_round)
        theirs_hits += sum(dev.gold[dev.mentions[i].id] in {a[2] for a in answer} for i, answer in zip(asked, answers))
    hits, hits_bare = found(index, dev.mentions, gold), found(index, bare, gold)
    return {
        "machine": describe_machine(),
        "names": len(entities),
        "mentions": len(dev.mentions),
        "rounds": rounds,
        "asked_of_fuzzywuzzy": len(sample),
        "ours": side(ours, theirs, hits, sample),
        "ours_names_only": side(ours_bare, theirs, hits_bare, sample),
        "fuzzywuzzy": {
            "ms_a_mention": 1e3 * statistics.median(theirs),
            "recall_at_100_asked": theirs_hits / len(sample),
        },
    }


def per_mention(index: NameIndex, mentions: list[Mention]) -> float:
    """Return seconds a mention of one search over all mentions."""
    start = time.perf_counter()
    index.search(mentions, K)
    return (time.perf_counter() - start) / len(mentions)


def found(index: NameIndex, mentions: list[Mention], gold: np.ndarray) -> np.ndarray:
    """Tell for each mention whether gold is among its candidates."""
    return (index.search(mentions, K).rows == gold[:, None]).any(axis=1)


def side(ours: list[float], theirs: list[float], hits: np.ndarray, sample: np.ndarray) -> dict[str, float]:
    """Return one variant's figures beside fuzzywuzzy's of the same rounds."""
    ratios = [b / a for a, b in zip(ours, theirs)]
    return {
        "ms_a_mention": 1e3 * statistics.median(ours),
        "times_the_throughput": statistics.median(ratios),
        "times_min": min(ratios),
        "times_max": max(ratios),
        "recall_at_100": float(hits.mean()),
        "recall_at_100_asked": float(hits[sample].mean()),
    }


def realdata() -> Path:
    """Return the folder of real data."""
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "realdata"
    return Path(os.environ.get("DUALWAY_REALDATA", default))


def describe(result: dict[str, object]) -> str:
    """Return the figures for people."""
    lines = [f"{result['machine']}", f"{result['names']:,} names, {result['mentions']:,} mentions, k = {K}"]
    for name in ("ours", "ours_names_only"):
        figures = result[name]
        lines.append(
            f"{name:16} {figures['ms_a_mention']:.4f} ms a mention, recall@100 {figures['recall_at_100']:.4f}, "
            f"{figures['times_the_throughput']:,.0f} times fuzzywuzzy's throughput "
            f"({figures['times_min']:,.0f} to {figures['times_max']:,.0f} over the rounds)"
        )
    other = result["fuzzywuzzy"]
    lines.append(
        f"fuzzywuzzy       {other['ms_a_mention']:.1f} ms a mention, recall@100 {other['recall_at_100_asked']:.4f} "
        f"on the {result['asked_of_fuzzywuzzy']} mentions asked "
        f"(ours on them {result['ours']['recall_at_100_asked']:.4f})"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
