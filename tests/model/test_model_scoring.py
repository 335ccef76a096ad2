from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dualway.config import ModelConfig
from dualway.errors import ModelError, ScoreError
from dualway.features.batching import make_batch
from dualway.model.dwe_plus import DwePlus
from dualway.model.scoring import Scorer, score_candidates

SMALL = ModelConfig(dim=16, heads=4)


@pytest.fixture
def model():
    return DwePlus(SMALL, 12, 10)


def test_scores_are_the_cosines_of_the_model_in_eval_mode(model, world):
    scores = score_candidates(model, world.features, world.candidates)
    model.eval()
    with torch.no_grad():
        g = model.encode_mentions(make_batch(world.features, np.arange(10))).g
        entities = model.encode_entities(torch.from_numpy(world.features.entities))
    for i, row in enumerate(scores):
        rows = world.candidates.rows[i][world.candidates.rows[i] >= 0]
        expected = torch.nn.functional.cosine_similarity(g[i], entities[rows])
        assert row.dtype == np.float32
        np.testing.assert_allclose(row, expected.numpy(), atol=1e-6)


def test_scoring_leaves_the_model_as_it_was(model, world):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    score_candidates(model, world.features, None)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, mask_padding=False), replace(SMALL, text_keys="tokens")])
def test_scores_are_the_same_bits_in_any_company_chunk_and_order(config, make):
    world = make(n=40, num_entities=90)
    model = DwePlus(config, 12, 10)
    together = Scorer(model, world.features.entities).score(world.features, world.candidates)
    everything = Scorer(model, world.features.entities).score(world.features, None)
    scorer = Scorer(model, world.features.entities, batch_size=3)
    order = np.random.default_rng(0).permutation(40)
    shuffled = scorer.score(world.features.take(order), world.candidates.take(order))
    for place, i in enumerate(order):
        np.testing.assert_array_equal(shuffled[place], together[i])
        one = np.array([i])
        alone = scorer.score(world.features.take(one), world.candidates.take(one))[0]
        np.testing.assert_array_equal(alone, together[i])
        rows = world.candidates.rows[i]
        np.testing.assert_array_equal(everything[i][rows[rows >= 0]], together[i])


def test_blocks_of_entities_change_nothing(model, make, monkeypatch):
    world = make(n=6, num_entities=100)
    whole = score_candidates(model, world.features, None)
    monkeypatch.setattr("dualway.model.scoring.ENTITY_BLOCK", 7)
    for a, b in zip(whole, score_candidates(model, world.features, None)):
        np.testing.assert_array_equal(a, b)


def test_an_empty_list_has_no_scores(model, world):
    rows = world.candidates.rows.copy()
    rows[2] = -1
    scores = score_candidates(model, world.features, world.candidates._replace(rows=rows))
    assert [len(s) for s in scores] == (rows >= 0).sum(axis=1).tolist()


def test_attention_is_cut_to_the_objects_of_each_picture(model, world):
    vectors = Scorer(model, world.features.entities).encode(world.features)
    np.testing.assert_allclose(np.linalg.norm(vectors.g, axis=1), 1, atol=1e-6)
    for picture, attention in zip(world.features.picture, vectors.attention):
        count = 0 if picture < 0 else int(world.features.objects.counts()[picture])
        assert attention.shape == (count,)
        if count:
            assert attention.sum() == pytest.approx(1, abs=1e-6)


def test_a_vector_without_direction_is_an_error_that_names_it(model, world):
    mention = world.features.mention.copy()
    mention[4] = np.nan
    broken = replace(world.features, mention=mention)
    with pytest.raises(ScoreError, match="mention 4"):
        score_candidates(model, broken, world.candidates)
    with pytest.raises(ScoreError, match="mention 'x4'"):
        Scorer(model, world.features.entities).encode(broken, [f"x{i}" for i in range(10)])
    entities = world.features.entities.copy()
    entities[7] = np.inf
    with pytest.raises(ScoreError, match="entity row 7"):
        score_candidates(model, replace(world.features, entities=entities), world.candidates)
    with torch.no_grad():
        model.gate_map.weight.zero_()
        model.gate_map.bias.zero_()
    with pytest.raises(ScoreError, match="mention 0: its vector is zero"):
        score_candidates(model, world.features, world.candidates)


def test_features_of_other_widths_are_refused(model, make):
    with pytest.raises(ModelError, match="entities are 9 wide"):
        Scorer(model, make(text_dim=9).features.entities)
    world = make()
    with pytest.raises(ModelError, match=r"\(12, 8\)"):
        Scorer(model, world.features.entities).encode(make(image_dim=8).features)
    bare = replace(world.features, objects=None, image=None, faces=None, labels=None, face_object=None)
    assert Scorer(model, world.features.entities).encode(bare).g.shape == (10, 16)  # pictures may be missing
