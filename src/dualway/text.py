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
_NOT_WORD = re.compile(r"[^\w]+|_+")
_BRACKETS = re.compile(r"\s*[(（][^()（）]*[)）]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Control and format characters that carry no text: NUL and friends, byte order marks, bidirectional marks.
_INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


@lru_cache(maxsize=65536)
def match_key(text: str) -> str:
    """Return `text` in the form in which names are compared.

    Compatibility forms are folded (NFKD), case and diacritics dropped, punctuation turned into single spaces.
    Letters and digits of every script are kept; Indic and Arabic vowel signs go the way of other combining marks.
    """
    folded = unicodedata.normalize("NFKD", repair(text)).casefold()
    plain = "".join(c for c in folded if not unicodedata.combining(c)).translate(_PLAIN)
    return _NOT_WORD.sub(" ", plain.replace("'", "")).strip()


def without_brackets(name: str) -> str:
    """Return a title without its disambiguating brackets: "Fred (footballer, born 1979)" gives "Fred"."""
    shorter = _BRACKETS.sub("", name).strip()
    return shorter or name


def repair(text: str) -> str:
    """Replace lone surrogates, which no file can hold, and remove invisible control characters."""
    return _INVISIBLE.sub("", _SURROGATE.sub("\ufffd", text))


def is_broken(text: str) -> bool:
    """Tell whether `repair` would replace something that cannot be written to a file."""
    return _SURROGATE.search(text) is not None or "\x00" in text
