"""Rows of a Parquet file, some at a time, as the values that the reader of entities knows."""

from __future__ import annotations

import datetime
import math
from collections.abc import Generator
from pathlib import Path
from typing import Any

from dualway.datasets.columns import ColumnMap
from dualway.errors import DataError, UsageError

_ROWS = 2000  # read at once


def read_parquet_rows(path: Path, columns: ColumnMap) -> Generator[tuple[int, Any]]:
    """Yield (1-based row, values) of each row; missing values are None, dates are written in ISO form.

    Raises:
        DataError: Missing, damaged, encrypted, or no Parquet file.
        UsageError: pyarrow is not installed, or a column that is named is not there.
    """
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UsageError("Parquet files are read by pyarrow: pip install 'dualway[kb]'") from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            columns.check([*names, *(name for name in columns.named() if "." in name)])
            for batch in file.iter_batches(batch_size=_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, {key: _plain(value) for key, value in row.items()}
    except (OSError, arrow.ArrowException) as error:
        raise DataError(f"no Parquet file, damaged or encrypted ({error})", path=path) from error


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, float):
        return None if math.isnan(value) else int(value) if value.is_integer() else value
    if isinstance(value, datetime.datetime):
        midnight = (value.hour, value.minute, value.second, value.microsecond) == (0, 0, 0, 0)
        return value.date().isoformat() if midnight else value.isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, list):
        return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return value
