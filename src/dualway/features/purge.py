"""Removes a feature store, or what it says of faces or of a person, from all its files.

What becomes of the splits is written whole into work/purged/, beside the manifest that will be; from then on the purge
is decided, and whoever purges next ends it. So a kill leaves the store as it was, or one that holds nothing of what was
to go; only while folders change places does the manifest not list them.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from dualway.encoders.cache import default_cache_folder
from dualway.errors import CompatibilityError, DataError, StorageError, UsageError
from dualway.features.manifest import MANIFEST, RAGGED, Manifest, Origin, SplitRecord, read_manifest, write_manifest
from dualway.features.purge_cache import purge_cache
from dualway.features.purge_parts import (
    choose_identities,
    count_faces,
    holds_faces,
    without_entities,
    without_faces,
)
from dualway.features.seen import Seen
from dualway.features.show import each_split
from dualway.features.store import FeatureStore
from dualway.features.tables import FACES, IMAGE, OBJECTS, REGIONS, SOURCES, Records
from dualway.features.writing import ENTITIES, FAILURES, IDENTITIES, LOCK, RECORD, WORK, remove_store
from dualway.storage import atomic_folder, locked, storage_errors

PURGED = "purged"  # in work/: splits that are about to take their places, and the manifest of then
_REMOVED = "removed"  # in work/: those whose places they took
_MODELS = ("text", "image", "detector")  # those that do not look at faces or say who somebody is
_WITHOUT = " without faces"  # after the hash of a regions file, whose faces the store no longer has
_ARRAYS = ("keys", "kept", "mention", "text", "picture", "face_object", SOURCES, IMAGE)
_FILES = {
    *(f"{name}.npy" for name in _ARRAYS),
    *(f"{name}.{part}.npy" for name in (*RAGGED, OBJECTS, FACES) for part in ("values", "offsets")),
    *(REGIONS, IDENTITIES, FAILURES, RECORD),
}
_INSIDE = {"pictures", "splits", PURGED, _REMOVED}  # of work/
# What is counted of each kind of purge, in order, and in words.
_COUNTED = {
    "store": ("splits", "files", "bytes", "leftovers", "cached_vectors", "cached_objects"),
    "faces": (
        *("faces", "attributes", "face_vectors", "face_sentences", "labels", "identities", "identity_sentences"),
        "leftovers",
    ),
    "entities": ("entities", "mentions", "identities", "identity_sentences", "others", "leftovers"),
}
_WORDS = {
    "splits": "splits",
    "files": "files",
    "bytes": "bytes",
    "faces": "faces",
    "attributes": "attributes of faces",
    "face_vectors": "vectors of faces",
    "face_sentences": "encoded sentences about faces",
    "labels": "labels by a classifier or a file",
    "identities": "identities",
    "identity_sentences": "encoded sentences about who somebody is",
    "mentions": "mentions in whose pictures they were recognised",
    "others": "identities of others, encoded as one sentence with theirs",
    "entities": "entities that were recognised",
    "leftovers": "folders of a build or purge that was killed",
    "cached_vectors": "vectors of pictures and their parts in the cache",
    "cached_objects": "findings of detectors in the cache",
}


_What = Literal["store", "faces", "entities"]


@dataclass(frozen=True)
class Purged:
    """What was removed, or would be.

    Attributes:
        store: The folder.
        what: All of it, or what alone.
        done: Whether it was removed; else nothing was touched.
        removed: How much, by the names in `to_dict`.
        notes: What was not reached, and what to do about it.
    """

    store: Path
    what: _What
    done: bool
    removed: Mapping[str, int]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "store": str(self.store),
            "what": self.what,
            "done": self.done,
            "removed": dict(self.removed),
            "notes": list(self.notes),
        }

    def describe(self) -> str:
        """Return it in words."""
        counted = [f"{number:>14,}  {_WORDS[name]}" for name, number in self.removed.items() if number]
        state = "removed" if self.done else "would be removed; nothing is yet, --yes does it"
        first = f"{self.store}: {state}:" if counted else f"{self.store}: nothing to remove"
        return "\n".join([first, *counted, *self.notes])


def purge_store(
    store: Path,
    *,
    faces: bool = False,
    entities: Sequence[str] = (),
    data: Path | None = None,
    cache_folder: Path | None = None,
    really: bool = False,
) -> Purged:
    """Remove a store and what the cache keeps of its pictures, or a part of it; without `really`, only tell.

    Args:
        store: Its folder.
        faces: Only what was read from faces or says who somebody is. The store then is one made without such models.
        entities: Only that these were recognised. That some were, not which, stays in the manifest.
        data: The data set, which tells where the pictures are: what the cache keeps is found by their content.
        cache_folder: The cache; by default that of all commands.
        really: Whether to remove anything.

    Raises:
        UsageError: An impossible combination.
        DataError: Not a store, or damaged so that its parts cannot be told apart.
        StorageError: It is being made, or cannot be written.
    """
    if faces and entities:
        raise UsageError("--faces removes everybody's identities; leave --entity out")
    if data is not None and (faces or entities):
        raise UsageError("--data is to find the pictures in the cache, which goes with the whole store; leave it out")
    _check_store(store)
    work = partial(_purge_part, store, faces=faces, entities=frozenset(entities), really=really)
    if not faces and not entities:
        work = partial(_purge_all, store, data, cache_folder or default_cache_folder(), really=really)
    if not really:
        return work()
    with locked(store / LOCK, f"{store}: another process is making or purging these features"):
        end_purge(store)
        purged = work()
    with suppress(OSError):  # it holds other things, or features still
        store.rmdir()
    return purged


def _purge_part(store: Path, *, faces: bool, entities: frozenset[str], really: bool) -> Purged:
    removed, notes = Counter[str](), list[str]()
    manifest = _manifest(store)
    leftovers = _leftovers(store, manifest, faces=faces)
    if manifest is not None:
        plan = _plan_faces if faces else partial(_plan_entities, entities=entities)
        final, changed = plan(store, manifest, removed, notes)
        if really and (changed or final != manifest):
            _exchange(store, final, changed)
    removed["leftovers"] = len(leftovers)
    if really:
        _remove([*leftovers, *_temporary(store)])
        with suppress(OSError):
            (store / WORK).rmdir()
    return _purged(store, "faces" if faces else "entities", removed, notes, really=really)


def _purged(store: Path, what: _What, removed: Counter[str], notes: list[str], *, really: bool) -> Purged:
    if not really and (store / WORK / PURGED / MANIFEST).is_file():
        notes.append("an earlier purge was killed when it was all but done; --yes ends it first")
    return Purged(store, what, really, {name: removed[name] for name in _COUNTED[what]}, tuple(notes))


_Write = Callable[[Path], SplitRecord]  # writes a split into a new folder
_Plan = tuple[Manifest, dict[str, _Write]]  # the manifest that will be, and how splits that change are written


def _plan_faces(store: Path, manifest: Manifest, removed: Counter[str], notes: list[str]) -> _Plan:
    """Return what a store without faces will be; count what goes into `removed`."""
    changed, origin = dict[str, _Write](), _without_faces(manifest.origin)
    for split, record in _splits(manifest).items():
        counts = count_faces(store / split, record)
        if holds_faces(store / split, record, counts):
            changed[split] = partial(without_faces, store / split, record, origin)
        removed += counts
    if "regions" in manifest.origin.files:
        path = manifest.origin.files["regions"].get("path")
        notes.append(f"the regions file {path} is yours and is left as it is; what it says of faces is no longer here")
    if leftovers := _leftovers(store, manifest, faces=True):
        notes.append(f"{len(leftovers)} folders of unfinished work go too; the same command makes them again")
    gone = removed["faces"] + manifest.purged.get("faces", 0)
    purged = {**manifest.purged, "faces": gone} if removed["faces"] else manifest.purged
    return replace(manifest, origin=origin, purged=purged), changed


def _plan_entities(
    store: Path, manifest: Manifest, removed: Counter[str], notes: list[str], *, entities: frozenset[str]
) -> _Plan:
    """Return what a store without some people will be; count what goes into `removed`."""
    origin, found = manifest.origin, set[str]()
    changed: dict[str, _Write] = {}
    for split, record in _splits(manifest).items():
        choice = choose_identities(store / split, record, origin.features_config, entities)
        if choice.found:
            changed[split] = partial(without_entities, store / split, record, origin, choice)
        removed += choice.removed
        found |= choice.found
    if missing := sorted(entities - found):
        notes.append(f"nobody in a picture was taken for {', '.join(map(repr, missing))}")
    if removed["others"]:
        notes.append(
            "with features.identity_keys=joined a mention's identities are one vector, which goes as a whole; the same "
            "`dualway features` command with --restart makes the others' again"
        )
    if found:
        removed["entities"] = len(found)
        notes.append(
            f"the gallery of the knowledge base {origin.kb['path']} is not touched: `dualway kb pictures` with --erase "
            "removes people from it, or they are recognised again when a split is made anew"
        )
    if any(record.arrays.get("labels.values", ("", (0,)))[1][0] for record in _splits(manifest).values()):
        notes.append("labels by a classifier or a file are names and not entities, and stay; --faces removes them all")
    purged = {**manifest.purged, "entities": len(found) + manifest.purged.get("entities", 0)}
    return replace(manifest, purged=purged) if found else manifest, changed


def _without_faces(origin: Origin) -> Origin:
    """Return the origin of a store that was made without models of faces and of identity."""
    files = dict(origin.files)
    if "regions" in files and not str(files["regions"]["sha256"]).endswith(_WITHOUT):
        files["regions"] = {**files["regions"], "sha256": f"{files['regions']['sha256']}{_WITHOUT}"}
    return replace(
        origin,
        encoders_config=replace(origin.encoders_config, faces=None, age=None, gender=None, identity=None),
        models={part: of for part, of in origin.models.items() if part in _MODELS},
        files=files,
        gallery=None,
    )


def _exchange(store: Path, final: Manifest, changed: Mapping[str, _Write]) -> None:
    """Write what becomes of some splits aside, and put it in their places; `final` gets their records."""
    for split in changed:
        _check_folder(store / split)
    with atomic_folder(store / WORK / PURGED) as place:
        records: dict[str, SplitRecord] = {}
        for split, write in changed.items():
            (place / split).mkdir()
            records[split] = write(place / split)
        splits = {split: records.get(split, record) for split, record in final.splits.items()}
        old = {split: records.get(split, record) for split, record in final.outdated.items() if split not in splits}
        write_manifest(place, replace(final, splits=splits, outdated=old))
    end_purge(store)


def end_purge(store: Path) -> None:
    """Put splits that lie ready in work/purged/ into their places; without any, do nothing.

    Whatever moment it is killed at, calling it again ends it: a folder that is still there has not taken its place.
    """
    ready, removed = store / WORK / PURGED, store / WORK / _REMOVED
    if not (ready / MANIFEST).is_file():
        return
    final = read_manifest(ready)
    waiting = [split for split in _splits(final) if (ready / split).is_dir()]
    splits = {split: record for split, record in final.splits.items() if split not in waiting}
    outdated = {split: record for split, record in final.outdated.items() if split not in waiting}
    write_manifest(store, replace(final, splits=splits, outdated=outdated))
    with storage_errors(store):
        removed.mkdir(exist_ok=True)
        for split in waiting:
            _remove([removed / split])
            if (store / split).exists():
                (store / split).replace(removed / split)
            (ready / split).replace(store / split)
    write_manifest(store, final)
    _remove([removed, ready])


def _purge_all(store: Path, data: Path | None, cache_folder: Path, *, really: bool) -> Purged:
    removed, notes = Counter[str](), list[str]()
    manifest = _manifest(store)
    leftovers = _leftovers(store, manifest, faces=True)
    splits = {} if manifest is None else _splits(manifest)
    mine = [store / MANIFEST, store / ENTITIES, *(store / split for split in splits), *leftovers, *_temporary(store)]
    removed["splits"] = len(splits)
    removed["files"], removed["bytes"] = _measure(mine)
    removed["leftovers"] = len(leftovers)
    if manifest is not None:
        _purge_cache(store, manifest, data, cache_folder, removed, notes, really=really)
    names = {path.relative_to(store).parts[0] for path in [*mine, store / LOCK, store / WORK]}
    if others := sorted({path.name for path in store.iterdir()} - names):
        notes.append(f"other things in the folder stay: {', '.join(map(repr, others[:5]))}")
    if really:
        if manifest is not None:  # a store that lists nothing, until all is gone
            write_manifest(store, replace(manifest, splits={}, outdated=splits))
        _remove([path for path in mine if path.name not in (MANIFEST, ENTITIES)])
        remove_store(store)
        with storage_errors(store):
            for name in (ENTITIES, LOCK):
                (store / name).unlink(missing_ok=True)
    return _purged(store, "store", removed, notes, really=really)


def _purge_cache(
    store: Path,
    manifest: Manifest,
    data: Path | None,
    cache_folder: Path,
    removed: Counter[str],
    notes: list[str],
    *,
    really: bool,
) -> None:
    """Remove from the cache what it keeps of a store's pictures, as far as they can be found."""
    total = sum(record.pictures for record in _splits(manifest).values())
    counts = purge_cache(cache_folder, _pictures(FeatureStore(store, manifest), data, notes), really=really)
    removed["cached_vectors"], removed["cached_objects"] = counts.vectors, counts.objects
    remedy = f"to be sure, delete the cache folder {cache_folder}: it is only a cache"
    if (unknown := total - counts.pictures) > 0:
        where = "--data does not name them" if data is not None else "give --data, which says where they are"
        notes.append(f"what the cache keeps of {unknown:,} of {total:,} pictures is not found: {where}; {remedy}")
    if counts.unreadable or counts.unknown:
        notes.append(
            f"{counts.unreadable:,} pictures are gone, and of {counts.unknown:,} the cache holds nothing as they are "
            f"now (changed since, or never kept): what it kept of them is not found; {remedy}"
        )
    notes += [f"{name} in the cache is damaged; delete it" for name in counts.damaged]
    if total:
        notes.append("the cache still has vectors of texts, each kept under a hash of its text")


