"""Ranks, T@k, MRR and their intervals, in numpy (paper, Eq. 15; docs/evaluation.md).

A mention's result is two numbers: how many candidates scored strictly above gold, and how many others equal to it.
Every metric follows from them under a stated tie rule:

- average: the expectation over all orders of the tied candidates. A constant scorer lands exactly at chance.
- optimistic: ties go to gold. A constant scorer gets 100 %.
- pessimistic: ties go against gold.

A mention whose gold was not among its candidates is a miss: no hit at any k, reciprocal rank 0, and no rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dualway.errors import DataError, ScoreError
from dualway.schema import IntArray

DoubleArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
TieRule = Literal["average", "optimistic", "pessimistic"]

HIT_LEVELS = (1, 5, 10, 20)  # the k of T@k
METRICS = (*(f"hits@{k}" for k in HIT_LEVELS), "mrr", "mean_rank")
_SCORES_PER_BLOCK = 1 << 14  # short lists are counted together; longer ones alone, without being copied
_DRAWS_PER_BLOCK = 1 << 21  # bounds the working memory of the bootstrap


class RankCounts(NamedTuple):
    """How the candidates of n mentions stand to gold.

    above: int64 [n], candidates that scored strictly better than gold; 0 for a miss.
    ties: int64 [n], other candidates that scored exactly as gold; 0 for a miss.
    found: bool [n], False for a miss (gold was not among the candidates).
    """

    above: IntArray
    ties: IntArray
    found: BoolArray

    def take(self, index: IntArray | BoolArray) -> RankCounts:
        """Return the counts of the chosen mentions."""
        return RankCounts(self.above[index], self.ties[index], self.found[index])


class Estimate(NamedTuple):
    """A value with its 95 % interval; both ends are NaN where no interval exists."""

    value: float
    low: float
    high: float


class SeedSummary(NamedTuple):
    """A value over several seeds: mean, standard deviation (n - 1) and the 95 % t-interval of the mean.

    Spread and interval are NaN with a single seed.
    """

    mean: float
    std: float
    low: float
    high: float
    num_seeds: int


def count_ranks(scores: Sequence[NDArray[Any]], gold: IntArray, ids: Sequence[str]) -> RankCounts:
    """Count the candidates above and level with gold, for n mentions.

    Args:
        scores: One array [num_candidates] per mention, higher is better; lengths may differ and may be 0.
        gold: int64 [n], position of gold among the mention's scores; -1 when it is not there.
        ids: The mentions' ids, for messages.

    Raises:
        ScoreError: A score is NaN or infinite (so no honest rank exists), or gold lies outside the scores.
    """
    above, ties = np.zeros(len(scores), dtype=np.int64), np.zeros(len(scores), dtype=np.int64)
    for start, stop in _blocks([len(s) for s in scores]):
        count = _count_one if stop - start == 1 else _count_block
        above[start:stop], ties[start:stop] = count(scores[start:stop], gold[start:stop], ids[start:stop])
    return RankCounts(above, ties, gold >= 0)


def concatenate_counts(parts: Sequence[RankCounts]) -> RankCounts:
    """Join the counts of consecutive chunks."""
    if not parts:
        return RankCounts(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_))
    return RankCounts(
        np.concatenate([p.above for p in parts]),
        np.concatenate([p.ties for p in parts]),
        np.concatenate([p.found for p in parts]),
    )


def hits_at_k(counts: RankCounts, k: int, ties: TieRule = "average") -> DoubleArray:
    """Return each mention's hit at k, float64 [n] in 0..1 (Eq. 15: the share with rank <= k is its mean).

    Under "average" the probability that gold is among the first k when tied candidates are ordered at random.
    """
    above, tied = counts.above.astype(np.float64), counts.ties.astype(np.float64)
    if ties == "average":
        hit = np.clip((k - above) / (tied + 1.0), 0.0, 1.0)
    elif ties == "optimistic":
        hit = (above < k).astype(np.float64)
    else:
        hit = (above + tied < k).astype(np.float64)
    return np.where(counts.found, hit, 0.0)


def reciprocal_ranks(counts: RankCounts, ties: TieRule = "average") -> DoubleArray:
    """Return each mention's reciprocal rank, float64 [n] in 0..1; 0 for a miss.

    Under "average" the mean of 1/r over the ranks r = above + 1 .. above + ties + 1 that gold may take.
    """
    first, last = counts.above + 1, counts.above + counts.ties + 1
    if ties == "optimistic":
        reciprocal = 1.0 / first
    elif ties == "pessimistic" or not len(first):
        reciprocal = 1.0 / last
    else:
        harmonic = np.concatenate([np.zeros(1), np.cumsum(1.0 / np.arange(1, int(last.max()) + 1))])
        tied = (harmonic[last] - harmonic[first - 1]) / (counts.ties + 1)
        reciprocal = np.where(counts.ties == 0, 1.0 / first, tied)
    return np.where(counts.found, reciprocal, 0.0)


def ranks(counts: RankCounts, ties: TieRule = "average") -> DoubleArray:
    """Return each mention's rank, float64 [n] from 1; NaN for a miss, which has none."""
    share = {"average": 0.5, "optimistic": 0.0, "pessimistic": 1.0}[ties]
    return np.where(counts.found, counts.above + 1 + share * counts.ties, np.nan)


