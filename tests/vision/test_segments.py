"""Patches of a picture: complete, of one colour where the picture is, joined and measured as plain loops would."""

from __future__ import annotations

import numpy as np
import pytest

from dualway.vision.segments import Patches, cut_patches, join_patches, measure_prominence


def quarters() -> np.ndarray:
    """A picture of four colours."""
    pixels = np.zeros((60, 90, 3), dtype=np.uint8)
    pixels[:30, :45], pixels[:30, 45:], pixels[30:, :45], pixels[30:, 45:] = (
        (200, 30, 30), (30, 200, 30), (30, 30, 200), (220, 220, 220),
    )  # fmt: skip
    return pixels


def noise(seed: int = 0, shape: tuple[int, int] = (48, 66)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "pixels", [quarters(), noise(), noise(1, (24, 192)), noise(2, (192, 24)), np.full((24, 24, 3), 7, np.uint8)]
)
def test_every_pixel_is_in_a_patch_and_neighbours_are_pairs(pixels):
    patches = cut_patches(pixels)
    assert patches.labels.shape == pixels.shape[:2]
    assert np.unique(patches.labels).tolist() == list(range(len(patches.size)))
    np.testing.assert_array_equal(patches.size, np.bincount(patches.labels.ravel()))
    assert np.isfinite(patches.colour).all()
    down, across = patches.labels.shape
    plain = set()
    for y in range(down):
        for x in range(across):
            for i, j in ((y, x + 1), (y + 1, x)):
                if i < down and j < across and patches.labels[y, x] != patches.labels[i, j]:
                    plain.add(tuple(sorted((int(patches.labels[y, x]), int(patches.labels[i, j])))))
    assert {tuple(pair) for pair in patches.pairs.tolist()} == plain


def test_patches_keep_to_edges_and_groups_to_colours():
    pixels = quarters()
    patches = cut_patches(pixels)
    groups = join_patches(patches, 4)[patches.labels]
    corners = [groups[5, 5], groups[5, 80], groups[50, 5], groups[50, 80]]
    assert sorted(corners) == [0, 1, 2, 3]
    expected = np.repeat(np.repeat(np.reshape(corners, (2, 2)), 30, axis=0), 45, axis=1)
    assert (groups == expected).mean() > 0.96  # but for the blurred edges


@pytest.mark.parametrize("num", [1, 3, 10])
def test_the_cheapest_neighbours_are_joined_first(num):
    """Beside a plain loop that looks at every pair of neighbouring groups before each joining."""
    patches = cut_patches(noise(3))
    sets = [{i} for i in range(len(patches.size))]
    pairs = {tuple(pair) for pair in patches.pairs.tolist()}

    def cost(a: set[int], b: set[int]) -> float:
        size = [patches.size[list(s)].sum() for s in (a, b)]
        mean = [(patches.colour[list(s)] * patches.size[list(s), None]).sum(0) / n for s, n in zip((a, b), size)]
        return size[0] * size[1] / sum(size) * ((mean[0] - mean[1]) ** 2).sum()

    def touch(a: set[int], b: set[int]) -> bool:
        return any((min(i, j), max(i, j)) in pairs for i in a for j in b)

    while len(sets) > num:
        _, i, j = min(
            (cost(a, b), i, j) for i, a in enumerate(sets) for j, b in enumerate(sets[:i]) if touch(a, b)
        )  # fmt: skip
        sets[j] |= sets.pop(i)
    groups = join_patches(patches, num)
    assert sorted(sorted(np.flatnonzero(groups == g).tolist()) for g in range(num)) == sorted(map(sorted, sets))


def test_as_many_groups_as_patches_joins_nothing():
    patches = cut_patches(noise(4))
    assert join_patches(patches, 10_000).tolist() == list(range(len(patches.size)))


def test_prominence_is_the_cheapest_way_from_the_border():
    """A row of five patches, the outer two on the border: colours 0, 10, 50, 10, 0 and steps of them less 4."""
    labels = np.repeat(np.arange(5), 4)[None].repeat(10, axis=0)
    labels = np.concatenate([np.zeros((1, 20), dtype=np.int64), labels])  # above all, the first patch
    colour = np.zeros((5, 3), dtype=np.float32)
    colour[:, 0] = [0, 10, 50, 10, 0]
    pairs = np.array([[0, 1], [0, 2], [0, 3], [0, 4], [1, 2], [2, 3], [3, 4]])
    patches = Patches(labels, colour, np.bincount(labels.ravel()).astype(np.float32), pairs)
    prominence = measure_prominence(patches)
    ways = np.array([0.05, 6.1, 42.15, 6.1, 0.05])  # 0.05 to enter, 6.05 to the next, 36.05 further
    np.testing.assert_allclose(prominence, np.minimum(ways / np.percentile(ways[labels], 95), 1), rtol=1e-5)


def test_what_stands_apart_is_prominent_and_what_runs_out_below_as_well():
    pixels = np.full((60, 60, 3), 90, dtype=np.uint8)
    pixels[20:, 20:40] = (220, 60, 40)  # down to the lower edge, as a person in a portrait
    patches = cut_patches(pixels)
    prominence = measure_prominence(patches)[patches.labels]
    assert prominence[24:, 24:36].min() > 0.9
    assert prominence[:, :16].max() < 0.2
