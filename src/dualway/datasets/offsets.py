"""Finds a mention in its caption: literally, then without case and accents, then with words left out or misspelt.

Offsets always count characters of the original text. Every step is linear in the text's length.
"""

from __future__ import annotations

import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from typing import NamedTuple

from rapidfuzz import fuzz, process

from dualway.text import match_key

_MAX_FUZZY_WORDS = 64  # a longer mention is a paragraph, not a name
_MAX_LETTERS = 64  # nor is a longer word misspelt
_MAX_OCCURRENCES = 100_000  # looked at before a search gives up: bounds "aaaa..."
_MAX_HITS = 5_000
_MIN_COVERED = 0.6  # share of the mention's letters that the words found must cover
_MIN_SIMILAR = 75.0  # rapidfuzz ratio from which one word is taken for another's misspelling
_GAP_COST = 0.02  # for every word of the text between the words found


class Span(NamedTuple):
    """A mention's place: text[start:end], and how it was found (given, exact, folded, fuzzy)."""

    start: int
    end: int
    how: str


class Given(NamedTuple):
    """Offsets as a file states them; they are checked before they are believed."""

    start: int | None
    end: int | None


def locate(text: str, surfaces: Sequence[str], given: Sequence[Given | None] = ()) -> list[Span | None]:
    """Return where each mention of one caption stands, None where it does not.

    Given offsets that hold the mention are kept; others only tell which occurrence is meant. Longer mentions choose
    first; equal ones get successive occurrences; whole words come before parts of words. A mention that occurs less
    often than it is listed shares its first place.
    """
    finder = _Finder(text)
    spans: list[Span | None] = [None] * len(surfaces)
    for i, stated in enumerate(given):
        if stated is not None and _holds(text, surfaces[i], stated):
            spans[i] = finder.take(Span(stated.start or 0, stated.end or 0, "given"))
    order = sorted((i for i in range(len(surfaces)) if spans[i] is None), key=lambda i: -len(surfaces[i]))
    for i in order:
        stated = given[i] if i < len(given) else None
        near = stated.start if stated is not None else None
        spans[i] = finder.take(finder.find(surfaces[i], near))
    for i in order:
        if spans[i] is None:
            spans[i] = finder.take(finder.find_fuzzy(surfaces[i]))
    return spans


def _holds(text: str, surface: str, given: Given) -> bool:
    start, end = given
    if start is None or end is None or not 0 <= start < end <= len(text):
        return False
    there = text[start:end]
    return there == surface or (match_key(there) == match_key(surface) != "")


class _Folded:
    """The letters and digits of a text as `match_key` compares them, without spaces, each with its origin.

    letters: the folded text; origin[i]: index in the original text of the character that letters[i] came from;
    starts: positions in letters where words start.
    """

    def __init__(self, text: str) -> None:
        pieces: list[str] = []
        self.origin, self.starts = array("q"), array("q")
        fresh = True
        for index, character in enumerate(text):
            for letter in _fold(character):
                if letter == " ":
                    fresh = True
                    continue
                if fresh:
                    self.starts.append(len(pieces))
                    fresh = False
                pieces.append(letter)
                self.origin.append(index)
        self.letters = "".join(pieces)

    @cached_property
    def words(self) -> list[str]:
        ends = [*self.starts[1:], len(self.letters)]
        return [self.letters[start:end] for start, end in zip(self.starts, ends)]

    def is_word(self, start: int, end: int) -> bool:
        """Tell whether letters[start:end] starts and ends where words do."""
        return self._is_start(start) and (end == len(self.letters) or self._is_start(end))

    def _is_start(self, position: int) -> bool:
        found = bisect_left(self.starts, position)
        return found < len(self.starts) and self.starts[found] == position


@lru_cache(maxsize=65536)
def _fold(character: str) -> str:
    # Between two letters it shows whether a character separates words ("-") or vanishes within one ("'").
    return match_key(f"a{character}a")[1:-1]


