"""`zero_shot_clip`: what it compares, what it leaves aside, and that a picture is no company."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dualway.candidates.names import NameIndex
from dualway.errors import ModelError, ScoreError
from dualway.evaluation import EvaluationData, evaluate, parse_protocols
from dualway.features.arrays import Features
from dualway.protocols import Task
from dualway.schema import CandidateLists, Mention
from dualway.systems.zero_shot import ZeroShotClip

DIM = 8


def vectors(rows: int, *, seed: int, dim: int = DIM):
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32) * 7


@pytest.fixture
def task(people_kb) -> Task:
    """Five mentions, two pictures: mentions 0 and 3 share one, 1 has the other, 2 and 4 have none."""
    mentions = [Mention("Foster at work", "Foster", f"m{i}") for i in range(5)]
    features = Features(
        mention=vectors(5, seed=0),
        text=vectors(5, seed=1),
        picture=np.array([0, 1, -1, 0, -1]),
        entities=vectors(len(people_kb), seed=2),
        image=vectors(2, seed=3),
    )
    rows = np.array([[0, 3, 5], [2, 1, -1], [4, 0, 1], [-1, -1, -1], [7, -1, -1]])
    return Task(mentions, CandidateLists(rows, np.zeros(rows.shape, np.float32)), people_kb, features)


def changed(task: Task, **features) -> Task:
    assert task.features is not None
    return dataclasses.replace(task, features=dataclasses.replace(task.features, **features))


def cosine(a, b) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.sqrt(a @ a) / np.sqrt(b @ b))


def slow_scores(task: Task) -> list[list[float]]:
    """The definition, mention by mention and candidate by candidate."""
    features, lines = task.features, []
    for i in range(len(task.mentions)):
        picture = features.picture[i]
        queries = [features.text[i]] + ([features.image[picture]] if picture >= 0 else [])
        rows = range(len(task.kb)) if task.candidates is None else [r for r in task.candidates.rows[i] if r >= 0]
        lines.append([float(np.mean([cosine(q, features.entities[r]) for q in queries])) for r in rows])
    return lines


@pytest.mark.parametrize("whole", [False, True])
def test_it_is_the_mean_cosine_of_caption_and_picture(task, whole):
    task = dataclasses.replace(task, candidates=None) if whole else task
    scores = ZeroShotClip().score(task)
    for line, expected in zip(scores, slow_scores(task), strict=True):
        np.testing.assert_allclose(line, expected, atol=1e-6)
    assert all(line.dtype == np.float32 for line in scores)


def test_a_batch_beyond_a_block_is_the_same(task):
    many = task.take(np.tile(np.arange(5), 40))
    alone = ZeroShotClip().score(task)
    for i, line in enumerate(ZeroShotClip().score(many)):
        np.testing.assert_array_equal(line, alone[i % 5])


def test_with_pictures_neither_company_nor_order_matters(task):
    together = ZeroShotClip().score(task)
    order = np.array([4, 2, 0, 3, 1])
    for place, i in enumerate(order.tolist()):
        np.testing.assert_array_equal(ZeroShotClip().score(task.take(order))[place], together[i])
        np.testing.assert_array_equal(ZeroShotClip().score(task.take(np.array([i])))[0], together[i])


def test_equal_entities_score_the_same(task):
    entities = task.features.entities.copy()
    entities[:] = entities[0]
    for line in ZeroShotClip().score(changed(dataclasses.replace(task, candidates=None), entities=entities)):
        assert np.ptp(line) == 0


@pytest.mark.parametrize("image", [None, vectors(2, seed=3, dim=DIM + 1)])
def test_without_pictures_of_the_texts_width_the_caption_alone_is_compared(task, image):
    without = changed(task, picture=np.full(5, -1))
    for line, expected in zip(ZeroShotClip().score(changed(task, image=image)), ZeroShotClip().score(without)):
        np.testing.assert_array_equal(line, expected)


def test_the_picture_is_read_and_the_mentions_vector_is_not(task):
    scores = ZeroShotClip().score(task)
    other = ZeroShotClip().score(changed(task, image=vectors(2, seed=9)))
    assert [bool(np.any(a != b)) for a, b in zip(scores, other)] == [True, True, False, False, False]
    for a, b in zip(scores, ZeroShotClip().score(changed(task, mention=vectors(5, seed=9)))):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("part", "row", "named"),
    [("text", 2, "mention 'm2': the vector of its caption"), ("image", 1, "mention 'm1': the vector of its picture"),
     ("entities", 5, "entity 'Q6': the vector of its text")],
)  # fmt: skip
def test_a_vector_without_direction_is_an_error_that_names_its_owner(task, part, row, named, bad):
    broken = getattr(task.features, part).copy()
    broken[row] = bad
    with pytest.raises(ScoreError, match=named):
        ZeroShotClip().score(changed(task, **{part: broken}))


def test_a_broken_entity_that_does_not_compete_harms_nobody(task):
    entities = task.features.entities.copy()
    entities[10] = 0
    ZeroShotClip().score(changed(task, entities=entities))
    with pytest.raises(ScoreError, match="'Q11'"):
        ZeroShotClip().score(changed(dataclasses.replace(task, candidates=None), entities=entities))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_tiny_and_huge_vectors_have_a_direction(task, scale):
    features = task.features
    scaled = changed(task, text=features.text * np.float32(scale), entities=features.entities * np.float32(scale))
    for line, expected in zip(ZeroShotClip().score(scaled), ZeroShotClip().score(task)):
        np.testing.assert_allclose(line, expected, atol=1e-5)


def test_it_needs_features(task):
    with pytest.raises(ModelError, match="needs features"):
        ZeroShotClip().score(dataclasses.replace(task, features=None))


def test_it_stands_in_a_table(people_kb):
    mentions = [Mention(f"caption {i}", name, str(i)) for i, name in enumerate(people_kb.names[:6])]
    entities = vectors(len(people_kb), seed=5)
    features = Features(entities[:6], entities[:6], np.full(6, -1), entities)
    candidates = NameIndex(people_kb.ids, people_kb.names).search(mentions, 100)
    gold = {str(i): people_kb.ids[i] for i in range(6)}
    data = EvaluationData(mentions, gold, people_kb, candidates, features)
    report = evaluate([ZeroShotClip()], data, parse_protocols("top100,full-kb"))
    assert report.result("full-kb", "zero_shot_clip").metrics["hits@1"].value == 1.0
    assert report.result("full-kb", "zero_shot_clip").notes == []
