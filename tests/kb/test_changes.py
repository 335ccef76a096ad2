"""Changing a knowledge base: whole or not at all, whoever is reading, whenever it is killed."""

import dataclasses
import doctest
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest

from dualway.errors import DataError, KnowledgeBaseError, StorageError
from dualway.kb import changes
from dualway.kb.changes import changing
from dualway.kb.migrations import SCHEMA_VERSION
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Picture, Representation
from dualway.storage import read_json, write_json


@pytest.fixture
def folder(tmp_path, people) -> Path:
    KnowledgeBase.create(tmp_path / "kb", people, source="by hand", picture_root=tmp_path).close()
    return tmp_path / "kb"


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rename(folder: Path, entity_id: str, name: str) -> None:
    with changing(folder) as change:
        change.update(dataclasses.replace(change.entity(entity_id), name=name))


def make_old(folder: Path) -> None:
    """Turn a fresh knowledge base into one that an older dualway has built, without flags and folders of pictures."""
    with closing(sqlite3.connect(folder / "kb.sqlite")) as connection:
        connection.executescript(
            "DROP TABLE kept_out; DROP TABLE fields; DROP TABLE history; DROP INDEX types_by_type; "
            "PRAGMA user_version = 1; VACUUM"
        )
    manifest = read_json(folder / "manifest.json")
    del manifest["database"], manifest["picture_roots"]
    write_json(folder / "manifest.json", {**manifest, "schema": 1})


class TestUpdate:
    CHANGED = Entity(
        "Q9294",
        "Adam Smith (economist)",
        aliases=("A. Smith", "Smith"),
        types=(),
        representations=(Representation("properties", "Born in 1723."), Representation("new", "x")),
        pictures=(Picture("a.jpg", "here", "CC0"),),
    )

    def test_a_changed_knowledge_base_is_as_if_it_had_been_built_so(self, folder, people, tmp_path):
        with changing(folder) as change:
            assert change.update(self.CHANGED)
            assert change.entity("Q9294") == self.CHANGED
        with (
            KnowledgeBase.open(folder) as kb,
            KnowledgeBase.create(tmp_path / "fresh", [self.CHANGED, *people[1:]], source="by hand") as fresh,
        ):
            kb.check()
            assert list(kb.entities()) == [self.CHANGED, *people[1:]]
            assert kb.fingerprint.content == fresh.fingerprint.content
            represented = kb.manifest.counts["without_text"]  # by the kinds that were there when it was built
            assert {**kb.manifest.counts, "without_text": 0} == {**fresh.manifest.counts, "without_text": 0}
            assert represented == 3

    def test_the_revision_is_recorded(self, folder):
        with KnowledgeBase.open(folder) as kb:
            before = kb.manifest
        with changing(folder) as change:
            assert change.revision == 2
            change.describe("one name changed")
            change.update(dataclasses.replace(change.entity("Q42"), name="Douglas Adams"))
        with KnowledgeBase.open(folder) as kb:
            assert (kb.revision, kb.manifest.database) == (2, "kb-2.sqlite")
            assert [(r.number, r.what) for r in kb.revisions()] == [(1, "built from by hand"), (2, "one name changed")]
            assert list(kb.changes(since=1)) == ["Q42"]
            assert kb.fingerprint.compatibility == before.fingerprint.compatibility
            assert kb.fingerprint.content != before.fingerprint.content
            assert (kb.manifest.created, kb.manifest.source) == (before.created, "by hand")
        assert files_in(folder) == [".lock", "kb-2.sqlite", "manifest.json"]

    def test_there_and_back_is_the_same_content(self, folder):
        with KnowledgeBase.open(folder) as kb:
            before = kb.fingerprint
        rename(folder, "Q42", "x")
        rename(folder, "Q42", "Дуглас Адамс")
        with KnowledgeBase.open(folder) as kb:
            assert (kb.fingerprint, kb.revision) == (before, 3)
            kb.check()

    def test_what_changes_nothing_makes_no_revision(self, folder):
        with changing(folder) as change:
            change.describe("nothing")
            assert not change.update(change.entity("Q42"))
            assert not change.admit("Q42")
        with KnowledgeBase.open(folder) as kb:
            assert kb.revision == 1
        assert files_in(folder) == [".lock", "kb.sqlite", "manifest.json"]

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_an_error_in_the_block_changes_nothing(self, folder, error):
        with KnowledgeBase.open(folder) as kb:
            before = kb.manifest
        with pytest.raises(error), changing(folder) as change:  # noqa: PT012
            change.update(dataclasses.replace(change.entity("Q42"), name="x"))
            raise error
        with KnowledgeBase.open(folder) as kb:
            assert kb.manifest == before
            kb.check()
        assert files_in(folder) == [".lock", "kb.sqlite", "manifest.json"]

    def test_records_are_cleaned_and_checked(self, folder):
        rename(folder, "Q42", "a\ud800")
        with KnowledgeBase.open(folder) as kb:
            assert kb.entity("Q42").name == "a\ufffd"
            kb.check()
        with pytest.raises(DataError, match="no name"):
            rename(folder, "Q42", " ")
        with pytest.raises(KnowledgeBaseError, match="'Q43'"):
            rename(folder, "Q43", "x")

    def test_the_docstring_example_runs(self):
        globs = {**vars(changes), "Path": Path}
        assert doctest.testmod(changes, extraglobs=globs) == doctest.TestResults(failed=0, attempted=5)


