"""RDF files become entities: Wikidata's the same as its JSON, DBpedia's from many files; and hostile files."""

import bz2
import gzip
import random
import subprocess
import sys
from pathlib import Path

import pytest

from dualway.datasets.base import ReadReport
from dualway.errors import DataError, StorageError, UsageError
from dualway.schema import Entity, Field, Representation
from dualway.sources.rdf import read_rdf_entities
from dualway.sources.rdf_dbpedia import edtf, title_of
from dualway.sources.rdf_triples import read_triples
from dualway.sources.wikidata import DumpOptions, WikidataReader

PREFIXES = """
@prefix wd: <http://www.wikidata.org/entity/> . @prefix wds: <http://www.wikidata.org/entity/statement/> .
@prefix wdt: <http://www.wikidata.org/prop/direct/> . @prefix p: <http://www.wikidata.org/prop/> .
@prefix ps: <http://www.wikidata.org/prop/statement/> . @prefix psv: <http://www.wikidata.org/prop/statement/value/> .
@prefix pq: <http://www.wikidata.org/prop/qualifier/> . @prefix wdv: <http://www.wikidata.org/value/> .
@prefix wdno: <http://www.wikidata.org/prop/novalue/> .
@prefix data: <https://www.wikidata.org/wiki/Special:EntityData/> . @prefix wikibase: <http://wikiba.se/ontology#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> . @prefix skos: <http://www.w3.org/2004/02/skos/core#> .
@prefix schema: <http://schema.org/> . @prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
@prefix geo: <http://www.opengis.net/ont/geosparql#> . @prefix owl: <http://www.w3.org/2002/07/owl#> .
@prefix dbr: <http://dbpedia.org/resource/> . @prefix dbo: <http://dbpedia.org/ontology/> .
@prefix foaf: <http://xmlns.com/foaf/0.1/> . @prefix pos: <http://www.w3.org/2003/01/geo/wgs84_pos#> .
@prefix georss: <http://www.georss.org/georss/> .
"""

TRUTHY = """
<https://en.wikipedia.org/wiki/Douglas_Adams> schema:about wd:Q42 ; schema:inLanguage "en" ;
    schema:isPartOf <https://en.wikipedia.org/> ; schema:name "Douglas Adams"@en .
<https://en.wikiquote.org/wiki/Douglas_Adams> schema:about wd:Q42 .
<https://be-tarask.wikipedia.org/wiki/%D0%94> schema:about wd:Q42 .
data:Q42 a schema:Dataset ; schema:about wd:Q42 ; schema:version 12345 ; wikibase:sitelinks 4 ;
    schema:dateModified "2024-05-06T07:08:09Z"^^xsd:dateTime .
wd:Q42 a wikibase:Item ; rdfs:label "Douglas Adams"@en, "Дуглас Адамс"@ru ; skos:prefLabel "Douglas Adams"@en ;
    schema:description "English science fiction writer"@en ; skos:altLabel "Douglas Noel Adams"@en, "DNA"@en ;
    wdt:P31 wd:Q5 ; wdt:P21 wd:Q6581097 ; wdt:P569 "1952-03-11T00:00:00Z"^^xsd:dateTime ;
    wdt:P570 "+2001-05-11T00:00:00Z"^^xsd:dateTime ; wdt:P19 wd:Q350 ; wdt:P106 wd:Q36180, wd:Q28389 ;
    wdt:P26 wd:Q99 ; wdt:P18 <http://commons.wikimedia.org/wiki/Special:FilePath/Douglas%20adams%20%281%29.jpg> ;
    wdt:P856 <https://douglasadams.com/> ; wdt:P1449 "Bop Ad"@en, "Doug"@fr ;
    wdt:P40 _:somebody ; wdt:P22 <http://www.wikidata.org/.well-known/genid/0123abc> ;
    wdt:P625 "Point(-0.1275 51.50722222)"^^geo:wktLiteral ; a wdno:P3373 .
wd:Q5 rdfs:label "human"@en . wd:Q6581097 rdfs:label "male"@en . wd:Q350 rdfs:label "Cambridge"@en .
wd:Q36180 rdfs:label "writer"@en . wd:Q28389 rdfs:label "screenwriter"@mul .
wd:P106 rdfs:label "occupation"@en .
"""


def statement(property_id, value, rank="normal", **more):
    return {"mainsnak": {"snaktype": "value", "property": property_id, "datavalue": value}, "rank": rank, **more}


def item(id):
    return {"type": "wikibase-entityid", "value": {"entity-type": "item", "id": id}}


