"""Live texts: the text encoder is trained together with the model (`encoders.trainable`).

Mentions, captions and entities go through the encoder at every step. Pictures stay cached, and so do the sentences of
faces and labels, with the vectors of the base encoder: in training and wherever the model is used.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from dualway.encoders import load_text_encoder
from dualway.errors import CompatibilityError, DataError, ModelError
from dualway.features.arrays import Features
from dualway.features.batching import Batch, make_batch
from dualway.features.texts import Texts
from dualway.model import checkpoint
from dualway.protocols import TextEncoder, TrainableEncoder
from dualway.schema import IntArray


@dataclass(frozen=True)
class TrainingTexts:
    """What training needs beside features when the text encoder is trained too.

    Attributes:
        encoder: The base encoder, which made the features; training changes a copy of it.
        train: Of the training mentions and all entities.
        dev: Of the dev mentions and all entities; None without dev mentions.
    """

    encoder: TextEncoder
    train: Texts
    dev: Texts | None = None

    def fingerprint(self) -> str:
        """Return a hash of the base encoder and all strings."""
        parts = [self.train] if self.dev is None else [self.train, self.dev]
        strings = [[list(part.mention), list(part.text), list(part.entities)] for part in parts]
        content = json.dumps([self.encoder.fingerprint, strings])
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def check(self, features: Features, dev: Features | None) -> None:
        """Check that the strings are those of the features, as far as numbers tell.

        Raises:
            DataError: Other numbers of mentions or entities.
            ModelError: Vectors of another width than the encoder's.
        """
        for part, texts, of in (("train", self.train, features), ("dev", self.dev, dev)):
            if of is None:
                continue
            found = None if texts is None else (len(texts.mention), len(texts.text), len(texts.entities))
            if found != (len(of), len(of), len(of.entities)):
                raise DataError(
                    f"texts.{part} has {found} mentions, captions and entities, its features "
                    f"{len(of)} mentions and {len(of.entities)} entities; pass the texts of the same ones"
                )
        if self.encoder.dim != features.text_dim:
            raise ModelError(
                f"the features' texts are {features.text_dim} wide, the encoder to be trained gives "
                f"{self.encoder.dim}; extract them with that encoder"
            )


class LiveSource(nn.Module):
    """The BatchSource of a trained encoder: texts encoded with its current weights, the rest from cached features.

    The encoder's own dropout follows `train()` and `eval()`.

    Args:
        texts: The strings, and the encoder; it is copied, the original keeps its weights.
        features: Of the training mentions.

    Raises:
        ModelError: The encoder has nothing to train.
    """

    def __init__(self, texts: TrainingTexts, features: Features) -> None:
        super().__init__()
        self.base = texts.encoder.fingerprint
        self._encoder = copy.deepcopy(_trainable(texts.encoder))
        self.module = self._encoder.module.float()  # in half precision small steps would be rounded away
        self._texts, self._features = texts.train, features

    def batch(self, index: IntArray) -> Batch:
        """Return the batch of the chosen mentions (int64 [b])."""
        mention, text = self._encode(self._texts.mention, index), self._encode(self._texts.text, index)
        return replace(make_batch(self._features, index), mention=mention, text=text)

    def entities(self, rows: IntArray) -> Tensor:
        """Return the vectors of the chosen entities (int64 [u]), [u, text_dim]."""
        return self._encode(self._texts.entities, rows)

    def _encode(self, texts: Sequence[str], rows: IntArray) -> Tensor:
        chosen: list[int] = rows.tolist()
        return self._encoder.encode_batch([texts[i] for i in chosen])

    def encode(self, features: Features, texts: Texts) -> Features:
        """Return features whose mention, caption and entity vectors are those of the current weights, undropped."""
        training = self.training
        self.eval()
        try:
            return replace(
                features,
                mention=self._encoder.encode_texts(texts.mention),
                text=self._encoder.encode_texts(texts.text),
                entities=self._encoder.encode_texts(texts.entities),
            )
        finally:
            self.train(training)

    def write(self, folder: Path, step: int) -> None:
        """Write the current weights beside the model's."""
        meta = {"step": step, "base": self.base}
        checkpoint.write_tensors(folder / checkpoint.ENCODER, self.module.state_dict(), meta)


def load_encoder(folder: Path, name: str) -> TrainableEncoder:
    """Return the text encoder that was trained with the model in `folder`; its fingerprint is its own.

    Args:
        folder: The model's folder.
        name: The base encoder, as in `encoders.text`.

    Raises:
        ModelError: The weights are missing or broken; the base encoder cannot be loaded or trained.
        CompatibilityError: The base encoder is not the one the training began with.
    """
    path = folder / checkpoint.ENCODER
    tensors, meta = checkpoint.read_tensors(path)
    encoder = _trainable(load_text_encoder(name))
    if meta.get("base") != encoder.fingerprint:
        raise CompatibilityError(
            f"{path}: trained from another encoder than {name!r} is now (fingerprint {encoder.fingerprint}, "
            f"expected {meta.get('base')}); restore it or train again"
        )
    checkpoint.load_tensors(encoder.module.float(), tensors, path)
    digest = hashlib.sha256(encoder.fingerprint.encode())
    for key in sorted(tensors):
        digest.update(key.encode() + tensors[key].numpy().tobytes())
    encoder.fingerprint = digest.hexdigest()[:16]
    return encoder


def _trainable(encoder: TextEncoder) -> TrainableEncoder:
    if not isinstance(encoder, TrainableEncoder):
        raise ModelError(
            f"encoders.trainable=true: {type(encoder).__name__} has no torch module to train (`module` and "
            "`encode_batch`); use a sentence encoder or CLIP, or set encoders.trainable=false"
        )
    return encoder
