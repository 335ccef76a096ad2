"""Ragged lists and Features: choosing mentions keeps everything that belongs to each of them together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualway.features.arrays import Features, Ragged


def ragged(lists: list[list[float]]) -> Ragged:
    """Lists of vectors of width 2: each number and its double."""
    flat = np.array([[x, 2 * x] for values in lists for x in values], dtype=np.float32).reshape(-1, 2)
    return Ragged(flat, np.cumsum([0, *map(len, lists)]).astype(np.int64))


def plain(found: Ragged) -> list[list[float]]:
    return [found.values[a:b, 0].tolist() for a, b in zip(found.offsets[:-1], found.offsets[1:])]


LISTS = st.lists(st.lists(st.integers(-100, 100).map(float), max_size=4), min_size=1, max_size=6)


@given(LISTS, st.data())
def test_taking_lists_equals_choosing_from_plain_lists(lists, data):
    index = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=8))
    chosen = ragged(lists).take(np.array(index, dtype=np.int64))
    assert plain(chosen) == [lists[i] for i in index]
    assert chosen.offsets.dtype == np.int64
    assert chosen.values.shape[1] == 2
    assert plain(chosen.take(np.arange(len(index)))) == plain(chosen)


@given(LISTS, st.data())
def test_positions_are_those_of_the_chosen_lists_vectors(lists, data):
    index = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=8))
    starts = [sum(map(len, lists[:i])) for i in range(len(lists))]
    expected = [starts[i] + j for i in index for j in range(len(lists[i]))]
    positions = ragged(lists).positions(np.array(index, dtype=np.int64))
    assert positions.tolist() == expected


@given(LISTS)
def test_counts_are_lengths(lists):
    assert ragged(lists).counts().tolist() == [len(values) for values in lists]


def test_no_list_at_all():
    empty = ragged([])
    assert empty.counts().tolist() == []
    assert plain(empty.take(np.zeros(0, dtype=np.int64))) == []


def features(faces: list[list[float]] | None = None, **more) -> Features:
    n = 4
    return Features(
        mention=np.arange(n * 3, dtype=np.float32).reshape(n, 3),
        text=10 + np.arange(n * 3, dtype=np.float32).reshape(n, 3),
        picture=np.array([1, -1, 0, 1]),
        entities=np.ones((7, 3), dtype=np.float32),
        faces=None if faces is None else ragged(faces),
        **more,
    )


FACES = [[0.0, 1.0], [], [20.0], [30.0, 31.0, 32.0]]
OBJECTS = np.array([0, 1, 2, 0, -1, 1])  # of each face, in the same order


@given(st.lists(st.integers(0, 3), max_size=8))
def test_faces_stay_with_their_mention_and_their_object(index):
    whole = features(FACES, face_object=OBJECTS, text_tokens=ragged([[1.0], [2.0, 2.0], [], [4.0]]))
    part = whole.take(np.array(index, dtype=np.int64))
    object_of = dict(zip([x for values in FACES for x in values], OBJECTS.tolist()))
    assert part.faces is not None
    assert part.face_object is not None
    assert part.text_tokens is not None
    assert plain(part.faces) == [FACES[i] for i in index]
    assert part.face_object.tolist() == [object_of[x] for i in index for x in FACES[i]]
    assert plain(part.text_tokens) == [[[1.0], [2.0, 2.0], [], [4.0]][i] for i in index]
    assert part.picture.tolist() == [[1, -1, 0, 1][i] for i in index]
    assert np.array_equal(part.mention, whole.mention[index])
    assert np.array_equal(part.text, whole.text[index])
    assert len(part) == len(index)


def test_pictures_and_entities_are_shared_and_not_copied():
    image = np.ones((2, 5), dtype=np.float32)
    objects = Ragged(np.ones((3, 5), dtype=np.float32), np.array([0, 1, 3]))
    labels = ragged([[1.0], []])
    whole = features(image=image, objects=objects, labels=labels)
    part = whole.take(np.array([3, 3]))
    assert part.entities is whole.entities
    assert part.image is image
    assert part.objects is objects
    assert part.labels is labels


def test_parts_that_were_not_extracted_stay_so():
    part = features().take(np.array([0]))
    assert (part.image, part.objects, part.labels, part.faces, part.face_object, part.text_tokens) == (None,) * 6


def test_widths():
    assert features().text_dim == 3
    assert features().image_dim is None
    assert features(image=np.ones((2, 5), dtype=np.float32)).image_dim == 5
    assert features(objects=Ragged(np.ones((1, 6), np.float32), np.array([0, 1]))).image_dim == 6


def test_a_task_takes_everything_along(people_kb):
    from dualway.protocols import Task
    from dualway.schema import CandidateLists, Mention

    mentions = [Mention(text=str(i), surface=str(i), id=str(i)) for i in range(4)]
    lists = CandidateLists(np.arange(8).reshape(4, 2), np.zeros((4, 2), dtype=np.float32))
    task = Task(mentions, lists, people_kb, features(FACES))
    part = task.take(np.array([2, 0]))
    assert [m.id for m in part.mentions] == ["2", "0"]
    assert part.candidates is not None
    assert part.candidates.rows.tolist() == [[4, 5], [0, 1]]
    assert part.features is not None
    assert part.features.faces is not None
    assert plain(part.features.faces) == [FACES[2], FACES[0]]
    assert [[m.id for m in chunk.mentions] for chunk in task.chunks(3)] == [["0", "1", "2"], ["3"]]
    bare = Task(mentions, None, people_kb).take(np.array([1]))
    assert (bare.candidates, bare.features) == (None, None)


@pytest.mark.parametrize("index", [[1, 0], slice(0, 2), np.array([1])])
def test_candidate_lists_take_sequences_arrays_and_slices(index):
    from dualway.schema import CandidateLists

    lists = CandidateLists(np.arange(6).reshape(3, 2), np.zeros((3, 2), dtype=np.float32))
    assert lists.take(index).rows.tolist() == np.arange(6).reshape(3, 2)[index].tolist()
