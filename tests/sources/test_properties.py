"""The text of properties: as the published files have it, by type, with the user's choice."""

import doctest
import json
import re
from pathlib import Path

import pytest

from dualway.errors import DataError, UsageError
from dualway.schema import Entity, Field
from dualway.sources import properties
from dualway.sources.properties import (
    VARIANTS,
    Claim,
    Line,
    PropertiesConfig,
    date_words,
    properties_config,
    properties_from_fields,
    properties_text,
    read_properties_config,
)
from dualway.sources.property_names import PROPERTIES


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
        ("-004X", "40s BC"),
        ("-00XX", "1st century BC"),
        ("12XX", "13th century"),
        ("19X", "19X"),
        ("", ""),
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
            ("[[person]]\nproperties = ['P21']\nmax_values = true", "at least 1"),
            ("[[person]]\nproperties = ['P21', 7]", "7 is no property"),
            ("[[person]]\nproperties = ['P21', 'borne']", "'borne' is no property"),
            ("variant = 'tiny'", "choose one of standard"),
            ("dates = ['year']", "choose one of full, year"),
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


def test_an_entity_without_a_name_is_not_told():
    fields = (Field("spouse", "Q1424839", "Q1424839"), Field("spouse", "Jane Belson", "Q2"), Field("sex", "male"))
    assert properties_from_fields(Entity("Q1", "x", types=("person",), fields=fields)) == (
        "Sex: male. Spouse: Jane Belson."
    )


class TestVariants:
    def test_years_only(self):
        found = claims(("P569", "1946-06-14"), ("P19", "Queens"), ("P570", "-0043-03-15"), ("P106", "actor"))
        expected = "Birth: 1946, Queens. Death: 44 BC. Occupation: actor."
        assert properties_text(found, ["Q5"], VARIANTS["wikimel"]) == expected

    def test_short_is_occupations_and_languages(self):
        found = claims(*(("P106", f"work {i}") for i in range(5)), ("P1412", "English"), ("P21", "male"))
        expected = "Occupation: work 0, work 1, work 2. Languages: English."
        assert properties_text(found, ["Q5"], VARIANTS["short"]) == expected

    def test_are_chosen_by_name_or_file(self, tmp_path):
        assert properties_config("long") is VARIANTS["long"]
        path = tmp_path / "mine.toml"
        path.write_text('variant = "short"\ndates = "year"\n[[place]]\nproperties = ["country", "P131"]\n')
        config = properties_config(str(path))
        assert config.lines["person"] == VARIANTS["short"].lines["person"]
        assert config.lines["place"] == (Line("Country", ("P17", "P131")),)
        assert config.dates == "year"
        with pytest.raises(UsageError, match="standard, wikimel, long, short"):
            properties_config("shrt")


def test_the_settings_of_the_page_are_read(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "properties.md"
    block = re.search(r"^```toml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert block is not None
    path = tmp_path / "properties.toml"
    path.write_text(block[1], encoding="utf-8")
    config = read_properties_config(path)
    assert config.lines["person"] == (Line("Born", ("P569", "P19")), Line("Occupation", ("P106",), 3))
    assert config.type_of(["Comic book character"]) == "person"
    assert (config.with_name, config.dates) == (True, "year")


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("variant", "file", "share"),
    [
        ("wikimel", "wikimel/qid2abs.json", 0.98),
        ("long", "richpedia/qid2abs_long.json", 0.98),
        ("short", "richpedia/qid2abs.json", 0.999),
    ],
)
def test_published_texts_are_made_again(realdata, variant, file, share):
    """What a published text says is told again in its words and order, each value once.

    Left over: years before 1000 (theirs "0155"), before Christ (theirs "-0043"), "Occupation: ." without any, "t850".
    """
    texts = json.loads((realdata / file).read_text(encoding="utf-8")).values()
    same = sum(properties_text(*_said(text), VARIANTS[variant]) == _once(text) for text in texts)
    assert same > share * len(texts), same / len(texts)


def _parts(text: str) -> list[tuple[str, list[str]]]:
    words = re.split(r"(?:^|\. )(Nick ?name|[A-Z][a-z]+(?: [a-z]+){0,2}): ", text.removesuffix("."))
    return [(label, list(dict.fromkeys(values.split(", ")))) for label, values in zip(words[1::2], words[2::2])]


def _said(text: str) -> tuple[list[Claim], list[str]]:
    ids = {"Nick name": "P1449"} | {
        PROPERTIES[id].label: id for id in ("P1449", "P21", "P69", "P106", "P39", "P26", "P1412", "P140", "P2031")
    }
    found: list[tuple[str, str]] = []
    for label, values in _parts(text):
        if label in ("Birth", "Death"):
            date, place = ("P569", "P19") if label == "Birth" else ("P570", "P20")
            found += [(place if not re.match(r"-?\d{3}", v) else date, _edtf(v)) for v in values]
        else:
            found += [(ids.get(label, "P9999"), _edtf(v)) for v in values]
    found.reverse()  # the order of properties is not that of claims
    by_property: dict[str, list[str]] = {}
    for id, value in found:
        by_property.setdefault(id, []).insert(0, value)
    return claims(*((id, value) for id, values in by_property.items() for value in values)), ["Q5"]


def _edtf(value: str) -> str:
    return re.sub(r"^(\d{4}(?:-(?!00)\d\d){0,2})(?:-00)*$", r"\1", value)


def _once(text: str) -> str:
    return " ".join(f"{label}: {', '.join(map(_edtf, values))}." for label, values in _parts(text))


@pytest.mark.realdata
def test_the_published_texts_have_the_same_labels(realdata):
    texts = json.loads((realdata / "wikimel" / "qid2abs.json").read_text(encoding="utf-8"))
    labels = {line.label for line in PropertiesConfig().lines["person"]}
    first = [text.split(":", 1)[0] for text in texts.values() if ":" in text]
    assert sum(label in labels for label in first) > 0.95 * len(first)


def test_the_docstring_example_runs():
    assert doctest.testmod(properties).failed == 0
