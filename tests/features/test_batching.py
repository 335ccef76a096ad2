from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from dualway.features.arrays import Features, Ragged
from dualway.features.batching import make_batch


def small_features() -> Features:
    def ragged(counts, dim):
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Ragged(np.arange(offsets[-1] * dim, dtype=np.float32).reshape(-1, dim) + 1, offsets)

    return Features(
        mention=np.arange(12, dtype=np.float32).reshape(4, 3),
        text=np.arange(12, dtype=np.float32).reshape(4, 3) + 100,
        picture=np.array([1, -1, 0, 1]),
        entities=np.ones((5, 3), dtype=np.float32),
        image=np.arange(4, dtype=np.float32).reshape(2, 2),
        objects=ragged([1, 3], 2),
        labels=ragged([2, 0], 3),
        faces=ragged([2, 0, 1, 1], 3),
        face_object=np.array([2, -1, 0, 7]),
        text_tokens=ragged([1, 2, 3, 4], 3),
    )


def test_lists_are_packed_in_the_order_of_the_batch_and_padded_with_zeros():
    features = small_features()
    batch = make_batch(features, np.array([3, 1, 2]))
    objects = batch.objects
    assert objects is not None
    assert objects.counts.tolist() == [3, 0, 1]
    assert objects.owner.tolist() == [0, 0, 0, 2]
    assert objects.slot.tolist() == [0, 1, 2, 0]
    padded, mask = objects.padded(), objects.mask()
    assert padded.shape == (3, 3, 2)
    assert mask.tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    assert features.objects is not None
    np.testing.assert_array_equal(padded[0].numpy(), features.objects.values[1:4])
    np.testing.assert_array_equal(padded[2, 0].numpy(), features.objects.values[0])
    assert (padded[~mask] == 0).all()
    assert batch.mention.tolist() == features.mention[[3, 1, 2]].tolist()
    assert batch.picture.tolist() == [1, -1, 0]


def test_whole_pictures_and_labels_belong_to_mentions_with_a_picture():
    batch = make_batch(small_features(), np.arange(4))
    assert batch.image is not None
    assert batch.image.owner.tolist() == [0, 2, 3]
    assert batch.image.first().tolist() == [[2, 3], [0, 0], [0, 1], [2, 3]]
    assert batch.labels is not None
    assert batch.labels.counts.tolist() == [0, 0, 2, 0]


def test_faces_point_at_the_row_of_their_object():
    batch = make_batch(small_features(), np.array([2, 0, 3]))
    # objects packed: mention 2 has row 0, mention 0 rows 1-3, mention 3 rows 4-6; place 7 does not exist
    assert batch.face_object is not None
    assert batch.face_object.tolist() == [0, 3, -1, -1]


def test_parts_without_a_vector_are_none():
    features = small_features()
    batch = make_batch(features, np.array([1]))
    assert batch.objects is None
    assert batch.image is None
    assert batch.faces is None
    assert batch.labels is None
    bare = replace(features, objects=None, image=None, faces=None, labels=None, text_tokens=None, face_object=None)
    assert make_batch(bare, np.arange(4)).tokens is None


def test_faces_without_objects_are_in_no_known_object():
    batch = make_batch(replace(small_features(), objects=None), np.arange(4))
    assert batch.face_object is not None
    assert (batch.face_object == -1).all()


def test_a_mention_brings_the_same_vectors_in_any_company():
    features = small_features()
    alone, among = make_batch(features, np.array([0])), make_batch(features, np.array([3, 2, 0, 1]))
    for name in ("objects", "faces", "tokens", "image"):
        first, second = getattr(alone, name), getattr(among, name)
        assert torch.equal(first.values, second.values[second.owner == 2])
        assert torch.equal(first.slot, second.slot[second.owner == 2])


def test_zero_filled_appends_zero_vectors_and_moves_no_row():
    objects = make_batch(small_features(), np.array([2, 1, 0])).objects
    assert objects is not None
    filled = objects.zero_filled(torch.tensor([3, 2, 3]))
    assert torch.equal(filled.values[: len(objects.values)], objects.values)
    assert filled.counts.tolist() == [3, 2, 3]
    assert filled.mask().all(dim=1).tolist() == [True, False, True]
    assert torch.equal(filled.padded(), objects.padded())


def test_to_changes_vectors_and_keeps_indices():
    batch = make_batch(small_features(), np.arange(4)).to("cpu", torch.float64)
    assert batch.mention.dtype == torch.float64
    assert batch.objects is not None
    assert batch.objects.values.dtype == torch.float64
    assert batch.objects.owner.dtype == torch.int64
    assert len(batch) == 4
