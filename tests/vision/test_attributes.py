"""Age and gender: what is asked of which model, what part of the picture it sees, what is refused, and real people."""

from __future__ import annotations

import json
import math
import pickle
import sys

import numpy as np
import pytest
import torch
from experiments import faces as experiment
from PIL import Image
from tests.tiny_onnx import save_constant_onnx

from dualway.errors import ModelError, UsageError
from dualway.protocols import FaceTagger
from dualway.schema import Face
from dualway.vision.attributes import (
    FRAMING,
    ClassifierTagger,
    DeepFaceTagger,
    OnnxTagger,
    cut_faces,
    load_taggers,
)

FACES = [Face((10, 10, 40, 50), {}), Face((50, 20, 70, 45), {})]
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 100, 3), dtype=np.uint8))
NOTHING = [Face(None, {}), Face((200, 200, 230, 240), {}), Face((5, 5, 5, 9), {}), Face((math.nan, 1, 2, 3), {})]


def save_age_gender(path, *, age=31.4, gender=(0.25, 0.75), genders: str | None = None):
    outputs = {"age": np.array([age], np.float32), "gender": np.array([gender], np.float32)}
    save_constant_onnx(path, {"image": ("N", 3, 112, 112)}, outputs)
    if genders is not None:  # the format's field 14 is the model's metadata
        entry = b"\x0a\x0egender_classes\x12" + bytes([len(genders)]) + genders.encode()
        path.write_bytes(path.read_bytes() + b"\x72" + bytes([len(entry)]) + entry)
    return path


def save_classifier(folder, labels: list[str], seed: int = 0):
    import transformers as t

    torch.manual_seed(seed)
    config = t.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=16,
        id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)},
    )  # fmt: skip
    t.ViTForImageClassification(config).save_pretrained(folder)
    t.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture
def onnx(tmp_path):
    return save_age_gender(tmp_path / "age_gender.onnx")


@pytest.fixture(scope="module")
def ages(tmp_path_factory):
    return save_classifier(tmp_path_factory.mktemp("ages"), ["0-2", "3-19", "20-59", "more than 60"])


@pytest.fixture(scope="module")
def genders(tmp_path_factory):
    return save_classifier(tmp_path_factory.mktemp("genders"), ["Female", "Male"])


FAKE = """
import json
ASKED, ANSWER = [], None
def analyze(img_path, actions, **settings):
    ASKED.append((img_path, actions, settings))
    if isinstance(ANSWER, Exception):
        raise ANSWER
    usual = {"age": 49.6, "gender": {"Woman": 1.5, "Man": 98.5}, "dominant_gender": "Man"}
    return [usual] if ANSWER is None else ANSWER
"""


@pytest.fixture
def deepface(tmp_path, monkeypatch):
    """A package in deepface's place that keeps what it was asked; its module DeepFace is imported on its own."""
    package = tmp_path / "packages" / "deepface"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "0.0.93"')
    (package / "DeepFace.py").write_text(FAKE)
    monkeypatch.syspath_prepend(str(package.parent))
    yield lambda: sys.modules["deepface.DeepFace"]
    for name in ("deepface.DeepFace", "deepface"):
        sys.modules.pop(name, None)