class TestFlags:
    def test_kept_out_and_admitted(self, folder):
        with KnowledgeBase.open(folder) as kb:
            before = kb.fingerprint
            assert kb.kept_out == kb.erased == frozenset()
            assert [row for row, _ in kb.gallery_pictures()] == [0, 0]
        with changing(folder) as change:
            assert change.keep_out("Q9294")
            assert not change.keep_out("Q9294")
        with KnowledgeBase.open(folder) as kb:
            assert (kb.kept_out, kb.erased) == ({"Q9294"}, frozenset())
            assert list(kb.gallery_pictures()) == []
            assert len(kb.entity("Q9294").pictures) == 2
            assert list(kb.changes(since=1)) == ["Q9294"]
            assert kb.fingerprint == before
            assert dataclasses.astuple(kb.picture_counts()) == (0, 0, 0, 1, 2, 0)
        with changing(folder) as change:
            assert change.admit("Q9294")
        with KnowledgeBase.open(folder) as kb:
            assert kb.kept_out == frozenset()
            assert [picture.path for _, picture in kb.gallery_pictures()] == ["pictures/smith.jpg", "smith2.jpg"]
            assert dataclasses.astuple(kb.picture_counts()) == (1, 2, 1, 0, 0, 0)
            assert kb.revision == 3

    def test_no_pictures_are_taken_of_whom_was_erased(self, folder):
        with changing(folder) as change:
            assert change.erase("Q9294") == ("pictures/smith.jpg", "smith2.jpg")
        with changing(folder) as change:
            assert change.erase("Q9294") == ()
            again = dataclasses.replace(change.entity("Q9294"), pictures=(Picture("new.jpg"),))
            with pytest.raises(KnowledgeBaseError, match="erased and none are taken"):
                change.update(again)
            assert not change.keep_out("Q9294")
            assert change.is_erased("Q9294")
            assert not change.is_made
        with changing(folder) as change:
            change.admit("Q9294")
            assert change.update(again)
        with KnowledgeBase.open(folder) as kb:
            kb.check()
            assert kb.entity("Q9294") == again

    def test_pages_of_many_pictures(self, tmp_path, monkeypatch):
        monkeypatch.setattr("dualway.kb.store._PAGE", 7)
        entities = [Entity(f"Q{n}", "a", pictures=tuple(Picture(f"{n}-{i}") for i in range(n % 5))) for n in range(50)]
        expected = [(n, picture) for n, entity in enumerate(entities) for picture in entity.pictures]
        with KnowledgeBase.create(tmp_path / "kb", entities) as kb:
            assert list(kb.gallery_pictures()) == expected
        with changing(tmp_path / "kb") as change:
            change.keep_out("Q8")
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert list(kb.gallery_pictures()) == [(n, picture) for n, picture in expected if n != 8]


class TestOlder:
    def test_is_read_as_it_is(self, folder, people):
        make_old(folder)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        with KnowledgeBase.open(folder) as kb:
            kb.check()
            assert list(kb.entities()) == people
            assert kb.kept_out == kb.erased == frozenset()
            assert len(list(kb.gallery_pictures())) == 2
            assert kb.picture_path(Picture("a/b.jpg")) == folder.parent / "a" / "b.jpg"
            assert kb.picture_counts().pictures == 2
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    def test_is_brought_up_to_date_by_a_change(self, folder, people):
        make_old(folder)
        with changing(folder) as change:
            change.keep_out("Q42")
        with KnowledgeBase.open(folder) as kb:
            kb.check()
            assert list(kb.entities()) == people
            assert kb.kept_out == {"Q42"}
            assert kb.manifest.schema == SCHEMA_VERSION


