"""Wikidata's RDF, truthy or full, as items of the shape that its JSON has, so that both become the same entities.

Shapes: https://www.mediawiki.org/wiki/Wikibase/Indexing/RDF_Dump_Format. The full form says of each statement its rank
and of each date its precision. The truthy form says the best values only, and dates as if all were known to the day: 1
January stands for a year of which no more is known far more often than for that day, so it is taken for the year.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from dualway.datasets.base import ReadReport
from dualway.schema import Entity
from dualway.sources.property_names import FIELD_OF
from dualway.sources.rdf_triples import BLANK, IRI, TEXT, Fact, RdfStaging, Triple
from dualway.sources.wikidata import DumpOptions, WikidataReader
from dualway.sources.wikidata_classes import ItemSet, item_number

ENTITY = "http://www.wikidata.org/entity/"
_PROP = "http://www.wikidata.org/prop/"
_DIRECT, _STATEMENT, _STATEMENT_VALUE = f"{_PROP}direct/", f"{_PROP}statement/", f"{_PROP}statement/value/"
_END_TIME = f"{_PROP}qualifier/P582"
_LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
_ALIAS = "http://www.w3.org/2004/02/skos/core#altLabel"
_SAME = "http://www.w3.org/2002/07/owl#sameAs"
_SCHEMA, _WIKIBASE = "http://schema.org/", "http://wikiba.se/ontology#"
_DESCRIPTION, _ABOUT = f"{_SCHEMA}description", f"{_SCHEMA}about"
_VERSION, _MODIFIED, _SITELINKS = f"{_SCHEMA}version", f"{_SCHEMA}dateModified", f"{_WIKIBASE}sitelinks"
_RANK = f"{_WIKIBASE}rank"
_VALUES = ("timeValue", "timePrecision", "geoLatitude", "geoLongitude", "geoGlobe", "quantityAmount", "quantityUnit")
_TEXTS = {_LABEL, _ALIAS, _DESCRIPTION}
_ABOUT_PAGE = {_VERSION, _MODIFIED, _SITELINKS}

_ITEM = re.compile(r"https?://www\.wikidata\.org/entity/([QP][1-9]\d{0,17})")
_OWNER = re.compile(r"http://www\.wikidata\.org/entity/statement/([Qq][1-9]\d{0,17})-(.+)", re.DOTALL)
_PAGE = re.compile(r"https?://www\.wikidata\.org/wiki/Special:EntityData/(Q[1-9]\d{0,17})")
_VALUE_NODE = re.compile(r"http://www\.wikidata\.org/value/.")
_UNKNOWN = "http://www.wikidata.org/.well-known/genid/"
_FILE = re.compile(r"https?://commons\.wikimedia\.org/wiki/Special:FilePath/(.+)", re.DOTALL)
_POINT = re.compile(r"(?:<([^<>]*)> ?)?point\(([-+.\deE]{1,40}) ([-+.\deE]{1,40})\)", re.IGNORECASE)
_TIME = re.compile(r"([+-]?)(\d{1,16})-(\d\d)-(\d\d)(T[^ ]*)?")
_WHOLE = re.compile(r"\d{1,9}")
_RANKS = {f"{_WIKIBASE}PreferredRank": "preferred", f"{_WIKIBASE}DeprecatedRank": "deprecated"}
_DATE_TYPES = {"http://www.w3.org/2001/XMLSchema#dateTime", "http://www.w3.org/2001/XMLSchema#date"}
_NUMBER_TYPE, _POINT_TYPE = (
    "http://www.w3.org/2001/XMLSchema#decimal",
    "http://www.opengis.net/ont/geosparql#wktLiteral",
)
_YEAR, _DAY = 9, 11
_MOST_SITELINKS = 2_000  # more wikis than there are
_HOSTS = {"be-tarask": "be_x_old"}  # of Wikipedias that bear another name in sitelinks

Row = tuple[str, Sequence[Any]]


class WikidataRdf:
    """Reads Wikidata's triples: what is kept of each, and how entities are made of them."""

    def __init__(self, options: DumpOptions, report: ReadReport) -> None:
        options.check()
        self._options, self._report = options, report
        self._languages = {language: rank for rank, language in enumerate(options.languages)}
        self._is_wanted_site = lru_cache(1 << 10)(self._names_an_item)
        told = {id for lines in options.properties.lines.values() for line in lines for id in line.properties}
        self._kept = dict.fromkeys(("P31", "P279", *FIELD_OF, *sorted(told)))
        self.predicates = frozenset(
            (*_TEXTS, *_ABOUT_PAGE, _ABOUT, _SAME, _RANK, _END_TIME, *(f"{_WIKIBASE}{name}" for name in _VALUES))
        ) | {
            f"{prefix}{id}" for id in self._kept for prefix in (_DIRECT, _PROP, _STATEMENT, _STATEMENT_VALUE)
        }  # fmt: skip

    def sieve(self, triple: Triple) -> Iterator[Row]:
        """Yield the rows of the working database that a triple becomes."""
        item = _ITEM.fullmatch(triple.subject)
        if item is not None:
            yield from self._of_item(item[1], triple)
        elif owner := _OWNER.fullmatch(triple.subject):
            yield _fact("facts", owner[1].upper(), owner[2].upper(), triple)
        elif page := _PAGE.fullmatch(triple.subject):
            if triple.predicate in _ABOUT_PAGE:
                yield _fact("facts", page[1], "", triple)
        elif _VALUE_NODE.match(triple.subject):
            yield _fact("nodes", triple.subject, "", triple)
        elif triple.predicate == _ABOUT and (about := _ITEM.fullmatch(triple.object)):
            yield from self._of_article(about[1], triple)
        else:
            self._report.counts["triples of other things"] += 1

    def _of_item(self, item_id: str, triple: Triple) -> Iterator[Row]:
        if item_id[0] != "Q":
            self._report.counts["triples of properties"] += 1
            return
        if triple.predicate in _TEXTS:
            rank = self._languages.get(triple.language)
            if rank is None or triple.kind != TEXT:
                return
            if triple.predicate == _LABEL:
                yield "labels", (item_id, rank, triple.object.strip())
        elif triple.predicate == f"{_DIRECT}P279" and (parent := _ITEM.fullmatch(triple.object)):
            yield "links", ("subclass", item_id, parent[1])
        yield _fact("facts", item_id, "", triple)

    def _of_article(self, item_id: str, triple: Triple) -> Iterator[Row]:
        yield "facts", (item_id, "", _ABOUT, triple.subject, IRI, "")
        site, title = _article(triple.subject)
        if title and self._is_wanted_site(site):
            yield "labels", (item_id, len(self._languages), title)

    def _names_an_item(self, site: str) -> bool:
        """Tell whether titles of a site are names, of items that have no label."""
        return bool(WikidataReader(self._options).name_of({"sitelinks": {site: {"title": "x"}}}))

    def entities(self, staging: RdfStaging) -> Iterator[Entity]:
        """Yield the entities of the working database, in the order of their numbers."""
        label_of = lru_cache(1 << 16)(staging.label)
        reader = WikidataReader(
            self._options,
            self._report,
            classes=self._below(staging, self._options.classes) if self._options.classes else None,
            leave_out=self._below(staging, self._options.leave_out),
        )
        for item_id, facts in staging.subjects(self._report):
            if all(fact.predicate in _TEXTS for fact in facts):
                self._report.counts["items of which only names are said"] += 1
                continue
            try:
                entity = reader.entity(self._item(item_id, facts, staging), label_of)
            except ValueError as error:
                self._report.drop(f"items that cannot be understood: {error}", item_id)
                continue
            if entity is not None:
                yield entity

    def _below(self, staging: RdfStaging, classes: Sequence[str]) -> ItemSet:
        names = staging.below("subclass", classes) if self._options.with_subclasses else set(classes)
        return ItemSet(sorted(number for name in names if (number := item_number(name)) is not None))

    def _item(self, item_id: str, facts: Sequence[Fact], staging: RdfStaging) -> dict[str, Any]:
        """Return an item in the shape of Wikidata's JSON."""
        by_node: dict[str, list[Fact]] = {}
        for fact in facts:
            by_node.setdefault(fact.node, []).append(fact)
        own = by_node.pop("", [])
        target = next(
            (found for fact in own if fact.predicate == _SAME and (found := _ITEM.fullmatch(fact.object))), None
        )
        claims = self._claims(item_id, own, by_node, staging)
        if target is not None and not claims:
            return {"id": item_id, "entity": item_id, "redirect": target[1]}
        return {"type": "item", "id": item_id, "claims": claims, **_texts(own), **self._page(item_id, own)}

    def _page(self, item_id: str, facts: Sequence[Fact]) -> dict[str, Any]:
        """Return what is said of an item's page: revision, time, sitelinks."""
        sitelinks: dict[str, Any] = {}
        found: dict[str, str] = {}
        for fact in facts:
            if fact.predicate == _ABOUT:
                site, title = _article(fact.object)
                sitelinks.setdefault(site, {"title": title})
            elif fact.predicate in _ABOUT_PAGE:
                found[fact.predicate] = fact.object
        told = found.get(_SITELINKS, "0")
        number = int(told) if _WHOLE.fullmatch(told) else 0
        if number > _MOST_SITELINKS:
            self._report.drop(f"a number of sitelinks above {_MOST_SITELINKS:,}", item_id, told)
            number = 0
        for i in range(number - len(sitelinks)):  # those that are counted but not listed
            sitelinks[f" {i}"] = {}
        page: dict[str, Any] = {"sitelinks": sitelinks, "modified": found.get(_MODIFIED, "")}
        version = found.get(_VERSION, "")
        return {**page, "lastrevid": int(version)} if version.isdecimal() and len(version) < 20 else page

    def _claims(
        self, item_id: str, facts: Sequence[Fact], nodes: Mapping[str, Sequence[Fact]], staging: RdfStaging
    ) -> dict[str, list[dict[str, Any]]]:
        """Return statements by property: those with ranks where these are in the files, else the truthy ones."""
        full: dict[str, list[dict[str, Any]]] = {}
        truthy: dict[str, list[dict[str, Any]]] = {}
        for fact in facts:
            if fact.predicate.startswith(_DIRECT):
                property_id = fact.predicate.removeprefix(_DIRECT)
                truthy.setdefault(property_id, []).append({"mainsnak": self._snak(item_id, property_id, fact)})
            elif fact.predicate.startswith(_PROP) and (owner := _OWNER.fullmatch(fact.object)):
                property_id, node = fact.predicate.removeprefix(_PROP), nodes.get(owner[2].upper())
                if node:
                    full.setdefault(property_id, []).append(self._full(item_id, property_id, node, staging))
        return {id: full.get(id) or truthy[id] for id in (*self._kept, *full, *truthy) if id in full or id in truthy}

    def _full(self, item_id: str, property_id: str, node: Sequence[Fact], staging: RdfStaging) -> dict[str, Any]:
        """Return the statement that a node of a full dump is."""
        statement: dict[str, Any] = {"rank": "normal", "mainsnak": {"snaktype": "novalue"}}
        exact: Mapping[str, Any] | None = None
        for fact in node:
            if fact.predicate == _RANK:
                statement["rank"] = _RANKS.get(fact.object, "normal")
            elif fact.predicate == _END_TIME:
                statement["qualifiers"] = {"P582": [{"snaktype": "value"}]}
            elif fact.predicate == f"{_STATEMENT_VALUE}{property_id}":
                exact = _exact(staging.node(fact.object)) or exact
            elif fact.predicate == f"{_STATEMENT}{property_id}":
                statement["mainsnak"] = self._snak(item_id, property_id, fact)
        if exact is not None:
            statement["mainsnak"] = {"snaktype": "value", "datavalue": exact}
        return statement

    def _snak(self, item_id: str, property_id: str, fact: Fact) -> dict[str, Any]:
        if fact.kind == BLANK or fact.object.startswith(_UNKNOWN):
            return {"snaktype": "somevalue"}
        value = _value(fact)
        if value["type"] == "time" and value["value"]["precision"] == _YEAR:
            self._report.note("dates of 1 January without a precision, taken for the year", item_id, property_id)
        return {"snaktype": "value", "datavalue": value}