class TestWhatIsSaid:
    def test_by_onnx(self, onnx):
        tagger: FaceTagger = OnnxTagger(onnx)
        assert tagger.attributes == ("gender", "age")
        said = tagger.tag(PICTURE, FACES)
        assert said == [{"gender": ("female", pytest.approx(0.75)), "age": ("31", None)}] * 2
        assert [list(item) for item in said] == [["gender", "age"]] * 2  # the order of the sentence

    @pytest.mark.parametrize("given", [("age",), ("gender",), ("age", "gender"), ("gender", "age")])
    def test_only_what_was_asked_for(self, onnx, deepface, given):
        expected = [name for name in ("gender", "age") if name in given]
        for tagger in (OnnxTagger(onnx, given), DeepFaceTagger(given)):
            assert list(tagger.attributes) == expected
            assert [list(said) for said in tagger.tag(PICTURE, FACES)] == [expected] * 2

    def test_the_order_of_genders_is_the_files(self, tmp_path):
        path = save_age_gender(tmp_path / "other.onnx", genders="female,male")
        assert OnnxTagger(path).tag(PICTURE, FACES[:1])[0]["gender"][0] == "male"
        path = save_age_gender(tmp_path / "same.onnx", genders="male,female")
        assert OnnxTagger(path).tag(PICTURE, FACES[:1])[0]["gender"][0] == "female"

    @pytest.mark.parametrize(("age", "text"), [(-3.0, "0"), (49.7, "50"), (0.2, "0"), (1e30, "130")])
    def test_ages_are_whole_years_of_people(self, tmp_path, age, text):
        path = save_age_gender(tmp_path / "model.onnx", age=age)
        assert OnnxTagger(path).tag(PICTURE, FACES[:1])[0]["age"] == (text, None)

    def test_by_a_classifier(self, genders):
        tagger: FaceTagger = ClassifierTagger(genders, "gender")
        assert tagger.attributes == ("gender",)
        said = tagger.tag(PICTURE, FACES)
        for item in said:
            value, confidence = item["gender"]
            assert value in ("Female", "Male")
            assert confidence is not None
            assert 0.5 <= confidence <= 1
        assert tagger.tag(PICTURE, FACES[::-1]) == said[::-1]  # none depends on the others
        assert tagger.tag(PICTURE, FACES[1:]) == said[1:]

    def test_the_likeliest_label_and_its_share(self, ages):
        tagger = ClassifierTagger(ages, "age")

        class Output:
            logits = torch.tensor([[0.0, 2.0, 1.0, -5.0]])

        tagger._model = lambda **inputs: Output
        shares = np.exp([0.0, 2.0, 1.0, -5.0]) / np.exp([0.0, 2.0, 1.0, -5.0]).sum()
        assert tagger.tag(PICTURE, FACES[:1]) == [{"age": ("3-19", pytest.approx(shares[1]))}]

    def test_by_deepface(self, deepface):
        tagger: FaceTagger = DeepFaceTagger()
        assert tagger.tag(PICTURE, FACES[:1]) == [{"gender": ("male", pytest.approx(0.985)), "age": ("50", None)}]

    def test_nothing_where_there_is_nothing(self, onnx, genders, deepface):
        for tagger in (OnnxTagger(onnx), ClassifierTagger(genders, "gender"), DeepFaceTagger()):
            assert tagger.tag(PICTURE, NOTHING) == [{}] * len(NOTHING)
            assert tagger.tag(PICTURE, []) == []
        assert deepface().ASKED == []

    def test_no_model_is_asked_where_no_face_was_found(self, onnx, genders):
        def refuse(*arguments, **settings):
            raise AssertionError("asked without a face")

        asked = OnnxTagger(onnx)
        asked._model.run = refuse
        other = ClassifierTagger(genders, "gender")
        other._model = refuse
        for tagger in (asked, other):
            assert tagger.tag(PICTURE, []) == []
            assert tagger.tag(PICTURE, NOTHING) == [{}] * len(NOTHING)

    def test_it_goes_to_another_process(self, onnx):
        tagger = OnnxTagger(onnx, ["age"], framing=1.2)
        again = pickle.loads(pickle.dumps(tagger))
        assert again.tag(PICTURE, FACES) == tagger.tag(PICTURE, FACES)
        assert (again.fingerprint, again.attributes) == (tagger.fingerprint, ("age",))


class TestDeepFaceIsAskedForNoMore:
    def test_never_for_race_or_emotion(self, deepface):
        for attributes in (("age",), ("gender",), ("age", "gender")):
            DeepFaceTagger(attributes).tag(PICTURE, FACES)
        asked = [set(actions) for _, actions, _ in deepface().ASKED]
        assert asked == [{"age"}] * 2 + [{"gender"}] * 2 + [{"age", "gender"}] * 2

    def test_it_sees_the_face_alone_and_looks_for_none(self, deepface):
        DeepFaceTagger().tag(PICTURE, FACES[:1])
        [(pixels, _, settings)] = deepface().ASKED
        assert settings == {"enforce_detection": False, "detector_backend": "skip", "align": False, "silent": True}
        assert np.array_equal(pixels, np.asarray(PICTURE)[10:50, 10:40, ::-1])  # BGR

    def test_what_is_outside_of_the_picture_is_cut_off(self, deepface):
        DeepFaceTagger().tag(PICTURE, [Face((-50.5, -3, 20.5, 4000), {})])
        assert deepface().ASKED[0][0].shape == (80, 21, 3)

    @pytest.mark.parametrize(
        "answer",
        [[], [{}, {}], [{"age": 40}], [{"age": 40, "gender": "Man"}], [{"age": 40, "gender": {}}], {"age": 40}, 7,
         [{"age": 40, "gender": {"Other": 9.0}}], [{"age": "old", "gender": {"Man": 99}}],
         [{"age": math.nan, "gender": {"Man": 99}}]],
    )  # fmt: skip
    def test_an_answer_of_another_form(self, deepface, answer):
        tagger = DeepFaceTagger()
        deepface().ANSWER = answer
        with pytest.raises(ModelError, match="its answer is of an unknown form"):
            tagger.tag(PICTURE, FACES)

    def test_its_failures(self, deepface):
        tagger = DeepFaceTagger()
        deepface().ANSWER = ValueError("no weights")
        with pytest.raises(ModelError, match=r"attributes by deepface: it failed \(no weights\)"):
            tagger.tag(PICTURE, FACES)

    def test_where_it_is_not_installed(self):
        assert "deepface" not in sys.modules
        with pytest.raises(ModelError, match="deepface is not installed; pip install deepface"):
            DeepFaceTagger()

    def test_where_it_cannot_be_imported(self, tmp_path, deepface):
        (tmp_path / "packages" / "deepface" / "DeepFace.py").write_text("raise RuntimeError('no tensorflow')")
        with pytest.raises(ModelError, match=r"cannot be imported \(no tensorflow\)"):
            DeepFaceTagger()

    def test_it_is_imported_only_when_asked_for(self, deepface, onnx):
        load_taggers(str(onnx), None)
        assert "deepface" not in sys.modules
        load_taggers("deepface", None)
        assert "deepface" in sys.modules


