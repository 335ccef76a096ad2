"""A file of links brought to the present state of its knowledge base: what a change can touch is made again.

What cannot be touched (`touched.py` proves which) holds for the present content, and says so from now on: its `kb` is
replaced. A link that is made again is put into a hidden file beside the target at once, so that a call that is killed
goes on; the target is exchanged whole when all are done.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dualway.datasets import open_dataset
from dualway.datasets.base import Dataset
from dualway.errors import DataError, UsageError
from dualway.linking.batch import link_record
from dualway.linking.touched import MadeLink, Touched, find_touched, number_kept
from dualway.schema import Link, Mention
from dualway.storage import atomic_path, check_target, read_jsonl, storage_errors
from dualway.text import repair

if TYPE_CHECKING:
    from dualway.linker import Linker

ASKED = "all were asked for"
_CHUNK = 256
_PROBES = 8  # links that no change can touch, made again to see that they come out the same
_TOLERANCE = 1e-2  # of scores: other machines round in other ways


@dataclass
class RelinkReport:
    """What became of a file of links.

    Attributes:
        links: How many there are.
        current: Made against the present content already.
        untouched: That no change can touch; they hold for the present content and say so now.
        redone: Made again.
        resumed: Of these, taken from a call that was killed.
        k: How many candidates a link keeps.
        changed: Of those made again, the mentions whose answer is another one now, with (before, now).
        reasons: Why links were made again, with how many.
    """

    links: int = 0
    current: int = 0
    untouched: int = 0
    redone: int = 0
    resumed: int = 0
    k: int = 0
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
    k: int | None = None,
    everything: bool = False,
    dry_run: bool = False,
    note: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    dataset: Dataset | None = None,
) -> RelinkReport:
    """Bring a file of links to the present content of the linker's knowledge base.

    What is written is what linking all mentions again would give. The lines stay in their order, and what else they
    say stays on them.

    Args:
        linker: What made the links; its knowledge base is the changed one.
        links: links.jsonl.
        source: The mentions that were linked.
        target: Where the links go; by default in the place of `links`, whole or not at all.
        k: Candidates kept a mention; by default as many as the links show that they keep, else 100.
        everything: Make all links again, whoever made them.
        dry_run: Write nothing, and link nothing: only tell which links would be made again.
        note: Told what the user should know.
        progress: Called with (links made again, in all that are to be).
        dataset: What `source` holds, when it is read already.

    Raises:
        DataError: A line that is no link, or links and mentions that do not belong together; names line or id.
        UsageError: The links were made by another model, with another `k`, or of something else.
        StorageError: The target cannot be written.
    """
    target = _check_places(links, source, target)
    dataset = dataset or open_dataset(source)
    if linker.given is not None:
        linker.given.for_dataset(dataset)  # a file keyed by the answers is refused
    digest = _digest(links)
    made = _read(links)
    mentions = _mentions_of(links, made, dataset)
    touched = _choose(linker, links, made, mentions, k=k, everything=everything)
    report = _count(linker, made, touched)
    if dry_run:
        return report
    if not everything:
        _probe(linker, dataset, made, mentions, touched)
    journal = _Journal(target, _origin(linker, digest, mentions, touched))
    places = list(touched.redo)
    report.resumed = journal.resume([made[place].id for place in places])
    _link(linker, dataset, [mentions[place] for place in places], touched.k, journal, report.resumed, progress)
    if report.current < report.links or target.resolve() != links.resolve():
        _publish(links, digest, target, touched, journal, linker.kb.fingerprint.content, report)
    journal.remove()
    if linker.given is not None and note is not None:
        for line in linker.given.report.remarks():
            note(line)
    return report


def _check_places(links: Path, source: Path, target: Path | None) -> Path:
    """Return where the links go, after checking that nothing else is lost there."""
    target = target or links
    if source.resolve() in (links.resolve(), target.resolve()):
        raise UsageError(f"{source}: holds the mentions; give the links, and their --out, as other files")
    if target.suffix.lower() == ".gz":
        raise UsageError(f"{target}: links are written uncompressed; give --out a name without .gz")
    check_target(target)
    return target


def _read(path: Path) -> list[MadeLink]:
    """Return how the links were made, in the order of the file."""
    made: list[MadeLink] = []
    seen: set[str] = set()
    known: dict[str, str] = {}  # an id that many links name is kept once
    for number, value in read_jsonl(path):
        link = _parse(value, known)
        if link is None:
            raise DataError("is no link as `dualway link --out` writes it", path=path, line=number)
        if link.id in seen:
            raise DataError("the mention has two links", path=path, line=number, id=link.id)
        seen.add(link.id)
        made.append(link)
    return made


def _parse(value: Any, known: dict[str, str]) -> MadeLink | None:
    """Return how a link was made; None where it is no link."""
    record = _dict(value)
    entity_id, listed = record.get("entity_id", 0), record.get("candidates")
    if not isinstance(listed, list) or not (entity_id is None or isinstance(entity_id, str)):
        return None
    candidates = [_dict(candidate) for candidate in cast("list[Any]", listed)]
    score = candidates[0].get("score") if candidates else 0.0
    texts = [record.get("id"), record.get("kb"), record.get("model"), *(c.get("entity_id") for c in candidates)]
    if not isinstance(score, int | float) or not all(isinstance(text, str) for text in texts):
        return None
    id, kb, model, *own = cast("list[str]", texts)
    kept = tuple(known.setdefault(i, i) for i in own)
    return MadeLink(id, entity_id, known.setdefault(kb, kb), known.setdefault(model, model), kept, score)


def _dict(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _mentions_of(path: Path, made: Sequence[MadeLink], dataset: Dataset) -> list[Mention]:
    """Return the mention of each link."""
    mention_of = {mention.id: mention for mention in dataset.mentions}
    linked = {link.id for link in made}
    strangers = [link.id for link in made if link.id not in mention_of]
    if strangers:
        raise DataError(
            f"links of {len(strangers):,} mentions that --in does not have; give the file that was linked",
            path=path,
            id=strangers[0],
        )
    missing = [mention_id for mention_id in mention_of if mention_id not in linked]
    if missing:
        raise DataError(
            f"no link of {len(missing):,} mentions; link them with `dualway link`", path=path, id=missing[0]
        )
    return [mention_of[link.id] for link in made]


def _choose(
    linker: Linker,
    path: Path,
    made: Sequence[MadeLink],
    mentions: Sequence[Mention],
    *,
    k: int | None,
    everything: bool,
) -> Touched:
    """Return which links are to be made again."""
    if everything:
        return Touched(dict.fromkeys(range(len(made)), ASKED), k or number_kept(linker, made, mentions))
    others = {link.model for link in made} - {linker.ranker.fingerprint}
    if others:
        raise UsageError(
            f"{path}: made by another model ({min(others)}) than this one ({linker.ranker.fingerprint}); give that "
            "run, or make all links again with --all"
        )
    return find_touched(linker, made, mentions, k)


def _count(linker: Linker, made: Sequence[MadeLink], touched: Touched) -> RelinkReport:
    now = linker.kb.fingerprint.content
    report = RelinkReport(links=len(made), redone=len(touched.redo), k=touched.k)
    report.current = sum(link.kb == now for place, link in enumerate(made) if place not in touched.redo)
    report.untouched = report.links - report.redone - report.current
    for reason in touched.redo.values():
        report.reasons[reason] = report.reasons.get(reason, 0) + 1
    return report


def _probe(
    linker: Linker, dataset: Dataset, made: Sequence[MadeLink], mentions: Sequence[Mention], touched: Touched
) -> None:
    """Check on a few links that no change can touch that they come out the same: the inputs are those of then.

    A regions file, pictures, and which texts stand for an entity leave no trace on a link but its scores.

    Raises:
        UsageError: One comes out otherwise.
    """
    held = [place for place in range(len(made)) if place not in touched.redo]
    if len(held) == len(made) and all(link.kb == linker.kb.fingerprint.content for link in made):
        return  # there is nothing to do
    chosen = held[:: max(len(held) // _PROBES, 1)][:_PROBES]
    again = _make(linker, dataset, [mentions[place] for place in chosen], touched.k)
    for place, link in zip(chosen, again, strict=True):
        if not _agrees(made[place], link):
            raise UsageError(
                f"the link of {link.mention.id!r} comes out otherwise ({made[place].entity_id} -> {link.entity_id}), "
                "though no change of the knowledge base touches it: give the mentions, regions, pictures and texts of "
                "entities that the links were made with, or make all again with --all"
            )


def _agrees(before: MadeLink, link: Link) -> bool:
    """Tell whether a link's best candidate has the score that it had; which of equal ones is first is not asked."""
    if not before.candidates or not link.candidates:
        return len(before.candidates) == len(link.candidates)
    score = next((c.score for c in link.candidates if c.entity_id == before.candidates[0]), None)
    return score is not None and abs(score - before.score) <= _TOLERANCE


