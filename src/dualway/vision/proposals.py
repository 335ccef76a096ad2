"""`proposals`: where the objects of a picture probably are, people first of all; no trained weights.

1. The picture is cut into patches of even colour, and alike neighbours are joined (`segments`).
2. Windows of many sizes and shapes (`windows`) are measured. Is a group of patches either inside or outside, or does
   the window cut through it ("superpixels straddling", Alexe et al., PAMI 2012)? Does the inside stand out from the
   picture's border more than what lies around it? Does the middle of the window's top stand out more than its upper
   corners, as the head of whatever stands upright does? Is the window as wide, as tall and as low as people are?
3. Few windows are chosen that speak for as many good ones as possible, so that two people side by side count for more
   than one person found twice.

The numbers in `rate_windows` were tuned on the 39 photographs of docs/vision.md and on drawn pictures of several kinds,
then rounded. They know nothing of how a picture was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dualway.errors import UsageError
from dualway.schema import FloatArray, IntArray, Region
from dualway.vision.segments import cut_patches, join_patches, measure_prominence
from dualway.vision.windows import (
    clip_windows,
    corner_sums,
    count_cells,
    find_overlap,
    make_windows,
    sum_inside,
)

if TYPE_CHECKING:
    from PIL.Image import Image

LABEL = "object"
_VERSION = 1  # raise it whenever regions could change: caches and runs are keyed by it
_CELLS, _PIXELS = 32, 6  # the longer side of the working copy in cells, the side of a cell in pixels
_FLAT = 8  # a picture whose colours differ by less (of 255) shows nothing
_GROUPS = 70  # groups of patches that a window should not cut through
_NUM_RATED = 800  # best windows among which regions are chosen
_SAME, _ALIKE, _DUPLICATE = 0.5, 0.6, 0.7  # intersection over union: speaks for, averaged with, never both chosen
_SURE = 40.0  # support at which 63 in 100 regions hold a person that no earlier one holds, on the same pictures


class Measures(NamedTuple):
    """What was measured of n windows, float32 [n] each.

    whole: 1 = no group of patches is cut; 0 and below: all are.
    contrast: prominence inside minus prominence around, -1 to 1.
    crown: prominence of the top's middle minus that of the upper corners, -1 to 1.
    """

    whole: FloatArray
    contrast: FloatArray
    crown: FloatArray


class Proposals:
    """Finds likely objects without weights; implements Detector.

    A region's score is about the chance that it holds a person whom no earlier region holds; it falls from region to
    region, so the best n are also the n that go best together.

    Args:
        max_regions: How many regions a picture has at most.

    Raises:
        UsageError: `max_regions` is below 1.
    """

    def __init__(self, max_regions: int = 12) -> None:
        if max_regions < 1:
            raise UsageError(f"max_regions is {max_regions}; it must be at least 1")
        self.max_regions = max_regions

    @property
    def fingerprint(self) -> str:
        """Changes whenever the regions could."""
        return f"proposals-{_VERSION}-{self.max_regions}"

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """Return at most `max_regions` regions of each picture, best first; none where a picture is of one colour."""
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: Image) -> list[Region]:
        pixels = _working_copy(image)
        if int(np.ptp(pixels, axis=(0, 1)).max()) < _FLAT:
            return []
        down, across = pixels.shape[0] // _PIXELS, pixels.shape[1] // _PIXELS
        windows = make_windows(across, down)
        grid = np.array([across, down] * 2, dtype=np.float32)
        rating = rate_windows(measure_windows(pixels, windows), windows / grid)
        boxes, support = choose_windows(windows, rating, self.max_regions)
        boxes = boxes / grid * np.array([image.width, image.height] * 2)
        scores = 1 - np.exp(-np.maximum(support, 0) / _SURE)
        return [
            Region((round(x0, 2), round(y0, 2), round(x1, 2), round(y1, 2)), LABEL, round(score, 4))
            for (x0, y0, x1, y1), score in zip(boxes.tolist(), scores.tolist(), strict=True)
        ]


def _working_copy(image: Image) -> NDArray[np.uint8]:
    """Return the picture as uint8 [height, width, 3]: whole cells, the longer side _CELLS, the shorter at least 4."""
    from PIL.Image import Resampling

    across, down = (max(4, round(side * _CELLS / max(image.size))) for side in image.size)
    small = image.resize((across * _PIXELS, down * _PIXELS), Resampling.BOX, reducing_gap=2.0)
    return np.asarray(small.convert("RGB"))


def measure_windows(pixels: NDArray[np.uint8], windows: IntArray) -> Measures:
    """Return what windows (in cells) hold of a working copy, uint8 [height, width, 3], whole cells high and wide."""
    patches = cut_patches(pixels)
    groups = _shares(join_patches(patches, _GROUPS)[patches.labels])
    sums = corner_sums(groups)
    inside = sum_inside(sums, windows)  # [n, groups]
    cut = np.minimum(inside, sums[-1, -1] - inside).sum(axis=1)  # what of a cut group is on the smaller side
    prominence = measure_prominence(patches)[patches.labels]
    down, across = groups.shape[:2]
    cells = prominence.reshape(down, _PIXELS, across, _PIXELS).mean(axis=(1, 3))
    contrast, crown = _compare_prominence(corner_sums(cells), windows)
    return Measures((1 - cut / count_cells(windows)).astype(np.float32), contrast, crown)


def _compare_prominence(sums: FloatArray, windows: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return contrast and crown of each window (`Measures`), from the corner sums of the cells' prominence."""
    grid = {"down": sums.shape[0] - 1, "across": sums.shape[1] - 1}
    x0, y0, x1, y1 = windows.T
    beside, above = _part(x1 - x0, 4), _part(y1 - y0, 8)
    outer = clip_windows(x0 - beside, y0 - above, x1 + beside, y1 + above, **grid)
    around = sum_inside(sums, outer) - sum_inside(sums, windows)
    around = around / np.maximum(count_cells(outer) - count_cells(windows), 1)
    corner, brow = _part(x1 - x0, 4), y0 + _part(y1 - y0, 6)
    left, right = clip_windows(x0, y0, x0 + corner, brow, **grid), clip_windows(x1 - corner, y0, x1, brow, **grid)
    middle = clip_windows(x0 + corner, y0, np.maximum(x1 - corner, x0 + corner + 1), brow, **grid)
    crown = _mean(sums, middle) - (_mean(sums, left) + _mean(sums, right)) / 2
    return (_mean(sums, windows) - around).astype(np.float32), crown.astype(np.float32)


