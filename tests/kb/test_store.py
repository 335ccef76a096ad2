import dataclasses
import os
import pickle
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualway.errors import DataError, KnowledgeBaseError, StorageError
from dualway.kb.records import add_hash, clean, content_hash
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Representation
from dualway.storage import read_json, write_json


def content_of(folder: Path, entities: list[Entity]) -> str:
    with KnowledgeBase.create(folder, entities) as kb:
        return kb.fingerprint.content


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def change_manifest(folder: Path, **values: object) -> None:
    manifest = read_json(folder / "manifest.json")
    write_json(folder / "manifest.json", {**manifest, **values})


def change_database(folder: Path, script: str) -> None:
    with closing(sqlite3.connect(folder / "kb.sqlite")) as connection:
        connection.executescript(script)


class TestRoundTrip:
    def test_every_record_comes_back_whole(self, tmp_path, people):
        with KnowledgeBase.create(tmp_path / "kb", people) as kb:
            assert list(kb.entities()) == people
            assert [kb.entity(entity.id) for entity in people] == people
            kb.check()

    def test_columns_are_in_the_order_of_insertion(self, tmp_path, people):
        KnowledgeBase.create(tmp_path / "kb", people).close()
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert len(kb) == len(people)
            assert kb.ids == [entity.id for entity in people]
            assert kb.names == [entity.name for entity in people]
            assert kb.aliases == [entity.aliases for entity in people]
            assert kb.types == [entity.types for entity in people]

    def test_rows_and_membership(self, tmp_path, people):
        with KnowledgeBase.create(tmp_path / "kb", people) as kb:
            assert kb.row("Q1373") == 4
            rows = kb.rows(["Q42", "nobody", None, "Q9294"])
            assert rows.dtype == np.int64
            assert rows.tolist() == [5, -1, -1, 0]
            assert kb.rows([]).shape == (0,)
            assert "Q42" in kb
            assert "Q43" not in kb
            assert None not in kb
            with pytest.raises(KnowledgeBaseError, match="'Q43'"):
                kb.row("Q43")
            with pytest.raises(KnowledgeBaseError, match="'Q43'"):
                kb.entity("Q43")

    def test_homonyms_survive(self, tmp_path, people):
        with KnowledgeBase.create(tmp_path / "kb", people) as kb:
            assert kb.ids_named("Adam Smith") == ["Q9294", "Q350735"]
            assert kb.entity("Q9294") != kb.entity("Q350735")
            assert (kb.manifest.counts["shared_names"], kb.manifest.counts["homonyms"]) == (1, 2)
            assert kb.ids_named("adam smith") == []

    def test_a_batch_boundary_changes_nothing(self, tmp_path):
        entities = [Entity(f"Q{n}", f"name {n % 7}", aliases=(str(n),) * (n % 3)) for n in range(2001)]
        seen: list[int] = []
        with KnowledgeBase.create(tmp_path / "kb", iter(entities), progress=seen.append) as kb:
            assert list(kb.entities()) == entities
            assert kb.row("Q2000") == 2000
        assert seen == [1000, 2000, 2001]

    def test_manifest_and_revision(self, tmp_path, people):
        with KnowledgeBase.create(tmp_path / "kb", people, source="by hand", picture_root=tmp_path) as kb:
            assert kb.revision == 1
            assert list(kb.changes(since=0)) == [entity.id for entity in people]
            assert list(kb.changes(since=1)) == []
            assert kb.picture_root == tmp_path
            assert kb.path == tmp_path / "kb"
            assert kb.manifest.source == "by hand"
            assert kb.manifest.counts == {
                "entities": 6,
                "shared_names": 1,
                "homonyms": 2,
                "aliases": 3,
                "types": 2,
                "pictures": 2,
                "without_text": 3,
                "representations": {"properties": 2, "static": 2},
            }

    def test_lone_surrogates_and_nul_are_repaired(self, tmp_path):
        broken = Entity("Q1", "na\ud800me\x00", ("a\udfff",), ("t\ud800",), (Representation("static", "x\ud83dy"),))
        with KnowledgeBase.create(tmp_path / "kb", [broken]) as kb:
            assert kb.names == ["na\ufffdme\ufffd"]
            assert kb.aliases == [("a\ufffd",)]
            assert kb.texts() == ["x\ufffdy"]
            kb.check()

    def test_is_shared_by_threads_and_pickled(self, tmp_path, people):
        with KnowledgeBase.create(tmp_path / "kb", people) as kb:
            names: list[list[str]] = []
            threads = [threading.Thread(target=lambda: names.append(kb.names)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert names == [kb.names] * 4
            with pickle.loads(pickle.dumps(kb)) as copy:
                assert copy.ids == kb.ids

    def test_after_closing(self, tmp_path, people):
        with KnowledgeBase.create(tmp_path / "kb", people) as kb:
            names = kb.names
        assert kb.names is names
        with pytest.raises(KnowledgeBaseError, match="closed"):
            kb.texts()


class TestRepresentations:
    def test_default_is_every_kind_present(self, tmp_path, people):
        with KnowledgeBase.create(tmp_path / "kb", people) as kb:
            assert kb.representation == ("properties", "static")
            assert kb.kinds == {"properties": 2, "static": 2}
            both = "Sex: male. Birth: 1723, Kirkcaldy. Adam Smith was a Scottish economist."
            assert kb.texts() == [both, "Birth: 1965.", "", "", "مغنية", ""]

    def test_order_of_kinds_is_the_order_of_texts(self, tmp_path, people):
        with KnowledgeBase.create(tmp_path / "kb", people, representation=["static", "properties"]) as kb:
            assert kb.texts()[0] == "Adam Smith was a Scottish economist. Sex: male. Birth: 1723, Kirkcaldy."
            assert kb.texts(["properties"])[:3] == ["Sex: male. Birth: 1723, Kirkcaldy.", "Birth: 1965.", ""]
            assert kb.texts([]) == [""] * 6

    def test_an_unknown_kind_is_named_with_those_present(self, tmp_path, people):
        with pytest.raises(KnowledgeBaseError, match=r"'dynamic'.*properties \(2 entities\), static \(2 entities\)"):
            KnowledgeBase.create(tmp_path / "kb", people, representation=["dynamic"])
        assert files_in(tmp_path) == []
        with (
            KnowledgeBase.create(tmp_path / "kb", people) as kb,
            pytest.raises(KnowledgeBaseError, match="'dynamic'"),
        ):
            kb.texts(["dynamic"])

    def test_names_alone_make_a_knowledge_base(self, tmp_path):
        with KnowledgeBase.create(tmp_path / "kb", [Entity("Q1", "Universe")]) as kb:
            assert kb.representation == ()
            assert kb.texts() == [""]

    def test_blank_texts_are_no_texts(self, tmp_path):
        blank = Entity("Q1", "Universe", representations=(Representation("static", " \n"),))
        with KnowledgeBase.create(tmp_path / "kb", [blank]) as kb:
            assert kb.kinds == {}

    def test_a_kind_is_a_word(self, tmp_path):
        bad = Entity("Q1", "Universe", representations=(Representation("static,properties", "x"),))
        with pytest.raises(DataError, match=r"'Q1'.*'static,properties'"):
            KnowledgeBase.create(tmp_path / "kb", [bad])


class TestFingerprints:
    def test_content_does_not_depend_on_order(self, tmp_path, people):
        shuffled = random.Random(3).sample(people, len(people))
        assert content_of(tmp_path / "a", people) == content_of(tmp_path / "b", shuffled)

    @pytest.mark.parametrize(
        "change",
        [
            {"name": "Adam Smyth"},
            {"aliases": ("Smith",)},
            {"types": ("human", "philosophers")},
            {"representations": (Representation("properties", "Birth: 1724."),)},
            {"pictures": ()},
        ],
    )
    def test_content_changes_with_any_part_of_a_record(self, tmp_path, people, change):
        changed = [dataclasses.replace(people[0], **change), *people[1:]]
        assert content_of(tmp_path / "a", people) != content_of(tmp_path / "b", changed)

    def test_content_changes_with_an_entity_more_or_less(self, tmp_path, people):
        assert content_of(tmp_path / "a", people) != content_of(tmp_path / "b", people[:-1])

    def test_when_a_text_was_made_does_not_count(self):
        early, late = (
            Entity("Q1", "Universe", representations=(Representation("static", "All.", created_at=when),))
            for when in ("2025", "2026")
        )
        assert content_hash(early) == content_hash(late)

    @given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, unique=True))
    def test_sum_can_be_kept_up_to_date(self, names):
        hashes = [content_hash(clean(Entity(name, name))) for name in names]
        total = 0
        for record_hash in hashes:
            total = add_hash(total, record_hash)
        without_first = (total - int.from_bytes(hashes[0], "big")) % 2**256
        fresh = 0
        for record_hash in reversed(hashes[1:]):
            fresh = add_hash(fresh, record_hash)
        assert without_first == fresh

    def test_compatibility_is_the_kinds_and_their_order(self, tmp_path, people):
        made: dict[tuple[str, ...], str] = {}
        for number, kinds in enumerate([("static",), ("properties",), ("static", "properties"), ()]):
            with KnowledgeBase.create(tmp_path / str(number), people, representation=kinds) as kb:
                made[kinds] = kb.fingerprint.compatibility
        assert len(set(made.values())) == 4
        with KnowledgeBase.create(tmp_path / "other", people[:2], representation=["static"]) as kb:
            assert kb.fingerprint.compatibility == made[("static",)]

    def test_known_values_stay(self, tmp_path):
        entity = Entity("Q1", "Universe", representations=(Representation("static", "All there is."),))
        with KnowledgeBase.create(tmp_path / "kb", [entity]) as kb:
            assert kb.fingerprint == ("411ccc62ea8f2274", "56e153f8a472586b")


