"""Reads one's own entity files: JSONL, CSV or tab-separated, Parquet; an entity a line.

Nothing is dropped silently: a line that cannot be an entity is an error that names file and line; keys and columns that
are not understood are counted in the report.
"""

from __future__ import annotations

import csv
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, cast

from dualway.datasets.base import ReadReport
from dualway.datasets.columns import Assignment, ColumnMap
from dualway.datasets.entities_parquet import open_parquet
from dualway.datasets.entity_lines import LineReader, short
from dualway.errors import DataError, UsageError
from dualway.schema import Entity
from dualway.storage import read_jsonl, read_lines

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".jsonl.gz": "jsonl",
    ".ndjson.gz": "jsonl",
    ".csv.gz": "csv",
    ".tsv.gz": "csv",
}
_COLUMNS = ("aliases", "types", "description", "text", "text:KIND", "field:NAME", "picture")
_IN_TABLES = "|"  # between the values of a list in one cell
_KEY_SETS = 4096  # sets of keys of which it is remembered what they are read as

_Lines = Generator[tuple[int, Any], None, None]  # 1-based line, its values


def own_form(path: Path) -> str | None:
    """Return the form of one's own entity file by its name, .gz included; None for any other name."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return SUFFIXES.get("".join(suffixes[-2:])) or SUFFIXES.get("".join(suffixes[-1:]))


def read_jsonl_entities(path: Path, report: ReadReport, columns: ColumnMap | None = None) -> Generator[Entity]:
    """Yield the entity of each line of a JSONL file, counting into `report`.

    Raises:
        DataError: A line that is no entity, or an id met before; names file, line and remedy.
        UsageError: A key that `columns` names is in no line.
    """
    columns = columns or ColumnMap()
    if columns.delimiter is not None:
        raise UsageError("--delimiter goes with .csv and .tsv files")
    return _entities(LineReader(path, report, columns, columns.separator), _json_lines(path, columns))


def read_csv_entities(path: Path, report: ReadReport, columns: ColumnMap | None = None) -> Generator[Entity]:
    """Yield the entity of each row of a CSV (or, by its suffix .tsv, tab-separated) file, counting into `report`.

    Raises:
        DataError: No header with id and name, or a row that is no entity; names file, line and remedy.
        UsageError: A column that `columns` names is not there.
    """
    columns = columns or ColumnMap()
    reader = LineReader(path, report, columns, columns.separator or _IN_TABLES)
    return _entities(reader, _csv_lines(path, columns))


def read_parquet_entities(path: Path, report: ReadReport, columns: ColumnMap | None = None) -> Generator[Entity]:
    """Yield the entity of each row of a Parquet file, counting into `report`; rows are counted as lines.

    Raises:
        DataError: No Parquet file, one with types that are not read, or a row that is no entity.
        UsageError: pyarrow is not installed, or a column that `columns` names is not there.
    """
    columns = columns or ColumnMap()
    if columns.delimiter is not None:
        raise UsageError("--delimiter goes with .csv and .tsv files")
    reader = LineReader(path, report, columns, columns.separator or _IN_TABLES)
    return _entities(reader, _parquet_lines(path, columns))


LINE_FORMS = {"jsonl": read_jsonl_entities, "csv": read_csv_entities, "parquet": read_parquet_entities}


class _Read(NamedTuple):
    """A line: its number from 1, its values, and what they are read as."""

    number: int
    values: dict[str, Any]
    assignment: Assignment


def _entities(reader: LineReader, lines: Generator[_Read]) -> Generator[Entity]:
    """Yield the entity of each line; ids must differ."""
    first_lines: dict[str, int] = {}
    path, report = reader.path, reader.report
    with closing(lines):
        for number, values, assignment in lines:
            entity = reader.entity(number, values, assignment.parts)
            if entity.id in first_lines:
                raise DataError(
                    f"the id was already given in line {first_lines[entity.id]}; homonyms need ids of their own",
                    path=path,
                    line=number,
                    id=entity.id,
                )
            for key in assignment.unused:
                report.note(f"unknown {key!r}, not read", entity.id)
            first_lines[entity.id] = number
            report.counts["entities"] += 1
            yield entity
    if not first_lines:
        raise DataError("no entities in it", path=path)


def _json_lines(path: Path, columns: ColumnMap) -> Generator[_Read]:
    known: dict[tuple[str, ...], Assignment] = {}
    met: dict[str, None] = {}
    with closing(read_jsonl(path)) as lines:
        for number, values in lines:
            if not isinstance(values, dict):
                example = '{"id": "Q1", "name": "Universe"}'
                raise DataError(f"expected an object such as {example}, got {short(values)}", path=path, line=number)
            record = cast("dict[str, Any]", values)
            keys = tuple(record)
            assignment = known.get(keys)
            if assignment is None:
                assignment = columns.assign_keys(keys)
                met.update(dict.fromkeys(keys))
                if len(known) < _KEY_SETS:
                    known[keys] = assignment
            yield _Read(number, record, assignment)
    for part, column in columns.columns:
        if met and column not in met and column.split(".")[0] not in met:
            raise columns.no_column(part, column, met, path)


def _parquet_lines(path: Path, columns: ColumnMap) -> Generator[_Read]:
    with open_parquet(path) as table:
        assignment = _with_id_and_name(columns.assign_table(table.names, path), table.names, path)
        for number, values in table.rows(assignment):
            yield _Read(number, values, assignment)


def _csv_lines(path: Path, columns: ColumnMap) -> Generator[_Read]:
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    delimiter = columns.delimiter or ("\t" if plain.suffix.lower() == ".tsv" else ",")
    header: list[str] = []
    assignment = Assignment({}, ())
    with closing(_decoded_lines(path)) as lines:
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        begun = 1
        try:
            for row in rows:
                line, begun = rows.line_num, rows.line_num + 1
                if not any(cell.strip() for cell in row):
                    continue
                if not header:
                    header = _csv_header(row, path, line)
                    assignment = _with_id_and_name(columns.assign_table(header, path), header, path, line, delimiter)
                    continue
                yield _Read(line, _csv_record(header, row, path, line), assignment)
        except csv.Error as error:
            where = f" in the row that begins in line {begun}" if begun < rows.line_num else ""
            problem = f"broken CSV: {error}{where}; check the quotes, or use JSONL for long texts"
            raise DataError(problem, path=path, line=rows.line_num) from error


def _csv_record(header: list[str], row: list[str], path: Path, line: int) -> dict[str, Any]:
    if len(row) != len(header):
        raise DataError(
            f"{len(row)} values under {len(header)} columns; quote values that contain the delimiter",
            path=path,
            line=line,
        )
    return dict(zip(header, row))


def _csv_header(row: list[str], path: Path, line: int) -> list[str]:
    header = [cell.strip() for cell in row]
    if len({name.casefold() for name in header}) < len(header):
        raise DataError(f"the first row names a column twice: {short(header)}", path=path, line=line)
    return header


def _with_id_and_name(
    assignment: Assignment, header: Sequence[str], path: Path, line: int | None = None, delimiter: str | None = None
) -> Assignment:
    """Return what columns are read as, where there are columns for both parts that an entity must have."""
    if "id" in assignment.parts and "name" in assignment.parts:
        return assignment
    found = f"the columns are {short(list(header))}" if line is None else f"the first row is {short(list(header))}"
    split = "" if delimiter is None else f" (split at {delimiter!r}: --delimiter says otherwise)"
    raise DataError(
        f"{found}; expected the columns id and name, and any of {', '.join(_COLUMNS)}{split}; columns of other names "
        "are given by --column id=COLUMN --column name=COLUMN",
        path=path,
        line=line,
    )


def _decoded_lines(path: Path) -> Generator[str]:
    with closing(read_lines(path)) as lines:
        for number, raw in lines:
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                problem = f"not UTF-8: byte 0x{raw[error.start]:02x}; convert the file to UTF-8"
                raise DataError(problem, path=path, line=number) from error
