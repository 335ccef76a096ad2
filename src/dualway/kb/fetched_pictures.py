"""Pictures of entities fetched from Wikimedia Commons: only when asked, checked, with source and licence.

A knowledge base from Wikidata names files (the field "image"). They are put into a folder of the user's, then into the
knowledge base in one revision. A file's name there is made of the entity's id and the picture's hash, so that a call
that goes on after a kill finds what is there, and no name from outside reaches the disk.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dualway.errors import DownloadError, PictureError, StorageError
from dualway.images import MAX_BYTES, MAX_PIXELS, content_size, read_picture
from dualway.images.headers import read_header
from dualway.kb.picture_map import MapRow, PictureMap
from dualway.kb.pictures import change_pictures
from dualway.kb.roots import absolute
from dualway.kb.store import KnowledgeBase
from dualway.schema import Picture
from dualway.sources.commons import COMMONS, WIDTH, Commons, CommonsFile, FileAnswer
from dualway.sources.mediawiki import INTERVAL_S, AnswerTooLongError, AskedToWaitError
from dualway.storage import atomic_path, locked, read_jsonl, storage_errors, write_text

CREDITS = "pictures.jsonl"  # beside the pictures: who made each, and under which licence

_LOCK = ".fetch.lock"
_FAILURES = 5  # pictures in a row that cannot be had: then it is not the pictures
_PART = 50  # files asked for at a time
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif"}
_KIND_OF = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/x-bmp": "BMP",
    "image/x-ms-bmp": "BMP",
    "image/tiff": "TIFF",
}


@dataclass(frozen=True, slots=True)
class FetchProblem:
    """A picture that was not taken, and why. `kind` groups problems for counting."""

    entity_id: str
    name: str
    kind: str
    problem: str


@dataclass
class FetchReport:
    """What became of the pictures that a knowledge base names. `revision` is that after it, changed or not."""

    folder: str = ""
    named: int = 0  # pictures of entities, those kept out left aside
    kept_out: int = 0  # pictures that were not asked for, as their entity is kept out
    fetched: int = 0
    there: int = 0  # fetched by an earlier call
    num_bytes: int = 0  # that were fetched
    left: int = 0  # not asked for, as the limit was reached
    without_licence: int = 0
    passed_over: int = 0  # of entities that others removed or kept out meanwhile
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    changed: bool = False
    revision: int = 0
    problems: list[FetchProblem] = field(default_factory=list[FetchProblem])

    @property
    def kinds(self) -> dict[str, int]:
        """How many pictures were not taken, by reason."""
        return dict(Counter(problem.kind for problem in self.problems).most_common())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "not_taken": self.kinds}


def fetch_pictures(
    kb_path: Path | str,
    folder: Path | str,
    *,
    user_agent: str | None = None,
    ids: Sequence[str] | None = None,
    limit: int | None = None,
    width: int = WIDTH,
    endpoint: str = COMMONS,
    interval_s: float = INTERVAL_S,
    wait: Callable[[float], object] = time.sleep,
    progress: Callable[[int, int], None] | None = None,
) -> FetchReport:
    """Fetch the pictures that a knowledge base names, and put them into it in one revision.

    Args:
        kb_path: The knowledge base's folder.
        folder: Where the pictures are put; what an earlier call put there is not fetched again.
        user_agent: Who asks: see MediaWiki.
        ids: Of whom; by default of all. Those kept out or erased are never asked for.
        limit: Fetch at most so many.
        width: Wider pictures come scaled down to about this width.
        endpoint: Of the API of Wikimedia Commons, or of another MediaWiki.
        interval_s: Between the beginnings of two requests.
        wait: Sleeps.
        progress: Called with the number of pictures that are done, and of all.

    Raises:
        DownloadError: The host refuses, or cannot be reached; what has come is kept, and the next call goes on.
        KnowledgeBaseError: No such knowledge base, or an id that no entity has.
        StorageError: The folder cannot be written, or another call is at it.
        UsageError: No user agent, or one without a contact.
    """
    root, report = absolute(folder), FetchReport(str(folder))
    with Commons(user_agent, endpoint=endpoint, width=width, interval_s=interval_s, wait=wait) as commons:
        owners = _owners(Path(kb_path), ids, report)
        with storage_errors(root):
            root.mkdir(parents=True, exist_ok=True)
        with locked(root / _LOCK, f"{root}: another process is fetching pictures"):
            taken: list[_Taken] = []
            fetching = _Fetching(commons, root.resolve(), width, report, limit)
            for answer in _answers(commons, list(owners)):
                taken += fetching.take(answer, owners[answer.name])
                if progress is not None:
                    progress(len(taken) + len(report.problems) + report.left, report.named)
            _write_credits(root, taken)
            _record(Path(kb_path), root, taken, report)
    return report


@dataclass(frozen=True, slots=True)
class _Taken:
    """A picture that lies in the folder: of whom, under which name, and what is known of it."""

    entity_id: str
    path: str
    file: CommonsFile

    def credit(self) -> dict[str, Any]:
        about = self.file
        return {
            "path": self.path,
            "entity": self.entity_id,
            "file": about.name,
            "source": about.page,
            "author": about.author,
            "licence": about.licence,
            "licence_url": about.licence_url,
        }


class _Fetching:
    """Fetches pictures one by one; what it cannot take is in the report."""

    def __init__(self, commons: Commons, root: Path, width: int, report: FetchReport, limit: int | None) -> None:
        self._commons, self._root, self._width = commons, root, width
        self._report, self._limit = report, limit
        self._failures = 0

    def take(self, answer: FileAnswer, owners: Sequence[str]) -> list[_Taken]:
        """Return the picture of an answer for each of those that it shows.

        Raises:
            DownloadError: Not the picture is at fault, but the host or the network.
        """
        file, report = answer.file, self._report
        problem = answer.problem if file is None else _unfit(file)
        if file is None or problem:
            self._refuse(answer.name, owners, problem)
            return []
        paths = {owner: self._present(owner, file) for owner in owners}
        missing = [owner for owner, path in paths.items() if path is None]
        report.there += len(owners) - len(missing)
        if missing and self._limit is not None and report.fetched >= self._limit:
            report.left += len(missing)
        elif missing:
            paths |= self._fetch(file, missing)
        return [_Taken(owner, path, file) for owner, path in paths.items() if path is not None]

    def _fetch(self, file: CommonsFile, owners: Sequence[str]) -> dict[str, str | None]:
        try:
            content = self._commons.content(file, MAX_BYTES)
        except AnswerTooLongError as error:
            self._refuse(file.name, owners, "too large", error.problem)
            return {}
        except AskedToWaitError:
            raise
        except DownloadError as error:
            self._failures += 1
            if self._failures == _FAILURES:
                raise DownloadError(
                    f"{_FAILURES} pictures in a row cannot be had, the last one so: {error.problem}; what has come is "
                    "kept, run again to go on"
                ) from error
            self._refuse(file.name, owners, "cannot be had", error.problem)
            return {}
        self._failures = 0
        try:
            suffix = _SUFFIXES[_checked_kind(content, file)]
        except PictureError as error:
            self._refuse(file.name, owners, "not what was stated", error.problem)
            return {}
        self._report.num_bytes += len(content)
        self._report.fetched += len(owners)
        return {owner: self._write(f"{self._stem(owner, file)}{suffix}", content) for owner in owners}

    def _write(self, name: str, content: bytes) -> str:
        path = self._root / name
        if path.is_symlink():
            raise StorageError(f"{path}: a link, where a picture is to be put; remove it")
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        return name

    def _present(self, owner: str, file: CommonsFile) -> str | None:
        """Return the name of a picture that an earlier call put there, and that is still whole."""
        for suffix in _SUFFIXES.values():
            path = self._root / f"{self._stem(owner, file)}{suffix}"
            if path.exists():
                try:
                    _checked_kind(read_picture(path, [self._root]), file)
                except PictureError:
                    return None  # it is fetched anew, in its place
                return path.name
        return None

    def _stem(self, owner: str, file: CommonsFile) -> str:
        safe = owner if _SAFE.fullmatch(owner) else f"x{hashlib.sha256(owner.encode()).hexdigest()[:16]}"
        return f"{safe}-{file.sha1[:16]}" + ("" if file.is_original else f"-{self._width}")

    def _refuse(self, name: str, owners: Sequence[str], kind: str, problem: str = "") -> None:
        self._report.problems += [FetchProblem(owner, name, kind, problem or kind) for owner in owners]


def _owners(kb_path: Path, ids: Sequence[str] | None, report: FetchReport) -> dict[str, list[str]]:
    """Return whom each file shows, without those who are kept out."""
    owners: dict[str, list[str]] = {}
    with KnowledgeBase.open(kb_path) as kb:
        chosen = None if ids is None else {entity_id for entity_id in ids if kb.row(entity_id) >= 0}
        named: list[tuple[Any, ...]] = kb.query(
            "SELECT e.id, f.value FROM fields f JOIN entities e ON e.row = f.entity "
            "WHERE f.name = 'image' ORDER BY f.entity, f.number"
        )
        for entity_id, name in dict.fromkeys(named):
            if chosen is not None and entity_id not in chosen:
                continue
            if entity_id in kb.kept_out:
                report.kept_out += 1
                continue
            owners.setdefault(name, []).append(entity_id)
            report.named += 1
        report.revision = kb.revision
    return owners


def _answers(commons: Commons, names: Sequence[str]) -> Iterator[FileAnswer]:
    for start in range(0, len(names), _PART):  # asked for as they are needed: addresses do not hold for days
        yield from commons.files(names[start : start + _PART])


def _unfit(file: CommonsFile) -> str:
    """Return why a picture is not fetched, by what is stated of it; "" where nothing speaks against it."""
    if file.mime not in _KIND_OF:
        return "a kind that is not read"
    too_large = file.width * file.height > MAX_PIXELS or (file.is_original and file.num_bytes > MAX_BYTES)
    return "too large" if too_large else ""


def _checked_kind(content: bytes, file: CommonsFile) -> str:
    """Return the kind of a picture that is what was stated.

    Raises:
        PictureError: It is none, of another kind, beyond a limit, or damaged.
    """
    path = Path(file.name)
    content_size(content, path)
    kind = read_header(content, path).kind
    if kind != _KIND_OF[file.mime]:
        raise PictureError(f"a {kind} picture, where {file.mime} was stated", path=path)
    if file.is_original and hashlib.sha1(content, usedforsecurity=False).hexdigest() != file.sha1:
        raise PictureError("other bytes than stated (sha1); fetch it again", path=path)
    return kind


def _write_credits(root: Path, taken: Sequence[_Taken]) -> None:
    """Write who made which picture beside the pictures; what earlier calls wrote of others stays."""
    if not taken:
        return
    path, lines = root / CREDITS, dict[str, Mapping[str, Any]]()
    if path.exists():
        for number, line in read_jsonl(path):
            lines[str(line.get("path", number)) if isinstance(line, dict) else str(number)] = line
    lines |= {picture.path: picture.credit() for picture in taken}
    write_text(path, "".join(f"{json.dumps(line)}\n" for line in lines.values()))


def _record(kb_path: Path, root: Path, taken: Sequence[_Taken], report: FetchReport) -> None:
    with KnowledgeBase.open(kb_path) as kb:
        still = [one for one in taken if one.entity_id in kb and one.entity_id not in kb.kept_out]
    report.passed_over = len(taken) - len(still)
    report.without_licence = sum(not one.file.licence for one in still)
    rows = [
        MapRow(number, one.entity_id, Picture(one.path, one.file.page, one.file.licence))
        for number, one in enumerate(still, start=1)
    ]
    done = change_pictures(kb_path, PictureMap(root, root.resolve(), (), rows, []))
    report.added, report.updated, report.unchanged = done.added, done.updated, done.unchanged
    report.changed, report.revision = done.changed, done.revision