def _mean(sums: FloatArray, windows: IntArray) -> FloatArray:
    return (sum_inside(sums, windows) / np.maximum(count_cells(windows), 1)).astype(np.float32)


def rate_windows(measures: Measures, shares: NDArray[np.floating[Any]]) -> FloatArray:
    """Return the log odds that each window is an object, float32 [n].

    Args:
        measures: What was measured of the windows.
        shares: The windows in shares of the picture's sides, float [n, 4].
    """
    width, height = np.log(shares[:, 2:] - shares[:, :2]).T
    size = -0.4 * (width + 1.8) ** 2 - 1.5 * height**2  # likely a sixth of the picture wide, and as tall as it
    evidence = 4 * measures.whole + 5 * measures.contrast + 2 * measures.crown
    return (evidence + size + 2.5 * shares[:, 3] - 6.3).astype(np.float32)


def choose_windows(windows: IntArray, rating: FloatArray, num: int) -> tuple[FloatArray, FloatArray]:
    """Return the boxes (float [m, 4], m <= num) that speak for most, one after the other, and each one's support.

    A window speaks for those that overlap it by half. Its support is the sum of their chances, of those for which
    nothing chosen before has spoken. The box is the mean of the windows much like it, by their chances.
    """
    best = np.argsort(-rating, kind="stable")[:_NUM_RATED]
    windows, chance = windows[best], 1 / (1 + np.exp(-rating[best]))
    overlap = find_overlap(windows, windows)
    speaks = overlap >= _SAME
    waiting, support = chance.copy(), (speaks * chance).sum(axis=1)
    boxes, supports = np.zeros((0, 4), dtype=np.float32), list[float]()
    while len(boxes) < num:
        first = int(support.argmax())
        settled = speaks[first] & (waiting > 0)
        if not settled.any():
            break
        weights = np.where(overlap[first] >= _ALIKE, overlap[first] * chance, 0)
        box = (windows * weights[:, None]).sum(axis=0, keepdims=True) / weights.sum()
        if (find_overlap(box, boxes) < _DUPLICATE).all():
            boxes = np.concatenate([boxes, box.astype(np.float32)])
            supports.append(float(support[first]))
        support = support - (speaks[:, settled] * waiting[settled]).sum(axis=1)
        waiting[settled] = 0
    return boxes, np.array(supports, dtype=np.float32)


def _part(length: IntArray, parts: int) -> IntArray:
    """Return that part of each length in whole cells, at least one."""
    return np.maximum(1, np.round(length / parts)).astype(np.int64)


def _shares(labels: IntArray) -> FloatArray:
    """Return the share of each cell that each label has, float32 [down, across, labels]."""
    down, across, num = labels.shape[0] // _PIXELS, labels.shape[1] // _PIXELS, int(labels.max()) + 1
    rows, columns = np.arange(labels.shape[0]) // _PIXELS, np.arange(labels.shape[1]) // _PIXELS
    place = (rows[:, None] * across + columns) * num + labels
    counts = np.bincount(place.ravel(), minlength=down * across * num)
    return (counts.reshape(down, across, num) / _PIXELS**2).astype(np.float32)
