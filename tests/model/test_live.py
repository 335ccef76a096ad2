"""The text encoder trained together with the model: what changes, what does not, and how it comes back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from dualway.config import Preset, get_preset, override
from dualway.encoders import load_text_encoder
from dualway.encoders.sentence import SentenceEncoder
from dualway.errors import CompatibilityError, DataError, ModelError, UsageError
from dualway.features.arrays import Features
from dualway.features.batching import make_batch
from dualway.features.texts import Texts
from dualway.model import train as module
from dualway.model.dwe_plus import DwePlus
from dualway.model.live import LiveSource, TrainingTexts, load_encoder
from dualway.model.losses import unit
from dualway.model.scoring import score_candidates
from dualway.model.train import DevSet, dev_t1, load_model, train
from dualway.schema import CandidateLists

FILES = ("model.safetensors", "encoder.safetensors", "history.jsonl", "config.json")


@dataclass(frozen=True)
class World:
    texts: TrainingTexts
    features: Features
    gold: np.ndarray
    candidates: CandidateLists

    @property
    def dev(self) -> DevSet:
        return DevSet(self.features, self.gold, self.candidates)


def make_live_world(folder: Path, make) -> World:
    """Pictures of the random world; words of random letters: a mention is its entity's first word."""
    encoder = load_text_encoder(str(folder))
    world = make(n=10, text_dim=encoder.dim)
    rng = np.random.default_rng(7)
    words = ["".join(rng.choice(list("abcdefghijklmnop"), 4)) for _ in range(60)]
    mention, caption = [words[g] for g in world.gold], [f"{words[g]} and {words[g + 30]}" for g in world.gold]
    texts = Texts(mention, caption, [f"{words[i]}, {words[i + 30]}." for i in range(30)])
    mention, caption, entities = (encoder.encode_texts(part) for part in (texts.mention, texts.text, texts.entities))
    features = replace(world.features, mention=mention, text=caption, entities=entities)
    return World(TrainingTexts(encoder, texts, texts), features, world.gold, world.candidates)


def settings(folder: Path, **more) -> Preset:
    values = {"encoders": {"text": str(folder), "trainable": True}, "model": {"dim": 16, "heads": 4}}
    pace = {"batch_size": 4, "epochs": 4, "learning_rate": 1e-3, "encoder_learning_rate": 1e-3}
    preset = override(get_preset("paper"), {**values, "train": {**pace, "evaluate_every": 3, "checkpoint_every": 2}})
    return override(preset, more)


def fit(world: World, out: Path, preset: Preset, *, seed=0, **more):
    given = {"gold_rows": world.gold, "candidates": world.candidates, "dev": world.dev, "texts": world.texts, **more}
    return train(preset, world.features, out=out, seed=seed, **given)


@pytest.fixture
def encoder_folder(tiny_sentence_encoder) -> Path:
    return tiny_sentence_encoder


@pytest.fixture
def live(encoder_folder, make) -> World:
    return make_live_world(encoder_folder, make)


@pytest.fixture
def preset(encoder_folder) -> Preset:
    return settings(encoder_folder)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "encoder.safetensors")


def state(world: World) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in world.texts.encoder.module.state_dict().items()}


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class TestTheSource:
    def test_without_dropout_it_gives_what_the_frozen_encoder_gives(self, live):
        source = LiveSource(live.texts, live.features).eval()
        index = np.array([3, 0, 8])
        batch, cached = source.batch(index), make_batch(live.features, index)
        for name in ("mention", "text"):
            np.testing.assert_allclose(getattr(batch, name).detach(), getattr(cached, name), atol=1e-5)
        np.testing.assert_allclose(source.entities(index).detach(), live.features.entities[index], atol=1e-5)
        assert torch.equal(batch.objects.values, cached.objects.values)
        assert torch.equal(batch.faces.values, cached.faces.values)

    def test_dropout_follows_the_mode(self, live):
        source, index = LiveSource(live.texts, live.features).train(), np.arange(4)
        assert not torch.equal(source.batch(index).text, source.batch(index).text)
        still = source.encode(live.features, live.texts.train)
        np.testing.assert_allclose(still.text, live.features.text, atol=1e-5)
        assert source.training  # as before
        assert source.module.training
        source.eval()
        assert torch.equal(source.batch(index).text, source.batch(index).text)

    @pytest.mark.parametrize("kept", ["mention", "text", "entities"])
    def test_each_text_alone_reaches_the_first_layer(self, kept, live, preset):
        source, index = LiveSource(live.texts, live.features).train(), np.arange(6)
        model = DwePlus(preset.model, live.features.text_dim, live.features.image_dim)
        batch, entities = source.batch(index), source.entities(index)
        cut = {name: getattr(batch, name).detach() for name in {"mention", "text"} - {kept}}
        output, mapped = model(replace(batch, **cut), entities if kept == "entities" else entities.detach())
        (unit(output.g) * unit(mapped)).sum().backward()
        gradient = source.module.embeddings.word_embeddings.weight.grad
        assert gradient is not None
        assert gradient.abs().max() > 1e-6

    def test_half_precision_weights_are_trained_in_single_precision(self, live):
        live.texts.encoder.module.half()
        source = LiveSource(live.texts, live.features)
        assert {p.dtype for p in source.parameters()} == {torch.float32}
        assert {p.dtype for p in live.texts.encoder.module.parameters()} == {torch.float16}


