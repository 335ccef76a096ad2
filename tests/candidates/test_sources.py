"""The other candidate sources: the paper's fuzzy names, the train prior, and several sources as one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz, process, utils

from dualway.candidates.fuzzy import FuzzyNames
from dualway.candidates.names import NameIndex
from dualway.candidates.prior import MentionPrior, PriorSource
from dualway.candidates.union import UnionSource, make_source
from dualway.config import CandidateConfig
from dualway.errors import DataError, StorageError, UsageError
from dualway.schema import CandidateLists, Mention

NAMES = [
    "Jodie Foster", "Ben Foster", "Mel Gibson", "Wayne Gretzky", "João Silva", "Joao Silva", "东京", "Дмитрий", "!!!",
    "", "Foster the People", "Gibson Guitar Corporation", "The Great One", "Jo",
]  # fmt: skip
IDS = [f"Q{i * 3 % len(NAMES)}" for i in range(len(NAMES))]


def mention(surface: str, id: str = "") -> Mention:
    return Mention(text=surface, surface=surface, id=id)


class TestFuzzyNames:
    SOURCE = FuzzyNames(IDS, NAMES)

    @pytest.mark.parametrize(
        "surface", ["Foster", "Mel Gibson", "gibson guitar", "Silva", "great", "东京", "x", "", "🙂"]
    )
    def test_it_ranks_as_rapidfuzz_does(self, surface):
        """The oracle: `process.extract` over the names in the order of ids, which keeps that order among equals."""
        order = sorted(range(len(IDS)), key=IDS.__getitem__)
        expected = process.extract(
            utils.default_process(surface),
            [utils.default_process(NAMES[row]) for row in order],
            scorer=fuzz.WRatio,
            limit=None,
        )
        lists = self.SOURCE.search([mention(surface)], len(NAMES))
        assert lists.rows[0].tolist() == [order[place] for _, _, place in expected]
        np.testing.assert_allclose(lists.scores[0], [score / 100 for _, score, _ in expected], atol=1e-6)

    def test_k_cuts_the_list_and_the_knowledge_base_bounds_it(self):
        every = self.SOURCE.search([mention("Foster")], 1000)
        assert every.rows.shape == (1, len(NAMES))
        three = self.SOURCE.search([mention("Foster")], 3)
        assert three.rows.tolist() == every.rows[:, :3].tolist()
        assert (three.rows.dtype, three.scores.dtype) == (np.int64, np.float32)

    def test_a_list_does_not_depend_on_the_batch(self):
        surfaces = ["Foster", "Gibson", "Foster", "Silva"]
        together = self.SOURCE.search([mention(s) for s in surfaces], 5)
        for i, surface in enumerate(surfaces):
            alone = self.SOURCE.search([mention(surface)], 5)
            assert np.array_equal(together.rows[i], alone.rows[0])
            assert np.array_equal(together.scores[i], alone.scores[0])

    def test_nothing_in_nothing_out(self):
        assert self.SOURCE.search([], 3).rows.shape == (0, 3)
        assert FuzzyNames([], []).search([mention("Foster")], 3).rows.shape == (1, 0)

    def test_lone_surrogates_are_harmless(self):
        assert FuzzyNames(["a", "b"], ["Fos\ud800ter", "x"]).search([mention("Fos\ud800ter")], 1).rows.tolist() == [[0]]


TRAIN = [
    mention("Foster", "m1"),
    mention("FOSTER", "m2"),
    mention("foster", "m3"),
    mention("Foster", "m4"),
    mention("Gibson", "m5"),
    mention("Gibson", "m6"),
    mention("nobody", "m7"),
    mention("🙂", "m8"),
]
GOLD = {"m1": "Q1", "m2": "Q1", "m3": "Q2", "m4": None, "m5": "Q4", "m7": None, "m8": "Q9"}  # m6 has no gold


class TestMentionPrior:
    PRIOR = MentionPrior.build(TRAIN, GOLD)

    def test_probabilities_are_counts_with_one_unseen_meaning_added(self):
        assert self.PRIOR.probabilities("Foster") == {"Q1": 2 / 4, "Q2": 1 / 4}
        assert self.PRIOR.probabilities("Gibson") == {"Q4": 1 / 2}
        many = MentionPrior({"x": {"Q1": 9}})
        assert many.probabilities("x") == {"Q1": 0.9}

    @pytest.mark.parametrize("surface", ["FOSTER", " foster ", "Fóster", "foster."])
    def test_spellings_of_a_surface_are_one(self, surface):
        assert self.PRIOR.probabilities(surface) == self.PRIOR.probabilities("Foster")

    def test_unseen_surfaces_nil_and_mentions_without_gold_count_for_nothing(self):
        assert self.PRIOR.probabilities("nobody") == {}
        assert self.PRIOR.probabilities("somebody") == {}
        assert len(self.PRIOR) == 3

    def test_surfaces_without_letters_are_not_thrown_together(self):
        assert self.PRIOR.probabilities("🙂") == {"Q9": 1 / 2}
        assert self.PRIOR.probabilities("!!!") == {}
        assert self.PRIOR.probabilities("") == {}

    def test_the_order_of_training_changes_nothing(self):
        backwards = MentionPrior.build(TRAIN[::-1], GOLD)
        assert all(backwards.probabilities(m.surface) == self.PRIOR.probabilities(m.surface) for m in TRAIN)

    def test_a_file_brings_it_back(self, tmp_path):
        self.PRIOR.to_file(tmp_path / "prior.json")
        back = MentionPrior.from_file(tmp_path / "prior.json")
        assert len(back) == len(self.PRIOR)
        assert all(back.probabilities(m.surface) == self.PRIOR.probabilities(m.surface) for m in TRAIN)

    @pytest.mark.parametrize(
        "content", ["[]", "5", '{"foster": 3}', '{"foster": {"Q1": "2"}}', '{"foster": {"Q1": 0}}', '{"foster": [1]}']
    )
    def test_another_file_is_refused(self, content, tmp_path):
        (tmp_path / "prior.json").write_text(content)
        with pytest.raises(DataError, match=r"prior\.json: not a prior file"):
            MentionPrior.from_file(tmp_path / "prior.json")

    def test_broken_and_missing_files_are_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"prior\.json: no such file"):
            MentionPrior.from_file(tmp_path / "prior.json")
        (tmp_path / "prior.json").write_text('{"foster": ')
        with pytest.raises(DataError, match=r"prior\.json, line 1: broken JSON"):
            MentionPrior.from_file(tmp_path / "prior.json")
        with pytest.raises(StorageError):
            self.PRIOR.to_file(tmp_path / "prior.json" / "inside")


class TestPriorSource:
    def test_entities_come_by_their_frequency_then_by_id(self):
        prior = MentionPrior({"foster": {"Q3": 1, "Q20": 5, "Q1": 1, "Q9": 7, "Q-gone": 50}})
        source = PriorSource(prior, {"Q1": 10, "Q3": 11, "Q9": 12, "Q20": 13})
        lists = source.search([mention("Foster"), mention("unseen")], 6)
        assert lists.rows.tolist() == [[12, 13, 10, 11, -1, -1], [-1] * 6]
        np.testing.assert_allclose(lists.scores[0], [7 / 65, 5 / 65, 1 / 65, 1 / 65, 0, 0], rtol=1e-6)
        assert source.search([mention("Foster")], 2).rows.tolist() == [[12, 13]]
        assert (lists.rows.dtype, lists.scores.dtype) == (np.int64, np.float32)


class Fixed:
    """A source of given lists."""

    def __init__(self, *rows):
        self.rows = list(rows)

    def search(self, mentions, k):
        width = max(k, 1)
        rows = np.full((len(mentions), width), -1, dtype=np.int64)
        for i in range(len(mentions)):
            rows[i, : len(self.rows[:k])] = self.rows[:k]
        return CandidateLists(rows, np.where(rows >= 0, rows / 100, 0).astype(np.float32))


class TestUnionSource:
    @pytest.mark.parametrize(
        ("names", "prior", "k", "expected"),
        [
            ([1, 2, 3, 4], [], 3, [1, 2, 3]),
            ([1, 2, 3, 4], [9], 3, [1, 2, 9]),
            ([1, 2, 3], [3, 9], 3, [1, 3, 9]),  # 3 is at the end of the names, but the prior knows it
            ([1, 2, 3], [2, 9], 3, [1, 2, 9]),
            ([1, 2, 3], [7, 8, 9], 3, [7, 8, 9]),
            ([1, 2, 3], [7, 8, 9, 10], 3, [7, 8, 9]),
            ([], [7, 8], 3, [7, 8, -1]),
            ([1], [1], 3, [1, -1, -1]),
            ([1, 2], [9], 4, [1, 2, 9, -1]),
            ([1, 2, 3], [2, 1], 2, [1, 2]),
        ],
    )
    def test_what_later_sources_propose_is_always_in(self, names, prior, k, expected):
        lists = UnionSource([Fixed(*names), Fixed(*prior)]).search([mention("x")], k)
        assert lists.rows.tolist() == [expected]
        np.testing.assert_allclose(lists.scores[0], [max(row, 0) / 100 for row in expected], rtol=1e-6)

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.lists(st.integers(0, 12), max_size=8, unique=True), min_size=1, max_size=3), st.integers(1, 6))
    def test_no_duplicates_no_gaps_and_the_first_sources_order(self, lists, k):
        rows = UnionSource([Fixed(*rows) for rows in lists]).search([mention("x")], k).rows[0].tolist()
        kept = [row for row in rows if row >= 0]
        assert rows == kept + [-1] * (k - len(kept))
        assert len(set(kept)) == len(kept)
        later = [row for rows in lists[1:] for row in rows[:k]]
        assert len(kept) == min(k, len({*lists[0][:k], *later}))
        assert set(list(dict.fromkeys(later))[:k]) <= set(kept)
        first = [row for row in kept if row in lists[0][:k]]
        assert first == [row for row in lists[0][:k] if row in first]


class TestMakeSource:
    def test_each_retriever_is_its_source(self, people_kb):
        names = NameIndex(people_kb.ids, people_kb.names, people_kb.aliases)
        assert make_source(CandidateConfig(retriever="names"), people_kb, names) is names
        assert isinstance(make_source(CandidateConfig(retriever="fuzzy"), people_kb, names), FuzzyNames)
        prior = MentionPrior({"the actress": {"Q1": 3}})
        source = make_source(CandidateConfig(retriever="names+prior"), people_kb, names, prior)
        plain = names.search([mention("the actress")], 3)
        with_prior = source.search([mention("the actress")], 3)
        assert people_kb.row("Q1") not in plain.rows
        assert people_kb.row("Q1") in with_prior.rows

    def test_a_prior_that_is_not_there_is_a_usage_error(self, people_kb):
        with pytest.raises(UsageError, match=r"names\+prior.*use 'names' instead"):
            make_source(CandidateConfig(retriever="names+prior"), people_kb, NameIndex([], []))

    @pytest.mark.parametrize("retriever", ["names", "names+prior", "fuzzy"])
    def test_gold_id_and_picture_of_a_mention_have_no_say(self, retriever, people_kb):
        """A mention may carry its gold entity in its id or its picture's name (Richpedia does)."""
        names = NameIndex(people_kb.ids, people_kb.names, people_kb.aliases)
        prior = MentionPrior({"foster": {"Q1": 3}})
        source = make_source(CandidateConfig(retriever=retriever), people_kb, names, prior)
        bare = Mention(text="Foster and Gibson", surface="Foster")
        telling = Mention(text="Foster and Gibson", surface="Foster", id="Q3", image="Q3.jpg", source="Q3", type="Q3")
        one, other = source.search([bare], 5), source.search([telling], 5)
        assert np.array_equal(one.rows, other.rows)
        assert np.array_equal(one.scores, other.scores)


def test_prior_files_are_plain_json(tmp_path):
    MentionPrior({"foster": {"Q1": 2}}).to_file(tmp_path / "prior.json")
    assert json.loads((tmp_path / "prior.json").read_text()) == {"foster": {"Q1": 2}}
