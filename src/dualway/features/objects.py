"""Objects that a detector finds in pictures, kept between runs by the picture's content and the detector."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualway.config import FeatureConfig
from dualway.encoders.cache import ByteCache, content_key
from dualway.errors import ModelError
from dualway.features.regions import PictureRegions, choose_objects
from dualway.images import DECODING
from dualway.protocols import Detector
from dualway.schema import Region, Segment
from dualway.vision.crops import mask_problem

if TYPE_CHECKING:
    from PIL.Image import Image

_FILE = "objects.sqlite"


class ObjectFinder:
    """Finds the objects of a picture that the settings keep; a picture that is known is not looked at again.

    Args:
        detector: What finds them.
        config: Which are kept (`choose_objects`). All are remembered, so another choice needs no new detection.
        cache_folder: Where they are remembered; None remembers nothing.
    """

    def __init__(self, detector: Detector, config: FeatureConfig, cache_folder: Path | None) -> None:
        self.detector, self.config = detector, config
        self._cache = RegionCache(cache_folder, detector.fingerprint)

    def find(self, content: bytes, decode: Callable[[], Image]) -> tuple[Region, ...]:
        """Return the kept objects of a picture, in a stable order.

        Args:
            content: The picture's file; what is found is remembered by it.
            decode: Gives the picture itself; called only when nothing is remembered.

        Raises:
            PictureError: It cannot be decoded.
            ModelError: The detector gave a region that is none.
        """
        objects = self._cache.get(content)
        if objects is None:
            [found] = self.detector.detect([decode()])
            text = _to_json(found)
            objects = _from_json(text)
            if objects is None:
                raise ModelError(f"detector {self.detector.fingerprint} found what is no region: {text[:200]}")
            self._cache.put(content, text)
        return choose_objects(self.config, PictureRegions(objects=objects))


class RegionCache:
    """The regions of all pictures and detectors, in one file.

    Args:
        folder: Where the file is; None keeps nothing (every `get` misses).
        fingerprint: The detector's.
    """

    def __init__(self, folder: Path | None, fingerprint: str) -> None:
        self._values = ByteCache(None if folder is None else folder / _FILE, "objects", "regions")
        self._detector = content_key(fingerprint.encode("utf-8", "surrogatepass"))

    def get(self, content: bytes) -> tuple[Region, ...] | None:
        """Return what was found in a picture; None when that is not known, or what is there is damaged."""
        key = self._key(content)
        value = self._values.get([key]).get(key)
        return None if value is None else _from_json(value)

    def put(self, content: bytes, regions: str) -> None:
        """Keep a picture's regions, as `ByteCache.put`."""
        self._values.put({self._key(content): regions.encode()})

    def _key(self, content: bytes) -> bytes:
        return objects_key(content) + self._detector


def objects_key(content: bytes) -> bytes:
    """Return the beginning of the keys under which a picture's objects are kept, whichever detector found them."""
    return content_key(b"%d/" % DECODING + content)


def _to_json(regions: list[Region]) -> str:
    return json.dumps([_plain(region) for region in regions])


def _plain(region: Region) -> list[object]:
    mask = [list(map(int, region.mask))] if isinstance(region, Segment) else []
    return [*map(float, region.box), str(region.label), float(region.score), *mask]


def _from_json(text: bytes | str) -> tuple[Region, ...] | None:
    """Return the regions of `_to_json`; None when they are not all boxes with a label and a score from 0 to 1."""
    try:
        regions = [_region(*item) for item in json.loads(text)]
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    return tuple(regions) if all(map(_is_region, regions)) else None


def _region(x0: Any, y0: Any, x1: Any, y1: Any, label: Any, score: Any, *mask: Any) -> Region:
    box = float(x0), float(y0), float(x1), float(y1)
    if not mask:
        return Region(box, str(label), float(score))
    [runs] = mask
    return Segment(box, str(label), float(score), mask=tuple(runs))


def _is_region(region: Region) -> bool:
    x0, y0, x1, y1 = region.box
    if not (all(map(math.isfinite, region.box)) and x0 < x1 and y0 < y1 and 0 <= region.score <= 1):
        return False
    return not isinstance(region, Segment) or not mask_problem(region.box, region.mask)
