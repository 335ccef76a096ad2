"""Changing a knowledge base: all of a change or nothing of it, and whoever has it open goes on undisturbed.

A published database is never written again. A change is made in a copy, which becomes `kb-REVISION.sqlite`; the
manifest that names it then takes the place of the old one in a single step, and the old database is removed. A process
that is killed leaves the old state or the new one, and perhaps files that nobody names: the next change removes them.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dualway.errors import KnowledgeBaseError, StorageError
from dualway.kb.manifest import MANIFEST, Manifest, database_of, read_manifest, write_manifest
from dualway.kb.migrations import SCHEMA_VERSION, migrate
from dualway.kb.records import add_hash, clean, content_fingerprint, content_hash, format_total, remove_hash
from dualway.kb.roots import PictureRoots, absolute, describe_roots
from dualway.kb.rows import PARTS, Row, count_all, insert, part_rows, read_entity
from dualway.kb.store import KnowledgeBase
from dualway.kb.writer import force_to_disk, sqlite_errors
from dualway.schema import Entity
from dualway.storage import storage_errors

LOCK = ".lock"

_OURS = re.compile(rf"kb(-\d+)?\.(sqlite|work)(-journal|-wal|-shm)?|\.{re.escape(MANIFEST)}\..*\.tmp")


@contextmanager
def changing(path: Path | str) -> Generator[Change]:
    """Yield a change of the knowledge base in the folder `path`; it is published when the block ends without an error.

    A change that changes nothing makes no revision. What a killed process left behind is removed in any case.

    Raises:
        KnowledgeBaseError: Missing, damaged, or written by a newer version.
        StorageError: Another process is changing it, the disk is full, the folder is read-only.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "kb"
        >>> KnowledgeBase.create(folder, [Entity("Q1", "Universe")]).close()
        >>> with changing(folder) as change:
        ...     change.update(replace(change.entity("Q1"), aliases=("Cosmos",)))
        True
        >>> with KnowledgeBase.open(folder) as kb:
        ...     kb.revision, kb.aliases
        (2, [('Cosmos',)])
    """
    folder = Path(path)
    KnowledgeBase.open(folder).close()  # before a lock is put into a folder that is something else
    with _only_writer(folder):
        with KnowledgeBase.open(folder) as kb:
            manifest, roots = kb.manifest, kb.picture_roots
        _remove_all_but(folder, manifest.database)
        working = folder / f"kb-{manifest.revision + 1}.work"
        try:
            with sqlite_errors(folder), closing(_copy(folder / manifest.database, working)) as connection:
                change = Change(folder, manifest, roots, connection)
                yield change
                if not change.is_made:
                    return
                changed = change.complete()
                if change.is_erasure:  # a fresh file: pages of the copy may still hold what was erased
                    connection.execute("VACUUM INTO ?", (str(folder / changed.database),))
            if not change.is_erasure:
                working.rename(folder / changed.database)
            _publish(folder, manifest.database, changed)
        finally:
            _remove_all_but(folder, read_manifest(folder).database)


class Change:
    """What is being changed, in a copy that nobody else sees yet. Made by `changing`."""

    def __init__(self, folder: Path, manifest: Manifest, roots: PictureRoots, connection: sqlite3.Connection) -> None:
        self._folder, self._manifest, self._connection = folder, manifest, connection
        self.picture_roots = roots
        self.revision = manifest.revision + 1  # what this will be, if it changes anything
        self.is_made = False
        self.is_erasure = False
        self._what: list[str] = []
        self._total = int(self._fetch("SELECT content FROM revisions ORDER BY number DESC LIMIT 1")[0][0], 16)

    def describe(self, what: str) -> None:
        """Say for people what is changed: in counts, as what is said here stays even when a person is erased."""
        self._what.append(what)

    def entity(self, entity_id: str) -> Entity:
        """Return a record as it is now.

        Raises:
            KnowledgeBaseError: No entity has this id.
        """
        row, name, _ = self._find(entity_id)
        return read_entity(self._fetch, row, entity_id, name)

    def update(self, entity: Entity) -> bool:
        """Put a record in place of the one that has its id; False when it says the same.

        Raises:
            DataError: It has no name, or a kind of text that is no word.
            KnowledgeBaseError: No entity has this id, or its pictures were erased and it has some again.
        """
        row, name, old_hash = self._find(entity.id)
        old, new = read_entity(self._fetch, row, entity.id, name), clean(entity)
        if new == old:
            return False
        if new.pictures and self.is_erased(new.id):
            raise KnowledgeBaseError(
                f"{self._folder}: the pictures of {new.id!r} were erased and none are taken; --admit {new.id} allows it"
            )
        new_hash = content_hash(new)
        before, after = part_rows(row, old), part_rows(row, new)
        for table in PARTS:
            if before[table] != after[table]:
                self._execute(f"DELETE FROM {table} WHERE entity = ?", row)
                insert(self._connection, table, after[table])
        self._execute("UPDATE entities SET name = ?, hash = ? WHERE row = ?", new.name, new_hash, row)
        self._total = add_hash(remove_hash(self._total, old_hash), new_hash)
        self._touch(row)
        return True

    def keep_out(self, entity_id: str) -> bool:
        """Keep an entity's pictures from being compared with anything; False when they are already."""
        row, *_ = self._find(entity_id)
        if self._fetch("SELECT 1 FROM kept_out WHERE id = ?", entity_id):
            return False
        return self._flag(row, entity_id, erased=0)

    def erase(self, entity_id: str) -> tuple[str, ...]:
        """Remove an entity's pictures so that no byte of them stays in the folder, and take none from now on.

        Returns their paths. The files that they lead to are not touched.
        """
        row, *_ = self._find(entity_id)
        record = self.entity(entity_id)
        self.update(replace(record, pictures=()))
        if not self.is_erased(entity_id):
            self.is_erasure = self._flag(row, entity_id, erased=1)
        return tuple(picture.path for picture in record.pictures)

    def admit(self, entity_id: str) -> bool:
        """Undo `keep_out` and what `erase` decided for the future; False when there is nothing to undo."""
        found = self._fetch("SELECT row FROM entities WHERE id = ?", entity_id)
        if not self._execute("DELETE FROM kept_out WHERE id = ?", entity_id).rowcount:
            return False
        self._touch(*(row for (row,) in found))
        return True

    def is_erased(self, entity_id: str) -> bool:
        """Tell whether an entity's pictures were erased, so that none are taken."""
        return bool(self._fetch("SELECT 1 FROM kept_out WHERE id = ? AND erased", entity_id))

    def has_picture(self, path: str) -> bool:
        """Tell whether an entity has a picture that is stored under this path."""
        return bool(self._fetch("SELECT 1 FROM pictures WHERE path = ? LIMIT 1", path))

    def add_picture_root(self, folder: Path) -> None:
        """Let picture paths lead to `folder`; while there are no pictures at all, relative paths start there."""
        folder = absolute(folder)
        stated, ways = self._manifest.picture_root, dict(self._manifest.picture_roots)
        if not self._fetch("SELECT 1 FROM pictures LIMIT 1"):
            stated, ways = str(folder), {}
        elif self.picture_roots.stored(folder) is not None:
            return
        self._set_roots(stated, ways | describe_roots(self._folder, [folder]))

    def complete(self) -> Manifest:
        """Complete the revision, close the transaction, and return its manifest."""
        self._forget_unused_roots()
        total, now = format_total(self._total), datetime.now(UTC).isoformat(timespec="seconds")
        what = "; ".join(self._what) or "changed"
        self._execute("INSERT INTO revisions VALUES (?, ?, ?, ?)", self.revision, now, what, total)
        self._execute("COMMIT")
        return replace(
            self._manifest,
            schema=SCHEMA_VERSION,
            content=content_fingerprint(total),
            revision=self.revision,
            counts=count_all(self._connection, self._manifest.representation),
            database=database_of(self.revision),
        )

    def _forget_unused_roots(self) -> None:
        """Drop the folders of pictures that are gone; a folder may be named after a person."""
        ways = {
            stated: way
            for stated, way in self._manifest.picture_roots.items()
            if stated == self._manifest.picture_root or any(map(self._is_used, self.picture_roots.prefixes(stated)))
        }
        self._set_roots(self._manifest.picture_root, ways)

    def _is_used(self, prefix: str) -> bool:
        end = prefix[:-1] + "0"  # the character after "/"
        return bool(self._fetch("SELECT 1 FROM pictures WHERE path >= ? AND path < ? LIMIT 1", prefix, end))

    def _set_roots(self, stated: str, ways: dict[str, str]) -> None:
        self._manifest = replace(self._manifest, picture_root=stated, picture_roots=ways)
        self.picture_roots = PictureRoots(self._folder, stated, ways)

    def _find(self, entity_id: str) -> tuple[int, str, bytes]:
        found = self._fetch("SELECT row, name, hash FROM entities WHERE id = ?", entity_id)
        if not found:
            raise KnowledgeBaseError(f"{self._folder}: no entity has the id {entity_id!r}")
        return found[0]

    def _flag(self, row: int, entity_id: str, *, erased: int) -> bool:
        self._execute("REPLACE INTO kept_out VALUES (?, ?, ?)", entity_id, erased, self.revision)
        self._touch(row)
        return True

    def _touch(self, *rows: int) -> None:
        """Say that the entities in these rows have changed, so that what follows the knowledge base looks at them."""
        for row in rows:
            self._execute("UPDATE entities SET revision = ? WHERE row = ?", self.revision, row)
        self.is_made = True

    def _fetch(self, query: str, *values: Any) -> list[Row]:
        return self._execute(query, *values).fetchall()

    def _execute(self, query: str, *values: Any) -> sqlite3.Cursor:
        return self._connection.execute(query, values)


