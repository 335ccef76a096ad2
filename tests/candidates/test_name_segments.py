"""Segments of names: that they hold what `name_features` says, and that a score is the same in each of them."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualway.candidates.name_segments import (
    MAX_STRINGS,
    Segment,
    blocks,
    build_segment,
    build_segments,
    merge_segments,
    query_of,
)
from dualway.candidates.similarity import NameWeights, mention_features, name_features

WORD = st.sampled_from(
    ["j", "f", "jodie", "foster", "ben", "of", "the", "W.", "FBI", "東京", "joão", "o'neil", "ii", "a:", "w:!", "c:x"]
)
MARKS = ("w:", "c:", "l:", "f:", "i:", "s:", "a:")
NAME = st.lists(WORD, min_size=1, max_size=4).map(" ".join) | st.text(max_size=6) | st.just("Fos\ud800ter")
NAMES = st.lists(st.tuples(NAME, st.lists(NAME, max_size=2)), max_size=6)


def entities_of(names) -> list[tuple[int, str, list[str]]]:
    return [(3 * i + 1, name, aliases) for i, (name, aliases) in enumerate(names)]


def plain_product(surface: str, name: str) -> float:
    """What mention and name share, by the definitions alone."""
    mine: dict[str, float] = {}
    for feature, value in mention_features(surface, NameWeights()):
        mine[feature] = mine.get(feature, 0.0) + value
    return math.fsum(mine[feature] * value for feature, value in name_features(name) if feature in mine)


def query(surface: str):
    return query_of(mention_features(surface, NameWeights()))


def vector_of(segment: Segment, string: int) -> dict[int, float]:
    """One string's vector, by the keys of its features."""
    feature = np.repeat(np.arange(len(segment.features)), np.diff(segment.starts))
    own = segment.features[feature[segment.strings == string]].tolist()
    by_kind = (float(segment.trigram_values[string]), float(segment.word_values[string]), 1.0)
    return {key: by_kind[key >> 62] for key in own}


@settings(max_examples=150, deadline=None)
@given(NAME)
def test_a_string_has_the_features_of_the_definition_to_the_last_bit(name):
    segment = build_segment([(0, name, ())], 1)
    expected = {int(query_of([(feature, 1.0)]).keys[0]): value for feature, value in name_features(name)}
    assert vector_of(segment, 0) == expected


@settings(max_examples=150, deadline=None)
@given(NAMES, NAME)
def test_products_are_those_of_the_definition(names, surface):
    segment = build_segment(entities_of(names), 1)
    expected = [max(plain_product(surface, string) for string in (name, *aliases)) for name, aliases in names]
    np.testing.assert_allclose(segment.products(query(surface)), expected, rtol=0, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(NAMES, NAMES, NAME)
def test_a_product_is_the_same_to_the_last_bit_in_every_segment(some, others, surface):
    entities = entities_of([*some, *others])
    together = build_segment(entities, 1).products(query(surface))
    parts = [build_segment(part, 1) for part in (entities[: len(some)], entities[len(some) :])]
    apart = np.concatenate([part.products(query(surface)) for part in parts])
    assert together.tolist() == apart.tolist()


@settings(max_examples=100, deadline=None)
@given(NAMES, NAMES, st.data())
def test_a_merged_segment_is_the_one_built_of_what_is_kept(some, others, data):
    entities = entities_of([*some, *others])
    keep = data.draw(st.lists(st.booleans(), min_size=len(entities), max_size=len(entities)))
    first, second = build_segment(entities[: len(some)], 1), build_segment(entities[len(some) :], 1)
    masks = np.array(keep[: len(some)], dtype=np.bool_), np.array(keep[len(some) :], dtype=np.bool_)
    merged = merge_segments([(second, masks[1]), (first, masks[0])], 7)
    expected = build_segment([entity for entity, stays in zip(entities, keep) if stays], 7)
    for name in ("features", "starts", "strings", "trigram_values", "word_values", "owners"):
        assert getattr(merged, name).tolist() == getattr(expected, name).tolist()
    assert merged.revision == 7


def test_entities_are_in_the_order_of_their_keys_whatever_order_they_come_in():
    segment = build_segment([(9, "Ben", ()), (2, "Jodie", ("Alicia",)), (5, "Mel", ())], 1)
    assert segment.owners.tolist() == [2, 2, 5, 9]
    assert (segment.keys.tolist(), segment.heads.tolist()) == ([2, 5, 9], [0, 2, 3])
    assert segment.products(query("Ben")).argmax() == 2


@pytest.mark.parametrize("name", [":", "::", "w:!", "!:", "c: c", "：", "a:b", "🙂:🙂"])
def test_a_colon_in_a_name_is_never_taken_for_the_mark_of_a_feature(name):
    segment = build_segment([(0, name, ())], 1)
    assert segment.products(query(name)).tolist() == pytest.approx([plain_product(name, name)], abs=1e-12)
    grams = [feature for feature, value in name_features(name) if not feature.startswith(MARKS)]
    assert all(len(gram) == 3 for gram in grams)
    assert vector_of(segment, 0).keys() == {int(query_of([f]).keys[0]) for f in name_features(name)}


def test_no_entities_are_a_segment_that_shares_nothing():
    segment = build_segment([], 1)
    assert (segment.num_strings, segment.num_entities) == (0, 0)
    assert segment.products(query("Foster")).tolist() == []
    assert build_segment([(1, " ", ("",))], 1).products(query("Foster")).tolist() == [0.0]


def test_a_mention_that_says_nothing_shares_nothing():
    assert build_segment([(1, "Foster", ())], 1).products(query("  ")).tolist() == [0.0]


def test_an_entity_is_never_split():
    entities = [(0, "a", ()), (1, "b", ("c", "d", "e", "f")), (2, "g", ("h",)), (3, "i", ()), (4, "j", ())]
    assert [[key for key, *_ in block] for block in blocks(entities, 3)] == [[0], [1], [2, 3], [4]]
    assert list(blocks([], 3)) == []


def test_more_strings_than_two_bytes_can_number():
    aliases = [f"name {i}" for i in range(1 << 16)]
    segment = build_segment([(1, "first", aliases), (2, "last", ())], 1)
    assert segment.strings.dtype == np.int32
    assert segment.products(query("last"))[1] == pytest.approx(1.0)
    assert segment.products(query("name 65535"))[0] == pytest.approx(1.0)


def test_many_entities_make_several_segments_that_travel_between_processes():
    segments = list(build_segments(((i, f"name {i}", ()) for i in range(MAX_STRINGS + 5)), 3))
    assert [segment.num_strings for segment in segments] == [MAX_STRINGS, 5]
    copy = pickle.loads(pickle.dumps(segments[1]))
    assert copy.products(query(f"name {MAX_STRINGS}")).tolist() == pytest.approx(
        segments[1].products(query(f"name {MAX_STRINGS}")).tolist()
    )
    assert segments[1].nbytes > 0