def time(text, precision=11, calendar="Q1985727"):
    model = f"http://www.wikidata.org/entity/{calendar}"
    return {"type": "time", "value": {"time": text, "precision": precision, "calendarmodel": model}}


def string(text):
    return {"type": "string", "value": text}


ADAMS = {
    "type": "item",
    "id": "Q42",
    "lastrevid": 12345,
    "modified": "2024-05-06T07:08:09Z",
    "labels": {
        "en": {"language": "en", "value": "Douglas Adams"},
        "ru": {"language": "ru", "value": "Дуглас Адамс"},
    },
    "descriptions": {"en": {"language": "en", "value": "English science fiction writer"}},
    "aliases": {
        "en": [{"language": "en", "value": "Douglas Noel Adams"}, {"language": "en", "value": "DNA"}],
    },
    "sitelinks": {
        "enwiki": {"site": "enwiki", "title": "Douglas Adams"},
        "enwikiquote": {"site": "enwikiquote", "title": "Douglas Adams"},
        "be_x_oldwiki": {"site": "be_x_oldwiki", "title": "Д"},
        "frwiki": {"site": "frwiki", "title": "Douglas Adams"},
    },
    "claims": {
        "P31": [statement("P31", item("Q5"))],
        "P21": [statement("P21", item("Q6581097"))],
        "P569": [statement("P569", time("+1952-03-11T00:00:00Z"))],
        "P570": [statement("P570", time("+2001-05-11T00:00:00Z"))],
        "P19": [statement("P19", item("Q350"))],
        "P106": [statement("P106", item("Q36180")), statement("P106", item("Q28389"))],
        "P26": [statement("P26", item("Q99"))],
        "P18": [statement("P18", string("Douglas adams (1).jpg"))],
        "P856": [statement("P856", string("https://douglasadams.com/"))],
        "P1449": [
            statement("P1449", {"type": "monolingualtext", "value": {"text": "Bop Ad", "language": "en"}}),
            statement("P1449", {"type": "monolingualtext", "value": {"text": "Doug", "language": "fr"}}),
        ],
        "P40": [{"mainsnak": {"snaktype": "somevalue", "property": "P40"}, "rank": "normal"}],
        "P22": [{"mainsnak": {"snaktype": "somevalue", "property": "P22"}, "rank": "normal"}],
        "P3373": [{"mainsnak": {"snaktype": "novalue", "property": "P3373"}, "rank": "normal"}],
        "P625": [
            statement(
                "P625",
                {"type": "globecoordinate", "value": {"latitude": 51.50722222, "longitude": -0.1275, "globe": "x/Q2"}},
            )
        ],
    },
}
LABELS = {
    "Q5": "human",
    "Q6581097": "male",
    "Q350": "Cambridge",
    "Q36180": "writer",
    "Q28389": "screenwriter",
    "Q12345": "London",
}


def from_json(record) -> Entity:
    entity = WikidataReader(DumpOptions()).entity(record, LABELS.get)
    assert entity is not None
    return entity


def write(path: Path, text: str) -> Path:
    path.write_text(PREFIXES + text, encoding="utf-8")
    return path


def lines(path: Path, text: str) -> Path:
    """Write Turtle as N-Triples, a line each."""
    import pyoxigraph

    parsed = pyoxigraph.parse(input=PREFIXES + text, format=pyoxigraph.RdfFormat.TURTLE)
    path.write_bytes(pyoxigraph.serialize((q.triple for q in parsed), format=pyoxigraph.RdfFormat.N_TRIPLES))
    return path


def read(*paths: Path, **settings) -> tuple[dict[str, Entity], ReadReport]:
    report = ReadReport(paths[0])
    return {entity.id: entity for entity in read_rdf_entities(paths, report=report, **settings)}, report


def values(entity: Entity, name: str) -> list[str]:
    return [field.value for field in entity.fields if field.name == name]


