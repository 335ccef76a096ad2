"""The name index: what it finds, in which order, and that nothing but mention and entity has a say in a score."""

from __future__ import annotations

import math
import pickle
import re
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualway.candidates import names as names_module
from dualway.candidates.name_segments import blocks, build_segment
from dualway.candidates.name_store import LIST, read_list, write_block, write_list, write_segments
from dualway.candidates.names import NameIndex
from dualway.candidates.similarity import (
    NameWeights,
    caption_features,
    caption_words,
    mention_features,
    name_features,
    name_key,
)
from dualway.kb.changes import changing
from dualway.kb.following import advance
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Mention
from dualway.text import match_key, without_brackets

PEOPLE = {
    "Q1": "Jodie Foster",
    "Q2": "Ben Foster (actor)",
    "Q3": "Ben Foster (footballer, born 1983)",
    "Q4": "George Walker Bush",
    "Q5": "George H. W. Bush",
    "Q6": "João Silva",
    "Q7": "Federal Bureau of Investigation",
    "Q8": "William A. Barstow",
    "Q9": "William Foster",
    "Q10": "João Silva",
    "Q11": "Sinéad O'Connor",
    "Q12": "J. F. K.",
}
SCRIPTS = [
    "Jodie Foster", "Ng", "X", "U.S.A.", "F. Foster", "J. J. Jones", "AC/DC", "!!!", "🙂", "❤️", "東京", "محمد صلاح",
    "בנימין נתניהו", "Дмитрий Шостакович", "हिन्दी भाषा", "ภาษาไทย", "한국어", "João Silva", "Łódź",
    "Ben Foster (actor)", "(500)", "O'Connor", "50 Cent", "Prince", "The The", "a", "of", "ﬁne",
]  # fmt: skip


def index_of(names: dict[str, str] | list[str], aliases=()) -> NameIndex:
    if isinstance(names, list):
        names = {f"Q{i}": name for i, name in enumerate(names)}
    return NameIndex(list(names), list(names.values()), aliases)


def mention(surface: str, text: str | None = None, **more) -> Mention:
    return Mention(text=surface if text is None else text, surface=surface, **more)


def found(index: NameIndex, surface: str, k: int = 5, text: str | None = None) -> list[int]:
    rows = index.search([mention(surface, text)], k).rows[0]
    return rows[rows >= 0].tolist()


@pytest.fixture(scope="module")
def people() -> NameIndex:
    return index_of(PEOPLE)


