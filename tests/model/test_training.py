from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dualway.config import NegativeConfig, Preset, TrainConfig, get_preset, override
from dualway.errors import DataError, ModelError, UsageError
from dualway.model import checkpoint
from dualway.model.scoring import score_candidates
from dualway.model.train import DevSet, dev_t1, load_model, train

TINY = override(
    get_preset("paper"),
    {
        "model": {"dim": 16, "heads": 4},
        "train": {
            "batch_size": 4,
            "epochs": 6,
            "learning_rate": 1e-3,
            "evaluate_every": 4,
            "checkpoint_every": 3,
        },
    },
)


def settings(**train_values) -> Preset:
    return override(TINY, {"train": train_values})


def fit(world, out, preset=TINY, seed=0, dev="same", **more):
    dev_set = DevSet(world.features, world.gold, world.candidates) if dev == "same" else dev
    return train(
        preset,
        world.features,
        gold_rows=world.gold,
        candidates=world.candidates,
        dev=dev_set,
        out=out,
        seed=seed,
        **more,
    )


def test_eight_mentions_are_learnt_by_heart(make, tmp_path):
    world = make(n=8, seed=3)
    preset = override(
        TINY,
        {"train": {"epochs": 80, "learning_rate": 3e-3, "evaluate_every": 20}, "model": {"dim": 32, "dropout": 0.1}},
    )
    result = fit(world, tmp_path, preset)
    assert result.best_t1 == 1.0
    model = load_model(tmp_path).model
    scores = score_candidates(model, world.features, world.candidates)
    for i in range(8):
        rows = world.candidates.rows[i][world.candidates.rows[i] >= 0]
        assert rows[scores[i].argmax()] == world.gold[i]


@pytest.mark.parametrize("name", ["paper", "released"])
def test_a_run_leaves_model_settings_and_history(name, make, tmp_path):
    world = make(n=11)
    preset = override(
        get_preset(name),
        {
            "model": {"dim": 12, "heads": 4},
            "train": {"epochs": 3, "batch_size": 4, "evaluate_every": 5, "warmup_steps": 2},
        },
    )
    result = fit(world, tmp_path, preset)
    assert result.steps == 9
    assert result.mentions == 11
    assert [line["step"] for line in result.history] == [5, 9]
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(result.history)
    loaded = load_model(tmp_path)
    assert loaded.preset == preset
    assert loaded.dims == (12, 10)
    assert not loaded.model.training
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "config.json",
        "history.jsonl",
        "model.safetensors",
        "train.json",
    ]
    assert dev_t1(loaded.model, DevSet(world.features, world.gold, world.candidates)) == result.best_t1


