"""The working database of a build from a dump: what was taken from its items, and how far that has come.

What is read of a block of the dump and the position after it are written in one transaction. A process that is killed
leaves the state after some block, and the next goes on from there as if nothing had happened.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from dualway.datasets.base import ReadReport, Tally
from dualway.sources.wikidata_classes import ItemSet

# Labels of all items of the dump; what was taken of those that are wanted; which class is a subclass of which.
_TABLES = """
    CREATE TABLE labels (number INTEGER PRIMARY KEY, label TEXT NOT NULL);
    CREATE TABLE items (number INTEGER PRIMARY KEY, digest BLOB NOT NULL);
    CREATE TABLE subclasses (
        parent INTEGER NOT NULL,
        child  INTEGER NOT NULL,
        PRIMARY KEY (parent, child)
    ) WITHOUT ROWID;
    CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
# A rollback journal holds only pages that were there before: there are few of them where rows are mostly appended.
PRAGMAS = "PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -32768;"
_EXAMPLES = 3
_IN_A_QUERY = 500

_SUBCLASSES = """
    WITH RECURSIVE below (number) AS (
        SELECT value FROM json_each(?)
        UNION
        SELECT child FROM subclasses JOIN below ON parent = number
    )
    SELECT number FROM below ORDER BY number
"""


class Position(NamedTuple):
    """How far a pass over the dump has come: decompressed bytes, and the number of the next line."""

    position: int = 0
    line: int = 1
    done: bool = False


class Staging:
    """A working database, made where it is missing. One process writes; others may read while nobody does."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.executescript(PRAGMAS)
        if not self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone():
            self._connection.executescript(f"BEGIN; {_TABLES} COMMIT;")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def begin(self) -> None:
        """Begin a transaction; what is not committed is lost when the process ends."""
        self._connection.execute("BEGIN")

    def commit(self, name: str, position: Position, report: ReadReport) -> None:
        """Commit what was added since `begin`, with how far the pass `name` has come and what it reports."""
        for key, value in ((name, position), (f"{name} report", report.to_dict())):
            self._connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, json.dumps(value)))
        self._connection.execute("COMMIT")

    def position(self, name: str) -> Position:
        """Return how far a pass has come."""
        value = self._state(name)
        return Position(*value) if value else Position()

    def restore(self, name: str, report: ReadReport) -> None:
        """Add to a report what a pass has reported so far."""
        value = self._state(f"{name} report")
        if value:
            merge(report, value)

    def add_labels(self, rows: Sequence[tuple[int, str]]) -> None:
        """Add labels; of an item that comes twice, the first stays."""
        self._connection.executemany("INSERT OR IGNORE INTO labels VALUES (?, ?)", rows)

    def add_items(self, rows: Sequence[tuple[int, bytes]]) -> list[int]:
        """Add what was taken of items; return the numbers of those that were there already, whose first stays."""
        self._connection.execute("SAVEPOINT items")
        try:
            self._connection.executemany("INSERT INTO items VALUES (?, ?)", rows)
            return []
        except sqlite3.IntegrityError:
            self._connection.execute("ROLLBACK TO items")
            insert = "INSERT OR IGNORE INTO items VALUES (?, ?)"
            return [row[0] for row in rows if not self._connection.execute(insert, row).rowcount]
        finally:
            self._connection.execute("RELEASE items")

    def add_subclasses(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Add (class, the class that it is a subclass of)."""
        insert = "INSERT OR IGNORE INTO subclasses (child, parent) VALUES (?, ?)"
        self._connection.executemany(insert, pairs)

    def with_subclasses(self, classes: Sequence[int]) -> ItemSet:
        """Return classes and all that are below them."""
        return ItemSet(number for (number,) in self._connection.execute(_SUBCLASSES, (json.dumps(classes),)))

    def num_items(self) -> int:
        """Return how many items are wanted."""
        return int(self._connection.execute("SELECT COUNT(*) FROM items").fetchone()[0])

    def slices(self, start: int, size: int) -> Iterator[tuple[int, int, int]]:
        """Yield (row, first number, last number) of `size` items each, in the order of numbers, from row `start` on."""
        row, last = start, self._number_at(start - 1) if start else 0
        while True:
            query = "SELECT number FROM items WHERE number > ? ORDER BY number LIMIT ?"
            numbers = [number for (number,) in self._connection.execute(query, (last, size))]
            if not numbers:
                return
            yield row, numbers[0], numbers[-1]
            row, last = row + len(numbers), numbers[-1]

    def _number_at(self, row: int) -> int:
        query = "SELECT number FROM items ORDER BY number LIMIT 1 OFFSET ?"
        return int(self._connection.execute(query, (row,)).fetchone()[0])

    def _state(self, name: str) -> Any:
        row = self._connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None


class StagingReader:
    """Reads a working database that nobody writes.

    Args:
        path: The database.
        most_labels: That are kept in memory.
    """

    def __init__(self, path: Path, most_labels: int = 100_000) -> None:
        self._connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        self._labels: dict[str, str] = {}
        self._most_labels = most_labels

    def items(self, first: int, last: int) -> list[tuple[int, bytes]]:
        """Return what was taken of the items from one number to another, in their order."""
        query = "SELECT number, digest FROM items WHERE number BETWEEN ? AND ? ORDER BY number"
        return self._connection.execute(query, (first, last)).fetchall()

    def labels(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return the labels of items, "" where there is none; there may be others among them."""
        missing = [item_id for item_id in ids if item_id not in self._labels]
        if len(self._labels) + len(missing) > self._most_labels:
            self._labels.clear()
            missing = list(ids)
        self._labels.update(dict.fromkeys(missing, ""))
        numbers = sorted({int(item_id[1:]) for item_id in missing})
        for place in range(0, len(numbers), _IN_A_QUERY):
            part = ",".join(map(str, numbers[place : place + _IN_A_QUERY]))
            rows = self._connection.execute(f"SELECT number, label FROM labels WHERE number IN ({part})")
            self._labels.update((f"Q{number}", label) for number, label in rows)
        return self._labels


def merge(report: ReadReport, values: dict[str, Any]) -> None:
    """Add to a report what another one says, as `ReadReport.to_dict` gives it."""
    report.counts.update(values["counts"])
    for name in ("repaired", "dropped", "notes"):
        tallies: dict[str, Tally] = getattr(report, name)
        for reason, part in values[name].items():
            tally = tallies.setdefault(reason, Tally())
            tally.count += part["count"]
            examples = [(example["id"], example["text"]) for example in part["examples"]]
            tally.examples += examples[: _EXAMPLES - len(tally.examples)]
