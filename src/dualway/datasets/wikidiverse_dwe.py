"""WikiDiverse as DWE keeps it: a list of mentions with keys, entities named by titles without underscores and hyphens.

`[{sentence, mention, mention_type, mention_image, entity, cands: [[name, ..]..], [topic, start, end]}..]`

The names are DWE's own spelling ("Coca Cola" of "Coca-Cola"), shared by its `entity2desc.json` and `entity_list.json`:
they serve as ids and are taken as they stand.
"""

from __future__ import annotations

from typing import Any

from dualway.datasets.base import is_object
from dualway.datasets.rows import UNLABELLED, Row, RowLayout, Sample, as_named
from dualway.datasets.wikidiverse_sentences import names_of

_FOLDERS = ("../ImgData/wikidiverse", "../../ImgData/wikidiverse", "images")


def recognise(id: str, record: Any) -> bool:
    """Tell whether a record looks like a mention of DWE's WikiDiverse."""
    return is_object(record) and isinstance(record.get("mention"), str)


def _take(record: Any) -> Sample | str:
    if not is_object(record):
        return "record is not an object"
    for key in ("sentence", "mention"):
        if key not in record:
            return f"no {key!r}"
    row = Row(
        surface=record["mention"],
        answer=record.get("entity", UNLABELLED),
        type=record.get("mention_type"),
        start=record.get("start"),
        end=record.get("end"),
        candidates=record.get("cands"),
    )
    return Sample(record["sentence"], record.get("mention_image"), [row])


LAYOUT = RowLayout("wikidiverse-dwe", _take, as_named, names_of, _FOLDERS)
