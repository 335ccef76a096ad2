"""Stale texts: those that their source has changed since they were taken are read again, in one revision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import NamedTuple

from dualway.errors import DataError, UsageError
from dualway.kb.changes import Change, changing
from dualway.kb.drift import Drift, DriftReport, similarity
from dualway.kb.enriching import checked, wanted_of, wiki_of
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Representation
from dualway.sources.texts import TextSource, Wanted

GONE = ("keep", "remove")

# What is held and read again: entity, text.
_Held = dict[str, list[Representation]]


class _Choice(NamedTuple):
    """Which texts are looked at."""

    kinds: Sequence[str] | None
    older_than: date | None

    def takes(self, text: Representation) -> bool:
        if self.kinds is not None and text.kind not in self.kinds:
            return False
        return self.older_than is None or not _was_taken_since(text.created_at, self.older_than)


def refresh(
    kb_path: Path | str,
    source: TextSource,
    *,
    ids: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    older_than: date | None = None,
    gone: str = "keep",
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DriftReport:
    """Ask a source for the revisions of the texts that it gave, and read again those that have changed.

    A text whose revision says nothing (it is empty, or an address) is read again in any case, and counts as newer where
    it says something else. An older revision than the one that was taken, as an old dump has, is told and not taken.

    Args:
        kb_path: The knowledge base's folder.
        source: Whose texts are looked at: those with its name as their source.
        ids: Look at these entities alone.
        kinds: Look at texts of these kinds alone.
        older_than: Look only at texts that were taken before this day, or that do not say when.
        gone: "keep" the text of a page that is gone, or "remove" it.
        dry_run: Change nothing.
        progress: Called with (entities read again, in all).

    Raises:
        DataError: The source is broken, or answers for somebody twice, for others than it was asked, or not at all.
        KnowledgeBaseError: No such knowledge base, or an id that it does not have.
        StorageError: Another process is changing it.
        UsageError: An unknown `gone`.
    """
    if gone not in GONE:
        raise UsageError(f"unknown choice {gone!r} for the texts of pages that are gone; choose {' or '.join(GONE)}")
    folder, report = Path(kb_path), DriftReport(source.name)
    with KnowledgeBase.open(folder) as kb:
        report.revision = kb.revision
        held = _held(kb, source.name, _Choice(kinds, older_than))
        wanted = {one.entity_id: one for one in wanted_of(kb, wiki_of(source), ids) if one.entity_id in held}
    held = {entity_id: held[entity_id] for entity_id in wanted}
    report.checked = sum(map(len, held.values()))
    stale = _stale(held, _revisions(source, list(wanted.values())), report)
    fresh = _read_again(source, [wanted[entity_id] for entity_id in stale], report, progress)
    changes = _compare(fresh, held, {one.entity_id: one.name for one in wanted.values()}, report)
    lost = {entity_id: held[entity_id] for entity_id in report.vanished} if gone == "remove" else {}
    if (changes or lost) and not dry_run:
        _put(folder, changes, lost, report)
    return report


def _held(kb: KnowledgeBase, source: str, choice: _Choice) -> _Held:
    """Return the texts of a source, by entity."""
    held: _Held = {}
    for entity_id, *values in kb.query(
        "SELECT e.id, r.kind, r.text, r.source, r.language, r.revision, r.licence, r.created_at "
        "FROM representations r JOIN entities e ON e.row = r.entity WHERE r.source = ? ORDER BY r.entity, r.number",
        source,
    ):
        text = Representation(*values)
        if choice.takes(text):
            held.setdefault(entity_id, []).append(text)
    return held


def _was_taken_since(created_at: str, day: date) -> bool:
    try:
        return date.fromisoformat(created_at[:10]) >= day
    except ValueError:
        return False  # it does not say when


def _revisions(source: TextSource, wanted: Sequence[Wanted]) -> Mapping[str, str]:
    asked = {one.entity_id for one in wanted}
    now = source.revisions(wanted) if wanted else {}
    for entity_id, revision in now.items():
        if entity_id not in asked or not isinstance(revision, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            what = f"{revision!r} is no revision" if entity_id in asked else "was not asked for"
            raise DataError(f"{source.name}: told a revision: {what}", id=str(entity_id))
    return now


def _stale(held: _Held, now: Mapping[str, str], report: DriftReport) -> list[str]:
    """Return the ids to ask for again; those that the source has only older are counted."""
    stale: list[str] = []
    for entity_id, texts in held.items():
        revision = now.get(entity_id)
        open_texts = [text for text in texts if text.revision != revision or not _tells(text.revision)]
        if revision is not None and open_texts and all(_is_older(revision, text.revision) for text in open_texts):
            report.older[entity_id] = revision
        elif open_texts:
            stale.append(entity_id)
    return stale


def _tells(revision: str) -> bool:
    """Tell whether a revision tells one state of a page from another; an address is the same for all of them."""
    return bool(revision) and "://" not in revision


def _is_older(revision: str, than: str) -> bool:
    numbers = [int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None for text in (revision, than)]
    return numbers[0] is not None and numbers[1] is not None and numbers[0] < numbers[1]


def _read_again(
    source: TextSource,
    wanted: Sequence[Wanted],
    report: DriftReport,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Representation]:
    asked = {one.entity_id for one in wanted}
    fresh: dict[str, Representation] = {}
    for number, raw in enumerate(source.texts(wanted) if wanted else (), start=1):
        found = checked(raw, source, asked)
        asked.discard(found.entity_id)
        if found.representation is None:
            report.vanished[found.entity_id] = found.problem
        else:
            fresh[found.entity_id] = found.representation
        if progress is not None:
            progress(number, len(wanted))
    if asked:
        raise DataError(f"{source.name}: gave no answer for {len(asked):,} entities", id=min(asked))
    return fresh


def _compare(
    fresh: Mapping[str, Representation], held: _Held, names: Mapping[str, str], report: DriftReport
) -> dict[str, list[tuple[Representation, Representation]]]:
    """Return (old, new) of the texts to exchange, by entity; what says the same as before stays as it is."""
    changes: dict[str, list[tuple[Representation, Representation]]] = {}
    for entity_id, text in fresh.items():
        for old in held[entity_id]:
            new = replace(text, kind=old.kind)
            if replace(new, created_at=old.created_at) == old:
                continue
            if _is_older(new.revision, old.revision):  # its revision was not told before
                report.older[entity_id] = new.revision
                continue
            report.newer += 1
            changes.setdefault(entity_id, []).append((old, new))
            if new.text != old.text:
                alike = similarity(old.text, new.text)
                texts = (old.text, new.text, old.revision, new.revision)
                report.drifted.append(Drift(entity_id, names[entity_id], old.kind, *texts, alike))
    report.drifted.sort(key=lambda drift: (drift.similarity, drift.entity_id))
    return changes


def _put(
    folder: Path,
    changes: Mapping[str, Sequence[tuple[Representation, Representation]]],
    lost: _Held,
    report: DriftReport,
) -> None:
    """Publish the new texts, each in the place of the one that was looked at, where that is still there."""
    with changing(folder) as change:
        for entity_id, pairs in changes.items():
            _exchange(change, entity_id, dict(pairs), report)
        for entity_id, texts in lost.items():
            if _exchange(change, entity_id, dict.fromkeys(texts), report):
                report.removed += len(texts)
        removed = f", {report.removed:,} removed" if report.removed else ""
        change.describe(f"{len(report.drifted):,} texts of {report.source} changed, {report.newer:,} newer{removed}")
        report.revision = change.revision - (not change.is_made)


def _exchange(
    change: Change, entity_id: str, new_of: Mapping[Representation, Representation | None], report: DriftReport
) -> bool:
    if entity_id not in change:
        report.passed_over.append(entity_id)
        return False
    entity: Entity = change.entity(entity_id)
    if not set(new_of) <= set(entity.representations):
        report.passed_over.append(entity_id)
        return False
    texts = (new_of.get(text, text) for text in entity.representations)
    return change.update(replace(entity, representations=tuple(text for text in texts if text is not None)))
