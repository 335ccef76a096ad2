"""DWE+ as a compared system: a trained model that ranks by the cosine of g and E (paper, Eq. 1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from dualway.config import Preset
from dualway.encoders import load_text_encoder
from dualway.encoders.cache import CachedTextEncoder, default_cache_folder
from dualway.errors import ModelError
from dualway.features.arrays import Features
from dualway.features.extract import EntityVectors, FeatureExtractor
from dualway.features.texts import Texts, caption_texts, mention_texts
from dualway.kb.store import KnowledgeBase
from dualway.model.live import TrainingTexts, load_encoder
from dualway.model.scoring import Scorer
from dualway.model.train import DevSet, load_model, train
from dualway.protocols import Task
from dualway.schema import FloatArray, IntArray


class DwePlusSystem:
    """The model of one seed, with its own text encoder where that was trained too (`encoders.trainable`).

    Args:
        preset: Its settings; the name under which it appears is the preset's.
        folder: Where `fit` leaves the model and where a trained one is read from.
        seed: Of the training.
        progress: Called with (texts done, texts in all) while its own encoder works.
    """

    def __init__(
        self, preset: Preset, folder: Path, *, seed: int = 0, progress: Callable[[int, int], None] | None = None
    ) -> None:
        self.name = preset.name
        self.preset, self.folder, self.seed, self.progress = preset, folder, seed, progress
        self._forget()

    def _forget(self) -> None:
        self._scorer: Scorer | None = None
        self._entities: FloatArray | None = None
        self._encoder: CachedTextEncoder | None = None
        self._vectors: EntityVectors | None = None

    def fit(
        self, task: Task, gold: Mapping[str, str | None], dev_task: Task, dev_gold: Mapping[str, str | None]
    ) -> None:
        """Train on the task's features, or its texts; the best checkpoint on dev is kept in the folder."""
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
            texts=self._training_texts(task, dev_task) if self.preset.encoders.trainable else None,
            mention_ids=[mention.id for mention in task.mentions],
        )
        self._forget()

    def _training_texts(self, task: Task, dev_task: Task) -> TrainingTexts:
        config = self.preset.features
        train, dev = (Texts.read(config, part.mentions, part.kb) for part in (task, dev_task))
        return TrainingTexts(load_text_encoder(self.preset.encoders.text), train, dev)

    def score(self, task: Task) -> list[FloatArray]:
        """Return the cosine of g and each candidate's E, in [-1, 1]."""
        features = self.features(task)
        return self.scorer(features.entities).score(features, task.candidates, [m.id for m in task.mentions])

    def features(self, task: Task) -> Features:
        """Return what the model reads: the task's features, with mentions, captions and entities by its own encoder.

        Without one they are the task's as they stand; faces, labels and pictures always are.
        """
        features = _features(task)
        if not self.preset.encoders.trainable:
            return features
        encoder, config = self._own_encoder(), self.preset.features
        return replace(
            features,
            mention=encoder.encode_texts(mention_texts(config, task.mentions)),
            text=encoder.encode_texts(caption_texts(config, task.mentions)),
            entities=self.entities(task.kb),
        )

    def entities(self, kb: KnowledgeBase) -> FloatArray:
        """Return E by the model's own encoder, float32 [num_entities, dim]; the same array for the same `kb`."""
        if self._vectors is None or self._vectors.kb is not kb:
            self._vectors = EntityVectors(FeatureExtractor(self.preset.features, self._own_encoder()), kb)
        return self._vectors.all()

    def _own_encoder(self) -> CachedTextEncoder:
        if self._encoder is None:
            encoder = load_encoder(self.folder, self.preset.encoders.text)
            self._encoder = CachedTextEncoder(encoder, default_cache_folder(), progress=self.progress)
        return self._encoder

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
