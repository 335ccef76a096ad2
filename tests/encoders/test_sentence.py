"""Sentence encoders: vectors are those of a plain loop, in any company; a damaged directory is a clear error."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from dualway import encoders
from dualway.encoders import find_model, load_image_encoder, load_text_encoder
from dualway.encoders.sentence import SentenceEncoder, length_batches
from dualway.encoders.weights import check_sha256, fingerprint_folder
from dualway.errors import ModelError
from dualway.protocols import TextEncoder

TEXTS = [
    "Foster with co-star Mel Gibson",
    "a",
    "",
    " ",
    "João Silva, fotógrafo 東京 محمد",
    "word " * 400,
    "x" * 5000,
    "Foster with co-star Mel Gibson",
    "é" * 30,
]


def slow_vectors(
    folder: Path, texts: list[str], *, cls: bool = False, normalise: bool = True, limit: int
) -> np.ndarray:
    """One text at a time, straight through transformers."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    vectors = []
    for text in texts:
        inputs = tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
        with torch.no_grad():
            states = model(**inputs).last_hidden_state[0]
        vector = states[0] if cls else states.mean(0)
        vectors.append((vector / vector.norm() if normalise else vector).numpy())
    return np.stack(vectors)


@pytest.fixture
def copy(tiny_sentence_encoder, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_sentence_encoder, tmp_path / "model"))


@pytest.fixture(scope="module")
def tiny(tiny_sentence_encoder) -> SentenceEncoder:
    return SentenceEncoder(tiny_sentence_encoder)


class TestVectors:
    def test_they_equal_a_plain_loop(self, tiny, tiny_sentence_encoder):
        vectors = tiny.encode_texts(TEXTS)
        assert (vectors.dtype, vectors.shape, tiny.dim, tiny.max_tokens) == (np.float32, (len(TEXTS), 16), 16, 20)
        np.testing.assert_allclose(vectors, slow_vectors(tiny_sentence_encoder, TEXTS, limit=20), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)

    def test_the_first_token_without_normalisation(self, copy):
        (copy / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
        modules = json.loads((copy / "modules.json").read_text())
        (copy / "modules.json").write_text(json.dumps(modules[:2]))
        expected = slow_vectors(copy, TEXTS, cls=True, normalise=False, limit=20)
        np.testing.assert_allclose(SentenceEncoder(copy).encode_texts(TEXTS), expected, atol=1e-5)

    def test_the_newer_way_to_name_the_pooling(self, copy):
        (copy / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
        expected = slow_vectors(copy, TEXTS, cls=True, limit=20)
        np.testing.assert_allclose(SentenceEncoder(copy).encode_texts(TEXTS), expected, atol=1e-5)

    def test_a_bare_transformer_is_pooled_by_the_mean_and_cut_at_its_positions(self, copy):
        for name in ("modules.json", "sentence_bert_config.json"):
            (copy / name).unlink()
        encoder = SentenceEncoder(copy)
        assert encoder.max_tokens == 48
        expected = slow_vectors(copy, TEXTS, normalise=False, limit=48)
        np.testing.assert_allclose(encoder.encode_texts(TEXTS), expected, atol=1e-5)

    def test_a_tokenizer_that_knows_of_fewer_positions_is_heard(self, copy):
        """RoBERTa's configuration says 514 positions, of which two are its own."""
        (copy / "sentence_bert_config.json").unlink()
        settings = json.loads((copy / "tokenizer_config.json").read_text())
        (copy / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 46}))
        assert SentenceEncoder(copy).max_tokens == 46

    def test_a_vector_does_not_depend_on_the_company(self, tiny):
        together = tiny.encode_texts(TEXTS)
        alone = np.concatenate([tiny.encode_texts([text]) for text in TEXTS])
        backwards = tiny.encode_texts(TEXTS[::-1])[::-1]
        np.testing.assert_allclose(together, alone, atol=1e-5)
        np.testing.assert_allclose(together, backwards, atol=1e-5)

    def test_no_text_no_vector(self, tiny):
        assert tiny.encode_texts([]).shape == (0, 16)
        values, mask = tiny.encode_tokens([])
        assert values.shape == (0, 0, 16)
        assert mask.shape == (0, 0)

    def test_lone_surrogates_and_nul_are_encoded_like_what_replaces_them(self, tiny):
        vectors = tiny.encode_texts(["a\ud800b", "a\ufffdb", "a\x00b"])
        np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
        assert np.isfinite(vectors).all()

    def test_a_megabyte_is_cut_before_it_is_read(self, tiny):
        start = time.perf_counter()
        assert np.isfinite(tiny.encode_texts(["word " * 200_000, "漢" * 10**6])).all()
        assert time.perf_counter() - start < 10

    def test_tokens_are_the_states_behind_the_pooled_vector(self, tiny):
        values, mask = tiny.encode_tokens(TEXTS)
        assert values.shape[:2] == mask.shape
        assert set(np.unique(mask)) <= {0.0, 1.0}
        assert (values[mask == 0] == 0).all()
        pooled = values.sum(1) / mask.sum(1, keepdims=True)
        pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
        np.testing.assert_allclose(pooled, tiny.encode_texts(TEXTS), atol=1e-5)

    def test_it_is_a_text_encoder(self, tiny):
        assert isinstance(tiny, TextEncoder)


