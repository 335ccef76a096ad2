"""Values of entity files, taken with care: every reader of entities checks and counts them the same way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dualway.datasets.base import ReadReport, is_list, is_object, load_json
from dualway.datasets.pictures import PictureFolders
from dualway.datasets.records import repaired
from dualway.errors import DataError


def load_table(path: Path) -> dict[str, Any]:
    """Read a JSON file that is keyed by entity.

    Raises:
        DataError: Missing, broken, or another JSON value.
    """
    value = load_json(path)
    if not is_object(value):
        raise DataError('expected an object keyed by entity id, such as {"Q42": ..}', path=path)
    return value


def text_of(value: Any, where: str, id: str, report: ReadReport) -> str:
    """Return a text as it stands; empty for a missing, blank or wrong one (the last is counted)."""
    if value is None:
        return ""
    if not isinstance(value, str):
        report.drop(f"{where} is not text", id, str(value))
        return ""
    return repaired(value, where, id, report) if value.strip() else ""


def texts_of(record: dict[str, Any], key: str, id: str, report: ReadReport) -> list[str]:
    """Return the distinct texts of a list, in its order."""
    values = record.get(key)
    if values is None:
        return []
    if not is_list(values):
        report.drop(f"{key!r} is not a list", id, str(values))
        return []
    texts = [text_of(value, f"one of {key!r}", id, report) for value in values]
    return list(dict.fromkeys(text for text in texts if text))


def nameless(id: str, report: ReadReport) -> str:
    """Return the id in place of a name that is missing; counted."""
    report.repair("no name, the id stands for it", id)
    return id


class EntityPictures:
    """The picture folders of an entity file: from file names to paths relative to the file's folder.

    Args:
        root: The entity file's folder.
        names: Its picture folders (`PictureFolders`).
        report: Counts pictures that are there and missing.
    """

    def __init__(self, root: Path, names: Sequence[str], report: ReadReport) -> None:
        self._root, self._folders, self._report = root, PictureFolders(root, names), report

    def path_of(self, names: Sequence[str]) -> str | None:
        """Return the path of the first of `names` that is there; None, and counted as missing, when none is."""
        name = self._folders.find(names)
        path = None if name is None else self._folders.path_of(name)
        self._report.counts["pictures missing" if path is None else "pictures present"] += 1
        if path is None:
            return None
        root = Path(os.path.abspath(self._root))  # noqa: PTH100 (as the folders were made: links are not followed)
        inside = path.is_relative_to(root)
        return str(path.relative_to(root)) if inside else os.path.relpath(path.resolve(), root.resolve())
