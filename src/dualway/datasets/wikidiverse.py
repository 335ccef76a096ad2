"""WikiDiverse as KGMEL publishes it: a list, several mentions a sample, pictures as addresses.

`[{id, sentence, imgPath, mention: [..], entity: [..], answer: [QID..], [img-url]}]`
"""

from __future__ import annotations

from typing import Any

from dualway.datasets.base import is_list, is_object
from dualway.datasets.records import Layout

LAYOUT = Layout(name="wikidiverse", mentions="mention", several=True, image_url="img-url")


def recognise(id: str, record: Any) -> bool:
    """Tell whether a record looks like one of KGMEL's WikiDiverse."""
    return is_object(record) and is_list(record.get("mention"))
