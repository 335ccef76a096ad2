"""From the cosine of two pictures to "the same person": a threshold and a probability, by how many are compared.

A cosine means less the more pictures a face was compared with: among many strangers some are alike. For one face that
belongs to nobody in a gallery of n pictures (open set), the chance that somebody passes a threshold t is

    FPIR(n, t) = 1 - (1 - FMR(t)) ** n

where FMR is the share of pairs of strangers of the same sex whose cosine is t or more. `threshold(n)` is the lowest t
at which FPIR is 1 % in the worse of the groups (men, women). n counts pictures, not people: somebody of whom the
gallery has seven pictures passes four to seven times as often as somebody with one. Pictures of one person are alike,
and a mention's candidates are of both sexes, so the measured share is lower (docs/identity.md).

Beyond what can be measured (half a percent of the pairs) the tail is taken as exponential: each further factor e in FMR
costs the same step in cosine. As far as it can be seen the shipped model's falls faster, so that its thresholds err on
the side of finding nobody; another model's may not.

Relatives and look-alikes who share a surname are likelier among the candidates of one mention than among strangers
drawn at random, whom these numbers are about: docs/identity.md has the measured difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dualway.errors import KnowledgeBaseError, ModelError, UsageError
from dualway.schema import FloatArray, IntArray

if TYPE_CHECKING:
    from dualway.vision.gallery import Gallery

MAX_FPIR = 0.01  # open-set false identification a probe
MIN_IMPOSTORS = 2000  # pairs of entities: 64 entities with a picture each
MIN_GENUINE = 30  # entities with two pictures or more
_HEAD, _TAIL = 0.01, 0.005  # FMR at which cosines are measured; what lies beyond the second is extrapolated
_MIN_EXCEEDING = 50  # pairs of entities that the tail is fitted on, at least
_SAMPLE = (600, 3)  # entities, and pictures of each, that a gallery is calibrated on
_SIZES = (1, 3, 10, 30, 100)  # gallery sizes that probabilities are fitted on
_GRID = 100  # quantiles in place of the sample
_CENTRE, _STEP = 0.4, 0.1  # cosines in which the fit reckons
_MAX_SLOPE = 1000.0  # of log-odds: a step, where pairs are told apart without an error

DoubleArray = NDArray[np.float64]


class Pairs(NamedTuple):
    """Cosines of pairs of pictures.

    cosines: float [n].
    weights: float64 [n]; they sum to the number of pairs of entities (or of entities, for genuine pairs), so that
        nobody counts more for having many pictures.
    """

    cosines: FloatArray | DoubleArray
    weights: DoubleArray

    @classmethod
    def of(cls, cosines: Sequence[float] | FloatArray | DoubleArray) -> Pairs:
        """Return pairs that all count the same."""
        values = np.asarray(cosines, dtype=np.float64)
        return cls(values, np.ones(len(values)))

    @property
    def total(self) -> float:
        """How many there are, each pair of entities counted once."""
        return float(self.weights.sum())


class _Ranking(NamedTuple):
    """The cosines of pairs, falling, and which share of all reaches each."""

    cosines: DoubleArray
    shares: DoubleArray

    @classmethod
    def of(cls, pairs: Pairs) -> _Ranking:
        cosines = np.asarray(pairs.cosines, dtype=np.float64)
        order = np.argsort(-cosines, kind="stable")
        shares = np.cumsum(pairs.weights[order])
        return cls(cosines[order], shares / shares[-1])

    def at(self, rates: DoubleArray) -> DoubleArray:
        """Return the cosines that such shares of the pairs reach."""
        return self.cosines[np.minimum(np.searchsorted(self.shares, rates), len(self.cosines) - 1)]


@dataclass(frozen=True, slots=True)
class Tail:
    """How alike strangers can be.

    group: Whom it was measured on.
    rates: FMR at each of `cosines`, falling.
    cosines: Measured, rising; between them the logarithm of FMR is linear.
    scale: Beyond the last, the step in cosine by which FMR falls to 1/e.
    """

    group: str
    rates: tuple[float, ...]
    cosines: tuple[float, ...]
    scale: float

    @classmethod
    def fit(cls, group: str, impostor: Pairs) -> Tail:
        """Measure it on pairs of strangers, at least MIN_IMPOSTORS of them."""
        last = max(_TAIL, _MIN_EXCEEDING / impostor.total)
        rates = (_HEAD, last) if last < _HEAD else (last,)
        knots = tuple(_Ranking.of(impostor).at(np.array(rates)).tolist())
        cosines = np.asarray(impostor.cosines, dtype=np.float64)
        beyond = cosines > knots[-1]
        excess = np.average(cosines[beyond] - knots[-1], weights=impostor.weights[beyond]) if beyond.any() else 0.0
        return cls(group, rates, knots, float(excess))

    def cosine(self, rate: float) -> float:
        """Return the cosine that so large a share of strangers reaches; that of the largest known rate beyond it."""
        if rate < self.rates[-1]:
            return self.cosines[-1] + self.scale * math.log(self.rates[-1] / rate)
        return float(np.interp(-math.log(rate), [-math.log(r) for r in self.rates], self.cosines))


@dataclass(frozen=True)
class Calibration:
    """What cosines of one encoder mean. Make one with `find_calibration`, or `fit`.

    tails: One a group; the threshold is that of the worst.
    slope, intercept: Of the log-odds of a cosine; None where there were too few genuine pairs to measure them.
    source: What it was measured on.
    """

    tails: tuple[Tail, ...]
    slope: float | None = None
    intercept: float | None = None
    source: str = ""

    @classmethod
    def fit(cls, genuine: Pairs, impostor: Mapping[str, Pairs], *, source: str = "") -> Calibration:
        """Measure a calibration on pairs of pictures.

        Args:
            genuine: Pairs of pictures of one entity. Fewer than MIN_GENUINE: `probability` falls back.
            impostor: Pairs of pictures of two entities, by group; for faces, of the same sex.
            source: What it is measured on, for people.

        Raises:
            ModelError: Fewer impostors than MIN_IMPOSTORS, cosines that are not finite, or no group.
        """
        if not impostor:
            raise ModelError("no pairs of strangers to calibrate on; give pairs of pictures of different entities")
        for group, pairs in impostor.items():
            _check_impostors(group, pairs)
        tails = tuple(Tail.fit(group, pairs) for group, pairs in impostor.items())
        if genuine.total < MIN_GENUINE:
            return cls(tails, source=source)
        if not np.isfinite(genuine.cosines).all():
            raise ModelError("pairs of one entity have cosines that are not finite; calibrate on other pictures")
        slope, intercept = _fit_odds(genuine, list(zip(tails, impostor.values(), strict=True)))
        return cls(tails, slope, intercept, source)

    def threshold(self, gallery_size: int) -> float:
        """Return the lowest cosine at which open-set false identification a probe is at most 1 % in the worst group.

        It may be above 1, when nobody is found: one face cannot be told from so many.

        Args:
            gallery_size: Pictures that a probe is compared with (an entity with three counts three times).

        Raises:
            UsageError: Below 1.
        """
        rate = -math.expm1(math.log1p(-MAX_FPIR) / _check_size(gallery_size))
        return max(tail.cosine(rate) for tail in self.tails)

    def probability(self, similarity: float, gallery_size: int) -> float:
        """Return how likely the best of a gallery's entities is the person of the probe.

        Log-odds are linear in the cosine, less log(2 n - 1): before looking, the person is as likely in the gallery as
        not, and each of its n pictures as likely hers as another; of the others' likelihood ratios the mean is 1. With
        too few genuine pairs to measure it, it is .5 at `threshold` and rises as fast as strangers get fewer: it then
        says no more than on which side of the threshold a cosine is, and by how much.

        Args:
            similarity: The cosine of the best.
            gallery_size: As in `threshold`.

        Raises:
            UsageError: `gallery_size` is below 1.
        """
        size = _check_size(gallery_size)
        if self.slope is None or self.intercept is None:
            odds = (similarity - self.threshold(size)) / max(max(tail.scale for tail in self.tails), 1 / _MAX_SLOPE)
        else:
            odds = self.intercept + self.slope * similarity - math.log(2 * size - 1)
        return float(_sigmoid(np.float64(odds)))


def compare_pictures(vectors: FloatArray, owners: IntArray) -> tuple[Pairs, Pairs]:
    """Return all pairs of pictures: of one entity (genuine), and of two (impostor).

    Args:
        vectors: float32 [n, dim] of length 1.
        owners: int64 [n], the entity of each.
    """
    _, owner, count = np.unique(owners, return_inverse=True, return_counts=True)
    left, right = np.triu_indices(len(vectors), 1)
    cosines = (vectors @ vectors.T)[left, right]
    same = owner[left] == owner[right]
    per_person = count[owner[left[same]]].astype(np.float64)
    genuine = Pairs(cosines[same], 2 / (per_person * (per_person - 1)))
    left, right = left[~same], right[~same]
    return genuine, Pairs(cosines[~same], 1 / (count[owner[left]] * count[owner[right]].astype(np.float64)))


def find_calibration(gallery: Gallery) -> Calibration:
    """Return the calibration of a gallery's encoder: the shipped one, else one measured on the gallery's own pictures.

    The latter compares whoever is in the gallery with one another, men and women together.

    Raises:
        KnowledgeBaseError: The gallery is empty.
        ModelError: Nothing is shipped for the encoder, and the gallery is too small to measure.
    """
    if not gallery.size:
        tried = f" ({len(gallery.failures):,} could not be used)" if gallery.failures else ""
        raise KnowledgeBaseError(
            f"the knowledge base has no pictures of entities to compare with{tried}; "
            "give it some: dualway kb pictures KB --map FILE"
        )
    return SHIPPED.get(gallery.encoder_fingerprint) or fit_gallery(gallery)


def fit_gallery(gallery: Gallery) -> Calibration:
    """Return a calibration measured on a gallery's own pictures.

    Pictures that several entities have are left out: they are the same, whoever is in them.

    Raises:
        ModelError: Too few entities have a picture of their own.
    """
    vectors, owners = gallery.sample(*_SAMPLE)
    num_entities = len(np.unique(owners))
    shared = f"; {gallery.num_shared:,} pictures that several entities share are left out" if gallery.num_shared else ""
    if num_entities * (num_entities - 1) / 2 < MIN_IMPOSTORS:
        raise ModelError(
            f"nothing is known of the cosines of encoder {gallery.encoder_fingerprint}, and to measure them takes "
            f"{1 + math.isqrt(2 * MIN_IMPOSTORS)} entities with a picture of their own; this gallery has "
            f"{num_entities}{shared}. Give it more pictures, or use a model that docs/identity.md names"
        )
    genuine, impostor = compare_pictures(vectors, owners)
    return Calibration.fit(genuine, {"all": impostor}, source=f"{num_entities} entities of the gallery itself{shared}")


def _check_size(gallery_size: int) -> int:
    if gallery_size < 1:
        raise UsageError(f"a gallery of {gallery_size} pictures has nobody to find; give at least 1")
    return int(gallery_size)


def _check_impostors(group: str, pairs: Pairs) -> None:
    if not np.isfinite(pairs.cosines).all():
        raise ModelError(f"pairs of strangers ({group}) have cosines that are not finite; calibrate on other pictures")
    if pairs.total < MIN_IMPOSTORS:
        raise ModelError(
            f"{pairs.total:,.0f} pairs of strangers ({group}) are too few to say how alike they can be; "
            f"give {MIN_IMPOSTORS:,}, which are the pairs of {1 + math.isqrt(2 * MIN_IMPOSTORS)} entities"
        )


def _fit_odds(genuine: Pairs, groups: Sequence[tuple[Tail, Pairs]]) -> tuple[float, float]:
    """Fit slope and intercept of `Calibration.probability` on galleries of several sizes, half of them without her.

    In place of drawn galleries stand quantiles: of her own picture's cosine, and of the best of n strangers'.
    """
    from scipy.optimize import minimize  # slow to import, and needed only to fit

    middle = (np.arange(_GRID) + 0.5) / _GRID
    own = _Ranking.of(genuine).at(middle)
    parts: list[tuple[DoubleArray, DoubleArray, DoubleArray, DoubleArray]] = []
    for tail, pairs in groups:
        ranking = _Ranking.of(pairs)
        for size in _SIZES:
            absent = _best_stranger(tail, ranking, middle, size)
            others = _best_stranger(tail, ranking, middle, size - 1) if size > 1 else np.full(_GRID, -1.0)
            best = np.maximum(own[:, None], others).ravel()
            right = (own[:, None] > others).ravel().astype(np.float64)
            offset = math.log(2 * size - 1)
            parts.append((best, right, np.full(len(best), offset), np.full(len(best), 1 / len(best))))
            parts.append((absent, np.zeros(_GRID), np.full(_GRID, offset), np.full(_GRID, 1 / _GRID)))
    cosines, right, offsets, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    steps = (cosines - _CENTRE) / _STEP  # of a size that the search can take

    def loss(values: DoubleArray) -> tuple[float, DoubleArray]:
        odds = values[0] * steps + values[1] - offsets
        slack = weights * (_sigmoid(odds) - right)
        return float((weights * (np.logaddexp(0, odds) - right * odds)).sum()), np.array([slack @ steps, slack.sum()])

    bounds = [(0, _MAX_SLOPE * _STEP), (None, None)]
    found = minimize(loss, np.array([2.0, 2.0]), jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-12)
    slope = float(found.x[0]) / _STEP
    return slope, float(found.x[1]) - slope * _CENTRE


def _best_stranger(tail: Tail, ranking: _Ranking, middle: DoubleArray, size: int) -> DoubleArray:
    """Return quantiles of the highest cosine among `size` strangers."""
    rates = -np.expm1(np.log(middle) / size)
    extreme = np.array([tail.cosine(rate) for rate in np.minimum(rates, tail.rates[-1]).tolist()])
    return np.where(rates < tail.rates[-1], extreme, ranking.at(rates))


def _sigmoid(odds: DoubleArray | np.float64) -> DoubleArray | np.float64:
    return 0.5 * (1 + np.tanh(0.5 * odds))


# By the encoder's fingerprint, which is made of the file's SHA-256 and of how faces are aligned and fed. Made by
# `python -m experiments.identity`, which prints them, on all people at once; docs/identity.md has what halves give that
# they were not fitted on. Cosines are rounded up. tests/vision/test_calibration.py measures them again.
SHIPPED: dict[str, Calibration] = {
    "b561a0560114c8cb": Calibration(  # mobilefacenet.onnx; no licence is stated for its weights
        tails=(
            Tail("men", rates=(0.01, 0.005), cosines=(0.2709, 0.2975), scale=0.0352),
            Tail("women", rates=(0.01, 0.005), cosines=(0.2873, 0.3162), scale=0.0369),
        ),
        slope=35.44,
        intercept=-9.57,
        source="LFW, 1,014 people, 2,911 photos",
    ),
}
