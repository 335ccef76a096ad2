"""JPEG: its segments up to the pixels, and how often the pixels are gone over."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from dualway.errors import PictureError
from dualway.images.ifd import read_orientation
from dualway.images.layout import Layout, Part
from dualway.images.limits import MAX_PARTS, MAX_PIXELS, MAX_SCANS, MAX_VISITS

_MARKER = re.compile(rb"\xff([^\x00\xff])")
_AFTER_PIXELS = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # what ends a run of pixels; restarts do not
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a segment
_SOI, _EOI, _SOS, _EXIF, _COMMENT = 0xD8, 0xD9, 0xDA, 0xE1, 0xFE
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_USUAL, _PROGRESSIVE = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}, {0xC2, 0xCA}
# What tells how colours are stored; all else in application segments is left out.
_COLOURS = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}


class _Segment(NamedTuple):
    marker: int
    start: int  # of the marker
    data: int
    end: int


class _Frame(NamedTuple):
    width: int
    height: int
    sampling: list[tuple[int, int]]  # of each component: across, down
    progressive: bool

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def samples(self) -> float:
        """Samples a pixel."""
        most = max(across for across, _ in self.sampling) * max(down for _, down in self.sampling)
        return sum(across * down for across, down in self.sampling) / max(most, 1)


def read_jpeg(content: bytes) -> Layout:
    """Return the layout of a JPEG file.

    Raises:
        PictureError: Damaged, of a rare kind, or with more passes over its pixels than any picture needs.
        struct.error: Cut short.
    """
    view = memoryview(content)
    parts: list[Part] = [view[:2]]
    frames: list[_Frame] = []
    orientation = None
    for segment in _segments(content):
        data = view[segment.data : segment.end]
        if segment.marker in _FRAMES:
            frames.append(_read_frame(segment.marker, bytes(data)))
        if segment.marker == _EXIF and orientation is None and bytes(data[:5]) == b"Exif\0":
            orientation = read_orientation(data[6:])
        if segment.marker == _SOS:
            if len(frames) != 1:
                break
            return _layout(content, (*parts, view[segment.start :]), frames[0], segment, orientation or 1)
        if _is_needed(segment.marker, data):
            parts.append(view[segment.start : segment.end])
    raise PictureError("a damaged JPEG file without a picture, or with two; fetch it again")


def _segments(content: bytes) -> Iterator[_Segment]:
    """Yield the segments up to the first pixels."""
    place = 2
    for _ in range(MAX_PARTS):
        found = _MARKER.search(content, place)
        if found is None or found[1][0] in {_SOI, _EOI}:
            return
        marker, data = found[1][0], found.end()
        if marker in _ALONE:
            place = data
            continue
        place = data + max(struct.unpack_from(">H", content, data)[0], 2)
        if place > len(content):
            raise PictureError("a JPEG file cut short in its header; fetch it again")
        yield _Segment(marker, found.start(), data + 2, place)
    raise PictureError(f"a JPEG file of more than {MAX_PARTS:,} parts; save it anew")


def _is_needed(marker: int, data: memoryview) -> bool:
    if marker in _COLOURS:
        return bytes(data[:5]) == _COLOURS[marker]
    return marker != _COMMENT and not 0xE0 <= marker <= 0xEF


def _read_frame(marker: int, data: bytes) -> _Frame:
    depth, height, width, components = struct.unpack_from(">BHHB", data)
    if marker not in _USUAL or depth != 8 or components not in {1, 3, 4}:
        raise PictureError("a JPEG file of a rare kind (lossless, or not 8 bits); save it as an ordinary JPEG or PNG")
    sampling = [(data[at] >> 4, data[at] & 15) for at in range(7, 7 + 3 * components, 3)]
    return _Frame(width, height, sampling, marker in _PROGRESSIVE)


def _layout(content: bytes, parts: tuple[Part, ...], frame: _Frame, first: _Segment, orientation: int) -> Layout:
    scans = _count_scans(content, first)
    if scans > MAX_SCANS or MAX_VISITS < scans * frame.pixels <= scans * MAX_PIXELS:
        raise PictureError(f"a JPEG file that goes over its pixels {scans:,} times or more; save it anew")
    kept = frame.progressive or scans > 1  # then all coefficients are, 2 bytes a sample
    cost = max(8, round(4 + 2 * frame.samples)) if kept else 8
    return Layout("JPEG", frame.width, frame.height, parts, orientation, cost, "progressive JPEG")


def _count_scans(content: bytes, first: _Segment) -> int:
    """Return how many runs of pixels there are, MAX_SCANS + 1 for more."""
    scans, place = 1, first.end
    for _ in range(MAX_PARTS):
        found = _AFTER_PIXELS.search(content, place)
        if found is None or found[1][0] in {_SOI, _EOI} or scans > MAX_SCANS:
            return scans
        marker, place = found[1][0], found.end()
        if marker in _ALONE:
            continue
        scans += marker == _SOS
        place += int.from_bytes(content[place : place + 2], "big")
    raise PictureError(f"a JPEG file of more than {MAX_PARTS:,} parts; save it anew")
