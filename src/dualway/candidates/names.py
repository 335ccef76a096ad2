"""Candidates by name: a sparse index over names and aliases (paper, section 5.1.3, made fast and index-independent).

The index is a view: segments that never change (`name_segments`), and for one state of the knowledge base the rows of
the entities that they name. What was added or changed goes into a small segment of its own, what is gone is no longer
looked at, and an older view stays as it is. As a score depends on the mention and the name alone, a view answers
exactly as an index that was built anew would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dualway.candidates.name_segments import (
    MAX_STRINGS,
    Named,
    Query,
    Segment,
    Vector,
    blocks,
    build_segment,
    build_segments,
    merge_segments,
    query_of,
)
from dualway.candidates.name_store import SegmentFile, read_segments, write_list, write_segment
from dualway.candidates.similarity import NameWeights, caption_features, mention_features
from dualway.kb.records import content_fingerprint
from dualway.schema import CandidateLists, FloatArray, IntArray, Mention

if TYPE_CHECKING:
    from dualway.kb.following import Step
    from dualway.kb.store import KnowledgeBase

NamesOf = Callable[[IntArray], Sequence[tuple[str, Sequence[str]]]]  # rows -> (name, aliases) of each

_CHUNK = 256  # mentions compared with one segment, then with the next: what a segment has in the cache serves them all
_PRECISION = 1 << 20  # scores are compared to about six decimals, so that rounding never breaks a tie
_ROW_BITS = 32
_ROW_MASK = (1 << _ROW_BITS) - 1
_GROWTH = 4  # a fresh segment takes in the one before it when that is at most so many times longer
_MERGED = 1 << 13  # strings of a segment merged while somebody waits
_BLOCK = 32  # products of which one maximum is looked at first
_FETCHED = 1 << 13  # rows asked of the knowledge base at once


class NameIndex:
    """Names and aliases of a knowledge base as sparse vectors; implements CandidateSource.

    Args:
        ids: Entity ids, in the order of the knowledge base.
        names: The title of each entity, in the same order.
        aliases: Further names of each entity; the best one counts.
        weights: Weight of each kind of agreement.
    """

    def __init__(
        self,
        ids: Sequence[str],
        names: Sequence[str],
        aliases: Sequence[Sequence[str]] = (),
        *,
        weights: NameWeights | None = None,
    ) -> None:
        self._weights = weights or NameWeights()
        self._keys = np.arange(len(ids), dtype=np.int64)
        self._revisions = np.zeros(len(ids), dtype=np.int64)
        self._order = _Order.build(ids)
        others = chain(aliases, repeat(()))  # may be shorter than names
        self._parts = [
            _Part.build(segment, self._keys)
            for segment in build_segments(zip(range(len(ids)), names, others), revision=0)
        ]
        self._damaged: tuple[Path, ...] = ()
        self._revision = 0

    @classmethod
    def open(
        cls,
        folder: Path | None,
        keys: IntArray,
        revisions: IntArray,
        ids: Sequence[str],
        names_of: NamesOf,
        *,
        revision: int | None = None,
        knows: Callable[[int, str], bool] | None = None,
        weights: NameWeights | None = None,
    ) -> NameIndex:
        """Return the index of one state of a knowledge base, from what a folder holds and the names that it lacks.

        Args:
            folder: Written by `save` or `name_store.write_segments`, at this state or another one; None: there is none.
            keys: int64 [n], rising: a number that stays with each entity.
            revisions: int64 [n]: when each entity last changed.
            ids: Its id.
            names_of: Gives the names of some rows (0 .. n-1); asked for those that no segment has.
            revision: Of this state; segments of later ones are not used. By default all are.
            knows: Tells from a segment's revision and state whether it is of this knowledge base's past. By default all
                are.
            weights: Weight of each kind of agreement.
        """
        stored = read_segments(folder) if folder is not None else None
        damaged = list(stored.damaged) if stored else []
        usable: list[tuple[SegmentFile, Segment]] = []
        for file, segment in stored.segments if stored else ():
            if knows and folder and not knows(file.revision, file.state):
                damaged.append(folder / file.file)
            elif revision is None or file.revision <= revision:
                usable.append((file, segment))
        index = cls.__new__(cls)
        index._weights, index._keys, index._revisions = weights or NameWeights(), keys, revisions
        index._order, index._damaged = _Order.build(ids), tuple(damaged)
        index._revision = _latest(revisions) if revision is None else revision
        index._parts, covered = _parts_of(usable, keys, revisions)
        index._add(np.flatnonzero(~covered), names_of)
        return index

    @classmethod
    def of_kb(cls, kb: KnowledgeBase, folder: Path | None = None, *, weights: NameWeights | None = None) -> NameIndex:
        """Return the index of a knowledge base, as `open` does.

        Args:
            kb: The knowledge base.
            folder: Of segments whose state is the knowledge base's `fingerprint.content` when they were written.
            weights: Weight of each kind of agreement.
        """
        known = {past.number: content_fingerprint(past.content) for past in kb.revisions()} if folder else {}
        return cls.open(
            folder,
            kb.keys,
            kb.changed_in,
            kb.ids,
            _names_in(kb),
            revision=kb.revision,
            knows=lambda number, state: known.get(number) == state,
            weights=weights,
        )

    def apply(
        self,
        keys: IntArray,
        revisions: IntArray,
        ids: Sequence[str],
        names_of: NamesOf,
        *,
        revision: int | None = None,
    ) -> NameIndex:
        """Return the index of another state; this one stays as it is, and both share their segments.

        Args: see `open`. The time goes with what differs, but for a few passes over arrays of n numbers.
        """
        moved, kept = _moved(self._keys, self._revisions, keys, revisions)
        index = NameIndex.__new__(NameIndex)
        index._weights, index._damaged = self._weights, self._damaged
        index._keys, index._revisions = keys, revisions
        changed = np.flatnonzero(~kept)
        index._order = self._order.follow(moved, [(ids[row], row) for row in changed.tolist()])
        stays = np.array_equal(moved[:-1], np.arange(len(moved) - 1))
        rows = moved.astype(np.int32)
        parts = self._parts if stays else [part.moved(rows) for part in self._parts]
        index._parts = [part for part in parts if part.num_alive]
        index._revision = _latest(revisions) if revision is None else revision
        index._add(changed, names_of)
        return index

    def follow(self, step: Step) -> NameIndex:
        """Return the index of a later state of a knowledge base, as `apply` does."""
        kb = step.kb
        if step.is_whole:
            return NameIndex.of_kb(kb, weights=self._weights)
        return self.apply(kb.keys, kb.changed_in, kb.ids, _names_in(kb), revision=kb.revision)

    def save(self, folder: Path, *, state: str = "", erase: Iterable[int] = ()) -> NameIndex:
        """Write what is not yet on disk and make this state the one that the folder holds; return it as stored there.

        What was added since is merged, with segments that are not much larger, so that there are few files. Only one
        process may write to a folder at a time; readers are not disturbed.

        Args:
            folder: Where; made if need be.
            state: See `SegmentFile`; of all segments that are written now.
            erase: Keys of entities that are gone and of which no trace may stay: their segments are written anew.

        Raises:
            StorageError: Disk full, read-only folder, no permission.
        """
        erased = np.fromiter(erase, dtype=np.int64)
        kept = [part for part in self._parts if _may_stay(part, folder, erased)]
        loose = [part for part in self._parts if part not in kept and part.num_alive]
        size = sum(part.size for part in loose)
        while loose and kept and kept[-1].size <= min(_GROWTH * size, MAX_STRINGS - size):
            loose.insert(0, kept.pop())
            size += loose[0].size
        for group in _groups(loose):
            is_one = len(group) == 1 and not len(group[0].dead)
            part = group[0] if is_one else _merged(group, self._revision, self._keys)
            segment = replace(part.segment, revision=self._revision)  # its entities are as they are in this state
            kept.append(_Part(segment, part.rows, write_segment(folder, segment, state)))
        write_list(folder, [part.file for part in kept if part.file])
        index = NameIndex.__new__(NameIndex)
        index._weights, index._damaged, index._order = self._weights, (), self._order
        index._keys, index._revisions, index._revision = self._keys, self._revisions, self._revision
        index._parts = kept
        return index

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def num_strings(self) -> int:
        """How many names and aliases are looked at, those of former states included."""
        return sum(part.segment.num_strings for part in self._parts)

    @property
    def num_segments(self) -> int:
        """In how many segments they are."""
        return len(self._parts)

    @property
    def nbytes(self) -> int:
        """Size of the index, mapped files included."""
        own = self._keys.nbytes + self._revisions.nbytes + self._order.nbytes
        return own + sum(part.segment.nbytes + part.rows.nbytes for part in self._parts)

    @property
    def damaged(self) -> tuple[Path, ...]:
        """Files that were missing, damaged or foreign when the index was opened; it answers as if they were there."""
        return self._damaged

    def search(self, mentions: Sequence[Mention], k: int) -> CandidateLists:
        """Return the `k` entities whose names are most like each mention, helped by the words of its caption.

        Entities that share nothing with the mention and its caption are not returned, so a list may be shorter
        than `k`. Equal scores come in the order of entity ids. A mention's list does not depend on the others.
        """
        rows = np.full((len(mentions), k), -1, dtype=np.int64)
        scores = np.zeros((len(mentions), k), dtype=np.float32)
        weights = self._weights
        queries = (chain(mention_features(m.surface, weights), caption_features(m, weights)) for m in mentions)
        for start, chunk in _chunks(queries):
            best = [np.zeros(0, dtype=np.int64)] * len(chunk)
            for part in self._parts:
                for i, query in enumerate(chunk):
                    best[i] = self._better(best[i], part, part.products(query), k)
            for i, keys in enumerate(best, start=start):
                rows[i, : len(keys)] = self._order.row_of_rank[keys & _ROW_MASK]
                scores[i, : len(keys)] = -(keys >> _ROW_BITS) / _PRECISION
        return CandidateLists(rows, scores)

    def score(self, surfaces: Sequence[str], rows: IntArray) -> FloatArray:
        """Return the similarity of names alone: surface i against entities rows[i] (int64 [n, k], -1 = none).

        Returns:
            float32 [n, k] in [0, 1]; 0 where nothing is shared or padded.
        """
        lines: dict[str, list[int]] = {}
        for i, surface in enumerate(surfaces):
            lines.setdefault(surface, []).append(i)
        queries = (mention_features(surface, self._weights) for surface in lines)
        return np.minimum(self._picked(queries, list(lines.values()), rows), 1.0)

    def score_all(self, surfaces: Sequence[str]) -> FloatArray:
        """Return the similarity of each surface to every entity (its best name), float32 [n, num_entities] in [0, 1].

        Initials and acronyms can lift a sum above that of an exact match ("F. Foster", "U.S.A."): it is cut at 1.
        """
        position = {surface: i for i, surface in enumerate(dict.fromkeys(surfaces))}
        dense = self._dense([mention_features(surface, self._weights) for surface in position])
        return np.minimum(dense, 1.0)[[position[surface] for surface in surfaces]]

    def caption_score(self, mentions: Sequence[Mention], rows: IntArray) -> FloatArray:
        """Return how many words of the caption stand in the names of entities rows[i], times their weight, [n, k]."""
        queries = (caption_features(mention, self._weights) for mention in mentions)
        return self._picked(queries, [[i] for i in range(len(mentions))], rows)

    def caption_score_all(self, mentions: Sequence[Mention]) -> FloatArray:
        """Return the same against every entity, float32 [n, num_entities]."""
        return self._dense([caption_features(mention, self._weights) for mention in mentions])

    @cached_property
    def _places(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """In which part each row's entity is, and where there, int32 [n] each."""
        number, place = np.zeros(len(self._keys), dtype=np.int32), np.zeros(len(self._keys), dtype=np.int32)
        for i, part in enumerate(self._parts):
            alive = np.flatnonzero(part.rows >= 0)
            number[part.rows[alive]] = i
            place[part.rows[alive]] = alive
        return number, place

    def _better(self, best: IntArray, part: _Part, products: NDArray[np.float64], k: int) -> IntArray:
        """Return the best `k` entities so far, each as one integer by which they are ordered: score descending, id."""
        bound = -(best[-1] >> _ROW_BITS) / _PRECISION if 0 < k == len(best) else _bound(products, k)
        # What is rounded to the bound may still win by its id; without a bound, all that shares something is asked.
        found = np.flatnonzero(products >= bound - 0.5 / _PRECISION if bound >= 1 / _PRECISION else products != 0)
        quantised = np.round(products[found] * _PRECISION).astype(np.int64)
        keys = ((-quantised) << _ROW_BITS) + self._order.rank[part.rows[found]]
        if len(keys) > k:
            keys = np.partition(keys, max(k - 1, 0))[:k]
        return np.sort(np.concatenate([best, keys]) if len(best) else keys)[:k]

    def _dense(self, queries: Sequence[Vector]) -> FloatArray:
        scores = np.zeros((len(queries), len(self)), dtype=np.float32)
        for start, chunk in _chunks(iter(queries)):
            for part in self._parts:
                alive = np.flatnonzero(part.rows >= 0)
                for i, query in enumerate(chunk, start=start):
                    scores[i, part.rows[alive]] = _rounded(part.products(query)[alive])
        return scores

    def _picked(self, queries: Iterator[Vector], lines: Sequence[Sequence[int]], rows: IntArray) -> FloatArray:
        """Return each query's scores of the entities in its lines of `rows`, float32 [n, k]."""
        scores = np.zeros(rows.shape, dtype=np.float32)
        if not len(self):
            return scores
        number, place = self._places
        for start, chunk in _chunks(queries):
            own = lines[start : start + len(chunk)]
            asked = np.array(list(chain.from_iterable(own)), dtype=np.int64)
            entities = rows[asked]
            in_part = np.where(entities >= 0, number[entities], -1)
            ends = np.cumsum([0, *map(len, own)])
            for i, part in enumerate(self._parts):
                line, column = np.nonzero(in_part == i)
                bounds = np.searchsorted(line, ends)
                for j in np.flatnonzero(np.diff(bounds)).tolist():
                    at = slice(bounds[j], bounds[j + 1])
                    products = part.products(chunk[j])[place[entities[line[at], column[at]]]]
                    scores[asked[line[at]], column[at]] = _rounded(products)
        return scores

    def _add(self, rows: IntArray, names_of: NamesOf) -> None:
        """Index the names of some rows, rising, in segments of their own, and merge these with small ones before."""
        now = self._revision
        named = _named(self._keys, rows, names_of)
        fresh = [_Part.build(build_segment(block, now), self._keys) for block in blocks(named)]
        parts = list(self._parts)
        if len(fresh) == 1:
            size = fresh[0].size
            while parts and not parts[-1].file and parts[-1].size <= min(_GROWTH * size, _MERGED - size):
                fresh.insert(0, parts.pop())
                size += fresh[0].size
            if len(fresh) > 1:
                fresh = [_merged(fresh, now, self._keys)]
        self._parts = parts + fresh


