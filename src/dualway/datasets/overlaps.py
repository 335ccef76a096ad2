"""Captions that stand, all or nearly, in an entity's text: there the knowledge base tells the answer.

Captions are indexed by their rarest words, and texts pass by once: no caption is compared with every text.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from dualway.datasets.base import Dataset
from dualway.schema import Entity
from dualway.text import match_key

MIN_WORDS = 5  # a shorter run of words occurs in a text by chance
SHARE = 0.8  # of the shorter one's words that the longer one has
_EXAMPLES = 5
_RUN = 2  # words in a row that count as the same passage
_HITS = 2  # of the rarest words that two must share to be looked at
_LOOKED_AT = 2000  # words of a text or a caption
_SENTENCE_END = re.compile(r"(?<=[.!?。！？।])\s+")


class EntityText(NamedTuple):
    """A text that stands for an entity."""

    entity_id: str
    text: str


class Match(NamedTuple):
    """A caption, or a sentence of it, that a text has: unit, place in the index. share: of the shorter one's words."""

    unit: int
    exact: bool
    share: float


class Overlap(NamedTuple):
    """A mention whose caption an entity's text has."""

    mention_id: str
    entity_id: str
    exact: bool
    share: float


@dataclass
class Overlaps:
    """The mentions of one split whose caption is in a text: of their gold entity, and of any other."""

    gold: dict[str, Overlap] = field(default_factory=dict[str, Overlap])  # by mention, the closest
    others: dict[str, Overlap] = field(default_factory=dict[str, Overlap])

    def add(self, found: Overlap, *, gold: bool) -> None:
        """Keep an overlap, unless the mention has a closer one."""
        kept = self.gold if gold else self.others
        before = kept.get(found.mention_id)
        if before is None or (found.exact, found.share) > (before.exact, before.share):
            kept[found.mention_id] = found

    def to_dict(self) -> dict[str, Any]:
        """Return counts and the first examples as plain values."""
        return {"gold": _summary(self.gold), "others": _summary(self.others)}


class CaptionIndex:
    """The captions of data sets and their sentences, to be found in texts.

    Two are near when at least `SHARE` of the words of the shorter one, which has `MIN_WORDS` or more, stand together in
    the longer one, in the same order and in runs of two or more; both as `match_key` writes them. Equal ones are exact,
    however short. Of very long ones the first 2,000 words are compared.

    Args:
        datasets: By split.
    """

    def __init__(self, datasets: Mapping[str, Dataset]) -> None:
        self._datasets = datasets
        self._mentions: dict[str, list[tuple[str, int]]] = defaultdict(list)  # unit -> (split, place)
        for split, dataset in datasets.items():
            for place, mention in enumerate(dataset.mentions):
                for unit in _units(mention.text):
                    self._mentions[unit].append((split, place))
        self._units = list(self._mentions)
        self._place = {unit: place for place, unit in enumerate(self._units)}
        self._words = [unit.split()[:_LOOKED_AT] for unit in self._units]
        self._frequency = Counter(word for words in self._words for word in set(words))
        self._with_word: dict[str, list[int]] = defaultdict(list)  # every word -> units that have it
        self._with_rare: dict[str, list[int]] = defaultdict(list)  # word -> units of whose rarest words it is one
        for place, words in enumerate(self._words):
            if len(words) >= MIN_WORDS:
                for word in dict.fromkeys(words):
                    self._with_word[word].append(place)
                for word in self._rarest(words):
                    self._with_rare[word].append(place)

    def find(self, texts: Iterable[EntityText]) -> dict[str, Overlaps]:
        """Return, by split, the mentions whose captions stand in texts. Texts are read once, and not kept."""
        found = {split: Overlaps() for split in self._datasets}
        for entity_id, text in texts:
            for unit, exact, share in self.matches(text):
                for split, place in self._mentions[self._units[unit]]:
                    dataset = self._datasets[split]
                    mention = dataset.mentions[place]
                    gold = dataset.gold.get(mention.id) == entity_id
                    found[split].add(Overlap(mention.id, entity_id, exact, share), gold=gold)
        return found

    def matches(self, text: str) -> Iterator[Match]:
        """Yield the captions and sentences that a text has."""
        key = match_key(text)
        same = self._place.get(key)
        if same is not None:
            yield Match(same, exact=True, share=1.0)
        words = key.split()[:_LOOKED_AT]
        if len(words) < MIN_WORDS:
            return
        distinct = set(words)
        for place in self._candidates(words, distinct):
            unit = self._words[place]
            shorter, longer = (unit, words) if len(unit) <= len(words) else (words, unit)
            if place != same and _may_be_near(shorter, distinct if shorter is unit else set(unit)):
                share = shared_part(shorter, longer)
                if share >= SHARE:
                    yield Match(place, exact=False, share=share)

    def _candidates(self, words: list[str], distinct: set[str]) -> list[int]:
        """Return units that share at least two of the shorter one's rarest words with a text, in the index's order."""
        hits: Counter[int] = Counter()
        for word in distinct:  # the unit is the shorter one
            hits.update(self._with_rare.get(word, ()))
        longer: Counter[int] = Counter()
        for word in self._rarest(words):  # the text is
            longer.update(self._with_word.get(word, ()))
        enough = [place for place, count in hits.items() if count >= _HITS and len(self._words[place]) <= len(words)]
        enough += [place for place, count in longer.items() if count >= _HITS and len(self._words[place]) > len(words)]
        return sorted(enough)

    def _rarest(self, words: Sequence[str]) -> list[str]:
        """Return so many of the rarest words that whoever shares `SHARE` of all words has at least two of them.

        Where at most m words are missing, two of any m + 2 distinct ones are there.
        """
        frequency = self._frequency
        distinct = sorted(set(words), key=lambda word: (frequency[word], word))
        return distinct[: len(words) - _needed(words) + _HITS]


