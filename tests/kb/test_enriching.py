"""Texts from a source: each entity answered once, killed and gone on, whatever others do meanwhile."""

import dataclasses
import json
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from dualway.datasets.base import Dataset, ReadReport
from dualway.errors import DataError, DownloadError, KnowledgeBaseError, StorageError, UsageError
from dualway.kb.changes import changing
from dualway.kb.enriching import EnrichReport, enrich, forget_answers, gold_loss, wanted_of, wiki_of, with_text
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Field, Picture, Representation
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
    people[2] = dataclasses.replace(people[2], fields=(Field("wikipedia:en", "George_the Great"),))
    KnowledgeBase.create(tmp_path / "kb", people).close()
    return tmp_path / "kb"


@pytest.fixture
def table(tmp_path) -> Path:
    return write(tmp_path / "t.jsonl", LINES)


def write(path: Path, lines) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def numbers(tmp_path, count=1000) -> Path:
    """A knowledge base of Q1 .. and a table with a text for each."""
    KnowledgeBase.create(tmp_path / "kb", [Entity(f"Q{n + 1}", f"n{n}") for n in range(count)]).close()
    write(tmp_path / "t.jsonl", [{"id": f"Q{n + 1}", "text": f"Number {n} is one."} for n in range(count)])
    return tmp_path / "kb"


class Answers:
    """A source of given answers, texts by id; after so many of them the network is gone."""

    name = "wikipedia:en"

    def __init__(self, texts, stop_after=None):
        self.given, self.stop_after, self.asked = texts, stop_after, []

    def texts(self, wanted):
        for number, one in enumerate(wanted):
            if number == self.stop_after:
                raise DownloadError("no network")
            self.asked.append(one.entity_id)
            text = self.given.get(one.entity_id)
            found = None if text is None else Representation("static", text, self.name, "en", "1")
            yield Found(one.entity_id, found, "" if text else "no such page")

    def revisions(self, wanted):
        return {one.entity_id: "1" for one in wanted}


class TestTexts:
    def test_texts_and_the_report(self, folder, table):
        seen = []
        report = enrich(folder, TextTable(table, language="en"), progress=lambda *a: seen.append(a))
        assert (report.asked, report.with_text, report.changed, report.revision) == (6, 4, 4, 2)
        assert report.without == {"disambiguation page": 1, "no such page": 1}
        assert report.unanswered["disambiguation page"] == ["Q1373"]
        assert report.lacking == ["Q1001"]  # Q1373 has a static text from elsewhere
        assert report.to_dict()["share_without"] == 33.33
        assert report.shared == 2  # both are called Adam Smith, and only one of them can be meant
        assert report.behind == 1  # Q9294: its first static text is another one
        assert seen[-1] == (6, 6)
        with KnowledgeBase.open(folder) as kb:
            kb.check()
            (text,) = kb.entity("Q42").representations
            assert text.text == "Douglas Adams (born 1952) was an author."
            assert (text.kind, text.source, text.revision, text.licence) == ("static", "table:t.jsonl", "1", "CC0")
            assert text.created_at
            assert len(kb.entity("Q9294").representations) == 4
            assert kb.entity("Q9294").representations[-1].text == "Adam Smith was an economist."
            assert kb.entity("Q23505").representations[0].text == "George is a king."
            assert kb.revisions()[-1].what == "4 static texts from table:t.jsonl, 2 without"
        assert list(folder.parent.glob(".kb.*")) == []

    def test_again_changes_nothing(self, folder, table):
        enrich(folder, TextTable(table))
        with KnowledgeBase.open(folder) as kb:
            before = kb.entity("Q42").representations
        report = enrich(folder, TextTable(table))
        assert (report.changed, report.revision) == (0, 2)
        with KnowledgeBase.open(folder) as kb:
            assert kb.entity("Q42").representations == before

    def test_some_alone(self, folder, table):
        assert enrich(folder, TextTable(table), ids=["Q42", "Q42"]).asked == 1
        with pytest.raises(KnowledgeBaseError, match="'Q43'"):
            enrich(folder, TextTable(table), ids=["Q43"])

    def test_only_those_without_such_a_text(self, folder):
        enrich(folder, Answers({"Q42": "An author."}))
        report = enrich(folder, source := Answers({"Q1001": "A lawyer."}), replace_existing=False)
        assert "Q42" not in source.asked
        assert (report.asked, report.with_text) == (5, 1)

    @pytest.mark.parametrize(("option", "value"), [("policy", "lose"), ("kind", "two words"), ("kind", "a,b")])
    def test_calls_that_make_no_sense_are_refused_before_the_work(self, folder, option, value):
        source = Answers({})
        with pytest.raises(UsageError, match=value):
            enrich(folder, source, **{option: value})
        assert source.asked == []

    def test_what_is_no_knowledge_base_gets_no_lock(self, tmp_path):
        (tmp_path / "photos").mkdir()
        with pytest.raises(KnowledgeBaseError):
            enrich(tmp_path / "photos", Answers({}))
        assert list(tmp_path.rglob("*")) == [tmp_path / "photos"]

    def test_hostile_text_is_kept_as_text(self, folder):
        texts = {
            "Q42": "a\nb\u2028c\x85d",
            "Q1001": "\ud800 lone \x00 nul \x1b[31m",
            "Q1373": " \n\t ",
            "Q23505": "x" * 2_000_000,
        }
        report = enrich(folder, Answers(texts, stop_after=4), ids=["Q42"])
        assert report.with_text == 1
        with pytest.raises(DownloadError):
            enrich(folder, Answers(texts, stop_after=5))
        report = enrich(folder, Answers(texts))
        assert (report.resumed, report.with_text, report.without) == (5, 3, {"no text": 1, "no such page": 2})
        with KnowledgeBase.open(folder) as kb:
            kb.check()
            assert kb.entity("Q42").representations[-1].text == texts["Q42"]
            assert kb.entity("Q1001").representations[-1].text == "\ufffd lone \ufffd nul \x1b[31m"
            assert len(kb.entity("Q23505").representations[-1].text) == 2_000_000

    def test_texts_cut_within_a_sentence_are_counted(self, folder, table):
        assert enrich(folder, TextTable(table, max_chars=20)).cut == 3


