"""WikiMEL as DWE and DWE+ publish it: one mention a record.

`{"123" or "123-0": {id, sentence, imgPath, mentions: str, entities: str, answer, [brief]}}`
"""

from __future__ import annotations

from typing import Any

from dualway.datasets.base import is_object
from dualway.datasets.records import Layout

# DWE keeps pictures beside the data's folder, `imgPath` being a path in `ImgData`.
LAYOUT = Layout(
    name="dwe", mentions="mentions", several=False, folders=("../ImgData", "../ImgData/wikipedia", "../../ImgData")
)


def recognise(id: str, record: Any) -> bool:
    """Tell whether a record looks like one of DWE's (and is not one of GHMFC's, which are asked first)."""
    return is_object(record) and isinstance(record.get("mentions"), str)
