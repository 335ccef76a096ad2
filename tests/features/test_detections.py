"""Detection files in the exact public layout, made into a regions file, and regions with cut-outs read and encoded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.folders import picture, save, write_dwe

from dualway.config import FeatureConfig
from dualway.datasets.base import ReadReport
from dualway.errors import DataError, UsageError
from dualway.features.detections import write_regions_file
from dualway.features.extract import FeatureExtractor
from dualway.features.pictures import PictureEncoder
from dualway.features.regions import CutOut, Face, PictureRegions, choose_objects, object_of_face, read_regions
from dualway.features.seeing import PictureReader
from dualway.schema import Mention, Region


def deepface(**changes: Any) -> dict[str, Any]:
    """One face as DeepFace 0.0.79 wrote it, cut short."""
    return {
        "age": 33,
        "region": {"x": 3, "y": 4, "w": 10, "h": 12},
        "gender": {"Woman": 0.07, "Man": 99.92},
        "dominant_gender": "Man",
        "race": {"asian": 0.5, "indian": 0.5, "black": 90.0, "white": 9.0},
        "dominant_race": "black",
        "emotion": {"angry": 1.0, "happy": 95.0, "neutral": 4.0},
        "dominant_emotion": "happy",
        **changes,
    }


LABELS = [{"score": 0.756, "label": "Barack Obama"}, {"score": 0.02, "label": "Nobody"}]


class Folder:
    """A folder of detections: pictures 7 and 8; 7 has the parts 7_1 and 7_2."""

    def __init__(self, root: Path) -> None:
        self.root, self.images, self.out = root / "wikipedia", root / "images", root / "regions.jsonl"
        for id in ("7", "8"):
            picture(self.images / f"{id}.jpg", int(id))
        self.part("7_1", [deepface(), *LABELS])
        self.part("7_2", [deepface(age=51.4, dominant_gender="Woman")])
        self.parts({"7": ["7_1", "7_2"]})

    def part(self, name: str, content: Any, size: tuple[int, int] = (30, 40)) -> None:
        path = self.root / "wiki_segement" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "red").save(path)
        self.detection(name, content)

    def detection(self, name: str, content: Any) -> None:
        save(self.root / "wiki_detection" / f"{name}.json", content)

    def parts(self, table: Any) -> None:
        save(self.root / "total2part_map.json", table)

    def convert(self, **options: Any) -> tuple[list[dict[str, Any]], ReadReport]:
        report = write_regions_file(self.root, self.out, images=self.images, **options)
        return [json.loads(line) for line in self.out.read_text().splitlines()], report


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def reasons(report: ReadReport) -> set[str]:
    return {*report.dropped, *report.notes}


class TestConverting:
    def test_the_public_layout(self, folder):
        records, report = folder.convert()
        parts = [{"picture": f"wikipedia/wiki_segement/7_{k}.jpg"} for k in (1, 2)]
        box = [3.0, 4.0, 13.0, 16.0]
        assert records == [
            {
                "image": "images/7.jpg",
                "objects": [{**parts[0], "label": "person"}, {**parts[1], "label": "person"}],
                "faces": [
                    {"box": box, **parts[0], "attributes": {"gender": "male", "age": "33"}},
                    {"box": box, **parts[1], "attributes": {"gender": "female", "age": "51"}},
                ],
                "labels": [{"label": "Barack Obama", "score": 0.756}, {"label": "Nobody", "score": 0.02}],
            }
        ]
        assert report.counts == {
            "pictures": 1, "objects": 2, "faces": 2, "labels": 2, "faces with gender": 2, "faces with age": 2
        }  # fmt: skip
        assert not reasons(report)
        assert list(read_regions(folder.out)) == [folder.out.parent / "images" / "7.jpg"]

    def test_race_and_emotion_only_when_asked_for_in_the_paper_s_order(self, folder):
        records, report = folder.convert(attributes=["emotion", "race", "age", "gender"])
        assert list(records[0]["faces"][0]["attributes"].items()) == [
            ("gender", "male"), ("race", "black"), ("age", "33"), ("emotion", "happy")
        ]  # fmt: skip
        assert report.counts["faces with race"] == 2
        records, report = folder.convert(attributes=[])
        assert records[0]["faces"][0]["attributes"] == {}
        assert not any(key.startswith("faces with") for key in report.counts)

    def test_an_attribute_that_the_file_does_not_carry_is_not_invented(self, folder):
        face = deepface()
        for key in ("race", "dominant_race", "emotion", "dominant_emotion", "age"):
            del face[key]
        folder.part("7_1", [face])
        folder.part("7_2", [])
        records, report = folder.convert(attributes=["age", "gender", "race", "emotion"])
        assert records[0]["faces"][0]["attributes"] == {"gender": "male"}
        assert not reasons(report)

    def test_shares_become_the_largest(self, folder):
        face = deepface()
        del face["dominant_gender"]
        folder.part("7_1", [face])
        assert folder.convert()[0][0]["faces"][0]["attributes"]["gender"] == "male"

    @pytest.mark.parametrize("attributes", [["name"], ["age", "Gender"], [""]])
    def test_unknown_attributes(self, folder, attributes):
        with pytest.raises(UsageError, match="age,gender,race,emotion"):
            folder.convert(attributes=attributes)
        assert not folder.out.exists()

    def test_labels_alone_and_several_faces(self, folder):
        """Some parts have labels only; the first item need not be a face."""
        folder.part("7_1", LABELS)
        folder.part("7_2", [LABELS[0], deepface(), deepface(age=70)])
        records, _ = folder.convert()
        assert [face["attributes"]["age"] for face in records[0]["faces"]] == ["33", "70"]
        assert len(records[0]["labels"]) == 3

    def test_without_a_list_parts_are_told_by_their_names_in_the_order_of_numbers(self, folder):
        for k in (10, 3):
            folder.part(f"7_{k}", [])
        folder.part("8_b_1", [])
        picture(folder.images / "8_b.png", 1)
        (folder.root / "total2part_map.json").unlink()
        records, report = folder.convert()
        assert [Path(item["picture"]).stem for item in records[0]["objects"]] == ["7_1", "7_2", "7_3", "7_10"]
        assert [Path(item["picture"]).stem for item in records[1]["objects"]] == ["8_b_1"]
        assert "no total2part file: parts are told by their names, IMAGE_k" in report.notes

    def test_detections_of_whole_pictures(self, folder):
        """Richpedia's: a file a picture, faces in its own pixels, no objects known."""
        folder.detection("8", [deepface(), LABELS[0]])
        records, _ = folder.convert()
        assert records[1] == {
            "image": "images/8.jpg",
            "faces": [{"box": [3.0, 4.0, 13.0, 16.0], "attributes": {"gender": "male", "age": "33"}}],
            "labels": [{"label": "Barack Obama", "score": 0.756}],
        }

    def test_pictures_of_the_data_set_beside_the_detections(self, tmp_path):
        data = write_dwe(tmp_path)
        report = write_regions_file(data, tmp_path / "out" / "regions.jsonl")
        assert report.counts["pictures"] == 13
        assert report.counts["objects"] == 26
        assert not reasons(report)
        found = read_regions(tmp_path / "out" / "regions.jsonl")
        assert {path.resolve() for path in found} == set((tmp_path / "ImgData" / "wikipedia").iterdir())
        assert all(Path(item.picture).is_file() for regions in found.values() for item in regions.objects)


