"""`dualway kb add, remove, represent, diff, verify, optimise, backup, restore`, as they are typed."""

import json
import zipfile
from pathlib import Path

import pytest
from tests.cli.calls import call as run

from dualway.encoders.cache import VectorCache, content_key
from dualway.kb.store import KnowledgeBase
from dualway.storage import read_json, write_json

ENTITIES = [
    {"id": "Q1", "name": "Jodie Foster", "aliases": ["Foster"], "text": "An American actress.", "types": ["human"]},
    {"id": "Q2", "name": "Mel Gibson", "text": "An actor.", "description": "actor"},
    {"id": "Q3", "name": "Secret Person", "aliases": ["Secretly"], "text": "Secret words about the person."},
]


def lines(path: Path, *records: dict) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture
def kb(tmp_path) -> Path:
    source = lines(tmp_path / "entities.jsonl", *ENTITIES)
    assert run("kb", "build", source, "--out", tmp_path / "kb").code == 0
    return tmp_path / "kb"


def answer(*arguments) -> dict:
    done = run(*arguments, "--json", "--quiet")
    assert done.code == 0, done.err
    return json.loads(done.out)


class TestAdd:
    def test_new_ones(self, kb, tmp_path):
        (tmp_path / "more").mkdir()
        more = lines(tmp_path / "more" / "entities.jsonl", {"id": "Q4", "name": "Universe"}, ENTITIES[0])
        report = answer("kb", "add", kb, more)
        assert (report["added"], report["unchanged"], report["revision"]) == (["Q4"], 1, 2)
        again = answer("kb", "add", kb, more)
        assert (again["unchanged"], again["changed"], again["revision"]) == (2, False, 2)

    @pytest.mark.parametrize(
        ("way", "code", "name", "aliases"),
        [
            ("stop", 4, "Jodie Foster", ("Foster",)),
            ("keep", 0, "Jodie Foster", ("Foster",)),
            ("replace", 0, "J. Foster", ("JF",)),
            ("merge", 0, "J. Foster", ("Foster", "Jodie Foster", "JF")),
            ("other", 2, "Jodie Foster", ("Foster",)),
        ],
    )
    def test_one_that_is_there(self, kb, tmp_path, way, code, name, aliases):
        more = lines(
            tmp_path / "more.jsonl", {"id": "Q9", "name": "new"}, {"id": "Q1", "name": "J. Foster", "aliases": ["JF"]}
        )
        done = run("kb", "add", kb, more, "--on-existing", way)
        assert (done.code != 0) == (code != 0)
        with KnowledgeBase.open(kb) as opened:
            entity = opened.entity("Q1")
            assert (entity.name, entity.aliases) == (name, aliases)
            assert ("Q9" in opened) == (code == 0)
            assert len(entity.representations) == (0 if way == "replace" else 1)

    def test_a_broken_file_changes_nothing(self, kb, tmp_path):
        more = lines(tmp_path / "more.jsonl", {"id": "Q9", "name": "new"}, {"id": "Q10"})
        done = run("kb", "add", kb, more)
        assert done.code != 0
        assert "line 2" in done.err
        with KnowledgeBase.open(kb) as opened:
            assert opened.revision == 1


class TestRemove:
    def test_by_id_and_by_file(self, kb, tmp_path):
        (tmp_path / "ids").write_text("Q2\n\n", encoding="utf-8")
        assert answer("kb", "remove", kb, "Q1", "--ids", tmp_path / "ids")["removed"] == ["Q1", "Q2"]
        changes = answer("kb", "diff", kb)["changes"]
        assert [(change["id"], change["what"]) for change in changes] == [("Q1", "removed"), ("Q2", "removed")]

    def test_an_unknown_id_removes_nobody(self, kb):
        done = run("kb", "remove", kb, "Q1", "Q99")
        assert done.code != 0
        assert "'Q99'" in done.err
        with KnowledgeBase.open(kb) as opened:
            assert len(opened) == 3

    def test_erasing_reaches_everything_and_proves_it(self, kb, tmp_path, monkeypatch):
        monkeypatch.setenv("DUALWAY_CACHE", str(tmp_path / "cache"))
        cache = VectorCache(tmp_path / "cache", "some", 2)
        texts = ["Secret words about the person.", "Secret Person. Secret words about the person.", "An actor."]
        import numpy as np

        cache.put({content_key(text.encode()): np.ones(2, dtype=np.float32) for text in texts})
        more = lines(tmp_path / "more.jsonl", {**ENTITIES[2], "name": "Secret Individual"})
        answer("kb", "add", kb, more, "--on-existing", "replace")
        report = answer("kb", "remove", kb, "Q3", "--erase")
        assert report["text_vectors"] == 2
        assert report["still_found"] == []
        assert report["searched_for"] >= 4
        assert report["searched_files"] >= 3
        for path in kb.rglob("*"):
            assert path.is_dir() or b"Secret" not in path.read_bytes()
        assert len(cache.get([content_key(text.encode()) for text in texts])) == 1
        assert answer("kb", "verify", kb)["clean"]

    def test_what_others_say_of_the_erased_is_told(self, kb, tmp_path):
        answer("kb", "add", kb, lines(tmp_path / "m.jsonl", {"id": "Q5", "name": "X", "text": "Met Secret Person."}))
        report = answer("kb", "remove", kb, "Q3", "--erase")
        assert report["still_found"]
        assert all("the record of Q5 says too" in found for found in report["still_found"])

    def test_one_removed_before_is_erased_from_the_history(self, kb):
        answer("kb", "remove", kb, "Q3")
        assert any(b"Secret words" in path.read_bytes() for path in kb.glob("*.sqlite"))
        assert answer("kb", "remove", kb, "Q3", "--erase")["still_found"] == []
        assert not any(b"Secret words" in path.read_bytes() for path in kb.glob("*.sqlite"))

    def test_calls_that_make_no_sense(self, kb):
        assert run("kb", "remove", kb).code == 2
        assert run("kb", "remove", kb, "Q1", "--features", kb).code == 2


