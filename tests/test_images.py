"""Whatever lies at a path: an upright RGB picture, or a PictureError that names the path. Never another error."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import time
import zlib
from contextlib import chdir, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import hostile_pictures as made
from tests.hostile_pictures import chunk, encoded, into_jpeg, into_png

from dualway.datasets import open_dataset
from dualway.datasets.audit import audit
from dualway.datasets.convert import Options, convert
from dualway.errors import PictureError
from dualway.images import (
    KINDS,
    MAX_BYTES,
    content_size,
    decode_picture,
    leads_out,
    open_picture,
    picture_size,
    read_picture,
    to_array,
)
from dualway.images.headers import read_header
from dualway.images.layout import Joined
from dualway.images.limits import MAX_SIDE

PATH = Path("a.jpg")


def noise(size=(40, 30), seed=0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def save(path: Path, picture: Image.Image, **options) -> Path:
    picture.save(path, **options)
    return path


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

    def test_grey_of_16_bits_may_be_stored_as_its_negative_or_in_12_bits(self):
        values = [0, 4095, 2048, 1000]
        negative = made.plain_tags(4, 1, (16,), t262=(3, [0]))
        found = decode_picture(made.tiff(negative, struct.pack("<4H", *(v * 16 for v in values))), PATH)
        assert [found.getpixel((x, 0))[0] for x in range(4)] == [255, 0, 127, 193]
        packed = bytes([0x00, 0x0F, 0xFF, 0x80, 0x03, 0xE8])  # the values, 12 bits each
        found = decode_picture(made.tiff(made.plain_tags(4, 1, (12,)), packed), PATH)
        assert [found.getpixel((x, 0))[0] for x in range(4)] == [0, 255, 128, 62]

    def test_colours_of_16_bits_keep_their_shades(self):
        row = np.array([[65535, 0, 257], [32896, 65535, 0]], dtype=">u2")
        found = decode_picture(made.png(2, 1, b"\0" + row.tobytes(), depth=16), PATH)
        assert [found.getpixel((x, 0)) for x in range(2)] == [(255, 0, 1), (128, 255, 0)]

    @pytest.mark.parametrize("content", [made.ycck(), encoded("JPEG", Image.new("CMYK", (16, 16), (0, 255, 255, 0)))])
    def test_inverted_inks_are_put_right(self, content):
        assert b"Adobe" in content
        r, g, b = decode_picture(content, PATH).getpixel((8, 8))
        assert r > 245
        assert max(g, b) < 10

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
    def test_an_animation_gives_its_first_frame(self, kind):
        frames = [Image.new("RGB", (9, 7), color) for color in ("red", "green", "blue")]
        content = encoded(kind, frames[0], save_all=True, append_images=frames[1:], lossless=True)
        picture = decode_picture(content, PATH)
        assert picture.size == content_size(content, PATH) == (9, 7)
        assert picture.getpixel((0, 0)) == (255, 0, 0)

    @pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_what_is_transparent_is_white(self, kind, mode):
        """As the pages are for which such drawings are made: black lines on nothing stay visible."""
        drawing = Image.new("LA", (3, 1), (0, 0))
        drawing.putpixel((1, 0), (0, 255))
        drawing.putpixel((2, 0), (0, 128))
        picture = decode_picture(encoded(kind, drawing.convert(mode), lossless=True), PATH)
        assert [picture.getpixel((x, 0)) for x in range(3)] == [(255,) * 3, (0,) * 3, (127,) * 3]

    @pytest.mark.parametrize("kind", ["PNG", "GIF"])
    def test_a_transparent_colour_of_a_palette_is_white(self, kind):
        drawing = Image.new("P", (2, 1))
        drawing.putpalette([9, 9, 9, 200, 0, 0])
        drawing.putpixel((1, 0), 1)
        picture = decode_picture(encoded(kind, drawing, transparency=0), PATH)
        assert [picture.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (200, 0, 0)]

    def test_a_transparent_grey_or_colour_is_white(self):
        for mode, color, clear in (("L", 7, 7), ("RGB", (1, 2, 3), (1, 2, 3))):
            picture = decode_picture(encoded("PNG", Image.new(mode, (2, 2), color), transparency=clear), PATH)
            assert picture.getpixel((0, 0)) == (255, 255, 255)

    def test_a_large_picture_made_in_strips_is_as_one_made_at_once(self, monkeypatch):
        picture = noise((50, 41)).convert("RGBA")
        picture.putalpha(noise((50, 41), 1).convert("L"))
        content = encoded("PNG", picture)
        whole = np.asarray(decode_picture(content, PATH))
        monkeypatch.setattr("dualway.images.decoding._STRIP", 130)
        np.testing.assert_array_equal(np.asarray(decode_picture(content, PATH)), whole)
        np.testing.assert_array_equal(to_array(decode_picture(content, PATH)), whole)

    def test_a_gif_frame_smaller_than_its_canvas_lies_in_its_place(self):
        picture = decode_picture(made.gif(4, 3, (2, 1, 1, 1)), PATH)
        assert picture.size == (4, 3)
        assert picture.getpixel((2, 1)) == (255, 0, 0)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
    def test_colour_profiles_change_nothing(self, kind):
        """The picture encoders were trained on pictures read so."""
        from PIL.ImageCms import ImageCmsProfile, createProfile

        profile = ImageCmsProfile(createProfile("XYZ")).tobytes()
        plain = np.asarray(decode_picture(encoded(kind), PATH))
        for icc in (profile, profile[:100], b"\xff" * 100_000):
            content = encoded(kind, icc_profile=icc)
            assert len(content) > len(encoded(kind))
            np.testing.assert_array_equal(np.asarray(decode_picture(content, PATH)), plain)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_a_turned_picture_is_set_upright(self, orientation, kind, tmp_path):
        upright = Image.new("RGB", (40, 60), "black")
        upright.paste("white", (0, 0, 8, 8))
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
        path = save(tmp_path / "a.png", stored, format=kind, exif=made.turned(orientation))
        picture = open_picture(path)
        assert picture.size == picture_size(path) == (40, 60)
        assert min(picture.getpixel((4, 4))) > 240
        assert max(picture.getpixel((x, y))[0] for x, y in ((35, 4), (4, 55), (35, 55))) < 15

    def test_exif_behind_the_pixels_counts_too(self):
        exif = made.turned(6).tobytes()[6:]
        content = encoded("PNG")
        content = content[:-12] + chunk(b"eXIf", exif) + content[-12:]
        assert decode_picture(content, PATH).size == content_size(content, PATH) == (120, 160)

    @pytest.mark.parametrize(
        "exif", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"\0" * 40, made.exif_bomb(60_000, 4_000)]
    )
    def test_broken_exif_says_nothing(self, exif):
        for content in (into_jpeg((0xE1, b"Exif\0\0" + exif)), into_png(chunk(b"eXIf", exif))):
            assert decode_picture(content, PATH).size == content_size(content, PATH) == (160, 120)

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
            (b"", r"empty, not a picture of a known kind \(.*\); fetch it again"),
            (bytes(9), "nothing but zeros, not a picture .*; fetch it again"),
            (b"<!DOCTYPE html><title>404</title>", r"a web page, not .* kind \(JPEG, PNG.*; fetch the picture itself"),
            (b"\xff\xfe" + "<html>".encode("utf-16-le"), "a web page, not a picture"),
            (b'<?xml version="1.0"?>\n<svg width="9"/>', "an SVG drawing, not a picture .*; draw it as PNG"),
            (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC picture, not .*; convert it to one of these"),
            (b"\0\0\0\x18ftypavif\0\0\0\0", "an AVIF picture, not .*; convert it to one of these"),
            (encoded("JPEG2000"), "a JPEG 2000 or JPEG XL picture, not"),
            (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS, not .*; run `git lfs pull`"),
            (b"\xff\xd8\xff\xe0", "a JPEG file cut short in its header; fetch it again"),
            (b"%PDF-1.4", "a PDF or PostScript page, not a picture"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PDF or PostScript page, not"),
            (b"GIF89a", "a GIF file cut short in its header"),
            (b"\x89PNG\r\n\x1a\n", "a PNG file cut short in its header"),
            (b"BM", "a BMP file cut short in its header"),
            (b"II*\0", "a TIFF file cut short in its header"),
            (b"RIFF\0\0\0\0WEBPVP8X", "a WEBP file cut short in its header"),
            (random.Random(0).randbytes(1000), "not a picture of a known kind .*; convert it"),
        ],
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
        with pytest.raises(PictureError, match=r"half\.jpg: .*(cut short|could not create decoder).*; fetch it again"):
            open_picture(path)

    def test_paths_without_a_picture_are_refused(self, tmp_path):
        (tmp_path / "file").write_text("x")
        (tmp_path / "circle").symlink_to("circle")
        for path, reason in [
            (tmp_path / "nowhere.jpg", "no such picture"),
            (tmp_path / "file" / "a.jpg", "no such picture"),
            (tmp_path, "not a file"),
            (tmp_path / ("x" * 300), r"cannot be read \(File name too long\); check its name and rights"),
            (Path("a\x00b.jpg"), "cannot be read"),
            (Path("a\ud800b.jpg"), "cannot be read"),
            (tmp_path / "circle", "cannot be read .*symbolic links"),
        ]:
            for folders in (None, [tmp_path]):
                with pytest.raises(PictureError, match=reason):
                    open_picture(path, folders)

    def test_a_picture_that_may_not_be_read(self, tmp_path, monkeypatch):
        """Root may read everything, so the file system's answer is made up."""

        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        path = save(tmp_path / "a.png", noise())
        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(PictureError, match=r"cannot be read \(Permission denied\); check its name and rights"):
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
        path.write_bytes(made.png(*size, bytes(1000)))
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

    def test_what_decoding_would_take_is_limited_too(self):
        """A progressive JPEG keeps its coefficients: 2 bytes a sample, beside the picture."""
        content = encoded("JPEG", made.scene().convert("CMYK"), progressive=True, subsampling=0)
        assert read_header(content, PATH).cost == 12
        assert read_header(encoded("JPEG", progressive=True), PATH).cost == 8
        with pytest.raises(PictureError, match=r"5120 x 5120 pixels as progressive JPEG take 314,572,800 bytes"):
            content_size(made.restated(content, 5120, 5120), PATH)

    def test_long_sides_and_large_tiles_take_memory_of_their_own(self):
        """Pillow keeps 16 bytes a row, fax 16 a column; a tile is unpacked whole however small the picture is."""
        assert decode_picture(made.png(1, MAX_SIDE, bytes(MAX_SIDE * 4)), PATH).size == (1, MAX_SIDE)
        for size in ((1, MAX_SIDE + 1), (MAX_SIDE + 1, 1)):
            with pytest.raises(PictureError, match="a side of more than 262,144; cut it into pieces"):
                content_size(made.png(*size, bytes(9)), PATH)
        assert read_header(made.tiled((1, 1), (5120, 5120)), PATH).cost == 4 + 8 * 5120**2
        with pytest.raises(PictureError, match="4600 x 4600 pixels as this kind of TIFF take 296,240,000 bytes"):
            content_size(made.tiled((4600, 4600), (5120, 5120)), PATH)
        with pytest.raises(PictureError, match="tiles of 300000 x 1 pixels, too large to unpack; save it anew"):
            content_size(made.tiled((1, 1), (300_000, 1)), PATH)

    def test_a_jpeg_is_gone_over_a_bounded_number_of_times(self):
        assert decode_picture(made.scans(100), PATH).size == (160, 120)
        for content in (made.scans(101), made.restated(made.scans(60), 4000, 3000)):
            with pytest.raises(PictureError, match=r"goes over its pixels \d+ times or more; save it anew"):
                content_size(content, PATH)

    @pytest.mark.parametrize("rest", [b"\xff" * 4_000_000, b"\xff\xd0" * 2_000_000, b"\xff\0" * 2_000_000])
    def test_headers_are_searched_in_a_time_that_grows_with_their_length(self, rest):
        start = time.process_time()
        for content in (b"\xff\xd8\xff" + rest, encoded("JPEG")[:-2] + rest):
            with suppress(PictureError):
                content_size(content, PATH)
        assert time.process_time() - start < 5


