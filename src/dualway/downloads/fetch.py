"""Fetches a plan's files: resumed after a kill, held against their hashes before they get their names, unpacked."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import httpx2

from dualway.downloads.catalogue import Entry
from dualway.downloads.lock import Lock, write_lock
from dualway.downloads.planning import Figures, Plan, PlannedFile
from dualway.downloads.transport import PassingError, Web, is_loopback, received
from dualway.downloads.unpack import check_space, needed_bytes, unpack
from dualway.errors import DownloadError
from dualway.storage import storage_errors

# Called with bytes so far, bytes in all, and the file at work.
Progress = Callable[[int, int, str], object]

_CHUNK = 2**20
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_MAX_HEADER = 100 * 2**20  # of a safetensors file


def fetch_plan(
    plan: Plan,
    folder: Path,
    progress: Progress | None = None,
    *,
    wait: Callable[[float], object] = time.sleep,
) -> dict[str, Path]:
    """Fetch what a plan names into `folder`, a folder each, and return these by name.

    What is there already and is right is not fetched again; what is there and is not right is never replaced. What was
    fetched is recorded in `NAME.lock.json` beside the folder.

    Args:
        plan: From `plan`, with all figures.
        folder: Where to.
        progress: Called with bytes so far, bytes in all, and the path at work.
        wait: Sleeps between attempts.

    Raises:
        DownloadError: No network, or what came is not what was planned; names the way by hand.
        StorageError: The disk is full or read-only.
    """
    local = plan.base_url is not None and is_loopback(plan.base_url)
    with Web(local=local, wait=wait) as web:
        job = _Job(plan, folder, web, progress or (lambda done, total, path: None))
        for entry in plan.entries:
            try:
                job.run(entry)
            except DownloadError as error:
                raise DownloadError(error.problem, name=entry.name, place=folder / entry.name) from error
    return {entry.name: folder / entry.name for entry in plan.entries}


class _Job:
    """One plan at work."""

    def __init__(self, plan: Plan, folder: Path, web: Web, progress: Progress) -> None:
        self._plan, self._folder, self._web, self._progress = plan, folder, web, progress
        self._done = 0
        check_space(folder, sum(self._missing_bytes(planned) for planned in plan.files))

    def run(self, entry: Entry) -> None:
        """Fetch, unpack and record one entry."""
        lock = Lock.read(self._folder, entry)
        hashes: dict[str, tuple[int, str]] = {}
        for planned in self._plan.files:
            if planned.entry is not entry:
                continue
            figures = _agreed(planned, lock)
            target = self._target(planned)
            if target.exists():
                found = _check_present(target, figures)
            else:
                found = _fetch(planned, figures, target, self._web, self._report(planned))
            self._done += found[0]
            self._progress(self._done, self._plan.total_bytes, planned.file.path)
            hashes[planned.file.path] = found
            if planned.file.unpack:
                inside = target.with_suffix("")
                check_space(inside, 0 if inside.exists() else needed_bytes(target))
                unpack(target, inside)
        write_lock(self._folder, entry, hashes)

    def _target(self, planned: PlannedFile) -> Path:
        return self._folder / planned.entry.name / planned.file.path

    def _missing_bytes(self, planned: PlannedFile) -> int:
        target = self._target(planned)
        return 0 if target.exists() else max(0, (planned.figures.size or 0) - _Part(target, planned.address).size)

    def _report(self, planned: PlannedFile) -> Callable[[int], object]:
        return lambda size: self._progress(self._done + size, self._plan.total_bytes, planned.file.path)


def _agreed(planned: PlannedFile, lock: Lock) -> Figures:
    """Return what a file is held against: the plan's figures and the lock's, which must not differ."""
    locked = Figures(*lock.figures(planned.file.path))
    if planned.figures.contradicts(locked):
        raise DownloadError(
            f"{planned.file.path} is not the file that {lock.path} records; to accept the new one remove both"
        )
    figures = planned.figures.filled_from(locked)
    if not figures.are_enough:
        raise DownloadError(f"neither size nor hash of {planned.file.path} is known; make the plan with the host asked")
    return figures


def _check_present(target: Path, figures: Figures) -> tuple[int, str]:
    """Return size and SHA-256 of a file that is there already.

    Raises:
        DownloadError: It is not the right one.
    """
    problem, found = _compare(target, figures)
    if problem is not None:
        raise DownloadError(f"{target} is there and is another file ({problem}); move it away")
    return found


def _fetch(
    planned: PlannedFile, figures: Figures, target: Path, web: Web, report: Callable[[int], object]
) -> tuple[int, str]:
    """Fetch one file and return its size and SHA-256; it gets its name when it has been found right."""
    part = _Part(target, planned.address)
    while True:
        was_begun = part.size > 0
        web.patiently(lambda: _receive(web, planned.address, part, figures.size or 0, report))
        problem, found = _compare(part.path, figures)
        problem = problem or _format_problem(part.path, target.suffix)
        if problem is None:
            part.publish()
            return found
        part.discard()
        if not was_begun:
            raise DownloadError(f"what came from {planned.address} is not the planned file: {problem}")
        # What an earlier run had left may be the part that was wrong: once more, from the beginning.


def _receive(web: Web, address: str, part: _Part, size: int, report: Callable[[int], object]) -> None:
    """Fetch what a part lacks of its `size` bytes, with one request."""
    begun = part.size
    if begun > size:
        part.discard()
        begun = 0
    if begun == size and part.path.exists():
        return
    with web.get(address, part.range_headers() if begun else None) as response:
        if response.status_code == 416:
            part.discard()
            raise PassingError(f"{address}: the host refuses to go on after {begun:,} bytes")
        _check_kind(response, address)
        if begun and not part.goes_on_with(response, size):
            part.discard()
            begun = 0
            if response.status_code == 206:
                raise PassingError(f"{address}: another part came than was asked for")
        _check_length(response, address, size - begun)
        part.note_origin(response)
        part.append(response, address, size, report)


def _check_kind(response: httpx2.Response, address: str) -> None:
    """Refuse a page for people (a login, an error, a captive portal) that came instead of a file."""
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise DownloadError(f"{address}: a web page came instead of the file")
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise DownloadError(f"{address}: the host packs the file ({encoding[:20]}), which was not asked for")


def _check_length(response: httpx2.Response, address: str, expected: int) -> None:
    stated = response.headers.get("Content-Length")
    if stated is not None and stated != str(expected):
        raise DownloadError(f"{address}: {stated[:20]} bytes would come where {expected:,} are expected")


class _Part:
    """The unfinished file beside its target, and beside it where its bytes came from."""

    def __init__(self, target: Path, address: str) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._target, self._address = target, address
        self._origin = target.with_name(f"{target.name}.part-origin")

    @property
    def size(self) -> int:
        """Bytes that are there and came from this address; others are worth nothing."""
        try:
            return self.path.stat().st_size if self._noted().get("address") == self._address else 0
        except OSError:
            return 0

    def range_headers(self) -> dict[str, str]:
        """Return the headers that ask for the rest, if the file is still the same."""
        tag = self._noted().get("etag", "")
        headers = {"Range": f"bytes={self.size}-"}
        return {**headers, "If-Range": tag} if tag and not tag.startswith("W/") else headers

    def goes_on_with(self, response: httpx2.Response, size: int) -> bool:
        """Tell whether an answer is the rest of this part."""
        stated = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status_code != 206 or stated is None:
            return False
        tags = {self._noted().get("etag", ""), response.headers.get("ETag", "")} - {""}
        return int(stated[1]) == self.size and stated[2] in {"*", str(size)} and len(tags) <= 1

    def note_origin(self, response: httpx2.Response) -> None:
        """Note where the bytes come from, before the first of them."""
        if self._noted().get("address") != self._address:
            self.discard()
        value = {"address": self._address, "etag": response.headers.get("ETag", "")}
        with storage_errors(self._target):
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._origin.write_text(json.dumps(value), encoding="utf-8")

    def append(self, response: httpx2.Response, address: str, size: int, report: Callable[[int], object]) -> None:
        """Write what comes.

        Raises:
            DownloadError: More comes than `size`; what was written is thrown away.
            PassingError: Less comes; what was written is kept.
        """
        with storage_errors(self._target), self.path.open("ab") as file:
            written = file.tell()
            for chunk in received(response, address):
                written += len(chunk)
                if written > size:
                    self.discard()
                    raise DownloadError(f"{address}: sends more than the {size:,} bytes that are expected")
                file.write(chunk)
                report(written)
        if written < size:
            raise PassingError(f"{address}: ended after {written:,} of {size:,} bytes")

    def discard(self) -> None:
        """Remove the part."""
        with storage_errors(self._target):
            self.path.unlink(missing_ok=True)
            self._origin.unlink(missing_ok=True)

    def publish(self) -> None:
        """Give the finished part its name."""
        with storage_errors(self._target):
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())
            self.path.replace(self._target)
            self._origin.unlink(missing_ok=True)

    def _noted(self) -> dict[str, str]:
        try:
            value = json.loads(self._origin.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        fields = cast("dict[Any, Any]", value) if isinstance(value, dict) else {}
        return {str(key): text for key, text in fields.items() if isinstance(text, str) and text.isascii()}


def _compare(path: Path, figures: Figures) -> tuple[str | None, tuple[int, str]]:
    """Return how a file differs from what it should be (None: it does not), and its size and SHA-256."""
    size, found = 0, ("", "")
    with storage_errors(path):
        size = path.stat().st_size
        found = _hashes(path, size)
    problem = None
    if size != figures.size:
        problem = f"{size:,} bytes instead of {figures.size:,}"
    elif figures.sha256 not in {None, found[0]}:
        problem = f"sha256 {found[0]} instead of {figures.sha256}"
    elif figures.git_sha1 not in {None, found[1]}:
        problem = f"git sha1 {found[1]} instead of {figures.git_sha1}"
    return problem, (size, found[0])


def _hashes(path: Path, size: int) -> tuple[str, str]:
    """Return the SHA-256 of a file, and the SHA-1 by which Git calls it."""
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            sha256.update(piece)
            sha1.update(piece)
    return sha256.hexdigest(), sha1.hexdigest()


def _format_problem(path: Path, suffix: str) -> str | None:
    """Return why a file called .safetensors is none: its head is a length and JSON, so nothing in it can run."""
    if suffix != ".safetensors":
        return None
    with storage_errors(path), path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = path.stat().st_size
        head = file.read(length) if 0 < length <= min(_MAX_HEADER, size - 8) else b""
    try:
        return None if isinstance(json.loads(head), Mapping) else "not a safetensors file"
    except (ValueError, RecursionError):
        return "not a safetensors file"
