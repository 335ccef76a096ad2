"""An index of names on disk: a folder of segments, one safetensors file each, and `names.json`, which lists them.

A file is named by its content and never written again, so what one reader has mapped stays as it is while another
process replaces the list. A file is believed only when its hash is the one that the list gives and its numbers stay
within its arrays.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dualway.candidates.name_segments import Named, Segment, blocks, build_segment
from dualway.errors import DataError, KnowledgeBaseError
from dualway.storage import atomic_path, read_json, storage_errors, write_json

LIST = "names.json"
_FORMAT = 1
_FILE = re.compile(r"names-[0-9a-f]{32}\.safetensors")
_HALF_WRITTEN = re.compile(r"\.names[-.].*\.tmp")
_DTYPES = {  # in the order in which they lie in the file: each array begins at a multiple of its items' size
    "features": ("U64",),
    "starts": ("I64",),
    "owners": ("I64",),
    "trigram_values": ("F64",),
    "word_values": ("F64",),
    "strings": ("U16", "I32"),
}
_NUMPY = {"U64": "<u8", "I64": "<i8", "F64": "<f8", "U16": "<u2", "I32": "<i4"}
_LONGEST_HEADER = 1 << 16
_LONGEST_LIST = 1 << 26
_LARGEST = (1 << 62) - 1
_ATTEMPTS = 10  # times that the list is read again because what it names was replaced meanwhile


@dataclass(frozen=True)
class SegmentFile:
    """What the list says of a file.

    state: What else tells the knowledge base of `revision` from another one, such as its content's fingerprint.
    """

    file: str
    sha256: str
    size: int
    num_strings: int
    revision: int
    state: str = ""


class Stored(NamedTuple):
    """What a folder holds: segments with their files, and files that are missing, damaged or not what the list says."""

    segments: list[tuple[SegmentFile, Segment]]
    damaged: tuple[Path, ...]


def write_segments(folder: Path, rows: Iterable[Named], *, revision: int, state: str = "") -> list[SegmentFile]:
    """Write the index of entities, given once in the order of their keys, in constant memory.

    To use several processes, give each of `name_segments.blocks` to `write_block` and the results to `write_list`.

    Args:
        folder: Where; made if need be. An index that is there is replaced when the new one is complete.
        rows: (key, name, aliases) of each entity.
        revision: The knowledge base's.
        state: See `SegmentFile`.

    Raises:
        StorageError: Disk full, read-only folder, no permission.
    """
    files = [write_block(folder, block, revision, state) for block in blocks(rows)]
    write_list(folder, files)
    return files


def write_block(folder: Path, entities: Iterable[Named], revision: int, state: str = "") -> SegmentFile:
    """Build and write one segment; nothing reads it before it is listed."""
    return write_segment(folder, build_segment(entities, revision), state)


def write_segment(folder: Path, segment: Segment, state: str = "") -> SegmentFile:
    """Write one segment into the folder, whole or not at all.

    Raises:
        StorageError: Disk full, read-only folder, no permission.
    """
    header: dict[str, Any] = {}
    contents: list[Any] = []
    place = 0
    for name, kinds in _DTYPES.items():
        array = getattr(segment, name)
        kind = next(kind for kind in kinds if np.dtype(_NUMPY[kind]).itemsize == array.itemsize)
        contents.append(np.ascontiguousarray(array, dtype=_NUMPY[kind]))
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [place, place + array.nbytes]}
        place += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    contents[:0] = [len(text).to_bytes(8, "little"), text]
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    name = f"names-{digest.hexdigest()[:32]}.safetensors"
    with atomic_path(folder / name) as temporary, temporary.open("wb") as file:
        for content in contents:
            file.write(content)
    size = 8 + len(text) + place
    return SegmentFile(name, digest.hexdigest(), size, segment.num_strings, segment.revision, state)


def write_list(folder: Path, files: Sequence[SegmentFile]) -> None:
    """Make these files the index in the folder, and remove segments that are no longer part of it.

    Raises:
        StorageError: Disk full, read-only folder, no permission.
    """
    write_json(folder / LIST, {"format": _FORMAT, "segments": [asdict(file) for file in files]})
    with storage_errors(folder):
        for path in obsolete(folder, files):
            path.unlink(missing_ok=True)


def obsolete(folder: Path, files: Sequence[SegmentFile]) -> list[Path]:
    """Return what lies in a folder and is not among these files: of former lists, or left by a killed process."""
    listed = {file.file for file in files}
    return sorted(
        path
        for path in folder.iterdir()
        if _HALF_WRITTEN.fullmatch(path.name) or (_FILE.fullmatch(path.name) and path.name not in listed)
    )


def read_segments(folder: Path) -> Stored:
    """Open all segments of a folder; one without a list has none. Never raises for what is in the files."""
    before: Any = None
    for _ in range(_ATTEMPTS):
        try:
            files = read_list(folder)
        except (DataError, KnowledgeBaseError):
            return Stored([], (folder / LIST,))
        if files == before:
            break
        before = files
        stored = _read_all(folder, files)
        if not stored.damaged:
            return stored
    return stored  # pyright: ignore[reportPossiblyUnboundVariable]


def read_list(folder: Path) -> list[SegmentFile]:
    """Return what the list of a folder says; nothing where there is none.

    Raises:
        DataError: It cannot be read, or is not JSON.
        KnowledgeBaseError: It says something else than it should, or was written by a newer version.
    """
    path = folder / LIST
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise KnowledgeBaseError(f"{path}: cannot be read ({error.strerror})") from error
    if size > _LONGEST_LIST:
        raise KnowledgeBaseError(f"{path}: far too long for the list of an index of names")
    content = read_json(path)
    try:
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}, expected {_FORMAT}")
        return [_entry(entry) for entry in content["segments"]]
    except (ValueError, KeyError, TypeError) as error:
        raise KnowledgeBaseError(f"{path}: not the list of an index of names ({error})") from error


def read_segment(folder: Path, file: SegmentFile) -> Segment:
    """Return a segment whose arrays are mapped from its file, so that memory holds what is used.

    Raises:
        KnowledgeBaseError: The file is missing, not what the list says, or its arrays do not fit together.
    """
    path = folder / file.file
    try:
        content = _mapped(path, file.size)
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise ValueError("its hash is not the listed one")
        segment = Segment(**_arrays(content), revision=file.revision)
        _check(segment, file.num_strings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KnowledgeBaseError(f"{path}: not a segment of an index of names, or damaged ({error})") from error
    return segment


def _read_all(folder: Path, files: Sequence[SegmentFile]) -> Stored:
    segments: list[tuple[SegmentFile, Segment]] = []
    damaged: list[Path] = []
    for file in files:
        try:
            segments.append((file, read_segment(folder, file)))
        except KnowledgeBaseError:
            damaged.append(folder / file.file)
    return Stored(segments, tuple(damaged))


def _entry(entry: Any) -> SegmentFile:
    file = SegmentFile(**{field.name: entry[field.name] for field in fields(SegmentFile)})
    texts: tuple[Any, ...] = (file.file, file.sha256, file.state)
    numbers: tuple[Any, ...] = (file.size, file.num_strings, file.revision)
    if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
        raise TypeError("an entry has the wrong types")
    if not _FILE.fullmatch(file.file):
        raise ValueError(f"{file.file!r} is no name of a segment")
    if not all(0 <= number <= _LARGEST for number in numbers):
        raise ValueError("an entry has a number out of range")
    return file


def _mapped(path: Path, size: int) -> mmap.mmap:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size or size <= 8:
            raise ValueError("not an ordinary file of the listed size")
        return mmap.mmap(handle, size, access=mmap.ACCESS_READ)
    finally:
        os.close(handle)


def _arrays(content: mmap.mmap) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= min(_LONGEST_HEADER, len(content) - 8):
        raise ValueError("no header")
    header = json.loads(content[8 : 8 + length])
    return {name: _array(content, 8 + length, header[name], kinds) for name, kinds in _DTYPES.items()}


def _array(content: mmap.mmap, start: int, entry: Any, kinds: tuple[str, ...]) -> Any:
    begin, end = entry["data_offsets"]
    (length,) = entry["shape"]
    if entry["dtype"] not in kinds or not all(type(number) is int for number in (begin, end, length)):
        raise ValueError("an array of another kind")
    dtype = np.dtype(_NUMPY[entry["dtype"]])
    room = len(content) - start
    if length < 0 or end - begin != length * dtype.itemsize or not 0 <= begin <= end <= room:
        raise ValueError("an array does not fit its place")
    if (start + begin) % dtype.itemsize:
        raise ValueError("an array does not begin where numbers of its kind can")
    return np.frombuffer(content, dtype=dtype, count=length, offset=start + begin)


def _check(segment: Segment, num_strings: int) -> None:
    """Check what a sum would read or write by: a number out of range must never reach it."""
    starts, strings, owners = segment.starts, segment.strings, segment.owners
    fits = (
        segment.num_strings == num_strings
        and len(starts) == len(segment.features) + 1
        and len(segment.trigram_values) == len(segment.word_values) == num_strings
        and starts[0] == 0
        and starts[-1] == len(strings)
        and bool((starts[1:] >= starts[:-1]).all())
        and bool((segment.features[1:] > segment.features[:-1]).all())
        and bool((owners[1:] >= owners[:-1]).all())
        and (not len(strings) or (int(strings.min()) >= 0 and int(strings.max()) < num_strings))
        and all(_is_share(values) for values in (segment.trigram_values, segment.word_values))
    )
    if not fits:
        raise ValueError("its arrays do not fit together")


def _is_share(values: Any) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())
