"""One line of one's own entity files as an entity: its values taken by their parts, each complaint with its place."""

from __future__ import annotations

import math
import re
from calendar import monthrange
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from dualway.datasets.base import ReadReport
from dualway.datasets.columns import ColumnMap, list_columns, value_of
from dualway.errors import DataError
from dualway.schema import Entity, Field, Picture, Representation
from dualway.text import is_broken, repair

_SHORT = ("text:description", "text:text")
_ORIGIN = ("source", "language", "revision", "licence", "created_at")
_DATES = {"born", "died", "inception", "dissolved"}
_EDTF = re.compile(r"(-?\d{4})(?:-(\d\d)(?:-(\d\d))?)?|\d\d(?:\d|X)X|-\d{5,}")
_NUMBER = r"[+-]?\d{1,3}(?:\.\d+)?"
_COORDINATES = re.compile(rf"({_NUMBER}), ?({_NUMBER})")
_WHOLE = 1 << 53  # beyond it a number with a point may be another than it was


@dataclass(frozen=True)
class LineReader:
    """Makes entities of the lines of one file.

    Attributes:
        path: The file.
        report: Counts repairs and remarks.
        columns: What is common to all lines.
        separator: Between the values of a list in one cell; None: lists are lists.
    """

    path: Path
    report: ReadReport
    columns: ColumnMap
    separator: str | None

    def entity(self, number: int, values: Mapping[str, Any], parts: Mapping[str, tuple[str, ...]]) -> Entity:
        """Return the entity of a line.

        Args:
            number: Of the line, from 1.
            values: The line's values, by column.
            parts: Which columns hold which part (`ColumnMap.assign_table`, `assign_keys`).

        Raises:
            DataError: It is no entity; names file, line and remedy.
        """
        return _Line(self, number, values, parts).entity()


class Cell(NamedTuple):
    """A value and the column that it stands in."""

    column: str
    value: Any


