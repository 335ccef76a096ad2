"""Shards: planned by the pictures' state, committed whole or not at all, found again, joined without a difference."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stores import Colours, FaceVectors, Halves, OneFace, photo

import dualway.features.shards as shards_module
from dualway.config import FeatureConfig
from dualway.errors import DataError, ModelError, PictureError, StorageError
from dualway.features.arrays import Ragged
from dualway.features.objects import ObjectFinder
from dualway.features.pictures import PictureVectors
from dualway.features.regions import PictureRegions
from dualway.features.seeing import FaceReader, PictureReader, Vectors
from dualway.features.seen import Seen
from dualway.features.shards import CRASHED, Known, ShardedPictures, Source, join, make_shard, plan_shards, read_shard
from dualway.features.tables import open_table, write_table
from dualway.schema import Face, Region

SIZE = 4
DIMS = (Colours.dim, FaceVectors.dim)


class Counting(PictureReader):
    """A reader that keeps the names of what it was asked to read."""

    def __init__(self) -> None:
        config = FeatureConfig()
        faces = FaceReader(config, OneFace(), (), FaceVectors())
        super().__init__(config, Colours(), finder=ObjectFinder(Halves(), config, None), faces=faces)
        self.asked: list[str] = []

    def read(self, path, known, *, name="", folders=None):
        self.asked.append(path.name)
        return super().read(path, known, name=name, folders=folders)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten pictures, of which 3.png is broken, and one more that is not there."""
    for i in range(10):
        photo(tmp_path / "pictures" / f"{i}.png", (60, 40) if i % 2 else (40, 60), seed=i)
    broken = tmp_path / "pictures" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    return tmp_path / "pictures"


NAMES = [f"{i}.png" for i in range(11)]


def find(folder: Path, names: list[str] = NAMES, known: PictureRegions | None = None) -> list[Source]:
    return [Source.find(folder / name, name, known or PictureRegions()) for name in names]


def build(folder: Path, work: Path, names: list[str] = NAMES, **more) -> tuple[list[str], PictureVectors]:
    """Read what is missing; return which pictures were read, and what is known of all of them."""
    reader, sources = Counting(), find(folder, names)
    pictures = ShardedPictures(work, Known(), DIMS)
    for shard in pictures.plan(sources, more.pop("size", SIZE)):
        make_shard(reader, shard, work, **more)
        pictures.finished(shard)
    return reader.asked, pictures.encode([source.path for source in sources], [])


def same(one: PictureVectors, other: PictureVectors) -> None:
    assert list(one.seen) == list(other.seen)
    assert dict(one.position) == dict(other.position)
    assert one.failures == other.failures
    for left, right in ((one.image, other.image), *zip(one.objects, other.objects), *zip(one.faces, other.faces)):
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        assert left.tobytes() == right.tobytes()


def times(work: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in work.rglob("*")}