def test_batches_hold_every_position_once_within_the_budget():
    lengths = [5, 1, 300, 7, 7, 1, 90, 2]
    batches = length_batches(lengths, 100)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 100 for batch in batches)
    assert length_batches([], 100) == []


class TestFingerprint:
    def test_it_is_that_of_the_content_and_not_of_the_place(self, tiny, copy):
        assert SentenceEncoder(copy).fingerprint == tiny.fingerprint

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("model.safetensors", lambda content: content[:-1] + bytes([content[-1] ^ 1])),
            ("tokenizer.json", lambda content: content + b" "),
            ("config.json", lambda content: content + b" "),
            ("1_Pooling/config.json", lambda content: b'{"pooling_mode_cls_token": true}'),
            ("sentence_bert_config.json", lambda content: b'{"max_seq_length": 19}'),
        ],
    )
    def test_it_changes_with_every_file_that_decides(self, name, change, tiny, copy):
        (copy / name).write_bytes(change((copy / name).read_bytes()))
        assert SentenceEncoder(copy).fingerprint != tiny.fingerprint

    def test_it_changes_with_settings_and_names_but_not_with_a_readme(self, tmp_path):
        (tmp_path / "config.json").write_text("{}")
        before = fingerprint_folder(tmp_path, "a", 1)
        assert fingerprint_folder(tmp_path, "a", 2) != before
        (tmp_path / "README.md").write_text("words")
        assert fingerprint_folder(tmp_path, "a", 1) == before
        (tmp_path / "config.json").rename(tmp_path / "other.json")
        assert fingerprint_folder(tmp_path, "a", 1) != before


