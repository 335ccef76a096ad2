"""Values of Wikidata's statements as words and forms of ours: dates as EDTF, coordinates, quantities, ids.

Shapes: https://doc.wikimedia.org/Wikibase/master/php/docs_topics_json.html. Whatever cannot be said in our forms is
`None`, and never an error: values are typed in by anybody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from typing import Any, NamedTuple

JULIAN = "Q1985786"
EARTH = "Q2"

_DAY, _MONTH, _YEAR, _DECADE, _CENTURY = 11, 10, 9, 8, 7
_TIME = re.compile(r"([+-]?)(\d{1,16})-(\d\d)-(\d\d)T")
_NUMBER = re.compile(r"[+-]?\d{1,60}(?:\.\d{1,60})?")
_ITEM = re.compile(r"[QP][1-9]\d{0,17}")
_ENTITY_URL = re.compile(r"https?://www\.wikidata\.org/entity/(Q[1-9]\d{0,17})")
_LAST_YEAR = 9999


class Value(NamedTuple):
    """What a statement says: words (`text`), an item (`id`, its label is the words), or a number of units (both)."""

    text: str
    id: str = ""


def read_value(datavalue: Mapping[str, Any], languages: Container[str]) -> Value | None:
    """Return what a `datavalue` says; None where it cannot be said or is of a kind that is not kept.

    Args:
        datavalue: {"type": .., "value": ..} of a snak.
        languages: Those in which texts are taken.
    """
    kind, value = datavalue["type"], datavalue["value"]
    if kind == "wikibase-entityid":
        return _item(value)
    if kind == "time":
        return _words(edtf(value))
    read = _READERS.get(kind)
    if read is not None:
        return read(value)
    if kind == "monolingualtext":
        return _words(value["text"]) if value["language"] in languages else None
    return _words(value) if kind == "string" else None  # a file's name, an address


def edtf(value: Mapping[str, Any]) -> str | None:
    """Return a time value as an EDTF date: "1946-06-14", "1946-06", "1946", "194X" or "19XX"; "-0043" is 44 BC.

    Years are astronomical and dates Gregorian. A day in the Julian calendar is converted; a month or a year in it stays
    as it is, since which Gregorian month that was cannot be told. Wikidata counts a century as historians do: the year
    1900 at this precision is in the 19th, so "18XX". None for ages that are told to a thousand years or worse, for
    years beyond 9999 either way, and for days that there never were.
    """
    parts = _TIME.match(value["time"])
    if parts is None:
        return None
    sign, year, month, day = parts[1], int(parts[2]), int(parts[3]), int(parts[4])
    if not 0 < year <= _LAST_YEAR:  # there is no year 0 in what historians write
        return None
    precision = min(value["precision"], _DAY)  # what is known to the second is known to the day
    if sign == "-":
        return _before_christ(value, year, month, day, precision)
    if precision == _CENTURY:
        return f"{(year - 1) // 100:02d}XX"
    if precision == _DECADE:
        return f"{year // 10:03d}X"
    return _dated(value, year, month, day, precision)


def coordinates(value: Mapping[str, Any]) -> str | None:
    """Return "LATITUDE,LONGITUDE" in degrees, to a tenth of a metre; None for another globe than the Earth."""
    globe = value.get("globe") or EARTH
    latitude, longitude = value["latitude"], value["longitude"]
    if not globe.endswith(f"/{EARTH}") and globe != EARTH:
        return None
    if isinstance(latitude, bool) or not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None
    return f"{_decimal(latitude)},{_decimal(longitude)}"


def _before_christ(value: Mapping[str, Any], year: int, month: int, day: int, precision: int) -> str | None:
    if precision == _CENTURY:
        return f"-{(year - 1) // 100:02d}XX"
    if precision == _DECADE:
        return f"-{year // 10:03d}X"  # nine of its ten years: the tenth has another astronomical decade
    return _dated(value, 1 - year, month, day, precision)


def _dated(value: Mapping[str, Any], year: int, month: int, day: int, precision: int) -> str | None:
    """Return a date of an astronomical year; a month or a day of 0 is not known, whatever the precision says."""
    if precision < _YEAR or month > 12 or day > 31:
        return None
    if precision == _YEAR or not month:
        return _year(year)
    if precision == _MONTH or not day:
        return f"{_year(year)}-{month:02d}"
    is_julian = str(value.get("calendarmodel", "")).endswith(JULIAN)
    if day > _days(year, month, is_julian):
        return None
    if is_julian:
        year, month, day = _gregorian(_julian_day(year, month, day))
    return f"{_year(year)}-{month:02d}-{day:02d}"


def _days(year: int, month: int, is_julian: bool) -> int:
    if month == 2:
        leap = year % 4 == 0 and (is_julian or year % 100 != 0 or year % 400 == 0)
        return 29 if leap else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _julian_day(year: int, month: int, day: int) -> int:
    """Return the day number (Julian day at noon) of a date in the Julian calendar."""
    since_march, years = (month + 9) % 12, year + 4800 - (month < 3)
    return day + (153 * since_march + 2) // 5 + 365 * years + years // 4 - 32083


def _gregorian(number: int) -> tuple[int, int, int]:
    """Return the date in the proleptic Gregorian calendar of a day number."""
    days = number + 32044
    centuries, days = divmod(4 * days + 3, 146097)
    years, days = divmod(4 * (days // 4) + 3, 1461)
    since_march, days = divmod(5 * (days // 4) + 2, 153)
    month = (since_march + 2) % 12 + 1
    return 100 * centuries + years - 4800 + (month < 3), month, days // 5 + 1


def _year(year: int) -> str:
    return f"-{-year:04d}" if year < 0 else f"{year:04d}"


def _item(value: Mapping[str, Any]) -> Value | None:
    """Return an item; dumps of before 2017 say its number only. Lexemes, forms and the like are no items."""
    found = value.get("id")
    if found is None and value.get("entity-type") == "item":
        found = f"Q{value['numeric-id']}"
    return Value("", found) if found and _ITEM.fullmatch(found) and found[0] == "Q" else None


def _coordinates(value: Mapping[str, Any]) -> Value | None:
    return _words(coordinates(value))


def _quantity(value: Mapping[str, Any]) -> Value | None:
    """Return a number with its unit's id, or alone where it counts things."""
    amount = value["amount"]
    if not _NUMBER.fullmatch(amount):
        return None
    unit = _ENTITY_URL.fullmatch(value["unit"])
    return Value(amount.removeprefix("+"), unit[1] if unit else "")


_READERS: dict[str, Callable[[Any], Value | None]] = {"globecoordinate": _coordinates, "quantity": _quantity}


def _words(text: str | None) -> Value | None:
    return Value(text) if text and not text.isspace() else None


def _decimal(degrees: float) -> str:
    text = f"{degrees:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
