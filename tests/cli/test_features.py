"""`dualway features`, and `train` and `evaluate` with --features, as a person calls them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from tests.folders import BY_ID, picture, save, write_dwe, write_ghmfc, write_mimic

from .calls import LINKS, call, listing, write_lines

WIDE = 512  # of the field's h5 files


@pytest.fixture(scope="session")
def clip512(place: Path, make_tiny_clip: Any) -> Path:
    """A tiny CLIP whose vectors are as wide as those of the public files."""
    from transformers import CLIPConfig, CLIPModel

    folder = make_tiny_clip(place / "clip512")
    config = CLIPConfig.from_pretrained(folder)
    config.projection_dim = config.text_config.projection_dim = config.vision_config.projection_dim = WIDE
    CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def with_pictures(small: list[str], tiny_clip: Path) -> list[str]:
    return [*small, "--set", f"encoders.image={tiny_clip}"]


@pytest.fixture(scope="session")
def made(place: Path, kb: Path, data: Path, small: list[str]) -> Path:
    """A store of the three splits of `data`."""
    done = call("features", "--data", data, "--kb", kb, "--out", place / "F", *small)
    assert done.code == 0, done.err
    return place / "F"


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A store to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "F"))


@pytest.fixture(scope="session")
def stored_run(place: Path, kb: Path, data: Path, small: list[str], made: Path) -> Path:
    """The run of the fixture `run`, from the store."""
    out = place / "stored-run"
    done = call("train", "--data", data, "--kb", kb, "--out", out, "--seeds", "0,1", *small, "--features", made)
    assert done.code == 0, done.err
    return out


def evaluate(tmp_path: Path, name: str, *options: object) -> tuple[bytes, dict[str, Any], str]:
    """Return the predictions, out.json and the notes of an evaluation."""
    predictions, report = tmp_path / f"{name}.jsonl", tmp_path / f"{name}.json"
    done = call("evaluate", *options, "--predictions", predictions, "--json", report)
    assert done.code == 0, done.err
    return predictions.read_bytes(), json.loads(report.read_text()), done.err


class TestMaking:
    def test_results_for_people_and_for_machines(self, kb, data, small, tmp_path):
        command = ["features", "--data", data, "--kb", kb, "--out", tmp_path / "F", *small]
        first = call(*command)
        assert first.code == 0, first.err
        lines = first.out.splitlines()
        assert lines[0] == f"{tmp_path / 'F'}:"
        counted = ["mentions", "pictures", "failures", "dropped", "objects", "faces", "labels", "identities"]
        assert lines[1].split() == ["split", *counted]
        counts = [["train", str(3 * len(LINKS))], ["dev", str(len(LINKS))], ["test", str(len(LINKS))]]
        assert [line.split()[:2] for line in lines[2:]] == counts
        assert "dev: 11 mentions, 0 pictures" in first.err
        again = call(*command, "--json", "--quiet")
        assert again.err == ""
        assert again.json["dtype"] == "float32"
        assert {name: split["made"] for name, split in again.json["splits"].items()} == dict.fromkeys(
            ("train", "dev", "test"), False
        )
        assert again.json["splits"]["train"] == {
            "made": False, **dict.fromkeys(counted, 0), "mentions": 33, "attributes": [], "failed": {},
        }  # fmt: skip
        assert {path for path in listing(tmp_path / "F") if "/" not in path} == {
            ".lock", "manifest.json", "entities.npy", "train", "dev", "test",
        }  # fmt: skip

    def test_gold_is_not_looked_at(self, kb, data, small, made, tmp_path):
        """The same features without it: a test split may be encoded."""
        lines = [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]
        for line in lines:
            del line["entity_id"]
        write_lines(tmp_path / "test.jsonl", lines)
        done = call("features", "--data", tmp_path / "test.jsonl", "--kb", kb, "--out", tmp_path / "F", *small)
        assert done.code == 0, done.err
        for name in ("mention.npy", "text.npy", "keys.npy"):
            assert (tmp_path / "F" / "test" / name).read_bytes() == (made / "test" / name).read_bytes()

    def test_only_missing_and_changed_splits_are_made(self, kb, data, with_pictures, tmp_path):
        folder = tmp_path / "data"
        picture(folder / "a.jpg", 1)
        for split in ("train", "dev"):
            links = [{"id": "1", "text": "Foster", "surface": "Foster", "entity_id": "Q1", "image": "a.jpg"}]
            write_lines(folder / f"{split}.jsonl", links if split == "train" else [{**links[0], "image": None}])
        command = ["features", "--data", folder, "--kb", kb, "--out", tmp_path / "F", *with_pictures, "--json"]

        def make(*options: str) -> dict[str, bool]:
            return {name: split["made"] for name, split in call(*command, *options).json["splits"].items()}

        assert make("--split", "dev") == {"dev": True}
        assert make() == {"train": True, "dev": False}
        picture(folder / "a.jpg", 2)  # another content under the same name
        assert make() == {"train": True, "dev": False}
        links = [{"id": "1", "text": "Gibson", "surface": "Gibson", "entity_id": "Q4"}]
        write_lines(folder / "dev.jsonl", links)
        assert make("--split", "dev", "--split", "train") == {"dev": True, "train": False}
        assert make("--restart") == {"train": True, "dev": True}

    def test_pictures_regions_and_failures_are_told(self, kb, pictured, with_pictures, tmp_path):
        regions = write_lines(
            tmp_path / "regions.jsonl",
            [{
                "image": str(pictured.parent / "good.png"),
                "objects": [{"box": [0, 0, 9, 9]}, {"box": [5, 5, 20, 20]}],
                "faces": [{"box": [1, 1, 5, 5], "attributes": {"gender": "male", "race": "white"}}],
                "labels": [{"label": "Somebody", "score": 0.9}],
            }],
        )  # fmt: skip
        command = ["features", "--data", pictured, "--kb", kb, "--out", tmp_path / "F", *with_pictures]
        done = call(*command, "--regions", regions)
        assert done.code == 0, done.err
        assert "2 pictures could not be used" in done.err
        assert "missing.png" in done.err
        assert done.out.splitlines()[2].split() == ["links", "11", "1", "2", "0", "2", "3", "1", "0"]
        assert done.out.splitlines()[3] == "face sentences hold gender, race"
        failures = json.loads((tmp_path / "F" / "links" / "failures.json").read_text())
        assert {Path(path).name for path in failures} == {"missing.png", "broken.png"}

    def test_float16_is_half_the_size(self, kb, data, small, made, tmp_path):
        done = call("features", "--data", data, "--kb", kb, "--out", tmp_path / "F", *small, "--dtype", "float16")
        assert done.code == 0, done.err
        half, full = (np.load(folder / "entities.npy") for folder in (tmp_path / "F", made))
        assert (half.dtype, full.dtype) == (np.float16, np.float32)
        np.testing.assert_allclose(half, full, atol=2e-3)
        options = ["--set", "train.epochs=1", "--out", tmp_path / "run", "--features", tmp_path / "F"]
        assert call("train", "--data", data, "--kb", kb, *small, *options).code == 0

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--dtype", "int8"], ["'int8'", "float32 or float16"]),
            (["--missing", "drop"], ["'drop'", "error or encode"]),
            (["--entity-vectors", "e.h5"], ["--entity-vectors and --entity-order go together"]),
            (["--entity-order", "e.json"], ["--entity-vectors and --entity-order go together"]),
            (["--picture-vectors", "e.h5"], ["--picture-vectors and --picture-order go together"]),
            (["--split", "other"], ["no split 'other'", "train, dev, test"]),
            (["--set", "features.text_template=nothing"], ["text_template"]),
            (["--picture-vectors", "a", "--picture-order", "b", "--set", "encoders.image=x"], ["encoders.image=x"]),
        ],
    )
    def test_wrong_calls(self, kb, data, small, tmp_path, refused, options, words):
        refused(2, "features", "--data", data, "--kb", kb, "--out", tmp_path / "F", *small, *options, says=words)

    def test_a_folder_of_other_features_is_left_as_it_was(self, kb, data, small, copy, tmp_path, refused):
        command = ["features", "--data", data, "--kb", kb, "--out", copy, *small]
        says = ["features.text_template: '{text}' there, 'a {text}' now", "--restart"]
        refused(4, *command, "--set", "features.text_template=a {text}", says=says)
        refused(4, *command, "--dtype", "float16", says=["dtype"])
        write_lines(tmp_path / "other.jsonl", [{"id": "a", "name": "b"}])
        call("kb", "build", tmp_path / "other.jsonl", "--out", tmp_path / "other-kb")
        command[4] = tmp_path / "other-kb"
        refused(4, *command, says=["knowledge base, content"])

    def test_a_folder_of_other_things(self, kb, data, small, tmp_path, refused):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "a.txt").write_text("mine")
        command = ["features", "--data", data, "--kb", kb, *small, "--out"]
        refused(7, *command, tmp_path / "mine", says=["'a.txt'", "another --out"])
        refused(7, *command, tmp_path / "mine", "--restart", says=["'a.txt'"])
        refused(7, *command, tmp_path / "mine" / "a.txt", says=["not a folder"])

    def test_split_names_that_lead_out_of_the_folder(self, kb, small, tmp_path, refused):
        folder = tmp_path / "data"
        save(folder / "Some.json", {"1": {"sentence": "Foster", "mentions": ["Foster"], "answer": ["Q1"]}})
        save(folder / "splits.json", {"../../outside": ["1"]})
        says = ["'../../outside'", "letters, digits"]
        refused(2, "features", "--data", folder, "--kb", kb, "--out", tmp_path / "F", *small, says=says)


class TestUsing:
    def test_training_from_a_store_gives_the_same_model(self, run, stored_run):
        for seed in ("seed-0", "seed-1"):
            for name in ("model.safetensors", "history.jsonl"):
                assert (run / seed / name).read_bytes() == (stored_run / seed / name).read_bytes()
        record = json.loads((stored_run / "run.json").read_text())
        assert Path(record["features"]["path"]).name == "F"
        assert json.loads((run / "run.json").read_text())["features"] is None
        assert record["encoders"].keys() == {"text"}

    @pytest.mark.parametrize("split", ["dev", "test", "train"])
    def test_scores_with_features_are_those_without_bit_for_bit(self, run, stored_run, made, data, split, tmp_path):
        common = ["--data", data, "--split", split, "--protocol", "top100,full-kb"]
        with_, report, notes = evaluate(tmp_path, "a", "--run", stored_run, *common, "--features", made)
        without, other, _ = evaluate(tmp_path, "b", "--run", run, *common)
        assert with_ == without
        assert (report["features"], other["features"]) == (str(made), None)
        assert "trained on the features" not in notes
        _, _, notes = evaluate(tmp_path, "c", "--run", stored_run, *common)
        assert f"trained on the features of {made}; they are now computed (--features FOLDER)" in notes

    def test_scores_with_pictures_regions_and_tokens(self, kb, pictured, with_pictures, tmp_path):
        regions = write_lines(
            tmp_path / "regions.jsonl",
            [{
                "image": str(pictured.parent / "good.png"),
                "objects": [{"box": [0, 0, 9, 9]}, {"box": [5, 5, 20, 20]}],
                "faces": [{"box": [6, 6, 19, 19], "attributes": {"age": 4}}],
                "labels": [{"label": "Somebody", "score": 0.9}],
            }],
        )  # fmt: skip
        options = [*with_pictures, "--set", "model.text_keys=tokens", "--set", "model.share_text_attention=false"]
        common = ["--data", pictured, "--kb", kb]
        assert call("features", *common, *options, "--regions", regions, "--out", tmp_path / "F").code == 0
        trained = call("train", *common, *options, "--out", tmp_path / "stored", "--features", tmp_path / "F")
        assert trained.code == 0, trained.err
        assert "face sentences hold age" in trained.err
        assert call("train", *common, *options, "--out", tmp_path / "run", "--regions", regions).code == 0
        weights = [tmp_path / name / "seed-0" / "model.safetensors" for name in ("stored", "run")]
        assert weights[0].read_bytes() == weights[1].read_bytes()
        given = ["--data", pictured]
        with_, report, notes = evaluate(
            tmp_path, "a", "--run", tmp_path / "stored", *given, "--features", tmp_path / "F"
        )
        without, other, _ = evaluate(tmp_path, "b", "--run", tmp_path / "run", *given, "--regions", regions)
        assert with_ == without
        assert report["face_attributes"] == other["face_attributes"] == ["age"]
        assert "2 pictures could not be used" in notes
        assert "regions file and is used without" not in notes
        _, _, notes = evaluate(tmp_path, "c", "--run", tmp_path / "stored", *given)
        assert "regions file and is used without" in notes

    def test_a_run_and_a_store_of_which_one_has_regions(self, kb, pictured, with_pictures, tmp_path):
        good = {"image": str(pictured.parent / "good.png"), "objects": [{"box": [0, 0, 9, 9]}]}
        regions = write_lines(tmp_path / "regions.jsonl", [good])
        common = ["--data", pictured, "--kb", kb, *with_pictures]
        for name, more in (("with", ["--regions", regions]), ("without", [])):
            store = tmp_path / f"F-{name}"
            assert call("features", *common, *more, "--out", store).code == 0
            assert call("train", *common, "--features", store, "--out", tmp_path / name).code == 0
        given = ["--data", pictured, "--features"]
        said: dict[tuple[str, str], str] = {}
        for run in ("with", "without"):
            for store in ("with", "without"):
                options = ["--run", tmp_path / run, *given, tmp_path / f"F-{store}"]
                _, _, notes = evaluate(tmp_path, f"{run}-{store}", *options)
                said[run, store] = next((line for line in notes.splitlines() if "regions file" in line), "")
        assert said["with", "with"] == said["without", "without"] == ""
        assert "trained with a regions file and is used without one: the features of" in said["with", "without"]
        assert f"{tmp_path / 'F-without'}; make them with --regions FILE" in said["with", "without"]
        assert "trained without a regions file and is used with one: the features of" in said["without", "with"]
        assert f"{tmp_path / 'F-with'}; make them without --regions" in said["without", "with"]

    def test_scores_with_objects_that_a_detector_found(self, kb, with_pictures, tmp_path):
        folder = tmp_path / "data"
        for i, (text, surface, gold) in enumerate(LINKS[:6]):
            picture(folder / f"{i}.png", i, size=60)
            line = {"id": str(i), "text": text, "surface": surface, "entity_id": gold, "image": f"{i}.png"}
            with (folder / "links.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
        options = [*with_pictures, "--set", "encoders.detector=proposals"]
        common = ["--data", folder / "links.jsonl", "--kb", kb]
        made = call("features", *common, *options, "--out", tmp_path / "F", "--json")
        assert made.code == 0, made.err
        assert made.json["splits"]["links"]["objects"] > made.json["splits"]["links"]["pictures"] == 6
        assert json.loads((tmp_path / "F" / "manifest.json").read_text())["models"]["detector"]
        assert call("train", *common, *options, "--out", tmp_path / "run", "--features", tmp_path / "F").code == 0
        given = ["--run", tmp_path / "run", "--data", folder / "links.jsonl"]
        with_, _, _ = evaluate(tmp_path, "a", *given, "--features", tmp_path / "F")
        without, _, _ = evaluate(tmp_path, "b", *given)
        assert with_ == without
        done = call("features", *common, *with_pictures, "--out", tmp_path / "F")
        assert done.code == 4
        assert "encoders.detector: 'proposals' there, None now" in done.err

    @pytest.mark.realdata
    def test_real_photographs_come_back_bit_for_bit(self, kb, tiny_text, tiny_clip, realdata, tmp_path):
        from dualway.config import Preset, override
        from dualway.datasets import open_dataset
        from dualway.features.store import open_features
        from dualway.kb.store import KnowledgeBase
        from dualway.run import Pipeline

        dataset = open_dataset(realdata / "wikimel", "train")
        pictured = [m for m in dataset.mentions if (path := dataset.image_path(m)) is not None and path.is_file()]
        assert len(pictured) > 20
        lines = [
            {"id": m.id, "text": m.text, "surface": m.surface, "image": str(dataset.image_path(m))} for m in pictured
        ]
        encoders = {"text": str(tiny_text), "image": str(tiny_clip)}
        options = [word for part, name in encoders.items() for word in ("--set", f"encoders.{part}={name}")]
        data = write_lines(tmp_path / "some.jsonl", lines)
        done = call("features", "--data", data, "--kb", kb, "--out", tmp_path / "F", *options)
        assert done.code == 0, done.err
        with KnowledgeBase.open(kb) as opened:
            pipeline = Pipeline(override(Preset(name="paper"), {"encoders": encoders}), opened)
            _, expected, report = pipeline.prepare(open_dataset(data), 100)
        found, told = open_features(tmp_path / "F").load(open_dataset(data))
        for name in ("mention", "text", "picture", "entities", "image"):
            assert getattr(found, name).tobytes() == getattr(expected, name).tobytes()
        assert found.objects.values.tobytes() == expected.objects.values.tobytes()
        assert list(told.seen) == list(report.seen)
        assert told.failures == report.failures

    def test_a_file_with_the_same_mentions(self, stored_run, made, data, tmp_path):
        common = ["--run", stored_run, "--features", made, "--data"]
        whole, _, _ = evaluate(tmp_path, "a", *common, data, "--split", "dev")
        file, _, _ = evaluate(tmp_path, "b", *common, data / "dev.jsonl")
        assert file == whole

    def test_no_encoder_is_loaded(self, kb, data, tiny_text, tmp_path):
        """Neither of them is there any more; `from_kb`, which encodes its own texts, says so."""
        text = shutil.copytree(tiny_text, tmp_path / "text")
        options = ["--set", f"encoders.text={text}", "--set", "model.dim=16", "--set", "train.epochs=1"]
        command = ["--data", data, "--kb", kb, *options]
        assert call("features", *command, "--out", tmp_path / "F").code == 0
        shutil.rmtree(text)
        assert call("train", *command, "--out", tmp_path / "run", "--features", tmp_path / "F").code == 0
        given = ["--run", tmp_path / "run", "--data", data, "--features", tmp_path / "F"]
        _, report, notes = evaluate(tmp_path, "a", *given)
        rows = [row["system"] for row in report["protocols"]["top100"]["systems"]]
        assert rows == ["lexical", "prior", "from_kb", "paper"]
        assert "from_kb works without text similarity here, its encoder cannot be loaded" in notes

    def test_an_encoder_that_has_changed(self, kb, data, tiny_text, small, tmp_path):
        text = shutil.copytree(tiny_text, tmp_path / "text")
        options = ["--set", f"encoders.text={text}", "--set", "model.dim=16", "--set", "train.epochs=1"]
        command = ["--data", data, "--kb", kb, *options]
        assert call("features", *command, "--out", tmp_path / "F").code == 0
        assert call("train", *command, "--out", tmp_path / "run", "--features", tmp_path / "F").code == 0
        config = json.loads((text / "config.json").read_text())
        (text / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-3}))
        done = call("evaluate", "--run", tmp_path / "run", "--data", data, "--features", tmp_path / "F")
        assert done.code == 4
        assert "is not the one that made the features" in done.err
        done = call("features", *command, "--out", tmp_path / "F")
        assert done.code == 4
        assert "model of text: " in done.err

    def test_other_settings_knowledge_base_and_data(self, kb, data, small, made, stored_run, tmp_path, refused):
        train = ["train", "--data", data, "--kb", kb, "--out", tmp_path / "run", *small, "--features", made]
        says = ["features.entity_template: '{text}' there, '{name}. {text}' now", "dualway features"]
        refused(4, *train, "--set", "features.entity_template={name}. {text}", says=says)
        refused(4, *train, "--set", "encoders.text=minilm", says=["encoders.text", "'minilm' now"])
        refused(4, *train, "--set", "model.text_keys=tokens", says=["no vectors of tokens"])
        entities = [json.loads(line) for line in _entities(kb)]
        write_lines(tmp_path / "other.jsonl", entities[:-1])
        call("kb", "build", tmp_path / "other.jsonl", "--out", tmp_path / "other-kb")
        given = ["evaluate", "--run", stored_run, "--data", data, "--features", made]
        refused(4, *given, "--kb", tmp_path / "other-kb", says=["another content", str(tmp_path / "other-kb")])
        links = [json.loads(line) for line in (data / "dev.jsonl").read_text().splitlines()]
        write_lines(tmp_path / "dev.jsonl", [links[0], {**links[1], "text": "Mel Gibson again"}, *links[2:]])
        given[4] = tmp_path / "dev.jsonl"
        refused(4, *given, says=["no features of the file", "dualway features"])
        given[4] = tmp_path
        refused(4, *given, says=[f"first: {links[1]['id']!r}", "dualway features"])

    def test_calls_that_make_no_sense(self, kb, data, small, made, run, tmp_path, refused):
        train = ["train", "--data", data, "--kb", kb, "--out", tmp_path / "run", *small]
        refused(2, *train, "--features", made, "--regions", "a.jsonl", says=["--regions goes into the features"])
        refused(3, *train, "--features", tmp_path / "none", says=["not a feature store", "dualway features"])
        refused(3, *train, "--features", data, says=["not a feature store"])
        refused(2, "evaluate", "--kb", kb, "--data", data, "--features", made, says=["--features goes with --run"])

    @pytest.mark.parametrize(
        "change",
        [
            lambda path: path.write_bytes(path.read_bytes()[:-3]),
            lambda path: path.unlink(),
            lambda path: np.save(path, np.full_like(np.load(path), np.nan)),
            lambda path: np.save(path, np.load(path).astype(object), allow_pickle=True),
        ],
    )
    @pytest.mark.parametrize("name", ["entities.npy", "train/text.npy"])
    def test_a_damaged_store(self, kb, data, small, copy, tmp_path, refused, change, name):
        change(copy / name)
        train = ["train", "--data", data, "--kb", kb, "--out", tmp_path / "run", *small, "--features", copy]
        refused(3, *train, says=[str(copy / name), "damaged", "--restart"])

    def test_the_text_encoder_trained_too(self, kb, data, tiny_text, made, tmp_path):
        """The store's vectors are those of the base encoder, which is then loaded."""
        options = ["--set", f"encoders.text={tiny_text}", "--set", "model.dim=16", "--set", "train.epochs=1"]
        options += ["--set", "encoders.trainable=true", "--data", data, "--kb", kb]
        for name, more in (("a", ["--features", made]), ("b", [])):
            done = call("train", *options, *more, "--out", tmp_path / name)
            assert done.code == 0, done.err
        weights = [tmp_path / name / "seed-0" / "encoder.safetensors" for name in ("a", "b")]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def _entities(kb: Path) -> list[str]:
    from dualway.kb.store import KnowledgeBase

    with KnowledgeBase.open(kb) as opened:
        texts = opened.texts()
        return [
            json.dumps(
                {"id": id, "name": name, "representations": [{"kind": "properties", "text": text}] if text else []}
            )
            for id, name, text in zip(opened.ids, opened.names, texts)
        ]


