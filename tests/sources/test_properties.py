"""The text of properties: as the published files have it, by type, with the user's choice."""

import doctest
import json

import pytest

from dualway.errors import DataError
from dualway.schema import Entity, Field
from dualway.sources import properties
from dualway.sources.properties import (
    Claim,
    PropertiesConfig,
    date_words,
    properties_from_fields,
    properties_text,
    read_properties_config,
)


def claims(*pairs: tuple[str, str]) -> list[Claim]:
    return [Claim(id, "", value) for id, value in pairs]


TRUMP = claims(
    ("P31", "human"),
    ("P69", "Fordham University"),
    ("P106", "business magnate"),
    ("P106", "politician"),
    ("P106", "politician"),
    ("P569", "1946"),
    ("P19", "Jamaica Hospital"),
    ("P21", "male"),
    ("P140", "Presbyterianism"),
    ("P26", "Melania Trump"),
    ("P1412", "American English"),
    ("P9999", "not told"),
)


def test_table_1_of_the_paper():
    assert properties_text(TRUMP, ["Q5"]) == (
        "Sex: male. Birth: 1946, Jamaica Hospital. Religion: Presbyterianism. "
        "Occupation: business magnate, politician. Spouse: Melania Trump. "
        "Languages: American English. Alma mater: Fordham University."
    )


def test_the_name_when_it_is_asked_for():
    config = PropertiesConfig(with_name=True)
    assert properties_text(TRUMP[:1], ["Q5"], config, name="Donald Trump") == ""
    assert properties_text(TRUMP[7:8], ["Q5"], config, name="Donald Trump") == "Donald Trump. Sex: male."


def test_each_type_tells_other_things():
    found = claims(("P31", "city"), ("P17", "Germany"), ("P131", "Saxony"), ("P21", "male"), ("P571", "1165"))
    assert properties_text(found, ["Q515"]) == ("Type: city. Located in: Saxony. Country: Germany. Inception: 1165.")
    assert properties_text(found, ["City"]) == properties_text(found, ["Q515"])
    assert properties_text(found, ["Q1", "Q5"]) == "Sex: male."
    assert properties_text(found, []).startswith("Type: city. Located in: Saxony.")


@pytest.mark.parametrize(
    ("date", "words"),
    [
        ("1946-06-14", "1946-06-14"),
        ("1946-06", "1946-06"),
        ("1946", "1946"),
        ("0079", "79"),
        ("-0043", "44 BC"),
        ("0000", "1 BC"),
        ("-0043-03-15", "44 BC"),
        ("194X", "1940s"),
        ("18XX", "19th century"),
        ("20XX", "21st century"),
        ("unknown", "unknown"),
    ],
)
def test_dates(date, words):
    assert date_words(date) == words


def test_by_fields_alone():
    fields = (Field("sex", "male"), Field("born", "1946-06-14"), Field("birthplace", "Queens", "Q18424"))
    entity = Entity("Q22686", "Donald Trump", types=("human",), fields=(*fields, Field("sitelinks", "200")))
    assert properties_from_fields(entity) == "Sex: male. Birth: 1946-06-14, Queens."


class TestSettings:
    def test_are_read(self, tmp_path):
        path = tmp_path / "properties.toml"
        path.write_text(
            'with_name = true\n[types]\nQ99 = "work"\n[[person]]\nlabel = "Born"\nproperties = ["P569"]\n'
            '[[person]]\nproperties = ["P106"]\nmax_values = 1\n',
            encoding="utf-8",
        )
        config = read_properties_config(path)
        assert properties_text(TRUMP, ["Q5"], config, name="T") == "T. Born: 1946. Occupation: business magnate."
        assert config.type_of(["q99"]) == "work"
        assert config.lines["place"]

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("x", "not a TOML file"),
            ("x = 1", "unknown key 'x'"),
            ('person = "x"', "write a list"),
            ("[[person]]\nproperty = 1", "unknown key 'property'"),
            ("[[person]]\nlabel = 'x'", "write a list"),
            ("[[person]]\nlabel = 'x'\nproperties = []", "needs properties"),
            ("[[person]]\nproperties = ['P123456']", "needs properties"),
            ("[[person]]\nproperties = ['P21']\nmax_values = 0", "at least 1"),
            ("[types]\nQ1 = 'planet'", "must give a class one of"),
            ("with_name = 'yes'", "write true or false"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, text, problem):
        path = tmp_path / "p.toml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=problem) as error:
            read_properties_config(path)
        assert "p.toml" in str(error.value)


@pytest.mark.realdata
def test_the_published_texts_have_the_same_labels(realdata):
    texts = json.loads((realdata / "wikimel" / "qid2abs.json").read_text(encoding="utf-8"))
    labels = {line.label for line in PropertiesConfig().lines["person"]}
    first = [text.split(":", 1)[0] for text in texts.values() if ":" in text]
    assert sum(label in labels for label in first) > 0.95 * len(first)


def test_the_docstring_example_runs():
    assert doctest.testmod(properties).failed == 0