def summarise(
    runs: Sequence[RankCounts],
    *,
    ties: TieRule = "average",
    groups: IntArray | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
) -> dict[str, Estimate]:
    """Return every metric of METRICS with its 95 % cluster-bootstrap interval over mentions.

    Several runs (seeds of one system on the same mentions) are averaged mention by mention; the spread between
    them is `across_seeds`'s matter. `mean_rank` is over the mentions whose gold was found: read it beside the
    number of misses; NaN when all are misses.

    Raises:
        DataError: There is no run or no mention.
    """
    columns = np.mean([_columns(run, ties) for run in runs], axis=0) if runs else np.zeros((0, 0))
    if not columns.size:
        raise DataError("no mentions to evaluate: a metric needs at least one mention with gold")
    drawn = bootstrap_means(columns, groups=groups, seed=seed, num_resamples=num_resamples)
    values = _finish(columns.mean(axis=0, keepdims=True))[0]
    return {name: _estimate(values[i], d) for i, (name, d) in enumerate(zip(METRICS, _finish(drawn).T, strict=True))}


def estimate_means(
    values: DoubleArray, *, groups: IntArray | None = None, seed: int = 0, num_resamples: int = 2000
) -> list[Estimate]:
    """Return the mean of each column of float64 [n, m] with its 95 % cluster-bootstrap interval.

    Raises:
        DataError: There is no row.
    """
    if not len(values):
        raise DataError("no mentions to evaluate: a mean needs at least one")
    drawn = bootstrap_means(values, groups=groups, seed=seed, num_resamples=num_resamples)
    return [_estimate(v, d) for v, d in zip(values.mean(axis=0).tolist(), drawn.T, strict=True)]


