"""Where the pictures of published data sets lie: the folders they are kept in, and WikiDiverse's names by md5."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

_WORDS = re.compile(r"\S+")
# The endings that the makers of the names knew, in capitals or not, never mixed.
_ENDING = re.compile(r"\.(?:jpe?g|png|svg|JPE?G|PNG|SVG)")
_ENDING_OF_DWE = re.compile(r"\.(?:jpe?g|png|svg|gif|JPE?G|PNG|SVG|GIF)")
_CONVERTED = {".svg": ".png", ".SVG": ".png"}
_CONVERTED_BY_DWE = {**_CONVERTED, ".gif": ".png", ".GIF": ".png"}


def wikinews_name(address: str) -> str:
    """Return the name of a WikiDiverse picture's file: the md5 of its address's last part, and that part's ending.

    The last part is hashed as it stands, percent signs included. Its ending is all from the last known one on; a name
    without a known one ("map.gif") is kept whole behind the hash. `.svg` becomes `.png`, as the files were converted.
    """
    base = address.rpartition("/")[2]
    name = _md5(base) + _WORDS.sub(lambda word: _from_ending(word[0]), base)
    for old, new in _CONVERTED.items():
        name = name.replace(old, new)
    return name


def dwe_name(address: str) -> str:
    """Return the name under which DWE keeps the same picture: the md5 of the whole address, and its ending alone.

    `.svg` and `.gif` become `.png`.
    """
    base = address.rpartition("/")[2]
    found = [match[0] for match in _ENDING_OF_DWE.finditer(base)]
    ending = found[-1] if found else base
    return _md5(address) + _CONVERTED_BY_DWE.get(ending, ending)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def _from_ending(word: str) -> str:
    starts = [match.start() for match in _ENDING.finditer(word)]
    return word[starts[-1] :] if starts else word


class PictureFolders:
    """The folders in which a data set's pictures are looked for, each listed once.

    Args:
        root: The data's folder.
        names: Folders relative to it, `..` being the folder above. Those that do not exist are left out.
    """

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        # Without following links: "above" is meant as the user sees the folders.
        folders = [Path(os.path.abspath(root / name)) for name in names]  # noqa: PTH100
        self.paths: tuple[Path, ...] = tuple(folder for folder in folders if _is_folder(folder))

    def find(self, names: Sequence[str]) -> str | None:
        """Return the first of `names` that is a file's name in one of the folders."""
        return next((name for name in names if any(name in there for there in self._listed)), None)

    def path_of(self, name: str) -> Path | None:
        """Return where the file of this name lies."""
        places = (folder / name for folder, there in zip(self.paths, self._listed) if name in there)
        return next(places, None)

    @cached_property
    def _listed(self) -> list[frozenset[str]]:
        return [_names_in(folder) for folder in self.paths]


def places_of(image: str, folders: Iterable[Path]) -> Iterable[Path]:
    """Yield where a picture named by a path may lie in picture folders: under that path, or under its last part."""
    path = PurePosixPath(image)
    inside = not path.is_absolute() and ".." not in path.parts
    for folder in folders:
        if inside:
            yield folder / image
        if path.name and path.name != image:
            yield folder / path.name


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _names_in(folder: Path) -> frozenset[str]:
    try:
        return frozenset(entry.name for entry in os.scandir(folder))
    except OSError:
        return frozenset()
