"""`manifest.json` of a feature store: what its vectors were made with and of, readable by a person and without numpy.

Nothing in it is trusted: names of splits and of arrays are checked before they become paths.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from dualway import __version__
from dualway.config import EncoderConfig, FeatureConfig, Preset, from_dict, to_dict
from dualway.errors import DataError, UsageError
from dualway.storage import read_json, write_json

FORMAT, VERSION = "dualway-features", 2
MANIFEST = "manifest.json"
DTYPES = ("float32", "float16")

Shape = tuple[str, tuple[int, ...]]  # an array's type, as numpy writes it, and shape

# Arrays of a split; a ragged one is two files, NAME.values.npy and NAME.offsets.npy. Those of pictures: tables.py.
RAGGED = ("labels", "faces", "tokens", "identities")
_LISTS = (*RAGGED, "objects", "face_vectors")
_WHOLE_NUMBERS = {
    "keys": "<u8",
    "sources": "<u8",
    "kept": "<i8",
    "picture": "<i8",
    "face_object": "<i8",
    **{f"{name}.offsets": "<i8" for name in _LISTS},
}
_VECTORS = {"mention", "text", "image", *(f"{name}.values" for name in _LISTS)}
_TYPES = {"float32": "<f4", "float16": "<f2", "int64": "<i8", "uint64": "<u8"}
_NAMES = {type: name for name, type in _TYPES.items()}
_ARRAY = re.compile(r"(\w+) \[(\d+(?:, \d+)*)\]")

_SPLIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
# `trainable` says what training does with the encoder, not what the vectors are.
_NOT_OF_VECTORS = {"encoders.trainable"}


@dataclass(frozen=True)
class Origin:
    """What vectors were made with; those of equal origin are interchangeable.

    Attributes:
        dtype: Of the vectors on disk.
        encoders_config, features_config: The settings.
        text_keys: `model.text_keys`: whether token vectors are there.
        models: Fingerprint of each model that was used, by the setting of `encoders` that names it.
        gallery: Fingerprint of the knowledge base's pictures that faces were compared with, None where none were.
        on_error: What became of mentions whose picture could not be used: "keep-text" or "drop".
        files: Where vectors or regions came from files: "entities", "pictures", "regions" -> {path, .., sha256}.
        kb: Fingerprints `compatibility` and `content`, `order` (hash of the ids in their order), and `path`.
    """

    dtype: str
    encoders_config: EncoderConfig
    features_config: FeatureConfig
    text_keys: str
    models: Mapping[str, str]
    files: Mapping[str, Mapping[str, Any]]
    kb: Mapping[str, str]
    gallery: str | None = None
    on_error: str = "keep-text"

    def settings(self) -> dict[str, Any]:
        """Return the settings that decide what the vectors are, by their names in a preset."""
        return flat_settings(self.encoders_config, self.features_config)

    def differences(self, other: Origin) -> list[str]:
        """Return what differs in words, "NAME: VALUE here, VALUE there"; paths do not count, content does."""
        here, there = self._comparable(), other._comparable()
        return [
            f"{key}: {here.get(key)!r} there, {there.get(key)!r} now"
            for key in {**here, **there}
            if here.get(key) != there.get(key)
        ]

    def _comparable(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"dtype": self.dtype, **self.settings(), "model.text_keys": self.text_keys}
        parts |= {f"model of {part}": fingerprint for part, fingerprint in self.models.items()}
        parts |= {f"file of {part}": record["sha256"] for part, record in self.files.items()}
        parts |= {f"knowledge base, {key}": self.kb[key] for key in ("compatibility", "content", "order")}
        return parts | {"gallery": self.gallery, "--on-error": self.on_error}

    def digest(self) -> str:
        """Return a hash of all that counts in it."""
        return hashlib.sha256(json.dumps(self._comparable(), sort_keys=True).encode()).hexdigest()[:16]

    def of_pictures(self) -> dict[str, Any]:
        """Return what decides on what is found in a picture; where it is equal, a picture need not be read again."""
        settings = {key: value for key, value in self.settings().items() if key.startswith("features.")}
        texts = {key for key in settings if key.endswith("_template") or key.startswith("features.identity")}
        texts.add("features.representation")
        models = {part: fingerprint for part, fingerprint in self.models.items() if part != "text"}
        return {key: value for key, value in settings.items() if key not in texts} | models

    def follows(self, other: Origin) -> bool:
        """Tell whether this is `other` with another content of the same knowledge base, or of its gallery."""
        kb = {**self.kb, "content": other.kb["content"], "order": other.kb["order"]}
        return not replace(self, kb=kb, gallery=other.gallery).differences(other)


@dataclass(frozen=True)
class SplitRecord:
    """What a store holds of one split.

    Attributes:
        mentions: Their number.
        sha256: Hash of ids, captions, surfaces and names of pictures, in order.
        pictures_sha256: Hash of the pictures' places and states, to tell when one has changed.
        pictures: Pictures in use.
        failures: Pictures that could not be used.
        dropped: Mentions that are not there, as their picture could not be used (`--on-error drop`).
        attributes: Names of the facial attributes in the face sentences.
        arrays: Type and shape of each NAME.npy.
    """

    mentions: int
    sha256: str
    pictures_sha256: str
    pictures: int
    failures: int
    attributes: tuple[str, ...]
    arrays: Mapping[str, Shape]
    dropped: int = 0


@dataclass(frozen=True)
class Manifest:
    """All that `manifest.json` says.

    Attributes:
        origin: What the vectors were made with.
        entities: Type and shape of entities.npy.
        splits: By name.
        outdated: Splits of another content of the knowledge base; their pictures are used when they are made anew.
        purged: How much was removed from it since it was made: "faces", and "entities" that had been recognised.
    """

    origin: Origin
    entities: Shape
    splits: Mapping[str, SplitRecord] = field(default_factory=dict[str, SplitRecord])
    outdated: Mapping[str, SplitRecord] = field(default_factory=dict[str, SplitRecord])
    purged: Mapping[str, int] = field(default_factory=dict[str, int])


def flat_settings(encoders: EncoderConfig, features: FeatureConfig) -> dict[str, Any]:
    """Return the settings that decide what vectors are, as "section.name" -> value."""
    nested = {"encoders": to_dict(encoders), "features": to_dict(features)}
    flat = {f"{section}.{key}": value for section, values in nested.items() for key, value in values.items()}
    return {key: value for key, value in flat.items() if key not in _NOT_OF_VECTORS}


def preset_settings(preset: Preset) -> dict[str, Any]:
    """Return `flat_settings` of a preset."""
    return flat_settings(preset.encoders, preset.features)


def check_split_name(name: str) -> str:
    """Return the name of a split, which becomes that of a folder.

    Raises:
        UsageError: It is no plain name: a path, hidden, or too long.
    """
    if not _SPLIT.fullmatch(name) or name.endswith(".tmp") or name in ("work", MANIFEST):
        raise UsageError(
            f"split {name[:80]!r}: its features go into a folder of this name; use letters, digits, - and _"
        )
    return name


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` whole or not at all."""
    origin = manifest.origin
    content = {
        "format": FORMAT,
        "version": VERSION,
        "dualway": __version__,
        "dtype": origin.dtype,
        "settings": {
            "encoders": to_dict(origin.encoders_config),
            "features": to_dict(origin.features_config),
            "model": {"text_keys": origin.text_keys},
        },
        "models": dict(origin.models),
        "gallery": origin.gallery,
        "on_error": origin.on_error,
        "files": {part: dict(record) for part, record in origin.files.items()},
        "kb": dict(origin.kb),
        "entities": write_shape(manifest.entities),
        "splits": {name: split_content(record) for name, record in manifest.splits.items()},
        "outdated": {name: split_content(record) for name, record in manifest.outdated.items()},
        "purged": dict(manifest.purged),
    }
    write_json(folder / MANIFEST, content)


