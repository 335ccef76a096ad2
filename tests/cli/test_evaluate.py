"""`dualway evaluate`, as a person calls it: the rows, out.json, the file of predictions, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dualway.metrics import METRICS

from .calls import LINKS, call, parse, read_lines, write_lines

ROWS = ["lexical", "prior", "from_kb", "paper"]
PROTOCOLS = ["top100", "top100-gold", "full-kb"]
NUM_LINKED = sum(gold is not None for _, _, gold in LINKS)


@pytest.fixture(scope="module")
def evaluated(run, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    files = ["--json", folder / "out.json", "--predictions", folder / "predictions.jsonl"]
    done = call(
        "evaluate", "--run", run, "--data", data, "--protocol", ",".join(PROTOCOLS), "--baseline", "prior", *files
    )
    assert done.code == 0, done.err
    assert {path.name for path in folder.iterdir()} == {"out.json", "predictions.jsonl"}
    return done, parse((folder / "out.json").read_text(encoding="utf-8")), read_lines(folder / "predictions.jsonl")


def test_people_see_a_table_for_each_protocol(evaluated):
    done, _, _ = evaluated
    for protocol in PROTOCOLS:
        assert f"\n{protocol}: " in f"\n{done.out}"
    assert "T@1 [95 %]" in done.out
    assert "recall of the candidates" in done.out
    assert "NIL, left out: 1" in done.out
    assert "gold outside the knowledge base, counted as errors: 1" in done.out
    assert "stand in a caption that is in train too" in done.out
    assert "+- seeds" in done.out
    assert "T@1 against prior" in done.out


def test_out_json_has_every_promised_key(evaluated, run, kb):
    _, out, _ = evaluated
    assert list(out["protocols"]) == PROTOCOLS
    for name, table in out["protocols"].items():
        outside = name == "full-kb"  # defined over mentions with gold in the knowledge base
        assert table["mentions"] == NUM_LINKED - outside
        assert table["nil"] == 1
        assert table["candidate_recall"].keys() == {"value", "low", "high"}
        assert [row["system"] for row in table["systems"]] == ROWS
        for row in table["systems"]:
            assert row["metrics"].keys() == set(METRICS)
            for metric, found in row["metrics"].items():
                assert found.keys() - {"seeds"} == {"value", "low", "high"}
                assert found["low"] <= found["value"] <= found["high"], (name, row["system"], metric)
            assert row["seconds"] >= 0
        paper = table["systems"][-1]
        assert paper["runs"] == 2
        assert paper["metrics"]["hits@1"]["seeds"].keys() == {"mean", "std", "low", "high"}
    manifest = json.loads((kb / "manifest.json").read_text())
    assert out["kb"] == {"size": 11, "compatibility": manifest["compatibility"], "content": manifest["content"]}
    assert out["mentions"] == len(LINKS)
    assert out["mentions_with_training_captions"] == 4
    assert set(out["candidate_recall_at"]) >= {"1", "5", "10"}
    assert out["seed"] == 0
    assert out["interval"]["level"] == 0.95
    assert out["versions"].keys() >= {"python", "numpy", "dualway", "torch"}
    assert out["seconds"] > 0
    assert out["baseline"] == "prior"
    assert out["data"]["split"] == "dev"
    assert out["run"] == str(run)
    assert out["retriever"] == "names"
    assert out["encoders"].keys() == {"text"}
    assert out["preset"]["name"] == "paper"


def test_the_predictions_hold_every_mention_system_protocol_and_run(evaluated):
    _, out, lines = evaluated
    assert all(
        line.keys() == {"id", "system", "protocol", "run", "gold", "rank", "candidates"}
        and len(line["candidates"]) <= 100
        for line in lines
    )
    for protocol in PROTOCOLS:
        for row in ROWS:
            num = sum(line["protocol"] == protocol and line["system"] == row for line in lines)
            assert num == out["protocols"][protocol]["mentions"] * (2 if row == "paper" else 1)


def test_the_report_on_stdout_is_the_only_thing_there(run, data, evaluated):
    done = call("evaluate", "--run", run, "--data", data, "--json", "-", "--quiet")
    assert done.code == 0
    assert done.err == ""
    assert done.out.count("\n") == 1
    rows = done.json["protocols"]["top100"]["systems"]
    strip = lambda row: {k: v for k, v in row.items() if "second" not in k}  # noqa: E731
    assert [strip(row) for row in rows] == [strip(row) for row in evaluated[1]["protocols"]["top100"]["systems"]]


def test_splits_of_a_folder_and_a_whole_file(run, data):
    for options, split in ((["--split", "test"], "test"), (["--split", "train"], "train"), ([], "dev")):
        done = call("evaluate", "--run", run, "--data", data, *options, "--json", "-")
        assert done.json["data"]["split"] == split
        assert done.json["mentions"] == len(LINKS) * (3 if split == "train" else 1)
    whole = call("evaluate", "--run", run, "--data", data / "test.jsonl", "--json", "-")
    assert whole.json["data"]["split"] is None
    assert whole.json["mentions"] == len(LINKS)


@pytest.mark.realmodel
def test_the_untrained_linker_counts_a_prior_where_it_finds_train(kb, data, tmp_path):
    rows = ["lexical", "prior", "from_kb"]
    beside = call("evaluate", "--kb", kb, "--data", data, "--json", "-")
    assert [row["system"] for row in beside.json["protocols"]["top100"]["systems"]] == rows
    file = call("evaluate", "--kb", kb, "--data", data / "dev.jsonl", "--json", "-")
    assert file.json["protocols"]["top100"]["systems"][1] | {"seconds": 0, "mentions_per_second": 0} == (
        beside.json["protocols"]["top100"]["systems"][1] | {"seconds": 0, "mentions_per_second": 0}
    )
    (tmp_path / "alone.jsonl").write_bytes((data / "dev.jsonl").read_bytes())
    alone = call("evaluate", "--kb", kb, "--data", tmp_path / "alone.jsonl", "--json", "-")
    assert [row["system"] for row in alone.json["protocols"]["top100"]["systems"]] == rows
    assert "no train split beside the data: the prior row knows no links" in alone.err
    assert alone.json["run"] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--protocol", "best"], ["'best'", "top100, top100-gold, full-kb"]),
        (["--protocol", ""], ["''", "top100"]),
        (["--protocol", "top0"], ["'top0'"]),
        (["--split", "nope"], ["'nope'", "train, dev, test"]),
        (["--baseline", "nope"], ["'nope'", "lexical, prior, from_kb, paper"]),
        (["--retriever", "nope"], ["'nope'", "'names+prior'"]),
        (["--seed", "-1"], ["--seed", "0"]),
        (["--json", "same", "--predictions", "same"], ["--json", "--predictions", "two files"]),
    ],
)
def test_wrong_options(run, data, refused, elsewhere, options, words):
    refused(2, "evaluate", "--run", run, "--data", data, *options, says=words)


def test_neither_run_nor_knowledge_base(data, refused):
    refused(2, "evaluate", "--data", data, says=["--run", "--kb"])


@pytest.mark.parametrize("option", ["--json", "--predictions"])
def test_a_place_that_cannot_be_written_is_told_before_the_work(data, tmp_path, refused, option):
    """The run does not exist: the target is looked at first."""
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file" / "out", tmp_path, "/proc/out.json", tmp_path / ("x" * 300)):
        refused(7, "evaluate", "--run", tmp_path / "none", "--data", data, option, target, says=[str(target)])


def test_data_that_is_not_there(run, tmp_path, refused):
    for options in ([], ["--split", "dev"]):
        says = [f"{tmp_path / 'none'}: no such file"]
        refused(3, "evaluate", "--run", run, "--data", tmp_path / "none", *options, says=says)
    refused(3, "evaluate", "--run", run, "--data", "x" * 5000, says=["cannot be read", "name too long"])


def test_a_mention_without_gold_is_named(run, tmp_path, refused):
    links = [{"id": "a", "text": "F", "surface": "F", "entity_id": "Q1"}, {"id": "b", "text": "F", "surface": "F"}]
    file = write_lines(tmp_path / "links.jsonl", links)
    refused(3, "evaluate", "--run", run, "--data", file, says=[str(file), "'b'", "entity_id", "null for NIL"])


@pytest.mark.parametrize(("gold", "word"), [(None, "1 are NIL"), ("Q999", "1 have a gold entity that is not")])
def test_nothing_left_to_evaluate(run, tmp_path, refused, gold, word):
    file = write_lines(tmp_path / "links.jsonl", [{"text": "F", "surface": "F", "entity_id": gold}])
    refused(3, "evaluate", "--run", run, "--data", file, "--protocol", "full-kb", says=[word])


def test_nil_is_left_out_and_gold_outside_the_knowledge_base_is_an_error(run, tmp_path):
    gold = ["Q1", None, "Q999"]
    file = write_lines(
        tmp_path / "links.jsonl",
        [{"text": f"Foster {i}", "surface": "Foster", "entity_id": answer} for i, answer in enumerate(gold)],
    )
    done = call("evaluate", "--run", run, "--data", file, "--protocol", "top100,full-kb", "--json", "-")
    top100, full = done.json["protocols"]["top100"], done.json["protocols"]["full-kb"]
    assert (top100["mentions"], top100["nil"], top100["gold_outside_kb"]) == (2, 1, 1)
    assert (full["mentions"], full["nil"], full["gold_outside_kb"]) == (1, 1, 1)


def test_more_candidates_than_there_are_entities(run, data):
    """A number that would fill the memory with padding."""
    done = call("evaluate", "--run", run, "--data", data, "--protocol", "top999999", "--json", "-")
    assert done.code == 0
    assert done.json["protocols"]["top999999"]["mean_candidates"] <= 11


def test_pictures_that_cannot_be_used_are_counted(picture_run, pictured):
    done = call("evaluate", "--run", picture_run, "--data", pictured)
    assert done.code == 0
    assert "2 pictures could not be used" in done.err
    assert str(Path(pictured).parent / "missing.png") in done.err