class TestThoseWithout:
    def test_are_dropped_when_asked(self, folder, table):
        report = enrich(folder, TextTable(table, language="en"), policy="drop", kind="profile")
        assert report.dropped
        assert report.lacking == ["Q1001", "Q1373"]
        with KnowledgeBase.open(folder) as kb:
            assert kb.ids == ["Q9294", "Q350735", "Q23505", "Q42"]
            assert kb.kinds["profile"] == 4
            assert kb.revisions()[-1].what.endswith("2 without, 2 removed")
            kb.check()

    def test_one_with_a_text_of_this_kind_from_elsewhere_stays(self, folder, table):
        enrich(folder, TextTable(table), policy="drop")
        with KnowledgeBase.open(folder) as kb:
            assert "Q1373" in kb
            assert "Q1001" not in kb

    def test_nobody_left_is_no_answer(self, folder):
        with pytest.raises(KnowledgeBaseError, match="nobody would be left"):
            enrich(folder, Answers({}), policy="drop", kind="profile")
        with KnowledgeBase.open(folder) as kb:
            assert (len(kb), kb.revision) == (6, 1)
        assert enrich(folder, Answers({}), kind="profile").resumed == 6

    def test_what_it_costs_a_data_set(self):
        report = EnrichReport(lacking=["Q1", "Q2"])
        gold = {"a": "Q1", "b": None, "c": "Q1", "d": "Q3", "e": "Q9"}
        data = Dataset("x", "train", [], gold, ReadReport(Path("x")), Path())
        (loss,) = gold_loss([data], report).values()
        assert (loss.mentions, loss.lost, loss.share) == (4, 2, 50.0)
        assert gold_loss([dataclasses.replace(data, gold={})], report)["train"].share == 0.0


class Liar(Answers):
    def __init__(self, lie):
        super().__init__({"Q42": "An author."})
        self.lie = lie

    def texts(self, wanted):
        answers = list(super().texts(wanted))
        foreign = Found(answers[0].entity_id, Representation("static", "x", "dbpedia:en"))
        yield from {
            "twice": [*answers, answers[0]],
            "stranger": [answers[0], Found("Q0"), *answers[1:]],
            "silence": answers[1:],
            "foreign": [foreign, *answers[1:]],
        }[self.lie]


