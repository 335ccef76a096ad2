"""The paper's candidate retrieval (section 5.1.3, "fuzzywuzzy"), through rapidfuzz: a compatibility mode.

It compares the mention with every name, so its cost grows with the knowledge base. rapidfuzz's WRatio follows
fuzzywuzzy's definition; the two differ in partial ratios, so about two thirds of a top 100 are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rapidfuzz import fuzz, process, utils

from dualway.schema import CandidateLists, Mention


class FuzzyNames:
    """All names ranked by WRatio; implements CandidateSource.

    Args:
        ids: Entity ids, in the order of the knowledge base.
        names: The title of each entity, in the same order.
    """

    def __init__(self, ids: Sequence[str], names: Sequence[str]) -> None:
        self._order = np.asarray(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
        self._names = [utils.default_process(names[row]) for row in self._order]

    def search(self, mentions: Sequence[Mention], k: int) -> CandidateLists:
        """Return the `k` entities with the highest WRatio, scores in 0..1; equal ones in the order of ids."""
        k = min(k, len(self._names))
        found: dict[str, tuple[list[int], list[float]]] = {}
        for surface in dict.fromkeys(mention.surface for mention in mentions):
            query = utils.default_process(surface)
            scores = process.cdist([query], self._names, scorer=fuzz.WRatio, workers=-1, dtype=np.float32)[0]
            best = np.argsort(-scores, kind="stable")[:k]
            found[surface] = (self._order[best].tolist(), (scores[best] / 100).tolist())
        return CandidateLists(
            np.asarray([found[m.surface][0] for m in mentions], dtype=np.int64).reshape(len(mentions), k),
            np.asarray([found[m.surface][1] for m in mentions], dtype=np.float32).reshape(len(mentions), k),
        )
