"""WikiMEL as MELBench publishes it: `Wikidata-MEL.json`, several mentions a sample.

`{id: {id, sentence, [imgPath], mentions: [..], entities: [..], answer: [QID..]}}`
"""

from __future__ import annotations

from typing import Any

from dualway.datasets.base import is_list, is_object
from dualway.datasets.records import Layout

LAYOUT = Layout(name="melbench", mentions="mentions", several=True, folders=("KVQAimgs",))


def recognise(id: str, record: Any) -> bool:
    """Tell whether a record looks like one of MELBench's."""
    return is_object(record) and is_list(record.get("mentions"))
