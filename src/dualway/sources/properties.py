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

from dualway.errors import DataError
from dualway.schema import Entity
from dualway.sources.property_names import FIELD_OF, PROPERTIES
from dualway.storage import read_text

TYPES = ("person", "place", "organisation", "work", "event", "other")
_DATES = {"P569", "P570", "P571", "P576", "P577", "P580", "P582", "P585"}
_YEAR = re.compile(r"(-?)(\d{4,})(-\d\d(?:-\d\d)?)?\Z")
_KEYS = {"label", "properties", "max_values"}


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


def _lines(*ids: str, **joined: tuple[str, ...]) -> tuple[Line, ...]:
    return tuple(Line(PROPERTIES[id].label, joined.get(id, (id,))) for id in ids)


_PERSON = _lines(
    *("P1449", "P21", "P569", "P570", "P140", "P106", "P101", "P39", "P102", "P26", "P1412", "P69", "P54", "P413"),
    *("P108", "P27", "P463", "P166", "P800"),
    P569=("P569", "P19"),
    P570=("P570", "P20"),
)
_PLACE = _lines("P31", "P131", "P17", "P361", "P571")
_ORGANISATION = _lines("P31", "P571", "P112", "P159", "P17", "P641", "P361", "P576")
_WORK = _lines("P31", "P50", "P57", "P175", "P136", "P577", "P495")
_EVENT = _lines("P31", "P585", "P580", "P582", "P276", "P17", "P641", "P361")
_OTHER = _lines("P31", "P361", "P131", "P17", "P571", "P136", "P800")


@dataclass(frozen=True, slots=True)
class PropertiesConfig:
    """What the text of properties tells.

    Attributes:
        lines: For each of `TYPES`, what is told and in which order.
        types: Class (its Wikidata id, or its label, folded) -> one of `TYPES`; any other class is "other".
        with_name: Begin with "NAME. ".
    """

    lines: Mapping[str, tuple[Line, ...]] = field(
        default_factory=lambda: dict(zip(TYPES, (_PERSON, _PLACE, _ORGANISATION, _WORK, _EVENT, _OTHER)))
    )
    types: Mapping[str, str] = field(default_factory=lambda: dict(_TYPE_OF))
    with_name: bool = False

    def type_of(self, types: Iterable[str]) -> str:
        """Return which of `TYPES` an entity of these classes (ids or labels) is; the first that is known decides."""
        return next((self.types[key] for key in map(str.casefold, types) if key in self.types), "other")


_CLASSES = {
    "person": "q5 human person q15632617",
    "place": "q515 city q6256 country q3624078 q486972 q532 village q3957 town q23442 island q8502 mountain q4022",
    "organisation": "q43229 organization organisation q4830453 business q783794 company q476028 q7278 q847017 q3918",
    "work": "q11424 film q571 book q7725634 q482994 album q7889 q5398426 q3305213 painting",
    "event": "q1656682 event q178561 battle q198 war q40231 election q27020041 q18608583 q132241 festival",
}
_TYPE_OF = {word: type for type, words in _CLASSES.items() for word in words.split()}
DEFAULT = PropertiesConfig()


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
        word = date_words(claim.value) if claim.property_id in _DATES else claim.value.strip()
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
    """Return the text of properties by an entity's fields alone, so that any knowledge base can have it."""
    id_of = {name: id for id, name in reversed(list(FIELD_OF.items()))}
    claims = [
        Claim(id_of[part.name], PROPERTIES[id_of[part.name]].label, part.value, part.id)
        for part in entity.fields
        if part.name in id_of
    ]
    classes = [word for part in entity.fields if part.name == "instance_of" for word in (part.id, part.value)]
    return properties_text(claims, [*classes, *entity.types], config, name=entity.name)


def date_words(date: str) -> str:
    """Return a date of a field in words: "1946-06-14", "1946", "44 BC", "1940s", "19th century"."""
    if date.endswith("XX") and date[:-2].isdigit():
        return f"{int(date[:-2]) + 1}{_ordinal(int(date[:-2]) + 1)} century"
    if date.endswith("X") and date[:-1].isdigit():
        return f"{int(date[:-1])}0s"
    found = _YEAR.match(date)
    if found is None:
        return date.strip()
    sign, year, rest = found.groups()
    if sign or int(year) == 0:
        return f"{int(year) + 1} BC"
    return f"{int(year) if not rest else year}{rest or ''}"


def read_properties_config(path: Path) -> PropertiesConfig:
    """Read a TOML file that says what is told.

        with_name = false
        [types]
        Q11424 = "work"
        [[person]]
        label = "Born"
        properties = ["P569", "P19"]
        max_values = 1

    A type that has no lines in it keeps its own.

    Raises:
        DataError: Not TOML, an unknown type, key or property; names file and key.
    """
    try:
        values = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"not a TOML file ({error})", path=path) from error
    unknown = values.keys() - {*TYPES, "types", "with_name"}
    if unknown:
        raise DataError(f"unknown key {min(unknown)!r}; known: with_name, types, {', '.join(TYPES)}", path=path)
    lines = dict(DEFAULT.lines)
    for type in TYPES:
        if type in values:
            lines[type] = tuple(_read_line(entry, type, path) for entry in _list(values[type], type, path))
    types = values.get("types", {})
    if not isinstance(types, dict) or not all(value in TYPES for value in cast("dict[str, Any]", types).values()):
        raise DataError(f"'types' must give a class one of {', '.join(TYPES)}", path=path)
    given = {key.casefold(): str(value) for key, value in cast("dict[str, Any]", types).items()}
    with_name = values.get("with_name", False)
    if not isinstance(with_name, bool):
        raise DataError(f"'with_name' is {with_name!r}; write true or false", path=path)
    return PropertiesConfig(lines, {**DEFAULT.types, **given}, with_name)


def _read_line(entry: Any, type: str, path: Path) -> Line:
    if not isinstance(entry, dict):
        raise DataError(f"{type!r}: write [[{type}]] with label and properties", path=path)
    values = cast("dict[str, Any]", entry)
    if unknown := values.keys() - _KEYS:
        raise DataError(f"{type!r}: unknown key {min(unknown)!r}; known: {', '.join(sorted(_KEYS))}", path=path)
    ids = [id for id in _list(values.get("properties"), f"{type}.properties", path) if isinstance(id, str)]
    label, limit = values.get("label") or (PROPERTIES[ids[0]].label if ids and ids[0] in PROPERTIES else None), 10
    if not ids or not isinstance(label, str):
        raise DataError(f"{type!r}: a line needs properties such as P569, and a label", path=path)
    limit = values.get("max_values", limit)
    if not isinstance(limit, int) or limit < 1:
        raise DataError(f"{type!r}: max_values is {limit!r}; give a number of at least 1", path=path)
    return Line(label, tuple(ids), limit)


def _list(value: Any, where: str, path: Path) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{where!r} is {value!r}; write a list", path=path)
    return cast("list[Any]", value)


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
