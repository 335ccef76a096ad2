"""`dualway link`, as a person calls it."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest

from dualway import Linker, Mention

from .calls import COMMAND, LINKS, call, listing, parse, read_lines, write_lines

LINK = {"id", "entity_id", "nil_probability", "candidates", "regions", "kb", "model"}
CANDIDATE = {"entity_id", "name", "score", "probability", "evidence"}
CAPTION = "Foster with co-star Mel Gibson"


def check_links(links: list, num_candidates: int) -> None:
    for link in links:
        assert link.keys() == LINK
        assert link["nil_probability"] is None
        assert len(link["candidates"]) <= num_candidates
        assert link["entity_id"] == (link["candidates"][0]["entity_id"] if link["candidates"] else None)
        for candidate in link["candidates"]:
            assert candidate.keys() == CANDIDATE
            assert candidate["probability"] is None
            assert all(isinstance(value, float) for value in candidate["evidence"].values())
        scores = [candidate["score"] for candidate in link["candidates"]]
        assert scores == sorted(scores, reverse=True)


def test_one_mention_for_people(run):
    done = call("link", "--run", run, "--text", CAPTION, "--mention", "Foster", "-k", "2")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == f"Foster  ({CAPTION})"
    assert len(lines) == 3
    assert lines[1].startswith("   1. ")
    assert " model " in lines[1]


def test_one_mention_for_machines(run, kb):
    done = call("link", "--run", run, "--text", CAPTION, "--mention", "Foster", "--json", "--quiet")
    assert done.err == ""
    assert done.out.count("\n") == 1
    (link,) = done.json["links"]
    check_links([link], 100)
    assert link["kb"] == json.loads((kb / "manifest.json").read_text())["content"]
    assert link["model"].startswith("paper-")


def test_mentions_are_found_when_none_is_named(run):
    done = call("link", "--run", run, "--text", CAPTION, "--json")
    surfaces = [CAPTION.index(word) for word in ("Foster", "Mel Gibson")]
    assert len(done.json["links"]) == len(surfaces)
    assert call("link", "--run", run, "--text", "nothing at all", "--json").json == {"links": []}
    assert call("link", "--run", run, "--text", "nothing at all").out == "no mention found in the caption\n"


def test_the_models_of_a_run(run):
    links = [
        call("link", "--run", run, "--text", CAPTION, "--mention", "Foster", "--json", *seed).json["links"][0]
        for seed in ([], ["--seed", "0"], ["--seed", "1"])
    ]
    assert links[0] == links[1]
    assert links[0]["model"] != links[2]["model"]


def test_a_file(run, mentions, tmp_path):
    out = tmp_path / "new folder" / "links.jsonl"
    done = call("link", "--run", run, "--in", mentions, "--out", out)
    assert done.code == 0
    assert done.out.startswith(f"{out}: {len(LINKS)} links, ")
    links = read_lines(out)
    check_links(links, 100)
    assert [link["id"] for link in links] == [f"m{i}" for i in range(len(LINKS))]
    assert listing(out.parent) == {"links.jsonl"}
    one = call("link", "--run", run, "--text", CAPTION, "--mention", "Foster", "--json").json["links"][0]
    assert {**one, "id": "m0"} == links[0]
    short = call("link", "--run", run, "--in", mentions, "--out", out, "-k", "1", "--json", "-q")
    assert short.err == ""
    assert short.json == {"links": str(out), "mentions": len(LINKS), "nil": 0, "resumed": 0} | {
        "nil": short.json["nil"]
    }
    check_links(read_lines(out), 1)


@pytest.mark.realmodel
def test_a_knowledge_base_alone(kb, mentions, tmp_path):
    done = call("link", "--kb", kb, "--in", mentions, "--out", tmp_path / "links.jsonl")
    assert done.code == 0
    links = read_lines(tmp_path / "links.jsonl")
    assert links[1]["entity_id"] == "Q4"
    assert links[0]["candidates"][0]["evidence"].keys() == {"name", "caption", "text"}


def test_another_knowledge_base_of_the_same_kind(run, people, tmp_path):
    from dualway import KnowledgeBase

    KnowledgeBase.create(tmp_path / "half", people[:4]).close()
    done = call("link", "--run", run, "--kb", tmp_path / "half", "--text", CAPTION, "--mention", "Foster", "--json")
    found = {candidate["entity_id"] for candidate in done.json["links"][0]["candidates"]}
    assert "Q1" in found
    assert found <= {"Q1", "Q2", "Q3", "Q4"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ["--text", "--in"]),
        (["--text", "a", "--in", "b"], ["--text", "--in"]),
        (["--in", "b"], ["--in", "--out"]),
        (["--in", "b", "--out", "c", "--mention", "d"], ["--mention", "--text"]),
        (["--in", "b", "--out", "c", "--image", "d"], ["--image", "--text"]),
        (["--text", "a", "--out", "c"], ["--out", "--in", "--json"]),
        (["--text", ""], ["--text is empty"]),
        (["--text", " \n"], ["--text is empty"]),
        (["--text", "a", "--mention", ""], ["--mention is empty"]),
        (["--text", "a", "--mention", "b"], ["'b'", "does not occur in --text"]),
        (["--text", "a", "--mention", "a", "--seed", "7"], ["seed 7", "0, 1"]),
        (["--text", "a", "-k", "0"], ["-k", "1"]),
        (["--text", "a", "-k", "some"], ["-k", "integer"]),
        (["--text", "a", "--nonsense"], ["--nonsense"]),
    ],
)
def test_wrong_calls(run, refused, options, words):
    refused(2, "link", "--run", run, *options, says=words)


def test_wrong_calls_without_a_run(kb, refused):
    refused(2, "link", "--text", "a", says=["--run", "--kb"])
    refused(2, "link", "--kb", kb, "--text", "a", "--seed", "0", says=["--seed", "--run"])


def test_the_input_is_read_before_anything_is_loaded(tmp_path, refused):
    """No such run: the line of the input is told first, and nothing is encoded for nothing."""
    (tmp_path / "m.jsonl").write_text("{")
    command = ["link", "--run", tmp_path / "none", "--in", tmp_path / "m.jsonl"]
    refused(3, *command, "--out", tmp_path / "o.jsonl", says=["m.jsonl, line 1: broken JSON"])


def test_where_links_cannot_go(run, mentions, tmp_path, refused):
    import os

    os.mkfifo(tmp_path / "pipe")
    command = ["link", "--run", run, "--in", mentions, "--out"]
    for target in (tmp_path, tmp_path / "pipe"):
        refused(7, *command, target, says=[f"{target}: not an ordinary file"])
    for target in (mentions / "links.jsonl", "/proc/links.jsonl", tmp_path / ("x" * 300)):
        refused(7, *command, target, says=[str(target), "cannot be written"])
    refused(2, *command, mentions, says=["is the input"])
    (tmp_path / "alias").symlink_to(mentions)
    refused(2, *command, tmp_path / "alias", says=["is the input"])
    assert len(read_lines(mentions)) == len(LINKS)


def test_a_picture_that_plays_no_part_is_told_once(run, picture_run, pictured, tmp_path):
    good = pictured.parent / "good.png"
    command = ["--text", CAPTION, "--mention", "Foster", "--image", good]
    done = call("link", "--run", run, *command)
    assert done.err.count("this model does not read pictures") == 1
    assert call("link", "--run", run, *command, "--quiet").err == ""
    done = call("link", "--run", run, "--in", pictured, "--out", tmp_path / "links.jsonl")
    assert done.err.count("this model does not read pictures") == 1
    assert call("link", "--run", picture_run, *command).err == ""


def test_pictures_are_read_and_the_unusable_ones_counted(picture_run, pictured, tmp_path):
    done = call("link", "--run", picture_run, "--in", pictured, "--out", tmp_path / "links.jsonl")
    assert done.code == 0
    assert "2 pictures could not be used, their mentions keep their text" in done.err
    for name, reason in (("missing.png", "no such picture"), ("broken.png", "a PNG file without pixels")):
        assert f"{pictured.parent / name}: {reason}" in done.err
    links = read_lines(tmp_path / "links.jsonl")
    check_links(links, 100)
    assert len(links) == len(LINKS)
    for i, link in enumerate(links):
        if i % 4 == 0:
            (region,) = link["regions"]
            assert region["box"] == [0, 0, 48, 40]
        else:
            assert link["regions"] == []


@pytest.mark.parametrize("name", ["missing.png", "broken.png", "links.jsonl", ""])
def test_one_unusable_picture(picture_run, pictured, name):
    image = pictured.parent / name
    done = call("link", "--run", picture_run, "--text", CAPTION, "--mention", "Foster", "--image", image)
    assert done.code == 0
    assert f"1 pictures could not be used, their mentions keep their text: {image}: " in done.err
    assert done.out.startswith("Foster")


def test_a_killed_job_goes_on(run, tmp_path):
    """kill -9 after the first chunk; the result is that of a job that was left alone."""
    source = write_lines(
        tmp_path / "m.jsonl",
        [{"id": i, "text": f"{text} {i}", "surface": s} for i in range(2500) for text, s, _ in [LINKS[i % len(LINKS)]]],
    )
    command = ["link", "--run", run, "--in", source, "--out"]
    target, partial = tmp_path / "killed.jsonl", tmp_path / ".killed.jsonl.partial"
    process = subprocess.Popen([*COMMAND, *map(str, [*command, target])], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    with partial.open("ab") as file:
        file.write(b'{"id": "cut o')  # as a kill in the middle of a write leaves it
    done = call(*command, target, "--json")
    assert done.code == 0
    assert 0 < done.json["resumed"] < 2500
    assert call(*command, tmp_path / "whole.jsonl").code == 0
    assert target.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert listing(tmp_path) == {"m.jsonl", "killed.jsonl", "whole.jsonl"}


def test_the_library_gives_the_same_links(run):
    done = call("link", "--run", run, "--text", CAPTION, "--mention", "Foster", "--json", "-k", "5")
    (link,) = Linker.load(run).link([Mention(CAPTION, "Foster")], k=5)
    shown = done.json["links"][0]["candidates"]
    assert [c.entity_id for c in link.candidates] == [c["entity_id"] for c in shown]
    assert [round(c.score, 6) for c in link.candidates] == [c["score"] for c in shown]
    assert parse(done.out)["links"][0]["model"] == link.model
