"""Finding the mentions of a caption by the names of a knowledge base."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from dualway.candidates.similarity import name_key
from dualway.text import match_key

_MAX_WORDS = 8  # longer names are matched by their first eight words
_SHORT = 3  # a last name shorter than this ("Ng") is only found as part of a full name
# Capitalised words that open sentences or name dates; they are last names too, but seldom mean one in a caption.
_NO_NAME = frozenset(
    {"the", "a", "an", "at", "in", "on", "by", "and", "with", "from", "for", "of", "as", "his", "her", "he", "she"}
    | {"january", "february", "march", "april", "may", "june", "july", "august", "september", "october"}
    | {"november", "december", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}
    | {"circa", "photo", "portrait", "president", "king", "queen", "prince", "princess", "left", "right", "after"}
)


# Full stops that belong to the word before them, beside those of initials ("J.", "J.F.K.").
_ABBREVIATIONS = frozenset({"jr", "sr", "dr", "mr", "mrs", "ms", "prof", "st"})


class _Token(NamedTuple):
    start: int
    end: int
    key: str
    capital: bool  # upper case, or of a script without case


class MentionFinder:
    """Looks up full names and aliases, longest first, then single last or first names written as names.

    Args:
        names: Names of the knowledge base's entities.
        aliases: Their further names.
    """

    def __init__(self, names: Sequence[str], aliases: Iterable[Sequence[str]] = ()) -> None:
        keys = {name_key(name) for name in names}
        keys.update(name_key(alias) for others in aliases for alias in others)
        keys.discard("")
        self._names = {" ".join(key.split()[:_MAX_WORDS]) for key in keys}
        self._first_words = {key.partition(" ")[0] for key in keys}
        multiword = [key.split() for key in keys if " " in key]
        self._parts = {word for words in multiword for word in (words[0], words[-1]) if len(word) >= _SHORT}
        self._parts -= _NO_NAME

    def find(self, caption: str) -> list[tuple[int, int]]:
        """Return (start, end) of each mention, in order, none overlapping another.

        A full name begins with a capital or a figure. A single word counts when it is capitalised (or its script has
        no case) and is a whole name, or the first or last word of one. Neighbouring single words are one mention:
        "Wayne Gretzky" of a KB that has other Gretzkys.
        """
        tokens = [_token(match) for match in _word_pattern().finditer(caption)]
        spans: list[tuple[int, int]] = []
        i = 0
        while i < len(tokens):
            length = self._full_name(tokens, i) or self._partial_name(caption, tokens, i)
            if length:
                spans.append((tokens[i].start, tokens[i + length - 1].end))
            i += max(length, 1)
        return spans

    def _full_name(self, tokens: Sequence[_Token], i: int) -> int:
        first = tokens[i]
        if not (first.capital or first.key.isdigit()):  # "50 Cent"
            return 0
        if first.key.partition(" ")[0] not in self._first_words:
            return 0
        for length in range(min(_MAX_WORDS, len(tokens) - i), 0, -1):
            key = " ".join(token.key for token in tokens[i : i + length] if token.key)
            if (
                key in self._names
                and tokens[i + length - 1].key
                and (length > 1 or (first.capital and key not in _NO_NAME))
            ):
                return length
        return 0

    def _partial_name(self, caption: str, tokens: Sequence[_Token], i: int) -> int:
        length = 0
        while i + length < len(tokens):
            token = tokens[i + length]
            adjoining = length == 0 or caption[tokens[i + length - 1].end : token.start].isspace()
            if not (token.capital and adjoining and token.key in self._parts):
                break
            length += 1
        return length


@cache
def _word_pattern() -> re.Pattern[str]:
    """Words: letters, digits and marks, joined by single apostrophes, hyphens or full stops; perhaps a full stop."""
    marks = "".join(c for c in map(chr, range(0x300, 0x20000)) if unicodedata.category(c).startswith("M"))
    word = rf"(?:[^\W_]|[{marks}\u200c\u200d])+"
    return re.compile(rf"{word}(?:['’.\-]{word})*\.?")


def _token(match: re.Match[str]) -> _Token:
    word = match.group()
    if word.endswith(".") and not _is_abbreviation(word[:-1]):
        word = word[:-1]
    word = re.sub(r"['’]s$", "", word)
    letter = next((c for c in word if c.isalpha()), "")
    capital = bool(letter) and (letter.isupper() or letter.lower() == letter.upper())
    return _Token(match.start(), match.start() + len(word), match_key(word), capital)


def _is_abbreviation(word: str) -> bool:
    """Tell whether a full stop behind `word` is its own: "Jr.", or the last of initials, rather than the sentence's."""
    last = word.rsplit(".", 1)[-1].rsplit("-", 1)[-1]
    return len(last) == 1 or word.lower() in _ABBREVIATIONS