class Case(NamedTuple):
    write: Callable[[Path], Path]
    mentions: dict[str, int]


CASES = {
    "dwe": Case(write_dwe, {"train": 12, "dev": 4, "test": 3}),
    "mimic": Case(write_mimic, {"train": 13, "dev": 4, "test": 3}),
    "ghmfc": Case(write_ghmfc, {"train": 8, "dev": 2, "test": 1}),
}


def write_h5(folder: Path, ids: list[str], name: str = "gt_feats_property.h5") -> tuple[Path, Path]:
    """Write entity vectors as DWE does: rows in the order of neg_list.json, which is sorted as text."""
    vectors = np.random.default_rng(0).standard_normal((len(ids), WIDE)).astype(np.float32)
    with h5py.File(folder / name, "w") as file:
        file.create_dataset("features", data=vectors)
    return folder / name, save(folder / "neg_list.json", ids)


class TestFoldersOfTheField:
    @pytest.mark.parametrize("name", CASES)
    def test_build_features_train_and_evaluate(self, name, clip512, tmp_path):
        case = CASES[name]
        data = case.write(tmp_path / "data")
        options = ["--set", f"encoders.text={clip512}", "--set", f"encoders.image={clip512}"]
        more: list[object] = []
        if name == "dwe":
            vectors, order = write_h5(data, sorted(BY_ID))
            assert call("data", "regions", data, "--out", tmp_path / "regions.jsonl").code == 0
            more = ["--entity-vectors", vectors, "--entity-order", order, "--regions", tmp_path / "regions.jsonl"]
        kb, store, run = tmp_path / "kb", tmp_path / "F", tmp_path / "run"
        assert call("kb", "build", data, "--out", kb).code == 0
        done = call("features", "--data", data, "--kb", kb, "--out", store, *options, *more, "--json")
        assert done.code == 0, done.err
        splits = done.json["splits"]
        assert {split: found["mentions"] for split, found in splits.items()} == case.mentions
        assert all(found["failures"] == 0 and found["pictures"] for found in splits.values())
        if name == "dwe":
            assert splits["train"]["objects"] == splits["train"]["labels"] == 2 * splits["train"]["pictures"]
            assert splits["train"]["faces"] == 2 * case.mentions["train"]
            assert splits["train"]["attributes"] == ["gender", "age"]
        small = ["--set", "model.dim=16", "--set", "train.epochs=1"]
        trained = call("train", "--data", data, "--kb", kb, "--out", run, *options, *small, "--features", store)
        assert trained.code == 0, trained.err
        _, report, _ = evaluate(tmp_path, "out", "--run", run, "--data", data, "--features", store)
        assert report["protocols"]["top100"]["mentions"] == case.mentions["dev"]
        assert [row["system"] for row in report["protocols"]["top100"]["systems"]][-1] == "paper"


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory, clip512: Path) -> dict[str, Any]:
    """DWE's folder, its knowledge base, and the options of an encoder as wide as its h5 file."""
    root = tmp_path_factory.mktemp("field")
    data = write_dwe(root)
    assert call("kb", "build", data, "--out", root / "kb").code == 0
    return {"data": data, "kb": root / "kb", "options": ["--set", f"encoders.text={clip512}"]}