class TestPlan:
    @given(num=st.integers(0, 40), size=st.integers(1, 12))
    def test_every_picture_is_in_one_shard_in_order_and_none_is_too_large(self, num, size):
        sources = [Source(Path(f"/{i}"), "", PictureRegions(), (i, 0, 0)) for i in range(num)]
        shards = plan_shards(sources, size)
        assert [source for shard in shards for source in shard.sources] == sources
        assert all(0 < len(shard.sources) <= size for shard in shards)
        assert len({shard.name for shard in shards}) == len(shards) == -(-num // size)

    def test_the_same_pictures_in_the_same_state_give_the_same_plan(self, folder):
        plans = [[shard.name for shard in plan_shards(find(folder), SIZE)] for _ in range(2)]
        assert plans[0] == plans[1]

    @pytest.mark.parametrize(
        "change",
        [
            lambda path: path.write_bytes(path.read_bytes() + b"\0"),
            lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\1"),
            lambda path: os.utime(path, ns=(1, 1)),
            lambda path: path.unlink(),
            lambda path: (path.unlink(), path.mkdir()),
        ],
    )
    def test_a_picture_that_changed_changes_its_own_shard_alone(self, folder, change):
        before = plan_shards(find(folder), SIZE)
        change(folder / "5.png")
        after = plan_shards(find(folder), SIZE)
        assert [one.name == other.name for one, other in zip(before, after)] == [True, False, True]

    def test_what_a_file_says_of_a_picture_counts_and_what_mentions_call_it_does_not(self, folder):
        [plain] = find(folder, ["1.png"])
        [told] = find(folder, ["1.png"], PictureRegions(objects=(Region((0, 0, 9, 9), "a"),)))
        [none] = find(folder, ["1.png"], PictureRegions(objects=()))
        assert len({plain.key, told.key, none.key}) == 3
        assert Source.find(folder / "1.png", "another name", PictureRegions()).key == plain.key

    @pytest.mark.parametrize("name", ["gone.png", "a\ud800.png", "a\0.png", "x" * 999])
    def test_a_name_without_a_file_has_a_key_too(self, folder, name):
        [one], [other] = find(folder, [name]), find(folder, [name])
        assert one.state is None
        assert one.key == other.key


class TestMaking:
    def test_a_shard_holds_what_the_reader_says(self, folder, tmp_path):
        [shard] = plan_shards(find(folder, ["1.png", "3.png", "2.png"]))
        make_shard(Counting(), shard, tmp_path)
        result = read_shard(tmp_path / shard.name)
        assert result is not None
        table = open_table(tmp_path / shard.name, result.arrays)
        one, two = (Counting().read(folder / name, PictureRegions(), name=name) for name in ("1.png", "2.png"))
        assert list(table.records) == [one[0], two[0]]
        assert table.keys.tolist() == [shard.sources[0].key, shard.sources[2].key]
        np.testing.assert_array_equal(table.image, [one[1].image, two[1].image])
        np.testing.assert_array_equal(table.objects.of(1), two[1].objects)
        assert table.faces.counts().tolist() == [1, 0]
        assert list(result.lost) == [shard.sources[1].key]
        assert "PNG" in result.lost[shard.sources[1].key]
        assert {"read", "decode", "detect", "encode", "faces", "identity"} <= result.seconds.keys()

    def test_seconds_are_those_of_the_shard_alone(self, folder, tmp_path):
        reader = Counting()
        shards = plan_shards(find(folder), SIZE)
        for shard in shards:
            make_shard(reader, shard, tmp_path)
        spent = [read_shard(tmp_path / shard.name).seconds["decode"] for shard in shards]
        assert sum(spent) == pytest.approx(reader.seconds["decode"])

    def test_stop_names_the_picture_and_leaves_the_shard_unmade(self, folder, tmp_path):
        shards = plan_shards(find(folder), 2)
        make_shard(Counting(), shards[0], tmp_path / "work", on_error="stop")
        reader = Counting()
        with pytest.raises(DataError, match=r"3\.png.*--on-error keep-text") as caught:
            make_shard(reader, shards[1], tmp_path / "work", on_error="stop")
        assert not isinstance(caught.value, PictureError)
        assert reader.asked == ["2.png", "3.png"]
        assert [path.name for path in (tmp_path / "work").iterdir()] == [shards[0].name]

    def test_a_picture_that_crashes_is_not_tried_and_told(self, folder, tmp_path):
        [shard] = plan_shards(find(folder, ["1.png", "2.png"]))
        reader, places = Counting(), list[int]()
        make_shard(reader, shard, tmp_path, crashed=frozenset([0]), at=places.append)
        assert reader.asked == ["2.png"]
        assert places == [0, 1, 2]
        assert read_shard(tmp_path / shard.name).lost == {shard.sources[0].key: CRASHED}

    def test_a_model_that_fails_names_the_picture(self, folder, tmp_path):
        class Failing(Counting):
            def read(self, path, known, **more):
                raise ModelError("m.onnx: cannot be run")

        [shard] = plan_shards(find(folder, ["1.png"]))
        with pytest.raises(ModelError, match=r"1\.png: m\.onnx: cannot be run"):
            make_shard(Failing(), shard, tmp_path)

    def test_a_finished_shard_is_left_as_it_is(self, folder, tmp_path):
        """By a process whose parent was killed and which had it in hand, while another began."""
        [shard] = plan_shards(find(folder, ["1.png", "2.png"]))
        make_shard(Counting(), shard, tmp_path / "work")
        before = times(tmp_path / "work" / shard.name)
        make_shard(Counting(), shard, tmp_path / "work")
        assert times(tmp_path / "work" / shard.name) == before
        assert [path.name for path in (tmp_path / "work").iterdir()] == [shard.name]

    def test_a_place_that_cannot_be_written_is_told(self, folder, tmp_path):
        (tmp_path / "work").write_text("a file")
        [shard] = plan_shards(find(folder, ["1.png"]))
        with pytest.raises(StorageError):
            make_shard(Counting(), shard, tmp_path / "work")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty folder": lambda shard: [path.unlink() for path in shard.iterdir()],
    "no record": lambda shard: (shard / "shard.json").unlink(),
    "half a record": lambda shard: (shard / "shard.json").write_text((shard / "shard.json").read_text()[:90]),
    "record of something else": lambda shard: (shard / "shard.json").write_text("[]"),
    "no array": lambda shard: (shard / "image.npy").unlink(),
    "half an array": lambda shard: os.truncate(shard / "objects.values.npy", 150),
    "no offsets": lambda shard: (shard / "face_vectors.offsets.npy").unlink(),
    "no keys": lambda shard: (shard / "sources.npy").unlink(),
    "no records": lambda shard: (shard / "regions.jsonl").unlink(),
    "half a line": lambda shard: os.truncate(shard / "regions.jsonl", (shard / "regions.jsonl").stat().st_size - 9),
    "not a number": lambda shard: np.save(shard / "image.npy", np.load(shard / "image.npy") * np.nan),
}


