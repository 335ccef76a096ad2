"""Giving a finished knowledge base texts from a source, such as static text from Wikipedia (paper, section 3.1).

Answers are kept in a journal beside the knowledge base as they come, so that long work that was killed goes on where it
was; when all are there, one revision publishes them. An answer holds as long as its entity is asked for in the same
words: what others change in the knowledge base meanwhile makes no other answer worthless.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

from dualway.datasets.base import Dataset
from dualway.errors import DataError, KnowledgeBaseError, StorageError, UsageError
from dualway.kb.changes import Change, changing
from dualway.kb.manifest import MANIFEST
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Representation
from dualway.sources.texts import Found, TextSource, Wanted
from dualway.storage import check_target, locked, storage_errors, write_text

POLICIES = ("keep", "drop")

_BATCH = 200  # answers between two writings of the journal
_LONGEST_S = 5.0  # or seconds: a web service gives few answers in them, and none should be asked for twice
_NO_TEXT = "no text"
_CUT = "…"  # what a text ends with that was cut within a sentence
_LOCK = ".enrich.lock"
_QID = re.compile(r"Q[1-9]\d*")
_KIND = re.compile(r"[\w.:-]+")
_TEXT_KEYS = {"kind", "text", "source", "language", "revision", "licence", "created_at"}


@dataclass
class EnrichReport:
    """What became of the entities that were asked for.

    Attributes:
        source: What gave the texts.
        kind: Of the texts.
        asked: Entities that a text was asked for.
        with_text: Of them, those that the source has a text of.
        without: How many have none, by reason.
        unanswered: Their ids by reason.
        lacking: Of these, the ids of those that have no text of this kind from elsewhere either: the ones that "drop"
            removes.
        dropped: Whether they were removed.
        behind: Entities with an earlier text of this kind from another source, which goes on standing for them.
        passed_over: Ids that others removed, or gave another name or page, after they were asked for.
        resumed: Answers taken from an interrupted call.
        mean_chars: Of the texts.
        shared: Entities that got the same text as another one: homonyms that were found by their name mostly, of whom
            it describes one at most.
        cut: How many texts end within a sentence, as their first one was too long.
        changed: Records that say something else than before, or were removed.
        revision: Of the knowledge base after it.
    """

    source: str = ""
    kind: str = "static"
    asked: int = 0
    with_text: int = 0
    without: dict[str, int] = field(default_factory=dict[str, int])
    unanswered: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    lacking: list[str] = field(default_factory=list[str])
    dropped: bool = False
    behind: int = 0
    passed_over: list[str] = field(default_factory=list[str])
    resumed: int = 0
    mean_chars: float = 0.0
    shared: int = 0
    cut: int = 0
    changed: int = 0
    revision: int = 0

    @property
    def share_without(self) -> float:
        """Share of entities without a text, in percent, as the paper reports it (2.78, 1.32, 1.62)."""
        return self.share(sum(self.without.values()))

    def share(self, num: int) -> float:
        """Return how many percent of the entities asked for `num` are."""
        return 100 * num / self.asked if self.asked else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "share_without": round(self.share_without, 2)}


class GoldLoss(NamedTuple):
    """Mentions of a split with an entity as gold, and those whose entity has no text: what "drop" costs."""

    mentions: int
    lost: int

    @property
    def share(self) -> float:
        """In percent, as the paper reports it."""
        return 100 * self.lost / self.mentions if self.mentions else 0.0


def enrich(
    kb_path: Path | str,
    source: TextSource,
    *,
    kind: str = "static",
    policy: str = "keep",
    ids: Sequence[str] | None = None,
    replace_existing: bool = True,
    settings: str = "",
    progress: Callable[[int, int], None] | None = None,
    note: Callable[[str], object] = lambda _: None,
) -> EnrichReport:
    """Ask a source for the text of every entity, and put the answers into the knowledge base as one revision.

    A text of the same kind, source and language is replaced; others stay.

    Args:
        kb_path: The knowledge base's folder.
        source: What gives the texts.
        kind: Of the texts.
        policy: "keep" leaves entities without a text of this kind, "drop" removes them (paper: "discarding entities
            that lack corresponding descriptions").
        ids: Ask for these entities alone.
        replace_existing: Also ask for entities that have a text of this kind and source.
        settings: What else the texts depend on, such as their length; an interrupted call with others is not gone on
            with.
        progress: Called with (entities answered, entities in all).
        note: Called with remarks for people.

    Raises:
        DataError: The source is broken, or answers for somebody twice, for others than it was asked, or not at all.
        KnowledgeBaseError: No such knowledge base, an id that it does not have, or nobody would be left by "drop".
        StorageError: Another call is at it, or nothing can be written.
        UsageError: An unknown policy, or a kind that is no word.
    """
    if policy not in POLICIES:
        raise UsageError(f"unknown policy {policy!r} for entities without text; choose {' or '.join(POLICIES)}")
    if not _KIND.fullmatch(kind):
        raise UsageError(f"kind of text {kind!r}; write a word such as static or profile")
    folder = Path(kb_path)
    KnowledgeBase.open(folder).close()  # before a lock is put into a folder that is something else
    check_target(folder / MANIFEST)
    with locked(folder / _LOCK, f"{folder}: another process is asking for texts"):
        wanted = _wanted(folder, source, kind, ids, replace_existing=replace_existing)
        journal = _Journal(_journal_path(folder), _origin(source, kind, settings), wanted)
        report = EnrichReport(source.name, kind, asked=len(wanted), dropped=policy == "drop")
        report.resumed = journal.resume(note)
        _ask(source, journal, progress)
        _count(journal, report)
        _publish(folder, journal, report, wiki_of(source))
        journal.remove()
    return report


def gold_loss(datasets: Iterable[Dataset], report: EnrichReport) -> dict[str, GoldLoss]:
    """Count for each split the mentions whose gold is an entity without text (paper: "2.78 %, 1.32 % and 1.62 %")."""
    lacking, losses = set(report.lacking), dict[str, GoldLoss]()
    for data in datasets:
        gold = [entity_id for entity_id in data.gold.values() if entity_id is not None]
        losses[data.split or data.name] = GoldLoss(len(gold), sum(entity_id in lacking for entity_id in gold))
    return losses


def forget_answers(kb_path: Path | str, ids: Collection[str]) -> int:
    """Take entities out of the answers that an interrupted call left beside a knowledge base; return how many.

    Raises:
        StorageError: A call is at it, or it cannot be written.
    """
    folder, path = Path(kb_path), _journal_path(Path(kb_path))
    if not _lines(path):
        return 0
    with locked(folder / _LOCK, f"{folder}: another process is asking for texts"):
        lines = _lines(path)
        answers = [(line, _parse(line)) for line in lines[1:]]
        kept = [line for line, answer in answers if answer is not None and answer[1].entity_id not in ids]
        write_text(path, b"".join([*lines[:1], *kept]).decode("utf-8", "replace"))
    return sum(answer is not None and answer[1].entity_id in ids for _, answer in answers)


def wiki_of(source: TextSource) -> str:
    """Return the Wikipedia ("en", "simple") whose titles lead to a source's texts.

    Its name says which; of another source than Wikipedia or DBpedia, such as a table, the language that it states.
    """
    form, _, wiki = source.name.partition(":")
    stated = getattr(source, "language", "")
    return wiki if form in ("wikipedia", "dbpedia") or not isinstance(stated, str) else stated


def wanted_of(kb: KnowledgeBase, wiki: str, ids: Sequence[str] | None = None) -> Iterator[Wanted]:
    """Yield what is known of each entity's page in a Wikipedia ("en", "simple"), in row order.

    Raises:
        KnowledgeBaseError: An id that it does not have.
    """
    titles: dict[int, str] = dict(
        kb.query("SELECT entity, value FROM fields WHERE name = ? ORDER BY entity, number DESC", f"wikipedia:{wiki}")
    )
    rows: Iterable[int] = range(len(kb)) if ids is None else sorted({kb.row(entity_id) for entity_id in ids})
    keys, all_ids, names = kb.keys.tolist(), kb.ids, kb.names
    for row in rows:
        yield _question(all_ids[row], names[row], titles.get(keys[row]))


def with_text(entity: Entity, text: Representation) -> Entity:
    """Return a record with a text in the place of the one of its kind, source and language, or at the end.

    One that says the same, of the same revision, stays with the date at which it was first taken.
    """
    key = (text.kind, text.source, text.language)
    place = next((i for i, r in enumerate(entity.representations) if (r.kind, r.source, r.language) == key), None)
    if place is None:
        return replace(entity, representations=(*entity.representations, text))
    held = entity.representations[place]
    others = [r for r in entity.representations if (r.kind, r.source, r.language) != key]
    others.insert(place, held if replace(held, created_at=text.created_at) == text else text)
    return replace(entity, representations=tuple(others))


def checked(found: Found, source: TextSource, asked: Collection[str]) -> Found:
    """Return a source's answer in the form in which it is believed.

    Raises:
        DataError: It is for somebody who was not asked for, or was answered for before; or the text is of another
            source, so that it could never be refreshed.
    """
    if found.entity_id not in asked:
        raise DataError(
            f"{source.name}: answered twice, or for somebody who was not asked for", id=str(found.entity_id)
        )
    text = found.representation
    if text is None or not text.text.strip():
        return Found(found.entity_id, problem=found.problem or _NO_TEXT)
    if text.source != source.name:
        raise DataError(f"{source.name}: gave a text of another source, {text.source!r}", id=found.entity_id)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Found(found.entity_id, text if text.created_at else replace(text, created_at=now))


def _question(entity_id: str, name: str, title: str | None) -> Wanted:
    return Wanted(entity_id, name, title, entity_id if _QID.fullmatch(entity_id) else None)


def _wanted(
    folder: Path, source: TextSource, kind: str, ids: Sequence[str] | None, *, replace_existing: bool
) -> dict[str, Wanted]:
    with KnowledgeBase.open(folder) as kb:
        wanted = {one.entity_id: one for one in wanted_of(kb, wiki_of(source), ids)}
        if not replace_existing:
            having = kb.query(
                "SELECT e.id FROM representations r JOIN entities e ON e.row = r.entity "
                "WHERE r.kind = ? AND r.source = ?",
                kind,
                source.name,
            )
            for (entity_id,) in having:
                wanted.pop(entity_id, None)
    return wanted


def _ask(source: TextSource, journal: _Journal, progress: Callable[[int, int], None] | None) -> None:
    """Ask for what is not yet answered; each answer is checked before it is believed."""
    total = len(journal.wanted)
    open_ids = {entity_id: None for entity_id in journal.wanted if entity_id not in journal.answered}
    try:
        for raw in source.texts([journal.wanted[entity_id] for entity_id in open_ids]) if open_ids else ():
            try:
                found = checked(raw, source, open_ids)
            except DataError:
                journal.remove()  # of a source that lies no answer is believed
                raise
            del open_ids[found.entity_id]
            journal.append(found)
            if progress is not None:
                progress(total - len(open_ids), total)
    finally:
        journal.flush()  # a broken connection or Ctrl-C costs no answer
    if open_ids:
        raise DataError(f"{source.name}: gave no answer for {len(open_ids):,} entities", id=next(iter(open_ids)))


def _count(journal: _Journal, report: EnrichReport) -> None:
    num_chars, times = 0, Counter[bytes]()
    for found in journal.read():
        if found.representation is None:
            report.unanswered.setdefault(found.problem, []).append(found.entity_id)
            continue
        text = found.representation.text
        num_chars += len(text)
        times[hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()] += 1
        report.cut += text.endswith(_CUT)
    report.with_text = times.total()
    report.shared = sum(count for count in times.values() if count > 1)
    report.mean_chars = round(num_chars / report.with_text, 1) if report.with_text else 0.0
    report.without = dict(Counter({problem: len(ids) for problem, ids in report.unanswered.items()}).most_common())


def _publish(folder: Path, journal: _Journal, report: EnrichReport, wiki: str) -> None:
    with changing(folder) as change:
        for found in journal.read():
            entity = _still(change, found.entity_id, journal, wiki)
            if entity is None:
                report.passed_over.append(found.entity_id)
            elif found.representation is not None:
                report.behind += _is_behind(entity, report)
                text = replace(found.representation, kind=report.kind)
                report.changed += change.update(with_text(entity, text))
            elif not any(text.kind == report.kind for text in entity.representations):
                report.lacking.append(found.entity_id)
        if report.dropped:
            _drop(folder, change, report)
        without = sum(report.without.values())
        removed = f", {len(report.lacking):,} removed" if report.dropped else ""
        change.describe(f"{report.with_text:,} {report.kind} texts from {report.source}, {without:,} without{removed}")
        report.revision = change.revision - (not change.is_made)


def _still(change: Change, entity_id: str, journal: _Journal, wiki: str) -> Entity | None:
    """Return the record of an entity that is still what was asked for; None where others removed or renamed it."""
    if entity_id not in change:
        return None
    entity = change.entity(entity_id)
    title = next((field.value for field in entity.fields if field.name == f"wikipedia:{wiki}"), None)
    return entity if _question(entity.id, entity.name, title) == journal.wanted[entity_id] else None


def _is_behind(entity: Entity, report: EnrichReport) -> bool:
    """Tell whether a text of the same kind from elsewhere goes on standing for an entity: the first one counts."""
    first = next((text for text in entity.representations if text.kind == report.kind), None)
    return first is not None and first.source != report.source


def _drop(folder: Path, change: Change, report: EnrichReport) -> None:
    with KnowledgeBase.open(folder) as kb:  # as it was: nobody else can change it now
        left = len(kb) - len(report.lacking)
    if report.lacking and not left:
        raise KnowledgeBaseError(
            f"{folder}: {report.source} has no text of any entity, and nobody would be left; keep those without, or "
            "check that source and language are the right ones"
        )
    for entity_id in report.lacking:
        change.remove(entity_id)
    report.changed += len(report.lacking)


class _Journal:
    """Answers as they come, a line each, readable by a person; the first line says who was asked for what.

    `answered`: the ids of those whose answer is on the disk, or waits to be written.
    """

    def __init__(self, path: Path, origin: Mapping[str, str], wanted: Mapping[str, Wanted]) -> None:
        self._path, self._origin, self.wanted = path, f"{json.dumps(origin)}\n".encode("ascii"), wanted
        self.answered: set[str] = set()
        self._waiting: list[Found] = []
        self._flushed = time.monotonic()

    def resume(self, note: Callable[[str], object]) -> int:
        """Keep what an interrupted call was answered that asked the same, or begin afresh; return how many those are.

        An answer counts as long as its entity is asked for in the same words. What a kill cut off is asked for again.
        """
        kept: list[bytes] = []
        lines = _lines(self._path)
        if lines and lines[0] != self._origin:
            note(f"{self._path}: {len(lines) - 1:,} answers of another call, which was interrupted, are thrown away")
        for line in lines[1:] if lines[:1] == [self._origin] else ():
            answer = _parse(line)
            if answer is None:
                break
            key, found = answer
            one = self.wanted.get(found.entity_id)
            if one is not None and found.entity_id not in self.answered and key == _key(one):
                self.answered.add(found.entity_id)
                kept.append(line)
        write_text(self._path, b"".join([self._origin, *kept]).decode("ascii", "replace"))
        if kept:
            note(f"going on after {len(kept):,} of {len(self.wanted):,} answers")
        return len(kept)

    def append(self, found: Found) -> None:
        """Take one more answer; now and then those that wait are written."""
        self.answered.add(found.entity_id)
        self._waiting.append(found)
        if len(self._waiting) >= _BATCH or time.monotonic() - self._flushed > _LONGEST_S:
            self.flush()

    def flush(self) -> None:
        """Write the answers that wait, and see them on the disk."""
        self._flushed = time.monotonic()
        if not self._waiting:
            return
        lines = "".join(
            f"{json.dumps({**asdict(found), 'key': _key(self.wanted[found.entity_id])})}\n" for found in self._waiting
        )
        self._waiting = []
        with storage_errors(self._path), self._path.open("ab") as file:
            file.write(lines.encode("ascii"))
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> Iterator[Found]:
        """Yield all answers, in the order in which they came."""
        with self._path.open("rb") as lines:
            next(lines)
            for line in lines:
                answer = _parse(line)
                if answer is None:
                    raise DataError("answers were damaged while they were used; run again", path=self._path)
                yield answer[1]

    def remove(self) -> None:
        """Forget the answers."""
        self._waiting = []
        self._path.unlink(missing_ok=True)


def _lines(path: Path) -> list[bytes]:
    """Return the lines of a journal; none where there is no journal.

    Raises:
        StorageError: A link stands there, which could lead anywhere, or it cannot be read.
    """
    with storage_errors(path):
        if path.is_symlink():
            raise StorageError(f"{path}: a link, where answers are kept; remove it")
        return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def _parse(line: bytes) -> tuple[str, Found] | None:
    """Return (key of the question, answer) of a journal's line, None where it is none: cut off, or not ours."""
    try:
        values: Any = json.loads(line) if line.endswith(b"\n") else None
        key, entity_id, problem, text = (values[name] for name in ("key", "entity_id", "problem", "representation"))
        words = [key, entity_id, problem]
        if text is not None:
            fields = cast("dict[str, str]", text)
            words += [fields[name] for name in sorted(_TEXT_KEYS)]
            text = Representation(**fields)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    is_ours = all(isinstance(word, str) for word in words)
    return (key, Found(entity_id, text, problem)) if is_ours else None


def _key(one: Wanted) -> str:
    """Return what an entity must be asked for by, for an answer to hold."""
    return hashlib.sha256(json.dumps([one.entity_id, one.name, one.title]).encode("ascii")).hexdigest()[:16]


def _origin(source: TextSource, kind: str, settings: str) -> dict[str, str]:
    """Return what an interrupted call must have asked for to be gone on with."""
    return {"source": source.name, "kind": kind, "settings": settings}


def _journal_path(folder: Path) -> Path:
    folder = folder.resolve()
    return folder.with_name(f".{folder.name}.enrich")
