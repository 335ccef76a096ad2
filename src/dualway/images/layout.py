"""How a picture's file is laid out, as its header says, and the file as its decoder is given it."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

# A part of the file, or bytes that stand in for a part.
Part = bytes | memoryview


@dataclass(frozen=True)
class Layout:
    """What a header says.

    kind: As Pillow calls it.
    width, height: In pixels, as stored.
    parts: What the decoder is given, one after the other: the pixels and what is needed to read them. Comments,
        profiles, previews, EXIF and later frames are left out, so nothing in them is ever parsed.
    orientation: EXIF's, 1 to 8; 1 is upright.
    cost: Bytes a pixel that decoding and turning into upright RGB take at their peak. 8 are a picture beside its copy.
    described: What makes `cost` large, for messages.
    black, white: Stored values of black and white in a picture with more than 8 bits of grey.
    """

    kind: str
    width: int
    height: int
    parts: tuple[Part, ...]
    orientation: int = 1
    cost: int = 8
    described: str = ""
    black: int = 0
    white: int = 65535


class Joined(io.RawIOBase):
    """Parts of a file read as one file, without a copy of them."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = [memoryview(part) for part in parts if len(part)]
        self._ends = list(accumulate(map(len, self._parts)))
        self._place = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that reading may go on anywhere."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, and return it."""
        size = self._ends[-1] if self._ends else 0
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: size}[whence]
        self._place = max(start + offset, 0)
        return self._place

    def tell(self) -> int:
        """Return the place at which reading goes on."""
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Fill `buffer` from the part at hand, and return how many bytes that were; 0 at the end."""
        number = bisect_right(self._ends, self._place)
        if number == len(self._parts):
            return 0
        left = self._ends[number] - self._place
        taken = self._parts[number][-left:][: len(buffer)]
        buffer[: len(taken)] = taken
        self._place += len(taken)
        return len(taken)
