"""Classes of Wikidata: which items are left out, which are wanted, and what is a subclass of what.

Items do not say of which classes they are by inheritance: that a "footballer" is a "human" is said by the item of the
class alone ("subclass of", P279). So subclasses take a pass of their own over a dump, which looks at the few lines in
which P279 occurs.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from dualway.errors import UsageError
from dualway.sources.json_lines import parser

# Pages of Wikimedia's projects that have an item, and that nobody means who speaks of the world.
INTERNAL_CLASSES = (
    "Q4167410",  # disambiguation page
    "Q22808320",  # human name disambiguation page
    "Q66480449",  # surname disambiguation page
    "Q61996773",  # municipality name disambiguation page
    "Q15407973",  # disambiguation category
    "Q4167836",  # category
    "Q24046192",  # category of stubs
    "Q11266439",  # template
    "Q11753321",  # navigational template
    "Q13406463",  # list article
    "Q14204246",  # project page
    "Q4663903",  # portal
    "Q15184295",  # module
    "Q17362920",  # duplicated page
    "Q17442446",  # internal item, of which most of these are subclasses
    "Q17633526",  # Wikinews article
)

_MARK = b'"P279"'
_ITEM = re.compile(r"Q([1-9]\d{0,17})")


def item_number(item_id: str) -> int | None:
    """Return the number of an item's id; None where it is no item's."""
    found = _ITEM.fullmatch(item_id)
    return int(found[1]) if found else None


def item_numbers(ids: Iterable[str]) -> list[int]:
    """Return the numbers of items' ids, in ascending order.

    Raises:
        UsageError: One is none.
    """
    numbers = {item_id: item_number(item_id) for item_id in ids}
    for item_id, number in numbers.items():
        if number is None:
            raise UsageError(f"{item_id!r} is no item of Wikidata; write an id such as Q5")
    return sorted(cast("Iterable[int]", numbers.values()))


class ItemSet:
    """Many items in little memory: 8 bytes each. `numbers` are in ascending order."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = array("q", numbers)

    def __contains__(self, number: int) -> bool:
        place = bisect_left(self._numbers, number)
        return place < len(self._numbers) and self._numbers[place] == number

    def __len__(self) -> int:
        return len(self._numbers)


def subclass_pairs(lines: bytes) -> list[tuple[int, int]]:
    """Return (class, the class that it is a subclass of) for each P279 statement in lines of a dump.

    Deprecated statements do not count. A line that is no item is passed over: the pass that reads items tells of it.
    """
    parse, broken = parser()
    pairs: list[tuple[int, int]] = []
    for line in _marked_lines(lines):
        try:
            item = parse(line)
            child = item_number(item["id"])
            pairs += [(child, parent) for parent in _parents(item)] if child else []
        except (broken, KeyError, TypeError, AttributeError):
            continue
    return pairs


def _marked_lines(lines: bytes) -> Iterator[bytes]:
    place = lines.find(_MARK)
    while place >= 0:
        start, end = lines.rfind(b"\n", 0, place) + 1, lines.find(b"\n", place)
        end = len(lines) if end < 0 else end
        yield lines[start:end].rstrip(b", \r")
        place = lines.find(_MARK, end)


def _parents(item: Mapping[str, Any]) -> Iterator[int]:
    claims = item.get("claims") or {}
    for statement in claims.get("P279", ()):
        snak = statement["mainsnak"]
        if statement.get("rank") == "deprecated" or snak["snaktype"] != "value":
            continue
        value = snak["datavalue"]["value"]
        number = item_number(value["id"]) if "id" in value else value["numeric-id"]
        if isinstance(number, int):
            yield number
