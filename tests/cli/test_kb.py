import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dualway.cli.kb import app
from dualway.errors import DataError, KnowledgeBaseError, StorageError, UsageError

ENTITIES = [
    {"id": "Q9294", "name": "Adam Smith", "aliases": ["Smith"], "text": "An economist.", "pictures": ["smith.jpg"]},
    {"id": "Q350735", "name": "Adam Smith", "types": ["human"], "description": "a politician"},
    {"id": "Q23505", "name": "ジョージ", "born": 1924},
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(entity) + "\n" for entity in ENTITIES), encoding="utf-8")
    return path


@pytest.fixture
def kb(tmp_path: Path, source: Path) -> Path:
    run("build", source, "--out", tmp_path / "kb")
    return tmp_path / "kb"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    assert result.exit_code == 0
    return result.stdout


def test_build_in_the_contract_s_order_of_flags(source, tmp_path):
    said = run("build", "--from", "jsonl", source, "--out", tmp_path / "kb")
    assert "3 entities" in said
    assert "2 entities share 1 names" in said
    assert "represented   by description + text; 1 without such a text" in said
    assert "1 unknown 'born', not read" in said
    assert "compatibility" in said


def test_build_json(source, tmp_path):
    said = run("build", source, "--out", tmp_path / "kb", "--representation", "text, description", "--json", "--quiet")
    report = json.loads(said)
    assert report["entities"] == 3
    assert report["representation"] == ["text", "description"]
    assert report["reading"]["counts"] == {"entities": 3}
    assert json.loads(run("show", tmp_path / "kb", "--json"))["content"] == report["content"]


def test_show_the_whole(kb):
    said = run("show", kb)
    assert "3 entities from jsonl" in said
    assert "revision      1" in said
    summary = json.loads(run("show", kb, "--json"))
    assert summary["counts"]["homonyms"] == 2
    assert summary["revision"] == 1


def test_show_a_record(kb):
    said = run("show", kb, "Q9294")
    assert said.splitlines() == [
        "Q9294  Adam Smith",
        "  aliases: Smith",
        "  text (mine.jsonl): An economist.",
        "  picture (no licence stated): smith.jpg",
    ]
    (record,) = json.loads(run("show", kb, "Q9294", "--json"))["entities"]
    assert record["representations"][0]["text"] == "An economist."


def test_show_every_entity_of_a_name(kb):
    said = run("show", kb, "Adam Smith")
    assert "Q9294  Adam Smith" in said
    assert "Q350735  Adam Smith" in said
    found = json.loads(run("show", kb, "ジョージ", "--json"))["entities"]
    assert [record["id"] for record in found] == ["Q23505"]


def test_mistakes_are_errors_of_dualway(source, kb, tmp_path):
    with pytest.raises(KnowledgeBaseError, match="'Adam'"):
        run("show", kb, "Adam")
    with pytest.raises(KnowledgeBaseError, match="no such knowledge base"):
        run("show", tmp_path / "nowhere")
    with pytest.raises(StorageError, match="already exists"):
        run("build", source, "--out", kb)
    with pytest.raises(KnowledgeBaseError, match=r"'static'.*present: description"):
        run("build", source, "--out", tmp_path / "other", "--representation", "static")
    with pytest.raises(UsageError, match="names no kind"):
        run("build", source, "--out", tmp_path / "other", "--representation", " ,")
    with pytest.raises(UsageError, match="unknown form"):
        run("build", source, "--out", tmp_path / "other", "--from", "xml")
    with pytest.raises(DataError, match="no such file"):
        run("build", tmp_path / "nowhere", "--out", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_help_of_both_commands():
    assert "--representation" in run("build", "--help")
    assert "exact name" in run("show", "--help")
