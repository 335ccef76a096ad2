"""Pictures read in shards: planned first, made one by one or by several processes, each committed whole or not at all.

    work/NUMBER-HASH/     one finished shard: a table of its pictures (features/tables.py), and
        shard.json        types and shapes of its arrays, the pictures that could not be used, seconds by stage

Which pictures a shard holds is fixed before the first is read, and the hash in its name is that of these pictures, in
the state in which they were found (path, size, time of change). So a build that was killed finds what it had finished,
and nothing of it is made again; of a shard in hand nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, overload

import numpy as np

from dualway.errors import DataError, ModelError, PictureError, StorageError
from dualway.features.manifest import Shape, read_shape, write_shape
from dualway.features.pictures import Columns, PictureVectors, stack
from dualway.features.regions import PictureRegions
from dualway.features.seeing import MAX_SIDE, PictureReader, Vectors
from dualway.features.seen import Seen
from dualway.features.tables import (
    FACES,
    OBJECTS,
    Keys,
    Part,
    Records,
    Table,
    join_lists,
    join_rows,
    open_table,
    write_table,
)
from dualway.images import DECODING
from dualway.schema import FloatArray
from dualway.storage import atomic_folder, read_json, storage_errors, write_json

SHARD = "shard.json"
SHARD_SIZE = 256  # pictures: a minute or so of work, which is what a kill costs
_IN_MEMORY = 2**28  # bytes of an array that is joined in memory; a larger one is joined on disk

OnError = Literal["keep-text", "drop", "stop"]
CRASHED = "a decoder or model crashed on it or took minutes, twice; look at this picture apart from the others"


@dataclass(frozen=True, eq=False)
class Source:
    """A picture to be read, in the state in which it was found when the work was planned.

    Attributes:
        path: Where it is.
        name: What mentions call it.
        known: What a file says of it.
        state: Size and times of change; None where there is no such file.
        folders: Those that a link may not lead out of; None: any link is followed.
    """

    path: Path
    name: str
    known: PictureRegions
    state: tuple[int, ...] | None
    folders: tuple[Path, ...] | None = None

    @classmethod
    def find(cls, path: Path, name: str, known: PictureRegions, folders: tuple[Path, ...] | None = None) -> Source:
        """Return a picture as it is now; whether it can be used is not looked at."""
        try:
            status = os.stat(path)  # noqa: PTH116 - Path.stat raises more for names that no file system takes
            state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        except (OSError, ValueError):
            state = None
        return cls(path, name, known, state, folders)

    @cached_property
    def key(self) -> int:
        """A number that changes with the picture's place, its state, and what is known of it."""
        known = "" if self.known == PictureRegions() else repr(self.known)
        text = json.dumps([str(self.path), self.state, known, DECODING, MAX_SIDE])
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class Shard(NamedTuple):
    """A planned shard.

    name: Of its folder: its number, and a hash of its pictures.
    sources: They, in order.
    """

    name: str
    sources: tuple[Source, ...]


class ShardResult(NamedTuple):
    """What `shard.json` says.

    arrays: Type and shape of each.
    lost: Which of the shard's pictures could not be used, by `Source.key`, and why.
    seconds: Spent by stage.
    """

    arrays: dict[str, Shape]
    lost: dict[int, str]
    seconds: dict[str, float]


def plan_shards(sources: Sequence[Source], size: int = SHARD_SIZE) -> list[Shard]:
    """Cut pictures into shards of at most `size`, in their order."""
    shards: list[Shard] = []
    for number, start in enumerate(range(0, len(sources), size)):
        chosen = tuple(sources[start : start + size])
        keys = np.array([source.key for source in chosen], dtype="<u8")
        digest = hashlib.sha256(keys.tobytes()).hexdigest()[:12]
        shards.append(Shard(f"{number:06d}-{digest}", chosen))
    return shards


def make_shard(
    reader: PictureReader,
    shard: Shard,
    work: Path,
    *,
    on_error: OnError = "keep-text",
    crashed: frozenset[int] = frozenset(),
    at: Callable[[int], None] = lambda _: None,
) -> None:
    """Read the pictures of a shard and commit it.

    Args:
        reader: The models.
        shard: What to read.
        work: The folder of finished shards.
        on_error: "stop" raises at the first picture that cannot be used; else it is noted.
        crashed: Places of pictures that are not tried again.
        at: Called with the place of each picture before it is read.

    Raises:
        DataError: A picture cannot be used and `on_error` is "stop".
        ModelError: A model fails on a picture; names it.
        StorageError: The disk is full.
    """
    before = dict(reader.seconds)
    found = _Found()
    for place, source in enumerate(shard.sources):
        at(place)
        try:
            if place in crashed:
                raise PictureError(CRASHED, path=source.path)
            found.add(source, *reader.read(source.path, source.known, name=source.name, folders=source.folders))
        except PictureError as error:
            if on_error == "stop":
                raise stopped_by(source, error.problem) from error
            found.lost[str(source.key)] = error.problem
        except ModelError as error:
            raise ModelError(f"{source.path}: {error}") from error
    at(len(shard.sources))
    spent = {stage: seconds - before.get(stage, 0.0) for stage, seconds in reader.seconds.items()}
    folder = work / shard.name
    if read_shard(folder) is None:
        shutil.rmtree(folder, ignore_errors=True)  # damaged
    try:
        with atomic_folder(folder) as place:
            _write_shard(place, found, stack(found.vectors, reader.dim, reader.face_dim), spent)
    except StorageError:
        if read_shard(folder) is None:  # else a process whose parent was killed has committed it just now
            raise


