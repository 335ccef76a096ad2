"""A store is made through anything: killed at every step, pictures and knowledge bases that change in between."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.stores import SEEING, build_store, files_of, photo, write_data

import dualway.features.build as build_module
import dualway.features.shards as shards_module
import dualway.features.workers as workers_module
import dualway.features.writing as writing_module
from dualway.config import EncoderConfig
from dualway.datasets import open_dataset
from dualway.errors import CompatibilityError, DataError
from dualway.features.build import Work
from dualway.features.manifest import MANIFEST, read_manifest
from dualway.features.seeing import PictureReader
from dualway.features.store import open_features
from dualway.features.writing import remove_store
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Representation

# Pictures of tests/stores.py in the order in which they are read; one of them is broken.
ALL = ["a.png", "broken.png", "b.png", "high.png", "b.png", "dev.png"]
SMALL = Work(shard_size=2)


class Killed(BaseException):
    """In place of SIGKILL where nothing is cleaned up on the way anyway."""


@pytest.fixture
def kb(people_kb: KnowledgeBase) -> KnowledgeBase:
    return people_kb


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures that are read, as they are read."""
    names: list[str] = []
    original = PictureReader.read

    def reading(self: PictureReader, path: Path, *args: Any, **more: Any) -> Any:
        names.append(path.name)
        return original(self, path, *args, **more)

    monkeypatch.setattr(PictureReader, "read", reading)
    return names


