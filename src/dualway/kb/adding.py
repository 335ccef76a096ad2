"""Adding entities to a knowledge base that is there, and removing some, in one revision or not at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dualway.errors import KnowledgeBaseError, UsageError
from dualway.kb.changes import Change, changing
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity

ON_EXISTING = ("stop", "keep", "replace", "merge")
_PROGRESS = 100  # entities between two reports of progress


@dataclass
class AddReport:
    """What became of the given entities. `revision` is that of the knowledge base after it, changed or not."""

    revision: int = 0
    changed: bool = False
    added: list[str] = field(default_factory=list[str])
    replaced: list[str] = field(default_factory=list[str])  # or merged: their record says something else than before
    unchanged: int = 0
    kept: int = 0  # of whom something else was given, and who stay as they were

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)


def add_entities(
    path: Path | str,
    entities: Iterable[Entity],
    *,
    on_existing: str = "stop",
    progress: Callable[[int], None] | None = None,
) -> AddReport:
    """Add entities to a knowledge base, in one revision or not at all.

    Args:
        path: The knowledge base's folder.
        entities: Read once, while the knowledge base is locked against other changes.
        on_existing: What becomes of an id that is there already and whose record differs: "stop" is an error,
            "keep" leaves the record, "replace" puts the given one in its place, "merge" adds to it what is new.
        progress: Called now and then with the number of entities taken so far.

    Raises:
        DataError: A record without id or name.
        KnowledgeBaseError: No such knowledge base, an id that is there already and must not be, or pictures of somebody
            whose pictures were erased.
        StorageError: Another process is changing it, or it cannot be written.
        UsageError: An unknown `on_existing`.
    """
    if on_existing not in ON_EXISTING:
        raise UsageError(f"unknown way {on_existing!r} with entities that are there; choose {', '.join(ON_EXISTING)}")
    report = AddReport()
    with changing(path) as change:
        for number, entity in enumerate(entities, start=1):
            _take(change, entity, on_existing, report)
            if progress is not None and number % _PROGRESS == 0:
                progress(number)
        change.describe(f"{len(report.added):,} entities added, {len(report.replaced):,} changed")
        report.changed = change.is_made
        report.revision = change.revision - (not change.is_made)
    return report


def remove_entities(path: Path | str, ids: Sequence[str], *, erase: bool = False) -> tuple[list[Entity], int]:
    """Remove entities, in one revision or not at all; return their records and the revision.

    Args:
        path: The knowledge base's folder.
        ids: Whom to remove, each at most once.
        erase: No byte of them stays in the databases. Ids that were removed before are then erased from the history.

    Raises:
        KnowledgeBaseError: No such knowledge base, or no entity has one of the ids (names them all).
        StorageError: Another process is changing it, or it cannot be written.
    """
    wanted = list(dict.fromkeys(ids))
    with KnowledgeBase.open(path) as kb:
        gone = [i for i in wanted if i not in kb]
        earlier = {i for i in gone if kb.query("SELECT 1 FROM history WHERE id = ? LIMIT 1", i)}
    unknown = [i for i in gone if not (erase and i in earlier)]
    if unknown:
        raise KnowledgeBaseError(f"{path}: no entity has the id {', '.join(map(repr, unknown))}; nothing was changed")
    removed: list[Entity] = []
    with changing(path) as change:
        for entity_id in wanted:
            if entity_id in gone:
                change.forget(entity_id)
            else:
                removed.append(change.remove(entity_id, erase=erase))
        change.describe(f"{len(wanted):,} entities {'erased' if erase else 'removed'}")
        revision = change.revision
    return removed, revision


def _take(change: Change, entity: Entity, on_existing: str, report: AddReport) -> None:
    if entity.id not in change:
        change.add(entity)
        report.added.append(entity.id)
        return
    present = change.entity(entity.id)
    given = merge(present, entity) if on_existing == "merge" else entity
    if given == present:
        report.unchanged += 1
    elif on_existing == "keep":
        report.kept += 1
    elif on_existing == "stop":
        raise KnowledgeBaseError(
            f"an entity has the id {entity.id!r} already ({present.name}), with another record; nothing was changed. "
            "--on-existing keep, replace or merge says what is to become of it; homonyms need ids of their own"
        )
    else:
        report.replaced.append(entity.id)
        change.update(given)


def merge(present: Entity, given: Entity) -> Entity:
    """Return a record with what a given one adds; its name and its texts of the same kind, source and language win.

    What is there and not given stays. Another name than before becomes the name, and the old one an alias.
    """
    texts = {(r.kind, r.source, r.language): r for r in (*present.representations, *given.representations)}
    pictures = {picture.path: picture for picture in (*present.pictures, *given.pictures)}
    old_name = () if given.name == present.name else (present.name,)
    given_fields = {part.name for part in given.fields}
    return Entity(
        id=present.id,
        name=given.name,
        aliases=tuple(
            alias for alias in dict.fromkeys((*present.aliases, *old_name, *given.aliases)) if alias != given.name
        ),
        types=tuple(dict.fromkeys((*present.types, *given.types))),
        representations=tuple(texts.values()),
        pictures=tuple(pictures.values()),
        fields=(*(part for part in present.fields if part.name not in given_fields), *given.fields),
    )