class TestVectorsFromFiles:
    def make(self, field: dict[str, Any], out: Path, *options: object) -> Any:
        return call("features", "--data", field["data"], "--kb", field["kb"], "--out", out, *field["options"], *options)

    def test_entity_vectors_and_what_is_recorded(self, field, tmp_path):
        vectors, order = write_h5(tmp_path, sorted(BY_ID))
        done = self.make(field, tmp_path / "F", "--entity-vectors", vectors, "--entity-order", order)
        assert done.code == 0, done.err
        stored = np.load(tmp_path / "F" / "entities.npy")
        from dualway.kb.store import KnowledgeBase

        with KnowledgeBase.open(field["kb"]) as kb:
            rows = [sorted(BY_ID).index(id) for id in kb.ids]
        with h5py.File(vectors) as file:
            np.testing.assert_array_equal(stored, file["features"][:][rows])
        record = json.loads((tmp_path / "F" / "manifest.json").read_text())["files"]["entities"]
        assert (record["path"], record["order"], record["encoded"]) == (str(vectors), str(order), 0)
        assert len(record["sha256"]) == 16

    def test_a_run_from_a_file_s_vectors_needs_them(self, field, tmp_path):
        vectors, order = write_h5(tmp_path, sorted(BY_ID))
        more = ["--entity-vectors", vectors, "--entity-order", order]
        assert self.make(field, tmp_path / "F", *more).code == 0
        assert self.make(field, tmp_path / "plain").code == 0
        options = ["--data", field["data"], "--kb", field["kb"], *field["options"], "--set", "model.dim=16"]
        run = tmp_path / "run"
        more = ["--set", "train.epochs=1", "--features", tmp_path / "F"]
        assert call("train", *options, *more, "--out", run).code == 0
        assert call("evaluate", "--run", run, "--data", field["data"], "--features", tmp_path / "F").code == 0
        for call_ in (
            ["evaluate", "--run", run, "--data", field["data"]],
            ["evaluate", "--run", run, "--data", field["data"], "--features", tmp_path / "plain"],
            ["link", "--run", run, "--text", "Brennick", "--mention", "Brennick"],
        ):
            done = call(*call_)
            assert done.code == 4
            assert "the file of entities' vectors is not the one the run was trained with" in done.err
            assert "--features" in done.err

    def test_entities_that_the_file_lacks(self, field, tmp_path):
        vectors, order = write_h5(tmp_path, sorted(BY_ID)[1:])
        more = ["--entity-vectors", vectors, "--entity-order", order]
        done = self.make(field, tmp_path / "F", *more)
        assert done.code == 3
        assert "lacks 1 of the 12 entities" in done.err
        assert not (tmp_path / "F").exists()
        assert self.make(field, tmp_path / "F", *more, "--missing", "encode").code == 0
        assert self.make(field, tmp_path / "plain").code == 0
        here, plain = (np.load(tmp_path / name / "entities.npy") for name in ("F", "plain"))
        assert (here == plain).all(axis=1).sum() == 1
        manifest = json.loads((tmp_path / "F" / "manifest.json").read_text())
        assert manifest["files"]["entities"]["encoded"] == 1

    def test_another_width(self, field, tiny_text, tmp_path):
        vectors, order = write_h5(tmp_path, sorted(BY_ID))
        more = ["--entity-vectors", vectors, "--entity-order", order, "--set", f"encoders.text={tiny_text}"]
        done = self.make(field, tmp_path / "F", *more)
        assert done.code == 5
        assert "512 wide, those of the text encoder 16" in done.err

    def test_another_list(self, field, tmp_path):
        """Of the right length and in the wrong order nobody can tell; of another length it is refused."""
        vectors, order = write_h5(tmp_path, sorted(BY_ID))
        save(order, [*sorted(BY_ID), "Q1"])
        done = self.make(field, tmp_path / "F", "--entity-vectors", vectors, "--entity-order", order)
        assert done.code == 3
        assert "12 rows" in done.err
        assert "13 ids" in done.err

    def test_pictures_from_a_file(self, field, tmp_path):
        images = sorted((field["data"].parent / "ImgData" / "wikipedia").iterdir())
        names = [f"wikipedia/{path.name}" for path in images[:-1]]
        vectors, order = write_h5(tmp_path, names, "image.h5")
        more = ["--picture-vectors", vectors, "--picture-order", order]
        done = self.make(field, tmp_path / "F", *more)
        assert done.code == 0, done.err
        assert "1 pictures could not be used" in done.err
        assert f"not among the pictures of {order}" in done.err
        with h5py.File(vectors) as file:
            np.testing.assert_array_equal(np.load(tmp_path / "F" / "train" / "image.npy"), file["features"][:8])
        options = ["--data", field["data"], "--kb", field["kb"], *field["options"], "--set", "train.epochs=1"]
        more = ["--set", "model.dim=16", "--features", tmp_path / "F"]
        trained = call("train", *options, *more, "--out", tmp_path / "run")
        assert trained.code == 0, trained.err
        assert (
            call("evaluate", "--run", tmp_path / "run", "--data", field["data"], "--features", tmp_path / "F").code == 0
        )
        done = call("evaluate", "--run", tmp_path / "run", "--data", field["data"])
        assert done.code == 4
        assert "the file of pictures' vectors" in done.err

    def test_a_list_of_other_pictures(self, field, tmp_path):
        vectors, order = write_h5(tmp_path, ["a", "b"], "image.h5")
        done = self.make(field, tmp_path / "F", "--picture-vectors", vectors, "--picture-order", order)
        assert done.code == 3
        assert "none of the 8 pictures of the data is among its 2 ids" in done.err