class TestGoingOn:
    def test_what_is_finished_is_not_read_again(self, folder, tmp_path):
        asked, first = build(folder, tmp_path / "work")
        assert asked == NAMES
        before = times(tmp_path / "work")
        asked, second = build(folder, tmp_path / "work")
        assert asked == []
        assert times(tmp_path / "work") == before
        same(first, second)
        assert set(first.failures) == {str(folder / "3.png"), str(folder / "10.png")}

    def test_it_is_what_one_process_makes_in_memory(self, folder, tmp_path):
        from dualway.features.pictures import PictureEncoder

        _, made = build(folder, tmp_path / "work")
        paths = [folder / name for name in NAMES]
        same(made, PictureEncoder(Counting()).encode(paths, [PictureRegions()] * len(paths), NAMES))

    @pytest.mark.parametrize("number", [0, 1, 2])
    @pytest.mark.parametrize("kind", DAMAGE)
    def test_a_damaged_shard_is_made_again_and_no_other(self, folder, tmp_path, kind, number):
        _, first = build(folder, tmp_path / "work")
        names = [shard.name for shard in plan_shards(find(folder), SIZE)]
        DAMAGE[kind](tmp_path / "work" / names[number])
        asked, second = build(folder, tmp_path / "work")
        assert asked == NAMES[SIZE * number : SIZE * (number + 1)]
        same(first, second)

    def test_what_a_killed_process_was_writing_is_passed_over(self, folder, tmp_path):
        _, first = build(folder, tmp_path / "work")
        name = plan_shards(find(folder), SIZE)[0].name
        shutil.move(tmp_path / "work" / name, tmp_path / "work" / f".{name}.abc.tmp")
        asked, second = build(folder, tmp_path / "work")
        assert asked == NAMES[:SIZE]
        same(first, second)

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (["new.png", *NAMES], ["new.png"]),
            ([*NAMES[:6], "new.png", *NAMES[6:]], ["new.png"]),
            ([*NAMES[1:], "new.png"], ["new.png"]),
            (NAMES[3:7], []),
            (NAMES[::-1], []),
            (["new.png"], ["new.png"]),
        ],
    )
    def test_of_another_plan_what_fits_is_used(self, folder, tmp_path, names, expected):
        """Between a kill and the next run pictures came, went, or changed places."""
        photo(folder / "new.png", seed=99)
        build(folder, tmp_path / "work")
        before = times(tmp_path / "work")
        asked, made = build(folder, tmp_path / "work", names)
        assert asked == expected
        assert before.items() <= times(tmp_path / "work").items()
        same(made, build(folder, tmp_path / "other", names)[1])

    @pytest.mark.parametrize("name", ["0.png", "5.png", "3.png", "10.png"])
    def test_a_picture_that_changed_or_was_mended_is_read_again_alone(self, folder, tmp_path, name):
        build(folder, tmp_path / "work")
        photo(folder / name, seed=77)
        asked, made = build(folder, tmp_path / "work")
        assert asked == [name]
        same(made, build(folder, tmp_path / "other")[1])

    @pytest.mark.parametrize("size", [1, 3, 11, 100])
    def test_another_size_of_shards(self, folder, tmp_path, size):
        _, first = build(folder, tmp_path / "work")
        asked, second = build(folder, tmp_path / "work", size=size)
        assert asked == []
        same(first, second)

    def test_a_damaged_shard_of_another_plan(self, folder, tmp_path):
        build(folder, tmp_path / "work")
        DAMAGE["half an array"](tmp_path / "work" / plan_shards(find(folder), SIZE)[1].name)
        asked, made = build(folder, tmp_path / "work", NAMES[::-1])
        assert sorted(asked) == NAMES[4:8]
        same(made, build(folder, tmp_path / "other", NAMES[::-1])[1])

    def test_a_killed_build_goes_on_at_any_picture(self, folder, tmp_path):
        _, whole = build(folder, tmp_path / "whole")
        for kill in range(1, len(NAMES)):
            work = tmp_path / f"work-{kill}"
            with pytest.raises(KeyboardInterrupt):
                build(folder, work, at=_kill_after(kill))
            asked, made = build(folder, work)
            assert asked == NAMES[(kill - 1) // SIZE * SIZE :]
            same(made, whole)


def _kill_after(pictures: int) -> Callable[[int], None]:
    asked = 0

    def at(place: int) -> None:
        nonlocal asked
        asked += place < SIZE and asked < len(NAMES)
        if asked > pictures - 1:
            raise KeyboardInterrupt

    return at


class TestKnown:
    def test_of_a_picture_in_several_tables_the_last_counts(self, folder, tmp_path):
        [shard] = plan_shards(find(folder, ["1.png"]))
        make_shard(Counting(), shard, tmp_path / "a")
        known = Known()
        assert known.add_shard(tmp_path / "a" / shard.name)
        assert known.add_shard(tmp_path / "a" / shard.name)
        assert shard.sources[0] in known
        assert known.place[shard.sources[0].key] == (1, 0)
        assert not known.add_shard(tmp_path / "a" / "none")

    def test_a_shard_that_is_gone_when_it_is_wanted_is_told(self, folder, tmp_path):
        pictures = ShardedPictures(tmp_path, Known(), DIMS)
        [shard] = pictures.plan(find(folder, ["1.png"]))
        with pytest.raises(StorageError, match="cannot be read again"):
            pictures.finished(shard)


@st.composite
def cases(draw: st.DrawFn):
    """Pictures of chance in tables of chance, asked for in an order of chance; some tables hold the same picture."""
    num = draw(st.integers(0, 12))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    counts = [(draw(st.integers(1, 3)), draw(st.integers(0, 2))) for _ in range(num)]
    tables = [
        draw(st.lists(st.integers(0, num - 1), unique=True)) if num else [] for _ in range(draw(st.integers(1, 3)))
    ]
    tables.append(list(range(num)))  # so that each is somewhere
    lost = draw(st.sets(st.integers(0, num - 1))) if num else set()
    asked = draw(st.permutations(range(num)))[: draw(st.integers(0, num))]
    return rng, counts, tables, lost, asked


@settings(deadline=None, max_examples=60)
@given(case=cases(), on_disk=st.booleans(), hold=st.booleans())
def test_joining_is_a_plain_loop(case, on_disk, hold, tmp_path_factory):
    rng, counts, tables, lost, asked = case
    folder = tmp_path_factory.mktemp("join")
    sources = [Source(folder / f"{i}.png", f"{i}", PictureRegions(), (i,)) for i in range(len(counts))]
    pictures = [_picture(rng, i, *count) for i, count in enumerate(counts)]
    known = Known(lost={sources[i].key: f"lost {i}" for i in lost})
    for number, of in enumerate(tables):
        place = folder / f"table-{number}"
        place.mkdir()
        found = PictureVectors([], {}, {}, *_columns([pictures[i][1] for i in of]))
        keys = np.array([sources[i].key for i in of], dtype=np.uint64)
        arrays = write_table(place, [pictures[i][0] for i in of], keys, found, "float32")
        known.add(open_table(place, arrays, hold=hold))
        if hold:
            shutil.rmtree(place)
    with pytest.MonkeyPatch.context() as patch:
        if on_disk:
            patch.setattr(shards_module, "_IN_MEMORY", 0)
        joined = join([sources[i] for i in asked], known, folder / "scratch", (3, 2))
    usable = [i for i in asked if i not in lost]
    assert list(joined.seen) == [pictures[i][0] for i in usable]
    assert dict(joined.position) == {sources[i].path: place for place, i in enumerate(usable)}
    failures = {str(sources[i].path): f"lost {i}" for i in asked if i in lost}
    for i in usable:
        failures |= pictures[i][0].failures
    assert joined.failures == failures
    image, objects, faces = _columns([pictures[i][1] for i in usable])
    for found, expected in ((joined.image, image), *zip(joined.objects, objects), *zip(joined.faces, faces)):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)
    assert not list(folder.glob("scratch/.joined*"))