def kill_at(monkeypatch: pytest.MonkeyPatch, number: int, call: Callable[[], object]) -> None:
    """Make a call that is killed when the picture of this number is to be read."""
    original, count = PictureReader.read, 0

    def reading(self: PictureReader, path: Path, *args: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count > number:
            raise Killed
        return original(self, path, *args, **more)

    killed(monkeypatch, (PictureReader, "read", reading), call)


def killed(monkeypatch: pytest.MonkeyPatch, change: tuple[Any, ...], call: Callable[[], object]) -> None:
    """Make a call that is killed by what stands, for the time of the call, in place of a function."""
    with monkeypatch.context() as patch:
        patch.setattr(*change)
        with pytest.raises(Killed):
            call()


def kill(*_: Any, **__: Any) -> None:
    raise Killed


def changed_kb(people: list[Entity], folder: Path) -> KnowledgeBase:
    """The knowledge base of `people` in which one text is another."""
    other = dataclasses.replace(people[0], representations=(Representation("properties", "Somebody else."),))
    return KnowledgeBase.create(folder, [other, *people[1:]])


def end_at(number: int, call: Callable[[], object]) -> bool:
    """Make a call in another process, which ends at once before its nth change of the file system, as by SIGKILL.

    Returns whether it came so far.
    """

    def work() -> None:
        left = number

        def hook(event: str, args: tuple[Any, ...]) -> None:
            nonlocal left
            # A file of a temporary name is removed when it has got its own: nothing is to be removed any more.
            if event in ("os.rename", "os.rmdir") or (event == "os.remove" and not str(args[0]).endswith(".tmp")):
                left -= 1
                if left <= 0:
                    os._exit(9)

        sys.addaudithook(hook)
        call()
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode in (0, 9), process.exitcode
    return process.exitcode == 9


@pytest.mark.slow
class TestKilledAtEveryStep:
    """Before each file or folder that is moved to its place or removed."""

    @pytest.fixture(autouse=True)
    def _no_waiting_for_the_disk(self, monkeypatch):
        monkeypatch.setattr(os, "fsync", lambda _: None)

    def survive(self, start: Callable[[], object], call: Callable[[], object], out: Path, whole: dict[str, bytes]):
        """Kill the call at each of its steps, beginning from `start`, and go on by the same call."""
        number = 0
        while True:
            number += 1
            shutil.rmtree(out, ignore_errors=True)
            start()
            killed = end_at(number, call)
            if (out / MANIFEST).is_file():
                for split in read_manifest(out).splits:  # what a manifest names can be read at any moment
                    open_features(out).reader(split).features(tokens=False)
            if killed:
                call()
            found = files_of(out)
            assert found.keys() == whole.keys(), number
            assert [name for name in whole if found[name] != whole[name]] == [], number
            if not killed:
                break
        assert number > 20

    def test_a_new_store(self, kb, data, tmp_path):
        def make(out: Path) -> None:
            with KnowledgeBase.open(kb.path) as opened:
                build_store(out, data, opened, work=Work(shard_size=4))

        make(tmp_path / "whole")
        self.survive(lambda: None, lambda: make(tmp_path / "F"), tmp_path / "F", files_of(tmp_path / "whole"))

    def test_a_store_of_a_knowledge_base_that_changed(self, kb, people, data, tmp_path, read):
        changed_kb(people, tmp_path / "other-kb").close()
        build_store(tmp_path / "before", data, kb, work=Work(shard_size=4))

        def go_on(out: Path) -> None:
            with KnowledgeBase.open(tmp_path / "other-kb") as opened:
                build_store(out, data, opened, work=Work(shard_size=4))

        go_on(tmp_path / "whole")
        whole = files_of(tmp_path / "whole")
        read.clear()
        begin = lambda: shutil.copytree(tmp_path / "before", tmp_path / "F")  # noqa: E731
        self.survive(begin, lambda: go_on(tmp_path / "F"), tmp_path / "F", whole)
        assert set(read) <= {"broken.png"}  # of which nothing could be kept

    def test_starting_over(self, kb, data, tmp_path):
        build_store(tmp_path / "before", data, kb, work=Work(shard_size=4))

        def restart(out: Path) -> None:
            remove_store(out)
            with KnowledgeBase.open(kb.path) as opened:
                build_store(out, data, opened, work=Work(shard_size=4))

        begin = lambda: shutil.copytree(tmp_path / "before", tmp_path / "F")  # noqa: E731
        self.survive(begin, lambda: restart(tmp_path / "F"), tmp_path / "F", files_of(tmp_path / "before"))


class TestGoingOn:
    def test_pictures_that_are_finished_are_not_read_again(self, kb, data, tmp_path, read, monkeypatch):
        build_store(tmp_path / "whole", data, kb, work=SMALL)
        assert read == ALL
        read.clear()
        kill_at(monkeypatch, 3, lambda: build_store(tmp_path / "F", data, kb, work=SMALL))
        assert read == ALL[:3]
        read.clear()
        build_store(tmp_path / "F", data, kb, work=SMALL)
        assert read == ALL[2:]  # the third was of the shard in hand
        assert files_of(tmp_path / "F") == files_of(tmp_path / "whole")

    @pytest.mark.parametrize("change", ["removed", "added", "replaced"])
    def test_pictures_that_changed_in_between(self, kb, data, tmp_path, read, monkeypatch, change):
        kill_at(monkeypatch, 4, lambda: build_store(tmp_path / "F", data, kb, work=SMALL))
        lines = (data / "train.jsonl").read_text()
        expected = ["b.png", "dev.png"]
        if change == "removed":  # of the mentions, the first picture of the first shard
            (data / "train.jsonl").write_text(lines.replace('"a.png"', '"high.png"'))
        elif change == "added":
            photo(data / "new.png", seed=50)
            (data / "train.jsonl").write_text(lines.replace('"a.png"', '"new.png"', 1))
            expected = ["new.png", *expected]
        else:
            photo(data / "high.png", seed=51)
            expected = ["high.png", *expected]
        read.clear()
        build_store(tmp_path / "F", data, kb, work=SMALL)
        assert read == expected
        build_store(tmp_path / "whole", data, kb, work=SMALL)
        assert files_of(tmp_path / "F") == files_of(tmp_path / "whole")

    def test_shards_of_other_models_and_settings_are_not_used(self, kb, data, tmp_path, read, monkeypatch):
        """Killed before there is a manifest, which would refuse them."""
        kill_at(monkeypatch, 5, lambda: build_store(tmp_path / "F", data, kb, work=SMALL))
        read.clear()
        kill_at(monkeypatch, 5, lambda: build_store(tmp_path / "F", data, kb, work=SMALL, max_objects=1))
        assert read == ALL[:5]
        for more in ({"max_objects": 1}, {"encoders": EncoderConfig(text="letters", image="colours")}):
            shutil.rmtree(tmp_path / "G", ignore_errors=True)
            shutil.copytree(tmp_path / "F", tmp_path / "G")
            build_store(tmp_path / "G", data, kb, work=SMALL, **more)
            build_store(tmp_path / "whole", data, kb, work=SMALL, **more)
            assert files_of(tmp_path / "G") == files_of(tmp_path / "whole")
            shutil.rmtree(tmp_path / "whole")

    def test_when_nothing_changed_nothing_is_done(self, kb, data, tmp_path, read):
        build_store(tmp_path / "F", data, kb)
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "F").rglob("*")}
        read.clear()
        made = build_store(tmp_path / "F", data, kb)
        assert [item.report for item in made] == [None, None]
        assert read == []
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "F").rglob("*")} == before

    def test_the_number_of_processes_is_that_of_the_data_and_not_of_what_remains(
        self, kb, data, tmp_path, read, monkeypatch
    ):
        """Processes use one thread each; another number of threads may change the last bits."""
        asked: list[int] = []

        def make(waiting, recipe, workers, finished, **_):
            asked.append(workers)
            raise Killed

        monkeypatch.setattr(workers_module, "WORTHWHILE", len(ALL))
        monkeypatch.setattr(build_module, "make_shards", make)
        kill_at(
            monkeypatch, 5, lambda: build_store(tmp_path / "F", data, kb, work=dataclasses.replace(SMALL, workers=0))
        )
        for splits in (("train", "dev"), ("train", "dev")):
            with pytest.raises(Killed):
                build_store(tmp_path / "F", data, kb, splits=splits, work=dataclasses.replace(SMALL, workers=None))
        assert len(set(asked)) == 1
        assert asked[0] > 0

    def test_arrays_too_large_for_memory_where_no_picture_is_read(self, kb, people, data, tmp_path, monkeypatch):
        with changed_kb(people, tmp_path / "other-kb") as other:
            for name in ("F", "whole"):
                build_store(tmp_path / name, data, kb)
            build_store(tmp_path / "whole", data, other)
            (data / "broken.png").unlink()
            monkeypatch.setattr(shards_module, "_IN_MEMORY", 0)
            build_store(tmp_path / "F", data, other)
        for name in ("image.npy", "objects.values.npy", "face_vectors.values.npy"):
            assert (tmp_path / "F/train" / name).read_bytes() == (tmp_path / "whole/train" / name).read_bytes()