class TestWhatIsRefused:
    def test_pickled_weights(self, copy):
        """A pickle can run code when it is read, so a directory with nothing else is refused unread."""
        import torch

        (copy / "model.safetensors").unlink()
        marker = copy / "was_run"

        class Trap:
            def __reduce__(self):
                return (Path.touch, (marker,))

        torch.save({"weights": Trap()}, copy / "pytorch_model.bin")
        with pytest.raises(ModelError, match=r"model: cannot be loaded as AutoModel: .*safetensors"):
            SentenceEncoder(copy)
        assert not marker.exists()

    def test_honest_weights_as_a_pickle(self, copy):
        import torch
        from safetensors.torch import load_file

        torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
        (copy / "model.safetensors").unlink()
        with pytest.raises(ModelError, match="cannot be loaded as AutoModel"):
            SentenceEncoder(copy)

    def test_code_in_the_directory(self, copy):
        config = json.loads((copy / "config.json").read_text())
        config |= {"model_type": "mine", "auto_map": {"AutoModel": "code.Mine", "AutoConfig": "code.Config"}}
        (copy / "config.json").write_text(json.dumps(config))
        (copy / "code.py").write_text("raise SystemExit('was run')")
        with pytest.raises(ModelError, match="model: cannot be loaded"):
            load_text_encoder(str(copy))

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("config.json", "{", "line 1: broken JSON.*restore"),
            ("config.json", "[]", "cannot be loaded"),
            ("model.safetensors", "x", "cannot be loaded as AutoModel"),
            ("model.safetensors", "", "cannot be loaded as AutoModel"),
            ("tokenizer.json", "{", "cannot be loaded"),
            ("modules.json", "{", "damaged layout.*broken JSON"),
            ("modules.json", "5", "damaged layout"),
            ("modules.json", "[5]", "damaged layout"),
            ("modules.json", '[{"type": "x.Dense"}]', "module Dense of this sentence encoder is not supported"),
            ("1_Pooling/config.json", "[]", "damaged layout"),
            ("1_Pooling/config.json", '{"pooling_mode_max_tokens": true}', "pooling pooling_mode_max_tokens is not"),
            ("sentence_bert_config.json", "5", "damaged layout"),
            ("sentence_bert_config.json", '{"max_seq_length": "many"}', "damaged layout"),
        ],
    )
    def test_a_damaged_directory(self, name, content, message, copy):
        (copy / name).write_text(content)
        with pytest.raises(ModelError, match=rf"model.*{message}"):
            load_text_encoder(str(copy))

    def test_a_tokenizer_without_its_words(self, copy):
        """transformers makes one of a handful of words when the file is missing, and every text looks the same."""
        (copy / "tokenizer.json").unlink()
        with pytest.raises(
            ModelError, match=r"model: (cannot be loaded as AutoTokenizer|its tokenizer knows \d+ words)"
        ):
            load_text_encoder(str(copy))

    def test_a_missing_part(self, copy):
        shutil.rmtree(copy / "1_Pooling")
        with pytest.raises(ModelError, match="no such file"):
            load_text_encoder(str(copy))

    def test_a_wrong_hash(self, copy):
        with pytest.raises(ModelError, match=r"model\.safetensors: sha256 .* is not 000000000000\.\.; reinstall"):
            SentenceEncoder(copy, sha256="0" * 64)
        with pytest.raises(ModelError, match=r"nothing: cannot be read .*reinstall"):
            check_sha256(copy / "nothing", "0" * 64)

    def test_a_place_without_a_model(self, tmp_path):
        for name, message in [
            (str(tmp_path), r"no config\.json in it; give the directory of a transformers model"),
            (str(tmp_path / "nowhere"), "no such directory, and not a hub name"),
            ("nowhere", "no such directory, and not a hub name"),
            ("./a/b", "no such directory"),
            ("~nobody-of-this-name/model/x", "no such directory"),
            ("~nobody-of-this-name/model", "no such directory"),
        ]:
            with pytest.raises(ModelError, match=message):
                find_model(name)

    def test_a_sentence_encoder_for_pictures(self, copy):
        with pytest.raises(ModelError, match=r"not a CLIP model .*'bert'.*choose a CLIP one"):
            load_image_encoder(str(copy))

    def test_a_hub_name_offline_is_told_at_once(self):
        code = (
            "from dualway.encoders import load_text_encoder\n"
            "from dualway.errors import ModelError\n"
            "try: load_text_encoder('nobody-of-this-name/no-such-model')\n"
            "except ModelError as error: print(error)"
        )
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=120,
            env={"PATH": "", "HF_HUB_OFFLINE": "1", "HF_HOME": "/nonexistent"},
        )
        assert "nobody-of-this-name/no-such-model: not in the local cache" in done.stdout, done.stderr
        assert "give its directory" in done.stdout
        assert time.perf_counter() - start < 60

    def test_minilm_that_is_not_installed(self, monkeypatch):
        monkeypatch.setattr(encoders, "MINILM_PACKAGE", "no_such_package")
        with pytest.raises(ModelError, match="pip install"):
            load_text_encoder("minilm")


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    if importlib.util.find_spec(encoders.MINILM_PACKAGE) is None:
        pytest.skip(f"{encoders.MINILM_PACKAGE} is not installed")
    encoder = load_text_encoder("minilm")
    assert isinstance(encoder, SentenceEncoder)
    return encoder


@pytest.mark.realmodel
class TestMiniLM:
    def test_vectors_equal_a_plain_loop(self, minilm):
        vectors = minilm.encode_texts(TEXTS)
        assert (minilm.dim, minilm.max_tokens, vectors.dtype) == (384, 256, np.float32)
        np.testing.assert_allclose(vectors, slow_vectors(minilm.folder, TEXTS, limit=256), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)

    def test_vectors_equal_those_of_sentence_transformers(self, minilm):
        if importlib.util.find_spec("sentence_transformers") is None:
            pytest.skip("sentence-transformers is not installed; the plain loop above stands for it")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from sentence_transformers import SentenceTransformer

            expected = SentenceTransformer(str(minilm.folder), device="cpu").encode(TEXTS)
        np.testing.assert_allclose(minilm.encode_texts(TEXTS), expected, atol=1e-5)

    def test_a_vector_does_not_depend_on_the_company(self, minilm):
        np.testing.assert_allclose(
            minilm.encode_texts(TEXTS), np.concatenate([minilm.encode_texts([text]) for text in TEXTS]), atol=1e-5
        )

    def test_meaning_is_nearer_than_words(self, minilm):
        a, b, c = minilm.encode_texts(["an actress and director", "a film star", "a river in Siberia"])
        assert a @ b > a @ c + 0.1

    def test_a_changed_weight_is_noticed(self, minilm, tmp_path):
        copy = Path(shutil.copytree(minilm.folder, tmp_path / "model"))
        with (copy / "model.safetensors").open("rb+") as file:
            file.seek(-1, 2)
            file.write(b"\x55")
        with pytest.raises(ModelError, match="sha256"):
            SentenceEncoder(copy, sha256=encoders.MINILM_SHA256)