class TestWhatIsFound:
    @pytest.mark.parametrize(
        ("surface", "first"),
        [
            ("Jodie Foster", "Q1"),
            ("JODIE FOSTER", "Q1"),
            ("J. Foster", "Q1"),
            ("George Walker Bush", "Q4"),
            ("Joao Silva", "Q10"),
            ("João  Silva", "Q10"),
            ("Sinead O’Connor", "Q11"),
            ("SINÉAD OCONNOR", "Q11"),
            ("Barstow", "Q8"),
            ("Silva", "Q10"),
            ("FBI", "Q7"),
            ("F.B.I.", "Q7"),
            ("Ben Foster", "Q2"),
            ("Jody Foster", "Q1"),
            ("Jodie Fosterr", "Q1"),
            ("JFK", "Q12"),
        ],
    )
    def test_the_best_candidate(self, surface, first, people):
        ids = list(PEOPLE)
        assert ids[found(people, surface)[0]] == first

    def test_an_initial_stands_for_a_name_and_a_name_for_an_initial(self):
        index = index_of(["George Walker Bush", "George Herbert Bush", "George W. Push"])
        assert found(index, "George W. Bush")[0] == 0
        index = index_of(["George W. Bush", "George H. Bush"])
        assert found(index, "George Walker Bush")[0] == 0

    def test_a_possessive_is_the_name(self, people):
        assert people.score_all(["Foster's"]).tolist() == people.score_all(["Foster"]).tolist()
        assert people.score_all(["Foster’s"]).tolist() == people.score_all(["Foster"]).tolist()

    def test_a_surname_finds_all_who_bear_it_before_anybody_else(self, people):
        assert set(found(people, "Foster", 4)) == {0, 1, 2, 8}

    def test_homonyms_are_both_found_in_the_order_of_their_ids(self, people):
        lists = people.search([mention("João Silva")], 2)
        ids = list(PEOPLE)
        assert [ids[row] for row in lists.rows[0]] == ["Q10", "Q6"]  # as text, "Q10" comes before "Q6"
        assert lists.scores[0].tolist() == [1.0, 1.0]

    def test_brackets_of_titles_do_not_count(self, people):
        assert people.score_all(["Ben Foster"])[0, [1, 2]].tolist() == [1.0, 1.0]

    @pytest.mark.parametrize("name", SCRIPTS)
    def test_a_name_spelt_as_the_mention_scores_1_and_comes_first(self, name):
        index = index_of([*SCRIPTS, "Somebody Else"])
        row = SCRIPTS.index(name)
        scores = index.score_all([name])[0]
        assert scores[row] == pytest.approx(1.0, abs=2e-6)
        assert scores.max() <= 1.0
        best = found(index, name, 3)
        ties = [r for r in range(len(SCRIPTS)) if name_key(SCRIPTS[r]) == name_key(name)]
        assert best[0] in ties

    def test_emoji_are_told_apart(self):
        index = index_of(["🙂", "❤️", "☀️"])
        assert [found(index, surface) for surface in ("🙂", "❤️", "☀️")] == [[0], [1], [2]]

    def test_what_shares_nothing_is_not_returned_and_the_list_is_padded(self, people):
        lists = people.search([mention("東京"), mention(""), mention("   "), mention("Barstow")], 4)
        assert lists.rows[:3].tolist() == [[-1] * 4] * 3
        assert lists.scores[:3].tolist() == [[0.0] * 4] * 3
        assert lists.rows[3, 0] == 7

    def test_k_may_be_larger_than_the_knowledge_base(self, people):
        lists = people.search([mention("Foster")], 500)
        assert lists.rows.shape == lists.scores.shape == (1, 500)
        listed = lists.rows[0][lists.rows[0] >= 0].tolist()
        assert len(set(listed)) == len(listed) <= len(people)
        assert (lists.rows[0, len(listed) :] == -1).all()

    def test_shapes_and_types(self, people):
        lists = people.search([mention("Foster")] * 3, 7)
        assert (lists.rows.shape, lists.rows.dtype, lists.scores.dtype) == ((3, 7), np.int64, np.float32)
        none = people.search([], 7)
        assert none.rows.shape == none.scores.shape == (0, 7)
        assert people.score_all([]).shape == (0, len(people))

    def test_an_empty_knowledge_base_has_nothing(self):
        index = index_of({})
        assert index.search([mention("Foster")], 3).rows.tolist() == [[-1] * 3]
        assert index.score_all(["Foster"]).shape == (1, 0)

    def test_names_of_nothing_but_spaces_are_never_found(self):
        index = index_of(["", "   ", "\u200b", "Foster"])
        assert found(index, "Foster") == [3]
        assert found(index, "") == []

    def test_lone_surrogates_are_harmless(self):
        index = index_of(["Foster", "Fos\ud800ter"])
        assert found(index, "Fos\ud800ter")[0] == 1


class TestAliases:
    INDEX = index_of(
        {"Q2": "Wayne Gretzky", "Q1": "Jodie Foster", "Q3": "Great Britain"},
        [("The Great One", "Gretzky", "W. Gretzky"), (), ("Foster Land",)],
    )

    def test_the_best_name_counts(self):
        assert self.INDEX.score_all(["the great one"])[0, 0] == 1.0
        assert found(self.INDEX, "The Great One")[0] == 0

    def test_an_entity_appears_once(self):
        for k in (1, 2, 3, 10):
            rows = found(self.INDEX, "Wayne Gretzky the Great One Foster", k)
            assert len(rows) == len(set(rows)) == min(k, 3)

    def test_many_aliases_do_not_push_others_out_of_the_list(self):
        index = index_of(["Foster A", "Foster B"], [tuple(f"Foster {i}" for i in range(500)), ()])
        assert set(found(index, "Foster", 2)) == {0, 1}

    def test_the_score_is_that_of_the_best_name_alone(self):
        names, aliases = ["Jodie Foster", "Alicia F."], [("Alicia Foster", "Jo"), ("A. Foster",)]
        scores = index_of(names, aliases).score_all(["Alicia Foster", "Jodie"])
        for row, strings in enumerate([names[0], *aliases[0]] for _ in [0]):
            assert np.allclose(scores[:, row], index_of(list(strings)).score_all(["Alicia Foster", "Jodie"]).max(1))


