"""Who of a mention's candidates is in its picture, by their pictures in the knowledge base (METHOD.md, section 4).

Instead of a classifier of famous people (section 4.3.2 of the paper) the faces of a picture are compared with the
gallery. It re-ranks what the text proposed: nobody but the given candidates is consulted, and without candidates there
is no answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dualway.errors import ScoreError, UsageError
from dualway.schema import FloatArray, IdentityLabel, IntArray
from dualway.vision.calibration import SHIPPED, Calibration

if TYPE_CHECKING:
    from dualway.vision.gallery import Gallery

_VERSION = 1  # raise it whenever labels could change: features are keyed by it


class GalleryIdentifier:
    """Compares what a picture shows with the pictures of given entities.

    `fingerprint`: changes whenever the labels could, the gallery's content apart: a run stays usable when its knowledge
    base gets another picture. `gallery_fingerprint`: of that content, and of the calibration where it was measured on
    it.

    Args:
        gallery: The pictures' vectors.
        calibration: What their cosines mean.
        ids: Entity ids, by the knowledge base's rows.
        names: Their names, likewise.
    """

    def __init__(self, gallery: Gallery, calibration: Calibration, ids: Sequence[str], names: Sequence[str]) -> None:
        self.gallery, self.calibration = gallery, calibration
        self._ids, self._names = ids, names
        shipped = SHIPPED.get(gallery.encoder_fingerprint)
        self.fingerprint = _digest(_VERSION, gallery.encoder_fingerprint, shipped)
        # The order of entities decides which of them a calibration is measured on, and is not in the gallery's own.
        content = gallery.fingerprint
        self.gallery_fingerprint = content if calibration == shipped else _digest(content, calibration)

    def identify(self, probes: FloatArray, rows: IntArray) -> list[IdentityLabel]:
        """Return who of the candidates is recognised, best first, equal scores by id.

        A probe is one person: the candidate whose pictures it is most like. An entity is found once, in the probe that
        is most like her. She is kept when the cosine reaches `Calibration.threshold` for as many pictures as all the
        candidates have together. The score is the calibrated probability.

        Args:
            probes: float32 [p, dim], the faces or objects of one picture; a vector of zeros is nobody.
            rows: int64 [k], the candidates' rows in the knowledge base, in any order; below 0: none.

        Raises:
            UsageError: Vectors of another width than the gallery's, or a row that the knowledge base does not have.
            ScoreError: A probe is not finite.
        """
        candidates = np.unique(np.asarray(rows, dtype=np.int64))
        candidates = candidates[candidates >= 0]
        if len(candidates) and candidates[-1] >= len(self._ids):
            raise UsageError(f"the knowledge base has no row {candidates[-1]}; give rows of the one that was opened")
        candidates = candidates[self.gallery.count(candidates) > 0]
        if not len(candidates) or not len(probes):
            return []
        units, numbers = self._units(probes)
        size = int(self.gallery.count(candidates).sum())
        return self._labels(self.gallery.similarities(units, candidates), candidates, numbers, size)

    def _units(self, probes: FloatArray) -> tuple[FloatArray, IntArray]:
        """Return the probes that are somebody, of length 1, and their numbers."""
        if probes.ndim != 2 or probes.shape[1] != self.gallery.dim:
            raise UsageError(
                f"probes of shape {probes.shape} are not of the gallery's {self.gallery.dim} numbers; "
                "make both with the same encoder"
            )
        lengths = np.linalg.norm(probes.astype(np.float64), axis=1)
        if not np.isfinite(lengths).all():
            raise ScoreError(f"the vector of face or object {int(np.argmin(np.isfinite(lengths)))} is not finite")
        numbers = np.flatnonzero(lengths > 0)
        units = probes[numbers].astype(np.float64) / lengths[numbers, None]
        return units.astype(np.float32), numbers

    def _labels(
        self, similarities: FloatArray, candidates: IntArray, numbers: IntArray, size: int
    ) -> list[IdentityLabel]:
        """Return the labels that similarities, float32 [p, k], come to."""
        threshold = self.calibration.threshold(size)
        found: dict[int, tuple[float, int]] = {}  # by candidate: the similarity of its best probe, and which it is
        for line, probe in zip(similarities, numbers.tolist(), strict=True):
            best = int(np.argmax(line))
            similarity = float(line[best])
            if similarity >= threshold and similarity > found.get(best, (-2.0, 0))[0]:
                found[best] = similarity, probe
        labels = [
            IdentityLabel(
                label=self._names[row],
                score=self.calibration.probability(similarity, size),
                entity_id=self._ids[row],
                probe=probe,
                similarity=similarity,
            )
            for row, (similarity, probe) in ((int(candidates[best]), hit) for best, hit in found.items())
        ]
        return sorted(labels, key=lambda label: (-label.score, label.entity_id or ""))


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
