"""What records were before they were changed: the difference between two states of a knowledge base."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from dualway.errors import KnowledgeBaseError
from dualway.kb.rows import Fetch, read_entity
from dualway.schema import Entity, Field, Picture, Representation


@dataclass(frozen=True, slots=True)
class EntityChange:
    """An entity in an earlier and in a later state; None where there was, or is, none."""

    id: str
    before: Entity | None
    after: Entity | None

    @property
    def what(self) -> str:
        """Return "added", "removed" or "changed"."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"

    @property
    def parts(self) -> tuple[str, ...]:
        """Return which parts of a changed record differ: name, aliases, types, representations, pictures, fields."""
        if self.before is None or self.after is None:
            return ()
        names = ("name", "aliases", "types", "representations", "pictures", "fields")
        return tuple(name for name in names if getattr(self.before, name) != getattr(self.after, name))


def to_json(entity: Entity) -> str:
    """Return a record as JSON, for the table of what was."""
    return json.dumps(asdict(entity), ensure_ascii=False, separators=(",", ":"))


def from_json(text: str) -> Entity:
    """Return the record that `to_json` wrote."""
    values: dict[str, Any] = json.loads(text)
    return Entity(
        id=values["id"],
        name=values["name"],
        aliases=tuple(values["aliases"]),
        types=tuple(values["types"]),
        representations=tuple(Representation(**part) for part in values["representations"]),
        pictures=tuple(Picture(**part) for part in values["pictures"]),
        fields=tuple(Field(**part) for part in values["fields"]),
    )


def without_pictures(text: str) -> str:
    """Return a record of `to_json` without its pictures."""
    return to_json(replace(from_json(text), pictures=()))


def first_revision(fetch: Fetch) -> int:
    """Return the oldest state that can still be told from the present one."""
    (first,) = fetch("SELECT COALESCE(MAX(revision), 1) FROM history WHERE id = ''")[0]
    return int(first)


def differences(fetch: Fetch, since: int, until: int) -> Iterator[EntityChange]:
    """Yield the entities that differ between two revisions, in the order of ids; those that were erased are not told.

    Raises:
        KnowledgeBaseError: No such revision, or the history does not reach back so far.
    """
    (last,) = fetch("SELECT MAX(number) FROM revisions")[0]
    first = first_revision(fetch)
    if not 1 <= since <= until <= last:
        raise KnowledgeBaseError(
            f"revisions {since} to {until}: the knowledge base has 1 to {last}, the older one first"
        )
    if since < first:
        raise KnowledgeBaseError(
            f"revision {since}: what was changed before revision {first} is not kept; choose {first} to {last}"
        )
    touched = fetch(
        "SELECT DISTINCT id FROM history WHERE id <> '' AND revision > ? AND revision <= ? ORDER BY id", since, until
    )
    for (entity_id,) in touched:
        change = EntityChange(entity_id, _state(fetch, entity_id, since), _state(fetch, entity_id, until))
        if change.before != change.after:
            yield change


def _state(fetch: Fetch, entity_id: str, revision: int) -> Entity | None:
    """Return an entity as it was at a revision: what the next change found, or what it still is."""
    later = fetch(
        "SELECT before FROM history WHERE id = ? AND revision > ? ORDER BY revision LIMIT 1", entity_id, revision
    )
    if later:
        return None if later[0][0] is None else from_json(later[0][0])
    found = fetch("SELECT row, id, name FROM entities WHERE id = ?", entity_id)
    return read_entity(fetch, *found[0]) if found else None
