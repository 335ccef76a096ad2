"""Looking into a store: the right picture is found, all that is said of it is told, and any of it can be drawn."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.stores import PEOPLE, POINTS, SEEING, Letters, build_store, files_of, photo, write_data

from dualway.config import EncoderConfig, FeatureConfig, Preset
from dualway.datasets import open_dataset
from dualway.errors import CompatibilityError, DataError, PictureError, StorageError, UsageError
from dualway.features.build import StoreBuilder, Work
from dualway.features.drawing import LARGEST, SMALLEST, Row, Section, colour_of, draw, writable
from dualway.features.extract import FeatureExtractor
from dualway.features.regions import CutOut
from dualway.features.seen import Seen
from dualway.features.show import Found, draw_features, find_picture
from dualway.kb.store import KnowledgeBase
from dualway.schema import Face, IdentityLabel, Region, Segment

MARGIN = 16  # of a drawing


@pytest.fixture(scope="module")
def kb(people, tmp_path_factory):
    with KnowledgeBase.create(tmp_path_factory.mktemp("kb") / "kb", people) as opened:
        yield opened


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def store(kb, data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("store") / "F"
    build_store(out, data, kb)
    return out


def words(found: Found) -> str:
    return found.describe(Path("o.png"))


class TestFinding:
    def test_a_mention_by_its_id(self, store, data):
        found = find_picture(store, data, "train-2")
        assert (found.split, found.path, found.record.image) == ("train", data / "a.png", "a.png")
        [told] = found.told
        assert told.mention.id == "train-2"
        assert [(label.entity_id, label.probe) for label in told.identities] == [(e, 0) for _, e, _, _ in PEOPLE]
        assert found.notes == ()

    def test_of_every_split(self, store, data):
        assert find_picture(store, data, "dev-0").split == "dev"
        assert find_picture(store, data / "dev.jsonl", "dev-0").path == data / "dev.png"

    def test_a_picture_by_its_name_with_all_its_mentions(self, store, data):
        found = find_picture(store, data, "a.png")
        assert [told.mention.id for told in found.told] == ["train-0", "train-2", "train-7"]
        assert find_picture(store, data, "sub/b.png").record.image == "sub/b.png"

    def test_a_name_without_folders_must_be_of_one_picture(self, store, data):
        with pytest.raises(UsageError, match=r"'b\.png': 2 pictures of this name \('sub/b\.png', 'other/b\.png'\)"):
            find_picture(store, data, "b.png")

    def test_what_is_unknown_is_told_with_some_that_are_known(self, store, data):
        with pytest.raises(
            UsageError, match=r"'nobody': no mention of .* \(some ids: 'train-0', 'train-1', .*'train-4'\)"
        ):
            find_picture(store, data, "nobody")
        for hostile in ("", "../a.png", "a\0b", "x" * 5000, "صلاح"):
            with pytest.raises(UsageError):
                find_picture(store, data, hostile)

    def test_why_a_picture_could_not_be_used(self, store, data, monkeypatch):
        with pytest.raises(
            DataError, match=r"broken\.png.*could not be used when features were made: .*fetch it again"
        ):
            find_picture(store, data, "train-1")
        monkeypatch.chdir(data.parent)  # its path is another one now
        with pytest.raises(DataError, match=r"could not be used when features were made: .*fetch it again"):
            find_picture(store, Path(data.name), "broken.png")

    def test_mentions_without_a_picture(self, store, data):
        with pytest.raises(DataError, match="'train-5': it has no picture"):
            find_picture(store, data, "train-5")
        with pytest.raises(DataError, match=r"not on disk: 'https://example\.org/a\.png'"):
            find_picture(store, data, "train-6")

    def test_mentions_that_were_dropped_do_not_move_the_others(self, kb, data, tmp_path):
        build_store(tmp_path / "F", data, kb, work=Work(on_error="drop"))
        for id, image in (("train-2", "a.png"), ("train-3", "sub/b.png"), ("train-8", "other/b.png")):
            assert find_picture(tmp_path / "F", data, id).record.image == image
        with pytest.raises(DataError, match="could not be used"):
            find_picture(tmp_path / "F", data, "train-1")

    def test_data_of_another_store(self, store, tmp_path):
        write_data(tmp_path / "data")
        (tmp_path / "data" / "train.jsonl").write_text('{"id": "1", "text": "a", "surface": "a", "image": "a.png"}\n')
        with pytest.raises(CompatibilityError, match="holds no features of the file"):
            find_picture(store, tmp_path / "data" / "train.jsonl", "1")
        with pytest.raises(UsageError, match=r"'1': no mention .* 1 splits of it are not in the store"):
            find_picture(store, tmp_path / "data", "1")

    def test_a_store_that_looked_at_no_picture(self, kb, data, tmp_path):
        extractor = FeatureExtractor(FeatureConfig(), Letters())
        preset = Preset(name="paper", encoders=EncoderConfig(text="letters"))
        StoreBuilder(tmp_path / "F", extractor, kb, preset).add({"dev": open_dataset(data, "dev")})
        with pytest.raises(DataError, match="no model looked at it"):
            find_picture(tmp_path / "F", data, "dev-0")

    def test_no_store(self, data, tmp_path):
        with pytest.raises(DataError, match="not a feature store"):
            find_picture(tmp_path, data, "train-0")


class TestWhetherItIsStillThePicture:
    @pytest.fixture
    def mine(self, kb, tmp_path) -> Path:
        """A data set to be changed, with its store F."""
        write_data(tmp_path / "data")
        build_store(tmp_path / "F", tmp_path / "data", kb)
        return tmp_path

    def notes(self, folder: Path, data: Path | None = None) -> tuple[str, ...]:
        return find_picture(folder / "F", data or folder / "data", "train-0").notes

    def test_another_way_to_write_its_place_is_no_change(self, mine, monkeypatch):
        monkeypatch.chdir(mine)
        (mine / "link").symlink_to("data")
        for way in ("data", "./data", "F/../data", "link"):
            assert self.notes(mine, Path(way)) == (), way

    def test_built_from_a_relative_place(self, kb, mine, monkeypatch):
        monkeypatch.chdir(mine)
        build_store(mine / "R", Path("data"), kb)
        assert find_picture(mine / "R", mine / "data", "train-0").notes == ()

    def test_another_picture_of_the_same_size(self, mine):
        photo(mine / "data" / "a.png", seed=77)
        [note] = self.notes(mine)
        assert "not in the place and state in which it was read" in note

    def test_another_size(self, mine, tmp_path):
        photo(mine / "data" / "a.png", (90, 50))
        [note] = self.notes(mine)
        assert "had 60 x 40 pixels when it was read and has 90 x 50 now" in note
        found = find_picture(mine / "F", mine / "data", "train-0")
        draw_features(found, tmp_path / "o.png")  # told, not refused
        assert note in words(found)

    def test_what_a_regions_file_says_of_it_is_part_of_its_state(self, kb, mine):
        regions = mine / "regions.jsonl"
        regions.write_text(json.dumps({"image": "data/a.png", "faces": []}) + "\n")
        build_store(mine / "R", mine / "data", kb, regions=regions)
        assert find_picture(mine / "R", mine / "data", "train-0").notes == ()
        assert find_picture(mine / "R", mine / "data", "train-0").record.faces == ()

    def test_gone(self, mine, tmp_path):
        (mine / "data" / "a.png").unlink()
        found = find_picture(mine / "F", mine / "data", "train-0")
        with pytest.raises(PictureError, match=r"a\.png: no such picture"):
            draw_features(found, tmp_path / "o.png")
        assert not (tmp_path / "o.png").exists()

    def test_a_link_out_of_the_folder_is_not_followed(self, mine, tmp_path):
        outside = photo(tmp_path / "elsewhere" / "a.png", seed=5)
        (mine / "data" / "a.png").unlink()
        (mine / "data" / "a.png").symlink_to(outside)
        with pytest.raises(PictureError, match="a link out of the folder"):
            draw_features(find_picture(mine / "F", mine / "data", "train-0"), tmp_path / "o.png")


class TestWords:
    def test_all_that_was_found_is_told(self, store, data):
        told = words(find_picture(store, data, "train-0")).splitlines()
        assert told[0] == f"o.png: {data / 'a.png'}"
        for line in (
            "a.png",
            "  60 x 40 pixels; split train",
            "  Foster, train 0",
            "“Foster” (train-0)",
            "  recognised (compared only with the candidates of this mention)",
            "  Jodie Foster (Q1), probability 0.90, cosine 0.71, face 1: above 0.5, used",
            "  Mel Gibson (Q4), probability 0.80, cosine 0.62, face 1: above 0.5, used",
            "  João Silva (Q7), probability 0.30, cosine 0.41, face 1: not above 0.5, not used",
            "  1: person 0.90, 30 x 40 px",
            "  2: person 0.60, 30 x 40 px",
            "  1: 0.90, 16 x 16 px, age: 50 (0.75)",
            "  text: letters- letters",  # eight letters of the fingerprint, then the model's name
            "  detector: halves-o halves.onnx",
            "  faces: one-face one-face.onnx",
            "  identity: recognis id.onnx",
            "  gallery: gallery-",
        ):
            assert line in told, line

    def test_a_picture_without_face(self, store, data):
        told = words(find_picture(store, data, "high.png")).splitlines()
        assert "  nobody recognised (compared only with the candidates of this mention)" in told
        assert told[told.index("Faces") + 1] == "  none"

    def test_what_was_not_looked_for_is_not_called_absent(self, kb, data, tmp_path):
        build_store(tmp_path / "F", data, kb, encoders=EncoderConfig(text="letters", image="colours"))
        told = words(find_picture(tmp_path / "F", data, "train-0")).splitlines()
        assert told[told.index("Faces") + 1] == "  not looked for"
        assert not [line for line in told if "recognised" in line]

    def test_identities_by_objects_and_the_whole_picture(self, store, data):
        found = find_picture(store, data, "train-0")
        origin = dataclasses.replace(found.origin, encoders_config=dataclasses.replace(SEEING, identity="pictures"))
        labels = tuple(IdentityLabel(f"n{i}", 0.9, f"Q{i}", i, 0.5) for i in range(3))
        told = (dataclasses.replace(found.told[0], identities=labels),)
        other = dataclasses.replace(found, origin=origin, told=told)
        lines = words(other)
        for who, where in (("n0 (Q0)", "object 1"), ("n1 (Q1)", "object 2"), ("n2 (Q2)", "the whole picture")):
            assert f"{who}, probability 0.90, cosine 0.50, {where}: above" in lines
        assert other.named() == {("object", 0): "n0", ("object", 1): "n1"}
        assert found.named() == {("face", 0): "Jodie Foster"}  # the surest

    def test_labels_of_a_classifier_and_parts_without_a_place(self, store, data):
        seen = Seen(
            "x.png",
            (0, 0),
            (CutOut((0.0, 0.0, 0.0, 0.0), "hat", 0.5, picture="/parts/hat.png"),),
            (Face(None, {"race": "white"}), Face((0.0, 0.0, 2.0, 3.0), {}, picture="/parts/hat.png")),
            (IdentityLabel("Obama", 0.756, probe=0), IdentityLabel("Bush", 0.5)),
        )
        lines = words(dataclasses.replace(find_picture(store, data, "train-0"), record=seen)).splitlines()
        for line in (
            "  1: hat 0.50, cut out as hat.png",
            "  1: 1.00, no place given, race: white",
            "  2: 1.00, in the cut-out hat.png",
            "  Obama 0.76, object 1: above 0.5, used",
            "  Bush 0.50, the whole picture: not above 0.5, not used",
        ):
            assert line in lines, line

    def test_many_are_counted_and_long_ones_cut(self, store, data):
        found = find_picture(store, data, "train-0")
        seen = dataclasses.replace(found.record, objects=(Region((0.0, 0.0, 9.0, 9.0), "o"),) * 100)
        long = dataclasses.replace(found.told[0].mention, text="word\n" * 1000)
        told = (dataclasses.replace(found.told[0], mention=long),) * 9
        lines = words(dataclasses.replace(found, record=seen, told=told)).splitlines()
        assert "  and 76 more" in lines
        assert "  and 5 more with this picture" in lines
        assert max(map(len, lines)) < 700

    def test_the_record_for_machines(self, store, data):
        value = json.loads(json.dumps(find_picture(store, data, "train-0").to_dict(), allow_nan=False))
        assert value["mentions"][0]["identities"][1] == {
            "label": "Mel Gibson", "score": 0.8, "probe": 0, "entity": "Q4", "similarity": 0.62,
        }  # fmt: skip
        assert value["seen"]["faces"][0]["attributes"] == {"age": "50"}
        assert value["models"]["detector"] == "halves-of-pictures"


class TestDrawing:
    def test_boxes_are_where_the_objects_are_in_a_picture_of_any_size(self):
        region, face = Region((100.0, 50.0, 300.0, 250.0), "a"), Face((150.0, 60.0, 200.0, 120.0), {})
        for factor in (0.02, 0.5, 1, 12):
            size = round(400 * factor), round(300 * factor)
            scaled = [tuple(value * factor for value in box) for box in (region.box, face.box)]
            seen = Seen("x", size, (dataclasses.replace(region, box=scaled[0]),), (Face(scaled[1], {}),))
            drawing = np.asarray(draw(Image.new("RGB", size, (90, 10, 10)), seen, [Section("t", [])], {}))
            shown = min(max(size[0], SMALLEST), LARGEST)
            for mark, box in ((("object", 0), region.box), (("face", 0), face.box)):
                x0, y0, x1, y1 = (round(value / 400 * shown) + MARGIN for value in box)
                middle = y0 + (y1 - y0) * 2 // 3
                for x in (x0 + 1, x1 - 2):  # the middle of a line
                    assert tuple(drawing[middle, x]) == colour_of(mark), (factor, mark, x)
                assert tuple(drawing[middle, x0 + 12]) != colour_of(mark)

    def test_an_outline_is_drawn_and_not_its_box(self):
        mask = np.zeros((200, 200), dtype=np.bool_)
        mask[50:150, 50:150] = True
        runs = tuple(np.diff(np.flatnonzero(np.diff(mask.ravel(), prepend=False)), prepend=0, append=40000).tolist())
        seen = Seen("x", (800, 400), (Segment((100.0, 100.0, 300.0, 300.0), "a", mask=runs),))
        drawing = np.asarray(draw(Image.new("RGB", (800, 400), "white"), seen, [Section("t", [])], {}))
        at = {name: tuple(drawing[MARGIN + y, MARGIN + x]) for name, (x, y) in
              {"edge": (150, 200), "box": (100, 250), "inside": (200, 200), "outside": (120, 280)}.items()}  # fmt: skip
        colour = colour_of(("object", 0))
        assert at["edge"] == colour
        assert at["box"] == at["outside"] == (255, 255, 255)
        assert at["inside"] not in (colour, (255, 255, 255))  # tinted

    def test_landmarks_and_names(self):
        face = Face((100.0, 100.0, 300.0, 300.0), {}, landmarks=tuple((x * 10, y * 10) for x, y in POINTS))
        seen = Seen("x", (800, 400), (), (face,))
        picture = Image.new("RGB", (800, 400), (40, 40, 90))
        plain, named = (
            np.asarray(draw(picture, seen, [Section("t", [])], names)) for names in ({}, {("face", 0): "W" * 12})
        )
        x, y = (round(value * 10) + MARGIN for value in POINTS[2])
        assert tuple(plain[y, x]) == (255, 255, 255)
        ground = colour_of(("face", 0))
        assert ((named == ground).all(axis=2)).sum() > ((plain == ground).all(axis=2)).sum() + 500

    @pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (5, 5000), (40, 30)])
    def test_whatever_was_found_in_whatever_picture(self, size):
        outline = Segment((-5.0, -5.0, 9.5, 3.5), "s", mask=(0, 40))  # what is left of 0 is not spoken of
        seen = Seen(
            "صلاح" * 100, size,
            (
                outline, Region((1e300, -1e300, -1e300, 1e300), "all"), Region((5e3, 5e3, 6e3, 6e3), "away"),
                Region((0.0, 0.0, 0.0, 0.0), ""), Region((0.9, 0.9, 0.95, 0.95), "w" * 5000, 0.0),
                *(Region((float(i), 0.0, i + 9.0, 9.0), "o") for i in range(300)),
            ),
            (Face((1e9, 0.0, 2e9, 1.0), {}), Face((0.0, 0.0, 9.0, 9.0), {}, landmarks=((1e300, -1e300), (0.5, 0.5)))),
        )  # fmt: skip
        rows = [Row("x" * 3000, ("face", 1)), Row("", None), Row("東京 " * 300, ("object", 290), minor=True)]
        drawing = draw(Image.new("RGB", size), seen, [Section("", rows), Section("\ud800\0\n", [])], {})
        assert drawing.mode == "RGB"
        assert max(drawing.size) < 8000

    def test_a_damaged_outline_is_told(self):
        with pytest.raises(DataError, match="not an object's outline"):
            draw(Image.new("RGB", (9, 9)), Seen("x", (9, 9), (Segment((0, 0, 9, 9), "a", mask=(3, 4)),)), [], {})

    @pytest.mark.parametrize(
        ("text", "written"),
        [
            ("Jodie Foster (Q1), 0.90", "Jodie Foster (Q1), 0.90"),
            ("João Beyoncé Łódź Straße Ærø", "Joao Beyonce Lodz Strasse AEro"),
            ("e\u0301a\u200b\u202eb\u00adc", "eabc"),
            ("صلاح", "\\u0635\\u0644\\u0627\\u062d"),
            ("a😀b", "a\\U0001f600b"),
            ("東" * 100 + "!", "\\u6771" * 8 + "[and 92 more]!"),
            ("a\nb\tc  d\x00\x1b[31m", None),
            ("\ud800", "\\ufffd"),
            ("", ""),
        ],
    )
    def test_any_letters_can_be_written(self, text, written):
        shown = writable(text)
        assert written is None or shown == written
        assert shown.isprintable()


class TestFiles:
    def test_one_file_and_nothing_else_is_written(self, store, data, tmp_path):
        before = files_of(store), files_of(data)
        found = find_picture(store, data, "train-0")
        for name, kind in (("o.png", "PNG"), ("o.JPG", "JPEG"), ("o.jpeg", "JPEG")):
            draw_features(found, tmp_path / name)
            with Image.open(tmp_path / name) as drawing:
                assert (drawing.format, drawing.mode) == (kind, "RGB")
        assert (files_of(store), files_of(data)) == before
        assert sorted(path.name for path in tmp_path.iterdir()) == ["o.JPG", "o.jpeg", "o.png"]

    def test_the_same_drawing_every_time(self, store, data, tmp_path):
        for name in ("1.png", "2.png"):
            draw_features(find_picture(store, data, "train-0"), tmp_path / name)
        assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()

    @pytest.mark.parametrize("name", ["o.gif", "o", "o.png.txt", ".png"])
    def test_other_suffixes(self, store, data, tmp_path, name):
        with pytest.raises(UsageError, match=r"\.png or \.jpg"):
            draw_features(find_picture(store, data, "train-0"), tmp_path / name)
        assert not list(tmp_path.iterdir())

    def test_the_picture_itself_is_never_drawn_over(self, kb, tmp_path):
        data = write_data(tmp_path / "data")
        build_store(tmp_path / "F", data, kb)
        found, before = find_picture(tmp_path / "F", data, "train-0"), files_of(data)
        (tmp_path / "link.png").symlink_to(data / "a.png")
        for out in (data / "a.png", data / "sub" / ".." / "a.png", tmp_path / "link.png"):
            with pytest.raises(UsageError, match="is the picture itself"):
                draw_features(found, out)
        assert files_of(data) == before

    def test_places_that_cannot_be_written(self, store, data, tmp_path):
        (tmp_path / "folder.png").mkdir()
        with pytest.raises(StorageError, match="not an ordinary file"):
            draw_features(find_picture(store, data, "train-0"), tmp_path / "folder.png")


def test_a_store_may_be_moved(store, data, tmp_path):
    shutil.copytree(store, tmp_path / "elsewhere")
    assert find_picture(tmp_path / "elsewhere", data, "train-0").notes == ()