class TestOnError:
    def build(self, kb, data, out, on_error, **more):
        return build_store(out, data, kb, work=Work(on_error=on_error, shard_size=2), **more)

    def test_keep_text(self, kb, data, tmp_path):
        train, dev = self.build(kb, data, tmp_path / "F", "keep-text")
        assert (train.record.mentions, train.record.failures, train.record.dropped) == (9, 1, 0)
        assert (dev.record.mentions, dev.record.failures) == (1, 0)
        found, report = open_features(tmp_path / "F").load(open_dataset(data, "train"))
        assert list(report.failures) == [str(data / "broken.png")]
        assert found.picture[1] == -1
        assert found.text[1].any()

    def test_drop(self, kb, data, tmp_path):
        self.build(kb, data, tmp_path / "whole", "keep-text")
        train, _ = self.build(kb, data, tmp_path / "F", "drop")
        assert (train.record.mentions, train.record.failures, train.record.dropped) == (8, 1, 1)
        dataset, store = open_dataset(data, "train"), open_features(tmp_path / "F")
        kept = store.select(dataset)
        assert [mention.id for mention in kept.mentions] == [m.id for i, m in enumerate(dataset.mentions) if i != 1]
        found, _ = store.load(dataset)
        full, _ = open_features(tmp_path / "whole").load(dataset)
        others = np.array([i for i in range(len(dataset)) if i != 1])
        np.testing.assert_array_equal(found.text, full.text[others])
        np.testing.assert_array_equal(found.picture, full.picture[others])
        np.testing.assert_array_equal(found.identities.counts(), full.identities.counts()[others])

    def test_another_choice_is_another_store(self, kb, data, tmp_path):
        self.build(kb, data, tmp_path / "F", "keep-text")
        with pytest.raises(CompatibilityError, match="--on-error: 'keep-text' there, 'drop' now"):
            self.build(kb, data, tmp_path / "F", "drop")

    def test_stop_and_going_on_after_mending(self, kb, data, tmp_path, read):
        for _ in range(2):
            read.clear()
            with pytest.raises(DataError, match=r"broken\.png.*give the same command again"):
                self.build(kb, data, tmp_path / "F", "stop")
            assert read == ["a.png", "broken.png"]
        photo(data / "broken.png", seed=60)
        read.clear()
        self.build(kb, data, tmp_path / "F", "stop")
        assert read == ALL
        self.build(kb, data, tmp_path / "whole", "keep-text")
        assert files_of(tmp_path / "F") == files_of(tmp_path / "whole")

    def test_stop_after_a_build_that_did_not_stop_was_killed(self, kb, data, tmp_path, read, monkeypatch):
        kill_at(monkeypatch, 5, lambda: self.build(kb, data, tmp_path / "F", "keep-text"))
        read.clear()
        with pytest.raises(DataError, match=r"broken\.png"):
            self.build(kb, data, tmp_path / "F", "stop")
        assert read == []


