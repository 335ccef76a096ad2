"""What the first bytes of a file say: which kind of picture it is, how large, and what its decoder is to be given."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dualway.errors import PictureError
from dualway.images.bmp import read_bmp
from dualway.images.gif import read_gif
from dualway.images.jpeg import read_jpeg
from dualway.images.layout import Layout
from dualway.images.limits import MAX_MEMORY, MAX_PIXELS, MAX_SIDE
from dualway.images.png import read_png
from dualway.images.tiff import read_tiff
from dualway.images.webp import read_webp

_READERS: dict[str, Callable[[bytes], Layout]] = {
    "JPEG": read_jpeg,
    "PNG": read_png,
    "WEBP": read_webp,
    "GIF": read_gif,
    "BMP": read_bmp,
    "TIFF": read_tiff,
}
KINDS = tuple(_READERS)  # as Pillow calls them
_TURNED = {5, 6, 7, 8}  # EXIF: values that swap width and height
_CONVERT = "convert it to one of these"
_FETCH = "fetch the picture itself"


@dataclass(frozen=True)
class _Other:
    """A kind of file that is not read: how it begins, what it is called, and what to do about it."""

    starts: tuple[bytes, ...]
    name: str
    remedy: str = _CONVERT
    at: int = 0


# The order matters: what a more special line does not take, a later one may.
_OTHERS = (
    _Other((b"avif", b"avis"), "an AVIF picture", at=8),
    _Other((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "a HEIC picture", at=8),
    _Other((b"ftyp",), "a video", "give a frame of it", at=4),
    _Other((b"jP  ", b"JXL "), "a JPEG 2000 or JPEG XL picture", at=4),
    _Other((b"\xff\x4f\xff\x51", b"\xff\x0a"), "a JPEG 2000 or JPEG XL picture"),
    _Other((b"\0\0\1\0", b"\0\0\2\0"), "an icon"),
    _Other((b"8BPS",), "a Photoshop picture"),
    _Other((b"II+\0", b"MM\0+"), "a BigTIFF picture"),
    _Other((b"%PDF", b"%!PS", b"\xc5\xd0\xd3\xc6"), "a PDF or PostScript page", "draw it as PNG"),
    _Other((b"\x1f\x8b", b"PK", b"7z\xbc\xaf", b"BZh", b"\xfd7zXZ", b"Rar!"), "a packed file", "unpack it"),
    _Other((b"version https://git-lfs",), "a pointer of Git LFS", "run `git lfs pull` where it comes from"),
    _Other((b"\x1aE\xdf\xa3", b"FLV"), "a video", "give a frame of it"),
    _Other((b"{", b"["), "JSON", _FETCH),
)
_HEAD = 1024  # bytes in which a page or a drawing shows itself


def read_header(content: bytes, path: Path) -> Layout:
    """Return how the picture in `content` is laid out, from its header alone; `path` is for messages.

    Raises:
        PictureError: Not a picture of a known kind, damaged in its header, or beyond a limit.
    """
    kind = _kind_of(content)
    if kind is None:
        raise PictureError(_describe(content), path=path)
    try:
        layout = _READERS[kind](content)
        _check(layout)
    except PictureError as error:
        raise PictureError(error.problem, path=path) from error
    except (struct.error, IndexError) as error:
        raise PictureError(f"a {kind} file cut short in its header; fetch it again", path=path) from error
    return layout


def upright_size(layout: Layout) -> tuple[int, int]:
    """Return (width, height) of the picture once it is set upright."""
    turned = layout.orientation in _TURNED
    return (layout.height, layout.width) if turned else (layout.width, layout.height)


def _check(layout: Layout) -> None:
    width, height = layout.width, layout.height
    if not width or not height:
        raise PictureError(f"a {layout.kind} picture without pixels; fetch it again")
    if width * height > MAX_PIXELS:
        raise PictureError(f"{width} x {height} pixels, more than {MAX_PIXELS:,}; scale it down")
    if max(width, height) > MAX_SIDE:
        raise PictureError(f"{width} x {height} pixels, a side of more than {MAX_SIDE:,}; cut it into pieces")
    if width * height * layout.cost > MAX_MEMORY:
        raise PictureError(
            f"{width} x {height} pixels as {layout.described or layout.kind} take {width * height * layout.cost:,} "
            f"bytes to decode, more than {MAX_MEMORY:,}; scale it down, or save it as an ordinary JPEG or PNG"
        )


def _kind_of(content: bytes) -> str | None:
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WEBP"
    if content.startswith(b"BM"):
        return "BMP"
    return "TIFF" if content.startswith((b"II*\0", b"MM\0*")) else None


def _describe(content: bytes) -> str:
    what, remedy = _other(content)
    return f"{what}not a picture of a known kind ({', '.join(KINDS)}); {remedy}"


def _other(content: bytes) -> tuple[str, str]:
    if not content:
        return "empty, ", "fetch it again"
    if not any(content[:_HEAD]):
        return "nothing but zeros, ", "fetch it again"
    for other in _OTHERS:
        if content.startswith(other.starts, other.at):
            return f"{other.name}, ", other.remedy
    head = content[:_HEAD].replace(b"\0", b"").lower()  # UTF-16 too
    if b"<svg" in head or b"<!doctype svg" in head:
        return "an SVG drawing, ", "draw it as PNG"
    if any(sign in head for sign in (b"<html", b"<!doctype html", b"<head", b"<body", b"<title", b"<script")):
        return "a web page, ", _FETCH
    return "", _CONVERT
