"""CLIP and SigLIP by directory, on tiny random models: texts and pictures equal a plain loop."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dualway.encoders import load_image_encoder, load_text_encoder
from dualway.encoders.clip import ClipEncoder
from dualway.errors import ModelError
from dualway.protocols import ImageEncoder, TextEncoder

TEXTS = ["Foster with Mel", "f", "", "é 東京", "a long caption " * 50, "Foster with Mel", "x" * 100_000]


def pictures() -> list[Image.Image]:
    chance = np.random.default_rng(0)
    sizes = [(32, 32), (64, 20), (1, 1), (50, 90), (33, 32)]
    return [Image.fromarray(chance.integers(0, 255, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


def pooled(output):
    return getattr(output, "pooler_output", output)[0].numpy()


def slow_texts(folder: Path, texts: list[str], **padding) -> np.ndarray:
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    vectors = []
    for text in texts:
        inputs = tokenizer([text], truncation=True, max_length=24, return_tensors="pt", **padding)
        if padding:
            del inputs["attention_mask"]
        with torch.no_grad():
            vectors.append(pooled(model.get_text_features(**inputs)))
    return np.stack(vectors)


def slow_pictures(folder: Path, images) -> np.ndarray:
    import torch
    from transformers import AutoImageProcessor, AutoModel

    model, processor = AutoModel.from_pretrained(folder).eval(), AutoImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        return np.stack(
            [pooled(model.get_image_features(**processor(images=[i], return_tensors="pt"))) for i in images]
        )


@pytest.fixture(scope="module")
def clip(tiny_clip) -> ClipEncoder:
    return ClipEncoder(tiny_clip)


class TestClip:
    def test_texts_equal_a_plain_loop(self, clip, tiny_clip):
        vectors = clip.encode_texts(TEXTS)
        assert (vectors.shape, vectors.dtype, clip.dim, clip.max_tokens) == ((len(TEXTS), 12), np.float32, 12, 24)
        np.testing.assert_allclose(vectors, slow_texts(tiny_clip, TEXTS), atol=1e-5)
        assert np.ptp(np.linalg.norm(vectors, axis=1)) > 1e-3  # as the public code: not normalised

    def test_pictures_equal_a_plain_loop(self, clip, tiny_clip):
        vectors = clip.encode_images(pictures())
        assert (vectors.shape, vectors.dtype) == ((5, 12), np.float32)
        np.testing.assert_allclose(vectors, slow_pictures(tiny_clip, pictures()), atol=1e-5)

    def test_a_vector_does_not_depend_on_the_company(self, clip):
        alone = np.concatenate([clip.encode_texts([text]) for text in TEXTS])
        np.testing.assert_allclose(clip.encode_texts(TEXTS[::-1])[::-1], alone, atol=1e-5)
        images = pictures() * 8  # more than one batch
        alone = np.concatenate([clip.encode_images([image]) for image in pictures()] * 8)
        np.testing.assert_allclose(clip.encode_images(images), alone, atol=1e-5)

    def test_texts_are_cut_at_the_models_length(self, clip):
        vectors = clip.encode_texts(["abc " * 30, "abc " * 30 + "and something else"])
        np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)

    def test_texts_differ(self, clip):
        assert len(np.unique(clip.encode_texts(["a", "b", "ab", "a b"]).round(5), axis=0)) == 4

    def test_nothing_in_nothing_out(self, clip):
        assert clip.encode_texts([]).shape == clip.encode_images([]).shape == (0, 12)

    def test_lone_surrogates_are_harmless(self, clip):
        vectors = clip.encode_texts(["a\ud800", "a\ufffd"])
        np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)

    def test_it_is_loaded_for_texts_and_pictures_by_its_directory(self, tiny_clip, clip):
        text, image = load_text_encoder(str(tiny_clip)), load_image_encoder(str(tiny_clip))
        assert isinstance(text, TextEncoder)
        assert isinstance(image, ImageEncoder)
        assert text.fingerprint == image.fingerprint == clip.fingerprint

    def test_another_model_has_another_fingerprint(self, clip, make_tiny_clip, tmp_path):
        other = ClipEncoder(make_tiny_clip(tmp_path / "other", seed=1))
        assert other.fingerprint != clip.fingerprint
        assert not np.allclose(other.encode_texts(["a"]), clip.encode_texts(["a"]))

    @pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json", "preprocessor_config.json"])
    def test_a_directory_without_one_of_its_parts_is_refused(self, missing, tiny_clip, tmp_path):
        copy = Path(shutil.copytree(tiny_clip, tmp_path / "model"))
        (copy / missing).unlink()
        with pytest.raises(ModelError, match=r"model: (cannot be loaded as Auto|its tokenizer knows)"):
            ClipEncoder(copy)

    def test_pickled_weights_are_refused(self, tiny_clip, tmp_path):
        import torch
        from safetensors.torch import load_file

        copy = Path(shutil.copytree(tiny_clip, tmp_path / "model"))
        torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
        (copy / "model.safetensors").unlink()
        with pytest.raises(ModelError, match=r"model: cannot be loaded as AutoModel"):
            ClipEncoder(copy)


@pytest.fixture(scope="module")
def siglip(make_tiny_clip, tmp_path_factory) -> Path:
    return make_tiny_clip(tmp_path_factory.mktemp("siglip"), siglip=True)


class TestSiglip:
    def test_texts_are_padded_to_the_full_length_as_in_its_training(self, siglip):
        encoder = ClipEncoder(siglip)
        expected = slow_texts(siglip, TEXTS, padding="max_length")
        np.testing.assert_allclose(encoder.encode_texts(TEXTS), expected, atol=1e-5)
        assert encoder.dim == 16

    def test_pictures_equal_a_plain_loop(self, siglip):
        np.testing.assert_allclose(
            load_image_encoder(str(siglip)).encode_images(pictures()), slow_pictures(siglip, pictures()), atol=1e-5
        )
