"""Faces turned, scaled and cut out so that eyes, nose and mouth lie where face recognition expects them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from dualway.errors import DataError
from dualway.images import to_array
from dualway.schema import Face

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 112  # pixels of the aligned picture
# Where the landmarks go, in schema.Face's order: the five points of ArcFace's pictures (Deng et al., CVPR 2019).
POINTS = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))

_FAR = 1e7  # pixels; no picture is as large
_MARGIN = 2  # pixels that bilinear sampling looks beyond, and a shrunken picture's edge


def can_align(face: Face) -> bool:
    """Tell whether a face has its five landmarks, none of them far beyond any picture, and not all in one place."""
    if len(face.landmarks) != len(POINTS) or any(len(point) != 2 for point in face.landmarks):
        return False
    points = np.array(face.landmarks, dtype=np.float64)
    return bool((np.abs(points) < _FAR).all()) and float(np.ptp(points, axis=0).max()) > 0


def align_face(image: Image, face: Face) -> NDArray[np.uint8]:
    """Return a face of an upright RGB picture with its landmarks on POINTS, uint8 [112, 112, 3] RGB.

    Bilinear; what lies outside of the picture is black. A face that has to become less than half as large is first
    made smaller by means of pixels, as bilinear sampling would skip most of them.

    Raises:
        DataError: The face has no five different landmarks (`can_align`).
    """
    if not can_align(face):
        raise DataError(f"a face at {face.box} has no five landmarks to align it by; use a finder that gives them")
    pixels, matrix = to_array(image), find_similarity(face.landmarks, POINTS)
    part = _needed(pixels, matrix)
    if part is None:
        return np.zeros((SIDE, SIDE, 3), np.uint8)
    x0, y0, x1, y1 = part
    pixels, matrix = _shrink(pixels[y0:y1, x0:x1], _behind(matrix, np.ones(2), np.array([x0, y0], dtype=np.float64)))
    return np.asarray(cv2.warpAffine(pixels, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR), dtype=np.uint8)


def find_similarity(
    source: Sequence[tuple[float, float]], target: Sequence[tuple[float, float]]
) -> NDArray[np.float64]:
    """Return the turn, scale and shift that bring n points nearest to others (least squares), float64 [2, 3].

    Umeyama, PAMI 1991, which in a plane has a closed form: with points as complex numbers z -> a z + b, the best a of
    the centred points is sum(conj(z) w) / sum(|z|^2); its length is the scale, its angle the turn. It never mirrors.

    Raises:
        DataError: All source points are in one place.
    """
    z, w = (np.array(points, dtype=np.float64) @ np.array([1, 1j]) for points in (source, target))
    centred, spread = z - z.mean(), float((np.abs(z - z.mean()) ** 2).sum())
    if spread == 0:
        raise DataError("points that are all in one place say nothing of turn and scale; give different ones")
    a = np.vdot(centred, w - w.mean()) / spread
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _needed(pixels: NDArray[np.uint8], matrix: NDArray[np.float64]) -> tuple[int, int, int, int] | None:
    """Return the part (x0, y0, x1, y1) of a picture that the aligned one shows; OpenCV takes no side over 32,767."""
    if np.hypot(*matrix[:, 0]) < 1 / _FAR:  # landmarks that are those of no face
        return None
    corners = np.array([(0, 0), (SIDE, 0), (0, SIDE), (SIDE, SIDE)]) - matrix[:, 2]
    places = corners @ np.linalg.inv(matrix[:, :2]).T
    low = np.maximum(np.floor(places.min(axis=0)) - _MARGIN, 0)
    high = np.minimum(np.ceil(places.max(axis=0)) + _MARGIN, [pixels.shape[1], pixels.shape[0]])
    return (int(low[0]), int(low[1]), int(high[0]), int(high[1])) if (low < high).all() else None


def _shrink(pixels: NDArray[np.uint8], matrix: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return a smaller picture and what aligns it, for a similarity that would make it less than half as large."""
    step = int(1 / max(float(np.hypot(*matrix[:, 0])), 1e-3))
    if step < 2:
        return pixels, matrix
    height, width = pixels.shape[:2]
    size = max(1, width // step), max(1, height // step)
    smaller = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    scale = np.array([width / size[0], height / size[1]])
    # The middle of the smaller picture's first pixel lies in the middle of those that it is the mean of.
    return smaller, _behind(matrix, scale, (scale - 1) / 2)


def _behind(matrix: NDArray[np.float64], scale: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the transform for points that `scale` and `shift` bring to where `matrix` expects them."""
    return np.concatenate([matrix[:, :2] * scale, (matrix[:, :2] @ shift + matrix[:, 2])[:, None]], axis=1)