@dataclass(frozen=True, eq=False)
class _Part:
    """A segment in one state of the knowledge base.

    rows: int32 [e]: the row of each of its entities; -1: it is gone, or was changed after the segment was made.
    file: Where the segment is stored, if it is.
    """

    segment: Segment
    rows: NDArray[np.int32]
    file: SegmentFile | None = None

    @classmethod
    def build(cls, segment: Segment, keys: IntArray) -> _Part:
        """Return it in a state that has all of its entities as they are in it."""
        return cls(segment, np.searchsorted(keys, segment.keys).astype(np.int32))

    @cached_property
    def dead(self) -> IntArray:
        """Which of its entities no longer count."""
        return np.flatnonzero(self.rows < 0)

    @property
    def num_alive(self) -> int:
        """How many of its entities count."""
        return len(self.rows) - len(self.dead)

    @property
    def size(self) -> int:
        """How many strings it has, at most: those of entities that no longer count are among them."""
        return self.segment.num_strings

    def products(self, query: Query) -> NDArray[np.float64]:
        """Return the inner products with a query, float64 [e]; 0 for entities that no longer count."""
        products = self.segment.products(query)
        if len(self.dead):
            products[self.dead] = 0.0
        return products

    def moved(self, new_row: NDArray[np.int32]) -> _Part:
        """Return it in another state, where row r has become new_row[r]; the last of these is -1."""
        return _Part(self.segment, new_row[self.rows], self.file)


