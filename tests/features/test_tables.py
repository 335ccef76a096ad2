"""Tables of pictures on disk: what is written is read, line by line and mapped, and what is damaged is told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualway.features.tables as tables_module
from dualway.errors import DataError
from dualway.features.arrays import Ragged
from dualway.features.pictures import PictureVectors
from dualway.features.regions import CutOut
from dualway.features.seen import Seen
from dualway.features.tables import (
    FACES,
    OBJECTS,
    Part,
    Records,
    check_width,
    join_lists,
    join_rows,
    open_table,
    parse_seen,
    seen_line,
    write_table,
)
from dualway.schema import Face, IdentityLabel, Region, Segment

NUM, DIM, FACE_DIM = 5, 3, 2
ONE = Region((0.0, 0.0, 1.0, 2.0), "a")
SEEN = [
    Seen(f"{i} \u6771\u4eac.png", (9, i + 1), (ONE,) * (1 + i % 2), (Face(None, {}),) * (i % 3)) for i in range(NUM)
]


def vectors(seen: list[Seen] = SEEN, *, image: bool = True, faces: bool = True) -> PictureVectors:
    rng = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    def lists(counts: list[int], dim: int) -> Ragged:
        return Ragged(some(sum(counts), dim), np.cumsum([0, *counts]).astype(np.int64))

    return PictureVectors(
        seen, {}, {},
        some(len(seen), DIM) if image else None,
        lists([len(one.objects) for one in seen], DIM) if image else None,
        lists([len(one.faces) for one in seen], FACE_DIM) if faces else None,
    )  # fmt: skip


def write(folder: Path, found: PictureVectors, dtype: str = "float32"):
    keys = np.arange(len(found.seen), dtype=np.uint64) + np.uint64(2**63)
    folder.mkdir(parents=True, exist_ok=True)
    return write_table(folder, found.seen, keys, found, dtype)


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize(("image", "faces"), [(True, True), (True, False), (False, True), (False, False)])
def test_what_is_written_is_read(tmp_path, image, faces, hold):
    found = vectors(image=image, faces=faces)
    arrays = write(tmp_path, found)
    table = open_table(tmp_path, {**arrays, "mention": ("<f4", (1, 1))}, hold=hold)
    assert list(table.records) == SEEN
    assert table.keys.tolist() == [2**63 + i for i in range(NUM)]
    for one, other in ((table.image, found.image), (table.objects, found.objects), (table.faces, found.faces)):
        assert (one is None) == (other is None)
        for left, right in (
            zip(one, other) if isinstance(other, Ragged) else [(one, other)] if other is not None else []
        ):
            np.testing.assert_array_equal(left, right)
    assert table.widths == (DIM if image else None, FACE_DIM if faces else None)
    assert check_width(table, *table.widths)
    assert not check_width(table, 9, table.widths[1])
    assert not check_width(table, table.widths[0], 9)


def test_no_picture_at_all(tmp_path):
    table = open_table(tmp_path, write(tmp_path, vectors([])))
    assert list(table.records) == list(table.records.lines()) == []
    assert table.objects.counts().tolist() == []
    assert table.image.shape == (0, DIM)


def test_float16_is_widened(tmp_path):
    found = vectors()
    table = open_table(tmp_path, write(tmp_path, found, "float16"), hold=False)
    assert table.image.dtype == table.objects.values.dtype == np.float32
    np.testing.assert_array_equal(table.image, found.image.astype(np.float16))
    assert table.objects.offsets.dtype == table.faces.offsets.dtype == np.int64


@pytest.mark.parametrize("hold", [True, False])
class TestRecords:
    @pytest.fixture
    def records(self, tmp_path, hold) -> Records:
        write(tmp_path, vectors())
        return Records(tmp_path / "regions.jsonl", hold=hold)

    def test_as_a_sequence(self, records):
        assert len(records) == NUM
        assert [records[i] for i in range(NUM)] == list(records) == records[:] == SEEN
        assert records[-1] == SEEN[-1]
        assert records[3:0:-2] == SEEN[3:0:-2]
        for index in (NUM, -NUM - 1):
            with pytest.raises(IndexError):
                records[index]

    def test_lines_are_those_of_the_file(self, records):
        lines = list(records.lines())
        assert b"".join(lines) == records.path.read_bytes()
        assert [records.line(i) for i in range(NUM)] == lines

    def test_objects_that_are_not_those_of_the_vectors(self, records, hold):
        told = Records(records.path, np.array([1, 2, 1, 9, 1]), hold=hold)
        assert told[1] == SEEN[1]
        with pytest.raises(DataError, match="picture 3: its objects are not those"):
            told[3]


DAMAGE = {
    "no keys": ("sources.npy", lambda path: path.unlink()),
    "no vectors": ("image.npy", lambda path: path.unlink()),
    "half of the vectors": ("objects.values.npy", lambda path: os.truncate(path, 140)),
    "other vectors": ("face_vectors.values.npy", lambda path: np.save(path, np.zeros((1, 1), np.float32))),
    "not finite": ("objects.values.npy", lambda path: np.save(path, np.load(path) * np.float32(np.inf))),
    "offsets beyond": ("objects.offsets.npy", lambda path: np.save(path, np.load(path) + 1)),
    "offsets that fall": ("face_vectors.offsets.npy", lambda path: np.save(path, np.array([0, 5, 1, 3, 3, 4]))),
    "no offsets": ("objects.offsets.npy", lambda path: path.unlink()),
    "no records": ("regions.jsonl", lambda path: path.unlink()),
    "a folder of records": ("regions.jsonl", lambda path: (path.unlink(), path.mkdir())),
    "a record less": ("regions.jsonl", lambda path: path.write_bytes(path.read_bytes().partition(b"\n")[2])),
    "a line cut short": ("regions.jsonl", lambda path: os.truncate(path, path.stat().st_size - 1)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_damaged_is_told_when_it_is_opened(tmp_path, kind):
    arrays = write(tmp_path, vectors())
    name, damage = DAMAGE[kind]
    damage(tmp_path / name)
    with pytest.raises(DataError, match="damaged") as caught:
        open_table(tmp_path, arrays)
    assert str(tmp_path / name.split(".")[0]) in str(caught.value)


def test_an_array_that_the_record_does_not_name(tmp_path):
    arrays = write(tmp_path, vectors())
    for name in ("sources", "objects.offsets"):
        with pytest.raises(DataError, match="does not name it"):
            open_table(tmp_path, {part: shape for part, shape in arrays.items() if part != name})


@pytest.mark.parametrize("part", ["image", "objects.values", "face_vectors.values"])
def test_a_number_that_is_not_finite_is_not_written(tmp_path, part):
    found = vectors()
    values = {"image": found.image, "objects.values": found.objects.values, "face_vectors.values": found.faces.values}
    values[part][1] = np.nan
    with pytest.raises(DataError, match=rf"row 1 of {tmp_path.name}/{part}\.npy"):
        write(tmp_path, found)


def test_pictures_are_moved_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(tables_module, "_BLOCK", 2)
    found = vectors()
    table = open_table(tmp_path, write(tmp_path, found))
    order = np.array([4, 0, 2, 1, 3])
    places = np.argsort(order)
    parts = [Part(table, np.arange(NUM)[:2], places[:2]), Part(table, np.arange(NUM)[2:], places[2:])]
    assert [len(block.rows) for block in parts[1].blocks()] == [2, 1]

    def allocate(name: str, shape: tuple[int, int]) -> np.ndarray:
        return np.full(shape, np.nan, dtype=np.float32)

    np.testing.assert_array_equal(join_rows(parts, NUM, DIM, allocate), found.image[order])
    for name, whole, dim in ((OBJECTS, found.objects, DIM), (FACES, found.faces, FACE_DIM)):
        joined, expected = join_lists(parts, NUM, dim, name, allocate), whole.take(order)
        np.testing.assert_array_equal(joined.values, expected.values)
        np.testing.assert_array_equal(joined.offsets, expected.offsets)


numbers = st.floats(-1e6, 1e6)
boxes = st.tuples(numbers, numbers, numbers, numbers)
shares = st.floats(0, 1)
words = st.text(max_size=8)
regions = st.one_of(
    st.builds(Region, boxes, words, shares),
    st.builds(CutOut, boxes, words, shares, picture=words),
    st.builds(Segment, boxes, words, shares, mask=st.lists(st.integers(0, 99), max_size=4).map(tuple)),
)
faces = st.builds(
    Face,
    st.none() | boxes,
    st.dictionaries(words, words, max_size=2),
    words,
    shares,
    st.lists(st.tuples(numbers, numbers), max_size=5).map(tuple),
    st.dictionaries(words, shares, max_size=2),
)
labels = st.builds(IdentityLabel, words, shares, st.none() | words, st.integers(-1, 9), st.none() | shares)
records = st.builds(
    Seen,
    words,
    st.tuples(st.integers(0, 9999), st.integers(0, 9999)),
    st.lists(regions, max_size=3).map(tuple),
    st.lists(faces, max_size=2).map(tuple),
    st.lists(labels, max_size=2).map(tuple),
    st.dictionaries(words, words, max_size=2),
)


@given(seen=records)
def test_a_record_is_one_line_and_comes_back(seen):
    line = seen_line(seen)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    found = parse_seen(line, Path("r.jsonl"))
    assert found == seen
    assert [type(one) for one in found.objects] == [type(one) for one in seen.objects]


@pytest.mark.parametrize(
    "change",
    [
        {"size": [1]},
        {"size": ["a", "b"]},
        {"objects": [{}]},
        {"objects": [{"box": [0, 0, 1], "label": "", "score": 1}]},
        {"objects": [{"box": [0, 0, 1, float("nan")], "label": "", "score": 1}]},
        {"objects": 3},
        {"faces": [{"box": None}]},
        {"faces": [{"box": None, "score": float("inf")}]},
        {"labels": [{"label": "a"}]},
        {"failures": []},
    ],
)
def test_a_line_that_is_no_record_is_told(change):
    line = json.dumps({"image": "a", "size": [1, 1], "objects": [], **change}).encode()
    with pytest.raises(DataError, match="is no picture's record"):
        parse_seen(line, Path("r.jsonl"))
    with pytest.raises(DataError, match="is no picture's record"):
        parse_seen(b"[" * 100_000, Path("r.jsonl"))
