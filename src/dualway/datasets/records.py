"""Turns records of the published JSON formats into mentions: one checker for all, told apart by a Layout.

One bad record never ends a reading: it is left out and counted with its reason. Fields that give the answer away
(`entities`, `entity`, `brief`) are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from dualway.datasets.base import Keep, ReadReport, is_list, is_object
from dualway.datasets.offsets import Given, Span, locate
from dualway.errors import DataError
from dualway.schema import Mention
from dualway.text import is_broken, repair

# Known wrong answers of the published files (WikiMEL): what stands there, and what is meant.
_MISSPELT_ANSWERS = {"c": "Q5729149"}
_NIL = {"", "nil"}


@dataclass(frozen=True)
class Layout:
    """Which keys of a format hold what, and whether a record has several mentions or one."""

    name: str
    mentions: str
    several: bool
    image: str = "imgPath"
    image_url: str | None = None
    pictures: Callable[[Path], dict[str, str]] | None = None  # folder -> sample id to picture, where records name none
    folders: tuple[str, ...] = ()  # where pictures lie besides the file's folder and its images/ (`PictureFolders`)


@dataclass
class Reading:
    """What a reader has gathered so far."""

    report: ReadReport
    mentions: list[Mention] = field(default_factory=list[Mention])
    given: list[Given | None] = field(default_factory=list[Given | None])
    gold: dict[str, str | None] = field(default_factory=dict[str, str | None])
    candidates: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    _seen: set[str] = field(default_factory=set[str])

    def add(self, mention: Mention, given: Given | None = None, *, line: int | None = None) -> None:
        """Take a mention in.

        Raises:
            DataError: Its id was there before.
        """
        if mention.id in self._seen:
            raise DataError("this id occurs twice; ids must be unique", path=self.report.path, line=line, id=mention.id)
        self._seen.add(mention.id)
        self.mentions.append(mention)
        self.given.append(given)

    def finish(self) -> None:
        """Find the mentions in their captions, and count.

        Raises:
            DataError: There is no mention at all.
        """
        report = self.report
        if not self.mentions:
            reasons = "; ".join(f"{reason} ({tally.count:,})" for reason, tally in report.dropped.items())
            raise DataError(f"no usable mention in it{': ' if reasons else ''}{reasons}", path=report.path)
        self.mentions = locate_mentions(self.mentions, self.given, report)
        report.counts["mentions"] = len(self.mentions)
        report.counts["with gold"] = len(self.gold)
        report.counts["with candidates"] = sum(bool(listed) for listed in self.candidates.values())
        report.counts["nil"] = sum(answer is None for answer in self.gold.values())
        report.counts["entities"] = len({answer for answer in self.gold.values() if answer is not None})


class _Sample(NamedTuple):
    """A checked record. answers: None where the file has no gold for it."""

    id: str
    text: str
    surfaces: list[Any]
    answers: list[Any] | None
    image: str | None


def read_records(records: Iterable[tuple[str, Any]], layout: Layout, path: Path, keep: Keep | None = None) -> Reading:
    """Return the mentions of `records` (sample id, value) of the file `path`, those that `keep` wants.

    Raises:
        DataError: Two mentions have one id, or no record is usable.
    """
    reading = Reading(ReadReport(path, layout.name))
    pictures = layout.pictures(path.parent) if layout.pictures else {}
    for key, record in records:
        id = repair(key)
        if keep is not None and not keep(id):
            continue
        sample = _check(id, record, layout, reading.report)
        if sample is None:
            continue
        if sample.image is None and id in pictures:
            sample = sample._replace(image=pictures[id])
        before = len(reading.mentions)
        _add_mentions(sample, layout, reading)
        reading.report.counts["samples"] += len(reading.mentions) > before
    reading.finish()
    return reading


def repaired(text: str, where: str, id: str, report: ReadReport) -> str:
    """Return `text` without what no UTF-8 file can hold; a change is counted."""
    if not is_broken(text):
        return text
    fixed = repair(text)
    report.repair(f"lone surrogates or NUL in {where} replaced", id, fixed)
    return fixed


def locate_mentions(mentions: list[Mention], given: list[Given | None], report: ReadReport) -> list[Mention]:
    """Return the mentions with offsets; those of consecutive records with the same caption and picture go together."""
    located: list[Mention] = []
    rows = range(len(mentions))
    for _, same in groupby(rows, key=lambda i: (mentions[i].text, mentions[i].image)):
        group = list(same)
        spans = locate(mentions[group[0]].text, [mentions[i].surface for i in group], [given[i] for i in group])
        located += [_with_span(mentions[i], span, given[i], report) for i, span in zip(group, spans)]
    return located


def _with_span(mention: Mention, span: Span | None, given: Given | None, report: ReadReport) -> Mention:
    if span is None:
        report.note("mention not found in its sentence, kept without offsets", mention.id, mention.surface)
        start, end = None, None
    else:
        start, end = span.start, span.end
    report.counts["not located" if span is None else f"located {span.how}"] += 1
    if mention.surface not in mention.text:
        report.counts["not literal"] += 1
    if given is not None and (start, end) != given:
        found = f"{given.start}-{given.end} became {start}-{end}: {mention.surface}"
        report.repair("offsets that do not hold the mention", mention.id, found)
    return replace(mention, start=start, end=end)


def _check(id: str, record: Any, layout: Layout, report: ReadReport) -> _Sample | None:
    """Return the record as a sample, or None after counting why not."""
    report.counts["records"] += 1
    problem = _problem(record, layout)
    if problem is not None:
        report.drop(problem, id, str(record))
        return None
    surfaces = record[layout.mentions]
    if layout.image_url is not None:
        report.counts["picture addresses"] += bool(record.get(layout.image_url))
        if not record.get(layout.image_url):
            report.note(f"no picture address ({layout.image_url})", id, record["sentence"])
    return _Sample(
        id=id,
        text=repaired(record["sentence"], "a sentence", id, report),
        surfaces=surfaces if is_list(surfaces) else [surfaces],
        answers=_answers(record, layout),
        image=_image(record.get(layout.image), id, report),
    )


def _answers(record: dict[str, Any], layout: Layout) -> list[Any] | None:
    """Return one answer a mention; None for a record without gold."""
    answers = record.get("answer")
    if is_list(answers):
        return answers
    return None if layout.several or "answer" not in record else [answers]


def _problem(record: Any, layout: Layout) -> str | None:
    """Return why a record cannot be used at all, None when it can."""
    if not is_object(record):
        return "record is not an object"
    for key in ("sentence", layout.mentions):
        if key not in record:
            return f"no {key!r}"
    sentence, surfaces, answers = record["sentence"], record[layout.mentions], record.get("answer")
    if not isinstance(sentence, str):
        return "'sentence' is not text"
    if not sentence.strip():
        return "empty sentence"
    if is_list(surfaces) != layout.several:
        return f"{layout.mentions!r} is not {'a list' if layout.several else 'text'}"
    if layout.several and answers is not None and not is_list(answers):
        return "'answer' is not a list"
    if is_list(answers) and len(answers) != (len(surfaces) if layout.several else 1):
        return "number of answers is not the number of mentions"
    return None


def _image(value: Any, id: str, report: ReadReport) -> str | None:
    """Return the picture's path as given (the first of several), None where none is named."""
    if is_list(value):
        if len(value) > 1:
            report.note("several pictures, the first is used", id, str(value))
        value = value[0] if value else None
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        report.repair("picture path that is not text left out", id, str(value))
        return None
    return repaired(value, "a picture path", id, report)


