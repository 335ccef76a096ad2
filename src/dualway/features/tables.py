"""A table of pictures on disk: what was seen in each and its vectors; a shard of a build, or a split of a store.

    regions.jsonl                        a line a picture (`Seen`)
    sources.npy                          uint64 [p], which picture this was, in which state (`Source.key`)
    image.npy                            v, [p, dim]
    objects.values.npy, .offsets.npy     d
    face_vectors.values.npy, .offsets.npy

Vectors are read mapped into memory, records a line at a time, so that millions of pictures can be joined.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast, overload

import numpy as np
from numpy.typing import NDArray

from dualway.features.arrays import Ragged
from dualway.features.manifest import Shape, damaged
from dualway.features.npy import Array, read_array, read_checked, write_array
from dualway.features.pictures import PictureVectors
from dualway.features.seen import Seen
from dualway.schema import FloatArray, IntArray

REGIONS = "regions.jsonl"
SOURCES = "sources"
IMAGE, OBJECTS, FACES = "image", "objects", "face_vectors"
_DENSE = (SOURCES, IMAGE)

Keys = NDArray[np.uint64]
_BLOCK = 4096  # pictures moved at a time


class Records(Sequence[Seen]):
    """The lines of a regions.jsonl, each parsed when it is asked for; the places of lines are found once.

    Args:
        path: The file.
        objects: int64 [p], how many objects each picture must have; None: any number.
        hold: Keep the file mapped, so that it may be removed or replaced meanwhile.

    Raises:
        DataError: It is missing, or cut short.
    """

    def __init__(self, path: Path, objects: IntArray | None = None, *, hold: bool = True) -> None:
        self.path, self._objects = path, objects
        self._content: mmap.mmap | None = None
        lengths, last = [0], b"\n"
        try:
            with path.open("rb") as file:
                for last in file:
                    lengths.append(len(last))
                if hold and len(lengths) > 1:
                    self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise damaged(path, error.strerror or "cannot be read") from error
        if not last.endswith(b"\n"):
            raise damaged(path, "cut short")
        self._starts = np.cumsum(lengths)

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> Seen: ...
    @overload
    def __getitem__(self, index: slice) -> list[Seen]: ...
    def __getitem__(self, index: int | slice) -> Seen | list[Seen]:
        """Return a picture's record.

        Raises:
            DataError: The line is no record.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        seen = parse_seen(self.line(index), self.path)
        if self._objects is not None and len(seen.objects) != self._objects[index]:
            raise damaged(self.path, f"picture {index}: its objects are not those of objects.offsets.npy")
        return seen

    def line(self, index: int) -> bytes:
        """Return a line as it stands in the file, with its end."""
        place = range(len(self))[index]
        start, end = int(self._starts[place]), int(self._starts[place + 1])
        if self._content is not None:
            return self._content[start:end]
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    def lines(self) -> Iterator[bytes]:
        """Yield all lines in order."""
        for place in range(len(self)):
            yield self.line(place)


class Table:
    """An opened table of p pictures; `open_table` makes one.

    Attributes:
        records: What was seen in each.
        keys: uint64 [p], `Source.key` of each.
    """

    def __init__(self, folder: Path, arrays: Mapping[str, Shape], keys: Keys, records: Records) -> None:
        self.records, self.keys = records, keys
        self._folder, self._arrays = folder, arrays
        self._held: dict[str, Array] | None = None

    @property
    def image(self) -> FloatArray | None:
        """v, as in PictureVectors."""
        return self._read(IMAGE) if IMAGE in self._arrays else None

    @property
    def objects(self) -> Ragged | None:
        """d, as in PictureVectors."""
        return self._ragged(OBJECTS)

    @property
    def faces(self) -> Ragged | None:
        """The faces' vectors, as in PictureVectors."""
        return self._ragged(FACES)

    @property
    def widths(self) -> tuple[int | None, int | None]:
        """Width of v and of faces; None where there are none."""
        image, faces = self._arrays.get(IMAGE), self._arrays.get(f"{FACES}.values")
        return None if image is None else image[1][1], None if faces is None else faces[1][1]

    def hold(self, arrays: dict[str, Array]) -> Table:
        """Keep the arrays, so that the files may be removed or replaced meanwhile."""
        self._held = arrays
        return self

    def _ragged(self, name: str) -> Ragged | None:
        if f"{name}.values" not in self._arrays:
            return None
        return Ragged(self._read(f"{name}.values"), self._read(f"{name}.offsets"))

    def _read(self, name: str) -> Array:
        if self._held is not None:
            return self._held[name]
        return read_checked(self._folder / f"{name}.npy", self._arrays[name])


