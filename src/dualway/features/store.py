"""A feature store: the vectors of a data set in a folder, computed once and read in place of encoders.

    manifest.json           what they were made with and of (features/manifest.py)
    entities.npy            E, [num_entities, dim], in the order of the knowledge base
    SPLIT/keys.npy          uint64 [n], a hash of each mention, to name the one that differs
    SPLIT/mention.npy       m; text.npy: t; picture.npy: which picture each mention has
    SPLIT/image.npy         v of each picture; objects: d; labels: s; faces: f; face_object.npy; tokens
    SPLIT/regions.jsonl     a line a picture: its name and the object of each row of `objects`
    SPLIT/failures.json     pictures that could not be used, and why

Ragged arrays are two files, NAME.values.npy and NAME.offsets.npy. All are plain .npy, never pickled, and mapped into
memory when they are read (float16 is widened in memory). A split is written whole or not at all; then the manifest
says that it is there.
"""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from dualway.config import Preset
from dualway.datasets.base import Dataset
from dualway.errors import CompatibilityError, DataError, StorageError
from dualway.features.arrays import Features, Ragged
from dualway.features.extract import ExtractionReport
from dualway.features.identity import Identity, hash_order, hash_pictures, identify
from dualway.features.manifest import (
    MANIFEST,
    RAGGED,
    Manifest,
    Origin,
    SplitRecord,
    check_split_name,
    damaged,
    preset_settings,
    read_manifest,
    write_manifest,
)
from dualway.features.npy import Array, read_array, write_array
from dualway.features.regions import CutOut
from dualway.schema import FloatArray, IntArray, Mention, Region
from dualway.storage import atomic_folder, atomic_path, read_json, read_jsonl, storage_errors, write_json

if TYPE_CHECKING:
    from dualway.kb.store import KnowledgeBase

ENTITIES, REGIONS, FAILURES = "entities.npy", "regions.jsonl", "failures.json"


def save_features(
    folder: Path, split: str, features: Features, report: ExtractionReport, *, dataset: Dataset, origin: Origin
) -> SplitRecord:
    """Write the features of one split into a store, which is made where there is none; return what was written.

    A split of this name is replaced. `Features.entities` goes into the store once, with its first split.

    Raises:
        CompatibilityError: The store holds vectors of another origin; names what differs.
        StorageError: The folder holds other things; the disk is full, or the place cannot be written.
        UsageError: The split's name is no name for a folder.
        DataError: A vector is not finite, or too large for float16; names the array.
    """
    check_split_name(split)
    identity, pictures = identify(dataset), hash_pictures(dataset)
    manifest = _begin(folder, features.entities, origin)
    _forget(folder, manifest, split)
    arrays = _arrays_of(features, identity)
    with atomic_folder(folder / split) as place:
        written = {
            name: write_array(place / f"{name}.npy", array, origin.dtype, name=f"{split}/{name}")
            for name, array in arrays.items()
        }
        _write_regions(place / REGIONS, features, report, dataset.mentions)
        write_json(place / FAILURES, report.failures)
    record = SplitRecord(
        mentions=len(features),
        sha256=identity.sha256,
        pictures_sha256=pictures,
        pictures=report.pictures,
        failures=len(report.failures),
        attributes=report.attributes,
        arrays=written,
    )
    manifest = read_manifest(folder)
    write_manifest(folder, replace(manifest, splits={**manifest.splits, split: record}))
    return record


def open_features(folder: Path) -> FeatureStore:
    """Open a store for reading.

    Raises:
        DataError: Not a store, damaged, or of another version.
    """
    return FeatureStore(folder, read_manifest(folder))


