"""Pictures on the page: scaled, bare, bounded, left out on request; a broken one becomes words."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from dualway.report import Report, ShownMention, render, write_report
from dualway.report.figures import draw_boxes, make_boxes
from dualway.report.pictures import MAX_BYTES, MAX_SIDE, Album, Photo, embed
from dualway.schema import Mention, Region

from .reading import Page

PHOTO = Photo("data:image/png;base64,AA==", 480, 240, 1000, 500)


def mention(picture, regions=(), number=0):
    return ShownMention(Mention(f"Foster, {number}", "Foster"), picture, tuple(regions), (), "Q1", "Foster", None, "s")


def noise(size, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def decoded(uri: str) -> bytes:
    return base64.b64decode(uri.split(",", 1)[1])


class TestEmbedding:
    @pytest.mark.parametrize("size", [(1600, 900), (300, 2000), (60, 40), (5000, 1), (480, 480)])
    def test_it_is_scaled_down_never_up_and_remembers_its_size(self, size):
        photo = embed(Image.new("RGB", size, "#336699"))
        assert (photo.full_width, photo.full_height) == size
        assert max(photo.width, photo.height) == min(max(size), MAX_SIDE)
        with Image.open(io.BytesIO(decoded(photo.uri))) as picture:
            assert picture.size == (photo.width, photo.height)

    def test_drawings_become_png_and_photographs_jpeg(self):
        smooth = Image.effect_mandelbrot((600, 400), (-2, -1, 1, 1), 60).convert("RGB")
        grain = Image.blend(smooth, noise((600, 400)), 0.2)
        assert embed(Image.new("RGB", (600, 400), "red")).uri.startswith("data:image/png")
        assert embed(grain).uri.startswith("data:image/jpeg")

    @pytest.mark.parametrize("levels", [256, 2])
    def test_even_noise_is_bounded(self, levels):
        pixels = np.random.default_rng(0).integers(0, levels, (480, 480, 3)) * 255 // (levels - 1)
        assert len(decoded(embed(Image.fromarray(pixels.astype(np.uint8))).uri)) <= MAX_BYTES

    def test_nothing_but_the_pixels_goes_in(self, tmp_path):
        path, exif = tmp_path / "a.jpg", Image.Exif()
        exif[0x010E], exif[0x0112] = "SECRET-EXIF", 6
        noise((64, 32)).save(path, comment=b"SECRET-COMMENT", exif=exif)
        photo = Album(pictures=True).find(path)
        assert b"SECRET" in path.read_bytes()
        assert b"SECRET" not in decoded(photo.uri)
        assert (photo.full_width, photo.full_height) == (32, 64)  # upright, as boxes count

    def test_forty_cards_of_the_worst_photographs_stay_below_6_mb(self, tmp_path):
        for seed in range(40):
            noise((520, 520), seed).save(tmp_path / f"{seed}.jpg", quality=90)
        shown = tuple(mention(tmp_path / f"{i}.jpg", number=i) for i in range(40))
        write_report(Report("Noise", examples=shown[:20], errors=shown[20:]), tmp_path / "report.html")
        size = (tmp_path / "report.html").stat().st_size
        assert 1_000_000 < size < 6_000_000


class TestInPlaceOfAPicture:
    def test_missing_broken_and_none_become_words(self, tmp_path):
        (tmp_path / "broken.jpg").write_bytes(b"no picture")
        (tmp_path / "folder.png").mkdir()
        names = ("broken.jpg", "gone<b>.jpg", "folder.png")
        shown = tuple(mention(tmp_path / name) for name in names)
        page = Page(render(Report("R", examples=(*shown, mention(None)))))
        words = page.texts("p", "no-picture")
        assert words[0].startswith("The picture broken.jpg cannot be shown: not a picture")
        assert words[1] == "The picture gone<b>.jpg cannot be shown: no such picture."
        assert words[2] == "The picture folder.png cannot be shown: not a file."
        assert words[3] == "No picture."
        assert not page.find("img")
        assert str(tmp_path) not in page.source

    def test_each_file_is_read_once(self, tmp_path):
        noise((50, 50)).save(tmp_path / "a.png")
        album = Album(pictures=True)
        first = album.find(tmp_path / "a.png")
        (tmp_path / "a.png").unlink()
        assert album.find(tmp_path / "a.png") is first

    def test_without_pictures_the_page_says_so_and_keeps_the_regions(self, report):
        page = Page(render(replace(report, embeds_photographs=True), pictures=False))
        assert not page.find("img")
        assert not page.find("svg", "boxes")
        assert "data:image" not in page.source
        assert "Pictures were left out of this file on request." in page.texts("p", "box")[0]
        assert "holds photographs" not in page.text
        assert set(page.texts("p", "no-picture")) == {"Picture left out on request."}
        assert page.find("ol", "regions")

    def test_photographs_are_told_at_the_top(self, report, page):
        told = Page(render(replace(report, embeds_photographs=True)))
        assert "This file holds photographs." in told.texts("p", "box")[0]
        assert told.source.index("holds photographs") < told.source.index('id="summary"')
        assert "holds photographs" not in page.text


class TestBoxes:
    def test_more_attention_is_a_thicker_line_on_top_and_a_smaller_number(self):
        regions = [Region((i * 100, 100, i * 100 + 90, 400), "person", 0.9, a) for i, a in enumerate((0.2, 0.7, 0.1))]
        boxes = make_boxes(regions, PHOTO)
        assert [box.attention for box in boxes] == [0.7, 0.2, 0.1]
        svg = draw_boxes(boxes, PHOTO)
        lines = re.findall(r'class="box" stroke-width="([\d.]+)"', svg)
        assert [float(w) for w in lines] == pytest.approx([2.0, 2.5, 5.0])
        assert re.findall(r"<text[^>]*>([^<]*)</text>", svg) == ["1 · 0.70", "2 · 0.20", "3 · 0.10"]

    def test_a_box_lies_where_its_region_does(self):
        svg = draw_boxes(make_boxes([Region((250, 125, 750, 375), "dog", 1.0, 1.0)], PHOTO), PHOTO)
        assert 'viewBox="0 0 480.00 240.00"' in svg
        assert 'x="120" y="60" width="240" height="120"' in svg

    def test_badges_stand_above_their_boxes_and_not_on_each_other(self):
        same = [Region((100, 100, 300, 300), "person", 1.0, a) for a in (0.5, 0.3, 0.2)]
        svg = draw_boxes(make_boxes(same, PHOTO), PHOTO)
        tops = [float(y) for y in re.findall(r'class="badge" x="[\d.]+" y="([\d.]+)"', svg)]
        height = float(re.search(r'class="badge"[^>]* height="([\d.]+)"', svg).group(1))
        assert tops[0] + height <= 100 * 0.48 + 1e-6
        assert all(after - before >= height for before, after in pairwise(tops))

    def test_what_cannot_be_drawn_is_named_in_the_list(self, tmp_path):
        nan = float("nan")
        bad = [(2000, 0, 3000, 10), (nan, 0, 1, 1), (50, 50, 10, 10), (5, 5, 5, 5), (0, 0, float("inf"), 9)]
        Image.new("RGB", (100, 100), "white").save(tmp_path / "a.png")
        regions = [Region(box, f"bad{i}", 1.0, None) for i, box in enumerate(bad)]
        regions.append(Region((-50, -50, 5000, 50), "good", 1.0, 0.5))
        page = Page(render(Report("R", examples=(mention(tmp_path / "a.png", regions),))))
        assert len(page.find("rect", "badge")) == 1
        [listed] = page.texts("ol", "regions")
        for i in range(len(bad)):
            assert f"bad{i} (outside the picture, not drawn)" in listed
        assert "good0.50" in listed

    def test_attention_that_is_none_or_no_number_is_a_dash(self):
        regions = [
            Region((0, 0, 9, 9), "a"),
            Region((0, 0, 9, 9), "b", 1.0, float("nan")),
            Region((0, 0, 9, 9), "c", 1.0, 0.1),
        ]
        boxes = make_boxes(regions, PHOTO)
        assert [(box.region.label, box.attention) for box in boxes] == [("c", 0.1), ("a", None), ("b", None)]
        assert 'class="box box-plain"' in draw_boxes(boxes, PHOTO)

    def test_of_hundreds_of_regions_the_most_attended_are_drawn_and_the_rest_is_counted(self, tmp_path):
        Image.new("RGB", (100, 100), "white").save(tmp_path / "a.png")
        regions = [Region((0, 0, 50, 50), "r", 0.5, i / 1000) for i in range(300)]
        page = Page(render(Report("R", examples=(mention(tmp_path / "a.png", regions),))))
        assert len(page.find("rect", "badge")) == 5
        assert "and 294 regions more" in page.text
