"""From names to a plan: which files, from where, how large, by which hash, under which licence; nothing is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from dualway.downloads.catalogue import Entry, Host, RemoteFile, find_entry
from dualway.downloads.lock import Lock
from dualway.downloads.transport import Web, is_loopback
from dualway.errors import DownloadError, UsageError

_SHA1, _SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
_MAX_SIZE = 2**40
_PICKLED = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack", ".npy", ".npz", ".joblib"}


@dataclass(frozen=True)
class Figures:
    """What is known of a file: bytes, SHA-256, and Git's own hash of it (SHA-1 of "blob SIZE", NUL, content)."""

    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None

    @property
    def are_enough(self) -> bool:
        """True when a file can be held against them."""
        return self.size is not None and (self.sha256 is not None or self.git_sha1 is not None)

    def contradicts(self, other: Figures) -> bool:
        """Tell whether one of the figures that both have differs."""
        pairs = ((self.size, other.size), (self.sha256, other.sha256), (self.git_sha1, other.git_sha1))
        return any(a is not None and b is not None and a != b for a, b in pairs)

    def filled_from(self, other: Figures) -> Figures:
        """Return these figures, and the other's where there are none."""
        return Figures(
            self.size if self.size is not None else other.size,
            self.sha256 or other.sha256,
            self.git_sha1 or other.git_sha1,
        )


@dataclass(frozen=True)
class PlannedFile:
    """A file to fetch: where from, what is known of it, and who says so ("dualway", "lock file" or "host")."""

    entry: Entry
    file: RemoteFile
    address: str
    figures: Figures
    stated_by: str


@dataclass(frozen=True)
class Plan:
    """What would be downloaded."""

    entries: tuple[Entry, ...]
    files: tuple[PlannedFile, ...]
    base_url: str | None = None

    @property
    def total_bytes(self) -> int:
        """Bytes of all files whose size is known."""
        return sum(planned.figures.size or 0 for planned in self.files)

    def describe(self) -> str:
        """Return a table of what would be downloaded: file, revision, size, hash, licence."""
        parts = [_describe(entry, [f for f in self.files if f.entry is entry]) for entry in self.entries]
        unknown = sum(planned.figures.size is None for planned in self.files)
        total = f"total  {self.total_bytes:,} bytes in {len(self.files)} files"
        more = f", and {unknown} files whose size the host is asked for" if unknown else ""
        return "\n\n".join([*parts, total + more])

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return {
            "total_bytes": self.total_bytes,
            "entries": [
                {
                    "name": entry.name,
                    "kind": entry.kind,
                    "title": entry.title,
                    "page": entry.page,
                    "revision": entry.revision,
                    "licence": entry.licence,
                    "citation": entry.citation,
                    "note": entry.note,
                    "files": [_file_dict(planned) for planned in self.files if planned.entry is entry],
                }
                for entry in self.entries
            ],
        }


def plan(names: Sequence[str], *, folder: Path | None = None, base_url: str | None = None, ask: bool = True) -> Plan:
    """Return what downloading `names` would fetch.

    Args:
        names: Of the catalogue.
        folder: Where it would go. Figures that a lock file in it has are taken from there, and no host is asked.
        base_url: A mirror: `https://HOST/PATH` is fetched from `BASE_URL/HOST/PATH`.
        ask: Ask the host for figures that are known neither here nor by a lock file; else they stay None.

    Raises:
        UsageError: A name that is not in the catalogue, or a `base_url` that is not https (or this machine's http).
        DownloadError: The host cannot be asked, or states something else than is known.
    """
    _check_base(base_url)
    entries = tuple(dict.fromkeys(find_entry(name) for name in names))
    files = [planned for entry in entries for planned in _known(entry, folder, base_url)]
    if ask and any(not planned.figures.are_enough for planned in files):
        with Web(local=base_url is not None and is_loopback(base_url)) as web:
            files = [planned for entry in entries for planned in _asked(entry, files, base_url, web)]
    return Plan(entries, tuple(files), base_url)


def mirrored(address: str, base_url: str | None) -> str:
    """Return where a mirror keeps an address."""
    return address if base_url is None else f"{base_url.rstrip('/')}/{address.removeprefix('https://')}"


def _check_base(base_url: str | None) -> None:
    if base_url is None or base_url.startswith("https://") or is_loopback(base_url):
        return
    raise UsageError(f"--base-url {base_url}: give an https address (plain http only to this machine)")