class TestTheOthers:
    def test_represent(self, kb):
        before = answer("kb", "show", kb)["compatibility"]
        report = answer("kb", "represent", kb, "description")
        assert (report["changed"], report["without_text"]) == (True, 2)
        assert report["compatibility"] != before
        assert run("kb", "represent", kb, "dynamic").code != 0
        assert run("kb", "represent", kb, ",").code == 2

    def test_diff_of_revisions(self, kb, tmp_path):
        answer("kb", "add", kb, lines(tmp_path / "a.jsonl", {"id": "Q4", "name": "four"}))
        answer("kb", "remove", kb, "Q4")
        assert answer("kb", "diff", kb, "1")["changes"] == []
        assert [c["what"] for c in answer("kb", "diff", kb, "1", "2")["changes"]] == ["added"]
        assert "added    Q4  four" in run("kb", "diff", kb, "1", "2").out
        assert run("kb", "diff", kb, "3", "9").code != 0

    def test_verify_finds_and_mends(self, kb):
        assert "clean, 3 records" in run("kb", "verify", kb).out
        (kb / "kb-7.work").write_text("x")
        for path in (kb / "names").glob("*.safetensors"):
            path.write_text("x")
        manifest = read_json(kb / "manifest.json")
        write_json(kb / "manifest.json", {**manifest, "counts": {**manifest["counts"], "aliases": 99}})
        done = run("kb", "verify", kb)
        assert done.code == 1
        assert all(word in done.out for word in ("kb-7.work", "names/", "aliases"))
        assert run("kb", "verify", kb, "--mend").code == 0
        assert run("kb", "verify", kb).code == 0

    def test_verify_tells_what_cannot_be_mended(self, kb):
        import sqlite3
        from contextlib import closing

        with closing(sqlite3.connect(kb / "kb.sqlite")) as connection, connection:
            connection.execute("UPDATE entities SET name = 'Jody Foster' WHERE id = 'Q1'")
        done = run("kb", "verify", kb, "--mend")
        assert done.code == 1
        assert "'Q1' is not what was written" in done.out

    def test_optimise(self, kb):
        answer("kb", "remove", kb, "Q3")
        answer("kb", "optimise", kb, "--forget-history")
        assert answer("kb", "verify", kb)["clean"]
        assert run("kb", "diff", kb, "1").code != 0
        assert not any(b"Secret" in path.read_bytes() for path in kb.glob("*.sqlite"))

    def test_backup_and_restore(self, kb, tmp_path):
        answer("kb", "remove", kb, "Q3")
        saved = answer("kb", "backup", kb, "--out", tmp_path / "b.zip")
        answer("kb", "remove", kb, "Q2")
        restored = answer("kb", "restore", tmp_path / "b.zip", "--out", tmp_path / "back")
        assert (restored["revision"], restored["content"]) == (2, saved["content"])
        with KnowledgeBase.open(tmp_path / "back") as opened:
            assert opened.ids == ["Q1", "Q2"]
            assert [change.id for change in opened.differences(1)] == ["Q3"]
        assert run("kb", "restore", tmp_path / "b.zip", "--out", tmp_path / "back").code != 0
        assert run("kb", "backup", kb, "--out", tmp_path / "b.tar").code == 2

    def test_archives_that_are_no_backup(self, kb, tmp_path):
        answer("kb", "backup", kb, "--out", tmp_path / "b.zip")
        whole = (tmp_path / "b.zip").read_bytes()
        (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "flipped.zip").write_bytes(whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:])
        with zipfile.ZipFile(tmp_path / "outside.zip", "w") as archive:
            archive.writestr("../manifest.json", "{}")
            archive.writestr("kb.sqlite", "x")
        with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("manifest.json", "{}")
            archive.writestr("kb.sqlite", b"\0" * 50_000_000)
        for name in ("cut", "flipped", "outside", "bomb", "missing"):
            done = run("kb", "restore", tmp_path / f"{name}.zip", "--out", tmp_path / "out")
            assert done.code not in (0, 1), name
            assert not (tmp_path / "out").exists()
        assert not (tmp_path / "manifest.json").exists()
