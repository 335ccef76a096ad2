"""Pictures to vectors: the whole picture v and its objects d (paper, Eqs. 2 and 3), each picture decoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from dualway.encoders.cache import VectorCache, content_key
from dualway.errors import PictureError
from dualway.features.arrays import Ragged
from dualway.images import decode_picture, picture_size, read_picture
from dualway.protocols import ImageEncoder
from dualway.schema import FloatArray, Region

_BATCH = 32
WHOLE = "picture"  # label of the one object of a picture without objects


@dataclass
class PictureVectors:
    """What was encoded, picture by picture.

    image: float32 [p, dim], v.
    objects: Ragged of p lists, d; never empty: a picture without objects is its own one object.
    regions: the object of each row of `objects`, in its order.
    position: path of each usable picture -> its row.
    failures: path of each unusable one -> why.
    """

    image: FloatArray
    objects: Ragged
    regions: list[tuple[Region, ...]]
    position: dict[Path, int]
    failures: dict[str, str] = field(default_factory=dict[str, str])


class PictureEncoder:
    """Encodes pictures and the objects in them; vectors are kept by content, encoder and box.

    Args:
        encoder: The picture encoder.
        cache_folder: Where vectors are kept; None keeps none.
        no_object: What stands for a picture without objects: the picture itself, or a zero vector (public code).
    """

    def __init__(
        self, encoder: ImageEncoder, cache_folder: Path | None, *, no_object: Literal["picture", "zero"] = "picture"
    ) -> None:
        self.encoder = encoder
        self._scale = np.float32(no_object == "picture")
        self._cache = VectorCache(cache_folder, encoder.fingerprint, encoder.dim)

    def encode(self, paths: Sequence[Path], objects: Sequence[Sequence[Region]]) -> PictureVectors:
        """Return the vectors of distinct pictures and of their objects (none: the whole picture is the one object)."""
        lines: list[FloatArray] = []  # of each usable picture: [1 + objects, dim]
        done = PictureVectors(np.zeros((0, self.encoder.dim), np.float32), _no_lists(self.encoder.dim), [], {})
        for path, wanted in zip(paths, objects, strict=True):
            try:
                vectors, kept = self._encode_one(path, wanted)
            except PictureError as error:
                done.failures[str(path)] = error.problem
                continue
            done.position[path] = len(lines)
            done.regions.append(kept)
            lines.append(vectors)
        if lines:
            done.image = np.stack([line[0] for line in lines])
            lists = [line[1:] if len(line) > 1 else line * self._scale for line in lines]
            offsets = np.cumsum([0, *map(len, lists)]).astype(np.int64)
            done.objects = Ragged(np.concatenate(lists), offsets)
        return done

    def _encode_one(self, path: Path, wanted: Sequence[Region]) -> tuple[FloatArray, tuple[Region, ...]]:
        """Return [1 + objects, dim]: the whole picture, then each object; and the objects."""
        content = read_picture(path)
        boxes = [None, *(region.box for region in wanted)]
        keys = [content_key(content if box is None else content + repr(box).encode()) for box in boxes]
        known = self._cache.get(keys)
        missing = [i for i, key in enumerate(keys) if key not in known]
        if missing:
            picture = decode_picture(content, path)
            crops = [picture if (box := boxes[i]) is None else picture.crop(_clip(box, picture.size)) for i in missing]
            for start in range(0, len(crops), _BATCH):
                vectors = self.encoder.encode_images(crops[start : start + _BATCH])
                known.update(zip((keys[i] for i in missing[start : start + _BATCH]), vectors))
            self._cache.put({keys[i]: known[keys[i]] for i in missing})
        if not wanted:
            width, height = picture_size(path)
            return np.stack([known[keys[0]]]), (Region((0.0, 0.0, float(width), float(height)), WHOLE),)
        return np.stack([known[key] for key in keys]), tuple(wanted)


def _clip(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the box in whole pixels inside a picture of `size`, at least one pixel large."""
    width, height = size
    x0, y0 = min(max(int(box[0]), 0), width - 1), min(max(int(box[1]), 0), height - 1)
    return x0, y0, max(min(round(box[2]), width), x0 + 1), max(min(round(box[3]), height), y0 + 1)


def _no_lists(dim: int) -> Ragged:
    return Ragged(np.zeros((0, dim), dtype=np.float32), np.zeros(1, dtype=np.int64))