class FeatureStore:
    """The features in a folder; made by `save_features`, opened by `open_features`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self._entities: FloatArray | None = None

    @property
    def origin(self) -> Origin:
        """What the vectors were made with."""
        return self.manifest.origin

    def fingerprints(self) -> dict[str, str]:
        """Return what made the vectors: fingerprints of encoders and detector, hashes of files in their place."""
        files = {
            part: self.origin.files[part]["sha256"] for part in ("entities", "pictures") if part in self.origin.files
        }
        detector = {} if self.origin.detector is None else {"detector": self.origin.detector}
        return {**self.origin.encoders, **detector, **files}

    def check(self, preset: Preset, kb: KnowledgeBase) -> None:
        """Check that the vectors are those that a preset and a knowledge base ask for.

        Raises:
            CompatibilityError: They are not; names what differs and what to do.
        """
        here, wanted = self.origin.settings(), preset_settings(preset)
        differing = [key for key in wanted if here.get(key) != wanted[key]]
        if differing:
            shown = "; ".join(f"{key}: {here.get(key)!r} there, {wanted[key]!r} now" for key in differing[:3])
            raise CompatibilityError(
                f"{self.folder}: its features were made with other settings ({shown}); make features with these "
                f"settings in another folder (`dualway features`), or set {differing[0]} as it is there"
            )
        if preset.model.text_keys == "tokens" and self.origin.text_keys != "tokens":
            raise CompatibilityError(
                f"{self.folder}: holds no vectors of tokens (made with model.text_keys={self.origin.text_keys}); make "
                "features with --set model.text_keys=tokens in another folder, or set model.text_keys=pooled"
            )
        if preset.encoders.trainable and "entities" in self.origin.files:
            raise CompatibilityError(
                f"{self.folder}: its entity vectors come from {self.origin.files['entities'].get('path')}, and "
                "encoders.trainable=true encodes the entities' texts; set encoders.trainable=false"
            )
        self._check_kb(kb)

    def _check_kb(self, kb: KnowledgeBase) -> None:
        there = self.origin.kb
        found = {**kb.fingerprint._asdict(), "order": hash_order(kb.ids)}
        for key, what in (
            ("compatibility", "another kind"),
            ("content", "another content"),
            ("order", "another order"),
        ):
            if found[key] != there[key]:
                raise CompatibilityError(
                    f"{self.folder}: its entity vectors are those of the knowledge base {there['path']}; {kb.path} has "
                    f"{what} ({key} {found[key]}, expected {there[key]}). Name that one with --kb, or make features "
                    "for this one in another folder (`dualway features`)"
                )

    @property
    def entities(self) -> FloatArray:
        """E of every entity, float32 [num_entities, dim]; always the same array.

        Raises:
            DataError: The file is missing or damaged.
        """
        if self._entities is None:
            self._entities = read_array(self.folder / ENTITIES, self.manifest.entities)
        return self._entities

    def find(self, dataset: Dataset) -> str:
        """Return the split that holds the mentions of a data set, told by the mentions and not by a name.

        Raises:
            CompatibilityError: None does; names the first mention that differs.
        """
        identity = identify(dataset)
        splits = self.manifest.splits
        same = [name for name, record in splits.items() if record.sha256 == identity.sha256]
        if same:
            return dataset.split if dataset.split in same else same[0]
        again = f"run the same `dualway features` command again, with --out {self.folder}"
        if dataset.split not in splits:
            known = ", ".join(splits) or "none"
            raise CompatibilityError(
                f"{self.folder}: holds no features of {_title(dataset)} (its splits: {known}); {again}"
            )
        difference = self._difference(dataset, identity)
        raise CompatibilityError(f"{self.folder}: its features are of other mentions ({difference}); {again}")

    def _difference(self, dataset: Dataset, identity: Identity) -> str:
        record = self.manifest.splits[dataset.split or ""]
        keys = read_array(self.folder / (dataset.split or "") / "keys.npy", record.arrays.get("keys"))
        if len(keys) != len(identity.keys):
            return f"{len(keys):,} in the split {dataset.split} there, {len(identity.keys):,} now"
        first = int(np.flatnonzero(keys != identity.keys)[0]) if (keys != identity.keys).any() else 0
        return (
            f"split {dataset.split}, first: {dataset.mentions[first].id!r}; its id, caption, words or picture changed"
        )

    def load(self, dataset: Dataset, *, tokens: bool = False) -> tuple[Features, ExtractionReport]:
        """Return the features of a data set, and what was met when they were made.

        Args:
            dataset: The mentions; gold is not looked at.
            tokens: Also return the vectors of tokens, where they are there.

        Raises:
            CompatibilityError: The store holds no features of these mentions.
            DataError: A file is missing or damaged.
        """
        split = self.find(dataset)
        reader = _Reader(self.folder / split, self.manifest.splits[split], self.entities)
        return reader.features(tokens=tokens), reader.report()


class _Reader:
    """One split, read and checked: shapes, types and lengths, offsets, positions, and that all numbers are finite."""

    def __init__(self, folder: Path, record: SplitRecord, entities: FloatArray) -> None:
        self.folder, self.record, self.entities = folder, record, entities

    def features(self, *, tokens: bool) -> Features:
        n, pictures = self.record.mentions, self.record.pictures
        width = self.entities.shape[1]
        picture = self._positions("picture", n, pictures)
        objects = self._ragged("objects", pictures)
        faces = self._ragged("faces", n, width)
        return Features(
            mention=self._dense("mention", n, width),
            text=self._dense("text", n, width),
            picture=picture,
            entities=self.entities,
            image=self._dense("image", pictures) if "image" in self.record.arrays else None,
            objects=objects,
            labels=self._ragged("labels", pictures, width),
            faces=faces,
            face_object=None if faces is None else self._positions("face_object", len(faces.values)),
            text_tokens=self._ragged("tokens", n, width) if tokens else None,
        )

    def report(self) -> ExtractionReport:
        return ExtractionReport(
            pictures=self.record.pictures,
            failures=_read_failures(self.folder / FAILURES),
            regions=self._regions(),
            attributes=self.record.attributes,
        )

    def _read(self, name: str) -> Array:
        return read_array(self.folder / f"{name}.npy", self.record.arrays.get(name))

    def _dense(self, name: str, rows: int, width: int | None = None) -> FloatArray:
        values = self._read(name)
        self._require(name, values.ndim == 2 and len(values) == rows, f"{rows} rows")
        self._require(name, width is None or values.shape[1] == width, f"the width {width} of entities.npy")
        return values

    def _ragged(self, name: str, lists: int, width: int | None = None) -> Ragged | None:
        if f"{name}.values" not in self.record.arrays:
            return None
        values, offsets = self._read(f"{name}.values"), self._read(f"{name}.offsets")
        self._require(name, values.ndim == 2 and width in (None, values.shape[1]), f"the width {width}")
        whole = offsets.ndim == 1 and len(offsets) == lists + 1 and offsets[0] == 0 and offsets[-1] == len(values)
        self._require(name, whole and bool((np.diff(offsets) >= 0).all()), f"offsets of {lists} lists")
        return Ragged(values, offsets)

    def _positions(self, name: str, rows: int, below: int | None = None) -> IntArray:
        values = self._read(name)
        self._require(name, values.shape == (rows,), f"{rows} numbers")
        low, high = values.min(initial=0), values.max(initial=-1)
        self._require(name, low >= -1 and (below is None or high < below), f"positions from -1 to below {below}")
        return values

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise damaged(self.folder / f"{name}.npy", f"expected {expected}")

    def _regions(self) -> list[tuple[Region, ...]]:
        """Return the objects of each picture; empty where no picture encoder was there."""
        path = self.folder / REGIONS
        if "objects.offsets" not in self.record.arrays:
            return []
        try:
            regions = [tuple(_region(item) for item in record["objects"]) for _, record in read_jsonl(path)]
        except (DataError, KeyError, TypeError, ValueError) as error:
            raise damaged(path, str(error)) from error
        counts = np.diff(self._read("objects.offsets")).tolist()
        if [len(objects) for objects in regions] != counts:
            raise damaged(path, "its objects are not those of objects.offsets.npy")
        return regions


def _begin(folder: Path, entities: FloatArray, origin: Origin) -> Manifest:
    """Return the manifest of the store in `folder`; where there is none, begin one with the entities' vectors."""
    if (folder / MANIFEST).is_file():
        manifest = read_manifest(folder)
        check_origin(folder, manifest, origin)
        return manifest
    check_new(folder)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / ENTITIES) as temporary:
        written = write_array(temporary, entities, origin.dtype, name="entities")
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    manifest = Manifest(origin, written, created)
    write_manifest(folder, manifest)
    return manifest


