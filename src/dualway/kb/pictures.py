"""Pictures of entities: put into a knowledge base, kept out of galleries, erased."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dualway.errors import KnowledgeBaseError, UsageError
from dualway.kb.changes import Change, changing
from dualway.kb.picture_map import MapRow, PictureMap
from dualway.kb.store import KnowledgeBase
from dualway.schema import Picture


@dataclass(frozen=True, slots=True)
class People:
    """Whom to keep out of galleries, whom to admit again, and whose pictures to erase: ids."""

    keep_out: Sequence[str] = ()
    admit: Sequence[str] = ()
    erase: Sequence[str] = ()

    def __post_init__(self) -> None:
        for entity_id in self.admit:
            if entity_id in (*self.keep_out, *self.erase):
                raise UsageError(f"{entity_id!r} is to be admitted and kept out; give it to one of the two")

    def __bool__(self) -> bool:
        return bool(self.keep_out or self.admit or self.erase)


@dataclass
class PictureReport:
    """What a change of pictures did. `revision` is that of the knowledge base after it, changed or not."""

    revision: int = 0
    changed: bool = False
    added: int = 0
    updated: int = 0  # there before, with another source or licence
    unchanged: int = 0
    removed: int = 0  # in place of which others came
    entities: int = 0  # that pictures were given to
    kept_out: list[str] = field(default_factory=list[str])  # that were not before
    admitted: list[str] = field(default_factory=list[str])
    erased: dict[str, list[str]] = field(default_factory=dict[str, list[str]])  # paths by id
    shared: list[str] = field(default_factory=list[str])  # of the erased paths: those that others have too

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        names = ("revision", "changed", "added", "updated", "unchanged", "removed", "entities")
        lists = ("kept_out", "admitted", "erased", "shared")
        return {name: getattr(self, name) for name in (*names, *lists)}


def change_pictures(
    path: Path | str,
    given: PictureMap | None = None,
    *,
    replace: bool = False,
    people: People | None = None,
    progress: Callable[[int], None] | None = None,
) -> PictureReport:
    """Change the pictures of a knowledge base, and who is kept out of galleries, in one revision or not at all.

    Args:
        path: The knowledge base's folder.
        given: Pictures to add; one that is there already takes the source and the licence that are given now.
        replace: The given pictures of an entity take the place of all that it has.
        people: Whom to admit, keep out and erase, before the pictures are added.
        progress: Called now and then with the number of pictures put in so far.

    Raises:
        KnowledgeBaseError: No such knowledge base, an id that no entity has, or pictures of somebody who was erased.
        StorageError: Another process is changing it, or it cannot be written.
    """
    report, people = PictureReport(), people or People()
    with changing(path) as change:
        _apply(change, people, report)
        if given is not None:
            _put(change, given, report, replace=replace, progress=progress)
        change.describe(_summary(report))
        report.changed = change.is_made
        report.revision = change.revision if change.is_made else change.revision - 1
    return report


def check_ids(kb: KnowledgeBase, people: People) -> None:
    """Check before long work that the ids are known.

    Raises:
        KnowledgeBaseError: No entity has one of them; names them all.
    """
    flagged = kb.kept_out
    unknown = [i for i in (*people.keep_out, *people.erase) if i not in kb]
    unknown += [i for i in people.admit if i not in kb and i not in flagged]
    if unknown:
        names = ", ".join(map(repr, dict.fromkeys(unknown)))
        raise KnowledgeBaseError(f"{kb.path}: no entity has the id {names}; nothing was changed")


def _apply(change: Change, people: People, report: PictureReport) -> None:
    report.admitted = [i for i in dict.fromkeys(people.admit) if change.admit(i)]
    report.kept_out = [i for i in dict.fromkeys(people.keep_out) if change.keep_out(i)]
    report.erased = {i: list(change.erase(i)) for i in dict.fromkeys(people.erase)}
    paths = dict.fromkeys(path for paths in report.erased.values() for path in paths)
    report.shared = [path for path in paths if change.has_picture(path)]


def _put(
    change: Change,
    given: PictureMap,
    report: PictureReport,
    *,
    replace: bool,
    progress: Callable[[int], None] | None,
) -> None:
    if given.rows:
        change.add_picture_root(given.root)
    by_entity: dict[str, list[Picture]] = {}
    for row in given.rows:
        by_entity.setdefault(row.entity_id, []).append(_stored(change, given.root, row))
    num_done = 0
    for entity_id, pictures in by_entity.items():
        _put_into(change, entity_id, pictures, report, replace=replace)
        num_done += len(pictures)
        if progress is not None:
            progress(num_done)


def _put_into(
    change: Change, entity_id: str, pictures: Sequence[Picture], report: PictureReport, *, replace: bool
) -> None:
    entity = change.entity(entity_id)
    before = {picture.path: picture for picture in entity.pictures}
    now = {} if replace else dict(before)
    for picture in pictures:
        now[picture.path] = picture if replace else _merge(before.get(picture.path), picture)
    report.entities += 1
    report.added += sum(path not in before for path in now)
    report.removed += sum(path not in now for path in before)
    for picture in pictures:
        if picture.path in before:
            same = now[picture.path] == before[picture.path]
            report.unchanged += same
            report.updated += not same
    change.update(dataclasses.replace(entity, pictures=tuple(now.values())))


def _merge(before: Picture | None, given: Picture) -> Picture:
    """Return a picture as it is given now; what is left empty now stays as it was."""
    if before is None:
        return given
    return Picture(given.path, given.source or before.source, given.licence or before.licence)


def _stored(change: Change, root: Path, row: MapRow) -> Picture:
    path = change.picture_roots.stored(root / row.picture.path)
    if path is None:
        raise AssertionError("the folder of the pictures was not recorded")
    return dataclasses.replace(row.picture, path=path)


def _summary(report: PictureReport) -> str:
    """Return what was done in counts: names or paths would outlive a person's erasure."""
    counts = {
        "pictures added": report.added,
        "pictures updated": report.updated,
        "pictures removed": report.removed,
        "entities kept out": len(report.kept_out),
        "entities admitted": len(report.admitted),
        "entities erased": len(report.erased),
    }
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
