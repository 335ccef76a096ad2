"""From the bytes of a picture to upright RGB pixels, in strips where a step would need one more copy of all of them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dualway.errors import PictureError
from dualway.images.headers import read_header
from dualway.images.layout import Joined, Layout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

_STRIP = 1_000_000  # pixels
_PLAIN = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"}
_SEE_THROUGH = {"LA", "La", "PA", "RGBA", "RGBa"}
_GREY = {"I", "I;16", "I;16L", "I;16B", "I;16N"}


def decode_picture(content: bytes, path: Path) -> Image:
    """Return the upright RGB picture in `content` (the first frame of an animation); `path` is for messages.

    What is transparent becomes white, as the pages for which such pictures are drawn are. Colour profiles are left
    out: the picture encoders were trained on pictures read so, and no parser sees a profile from outside. Adobe's
    inverted CMYK is put right. 16 bits of grey become 8.

    Raises:
        PictureError: Not a picture, broken, or beyond MAX_PIXELS or MAX_MEMORY.
    """
    layout = read_header(content, path)
    with _told(layout.kind, path):
        return _turn(_decode(layout), layout.orientation)


def _decode(layout: Layout) -> Image:
    """Return the RGB picture as it is stored."""
    from PIL import Image

    file = io.BytesIO(layout.parts[0]) if len(layout.parts) == 1 else io.BufferedReader(Joined(layout.parts))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the limits are ours
        with Image.open(file, formats=(layout.kind,)) as picture:
            if picture.size != (layout.width, layout.height):
                raise PictureError(f"a {layout.kind} file that states two sizes; fetch it again")
            picture.load()
            return _to_rgb(picture, layout)


@contextmanager
def _told(kind: str, path: Path) -> Generator[None]:
    """Turn whatever a decoder raises into a PictureError that names the path."""
    try:
        yield
    except PictureError as error:
        raise PictureError(error.problem, path=path) from error
    except MemoryError as error:
        raise PictureError("not decoded, as the memory is full; free some, or scale it down", path=path) from error
    except Exception as error:  # decoders fail in many ways on hostile bytes: struct.error, KeyError, ..
        problem = f"not a readable {kind} picture ({_reason(error)}); fetch it again or save it anew"
        raise PictureError(problem, path=path) from error


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    said = next(iter(str(error).splitlines()), "") or type(error).__name__
    if isinstance(error, UnidentifiedImageError):  # it has the first bytes of its kind
        return "damaged in its header"
    return "cut short" if said.startswith("image file is truncated") else said


def _to_rgb(picture: Image, layout: Layout) -> Image:
    if picture.mode in _SEE_THROUGH or (picture.mode in _PLAIN and "transparency" in picture.info):
        return _in_strips(picture, _on_white)
    if picture.mode in _GREY:
        return _in_strips(picture, partial(_as_8_bits, black=layout.black, white=layout.white))
    if picture.mode == "RGB" and layout.kind != "WEBP":  # whose decoder holds copies, and would be held by it
        return picture
    if picture.mode in _PLAIN:
        return picture.convert("RGB")
    raise PictureError(f"a {layout.kind} picture in the colours {picture.mode}; save it as RGB")


def _in_strips(picture: Image, change: Callable[[Image], Image]) -> Image:
    """Return an RGB picture made strip by strip, so that what lies between never is a copy of the whole."""
    from PIL import Image

    done = Image.new("RGB", picture.size)
    for box in _strips(*picture.size):
        done.paste(change(picture.crop(box)), box)
    return done


def _strips(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    rows = max(_STRIP // width, 1)
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)


def _on_white(picture: Image) -> Image:
    from PIL import Image

    drawn = picture.convert("RGBA")
    ground = Image.new("RGB", drawn.size, "white")
    ground.paste(drawn, mask=drawn.getchannel("A"))
    return ground


def _as_8_bits(picture: Image, *, black: int, white: int) -> Image:
    import numpy as np
    from PIL import Image

    shades = (np.asarray(picture, dtype=np.float32) - black) * (255 / (white - black))
    return Image.fromarray(np.clip(np.rint(shades), 0, 255).astype(np.uint8))


def to_array(picture: Image) -> NDArray[np.uint8]:
    """Return an RGB picture as uint8 [height, width, 3]; `np.asarray` holds one more copy on the way."""
    import numpy as np

    pixels = np.empty((picture.height, picture.width, 3), dtype=np.uint8)
    for box in _strips(*picture.size):
        pixels[box[1] : box[3]] = np.asarray(picture.crop(box))
    return pixels


def _turn(picture: Image, orientation: int) -> Image:
    from PIL.Image import Transpose

    ways = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return picture.transpose(ways[orientation]) if orientation in ways else picture
