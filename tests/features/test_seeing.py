"""What is looked for in pictures: faces and what is said of them, identities, labels; each enters when it is on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dualway.candidates.names import NameIndex
from dualway.config import PRESETS, EncoderConfig, FeatureConfig, ModelConfig, override
from dualway.encoders.clip import ClipEncoder
from dualway.errors import UsageError
from dualway.features.batching import make_batch
from dualway.features.extract import FeatureExtractor
from dualway.features.identities import CandidateIdentifier
from dualway.features.models import compares_faces
from dualway.features.regions import CutOut, PictureRegions
from dualway.features.seeing import FaceReader, PictureReader
from dualway.features.texts import EntityTexts
from dualway.model.dwe_plus import DwePlus
from dualway.schema import Face, FloatArray, IdentityLabel, IntArray, Mention, Region, Segment

POINTS = ((5.0, 5.0), (9.0, 5.0), (7.0, 7.0), (5.0, 9.0), (9.0, 9.0))


class OneFace:
    """Finds a face in pictures that are wider than high, and a doubtful one beside it."""

    fingerprint = "one-face"

    def find(self, image):
        if image.width <= image.height:
            return []
        sure = Face((4.0, 4.0, 24.0, 24.0), {}, score=0.9, landmarks=POINTS)
        return [sure, dataclasses.replace(sure, box=(30.0, 4.0, 34.0, 8.0), score=0.8)]


class Says:
    """Says one attribute of every face, and counts the faces that it was asked about."""

    def __init__(self, name: str, value: str, sure: float | None = None) -> None:
        self.attributes, self.fingerprint, self.asked = (name,), f"says-{name}", 0
        self._said = (value, sure)

    def tag(self, image, faces):
        self.asked += len(faces)
        return [{self.attributes[0]: self._said} for _ in faces]


class FaceVectors:
    """A vector a face: where it is."""

    fingerprint, dim = "face-vectors", 2

    def encode_faces(self, image, faces):
        vectors = np.array([face.box[:2] for face in faces], dtype=np.float32).reshape(-1, 2)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Recognises:
    """An identifier that knows one row; keeps what it was asked."""

    fingerprint = "recognises"

    def __init__(self, row: int, entity_id: str, score: float = 0.9) -> None:
        self.row, self.entity_id, self.score = row, entity_id, score
        self.asked: list[tuple[FloatArray, IntArray]] = []

    def identify(self, probes: FloatArray, rows: IntArray) -> Sequence[IdentityLabel]:
        self.asked.append((probes, rows))
        if self.row not in rows.tolist():
            return []
        return [IdentityLabel("Somebody", self.score, self.entity_id, 0, 0.7)]


class Names:
    """A classifier of pictures that says how large they are."""

    fingerprint = "names"

    def classify(self, images):
        return [[IdentityLabel(f"{image.width} wide", 0.75), IdentityLabel("nobody", 0.25)] for image in images]


class Halves:
    fingerprint = "halves"

    def detect(self, images):
        return [[Region((0, 0, 20, 30), "left", 0.9), Region((20, 0, 40, 30), "right", 0.8)] for _ in images]


@pytest.fixture(scope="module")
def clip(tiny_clip) -> ClipEncoder:
    return ClipEncoder(tiny_clip)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """wide.png has a face, high.png none."""
    for name, size in (("wide", (40, 30)), ("high", (30, 40))):
        image = Image.new("RGB", size, "red")
        ImageDraw.Draw(image).rectangle((0, 0, 10, 30), fill="blue")
        image.save(tmp_path / f"{name}.png")
    return tmp_path


def extract(extractor: FeatureExtractor, images: Sequence[str], folder: Path, surface: str = "Foster"):
    mentions = [Mention(f"{surface} here", surface, str(i), image=image) for i, image in enumerate(images)]
    return extractor.extract(mentions, lambda m: folder / str(m.image), np.ones((2, extractor.text.dim), np.float32))


class TestFaces:
    def reader(self, *taggers: Says, **settings: float) -> FaceReader:
        return FaceReader(FeatureConfig(**settings), OneFace(), taggers)

    def test_a_face_is_said_of_what_was_asked_for_and_belongs_to_its_object(self, clip, photos):
        faces = self.reader(Says("gender", "male", 0.9), Says("age", "50"))
        extractor = FeatureExtractor(FeatureConfig(), clip, clip, detector=Halves(), faces=faces)
        features, report = extract(extractor, ["wide.png", "high.png"], photos)
        assert features.faces.counts().tolist() == [1, 0]
        expected = clip.encode_texts(["Foster, gender: male, age: 50"])
        np.testing.assert_allclose(features.faces.values, expected, atol=1e-5)
        assert features.face_object.tolist() == [0]  # the left half
        assert report.attributes == ("gender", "age")
        [face] = report.seen[0].faces
        assert (face.confidence, face.landmarks, face.score) == ({"gender": 0.9}, POINTS, 0.9)
        assert extractor.fingerprints() == {
            "text": clip.fingerprint, "image": clip.fingerprint, "detector": "halves",
            "faces": "one-face", "gender": "says-gender", "age": "says-age",
        }  # fmt: skip

    def test_no_face_no_attribute_and_nobody_is_asked(self, clip, photos):
        age = Says("age", "50")
        features, report = extract(
            FeatureExtractor(FeatureConfig(), clip, faces=self.reader(age)), ["high.png"], photos
        )
        assert age.asked == 0
        assert features.faces.counts().tolist() == [0]
        assert report.attributes == ()
        assert make_batch(features, np.array([0])).faces is None

    def test_small_and_doubtful_faces_are_left_out_as_the_settings_say(self, photos):
        image = Image.new("RGB", (40, 30))
        assert [face.box[0] for face in self.reader().find(image)] == [4.0]
        assert [face.box[0] for face in self.reader(min_face_size=2.0).find(image)] == [4.0, 30.0]
        assert self.reader(min_face_score=0.95).find(image) == ()

    def test_faces_without_an_attribute_switched_on_are_found_and_say_nothing(self, clip, photos):
        features, report = extract(FeatureExtractor(FeatureConfig(), clip, faces=self.reader()), ["wide.png"], photos)
        assert len(report.seen[0].faces) == 1
        assert features.faces is None

    def test_what_a_file_says_of_faces_is_taken_instead_of_looking(self, clip, photos):
        age = Says("age", "50")
        told = PictureRegions(faces=(Face((1.0, 1.0, 9.0, 9.0), {"race": "white"}),))
        extractor = FeatureExtractor(FeatureConfig(), clip, faces=self.reader(age), regions={photos / "wide.png": told})
        features, report = extract(extractor, ["wide.png"], photos)
        assert age.asked == 0
        assert report.attributes == ("race",)
        np.testing.assert_allclose(features.faces.values, clip.encode_texts(["Foster, race: white"]), atol=1e-5)

    def test_without_a_picture_encoder_faces_are_read_all_the_same(self, clip, photos):
        extractor = FeatureExtractor(FeatureConfig(), clip, faces=self.reader(Says("age", "50")))
        features, report = extract(extractor, ["wide.png", "none.png"], photos)
        assert features.image is features.objects is None
        assert features.faces.counts().tolist() == [1, 0]
        assert [Path(path).name for path in report.failures] == ["none.png"]


class TestLabels:
    def test_the_whole_picture_and_each_object_are_classified(self, clip, photos):
        extractor = FeatureExtractor(FeatureConfig(), clip, clip, detector=Halves(), classifier=Names())
        features, report = extract(extractor, ["wide.png"], photos)
        labels = [(label.label, label.probe) for label in report.seen[0].labels if label.score > 0.5]
        assert labels == [("40 wide", -1), ("20 wide", 0), ("20 wide", 1)]
        # "we only use identity information with confidence scores greater than 0.5": strict
        np.testing.assert_allclose(
            features.labels.values, clip.encode_texts(["40 wide", "20 wide", "20 wide"]), atol=1e-5
        )

    def test_labels_of_a_file_come_first(self, clip, photos):
        told = PictureRegions(labels=(IdentityLabel("Somebody", 0.9),))
        extractor = FeatureExtractor(
            FeatureConfig(), clip, clip, classifier=Names(), regions={photos / "wide.png": told}
        )
        _, report = extract(extractor, ["wide.png"], photos)
        assert [label.label for label in report.seen[0].labels] == ["Somebody"]


class TestIdentities:
    def identifier(self, kb, known: Recognises, probes: str = "faces", k: int = 3) -> CandidateIdentifier:
        names = NameIndex(kb.ids, kb.names, kb.aliases)
        return CandidateIdentifier(known, names, k, EntityTexts(kb), gallery="g", probes=probes)

    def extractor(self, clip, kb, known: Recognises, **more) -> FeatureExtractor:
        faces = FaceReader(FeatureConfig(), OneFace(), (), FaceVectors())
        return FeatureExtractor(FeatureConfig(), clip, clip, faces=faces, identifier=self.identifier(kb, known), **more)

    def test_candidates_of_the_mention_alone_are_consulted_and_only_where_there_is_a_face(
        self, clip, people_kb, photos
    ):
        row = people_kb.row("Q1")
        known = Recognises(row, "Q1")
        features, report = extract(self.extractor(clip, people_kb, known), ["wide.png", "high.png"], photos)
        assert features.identities.counts().tolist() == [1, 0]
        assert len(known.asked) == 1
        probes, rows = known.asked[0]
        assert probes.shape == (1, 2)
        names = NameIndex(people_kb.ids, people_kb.names, people_kb.aliases)
        assert rows.tolist() == names.search([Mention("Foster here", "Foster")], 3).rows[0].tolist()
        text = people_kb.texts()[row]
        np.testing.assert_allclose(features.identities.values, clip.encode_texts([f"Jodie Foster. {text}"]), atol=1e-5)
        assert report.identities[0][0].entity_id == "Q1"
        assert report.identities[1] == ()

    def test_nobody_is_found_who_is_no_candidate(self, clip, people_kb, photos):
        known = Recognises(people_kb.row("Q1"), "Q1")
        features, _ = extract(self.extractor(clip, people_kb, known), ["wide.png"], photos, surface="Zzyzx Qq")
        assert not features.identities.counts().any()

    @pytest.mark.parametrize(("score", "count"), [(0.5, 0), (0.51, 1)])
    def test_the_threshold_of_the_paper_is_strict(self, clip, people_kb, photos, score, count):
        known = Recognises(people_kb.row("Q1"), "Q1", score)
        features, report = extract(self.extractor(clip, people_kb, known), ["wide.png"], photos)
        assert features.identities.counts().tolist() == [count]
        assert len(report.identities[0]) == 1  # shown all the same

    def test_pictures_are_compared_by_objects_and_the_whole_picture_last(self, clip, people_kb, photos):
        known = Recognises(people_kb.row("Q1"), "Q1")
        extractor = FeatureExtractor(
            FeatureConfig(), clip, clip, detector=Halves(), identifier=self.identifier(people_kb, known, "pictures")
        )
        features, _ = extract(extractor, ["wide.png"], photos)
        probes, _ = known.asked[0]
        np.testing.assert_array_equal(probes, np.concatenate([features.objects.values, features.image]))

    def test_labels_of_the_picture_and_identities_of_the_mention_are_keys_side_by_side(self, clip, people_kb, photos):
        known = Recognises(people_kb.row("Q1"), "Q1")
        extractor = self.extractor(clip, people_kb, known, classifier=Names())
        features, _ = extract(extractor, ["wide.png", "high.png"], photos)
        batch = make_batch(features, np.array([1, 0]))
        assert batch.labels.counts.tolist() == [1, 2]
        padded = batch.labels.padded().numpy()
        np.testing.assert_array_equal(padded[1, 0], features.labels.values[0])
        np.testing.assert_array_equal(padded[1, 1], features.identities.values[0])

    def test_a_mention_s_identities_go_with_it(self, clip, people_kb, photos):
        known = Recognises(people_kb.row("Q1"), "Q1")
        features, _ = extract(self.extractor(clip, people_kb, known), ["high.png", "wide.png"], photos)
        assert features.take(np.array([1])).identities.counts().tolist() == [1]


@pytest.mark.parametrize(
    ("switch", "part"), [("use_objects", "objects"), ("use_faces", "faces"), ("use_identity", "identities"),
                         ("use_identity", "labels"), ("use_image", "image"), ("use_text", "text")],
)  # fmt: skip
def test_every_input_moves_the_output_when_its_switch_is_on_and_none_does_when_off(
    clip, people_kb, photos, switch, part
):
    """METHOD.md, trap 2: an input that silently never enters the model."""
    import torch

    known = Recognises(people_kb.row("Q1"), "Q1")
    extractor = FeatureExtractor(
        FeatureConfig(), clip, clip, detector=Halves(), classifier=Names(),
        faces=FaceReader(FeatureConfig(), OneFace(), [Says("age", "50")], FaceVectors()),
        identifier=TestIdentities().identifier(people_kb, known),
    )  # fmt: skip
    features, _ = extract(extractor, ["wide.png"], photos)
    values = getattr(features, part)
    flipped = values._replace(values=-values.values) if hasattr(values, "values") else -values
    other = dataclasses.replace(features, **{part: flipped})
    for on in (True, False):
        torch.manual_seed(0)
        config = dataclasses.replace(ModelConfig(dim=16, heads=2, dropout=0.0, use_image=True), **{switch: on})
        model = DwePlus(config, clip.dim, clip.dim).eval()
        with torch.inference_mode():
            before, after = (model.encode_mentions(make_batch(f, np.array([0]))).g for f in (features, other))
        assert bool((before - after).abs().max() > 1e-4) == on, (switch, on)


class TestCrops:
    def test_an_outline_is_cut_out_when_the_settings_say_so(self, clip, photos):
        segment = Segment((0.0, 0.0, 2.0, 2.0), "a", 1.0, mask=(0, 1, 3))
        known = PictureRegions(objects=(segment,))
        vectors = {
            crop: PictureReader(FeatureConfig(crop=crop), clip).read(photos / "wide.png", known)[1].objects
            for crop in ("box", "mask")
        }
        assert not np.array_equal(vectors["box"], vectors["mask"])

    def test_without_any_object_the_whole_picture_is_it_and_says_so(self, clip, photos):
        seen, vectors = PictureReader(FeatureConfig(), clip).read(photos / "wide.png", PictureRegions(objects=()))
        assert [(region.label, region.box) for region in seen.objects] == [("picture", (0.0, 0.0, 40.0, 30.0))]
        np.testing.assert_array_equal(vectors.objects[0], vectors.image)

    def test_a_cut_out_that_is_gone_is_told_and_the_rest_is_used(self, clip, photos):
        gone = CutOut((0.0, 0.0, 0.0, 0.0), "a", picture=str(photos / "gone.png"))
        known = PictureRegions(objects=(gone, Region((0, 0, 9, 9), "b")))
        seen, vectors = PictureReader(FeatureConfig(), clip).read(photos / "wide.png", known)
        assert [region.label for region in seen.objects] == ["b"]
        assert len(vectors.objects) == 1
        assert list(seen.failures) == [str(photos / "gone.png")]


def test_which_setting_compares_faces():
    for name in ("a/b.onnx", "~/FACES.ONNX", "b.OnnX"):
        assert compares_faces(EncoderConfig(identity=name))
        with pytest.raises(UsageError, match=r"set encoders\.faces"):
            override(PRESETS["paper"], {"encoders": {"identity": name}})
    assert not compares_faces(EncoderConfig(identity="pictures"))
    assert not compares_faces(EncoderConfig(identity="a/classifier"))
    assert not compares_faces(EncoderConfig())
