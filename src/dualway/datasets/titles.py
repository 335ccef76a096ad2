"""Entities named by Wikipedia pages: from a page's address to the title that serves as id, or to a Wikidata id."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from dualway.datasets.base import is_object, load_json
from dualway.errors import DataError

# Files beside the data that map a title (or an address) to a Wikidata id, in the order in which they are looked for.
MAPPINGS = ("wikipedia2qid.json", "title2qid.json", "entity2qid.json")
_QUERY = re.compile(r"\?\w+=.*", re.DOTALL)  # a title may end in a question mark


def title_of(page: str) -> str:
    """Return the title of a page's address (or of a title as addresses spell it); empty where there is none.

    What follows `/wiki/`, without query and fragment, percent-decoded, underscores as spaces, runs of spaces as one.
    Nothing else is changed: case, hyphens and brackets tell entities apart.
    """
    before, found, tail = page.strip().partition("/wiki/")
    if found:
        tail = _QUERY.sub("", tail.partition("#")[0]).lstrip("/")
    elif "://" in before:
        tail = before.rstrip("/").rpartition("/")[2]
    else:
        tail = before
    return " ".join(unquote(tail).replace("_", " ").split())


def is_stray(page: str) -> bool:
    """Tell whether an address begins with letters that do not belong there ("nhttps://", "ttps://": slips)."""
    start = page.strip().partition("://")[0]
    return "://" in page and start not in {"http", "https"}


class Titles:
    """Turns titles into the ids of a data set: Wikidata ids where a mapping is there, else the titles themselves.

    Attributes:
        path: The mapping's file, None where there is none.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._ids: dict[str, str] = {} if path is None else _read(path)

    @classmethod
    def beside(cls, folder: Path) -> Titles:
        """Return the titles of a data folder: the mapping in it or in the folder above, if there is one."""
        folders = (folder, folder.parent)
        found = (place / name for place in folders for name in MAPPINGS if (place / name).is_file())
        return cls(next(found, None))

    def id_of(self, title: str) -> str:
        """Return the id of a title."""
        return self._ids.get(title, title)

    def knows(self, title: str) -> bool:
        """Tell whether the mapping has the title; True where there is no mapping to have it."""
        return self.path is None or title in self._ids


def _read(path: Path) -> dict[str, str]:
    value = load_json(path)
    if not is_object(value):
        raise DataError('expected {"title": "Q..", ..}', path=path)
    ids: dict[str, str] = {}
    for page, id in value.items():
        if not isinstance(id, str) or not id.strip():
            raise DataError("its id is not text; write {title: id}", path=path, id=page)
        ids.setdefault(title_of(page), id.strip())
    return ids