def read_manifest(folder: Path) -> Manifest:
    """Read and check `manifest.json`.

    Raises:
        DataError: Missing, damaged, of another format, or written by a newer version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"not a feature store (no {MANIFEST} in it); make one with `dualway features`", path=folder)
    values = read_json(path)
    if not isinstance(values, dict) or cast("dict[str, Any]", values).get("format") != FORMAT:
        raise damaged(path, f"not a manifest of format {FORMAT!r}")
    values = cast("dict[str, Any]", values)
    if values.get("version") != VERSION:
        raise DataError(
            f"of version {values.get('version')!r}, this dualway reads {VERSION}; make the features again elsewhere",
            path=path,
        )
    try:
        return _parse(values)
    except (AttributeError, KeyError, TypeError, ValueError, UsageError) as error:
        problem = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise damaged(path, problem) from error


def damaged(path: Path, problem: str) -> DataError:
    """Return the error for a file of a store that is not as it was written."""
    remedy = (
        "remove the folder and make the features again" if path.name == MANIFEST else "make it again with --restart"
    )
    return DataError(f"damaged ({problem}); restore it, or {remedy}", path=path)


def _parse(values: dict[str, Any]) -> Manifest:
    settings, dtype = values["settings"], str(values["dtype"])
    if dtype not in DTYPES:
        raise ValueError(f"'dtype' is {dtype!r}")
    origin = Origin(
        dtype=dtype,
        encoders_config=from_dict(EncoderConfig, settings["encoders"], where="settings.encoders"),
        features_config=from_dict(FeatureConfig, settings["features"], where="settings.features"),
        text_keys=str(settings["model"]["text_keys"]),
        models=_texts(values["models"]),
        files={str(part): _file(record) for part, record in values["files"].items()},
        kb={key: str(values["kb"][key]) for key in ("path", "compatibility", "content", "order")},
        gallery=None if values["gallery"] is None else str(values["gallery"]),
        on_error=str(values["on_error"]),
    )
    return Manifest(
        origin=origin,
        entities=_array(values["entities"], _TYPES[dtype]),
        splits=_splits(values["splits"], dtype),
        outdated=_splits(values["outdated"], dtype),
        purged={str(what): _count(number) for what, number in values.get("purged", {}).items()},
    )


def _splits(values: dict[str, Any], dtype: str) -> dict[str, SplitRecord]:
    return {check_split_name(name): read_split(record, dtype) for name, record in values.items()}


def split_content(record: SplitRecord) -> dict[str, Any]:
    """Return a split's record as JSON values."""
    arrays = {name: write_shape(shape) for name, shape in record.arrays.items()}
    return {**dataclasses.asdict(record), "arrays": arrays}