class TestSourcesThatLie:
    @pytest.mark.parametrize(
        ("lie", "told"),
        [
            ("twice", "'Q9294': wikipedia:en: answered twice"),
            ("stranger", "'Q0': wikipedia:en: answered twice, or for somebody who was not asked for"),
            ("foreign", "another source, 'dbpedia:en'"),
        ],
    )
    def test_nothing_of_theirs_is_believed(self, folder, lie, told):
        with pytest.raises(DataError, match=told):
            enrich(folder, Liar(lie))
        with KnowledgeBase.open(folder) as kb:
            assert kb.revision == 1
        assert enrich(folder, Answers({})).resumed == 0

    def test_who_is_not_answered_for_is_asked_for_again(self, folder):
        with pytest.raises(DataError, match=r"'Q9294': wikipedia:en: gave no answer for 1 entities"):
            enrich(folder, Liar("silence"))
        report = enrich(folder, source := Answers({"Q9294": "An economist."}))
        assert (source.asked, report.resumed, report.with_text) == (["Q9294"], 5, 2)


class TestGoingOn:
    def test_killed_and_gone_on(self, tmp_path):
        folder = numbers(tmp_path)
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
        held = len(journal.read_bytes().splitlines()) - 1
        assert 600 <= held <= 650  # written after every 200, and on a slow machine in between
        with journal.open("ab") as file:
            file.write(b'{"entity_id": "Q9')  # as a kill in the middle of a line leaves it
        with KnowledgeBase.open(folder) as kb:
            assert kb.revision == 1
        notes = []
        report = enrich(folder, TextTable(tmp_path / "t.jsonl"), note=notes.append)
        assert (report.resumed, report.with_text, report.changed, report.revision) == (held, 1000, 1000, 2)
        assert notes == [f"going on after {held} of 1,000 answers"]
        assert not journal.exists()
        once = numbers(tmp_path / "once")
        enrich(once, TextTable(tmp_path / "once" / "t.jsonl"))
        with KnowledgeBase.open(folder) as kb, KnowledgeBase.open(once) as other:
            assert kb.fingerprint == other.fingerprint

    def test_a_broken_connection_costs_no_answer(self, folder):
        with pytest.raises(DownloadError):
            enrich(folder, Answers({"Q9294": "An economist."}, stop_after=4))
        report = enrich(folder, source := Answers({"Q42": "An author."}))
        assert (report.resumed, report.with_text, source.asked) == (4, 2, ["Q1373", "Q42"])

    def test_the_knowledge_base_changed_in_between(self, folder):
        """Answers hold for those who are asked for in the same words; who was renamed is asked for again."""
        with pytest.raises(DownloadError):
            enrich(folder, Answers({"Q9294": "An economist.", "Q350735": "Old.", "Q23505": "A king."}, stop_after=4))
        with changing(folder) as change:
            change.update(dataclasses.replace(change.entity("Q9294"), aliases=("Smith",)))
            renamed = (Field("wikipedia:en", "Adam Smith (politician)"),)
            change.update(dataclasses.replace(change.entity("Q350735"), fields=renamed))
            change.remove("Q23505")
            change.add(Entity("Q7", "New"))
        report = enrich(folder, source := Answers({"Q350735": "A politician."}))
        assert (report.resumed, source.asked) == (2, ["Q350735", "Q1373", "Q42", "Q7"])
        with KnowledgeBase.open(folder) as kb:
            assert kb.revision == 3
            assert kb.entity("Q9294").aliases == ("Smith",)
            assert kb.entity("Q9294").representations[-1].text == "An economist."
            assert kb.entity("Q350735").representations[-1].text == "A politician."
            assert "Q23505" not in kb

    def test_others_change_it_while_it_is_asked(self, folder):
        class Slow(Answers):
            def texts(self, wanted):
                yield from super().texts(wanted)
                with changing(folder) as change:
                    change.remove("Q42")
                    change.update(dataclasses.replace(change.entity("Q1001"), name="Gandhi"))

        report = enrich(folder, Slow({"Q42": "x", "Q1001": "y", "Q1373": "z"}), policy="keep")
        assert sorted(report.passed_over) == ["Q1001", "Q42"]
        assert report.changed == 1
        with KnowledgeBase.open(folder) as kb:
            assert kb.entity("Q1001").representations == ()

    @pytest.mark.parametrize("other", [{"settings": "1 paragraph"}, {"kind": "profile"}])
    def test_another_question_begins_afresh(self, folder, other):
        with pytest.raises(DownloadError):
            enrich(folder, Answers({}, stop_after=4))
        notes = []
        assert enrich(folder, Answers({"Q42": "x"}), note=notes.append, **other).resumed == 0
        assert "4 answers of another call" in notes[0]

    @pytest.mark.parametrize(
        "line",
        [
            b"\xff\xfe\n",
            b"[" * 100_000 + b"\n",
            b'{"key": "KEY", "entity_id": "Q42", "problem": 5, "representation": null}\n',
            b'{"key": "KEY", "entity_id": "Q42", "problem": "", "representation": {"kind": "static", "text": NaN}}\n',
            b'{"key": "KEY", "entity_id": "Q42", "problem": "", "representation": {"kind": "static", "extra": ""}}\n',
            b"null\n",
        ],
    )
    def test_a_damaged_journal_is_believed_up_to_the_damage(self, folder, line):
        with pytest.raises(DownloadError):
            enrich(folder, Answers({}, stop_after=3))
        journal = folder.parent / ".kb.enrich"
        lines = journal.read_bytes().splitlines(keepends=True)
        key = json.loads(lines[2])["key"].encode()
        journal.write_bytes(b"".join([*lines[:2], line.replace(b"KEY", key), *lines[2:]]))
        assert enrich(folder, Answers({})).resumed == 1

    def test_a_link_in_place_of_the_journal_is_not_followed(self, folder, tmp_path):
        (tmp_path / "precious").write_text("x")
        (tmp_path / ".kb.enrich").symlink_to(tmp_path / "precious")
        with pytest.raises(StorageError, match="a link"):
            enrich(folder, Answers({}))
        with pytest.raises(StorageError, match="a link"):
            forget_answers(folder, ["Q42"])
        assert (tmp_path / "precious").read_text() == "x"

    def test_two_at_once(self, folder, table):
        entered, leave = threading.Event(), threading.Event()

        class Waiting(TextTable):
            def texts(self, wanted):
                entered.set()
                leave.wait(10)
                yield from super().texts(wanted)

        thread = threading.Thread(target=lambda: enrich(folder, Waiting(table)))
        thread.start()
        entered.wait(10)
        with pytest.raises(StorageError, match="another process is asking"):
            enrich(folder, TextTable(table))
        with pytest.raises(StorageError, match="another process is asking"):
            forget_answers(folder, ["Q42"])
        leave.set()
        thread.join()