class TestReaders:
    def test_what_is_open_stays_as_it_is(self, folder, people):
        with KnowledgeBase.open(folder) as kb:
            rename(folder, "Q42", "x")
            rename(folder, "Q42", "y")
            assert "kb.sqlite" not in files_in(folder)
            kb.check()
            assert list(kb.entities()) == people
            assert kb.texts(["static"])[0]

    def test_a_copy_for_another_process_is_of_the_same_content(self, folder):
        with KnowledgeBase.open(folder) as kb:
            handed = pickle.dumps(kb)
        pickle.loads(handed).close()
        rename(folder, "Q42", "x")
        with pytest.raises(KnowledgeBaseError, match="was changed while it was in use"):
            pickle.loads(handed)

    def test_opening_while_it_is_changed(self, folder):
        script = (
            "import sys, dataclasses; from dualway.kb.changes import changing\n"
            "for n in range(60):\n"
            "    with changing(sys.argv[1]) as change:\n"
            "        change.update(dataclasses.replace(change.entity('Q42'), name=f'name {n}'))\n"
        )
        seen: list[int] = []
        with subprocess.Popen([sys.executable, "-c", script, folder]) as writer:
            while writer.poll() is None:
                with KnowledgeBase.open(folder) as kb:
                    assert kb.names[5] == ("Дуглас Адамс" if kb.revision == 1 else f"name {kb.revision - 2}")
                    seen.append(kb.revision)
        assert writer.returncode == 0
        assert seen == sorted(seen)
        assert len(set(seen)) > 5

    def test_a_database_of_another_name_is_refused(self, folder):
        manifest = read_json(folder / "manifest.json")
        for name in ("../kb.sqlite", "kb-0.sqlite", "other.sqlite", "kb.sqlite\n", 5, None):
            write_json(folder / "manifest.json", {**manifest, "database": name})
            with pytest.raises(KnowledgeBaseError, match="damaged"):
                KnowledgeBase.open(folder)


