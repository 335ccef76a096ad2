"""Scores of a trained model: the cosine of each mention's g with its candidates, or with every entity (Eqs. 1, 15)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dualway.errors import ModelError, ScoreError
from dualway.features.arrays import Features
from dualway.features.batching import make_batch
from dualway.model.dwe_plus import DwePlus
from dualway.model.losses import unit
from dualway.schema import CandidateLists, FloatArray, IntArray

ENTITY_BLOCK = 4096  # entities encoded or compared at a time; bounds memory
PAIR_BLOCK = 64  # mentions whose candidates are gathered at a time


class MentionVectors(NamedTuple):
    """What linking needs of n mentions.

    g: float32 [n, d], length 1.
    attention: one float32 [objects of its picture] a mention, Eq. 4's weights, mean over the heads.
    """

    g: FloatArray
    attention: list[FloatArray]


class Scorer:
    """A model ready to score, with the entities encoded once.

    It computes in double precision and rounds to float32 at the end: in single precision the last bits of a product
    depend on how many rows it is computed with, so a score would depend on the company a mention is in.

    Args:
        model: Copied; the original stays in its mode and precision.
        entities: float32 [num_entities, text_dim].
        batch_size: Mentions encoded at a time; changes speed and memory, never a score.

    Raises:
        ModelError: The entities' width is not the model's.
        ScoreError: An entity's vector is zero or not finite; names its row.
    """

    def __init__(self, model: DwePlus, entities: FloatArray, batch_size: int = 256) -> None:
        if entities.shape[1] != model.text_dim:
            raise ModelError(
                f"entities are {entities.shape[1]} wide, the model reads {model.text_dim}; encode them anew"
            )
        self.batch_size = batch_size
        self.device = next(model.parameters()).device
        self.dtype = torch.float32 if self.device.type == "mps" else torch.float64  # mps has no doubles
        self.model = copy.deepcopy(model).to(self.dtype).eval()
        self.entities = self._encode_entities(entities)  # float32 [num_entities, d], length 1

    @torch.inference_mode()
    def _encode_entities(self, entities: FloatArray) -> Tensor:
        encoded = torch.empty(len(entities), self.model.config.dim, device=self.device)
        for start in range(0, len(entities), ENTITY_BLOCK):
            stop = start + ENTITY_BLOCK
            block = torch.tensor(entities[start:stop]).to(self.device, self.dtype)
            vectors = unit(self.model.encode_entities(block))
            _check_vectors(vectors, [f"entity row {row}" for row in range(start, start + len(vectors))])
            encoded[start:stop] = vectors
        return encoded

    @torch.inference_mode()
    def encode(self, features: Features, ids: Sequence[str] | None = None) -> MentionVectors:
        """Return the vectors of n mentions, and where each looked in its picture.

        Raises:
            ModelError: The features' widths are not the model's.
            ScoreError: A vector is zero or not finite; names the mention (by `ids`, or its index).
        """
        self._check_widths(features)
        g = np.empty((len(features), self.model.config.dim), dtype=np.float32)
        attention: list[FloatArray] = []
        for start in range(0, len(features), self.batch_size):
            index = np.arange(start, min(start + self.batch_size, len(features)))
            output = self.model.encode_mentions(make_batch(features, index).to(self.device, self.dtype))
            vectors = unit(output.g)
            _check_vectors(vectors, [_name(i, ids) for i in index.tolist()])
            g[index] = vectors.float().cpu().numpy()
            # Without objects among the keys the one weight is that of the whole picture.
            weights = output.attention if self.model.config.use_objects else None
            attention += _split_attention(weights, features, index)
        return MentionVectors(g, attention)

    def score(
        self, features: Features, candidates: CandidateLists | None, ids: Sequence[str] | None = None
    ) -> list[FloatArray]:
        """Return one float32 array of cosines a mention: of its candidates without padding, or of all entities.

        Raises:
            ScoreError: As `encode`.
        """
        return list(self.iter_scores(self.encode(features, ids).g, candidates))

    @torch.inference_mode()
    def iter_scores(self, g: FloatArray, candidates: CandidateLists | None) -> Iterator[FloatArray]:
        """Yield the scores of each mention (g float32 [n, d]) in constant memory."""
        for start in range(0, len(g), PAIR_BLOCK):
            block = torch.from_numpy(g[start : start + PAIR_BLOCK]).to(self.device, self.dtype)
            if candidates is None:
                yield from self._score_all(block)
            else:
                yield from self._score_lists(block, candidates.rows[start : start + PAIR_BLOCK])

    def _score_lists(self, g: Tensor, rows: IntArray) -> list[FloatArray]:
        picked = torch.from_numpy(np.maximum(rows, 0)).to(self.device)  # [b, c]
        entities = self.entities[picked].to(self.dtype)  # [b, c, d]
        scores = torch.bmm(entities, g[:, :, None]).squeeze(2).float().cpu().numpy()  # [b, c, 1] -> [b, c]
        return [scores[i, row >= 0] for i, row in enumerate(rows)]

    def _score_all(self, g: Tensor) -> list[FloatArray]:
        scores = np.empty((len(g), len(self.entities)), dtype=np.float32)
        for start in range(0, len(self.entities), ENTITY_BLOCK):
            block = self.entities[start : start + ENTITY_BLOCK].to(self.dtype)
            scores[:, start : start + ENTITY_BLOCK] = (g @ block.T).float().cpu().numpy()
        return list(scores)

    def _check_widths(self, features: Features) -> None:
        expected, given = (self.model.text_dim, self.model.image_dim), (features.text_dim, features.image_dim)
        if given[0] != expected[0] or (given[1] is not None and given[1] != expected[1]):
            raise ModelError(
                f"features have widths (text, picture) {given}, the model reads {expected}; "
                "extract them with the encoders that the model was trained with"
            )


def score_candidates(
    model: DwePlus, features: Features, candidates: CandidateLists | None, batch_size: int = 256
) -> list[FloatArray]:
    """Return one float32 array of cosines a mention; see `Scorer`, which keeps the encoded entities for more calls."""
    return Scorer(model, features.entities, batch_size).score(features, candidates)


def _check_vectors(vectors: Tensor, names: Sequence[str]) -> None:
    lengths = vectors.norm(dim=1)
    bad = torch.nonzero(~torch.isfinite(lengths) | (lengths == 0)).flatten().tolist()
    if bad:
        raise ScoreError(
            f"{names[bad[0]]}: its vector is zero or not finite, so it has no honest rank; check its features"
        )


def _name(row: int, ids: Sequence[str] | None) -> str:
    return f"mention {row}" if ids is None else f"mention {ids[row]!r}"


def _split_attention(attention: Tensor | None, features: Features, index: IntArray) -> list[FloatArray]:
    """Cut the padded weights [b, r] to each picture's number of objects."""
    if attention is None or features.objects is None:
        return [np.zeros(0, dtype=np.float32) for _ in index]
    picture = features.picture[index]
    counts = np.where(picture >= 0, features.objects.counts()[picture], 0)
    weights = attention.float().cpu().numpy()
    return [weights[i, :count] for i, count in enumerate(counts.tolist())]
