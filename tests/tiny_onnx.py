"""Tiny .onnx files, written byte by byte: models that take pictures of a size and always answer the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

_TYPES = {"float32": 1, "float16": 10, "float64": 11}  # ONNX's numbers
Shape = Sequence[int | str]


def save_constant_onnx(path: Path, inputs: Mapping[str, Shape], outputs: Mapping[str, np.ndarray]) -> Path:
    """Write a model whose outputs are the given arrays, whatever it is fed; a name in a shape is any size."""
    nodes = [_text(1, f"{name}_value") + _text(2, name) + _text(4, "Identity") for name in outputs]
    parts = [
        *(_part(1, node) for node in nodes),
        _text(2, "graph"),
        *(_part(5, _tensor(f"{name}_value", values)) for name, values in outputs.items()),
        *(_part(11, _value(name, shape, "float32")) for name, shape in inputs.items()),
        *(_part(12, _value(name, values.shape, values.dtype.name)) for name, values in outputs.items()),
    ]
    path.write_bytes(_number(1, 8) + _part(7, b"".join(parts)) + _part(8, _text(1, "") + _number(2, 13)))
    return path


def _tensor(name: str, values: np.ndarray) -> bytes:
    dims = b"".join(_number(1, side) for side in values.shape)
    return dims + _number(2, _TYPES[values.dtype.name]) + _text(8, name) + _part(9, values.tobytes())


def _value(name: str, shape: Shape, kind: str) -> bytes:
    dims = b"".join(_part(1, _text(2, side) if isinstance(side, str) else _number(1, side)) for side in shape)
    return _text(1, name) + _part(2, _part(1, _number(1, _TYPES[kind]) + _part(2, dims)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _part(field, value.encode())


def _part(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    done = b""
    while value > 0x7F:
        done, value = done + bytes([value & 0x7F | 0x80]), value >> 7
    return done + bytes([value])
