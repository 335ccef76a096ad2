"""Boxes, outlines and what is cut out: round trips, plain loops, and outlines that are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from dualway.errors import DataError
from dualway.images import MAX_PIXELS
from dualway.schema import Region, Segment
from dualway.vision.crops import (
    clip_box,
    crop_region,
    decode_mask,
    encode_mask,
    keep_distinct,
    mask_problem,
    outline_box,
)

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


def plain_runs(inside: np.ndarray) -> tuple[int, ...]:
    runs, state = [0], False
    for pixel in inside.ravel().tolist():
        if pixel != state:
            runs.append(0)
            state = pixel
        runs[-1] += 1
    return tuple(runs)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(1, 255, (height, width, 3), dtype=np.uint8))


class TestOutlines:
    @settings(deadline=None)
    @given(MASKS, st.floats(0, 50), st.floats(0, 50))
    def test_a_mask_comes_back(self, inside, left, top):
        inside[0, 0] |= not inside.any()
        height, width = inside.shape
        x0, y0 = int(left), int(top)
        shift = min(left - x0, top - y0) * 0.9  # a box within the same pixels
        box = (x0 + shift, y0 + shift, x0 + width - shift / 2, y0 + height - shift / 2)
        segment = Segment(box, mask=encode_mask(inside))
        assert segment.mask == plain_runs(inside)
        assert all(type(run) is int for run in segment.mask)
        assert mask_problem(segment.box, segment.mask) == ""
        assert outline_box(box) == (x0, y0, x0 + width, y0 + height)
        assert np.array_equal(decode_mask(segment), inside)

    def test_runs_begin_outside(self):
        assert encode_mask(np.array([[True, True, False], [False, True, True]])) == (0, 2, 2, 2)
        assert encode_mask(np.array([[False, True], [True, False]])) == (1, 2, 1)
        assert encode_mask(np.zeros((2, 3), bool)) == (6,)

    def test_a_box_is_rounded_outwards_and_cut_left_and_above(self):
        assert outline_box((1.2, 0.9, 3.1, 4.0)) == (1, 0, 4, 4)
        assert outline_box((-2.5, -0.1, 3, 4)) == (0, 0, 3, 4)
        assert outline_box((-5, -5, -1, -1)) == (0, 0, 0, 0)

    @pytest.mark.parametrize(
        ("box", "mask", "problem"),
        [
            ((0, 0, 2, 2), (4,), "no pixel is inside"),
            ((0, 0, 2, 2), (1, 2), "sum to 3; its box, rounded outwards, has 4"),
            ((0, 0, 2, 2), (), "sum to 0"),
            ((0, 0, 2, 2), (5, -1), "none below 0"),
            ((0, 0, 2, 2), (2, 2.0), "whole numbers"),
            ((0, 0, 2, 2), (2, True, 1), "whole numbers"),
            ((0, 0, 2, 2), (2, None), "whole numbers"),
            ((0, 0, 2, 2), (2, "2"), "whole numbers"),
            ((0, 0, 10**5, 10**5), (0, 10**10), f"more than {MAX_PIXELS:,}"),
            ((-9, -9, -1, -1), (0, 64), "has 0 pixels"),
        ],
    )
    def test_what_is_no_outline_is_told(self, box, mask, problem):
        assert problem in mask_problem(box, mask)
        with pytest.raises(DataError, match="not an object's outline"):
            decode_mask(Segment(box, mask=mask))


class TestCropping:
    def test_by_box_all_of_the_box_is_there(self):
        image = noise(20, 10)
        region = Segment((2.4, 3, 8, 9.6), mask=encode_mask(np.eye(7, 6, dtype=bool)))
        for by in ("box", "mask"):
            assert crop_region(image, Region(region.box), by) == image.crop((2, 3, 8, 10))
        assert crop_region(image, region) == image.crop((2, 3, 8, 10))

    @settings(deadline=None, max_examples=50)
    @given(MASKS, st.integers(0, 20), st.integers(0, 12))
    def test_by_mask_what_is_outside_is_black(self, inside, left, top):
        inside[0, 0] = True
        image, (height, width) = noise(30, 20), inside.shape
        crop = crop_region(image, Segment((left, top, left + width, top + height), mask=encode_mask(inside)), "mask")
        pixels, found = np.asarray(image), np.asarray(crop)
        assert crop.size == (min(width, 30 - left), min(height, 20 - top))  # cut at the picture
        for y in range(crop.height):
            for x in range(crop.width):
                expected = pixels[top + y, left + x] if inside[y, x] else (0, 0, 0)
                assert np.array_equal(found[y, x], expected)

    def test_a_segment_beside_the_picture_is_cut_out_by_its_box(self):
        image = noise(20, 10)
        assert crop_region(image, Segment((40, 2, 44, 4), mask=(0, 8)), "mask") == image.crop((19, 2, 20, 4))

    def test_a_segment_without_runs_is_cut_out_by_its_box(self):
        image = noise(20, 10)
        assert crop_region(image, Segment((1, 1, 5, 5)), "mask") == image.crop((1, 1, 5, 5))

    def test_runs_that_are_not_the_boxes_are_an_error(self):
        with pytest.raises(DataError, match="sum to 3"):
            crop_region(noise(20, 10), Segment((0, 0, 4, 4), mask=(1, 2)), "mask")

    @pytest.mark.parametrize(
        ("box", "expected"),
        [
            ((0, 0, 10, 5), (0, 0, 10, 5)),
            ((-4, -4, 99, 99), (0, 0, 20, 10)),
            ((3.9, 2.2, 7.6, 7.4), (3, 2, 8, 7)),
            ((5, 5, 5.2, 5.2), (5, 5, 6, 6)),
            ((50, 50, 60, 60), (19, 9, 20, 10)),
            ((-9, -9, -1, -1), (0, 0, 1, 1)),
        ],
    )
    def test_a_box_lies_in_the_picture_and_has_a_pixel(self, box, expected):
        assert clip_box(box, (20, 10)) == expected


class TestKeepDistinct:
    @pytest.mark.parametrize("limit", [0.0, 0.3, 0.5, 0.9, 1.0])
    def test_it_is_that_of_a_plain_loop(self, limit):
        rng = np.random.default_rng(0)
        corners = rng.integers(0, 6, (60, 2))
        boxes = np.concatenate([corners, corners + rng.integers(1, 6, (60, 2))], axis=1)
        groups = rng.integers(0, 3, 60).tolist()

        def overlap(i, j):
            a, b = (
                {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])} for box in (boxes[i], boxes[j])
            )
            return len(a & b) / len(a | b)

        expected: list[int] = []
        for i in range(60):
            if all(groups[j] != groups[i] or overlap(i, j) <= limit for j in expected):
                expected.append(i)
        assert keep_distinct(boxes, groups, limit) == expected
        assert (len(expected) == 60) == (limit >= 0.9)