def _fact(table: str, subject: str, node: str, triple: Triple) -> Row:
    return table, (subject, node, triple.predicate, triple.object, triple.kind, triple.language)


def _texts(facts: Sequence[Fact]) -> dict[str, dict[str, Any]]:
    """Return labels, descriptions and aliases by language; of several labels of one language, the first."""
    labels: dict[str, Any] = {}
    descriptions: dict[str, Any] = {}
    aliases: dict[str, list[dict[str, str]]] = {}
    for fact in facts:
        entry = {"language": fact.language, "value": fact.object}
        if fact.predicate == _LABEL:
            labels.setdefault(fact.language, entry)
        elif fact.predicate == _DESCRIPTION:
            descriptions.setdefault(fact.language, entry)
        elif fact.predicate == _ALIAS:
            aliases.setdefault(fact.language, []).append(entry)
    return {"labels": labels, "descriptions": descriptions, "aliases": aliases}


def _article(url: str) -> tuple[str, str]:
    """Return the site that an article's address belongs to, as sitelinks name it for Wikipedias, and its title."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url, ""
    host = parts.netloc.lower()
    language, _, project = host.partition(".")
    title = unquote(parts.path.removeprefix("/wiki/")).replace("_", " ").strip()
    if project != "wikipedia.org":
        return host, title
    return f"{_HOSTS.get(language, language).replace('-', '_')}wiki", title


def _value(fact: Fact) -> dict[str, Any]:
    """Return the object of a triple as a `datavalue`."""
    if fact.kind == IRI:
        item, file = _ITEM.fullmatch(fact.object), _FILE.fullmatch(fact.object)
        if item is not None:
            return {"type": "wikibase-entityid", "value": {"id": item[1]}}
        return {"type": "string", "value": unquote(file[1]) if file else fact.object}
    if fact.kind == TEXT:
        return {"type": "monolingualtext", "value": {"text": fact.object, "language": fact.language}}
    read = _VALUE_READERS.get(fact.kind)
    if read is None:
        return {"type": "string", "value": fact.object}
    return read(fact.object) or {"type": "not understood", "value": fact.object}


def _time(text: str, precision: int | None = None) -> dict[str, Any] | None:
    """Return a date; years before Christ are counted with a year 0 in RDF, and without in JSON.

    Days of the Julian calendar are Gregorian already. Years of decades and centuries are as they were.
    """
    parts = _TIME.fullmatch(text)
    if parts is None:
        return None
    sign, year, month, day = parts[1], int(parts[2]), parts[3], parts[4]
    if precision is None:
        precision = _YEAR if (month, day) == ("01", "01") else _DAY
    if precision >= _YEAR and (sign == "-" or year == 0):
        sign, year = "-", year + 1
    time = f"{'-' if sign == '-' else '+'}{year:04d}-{month}-{day}T00:00:00Z"
    return {"type": "time", "value": {"time": time, "precision": precision}}


def _point(text: str) -> dict[str, Any] | None:
    found = _POINT.fullmatch(text.strip())
    return None if found is None else _coordinates(found[3], found[2], found[1] or "")


def _coordinates(latitude: str, longitude: str, globe: str) -> dict[str, Any] | None:
    try:
        degrees = {"latitude": float(latitude), "longitude": float(longitude)}
    except ValueError:
        return None
    return {"type": "globecoordinate", "value": {**degrees, "globe": globe}}


def _number(text: str) -> dict[str, Any]:
    return {"type": "quantity", "value": {"amount": text, "unit": "1"}}


_VALUE_READERS: Mapping[str, Callable[[str], dict[str, Any] | None]] = {
    **dict.fromkeys(_DATE_TYPES, _time),
    _POINT_TYPE: _point,
    _NUMBER_TYPE: _number,
}


def _exact(facts: Sequence[Fact]) -> dict[str, Any] | None:
    """Return what a value node of a full dump says; None where it is not in the files, or not understood."""
    found = {fact.predicate.removeprefix(_WIKIBASE): fact.object for fact in facts}
    if "timeValue" in found:
        precision = found.get("timePrecision", "")
        return _time(found["timeValue"], int(precision)) if _WHOLE.fullmatch(precision) else None
    if "geoLatitude" in found and "geoLongitude" in found:
        return _coordinates(found["geoLatitude"], found["geoLongitude"], found.get("geoGlobe", ""))
    if "quantityAmount" in found:
        unit = found.get("quantityUnit", "1")
        value = {"amount": found["quantityAmount"], "unit": "1" if unit == f"{ENTITY}Q199" else unit}
        return {"type": "quantity", "value": value}
    return None