class _Order:
    """The order of entity ids, by which ties are broken.

    ids: str [n], sorted. row_of_rank: int64 [n], the row of each. rank: int64 [n], the place of each row.
    """

    def __init__(self, ids: NDArray[np.object_], row_of_rank: IntArray) -> None:
        self.ids, self.row_of_rank = ids, row_of_rank
        self.rank = np.empty(len(ids), dtype=np.int64)
        self.rank[row_of_rank] = np.arange(len(ids))

    @property
    def nbytes(self) -> int:
        return self.ids.nbytes + self.row_of_rank.nbytes + self.rank.nbytes

    @classmethod
    def build(cls, ids: Sequence[str]) -> _Order:
        """Sort the ids of a knowledge base."""
        order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
        return cls(_objects(ids)[order], order)

    def follow(self, new_row: IntArray, added: Sequence[tuple[str, int]]) -> _Order:
        """Return the order of another state: few ids are taken out and put in, the others are not compared again."""
        rows = new_row[self.row_of_rank]
        stays = rows >= 0
        ids, rows = (self.ids, rows) if stays.all() else (self.ids[stays], rows[stays])
        if not added:
            return _Order(ids, rows)
        added = sorted(added)
        fresh = _objects([entity_id for entity_id, _ in added])
        places = np.searchsorted(ids, fresh)  # pyright: ignore[reportArgumentType]
        return _Order(np.insert(ids, places, fresh), np.insert(rows, places, [row for _, row in added]))


