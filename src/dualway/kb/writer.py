"""Writing a new knowledge base folder: one transaction, published whole or not at all."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from dualway import __version__
from dualway.errors import DataError, KnowledgeBaseError, StorageError
from dualway.kb.manifest import DATABASE, Manifest, write_manifest
from dualway.kb.migrations import SCHEMA_VERSION, migrate
from dualway.kb.records import (
    add_hash,
    clean,
    compatibility_fingerprint,
    content_fingerprint,
    content_hash,
    format_total,
)
from dualway.kb.rows import PARTS, Row, count_all, insert, kinds_present, part_rows, require_kinds
from dualway.schema import Entity

_BATCH = 1000
_STORAGE_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
_DAMAGE_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def write_folder(
    folder: Path,
    entities: Iterable[Entity],
    *,
    representation: Sequence[str] = (),
    source: str = "",
    picture_root: str = "",
    picture_roots: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write database and manifest into an empty `folder`, and force them to the disk.

    Raises:
        DataError: A record without id or name, or an id given twice.
        KnowledgeBaseError: No entities, or a kind in `representation` that none of them has.
        sqlite3.DatabaseError: The database cannot be written; see `sqlite_errors`.
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

        def fetch(query: str, *values: Any) -> list[Row]:
            return connection.execute(query, values).fetchall()

        present = kinds_present(fetch)
        kinds = require_kinds(present, representation) or tuple(present)
        counts = count_all(fetch, kinds)
    force_to_disk(path)
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
        picture_roots=picture_roots or {},
    )
    write_manifest(folder, manifest)


@contextmanager
def sqlite_errors(path: Path) -> Generator[None]:
    """Turn a failed write of the database into a StorageError that names `path` and the remedy.

    Raises:
        StorageError: The disk is full, read-only or failing.
        KnowledgeBaseError: What is read from the database is damaged.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGE_CODES:
            raise KnowledgeBaseError(
                f"{path}: damaged ({error}); restore the folder or build the knowledge base again"
            ) from error
        if code not in _STORAGE_CODES:
            raise
        raise StorageError(
            f"{path}: the knowledge base cannot be written ({error}); nothing was left half-written. "
            "Free space, check permission and run again."
        ) from error


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
    rows: dict[str, list[Row]] = {table: [] for table in ("entities", *PARTS)}
    for row, (entity, record_hash) in enumerate(zip(batch, hashes), start=start):
        rows["entities"].append((row, entity.id, entity.name, record_hash, 1))
        for table, part in part_rows(row, entity).items():
            rows[table] += part
    for table, lines in rows.items():
        try:
            insert(connection, table, lines)
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


def force_to_disk(path: Path) -> None:
    """Wait until the disk has what was written into a file."""
    with path.open("rb+") as written:
        os.fsync(written.fileno())
