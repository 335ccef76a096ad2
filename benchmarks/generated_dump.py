"""A dump in the real syntax of Wikidata's, of generated items: any number of them, the same for the same seed.

    python -m benchmarks.generated_dump FOLDER/dump.json.gz [--items 1000000] [--seed 0]

Four fifths are people, the rest places, organisations, classes, occupations, and what a dump has besides: pages of
Wikimedia's own, redirects, properties, lexemes, items without label or statements (as PHP's empty lists), unknown
values, deprecated and preferred statements, dates of the Julian calendar and before Christ. An item takes 2 to 3 KB.
The file is packed as its suffix says, and may lie anywhere but in the repository.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import random
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

_FIRST = 100_000  # number of the first item that is no class
_HUMAN, _DISAMBIGUATION = 5, 4167410
_CLASSES = {5: "human", 515: "city", 6256: "country", 43229: "organization", 4830453: "business", 4167410: "page"}
_SEXES = {6581072: "female", 6581097: "male"}
_NUM_OCCUPATIONS, _NUM_COUNTRIES = 500, 200
_LANGUAGES = ("en", "de", "fr", "es", "ru", "zh")
_SYLLABLES = [c + v for c in "bcdfghjklmnprstvwz" for v in ("a", "e", "i", "on", "u", "ar", "el")]
_ENTITY = "http://www.wikidata.org/entity/"
_GREGORIAN, _JULIAN = f"{_ENTITY}Q1985727", f"{_ENTITY}Q1985786"
_EXTERNAL = ("P214", "P213", "P227", "P646", "P244", "P2002")
_WINDOW = 1000  # items that stand in another order than that of their numbers

Item = dict[str, Any]


def main() -> None:
    """Write a dump."""
    parser = argparse.ArgumentParser(description="A generated dump of Wikidata's form.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.perf_counter()
    size = write_dump(options.path, options.items, options.seed)
    seconds = time.perf_counter() - start
    print(f"{options.path}: {options.items:,} items, {size / 1e6:,.0f} MB unpacked, {seconds:.0f} s")


def write_dump(path: Path, num_items: int, seed: int = 0) -> int:
    """Write a dump of about `num_items` lines, packed as the suffix says; return its unpacked size in bytes."""
    size = 0
    with _opened(path) as file:
        size += file.write(b"[\n")
        between = b""
        for item in generate(num_items, seed):
            size += file.write(between + orjson.dumps(item))
            between = b",\n"
        size += file.write(b"\n]\n")
    return size


def _opened(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.open(path, "wb", compresslevel=1)
    return bz2.open(path, "wb", compresslevel=1) if path.suffix == ".bz2" else path.open("wb")


def generate(num_items: int, seed: int = 0) -> Iterator[Item]:
    """Yield the items of a dump."""
    chance = random.Random(seed)
    world = _World(chance, num_items)
    fixed = list(world.fixed())
    window: list[Item] = []
    numbers = range(_FIRST, _FIRST + max(num_items - len(fixed), 0))
    for item in chain(fixed, map(world.item, numbers)):
        window.append(item)
        if len(window) == _WINDOW:
            chance.shuffle(window)
            yield from window
            window.clear()
    yield from window


class _World:
    def __init__(self, chance: random.Random, num_items: int) -> None:
        self.chance, self.last = chance, _FIRST + num_items
        self.firsts = [self.word(2) for _ in range(1_000)]
        self.lasts = [self.word(3) for _ in range(20_000)]

    def word(self, syllables: int) -> str:
        return "".join(self.chance.choices(_SYLLABLES, k=syllables)).title()

    def fixed(self) -> Iterator[Item]:
        """Yield classes, sexes, occupations, countries, properties and lexemes."""
        for number, label in {**_CLASSES, **_SEXES}.items():
            yield self._labelled(number, label, {"P279": [self._statement(number, "P279", 35120)]})
        for place in range(_NUM_OCCUPATIONS):
            number = 10_000 + place
            above = 28640 if place < 20 else 10_000 + self.chance.randrange(place)
            yield self._labelled(
                number, f"{self.word(2).lower()}er", {"P279": [self._statement(number, "P279", above)]}
            )
        for number in range(20_000, 20_000 + _NUM_COUNTRIES):
            statement = self._statement(number, "P31", 6256)
            yield self._labelled(number, f"{self.word(2)}land", {"P31": [statement], "P625": [self._place(number)]})
        for number in (31, 569, 19, 106):
            labels = _texts({"en": f"property {number}"})
            yield {"type": "property", "datatype": "wikibase-item", "id": f"P{number}", "labels": labels, "claims": []}
        yield {"type": "lexeme", "id": "L1", "lemmas": _texts({"mul": "ama"}), "claims": {}}

    def item(self, number: int) -> Item:
        """Return an item, of a kind that chance decides."""
        kind = self.chance.random()
        if kind < 0.80:
            return self.person(number)
        if kind < 0.88:
            return self.place(number)
        if kind < 0.96:
            return self.organisation(number)
        return self.odd(number)

    def person(self, number: int) -> Item:
        chance = self.chance
        first = self.firsts[int(1_000 * chance.random() ** 2)]
        last = self.lasts[int(20_000 * chance.random() ** 2)]
        born = chance.randrange(1400, 2005) if chance.random() < 0.98 else -chance.randrange(1, 400)
        occupations = [
            10_000 + int(_NUM_OCCUPATIONS * chance.random() ** 2) for _ in range(chance.choice((1, 1, 2, 3)))
        ]
        claims: dict[str, list[Item]] = {"P31": [self._statement(number, "P31", _HUMAN)]}
        self._add(claims, number, "P21", chance.choice(list(_SEXES)))
        claims["P569"] = [self._date(number, "P569", born)]
        if chance.random() < 0.4 or born < 1900:
            claims["P570"] = [self._date(number, "P570", born + chance.randrange(20, 90))]
            self._add(claims, number, "P20", self._other())
        self._add(claims, number, "P19", self._other())
        self._add(claims, number, "P27", 20_000 + chance.randrange(_NUM_COUNTRIES))
        self._add(claims, number, "P106", *occupations)
        for property_id in ("P69", "P54", "P39", "P463", "P26", "P166"):
            if chance.random() < 0.15:
                self._add(claims, number, property_id, self._other(), ended=chance.random() < 0.5)
        if chance.random() < 0.3:
            claims["P18"] = [self._string(number, "P18", f"{first} {last}.jpg", "commonsMedia")]
        for property_id in chance.sample(_EXTERNAL, chance.randrange(2)):
            claims[property_id] = [self._string(number, property_id, str(chance.getrandbits(40)), "external-id")]
        words = {"en": f"{first.lower()} {born}", "de": f"Person, geboren {born}"}
        return self._whole(number, f"{first} {last}", words, claims, aliases=[f"{first[0]}. {last}", last])

    def place(self, number: int) -> Item:
        claims: dict[str, list[Item]] = {"P31": [self._statement(number, "P31", 515)], "P625": [self._place(number)]}
        self._add(claims, number, "P17", 20_000 + self.chance.randrange(_NUM_COUNTRIES))
        self._add(claims, number, "P131", self._other())
        claims["P1082"] = [self._quantity(number, "P1082", self.chance.randrange(10_000_000))]
        claims["P856"] = [self._string(number, "P856", f"https://{number}.example.org/", "url")]
        return self._whole(number, f"{self.word(3)}burg", {"en": "city", "fr": "ville"}, claims, aliases=[])

    def organisation(self, number: int) -> Item:
        claims: dict[str, list[Item]] = {"P31": [self._statement(number, "P31", self.chance.choice((43229, 4830453)))]}
        claims["P571"] = [self._date(number, "P571", self.chance.randrange(1700, 2020), precision=9)]
        self._add(claims, number, "P17", 20_000 + self.chance.randrange(_NUM_COUNTRIES))
        self._add(claims, number, "P159", self._other())
        name = f"{self.word(2)} {self.word(2)} Ltd."
        return self._whole(number, name, {"en": "company"}, claims, aliases=[name.removesuffix(" Ltd.")])

    def odd(self, number: int) -> Item:
        """Return something that is no entity, or one with little in it."""
        item = self._labelled(number, self.word(3), {"P31": [self._statement(number, "P31", _HUMAN)]})
        match self.chance.randrange(7):
            case 0:
                return {"entity": f"Q{number}", "redirect": f"Q{self._other()}"}
            case 1:
                item["claims"]["P31"] = [self._statement(number, "P31", _DISAMBIGUATION)]
            case 2:
                item |= {"labels": [], "descriptions": [], "aliases": [], "sitelinks": []}
            case 3:
                item |= {"labels": _texts({"ru": "Имя"}), "sitelinks": _sitelinks({"enwiki": f"Page {number}"})}
            case 4:
                item["claims"] = []
            case 5:
                statement = self._statement(number, "P19", 1)
                statement["mainsnak"] = {"snaktype": "somevalue", "property": "P19", "datatype": "wikibase-item"}
                item["claims"]["P19"] = [statement]
            case _:
                statement = self._statement(number, "P106", 10_000)
                item["claims"]["P106"] = [statement, {**self._statement(number, "P106", 10_001), "rank": "deprecated"}]
        return item

    def _other(self) -> int:
        """Return the number of another item; now and then one that the dump does not have."""
        return self.chance.randrange(_FIRST, self.last + 50)

    def _add(
        self, claims: dict[str, list[Item]], number: int, property_id: str, *values: int, ended: bool = False
    ) -> None:
        statements = [self._statement(number, property_id, value) for value in values]
        if len(values) > 2:
            statements[-1]["rank"] = "preferred"
        if ended:
            time = self._time(self.chance.randrange(1900, 2020), 9)
            snak = _snak("P582", time, "time", "time")
            statements[0] |= {"qualifiers": {"P582": [{**snak, "hash": self._hash()}]}, "qualifiers-order": ["P582"]}
        claims[property_id] = statements

    def _statement(self, number: int, property_id: str, value: int) -> Item:
        datavalue = {"entity-type": "item", "numeric-id": value, "id": f"Q{value}"}
        return self._of(number, _snak(property_id, datavalue, "wikibase-entityid", "wikibase-item"))

    def _of(self, number: int, snak: Item) -> Item:
        word = f"{self.chance.getrandbits(128):032X}"
        claim_id = f"Q{number}${word[:8]}-{word[8:12]}-{word[12:16]}-{word[16:20]}-{word[20:]}"
        statement: Item = {"mainsnak": snak, "type": "statement", "id": claim_id, "rank": "normal"}
        if self.chance.random() < 0.08:
            source = {"entity-type": "item", "numeric-id": 328, "id": "Q328"}
            snaks = {"P143": [_snak("P143", source, "wikibase-entityid", "wikibase-item")]}
            statement["references"] = [{"hash": self._hash(), "snaks": snaks, "snaks-order": ["P143"]}]
        return statement

    def _hash(self) -> str:
        return f"{self.chance.getrandbits(160):040x}"

    def _time(self, year: int, precision: int) -> Item:
        chance = self.chance
        month, day = (chance.randrange(1, 13), chance.randrange(1, 29)) if precision == 11 else (0, 0)
        return {
            "time": f"{'+' if year > 0 else '-'}{abs(year) or 1:04d}-{month:02d}-{day:02d}T00:00:00Z",
            "timezone": 0,
            "before": 0,
            "after": 0,
            "precision": precision,
            "calendarmodel": _JULIAN if year < 1583 else _GREGORIAN,
        }

    def _date(self, number: int, property_id: str, year: int, precision: int = 0) -> Item:
        precision = precision or self.chance.choices((11, 9, 8, 7), (80, 16, 2, 2))[0]
        return self._of(number, _snak(property_id, self._time(year, precision), "time", "time"))

    def _place(self, number: int) -> Item:
        latitude, longitude = self.chance.uniform(-90, 90), self.chance.uniform(-180, 180)
        value = {"latitude": latitude, "longitude": longitude, "altitude": None, "precision": 0.0001}
        return self._of(
            number, _snak("P625", {**value, "globe": f"{_ENTITY}Q2"}, "globecoordinate", "globe-coordinate")
        )

    def _quantity(self, number: int, property_id: str, amount: int) -> Item:
        return self._of(number, _snak(property_id, {"amount": f"+{amount}", "unit": "1"}, "quantity", "quantity"))

    def _string(self, number: int, property_id: str, text: str, datatype: str) -> Item:
        return self._of(number, _snak(property_id, text, "string", datatype))

    def _labelled(self, number: int, label: str, claims: dict[str, list[Item]]) -> Item:
        return self._whole(number, label, {}, claims, aliases=[])

    def _whole(
        self, number: int, name: str, words: dict[str, str], claims: dict[str, list[Item]], *, aliases: list[str]
    ) -> Item:
        languages = _LANGUAGES[: self.chance.randrange(1, len(_LANGUAGES) + 1)]
        revision = self.chance.randrange(1_000_000_000, 2_000_000_000)
        return {
            "pageid": number + 100,
            "ns": 0,
            "title": f"Q{number}",
            "lastrevid": revision,
            "modified": "2024-03-17T05:11:46Z",
            "type": "item",
            "id": f"Q{number}",
            "labels": _texts(dict.fromkeys(languages, name)),
            "descriptions": _texts(words) or [],
            "aliases": {"en": [{"language": "en", "value": alias} for alias in aliases]} if aliases else [],
            "claims": claims,
            "sitelinks": _sitelinks({f"{language}wiki": name for language in languages[1:]}) or [],
        }


def _texts(values: dict[str, str]) -> Item:
    return {language: {"language": language, "value": value} for language, value in values.items()}


def _sitelinks(titles: dict[str, str]) -> Item:
    return {site: {"site": site, "title": title, "badges": []} for site, title in titles.items()}


def _snak(property_id: str, value: Any, kind: str, datatype: str) -> Item:
    datavalue = {"value": value, "type": kind}
    return {"snaktype": "value", "property": property_id, "datavalue": datavalue, "datatype": datatype}


if __name__ == "__main__":
    main()
