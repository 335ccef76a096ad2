"""The small interfaces that the rooms are joined by. Anything with these methods fits; nothing has to inherit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from dualway.schema import CandidateLists, Face, FloatArray, IdentityLabel, IntArray, Mention, Region

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

    from dualway.features.arrays import Features
    from dualway.kb.store import KnowledgeBase


@runtime_checkable
class TextEncoder(Protocol):
    """Texts to vectors. The same text gives the same vector in any batch."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vectors could: weights, tokenizer, pooling, truncation."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [n, dim]."""
        ...


@runtime_checkable
class TrainableEncoder(Protocol):
    """A TextEncoder whose weights can be trained (`encoders.trainable`); the fingerprint is set anew afterwards."""

    fingerprint: str

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        ...

    @property
    def module(self) -> nn.Module:
        """What is trained: its parameters and state are the encoder's, its mode decides on dropout."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [n, dim]."""
        ...

    def encode_batch(self, texts: Sequence[str]) -> Tensor:
        """Return what `encode_texts` does, on the module's device and with gradients where torch records them."""
        ...


@runtime_checkable
class ImageEncoder(Protocol):
    """Upright RGB pictures to vectors."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vectors could."""
        ...

    def encode_images(self, images: Sequence[Image]) -> FloatArray:
        """Return float32 [n, dim]."""
        ...


class TokenEncoder(Protocol):
    """Texts to one vector per token, for systems that attend to tokens."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        ...

    def encode_tokens(self, texts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Return values float32 [n, t, dim] and mask float32 [n, t] (1 = token, 0 = padding)."""
        ...


class Detector(Protocol):
    """Pictures to the objects in them."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the regions could."""
        ...

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """Return the regions of each picture, in a stable order."""
        ...


class FaceFinder(Protocol):
    """A picture to the faces in it."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the faces could."""
        ...

    def find(self, image: Image) -> list[Face]:
        """Return the faces of an upright RGB picture with box, score and five landmarks, best first; no attributes."""
        ...


class FaceTagger(Protocol):
    """Faces that were found to one or more attributes. Never asked where no face was found (METHOD: trap 7)."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the attributes could."""
        ...

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes, in the order in which they stand in a sentence."""
        ...

    def tag(self, image: Image, faces: Sequence[Face]) -> list[dict[str, tuple[str, float | None]]]:
        """Return name -> (value, confidence or None) of each face; a name is left out where nothing can be said."""
        ...


class FaceEncoder(Protocol):
    """Faces to vectors whose cosine tells whether they are one person's. Biometric data: kept only where asked for."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vectors could."""
        ...

    def encode_faces(self, image: Image, faces: Sequence[Face]) -> FloatArray:
        """Return float32 [n, dim] of length 1; 0 for a face without landmarks."""
        ...


class LabelClassifier(Protocol):
    """Pictures to names of people, by a classifier that knows a fixed set of them (the paper's section 4.3.2)."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the labels could."""
        ...

    def classify(self, images: Sequence[Image]) -> list[list[IdentityLabel]]:
        """Return the likeliest labels of each picture or crop, best first."""
        ...


class CandidateSource(Protocol):
    """Proposes entities for mentions. Sees the mention only: never gold, never the other mentions of the batch."""

    def search(self, mentions: Sequence[Mention], k: int) -> CandidateLists:
        """Return at most `k` candidates a mention, best first, equal scores in the order of entity ids."""
        ...


@dataclass(frozen=True)
class Task:
    """What a system sees when it ranks: everything but gold.

    `candidates` is None when every entity of the knowledge base competes (protocol full-kb).
    `features` rows are those of `mentions`; None for systems that need none.
    """

    mentions: Sequence[Mention]
    candidates: CandidateLists | None
    kb: KnowledgeBase
    features: Features | None = None

    def take(self, index: IntArray) -> Task:
        """Return the task of the chosen mentions (int64 [m], positions in `mentions`)."""
        return replace(
            self,
            mentions=[self.mentions[i] for i in index.tolist()],
            candidates=None if self.candidates is None else self.candidates.take(index),
            features=None if self.features is None else self.features.take(index),
        )

    def chunks(self, size: int) -> Iterator[Task]:
        """Yield the task in consecutive pieces of at most `size` mentions."""
        import numpy as np

        for start in range(0, len(self.mentions), size):
            yield self.take(np.arange(start, min(start + size, len(self.mentions)), dtype=np.int64))


class System(Protocol):
    """Anything that ranks candidates and can be compared."""

    name: str

    def fit(
        self,
        task: Task,
        gold: Mapping[str, str | None],
        dev_task: Task,
        dev_gold: Mapping[str, str | None],
    ) -> None:
        """Learn from the train task; dev is for choosing only. A system without parameters does nothing."""
        ...

    def score(self, task: Task) -> list[FloatArray]:
        """Return one float32 array of scores per mention, higher is better.

        Its length is the mention's number of candidates (padding left out), or the number of entities when
        `task.candidates` is None. The scores of a mention do not depend on the other mentions of the task.
        """
        ...