class TestDataRegions:
    def test_for_people_and_for_machines(self, tmp_path):
        data = write_dwe(tmp_path)
        done = call("data", "regions", data, "--out", tmp_path / "r.jsonl", "--attributes", "age, race")
        assert (done.code, done.err) == (0, "")
        assert done.out.splitlines() == [
            f"{tmp_path / 'r.jsonl'}: 13 pictures, 26 objects, 26 faces, 26 labels",
            "attributes of faces: race of 26, age of 26",
        ]
        (data / "wiki_detection" / "101_1.json").write_text("{")
        done = call("data", "regions", data, "--out", tmp_path / "r.jsonl", "--json")
        assert "1 dropped: detection file that cannot be read (first: 101_1)" in done.err
        assert done.json["attributes"] == {"gender": 25, "age": 25}
        assert done.json["counts"]["pictures"] == 13
        done = call("data", "regions", data, "--out", tmp_path / "r.jsonl", "--attributes", "")
        assert done.out.splitlines()[1] == "attributes of faces: none"

    def test_mistakes(self, tmp_path, refused):
        out = ["--out", tmp_path / "r.jsonl"]
        refused(
            2, "data", "regions", tmp_path, *out, "--attributes", "name", says=["'name'", "age,gender,race,emotion"]
        )
        refused(3, "data", "regions", tmp_path, *out, says=["--images"])
        refused(3, "data", "regions", tmp_path / "none", *out, says=["none"])