@pytest.fixture(scope="module")
def pixels():
    y, x = np.mgrid[0:200, 0:240]
    return np.stack([x, y, np.full_like(x, 255)], axis=-1).astype(np.uint8)


class TestTheCutOut:
    """A picture whose red is the column and green the row shows which part is looked at."""

    @pytest.mark.parametrize("box", [(60, 50, 120, 130), (20, 30, 24, 36), (30, 10, 180, 180), (0, 0, 40, 60)])
    def test_a_square_of_the_framing_around_the_boxs_centre(self, pixels, box):
        [cut] = cut_faces(Image.fromarray(pixels), [Face(box, {})], 112)
        assert cut.shape == (112, 112, 3)
        side = FRAMING * (box[3] - box[1])
        step = side / 112
        for axis, colour in ((0, 0), (1, 1)):
            middle = (box[axis] + box[axis + 2]) / 2
            line = cut[56, :, 0] if axis == 0 else cut[:, 56, 1]
            inside = cut[56, :, 2] == 255 if axis == 0 else cut[:, 56, 2] == 255
            places = middle - side / 2 + (np.arange(112) + 0.5) * step - 0.5
            shown = inside & (places >= 0)
            assert shown.sum() > 50, colour
            assert np.abs(line[shown] - places[shown]).max() < 2.5

    def test_outside_is_black(self, pixels):
        [cut] = cut_faces(Image.fromarray(pixels), [Face((-40, 60, 40, 140), {})], 100)
        assert not cut[:, :49].any()
        assert (cut[:, 52:, 2] == 255).all()

    def test_a_box_much_larger_than_the_picture(self, pixels):
        for box in ((-1e6, -1e6, 1e6, 1e6), (-1e5, -10, 1e5, 300), (0, -1e8, 240, 1e8)):
            [cut] = cut_faces(Image.fromarray(pixels), [Face(box, {})], 112)
            assert cut.shape == (112, 112, 3)
        assert cut_faces(Image.fromarray(pixels), [Face((-1e300, -1e300, 1e300, 1e300), {})], 112) == [None]

    @pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
    def test_tiny_pictures(self, size):
        picture = Image.new("RGB", size, "white")
        for box in ((0, 0, 1, 1), (0, 0, *size), (0, 0, 0.2, 0.3), (-3, -3, 900, 900)):
            [cut] = cut_faces(picture, [Face(box, {})], 112)
            assert cut is None or cut.shape == (112, 112, 3)

    def test_the_noise_of_a_large_face_is_averaged(self):
        noise = np.random.default_rng(0).integers(0, 255, (1200, 1200, 3), dtype=np.uint8)
        [cut] = cut_faces(Image.fromarray(noise), [Face((0, 0, 1200, 1200), {})], 112)
        assert cut.std() < 12

    def test_models_see_rgb(self, onnx, genders):
        """Red and blue are exchanged nowhere on the way."""
        red = Image.new("RGB", (90, 90), (250, 10, 20))
        seen = []
        tagger = OnnxTagger(onnx)
        tagger._model.run = lambda feeds: seen.append(feeds["image"]) or [np.ones(1), np.array([[0.5, 0.5]])]
        tagger.tag(red, [Face((30, 30, 60, 60), {})])
        assert seen[0].dtype == np.float32
        assert seen[0].shape == (1, 3, 112, 112)
        assert seen[0][0, :, 56, 56].tolist() == [250, 10, 20]
        other = ClassifierTagger(genders, "gender")
        processor = other._processor
        other._processor = lambda images, **settings: seen.append(images[0]) or processor(images=images, **settings)
        other.tag(red, [Face((30, 30, 60, 60), {})])
        assert seen[1].getpixel((100, 100)) == (250, 10, 20)


