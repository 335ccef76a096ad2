"""Whatever lies at a path: an upright RGB picture, or a PictureError that names the path. Never another error."""

from __future__ import annotations

import io
import os
import random
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dualway.errors import PictureError
from dualway.images import MAX_BYTES, decode_picture, open_picture, picture_size


def noise(size=(40, 30), seed=0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def save(path: Path, picture: Image.Image, **options) -> Path:
    picture.save(path, **options)
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG of any stated size with hardly any content."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def encoded(kind: str, picture: Image.Image | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    (picture or noise()).save(buffer, kind, **options)
    return buffer.getvalue()


class TestPicturesOfEveryKind:
    @pytest.mark.parametrize(
        ("kind", "mode"),
        [
            *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
            *(("PNG", mode) for mode in ("RGB", "L", "P", "1", "RGBA", "LA")),
            *(("WEBP", mode) for mode in ("RGB", "L", "RGBA")),
            *(("GIF", mode) for mode in ("RGB", "L", "P", "1", "RGBA")),
            *(("BMP", mode) for mode in ("RGB", "L", "P", "1")),
            *(("TIFF", mode) for mode in ("RGB", "L", "P", "1", "RGBA", "LA", "CMYK")),
        ],
    )
    def test_a_picture_becomes_rgb_of_its_size(self, kind, mode, tmp_path):
        path = save(tmp_path / "a.jpg", noise().convert(mode), format=kind)  # the suffix says nothing
        picture = open_picture(path)
        assert (picture.mode, picture.size) == ("RGB", (40, 30))

    def test_pixels_are_kept(self, tmp_path):
        original = noise()
        assert np.array_equal(np.asarray(open_picture(save(tmp_path / "a.png", original))), np.asarray(original))

    def test_the_colours_of_print_are_turned_into_those_of_the_screen(self, tmp_path):
        red = Image.new("RGB", (8, 8), (255, 0, 0)).convert("CMYK")
        r, g, b = open_picture(save(tmp_path / "a.jpg", red)).getpixel((4, 4))
        assert r > 200
        assert max(g, b) < 60

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_16_bits_a_pixel_keep_their_shades(self, suffix, tmp_path):
        shades = np.linspace(0, 65535, 64 * 4).reshape(4, 64).astype(np.uint16)
        found = np.asarray(open_picture(save(tmp_path / f"a.{suffix}", Image.fromarray(shades))))[:, :, 0]
        assert np.abs(found.astype(int) - shades // 257).max() <= 1

    def test_an_animation_gives_its_first_frame(self, tmp_path):
        frames = [Image.new("RGB", (9, 7), color) for color in ("red", "green", "blue")]
        path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
        picture = open_picture(path)
        assert picture.size == (9, 7)
        assert picture.getpixel((0, 0)) == (255, 0, 0)

    def test_a_palette_with_a_transparent_colour_is_read_without_a_word(self, tmp_path):
        picture = noise().convert("P")
        path = save(tmp_path / "a.png", picture, transparency=bytes(range(256)))
        assert open_picture(path).mode == "RGB"

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_a_turned_picture_is_set_upright(self, orientation, tmp_path):
        upright = Image.new("RGB", (4, 6), "black")
        upright.putpixel((0, 0), (255, 255, 255))
        turn = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270,
        }
        stored = upright.transpose(turn[orientation]) if orientation in turn else upright
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = save(tmp_path / "a.png", stored, exif=exif)
        picture = open_picture(path)
        assert picture.size == picture_size(path) == (4, 6)
        assert picture.getpixel((0, 0)) == (255, 255, 255)

    def test_one_pixel_is_a_picture(self, tmp_path):
        path = save(tmp_path / "a.png", Image.new("RGB", (1, 1), (1, 2, 3)))
        assert open_picture(path).getpixel((0, 0)) == (1, 2, 3)
        assert picture_size(path) == (1, 1)

    @pytest.mark.parametrize("name", ["фото.png", "写真.png", "صورة.png", "a b'\"&#%.png", "🙂.png", "-x.png"])
    def test_a_name_may_be_of_any_script(self, name, tmp_path):
        assert open_picture(save(tmp_path / name, noise())).size == (40, 30)


class TestWhatIsNoPicture:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "not a picture of a known kind"),
            (b"<!DOCTYPE html><title>404</title>", r"not a picture of a known kind \(JPEG, PNG"),
            (b"\xff\xd8\xff\xe0", "not a"),
            (b"%PDF-1.4", "not a picture"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),  # would start an interpreter
            (b"GIF89a", "not a"),
            (os.urandom(1000), "not a picture"),
        ],
        ids=["empty", "html", "jpeg start", "pdf", "eps", "gif start", "chance"],
    )
    def test_another_file_is_refused(self, content, reason, tmp_path):
        path = tmp_path / "photo.jpg"
        path.write_bytes(content)
        for read in (open_picture, picture_size):
            with pytest.raises(PictureError, match=rf"photo\.jpg: {reason}") as caught:
                read(path)
            assert caught.value.path == path

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
    def test_a_truncated_picture_is_refused(self, kind, tmp_path):
        content = encoded(kind)
        path = tmp_path / "half.jpg"
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(PictureError, match=r"half\.jpg: not a"):
            open_picture(path)

    def test_paths_without_a_picture_are_refused(self, tmp_path):
        (tmp_path / "file").write_text("x")
        for path, reason in [
            (tmp_path / "nowhere.jpg", "no such picture"),
            (tmp_path / "file" / "a.jpg", "no such picture"),
            (tmp_path, "not a file"),
            (tmp_path / ("x" * 300), "cannot be read"),
            (Path("a\x00b.jpg"), "cannot be read"),
            (Path("a\ud800b.jpg"), "cannot be read"),
        ]:
            with pytest.raises(PictureError, match=reason):
                open_picture(path)

    def test_pipes_and_devices_are_not_read(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for ever
        with pytest.raises(PictureError, match=r"pipe\.jpg: not a file"):
            open_picture(tmp_path / "pipe.jpg")
        with pytest.raises(PictureError, match="/dev/zero: not a file"):
            open_picture(Path("/dev/zero"))

    @pytest.mark.parametrize("size", [(60_000, 60_000), (9_000, 9_000), (2**31 - 1, 1)])
    def test_stated_dimensions_beyond_measure_are_refused_before_decoding(self, size, tmp_path):
        path = tmp_path / "bomb.png"
        path.write_bytes(png_header(*size))
        start = time.perf_counter()
        for read in (open_picture, picture_size):
            with pytest.raises(PictureError, match=r"bomb\.png"):
                read(path)
        assert time.perf_counter() - start < 10

    def test_a_file_beyond_measure_is_refused_unread(self, tmp_path):
        path = tmp_path / "large.png"
        with path.open("wb") as file:
            file.truncate(MAX_BYTES + 1)
        with pytest.raises(PictureError, match="more than 67,108,864; scale it down"):
            open_picture(path)

    def test_a_compressed_text_beyond_measure_is_refused(self, tmp_path):
        data = b"comment\0\0" + zlib.compress(b"x" * 300_000_000, 1)
        chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
        content = encoded("PNG")
        end = 8 + 25
        path = tmp_path / "text.png"
        path.write_bytes(content[:end] + chunk + content[end:])
        with pytest.raises(PictureError, match=r"text\.png"):
            open_picture(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_damaged_bytes_give_a_picture_or_a_picture_error(kind):
    """Once a struct.error came out of a WebP's broken EXIF; seeds find such things again."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words"
    content = encoded(kind, noise((12, 9)), **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}))
    chance = random.Random(kind)
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 12)):
            damaged[chance.randrange(min(len(damaged), 400))] = chance.randrange(256)
        with suppress(PictureError):
            assert decode_picture(bytes(damaged), Path("damaged")).mode == "RGB"


def test_a_decoder_that_fails_in_its_own_way_is_a_picture_error(tmp_path, monkeypatch):
    """What Pillow did for a WebP with a broken EXIF."""

    def fail(_):
        raise struct.error("required argument is not an integer")

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", fail)
    path = save(tmp_path / "a.webp", noise())
    with pytest.raises(PictureError, match=r"a\.webp: not a readable picture \(required argument"):
        open_picture(path)
