"""Reads one's own entity files: JSONL, CSV or tab-separated, an entity a line.

Nothing is dropped silently: a line that cannot be an entity is an error that names file and line; keys and columns that
are not understood are counted in the report.
"""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from dualway.datasets.base import ReadReport
from dualway.errors import DataError
from dualway.schema import Entity, Picture, Representation
from dualway.storage import read_jsonl
from dualway.text import is_broken, repair

SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv"}
_KEYS = ("id", "name", "aliases", "types", "description", "text", "representations", "pictures")
_COLUMNS = ("id", "name", "aliases", "types", "description", "text")
_LISTS = ("aliases", "types")

_Lines = Generator[tuple[int, Any], None, None]  # 1-based line, its values


def read_jsonl_entities(path: Path, report: ReadReport) -> Generator[Entity]:
    """Yield the entity of each line of a JSONL file, counting into `report`.

    Raises:
        DataError: A line that is no entity, or an id met before; names file, line and remedy.
    """
    return _read_lines(path, read_jsonl(path), _KEYS, report)


def read_csv_entities(path: Path, report: ReadReport) -> Generator[Entity]:
    """Yield the entity of each row of a CSV (or, by its suffix .tsv, tab-separated) file, counting into `report`.

    Raises:
        DataError: No header with id and name, or a row that is no entity; names file, line and remedy.
    """
    return _read_lines(path, _csv_rows(path), _COLUMNS, report)


def _read_lines(path: Path, lines: _Lines, known: Sequence[str], report: ReadReport) -> Generator[Entity]:
    first_lines: dict[str, int] = {}
    with closing(lines):
        for number, values in lines:
            entity = _Line(path, number, values, report).entity()
            if entity.id in first_lines:
                raise DataError(
                    f"the id was already given in line {first_lines[entity.id]}; homonyms need ids of their own",
                    path=path,
                    line=number,
                    id=entity.id,
                )
            for key in sorted(values.keys() - set(known)):
                report.note(f"unknown {key!r}, not read", entity.id)
            first_lines[entity.id] = number
            report.counts["entities"] += 1
            yield entity
    if not first_lines:
        raise DataError("no entities in it", path=path)


LINE_FORMS = {"jsonl": read_jsonl_entities, "csv": read_csv_entities}


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
        )

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


def _csv_rows(path: Path) -> _Lines:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    header: list[str] = []
    with closing(_decoded_lines(path)) as lines:
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            for row in rows:
                if not any(cell.strip() for cell in row):
                    continue
                if header:
                    yield rows.line_num, _csv_record(header, row, path, rows.line_num)
                else:
                    header = _csv_header(row, path, rows.line_num)
        except csv.Error as error:
            problem = f"broken CSV: {error}; check the quotes, or use JSONL for long texts"
            raise DataError(problem, path=path, line=rows.line_num) from error


def _csv_record(header: list[str], row: list[str], path: Path, line: int) -> dict[str, Any]:
    if len(row) != len(header):
        raise DataError(
            f"{len(row)} values under {len(header)} columns; quote values that contain the delimiter",
            path=path,
            line=line,
        )
    return {key: cell.split("|") if key in _LISTS else cell for key, cell in zip(header, row)}


def _csv_header(row: list[str], path: Path, line: int) -> list[str]:
    header = [cell.strip().lower() for cell in row]
    if "id" not in header or "name" not in header:
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