def write_table(
    folder: Path, records: Iterable[Seen | bytes], keys: Keys, found: PictureVectors, dtype: str, *, name: str = ""
) -> dict[str, Shape]:
    """Write a table into a folder that exists; return type and shape of its arrays.

    Args:
        folder: Where.
        records: What was seen in each picture, or its line.
        keys: `Source.key` of each.
        found: Its vectors.
        dtype: Of the vectors on disk.
        name: Of the table, for messages.

    Raises:
        DataError: A vector is not finite.
    """
    with (folder / REGIONS).open("wb") as file:
        for record in records:
            file.write(record if isinstance(record, bytes) else seen_line(record))
    arrays: dict[str, Array] = {SOURCES: keys}
    if found.image is not None:
        arrays[IMAGE] = found.image
    for part, ragged in ((OBJECTS, found.objects), (FACES, found.faces)):
        if ragged is not None:
            arrays |= {f"{part}.values": ragged.values, f"{part}.offsets": ragged.offsets}
    return {
        part: write_array(folder / f"{part}.npy", array, dtype, name=f"{name or folder.name}/{part}")
        for part, array in arrays.items()
    }


def open_table(folder: Path, arrays: Mapping[str, Shape], *, hold: bool = True) -> Table:
    """Open a table and check it against the types and shapes that were noted when it was written.

    Args:
        folder: Where it is.
        arrays: The types and shapes; others than a table's are left alone.
        hold: Keep its files mapped into memory, so that they may be removed meanwhile; else they are mapped each time
            that something is asked for, so that any number of tables can be open.

    Raises:
        DataError: A file is missing, truncated or not what was written.
    """

    def check_offsets(name: str) -> IntArray | None:
        if f"{name}.values" not in arrays:
            return None
        values, offsets = found[f"{name}.values"], found[f"{name}.offsets"]
        ends_well = len(offsets) == num + 1 and offsets[0] == 0 and offsets[-1] == len(values)
        if not ends_well or bool((np.diff(offsets) < 0).any()):
            raise damaged(folder / f"{name}.offsets.npy", f"expected offsets of {num} lists")
        return np.diff(offsets)

    names = [name for name in arrays if name in _DENSE or name.removesuffix(".values") in (OBJECTS, FACES)]
    names += [name.replace(".values", ".offsets") for name in names if name.endswith(".values")]
    found = {name: read_array(folder / f"{name}.npy", arrays.get(name)) for name in dict.fromkeys([SOURCES, *names])}
    num = len(found[SOURCES])
    counts, _ = check_offsets(OBJECTS), check_offsets(FACES)
    records = Records(folder / REGIONS, counts, hold=hold)
    if len(records) != num or (IMAGE in found and len(found[IMAGE]) != num):
        raise damaged(folder / REGIONS, f"expected {num} pictures")
    table = Table(folder, arrays, found[SOURCES].astype(np.uint64), records)
    return table.hold(found) if hold else table


def seen_line(seen: Seen) -> bytes:
    """Return a record as a line."""
    return json.dumps(seen.to_dict()).encode() + b"\n"


def parse_seen(line: bytes, path: Path) -> Seen:
    """Return the record of a line of `path`.

    Raises:
        DataError: It is none.
    """
    try:
        return Seen.from_dict(cast("dict[str, Any]", json.loads(line)))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise damaged(path, f"{line[:80]!r} is no picture's record: {error}") from error


class Part(NamedTuple):
    """Some pictures of a table, and at which places of a joined one they go.

    table: Where they are.
    rows: int64 [m], which.
    places: int64 [m].
    """

    table: Table
    rows: IntArray
    places: IntArray

    def blocks(self) -> Iterator[Part]:
        """Yield the part in pieces that fit into memory."""
        for start in range(0, len(self.rows), _BLOCK):
            piece = slice(start, start + _BLOCK)
            yield Part(self.table, self.rows[piece], self.places[piece])


Allocate = Callable[[str, tuple[int, int]], FloatArray]


def join_rows(parts: Sequence[Part], num: int, dim: int, allocate: Allocate) -> FloatArray:
    """Return v of `num` pictures, float32 [num, dim], gathered from tables."""
    values = allocate(IMAGE, (num, dim))
    for part in parts:
        image = part.table.image
        assert image is not None
        for block in part.blocks():
            values[block.places] = image[block.rows]
    return values


def join_lists(parts: Sequence[Part], num: int, dim: int, name: str, allocate: Allocate) -> Ragged:
    """Return the lists of `num` pictures gathered from tables.

    Args:
        parts: Whose places are 0 .. num - 1, each once in all.
        num: Number of lists.
        dim: Width of the vectors.
        name: Of the lists, OBJECTS or FACES.
        allocate: Makes the array.
    """
    counts = np.zeros(num, dtype=np.int64)
    for part in parts:
        counts[part.places] = _lists_of(part.table, name).counts()[part.rows]
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    values = allocate(name, (int(offsets[-1]), dim))
    for part in parts:
        ragged = _lists_of(part.table, name)
        for block in part.blocks():
            of = counts[block.places]
            within = np.arange(int(of.sum())) - np.repeat(np.cumsum(of) - of, of)
            values[np.repeat(offsets[:-1][block.places], of) + within] = ragged.values[ragged.positions(block.rows)]
    return Ragged(values, offsets)


def _lists_of(table: Table, name: str) -> Ragged:
    ragged = table.objects if name == OBJECTS else table.faces
    assert ragged is not None
    return ragged


def check_width(table: Table, dim: int | None, face_dim: int | None) -> bool:
    """Tell whether a table's vectors are of these widths (None: there are none)."""
    return table.widths == (dim, face_dim) and (dim is None) == (table.objects is None)