def write_shape(shape: Shape) -> str:
    """Return a type and shape as text, "float32 [20, 512]"."""
    return f"{_NAMES[shape[0]]} {list(shape[1])}"


def read_shape(text: str) -> Shape:
    """Return what `write_shape` wrote.

    Raises:
        TypeError, ValueError: It is none.
    """
    parts = _ARRAY.fullmatch(text)
    if parts is None or parts[1] not in _TYPES:
        raise ValueError(f"an array {text!r}")
    return _TYPES[parts[1]], tuple(int(size) for size in parts[2].split(", "))


def read_split(record: dict[str, Any], dtype: str) -> SplitRecord:
    """Return the record that `split_content` wrote, of a store whose vectors are of a type.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: It is none.
    """
    types = {**_WHOLE_NUMBERS, **dict.fromkeys(_VECTORS, _TYPES[dtype])}
    return SplitRecord(
        mentions=_count(record["mentions"]),
        sha256=str(record["sha256"]),
        pictures_sha256=str(record["pictures_sha256"]),
        pictures=_count(record["pictures"]),
        failures=_count(record["failures"]),
        dropped=_count(record["dropped"]),
        attributes=tuple(map(str, record["attributes"])),
        arrays={name: _array(array, types[name]) for name, array in record["arrays"].items()},
    )


def _array(text: Any, type: str) -> Shape:
    """Return the type and shape that "float32 [20, 512]" means, checked."""
    shape = read_shape(text)
    if shape[0] != type:
        raise ValueError(f"an array {text!r}, expected {_NAMES[type]} [..]")
    return shape


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a number of things")
    return value


def _texts(value: dict[str, Any]) -> dict[str, str]:
    return {str(key): str(text) for key, text in value.items()}


def _file(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "sha256": str(record["sha256"])}
