"""Changing a knowledge base: all of a change or nothing of it, and whoever has it open goes on undisturbed.

A published file is never written again. A change is made in a copy of the delta (`layers`), or, where the base is
small, the delta has become long, or something is erased, in a copy of the base that takes in the delta. The manifest
that names the new files then takes the place of the old one in a single step, and the old files are removed. A process
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

from dualway.errors import KnowledgeBaseError
from dualway.kb import layers
from dualway.kb.history import to_json, without_pictures
from dualway.kb.manifest import MANIFEST, Manifest, database_of, delta_of, read_manifest, write_manifest
from dualway.kb.migrations import SCHEMA_VERSION
from dualway.kb.records import (
    add_hash,
    clean,
    compatibility_fingerprint,
    content_fingerprint,
    content_hash,
    format_total,
    remove_hash,
)
from dualway.kb.roots import PictureRoots, absolute, describe_roots
from dualway.kb.rows import PARTS, Row, insert, part_rows, read_entity, require_kinds
from dualway.kb.store import KnowledgeBase
from dualway.kb.tally import Tally
from dualway.kb.writer import force_to_disk, sqlite_errors
from dualway.schema import Entity
from dualway.storage import locked, storage_errors

LOCK = ".lock"

_NUMBERED = ("base.entities", "main.entities", "main.touched")  # whose rows are never given again

_OURS = re.compile(
    rf"kb(-\d+)?\.(delta\.sqlite|delta\.work|base\.work|sqlite|work)(-journal|-wal|-shm)?|\.{re.escape(MANIFEST)}\..*\.tmp"
)


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
    with only_writer(folder):
        manifest = read_manifest(folder)
        _remove_all_but(folder, manifest)
        try:
            with sqlite_errors(folder):
                yield from _change(folder, manifest)
        finally:
            _remove_all_but(folder, read_manifest(folder))


@contextmanager
def only_writer(folder: Path) -> Generator[None]:
    """Hold the lock of a knowledge base's folder.

    Raises:
        StorageError: Another process has it.
    """
    with locked(folder / LOCK, f"{folder}: another process is changing this knowledge base"):
        yield


def left_behind(folder: Path, manifest: Manifest) -> list[Path]:
    """Return the files of a folder that only a process that was killed can have left."""
    return [
        path
        for path in sorted(folder.iterdir())
        if _OURS.fullmatch(path.name) and path.name not in (manifest.database, manifest.delta)
    ]


class Change:
    """What is being changed, in a copy that nobody else sees yet. Made by `changing`."""

    def __init__(self, folder: Path, manifest: Manifest, connection: sqlite3.Connection) -> None:
        self._folder, self._manifest, self._connection = folder, manifest, connection
        self.picture_roots = PictureRoots(folder, manifest.picture_root, manifest.picture_roots)
        self.revision = manifest.revision + 1  # what this will be, if it changes anything
        self.is_made = False
        self.is_erasure = False  # a fresh file is made: pages of a copy may still hold what was erased
        self.is_rewrite = False  # the delta is taken into the base
        self._what: list[str] = []
        self._without_pictures: list[str] = []  # ids whose pictures leave the history too
        self._forgotten: list[str] = []  # ids that leave the history
        self._total = int(self._fetch("SELECT content FROM revisions ORDER BY number DESC LIMIT 1")[0][0], 16)
        self._tally = Tally(manifest.counts, manifest.representation, self._fetch)

    def describe(self, what: str) -> None:
        """Say for people what is changed: in counts, as what is said here stays even when a person is erased."""
        self._what.append(what)

    def __contains__(self, entity_id: object) -> bool:
        return bool(self._fetch("SELECT 1 FROM entities WHERE id = ?", entity_id))

    def entity(self, entity_id: str) -> Entity:
        """Return a record as it is now.

        Raises:
            KnowledgeBaseError: No entity has this id.
        """
        row, name, _ = self._find(entity_id)
        return read_entity(self._fetch, row, entity_id, name)

    def add(self, entity: Entity) -> None:
        """Add a record.

        Raises:
            DataError: It has no id or no name, or a kind of text that is no word.
            KnowledgeBaseError: An entity has this id already, or its pictures were erased and it has some again.
        """
        new = clean(entity)
        if new.id in self:
            raise KnowledgeBaseError(
                f"{self._folder}: an entity has the id {new.id!r} already; change it, or give homonyms ids of their own"
            )
        self._check_pictures(new)
        rows = [self._fetch(f"SELECT MAX(row) FROM {table}")[0][0] for table in _NUMBERED]
        row = max((row for row in rows if row is not None), default=-1) + 1
        self._remember(new.id, None)
        self._put(row, new)

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
        self._check_pictures(new)
        self._remember(new.id, old)
        self._take_out(row, old, old_hash)
        self._put(row, new)
        return True

    def remove(self, entity_id: str, *, erase: bool = False) -> Entity:
        """Remove a record, and return it.

        Args:
            entity_id: Its id.
            erase: No byte of it stays in the folder's databases, what it was earlier included.

        Raises:
            KnowledgeBaseError: No entity has this id.
        """
        row, name, old_hash = self._find(entity_id)
        old = read_entity(self._fetch, row, entity_id, name)
        self._take_out(row, old, old_hash)
        if erase:
            self._execute("DELETE FROM main.kept_out WHERE id = ?", entity_id)
            self.forget(entity_id)
        else:
            self._remember(entity_id, old)
        self.is_made = True
        return old

    def forget(self, entity_id: str) -> None:
        """Erase what the history says of an entity, of one that is no longer there too."""
        self._execute("DELETE FROM main.history WHERE id = ?", entity_id)
        self._forgotten.append(entity_id)
        self.is_made = self.is_erasure = True

    def keep_out(self, entity_id: str) -> bool:
        """Keep an entity's pictures from being compared with anything; False when they are already."""
        self._find(entity_id)
        if self._fetch("SELECT 1 FROM kept_out WHERE id = ?", entity_id):
            return False
        return self._flag(entity_id, erased=0)

    def erase(self, entity_id: str) -> tuple[str, ...]:
        """Remove an entity's pictures so that no byte of them stays in the folder, and take none from now on.

        Returns their paths. The files that they lead to are not touched.
        """
        record = self.entity(entity_id)
        self.update(replace(record, pictures=()))
        if not self.is_erased(entity_id):
            self._without_pictures.append(entity_id)
            self.is_erasure = self._flag(entity_id, erased=1)
        return tuple(picture.path for picture in record.pictures)

    def admit(self, entity_id: str) -> bool:
        """Undo `keep_out` and what `erase` decided for the future; False when there is nothing to undo."""
        if not self._execute("DELETE FROM main.kept_out WHERE id = ?", entity_id).rowcount:
            return False
        if entity_id in self:
            self._touch(entity_id)
        self.is_made = True
        return True

    def is_erased(self, entity_id: str) -> bool:
        """Tell whether an entity's pictures were erased, so that none are taken."""
        return bool(self._fetch("SELECT 1 FROM kept_out WHERE id = ? AND erased", entity_id))

    def has_picture(self, path: str) -> bool:
        """Tell whether an entity has a picture that is stored under this path."""
        return bool(self._fetch("SELECT 1 FROM pictures WHERE path = ? LIMIT 1", path))

    def represent(self, kinds: tuple[str, ...]) -> bool:
        """Choose the kinds of text that stand for an entity; False when they are chosen already.

        Raises:
            KnowledgeBaseError: No entity has a text of one of them.
        """
        present = {kind: n for kind, n in self._tally.result()["representations"].items() if n}
        chosen = require_kinds(present, kinds)
        if chosen == self._manifest.representation:
            return False
        self._manifest = replace(self._manifest, representation=chosen, compatibility=compatibility_fingerprint(chosen))
        marks = ", ".join("?" * len(chosen))
        (with_text,) = self._fetch(
            f"SELECT COUNT(DISTINCT entity) FROM representations WHERE kind IN ({marks})", *chosen
        )[0]
        self._tally.represent(chosen, int(with_text))
        self.is_made = True
        return True

    def rewrite(self) -> None:
        """Take the delta into the base, and make its file anew without gaps, even when nothing else is changed."""
        self.is_made = self.is_rewrite = self.is_erasure = True

    def forget_history(self) -> None:
        """Erase what all records were before; earlier revisions can no longer be told from the present one."""
        self._execute("DELETE FROM main.history")
        self._forgotten = ["*"]
        self.is_made = self.is_erasure = True

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
        self._execute("INSERT INTO main.revisions VALUES (?, ?, ?, ?)", self.revision, now, what, total)
        self._execute("COMMIT")
        return replace(
            self._manifest,
            schema=SCHEMA_VERSION,
            content=content_fingerprint(total),
            revision=self.revision,
            counts=self._tally.result(),
        )

    def clean_history(self, connection: sqlite3.Connection) -> None:
        """Erase from the history of a whole database what was asked to be erased."""
        if self._forgotten == ["*"]:
            connection.execute("DELETE FROM history")
            connection.execute("INSERT INTO history VALUES ('', ?, NULL)", (self.revision,))
            return
        connection.executemany("DELETE FROM history WHERE id = ?", [(i,) for i in self._forgotten])
        for entity_id in self._without_pictures:
            rows = connection.execute(
                "SELECT revision, before FROM history WHERE id = ? AND before IS NOT NULL", (entity_id,)
            ).fetchall()
            connection.executemany(
                "UPDATE history SET before = ? WHERE id = ? AND revision = ?",
                [(without_pictures(before), entity_id, revision) for revision, before in rows],
            )

    def _check_pictures(self, new: Entity) -> None:
        if new.pictures and self.is_erased(new.id):
            raise KnowledgeBaseError(
                f"{self._folder}: the pictures of {new.id!r} were erased and none are taken; --admit {new.id} allows it"
            )

    def _put(self, row: int, new: Entity) -> None:
        self._tally.enter(new)
        new_hash = content_hash(new)
        insert(self._connection, "entities", [(row, new.id, new.name, new_hash, self.revision)])
        for table, rows in part_rows(row, new).items():
            insert(self._connection, table, rows)
        self._total = add_hash(self._total, new_hash)
        self.is_made = True

    def _take_out(self, row: int, old: Entity, old_hash: bytes) -> None:
        self._execute("INSERT OR IGNORE INTO main.touched SELECT row FROM base.entities WHERE row = ?", row)
        self._execute("DELETE FROM main.entities WHERE row = ?", row)
        for table in PARTS:
            self._execute(f"DELETE FROM main.{table} WHERE entity = ?", row)
        self._total = remove_hash(self._total, old_hash)
        self._tally.leave(old)

    def _remember(self, entity_id: str, before: Entity | None) -> None:
        """Keep what the record was before this revision; a second change in it changes nothing about that."""
        text = None if before is None else to_json(before)
        self._execute("INSERT OR IGNORE INTO main.history VALUES (?, ?, ?)", entity_id, self.revision, text)

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

    def _flag(self, entity_id: str, *, erased: int) -> bool:
        self._execute("REPLACE INTO main.kept_out VALUES (?, ?, ?)", entity_id, erased, self.revision)
        self._touch(entity_id)
        return True

    def _touch(self, entity_id: str) -> None:
        """Say that an entity has changed, so that what follows the knowledge base looks at it."""
        row, name, old_hash = self._find(entity_id)
        record = read_entity(self._fetch, row, entity_id, name)
        self._take_out(row, record, old_hash)
        self._put(row, record)

    def _fetch(self, query: str, *values: Any) -> list[Row]:
        return self._execute(query, *values).fetchall()

    def _execute(self, query: str, *values: Any) -> sqlite3.Cursor:
        return self._connection.execute(query, values)


