"""The one place that opens an .onnx file: onnxruntime on the processor, one thread, nothing sent anywhere.

A file is read once, so that what is fingerprinted is what runs, and must hold all of its weights: weights in other
files ("external data") are refused, as their paths come from the file and their bytes would not be in the fingerprint.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualway.errors import ModelError
from dualway.schema import FloatArray

# One number a dimension; None: of any size.
Shape = tuple[int | None, ...]

_MAX_BYTES = 2**31 - 1  # more than the format (protobuf) can hold
_EXTERNAL = b"\n\x08location\x12"  # the key under which a tensor names the file of its weights
_REMEDY = "get the file anew, and give the .onnx file itself"


class OnnxModel:
    """An opened .onnx file; `load_onnx` makes one. It may be pickled: the other process opens the same file again.

    `inputs`, `outputs`: shapes by name, in the file's order. `metadata`: what else the file says of itself.
    `fingerprint`: 16 hex digits of the file's SHA-256.
    """

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self.fingerprint = hashlib.sha256(data).hexdigest()[:16]
        self._session = _open_session(path, data)
        nodes = self._session.get_inputs(), self._session.get_outputs()
        self.inputs, self.outputs = ({str(node.name): _shape(node.shape) for node in side} for side in nodes)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self._types = {str(node.name): str(node.type) for side in nodes for node in side}

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the outputs, in the order of `outputs`.

        Raises:
            ModelError: What is fed does not fit, or an output holds a number that is not finite.
        """
        try:
            found = [np.asarray(part) for part in self._session.run(list(self.outputs), dict(feeds))]
        except Exception as error:  # onnxruntime's own have no common base
            raise ModelError(f"{self.path}: cannot be run: {_first_line(error)}; {_REMEDY}") from error
        for name, part in zip(self.outputs, found, strict=True):
            if part.dtype.kind == "f" and not np.isfinite(part).all():
                raise ModelError(f"{self.path}: output {name!r} holds numbers that are not finite; {_REMEDY}")
        return found

    def type_of(self, name: str) -> str:
        """Return the type of an input or output as onnxruntime writes it: "tensor(float)"."""
        return self._types[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self.fingerprint)


def find_onnx(name: str) -> Path | None:
    """Return the path that a setting names when it is that of an .onnx file ("~" is the home folder); else None."""
    return Path(os.path.expanduser(name)) if name.lower().endswith(".onnx") else None  # noqa: PTH111 - never raises


def load_onnx(path: Path) -> OnnxModel:
    """Open an .onnx file; a link to one will do.

    Raises:
        ModelError: Missing, no file, empty, not ONNX, cut short, with weights in other files, or not to be run here.
    """
    return OnnxModel(path, read_onnx(path))


def read_onnx(path: Path) -> bytes:
    """Return the content of an .onnx file, of which only its size and where its weights are have been checked.

    Raises:
        ModelError: Missing, no file, empty, too large, or with weights in other files.
    """
    try:
        if not path.is_file():
            raise ModelError(f"{path}: {'not a file' if path.exists() else 'no such file'}; give an .onnx file")
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path}: over 2 GiB, more than an ONNX file can hold; {_REMEDY}")
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that no file system takes
        raise ModelError(f"{path}: cannot be read ({error}); give an .onnx file") from error
    if not data:
        raise ModelError(f"{path}: the file is empty; {_REMEDY}")
    if _EXTERNAL in data:
        raise ModelError(f"{path}: keeps weights in another file; save the model as one file")
    return data


def check_shapes(
    model: OnnxModel,
    kind: str,
    *,
    inputs: Mapping[str, Shape] | Sequence[Shape],
    outputs: Mapping[str, Shape] | Sequence[Shape],
) -> None:
    """Check that a file is what it is used as: its inputs and outputs, all of them, of float32.

    Args:
        model: The opened file.
        kind: What it should be, for the message: "a model of age and gender".
        inputs: Shapes by name, in any order; or in order, whatever the names.
        outputs: Likewise.

    Raises:
        ModelError: Another number of them, another name, type or shape; says what the file has.
    """
    for side, expected, found in (("inputs", inputs, model.inputs), ("outputs", outputs, model.outputs)):
        named = expected if isinstance(expected, Mapping) else dict(zip(found, expected, strict=False))
        fits = len(expected) == len(found) and named.keys() == found.keys()
        if not fits or not all(_compatible(found[name], shape) for name, shape in named.items()):
            raise ModelError(f"{model.path}: not {kind}: its {side} are {_describe(found)}; {_REMEDY}")
        other = next((name for name in found if model.type_of(name) != "tensor(float)"), None)
        if other is not None:
            raise ModelError(
                f"{model.path}: {side[:-1]} {other!r} is of {model.type_of(other)}; get the file in 32-bit floats"
            )


def picture_tensor(pixels: NDArray[np.uint8], *, mean: float = 0.0, scale: float = 1.0) -> FloatArray:
    """Return pixels (uint8 [height, width, 3]), less `mean`, times `scale`, as float32 [1, 3, height, width]."""
    values = (pixels.astype(np.float32) - np.float32(mean)) * np.float32(scale)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def _open_session(path: Path, data: bytes) -> Any:
    import onnxruntime as ort

    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, and would be told twice
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own have no common base
        raise ModelError(f"{path}: not an ONNX model that can be run: {_first_line(error)}; {_REMEDY}") from error


def _reopen(path: Path, fingerprint: str) -> OnnxModel:
    model = load_onnx(path)
    if model.fingerprint != fingerprint:
        raise ModelError(f"{path}: changed while it was in use; start anew")
    return model


def _shape(dims: Sequence[Any]) -> Shape:
    return tuple(dim if isinstance(dim, int) else None for dim in dims)


def _compatible(found: Shape, expected: Shape) -> bool:
    if len(found) != len(expected):
        return False
    return all(a is None or b is None or a == b for a, b in zip(found, expected, strict=True))


def _describe(shapes: Mapping[str, Shape]) -> str:
    """Return `image [?, 3, 112, 112], ..`, the first few."""
    parts = [f"{name} [{', '.join('?' if dim is None else str(dim) for dim in dims)}]" for name, dims in shapes.items()]
    return ", ".join(parts[:4]) + (f" and {len(parts) - 4} more" if len(parts) > 4 else "")


def _first_line(error: Exception) -> str:
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line.removeprefix("[ONNXRuntimeError] : ")
