"""PNG: its chunks. Only those that hold the pixels and their colours reach the decoder."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from dualway.errors import PictureError
from dualway.images.ifd import read_orientation
from dualway.images.layout import Layout, Part
from dualway.images.limits import MAX_PARTS

_END = b"\0\0\0\0IEND\xaeB`\x82"
_START = 8  # bytes of the signature


class _Chunk(NamedTuple):
    kind: bytes
    start: int  # of its length
    end: int  # behind its checksum

    def data(self, view: memoryview) -> memoryview:
        return view[self.start + 8 : self.end - 4]


def read_png(content: bytes) -> Layout:
    """Return the layout of a PNG file; of an animated one, its still picture.

    Raises:
        PictureError: Damaged, cut short or in too many pieces.
        struct.error: Cut short.
    """
    view = memoryview(content)
    width, height, depth = struct.unpack_from(">LLB", content, _START + 8)
    if content[_START + 4 : _START + 8] != b"IHDR":
        raise PictureError("a damaged PNG file without a header; fetch it again")
    before: dict[bytes, Part] = {}
    pixels: list[int] = []  # where they begin and end
    orientation = 1
    for chunk in _chunks(content):
        if chunk.kind == b"IDAT" and (not pixels or chunk.start == pixels[1]):
            pixels = [pixels[0] if pixels else chunk.start, chunk.end]
        elif chunk.kind == b"eXIf":
            orientation = read_orientation(chunk.data(view).tobytes().removeprefix(b"Exif\0\0"))
        elif not pixels and _is_needed(chunk.kind, depth):
            before.setdefault(chunk.kind, view[chunk.start : chunk.end])
    if not pixels:
        raise PictureError("a PNG file without pixels; fetch it again")
    if pixels[1] > len(content):
        raise PictureError("a PNG file cut short in its pixels; fetch it again")
    parts = (view[:_START], *before.values(), view[pixels[0] : pixels[1]], _END)
    return Layout("PNG", width, height, parts, orientation)


def _is_needed(kind: bytes, depth: int) -> bool:
    # A colour that is transparent is stated in 16 bits where the pixels have them; decoded pixels have 8.
    return kind in {b"IHDR", b"PLTE"} or (kind == b"tRNS" and depth <= 8)


def _chunks(content: bytes) -> Iterator[_Chunk]:
    """Yield the chunks up to the end; the last may reach beyond the file."""
    place = _START
    for _ in range(MAX_PARTS):
        if place + 8 > len(content):
            return
        length, kind = struct.unpack_from(">L4s", content, place)
        chunk = _Chunk(kind, place, place + 12 + length)
        yield chunk
        place = chunk.end
        if kind == b"IEND":
            return
    raise PictureError(f"a PNG file of more than {MAX_PARTS:,} chunks; save it anew")
