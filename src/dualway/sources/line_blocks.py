"""Large files of lines, plain, gzip or bzip2: read block by block from any position, in constant memory.

Positions count decompressed bytes. A plain file is entered at a position; in a packed one, what lies before it has to
be unpacked again. Members and streams that follow one another in one file (as parallel packers write them) are one.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeVar

from dualway.errors import DataError

BLOCK_BYTES = 1 << 20
LONGEST_LINE = 1 << 24  # the largest items of Wikidata take about a quarter of it

_RAW_BYTES = 1 << 18
_START_BYTES = 200  # of a line that is too long: enough to say what it was
_OTHERS = {b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7z"}
_WAIT_S = 0.2

T = TypeVar("T")


class Block(NamedTuple):
    """Whole lines of a file.

    position: Of its first byte, in decompressed bytes. line: 1-based number of its first line.
    content: The lines; the last of the file may lack its newline.
    length: Bytes that the block takes in the file; more than `content` where `is_cut`.
    read: Bytes of the file on disk that were read so far.
    is_cut: It is the start of one line that is longer than what is taken.
    """

    position: int
    line: int
    content: bytes
    length: int
    read: int
    is_cut: bool = False

    @property
    def next_position(self) -> int:
        """Where the block after this one begins."""
        return self.position + self.length

    @property
    def next_line(self) -> int:
        """The number of the first line of the block after this one."""
        return self.line + (1 if self.is_cut else self.content.count(b"\n"))


def read_blocks(
    path: Path, *, position: int = 0, line: int = 1, size: int = BLOCK_BYTES, longest: int = LONGEST_LINE
) -> Generator[Block]:
    """Yield the lines of a file from a position on, in blocks of about `size` bytes.

    Args:
        path: Plain, gzip or bzip2; told by its first bytes.
        position: Where to begin: 0, or the `next_position` of a block.
        line: The number of the line there.
        size: Bytes of a block, more where a line is longer.
        longest: Bytes of the longest line that is taken whole; of a longer one comes the start, marked as cut.

    Raises:
        DataError: Missing, unreadable, damaged, ending within a packed member, or packed otherwise.
    """
    rest, skipped, read = b"", 0, 0  # `skipped`: bytes of a line that is too long, its start is `rest`
    for piece, read in _pieces(path, position, size):
        if skipped:
            end = piece.find(b"\n") + 1
            skipped += end or len(piece)
            if not end:
                continue
            block = Block(position, line, rest, skipped, read, is_cut=True)
            yield block
            position, line, rest, skipped, piece = block.next_position, block.next_line, b"", 0, piece[end:]
        cut = piece.rfind(b"\n") + 1
        if cut:
            block = Block(position, line, rest + piece[:cut], len(rest) + cut, read)
            yield block
            position, line, rest = block.next_position, block.next_line, piece[cut:]
        else:
            rest += piece
            if len(rest) > longest:
                rest, skipped = rest[:_START_BYTES], len(rest)
    if rest:
        yield Block(position, line, rest, skipped or len(rest), read, is_cut=bool(skipped))


def ahead(values: Iterable[T], number: int = 4) -> Generator[T]:
    """Yield `values`, made by a thread that is up to `number` ahead; what it raises is raised here."""
    queue: Queue[tuple[str, Any]] = Queue(number)
    ended = Event()

    def put(what: str, value: Any) -> None:
        while not ended.is_set():
            try:
                queue.put((what, value), timeout=_WAIT_S)
            except Full:  # look again whether anybody still waits
                continue
            return

    def make() -> None:
        try:
            for value in values:
                put("value", value)
                if ended.is_set():
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = Thread(target=make, daemon=True)
    thread.start()
    try:
        while (message := queue.get())[0] == "value":
            yield message[1]
        if message[0] == "error":
            raise message[1]
    finally:
        ended.set()
        thread.join()


def _pieces(path: Path, position: int, size: int) -> Iterator[tuple[bytes, int]]:
    """Yield (bytes, bytes of the file on disk that were read) from a position on."""
    try:
        with path.open("rb") as file:
            unpacker = _unpacker(path, file.read(6))
            file.seek(0 if unpacker else position)
            if unpacker is None:
                while piece := file.read(size):
                    yield piece, file.tell()
                return
            for piece in _unpacked(path, file, unpacker, size):
                if position < len(piece):
                    yield piece[position:], file.tell()
                position = max(position - len(piece), 0)
    except IsADirectoryError as error:
        raise DataError("is a folder, expected a file", path=path) from error
    except FileNotFoundError as error:
        raise DataError("no such file", path=path) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path=path) from error


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gunzip:
    """A member of a gzip file, with the face of `bz2.BZ2Decompressor`."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS + 16)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        unpacked = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        # What is full may have more to come even when all input is taken.
        self.needs_input = not self._inner.unconsumed_tail and len(unpacked) < max_length
        return unpacked


def _unpacker(path: Path, start: bytes) -> Callable[[], _Unpacker] | None:
    """Return what unpacks a file that begins so; None for a plain one."""
    if start.startswith(b"\x1f\x8b"):
        return _Gunzip
    if start.startswith(b"BZh"):
        return bz2.BZ2Decompressor
    for magic, name in _OTHERS.items():
        if start.startswith(magic):
            raise DataError(f"is packed with {name}, which is not read; unpack it, or pack it with gzip", path=path)
    return None


def _unpacked(path: Path, file: BinaryIO, new: Callable[[], _Unpacker], size: int) -> Iterator[bytes]:
    """Yield the content of the members of a packed file, one after another."""
    done, raw = 0, file.read(_RAW_BYTES)
    while raw:
        member = new()
        while not member.eof:
            if member.needs_input and not raw and not (raw := file.read(_RAW_BYTES)):
                problem = f"ends in the middle, after {done:,} unpacked bytes; it did not come whole, fetch it again"
                raise DataError(problem, path=path)
            try:
                piece = member.decompress(raw, size)
            except (zlib.error, OSError, EOFError, ValueError) as error:
                problem = f"damaged after {done:,} unpacked bytes ({error}); fetch it again"
                raise DataError(problem, path=path) from error
            raw = b""
            done += len(piece)
            if piece:
                yield piece
        # Some packers fill up what follows a member with zeros.
        raw = member.unused_data.lstrip(b"\0")
        while not raw and (more := file.read(_RAW_BYTES)):
            raw = more.lstrip(b"\0")
