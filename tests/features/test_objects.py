"""Objects by a detector: which pictures are looked at, how often, what is kept, and what becomes of the rest."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dualway.config import PRESETS, FeatureConfig, override
from dualway.encoders.clip import ClipEncoder
from dualway.errors import CompatibilityError, ModelError, UsageError
from dualway.features import seeing as pictures_module
from dualway.features.extract import FeatureExtractor
from dualway.features.objects import ObjectFinder, RegionCache
from dualway.features.regions import PictureRegions, read_regions
from dualway.images import decode_picture, open_picture
from dualway.kb.store import KnowledgeBase
from dualway.linker import Linker
from dualway.run import Pipeline, Run, train_run
from dualway.schema import Mention, Region
from dualway.vision import load_detector


class Halves:
    """A detector that finds the picture's two halves; counts the pictures that it was given."""

    def __init__(self, fingerprint: str = "halves-1") -> None:
        self.fingerprint, self.seen = fingerprint, 0

    def detect(self, images):
        self.seen += len(images)
        return [self._halves(*image.size) for image in images]

    @staticmethod
    def _halves(width: int, height: int) -> list[Region]:
        return [Region((0, 0, width / 2, height), "left", 0.9), Region((width / 2, 0, width, height), "right", 0.4)]


class Saying:
    """A detector that says the same of every picture."""

    fingerprint = "saying"

    def __init__(self, *regions: Region) -> None:
        self.regions = list(regions)

    def detect(self, images):
        return [self.regions for _ in images]


