"""`dualway features` where pictures cannot be used, and where it is interrupted: what is said, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from experiments.survival import find_shards, wait_for_end, wait_until
from tests.folders import picture

from .calls import COMMAND, LINKS, Done, call, write_lines

BROKEN = "2.png"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Train and dev, two mentions a picture; the third picture of train is broken."""
    folder = tmp_path / "photos"
    for split, pictures in (("train", range(6)), ("dev", range(6, 9))):
        lines: list[dict[str, Any]] = []
        for i in pictures:
            picture(folder / f"{i}.png", i, size=40)
            for n, (text, surface, gold) in enumerate((LINKS[i], LINKS[i - 1])):
                given = {"text": text, "surface": surface, "entity_id": gold, "image": f"{i}.png"}
                lines.append({"id": f"{i}-{n}", **given})
        write_lines(folder / f"{split}.jsonl", lines)
    (folder / BROKEN).write_bytes((folder / BROKEN).read_bytes()[:50])
    return folder


@pytest.fixture
def command(photos: Path, kb: Path, small: list[str], tiny_clip: Path, tmp_path: Path) -> list[Any]:
    options = [*small, "--set", f"encoders.image={tiny_clip}", "--shard-size", "2"]
    return ["--data", photos, "--kb", kb, *options]


def features(command: list[Any], out: Path, *more: object) -> Done:
    return call("features", *command, "--out", out, *more)


class TestDrop:
    def test_mentions_are_left_out_of_training_and_evaluation_which_say_so(self, command, photos, kb, small, tmp_path):
        store, run = tmp_path / "F", tmp_path / "run"
        done = features(command, store, "--on-error", "drop", "--json")
        assert done.code == 0, done.err
        assert {name: (s["mentions"], s["dropped"]) for name, s in done.json["splits"].items()} == {
            "train": (10, 2), "dev": (6, 0),
        }  # fmt: skip
        assert list(done.json["splits"]["train"]["failed"]) == [str(photos / BROKEN)]
        settings = [*small, "--set", "encoders.image=" + command[-3].partition("=")[2]]
        trained = call("train", "--data", photos, "--kb", kb, *settings, "--features", store, "--out", run)
        assert trained.code == 0, trained.err
        told = "2 of 12 mentions are left out, as their pictures could not be used (features were made with --on-error"
        assert told in trained.err
        assert json.loads((run / "run.json").read_text())["results"]["0"]["mentions"] <= 10
        scored = call(
            "evaluate", "--run", run, "--data", photos, "--split", "train", "--features", store,
            "--predictions", tmp_path / "p.jsonl",
        )  # fmt: skip
        assert scored.code == 0, scored.err
        assert told in scored.err
        ranked = {json.loads(line)["id"] for line in (tmp_path / "p.jsonl").read_text().splitlines()}
        assert not any(name.startswith("2-") for name in ranked)
        assert {name.partition("-")[0] for name in ranked} <= {"0", "1", "3", "4", "5"}

    def test_another_choice_for_the_same_store(self, command, tmp_path):
        assert features(command, tmp_path / "F").code == 0
        done = features(command, tmp_path / "F", "--on-error", "drop")
        assert done.code == 4
        assert "--on-error: 'keep-text' there, 'drop' now" in done.err


class TestStop:
    @pytest.mark.parametrize("workers", ["0", pytest.param("2", marks=pytest.mark.slow)])
    def test_it_names_the_picture_and_goes_on_once_that_is_mended(self, command, photos, tmp_path, workers):
        more = ["--on-error", "stop", "--workers", workers]
        done = features(command, tmp_path / "F", *more)
        assert done.code == 3
        last = done.err.splitlines()[-1]
        assert last.startswith(f"dualway: {photos / BROKEN}: ")
        assert "give the same command again, or go on without such pictures with --on-error keep-text" in last
        before = {str(path): path.stat().st_mtime_ns for path in find_shards(tmp_path / "F")}
        assert len(before) >= (workers == "0")
        picture(photos / BROKEN, 99, size=40)
        done = features(command, tmp_path / "F", *more, "--json")
        assert done.code == 0, done.err
        assert done.json["splits"]["train"]["pictures"] == 6
        assert done.json["splits"]["train"]["failed"] == {}

    def test_going_on_without_stopping(self, command, tmp_path):
        assert features(command, tmp_path / "F", "--on-error", "stop").code == 3
        done = features(command, tmp_path / "F", "--on-error", "keep-text")
        assert done.code == 0, done.err
        assert "1 pictures could not be used" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_an_interrupted_call(command, photos, tmp_path, workers):
    """Ctrl-C, as a terminal sends it to every process: one line, 130, nobody is left, the same command goes on."""
    for i in range(10, 400):
        picture(photos / f"{i}.png", i, size=200)
    names = [f"{i}.png" for i in range(10, 400)]
    write_lines(photos / "dev.jsonl", [{"id": n, "text": "Foster", "surface": "Foster", "image": n} for n in names])
    arguments = ["features", *command, "--set", "encoders.detector=proposals", "--out", tmp_path / "F"]
    arguments += ["--workers", workers]
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where a shell runs us with `&`
        env={**os.environ, "OMP_NUM_THREADS": "1", "DUALWAY_CACHE": str(tmp_path / "cache")},
    )
    try:
        assert wait_until(process, lambda: sum(1 for _ in find_shards(tmp_path / "F")) > 2), process.communicate()
        group = [path for path in Path("/proc").glob("[0-9]*") if _group_of(path) == process.pid]
        assert len(group) > int(workers)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "dualway: interrupted"
    assert "Traceback" not in err
    assert wait_for_end(group)[0] == 0
    before = {path: path.stat().st_mtime_ns for path in find_shards(tmp_path / "F")}
    assert before
    lines = (photos / "dev.jsonl").read_text().splitlines(keepends=True)
    (photos / "dev.jsonl").write_text("".join(lines[:5]))
    done = call(*arguments, "--json")
    assert done.code == 0, done.err
    assert done.json["splits"]["dev"]["pictures"] == 5


def _group_of(path: Path) -> int:
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[2])
    except (OSError, IndexError):
        return 0
