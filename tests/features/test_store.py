"""The feature store: what goes in comes out bit for bit, and what is not as it was written is an error."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dualway.config import EncoderConfig, FeatureConfig, Preset, override
from dualway.datasets.base import Dataset, ReadReport
from dualway.errors import CompatibilityError, DataError, StorageError, UsageError
from dualway.features.arrays import Features, Ragged
from dualway.features.batching import make_batch
from dualway.features.extract import ExtractionReport
from dualway.features.identity import hash_order, identify
from dualway.features.manifest import MANIFEST, Origin, read_manifest
from dualway.features.seen import Seen
from dualway.features.store import FeatureStore, open_features
from dualway.features.writing import remove_store, save_features
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Face, IdentityLabel, Mention, Region

DIM, WIDTH, N = 6, 5, 4
PRESET = Preset(name="paper", encoders=EncoderConfig(text="letters", image="colours"))


def dataset(folder: Path, split: str = "train", n: int = N) -> Dataset:
    mentions = [Mention(f"Caption {i}", f"Word {i}", f"{split}-{i}", image=f"{i // 2}.png") for i in range(n)]
    return Dataset("some", split, mentions, {}, ReadReport(folder), folder)


def ragged(rng: np.random.Generator, counts: list[int], dim: int) -> Ragged:
    offsets = np.cumsum([0, *counts]).astype(np.int64)
    return Ragged(rng.standard_normal((offsets[-1], dim)).astype(np.float32), offsets)


def features(seed: int = 0, entities: int = 7) -> Features:
    """Features of N mentions of two pictures, the last mention without; every optional part is there."""
    rng = np.random.default_rng(seed)

    def dense(rows: int, dim: int = DIM) -> np.ndarray:
        return rng.standard_normal((rows, dim)).astype(np.float32)

    return Features(
        mention=dense(N),
        text=dense(N),
        picture=np.array([0, 0, 1, -1]),
        entities=dense(entities),
        image=dense(2, WIDTH),
        objects=ragged(rng, [2, 1], WIDTH),
        labels=ragged(rng, [0, 3], DIM),
        faces=ragged(rng, [1, 0, 2, 0], DIM),
        face_object=np.array([1, 0, -1]),
        text_tokens=ragged(rng, [2, 3, 1, 4], DIM),
    )


REPORT = ExtractionReport(
    pictures=2,
    failures={"/pictures/9.png": "no such picture"},
    seen=[
        Seen(
            "0.png",
            (10, 20),
            (Region((0.0, 0.5, 10.0, 20.0), "person", 0.75), Region((1.0, 1.0, 3.0, 3.0), "flag")),
            faces=(Face((1.0, 2.0, 3.0, 4.0), {"gender": "male"}, score=0.9, landmarks=((1.0, 2.0),) * 5),),
            labels=(IdentityLabel("Barack Obama", 0.756),),
        ),
        Seen("1.png", (9, 9), (Region((0.0, 0.0, 9.0, 9.0), "picture"),), failures={"a.jpg": "no such picture"}),
    ],
    attributes=("gender", "age"),
)


@pytest.fixture(scope="module")
def kb(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("kb") / "kb"
    with KnowledgeBase.create(path, [Entity(f"Q{i}", f"Name {i}") for i in range(7)]) as opened:
        yield opened


@pytest.fixture
def origin(kb: KnowledgeBase) -> Origin:
    return Origin(
        dtype="float32",
        encoders_config=PRESET.encoders,
        features_config=PRESET.features,
        text_keys="tokens",
        models={"text": "t1", "image": "i1"},
        files={},
        kb={"path": str(kb.path), **kb.fingerprint._asdict(), "order": hash_order(kb.ids)},
    )


@pytest.fixture
def store(tmp_path: Path, origin: Origin) -> Path:
    """A store of train and dev."""
    for split, seed in (("train", 0), ("dev", 1)):
        made = dataclasses.replace(features(seed), entities=features().entities)
        save_features(tmp_path / "F", split, made, REPORT, dataset=dataset(tmp_path, split), origin=origin)
    return tmp_path / "F"


def same(first: Any, second: Any) -> None:
    """Check that two Features hold the same bits."""
    for field in dataclasses.fields(Features):
        one, two = getattr(first, field.name), getattr(second, field.name)
        for left, right in zip(one if isinstance(one, Ragged) else [one], two if isinstance(two, Ragged) else [two]):
            assert (left is None) == (right is None), field.name
            if left is not None:
                assert (left.dtype, left.shape) == (right.dtype, right.shape), field.name
                assert left.tobytes() == right.tobytes(), field.name


def report_of(report: ExtractionReport) -> ExtractionReport:
    """Return a report with its records read."""
    return dataclasses.replace(report, seen=list(report.seen))


class TestRoundTrip:
    def test_it_is_bit_identical(self, store, tmp_path):
        opened = open_features(store)
        for split, seed in (("train", 0), ("dev", 1)):
            found, report = opened.load(dataset(tmp_path, split), tokens=True)
            same(found, dataclasses.replace(features(seed), entities=features().entities))
            assert report_of(report) == report_of(REPORT)

    def test_what_was_not_extracted_is_not_there(self, tmp_path, origin):
        bare = features()
        bare = Features(bare.mention, bare.text, np.full(N, -1), bare.entities)
        save_features(tmp_path / "F", "train", bare, ExtractionReport(), dataset=dataset(tmp_path), origin=origin)
        found, report = open_features(tmp_path / "F").load(dataset(tmp_path))
        same(found, bare)
        assert report_of(report) == report_of(ExtractionReport())
        assert sorted(path.name for path in (tmp_path / "F" / "train").iterdir()) == [
            "failures.json", "keys.npy", "mention.npy", "picture.npy", "record.json", "regions.jsonl", "sources.npy",
            "text.npy",
        ]  # fmt: skip

    def test_empty_lists_and_no_pictures_at_all(self, tmp_path, origin):
        full = features()
        none = Ragged(np.zeros((0, DIM), np.float32), np.zeros(N + 1, np.int64))
        empty = dataclasses.replace(
            full, faces=none, face_object=np.zeros(0, np.int64), picture=np.full(N, -1), text_tokens=None,
            image=np.zeros((0, WIDTH), np.float32), labels=Ragged(none.values, np.zeros(1, np.int64)),
            objects=Ragged(np.zeros((0, WIDTH), np.float32), np.zeros(1, np.int64)),
        )  # fmt: skip
        save_features(tmp_path / "F", "train", empty, ExtractionReport(), dataset=dataset(tmp_path), origin=origin)
        same(open_features(tmp_path / "F").load(dataset(tmp_path))[0], empty)

    def test_vectors_are_mapped_and_batches_of_them_are_the_same_and_can_be_written_to(self, store, tmp_path):
        found, _ = open_features(store).load(dataset(tmp_path))
        for array in (found.entities, found.mention, found.objects.values):
            assert type(array) is np.ndarray
            assert not array.flags.writeable
        batch, expected = (make_batch(f, np.array([2, 0])) for f in (found, features()))
        assert (batch.mention == expected.mention).all()
        assert (batch.objects.padded() == expected.objects.padded()).all()
        batch.mention.add_(1)  # torch warns of memory that cannot be written to, and warnings are errors

    def test_float16_is_rounded_once_and_read_as_float32(self, tmp_path, origin):
        half = dataclasses.replace(origin, dtype="float16")
        save_features(tmp_path / "F", "train", features(), REPORT, dataset=dataset(tmp_path), origin=half)
        found, _ = open_features(tmp_path / "F").load(dataset(tmp_path))
        assert found.mention.dtype == np.float32
        np.testing.assert_array_equal(found.mention, features().mention.astype(np.float16))
        assert np.load(tmp_path / "F" / "train" / "mention.npy", allow_pickle=False).dtype == np.float16
        assert found.picture.dtype == np.int64

    def test_the_same_mentions_are_found_under_another_name(self, store, tmp_path):
        of_a_file = dataclasses.replace(dataset(tmp_path, "dev"), split=None)
        assert open_features(store).find(of_a_file) == "dev"

    def test_arrays_are_what_numpy_and_people_read(self, store):
        np.testing.assert_array_equal(np.load(store / "train" / "text.npy"), features().text)
        record = json.loads((store / MANIFEST).read_text())
        assert record["splits"]["train"]["arrays"]["objects.values"] == "float32 [3, 5]"
        assert record["entities"] == "float32 [7, 6]"
        lines = [json.loads(line) for line in (store / "train" / "regions.jsonl").read_text().splitlines()]
        assert [line["image"] for line in lines] == ["0.png", "1.png"]
        assert lines[0]["objects"][0] == {"box": [0.0, 0.5, 10.0, 20.0], "label": "person", "score": 0.75}


class TestWriting:
    def test_a_split_is_replaced_and_the_others_stay(self, store, tmp_path, origin):
        before = (store / "dev" / "mention.npy").read_bytes()
        made = dataclasses.replace(features(5), entities=features().entities)
        save_features(store, "train", made, REPORT, dataset=dataset(tmp_path), origin=origin)
        assert (open_features(store).load(dataset(tmp_path))[0].mention == made.mention).all()
        assert (store / "dev" / "mention.npy").read_bytes() == before

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"dtype": "float16"}, "dtype: 'float32' there, 'float16' now"),
            ({"models": {"text": "t2", "image": "i1"}}, "model of text: 't1' there, 't2' now"),
            ({"models": {"text": "t1"}}, "model of image: 'i1' there, None now"),
            ({"features_config": FeatureConfig(text_template="a {text}")}, "features.text_template: '{text}' there"),
            ({"gallery": "g1"}, "gallery: None there, 'g1' now"),
            ({"files": {"regions": {"path": "r", "sha256": "5"}}}, "file of regions: None there, '5' now"),
            ({"text_keys": "pooled"}, "model.text_keys: 'tokens' there, 'pooled' now"),
        ],
    )
    def test_vectors_of_another_origin_do_not_go_in(self, store, tmp_path, origin, change, words):
        other = dataclasses.replace(origin, **change)
        before = {path: path.read_bytes() for path in store.rglob("*.*")}
        with pytest.raises(CompatibilityError, match="choose another --out, or start over") as caught:
            save_features(store, "test", features(), REPORT, dataset=dataset(tmp_path, "test"), origin=other)
        assert words in str(caught.value)
        assert {path: path.read_bytes() for path in store.rglob("*.*")} == before

    def test_a_knowledge_base_elsewhere_with_the_same_content_is_the_same(self, store, tmp_path, origin):
        moved = dataclasses.replace(origin, kb={**origin.kb, "path": "/elsewhere"})
        save_features(store, "test", features(), REPORT, dataset=dataset(tmp_path, "test"), origin=moved)
        assert list(read_manifest(store).splits) == ["train", "dev", "test"]

    @pytest.mark.parametrize("name", ["../outside", "a/b", "", "..", ".hidden", "a\0b", "x" * 99, "é", "a.tmp"])
    def test_a_split_whose_name_is_no_folder_of_the_store(self, tmp_path, origin, name):
        with pytest.raises(UsageError, match="letters, digits"):
            save_features(tmp_path / "F", name, features(), REPORT, dataset=dataset(tmp_path), origin=origin)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_of_other_things_is_left_alone(self, tmp_path, origin):
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(StorageError, match=r"mine\.txt.*choose another --out"):
            save_features(tmp_path, "train", features(), REPORT, dataset=dataset(tmp_path), origin=origin)
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_number_that_is_not_finite_is_not_written(self, tmp_path, origin, value):
        broken = features()
        broken.text[2, 1] = value
        with pytest.raises(DataError, match=r"row 2 of train/text\.npy.*not finite \(check the encoder\)"):
            save_features(tmp_path / "F", "train", broken, REPORT, dataset=dataset(tmp_path), origin=origin)
        assert not (tmp_path / "F" / "train").exists()
        assert open_features(tmp_path / "F").manifest.splits == {}

    def test_a_number_too_large_for_float16(self, tmp_path, origin):
        large = features()
        large.entities[3, 0] = 70_000
        half = dataclasses.replace(origin, dtype="float16")
        with pytest.raises(DataError, match=r"row 3 of entities\.npy.*65,504: use --dtype float32"):
            save_features(tmp_path / "F", "train", large, REPORT, dataset=dataset(tmp_path), origin=half)
        assert list((tmp_path / "F").iterdir()) == []

    def test_a_full_disk_leaves_no_half_split(self, tmp_path, origin):
        """Under a limit on the size of files, which fails as a full disk does."""
        code = (
            "import pickle, resource, signal, sys\n"
            "from dualway.errors import StorageError\n"
            "from dualway.features.writing import save_features\n"
            "call = pickle.load(sys.stdin.buffer)\n"
            "save_features(call['folder'], 'train', **call['rest'])\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))\n"
            "try: save_features(call['folder'], 'dev', **call['rest'])\n"
            "except StorageError as error: print(error)\n"
        )
        rest = {"features": features(), "report": REPORT, "dataset": dataset(tmp_path), "origin": origin}
        given = pickle.dumps({"folder": tmp_path / "F", "rest": rest})
        done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, check=True, timeout=120)
        assert b"the disk is full" in done.stdout, done
        assert sorted(path.name for path in (tmp_path / "F").iterdir()) == ["entities.npy", MANIFEST, "train"]
        assert open_features(tmp_path / "F").find(dataset(tmp_path)) == "train"

    def test_a_split_that_a_kill_left_without_its_line_in_the_manifest_is_made_anew(self, store, tmp_path, origin):
        record = json.loads((store / MANIFEST).read_text())
        del record["splits"]["dev"]
        (store / MANIFEST).write_text(json.dumps(record))
        save_features(store, "dev", features(), REPORT, dataset=dataset(tmp_path, "dev"), origin=origin)
        assert open_features(store).load(dataset(tmp_path, "dev"))

    def test_a_link_in_a_split_s_place_is_not_followed(self, store, tmp_path, origin):
        outside = tmp_path / "outside"
        shutil.move(store / "dev", outside)
        (store / "dev").symlink_to(outside)
        with pytest.raises(StorageError, match="not a folder of a feature store"):
            save_features(store, "dev", features(), REPORT, dataset=dataset(tmp_path, "dev"), origin=origin)
        assert (outside / "mention.npy").is_file()

    def test_starting_over_removes_the_store_s_own_files_alone(self, store):
        (store / "notes.txt").write_text("mine")
        remove_store(store)
        assert [path.name for path in store.iterdir()] == ["notes.txt"]
        remove_store(store)


class TestFitting:
    def check(self, store: Path, preset: Preset, kb: KnowledgeBase) -> str:
        with pytest.raises(CompatibilityError) as caught:
            open_features(store).check(preset, kb)
        assert str(store) in str(caught.value)
        return str(caught.value)

    def test_the_settings_that_made_it(self, store, kb):
        open_features(store).check(PRESET, kb)
        tokens = override(PRESET, {"model": {"text_keys": "tokens"}})
        open_features(store).check(tokens, kb)

    @pytest.mark.parametrize(
        "key", ["encoders.text", "encoders.image", "features.mention_template", "features.entity_template",
                "features.face_template", "features.max_objects", "features.no_object"],
    )  # fmt: skip
    def test_another_setting_is_named(self, store, kb, key):
        section, name = key.split(".")
        value: Any = {"max_objects": 3, "no_object": "zero"}.get(name, "{mention} of {text} {name} {attributes}")
        if name.endswith("_template"):
            value = {"face": "x {attributes}", "entity": "{name}: {text}", "mention": "{mention}!"}[name.split("_")[0]]
        said = self.check(store, override(PRESET, {section: {name: value}}), kb)
        assert f"{key}: " in said
        assert "dualway features" in said

    def test_what_training_does_with_the_encoder_is_not_of_the_vectors(self, store, kb):
        open_features(store).check(override(PRESET, {"encoders": {"trainable": True}}), kb)

    def test_tokens_that_are_not_there(self, tmp_path, origin, kb):
        pooled = dataclasses.replace(origin, text_keys="pooled")
        save_features(tmp_path / "F", "train", features(), REPORT, dataset=dataset(tmp_path), origin=pooled)
        said = self.check(tmp_path / "F", override(PRESET, {"model": {"text_keys": "tokens"}}), kb)
        assert "no vectors of tokens" in said

    @pytest.mark.parametrize(
        ("entities", "words"),
        [
            ([Entity(f"Q{i}", f"Other {i}") for i in range(7)], "another content"),
            ([Entity(f"Q{i}", f"Name {i}") for i in range(8)], "another content"),
            ([Entity(f"Q{i}", f"Name {i}") for i in reversed(range(7))], "another order"),
        ],
    )
    def test_another_knowledge_base(self, store, kb, tmp_path, entities, words):
        with KnowledgeBase.create(tmp_path / "other", entities) as other:
            said = self.check(store, PRESET, other)
        assert words in said
        assert str(kb.path) in said
        assert str(other.path) in said

    def test_entity_vectors_from_a_file_and_an_encoder_to_be_trained(self, tmp_path, origin, kb):
        given = dataclasses.replace(origin, files={"entities": {"path": "e.h5", "sha256": "1"}})
        save_features(tmp_path / "F", "train", features(), REPORT, dataset=dataset(tmp_path), origin=given)
        said = self.check(tmp_path / "F", override(PRESET, {"encoders": {"trainable": True}}), kb)
        assert "e.h5" in said
        assert open_features(tmp_path / "F").fingerprints() == {"text": "t1", "image": "i1", "entities": "1"}

    @pytest.mark.parametrize("part", ["id", "text", "surface", "image"])
    def test_other_mentions_are_named(self, store, tmp_path, part):
        given = dataset(tmp_path)
        given.mentions[2] = dataclasses.replace(given.mentions[2], **{part: "other"})
        with pytest.raises(CompatibilityError) as caught:
            open_features(store).load(given)
        assert repr(given.mentions[2].id) in str(caught.value)
        assert "dualway features" in str(caught.value)

    def test_more_mentions_and_another_split(self, store, tmp_path):
        with pytest.raises(CompatibilityError, match="4 in the split train there, 5 now"):
            open_features(store).load(dataset(tmp_path, n=5))
        with pytest.raises(CompatibilityError, match=r"no features of the split 'test' \(its splits: train, dev\)"):
            open_features(store).load(dataset(tmp_path, "test"))

    def test_gold_and_types_do_not_count(self, tmp_path):
        given = dataset(tmp_path)
        other = dataclasses.replace(given, gold={"train-0": "Q1"})
        other.mentions[0] = dataclasses.replace(given.mentions[0], type="person", start=3)
        assert identify(other).sha256 == identify(given).sha256


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    np.save(path, change(np.load(path)), allow_pickle=True)


FILES = [
    "entities.npy", "train/mention.npy", "train/text.npy", "train/image.npy", "train/picture.npy",
    "train/objects.values.npy", "train/objects.offsets.npy", "train/faces.offsets.npy", "train/face_object.npy",
    "train/labels.values.npy", "train/tokens.values.npy", "train/failures.json", "train/regions.jsonl",
]  # fmt: skip


class TestDamage:
    def damaged(self, store: Path, tmp_path: Path) -> str:
        def read() -> None:
            _, report = open_features(store).load(dataset(tmp_path), tokens=True)
            list(report.seen)

        with pytest.raises(DataError) as caught:
            read()
        assert not isinstance(caught.value, CompatibilityError)
        return str(caught.value)

    @pytest.mark.parametrize("name", FILES)
    def test_a_missing_file(self, store, tmp_path, name):
        (store / name).unlink()
        assert str(store / name) in self.damaged(store, tmp_path)

    @pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".npy")])
    @pytest.mark.parametrize("cut", [1, 200])
    def test_a_truncated_array(self, store, tmp_path, name, cut):
        content = (store / name).read_bytes()
        (store / name).write_bytes(content[:-cut])
        said = self.damaged(store, tmp_path)
        assert f"{store / name}: damaged" in said
        assert "--restart" in said

    @pytest.mark.parametrize("name", ["entities.npy", "train/mention.npy", "train/picture.npy"])
    def test_a_pickle_is_not_opened(self, store, tmp_path, name):
        (store / name).write_bytes(pickle.dumps(Bomb(tmp_path / "went off")))
        assert f"{store / name}: damaged" in self.damaged(store, tmp_path)
        np.save(store / name, np.array([Bomb(tmp_path / "went off")], dtype=object), allow_pickle=True)
        assert f"{store / name}: damaged" in self.damaged(store, tmp_path)
        assert not (tmp_path / "went off").exists()

    @pytest.mark.parametrize("name", ["entities.npy", "train/text.npy", "train/faces.values.npy"])
    @pytest.mark.parametrize("value", [np.nan, -np.inf])
    def test_a_number_that_is_not_finite(self, store, tmp_path, name, value):
        rewrite(store / name, lambda array: np.where(np.arange(array.size).reshape(array.shape) == 7, value, array))
        rewrite(store / name, lambda array: array.astype(np.float32))
        assert "row 1 holds a number that is not finite" in self.damaged(store, tmp_path)

    @pytest.mark.parametrize("name", ["entities.npy", "train/text.npy", "train/picture.npy", "train/faces.offsets.npy"])
    @pytest.mark.parametrize(
        "change",
        [
            lambda array: array[:-1],
            lambda array: array.astype(np.float64),
            lambda array: array.astype(">i8" if array.dtype.kind == "i" else ">f4"),
            lambda array: np.asfortranarray(np.stack([array, array], axis=-1)),
            lambda array: array.astype("U5"),
        ],
    )
    def test_another_type_or_shape(self, store, tmp_path, name, change):
        rewrite(store / name, change)
        assert f"{store / name}: damaged" in self.damaged(store, tmp_path)

    def test_an_archive_in_an_array_s_place(self, store, tmp_path):
        with (store / "train" / "text.npy").open("wb") as file:
            np.savez(file, features().text)
        assert "not one array" in self.damaged(store, tmp_path)

    @pytest.mark.parametrize(
        ("name", "place", "value"),
        [
            ("picture", 0, 2), ("picture", 1, -2), ("face_object", 0, -2), ("faces.offsets", 0, 1),
            ("faces.offsets", 2, 0), ("faces.offsets", -1, 99), ("objects.offsets", 1, 99), ("tokens.offsets", 1, -1),
        ],
    )  # fmt: skip
    def test_positions_that_point_to_nothing(self, store, tmp_path, name, place, value):
        def change(array: np.ndarray) -> np.ndarray:
            array[place] = value
            return array

        rewrite(store / "train" / f"{name}.npy", change)
        assert "damaged (" in self.damaged(store, tmp_path)

    @pytest.mark.parametrize(
        "content",
        ["", "{", "[]", '{"objects": []}\n{"objects": []}', '{"objects": [{"box": [1, 2]}]}\n{"objects": []}'],
    )
    def test_regions_that_are_not_those_of_the_vectors(self, store, tmp_path, content):
        (store / "train" / "regions.jsonl").write_text(content)
        assert "regions.jsonl: damaged" in self.damaged(store, tmp_path)

    def test_arrays_of_two_widths(self, store, tmp_path):
        record = json.loads((store / MANIFEST).read_text())
        record["splits"]["train"]["arrays"]["text"] = f"float32 [{N}, 3]"
        (store / MANIFEST).write_text(json.dumps(record))
        rewrite(store / "train" / "text.npy", lambda array: np.ascontiguousarray(array[:, :3]))
        assert "expected the width 6 of entities.npy" in self.damaged(store, tmp_path)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


class TestManifest:
    def edited(self, store: Path, **changes: Any) -> str:
        record = json.loads((store / MANIFEST).read_text())
        for key, value in changes.items():
            *way, last = key.split("__")
            target = record
            for step in way:
                target = target[step]
            if value is None:
                del target[last]
            else:
                target[last] = value
        (store / MANIFEST).write_text(json.dumps(record))
        with pytest.raises(DataError) as caught:
            open_features(store)
        assert str(store / MANIFEST) in str(caught.value)
        return str(caught.value)

    def test_no_store(self, tmp_path):
        with pytest.raises(DataError, match=r"not a feature store.*dualway features"):
            open_features(tmp_path / "none")

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"a"', b"\xff", b'{"format": "other"}', b"[" * 100_000])
    def test_no_manifest(self, store, content):
        (store / MANIFEST).write_bytes(content)
        with pytest.raises(DataError, match=r"manifest\.json"):
            open_features(store)

    @pytest.mark.parametrize(
        "changes",
        [
            {"dtype": "float64"}, {"dtype": None}, {"settings": {}}, {"settings__features__unheard_of": 1},
            {"kb__order": None}, {"splits": []}, {"splits": 3}, {"models": []}, {"files": {"regions": {}}},
            {"entities": "float32 [7]["}, {"entities": 7}, {"entities": "float32 [7, 6"}, {"entities": "int64 [7, 6]"},
            {"splits__train__mentions": -1}, {"splits__train__mentions": True}, {"splits__train__mentions": 1.5},
            {"splits__train__arrays": {"mention": "object [1]"}}, {"splits__train__arrays": {"../x": "float32 [1]"}},
            {"splits__train__sha256": None},
        ],
    )  # fmt: skip
    def test_values_of_the_wrong_kind(self, store, changes):
        assert "damaged (" in self.edited(store, **changes)

    @pytest.mark.parametrize("name", ["../../outside", "/etc", "a/b", ".."])
    def test_a_split_that_would_be_elsewhere(self, store, tmp_path, name):
        record = json.loads((store / MANIFEST).read_text())["splits"]["train"]
        assert "letters, digits" in self.edited(store, splits={name: record})

    def test_another_version(self, store):
        assert "of version 1, this dualway reads 2" in self.edited(store, version=1)

    def test_a_setting_that_came_later_has_its_default(self, store, kb):
        record = json.loads((store / MANIFEST).read_text())
        del record["settings"]["features"]["max_objects"]
        (store / MANIFEST).write_text(json.dumps(record))
        open_features(store).check(PRESET, kb)
        assert isinstance(open_features(store), FeatureStore)