class TestWhatTheDecoderIsGiven:
    """Pixels and what is needed to read them: what is not given cannot be parsed, unpacked or followed."""

    @pytest.mark.parametrize(
        "content",
        [
            into_jpeg((0xFE, b"SECRET"), (0xE2, b"ICC_PROFILE\0\1\1SECRET"), (0xE1, b"Exif\0\0SECRET")),
            into_png(chunk(b"tEXt", b"k\0SECRET"), chunk(b"zTXt", b"k\0\0SECRET"), chunk(b"eXIf", b"SECRET")),
            encoded("PNG")[:-12] + chunk(b"tEXt", b"k\0SECRET") + encoded("PNG")[-12:],
            made.gif(1, 1, before=b"!\xfe\6SECRET\0"),
        ],
    )
    def test_comments_profiles_and_exif_are_left_out(self, content):
        parts = read_header(content, PATH).parts
        assert b"SECRET" in content
        assert b"SECRET" not in b"".join(parts)
        assert decode_picture(content, PATH).mode == "RGB"

    def test_a_tiff_has_one_page_of_tags_that_are_needed(self):
        tags = made.plain_tags(4, 3, t40000=(4, [1, 2, 3]), t274=(3, [6]), t34665=(4, [8]))
        content = b"".join(read_header(made.tiff(tags, bytes(36), next_at=-1), PATH).parts)
        with Image.open(io.BytesIO(content)) as picture:
            assert not {40000, 274, 34665} & set(picture.tag_v2)
            assert picture.n_frames == 1

    def test_a_text_that_unpacks_to_any_length_is_never_unpacked(self):
        content = into_png(chunk(b"zTXt", b"comment\0\0" + zlib.compress(b"x" * 300_000_000, 1)))
        start = time.process_time()
        assert decode_picture(content, PATH).size == (160, 120)
        assert time.process_time() - start < 1

    def test_parts_are_read_as_one_file(self):
        content = random.Random(0).randbytes(5000)
        parts = [content[:1], b"", memoryview(content)[1:2000], content[2000:]]
        joined = io.BufferedReader(Joined(parts))
        assert joined.read() == content
        for at in (4999, 0, 1, 1999, 2000, 5000, 6000):
            assert joined.seek(at) == joined.tell() == at
            assert joined.read(700) == content[at : at + 700]
        assert joined.seek(-10, os.SEEK_END) == 4990
        assert joined.read(4) + joined.read() == content[-10:]
        assert io.BufferedReader(Joined([])).read() == b""


