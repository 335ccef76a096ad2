"""Negative entities for the ranking loss (section 5.1.4)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dualway.config import NegativeConfig
from dualway.schema import FloatArray, IntArray

BoolArray = NDArray[np.bool_]


class Negatives(NamedTuple):
    """Negative entities of b mentions.

    rows: int64 [b, k], rows in the knowledge base; anything where masked.
    mask: bool [b, k], True where a negative counts; never True for the mention's gold entity.
    """

    rows: IntArray
    mask: BoolArray


def draw_negatives(config: NegativeConfig, lists: IntArray, gold: IntArray, rng: np.random.Generator) -> Negatives:
    """Draw hard and in-batch negatives for the mentions of one batch.

    Args:
        config: How many of each.
        lists: int64 [b, n], the pool of hard negatives of each mention; -1 pads. Gold may be in it, it is never drawn.
        gold: int64 [b], row of each mention's gold entity.
        rng: The only source of chance.
    """
    hard = draw_hard(lists, gold, config.num_hard, rng)
    if config.share_hard:  # the public code's broadcast: every mention meets the hard negatives of the whole batch
        shared = np.broadcast_to(hard.rows.reshape(1, -1), (len(gold), hard.rows.size))
        hard = Negatives(shared, hard.mask.reshape(1, -1) & (shared != gold[:, None]))
    in_batch = draw_in_batch(gold, config.num_in_batch, rng)
    return Negatives(np.hstack([hard.rows, in_batch.rows]), np.hstack([hard.mask, in_batch.mask]))


def draw_hard(lists: IntArray, gold: IntArray, num: int, rng: np.random.Generator) -> Negatives:
    """Draw up to `num` entities of each list: "candidate entities retrieved .. except for the gold entity"."""
    return _draw(lists, (lists >= 0) & (lists != gold[:, None]), num, rng)


def draw_in_batch(gold: IntArray, num: int, rng: np.random.Generator) -> Negatives:
    """Draw up to `num` "gold entities of other B-1 mentions in the batch", never of the mention's own id; -1: all."""
    others = np.broadcast_to(gold, (len(gold), len(gold)))
    allowed = others != gold[:, None]
    return Negatives(others, allowed) if num < 0 else _draw(others, allowed, num, rng)


def _draw(rows: IntArray, allowed: BoolArray, num: int, rng: np.random.Generator) -> Negatives:
    """Draw `num` allowed columns of each row without replacement; fewer where fewer are allowed."""
    num = min(num, rows.shape[1])
    if num == 0:
        return Negatives(np.zeros((len(rows), 0), dtype=np.int64), np.zeros((len(rows), 0), dtype=np.bool_))
    keys = np.where(allowed, rng.random(rows.shape), 2.0)
    columns = np.argsort(keys, axis=1)[:, :num] if num > 1 else np.argmin(keys, axis=1)[:, None]
    mask = np.take_along_axis(allowed, columns, axis=1)
    return Negatives(np.maximum(np.take_along_axis(rows, columns, axis=1), 0), mask)


def similar_entities(entities: FloatArray, gold: IntArray, k: int = 100, block: int = 512) -> IntArray:
    """Return the k entities whose text is nearest to each gold entity's, itself left out.

    For `hard_source = similar_text`. Keyed by gold, as in the public code (there by tf-idf; here by the entity
    vectors): a pool of training negatives, never of candidates.

    Args:
        entities: float32 [num_entities, dim], text vectors.
        gold: int64 [n], gold rows.
        k: Size of a pool; shrinks to the number of other entities.
        block: Gold entities compared at a time; bounds memory to block * num_entities floats.

    Returns:
        int64 [n, k].
    """
    lengths = np.linalg.norm(entities, axis=1, keepdims=True)
    directions = entities / np.maximum(lengths, np.finfo(np.float32).tiny)
    distinct, inverse = np.unique(gold, return_inverse=True)
    k = min(k, len(entities) - 1)
    pools = np.empty((len(distinct), k), dtype=np.int64)
    for start in range(0, len(distinct), block):
        part = distinct[start : start + block]
        sims = directions[part] @ directions.T  # [block, num_entities]
        sims[np.arange(len(part)), part] = -np.inf
        nearest = np.argpartition(-sims, k - 1, axis=1)[:, :k] if k else pools[start : start + block]
        pools[start : start + block] = np.sort(nearest, axis=1)
    return pools[inverse]
