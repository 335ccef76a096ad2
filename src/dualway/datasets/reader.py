"""Opens a data set: a file is read whole, whatever its name; a folder by split."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dualway.datasets import (
    dwe,
    ghmfc,
    jsonl,
    melbench,
    mimic,
    wikidiverse,
    wikidiverse_candidates,
    wikidiverse_dwe,
    wikidiverse_sentences,
)
from dualway.datasets.base import Dataset, Keep, ReadReport, is_folder, is_list, is_object, load_json
from dualway.datasets.pickles import SUFFIXES, pickle_kind, refuse_pickle
from dualway.datasets.pictures import PictureFolders
from dualway.datasets.records import Layout, Reading, read_records
from dualway.datasets.rows import RowLayout, read_rows
from dualway.errors import DataError, UsageError

# In the order in which they are asked; the first that knows a record has it.
FORMATS: dict[Callable[[str, Any], bool], Layout | RowLayout] = {
    wikidiverse.recognise: wikidiverse.LAYOUT,
    melbench.recognise: melbench.LAYOUT,
    ghmfc.recognise: ghmfc.LAYOUT,
    dwe.recognise: dwe.LAYOUT,
}
# Of files that hold a list these are asked before; the same keys in a table are another format.
LIST_FORMATS: dict[Callable[[str, Any], bool], Layout | RowLayout] = {
    wikidiverse_sentences.recognise: wikidiverse_sentences.LAYOUT,
    wikidiverse_candidates.recognise: wikidiverse_candidates.LAYOUT,
    wikidiverse_dwe.recognise: wikidiverse_dwe.LAYOUT,
    mimic.recognise: mimic.LAYOUT,
}
LOOKED_FOR = "train/dev/test.json or .jsonl, NAME.train.json, NAME_dev.jsonl, splits.json beside one NAME.json"
# Files of the same folders that hold entities, lists or features rather than mentions.
_OTHER_FILES = re.compile(
    r"(splits|entities|entity_list|kb_entity|neg|neg_list|qids_ordered|search_(top|tmp)\d+|property|brief|fact|fact_supply"
    r"|config|images_map|(input_)?img_list|(qid|ne|id|entity|total|type|title|wikipedia)2\w+)\.json"
    r"|(entities|annotations|regions)\.(jsonl|ndjson)"
)
_SPLIT_NAME = re.compile(
    r"(?:(?P<prefix>.*)[._-])?(?P<split>train|dev|valid|validation|val|test)(?:_w_\d+cands)?", re.IGNORECASE
)
_SAME_SPLIT = {"valid": "dev", "validation": "dev", "val": "dev"}
_PROBED = 200


class Part(NamedTuple):
    """Where a split is: a file, and which of its samples (None: all)."""

    path: Path
    keep: Keep | None = None
    ids: frozenset[str] | None = None


def open_dataset(path: Path, split: str | None = None) -> Dataset:
    """Return the mentions of a file, or of one split of a folder.

    A file's format is told from its content, and without `split` all of it is read. A folder with one part needs no
    `split`. Richpedia has no dev: it is a tenth of train (docs/formats.md), and train the rest.

    Raises:
        UsageError: The split is not there, or none was named and there are several; lists those present.
        DataError: The file is broken or of no known format; the folder holds no data set.
    """
    if not is_folder(path):
        part = Part(path) if split is None else _part_of_file(path, split)
        return _read(part, name=path.stem, split=split)
    parts = find_parts(path)
    if split is None and len(parts) == 1:
        split = next(iter(parts))
    if split is None:
        raise UsageError(f"{path} holds several splits; name one of: {', '.join(parts)}")
    return _read(_choose(parts, split, path), name=path.resolve().name, split=split)


def list_splits(path: Path) -> list[str]:
    """Return the names of a folder's splits, train first.

    Raises:
        DataError: The folder holds no data set.
    """
    return list(find_parts(path))


def find_parts(folder: Path) -> dict[str, Part]:
    """Return a folder's splits by name, in the order train, dev, test, others.

    Raises:
        DataError: Nothing is found (lists what was looked for), or two files claim one split.
    """
    parts = {split: Part(file) for split, file in _split_files(folder).items()}
    parts = _parts_by_ids(folder, parts) | parts
    if "train" in parts and "dev" not in parts and _is_ghmfc(parts["train"].path):
        parts |= _without_dev(parts["train"])
    if not parts:
        whole = _whole_files(folder)
        if len(whole) != 1:
            found = (
                f"; found {', '.join(file.name for file in whole)}: name one of them" if whole else _pickles_in(folder)
            )
            raise DataError(f"no data set in this folder; looked for {LOOKED_FOR}{found}", path=folder)
        parts["all"] = Part(whole[0])
    order = {"train": 0, "dev": 1, "test": 2}
    return dict(sorted(parts.items(), key=lambda item: (order.get(item[0], 3), item[0])))


def _part_of_file(path: Path, split: str) -> Part:
    """Return the split of a file's own folder that lies in this file."""
    parts = {name: part for name, part in find_parts(path.parent).items() if part.path == path}
    if not parts:
        raise UsageError(f"{path} is a file and is read whole: leave the split {split!r} out, or name its folder")
    return _choose(parts, split, path)


def _choose(parts: dict[str, Part], split: str, path: Path) -> Part:
    name = split if split in parts else _SAME_SPLIT.get(split.lower(), split.lower())
    if name not in parts:
        raise UsageError(f"{path} has no split {split!r}; it has: {', '.join(parts)}")
    return parts[name]


