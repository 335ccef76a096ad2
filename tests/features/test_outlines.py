"""Which objects are kept by size and overlap, and outlines in the regions file and between runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dualway.config import FeatureConfig
from dualway.errors import DataError, ModelError
from dualway.features.objects import ObjectFinder, RegionCache
from dualway.features.regions import CutOut, PictureRegions, choose_objects, read_regions
from dualway.images import MAX_PIXELS
from dualway.schema import Region, Segment
from dualway.vision.crops import crop_region

PICTURE = Image.fromarray(np.random.default_rng(0).integers(1, 255, (30, 40, 3), dtype=np.uint8))
RUNS = (0, 3, 1, 2, 2, 1)  # a triangle of three rows
TRIANGLE = Segment((4.0, 5.0, 7.0, 8.0), "person", 0.75, mask=RUNS)


class Saying:
    """A detector that says the same of every picture."""

    def __init__(self, *regions: Region) -> None:
        self.fingerprint, self.regions, self.seen = "saying", list(regions), 0

    def detect(self, images):
        self.seen += len(images)
        return [self.regions for _ in images]


def choose(*regions: Region, **settings) -> list[Region]:
    return list(choose_objects(FeatureConfig(**settings), PictureRegions(regions)))


def overlap(a: Region, b: Region) -> float:
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = a.box, b.box
    shared = max(min(ax1, bx1) - max(ax0, bx0), 0) * max(min(ay1, by1) - max(ay0, by0), 0)
    return shared / ((ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - shared)


@st.composite
def objects(draw) -> Region:
    x, y = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    w, h = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    label, score = draw(st.sampled_from(["person", "tie"])), draw(st.sampled_from([0.25, 0.5, 0.75]))
    if draw(st.integers(0, 5)) == 0:
        return CutOut((0.0, 0.0, 0.0, 0.0), label, score, picture=f"{x}.jpg")
    return Region((x, y, x + w, y + h), label, score)


class TestSize:
    def test_the_shorter_side_counts(self):
        tall, wide, small = (Region(box) for box in ((0, 0, 8, 90), (0, 0, 90, 7), (0, 0, 5, 5)))
        assert choose(tall, wide, small) == [small, tall, wide]
        assert choose(tall, wide, small, min_object_size=6) == [tall, wide]
        assert choose(tall, wide, small, min_object_size=8) == [tall]
        assert choose(tall, wide, small, min_object_size=8.5) == []

    def test_less_than_a_pixel_is_no_object_unless_it_is_asked_for(self):
        assert choose(Region((0, 0, 0.5, 9))) == []
        assert choose(Region((0, 0, 0.5, 9)), min_object_size=0) == [Region((0, 0, 0.5, 9))]

    def test_a_cut_out_has_no_size(self):
        cut_out = CutOut((0, 0, 0, 0), picture="a.jpg")
        assert choose(cut_out, min_object_size=100) == [cut_out]


class TestDuplicates:
    def test_the_lesser_of_two_is_left_out(self):
        better, lesser = Region((0, 0, 100, 100), "person", 0.6), Region((0, 0, 100, 95), "person", 0.9)
        other = Region((0, 0, 100, 100), "dog", 0.5)
        assert choose(better, lesser, other) == [lesser, other]
        assert choose(better, lesser, other, duplicate_overlap=0.95) == [lesser, better, other]
        assert choose(better, lesser, other, duplicate_overlap=1) == [lesser, better, other]

    def test_it_is_done_before_they_are_counted(self):
        first, again, second = (Region((x, 0, x + 10, 10), "person", s) for x, s in ((0, 0.9), (0, 0.8), (50, 0.7)))
        assert choose(first, again, second, max_objects=2) == [first, second]

    def test_equal_ones_in_any_order_leave_the_same(self):
        one, two = Region((0, 0, 100, 100), "a", 0.5), Region((0, 0, 100, 99), "a", 0.5)
        assert choose(one, two) == choose(two, one) == [two]

    def test_cut_outs_have_no_duplicates(self):
        given = [CutOut((0, 0, 0, 0), "person", picture=name) for name in ("a.jpg", "b.jpg", "a.jpg")]
        assert len(choose(*given, duplicate_overlap=0)) == 3

    def test_boxes_of_any_size_are_no_trouble(self):
        huge = Region((0, 0, 1e200, 1e200), "a", 0.5)
        assert choose(huge, huge) in ([huge], [huge, huge])

    @settings(deadline=None)
    @given(st.lists(objects(), max_size=12), st.sampled_from([0.0, 0.4, 0.9, 1.0]), st.sampled_from([0, 2, 4]))
    def test_it_is_that_of_a_plain_loop(self, regions, limit, size):
        expected: list[Region] = []
        order = sorted(regions, key=lambda r: (-r.score, r.box, r.label, getattr(r, "picture", "")))
        for region in order:
            if isinstance(region, CutOut):
                expected.append(region)
                continue
            x0, y0, x1, y1 = region.box
            rivals = [r for r in expected if r.label == region.label and not isinstance(r, CutOut)]
            if min(x1 - x0, y1 - y0) >= size and all(overlap(region, r) <= limit for r in rivals):
                expected.append(region)
        assert choose(*regions, duplicate_overlap=limit, min_object_size=size) == expected

    @settings(deadline=None)
    @given(st.lists(objects(), max_size=10), st.randoms())
    def test_without_such_overlaps_all_is_as_it_was(self, regions, random):
        """As it was: all objects, best first, equal scores by box, label and picture."""
        distinct = list({(r.box, r.label, getattr(r, "picture", "")): r for r in regions}.values())
        random.shuffle(distinct)
        order = sorted(distinct, key=lambda r: (-r.score, r.box, r.label, getattr(r, "picture", "")))
        assert choose(*distinct) == order  # boxes of whole pixels below 6 x 6 never overlap by more than .9


class TestTheRegionsFile:
    def read(self, tmp_path: Path, item: object) -> tuple[Region, ...] | None:
        path = tmp_path / "regions.jsonl"
        path.write_text(json.dumps({"image": "a.jpg", "objects": [item]}) + "\n")
        return read_regions(path)[tmp_path / "a.jpg"].objects

    def test_an_outline_is_read(self, tmp_path):
        item = {"box": [4, 5, 7, 8], "label": "person", "score": 0.75, "mask": list(RUNS)}
        assert self.read(tmp_path, item) == (TRIANGLE,)
        crop = np.asarray(crop_region(PICTURE, TRIANGLE, "mask"))
        assert (crop.any(axis=2)).tolist() == [[True] * 3, [False, True, True], [False, False, True]]

    def test_the_box_is_rounded_outwards(self, tmp_path):
        assert self.read(tmp_path, {"box": [-3, 4.5, 2.1, 6], "mask": [0, 6]}) == (
            Segment((-3.0, 4.5, 2.1, 6.0), mask=(0, 6)),
        )

    @pytest.mark.parametrize(
        ("item", "problem"),
        [
            ({"box": [0, 0, 2, 2], "mask": [1, 2]}, "sum to 3; its box, rounded outwards, has 4 pixels"),
            ({"box": [0, 0, 2, 2], "mask": [4]}, "no pixel is inside"),
            ({"box": [0, 0, 2, 2], "mask": []}, "sum to 0"),
            ({"box": [0, 0, 2, 2], "mask": [6, -2]}, "none below 0"),
            ({"box": [0, 0, 2, 2], "mask": [2, 2.0]}, "whole numbers"),
            ({"box": [0, 0, 2, 2], "mask": [True, 3]}, "whole numbers"),
            ({"box": [0, 0, 2, 2], "mask": "0,4"}, "must be a list"),
            ({"box": [0, 0, 2, 2], "mask": None}, "must be a list"),
            ({"box": [0, 0, 2, 2], "mask": [[0, 4]]}, "whole numbers"),
            ({"box": [0, 0, 1e9, 1e9], "mask": [0, 10**18]}, f"more than {MAX_PIXELS:,}"),
            ({"picture": "b.jpg", "mask": [0, 4]}, "belongs to a 'box'"),
        ],
    )
    def test_what_is_no_outline_is_told_with_its_line(self, tmp_path, item, problem):
        with pytest.raises(DataError, match="line 1") as raised:
            self.read(tmp_path, item)
        assert problem in str(raised.value)


class TestBetweenRuns:
    def test_outlines_are_remembered(self, tmp_path):
        detector = Saying(TRIANGLE, Region((0.5, 1, 20, 30), "tie", 0.5))
        for _ in range(2):
            finder = ObjectFinder(detector, FeatureConfig(), tmp_path)
            assert finder.find(b"x", lambda: PICTURE) == tuple(detector.regions)
        assert detector.seen == 1
        kept = RegionCache(tmp_path, "saying").get(b"x")
        assert kept is not None
        assert kept[0] == TRIANGLE
        assert all(type(run) is int for run in kept[0].mask)

    def test_runs_of_numpy_are_numbers(self):
        runs = tuple(np.array(RUNS))
        found = ObjectFinder(Saying(Segment(TRIANGLE.box, "person", 0.75, mask=runs)), FeatureConfig(), None)
        assert found.find(b"x", lambda: PICTURE) == (TRIANGLE,)

    @pytest.mark.parametrize("mask", [(), (1, 2), (9,), (10, -1)])
    def test_a_detector_whose_outline_is_none_is_named(self, mask):
        finder = ObjectFinder(Saying(Segment(TRIANGLE.box, mask=mask)), FeatureConfig(), None)
        with pytest.raises(ModelError, match="detector saying"):
            finder.find(b"x", lambda: PICTURE)

    @pytest.mark.parametrize("damage", ["[1, 2]", "[0, 9.0]", "null", "9", '"9"', "[0, 9], 5"])
    def test_a_damaged_entry_is_looked_at_anew(self, tmp_path, damage):
        cache, detector = RegionCache(tmp_path, "saying"), Saying(TRIANGLE)
        cache.put(b"x", f'[[4, 5, 7, 8, "person", 0.75, {damage}]]')
        assert cache.get(b"x") is None
        finder = ObjectFinder(detector, FeatureConfig(), tmp_path)
        assert [finder.find(b"x", lambda: PICTURE) for _ in range(2)] == [(TRIANGLE,)] * 2
        assert detector.seen == 1
