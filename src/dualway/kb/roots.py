"""Where pictures lie: the folders that a knowledge base takes them from, and paths that may not lead out of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from dualway.errors import PictureError


def absolute(path: Path | str) -> Path:
    """Return a path as the user sees it, without `..`: absolute, links not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100


class PictureRoots:
    """The folders that pictures are taken from, as the manifest states them, and where they are now.

    The first is where relative paths start; absolute paths have to lie in one of them. A folder that is no longer
    where it was is looked for from the knowledge base's folder, so that both can be moved together.

    Args:
        kb: The knowledge base's folder.
        picture_root: The first one; "" is the knowledge base's folder itself.
        ways: All of them, each with the way that led to it from the knowledge base's folder.
    """

    def __init__(self, kb: Path, picture_root: str, ways: Mapping[str, str]) -> None:
        self._kb = absolute(kb)
        self._first = absolute(picture_root) if picture_root else self._kb
        self._ways = {absolute(stated): way for stated, way in ways.items()}
        stated = dict.fromkeys([self._first, *self._ways])
        self._places = {root: self._place(root) for root in sorted(stated, key=lambda path: -len(path.parts))}

    @property
    def first(self) -> Path:
        """Where relative paths start, as it is now."""
        return self._places[self._first]

    def path_of(self, path: str) -> Path:
        """Return where the picture lies that is stored under `path`, links followed. Whether it exists is not checked.

        Raises:
            PictureError: An address, or a path that leads out of its folder, by itself or by a link.
        """
        if "://" in path:
            raise PictureError(
                "an address, not a file; download it and give the file by `dualway kb pictures`", path=path
            )
        stated = absolute(self._first / path)
        root = next((root for root in self._places if stated.is_relative_to(root)), None)
        if root is None:
            raise PictureError(
                f"leads out of the knowledge base's folder of pictures ({self.first}); "
                "give the picture and its folder by `dualway kb pictures`",
                path=path,
            )
        return inside(self._places[root], stated.relative_to(root))

    def stored(self, picture: Path) -> str | None:
        """Return the path under which a picture is stored; None when it lies in none of the folders.

        `picture` is absolute and its folder free of links.
        """
        for root in dict.fromkeys([self._first, *self._places]):
            place = self._places[root].resolve()
            if picture.is_relative_to(place):
                relative = picture.relative_to(place)
                return str(relative if root == self._first else root / relative)
        return None

    def prefixes(self, stated: str) -> tuple[str, str]:
        """Return how stored paths below a folder may begin: with its own path, or with its way from the first one."""
        return f"{absolute(stated)}/", f"{os.path.relpath(absolute(stated), self._first)}/"

    def _place(self, root: Path) -> Path:
        moved = absolute(self._kb / self._ways[root]) if root in self._ways else root
        return moved if not root.is_dir() and moved.is_dir() else root


def inside(root: Path, relative: Path) -> Path:
    """Return where `relative` leads from `root`, links followed.

    Raises:
        PictureError: It leads out of `root`, or no file system takes such a name.
    """
    try:
        resolved, home = (root / relative).resolve(), root.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle
        reason = getattr(error, "strerror", None) or error
        raise PictureError(f"no file can be found under such a name ({reason})", path=root / relative) from error
    if not resolved.is_relative_to(home):
        raise PictureError(
            f"leads out of {root}, by a link or by '..'; put the picture itself there", path=root / relative
        )
    return resolved


def describe_roots(kb: Path, roots: Iterable[Path]) -> dict[str, str]:
    """Return folders of pictures as the manifest keeps them: each path with the way to it from the folder `kb`."""
    return {str(absolute(root)): os.path.relpath(absolute(root), absolute(kb)) for root in roots}
