"""From markup as it is on real pages to the text that stands for an entity: the expected text was written by hand."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualway.sources.cleaning import clean_text, first_paragraphs, is_disambiguation, is_hatnote, shorten
from dualway.sources.wikitext import clean_title, static_from_plain, static_text

PARAGRAPHS = json.loads((Path(__file__).parent / "paragraphs.json").read_text(encoding="utf-8"))
PLAIN = [
    # The failures of the paper's Table 1, as its data sets have them.
    ("For other uses, see Donald Trump.", ""),
    ('Barack, "Obama" redirect here. For other uses, see Barack, Obama, and Barack Obama.', ""),
    (
        "Barack Hussein Obama II; born August 4, 1961) is an American politician.",
        "Barack Hussein Obama II (born August 4, 1961) is an American politician.",
    ),
    ("A (b c is (d) here.", "A b c is (d) here."),
    ("It ended) there. It; began 1999) here.", "It ended there. It (began 1999) here."),
    ("The AK-47 (Автомат Калашникова; also 1947 model) is a rifle.", "The AK-47 (also 1947 model) is a rifle."),
    ("Word\u200b with\u00ad soft\ufeff marks\x07 and\u00a0spaces.", "Word with soft marks and spaces."),
    ("See &lt;b&gt;this&lt;/b&gt; &amp;amp; that.", "See this & that."),
    ("Half {{open and [[link|words ]] and left.", "Half open and words and left."),
    ("A, , b; ; c ,d.", "A, b; c,d."),
]


@pytest.mark.parametrize("case", PARAGRAPHS, ids=lambda case: f"{case['language']}-{case['markup'][:30]}")
def test_paragraphs(case):
    found = static_text(case["markup"], language=case["language"])
    assert (found.kind, found.text or found.target) == (case["kind"], case["text"])
    assert (found.problem == "") == (found.kind == "article")


def test_there_are_enough_of_them():
    counts = Counter(case["language"] for case in PARAGRAPHS)
    assert len(PARAGRAPHS) >= 60
    assert all(counts[language] >= 8 for language in ("en", "de", "fr", "es"))


@pytest.mark.parametrize(("raw", "expected"), PLAIN)
def test_plain_paragraphs(raw, expected):
    assert " ".join(first_paragraphs(raw)) == expected


class TestLead:
    def test_two_paragraphs_and_no_more(self):
        page = "{{Infobox}}\n'''A''' is one.\n\nB is two.\n\nC is three.\n== D ==\nE."
        assert static_text(page).text == "A is one. B is two."
        assert static_text(page, num_paragraphs=1).text == "A is one."
        assert static_text(page, num_paragraphs=9).text == "A is one. B is two. C is three."

    def test_it_is_cut_at_a_sentence(self):
        assert static_text("'''A''' is one. B is two. C is three.", max_chars=20).text == "A is one. B is two."

    def test_a_page_without_words(self):
        for markup in ("", "{{Infobox|a=b}}", "== A ==\nB", "[[File:a.jpg]]\n\n{{x}}"):
            assert static_text(markup).problem == "no text"

    def test_the_name_of_the_page(self):
        assert static_text("{{PAGENAME}} is one.", title="A").text == "A is one."
        assert clean_title("barack_Obama  II") == "Barack Obama II"

    def test_a_plain_extract(self):
        found = static_from_plain("Foo may refer to:\nFoo (bar)")
        assert (found.kind, found.text) == ("disambiguation", "")


class TestHostile:
    @pytest.mark.parametrize(
        "markup",
        [
            "{{" * 5000,
            "{{a|" * 2000 + "x" + "}}" * 2000,
            "[[" * 5000 + "x",
            "(" * 50_000,
            "<ref>" * 20_000,
            "{|" * 20_000,
            "'" * 100_000,
            "<" * 100_000,
            "&amp;" * 50_000,
            "a; " * 50_000 + ")",
            " " * 300_000 + "x",
            "x" * 1_000_000,
            "/" * 50_000 + "ə",
            "[" * 50_000,
        ],
    )
    def test_it_ends_and_says_something(self, markup):
        found = static_text(markup + " is a page.")
        assert found.text or found.problem
        assert len(found.text) <= 1000

    @given(st.text(alphabet="ab (){}[]|<>/ref'\n;:,.=*#&é中ə1", max_size=300))
    @settings(max_examples=300, deadline=None)
    def test_any_markup(self, markup):
        found = static_text(markup)
        assert "{{" not in found.text
        assert "[[" not in found.text
        cleaned = clean_text(markup)
        assert clean_text(cleaned) == cleaned
        assert found.text.count("(") == found.text.count(")") or found.text.endswith("…")


class TestShorten:
    @pytest.mark.parametrize(
        ("text", "limit", "expected"),
        [
            ("Short.", 100, "Short."),
            (
                "J. R. R. Tolkien was born in the U.S. in 1892. He wrote.",
                50,
                "J. R. R. Tolkien was born in the U.S. in 1892.",
            ),
            ("He met Dr. No at 5 p.m. there. Then more.", 35, "He met Dr. No at 5 p.m. there."),
            ("Er wurde am 3. Mai 1970 geboren. Er lebt z. B. in Berlin.", 45, "Er wurde am 3. Mai 1970 geboren."),
            ("東京は首都である。人口は多い。それから。", 16, "東京は首都である。人口は多い。"),
            ("One long sentence without any end at all", 20, "One long sentence…"),
            ("Onelongwordwithoutanyspace", 10, "Onelongwo…"),
            ('He said "yes." Then he left.', 15, 'He said "yes."'),
        ],
    )
    def test_at_a_sentence(self, text, limit, expected):
        assert shorten(text, limit) == expected

    @given(st.text(max_size=200), st.integers(1, 100))
    @settings(deadline=None)
    def test_never_longer(self, text, limit):
        assert len(shorten(text, limit)) <= max(limit, 2)


@pytest.mark.parametrize(
    "note",
    [
        "For other uses, see Paris (disambiguation).",
        '"Obama" redirects here. For other people, see Obama (surname).',
        "This article is about the city. For the county, see X.",
        "Not to be confused with Jon Smith.",
        "Dieser Artikel behandelt den Fluss; zu anderen Bedeutungen siehe Rhein.",
        "Zu anderen Personen siehe Müller.",
        "Pour les articles homonymes, voir Hugo.",
        "Ne doit pas être confondu avec X.",
        "Para otros usos de este término, véase Madrid.",
        "No debe confundirse con X.",
    ],
)
def test_notes_to_the_reader(note):
    assert is_hatnote(note)


@pytest.mark.parametrize(
    "sentence",
    [
        "For Whom the Bell Tolls is a novel by Ernest Hemingway.",
        "This is Spinal Tap is a film.",
        "Para is a state of Brazil.",
        "Pour le Mérite is an order.",
        "Siegfried is the third of four operas.",
    ],
)
def test_sentences_that_are_none(sentence):
    assert not is_hatnote(sentence)
    assert not is_disambiguation(sentence)


def test_no_pattern_takes_long():
    for text in ("may " * 20_000, "for the " * 20_000, "steht " * 20_000, "a redirects " * 20_000):
        assert not is_disambiguation(text)
        is_hatnote(text)
        assert re.match("", clean_text(text)) is not None
