"""Parts of pictures: boxes in whole pixels, outlines as runs of pixels, and cutting either out of the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from dualway.errors import DataError
from dualway.images import MAX_PIXELS
from dualway.schema import Region, Segment

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]
Pixels = tuple[int, int, int, int]  # x0, y0, x1, y1, the ends left out


def clip_box(box: Box, size: tuple[int, int]) -> Pixels:
    """Return the box in whole pixels inside a picture of `size` (width, height), at least one pixel large."""
    width, height = size
    x0, y0 = min(max(int(box[0]), 0), width - 1), min(max(int(box[1]), 0), height - 1)
    return x0, y0, max(min(round(box[2]), width), x0 + 1), max(min(round(box[3]), height), y0 + 1)


def outline_box(box: Box) -> Pixels:
    """Return the pixels that a mask speaks of: the box rounded outwards, without what is left of or above a picture."""
    x0, y0, x1, y1 = box
    return max(math.floor(x0), 0), max(math.floor(y0), 0), max(math.ceil(x1), 0), max(math.ceil(y1), 0)


def encode_mask(inside: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return an outline (bool [height, width]) as `schema.Segment` holds it: lengths of runs, beginning outside."""
    flat = inside.ravel()
    turns = np.flatnonzero(np.diff(flat, prepend=np.False_))
    return tuple(np.diff(turns, prepend=0, append=flat.size).tolist())


def decode_mask(segment: Segment) -> NDArray[np.bool_]:
    """Return what is inside the outline, bool [height, width] of the pixels of `outline_box`.

    Raises:
        DataError: The runs are not those of the box.
    """
    if problem := mask_problem(segment.box, segment.mask):
        raise DataError(f"not an object's outline: {problem}; find or write it anew")
    x0, y0, x1, y1 = outline_box(segment.box)
    return np.repeat(np.arange(len(segment.mask)) % 2 == 1, segment.mask).reshape(y1 - y0, x1 - x0)


def mask_problem(box: Box, mask: Sequence[object]) -> str:
    """Return what is wrong with the runs of a box, empty when nothing is; the box itself is known to be one."""
    lengths = [run for run in mask if isinstance(run, int) and not isinstance(run, bool) and run >= 0]
    if len(lengths) < len(mask):
        return "'mask' must be a list of whole numbers, none below 0"
    x0, y0, x1, y1 = outline_box(box)
    area, covered = (x1 - x0) * (y1 - y0), sum(lengths)
    if covered != area:
        return f"the runs of 'mask' sum to {covered:,}; its box, rounded outwards, has {area:,} pixels"
    if area > MAX_PIXELS:
        return f"a 'mask' of {area:,} pixels, more than {MAX_PIXELS:,}"
    return "" if any(lengths[1::2]) else "no pixel is inside 'mask'"


def crop_region(image: Image, region: Region, by: Literal["box", "mask"] = "box") -> Image:
    """Return the part of a picture that a region is, at least one pixel large.

    Args:
        image: The upright RGB picture.
        region: What to cut out.
        by: "mask" makes black what lies outside a Segment's outline, as the paper's public code does; a region without
            outline (or one that lies outside the picture) is cut out by its box.

    Raises:
        DataError: The segment's runs are not those of its box.
    """
    if by == "mask" and isinstance(region, Segment) and region.mask:
        x0, y0, x1, y1 = outline_box(region.box)
        x1, y1 = min(x1, image.width), min(y1, image.height)
        if x0 < x1 and y0 < y1:
            return _without_background(image.crop((x0, y0, x1, y1)), decode_mask(region)[: y1 - y0, : x1 - x0])
    return image.crop(clip_box(region.box, image.size))


def _without_background(crop: Image, inside: NDArray[np.bool_]) -> Image:
    from PIL import Image as images

    return images.fromarray(np.asarray(crop.convert("RGB")) * inside[:, :, None].astype(np.uint8))


def keep_distinct(boxes: NDArray[np.floating], groups: Sequence[int] | NDArray[np.int64], overlap: float) -> list[int]:
    """Return the positions of the boxes that none before them in their group, and kept, overlaps by more (NMS).

    Args:
        boxes: float [n, 4], best first.
        groups: Of each box; boxes of different groups do not compete.
        overlap: Intersection over union above which the later box is left out.
    """
    corners, kinds = np.asarray(boxes, dtype=np.float64).reshape(-1, 4), np.asarray(groups, dtype=np.int64)
    kept, waiting = list[int](), np.ones(len(corners), dtype=np.bool_)
    for i in range(len(corners)):
        if waiting[i]:
            kept.append(i)
            rival = (kinds == kinds[i]) & waiting
            rival[: i + 1] = False
            waiting[rival] = ~(_overlap(corners[i], corners[rival]) > overlap)
    return kept


def _overlap(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return intersection over union of a box with each of n others, float64 [n]."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # a box from outside may be of any size
        sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
        shared = np.prod(np.clip(sides, 0, None), axis=1)
        return shared / (np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1) - shared)
