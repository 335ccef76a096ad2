"""Files of pictures: read whole, within a limit, and not through links that lead out of the folders they belong to."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from dualway.errors import PictureError
from dualway.images.limits import MAX_BYTES


def read_picture(path: Path, folders: Sequence[Path] | None = None) -> bytes:
    """Return the bytes of a picture's file.

    Args:
        path: The file.
        folders: Those that a link may not lead out of (`leads_out`); None: links are followed wherever they lead.

    Raises:
        PictureError: Missing, not a regular file (a folder, a pipe, a device), larger than MAX_BYTES, or a link that
            leads out of `folders`.
    """
    try:
        if folders is not None and (target := leads_out(path, folders)) is not None:
            raise PictureError(
                f"a link out of the folder, to {str(target)!r}; put the picture itself there, or name where it lies",
                path=path,
            )
        return _read(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PictureError("no such picture", path=path) from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file system takes
        reason = getattr(error, "strerror", None) or error
        raise PictureError(f"cannot be read ({reason}); check its name and rights", path=path) from error


def leads_out(path: Path, folders: Sequence[Path]) -> Path | None:
    """Return where a link on the way to `path` leads, if that is out of the folders; None if nothing does.

    The folders themselves may be links: what counts is where they are. A relative path may leave its folder by `..`,
    as its words say so; but no link may be met on that way. An absolute path to somewhere else is what it says.

    Args:
        path: A path in one of the folders, or an absolute one.
        folders: The folders.
    """
    there = Path(os.path.realpath(path))
    homes = [Path(os.path.realpath(folder)) for folder in folders]
    if any(there.is_relative_to(home) for home in homes):
        return None
    written = [
        Path(os.path.abspath(home / way.relative_to(folder.absolute())))  # noqa: PTH100 - `resolve` would follow links
        for way in (path.absolute(), Path(os.path.abspath(path)))  # noqa: PTH100
        for folder, home in zip(folders, homes, strict=True)
        if way.is_relative_to(folder.absolute())
    ]
    if there in written or not written:
        return None
    return there


def _read(path: Path) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise PictureError("not a file", path=path)
    if status.st_size > MAX_BYTES:
        raise PictureError(f"{status.st_size:,} bytes, more than {MAX_BYTES:,}; scale it down", path=path)
    with path.open("rb") as file:
        return file.read(status.st_size)