class TestBySetting:
    def test_each_is_its_own_switch(self, onnx):
        assert load_taggers() == []
        assert [tagger.attributes for tagger in load_taggers(age=str(onnx))] == [("age",)]
        assert [tagger.attributes for tagger in load_taggers(gender=str(onnx))] == [("gender",)]

    def test_the_same_file_for_both_is_loaded_once(self, onnx, tmp_path):
        [tagger] = load_taggers(str(onnx), str(onnx))
        assert tagger.attributes == ("gender", "age")
        (tmp_path / "link.onnx").symlink_to(onnx)
        [tagger] = load_taggers(str(tmp_path / "link.onnx"), str(onnx.parent / "." / onnx.name))
        assert tagger.attributes == ("gender", "age")

    def test_one_each_in_the_order_of_the_sentence(self, onnx, ages, genders, deepface):
        one, other = load_taggers(age=str(ages), gender=str(genders))
        assert (one.attributes, other.attributes) == (("gender",), ("age",))
        assert isinstance(other, ClassifierTagger)
        assert [type(t) for t in load_taggers(str(onnx), str(genders))] == [ClassifierTagger, OnnxTagger]
        assert [type(t) for t in load_taggers(str(onnx), "deepface")] == [DeepFaceTagger, OnnxTagger]
        [both] = load_taggers("deepface", "deepface")
        assert both.attributes == ("gender", "age")

    def test_names_of_nothing(self, ages, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(UsageError, match=r"unknown model of age 'vit'; give an \.onnx file, a directory"):
            load_taggers(age="vit")
        with pytest.raises(ModelError, match=r"gone\.onnx: no such file"):
            load_taggers(gender=str(tmp_path / "gone.onnx"))
        with pytest.raises(ModelError, match="no such directory"):
            load_taggers(gender=str(tmp_path / "gone"))
        with pytest.raises(UsageError, match="a classifier has labels of one kind; give age and gender a model each"):
            load_taggers(str(ages), str(ages))


class TestFingerprint:
    def test_it_changes_with_file_and_settings(self, onnx, ages, genders, deepface, tmp_path):
        other = save_age_gender(tmp_path / "other.onnx", age=20)
        prints = [
            OnnxTagger(onnx).fingerprint,
            OnnxTagger(onnx, ["age"]).fingerprint,
            OnnxTagger(onnx, framing=1.0).fingerprint,
            OnnxTagger(other).fingerprint,
            ClassifierTagger(ages, "age").fingerprint,
            ClassifierTagger(ages, "gender").fingerprint,
            ClassifierTagger(genders, "gender").fingerprint,
            DeepFaceTagger().fingerprint,
            DeepFaceTagger(["age"]).fingerprint,
        ]
        assert len(set(prints)) == len(prints)
        assert OnnxTagger(onnx, ["gender", "age"]).fingerprint == prints[0]


class TestRefused:
    @pytest.mark.parametrize("attribute", ["race", "emotion", "Age", "", "identity"])
    def test_other_attributes(self, onnx, ages, attribute):
        for make in (
            lambda: OnnxTagger(onnx, ["age", attribute]),
            lambda: ClassifierTagger(ages, attribute),
            lambda: DeepFaceTagger([attribute]),
        ):
            with pytest.raises(UsageError, match="is not read from faces: only age and gender are; race and emotion"):
                make()

    def test_none(self, onnx):
        with pytest.raises(UsageError, match="name what is to be said"):
            OnnxTagger(onnx, [])

    @pytest.mark.parametrize(
        "labels",
        [["Male", "Black"], ["white", "other"], ["East Asian", "Latino_Hispanic"], ["middle eastern", "x"],
         ["happy", "calm"], ["Sad", "ok"], ["surprise", "ok"]],
    )  # fmt: skip
    def test_labels_of_race_or_emotion_whatever_they_are_named_for(self, tmp_path, labels):
        folder = save_classifier(tmp_path / "model", labels)
        with pytest.raises(ModelError, match="race or emotion, which are not read from faces"):
            ClassifierTagger(folder, "gender")

    @pytest.mark.parametrize("labels", [["LABEL_0", "LABEL_1"], ["0", "1"]])
    def test_labels_without_names(self, tmp_path, labels):
        folder = save_classifier(tmp_path / "model", labels)
        with pytest.raises(ModelError, match="its labels have no names; write them into id2label"):
            ClassifierTagger(folder, "gender")

    def test_another_kind_of_directory(self, tiny_clip, genders, tmp_path):
        with pytest.raises(ModelError, match=str(tiny_clip)):
            ClassifierTagger(tiny_clip, "age")
        bare = tmp_path / "bare"
        bare.mkdir()
        for name in ("config.json", "model.safetensors"):
            (bare / name).write_bytes((genders / name).read_bytes())
        with pytest.raises(ModelError, match="AutoImageProcessor"):
            ClassifierTagger(bare, "gender")
        config = json.loads((genders / "config.json").read_text())
        config["id2label"]["2"] = "other"  # its weights are for two
        (bare / "config.json").write_text(json.dumps(config))
        with pytest.raises(ModelError, match=str(bare)):
            ClassifierTagger(bare, "gender")

    def test_numbers_that_are_none(self, genders, tmp_path):
        tagger = ClassifierTagger(genders, "gender")

        class Output:
            logits = torch.tensor([[math.nan, 1.0]])

        tagger._model = lambda **inputs: Output
        with pytest.raises(ModelError, match="not finite; restore its weights"):
            tagger.tag(PICTURE, FACES)
        with pytest.raises(ModelError, match="output 'age' holds numbers that are not finite"):
            OnnxTagger(save_age_gender(tmp_path / "bad.onnx", age=math.inf)).tag(PICTURE, FACES)

    def test_other_onnx_files(self, tmp_path):
        path = save_constant_onnx(tmp_path / "a.onnx", {"image": (1, 3, 112, 112)}, {"age": np.ones(1, np.float32)})
        with pytest.raises(ModelError, match=r"a\.onnx: not a model of age and gender: its outputs are age \[1\]"):
            OnnxTagger(path)
        with pytest.raises(ModelError, match="gender_classes"):
            OnnxTagger(save_age_gender(tmp_path / "b.onnx", genders="young,old"))
        (tmp_path / "c.onnx").write_bytes(b"")
        with pytest.raises(ModelError, match="empty"):
            OnnxTagger(tmp_path / "c.onnx")

    @pytest.mark.realdata
    def test_other_real_models(self, realdata):
        for path in (realdata / "models").glob("*/*.onnx"):
            if path.stem != "age_gender":
                with pytest.raises(ModelError, match="not a model of age and gender"):
                    OnnxTagger(path)


@pytest.fixture(scope="module")
def measured(realdata):
    return experiment.measure(realdata, every=9)


@pytest.mark.realdata
class TestRealPeople:
    """On a slice of what experiments/faces.py measures, with room for chance."""

    def test_faces_in_every_original_picture(self, measured):
        counts = {name: item["faces"] for name, item in measured["pictures"].items()}
        assert len(counts) == 42
        assert min(counts.values()) >= 1
        assert sum(counts.values()) == pytest.approx(85, abs=3)
        assert {name: counts[name] for name in ("41487.jpg", "1342.jpg", "509.jpeg", "3199.jpg")} == {
            "41487.jpg": 2, "1342.jpg": 5, "509.jpeg": 5, "3199.jpg": 4,
        }  # fmt: skip

    def test_what_was_seen_to_be_nobody_is_still_what_is_found(self, measured):
        wrong = {name for name, item in measured["pictures"].items() if item["not_faces"]}
        assert "13524.jpg" in wrong
        assert wrong <= experiment.NOT_FACES.keys()
        assert all(len(item["not_faces"]) <= 1 for item in measured["pictures"].values())

    def test_gender_and_age(self, measured):
        figures = measured["groups"]["all"]
        assert figures["people"] > 100
        assert measured["without_face"] == []
        assert figures["agree"] / figures["people"] >= 0.95
        assert figures["r"] >= 0.8
        assert figures["mae"] < 9
        assert sum(figures["confusion"].values()) == figures["people"]

    def test_a_swap_of_colours_shows_in_the_age(self, measured):
        swapped = measured["controls"]["colours in the wrong order"]
        assert swapped["mae"] > measured["groups"]["all"]["mae"] + 1
        assert swapped["agree"] / swapped["people"] > 0.9  # and not in the gender

    def test_the_framing_is_among_the_best_on_the_people_it_was_chosen_on(self, measured):
        framings = measured["framings"]
        assert framings[FRAMING]["mae"] < min(framings[1.2]["mae"], framings[1.1]["mae"])

    def test_the_report_names_the_groups(self, measured):
        text = experiment.describe({"machine": "a machine", "opencv": "4", **measured})
        for part in ("| men |", "| women |", "| aged under 30 |", "| 13524.jpg | 0.9", "male told female"):
            assert part in text
