"""One SQLite file of the vectors of a knowledge base's pictures, by the pictures' content; and erasing people from it.

The file may be deleted at any time: it is made again. Several processes may use it at once. Deleted content is
overwritten (SQLite's secure_delete). Nothing is written for a knowledge base that has been changed in the meantime, so
a process that began before a person was erased does not bring her vectors back.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from dualway.errors import DualwayError, StorageError
from dualway.kb.manifest import read_manifest
from dualway.schema import FloatArray

if TYPE_CHECKING:
    from dualway.kb.store import KnowledgeBase

FOLDER = "gallery"  # in the knowledge base's folder
_APPLICATION = 0x64_77_67_6C  # "dwgl": what SQLite calls the file's application id
_VERSION = 1
_QUERY = 500  # values a query, below SQLite's limit on variables
_WAIT_S = 60.0  # for another process
_TABLES = (
    "CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS pictures (entity TEXT, path TEXT, size INTEGER, changed INTEGER, content BLOB, "
    "PRIMARY KEY (entity, path)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS vectors (content BLOB PRIMARY KEY, vector BLOB, problem TEXT) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS by_content ON pictures (content)",
)
_ORPHANED = "DELETE FROM vectors WHERE content NOT IN (SELECT content FROM pictures)"


_Value = TypeVar("_Value")


class Stamp(NamedTuple):
    """A picture's file as it was when it was last read: size, time of change in ns, and SHA-256 of its content."""

    size: int
    changed: int
    content: bytes


class Embedded(NamedTuple):
    """What a picture came to: its vector, float32 [dim]; or why there is none."""

    vector: FloatArray | None
    problem: str = ""


# A picture of an entity: the entity's id, and the picture's path as the knowledge base has it.
Key = tuple[str, str]


class GalleryFile:
    """The kept vectors of one embedder. Made by `open_file`; close it.

    `kept`: whether what is added stays. Where it cannot be written (a read-only folder, a full disk, a knowledge base
    that was changed meanwhile) all goes on in memory.
    """

    def __init__(
        self, connection: sqlite3.Connection, dim: int, *, kept: bool, is_current: Callable[[], bool] = lambda: True
    ) -> None:
        self._dim, self.kept, self._is_current = dim, kept, is_current
        self._use(connection)

    def stamps(self, entities: Iterable[str]) -> dict[Key, Stamp]:
        """Return what is known of the files of some entities' pictures."""
        found: dict[Key, Stamp] = {}
        for part in _parts(list(dict.fromkeys(entities))):
            query = f"SELECT entity, path, size, changed, content FROM pictures WHERE entity IN ({_marks(part)})"
            for entity, path, *stamp in self._connection.execute(query, part):
                found[entity, path] = Stamp(*stamp)
        return found

    def embedded(self, contents: Iterable[bytes]) -> dict[bytes, Embedded]:
        """Return what is known of some contents; a damaged vector is not."""
        found: dict[bytes, Embedded] = {}
        for part in _parts(list(dict.fromkeys(contents))):
            query = f"SELECT content, vector, problem FROM vectors WHERE content IN ({_marks(part)})"
            for content, vector, problem in self._connection.execute(query, part):
                if vector is None and problem:
                    found[content] = Embedded(None, str(problem))
                elif (read := _read_vector(vector, self._dim)) is not None:
                    found[content] = Embedded(read)
        return found

    def add(self, stamps: Mapping[Key, Stamp], embedded: Mapping[bytes, Embedded]) -> None:
        """Keep what was found, at once."""
        if not stamps and not embedded:
            return
        pictures = [(*key, *stamp) for key, stamp in stamps.items()]
        vectors = [
            (content, None if found.vector is None else found.vector.astype("<f4").tobytes(), found.problem)
            for content, found in embedded.items()
        ]

        def write() -> None:
            self._connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", vectors)
            self._connection.executemany("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?, ?)", pictures)

        self._change(write)

    def mark(self, keys: Iterable[Key]) -> None:
        """Say that the knowledge base has these pictures; `remove_unmarked` removes the others."""
        if not self._seen:
            self._connection.execute("CREATE TEMP TABLE seen (entity, path, PRIMARY KEY (entity, path)) WITHOUT ROWID")
            self._seen = True
        with self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO temp.seen VALUES (?, ?)", keys)

    def remove_unmarked(self) -> None:
        """Remove what the knowledge base no longer has, and vectors that no picture has."""
        self.mark(())
        gone = "FROM pictures WHERE (entity, path) NOT IN (SELECT entity, path FROM temp.seen)"
        orphans = "SELECT 1 FROM vectors WHERE content NOT IN (SELECT content FROM pictures) LIMIT 1"
        if not self._connection.execute(f"SELECT 1 {gone} UNION ALL SELECT * FROM ({orphans}) LIMIT 1").fetchone():
            return

        def write() -> None:
            self._connection.execute(f"DELETE {gone}")
            self._connection.execute(_ORPHANED)

        self._change(write)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _change(self, write: Callable[[], None]) -> None:
        if self.kept:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                if self._is_current():  # asked while nobody else can write: whoever erases comes before or after
                    write()
                    self._connection.execute("COMMIT")
                    return
                self._connection.execute("ROLLBACK")
            except sqlite3.OperationalError:  # full, read-only, or held for too long by another process
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            self._go_on_in_memory()
        with self._connection:
            write()

    def _go_on_in_memory(self) -> None:
        marked = list(self._connection.execute("SELECT entity, path FROM temp.seen")) if self._seen else []
        memory = _copy_to_memory(self._connection)
        self._connection.close()
        self.kept = False
        self._use(memory)
        self.mark(marked)

    def _use(self, connection: sqlite3.Connection) -> None:
        connection.text_factory = _decode  # what another program put there is not trusted to be text
        self._connection, self._seen = connection, False


