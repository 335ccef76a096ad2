"""The losses of section 4.5: contrastive on two levels (Eqs. 10-12), ranking (Eq. 13), and their sum (Eq. 14)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dualway.config import ModelConfig
from dualway.features.arrays import Features, Ragged
from dualway.model.dwe_plus import MentionOutput

TEMPERATURES = {"eq10": 0.5, "msc": 0.25, "infonce": 0.07}  # where ModelConfig.temperature is None
MAX_SCALE = 100.0  # of infonce's learnable scale, as CLIP clips it


def unit(x: Tensor) -> Tensor:
    """Return the rows of [n, d] at length 1; a zero row stays zero, a huge or tiny one does not overflow."""
    size = x.detach().abs().amax(dim=-1, keepdim=True)
    return F.normalize(x / torch.where(size > 0, size, 1.0), dim=-1, eps=1e-6)


# ---- contrastive losses, Eq. 10


def eq10_loss(first: Tensor, second: Tensor, conflict: Tensor, temperature: float = 0.5) -> Tensor:
    """Return Eq. 10 as printed, averaged over the 2n anchors of f_c = [f1; f2].

    1. Both views are brought to length 1, so a product is a cosine (ours: the paper gives no normalisation).
    2. Each of the 2n vectors is an anchor; its positive is the other view of the same sample.
    3. The denominator sums all the others: i != m leaves out the anchor, the subtraction leaves out the positive.
       Both are masked, and the sum is a logsumexp, so nothing overflows and nothing is subtracted from itself.
    4. Samples in `conflict` are no negatives. An anchor without any negative (n = 1) is left out.

    As the positive is not in the denominator, the loss can be negative. Without information it is log(2n - 2).

    Args:
        first: float [n, d], f1.
        second: float [n, d], f2.
        conflict: bool [n, n], True on the diagonal and where two samples may not repel each other.
        temperature: tau, .05 to 1; smaller looks at the hardest negatives. .5: code.

    Related: `msc_loss` keeps the positive below, `infonce_loss` contrasts across the two views only.
    Source: section 4.5.1, Eq. 10, "an augmented mini-batch of size 2B".
    """
    views = unit(torch.cat([first, second]))  # f_c [2n, d]
    sims = views @ views.T / temperature  # [2n, 2n]
    positive = (views.chunk(2)[0] * views.chunk(2)[1]).sum(-1).repeat(2) / temperature  # [2n]
    blocked = conflict.repeat(2, 2)  # self and positive lie on the blocks' diagonals
    return _mean_gap(sims.masked_fill(blocked, -torch.inf), positive, ~blocked.all(dim=1))


def msc_loss(first: Tensor, second: Tensor, conflict: Tensor, centre: Tensor, temperature: float = 0.25) -> Tensor:
    """Return the mean-shifted contrastive loss as its authors published it, averaged over the 2n anchors.

    1. Both views are brought to length 1, `centre` is subtracted, and they are brought to length 1 again.
    2. Each of the 2n vectors is an anchor; its positive is the other view of the same sample.
    3. The denominator sums over all but the anchor itself: the positive is kept.
    4. Samples in `conflict` are no negatives.

    Args:
        first: float [n, d], f1.
        second: float [n, d], f2.
        conflict: bool [n, n], True on the diagonal and where two samples may not repel each other.
        centre: float [d], the mean of the normalised features over the training set before training.
        temperature: tau, .1 to 1. .25: published.

    Source: Reiss and Hoshen, "Mean-Shifted Contrastive Loss for Anomaly Detection", the paper's reference [31].
    """
    views = unit(unit(torch.cat([first, second])) - centre)  # [2n, d]
    sims = views @ views.T / temperature  # [2n, 2n]
    positive = (views.chunk(2)[0] * views.chunk(2)[1]).sum(-1).repeat(2) / temperature  # [2n]
    blocked = conflict.repeat(2, 2)
    n = len(first)
    places = torch.arange(2 * n, device=sims.device)
    blocked[places, (places + n) % (2 * n)] = False  # the positive
    return _mean_gap(sims.masked_fill(blocked, -torch.inf), positive, ~blocked.all(dim=1))


def infonce_loss(first: Tensor, second: Tensor, conflict: Tensor, scale: Tensor) -> Tensor:
    """Return CLIP's symmetric cross-entropy between two views.

    1. Both views are brought to length 1; logits are `scale` times the cosines of f1 with f2.
    2. The right column of a row is its own; samples in `conflict` are taken out of row and column.
    3. Mean of the cross-entropies over rows and over columns. Without information it is log n.

    Args:
        first: float [n, d], f1.
        second: float [n, d], f2.
        conflict: bool [n, n], True on the diagonal and where two samples may not repel each other.
        scale: float [], 1 / tau, 1 to 100; learnable, starts at 1 / .07 (code).

    Source: the public code's live loss; Radford et al., "Learning Transferable Visual Models".
    """
    logits = scale * unit(first) @ unit(second).T  # [n, n]
    own = torch.eye(len(first), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(conflict & ~own, -torch.inf)
    target = torch.arange(len(first), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def _mean_gap(logits: Tensor, positive: Tensor, usable: Tensor) -> Tensor:
    """Return mean(logsumexp(logits) - positive) over the usable rows; 0, with a gradient of 0, when there is none."""
    gap = logits.masked_fill(~usable[:, None], 0.0).logsumexp(dim=1) - positive
    return (gap * usable).sum() / usable.sum().clamp_min(1)


# ---- ranking losses, Eq. 13


def triplet_loss(positive: Tensor, negative: Tensor, mask: Tensor, margin: float = 0.5) -> Tensor:
    """Return relu(cos(g, negative) - cos(g, positive) + margin), Eq. 13 with the sign that a similarity needs.

    1. A negative costs nothing once it is `margin` less similar than the positive.
    2. Mean over the negatives of a mention, then over the mentions that have one: their number does not scale it.

    Differs from the paper: the printed sign, G(g,+) - G(g,-) + margin, would push the gold entity away.

    Args:
        positive: float [b], cosine with the gold entity.
        negative: float [b, k], cosines with the negatives.
        mask: bool [b, k], which negatives count.
        margin: epsilon, 0 to 1; .5: section 5.1.2's "triplet loss interval".
    """
    _check_shapes(positive, negative, mask)
    losses = F.relu(negative - positive[:, None] + margin) * mask  # [b, k]
    counts = mask.sum(dim=1)
    return (losses.sum(dim=1) / counts.clamp_min(1)).sum() / (counts > 0).sum().clamp_min(1)


def npair_loss(positive: Tensor, negative: Tensor, mask: Tensor) -> Tensor:
    """Return log(1 + sum over negatives of exp(g.n - g.p)), averaged over the mentions (code: N-pair, no margin).

    The products are raw in the public code, while candidates are ranked by cosine (docs/model.md): `triplet_loss`
    trains on what ranks.

    Args:
        positive: float [b], product with the gold entity.
        negative: float [b, k], products with the negatives.
        mask: bool [b, k], which negatives count.
    """
    _check_shapes(positive, negative, mask)
    logits = torch.cat([positive[:, None], negative.masked_fill(~mask, -torch.inf)], dim=1)  # [b, 1 + k]
    return (logits.logsumexp(dim=1) - positive).mean()


def _check_shapes(positive: Tensor, negative: Tensor, mask: Tensor) -> None:
    if negative.dim() != 2 or positive.shape != negative.shape[:1] or mask.shape != negative.shape:
        shapes = f"{tuple(positive.shape)}, {tuple(negative.shape)}, {tuple(mask.shape)}"
        raise ValueError(f"expected positive [b], negative [b, k], mask [b, k]; got {shapes}")


# ---- which two features a contrastive level compares, Eqs. 11 and 12


class Pairs(NamedTuple):
    """f1 and f2 of n pairs, both float [n, d], and the sample of each, int64 [n]."""

    first: Tensor
    second: Tensor
    sample: Tensor


@dataclass(frozen=True)
class PairPlan:
    """What the two contrastive levels compare in this run, after what the data holds; `notes` say what gave way.

    None: the level has nothing to compare and is left out.
    """

    fine: Literal["f_d", "m_mv"] | None
    coarse: Literal["mt_mv", "t_v"] | None
    notes: tuple[str, ...] = ()


def plan_pairs(config: ModelConfig, features: Features) -> PairPlan:
    """Return the pairs that config asks for and features allow.

    Faces that are not configured, not extracted or in no known object: (f, d) gives way to (m, m_v), which the
    paper's abstract, introduction and overview name ("mention and related visual object").
    """
    notes: list[str] = []
    regions = _has_regions(config, features)
    fine: Literal["f_d", "m_mv"] | None = config.fine_pair
    if fine == "f_d" and not _has_located_faces(config, features):
        fine = "m_mv"
        if regions:
            notes.append("fine contrast (Eq. 12) compares (m, m_v): no faces in known objects to compare (f, d)")
    if fine == "m_mv" and not regions:
        fine = None
        notes.append("fine contrast (Eq. 12) is left out: there are no objects")
    coarse: Literal["mt_mv", "t_v"] | None = config.coarse_pair
    if coarse == "t_v" and features.image is None:
        coarse = None
        notes.append("coarse contrast (Eq. 11) is left out: there are no whole pictures for (t, v)")
    if coarse == "mt_mv" and not (regions and config.use_text):
        coarse = None
        notes.append("coarse contrast (Eq. 11) is left out: (m_t, m_v) needs captions and objects")
    return PairPlan(
        fine if config.fine_weight else None,
        coarse if config.coarse_weight else None,
        tuple(notes + _unused(config, features)),
    )


def _has_regions(config: ModelConfig, features: Features) -> bool:
    whole = config.use_image and config.fusion == "additive" and features.image is not None
    return whole or (config.use_objects and features.objects is not None)


def _has_located_faces(config: ModelConfig, features: Features) -> bool:
    located = features.face_object is not None and bool((features.face_object >= 0).any())
    return config.use_faces and features.objects is not None and located


def _unused(config: ModelConfig, features: Features) -> list[str]:
    """Return a note for each input that is switched on but was not extracted."""
    wanted = {
        "use_objects": (config.use_objects, features.objects),
        "use_faces": (config.use_faces, features.faces),
        "use_identity": (config.use_identity, features.labels if features.identities is None else features.identities),
        "use_image": (config.use_image, features.image),
    }
    return [
        f"model.{name} is on, but nothing of its kind was extracted"
        for name, (on, x) in wanted.items()
        if on and (x is None or not len(x.values if isinstance(x, Ragged) else x))
    ]


def fine_pairs(output: MentionOutput, kind: Literal["f_d", "m_mv"]) -> Pairs | None:
    """Return the pairs of L_f (Eq. 12): (f_i, d_i) over faces in known objects, or (m, m_v); None without any."""
    if kind == "m_mv":
        return _vision_pairs(output, output.m)
    if output.faces is None or output.objects is None or output.face_object is None:
        return None
    face = torch.nonzero(output.face_object >= 0).flatten()
    if not len(face):
        return None
    d = output.objects.values.index_select(0, output.face_object[face])
    return Pairs(output.faces.values.index_select(0, face), d, output.faces.owner[face])


def coarse_pairs(output: MentionOutput, kind: Literal["mt_mv", "t_v"]) -> Pairs | None:
    """Return the pairs of L_c (Eq. 11): (m_t, m_v), or (t, v) of section 4's overview; None without any."""
    if kind == "mt_mv":
        return _vision_pairs(output, output.m_t)
    if output.v is None:
        return None
    return Pairs(output.t.index_select(0, output.v.owner), output.v.values, output.v.owner)