class TestAnotherKnowledgeBase:
    def test_a_text_that_changed(self, kb, people, data, tmp_path, read):
        build_store(tmp_path / "F", data, kb)
        read.clear()
        with changed_kb(people, tmp_path / "other-kb") as other:
            made = build_store(tmp_path / "F", data, other)
            assert all(item.report is not None for item in made)
            assert read == ["broken.png"]  # nothing could be kept of it
            build_store(tmp_path / "whole", data, other)
        assert files_of(tmp_path / "F") == files_of(tmp_path / "whole")

    def test_a_gallery_that_changed(self, kb, data, tmp_path, read):
        build_store(tmp_path / "F", data, kb)
        read.clear()
        build_store(tmp_path / "F", data, kb, gallery="with one picture more")
        assert read == ["broken.png"]
        build_store(tmp_path / "whole", data, kb, gallery="with one picture more")
        assert files_of(tmp_path / "F") == files_of(tmp_path / "whole")

    def test_a_split_that_a_call_leaves_out(self, kb, data, tmp_path):
        build_store(tmp_path / "F", data, kb)
        before = files_of(tmp_path / "F")
        with pytest.raises(CompatibilityError, match="and dev is not among those of this call; name every split"):
            build_store(tmp_path / "F", data, kb, gallery="another", splits=["train"])
        assert files_of(tmp_path / "F") == before

    def test_a_split_that_a_call_leaves_out_after_one_that_was_killed(self, kb, data, tmp_path, monkeypatch):
        build_store(tmp_path / "F", data, kb)
        saving = (build_module, "save_features", kill)
        killed(monkeypatch, saving, lambda: build_store(tmp_path / "F", data, kb, gallery="another"))
        with pytest.raises(CompatibilityError, match="and dev is not among those of this call"):
            build_store(tmp_path / "F", data, kb, gallery="another", splits=["train"])
        build_store(tmp_path / "F", data, kb, gallery="another")
        build_store(tmp_path / "whole", data, kb, gallery="another")
        assert files_of(tmp_path / "F") == files_of(tmp_path / "whole")

    def test_a_split_written_and_not_published_is_of_its_own_knowledge_base(self, kb, data, tmp_path, monkeypatch):
        publishing = (writing_module, "publish_split", kill)
        monkeypatch.setattr(writing_module, "_tidy", lambda _: None)
        for gallery, kept in (("another", False), ("gallery-of-pictures", True)):
            killed(monkeypatch, publishing, lambda: build_store(tmp_path / "F", data, kb))
            assert (tmp_path / "F/work/splits/train/record.json").is_file()
            made = build_store(tmp_path / "F", data, kb, gallery=gallery)
            assert [item.report is None for item in made] == [kept, False]
            shutil.rmtree(tmp_path / "F")


def test_starting_over_takes_along_what_is_outdated(kb, data, tmp_path, monkeypatch):
    build_store(tmp_path / "F", data, kb)
    saving = (build_module, "save_features", kill)
    killed(monkeypatch, saving, lambda: build_store(tmp_path / "F", data, kb, gallery="another"))
    assert set(read_manifest(tmp_path / "F").outdated) == {"train", "dev"}
    remove_store(tmp_path / "F")
    assert list((tmp_path / "F").iterdir()) == []


def test_float16_is_the_same_rounded_once(kb, data, tmp_path):
    build_store(tmp_path / "full", data, kb)
    build_store(tmp_path / "half", data, kb, dtype="float16", work=SMALL)
    dataset = open_dataset(data, "train")
    (full, _), (half, _) = (open_features(tmp_path / name).load(dataset) for name in ("full", "half"))
    for one, other in ((full.image, half.image), (full.objects.values, half.objects.values), (full.text, half.text)):
        np.testing.assert_array_equal(other, one.astype(np.float16).astype(np.float32))
    assert np.load(tmp_path / "half/train/face_vectors.values.npy").dtype == np.float16


def test_a_store_is_what_is_made_in_memory_bit_for_bit(kb, tiny_clip, data, tmp_path):
    from dualway.config import Preset, override
    from dualway.features.build import StoreBuilder
    from dualway.run import Pipeline

    encoders = {"text": str(tiny_clip), "image": str(tiny_clip), "detector": "proposals"}
    preset = override(Preset(name="paper"), {"encoders": encoders})
    pipeline, datasets = Pipeline(preset, kb), {split: open_dataset(data, split) for split in ("train", "dev")}
    StoreBuilder(tmp_path / "F", pipeline.extractor, kb, preset, work=SMALL).add(datasets)
    for dataset in datasets.values():
        _, expected, report = pipeline.prepare(dataset, 5)
        found, told = open_features(tmp_path / "F").load(dataset)
        for name in ("mention", "text", "picture", "entities", "image"):
            assert getattr(found, name).tobytes() == getattr(expected, name).tobytes(), name
        for one, other in zip(found.objects, expected.objects):
            assert one.tobytes() == other.tobytes()
        assert list(told.seen) == list(report.seen)
        assert told.failures == report.failures


def test_every_model_is_among_what_makes_shards_other_ones(kb, data, tmp_path):
    build_store(tmp_path / "F", data, kb)
    assert read_manifest(tmp_path / "F").origin.of_pictures().keys() >= {
        "image", "detector", "faces", "age", "identity", "features.max_objects", "features.min_face_size",
    }  # fmt: skip
    assert SEEING.identity is not None
