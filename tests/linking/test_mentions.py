from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualway.linking.mentions import MentionFinder

NAMES = ["Jodie Foster", "Mel Gibson", "Wayne Gretzky", "Janet Jones", "John F. Kennedy", "東京", "محمد صلاح", "Paris"]
FINDER = MentionFinder(NAMES, [["The Great One"], ["J.F.K."], ["Sammy Davis Jr."]])


@pytest.mark.parametrize(
    ("caption", "mentions"),
    [
        ("Foster with co-star Mel Gibson at the premiere", ["Foster", "Mel Gibson"]),
        ("Janet & Wayne Gretzky in December 2013.", ["Janet", "Wayne Gretzky"]),
        ("Gretzky's stick, held by Foster.", ["Gretzky", "Foster"]),
        ("The Great One, Wayne Gretzky.", ["The Great One", "Wayne Gretzky"]),
        ("John F. Kennedy in Paris", ["John F. Kennedy", "Paris"]),
        ("J.F.K. arrives", ["J.F.K."]),
        ("Sammy Davis Jr. on stage", ["Sammy Davis Jr."]),
        ("東京 at night", ["東京"]),
        ("صورة محمد صلاح", ["محمد صلاح"]),
        ("a foster home in paris", []),
        ("", []),
    ],
)
def test_mentions_of_captions(caption: str, mentions: list[str]):
    assert [caption[start:end] for start, end in FINDER.find(caption)] == mentions


@given(st.text(alphabet=st.one_of(st.sampled_from("JodieFostr .,'’-"), st.characters()), max_size=80))
def test_spans_are_in_order_apart_and_inside(caption: str):
    spans = FINDER.find(caption)
    flat = [edge for span in spans for edge in span]
    assert flat == sorted(flat)
    assert all(0 <= start < end <= len(caption) for start, end in spans)


def test_an_empty_knowledge_base_finds_nothing():
    assert MentionFinder([]).find("Jodie Foster in Paris") == []