def slow_similarity(surface: str, name: str) -> float:
    """The formula of `similarity.py`'s docstring, written plainly."""

    def words(text: str) -> list[str]:
        bare = re.sub(r"['’]s\b", "", without_brackets(text))
        return (match_key(bare) or match_key(text) or text.strip().casefold()).split()

    def trigrams(parts: list[str]) -> set[str]:
        return {f" {w} "[i : i + 3] for w in parts for i in range(len(w))}

    def cosine(a: set[str], b: set[str]) -> float:
        return len(a & b) / math.sqrt(len(a) * len(b))

    m, n = words(surface), words(name)
    if not m or not n:
        return 0.0
    coverage = sum(len(w) for w in set(m) if w in n) / sum(len(w) for w in set(m))
    spelt_out = {w[0] for w in n if len(w) > 1}
    single = {w for w in n if len(w) == 1}
    initials = sum(w in spelt_out if len(w) == 1 else w[0] in single for w in set(m)) / len(set(m))
    letters = surface.replace(".", "").strip()
    first_letters = "".join(w[0] for w in n if w not in ("a", "i", "of", "the"))  # of those that occur here
    acronym = letters.isupper() and letters.isalpha() and 2 <= len(letters) <= 6 and len(first_letters) > 1
    total = (
        0.9 * cosine(trigrams(m), trigrams(n))
        + 0.4 * cosine(set(m), set(n))
        + 0.7 * coverage
        + 0.3 * (m[-1] == n[-1])
        + 0.1 * (m[0] == n[0])
        + 0.2 * initials
        + 1.6 * (acronym and match_key(letters) == first_letters)
    )
    return min(total / 2.4, 1.0)


WORD = st.sampled_from(
    ["j", "f", "jodie", "foster", "fost", "ben", "of", "the", "W.", "FBI", "東京", "joão", "o'neil", "x"]
)
NAME = st.lists(WORD, min_size=1, max_size=4).map(" ".join) | st.text(max_size=8)


@settings(max_examples=150, deadline=None)
@given(st.lists(NAME, min_size=1, max_size=6), st.lists(NAME, min_size=1, max_size=3))
def test_scores_equal_the_plain_formula(names, surfaces):
    expected = [[slow_similarity(surface, name) for name in names] for surface in surfaces]
    np.testing.assert_allclose(index_of(names).score_all(surfaces), expected, atol=3e-6)


def test_scores_of_real_names_equal_the_plain_formula():
    surfaces = ["Foster", "J. Foster", "George W. Bush", "FBI", "Foster's", "Ben Foster", "Silva", "J.F.K."]
    expected = [[slow_similarity(surface, name) for name in PEOPLE.values()] for surface in surfaces]
    np.testing.assert_allclose(index_of(PEOPLE).score_all(surfaces), expected, atol=3e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(NAME, min_size=1, max_size=8), NAME, st.integers(1, 10))
def test_the_search_orders_by_the_score_then_by_id(names, surface, k):
    """Without a caption around the mention, the search is a sort of all entities by score, cut at k."""
    index = index_of(names)
    lists = index.search([mention(surface)], k)
    kept = lists.rows[0] >= 0
    rows, scores = lists.rows[0][kept].tolist(), lists.scores[0][kept]
    every = index.score_all([surface])[0]
    ids = [f"Q{i}" for i in range(len(names))]
    np.testing.assert_allclose(np.minimum(scores, 1.0), every[rows], atol=2e-6)
    assert rows == [row for _, _, row in sorted((-s, ids[r], r) for s, r in zip(scores.tolist(), rows))]
    others = np.delete(every, rows)
    assert len(others[others > 0]) == 0 or len(rows) == k
    assert not len(others) or not rows or others.max() <= min(scores.min(), 1.0) + 2e-6


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(NAME, NAME), min_size=1, max_size=6), st.randoms(use_true_random=False), st.integers(1, 6))
def test_a_list_does_not_depend_on_batch_or_order(pairs, chance, k):
    index = index_of(PEOPLE)
    mentions = [mention(surface, f"{text} {surface}") for surface, text in pairs]
    together = index.search(mentions, k)
    order = list(range(len(mentions)))
    chance.shuffle(order)
    shuffled = index.search([mentions[i] for i in order], k)
    for place, i in enumerate(order):
        alone = index.search([mentions[i]], k)
        for other, line in ((alone, 0), (shuffled, place)):
            assert np.array_equal(together.rows[i], other.rows[line])
            assert np.array_equal(together.scores[i], other.scores[line])


