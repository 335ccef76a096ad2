"""Extraction with a tiny CLIP: each picture once, each text as its template says, a broken picture no disaster."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dualway.config import FeatureConfig, ModelConfig
from dualway.encoders.cache import CachedTextEncoder
from dualway.encoders.clip import ClipEncoder
from dualway.encoders.sentence import SentenceEncoder
from dualway.errors import ModelError
from dualway.features.extract import FeatureExtractor
from dualway.images import open_picture
from dualway.schema import Mention


class Counting:
    """A real encoder that keeps what it was asked."""

    def __init__(self, encoder):
        self.encoder = encoder
        self.dim, self.fingerprint = encoder.dim, encoder.fingerprint
        self.texts: list[str] = []
        self.pictures = 0

    def encode_texts(self, texts):
        self.texts.extend(texts)
        return self.encoder.encode_texts(texts)

    def encode_images(self, images):
        self.pictures += len(images)
        return self.encoder.encode_images(images)


@pytest.fixture(scope="module")
def clip(tiny_clip) -> ClipEncoder:
    return ClipEncoder(tiny_clip)


@pytest.fixture
def counting(clip) -> Counting:
    return Counting(clip)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two pictures, one of them under two names, and one that is none."""
    for i, name in enumerate(["one.png", "two.png"]):
        pixels = np.random.default_rng(i).integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "again.png").write_bytes((tmp_path / "one.png").read_bytes())
    (tmp_path / "broken.jpg").write_text("<html>")
    return tmp_path


def mentions(*images: str | None) -> list[Mention]:
    return [Mention(text=f"Foster {i} with Mel", surface="Foster", id=str(i), image=x) for i, x in enumerate(images)]


def extract(extractor: FeatureExtractor, given: list[Mention], folder: Path, **more):
    entities = np.ones((3, extractor.text.dim), dtype=np.float32)
    return extractor.extract(given, lambda m: folder / m.image if m.image else None, entities, **more)


class TestTexts:
    def test_mention_and_caption_are_encoded_as_the_templates_say(self, counting, tmp_path):
        config = FeatureConfig(mention_template="<{mention}>", text_template="{mention} [SEP] {text}")
        given = [Mention(text="{Foster} a", surface="{Foster}"), Mention(text="b %s", surface="b")]
        features, report = extract(FeatureExtractor(config, counting), given, tmp_path)
        texts = ["<{Foster}>", "<b>", "{Foster} [SEP] {Foster} a", "b [SEP] b %s"]
        assert counting.texts == texts
        np.testing.assert_allclose(
            np.concatenate([features.mention, features.text]), counting.encode_texts(texts), atol=1e-5
        )
        assert features.picture.tolist() == [-1, -1]
        assert (features.image, features.objects, features.faces, features.labels) == (None,) * 4
        assert (report.pictures, report.failures) == (0, {})

    @pytest.mark.parametrize("template", ["{text}", "{name}. {text}", "{name}"])
    def test_entities_are_encoded_as_the_template_says_and_without_text_by_their_name(
        self, template, counting, people_kb
    ):
        extractor = FeatureExtractor(FeatureConfig(entity_template=template), counting)
        vectors = extractor.entities(people_kb)
        texts = people_kb.texts()
        row = people_kb.row("Q11")
        assert texts[row] == ""
        assert counting.texts[row] == "Дмитрий Шостакович"
        assert counting.texts[0] == template.format(name="Jodie Foster", text=texts[0])
        assert vectors.shape == (len(people_kb), 12)
        assert np.abs(vectors).sum(1).all()
        np.testing.assert_allclose(extractor.entities(people_kb, np.array([row, 0])), vectors[[row, 0]], atol=1e-5)

    def test_no_mentions(self, counting, tmp_path):
        features, report = extract(FeatureExtractor(FeatureConfig(), counting, counting), [], tmp_path)
        assert len(features) == 0
        assert report.pictures == 0
        assert features.image is not None
        assert features.image.shape == (0, 12)

    def test_distinct_texts_are_encoded_once(self, counting, tmp_path):
        extractor = FeatureExtractor(FeatureConfig(), CachedTextEncoder(counting, tmp_path))
        given = [Mention(text="Foster and Foster", surface="Foster")] * 5
        extract(extractor, given, tmp_path)
        assert sorted(counting.texts) == ["Foster", "Foster and Foster"]

    def test_tokens_come_from_an_encoder_that_has_them(self, clip, tiny_sentence_encoder, tmp_path):
        model = ModelConfig(text_keys="tokens")
        encoder = SentenceEncoder(tiny_sentence_encoder)
        for text in (encoder, CachedTextEncoder(encoder, None)):
            features, _ = extract(FeatureExtractor(FeatureConfig(), text), mentions(None, None), tmp_path, model=model)
            assert features.text_tokens is not None
            counts = features.text_tokens.counts()
            values, mask = encoder.encode_tokens([m.text for m in mentions(None, None)])
            assert counts.tolist() == mask.sum(1).tolist()
            np.testing.assert_allclose(features.text_tokens.values, values[mask > 0], atol=1e-6)
        with pytest.raises(ModelError, match="needs an encoder with token vectors"):
            extract(FeatureExtractor(FeatureConfig(), clip), mentions(None), tmp_path, model=model)
        pooled, _ = extract(FeatureExtractor(FeatureConfig(), encoder), mentions(None), tmp_path, model=ModelConfig())
        assert pooled.text_tokens is None


