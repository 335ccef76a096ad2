"""`dualway features show` and `dualway features purge`, as a person calls them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from tests.stores import files_of

from .calls import call, write_lines


class Place(NamedTuple):
    """A data set with a picture, and a store of it."""

    data: Path
    store: Path


@pytest.fixture(scope="module")
def made(place, kb, small, tiny_clip) -> Place:
    """A store of a picture with an object, a face and a label that a file tells of."""
    data = place / "shown"
    data.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(data / "a.png")
    line = {"id": "m1", "text": "Foster with صلاح", "surface": "Foster", "entity_id": "Q1", "image": "a.png"}
    write_lines(data / "train.jsonl", [line, {**line, "id": "m2", "image": None}])
    regions = {
        "image": "a.png",
        "objects": [{"box": [5, 5, 40, 55], "label": "person", "score": 0.75}],
        "faces": [{"box": [10, 10, 30, 30], "attributes": {"age": 50}}],
        "labels": [{"label": "Jodie Foster", "score": 0.9}, {"label": "Ben Foster", "score": 0.4}],
    }
    write_lines(data / "regions.jsonl", [regions])
    options = ["--regions", data / "regions.jsonl", "--image-encoder", tiny_clip]
    done = call("features", "--data", data / "train.jsonl", "--kb", kb, "--out", place / "shown-F", *small, *options)
    assert done.code == 0, done.err
    return Place(data / "train.jsonl", place / "shown-F")


@pytest.fixture
def copy(made: Place, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.store, tmp_path / "F"))


class TestShow:
    def test_for_people_and_for_machines(self, made, tmp_path):
        command = ["features", "show", "m1", "--features", made.store, "--data", made.data, "--out"]
        done = call(*command, tmp_path / "o.png")
        assert (done.code, done.err) == (0, "")
        lines = done.out.splitlines()
        assert lines[0] == f"{tmp_path / 'o.png'}: {made.data.parent / 'a.png'}"
        for line in ("  1: person 0.75, 35 x 50 px", "  1: 1.00, 20 x 20 px, age: 50", "  Foster with صلاح"):
            assert line in lines
        assert "  Jodie Foster 0.90, the whole picture: above 0.5, used" in lines
        assert "  Ben Foster 0.40, the whole picture: not above 0.5, not used" in lines
        with Image.open(tmp_path / "o.png") as drawing:
            assert drawing.format == "PNG"
        value = call(*command, tmp_path / "o.jpg", "--json").json
        assert value["picture"] == str(tmp_path / "o.jpg")
        assert value["seen"]["objects"][0]["box"] == [5, 5, 40, 55]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["o.jpg", "o.png"]

    def test_by_the_name_of_the_picture(self, made, tmp_path):
        done = call(
            "features", "show", "a.png", "--features", made.store, "--data", made.data, "-o", tmp_path / "o.png"
        )
        assert done.code == 0, done.err

    @pytest.mark.parametrize(
        ("code", "id", "out", "says"),
        [
            (2, "nobody", "o.png", ["'nobody'", "'m1', 'm2'"]),
            (2, "m1", "o.gif", ["o.gif", ".png or .jpg"]),
            (3, "m2", "o.png", ["'m2'", "no picture"]),
            (7, "m1", ".", ["o.png"]),
        ],
    )
    def test_wrong_calls(self, made, tmp_path, refused, code, id, out, says):
        if out == ".":
            (tmp_path / "o.png").mkdir()
            out = "o.png"
        refused(
            code, "features", "show", id, "--features", made.store, "--data", made.data, "--out", tmp_path / out,
            says=says,
        )  # fmt: skip

    def test_what_is_no_store(self, made, tmp_path, refused):
        refused(
            3, "features", "show", "m1", "--features", tmp_path, "--data", made.data, "--out", tmp_path / "o.png",
            says=["not a feature store", "dualway features"],
        )  # fmt: skip


class TestPurge:
    def test_it_tells_and_then_does(self, copy, made):
        before = files_of(copy)
        told = call("features", "purge", copy, "--faces")
        assert (told.code, told.err) == (0, "")
        assert told.out.splitlines()[0] == f"{copy}: would be removed; nothing is yet, --yes does it:"
        assert f"{1:>14}  faces" in told.out.splitlines()
        assert files_of(copy) == before
        done = call("features", "purge", copy, "--faces", "--yes", "--json").json
        assert done["done"] is True
        assert (done["removed"]["faces"], done["removed"]["labels"]) == (1, 2)
        assert not any(b"Jodie" in content for content in files_of(copy).values())

    def test_a_purged_store_trains_as_one_without_faces(self, copy, made, kb, small, tmp_path):
        assert call("features", "purge", copy, "--faces", "--yes").code == 0
        options = [*small, "--set", "train.epochs=1", "--features", copy]
        done = call("train", "--data", made.data, "--kb", kb, "--out", tmp_path / "run", *options)
        assert done.code == 0, done.err

    def test_the_whole_store_with_what_the_cache_keeps(self, copy, made):
        done = call("features", "purge", copy, "--data", made.data, "--yes", "--json").json
        assert not copy.exists()
        assert done["removed"]["cached_vectors"] == 2  # the picture and its object
        again = call("features", "purge", copy, "--yes")
        assert again.code == 3
        assert "not a feature store" in again.err

    def test_entities_that_nobody_was_taken_for(self, copy):
        before = files_of(copy)
        done = call("features", "purge", copy, "--entity", "Q1", "--entity", "Q2", "--yes")
        assert done.out.startswith(f"{copy}: nothing to remove\nnobody in a picture was taken for 'Q1', 'Q2'")
        assert files_of(copy) == before

    @pytest.mark.parametrize(
        "options", [["--faces", "--entity", "Q1"], ["--faces", "--data", "x"], ["--entity", "Q1", "--data", "x"]]
    )
    def test_wrong_calls(self, copy, refused, options):
        refused(2, "features", "purge", copy, *options, "--yes", says=["leave"])


@pytest.mark.realdata
def test_real_models_on_a_photograph(realdata, small, tiny_clip, tmp_path):
    """Three of the four people of a WikiMEL photograph have portraits; a hand is taken for a face."""
    photo, portraits = realdata / "wikimel" / "KVQAimgs" / "2083.jpg", realdata / "lfw" / "images_deepfunneled"
    people = {"Q233289": "Atal Bihari Vajpayee", "Q165487": "Ahmet Necdet Sezer", "Q57394": "Nursultan Nazarbayev"}
    write_lines(tmp_path / "people.jsonl", [{"id": i, "name": name, "text": name} for i, name in people.items()])
    rows = [
        f"{entity}\t{path.relative_to(portraits)}"
        for entity, name in people.items()
        for path in sorted((portraits / name.replace(" ", "_")).glob("*.jpg"))
        if not path.stem.endswith("_0001")
    ]
    (tmp_path / "map.tsv").write_text("\n".join(["id\tpicture", *rows]) + "\n")
    text = "Sezer with Vladimir Putin, Atal Bihari Vajpayee and Nursultan Nazarbayev"
    line = {"id": "m1", "text": text, "surface": "Sezer", "entity_id": "Q165487", "image": str(photo)}
    write_lines(tmp_path / "train.jsonl", [line])
    kb, store, models = tmp_path / "kb", tmp_path / "F", realdata / "models"
    assert call("kb", "build", tmp_path / "people.jsonl", "--out", kb).code == 0
    assert call("kb", "pictures", kb, "--map", tmp_path / "map.tsv", "--root", portraits).code == 0
    seeing = [
        *("--image-encoder", tiny_clip, "--detector", models / "yolox_nano" / "yolox_nano.onnx"),
        *("--faces", models / "yunet" / "yunet_n_640_640.onnx"),
        *("--age", models / "age_gender" / "age_gender.onnx", "--gender", models / "age_gender" / "age_gender.onnx"),
        *("--identity", models / "mobilefacenet" / "mobilefacenet.onnx"),
    ]
    done = call("features", "--data", tmp_path / "train.jsonl", "--kb", kb, "--out", store, *small, *seeing)
    assert done.code == 0, done.err
    command = ["features", "show", "m1", "--features", store, "--data", tmp_path / "train.jsonl"]
    shown = call(*command, "--out", tmp_path / "o.png", "--json").json
    assert [region["label"] for region in shown["seen"]["objects"]].count("person") == 4
    assert len(shown["seen"]["faces"]) == 5
    [mention] = shown["mentions"]
    assert {item["entity"] for item in mention["identities"]} == set(people)
    with Image.open(tmp_path / "o.png") as drawing:
        assert drawing.width > 1000

    [vector] = np.load(store / "train" / "face_vectors.values.npy")[:1]
    for options, gone in ((["--entity", "Q57394"], b"Q57394"), (["--faces"], vector.tobytes())):
        assert any(gone in content for content in files_of(store).values())
        assert call("features", "purge", store, *options, "--yes").code == 0
        assert not any(gone in content for content in files_of(store).values())
    after = call(*command, "--out", tmp_path / "o.png", "--json").json
    assert "faces" not in after["seen"]
    assert after["mentions"][0]["identities"] == []
    assert json.dumps(after)
