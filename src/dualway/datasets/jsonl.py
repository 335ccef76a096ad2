"""Our own files: JSON Lines, one mention a line; a training file adds the entity.

`{"id", "text", "surface", "start", "end", "type", "image", "date", "place", "language", "source", "entity_id"}`,
of which only `text` and `surface` must be there.

A user can put these files right, and links are written one line a mention: so a wrong line is an error, never dropped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dualway.datasets.base import Keep, ReadReport, is_object
from dualway.datasets.offsets import Given
from dualway.datasets.records import Reading, repaired
from dualway.errors import DataError
from dualway.schema import Mention
from dualway.storage import atomic_path, read_jsonl
from dualway.text import repair

NAME = "jsonl"
_REQUIRED = ("text", "surface")
_OPTIONAL = ("type", "image", "date", "place", "language", "source")
_KNOWN = {"id", "start", "end", "entity_id", *_REQUIRED, *_OPTIONAL}


def read_lines(path: Path, keep: Keep | None = None) -> Reading:
    """Return the mentions of a JSON Lines file in its order; a mention without id is called `line-N`.

    Raises:
        DataError: A line is broken, lacks `text` or `surface`, has a value of the wrong type, or repeats an id;
            names file, line and remedy.
    """
    reading = Reading(ReadReport(path, NAME))
    report = reading.report
    for number, value in read_jsonl(path):
        report.counts["records"] += 1
        line = _Line(value, path, number)
        mention = line.mention(report)
        if keep is not None and not keep(mention.id):
            continue
        reading.add(mention, line.given(), line=number)
        if "entity_id" in line.record:
            reading.gold[mention.id] = line.gold()
    reading.finish()
    report.counts["samples"] = len({(mention.text, mention.image) for mention in reading.mentions})
    return reading


def write_mentions(path: Path, mentions: Iterable[Mention], gold: Mapping[str, str | None] | None = None) -> None:
    """Write mentions as JSON Lines, with `entity_id` where `gold` knows them; whole or not at all.

    Raises:
        StorageError: Disk full, read-only folder, no permission.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for mention in mentions:
            file.write(repair(json.dumps(_record(mention, gold or {}), ensure_ascii=False)) + "\n")


def _record(mention: Mention, gold: Mapping[str, str | None]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for key in ("id", *_REQUIRED, "start", "end", *_OPTIONAL):
        value = getattr(mention, key)
        if value is not None and value != "":
            record[key] = value
    if mention.id in gold:
        record["entity_id"] = gold[mention.id]
    return record


class _Line:
    """One line, whose values are checked as they are taken."""

    def __init__(self, value: Any, path: Path, number: int) -> None:
        self._path, self._number = path, number
        if not is_object(value):
            raise self._error('a line must be an object such as {"text": "..", "surface": ".."}')
        self.record = value

    def mention(self, report: ReadReport) -> Mention:
        id = self._id("id") or f"line-{self._number}"
        for key in self.record.keys() - _KNOWN:
            report.note(f"unknown key {key!r} is not read", id)
        return Mention(
            text=self._required("text", id, report),
            surface=self._required("surface", id, report),
            id=id,
            type=self._text("type", id, report),
            image=self._text("image", id, report),
            date=self._text("date", id, report),
            place=self._text("place", id, report),
            language=self._text("language", id, report),
            source=self._text("source", id, report),
        )

    def given(self) -> Given | None:
        start, end = self._offset("start"), self._offset("end")
        return None if start is None and end is None else Given(start, end)

    def gold(self) -> str | None:
        answer = self._id("entity_id")
        if answer == "":
            raise self._error("'entity_id' is empty; give an entity's id, null for NIL, or leave the key out")
        return answer

    def _id(self, key: str) -> str | None:
        value = self.record.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is not None and not isinstance(value, str):
            raise self._error(f"{key!r} must be text, not {json.dumps(value)[:40]}")
        return None if value is None else repair(value)

    def _required(self, key: str, id: str, report: ReadReport) -> str:
        text = self._text(key, id, report)
        if text is None or not text.strip():
            raise self._error(f"{key!r} is missing or empty; every mention needs its caption and its words")
        return text

    def _text(self, key: str, id: str, report: ReadReport) -> str | None:
        value = self.record.get(key)
        if value is not None and not isinstance(value, str):
            raise self._error(f"{key!r} must be text, not {json.dumps(value)[:40]}")
        return None if value is None else repaired(value, repr(key), id, report)

    def _offset(self, key: str) -> int | None:
        value = self.record.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise self._error(f"{key!r} must be a whole number (characters from the start of 'text')")
        return value

    def _error(self, problem: str) -> DataError:
        return DataError(problem, path=self._path, line=self._number)
