"""A model's folder: `config.json`, `model.safetensors`, and while training the state from which a killed run goes on.

Where the text encoder was trained too, its weights are in `encoder.safetensors`.

Only safetensors and JSON are read or written: loading a checkpoint runs no code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.torch
from torch import Tensor, nn

from dualway import storage
from dualway.config import Preset, from_dict, to_dict
from dualway.errors import DataError, ModelError, UsageError
from dualway.model.dwe_plus import DwePlus

CONFIG, MODEL, ENCODER, STATE, HISTORY, RESULT = (
    "config.json",
    "model.safetensors",
    "encoder.safetensors",
    "resume.safetensors",
    "history.jsonl",
    "train.json",
)
_FORMAT = 1
_KEY = "dualway"  # one key of metadata: with several, their order and so the file's bytes would vary


class Dims(NamedTuple):
    """Widths of the encoders' vectors; `image` is None for a model without pictures."""

    text: int
    image: int | None


class LoadedModel(NamedTuple):
    """A model in eval mode, the preset that made it, and the widths it reads."""

    model: DwePlus
    preset: Preset
    dims: Dims


def describe_run(preset: Preset, dims: Dims, seed: int, data: str) -> dict[str, Any]:
    """Return what `config.json` holds: all that decides the bytes of the trained model."""
    return {
        "format": _FORMAT,
        "preset": to_dict(preset),
        "text_dim": dims.text,
        "image_dim": dims.image,
        "seed": seed,
        "data": data,
    }


def load_model(folder: Path) -> LoadedModel:
    """Read the best model of a run.

    Raises:
        ModelError: The folder or a file is missing, broken, or does not fit the other; names file and remedy.
    """
    config = _read_config(folder)
    preset, dims = _parse_config(config, folder / CONFIG)
    model = DwePlus(preset.model, dims.text, dims.image)
    tensors, _ = read_tensors(folder / MODEL)
    load_tensors(model, tensors, folder / MODEL)
    return LoadedModel(model.eval(), preset, dims)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise ModelError(f"{path}: no such file; {folder} is not a trained run (make one with `dualway train`)")
    try:
        config = storage.read_json(path)
    except DataError as error:
        raise ModelError(f"{error}; restore the file or train again") from error
    if not isinstance(config, dict) or config.get("format") != _FORMAT:  # pyright: ignore[reportUnknownMemberType]
        raise ModelError(f"{path}: not a dualway model of format {_FORMAT}; train again with this version")
    return config  # pyright: ignore[reportUnknownVariableType]


def _parse_config(config: Mapping[str, Any], path: Path) -> tuple[Preset, Dims]:
    try:
        preset = from_dict(Preset, config["preset"], where=str(path))
        dims = Dims(int(config["text_dim"]), None if config["image_dim"] is None else int(config["image_dim"]))
    except (UsageError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: settings that cannot be read ({error}); restore the file or train again") from error
    return preset, dims


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and a JSON value as one safetensors file, whole or not at all; equal input gives equal bytes."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(plain, {_KEY: json.dumps(meta)})
    with storage.atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises:
        ModelError: Missing, truncated or not such a file.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file; train again")
    try:
        with safetensors.safe_open(path, framework="pt") as file:  # pyright: ignore[reportPrivateImportUsage]
            meta = dict(json.loads((file.metadata() or {}).get(_KEY, "{}")))
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118 - not a mapping
    except (safetensors.SafetensorError, OSError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: broken checkpoint ({error}); restore the file or train again") from error


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors into a module.

    Raises:
        ModelError: A tensor is missing, left over, of another shape or not finite; names the first.
    """
    own = module.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        if name not in tensors or name not in own:
            where = "missing from" if name not in tensors else "not expected in"
            raise ModelError(f"{path}: {name} is {where} the checkpoint; it does not fit {CONFIG}, train again")
        if own[name].shape != tensors[name].shape:
            shapes = f"{tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}"
            raise ModelError(f"{path}: {name} has shape {shapes}; it does not fit {CONFIG}, train again")
        if not bool(tensors[name].isfinite().all()):
            raise ModelError(f"{path}: {name} holds values that are not finite; restore the file or train again")
    module.load_state_dict(dict(tensors))


def fingerprint_arrays(arrays: Iterable[np.ndarray[Any, Any] | None]) -> str:
    """Return a hash of the arrays' types, shapes and bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        if array is None:
            digest.update(b"none")
        else:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
