"""Drift: how far texts have moved in their source since they were taken, told to people and to machines."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rapidfuzz import fuzz

from dualway.storage import write_text
from dualway.text import match_key, repair

_MARKS = re.compile(r"([\\`*_\[\]|~#!])")
_MARKDOWN = (".md", ".markdown")
_CELL = 300  # characters of a text in a table


@dataclass(frozen=True, slots=True)
class Drift:
    """A text that its source has changed. similarity: of the words, old and new, in [0, 1]."""

    entity_id: str
    name: str
    kind: str
    before: str
    after: str
    old_revision: str
    new_revision: str
    similarity: float


@dataclass
class DriftReport:
    """What a refresh found, the least similar first.

    Attributes:
        source: Whose texts were looked at.
        checked: How many texts of it were looked at.
        newer: Of them, those that the source gives in another revision, or with another text.
        drifted: Of these, those whose text is another one.
        older: Ids by the revision that the source has, which is older than the one that was taken; they stay.
        vanished: Ids whose page is gone or gives no text any more, with why.
        removed: How many texts of the vanished were taken out, where that was asked for.
        passed_over: Ids that were changed or removed by others meanwhile; they stay as those left them.
        revision: Of the knowledge base after it.
    """

    source: str
    checked: int = 0
    newer: int = 0
    drifted: list[Drift] = field(default_factory=list[Drift])
    older: dict[str, str] = field(default_factory=dict[str, str])
    vanished: dict[str, str] = field(default_factory=dict[str, str])
    removed: int = 0
    passed_over: list[str] = field(default_factory=list[str])
    revision: int = 0

    @property
    def mean_similarity(self) -> float:
        """Of the texts that changed; 1 where none did."""
        return sum(d.similarity for d in self.drifted) / len(self.drifted) if self.drifted else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "mean_similarity": round(self.mean_similarity, 4)}


def similarity(before: str, after: str) -> float:
    """Return how alike two texts are by their words, in any order, in [0, 1]; case and punctuation do not count."""
    if before == after:
        return 1.0  # of two texts without words, too
    return round(fuzz.token_sort_ratio(match_key(before), match_key(after)) / 100, 4)


def write_report(path: Path, report: DriftReport) -> None:
    """Write what a refresh found, whole or not at all: a table where the file is called .md, else JSON Lines.

    Raises:
        StorageError: It cannot be written.
    """
    lines = _table(report) if path.suffix.lower() in _MARKDOWN else _json_lines(report)
    write_text(path, repair("".join(f"{line}\n" for line in lines)))


def _json_lines(report: DriftReport) -> Iterator[str]:
    """Yield a line a text: {"what": "changed" | "gone" | "older", ..}."""
    for drift in report.drifted:
        yield json.dumps({"what": "changed", **asdict(drift)}, ensure_ascii=False)
    for entity_id, why in report.vanished.items():
        yield json.dumps({"what": "gone", "entity_id": entity_id, "why": why}, ensure_ascii=False)
    for entity_id, revision in report.older.items():
        yield json.dumps({"what": "older", "entity_id": entity_id, "revision": revision}, ensure_ascii=False)


def _table(report: DriftReport) -> Iterator[str]:
    yield f"# Texts of {_cell(report.source)} that changed"
    yield ""
    yield (
        f"{report.checked:,} texts looked at, {report.newer:,} newer, {len(report.drifted):,} changed "
        f"(similarity {report.mean_similarity:.2f} in the mean), {len(report.vanished):,} gone, "
        f"{len(report.older):,} older in the source."
    )
    yield ""
    yield "| Similarity | Entity | Kind | Was | Is |"
    yield "|---:|---|---|---|---|"
    for drift in report.drifted:
        cells = (f"{drift.entity_id} {drift.name}", drift.kind, drift.before, drift.after)
        yield f"| {drift.similarity:.2f} | {' | '.join(map(_cell, cells))} |"
    if report.vanished:
        yield ""
        yield "| Gone | Why |"
        yield "|---|---|"
        for entity_id, why in report.vanished.items():
            yield f"| {_cell(entity_id)} | {_cell(why)} |"


def _cell(text: str) -> str:
    """Return a text from outside as words of a table: no markup of its own, no line break."""
    words = " ".join(text.split())
    short = words if len(words) <= _CELL else words[: _CELL - 1] + "…"
    return _MARKS.sub(r"\\\1", html.escape(short, quote=False))
