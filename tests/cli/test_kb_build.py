"""`dualway kb build --from wikidata`, as it is typed."""

import gzip
import json
from pathlib import Path

import pytest
from benchmarks.generated_dump import write_dump

from dualway.index.names import open_names
from dualway.kb.store import KnowledgeBase
from dualway.schema import Mention

from .calls import call


@pytest.fixture(scope="module")
def dump(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("dump") / "latest-all.json.gz"
    write_dump(path, 3000)
    return path


def test_a_dump_becomes_a_knowledge_base_that_is_searched(dump, tmp_path):
    done = call("kb", "build", dump, "--from", "wikidata", "--out", tmp_path / "kb", "--language", "en,mul,de")
    assert done.code == 0, done.err
    assert "entities from" in done.out
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        kb.check()
        assert len(kb) > 1000
        names = open_names(kb)
        assert names.damaged == ()
        assert names.num_strings == len(kb) + kb.manifest.counts["aliases"]
        rows = names.search([Mention(kb.names[7], kb.names[7])], 5).rows[0]
        assert 7 in rows.tolist() or kb.names[7] in [kb.names[row] for row in rows.tolist()]
        assert {"properties", "description"} <= kb.kinds.keys()
    assert call("kb", "verify", tmp_path / "kb").code == 0


def test_some_of_it(dump, tmp_path):
    whole = call("kb", "build", dump, "--from", "wikidata", "--out", tmp_path / "a", "--json").json["entities"]
    options = ["--class", "Q5", "--no-subclasses", "--min-sitelinks", "2", "--workers", "0"]
    part = call("kb", "build", dump, "--from", "wikidata", "--out", tmp_path / "b", *options, "--json").json
    assert 0 < part["entities"] < whole
    config = tmp_path / "p.toml"
    config.write_text('[[person]]\nlabel = "Trade"\nproperties = ["P106"]\n', encoding="utf-8")
    assert call("kb", "build", dump, "--from", "wikidata", "-o", tmp_path / "c", "--properties", config).code == 0
    with KnowledgeBase.open(tmp_path / "c") as kb:
        assert any(text.startswith("Trade: ") for text in kb.texts(["properties"]))


def test_a_line_that_cannot_be_read(dump, tmp_path):
    lines = gzip.decompress(dump.read_bytes()).decode().splitlines()
    lines[20] = lines[20][:50] + ","
    broken = tmp_path / "broken.json"
    broken.write_text("\n".join(lines), encoding="utf-8")
    done = call("kb", "build", broken, "--from", "wikidata", "--out", tmp_path / "kb")
    assert done.code != 0
    assert "broken.json, line 21" in done.err
    done = call("kb", "build", broken, "--from", "wikidata", "--out", tmp_path / "kb", "--on-error", "drop", "--json")
    assert done.code == 0, done.err
    assert sum(tally["count"] for tally in done.json["reading"]["dropped"].values()) >= 1


@pytest.mark.parametrize("options", [["--any-language"], ["--class", "Q5"], ["--workers", "1"], ["--on-error", "drop"]])
def test_options_of_dumps_go_with_dumps(tmp_path, options):
    (tmp_path / "e.jsonl").write_text(json.dumps({"id": "Q1", "name": "x"}))
    done = call("kb", "build", tmp_path / "e.jsonl", "--out", tmp_path / "kb", *options)
    assert done.code == 2
    assert "--from wikidata" in done.err


def test_a_table_by_its_columns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("inv;title;when;kinds\n7;Ada;1815-12-10;poet+writer\n", encoding="utf-8")
    flags = ["name=title", "id=inv", "field:born=when", "field:occupation=kinds"]
    options = [part for flag in flags for part in ("--column", flag)]
    more = ["--delimiter", ";", "--separator", "+", "--id-prefix", "m:"]
    done = call("kb", "build", path, "--out", tmp_path / "kb", *options, *more)
    assert done.code == 0, done.err
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        fields = [(field.name, field.value) for field in kb.entity("m:7").fields]
    assert fields == [("born", "1815-12-10"), ("occupation", "poet"), ("occupation", "writer")]
    assert call("kb", "build", path, "--out", tmp_path / "b", "--column", "name=titel").code == 2


def test_rdf(tmp_path):
    label, type = "<http://www.w3.org/2000/01/rdf-schema#label>", "<http://www.w3.org/1999/02/22-rdf-syntax-ns#type>"
    ada, person = "<http://dbpedia.org/resource/Ada_Lovelace>", "<http://dbpedia.org/ontology/Person>"
    path = tmp_path / "labels.nt"
    path.write_text(f'{ada} {label} "Ada Lovelace"@en .\n{ada} {type} {person} .\n', encoding="utf-8")
    done = call("kb", "build", path, "--from", "rdf", "--out", tmp_path / "kb", "--json")
    assert done.code == 0, done.err
    assert done.json["entities"] == 1
    assert call("kb", "build", path, "--from", "rdf", "--out", tmp_path / "b", "--delimiter", ";").code == 2
