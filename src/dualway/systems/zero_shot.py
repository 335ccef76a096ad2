"""`zero_shot_clip`: CLIP as it comes, by the likeness of caption, picture and entity text; the row without training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from dualway.errors import ModelError, ScoreError
from dualway.features.arrays import Features
from dualway.metrics import BoolArray, DoubleArray
from dualway.protocols import Task
from dualway.schema import FloatArray, IntArray

_BLOCK = 64  # mentions whose candidates are gathered at a time; bounds memory
_REMEDY = "is zero or not finite, so it has no honest rank; check the encoder"


class _Queries(NamedTuple):
    """What is compared with E, each of length 1 (float64 [n, dim]); `seen`: where there is a picture (bool [n])."""

    captions: DoubleArray
    pictures: DoubleArray
    seen: BoolArray

    def mean_cosine(self, cosine: Callable[[DoubleArray], DoubleArray]) -> FloatArray:
        """Return the caption's cosines, averaged with the picture's where one is seen, float32 [n, k]."""
        scores = cosine(self.captions)
        if self.seen.any():
            scores = np.where(self.seen[:, None], (scores + cosine(self.pictures)) / 2, scores)
        return scores.astype(np.float32)

    def take(self, part: slice) -> _Queries:
        """Return those of some mentions."""
        return _Queries(self.captions[part], self.pictures[part], self.seen[part])


class ZeroShotClip:
    """Ranks by the cosine of the caption and E, averaged with that of the whole picture and E; learns nothing.

    The picture counts where there is one and its vector is as wide as E: widths that agree are taken for one space, as
    CLIP's are. With two encoders of one width and different spaces its half is noise; with different widths the
    caption alone is compared. The mention itself plays no part beyond its caption, nor do names.

    It computes in double precision and rounds at the end, so that a score does not depend on the others of a batch.
    """

    name = "zero_shot_clip"

    def fit(
        self, task: Task, gold: Mapping[str, str | None], dev_task: Task, dev_gold: Mapping[str, str | None]
    ) -> None:
        """Do nothing: there is nothing to learn."""

    def score(self, task: Task) -> list[FloatArray]:
        """Return the mean cosine of each candidate, in [-1, 1].

        Raises:
            ModelError: The task has no features.
            ScoreError: A vector is zero or not finite; names the mention or the entity.
        """
        if task.features is None:
            raise ModelError("zero-shot CLIP needs features: extract them with CLIP as text and picture encoder")
        queries = _queries(task, task.features)
        if task.candidates is None:
            entities = _entities(task, task.features, np.arange(len(task.kb)))
            return list(queries.mean_cosine(lambda vectors: vectors @ entities.T))
        return list(_score_lists(task, task.features, queries, task.candidates.rows))


def _score_lists(task: Task, features: Features, queries: _Queries, rows: IntArray) -> Iterator[FloatArray]:
    """Yield the scores of each mention's candidates (int64 [n, k], -1 pads)."""
    competing = np.unique(rows[rows >= 0])
    if not len(competing):
        yield from (np.zeros(0, dtype=np.float32) for _ in rows)
        return
    entities = _entities(task, features, competing)  # [m, dim]
    places = np.searchsorted(competing, np.maximum(rows, competing[0]))  # [n, k]
    counts = (rows >= 0).sum(axis=1).tolist()
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        listed = entities[places[part]]  # [b, k, dim]
        scores = queries.take(part).mean_cosine(lambda vectors, listed=listed: np.einsum("bd,bkd->bk", vectors, listed))
        yield from (line[:count] for line, count in zip(scores, counts[part]))


def _queries(task: Task, features: Features) -> _Queries:
    ids = [mention.id for mention in task.mentions]
    captions = _unit(features.text, lambda i: f"mention {ids[i]!r}: the vector of its caption")
    seen, pictures = features.picture >= 0, np.zeros_like(captions)
    if features.image is None or features.image.shape[1] != features.text_dim:
        seen = np.zeros(len(ids), dtype=np.bool_)
    else:
        having: list[int] = np.flatnonzero(seen).tolist()
        vectors = features.image[features.picture[having]]
        pictures[having] = _unit(vectors, lambda i: f"mention {ids[having[i]]!r}: the vector of its picture")
    return _Queries(captions, pictures, seen)


def _entities(task: Task, features: Features, rows: IntArray) -> DoubleArray:
    return _unit(features.entities[rows], lambda i: f"entity {task.kb.ids[rows[i]]!r}: the vector of its text")


def _unit(vectors: FloatArray, name: Callable[[int], str]) -> DoubleArray:
    """Return vectors of length 1, float64.

    Raises:
        ScoreError: One has no direction; `name` says whose it is, by its place.
    """
    broken = np.flatnonzero(~(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)))
    if len(broken):
        raise ScoreError(f"{name(int(broken[0]))} {_REMEDY}")
    exact = vectors.astype(np.float64)
    return exact / np.linalg.norm(exact, axis=1, keepdims=True)
