"""Every system of SYSTEMS through the same checks, and what each of them promises for itself."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from dualway.candidates.names import NameIndex
from dualway.candidates.prior import MentionPrior
from dualway.config import PRESETS, Preset, override
from dualway.encoders.cache import CachedTextEncoder
from dualway.errors import ModelError, ScoreError, UsageError
from dualway.features.arrays import Features
from dualway.features.extract import EntityVectors, FeatureExtractor
from dualway.protocols import Task
from dualway.schema import CandidateLists, Mention
from dualway.systems import SYSTEMS, system_class
from dualway.systems.dwe_plus import DwePlusSystem, gold_rows
from dualway.systems.lexical import Lexical
from dualway.systems.prior import Prior
from dualway.systems.untrained import FromKb

TINY = override(
    PRESETS["paper"],
    {
        "name": "tiny",
        "model": {"dim": 16, "heads": 2, "dropout": 0.0},
        "train": {"epochs": 30, "batch_size": 8, "learning_rate": 5e-3, "evaluate_every": 20, "checkpoint_every": 1000},
        "candidates": {"num_candidates": 6},
    },
)
NUM_CANDIDATES = 6


class HashedWords:
    """A text's words as a sum of fixed random vectors: texts that share words are alike."""

    dim, fingerprint = 24, "hashed words"

    def encode_texts(self, texts):
        return np.stack([self._vector(text) for text in texts]) if len(texts) else np.zeros((0, 24), np.float32)

    def _vector(self, text):
        total = np.full(24, 0.01)
        for word in text.lower().replace(".", " ").replace(",", " ").split():
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little")
            total = total + np.random.default_rng(seed).standard_normal(24)
        return total.astype(np.float32)


CAPTIONS = [
    ("Foster, the actor and director born in Los Angeles", "Foster", "Q1"),
    ("Ben Foster, a football player", "Ben Foster", "Q3"),
    ("actor Ben Foster in Boston", "Ben Foster", "Q2"),
    ("Foster with co-star Mel Gibson, film director", "Mel Gibson", "Q4"),
    ("Janet and ice hockey player Wayne Gretzky", "Gretzky", "Q5"),
    ("actor Janet Jones with her spouse", "Janet Jones", "Q6"),
    ("João Silva, photographer", "João Silva", "Q7"),
    ("Silva, a swimmer", "Silva", "Q10"),
    ("Salah plays football", "Mohamed Salah", "Q8"),
    ("the capital Tokyo", "Tokyo", "Q9"),
    ("somebody else entirely: Smithson", "Smithson", None),
    ("Shostakovich", "Shostakovich", "Q11"),
]


class World:
    """The knowledge base of `people`, captions about them, and features of hashed words."""

    def __init__(self, kb):
        self.kb = kb
        self.mentions = [Mention(text=t, surface=s, id=f"m{i}") for i, (t, s, _) in enumerate(CAPTIONS)]
        self.gold = {f"m{i}": gold for i, (_, _, gold) in enumerate(CAPTIONS)}
        self.names = NameIndex(kb.ids, kb.names, kb.aliases)
        self.extractor = FeatureExtractor(TINY.features, CachedTextEncoder(HashedWords(), None))
        self.vectors = EntityVectors(self.extractor, kb)
        entities = self.vectors.all()
        features, _ = self.extractor.extract(self.mentions, lambda _: None, entities)
        self.task = Task(self.mentions, self.names.search(self.mentions, NUM_CANDIDATES), kb, features)

    def system(self, name, folder):
        more = {"dwe_plus": (TINY, folder), "from_kb": (self.names, self.vectors), "zero_shot_clip": ()}
        return system_class(name)(*more.get(name, (self.names,)))


@pytest.fixture(scope="module")
def world(people, tmp_path_factory):
    from dualway.kb.store import KnowledgeBase

    with KnowledgeBase.create(tmp_path_factory.mktemp("systems") / "kb", people) as kb:
        yield World(kb)


