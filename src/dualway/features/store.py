"""A feature store: the vectors of a data set in a folder, computed once and read in place of encoders.

    manifest.json           what they were made with and of (features/manifest.py)
    entities.npy            E, [num_entities, dim], in the order of the knowledge base
    SPLIT/keys.npy          uint64 [n], a hash of each mention, to name the one that differs
    SPLIT/mention.npy       m; text.npy: t; picture.npy: which picture each mention has; kept.npy: who was not dropped
    SPLIT/image.npy ..      what is in pictures: a table (features/tables.py), with regions.jsonl
    SPLIT/labels ..         s of each picture; faces: f of each mention; face_object.npy; tokens; identities
    SPLIT/identities.jsonl  whom the knowledge base's pictures say a mention's picture shows
    SPLIT/failures.json     pictures that could not be used, and why

Ragged arrays are two files, NAME.values.npy and NAME.offsets.npy. All are plain .npy, never pickled, and mapped into
memory when they are read (float16 is widened in memory). A split is written whole or not at all (features/writing.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from dualway.config import Preset, override, to_dict
from dualway.datasets.base import Dataset
from dualway.errors import CompatibilityError, DataError
from dualway.features.arrays import Features, Ragged
from dualway.features.extract import ExtractionReport
from dualway.features.identity import Identity, hash_order, identify
from dualway.features.manifest import Manifest, Origin, SplitRecord, damaged, preset_settings, read_manifest
from dualway.features.npy import Array, read_array
from dualway.features.seen import label_from
from dualway.features.tables import Table, open_table
from dualway.features.writing import ENTITIES, FAILURES, IDENTITIES
from dualway.schema import FloatArray, IdentityLabel, IntArray
from dualway.storage import read_json, read_jsonl

if TYPE_CHECKING:
    from dualway.kb.store import KnowledgeBase


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
        return {**self.origin.models, **files}

    def settings(self, preset: Preset) -> Preset:
        """Return a preset with the settings that the features were made with, in place of its own."""
        encoders = to_dict(self.origin.encoders_config)
        del encoders["trainable"]  # what training does with an encoder is not of the vectors
        return override(preset, {"encoders": encoders, "features": to_dict(self.origin.features_config)})

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

        A data set without the mentions that were dropped (`select`) is found, too.

        Raises:
            CompatibilityError: None does; names the first mention that differs.
        """
        identity = identify(dataset)
        splits = self.manifest.splits
        same = [name for name in splits if self._is_whole(name, identity) or self._is_kept(name, identity)]
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

    def _is_whole(self, split: str, identity: Identity) -> bool:
        return self.manifest.splits[split].sha256 == identity.sha256

    def _is_kept(self, split: str, identity: Identity) -> bool:
        """Tell whether mentions are those of a split that were not dropped."""
        record = self.manifest.splits[split]
        if not record.dropped or record.mentions != len(identity.keys):
            return False
        keys = self._keys(split)
        return bool((keys[self.reader(split).kept(len(keys))] == identity.keys).all())

    def _keys(self, split: str) -> Array:
        """Return the hash of each mention of a split, of those that were dropped too."""
        return read_array(self.folder / split / "keys.npy", self.manifest.splits[split].arrays.get("keys"))

    def _difference(self, dataset: Dataset, identity: Identity) -> str:
        keys = self._keys(dataset.split or "")
        if len(keys) != len(identity.keys):
            return f"{len(keys):,} in the split {dataset.split} there, {len(identity.keys):,} now"
        first = int(np.flatnonzero(keys != identity.keys)[0]) if (keys != identity.keys).any() else 0
        return (
            f"split {dataset.split}, first: {dataset.mentions[first].id!r}; its id, caption, words or picture changed"
        )

    def select(self, dataset: Dataset) -> Dataset:
        """Return the data set without the mentions that were dropped when features were made (`--on-error drop`).

        Raises:
            CompatibilityError: The store holds no features of these mentions.
        """
        split = self.find(dataset)
        if not self.manifest.splits[split].dropped or not self._is_whole(split, identify(dataset)):
            return dataset
        return dataset.take(self.reader(split).kept(len(dataset)))

    def load(self, dataset: Dataset, *, tokens: bool = False) -> tuple[Features, ExtractionReport]:
        """Return the features of a data set, and what was met when they were made.

        Args:
            dataset: The mentions, with or without those that were dropped, which have no features; gold is not looked
                at.
            tokens: Also return the vectors of tokens, where they are there.

        Raises:
            CompatibilityError: The store holds no features of these mentions.
            DataError: A file is missing or damaged.
        """
        reader = self.reader(self.find(dataset))
        return reader.features(tokens=tokens), reader.report()

    def reader(self, split: str) -> _Reader:
        """Return what reads one split."""
        return _Reader(self.folder / split, self.manifest.splits[split], self.entities)


