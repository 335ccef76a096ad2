"""A run whose text encoder was trained too, from files to links: every model with its own encoder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dualway.config import PRESETS, Preset, override
from dualway.encoders import load_text_encoder
from dualway.encoders.cache import default_cache_folder
from dualway.errors import ModelError
from dualway.evaluation import EvaluationData, evaluate, parse_protocols
from dualway.kb.store import KnowledgeBase
from dualway.linker import Linker
from dualway.model.live import load_encoder
from dualway.model.scoring import score_candidates
from dualway.model.train import load_model
from dualway.protocols import Task
from dualway.run import Pipeline, Run, open_training_data, train_run
from dualway.systems.dwe_plus import DwePlusSystem

LINES = [
    ("Foster the director", "Foster", "Q1"),
    ("Ben Foster plays football", "Ben Foster", "Q3"),
    ("Mel Gibson directs", "Mel Gibson", "Q4"),
    ("Janet and Gretzky", "Gretzky", "Q5"),
    ("Janet Jones acts", "Janet Jones", "Q6"),
    ("nobody at all", "Nobody", None),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def kb(place, people):
    with KnowledgeBase.create(place / "kb", people) as opened:
        yield opened


@pytest.fixture(scope="module")
def data(place) -> Path:
    """A folder with train and dev; every second mention has the picture."""
    folder = place / "data"
    folder.mkdir()
    Image.new("RGB", (40, 40), "red").save(folder / "a.png")
    for split in ("train", "dev"):
        records = [
            {"id": f"{split}{i}", "text": f"{t} ({split})", "surface": s, "entity_id": g, "image": "a.png" * (i % 2)}
            for i, (t, s, g) in enumerate(LINES)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.fixture(scope="module")
def regions(place, data) -> Path:
    """Faces and labels found in the picture: their sentences stay with the base encoder."""
    found = {
        "image": str(data / "a.png"),
        "objects": [{"box": [0, 0, 30, 30], "label": "person", "score": 0.9}],
        "faces": [{"box": [2, 2, 12, 12], "attributes": {"age": 40}}],
        "labels": [{"label": "mel gibson", "score": 0.8}],
    }
    (place / "regions.jsonl").write_text(json.dumps(found) + "\n")
    return place / "regions.jsonl"


@pytest.fixture(scope="module")
def preset(tiny_sentence_encoder, tiny_clip) -> Preset:
    return override(
        PRESETS["paper"],
        {
            "name": "live",
            "encoders": {"text": str(tiny_sentence_encoder), "image": str(tiny_clip), "trainable": True},
            "features": {"entity_template": "{name}. {text}", "text_template": "{mention}: {text}"},
            "model": {"dim": 8, "heads": 2},
            "train": {"epochs": 2, "batch_size": 3, "seeds": [0, 1], "encoder_learning_rate": 1e-2},
            "candidates": {"num_candidates": 5},
        },
    )


@pytest.fixture(scope="module")
def run(place, kb, data, preset, regions) -> Run:
    return train_run(data=data, kb=kb, preset=preset, out=place / "run", note=print, regions=regions)


def test_every_seed_has_an_encoder_of_its_own(run, preset):
    encoders = [load_encoder(run.seed_folder(seed), preset.encoders.text) for seed in (0, 1)]
    base = load_text_encoder(preset.encoders.text)
    vectors = [encoder.encode_texts(["mel gibson"]) for encoder in (*encoders, base)]
    assert min(np.abs(a - b).max() for a, b in zip(vectors, vectors[1:] + vectors[:1], strict=True)) > 1e-3
    assert run.encoders["text"] == base.fingerprint


def test_links_are_those_of_features_made_by_its_encoder(run, kb, data, preset, regions):
    """The linker against a plain way: everything extracted by the base, then the three texts encoded one by one."""
    dev = open_training_data(data, print)[1]
    assert dev is not None
    pipeline = Pipeline(preset, kb, regions=regions)
    candidates, features, _ = pipeline.prepare(dev, 100)
    assert features.faces is not None
    for seed in (0, 1):
        encoder = load_encoder(run.seed_folder(seed), preset.encoders.text)

        def one_by_one(texts, encoder=encoder):
            return np.concatenate([encoder.encode_texts([text]) for text in texts])

        own = replace(
            features,
            mention=one_by_one([m.surface for m in dev.mentions]),
            text=one_by_one([f"{m.surface}: {m.text}" for m in dev.mentions]),
            entities=one_by_one([f"{n}. {t}" if t else n for n, t in zip(kb.names, kb.texts(), strict=True)]),
        )
        expected = score_candidates(load_model(run.seed_folder(seed)).model, own, candidates)
        system = DwePlusSystem(preset, run.seed_folder(seed), seed=seed)
        links = Linker.load(run.folder, kb=kb, seed=seed, regions=regions).link(dev.mentions, image_path=dev.image_path)
        scores = system.score(Task(dev.mentions, candidates, kb, features))
        for i, wanted in enumerate(expected):
            np.testing.assert_allclose(scores[i], wanted, atol=1e-5)
            ids = [kb.ids[row] for row in candidates.rows[i] if row >= 0]
            given = {c.entity_id: c.score for c in links[i].candidates}
            np.testing.assert_allclose([given[j] for j in ids], wanted, atol=1e-5)


def test_seeds_are_evaluated_side_by_side(run, kb, data, preset):
    dev = open_training_data(data, print)[1]
    assert dev is not None
    candidates, features, _ = Pipeline(preset, kb).prepare(dev, 100)
    systems = [DwePlusSystem(preset, run.trained_folder(seed), seed=seed) for seed in (0, 1)]
    given = EvaluationData(dev.mentions, dev.gold, kb, candidates, features)
    report = evaluate([systems], given, parse_protocols("top100,full-kb"))
    assert all(len(table.systems[0].per_run) == 2 and not table.systems[0].notes for table in report.protocols)
    task = Task(dev.mentions, candidates, kb, features)
    first, second = (np.concatenate(system.score(task)) for system in systems)
    assert np.abs(first - second).max() > 1e-3


def test_fitting_a_system_is_training_a_run(run, kb, data, preset, regions, tmp_path):
    train_set, dev = open_training_data(data, print)
    assert dev is not None
    pipeline = Pipeline(preset, kb, regions=regions)
    tasks = []
    for part in (train_set, dev):
        candidates, features, _ = pipeline.prepare(part, preset.candidates.num_candidates)
        tasks.append(Task(part.mentions, candidates, kb, features))
    system = DwePlusSystem(preset, tmp_path, seed=1)
    system.fit(tasks[0], train_set.gold, tasks[1], dev.gold)
    for name in ("model.safetensors", "encoder.safetensors", "history.jsonl"):
        assert (tmp_path / name).read_bytes() == (run.seed_folder(1) / name).read_bytes(), name
    before = np.concatenate(system.score(tasks[1]))
    other = DwePlusSystem(override(preset, {"train": {"epochs": 1}}), tmp_path / "other", seed=1)
    other.fit(tasks[0], train_set.gold, tasks[1], dev.gold)
    other.score(tasks[1])
    other.preset, other.folder = preset, tmp_path
    other.fit(tasks[0], train_set.gold, tasks[1], dev.gold)  # forgets the encoder that it had
    assert np.array_equal(np.concatenate(other.score(tasks[1])), before)


def test_the_cache_keeps_each_encoders_vectors_apart(run, kb, preset):
    for seed in (0, 1):
        Linker.load(run.folder, kb=kb, seed=seed)
        encoder = load_encoder(run.seed_folder(seed), preset.encoders.text)
        assert (default_cache_folder() / f"vectors-{encoder.fingerprint}.sqlite").exists()
        system = DwePlusSystem(preset, run.seed_folder(seed))
        assert np.abs(system.entities(kb) - Pipeline(preset, kb).entities).max() > 1e-3


def test_the_link_names_the_encoder_and_a_missing_one_is_an_error(run, kb, tmp_path):
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    fingerprint = Linker.load(folder, kb=kb).ranker.fingerprint
    assert fingerprint == Linker.load(run.folder, kb=kb).ranker.fingerprint
    shutil.copy(folder / "seed-1" / "encoder.safetensors", folder / "seed-0" / "encoder.safetensors")
    assert Linker.load(folder, kb=kb).ranker.fingerprint != fingerprint
    (folder / "seed-0" / "encoder.safetensors").unlink()
    with pytest.raises(ModelError, match=r"seed-0.encoder\.safetensors: no such file; train again"):
        Linker.load(folder, kb=kb)


def test_progress_is_told_while_the_own_encoder_works(run, kb, place, monkeypatch):
    monkeypatch.setenv("DUALWAY_CACHE", str(place / "empty cache"))
    told = []
    Linker.load(run.folder, kb=kb, meter=lambda done, total, what: told.append((done, total)))
    assert told == [(len(kb), len(kb))]  # the base encoder is not asked for entities
