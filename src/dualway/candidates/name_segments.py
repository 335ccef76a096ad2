"""Names as sparse vectors, in segments that are never changed: an inverted index of up to some ten thousand strings.

A feature is known by a hash of its own text, so that segments need no vocabulary in common, and what a query shares
with a string is summed in the order of these hashes: a string has the same score, to the last bit, in whichever segment
it stands. The vectors are those of `similarity.name_features`. As a value there depends on nothing but the kind of the
feature and the string, none is kept a posting: one number a string for its trigrams, one for its words.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dualway.candidates.similarity import acronym, name_key
from dualway.schema import IntArray

Vector = Iterable[tuple[str, float]]
Named = tuple[int, str, Sequence[str]]  # key, name, aliases of an entity
Keys = NDArray[np.uint64]

MAX_STRINGS = 1 << 15  # strings of a segment: bounds the memory that building one takes
_SHORT = 1 << 16  # strings that two bytes can number
_KIND_BITS = 62  # a feature's key: its kind in the upper two bits, its hash in the others
_TRIGRAM, _WORD, _PLAIN = range(3)  # by what the value of a feature is divided; plain ones have the value 1
_PLAIN_PREFIXES = ("c:", "l:", "f:", "i:", "s:", "a:")
_HALF = 32
_HALF_MASK = (1 << _HALF) - 1


class Query(NamedTuple):
    """A mention's features: their keys, uint64 [q], rising, and their values, float64 [q]."""

    keys: Keys
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Segment:
    """The names of some entities. The arrays may lie in a file.

    features: uint64 [f], rising: keys of the features.
    starts: int64 [f + 1]: where the postings of each feature begin.
    strings: uint16 or int32 [p]: the strings that a feature stands in.
    trigram_values, word_values: float64 [s]: the value of each trigram and of each word of a string.
    owners: int64 [s], rising: the key of the entity that each string is a name of.
    revision: The knowledge base's when the segment was made; an entity that changed later has its names elsewhere.
    """

    features: Keys
    starts: IntArray
    strings: NDArray[Any]
    trigram_values: NDArray[np.float64]
    word_values: NDArray[np.float64]
    owners: IntArray
    revision: int

    @property
    def num_strings(self) -> int:
        """How many names and aliases are in it."""
        return len(self.owners)

    @property
    def nbytes(self) -> int:
        """Size of the arrays."""
        arrays = (self.features, self.starts, self.strings, self.trigram_values, self.word_values, self.owners)
        return sum(array.nbytes for array in arrays)

    @cached_property
    def heads(self) -> IntArray:
        """The first string of each entity, int64 [e]."""
        owners = self.owners
        return np.flatnonzero(np.concatenate([[True], owners[1:] != owners[:-1]])[: len(owners)])

    @property
    def num_entities(self) -> int:
        """Whose names these are."""
        return len(self.heads)

    @cached_property
    def keys(self) -> IntArray:
        """The key of each entity, int64 [e], rising."""
        return self.owners[self.heads]

    def products(self, query: Query) -> NDArray[np.float64]:
        """Return the inner product of a query with the string of each entity that is most like it, float64 [e]."""
        products = self._products(query)
        return products if self.num_entities == self.num_strings else np.maximum.reduceat(products, self.heads)

    def _products(self, query: Query) -> NDArray[np.float64]:
        if not len(self.features):
            return np.zeros(self.num_strings, dtype=np.float64)
        place = self.features.searchsorted(query.keys)
        known = np.flatnonzero(self.features.take(place, mode="clip") == query.keys)
        place = place[known]
        begins, ends = self.starts[place], self.starts[place + 1]
        parts = [self.strings[begin:end] for begin, end in zip(begins.tolist(), ends.tolist())]
        if not parts:
            return np.zeros(self.num_strings, dtype=np.float64)
        strings = np.concatenate(parts, dtype=np.intp)
        lengths = ends - begins
        values = query.values[known].repeat(lengths)
        num_trigrams, num_words = query.keys[known].searchsorted(_KIND_ENDS).tolist()
        trigrams, words = int(lengths[:num_trigrams].sum()), int(lengths[:num_words].sum())
        values[:trigrams] *= self.trigram_values[strings[:trigrams]]
        values[trigrams:words] *= self.word_values[strings[trigrams:words]]
        sums: Any = np.bincount(strings, values, self.num_strings)
        return sums


_KIND_ENDS = np.array([_WORD << _KIND_BITS, _PLAIN << _KIND_BITS], dtype=np.uint64)


def query_of(vector: Vector) -> Query:
    """Return a mention's vector by the keys of its features; values of one feature are added."""
    values: dict[int, float] = {}
    for feature, value in vector:
        key = _key_of(feature)
        values[key] = values.get(key, 0.0) + value
    keys = np.fromiter(values, dtype=np.uint64, count=len(values))
    order = np.argsort(keys)
    return Query(keys[order], np.fromiter(values.values(), dtype=np.float64, count=len(values))[order])