class TestFacesThatWereNotDetected:
    """DeepFace answers for a cut-out without a face with the whole of it as region."""

    @pytest.mark.parametrize(
        ("region", "extra", "kept"),
        [
            ({"x": 0, "y": 0, "w": 30, "h": 40}, {}, False),
            ({"x": 0, "y": 0, "w": 40, "h": 30}, {}, False),  # older versions: the wrong way round
            ({"x": 0, "y": 0, "w": 29, "h": 39}, {}, False),
            ({"x": 0, "y": 0, "w": 20, "h": 20}, {}, True),
            ({"x": 5, "y": 0, "w": 25, "h": 40}, {}, True),
            ({"x": 5, "y": 5, "w": 9, "h": 9}, {"face_confidence": 0}, False),
            ({"x": 5, "y": 5, "w": 9, "h": 9}, {"face_confidence": 0.9}, True),
            ({"x": 5, "y": 5, "w": 9, "h": 9, "left_eye": [6, 6], "right_eye": None}, {}, True),
        ],
    )
    def test_they_are_left_out_and_counted(self, folder, region, extra, kept):
        folder.part("7_1", [deepface(region=region, **extra)])
        folder.part("7_2", [])
        records, report = folder.convert()
        assert ("faces" in records[0]) == kept
        assert report.dropped.keys() == (
            set() if kept else {"face that was not detected: its region is the whole picture"}
        )
        assert len(folder.convert(all_faces=True)[0][0]["faces"]) == 1

    def test_without_the_cut_out_a_corner_counts_as_the_whole(self, folder):
        (folder.root / "wiki_segement" / "7_1.jpg").unlink()
        folder.detection("7_1", [deepface(), deepface(region={"x": 0, "y": 0, "w": 50, "h": 60})])
        folder.part("7_2", [])
        records, report = folder.convert()
        assert records[0]["faces"] == [{"attributes": {"gender": "male", "age": "33"}}]  # a box would be in no picture
        assert len(records[0]["objects"]) == 1
        assert "part without a readable picture: its faces belong to no object" in report.notes
        assert report.dropped["face that was not detected: its region is the whole picture"].count == 1


