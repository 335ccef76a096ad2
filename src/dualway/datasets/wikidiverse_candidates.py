"""WikiDiverse with candidates: a list of mentions without keys, entities named by their Wikipedia pages.

`[[sentence, image url, mention, type, left context, right context, entity url, candidates, topic, start, end]..]`
"""

from __future__ import annotations

from typing import Any

from dualway.datasets.base import is_list
from dualway.datasets.rows import Row, RowLayout, Sample
from dualway.datasets.titles import title_of
from dualway.datasets.wikidiverse_sentences import FOLDERS, names_of

_FIELDS = 11


def recognise(id: str, record: Any) -> bool:
    """Tell whether a record looks like a mention of WikiDiverse with candidates."""
    return is_list(record) and len(record) == _FIELDS and isinstance(record[2], str)


def _take(record: Any) -> Sample | str:
    if not is_list(record) or len(record) != _FIELDS:
        return f"record has not {_FIELDS} fields"
    text, image, surface, type, _, _, page, candidates, _, start, end = record
    return Sample(text, image, [Row(surface, page, type, start, end, candidates)])


LAYOUT = RowLayout("wikidiverse-candidates", _take, title_of, names_of, FOLDERS)
