"""TIFF: its first page. The decoder is given a directory of that page's pixels alone."""

from __future__ import annotations

import struct
from math import ceil

from dualway.errors import PictureError
from dualway.images.ifd import Directory, Entry, orientation_in
from dualway.images.layout import Layout
from dualway.images.limits import MAX_PARTS, MAX_PIXELS, MAX_SIDE

_WIDTH, _HEIGHT, _BITS, _PACKING, _COLOURS, _SAMPLES, _ROWS = 256, 257, 258, 259, 262, 277, 278
_STRIPS, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _FORMAT, _SUBFILE = 273, 322, 323, 324, 339, 254
_STRIP_SIZES, _TILE_SIZES, _PLANES = 279, 325, 284
_KEPT = {
    *(_WIDTH, _HEIGHT, _BITS, _PACKING, _COLOURS, _SAMPLES, _ROWS, _STRIPS, _TILE_WIDTH, _TILE_HEIGHT, _TILES),
    *(_FORMAT, _STRIP_SIZES, _TILE_SIZES, _PLANES),
    266,  # order of bits
    *(292, 293),  # options of fax
    317,  # predictor
    320,  # palette
    *(332, 338),  # inks, and what further samples mean
    347,  # tables of JPEG
    *(529, 530, 531, 532),  # of YCbCr
}
# None, fax (three kinds), LZW, JPEG, deflate (two numbers), PackBits. The others are rare, and one more decoder each.
_JPEG = 7
_USUAL = {1, 2, 3, 4, 5, _JPEG, 8, 32773, 32946}
_WHITE_IS_ZERO = 0
_MOST_SAMPLES = 6
_LARGEST = 2**20  # bytes of a tag's values, offsets of strips and tiles apart


def read_tiff(content: bytes) -> Layout:
    """Return the layout of a TIFF file's first page.

    Raises:
        PictureError: Damaged, or packed or divided in a way that is not read.
        struct.error: Cut short.
    """
    directory = Directory(content)
    width, height = directory.number(_WIDTH, 0), directory.number(_HEIGHT, 0)
    bits = _check_samples(directory)
    _check_parts(directory, len(content))
    depth = max(bits)
    values = (0, (1 << depth) - 1)
    black, white = values[::-1] if directory.number(_COLOURS, 1) == _WHITE_IS_ZERO else values
    return Layout(
        "TIFF",
        width,
        height,
        _parts(content, directory),
        orientation_in(directory),
        _cost(directory, bits, width * height),
        "this kind of TIFF",
        black,
        white,
    )


def _check_samples(directory: Directory) -> tuple[int, ...]:
    """Return the bits of each sample."""
    if directory.number(_SUBFILE, 0) & 1:
        raise PictureError("a TIFF file that begins with a preview, as cameras' raw files do; save it as JPEG")
    if directory.number(_PACKING, 1) not in _USUAL:
        packing = directory.number(_PACKING, 1)
        raise PictureError(f"a TIFF file packed in a rare way ({packing}); save it as PNG or with LZW")
    bits, formats = directory.numbers(_BITS) or (1,), directory.numbers(_FORMAT)
    if max(bits) > 16 or any(form != 1 for form in formats):
        raise PictureError("a TIFF file of numbers of which none is stated to be white; save it with 8 or 16 bits")
    samples = directory.number(_SAMPLES, len(bits))
    if not 1 <= samples <= _MOST_SAMPLES:
        raise PictureError(f"a TIFF file of {samples:,} values a pixel; save it as RGB")
    return bits * samples if len(bits) == 1 else bits


def _check_parts(directory: Directory, size: int) -> None:
    for tag in _KEPT & directory.entries.keys():
        entry = directory.entries[tag]
        divided = tag in {_STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES}
        if divided and entry.num > MAX_PARTS:
            raise PictureError(f"a TIFF file of more than {MAX_PARTS:,} strips or tiles; save it anew")
        if entry.values_at + entry.size > size or (entry.size > _LARGEST and not divided):
            raise PictureError("a damaged TIFF file, with tags that lie outside it; fetch it again")
    width, height = directory.number(_TILE_WIDTH, 1), directory.number(_TILE_HEIGHT, 1)
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise PictureError(f"a TIFF file with tiles of {width} x {height} pixels, too large to unpack; save it anew")


def _cost(directory: Directory, bits: tuple[int, ...], pixels: int) -> int:
    """Return bytes a pixel: the picture, and a strip or tile as it is unpacked, which may be all of it or more."""
    packed = directory.number(_PACKING, 1)
    unpacked = ceil(sum(bits) / 8) if packed != 1 else 0
    unpacked += 2 * len(bits) if packed == _JPEG else 0
    tile = directory.number(_TILE_WIDTH, 1) * directory.number(_TILE_HEIGHT, 1)
    return max(8, 4 + ceil(unpacked * max(tile / max(pixels, 1), 1)))


def _parts(content: bytes, directory: Directory) -> tuple[bytes | memoryview, ...]:
    """Return the file with another directory behind it, which holds what is needed to decode the first page."""
    view = memoryview(content)
    entries = sorted((tag, entry) for tag, entry in directory.entries.items() if tag in _KEPT)
    start = len(content) + len(content) % 2
    head = content[:4] + struct.pack(directory.order + "L", start)
    return head, view[8:], b"\0" * (start - len(content)), _pack(content, directory.order, [e for _, e in entries])


def _pack(content: bytes, order: str, entries: list[Entry]) -> bytes:
    """Return a directory of entries as they stand in the file; no other follows it."""
    count = struct.pack(order + "H", len(entries))
    return b"".join([count, *(content[entry.at : entry.at + 12] for entry in entries), b"\0" * 4])
