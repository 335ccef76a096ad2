from __future__ import annotations

import json

import pytest
from tests.sources.dump_items import item, statement

from dualway.errors import UsageError
from dualway.sources.wikidata_classes import INTERNAL_CLASSES, ItemSet, item_number, item_numbers, subclass_pairs


def lines(*items):
    return b"[\n" + b"".join(json.dumps(item, separators=(",", ":")).encode() + b",\n" for item in items) + b"]\n"


class TestSubclasses:
    def test_of_items_that_state_any(self):
        footballer = item(937857, {"en": "footballer"}, {"P279": [statement("P279", 2066131), statement("P279", 5)]})
        assert subclass_pairs(lines(item(1), footballer, item(2))) == [(937857, 2066131), (937857, 5)]

    def test_deprecated_and_unknown_ones_do_not_count(self):
        statements = [statement("P279", 5, rank="deprecated"), statement("P279", "somevalue"), statement("P279", 6)]
        assert subclass_pairs(lines(item(1, {}, {"P279": statements}))) == [(1, 6)]

    def test_ids_as_they_were_before_2017(self):
        old = statement("P279", 5)
        del old["mainsnak"]["datavalue"]["value"]["id"]
        assert subclass_pairs(lines(item(1, {}, {"P279": [old]}))) == [(1, 5)]

    def test_where_else_the_property_occurs_is_no_statement_of_it(self):
        qualified = {**statement("P31", 5), "qualifiers": {"P279": [statement("P279", 6)["mainsnak"]]}}
        assert subclass_pairs(lines(item(1, {}, {"P31": [qualified]}))) == []

    @pytest.mark.parametrize(
        "line",
        [
            b'{"id":"Q1","claims":{"P279":[',
            b'"P279"',
            b'["P279"]',
            b'{"id":7,"P279":[]}',
            b'{"id":"Q1","claims":{"P279":7}}',
        ],
    )
    def test_broken_lines_are_passed_over(self, line):
        good = lines(item(1, {}, {"P279": [statement("P279", 6)]}))
        assert subclass_pairs(good + line + b"\n" + good) == [(1, 6), (1, 6)]

    def test_a_last_line_without_its_end(self):
        content = lines(item(1, {}, {"P279": [statement("P279", 6)]})).removesuffix(b",\n]\n")
        assert subclass_pairs(content) == [(1, 6)]


class TestNumbers:
    def test_of_ids(self):
        assert item_numbers(["Q515", "Q5"]) == [5, 515]
        assert item_numbers(INTERNAL_CLASSES)
        assert [item_number(text) for text in ("Q5", "P5", "Q05", "Q", "q5", "Q5 ", "Q٥")] == [5, *[None] * 6]
        with pytest.raises(UsageError, match="'human' is no item"):
            item_numbers(["human"])

    def test_a_set_of_many(self):
        numbers = ItemSet(range(0, 1_000, 7))
        assert [number for number in range(-5, 1_010) if number in numbers] == list(range(0, 1_000, 7))
        assert len(numbers) == 143
        assert 5 not in ItemSet([])