def test_chunks_change_nothing(people):
    mentions = [mention(surface) for surface in list(PEOPLE.values()) * 60]  # more than one chunk
    together = people.search(mentions, 4)
    alone = [people.search([m], 4) for m in mentions[: len(PEOPLE)]]
    for i in range(len(mentions)):
        assert np.array_equal(together.rows[i], alone[i % len(PEOPLE)].rows[0])
    rows = together.rows
    assert np.array_equal(
        people.score([m.surface for m in mentions], rows)[-5:],
        people.score([m.surface for m in mentions[-5:]], rows[-5:]),
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(NAME, max_size=6), st.lists(NAME, max_size=6), NAME)
def test_a_score_does_not_depend_on_what_else_the_knowledge_base_holds(before, after, surface):
    names = list(PEOPLE.values())
    alone = index_of(PEOPLE).score_all([surface])[0]
    among = index_of([*before, *names, *after]).score_all([surface])[0]
    np.testing.assert_allclose(among[len(before) : len(before) + len(names)], alone, atol=2e-6)


def test_the_order_of_the_knowledge_base_changes_no_list():
    ids = list(PEOPLE)
    backwards = {i: PEOPLE[i] for i in reversed(ids)}
    one, other = index_of(PEOPLE), index_of(backwards)
    for surface in ("Foster", "Silva", "George Bush", "J. F.", "William"):
        a, b = found(one, surface, 12), found(other, surface, 12)
        assert [ids[row] for row in a] == [list(backwards)[row] for row in b]


def test_scores_of_chosen_rows_are_those_of_all(people):
    surfaces = ["Foster", "George Bush"]
    rows = np.array([[3, 0, -1], [4, -1, -1]])
    every = people.score_all(surfaces)
    assert people.score(surfaces, rows).tolist() == [[every[0, 3], every[0, 0], 0.0], [every[1, 4], 0.0, 0.0]]
    mentions = [mention("William", "William and Barstow"), mention("Bush", "Bush and Walker")]
    every = people.caption_score_all(mentions)
    assert people.caption_score(mentions, rows).tolist() == [[every[0, 3], every[0, 0], 0.0], [every[1, 4], 0.0, 0.0]]


def test_other_weights_weigh_otherwise():
    lone = NameWeights(
        trigrams=0, words=0, coverage=0, last_word=1, first_word=0, initials=0, acronym=0, caption_word=0
    )
    index = NameIndex(["a", "b"], ["Jodie Foster", "Foster Jodie"], weights=lone)
    assert index.score_all(["Foster"]).tolist() == [[1.0, 0.0]]


