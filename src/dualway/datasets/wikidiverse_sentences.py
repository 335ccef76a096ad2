"""WikiDiverse as it was annotated: a list of sentences without keys, entities named by their Wikipedia pages.

`[[sentence, image url, topic, [[mention, type, start, end, wikipedia url]..]]..]`
"""

from __future__ import annotations

from typing import Any

from dualway.datasets.base import is_list
from dualway.datasets.pictures import dwe_name, wikinews_name
from dualway.datasets.rows import Row, RowLayout, Sample
from dualway.datasets.titles import title_of

# The published archive of pictures; where people unpack it: beside the files or beside their folder.
FOLDERS = ("wikinewsImgs", "images", "../wikinewsImgs", "../images", "../ImgData/wikidiverse")
_MENTION = 5


def recognise(id: str, record: Any) -> bool:
    """Tell whether a record looks like an annotated sentence of WikiDiverse."""
    return is_list(record) and len(record) == 4 and isinstance(record[0], str) and is_list(record[3])


def names_of(image: str) -> tuple[str, ...]:
    """Return the names under which a picture's file may lie: by WikiDiverse's rule, by DWE's, or the name itself."""
    return (wikinews_name(image), dwe_name(image)) if "://" in image else (image.rpartition("/")[2],)


def _take(record: Any) -> Sample | str:
    if not is_list(record) or len(record) != 4:
        return "record is not [sentence, image, topic, mentions]"
    text, image, _, mentions = record
    if not is_list(mentions):
        return "mentions are not a list"
    return Sample(text, image, [_row(mention) for mention in mentions], several=True)


def _row(mention: Any) -> Row:
    if not is_list(mention) or len(mention) != _MENTION:
        return Row([mention], None)  # whatever it is, no text: left out and counted
    surface, type, start, end, page = mention
    return Row(surface, page, type, start, end)


LAYOUT = RowLayout("wikidiverse-sentences", _take, title_of, names_of, FOLDERS)