def _change(folder: Path, manifest: Manifest) -> Generator[Change]:
    """Yield the change, and publish what it made."""
    revision = manifest.revision + 1
    base = folder / manifest.database
    is_old = _is_old(base)
    if is_old:
        layers.copy_database(base, folder / f"kb-{revision}.base.work").close()
        base = folder / f"kb-{revision}.base.work"
    working = folder / f"kb-{revision}.delta.work"
    if manifest.delta:
        shutil.copyfile(folder / manifest.delta, working)
    with closing(layers.open_delta(working, base, is_new=not manifest.delta)) as connection:
        change = Change(folder, manifest, connection)
        yield change
        if not change.is_made:
            return
        changed = change.complete()
    if is_old or change.is_erasure or base.stat().st_size <= layers.SMALL or working.stat().st_size > layers.LONGEST:
        target = folder / database_of(revision)
        _make_base(base, working, target.with_suffix(".work"), target, change)
        changed = replace(changed, database=target.name, delta="")
    else:
        target = folder / delta_of(revision)
        working.rename(target)
        changed = replace(changed, delta=target.name)
    _publish(folder, folder / manifest.database, target, changed)


def _make_base(base: Path, delta: Path, working: Path, target: Path, change: Change) -> None:
    """Write a base that holds both; after something was erased a fresh one, as a copy's pages may still hold it."""
    with closing(layers.copy_database(base, working)) as connection:
        layers.take_in(connection, delta)
        if change.is_erasure:
            change.clean_history(connection)
            connection.execute("VACUUM INTO ?", (str(target),))
    if not change.is_erasure:
        working.rename(target)


def _is_old(base: Path) -> bool:
    with closing(sqlite3.connect(f"{base.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0]) < SCHEMA_VERSION


def _publish(folder: Path, old: Path, written: Path, manifest: Manifest) -> None:
    """Let the manifest name the new file, once the disk has it."""
    with storage_errors(folder):
        shutil.copymode(old, written)
        force_to_disk(written)
        _force_folder_to_disk(folder)
    write_manifest(folder, manifest)
    with storage_errors(folder):
        _force_folder_to_disk(folder)  # the old files may go only now


def _remove_all_but(folder: Path, manifest: Manifest) -> None:
    """Remove databases that the manifest does not name, and what a killed process was writing."""
    with storage_errors(folder):
        for path in left_behind(folder, manifest):
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
