"""Richpedia as GHMFC and MELBench publish it: one mention a sample, samples named by their entity.

`{QID: {id, sentence, mentions: str, entities: str, answer: QID, [img_list], [brief]}}`

A sample's id is its entity's id, and so is its mention's: whoever ranks must not look at ids.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from dualway.datasets.base import is_object
from dualway.datasets.records import Layout

_QID = re.compile(r"Q\d+")


def recognise(id: str, record: Any) -> bool:
    """Tell whether a record looks like one of GHMFC's."""
    return is_object(record) and isinstance(record.get("mentions"), str) and _QID.fullmatch(id) is not None


def in_dev(id: str) -> bool:
    """Tell whether a sample of train belongs to dev, as none is published: a tenth, chosen by its id's SHA-1."""
    return int(hashlib.sha1(id.encode("utf-8", "replace")).hexdigest(), 16) % 10 == 0


def _pictures(folder: Path) -> dict[str, str]:
    """Return the pictures in `images/` by the sample that each is named after."""
    images = folder / "images"
    if not images.is_dir():
        return {}
    return {file.stem: f"images/{file.name}" for file in sorted(images.iterdir())}


LAYOUT = Layout(
    name="ghmfc",
    mentions="mentions",
    several=False,
    image="img_list",
    pictures=_pictures,
    folders=("../ImgData/richpedia/images", "../ImgData/richpedia"),  # where DWE keeps them
)