class TestWikidata:
    def test_truthy_rdf_becomes_what_json_becomes(self, tmp_path):
        found, report = read(write(tmp_path / "a.ttl", TRUTHY))
        assert list(found) == ["Q42"]
        assert found["Q42"] == from_json(ADAMS)
        assert [r.kind for r in found["Q42"].representations] == ["properties", "description"]
        assert "Occupation: writer, screenwriter." in found["Q42"].representations[0].text
        assert report.counts["items of which only names are said"] == 5
        assert report.counts["entities"] == 1

    def test_full_rdf_says_ranks_precisions_calendars_and_ends(self, tmp_path):
        record = {
            **ADAMS,
            "claims": {
                "P31": [statement("P31", item("Q5"))],
                "P569": [
                    statement("P569", time("+1952-00-00T00:00:00Z", 9)),
                    statement("P569", time("+1950-00-00T00:00:00Z", 8), "deprecated"),
                ],
                "P570": [statement("P570", time("-0044-03-15T00:00:00Z", 11, "Q1985786"), "preferred")],
                "P571": [statement("P571", time("+1900-00-00T00:00:00Z", 7))],
                "P576": [statement("P576", time("-0044-00-00T00:00:00Z", 9))],
                "P106": [
                    statement("P106", item("Q36180"), qualifiers={"P582": [{"snaktype": "value"}]}),
                    statement("P106", item("Q28389")),
                ],
                "P19": [statement("P19", item("Q350")), statement("P19", item("Q12345"), "preferred")],
            },
        }
        text = (
            TRUTHY[: TRUTHY.index("    wdt:P31")]
            + """
    wdt:P31 wd:Q5 ; wdt:P19 wd:Q12345 ; wdt:P569 "1952-01-01T00:00:00Z"^^xsd:dateTime ;
    p:P31 wds:Q42-A0 ; p:P569 wds:q42-A1, wds:Q42-A2 ; p:P570 wds:Q42-A3 ; p:P571 wds:Q42-A4 ; p:P576 wds:Q42-A5 ;
    p:P106 wds:Q42-A6, wds:Q42-A7 ; p:P19 wds:Q42-A8, wds:Q42-A9 .
wds:Q42-A0 wikibase:rank wikibase:NormalRank ; ps:P31 wd:Q5 .
wds:q42-A1 wikibase:rank wikibase:NormalRank ; ps:P569 "1952-01-01T00:00:00Z"^^xsd:dateTime ; psv:P569 wdv:v1 .
wdv:v1 wikibase:timeValue "1952-01-01T00:00:00Z"^^xsd:dateTime ; wikibase:timePrecision 9 .
wds:Q42-A2 wikibase:rank wikibase:DeprecatedRank ; ps:P569 "1950-01-01T00:00:00Z"^^xsd:dateTime .
wds:Q42-A3 wikibase:rank wikibase:PreferredRank ; ps:P570 "-0043-03-13T00:00:00Z"^^xsd:dateTime ; psv:P570 wdv:v3 .
wdv:v3 wikibase:timeValue "-0043-03-13T00:00:00Z"^^xsd:dateTime ; wikibase:timePrecision "11"^^xsd:integer ;
    wikibase:timeCalendarModel wd:Q1985786 .
wds:Q42-A4 ps:P571 "1900-01-01T00:00:00Z"^^xsd:dateTime ; psv:P571 wdv:v4 .
wdv:v4 wikibase:timeValue "1900-01-01T00:00:00Z"^^xsd:dateTime ; wikibase:timePrecision 7 .
wds:Q42-A5 ps:P576 "-0043-01-01T00:00:00Z"^^xsd:dateTime ; psv:P576 wdv:v5 .
wdv:v5 wikibase:timeValue "-0043-01-01T00:00:00Z"^^xsd:dateTime ; wikibase:timePrecision 9 .
wds:Q42-A6 ps:P106 wd:Q36180 ; pq:P582 "2001-05-11T00:00:00Z"^^xsd:dateTime .
wds:Q42-A7 ps:P106 wd:Q28389 .
wds:Q42-A8 ps:P19 wd:Q350 . wds:Q42-A9 wikibase:rank wikibase:PreferredRank ; ps:P19 wd:Q12345 .
wd:Q12345 rdfs:label "London"@en .
"""
            + TRUTHY[TRUTHY.index("wd:Q5 rdfs") :]
        )
        found, _ = read(lines(tmp_path / "full.nt", text))
        expected = from_json(record)
        assert found["Q42"] == expected
        assert values(expected, "born") == ["1952"]
        assert values(expected, "died") == ["-0043-03-13"]
        assert values(expected, "inception") == ["18XX"]
        assert values(expected, "occupation") == ["screenwriter", "writer"]
        assert values(expected, "birthplace") == ["London", "Cambridge"]

    def test_a_truthy_first_of_january_is_a_year(self, tmp_path):
        text = """
            wd:Q1 rdfs:label "a"@en ; wdt:P569 "1946-01-01T00:00:00Z"^^xsd:dateTime ;
                wdt:P570 "-0043-01-01T00:00:00Z"^^xsd:dateTime ; wdt:P571 "0000-05-02T00:00:00Z"^^xsd:dateTime ;
                wdt:P576 "yesterday"^^xsd:dateTime .
        """
        found, report = read(write(tmp_path / "a.ttl", text))
        assert values(found["Q1"], "born") == ["1946"]
        assert values(found["Q1"], "died") == ["-0043"]
        assert values(found["Q1"], "inception") == ["0000-05-02"]
        assert values(found["Q1"], "dissolved") == []
        note = report.notes["dates of 1 January without a precision, taken for the year"]
        assert note.count == 2

    def test_places_on_other_globes_and_impossible_ones_are_not_kept(self, tmp_path):
        points = ["<http://www.wikidata.org/entity/Q405> Point(1 2)", "Point(1 91)", "Point(nan 1)", "Point(1)", "x"]
        text = "".join(f'wd:Q{i} rdfs:label "a"@en; wdt:P625 "{p}"^^geo:wktLiteral .' for i, p in enumerate(points, 1))
        found, report = read(write(tmp_path / "a.ttl", text))
        assert [values(entity, "coordinates") for entity in found.values()] == [[]] * 5
        assert report.notes["values of P625 that cannot be kept"].count == 5

    def test_redirects_and_disambiguation_pages_are_no_entities(self, tmp_path):
        text = """
            wd:Q7 owl:sameAs wd:Q42 .
            wd:Q8 rdfs:label "Adams"@en ; wdt:P31 wd:Q4167410 .
            wd:Q9 rdfs:label "Adams"@en ; wdt:P31 wd:Q777 . wd:Q777 wdt:P279 wd:Q4167410 .
            wd:Q10 rdfs:label "Адамс"@ru ; wdt:P31 wd:Q5 .
            wd:Q11 rdfs:label "kept"@mul ; wdt:P31 wd:Q5 .
        """
        found, report = read(write(tmp_path / "a.ttl", text))
        assert list(found) == ["Q11"]
        assert report.dropped["redirects"].count == 1
        assert report.dropped["disambiguation pages and other pages of Wikimedia's own"].count == 2
        assert report.dropped["neither a label nor a page in en, mul"].count == 2  # Q10, and Q777 itself

    def test_classes_with_their_subclasses_wherever_they_are_said(self, tmp_path):
        people = write(
            tmp_path / "a.ttl", 'wd:Q1 rdfs:label "a"@en; wdt:P31 wd:Q3 . wd:Q2 rdfs:label "b"@en; wdt:P31 wd:Q9 .'
        )
        classes = write(tmp_path / "b.ttl", "wd:Q3 wdt:P279 wd:Q4 . wd:Q4 wdt:P279 wd:Q5, wd:Q3 .")
        assert list(read(people, classes, classes=["Q5"])[0]) == ["Q1"]
        with pytest.raises(DataError, match=r"no entities of wikidata in it.* 2 of none of the wanted classes"):
            read(people, classes=["Q5"])

    def test_the_order_does_not_depend_on_that_of_the_files(self, tmp_path):
        triples = lines(tmp_path / "a.nt", TRUTHY + 'wd:Q9 rdfs:label "x"@en; wdt:P31 wd:Q5 .').read_text().splitlines()
        expected = None
        for seed in range(3):
            random.Random(seed).shuffle(triples)
            half = len(triples) // 2
            (tmp_path / "1.nt").write_text("\n".join(triples[:half]) + "\n")
            (tmp_path / "2.nt").write_text("\n".join(triples[half:]) + "\n")
            entities = list(read(tmp_path / "2.nt", tmp_path / "1.nt")[0].values())
            assert [entity.id for entity in entities] == ["Q9", "Q42"]
            # Values of one rank stand in the order of the files.
            sets = [(e.name, set(e.aliases), set(e.types), set(e.fields)) for e in entities]
            assert expected is None or sets == expected
            expected = sets

    def test_another_language(self, tmp_path):
        found, _ = read(write(tmp_path / "a.ttl", TRUTHY), language="ru")
        assert found["Q42"].name == "Дуглас Адамс"
        assert "DNA" not in found["Q42"].aliases

    def test_a_number_of_sitelinks_that_is_a_lie(self, tmp_path):
        text = 'data:Q1 wikibase:sitelinks 99999999 . wd:Q1 rdfs:label "a"@en; wdt:P31 wd:Q5 .'
        found, report = read(write(tmp_path / "a.ttl", text))
        assert values(found["Q1"], "sitelinks") == ["0"]
        assert report.dropped["a number of sitelinks above 2,000"].count == 1


