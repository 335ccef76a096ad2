"""Links after the knowledge base has changed: only those are made again that the change can touch.

A mention's candidates are the entities whose names are most like it, and a name's score depends on nothing else in the
knowledge base. So an entity that was added, changed or removed can only touch a link when

- one of its names, as they were or as they are, scores at least as much as the last of the mention's candidates now:
  had it been among them before, its score was at least that of the last one then, and whoever took its place scores no
  more; where it came, it is among them now; or
- the run's prior proposes it for the mention's words.

Then all is made again for that mention; else its candidates, their records, and so its answer are what they were.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dualway.candidates.names import NameIndex
from dualway.datasets import open_dataset
from dualway.datasets.base import Dataset
from dualway.errors import DataError, KnowledgeBaseError, UsageError
from dualway.kb.history import EntityChange
from dualway.kb.records import content_fingerprint
from dualway.linking.batch import link_record
from dualway.schema import Mention
from dualway.storage import check_target, read_jsonl, write_text

if TYPE_CHECKING:
    from dualway.linker import Linker

_CHUNK = 256


@dataclass
class RelinkReport:
    """What became of a file of links.

    Attributes:
        links: How many there are.
        current: Made against the present content already.
        untouched: That no change can touch; they hold for the present content and say so now.
        redone: Made again.
        changed: Of these, the mentions whose answer is another entity now, with (before, now).
        reasons: Why links were made again, with how many.
    """

    links: int = 0
    current: int = 0
    untouched: int = 0
    redone: int = 0
    changed: dict[str, tuple[str | None, str | None]] = field(default_factory=dict[str, tuple[str | None, str | None]])
    reasons: dict[str, int] = field(default_factory=dict[str, int])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def relink_file(
    linker: Linker,
    links: Path,
    source: Path,
    target: Path | None = None,
    *,
    everything: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
    dataset: Dataset | None = None,
) -> RelinkReport:
    """Bring a file of links to the present content of the linker's knowledge base.

    Args:
        linker: What made the links; its knowledge base is the changed one.
        links: links.jsonl.
        source: The mentions that were linked.
        target: Where the links go; by default in the place of `links`, whole or not at all.
        everything: Make all links again.
        dry_run: Write nothing, and link nothing: only tell which links would be made again.
        progress: Called with (links made again, in all that are to be).
        dataset: What `source` holds, when it is read already.

    Raises:
        DataError: A line that is no link, or links and mentions that do not belong together; names the id.
        UsageError: The links are another model's.
        StorageError: The target cannot be written.
    """
    target = target or links
    check_target(target)
    dataset = dataset or open_dataset(source)
    records = _read(links, dataset)
    if not everything:
        _check_model(links, records, linker)
    report = RelinkReport(links=len(records))
    now = linker.kb.fingerprint.content
    redo = (
        dict.fromkeys(range(len(records)), "all were asked for") if everything else _touched(linker, dataset, records)
    )
    report.current = sum(record["kb"] == now for i, record in enumerate(records) if i not in redo)
    report.untouched = len(records) - len(redo) - report.current
    report.redone = len(redo)
    for reason in redo.values():
        report.reasons[reason] = report.reasons.get(reason, 0) + 1
    if dry_run:
        return report
    k = max((len(record["candidates"]) for record in records), default=1) or 1
    for i, fresh in _link(linker, dataset, list(redo), k, progress):
        before, after = records[i]["entity_id"], fresh["entity_id"]
        if before != after:
            report.changed[records[i]["id"]] = (before, after)
        records[i] = fresh
    lines = (json.dumps({**record, "kb": now}, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
    write_text(target, "".join(lines))
    return report


def _read(path: Path, dataset: Dataset) -> list[dict[str, Any]]:
    """Return the links in the order of the mentions."""
    found: dict[str, dict[str, Any]] = {}
    for number, value in read_jsonl(path):
        record = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        if not {"id", "entity_id", "candidates", "kb", "model"} <= record.keys() or not isinstance(
            record["candidates"], list
        ):
            raise DataError("is no link as `dualway link --out` writes it", path=path, line=number)
        if record["id"] in found:
            raise DataError("the mention has two links", path=path, line=number, id=str(record["id"]))
        found[record["id"]] = record
    missing = [mention.id for mention in dataset.mentions if mention.id not in found]
    if missing:
        raise DataError(
            f"no link of {len(missing):,} mentions; link them with `dualway link`", path=path, id=missing[0]
        )
    strangers = found.keys() - {mention.id for mention in dataset.mentions}
    if strangers:
        raise DataError(
            f"links of {len(strangers):,} mentions that --in does not have; give the file that was linked",
            path=path,
            id=min(strangers),
        )
    return [found[mention.id] for mention in dataset.mentions]


def _check_model(path: Path, records: Sequence[dict[str, Any]], linker: Linker) -> None:
    others = {str(record["model"]) for record in records} - {linker.ranker.fingerprint}
    if others:
        raise UsageError(
            f"{path}: made by another model ({min(others)}) than this one ({linker.ranker.fingerprint}); give that "
            "run, or make all links again with --all"
        )


def _touched(linker: Linker, dataset: Dataset, records: Sequence[dict[str, Any]]) -> dict[int, str]:
    """Return which links are to be made again, and why."""
    kb = linker.kb
    redo: dict[int, str] = {}
    by_state: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        if record["kb"] != kb.fingerprint.content:
            by_state.setdefault(str(record["kb"]), []).append(i)
    number_of = {content_fingerprint(past.content): past.number for past in kb.revisions()}
    for state, places in by_state.items():
        changes, reason = _changes(linker, number_of.get(state))
        if reason:
            redo |= dict.fromkeys(places, reason)
            continue
        mentions = [dataset.mentions[i] for i in places]
        near = _near(linker, mentions, changes)
        ids = {change.id for change in changes}
        for i, mention, is_near in zip(places, mentions, near, strict=True):
            if any(c.get("entity_id") in ids or c.get("entity_id") not in kb for c in records[i]["candidates"]):
                redo[i] = "a candidate was changed or is gone"
            elif is_near:
                redo[i] = "an entity that was added, changed or removed has a name like the mention"
            elif linker.prior is not None and ids & linker.prior.probabilities(mention.surface).keys():
                redo[i] = "the prior proposes an entity that was changed"
    return dict(sorted(redo.items()))


def _changes(linker: Linker, since: int | None) -> tuple[list[EntityChange], str]:
    """Return what changed since a revision, or why nothing can be said but that all links may be touched."""
    if since is None:
        return [], "made against a content that this knowledge base does not know"
    if not linker.candidates_by_name:
        return [], "candidates are not found by name alone, so that any change may touch them"
    if any("erased" in past.what for past in linker.kb.revisions() if past.number > since):
        return [], "entities were erased, and nothing tells which"
    try:
        changes = list(linker.kb.differences(since))
    except KnowledgeBaseError as error:
        return [], str(error)
    if linker.compares_pictures and any(e.pictures for c in changes for e in (c.before, c.after) if e is not None):
        return [], "pictures of entities changed, against which all pictures are weighed"
    return changes, ""


def _near(linker: Linker, mentions: Sequence[Mention], changes: Sequence[EntityChange]) -> list[bool]:
    """Tell of each mention whether a name of a changed entity, old or new, is as near as its last candidate."""
    if not changes:
        return [False] * len(mentions)
    states = [entity for change in changes for entity in (change.before, change.after) if entity is not None]
    changed = NameIndex([str(n) for n in range(len(states))], [e.name for e in states], [e.aliases for e in states])
    wanted = min(linker.ranker.num_candidates, max(len(linker.kb), 1))
    found: list[bool] = []
    for start in range(0, len(mentions), _CHUNK):
        chunk = mentions[start : start + _CHUNK]
        best = changed.search(chunk, 1)
        present = linker.names.search(chunk, wanted)
        for i in range(len(chunk)):
            is_full = bool(present.rows[i, -1] >= 0)
            shares = bool(best.rows[i, 0] >= 0)
            found.append(shares and (not is_full or bool(best.scores[i, 0] >= present.scores[i, -1])))
    return found


def _link(
    linker: Linker, dataset: Dataset, places: Sequence[int], k: int, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    for start in range(0, len(places), _CHUNK):
        part = places[start : start + _CHUNK]
        mentions = [dataset.mentions[i] for i in part]
        links = linker.link(mentions, k, image_path=dataset.image_path, folders=dataset.picture_folders)
        yield from zip(part, map(link_record, links), strict=True)
        if progress is not None:
            progress(min(start + _CHUNK, len(places)), len(places))
