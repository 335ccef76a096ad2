"""`dualway kb enrich` and `kb refresh`, as they are typed."""

import json
from pathlib import Path

import pytest
from tests.cli.calls import call, write_lines

DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">
<siteinfo><dbname>enwiki</dbname></siteinfo>
<page><title>Jodie Foster</title><ns>0</ns><id>1</id><revision><id>{revision}</id>
<timestamp>2026-01-01T00:00:00Z</timestamp>
<text xml:space="preserve">'''Jodie Foster''' (born 1962) is an {what}.</text></revision></page>
</mediawiki>
"""


@pytest.fixture
def kb(tmp_path) -> Path:
    source = write_lines(tmp_path / "e.jsonl", [{"id": "Q1", "name": "Jodie Foster"}, {"id": "Q2", "name": "Nobody"}])
    assert call("kb", "build", source, "--out", tmp_path / "kb").code == 0
    return tmp_path / "kb"


def test_from_a_dump_and_again(kb, tmp_path):
    dump = tmp_path / "d.xml"
    dump.write_text(DUMP.format(revision=1, what="actress"), encoding="utf-8")
    done = call("kb", "enrich", kb, dump)
    assert done.code == 0, done.err
    assert "1 of 2 entities have a text of wikipedia:en" in done.out
    assert "1 without (50.00 %), kept" in done.out
    assert call("kb", "represent", kb, "static").code == 0
    dump.write_text(DUMP.format(revision=2, what="actress and director"), encoding="utf-8")
    dry = call("kb", "refresh", kb, dump, "--dry-run", "--report", tmp_path / "drift.jsonl", "--json")
    assert (dry.json["newer"], dry.json["dry_run"], dry.json["revision"]) == (1, True, 3)
    (line,) = map(json.loads, (tmp_path / "drift.jsonl").read_text(encoding="utf-8").splitlines())
    assert (line["entity_id"], line["what"], line["new_revision"]) == ("Q1", "changed", "2")
    done = call("kb", "refresh", kb, dump)
    assert "now  Jodie Foster (born 1962) is an actress and director." in done.out
    assert "revision 4" in done.out


def test_from_a_table_with_those_without_dropped(kb, tmp_path):
    table = write_lines(tmp_path / "t.jsonl", [{"id": "Q2", "text": "Nobody is somebody."}])
    done = call("kb", "enrich", kb, table, "--from", "table", "--without-text", "drop", "--as", "profile", "--json")
    assert (done.json["with_text"], done.json["unanswered"]) == (1, {"no such page": ["Q1"]})
    assert call("kb", "show", kb, "Q1").code != 0
    assert "profile" in call("kb", "show", kb, "Q2").out


@pytest.mark.parametrize(
    "arguments",
    [["--from", "wikipedia-dump"], ["x.xml", "--from", "rumours"], ["a", "b"], ["x.xml", "--max-chars", "0"]],
)
def test_calls_that_make_no_sense(kb, arguments):
    assert call("kb", "enrich", kb, *arguments).code == 2


def test_a_dump_that_is_none(kb, tmp_path):
    (tmp_path / "d.xml").write_text("<html>")
    done = call("kb", "enrich", kb, tmp_path / "d.xml")
    assert done.code != 0
    assert "d.xml" in done.err
