from __future__ import annotations

import bz2
import gzip
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from benchmarks.generated_dump import generate
from benchmarks.memory import family
from tests.sources.dump_items import ADAMS, item, statement

from dualway.errors import DataError, KnowledgeBaseError, StorageError, UsageError
from dualway.kb import dump_build, dump_workers
from dualway.kb.dump_build import build_from_dump
from dualway.kb.staging import Staging
from dualway.kb.store import KnowledgeBase
from dualway.sources.wikidata import DumpOptions, WikidataReader

OPTIONS = DumpOptions(languages=("en", "mul", "de"))
NUM_ITEMS = 2_000
TABLES = ("entities", "aliases", "types", "representations", "fields", "pictures", "history", "kept_out")


def dump(items, ending=b",\n"):
    return b"[\n" + ending.join(json.dumps(item, ensure_ascii=False).encode() for item in items) + b"\n]\n"


def write(path, content):
    packed = {".gz": gzip.compress, ".bz2": bz2.compress}.get(path.suffix, bytes)(content)
    path.write_bytes(packed)
    return path


def contents(kb):
    """Return all rows of a knowledge base, and its indexes, but for when it was made."""
    with closing(sqlite3.connect(kb / "kb.sqlite")) as connection:
        tables = {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in TABLES}
        tables["revisions"] = connection.execute("SELECT number, content FROM revisions").fetchall()
        tables["schema"] = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    return tables


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """A dump of `NUM_ITEMS` items."""
    return write(tmp_path_factory.mktemp("dump") / "dump.json", dump(generate(NUM_ITEMS)))


@pytest.fixture(scope="module")
def whole(generated, tmp_path_factory):
    """The knowledge base of `generated`, built without interruption, and its report."""
    out = tmp_path_factory.mktemp("whole") / "kb"
    return out, build_from_dump(generated, out, OPTIONS, workers=0)


@pytest.fixture
def small_steps(monkeypatch):
    """Blocks, slices and commits so small that a small dump has many of them."""
    read = dump_build.read_blocks
    monkeypatch.setattr(dump_build, "read_blocks", lambda path, **at: read(path, **at, size=200_000))
    for name, value in {"COMMIT_BYTES": 500_000, "COMMIT_ENTITIES": 200, "SLICE": 100}.items():
        monkeypatch.setattr(dump_build, name, value)


class TestTheResult:
    def test_it_is_a_knowledge_base(self, whole):
        out, report = whole
        with KnowledgeBase.open(out) as kb:
            kb.check()
            assert NUM_ITEMS * 0.9 < len(kb) < NUM_ITEMS
            assert kb.manifest.counts == report.manifest.counts
            numbers = [int(entity_id[1:]) for entity_id in kb.ids]
            assert numbers == sorted(numbers)
        assert sorted(path.name for path in out.iterdir()) == ["kb.sqlite", "manifest.json"]
        assert list(out.parent.iterdir()) == [out]

    def test_it_is_what_the_store_makes_of_the_same_entities(self, whole, tmp_path):
        out, report = whole
        items = [item for item in generate(NUM_ITEMS) if "redirect" not in item]
        reader = WikidataReader(OPTIONS)
        labels = {item["id"]: reader.name_of(item) for item in items if item.get("type") == "item"}
        entities = [entity for item in items if (entity := reader.entity(item, labels.get)) is not None]
        entities.sort(key=lambda entity: int(entity.id[1:]))
        with KnowledgeBase.create(tmp_path / "kb", entities) as kb:
            assert kb.fingerprint == report.manifest.fingerprint
            assert kb.manifest.counts == report.manifest.counts
        assert contents(tmp_path / "kb") == contents(out)

    @pytest.mark.parametrize("suffix", [".json.gz", ".json.bz2", ".jsonl"])
    def test_packed_or_plain_with_processes_or_without(self, suffix, whole, tmp_path, small_steps):
        content = dump(generate(NUM_ITEMS))
        if suffix == ".jsonl":
            content = b"".join(line.rstrip(b",") + b"\r\n" for line in content.split(b"\n")[1:-2])
        source = write(tmp_path / f"dump{suffix}", content)
        report = build_from_dump(source, tmp_path / "kb", OPTIONS, workers=2)
        assert contents(tmp_path / "kb") == contents(whole[0])
        assert report.reading.to_dict() == {**whole[1].reading.to_dict(), "path": str(source)}

    def test_everything_is_accounted_for(self, whole):
        reading = whole[1].reading
        skipped = sum(tally.count for tally in reading.dropped.values())
        assert reading.counts["entities"] + skipped == NUM_ITEMS
        assert {reason.split(":")[0].split(" in ")[0] for reason in reading.dropped} == {
            "redirects",
            "properties",
            "lexemes",
            "disambiguation pages and other pages of Wikimedia's own",
            "neither a label nor a page",
        }
        with KnowledgeBase.open(whole[0]) as kb:
            unknown = sum(field.id == field.value for n in kb.ids for field in kb.entity(n).fields)
        (note,) = [tally for reason, tally in reading.notes.items() if "whose label is not in the dump" in reason]
        assert note.count == unknown > 0

    def test_texts_without_a_time_have_the_dumps(self, tmp_path):
        source = write(tmp_path / "dump.json", dump([item(1, {"en": "A"}, descriptions={"en": "a letter"})]))
        os.utime(source, (1_700_000_000, 1_700_000_000))
        build_from_dump(source, tmp_path / "kb", workers=0)
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert kb.entity("Q1").representations[0].created_at == "2023-11-14T22:13:20Z"

    def test_names_are_indexed_before_it_is_published(self, generated, whole, tmp_path):
        seen = []

        def index(folder, rows):
            assert folder != tmp_path / "kb"
            with KnowledgeBase.open(folder) as kb:
                assert [(n, kb.names[n], tuple(kb.entity(kb.ids[n]).aliases)) for n in range(len(kb))] == list(rows)
            (folder / "names").touch()
            seen.append(folder)

        report = build_from_dump(generated, tmp_path / "kb", OPTIONS, workers=0, index_names=index)
        assert len(seen) == 1
        assert (tmp_path / "kb" / "names").is_file()
        assert report.seconds.keys() == {"items", "entities", "names"}


