"""Writes a feature store: a split whole or not at all, then the manifest says that it is there.

work/pictures/    finished shards (features/shards.py) while features are made
work/splits/      a split that is being written; complete, it takes its place beside the manifest
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dualway.datasets.base import Dataset
from dualway.errors import CompatibilityError, DataError, StorageError
from dualway.features.arrays import Features
from dualway.features.extract import ExtractionReport
from dualway.features.identity import Identity, identify
from dualway.features.manifest import (
    MANIFEST,
    RAGGED,
    Manifest,
    Origin,
    Shape,
    SplitRecord,
    check_split_name,
    read_manifest,
    read_split,
    split_content,
    write_manifest,
)
from dualway.features.npy import Array, write_array
from dualway.features.pictures import PictureVectors
from dualway.features.seen import Seen, label_record
from dualway.features.shards import JoinedRecords
from dualway.features.tables import Keys, Records, write_table
from dualway.schema import FloatArray, IdentityLabel, IntArray, Mention
from dualway.storage import atomic_folder, atomic_path, locked, read_json, storage_errors, write_json

ENTITIES, FAILURES, IDENTITIES, RECORD = "entities.npy", "failures.json", "identities.jsonl", "record.json"
WORK, LOCK = "work", ".lock"


@dataclass(frozen=True)
class Extra:
    """What a split holds beside features and report.

    Attributes:
        keys: `Source.key` of each picture in use, so that it need not be read again; None: not known.
        pictures_sha256: Hash of the pictures in their state, to tell when one has changed.
        kept: Positions in the data set of the mentions that are there; None: all.
    """

    keys: Keys | None = None
    pictures_sha256: str = ""
    kept: IntArray | None = None


def save_features(
    folder: Path,
    split: str,
    features: Features,
    report: ExtractionReport,
    *,
    dataset: Dataset,
    origin: Origin,
    extra: Extra | None = None,
) -> SplitRecord:
    """Write the features of one split into a store, which is made where there is none; return what was written.

    A split of this name is replaced. `Features.entities` goes into the store once, with its first split.

    Args:
        folder: The store.
        split: Its name there.
        features, report: As `FeatureExtractor.extract` returned them.
        dataset: All its mentions, those that were left out too.
        origin: What the features were made with.
        extra: What else is kept.

    Raises:
        CompatibilityError: The store holds vectors of another origin; names what differs.
        StorageError: The folder holds other things; the disk is full, or the place cannot be written.
        UsageError: The split's name is no name for a folder.
        DataError: A vector is not finite, or too large for float16; names the array.
    """
    check_split_name(split)
    extra = extra or Extra()
    identity = identify(dataset)
    _begin(folder, features.entities, origin)
    place = folder / WORK / "splits" / split
    _remove_folder(place)
    try:
        with atomic_folder(place) as new:
            written = _write_arrays(new, split, features, report, identity, origin.dtype, extra)
            _write_identities(new / IDENTITIES, dataset.mentions, extra.kept, report.identities)
            write_json(new / FAILURES, report.failures)
            record = SplitRecord(
                mentions=len(features),
                sha256=identity.sha256,
                pictures_sha256=extra.pictures_sha256,
                pictures=report.pictures,
                failures=len(report.failures),
                dropped=len(dataset) - len(features),
                attributes=report.attributes,
                arrays=written,
            )
            write_json(new / RECORD, {**split_content(record), "origin": origin.digest()})
        publish_split(folder, split, record)
    finally:
        _tidy(folder)
    return record


def adopt_split(folder: Path, split: str, origin: Origin, wanted: tuple[str, str]) -> SplitRecord | None:
    """Put a split into the store that was complete when its build was killed; return its record, None without one.

    Args:
        folder: The store.
        split: Its name there.
        origin: What it must have been made with.
        wanted: `SplitRecord.sha256` and `pictures_sha256` of it.
    """
    record = _read_record(folder / WORK / "splits" / split, origin)
    if record is not None and (record.sha256, record.pictures_sha256) == wanted:
        publish_split(folder, split, record)
        return record
    manifest = read_manifest(folder)
    record = None if split in manifest.splits else _read_record(folder / split, origin)
    if record is not None and (record.sha256, record.pictures_sha256) == wanted:  # in its place, and not yet named
        write_manifest(folder, replace(manifest, splits={**manifest.splits, split: record}))
        return record
    return None


def _read_record(place: Path, origin: Origin) -> SplitRecord | None:
    """Return the record of a split that was made with `origin`; None where there is none such."""
    try:
        content = read_json(place / RECORD) if (place / RECORD).is_file() else {}
        return read_split(content, origin.dtype) if content.get("origin") == origin.digest() else None
    except (AttributeError, DataError, KeyError, TypeError, ValueError):
        return None


def publish_split(folder: Path, split: str, record: SplitRecord) -> None:
    """Put a split that lies complete under work/ into its place."""
    manifest = read_manifest(folder)
    _forget(folder, manifest, split)
    with storage_errors(folder):
        (folder / WORK / "splits" / split).replace(folder / split)
    _tidy(folder)
    manifest = read_manifest(folder)
    write_manifest(folder, replace(manifest, splits={**manifest.splits, split: record}))


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
        own = {ENTITIES, LOCK, *([WORK] if _is_work(folder) else [])}
        others = [path.name for path in folder.iterdir() if path.name not in own and not path.name.endswith(".tmp")]
    if others:
        raise StorageError(
            f"{folder}: holds other things ({sorted(others)[0]!r}) and no {MANIFEST}; choose another --out"
        )


def start_over(folder: Path) -> None:
    """Remove a store that no process is making or purging just now, as `remove_store` does.

    Raises:
        DataError: The manifest cannot be read, so what belongs to the store is not known.
        StorageError: A process holds the store's lock.
    """
    if (folder / MANIFEST).is_file() or _is_work(folder):
        with locked(folder / LOCK, f"{folder}: another process is making or purging these features"):
            remove_store(folder)


def remove_store(folder: Path) -> None:
    """Remove a store's own files, and nothing else, so that it can be begun anew; without one, do nothing.

    Raises:
        DataError: The manifest cannot be read, so what belongs to the store is not known.
    """
    if not (folder / MANIFEST).is_file() and not _is_work(folder):
        return
    if (folder / MANIFEST).is_file():
        manifest = read_manifest(folder)
        own = {**manifest.outdated, **manifest.splits}
        if manifest.splits:  # killed on the way, it is a store without splits that knows what else is its own
            write_manifest(folder, replace(manifest, splits={}, outdated=own))
        with storage_errors(folder):
            for split in [*own, *_unnamed_splits(folder)]:
                _remove_split(folder, split)
            (folder / MANIFEST).unlink()
    with storage_errors(folder):
        (folder / ENTITIES).unlink(missing_ok=True)
        _remove_folder(folder / WORK)
        (folder / LOCK).unlink(missing_ok=True)


def _unnamed_splits(folder: Path) -> list[str]:
    """Return the splits that were put in their places and not yet named by the manifest when their build was killed."""
    manifest = read_manifest(folder)
    named = {WORK, *manifest.splits, *manifest.outdated}
    others = [path for path in folder.iterdir() if path.name not in named and not path.is_symlink()]
    return [path.name for path in others if _read_record(path, manifest.origin) is not None]


def _is_work(folder: Path) -> bool:
    """Tell whether `work` in a folder without manifest is what a killed build left there, and nobody else's."""
    place = folder / WORK
    own = {"pictures", "splits", "purged", "removed"}
    return (folder / LOCK).is_file() and place.is_dir() and {path.name for path in place.iterdir()} <= own


