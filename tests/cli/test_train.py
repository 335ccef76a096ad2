"""`dualway train`, as a person calls it."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .calls import COMMAND, LINKS, call, listing, write_lines

RESULT = {"best_dev_t1", "best_step", "steps", "seconds", "mentions", "skipped", "notes", "regions", "mentions_per_s"}


def test_results_for_people_and_for_machines(kb, data, small, tmp_path):
    command = ["train", "--data", data, "--kb", kb, "--out", tmp_path / "run", *small]
    first = call(*command)
    assert first.code == 0
    lines = first.out.splitlines()
    assert lines[0] == f"{tmp_path / 'run'}: preset paper"
    assert "27 mentions (6 without entity left out)" in lines[1]
    assert lines[2] == f"evaluate it:  dualway evaluate --run {tmp_path / 'run'} --data DATA"
    assert "model.use_faces is on, but nothing of its kind was extracted" in first.err
    again = call(*command, "--json", "--quiet")  # finished: only told again
    assert again.err == ""
    assert again.json["preset"] == "paper"
    assert again.json["results"]["0"].keys() == RESULT
    assert listing(tmp_path / "run") == {
        "run.json", "prior.json", "captions.json",
        "seed-0", *(f"seed-0/{name}" for name in ("config.json", "history.jsonl", "model.safetensors", "train.json")),
    }  # fmt: skip


def test_several_seeds(run):
    record = json.loads((run / "run.json").read_text())
    assert list(record["results"]) == ["0", "1"]
    assert record["preset"]["train"]["seeds"] == [0, 1]
    assert Path(record["kb"]["path"]).is_absolute()
    assert (run / "seed-0" / "model.safetensors").read_bytes() != (run / "seed-1" / "model.safetensors").read_bytes()


def test_settings_from_a_file_lie_under_those_of_the_call(kb, data, small, tmp_path):
    (tmp_path / "my.toml").write_text("[train]\nepochs = 7\nbatch_size = 9\n")
    done = call(
        "train", "--data", data, "--kb", kb, "--out", tmp_path / "run", "--config", tmp_path / "my.toml", *small
    )
    assert done.code == 0
    chosen = json.loads((tmp_path / "run" / "run.json").read_text())["preset"]
    assert (chosen["train"]["epochs"], chosen["train"]["batch_size"]) == (2, 9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--preset", "best"], ["'best'", "paper, released"]),
        (["--set", "epochs"], ["'epochs'", "train.epochs=40"]),
        (["--set", "train.epochs=many"], ["train.epochs", "int", "'many'"]),
        (["--set", "train.epoch=1"], ["'epoch'", "epochs"]),
        (["--set", "training.epochs=1"], ["'training'", "train"]),
        (["--set", "train=1"], ["train", "table", "1"]),
        (["--set", "train=1", "--set", "train.epochs=1"], ["train.epochs=1", "'train'"]),
        (["--set", "train.batch_size=0"], ["train.batch_size is 0", "at least 1"]),
        (["--set", "train.learning_rate=nan"], ["train.learning_rate is nan"]),
        (["--set", "model.heads=0"], ["model.heads is 0"]),
        (["--set", "model.dim=17"], ["model.dim", "17", "model.heads"]),
        (["--set", "features.text_template='{caption}'"], ["{caption}", "{text}"]),
        (["--set", f"train.precision={'x' * 100_000}"], ["train.precision", "'bf16'"]),
        (["--seeds", "one"], ["--seeds 'one'", "0,1,2"]),
        (["--seeds", ""], ["--seeds ''", "0,1,2"]),
        (["--seeds", "1,1"], ["[1, 1]", "different"]),
        (["--seeds", "-1"], ["[-1]", "at least 0"]),
        (["--config", "nowhere.toml"], ["nowhere.toml", "--config"]),
        pytest.param(
            ["--tensorboard"],
            ["tensorboard", "pip install"],
            marks=pytest.mark.skipif(bool(importlib.util.find_spec("tensorboard")), reason="tensorboard is installed"),
        ),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_made(kb, data, tmp_path, refused, options, words):
    refused(2, "train", "--data", data, "--kb", kb, "--out", tmp_path / "run", *options, says=words)


def test_a_setting_file_that_is_none(kb, data, tmp_path, refused):
    for content in (b"epochs", b"\xff", b"a = 1\na = 2\n"):
        (tmp_path / "my.toml").write_bytes(content)
        options = ["--config", tmp_path / "my.toml"]
        refused(2, "train", "--data", data, "--kb", kb, "--out", tmp_path / "run", *options, says=["my.toml", "TOML"])


@pytest.mark.parametrize("part", ["text", "image"])
def test_an_encoder_that_is_not_there(kb, data, tmp_path, refused, part):
    call_ = ["train", "--data", data, "--kb", kb, "--out", tmp_path / "run"]
    refused(5, *call_, "--set", f"encoders.{part}=./nowhere", says=["./nowhere: no such directory"])
    refused(5, *call_, "--set", f"encoders.{part}={data}", says=[str(data), "config.json"])


def test_what_is_missing_is_named(kb, data, tmp_path, refused):
    out = ["--out", tmp_path / "run"]
    refused(3, "train", "--data", tmp_path / "none", "--kb", kb, *out, says=[f"{tmp_path / 'none'}: no such file"])
    refused(4, "train", "--data", data, "--kb", tmp_path / "none", *out, says=["no such knowledge base", "kb build"])
    refused(4, "train", "--data", data, "--kb", data, *out, says=["not a knowledge base", "kb build"])
    (tmp_path / "empty").mkdir()
    refused(3, "train", "--data", tmp_path / "empty", "--kb", kb, *out, says=["no data set", "train/dev/test.json"])
    write_lines(tmp_path / "empty" / "dev.jsonl", [{"text": "a", "surface": "a", "entity_id": "Q1"}])
    refused(2, "train", "--data", tmp_path / "empty", "--kb", kb, *out, says=["no split 'train'", "dev"])


@pytest.mark.parametrize("gold", [{}, {"entity_id": None}, {"entity_id": "Q999"}])
def test_links_of_which_none_can_be_learnt(kb, small, tmp_path, refused, gold):
    links = write_lines(tmp_path / "links.jsonl", [{"text": "Foster", "surface": "Foster", **gold}])
    says = ["no training mention has its gold entity in the knowledge base"]
    refused(3, "train", "--data", links, "--kb", kb, "--out", tmp_path / "run", *small, says=says)


def test_a_file_is_trained_on_whole_and_without_dev(kb, data, small, tmp_path):
    done = call("train", "--data", data / "dev.jsonl", "--kb", kb, "--out", tmp_path / "run", *small)
    assert done.code == 0
    assert "trained on the whole file; without a dev split the last model is kept" in done.err
    assert "seed 0: no dev at step 2 of 2" in done.out


def test_a_folder_of_another_run_is_left_as_it_was(kb, data, small, run_copy, tmp_path, refused):
    before = {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()}
    command = ["train", "--data", data, "--kb", kb, "--out", run_copy, *small]
    refused(
        2, *command, "--seeds", "0,1", "--set", "train.epochs=3", says=["train.epochs: 2 there, 3 now", "--restart"]
    )
    refused(2, *command, "--seeds", "5", says=["train.seeds: [0, 1] there, [5] now", "--restart"])
    other = write_lines(tmp_path / "other.jsonl", [{"text": "Foster", "surface": "Foster", "entity_id": "Q1"}])
    command[2] = other
    refused(2, *command, "--seeds", "0,1", says=["data:", "--restart"])
    assert {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()} == before


def test_restart(kb, data, small, run_copy, tmp_path):
    options = [*small, "--seeds", "0", "--set", "train.epochs=1", "--restart"]
    assert call("train", "--data", data, "--kb", kb, "--out", run_copy, *options).code == 0
    record = json.loads((run_copy / "run.json").read_text())
    assert list(record["results"]) == ["0"]
    assert record["preset"]["train"]["epochs"] == 1


def test_restart_with_a_mistake_leaves_the_run(data, run_copy, tmp_path, refused):
    command = ["train", "--data", data, "--out", run_copy, "--restart"]
    refused(4, *command, "--kb", tmp_path / "none", says=["none"])


def test_unusable_pictures_are_counted_and_their_texts_used(picture_run):
    """The notes are checked where the run is made; every mention with an entity was trained on."""
    assert json.loads((picture_run / "run.json").read_text())["results"]["0"]["mentions"] == sum(
        gold is not None and gold != "Q999" for _, _, gold in LINKS
    )


def kill_when(command: list[str], seen) -> None:
    """Start a process, and kill it (-9) once `seen()`."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not seen() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen(), "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_training_goes_on_to_the_same_model(kb, data, small, tmp_path):
    options = [*small, "--set", "train.epochs=500", "--set", "train.checkpoint_every=20", "--set", "model.heads=1"]
    command = ["train", "--data", data, "--kb", kb, *options]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    kill_when(
        [*COMMAND, *map(str, [*command, "--out", killed])], lambda: (killed / "seed-0" / "resume.safetensors").exists()
    )
    unfinished = call("link", "--run", killed, "--text", "Foster", "--mention", "Foster")
    assert unfinished.code == 5
    assert "not a run" in unfinished.err
    assert call(*command, "--out", killed).code == 0
    assert call(*command, "--out", whole).code == 0
    assert (killed / "seed-0" / "model.safetensors").read_bytes() == (
        whole / "seed-0" / "model.safetensors"
    ).read_bytes()


def test_a_seed_that_is_still_to_be_trained(run_copy, kb, data):
    record = json.loads((run_copy / "run.json").read_text())
    del record["results"]["1"]
    (run_copy / "run.json").write_text(json.dumps(record))
    done = call("evaluate", "--run", run_copy, "--data", data)
    assert done.code == 5
    assert "seed 1 is not trained yet; give the same `dualway train` command again" in done.err
    assert call("link", "--run", run_copy, "--text", "Foster", "--mention", "Foster").code == 0
