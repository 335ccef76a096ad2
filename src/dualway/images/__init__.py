"""Pictures from outside, opened with care: a path in, an upright RGB picture of bounded size out.

A file passes three gates, and whatever fails at one is a PictureError with its path, the problem and the remedy:

1. `files.py`: a regular file of at most MAX_BYTES, not reached by a link out of the folders it belongs to.
2. `headers.py`: of a kind that is read, whose header, parsed here, states at most MAX_PIXELS and needs at most
   MAX_MEMORY to decode. One module a kind says which parts of the file hold pixels.
3. `decoding.py`: Pillow is given these parts, and nothing else of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dualway.images.decoding import decode_picture, to_array
from dualway.images.files import leads_out, read_picture
from dualway.images.headers import KINDS, read_header, upright_size
from dualway.images.limits import MAX_BYTES, MAX_MEMORY, MAX_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image

DECODING = 2  # raise it whenever the pixels of some picture could change: vectors are kept by it

__all__ = [
    "DECODING",
    "KINDS",
    "MAX_BYTES",
    "MAX_MEMORY",
    "MAX_PIXELS",
    "content_size",
    "decode_picture",
    "leads_out",
    "open_picture",
    "picture_size",
    "read_picture",
    "to_array",
]


def open_picture(path: Path, folders: Sequence[Path] | None = None) -> Image:
    """Return the upright RGB picture in `path` (the first frame of an animation), fully decoded.

    Args:
        path: The file.
        folders: Those that a link may not lead out of; None: links are followed wherever they lead.

    Raises:
        PictureError: Missing, not a picture, broken, beyond a limit, or a link out of `folders`.
    """
    return decode_picture(read_picture(path, folders), path)


def picture_size(path: Path, folders: Sequence[Path] | None = None) -> tuple[int, int]:
    """Return (width, height) of the upright picture in `path`, from its header alone.

    Raises:
        PictureError: As `open_picture`, except for what only decoding would show.
    """
    return content_size(read_picture(path, folders), path)


def content_size(content: bytes, path: Path) -> tuple[int, int]:
    """Return (width, height) of the upright picture in `content`, from its header alone; `path` is for messages.

    Raises:
        PictureError: As `decode_picture`, except for what only decoding would show.
    """
    return upright_size(read_header(content, path))
