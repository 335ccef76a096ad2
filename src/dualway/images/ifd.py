"""TIFF's directories of tags, which EXIF uses too: read entry by entry, nothing followed, nothing trusted."""

from __future__ import annotations

import struct
from typing import NamedTuple

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # bytes of a value, by type
_WHOLE = {1: "B", 3: "H", 4: "L"}
_ENTRY = 12
_ORIENTATION = 0x0112


class Entry(NamedTuple):
    """One entry of a directory: its type and number of values, and where in the file they and the entry itself are."""

    type: int
    num: int
    values_at: int
    at: int

    @property
    def size(self) -> int:
        """Bytes of the values; 0 for an unknown type."""
        return _SIZES.get(self.type, 0) * self.num


class Directory:
    """The first directory of a TIFF file, or of EXIF.

    Args:
        content: The file from its byte order on.

    Raises:
        struct.error: It is cut short.
        ValueError: It is no TIFF file.
    """

    def __init__(self, content: bytes | memoryview) -> None:
        self._content = content
        self.order = {b"II": "<", b"MM": ">"}.get(bytes(content[:2]), "")
        if not self.order or self._unpack("H", 2)[0] != 42:
            raise ValueError("no TIFF file")
        (start,) = self._unpack("L", 4)
        (count,) = self._unpack("H", start)
        self.entries: dict[int, Entry] = {}  # by tag; of a tag that comes twice, the first
        for at in range(start + 2, start + 2 + count * _ENTRY, _ENTRY):
            tag, type_, number, place = self._unpack("HHLL", at)
            inside = _SIZES.get(type_, 0) * number <= 4
            self.entries.setdefault(tag, Entry(type_, number, at + 8 if inside else place, at))

    def numbers(self, tag: int, most: int = 8) -> tuple[int, ...]:
        """Return the first whole numbers of a tag, at most `most`; none where it is missing or holds something else.

        Raises:
            struct.error: They lie outside the file.
        """
        entry = self.entries.get(tag)
        if entry is None or entry.type not in _WHOLE:
            return ()
        return self._unpack(_WHOLE[entry.type] * min(entry.num, most), entry.values_at)

    def number(self, tag: int, missing: int) -> int:
        """Return the first whole number of a tag."""
        return next(iter(self.numbers(tag, 1)), missing)

    def _unpack(self, form: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + form, self._content, at)


def read_orientation(exif: bytes | memoryview) -> int:
    """Return EXIF's orientation, 1 (upright) where it says none or is damaged: the pixels are as good without it."""
    try:
        return as_orientation(Directory(exif).number(_ORIENTATION, 1))
    except (struct.error, ValueError):
        return 1


def orientation_in(directory: Directory) -> int:
    """Return the orientation that a TIFF file states of its picture."""
    return as_orientation(directory.number(_ORIENTATION, 1))


def as_orientation(value: int) -> int:
    """Return a stated orientation, 1 for a value that means nothing."""
    return value if 1 <= value <= 8 else 1
