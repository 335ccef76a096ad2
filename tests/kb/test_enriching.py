"""Texts from a source: each entity answered once, killed and gone on; and what the source changed since."""

import dataclasses
import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dualway.errors import DataError, KnowledgeBaseError, UsageError
from dualway.kb.changes import changing
from dualway.kb.enriching import enrich, wanted_of
from dualway.kb.refreshing import refresh, similarity
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Field, Representation
from dualway.sources.text_table import TextTable
from dualway.sources.texts import Found

LINES = [
    {"id": "Q42", "text": "Douglas Adams (/ˈædəmz/; born 1952) was an author.[1]", "revision": "1", "licence": "CC0"},
    {"title": "Adam Smith", "text": "For other uses, see Smith.\nAdam Smith was an economist.", "revision": "7"},
    {"title": "George the Great", "text": "George is a king.", "revision": "3"},
    {"id": "Q1373", "text": "Umm may refer to:\nA list"},
]


@pytest.fixture
def folder(tmp_path, people) -> Path:
    people[2] = dataclasses.replace(people[2], fields=(Field("wikipedia:t.jsonl", "George_the Great"),))
    KnowledgeBase.create(tmp_path / "kb", people).close()
    return tmp_path / "kb"


@pytest.fixture
def table(tmp_path) -> Path:
    return write(tmp_path / "t.jsonl", LINES)


def write(path: Path, lines) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


class TestEnrich:
    def test_texts_and_the_report(self, folder, table):
        seen = []
        report = enrich(folder, TextTable(table, language="en"), progress=lambda *a: seen.append(a))
        assert (report.asked, report.with_text, report.changed, report.revision) == (6, 4, 4, 2)
        assert report.without == {"disambiguation page": 1, "no such page": 1}
        assert report.unanswered["disambiguation page"] == ["Q1373"]
        assert report.to_dict()["share_without"] == 33.33
        assert seen[-1] == (6, 6)
        with KnowledgeBase.open(folder) as kb:
            kb.check()
            (text,) = kb.entity("Q42").representations
            assert text.text == "Douglas Adams (born 1952) was an author."
            assert (text.kind, text.source, text.revision, text.licence) == ("static", "table:t.jsonl", "1", "CC0")
            assert len(kb.entity("Q9294").representations) == 4
            assert kb.entity("Q9294").representations[-1].text == "Adam Smith was an economist."
            assert kb.entity("Q23505").representations[0].text == "George is a king."
            assert kb.revisions()[-1].what == "4 texts from table:t.jsonl, 2 without"
        assert list(folder.parent.glob(".kb.*")) == []

    def test_again_changes_nothing(self, folder, table):
        enrich(folder, TextTable(table))
        report = enrich(folder, TextTable(table))
        assert (report.changed, report.revision) == (0, 2)

    def test_those_without_are_dropped_when_asked(self, folder, table):
        report = enrich(folder, TextTable(table), policy="drop", kind="profile")
        assert report.dropped
        with KnowledgeBase.open(folder) as kb:
            assert kb.ids == ["Q9294", "Q350735", "Q23505", "Q42"]
            assert kb.kinds["profile"] == 4

    def test_some_alone(self, folder, table):
        assert enrich(folder, TextTable(table), ids=["Q42"]).asked == 1
        with pytest.raises(KnowledgeBaseError, match="'Q43'"):
            enrich(folder, TextTable(table), ids=["Q43"])
        with pytest.raises(UsageError, match="policy"):
            enrich(folder, TextTable(table), policy="lose")

    @pytest.mark.parametrize("lie", ["twice", "stranger", "silence"])
    def test_a_source_that_lies(self, folder, lie):
        class Liar:
            name = "liar:en"

            def texts(self, wanted):
                answers = [Found(one.entity_id, problem="none") for one in wanted]
                yield from {
                    "twice": [*answers, answers[0]],
                    "stranger": [*answers, Found("Q0")],
                    "silence": answers[1:],
                }[lie]

            def revisions(self, wanted):
                return {}

        with pytest.raises(DataError, match=r"twice|not asked for|no answer"):
            enrich(folder, Liar())
        with KnowledgeBase.open(folder) as kb:
            assert kb.revision == 1

    def test_an_entity_removed_meanwhile(self, folder, table):
        class Slow(TextTable):
            def texts(self, wanted):
                with changing(folder) as change:
                    change.remove("Q42")
                yield from super().texts(wanted)

        assert enrich(folder, Slow(table)).changed == 3

    def test_killed_and_gone_on(self, tmp_path):
        KnowledgeBase.create(tmp_path / "kb", [Entity(f"Q{n + 1}", f"n{n}") for n in range(1000)]).close()
        write(tmp_path / "t.jsonl", [{"id": f"Q{n + 1}", "text": f"Number {n} is one."} for n in range(1000)])
        script = textwrap.dedent(
            """
            import sys, time
            from pathlib import Path
            from dualway.kb.enriching import enrich
            from dualway.sources.text_table import TextTable
            class Slow(TextTable):
                def texts(self, wanted):
                    for n, found in enumerate(super().texts(wanted)):
                        if n == 650: print(flush=True); time.sleep(60)
                        yield found
            enrich(Path(sys.argv[1]) / "kb", Slow(Path(sys.argv[1]) / "t.jsonl"))
            """
        )
        with subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        journal = tmp_path / ".kb.enrich"
        with journal.open("ab") as file:
            file.write(b'{"entity_id": "Q9')  # as a kill in the middle of a line leaves it
        report = enrich(tmp_path / "kb", TextTable(tmp_path / "t.jsonl"))
        assert (report.resumed, report.with_text, report.changed) == (600, 1000, 1000)
        assert not journal.exists()

    def test_another_question_begins_afresh(self, folder, table):
        journal = folder.parent / ".kb.enrich"
        journal.write_text('{"source": "other"}\n{"entity_id": "Q42", "representation": null, "problem": "x"}\n')
        report = enrich(folder, TextTable(table))
        assert (report.resumed, report.with_text) == (0, 4)


