"""Checks a data set before work starts on it: what is there, missing, broken, repaired, shared, or too easy."""

from __future__ import annotations

import stat
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from dualway.datasets.base import Dataset, ReadReport, is_folder
from dualway.datasets.candidate_files import CandidateFile, find_keys, read_candidate_file
from dualway.datasets.entities import (
    find_entity_files,
    find_forms,
    find_own_files,
    read_entities,
    read_own_entities,
)
from dualway.datasets.entities_wikidiverse import find_tables
from dualway.datasets.overlaps import CaptionIndex, EntityText, Overlaps, entity_texts
from dualway.datasets.reader import list_splits, open_dataset
from dualway.images import KINDS, MAX_PIXELS, leads_out
from dualway.schema import Entity
from dualway.text import match_key

_EXAMPLES = 3
_LOCATED = ("given", "exact", "folded", "fuzzy")


def audit(path: Path, split: str | None = None, *, kb_texts: Iterable[EntityText] | None = None) -> dict[str, Any]:
    """Return what a data set holds, ready for JSON.

    Keys: `path`; `splits` (per split: counts, mentions not found in their sentence, pictures, the mentions' own
    candidates, repaired, dropped, notes); `shared_sentences` (per pair of splits); `entity_files` (by form or own file:
    counts, gold ids missing, captions that stand in entities' texts: of their own, which makes them too easy, and of
    others); `candidate_files` (how they are keyed, how many mentions they have, and of how many the gold);
    `knowledge_base` (captions that stand in its texts; None without one).

    Args:
        path: A folder, or one file of it.
        split: Only this split.
        kb_texts: The texts of the entities of a knowledge base.

    Raises:
        UsageError: The folder has no such split.
        DataError: No data set is there, or a file is broken as a whole.
    """
    datasets = _open_all(path, split)
    folder = path if is_folder(path) else path.parent
    # WikiDiverse's mentions with candidates have a folder of their own, beside the tables of entities.
    place = folder if find_forms(folder) or not find_tables(folder.parent) else folder.parent
    # The files of one table of entities, what is in them, and what reading them met.
    tables = [(find_entity_files(place, form), *read_entities(place, form)) for form in find_forms(place)]
    tables += [([file], *read_own_entities(file)) for file in find_own_files(folder)]
    names = {entity.id: entity.name for _, entities, _ in tables for entity in entities}
    captions = CaptionIndex(datasets if tables or kb_texts is not None else {})
    in_kb = None if kb_texts is None else captions.find(kb_texts)
    return {
        "path": str(path),
        "splits": {name: _audit_split(dataset) for name, dataset in datasets.items()},
        "shared_sentences": [_shared(*pair) for pair in combinations(datasets.items(), 2)],
        "entity_files": [_audit_entities(*table, datasets, captions) for table in tables],
        "candidate_files": [_audit_candidates(file, datasets, names) for file in _candidate_files(folder)],
        "knowledge_base": None if in_kb is None else {name: found.to_dict() for name, found in in_kb.items()},
    }


def _open_all(path: Path, split: str | None) -> dict[str, Dataset]:
    if not is_folder(path) or split is not None:
        return {split or path.stem: open_dataset(path, split)}
    return {name: open_dataset(path, name) for name in list_splits(path)}


def _audit_split(dataset: Dataset) -> dict[str, Any]:
    report = dataset.report.to_dict()
    counts = dataset.report.counts
    return {
        "file": report["path"],
        "format": report["format"],
        "records": counts["records"],
        "samples": counts["samples"],
        "mentions": len(dataset),
        "unlabelled": len(dataset) - len(dataset.gold),
        "entities": counts["entities"],
        "nil": counts["nil"],
        "not_literal": counts["not literal"],
        "located": {how: counts[f"located {how}"] for how in _LOCATED} | {"not": counts["not located"]},
        "types": dict(Counter(mention.type for mention in dataset.mentions if mention.type).most_common()),
        "pictures": _audit_pictures(dataset),
        "candidates": _recall(dataset, dataset.candidates),
        "repaired": report["repaired"],
        "dropped": report["dropped"],
        "notes": report["notes"],
    }


def _audit_pictures(dataset: Dataset) -> dict[str, Any]:
    """Return how many distinct pictures are named, and what became of them."""
    named = {mention.image: mention for mention in dataset.mentions if mention.image}
    states: dict[str, list[str]] = {}
    for image, mention in named.items():
        states.setdefault(_picture_state(dataset.image_path(mention), dataset.picture_folders), []).append(image)
    counts = {state: len(images) for state, images in states.items()}
    troubled = {state: images[:_EXAMPLES] for state, images in states.items() if state not in {"present", "address"}}
    return {
        "named": len(named),
        "present": counts.get("present", 0),
        "missing": counts.get("missing", 0),
        "unreadable": counts.get("unreadable", 0),
        "too_large": counts.get("too_large", 0),
        "outside": counts.get("outside", 0),
        "addresses": counts.get("address", 0) + dataset.report.counts["picture addresses"],
        "by_md5": dataset.report.counts["pictures found by md5"],
        "mentions_without": sum(not mention.image for mention in dataset.mentions),
        "examples": troubled,
    }