@pytest.mark.parametrize("contrast", ["msc", "infonce"])
@pytest.mark.parametrize("source", ["retrieved", "similar_text"])
def test_other_losses_and_negatives_train(contrast, source, world, tmp_path):
    preset = override(TINY, {"model": {"contrast": contrast}, "negatives": {"hard_source": source, "num_in_batch": -1}})
    result = fit(world, tmp_path, preset)
    assert all(np.isfinite(line["total"]) for line in result.history)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(world, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit(world, tmp_path / name, seed=seed)
    first, again, other = ((tmp_path / n / "model.safetensors").read_bytes() for n in "abc")
    assert first == again
    assert first != other
    assert (tmp_path / "a/history.jsonl").read_bytes() == (tmp_path / "b/history.jsonl").read_bytes()


def test_training_leaves_the_callers_chance_alone(world, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(world, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_mentions_without_gold_are_left_out_and_counted(world, tmp_path):
    gold = world.gold.copy()
    gold[[1, 4]] = -1
    result = fit(replace(world, gold=gold), tmp_path)
    assert (result.mentions, result.skipped) == (8, 2)


def test_without_dev_the_last_model_is_kept(world, tmp_path):
    result = fit(world, tmp_path, dev=None)
    assert result.best_t1 is None
    assert result.best_step == result.steps == 18
    nil = DevSet(world.features, np.full(10, -1), world.candidates)
    assert fit(world, tmp_path / "nil", dev=nil).best_t1 is None


def test_patience_stops_early(world, tmp_path):
    result = fit(world, tmp_path, settings(epochs=200, learning_rate=1e-9, patience=2))
    assert result.steps < 600
    assert result.best_step == result.steps - 2 * 4


def test_progress_is_told_at_each_evaluation(world, tmp_path):
    told = []
    fit(world, tmp_path, progress=told.append)
    evaluated = [p for p in told if p.step % 4 == 0 or p.step == 18]
    assert [p.step for p in evaluated] == [4, 8, 12, 16, 18]
    assert all(p.total_steps == 18 and p.dev_t1 is not None for p in evaluated)


def test_dev_t1_never_puts_gold_in_and_averages_ties(world, make, tmp_path):
    fit(world, tmp_path)
    model = load_model(tmp_path).model
    missing = world.candidates.rows.copy()
    missing[missing == world.gold[:, None]] = -1
    assert dev_t1(model, DevSet(world.features, world.gold, world.candidates._replace(rows=missing))) == 0.0
    twins = replace(world.features, entities=np.repeat(world.features.entities[:1], 30, axis=0))
    rows = np.tile(np.arange(4), (10, 1))
    dev = DevSet(twins, np.zeros(10, dtype=np.int64), world.candidates._replace(rows=rows))
    assert dev_t1(model, dev) == pytest.approx(0.25)


# ---- going on


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "preset", [TINY, override(TINY, {"model": {"contrast": "msc"}}), override(TINY, {"model": {"contrast": "infonce"}})]
)
@pytest.mark.parametrize("stop", [2, 7, 13])
def test_an_interrupted_run_goes_on_bit_by_bit(preset, stop, world, tmp_path, monkeypatch):
    from dualway.model import train as module

    fit(world, tmp_path / "whole", preset)
    original, count = module._Trainer._step, 0

    def step(self, index, factor):
        nonlocal count
        count += 1
        if count > stop:
            raise Killed
        return original(self, index, factor)

    monkeypatch.setattr(module._Trainer, "_step", step)
    with pytest.raises(Killed):
        fit(world, tmp_path / "cut", preset)
    monkeypatch.undo()
    fit(world, tmp_path / "cut", preset)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def assert_same_run(first: Path, second: Path) -> None:
    for name in ("model.safetensors", "history.jsonl", "config.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    results = [json.loads((folder / "train.json").read_text()) for folder in (first, second)]
    for result in results:
        del result["seconds"], result["mentions_per_s"]
    assert results[0] == results[1]


SCRIPT = """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_training import TINY, fit, override
    from conftest import make_world
    preset = override(TINY, {"train": {"epochs": 60, "checkpoint_every": 2, "evaluate_every": 5}})
    fit(make_world(), Path(sys.argv[2]), preset, progress=lambda p: print(p.step, flush=True))
"""


def test_a_run_goes_on_after_kill_9(tmp_path):
    def start(out):
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(Path(__file__).parent), str(out)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    first = start(whole)
    running = start(cut)
    assert running.stdout is not None
    for line in running.stdout:
        if int(line) >= 40:
            break
    time.sleep(np.random.default_rng().random() * 0.2)  # any moment will do
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    running.stdout.close()
    assert not (cut / "train.json").exists()
    again = start(cut)
    again.communicate(timeout=60)
    first.communicate(timeout=60)
    assert (first.returncode, again.returncode) == (0, 0)
    assert_same_run(whole, cut)


def test_a_finished_run_is_returned_and_not_trained_again(world, tmp_path):
    first = fit(world, tmp_path)
    stamp = (tmp_path / "model.safetensors").stat().st_mtime_ns
    assert fit(world, tmp_path) == first
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == stamp
    fit(world, tmp_path, resume=False)
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns != stamp


def test_a_folder_of_another_run_is_refused(world, make, tmp_path):
    fit(world, tmp_path)
    with pytest.raises(UsageError, match=r"preset\.train\.epochs: 6 there, 7 now"):
        fit(world, tmp_path, settings(epochs=7))
    with pytest.raises(UsageError, match="seed: 0 there, 1 now"):
        fit(world, tmp_path, seed=1)
    with pytest.raises(UsageError, match="data"):
        fit(make(seed=1), tmp_path)
    fit(world, tmp_path, settings(epochs=1), resume=False)


def test_a_broken_resume_state_is_a_clear_error(world, tmp_path, monkeypatch):
    from dualway.model import train as module

    def finish(self, clock):
        raise Killed

    monkeypatch.setattr(module._Trainer, "_finish", finish)
    with pytest.raises(Killed):
        fit(world, tmp_path)
    monkeypatch.undo()
    path = tmp_path / "resume.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"resume\.safetensors"):
        fit(world, tmp_path)


# ---- what goes wrong


def test_a_loss_that_is_not_finite_names_step_and_mention(world, tmp_path):
    mention = world.features.mention.copy()
    mention[6] = np.nan
    broken = replace(world, features=replace(world.features, mention=mention))
    with pytest.raises(ModelError, match=r"step \d, mentions 'id6'; check"):
        fit(broken, tmp_path, dev=None, mention_ids=[f"id{i}" for i in range(10)])


def test_inputs_that_do_not_fit_are_refused(world, tmp_path):
    with pytest.raises(DataError, match="no training mention"):
        fit(replace(world, gold=np.full(10, -1)), tmp_path)
    with pytest.raises(DataError, match="behind the 30 entities"):
        fit(replace(world, gold=world.gold + 30), tmp_path)
    with pytest.raises(DataError, match="of the same"):
        fit(replace(world, gold=world.gold[:5]), tmp_path)
    with pytest.raises(UsageError, match="trainable"):
        fit(world, tmp_path, override(TINY, {"encoders": {"trainable": True}}))
    with pytest.raises(ModelError, match=r"--set model\.dim=12"):
        fit(world, tmp_path, override(TINY, {"model": {"project_entity": "none"}}))


def test_precision_that_the_machine_lacks_is_refused(world, tmp_path, monkeypatch):
    def refuse(mixed_precision):
        raise ValueError(f"{mixed_precision} mixed precision requires a GPU")

    monkeypatch.setattr("accelerate.Accelerator", refuse)
    with pytest.raises(UsageError, match=r"train\.precision=fp16 cannot be used here: fp16 mixed"):
        fit(world, tmp_path, settings(precision="fp16"))


def test_bf16_trains_and_a_run_after_it_is_in_full_precision_again(world, tmp_path):
    fit(world, tmp_path / "before")
    result = fit(world, tmp_path / "bf16", settings(precision="bf16", clip_norm=1.0))
    assert all(np.isfinite(line["total"]) for line in result.history)
    fit(world, tmp_path / "after")
    names = [(tmp_path / n / "model.safetensors").read_bytes() for n in ("before", "after", "bf16")]
    assert names[0] == names[1] != names[2]


def test_rates_warm_up_and_decay():
    from dualway.model.train import _schedule

    config = TrainConfig(warmup_steps=4, linear_decay=True)
    assert [_schedule(config, s, 10) for s in range(10)] == pytest.approx(
        [0.25, 0.5, 0.75, 1.0, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    )
    assert {_schedule(TrainConfig(), s, 10) for s in range(10)} == {1.0}


def test_no_epoch_leaves_the_untrained_model(world, tmp_path):
    result = fit(world, tmp_path, settings(epochs=0))
    assert result.steps == 0
    assert load_model(tmp_path).dims == (12, 10)


def test_no_negatives_at_all_still_trains_the_contrast(world, tmp_path):
    preset = replace(TINY, negatives=NegativeConfig(num_hard=0, num_in_batch=0))
    assert np.isfinite(fit(world, tmp_path, preset).history[-1]["total"])


def test_tensorboard_is_optional(world, tmp_path):
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(UsageError, match=r"dualway\[tensorboard\]"):
            fit(world, tmp_path, tensorboard=True)
    else:
        fit(world, tmp_path, tensorboard=True)
        assert any((tmp_path / "tensorboard").iterdir())


def test_weights_of_a_saved_run_hold_no_pickle(world, tmp_path):
    fit(world, tmp_path)
    tensors, meta = checkpoint.read_tensors(tmp_path / "model.safetensors")
    assert all(isinstance(t, torch.Tensor) for t in tensors.values())
    assert isinstance(meta["step"], int)