class TestWhichItems:
    def build(self, tmp_path, items, **options):
        source = write(tmp_path / "dump.json", dump(items))
        report = build_from_dump(source, tmp_path / "kb", DumpOptions(**options), workers=0)
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            return {entity_id: kb.entity(entity_id) for entity_id in kb.ids}, report

    ITEMS = (
        item(1, {"en": "a striker"}, {"P31": [statement("P31", 30)]}),
        item(2, {"en": "a city"}, {"P31": [statement("P31", 515)]}),
        item(3, {"en": "a list"}, {"P31": [statement("P31", 60)]}),
        item(5, {"en": "human"}),
        item(10, {"en": "person who plays"}, {"P279": [statement("P279", 5)]}),
        item(30, {"en": "striker"}, {"P279": [statement("P279", 20), statement("P279", 60, rank="deprecated")]}),
        item(20, {"en": "footballer"}, {"P279": [statement("P279", 10), statement("P279", 30)]}),  # a circle
        item(60, {"en": "list of lists"}, {"P279": [statement("P279", 13406463), statement("P279", 5)]}),
    )

    def test_instances_of_subclasses_count(self, tmp_path):
        entities, report = self.build(tmp_path, self.ITEMS, classes=("Q5",))
        assert list(entities) == ["Q1"]
        assert entities["Q1"].types == ("striker",)
        assert report.reading.counts["statements: subclass of"] == 6
        assert report.reading.dropped["disambiguation pages and other pages of Wikimedia's own"].examples == [
            ("Q3", "a list")
        ]
        assert report.reading.dropped["of none of the wanted classes"].count == 6

    def test_or_those_of_the_class_alone(self, tmp_path):
        entities, report = self.build(tmp_path, self.ITEMS, classes=("Q30", "Q515"), with_subclasses=False)
        assert list(entities) == ["Q1", "Q2"]
        assert "classes" not in report.seconds

    def test_without_a_class_every_item_counts(self, tmp_path):
        assert len(self.build(tmp_path, self.ITEMS)[0]) == 8

    def test_labels_of_items_that_are_not_wanted_are_words(self, tmp_path):
        items = [ADAMS, item(5, {"de": "Mensch"}), item(350, {}, sitelinks={"enwiki": "Cambridge"})]
        entities, _ = self.build(tmp_path, items, classes=("Q5",), languages=("en", "de"), with_subclasses=False)
        assert entities["Q42"].types == ("Mensch",)
        assert ("birthplace", "Cambridge") in [(field.name, field.value) for field in entities["Q42"].fields]

    def test_of_an_item_that_comes_twice_the_first_is_kept(self, tmp_path):
        items = [item(2, {"en": "first"}), item(1, {"en": "A"}), item(2, {"en": "second"}), item(2, {"en": "third"})]
        entities, report = self.build(tmp_path, items)
        assert [entity.name for entity in entities.values()] == ["A", "first"]
        assert report.reading.dropped["items that came before: the first is kept"].count == 2

    def test_when_none_is_wanted_nothing_is_left(self, tmp_path):
        source = write(tmp_path / "dump.json", dump(self.ITEMS))
        with pytest.raises(KnowledgeBaseError, match="no entities in it that are wanted: 7 of none of the wanted"):
            build_from_dump(source, tmp_path / "kb", DumpOptions(classes=("Q999",)), workers=0)
        assert list(tmp_path.iterdir()) == [source]

    def test_a_nul_and_the_like_in_a_name(self, tmp_path):
        entities, _ = self.build(tmp_path, [item(1, {"en": "A\0B"}, aliases={"en": ["x\0"]})])
        assert (entities["Q1"].name, entities["Q1"].aliases) == ("A\ufffdB", ("x\ufffd",))