def advance(folder: Path, origin: Origin, entities: FloatArray) -> list[str]:
    """Begin a store anew for another content of its knowledge base; return the splits that it no longer has.

    Their folders stay until they are written again: what was found in their pictures is used.
    """
    old = read_manifest(folder)
    outdated = {**old.outdated, **old.splits}
    with storage_errors(folder):
        _remove_folder(folder / WORK / "splits")  # complete or not, they are of the old content
    # Nothing is read while two things change; after a kill in between it is the store of neither content.
    neither = replace(old.origin, kb={**old.origin.kb, "content": "changing"})
    write_manifest(folder, replace(old, origin=neither, splits={}, outdated=outdated))
    with atomic_path(folder / ENTITIES) as temporary:
        written = write_array(temporary, entities, origin.dtype, name="entities")
    write_manifest(folder, Manifest(origin, written, outdated=outdated))
    return list(outdated)


def remove_outdated(folder: Path) -> None:
    """Remove what is left of splits that were made for another content of the knowledge base."""
    manifest = read_manifest(folder)
    for split in set(manifest.outdated) - set(manifest.splits):
        with storage_errors(folder):
            _remove_split(folder, split)
    if manifest.outdated:
        write_manifest(folder, replace(manifest, outdated={}))


def clear_work(folder: Path) -> None:
    """Remove what only a build in hand needs, and files that a killed process was writing."""
    shutil.rmtree(folder / WORK, ignore_errors=True)
    with storage_errors(folder):
        for name in (MANIFEST, ENTITIES):
            for path in folder.glob(f".{name}.*.tmp"):
                path.unlink(missing_ok=True)