def stopped_by(source: Source, problem: str) -> DataError:
    """Return the error for a picture that cannot be used where work stops at such a one."""
    return DataError(
        f"{problem}; mend or remove it and give the same command again, or go on without such pictures with "
        "--on-error keep-text",
        path=source.path,
    )


@dataclass
class _Found:
    """What was found in the pictures of a shard so far."""

    seen: list[Seen] = field(default_factory=list[Seen])
    vectors: list[Vectors] = field(default_factory=list[Vectors])
    keys: list[int] = field(default_factory=list[int])
    lost: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, source: Source, seen: Seen, vectors: Vectors) -> None:
        self.seen.append(seen)
        self.vectors.append(vectors)
        self.keys.append(source.key)


def _write_shard(folder: Path, found: _Found, columns: Columns, seconds: dict[str, float]) -> None:
    vectors = PictureVectors(found.seen, {}, {}, *columns)
    arrays = write_table(folder, found.seen, np.array(found.keys, dtype=np.uint64), vectors, "float32")
    content = {
        "arrays": {name: write_shape(shape) for name, shape in arrays.items()},
        "lost": found.lost,
        "seconds": seconds,
    }
    write_json(folder / SHARD, content)
    _force_to_disk(folder)


def read_shard(folder: Path) -> ShardResult | None:
    """Return what a finished shard says; None when there is none, or it is damaged."""
    try:
        content = cast("dict[str, Any]", read_json(folder / SHARD))
        return ShardResult(
            arrays={str(name): read_shape(text) for name, text in content["arrays"].items()},
            lost={int(key): str(why) for key, why in content["lost"].items()},
            seconds={str(stage): float(seconds) for stage, seconds in content["seconds"].items()},
        )
    except (DataError, AttributeError, KeyError, TypeError, ValueError):
        return None


@dataclass
class Known:
    """Tables in which pictures are looked up by their key: those of finished shards and of an older store.

    Attributes:
        tables: In order; of a picture in several the last counts.
        place: `Source.key` -> (which table, which row).
        lost: `Source.key` -> why the picture cannot be used.
        seconds: Spent by stage.
    """

    tables: list[Table] = field(default_factory=list[Table])
    place: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    lost: dict[int, str] = field(default_factory=dict[int, str])
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    def add(self, table: Table) -> None:
        """Add the pictures of a table."""
        number = len(self.tables)
        self.tables.append(table)
        self.place.update((key, (number, row)) for row, key in enumerate(table.keys.tolist()))

    def add_shard(self, folder: Path) -> bool:
        """Add a finished shard; tell whether there was one and it is whole."""
        result = read_shard(folder)
        if result is None:
            return False
        try:
            table = open_table(folder, result.arrays, hold=False)  # there may be more than can be mapped at a time
        except DataError:
            return False
        self.add(table)
        self.lost.update(result.lost)
        for stage, seconds in result.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        return True

    def __contains__(self, source: Source) -> bool:
        return source.key in self.place or source.key in self.lost


def join(sources: Sequence[Source], known: Known, scratch: Path, dims: tuple[int | None, int | None]) -> PictureVectors:
    """Return what is known of pictures that have all been read, in their order.

    Args:
        sources: The pictures.
        known: Where they are.
        scratch: A folder for arrays that are too large for memory.
        dims: Width of v and objects, and of faces.
    """
    usable = [source for source in sources if source.key not in known.lost]
    of: dict[int, tuple[list[int], list[int]]] = {}  # table -> rows and places
    for place, source in enumerate(usable):
        table, row = known.place[source.key]
        rows, places = of.setdefault(table, ([], []))
        rows.append(row)
        places.append(place)
    parts = [
        Part(known.tables[table], np.array(rows, dtype=np.int64), np.array(places, dtype=np.int64))
        for table, (rows, places) in of.items()
    ]
    where = [known.place[source.key] for source in usable]
    records = JoinedRecords([(known.tables[table].records, row) for table, row in where])
    failures = {str(source.path): known.lost[source.key] for source in sources if source.key in known.lost}
    for place, line in enumerate(records.lines()):
        if b'"failures"' in line:
            failures |= records[place].failures
    allocate = _allocator(scratch)
    dim, face_dim = dims
    return PictureVectors(
        records,
        {source.path: place for place, source in enumerate(usable)},
        failures,
        None if dim is None else join_rows(parts, len(usable), dim, allocate),
        None if dim is None else join_lists(parts, len(usable), dim, OBJECTS, allocate),
        None if face_dim is None else join_lists(parts, len(usable), face_dim, FACES, allocate),
    )