DBPEDIA = {
    "labels.ttl": """
        dbr:Ada_Lovelace rdfs:label "Ada Lovelace"@en, "Ada Lovelace"@de . dbr:London rdfs:label "London"@en .
        dbr:Augusta_Ada_King rdfs:label "Augusta Ada King"@en . dbr:Lovelace rdfs:label "Lovelace"@en .
        <http://dbpedia.org/resource/Category:People> rdfs:label "People"@en .
        <http://fr.dbpedia.org/resource/Ada> rdfs:label "Ada"@fr .
        dbo:Scientist rdfs:label "scientist"@en .
    """,
    "facts.ttl": """
        dbr:Ada_Lovelace a owl:Thing, dbo:Scientist, dbo:Person, wd:Q5 ; foaf:gender "female"@en ;
            foaf:name "Augusta Ada King"@en, "Ada Byron"@en ; dbo:birthDate "1815-12-10"^^xsd:date ;
            dbo:birthYear "1815"^^xsd:gYear ; dbo:deathYear "1852"^^xsd:gYear ; dbo:birthPlace dbr:London ;
            dbo:deathPlace dbr:Marylebone ; dbo:occupation dbr:Ada_Lovelace__PersonFunction__1 ;
            dbo:parent <http://dbpedia.org/resource/Lord_Byron_(poet)> ;
            dbo:thumbnail <http://commons.wikimedia.org/wiki/Special:FilePath/Ada_L%C3%B6.jpg?width=300> ;
            foaf:homepage <http://ada.example/> ; dbo:height "1.7"^^xsd:double .
        dbr:Ada_Lovelace__PersonFunction__1 dbo:title "Mathematician"@en ; a dbo:PersonFunction .
        dbr:London a dbo:City ; pos:lat "51.5072"^^xsd:float ; pos:long "-0.1275"^^xsd:float ; dbo:country dbr:England .
        dbr:Rome a dbo:City ; georss:point "41.9 12.5" .
        dbr:Nowhere pos:lat "nan"^^xsd:float ; pos:long "1"^^xsd:float .
    """,
    "abstracts.ttl": """
        dbr:Ada_Lovelace dbo:abstract "Ada Lovelace (10 December 1815 – 27 November 1852) was a mathematician."@en,
            "Ada war Mathematikerin."@de ; rdfs:comment "Ada Lovelace was a mathematician."@en .
    """,
    "links.ttl": """
        dbr:Augusta_Ada_King dbo:wikiPageRedirects dbr:Ada_Lovelace .
        dbr:Lady_Lovelace dbo:wikiPageRedirects dbr:Ada_Lovelace .
        dbr:Lovelace dbo:wikiPageDisambiguates dbr:Ada_Lovelace .
        dbr:Ada_Lovelace owl:sameAs wd:Q7259, <http://fr.dbpedia.org/resource/Ada> . dbr:Bare owl:sameAs wd:Q1 .
        dbr:London owl:sameAs <http://www.wikidata.org/entity/Q84> .
    """,
    "ontology.ttl": "dbo:Scientist rdfs:subClassOf dbo:Person . dbo:Person rdfs:subClassOf dbo:Agent .",
}


