"""Items by their ids, against a Wikibase on this machine."""

import pytest

from dualway.errors import DownloadError
from dualway.schema import Field
from dualway.sources import wikidata_api
from dualway.sources.wikidata import DumpOptions, WikidataReader
from dualway.sources.wikidata_api import WikidataApi, fetch_items

from .mediawiki_server import Wiki, serving

AGENT = "tests/1.0 (tests@example.org)"


@pytest.fixture(autouse=True)
def _online(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def item(label: str, **claims: str) -> dict:
    """Return an item in the shape of the service, with one statement of an item for each property."""
    statements = {
        property_id: [
            {
                "mainsnak": {
                    "snaktype": "value",
                    "property": property_id,
                    "datavalue": {"value": {"entity-type": "item", "id": value}, "type": "wikibase-entityid"},
                    "datatype": "wikibase-item",
                },
                "type": "statement",
                "rank": "normal",
            }
        ]
        for property_id, value in claims.items()
    }
    labels = {language: {"language": language, "value": f"{label}{end}"} for language, end in (("en", ""), ("de", "!"))}
    return {"labels": labels, "claims": statements, "sitelinks": [], "lastrevid": 7, "modified": "2026-01-01T00:00:00Z"}


@pytest.fixture
def wiki():
    items = {
        "Q42": item("Douglas Adams", P31="Q5", P106="Q36180"),
        "Q5": item("human"),
        "Q36180": item("writer"),
        "Q7": {**item("Universe"), "id": "Q1", "redirects": {"from": "Q7", "to": "Q1"}},
        "Q1": item("Universe"),
        "Q9": {**item("odd"), "claims": {"P31": 7}},
    }
    with serving(Wiki(items=items)) as served:
        yield served


@pytest.fixture
def api(wiki):
    with WikidataApi(AGENT, endpoint=wiki.address, interval_s=0, wait=lambda _: None) as opened:
        yield opened


def test_items_and_what_is_none(api, wiki):
    found = list(api.items(["Q42", "Q7", "Q42", "Q404", "P31", "Q01", "Q1|Q5", "Q1", ""]))
    assert [one["id"] for one in found] == ["Q42", "Q1"]
    assert found[0]["claims"]["P31"]
    assert len(wiki.asked) == 1
    assert wiki.asked[0]["ids"] == "Q42|Q7|Q404|Q1"  # the service answers none where one is no id
    dropped = {reason: tally.count for reason, tally in api.report.dropped.items()}
    assert dropped == {"deleted or unknown items": 1, "no id of an item, such as Q42": 4}
    assert api.report.notes["merged into another item"].examples == [("Q7", "now Q1")]


def test_many_are_asked_in_few_requests(api, wiki):
    wiki.items |= {f"Q{n}": item(f"name {n}") for n in range(1000, 1120)}
    assert len(list(api.items([f"Q{n}" for n in range(1000, 1120)], ["en"]))) == 120
    assert [len(asked["ids"].split("|")) for asked in wiki.asked] == [50, 50, 20]
    assert {asked["languages"] for asked in wiki.asked} == {"en"}


def test_a_question_whose_answer_is_too_long_is_asked_in_parts(wiki, monkeypatch):
    monkeypatch.setattr(wikidata_api, "_LONGEST", 3_000)
    wiki.items |= {f"Q{n}": item(f"name {n}") for n in range(1000, 1040)}
    ids = [f"Q{n}" for n in range(1000, 1040)]
    found = fetch_items(ids, user_agent=AGENT, endpoint=wiki.address, interval_s=0)
    assert [one["id"] for one in found] == ids
    assert len(wiki.asked) > 5
    wiki.items["Q1000"]["labels"]["en"]["value"] = "x" * 4_000
    with pytest.raises(DownloadError, match="more than 3,000 bytes"):
        list(fetch_items(ids, user_agent=AGENT, endpoint=wiki.address, interval_s=0))


def test_labels_are_asked_for_once(api, wiki):
    assert api.labels(["Q5", "Q36180", "Q404", "Q7", "x"], ["fr", "de", "en"]) == {
        "Q5": "human!",
        "Q36180": "writer!",
        "Q7": "Universe!",
    }
    assert api.labels(["Q5", "Q404"], ["fr", "de", "en"]) == {"Q5": "human!"}
    assert len(wiki.asked) == 1


def test_entities_with_what_they_say_in_words(api, wiki):
    reader = WikidataReader(DumpOptions())
    (adams,) = api.entities(["Q42", "Q9"], reader)
    assert (adams.id, adams.name, adams.types) == ("Q42", "Douglas Adams", ("human",))
    assert Field("occupation", "writer", "Q36180") in adams.fields
    assert adams.representations[0].revision == "7"
    assert reader.report.dropped["not the shape of an item"].count == 1
    assert [asked["props"] for asked in wiki.asked] == [
        "info|labels|descriptions|aliases|claims|sitelinks",
        "labels",
    ]