def open_file(
    kb: KnowledgeBase, fingerprint: str, dim: int, about: Mapping[str, str], *, keep: bool = True
) -> GalleryFile:
    """Open the kept vectors of an embedder, and make their file where there is none or it is damaged.

    Args:
        kb: The knowledge base whose pictures they are; nothing is written once its folder holds another state of it.
        fingerprint: The embedder's, which names the file.
        dim: Width of its vectors.
        about: What the file says of itself.
        keep: False writes nothing: what is kept is read, and all else stays in memory.
    """
    folder, state = kb.path, (kb.revision, kb.fingerprint.content)
    path = folder / FOLDER / f"{fingerprint}.sqlite"
    if keep and _state(folder) == state and (connection := _open_to_write(path, about)) is not None:
        return GalleryFile(connection, dim, kept=True, is_current=lambda: _state(folder) == state)
    return GalleryFile(_read_to_memory(path), dim, kept=False)


def erase(kb_path: Path | str, entity_ids: Sequence[str]) -> int:
    """Remove entities' vectors from every gallery of a knowledge base, and return how many there were.

    To be called after the knowledge base itself says that they are erased. Files are compacted; one that is damaged is
    removed as a whole. A picture that another entity has too keeps its vector as that entity's.

    Raises:
        StorageError: A file cannot be written, or another process holds it: the vectors are still there.
    """
    folder = Path(kb_path) / FOLDER
    if not folder.is_dir():
        return 0
    return sum(_erase_from(path, list(dict.fromkeys(entity_ids))) for path in sorted(folder.glob("*.sqlite")))


