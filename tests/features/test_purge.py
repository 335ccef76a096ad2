"""Purging: what was to go is in no file afterwards, what was to stay is as it was, and a kill does no harm."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.stores import PEOPLE, SEEING, Colours, FaceVectors, build_store, files_of, photo, write_data

from dualway.config import EncoderConfig, Preset
from dualway.datasets import open_dataset
from dualway.errors import CompatibilityError, DataError, StorageError, UsageError
from dualway.features.build import Work
from dualway.features.manifest import read_manifest, write_manifest
from dualway.features.purge import Purged, purge_store
from dualway.features.regions import PictureRegions, read_regions
from dualway.features.seeing import PictureReader
from dualway.features.store import open_features
from dualway.features.writing import LOCK, WORK
from dualway.kb.store import KnowledgeBase
from dualway.schema import Region

FACELESS = dataclasses.replace(SEEING, faces=None, age=None, identity=None)
# Bytes that only faces have: their vectors, the words of attributes and landmarks.
OF_FACES = (
    FaceVectors.vector.tobytes(),
    b"landmarks",
    b'attributes": {',
    b"Jodie Foster",
    b"Mel Gibson",
    b"similarity",
)


@pytest.fixture(scope="module")
def kb(people, tmp_path_factory):
    with KnowledgeBase.create(tmp_path_factory.mktemp("kb") / "kb", people) as opened:
        yield opened


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def made(kb, data, tmp_path_factory) -> Path:
    """A folder with the store F and the cache C of its making."""
    folder = tmp_path_factory.mktemp("made")
    build_store(folder / "F", data, kb, cache=folder / "C")
    return folder


@pytest.fixture
def store(made, tmp_path) -> Path:
    """A copy of the store F, beside a copy of the cache C."""
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made" / "F"


def purge(store: Path, **options: Any) -> Purged:
    return purge_store(store, cache_folder=store.parent / "C", really=True, **options)


def holding(folder: Path, *wanted: bytes) -> list[str]:
    """Return the files below a folder in which any of these bytes are."""
    return [name for name, content in files_of(folder).items() if any(part in content for part in wanted)]


def load(store: Path, data: Path, split: str = "train"):
    return open_features(store).load(open_dataset(data, split))


def rows(cache: Path) -> dict[str, int]:
    """Return how many entries each file of a cache has."""
    counts: dict[str, int] = {}
    for path in cache.glob("*.sqlite"):
        connection = sqlite3.connect(path)
        [[table]] = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        counts[path.name] = connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
        connection.close()
    return counts


VECTORS = f"vectors-{Colours.fingerprint}.sqlite"


class TestTelling:
    @pytest.mark.parametrize("options", [{}, {"faces": True}, {"entities": ["Q1"]}])
    def test_nothing_is_touched(self, store, data, options):
        before = files_of(store.parent)
        told = purge_store(store, cache_folder=store.parent / "C", **options, **({} if options else {"data": data}))
        assert files_of(store.parent) == before
        assert not told.done
        assert "would be removed; nothing is yet, --yes does it" in told.describe()

    @pytest.mark.parametrize("options", [{}, {"faces": True}, {"entities": ["Q1", "Q7"]}])
    def test_what_is_told_is_what_is_done(self, store, data, options):
        options = options or {"data": data}
        told = purge_store(store, cache_folder=store.parent / "C", **options)
        done = purge(store, **options)
        assert done == dataclasses.replace(told, done=True)
        assert json.loads(json.dumps(done.to_dict()))["removed"] == dict(done.removed)

    def test_impossible_calls(self, store, data, tmp_path):
        for options in (
            {"faces": True, "entities": ["Q1"]},
            {"faces": True, "data": data},
            {"entities": ["Q"], "data": data},
        ):
            with pytest.raises(UsageError):
                purge(store, **options)
        (tmp_path / "mine" / "work").mkdir(parents=True)
        (tmp_path / "mine" / "work" / "thesis.tex").write_text("mine")
        (tmp_path / "mine" / LOCK).touch()
        for folder in (tmp_path / "mine", tmp_path / "nowhere", tmp_path / "mine" / LOCK):
            with pytest.raises(DataError, match="not a feature store"):
                purge(folder)
        assert (tmp_path / "mine" / "work" / "thesis.tex").read_text() == "mine"

    def test_a_store_that_is_being_made_is_left_alone(self, store):
        before = files_of(store)
        with (store / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for options in ({}, {"faces": True}, {"entities": ["Q1"]}):
                with pytest.raises(StorageError, match="another process is making or purging these features"):
                    purge(store, **options)
        assert files_of(store) == before

    def test_a_damaged_manifest_is_told(self, store):
        (store / "manifest.json").write_text("{")
        with pytest.raises(DataError, match="manifest"):
            purge(store)
        assert (store / "train").is_dir()


class TestTheWholeStore:
    def test_store_and_cache_are_empty(self, store, data):
        cache = store.parent / "C"
        assert rows(cache)[VECTORS] == 15  # five pictures, each with two halves
        done = purge(store, data=data)
        assert not store.exists()
        assert rows(cache) == {VECTORS: 0, "objects.sqlite": 0}
        assert (done.removed["cached_vectors"], done.removed["cached_objects"]) == (15, 5)
        assert [note for note in done.notes if "delete the cache folder" in note] == []
        # Not only unlisted: the vectors and boxes are not in the files any more.
        [v] = load_vectors(data / "a.png")
        assert not holding(cache, v.astype("<f4").tobytes(), b'"person"')

    def test_what_the_cache_keeps_of_other_pictures_stays(self, store, data, tmp_path):
        cache = store.parent / "C"
        other = photo(tmp_path / "other.png", seed=50)
        PictureReader(dataclasses.replace(Preset("paper").features), Colours(), cache_folder=cache).read(
            other, PictureRegions()
        )
        purge(store, data=data)
        assert rows(cache)[VECTORS] == 1

    def test_vectors_by_other_encoders_settings_and_cuts(self, kb, data, tmp_path):
        """The store knows one object of each picture; the cache knows both, with outline and without."""
        cache = tmp_path / "C"
        for crop in ("box", "mask"):
            build_store(tmp_path / crop, data, kb, cache=cache, crop=crop)
        build_store(tmp_path / "F", data, kb, cache=cache, max_objects=1)
        connection = sqlite3.connect(cache / VECTORS)
        with sqlite3.connect(cache / "vectors-other.sqlite") as other:
            other.execute("CREATE TABLE vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")
            other.executemany("INSERT INTO vectors VALUES (?, ?)", connection.execute("SELECT * FROM vectors"))
        other.close()
        connection.close()
        assert rows(cache) == {VECTORS: 20, "vectors-other.sqlite": 20, "objects.sqlite": 5}
        purge(tmp_path / "F", data=data)
        assert set(rows(cache).values()) == {0}

    def test_cut_outs(self, kb, data, tmp_path):
        part = photo(tmp_path / "part.png", (20, 20), seed=60)
        regions = tmp_path / "regions.jsonl"
        regions.write_text(json.dumps({"image": str(data / "dev.png"), "objects": [{"picture": str(part)}]}) + "\n")
        build_store(tmp_path / "F", data, kb, cache=tmp_path / "C", regions=regions, splits=["dev"])
        assert rows(tmp_path / "C")[VECTORS] == 2
        purge(tmp_path / "F", data=data)
        assert rows(tmp_path / "C")[VECTORS] == 0

    def test_pictures_that_are_gone_or_changed_are_counted_with_the_remedy(self, kb, tmp_path):
        data, cache = write_data(tmp_path / "data"), tmp_path / "C"
        build_store(tmp_path / "F", data, kb, cache=cache)
        photo(data / "a.png", seed=80)
        (data / "dev.png").unlink()
        done = purge(tmp_path / "F", data=data)
        assert rows(cache) == {VECTORS: 6, "objects.sqlite": 2}  # of the two, as they were
        [note] = [note for note in done.notes if "gone" in note]
        assert note.startswith("1 pictures are gone, and of 1 the cache holds nothing as they are now")
        assert f"delete the cache folder {cache}" in note

    def test_without_data_it_is_told_that_the_cache_was_not_reached(self, store):
        done = purge(store)
        assert rows(store.parent / "C")[VECTORS] == 15
        assert [note for note in done.notes if "of 5 of 5 pictures is not found: give --data" in note]

    def test_pictures_with_absolute_names_need_no_data(self, kb, data, tmp_path):
        line = {"id": "1", "text": "a", "surface": "a", "image": str(data / "a.png")}
        (tmp_path / "all.jsonl").write_text(json.dumps(line) + "\n")
        other = write_data(tmp_path / "other")
        shutil.copy(tmp_path / "all.jsonl", other / "dev.jsonl")
        build_store(tmp_path / "F", other, kb, cache=tmp_path / "C", splits=["dev"])
        done = purge(tmp_path / "F")
        assert rows(tmp_path / "C")[VECTORS] == 0
        assert not [note for note in done.notes if "not found" in note]

    def test_damaged_files_of_the_cache_are_told(self, store, data):
        cache = store.parent / "C"
        (cache / VECTORS).write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
        (cache / "vectors-text.sqlite").write_bytes(b"")
        (cache / "objects.sqlite").write_text("nonsense" * 500)
        done = purge(store, data=data)
        assert not store.exists()
        assert {note for note in done.notes if "is damaged" in note} == {
            f"{name} in the cache is damaged; delete it" for name in (VECTORS, "objects.sqlite")
        }

    def test_a_damaged_split_does_not_save_the_store(self, store, data):
        (store / "train" / "image.npy").write_bytes(b"")
        (store / "dev" / "regions.jsonl").unlink()
        done = purge(store, data=data)
        assert not store.exists()
        assert len([note for note in done.notes if "damaged (" in note]) == 2

    def test_other_things_in_the_folder_stay(self, store):
        (store / "notes.txt").write_text("mine")
        (store / "mine").mkdir()
        (store / "mine" / "text.npy").write_text("mine")
        (store / "mine" / "thesis.tex").write_text("mine")
        done = purge(store)
        assert files_of(store) == dict.fromkeys(("notes.txt", "mine/text.npy", "mine/thesis.tex"), b"mine")
        assert "other things in the folder stay: 'mine', 'notes.txt'" in done.notes

    def test_links_are_removed_and_not_what_they_lead_to(self, store, tmp_path):
        shutil.move(store / "dev", tmp_path / "dev")
        (store / "dev").symlink_to(tmp_path / "dev")
        before = files_of(tmp_path / "dev")
        purge(store)
        assert files_of(tmp_path / "dev") == before
        assert not store.exists()

    def test_what_killed_builds_left(self, store, data):
        """Splits of an older state, splits that no manifest lists, shards, and files that were being written."""
        manifest = read_manifest(store)
        old = {"dev": manifest.splits["dev"]}
        write_manifest(store, dataclasses.replace(manifest, splits={}, outdated=old))
        for place in (f"{WORK}/pictures/.1.tmp", f"{WORK}/splits/dev"):
            (store / place).mkdir(parents=True)
            (store / place / "face_vectors.values.npy").write_bytes(FaceVectors.vector.tobytes())
        (store / ".manifest.json.abc.tmp").write_text("{")
        told = purge_store(store, cache_folder=store.parent / "C")
        assert told.removed["leftovers"] == 3  # train, and two in work
        purge(store)
        assert not store.exists()

    def test_a_beginning_without_manifest(self, store):
        (store / "manifest.json").unlink()
        purge(store)
        assert not store.exists()
        with pytest.raises(DataError, match="not a feature store"):
            purge(store)


def load_vectors(path: Path) -> list[np.ndarray]:
    from dualway.images import open_picture

    return list(Colours().encode_images([open_picture(path)]))


class TestFaces:
    def test_they_are_in_no_file(self, store):
        assert len(holding(store, *OF_FACES)) >= 6
        done = purge(store, faces=True)
        assert holding(store, *OF_FACES) == []
        assert not [name for name in files_of(store) if "face" in name or "identit" in name or "labels" in name]
        # Four pictures with a face and six mentions of them; three people in each.
        assert done.removed == {
            "faces": 4, "attributes": 4, "face_vectors": 4, "face_sentences": 6, "labels": 0, "identities": 18,
            "identity_sentences": 12, "leftovers": 0,
        }  # fmt: skip

    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_the_rest_is_as_it_was(self, kb, data, tmp_path, dtype):
        store = tmp_path / "F"
        build_store(store, data, kb, dtype=dtype)
        build_store(tmp_path / "G", data, kb, dtype=dtype, encoders=FACELESS)
        purge(store, faces=True)
        mine, other = files_of(store), files_of(tmp_path / "G")
        assert read_manifest(store).purged == {"faces": 4}
        for files in (mine, other):
            del files["manifest.json"]
        assert mine == other  # bit for bit what a store that never had faces is
        for split in ("train", "dev"):
            features, report = load(store, data, split)
            assert features.faces is features.identities is features.labels is features.face_object is None
            assert not any(seen.faces for seen in report.seen)
            assert open_features(store).reader(split).identities() == {}

    def test_the_store_says_so(self, store, kb, data):
        purge(store, faces=True)
        opened = open_features(store)
        assert opened.fingerprints() == {
            "text": "letters-of-text",
            "image": Colours.fingerprint,
            "detector": "halves-of-pictures",
        }
        assert opened.origin.gallery is None
        opened.check(Preset(name="paper", encoders=FACELESS), kb)
        with pytest.raises(CompatibilityError, match=r"encoders\.faces: None there"):
            opened.check(Preset(name="paper", encoders=SEEING), kb)
        with pytest.raises(CompatibilityError, match=r"encoders\.faces: None there"):
            build_store(store, data, kb)

    def test_a_build_without_faces_goes_on_and_reads_no_picture_again(self, store, kb, data):
        purge(store, faces=True)
        asked: list[int] = []
        work = Work(progress=lambda done, total: asked.append(done))
        assert [item.report for item in build_store(store, data, kb, encoders=FACELESS, work=work)] == [None, None]
        assert asked == []

    def test_faces_and_labels_of_a_regions_file(self, kb, data, tmp_path):
        regions, store = tmp_path / "regions.jsonl", tmp_path / "F"
        line = {
            "image": str(data / "a.png"),
            "faces": [{"box": [1, 1, 9, 9], "attributes": {"race": "martian"}}],
            "labels": [{"label": "Barack Obama", "score": 0.9}],
        }
        regions.write_text(json.dumps(line) + "\n")
        assert read_regions(regions)
        build_store(store, data, kb, regions=regions, encoders=FACELESS)
        assert holding(store, b"martian", b"Barack Obama")
        done = purge(store, faces=True)
        assert not holding(store, b"martian", b"Barack Obama")
        assert (done.removed["faces"], done.removed["labels"]) == (1, 1)
        assert load(store, data)[0].labels is None
        assert [note for note in done.notes if f"the regions file {regions} is yours" in note]
        assert regions.is_file()
        # Neither a build with that file nor one without it makes such a store.
        for other in (regions, None):
            with pytest.raises(CompatibilityError, match="file of regions"):
                build_store(store, data, kb, regions=other, encoders=FACELESS)
        again = purge(store, faces=True)
        assert sum(again.removed.values()) == 0
        assert read_manifest(store).origin.files["regions"]["sha256"].count("without faces") == 1

    def test_shards_in_hand_go(self, store, kb, data, tmp_path):
        more = tmp_path / "more"
        shutil.copytree(data, more)
        photo(more / "sub" / "b.png", seed=91)

        class Killed(BaseException):
            pass

        def kill(done: int, total: int) -> None:
            if done == total:
                raise Killed

        with pytest.raises(Killed):  # after the last picture is read and before its shard is written
            build_store(store, more, kb, work=Work(shard_size=2, progress=kill))
        assert holding(store / WORK, FaceVectors.vector.tobytes())
        done = purge(store, faces=True)
        assert not (store / WORK).exists()
        assert holding(store, *OF_FACES) == []
        assert done.removed["leftovers"] == 1

    def test_without_any_manifest_only_work_goes(self, kb, data, tmp_path):
        (tmp_path / "F" / WORK / "pictures" / "1").mkdir(parents=True)
        (tmp_path / "F" / WORK / "pictures" / "1" / "a").write_bytes(FaceVectors.vector.tobytes())
        (tmp_path / "F" / LOCK).touch()
        purge(tmp_path / "F", faces=True)
        assert not holding(tmp_path, FaceVectors.vector.tobytes())
        build_store(tmp_path / "F", data, kb)  # can be begun

    def test_splits_of_an_older_state_and_unlisted_ones(self, store):
        manifest = read_manifest(store)
        write_manifest(store, dataclasses.replace(manifest, splits={}, outdated={"dev": manifest.splits["dev"]}))
        purge(store, faces=True)  # train is in no list
        assert holding(store, *OF_FACES) == []
        assert not (store / "train").exists()
        assert list(read_manifest(store).outdated) == ["dev"]

    def test_twice_is_once(self, store):
        purge(store, faces=True)
        before = files_of(store)
        done = purge(store, faces=True)
        assert files_of(store) == before
        assert done.describe().startswith(f"{store}: nothing to remove")

    def test_a_store_without_faces_stays_as_it_is(self, kb, data, tmp_path):
        build_store(tmp_path / "F", data, kb, encoders=FACELESS)
        before = files_of(tmp_path / "F")
        purge(tmp_path / "F", faces=True)
        assert files_of(tmp_path / "F") == before

    @pytest.mark.parametrize(
        ("file", "content"),
        [("regions.jsonl", b"nonsense\n"), ("identities.jsonl", b'{"mention": "1"}\n'), ("image.npy", None)],
    )
    def test_a_damaged_split_is_told_and_nothing_is_lost(self, store, file, content):
        path = store / "train" / file
        path.unlink() if content is None else path.write_bytes(content)
        before = files_of(store)
        with pytest.raises(DataError, match=file):
            purge(store, faces=True)
        assert files_of(store) == before

    def test_a_split_that_is_a_link_is_refused(self, store, tmp_path):
        shutil.move(store / "dev", tmp_path / "dev")
        (store / "dev").symlink_to(tmp_path / "dev")
        before = files_of(tmp_path / "dev")
        with pytest.raises(StorageError, match="dev: not a folder of a feature store"):
            purge(store, faces=True)
        assert files_of(tmp_path / "dev") == before


class TestPeople:
    def test_one_is_in_no_file_and_the_others_are_as_they_were(self, store, data):
        before, _ = load(store, data)
        dev = files_of(store / "dev")
        done = purge(store, entities=["Q1"])
        assert holding(store, b'"Q1"', b"Jodie Foster") == []
        counted = {"entities": 1, "mentions": 6, "identities": 6, "identity_sentences": 6, "others": 0, "leftovers": 0}
        assert done.removed == counted
        after, _ = load(store, data)
        assert before.identities.counts().tolist() == [2, 0, 2, 2, 0, 0, 0, 2, 2]
        assert after.identities.counts().tolist() == [1, 0, 1, 1, 0, 0, 0, 1, 1]
        np.testing.assert_array_equal(after.identities.values, before.identities.values[1::2])  # Mel Gibson's
        named = open_features(store).reader("train").identities()
        assert [label.entity_id for label in named["train-0"]] == ["Q4", "Q7"]
        assert read_manifest(store).purged == {"entities": 1}
        unchanged = {
            "regions.jsonl",
            "face_vectors.values.npy",
            "faces.values.npy",
            "image.npy",
            "keys.npy",
            "failures.json",
        }
        assert {name: dev[name] for name in unchanged} == {
            name: content for name, content in files_of(store / "dev").items() if name in unchanged
        }

    def test_somebody_below_the_threshold_has_no_vector(self, store, data):
        before, _ = load(store, data)
        done = purge(store, entities=["Q7"])
        assert not holding(store, b'"Q7"', b"Jo\\u00e3o")
        assert (done.removed["identities"], done.removed["identity_sentences"]) == (6, 0)
        np.testing.assert_array_equal(load(store, data)[0].identities.values, before.identities.values)

    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_all_one_after_the_other_and_at_once(self, kb, data, tmp_path, dtype):
        for name in ("one", "all"):
            build_store(tmp_path / name, data, kb, dtype=dtype)
        for _, entity, _, _ in PEOPLE:
            purge(tmp_path / "one", entities=[entity])
        purge(tmp_path / "all", entities=[entity for _, entity, _, _ in PEOPLE])
        assert files_of(tmp_path / "one") == files_of(tmp_path / "all")
        assert read_manifest(tmp_path / "one").purged == {"entities": 3}
        assert load(tmp_path / "all", data)[0].identities.counts().tolist() == [0] * 9

    def test_joined_sentences_go_as_a_whole_and_that_is_said(self, kb, data, tmp_path):
        store = tmp_path / "F"
        build_store(store, data, kb, identity_keys="joined")
        assert load(store, data)[0].identities.counts().tolist() == [1, 0, 1, 1, 0, 0, 0, 1, 1]
        below = purge(store, entities=["Q7"])  # not in the sentence
        assert (below.removed["identity_sentences"], below.removed["others"]) == (0, 0)
        done = purge(store, entities=["Q4"])
        assert (done.removed["identity_sentences"], done.removed["others"]) == (6, 6)
        assert [note for note in done.notes if "one vector, which goes as a whole" in note]
        assert load(store, data)[0].identities.counts().tolist() == [0] * 9
        assert sum(purge(store, entities=["Q1"]).removed.values()) == 0

    def test_strangers_are_told_and_change_nothing(self, store):
        before = files_of(store)
        done = purge(store, entities=["Q999", "", "../x", "صلاح\n"])
        assert files_of(store) == before
        assert "'Q999'" in done.notes[0]
        assert read_manifest(store).purged == {}

    def test_the_gallery_is_named(self, store, kb):
        [note] = [note for note in purge(store, entities=["Q1"]).notes if "gallery" in note]
        assert str(kb.path) in note
        assert "--erase" in note

    def test_a_build_keeps_what_was_purged(self, store, kb, data):
        purge(store, entities=["Q1"])
        before = files_of(store)
        assert [item.report for item in build_store(store, data, kb)] == [None, None]
        assert files_of(store) == before

    def test_splits_that_lie_about(self, store):
        """Complete and not yet published, or in no list: what they say of somebody goes too; finished shards stay."""
        shutil.copytree(store / "dev", store / WORK / "splits" / "dev")
        shutil.copytree(store / "dev", store / "unlisted")
        (store / WORK / "pictures" / "1").mkdir(parents=True)
        (store / WORK / "pictures" / "1" / "shard.json").write_text("{}")
        done = purge(store, entities=["Q1"])
        assert not holding(store, b'"Q1"')
        assert done.removed["leftovers"] == 2
        assert [path.name for path in (store / WORK).iterdir()] == ["pictures"]

    @pytest.mark.parametrize(
        "change",
        [
            lambda lines: lines[1:],
            lambda lines: [*lines, lines[0]],
            lambda lines: [line.replace('"score": 0.9', '"score": 0.1') for line in lines],
            lambda lines: ["[]"],
            lambda lines: ['{"mention": "a", "identities": [{"label": "a", "score": NaN}]}'],
            lambda lines: ["{"],
        ],
    )
    def test_labels_that_are_not_those_of_the_vectors(self, store, change: Callable[[list[str]], list[str]]):
        path = store / "train" / "identities.jsonl"
        path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))
        before = files_of(store)
        with pytest.raises(DataError, match=r"identities\.jsonl"):
            purge(store, entities=["Q1"])
        assert files_of(store) == before


class Killed(BaseException):
    """The process ends here."""


class Killer:
    """Ends the process at the nth change of the file system: from then on nothing can be changed."""

    names = ("replace", "rename", "unlink", "remove", "rmdir", "link", "mkdir")

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.left, self.patch = at, monkeypatch
        for name in self.names:
            monkeypatch.setattr(os, name, self._dying(getattr(os, name)))

    def _dying(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*arguments: Any, **options: Any) -> Any:
            if self.left <= 0:
                raise Killed
            self.left -= 1
            return real(*arguments, **options)

        return change


def killed_at(monkeypatch: pytest.MonkeyPatch, at: int, store: Path, **options: Any) -> bool:
    """Tell whether a purge was killed at its nth change."""
    with monkeypatch.context() as patch:
        Killer(patch, at)
        try:
            purge(store, **options)
        except Killed:
            return True
    return False


@pytest.mark.parametrize(("options", "stride"), [({"faces": True}, 3), ({"entities": ["Q1"]}, 5), ({}, 5)])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_and_the_next_purge_ends_it(
    made, data, tmp_path, monkeypatch, options, stride
):
    def fresh(name: str) -> Path:
        return Path(shutil.copytree(made, tmp_path / name)) / "F"

    done = fresh("done")
    purge(done, **options)
    finished = files_of(done) if done.exists() else {}
    gone = OF_FACES if "faces" in options else (b'"Q1"', b"Jodie Foster") if options else ()
    at, usable = 0, 0
    while killed_at(monkeypatch, at, store := fresh(f"at-{at}"), **options):
        if (store / "manifest.json").is_file():
            for split, record in open_features(store).manifest.splits.items():
                usable += 1
                features, _ = load(store, data, split)  # what is listed is whole
                old = features.identities is not None and features.identities.counts()[0] == 2
                assert not gone or bool(holding(store / split, *gone)) == old, at
                assert record == read_manifest(store).splits[split]
        if store.exists() and any(store.iterdir()):
            purge(store, **options)
        assert (files_of(store) if store.exists() else {}) == finished, at
        assert not store.exists() or not (store / WORK).exists()
        shutil.rmtree(store.parent)
        at += stride
    assert at > 20
    assert usable >= (20 if gone else 2) // stride


def test_encoders_without_any_face_setting_need_no_change(kb, data, tmp_path):
    bare = EncoderConfig(text="letters", image="colours", detector="halves.onnx")
    build_store(tmp_path / "F", data, kb, encoders=bare)
    assert load(tmp_path / "F", data)[1].objects_of(0)[0] == Region((0.0, 0.0, 30.0, 40.0), "person", 0.9)
    before = files_of(tmp_path / "F")
    purge(tmp_path / "F", faces=True)
    assert files_of(tmp_path / "F") == before