@pytest.fixture
def dbpedia(tmp_path) -> list[Path]:
    return [write(tmp_path / name, text) for name, text in DBPEDIA.items()]


class TestDBpedia:
    def test_an_entity_from_many_files(self, dbpedia):
        found, report = read(*dbpedia)
        own = "http://dbpedia.org/resource/"
        assert list(found) == [f"{own}{name}" for name in ("Rome", "London", "Nowhere", "Ada_Lovelace")]
        ada = found[f"{own}Ada_Lovelace"]
        assert ada == Entity(
            f"{own}Ada_Lovelace",
            "Ada Lovelace",
            ("Augusta Ada King", "Ada Byron", "Lady Lovelace"),
            ("scientist", "person"),
            tuple(
                Representation(kind, text, "dbpedia:en", "en", f"{own}Ada_Lovelace", "CC BY-SA 3.0")
                for kind, text in (
                    (
                        "properties",
                        "Sex: female. Birth: 1815-12-10, London. Death: 1852, Marylebone. Occupation: Mathematician.",
                    ),
                    ("description", "Ada Lovelace was a mathematician."),
                    ("static", "Ada Lovelace (10 December 1815 – 27 November 1852) was a mathematician."),
                )
            ),
            fields=(
                Field("instance_of", "scientist", "http://dbpedia.org/ontology/Scientist"),
                Field("instance_of", "person", "http://dbpedia.org/ontology/Person"),
                Field("sex", "female"),
                Field("born", "1815-12-10"),
                Field("died", "1852"),
                Field("birthplace", "London", f"{own}London"),
                Field("deathplace", "Marylebone", f"{own}Marylebone"),
                Field("occupation", "Mathematician"),
                Field("parent", "Lord Byron (poet)", f"{own}Lord_Byron_(poet)"),
                Field("image", "Ada Lö.jpg"),
                Field("website", "http://ada.example/"),
                Field("wikipedia:en", "Ada Lovelace"),
            ),
        )
        assert values(found[f"{own}London"], "coordinates") == ["51.5072,-0.1275"]
        assert values(found[f"{own}Rome"], "coordinates") == ["41.9,12.5"]
        assert values(found[f"{own}Nowhere"], "coordinates") == []
        assert {reason: tally.count for reason, tally in report.dropped.items()} == {
            "redirects": 2,
            "disambiguation pages": 1,
            "resources of which nothing but links is said": 1,
        }

    def test_classes_with_subclasses(self, dbpedia):
        for name in ("Agent", "dbo:Agent", "http://dbpedia.org/ontology/Agent"):
            assert [entity.name for entity in read(*dbpedia, classes=[name])[0].values()] == ["Ada Lovelace"]

    def test_ids_of_wikidata(self, dbpedia, tmp_path):
        twin = write(tmp_path / "twin.ttl", 'dbr:Ada_Lovelace_2 rdfs:label "Ada"@en ; owl:sameAs wd:Q7259 .')
        found, report = read(*dbpedia, twin, ids="wikidata")
        own = "http://dbpedia.org/resource/"
        assert list(found) == [f"{own}Rome", "Q84", f"{own}Nowhere", "Q7259", f"{own}Ada_Lovelace_2"]
        assert Field("birthplace", "London", "Q84") in found["Q7259"].fields
        assert [tally.count for reason, tally in sorted(report.notes.items()) if "own address" in reason] == [2, 1]

    def test_another_language_has_its_own_texts(self, dbpedia):
        found, _ = read(*dbpedia, language="de")
        ada = found["http://dbpedia.org/resource/Ada_Lovelace"]
        assert [r.text for r in ada.representations if r.kind == "static"] == ["Ada war Mathematikerin."]
        assert values(ada, "wikipedia:de") == []  # the address is the English page's

    @pytest.mark.parametrize(
        ("text", "date"),
        [
            ("1815-12-10", "1815-12-10"),
            ("1815", "1815"),
            ("1815-12", "1815-12"),
            ("1815-12-10T00:00:00Z", "1815-12-10"),
            ("1815Z", "1815"),
            ("-0044-03-15", "-0043-03-15"),
            ("-44", "-0043"),
            ("-0001", "0000"),
            ("79", "0079"),
            ("0000", ""),
            ("1815-13", ""),
            ("1815-12-32", ""),
            ("99999", ""),
            ("about 1815", ""),
            ("", ""),
        ],
    )
    def test_dates(self, text, date):
        assert edtf(text) == date

    @pytest.mark.parametrize(
        ("address", "title"),
        [
            ("http://dbpedia.org/resource/Paris,_Texas", "Paris, Texas"),
            ("http://dbpedia.org/resource/AC/DC", "AC/DC"),
            ("http://de.dbpedia.org/resource/M%C3%BCnchen", "München"),
            ("http://dbpedia.org/ontology/SoccerPlayer", "soccer player"),
            ("http://example.org/a#b", "b"),
            ("http://example.org/", "http://example.org/"),
        ],
    )
    def test_titles(self, address, title):
        assert title_of(address) == title