def _picture(rng: np.random.Generator, number: int, objects: int, faces: int) -> tuple[Seen, Vectors]:
    regions = tuple(Region((0.0, 0.0, 1.0 + i, 2.0), 'a "failures" in a label', 0.5) for i in range(objects))
    seen = Seen(
        f"{number}.png", (9, number + 1), regions, tuple(Face(None, {"age": str(i)}) for i in range(faces)),
        failures={f"cut-{number}.png": "gone"} if number % 3 == 0 else {},
    )  # fmt: skip

    def some(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    return seen, Vectors(some(3), some(objects, 3), some(faces, 2))


def _columns(vectors: list[Vectors]) -> tuple[np.ndarray, Ragged, Ragged]:
    image = np.array([line.image for line in vectors], dtype=np.float32).reshape(-1, 3)
    lists: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    offsets: defaultdict[str, list[int]] = defaultdict(lambda: [0])
    for line in vectors:
        for name in ("objects", "faces"):
            lists[name].extend(getattr(line, name))
            offsets[name].append(len(lists[name]))
    objects, faces = (
        Ragged(np.array(lists[name], dtype=np.float32).reshape(-1, dim), np.array(offsets[name], dtype=np.int64))
        for name, dim in (("objects", 3), ("faces", 2))
    )
    return image, objects, faces


def test_nothing_of_a_store_is_read_where_it_was_replaced_meanwhile(folder, tmp_path):
    """A split's folder is replaced by its new one while another split takes pictures from the old one."""
    place = tmp_path / "train"
    [shard] = plan_shards(find(folder, ["1.png", "2.png"]))
    make_shard(Counting(), shard, tmp_path / "work")
    shutil.copytree(tmp_path / "work" / shard.name, place)
    table = open_table(place, read_shard(place).arrays)
    before = list(table.records), table.image.copy(), table.objects.values.copy()
    shutil.rmtree(place)
    [other] = plan_shards(find(folder, ["5.png", "4.png", "6.png"]))
    make_shard(Counting(), other, tmp_path / "work")
    shutil.move(tmp_path / "work" / other.name, place)
    assert list(table.records) == before[0]
    np.testing.assert_array_equal(table.image, before[1])
    np.testing.assert_array_equal(table.objects.values, before[2])


def test_of_a_shard_nothing_stays_open_or_mapped(folder, tmp_path):
    """There may be more of them than a process may have files and maps."""

    def used() -> tuple[int, int]:
        maps = Path("/proc/self/maps").read_text().splitlines()
        return len(list(Path("/proc/self/fd").iterdir())), sum(str(tmp_path) in line for line in maps)

    build(folder, tmp_path / "work", size=1)
    before = used()
    pictures = ShardedPictures(tmp_path / "work", Known(), DIMS)
    assert pictures.plan(find(folder), 1) == []
    assert used() == before
    assert used()[1] == 0