@pytest.fixture(scope="module")
def fitted(world, tmp_path_factory):
    """Every system, fitted once on the same task."""
    systems = {name: world.system(name, tmp_path_factory.mktemp(name)) for name in SYSTEMS}
    for system in systems.values():
        system.fit(world.task, world.gold, world.task, world.gold)
    return systems


@pytest.fixture(params=SYSTEMS)
def system(request, fitted):
    return fitted[request.param]


def padded(scores, width):
    return np.stack([np.pad(line, (0, width - len(line))) for line in scores])


class TestContract:
    def test_it_has_a_name_and_one_list_of_scores_a_mention(self, system, world):
        assert system.name
        scores = system.score(world.task)
        counts = (world.task.candidates.rows >= 0).sum(1)
        assert min(counts) < max(counts)  # some lists are padded
        assert [len(line) for line in scores] == counts.tolist()
        assert all(line.dtype == np.float32 and np.isfinite(line).all() for line in scores)

    def test_all_entities_compete_when_there_are_no_lists(self, system, world):
        scores = system.score(dataclasses.replace(world.task, candidates=None))
        assert [line.shape for line in scores] == [(len(world.kb),)] * len(world.mentions)
        assert all(np.isfinite(line).all() for line in scores)

    def test_scores_of_lists_are_those_among_all(self, system, world):
        every = system.score(dataclasses.replace(world.task, candidates=None))
        for line, among, rows in zip(system.score(world.task), every, world.task.candidates.rows):
            np.testing.assert_allclose(line, among[rows[rows >= 0]], atol=2e-6)

    def test_batch_and_order_change_nothing(self, system, world):
        together = system.score(world.task)
        order = np.random.default_rng(0).permutation(len(world.mentions))
        shuffled = system.score(world.task.take(order))
        for place, i in enumerate(order.tolist()):
            np.testing.assert_allclose(shuffled[place], together[i], atol=2e-6)
            (alone,) = system.score(world.task.take(np.array([i])))
            np.testing.assert_allclose(alone, together[i], atol=2e-6)
        pieces = [line for chunk in world.task.chunks(5) for line in system.score(chunk)]
        for line, piece in zip(together, pieces, strict=True):
            np.testing.assert_allclose(piece, line, atol=2e-6)

    def test_the_order_of_candidates_changes_nothing(self, system, world):
        rows = world.task.candidates.rows.copy()
        together = system.score(world.task)
        for line in rows:
            count = int((line >= 0).sum())
            line[:count] = line[:count][::-1]
        turned = dataclasses.replace(world.task, candidates=CandidateLists(rows, world.task.candidates.scores))
        for a, b in zip(system.score(turned), together, strict=True):
            np.testing.assert_allclose(a[::-1], b, atol=2e-6)

    def test_a_score_does_not_depend_on_what_the_list_holds_beside(self, system, world):
        rows = world.task.candidates.rows[:, :2]
        short = dataclasses.replace(world.task, candidates=CandidateLists(rows, world.task.candidates.scores[:, :2]))
        for a, b in zip(system.score(short), system.score(world.task), strict=True):
            np.testing.assert_allclose(a, b[:2], atol=2e-6)

    def test_the_sources_scores_and_ids_have_no_say(self, system, world):
        """Neither the retrieval score nor the id (which may be gold's) nor the picture's name is evidence."""
        telling = [dataclasses.replace(m, id=f"Q{i}", image=f"Q{i}.jpg") for i, m in enumerate(world.mentions)]
        noise = np.random.default_rng(0).random(world.task.candidates.scores.shape).astype(np.float32)
        task = dataclasses.replace(
            world.task, mentions=telling, candidates=CandidateLists(world.task.candidates.rows, noise)
        )
        for a, b in zip(system.score(task), system.score(world.task), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_empty_lists_and_empty_tasks(self, system, world):
        none = np.full((len(world.mentions), 3), -1)
        empty = CandidateLists(none, np.zeros(none.shape, np.float32))
        assert [len(line) for line in system.score(dataclasses.replace(world.task, candidates=empty))] == [0] * 12
        assert system.score(world.task.take(np.zeros(0, dtype=np.int64))) == []

    def test_scoring_twice_gives_the_same(self, system, world):
        for a, b in zip(system.score(world.task), system.score(world.task), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_fit_takes_nil_and_unknown_gold(self, system, world, tmp_path):
        name = {v: k for k, v in zip(SYSTEMS, (s for _, s in SYSTEMS.values()))}[type(system).__name__]
        gold = {**world.gold, "m0": None, "m1": "Q-not-in-the-kb"}
        del gold["m2"]
        fresh = world.system(name, tmp_path / name)
        fresh.fit(world.task, gold, world.task, gold)
        assert len(fresh.score(world.task)) == len(world.mentions)


def test_an_unknown_system_is_a_usage_error():
    with pytest.raises(UsageError, match="unknown system 'lexcal'; choose one of lexical, prior, from_kb, dwe_plus"):
        system_class("lexcal")


class TestPrior:
    def test_its_score_is_name_similarity_plus_probability(self, world):
        prior = MentionPrior({"foster": {"Q1": 3, "Q2": 1, "Q-gone": 4}})
        lexical, with_prior = Lexical(world.names).score(world.task), Prior(world.names, prior).score(world.task)
        rows = world.task.candidates.rows[0]
        for position, row in enumerate(rows[rows >= 0].tolist()):
            p = {"Q1": 3 / 9, "Q2": 1 / 9}.get(world.kb.ids[row], 0.0)
            assert with_prior[0][position] == pytest.approx(lexical[0][position] + p, abs=1e-6)
        for i in range(1, len(lexical)):  # other surfaces
            np.testing.assert_array_equal(with_prior[i], lexical[i])

    def test_it_is_at_most_below_2_and_never_lowers(self, world):
        system = Prior(world.names, MentionPrior({"foster": {"Q1": 10**6}}))
        for a, b in zip(system.score(world.task), Lexical(world.names).score(world.task)):
            assert (a >= b).all()
            assert a.max(initial=0) < 2

    def test_fitting_counts_train_and_train_alone(self, world):
        half = world.task.take(np.arange(3))
        system = Prior(world.names)
        system.fit(half, world.gold, world.task, world.gold)
        assert system.prior.probabilities("Foster") == {"Q1": 0.5}
        assert system.prior.probabilities("Gretzky") == {}


class TestFromKb:
    @pytest.fixture
    def system(self, world):
        return FromKb(world.names, world.vectors)

    def test_its_score_is_the_weighted_sum_of_its_evidence(self, system, world):
        from dualway.systems import untrained

        rows = world.task.candidates.rows
        evidence = system.evidence(world.mentions, rows)
        expected = (
            untrained.NAME_WEIGHT * evidence.name
            + untrained.CAPTION_WEIGHT * evidence.caption
            + untrained.TEXT_WEIGHT * evidence.text
        )
        np.testing.assert_allclose(padded(system.score(world.task), rows.shape[1]), expected * (rows >= 0), atol=1e-6)

    def test_its_evidence_is_what_it_says(self, system, world):
        rows = world.task.candidates.rows
        evidence = system.evidence(world.mentions, rows)
        texts, entities = HashedWords().encode_texts([m.text for m in world.mentions]), world.vectors.all()
        for i in range(len(world.mentions)):
            for j, row in enumerate(rows[i].tolist()):
                cosine = texts[i] @ entities[row] / np.linalg.norm(texts[i]) / np.linalg.norm(entities[row])
                assert evidence.text[i, j] == pytest.approx(cosine if row >= 0 else 0.0, abs=1e-5)
        np.testing.assert_array_equal(evidence.name, world.names.score([m.surface for m in world.mentions], rows))
        np.testing.assert_array_equal(evidence.caption, world.names.caption_score(world.mentions, rows))

    def test_it_tells_homonyms_apart_by_their_texts(self, system, world):
        lists = zip(world.task.candidates.rows, system.score(world.task))
        best = [world.kb.ids[rows[np.argmax(line)]] if len(line) else None for rows, line in lists]
        assert best[1:3] == ["Q3", "Q2"]  # the footballer and the actor
        assert best[6] == "Q7"  # the photographer

    def test_features_of_a_task_play_no_part(self, system, world):
        for a, b in zip(system.score(dataclasses.replace(world.task, features=None)), system.score(world.task)):
            np.testing.assert_array_equal(a, b)

    def test_without_an_encoder_there_is_no_text_similarity(self, world):
        evidence = FromKb(world.names, None).evidence(world.mentions, world.task.candidates.rows)
        assert (evidence.text == 0).all()
        assert (evidence.name > 0).any()

    @pytest.mark.parametrize("bad", [0.0, float("nan")])
    def test_a_vector_without_direction_is_an_error_that_names_the_entity(self, world, bad):
        class Broken(HashedWords):
            def _vector(self, text):
                return np.full(24, bad, np.float32)

        vectors = EntityVectors(FeatureExtractor(TINY.features, Broken()), world.kb)
        with pytest.raises(ScoreError, match="entity 'Q"):
            FromKb(world.names, vectors).evidence(world.mentions, world.task.candidates.rows)

    def test_an_entity_is_encoded_when_it_first_becomes_a_candidate(self, world):
        class Counting(HashedWords):
            def __init__(self):
                self.seen = []

            def encode_texts(self, texts):
                self.seen += texts
                return super().encode_texts(texts)

        encoder = Counting()
        system = FromKb(world.names, EntityVectors(FeatureExtractor(TINY.features, encoder), world.kb))
        rows = np.array([[0, 3, -1]])
        system.evidence(world.mentions[:1], rows)
        assert encoder.seen.count(world.kb.texts()[0]) == 1
        assert len(encoder.seen) == 3  # two entities and a caption
        system.evidence(world.mentions[:1], rows)
        assert len(encoder.seen) == 4


class TestDwePlus:
    def test_it_learns_the_world_by_heart(self, fitted, world):
        best = {}
        for mention, rows, line in zip(
            world.mentions, world.task.candidates.rows, fitted["dwe_plus"].score(world.task)
        ):
            best[mention.id] = world.kb.ids[rows[np.argmax(line)]] if len(line) else None
        right = [best[id] == gold for id, gold in world.gold.items() if gold is not None]
        assert np.mean(right) > 0.8

    def test_another_object_reads_the_same_model_from_the_folder(self, fitted, world):
        system = fitted["dwe_plus"]
        again = DwePlusSystem(TINY, system.folder)
        for a, b in zip(again.score(world.task), system.score(world.task), strict=True):
            np.testing.assert_array_equal(a, b)
        assert all((np.abs(line) <= 1 + 1e-5).all() for line in again.score(world.task))

    def test_entities_are_encoded_once_and_anew_for_others(self, fitted, world):
        system = fitted["dwe_plus"]
        entities = world.task.features.entities
        scorer = system.scorer(entities)
        assert system.scorer(entities) is scorer
        assert system.scorer(entities.copy()) is not scorer

    def test_it_says_what_is_missing(self, world, tmp_path):
        system = DwePlusSystem(TINY, tmp_path / "none")
        with pytest.raises(ModelError, match="needs features"):
            system.score(dataclasses.replace(world.task, features=None))
        with pytest.raises(ModelError, match="needs candidate lists"):
            system.fit(dataclasses.replace(world.task, candidates=None), {}, world.task, {})
        with pytest.raises(ModelError, match="not a trained run"):
            system.score(world.task)

    def test_it_appears_under_its_presets_name(self, tmp_path):
        assert DwePlusSystem(Preset("mine"), tmp_path).name == "mine"


def test_gold_rows_are_minus_1_for_nil_unknown_and_unlabelled(world):
    task = Task([Mention("a", "a", id=i) for i in ("a", "b", "c", "d")], None, world.kb)
    assert gold_rows(task, {"a": "Q4", "b": None, "c": "Q-gone"}).tolist() == [world.kb.row("Q4"), -1, -1, -1]


def test_a_task_carries_no_gold():
    """Nothing that a system is handed to score has a place for the answer."""
    fields = {f.name for kind in (Task, Features, Mention) for f in dataclasses.fields(kind)}
    assert not fields & {"gold", "answer", "entity_id", "label", "target"}
