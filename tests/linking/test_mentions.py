"""Finding the mentions of a caption by the names of a knowledge base: exact offsets, no overlaps, any script."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualway.linking.mentions import MentionFinder

NAMES = [
    "Jodie Foster",
    "Ben Foster (actor)",
    "Mel Gibson",
    "Wayne Gretzky",
    "Janet Jones",
    "João Silva",
    "محمد صلاح",
    "東京",
    "Дмитрий Шостакович",
    "हिन्दी सिनेमा",
    "John F. Kennedy",
    "J. Edgar Hoover",
    "Sammy Davis Jr.",
    "Jean-Paul Sartre",
    "Sinéad O'Connor",
    "Ng",
    "Andrew Ng",
    "The Who",
    "will.i.am",
    "50 Cent",
    "בנימין נתניהו",
    "Prince",
    "King of Pop",
]
ALIASES = [("Alicia Foster",), (), (), ("The Great One",)] + [()] * 6 + [("J.F.K.", "JFK")]
FINDER = MentionFinder(NAMES, ALIASES)


def find(caption: str, finder: MentionFinder = FINDER) -> list[str]:
    spans = finder.find(caption)
    assert spans == sorted(spans)
    assert all(0 <= start < end <= len(caption) for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    return [caption[start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("caption", "mentions"),
    [
        ("Foster with co-star Mel Gibson", ["Foster", "Mel Gibson"]),
        ("Janet & Wayne Gretzky in December 2013.", ["Janet", "Wayne Gretzky"]),
        ("Jodie Foster, Mel Gibson and Janet Jones", ["Jodie Foster", "Mel Gibson", "Janet Jones"]),
        ("JODIE FOSTER with mel gibson", ["JODIE FOSTER"]),  # small letters are no name
        ("a foster home", []),
        ("", []),
        ("   \n", []),
        ("... !!! ---", []),
        # Possessives and quotes are not part of the mention.
        ("Jodie Foster's house", ["Jodie Foster"]),
        ("Jodie Foster’s house", ["Jodie Foster"]),
        ("Foster's.", ["Foster"]),
        ("'Foster' said \"Gibson\" (Gretzky)", ["Foster", "Gibson", "Gretzky"]),
        # Full stops: of the sentence, or of the name.
        ("A photo of Mel Gibson. Later with Foster.", ["Mel Gibson", "Foster"]),
        ("with Foster. Gibson was there", ["Foster", "Gibson"]),
        ("Foster...and Gibson", ["Foster", "Gibson"]),
        ("J.F.K. in Berlin", ["J.F.K."]),
        ("JFK in Berlin", ["JFK"]),
        ("John F. Kennedy in Berlin", ["John F. Kennedy"]),
        ("with J. Edgar Hoover.", ["J. Edgar Hoover"]),
        ("Sammy Davis Jr. sings", ["Sammy Davis Jr."]),
        ("Sammy Davis Jr sings", ["Sammy Davis Jr"]),
        ("Mr. Gibson", ["Gibson"]),
        # Apostrophes and hyphens inside.
        ("Jean-Paul Sartre and Sinead O'Connor", ["Jean-Paul Sartre", "Sinead O'Connor"]),
        ("Sartre with O’Connor", ["Sartre", "O’Connor"]),
        ("will.i.am and Will.I.Am", ["Will.I.Am"]),
        ("Wayne-Gretzky-Arena", []),
        # The longest name wins; neighbours are one mention.
        ("Alicia Foster", ["Alicia Foster"]),
        ("Mel Gretzky", ["Mel Gretzky"]),
        ("The Great One scores", ["The Great One"]),
        ("The Who on stage. The end. Who knows", ["The Who", "Who"]),
        ("The King of Pop, the king of pop", ["King of Pop"]),
        # Words that open sentences, months and days.
        ("After the show. In May. Prince plays", []),
        ("On Monday President Foster", ["Foster"]),
        # A short last name alone would be found everywhere.
        ("Andrew Ng talks", ["Andrew Ng"]),
        # Diacritics either way, composed or not.
        ("Joao Silva and João Silva and Joa\u0303o Silva", ["Joao Silva", "João Silva", "Joa\u0303o Silva"]),
        # Scripts without case, right to left, vowel signs that are no letters.
        ("احتفل محمد صلاح بالهدف", ["محمد صلاح"]),
        ("מפגש עם בנימין נתניהו בירושלים", ["בנימין נתניהו"]),
        ("\u200fمحمد صلاح\u200f مع Foster", ["محمد صلاح", "Foster"]),
        ("Дмитрий Шостакович и жена", ["Дмитрий Шостакович"]),
        ("дмитрий", []),
        ("東京 2020", ["東京"]),
        ("यह हिन्दी सिनेमा है", ["हिन्दी सिनेमा"]),
        # Noise around.
        ("_Foster_ *Gibson* #Gretzky @Kennedy", ["Foster", "Gibson", "Gretzky", "Kennedy"]),
        ("Foster _ said", ["Foster"]),
        ("photo: Foster/Gibson", ["Foster", "Gibson"]),
        ("50 Cent raps for 50 people", ["50 Cent"]),
        ("🙂Foster🙂 \ud800 Gibson\x00", ["Foster", "Gibson"]),
    ],
)
def test_mentions_of_a_caption(caption, mentions):
    assert find(caption) == mentions


def test_a_knowledge_base_without_names_finds_nothing():
    assert find("Foster with Gibson", MentionFinder([])) == []
    assert find("Foster 🙂 !", MentionFinder(["", "  ", "🙂", "!"])) == []


def test_names_longer_than_eight_words_are_found_by_their_beginning():
    name = "A Very Long Title Of A Film About Nothing At All"
    assert find(f"Seen: {name} yesterday", MentionFinder([name]))[0].startswith("A Very Long Title")


WORDS = st.sampled_from(
    [*" ".join(NAMES).split(), "and", "with", "'s", "’s", ".", ",", " ", "-", "\u200f", "\u0301", "\n"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS | st.text(max_size=3)).flatmap(lambda parts: st.sampled_from(["".join(parts), " ".join(parts)])))
def test_any_caption_gives_sorted_spans_without_overlap(caption):
    for mention in find(caption):
        assert mention == mention.strip()
        assert any(map(str.isalpha, mention))
        assert not mention.endswith(("'s", "’s", ",", "'"))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=12), max_size=8), st.text(max_size=60))
def test_any_names_are_taken(names, caption):
    find(caption, MentionFinder(names, [tuple(names)]))
    find(" ".join(names), MentionFinder(names))


@pytest.mark.parametrize(
    "filling", [".", "-", "'", " ", "a", "A", "Foster ", "Foster. ", "漢", "J.", "A.-", "\u0301", "é"]
)
def test_a_megabyte_of_caption_takes_seconds_at_most(filling):
    start = time.perf_counter()
    find(filling * (10**6 // len(filling)))
    assert time.perf_counter() - start < 20
