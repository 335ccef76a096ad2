"""Ranks, T@k, MRR and intervals against slow plain loops and known values."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualway import metrics
from dualway.errors import DataError, ScoreError
from dualway.metrics import (
    RankCounts,
    across_seeds,
    bootstrap_means,
    concatenate_counts,
    count_ranks,
    estimate_means,
    hits_at_k,
    ranks,
    reciprocal_ranks,
    summarise,
)


def counts_of(above, ties, found=None):
    found = [True] * len(above) if found is None else found
    return RankCounts(np.array(above, dtype=np.int64), np.array(ties, dtype=np.int64), np.array(found, dtype=np.bool_))


def slow_ranks(scores, gold):
    """Gold's rank in every order of the candidates that sorts the scores: all of them, one by one."""
    found = []
    for order in permutations(range(len(scores))):
        ordered = [scores[i] for i in order]
        if ordered == sorted(ordered, reverse=True):
            found.append(order.index(gold) + 1)
    return found


lists_of_scores = st.lists(st.integers(0, 3).map(float), min_size=1, max_size=5)


@given(st.lists(lists_of_scores.flatmap(lambda s: st.tuples(st.just(s), st.integers(-1, len(s) - 1))), max_size=6))
@settings(max_examples=60, deadline=None)
def test_equals_the_slow_loop_over_all_orders(cases):
    scores = [np.array(s, dtype=np.float32) for s, _ in cases]
    gold = np.array([g for _, g in cases], dtype=np.int64)
    counts = count_ranks(scores, gold, [str(i) for i in range(len(cases))])
    for i, (listed, position) in enumerate(cases):
        orders = slow_ranks(listed, position) if position >= 0 else []
        assert bool(counts.found[i]) == bool(orders)
        for k in (1, 2, 3, 5):
            expected = np.mean([r <= k for r in orders]) if orders else 0.0
            assert hits_at_k(counts, k)[i] == pytest.approx(expected)
            best, worst = (float(e <= k) if orders else 0.0 for e in (min(orders or [0]), max(orders or [0])))
            assert hits_at_k(counts, k, "optimistic")[i] == best
            assert hits_at_k(counts, k, "pessimistic")[i] == worst
        inverse = [1 / r for r in orders] or [0.0]
        assert reciprocal_ranks(counts)[i] == pytest.approx(np.mean(inverse))
        assert reciprocal_ranks(counts, "optimistic")[i] == max(inverse)
        assert reciprocal_ranks(counts, "pessimistic")[i] == min(inverse)
        if orders:
            assert ranks(counts)[i] == pytest.approx(np.mean(orders))
            assert ranks(counts, "optimistic")[i] == min(orders)
            assert ranks(counts, "pessimistic")[i] == max(orders)
        else:
            assert np.isnan(ranks(counts)[i])


def test_blocks_change_nothing(monkeypatch):
    generator = np.random.default_rng(0)
    scores = [generator.integers(0, 4, size=generator.integers(0, 9)).astype(np.float32) for _ in range(50)]
    gold = np.array([generator.integers(-1, len(s)) for s in scores])
    whole = count_ranks(scores, gold, [""] * 50)
    for block in (7, 1):  # several lists to a block, then each alone
        monkeypatch.setattr(metrics, "_SCORES_PER_BLOCK", block)
        for a, b in zip(whole, count_ranks(scores, gold, [""] * 50), strict=True):
            assert (a == b).all()
    halves = [count_ranks(scores[i : i + 25], gold[i : i + 25], [""] * 25) for i in (0, 25)]
    for a, b in zip(whole, concatenate_counts(halves), strict=True):
        assert (a == b).all()
    assert len(concatenate_counts([]).above) == 0


@pytest.mark.parametrize("block", [1, 1000])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_an_error_never_a_rank(bad, block, monkeypatch):
    monkeypatch.setattr(metrics, "_SCORES_PER_BLOCK", block)
    scores = [np.ones(3, dtype=np.float32), np.zeros(0, dtype=np.float32), np.array([1.0, bad, 2.0], dtype=np.float32)]
    with pytest.raises(ScoreError, match=r"mention 'third': the score of candidate 1 is -?(nan|inf)"):
        count_ranks(scores, np.array([0, -1, 1]), ["first", "second", "third"])
    with pytest.raises(ScoreError, match="'third'"):  # also where gold is not among the candidates
        count_ranks(scores, np.array([0, -1, -1]), ["first", "second", "third"])


@pytest.mark.parametrize("position", [3, -2])
def test_gold_outside_the_scores_is_an_error(position):
    with pytest.raises(ScoreError, match=f"mention 'b': 3 scores, yet gold is said to be at position {position}"):
        count_ranks([np.ones(2), np.ones(3)], np.array([1, position]), ["a", "b"])


def test_an_unbroken_rank_uses_every_bit_of_the_score():
    close = np.array([1.0, np.nextafter(np.float32(1.0), np.float32(2.0)), 1.0], dtype=np.float32)
    counts = count_ranks([close], np.array([0]), ["a"])
    assert (counts.above[0], counts.ties[0]) == (1, 1)