def _pictures(store: FeatureStore, data: Path | None, notes: list[str]) -> Iterator[tuple[Path, Seen]]:
    """Yield where the pictures of a store are, and what was seen in each: by the data set, or by absolute names."""
    reached: set[str] = set()
    for dataset in () if data is None else each_split(data):
        try:
            split = store.find(dataset)
            reader = store.reader(split)
            kept, positions, records = reader.kept(len(dataset)), reader.positions(), reader.table.records
        except CompatibilityError:
            continue
        except DataError as error:
            notes.append(f"{error}; what the cache keeps of its pictures is not found")
            continue
        reached.add(split)
        done: set[int] = set()
        for i, place in zip(kept.tolist(), positions.tolist(), strict=True):
            path = dataset.image_path(dataset.mentions[i])
            if place >= 0 and place not in done and path is not None:
                done.add(place)
                yield path, records[place]
    for split in _splits(store.manifest).keys() - reached:
        with suppress(DataError):
            named = ((Path(seen.image), seen) for seen in Records(store.folder / split / REGIONS))
            yield from ((path, seen) for path, seen in named if path.is_absolute())


def _check_store(store: Path) -> None:
    with storage_errors(store):
        begun = (store / MANIFEST).is_file() or (store.is_dir() and _is_beginning(store))
    if not begun:
        raise DataError(f"not a feature store (no {MANIFEST} in it); name the folder of one", path=store)