class TestCreateRefuses:
    def test_a_duplicate_id(self, tmp_path):
        with pytest.raises(DataError, match="'Q2'"):
            KnowledgeBase.create(tmp_path / "kb", [Entity("Q1", "a"), Entity("Q2", "b"), Entity("Q2", "c")])
        assert files_in(tmp_path) == []

    def test_a_duplicate_id_from_an_earlier_batch(self, tmp_path):
        entities = [*(Entity(f"Q{n}", "a") for n in range(1500)), Entity("Q7", "b")]
        with pytest.raises(DataError, match="'Q7'"):
            KnowledgeBase.create(tmp_path / "kb", entities)

    def test_no_entities(self, tmp_path):
        with pytest.raises(KnowledgeBaseError, match="no entities"):
            KnowledgeBase.create(tmp_path / "kb", [])
        assert files_in(tmp_path) == []

    @pytest.mark.parametrize(("entity", "named"), [(Entity("", "Fred"), "Fred"), (Entity("Q5", " "), "Q5")])
    def test_a_record_without_id_or_name(self, tmp_path, entity, named):
        with pytest.raises(DataError, match=named):
            KnowledgeBase.create(tmp_path / "kb", [entity])

    def test_a_taken_folder(self, tmp_path, people):
        (tmp_path / "kb").mkdir()
        (tmp_path / "kb" / "mine.txt").write_text("keep")
        with pytest.raises(StorageError, match="already exists"):
            KnowledgeBase.create(tmp_path / "kb", people)
        assert files_in(tmp_path / "kb") == ["mine.txt"]

    def test_an_empty_folder_is_fine(self, tmp_path, people):
        (tmp_path / "kb").mkdir()
        KnowledgeBase.create(tmp_path / "kb", people).close()
        assert files_in(tmp_path / "kb") == ["kb.sqlite", "manifest.json"]


