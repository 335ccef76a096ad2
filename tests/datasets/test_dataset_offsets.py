from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dualway.datasets.offsets import Given, locate
from dualway.text import match_key

ANY_TEXT = st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=40)


def found(text: str, *surfaces: str) -> list[str | None]:
    return [None if span is None else text[span.start : span.end] for span in locate(text, surfaces)]


@pytest.mark.parametrize(
    ("text", "surface", "expected", "how"),
    [
        ("Fishermen with Fisher in 2010", "Fisher", "Fisher", "exact"),
        ("The Beatles", "Beatle", "Beatle", "exact"),
        ("習近平在北京", "北京", "北京", "exact"),
        ("MATTÒLI and others", "Mattoli", "MATTÒLI", "folded"),
        ("Ali\u0301ce met Alíce", "Alice", "Ali\u0301ce", "folded"),
        ("DJ WestBam", "Westbam", "WestBam", "folded"),
        ("George Byng, 1st Viscount Torrington", "George Byng 1st Viscount Torrington", None, "folded"),
        ("Lil' Kim's tour bus", "Lil Kim", "Lil' Kim", "folded"),
        ("Straße nach Süden", "STRASSE", "Straße", "folded"),
        ("the ﬁnal of İstanbul", "FINAL", "ﬁnal", "folded"),
        ("Hermann von Beckerath.", "Hermann Beckerath", "Hermann von Beckerath", "fuzzy"),
        ("The Earl of Aberdeen in the 1850s", "Earl Aberdeen", "Earl of Aberdeen", "fuzzy"),
        ("Statue of Thomas Osborne, 1st Duke of Leeds", "Thomas Osborne 1st Duke Leeds", None, "fuzzy"),
        ("Howard against Amar'e Stoudemire", "Amar Stoudemire", "Amar'e Stoudemire", "fuzzy"),
        ("Mary, Queen of Scots, Mary of Guise's daughter", "Mary Guise", "Mary of Guise", "fuzzy"),
        ("Walter Maurice Elsasser  was a physicist", "Walter Elsasser", "Walter Maurice Elsasser", "fuzzy"),
        ("Josephine Garis Cochran  was an inventor", "Cochrane", "Cochran", "fuzzy"),
        ("Julius  was an Assyriologist", "Julius (Jules) Oppert", None, None),
        ("Jaime Levy is an author", "Russell", None, None),
        ("always", "al.", None, None),
        ("text", "?!", None, None),
        ("", "a", None, None),
    ],
)
def test_a_mention_is_located(text, surface, expected, how):
    [span] = locate(text, [surface])
    assert (span.how if span else None) == how
    if span is not None and expected is not None:
        assert text[span.start : span.end] == expected
    if span is not None and expected is None:
        assert text.endswith(surface.rsplit(" ", 1)[-1])
        assert span.end == len(text)


def test_equal_mentions_get_successive_places_and_then_share_the_first():
    assert [span.start for span in locate("Bush, BUSH, Bush", ["Bush"] * 4)] == [0, 12, 6, 0]


def test_a_longer_mention_takes_its_place_before_a_shorter_one():
    text = "George Bush with Bush and Laura Bush"
    assert [span.start for span in locate(text, ["Bush", "George Bush", "Laura Bush"])] == [17, 0, 26]


def test_a_mention_inside_another_is_found_when_it_stands_nowhere_else():
    assert found("George Bush always", "Bush", "George Bush", "al") == ["Bush", "George Bush", "al"]


def test_whole_words_come_before_parts_of_words():
    assert [span.start for span in locate("Alice and ALI", ["Ali"])] == [10]


def test_given_places_are_kept_and_the_others_choose_around_them():
    spans = locate("Bush and Bush", ["Bush", "Bush"], [None, Given(0, 4)])
    assert [(span.start, span.how) for span in spans] == [(9, "exact"), (0, "given")]


def test_given_places_may_differ_in_case_and_accents():
    assert locate("MATTÒLI", ["Mattoli"], [Given(0, 7)])[0].how == "given"


@given(ANY_TEXT, st.lists(ANY_TEXT, max_size=5))
@example("e\u0301", ["e"])
@example("\ud800", ["\ud800", ""])
@settings(max_examples=300, deadline=None)
def test_any_text_is_survived_and_places_lie_in_it(text, surfaces):
    for surface, span in zip(surfaces, locate(text, surfaces), strict=True):
        if span is None:
            assert surface not in text or not surface
            continue
        assert 0 <= span.start < span.end <= len(text)
        if span.how == "exact":
            assert text[span.start : span.end] == surface


@given(ANY_TEXT, ANY_TEXT, st.integers(-3, 50), st.integers(-3, 50))
@settings(max_examples=200, deadline=None)
def test_any_given_place_is_survived(text, surface, start, end):
    [span] = locate(text, [surface], [Given(start, end)])
    assert span is None or 0 <= span.start < span.end <= len(text)


NAME = st.text(alphabet=st.characters(categories=["Lu", "Ll"]), min_size=4, max_size=12)


@given(ANY_TEXT.map(lambda text: text + " "), NAME, ANY_TEXT.map(lambda text: " " + text))
@settings(max_examples=300, deadline=None)
def test_a_folded_match_maps_back_exactly(before, name, after):
    text = before + name + after
    [span] = locate(text, [name.swapcase()])
    assert span is not None
    there = text[span.start : span.end]
    assert there == name.swapcase() or match_key(there) == match_key(name.swapcase())


@pytest.mark.parametrize(
    ("text", "surfaces"),
    [
        ("a" * 10**6, ["a"] * 1000),
        ("a " * 500_000, ["a"] * 20_000),
        ("łorem ípsum " * 90_000, ["Hermann Beckerath"]),
        ("x" * 10**6, ["y" * 10**6]),
        ("aaaab " * 100_000, [" ".join("aaaa" + c for c in "cdefghijklmnopq")]),
        ("e" + "\u0301" * 10**6, ["é"]),
        ("ab " * 300_000, [" ".join("abcdefghijkl")]),
    ],
    ids=["one letter", "many places", "absent", "long mention", "all similar", "marks", "initials"],
)
def test_a_megabyte_takes_seconds_at_most(text, surfaces):
    start = time.process_time()
    assert len(locate(text, surfaces)) == len(surfaces)
    assert time.process_time() - start < 15
