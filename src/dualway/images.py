"""Pictures from outside, opened with care: a path in, an upright RGB picture of bounded size out."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from dualway.errors import PictureError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000  # a decoded picture of this size takes 192 MB
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def open_picture(path: Path) -> Image:
    """Return the upright RGB picture in `path` (the first frame of an animation), fully decoded.

    Raises:
        PictureError: Missing, not a picture, broken, or larger than MAX_BYTES or MAX_PIXELS.
    """
    from PIL import Image, ImageOps

    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise PictureError(f"{size:,} bytes, more than {MAX_BYTES:,}; scale it down", path=path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the limits below are ours
            with Image.open(path, formats=_FORMATS) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise PictureError(f"{width} x {height} pixels, more than {MAX_PIXELS:,}", path=path)
                picture.load()
                return ImageOps.exif_transpose(picture).convert("RGB")
    except PictureError:
        raise
    except FileNotFoundError as error:
        raise PictureError("no such picture", path=path) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, EOFError, MemoryError) as error:
        raise PictureError(
            f"not a readable picture ({next(iter(str(error).splitlines()), 'broken')})", path=path
        ) from (error)
