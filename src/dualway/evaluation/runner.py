"""Runs systems under protocols and counts: gold stays here, a system sees a Task."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import dualway
from dualway.errors import ScoreError, UsageError
from dualway.evaluation.captions import caption_groups, shared_sentences
from dualway.evaluation.predictions import Prediction, PredictionWriter, prediction_writer, rank_candidates
from dualway.evaluation.protocol import (
    Case,
    EvaluationData,
    Protocol,
    build_case,
    check_data,
    find_gold,
    num_candidates,
)
from dualway.evaluation.report import EvaluationReport, ProtocolResult, SystemResult, mean_hits
from dualway.evaluation.significance import compare
from dualway.metrics import (
    Estimate,
    RankCounts,
    TieRule,
    across_seeds,
    concatenate_counts,
    count_ranks,
    estimate_means,
    hits_at_k,
    ranks,
    summarise,
)
from dualway.protocols import System, Task
from dualway.schema import IntArray

SystemRuns = System | Sequence[System]
ProgressUpdate = Callable[[int, int, str], object]

_RECALL_LEVELS = (1, 5, 10, 16, 20, 50, 100)
_SCORES_PER_CHUNK = 1 << 24  # under full-kb a chunk holds at most this many scores: 64 MB
_TIE_RULES: tuple[TieRule, ...] = ("average", "optimistic", "pessimistic")


@dataclass(frozen=True)
class EvaluationOptions:
    """How an evaluation is run; none of it changes a metric's value.

    Attributes:
        seed: Of the bootstrap.
        num_resamples: Of the bootstrap.
        chunk_size: Mentions scored at a time; fewer under full-kb when the knowledge base is large.
        baseline: Name of the system that the others are compared with; None: no comparison.
    """

    seed: int = 0
    num_resamples: int = 2000
    chunk_size: int = 256
    baseline: str | None = None


class _Run(NamedTuple):
    counts: RankCounts
    seconds: float
    notes: list[str]


@dataclass
class _Progress:
    """Counts scored mentions over all protocols, systems and runs."""

    update: ProgressUpdate | None
    total: int
    done: int = 0

    def advance(self, num: int, note: str) -> None:
        self.done += num
        if self.update is not None:
            self.update(self.done, self.total, note)


def evaluate(
    systems: Sequence[SystemRuns],
    data: EvaluationData,
    protocols: Sequence[Protocol],
    *,
    options: EvaluationOptions | None = None,
    predictions: Path | None = None,
    progress: ProgressUpdate | None = None,
) -> EvaluationReport:
    """Evaluate every system under every protocol and return the report.

    All systems are tried on two mentions under every protocol before the first long run. The order of candidates,
    the chunk size and the other mentions of a chunk change no result.

    Args:
        systems: Each a system, or the runs of one system (one instance per seed, all of one name).
        data: Mentions, gold, knowledge base, retrieved candidates, features.
        protocols: See `parse_protocols`.
        options: Seed, resamples, chunk size, baseline.
        predictions: JSON Lines file for the ranking of every mention.
        progress: Called with (mentions done, mentions in all, what is running).

    Raises:
        DataError: Nothing to evaluate, or broken mentions, gold or candidates.
        UsageError: No system, two of one name, an unknown baseline, or candidates that a protocol lacks.
        ScoreError: A system returned something that cannot be ranked; names system, protocol and mention.
        StorageError: The predictions cannot be written.
    """
    began = time.perf_counter()
    options = options or EvaluationOptions()
    named = _name_runs(systems, protocols, options)
    check_data(data)
    _check_features(data)
    cases = [build_case(protocol, data) for protocol in protocols]
    probes = {
        (i, name): [_probe(s, case) for s in runs] for i, case in enumerate(cases) for name, runs in named.items()
    }
    shared = set(shared_sentences(data.train_captions, data.mentions))
    num_runs = sum(map(len, named.values()))
    meter = _Progress(progress, sum(len(case.gold) for case in cases) * num_runs)
    tables: list[ProtocolResult] = []
    with prediction_writer(predictions) if predictions is not None else nullcontext() as writer:
        for i, case in enumerate(cases):
            runs = {
                name: [
                    _run(s, case, probes[i, name][number], _Sinks(number, writer, meter, options.chunk_size))
                    for number, s in enumerate(instances)
                ]
                for name, instances in named.items()
            }
            tables.append(_make_table(case, runs, shared, options))
    return EvaluationReport(
        protocols=tables,
        kb_size=len(data.kb),
        fingerprint=data.kb.fingerprint,
        recall_at=recall_at(data, options),
        num_mentions=len(data.mentions),
        num_shared=len(shared),
        baseline=options.baseline,
        seed=options.seed,
        num_resamples=options.num_resamples,
        versions=versions(),
        seconds=time.perf_counter() - began,
    )


def recall_at(data: EvaluationData, options: EvaluationOptions | None = None) -> dict[int, Estimate]:
    """Return the recall of the retrieved lists at 1, 5, 10, 16, 20, 50, 100 and their full length.

    Over all mentions that are not NIL; a gold entity that is not in the knowledge base counts as not retrieved.
    """
    options = options or EvaluationOptions()
    linked = np.flatnonzero([data.gold[m.id] is not None for m in data.mentions])
    if data.candidates is None or not linked.size:
        return {}
    mentions = [data.mentions[i] for i in linked.tolist()]
    position = find_gold(data.candidates.take(linked), data.kb.rows([data.gold[m.id] or "" for m in mentions]))
    width = data.candidates.rows.shape[1]
    levels = sorted({k for k in _RECALL_LEVELS if k < width} | {width})
    found = np.column_stack([(position >= 0) & (position < k) for k in levels]).astype(np.float64)
    estimates = estimate_means(
        found, groups=caption_groups(mentions), seed=options.seed, num_resamples=options.num_resamples
    )
    return dict(zip(levels, estimates, strict=True))


def versions() -> dict[str, str]:
    """Return the versions of python, numpy, dualway, and of torch when it is loaded."""
    found = {"python": platform.python_version(), "numpy": np.__version__, "dualway": dualway.__version__}
    if "torch" in sys.modules:
        found["torch"] = str(sys.modules["torch"].__version__)
    return found


@dataclass(frozen=True)
class _Sinks:
    """Where a run's results go besides its counts: the number of the run, the predictions file, the meter."""

    number: int
    writer: PredictionWriter | None
    meter: _Progress
    chunk_size: int