class TestHostileFiles:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "detection file that cannot be read"),
            (b"[{", "detection file that cannot be read"),
            (b"\xff\xfe", "detection file that cannot be read"),
            (b"\x80\x04}q\x00.", "detection file that cannot be read"),
            (b"[" * 100_000, "detection file that cannot be read"),
            (b'[{"age": 1, "age": 2}]', "detection file that cannot be read"),
            (b"{}", "detection file that holds no list"),
            (b"3", "detection file that holds no list"),
            (b'[3, null, "a", [], {}]', "item that is neither a face nor a label with a score"),
        ],
    )
    def test_one_broken_file_costs_no_other(self, folder, content, reason):
        (folder.root / "wiki_detection" / "7_1.json").write_bytes(content)
        records, report = folder.convert()
        assert len(records[0]["objects"]) == 2
        assert len(records[0]["faces"]) == 1
        assert list(report.dropped) == [reason]

    @pytest.mark.parametrize(
        "region",
        [None, [], {}, *({"x": x, "y": 1, "w": w, "h": 5} for x, w in (
            (1, 0), (1, -2), ("1", 2), (True, 2), (float("nan"), 2), (1, float("inf")), (10**400, 2)
        ))],
    )  # fmt: skip
    def test_a_face_without_a_place(self, folder, region):
        folder.part("7_1", [deepface(region=region)])
        records, report = folder.convert()
        assert len(records[0]["faces"]) == 1
        assert list(report.dropped) == ["face without a region {x, y, w, h}"]

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"age": -1}, "age"), ({"age": 400}, "age"), ({"age": "33"}, "age"), ({"age": True}, "age"),
            ({"age": None}, "age"), ({"age": float("inf")}, "age"), ({"dominant_gender": 5}, "gender"),
            ({"dominant_gender": ""}, "gender"),
            ({"dominant_gender": {"Man": "a lot"}}, "gender"), ({"dominant_gender": {}}, "gender"),
        ],
    )  # fmt: skip
    def test_attributes_of_another_form(self, folder, changes, reason):
        folder.part("7_1", [deepface(**changes)])
        records, report = folder.convert()
        assert reason not in records[0]["faces"][0]["attributes"]
        assert list(report.dropped) == [f"{reason} of a face that is not in DeepFace's form"]

    @pytest.mark.parametrize(
        "label", [{"score": 2, "label": "A"}, {"score": None, "label": "A"}, {"score": 0.9, "label": ""},
                  {"score": 0.9, "label": None}, {"score": float("nan"), "label": "A"}],
    )  # fmt: skip
    def test_labels_of_another_form(self, folder, label):
        folder.part("7_1", [label])
        folder.part("7_2", [])
        records, report = folder.convert()
        assert "labels" not in records[0]
        assert list(report.dropped) == ["identity label without a name, or a score outside 0 to 1"]

    @pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "a\\b", "a\0b", "", "..", "x" * 300])
    def test_names_that_lead_out_of_the_folder(self, folder, name):
        save(folder.root.parent / "secret.json", [deepface(age=99)])
        folder.parts({"7": [name, "7_1"]})
        folder.detection("7_2", [])
        records, report = folder.convert()
        assert len(records[0]["faces"]) == 1
        assert report.dropped["part whose name is no plain file name"].count == 1
        assert "99" not in folder.out.read_text()

    def test_links_out_of_the_folder(self, folder, tmp_path):
        save(tmp_path / "secret.json", [deepface(age=99)])
        detection = folder.root / "wiki_detection" / "7_1.json"
        detection.unlink()
        detection.symlink_to(tmp_path / "secret.json")
        cut_out = folder.root / "wiki_segement" / "7_2.jpg"
        cut_out.rename(tmp_path / "secret.jpg")
        cut_out.symlink_to(tmp_path / "secret.jpg")
        records, report = folder.convert()
        assert [Path(item["picture"]).stem for item in records[0]["objects"]] == ["7_1"]
        assert "faces" not in records[0]
        assert report.dropped.keys() == {
            "detection file that is a link out of the folder", "part whose picture is a link out of the folder",
            "detection file of no picture in use",
        }  # fmt: skip

    def test_what_belongs_to_no_picture_is_counted(self, folder):
        folder.parts({"7": ["7_1", "7_2", "7_3"], "99": ["99_1"]})
        folder.detection("99_1", [deepface()])
        _, report = folder.convert()
        assert reasons(report) == {
            "parts of an image that is not among the pictures", "detection file of no picture in use",
            "part without a detection file", "part without a readable picture: its faces belong to no object",
        }  # fmt: skip

    @pytest.mark.parametrize("table", [[], {"7": "7_1"}, {"7": [1]}, {"7": None}, 3])
    def test_a_list_of_parts_that_is_none(self, folder, table):
        folder.parts(table)
        with pytest.raises(DataError, match="total2part_map"):
            folder.convert()
        assert not folder.out.exists()

    def test_folders_that_cannot_be_used(self, folder, tmp_path):
        with pytest.raises(DataError, match=r"no folder of detection files in it \(wiki_detection"):
            write_regions_file(tmp_path, folder.out, images=folder.images)
        with pytest.raises(DataError, match=r"no data set beside the detections.*--images"):
            write_regions_file(folder.root, folder.out)
        with pytest.raises(DataError, match="no such folder; --images"):
            write_regions_file(folder.root, folder.out, images=tmp_path / "none")
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match=r"no usable detection for any of 0 pictures \(.*parts of an image"):
            write_regions_file(folder.root, folder.out, images=tmp_path / "empty")
        save(folder.root / "total2part.json", {})
        with pytest.raises(DataError, match=r"total2part\.json and total2part_map\.json"):
            folder.convert()
        (folder.root / "rich_detection").mkdir()
        with pytest.raises(DataError, match="rich_detection and wiki_detection"):
            folder.convert()
        assert not folder.out.exists()

    def test_lone_surrogates_survive(self, folder):
        (folder.root / "wiki_detection" / "7_1.json").write_text('[{"score": 0.9, "label": "a\\ud800b"}]')
        folder.convert()
        assert [item.label for item in next(iter(read_regions(folder.out).values())).labels] == ["a\ud800b"]


