"""Is a system better than the baseline, or is it chance? Paired tests on the mentions both were evaluated on.

The bootstrap draws captions, so it knows that mentions of one caption go together; McNemar's test takes mentions
for independent. Both speak of these trained models on mentions like these: how much another seed would change is
not in them (`metrics.across_seeds`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from dualway.errors import UsageError
from dualway.metrics import BoolArray, DoubleArray, bootstrap_means
from dualway.schema import IntArray


class McNemar(NamedTuple):
    """`wins`: mentions that only the system got right; `losses`: only the baseline; the exact two-sided p."""

    wins: int
    losses: int
    p_value: float


class PairedDifference(NamedTuple):
    """Mean difference (system minus baseline) with its 95 % interval and the two-sided bootstrap p."""

    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """T@1 of a system against the baseline's; `*_holm`: p-values corrected for all systems of the table."""

    system: str
    baseline: str
    difference: float
    low: float
    high: float
    bootstrap_p: float
    bootstrap_p_holm: float
    wins: int
    losses: int
    mcnemar_p: float
    mcnemar_p_holm: float

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values; an interval that does not exist is null."""
        return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in asdict(self).items()}


def mcnemar(system_hit: BoolArray, baseline_hit: BoolArray) -> McNemar:
    """Test whether wins and losses differ, by the exact binomial test (McNemar 1947, exact form).

    p = min(1, 2 P(X <= min(wins, losses))), X ~ Binomial(wins + losses, 1/2); 1 without any difference.
    """
    wins, losses = int((system_hit & ~baseline_hit).sum()), int((baseline_hit & ~system_hit).sum())
    if wins == losses:
        return McNemar(wins, losses, 1.0)
    from scipy.special import bdtr

    return McNemar(wins, losses, min(1.0, 2.0 * float(bdtr(min(wins, losses), wins + losses, 0.5))))


def paired_bootstrap(
    differences: DoubleArray, *, groups: IntArray | None = None, seed: int = 0, num_resamples: int = 10_000
) -> list[PairedDifference]:
    """Test each column of per-mention differences, float64 [n, m], against no difference.

    p = 2 min(#(d* <= 0) + 1, #(d* >= 0) + 1) / (b + 1), at most 1 (Davison and Hinkley 1997, section 4.2's form).
    With a single group nothing can be told: the interval is NaN and p is 1.
    """
    drawn = bootstrap_means(differences, groups=groups, seed=seed, num_resamples=num_resamples)
    results: list[PairedDifference] = []
    for value, column in zip(differences.mean(axis=0).tolist(), drawn.T, strict=True):
        if np.isnan(column).any():
            results.append(PairedDifference(value, np.nan, np.nan, 1.0))
            continue
        tail = min(int((column <= 0).sum()), int((column >= 0).sum())) + 1
        low, high = np.quantile(column, [0.025, 0.975]).tolist()
        results.append(PairedDifference(value, low, high, min(1.0, 2.0 * tail / (num_resamples + 1))))
    return results


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979): sorted, times m, m - 1, .., 1, never decreasing, at most 1."""
    corrected, running = [0.0] * len(p_values), 0.0
    for step, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - step) * p_values[i]))
        corrected[i] = running
    return corrected


def compare(
    hits: Mapping[str, DoubleArray],
    baseline: str,
    *,
    groups: IntArray | None = None,
    seed: int = 0,
    num_resamples: int = 10_000,
) -> list[Comparison]:
    """Compare every system's per-mention hits (float64 [n] in 0..1) with the baseline's.

    Hits may be fractions (ties averaged, or several seeds averaged). The bootstrap takes them as they are; McNemar's
    test needs yes or no: a mention counts as right when its hit is above 1/2, that is, gold stood alone at the top
    (in most of the seeds).

    Raises:
        UsageError: The baseline is not among the systems.
    """
    if baseline not in hits:
        raise UsageError(f"baseline {baseline!r} is not among the systems {', '.join(hits)}")
    others = [name for name in hits if name != baseline]
    if not others:
        return []
    reference = hits[baseline]
    differences = np.column_stack([hits[name] - reference for name in others])
    paired = paired_bootstrap(differences, groups=groups, seed=seed, num_resamples=num_resamples)
    exact = [mcnemar(hits[name] > 0.5, reference > 0.5) for name in others]
    paired_holm, exact_holm = holm([p.p_value for p in paired]), holm([m.p_value for m in exact])
    return [
        Comparison(
            system=name,
            baseline=baseline,
            difference=paired[i].difference,
            low=paired[i].low,
            high=paired[i].high,
            bootstrap_p=paired[i].p_value,
            bootstrap_p_holm=paired_holm[i],
            wins=exact[i].wins,
            losses=exact[i].losses,
            mcnemar_p=exact[i].p_value,
            mcnemar_p_holm=exact_holm[i],
        )
        for i, name in enumerate(others)
    ]
