from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dualway.cli.data import app
from dualway.errors import DataError, UsageError

runner = CliRunner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sample = {
        "sentence": "Hermann von Beckerath\nsat.",
        "mentions": ["Hermann Beckerath", "Zidane"],
        "answer": ["Q1", None],
    }
    (tmp_path / "train.json").write_text(json.dumps({"1": sample | {"imgPath": "a.jpg"}, "2": 5}))
    (tmp_path / "dev.json").write_text(json.dumps({"1": sample}))
    return tmp_path


def test_check_prints_counts_reasons_and_examples_for_people(folder: Path):
    result = runner.invoke(app, ["check", str(folder)])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].endswith(": melbench")
    assert lines[2].split() == ["train", "dev"]
    assert ["mentions", "2", "2"] in [line.split() for line in lines]
    assert ["found", "fuzzily", "1", "1"] in [line.split() for line in lines]
    assert "  1  record is not an object" in lines
    assert "       1-1: Zidane" in lines
    assert "sentences shared by train and dev: 1 (2 mentions of dev)" in lines
    assert lines[-1] == "entity files: none in this folder"
    assert len({len(line) for line in lines[2:6]}) == 1
    assert result.stderr.startswith("checking ")


def test_check_prints_one_json_object_for_machines(folder: Path):
    result = runner.invoke(app, ["check", str(folder), "--split", "train", "--json", "--quiet"])
    assert result.exit_code == 0
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert found["splits"]["train"]["nil"] == 1
    assert found["splits"]["train"]["dropped"]["record is not an object"]["examples"] == [{"id": "2", "text": "5"}]


def test_check_lists_entity_files(folder: Path):
    (folder / "qid2ne.json").write_text(json.dumps({"Q2": "A"}))
    (folder / "qid2abs.json").write_text(json.dumps({"Q2": "None"}))
    lines = runner.invoke(app, ["check", str(folder)]).stdout.splitlines()
    assert "entity files (ghmfc): qid2ne.json, qid2abs.json" in lines
    assert "  1  gold entities of train are not among them: Q1" in lines


def test_check_raises_errors_of_the_tree(tmp_path: Path):
    assert isinstance(runner.invoke(app, ["check", str(tmp_path)]).exception, DataError)
    (tmp_path / "train.json").write_text("{")
    assert isinstance(runner.invoke(app, ["check", str(tmp_path), "--split", "dev"]).exception, (DataError, UsageError))
