"""From markup as it is on real pages to the text that stands for an entity."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualway.sources.templates import Call, words_of
from dualway.sources.wikitext import clean_title, static_from_plain, static_text, without_quotes

PARAGRAPHS = json.loads((Path(__file__).parent / "paragraphs.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", PARAGRAPHS, ids=lambda case: f"{case['language']}-{case['markup'][:30]}")
def test_paragraphs(case):
    found = static_text(case["markup"], language=case["language"])
    assert (found.kind, found.text or found.target) == (case["kind"], case["text"])
    assert (found.problem == "") == (found.kind == "article")


def test_there_are_enough_of_them():
    counts = Counter(case["language"] for case in PARAGRAPHS)
    assert len(PARAGRAPHS) >= 120
    assert all(counts[language] >= 12 for language in ("en", "de", "fr", "es"))


class TestLead:
    def test_two_paragraphs_and_no_more(self):
        page = "{{Infobox}}\n'''A''' is one.\n\nB is two.\n\nC is three.\n== D ==\nE."
        assert static_text(page).text == "A is one. B is two."
        assert static_text(page, num_paragraphs=1).text == "A is one."
        assert static_text(page, num_paragraphs=9).text == "A is one. B is two. C is three."

    def test_it_is_cut_at_a_sentence(self):
        assert static_text("'''A''' is one. B is two. C is three.", max_chars=20).text == "A is one. B is two."

    def test_a_page_without_words(self):
        for markup in ("", "{{Infobox|a=b}}", "== A ==\nB", "[[File:a.jpg]]\n\n{{x}}", "* [[A]]\n* [[B]]"):
            assert static_text(markup).problem == "no text"

    def test_what_is_left_of_a_picture_is_no_paragraph(self):
        assert static_text("View of the town\n\n'''A''' is a town.\n\nIt is old.").text == "A is a town. It is old."

    def test_the_name_of_the_page(self):
        assert static_text("{{PAGENAME}} is one.", title="A").text == "A is one."
        assert clean_title("barack_Obama  II") == "Barack Obama II"

    def test_a_plain_extract(self):
        found = static_from_plain("Foo may refer to:\nFoo (bar)")
        assert (found.kind, found.text) == ("disambiguation", "")

    @pytest.mark.parametrize("word", ["REDIRECT", "redirect ", "WEITERLEITUNG", "REDIRECTION", "REDIRECCIÓN", "重定向"])
    def test_redirects(self, word):
        found = static_text(f"#{word} [[barack_Obama|x]] {{{{R from move}}}}")
        assert (found.kind, found.target, found.problem) == ("redirect", "Barack Obama", "redirect")

    def test_a_redirect_to_a_part_of_a_page_is_no_description(self):
        assert static_text("#REDIRECT [[A#B]]").problem == "redirect to a part of another page"

    @pytest.mark.parametrize(
        "template", ["disambiguation", "Hndis|Smith, John", "Begriffsklärung", "homonymie", "Desambiguación"]
    )
    def test_disambiguation_pages(self, template):
        assert static_text(f"'''A''' is a name.\n{{{{{template}}}}}").kind == "disambiguation"

    def test_a_link_to_one_is_none(self):
        assert static_text("{{Other uses|A (disambiguation)}}\n'''A''' is one.").text == "A is one."


@pytest.mark.parametrize(
    ("name", "values", "named", "language", "expected"),
    [
        ("convert", ("6", "ft", "2", "in", "m"), {}, "en", "6 ft 2 in"),
        ("Convert", ("5", "-", "10", "C"), {}, "en", "5–10 °C"),
        ("birth_date", ("1946", "06", "04"), {}, "en", "June 4, 1946"),
        ("start date", ("1946", "6"), {}, "en", "June 1946"),
        ("death date", ("1946",), {}, "en", "1946"),
        ("date", ("1", "2", "1950"), {}, "de", "1. Februar 1950"),
        ("date", ("15", "août", "1769"), {}, "fr", "15 août 1769"),
        ("date", ("99", "99", "99999"), {}, "fr", "99 99 99999"),
        ("as of", ("2023", "3", "5"), {"lc": "y"}, "en", "as of 5 March 2023"),
        ("s2-", ("XVI", "e", "XVII", "e"), {}, "fr", "XVIe et XVIIe siècles"),
        ("frac", ("1", "1", "2"), {}, "en", "1 1/2"),
        ("formatnum:1234567", (), {}, "en", "1,234,567"),
        ("formatnum:12,5", (), {}, "de", "12,5"),
        ("sclass", ("Iowa", "battleship"), {}, "en", "Iowa-class battleship"),
        ("Infobox person", ("x",), {}, "en", ""),
        ("#if:x", ("y",), {}, "en", ""),
    ],
)
def test_words_of_templates(name, values, named, language, expected):
    assert words_of(name, Call(values, named, language)) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("'''A''' and ''b'' and '''''c'''''", "A and b and c"),
        ("O'Neill's ''''n'''' roll", "O'Neill's 'n' roll"),
        ("'''A''', l'''Iliade''", "A, l'Iliade"),
    ],
)
def test_apostrophes(line, expected):
    assert without_quotes(line) == expected


class TestHostile:
    @pytest.mark.parametrize(
        "markup",
        [
            "{{" * 5000,
            "{{a|" * 2000 + "x" + "}}" * 2000,
            "[[" * 5000 + "x",
            "(" * 50_000,
            "( " * 50_000,
            "; ;" * 30_000,
            "<ref>" * 20_000,
            "<a b=" * 20_000,
            "<b><i>" * 20_000,
            "[http://a " * 20_000,
            "{|" * 20_000,
            "'" * 100_000,
            "<" * 100_000,
            "&amp;" * 50_000,
            "a; " * 50_000 + ")",
            " " * 300_000 + "x",
            "x" * 1_000_000,
            "/" * 50_000 + "ə",
            "[" * 50_000,
            "{{convert|" + "|" * 10_000 + "99=x}}",
        ],
        ids=lambda markup: markup[:10].strip(),
    )
    def test_it_ends_and_says_something(self, markup):
        begin = time.perf_counter()
        found = static_text(markup + " is a page.")
        assert found.text or found.problem
        assert len(found.text) <= 1000
        assert time.perf_counter() - begin < 20  # most need less than one: what grows with the square needs minutes

    @given(st.text(alphabet="ab (){}[]|<>/ref'\n;:,.=*#&é中ə1（、-", max_size=300))
    @settings(max_examples=300, deadline=None)
    def test_any_markup(self, markup):
        found = static_text(markup)
        assert "{{" not in found.text
        assert "[[" not in found.text
        assert found.text.count("(") == found.text.count(")") or found.text.endswith("…")