class _Finder:
    """Searches one text; remembers the places already given away."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._taken = bytearray(len(text))  # 1 where a mention already stands
        self._searches: dict[tuple[str, str], _Search] = {}  # where the search for the same mention goes on

    @cached_property
    def _folded(self) -> _Folded:
        return _Folded(self._text)

    def take(self, span: Span | None) -> Span | None:
        if span is not None:
            self._taken[span.start : span.end] = b"\1" * (span.end - span.start)
        return span

    def find(self, surface: str, near: int | None = None) -> Span | None:
        """Return the best literal or folded place, a free one if there is one."""
        if near is not None and (span := self._nearest(surface, near)) is not None:
            return span
        key = _Folded(surface).letters
        literal = self._pick(("literal", surface), self._literal(surface, whole=True))
        if literal is not None and self._is_free(literal):
            return literal
        folded = self._pick(("folded", key), self._by_letters(key, whole=True)) if key else None
        if folded is not None and self._is_free(folded):
            return folded
        if literal is not None or folded is not None:
            return literal or folded
        part = self._pick(("part", surface), self._literal(surface, whole=False))
        if part is None and (len(key) >= 4 or not key.isascii()):
            part = self._pick(("folded part", key), self._by_letters(key, whole=False))
        return part

    def find_fuzzy(self, surface: str) -> Span | None:
        """Return the run of words that covers most of the mention, if it covers enough of it."""
        mention = list(dict.fromkeys(_Folded(surface).words))
        if not 0 < len(mention) <= _MAX_FUZZY_WORDS:
            return None
        hits = self._hits(mention)
        free = [hit for hit in hits if self._is_free(self._word_span(hit.word, hit.word, ""))]
        run = _best_run(mention, free) or _best_run(mention, hits)
        return None if run is None else self._word_span(run[0].word, run[-1].word, mention[run[-1].token])

    def _nearest(self, surface: str, near: int) -> Span | None:
        """Return the literal occurrence that is nearest to a stated start."""
        near = max(0, min(near, len(self._text)))
        before = self._text.rfind(surface, 0, near + len(surface))
        after = self._text.find(surface, near)
        found = [start for start in (before, after) if start >= 0]
        if not found or not surface:
            return None
        start = min(found, key=lambda start: abs(start - near))
        return Span(start, start + len(surface), "exact")

    def _pick(self, key: tuple[str, str], places: Iterator[Span]) -> Span | None:
        """Return the first free place, else the first one. The same search goes on where it stopped."""
        search = self._searches.setdefault(key, _Search(places))
        for span in search.places:
            search.first = search.first or span
            if self._is_free(span):
                return span
        return search.first

    def _literal(self, surface: str, *, whole: bool) -> Iterator[Span]:
        for start in islice(_occurrences(self._text, surface), _MAX_OCCURRENCES):
            end = start + len(surface)
            if not whole or not (_cuts_word(self._text, start) or _cuts_word(self._text, end)):
                yield Span(start, end, "exact")

    def _by_letters(self, key: str, *, whole: bool) -> Iterator[Span]:
        folded = self._folded
        for start in islice(_occurrences(folded.letters, key), _MAX_OCCURRENCES):
            end = start + len(key)
            if not whole or folded.is_word(start, end):
                yield self._original(start, end, "folded")

    def _original(self, start: int, end: int, how: str) -> Span:
        """Map letters[start:end] back; marks that belong to the last letter stay with it."""
        last = self._folded.origin[end - 1] + 1
        while last < len(self._text) and unicodedata.combining(self._text[last]):
            last += 1
        return Span(self._folded.origin[start], last, how)

    def _word_span(self, first: int, last: int, token: str) -> Span:
        """Map the words first..last back; a possessive s after the mention's last word is left out."""
        folded = self._folded
        end = folded.starts[last] + len(folded.words[last])
        if token and folded.words[last] == token + "s":
            end -= 1
        return self._original(folded.starts[first], end, "fuzzy")

    def _is_free(self, span: Span) -> bool:
        return self._taken.find(1, span.start, span.end) < 0

    def _hits(self, mention: list[str]) -> list[_Hit]:
        """Return the text's words that may stand for words of the mention, in the order of the text.

        Where there are too many, those of the mention's most frequent words are left out.
        """
        by_token = [
            [
                _Hit(place, token, weight)
                for similar, weight in _similar_words(word, self._places)
                for place in self._places[similar]
            ]
            for token, word in enumerate(mention)
        ]
        hits: list[_Hit] = []
        for found in sorted(by_token, key=len):
            if len(hits) + len(found) > _MAX_HITS:
                break
            hits += found
        return sorted(hits, key=lambda hit: (hit.word, -hit.weight, hit.token))

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for place, word in enumerate(self._folded.words):
            places.setdefault(word, []).append(place)
        return places


@dataclass
class _Search:
    """A search that can go on: the places not yet looked at, and the first one found."""

    places: Iterator[Span]
    first: Span | None = None


class _Hit(NamedTuple):
    """Word number `word` of the text stands for word number `token` of the mention, as surely as `weight`."""

    word: int
    token: int
    weight: float


def _occurrences(text: str, part: str) -> Iterator[int]:
    start = text.find(part) if part else -1
    while start >= 0:
        yield start
        start = text.find(part, start + 1)


def _cuts_word(text: str, position: int) -> bool:
    return 0 < position < len(text) and _is_letter(text[position - 1]) and _is_letter(text[position])


def _is_letter(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _similar_words(word: str, words: dict[str, list[int]]) -> list[tuple[str, float]]:
    """Return the words of a text that may stand for `word`, with a weight: the same, an initial, a misspelling."""
    if word in words:
        return [(word, 1.0)]
    if len(word) == 1:
        return [(other, 0.5) for other in words if other[0] == word]
    if not 4 <= len(word) <= _MAX_LETTERS:
        return [(other, 0.9) for other in (word + "s",) if other in words]
    found = process.extract(word, list(words), scorer=fuzz.ratio, score_cutoff=_MIN_SIMILAR, limit=8)
    return [(other, ratio / 100) for other, ratio, _ in found]


def _best_run(mention: list[str], hits: list[_Hit]) -> list[_Hit] | None:
    """Return the hits, in the order of the text, that cover most of the mention with the fewest words between."""
    width = len(mention) + 8
    importance = [min(len(word), 8) for word in mention]
    best: tuple[float, list[_Hit]] = (_MIN_COVERED, [])
    for first in range(len(hits)):
        run: list[_Hit] = []
        used: set[int] = set()
        covered = 0.0
        for hit in islice(hits, first, first + 4 * width):
            if hit.word - hits[first].word >= width:
                break
            if hit.token in used or (run and run[-1].word == hit.word):
                continue
            run.append(hit)
            used.add(hit.token)
            covered += hit.weight * importance[hit.token]
            score = covered / sum(importance) - _GAP_COST * (hit.word - run[0].word + 1 - len(run))
            if score > best[0]:
                best = (score, run.copy())
    return best[1] or None