def test_reciprocal_rank_is_exact_far_down_the_list():
    counts = counts_of([99_999, 99_998], [0, 2])
    assert reciprocal_ranks(counts)[0] == 1 / 100_000
    assert reciprocal_ranks(counts)[1] == pytest.approx((1 / 99_999 + 1 / 100_000 + 1 / 100_001) / 3, rel=1e-9)


def test_summary_has_misses_as_no_hit_and_outside_the_mean_rank():
    summary = summarise([counts_of([0, 4, 0], [0, 0, 0], [True, True, False])], num_resamples=50)
    assert list(summary) == list(metrics.METRICS)
    assert summary["hits@1"].value == pytest.approx(1 / 3)
    assert summary["hits@5"].value == pytest.approx(2 / 3)
    assert summary["mrr"].value == pytest.approx((1 + 1 / 5) / 3)
    assert summary["mean_rank"].value == pytest.approx(3.0)


def test_summary_of_misses_only_has_no_mean_rank():
    summary = summarise([counts_of([0, 0], [0, 0], [False, False])], num_resamples=20)
    assert summary["hits@20"] == (0.0, 0.0, 0.0)
    assert all(np.isnan(v) for v in summary["mean_rank"])


def test_summary_averages_runs_mention_by_mention():
    runs = [counts_of([0, 3], [0, 0]), counts_of([1, 3], [0, 0])]
    summary = summarise(runs, num_resamples=20)
    assert summary["hits@1"].value == pytest.approx(0.25)
    assert summary["mean_rank"].value == pytest.approx((1 + 4 + 2 + 4) / 4)


@pytest.mark.parametrize("runs", [[], [counts_of([], [])]])
def test_nothing_to_summarise_is_an_error(runs):
    with pytest.raises(DataError, match="no mentions to evaluate"):
        summarise(runs)
    with pytest.raises(DataError, match="no mentions to evaluate"):
        estimate_means(np.zeros((0, 1)))


def test_bootstrap_equals_the_slow_loop(monkeypatch):
    generator = np.random.default_rng(1)
    values, groups = generator.random((30, 2)), generator.integers(0, 8, size=30)
    _, group = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(group == g) for g in range(group.max() + 1)]
    draws = np.random.default_rng(5).integers(len(members), size=(40, len(members)))
    slow = [values[np.concatenate([members[g] for g in row])].mean(axis=0) for row in draws]
    assert bootstrap_means(values, groups=groups, seed=5, num_resamples=40) == pytest.approx(np.array(slow))
    monkeypatch.setattr(metrics, "_DRAWS_PER_BLOCK", 17)  # the block size changes no draw
    assert bootstrap_means(values, groups=groups, seed=5, num_resamples=40) == pytest.approx(np.array(slow))


def test_bootstrap_is_told_by_its_seed():
    values = np.random.default_rng(2).random((40, 1))
    assert (bootstrap_means(values, seed=3) == bootstrap_means(values, seed=3)).all()
    assert (bootstrap_means(values, seed=3) != bootstrap_means(values, seed=4)).any()


def test_one_caption_has_no_interval():
    estimate = estimate_means(np.array([[0.0], [1.0]]), groups=np.array([7, 7]))[0]
    assert estimate.value == 0.5
    assert np.isnan(estimate.low)
    assert np.isnan(estimate.high)


def test_interval_covers_the_truth_and_clusters_widen_it():
    """Hits of one caption are copies of each other: only the clustered interval keeps its promise."""
    generator, truth, covered, naive = np.random.default_rng(3), 0.7, 0, 0
    for trial in range(200):
        hits = np.repeat(generator.random(80) < truth, 3).astype(np.float64)[:, None]
        clustered = estimate_means(hits, groups=np.repeat(np.arange(80), 3), seed=trial, num_resamples=300)[0]
        alone = estimate_means(hits, seed=trial, num_resamples=300)[0]
        covered += clustered.low <= truth <= clustered.high
        naive += alone.low <= truth <= alone.high
    assert 180 <= covered <= 199  # 190 expected
    assert naive < 160


def test_bootstrap_agrees_with_scipy():
    from scipy.stats import bootstrap

    values = np.random.default_rng(4).random(60)
    ours = estimate_means(values[:, None], num_resamples=9000)[0]
    theirs = bootstrap((values,), np.mean, n_resamples=9000, method="percentile", rng=np.random.default_rng(0))
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.005)


def test_across_seeds_known_values():
    summary = across_seeds([1.0, 2.0, 3.0])
    assert (summary.mean, summary.std, summary.num_seeds) == (2.0, 1.0, 3)
    assert summary.high - summary.mean == pytest.approx(4.302653 / 3**0.5, rel=1e-6)  # t(0.975, 2)
    assert summary.mean - summary.low == pytest.approx(summary.high - summary.mean)
    single = across_seeds([0.5])
    assert single.mean == 0.5
    assert np.isnan(single.std)
    assert np.isnan(single.low)
    with pytest.raises(DataError, match="no runs"):
        across_seeds([])