def _erase_from(path: Path, entity_ids: list[str]) -> int:
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)) as connection:
            application, version = _marks_of(connection)
            if application != _APPLICATION:
                return 0
            if version != _VERSION:
                raise sqlite3.DatabaseError("of another version, which nobody reads")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("BEGIN IMMEDIATE")
            num_removed = 0
            for part in _parts(entity_ids):
                where = f"FROM pictures WHERE entity IN ({_marks(part)})"
                having = f"SELECT COUNT(*) {where} AND content IN (SELECT content FROM vectors WHERE vector NOT NULL)"
                num_removed += connection.execute(having, part).fetchone()[0]
                connection.execute(f"DELETE {where}", part)
            connection.execute(_ORPHANED)
            connection.execute("COMMIT")
            connection.execute("VACUUM")
            return int(num_removed)
    except sqlite3.OperationalError as error:
        raise StorageError(
            f"{path}: vectors cannot be erased ({error}); check permission and space, close what uses the file, "
            "and run again"
        ) from error
    except sqlite3.DatabaseError:
        _remove(path)
        return 0


def _open_to_write(path: Path, about: Mapping[str, str]) -> sqlite3.Connection | None:
    """Return the file opened for writing, made anew where it is damaged or none of ours; None: it cannot be written."""
    for attempt in range(2):
        try:
            path.parent.mkdir(exist_ok=True)
            if not os.access(path.parent, os.W_OK):
                return None
            connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
            try:
                _prepare(connection, about)
                return connection
            except BaseException:
                connection.close()
                raise
        except (sqlite3.OperationalError, OSError):
            return None
        except sqlite3.DatabaseError:
            if attempt or not _remove_quietly(path):
                return None
    return None


def _prepare(connection: sqlite3.Connection, about: Mapping[str, str]) -> None:
    """Make the tables of a new file.

    Raises:
        sqlite3.DatabaseError: It is damaged, of another version, or another program's.
    """
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    if _is_empty(connection):
        connection.execute("BEGIN IMMEDIATE")
        if _is_empty(connection):  # another process may have been faster
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
            _make_tables(connection)
            connection.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        connection.execute("COMMIT")
    if not _is_sound(connection):
        raise sqlite3.DatabaseError("not a gallery")


def _make_tables(connection: sqlite3.Connection) -> None:
    for statement in _TABLES:
        connection.execute(statement)


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]


def _is_sound(connection: sqlite3.Connection) -> bool:
    """Tell whether a file is a gallery of this version, and whole."""
    ours = _marks_of(connection) == (_APPLICATION, _VERSION)
    return ours and connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"


def _marks_of(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return which program's file it is, and of which version."""
    application, version = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("application_id", "user_version")
    )
    return application, version


def _read_to_memory(path: Path) -> sqlite3.Connection:
    """Return what a file holds, in memory; nothing where it is missing or damaged."""
    # Immutable: no lock and no journal, as nothing can be made beside the file.
    place = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(place, uri=True)) as connection:
        if _is_sound(connection):
            return _copy_to_memory(connection)
    return _copy_to_memory(None)


def _copy_to_memory(source: sqlite3.Connection | None) -> sqlite3.Connection:
    memory = sqlite3.connect(":memory:", isolation_level=None)
    if source is not None:
        source.backup(memory)
    _make_tables(memory)
    return memory


def _state(folder: Path) -> tuple[int, str] | None:
    """Return which state of a knowledge base is in its folder; None where there is none."""
    try:
        manifest = read_manifest(folder)
    except DualwayError:
        return None
    return manifest.revision, manifest.fingerprint.content


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _read_vector(value: object, dim: int) -> FloatArray | None:
    if not isinstance(value, bytes) or len(value) != 4 * dim:
        return None
    vector = np.frombuffer(value, dtype="<f4").astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        return vector if abs(float(np.linalg.norm(vector)) - 1) < 1e-3 else None  # False where not finite


def _remove(path: Path) -> None:
    try:
        for name in (path.name, f"{path.name}-journal"):
            path.with_name(name).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: damaged, and cannot be removed ({error.strerror}); remove it by hand") from error


def _remove_quietly(path: Path) -> bool:
    try:
        _remove(path)
    except StorageError:
        return False
    return True


def _parts(values: Sequence[_Value]) -> list[list[_Value]]:
    return [list(values[start : start + _QUERY]) for start in range(0, len(values), _QUERY)]


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
