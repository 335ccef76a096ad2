"""`prior`: how often a surface form meant an entity in train; name similarity where train is silent."""

from __future__ import annotations

from collections.abc import Mapping

from dualway.candidates.names import NameIndex
from dualway.candidates.prior import MentionPrior
from dualway.protocols import Task
from dualway.schema import FloatArray, Mention
from dualway.systems.lexical import Lexical


class Prior:
    """Ranks by P(entity | surface) plus name similarity.

    An entity seen with this surface in train rises; one that was not seen loses nothing: that an entity was no gold
    in train is no evidence against it (a knowledge base may have one sample an entity).

    Args:
        names: Index for the name similarity.
        prior: Counts of an earlier training; `fit` makes new ones.
    """

    name = "prior"

    def __init__(self, names: NameIndex, prior: MentionPrior | None = None) -> None:
        self._lexical = Lexical(names)
        self.prior = prior or MentionPrior()

    def fit(
        self, task: Task, gold: Mapping[str, str | None], dev_task: Task, dev_gold: Mapping[str, str | None]
    ) -> None:
        """Count surface -> entity in the training links."""
        self.prior = MentionPrior.build(task.mentions, gold)

    def score(self, task: Task) -> list[FloatArray]:
        """Return name similarity plus P(entity | surface), in [0, 2)."""
        scores = self._lexical.score(task)
        for i, mention in enumerate(task.mentions):
            for position, probability in self._seen(task, i, mention):
                scores[i][position] += probability
        return scores

    def _seen(self, task: Task, i: int, mention: Mention) -> list[tuple[int, float]]:
        seen = self.prior.probabilities(mention.surface)
        rows = {task.kb.row(entity_id): p for entity_id, p in seen.items() if entity_id in task.kb}
        if task.candidates is None:
            return list(rows.items())
        listed = task.candidates.rows[i].tolist()
        return [(position, rows[row]) for position, row in enumerate(listed) if row in rows]