class TestBrokenLines:
    GOOD = json.dumps(item(1, {"en": "A"})).encode()

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            (b'{"type":"item","id":"Q2"', "not an item: unexpected end of data"),
            (b'{"type":"item","id":"Q2","labels":{"en":{"value":"\xff\xfe"}}}', "not valid UTF-8"),
            (b'{"type":"item","id":"Q2","labels":{"en":{"value":"\\ud800"}}}', "surrogate"),
            (b'{"type":"item","id":"Q2","labels":7}', "not an item: a int in the place of an object"),
            (b'[{"type":"item","id":"Q2"},{"type":"item","id":"Q3"}]', "expected one item a line"),
            (b"garbage", "not an item: unexpected character"),
            (b"[" * 5_000, "expected one item a line"),
            (b'{"a":' * 5_000, "not an item"),
            (b'{"id":"Q2","x":"' + b"x" * (17 << 20) + b'"}', "longer than 16,777,216 bytes"),
        ],
        ids=["cut", "utf8", "surrogate", "shape", "list", "garbage", "deep list", "deep", "long"],
    )
    def test_they_stop_the_build_or_are_counted(self, line, problem, tmp_path):
        source = write(tmp_path / "dump.json", b"[\n" + self.GOOD + b",\n" + line + b",\n" + self.GOOD + b"\n]\n")
        with pytest.raises(DataError, match=rf"dump\.json, line 3: .*{problem}.*byte {len(self.GOOD) + 4} of") as error:
            build_from_dump(source, tmp_path / "kb", workers=0)
        assert error.value.line == 3
        assert len(str(error.value)) < 400
        report = build_from_dump(source, tmp_path / "kb", DumpOptions(on_error="drop"), workers=0)
        tally = report.reading.dropped["lines that cannot be read"]
        assert (tally.count, tally.examples[0][0]) == (1, "line 3")
        assert problem in tally.examples[0][1]
        assert report.manifest.counts["entities"] == 1

    def test_a_byte_order_mark_and_empty_lines(self, tmp_path):
        source = write(tmp_path / "dump.json", b"\xef\xbb\xbf[\n\n" + self.GOOD + b" ,\r\n\n  ]\n\n")
        assert build_from_dump(source, tmp_path / "kb", workers=0).manifest.counts["entities"] == 1
        source = write(tmp_path / "items.jsonl", b"\xef\xbb\xbf" + self.GOOD)
        assert build_from_dump(source, tmp_path / "kb2", workers=0).manifest.counts["entities"] == 1

    def test_a_dump_that_did_not_come_whole(self, tmp_path):
        source = tmp_path / "dump.json.gz"
        source.write_bytes(gzip.compress(dump(generate(500)))[:-1000])
        with pytest.raises(DataError, match="ends in the middle"):
            build_from_dump(source, tmp_path / "kb", workers=2)
        assert not (tmp_path / "kb").exists()

    @pytest.mark.parametrize("content", [b"", b"[\n]\n", b"[]"])
    def test_an_empty_one(self, content, tmp_path):
        with pytest.raises(KnowledgeBaseError, match="the file holds no items"):
            build_from_dump(write(tmp_path / "dump.json", content), tmp_path / "kb", workers=0)

    def test_a_missing_one_a_folder_and_an_unknown_option(self, tmp_path):
        with pytest.raises(DataError, match="no such file"):
            build_from_dump(tmp_path / "none.json", tmp_path / "kb")
        with pytest.raises(DataError, match="is a folder"):
            build_from_dump(tmp_path, tmp_path / "out" / "kb", workers=0)
        with pytest.raises(UsageError, match="no language code"):
            build_from_dump(tmp_path / "none.json", tmp_path / "kb", DumpOptions(languages=("English",)))

    def test_without_the_parser_it_says_what_to_install(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "orjson", None)
        with pytest.raises(UsageError, match=r"pip install 'dualway\[kb\]'"):
            build_from_dump(tmp_path / "dump.json", tmp_path / "kb")


