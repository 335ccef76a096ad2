"""DWE+ as a compared system: a trained model that ranks by the cosine of g and E (paper, Eq. 1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dualway.config import Preset
from dualway.errors import ModelError
from dualway.features.arrays import Features
from dualway.model.scoring import Scorer
from dualway.model.train import DevSet, load_model, train
from dualway.protocols import Task
from dualway.schema import FloatArray, IntArray


class DwePlusSystem:
    """The model of one seed.

    Args:
        preset: Its settings; the name under which it appears is the preset's.
        folder: Where `fit` leaves the model and where a trained one is read from.
        seed: Of the training.
    """

    def __init__(self, preset: Preset, folder: Path, *, seed: int = 0) -> None:
        self.name = preset.name
        self.preset, self.folder, self.seed = preset, folder, seed
        self._scorer: Scorer | None = None
        self._entities: FloatArray | None = None

    def fit(
        self, task: Task, gold: Mapping[str, str | None], dev_task: Task, dev_gold: Mapping[str, str | None]
    ) -> None:
        """Train on the task's cached features; the best checkpoint on dev is kept in the folder."""
        if task.candidates is None or dev_task.candidates is None:
            raise ModelError("training needs candidate lists: its hard negatives come from them")
        train(
            self.preset,
            _features(task),
            gold_rows=gold_rows(task, gold),
            candidates=task.candidates,
            dev=DevSet(_features(dev_task), gold_rows(dev_task, dev_gold), dev_task.candidates),
            out=self.folder,
            seed=self.seed,
            mention_ids=[mention.id for mention in task.mentions],
        )
        self._scorer = None

    def score(self, task: Task) -> list[FloatArray]:
        """Return the cosine of g and each candidate's E, in [-1, 1]."""
        features = _features(task)
        return self.scorer(features.entities).score(features, task.candidates, [m.id for m in task.mentions])

    def scorer(self, entities: FloatArray) -> Scorer:
        """Return the model made ready for these entities; kept as long as they stay the same array."""
        if self._scorer is None or self._entities is not entities:
            self._scorer, self._entities = Scorer(load_model(self.folder).model, entities), entities
        return self._scorer


def gold_rows(task: Task, gold: Mapping[str, str | None]) -> IntArray:
    """Return the row of each mention's gold entity, int64 [n]; -1 for NIL or an entity that is not in the KB."""
    return np.asarray(task.kb.rows([gold.get(mention.id) for mention in task.mentions]), dtype=np.int64)


def _features(task: Task) -> Features:
    if task.features is None:
        raise ModelError("DWE+ needs features: extract them with the encoders of its preset")
    return task.features