class ColourEncoder:
    """A picture is its mean colour."""

    dim, fingerprint = 3, "colour"

    def encode_images(self, images):
        return np.stack([np.asarray(image, dtype=np.float32).mean(axis=(0, 1)) for image in images])


class LetterEncoder:
    dim, fingerprint = 26, "letters"

    def encode_texts(self, texts):
        return np.array([[t.lower().count(chr(97 + i)) for i in range(26)] for t in texts], np.float32).reshape(-1, 26)


class TestCutOuts:
    @pytest.fixture
    def cut(self, tmp_path: Path) -> Path:
        """A blue picture, with a red and a green cut-out, and one that is broken."""
        for name, colour in (("whole", "blue"), ("a_1", "red"), ("a_2", "lime")):
            Image.new("RGB", (40, 20), colour).save(tmp_path / f"{name}.png")
        (tmp_path / "a_3.png").write_bytes((tmp_path / "a_1.png").read_bytes()[:60])
        objects = [{"picture": f"a_{k}.png", "label": "person"} for k in (2, 1)]
        faces = [
            {"box": [1, 1, 5, 5], "picture": "a_2.png", "attributes": {"age": 1}},
            {"box": [1, 1, 5, 5], "picture": "a_1.png", "attributes": {"age": 2}},
            {"box": [1, 1, 5, 5], "picture": "gone.png", "attributes": {"age": 3}},
            {"attributes": {"age": 4}},
        ]
        self.write(tmp_path, objects, faces)
        return tmp_path

    def write(self, folder: Path, objects: Any, faces: Any = ()) -> None:
        record = {"image": "whole.png", "objects": objects, "faces": list(faces)}
        (folder / "regions.jsonl").write_text(json.dumps(record))

    def extract(self, folder: Path, **settings: Any):
        regions = read_regions(folder / "regions.jsonl")
        config = FeatureConfig(**settings)
        extractor = FeatureExtractor(config, LetterEncoder(), ColourEncoder(), regions=regions)
        mention = Mention("caption", "word", image=str(folder / "whole.png"))
        return extractor.extract([mention], lambda m: Path(m.image), np.zeros((1, 26), np.float32))

    def test_a_cut_out_is_an_object_and_has_its_faces(self, cut):
        features, report = self.extract(cut)
        assert features.objects.values.tolist() == [[255, 0, 0], [0, 255, 0]]
        assert features.image.tolist() == [[0, 0, 255]]
        assert features.face_object.tolist() == [1, 0, -1, -1]
        assert report.failures == {}
        assert report.regions == [
            tuple(CutOut((0, 0, 0, 0), "person", picture=str(cut / f"a_{k}.png")) for k in (1, 2))
        ]

    def test_a_box_and_a_cut_out_together(self, cut):
        self.write(cut, [{"picture": "a_1.png", "score": 0.5}, {"box": [0, 0, 40, 20], "score": 0.9}])
        features, report = self.extract(cut)
        assert features.objects.values.tolist() == [[0, 0, 255], [255, 0, 0]]
        assert [type(region) for region in report.regions[0]] == [Region, CutOut]

    def test_a_face_in_the_whole_picture_belongs_to_no_cut_out(self, cut):
        objects = choose_objects(FeatureConfig(), read_regions(cut / "regions.jsonl")[cut / "whole.png"])
        assert object_of_face(Face((-1.0, -1.0, 1.0, 1.0), {}), objects) == -1
        assert object_of_face(Face((0.0, 0.0, 4.0, 4.0), {}), objects) == -1

    @pytest.mark.parametrize("name", ["a_3.png", "none.png", "regions.jsonl"])
    def test_one_that_cannot_be_read_is_left_out_and_told(self, cut, name):
        self.write(cut, [{"picture": name}, {"picture": "a_1.png"}])
        features, report = self.extract(cut)
        assert features.picture.tolist() == [0]
        assert features.objects.values.tolist() == [[255, 0, 0]]
        assert list(report.failures) == [str(cut / name)]

    def test_without_a_readable_one_the_whole_picture_is_the_object(self, cut):
        self.write(cut, [{"picture": "none.png"}])
        features, report = self.extract(cut)
        assert features.objects.values.tolist() == [[0, 0, 255]]
        assert report.regions[0][0].label == "picture"

    def test_vectors_are_kept_by_content(self, cut, tmp_path):
        region = CutOut((0.0, 0.0, 0.0, 0.0), picture=str(cut / "a_1.png"))
        encoder = PictureEncoder(PictureReader(FeatureConfig(), ColourEncoder(), cache_folder=tmp_path / "cache"))
        known = [PictureRegions(objects=(region,))]
        first = encoder.encode([cut / "whole.png"], known).objects.values.tolist()
        Image.new("RGB", (9, 9), "white").save(cut / "a_1.png")
        second = encoder.encode([cut / "whole.png"], known).objects.values.tolist()
        assert (first, second) == ([[255, 0, 0]], [[255, 255, 255]])

    @pytest.mark.parametrize(
        "item", [{"picture": ""}, {"picture": 3}, {"picture": "a\0b"}, {"picture": None},
                 {"picture": "a.png", "box": [0, 0, 1, 1]}],
    )  # fmt: skip
    def test_lines_that_name_none(self, cut, item):
        self.write(cut, [item])
        with pytest.raises(DataError, match=r"regions\.jsonl, line 1: not a picture's regions: .*picture"):
            read_regions(cut / "regions.jsonl")
