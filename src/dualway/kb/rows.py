"""An entity as rows of the database's tables: how it is written, read back and counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dualway.errors import KnowledgeBaseError
from dualway.schema import Entity, Field, Picture, Representation

Row = tuple[Any, ...]
Fetch = Callable[..., list[Row]]  # a query and its values -> all rows

# The parts of a record that have a table of their own, a row a value.
PARTS = ("aliases", "types", "representations", "pictures", "fields")

# Kinds of text in the order in which they are joined when nobody chose; other kinds follow by name.
KIND_ORDER = ("properties", "description", "profile", "static", "dynamic", "text")

_INSERTS = {
    "entities": "INSERT INTO main.entities VALUES (?, ?, ?, ?, ?)",
    "aliases": "INSERT INTO main.aliases VALUES (?, ?, ?)",
    "types": "INSERT INTO main.types VALUES (?, ?, ?)",
    "representations": "INSERT INTO main.representations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "pictures": "INSERT INTO main.pictures VALUES (?, ?, ?, ?, ?)",
    "fields": "INSERT INTO main.fields VALUES (?, ?, ?, ?, ?)",
}


def part_rows(row: int, entity: Entity) -> dict[str, list[Row]]:
    """Return the rows of an entity's parts, by table; `row` is that of the entity itself."""
    return {
        "aliases": [(row, n, alias) for n, alias in enumerate(entity.aliases)],
        "types": [(row, n, type_) for n, type_ in enumerate(entity.types)],
        "representations": [
            (row, n, r.kind, r.text, r.source, r.language, r.revision, r.licence, r.created_at)
            for n, r in enumerate(entity.representations)
        ],
        "pictures": [(row, n, p.path, p.source, p.licence) for n, p in enumerate(entity.pictures)],
        "fields": [(row, n, f.name, f.value, f.id) for n, f in enumerate(entity.fields)],
    }


def insert(connection: sqlite3.Connection, table: str, rows: Iterable[Row]) -> None:
    """Insert whole rows into a table of the connection's own database.

    Raises:
        sqlite3.IntegrityError: An id that is there already.
    """
    connection.executemany(_INSERTS[table], rows)


def read_entity(fetch: Fetch, row: int, entity_id: str, name: str) -> Entity:
    """Return the whole record of the entity in a row."""

    def values(columns: str, table: str) -> list[Row]:
        return fetch(f"SELECT {columns} FROM {table} WHERE entity = ? ORDER BY number", row)

    return Entity(
        id=entity_id,
        name=name,
        aliases=tuple(alias for (alias,) in values("alias", "aliases")),
        types=tuple(type_ for (type_,) in values("type", "types")),
        representations=tuple(
            Representation(*fields)
            for fields in values("kind, text, source, language, revision, licence, created_at", "representations")
        ),
        pictures=tuple(Picture(*fields) for fields in values("path, source, licence", "pictures")),
        fields=tuple(Field(*parts) for parts in values("name, value, id", "fields")),
    )


def kinds_present(fetch: Fetch) -> dict[str, int]:
    """Return how many entities have a text of each kind, in the order of `KIND_ORDER`."""
    counts: dict[str, int] = dict(fetch("SELECT kind, COUNT(DISTINCT entity) FROM representations GROUP BY kind"))
    return {kind: counts[kind] for kind in sorted(counts, key=_kind_rank)}


def require_kinds(present: dict[str, int], chosen: Sequence[str]) -> tuple[str, ...]:
    """Return the chosen kinds, each once.

    Raises:
        KnowledgeBaseError: A chosen kind is not present; names those that are, with their counts.
    """
    for kind in chosen:
        if kind not in present:
            known = ", ".join(f"{name} ({count:,} entities)" for name, count in present.items()) or "none at all"
            raise KnowledgeBaseError(f"no representation of kind {kind!r} in this knowledge base; present: {known}")
    return tuple(dict.fromkeys(chosen))


def count_all(fetch: Fetch, kinds: Sequence[str]) -> dict[str, Any]:
    """Return the manifest's counts; `kinds` are those whose texts stand for an entity."""

    def one(query: str, *values: str) -> int:
        return int(fetch(query, *values)[0][0])

    num_entities = one("SELECT COUNT(*) FROM entities")
    marks = ", ".join("?" * len(kinds))
    with_text = one(f"SELECT COUNT(DISTINCT entity) FROM representations WHERE kind IN ({marks})", *kinds)
    shared = "FROM (SELECT COUNT(*) AS n FROM entities GROUP BY name HAVING n > 1)"
    return {
        "entities": num_entities,
        "shared_names": one(f"SELECT COUNT(*) {shared}"),
        "homonyms": one(f"SELECT COALESCE(SUM(n), 0) {shared}"),
        "aliases": one("SELECT COUNT(*) FROM aliases"),
        "types": one("SELECT COUNT(DISTINCT type) FROM types"),
        "pictures": one("SELECT COUNT(*) FROM pictures"),
        "without_text": num_entities - with_text,
        "representations": kinds_present(fetch),
    }


def _kind_rank(kind: str) -> tuple[int, str]:
    return (KIND_ORDER.index(kind) if kind in KIND_ORDER else len(KIND_ORDER), kind)
