"""`dualway kb enrich` and `kb refresh`, as they are typed."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.cli.calls import COMMAND, call, read_lines, write_lines
from tests.sources.mediawiki_server import Wiki, serving

from dualway.datasets import open_dataset
from dualway.kb.store import KnowledgeBase

DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">
<siteinfo><dbname>enwiki</dbname></siteinfo>
<page><title>Jodie Foster</title><ns>0</ns><id>1</id><revision><id>{revision}</id>
<timestamp>2026-01-01T00:00:00Z</timestamp>
<text xml:space="preserve">'''Jodie Foster''' (born 1962) is an {what}.</text></revision></page>
</mediawiki>
"""
ABSTRACT = (
    "<http://dbpedia.org/resource/Jodie_Foster> <http://dbpedia.org/ontology/abstract> "
    '"Jodie Foster is an American actress."@en .\n'
)


@pytest.fixture(autouse=True)
def _online(monkeypatch):
    """The wiki on this machine may be asked, whatever the environment of the tests forbids; children inherit it."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def kb(tmp_path) -> Path:
    source = write_lines(tmp_path / "e.jsonl", [{"id": "Q1", "name": "Jodie Foster"}, {"id": "Q2", "name": "Nobody"}])
    assert call("kb", "build", source, "--out", tmp_path / "kb").code == 0
    return tmp_path / "kb"


class TestSources:
    def test_from_a_dump_and_again(self, kb, tmp_path):
        dump = tmp_path / "d.xml"
        dump.write_text(DUMP.format(revision=1, what="actress"), encoding="utf-8")
        done = call("kb", "enrich", kb, dump)
        assert done.code == 0, done.err
        assert "1 of 2 entities have a text of wikipedia:en" in done.out
        assert "without                  1   50.00 %\n  no such page           1   50.00 %" in done.out
        assert "those without stay" in done.out
        assert call("kb", "represent", kb, "static").code == 0
        dump.write_text(DUMP.format(revision=2, what="actress and director"), encoding="utf-8")
        dry = call("kb", "refresh", kb, dump, "--dry-run", "--report", tmp_path / "drift.jsonl", "--json")
        assert (dry.json["newer"], dry.json["dry_run"], dry.json["revision"]) == (1, True, 3)
        (line,) = read_lines(tmp_path / "drift.jsonl")
        assert (line["entity_id"], line["what"], line["new_revision"]) == ("Q1", "changed", "2")
        done = call("kb", "refresh", kb, dump, "--report", tmp_path / "drift.md")
        assert "now  Jodie Foster (born 1962) is an actress and director." in done.out
        assert "revision 4" in done.out
        assert "| Q1 Jodie Foster | static |" in (tmp_path / "drift.md").read_text(encoding="utf-8")
        dump.write_text(DUMP.format(revision=1, what="actress"), encoding="utf-8")
        assert "1 texts are newer here than in the source, and stay" in call("kb", "refresh", kb, dump).out

    def test_from_a_table_with_those_without_dropped(self, kb, tmp_path):
        table = write_lines(tmp_path / "t.jsonl", [{"id": "Q2", "text": "Nobody is somebody.", "rank": 1}])
        done = call("kb", "enrich", kb, table, "--from", "table", "--without-text", "drop", "--as", "profile", "--json")
        assert (done.json["with_text"], done.json["unanswered"]) == (1, {"no such page": ["Q1"]})
        assert (done.json["lacking"], done.json["dropped"], done.json["share_without"]) == (["Q1"], True, 50.0)
        assert "unknown 'rank', not read" in done.err
        assert call("kb", "show", kb, "Q1").code != 0
        assert "profile" in call("kb", "show", kb, "Q2").out

    def test_from_dbpedia(self, kb, tmp_path):
        abstracts = tmp_path / "long-abstracts_lang=en.ttl"
        abstracts.write_text(ABSTRACT, encoding="utf-8")
        done = call("kb", "enrich", kb, abstracts, "--from", "dbpedia", "--language", "en", "--json")
        assert (done.code, done.json["with_text"], done.json["source"]) == (0, 1, "dbpedia:en"), done.err
        assert "is an American actress" in call("kb", "show", kb, "Q1").out
        abstracts.write_text(ABSTRACT.replace("American actress", "American director"), encoding="utf-8")
        done = call("kb", "refresh", kb, abstracts, "--from", "dbpedia", "--language", "en")
        assert "1 newer, 1 changed" in done.out
        assert "is an American director" in call("kb", "show", kb, "Q1").out

    def test_from_a_web_service(self, tmp_path):
        source = write_lines(tmp_path / "e.jsonl", [{"id": "a", "name": "Jodie Foster"}, {"id": "b", "name": "Nobody"}])
        assert call("kb", "build", source, "--out", tmp_path / "kb").code == 0
        page = {"id": 1, "rev": 7, "text": "Jodie Foster is an American actress."}
        with serving(Wiki(pages={"Jodie Foster": page})) as wiki:
            service = ["--from", "wikipedia", "--language", "en", "--endpoint", wiki.address]
            service += ["--user-agent", "test/1.0 (test@example.org)"]
            done = call("kb", "enrich", tmp_path / "kb", *service, "--json")
            assert (done.code, done.json["with_text"], done.json["without"]) == (0, 1, {"no such page": 1}), done.err
            assert set(wiki.agents) == {"test/1.0 (test@example.org)"}
            page.update(rev=8, text="Jodie Foster is an American film director.")
            done = call("kb", "refresh", tmp_path / "kb", *service, "--json")
        (drift,) = done.json["drifted"]
        assert (drift["old_revision"], drift["new_revision"]) == ("7", "8")


class TestCost:
    @pytest.fixture
    def data(self, tmp_path) -> Path:
        folder = tmp_path / "data"
        folder.mkdir()
        gold = {"train": ["Q1", "Q1", "Q2", None], "dev": ["Q2"]}
        for split, ids in gold.items():
            record = {"text": "Foster acts", "surface": "Foster"}
            write_lines(
                folder / f"{split}.jsonl", [{**record, "id": f"{split}{n}", "entity_id": i} for n, i in enumerate(ids)]
            )
        return folder

    def test_to_a_data_set(self, kb, data, tmp_path):
        table = write_lines(tmp_path / "t.jsonl", [{"id": "Q1", "text": "Foster is an actress."}])
        done = call("kb", "enrich", kb, table, "--from", "table", "--data", data)
        assert "data set, train: 1 of 3 mentions (33.33 %) would lose their gold" in done.out
        assert "data set, dev: 1 of 1 mentions (100.00 %) would lose their gold" in done.out
        done = call(
            *("kb", "enrich", kb, table, "--from", "table", "--data", data / "train.jsonl"),
            *("--without-text", "drop", "--only-missing", "--json"),
        )
        assert (done.json["asked"], done.json["lacking"]) == (1, ["Q2"])
        assert done.json["data"] == {"train": {"mentions": 3, "lost": 1, "share": 33.33}}

    def test_a_data_set_that_is_none_is_told_before_the_work(self, kb, tmp_path):
        table = write_lines(tmp_path / "t.jsonl", [{"id": "Q1", "text": "Foster is an actress."}])
        (tmp_path / "empty").mkdir()
        assert call("kb", "enrich", kb, table, "--from", "table", "--data", tmp_path / "empty").code == 3
        assert json.loads((kb / "manifest.json").read_text())["revision"] == 1


class TestRefused:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["--from", "wikipedia-dump"],
            ["x.xml", "--from", "rumours"],
            ["a", "b"],
            ["x.xml", "--max-chars", "0"],
            ["--from", "wikipedia"],
            ["x.xml", "--from", "wikipedia", "--language", "en"],
            ["--from", "wikipedia", "--language", "en", "--user-agent", "nobody"],
            ["a.ttl", "--from", "dbpedia"],
            ["--from", "dbpedia", "--language", "en"],
            ["x.jsonl", "--from", "table", "--user-agent", "x/1.0 (x@example.org)"],
        ],
    )
    @pytest.mark.parametrize("command", ["enrich", "refresh"])
    def test_calls_that_make_no_sense(self, kb, command, arguments, monkeypatch):
        monkeypatch.delenv("DUALWAY_USER_AGENT", raising=False)
        assert call("kb", command, kb, *arguments).code == 2

    @pytest.mark.parametrize(
        ("command", "arguments"),
        [
            ("enrich", ["--as", "two words"]),
            ("enrich", ["--without-text", "lose"]),
            ("refresh", ["--older-than", "yesterday"]),
            ("refresh", ["--gone", "burn"]),
        ],
    )
    def test_values_that_are_none(self, kb, tmp_path, command, arguments):
        table = write_lines(tmp_path / "t.jsonl", [{"id": "Q1", "text": "x"}])
        assert call("kb", command, kb, table, "--from", "table", *arguments).code == 2

    @pytest.mark.parametrize("command", ["enrich", "refresh"])
    def test_sources_and_places_that_are_none(self, kb, tmp_path, command):
        (tmp_path / "d.xml").write_text("<html>")
        done = call("kb", command, kb, tmp_path / "d.xml")
        assert done.code == 3
        assert "d.xml" in done.err
        table = write_lines(tmp_path / "t.jsonl", [{"id": "Q1", "text": "x"}])
        assert call("kb", command, tmp_path / "data", table, "--from", "table").code == 4
        assert call("kb", command, kb, tmp_path / "none.jsonl", "--from", "table").code == 3

    def test_a_report_is_checked_before_the_work(self, kb, tmp_path):
        table = write_lines(tmp_path / "t.jsonl", [{"id": "Q1", "text": "x"}])
        assert call("kb", "refresh", kb, table, "--from", "table", "--report", tmp_path).code == 7


def test_killed_and_given_again(tmp_path):
    """A web service that stops answering, a call that is killed, and the same call again."""
    names = [f"N{n}" for n in range(120)]
    source = write_lines(tmp_path / "e.jsonl", [{"id": name, "name": name} for name in names])
    assert call("kb", "build", source, "--out", tmp_path / "kb").code == 0
    pages = {name: {"id": n, "rev": n, "text": f"{name} is a number."} for n, name in enumerate(names, start=1)}
    with serving(Wiki(pages=pages, per_answer=20)) as wiki:
        service = ["--from", "wikipedia", "--language", "en", "--endpoint", wiki.address]
        command = ["kb", "enrich", tmp_path / "kb", *service, "--user-agent", "test/1.0 (test@example.org)"]
        with subprocess.Popen([*COMMAND, *map(str, command)], stderr=subprocess.DEVNULL) as process:
            journal = tmp_path / ".kb.enrich"
            until = time.monotonic() + 60
            while time.monotonic() < until and not (journal.exists() and len(journal.read_bytes().splitlines()) > 1):
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
        held = len(journal.read_bytes().splitlines()) - 1
        assert 0 < held < 120
        before = len(wiki.asked)
        done = call(*command, "--json")
    assert (done.json["resumed"], done.json["with_text"]) == (held, 120)
    assert len(wiki.asked) > before
    assert f"going on after {held} of 120 answers" in done.err


@pytest.mark.realdata
def test_what_wikimel_would_lose(realdata, tmp_path):
    """Every fortieth entity has no text: the counts are those of a plain loop over the published file."""
    assert call("kb", "build", realdata / "wikimel", "--out", tmp_path / "kb").code == 0
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        ids = kb.ids
    lacking = set(ids[::40])
    table = write_lines(tmp_path / "t.jsonl", [{"id": i, "text": f"{i} is somebody."} for i in ids if i not in lacking])
    train = realdata / "wikimel" / "Wikidata-MEL.train.json"
    done = call("kb", "enrich", tmp_path / "kb", table, "--from", "table", "--data", train, "--json")
    assert (done.json["asked"], done.json["with_text"]) == (18_880, 18_880 - len(lacking))
    assert set(done.json["lacking"]) == lacking
    data = open_dataset(train)
    lost = [i for i in data.gold.values() if i in lacking]
    (loss,) = done.json["data"].values()
    assert (loss["mentions"], loss["lost"]) == (len([i for i in data.gold.values() if i is not None]), len(lost))
    assert 0 < loss["lost"] < loss["mentions"] / 10
