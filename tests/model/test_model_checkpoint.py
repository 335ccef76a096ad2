from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from dualway import storage
from dualway.config import get_preset, override
from dualway.errors import ModelError, StorageError
from dualway.model import checkpoint
from dualway.model.checkpoint import Dims
from dualway.model.dwe_plus import DwePlus

PRESET = override(get_preset("paper"), {"model": {"dim": 16, "heads": 4}})


@pytest.fixture
def folder(tmp_path):
    model = DwePlus(PRESET.model, 12, 10)
    storage.write_json(tmp_path / "config.json", checkpoint.describe_run(PRESET, Dims(12, 10), 0, ""))
    checkpoint.write_tensors(tmp_path / "model.safetensors", model.state_dict(), {"step": 3})
    return tmp_path


def test_a_model_comes_back_as_it_was(folder):
    loaded = checkpoint.load_model(folder)
    tensors, meta = checkpoint.read_tensors(folder / "model.safetensors")
    assert meta == {"step": 3}
    assert all(torch.equal(tensors[k], v) for k, v in loaded.model.state_dict().items())
    assert loaded.preset == PRESET
    assert loaded.dims == Dims(12, 10)


def test_equal_tensors_give_equal_bytes(folder):
    tensors, meta = checkpoint.read_tensors(folder / "model.safetensors")
    checkpoint.write_tensors(folder / "again", dict(reversed(tensors.items())), meta)
    assert (folder / "again").read_bytes() == (folder / "model.safetensors").read_bytes()


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def garble(folder):
    (folder / "model.safetensors").write_bytes(b"\x80\x04 a pickle perhaps")


def remove(folder):
    (folder / "model.safetensors").unlink()


def remove_config(folder):
    (folder / "config.json").unlink()


def break_config(folder):
    (folder / "config.json").write_text("{")


def edit(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def other_format(folder):
    edit(folder, lambda c: c.update(format=99))


def unknown_key(folder):
    edit(folder, lambda c: c["preset"]["model"].update(colour="red"))


def no_preset(folder):
    edit(folder, lambda c: c.pop("preset"))


def other_dim(folder):
    edit(folder, lambda c: c["preset"]["model"].update(dim=32))


def other_parts(folder):
    edit(folder, lambda c: c["preset"]["model"].update(gate="none"))


def not_a_table(folder):
    (folder / "config.json").write_text("[1]")


def make_nan(folder):
    tensors, meta = checkpoint.read_tensors(folder / "model.safetensors")
    tensors["gate_map.bias"][0] = float("nan")
    checkpoint.write_tensors(folder / "model.safetensors", tensors, meta)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "broken checkpoint"),
        (garble, "broken checkpoint"),
        (remove, "no such file"),
        (remove_config, "not a trained run"),
        (break_config, "broken JSON"),
        (other_format, "format 1"),
        (not_a_table, "format 1"),
        (unknown_key, "colour"),
        (no_preset, "preset"),
        (other_dim, "has shape"),
        (other_parts, "not expected"),
        (make_nan, "not finite"),
    ],
)
def test_a_damaged_folder_is_a_model_error_that_names_the_file(folder, damage, message):
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        checkpoint.load_model(folder)
    assert str(folder) in str(caught.value)


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path, monkeypatch):
    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(StorageError, match="disk is full"):
        checkpoint.write_tensors(tmp_path / "x", {"a": torch.ones(2)}, {})
    assert list(tmp_path.iterdir()) == []


def test_fingerprints_see_type_shape_and_value():
    import numpy as np

    a = np.arange(6, dtype=np.float32)
    prints = {
        checkpoint.fingerprint_arrays(x)
        for x in ([a], [a.reshape(2, 3)], [a.astype(np.float64)], [a + 1], [a, None], [a[::2]])
    }
    assert len(prints) == 6
    assert checkpoint.fingerprint_arrays([a[::2]]) == checkpoint.fingerprint_arrays([a[::2].copy()])


def test_text_only_models_round_trip(tmp_path):
    model = DwePlus(replace(PRESET.model, gate="vector"), 12, None)
    preset = override(PRESET, {"model": {"gate": "vector"}})
    storage.write_json(tmp_path / "config.json", checkpoint.describe_run(preset, Dims(12, None), 0, ""))
    checkpoint.write_tensors(tmp_path / "model.safetensors", model.state_dict(), {})
    assert checkpoint.load_model(tmp_path).dims == Dims(12, None)
