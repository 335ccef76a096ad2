"""GIF: its first frame. Comments and later frames are never looked at."""

from __future__ import annotations

import struct

from dualway.errors import PictureError
from dualway.images.layout import Layout, Part
from dualway.images.limits import MAX_PARTS

_EXTENSION, _FRAME, _CONTROL = 0x21, 0x2C, 0xF9


def read_gif(content: bytes) -> Layout:
    """Return the layout of a GIF file's first frame, on a canvas that holds all of it.

    Raises:
        PictureError: Damaged, or with too much before its first frame.
        struct.error, IndexError: Cut short.
    """
    view = memoryview(content)
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    place = 13 + _palette(flags)
    parts: list[Part] = [view[:place]]
    blocks = 0
    while content[place] == _EXTENSION:
        if content[place + 1] == _CONTROL and content[place + 2] >= 4:
            parts[1:] = [_transparency(content[place + 3], content[place + 6])]
        place += 2
        while size := content[place]:
            place, blocks = place + 1 + size, blocks + 1
            if blocks > MAX_PARTS:
                raise PictureError(f"a GIF file with more than {MAX_PARTS:,} blocks before its picture; save it anew")
        place += 1
        blocks += 1  # an empty extension takes time too
    if content[place] != _FRAME:
        raise PictureError("a damaged GIF file without a picture; fetch it again")
    left, top, across, down = struct.unpack_from("<HHHH", content, place + 1)
    return Layout("GIF", max(width, left + across), max(height, top + down), (*parts, view[place:]))


def _palette(flags: int) -> int:
    """Return the bytes of the palette that a header's flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _transparency(flags: int, colour: int) -> bytes:
    """Return a control block that says which colour is transparent, and nothing else."""
    return bytes([_EXTENSION, _CONTROL, 4, flags & 1, 0, 0, colour, 0])
