"""Pictures to vectors: the whole picture v and its objects d (paper, Eqs. 2 and 3), each picture decoded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np

from dualway.encoders.cache import VectorCache, content_key
from dualway.errors import PictureError
from dualway.features.arrays import Ragged
from dualway.features.objects import ObjectFinder
from dualway.features.regions import CutOut
from dualway.images import decode_picture, picture_size, read_picture
from dualway.protocols import ImageEncoder
from dualway.schema import FloatArray, Region

if TYPE_CHECKING:
    from PIL.Image import Image

_BATCH = 32
WHOLE = "picture"  # label of the one object of a picture without objects


@dataclass
class PictureVectors:
    """What was encoded, picture by picture.

    image: float32 [p, dim], v.
    objects: Ragged of p lists, d; never empty: a picture without objects is its own one object.
    regions: the object of each row of `objects`, in its order.
    position: path of each usable picture -> its row.
    failures: path of each unusable one -> why; cut-outs among them are left out of their picture's objects.
    """

    image: FloatArray
    objects: Ragged
    regions: list[tuple[Region, ...]]
    position: dict[Path, int]
    failures: dict[str, str] = field(default_factory=dict[str, str])


class PictureSource(Protocol):
    """Where the vectors of pictures come from: an encoder, or a file."""

    def encode(self, paths: Sequence[Path], objects: Sequence[Sequence[Region] | None]) -> PictureVectors:
        """Return the vectors of distinct pictures and of their objects (None: these are not known)."""
        ...


class _Crop(NamedTuple):
    """Something to be encoded: the whole picture (region None), or an object of it."""

    region: Region | None
    key: bytes
    decode: Callable[[], Image]


class PictureEncoder:
    """Encodes pictures and the objects in them; vectors are kept by content, encoder and box.

    Args:
        encoder: The picture encoder.
        cache_folder: Where vectors are kept; None keeps none.
        no_object: What stands for a picture without objects: the picture itself, or a zero vector (public code).
        finder: Finds the objects of pictures of which they are not known; None: they have none.
        progress: Called with (pictures done, pictures in all).
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        cache_folder: Path | None,
        *,
        no_object: Literal["picture", "zero"] = "picture",
        finder: ObjectFinder | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.encoder, self._finder, self._progress = encoder, finder, progress
        self._scale = np.float32(no_object == "picture")
        self._cache = VectorCache(cache_folder, encoder.fingerprint, encoder.dim)

    def encode(self, paths: Sequence[Path], objects: Sequence[Sequence[Region] | None]) -> PictureVectors:
        """Return the vectors of distinct pictures and of their objects (none: the whole picture is the one object).

        Args:
            paths: The pictures.
            objects: Of each picture; None: they are not known.
        """
        lines: list[FloatArray] = []  # of each usable picture: [1 + objects, dim]
        done = PictureVectors(np.zeros((0, self.encoder.dim), np.float32), _no_lists(self.encoder.dim), [], {})
        for number, (path, wanted) in enumerate(zip(paths, objects, strict=True), start=1):
            if self._progress is not None:
                self._progress(number, len(paths))
            try:
                vectors, kept = self._encode_one(path, wanted, done.failures)
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

    def _encode_one(
        self, path: Path, wanted: Sequence[Region] | None, failures: dict[str, str]
    ) -> tuple[FloatArray, tuple[Region, ...]]:
        """Return [1 + objects, dim]: the whole picture, then each object; and the objects."""
        content = read_picture(path)
        decode = cache(partial(decode_picture, content, path))  # once, for detection and encoding, or not at all
        if wanted is None:
            wanted = () if self._finder is None else self._finder.find(content, decode)
        crops = [_Crop(None, content_key(content), decode), *_crops(wanted, content, decode, failures)]
        known = self._cache.get([crop.key for crop in crops])
        missing = _decode([crop for crop in crops if crop.key not in known], failures)
        for start in range(0, len(missing), _BATCH):
            keys, pictures = zip(*missing[start : start + _BATCH], strict=True)
            known.update(zip(keys, self.encoder.encode_images(pictures), strict=True))
        self._cache.put({key: known[key] for key, _ in missing})
        crops = [crop for crop in crops if crop.key in known]
        regions = tuple(crop.region for crop in crops if crop.region is not None)
        if not regions:
            width, height = picture_size(path)
            regions = (Region((0.0, 0.0, float(width), float(height)), WHOLE),)
        return np.stack([known[crop.key] for crop in crops]), regions


def _crops(
    wanted: Sequence[Region], content: bytes, decode: Callable[[], Image], failures: dict[str, str]
) -> list[_Crop]:
    """Return what to encode of each object; a cut-out that cannot be read is left out and among the failures."""
    crops: list[_Crop] = []
    for region in wanted:
        if not isinstance(region, CutOut):
            key = content_key(content + repr(region.box).encode())
            crops.append(_Crop(region, key, partial(_cut, decode, region)))
            continue
        try:
            own = read_picture(Path(region.picture))
        except PictureError as error:
            failures[region.picture] = error.problem
        else:
            crops.append(_Crop(region, content_key(own), partial(decode_picture, own, Path(region.picture))))
    return crops


def _decode(crops: Sequence[_Crop], failures: dict[str, str]) -> list[tuple[bytes, Image]]:
    """Return the keys and pictures of what is to be encoded; a cut-out that is broken is among the failures."""
    decoded: list[tuple[bytes, Image]] = []
    for crop in crops:
        try:
            decoded.append((crop.key, crop.decode()))
        except PictureError as error:
            if not isinstance(crop.region, CutOut):
                raise
            failures[crop.region.picture] = error.problem
    return decoded


def _cut(decode: Callable[[], Image], region: Region) -> Image:
    picture = decode()
    return picture.crop(_clip(region.box, picture.size))


def _clip(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the box in whole pixels inside a picture of `size`, at least one pixel large."""
    width, height = size
    x0, y0 = min(max(int(box[0]), 0), width - 1), min(max(int(box[1]), 0), height - 1)
    return x0, y0, max(min(round(box[2]), width), x0 + 1), max(min(round(box[3]), height), y0 + 1)


def _no_lists(dim: int) -> Ragged:
    return Ragged(np.zeros((0, dim), dtype=np.float32), np.zeros(1, dtype=np.int64))
