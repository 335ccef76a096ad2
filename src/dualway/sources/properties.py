"""The text of an entity's properties, as the data sets have it: "Sex: male. Birth: 1946, Jamaica Hospital." (Table 1).

Which properties are told, in which order, under which label and how many values of each, is set for each type of
entity.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from dualway.errors import DataError, UsageError
from dualway.schema import Entity
from dualway.sources.property_names import FIELD_OF, PROPERTIES
from dualway.storage import read_text

TYPES = ("person", "place", "organisation", "work", "event", "other")
_DATES = {"P569", "P570", "P571", "P576", "P577", "P580", "P582", "P585", "P2031"}
_YEAR = re.compile(r"(-?)(\d{4,})(-\d\d(?:-\d\d)?)?\Z")
_ROUGH = re.compile(r"(-?)(\d{2,3})(XX?)\Z")
_ID = re.compile(r"P[1-9]\d{0,9}\Z")
_KEYS = {"label", "properties", "max_values"}
_SETTINGS = ("variant", "with_name", "dates", "types", *TYPES)


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said of an entity, in words: a property, its label, and one value (with the id of its entity)."""

    property_id: str
    label: str
    value: str
    value_id: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One "Label: value, value." of the text: the values of one or several properties, in this order."""

    label: str
    properties: tuple[str, ...]
    max_values: int = 10  # of each property


def _lines(*ids: str, max_values: int = 10, **joined: tuple[str, ...]) -> tuple[Line, ...]:
    return tuple(Line(PROPERTIES[id].label, joined.get(id, (id,)), max_values) for id in ids)


_BORN, _DIED = ("P569", "P19"), ("P570", "P20")
_PERSON = _lines(
    *("P1449", "P21", "P569", "P570", "P140", "P106", "P101", "P39", "P102", "P26", "P1412", "P69", "P54", "P413"),
    *("P108", "P27", "P463", "P166", "P800"),
    P569=_BORN,
    P570=_DIED,
)
_PLACE = _lines("P31", "P131", "P17", "P361", "P571")
_ORGANISATION = _lines("P31", "P571", "P112", "P159", "P17", "P641", "P361", "P576")
_WORK = _lines("P31", "P50", "P57", "P175", "P136", "P577", "P495")
_EVENT = _lines("P31", "P585", "P580", "P582", "P276", "P17", "P641", "P361")
_OTHER = _lines("P31", "P361", "P131", "P17", "P571", "P136", "P800")
_STANDARD: dict[str, tuple[Line, ...]] = dict(zip(TYPES, (_PERSON, _PLACE, _ORGANISATION, _WORK, _EVENT, _OTHER)))

# What the published files tell of persons, in their order.
_ALL = 1000
_WIKIMEL = (
    *_lines(
        *("P21", "P569", "P570", "P140", "P106", "P2031", "P26", "P1412", "P69"),
        max_values=_ALL,
        P569=_BORN,
        P570=_DIED,
    ),
    Line("Nick name", ("P1449",), _ALL),
)
_RICHPEDIA_LONG = _lines(
    *("P1449", "P21", "P569", "P570", "P69", "P2031", "P106", "P39", "P26", "P1412", "P140"),
    max_values=_ALL,
    P569=_BORN,
    P570=_DIED,
)
_RICHPEDIA_SHORT = (*_lines("P106", max_values=3), *_lines("P1412", max_values=_ALL))


@dataclass(frozen=True, slots=True)
class PropertiesConfig:
    """What the text of properties tells.

    Attributes:
        lines: For each of `TYPES`, what is told and in which order.
        types: Class (its Wikidata id, or its label, folded) -> one of `TYPES`; any other class is "other".
        with_name: Begin with "NAME. ".
        dates: "full" ("1946-06-14") or "year" ("1946").
    """

    lines: Mapping[str, tuple[Line, ...]] = field(default_factory=lambda: dict(_STANDARD))
    types: Mapping[str, str] = field(default_factory=lambda: dict(_TYPE_OF))
    with_name: bool = False
    dates: str = "full"

    def type_of(self, types: Iterable[str]) -> str:
        """Return which of `TYPES` an entity of these classes (ids or labels) is; the first that is known decides."""
        return next((self.types[key] for key in map(str.casefold, types) if key in self.types), "other")


_CLASSES = {
    "person": "q5, human, person, q15632617, fictional human, q95074, fictional character, q215627",
    "place": (
        "q515, city, q6256, country, q3624078, sovereign state, q486972, human settlement, q532, village, q3957, town, "
        "q23442, island, q8502, mountain, q4022, river, q1549591, big city, q1093829, city in the united states, "
        "q41176, building, q35657, u.s. state, q12280, bridge, q23397, lake, q16970, church building, "
        "q33506, museum, q3947, house, q483110, stadium, place, populated place, settlement, natural place, "
        "architectural structure"
    ),
    "organisation": (
        "q43229, organization, organisation, q4830453, business, q783794, company, q476028, association football club, "
        "q7278, political party, q847017, sports club, q3918, university, q215380, musical group, q5741069, rock band, "
        "q12973014, sports team, q6881511, enterprise, q891723, public company, q1110794, daily newspaper, band, "
        "educational institution, sports team, soccer club"
    ),
    "work": (
        "q11424, film, q571, book, q7725634, literary work, q482994, album, q7889, video game, q5398426, "
        "television series, q3305213, painting, q134556, single, q7366, song, q11032, newspaper, q5633421, "
        "scientific journal, work, creative work, written work, musical work, artwork, television show"
    ),
    "event": (
        "q1656682, event, q178561, battle, q198, war, q40231, election, q27020041, sports season, q18608583, "
        "recurring sporting event, q132241, festival, q16510064, sporting event, q1190554, occurrence, sports event, "
        "societal event, military conflict"
    ),
}
_TYPE_OF = {word: type for type, words in _CLASSES.items() for word in words.split(", ")}
DEFAULT = PropertiesConfig()

# Settings by name: ours, and what the published files tell.
VARIANTS: Mapping[str, PropertiesConfig] = {
    "standard": DEFAULT,
    "wikimel": PropertiesConfig({**_STANDARD, "person": _WIKIMEL}, dates="year"),
    "long": PropertiesConfig({**_STANDARD, "person": _RICHPEDIA_LONG}),
    "short": PropertiesConfig({**_STANDARD, "person": _RICHPEDIA_SHORT}),
}


def properties_text(
    claims: Sequence[Claim], types: Sequence[str], config: PropertiesConfig = DEFAULT, *, name: str = ""
) -> str:
    """Return the text of an entity's properties, "" where it has none that is told.

    Args:
        claims: What is said of it, values in words, the best first.
        types: Its classes: ids or labels.
        config: What is told.
        name: Begins the text where the settings ask for it.

    Example:
        >>> claims = [Claim("P21", "Sex", "male"), Claim("P569", "Birth", "1946"), Claim("P19", "Birth", "Queens")]
        >>> properties_text(claims, ["Q5"])
        'Sex: male. Birth: 1946, Queens.'
    """
    values: dict[str, dict[str, None]] = {}
    for claim in claims:
        word = _date(claim.value, config) if claim.property_id in _DATES else claim.value.strip()
        if word:
            values.setdefault(claim.property_id, {})[word] = None
    parts: list[str] = []
    for line in config.lines[config.type_of(types)]:
        told = [value for id in line.properties for value in list(values.get(id, ()))[: line.max_values]]
        if told:
            parts.append(f"{line.label}: {', '.join(dict.fromkeys(told))}.")
    if parts and config.with_name and name:
        parts.insert(0, f"{name}.")
    return " ".join(parts)


def properties_from_fields(entity: Entity, config: PropertiesConfig = DEFAULT) -> str:
    """Return the text of properties by an entity's fields alone, so that any knowledge base can have it.

    A field whose entity has no known name (its value is its id) is not told.
    """
    id_of = {name: id for id, name in reversed(list(FIELD_OF.items()))}
    claims = [
        Claim(id_of[part.name], PROPERTIES[id_of[part.name]].label, part.value, part.id)
        for part in entity.fields
        if part.name in id_of and not (part.id and part.value == part.id)
    ]
    classes = [word for part in entity.fields if part.name == "instance_of" for word in (part.id, part.value)]
    return properties_text(claims, [*classes, *entity.types], config, name=entity.name)


def date_words(date: str) -> str:
    """Return a date of a field in words: "1946-06-14", "1946", "44 BC", "1940s", "19th century"."""
    rough, found = _ROUGH.match(date), _YEAR.match(date)
    if rough is not None:
        before, number = " BC" if rough[1] else "", int(rough[2])
        if rough[3] == "XX":
            return f"{number + 1}{_ordinal(number + 1)} century{before}"
        return f"{number}0s{before}" if len(rough[2]) == 3 else date
    if found is None:
        return date.strip()
    sign, year, rest = found.groups()
    if sign or int(year) == 0:
        return f"{int(year) + 1} BC"
    return f"{year}{rest}" if rest else str(int(year))


def properties_config(choice: str) -> PropertiesConfig:
    """Return the settings that a user chose: one of `VARIANTS` by its name, or a TOML file.

    Raises:
        UsageError: Neither.
        DataError: As `read_properties_config`.
    """
    if choice in VARIANTS:
        return VARIANTS[choice]
    path = Path(choice)
    if path.suffix.lower() != ".toml":
        raise UsageError(f"unknown choice of properties {choice!r}; give {', '.join(VARIANTS)} or a .toml file")
    return read_properties_config(path)


def read_properties_config(path: Path) -> PropertiesConfig:
    """Read a TOML file that says what is told (docs/properties.md).

        variant = "standard"
        with_name = false
        dates = "year"
        [types]
        Q11424 = "work"
        [[person]]
        label = "Born"
        properties = ["P569", "birthplace"]
        max_values = 1

    A type that has no lines in it keeps those of the variant.

    Raises:
        DataError: Not TOML, an unknown type, key or property; names file and key.
    """
    try:
        values = tomllib.loads(read_text(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DataError(f"not a TOML file ({error})", path=path) from error
    if unknown := values.keys() - set(_SETTINGS):
        raise DataError(f"unknown key {min(unknown)!r}; known: {', '.join(_SETTINGS)}", path=path)
    base = VARIANTS[_choice(values, "variant", tuple(VARIANTS), path)]
    lines = {
        type: tuple(_read_line(entry, type, path) for entry in _list(values[type], type, path))
        for type in TYPES
        if type in values
    }
    with_name = values.get("with_name", base.with_name)
    if not isinstance(with_name, bool):
        raise DataError(f"'with_name' is {with_name!r}; write true or false", path=path)
    dates = _choice(values, "dates", ("full", "year"), path) if "dates" in values else base.dates
    types = {**base.types, **_read_types(values.get("types", {}), path)}
    return PropertiesConfig({**base.lines, **lines}, types, with_name, dates)


def _date(date: str, config: PropertiesConfig) -> str:
    found = _YEAR.match(date)
    return date_words(date if found is None or config.dates == "full" else f"{found[1]}{found[2]}")


def _choice(values: Mapping[str, Any], key: str, choices: tuple[str, ...], path: Path) -> str:
    value = values.get(key, choices[0])
    if value not in choices:
        raise DataError(f"{key!r} is {value!r}; choose one of {', '.join(choices)}", path=path)
    return value


def _read_types(values: Any, path: Path) -> dict[str, str]:
    known = isinstance(values, dict) and all(value in TYPES for value in cast("dict[str, Any]", values).values())
    if not known:
        raise DataError(f"'types' must give a class one of {', '.join(TYPES)}", path=path)
    return {key.casefold(): str(value) for key, value in cast("dict[str, Any]", values).items()}


def _read_line(entry: Any, type: str, path: Path) -> Line:
    if not isinstance(entry, dict):
        raise DataError(f"{type!r}: write [[{type}]] with label and properties", path=path)
    values = cast("dict[str, Any]", entry)
    if unknown := values.keys() - _KEYS:
        raise DataError(f"{type!r}: unknown key {min(unknown)!r}; known: {', '.join(sorted(_KEYS))}", path=path)
    ids = tuple(_property(id, type, path) for id in _list(values.get("properties"), f"{type}.properties", path))
    label = values.get("label") or (PROPERTIES[ids[0]].label if ids and ids[0] in PROPERTIES else None)
    if not ids or not isinstance(label, str):
        raise DataError(f"{type!r}: a line needs properties such as P569, and a label", path=path)
    limit = values.get("max_values", 10)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise DataError(f"{type!r}: max_values is {limit!r}; give a number of at least 1", path=path)
    return Line(label, ids, limit)


def _property(value: Any, type: str, path: Path) -> str:
    """Return the id of a property that is given by its id or by the name of its field."""
    id = next((id for id, name in FIELD_OF.items() if name == value), value)
    if not isinstance(id, str) or not _ID.match(id):
        raise DataError(f"{type!r}: {value!r} is no property; write an id such as P569 or a field's name", path=path)
    return id


def _list(value: Any, where: str, path: Path) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{where!r} is {value!r}; write a list", path=path)
    return cast("list[Any]", value)


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
