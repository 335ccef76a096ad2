"""Rows of a Parquet file, some at a time, as the values that JSON would have; read by pyarrow, which is optional."""

from __future__ import annotations

import datetime
import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from dualway.datasets.columns import STRUCTURED, Assignment
from dualway.errors import DataError, UsageError

_ROWS = 1000  # read at once
_BUFFER = 1 << 20  # bytes that are fetched at once, in place of whole row groups


class ParquetTable:
    """An open Parquet file. Make one with `open_parquet`.

    Attributes:
        names: Of its columns.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self._path, self._file = path, file
        self.names: list[str] = list(file.schema_arrow.names)
        twice = {name for name in self.names if [n.casefold() for n in self.names].count(name.casefold()) > 1}
        if twice:
            raise DataError(f"it has two columns called {sorted(twice)[0]!r}; rename one", path=path)

    def rows(self, assignment: Assignment) -> Generator[tuple[int, dict[str, Any]]]:
        """Yield (row, from 1; values by column) of the columns that something is read from.

        Values are text, numbers, lists and objects of these; None where missing or not a number. Dates are in ISO form.

        Raises:
            DataError: A column of a type that is not read (names it), or damaged values; names the row.
        """
        wanted: dict[str, None] = {}
        for part, columns in assignment.parts.items():
            for column in columns:
                name = column if column in self.names else column.split(".")[0]
                self._check_type(part, column, name)
                wanted[name] = None
        number = 0
        batches = self._file.iter_batches(batch_size=_ROWS, columns=list(wanted), use_threads=False)
        while (batch := self._next(batches, number)) is not None:
            columns = {name: self._values(batch, name, number) for name in wanted}
            for place in range(batch.num_rows):
                number += 1
                yield number, {name: values[place] for name, values in columns.items()}

    def _next(self, batches: Any, number: int) -> Any:
        with _arrow_errors(self._path, f"after row {number:,}"):
            return next(batches, None)

    def _check_type(self, part: str, column: str, name: str) -> None:
        """Refuse a column whose values are no text, number, date, or list of these (or what `part` allows)."""
        kind = self._file.schema_arrow.field(name).type
        for key in () if column == name else column.split(".")[1:]:
            if not _is_struct(kind) or kind.get_field_index(key) < 0:
                raise DataError(f"the column {name!r} is {kind}; there is no {column!r} in it", path=self._path)
            kind = kind.field(key).type
        if not (_is_structured(kind) if part in STRUCTURED else _is_flat(kind)):
            raise DataError(
                f"the column {column!r} is {kind}; a {part!r} is read from text, numbers, dates or a list of these",
                path=self._path,
            )

    def _values(self, batch: Any, name: str, before: int) -> list[Any]:
        column = batch.column(batch.schema.get_field_index(name))
        try:
            return _to_values(column)
        except (ValueError, OverflowError, TypeError, KeyError):
            for place in range(len(column)):  # to say which row it is
                try:
                    _to_values(column.slice(place, 1))
                except (ValueError, OverflowError, TypeError, KeyError) as error:
                    problem = f"the value of {name!r} cannot be read ({error})"
                    raise DataError(problem, path=self._path, line=before + place + 1) from error
            raise


@contextmanager
def open_parquet(path: Path) -> Generator[ParquetTable]:
    """Open a Parquet file; nothing of it but its description is read.

    Raises:
        DataError: Missing, damaged, encrypted, or no Parquet file.
        UsageError: pyarrow is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError("Parquet files are read by pyarrow, which is missing: pip install 'dualway[kb]'") from error
    with _arrow_errors(path, "in its description"):
        file = parquet.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER)
    with file:
        yield ParquetTable(path, file)


@contextmanager
def _arrow_errors(path: Path, where: str) -> Generator[None]:
    import pyarrow

    try:
        yield
    except FileNotFoundError as error:
        raise DataError("no such file", path=path) from error
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        if "crypt" in said.lower():
            raise DataError("is encrypted; write it anew without encryption", path=path) from error
        raise DataError(f"no Parquet file, or damaged {where} ({said})", path=path) from error


def _to_values(column: Any) -> list[Any]:
    """Return a column's values as JSON has them.

    Raises:
        ValueError, OverflowError, TypeError, KeyError: One that Python cannot hold: bytes that are no UTF-8, a date
            before the year 1, an unknown time zone.
    """
    from pyarrow import types

    kind = column.type
    if types.is_timestamp(kind):  # Python's dates have no nanoseconds
        column = column.cast(_microseconds(kind), safe=False)
    values = cast("list[Any]", column.to_pylist())
    if types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind):
        return values
    return [_plain(value) for value in values]


def _microseconds(kind: Any) -> Any:
    import pyarrow

    return pyarrow.timestamp("us", tz=kind.tz)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, datetime.datetime):
        whole_day = value.time() == datetime.time() and value.tzinfo is None
        return value.date().isoformat() if whole_day else value.isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return None if value.is_nan() else format(value, "f")
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in cast("dict[str, Any]", value).items()}
    return value


def _is_struct(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_struct(kind))


def _is_simple(kind: Any) -> bool:
    """Tell whether values of an Arrow type are text, numbers or dates."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_simple(kind.value_type)
    known: Sequence[Any] = (
        *(types.is_string, types.is_large_string, types.is_string_view, types.is_null),
        *(types.is_integer, types.is_floating, types.is_decimal, types.is_binary, types.is_large_binary),
        *(types.is_date, types.is_timestamp, types.is_time),
    )
    return any(is_kind(kind) for is_kind in known)


def _item_type(kind: Any) -> Any:
    """Return the type of a list's items, None for what is no list."""
    from pyarrow import types

    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return kind.value_type if any(is_list(kind) for is_list in lists) else None


def _is_flat(kind: Any) -> bool:
    item = _item_type(kind)
    return _is_simple(kind if item is None else item)


def _is_structured(kind: Any) -> bool:
    """Tell whether a type is a list of texts or of flat structs, or a struct of such lists and of texts."""
    if _is_struct(kind):
        return all(_is_flat(part.type) or _is_list_of_structs(part.type) or _is_record(part.type) for part in kind)
    return _is_flat(kind) or _is_list_of_structs(kind)


def _is_list_of_structs(kind: Any) -> bool:
    item = _item_type(kind)
    return item is not None and _is_record(item)


def _is_record(kind: Any) -> bool:
    return _is_struct(kind) and all(_is_simple(part.type) for part in kind)