class TestRefresh:
    def test_what_changed_is_read_again(self, folder, table):
        enrich(folder, TextTable(table, language="en"))
        lines = [dict(line) for line in LINES]
        lines[0] |= {"text": "Douglas Adams was a writer of comedy.", "revision": "2"}
        lines[1] |= {"revision": "8"}
        del lines[2]
        source = TextTable(write(table, lines), language="en")
        dry = refresh(folder, source, dry_run=True)
        report = refresh(folder, source)
        assert (report.checked, report.newer, report.vanished) == (4, 3, {"Q23505": "no such page"})
        assert [(d.entity_id, d.old_revision, d.new_revision) for d in report.drifted] == [("Q42", "1", "2")]
        assert 0.3 < report.drifted[0].similarity < 0.9
        assert (dry.drifted, dry.revision, report.revision) == (report.drifted, 2, 3)
        with KnowledgeBase.open(folder) as kb:
            assert kb.entity("Q42").representations[0].text == "Douglas Adams was a writer of comedy."
            assert kb.entity("Q23505").representations[0].text == "George is a king."
            assert kb.entity("Q9294").representations[-1].revision == "8"
        assert refresh(folder, source).newer == 0

    def test_nothing_of_that_source(self, folder, table):
        report = refresh(folder, TextTable(table))
        assert (report.checked, report.mean_similarity, report.revision) == (0, 1.0, 1)

    def test_similarity(self):
        assert similarity("An American actor.", "an american  actor") == 1.0
        assert similarity("An actor.", "Quantum physics") < 0.5


class TestTable:
    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ([1], "expected an object"),
            ({"text": "x"}, "neither id nor title"),
            ({"id": 5, "text": "x"}, "no text; put it in quotes"),
            ({"id": "Q42", "text": "again"}, "was given before"),
        ],
    )
    def test_broken_lines_are_named(self, tmp_path, line, problem):
        path = write(tmp_path / "t.jsonl", [LINES[0], line])
        with pytest.raises(DataError, match=problem) as error:
            TextTable(path)
        assert "line 2" in str(error.value)


def test_what_is_known_of_a_page(tmp_path):
    entities = [
        Entity("Q1", "Universe", fields=(Field("wikipedia:en", "The Universe"), Field("wikipedia:de", "Universum"))),
        Entity("M-1", "Own", representations=(Representation("static", "x"),)),
    ]
    with KnowledgeBase.create(tmp_path / "kb", entities) as kb:
        first, second = wanted_of(kb, "de")
        assert (first.title, first.wikidata_id) == ("Universum", "Q1")
        assert (second.title, second.wikidata_id, second.name) == (None, None, "Own")


def test_two_at_once(folder, table):
    import threading

    entered, leave = threading.Event(), threading.Event()

    class Waiting(TextTable):
        def texts(self, wanted):
            entered.set()
            leave.wait(10)
            yield from super().texts(wanted)

    thread = threading.Thread(target=lambda: enrich(folder, Waiting(table)))
    thread.start()
    entered.wait(10)
    with pytest.raises(Exception, match="another process is asking"):
        enrich(folder, TextTable(table))
    leave.set()
    thread.join()
