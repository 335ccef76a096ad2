from __future__ import annotations

import numpy as np
import pytest

from dualway.config import NegativeConfig
from dualway.model.negatives import draw_hard, draw_in_batch, draw_negatives, similar_entities


def lists(rng, n=50, k=8, entities=20):
    rows = np.stack([rng.permutation(entities)[:k] for _ in range(n)])
    rows[::3, 5:] = -1
    return rows, rng.integers(0, entities, n)


@pytest.mark.parametrize("num", [0, 1, 3, 20])
def test_hard_negatives_are_candidates_without_gold(num):
    rng = np.random.default_rng(0)
    rows, gold = lists(rng)
    drawn = draw_hard(rows, gold, num, rng)
    assert drawn.rows.shape == drawn.mask.shape == (50, min(num, 8))
    for i in range(50):
        picked = drawn.rows[i][drawn.mask[i]].tolist()
        allowed = set(rows[i].tolist()) - {-1, gold[i]}
        assert set(picked) <= allowed
        assert len(picked) == len(set(picked)) == min(num, len(allowed))


def test_every_candidate_gets_its_turn():
    rng = np.random.default_rng(0)
    rows = np.tile(np.arange(6), (3000, 1))
    counts = np.bincount(draw_hard(rows, np.full(3000, 2), 1, rng).rows[:, 0], minlength=6)
    assert counts[2] == 0
    assert (np.abs(counts[[0, 1, 3, 4, 5]] - 600) < 120).all()


def test_a_list_without_another_entity_gives_none():
    drawn = draw_hard(np.array([[4, -1], [-1, -1]]), np.array([4, 0]), 1, np.random.default_rng(0))
    assert not drawn.mask.any()
    assert (drawn.rows >= 0).all()


def test_hard_negatives_depend_on_the_mentions_list_and_not_on_gold():
    """Trap 8: two mentions of one gold entity draw from their own candidates."""
    rng = np.random.default_rng(0)
    rows = np.array([[0, 1, 2, 9], [5, 6, 7, 9]])
    seen = [set(), set()]
    for _ in range(50):
        drawn = draw_hard(rows, np.array([9, 9]), 1, rng)
        for i in range(2):
            seen[i].add(int(drawn.rows[i, 0]))
    assert seen == [{0, 1, 2}, {5, 6, 7}]
    # with gold absent from the lists the draw is the same whatever gold is
    first = draw_hard(rows, np.array([20, 21]), 2, np.random.default_rng(3))
    second = draw_hard(rows, np.array([30, 31]), 2, np.random.default_rng(3))
    np.testing.assert_array_equal(first.rows, second.rows)


@pytest.mark.parametrize("num", [1, 2, -1])
def test_in_batch_negatives_are_other_mentions_gold_and_never_the_own(num):
    gold = np.array([3, 3, 5, 7])
    drawn = draw_in_batch(gold, num, np.random.default_rng(0))
    assert drawn.rows.shape == (4, 4 if num < 0 else num)
    for i in range(4):
        picked = drawn.rows[i][drawn.mask[i]]
        assert gold[i] not in picked
        assert set(picked.tolist()) <= set(gold.tolist())
    if num < 0:
        assert drawn.mask.sum(axis=1).tolist() == [2, 2, 3, 3]


def test_a_batch_of_one_has_no_in_batch_negative():
    for num in (1, -1):
        assert not draw_in_batch(np.array([3]), num, np.random.default_rng(0)).mask.any()


def test_both_kinds_side_by_side_and_the_same_seed_draws_the_same():
    rows, gold = lists(np.random.default_rng(0))
    config = NegativeConfig(num_hard=2, num_in_batch=3)
    first = draw_negatives(config, rows, gold, np.random.default_rng(1))
    again = draw_negatives(config, rows, gold, np.random.default_rng(1))
    other = draw_negatives(config, rows, gold, np.random.default_rng(2))
    assert first.rows.shape == (50, 5)
    np.testing.assert_array_equal(first.rows, again.rows)
    assert (first.rows != other.rows).any()
    assert not (first.mask & (first.rows == gold[:, None])).any()


def test_similar_entities_equal_a_plain_loop():
    rng = np.random.default_rng(0)
    entities, gold = rng.standard_normal((30, 5)).astype(np.float32), rng.integers(0, 30, 12)
    pools = similar_entities(entities, gold, k=4, block=5)
    directions = entities / np.linalg.norm(entities, axis=1, keepdims=True)
    for i, row in enumerate(gold):
        sims = directions @ directions[row]
        expected = [j for j in np.argsort(-sims) if j != row][:4]
        assert sorted(pools[i].tolist()) == sorted(expected)
    assert similar_entities(entities[:3], np.array([0, 2]), k=9).shape == (2, 2)
    assert similar_entities(entities[:1], np.array([0])).shape == (1, 0)
    assert np.isfinite(similar_entities(np.zeros((3, 2), dtype=np.float32), np.array([1]), k=2)).all()


def test_shared_hard_negatives_are_the_whole_batchs_without_the_own_gold():
    lists, gold = np.array([[1, 2], [0, 3], [0, 1]]), np.array([0, 1, 2])
    config = NegativeConfig(num_hard=1, num_in_batch=0, share_hard=True)
    drawn = draw_negatives(config, lists, gold, np.random.default_rng(0))
    assert drawn.rows.shape == (3, 3)
    assert (drawn.rows == drawn.rows[0]).all()
    assert not (drawn.mask & (drawn.rows == gold[:, None])).any()
    assert drawn.mask.sum() == (drawn.rows != gold[:, None]).sum()
