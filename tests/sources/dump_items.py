"""Items of Wikidata written by hand, in the syntax of its dumps."""

from __future__ import annotations

_ENTITY = "http://www.wikidata.org/entity/"
_KINDS = {"item": ("wikibase-entityid", "wikibase-item"), "time": ("time", "time"), "string": ("string", "string")}


def item(number, labels=None, claims=None, *, descriptions=None, aliases=None, sitelinks=None, **more):
    """Return an item; parts that are empty are lists, as PHP writes them."""
    return {
        "type": "item",
        "id": f"Q{number}",
        "labels": texts(labels or {}) or [],
        "descriptions": texts(descriptions or {}) or [],
        "aliases": {
            language: [{"language": language, "value": value} for value in values]
            for language, values in (aliases or {}).items()
        }
        or [],
        "claims": claims or [],
        "sitelinks": {site: {"site": site, "title": title, "badges": []} for site, title in (sitelinks or {}).items()}
        or [],
        **more,
    }


def texts(values):
    return {language: {"language": language, "value": value} for language, value in values.items()}


def statement(property_id, value, *, rank="normal", ended=False, kind=None, datatype=None):
    """Return a statement: of an item where `value` is a number, of a value that is given whole, or of none."""
    snak = {"snaktype": value, "property": property_id, "datatype": "wikibase-item"}
    if value not in ("somevalue", "novalue"):
        if isinstance(value, int):
            value = {"entity-type": "item", "numeric-id": value, "id": f"Q{value}"}
            kind, datatype = _KINDS["item"]
        datavalue = {"value": value, "type": kind or "string"}
        snak |= {"snaktype": "value", "datavalue": datavalue, "datatype": datatype or "string"}
    made = {"mainsnak": snak, "type": "statement", "id": f"Q1${property_id}", "rank": rank}
    if ended:
        end = {"snaktype": "value", "property": "P582", "datavalue": {"value": time("+1990-00-00T00:00:00Z", 9)}}
        made |= {"qualifiers": {"P582": [end]}, "qualifiers-order": ["P582"]}
    return made


def dated(property_id, text, precision=11, calendar="Q1985727", **more):
    return statement(property_id, time(text, precision, calendar), kind="time", datatype="time", **more)


def time(text, precision, calendar="Q1985727"):
    return {
        "time": text,
        "timezone": 0,
        "before": 0,
        "after": 0,
        "precision": precision,
        "calendarmodel": _ENTITY + calendar,
    }


def located(latitude, longitude, globe="Q2"):
    value = {
        "latitude": latitude,
        "longitude": longitude,
        "altitude": None,
        "precision": 0.01,
        "globe": _ENTITY + globe,
    }
    return statement("P625", value, kind="globecoordinate", datatype="globe-coordinate")


ADAMS = item(
    42,
    {"en": "Douglas Adams", "de": "Douglas Adams", "ru": "Дуглас Адамс", "mul": "Douglas Adams"},
    {
        "P31": [statement("P31", 5)],
        "P21": [statement("P21", 6581097)],
        "P569": [dated("P569", "+1952-03-11T00:00:00Z")],
        "P570": [dated("P570", "+2001-05-11T00:00:00Z")],
        "P19": [statement("P19", 350)],
        "P106": [statement("P106", 214917), statement("P106", 28389, rank="deprecated"), statement("P106", 6625963)],
        "P26": [statement("P26", 999)],
        "P18": [statement("P18", "Douglas adams.jpg", datatype="commonsMedia")],
        "P214": [statement("P214", "113230702", datatype="external-id")],
    },
    descriptions={"en": "English author", "de": "britischer Schriftsteller", "fr": "écrivain"},
    aliases={"en": ["Douglas Noel Adams", "DNA"], "de": ["Douglas N. Adams"], "fr": ["Adams"]},
    sitelinks={"enwiki": "Douglas Adams", "dewiki": "Douglas Adams (Autor)", "commonswiki": "Douglas Adams"},
    lastrevid=1600533266,
    modified="2024-03-17T05:11:46Z",
)
LABELS = {
    "Q5": "human",
    "Q6581097": "male",
    "Q350": "Cambridge",
    "Q214917": "playwright",
    "Q6625963": "novelist",
    "Q11573": "metre",
}
