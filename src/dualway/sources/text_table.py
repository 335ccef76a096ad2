"""Static text from a table of one's own: a line an entity, found by id or by title."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from dualway.datasets.base import ReadReport
from dualway.errors import DataError
from dualway.schema import Representation
from dualway.sources.texts import Found, Wanted
from dualway.sources.wikitext import MAX_CHARS, NUM_PARAGRAPHS, clean_title, static_from_plain
from dualway.storage import read_jsonl

_KEYS = {"id", "title", "text", "revision", "licence", "language"}


class TextTable:
    """The texts of a JSON Lines file of {"id" or "title", "text", ["revision", "licence", "language"]}.

    Implements TextSource. The file is read whole when it is opened.

    Args:
        path: The file.
        language: Of texts that do not say it.
        num_paragraphs: How many paragraphs of a text.
        max_chars: Each text is cut at a sentence within.

    Raises:
        DataError: A line without id and title, or two for one entity; names file and line.
    """

    def __init__(
        self, path: Path, *, language: str = "", num_paragraphs: int = NUM_PARAGRAPHS, max_chars: int = MAX_CHARS
    ) -> None:
        self._path, self._language = path, language
        self._num_paragraphs, self._max_chars = num_paragraphs, max_chars
        self.report = ReadReport(path, "table")
        self._lines: dict[tuple[str, str], dict[str, str]] = {}
        for number, value in read_jsonl(path):
            self._take(number, value)

    @property
    def name(self) -> str:
        """What is kept as a text's source."""
        return f"table:{self._path.name}"

    @property
    def language(self) -> str:
        """Of the texts that do not say it; entities are found by the titles of their pages in this Wikipedia."""
        return self._language

    def texts(self, wanted: Sequence[Wanted]) -> Iterator[Found]:
        """Yield one answer for each of `wanted`: by id, else by title, else by name."""
        for entity in wanted:
            line = self._line(entity)
            if line is None:
                yield Found(entity.entity_id, problem="no such page")
                continue
            found = static_from_plain(
                line["text"],
                language=line["language"],
                num_paragraphs=self._num_paragraphs,
                max_chars=self._max_chars,
            )
            if found.problem:
                yield Found(entity.entity_id, problem=found.problem)
                continue
            now = datetime.now(UTC).isoformat(timespec="seconds")
            yield Found(
                entity.entity_id,
                Representation(
                    "static", found.text, self.name, line["language"], line["revision"], line["licence"], created_at=now
                ),
            )

    def revisions(self, wanted: Sequence[Wanted]) -> Mapping[str, str]:
        """Return what the lines say of their revision."""
        lines = ((entity.entity_id, self._line(entity)) for entity in wanted)
        return {entity_id: line["revision"] for entity_id, line in lines if line is not None}

    def _take(self, number: int, value: Any) -> None:
        if not isinstance(value, dict):
            raise DataError('expected an object with "id" or "title", and "text"', path=self._path, line=number)
        values = cast("dict[str, Any]", value)
        for key in sorted(values.keys() - _KEYS):
            self.report.note(f"unknown {key!r}, not read", f"line {number}")
        line = {key: "" if values.get(key) is None else values[key] for key in _KEYS}
        if not all(isinstance(text, str) for text in line.values()):
            raise DataError("a value is no text; put it in quotes", path=self._path, line=number)
        key = ("id", line["id"]) if line["id"] else ("title", clean_title(line["title"]))
        if not key[1]:
            raise DataError("has neither id nor title, by which its entity is found", path=self._path, line=number)
        if key in self._lines:
            raise DataError(
                "a text of this entity was given before; take one of them out", path=self._path, line=number
            )
        line["language"] = line["language"] or self._language
        self._lines[key] = line

    def _line(self, entity: Wanted) -> dict[str, str] | None:
        title = clean_title(entity.title or entity.name)
        return self._lines.get(("id", entity.entity_id)) or self._lines.get(("title", title))
