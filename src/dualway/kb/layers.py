"""A knowledge base in two files: a base, and beside it a small delta with what was changed since.

Neither is written again once it is published. The delta holds whole records that were added or changed, and the rows of
the base that are no longer valid, so that a change costs as much as the delta is long, not as the knowledge base is. A
connection to both sees them as one: temporary views stand in the place of the tables.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from dualway.kb.migrations import migrate
from dualway.kb.rows import PARTS

SMALL = 4 << 20  # bytes of a base that is written anew by every change: that is as fast, and one file is simpler
LONGEST = 8 << 20  # bytes of a delta, beyond which it is taken into the base: each change copies it

# How many entities base and delta have together, without joining them.
COUNT_OF_TWO = (
    "SELECT (SELECT COUNT(*) FROM main.entities) - (SELECT COUNT(*) FROM delta.touched) "
    "+ (SELECT COUNT(*) FROM delta.entities)"
)

_KEYS = {"entities": "row"} | dict.fromkeys(PARTS, "entity")
_DELTA = """
    CREATE TABLE touched (row INTEGER PRIMARY KEY);  -- of the base: changed or removed since
"""


def join(connection: sqlite3.Connection, *, base: str, delta: str) -> None:
    """Let the names of tables mean base and delta together, for reading; `base` and `delta` are the schemas' names."""
    for table, key in _KEYS.items():
        connection.execute(
            f"CREATE TEMP VIEW {table} AS SELECT * FROM {base}.{table} WHERE {key} NOT IN (SELECT row FROM "
            f"{delta}.touched) UNION ALL SELECT * FROM {delta}.{table}"
        )
    for table in ("revisions", "history"):
        connection.execute(
            f"CREATE TEMP VIEW {table} AS SELECT * FROM {base}.{table} UNION ALL SELECT * FROM {delta}.{table}"
        )
    connection.execute(f"CREATE TEMP VIEW kept_out AS SELECT * FROM {delta}.kept_out")


def attach(connection: sqlite3.Connection, path: Path, schema: str) -> None:
    """Attach a database that is only read."""
    connection.execute(f"ATTACH ? AS {schema}", (f"{path.resolve().as_uri()}?mode=ro",))


def open_delta(path: Path, base: Path, *, is_new: bool) -> sqlite3.Connection:
    """Return a connection that writes the delta at `path` (a copy, or a new one) and reads it with the base."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}", uri=True, isolation_level=None)
    try:
        # Thrown away on any failure, so it needs no journal of its own.
        connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA secure_delete = ON; "
            "PRAGMA temp_store = MEMORY;"
        )
        if is_new:
            migrate(connection)
            connection.executescript(_DELTA)
        attach(connection, base, "base")
        if is_new:
            connection.execute("INSERT INTO main.kept_out SELECT * FROM base.kept_out")
        join(connection, base="base", delta="main")
        connection.execute("BEGIN")
    except BaseException:
        connection.close()
        raise
    return connection


def copy_database(source: Path, target: Path) -> sqlite3.Connection:
    """Return a connection to a copy of a base, brought to the current schema."""
    # The copy is thrown away on any failure, so it needs no journal of its own.
    connection = sqlite3.connect(target, isolation_level=None, uri=False)
    try:
        connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA secure_delete = ON; "
            "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536;"
        )
        with closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as original:
            original.backup(connection)
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def take_in(connection: sqlite3.Connection, delta: Path) -> None:
    """Put what a delta holds into a copy of its base, in one transaction."""
    connection.execute("ATTACH ? AS delta", (str(delta.resolve()),))
    connection.execute("BEGIN")
    for table, key in _KEYS.items():
        connection.execute(f"DELETE FROM main.{table} WHERE {key} IN (SELECT row FROM delta.touched)")
        connection.execute(f"INSERT INTO main.{table} SELECT * FROM delta.{table}")
    connection.execute("DELETE FROM main.kept_out")
    for table in ("kept_out", "revisions", "history"):
        connection.execute(f"INSERT INTO main.{table} SELECT * FROM delta.{table}")
    connection.execute("COMMIT")
    connection.execute("DETACH delta")


def write_whole(connection: sqlite3.Connection, target: Path) -> None:
    """Write what a reading connection sees, base and delta if it has one, as one database without gaps."""
    working, delta = target.with_suffix(".work"), target.with_suffix(".delta.work")
    has_delta = any(name == "delta" for _, name, _ in connection.execute("PRAGMA database_list"))
    with closing(sqlite3.connect(working, isolation_level=None)) as copy:
        copy.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        connection.backup(copy)
        migrate(copy)
        if has_delta:
            with closing(sqlite3.connect(delta)) as part:
                connection.backup(part, name="delta")
            take_in(copy, delta)
            delta.unlink()
        copy.execute("VACUUM INTO ?", (str(target),))
    working.unlink()
