"""Unpacks zip and tar archives that nobody has looked into: nothing outside the folder, no links, no bombs."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

from dualway.errors import DownloadError, StorageError
from dualway.storage import atomic_folder, storage_errors

_CHUNK = 2**18
_MAX_HEADER = 2**20  # bytes read for one record of a tar file's own
# OSError is what gzip and bz2 raise for data that is not theirs.
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, NotImplementedError, RuntimeError),
)


@dataclass(frozen=True)
class Limits:
    """What an archive may hold. None is as much as an archive of its size can honestly hold."""

    members: int = 200_000
    size: int | None = None
    depth: int = 20

    def bytes_of(self, archive: Path) -> int:
        """Return how many bytes may come out of an archive: a hundred times its own, at least 100 MB."""
        return self.size if self.size is not None else max(100_000_000, 100 * archive.stat().st_size)


class _Member(NamedTuple):
    """A file of an archive: its path below the folder and its content."""

    path: PurePosixPath
    content: IO[bytes]


def unpack(archive: Path, folder: Path, *, limits: Limits = Limits()) -> None:
    """Unpack an archive into `folder`, whole or not at all; a folder that has exactly its content is left as it is.

    Raises:
        DownloadError: Damaged, of another kind, or hostile (says how); or the folder holds something else.
        StorageError: The disk is full, no permission.
    """
    with storage_errors(folder):
        is_there = folder.is_dir() and any(folder.iterdir())
    if is_there:
        if not _is_unpacked(archive, folder, limits):
            raise DownloadError(f"{folder} holds something else than {archive.name}; remove it to unpack it again")
        return
    with atomic_folder(folder) as temporary:
        for member in _members(archive, limits):
            target = temporary / member.path
            with storage_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    shutil.copyfileobj(member.content, file, _CHUNK)


def _is_unpacked(archive: Path, folder: Path, limits: Limits) -> bool:
    """Tell whether each file of an archive lies in a folder as it is in the archive."""
    return all(_is_same(member.content, folder / member.path) for member in _members(archive, limits))


def _is_same(content: IO[bytes], path: Path) -> bool:
    if not path.is_file():
        return False
    with storage_errors(path), path.open("rb") as file:
        while True:
            piece = content.read(_CHUNK)
            if piece != file.read(len(piece) or 1):
                return False
            if not piece:
                return True


def _members(archive: Path, limits: Limits) -> Generator[_Member]:
    """Yield the files of an archive, each checked before its content is read.

    Raises:
        DownloadError: Damaged, of no known kind, or hostile.
    """
    seen: set[str] = set()
    total = _Counter(limits.bytes_of(archive), archive.name)
    with _damage_errors(archive.name):
        opened = _zip_files if zipfile.is_zipfile(archive) else _tar_files
        with closing(opened(archive, total)) as members:
            for number, (name, content) in enumerate(members, start=1):
                if number > limits.members:
                    raise DownloadError(f"{archive.name}: more than {limits.members:,} files in it")
                path = _safe_path(name, archive.name, limits, seen)
                yield _Member(path, cast("IO[bytes]", _Counted(content, total, archive.name)))


@contextmanager
def _damage_errors(archive: str) -> Generator[None]:
    """Say of whatever reading an archive raises that the archive is damaged."""
    try:
        yield
    except _DAMAGE as error:
        raise DownloadError(f"{archive}: a damaged archive, or of an unknown kind ({error})") from error


def _safe_path(name: str, archive: str, limits: Limits, seen: set[str]) -> PurePosixPath:
    """Return the path of a member below the folder.

    Raises:
        DownloadError: It would lie elsewhere, cannot be a file's name everywhere, or is there already.
    """
    path = PurePosixPath(name)
    parts = path.parts
    is_odd = any(character in '\\:*?"<>|' or unicodedata.category(character).startswith("C") for character in name)
    if path.is_absolute() or not parts or ".." in parts or is_odd or len(parts) > limits.depth or len(name) > 400:
        raise DownloadError(f"{archive}: holds a file with the name {name[:80]!r}, which is not unpacked")
    key = unicodedata.normalize("NFC", path.as_posix()).casefold()
    if key in seen:
        raise DownloadError(f"{archive}: holds two files of the name {name[:80]!r}")
    seen.add(key)
    return path


class _Counter:
    """Counts what comes out of an archive."""

    def __init__(self, limit: int, name: str) -> None:
        self._left, self._limit, self._name = limit, limit, name

    def take(self, num_bytes: int) -> None:
        """Count bytes.

        Raises:
            DownloadError: There are more than the archive may hold.
        """
        self._left -= num_bytes
        if self._left < 0:
            raise DownloadError(f"{self._name}: more than {self._limit:,} bytes come out of it, as of an archive bomb")


class _Counted:
    """A file whose bytes are counted as they are read, whatever the archive states of its size."""

    def __init__(self, file: IO[bytes], counter: _Counter, archive: str) -> None:
        self._file, self._counter, self._archive = file, counter, archive

    def read(self, size: int = -1) -> bytes:
        with _damage_errors(self._archive):
            piece = self._file.read(size if size >= 0 else _CHUNK)
        self._counter.take(len(piece))
        return piece


def _zip_files(archive: Path, total: _Counter) -> Generator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.flag_bits & 1:
                raise DownloadError(f"{archive.name}: {info.filename[:80]!r} is encrypted")
            if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise DownloadError(
                    f"{archive.name}: {info.filename[:80]!r} is a link or a device, which is not unpacked"
                )
        for info in infos:
            if not info.is_dir():
                with opened.open(info) as content:
                    yield info.filename, content


def _tar_files(archive: Path, total: _Counter) -> Generator[tuple[str, IO[bytes]]]:
    with _decompressed(archive) as stream:
        bounded = cast("Any", _Bounded(stream, archive.name, total))
        with tarfile.open(fileobj=bounded, mode="r:") as opened:
            for info in opened:
                if info.isdir():
                    continue
                if not info.isreg():
                    raise DownloadError(
                        f"{archive.name}: {info.name[:80]!r} is a link or a device, which is not unpacked"
                    )
                content = opened.extractfile(info)
                if content is not None:
                    yield info.name, content


@contextmanager
def _decompressed(archive: Path) -> Generator[IO[bytes]]:
    with archive.open("rb") as file:
        head = file.read(6)
    openers = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7zXZ\x00": lzma.open}
    opener = next((opener for magic, opener in openers.items() if head.startswith(magic)), None)
    with archive.open("rb") if opener is None else opener(archive, "rb") as stream:
        yield cast("IO[bytes]", stream)


class _Bounded:
    """A tar file's bytes after decompression: counted, and never many of them for a header.

    Content is read in pieces; only the records about members (long names and such) are read whole, as long as they
    say they are.
    """

    def __init__(self, file: IO[bytes], name: str, total: _Counter) -> None:
        self._file, self._name, self._total = file, name, total

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > _MAX_HEADER:
            raise DownloadError(f"{self._name}: a record of {size:,} bytes about one of its files")
        return self._file.read(size)

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        before = self._file.tell()
        after = before
        while whence == 0 and after < offset:  # decompressing what is passed over; counted
            piece = self._file.read(min(_CHUNK, offset - after))
            if not piece:
                return after
            self._total.take(len(piece))
            after += len(piece)
        return after if after == offset else self._file.seek(offset, whence)

    def close(self) -> None:
        self._file.close()


def needed_bytes(archive: Path) -> int:
    """Return how many bytes an archive says it needs; 0 where it does not say (a compressed tar file)."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return sum(info.file_size for info in opened.infolist())
    except _DAMAGE:
        return 0


def check_space(folder: Path, num_bytes: int) -> None:
    """Check that a disk has room.

    Raises:
        StorageError: It has less; names both.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if num_bytes > free:
        raise StorageError(
            f"{folder}: {num_bytes:,} bytes are needed and {free:,} are free; free space or choose another place"
        )
