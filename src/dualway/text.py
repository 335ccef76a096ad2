"""Text as it is matched, never as it is shown: one normal form for names, mentions and captions."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Letters that Unicode does not decompose into a base letter and a mark, but that captions spell without it.
_PLAIN = str.maketrans(
    {
        "ł": "l", "đ": "d", "ð": "d", "ø": "o", "ı": "i", "ħ": "h", "ŧ": "t", "ŋ": "n", "ĸ": "k",
        "æ": "ae", "œ": "oe", "þ": "th", "ə": "e",
        "’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'", "“": '"', "”": '"',
        "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "―": "-", "−": "-",
    }
)  # fmt: skip
_SEPARATOR = re.compile(r"[^a-z0-9]+")
# Tried once a run of spaces, not once a space: a megabyte of spaces stays linear.
_BRACKETS = re.compile(r"(?<!\s)\s*[(（][^()（）]*[)）]")
_UNWRITABLE = re.compile("[\ud800-\udfff\x00]")
# Characters that carry no text: NUL and friends, soft hyphens, byte order and bidirectional marks, joiners, and the
# selectors that only choose between a plain and a coloured emoji.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff"
    "\U000e0100-\U000e01ef]"
)


@lru_cache(maxsize=65536)
def match_key(text: str) -> str:
    """Return `text` in the form in which names are compared: words separated by single spaces.

    Compatibility forms are folded (NFKD), case, diacritics, apostrophes and invisible characters dropped, other
    punctuation turned into spaces. Letters, digits and vowel signs of every script are kept.
    """
    seen = _INVISIBLE.sub("", text)
    if seen.isascii():
        return _SEPARATOR.sub(" ", seen.lower().replace("'", "").replace("`", "")).strip()
    # Folding case can make characters that decompose once more.
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", seen).casefold())
    plain = "".join(c for c in folded if not unicodedata.combining(c)).translate(_PLAIN).replace("'", "")
    words = "".join(c if _is_word(c) else " " for c in plain).split()
    return " ".join(word for word in words if any(map(str.isalnum, word)))  # a mark alone is no word


def without_brackets(name: str) -> str:
    """Return a title without its disambiguating brackets: "Fred (footballer, born 1979)" gives "Fred"."""
    shorter = _BRACKETS.sub("", name).strip()
    return shorter or name


def repair(text: str) -> str:
    """Replace what no UTF-8 file can hold (lone surrogates, NUL) by U+FFFD; the length stays, so offsets stay true."""
    return _UNWRITABLE.sub("\ufffd", text)


def is_broken(text: str) -> bool:
    """Tell whether `repair` would change `text`."""
    return _UNWRITABLE.search(text) is not None


def _is_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")