def _picture_state(path: Path | None, folders: Sequence[Path]) -> str:
    """Tell what is at a path. A link out of the data's and the pictures' folders is not followed; `..` is no link."""
    if path is None:
        return "address"
    try:
        if leads_out(path, folders) is not None:
            return "outside"
        if not stat.S_ISREG(path.stat().st_mode):
            return "missing"
    except (OSError, ValueError):
        return "missing"
    return _header_state(path)


def _header_state(path: Path) -> str:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=KINDS) as image:
                if image.width * image.height > MAX_PIXELS:
                    return "too_large"
                image.verify()
    except Image.DecompressionBombError:
        return "too_large"
    except Exception:  # a broken file makes Pillow's decoders raise nearly anything
        return "unreadable"
    return "present"


def _shared(first: tuple[str, Dataset], second: tuple[str, Dataset]) -> dict[str, Any]:
    """Return how many sentences two splits share, compared as `match_key` does."""
    (one, sentences), (other, dataset) = (first[0], _sentences(first[1])), second
    keys = [match_key(mention.text) for mention in dataset.mentions]
    shared = sentences & set(keys)
    examples = [mention.text for mention, key in zip(dataset.mentions, keys) if key in shared]
    return {
        "splits": [one, other],
        "sentences": len(shared),
        "mentions": sum(key in shared for key in keys),
        "examples": list(dict.fromkeys(examples))[:_EXAMPLES],
    }


def _sentences(dataset: Dataset) -> set[str]:
    return {match_key(mention.text) for mention in dataset.mentions}


def _recall(dataset: Dataset, lists: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return how many mentions have candidates, how many on average, and how often the gold is among them."""
    given = {id: listed for id, listed in lists.items() if listed}
    asked = [id for id in given if dataset.gold.get(id) is not None]
    return {
        "mentions": len(given),
        "mean": round(sum(map(len, given.values())) / len(given), 2) if given else 0.0,
        "with_gold": len(asked),
        "gold_among": sum(dataset.gold[id] in given[id] for id in asked),
        "gold_missed": sum(dataset.gold[id] not in given[id] for id in asked),
    }


def _candidate_files(folder: Path) -> list[CandidateFile]:
    """Return the files of candidates by surface in a folder."""
    return [read_candidate_file(file) for file in sorted(folder.glob("search_top*.json")) if file.is_file()]


def _audit_candidates(file: CandidateFile, datasets: dict[str, Dataset], names: dict[str, str]) -> dict[str, Any]:
    keys = {split: find_keys(file, dataset, names) for split, dataset in datasets.items()}
    by_gold = sum(k.by_gold for k in keys.values()) > sum(k.by_surface for k in keys.values())
    splits: dict[str, Any] = {}
    for split, dataset in datasets.items():
        found = {mention.id: file.lists_for(mention) or () for mention in dataset.mentions}
        splits[split] = _recall(dataset, found) | {"of": len(dataset)}
    return file.report.to_dict() | {
        "file": file.path.name,
        "keyed_by": "gold" if by_gold else "surface",
        "splits": splits,
    }


def _audit_entities(
    files: list[Path],
    entities: list[Entity],
    report: ReadReport,
    datasets: dict[str, Dataset],
    captions: CaptionIndex,
) -> dict[str, Any]:
    known = {entity.id for entity in entities}
    overlaps = captions.find(entity_texts(entities))
    return report.to_dict() | {
        "files": [file.name for file in files],
        "gold": {name: _audit_gold(dataset, known, overlaps[name]) for name, dataset in datasets.items()},
        "overlaps": {name: found.to_dict() for name, found in overlaps.items()},
    }


def _audit_gold(dataset: Dataset, known: set[str], overlaps: Overlaps) -> dict[str, Any]:
    missing = sorted({answer for answer in dataset.gold.values() if answer is not None and answer not in known})
    telling = [mention.id for mention in dataset.mentions if mention.id in overlaps.gold]
    return {
        "missing": len(missing),
        "missing_examples": missing[:_EXAMPLES],
        "sentence_in_entity_text": len(telling),
        "sentence_in_entity_text_examples": telling[:_EXAMPLES],
    }
