"""Files read with clear errors and written whole or not at all."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Generator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from dualway.errors import DataError, StorageError
from dualway.text import repair

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
LONGEST_LINE = 1 << 27  # bytes, beyond which a file is no list of lines
_STEM = 40  # characters of a name that its temporary name keeps: a long name stays within what file systems take


@contextmanager
def storage_errors(path: Path) -> Generator[None]:
    """Turn a failed write below `path` into a StorageError that names path and remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError(
                f"{path}: the disk is full; nothing was left half-written. Free space and run again."
            ) from error
        if error.errno in _REFUSED:
            raise StorageError(f"{path}: no permission to write here; choose another place or its owner.") from error
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def atomic_path(path: Path) -> Generator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s place, on failure it is removed.

    Raises:
        StorageError: Disk full, read-only folder, no permission.
    """
    path = path.resolve() if path.is_symlink() else path
    check_target(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:_STEM]}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with _full_disk_errors(path):
            yield temporary
        with storage_errors(path):
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Generator[Path]:
    """Yield a temporary folder beside `path`; on success it takes `path`'s place (which must not exist or be empty).

    Raises:
        StorageError: `path` exists and is not empty, disk full, read-only, no permission.
    """
    with storage_errors(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise StorageError(f"{path}: already exists; remove it or choose another --out")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:_STEM]}.", suffix=".tmp", dir=path.parent))
    try:
        with _full_disk_errors(path):
            yield temporary
        with storage_errors(path):
            temporary.chmod(0o777 & ~_umask())
            if path.exists():
                path.rmdir()
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _full_disk_errors(path: Path) -> Generator[None]:
    """Turn a write that the disk did not take into a StorageError; another error of the caller's code stays its own."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL | {errno.EROFS}:
            raise
        with storage_errors(path):
            raise


@contextmanager
def locked(path: Path, busy: str) -> Generator[None]:
    """Hold the lock in the file `path`, which is made; the system takes it from a process that dies.

    Raises:
        StorageError: Another process holds it; the message begins with `busy`.
    """
    import fcntl  # there is none on Windows

    with storage_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(f"{busy}; run again when it has ended") from error
        yield
    finally:
        os.close(handle)


def check_target(path: Path) -> None:
    """Check before long work that a file can be written at `path` after it; nothing is left behind.

    Raises:
        StorageError: A folder or a device stands there, or the folder around it cannot be written to.
    """
    with storage_errors(path):
        if path.exists() and not path.is_file():
            raise StorageError(f"{path}: not an ordinary file; give the name of a file")
        folder = path.absolute().parent
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, readable by a person, whole or not at all; lone surrogates become U+FFFD."""
    write_text(path, repair(json.dumps(value, ensure_ascii=False, indent=1)) + "\n")


def read_text(path: Path) -> str:
    """Read a UTF-8 file (a byte order mark is skipped).

    Raises:
        DataError: Missing, unreadable, or not UTF-8; names file and line.
    """
    try:
        content = path.read_bytes()
    except IsADirectoryError as error:
        raise DataError("is a folder, expected a file", path=path) from error
    except FileNotFoundError as error:
        raise DataError("no such file", path=path) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path=path) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"not UTF-8: byte 0x{content[error.start]:02x}; convert the file to UTF-8",
            path=path,
            line=content.count(b"\n", 0, error.start) + 1,
        ) from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: Missing, not UTF-8, or broken JSON; names file and line.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"broken JSON: {error.msg}, column {error.colno}", path=path, line=error.lineno) from error
    except RecursionError as error:
        raise DataError("broken JSON: nested too deeply", path=path) from error
    except ValueError as error:
        raise DataError(f"broken JSON: {error}", path=path) from error


def read_jsonl(path: Path) -> Generator[tuple[int, Any]]:
    """Yield (1-based line, value) of each line of a JSON Lines file, empty lines skipped, in constant memory.

    Raises:
        DataError: As `read_json` and `read_lines`; names file and line.
    """
    with closing(read_lines(path)) as lines:
        for number, raw in lines:
            if raw.strip():
                yield number, _parse_line(raw, path, number)


def read_lines(path: Path) -> Generator[tuple[int, bytes]]:
    """Yield (1-based line, its bytes with the line end) of a file, decompressed where its name ends in .gz.

    Raises:
        DataError: Missing, unreadable, damaged, or a line of more than `LONGEST_LINE` bytes.
    """
    number = 0
    try:
        # A line is read up to a limit: a small compressed file may hold one that no memory takes.
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(iter(partial(file.readline, LONGEST_LINE + 1), b""), start=1):
                if len(raw) > LONGEST_LINE:
                    raise DataError(f"a line of more than {LONGEST_LINE:,} bytes", path=path, line=number)
                yield number, raw
    except IsADirectoryError as error:
        raise DataError("is a folder, expected a file", path=path) from error
    except FileNotFoundError as error:
        raise DataError("no such file", path=path) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        problem = f"damaged or cut off: it cannot be decompressed any further ({error})"
        raise DataError(problem, path=path, line=number + 1) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path=path) from error


def _parse_line(raw: bytes, path: Path, number: int) -> Any:
    try:
        return json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(
            f"not UTF-8: byte 0x{raw[error.start]:02x}; convert the file to UTF-8", path=path, line=number
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(f"broken JSON: {error.msg}, column {error.colno}", path=path, line=number) from error
    except RecursionError as error:
        raise DataError("broken JSON: nested too deeply", path=path, line=number) from error
    except ValueError as error:
        raise DataError(f"broken JSON: {error}", path=path, line=number) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
