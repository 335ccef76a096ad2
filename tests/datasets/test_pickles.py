"""Pickles are refused wherever a file may be handed in; none is ever opened as one."""

from __future__ import annotations

import json
import pickle
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dualway.datasets import open_dataset, read_entities
from dualway.datasets.candidate_files import read_candidate_file
from dualway.datasets.pickles import pickle_kind, refuse_pickle
from dualway.errors import DataError
from dualway.kb.files import build_from_files

DATA = {"Q1": {"sentence": "Kao sat.", "mentions": "Kao", "answer": "Q1"}}
VALUES = [DATA, [1, "x"], ("a",), "text", {1, 2}, np.arange(3), Path("x"), None]


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self._mark, "opened")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["train.pkl", "train.json", "x.pickle", "x.bin", "nameless"])
def test_every_protocol_is_told_by_content(tmp_path, protocol, name):
    path = tmp_path / name
    mark = tmp_path / "mark"
    path.write_bytes(pickle.dumps({"a": Trap(mark)}, protocol))
    for read in (open_dataset, read_entities, read_candidate_file, lambda p: build_from_files(p, tmp_path / "kb")):
        with pytest.raises(DataError, match="a Python pickle; opening it would run whatever code is in it"):
            read(path)
    assert not mark.exists()
    assert not (tmp_path / "kb").exists()


@pytest.mark.parametrize("value", VALUES[:-1])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_whatever_is_in_it(tmp_path, value, protocol):
    (tmp_path / "x").write_bytes(pickle.dumps(value, protocol))
    assert pickle_kind(tmp_path / "x") is not None


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["cached_train_wiki", "x.pt", "model.bin"])
def test_torchs_archives(tmp_path, name, zipped):
    import torch

    torch.save({"features": torch.zeros(2)}, tmp_path / name, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match="pickle"):
        open_dataset(tmp_path / name)


def test_numpys_arrays_of_objects_and_only_those(tmp_path):
    objects = np.array([{"a": 1}, None], dtype=object)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "x.npz", numbers=np.zeros(2), objects=objects)
    records = np.zeros(2, dtype=[("a", "f4"), ("b", object)])
    np.save(tmp_path / "r.npy", records, allow_pickle=True)
    for name in ("x.npy", "x.npz", "r.npy"):
        with pytest.raises(DataError, match="numpy a"):
            refuse_pickle(tmp_path / name)
    np.save(tmp_path / "numbers.npy", np.zeros(3))
    np.savez(tmp_path / "numbers.npz", a=np.zeros(3))
    for name in ("numbers.npy", "numbers.npz"):
        refuse_pickle(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b"[]", b'{"a": 1}', b"code,name\nQ1,Ada\n", b"c\nd\ne.", b"(", b"(see below)\n", b"]", b"}",
        b"cat\nname\nplain.", b"cat\nname\nq.", b"PK\x03\x04broken", b"\x80", b"\x80\x09abc", "\u0080\u0004".encode(),
        b"\x93NUMPY",
    ],
)  # fmt: skip
def test_other_files_are_let_pass(tmp_path, content):
    (tmp_path / "x.pkl").write_bytes(content)
    refuse_pickle(tmp_path / "x.pkl")
    refuse_pickle(tmp_path / "missing.pkl")
    refuse_pickle(tmp_path)
    refuse_pickle(tmp_path / ("x" * 400))


def test_json_that_is_called_a_pickle_is_read(tmp_path):
    (tmp_path / "train.pkl").write_text(json.dumps(DATA))
    assert open_dataset(tmp_path / "train.pkl").gold == {"Q1": "Q1"}


@pytest.mark.parametrize("kind", ["pickle", "torch", "npy"])
def test_the_line_in_the_message_makes_json_of_it(tmp_path, kind):
    """As a person would: copy the command out of the message, and run it in an environment that is trusted."""
    path = tmp_path / f"my data.{ {'pickle': 'pkl', 'torch': 'pt', 'npy': 'npy'}[kind] }"
    records = list(DATA.values())
    if kind == "pickle":
        path.write_bytes(pickle.dumps(DATA))
    elif kind == "torch":
        import torch

        torch.save({"a": torch.ones(2), "b": DATA}, path)
    else:
        np.save(path, np.array(records, dtype=object), allow_pickle=True)
    with pytest.raises(DataError) as caught:
        open_dataset(path)
    command = shlex.split(str(caught.value).partition("where it was made: ")[2])
    assert command[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *command[1:]], check=True, timeout=60)
    value = json.loads((tmp_path / "my data.converted.json").read_text())
    assert value == {"pickle": DATA, "torch": {"a": [1.0, 1.0], "b": DATA}, "npy": records}[kind]


def test_the_line_in_the_message_writes_over_nothing(tmp_path):
    """Neither over the pickle, which may be called x.json, nor over what lies beside it."""
    path, beside = tmp_path / "x.json", tmp_path / "x.converted.json"
    path.write_bytes(pickle.dumps(DATA))
    before = path.read_bytes()
    beside.write_text("mine")
    with pytest.raises(DataError) as caught:
        open_dataset(path)
    command = [sys.executable, *shlex.split(str(caught.value).partition("where it was made: ")[2])[1:]]
    assert command[-2:] == [str(path), str(beside)]
    assert subprocess.run(command, check=False, timeout=60, capture_output=True).returncode != 0
    assert (path.read_bytes(), beside.read_text()) == (before, "mine")
    beside.unlink()
    subprocess.run(command, check=True, timeout=60)
    assert path.read_bytes() == before
    assert open_dataset(beside).gold == {"Q1": "Q1"}


def test_a_folder_of_pickles_says_so(tmp_path):
    (tmp_path / "train.pkl").write_bytes(pickle.dumps(DATA))
    with pytest.raises(DataError, match=r"no data set.*train\.pkl: pickles are not read"):
        open_dataset(tmp_path, "train")
