"""WebP: its chunks, for the size of its canvas and its orientation."""

from __future__ import annotations

import struct

from dualway.errors import PictureError
from dualway.images.ifd import read_orientation
from dualway.images.layout import Layout
from dualway.images.limits import MAX_PARTS

# libwebp's canvas and the one before it, the copy of the result and the picture are 4 bytes a pixel each.
_COST = 17
_MAX_SIDE = 0x3FFF  # of a picture that is no animation


def read_webp(content: bytes) -> Layout:
    """Return the layout of a WebP file; of an animated one, its first frame on its canvas.

    Raises:
        PictureError: Damaged, or in too many pieces.
        struct.error: Cut short.
    """
    size = _size(content)
    return Layout("WEBP", *size, (content,), _orientation(content), _COST, "WebP")


def _size(content: bytes) -> tuple[int, int]:
    kind = content[12:16]
    if kind == b"VP8X":
        low = struct.unpack_from("<HBHB", content, 24)
        return (low[0] | low[1] << 16) + 1, (low[2] | low[3] << 16) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & _MAX_SIDE, height & _MAX_SIDE
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<L", content, 21)
        return (bits & _MAX_SIDE) + 1, (bits >> 14 & _MAX_SIDE) + 1
    raise PictureError("a damaged WebP file without a picture; fetch it again")


def _orientation(content: bytes) -> int:
    place = 12
    for _ in range(MAX_PARTS):
        if place + 8 > len(content):
            return 1
        kind, size = struct.unpack_from("<4sL", content, place)
        if kind == b"EXIF":
            return read_orientation(content[place + 8 : place + 8 + size].removeprefix(b"Exif\0\0"))
        place += 8 + size + size % 2
    raise PictureError(f"a WebP file of more than {MAX_PARTS:,} chunks; save it anew")
