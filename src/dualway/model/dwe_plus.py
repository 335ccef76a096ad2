"""DWE+, the whole model: section 4 of the paper, Eqs. 4-9, and the cosine of Eqs. 1 and 15.

Letters in shapes: b batch, r keys (regions, faces, labels or tokens of one sample), h heads, d dim, u entities,
dt and dv the widths of the text and the picture encoder.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dualway.config import ModelConfig
from dualway.errors import ModelError
from dualway.features.batching import Batch, Packed


class MentionOutput(NamedTuple):
    """What the model makes of b mentions. Parts that are switched off or absent are zero, or None where so marked.

    g: [b, d], the joint feature (Eq. 9); ranked by its cosine with the entities.
    m: [b, d], the mapped mention.
    t: [b, d], the mapped caption.
    m_t: [b, d], the text-enhanced mention (Eq. 7).
    m_v: [b, d], the vision-enhanced mention (Eq. 4's m_d).
    m_f: [b, d], the face-enhanced mention (Eq. 5).
    m_s: [b, d], the identity-enhanced mention (Eq. 6).
    v: Packed of d, the mapped whole pictures; None unless needed.
    objects: Packed of d, the mapped objects, rows as in the batch; None without.
    faces: Packed of d, the mapped faces, rows as in the batch; None without.
    face_object: int64 [rows of faces], as in the batch; None without.
    attention: [b, r], Eq. 4's weights, mean over the heads; 0 where padded; None without objects. With
        `use_image` and additive fusion the whole picture is one more key behind each list.
    """

    g: Tensor
    m: Tensor
    t: Tensor
    m_t: Tensor
    m_v: Tensor
    m_f: Tensor
    m_s: Tensor
    v: Packed | None
    objects: Packed | None
    faces: Packed | None
    face_object: Tensor | None
    attention: Tensor | None


class CrossAttention(nn.Module):
    """Cross-Att(m, keys) with one query a sample: multi-head attention (Eqs. 4-7), keys and values the same vectors.

    Equal to `nn.MultiheadAttention(dim, heads)` with a key-padding mask, in fewer operations:

    1. (W_q m) . (W_k x) = (W_k' W_q m) . x: the query is taken to the keys' side once, however many keys there are.
    2. sum_j w_j (W_v x_j) = W_v (sum_j w_j x_j): values are mixed before they are mapped, as the weights sum to 1.
    3. One key: its weight is 1, so only the maps W_v and W_o act, and the mention has no say.

    W_k has no bias: it would add the same to every key's logit, which softmax ignores. An empty list gives exactly 0.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)
        for linear in (self.query, self.value, self.out):
            nn.init.zeros_(linear.bias)

    def probe(self, query: Tensor) -> Tensor:
        """Return W_k' W_q m / sqrt(d / h) of queries [b, d], one vector a head, [b, h, d]."""
        q = self.query(query).unflatten(1, (self.heads, -1)).transpose(0, 1)  # [b, d] -> [h, b, d/h]
        w_k = self.key.weight.unflatten(0, (self.heads, -1))  # [d, d] -> [h, d/h, d]
        return (torch.bmm(q, w_k) * q.shape[-1] ** -0.5).transpose(0, 1)  # [h, b, d] -> [b, h, d]

    def weights(self, probe: Tensor, keys: Packed) -> Tensor:
        """Return the attention weights [b, h, r] of a probe [b, h, d]; all 0 for an empty list."""
        logits = torch.bmm(probe, keys.padded().transpose(1, 2))  # [b, h, d] x [b, d, r] -> [b, h, r]
        visible, present = keys.mask(), keys.present
        visible = visible | ~present[:, None]  # never a softmax over nothing
        weights = logits.masked_fill(~visible[:, None, :], -torch.inf).softmax(-1)
        return weights * present[:, None, None]

    def mix(self, weights: Tensor, keys: Packed) -> Tensor:
        """Return W_o W_v of the keys under `weights` [b, h, r], [b, d]; 0 for an empty list."""
        mixed = torch.bmm(weights, keys.padded()).transpose(0, 1)  # [b, h, d] -> [h, b, d]
        w_v = self.value.weight.unflatten(0, (self.heads, -1)).transpose(1, 2)  # [d, d] -> [h, d, d/h]
        context = torch.bmm(mixed, w_v).transpose(0, 1).flatten(1)  # [h, b, d/h] -> [b, d]
        return self.out(context + self.value.bias) * keys.present[:, None]

    def single(self, rows: Tensor) -> Tensor:
        """Return the attention over one key, [n, d] -> [n, d]: a linear map, the same for every query."""
        return self.out(self.value(rows))

    def forward(self, probe: Tensor | None, keys: Packed) -> Tensor:
        """Return Cross-Att [b, d]; `probe` may be None when no list has more than one key."""
        if keys.width <= 1:
            return keys._replace(values=self.single(keys.values)).first()
        assert probe is not None
        return self.mix(self.weights(probe, keys), keys)


class Dropout(nn.Module):
    """Zero each element with probability `rate` in training and scale the others by 1 / (1 - rate).

    As `nn.Dropout`, whose one 64-bit draw an element would take a quarter of a training step on a CPU: here a draw
    serves four elements, which rounds `rate` to a multiple of 2^-16.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.threshold = round(rate * 2**16)

    def forward(self, x: Tensor) -> Tensor:
        """Return x with elements dropped; x itself outside training."""
        if not self.training or self.threshold == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.threshold / 2**16)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        keep = draws.view(torch.int16)[: x.numel()].view(x.shape) >= self.threshold - 2**15
        return x * keep.to(x.dtype).mul_(2**16 / (2**16 - self.threshold))


def feature_map(width: int, dim: int, dropout: float) -> nn.Sequential:
    """Return the "non-linear function to map the feature .. into the same feature space" (section 4); layers: code."""
    return nn.Sequential(nn.Linear(width, dim), nn.ReLU(), nn.LayerNorm(dim), Dropout(dropout))


class DwePlus(nn.Module):
    """Mentions and entities to vectors whose cosine ranks the candidates (Eqs. 1 and 15).

    Args:
        config: Every switch of the model; a checkpoint holds it.
        text_dim: dt, width of mention, caption, entity, face and label vectors; any.
        image_dim: dv, width of picture vectors; None when no pictures were extracted.

    Raises:
        ModelError: `dim` is no multiple of `heads`; `project_entity = "none"` and entities are not d wide;
            `face_attention = "shared_map"` without objects to attend to.
    """

    def __init__(self, config: ModelConfig, text_dim: int, image_dim: int | None) -> None:
        super().__init__()
        _check(config, text_dim)
        self.config, self.text_dim, self.image_dim = config, text_dim, image_dim
        d = config.dim
        # One map for text-like inputs, one for image-like ones; E goes through the text map unless told otherwise.
        self.text_map = feature_map(text_dim, d, config.dropout)
        self.image_map = None if image_dim is None else feature_map(image_dim, d, config.dropout)
        self.entity_map = feature_map(text_dim, d, config.dropout) if config.project_entity == "own" else None
        # Eqs. 4-6: "This attention shares parameters with the attention in Equation 4"; of Eq. 7 nothing is said.
        self.attention = CrossAttention(d, config.heads)
        own = _uses_m_t(config) and not config.share_text_attention
        self.text_attention = CrossAttention(d, config.heads) if own else None
        if config.fusion == "concat":  # the public code drops out once more before its last map
            width = d * (1 + config.use_text + config.use_image + config.use_objects)
            self.concat_map = nn.Sequential(Dropout(config.dropout), nn.Linear(width, d))
        else:
            self.concat_map = None
        self._make_gate(config)

    def _make_gate(self, config: ModelConfig) -> None:
        has_attributes = config.use_faces or config.use_identity
        if config.gate == "none":
            self.epsilon, self.gate_map = None, None
            return
        double = config.gate_input == "concat" and has_attributes
        self.gate_map = nn.Linear(2 * config.dim if double else config.dim, config.dim)  # W_g, b_g
        if not has_attributes:
            self.epsilon = None
        elif config.gate == "vector":
            self.epsilon = nn.Parameter(torch.zeros(config.dim))
        else:
            self.epsilon = nn.Parameter(torch.tensor(0.5 if config.gate == "raw" else 0.0))

    # ---- entities

    def encode_entities(self, entities: Tensor) -> Tensor:
        """Return entity vectors [u, dt] -> [u, d]; "map .. entity representation E into the same feature space"."""
        if self.config.project_entity == "none":
            return entities
        return (self.text_map if self.entity_map is None else self.entity_map)(entities)

    # ---- mentions

    def forward(self, batch: Batch, entities: Tensor) -> tuple[MentionOutput, Tensor]:
        """Return `encode_mentions(batch)` and `encode_entities(entities)`."""
        return self.encode_mentions(batch), self.encode_entities(entities)

    def encode_mentions(self, batch: Batch) -> MentionOutput:
        """Return the joint feature g of each mention, and its parts.

        Missing inputs (ours, the paper is silent): no picture, m_v = 0; neither face nor label, m_f + m_s = 0 and
        epsilon counts as 0 for that sample.
        """
        m, t, faces, labels, tokens = self._map_texts(batch)
        v, objects = self._map_pictures(batch)
        regions = self._regions(v, objects, batch)
        shared = (regions, faces, labels, tokens if self.text_attention is None else None)
        several = any(keys is not None and keys.width > 1 for keys in shared)
        probe = self.attention.probe(m) if several else None  # shared by Eqs. 4-7; one key needs none

        m_t = self._attend_text(m, t, tokens, probe)
        m_v, weights = self._attend_regions(m, regions, probe)
        if self.config.face_attention == "shared_map":
            m_f, has_face = self._faces_by_map(m, weights, objects, faces, batch.face_object)
        else:
            m_f, has_face = self._attend(m, faces, probe)
        m_s, has_label = self._attend(m, labels, probe)
        g = self._gate(self._fuse(m, t, m_t, m_v, v), m_f + m_s, has_face | has_label)
        attention = None if weights is None else weights.mean(1)  # [b, h, r] -> [b, r]
        return MentionOutput(g, m, t, m_t, m_v, m_f, m_s, v, objects, faces, batch.face_object, attention)

    def _map_texts(self, batch: Batch) -> tuple[Tensor, Tensor, Packed | None, Packed | None, Packed | None]:
        """Take m, t, faces, labels and tokens to d in one pass of the text map."""
        config = self.config
        faces = batch.faces if config.use_faces else None
        labels = batch.labels if config.use_identity else None
        tokens = batch.tokens if self._reads_tokens() else None
        if self._reads_tokens() and tokens is None:
            raise ModelError(
                "model.text_keys=tokens, but the features hold no token vectors; "
                "extract them with a token encoder or use --set model.text_keys=pooled"
            )
        if not config.mask_padding:
            faces, labels = self._zero_pad(faces), self._zero_pad(labels)
        packs = [part for part in (faces, labels, tokens) if part is not None]
        rows = [batch.mention, batch.text, *(part.values for part in packs)]
        mapped = self.text_map(torch.cat(rows)).split([len(part) for part in rows])
        rest = iter(mapped[2:])
        faces, labels, tokens = (None if p is None else p._replace(values=next(rest)) for p in (faces, labels, tokens))
        return mapped[0], mapped[1], faces, labels, tokens

    def _map_pictures(self, batch: Batch) -> tuple[Packed | None, Packed | None]:
        """Take the whole pictures v and the objects d (Eq. 3) to d in one pass of the image map."""
        config = self.config
        wants_objects = config.use_objects or (config.use_faces and config.fine_pair == "f_d")
        v = batch.image if config.use_image or config.coarse_pair == "t_v" else None
        objects = batch.objects if wants_objects else None
        parts = [part for part in (v, objects) if part is not None]
        if not parts:
            return None, None
        if self.image_map is None:
            raise ModelError("the model was made without pictures (image_dim None), but the features hold some")
        if objects is not None and not config.mask_padding:
            objects = self._zero_pad(objects)
            parts[-1] = objects or parts[-1]
        mapped = iter(self.image_map(torch.cat([part.values for part in parts])).split([len(p.owner) for p in parts]))
        v, objects = (None if part is None else part._replace(values=next(mapped)) for part in (v, objects))
        return v, objects

    def _zero_pad(self, keys: Packed | None) -> Packed | None:
        """Add the zero vectors that the public code's attention reads beside the true keys.

        In training every list that is not empty is padded to the batch's longest, as there. At inference a mention
        counts as a batch of its own, in which nothing is padded: its score does not depend on its company.
        """
        if keys is None or not self.training:
            return keys
        return keys.zero_filled(keys.present * keys.width)

    def _regions(self, v: Packed | None, objects: Packed | None, batch: Batch) -> Packed | None:
        """Return Eq. 4's keys: the objects, and v behind them when `use_image` and fusion is additive.

        With `use_objects` off, v is the only key: Table 10's "primitive" visual feature.
        """
        keys = objects if self.config.use_objects else None
        if not self.config.use_image or self.config.fusion == "concat" or v is None:
            return keys
        if keys is None:
            return v
        counts = keys.counts + v.counts
        return Packed(
            torch.cat([keys.values, v.values]),
            torch.cat([keys.owner, v.owner]),
            torch.cat([keys.slot, keys.counts[v.owner]]),
            counts,
            len(batch),
            int(counts.max()),
        )

    def _reads_tokens(self) -> bool:
        return self.config.text_keys == "tokens" and _uses_m_t(self.config)

    def _attend_text(self, m: Tensor, t: Tensor, tokens: Packed | None, probe: Tensor | None) -> Tensor:
        """Return m_t = Cross-Att(m, t) (Eq. 7).

        The caption is one pooled vector (code): one key, whose weight is 1 whatever the mention, so that m_t is a
        linear map of t and does not depend on m. `text_keys = "tokens"` makes it an attention in earnest.
        """
        if not _uses_m_t(self.config):
            return torch.zeros_like(m)
        module = self.attention if self.text_attention is None else self.text_attention
        if tokens is None:
            return module.single(t)
        return module(probe if self.text_attention is None else module.probe(m), tokens)

    def _attend_regions(self, m: Tensor, keys: Packed | None, probe: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return m_v = Cross-Att(m, d) (Eq. 4) and its weights [b, h, r]."""
        if keys is None:
            return torch.zeros_like(m), None
        if keys.width == 1:
            weights = keys.present.to(m.dtype)[:, None, None].expand(-1, self.config.heads, 1)  # [b] -> [b, h, 1]
            return self.attention(None, keys), weights
        assert probe is not None
        weights = self.attention.weights(probe, keys)
        return self.attention.mix(weights, keys), weights

    def _attend(self, m: Tensor, keys: Packed | None, probe: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return Cross-Att(m, keys) by Eq. 4's module (Eqs. 5 and 6), and bool [b]: who has a key."""
        if keys is None:
            return torch.zeros_like(m), torch.zeros(len(m), dtype=torch.bool, device=m.device)
        return self.attention(probe, keys), keys.present

    def _faces_by_map(
        self, m: Tensor, weights: Tensor | None, objects: Packed | None, faces: Packed | None, place: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return m_f with Eq. 4's weights and the faces as values, and bool [b]: who has a face in a known object.

        "This attention represents which specific object region of the image the mention focuses on, thereby
        attending to the corresponding facial attributes in that area" (4.3.1). A region without a face adds nothing;
        faces of one region share its weight.
        """
        if weights is None or objects is None or faces is None or place is None:
            return self._attend(m, None, None)
        known = torch.nonzero(place >= 0).flatten()  # zero-padded rows of the public code lie behind `place`
        owner, row = faces.owner[known], place[known]
        sharing = torch.bincount(row, minlength=len(objects.owner))[row]  # [F], faces in the same region
        weight = weights[owner, :, objects.slot[row]] / sharing[:, None]  # [F, h]
        values = self.attention.value(faces.values[known]).unflatten(1, (self.config.heads, -1))  # [F, h, d/h]
        context = torch.zeros_like(m).index_add(0, owner, (weight[..., None] * values).flatten(1).to(m.dtype))  # [b, d]
        present = torch.bincount(owner, minlength=len(m)) > 0
        return self.attention.out(context) * present[:, None], present

    def _fuse(self, m: Tensor, t: Tensor, m_t: Tensor, m_v: Tensor, v: Packed | None) -> Tensor:
        """Return g_m = m + m_t + m_v (Eq. 8), or the public code's map of the concatenated t, v, m, m_v."""
        if self.concat_map is None:
            return m + m_t + m_v
        parts = [m]
        if self.config.use_text:
            parts.insert(0, t)
        if self.config.use_image:
            parts.insert(-1, torch.zeros_like(m) if v is None else v.first())
        if self.config.use_objects:
            parts.append(m_v)
        return self.concat_map(torch.cat(parts, dim=1))  # k * [b, d] -> [b, k * d] -> [b, d]

    def _gate(self, g_m: Tensor, attributes: Tensor, has: Tensor) -> Tensor:
        """Return g = ((1 - e) g_m + e (m_f + m_s)) W_g + b_g (Eq. 9); `gate = "none"`: g_m + m_f + m_s.

        e = sigmoid(a free scalar), .5 at the start (ours: keeps it in (0, 1)); `raw` is the scalar itself, `vector`
        has one e a dimension. The sum is d wide, so W_g is d x d; `gate_input = "concat"` is the printed 2d x d.
        """
        if self.gate_map is None:
            return g_m + attributes
        if self.epsilon is None:  # neither faces nor labels are switched on
            return self.gate_map(g_m)
        epsilon = self.epsilon if self.config.gate == "raw" else torch.sigmoid(self.epsilon)
        e = epsilon * has[:, None]  # [] or [d] -> [b, 1] or [b, d]
        kept, added = (1 - e) * g_m, e * attributes
        return self.gate_map(kept + added if self.config.gate_input == "sum" else torch.cat([kept, added], dim=1))


def _uses_m_t(config: ModelConfig) -> bool:
    """Return whether Eq. 7's m_t enters the query or the coarse loss."""
    return config.use_text and (config.fusion == "additive" or config.coarse_pair == "mt_mv")


def _check(config: ModelConfig, text_dim: int) -> None:
    if not 0 <= config.dropout < 1:
        raise ModelError(f"model.dropout {config.dropout} is not in 0 to 1 (1 left out)")
    if config.dim % config.heads:
        raise ModelError(f"model.dim {config.dim} is no multiple of model.heads {config.heads}; change one of them")
    if config.project_entity == "none" and text_dim != config.dim:
        raise ModelError(
            f"model.project_entity=none leaves entities {text_dim} wide, but mentions become {config.dim} wide; "
            f"use --set model.dim={text_dim} or --set model.project_entity=shared_text"
        )
    if config.face_attention == "shared_map" and config.use_faces and not config.use_objects:
        raise ModelError(
            "model.face_attention=shared_map needs the attention over objects; "
            "use --set model.use_objects=true or --set model.face_attention=shared_module"
        )