class JoinedRecords(Sequence[Seen]):
    """Records that lie in several tables, read when they are asked for."""

    def __init__(self, where: Sequence[tuple[Records, int]]) -> None:
        self._where = where

    def __len__(self) -> int:
        return len(self._where)

    @overload
    def __getitem__(self, index: int) -> Seen: ...
    @overload
    def __getitem__(self, index: slice) -> list[Seen]: ...
    def __getitem__(self, index: int | slice) -> Seen | list[Seen]:
        """Return a picture's record."""
        if isinstance(index, slice):
            return [records[row] for records, row in self._where[index]]
        records, row = self._where[index]
        return records[row]

    def lines(self) -> Iterator[bytes]:
        """Yield the records as they stand in their files."""
        for records, row in self._where:
            yield records.line(row)


class ShardedPictures:
    """Pictures from finished shards and older tables; implements PictureSource once `finish` has made what is missing.

    Args:
        work: The folder of finished shards.
        known: What is there already.
        dims: Width of v and objects, and of faces; None: there are none.
    """

    def __init__(self, work: Path, known: Known, dims: tuple[int | None, int | None]) -> None:
        self.work, self.known, self.dims = work, known, dims
        self._sources: dict[Path, Source] = {}

    def plan(self, sources: Sequence[Source], size: int = SHARD_SIZE) -> list[Shard]:
        """Return the shards that are to be made for these pictures; those that are finished are known afterwards.

        Raises:
            StorageError: The place of shards cannot be read.
        """
        self._sources.update((source.path, source) for source in sources)
        shards = plan_shards([source for source in self._sources.values() if source not in self.known], size)
        finished = _finished(self.work)
        waiting = [shard for shard in shards if not self._take(shard.name, finished)]
        if finished:  # of another plan, as pictures have changed or come: what fits of them is used
            for name in sorted(finished):
                self.known.add_shard(self.work / name)
            rest = [source for shard in waiting for source in shard.sources if source not in self.known]
            if len(rest) < sum(len(shard.sources) for shard in waiting):
                waiting = [shard for shard in plan_shards(rest, size) if not self._take(shard.name, finished)]
        return waiting

    def _take(self, name: str, finished: set[str]) -> bool:
        """Tell whether a shard is finished and whole; it is then known. A damaged one is removed."""
        if name not in finished:
            return False
        finished.discard(name)
        if self.known.add_shard(self.work / name):
            return True
        shutil.rmtree(self.work / name, ignore_errors=True)
        return False

    def finished(self, shard: Shard) -> None:
        """Take a shard that has just been made.

        Raises:
            StorageError: It is not there or not whole.
        """
        if not self.known.add_shard(self.work / shard.name):
            raise StorageError(f"{self.work / shard.name}: was written and cannot be read again; check the disk")

    def encode(
        self,
        paths: Sequence[Path],
        known: Sequence[PictureRegions],
        names: Sequence[str] | None = None,
        folders: Sequence[Path] | None = None,
    ) -> PictureVectors:
        """Return what is in pictures that were planned and have been read; see PictureSource."""
        return join([self._sources[path] for path in paths], self.known, self.work, self.dims)

    def keys(self, paths: Sequence[Path]) -> Keys:
        """Return `Source.key` of pictures that were planned, uint64 [n]."""
        return np.array([self._sources[path].key for path in paths], dtype=np.uint64)


def _finished(work: Path) -> set[str]:
    try:
        return {path.name for path in work.iterdir() if not path.name.startswith(".")}
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise StorageError(f"{work}: cannot be read ({error.strerror}); check its permissions") from error


def _allocator(scratch: Path) -> Callable[[str, tuple[int, int]], FloatArray]:
    def allocate(name: str, shape: tuple[int, int]) -> FloatArray:
        if 4 * shape[0] * shape[1] <= _IN_MEMORY:
            return np.empty(shape, dtype=np.float32)
        path = scratch / f".joined-{name}.tmp"
        with storage_errors(path):
            scratch.mkdir(parents=True, exist_ok=True)  # there is none where every picture was known
            with path.open("w+b") as file:
                path.unlink()  # the space is given back when the array is let go
                os.posix_fallocate(file.fileno(), 0, 4 * shape[0] * shape[1])  # a full disk is told here, not by SIGBUS
                return np.asarray(np.memmap(file, dtype=np.float32, mode="r+", shape=shape))

    return allocate


def _force_to_disk(folder: Path) -> None:
    """Ask the system to write a folder's files now: a shard that is committed survives a power cut too."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
