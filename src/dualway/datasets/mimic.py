"""WikiMEL, Richpedia and WikiDiverse as MIMIC cleaned them: a list of mentions, ids percent-encoded names beside QIDs.

`[{id, sentence, imgPath, mentions: str, entities: str, answer: QID or "nil", [candidates: [QID..]]}..]`

Later systems that start from these sets add candidates, as `candidates` or `cands`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from dualway.datasets.base import is_object
from dualway.datasets.rows import UNLABELLED, Row, RowLayout, Sample, as_named

_FOLDERS = ("mention_image", "mention_images", "images")


def recognise(id: str, record: Any) -> bool:
    """Tell whether a record of a list looks like one of MIMIC's (in a table keyed by id it is DWE's or GHMFC's)."""
    return is_object(record) and isinstance(record.get("mentions"), str)


def _take(record: Any) -> Sample | str:
    if not is_object(record):
        return "record is not an object"
    for key in ("sentence", "mentions"):
        if key not in record:
            return f"no {key!r}"
    surface = record["mentions"]
    row = Row(
        surface=unquote(surface) if isinstance(surface, str) else surface,
        answer=record.get("answer", UNLABELLED),
        candidates=record.get("candidates", record.get("cands")),
    )
    return Sample(record["sentence"], record.get("imgPath"), [row])


def _pictures(image: str) -> tuple[str, ...]:
    """Return the names of a picture's file: all were converted to JPEG and are called by what stood before the dot."""
    base = image.rpartition("/")[2]
    return (base.partition(".")[0] + ".jpg", base)


LAYOUT = RowLayout("mimic", _take, as_named, _pictures, _FOLDERS, has_titles=False, repeats_ids=True)