@lru_cache(maxsize=1 << 16)
def _key_of(feature: str) -> int:
    """Return the key of a feature. A trigram never begins as others do: a name with a letter keeps no colon."""
    kind = _WORD if feature.startswith("w:") else _PLAIN if feature.startswith(_PLAIN_PREFIXES) else _TRIGRAM
    digest = hashlib.blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> (64 - _KIND_BITS) | kind << _KIND_BITS


def _feature_keys(features: Iterable[str], kind: int) -> Keys:
    blake2b = hashlib.blake2b
    digests = b"".join([blake2b(f.encode("utf-8", "surrogatepass"), digest_size=8).digest() for f in features])
    hashes = np.frombuffer(digests, dtype="<u8").astype(np.uint64)
    return (hashes >> np.uint64(64 - _KIND_BITS)) | np.uint64(kind << _KIND_BITS)


def build_segment(entities: Iterable[Named], revision: int) -> Segment:
    """Build the segment of some entities' names and aliases."""
    listed = list(entities)
    if any(one[0] > other[0] for one, other in pairwise(listed)):
        listed.sort(key=lambda entity: entity[0])
    word_ids: defaultdict[str, int] = defaultdict()
    word_ids.default_factory = word_ids.__len__
    owners: list[int] = []
    tokens: list[int] = []
    ends = [0]
    acronyms: list[str] = []
    for key, name, aliases in listed:
        for string in (name, *aliases):
            words = name_key(string).split()
            owners.append(key)
            tokens.extend([word_ids[word] for word in words])
            ends.append(len(tokens))
            acronyms.append(acronym(words))
    parsed = _Parsed(list(word_ids), np.array(tokens, dtype=np.int64), np.array(ends, dtype=np.int64), acronyms)
    return _assemble([*parsed.postings()], np.array(owners, dtype=np.int64), parsed.word_values(), revision)


def build_segments(entities: Iterable[Named], revision: int) -> Iterator[Segment]:
    """Yield the segments of any number of entities."""
    return (build_segment(block, revision) for block in blocks(entities))


def blocks(entities: Iterable[Named], max_strings: int = MAX_STRINGS) -> Iterator[list[Named]]:
    """Yield the entities in lists of at most `max_strings` strings, or of one entity: one is never split."""
    waiting: list[Named] = []
    num_strings = 0
    for entity in entities:
        more = 1 + len(entity[2])
        if waiting and num_strings + more > max_strings:
            yield waiting
            waiting, num_strings = [], 0
        waiting.append(entity)
        num_strings += more
    if waiting:
        yield waiting


