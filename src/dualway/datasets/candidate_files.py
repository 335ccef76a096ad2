"""Files that propose candidates: `search_top100.json` by surface, and data sets whose mentions carry theirs.

What is read here is apart from mentions and from gold. A list is found by what a mention shows, its caption and its
words, so a file may belong to another form or split of the same data set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dualway.datasets.base import Dataset, ReadReport, is_folder, is_list, is_object, load_json
from dualway.datasets.pickles import refuse_pickle
from dualway.datasets.reader import list_splits, open_dataset
from dualway.errors import DataError
from dualway.schema import Mention
from dualway.text import repair

SURFACES = "surfaces"
_HASH_DIGITS = 16


@dataclass(frozen=True)
class CandidateFile:
    """Entity ids proposed for mentions, best first.

    Attributes:
        path: The file, or the folder of a data set.
        sha256: First digits of its hash.
        form: `surfaces`, or the format of the data set that it is.
        by_surface: Surface -> ids (`surfaces`; in a file keyed by gold, name of the gold entity -> ids).
        by_mention: (caption, surface) -> ids (data sets).
    """

    path: Path
    sha256: str
    form: str
    by_surface: Mapping[str, tuple[str, ...]]
    by_mention: Mapping[tuple[str, str], tuple[str, ...]]
    report: ReadReport

    @property
    def has_ten(self) -> bool:
        """Tell whether the lists are WikiDiverse's ten, which others of the mention's type complete (section 5.1.3)."""
        return self.form.startswith("wikidiverse")

    def lists_for(self, mention: Mention) -> tuple[str, ...] | None:
        """Return the ids proposed for a mention; None where the file does not have it."""
        if self.form == SURFACES:
            return self.by_surface.get(mention.surface)
        return self.by_mention.get((mention.text, mention.surface))


class Keys(NamedTuple):
    """How the keys of a file by surface stand to labelled mentions that are not called like their entity.

    by_surface: Mentions whose surface alone is a key; by_gold: those whose gold entity alone is one.
    """

    by_surface: int
    by_gold: int

    @property
    def are_gold(self) -> bool:
        """Tell whether the file is keyed by the answers rather than by the words of the captions."""
        return self.by_gold > self.by_surface


def read_candidate_file(path: Path) -> CandidateFile:
    """Read `{surface: [entity id..]}`, or a data set (a file, a folder's splits) whose mentions have candidates.

    Raises:
        DataError: Missing, broken, a pickle, or without candidates; says what was expected.
    """
    if is_folder(path):
        return _from_datasets(path, [open_dataset(path, split) for split in list_splits(path)])
    refuse_pickle(path)
    value = load_json(path)
    if is_object(value) and value and all(is_list(listed) for listed in value.values()):
        return _from_surfaces(path, value)
    return _from_datasets(path, [open_dataset(path)])


def find_keys(file: CandidateFile, dataset: Dataset, names: Mapping[str, str]) -> Keys:
    """Return how a file by surface is keyed, from labelled mentions; `names`: id -> name of entities.

    DWE's `search_top100.json` of WikiDiverse is keyed by the gold entity: looking a mention up in it takes the answer.
    """
    by_surface = by_gold = 0
    for mention in dataset.mentions:
        gold = dataset.gold.get(mention.id)
        if gold is None or file.form != SURFACES:
            continue
        keys = gold_keys(gold, names)
        if mention.surface in keys:
            continue  # a mention that is called like its entity tells nothing
        has_surface = mention.surface in file.by_surface
        has_gold = any(key in file.by_surface for key in keys)
        by_surface += has_surface and not has_gold
        by_gold += has_gold and not has_surface
    return Keys(by_surface, by_gold)


def gold_keys(gold: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys that a file keyed by gold may have for an entity: its id, and its name."""
    name = names.get(gold)
    return (gold,) if name is None else (gold, name)


def _from_surfaces(path: Path, table: dict[str, Any]) -> CandidateFile:
    report = ReadReport(path, SURFACES)
    lists: dict[str, tuple[str, ...]] = {}
    for surface, listed in table.items():
        ids: dict[str, None] = {}
        for value in listed:
            if isinstance(value, str) and value.strip():
                ids[repair(value)] = None
            else:
                report.drop("candidate that is no entity id", surface, str(value))
        lists[repair(surface)] = tuple(ids)
    report.counts["lists"] = len(lists)
    report.counts["candidates"] = sum(map(len, lists.values()))
    if not report.counts["candidates"]:
        raise DataError("no candidates in it; expected {surface: [entity id, ..]}", path=path)
    return CandidateFile(path, _hash(path), SURFACES, lists, {}, report)


def _from_datasets(path: Path, datasets: list[Dataset]) -> CandidateFile:
    report = ReadReport(path, datasets[0].report.format)
    lists: dict[tuple[str, str], tuple[str, ...]] = {}
    for dataset in datasets:
        for mention in dataset.mentions:
            listed, key = dataset.candidates.get(mention.id), (mention.text, mention.surface)
            if listed and lists.setdefault(key, listed) != listed:
                report.note(
                    "same words in the same caption again, with other candidates: the first are used", mention.id
                )
    report.counts["lists"] = len(lists)
    report.counts["candidates"] = sum(map(len, lists.values()))
    if not lists:
        raise DataError(
            "no candidates in it; expected {surface: [entity id, ..]}, or a data set whose mentions have candidates "
            "(docs/formats.md)",
            path=path,
        )
    files = sorted({dataset.report.path for dataset in datasets})
    digest = _hash(files[0]) if len(files) == 1 else _digest("".join(map(_hash, files)).encode())
    return CandidateFile(path, digest, report.format, {}, lists, report)


def _hash(path: Path) -> str:
    return _digest(path.read_bytes())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_HASH_DIGITS]
