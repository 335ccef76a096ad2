"""`from_kb`: the linker that works on a knowledge base alone: names, the caption's words, and text similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dualway.candidates.names import NameIndex
from dualway.errors import ScoreError
from dualway.features.extract import EntityVectors
from dualway.protocols import Task
from dualway.schema import FloatArray, IntArray, Mention

# Chosen on the train splits of WikiMEL, Richpedia and WikiDiverse together, for T@1.
NAME_WEIGHT = 1.0
CAPTION_WEIGHT = 1.0
TEXT_WEIGHT = 0.4
_REMEDY = "is zero or not finite, so it has no honest rank; check the text encoder"


class Evidence(NamedTuple):
    """Raw similarities of n mentions to k candidates, each float32 [n, k]; 0 where padded."""

    name: FloatArray  # surface against the entity's best name, in [0, 1]
    caption: FloatArray  # words of the caption that stand in the entity's names
    text: FloatArray  # cosine of caption and representation, in [-1, 1]; 0 without an encoder

    def total(self) -> FloatArray:
        """Return the score: the weighted sum."""
        total = NAME_WEIGHT * self.name + CAPTION_WEIGHT * self.caption + TEXT_WEIGHT * self.text
        return total.astype(np.float32)


class FromKb:
    """Ranks by name similarity, caption words and the similarity of caption and representation; learns nothing.

    It encodes captions and representations itself, so a task's features play no part.

    Args:
        names: Index for names and caption words.
        vectors: Entity vectors and the encoder that made them; None: names and caption words alone.
    """

    name = "from_kb"

    def __init__(self, names: NameIndex, vectors: EntityVectors | None) -> None:
        self._names, self.vectors = names, vectors

    def fit(
        self, task: Task, gold: Mapping[str, str | None], dev_task: Task, dev_gold: Mapping[str, str | None]
    ) -> None:
        """Do nothing: there is nothing to learn."""

    def evidence(self, mentions: Sequence[Mention], rows: IntArray) -> Evidence:
        """Return the similarities of each mention to its candidates (int64 [n, k] rows, -1 = none)."""
        cosine = np.zeros(rows.shape, dtype=np.float32)
        if self.vectors is not None:
            entities = self.vectors.of(rows)  # [num_entities, dim]
            self._check_entities(self.vectors, np.unique(rows[rows >= 0]))
            captions = self._captions(self.vectors, mentions)
            cosine = np.einsum("nd,nkd->nk", captions, _unit(entities[np.maximum(rows, 0)]))  # [n, k]
        return Evidence(
            name=self._names.score([mention.surface for mention in mentions], rows),
            caption=self._names.caption_score(mentions, rows),
            text=np.where(rows >= 0, cosine, 0).astype(np.float32),
        )

    def score(self, task: Task) -> list[FloatArray]:
        """Return the weighted sum of the evidence for each candidate."""
        if task.candidates is None:
            return list(self._score_all(task.mentions))
        counts = (task.candidates.rows >= 0).sum(axis=1).tolist()
        total = self.evidence(task.mentions, task.candidates.rows).total()
        return [line[:count] for line, count in zip(total, counts)]

    def _score_all(self, mentions: Sequence[Mention]) -> FloatArray:
        total = NAME_WEIGHT * self._names.score_all([mention.surface for mention in mentions])
        total += CAPTION_WEIGHT * self._names.caption_score_all(mentions)
        if self.vectors is not None:
            self._check_entities(self.vectors, np.arange(len(self.vectors.kb)))
            total += TEXT_WEIGHT * self._captions(self.vectors, mentions) @ _unit(self.vectors.all()).T
        return total.astype(np.float32)

    def _captions(self, vectors: EntityVectors, mentions: Sequence[Mention]) -> FloatArray:
        encoded = vectors.extractor.text.encode_texts([mention.text for mention in mentions])
        broken = _broken(encoded)
        if len(broken):
            raise ScoreError(f"mention {mentions[broken[0]].id!r}: the vector of its caption {_REMEDY}")
        return _unit(encoded)

    def _check_entities(self, vectors: EntityVectors, rows: IntArray) -> None:
        if len(broken := _broken(vectors.of(rows)[rows])):
            raise ScoreError(f"entity {vectors.kb.ids[rows[broken[0]]]!r}: the vector of its text {_REMEDY}")


def _broken(vectors: FloatArray) -> IntArray:
    """Return which rows have no direction: zero or not finite."""
    return np.flatnonzero(~(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)))


def _unit(vectors: FloatArray) -> FloatArray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
