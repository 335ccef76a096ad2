"""A new database that is filled in commits, so that a build that was killed goes on where it was.

`writer.write_folder` writes all in one transaction and starts over; what takes minutes is filled here, in the working
folder of its build, and only a complete and sealed folder is published.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dualway import __version__
from dualway.errors import KnowledgeBaseError
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
from dualway.kb.writer import force_to_disk
from dualway.schema import Entity
from dualway.text import is_broken

TABLES = ("entities", *PARTS)
_PRAGMAS = "PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536;"
_OWN_INDEXES = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"


class FillingDatabase:
    """The database of a knowledge base while it is filled, in the order of rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._connection = sqlite3.connect(folder / DATABASE, isolation_level=None)
        self._connection.executescript(_PRAGMAS)
        migrate(self._connection)
        if not self.num_rows():  # indexes are made at the end, in one go
            for name, _ in self._connection.execute(_OWN_INDEXES).fetchall():
                self._connection.execute(f"DROP INDEX {name}")

    def close(self) -> None:
        """Close the database; what was not committed is lost."""
        self._connection.close()

    def num_rows(self) -> int:
        """Return how many entities have been committed."""
        return int(self.fetch("SELECT COALESCE(MAX(row) + 1, 0) FROM entities")[0][0])

    def begin(self) -> None:
        """Begin a transaction."""
        self._connection.execute("BEGIN")

    def commit(self) -> None:
        """Commit what was appended since `begin`."""
        self._connection.execute("COMMIT")

    def append(self, rows: Mapping[str, Sequence[Row]]) -> None:
        """Append entities, as `entity_rows` makes them."""
        for table in TABLES:
            insert(self._connection, table, rows[table])

    def named(self) -> Generator[tuple[int, str, tuple[str, ...]]]:
        """Yield (row, name, aliases) of all entities."""
        aliases = self._connection.execute("SELECT entity, alias FROM aliases ORDER BY entity, number")
        following: tuple[int, str] | None = aliases.fetchone()
        for row, name in self._connection.execute("SELECT row, name FROM entities ORDER BY row"):
            own: list[str] = []
            while following is not None and following[0] == row:
                own.append(following[1])
                following = aliases.fetchone()
            yield row, name, tuple(own)

    def seal(self, *, representation: Sequence[str], source: str) -> Manifest:
        """Complete the database, write its manifest, and force both to the disk.

        Raises:
            KnowledgeBaseError: No entities, or a kind in `representation` that none of them has.
        """
        created = datetime.now(UTC).isoformat(timespec="seconds")
        present = kinds_present(self.fetch)
        kinds = require_kinds(present, representation) or tuple(present)
        self.begin()
        for sql in _missing_indexes(self._connection):
            self._connection.execute(sql)
        total = self._total()
        what = (1, created, f"built from {source}", total)
        self._connection.execute("INSERT OR REPLACE INTO revisions VALUES (?, ?, ?, ?)", what)
        self.commit()
        self._connection.execute("PRAGMA journal_mode = DELETE")
        manifest = Manifest(
            schema=SCHEMA_VERSION,
            compatibility=compatibility_fingerprint(kinds),
            content=content_fingerprint(total),
            revision=1,
            representation=kinds,
            counts=count_all(self.fetch, kinds),
            source=source,
            picture_root="",
            created=created,
            dualway=__version__,
        )
        force_to_disk(self.folder / DATABASE)
        write_manifest(self.folder, manifest)
        return manifest

    def fetch(self, query: str, *values: Any) -> list[Row]:
        """Return all rows that a query gives."""
        return self._connection.execute(query, values).fetchall()

    def _total(self) -> str:
        total, num_rows = 0, 0
        for (record_hash,) in self._connection.execute("SELECT hash FROM entities"):
            total, num_rows = add_hash(total, record_hash), num_rows + 1
        if not num_rows:
            raise KnowledgeBaseError("no entities to build a knowledge base from; check the source")
        return format_total(total)


def entity_rows(first: int, entities: Sequence[Entity]) -> dict[str, list[Row]]:
    """Return the rows of entities that follow one another, by table.

    Raises:
        DataError: A record without id or name.
    """
    rows: dict[str, list[Row]] = {table: [] for table in TABLES}
    for row, given in enumerate(entities, start=first):
        entity = given if _is_clean(given) else clean(given)
        rows["entities"].append((row, entity.id, entity.name, content_hash(entity), 1))
        for table, part in part_rows(row, entity).items():
            rows[table] += part
    return rows


def _is_clean(entity: Entity) -> bool:
    """Tell at little cost that `clean` would change nothing; False where that has to be found out."""
    texts = [text.text for text in entity.representations]
    values = [field.value for field in entity.fields]
    if entity.pictures or not all(texts) or not all(values):
        return False
    ids = [field.id for field in entity.fields]
    together = "\n".join((entity.id, entity.name, *entity.aliases, *entity.types, *texts, *values, *ids))
    return bool(entity.name.strip()) and not is_broken(together)


def _missing_indexes(connection: sqlite3.Connection) -> Iterator[str]:
    present = {name for name, _ in connection.execute(_OWN_INDEXES)}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as complete:
        migrate(complete)
        yield from (sql for name, sql in complete.execute(_OWN_INDEXES).fetchall() if name not in present)