def bootstrap_means(
    values: DoubleArray, *, groups: IntArray | None = None, seed: int = 0, num_resamples: int = 2000
) -> DoubleArray:
    """Draw whole groups with replacement and return the column means of each resample.

    Mentions of one caption are not independent: given `groups`, captions are drawn, not mentions. All columns see
    the same draws, and so do two calls with the same groups and seed, which makes differences paired.

    Args:
        values: float64 [n, m].
        groups: int64 [n], equal numbers belong together; None: every mention is a group of its own.
        seed: Of the draws.
        num_resamples: Number of draws b.

    Returns:
        float64 [b, m].
    """
    _, group = np.unique(np.arange(len(values)) if groups is None else groups, return_inverse=True)
    num_groups = int(group.max()) + 1
    sums = np.zeros((num_groups, values.shape[1] + 1))  # the last column counts the mentions
    np.add.at(sums, group, np.column_stack([values, np.ones(len(values))]))
    generator = np.random.default_rng(seed)
    block = max(1, _DRAWS_PER_BLOCK // num_groups)
    drawn: list[DoubleArray] = []
    for start in range(0, num_resamples, block):
        num = min(block, num_resamples - start)
        picks = generator.integers(num_groups, size=(num, num_groups)) + num_groups * np.arange(num)[:, None]
        weights = np.bincount(picks.ravel(), minlength=num * num_groups).reshape(num, num_groups)
        totals = weights.astype(np.float64) @ sums
        drawn.append(totals[:, :-1] / totals[:, -1:])
    result = np.concatenate(drawn)
    return result if num_groups > 1 else np.full_like(result, np.nan)  # one group: its spread is unknown


def across_seeds(values: Sequence[float]) -> SeedSummary:
    """Summarise one metric over runs that differ in their seed only.

    Raises:
        DataError: There is no value.
    """
    if not len(values):
        raise DataError("no runs to summarise: at least one seed is needed")
    mean, num = float(np.mean(values)), len(values)
    if num < 2:
        return SeedSummary(mean, np.nan, np.nan, np.nan, num)
    from scipy.special import stdtrit  # Student's t quantile; imported here to keep start-up short

    std = float(np.std(values, ddof=1))
    half = float(stdtrit(num - 1, 0.975)) * std / num**0.5
    return SeedSummary(mean, std, mean - half, mean + half, num)


def _blocks(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = total = 0
    for i, length in enumerate(lengths):
        if i > start and total + length > _SCORES_PER_BLOCK:
            yield start, i
            start, total = i, 0
        total += length
    if start < len(lengths):
        yield start, len(lengths)


def _count_one(scores: Sequence[NDArray[Any]], gold: IntArray, ids: Sequence[str]) -> tuple[int, int]:
    alone = scores[0]
    _check_scores(alone, np.array([len(alone)], dtype=np.int64), gold, ids)
    if gold[0] < 0:
        return 0, 0
    level = alone[gold[0]]
    return int(np.count_nonzero(alone > level)), int(np.count_nonzero(alone == level)) - 1


def _count_block(scores: Sequence[NDArray[Any]], gold: IntArray, ids: Sequence[str]) -> tuple[IntArray, IntArray]:
    flat = np.concatenate(scores)
    lengths = np.array([len(s) for s in scores], dtype=np.int64)
    _check_scores(flat, lengths, gold, ids)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    found = gold >= 0
    at_gold = np.zeros(len(scores), dtype=flat.dtype)
    at_gold[found] = flat[(starts + gold)[found]]
    level = np.repeat(at_gold, lengths)
    above, equal = (_segment_sums(flags, starts, ends) for flags in (flat > level, flat == level))
    return np.where(found, above, 0), np.where(found, equal - 1, 0)


def _check_scores(flat: NDArray[Any], lengths: IntArray, gold: IntArray, ids: Sequence[str]) -> None:
    if not np.isfinite(flat).all():
        wrong = int(np.flatnonzero(~np.isfinite(flat))[0])
        ends = np.cumsum(lengths)
        i = int(np.searchsorted(ends, wrong, side="right"))
        raise ScoreError(
            f"mention {ids[i]!r}: the score of candidate {wrong - int(ends[i] - lengths[i])} is {flat[wrong]}; "
            "a mention with a score that is not finite has no rank"
        )
    if (outside := np.flatnonzero((gold >= lengths) | (gold < -1))).size:
        i = int(outside[0])
        raise ScoreError(f"mention {ids[i]!r}: {lengths[i]} scores, yet gold is said to be at position {gold[i]}")


def _segment_sums(flags: BoolArray, starts: IntArray, ends: IntArray) -> IntArray:
    running = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(flags, dtype=np.int64)])
    return running[ends] - running[starts]


def _columns(counts: RankCounts, ties: TieRule) -> DoubleArray:
    """Per mention: hits at every level, reciprocal rank, rank (0 for a miss), found: float64 [n, 7]."""
    hits = [hits_at_k(counts, k, ties) for k in HIT_LEVELS]
    rank = np.where(counts.found, ranks(counts, ties), 0.0)
    return np.column_stack([*hits, reciprocal_ranks(counts, ties), rank, counts.found.astype(np.float64)])


def _finish(means: DoubleArray) -> DoubleArray:
    """Turn mean columns [b, 7] into metrics [b, 6]: the mean rank is taken over the found mentions."""
    found = means[:, -1]
    rank = np.divide(means[:, -2], found, out=np.full(len(means), np.nan), where=found > 0)
    return np.column_stack([means[:, :-2], rank])


def _estimate(value: float, drawn: DoubleArray) -> Estimate:
    usable = drawn[~np.isnan(drawn)]
    if not usable.size:
        return Estimate(float(value), np.nan, np.nan)
    low, high = np.quantile(usable, [0.025, 0.975]).tolist()
    return Estimate(float(value), low, high)
