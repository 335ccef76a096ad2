"""DBpedia's RDF as entities: its datasets come as a file each, so what is said of a resource is in many of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from dualway.datasets.base import ReadReport
from dualway.schema import Entity, Field, Representation
from dualway.sources.properties import DEFAULT, PropertiesConfig, properties_from_fields
from dualway.sources.rdf_triples import IRI, TEXT, Fact, RdfStaging, Triple
from dualway.sources.wikidata_values import coordinates
from dualway.sources.wikitext import static_from_plain

LICENCE = "CC BY-SA 3.0"
ONTOLOGY = "http://dbpedia.org/ontology/"
_FOAF, _GEO = "http://xmlns.com/foaf/0.1/", "http://www.w3.org/2003/01/geo/wgs84_pos#"
LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
COMMENT = "http://www.w3.org/2000/01/rdf-schema#comment"
ABSTRACT = f"{ONTOLOGY}abstract"
REDIRECTS, DISAMBIGUATES = f"{ONTOLOGY}wikiPageRedirects", f"{ONTOLOGY}wikiPageDisambiguates"
SAME = "http://www.w3.org/2002/07/owl#sameAs"
_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
_SUBCLASS = "http://www.w3.org/2000/01/rdf-schema#subClassOf"
_NAME, _LATITUDE, _LONGITUDE = f"{_FOAF}name", f"{_GEO}lat", f"{_GEO}long"
_POINT = "http://www.georss.org/georss/point"
_TITLE = f"{ONTOLOGY}title"
_DESCRIPTIONS = ("http://purl.org/dc/terms/description", f"{ONTOLOGY}description", COMMENT)  # the best first
_NAMES = (_NAME, f"{ONTOLOGY}alias", f"{ONTOLOGY}birthName")

# Properties by the field that each becomes, the better of two that mean the same first.
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "sex": (f"{_FOAF}gender", "sex", "gender"),
    "born": ("birthDate", "birthYear"),
    "died": ("deathDate", "deathYear"),
    "birthplace": ("birthPlace",),
    "deathplace": ("deathPlace",),
    "occupation": ("occupation", "profession"),
    "position": ("office", "position"),
    "employer": ("employer",),
    "citizenship": ("citizenship", "nationality"),
    "country": ("country",),
    "located_in": ("isPartOf", "location", "locatedInArea"),
    "inception": ("foundingDate", "foundingYear", "formationDate"),
    "dissolved": ("dissolutionDate", "dissolutionYear"),
    "spouse": ("spouse",),
    "child": ("child",),
    "parent": ("parent",),
    "sibling": ("sibling",),
    "member_of": ("associatedBand", "associatedMusicalArtist"),
    "team": ("team", "currentTeam"),
    "religion": ("religion",),
    "language": ("language",),
    "educated_at": ("almaMater", "education"),
    "award": ("award",),
    "image": ("thumbnail", f"{_FOAF}depiction"),
    "website": (f"{_FOAF}homepage",),
    "nickname": (f"{_FOAF}nick", "nickname"),
}
_PROPERTIES = {
    name if ":" in name else f"{ONTOLOGY}{name}": (field, place)
    for field, names in _FIELDS.items()
    for place, name in enumerate(names)
}
_DATES = {"born", "died", "inception", "dissolved"}
_LINKS = {REDIRECTS: "redirect", SAME: "same", _SUBCLASS: "subclass"}
_LINES = {LABEL, ABSTRACT, *_DESCRIPTIONS, *_NAMES, _TITLE, _TYPE, _LATITUDE, _LONGITUDE, _POINT, DISAMBIGUATES}
# Of which a subject that has nothing else is no entity: other resources speak of it.
_LINKS_ONLY = {SAME, REDIRECTS}

RESOURCE = re.compile(r"https?://(?:([a-z][a-z-]{0,15})\.)?dbpedia\.org/resource/(.+)", re.DOTALL)
_SPACE = re.compile(r"(?:Category|Template|File|Image|Portal|Wikipedia|Help|Module|Draft|MediaWiki|TimedText):")
WIKIDATA = re.compile(r"https?://(?:www\.)?wikidata\.org/(?:entity|wiki)/(Q[1-9]\d{0,17})")
_IMAGE = re.compile(r"https?://(?:commons\.wikimedia|[a-z-]+\.wikipedia)\.org/wiki/Special:FilePath/([^?#]+)")
_DATE = re.compile(r"([+-]?)(\d{1,6})(?:-(\d\d))?(?:-(\d\d))?(?:T.*|Z|[+-]\d\d:\d\d)?")
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_TWO = re.compile(r"([-+.\deE]{1,40})[ ,]+([-+.\deE]{1,40})")
_MOST_ALIASES = 100
_REMEMBERED = 1 << 16

Row = tuple[str, Sequence[Any]]


class DBpediaRdf:
    """Reads DBpedia's triples: what is kept of each, and how entities are made of them.

    Args:
        language: Of names and texts, and of the edition whose resources are taken; those of dbpedia.org itself always
            are.
        report: Counts what is left out.
        classes: Take resources of these classes of the ontology ("Person", or its address), or of subclasses where the
            files have the ontology; any where empty.
        ids: "own" (the resource's address) or "wikidata" (of the item that it is the same as, its own where none is).
        properties: What the text of properties tells.
    """

    def __init__(
        self,
        language: str,
        report: ReadReport,
        *,
        classes: Sequence[str] = (),
        ids: str = "own",
        properties: PropertiesConfig = DEFAULT,
    ) -> None:
        self._language, self._report, self._ids, self._properties = language, report, ids, properties
        self._classes = [name if "://" in name else f"{ONTOLOGY}{name.rpartition(':')[2]}" for name in classes]
        self._source = f"dbpedia:{language}"
        self.predicates = frozenset((*_PROPERTIES, *_LINES, *_LINKS))

    def sieve(self, triple: Triple) -> Iterator[Row]:
        """Yield the rows of the working database that a triple becomes."""
        subject, predicate, value, kind, language = triple
        if kind == TEXT and language != self._language:
            return
        if predicate == SAME and not WIKIDATA.fullmatch(value):
            return
        if predicate in _LINKS and kind == IRI:
            yield "links", (_LINKS[predicate], subject, value)
        if predicate == LABEL and kind != IRI:
            yield "labels", (subject, 0, value.strip())
        yield from self._of_resource(triple)

    def _of_resource(self, triple: Triple) -> Iterator[Row]:
        subject, predicate, value, kind, language = triple
        found = RESOURCE.fullmatch(subject)
        if found is None:
            self._report.counts["triples of other things"] += predicate not in (LABEL, _SUBCLASS)
        elif found[1] not in (None, self._language):
            self._report.counts["triples of editions in other languages"] += 1
        elif _is_part(found[2]):
            if predicate == _TITLE and kind != IRI:
                yield "labels", (subject, 1, value.strip())
        elif _SPACE.match(found[2]):
            self._report.counts["triples of categories and other pages that are no articles"] += 1
        elif predicate != _TITLE:
            yield "facts", (subject, "", predicate, value, kind, language)

    def entities(self, staging: RdfStaging) -> Iterator[Entity]:
        """Yield the entities of the working database, in the order of length and letters of their addresses."""
        names = _Names(staging, self._ids)
        classes = staging.below("subclass", self._classes) if self._classes else None
        for subject, facts in staging.subjects(self._report):
            by_predicate: dict[str, list[Fact]] = {}
            for fact in facts:
                by_predicate.setdefault(fact.predicate, []).append(fact)
            problem = _problem(by_predicate, classes)
            if problem:
                self._report.drop(problem, subject)
                continue
            yield self._entity(subject, by_predicate, names)

    def _entity(self, subject: str, facts: Mapping[str, list[Fact]], names: _Names) -> Entity:
        name = next((fact.object.strip() for fact in facts.get(LABEL, ()) if fact.object.strip()), title_of(subject))
        types = [fact.object for fact in facts.get(_TYPE, ()) if fact.object.startswith(ONTOLOGY)]
        others = (title_of(source) for source in names.staging.sources("redirect", subject, _MOST_ALIASES))
        aliases = (
            *(fact.object.strip() for predicate in _NAMES for fact in facts.get(predicate, ()) if fact.kind != IRI),
            *others,
        )
        entity = Entity(
            self._id(subject, names.staging),
            name,
            tuple(dict.fromkeys(alias for alias in aliases if alias and alias != name))[:_MOST_ALIASES],
            tuple(dict.fromkeys(map(names.label, types))),
            fields=tuple(self._fields(subject, facts, types, names)),
        )
        texts = tuple(self._texts(subject, facts, properties_from_fields(entity, self._properties)))
        return Entity(entity.id, name, entity.aliases, entity.types, texts, fields=entity.fields)

    def _id(self, subject: str, staging: RdfStaging) -> str:
        """Return the entity's id; that of Wikidata once only, since ids must differ."""
        if self._ids == "own":
            return subject
        item = wikidata_id(subject, staging)
        if item is None:
            self._report.note("no item of Wikidata is the same, so the own address is the id", subject)
            return subject
        if staging.take(item):
            return item
        self._report.note("the same item of Wikidata as another resource, so the own address is the id", subject, item)
        return subject

    def _texts(self, subject: str, facts: Mapping[str, list[Fact]], properties: str) -> Iterator[Representation]:
        texts = [("properties", properties)]
        texts += [("description", _first(facts, _DESCRIPTIONS))]
        abstract = _first(facts, (ABSTRACT,))
        if abstract:
            static = static_from_plain(abstract, language=self._language)
            texts.append(("static", static.text))
            if not static.text:
                self._report.drop(f"abstracts: {static.problem}", subject, abstract)
        for kind, text in texts:
            if text:
                yield Representation(kind, text, self._source, self._language, subject, LICENCE)

    def _fields(
        self, subject: str, facts: Mapping[str, list[Fact]], types: Sequence[str], names: _Names
    ) -> Iterator[Field]:
        for type in dict.fromkeys(types):
            yield Field("instance_of", names.label(type), type)
        found: dict[str, list[tuple[int, Fact]]] = {}
        for predicate, several in facts.items():
            if predicate in _PROPERTIES:
                field, place = _PROPERTIES[predicate]
                found.setdefault(field, []).extend((place, fact) for fact in several)
        for field in _FIELDS:
            yield from self._values(subject, field, found.get(field, []), names)
        point = _coordinates(facts)
        if point:
            yield Field("coordinates", point)
        resource = RESOURCE.fullmatch(subject)
        if resource is not None and self._language in (resource[1] or "en",):
            yield Field(f"wikipedia:{self._language}", title_of(subject))

    def _values(self, subject: str, field: str, found: Sequence[tuple[int, Fact]], names: _Names) -> Iterator[Field]:
        """Yield a field's values, each once: those of the best property first; of dates, those of the best alone."""
        best = min((place for place, _ in found), default=0)
        seen: set[str] = set()
        for place, fact in sorted(found, key=lambda entry: entry[0]):
            if field in _DATES and place > best:
                continue
            value, id = self._value(field, fact, names)
            if not value:
                self._report.note(f"values of {field} that cannot be understood", subject, fact.object)
            elif value not in seen:
                seen.add(value)
                yield Field(field, value, id)

    def _value(self, field: str, fact: Fact, names: _Names) -> tuple[str, str]:
        if field in _DATES:
            return edtf(fact.object), ""
        if fact.kind != IRI:
            return fact.object.strip(), ""
        if field == "website":
            return fact.object, ""
        if field == "image":
            image = _IMAGE.match(fact.object)
            return (unquote(image[1]).replace("_", " ") if image else ""), ""
        return names.label(fact.object), names.id(fact.object)


class _Names:
    """Labels and ids of what resources speak of, the latest ones remembered."""

    def __init__(self, staging: RdfStaging, ids: str) -> None:
        self.staging, self._ids = staging, ids
        self.label = lru_cache(_REMEMBERED)(self._label)
        self.id = lru_cache(_REMEMBERED)(self._id)

    def _label(self, address: str) -> str:
        """Return the label of a resource or a class; that of what it redirects to; or what its address says."""
        found = self.staging.label(address)
        if found:
            return found
        target = next(iter(self.staging.targets("redirect", address, 1)), None)
        return (target and self.staging.label(target)) or title_of(address)

    def _id(self, address: str) -> str:
        """Return the id of a resource; "" of what is only a part of one."""
        part = RESOURCE.fullmatch(address)
        if part and _is_part(part[2]):
            return ""
        return (wikidata_id(address, self.staging) if self._ids == "wikidata" else None) or address


def _is_part(name: str) -> bool:
    """Tell whether a resource is a part of what is said of another: "Ada_Lovelace__CareerStation__1"."""
    rest, mark, number = name.rpartition("__")
    return bool(mark) and number.isdecimal() and "__" in rest[1:]


def title_of(address: str) -> str:
    """Return the title of the page that a resource is: "Paris,_Texas" gives "Paris, Texas"; of a class, its words."""
    resource = RESOURCE.fullmatch(address)
    if resource is not None:
        return " ".join(unquote(resource[2]).replace("_", " ").split()) or address
    name = re.split("[/#]", address)[-1]
    return (_CAPITAL.sub(" ", name).lower() if address.startswith(ONTOLOGY) else name) or address


def wikidata_id(subject: str, staging: RdfStaging) -> str | None:
    """Return the item of Wikidata that a resource is the same as; of several, the oldest."""
    found = (WIKIDATA.fullmatch(target) for target in staging.targets("same", subject))
    return min((item[1] for item in found if item), key=lambda id: (len(id), id), default=None)


def edtf(text: str) -> str:
    """Return a date as EDTF, "" where it is none; XSD 1.0, which DBpedia follows, writes 44 BC as -0044."""
    found = _DATE.fullmatch(text.strip())
    if found is None:
        return ""
    sign, year, month, day = found[1], int(found[2]), found[3], found[4]
    if not 0 < year <= 9999 or not 0 < int(month or 1) <= 12 or not 0 < int(day or 1) <= 31:
        return ""
    years = f"-{year - 1:04d}" if sign == "-" and year > 1 else f"{0 if sign == '-' else year:04d}"
    return "-".join(filter(None, (years, month, day)))


def _problem(facts: Mapping[str, list[Fact]], classes: set[str] | None) -> str:
    """Return why a subject is no entity that is wanted, "" where it is."""
    if REDIRECTS in facts:
        return "redirects"
    if DISAMBIGUATES in facts:
        return "disambiguation pages"
    if not facts.keys() - _LINKS_ONLY:
        return "resources of which nothing but links is said"
    if classes is not None and not any(fact.object in classes for fact in facts.get(_TYPE, ())):
        return "of none of the wanted classes"
    return ""


def _first(facts: Mapping[str, list[Fact]], predicates: Sequence[str]) -> str:
    texts = (fact.object.strip() for name in predicates for fact in facts.get(name, ()) if fact.kind != IRI)
    return next(filter(None, texts), "")


def _coordinates(facts: Mapping[str, list[Fact]]) -> str | None:
    latitude, longitude = _first(facts, (_LATITUDE,)), _first(facts, (_LONGITUDE,))
    if not (latitude and longitude):
        found = _TWO.fullmatch(_first(facts, (_POINT,)))
        if found is None:
            return None
        latitude, longitude = found.groups()
    try:
        return coordinates({"latitude": float(latitude), "longitude": float(longitude)})
    except ValueError:
        return None
