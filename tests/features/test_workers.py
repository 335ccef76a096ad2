"""Processes that read pictures: what they make, and what becomes of the work when one of them, or the parent, dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import readers
from tests.stores import Colours, files_of, photo

from dualway.config import EncoderConfig, FeatureConfig
from dualway.errors import DataError, ModelError
from dualway.features.regions import PictureRegions
from dualway.features.shards import CRASHED, Known, OnError, Shard, ShardedPictures, Source, make_shard, plan_shards
from dualway.features.workers import MAX_WORKERS, WORTHWHILE, Recipe, choose_workers, load_models, make_shards

DIMS = (Colours.dim, None)


class Build:
    """Pictures of given names, in shards, made by processes with a reader of tests/readers.py."""

    def __init__(self, folder: Path, names: list[str], size: int = 3) -> None:
        self.work = folder / "work"
        self.sources = [
            Source.find(photo(folder / "pictures" / f"{name}.png", seed=i), name, PictureRegions())
            for i, name in enumerate(names)
        ]
        self.pictures = ShardedPictures(self.work, Known(), DIMS)
        self.shards = self.pictures.plan(self.sources, size)
        self.progress: list[int] = []

    def run(self, workers: int = 2, *, on_error: OnError = "keep-text", load=readers.load, **more) -> None:
        recipe = Recipe(EncoderConfig(text="t"), FeatureConfig(), {}, self.work, on_error)
        make_shards(
            self.shards, recipe, workers, self.pictures.finished, progress=self.progress.append, load=load, **more
        )

    def failures(self) -> dict[str, str]:
        found = self.pictures.encode([source.path for source in self.sources], [])
        return {Path(path).stem: why for path, why in found.failures.items()}

    def notes(self) -> list[str]:
        return readers.read_notes(self.work.parent / "notes")


def started(notes: list[str]) -> list[int]:
    return [int(line.split()[1]) for line in notes if line.startswith("start")]


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_for(come: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not come():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def plain(number: int) -> list[str]:
    return [f"plain-{i}" for i in range(number)]


class TestNumber:
    def test_as_many_as_wanted_else_one_a_processor_where_it_pays(self):
        assert choose_workers(3, 1) == 3
        assert choose_workers(0, 10**6) == 0
        assert choose_workers(2, 0) == 0
        assert choose_workers(None, WORTHWHILE - 1) == 0
        assert choose_workers(None, WORTHWHILE) == min(len(os.sched_getaffinity(0)), MAX_WORKERS)


class TestResult:
    def test_it_is_what_one_process_makes(self, tmp_path):
        build = Build(tmp_path, [*plain(7), "lost-0", "once-0"])
        build.run()
        assert build.failures() == {"lost-0": "not a picture"}
        alone = readers.Misbehaving(tmp_path / "alone-notes")
        readers.note(alone.notes, "read once-0.png")  # no first time for it
        for shard in build.shards:
            make_shard(alone, shard, tmp_path / "alone")
        several, one = (files_of(folder) for folder in (build.work, tmp_path / "alone"))
        assert several.keys() == one.keys()
        assert {Path(name).name for name in one if one[name] != several[name]} <= {"shard.json"}  # seconds

    def test_every_picture_is_read_once_and_counted(self, tmp_path):
        build = Build(tmp_path, plain(10))
        build.run()
        assert sorted(line for line in build.notes() if line.startswith("read")) == [
            f"read plain-{i}.png" for i in range(10)
        ]
        assert len(started(build.notes())) == 2
        assert build.progress == sorted(build.progress)
        assert build.progress[-1] == 10
        assert all(map(has_ended, started(build.notes())))

    def test_no_more_processes_than_shards(self, tmp_path):
        build = Build(tmp_path, plain(2))
        build.run(workers=8)
        assert len(started(build.notes())) == 1

    def test_nothing_to_do(self, tmp_path):
        build = Build(tmp_path, [])
        build.run()
        assert build.notes() == []

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["tiny", pytest.param("real", marks=pytest.mark.realdata)])
    def test_real_models(self, kind, tiny_clip, tmp_path, request):
        """Bit for bit, with the same number of threads."""
        import torch

        encoders = EncoderConfig(text="t", image=str(tiny_clip), detector="proposals")
        if kind == "real":
            models = request.getfixturevalue("realdata") / "models"
            encoders = EncoderConfig(
                text="t", image=str(tiny_clip), detector=str(models / "yolox_nano" / "yolox_nano.onnx"),
                faces=str(models / "yunet" / "yunet_n_640_640.onnx"),
                age=str(models / "age_gender" / "age_gender.onnx"),
                identity=str(models / "mobilefacenet" / "mobilefacenet.onnx"),
            )  # fmt: skip
            photos = sorted((models.parent / "wikimel" / "KVQAimgs").iterdir())[:4]
        else:
            photos = [photo(tmp_path / f"{i}.png", seed=i) for i in range(4)]
        shards = plan_shards([Source.find(path, path.name, PictureRegions()) for path in photos], 2)
        recipe = Recipe(encoders, FeatureConfig(), {}, tmp_path / "one", "keep-text")
        reader = _load_unchecked(recipe)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for shard in shards:
                make_shard(reader, shard, recipe.work)
        finally:
            torch.set_num_threads(threads)
        recipe = Recipe(encoders, FeatureConfig(), reader.fingerprints(), tmp_path / "two", "keep-text")
        finished: list[Shard] = []
        make_shards(shards, recipe, 2, finished.append)
        assert sorted(shard.name for shard in finished) == [shard.name for shard in shards]
        one, two = (files_of(tmp_path / name) for name in ("one", "two"))
        assert one.keys() == two.keys()
        assert {Path(name).name for name in one if one[name] != two[name]} <= {"shard.json"}
        if kind == "real":
            assert any(len(one[name]) > 200 for name in one if name.endswith("face_vectors.values.npy"))


def _load_unchecked(recipe: Recipe):
    from dualway.features.models import load_reader

    return load_reader(recipe.encoders, recipe.features)


class TestPicturesThatBringAProcessDown:
    @pytest.mark.parametrize("word", ["bomb", "large"])
    def test_one_that_does_so_twice_is_named_and_the_rest_goes_on(self, tmp_path, word):
        build = Build(tmp_path, [*plain(4), f"{word}-0", *plain(9)[4:]])
        build.run()
        assert build.failures() == {f"{word}-0": CRASHED}
        assert build.notes().count(f"read {word}-0.png") == 2
        assert len(started(build.notes())) == 4  # one anew for each death
        assert build.notes().count("read plain-8.png") == 1  # of another shard
        assert build.progress[-1] == 10

    def test_one_that_does_so_once_is_read_in_the_end(self, tmp_path):
        build = Build(tmp_path, ["plain-0", "once-0", "plain-1"])
        build.run()
        assert build.failures() == {}
        assert build.notes().count("read once-0.png") == 2

    def test_several_in_one_shard_and_one_process(self, tmp_path):
        build = Build(tmp_path, ["bomb-0", "plain-0", "bomb-1"])
        build.run(workers=1)
        assert build.failures() == {"bomb-0": CRASHED, "bomb-1": CRASHED}

    def test_one_that_hangs(self, tmp_path):
        build = Build(tmp_path, ["plain-0", "hangs-0", "plain-1", "plain-2"], size=2)
        start = time.monotonic()
        build.run(picture_s=1.0)
        assert build.failures() == {"hangs-0": CRASHED}
        assert time.monotonic() - start < 60
        assert all(map(has_ended, started(build.notes())))

    def test_slow_ones_that_take_longer_together_are_not_to_blame(self, tmp_path):
        build = Build(tmp_path, [f"slow-{i}" for i in range(8)], size=8)
        build.run(workers=1, picture_s=1.5)
        assert build.failures() == {}
        assert len(started(build.notes())) == 1

    def test_under_stop_the_picture_is_named(self, tmp_path):
        build = Build(tmp_path, ["plain-0", "bomb-0"])
        with pytest.raises(DataError, match=r"bomb-0\.png.*crashed.*--on-error keep-text"):
            build.run(on_error="stop")


class TestErrors:
    def test_under_stop_the_error_is_that_of_one_process(self, tmp_path):
        build = Build(tmp_path, [*plain(3), "lost-0"])
        with pytest.raises(DataError) as caught:
            build.run(workers=1, on_error="stop")
        assert (caught.value.path, caught.value.exit_code) == (tmp_path / "pictures" / "lost-0.png", 3)
        assert str(caught.value).startswith(f"{tmp_path / 'pictures' / 'lost-0.png'}: not a picture; mend")
        left = ShardedPictures(build.work, Known(), DIMS).plan(build.sources, 3)
        assert [source.name for shard in left for source in shard.sources] == ["lost-0"]  # what was committed stays

    @pytest.mark.parametrize(
        ("name", "load", "words"),
        [
            ("model-0", readers.load, r"model-0\.png: m\.onnx: cannot be run"),
            ("plain-0", readers.load_failing, "no such file"),
        ],
    )
    def test_a_model_that_fails(self, tmp_path, name, load, words):
        build = Build(tmp_path, [name])
        with pytest.raises(ModelError, match=words):
            build.run(load=load)

    def test_a_fault_of_ours_ends_the_work_and_shows_where_it_is(self, tmp_path, capfd):
        build = Build(tmp_path, ["plain-0", "fault-0", "plain-1"])
        with pytest.raises(RuntimeError, match=r"ZeroDivisionError.*a fault of ours"):
            build.run()
        assert "in _fault" in capfd.readouterr().err
        assert build.notes().count("read fault-0.png") == 1

    def test_models_that_have_changed_meanwhile(self, tiny_clip, tmp_path):
        recipe = Recipe(
            EncoderConfig(text="t", image=str(tiny_clip)), FeatureConfig(), {"image": "1"}, tmp_path, "stop"
        )
        with pytest.raises(ModelError, match="have changed"):
            load_models(recipe)

    @pytest.mark.parametrize("load", [readers.load_dying, readers.load_dying_late])
    def test_processes_that_die_on_no_picture_are_not_started_for_ever(self, tmp_path, load):
        build = Build(tmp_path, ["plain-0"])
        with pytest.raises(ModelError, match=r"exit code -?9.*--workers 1, or 0 for none, and a smaller --shard-size"):
            build.run(load=load)
        assert len(started(build.notes())) == 3

    def test_a_process_that_dies_after_its_commit_has_done_its_work(self, tmp_path):
        """Its report is lost, its shard is not."""
        build = Build(tmp_path, ["plain-0"])
        make_shard(readers.Misbehaving(tmp_path / "other-notes"), build.shards[0], build.work)
        build.run(load=readers.load_dying_late)
        assert len(build.pictures.known.place) == 1
        assert len(started(build.notes())) == 1


PARENT = """
import signal
import sys
from pathlib import Path
from tests import readers
from tests.features.test_workers import Build

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts jobs in the background without it
build = Build(Path(sys.argv[1]), sys.argv[2:], size=1)
build.run()
"""


class TestParent:
    def start(self, folder: Path, *names: str) -> tuple[subprocess.Popen[str], Callable[[], list[str]]]:
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT, folder, *names], stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        return process, lambda: readers.read_notes(folder / "notes")

    def test_when_it_is_killed_its_processes_end_in_the_middle_of_a_picture(self, tmp_path):
        process, notes = self.start(tmp_path, "hangs-0", "hangs-1")
        assert wait_for(lambda: sum(line.startswith("read") for line in notes()) == 2)
        process.kill()
        process.wait()
        process.stderr.close()
        assert wait_for(lambda: all(map(has_ended, started(notes()))), 10)
        assert len(started(notes())) == 2

    def test_ctrl_c_ends_all_of_them_without_a_word_of_theirs(self, tmp_path):
        process, notes = self.start(tmp_path, "hangs-0", "hangs-1")
        assert wait_for(lambda: sum(line.startswith("read") for line in notes()) == 2)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process
        _, errors = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGINT
        assert errors.count("Traceback") == 1  # the parent's own, which the command line turns into a word
        assert "KeyboardInterrupt" in errors
        assert all(map(has_ended, started(notes())))
        assert [path for path in (tmp_path / "work").glob("*") if not path.name.startswith(".")] == []
