"""`from_kb`: the linker that works on a knowledge base alone: names, the caption's words, and text similarity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dualway.candidates.names import NameIndex
from dualway.errors import ModelError
from dualway.features.arrays import Features
from dualway.protocols import Task
from dualway.schema import FloatArray, IntArray, Mention

# Chosen on the train splits of WikiMEL, Richpedia and WikiDiverse together, for T@1.
NAME_WEIGHT = 1.0
CAPTION_WEIGHT = 1.0
TEXT_WEIGHT = 0.4


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

    Args:
        names: Index for names and caption words.
    """

    name = "from_kb"

    def __init__(self, names: NameIndex) -> None:
        self._names = names

    def fit(
        self, task: Task, gold: Mapping[str, str | None], dev_task: Task, dev_gold: Mapping[str, str | None]
    ) -> None:
        """Do nothing: there is nothing to learn."""

    def evidence(self, mentions: list[Mention], rows: IntArray, features: Features | None) -> Evidence:
        """Return the similarities of each mention to its candidates (int64 [n, k] rows, -1 = none).

        Without features there is no text similarity.
        """
        surfaces = [mention.surface for mention in mentions]
        cosine = np.zeros(rows.shape, dtype=np.float32)
        if features is not None:
            cosine = np.einsum("nd,nkd->nk", _unit(features.text), _unit(features.entities[np.maximum(rows, 0)]))
        return Evidence(
            name=self._names.score(surfaces, rows),
            caption=self._names.caption_score(mentions, rows),
            text=np.where(rows >= 0, cosine, 0).astype(np.float32),
        )

    def score(self, task: Task) -> list[FloatArray]:
        """Return the weighted sum of the evidence for each candidate."""
        if task.features is None:
            raise ModelError("from_kb needs text vectors: pass features")
        mentions = list(task.mentions)
        if task.candidates is None:
            cosine = _unit(task.features.text) @ _unit(task.features.entities).T
            total = (
                NAME_WEIGHT * self._names.score_all([m.surface for m in mentions])
                + CAPTION_WEIGHT * self._names.caption_score_all(mentions)
                + TEXT_WEIGHT * cosine
            )
            return list(total.astype(np.float32))
        counts = (task.candidates.rows >= 0).sum(axis=1).tolist()
        total = self.evidence(mentions, task.candidates.rows, task.features).total()
        return [line[:count] for line, count in zip(total, counts)]


def _unit(vectors: FloatArray) -> FloatArray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
