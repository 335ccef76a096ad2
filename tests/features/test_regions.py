from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dualway.config import FeatureConfig
from dualway.errors import DataError
from dualway.features.extract import FeatureExtractor
from dualway.features.pictures import PictureEncoder
from dualway.features.regions import (
    Face,
    IdentityLabel,
    PictureRegions,
    choose_objects,
    object_of_face,
    read_regions,
)
from dualway.features.seeing import PictureReader
from dualway.features.texts import face_sentence, identity_sentences
from dualway.schema import Mention, Region


class ColourEncoder:
    """A picture is its mean colour; counts what it is asked."""

    dim, fingerprint = 3, "colour"

    def __init__(self) -> None:
        self.encoded = 0

    def encode_images(self, images):
        self.encoded += len(images)
        return np.stack([np.asarray(image, dtype=np.float32).mean(axis=(0, 1)) for image in images])


class LetterEncoder:
    """A text is its letter counts, so that two texts differ when their words do."""

    dim, fingerprint = 26, "letters"

    def encode_texts(self, texts):
        return np.array([[t.lower().count(chr(97 + i)) for i in range(26)] for t in texts], np.float32).reshape(-1, 26)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture whose left half is red and whose right half is blue."""
    image = Image.new("RGB", (40, 20), (255, 0, 0))
    image.paste((0, 0, 255), (20, 0, 40, 20))
    image.save(tmp_path / "two.png")
    return tmp_path / "two.png"


LINE = {
    "image": "two.png",
    "objects": [
        {"box": [0, 0, 20, 20], "label": "person", "score": 0.8},
        {"box": [20, 0, 40, 20], "label": "person", "score": 0.9},
        {"box": [0, 0, 40, 20], "label": "flag", "score": 0.95},
    ],
    "faces": [
        {"box": [25, 5, 30, 10], "attributes": {"gender": "male", "age": 50}},
        {"box": [1, 1, 2, 2], "attributes": {}},
    ],
    "labels": [{"label": "Barack Obama", "score": 0.756}, {"label": "Nobody", "score": 0.5}],
}


def write(folder: Path, *records: object) -> Path:
    path = folder / "regions.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_file_is_read_by_picture(tmp_path: Path):
    found = read_regions(write(tmp_path, LINE, {"image": "sub/other.jpg"}))
    assert set(found) == {tmp_path / "two.png", tmp_path / "sub/other.jpg"}
    assert found[tmp_path / "sub/other.jpg"] == PictureRegions()
    regions = found[tmp_path / "two.png"]
    assert regions.objects[2] == Region((0, 0, 40, 20), "flag", 0.95)
    assert regions.faces[0].attributes == {"gender": "male", "age": "50"}
    assert regions.labels[0] == IdentityLabel("Barack Obama", 0.756)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ([], "expected an object"),
        ({}, "no 'image'"),
        ({"image": 3}, "'image' must be"),
        ({"image": "a", "objects": [{"box": [3, 0, 1, 1]}]}, "x0 < x1"),
        ({"image": "a", "objects": [{"box": [0, 0, float("nan"), 1]}]}, "x0 < x1"),
        ({"image": "a", "objects": [{"label": "x"}]}, "no 'box'"),
        ({"image": "a", "labels": [{"label": "x", "score": 7}]}, "between 0 and 1"),
        ({"image": "two.png"}, "named before"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, record: object, problem: str):
    path = write(tmp_path, {"image": "two.png"}, record)
    with pytest.raises(DataError, match="line 2") as raised:
        read_regions(path)
    assert problem in str(raised.value)


def test_objects_are_filtered_by_class_score_and_number_in_a_stable_order():
    regions = read_parts()
    assert [o.score for o in choose_objects(FeatureConfig(), regions)] == [0.95, 0.9, 0.8]
    persons = FeatureConfig(object_classes=("person",))
    assert [o.label for o in choose_objects(persons, regions)] == ["person", "person"]
    assert [o.score for o in choose_objects(FeatureConfig(min_object_score=0.9), regions)] == [0.95, 0.9]
    assert [o.score for o in choose_objects(FeatureConfig(max_objects=1), regions)] == [0.95]


def read_parts() -> PictureRegions:
    objects = tuple(Region(tuple(o["box"]), o["label"], o["score"]) for o in LINE["objects"])
    return PictureRegions(objects)


def test_a_face_belongs_to_the_smallest_object_around_it():
    objects = read_parts().objects
    assert object_of_face(Face((25, 5, 30, 10), {}), objects) == 1
    assert object_of_face(Face((50, 50, 60, 60), {}), objects) == -1


def test_the_papers_sentences():
    face = Face((0, 0, 1, 1), {"gender": "male", "race": "white", "age": "50"})
    assert face_sentence(FeatureConfig(), "Trump", face) == "Trump, gender: male, race: white, age: 50"
    labels = [IdentityLabel("Barack Obama", 0.756), IdentityLabel("Half", 0.5), IdentityLabel("Joe Biden", 0.6)]
    assert identity_sentences(FeatureConfig(), labels) == ["Barack Obama", "Joe Biden"]
    config = FeatureConfig(identity_keys="joined", identity_template="{{score: {score}, label: {label}}}")
    assert identity_sentences(config, labels[:1]) == ["{score: 0.756, label: Barack Obama}"]


def objects(*regions: Region) -> PictureRegions:
    return PictureRegions(objects=regions)


def test_crops_are_encoded_and_kept_by_content_and_box(picture: Path, tmp_path: Path):
    encoder = ColourEncoder()
    pictures = PictureEncoder(PictureReader(FeatureConfig(), encoder, cache_folder=tmp_path / "cache"))
    left, right = Region((-5, 0, 20, 20), "a"), Region((20, 0, 99, 20), "b")
    found = pictures.encode([picture, tmp_path / "none.png"], [objects(left, right), objects()])
    assert found.objects.values.tolist() == [[255, 0, 0], [0, 0, 255]]
    assert found.image.tolist() == [[127.5, 0, 127.5]]
    assert found.position == {picture: 0}
    assert list(found.failures) == [str(tmp_path / "none.png")]
    assert encoder.encoded == 3
    pictures.encode([picture], [objects(right)])
    assert encoder.encoded == 3
    [seen] = pictures.encode([picture], [objects()]).seen
    [whole] = seen.objects
    assert (whole.box, whole.label) == ((0, 0, 40, 20), "picture")


def test_no_object_may_be_a_zero_vector_as_in_the_public_code(picture: Path):
    reader = PictureReader(FeatureConfig(no_object="zero"), ColourEncoder())
    found = PictureEncoder(reader).encode([picture], [objects()])
    assert found.objects.values.tolist() == [[0, 0, 0]]
    assert found.image.tolist() == [[127.5, 0, 127.5]]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"image": "a", "faces": [{"box": [0, 0, 1, 1], "attributes": [1]}]}, "'attributes' must be an object"),
        ({"image": "a", "objects": ["person"]}, "'objects' must be a list of objects"),
        ({"image": "a\x00b"}, "must be the path"),
        ({"image": "a", "objects": [{"box": [0, 0, 10**400, 1]}]}, "too large"),
    ],
)
def test_odd_values_are_clear_errors(tmp_path: Path, record: object, problem: str):
    with pytest.raises(DataError, match="line 1") as raised:
        read_regions(write(tmp_path, record))
    assert problem in str(raised.value)


def test_features_hold_objects_faces_and_labels_of_the_file(picture: Path, tmp_path: Path):
    extractor = FeatureExtractor(
        FeatureConfig(object_classes=("person",)),
        LetterEncoder(),
        ColourEncoder(),
        regions=read_regions(write(tmp_path, LINE)),
    )
    mentions = [Mention("Trump here", "Trump", "1", image="two.png"), Mention("No picture", "Foster", "2")]
    features, report = extractor.extract(
        mentions, lambda m: picture if m.image else None, np.ones((2, 26), dtype=np.float32)
    )
    assert features.picture.tolist() == [0, -1]
    assert features.objects.values.tolist() == [[0, 0, 255], [255, 0, 0]]  # the better score first
    assert features.faces.counts().tolist() == [1, 0]  # a face without attributes has no sentence
    assert np.array_equal(features.faces.values, LetterEncoder().encode_texts(["Trump, gender: male, age: 50"]))
    assert features.face_object.tolist() == [0]
    assert np.array_equal(features.labels.values, LetterEncoder().encode_texts(["Barack Obama"]))
    assert report.attributes == ("gender", "age")
    assert report.regions == [(Region((20, 0, 40, 20), "person", 0.9), Region((0, 0, 20, 20), "person", 0.8))]


def test_without_a_picture_encoder_faces_and_labels_still_count(picture: Path, tmp_path: Path):
    extractor = FeatureExtractor(FeatureConfig(), LetterEncoder(), regions=read_regions(write(tmp_path, LINE)))
    features, _ = extractor.extract(
        [Mention("Trump here", "Trump", "1")], lambda m: picture, np.ones((1, 26), dtype=np.float32)
    )
    assert features.objects is None
    assert features.labels.counts().tolist() == [1]
    assert features.faces.counts().tolist() == [1]


def test_no_face_in_the_file_means_no_attributes(picture: Path, tmp_path: Path):
    regions = read_regions(write(tmp_path, {**LINE, "faces": []}))
    features, report = FeatureExtractor(FeatureConfig(), LetterEncoder(), regions=regions).extract(
        [Mention("Trump here", "Trump", "1")], lambda m: picture, np.ones((1, 26), dtype=np.float32)
    )
    assert features.faces.counts().tolist() == [0]
    assert report.attributes == ()