def _is_beginning(store: Path) -> bool:
    """Tell whether a folder without manifest is what a killed build or purge left: with its lock, and nothing else."""
    work = {path.name for path in (store / WORK).iterdir()} if (store / WORK).is_dir() else set[str]()
    own = all(
        path.name in (WORK, LOCK, ENTITIES) or path in _temporary(store) or _is_split(path) for path in store.iterdir()
    )
    return (store / LOCK).is_file() and own and all(name in _INSIDE or name.endswith(".tmp") for name in work)


def _manifest(store: Path) -> Manifest | None:
    return read_manifest(store) if (store / MANIFEST).is_file() else None


def _splits(manifest: Manifest) -> dict[str, SplitRecord]:
    """Return all splits that a store has folders of."""
    return {**manifest.outdated, **manifest.splits}


def _leftovers(store: Path, manifest: Manifest | None, *, faces: bool) -> list[Path]:
    """Return the folders that a killed build or purge left: splits that no manifest lists, and those in work/.

    Finished shards know nothing of entities, so they stay where only these are removed.
    """
    listed = {WORK} if manifest is None else {WORK, *_splits(manifest)}
    stray = [path for path in sorted(store.iterdir()) if path.name not in listed and _is_split(path)]
    inside = sorted((store / WORK).iterdir()) if (store / WORK).is_dir() else []
    return stray + [path for path in inside if faces or path.name != "pictures"]


def _is_split(path: Path) -> bool:
    """Tell whether a folder is a split, or what is left of one: it holds nothing else."""
    if path.is_symlink() or not path.is_dir():
        return False
    names = {item.name for item in path.iterdir() if not item.name.endswith(".tmp")}
    return bool(names) and names <= _FILES


def _temporary(store: Path) -> list[Path]:
    """Return files that a killed process was writing."""
    return [path for name in (MANIFEST, ENTITIES) for path in store.glob(f".{name}.*.tmp")]


def _measure(paths: Sequence[Path]) -> tuple[int, int]:
    """Return the number of files in some places, and their bytes."""
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return len(files), sum(file.lstat().st_size for file in files)


def _check_folder(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir():
        raise StorageError(f"{folder}: not a folder of a feature store; make the split again")


def _remove(paths: Sequence[Path]) -> None:
    """Remove files and folders; a link is removed, and not what it leads to."""
    for path in paths:
        with storage_errors(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