class _Line:
    """One line's values, read part by part; every complaint names file and line."""

    def __init__(
        self, reader: LineReader, number: int, values: Mapping[str, Any], parts: Mapping[str, tuple[str, ...]]
    ) -> None:
        self._reader, self._number, self._values, self._parts = reader, number, values, parts

    def entity(self) -> Entity:
        """Return the entity of this line."""
        id = f"{self._reader.columns.id_prefix}{self._required('id')}"
        return Entity(
            id=id,
            name=self._required("name"),
            aliases=self._list("aliases"),
            types=self._list("types"),
            representations=(*self._texts(), *self._representations()),
            pictures=(*self._picture_paths(), *self._pictures()),
            fields=tuple(dict.fromkeys(self._checked(field, id) for field in (*self._facts(), *self._fields()))),
        )

    def _texts(self) -> Iterator[Representation]:
        kinds = [part for part in self._parts if part.startswith("text:")]
        if not kinds:
            return
        origin = self._origin(self._parts, self._values, self._reader.columns.source or self._reader.path.name)
        for part in (*filter(kinds.__contains__, _SHORT), *(kind for kind in kinds if kind not in _SHORT)):
            if text := self._one(part):
                yield Representation(part.removeprefix("text:"), text, **origin)

    def _origin(self, parts: Mapping[str, Any], values: Mapping[str, Any], source: str) -> dict[str, str]:
        """Return where a text comes from: what the line says, else what holds for the whole file."""
        origin = {"source": source, "language": self._reader.columns.language, "licence": self._reader.columns.licence}
        said = [name for name in _ORIGIN if name in parts]
        line = _Line(self._reader, self._number, values, parts)
        return origin | {name: text for name in said if (text := line._one(name, numbers=True))}

    def _representations(self) -> Iterator[Representation]:
        for item in self._items("representations"):
            if not isinstance(item, dict):
                raise self._wrong(f'a representation is {short(item)}; write {{"kind": .., "text": .., "source": ..}}')
            part = self._inner(cast("dict[str, Any]", item), ("kind", "text"))
            kind, text = part._required("kind"), part._required("text")
            names = {name: (name,) for name in _ORIGIN}
            yield Representation(kind, text, **self._origin(names, part._values, self._reader.columns.source))

    def _picture_paths(self) -> Iterator[Picture]:
        if "picture" in self._parts:
            source = self._one("picture-source")
            licence = self._one("picture-licence") or self._reader.columns.licence
            yield from (Picture(path, source, licence) for path in self._list("picture", alone=True))

    def _pictures(self) -> Iterator[Picture]:
        for item in self._items("pictures"):
            if not isinstance(item, str | dict):
                raise self._wrong(f'a picture is {short(item)}; write a path or {{"path": .., "source": ..}}')
            values = {"path": item} if isinstance(item, str) else cast("dict[str, Any]", item)
            part = self._inner(values, ("path", "source", "licence"))
            licence = part._one("licence") or self._reader.columns.licence
            yield Picture(part._required("path"), part._one("source"), licence)

    def _facts(self) -> Iterator[Field]:
        """Yield the fields that have columns of their own."""
        for part in self._parts:
            if part.startswith("field:"):
                name = part.removeprefix("field:")
                yield from self._of_column(name, part)

    def _of_column(self, name: str, part: str) -> Iterator[Field]:
        whole = name == "coordinates"  # "51.5,-0.1" is one value whatever divides others
        values = self._split(part, numbers=True, alone=True, whole=whole)
        ids = self._split(f"field-id:{name}", numbers=True, alone=True)
        if ids and len(ids) != len(values):
            raise self._wrong(
                f"{len(values)} values of the field {name!r} and {len(ids)} ids of them; give each one id"
            )
        for value, id in zip(values, ids or [""] * len(values)):
            if value:
                yield Field(name, value, id)

    def _fields(self) -> Iterator[Field]:
        """Yield the fields of {"born": "1946", "occupation": ["actor", {"value": .., "id": ..}]}, or of a list."""
        for cell in self._cells("fields"):
            if isinstance(cell.value, dict):
                for name, value in cast("dict[str, Any]", cell.value).items():
                    yield from self._of_object(name, value)
            else:
                yield from self._of_list(self._items("fields"))

    def _of_list(self, items: list[Any]) -> Iterator[Field]:
        for item in items:
            if not isinstance(item, dict):
                raise self._wrong(f'a field is {short(item)}; write {{"born": "1946"}} or {{"name": .., "value": ..}}')
            values = cast("dict[str, Any]", item)
            yield from self._of_object(self._inner(values, ("name",))._required("name"), values)

    def _of_object(self, name: str, value: Any) -> Iterator[Field]:
        for item in cast("list[Any]", value) if isinstance(value, list) else [value]:
            values = cast("dict[str, Any]", item) if isinstance(item, dict) else {"value": item}
            part = self._inner(values, ("value", "id"))
            if text := part._one("value", numbers=True):
                yield Field(name, text, part._one("id"))

    def _checked(self, field: Field, id: str) -> Field:
        """Return a field as it is, and note one that those who read it as a date or a place cannot use."""
        if field.name in _DATES and not is_edtf(field.value):
            reason = f"{field.name}: no date such as 1946-06-14, 1946 or 194X, kept as it is"
            self._reader.report.note(reason, id, field.value)
        if field.name == "coordinates" and not is_coordinates(field.value):
            self._reader.report.note(
                "coordinates: not LATITUDE,LONGITUDE in degrees, kept as they are", id, field.value
            )
        return field

    def _inner(self, values: dict[str, Any], parts: Sequence[str]) -> _Line:
        return _Line(self._reader, self._number, values, {part: (part,) for part in parts})

    def _required(self, part: str) -> str:
        text = self._one(part, numbers=part == "id")
        if not text:
            raise self._wrong(self._missing(part))
        return text

    def _missing(self, part: str) -> str:
        """Say that a part is missing; where a flag named its column, also which columns there are."""
        said = next((column for given, column in self._reader.columns.columns if given == part), None)
        remedy = "give it a value or take the line out"
        if said is None:
            return f"{part!r} is missing or empty; {remedy}"
        there = list_columns(self._values)
        return f"{said!r} (--column {part}={said}) is missing or empty; {remedy}; this line has {there}"

    def _one(self, part: str, *, numbers: bool = False) -> str:
        """Return the text of a part; "" where there is none."""
        for cell in self._cells(part):
            return self._string(cell, numbers=numbers)
        return ""

    def _list(self, part: str, *, alone: bool = False) -> tuple[str, ...]:
        return tuple(dict.fromkeys(filter(None, self._split(part, alone=alone))))

    def _split(self, part: str, *, numbers: bool = False, alone: bool = False, whole: bool = False) -> list[str]:
        """Return all values of a part: of a list, or of a cell that is divided. `alone`: one value need be no list."""
        separator = None if whole else self._reader.separator
        texts: list[str] = []
        for column, value in self._cells(part):
            if isinstance(value, str) and separator is not None:
                items: list[Any] = value.split(separator)
            elif isinstance(value, list):
                items = cast("list[Any]", value)
            elif alone or (whole and isinstance(value, str)):
                items = [value]
            else:
                raise self._wrong(f"{column!r} is {short(value)}; write a list in square brackets")
            texts += [self._string(Cell(column, item), numbers=numbers) for item in items]
        return texts

    def _items(self, part: str) -> list[Any]:
        items: list[Any] = []
        for column, value in self._cells(part):
            if not isinstance(value, list):
                raise self._wrong(f"{column!r} is {short(value)}; write a list in square brackets")
            items += cast("list[Any]", value)
        return items

    def _cells(self, part: str) -> list[Cell]:
        """Return the values of a part that are there."""
        columns = self._parts.get(part)
        if columns is None:
            return []
        values = ((column, self._value(column)) for column in columns)
        return [Cell(column, value) for column, value in values if value is not None]

    def _value(self, column: str) -> Any:
        try:
            return value_of(self._values, column)
        except TypeError as error:
            raise self._wrong(f"{column!r} leads into {short(error.args[0])}, which is no object") from error

    def _string(self, cell: Cell, *, numbers: bool) -> str:
        column, value = cell
        if value is None:
            return ""
        if isinstance(value, int | float) and not isinstance(value, bool) and numbers:
            return self._number_text(column, value)
        if not isinstance(value, str):
            raise self._wrong(f"{column!r} holds {short(value)}, expected text; put it in quotes")
        if is_broken(value):
            self._reader.report.repair("characters that no file can hold", f"line {self._number}", column)
            value = repair(value)
        return value.strip()

    def _number_text(self, column: str, value: float) -> str:
        """Return a number as text; 12.0, which tables make of 12 where a value is missing, is 12."""
        if not math.isfinite(value):
            raise self._wrong(f"{column!r} holds {value}, expected a number or text")
        return str(int(value)) if float(value).is_integer() and abs(value) < _WHOLE else str(value)

    def _wrong(self, problem: str) -> DataError:
        return DataError(problem, path=self._reader.path, line=self._number)


def is_edtf(text: str) -> bool:
    """Tell whether a text is a date in the form of fields: 1946-06-14, 1946-06, 1946, 194X, 19XX, -0043 (44 BC)."""
    found = _EDTF.fullmatch(text)
    if found is None:
        return False
    year, month, day = found.groups()
    if month is None:
        return True
    # A year of the same length and weekdays that the calendar of Python has.
    known = int(year) % 400 + 400
    return 1 <= int(month) <= 12 and (day is None or 1 <= int(day) <= monthrange(known, int(month))[1])


def is_coordinates(text: str) -> bool:
    """Tell whether a text is LATITUDE,LONGITUDE in degrees."""
    found = _COORDINATES.fullmatch(text)
    return found is not None and abs(float(found[1])) <= 90 and abs(float(found[2])) <= 180


def short(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
