"""Whether a knowledge base is whole, and putting right what a crash or another program left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dualway.errors import KnowledgeBaseError
from dualway.kb.changes import left_behind, only_writer
from dualway.kb.manifest import read_manifest, write_manifest
from dualway.kb.rows import PARTS, count_all
from dualway.kb.store import KnowledgeBase


@dataclass
class Verification:
    """What was found. A problem is either mended, or needs a backup; leftovers are files that nobody names.

    Attributes:
        entities: How many records were read and compared with their hashes.
        problems: What is wrong, and was not mended.
        mended: What was wrong, and is right now.
        leftovers: Files that a killed process left; removed when mending.
    """

    entities: int = 0
    problems: list[str] = field(default_factory=list[str])
    mended: list[str] = field(default_factory=list[str])
    leftovers: list[str] = field(default_factory=list[str])

    @property
    def is_clean(self) -> bool:
        """True when nothing is wrong, and nothing is left to be removed."""
        return not self.problems and not self.leftovers

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "clean": self.is_clean,
            "entities": self.entities,
            "problems": self.problems,
            "mended": self.mended,
            "leftovers": self.leftovers,
        }


def verify(path: Path | str, *, mend: bool = False) -> Verification:
    """Read a whole knowledge base, and compare it with its hashes, its counts and its files.

    Args:
        path: The folder.
        mend: Remove leftovers and put counts right; records cannot be mended, they have to come from a backup.

    Raises:
        KnowledgeBaseError: It cannot be opened at all.
        StorageError: Another process is changing it (when mending).
    """
    folder, found = Path(path), Verification()
    with KnowledgeBase.open(folder) as kb:
        found.entities = len(kb)
        try:
            kb.check()
        except KnowledgeBaseError as error:
            found.problems.append(str(error))
        found.problems += _orphans(kb)
        counts = _counts(kb)
        wrong = {name: value for name, value in counts.items() if kb.manifest.counts.get(name) != value}
    found.leftovers = [path.name for path in left_behind(folder, read_manifest(folder))]
    if wrong and not mend:
        found.problems.append(f"manifest.json: its counts are wrong ({', '.join(wrong)}); --mend counts again")
    if mend:
        _mend(folder, counts if wrong else None, found)
    return found


def _counts(kb: KnowledgeBase) -> dict[str, Any]:
    """Return the counts as they are; a kind that stands for an entity counts even where no entity has it any more."""
    counts = count_all(kb.query, kb.representation)
    texts = counts["representations"]
    counts["representations"] = {**texts, **{kind: 0 for kind in kb.representation if kind not in texts}}
    return counts


def _orphans(kb: KnowledgeBase) -> Sequence[str]:
    """Return what parts of records belong to no entity."""
    problems: list[str] = []
    for table in PARTS:
        (count,) = kb.query(f"SELECT COUNT(*) FROM {table} WHERE entity NOT IN (SELECT row FROM entities)")[0]
        if count:
            problems.append(
                f"{kb.path}: {count:,} rows of {table} belong to no entity; restore a backup or build again"
            )
    return problems


def _mend(folder: Path, counts: dict[str, Any] | None, found: Verification) -> None:
    with only_writer(folder):
        manifest = read_manifest(folder)
        for path in left_behind(folder, manifest):
            path.unlink()
            found.mended.append(f"{path.name}: left by a process that was killed, removed")
        found.leftovers = []
        if counts is not None and not found.problems:
            write_manifest(folder, replace(manifest, counts=counts))
            found.mended.append("manifest.json: counted again")