def _objects(ids: Sequence[str]) -> NDArray[np.object_]:
    objects = np.empty(len(ids), dtype=np.object_)
    objects[:] = ids
    return objects


def _moved(
    old_keys: IntArray, old_revisions: IntArray, keys: IntArray, revisions: IntArray
) -> tuple[IntArray, NDArray[np.bool_]]:
    """Return the new row of each old row (int64 [n + 1]; -1: gone or changed; the last is -1), and who stayed."""
    moved = np.full(len(old_keys) + 1, -1, dtype=np.int64)
    if not len(old_keys):
        return moved, np.zeros(len(keys), dtype=np.bool_)
    if len(keys) >= len(old_keys) and np.array_equal(keys[: len(old_keys)], old_keys):  # nothing is gone
        place = np.arange(len(keys))
        is_old = place < len(old_keys)
        place[~is_old] = 0
    else:
        place = np.minimum(np.searchsorted(old_keys, keys), len(old_keys) - 1)
        is_old = old_keys[place] == keys
    kept = is_old & (old_revisions[place] == revisions)
    moved[place[kept]] = np.flatnonzero(kept)
    return moved, kept


def _latest(revisions: IntArray) -> int:
    return int(revisions.max(initial=0))


def _parts_of(
    stored: Sequence[tuple[SegmentFile, Segment]], keys: IntArray, revisions: IntArray
) -> tuple[list[_Part], NDArray[np.bool_]]:
    """Return stored segments as they count in this state, and which rows have their names in one: never in two."""
    covered = np.zeros(len(keys), dtype=np.bool_)
    if not len(keys):
        return [], covered
    parts: list[_Part] = []
    for file, segment in reversed(stored):
        place = np.minimum(np.searchsorted(keys, segment.keys), len(keys) - 1)
        alive = (keys[place] == segment.keys) & ~covered[place] & (revisions[place] <= file.revision)
        covered[place[alive]] = True
        if alive.any():
            parts.append(_Part(segment, np.where(alive, place, -1).astype(np.int32), file))
    return parts[::-1], covered