def _read(part: Part, *, name: str, split: str | None) -> Dataset:
    refuse_pickle(part.path)
    if _is_lines(part.path):
        reading, folders = jsonl.read_lines(part.path, part.keep), ()
    else:
        value = load_json(part.path)
        layout = _recognise(value, part.path)
        reading = _read_table(value, layout, part)
        folders = PictureFolders(part.path.parent, layout.folders).paths
    if part.ids is not None:
        _note_missing(part.ids, reading.report)
    return Dataset(
        name=name,
        split=split,
        mentions=reading.mentions,
        gold=reading.gold,
        report=reading.report,
        root=part.path.parent,
        folders=folders,
        candidates=reading.candidates,
    )


def _read_table(value: Any, layout: Layout | RowLayout, part: Part) -> Reading:
    if isinstance(layout, RowLayout):
        return read_rows(_records(value), layout, part.path, part.keep)
    return read_records(_records(value), layout, part.path, part.keep)


def _note_missing(ids: frozenset[str], report: ReadReport) -> None:
    missing = len(ids) - report.counts["records"]
    if missing > 0:
        report.note(f"{missing:,} of the {len(ids):,} ids of splits.json are not in the file", "splits.json")


def _recognise(value: Any, path: Path) -> Layout | RowLayout:
    """Return the format that most of the first records have."""
    votes: Counter[str] = Counter()
    formats = {**LIST_FORMATS, **FORMATS} if is_list(value) else FORMATS
    layouts = {layout.name: layout for layout in formats.values()}
    for id, record in islice(_records(value), _PROBED):
        known = next((layout for recognise, layout in formats.items() if recognise(id, record)), None)
        if known is not None:
            votes[known.name] += 1
    if not votes:
        raise DataError(
            "not a known data set; expected WikiMEL (MELBench or DWE), Richpedia (GHMFC), WikiDiverse (annotated, with "
            'candidates, DWE or KGMEL), a set of MIMIC\'s, or JSON Lines with "text" and "surface" (docs/formats.md)',
            path=path,
        )
    return layouts[votes.most_common(1)[0][0]]


def _records(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield (id, record): the keys of an object; in a list each record's own id, else its place."""
    if is_object(value):
        yield from value.items()
    elif is_list(value):
        for place, record in enumerate(value):
            id = record.get("id") if is_object(record) else None
            yield (str(id) if isinstance(id, str | int) else f"record-{place}"), record


def _is_lines(path: Path) -> bool:
    """Tell whether a file is JSON Lines, by its first line: one mention, or at least no table of records."""
    try:
        with path.open("rb") as file:
            first = next((line for line in file if line.strip()), b"")
    except OSError:
        return False  # the reader proper says what is wrong
    try:
        value = json.loads(first.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return path.suffix in {".jsonl", ".ndjson"}
    if is_object(value):
        is_mention = isinstance(value.get("text"), str) or isinstance(value.get("surface"), str)
        return is_mention or not any(is_object(record) for record in value.values())
    return path.suffix in {".jsonl", ".ndjson"}


def _is_ghmfc(path: Path) -> bool:
    return not _is_lines(path) and _recognise(load_json(path), path).name == ghmfc.LAYOUT.name


def _split_files(folder: Path) -> dict[str, Path]:
    """Return the files named after a split; `train.json` goes before `NAME.train.json`."""
    found: dict[str, list[tuple[bool, Path]]] = {}
    for file in _data_files(folder):
        named = _SPLIT_NAME.fullmatch(file.stem)
        if named is not None:
            split = named["split"].lower()
            found.setdefault(_SAME_SPLIT.get(split, split), []).append((named["prefix"] is not None, file))
    files: dict[str, Path] = {}
    for split, candidates in found.items():
        best = [file for prefixed, file in candidates if prefixed == min(candidates)[0]]
        if len(best) > 1:
            names = " and ".join(file.name for file in best)
            raise DataError(f"{names} both look like the split {split!r}; name the file itself", path=folder)
        files[split] = best[0]
    return files


def _parts_by_ids(folder: Path, named: dict[str, Part]) -> dict[str, Part]:
    """Return the splits that splits.json makes of one big file, where there is one."""
    whole = _whole_files(folder)
    listing = folder / "splits.json"
    if len(whole) != 1 or not listing.is_file():
        return {}
    value = load_json(listing)
    if not is_object(value) or not all(is_list(ids) for ids in value.values()):
        raise DataError('expected {"train": [ids], "dev": [ids], ..}', path=listing)
    parts: dict[str, Part] = {}
    for split, listed in value.items():
        ids = frozenset(str(id) for id in listed)
        parts[split] = Part(whole[0], ids.__contains__, ids)
    return parts


def _whole_files(folder: Path) -> list[Path]:
    """Return the data files that are not named after a split."""
    return [file for file in _data_files(folder) if _SPLIT_NAME.fullmatch(file.stem) is None]


def _data_files(folder: Path) -> list[Path]:
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix in {".json", ".jsonl", ".ndjson"})
    except OSError as error:
        raise DataError(f"cannot be listed ({error.strerror})", path=folder) from error
    return [file for file in files if not _OTHER_FILES.fullmatch(file.name) and file.is_file()]


def _pickles_in(folder: Path) -> str:
    """Return a remark on the pickles of a folder, one of which was perhaps meant; empty where there are none."""
    suspects = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    found = [file.name for file in suspects if pickle_kind(file) is not None]
    return f"; {', '.join(found)}: pickles are not read; name one to be told how to convert it" if found else ""


def _without_dev(train: Part) -> dict[str, Part]:
    """Return train and the dev that is taken from it."""

    def inside(id: str) -> bool:
        return train.keep is None or train.keep(id)

    def in_dev(id: str) -> bool:
        return inside(id) and ghmfc.in_dev(id)

    def in_train(id: str) -> bool:
        return inside(id) and not ghmfc.in_dev(id)

    return {"train": Part(train.path, in_train), "dev": Part(train.path, in_dev)}