class TestCrash:
    def test_an_error_in_the_source_leaves_nothing(self, tmp_path):
        def entities() -> Iterator[Entity]:
            yield from (Entity(f"Q{n}", "a") for n in range(2500))
            raise DataError("broken", path="source.jsonl", line=2501)

        with pytest.raises(DataError, match="line 2501"):
            KnowledgeBase.create(tmp_path / "deep" / "kb", entities())
        assert files_in(tmp_path / "deep") == []

    @pytest.mark.parametrize("num_blocks", [1, 100, 1000])
    def test_a_full_disk_leaves_nothing(self, tmp_path, num_blocks):
        script = (
            "import sys; from dualway.errors import StorageError; from dualway.kb.store import KnowledgeBase\n"
            "from dualway.schema import Entity\n"
            "try: KnowledgeBase.create(sys.argv[1], (Entity(f'Q{n}', f'name {n}') for n in range(20000)))\n"
            "except StorageError as error: print(error); sys.exit(error.exit_code)\n"
        )
        # A limit on the size of files (in blocks of 1 KiB) is met in the write call, as a full disk is.
        run = subprocess.run(
            ["bash", "-c", f'ulimit -f {num_blocks}; exec "$0" "$@"', sys.executable, "-c", script, tmp_path / "kb"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (run.returncode, run.stderr) == (7, "")
        assert f"{tmp_path / 'kb'}: " in run.stdout
        assert "half-written" in run.stdout
        assert files_in(tmp_path) == []

    def test_a_killed_build_leaves_nothing_at_the_path(self, tmp_path):
        script = (
            "import os, signal, sys; from dualway.kb.store import KnowledgeBase; from dualway.schema import Entity\n"
            "def stop(done):\n  if done == 5000: os.kill(os.getpid(), signal.SIGKILL)\n"
            "KnowledgeBase.create(sys.argv[1], (Entity(f'Q{n}', 'a') for n in range(9000)), progress=stop)\n"
        )
        run = subprocess.run([sys.executable, "-c", script, tmp_path / "kb"], check=False)
        assert run.returncode == -9
        assert not (tmp_path / "kb").exists()
        with KnowledgeBase.create(tmp_path / "kb", [Entity("Q1", "a")]) as kb:
            assert len(kb) == 1


class TestReadOnly:
    def test_opening_and_reading_adds_no_file_and_changes_no_byte(self, tmp_path, people):
        KnowledgeBase.create(tmp_path / "kb", people).close()
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "kb").iterdir()}
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            kb.check()
            assert kb.names
            assert files_in(tmp_path / "kb") == ["kb.sqlite", "manifest.json"]
        assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "kb").iterdir()} == before

    def test_nothing_can_be_written_through_it(self, tmp_path, people):
        with (
            KnowledgeBase.create(tmp_path / "kb", people) as kb,
            pytest.raises(sqlite3.OperationalError, match="readonly"),
        ):
            kb._connection.execute("DELETE FROM entities")

    def test_a_read_only_folder_opens(self, tmp_path, people):
        KnowledgeBase.create(tmp_path / "kb", people).close()
        for path in [*(tmp_path / "kb").iterdir(), tmp_path / "kb"]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        script = (
            "import os, sys; from dualway.kb.store import KnowledgeBase\n"
            "with KnowledgeBase.open(sys.argv[1]) as kb: print(len(kb.names), os.access(sys.argv[1], os.W_OK))\n"
        )
        run = subprocess.run(
            [*_unprivileged(), sys.executable, "-c", script, tmp_path / "kb"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.split() == ["6", "False"]

    def test_a_path_with_odd_characters(self, tmp_path, people):
        folder = tmp_path / "what? 50% of #1 ünï"
        KnowledgeBase.create(folder, people).close()
        with KnowledgeBase.open(folder) as kb:
            assert len(kb) == 6


def _unprivileged() -> list[str]:
    """A prefix that takes root's right to write anywhere away from a command; empty when we are not root."""
    if os.geteuid() != 0:
        return []
    drop = shutil.which("setpriv")
    if drop is None:
        pytest.skip("setpriv is needed to give up root's right to write into read-only folders")
    return [drop, "--bounding-set=-all", "--inh-caps=-all", "--"]


class TestDamage:
    @pytest.fixture
    def folder(self, tmp_path, people):
        KnowledgeBase.create(tmp_path / "kb", people).close()
        return tmp_path / "kb"

    def refused(self, folder: Path, match: str) -> None:
        with pytest.raises(KnowledgeBaseError, match=match) as caught:
            KnowledgeBase.open(folder)
        assert str(folder) in str(caught.value)
        assert "build" in str(caught.value)

    def test_no_such_folder(self, tmp_path):
        self.refused(tmp_path / "nowhere", "no such knowledge base")

    def test_a_file(self, tmp_path):
        (tmp_path / "file").write_text("x")
        self.refused(tmp_path / "file", "a file")

    def test_a_folder_of_something_else(self, tmp_path):
        self.refused(tmp_path, "not a knowledge base")

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other"}', '{"format": "dualway-kb"}', "\x00\x01"])
    def test_a_broken_manifest(self, folder, text):
        (folder / "manifest.json").write_text(text)
        self.refused(folder, "manifest.json: damaged")

    def test_a_manifest_that_is_not_utf8(self, folder):
        (folder / "manifest.json").write_bytes(b"{\xff}")
        self.refused(folder, "not UTF-8")

    @pytest.mark.parametrize(
        "values",
        [
            {"counts": None},
            {"counts": {"entities": 6}},
            {"revision": "1"},
            {"schema": 0},
            {"schema": "1"},
            {"representation": "static"},
            {"representation": ["dynamic"]},
            {"representation": [1]},
            {"compatibility": "0" * 16},
            {"content": 5},
        ],
    )
    def test_a_manifest_with_wrong_values(self, folder, values):
        change_manifest(folder, **values)
        self.refused(folder, "manifest.json: damaged")

    @pytest.mark.parametrize("values", [{"content": "0" * 16}, {"revision": 2}])
    def test_a_manifest_of_another_build(self, folder, values):
        change_manifest(folder, **values)
        self.refused(folder, "do not belong together")

    def test_a_newer_manifest(self, folder):
        change_manifest(folder, schema=99, key_of_the_future=1)
        self.refused(folder, "newer dualway .*schema 99")

    def test_a_newer_database(self, folder):
        change_database(folder, "PRAGMA user_version = 99")
        self.refused(folder, "newer dualway .*schema 99")

    def test_no_database(self, folder):
        (folder / "kb.sqlite").unlink()
        self.refused(folder, "missing")

    @pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to be one" * 99])
    def test_something_else_for_a_database(self, folder, content):
        (folder / "kb.sqlite").write_bytes(content)
        self.refused(folder, r"kb.sqlite: damaged")

    def test_a_truncated_database(self, folder):
        content = (folder / "kb.sqlite").read_bytes()
        (folder / "kb.sqlite").write_bytes(content[: len(content) // 2])
        self.refused(folder, r"kb.sqlite: damaged")

    def test_a_lost_entity(self, folder):
        change_database(folder, "DELETE FROM entities WHERE id = 'Q42'")
        self.refused(folder, "do not belong together")

    @pytest.mark.parametrize(
        ("script", "named"),
        [
            ("UPDATE entities SET name = 'Adam Smithe' WHERE id = 'Q9294'", "'Q9294'"),
            ("UPDATE representations SET text = 'x' WHERE entity = 1", "'Q350735'"),
            ("DELETE FROM aliases WHERE alias = 'George'", "'Q23505'"),
            ("DELETE FROM entities WHERE id = 'Q42'; INSERT INTO entities VALUES (9, 'Q1', 'x', x'00', 1)", "'Q1'"),
        ],
    )
    def test_check_finds_what_opening_does_not(self, folder, script, named):
        change_database(folder, script)
        with KnowledgeBase.open(folder) as kb, pytest.raises(KnowledgeBaseError, match=named):
            kb.check()

    def test_damage_met_while_reading(self, folder):
        with KnowledgeBase.open(folder) as kb:
            change_database(folder, "DROP TABLE types")
            with pytest.raises(KnowledgeBaseError, match="damaged"):
                _ = kb.types
