"""Mentions as the published forms hold them: MELBench, GHMFC, DWE, and WikiDiverse as in KGMEL.

What a form has no place for (offsets, a type, a date) is left out; `convert.py` finds that by reading the result. The
fields that name the answer in words (`entities`, `entity`, `brief`) are not written: no reader here reads them.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dualway.schema import Mention

_SEVERAL = {"melbench", "wikidiverse"}
_NUMBERED = re.compile(r"(?P<sample>.+)-(?P<number>0|[1-9]\d{0,8})", re.DOTALL)


class _Sample(NamedTuple):
    """Mentions of one record. numbered: they are called ID-0, ID-1, .. already; labelled: they have gold."""

    id: str
    mentions: list[Mention]
    labelled: bool
    numbered: bool = True


def published(mentions: Sequence[Mention], gold: Mapping[str, str | None], form: str) -> Any:
    """Return mentions as the content of a published file."""
    if form not in _SEVERAL:
        samples = [_Sample(mention.id, [mention], mention.id in gold) for mention in mentions]
    else:
        samples = list(_grouped(mentions, gold))
    records = [_record(sample, gold, form) for sample in samples]
    return records if form == "wikidiverse" else {sample.id: record for sample, record in zip(samples, records)}


def _record(sample: _Sample, gold: Mapping[str, str | None], form: str) -> dict[str, Any]:
    first = sample.mentions[0]
    several = form in _SEVERAL
    surfaces = [mention.surface for mention in sample.mentions]
    record: dict[str, Any] = {"id": sample.id, "sentence": first.text}
    if form == "wikidiverse" and re.fullmatch(r"0|[1-9]\d{0,15}", sample.id):
        record["id"] = int(sample.id)  # as they are published
    if first.image is not None:
        record |= {"img_list": [first.image]} if form == "ghmfc" else {"imgPath": first.image}
    record["mention" if form == "wikidiverse" else "mentions"] = surfaces if several else surfaces[0]
    if sample.labelled:
        answers = [gold[mention.id] for mention in sample.mentions]
        record["answer"] = answers if several else answers[0]
    return record


def _grouped(mentions: Iterable[Mention], gold: Mapping[str, str | None]) -> Generator[_Sample]:
    """Yield the samples that mentions came from: those called ID-0, ID-1, .. with one caption and picture.

    Mentions with other ids are put together while caption and picture stay; their ids then change, which is noticed
    when the file is read back.
    """
    used: set[str] = set()
    sample: _Sample | None = None
    for mention in mentions:
        labelled = mention.id in gold
        if sample is not None and _belongs(mention, sample, labelled=labelled):
            sample.mentions.append(mention)
            continue
        if sample is not None:
            yield sample
        number = _number(mention)
        own = mention.id if number is None or number[1] else number[0]
        sample = _Sample(_free(own, used), [mention], labelled, numbered=own != mention.id)
    if sample is not None:
        yield sample


def _belongs(mention: Mention, sample: _Sample, *, labelled: bool) -> bool:
    last = sample.mentions[-1]
    if (mention.text, mention.image, labelled) != (last.text, last.image, sample.labelled):
        return False
    number = _number(mention)
    if sample.numbered:
        return number == (sample.id, len(sample.mentions))
    return number is None or number[1] > 0


def _number(mention: Mention) -> tuple[str, int] | None:
    """Return the sample and the number that a mention's id is made of."""
    found = _NUMBERED.fullmatch(mention.id)
    return None if found is None else (found["sample"], int(found["number"]))


def _free(id: str, used: set[str]) -> str:
    """Return a sample's id that no other sample has."""
    while id in used:
        id += "+"
    used.add(id)
    return id
