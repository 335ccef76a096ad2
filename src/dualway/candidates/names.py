"""Candidates by name: a sparse index over names and aliases (paper, section 5.1.3, made fast and index-independent)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dualway.candidates.similarity import NameWeights, caption_features, mention_features, name_features
from dualway.schema import CandidateLists, FloatArray, IntArray, Mention

Vector = Iterable[tuple[str, float]]

_CHUNK = 256  # mentions per sparse product: bounds memory at any size of the knowledge base
_PRECISION = 1 << 20  # scores are compared to about six decimals, so that rounding never breaks a tie
_ROW_BITS = 32
_ROW_MASK = (1 << _ROW_BITS) - 1


class NameIndex:
    """Names and aliases of a knowledge base as a sparse matrix; implements CandidateSource.

    Args:
        ids: Entity ids, in the order of the knowledge base.
        names: The title of each entity, in the same order.
        aliases: Further names of each entity; the best one counts.
        weights: Weight of each kind of agreement.
    """

    def __init__(
        self,
        ids: Sequence[str],
        names: Sequence[str],
        aliases: Sequence[Sequence[str]] = (),
        *,
        weights: NameWeights | None = None,
    ) -> None:
        self._weights = weights or NameWeights()
        self._num_entities = len(ids)
        self._row_of_rank = np.asarray(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
        rank = np.empty(len(ids), dtype=np.int64)
        rank[self._row_of_rank] = np.arange(len(ids))
        owners = list(range(len(names)))
        for row, others in enumerate(aliases):
            owners.extend([row] * len(others))
        self._owner_rank = rank[np.asarray(owners, dtype=np.int64)]
        self._has_aliases = len(owners) > len(names)
        vocabulary: defaultdict[str, int] = defaultdict()
        vocabulary.default_factory = vocabulary.__len__
        vectors = _matrix((name_features(s) for s in chain(names, *aliases)), vocabulary.__getitem__, vocabulary)
        self._vocabulary = dict(vocabulary)
        self._by_feature: Any = csr_array(vectors.T)  # [features, names]: scipy's types are too loose to follow

    def __len__(self) -> int:
        return self._num_entities

    def search(self, mentions: Sequence[Mention], k: int) -> CandidateLists:
        """Return the `k` entities whose names are most like each mention, helped by the words of its caption.

        Entities that share nothing with the mention and its caption are not returned, so a list may be shorter
        than `k`. Equal scores come in the order of entity ids. A mention's list does not depend on the others.
        """
        rows = np.full((len(mentions), k), -1, dtype=np.int64)
        scores = np.zeros((len(mentions), k), dtype=np.float32)
        weights = self._weights
        for start in range(0, len(mentions), _CHUNK):
            chunk = mentions[start : start + _CHUNK]
            products = self._multiply(
                chain(mention_features(m.surface, weights), caption_features(m, weights)) for m in chunk
            )
            for i, (strings, values) in enumerate(_lines(products), start=start):
                found, value = self._best(strings, values, k)
                rows[i, : len(found)] = found
                scores[i, : len(found)] = value
        return CandidateLists(rows, scores)

    def score(self, surfaces: Sequence[str], rows: IntArray) -> FloatArray:
        """Return the similarity of names alone: surface i against entities rows[i] (int64 [n, k], -1 = none).

        Returns:
            float32 [n, k] in [0, 1]; 0 where nothing is shared or padded.
        """
        return _gather(self.score_all, surfaces, rows)

    def score_all(self, surfaces: Sequence[str]) -> FloatArray:
        """Return the similarity of each surface to every entity (its best name), float32 [n, num_entities] in [0, 1].

        Initials and acronyms can lift a sum above that of an exact match ("F. Foster", "U.S.A."): it is cut at 1.
        """
        position = {surface: i for i, surface in enumerate(dict.fromkeys(surfaces))}
        dense = self._dense([mention_features(surface, self._weights) for surface in position])
        return np.minimum(dense, 1.0)[[position[surface] for surface in surfaces]]

    def caption_score(self, mentions: Sequence[Mention], rows: IntArray) -> FloatArray:
        """Return how many words of the caption stand in the names of entities rows[i], times their weight, [n, k]."""
        return _gather(self.caption_score_all, mentions, rows)

    def caption_score_all(self, mentions: Sequence[Mention]) -> FloatArray:
        """Return the same against every entity, float32 [n, num_entities]."""
        return self._dense([caption_features(mention, self._weights) for mention in mentions])

    def _dense(self, queries: Sequence[Vector]) -> FloatArray:
        scores = np.zeros((len(queries), self._num_entities), dtype=np.float32)
        for start in range(0, len(queries), _CHUNK):
            products = self._multiply(queries[start : start + _CHUNK])
            for i, (strings, values) in enumerate(_lines(products), start=start):
                value = np.round(values * _PRECISION) / _PRECISION
                owners = self._row_of_rank[self._owner_rank[strings]]
                if self._has_aliases:
                    np.maximum.at(scores[i], owners, value)
                else:
                    scores[i, owners] = value
        return scores

    def _multiply(self, queries: Iterable[Vector]) -> Any:
        return csr_array(_matrix(queries, self._vocabulary.get, self._vocabulary) @ self._by_feature)

    def _best(self, strings: NDArray[np.int32], values: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
        """Return rows and scores of the best `k` entities, ordered by one integer key: score descending, then id."""
        quantised = np.round(values * _PRECISION).astype(np.int64)
        keys = ((-quantised) << _ROW_BITS) + self._owner_rank[strings]
        wanted = k
        while True:
            best = np.sort(np.partition(keys, wanted - 1)[:wanted] if len(keys) > wanted else keys)
            if self._has_aliases:
                _, first = np.unique(best & _ROW_MASK, return_index=True)
                best = best[np.sort(first)]
            if len(best) >= k or wanted >= len(keys):
                break
            wanted *= 4
        best = best[:k]
        score = (-(best >> _ROW_BITS) / _PRECISION).astype(np.float32)
        return self._row_of_rank[best & _ROW_MASK], score


def _gather(score_all: Callable[[Sequence[Any]], FloatArray], queries: Sequence[Any], rows: IntArray) -> FloatArray:
    """Pick each query's scores of its own rows, a bounded number of queries at a time."""
    scores = np.zeros(rows.shape, dtype=np.float32)
    for start in range(0, len(queries), _CHUNK):
        part = rows[start : start + _CHUNK]
        picked = np.take_along_axis(score_all(queries[start : start + _CHUNK]), np.maximum(part, 0), axis=1)
        scores[start : start + _CHUNK] = np.where(part >= 0, picked, 0)
    return scores


def _lines(products: Any) -> Iterator[tuple[NDArray[np.int32], FloatArray]]:
    ends = products.indptr.tolist()
    for begin, end in pairwise(ends):
        yield products.indices[begin:end], products.data[begin:end]


def _matrix(vectors: Iterable[Vector], column_of: Callable[[str], int | None], vocabulary: dict[str, int]) -> Any:
    columns: list[int] = []
    values: list[float] = []
    ends = [0]
    for vector in vectors:
        for feature, value in vector:
            column = column_of(feature)
            if column is not None:
                columns.append(column)
                values.append(value)
        ends.append(len(columns))
    matrix = csr_array(
        (np.asarray(values, dtype=np.float32), np.asarray(columns, dtype=np.int32), np.asarray(ends, dtype=np.int32)),
        shape=(len(ends) - 1, len(vocabulary)),
    )
    # Summed in one order and one value per feature, so that equal names get equal scores to the last bit.
    matrix.sum_duplicates()
    return matrix