def check_origin(folder: Path, manifest: Manifest, origin: Origin) -> None:
    """Check that vectors of this origin may go into a store.

    Raises:
        CompatibilityError: It holds vectors of another origin; names what differs.
    """
    differences = manifest.origin.differences(origin)
    if differences:
        raise CompatibilityError(
            f"{folder}: holds features made otherwise ({'; '.join(differences[:3])}); choose another --out, or start "
            "over with --restart"
        )


def check_new(folder: Path) -> None:
    """Check that a store can be begun in `folder`: it is not there, empty, or what a killed beginning left.

    Raises:
        StorageError: It is a file, or holds other things.
    """
    with storage_errors(folder):
        if not folder.exists():
            return
        if not folder.is_dir():
            raise StorageError(f"{folder}: not a folder; choose another --out")
        others = [path.name for path in folder.iterdir() if path.name != ENTITIES and not path.name.endswith(".tmp")]
    if others:
        raise StorageError(
            f"{folder}: holds other things ({sorted(others)[0]!r}) and no {MANIFEST}; choose another --out"
        )


def remove_store(folder: Path) -> None:
    """Remove a store's own files, and nothing else, so that it can be begun anew; without one, do nothing.

    Raises:
        DataError: The manifest cannot be read, so what belongs to the store is not known.
    """
    if not (folder / MANIFEST).is_file():
        return
    manifest = read_manifest(folder)
    with storage_errors(folder):
        (folder / MANIFEST).unlink()
        for split in manifest.splits:
            _remove_split(folder / split)
        (folder / ENTITIES).unlink(missing_ok=True)


