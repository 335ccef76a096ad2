"""Alignment: known similarities are found again, beside two other solvers; pixels land where they should."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.optimize import least_squares

from dualway.errors import DataError
from dualway.schema import Face
from dualway.vision.align import POINTS, SIDE, align_face, can_align, find_similarity

TARGET = np.array(POINTS)


def similarity(scale: float, angle: float, shift) -> np.ndarray:
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def move(matrix: np.ndarray, points) -> np.ndarray:
    return np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]


def face(points) -> Face:
    return Face((0, 0, 1, 1), {}, landmarks=tuple((float(x), float(y)) for x, y in points))


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The textbook way: singular values of the covariance, the last one turned where it would mirror."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, values, vt = np.linalg.svd(b.T @ a / len(a))
    signs = np.array([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    turn = u @ np.diag(signs) @ vt
    scale = float((values * signs).sum() / a.var(0).sum())
    return np.concatenate([scale * turn, (target.mean(0) - scale * turn @ source.mean(0))[:, None]], axis=1)


class TestTheSimilarity:
    @pytest.mark.parametrize("scale", [0.02, 0.7, 1.0, 30.0])
    @pytest.mark.parametrize("angle", [0.0, 0.4, -2.0, math.pi])
    def test_a_known_one_is_found_again(self, scale, angle):
        known = similarity(scale, angle, (300.0, -70.0))
        found = find_similarity([(x, y) for x, y in TARGET], [(x, y) for x, y in move(known, TARGET)])
        assert found == pytest.approx(known, abs=1e-9)

    def test_it_is_what_two_other_solvers_find(self):
        rng = np.random.default_rng(0)
        for _ in range(40):
            source = rng.normal(size=(5, 2)) * rng.uniform(5, 200) + rng.uniform(-500, 500, 2)
            found = find_similarity([(x, y) for x, y in source], POINTS)
            assert found == pytest.approx(umeyama(source, TARGET), rel=1e-6, abs=1e-6)

            def apart(values, source=source):
                a, b, tx, ty = values
                return (move(np.array([[a, -b, tx], [b, a, ty]]), source) - TARGET).ravel()

            start = np.array([0.0, 0.0, 56.0, 56.0])
            a, b, tx, ty = least_squares(apart, start, xtol=1e-14, ftol=1e-14, gtol=1e-14, x_scale="jac").x
            assert found == pytest.approx(np.array([[a, -b, tx], [b, a, ty]]), rel=1e-4, abs=1e-4)

    def test_it_never_mirrors(self):
        mirrored = TARGET * [-1, 1]
        matrix = find_similarity([(x, y) for x, y in mirrored], POINTS)
        assert np.linalg.det(matrix[:, :2]) > 0

    def test_points_in_one_place(self):
        with pytest.raises(DataError, match="all in one place"):
            find_similarity([(3.0, 4.0)] * 5, POINTS)


def slopes() -> Image.Image:
    """Return a picture whose three colours are different gentle slopes, so that bilinear sampling is exact."""
    y, x = np.mgrid[0:900, 0:1000].astype(np.float64)
    return Image.fromarray(np.stack([x / 4, y / 4, (x + y) / 8], axis=-1).round().astype(np.uint8))


class TestTheAlignedPicture:
    @pytest.mark.parametrize(
        ("scale", "angle"), [(0.6, 0.2), (1.0, 0.0), (1.9, -0.5), (2.3, 0.3), (6.5, -0.1), (0.9, math.pi / 2)]
    )
    def test_each_pixel_comes_from_where_it_should(self, scale, angle):
        """Also for a face so large that means of pixels are taken first (scales over 2)."""
        centre = np.array([500.0, 450.0])
        back = similarity(scale, angle, (0.0, 0.0))
        back[:, 2] = centre - move(back, [[56.0, 56.0]])[0]
        aligned = align_face(slopes(), face(move(back, TARGET))).astype(np.float64)
        assert aligned.shape == (SIDE, SIDE, 3)
        y, x = np.mgrid[0:SIDE, 0:SIDE]
        places = move(back, np.stack([x.ravel(), y.ravel()], axis=1))
        inside = ((places > 4) & (places < [995, 895])).all(axis=1)
        assert inside.sum() > 5000
        expected = np.stack([places[:, 0] / 4, places[:, 1] / 4, places.sum(1) / 8], axis=1)
        off = (aligned.reshape(-1, 3) - expected)[inside]
        assert np.abs(off).max() < 2.0
        assert (
            np.abs(off.mean(axis=0)).max() < 0.3
        )  # the last pixels of the 6 that are one, instead of their middle: .6

    def test_landmarks_land_on_the_five_points(self):
        pixels = np.zeros((200, 200, 3), np.uint8)
        source = move(similarity(1.2, 0.3, (30, 20)), TARGET)
        for x, y in source:
            cv2.circle(pixels, (round(x), round(y)), 3, (255, 255, 255), -1)
        aligned = align_face(Image.fromarray(pixels), face(source))
        _, _, _, centres = cv2.connectedComponentsWithStats((aligned[:, :, 0] > 128).astype(np.uint8))
        found = sorted(centres[1:].tolist())
        assert np.array(found) == pytest.approx(np.array(sorted(TARGET.tolist())), abs=1.0)

    def test_the_noise_of_a_large_face_is_averaged(self):
        rng = np.random.default_rng(0)
        noise = np.clip(rng.normal(128, 60, (900, 900, 3)), 0, 255).astype(np.uint8)
        aligned = align_face(Image.fromarray(noise), face(TARGET * 8))
        assert aligned.std() < 15

    def test_outside_is_black(self):
        white = Image.new("RGB", (60, 60), "white")
        aligned = align_face(white, face(TARGET - np.array([56, 0])))
        assert aligned[30, 20].tolist() == [0, 0, 0]
        assert aligned[30, 100].tolist() == [255, 255, 255]
        assert not align_face(white, face(TARGET + 5000)).any()

    @pytest.mark.parametrize("size", [(1, 1), (1, 900), (40_000, 3)])
    def test_odd_pictures(self, size):
        picture = Image.new("RGB", size, "white")
        for points in (TARGET, TARGET * 100, TARGET / 100, TARGET + np.array([39_000, 0])):
            assert align_face(picture, face(points)).shape == (SIDE, SIDE, 3)

    def test_landmarks_of_no_face(self):
        picture, rng = Image.new("RGB", (50, 40), "white"), np.random.default_rng(0)
        mirrored = [(-1.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (0.0, 0.0)]
        for points in (mirrored, rng.uniform(-9e6, 9e6, (5, 2)), rng.uniform(0, 1e-9, (5, 2)), TARGET * [-1, 1]):
            assert align_face(picture, face(points)).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize(
    "landmarks",
    [
        (),
        ((1.0, 2.0),) * 5,
        POINTS[:4],
        (*POINTS[:4], (math.nan, 1.0)),
        (*POINTS[:4], (math.inf, 1.0)),
        (*POINTS[:4], (1e300, 1.0)),
        (*POINTS[:4], (1.0,)),
    ],
)
def test_faces_that_cannot_be_aligned(landmarks):
    known = Face((0, 0, 5, 5), {}, landmarks=landmarks)
    assert not can_align(known)
    with pytest.raises(DataError, match="has no five landmarks"):
        align_face(Image.new("RGB", (9, 9)), known)


def test_a_face_that_can():
    assert can_align(face(POINTS))
