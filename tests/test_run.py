"""Training a run from files to a folder, on tiny random encoders: what it leaves, what it refuses, how it goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dualway.config import PRESETS, Preset, override
from dualway.errors import CompatibilityError, DataError, KnowledgeBaseError, ModelError, StorageError, UsageError
from dualway.kb.store import KnowledgeBase
from dualway.run import Pipeline, Run, note_failures, open_training_data, train_run
from dualway.schema import Entity, Mention, Representation

LINES = [
    ("Foster the director", "Foster", "Q1"),
    ("Ben Foster plays football", "Ben Foster", "Q3"),
    ("Mel Gibson directs", "Mel Gibson", "Q4"),
    ("Janet and Gretzky", "Gretzky", "Q5"),
    ("Janet Jones acts", "Janet Jones", "Q6"),
    ("nobody at all", "Nobody", None),
]


def write_data(folder: Path, *splits: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split in splits:
        records = [
            {"id": f"{split}{i}", "text": f"{t} ({split})", "surface": s, "entity_id": g}
            for i, (t, s, g) in enumerate(LINES)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def kb(place, people):
    with KnowledgeBase.create(place / "kb", people) as opened:
        yield opened


@pytest.fixture(scope="module")
def preset(tiny_sentence_encoder) -> Preset:
    return override(
        PRESETS["paper"],
        {
            "name": "tiny",
            "encoders": {"text": str(tiny_sentence_encoder)},
            "model": {"dim": 8, "heads": 2},
            "train": {"epochs": 1, "batch_size": 4, "seeds": [0, 1]},
            "candidates": {"num_candidates": 5, "retriever": "names+prior"},
        },
    )


@pytest.fixture(scope="module")
def trained(place, kb, preset) -> Run:
    notes: list[str] = []
    data = write_data(place / "data", "train", "dev")
    return train_run(data=data, kb=kb, preset=preset, out=place / "trained", note=notes.append)


@pytest.fixture
def run(trained, tmp_path) -> Run:
    """A copy that a test may damage."""
    return Run.open(Path(shutil.copytree(trained.folder, tmp_path / "run")))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class TestWhatItLeaves:
    def test_the_run_says_what_it_is(self, trained, kb, preset):
        assert trained.preset == preset
        assert trained.kb_path == kb.path.resolve()
        assert trained.kb_compatibility == kb.fingerprint.compatibility
        assert set(trained.encoders) == {"text"}
        assert set(trained.results) == {"0", "1"}
        assert {"best_dev_t1", "steps", "seconds", "mentions", "skipped"} <= set(trained.results["0"])
        assert (trained.results["0"]["mentions"], trained.results["0"]["skipped"]) == (5, 1)  # the NIL mention
        record = json.loads((trained.folder / "run.json").read_text())
        assert record["kb"]["content"] == kb.fingerprint.content
        assert {"format", "dualway", "created", "data"} <= set(record)

    def test_a_model_for_each_seed(self, trained):
        weights = [(trained.seed_folder(seed) / "model.safetensors").read_bytes() for seed in (0, 1)]
        assert weights[0] != weights[1]

    def test_prior_and_captions_are_those_of_train_alone(self, trained):
        from dualway.evaluation.captions import caption_key

        assert trained.prior().probabilities("Mel Gibson") == {"Q4": 0.5}
        assert trained.captions() == {caption_key(f"{text} (train)") for text, _, _ in LINES}
        assert caption_key("Mel Gibson directs (dev)") not in trained.captions()

    def test_training_again_changes_nothing(self, trained, place, kb, preset):
        before = snapshot(trained.folder)
        again = train_run(data=place / "data", kb=kb, preset=preset, out=trained.folder, note=lambda _: None)
        after = snapshot(trained.folder)
        assert again.results == trained.results
        changed = {name for name in before if before[name] != after.get(name)}
        assert changed <= {"run.json"}  # its date
        assert set(after) == set(before)

    def test_the_same_settings_elsewhere_give_the_same_models(self, trained, place, kb, preset, tmp_path):
        other = train_run(data=place / "data", kb=kb, preset=preset, out=tmp_path / "other", note=lambda _: None)
        for seed in (0, 1):
            one, two = (r.seed_folder(seed) / "model.safetensors" for r in (trained, other))
            assert one.read_bytes() == two.read_bytes()

    def test_a_restart_trains_anew(self, run, place, kb, preset):
        shorter = override(preset, {"train": {"seeds": [1]}})
        again = train_run(data=place / "data", kb=kb, preset=shorter, out=run.folder, resume=False, note=lambda _: None)
        assert set(again.results) == {"1"}


class TestTrainingData:
    def test_a_file_is_train_without_dev(self, place, kb, preset, tmp_path):
        notes: list[str] = []
        write_data(place / "data", "train", "dev")
        file = place / "data" / "train.jsonl"
        single = override(preset, {"train": {"seeds": [0]}})
        done = train_run(data=file, kb=kb, preset=single, out=tmp_path / "run", note=notes.append)
        assert done.results["0"]["best_dev_t1"] is None
        assert any("without a dev split the last model is kept" in note for note in notes)

    def test_a_folder_without_dev_is_told(self, tmp_path):
        notes: list[str] = []
        train_set, dev_set = open_training_data(write_data(tmp_path, "train"), notes.append)
        assert (len(train_set), dev_set) == (6, None)
        assert any("no dev split" in note for note in notes)

    def test_missing_data_are_told(self, tmp_path):
        for path in (tmp_path / "nowhere", tmp_path / "nowhere.jsonl"):
            with pytest.raises(DataError, match="nowhere"):
                open_training_data(path, lambda _: None)

    def test_data_without_gold_in_the_knowledge_base_are_told(self, kb, preset, tmp_path):
        (tmp_path / "a.jsonl").write_text('{"text": "Foster", "surface": "Foster", "entity_id": "Q-elsewhere"}\n')
        with pytest.raises(DataError, match="no training mention"):
            train_run(data=tmp_path / "a.jsonl", kb=kb, preset=preset, out=tmp_path / "run", note=lambda _: None)
        assert not (tmp_path / "run" / "run.json").exists()


class TestFoldersThatAreTaken:
    def test_a_run_of_other_settings_is_refused_and_stays_as_it_was(self, run, place, kb, preset):
        before = snapshot(run.folder)
        other = override(preset, {"train": {"epochs": 2}})
        with pytest.raises(UsageError, match=r"train\.epochs: 1 there, 2 now.*--restart"):
            train_run(data=place / "data", kb=kb, preset=other, out=run.folder, note=lambda _: None)
        assert snapshot(run.folder) == before

    def test_a_run_on_other_data_is_refused_and_stays_as_it_was(self, run, kb, preset, tmp_path):
        """Prior and captions of the new data once replaced those of the finished run before it was refused."""
        before = snapshot(run.folder)
        data = write_data(tmp_path / "data", "train", "dev")
        lines = (data / "train.jsonl").read_text().replace("Foster", "Silva")
        (data / "train.jsonl").write_text(lines)
        with pytest.raises(UsageError):
            train_run(data=data, kb=kb, preset=preset, out=run.folder, note=lambda _: None)
        assert snapshot(run.folder) == before

    def test_a_place_that_cannot_be_written_is_told_before_the_work(self, place, kb, preset, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("x")
        monkeypatch.setattr("dualway.run.load_text_encoder", lambda name: pytest.fail("the work had begun"))
        with pytest.raises(StorageError, match="file"):
            train_run(data=place / "data", kb=kb, preset=preset, out=tmp_path / "file" / "run", note=lambda _: None)


class TestOpening:
    def test_what_is_no_run_is_told(self, tmp_path):
        for folder in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(ModelError, match=r"not a run \(no run\.json in it\); make one with `dualway train`"):
                Run.open(folder)

    @pytest.mark.parametrize(
        "change",
        [
            lambda r: r.pop("format"),
            lambda r: r.update(format=99),
            lambda r: r["preset"].update(unknown=1),
            lambda r: r["preset"]["train"].update(epochs=-3),
            lambda r: r.update(preset=5),
            lambda r: r["preset"].pop("name"),
            lambda r: r.pop("kb"),
            lambda r: r["kb"].pop("path"),
            lambda r: r["kb"].update(path=None),
            lambda r: r.update(encoders=5),
            lambda r: r.update(encoders="words"),
            lambda r: r.pop("results"),
        ],
    )
    def test_a_changed_record_is_told(self, change, run):
        path = run.folder / "run.json"
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))
        with pytest.raises(ModelError, match=r"run\.json: .*train again"):
            Run.open(run.folder)

    @pytest.mark.parametrize("content", ["", "{", "[]", "5", "null", '{"format": '])
    def test_a_broken_record_is_told(self, content, run):
        (run.folder / "run.json").write_text(content)
        with pytest.raises(ModelError, match=r"run\.json: damaged"):
            Run.open(run.folder)

    @pytest.mark.parametrize("content", [None, "{", "[]", '{"a": {"b": "c"}}'])
    def test_a_damaged_prior_is_told(self, content, run):
        path = run.folder / "prior.json"
        path.unlink() if content is None else path.write_text(content)
        with pytest.raises(ModelError, match=r"prior\.json.*train again"):
            run.prior()

    @pytest.mark.parametrize("content", [None, "{", "5", "[[1]]"])
    def test_damaged_captions_are_told(self, content, run):
        path = run.folder / "captions.json"
        path.unlink() if content is None else path.write_text(content)
        with pytest.raises(ModelError, match=r"captions\.json.*train again"):
            run.captions()

    def test_a_seed_that_is_not_trained_yet_is_told(self, run):
        with pytest.raises(ModelError, match="seed 7 is not trained yet"):
            run.trained_folder(7)

    def test_another_kind_of_representation_does_not_fit(self, run, tmp_path):
        entities = [Entity("Q1", "Foster", representations=(Representation("static", "text"),))]
        with (
            KnowledgeBase.create(tmp_path / "kb", entities) as other,
            pytest.raises(CompatibilityError, match="static"),
        ):
            run.check_kb(other)
        with pytest.raises(CompatibilityError, match="--representation"):
            run.open_kb(tmp_path / "kb")

    def test_more_entities_of_the_same_kind_fit(self, run, people, tmp_path):
        more = [*people, Entity("Q99", "New", representations=(Representation("properties", "text"),))]
        KnowledgeBase.create(tmp_path / "kb", more).close()
        with run.open_kb(tmp_path / "kb") as opened:
            assert len(opened) == len(people) + 1

    def test_a_knowledge_base_that_is_gone_is_told(self, run, tmp_path):
        with pytest.raises(KnowledgeBaseError, match="nowhere"):
            run.open_kb(tmp_path / "nowhere")
        record = json.loads((run.folder / "run.json").read_text())
        record["kb"]["path"] = str(tmp_path / "gone")
        (run.folder / "run.json").write_text(json.dumps(record))
        with pytest.raises(KnowledgeBaseError, match="no longer there; name its place with --kb"):
            Run.open(run.folder).open_kb()


class TestPipeline:
    def test_changed_encoders_are_told(self, kb, preset):
        pipeline = Pipeline(override(preset, {"candidates": {"retriever": "names"}}), kb)
        pipeline.check_encoders(pipeline.encoder_fingerprints())
        with pytest.raises(CompatibilityError, match=r"the text encoder .* is not the one the run was trained with"):
            pipeline.check_encoders({"text": "other"})
        with pytest.raises(CompatibilityError, match="the image encoder"):
            pipeline.check_encoders({**pipeline.encoder_fingerprints(), "image": "gone"})

    def test_a_prior_that_is_not_there_is_told(self, kb, preset):
        with pytest.raises(UsageError, match=r"names\+prior"):
            Pipeline(preset, kb)

    def test_encoding_is_told_of(self, kb, preset, monkeypatch, tmp_path):
        monkeypatch.setenv("DUALWAY_CACHE", str(tmp_path))
        told = []
        names = override(preset, {"candidates": {"retriever": "names"}})
        entities = Pipeline(names, kb, meter=lambda done, total, what: told.append((done, total))).entities
        assert told == [(len(kb) - 0, len(kb))] or told[-1][0] == told[-1][1]
        assert np.isfinite(entities).all()

    def test_the_template_decides_what_is_cached(self, kb, preset, monkeypatch, tmp_path):
        """Trap: a cache that ignored the template would hand out the other template's vectors."""
        monkeypatch.setenv("DUALWAY_CACHE", str(tmp_path))
        names = override(preset, {"candidates": {"retriever": "names"}})
        plain = Pipeline(names, kb).entities.copy()
        named = Pipeline(override(names, {"features": {"entity_template": "{name}. {text}"}}), kb).entities
        assert not np.allclose(plain[0], named[0])
        np.testing.assert_array_equal(Pipeline(names, kb).entities, plain)


def test_pictures_that_could_not_be_used_are_told_of_by_number_and_example():
    from dualway.features.extract import ExtractionReport

    notes: list[str] = []
    note_failures(ExtractionReport(), notes.append)
    assert notes == []
    note_failures(ExtractionReport(failures={f"{i}.jpg": "broken" for i in range(1500)}), notes.append)
    assert notes[0].startswith("1,500 pictures could not be used, their mentions keep their text: 0.jpg: broken; 1.jpg")
    assert len(notes[0]) < 200


def test_gold_is_no_part_of_a_mention(place):
    train_set, _ = open_training_data(write_data(place / "data", "train", "dev"), lambda _: None)
    assert not {"gold", "entity_id"} & set(Mention.__slots__)
    assert train_set.gold["train0"] == "Q1"