class TestPrivacy:
    def test_who_is_kept_out_or_erased_stays_so(self, folder):
        with changing(folder) as change:
            change.update(dataclasses.replace(change.entity("Q42"), pictures=(Picture("adams.jpg"),)))
            change.keep_out("Q42")
            change.erase("Q9294")
        enrich(folder, Answers({"Q42": "An author.", "Q9294": "An economist."}))
        with KnowledgeBase.open(folder) as kb:
            assert (kb.kept_out, kb.erased) == ({"Q42", "Q9294"}, {"Q9294"})
            assert kb.entity("Q42").pictures == (Picture("adams.jpg"),)
            assert kb.entity("Q9294").pictures == ()

    def test_who_was_erased_does_not_come_back_from_the_journal(self, folder):
        with pytest.raises(DownloadError):
            enrich(folder, Answers({"Q9294": "An economist of Kirkcaldy.", "Q350735": "Another."}, stop_after=3))
        with changing(folder) as change:
            change.remove("Q9294", erase=True)
        journal = folder.parent / ".kb.enrich"
        assert b"Kirkcaldy" in journal.read_bytes()
        assert forget_answers(folder, ["Q9294"]) == 1
        assert b"Kirkcaldy" not in journal.read_bytes()
        assert enrich(folder, Answers({})).resumed == 2
        with KnowledgeBase.open(folder) as kb:
            assert "Q9294" not in kb
        assert forget_answers(folder, ["Q42"]) == 0


class TestTable:
    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ([1], "expected an object"),
            ({"text": "x"}, "neither id nor title"),
            ({"id": 5, "text": "x"}, "no text; put it in quotes"),
            ({"id": "Q5", "text": []}, "no text; put it in quotes"),
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


def test_whose_titles_lead_to_a_text(table):
    assert wiki_of(TextTable(table, language="de")) == "de"
    simple = Answers({})
    simple.name, simple.language = "wikipedia:simple", "en"
    assert wiki_of(simple) == "simple"


def test_a_text_takes_the_place_of_its_like_and_of_no_other():
    like, other = Representation("static", "a", "w", "en"), Representation("static", "b", "w", "de")
    entity = Entity("Q1", "x", representations=(other, like, dataclasses.replace(like, text="twin")))
    new = dataclasses.replace(like, text="new")
    assert with_text(entity, new).representations == (other, new)
    assert with_text(entity, dataclasses.replace(like, created_at="2026")).representations == (other, like)