def merge_segments(parts: Sequence[tuple[Segment, NDArray[np.bool_]]], revision: int) -> Segment:
    """Return one segment of the entities of several that are to be kept, bool [e] each."""
    parts = [(segment, keep.repeat(np.diff(np.append(segment.heads, segment.num_strings)))) for segment, keep in parts]
    owners = np.concatenate([segment.owners[keep] for segment, keep in parts])
    order = np.argsort(owners, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    postings: list[_Postings] = []
    done = 0
    for segment, keep in parts:
        number = np.full(segment.num_strings, -1, dtype=np.int64)
        number[keep] = place[done : done + int(keep.sum())]
        done += int(keep.sum())
        strings = number[segment.strings]
        features = np.repeat(np.arange(len(segment.features)), np.diff(segment.starts))[strings >= 0]
        used, features = np.unique(features, return_inverse=True)
        postings.append(_Postings(segment.features[used], features, strings[strings >= 0]))
    values = np.concatenate([segment.word_values[keep] for segment, keep in parts])[order]
    return _assemble(postings, owners[order], values, revision)


class _Postings(NamedTuple):
    """Some features' keys, uint64 [f], and pairs of them and strings: int64 [p] each."""

    features: Keys
    feature: IntArray
    string: IntArray


@dataclass(frozen=True, eq=False)
class _Parsed:
    """Strings as numbered words: the words of string i are tokens[ends[i] : ends[i + 1]]."""

    words: list[str]
    tokens: IntArray
    ends: IntArray
    acronyms: list[str]

    @cached_property
    def pairs(self) -> tuple[IntArray, IntArray]:
        """Each distinct word of each string: (string, word), int64 [d] each."""
        strings = np.repeat(np.arange(len(self.acronyms)), np.diff(self.ends))
        codes = _distinct((strings << _HALF) | self.tokens)
        return codes >> _HALF, codes & _HALF_MASK

    def word_values(self) -> NDArray[np.float64]:
        """Return the value of each string's words, float64 [s]."""
        return _values(np.bincount(self.pairs[0], minlength=len(self.acronyms)))

    def postings(self) -> Iterator[_Postings]:
        """Yield all that `name_features` yields, a kind at a time, over all strings at once."""
        strings, words = self.pairs
        if not len(strings):
            return
        yield self._trigrams()
        yield self._prefixed("w:", _WORD, words, strings)
        yield self._prefixed("c:", _PLAIN, words, strings)
        named = np.flatnonzero(np.diff(self.ends))
        yield self._prefixed("l:", _PLAIN, self.tokens[self.ends[named + 1] - 1], named)
        yield self._prefixed("f:", _PLAIN, self.tokens[self.ends[named]], named)
        is_single = np.array([len(word) == 1 for word in self.words])[words]
        yield self._prefixed("s:", _PLAIN, words[is_single], strings[is_single])
        yield self._initials(words[~is_single], strings[~is_single])
        spelt = np.flatnonzero(np.array([len(letters) > 1 for letters in self.acronyms]))
        yield _texts(["a:" + self.acronyms[string] for string in spelt.tolist()], np.arange(len(spelt)), spelt)

    def _trigrams(self) -> _Postings:
        number: defaultdict[str, int] = defaultdict()
        number.default_factory = number.__len__
        flat: list[int] = []
        ends = [0]
        for word in self.words:
            padded = f" {word} "
            flat.extend([number[padded[i : i + 3]] for i in range(len(word))])
            ends.append(len(flat))
        strings, words = self.pairs
        begins = np.array(ends, dtype=np.int64)
        lengths = np.diff(begins)[words]
        grams = np.array(flat, dtype=np.int64)[_ragged(begins[words], lengths)]
        return _Postings(_feature_keys(number, _TRIGRAM), grams, np.repeat(strings, lengths))

    def _prefixed(self, prefix: str, kind: int, words: IntArray, strings: IntArray) -> _Postings:
        used, feature = np.unique(words, return_inverse=True)
        keys = _feature_keys([prefix + self.words[word] for word in used.tolist()], kind)
        return _Postings(keys, feature, strings)

    def _initials(self, words: IntArray, strings: IntArray) -> _Postings:
        return _texts(["i:" + word[0] for word in self.words], words, strings)


def _texts(texts: Sequence[str], numbers: IntArray, strings: IntArray) -> _Postings:
    """Return postings of plain features, of which several may have the same text."""
    distinct: dict[str, int] = {}
    place = np.array([distinct.setdefault(text, len(distinct)) for text in texts], dtype=np.int64)
    used, feature = np.unique(place[numbers], return_inverse=True)
    listed = list(distinct)
    return _Postings(_feature_keys([listed[i] for i in used.tolist()], _PLAIN), feature, strings)


def _assemble(
    postings: Sequence[_Postings], owners: IntArray, word_values: NDArray[np.float64], revision: int
) -> Segment:
    """Return the segment of all postings; one that is told twice counts once."""
    keys = np.concatenate([part.features for part in postings]) if postings else np.zeros(0, dtype=np.uint64)
    features, rank = np.unique(keys, return_inverse=True)
    codes: list[IntArray] = []
    done = 0
    for part in postings:
        codes.append((rank[done : done + len(part.features)][part.feature] << _HALF) | part.string)
        done += len(part.features)
    every = _distinct(np.concatenate(codes)) if codes else np.zeros(0, dtype=np.int64)
    strings = every & _HALF_MASK
    starts = np.concatenate([[0], np.cumsum(np.bincount(every >> _HALF, minlength=len(features)))])
    num_trigrams = int(starts[np.searchsorted(features, _KIND_ENDS[0])])
    counts = np.bincount(strings[:num_trigrams], minlength=len(owners))
    return Segment(
        features,
        starts.astype(np.int64),
        strings.astype(np.uint16 if len(owners) <= _SHORT else np.int32),
        _values(counts),
        word_values,
        owners,
        revision,
    )


def _values(counts: IntArray) -> NDArray[np.float64]:
    """Return n ** -0.5 of each count, as Python has it, float64; 0 for none."""
    table = [0.0, *(n**-0.5 for n in range(1, int(counts.max(initial=0)) + 1))]
    return np.array(table)[counts]


def _distinct(codes: IntArray) -> IntArray:
    """Return distinct numbers, sorted: in place of np.unique, which is slower where few are alike."""
    codes.sort()
    return codes[np.concatenate([[True], codes[1:] != codes[:-1]])[: len(codes)]]


def _ragged(begins: IntArray, lengths: IntArray) -> IntArray:
    """Return begins[0], begins[0] + 1, .. of each range one after the other, int64 [sum of lengths]."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(begins - before, lengths) + np.arange(int(lengths.sum()))
