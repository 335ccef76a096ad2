"""Writing a new knowledge base folder: one transaction, published whole or not at all."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from dualway import __version__
from dualway.errors import DataError, KnowledgeBaseError, StorageError
from dualway.kb.manifest import Manifest, write_manifest
from dualway.kb.migrations import SCHEMA_VERSION, migrate
from dualway.kb.records import (
    add_hash,
    clean,
    compatibility_fingerprint,
    content_fingerprint,
    content_hash,
    format_total,
)
from dualway.schema import Entity

DATABASE = "kb.sqlite"

# Kinds of text in the order in which they are joined when nobody chose; other kinds follow by name.
KIND_ORDER = ("properties", "description", "profile", "static", "dynamic", "text")

_BATCH = 1000
_STORAGE_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
_INSERTS = {
    "entities": "INSERT INTO entities VALUES (?, ?, ?, ?, ?)",
    "aliases": "INSERT INTO aliases VALUES (?, ?, ?)",
    "types": "INSERT INTO types VALUES (?, ?, ?)",
    "representations": "INSERT INTO representations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "pictures": "INSERT INTO pictures VALUES (?, ?, ?, ?, ?)",
}


def write_folder(
    folder: Path,
    entities: Iterable[Entity],
    *,
    representation: Sequence[str] = (),
    source: str = "",
    picture_root: str = "",
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write database and manifest into an empty `folder`, and force them to the disk.

    Raises:
        DataError: A record without id or name, or an id given twice.
        KnowledgeBaseError: No entities, or a kind in `representation` that none of them has.
        sqlite3.OperationalError: The database cannot be written; see `sqlite_errors`.
    """
    created = datetime.now(UTC).isoformat(timespec="seconds")
    path = folder / DATABASE
    # The folder is thrown away on any failure, so the database needs no journal of its own.
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;")
        migrate(connection)
        connection.execute("BEGIN")
        total = _insert_all(connection, entities, progress)
        connection.execute("INSERT INTO revisions VALUES (1, ?, ?, ?)", (created, f"built from {source}", total))
        connection.execute("COMMIT")
        present = kinds_present(connection)
        kinds = require_kinds(present, representation) or tuple(present)
        counts = _count(connection, kinds)
    _force_to_disk(path)
    manifest = Manifest(
        schema=SCHEMA_VERSION,
        compatibility=compatibility_fingerprint(kinds),
        content=content_fingerprint(total),
        revision=1,
        representation=kinds,
        counts=counts,
        source=source,
        picture_root=picture_root,
        created=created,
        dualway=__version__,
    )
    write_manifest(folder, manifest)


@contextmanager
def sqlite_errors(path: Path) -> Generator[None]:
    """Turn a failed write of the database into a StorageError that names `path` and the remedy."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in _STORAGE_CODES:
            raise
        raise StorageError(
            f"{path}: the knowledge base cannot be written ({error}); nothing was left half-written. "
            "Free space, check permission and run again."
        ) from error


def kinds_present(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many entities have a text of each kind, in the order of `KIND_ORDER`."""
    counts = dict(connection.execute("SELECT kind, COUNT(DISTINCT entity) FROM representations GROUP BY kind"))
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


def _kind_rank(kind: str) -> tuple[int, str]:
    return (KIND_ORDER.index(kind) if kind in KIND_ORDER else len(KIND_ORDER), kind)


def _insert_all(
    connection: sqlite3.Connection, entities: Iterable[Entity], progress: Callable[[int], None] | None
) -> str:
    total, num_done = 0, 0
    source = iter(entities)
    while batch := [clean(entity) for entity in islice(source, _BATCH)]:
        hashes = [content_hash(entity) for entity in batch]
        for record_hash in hashes:
            total = add_hash(total, record_hash)
        _insert_batch(connection, num_done, batch, hashes)
        num_done += len(batch)
        if progress is not None:
            progress(num_done)
    if num_done == 0:
        raise KnowledgeBaseError("no entities to build a knowledge base from; check the source")
    return format_total(total)


def _insert_batch(connection: sqlite3.Connection, start: int, batch: list[Entity], hashes: list[bytes]) -> None:
    rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _INSERTS}
    for row, (entity, record_hash) in enumerate(zip(batch, hashes), start=start):
        rows["entities"].append((row, entity.id, entity.name, record_hash, 1))
        rows["aliases"] += [(row, n, alias) for n, alias in enumerate(entity.aliases)]
        rows["types"] += [(row, n, type_) for n, type_ in enumerate(entity.types)]
        rows["representations"] += [
            (row, n, r.kind, r.text, r.source, r.language, r.revision, r.licence, r.created_at)
            for n, r in enumerate(entity.representations)
        ]
        rows["pictures"] += [(row, n, p.path, p.source, p.licence) for n, p in enumerate(entity.pictures)]
    for table, statement in _INSERTS.items():
        try:
            connection.executemany(statement, rows[table])
        except sqlite3.IntegrityError as error:
            raise DataError(
                "given to two entities; homonyms need ids of their own", id=_find_duplicate(connection, start, batch)
            ) from error


def _find_duplicate(connection: sqlite3.Connection, start: int, batch: list[Entity]) -> str:
    seen: set[str] = set()
    for entity in batch:
        stored = connection.execute("SELECT 1 FROM entities WHERE id = ? AND row < ?", (entity.id, start))
        if entity.id in seen or stored.fetchone():
            return entity.id
        seen.add(entity.id)
    raise AssertionError("the database refused ids that do not repeat")


def _count(connection: sqlite3.Connection, kinds: Sequence[str]) -> dict[str, Any]:
    def one(query: str, *values: str) -> int:
        return int(connection.execute(query, values).fetchone()[0])

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
        "representations": kinds_present(connection),
    }


def _force_to_disk(path: Path) -> None:
    with path.open("rb+") as written:
        os.fsync(written.fileno())
