"""The model against plain loops, one mention at a time, in double precision."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from dualway.config import ModelConfig
from dualway.errors import ModelError
from dualway.features.batching import Packed, make_batch
from dualway.model.dwe_plus import CrossAttention, Dropout, DwePlus
from dualway.model.losses import DweLoss, Targets, find_conflicts, plan_pairs

SMALL = ModelConfig(dim=16, heads=4)


def build(config, world, *, train=False) -> DwePlus:
    model = DwePlus(config, world.features.text_dim, world.features.image_dim)
    for parameter in model.parameters():  # biases and epsilon away from 0
        with torch.no_grad():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.double().train(train)


def encode(model, features, index=None):
    index = np.arange(len(features)) if index is None else np.asarray(index)
    return model.encode_mentions(make_batch(features, index).to("cpu", torch.float64))


def pack(lists) -> Packed:
    counts = torch.tensor([len(x) for x in lists])
    owner = torch.repeat_interleave(torch.arange(len(lists)), counts)
    slot = torch.cat([torch.arange(int(c)) for c in counts])
    values = torch.cat([x for x in lists if len(x)])
    return Packed(values, owner, slot, counts, len(lists), int(counts.max()))


# ---- the oracle


def slow_map(layers, x):
    linear, norm = layers[0], layers[2]
    y = [
        max(0.0, sum(w * v for w, v in zip(row, x)) + b) for row, b in zip(linear.weight.tolist(), linear.bias.tolist())
    ]
    mean = sum(y) / len(y)
    variance = sum((v - mean) ** 2 for v in y) / len(y)
    return [
        (v - mean) / (variance + norm.eps) ** 0.5 * g + b
        for v, g, b in zip(y, norm.weight.tolist(), norm.bias.tolist())
    ]


def slow_linear(linear, x):
    bias = [0.0] * len(linear.weight) if linear.bias is None else linear.bias.tolist()
    return [sum(w * v for w, v in zip(row, x)) + b for row, b in zip(linear.weight.tolist(), bias)]


def slow_weights(attention, query, keys):
    """One list of weights a head."""
    q, ks = slow_linear(attention.query, query), [slow_linear(attention.key, x) for x in keys]
    size = len(q) // attention.heads
    weights = []
    for h in range(attention.heads):
        part = slice(h * size, (h + 1) * size)
        logits = [sum(a * b for a, b in zip(q[part], k[part])) / size**0.5 for k in ks]
        top = max(logits)
        total = sum(np.exp(v - top) for v in logits)
        weights.append([np.exp(v - top) / total for v in logits])
    return weights


def slow_values(attention, weights, keys):
    values = [slow_linear(attention.value, x) for x in keys]
    size = len(values[0]) // attention.heads
    context = []
    for h, head in enumerate(weights):
        for j in range(h * size, (h + 1) * size):
            context.append(sum(w * v[j] for w, v in zip(head, values)))
    return slow_linear(attention.out, context)


def slow_attention(attention, query, keys, dim):
    return slow_values(attention, slow_weights(attention, query, keys), keys) if keys else [0.0] * dim


def slow_parts(model, features, i):
    """Eqs. 4-7 of one mention."""
    config, picture = model.config, int(features.picture[i])

    def lists(ragged, place):
        return [] if place < 0 else ragged.values[ragged.offsets[place] : ragged.offsets[place + 1]].tolist()

    m, t = slow_map(model.text_map, features.mention[i].tolist()), slow_map(model.text_map, features.text[i].tolist())
    v = None if picture < 0 else slow_map(model.image_map, features.image[picture].tolist())
    d = [slow_map(model.image_map, x) for x in lists(features.objects, picture)] if config.use_objects else []
    num_objects = len(d)
    if config.use_image and config.fusion == "additive" and v is not None:
        d = [*d, v]
    f = [slow_map(model.text_map, x) for x in lists(features.faces, i)] if config.use_faces else []
    s = [slow_map(model.text_map, x) for x in lists(features.labels, picture)] if config.use_identity else []
    tokens = [slow_map(model.text_map, x) for x in lists(features.text_tokens, i)]
    attention = model.attention
    m_t = slow_attention(
        attention if model.text_attention is None else model.text_attention,
        m,
        (tokens if config.text_keys == "tokens" else [t]) if config.use_text else [],
        config.dim,
    )
    m_v = slow_attention(attention, m, d, config.dim)
    m_f, has_face = slow_attention(attention, m, f, config.dim), bool(f)
    if config.face_attention == "shared_map":
        place = features.face_object[features.faces.offsets[i] : features.faces.offsets[i + 1]].tolist()
        m_f, has_face = slow_shared_map(attention, m, d, f, [p if 0 <= p < num_objects else -1 for p in place])
    m_s = slow_attention(attention, m, s, config.dim)
    return m, t, v, m_t, m_v, m_f, m_s, has_face or bool(s)


def slow_shared_map(attention, m, d, f, place):
    known = [(face, p) for face, p in zip(f, place) if p >= 0]
    if not known:
        return [0.0] * len(m), False
    weights = slow_weights(attention, m, d)
    places = [p for _, p in known]
    picked = [[head[p] / places.count(p) for p in places] for head in weights]
    values = [slow_linear(attention.value, face) for face, _ in known]
    size = len(m) // attention.heads
    context = [
        sum(w * v[j] for w, v in zip(picked[h], values))
        for h in range(attention.heads)
        for j in range(h * size, (h + 1) * size)
    ]
    return slow_linear(attention.out, context), True


def slow_g(model, features, i):
    """Eqs. 8 and 9 of one mention."""
    config = model.config
    m, t, v, m_t, m_v, m_f, m_s, has = slow_parts(model, features, i)
    if config.fusion == "concat":
        row = (t if config.use_text else []) + ((v or [0.0] * len(m)) if config.use_image else [])
        g_m = slow_linear(model.concat_map[1], row + m + (m_v if config.use_objects else []))
    else:
        g_m = [a + b + c for a, b, c in zip(m, m_t, m_v)]
    added = [a + b for a, b in zip(m_f, m_s)]
    if config.gate == "none":
        return [a + b for a, b in zip(g_m, added)]
    if model.epsilon is None:
        return slow_linear(model.gate_map, g_m)
    e = model.epsilon.tolist()
    e = e if isinstance(e, list) else [e] * len(m)
    e = e if config.gate == "raw" else [1 / (1 + np.exp(-x)) for x in e]
    e = e if has else [0.0] * len(m)
    kept, added = [(1 - x) * a for x, a in zip(e, g_m)], [x * a for x, a in zip(e, added)]
    joined = kept + added if config.gate_input == "concat" else [a + b for a, b in zip(kept, added)]
    return slow_linear(model.gate_map, joined)


CONFIGS = {
    "paper": {},
    "released": {
        "use_faces": False,
        "use_identity": False,
        "use_image": True,
        "fusion": "concat",
        "gate": "none",
        "coarse_pair": "t_v",
        "fine_pair": "m_mv",
    },
    "own_text_tokens": {"share_text_attention": False, "text_keys": "tokens"},
    "shared_tokens": {"text_keys": "tokens"},
    "shared_map": {"face_attention": "shared_map"},
    "shared_map_image": {"face_attention": "shared_map", "use_image": True},
    "primitive": {"use_image": True, "use_objects": False},
    "raw_concat": {"gate": "raw", "gate_input": "concat"},
    "vector": {"gate": "vector"},
    "gate_none": {"gate": "none"},
    "concat_faces": {"fusion": "concat", "use_image": True},
    "no_attributes": {"use_faces": False, "use_identity": False, "gate_input": "concat"},
    "text_only": {"use_objects": False, "use_faces": False, "use_identity": False},
    "no_text": {"use_text": False},
    "own_entity": {"project_entity": "own"},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_g_equals_a_plain_loop(name, world):
    model = build(replace(SMALL, **CONFIGS[name]), world)
    g = encode(model, world.features).g
    expected = [slow_g(model, world.features, i) for i in range(len(world.features))]
    np.testing.assert_allclose(g.detach().numpy(), np.array(expected), rtol=1e-9, atol=1e-10)


def test_parts_equal_a_plain_loop_and_have_their_shapes(world):
    model = build(SMALL, world)
    output, n = encode(model, world.features), len(world.features)
    for i in range(n):
        m, t, _, m_t, m_v, m_f, m_s, _ = slow_parts(model, world.features, i)
        for name, value in {"m": m, "t": t, "m_t": m_t, "m_v": m_v, "m_f": m_f, "m_s": m_s}.items():
            part = getattr(output, name)
            assert part.shape == (n, SMALL.dim)
            np.testing.assert_allclose(part[i].detach().numpy(), np.array(value), rtol=1e-9, atol=1e-10)


def test_attention_on_objects_is_the_mean_over_the_heads_and_0_elsewhere(world):
    model = build(SMALL, world)
    output, features = encode(model, world.features), world.features
    for i, picture in enumerate(features.picture):
        keys = [] if picture < 0 else features.objects.values[slice(*features.objects.offsets[picture : picture + 2])]
        mapped = [slow_map(model.image_map, x.tolist()) for x in keys]
        row = output.attention[i].tolist()
        expected = np.mean(slow_weights(model.attention, output.m[i].tolist(), mapped), axis=0) if mapped else []
        np.testing.assert_allclose(row[: len(keys)], expected, rtol=1e-9)
        assert row[len(keys) :] == [0.0] * (len(row) - len(keys))


@pytest.mark.parametrize("counts", [[3, 1, 2], [1, 1, 1], [4, 0, 1]])
def test_cross_attention_equals_torchs(counts):
    attention = CrossAttention(16, 4).double()
    torch.nn.init.normal_(attention.value.bias)
    torch.nn.init.normal_(attention.query.bias)
    reference = torch.nn.MultiheadAttention(16, 4, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        reference.in_proj_weight.copy_(
            torch.cat([attention.query.weight, attention.key.weight, attention.value.weight])
        )
        reference.in_proj_bias.copy_(
            torch.cat([attention.query.bias, torch.randn(16), attention.value.bias])  # a key bias changes nothing
        )
        reference.out_proj.weight.copy_(attention.out.weight)
        reference.out_proj.bias.copy_(attention.out.bias)
    query = torch.randn(len(counts), 16, dtype=torch.float64)
    lists = [torch.randn(c, 16, dtype=torch.float64) for c in counts]
    keys = pack(lists)
    out = attention(attention.probe(query), keys)
    for i, items in enumerate(lists):
        expected = torch.zeros(16, dtype=torch.float64)
        if len(items):
            expected = reference(query[i : i + 1, None], items[None], items[None])[0][0, 0]
        torch.testing.assert_close(out[i], expected)


def test_one_key_is_a_linear_map_that_ignores_the_mention(world):
    model = build(SMALL, world)
    first = encode(model, world.features)
    other = encode(model, replace(world.features, mention=world.features.mention[::-1].copy()))
    assert torch.equal(first.m_t, other.m_t)
    tokens = build(replace(SMALL, text_keys="tokens"), world)
    first = encode(tokens, world.features)
    other = encode(tokens, replace(world.features, mention=world.features.mention[::-1].copy()))
    assert not torch.allclose(first.m_t, other.m_t)


# ---- trap 1: company


@pytest.mark.parametrize("name", CONFIGS)
def test_a_prediction_does_not_depend_on_the_batch(name, make):
    world = make(n=9)
    model = build(replace(SMALL, **CONFIGS[name]), world)
    together = encode(model, world.features).g
    for i in range(9):
        torch.testing.assert_close(encode(model, world.features, [i]).g[0], together[i], rtol=1e-10, atol=1e-12)
    order = np.array([4, 1, 8])
    few = encode(model, world.features.take(order)).g
    torch.testing.assert_close(few, together[torch.from_numpy(order)], rtol=1e-10, atol=1e-12)


def test_unmasked_padding_reproduces_the_public_code_in_training_only(world):
    config = replace(SMALL, mask_padding=False, dropout=0.0)
    model = build(config, world)
    masked = DwePlus(replace(config, mask_padding=True), 12, 10).double()
    masked.load_state_dict(model.state_dict())
    torch.testing.assert_close(encode(model, world.features).g, encode(masked.eval(), world.features).g)

    model.train()
    output = encode(model, world.features)
    i = int(np.flatnonzero(world.features.picture >= 0)[0])
    place, objects = int(world.features.picture[i]), world.features.objects
    keys = objects.values[objects.offsets[place] : objects.offsets[place + 1]].tolist()
    width = int(objects.counts()[world.features.picture[world.features.picture >= 0]].max())
    keys += [[0.0] * 10] * (width - len(keys))
    expected = slow_attention(model.attention, output.m[i].tolist(), [slow_map(model.image_map, x) for x in keys], 16)
    np.testing.assert_allclose(output.m_v[i].detach().numpy(), np.array(expected), rtol=1e-9)
    assert (output.m_v[torch.from_numpy(world.features.picture < 0)] == 0).all()


# ---- trap 2: inputs that silently never enter


def changed(features, name, rng):
    def noise(array):
        return rng.standard_normal(array.shape, dtype=np.float32)

    value = getattr(features, name)
    new = value._replace(values=noise(value.values)) if hasattr(value, "values") else noise(value)
    return replace(features, **{name: new})


@pytest.mark.parametrize(
    ("switch", "name"),
    [("use_objects", "objects"), ("use_faces", "faces"), ("use_identity", "labels"), ("use_image", "image")],
)
@pytest.mark.parametrize("fusion", ["additive", "concat"])
def test_an_input_counts_exactly_when_it_is_switched_on(switch, name, fusion, world):
    off = {"use_objects": False, "use_faces": False, "use_identity": False, "use_image": False}
    other = changed(world.features, name, np.random.default_rng(1))
    on_model = build(replace(SMALL, fusion=fusion, **{**off, switch: True}), world)
    assert not torch.allclose(encode(on_model, world.features).g, encode(on_model, other).g)
    off_model = build(replace(SMALL, fusion=fusion, **off), world)
    assert torch.equal(encode(off_model, world.features).g, encode(off_model, other).g)


@pytest.mark.parametrize("config", [{}, {"fusion": "concat"}, {"text_keys": "tokens"}])
def test_the_caption_counts_exactly_when_it_is_switched_on(config, world):
    name = "text_tokens" if config.get("text_keys") == "tokens" else "text"
    other = changed(world.features, name, np.random.default_rng(1))
    for on in (True, False):
        model = build(replace(SMALL, use_text=on, **config), world)
        same = torch.allclose(encode(model, world.features).g, encode(model, other).g)
        assert same is not on


def test_the_mention_always_counts(world):
    model = build(SMALL, world)
    other = changed(world.features, "mention", np.random.default_rng(1))
    assert not torch.allclose(encode(model, world.features).g, encode(model, other).g)


# ---- missing inputs


def test_missing_inputs_leave_a_plain_query(world):
    model = build(SMALL, world)
    bare = replace(world.features, objects=None, image=None, faces=None, labels=None, face_object=None)
    output = encode(model, bare)
    for part in (output.m_v, output.m_f, output.m_s):
        assert (part == 0).all()
    assert output.attention is None
    torch.testing.assert_close(output.g, model.gate_map(output.m + output.m_t))  # epsilon counts as 0


def test_text_only_models_need_no_pictures(world):
    bare = replace(world.features, objects=None, image=None, faces=None, labels=None, face_object=None)
    model = DwePlus(SMALL, 12, None)
    assert torch.isfinite(model.encode_mentions(make_batch(bare, np.arange(10))).g).all()
    with pytest.raises(ModelError, match="without pictures"):
        model.encode_mentions(make_batch(world.features, np.arange(10)))


def test_impossible_settings_are_refused_with_the_remedy(world):
    with pytest.raises(ModelError, match=r"--set model\.dim=12"):
        DwePlus(replace(SMALL, project_entity="none"), 12, None)
    with pytest.raises(ModelError, match="heads"):
        DwePlus(replace(SMALL, heads=3), 12, None)
    with pytest.raises(ModelError, match="use_objects"):
        DwePlus(replace(SMALL, use_objects=False, face_attention="shared_map"), 12, None)
    with pytest.raises(ModelError, match="dropout"):
        DwePlus(replace(SMALL, dropout=1.0), 12, None)
    bare = replace(world.features, text_tokens=None)
    with pytest.raises(ModelError, match="text_keys=pooled"):
        encode(build(replace(SMALL, text_keys="tokens"), world), bare)


def test_entities_go_through_the_map_that_is_configured(world):
    entities = torch.from_numpy(world.features.entities).double()
    shared = build(SMALL, world)
    torch.testing.assert_close(shared.encode_entities(entities), shared.text_map(entities))
    own = build(replace(SMALL, project_entity="own"), world)
    torch.testing.assert_close(own.encode_entities(entities), own.entity_map(entities))
    none = build(replace(SMALL, dim=12, project_entity="none"), world)
    assert none.encode_entities(entities) is entities


# ---- every switch


SWITCHES = {
    "project_entity": ["shared_text", "own", "none"],
    "use_text": [True, False],
    "use_objects": [True, False],
    "use_faces": [True, False],
    "use_identity": [True, False],
    "use_image": [True, False],
    "face_attention": ["shared_module", "shared_map"],
    "share_text_attention": [True, False],
    "text_keys": ["pooled", "tokens"],
    "fusion": ["additive", "concat"],
    "gate": ["sigmoid", "raw", "vector", "none"],
    "gate_input": ["sum", "concat"],
    "mask_padding": [True, False],
    "contrast": ["eq10", "msc", "infonce"],
    "coarse_pair": ["mt_mv", "t_v"],
    "fine_pair": ["f_d", "m_mv"],
    "rank_loss": ["triplet", "npair"],
}


def unused_parameters(config) -> set[str]:
    """Parameters that the arithmetic cannot reach: one key needs neither query nor key map."""
    pooled = config.text_keys == "pooled" and not config.share_text_attention
    return {f"text_attention.{x}" for x in ("query.weight", "query.bias", "key.weight")} if pooled else set()


@pytest.mark.parametrize(("switch", "value"), [(s, v) for s, values in SWITCHES.items() for v in values])
@pytest.mark.parametrize("fusion", ["additive", "concat"])
def test_every_switch_trains_every_parameter(switch, value, fusion, world):
    # text_dim 12 = dim, so that project_entity = none is possible
    config = replace(ModelConfig(dim=12, heads=4, fusion=fusion), **{switch: value})
    model = DwePlus(config, 12, 10).train()
    loss = DweLoss(config, plan_pairs(config, world.features))
    batch = make_batch(world.features, np.arange(10))
    output, entities = model(batch, torch.from_numpy(world.features.entities))
    conflict = find_conflicts(torch.from_numpy(world.gold), batch.picture)
    negative = torch.from_numpy((world.gold[:, None] + [1, 2]) % 30)
    targets = Targets(torch.from_numpy(world.gold), negative, torch.ones(10, 2, dtype=torch.bool), conflict)
    total = loss(output, entities, targets).total
    assert total.shape == ()
    assert torch.isfinite(total)
    total.backward()
    missing = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert missing == unused_parameters(config)
    if loss.log_scale is not None:
        assert loss.log_scale.grad is not None


def test_all_pairs_of_fusion_gate_and_keys_run(world):
    for fusion, gate, joined, keys, faces in itertools.product(
        SWITCHES["fusion"], SWITCHES["gate"], SWITCHES["gate_input"], SWITCHES["text_keys"], SWITCHES["face_attention"]
    ):
        config = replace(SMALL, fusion=fusion, gate=gate, gate_input=joined, text_keys=keys, face_attention=faces)
        g = DwePlus(config, 12, 10).encode_mentions(make_batch(world.features, np.arange(10))).g
        assert g.shape == (10, 16)
        assert torch.isfinite(g).all()


# ---- dropout


def test_dropout_keeps_the_mean_drops_the_rate_and_rests_outside_training():
    drop, x = Dropout(0.4), torch.ones(1001, 301, requires_grad=True)
    y = drop(x)
    share = float((y == 0).float().mean())
    assert abs(share - 0.4) < 0.005
    assert abs(float(y.detach().mean()) - 1) < 0.01
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())
    assert drop.eval()(x) is x
    assert torch.equal(Dropout(0.0)(x), x)