def _forget(folder: Path, manifest: Manifest, split: str) -> None:
    """Remove a split that is about to be replaced; first from the manifest, so that a kill leaves none that is half."""
    if split in manifest.splits:
        write_manifest(folder, replace(manifest, splits={k: v for k, v in manifest.splits.items() if k != split}))
    with storage_errors(folder / split):
        _remove_split(folder / split)


def _remove_split(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        raise StorageError(f"{folder}: not a folder of a feature store; remove it, or choose another --out")
    if folder.is_dir():
        shutil.rmtree(folder)


def _arrays_of(features: Features, identity: Identity) -> dict[str, Array]:
    arrays: dict[str, Array | None] = {
        "keys": identity.keys,
        "mention": features.mention,
        "text": features.text,
        "picture": features.picture,
        "image": features.image,
        "face_object": features.face_object if features.faces is not None else None,
    }
    lists = dict(zip(RAGGED, (features.objects, features.labels, features.faces, features.text_tokens), strict=True))
    for name, ragged in lists.items():
        arrays[f"{name}.values"] = None if ragged is None else ragged.values
        arrays[f"{name}.offsets"] = None if ragged is None else ragged.offsets
    if features.faces is not None and features.face_object is None:
        arrays["face_object"] = np.full(len(features.faces.values), -1, dtype=np.int64)
    return {name: array for name, array in arrays.items() if array is not None}


def _write_regions(path: Path, features: Features, report: ExtractionReport, mentions: Sequence[Mention]) -> None:
    """Write a line a picture, in the order of the per-picture arrays."""
    names: dict[int, str | None] = {}
    for mention, picture in zip(mentions, features.picture.tolist(), strict=True):
        names.setdefault(picture, mention.image)
    with path.open("w", encoding="utf-8") as file:
        for picture in range(report.pictures):
            objects = report.regions[picture] if report.regions else ()
            record = {"image": names.get(picture), "objects": [_plain(region) for region in objects]}
            file.write(json.dumps(record) + "\n")


def _plain(region: Region) -> dict[str, Any]:
    return {key: value for key, value in asdict(region).items() if value is not None}


def _region(value: dict[str, Any]) -> Region:
    x0, y0, x1, y1 = (float(number) for number in value["box"])
    others = {key: known for key, known in value.items() if key != "box"}
    return (CutOut if "picture" in others else Region)((x0, y0, x1, y1), **others)


def _read_failures(path: Path) -> dict[str, str]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise damaged(path, "not an object")
    return {str(picture): str(why) for picture, why in cast("dict[str, Any]", value).items()}


def _title(dataset: Dataset) -> str:
    return f"the split {dataset.split!r}" if dataset.split else f"the file {dataset.report.path}"
