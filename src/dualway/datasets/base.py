"""What every reader returns: a data set with gold kept apart, and a report of what was read, repaired and dropped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeGuard

from dualway.datasets.pickles import refuse_pickle
from dualway.datasets.pictures import places_of
from dualway.errors import DataError
from dualway.schema import IntArray, Mention
from dualway.storage import read_json, read_text

_EXAMPLES = 3
_EXAMPLE_WIDTH = 120
_REMARKS = 20

# Tells whether a sample, named by its id, belongs to the split that is read.
Keep = Callable[[str], bool]


@dataclass
class Tally:
    """How often something happened, with the first few places."""

    count: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])  # (id, short text)

    def add(self, id: str, text: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            short = text if len(text) <= _EXAMPLE_WIDTH else text[: _EXAMPLE_WIDTH - 1] + "…"
            self.examples.append((id, short))

    def to_dict(self) -> dict[str, Any]:
        """Return the count and the examples as plain values."""
        return {"count": self.count, "examples": [{"id": id, "text": text} for id, text in self.examples]}


@dataclass
class ReadReport:
    """What a reader met in one file or folder. Nothing is dropped or changed without a line here.

    `counts` are plain numbers (samples, mentions, located exactly, ...); `repaired`, `dropped` and `notes` map a reason
    to how often it applied and to a few examples.
    """

    path: Path
    format: str = ""
    counts: Counter[str] = field(default_factory=Counter[str])
    repaired: dict[str, Tally] = field(default_factory=dict[str, Tally])
    dropped: dict[str, Tally] = field(default_factory=dict[str, Tally])
    notes: dict[str, Tally] = field(default_factory=dict[str, Tally])

    def repair(self, reason: str, id: str, text: str = "") -> None:
        """Count a value that was put right."""
        self.repaired.setdefault(reason, Tally()).add(id, text)

    def drop(self, reason: str, id: str, text: str = "") -> None:
        """Count a record or a value that was left out."""
        self.dropped.setdefault(reason, Tally()).add(id, text)

    def note(self, reason: str, id: str, text: str = "") -> None:
        """Count something that was kept as it is, and that the user should know."""
        self.notes.setdefault(reason, Tally()).add(id, text)

    def remarks(self) -> list[str]:
        """Return a line for each thing that was dropped, repaired or noted: how often, why, and the first place."""
        lines = [
            f"{self.path}: {tally.count:,} {what}: {reason} (first: {tally.examples[0][0][:_EXAMPLE_WIDTH]})"
            for what, tallies in (("dropped", self.dropped), ("repaired", self.repaired), ("noted", self.notes))
            for reason, tally in tallies.items()
        ]
        more = f"{self.path}: {len(lines) - _REMARKS} more remarks; `dualway data check` prints them"
        return lines if len(lines) <= _REMARKS else [*lines[:_REMARKS], more]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, ready for JSON."""
        return {
            "path": str(self.path),
            "format": self.format,
            "counts": dict(self.counts),
            "repaired": {reason: tally.to_dict() for reason, tally in self.repaired.items()},
            "dropped": {reason: tally.to_dict() for reason, tally in self.dropped.items()},
            "notes": {reason: tally.to_dict() for reason, tally in self.notes.items()},
        }


@dataclass(frozen=True)
class Dataset:
    """Mentions of one file or split, in the file's order, and their gold.

    `gold` maps a mention's id to its entity's id, None for NIL; a mention without gold (input to be linked) is absent.
    `root` is the folder that relative picture paths are relative to, `folders` further ones in which this format keeps
    its pictures. `candidates` maps a mention's id to the entity ids that the file proposes for it, where it does: they
    are apart from the mention, and nothing uses them unless asked (`--candidates`).
    """

    name: str
    split: str | None
    mentions: list[Mention]
    gold: dict[str, str | None]
    report: ReadReport
    root: Path
    folders: tuple[Path, ...] = ()
    candidates: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def __len__(self) -> int:
        return len(self.mentions)

    def take(self, index: Sequence[int] | IntArray) -> Dataset:
        """Return the data set of the chosen mentions (positions in `mentions`); the report stays that of the file."""
        mentions = [self.mentions[int(i)] for i in index]
        gold = {mention.id: self.gold[mention.id] for mention in mentions if mention.id in self.gold}
        given = {mention.id: self.candidates[mention.id] for mention in mentions if mention.id in self.candidates}
        return replace(self, mentions=mentions, gold=gold, candidates=given)

    @property
    def picture_folders(self) -> tuple[Path, ...]:
        """The folders that its pictures may lie in, for `images.read_picture`; a whole folder may be a link.

        A path that the file states may lead elsewhere, by `..` or as an absolute one; a link in the folders may not.
        """
        return (self.root, self.root / "images", *self.folders)

    def image_path(self, mention: Mention) -> Path | None:
        """Return where the mention's picture lies, None when it names none on disk. Whether it exists is not checked.

        A relative path is taken from the file's folder; a file that is not there is looked for in `images/` beside it,
        then in `folders`.
        """
        if not mention.image or "://" in mention.image:
            return None
        path = self.root / mention.image
        elsewhere = chain([path, self.root / "images" / mention.image], places_of(mention.image, self.folders))
        return next(filter(_exists, elsewhere), path)


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Tell whether a parsed JSON value is an object."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Tell whether a parsed JSON value is a list."""
    return isinstance(value, list)


def load_json(path: Path) -> Any:
    """Read a JSON file in which no object repeats a key (a repeated key would silently hide a record).

    Raises:
        DataError: Missing, a pickle, not UTF-8, broken JSON (names file and line), or a key that occurs twice (names
            it).
    """
    refuse_pickle(path)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(pairs)
        if len(record) < len(pairs):
            twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
            raise DataError("this key occurs twice in one object; remove or rename one", path=path, id=twice)
        return record

    try:
        return json.loads(read_text(path), object_pairs_hook=unique)
    except (json.JSONDecodeError, RecursionError):
        return read_json(path)  # raises, naming the place
    except ValueError as error:  # a number with thousands of digits
        raise DataError(f"broken JSON: {error}", path=path) from error


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder; False for a name that no file system takes."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file system takes
        return False
