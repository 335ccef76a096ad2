"""Windows on a grid of cells, beside plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from dualway.vision.windows import (
    clip_windows,
    corner_sums,
    count_cells,
    find_overlap,
    make_windows,
    sum_inside,
)


@pytest.mark.parametrize(("across", "down"), [(32, 24), (24, 32), (32, 4), (4, 32), (32, 32), (4, 4)])
def test_windows_lie_in_the_grid_are_distinct_and_hold_the_whole(across, down):
    windows = make_windows(across, down)
    x0, y0, x1, y1 = windows.T
    assert (x0 >= 0).all()
    assert (y0 >= 0).all()
    assert (x1 > x0).all()
    assert (y1 > y0).all()
    assert x1.max() == across
    assert y1.max() == down
    assert [0, 0, across, down] in windows.tolist()
    assert len(np.unique(windows, axis=0)) == len(windows)
    assert make_windows(across, down) is windows
    with pytest.raises(ValueError):
        windows[0] = 0  # shared by all callers


def test_every_likely_box_has_a_window_much_like_it():
    """Upright boxes of any size and place: a window overlaps each by more than the half that counts as found."""
    rng = np.random.default_rng(0)
    width = rng.uniform(2.5, 20, 200)
    height = np.clip(width * rng.uniform(1, 4, 200), 5, 24)
    x0, y0 = rng.uniform(0, 32 - width), rng.uniform(0, 24 - height)
    boxes = np.stack([x0, y0, x0 + width, y0 + height], axis=1)
    best = find_overlap(boxes, make_windows(32, 24)).max(axis=1)
    assert best.min() > 0.55
    assert best.mean() > 0.75


def test_sums_are_those_of_a_plain_loop():
    rng = np.random.default_rng(1)
    cells = rng.integers(0, 9, (7, 11, 3)).astype(np.float32)
    windows = make_windows(11, 7)[::5]
    plain = [cells[y0:y1, x0:x1].sum(axis=(0, 1)) for x0, y0, x1, y1 in windows.tolist()]
    np.testing.assert_array_equal(sum_inside(corner_sums(cells), windows), plain)
    np.testing.assert_array_equal(count_cells(windows), [(c - a) * (d - b) for a, b, c, d in windows.tolist()])


def test_what_lies_outside_is_cut_off():
    at = np.array([-3, 2, 8])
    clipped = clip_windows(at, at, at + 4, at + 9, across=10, down=5)
    assert clipped.tolist() == [[0, 0, 1, 5], [2, 2, 6, 5], [8, 5, 10, 5]]
    assert count_cells(clipped).tolist() == [5, 12, 0]


def test_overlap_is_that_of_a_plain_loop():
    rng = np.random.default_rng(2)
    corners = rng.integers(0, 6, (20, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 6, (20, 2))], axis=1)

    def plain(a, b):
        cells = [{(x, y) for x in range(x0, x1) for y in range(y0, y1)} for x0, y0, x1, y1 in (a, b)]
        return len(cells[0] & cells[1]) / len(cells[0] | cells[1])

    expected = [[plain(a, b) for b in boxes[:7].tolist()] for a in boxes.tolist()]
    np.testing.assert_allclose(find_overlap(boxes, boxes[:7]), expected, atol=1e-6)
    assert find_overlap(boxes, boxes[:0]).shape == (20, 0)