def _make(linker: Linker, dataset: Dataset, mentions: Sequence[Mention], k: int) -> list[Link]:
    return linker.link(mentions, k, image_path=dataset.image_path, folders=dataset.picture_folders)


def _link(
    linker: Linker,
    dataset: Dataset,
    mentions: Sequence[Mention],
    k: int,
    journal: _Journal,
    done: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Make links again, from the first that the journal lacks."""
    for start in range(done, len(mentions), _CHUNK):
        journal.append(_make(linker, dataset, mentions[start : start + _CHUNK], k))
        if progress is not None:
            progress(min(start + _CHUNK, len(mentions)), len(mentions))


def _publish(
    links: Path, digest: str, target: Path, touched: Touched, journal: _Journal, now: str, report: RelinkReport
) -> None:
    """Put the finished links in the target's place, in the order of the old ones, and tell which answers changed."""
    fresh = journal.records()
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        for place, (number, record) in enumerate(read_jsonl(links)):
            if place in touched.redo:
                made = next(fresh)
                if made["entity_id"] != record["entity_id"]:
                    report.changed[record["id"]] = (record["entity_id"], made["entity_id"])
                record = made
            try:
                line = json.dumps({**record, "kb": now}, ensure_ascii=False, allow_nan=False)
            except ValueError as error:
                raise DataError("a number that is not finite; repair the line", path=links, line=number) from error
            file.write(repair(line + "\n").encode())
        if _digest(links) != digest:
            raise DataError("was changed while it was read; give the command again", path=links)


class _Journal:
    """The hidden file of an unfinished call: a line that says what made it, then a line a link."""

    def __init__(self, target: Path, origin: str) -> None:
        self._target, self._origin = target, f"{origin}\n".encode()
        self._path = target.with_name(f".{target.name}.relink")

    def resume(self, ids: Sequence[str]) -> int:
        """Return how many links are there already, the first of `ids`; start afresh when something else made them."""
        with storage_errors(self._target):
            self._target.parent.mkdir(parents=True, exist_ok=True)
            done = 0
            if self._path.exists():
                with self._path.open("rb") as file:
                    if file.readline() == self._origin:
                        size = len(self._origin)
                        for mention_id, line in zip(ids, file):
                            if not _is_link_of(line, mention_id):
                                break  # cut off by the kill
                            done, size = done + 1, size + len(line)
                        os.truncate(self._path, size)
                        return done
            if ids:
                self._path.write_bytes(self._origin)
            return 0

    def append(self, links: Sequence[Link]) -> None:
        """Write links and see them on the disk."""
        lines = "".join(json.dumps(link_record(link), ensure_ascii=False, allow_nan=False) + "\n" for link in links)
        with storage_errors(self._target), self._path.open("ab") as file:
            file.write(repair(lines).encode())
            file.flush()
            os.fsync(file.fileno())

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the links."""
        if self._path.exists():
            for place, (_, value) in enumerate(read_jsonl(self._path)):
                if place:
                    yield value

    def remove(self) -> None:
        """Remove the file."""
        with storage_errors(self._target):
            self._path.unlink(missing_ok=True)


def _is_link_of(line: bytes, mention_id: str) -> bool:
    try:
        return line.endswith(b"\n") and json.loads(line)["id"] == mention_id
    except (ValueError, KeyError, TypeError):
        return False


def _origin(linker: Linker, digest: str, mentions: Sequence[Mention], touched: Touched) -> str:
    """Return what decides which links are made again and how they come out, as one line."""
    words = hashlib.sha256()
    for mention in mentions:
        words.update(repr(mention).encode("utf-8", "surrogatepass"))
    given = "" if linker.given is None else linker.given.file.sha256
    state = [linker.kb.fingerprint.content, linker.kb.revision, linker.ranker.fingerprint, linker.regions, given]
    places = hashlib.sha256(json.dumps(list(touched.redo)).encode()).hexdigest()
    return json.dumps([digest, words.hexdigest(), places, *state, touched.k])


def _digest(path: Path) -> str:
    """Return the hash of a file.

    Raises:
        DataError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise DataError("no such file", path=path) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path=path) from error
