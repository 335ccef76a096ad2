"""How alike a mention and a name are, as one inner product of sparse vectors.

A mention's vector and a name's vector are built so that their inner product is

    (0.9 trigram cosine + 0.4 word cosine + 0.7 coverage + 0.3 last word + 0.1 first word
     + 0.2 initials + 1.6 acronym) / 2.4

and 1 for a name spelt as the mention is. Initials are the share of the mention's words that are the initial of a
word in the name or have theirs as a word in it; acronym is 1 when a mention in capitals ("FBI") spells the first
letters of the name's words. Coverage is the share of the mention's letters whose word stands in the
name, so that "Foster" is fully covered by "Jodie Foster". Nothing in it depends on what else the knowledge base
holds (no inverse document frequency): adding or removing entities never changes a score.

For retrieval, words of the caption around the mention that stand in a name add 0.1 each: among the hundreds of
Williams, the caption of "William" that also says "Barstow" means William A. Barstow. `lexical` leaves this out.

The weights were chosen by coordinate search for T@1 and recall@100 over the train splits of WikiMEL, Richpedia and
WikiDiverse together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dualway.schema import Mention
from dualway.text import match_key, without_brackets

_POSSESSIVE = re.compile(r"['’]s\b")
# Words that say nothing about who is meant, left out of caption words and acronyms.
_STOP_WORDS = frozenset(
    {"a", "after", "an", "and", "as", "at", "by", "de", "der", "during", "for", "from", "her", "his", "i", "ii"}
    | {"iii", "in", "is", "la", "of", "on", "the", "to", "von", "was", "with"}
)
_WINDOW = 400  # characters of the caption read on each side of the mention


@dataclass(frozen=True)
class NameWeights:
    """Weight of each kind of agreement between mention and name."""

    trigrams: float = 0.9
    words: float = 0.4
    coverage: float = 0.7
    last_word: float = 0.3
    first_word: float = 0.1
    initials: float = 0.2
    acronym: float = 1.6
    caption_word: float = 0.24

    @property
    def total(self) -> float:
        """The score of a name against itself before it is scaled to 1."""
        return self.trigrams + self.words + self.coverage + self.last_word + self.first_word


def name_key(name: str) -> str:
    """Return a name in the form in which it is compared: without brackets, folded; never empty for a non-empty name."""
    bare = without_brackets(name)
    if "'" in bare or "’" in bare:  # without one there is nothing to look for: millions of names have none
        bare = _POSSESSIVE.sub("", bare)
    return match_key(bare) or match_key(name) or name.strip().casefold()


def caption_words(mention: Mention) -> list[str]:
    """Return the distinct telling words of the caption around the mention, without the mention's own."""
    start = mention.start if mention.start is not None else max(mention.text.find(mention.surface), 0)
    window = mention.text[max(start - _WINDOW, 0) : start + len(mention.surface) + _WINDOW]
    own = set(name_key(mention.surface).split())
    words = dict.fromkeys(match_key(_POSSESSIVE.sub("", window)).split())
    return [word for word in words if len(word) > 1 and word not in own and word not in _STOP_WORDS]


def trigrams(words: Iterable[str]) -> set[str]:
    """Return the character trigrams of words, each padded by a space on both sides."""
    grams: set[str] = set()
    for word in words:
        padded = f" {word} "
        grams.update(padded[i : i + 3] for i in range(len(padded) - 2))
    return grams


def acronym(words: Iterable[str]) -> str:
    """Return the first letters of a name's words that tell something."""
    return "".join([word[0] for word in words if word not in _STOP_WORDS])


def name_features(name: str) -> Iterator[tuple[str, float]]:
    """Yield (feature, value) of a name of the knowledge base."""
    words = name_key(name).split()
    if not words:
        return
    grams = trigrams(words)
    yield from ((gram, len(grams) ** -0.5) for gram in grams)
    distinct = dict.fromkeys(words)
    yield from (("w:" + word, len(distinct) ** -0.5) for word in distinct)
    yield from (("c:" + word, 1.0) for word in distinct)
    yield "l:" + words[-1], 1.0
    yield "f:" + words[0], 1.0
    yield from (("i:" + letter, 1.0) for letter in {word[0] for word in words if len(word) > 1})
    yield from (("s:" + word, 1.0) for word in distinct if len(word) == 1)
    letters = acronym(words)
    if len(letters) > 1:
        yield "a:" + letters, 1.0


def mention_features(surface: str, weights: NameWeights) -> Iterator[tuple[str, float]]:
    """Yield (feature, value) of a mention; the values carry the weights."""
    words = name_key(surface).split()
    if not words:
        return
    scale = 1.0 / weights.total
    grams = trigrams(words)
    yield from ((gram, scale * weights.trigrams * len(grams) ** -0.5) for gram in grams)
    distinct = dict.fromkeys(words)
    letters = sum(map(len, distinct))
    for word in distinct:
        yield "w:" + word, scale * weights.words * len(distinct) ** -0.5
        yield "c:" + word, scale * weights.coverage * len(word) / letters
    yield "l:" + words[-1], scale * weights.last_word
    yield "f:" + words[0], scale * weights.first_word
    yield from _initial_features(surface, distinct, scale, weights)


def caption_features(mention: Mention, weights: NameWeights) -> Iterator[tuple[str, float]]:
    """Yield (feature, value) of the caption around a mention; they meet the words of names."""
    value = weights.caption_word / weights.total
    yield from (("c:" + word, value) for word in caption_words(mention))


def _initial_features(
    surface: str, words: Iterable[str], scale: float, weights: NameWeights
) -> Iterator[tuple[str, float]]:
    words = list(words)
    value = scale * weights.initials / len(words)
    for word in words:
        # "J. Foster" meets "Jodie Foster"; "George Walker Bush" meets "George W. Bush".
        yield ("i:" + word, value) if len(word) == 1 else ("s:" + word[0], value)
    compact = surface.replace(".", "").strip()
    if compact.isupper() and compact.isalpha() and 2 <= len(compact) <= 6:
        yield "a:" + match_key(compact), scale * weights.acronym
