"""Reads one's own entity files: JSONL, CSV or tab-separated, an entity a line.

Nothing is dropped silently: a line that cannot be an entity is an error that names file and line; keys and columns that
are not understood are counted in the report.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from dualway.datasets.base import ReadReport
from dualway.datasets.columns import ColumnMap, field_items
from dualway.datasets.entities_parquet import read_parquet_rows
from dualway.errors import DataError
from dualway.schema import Entity, Field, Picture, Representation
from dualway.storage import read_jsonl
from dualway.text import is_broken, repair

SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
_KEYS = ("id", "name", "aliases", "types", "description", "text", "representations", "pictures", "fields")
_COLUMNS = ("id", "name", "aliases", "types", "description", "text")
_EDTF = re.compile(r"-?\d{4,}(?:-\d\d(?:-\d\d)?)?|\d{3}X|\d{2}XX")
_DATES = {"born", "died", "inception", "dissolved"}
_LISTS = ("aliases", "types")

_Lines = Generator[tuple[int, Any], None, None]  # 1-based line, its values


def read_jsonl_entities(path: Path, report: ReadReport, columns: ColumnMap | None = None) -> Generator[Entity]:
    """Yield the entity of each line of a JSONL file, counting into `report`.

    Raises:
        DataError: A line that is no entity, or an id met before; names file, line and remedy.
    """
    return _read_lines(path, read_jsonl(path), _KEYS, report, columns or ColumnMap())


def read_csv_entities(path: Path, report: ReadReport, columns: ColumnMap | None = None) -> Generator[Entity]:
    """Yield the entity of each row of a CSV (or, by its suffix .tsv, tab-separated) file, counting into `report`.

    Raises:
        DataError: No header with id and name, or a row that is no entity; names file, line and remedy.
    """
    columns = columns or ColumnMap()
    return _read_lines(path, _csv_rows(path, columns), _COLUMNS, report, columns)


def read_parquet_entities(path: Path, report: ReadReport, columns: ColumnMap | None = None) -> Generator[Entity]:
    """Yield the entity of each row of a Parquet file, counting into `report`.

    Raises:
        DataError: No Parquet file, or a row that is no entity; names file and row.
        UsageError: pyarrow is not installed, or a column that is named is not there.
    """
    columns = columns or ColumnMap()
    return _read_lines(path, read_parquet_rows(path, columns), _KEYS, report, columns, always=True)


def _read_lines(
    path: Path, lines: _Lines, known: Sequence[str], report: ReadReport, columns: ColumnMap, *, always: bool = False
) -> Generator[Entity]:
    first_lines: dict[str, int] = {}
    with closing(lines):
        for number, values in lines:
            if isinstance(values, dict) and (always or not columns.is_empty):
                values = columns.apply(cast("dict[str, Any]", values))
            entity = _Line(path, number, values, report).entity()
            if entity.id in first_lines:
                raise DataError(
                    f"the id was already given in line {first_lines[entity.id]}; homonyms need ids of their own",
                    path=path,
                    line=number,
                    id=entity.id,
                )
            for key in sorted(values.keys() - {*known, *(_KEYS if not columns.is_empty else ())}):
                report.note(f"unknown {key!r}, not read", entity.id)
            first_lines[entity.id] = number
            report.counts["entities"] += 1
            yield entity
    if not first_lines:
        raise DataError("no entities in it", path=path)


LINE_FORMS = {"jsonl": read_jsonl_entities, "csv": read_csv_entities, "parquet": read_parquet_entities}


class _Line:
    """One line's values, read key by key; every complaint names file and line."""

    def __init__(self, path: Path, number: int, values: Any, report: ReadReport) -> None:
        self._path, self._number, self._report = path, number, report
        if not isinstance(values, dict):
            raise self._wrong(f'expected an object such as {{"id": "Q1", "name": "Universe"}}, got {_short(values)}')
        self._values = cast("dict[str, Any]", values)

    def entity(self) -> Entity:
        """Return the entity of this line."""
        texts = [Representation(kind, self._text(kind), source=self._path.name) for kind in ("description", "text")]
        return Entity(
            id=self._required("id"),
            name=self._required("name"),
            aliases=self._list("aliases"),
            types=self._list("types"),
            representations=(*(r for r in texts if r.text), *self._representations()),
            pictures=tuple(self._pictures()),
            fields=tuple(self._fields()),
        )

    def _fields(self) -> Iterator[Field]:
        value = self._values.get("fields")
        for item in field_items(value) if isinstance(value, dict) else self._items("fields"):
            if not isinstance(item, dict):
                raise self._wrong(f'a field is {_short(item)}; write {{"born": "1946"}} or {{"name": .., "value": ..}}')
            part = _Line(self._path, self._number, _as_text(cast("dict[str, Any]", item)), self._report)
            found = Field(part._required("name"), part._text("value"), part._text("id"))
            if found.name in _DATES and found.value and not _EDTF.fullmatch(found.value):
                self._report.note(f"{found.name}: no date such as 1946-06-14 or 1946, kept as it is", found.value)
            if found.value:
                yield found

    def _representations(self) -> Iterator[Representation]:
        for item in self._items("representations"):
            if not isinstance(item, dict):
                raise self._wrong(f'a representation is {_short(item)}; write {{"kind": .., "text": .., "source": ..}}')
            part = _Line(self._path, self._number, item, self._report)
            names = ("source", "language", "revision", "licence", "created_at")
            extra = {name: part._text(name) for name in names}
            yield Representation(part._required("kind"), part._required("text"), **extra)

    def _pictures(self) -> Iterator[Picture]:
        for item in self._items("pictures"):
            if not isinstance(item, str | dict):
                raise self._wrong(f'a picture is {_short(item)}; write a path or {{"path": .., "source": ..}}')
            values = {"path": item} if isinstance(item, str) else item
            part = _Line(self._path, self._number, values, self._report)
            yield Picture(part._required("path"), part._text("source"), part._text("licence"))

    def _required(self, key: str) -> str:
        text = self._text(key)
        if not text:
            raise self._wrong(f"{key!r} is missing or empty; give it a value or take the line out")
        return text

    def _text(self, key: str) -> str:
        return self._string(self._values.get(key), key)

    def _list(self, key: str) -> tuple[str, ...]:
        values = (self._string(item, key) for item in self._items(key))
        return tuple(dict.fromkeys(value for value in values if value))

    def _items(self, key: str) -> list[Any]:
        value = self._values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(f"{key!r} is {_short(value)}; write a list in square brackets")
        return cast("list[Any]", value)

    def _string(self, value: Any, key: str) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._wrong(f"{key!r} holds {_short(value)}, expected text; put it in quotes")
        if is_broken(value):
            self._report.repair("characters that no file can hold", f"line {self._number}", key)
        return repair(value).strip()

    def _wrong(self, problem: str) -> DataError:
        return DataError(problem, path=self._path, line=self._number)


