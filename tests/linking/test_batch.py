from __future__ import annotations

import json
from pathlib import Path

import pytest

from dualway.datasets.jsonl import write_mentions
from dualway.errors import DataError
from dualway.linker import Linker
from dualway.linking import batch
from dualway.linking.batch import link_file
from dualway.schema import Mention


@pytest.fixture
def linker(people_kb):
    return Linker.from_kb(people_kb, text_encoder=None)


@pytest.fixture
def source(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(batch, "_CHUNK", 3)
    surfaces = ["Foster", "Ben Foster", "zzzzqqq", "Salah", "Gretzky", "João Silva", "東京", "Gibson"]
    write_mentions(tmp_path / "in.jsonl", [Mention(f"{s} here", s, f"m{i}") for i, s in enumerate(surfaces)])
    return tmp_path / "in.jsonl"


def silent(_: str) -> None:
    pass


def test_one_line_a_mention_in_order(linker, source, tmp_path):
    summary = link_file(linker, source, tmp_path / "out.jsonl", note=silent)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"m{i}" for i in range(8)]
    assert set(lines[0]) == {"id", "entity_id", "nil_probability", "candidates", "regions", "kb", "model"}
    assert set(lines[0]["candidates"][0]) == {"entity_id", "name", "score", "probability", "evidence"}
    assert lines[2]["entity_id"] is None
    assert lines[2]["candidates"] == []
    assert summary == {"links": str(tmp_path / "out.jsonl"), "mentions": 8, "nil": 1, "resumed": 0}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "kb", "out.jsonl"]


class Killed(Exception):
    pass


def interrupt(linker: Linker, source: Path, target: Path, after: int) -> None:
    def progress(done: int, total: int) -> None:
        if done >= after:
            raise Killed

    with pytest.raises(Killed):
        link_file(linker, source, target, note=silent, progress=progress)


def test_a_killed_job_goes_on_and_ends_the_same(linker, source, tmp_path):
    link_file(linker, source, tmp_path / "whole.jsonl", note=silent)
    target = tmp_path / "out.jsonl"
    interrupt(linker, source, target, after=6)
    assert not target.exists()
    partial = tmp_path / ".out.jsonl.partial"
    partial.write_bytes(partial.read_bytes()[:-20])  # the kill came in the middle of a line
    summary = link_file(linker, source, target, note=silent)
    assert summary["resumed"] == 5
    assert target.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_another_input_starts_afresh(linker, source, tmp_path):
    target = tmp_path / "out.jsonl"
    interrupt(linker, source, target, after=3)
    write_mentions(source, [Mention("Gibson here", "Gibson", "other")])
    assert link_file(linker, source, target, note=silent)["resumed"] == 0
    assert [json.loads(line)["id"] for line in target.read_text().splitlines()] == ["other"]


def test_a_broken_line_links_nothing(linker, source, tmp_path):
    with source.open("a") as file:
        file.write('{"text": "no surface"}\n')
    with pytest.raises(DataError, match="line 9"):
        link_file(linker, source, tmp_path / "out.jsonl", note=silent)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "kb"]
