"""Segments: a picture cut into patches of even colour, patches joined by likeness, and how far each stands out.

All of it is computed from the picture itself; nothing is learnt.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dualway.schema import FloatArray, IntArray

_SEED = 10  # pixels between the seeds of patches: 200 to 300 patches in a working copy
_FREE = 4.0  # difference in colour between neighbouring patches that shading alone explains (L*a*b* units)
_STEP = 0.05  # what going from one patch to the next costs at least


class Patches(NamedTuple):
    """A picture in patches.

    labels: int64 [height, width], the patch of each pixel, 0-based.
    colour: float32 [n, 3], mean L*a*b* of each patch.
    size: float32 [n], pixels of each patch.
    pairs: int64 [m, 2], neighbouring patches, the smaller number first.
    """

    labels: IntArray
    colour: FloatArray
    size: FloatArray
    pairs: IntArray


def cut_patches(pixels: NDArray[np.uint8]) -> Patches:
    """Cut an RGB picture (uint8 [height, width, 3]) into patches by watershed, grown from the flattest places."""
    smooth = cv2.GaussianBlur(pixels, (0, 0), 1.0)
    lab = np.asarray(cv2.cvtColor(smooth.astype(np.float32) / 255, cv2.COLOR_RGB2Lab))
    across, down = cv2.Sobel(lab, cv2.CV_32F, 1, 0), cv2.Sobel(lab, cv2.CV_32F, 0, 1)
    slope = np.sqrt((across**2 + down**2).sum(axis=2))
    steepest = max(float(np.percentile(slope, 99.5)), 1.0)
    relief = np.clip(slope / steepest * 255, 0, 255).astype(np.uint8)
    grown = np.asarray(cv2.watershed(cv2.merge([relief] * 3), _seeds(slope)))
    while (grown < 1).any():  # the lines between patches go to a patch beside them
        wider = cv2.dilate(grown.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
        grown = np.where(grown < 1, wider, grown)
    flat = np.unique(grown, return_inverse=True)[1].ravel()  # a seed on the edge may have been lost
    labels, size = flat.reshape(grown.shape), np.bincount(flat).astype(np.float32)
    sums = np.stack([np.bincount(flat, lab[..., i].ravel()) for i in range(3)], axis=1)
    return Patches(labels, (sums / size[:, None]).astype(np.float32), size, _pairs(labels, len(size)))


def join_patches(patches: Patches, num: int) -> IntArray:
    """Join the most alike neighbours until `num` groups are left; return the group of each patch, 0-based.

    The cost of joining is Ward's: by how much the colours' spread within groups would grow.
    """
    size, colour = patches.size.tolist(), patches.colour.tolist()
    near: dict[int, set[int]] = {i: set() for i in range(len(size))}

    def cost(i: int, j: int) -> float:
        one, other = colour[i], colour[j]
        apart = (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2 + (one[2] - other[2]) ** 2
        return apart * size[i] * size[j] / (size[i] + size[j])

    for i, j in patches.pairs.tolist():
        near[i].add(j)
        near[j].add(i)
    waiting = [(cost(i, j), i, j) for i, j in patches.pairs.tolist()]
    heapify(waiting)
    group = np.arange(2 * len(size), dtype=np.int64)
    while waiting and len(near) > num:
        _, i, j = heappop(waiting)
        if i not in near or j not in near:
            continue  # one of them is part of a larger group by now
        around, new = (near.pop(i) | near.pop(j)) - {i, j}, len(size)
        share = size[i] / (size[i] + size[j])
        size.append(size[i] + size[j])
        colour.append([x * share + y * (1 - share) for x, y in zip(colour[i], colour[j], strict=True)])
        group[[i, j]] = new
        near[new] = around
        for other in around:
            near[other] = (near[other] - {i, j}) | {new}
            heappush(waiting, (cost(other, new), other, new))
    return _roots(group, len(patches.size))


def measure_prominence(patches: Patches) -> FloatArray:
    """Return how far each patch stands out from the picture's border, float32 [n], 0 to 1.

    The distance of a patch is the smallest sum of colour differences on a way from the border (top, and the upper
    four fifths of the sides) to it: "geodesic saliency" of Wei et al., ECCV 2012. What runs into the bottom edge is no
    background: people in portraits do.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    num, (first, second) = len(patches.size), patches.pairs.T
    step = np.linalg.norm(patches.colour[first] - patches.colour[second], axis=1)
    step = np.maximum(step - _FREE, 0) + _STEP
    upper = patches.labels[: patches.labels.shape[0] * 4 // 5]
    border = np.unique(np.concatenate([upper[0], upper[:, 0], upper[:, -1]]))
    tails = np.concatenate([first, np.full(len(border), num)])  # patch `num` stands for all that is outside
    heads = np.concatenate([second, border])
    costs = np.concatenate([step, np.full(len(border), _STEP)])
    graph = csr_array((costs, (tails, heads)), shape=(num + 1, num + 1))
    distance = np.asarray(dijkstra(graph, directed=False, indices=num))[:num]
    far = float(np.percentile(distance[patches.labels], 95))
    return np.minimum(distance / far, 1).astype(np.float32)


def _seeds(slope: FloatArray) -> NDArray[np.int32]:
    """Return the flattest pixel of each square of _SEED pixels, numbered from 1; int32 [height, width], else 0."""
    down, across = slope.shape[0] // _SEED, slope.shape[1] // _SEED
    squares = slope[: down * _SEED, : across * _SEED].reshape(down, _SEED, across, _SEED).swapaxes(1, 2)
    flattest = squares.reshape(down * across, _SEED * _SEED).argmin(axis=1)
    square = np.arange(down * across)
    seeds = np.zeros(slope.shape, dtype=np.int32)
    seeds[square // across * _SEED + flattest // _SEED, square % across * _SEED + flattest % _SEED] = square + 1
    return seeds


def _pairs(labels: IntArray, num: int) -> IntArray:
    """Return the pairs of labels that touch, int64 [m, 2]."""
    beside = np.concatenate([labels[:, :-1].ravel(), labels[:-1].ravel()])
    other = np.concatenate([labels[:, 1:].ravel(), labels[1:].ravel()])
    low, high = np.minimum(beside, other), np.maximum(beside, other)
    return np.stack(np.divmod(np.unique((low * num + high)[low < high]), num), axis=1)


def _roots(group: IntArray, num: int) -> IntArray:
    """Return the outermost group of each of the first `num`, renumbered from 0."""
    while True:
        further = group[group]
        if np.array_equal(further, group):
            return np.unique(group[:num], return_inverse=True)[1]
        group = further