class TestCaptionWords:
    def test_words_of_the_caption_decide_between_likes(self, people):
        text = "William and his brother moved to Barstow"
        assert found(people, "William", 1) == found(people, "William", 1, "William was a man")
        assert found(people, "William", 1, text) == [7]

    def test_each_word_adds_a_tenth(self, people):
        m = mention("William", "William met Barstow, Barstow and Foster")
        scores = people.caption_score_all([m])[0]
        assert scores[7] == pytest.approx(0.1, abs=1e-6)  # said twice, counted once
        assert scores[8] == pytest.approx(0.1, abs=1e-6)  # Foster
        assert scores[3] == 0.0

    def test_the_mentions_own_words_stop_words_and_letters_do_not_count(self):
        assert caption_words(mention("J. Foster", "J. Foster of the A team, with Foster's son")) == ["team", "son"]

    def test_words_far_from_the_mention_are_not_read(self):
        text = "Barstow " + "x " * 300 + "William" + " y" * 300 + " Foster"
        words = caption_words(mention("William", text, start=text.index("William")))
        assert words == []  # x and y are letters, and the names are too far
        assert caption_words(mention("William", text)) == []

    def test_without_offsets_the_first_occurrence_counts_and_none_is_the_beginning(self):
        assert caption_words(mention("Foster", "Barstow met Foster")) == ["barstow", "met"]
        assert caption_words(mention("nowhere", "Barstow met Foster")) == ["barstow", "met", "foster"]

    @pytest.mark.parametrize("start", [-1000, -1, 10**6])
    def test_offsets_that_make_no_sense_are_harmless(self, start):
        assert isinstance(caption_words(mention("Foster", "Barstow met Foster", start=start)), list)

    @pytest.mark.parametrize("filling", ["word ", "Foster ", "é", ".", " ", "'s", "(", "漢"])
    def test_a_megabyte_of_caption_is_read_in_no_time(self, filling, people):
        text = filling * (10**6 // len(filling))
        start = time.perf_counter()
        people.search([mention("Foster", text), mention("Foster", text, start=len(text) // 2)], 5)
        people.caption_score_all([mention("Foster", text)])
        assert time.perf_counter() - start < 10

    @pytest.mark.parametrize("filling", ["word ", "é", ".", " ", "(", "😀"])
    def test_a_megabyte_of_surface_is_bounded_too(self, filling, people):
        surface = "Foster" + filling * (10**6 // len(filling)) + "x"
        start = time.perf_counter()
        people.search([mention(surface, "")], 5)
        assert time.perf_counter() - start < 20


def test_a_large_knowledge_base_is_indexed_and_searched_in_bounded_time_and_memory():
    import tracemalloc

    chance = np.random.default_rng(0)
    syllables = np.array(["ka", "lo", "mi", "ten", "ra", "vos", "du", "pel", "sha", "nor"])
    parts = chance.integers(0, 10, (20_000, 5))
    names = [f"{syllables[p[0]]}{syllables[p[1]]} {syllables[p[2]]}{syllables[p[3]]}{syllables[p[4]]}" for p in parts]
    start = time.perf_counter()
    index = index_of(names)
    mentions = [mention(name) for name in names[:600]]
    tracemalloc.start()
    lists = index.search(mentions, 100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (lists.scores[:, 0] > 1 - 1e-5).all()
    assert time.perf_counter() - start < 30
    assert peak < 200e6


def plain_search(vectors, ids: list[str], m: Mention, k: int) -> tuple[list[int], list[float]]:
    """The definition, written plainly: every name's vector against the mention's, then a sort by score and id."""
    mine: dict[str, float] = {}
    for feature, value in chain(mention_features(m.surface, NameWeights()), caption_features(m, NameWeights())):
        mine[feature] = mine.get(feature, 0.0) + value
    best: dict[int, int] = {}
    for row, vector in vectors:
        shared = [value * mine[feature] for feature, value in vector if feature in mine]
        if shared:
            best[row] = max(best.get(row, 0), round(math.fsum(shared) * 2**20))
    rows = sorted(best, key=lambda row: (-best[row], ids[row]))[:k]
    return rows, [best[row] / 2**20 for row in rows]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(NAME, st.lists(NAME, max_size=2)), min_size=1, max_size=25),
    st.lists(st.tuples(NAME, NAME), min_size=1, max_size=4),
    st.integers(1, 12),
)
def test_the_search_is_the_plain_definition(names, said, k):
    ids = [f"Q{i * 7 % 25}" for i in range(len(names))]
    mentions = [mention(surface, f"{surface} {text}") for surface, text in said]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names_module, "_BLOCK", 2)  # so that few names are enough for a bound
        lists = NameIndex(ids, [name for name, _ in names], [aliases for _, aliases in names]).search(mentions, k)
    vectors = [(row, list(name_features(n))) for row, (name, more) in enumerate(names) for n in (name, *more)]
    for i, m in enumerate(mentions):
        rows, scores = plain_search(vectors, ids, m, k)
        assert lists.rows[i].tolist() == rows + [-1] * (k - len(rows))
        assert lists.scores[i].tolist() == scores + [0.0] * (k - len(rows))


class Living:
    """Entities that are added, changed and removed, as a knowledge base keeps them: a key stays with its entity."""

    def __init__(self) -> None:
        self.entities: dict[int, tuple[str, str, tuple[str, ...], int]] = {}  # key: id, name, aliases, revision
        self.revision, self.next_key, self.asked = 1, 0, 0

    def add(self, entity_id: str, name: str, aliases: tuple[str, ...] = ()) -> None:
        self.entities[self.next_key] = (entity_id, name, aliases, self.revision)
        self.next_key += 3

    def change(self, key: int, name: str, aliases: tuple[str, ...] = ()) -> None:
        self.entities[key] = (self.entities[key][0], name, aliases, self.revision)

    def state(self):
        """What `open` and `apply` are told."""
        listed = list(self.entities.values())

        def names_of(rows):
            self.asked += len(rows)
            return [(listed[row][1], listed[row][2]) for row in rows.tolist()]

        keys = np.array(list(self.entities), dtype=np.int64)
        revisions = np.array([revision for *_, revision in listed], dtype=np.int64)
        return keys, revisions, [entity_id for entity_id, *_ in listed], names_of

    def fresh(self) -> NameIndex:
        listed = self.entities.values()
        return NameIndex([e[0] for e in listed], [e[1] for e in listed], [e[2] for e in listed])

    def write(self, folder: Path, max_strings: int = 3) -> None:
        rows = [(key, name, aliases) for key, (_, name, aliases, _) in self.entities.items()]
        write_list(folder, [write_block(folder, block, self.revision) for block in blocks(rows, max_strings)])


ASKED = [
    mention("Foster"),
    mention("J. Foster", "J. Foster met Ben"),
    mention("FBI"),
    mention("joão x", "joão x o'neil"),
]


def assert_same(one: NameIndex, other: NameIndex) -> None:
    """Compare all answers of two indexes, to the last bit."""
    assert len(one) == len(other)
    surfaces = [m.surface for m in ASKED]
    for k in (1, 3, 40):
        a, b = one.search(ASKED, k), other.search(ASKED, k)
        assert a.rows.tolist() == b.rows.tolist()
        assert a.scores.tolist() == b.scores.tolist()
        assert one.score(surfaces, b.rows).tolist() == other.score(surfaces, b.rows).tolist()
        assert one.caption_score(ASKED, b.rows).tolist() == other.caption_score(ASKED, b.rows).tolist()
    assert one.score_all(surfaces).tolist() == other.score_all(surfaces).tolist()
    assert one.caption_score_all(ASKED).tolist() == other.caption_score_all(ASKED).tolist()


STEP = st.tuples(
    st.sampled_from(["add", "add", "change", "remove", "save", "reopen"]),
    st.integers(0, 99),
    NAME,
    st.lists(NAME, max_size=2),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=20), st.lists(NAME, max_size=8))
def test_an_index_that_lives_answers_as_one_built_anew(tmp_path_factory, steps, names):
    folder = tmp_path_factory.mktemp("names")
    living = Living()
    for i, name in enumerate(names):
        living.add(f"Q{i}", name)
    living.write(folder)
    index = NameIndex.open(folder, *living.state())
    seen = [(index, living.fresh())]
    for what, number, name, aliases in steps:
        living.revision += 1
        keys = list(living.entities)
        if what == "add" or (what in ("change", "remove") and not keys):
            living.add(f"Q{number}-{living.next_key}", name, tuple(aliases))
        elif what == "change":
            living.change(keys[number % len(keys)], name, tuple(aliases))
        elif what == "remove":
            del living.entities[keys[number % len(keys)]]
        if what == "save":
            index = index.save(folder)
        elif what == "reopen":
            index = NameIndex.open(folder, *living.state())
            assert index.damaged == ()
        else:
            index = index.apply(*living.state())
        seen.append((index, living.fresh()))
    assert_same(NameIndex.open(folder, *living.state()), living.fresh())
    for index, fresh in (seen[0], seen[len(seen) // 2], seen[-1]):  # those that came before are what they were
        assert_same(index, fresh)


class TestLiving:
    @pytest.fixture
    def living(self) -> Living:
        living = Living()
        for entity_id, name in PEOPLE.items():
            living.add(entity_id, name, ("Foster too",) if entity_id == "Q6" else ())
        return living

    def test_only_what_was_changed_is_asked_for(self, living, tmp_path):
        living.write(tmp_path)
        index = NameIndex.open(tmp_path, *living.state())
        assert living.asked == 0
        living.revision = 2
        living.change(6, "Jodie Foster the Second")
        living.add("Q99", "Zita Novak")
        del living.entities[0]
        changed = index.apply(*living.state())
        assert living.asked == 2
        assert_same(changed, living.fresh())
        assert living.asked == 2
        reopened = NameIndex.open(tmp_path, *living.state())
        assert living.asked == 4  # nothing was saved
        assert_same(reopened, living.fresh())

    def test_what_was_saved_is_not_asked_for_again(self, living, tmp_path):
        index = NameIndex.open(None, *living.state())
        living.revision = 2
        living.change(6, "Jodie Foster the Second")
        saved = index.apply(*living.state()).save(tmp_path)
        asked = living.asked
        reopened = NameIndex.open(tmp_path, *living.state())
        assert (living.asked, reopened.damaged) == (asked, ())
        for one in (saved, reopened):
            assert_same(one, living.fresh())
        assert saved.save(tmp_path).num_segments == saved.num_segments
        assert_same(NameIndex.open(tmp_path, *living.state()), living.fresh())

    def test_a_thousand_changes_make_few_segments_in_memory_and_on_disk(self, living, tmp_path):
        living.write(tmp_path, 10**6)
        index = NameIndex.open(tmp_path, *living.state())
        for i in range(1000):
            living.revision += 1
            living.add(f"N{i}", f"Number {i}")
            index = index.apply(*living.state())
            if i % 100 == 99:
                index = index.save(tmp_path)
        assert index.num_segments <= 8
        assert len(read_list(tmp_path)) == index.num_segments
        assert_same(index, living.fresh())

    def test_an_entity_that_comes_back_under_its_key_is_the_new_one(self, living):
        index = NameIndex.open(None, *living.state())
        living.revision = 2
        was = living.entities.pop(0)
        without = index.apply(*living.state())
        living.revision = 3
        living.entities = {0: (was[0], "Somebody Else", (), 3), **living.entities}
        assert_same(without.apply(*living.state()), living.fresh())
        assert_same(index.apply(*living.state()), living.fresh())

    def test_back_to_an_older_state_is_a_change_too(self, living):
        old, old_state = NameIndex.open(None, *living.state()), living.state()
        living.revision = 2
        living.change(3, "Renamed")
        living.add("Q99", "New")
        assert_same(old.apply(*living.state()).apply(*old_state), old)

    def test_ids_decide_between_equals_wherever_they_are_added(self, living):
        index = NameIndex.open(None, *living.state())
        for i, entity_id in enumerate(["A", "Q50", "Q10", "é", "Z", "Q5"]):
            living.revision = 2 + i
            living.add(entity_id, "João Silva")
            index = index.apply(*living.state())
        lists = index.search([mention("João Silva")], 20)
        ids = living.state()[2]
        equal = [ids[row] for row, score in zip(lists.rows[0], lists.scores[0]) if score == 1.0]
        assert equal == sorted(equal)
        assert len(equal) == 8

    def test_from_nothing_and_back_to_nothing(self, living):
        nothing = NameIndex.open(None, *Living().state())
        assert (len(nothing), nothing.num_strings) == (0, 0)
        assert_same(nothing.apply(*living.state()), living.fresh())
        assert_same(NameIndex.open(None, *living.state()).apply(*Living().state()), nothing)
        assert nothing.score(["Foster"], np.array([[-1, -1]])).tolist() == [[0.0, 0.0]]

    def test_names_of_entities_that_are_gone_are_erased_from_the_files_when_asked(self, living, tmp_path):
        living.write(tmp_path, 10**6)
        index = NameIndex.open(tmp_path, *living.state())
        living.revision = 2
        del living.entities[3]
        index = index.apply(*living.state())
        before = {file.file for file in read_list(tmp_path)}
        index = index.save(tmp_path)
        assert before <= {file.file for file in read_list(tmp_path)}
        index = index.save(tmp_path, erase=[3])
        files = {file.file for file in read_list(tmp_path)}
        assert not before & files
        assert {path.name for path in tmp_path.iterdir()} == {LIST, *files}
        rows = [(key, name, aliases) for key, (_, name, aliases, _) in living.entities.items()]
        segment = NameIndex.open(tmp_path, *living.state())._parts[0].segment
        assert segment.features.tolist() == build_segment(rows, 1).features.tolist()
        assert_same(index, living.fresh())

    def test_two_states_use_one_folder_at_once(self, living, tmp_path):
        living.write(tmp_path)
        old = NameIndex.open(tmp_path, *living.state(), revision=1)
        old_state, old_fresh = living.state(), living.fresh()
        living.revision = 2
        living.change(3, "Renamed Foster")
        new = old.apply(*living.state(), revision=2).save(tmp_path)
        assert_same(old, old_fresh)
        assert_same(new, living.fresh())
        # The older state opened after that: what was written later is not believed.
        assert_same(NameIndex.open(tmp_path, *old_state, revision=1), old_fresh)
        assert_same(NameIndex.open(tmp_path, *living.state(), revision=2), living.fresh())

    def test_an_entity_in_two_segments_counts_as_the_later_one_says(self, living, tmp_path):
        living.write(tmp_path)
        files = read_list(tmp_path)
        again = write_block(tmp_path, [(0, "Jodie Foster", ()), (3, "Another Foster", ())], 2)
        write_list(tmp_path, [*files, again])
        index = NameIndex.open(tmp_path, *living.state())
        living.change(3, "Another Foster")
        assert living.asked == 0
        assert_same(index, living.fresh())

    def test_damaged_missing_and_foreign_files_are_told_and_done_without(self, living, tmp_path):
        living.write(tmp_path)
        files = [tmp_path / file.file for file in read_list(tmp_path)]
        files[0].write_bytes(b"\0" + files[0].read_bytes()[1:])
        files[1].unlink()
        files[2].write_bytes(files[3].read_bytes())
        index = NameIndex.open(tmp_path, *living.state())
        assert index.damaged == tuple(files[:3])
        assert 0 < living.asked < len(living.entities)
        assert_same(index, living.fresh())
        mended = index.save(tmp_path)
        assert mended.damaged == ()
        assert NameIndex.open(tmp_path, *living.state()).damaged == ()
        (tmp_path / LIST).write_text("{")
        index = NameIndex.open(tmp_path, *living.state())
        assert index.damaged == (tmp_path / LIST,)
        assert_same(index, living.fresh())

    def test_segments_of_another_history_are_not_believed(self, living, tmp_path):
        write_segments(tmp_path, [(key, "Wrong Name", ()) for key in living.entities], revision=1, state="other")
        index = NameIndex.open(tmp_path, *living.state(), knows=lambda number, state: (number, state) == (1, "mine"))
        assert [path.parent for path in index.damaged] == [tmp_path]
        assert_same(index, living.fresh())

    def test_an_index_of_mapped_files_can_be_pickled(self, living, tmp_path):
        living.write(tmp_path)
        index = NameIndex.open(tmp_path, *living.state())
        assert_same(pickle.loads(pickle.dumps(index)), index)
        assert index.nbytes > 0
        assert index.num_strings == len(PEOPLE) + 1

    def test_a_large_knowledge_base_takes_one_more_in_no_time(self):
        living = Living()
        for i in range(100_000):
            living.add(f"Q{i * 7919 % 100_000}", f"n{i % 991} m{i % 97}")
        index = NameIndex.open(None, *living.state())
        times = []
        for i in range(5):
            living.revision += 1
            living.add(f"N{i}", f"Zita Novak {i}")
            state = living.state()
            start = time.perf_counter()
            index = index.apply(*state)
            times.append(time.perf_counter() - start)
            assert index.search([mention(f"Zita Novak {i}")], 1).rows[0, 0] == len(living.entities) - 1
        assert min(times) < 0.02  # measured 3 ms


def test_the_index_of_a_knowledge_base_follows_it(tmp_path):
    people = [Entity(entity_id, name) for entity_id, name in PEOPLE.items()]
    with KnowledgeBase.create(tmp_path / "kb", people) as kb:
        index = NameIndex.of_kb(kb)
        assert_same(index, NameIndex(kb.ids, kb.names, kb.aliases))
        index.save(tmp_path / "names", state=kb.fingerprint.content)
        assert NameIndex.of_kb(kb, tmp_path / "names").damaged == ()
        with changing(tmp_path / "kb") as changes:
            changes.add(Entity("Q99", "Foster Father"))
            changes.remove("Q3")
        step = advance(kb)
        assert step is not None
        followed = index.follow(step)
        reopened = NameIndex.of_kb(step.kb, tmp_path / "names")
        assert reopened.damaged == ()
        for one in (followed, reopened):
            assert_same(one, NameIndex(step.kb.ids, step.kb.names, step.kb.aliases))
        step.kb.close()


@pytest.mark.realdata
def test_lists_of_real_names_are_those_of_the_plain_definition(realdata):
    from dualway.datasets.entities import read_entities
    from dualway.datasets.reader import open_dataset

    for name in ("wikimel", "wikidiverse"):
        entities, _ = read_entities(realdata / name)
        mentions = open_dataset(realdata / name, "dev").mentions[::211]
        index = NameIndex([e.id for e in entities], [e.name for e in entities], [e.aliases for e in entities])
        lists = index.search(mentions, 100)
        vectors = [(row, list(name_features(n))) for row, e in enumerate(entities) for n in (e.name, *e.aliases)]
        ids = [e.id for e in entities]
        for i, m in enumerate(mentions):
            rows, scores = plain_search(vectors, ids, m, 100)
            assert lists.rows[i, : len(rows)].tolist() == rows
            assert lists.scores[i, : len(rows)].tolist() == np.array(scores, dtype=np.float32).tolist()


@pytest.mark.realdata
def test_wikimel_dev_by_names_alone(realdata):
    """Measured 83.3 T@1 and 99.66 recall@100 over all 18,880 names; the bounds are what was asked for."""
    from dualway.datasets.entities import read_entities
    from dualway.datasets.reader import open_dataset

    entities, _ = read_entities(realdata / "wikimel")
    dev = open_dataset(realdata / "wikimel", "dev")
    index = NameIndex([e.id for e in entities], [e.name for e in entities], [e.aliases for e in entities])
    row_of = {entity.id: row for row, entity in enumerate(entities)}
    gold = np.array([row_of.get(dev.gold[m.id] or "", -1) for m in dev.mentions])
    lists = index.search(dev.mentions, 100)
    recall = (lists.rows == gold[:, None]).any(1)[gold >= 0].mean()
    scores = index.score([m.surface for m in dev.mentions], lists.rows)
    hits = []
    for i in np.flatnonzero(gold >= 0):
        row, line = lists.rows[i], scores[i]
        at = np.flatnonzero(row == gold[i])
        if not len(at):
            hits.append(0.0)
            continue
        above, equal = (line > line[at[0]]).sum(), (line == line[at[0]]).sum()
        hits.append(1.0 / equal if above == 0 else 0.0)  # ties are averaged
    assert recall >= 0.993
    assert np.mean(hits) >= 0.815
