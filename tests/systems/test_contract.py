"""Every system through the same checks: lengths, order, company, gold, and agreement of lists with the whole KB."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dualway.candidates.names import NameIndex
from dualway.candidates.prior import MentionPrior
from dualway.config import PRESETS, override
from dualway.errors import ModelError
from dualway.features.extract import EntityVectors, FeatureExtractor
from dualway.protocols import Task
from dualway.schema import CandidateLists, Mention
from dualway.systems import SYSTEMS, system_class
from dualway.systems.dwe_plus import DwePlusSystem, gold_rows
from dualway.systems.lexical import Lexical
from dualway.systems.prior import Prior
from dualway.systems.untrained import CAPTION_WEIGHT, NAME_WEIGHT, TEXT_WEIGHT, FromKb
from dualway.systems.zero_shot import ZeroShotClip

MENTIONS = [
    Mention("Foster with co-star Mel Gibson", "Foster", "a"),
    Mention("Ben Foster saves a penalty", "Ben Foster", "b"),
    Mention("Janet & Wayne Gretzky", "Wayne Gretzky", "c"),
    Mention("João Silva at the pool", "João Silva", "d"),
    Mention("Salah scores", "Salah", "e"),
]
GOLD = {"a": "Q1", "b": "Q3", "c": "Q5", "d": "Q10", "e": None}


class LetterEncoder:
    """A text is its letter counts: different texts, different vectors, nothing to load."""

    dim, fingerprint = 26, "letters"

    def encode_texts(self, texts):
        counts = [[1 + t.lower().count(chr(97 + i)) for i in range(26)] for t in texts]
        return np.array(counts, dtype=np.float32).reshape(-1, 26)


@pytest.fixture
def names(people_kb):
    return NameIndex(people_kb.ids, people_kb.names, people_kb.aliases)


@pytest.fixture
def extractor():
    return FeatureExtractor(PRESETS["paper"].features, LetterEncoder())


@pytest.fixture
def task(people_kb, names, extractor):
    features, _ = extractor.extract(MENTIONS, lambda m: None, extractor.entities(people_kb))
    return Task(MENTIONS, names.search(MENTIONS, 6), people_kb, features)


@pytest.fixture(params=sorted(SYSTEMS))
def system(request, task, names, extractor, tmp_path):
    made = {
        "lexical": lambda: Lexical(names),
        "prior": lambda: Prior(names),
        "from_kb": lambda: FromKb(names, EntityVectors(extractor, task.kb)),
        "dwe_plus": lambda: DwePlusSystem(tiny("paper"), tmp_path / "run", seed=3),
        "zero_shot_clip": ZeroShotClip,
    }[request.param]()
    made.fit(task, GOLD, task, GOLD)
    return made


def tiny(name, **more):
    settings = {"model": {"dim": 16, "heads": 2}, "train": {"epochs": 4, "batch_size": 2, "evaluate_every": 4}}
    return override(PRESETS[name], {**settings, **more})


def test_every_name_leads_to_a_class():
    assert {name: system_class(name).__name__ for name in SYSTEMS} == {
        "lexical": "Lexical",
        "prior": "Prior",
        "from_kb": "FromKb",
        "dwe_plus": "DwePlusSystem",
        "zero_shot_clip": "ZeroShotClip",
    }


def test_one_finite_score_a_candidate(system, task):
    scores = system.score(task)
    counts = (task.candidates.rows >= 0).sum(axis=1).tolist()
    assert [len(line) for line in scores] == counts
    assert all(np.isfinite(line).all() for line in scores)
    assert any(np.ptp(line) > 0 for line in scores)


def test_the_whole_knowledge_base_scores_as_the_lists_do(system, task):
    lists = system.score(task)
    whole = system.score(replace(task, candidates=None))
    for line, rows, every in zip(lists, task.candidates.rows, whole, strict=True):
        assert len(every) == len(task.kb)
        np.testing.assert_allclose(line, every[rows[rows >= 0]], atol=1e-6)


def test_neither_company_nor_order_matters(system, task):
    together = system.score(task)
    order = np.array([3, 0, 4, 2, 1])
    for place, i in enumerate(order.tolist()):
        np.testing.assert_allclose(system.score(task.take(order))[place], together[i], atol=1e-6)
        np.testing.assert_allclose(system.score(task.take(np.array([i])))[0], together[i], atol=1e-6)
    rows = task.candidates.rows.copy()
    for line in rows:
        known = line[line >= 0]
        line[: len(known)] = known[::-1]
    turned = system.score(replace(task, candidates=CandidateLists(rows, task.candidates.scores)))
    for line, again in zip(together, turned, strict=True):
        np.testing.assert_allclose(again[::-1], line, atol=1e-6)


def test_ids_and_picture_names_say_nothing(system, task):
    """In some data sets they are the gold entity's id."""
    told = [replace(m, id=GOLD[m.id] or "x", image=f"{GOLD[m.id]}.jpg") for m in task.mentions]
    for line, again in zip(system.score(task), system.score(replace(task, mentions=told)), strict=True):
        np.testing.assert_array_equal(line, again)


def test_prior_adds_what_the_surface_meant(names, task):
    prior = Prior(names, MentionPrior({"foster": {"Q1": 3, "Q999": 1}}))
    [lexical, *_], [scores, *_] = Lexical(names).score(task), prior.score(task)
    rows = task.candidates.rows[0].tolist()
    gain = {task.kb.ids[row]: float(b - a) for row, a, b in zip(rows, lexical, scores)}
    assert gain.pop("Q1") == pytest.approx(3 / 5)
    assert set(gain.values()) == {0.0}


def test_from_kb_is_the_weighted_sum(names, extractor, task):
    system = FromKb(names, EntityVectors(extractor, task.kb))
    parts = system.evidence(MENTIONS, task.candidates.rows)
    total = NAME_WEIGHT * parts.name + CAPTION_WEIGHT * parts.caption + TEXT_WEIGHT * parts.text
    for i, line in enumerate(system.score(task)):
        np.testing.assert_allclose(line, total[i, : len(line)], atol=1e-6)
    rows = task.candidates.rows
    caption, entity = LetterEncoder().encode_texts([MENTIONS[0].text])[0], extractor.entities(task.kb)[rows[0, 0]]
    cosine = caption @ entity / np.linalg.norm(caption) / np.linalg.norm(entity)
    assert parts.text[0, 0] == pytest.approx(cosine, abs=1e-5)


def test_from_kb_without_vectors_links_by_names(names, task):
    system = FromKb(names, None)
    assert not system.evidence(MENTIONS, task.candidates.rows).text.any()
    assert task.kb.ids[int(np.argmax(system.score(replace(task, candidates=None))[2]))] == "Q5"


def test_dwe_plus_needs_features_and_candidates(task, tmp_path):
    system = DwePlusSystem(tiny("paper"), tmp_path / "run")
    with pytest.raises(ModelError, match="features"):
        system.score(replace(task, features=None))
    with pytest.raises(ModelError, match="candidate lists"):
        system.fit(replace(task, candidates=None), GOLD, task, GOLD)


def test_gold_rows_of_nil_and_of_strangers_are_none(task):
    assert gold_rows(task, {**GOLD, "d": "Q404"}).tolist() == [0, 2, 4, -1, -1]


def test_the_released_preset_trains_and_ranks(task, tmp_path):
    system = DwePlusSystem(tiny("released", model={"dim": 26, "heads": 2}), tmp_path / "run")
    system.fit(task, GOLD, task, GOLD)
    assert all(np.isfinite(line).all() for line in system.score(task))