def _merged(parts: Sequence[_Part], revision: int, keys: IntArray) -> _Part:
    return _Part.build(merge_segments([(part.segment, part.rows >= 0) for part in parts], revision), keys)


def _may_stay(part: _Part, folder: Path, erased: IntArray) -> bool:
    """Tell whether a segment's file can be left as it is."""
    is_there = part.file is not None and (folder / part.file.file).is_file()
    return is_there and part.num_alive * 2 >= len(part.rows) and not np.isin(part.segment.keys, erased).any()


def _groups(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    """Yield parts in groups of which each fits into one segment."""
    group: list[_Part] = []
    for part in parts:
        if group and sum(one.size for one in group) + part.size > MAX_STRINGS:
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def _named(keys: IntArray, rows: IntArray, names_of: NamesOf) -> Iterator[Named]:
    for start in range(0, len(rows), _FETCHED):
        some = rows[start : start + _FETCHED]
        for key, (name, aliases) in zip(keys[some].tolist(), names_of(some), strict=True):
            yield key, name, aliases


def _names_in(kb: KnowledgeBase) -> NamesOf:
    def names_of(rows: IntArray) -> list[tuple[str, tuple[str, ...]]]:
        return [(kb.names[row], kb.aliases[row]) for row in rows.tolist()]

    return names_of


def _chunks(queries: Iterator[Vector]) -> Iterator[tuple[int, list[Query]]]:
    start = 0
    while chunk := [query_of(vector) for _, vector in zip(range(_CHUNK), queries)]:
        yield start, chunk
        start += len(chunk)


def _bound(products: NDArray[np.float64], k: int) -> float:
    """Return a value that at least `k` of the products reach when rounded, found in one pass; 0 where there is none.

    Of blocks of products, the k-th largest of their maxima.
    """
    num_blocks = len(products) // _BLOCK
    if not 0 < k <= num_blocks:
        return 0.0
    largest = products[: num_blocks * _BLOCK].reshape(_BLOCK, num_blocks).max(axis=0)
    return round(float(np.partition(largest, num_blocks - k)[num_blocks - k]) * _PRECISION) / _PRECISION


def _rounded(products: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(np.round(products * _PRECISION) / _PRECISION, 0.0)
