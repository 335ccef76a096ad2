"""Giving a finished knowledge base texts from a source, such as static text from Wikipedia (paper, section 3.1).

Answers are kept in a journal beside the knowledge base as they come, so that long work that was killed goes on where it
was; when all are there, one revision publishes them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dualway.errors import DataError, UsageError
from dualway.kb.changes import changing
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Representation
from dualway.sources.texts import Found, TextSource, Wanted
from dualway.storage import locked, storage_errors

POLICIES = ("keep", "drop")

_BATCH = 200  # answers between two writings of the journal
_QID = re.compile(r"Q[1-9]\d*")


@dataclass
class EnrichReport:
    """What became of the entities that were asked for.

    Attributes:
        source: What gave the texts.
        asked: Entities that a text was asked for.
        with_text: Of them, those that have one now.
        without: How many have none, by reason.
        unanswered: Ids by reason.
        dropped: Whether entities without a text were removed.
        resumed: Answers taken from an interrupted call.
        mean_chars: Of the texts.
        changed: Records that say something else than before.
        revision: Of the knowledge base after it.
    """

    source: str = ""
    asked: int = 0
    with_text: int = 0
    without: dict[str, int] = field(default_factory=dict[str, int])
    unanswered: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    dropped: bool = False
    resumed: int = 0
    mean_chars: float = 0.0
    changed: int = 0
    revision: int = 0

    @property
    def share_without(self) -> float:
        """Share of entities without a text, in percent, as the paper reports it (2.78, 1.32, 1.62)."""
        return 100 * sum(self.without.values()) / self.asked if self.asked else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "share_without": round(self.share_without, 2)}


def enrich(
    kb_path: Path | str,
    source: TextSource,
    *,
    kind: str = "static",
    policy: str = "keep",
    ids: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EnrichReport:
    """Ask a source for the text of every entity, and put the answers into the knowledge base as one revision.

    A text of the same kind, source and language is replaced; others stay.

    Args:
        kb_path: The knowledge base's folder.
        source: What gives the texts.
        kind: Of the texts.
        policy: "keep" leaves entities without a text, "drop" removes them (paper: "discarding entities that lack
            corresponding descriptions").
        ids: Ask for these entities alone.
        progress: Called with (entities answered, entities in all).

    Raises:
        DataError: The source is broken, or answers for somebody twice, for others than it was asked, or not at all.
        KnowledgeBaseError: No such knowledge base, or an id that it does not have.
        StorageError: Another call is at it, or nothing can be written.
        UsageError: An unknown policy.
    """
    if policy not in POLICIES:
        raise UsageError(f"unknown policy {policy!r} for entities without text; choose {' or '.join(POLICIES)}")
    folder = Path(kb_path)
    with KnowledgeBase.open(folder) as kb:
        wanted = list(wanted_of(kb, source.name.partition(":")[2], ids))
    with locked(_beside(folder, "enrich.lock"), f"{folder}: another process is asking for texts"):
        journal = _Journal(_beside(folder, "enrich"), _origin(source, kind, wanted))
        answers = journal.resume()
        report = EnrichReport(source.name, asked=len(wanted), dropped=policy == "drop", resumed=len(answers))
        _ask(source, [one for one in wanted if one.entity_id not in answers], answers, journal, len(wanted), progress)
        _count(answers, report)
        _publish(folder, answers, kind, report)
        journal.remove()
    _beside(folder, "enrich.lock").unlink(missing_ok=True)
    return report


def wanted_of(kb: KnowledgeBase, language: str, ids: Sequence[str] | None = None) -> Iterator[Wanted]:
    """Yield what is known of each entity's page, in row order.

    Raises:
        KnowledgeBaseError: An id that it does not have.
    """
    titles: dict[int, str] = dict(
        kb.query(
            "SELECT entity, value FROM fields WHERE name = ? ORDER BY entity, number DESC", f"wikipedia:{language}"
        )
    )
    rows: Iterable[int] = range(len(kb)) if ids is None else sorted({kb.row(entity_id) for entity_id in ids})
    keys, all_ids, names = kb.keys.tolist(), kb.ids, kb.names
    for row in rows:
        wikidata_id = all_ids[row] if _QID.fullmatch(all_ids[row]) else None
        yield Wanted(all_ids[row], names[row], titles.get(keys[row]), wikidata_id)


def with_text(entity: Entity, text: Representation) -> Entity:
    """Return a record with a text in the place of the one of its kind, source and language, or at the end.

    One that says the same, of the same revision, stays with the date at which it was first taken.
    """
    key = (text.kind, text.source, text.language)
    if any(replace(r, created_at=text.created_at) == text for r in entity.representations):
        return entity
    texts = [text if (r.kind, r.source, r.language) == key else r for r in entity.representations]
    return replace(entity, representations=tuple(texts if text in texts else [*texts, text]))


def _ask(
    source: TextSource,
    wanted: Sequence[Wanted],
    answers: dict[str, Found],
    journal: _Journal,
    total: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Ask for what is not yet answered; each answer is checked before it is believed."""
    open_ids = {one.entity_id for one in wanted}
    waiting: list[Found] = []
    if wanted:
        for found in source.texts(wanted):
            if found.entity_id not in open_ids:
                what = "twice" if found.entity_id in answers else "for somebody who was not asked for"
                raise DataError(f"{source.name}: answered {what}", id=found.entity_id)
            open_ids.discard(found.entity_id)
            answers[found.entity_id] = found
            waiting.append(found)
            if len(waiting) >= _BATCH:
                journal.append(waiting)
                waiting = []
            if progress is not None:
                progress(len(answers), total)
    journal.append(waiting)
    if open_ids:
        raise DataError(f"{source.name}: gave no answer for {len(open_ids):,} entities", id=min(open_ids))


def _count(answers: dict[str, Found], report: EnrichReport) -> None:
    lengths = [len(found.representation.text) for found in answers.values() if found.representation]
    report.with_text = len(lengths)
    report.mean_chars = round(statistics.fmean(lengths), 1) if lengths else 0.0
    for entity_id, found in answers.items():
        if found.representation is None:
            report.unanswered.setdefault(found.problem or "no text", []).append(entity_id)
    report.without = dict(Counter({problem: len(ids) for problem, ids in report.unanswered.items()}).most_common())


def _publish(folder: Path, answers: dict[str, Found], kind: str, report: EnrichReport) -> None:
    with changing(folder) as change:
        for entity_id, found in answers.items():
            if entity_id not in change:
                continue  # removed since it was asked for
            if found.representation is not None:
                text = replace(found.representation, kind=kind)
                report.changed += change.update(with_text(change.entity(entity_id), text))
            elif report.dropped:
                change.remove(entity_id)
                report.changed += 1
        without = sum(report.without.values())
        change.describe(
            f"{report.with_text:,} texts from {report.source}, {without:,} without"
            f"{' removed' if report.dropped else ''}"
        )
        report.revision = change.revision - (not change.is_made)


class _Journal:
    """Answers as they come, a line each, readable by a person; the first line says what was asked."""

    def __init__(self, path: Path, origin: str) -> None:
        self._path, self._origin = path, origin

    def resume(self) -> dict[str, Found]:
        """Return the whole answers of an interrupted call that asked the same; else begin afresh."""
        answers: dict[str, Found] = {}
        with storage_errors(self._path):
            lines = self._path.read_bytes().splitlines(keepends=True) if self._path.exists() else []
            if not lines or lines[0].decode("utf-8", "replace") != self._origin + "\n":
                self._path.write_text(self._origin + "\n", encoding="utf-8")
                return {}
            size = len(lines[0])
            for line in lines[1:]:
                found = _parse(line)
                if found is None:
                    break  # cut off by the kill
                answers[found.entity_id] = found
                size += len(line)
            os.truncate(self._path, size)
        return answers

    def append(self, answers: Sequence[Found]) -> None:
        """Write answers and see them on the disk."""
        lines = "".join(json.dumps(asdict(found), ensure_ascii=True) + "\n" for found in answers)
        with storage_errors(self._path), self._path.open("ab") as file:
            file.write(lines.encode("ascii"))
            file.flush()
            os.fsync(file.fileno())

    def remove(self) -> None:
        """Forget the answers: the knowledge base has them."""
        self._path.unlink(missing_ok=True)


def _parse(line: bytes) -> Found | None:
    try:
        values: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
        text = values["representation"]
        return Found(values["entity_id"], None if text is None else Representation(**text), values["problem"])
    except (ValueError, KeyError, TypeError):
        return None


def _origin(source: TextSource, kind: str, wanted: Sequence[Wanted]) -> str:
    """Return what an interrupted call must have asked for to be gone on with."""
    digest = hashlib.sha256(repr([(one.entity_id, one.name, one.title) for one in wanted]).encode("utf-8", "replace"))
    return json.dumps({"source": source.name, "kind": kind, "asked": len(wanted), "of": digest.hexdigest()[:16]})


def _beside(folder: Path, what: str) -> Path:
    folder = folder.resolve()
    return folder.with_name(f".{folder.name}.{what}")
