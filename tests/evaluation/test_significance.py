"""Paired tests against known values and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, false_discovery_control

from dualway.errors import UsageError
from dualway.evaluation.significance import compare, holm, mcnemar, paired_bootstrap


def flags(wins, losses, both=3):
    system = np.array([True] * wins + [False] * losses + [True] * both)
    baseline = np.array([False] * wins + [True] * losses + [True] * both)
    return system, baseline


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 5), (1, 0), (0, 6), (8, 2), (121, 59), (700, 650)])
def test_mcnemar_is_the_exact_binomial_test(wins, losses):
    result = mcnemar(*flags(wins, losses))
    assert (result.wins, result.losses) == (wins, losses)
    expected = binomtest(wins, wins + losses, 0.5).pvalue if wins + losses else 1.0
    assert result.p_value == pytest.approx(expected)


def test_mcnemar_known_value():
    assert mcnemar(*flags(8, 2)).p_value == pytest.approx(0.109375)


def test_holm_known_values():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    p = [0.001, 0.2, 0.01, 0.01]
    assert all(a >= b for a, b in zip(holm(p), false_discovery_control(p)))


def test_paired_bootstrap_keeps_its_level_under_no_difference():
    generator, rejected = np.random.default_rng(0), 0
    for trial in range(200):
        shifts = np.repeat(generator.choice([-1.0, 0.0, 1.0], size=80, p=[0.1, 0.8, 0.1]), 2)
        result = paired_bootstrap(shifts[:, None], groups=np.repeat(np.arange(80), 2), seed=trial, num_resamples=300)
        rejected += result[0].p_value < 0.05
    assert rejected <= 22  # 10 expected


def test_paired_bootstrap_sees_a_difference_and_none():
    clear, none = paired_bootstrap(np.column_stack([np.tile([1.0, 0.0, 1.0], 50), np.zeros(150)]), num_resamples=999)
    assert clear.p_value == pytest.approx(2 / 1000)
    assert clear.difference == pytest.approx(2 / 3)
    assert clear.low < 2 / 3 < clear.high
    assert none == (0.0, 0.0, 0.0, 1.0)


def test_one_caption_tells_nothing():
    result = paired_bootstrap(np.ones((4, 1)), groups=np.zeros(4, dtype=np.int64))[0]
    assert np.isnan(result.low)
    assert result.p_value == 1.0


def test_compare_counts_a_mention_as_right_when_gold_stands_alone_on_top():
    hits = {"base": np.array([0.5, 0.5, 1.0, 0.0]), "mine": np.array([1.0, 0.5, 0.0, 2 / 3])}
    comparison = compare(hits, "base", num_resamples=99)[0]
    assert (comparison.wins, comparison.losses) == (2, 1)
    assert comparison.difference == pytest.approx((1 + 0.5 + 2 / 3 - 2) / 4)


def test_compare_corrects_for_the_number_of_systems():
    generator = np.random.default_rng(1)
    base = (generator.random(300) < 0.5).astype(float)
    better = np.where(generator.random(300) < 0.12, 1.0, base)
    results = compare({"base": base, "a": better, "b": better, "c": base}, "base", num_resamples=500)
    assert results[0].mcnemar_p_holm == pytest.approx(min(1.0, 3 * results[0].mcnemar_p))
    assert results[2].mcnemar_p_holm == 1.0
    assert compare({"base": base}, "base") == []
    with pytest.raises(UsageError, match="baseline 'x' is not among the systems base"):
        compare({"base": base}, "x")
