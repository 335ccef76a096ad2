"""Pictures from outside, opened with care: a path in, an upright RGB picture of bounded size out."""

from __future__ import annotations

import io
import stat
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dualway.errors import PictureError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000  # a decoded picture of this size takes 192 MB
_ORIENTATION, _TURNED = 0x0112, {5, 6, 7, 8}  # EXIF: values that swap width and height
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def open_picture(path: Path) -> Image:
    """Return the upright RGB picture in `path` (the first frame of an animation), fully decoded.

    Raises:
        PictureError: Missing, not a picture, broken, or larger than MAX_BYTES or MAX_PIXELS.
    """
    return decode_picture(read_picture(path), path)


def read_picture(path: Path) -> bytes:
    """Return the bytes of a picture's file.

    Raises:
        PictureError: Missing, not a regular file (a folder, a pipe, a device), or larger than MAX_BYTES.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise PictureError("not a file", path=path)
        if status.st_size > MAX_BYTES:
            raise PictureError(f"{status.st_size:,} bytes, more than {MAX_BYTES:,}; scale it down", path=path)
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PictureError("no such picture", path=path) from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file system takes
        raise PictureError(f"cannot be read ({getattr(error, 'strerror', None) or error})", path=path) from error


def decode_picture(content: bytes, path: Path) -> Image:
    """Return the upright RGB picture in `content`; `path` is for messages.

    Raises:
        PictureError: Not a picture, broken, or larger than MAX_PIXELS.
    """
    from PIL import ImageOps

    with _opened(content, path) as picture:
        picture.load()
        return _to_rgb(ImageOps.exif_transpose(picture))


def picture_size(path: Path) -> tuple[int, int]:
    """Return (width, height) of the upright picture in `path`, from its header alone.

    Raises:
        PictureError: As `open_picture`, except for what only decoding would show.
    """
    with _opened(read_picture(path), path) as picture:
        width, height = picture.size
        return (height, width) if picture.getexif().get(_ORIENTATION) in _TURNED else (width, height)


@contextmanager
def _opened(content: bytes, path: Path) -> Generator[Image]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the limits below are ours
            with Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise PictureError(f"{width} x {height} pixels, more than {MAX_PIXELS:,}", path=path)
                yield picture
    except PictureError:
        raise
    except Image.UnidentifiedImageError as error:
        raise PictureError(f"not a picture of a known kind ({', '.join(_FORMATS)})", path=path) from error
    except Exception as error:  # decoders fail in many ways on hostile bytes: struct.error, KeyError, ..
        raise PictureError(
            f"not a readable picture ({next(iter(str(error).splitlines()), 'broken')})", path=path
        ) from error


def _to_rgb(picture: Image) -> Image:
    if picture.mode.startswith("I"):  # 16 bits a pixel: Pillow would cut at 255, so that all but the darkest is white
        picture = picture.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    return picture.convert("RGB")
