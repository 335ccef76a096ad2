"""BMP: its header."""

from __future__ import annotations

import struct

from dualway.errors import PictureError
from dualway.images.layout import Layout

_OLDEST = 12  # bytes of OS/2's header
_PLAIN = {0, 3}  # pixels as they are, and the same with masks for the colours


def read_bmp(content: bytes) -> Layout:
    """Return the layout of a BMP file.

    Raises:
        PictureError: Its pixels are packed. Run lengths may unpack to any size, and nobody uses them any more.
        struct.error: Cut short.
    """
    (header,) = struct.unpack_from("<L", content, 14)
    if header == _OLDEST:
        width, height = struct.unpack_from("<HH", content, 18)
        return Layout("BMP", width, height, (content,))
    width, height, _, _, packing = struct.unpack_from("<LlHHL", content, 18)
    if packing not in _PLAIN:
        raise PictureError("a BMP file with packed pixels; save it as PNG")
    return Layout("BMP", width, abs(height), (content,))
