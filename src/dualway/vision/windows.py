"""Windows: boxes on a grid of cells, and sums over many of them at once. A box is x0, y0, x1, y1 in cells."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dualway.schema import FloatArray, IntArray

_WIDTHS = (2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25)  # in cells; a third more from one to the next, or less
_HEIGHTS = (5, 6, 7, 9, 11, 14, 17, 21, 26)
_SHAPES = (0.8, 5.5)  # height by width: from a crouching person to a thin one
_STEPS = 4  # to how many parts of its width a window is moved on; of its height: one more


@lru_cache(maxsize=64)
def make_windows(across: int, down: int) -> IntArray:
    """Return every window of a grid, int64 [n, 4]; about 11,000 for 32 x 24 cells. The whole grid is among them."""
    found: list[IntArray] = []
    for width in (*(w for w in _WIDTHS if w < across), across):
        for height in (*(h for h in _HEIGHTS if h < down), down):
            if _SHAPES[0] <= height / width <= _SHAPES[1] or (width, height) == (across, down):
                left, top = _starts(across, width, _STEPS), _starts(down, height, _STEPS + 1)
                corners = np.stack(np.meshgrid(left, top, indexing="ij"), axis=-1).reshape(-1, 2)
                found.append(np.concatenate([corners, corners + np.array([width, height])], axis=1))
    windows = np.concatenate(found)
    windows.flags.writeable = False  # shared by all callers
    return windows


def clip_windows(x0: IntArray, y0: IntArray, x1: IntArray, y1: IntArray, *, across: int, down: int) -> IntArray:
    """Return the windows with what lies outside the grid cut off, int64 [n, 4]; some may come out empty."""
    corners = [np.clip(x0, 0, across), np.clip(y0, 0, down), np.clip(x1, 0, across), np.clip(y1, 0, down)]
    return np.stack(corners, axis=1)


def count_cells(windows: IntArray) -> FloatArray:
    """Return the number of cells of each window, float32 [n]."""
    return np.prod(windows[:, 2:] - windows[:, :2], axis=1).astype(np.float32)


def corner_sums(cells: FloatArray) -> FloatArray:
    """Return the sums of all cells above and left of each corner, float32 [down + 1, across + 1, ..]."""
    sums = np.zeros((cells.shape[0] + 1, cells.shape[1] + 1, *cells.shape[2:]), dtype=np.float32)
    sums[1:, 1:] = cells.cumsum(axis=0).cumsum(axis=1)
    return sums


def sum_inside(sums: FloatArray, windows: IntArray) -> FloatArray:
    """Return the sum of the cells in each window, float32 [n, ..], from `corner_sums`."""
    x0, y0, x1, y1 = windows.T
    return sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]


def find_overlap(windows: NDArray[np.generic], others: NDArray[np.generic]) -> FloatArray:
    """Return intersection over union of each window with each of the others, float32 [n, m]."""
    ax0, ay0, ax1, ay1 = windows.astype(np.float32).T[:, :, None]
    bx0, by0, bx1, by1 = others.astype(np.float32).T[:, None, :]
    shared = np.clip(np.minimum(ax1, bx1) - np.maximum(ax0, bx0), 0, None)
    shared = shared * np.clip(np.minimum(ay1, by1) - np.maximum(ay0, by0), 0, None)
    return shared / ((ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - shared)


def _starts(length: int, size: int, steps: int) -> IntArray:
    """Return where windows of `size` begin, so that the last one ends at `length`."""
    last = length - size
    return np.unique(np.append(np.arange(0, last, max(1, round(size / steps))), last))