class TestLinks:
    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        """A data folder with a picture, links in all directions, and other pictures beside it."""
        for name in ("data/in/a.png", "beside/b.png", "far/c.png"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(encoded("PNG"))
        data = tmp_path / "data"
        (data / "near.png").symlink_to("in/a.png")
        (data / "out.png").symlink_to("../beside/b.png")
        (data / "twice.png").symlink_to("out.png")
        (data / "way").symlink_to("../beside")
        (data / "images").symlink_to(tmp_path / "far")
        (tmp_path / "alias").symlink_to("data")
        return data

    @pytest.mark.parametrize(
        "name", ["in/a.png", "near.png", "in/../near.png", "../beside/b.png", "way/../data/near.png"]
    )
    def test_what_stays_inside_or_says_where_it_goes_is_read(self, folder, name):
        for root in (folder, folder.parent / "alias"):
            assert read_picture(root / name, [root]) == encoded("PNG")
        with chdir(folder):
            assert read_picture(Path(name), [Path()]) == encoded("PNG")

    @pytest.mark.parametrize("name", ["out.png", "twice.png", "way/b.png", "in/../out.png", "../data/out.png"])
    def test_a_link_out_is_refused_and_told(self, folder, name):
        for root in (folder, folder.parent / "alias"):
            with pytest.raises(PictureError, match=r"a link out of the folder, to '.*beside/b\.png'; put the picture"):
                read_picture(root / name, [root])
            assert read_picture(root / name) == encoded("PNG")  # unless nobody minds
        with chdir(folder), pytest.raises(PictureError, match="a link out of the folder"):
            open_picture(Path(name), [Path()])
        with pytest.raises(PictureError, match="a link out of the folder"):
            picture_size(folder / name, [folder])

    def test_an_absolute_path_to_elsewhere_is_what_it_says(self, folder):
        assert leads_out(folder.parent / "beside" / "b.png", [folder]) is None
        assert leads_out(folder.parent / "alias" / "in" / "a.png", [folder]) is None
        assert leads_out(folder / "out.png", [Path("elsewhere")]) is None

    def test_several_folders_are_one(self, folder):
        beside = folder.parent / "beside"
        assert leads_out(folder / "out.png", [folder, beside]) is None
        assert leads_out(folder / "images" / "c.png", [folder]) == folder.parent.resolve() / "far" / "c.png"
        assert leads_out(folder / "images" / "c.png", [folder, folder / "images"]) is None

    def test_a_link_to_nowhere_outside_is_a_link_outside(self, folder):
        (folder / "gone.png").symlink_to("../gone.png")
        assert leads_out(folder / "gone.png", [folder]) is not None

    def test_a_data_sets_pictures_stay_in_its_folders(self, folder):
        """A folder of pictures may itself be a link; a link among the pictures may not lead out of it."""
        names = ["in/a.png", "near.png", "out.png", "way/b.png", "images/c.png", "c.png", "../beside/b.png"]
        names.append(str(folder.parent / "beside" / "b.png"))
        lines = [{"id": str(i), "text": "A", "surface": "A", "image": name} for i, name in enumerate(names)]
        (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for root in (folder, folder.parent / "alias"):
            data = open_dataset(root, "train")
            paths = [data.image_path(mention) for mention in data.mentions]
            refused = [leads_out(path, data.picture_folders) is not None for path in paths]
            assert dict(zip(names, refused)) == {name: name in ("out.png", "way/b.png") for name in names}

    def test_checking_and_copying_data_follow_the_same_rule(self, folder, tmp_path):
        (folder / "circle.png").symlink_to("circle.png")
        names = ["in/a.png", "out.png", "images/c.png", "circle.png"]
        lines = [{"id": str(i), "text": "A", "surface": "A", "image": name} for i, name in enumerate(names)]
        (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        found = audit(folder)["splits"]["train"]["pictures"]
        assert (found["present"], found["outside"], found["missing"]) == (2, 1, 1)
        convert(folder, tmp_path / "copy", Options(copy_pictures=True))
        copied = sorted(path.relative_to(tmp_path / "copy").as_posix() for path in (tmp_path / "copy").rglob("*.png"))
        assert copied == ["images/c.png", "images/in/a.png"]

    def test_wikimels_pictures_may_be_a_linked_folder(self, tmp_path, folder):
        (folder / "KVQAimgs").symlink_to(tmp_path / "beside")
        record = {"sentence": "Kao sat", "mentions": ["Kao"], "answer": ["Q1"], "imgPath": "KVQAimgs/b.png"}
        (folder / "train.json").write_text(json.dumps({"1": record}))
        data = open_dataset(folder, "train")
        assert data.report.format == "melbench"
        assert open_picture(data.image_path(data.mentions[0]), data.picture_folders).size == (160, 120)


@pytest.mark.parametrize("kind", KINDS)
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

    monkeypatch.setattr("PIL.WebPImagePlugin.WebPImageFile.load", fail)
    path = save(tmp_path / "a.webp", noise())
    with pytest.raises(PictureError, match=r"a\.webp: not a readable WEBP picture \(required argument .*; fetch it"):
        open_picture(path)


def test_a_memory_that_is_full_is_a_picture_error(tmp_path, monkeypatch):
    def fail(_):
        raise MemoryError

    path = save(tmp_path / "a.png", noise())
    monkeypatch.setattr("PIL.Image.Image.load", fail)
    with pytest.raises(PictureError, match=r"a\.png: not decoded, as the memory is full; free some, or scale it down"):
        open_picture(path)