@pytest.fixture(scope="module")
def clip(tiny_clip) -> ClipEncoder:
    return ClipEncoder(tiny_clip)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two pictures and one that is none."""
    for i, name in enumerate(["one.png", "two.png"]):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "broken.jpg").write_text("<html>")
    return tmp_path


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """The pictures that were decoded, in order."""
    paths: list[Path] = []

    def counted(content: bytes, path: Path):
        paths.append(path)
        return decode_picture(content, path)

    monkeypatch.setattr(pictures_module, "decode_picture", counted)
    return paths


def extract(clip, folder: Path, *images: str, detector=None, config: FeatureConfig | None = None, **more):
    extractor = FeatureExtractor(config or FeatureConfig(), clip, clip, detector=detector, **more)
    given = [Mention(text=f"Foster {i}", surface="Foster", id=str(i), image=name) for i, name in enumerate(images)]
    entities = np.ones((3, clip.dim), dtype=np.float32)
    return extractor.extract(given, lambda m: folder / m.image if m.image else None, entities)


class TestWhichPicturesAreLookedAt:
    def test_regions_become_objects(self, clip, photos):
        features, report = extract(clip, photos, "one.png", "two.png", "one.png", detector=Halves())
        assert [[r.label for r in regions] for regions in report.regions] == [["left", "right"]] * 2
        assert features.objects.counts().tolist() == [2, 2]
        picture = open_picture(photos / "two.png")
        halves = [picture.crop((0, 0, 25, 40)), picture.crop((25, 0, 50, 40))]
        np.testing.assert_allclose(features.objects.values[2:], clip.encode_images(halves), atol=1e-5)
        np.testing.assert_allclose(features.image[1:], clip.encode_images([picture]), atol=1e-5)

    def test_what_the_file_says_comes_first_and_none_is_an_answer(self, clip, photos):
        file = photos / "regions.jsonl"
        box = {"box": [1, 2, 30, 20], "label": "flag", "score": 0.3}
        lines = [
            {"image": "one.png", "objects": [box]},
            {"image": "two.png", "objects": []},
            {"image": "three.png", "labels": [{"label": "Jodie Foster", "score": 0.9}]},
        ]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        names = ["one.png", "two.png", "three.png", "four.png"]
        for name in names[2:]:
            (photos / name).write_bytes((photos / "one.png").read_bytes() + name.encode())
        found = read_regions(file)
        assert found[photos / "two.png"].objects == ()
        assert found[photos / "three.png"].objects is None
        assert PictureRegions().objects is None
        detector = Halves()
        features, report = extract(clip, photos, *names, detector=detector, regions=found)
        labels = [[r.label for r in regions] for regions in report.regions]
        assert labels == [["flag"], ["picture"], ["left", "right"], ["left", "right"]]
        assert detector.seen == 2
        assert features.labels.counts().tolist() == [0, 0, 1, 0]

    def test_without_a_detector_it_is_as_it_was(self, clip, photos):
        features, report = extract(clip, photos, "one.png", "two.png")
        assert [[r.label for r in regions] for regions in report.regions] == [["picture"]] * 2
        np.testing.assert_array_equal(features.objects.values, features.image)

    def test_without_a_picture_encoder_nothing_is_looked_at(self, clip, photos):
        detector = Halves()
        extractor = FeatureExtractor(FeatureConfig(), clip, detector=detector)
        entities = np.ones((1, clip.dim), dtype=np.float32)
        extractor.extract([Mention("Foster", "Foster", image="one.png")], lambda m: photos / "one.png", entities)
        assert detector.seen == 0
        assert "detector" not in extractor.fingerprints()

    def test_a_broken_picture_is_reported_and_its_mention_keeps_its_text(self, clip, photos, tmp_path):
        detector = Halves()
        names = ["broken.jpg", "one.png", "missing.png"]
        features, report = extract(clip, photos, *names, detector=detector, cache_folder=tmp_path / "cache")
        assert features.picture.tolist() == [-1, 0, -1]
        assert {Path(path).name for path in report.failures} == {"broken.jpg", "missing.png"}
        assert detector.seen == 1
        assert len(report.regions) == 1


class TestWhatIsKept:
    @pytest.mark.parametrize(
        ("config", "labels"),
        [
            (FeatureConfig(), ["left", "right"]),
            (FeatureConfig(max_objects=1), ["left"]),
            (FeatureConfig(min_object_score=0.5), ["left"]),
            (FeatureConfig(object_classes=("right",)), ["right"]),
            (FeatureConfig(object_classes=("person",)), ["picture"]),
        ],
    )
    def test_the_settings_choose_and_need_no_new_detection(self, clip, photos, tmp_path, config, labels):
        detector, cache = Halves(), tmp_path / "cache"
        extract(clip, photos, "one.png", detector=detector, cache_folder=cache)
        _, report = extract(clip, photos, "one.png", detector=detector, cache_folder=cache, config=config)
        assert [region.label for region in report.regions[0]] == labels
        assert detector.seen == 1

    def test_nothing_kept_may_be_a_zero_vector_as_in_the_public_code(self, clip, photos):
        config = FeatureConfig(object_classes=("person",), no_object="zero")
        features, _ = extract(clip, photos, "one.png", detector=Halves(), config=config)
        assert not features.objects.values.any()


class TestTheCache:
    def test_a_picture_is_decoded_once_and_the_second_time_not_at_all(self, clip, photos, tmp_path, decoded):
        detector, cache = Halves(), tmp_path / "cache"
        first, one = extract(clip, photos, "one.png", "two.png", detector=detector, cache_folder=cache)
        assert len(decoded) == 2
        assert detector.seen == 2
        second, two = extract(clip, photos, "one.png", "two.png", detector=detector, cache_folder=cache)
        assert len(decoded) == 2
        assert detector.seen == 2
        assert one.regions == two.regions
        np.testing.assert_array_equal(first.objects.values, second.objects.values)

    def test_a_picture_in_which_nothing_was_found_is_known_as_well(self, clip, photos, tmp_path, decoded):
        for _ in range(2):
            _, report = extract(clip, photos, "one.png", detector=Saying(), cache_folder=tmp_path / "cache")
            assert [region.label for region in report.regions[0]] == ["picture"]
        assert len(decoded) == 1

    def test_another_detector_or_another_picture_is_looked_at_anew(self, clip, photos, tmp_path):
        cache, other = tmp_path / "cache", Halves("halves-2")
        extract(clip, photos, "one.png", detector=Halves(), cache_folder=cache)
        extract(clip, photos, "one.png", detector=other, cache_folder=cache)
        assert other.seen == 1
        (photos / "one.png").write_bytes((photos / "two.png").read_bytes())
        extract(clip, photos, "one.png", detector=other, cache_folder=cache)
        assert other.seen == 2

    def test_without_a_folder_nothing_is_remembered(self, clip, photos):
        detector = Halves()
        for _ in range(2):
            extract(clip, photos, "one.png", detector=detector)
        assert detector.seen == 2

    @pytest.mark.parametrize(
        "damage",
        ["", "no json", "[[0, 0, 5]]", '{"a": 1}', "[[0, 0, NaN, 5, \"x\", 1]]", "[[9, 0, 5, 5, \"x\", 1]]",
         "[[0, 0, 5, 5, \"x\", 7]]", "[" * 100_000, "null", "[null]"],
    )  # fmt: skip
    def test_a_damaged_entry_is_looked_at_anew_and_put_right(self, clip, photos, tmp_path, damage):
        cache = tmp_path / "cache"
        _, before = extract(clip, photos, "one.png", detector=Halves(), cache_folder=cache)
        with closing(sqlite3.connect(cache / "objects.sqlite")) as connection, connection:
            assert connection.execute("UPDATE objects SET regions = ?", [damage]).rowcount == 1
        detector = Halves()
        for _ in range(2):
            _, after = extract(clip, photos, "one.png", detector=detector, cache_folder=cache)
            assert after.regions == before.regions
        assert detector.seen == 1

    @pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(200)])
    def test_a_damaged_file_is_replaced(self, clip, photos, tmp_path, content):
        cache = tmp_path / "cache"
        cache.mkdir()
        (cache / "objects.sqlite").write_bytes(content)
        detector = Halves()
        for _ in range(2):
            _, report = extract(clip, photos, "one.png", detector=detector, cache_folder=cache)
            assert [region.label for region in report.regions[0]] == ["left", "right"]
        assert detector.seen == 1

    def test_a_folder_that_cannot_be_is_a_slower_run_and_no_error(self, clip, photos, tmp_path):
        (tmp_path / "file").write_text("in the way")
        detector = Halves()
        for _ in range(2):
            extract(clip, photos, "one.png", detector=detector, cache_folder=tmp_path / "file" / "cache")
        assert detector.seen == 2

    def test_what_is_read_is_what_was_found(self, tmp_path):
        cache = RegionCache(tmp_path, "a/b\ud800")
        assert cache.get(b"picture") is None
        found = Saying(Region((0.1, 1 / 3, 7, 9e5), "東京 \udc80 'quoted'", 1))
        for _ in range(2):
            finder = ObjectFinder(found, FeatureConfig(), tmp_path)
            assert finder.find(b"x", lambda: Image.new("RGB", (9, 9))) == tuple(found.regions)


@pytest.mark.parametrize(
    "region",
    [
        Region((0, 0, float("nan"), 5)),
        Region((0, 0, float("inf"), 5)),
        Region((5, 0, 5, 5)),
        Region((0, 0, 5, 5), score=1.5),
        Region((0, 0, 5, 5), score=float("nan")),
    ],
)
def test_a_detector_that_finds_what_is_no_region_is_named(clip, photos, tmp_path, region):
    for _ in range(2):
        with pytest.raises(ModelError, match="detector saying"):
            extract(clip, photos, "one.png", detector=Saying(region), cache_folder=tmp_path / "cache")


def test_numbers_of_numpy_are_numbers(clip, photos):
    box = tuple(np.array([0, 0, 20, 30], dtype=np.float32))
    _, report = extract(clip, photos, "one.png", detector=Saying(Region(box, "x", np.float32(0.5))))
    assert report.regions == [(Region((0.0, 0.0, 20.0, 30.0), "x", 0.5),)]


@pytest.fixture(scope="module")
def world(tmp_path_factory, people):
    """A knowledge base, and training data with one picture a mention: two bright figures on grey."""
    place = tmp_path_factory.mktemp("objects")
    data = place / "data"
    data.mkdir()
    lines = []
    for i, (name, gold) in enumerate([("Foster", "Q1"), ("Mel Gibson", "Q4"), ("Gretzky", "Q5")]):
        picture = Image.new("RGB", (120, 90), (110 + i, 110, 110))
        picture.paste((230, 60, 40 * i), (20, 25, 45, 88))
        picture.paste((40, 60 * i, 220), (75, 20, 100, 88))
        picture.save(data / f"{i}.png")
        lines.append({"id": f"t{i}", "text": f"{name} here", "surface": name, "image": f"{i}.png", "entity_id": gold})
    (data / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with KnowledgeBase.create(place / "kb", people) as kb:
        yield place, data, kb


@pytest.fixture(scope="module")
def run(world, tiny_sentence_encoder, tiny_clip) -> Run:
    place, data, kb = world
    preset = override(
        PRESETS["paper"],
        {
            "name": "tiny",
            "encoders": {"text": str(tiny_sentence_encoder), "image": str(tiny_clip), "detector": "proposals"},
            "features": {"max_objects": 5},
            "model": {"dim": 8, "heads": 2},
            "train": {"epochs": 1, "batch_size": 4},
        },
    )
    return train_run(data=data, kb=kb, preset=preset, out=place / "run", note=lambda _: None)


class TestARun:
    def test_it_records_its_detector(self, run):
        assert set(run.encoders) == {"text", "image", "detector"}
        assert run.encoders["detector"] == load_detector("proposals").fingerprint

    def test_its_links_show_where_it_looked(self, run, world):
        _, data, kb = world
        linker = Linker.load(run.folder, kb=kb)
        given = Mention(text="Foster here", surface="Foster", image=str(data / "0.png"))
        bare = dataclasses.replace(given, image=None)
        links = linker.link([given, bare])
        assert len(links[0].regions) == 5
        assert {region.label for region in links[0].regions} == {"object"}
        assert sum(region.attention for region in links[0].regions) == pytest.approx(1, abs=1e-4)
        [detected] = load_detector("proposals").detect([open_picture(data / "0.png")])
        assert [region.box for region in links[0].regions] == [region.box for region in detected[:5]]
        assert links[1].regions == ()
        assert [c.score for c in links[0].candidates] != [c.score for c in links[1].candidates]

    def test_it_refuses_another_detector(self, run, world):
        _, _, kb = world
        pipeline = Pipeline(run.preset, kb)
        pipeline.check_encoders(run.encoders)
        with pytest.raises(CompatibilityError, match="the model of detector 'proposals' is not the one"):
            pipeline.check_encoders({**run.encoders, "detector": "proposals-0-3"})
        without = override(run.preset, {"encoders": {"detector": None}})
        with pytest.raises(CompatibilityError, match="the model of detector None is not the one"):
            Pipeline(without, kb).check_encoders(run.encoders)

    def test_without_a_detector_it_records_what_it_did_before(self, run, world):
        _, _, kb = world
        without = override(run.preset, {"encoders": {"detector": None}})
        assert set(Pipeline(without, kb).encoder_fingerprints()) == {"text", "image"}

    def test_a_detector_without_an_encoder_of_pictures_is_refused(self):
        with pytest.raises(UsageError, match=r"set encoders\.image"):
            override(PRESETS["paper"], {"encoders": {"detector": "proposals"}})

    def test_an_unknown_detector_is_told_before_the_work(self, run, world):
        _, _, kb = world
        with pytest.raises(UsageError, match="unknown detector 'eyes'"):
            Pipeline(override(run.preset, {"encoders": {"detector": "eyes"}}), kb)
