"""Whom the knowledge base's own pictures say a mention's picture shows; only the mention's candidates are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from dualway.features.texts import gallery_sentences
from dualway.schema import FloatArray, IdentityLabel, IntArray, Mention

if TYPE_CHECKING:
    from dualway.config import FeatureConfig
    from dualway.features.pictures import PictureVectors
    from dualway.protocols import CandidateSource


class Identifier(Protocol):
    """Compares what a picture shows with the pictures of some entities (`vision.identity.GalleryIdentifier`)."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the labels could, the gallery's content apart."""
        ...

    def identify(self, probes: FloatArray, rows: IntArray) -> Sequence[IdentityLabel]:
        """Return who of the entities `rows` is recognised in the probes, float32 [p, dim]."""
        ...


class CandidateIdentifier:
    """Identity as evidence that re-ranks: for each mention, its candidates by name are compared with its picture.

    Args:
        identifier: Compares.
        source: Proposes candidates, from the mention alone.
        k: How many of them are compared.
        texts: id -> (name, text) of an entity, for its sentence.
        gallery: Fingerprint of the content of the gallery that it compares with.
        probes: What of the picture is compared: its faces, or the whole picture and its objects by their vectors.
    """

    def __init__(
        self,
        identifier: Identifier,
        source: CandidateSource,
        k: int,
        texts: Mapping[str, tuple[str, str]],
        *,
        gallery: str,
        probes: Literal["faces", "pictures"],
    ) -> None:
        self.identifier, self.source, self.k, self.texts = identifier, source, k, texts
        self.gallery, self.probes = gallery, probes

    @property
    def fingerprint(self) -> str:
        """The identifier's."""
        return self.identifier.fingerprint

    def identify(
        self, mentions: Sequence[Mention], picture: IntArray, found: PictureVectors
    ) -> list[tuple[IdentityLabel, ...]]:
        """Return the identities of each mention, best first.

        Args:
            mentions: Whose candidates are compared.
            picture: int64 [n], each mention's picture in `found`; -1 for none.
            found: What is in the pictures.
        """
        asked = np.flatnonzero(picture >= 0)
        rows = self.source.search([mentions[i] for i in asked.tolist()], self.k).rows
        labels: list[tuple[IdentityLabel, ...]] = [() for _ in mentions]
        for line, i in enumerate(asked.tolist()):
            probes = self._probes(int(picture[i]), found)
            candidates = rows[line][rows[line] >= 0]
            if len(probes) and len(candidates):
                labels[i] = tuple(self.identifier.identify(probes, candidates))
        return labels

    def sentences(self, config: FeatureConfig, labels: Sequence[IdentityLabel]) -> list[str]:
        """Return x_s of a mention's identities: one sentence for each above the threshold, or all as one (4.3.2)."""
        return gallery_sentences(config, labels, self.texts)

    def _probes(self, picture: int, found: PictureVectors) -> FloatArray:
        if self.probes == "faces":
            return np.zeros((0, 1), np.float32) if found.faces is None else found.faces.of(picture)
        if found.image is None or found.objects is None:
            return np.zeros((0, 1), np.float32)
        # The whole picture last: a probe's number is that of the object.
        return np.concatenate([found.objects.of(picture), found.image[picture : picture + 1]])
