"""What the best possible linker reaches in a generated world: with the caption alone, and with the picture too.

Both know every name, every fact and every look. A mention that can still mean n people is a hit with probability
1 / n: the guess is uniform. People are not quite equally likely behind a name (who has a full name of their own is
called by the surname more often), and whoever knew that could reach 0.3 points more than the text-only oracle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dualway.world.people import Person
from dualway.world.scenes import UNDECIDABLE, Named, Namesakes, Scene


@dataclass(frozen=True)
class Ceilings:
    """T@1 of two oracles on the mentions of a split, in [0, 1].

    Attributes:
        mentions: Their number.
        undecidable: Share of the mentions that the caption leaves open.
        text_only: T@1 of whoever reads the caption and the knowledge base.
        full: T@1 of whoever sees the picture as well.
        left_by_text: Mean number of people whom the caption of an undecidable mention can mean.
    """

    mentions: int
    undecidable: float
    text_only: float
    full: float
    left_by_text: float

    def to_dict(self) -> dict[str, Any]:
        """Return the ceilings as JSON values."""
        return {
            "mentions": self.mentions,
            "undecidable": self.undecidable,
            "text_only": self.text_only,
            "full": self.full,
            "left_by_text": self.left_by_text,
        }


def find_ceilings(scenes: Sequence[Scene], people: list[Person]) -> Ceilings:
    """Return the ceilings of a split."""
    namesakes = Namesakes(people)
    named = [(scene, item) for scene in scenes for item in scene.named]
    by_text = [len(namesakes.consistent(item)) for _, item in named]
    by_both = [len(still_possible(scene, item, namesakes)) for scene, item in named]
    left = [count for count, (_, item) in zip(by_text, named) if item.kind == UNDECIDABLE]
    return Ceilings(
        mentions=len(named),
        undecidable=sum(count > 1 for count in by_text) / len(named),
        text_only=sum(1 / count for count in by_text) / len(named),
        full=sum(1 / count for count in by_both) / len(named),
        left_by_text=sum(left) / len(left) if left else 1.0,
    )


def still_possible(scene: Scene, named: Named, namesakes: Namesakes) -> list[Person]:
    """Return whom caption and picture together leave: people of the right name and facts who look like a figure."""
    looks = {figure.look for figure in scene.figures}
    return [person for person in namesakes.consistent(named) if person.look in looks]