class TestTraining:
    def test_the_encoder_learns_and_the_base_stays_as_it_was(self, live, encoder_folder, tmp_path):
        files = {path.name: path.read_bytes() for path in encoder_folder.iterdir() if path.is_file()}
        before = state(live)
        frozen_model = {"learning_rate": 1e-12, "encoder_learning_rate": 3e-3, "epochs": 12}
        result = fit(live, tmp_path, settings(encoder_folder, train=frozen_model, model={"dropout": 0.0}))
        totals = [line["total"] for line in result.history]
        assert np.mean(totals[-3:]) < 0.9 * np.mean(totals[:3])
        trained = weights(tmp_path)
        moved = {name for name in trained if not torch.equal(trained[name], before[name])}
        assert {n for n in trained if "pooler" not in n} <= moved | {n for n in trained if "key.bias" in n}
        assert same(state(live), before)
        assert files == {path.name: path.read_bytes() for path in encoder_folder.iterdir() if path.is_file()}

    def test_the_encoder_has_a_learning_rate_of_its_own(self, live, encoder_folder, tmp_path):
        fit(live, tmp_path, settings(encoder_folder, train={"encoder_learning_rate": 1e-12}))
        before = state(live)
        assert all(torch.allclose(tensor, before[name], atol=1e-9) for name, tensor in weights(tmp_path).items())

    def test_without_the_switch_texts_change_nothing(self, live, encoder_folder, tmp_path):
        frozen = settings(encoder_folder, encoders={"trainable": False})
        fit(live, tmp_path / "with", frozen)
        fit(live, tmp_path / "without", frozen, texts=None)
        for name in ("model.safetensors", "history.jsonl", "config.json"):
            assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()
        assert not (tmp_path / "with" / "encoder.safetensors").exists()

    def test_the_saved_encoder_gives_the_scores_that_were_measured(self, live, preset, encoder_folder, tmp_path):
        from transformers import AutoModel, AutoTokenizer

        result = fit(live, tmp_path, preset)
        plain, tokenizer = (
            AutoModel.from_pretrained(encoder_folder).eval(),
            AutoTokenizer.from_pretrained(encoder_folder),
        )
        plain.load_state_dict(weights(tmp_path))

        def encode(texts):
            inputs = [tokenizer(text, truncation=True, max_length=20, return_tensors="pt") for text in texts]
            with torch.no_grad():
                return unit(torch.stack([plain(**i).last_hidden_state[0].mean(0) for i in inputs])).numpy()

        strings = live.texts.train
        again = replace(
            live.features,
            mention=encode(strings.mention),
            text=encode(strings.text),
            entities=encode(strings.entities),
        )
        model, encoder = load_model(tmp_path).model, load_encoder(tmp_path, str(encoder_folder))
        own = replace(again, text=encoder.encode_texts(strings.text), entities=encoder.encode_texts(strings.entities))
        expected = score_candidates(model, again, live.candidates)
        for line, wanted in zip(score_candidates(model, own, live.candidates), expected, strict=True):
            np.testing.assert_allclose(line, wanted, atol=1e-5)
        assert dev_t1(model, live.dev._replace(features=again)) == result.best_t1

    def test_the_text_tower_of_a_clip_is_trained_and_its_picture_tower_is_not(self, tiny_clip, make, tmp_path):
        world = make_live_world(tiny_clip, make)
        before, pictures = state(world), world.texts.encoder._model.vision_model.state_dict()
        fit(world, tmp_path, settings(tiny_clip))
        trained = weights(tmp_path)
        assert trained.keys() == before.keys()
        assert {name.split(".")[0] for name in trained} == {"text_model", "text_projection"}
        assert not torch.equal(trained["text_projection.weight"], before["text_projection.weight"])
        loaded = load_encoder(tmp_path, str(tiny_clip))
        assert same(loaded._model.vision_model.state_dict(), pictures)
        assert same(dict(loaded.module.state_dict()), trained)

    @pytest.mark.parametrize("more", [{"precision": "bf16"}, {"clip_norm": 0.5}])
    def test_precision_and_clipping_hold_for_the_encoder_too(self, more, live, encoder_folder, tmp_path):
        result = fit(live, tmp_path, settings(encoder_folder, train=more))
        assert all(np.isfinite(line["total"]) for line in result.history)
        assert not same(weights(tmp_path), state(live))

    def test_without_dev_and_without_an_epoch_the_base_weights_are_kept(self, live, encoder_folder, tmp_path):
        texts = replace(live.texts, dev=None)
        fit(live, tmp_path, settings(encoder_folder, train={"epochs": 0}), dev=None, texts=texts)
        assert same(weights(tmp_path), state(live))


