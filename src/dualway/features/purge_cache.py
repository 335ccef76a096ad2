"""Removes from the cache what it keeps of pictures: their vectors, those of their parts, and the objects found in them.

Everything there is kept under a hash of the picture's content (encoders/cache.py, features/objects.py), so it is found
with the picture at hand, as it was when it was read, and not otherwise. What is removed is overwritten.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from dualway.errors import PictureError, StorageError
from dualway.features.objects import objects_key
from dualway.features.regions import CutOut
from dualway.features.seeing import crop_key, picture_key
from dualway.features.seen import Seen
from dualway.images import read_picture
from dualway.schema import Region, Segment

_VECTORS, _OBJECTS = "vectors-*.sqlite", "objects.sqlite"
_QUERY = 500  # keys a query, below SQLite's limit on variables
_KEYS = 16  # bytes of a content's key
_WAIT_S = 60.0  # for another process
_TOGETHER = 256  # pictures a transaction

_T = TypeVar("_T")


@dataclass
class CacheCounts:
    """What the cache keeps of pictures, or kept.

    Attributes:
        pictures: Looked for.
        vectors: Of pictures and their parts, by all encoders together.
        objects: Pictures whose objects are remembered, once for each detector.
        unreadable: Pictures that are gone, so what is kept of them cannot be found.
        unknown: Pictures of which nothing is kept as they are now: they have changed, or never were.
        damaged: Files of the cache that cannot be read.
    """

    pictures: int = 0
    vectors: int = 0
    objects: int = 0
    unreadable: int = 0
    unknown: int = 0
    damaged: list[str] = field(default_factory=list[str])


class _Kept(NamedTuple):
    """What the cache may keep of one picture.

    content: The key of its content.
    vectors: The keys of its vectors and of those of its parts.
    objects: For how many detectors its objects are remembered.
    """

    content: bytes
    vectors: list[bytes]
    objects: int


def purge_cache(folder: Path, pictures: Iterable[tuple[Path, Seen]], *, really: bool) -> CacheCounts:
    """Remove what is kept of pictures, whichever models made it; without `really` only count it.

    Args:
        folder: The cache.
        pictures: Where each lies, and what was seen in it.
        really: Whether to remove anything.

    Raises:
        StorageError: A file of the cache cannot be written.
    """
    counts, waiting = CacheCounts(), list[_Kept]()
    for path, seen in pictures:
        counts.pictures += 1
        try:
            content = read_picture(path)
        except PictureError:
            counts.unreadable += 1
            continue
        key = objects_key(content)
        found = _change(folder / _OBJECTS, "objects", lambda c, k=key: _remembered(c, k), counts) or []
        waiting.append(_Kept(key, list(dict.fromkeys(_keys(content, seen, found))), len(found)))
        if len(waiting) == _TOGETHER:
            _remove(folder, waiting, counts, really=really)
            waiting.clear()
    _remove(folder, waiting, counts, really=really)
    return counts


def _remove(folder: Path, pictures: Sequence[_Kept], counts: CacheCounts, *, really: bool) -> None:
    """Count what is kept of some pictures, file by file, and remove it."""
    found = [0] * len(pictures)

    def vectors(connection: sqlite3.Connection) -> list[int]:
        return [_drop_keys(connection, picture.vectors, really=really) for picture in pictures]

    def objects(connection: sqlite3.Connection) -> None:
        keys = [_range(picture.content) for picture in pictures if really]
        connection.executemany("DELETE FROM objects WHERE key >= ? AND key < ?", keys)

    for path in sorted(folder.glob(_VECTORS)) if folder.is_dir() else ():
        numbers = _change(path, "vectors", vectors, counts)
        found = [sum(pair) for pair in zip(found, numbers or [0] * len(found), strict=True)]
    _change(folder / _OBJECTS, "objects", objects, counts)
    counts.vectors += sum(found)
    counts.objects += sum(picture.objects for picture in pictures)
    counts.unknown += sum(not number and not picture.objects for number, picture in zip(found, pictures, strict=True))


def _keys(content: bytes, seen: Seen, remembered: Sequence[bytes]) -> Iterator[bytes]:
    """Yield what the vectors of a picture and of its parts are kept under, however they were cut out."""
    yield picture_key(content)
    for region in seen.objects:
        if isinstance(region, CutOut):
            with suppress(PictureError):
                yield picture_key(read_picture(Path(region.picture)))
    parts = [region for region in seen.objects if not isinstance(region, CutOut)]
    for region in [*parts, *chain.from_iterable(map(_parts, remembered))]:
        yield crop_key(content, region, "box")
        yield crop_key(content, region, "mask")


def _parts(text: bytes) -> list[Region]:
    """Return the objects that `objects.RegionCache` kept, of which other settings may have chosen others.

    What is damaged has none.
    """
    try:
        items: list[Any] = json.loads(text)
        boxes = [((float(x0), float(y0), float(x1), float(y1)), mask) for x0, y0, x1, y1, _, _, *mask in items]
        return [Segment(box, mask=tuple(map(int, mask[0]))) if mask else Region(box) for box, mask in boxes]
    except (TypeError, ValueError, OverflowError, RecursionError):
        return []


def _change(path: Path, table: str, do: Callable[[sqlite3.Connection], _T], counts: CacheCounts) -> _T | None:
    """Return what `do` comes to with a file of the cache; None where there is none, or it is damaged."""
    if not path.is_file() or path.name in counts.damaged:
        return None
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=rw", uri=True, timeout=_WAIT_S)) as file:
            file.execute("PRAGMA secure_delete = ON")
            if not file.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [table]).fetchone():
                return None
            with file:
                return do(file)
    except sqlite3.OperationalError as error:
        raise StorageError(
            f"{path}: what it keeps of pictures cannot be removed ({error}); close what uses it and run again, or "
            "delete the file: it is only a cache"
        ) from error
    except sqlite3.DatabaseError:
        counts.damaged.append(path.name)
        return None


def _drop_keys(connection: sqlite3.Connection, keys: Sequence[bytes], *, really: bool) -> int:
    number = 0
    for start in range(0, len(keys), _QUERY):
        part = keys[start : start + _QUERY]
        where = f"FROM vectors WHERE key IN ({','.join('?' * len(part))})"
        number += connection.execute(f"SELECT COUNT(*) {where}", part).fetchone()[0]
        if really:
            connection.execute(f"DELETE {where}", part)
    return number


def _remembered(connection: sqlite3.Connection, key: bytes) -> list[bytes]:
    """Return what detectors found in a picture: the key of each row is the content's and the detector's."""
    rows = connection.execute("SELECT CAST(regions AS BLOB) FROM objects WHERE key >= ? AND key < ?", _range(key))
    return [row[0] or b"" for row in rows]


def _range(key: bytes) -> tuple[bytes, bytes]:
    return key, key + b"\xff" * (_KEYS + 1)
