"""`lexical`: name similarity alone, the row that every multimodal linker has to beat."""

from __future__ import annotations

from collections.abc import Mapping

from dualway.candidates.names import NameIndex
from dualway.protocols import Task
from dualway.schema import FloatArray


class Lexical:
    """Ranks candidates by how alike the mention's surface and the entity's best name are; learns nothing.

    Args:
        names: The index whose similarity is used; caption and picture play no part.
    """

    name = "lexical"

    def __init__(self, names: NameIndex) -> None:
        self._names = names

    def fit(
        self, task: Task, gold: Mapping[str, str | None], dev_task: Task, dev_gold: Mapping[str, str | None]
    ) -> None:
        """Do nothing: there is nothing to learn."""

    def score(self, task: Task) -> list[FloatArray]:
        """Return the name similarity of each candidate, in [0, 1]."""
        surfaces = [mention.surface for mention in task.mentions]
        if task.candidates is None:
            return list(self._names.score_all(surfaces))
        counts = (task.candidates.rows >= 0).sum(axis=1).tolist()
        scores = self._names.score(surfaces, task.candidates.rows)
        return [line[:count] for line, count in zip(scores, counts)]