class Stopped(Exception):
    """Ends a build from within."""


def stop_after(times):
    left = [times]

    def progress(*_):
        left[0] -= 1
        if left[0] < 0:
            raise Stopped

    return progress


class TestGoingOn:
    @pytest.mark.parametrize("kind", [".json", ".json.gz"])
    def test_wherever_it_was_stopped_the_result_is_the_same(self, kind, generated, tmp_path, small_steps):
        options = DumpOptions(languages=OPTIONS.languages, classes=("Q5", "Q43229"))
        source = write(tmp_path / f"dump{kind}", generated.read_bytes())
        expected = build_from_dump(source, tmp_path / "expected", options, workers=0)
        chance, out, stops = random.Random(0), tmp_path / "kb", 0
        while not out.exists():
            notes = []
            try:
                report = build_from_dump(
                    source, out, options, workers=0, progress=stop_after(chance.randrange(8)), note=notes.append
                )
            except Stopped:
                stops += 1
            assert len(notes) == (stops > 1 or out.exists())
            assert all("going on" in note for note in notes)
        assert stops > 5
        assert report.went_on
        assert contents(out) == contents(tmp_path / "expected")
        assert report.manifest.content == expected.manifest.content
        assert report.reading.to_dict() == expected.reading.to_dict()
        assert sorted(path.name for path in tmp_path.iterdir()) == [f"dump{kind}", "expected", "kb"]

    def test_killed_while_it_makes_indexes_of_names(self, generated, whole, tmp_path):
        def fail(folder, rows):
            next(iter(rows))
            raise Stopped

        with pytest.raises(Stopped):
            build_from_dump(generated, tmp_path / "kb", OPTIONS, workers=0, index_names=fail)
        report = build_from_dump(generated, tmp_path / "kb", OPTIONS, workers=0)
        assert report.reading.to_dict() == whole[1].reading.to_dict()
        assert contents(tmp_path / "kb") == contents(whole[0])

    def test_with_other_options_or_another_dump_it_starts_afresh(self, generated, whole, tmp_path, small_steps):
        out, notes = tmp_path / "kb", []
        for options in (DumpOptions(languages=("de",)), DumpOptions(languages=("fr",))):
            with pytest.raises(Stopped):
                build_from_dump(generated, out, options, workers=0, progress=stop_after(40))
        report = build_from_dump(generated, out, OPTIONS, workers=0, note=notes.append)
        assert not report.went_on
        assert "from anew" in notes[0]
        assert contents(out) == contents(whole[0])

    def test_a_line_is_dropped_after_all(self, tmp_path):
        source = write(tmp_path / "dump.json", dump([item(1, {"en": "A"})]) + b"garbage\n")
        with pytest.raises(DataError):
            build_from_dump(source, tmp_path / "kb", workers=0)
        assert build_from_dump(source, tmp_path / "kb", DumpOptions(on_error="drop"), workers=0)

    def test_a_folder_that_is_there_is_left_alone(self, generated, tmp_path):
        (tmp_path / "kb").mkdir()
        (tmp_path / "kb" / "mine").touch()
        with pytest.raises(StorageError, match="already exists"):
            build_from_dump(generated, tmp_path / "kb", OPTIONS, workers=0)
        assert [path.name for path in tmp_path.iterdir()] == ["kb"]
        (tmp_path / "kb" / "mine").unlink()  # an empty one is taken
        build_from_dump(generated, tmp_path / "kb", OPTIONS, workers=0)

    def test_what_a_build_left_that_was_killed_at_its_very_end_is_removed(self, whole, generated, tmp_path):
        work = tmp_path / ".kb.building"
        work.mkdir()
        (work / "staging.sqlite").touch()
        (tmp_path / "kb").symlink_to(whole[0])
        with pytest.raises(StorageError, match="already exists"):
            build_from_dump(generated, tmp_path / "kb", OPTIONS)
        assert not work.exists()

    def test_only_one_at_a_time(self, generated, tmp_path):
        def again(*_):
            build_from_dump(generated, tmp_path / "kb", OPTIONS, workers=0)

        with pytest.raises(StorageError, match="another process is building this knowledge base"):
            build_from_dump(generated, tmp_path / "kb", OPTIONS, workers=0, progress=again)

    def test_a_staged_state_is_that_of_its_last_commit(self, tmp_path):
        with Staging(tmp_path / "staging") as staging:
            staging.begin()
            staging.add_labels([(1, "A")])
        with Staging(tmp_path / "staging") as staging:
            assert staging.position("items") == (0, 1, False)
            assert staging.num_items() == 0