def entity_texts(entities: Iterable[Entity]) -> Iterator[EntityText]:
    """Yield every text of every entity."""
    for entity in entities:
        for representation in entity.representations:
            yield EntityText(entity.id, representation.text)


def shared_part(shorter: Sequence[str], longer: Sequence[str]) -> float:
    """Return how much of the shorter one stands in one place of the longer one, in the same order, in runs of words."""
    longest = SequenceMatcher(None, shorter, longer, autojunk=False).find_longest_match()
    begin, slack = longest.b - longest.a, len(shorter) // 4 + 1
    place = longer[max(begin - slack, 0) : begin + len(shorter) + slack]
    blocks = SequenceMatcher(None, shorter, place, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks if block.size >= _RUN) / len(shorter)


def _units(caption: str) -> list[str]:
    """Return a caption and, where it has several, its sentences that are long enough; in the form of `match_key`."""
    whole = match_key(caption)
    sentences = (match_key(sentence) for sentence in _SENTENCE_END.split(caption))
    long = [sentence for sentence in sentences if sentence.count(" ") + 1 >= MIN_WORDS]
    return [unit for unit in dict.fromkeys([whole, *long]) if unit]


def _needed(words: Sequence[str]) -> int:
    """Return how many of the words are `SHARE` of them, rounded up."""
    return math.ceil(round(SHARE * len(words), 6))


def _may_be_near(shorter: Sequence[str], longer: set[str]) -> bool:
    """Tell quickly whether enough words are shared, in whatever order."""
    return sum(word in longer for word in shorter) >= _needed(shorter)


def _summary(found: Mapping[str, Overlap]) -> dict[str, Any]:
    exact = sum(overlap.exact for overlap in found.values())
    closest = sorted(found.values(), key=lambda overlap: (not overlap.exact, -overlap.share))[:_EXAMPLES]
    return {
        "mentions": len(found),
        "exact": exact,
        "near": len(found) - exact,
        "examples": [
            {"mention": one.mention_id, "entity": one.entity_id, "exact": one.exact, "share": round(one.share, 3)}
            for one in closest
        ],
    }