def _vision_pairs(output: MentionOutput, text: Tensor) -> Pairs | None:
    """Pair a text-like feature with m_v; samples without a picture are left out."""
    if output.attention is None:
        return None
    sample = torch.nonzero(output.attention.sum(dim=1) > 0).flatten()
    if not len(sample):
        return None
    return Pairs(text.index_select(0, sample), output.m_v.index_select(0, sample), sample)


def find_conflicts(gold: Tensor, picture: Tensor) -> Tensor:
    """Return bool [b, b]: samples that share entity or picture (-1: none) are no negatives of each other (trap 6)."""
    same_picture = (picture[:, None] == picture) & (picture[:, None] >= 0)
    same = torch.eye(len(gold), dtype=torch.bool, device=gold.device)
    return (gold[:, None] == gold) | same_picture | same


# ---- the sum, Eq. 14


class LossParts(NamedTuple):
    """The training loss (Eq. 14) and its unweighted parts, each float []."""

    total: Tensor
    fine: Tensor
    coarse: Tensor
    rank: Tensor


class Targets(NamedTuple):
    """What a batch should learn, in positions of its encoded entities [u, d].

    positive: int64 [b]; negative: int64 [b, k]; mask: bool [b, k], which negatives count.
    conflict: bool [b, b], samples that share entity or picture.
    """

    positive: Tensor
    negative: Tensor
    mask: Tensor
    conflict: Tensor


