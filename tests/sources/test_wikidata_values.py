from __future__ import annotations

import datetime

import pytest

from dualway.sources import wikidata_values
from dualway.sources.wikidata_values import Value, coordinates, edtf, read_value

GREGORIAN = "http://www.wikidata.org/entity/Q1985727"
JULIAN = "http://www.wikidata.org/entity/Q1985786"
METRE = "http://www.wikidata.org/entity/Q11573"
EARTH, MOON = "http://www.wikidata.org/entity/Q2", "http://www.wikidata.org/entity/Q405"


def time(text, precision=11, calendar=GREGORIAN):
    return {"time": text, "timezone": 0, "before": 0, "after": 0, "precision": precision, "calendarmodel": calendar}


def place(latitude, longitude, globe=EARTH):
    return {"latitude": latitude, "longitude": longitude, "altitude": None, "precision": 0.01, "globe": globe}


class TestDates:
    @pytest.mark.parametrize(
        ("text", "precision", "expected"),
        [
            ("+1946-06-14T00:00:00Z", 11, "1946-06-14"),
            ("+1946-06-14T12:30:00Z", 14, "1946-06-14"),
            ("+1946-06-00T00:00:00Z", 10, "1946-06"),
            ("+1946-06-14T00:00:00Z", 10, "1946-06"),
            ("+1946-00-00T00:00:00Z", 9, "1946"),
            ("+1946-01-01T00:00:00Z", 9, "1946"),
            ("+1946-00-00T00:00:00Z", 11, "1946"),  # as some have it
            ("+1946-06-00T00:00:00Z", 11, "1946-06"),
            ("+1940-00-00T00:00:00Z", 8, "194X"),
            ("+1949-00-00T00:00:00Z", 8, "194X"),
            ("+1801-00-00T00:00:00Z", 7, "18XX"),
            ("+1900-00-00T00:00:00Z", 7, "18XX"),  # the 19th century's last year
            ("+1901-00-00T00:00:00Z", 7, "19XX"),
            ("+0079-08-24T00:00:00Z", 11, "0079-08-24"),
            ("+00000001946-06-14T00:00:00Z", 11, "1946-06-14"),  # dumps of before 2015
            ("-0044-00-00T00:00:00Z", 9, "-0043"),
            ("-0001-00-00T00:00:00Z", 9, "0000"),
            ("-0044-03-00T00:00:00Z", 10, "-0043-03"),
            ("-0050-00-00T00:00:00Z", 7, "-00XX"),
            ("-0340-00-00T00:00:00Z", 8, "-034X"),
        ],
    )
    def test_precisions_and_years(self, text, precision, expected):
        assert edtf(time(text, precision)) == expected

    @pytest.mark.parametrize(
        ("text", "precision"),
        [
            ("+1000-00-00T00:00:00Z", 6),  # a millennium
            ("-13798000000-00-00T00:00:00Z", 3),
            ("+20000-00-00T00:00:00Z", 9),
            ("+0000-00-00T00:00:00Z", 9),
            ("+1946-13-01T00:00:00Z", 11),
            ("+1946-02-30T00:00:00Z", 11),
            ("+1900-02-29T00:00:00Z", 11),
            ("+1946-06-32T00:00:00Z", 11),
            ("yesterday", 11),
        ],
    )
    def test_what_cannot_be_said(self, text, precision):
        assert edtf(time(text, precision)) is None

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("+1582-10-04T00:00:00Z", "1582-10-14"),
            ("+1564-04-26T00:00:00Z", "1564-05-06"),  # Shakespeare's baptism
            ("+1700-02-29T00:00:00Z", "1700-03-11"),  # a day that only this calendar has
            ("-0044-03-15T00:00:00Z", "-0043-03-13"),  # the Ides of March
            ("+1564-04-00T00:00:00Z", "1564-04"),
        ],
    )
    def test_julian_days_become_gregorian(self, text, expected):
        assert edtf(time(text, 11, JULIAN)) == expected
        assert edtf(time(text, 9, JULIAN)) in (expected[:4], expected[:5])

    def test_the_calendar_agrees_with_pythons(self):
        for day in range(1, 1_000_000, 997):
            date = datetime.date.fromordinal(day)
            expected = (date.year, date.month, date.day)
            assert wikidata_values._gregorian(day + 1_721_425) == expected
        assert wikidata_values._gregorian(wikidata_values._julian_day(1918, 1, 31)) == (1918, 2, 13)  # in Russia


class TestCoordinates:
    def test_plain_decimals(self):
        assert coordinates(place(48.8566969, 2.3514616)) == "48.856697,2.351462"
        assert coordinates(place(-33, 151.0)) == "-33,151"
        assert coordinates(place(0.00000001, -0.00000001)) == "0,0"

    def test_other_globes_and_places_that_are_none(self):
        assert coordinates(place(10, 10, MOON)) is None
        assert coordinates(place(91, 10)) is None
        assert coordinates(place(10, 250)) is None
        assert coordinates({**place(1, 2), "globe": None}) == "1,2"


class TestValues:
    @pytest.mark.parametrize(
        ("kind", "value", "expected"),
        [
            ("wikibase-entityid", {"entity-type": "item", "numeric-id": 5, "id": "Q5"}, Value("", "Q5")),
            ("wikibase-entityid", {"entity-type": "item", "numeric-id": 5}, Value("", "Q5")),
            ("wikibase-entityid", {"entity-type": "lexeme", "id": "L1"}, None),
            ("wikibase-entityid", {"entity-type": "property", "id": "P5"}, None),
            ("wikibase-entityid", {"entity-type": "item", "id": "Q5; DROP TABLE"}, None),
            ("time", time("+1946-00-00T00:00:00Z", 9), Value("1946")),
            ("globecoordinate", place(1, 2), Value("1,2")),
            ("quantity", {"amount": "+1.88", "unit": METRE}, Value("1.88", "Q11573")),
            ("quantity", {"amount": "-5", "unit": "1"}, Value("-5")),
            ("quantity", {"amount": "many", "unit": "1"}, None),
            ("monolingualtext", {"text": "The King", "language": "en"}, Value("The King")),
            ("monolingualtext", {"text": "Le roi", "language": "fr"}, None),
            ("string", "Douglas Adams.jpg", Value("Douglas Adams.jpg")),
            ("string", "https://example.org/", Value("https://example.org/")),
            ("string", "  ", None),
            ("musical-notation", "x", None),
        ],
    )
    def test_kinds(self, kind, value, expected):
        assert read_value({"type": kind, "value": value}, {"en"}) == expected
