"""DBpedia's abstracts as static text: found by Wikidata id, by title, over redirects; disambiguation pages refused."""

from pathlib import Path

import pytest

from dualway.datasets.base import ReadReport
from dualway.errors import DataError
from dualway.schema import Representation
from dualway.sources.dbpedia import DBpediaAbstracts
from dualway.sources.texts import Found, TextSource, Wanted

RESOURCE = "http://dbpedia.org/resource/"
PREFIXES = f"""@prefix dbr: <{RESOURCE}> . @prefix dbo: <http://dbpedia.org/ontology/> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> . @prefix owl: <http://www.w3.org/2002/07/owl#> .
@prefix wd: <http://www.wikidata.org/entity/> .
"""
ABSTRACTS = """
dbr:Ada_Lovelace dbo:abstract "Ada Lovelace (/ˈeɪdə/) was an English mathematician.[1] She was first to program."@en,
    "Ada Lovelace war Mathematikerin."@de .
<http://dbpedia.org/resource/Paris,_Texas> dbo:abstract "Paris is a city in Texas."@en .
<http://dbpedia.org/resource/AC/DC> dbo:abstract "AC/DC are a rock band."@en .
dbr:Only_German dbo:abstract "Nur auf Deutsch."@de .
dbr:Short rdfs:comment "A short one."@en .
dbr:Empty dbo:abstract "  "@en .
dbr:Mercury dbo:abstract "Mercury may refer to:"@en .
"""
LINKS = """
dbr:Ada_Lovelace owl:sameAs wd:Q7259 . <http://dbpedia.org/resource/Paris,_Texas> owl:sameAs wd:Q830149 .
dbr:Only_German owl:sameAs wd:Q5 . dbr:Lovelace owl:sameAs wd:Q6 .
<http://fr.dbpedia.org/resource/Ada> owl:sameAs wd:Q8 .
dbr:Ada_King dbo:wikiPageRedirects dbr:Augusta_King . dbr:Augusta_King dbo:wikiPageRedirects dbr:Ada_Lovelace .
dbr:Ring_A dbo:wikiPageRedirects dbr:Ring_B . dbr:Ring_B dbo:wikiPageRedirects dbr:Ring_A .
dbr:To_nothing dbo:wikiPageRedirects dbr:Nothing . dbr:To_many dbo:wikiPageRedirects dbr:Lovelace .
dbr:Lovelace dbo:wikiPageDisambiguates dbr:Ada_Lovelace .
"""


@pytest.fixture
def files(tmp_path) -> list[Path]:
    paths = [tmp_path / "abstracts.ttl", tmp_path / "links.ttl"]
    for path, text in zip(paths, (ABSTRACTS, LINKS)):
        path.write_text(PREFIXES + text, encoding="utf-8")
    return paths


@pytest.fixture
def source(files):
    with DBpediaAbstracts(files, "en", ReadReport(files[0])) as source:
        yield source


def answer(source: TextSource, name="", title=None, wikidata_id=None) -> Found:
    (found,) = source.texts([Wanted("x", name, title, wikidata_id)])
    assert found.entity_id == "x"
    assert (found.representation is None) == bool(found.problem)
    return found


def address(found: Found) -> str:
    assert found.representation is not None
    return found.representation.revision.removeprefix(RESOURCE)


def test_a_text_has_its_source_licence_and_address(source):
    assert source.name == "dbpedia:en"
    assert answer(source, wikidata_id="Q7259").representation == Representation(
        "static",
        "Ada Lovelace was an English mathematician. She was first to program.",
        "dbpedia:en",
        "en",
        f"{RESOURCE}Ada_Lovelace",
        "CC BY-SA 3.0",
    )


@pytest.mark.parametrize(
    ("wanted", "page"),
    [
        ({"title": "Ada Lovelace"}, "Ada_Lovelace"),
        ({"title": "ada_Lovelace"}, "Ada_Lovelace"),
        ({"title": "Paris, Texas", "name": "Paris"}, "Paris,_Texas"),
        ({"title": "AC/DC"}, "AC/DC"),
        ({"name": "Ada Lovelace"}, "Ada_Lovelace"),
        ({"title": "Ada King"}, "Ada_Lovelace"),
        ({"title": "Ada King", "wikidata_id": "Q7259"}, "Ada_Lovelace"),
        ({"title": "Wrong", "wikidata_id": "Q7259"}, "Ada_Lovelace"),
        ({"title": "AC/DC", "wikidata_id": "Q999"}, "AC/DC"),
        ({"title": "Short"}, "Short"),
    ],
)
def test_pages_are_found(source, wanted, page):
    assert address(answer(source, **wanted)) == page


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"title": "Nobody"}, "no such page"),
        ({"title": "Lovelace"}, "disambiguation page"),
        ({"title": "To many"}, "disambiguation page"),
        ({"wikidata_id": "Q6"}, "disambiguation page"),
        ({"title": "Mercury"}, "disambiguation page"),
        ({"title": "Ring A"}, "redirects without end"),
        ({"title": "To nothing"}, "no abstract in 'en'"),
        ({"wikidata_id": "Q5"}, "no abstract in 'en'"),
        ({"title": "Empty"}, "no text"),
        ({"name": "Ada Lovelace", "wikidata_id": "Q123"}, "no resource is the same as this item of Wikidata"),
        ({"name": "Ada", "wikidata_id": "Q8"}, "no resource is the same as this item of Wikidata"),
        (
            {"title": "Ada Lovelace", "wikidata_id": "Q123"},
            "the page of this title is another item of Wikidata (Q7259)",
        ),
        ({}, "no such page"),
    ],
)
def test_why_there_is_no_text(source, wanted, problem):
    assert answer(source, **wanted).problem == problem


def test_a_homonym_by_name_alone_only_where_nothing_says_who_is_who(files):
    with DBpediaAbstracts(files[:1], "en", ReadReport(files[0])) as source:
        assert address(answer(source, name="Ada Lovelace", wikidata_id="Q123")) == "Ada_Lovelace"


def test_one_answer_each_in_order(source):
    wanted = [Wanted(id, "", title) for id, title in (("1", "Nobody"), ("2", "Short"), ("1", "AC/DC"))]
    assert [found.entity_id for found in source.texts(wanted)] == ["1", "2", "1"]
    assert source.revisions(wanted[:2]) == {"2": f"{RESOURCE}Short"}


def test_another_language(files):
    report = ReadReport(files[0])
    with DBpediaAbstracts(files, "de", report) as source:
        assert answer(source, wikidata_id="Q7259").representation.text == "Ada Lovelace war Mathematikerin."
        assert source.name == "dbpedia:de"
    assert report.counts["abstracts"] == 2


def test_limits(files):
    with DBpediaAbstracts(files, "en", ReadReport(files[0]), max_chars=50) as source:
        text = answer(source, wikidata_id="Q7259").representation.text
    assert text == "Ada Lovelace was an English mathematician."


def test_files_without_abstracts(files, tmp_path):
    with pytest.raises(DataError, match=r"no abstracts .* in 'en'"):
        DBpediaAbstracts(files[1:], "en", ReadReport(files[1]))
    with pytest.raises(DataError, match=r"no abstracts .* in 'fr'"):
        DBpediaAbstracts(files, "fr", ReadReport(files[0]))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    files[1].write_text("hello", encoding="utf-8")
    with pytest.raises(DataError, match=r"links\.ttl, line 1: broken RDF"):
        DBpediaAbstracts(files, "en", ReadReport(files[0]), scratch=scratch)
    assert list(scratch.iterdir()) == []