class _Reader:
    """One split, read and checked: shapes, types and lengths, offsets, positions, and that all numbers are finite."""

    def __init__(self, folder: Path, record: SplitRecord, entities: FloatArray) -> None:
        self.folder, self.record, self.entities = folder, record, entities
        self.table: Table = open_table(folder, record.arrays)
        if len(self.table.keys) != record.pictures:
            raise damaged(folder / "sources.npy", f"expected {record.pictures} pictures")

    def features(self, *, tokens: bool) -> Features:
        """Return the features of the split's mentions."""
        n, pictures = self.record.mentions, self.record.pictures
        width = self.entities.shape[1]
        faces = self._ragged("faces", n, width)
        return Features(
            mention=self._dense("mention", n, width),
            text=self._dense("text", n, width),
            picture=self._positions("picture", n, pictures),
            entities=self.entities,
            image=self.table.image,
            objects=self.table.objects,
            labels=self._ragged("labels", pictures, width),
            faces=faces,
            face_object=None if faces is None else self._positions("face_object", len(faces.values)),
            text_tokens=self._ragged("tokens", n, width) if tokens else None,
            identities=self._ragged("identities", n, width),
        )

    def report(self) -> ExtractionReport:
        """Return what was met; records of pictures are read when they are asked for."""
        return ExtractionReport(
            pictures=self.record.pictures,
            failures=_read_failures(self.folder / FAILURES),
            seen=self.table.records,
            attributes=self.record.attributes,
        )

    def identities(self) -> dict[str, tuple[IdentityLabel, ...]]:
        """Return whom the gallery takes the people of each mention's picture for, by the mention's id."""
        path = self.folder / IDENTITIES
        if not path.is_file():
            return {}
        try:
            return {
                str(record["mention"]): tuple(label_from(item) for item in record["identities"])
                for _, record in read_jsonl(path)
            }
        except (AttributeError, DataError, KeyError, TypeError, ValueError) as error:
            raise damaged(path, str(error)) from error

    def kept(self, num: int) -> IntArray:
        """Return the positions, in a data set of `num` mentions, of those that are there."""
        if "kept" not in self.record.arrays:
            return np.arange(num, dtype=np.int64)
        kept = self._positions("kept", self.record.mentions, num)
        self._require("kept", bool((kept >= 0).all()) and bool((np.diff(kept) > 0).all()), "growing positions")
        return kept

    def positions(self) -> IntArray:
        """Return each mention's picture, int64 [n]; -1 for none."""
        return self._positions("picture", self.record.mentions, self.record.pictures)

    def _read(self, name: str) -> Array:
        return read_array(self.folder / f"{name}.npy", self.record.arrays.get(name))

    def _dense(self, name: str, rows: int, width: int) -> FloatArray:
        values = self._read(name)
        self._require(name, values.ndim == 2 and len(values) == rows, f"{rows} rows")
        self._require(name, values.shape[1] == width, f"the width {width} of entities.npy")
        return values

    def _ragged(self, name: str, lists: int, width: int) -> Ragged | None:
        if f"{name}.values" not in self.record.arrays:
            return None
        values, offsets = self._read(f"{name}.values"), self._read(f"{name}.offsets")
        self._require(name, values.ndim == 2 and width == values.shape[1], f"the width {width}")
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


def _read_failures(path: Path) -> dict[str, str]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise damaged(path, "not an object")
    return {str(picture): str(why) for picture, why in cast("Mapping[str, Any]", value).items()}


def _title(dataset: Dataset) -> str:
    return f"the split {dataset.split!r}" if dataset.split else f"the file {dataset.report.path}"