def _add_mentions(sample: _Sample, layout: Layout, reading: Reading) -> None:
    for i, surface in enumerate(sample.surfaces):
        id = f"{sample.id}-{i}" if layout.several else sample.id
        problem = _surface_problem(surface)
        answer = sample.answers[i] if sample.answers is not None else None
        if problem is None and answer is not None and not isinstance(answer, str):
            problem = "'answer' is not an entity id"
        if problem is not None:
            reading.report.drop(problem, id, f"{surface!r} in: {sample.text}")
            continue
        text = repaired(surface, "a mention", id, reading.report)
        reading.add(Mention(text=sample.text, surface=text, id=id, image=sample.image))
        if sample.answers is not None:
            reading.gold[id] = _gold(answer, id, reading.report)


def _surface_problem(surface: Any) -> str | None:
    if not isinstance(surface, str):
        return "mention is not text"
    return None if surface.strip() else "empty mention"


def _gold(answer: str | None, id: str, report: ReadReport) -> str | None:
    if answer is None or answer.strip().lower() in _NIL:
        return None
    if answer in _MISSPELT_ANSWERS:
        meant = _MISSPELT_ANSWERS[answer]
        report.repair(f"answer {answer!r} stands for {meant}", id, answer)
        return meant
    return repaired(answer, "an answer", id, report)