class Killed(Exception):
    pass


class TestGoingOn:
    @pytest.mark.parametrize("contrast", ["eq10", "msc"])
    @pytest.mark.parametrize("stop", [1, 7])
    def test_an_interrupted_run_goes_on_bit_by_bit(self, stop, contrast, live, encoder_folder, tmp_path, monkeypatch):
        preset = settings(encoder_folder, model={"contrast": contrast})
        fit(live, tmp_path / "whole", preset)
        original, count = module._Trainer._step, 0

        def step(self, index, factor):
            nonlocal count
            count += 1
            if count > stop:
                raise Killed
            return original(self, index, factor)

        monkeypatch.setattr(module._Trainer, "_step", step)
        with pytest.raises(Killed):
            fit(live, tmp_path / "cut", preset)
        monkeypatch.undo()
        fit(live, tmp_path / "cut", preset)
        for name in FILES:
            assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes(), name

    def test_a_run_goes_on_after_kill_9(self, encoder_folder, tmp_path):
        script = """
            import sys
            from pathlib import Path
            sys.path.insert(0, sys.argv[1])
            from conftest import make_world
            from test_live import fit, make_live_world, settings
            folder = Path(sys.argv[3])
            preset = settings(folder, train={"epochs": 30, "checkpoint_every": 4})
            told = lambda p: print(p.step, flush=True)
            fit(make_live_world(folder, make_world), Path(sys.argv[2]), preset, progress=told)
        """

        def start(out: Path) -> subprocess.Popen[str]:
            arguments = [str(Path(__file__).parent), str(out), str(encoder_folder)]
            command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

        whole, cut = tmp_path / "whole", tmp_path / "cut"
        undisturbed, running = start(whole), start(cut)
        assert running.stdout is not None
        for line in running.stdout:
            if int(line) >= 30:
                break
        running.send_signal(signal.SIGKILL)
        running.communicate()
        assert not (cut / "train.json").exists()
        for process in (start(cut), undisturbed):
            process.communicate(timeout=120)
            assert process.returncode == 0
        for name in FILES:
            assert (whole / name).read_bytes() == (cut / name).read_bytes(), name

    def test_a_finished_run_is_returned_unless_its_encoder_is_gone(self, live, preset, tmp_path):
        first = fit(live, tmp_path, preset)
        content = (tmp_path / "encoder.safetensors").read_bytes()
        assert fit(live, tmp_path, preset) == first
        (tmp_path / "encoder.safetensors").unlink()
        fit(live, tmp_path, preset)
        assert (tmp_path / "encoder.safetensors").read_bytes() == content

    def test_other_texts_are_another_run(self, live, preset, tmp_path):
        fit(live, tmp_path, preset)
        strings = replace(live.texts.train, text=["other", *live.texts.train.text[1:]])
        for texts in (replace(live.texts, train=strings), replace(live.texts, dev=strings)):
            with pytest.raises(UsageError, match="data"):
                fit(live, tmp_path, preset, texts=texts)


