"""Several text encoders side by side: one vector that holds what each of them knows.

A large CLIP's text tower knows names and looks. Of the parts that come with the package MiniLM knows names, the mini
CLIP looks; `minilm+mini-clip` knows both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dualway.protocols import TextEncoder
from dualway.schema import FloatArray


class JoinedTextEncoder:
    """Concatenates the vectors of text encoders, each scaled to length 1; implements TextEncoder.

    Args:
        encoders: In the order of their parts.
    """

    def __init__(self, encoders: Sequence[TextEncoder]) -> None:
        self.encoders = tuple(encoders)

    @property
    def dim(self) -> int:
        """Width of the vectors: the sum of the parts'."""
        return sum(encoder.dim for encoder in self.encoders)

    @property
    def fingerprint(self) -> str:
        """Changes whenever a part's does."""
        return "+".join(encoder.fingerprint for encoder in self.encoders)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [n, dim]."""
        return np.concatenate([_unit(encoder.encode_texts(texts)) for encoder in self.encoders], axis=1)


def _unit(vectors: FloatArray) -> FloatArray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
