"""What a new file calls a picture: the path from its own folder, or the picture's copy beside it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path, PurePosixPath

from dualway.datasets.base import Dataset
from dualway.errors import PictureError
from dualway.images import picture_size
from dualway.schema import Mention
from dualway.storage import storage_errors

FOLDER = "images"


class PicturePaths:
    """Finds the path under which a new file names a picture, and copies pictures where that is asked for.

    Args:
        folder: Where the new files will lie.
        stage: Where they lie meanwhile, when pictures are to be copied; None when they stay where they are.
    """

    def __init__(self, folder: Path, stage: Path | None) -> None:
        self._folder, self._stage = os.path.realpath(folder), stage
        self._known: dict[tuple[Path, Path, str], str] = {}
        self._copied: dict[str, str] = {}  # name in the new folder -> where it came from
        self.counts: dict[str, int] = {}

    def renamed(self, dataset: Dataset, mention: Mention) -> Mention:
        """Return a mention whose picture's path is right in the new file."""
        if mention.image is None:
            return mention
        path = dataset.image_path(mention)
        return replace(mention, image=self.name(mention.image, path, dataset.root, dataset.picture_folders))

    def name(self, given: str, path: Path | None, root: Path, folders: Sequence[Path] | None = None) -> str:
        """Return what the new file calls a picture that an old one in `root` calls `given` and that lies at `path`.

        A link out of `folders` (by default the root and the folder of the picture) is not followed to copy from there.
        """
        if path is None:
            return given
        key = (root, path, given)
        if key not in self._known:
            if self._stage is None:
                self._known[key] = self._relative(given, path, root)
            else:
                self._known[key] = self._copy(given, path, folders or (root, path.parent))
        return self._known[key]

    def _relative(self, given: str, path: Path, root: Path) -> str:
        try:
            is_same_place = os.path.realpath(root) == self._folder
            if os.path.isabs(given) or (is_same_place and path == root / given):  # noqa: PTH117 - a text, not a path yet
                return given if path == root / given else str(path.absolute())
            return os.path.relpath(os.path.join(os.path.realpath(path.parent), path.name), self._folder)  # noqa: PTH118
        except (OSError, ValueError):  # a name that no file system takes leads nowhere from anywhere
            return given

    def _copy(self, given: str, path: Path, folders: Sequence[Path]) -> str:
        """Copy a picture, if it is one, and return its new name; a missing one gets the name that it would have."""
        name = self._new_name(given, path)
        try:
            if not os.path.lexists(path):
                self._count("missing, not copied")
            else:
                picture_size(path, folders)  # whatever else a path leads to is not copied
                goal = self._stage_of(name)
                with storage_errors(goal):
                    goal.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, goal)
                self._count("copied")
        except (PictureError, ValueError):
            self._count("unreadable, not copied")
        return name

    def _new_name(self, given: str, path: Path) -> str:
        parts = PurePosixPath(given).parts
        is_plain = bool(parts) and not given.startswith("/") and ".." not in parts and "\\" not in given
        inside = parts[1:] if is_plain and len(parts) > 1 and parts[0] == FOLDER else parts
        name = PurePosixPath(*(inside if is_plain else [path.name]))
        if name.name in {"", ".."}:
            name = PurePosixPath("unnamed")
        origin = os.path.abspath(path)  # noqa: PTH100 - resolve would follow links
        if self._copied.setdefault(f"{FOLDER}/{name}", origin) != origin:
            mark = sha256(origin.encode("utf-8", "surrogatepass")).hexdigest()[:12]
            name = name.with_name(f"{mark}-{name.name}")
        return f"{FOLDER}/{name}"

    def _stage_of(self, name: str) -> Path:
        if self._stage is None:
            raise AssertionError("nothing is copied")
        return self._stage / name

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
