"""Knowledge bases with small pictures of one colour, and an embedder for which the colour is the person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dualway.errors import ModelError, PictureError
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, FloatArray, Picture
from dualway.vision.gallery import Gallery

Colour = tuple[int, int, int]
BLACK = (0, 0, 0)  # nobody is in such a picture


def save_picture(path: Path, colour: Colour) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), colour).save(path)


def make_kb(path: Path, root: Path, pictures: Mapping[str, Sequence[str]]) -> KnowledgeBase:
    """Return a knowledge base of these entities, each with pictures of these names in `root`."""
    entities = [Entity(i, f"name of {i}", pictures=tuple(map(Picture, names))) for i, names in pictures.items()]
    return KnowledgeBase.create(path, entities, picture_root=root)


class ColourEmbedder:
    """A picture's colour as a vector of length 1; no person in a black one. Counts what it looks at."""

    dim = 3

    def __init__(self, name: str = "colours") -> None:
        self.fingerprint = f"{name}-embedder"
        self.encoder_fingerprint = name
        self.about = {"what": "colours"}
        self.seen: list[Colour] = []
        self.broken: Colour | None = None  # the model fails on it

    def embed(self, image: Image.Image) -> FloatArray:
        colour = image.getpixel((0, 0))
        assert isinstance(colour, tuple)
        self.seen.append((int(colour[0]), int(colour[1]), int(colour[2])))
        if self.seen[-1] == self.broken:
            raise ModelError("broken")
        if self.seen[-1] == BLACK:
            raise PictureError("no colour in it")
        return unit(colour)


def unit(values: Sequence[float]) -> FloatArray:
    vector = np.asarray(values, dtype=np.float64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def gallery_of(vectors: FloatArray, counts: Sequence[int]) -> Gallery:
    """Return a gallery of entities with so many vectors each; rows without any are not in it."""
    there = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(np.array(counts)[there])]).astype(np.int64)
    own = np.ones(len(vectors), dtype=np.bool_)
    return Gallery(there, {}, "f", "e", True, 0, 0, vectors, starts, own)