def _known(entry: Entry, folder: Path | None, base_url: str | None) -> Iterable[PlannedFile]:
    """Yield an entry's files with what the catalogue knows, then the lock file."""
    lock = Lock() if folder is None else Lock.read(folder, entry)
    for file in entry.files:
        _check_kind(entry, file)
        own, locked = Figures(file.size, file.sha256), Figures(*lock.figures(file.path))
        if own.contradicts(locked):
            raise DownloadError(f"{lock.path} states other figures of {file.path} than this version", name=entry.name)
        figures = own.filled_from(locked)
        stated_by = "dualway" if own.are_enough else "lock file" if figures.are_enough else ""
        yield PlannedFile(entry, file, mirrored(entry.address(file), base_url), figures, stated_by)


def _check_kind(entry: Entry, file: RemoteFile) -> None:
    if Path(file.path).suffix.lower() in _PICKLED:
        raise DownloadError(
            f"{file.path} may hold code that runs when it is opened; weights are safetensors only", name=entry.name
        )


def _asked(entry: Entry, files: Iterable[PlannedFile], base_url: str | None, web: Web) -> Iterable[PlannedFile]:
    """Yield an entry's files with what the host states added where something is missing."""
    own = [planned for planned in files if planned.entry is entry]
    if all(planned.figures.are_enough for planned in own):
        yield from own
        return
    try:
        stated = _statement(entry, web.json(mirrored(entry.figures_address, base_url)))
    except DownloadError as error:
        raise DownloadError(error.problem, name=entry.name) from error
    for planned in own:
        if planned.figures.are_enough:
            yield planned
            continue
        figures = stated.get(planned.file.source, Figures())
        if planned.figures.contradicts(figures):
            raise DownloadError(f"the host states other figures of {planned.file.path} than are known", name=entry.name)
        figures = planned.figures.filled_from(figures)
        if not figures.are_enough:
            raise DownloadError(f"the host states no size or hash of {planned.file.source}", name=entry.name)
        yield replace(planned, figures=figures, stated_by="host")


def _statement(entry: Entry, answer: Any) -> dict[str, Figures]:
    """Return the figures by path in a host's answer; what is not of the expected form is left out, so it is missed."""
    if not isinstance(answer, dict):
        raise DownloadError("the host's answer is not of the expected form")
    fields = cast("dict[str, Any]", answer)
    if entry.host is Host.GITHUB:
        listed, key, read = fields.get("tree"), "path", _github_figures
    else:
        if fields.get("sha") != entry.revision:
            raise DownloadError(f"the host answers for another revision than {entry.revision}")
        listed, key, read = fields.get("siblings"), "rfilename", _hub_figures
    items = cast("list[Any]", listed) if isinstance(listed, list) else []
    records = [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]
    return {record[key]: read(record) for record in records if isinstance(record.get(key), str)}


def _github_figures(record: dict[str, Any]) -> Figures:
    if record.get("type") != "blob":
        return Figures()
    return Figures(_size(record.get("size")), None, _hash(record.get("sha"), _SHA1))


def _hub_figures(record: dict[str, Any]) -> Figures:
    """A large file lies apart, and Git has but a pointer to it: then Git's hash is the pointer's."""
    large = record.get("lfs")
    if isinstance(large, dict):
        fields = cast("dict[str, Any]", large)
        return Figures(_size(fields.get("size")), _hash(fields.get("sha256"), _SHA256), None)
    return Figures(_size(record.get("size")), None, _hash(record.get("blobId"), _SHA1))


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_SIZE else None


def _hash(value: Any, form: re.Pattern[str]) -> str | None:
    return value if isinstance(value, str) and form.fullmatch(value) else None


def _describe(entry: Entry, files: Sequence[PlannedFile]) -> str:
    rows = [(f.file.path, _size_text(f.figures), _hash_text(f.figures), f.stated_by or "-") for f in files]
    rows.insert(0, ("file", "bytes", "hash", "stated by"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    table = [
        f"  {path:<{widths[0]}}  {size:>{widths[1]}}  {hash:<{widths[2]}}  {by}".rstrip()
        for path, size, hash, by in rows
    ]
    head = [
        f"{entry.name}  ({entry.kind})  {entry.title}",
        f"  from      {entry.page}",
        f"  revision  {entry.revision}",
        f"  licence   {entry.licence}",
        f"  cite      {entry.citation}",
        f"  note      {entry.note}",
    ]
    return "\n".join([*head, *table])


def _size_text(figures: Figures) -> str:
    return "asked first" if figures.size is None else f"{figures.size:,}"


def _hash_text(figures: Figures) -> str:
    if figures.sha256 is not None:
        return f"sha256 {figures.sha256}"
    return "asked first" if figures.git_sha1 is None else f"git sha1 {figures.git_sha1}"


def _file_dict(planned: PlannedFile) -> dict[str, Any]:
    return {
        "path": planned.file.path,
        "address": planned.address,
        "bytes": planned.figures.size,
        "sha256": planned.figures.sha256,
        "git_sha1": planned.figures.git_sha1,
        "stated_by": planned.stated_by or None,
    }
