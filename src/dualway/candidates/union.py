"""Several candidate sources as one, and the sources that the presets name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dualway.candidates.fuzzy import FuzzyNames
from dualway.candidates.names import NameIndex
from dualway.candidates.prior import MentionPrior, PriorSource
from dualway.config import CandidateConfig
from dualway.errors import UsageError
from dualway.protocols import CandidateSource
from dualway.schema import CandidateLists, Mention

if TYPE_CHECKING:
    from dualway.kb.store import KnowledgeBase


class UnionSource:
    """The first source's candidates, its tail making room for those that only the later sources know.

    Args:
        sources: Asked in this order; scores keep their source's meaning, so only the order is comparable.
    """

    def __init__(self, sources: Sequence[CandidateSource]) -> None:
        self._sources = sources

    def search(self, mentions: Sequence[Mention], k: int) -> CandidateLists:
        """Return at most `k` candidates a mention: every later source's, and the first source's best."""
        lists = [source.search(mentions, k) for source in self._sources]
        rows = np.full((len(mentions), k), -1, dtype=np.int64)
        scores = np.zeros((len(mentions), k), dtype=np.float32)
        for i in range(len(mentions)):
            merged = _merge([_pairs(found, i) for found in lists], k)
            rows[i, : len(merged)] = [row for row, _ in merged]
            scores[i, : len(merged)] = [score for _, score in merged]
        return CandidateLists(rows, scores)


def _pairs(found: CandidateLists, i: int) -> list[tuple[int, float]]:
    return [(row, score) for row, score in zip(found.rows[i].tolist(), found.scores[i].tolist()) if row >= 0]


def _merge(lists: list[list[tuple[int, float]]], k: int) -> list[tuple[int, float]]:
    """Join the lists: what a later source proposes always stays, at its place in the first list or at the end."""
    proposed: dict[int, float] = {}
    for row, score in (pair for later in lists[1:] for pair in later):
        if len(proposed) < k:
            proposed.setdefault(row, score)
    room = k - len(proposed)
    merged: list[tuple[int, float]] = []
    for row, score in lists[0]:
        if proposed.pop(row, None) is not None:
            merged.append((row, score))
        elif room:
            merged.append((row, score))
            room -= 1
    return merged + list(proposed.items())


def make_source(
    config: CandidateConfig, kb: KnowledgeBase, names: NameIndex, prior: MentionPrior | None = None
) -> CandidateSource:
    """Return the candidate source that a preset names.

    Raises:
        UsageError: The source needs a prior and there is none.
    """
    if config.retriever == "fuzzy":
        return FuzzyNames(kb.ids, kb.names)
    if config.retriever == "names":
        return names
    if prior is None:
        raise UsageError("retriever 'names+prior' needs a model trained on links; use 'names' instead")
    return UnionSource([names, PriorSource(prior, {entity_id: row for row, entity_id in enumerate(kb.ids)})])