def _as_text(item: dict[str, Any]) -> dict[str, Any]:
    """Return a field whose value is a number with it as text."""
    value = item.get("value")
    return {**item, "value": str(value)} if isinstance(value, int | float) and not isinstance(value, bool) else item


def _csv_rows(path: Path, columns: ColumnMap) -> _Lines:
    delimiter = columns.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    header: list[str] = []
    with closing(_decoded_lines(path)) as lines:
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            for row in rows:
                if not any(cell.strip() for cell in row):
                    continue
                if header:
                    yield rows.line_num, _csv_record(header, row, path, rows.line_num, columns)
                else:
                    header = _csv_header(row, path, rows.line_num, columns)
        except csv.Error as error:
            problem = f"broken CSV: {error}; check the quotes, or use JSONL for long texts"
            raise DataError(problem, path=path, line=rows.line_num) from error


def _csv_record(header: list[str], row: list[str], path: Path, line: int, columns: ColumnMap) -> dict[str, Any]:
    if len(row) != len(header):
        raise DataError(
            f"{len(row)} values under {len(header)} columns; quote values that contain the delimiter",
            path=path,
            line=line,
        )
    lists = () if columns.columns else _LISTS  # otherwise split when the columns are given their meaning
    return {key: cell.split(columns.separator) if key in lists else cell for key, cell in zip(header, row)}


def _csv_header(row: list[str], path: Path, line: int, columns: ColumnMap) -> list[str]:
    header = [cell.strip() if columns.named() else cell.strip().lower() for cell in row]
    columns.check(header)
    meant = {columns.columns.get(target, target) for target in ("id", "name")}
    if not meant <= set(header):
        raise DataError(
            f"the first row is {_short(header)}; expected the columns id and name, and any of "
            f"{', '.join(_COLUMNS[2:])} (a .tsv file is split at tabs, any other at commas)",
            path=path,
            line=line,
        )
    if len(set(header)) < len(header):
        raise DataError(f"the first row names a column twice: {_short(header)}", path=path, line=line)
    return header


def _decoded_lines(path: Path) -> Generator[str]:
    try:
        with path.open("rb") as lines:
            for number, raw in enumerate(lines, start=1):
                try:
                    yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    problem = f"not UTF-8: byte 0x{raw[error.start]:02x}; convert the file to UTF-8"
                    raise DataError(problem, path=path, line=number) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path=path) from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
