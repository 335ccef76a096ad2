"""Text encoders side by side."""

from __future__ import annotations

import numpy as np
import pytest

from dualway.encoders import load_text_encoder
from dualway.errors import ModelError


def test_each_part_is_there_with_length_one(tiny_clip, tiny_sentence_encoder):
    joined = load_text_encoder(f"{tiny_sentence_encoder}+{tiny_clip}")
    texts = ["a red coat", "another"]
    vectors = joined.encode_texts(texts)
    first, second = (load_text_encoder(str(folder)) for folder in (tiny_sentence_encoder, tiny_clip))
    assert vectors.shape == (2, first.dim + second.dim) == (2, joined.dim)
    for part, encoder in ((vectors[:, : first.dim], first), (vectors[:, first.dim :], second)):
        alone = encoder.encode_texts(texts)
        assert np.allclose(part, alone / np.linalg.norm(alone, axis=1, keepdims=True), atol=1e-6)


def test_the_fingerprint_is_made_of_both_and_their_order(tiny_clip, tiny_sentence_encoder):
    one = load_text_encoder(f"{tiny_clip}+{tiny_sentence_encoder}")
    other = load_text_encoder(f"{tiny_sentence_encoder} + {tiny_clip}")
    assert one.fingerprint != other.fingerprint
    assert set(one.fingerprint.split("+")) == set(other.fingerprint.split("+"))


def test_a_folder_with_a_plus_in_its_name_is_one_encoder(tiny_clip, tmp_path):
    folder = tmp_path / "a+b"
    folder.symlink_to(tiny_clip, target_is_directory=True)
    assert load_text_encoder(str(folder)).fingerprint == load_text_encoder(str(tiny_clip)).fingerprint


def test_an_unknown_part_is_named(tiny_clip):
    with pytest.raises(ModelError, match="nonsense"):
        load_text_encoder(f"{tiny_clip}+nonsense")


def test_no_text_gives_no_vector(tiny_clip):
    assert load_text_encoder(f"{tiny_clip}+{tiny_clip}").encode_texts([]).shape == (0, 24)