class TestLoading:
    @pytest.fixture
    def folder(self, live, preset, tmp_path) -> Path:
        fit(live, tmp_path / "run", preset)
        return tmp_path / "run"

    def test_every_training_has_a_fingerprint_of_its_own(self, live, preset, folder, tmp_path):
        name = preset.encoders.text
        fit(live, tmp_path / "other", preset, seed=1)
        prints = [load_encoder(f, name).fingerprint for f in (folder, folder, tmp_path / "other")]
        assert prints[0] == prints[1]
        assert len({*prints, live.texts.encoder.fingerprint}) == 3

    def test_missing_or_broken_weights_are_a_clear_error(self, folder, preset):
        path = folder / "encoder.safetensors"
        content = path.read_bytes()
        path.write_bytes(content[:-9])
        with pytest.raises(ModelError, match=r"encoder\.safetensors: broken checkpoint .* train again"):
            load_encoder(folder, preset.encoders.text)
        shutil.copy(folder / "model.safetensors", path)
        with pytest.raises((ModelError, CompatibilityError), match=r"encoder\.safetensors"):
            load_encoder(folder, preset.encoders.text)
        path.unlink()
        with pytest.raises(ModelError, match=r"encoder\.safetensors: no such file; train again"):
            load_encoder(folder, preset.encoders.text)

    def test_weights_of_another_shape_are_a_clear_error(self, folder, preset):
        from dualway.model import checkpoint

        path = folder / "encoder.safetensors"
        tensors, meta = checkpoint.read_tensors(path)
        checkpoint.write_tensors(path, dict(list(tensors.items())[1:]), meta)
        with pytest.raises(ModelError, match="missing from the checkpoint"):
            load_encoder(folder, preset.encoders.text)

    def test_another_base_encoder_is_refused(self, folder, encoder_folder, tmp_path):
        other = Path(shutil.copytree(encoder_folder, tmp_path / "encoder"))
        (other / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
        with pytest.raises(CompatibilityError, match="trained from another encoder"):
            load_encoder(folder, str(other))


class Letters:
    """Counts letters: an encoder with nothing to train."""

    dim, fingerprint = 16, "letters"

    def encode_texts(self, texts):
        return np.array([[t.count(chr(97 + i)) for i in range(16)] for t in texts], dtype=np.float32)


class TestWhatIsRefused:
    def test_no_texts(self, live, preset, tmp_path):
        with pytest.raises(UsageError, match=r"encoders\.trainable=true needs the texts"):
            fit(live, tmp_path, preset, texts=None)

    def test_an_encoder_without_weights(self, live, preset, tmp_path):
        with pytest.raises(ModelError, match=r"Letters has no torch module .* encoders\.trainable=false"):
            fit(live, tmp_path, preset, texts=replace(live.texts, encoder=Letters()))

    def test_texts_of_other_mentions_or_entities(self, live, preset, tmp_path):
        strings = live.texts.train
        for part in ("train", "dev"):
            for name in ("mention", "text", "entities"):
                fewer = replace(strings, **{name: getattr(strings, name)[1:]})
                with pytest.raises(DataError, match=rf"texts\.{part} has"):
                    fit(live, tmp_path, preset, texts=replace(live.texts, **{part: fewer}))
        with pytest.raises(DataError, match=r"texts\.dev has None"):
            fit(live, tmp_path, preset, texts=replace(live.texts, dev=None))

    def test_vectors_of_another_width(self, live, preset, tiny_clip, tmp_path):
        with pytest.raises(ModelError, match="16 wide, the encoder to be trained gives 12"):
            fit(live, tmp_path, preset, texts=replace(live.texts, encoder=load_text_encoder(str(tiny_clip))))

    def test_token_keys(self, preset):
        with pytest.raises(UsageError, match=r"model\.text_keys=pooled"):
            override(preset, {"model": {"text_keys": "tokens"}})


def test_gradients_and_plain_calls_share_one_way(encoder_folder, tiny_clip):
    texts = ["foster", "a", "", "foster and gibson, " * 9]
    for encoder in (SentenceEncoder(encoder_folder), load_text_encoder(str(tiny_clip))):
        live = encoder.encode_batch(texts)
        assert live.requires_grad
        assert np.array_equal(live.detach().numpy(), encoder.encode_texts(texts))
        assert encoder.encode_batch([]).shape == (0, encoder.dim)
