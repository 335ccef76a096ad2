"""What a report shows, as plain frozen records; gold sits on them because a report looks back on an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dualway.errors import UsageError
from dualway.schema import Link, Mention, Region

if TYPE_CHECKING:
    from dualway.evaluation.report import EvaluationReport


@dataclass(frozen=True, slots=True)
class ShownCandidate:
    """A candidate as a card shows it.

    Attributes:
        entity_id: Its id.
        name: Its name.
        text: What the knowledge base says of it; may be empty.
        score: The system's score, higher is better. A score that is not finite is shown as a dash.
        evidence: Named raw similarities beside the score; what they are is the system's matter.
        is_gold: It is the right answer.
    """

    entity_id: str
    name: str
    text: str
    score: float
    evidence: Mapping[str, float]
    is_gold: bool


@dataclass(frozen=True, slots=True)
class ShownMention:
    """A mention with what one system made of it.

    Attributes:
        mention: The mention.
        picture: Its picture's file, None for none. A broken one becomes a note on the page.
        regions: Parts of the picture, with the mention's attention on each (None where the system does not attend).
        candidates: Best first, from rank 1 on without gaps; the page shows the first few, and gold.
        gold_id: The right entity, None for NIL.
        gold_name: Its name; may be empty.
        gold_rank: Gold's rank among all candidates that competed, ties averaged; None: it was not among them.
        system: Which system this is.

    Raises:
        UsageError: `is_gold` of a candidate disagrees with `gold_id`.
    """

    mention: Mention
    picture: Path | None
    regions: tuple[Region, ...]
    candidates: tuple[ShownCandidate, ...]
    gold_id: str | None
    gold_name: str
    gold_rank: float | None
    system: str

    def __post_init__(self) -> None:
        for candidate in self.candidates:
            if candidate.is_gold != (candidate.entity_id == self.gold_id):
                raise UsageError(
                    f"mention {self.mention.id!r}: candidate {candidate.entity_id!r} has is_gold={candidate.is_gold}, "
                    f"yet gold is {self.gold_id!r}; make both say the same"
                )

    @property
    def gold(self) -> ShownCandidate | None:
        """The candidate that is gold, None when it is not among those given."""
        return next((candidate for candidate in self.candidates if candidate.is_gold), None)

    @classmethod
    def from_link(
        cls,
        link: Link,
        *,
        system: str,
        gold_id: str | None,
        gold_name: str = "",
        texts: Mapping[str, str],
        picture: Path | None = None,
    ) -> ShownMention:
        """Return a link as a card shows it; gold's rank is told from the link's candidates, ties averaged.

        Args:
            link: With all candidates that competed (a shorter list would make a low gold look missed).
            system: Which system made it.
            gold_id: The right entity, None for NIL.
            gold_name: Its name.
            texts: Entity id to the text shown below its name; an id that is not there has none.
            picture: The mention's picture.
        """
        shown = tuple(
            ShownCandidate(c.entity_id, c.name, texts.get(c.entity_id, ""), c.score, c.evidence, c.entity_id == gold_id)
            for c in link.candidates
        )
        level = next((c.score for c in shown if c.is_gold), None)
        rank = None
        if level is not None:
            above, equal = sum(c.score > level for c in shown), sum(c.score == level for c in shown)
            rank = above + (equal + 1) / 2
        return cls(link.mention, picture, link.regions, shown, gold_id, gold_name, rank, system)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One evaluation in training: mean loss since the last one, and T@1 on dev (None where it was not measured)."""

    step: int
    epoch: float
    loss: float
    dev_t1: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """One training, `points` from its `history.jsonl`; `best_step`: whose model was kept, None where not known."""

    label: str
    points: tuple[CurvePoint, ...]
    best_step: int | None


@dataclass(frozen=True, slots=True)
class Ceiling:
    """A T@1 to read the systems' against, which is no system's: a bound or an oracle.

    Attributes:
        name: Such as "text-only oracle".
        value: T@1 as a share, 0 to 1.
        note: One sentence that says what it means.
        protocol: The protocol it belongs to; None: all.
    """

    name: str
    value: float
    note: str
    protocol: str | None = None


@dataclass(frozen=True)
class Report:
    """All that is on the page; what is empty has no place there.

    Attributes:
        title: Its heading.
        lead: What this is, in sentences; one paragraph each.
        caveats: What the reader must know before believing a figure; shown at the top and beside every table.
        settings: Hardware, versions, preset, deviations from the paper.
        evaluation: What was measured.
        ceilings: Shown as rows of the table and as lines in the plot of dev T@1.
        curves: The trainings.
        examples: Mentions to look at, right or wrong.
        errors: Mistakes of the trained model.
        commands: What the reader may run next.
        embeds_photographs: The pictures are photographs, which the page then says at its top.
        system_notes: System to a few words on what it is, shown below its name in the table.
    """

    title: str
    lead: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    evaluation: EvaluationReport | None = None
    ceilings: tuple[Ceiling, ...] = ()
    curves: tuple[Curve, ...] = ()
    examples: tuple[ShownMention, ...] = ()
    errors: tuple[ShownMention, ...] = ()
    commands: tuple[str, ...] = ()
    embeds_photographs: bool = False
    system_notes: Mapping[str, str] = field(default_factory=dict[str, str])
