"""The manifest's counts, kept up to date by what changes: counting everything would take longer than the change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dualway.kb.rows import Fetch
from dualway.schema import Entity


class Tally:
    """Counts of a knowledge base while it is changed.

    Args:
        counts: The manifest's counts before the change.
        kinds: Kinds of text that stand for an entity.
        fetch: Asks the state as it is at the moment of the call.
    """

    def __init__(self, counts: Mapping[str, Any], kinds: Sequence[str], fetch: Fetch) -> None:
        self._counts = {name: value for name, value in counts.items() if name != "representations"}
        self._texts: dict[str, int] = dict(counts["representations"])
        self._kinds, self._fetch = tuple(kinds), fetch

    def leave(self, entity: Entity) -> None:
        """Take off an entity that has just been removed."""
        self._count(entity, -1)
        left = self._num_named(entity.name)
        if left:
            self._counts["homonyms"] -= 2 if left == 1 else 1
            self._counts["shared_names"] -= left == 1
        self._counts["types"] -= sum(not self._is_used(type) for type in {*entity.types})

    def enter(self, entity: Entity) -> None:
        """Add an entity that is just about to be put in."""
        self._count(entity, 1)
        others = self._num_named(entity.name)
        if others:
            self._counts["homonyms"] += 2 if others == 1 else 1
            self._counts["shared_names"] += others == 1
        self._counts["types"] += sum(not self._is_used(type) for type in {*entity.types})

    def represent(self, kinds: Sequence[str], with_text: int) -> None:
        """Choose other kinds of text, which `with_text` entities have."""
        self._kinds = tuple(kinds)
        self._counts["without_text"] = self._counts["entities"] - with_text

    def result(self) -> dict[str, Any]:
        """Return the counts as they are now."""
        return {
            **self._counts,
            "representations": {kind: n for kind, n in self._texts.items() if n or kind in self._kinds},
        }

    def _count(self, entity: Entity, sign: int) -> None:
        kinds = {representation.kind for representation in entity.representations}
        self._counts["entities"] += sign
        self._counts["aliases"] += sign * len(entity.aliases)
        self._counts["pictures"] += sign * len(entity.pictures)
        self._counts["without_text"] += sign * kinds.isdisjoint(self._kinds)
        for kind in kinds:
            self._texts[kind] = self._texts.get(kind, 0) + sign

    def _num_named(self, name: str) -> int:
        return int(self._fetch("SELECT COUNT(*) FROM entities WHERE name = ?", name)[0][0])

    def _is_used(self, type: str) -> bool:
        return bool(self._fetch("SELECT 1 FROM types WHERE type = ? LIMIT 1", type))
