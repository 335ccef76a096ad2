"""What an evaluation found, as records; `to_dict` is the machine's form, `tables.format_report` the one for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dualway.evaluation.protocol import Protocol
from dualway.evaluation.significance import Comparison
from dualway.metrics import DoubleArray, Estimate, RankCounts, SeedSummary, hits_at_k
from dualway.schema import Fingerprint


@dataclass(frozen=True)
class SystemResult:
    """One row: a system under one protocol.

    Attributes:
        system: Its name.
        metrics: Every metric of `metrics.METRICS`, averaged over the runs, with the interval over mentions.
        seeds: The same metrics over the runs (seeds); empty for a single run.
        per_run: The values of each run.
        tie_rules: T@1 under each tie rule, whichever the protocol uses: they differ where gold's score is tied.
        num_tied: Mentions whose gold is tied with another candidate (mean over the runs).
        unseen: T@1 on the mentions whose caption is not a training caption; None when that is all or none of them.
        seconds: Time spent in the system's `score`, all runs together.
        mentions_per_second: Of one run.
        counts: Per run, how the candidates of every mention stand to gold.
        notes: Remarks a reader should see, such as scores that change with the batch.
    """

    system: str
    metrics: Mapping[str, Estimate]
    seeds: Mapping[str, SeedSummary]
    per_run: Sequence[Mapping[str, float]]
    tie_rules: Mapping[str, float]
    num_tied: float
    unseen: Estimate | None
    seconds: float
    mentions_per_second: float
    counts: Sequence[RankCounts] = field(repr=False)
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        row: dict[str, Any] = {"system": self.system, "runs": len(self.per_run), "metrics": {}}
        for name, estimate in self.metrics.items():
            row["metrics"][name] = estimate_dict(estimate)
            if name in self.seeds:
                summary = self.seeds[name]
                row["metrics"][name]["seeds"] = {
                    "mean": number(summary.mean),
                    "std": number(summary.std),
                    "low": number(summary.low),
                    "high": number(summary.high),
                }
        row["per_run"] = [{name: number(value) for name, value in run.items()} for run in self.per_run]
        row["hits@1_by_tie_rule"] = dict(self.tie_rules)
        row["tied_with_gold"] = self.num_tied
        row["hits@1_unseen_captions"] = None if self.unseen is None else estimate_dict(self.unseen)
        row["seconds"], row["mentions_per_second"] = self.seconds, self.mentions_per_second
        row["notes"] = list(self.notes)
        return row


@dataclass(frozen=True)
class ProtocolResult:
    """One table: all systems under one protocol.

    Attributes:
        protocol: The protocol.
        mention_ids: The evaluated mentions, in the order of the systems' counts.
        num_captions: Distinct captions among them; the bootstrap draws captions.
        num_unseen: Evaluated mentions whose caption is not a training caption.
        num_nil: Mentions left out because they have no entity.
        num_gold_outside_kb: See `protocol.Case`.
        num_missed: Evaluated mentions whose gold was not among their candidates: no hit for any system.
        recall: Share of the evaluated mentions that retrieval found, before gold was put in.
        num_candidates: Mean number of candidates a mention.
        chance: T@1 of a constant scorer with ties averaged.
        systems: The rows, in the order given.
        comparisons: T@1 of each system against the baseline; empty without a baseline.
    """

    protocol: Protocol
    mention_ids: Sequence[str] = field(repr=False)
    num_captions: int
    num_unseen: int
    num_nil: int
    num_gold_outside_kb: int
    num_missed: int
    recall: Estimate
    num_candidates: float
    chance: float
    systems: Sequence[SystemResult]
    comparisons: Sequence[Comparison] = ()

    def hits(self) -> dict[str, DoubleArray]:
        """Return each system's per-mention hit at 1 under the protocol's tie rule, averaged over its runs."""
        return {s.system: mean_hits(s.counts, self.protocol) for s in self.systems}

    def to_dict(self) -> dict[str, Any]:
        """Return the table as JSON values."""
        return {
            "candidates": self.protocol.num_candidates,
            "gold_added": self.protocol.gold_added,
            "ties": self.protocol.ties,
            "description": self.protocol.description,
            "mentions": len(self.mention_ids),
            "captions": self.num_captions,
            "nil": self.num_nil,
            "gold_outside_kb": self.num_gold_outside_kb,
            "misses": self.num_missed,
            "candidate_recall": estimate_dict(self.recall),
            "mean_candidates": self.num_candidates,
            "chance": self.chance,
            "unseen_captions_mentions": self.num_unseen,
            "systems": [s.to_dict() for s in self.systems],
            "comparisons": [c.to_dict() for c in self.comparisons],
        }


@dataclass(frozen=True)
class EvaluationReport:
    """All tables of one evaluation, with what is needed to read and repeat them.

    Attributes:
        protocols: One table each, in the order given.
        kb_size: Number of entities.
        fingerprint: Of the knowledge base.
        recall_at: Recall of the retrieved lists at several lengths, over all mentions that are not NIL; empty
            without lists.
        num_mentions: Mentions given, NIL included.
        num_shared: Of them, mentions whose caption is a training caption too.
        baseline: Name of the system that the others are compared with.
        seed: Of the bootstrap.
        num_resamples: Of the bootstrap.
        versions: Of python, numpy, dualway, and torch when it was loaded.
        seconds: Of the whole evaluation.
    """

    protocols: Sequence[ProtocolResult]
    kb_size: int
    fingerprint: Fingerprint
    recall_at: Mapping[int, Estimate]
    num_mentions: int
    num_shared: int
    baseline: str | None
    seed: int
    num_resamples: int
    versions: Mapping[str, str]
    seconds: float

    def result(self, protocol: str, system: str) -> SystemResult:
        """Return the row of a system under the protocol of this name.

        Raises:
            KeyError: There is no such row.
        """
        for table in self.protocols:
            for row in table.systems if table.protocol.name == protocol else ():
                if row.system == system:
                    return row
        raise KeyError(f"no result of {system!r} under {protocol!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values: what `dualway evaluate --json FILE` writes. NaN is null."""
        return {
            "protocols": {p.protocol.name: p.to_dict() for p in self.protocols},
            "kb": {
                "size": self.kb_size,
                "compatibility": self.fingerprint.compatibility,
                "content": self.fingerprint.content,
            },
            "mentions": self.num_mentions,
            "mentions_with_training_captions": self.num_shared,
            "candidate_recall_at": {str(k): estimate_dict(e) for k, e in self.recall_at.items()},
            "baseline": self.baseline,
            "seed": self.seed,
            "interval": {
                "level": 0.95,
                "method": "percentile bootstrap over captions",
                "resamples": self.num_resamples,
            },
            "versions": dict(self.versions),
            "seconds": self.seconds,
        }


def mean_hits(runs: Sequence[RankCounts], protocol: Protocol) -> DoubleArray:
    """Return the per-mention hit at 1 under the protocol's tie rule, averaged over the runs, float64 [n]."""
    return np.mean([hits_at_k(run, 1, protocol.ties) for run in runs], axis=0)


def estimate_dict(estimate: Estimate) -> dict[str, Any]:
    """Return an estimate as {"value", "low", "high"}, NaN as None."""
    return {name: number(value) for name, value in estimate._asdict().items()}


def number(value: float) -> float | None:
    """Return a JSON number, None for NaN."""
    return None if math.isnan(value) else float(value)
