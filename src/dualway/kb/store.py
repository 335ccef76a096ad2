"""A knowledge base in one folder: a database holds the records, `manifest.json` says which one, and what they are.

A database is never written again once it is published: a change makes a new one (`changes`). So none keeps a journal
beside it, a knowledge base opens from a read-only folder, opening one never writes, and what was opened stays as it is
while others change the folder. Records are read by row: 0 .. n-1, in the order in which the entities were given.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from dualway.errors import KnowledgeBaseError
from dualway.kb.history import EntityChange, differences
from dualway.kb.layers import COUNT_OF_TWO, attach, join, write_whole
from dualway.kb.manifest import Manifest, check_schema, read_manifest
from dualway.kb.migrations import complete_for_reading
from dualway.kb.records import add_hash, content_fingerprint, content_hash, format_total
from dualway.kb.roots import PictureRoots, absolute, describe_roots
from dualway.kb.rows import read_entity, require_kinds
from dualway.kb.writer import sqlite_errors, write_folder
from dualway.schema import Entity, Fingerprint, IntArray, Picture
from dualway.storage import atomic_folder

_PAGE = 10_000  # pictures read at once


@dataclass(frozen=True, slots=True)
class Revision:
    """One state of a knowledge base: the first is its build, each further one a change."""

    number: int
    time: str
    what: str
    content: str  # the sum of all record hashes


@dataclass(frozen=True, slots=True)
class PictureCounts:
    """How many pictures there are to compare with, and who is kept out."""

    entities: int  # with pictures, those kept out left out
    pictures: int  # of theirs
    without_licence: int  # of these
    kept_out: int  # entities whose pictures are compared with nothing
    kept_out_pictures: int  # that are there all the same
    erased: int  # of the entities kept out: those whose pictures were erased


class KnowledgeBase:
    """The entities that mentions are linked to, read from a folder. Make one with `create` or `open`.

    Names, ids, aliases and types are loaded when first asked for and kept; texts and whole records are read each time.
    May be shared between threads, and pickled: the copy opens the folder again, which must not have been changed.

    Example:
        >>> import tempfile
        >>> entities = [Entity("Q41351", "Jodie Foster"), Entity("Q42574", "Mel Gibson")]
        >>> with KnowledgeBase.create(Path(tempfile.mkdtemp()) / "kb", entities) as kb:
        ...     len(kb), kb.names[kb.row("Q42574")]
        (2, 'Mel Gibson')
    """

    def __init__(self, path: Path, manifest: Manifest, connection: sqlite3.Connection) -> None:
        self._path, self._manifest, self._connection = path, manifest, connection

    @classmethod
    def create(
        cls,
        path: Path | str,
        entities: Iterable[Entity],
        *,
        representation: Sequence[str] = (),
        source: str = "",
        picture_root: Path | str = "",
        more_picture_roots: Sequence[Path | str] = (),
        progress: Callable[[int], None] | None = None,
    ) -> KnowledgeBase:
        """Build a knowledge base and return it open; after any failure nothing is left at `path`.

        Args:
            path: The folder to make; it must not exist, or be empty.
            entities: The records, read once.
            representation: Kinds whose texts stand for an entity by default; all that are present when empty.
            source: Where the records come from, for people.
            picture_root: The folder that relative picture paths start from; by default `path` itself.
            more_picture_roots: Further folders that picture paths may lead to.
            progress: Called now and then with the number of entities written so far.

        Raises:
            DataError: A record without id or name, or an id given twice.
            KnowledgeBaseError: No entities, or a kind in `representation` that none of them has.
            StorageError: `path` is taken, the disk is full, the place is read-only.
        """
        path = Path(path)
        roots = [absolute(root) for root in (*filter(None, [picture_root]), *more_picture_roots)]
        with atomic_folder(path) as folder, sqlite_errors(path):
            write_folder(
                folder,
                entities,
                representation=representation,
                source=source,
                picture_root=str(roots[0]) if picture_root else "",
                picture_roots=describe_roots(path, roots),
                progress=progress,
            )
        return cls.open(path)

    @classmethod
    def open(cls, path: Path | str) -> KnowledgeBase:
        """Open the knowledge base in the folder `path` for reading.

        Raises:
            KnowledgeBaseError: Missing, damaged, not a knowledge base, or written by a newer version.
        """
        path = Path(path)
        if not path.is_dir():
            what = "a file, expected the folder of a knowledge base" if path.exists() else "no such knowledge base"
            raise KnowledgeBaseError(f"{path}: {what}; build one with `dualway kb build SOURCE --out FOLDER`")
        while True:
            manifest = read_manifest(path)
            try:
                return cls._open(path, manifest)
            except KnowledgeBaseError:
                if read_manifest(path) == manifest:
                    raise
                # It was changed between the two steps, and its old database is gone: open what it is now.

    @classmethod
    def _open(cls, path: Path, manifest: Manifest) -> KnowledgeBase:
        kb = cls(path, manifest, _connect(path / manifest.database))
        try:
            kb._complete()
            kb._check_manifest()
        except BaseException:
            kb.close()
            raise
        return kb

    @classmethod
    def _reopen(cls, path: Path, revision: int, content: str) -> KnowledgeBase:
        kb = cls.open(path)
        if (kb.revision, kb.fingerprint.content) != (revision, content):
            kb.close()
            raise KnowledgeBaseError(f"{path}: was changed while it was in use (from revision {revision}); start again")
        return kb

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    @property
    def fingerprint(self) -> Fingerprint:
        """What a run must fit to (`compatibility`) and which content this is (`content`, the same in any order)."""
        return self._manifest.fingerprint

    @property
    def representation(self) -> tuple[str, ...]:
        """Kinds whose texts stand for an entity unless others are asked for, in the order in which they are joined."""
        return self._manifest.representation

    @property
    def revision(self) -> int:
        """Number of the last revision; 1 for a fresh build."""
        return self._manifest.revision

    @property
    def manifest(self) -> Manifest:
        """All that the manifest says: counts, source, times, versions."""
        return self._manifest

    @property
    def kinds(self) -> dict[str, int]:
        """How many entities have a text of each kind."""
        return dict(self._manifest.counts["representations"])

    @property
    def picture_root(self) -> Path:
        """The folder that relative picture paths start from, where it is now."""
        return self.picture_roots.first

    @cached_property
    def picture_roots(self) -> PictureRoots:
        """All folders that pictures are taken from."""
        return PictureRoots(self._path, self._manifest.picture_root, self._manifest.picture_roots)

    def __len__(self) -> int:
        return int(self._manifest.counts["entities"])

    def __contains__(self, entity_id: object) -> bool:
        return entity_id in self._row_of

    def __repr__(self) -> str:
        return f"KnowledgeBase({str(self._path)!r}, {len(self):,} entities)"

    @cached_property
    def ids(self) -> list[str]:
        """Ids in row order."""
        return [entity_id for (entity_id,) in self._fetch("SELECT id FROM entities ORDER BY row")]

    @cached_property
    def keys(self) -> IntArray:
        """The number by which the database knows each entity, int64 [n], rising; one is never given to another entity.

        Rows count the entities of this state: 0 .. n-1. Keys have gaps where entities were removed.
        """
        return np.array(self._fetch("SELECT row FROM entities ORDER BY row"), dtype=np.int64).reshape(-1)

    @cached_property
    def changed_in(self) -> IntArray:
        """The revision in which each entity last changed, int64 [n], in row order."""
        return np.array(self._fetch("SELECT revision FROM entities ORDER BY row"), dtype=np.int64).reshape(-1)

    @cached_property
    def names(self) -> list[str]:
        """Names in row order, as they are shown; several entities may share one."""
        return [name for (name,) in self._fetch("SELECT name FROM entities ORDER BY row")]

    @cached_property
    def aliases(self) -> list[tuple[str, ...]]:
        """Other names of each entity, in row order."""
        return self._fetch_lists("aliases", "alias")

    @cached_property
    def types(self) -> list[tuple[str, ...]]:
        """Types of each entity, in row order."""
        return self._fetch_lists("types", "type")

    @cached_property
    def kept_out(self) -> frozenset[str]:
        """Ids of the entities whose pictures are compared with nothing."""
        return frozenset(self._flags)

    @cached_property
    def erased(self) -> frozenset[str]:
        """Ids of those kept out whose pictures were erased, and of whom none are taken."""
        return frozenset(entity_id for entity_id, erased in self._flags.items() if erased)

    def row(self, entity_id: str) -> int:
        """Return the row of an entity.

        Raises:
            KnowledgeBaseError: No entity has this id.
        """
        row = self._row_of.get(entity_id)
        if row is None:
            raise self._unknown(entity_id)
        return row

    def rows(self, ids: Iterable[str | None]) -> IntArray:
        """Return int64 [n]: the row of each entity, -1 where the id is unknown or None."""
        row_of = self._row_of
        return np.fromiter((-1 if i is None else row_of.get(i, -1) for i in ids), dtype=np.int64)

    def entity(self, entity_id: str) -> Entity:
        """Return the whole record of an entity.

        Raises:
            KnowledgeBaseError: No entity has this id.
        """
        found = self._fetch("SELECT row, id, name FROM entities WHERE id = ?", entity_id)
        if not found:
            raise self._unknown(entity_id)
        return read_entity(self._fetch, *found[0])

    def entities(self) -> Iterator[Entity]:
        """Yield every record in row order."""
        for row, entity_id, name in self._fetch("SELECT row, id, name FROM entities ORDER BY row"):
            yield read_entity(self._fetch, row, entity_id, name)

    def ids_named(self, name: str) -> list[str]:
        """Return the ids of all entities with exactly this name, in row order; several for homonyms."""
        return [i for (i,) in self._fetch("SELECT id FROM entities WHERE name = ? ORDER BY row", name)]

    def texts(self, kinds: Sequence[str] | None = None) -> list[str]:
        """Return the text that stands for each entity, in row order; "" for an entity without such a text.

        The texts of the kinds are joined by a space, in the order of `kinds` (default: `representation`). Of several
        texts of one kind (other sources, other languages) the first that the entity was given counts.

        Raises:
            KnowledgeBaseError: No entity has a text of a kind in `kinds`.
        """
        chosen = self.representation if kinds is None else require_kinds(self.kinds, kinds)
        columns = [self._texts_of(kind) for kind in chosen]
        return [" ".join(filter(None, texts)) for texts in zip(*columns)] if columns else [""] * len(self)

    def changes(self, since: int) -> Iterator[str]:
        """Yield the ids of the entities that were added or changed after revision `since`, in row order.

        Those that were removed are told by `differences`.
        """
        for (entity_id,) in self._fetch("SELECT id FROM entities WHERE revision > ? ORDER BY +row", since):
            yield entity_id

    def differences(self, since: int, until: int | None = None) -> Iterator[EntityChange]:
        """Yield the entities that differ between two revisions (the present one by default), in the order of ids.

        Entities that were erased are not told.

        Raises:
            KnowledgeBaseError: No such revision, or what was changed so long ago is not kept.
        """
        yield from differences(self._fetch, since, self.revision if until is None else until)

    def revisions(self) -> list[Revision]:
        """Return all states so far, the present one last."""
        return [Revision(*fields) for fields in self._fetch("SELECT * FROM revisions ORDER BY number")]

    def gallery_pictures(self) -> Iterator[tuple[int, Picture]]:
        """Yield (row, picture) of every picture to compare with, in row order; entities kept out are left out."""
        last = (-1, -1)
        while True:
            page = self._fetch(
                "SELECT entity, number, path, source, licence FROM pictures "
                f"WHERE (entity, number) > (?, ?) AND entity NOT IN ({self._rows_kept_out}) "
                f"ORDER BY entity, number LIMIT {_PAGE}",
                *last,
            )
            for row, _, path, source, licence in page:
                yield int(np.searchsorted(self.keys, row)), Picture(path, source, licence)
            if len(page) < _PAGE:
                return
            last = page[-1][:2]

    def picture_path(self, picture: Picture) -> Path:
        """Return where a picture lies: absolute, links followed. Whether it exists is not checked.

        Raises:
            PictureError: An address in place of a path, or one that leads out of the folders that pictures are taken
                from, by itself or by a link.
        """
        return self.picture_roots.path_of(picture.path)

    def picture_counts(self) -> PictureCounts:
        """Count the pictures to compare with, and the entities kept out."""
        count = "SELECT COUNT(DISTINCT entity), COUNT(*), COALESCE(SUM(licence = ''), 0) FROM pictures WHERE entity"
        entities, pictures, without = self._fetch(f"{count} NOT IN ({self._rows_kept_out})")[0]
        _, hidden, _ = self._fetch(f"{count} IN ({self._rows_kept_out})")[0]
        return PictureCounts(entities, pictures, without, len(self.kept_out), hidden, len(self.erased))

    def check(self) -> None:
        """Read everything and compare it with the recorded hashes.

        Raises:
            KnowledgeBaseError: The database is damaged, or a record is not what was written; names the entity.
        """
        (answer,) = self._fetch("PRAGMA integrity_check(1)")[0]
        if answer != "ok":
            raise self._damaged(answer)
        hashes = dict(self._fetch("SELECT id, hash FROM entities"))
        total = 0
        for entity in self.entities():
            record_hash = content_hash(entity)
            if record_hash != hashes[entity.id]:
                raise self._damaged(f"the record of {entity.id!r} is not what was written")
            total = add_hash(total, record_hash)
        if content_fingerprint(format_total(total)) != self.fingerprint.content:
            raise self._damaged("entities are missing or foreign: the content fingerprint is not the manifest's")

    def query(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows that an SQL query of this room gives.

        Raises:
            KnowledgeBaseError: The database is damaged, or was closed.
        """
        return self._fetch(query, *values)

    def copy_to(self, path: Path) -> None:
        """Write this state into a new database file, whatever has become of the folder meanwhile.

        Raises:
            sqlite3.DatabaseError: It cannot be written; see `writer.sqlite_errors`.
        """
        write_whole(self._connection, path)

    def close(self) -> None:
        """Close the database; what was loaded stays usable."""
        self._connection.close()

    def close_when_unused(self) -> None:
        """Close the database once nobody holds this object any more."""
        weakref.finalize(self, self._connection.close)

    def __enter__(self) -> KnowledgeBase:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[Path, int, str], KnowledgeBase], tuple[Path, int, str]]:
        return KnowledgeBase._reopen, (self._path, self.revision, self.fingerprint.content)

    @cached_property
    def _flags(self) -> dict[str, int]:
        return dict(self._fetch("SELECT id, erased FROM kept_out"))

    @property
    def _rows_kept_out(self) -> str:
        return "SELECT row FROM entities JOIN kept_out USING (id)"

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {entity_id: row for row, entity_id in enumerate(self.ids)}

    def _texts_of(self, kind: str) -> list[str | None]:
        query = "SELECT entity, text FROM representations WHERE kind = ? ORDER BY entity, number DESC"
        first = dict(self._fetch(query, kind))  # the last that is put in stays: of each entity the first
        return [first.get(key) for key in self.keys.tolist()]

    def _fetch_lists(self, table: str, column: str) -> list[tuple[str, ...]]:
        pairs = self._fetch(f"SELECT entity, {column} FROM {table} ORDER BY entity, number")
        values = {key: tuple(value for _, value in group) for key, group in groupby(pairs, key=lambda pair: pair[0])}
        return [values.get(key, ()) for key in self.keys.tolist()]

    def _complete(self) -> None:
        """Let tables that an older database lacks be empty ones, and those of base and delta be one."""
        (version,) = self._fetch("PRAGMA user_version")[0]
        check_schema(self._database, version)
        try:
            if self._manifest.delta:
                _require(self._path / self._manifest.delta)
                attach(self._connection, self._path / self._manifest.delta, "delta")
                join(self._connection, base="main", delta="delta")
            else:
                complete_for_reading(self._connection)
        except sqlite3.Error as error:
            raise self._damaged(str(error)) from error

    def _check_manifest(self) -> None:
        last = self._fetch("SELECT number, content FROM revisions ORDER BY number DESC LIMIT 1")
        (num_entities,) = self._fetch(COUNT_OF_TWO if self._manifest.delta else "SELECT COUNT(*) FROM entities")[0]
        recorded = (self.revision, self.fingerprint.content, self._manifest.counts.get("entities"))
        if not last or (last[0][0], content_fingerprint(last[0][1]), num_entities) != recorded:
            raise self._damaged(f"manifest.json and {self._manifest.database} do not belong together")

    def _fetch(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.ProgrammingError as error:
            raise KnowledgeBaseError(f"{self._path}: was closed; open it again") from error
        except sqlite3.Error as error:
            raise self._damaged(str(error)) from error

    @property
    def _database(self) -> Path:
        return self._path / self._manifest.database

    def _unknown(self, entity_id: str) -> KnowledgeBaseError:
        return KnowledgeBaseError(f"{self._path}: no entity has the id {entity_id!r}")

    def _damaged(self, problem: str) -> KnowledgeBaseError:
        return KnowledgeBaseError(
            f"{self._database}: damaged ({problem}); restore the folder or build the knowledge base again"
        )


def _connect(path: Path) -> sqlite3.Connection:
    """Open the database read-only: no lock file, no journal, no change of a byte."""
    _require(path)
    try:
        return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
    except sqlite3.Error as error:
        raise KnowledgeBaseError(f"{path}: cannot be opened ({error}); check its permissions") from error


def _require(path: Path) -> None:
    if not path.is_file():
        raise KnowledgeBaseError(f"{path}: missing; restore the folder or build the knowledge base again")
