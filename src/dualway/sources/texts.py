"""What a source of texts about entities is asked, and what it answers: one answer for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dualway.schema import Representation


@dataclass(frozen=True, slots=True)
class Wanted:
    """An entity whose text is asked for, by whatever is known of its page.

    `title`: of its page in the source, where the knowledge base knows it (the field "wikipedia:LANGUAGE"); else None.
    `wikidata_id`: where the entity's id is one. `name`: with its brackets, a title where nothing better is known.
    """

    entity_id: str
    name: str
    title: str | None = None
    wikidata_id: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The answer for one entity: its text, or why there is none ("no such page", "disambiguation page")."""

    entity_id: str
    representation: Representation | None = None
    problem: str = ""


class TextSource(Protocol):
    """Gives entities their static text (paper, section 3.1): a dump, a web service, a table of abstracts."""

    @property
    def name(self) -> str:
        """What is kept as a text's `source`, such as "wikipedia:en"; `kb refresh` finds its texts by it."""
        ...

    def texts(self, wanted: Sequence[Wanted]) -> Iterator[Found]:
        """Yield one answer for each of `wanted`, in any order."""
        ...

    def revisions(self, wanted: Sequence[Wanted]) -> Mapping[str, str]:
        """Return what `Representation.revision` would be now, by entity id; without those that cannot be told."""
        ...
