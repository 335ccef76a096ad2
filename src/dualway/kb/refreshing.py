"""Stale texts: which of a source's texts have changed since they were taken, and how much they drifted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rapidfuzz import fuzz

from dualway.errors import DataError
from dualway.kb.changes import changing
from dualway.kb.enriching import wanted_of, with_text
from dualway.kb.store import KnowledgeBase
from dualway.schema import Representation
from dualway.sources.texts import TextSource, Wanted
from dualway.text import match_key


@dataclass(frozen=True, slots=True)
class Drift:
    """A text that its source has changed. similarity: of the words, old and new, in [0, 1]."""

    entity_id: str
    name: str
    before: str
    after: str
    old_revision: str
    new_revision: str
    similarity: float


@dataclass
class DriftReport:
    """What a refresh found, the least similar first.

    Attributes:
        source: Whose texts were looked at.
        checked: How many texts of it there are.
        newer: Of them, those whose source has a newer revision.
        drifted: Of these, those whose text is another one.
        vanished: Entities whose page is gone or gives no text any more, with why; their old text stays.
        revision: Of the knowledge base after it.
    """

    source: str
    checked: int = 0
    newer: int = 0
    drifted: list[Drift] = field(default_factory=list[Drift])
    vanished: dict[str, str] = field(default_factory=dict[str, str])
    revision: int = 0

    @property
    def mean_similarity(self) -> float:
        """Of the texts that changed; 1 where none did."""
        return sum(d.similarity for d in self.drifted) / len(self.drifted) if self.drifted else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "mean_similarity": round(self.mean_similarity, 4)}


def refresh(
    kb_path: Path | str,
    source: TextSource,
    *,
    ids: Sequence[str] | None = None,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DriftReport:
    """Ask a source for the revisions of the texts that it gave, and read again those that have changed.

    Args:
        kb_path: The knowledge base's folder.
        source: Whose texts are looked at: those with its name as their source.
        ids: Look at these entities alone.
        dry_run: Change nothing.
        progress: Called with (texts read again, in all).

    Raises:
        DataError: The source is broken, or answers for somebody who was not asked for.
        KnowledgeBaseError: No such knowledge base, or an id that it does not have.
        StorageError: Another process is changing it.
    """
    folder, report = Path(kb_path), DriftReport(source.name)
    with KnowledgeBase.open(folder) as kb:
        report.revision = kb.revision
        wanted = {one.entity_id: one for one in wanted_of(kb, source.name.partition(":")[2], ids)}
        held = {entity_id: text for entity_id in wanted if (text := _held(kb, entity_id, source.name)) is not None}
        names = {entity_id: wanted[entity_id].name for entity_id in held}
    report.checked = len(held)
    now = source.revisions([wanted[entity_id] for entity_id in held])
    changed = [i for i, text in held.items() if now.get(i) != text.revision or not text.revision]
    fresh = _read_again(source, [wanted[entity_id] for entity_id in changed], report, progress)
    report.newer = len(fresh)
    for entity_id, text in fresh.items():
        old = held[entity_id]
        if text.text != old.text:
            drift = (old.text, text.text, old.revision, text.revision, similarity(old.text, text.text))
            report.drifted.append(Drift(entity_id, names[entity_id], *drift))
    report.drifted.sort(key=lambda drift: (drift.similarity, drift.entity_id))
    if fresh and not dry_run:
        _put(folder, fresh, held, report)
    return report


def similarity(before: str, after: str) -> float:
    """Return how alike two texts are by their words, in any order, in [0, 1]."""
    return round(fuzz.token_sort_ratio(match_key(before), match_key(after)) / 100, 4)


def _held(kb: KnowledgeBase, entity_id: str, source: str) -> Representation | None:
    rows = kb.query(
        "SELECT r.kind, r.text, r.source, r.language, r.revision, r.licence, r.created_at FROM representations r "
        "JOIN entities e ON e.row = r.entity WHERE e.id = ? AND r.source = ? ORDER BY r.number LIMIT 1",
        entity_id,
        source,
    )
    return Representation(*rows[0]) if rows else None


def _read_again(
    source: TextSource,
    wanted: Sequence[Wanted],
    report: DriftReport,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Representation]:
    asked = {one.entity_id for one in wanted}
    fresh: dict[str, Representation] = {}
    for number, found in enumerate(source.texts(wanted) if wanted else (), start=1):
        if found.entity_id not in asked:
            raise DataError(f"{source.name}: answered twice, or for somebody who was not asked for", id=found.entity_id)
        asked.discard(found.entity_id)
        if found.representation is None:
            report.vanished[found.entity_id] = found.problem or "no text"
        else:
            fresh[found.entity_id] = found.representation
        if progress is not None:
            progress(number, len(wanted))
    if asked:
        raise DataError(f"{source.name}: gave no answer for {len(asked):,} entities", id=min(asked))
    return fresh


def _put(folder: Path, fresh: dict[str, Representation], held: dict[str, Representation], report: DriftReport) -> None:
    with changing(folder) as change:
        for entity_id, text in fresh.items():
            if entity_id in change:
                kept = replace(text, kind=held[entity_id].kind)
                change.update(with_text(change.entity(entity_id), kept))
        change.describe(f"{len(report.drifted):,} texts of {report.source} changed, {len(fresh):,} newer")
        report.revision = change.revision - (not change.is_made)
