"""The tables of `kb.sqlite`, as numbered steps. A step that was released is never edited: add the next one."""

from __future__ import annotations

import sqlite3

# Step n takes a database from `PRAGMA user_version` n - 1 to n.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE entities (
        row      INTEGER PRIMARY KEY,      -- in the order of insertion
        id       TEXT NOT NULL UNIQUE,
        name     TEXT NOT NULL,            -- not unique: homonyms survive
        hash     BLOB NOT NULL,            -- sha256 of the record, see records.content_hash
        revision INTEGER NOT NULL          -- in which the record last changed
    );
    CREATE TABLE aliases (
        entity INTEGER NOT NULL REFERENCES entities (row) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        alias  TEXT NOT NULL,
        PRIMARY KEY (entity, number)
    ) WITHOUT ROWID;
    CREATE TABLE types (
        entity INTEGER NOT NULL REFERENCES entities (row) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        type   TEXT NOT NULL,
        PRIMARY KEY (entity, number)
    ) WITHOUT ROWID;
    CREATE TABLE representations (
        entity     INTEGER NOT NULL REFERENCES entities (row) ON DELETE CASCADE,
        number     INTEGER NOT NULL,
        kind       TEXT NOT NULL,
        text       TEXT NOT NULL,
        source     TEXT NOT NULL,
        language   TEXT NOT NULL,
        revision   TEXT NOT NULL,          -- of the source, not of this knowledge base
        licence    TEXT NOT NULL,
        created_at TEXT NOT NULL,
        PRIMARY KEY (entity, number)
    ) WITHOUT ROWID;
    CREATE TABLE pictures (
        entity  INTEGER NOT NULL REFERENCES entities (row) ON DELETE CASCADE,
        number  INTEGER NOT NULL,
        path    TEXT NOT NULL,
        source  TEXT NOT NULL,
        licence TEXT NOT NULL,
        PRIMARY KEY (entity, number)
    ) WITHOUT ROWID;
    CREATE TABLE revisions (
        number  INTEGER PRIMARY KEY,
        time    TEXT NOT NULL,
        what    TEXT NOT NULL,
        content TEXT NOT NULL              -- sum of all record hashes after this revision, 64 hex digits
    );
    CREATE INDEX entities_by_name ON entities (name);
    CREATE INDEX entities_by_revision ON entities (revision);
    """,
    """
    CREATE TABLE kept_out (
        id       TEXT PRIMARY KEY,         -- of an entity, not its row: the wish outlives the record
        erased   INTEGER NOT NULL,         -- 1: its pictures were erased and none are taken, until it is admitted
        revision INTEGER NOT NULL          -- in which this was wished
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE fields (
        entity INTEGER NOT NULL REFERENCES entities (row) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        name   TEXT NOT NULL,
        value  TEXT NOT NULL,
        id     TEXT NOT NULL,              -- of the entity that the value is, or nothing
        PRIMARY KEY (entity, number)
    ) WITHOUT ROWID;
    CREATE TABLE history (
        id       TEXT NOT NULL,            -- of the entity
        revision INTEGER NOT NULL,         -- that changed, added or removed it
        before   TEXT,                     -- the record before that, as JSON; NULL where there was none
        PRIMARY KEY (id, revision)
    ) WITHOUT ROWID;
    CREATE INDEX history_by_revision ON history (revision);
    CREATE INDEX types_by_type ON types (type);
    -- A row without an id says from where on the history is whole.
    INSERT INTO history SELECT '', MAX(number), NULL FROM revisions HAVING COUNT(*) > 1;
    """,
)

SCHEMA_VERSION = len(MIGRATIONS)

# Tables that a database of an older schema lacks, with their columns; it is read as if they were there and empty.
_LATER = {
    "kept_out": "id, erased, revision",
    "fields": "entity, number, name, value, id",
    "history": "id, revision, before",
}


def schema_version(connection: sqlite3.Connection) -> int:
    """Return the number of the last step that this database went through; 0 for a fresh one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a writable database to the current schema, each step in its own transaction."""
    for number in range(schema_version(connection), SCHEMA_VERSION):
        connection.executescript(f"BEGIN; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;")


def complete_for_reading(connection: sqlite3.Connection) -> None:
    """Add what an older database lacks as empty temporary tables, which only this connection sees."""
    present = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table, columns in _LATER.items():
        if table not in present:
            connection.execute(f"CREATE TEMP TABLE {table} ({columns})")
