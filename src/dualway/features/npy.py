"""Arrays of a feature store on disk: plain .npy files, written in pieces and mapped into memory when read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualway.errors import DataError
from dualway.features.manifest import Shape, damaged

_BLOCK = 2**22  # numbers written or looked at at a time

Array = NDArray[Any]


def write_array(path: Path, array: Array, dtype: str, *, name: str) -> Shape:
    """Write an array, whole numbers as they are and others as `dtype`; return its type and shape for the manifest.

    Raises:
        DataError: A number is not finite, or becomes infinite as float16; names the array and the row.
    """
    kind = (array.dtype if array.dtype.kind in "iu" else np.dtype(dtype)).newbyteorder("<")
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": kind.str, "fortran_order": False, "shape": tuple(array.shape)}
        )
        for start in _starts(array):
            with np.errstate(over="ignore"):  # what becomes infinite is told of
                block = np.ascontiguousarray(array[start : start + _rows(array)], dtype=kind)
            if kind.kind == "f" and (bad := _first_infinite(block)) is not None:
                remedy = "float16 ends at 65,504: use --dtype float32" if dtype == "float16" else "check the encoder"
                raise DataError(f"row {start + bad} of {name}.npy would hold a number that is not finite ({remedy})")
            file.write(block.tobytes())
    return kind.str, tuple(array.shape)


def read_array(path: Path, expected: Shape | None) -> Array:
    """Map an array into memory and check it: type, shape, and that no number is infinite or NaN.

    float16 is widened to float32 and whole numbers are copied, so these are read into memory.

    Raises:
        DataError: Missing, truncated, pickled, or not what the manifest says; names the file.
    """
    array = _map_expected(path, expected)
    for start in _starts(array) if array.dtype.kind == "f" else ():
        if (bad := _first_infinite(array[start : start + _rows(array)])) is not None:
            raise damaged(path, f"row {start + bad} holds a number that is not finite")
    return _for_use(array)


def read_checked(path: Path, expected: Shape) -> Array:
    """Return what `read_array` returns, of a file that it has returned before.

    Raises:
        DataError: Missing, truncated, or of another type or shape.
    """
    return _for_use(_map_expected(path, expected))


def _map_expected(path: Path, expected: Shape | None) -> Array:
    if expected is None:
        raise damaged(path, "the manifest does not name it")
    array = _map(path)
    found = (array.dtype.str, array.shape)
    if found != expected or not array.flags.c_contiguous:
        raise damaged(path, f"it is {found[0]} {found[1]}, the manifest says {expected[0]} {expected[1]}")
    return array


def _for_use(array: Array) -> Array:
    if array.dtype.kind != "f":
        return np.array(array)
    # A plain array over the same memory: nobody further on has to know that it is a file.
    return np.asarray(array) if array.dtype == np.float32 else array.astype(np.float32)


def _map(path: Path) -> Array:
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise damaged(path, "no such file") from error
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, MemoryError) as error:  # what np.load raises
        raise damaged(path, next(iter(str(error).splitlines()), type(error).__name__)) from error
    if not isinstance(array, np.ndarray):  # an archive of several
        array.close()
        raise damaged(path, "not one array")
    return array


def _starts(array: Array) -> range:
    return range(0, len(array), _rows(array))


def _rows(array: Array) -> int:
    """Return how many rows make a block."""
    width = 1
    for size in array.shape[1:]:
        width *= size
    return max(1, _BLOCK // max(1, width))


def _first_infinite(block: Array) -> int | None:
    """Return the first row with a number that is not finite."""
    finite = np.isfinite(block).reshape(len(block), -1).all(axis=1)
    return None if finite.all() else int(np.flatnonzero(~finite)[0])
