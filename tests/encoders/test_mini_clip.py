"""The mini CLIP that the package ships: small, whole, and able to tell drawn people apart that it has never seen."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest
from experiments.mini_clip import TRAIN_SEED, Corpus

from dualway import encoders
from dualway.encoders import MINI_CLIP, load_image_encoder, load_text_encoder
from dualway.encoders.clip import ClipEncoder
from dualway.errors import ModelError
from dualway.world.build import World, WorldConfig
from dualway.world.drawing import draw_scene
from dualway.world.looks import describe_properties


@pytest.fixture(scope="module")
def encoder() -> ClipEncoder:
    return load_image_encoder("mini-clip")


def test_it_is_small_and_complete():
    names = {path.name for path in MINI_CLIP.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json", "README.md"} <= names
    assert sum(path.stat().st_size for path in MINI_CLIP.iterdir()) < 6 * 2**20


def test_texts_and_pictures_share_a_space(encoder):
    text = load_text_encoder("mini-clip")
    assert text.fingerprint == encoder.fingerprint
    assert text.encode_texts(["a red coat"]).shape == (1, encoder.dim)


@pytest.mark.parametrize("load", [load_image_encoder, load_text_encoder])
def test_other_weights_are_refused(tmp_path, monkeypatch, load):
    copy = tmp_path / "mini_clip"
    shutil.copytree(MINI_CLIP, copy)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    monkeypatch.setattr(encoders, "MINI_CLIP", copy)
    with pytest.raises(ModelError, match="sha256"):
        load("mini-clip")


def test_it_is_trained_on_looks_that_no_world_has():
    corpus = Corpus(TRAIN_SEED, 30, for_worlds=False)
    looks = {look for _, _, shown in corpus.described for look in shown}
    assert len(looks) > 40
    assert not any(look.for_worlds for look in looks)


def test_it_finds_drawn_people_by_their_texts(encoder):
    """Of a seed that neither its training nor a world of ours uses; chance would be 1 in 60."""
    world = World.make(WorldConfig(seed=77, captions=(0, 0, 30)))
    crops, texts = [], []
    for scene in world.scenes["test"]:
        drawn = draw_scene(scene, 77)
        for figure, place in zip(scene.figures, drawn.figures, strict=True):
            crops.append(drawn.picture.crop(tuple(int(edge) for edge in place.box)))
            texts.append(describe_properties(figure.look, scene.place))
    chosen = random.Random(0).sample(range(len(crops)), 60)
    images = encoder.encode_images([crops[i] for i in chosen])
    described = encoder.encode_texts([texts[i] for i in chosen])
    images, described = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (images, described))
    hits = (described @ images.T).argmax(axis=1) == np.arange(60)
    assert hits.mean() > 0.7


def test_names_and_facts_around_a_description_matter_little(encoder):
    world = World.make(WorldConfig(seed=77, captions=(0, 0, 0)))
    people = world.people[:40]
    plain = encoder.encode_texts([describe_properties(person.look, person.place) for person in people])
    whole = encoder.encode_texts([f"{p.name}. {p.entity().representations[0].text}" for p in people])
    plain, whole = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (plain, whole))
    assert ((whole @ plain.T).argmax(axis=1) == np.arange(40)).mean() > 0.9