class DweLoss(nn.Module):
    """L = L_f + alpha L_c + beta L_t (Eq. 14); alpha = 1, beta = 10 in the paper.

    Holds what the losses learn or remember beside the model: infonce's scale, msc's centres.

    Args:
        config: Switches and weights.
        plan: What the two contrastive levels compare.
    """

    centre_fine: Tensor
    centre_coarse: Tensor

    def __init__(self, config: ModelConfig, plan: PairPlan) -> None:
        super().__init__()
        self.config, self.plan = config, plan
        given = config.temperature
        self.temperature = TEMPERATURES[config.contrast] if given is None else given
        self.log_scale = (
            nn.Parameter(torch.tensor(math.log(1 / self.temperature))) if config.contrast == "infonce" else None
        )
        self.register_buffer("centre_fine", torch.zeros(config.dim))
        self.register_buffer("centre_coarse", torch.zeros(config.dim))

    @property
    def needs_centres(self) -> bool:
        """True when `centre_fine` and `centre_coarse` must be set from the training set before training."""
        return self.config.contrast == "msc"

    def forward(self, output: MentionOutput, entities: Tensor, targets: Targets) -> LossParts:
        """Return the loss of one batch; entities [u, d] are the encoded positives and negatives."""
        config, zero = self.config, output.g.float().sum() * 0.0
        fine = coarse = zero
        if self.plan.fine is not None:
            fine = self._contrast(fine_pairs(output, self.plan.fine), targets.conflict, self.centre_fine, zero)
        if self.plan.coarse is not None:
            coarse = self._contrast(coarse_pairs(output, self.plan.coarse), targets.conflict, self.centre_coarse, zero)
        rank = self._rank(output.g.float(), entities.float(), targets)
        total = config.fine_weight * fine + config.coarse_weight * coarse + config.rank_weight * rank
        return LossParts(total, fine, coarse, rank)

    def _contrast(self, pairs: Pairs | None, conflict: Tensor, centre: Tensor, zero: Tensor) -> Tensor:
        if pairs is None:
            return zero
        first, second = pairs.first.float(), pairs.second.float()
        conflict = conflict[pairs.sample][:, pairs.sample]  # [b, b] -> [n, n]
        if self.log_scale is not None:
            return infonce_loss(first, second, conflict, self.log_scale.exp().clamp_max(MAX_SCALE))
        if self.config.contrast == "msc":
            return msc_loss(first, second, conflict, centre, self.temperature)
        return eq10_loss(first, second, conflict, self.temperature)

    def _rank(self, g: Tensor, entities: Tensor, targets: Targets) -> Tensor:
        if self.config.rank_loss == "triplet":  # trained on the cosine that ranks
            g, entities = unit(g), unit(entities)
        scores = g @ entities.T  # [b, u]
        positive = scores.gather(1, targets.positive[:, None]).squeeze(1)  # [b, 1] -> [b]
        negative = scores.gather(1, targets.negative)  # [b, k]
        if self.config.rank_loss == "triplet":
            return triplet_loss(positive, negative, targets.mask, self.config.margin)
        return npair_loss(positive, negative, targets.mask)