SCRIPT = """
import sys
from pathlib import Path
from dualway.kb import dump_build
from dualway.sources.wikidata import DumpOptions
dump_build.COMMIT_BYTES, dump_build.COMMIT_ENTITIES, dump_build.SLICE = 1_000_000, 300, 100
if __name__ == "__main__":
    options = DumpOptions(languages=("en", "mul", "de"))
    def told(name, done, total):
        print(name, flush=True)
    dump_build.build_from_dump(Path(sys.argv[1]), Path(sys.argv[2]), options, workers=2, progress=told)
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(what, seconds=20.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


class TestProcesses:
    def start(self, generated, tmp_path):
        (tmp_path / "build.py").write_text(SCRIPT)
        command = [sys.executable, str(tmp_path / "build.py"), str(generated), str(tmp_path / "kb")]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_killed_it_goes_on_and_nobody_outlives_it(self, generated, whole, tmp_path):
        for part in ("items", "entities"):
            with self.start(generated, tmp_path) as process:
                while process.stdout.readline().strip() != part:
                    pass
                pids = list(family(process.pid))
                process.kill()
            assert len(pids) >= 3
            wait_until(lambda pids=pids: not any(map(alive, pids)))
            assert not (tmp_path / "kb").exists()
        with self.start(generated, tmp_path) as process:
            assert process.wait() == 0, process.stderr.read()
        assert contents(tmp_path / "kb") == contents(whole[0])

    def test_ctrl_c_ends_all_and_leaves_what_was_done(self, generated, tmp_path):
        with self.start(generated, tmp_path) as process:
            process.stdout.readline()
            pids = list(family(process.pid))
            process.send_signal(signal.SIGINT)
            _, words = process.communicate(timeout=20)
        assert process.returncode != 0
        assert "KeyboardInterrupt" in words
        wait_until(lambda: not any(map(alive, pids)))
        assert (tmp_path / ".kb.building").is_dir()

    def test_one_that_dies_ends_the_build(self):
        with pytest.raises(StorageError, match=r"died \(exit code 7\).*give the same command again"):
            list(dump_workers.in_order([b"live"] * 20 + [b"die"] + [b"live"] * 20, make_mortal, 7, 2))

    def test_results_come_in_the_order_of_tasks(self):
        tasks = [str(n).encode() for n in random.Random(0).sample(range(100), 60)]
        expected = [task * 100_000 for task in tasks]  # larger than a pipe holds, both ways
        assert list(dump_workers.in_order([task * 50_000 for task in tasks], make_slow, None, 3)) == expected
        assert list(dump_workers.in_order([], make_slow, None, 2)) == []

    def test_errors_come_from_there(self):
        with pytest.raises(DataError, match="not this"):
            list(dump_workers.in_order([b"x"], make_refusing, None, 1))

    def test_how_many(self):
        assert dump_workers.choose_workers(0) == 0
        assert 1 <= dump_workers.choose_workers(None) <= dump_workers.MAX_WORKERS


def make_mortal(code):
    def work(task):
        if task == b"die":
            os._exit(code)
        return task

    return work


def make_slow(_):
    def work(task):
        time.sleep(task[0] % 7 / 500)
        return task * 2

    return work


def make_refusing(_):
    def work(task):
        raise DataError("not this")

    return work