def remove_empty(folder: Path) -> None:
    """Remove the folder of a store that was not even begun."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()


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
    manifest = Manifest(origin, written)
    write_manifest(folder, manifest)
    return manifest


def _forget(folder: Path, manifest: Manifest, split: str) -> None:
    """Remove a split that is about to be replaced; first from the manifest, so that a kill leaves none that is half."""
    if split in manifest.splits:
        write_manifest(folder, replace(manifest, splits={k: v for k, v in manifest.splits.items() if k != split}))
    with storage_errors(folder / split):
        _remove_split(folder, split)


def _remove_split(folder: Path, split: str) -> None:
    """Remove a split's folder; from its place in one step, as what is there must always be whole."""
    _check_own(folder / split)
    if (folder / split).is_dir():
        aside = folder / WORK / "removed"
        _remove_folder(aside)
        aside.parent.mkdir(exist_ok=True)
        (folder / split).replace(aside)
        _remove_folder(aside)


def _remove_folder(folder: Path) -> None:
    _check_own(folder)
    if folder.is_dir():
        shutil.rmtree(folder)


def _check_own(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        raise StorageError(f"{folder}: not a folder of a feature store; remove it, or choose another --out")


def _tidy(folder: Path) -> None:
    """Remove the folders of work in which nothing is left."""
    for place in (folder / WORK / "splits", folder / WORK):
        with suppress(OSError):
            place.rmdir()


def _write_arrays(
    folder: Path,
    split: str,
    features: Features,
    report: ExtractionReport,
    identity: Identity,
    dtype: str,
    extra: Extra,
) -> dict[str, Shape]:
    arrays = _arrays_of(features, identity, extra.kept)
    written = {
        name: write_array(folder / f"{name}.npy", array, dtype, name=f"{split}/{name}")
        for name, array in arrays.items()
    }
    columns = PictureVectors((), {}, {}, features.image, features.objects, report.face_vectors)
    keys = np.zeros(report.pictures, dtype=np.uint64) if extra.keys is None else extra.keys
    return written | write_table(folder, _lines(report.seen), keys, columns, dtype, name=split)


def _lines(seen: Sequence[Seen]) -> Iterable[Seen | bytes]:
    """Return records for writing; those that lie in files as they stand there."""
    return seen.lines() if isinstance(seen, JoinedRecords | Records) else seen


def _arrays_of(features: Features, identity: Identity, kept: IntArray | None) -> dict[str, Array]:
    arrays: dict[str, Array | None] = {
        "keys": identity.keys,
        "kept": kept,
        "mention": features.mention,
        "text": features.text,
        "picture": features.picture,
        "face_object": features.face_object if features.faces is not None else None,
    }
    lists = (features.labels, features.faces, features.text_tokens, features.identities)
    for name, ragged in zip(RAGGED, lists, strict=True):
        arrays[f"{name}.values"] = None if ragged is None else ragged.values
        arrays[f"{name}.offsets"] = None if ragged is None else ragged.offsets
    if features.faces is not None and features.face_object is None:
        arrays["face_object"] = np.full(len(features.faces.values), -1, dtype=np.int64)
    return {name: array for name, array in arrays.items() if array is not None}


def _write_identities(
    path: Path, mentions: Sequence[Mention], kept: IntArray | None, identities: Sequence[Sequence[IdentityLabel]]
) -> None:
    """Write a line for each mention of which the gallery says something; no file where it was not asked."""
    if not identities:
        return
    chosen = mentions if kept is None else [mentions[i] for i in kept.tolist()]
    with path.open("w", encoding="utf-8") as file:
        for mention, labels in zip(chosen, identities, strict=True):
            if labels:
                record = {"mention": mention.id, "identities": [label_record(label) for label in labels]}
                file.write(json.dumps(record) + "\n")
