"""Reads formats whose records are taken apart by a function of their own: rows without keys, offsets, candidates.

As in `records.py`, one bad record never ends a reading: it is left out and counted with its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dualway.datasets.base import Keep, ReadReport, is_list
from dualway.datasets.offsets import Given
from dualway.datasets.pictures import PictureFolders
from dualway.datasets.records import Reading, repaired
from dualway.datasets.titles import Titles, is_stray
from dualway.schema import Mention
from dualway.text import repair

_NIL = {"", "nil"}


class Row(NamedTuple):
    """A mention as its file states it; nothing is checked yet. answer: `UNLABELLED` where the file has no gold."""

    surface: Any
    answer: Any
    type: Any = None
    start: Any = None
    end: Any = None
    candidates: Any = None


class Sample(NamedTuple):
    """A record taken apart. image: an address or a path; several: its mentions are numbered."""

    text: Any
    image: Any
    rows: Sequence[Row]
    several: bool = False


UNLABELLED = object()


@dataclass(frozen=True)
class RowLayout:
    """How one format's records are taken apart.

    Attributes:
        name: The format's name.
        take: A record's parts, or in words what is wrong with it.
        entity_of: The entity that an answer or a candidate names, as a title or an id.
        pictures_of: The names under which the file of a record's picture may lie; the first is expected.
        folders: Where its pictures lie, relative to the file's folder (`PictureFolders`).
        has_titles: Entities are titles, which a mapping beside the file may turn into Wikidata ids (`Titles`).
        repeats_ids: Several records may have one id: a mention each, numbered in their order.
    """

    name: str
    take: Callable[[Any], Sample | str]
    entity_of: Callable[[str], str]
    pictures_of: Callable[[str], Sequence[str]]
    folders: tuple[str, ...]
    has_titles: bool = True
    repeats_ids: bool = False


def read_rows(records: Iterable[tuple[str, Any]], layout: RowLayout, path: Path, keep: Keep | None = None) -> Reading:
    """Return the mentions of `records` (sample id, value) of the file `path`, those that `keep` wants.

    Raises:
        DataError: Two mentions have one id, no record is usable, or the mapping of titles beside the file is broken.
    """
    reader = _Reader(layout, path)
    for id, record in _numbered(records) if layout.repeats_ids else ((repair(key), value) for key, value in records):
        if keep is None or keep(id):
            reader.read(id, record)
    reader.reading.finish()
    return reader.reading


def _numbered(records: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the records, those with one id as ID-0, ID-1, ..; an id that occurs once stays as it is."""
    listed = [(repair(key), value) for key, value in records]
    times = Counter(id for id, _ in listed)
    seen: Counter[str] = Counter()
    for id, record in listed:
        yield (f"{id}-{seen[id]}" if times[id] > 1 else id), record
        seen[id] += 1


class _Reader:
    """The state of one reading: the report, the mapping of titles and the folders of pictures."""

    def __init__(self, layout: RowLayout, path: Path) -> None:
        self._layout = layout
        self.reading = Reading(ReadReport(path, layout.name))
        self._report = self.reading.report
        self._titles = Titles.beside(path.parent) if layout.has_titles else Titles()
        self._folders = PictureFolders(path.parent, layout.folders)

    def read(self, id: str, record: Any) -> None:
        self._report.counts["records"] += 1
        sample = _take(record, self._layout)
        if isinstance(sample, str):
            self._report.drop(sample, id, str(record))
            return
        text = repaired(sample.text, "a sentence", id, self._report)
        image = self._image(sample.image, id)
        before = len(self.reading.mentions)
        for i, row in enumerate(sample.rows):
            self._add(f"{id}-{i}" if sample.several else id, text, image, row)
        self._report.counts["samples"] += len(self.reading.mentions) > before

    def _add(self, id: str, text: str, image: str | None, row: Row) -> None:
        problem = _row_problem(row)
        answer = None if row.answer is UNLABELLED or problem is not None else self._entity(row.answer, id)
        if problem is None and answer == "":
            problem = "the answer's address has no title"
        if problem is not None:
            self._report.drop(problem, id, f"{row.surface!r} in: {text}")
            return
        surface = repaired(row.surface, "a mention", id, self._report)
        type = self._type(row.type, id)
        self.reading.add(Mention(text=text, surface=surface, id=id, type=type, image=image), self._given(row, id))
        if row.answer is not UNLABELLED:
            self.reading.gold[id] = answer
        if row.candidates is not None:
            self.reading.candidates[id] = self._candidates(row.candidates, id)

    def _entity(self, named: str | None, id: str, what: str = "an answer") -> str | None:
        """Return the id of an entity as the file names it; None for NIL, "" where nothing is named."""
        if named is None or named.strip().lower() in _NIL:
            return None
        title = self._layout.entity_of(repaired(named, what, id, self._report))
        if is_stray(named):
            self._report.repair(f"stray letters before the address of {what}", id, named)
        if title and not self._titles.knows(title):
            self._report.note("title without a Wikidata id, kept as the id", id, title)
        return self._titles.id_of(title) if title else ""

    def _candidates(self, listed: Any, id: str) -> tuple[str, ...]:
        """Return the distinct entities that the record proposes, in its order; what is no text is counted."""
        if not is_list(listed):
            self._report.drop("candidates are not a list", id, str(listed))
            return ()
        found: dict[str, None] = {}
        for value in listed:
            named = value[0] if is_list(value) and value else value  # DWE: [name, pictures]
            entity = self._entity(named, id, "a candidate") if isinstance(named, str) else None
            if entity:
                found[entity] = None
            else:
                self._report.drop("candidate that names no entity", id, str(value))
        return tuple(found)

    def _given(self, row: Row, id: str) -> Given | None:
        if row.start is None and row.end is None:
            return None
        if _is_number(row.start) and _is_number(row.end):
            return Given(row.start, row.end)
        self._report.repair("offsets that are not whole numbers left out", id, f"{row.start!r}-{row.end!r}")
        return None

    def _type(self, value: Any, id: str) -> str | None:
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            self._report.repair("mention type that is not text left out", id, str(value))
            return None
        return repaired(value, "a mention type", id, self._report)

    def _image(self, value: Any, id: str) -> str | None:
        """Return the picture's path or file name; an address is counted and becomes the name of its file."""
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            self._report.repair("picture path that is not text left out", id, str(value))
            return None
        image = repaired(value, "a picture path", id, self._report)
        names = self._layout.pictures_of(image)
        found = self._folders.find(names)
        if "://" in image:
            self._report.counts["picture addresses"] += 1
            self._report.counts["pictures found by md5"] += found is not None
        return found or (names[0] if "://" in image else image)


def _take(record: Any, layout: RowLayout) -> Sample | str:
    """Return the record taken apart, or in words why it cannot be used at all."""
    sample = layout.take(record)
    if isinstance(sample, str):
        return sample
    if not isinstance(sample.text, str):
        return "sentence is not text"
    return sample if sample.text.strip() else "empty sentence"


def _row_problem(row: Row) -> str | None:
    if not isinstance(row.surface, str):
        return "mention is not text"
    if not row.surface.strip():
        return "empty mention"
    if row.answer is UNLABELLED or row.answer is None or isinstance(row.answer, str):
        return None
    return "answer is not text"


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def as_named(named: str) -> str:
    """Return an entity's name or id as it stands."""
    return named.strip()
