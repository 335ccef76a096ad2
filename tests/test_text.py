"""Names as they are compared: one form for all spellings of a name, in any script."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualway.text import is_broken, match_key, repair, without_brackets

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates and unassigned characters too


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Jodie Foster", "jodie foster"),
        ("  JODIE\tfoster\n", "jodie foster"),
        ("João Silva", "joao silva"),
        ("Joa\u0303o Silva", "joao silva"),  # decomposed
        ("Łukasz Ørsted Æthel Œuvre Đoković ıřm", "lukasz orsted aethel oeuvre dokovic irm"),
        ("Straße", "strasse"),
        ("İstanbul", "istanbul"),
        ("O'Brien", "obrien"),
        ("O’Brien", "obrien"),
        ("O`Brien", "obrien"),
        ("OʼBrien", "obrien"),
        ("Ó`Brien", "obrien"),
        ("Jean-Paul", "jean paul"),
        ("Jean–Paul", "jean paul"),
        ("J. F. K.", "j f k"),
        ("snake_case, (and) [more]!", "snake case and more"),
        ("Ｆｕｌｌ　Ｗｉｄｔｈ １２", "full width 12"),
        ("ﬁne", "fine"),
        ("Дмитрий ШОСТАКОВИЧ", "дмитрии шостакович"),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσευσ"),
        ("Ὀδυσσεύς", "οδυσσευσ"),
        ("東京", "東京"),
        ("مُحَمَّد صلاح", "محمد صلاح"),
        ("שָׁלוֹם", "שלום"),
        ("Jo\u00addie", "jodie"),  # a soft hyphen is not seen
        ("\ufeffJodie\u200b Fos\u200dter\u202c", "jodie foster"),
        ("Jo\x00die", "jodie"),
        ("é\x00e", "ee"),
        ("", ""),
        ("...", ""),
        ("🙂", ""),
        ("❤️", ""),
        ("#️⃣", ""),
        ("❤️ Foster", "foster"),
    ],
)
def test_spellings_of_a_name_have_one_key(text, key):
    assert match_key(text) == key


@pytest.mark.parametrize("text", ["हिन्दी", "ภาษาไทย", "தமிழ்", "한국어", "ქართული", "አማርኛ"])
def test_every_script_keeps_its_letters_as_one_word(text):
    assert match_key(text)
    assert " " not in match_key(text)


@given(ANY_TEXT)
def test_a_key_is_its_own_key(text):
    key = match_key(text)
    assert match_key(key) == key


@given(ANY_TEXT)
def test_words_of_a_key_are_separated_by_single_spaces_and_hold_a_letter_or_digit(text):
    assert all(any(map(str.isalnum, word)) for word in match_key(text).split(" ") if match_key(text))


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_takes_no_other_way_than_the_rest(text):
    """The short way for ASCII and the long way agree: a diacritic elsewhere does not change how "O`B" is read."""
    assert match_key(text + " é") == " ".join([*match_key(text).split(), "e"])


@given(ANY_TEXT)
def test_case_does_not_matter(text):
    assert match_key(text.casefold()) == match_key(text)


def test_keys_of_long_texts_are_fast():
    start = time.perf_counter()
    match_key("é" * 500_000 + "x " * 250_000)
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("Fred (footballer, born 1979)", "Fred"),
        ("Ben Foster (actor)", "Ben Foster"),
        ("(500) Days of Summer", "Days of Summer"),
        ("東京（日本）", "東京"),
        ("A (b) C (d)", "A C"),
        ("(actor)", "(actor)"),  # nothing would be left
        ("Fred (", "Fred ("),
        ("", ""),
    ],
)
def test_brackets_of_titles_are_left_out(name, bare):
    assert without_brackets(name) == bare


@pytest.mark.parametrize("filling", [" ", "(", ")", "( ", "()"])
def test_brackets_of_hostile_names_are_looked_for_in_linear_time(filling):
    start = time.perf_counter()
    without_brackets("a" + filling * 300_000 + "b")
    assert time.perf_counter() - start < 10


@given(ANY_TEXT)
def test_repair_keeps_the_length_and_all_that_can_be_written(text):
    fixed = repair(text)
    assert len(fixed) == len(text)
    assert fixed.encode().decode() == fixed
    assert "\x00" not in fixed
    assert all(a == b or b == "\ufffd" for a, b in zip(text, fixed))
    assert is_broken(text) == (fixed != text)


def test_a_lone_surrogate_is_replaced_and_a_pair_is_a_character():
    assert repair("a\ud800b\x00c") == "a\ufffdb\ufffdc"
    assert repair("😀") == "😀"