class TestWriters:
    def test_a_second_one_is_told(self, folder):
        with changing(folder) as change:
            with pytest.raises(StorageError, match="another process is changing"), changing(folder):
                pass
            change.keep_out("Q42")
        with KnowledgeBase.open(folder) as kb:
            assert kb.kept_out == {"Q42"}

    def test_what_was_left_behind_goes_and_nothing_else(self, folder):
        rename(folder, "Q42", "x")
        left = ["kb.sqlite", "kb-1.sqlite", "kb-9.sqlite-journal", "kb-3.work", ".manifest.json.abc.tmp"]
        kept = ["notes.txt", "kb.sqlite.bak", "my-kb-3.sqlite", "gallery"]
        for name in left + kept:
            (folder / name).write_text("x")
        with changing(folder):
            pass
        assert files_in(folder) == sorted([".lock", "kb-2.sqlite", "manifest.json", *kept])

    def test_a_folder_that_is_none(self, tmp_path):
        for path in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(KnowledgeBaseError), changing(path):
                pass
        assert files_in(tmp_path) == []

    def test_a_lock_that_leads_elsewhere_is_not_followed(self, folder, tmp_path):
        (folder / ".lock").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(StorageError), changing(folder):
            pass
        assert not (tmp_path / "elsewhere").exists()

    def test_a_damaged_database_is_not_changed(self, folder):
        with closing(sqlite3.connect(folder / "kb.sqlite")) as connection:
            (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'aliases'").fetchone()
        content = bytearray((folder / "kb.sqlite").read_bytes())
        content[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
        (folder / "kb.sqlite").write_bytes(content)
        with pytest.raises(KnowledgeBaseError, match="damaged"):
            rename(folder, "Q9294", "x")
        assert (folder / "kb.sqlite").read_bytes() == content

    @pytest.mark.parametrize("num_blocks", [1, 30, 60])
    def test_a_full_disk_changes_nothing(self, folder, num_blocks):
        with KnowledgeBase.open(folder) as kb:
            before = kb.manifest
        script = (
            "import sys, dataclasses\n"
            "from dualway.errors import StorageError; from dualway.kb.changes import changing\n"
            "try:\n"
            "    with changing(sys.argv[1]) as change:\n"
            "        change.update(dataclasses.replace(change.entity('Q42'), aliases=('x' * 90000,)))\n"
            "except StorageError as error: sys.exit(error.exit_code)\n"
        )
        limited = ["bash", "-c", f'ulimit -f {num_blocks}; exec "$0" "$@"', sys.executable, "-c", script, folder]
        assert subprocess.run(limited, check=False, capture_output=True).returncode == 7
        with KnowledgeBase.open(folder) as kb:
            assert kb.manifest == before
        assert files_in(folder) == [".lock", "kb.sqlite", "manifest.json"]


# Each child works on a copy of its own and is killed at one of its calls into C: of SQLite, of the file system.
KILLS = textwrap.dedent(
    """
    import dataclasses, os, random, shutil, signal, sys, time, traceback
    from pathlib import Path
    from dualway.kb import layers
    from dualway.kb.changes import changing
    from dualway.kb.store import KnowledgeBase

    source, out, way = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    if way == "delta":
        layers.SMALL = 0

    def change(folder):
        with changing(folder) as change:
            for entity in list(KnowledgeBase.open(folder).entities())[:50]:
                change.update(dataclasses.replace(entity, aliases=("changed",)))
            if way == "erase":
                change.erase("Q0")

    def child(folder, act):
        shutil.copytree(source, folder)
        if pid := os.fork():
            return pid
        try:
            act(folder)
        except BaseException:
            traceback.print_exc()
        os._exit(0)

    def counted(folder, stop):
        count, steps = 0, []
        def hook(frame, event, argument):
            nonlocal count
            if event in ("c_call", "c_return"):
                count += 1
                if argument.__name__ in ("rename", "replace", "unlink", "fsync"):
                    steps.append(count)
                if count == stop:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(hook)
        change(folder)
        sys.setprofile(None)
        (out / "steps").write_text(" ".join(map(str, [*steps, count])))

    os.waitpid(child(out / "whole", lambda folder: counted(folder, -1)), 0)
    *steps, total = map(int, (out / "steps").read_text().split())
    # Before and after each step by which files appear, are renamed and go; and at some of the others.
    for n in sorted({*range(1, total, total // 12), *steps}):
        os.waitpid(child(out / f"call-{n}", lambda folder: counted(folder, n)), 0)
    start = time.monotonic()
    os.waitpid(child(out / "timed", change), 0)
    whole = time.monotonic() - start
    for n in range(10):
        pid = child(out / f"time-{n}", change)
        time.sleep(random.Random(n).uniform(0.2, 1) * whole)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    """
)


class TestKills:
    @pytest.mark.parametrize("way", ["change", "delta", "erase"])
    def test_the_old_state_or_the_new_one_whenever_it_is_killed(self, tmp_path, way):
        entities = [Entity(f"Q{n}", f"name {n}", ("alias",) * 5, pictures=(Picture(f"{n}.jpg"),)) for n in range(150)]
        source, out = tmp_path / "source", tmp_path / "out"
        KnowledgeBase.create(source, entities).close()
        out.mkdir()
        subprocess.run([sys.executable, "-c", KILLS, source, out, way], check=True, timeout=240)
        states: dict[int, int] = {}
        folders = [folder for folder in out.iterdir() if folder.is_dir()]
        for folder in folders:
            with KnowledgeBase.open(folder) as kb:
                kb.check()
                states[kb.revision] = states.get(kb.revision, 0) + 1
                changed = [alias == ("changed",) for alias in kb.aliases]
                assert changed == [kb.revision == 2] * 50 + [False] * 100
                assert kb.erased == ({"Q0"} if way == "erase" and kb.revision == 2 else frozenset())
            with changing(folder) as change:
                change.keep_out("Q5")
            with KnowledgeBase.open(folder) as kb:
                kb.check()
                assert files_in(folder) == [".lock", kb.manifest.database, "manifest.json"]
            shutil.rmtree(folder)
        assert len(folders) > 30
        assert states.keys() == {1, 2}  # so that some were killed before and some after it was published
        assert min(states.values()) > 3

    def test_a_writer_that_was_killed_holds_no_lock(self, folder):
        script = (
            "import sys, time; from dualway.kb.changes import changing\n"
            "with changing(sys.argv[1]) as change:\n  print(flush=True); time.sleep(60)\n"
        )
        with subprocess.Popen([sys.executable, "-c", script, folder], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            with pytest.raises(StorageError, match="another process"):
                rename(folder, "Q42", "x")
            writer.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and "kb-2.work" not in files_in(folder):
            time.sleep(0.01)
        rename(folder, "Q42", "x")
        assert files_in(folder) == [".lock", "kb-2.sqlite", "manifest.json"]
