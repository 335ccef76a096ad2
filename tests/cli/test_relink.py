"""`dualway relink`, as a person calls it."""

from __future__ import annotations

import json
import shutil

import pytest

from .calls import LINKS, call, listing, read_lines, write_lines

RESULT = {"path", "dry_run", "links", "current", "untouched", "redone", "resumed", "k", "changed", "reasons"}


@pytest.fixture
def mentions(tmp_path):
    lines = [{"id": f"m{i}", "text": text, "surface": surface} for i, (text, surface, _) in enumerate(LINKS)]
    return write_lines(tmp_path / "mentions.jsonl", lines)


@pytest.fixture
def own_kb(kb, tmp_path):
    """A knowledge base that a test may change."""
    shutil.copytree(kb, tmp_path / "kb")
    return tmp_path / "kb"


@pytest.fixture
def links(run, own_kb, mentions, tmp_path):
    """Links of a trained run, made before an entity was added."""
    made = call("link", "--run", run, "--kb", own_kb, "--in", mentions, "-o", tmp_path / "links.jsonl", "-k", 3)
    assert made.code == 0
    new = write_lines(tmp_path / "new.jsonl", [{"id": "Q777", "name": "Nobody", "properties": "Sex: male."}])
    assert call("kb", "add", own_kb, new).code == 0
    return tmp_path / "links.jsonl"


def test_for_people(run, own_kb, mentions, links, tmp_path):
    before, files = links.read_bytes(), listing(tmp_path)
    command = ["relink", links, "--in", mentions, "--run", run, "--kb", own_kb]
    done = call(*command, "--dry-run")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1].startswith(
        f"{links}: {len(LINKS)} links of at most 3 candidates, 0 of the present"
    )
    assert done.out.splitlines()[-1].endswith("would be made again")
    assert links.read_bytes() == before
    done = call(*command)
    assert done.code == 0, done.err
    told = [line for line in done.out.splitlines() if " -> " in line]
    assert set(told) == {
        f"{old['id']}: {old['entity_id'] or 'no entity'} -> {new['entity_id']}"
        for old, new in zip(map(json.loads, before.splitlines()), read_lines(links), strict=True)
        if old["entity_id"] != new["entity_id"]
    }
    assert any("Q777" in line for line in told)
    assert listing(tmp_path) == files
    call("link", "--run", run, "--kb", own_kb, "--in", mentions, "-o", tmp_path / "anew.jsonl", "-k", 3)
    for old, new in zip(read_lines(links), read_lines(tmp_path / "anew.jsonl"), strict=True):
        assert old["kb"] == new["kb"] == json.loads((own_kb / "manifest.json").read_text())["content"]
        assert [c["entity_id"] for c in old["candidates"]] == [c["entity_id"] for c in new["candidates"]]


def test_for_machines(run, own_kb, mentions, links, tmp_path):
    out = tmp_path / "new folder" / "new.jsonl"
    done = call("relink", links, "--in", mentions, "--run", run, "--kb", own_kb, "-o", out, "--json", "--quiet")
    assert done.err == ""
    assert done.json.keys() == RESULT
    assert done.json["links"] == done.json["redone"] + done.json["untouched"] + done.json["current"] == len(LINKS)
    assert done.json["k"] == 3
    assert done.json["redone"] == sum(done.json["reasons"].values()) > 0
    assert done.json["changed"].keys() <= {line["id"] for line in read_lines(out)}
    assert "Q777" in {after for _, after in done.json["changed"].values()}
    assert listing(out.parent) == {"new.jsonl"}
    again = call("relink", out, "--in", mentions, "--run", run, "--kb", own_kb, "--json").json
    assert (again["current"], again["redone"], again["changed"]) == (len(LINKS), 0, {})


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ([], 2, ["--run RUN", "--kb KB"]),
        (["--kb", "kb", "--seed", "1"], 2, ["--seed"]),
        (["--kb", "kb", "--regions", "r.jsonl"], 2, ["--regions"]),
        (["--kb", "kb", "-k", "0"], 2, ["-k"]),
        (["--kb", "kb", "--candidates", "nowhere.json"], 3, ["nowhere.json"]),
    ],
)
def test_calls_that_are_refused(options, code, says, own_kb, mentions, links, refused):
    options = [own_kb if option == "kb" else option for option in options]
    refused(code, "relink", links, "--in", mentions, *options, says=says)


def test_another_model_of_the_run_is_refused(run, own_kb, mentions, links, refused):
    command = ["relink", links, "--in", mentions, "--run", run, "--kb", own_kb, "--seed", 1]
    refused(2, *command, says=["another model", "--all"])
    done = call(*command, "--all", "--json")
    assert done.json["reasons"] == {"all were asked for": len(LINKS)}
    assert done.json["k"] == 3


def test_another_number_of_candidates_is_refused(run, own_kb, mentions, links, refused):
    refused(2, "relink", links, "--in", mentions, "--run", run, "--kb", own_kb, "-k", 2, says=["not 2", "-k 3"])


def test_a_broken_mention_is_told_before_anything_is_loaded(own_kb, links, tmp_path, refused):
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{\n")
    refused(3, "relink", links, "--in", broken, "--run", "nowhere", says=["broken.jsonl, line 1"])
