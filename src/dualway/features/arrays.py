"""Features of many mentions as arrays in memory: dense where there is one per mention, ragged where there are many."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from dualway.schema import FloatArray, IntArray


class Ragged(NamedTuple):
    """Lists of vectors of different lengths.

    values: float32 [N, dim], all vectors one after the other.
    offsets: int64 [n + 1]; list i is values[offsets[i]:offsets[i + 1]].
    """

    values: FloatArray
    offsets: IntArray

    def counts(self) -> IntArray:
        """Return the length of each list, int64 [n]."""
        return np.diff(self.offsets)

    def of(self, i: int) -> FloatArray:
        """Return list i, float32 [m, dim]."""
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def positions(self, index: IntArray) -> IntArray:
        """Return the positions in `values` of the chosen lists, in their order, int64 [M]."""
        counts = self.counts()[index]
        ends = np.cumsum(counts)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
        return np.repeat(self.offsets[:-1][index], counts) + within

    def take(self, index: IntArray) -> Ragged:
        """Return the chosen lists (int64 [m])."""
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self.counts()[index])])
        return Ragged(self.values[self.positions(index)], offsets)


@dataclass(frozen=True)
class Features:
    """What a model knows of n mentions and of the knowledge base.

    Pictures are stored once, however many mentions they have; `picture` points into the per-picture arrays.
    Optional parts are None when nothing of their kind was extracted.

    Attributes:
        mention: float32 [n, text_dim], Eq. 4-8's m.
        text: float32 [n, text_dim], the pooled caption t.
        picture: int64 [n], index into the per-picture arrays; -1 where a mention has no (usable) picture.
        entities: float32 [num_entities, text_dim], E, in the order of the knowledge base.
        image: float32 [num_pictures, image_dim], the whole picture v.
        objects: per picture, Ragged of image_dim (Eq. 3's d); never an empty list when extracted: a picture
            without objects is its own one object.
        labels: per picture, Ragged of text_dim: the encoded identity labels (Eq. 6's s).
        identities: per mention, Ragged of text_dim: whom the gallery says its picture shows (Eq. 6's s, too).
        faces: per mention, Ragged of text_dim: the encoded face sentences (Eq. 5's f; they hold the mention).
        face_object: int64 [total faces], position (0-based, within the mention's picture) of the object that
            contains each face; -1 where unknown.
        text_tokens: per mention, Ragged of text_dim: the caption's tokens, for `text_keys = "tokens"`.
    """

    mention: FloatArray
    text: FloatArray
    picture: IntArray
    entities: FloatArray
    image: FloatArray | None = None
    objects: Ragged | None = None
    labels: Ragged | None = None
    faces: Ragged | None = None
    face_object: IntArray | None = None
    text_tokens: Ragged | None = None
    identities: Ragged | None = None

    def __len__(self) -> int:
        return len(self.mention)

    @property
    def text_dim(self) -> int:
        """Width of the text encoder's vectors."""
        return self.mention.shape[1]

    @property
    def image_dim(self) -> int | None:
        """Width of the picture encoder's vectors; None without pictures."""
        if self.objects is not None:
            return self.objects.values.shape[1]
        return None if self.image is None else self.image.shape[1]

    def take(self, index: IntArray) -> Features:
        """Return the features of the chosen mentions (int64 [m]); per-picture arrays and entities are shared."""
        return replace(
            self,
            mention=self.mention[index],
            text=self.text[index],
            picture=self.picture[index],
            faces=None if self.faces is None else self.faces.take(index),
            face_object=None
            if self.face_object is None or self.faces is None
            else self.face_object[self.faces.positions(index)],
            text_tokens=None if self.text_tokens is None else self.text_tokens.take(index),
            identities=None if self.identities is None else self.identities.take(index),
        )