LINE = '<http://www.wikidata.org/entity/Q1> <http://www.w3.org/2000/01/rdf-schema#label> "a"@en .\n'
FACT = (
    "<http://www.wikidata.org/entity/Q1> <http://www.wikidata.org/prop/direct/P31> "
    "<http://www.wikidata.org/entity/Q5> .\n"
)


class TestFiles:
    @pytest.mark.parametrize("name", ["a.nt", "a.nt.gz", "a.nt.bz2", "a.NT.GZ", "a.nq", "a.ttl", "a.ttl.bz2", "b.c.nt"])
    def test_forms(self, tmp_path, name):
        path, content = tmp_path / name, (LINE + FACT).encode()
        pack = {"gz": gzip.compress, "z2": bz2.compress}.get(name.lower()[-2:], bytes)
        path.write_bytes(pack(content))
        assert list(read(path)[0]) == ["Q1"]

    def test_quads_whatever_their_graph(self, tmp_path):
        path = tmp_path / "a.nq"
        path.write_text(LINE.replace(" .\n", " <http://example.org/g> .\n") + FACT.replace(" .\n", " _:g .\n"))
        assert list(read(path)[0]) == ["Q1"]

    def test_several_members_of_gzip(self, tmp_path):
        path = tmp_path / "a.nt.gz"
        path.write_bytes(gzip.compress(LINE.encode()) + gzip.compress(FACT.encode()))
        assert list(read(path)[0]) == ["Q1"]

    def test_a_byte_order_mark_is_skipped(self, tmp_path):
        path = tmp_path / "a.nt"
        path.write_bytes(b"\xef\xbb\xbf" + (LINE + FACT).encode())
        assert list(read(path)[0]) == ["Q1"]

    @pytest.mark.parametrize("name", ["a.rdf", "a.gz", "a.xml.bz2", "a.json", "a"])
    def test_other_forms_are_refused(self, tmp_path, name):
        (tmp_path / name).write_text(LINE)
        with pytest.raises(DataError, match=r"no RDF file by its name; expected \.nt, \.nq, \.ttl"):
            read(tmp_path / name)

    def test_a_missing_file_and_a_folder(self, tmp_path):
        for path in (tmp_path / "no.nt", tmp_path):
            with pytest.raises(DataError, match=str(tmp_path)):
                read(path if path.suffix else path / "..", kind="wikidata")

    @pytest.mark.parametrize(
        ("content", "line", "problem"),
        [
            (LINE.encode() + b"<http://a/b> <http://a/c .\n" + FACT.encode(), 2, "broken RDF: .*mend or remove"),
            (LINE.encode() + b'<http://a/b> <http://a/c> "never ends .\n', 2, "broken RDF"),
            (LINE.encode() + b"hello\n", 2, "broken RDF"),
            (LINE.encode() + '<http://a/b> <http://a/c> "é" .\n'.encode("latin-1"), 2, "not UTF-8 .*convert"),
            ((LINE + FACT).encode("utf-16"), 1, "UTF-16; convert"),
            (LINE.encode() + b'<http://a/b> <http://a/c> "\\uD800" .\n', 2, "broken RDF"),
        ],
    )
    def test_a_broken_line_is_named(self, tmp_path, content, line, problem):
        path = tmp_path / "a.nt"
        path.write_bytes(content)
        with pytest.raises(DataError, match=problem) as error:
            read(path)
        assert error.value.path == path
        assert error.value.line == line

    def test_a_broken_line_of_turtle_is_named(self, tmp_path):
        path = tmp_path / "a.ttl"
        path.write_text("@prefix wd: <http://www.wikidata.org/entity/> .\nwd:Q1 nope:label 'a' .\n")
        with pytest.raises(DataError, match="broken RDF") as error:
            read(path, on_error="drop")
        assert error.value.line == 2

    def test_broken_lines_can_be_dropped(self, tmp_path):
        path = tmp_path / "a.nt"
        path.write_text(f'{LINE}hello\n<http://a/b> <http://a/c> "x"@e_n .\n{FACT}')
        found, report = read(path, on_error="drop")
        assert list(found) == ["Q1"]
        assert report.dropped["lines that are no RDF"].count >= 2
        assert report.counts["triples"] == 2

    @pytest.mark.parametrize("suffix", [".nt.gz", ".ttl.bz2"])
    def test_a_file_that_is_cut_off(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        numbers = random.Random(1)
        content = "".join(LINE.replace('"a"', f'"{numbers.random()}"') for _ in range(20_000)).encode()
        packed = gzip.compress(content) if suffix.endswith("gz") else bz2.compress(content)
        for length in (len(packed) // 2, len(packed) - 4):
            path.write_bytes(packed[:length])
            with pytest.raises(DataError, match="cut off"):
                read(path, kind="wikidata")

    def test_what_only_calls_itself_gzip(self, tmp_path):
        path = tmp_path / "a.nt.gz"
        path.write_text(LINE)
        with pytest.raises(DataError, match=r"a\.nt\.gz: damaged"):
            read(path)

    @pytest.mark.parametrize("name", ["a.nt", "a.ttl"])
    def test_a_literal_that_never_ends(self, tmp_path, name):
        path = tmp_path / name
        quote = '"' if name == "a.nt" else '"""'
        path.write_text(f"{LINE}{LINE.split('>')[0]}> <http://a/b> {quote}" + "x" * (17 << 20) + f"{quote} .\n")
        with pytest.raises(DataError, match=r"after 1 triples .* more than 16 MB"):
            read(path)

    def test_a_long_literal_is_counted_and_left_out(self, tmp_path):
        path = tmp_path / "a.nt"
        path.write_text(LINE + FACT + LINE.replace("label", "label").replace('"a"', f'"{"x" * 200_000}"'))
        found, report = read(path)
        assert found["Q1"].name == "a"
        assert report.dropped["literals of more than 100,000 characters"].count == 1

    def test_relative_names_are_counted_and_left_out(self, tmp_path):
        path = tmp_path / "a.ttl"
        path.write_text(LINE + FACT + FACT.replace("http://www.wikidata.org/entity/", ""))
        found, report = read(path)
        assert list(found) == ["Q1"]
        assert report.dropped["relative addresses, which could be anything's"].count == 1

    def test_a_long_address_is_counted_and_left_out(self, tmp_path):
        path = tmp_path / "a.nt"
        long = f"http://dbpedia.org/resource/{'_' * 9_000}__x"
        path.write_text(LINE + FACT + LINE.replace("http://www.wikidata.org/entity/Q1", long))
        _, report = read(path)
        assert report.dropped["addresses of more than 8,000 characters"].count == 1

    def test_a_subject_of_which_too_much_is_said(self, tmp_path, monkeypatch):
        monkeypatch.setattr("dualway.sources.rdf_triples._MAX_FACTS", 3)
        path = tmp_path / "a.nt"
        path.write_text(LINE + FACT + FACT.replace("Q5", "Q6") + FACT.replace("Q5", "Q7") + FACT.replace("Q1", "Q2"))
        found, report = read(path)
        assert values(found["Q1"], "instance_of") == ["Q5", "Q6"]
        assert report.dropped["triples of one subject beyond the first 3"].count == 1

    def test_nul_is_mended(self, tmp_path):
        path = tmp_path / "a.nt"
        path.write_text(LINE.replace('"a"', '"a\\u0000b"') + FACT)
        found, report = read(path)
        assert found["Q1"].name == "a\ufffdb"
        assert report.repaired["characters that no text can hold"].count == 1

    def test_triples_about_triples_and_blank_nodes_are_passed_over(self, tmp_path):
        path = tmp_path / "a.ttl"
        label = "<http://www.w3.org/2000/01/rdf-schema#label>"
        path.write_text(LINE + FACT + f"_:x {label} 'b'@en . <http://a/b> {label} <<( <http://a/b> {label} 'c' )>> .\n")
        report = ReadReport(path)
        assert len(list(read_triples(path, {label[1:-1]}, report))) == 1
        assert report.counts["triples"] == 4

    def test_whose_it_is_must_be_told(self, tmp_path):
        path = tmp_path / "a.nt"
        path.write_text('<http://a/b> <http://www.w3.org/2000/01/rdf-schema#label> "x"@en .\n')
        with pytest.raises(DataError, match="neither Wikidata's nor DBpedia's"):
            read(path)
        with pytest.raises(DataError, match="no entities of dbpedia in it"):
            read(path, kind="dbpedia")

    @pytest.mark.parametrize("settings", [{"kind": "yago"}, {"ids": "mine"}, {"on_error": "x"}, {"language": "e n"}])
    def test_unknown_choices(self, tmp_path, settings):
        path = tmp_path / "a.nt"
        path.write_text(LINE + FACT)
        with pytest.raises(UsageError):
            read(path, **settings)

    def test_nowhere_to_work(self, tmp_path):
        path = tmp_path / "a.nt"
        path.write_text(LINE + FACT)
        with pytest.raises(StorageError, match="TMPDIR"):
            read(path, scratch=tmp_path / "none")

    def test_the_working_folder_is_removed(self, tmp_path):
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        path = tmp_path / "a.nt"
        path.write_text(LINE + FACT)
        assert read(path, scratch=scratch)
        path.write_text(LINE + "hello\n")
        with pytest.raises(DataError):
            read(path, scratch=scratch, kind="wikidata")
        assert list(scratch.iterdir()) == []


MEASURE = """
import resource, sys
from pathlib import Path
from dualway.datasets.base import ReadReport
from dualway.sources.rdf import read_rdf_entities

def peak(path):
    report = ReadReport(path)
    number = sum(1 for _ in read_rdf_entities([path], report=report))
    assert number == report.counts["entities"]
    return number, report.counts["triples"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

small, large = map(Path, sys.argv[1:])
print(*peak(small), *peak(large))
"""


def test_memory_is_bounded(tmp_path):
    """Ten times the triples, in any order, take hardly more memory: SQLite's cache of 32 MB and some batches."""
    paths = {number: tmp_path / f"{number}.nt" for number in (20_000, 200_000)}
    numbers = random.Random(0)
    for count, path in paths.items():
        with path.open("w") as file:
            for _ in range(count // 2):
                number = numbers.randrange(count // 5) + 1
                padding = f'"entity {number} {"x" * 600}"'
                file.write(LINE.replace("Q1>", f"Q{number}>").replace('"a"', padding))
                file.write(FACT.replace("Q1>", f"Q{number}>"))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths.values())], capture_output=True, text=True, check=True
    )
    _, small_triples, small_mb, entities, triples, large_mb = map(float, done.stdout.split())
    assert (small_triples, triples) == (20_000, 200_000)
    assert entities > 35_000
    assert large_mb - small_mb < 80, done.stdout
