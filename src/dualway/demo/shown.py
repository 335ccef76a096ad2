"""Which mentions a report shows, and the records for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from dualway.datasets.base import Dataset
from dualway.kb.store import KnowledgeBase
from dualway.model.checkpoint import HISTORY
from dualway.report.records import Curve, CurvePoint, ShownMention
from dualway.run import Run
from dualway.schema import Link
from dualway.storage import read_jsonl

NUM_EXAMPLES, NUM_ERRORS = 10, 24
_MANY_REGIONS = 2


def show_links(dataset: Dataset, links: Sequence[Link], kb: KnowledgeBase, *, system: str) -> list[ShownMention]:
    """Return the links as the report shows them, in the order of the mentions; mentions without gold are left out."""
    texts = dict(zip(kb.ids, kb.texts(), strict=True))
    names = dict(zip(kb.ids, kb.names, strict=True))
    return [
        ShownMention.from_link(
            link,
            system=system,
            gold_id=dataset.gold[mention.id],
            gold_name=names.get(dataset.gold[mention.id] or "", ""),
            texts=texts,
            picture=dataset.image_path(mention),
        )
        for mention, link in zip(dataset.mentions, links, strict=True)
        if mention.id in dataset.gold
    ]


def choose_examples(shown: Sequence[ShownMention]) -> tuple[ShownMention, ...]:
    """Return right answers worth looking at: with a picture of several regions first, one mention a caption."""
    right = [item for item in shown if item.gold_rank == 1.0]
    right.sort(key=lambda item: (not item.regions, len(item.regions) < _MANY_REGIONS))
    return _one_a_caption(right)[:NUM_EXAMPLES]


def choose_errors(shown: Sequence[ShownMention]) -> tuple[ShownMention, ...]:
    """Return mistakes, those with a picture first, one mention a caption."""
    wrong = [item for item in shown if item.gold_rank != 1.0 and item.gold_id is not None]
    wrong.sort(key=lambda item: not item.regions)
    return _one_a_caption(wrong)[:NUM_ERRORS]


def _one_a_caption(shown: Sequence[ShownMention]) -> tuple[ShownMention, ...]:
    return tuple({item.mention.text: item for item in reversed(shown)}.values())[::-1]


def read_curve(run: Run) -> Curve:
    """Return the training curve of a run's first seed."""
    seed = run.preset.train.seeds[0]
    records = [cast("dict[str, Any]", record) for _, record in read_jsonl(run.seed_folder(seed) / HISTORY)]
    points = tuple(CurvePoint(r["step"], float(r["epoch"]), float(r["total"]), r["dev_t1"]) for r in records)
    return Curve(f"preset {run.preset.name}, seed {seed}", points, run.results[str(seed)]["best_step"])