def _name_runs(
    systems: Sequence[SystemRuns], protocols: Sequence[Protocol], options: EvaluationOptions
) -> dict[str, list[System]]:
    named: dict[str, list[System]] = {}
    for entry in systems:
        runs = list(entry) if isinstance(entry, Sequence) else [entry]
        names = {run.name for run in runs}
        if len(names) != 1:
            raise UsageError(f"the runs of one system must have one name, got {sorted(names) or 'no run'}")
        name = names.pop()
        if name in named:
            raise UsageError(f"two systems are called {name!r}; give them different names")
        named[name] = runs
    if not named or not protocols:
        raise UsageError(f"nothing to evaluate: no {'protocol' if named else 'system'} was given")
    if options.baseline is not None and options.baseline not in named:
        raise UsageError(f"baseline {options.baseline!r} is not among the systems {', '.join(named)}")
    if options.chunk_size < 1 or options.num_resamples < 1:
        raise UsageError("chunk_size and num_resamples must be at least 1")
    return named


def _check_features(data: EvaluationData) -> None:
    """A zero or broken vector has no direction, so its scores would rank by accident."""
    if data.features is None:
        return
    for name, vectors in (("mention", data.features.mention), ("caption", data.features.text)):
        usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
        if not usable.all():
            i = int(np.flatnonzero(~usable)[0])
            raise ScoreError(
                f"mention {data.mentions[i].id!r}: the vector of its {name} is zero or not finite; extract it again"
            )


def _run(system: System, case: Case, probe: list[NDArray[Any]], sinks: _Sinks) -> _Run:
    """Score all mentions of the case chunk by chunk; only counts are kept."""
    parts: list[RankCounts] = []
    notes: list[str] = []
    seconds, start = 0.0, 0
    label = f"{system.name}, {case.protocol.name}"
    for chunk in case.task.chunks(_chunk_size(case, sinks.chunk_size)):
        stop = start + len(chunk.mentions)
        with _naming(system, case):
            began = time.perf_counter()
            returned = system.score(chunk)
            seconds += time.perf_counter() - began
            scores = _check_scores(returned, chunk)
            counts = count_ranks(scores, case.gold[start:stop], [m.id for m in chunk.mentions])
        if start == 0 and (changed := _changed(probe, scores)) is not None:
            notes.append(
                f"the scores of mention {chunk.mentions[changed].id!r} change with the other mentions of its batch "
                "or from call to call"
            )
        if sinks.writer is not None:
            _write_chunk(sinks.writer, system.name, sinks.number, case, start, chunk, scores, counts)
        parts.append(counts)
        sinks.meter.advance(stop - start, label)
        start = stop
    return _Run(concatenate_counts(parts), seconds, notes)


def _probe(system: System, case: Case) -> list[NDArray[Any]]:
    """Score the first two mentions, in reverse order, and return their scores in order."""
    index = np.arange(min(2, len(case.gold)), dtype=np.int64)[::-1]
    task = case.task.take(index)
    with _naming(system, case):
        scores = _check_scores(system.score(task), task)
        count_ranks(scores, case.gold[index], [m.id for m in task.mentions])
    return scores[::-1]


@contextmanager
def _naming(system: System, case: Case) -> Generator[None]:
    """Put system and protocol before the message of a ScoreError."""
    try:
        yield
    except ScoreError as error:
        raise ScoreError(f"system {system.name!r} under {case.protocol.name}: {error}") from error