@contextmanager
def _only_writer(folder: Path) -> Generator[None]:
    """Hold the folder's lock; the system takes it from a process that dies."""
    import fcntl  # there is none on Windows, where knowledge bases can still be built and read

    with storage_errors(folder):
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"{folder}: another process is changing this knowledge base; run again when it has ended"
            ) from error
        yield
    finally:
        os.close(handle)


def _copy(database: Path, working: Path) -> sqlite3.Connection:
    """Return a connection to a copy of the database, brought to the current schema, in an open transaction."""
    # The copy is thrown away on any failure, so it needs no journal of its own.
    connection = sqlite3.connect(working, isolation_level=None)
    try:
        connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA secure_delete = ON; "
            "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536;"
        )
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as source:
            source.backup(connection)
        migrate(connection)
        connection.execute("BEGIN")
    except BaseException:
        connection.close()
        raise
    return connection


def _publish(folder: Path, old: str, manifest: Manifest) -> None:
    """Let the manifest name the new database, once the disk has it."""
    with storage_errors(folder):
        shutil.copymode(folder / old, folder / manifest.database)
        force_to_disk(folder / manifest.database)
        _force_folder_to_disk(folder)
    write_manifest(folder, manifest)
    with storage_errors(folder):
        _force_folder_to_disk(folder)  # the old database may go only now


def _remove_all_but(folder: Path, database: str) -> None:
    """Remove databases that the manifest does not name, and what a killed process was writing."""
    with storage_errors(folder):
        for path in folder.iterdir():
            if _OURS.fullmatch(path.name) and path.name != database:
                path.unlink()


def _force_folder_to_disk(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such thing
            raise
    finally:
        os.close(handle)
