"""The losses against plain loops, in closed form, and at the edges."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dualway.config import ModelConfig
from dualway.features.batching import make_batch
from dualway.model.dwe_plus import DwePlus
from dualway.model.losses import (
    DweLoss,
    PairPlan,
    Targets,
    coarse_pairs,
    eq10_loss,
    find_conflicts,
    fine_pairs,
    infonce_loss,
    msc_loss,
    npair_loss,
    plan_pairs,
    triplet_loss,
    unit,
)

SMALL = ModelConfig(dim=16, heads=4, dropout=0.0)


def views(n=6, d=5, scale=1.0):
    return torch.randn(n, d, dtype=torch.float64) * scale, torch.randn(n, d, dtype=torch.float64) * scale


def no_conflict(n):
    return torch.eye(n, dtype=torch.bool)


def some_conflict(n=6):
    return find_conflicts(torch.tensor([0, 1, 2, 0, 3, 4]), torch.tensor([0, 1, 1, -1, -1, 5]))


# ---- plain loops


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(x * x for x in b))


def slow_pairwise(first, second, conflict, temperature, *, keep_positive):
    """Mean over the 2n anchors of -log(exp(positive) / sum of exp(the others))."""
    both, n = [*first.tolist(), *second.tolist()], len(first)
    losses = []
    for a in range(2 * n):
        partner = (a + n) % (2 * n)
        below = [] if not keep_positive else [cosine(both[a], both[partner])]
        below += [cosine(both[a], both[i]) for i in range(2 * n) if not conflict[a % n, i % n]]
        if below:
            total = sum(math.exp(s / temperature) for s in below)
            losses.append(math.log(total) - cosine(both[a], both[partner]) / temperature)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("conflict", [no_conflict(6), some_conflict()])
def test_eq10_equals_a_plain_loop(conflict):
    first, second = views()
    expected = slow_pairwise(first, second, conflict, 0.5, keep_positive=False)
    assert eq10_loss(first, second, conflict, 0.5).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("conflict", [no_conflict(6), some_conflict()])
def test_msc_equals_a_plain_loop(conflict):
    first, second = views()
    centre = torch.randn(5, dtype=torch.float64) * 0.1

    def shift(x):
        return torch.stack([row / row.norm() - centre for row in x])

    expected = slow_pairwise(shift(first), shift(second), conflict, 0.25, keep_positive=True)
    assert msc_loss(first, second, conflict, centre, 0.25).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("conflict", [no_conflict(6), some_conflict()])
def test_infonce_equals_a_plain_loop(conflict):
    first, second = views()
    losses = []
    for a, b in ((first, second), (second, first)):
        for i in range(6):
            columns = [j for j in range(6) if j == i or not conflict[i, j]]
            total = sum(math.exp(9 * cosine(a[i].tolist(), b[j].tolist())) for j in columns)
            losses.append(math.log(total) - 9 * cosine(a[i].tolist(), b[i].tolist()))
    loss = infonce_loss(first, second, conflict, torch.tensor(9.0, dtype=torch.float64))
    assert loss.item() == pytest.approx(sum(losses) / 12, rel=1e-12)


def ranks(b=5, k=3):
    mask = torch.rand(b, k) > 0.4
    mask[1] = False
    mask[0] = True
    return torch.randn(b, dtype=torch.float64), torch.randn(b, k, dtype=torch.float64), mask


def test_triplet_equals_a_plain_loop():
    positive, negative, mask = ranks()
    means = []
    for p, row, keep in zip(positive.tolist(), negative.tolist(), mask.tolist()):
        costs = [max(n - p + 0.5, 0.0) for n, on in zip(row, keep) if on]
        means += [sum(costs) / len(costs)] if costs else []
    assert triplet_loss(positive, negative, mask).item() == pytest.approx(sum(means) / len(means), rel=1e-12)


def test_npair_equals_a_plain_loop():
    positive, negative, mask = ranks()
    losses = [
        math.log(1 + sum(math.exp(n - p) for n, on in zip(row, keep) if on))
        for p, row, keep in zip(positive.tolist(), negative.tolist(), mask.tolist())
    ]
    assert npair_loss(positive, negative, mask).item() == pytest.approx(sum(losses) / 5, rel=1e-12)


# ---- closed forms


def test_embeddings_without_information_give_the_log_of_the_choices():
    zero, n = torch.zeros(8, 4), 8
    assert eq10_loss(zero, zero, no_conflict(n)).item() == pytest.approx(math.log(2 * n - 2))
    assert msc_loss(zero, zero, no_conflict(n), torch.zeros(4)).item() == pytest.approx(math.log(2 * n - 1))
    assert infonce_loss(zero, zero, no_conflict(n), torch.tensor(14.0)).item() == pytest.approx(math.log(n))
    ones = torch.ones(n, 3, dtype=torch.bool)
    assert npair_loss(torch.zeros(n), torch.zeros(n, 3), ones).item() == pytest.approx(math.log(4))
    assert triplet_loss(torch.zeros(n), torch.zeros(n, 3), ones).item() == pytest.approx(0.5)


def test_orthogonal_pairs_have_the_expected_loss():
    eye = torch.eye(4)
    assert eq10_loss(eye, eye, no_conflict(4), 0.5).item() == pytest.approx(math.log(6) - 2, rel=1e-5)
    assert infonce_loss(eye, eye, no_conflict(4), torch.tensor(2.0)).item() == pytest.approx(
        math.log(math.exp(2) + 3) - 2, rel=1e-5
    )


def test_the_sign_of_the_triplet_pulls_gold_and_pushes_the_others():
    positive = torch.tensor([0.2], requires_grad=True)
    negative = torch.tensor([[0.1]], requires_grad=True)
    triplet_loss(positive, negative, torch.ones(1, 1, dtype=torch.bool)).backward()
    assert positive.grad is not None
    assert negative.grad is not None
    assert positive.grad.item() < 0 < negative.grad.item()


@pytest.mark.parametrize("name", ["eq10", "msc", "infonce"])
def test_a_permuted_batch_has_the_same_loss(name):
    first, second = views()
    conflict, order = some_conflict(), torch.randperm(6)
    extra = {"eq10": (0.5,), "msc": (torch.ones(5).double() * 0.1, 0.25), "infonce": (torch.tensor(5.0).double(),)}[
        name
    ]
    loss = {"eq10": eq10_loss, "msc": msc_loss, "infonce": infonce_loss}[name]
    permuted = loss(first[order], second[order], conflict[order][:, order], *extra)
    torch.testing.assert_close(loss(first, second, conflict, *extra), permuted)


# ---- trap 3: shapes


def test_the_number_of_negatives_does_not_scale_the_triplet():
    positive, negative = torch.randn(4), torch.randn(4, 1)
    one = triplet_loss(positive, negative, torch.ones(4, 1, dtype=torch.bool))
    many = triplet_loss(positive, negative.repeat(1, 7), torch.ones(4, 7, dtype=torch.bool))
    torch.testing.assert_close(one, many)
    padded = torch.cat([negative, torch.full((4, 2), 9.0)], dim=1)
    mask = torch.tensor([[True, False, False]]).repeat(4, 1)
    torch.testing.assert_close(one, triplet_loss(positive, padded, mask))


@pytest.mark.parametrize("loss", [triplet_loss, npair_loss])
@pytest.mark.parametrize(
    ("positive", "negative", "mask"),
    [((4,), (4,), (4,)), ((4, 1), (4, 2), (4, 2)), ((4,), (1, 2), (1, 2)), ((4,), (4, 2), (4, 1))],
)
def test_shapes_that_would_broadcast_are_refused(loss, positive, negative, mask):
    with pytest.raises(ValueError, match="expected positive"):
        loss(torch.zeros(positive), torch.zeros(negative), torch.ones(mask, dtype=torch.bool))


# ---- trap 5: extremes


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e8, 1e30])
@pytest.mark.parametrize("temperature", [0.01, 0.5])
def test_extreme_vectors_give_finite_losses_and_gradients(scale, temperature):
    first = (torch.randn(6, 5) * scale).requires_grad_()
    second = torch.randn(6, 5) * scale
    for loss in (
        eq10_loss(first, second, no_conflict(6), temperature),
        msc_loss(first, second, no_conflict(6), torch.zeros(5), temperature),
        infonce_loss(first, second, no_conflict(6), torch.tensor(1 / temperature)),
    ):
        assert torch.isfinite(loss)
    assert torch.isfinite(unit(first)).all()
    eq10_loss(first * (1 / scale), second, no_conflict(6), temperature).backward()
    assert first.grad is not None
    assert torch.isfinite(first.grad).all()
    big = torch.tensor([1e30, -1e30, 3.0])
    ones = torch.ones(3, 2, dtype=torch.bool)
    assert torch.isfinite(npair_loss(big, torch.tensor([[1e30, 0.0]]).repeat(3, 1), ones))


@pytest.mark.parametrize("contrast", ["eq10", "msc", "infonce"])
def test_a_batch_of_one_is_finite(contrast, world):
    config = replace(SMALL, contrast=contrast)
    total, model = run(config, world, [0])
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_batch_in_which_all_share_one_picture_is_finite(world):
    features = replace(world.features, picture=np.zeros(10, dtype=np.int64))
    total, model = run(SMALL, replace(world, features=features), range(10))
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


# ---- trap 6: false negatives


def test_samples_that_share_entity_or_picture_are_in_conflict():
    conflict = find_conflicts(torch.tensor([7, 7, 8, 9]), torch.tensor([-1, 1, 1, -1]))
    assert conflict.tolist() == [
        [True, True, False, False],
        [True, True, True, False],
        [False, True, True, False],
        [False, False, False, True],
    ]


def test_a_sample_in_conflict_leaves_the_other_alone():
    first, second = views()
    conflict = no_conflict(6)
    conflict[0, 3] = conflict[3, 0] = True
    moved = second.clone()
    moved[3] += 1.0
    gradients = []
    for other in (second, moved):
        anchor = first.clone().requires_grad_()
        infonce_loss(anchor, other, conflict, torch.tensor(9.0).double()).backward()
        gradients.append(anchor.grad)
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    assert not torch.allclose(gradients[0][1], gradients[1][1])


# ---- what is compared


def run(config, world, index):
    index = np.array(list(index))
    model = DwePlus(config, 12, 10)
    loss = DweLoss(config, plan_pairs(config, world.features))
    batch = make_batch(world.features, index)
    output, entities = model(batch, torch.from_numpy(world.features.entities))
    gold = torch.from_numpy(world.gold[index])
    negative = (gold[:, None] + 1) % 30
    targets = Targets(gold, negative, torch.ones_like(negative, dtype=torch.bool), find_conflicts(gold, batch.picture))
    return loss(output, entities, targets).total, model


def test_fine_pairs_are_faces_with_the_object_they_are_in(world):
    model = DwePlus(SMALL, 12, 10).eval()
    output = model.encode_mentions(make_batch(world.features, np.arange(10)))
    pairs = fine_pairs(output, "f_d")
    features = world.features
    expected = []
    for i in range(10):
        for face in range(features.faces.offsets[i], features.faces.offsets[i + 1]):
            place = features.face_object[face]
            if place >= 0:
                start = features.objects.offsets[features.picture[i]]
                expected.append((i, features.faces.values[face], features.objects.values[start + place]))
    assert pairs is not None
    assert pairs.sample.tolist() == [i for i, _, _ in expected]
    torch.testing.assert_close(pairs.first, model.text_map(torch.tensor(np.stack([f for _, f, _ in expected]))))
    torch.testing.assert_close(pairs.second, model.image_map(torch.tensor(np.stack([d for _, _, d in expected]))))


@pytest.mark.parametrize(("kind", "pairs"), [("mt_mv", coarse_pairs), ("m_mv", fine_pairs)])
def test_mentions_without_a_picture_are_left_out(kind, pairs, world):
    output = DwePlus(SMALL, 12, 10).eval().encode_mentions(make_batch(world.features, np.arange(10)))
    found = pairs(output, kind)
    has = np.flatnonzero(world.features.picture >= 0)
    assert found.sample.tolist() == has.tolist()
    torch.testing.assert_close(found.first, (output.m_t if kind == "mt_mv" else output.m)[has])
    torch.testing.assert_close(found.second, output.m_v[has])


def test_caption_and_whole_picture_are_compared_where_there_is_one(world):
    config = replace(SMALL, coarse_pair="t_v")
    output = DwePlus(config, 12, 10).eval().encode_mentions(make_batch(world.features, np.arange(10)))
    found = coarse_pairs(output, "t_v")
    has = np.flatnonzero(world.features.picture >= 0)
    assert found is not None
    assert found.sample.tolist() == has.tolist()
    torch.testing.assert_close(found.first, output.t[has])


def test_what_the_data_lack_gives_way_and_is_noted(world):
    assert plan_pairs(SMALL, world.features) == PairPlan("f_d", "mt_mv", ())
    no_faces = replace(world.features, faces=None, face_object=None)
    plan = plan_pairs(SMALL, no_faces)
    assert plan.fine == "m_mv"
    assert "(m, m_v)" in plan.notes[0]
    lost = replace(world.features, face_object=np.full_like(world.features.face_object, -1))
    assert plan_pairs(SMALL, lost).fine == "m_mv"
    assert plan_pairs(replace(SMALL, use_faces=False), world.features).fine == "m_mv"
    bare = replace(no_faces, objects=None, image=None, labels=None)
    plan = plan_pairs(SMALL, bare)
    assert (plan.fine, plan.coarse) == (None, None)
    assert any("model.use_identity is on" in note for note in plan.notes)
    assert plan_pairs(replace(SMALL, coarse_pair="t_v"), bare).coarse is None


def test_a_level_of_weight_0_is_not_computed(world):
    plan = plan_pairs(replace(SMALL, fine_weight=0.0, coarse_weight=0.0), world.features)
    assert (plan.fine, plan.coarse) == (None, None)


# ---- Eq. 14 and trap 4


def test_the_total_weighs_the_parts(world):
    config = replace(SMALL, fine_weight=2.0, coarse_weight=3.0, rank_weight=5.0)
    model = DwePlus(config, 12, 10).eval()
    loss = DweLoss(config, plan_pairs(config, world.features))
    output, entities = model(make_batch(world.features, np.arange(10)), torch.from_numpy(world.features.entities))
    gold = torch.from_numpy(world.gold)
    negative = (gold[:, None] + 1) % 30
    targets = Targets(gold, negative, torch.ones_like(negative, dtype=torch.bool), no_conflict(10))
    parts = loss(output, entities, targets)
    torch.testing.assert_close(parts.total, 2 * parts.fine + 3 * parts.coarse + 5 * parts.rank)
    assert all(part.shape == () for part in parts)
    cosines = torch.nn.functional.cosine_similarity(output.g, entities[negative[:, 0]])
    own = torch.nn.functional.cosine_similarity(output.g, entities[gold])
    torch.testing.assert_close(parts.rank, torch.relu(cosines - own + 0.5).mean())  # the cosine that ranks


def test_the_length_of_g_does_not_change_the_triplet_but_changes_npair(world):
    model = DwePlus(SMALL, 12, 10).eval()
    output, entities = model(make_batch(world.features, np.arange(10)), torch.from_numpy(world.features.entities))
    gold = torch.from_numpy(world.gold)
    negative = (gold[:, None] + 1) % 30
    targets = Targets(gold, negative, torch.ones_like(negative, dtype=torch.bool), no_conflict(10))
    for kind, same in (("triplet", True), ("npair", False)):
        loss = DweLoss(replace(SMALL, rank_loss=kind), PairPlan(None, None))
        first, second = (loss(output._replace(g=output.g * s), entities, targets).rank for s in (1.0, 3.0))
        assert torch.allclose(first, second) is same


def test_temperatures_default_to_their_source(world):
    plan = plan_pairs(SMALL, world.features)
    assert DweLoss(SMALL, plan).temperature == 0.5
    assert DweLoss(replace(SMALL, contrast="msc"), plan).temperature == 0.25
    scale = DweLoss(replace(SMALL, contrast="infonce"), plan).log_scale
    assert scale is not None
    assert scale.exp().item() == pytest.approx(1 / 0.07)
    assert DweLoss(replace(SMALL, temperature=0.2), plan).temperature == 0.2