class TestPictures:
    def test_a_picture_is_encoded_once_however_many_mentions_it_has(self, clip, counting, photos):
        extractor = FeatureExtractor(FeatureConfig(), clip, counting)
        given = mentions("one.png", "two.png", None, "one.png", "one.png", "two.png")
        features, report = extract(extractor, given, photos)
        assert counting.pictures == report.pictures == 2
        assert features.picture.tolist() == [0, 1, -1, 0, 0, 1]
        expected = clip.encode_images([open_picture(photos / name) for name in ("one.png", "two.png")])
        np.testing.assert_allclose(features.image, expected, atol=1e-5)

    def test_a_picture_without_objects_is_its_own_one_object(self, clip, photos):
        features, report = extract(
            FeatureExtractor(FeatureConfig(), clip, clip), mentions("one.png", "two.png"), photos
        )
        assert features.objects is not None
        assert features.objects.counts().tolist() == [1, 1]
        np.testing.assert_array_equal(features.objects.values, features.image)
        assert [[r.box for r in regions] for regions in report.regions] == [[(0, 0, 50, 40)]] * 2
        assert features.faces is features.labels is None  # nothing is invented

    def test_a_picture_that_is_known_is_not_decoded_again(self, clip, counting, photos, tmp_path):
        given = mentions("one.png", "two.png", "again.png")
        extractor = FeatureExtractor(FeatureConfig(), clip, counting, cache_folder=tmp_path / "cache")
        first, _ = extract(extractor, given, photos)
        assert counting.pictures == 2  # one.png and again.png have one content
        again = FeatureExtractor(FeatureConfig(), clip, counting, cache_folder=tmp_path / "cache")
        second, report = extract(again, given, photos)
        assert counting.pictures == 2
        assert report.pictures == 3
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.image[0], first.image[2])

    def test_a_changed_picture_is_encoded_anew(self, clip, counting, photos, tmp_path):
        extractor = FeatureExtractor(FeatureConfig(), clip, counting, cache_folder=tmp_path / "cache")
        before, _ = extract(extractor, mentions("one.png"), photos)
        (photos / "one.png").write_bytes((photos / "two.png").read_bytes())
        after, _ = extract(extractor, mentions("one.png"), photos)
        assert counting.pictures == 2
        assert not np.allclose(before.image, after.image)

    def test_a_broken_picture_is_counted_and_its_mention_keeps_its_text(self, clip, photos):
        names = ["one.png", "broken.jpg", "missing.jpg", "two.png", "broken.jpg", "a\ud800.jpg", "a\x00.jpg"]
        given = mentions(*names)
        features, report = extract(FeatureExtractor(FeatureConfig(), clip, clip), given, photos)
        assert len(features) == len(given)
        assert features.picture.tolist() == [0, -1, -1, 1, -1, -1, -1]
        assert report.pictures == 2
        assert {Path(path).name for path in report.failures} == set(names) - {"one.png", "two.png"}
        assert report.failures[str(photos / "missing.jpg")] == "no such picture"
        assert "not a picture" in report.failures[str(photos / "broken.jpg")]
        alone, _ = extract(FeatureExtractor(FeatureConfig(), clip), given, photos)
        np.testing.assert_array_equal(features.mention, alone.mention)
        np.testing.assert_array_equal(features.text, alone.text)

    def test_pictures_that_are_all_broken_leave_texts(self, clip, photos):
        features, report = extract(FeatureExtractor(FeatureConfig(), clip, clip), mentions("broken.jpg"), photos)
        assert features.picture.tolist() == [-1]
        assert features.image is not None
        assert features.image.shape == (0, 12)
        assert features.objects is not None
        assert features.objects.counts().tolist() == []
        assert len(report.failures) == 1

    def test_without_a_picture_encoder_no_picture_is_read(self, clip, photos):
        features, report = extract(FeatureExtractor(FeatureConfig(), clip), mentions("missing.jpg"), photos)
        assert features.picture.tolist() == [-1]
        assert report.failures == {}

    def test_many_pictures(self, clip, counting, photos):
        for i in range(70):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(photos / f"{i}.png")
        given = mentions(*(f"{i}.png" for i in range(70)))
        features, report = extract(FeatureExtractor(FeatureConfig(), clip, counting), given, photos)
        assert report.pictures == counting.pictures == 70
        expected = clip.encode_images([open_picture(photos / f"{i}.png") for i in (0, 40, 69)])
        np.testing.assert_allclose(features.image[[0, 40, 69]], expected, atol=1e-5)


def test_a_mentions_features_do_not_depend_on_the_other_mentions(clip, photos):
    extractor = FeatureExtractor(FeatureConfig(text_template="{mention} {text}"), clip, clip)
    given = mentions("one.png", None, "two.png", "broken.jpg", "two.png")
    together, _ = extract(extractor, given, photos)
    for i, mention in enumerate(given):
        alone, _ = extract(extractor, [mention], photos)
        np.testing.assert_allclose(alone.mention[0], together.mention[i], atol=1e-5)
        np.testing.assert_allclose(alone.text[0], together.text[i], atol=1e-5)
        assert (alone.picture[0] < 0) == (together.picture[i] < 0)
        if alone.picture[0] >= 0:
            np.testing.assert_allclose(alone.image[alone.picture[0]], together.image[together.picture[i]], atol=1e-5)


def test_id_type_and_name_of_the_picture_never_enter_the_features(clip, photos):
    """Richpedia's pictures and ids are named after the gold entity."""
    extractor = FeatureExtractor(FeatureConfig(), clip, clip)
    bare = mentions("one.png")[0]
    telling = dataclasses.replace(bare, id="Q41351", image="again.png", type="Q41351", source="Q41351")
    one, _ = extract(extractor, [bare], photos)
    other, _ = extract(extractor, [telling], photos)
    for part in ("mention", "text", "image"):
        np.testing.assert_array_equal(getattr(one, part), getattr(other, part))
