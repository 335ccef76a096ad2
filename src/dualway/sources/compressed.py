"""Lines of a plain or compressed file by their place in the decompressed text, so that reading can go on there."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, cast

from dualway.errors import DataError

_PIECE = 1 << 20
LONGEST_LINE = 1 << 27  # bytes of one line, beyond which a file is no list of lines

_BROKEN = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


class Block(NamedTuple):
    """Some whole lines of a file. start, end: in bytes of the decompressed text. line: number of the first, from 1."""

    lines: list[bytes]
    start: int
    end: int
    line: int


@contextmanager
def opened(path: Path) -> Generator[IO[bytes]]:
    """Yield the decompressed bytes of a file: .gz and .bz2 by their suffix, several members in a row included.

    Raises:
        DataError: It cannot be read, or is damaged or cut off.
    """
    suffix = path.suffix.lower()
    try:
        file: IO[bytes]
        if suffix == ".gz":
            file = cast("IO[bytes]", gzip.open(path, "rb"))  # noqa: SIM115
        elif suffix == ".bz2":
            file = bz2.open(path, "rb")  # noqa: SIM115
        else:
            file = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path=path) from error
    with file:
        try:
            yield file
        except _BROKEN as error:
            raise DataError(
                f"damaged or cut off: it ends, or cannot be decompressed, in the middle ({error}); fetch it again",
                path=path,
            ) from error
        except OSError as error:
            raise DataError(f"damaged, or cannot be read ({error}); fetch it again", path=path) from error


def read_blocks(path: Path, *, start: int = 0, line: int = 1, size: int = _PIECE) -> Generator[Block]:
    """Yield the lines of a file from a place on, in blocks of about `size` bytes, without their line ends.

    Args:
        path: The file.
        start: A place where a line begins, in the decompressed text.
        line: The number of that line.
        size: Of a block.

    Raises:
        DataError: Damaged, cut off, shorter than `start`, or a line that never ends.
    """
    with opened(path) as file:
        _skip(file, start, path)
        rest = b""
        while True:
            piece = file.read(size)
            content = rest + piece
            end = len(content) if not piece else content.rfind(b"\n") + 1
            if end:
                lines = content[:end].split(b"\n")
                if not lines[-1]:
                    lines.pop()
                yield Block(lines, start, start + end, line)
                start, line = start + end, line + len(lines)
            if not piece:
                return
            rest = content[end:]
            if len(rest) > LONGEST_LINE:
                raise DataError(
                    f"a line of more than {LONGEST_LINE:,} bytes; is it a list of lines?", path=path, line=line
                )


def _skip(file: IO[bytes], start: int, path: Path) -> None:
    if start == 0:
        return
    if isinstance(file, io.BufferedReader):
        if file.seek(0, io.SEEK_END) < start:
            raise DataError("shorter than when it was last read; it was changed: build anew", path=path)
        file.seek(start)
        return
    left = start
    while left:
        piece = file.read(min(left, _PIECE))
        if not piece:
            raise DataError("shorter than when it was last read; it was changed: build anew", path=path)
        left -= len(piece)