def _check_scores(returned: Any, task: Task) -> list[NDArray[Any]]:
    """Return the scores as arrays of real numbers, one score a candidate.

    Raises:
        ScoreError: Not one array per mention, or not one number per candidate; names the mention.
    """
    try:
        arrays = [np.asarray(scores) for scores in returned]
    except (TypeError, ValueError) as error:
        raise ScoreError(f"expected a list with one array of scores a mention ({error})") from error
    if len(arrays) != len(task.mentions):
        first = task.mentions[min(len(arrays), len(task.mentions) - 1)].id
        raise ScoreError(f"mention {first!r}: {len(arrays)} lists of scores for {len(task.mentions)} mentions")
    for mention, scores, wanted in zip(task.mentions, arrays, num_candidates(task).tolist(), strict=True):
        if scores.shape != (wanted,):
            raise ScoreError(f"mention {mention.id!r}: scores of shape {scores.shape} for {wanted} candidates")
        if scores.dtype.kind not in "fiu":
            raise ScoreError(f"mention {mention.id!r}: scores of type {scores.dtype}, expected real numbers")
    return arrays


def _changed(probe: list[NDArray[Any]], scores: list[NDArray[Any]]) -> int | None:
    """Return the first mention whose scores differ from the probe's by more than rounding does."""
    for i, (before, now) in enumerate(zip(probe, scores)):
        if before.size:
            allowed = 1e-3 * float(np.ptp(before)) + 1e-5 * float(np.abs(before).max())
            if float(np.abs(before.astype(np.float64) - now.astype(np.float64)).max()) > allowed:
                return i
    return None


def _chunk_size(case: Case, wanted: int) -> int:
    if case.task.candidates is not None:
        return wanted
    return max(1, min(wanted, _SCORES_PER_CHUNK // max(1, len(case.task.kb))))


def _write_chunk(
    writer: PredictionWriter,
    system: str,
    number: int,
    case: Case,
    start: int,
    chunk: Task,
    scores: Sequence[NDArray[Any]],
    counts: RankCounts,
) -> None:
    gold_ranks = ranks(counts, case.protocol.ties).tolist()
    for i, mention in enumerate(chunk.mentions):
        rows: IntArray | None = None if chunk.candidates is None else chunk.candidates.rows[i]
        writer.write(
            Prediction(
                id=mention.id,
                system=system,
                protocol=case.protocol.name,
                run=number,
                gold=case.gold_ids[start + i],
                rank=gold_ranks[i] if counts.found[i] else None,
                candidates=rank_candidates(scores[i], rows, case.task.kb.ids),
            )
        )


def _make_table(
    case: Case, runs: dict[str, list[_Run]], shared: set[str], options: EvaluationOptions
) -> ProtocolResult:
    mentions = case.task.mentions
    groups = caption_groups(mentions)
    unseen = np.array([m.id not in shared for m in mentions], dtype=np.bool_)
    found, sizes = case.gold >= 0, case.num_candidates()
    recall = estimate_means(
        case.retrieved.astype(np.float64)[:, None],
        groups=groups,
        seed=options.seed,
        num_resamples=options.num_resamples,
    )[0]
    table = ProtocolResult(
        protocol=case.protocol,
        mention_ids=[m.id for m in mentions],
        num_captions=len(np.unique(groups)),
        num_unseen=int(unseen.sum()),
        num_nil=case.num_nil,
        num_gold_outside_kb=case.num_gold_outside_kb,
        num_missed=int((~found).sum()),
        recall=recall,
        num_candidates=float(sizes.mean()),
        chance=float(np.where(found, 1.0 / np.maximum(sizes, 1), 0.0).mean()),
        systems=[_make_row(name, results, case, (groups, unseen), options) for name, results in runs.items()],
    )
    if options.baseline is None:
        return table
    comparisons = compare(table.hits(), options.baseline, groups=groups, seed=options.seed)
    return replace(table, comparisons=comparisons)


def _make_row(
    name: str, runs: list[_Run], case: Case, parts: tuple[IntArray, NDArray[np.bool_]], options: EvaluationOptions
) -> SystemResult:
    groups, unseen = parts
    counts, ties, draws = [r.counts for r in runs], case.protocol.ties, options.num_resamples
    metrics = summarise(counts, ties=ties, groups=groups, seed=options.seed, num_resamples=draws)
    per_run = [{k: e.value for k, e in summarise([c], ties=ties, num_resamples=1).items()} for c in counts]
    some_unseen = None
    if 0 < unseen.sum() < len(unseen):
        hits = mean_hits(counts, case.protocol)[unseen, None]
        some_unseen = estimate_means(hits, groups=groups[unseen], seed=options.seed, num_resamples=draws)[0]
    seconds = sum(r.seconds for r in runs)
    return SystemResult(
        system=name,
        metrics=metrics,
        seeds={k: across_seeds([run[k] for run in per_run]) for k in metrics} if len(runs) > 1 else {},
        per_run=per_run,
        tie_rules={rule: float(np.mean([hits_at_k(c, 1, rule).mean() for c in counts])) for rule in _TIE_RULES},
        num_tied=float(np.mean([(c.ties > 0).sum() for c in counts])),
        unseen=some_unseen,
        seconds=seconds,
        mentions_per_second=len(case.gold) * len(runs) / max(seconds, 1e-9),
        counts=counts,
        notes=sorted({note for r in runs for note in r.notes}),
    )
