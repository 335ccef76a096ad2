"""Pictures for the page: scaled down, without metadata, inside the file; a broken one becomes words in its place."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dualway.errors import PictureError
from dualway.images import open_picture
from dualway.report.markup import shorten

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SIDE = 480  # pixels
MAX_BYTES = 96 * 1024  # of one picture as a file: forty of them stay below 6 MB as text
_QUALITIES = (82, 64, 45)


class Photo(NamedTuple):
    """A picture inside the page.

    uri: The data URI.
    width, height: Its size in pixels as embedded.
    full_width, full_height: Of the upright original, which boxes refer to.
    """

    uri: str
    width: int
    height: int
    full_width: int
    full_height: int


class Album:
    """The pictures of one report, each file read once; with `pictures` False none is read at all."""

    def __init__(self, *, pictures: bool) -> None:
        self._wanted = pictures
        self._found: dict[Path, Photo | str] = {}

    def find(self, path: Path | None) -> Photo | str:
        """Return the picture, or the words that stand in its place: none, left out, or what is wrong with it."""
        if path is None:
            return "No picture."
        if not self._wanted:
            return "Picture left out on request."
        if path not in self._found:
            try:
                self._found[path] = embed(open_picture(path))
            except PictureError as error:
                # The name alone: where a reader of the page keeps files is nobody else's business.
                name, problem = shorten(path.name, 80), shorten(error.problem, 200)
                self._found[path] = f"The picture {name} cannot be shown: {problem}."
        return self._found[path]


def embed(picture: Image) -> Photo:
    """Return an RGB picture scaled down to MAX_SIDE and MAX_BYTES as a data URI; nothing but its pixels goes in."""
    full = picture.size
    small = picture.copy()
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    small.info.clear()  # comments and profiles would be written along
    kind, content = _encode(small)
    uri = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    return Photo(uri, *small.size, *full)


def _encode(picture: Image) -> tuple[str, bytes]:
    """Return PNG where it costs at most twice what JPEG does, as of drawings, which JPEG blurs; else JPEG."""
    drawing, photo = _save(picture, "PNG"), _save(picture, "JPEG", quality=_QUALITIES[0], optimize=True)
    if len(drawing) <= min(2 * len(photo), MAX_BYTES):
        return "png", drawing
    for quality in _QUALITIES[1:]:
        if len(photo) <= MAX_BYTES:
            break
        photo = _save(picture, "JPEG", quality=quality, optimize=True)
    if len(photo) > MAX_BYTES:  # pure noise: half the side, a quarter of the bytes
        return _encode(picture.reduce(2))
    return "jpeg", photo


def _save(picture: Image, kind: str, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
