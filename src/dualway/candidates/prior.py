"""The prior P(entity | surface): how often a surface form meant an entity in the training links."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from dualway.errors import DataError
from dualway.schema import CandidateLists, Mention
from dualway.storage import read_json, write_json
from dualway.text import match_key

_SMOOTHING = 1.0  # one unseen meaning for each surface: a form seen once gives 1/2, seen nine times 9/10


class MentionPrior:
    """Counts of surface -> entity, looked up by the folded surface.

    Args:
        counts: `counts[folded surface][entity_id]`, as kept by `to_file`.
    """

    def __init__(self, counts: Mapping[str, Mapping[str, int]] | None = None) -> None:
        self._counts = {key: dict(value) for key, value in (counts or {}).items()}

    @classmethod
    def build(cls, mentions: Sequence[Mention], gold: Mapping[str, str | None]) -> MentionPrior:
        """Count the links of training mentions; NIL mentions are passed over."""
        counts: dict[str, Counter[str]] = {}
        for mention in mentions:
            entity_id = gold.get(mention.id)
            if entity_id is not None:
                counts.setdefault(_key(mention.surface), Counter())[entity_id] += 1
        return cls(counts)

    def __len__(self) -> int:
        return len(self._counts)

    def probabilities(self, surface: str) -> dict[str, float]:
        """Return P(entity | surface) of the entities seen with this surface; they sum to less than 1."""
        counts = self._counts.get(_key(surface), {})
        total = sum(counts.values()) + _SMOOTHING
        return {entity_id: count / total for entity_id, count in counts.items()}

    def to_file(self, path: Path) -> None:
        """Write the counts as JSON, whole or not at all."""
        write_json(path, self._counts)

    @classmethod
    def from_file(cls, path: Path) -> MentionPrior:
        """Read what `to_file` wrote.

        Raises:
            DataError: Missing or not such a file.
        """
        value = read_json(path)
        if not isinstance(value, dict):
            raise DataError("not a prior file: expected {surface: {entity id: count}}", path=path)
        counts = cast("dict[str, Any]", value)
        for surface, entities in counts.items():
            if not isinstance(entities, dict) or not all(isinstance(n, int) and n > 0 for n in entities.values()):
                raise DataError(f"not a prior file: {surface!r} has no {{entity id: count}}", path=path)
        return cls(counts)


def _key(surface: str) -> str:
    """Return the folded surface; a surface of nothing but punctuation or emoji stands for itself."""
    return match_key(surface) or surface.strip()


class PriorSource:
    """Entities that the surface has meant before, most frequent first; implements CandidateSource."""

    def __init__(self, prior: MentionPrior, row_of: Mapping[str, int]) -> None:
        self._prior, self._row_of = prior, row_of

    def search(self, mentions: Sequence[Mention], k: int) -> CandidateLists:
        """Return at most `k` entities a mention, with their probabilities; equal ones in the order of ids."""
        rows = np.full((len(mentions), k), -1, dtype=np.int64)
        scores = np.zeros((len(mentions), k), dtype=np.float32)
        for i, mention in enumerate(mentions):
            seen = self._prior.probabilities(mention.surface)
            known = sorted((-p, entity_id) for entity_id, p in seen.items() if entity_id in self._row_of)[:k]
            for j, (p, entity_id) in enumerate(known):
                rows[i, j], scores[i, j] = self._row_of[entity_id], -p
        return CandidateLists(rows, scores)
