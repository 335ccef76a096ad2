from __future__ import annotations

import pytest
from tests.sources.dump_items import ADAMS, LABELS, dated, item, located, statement, texts

from dualway.errors import UsageError
from dualway.schema import Field
from dualway.sources.properties import PropertiesConfig, properties_text
from dualway.sources.wikidata import MAX_VALUES, DumpOptions, WikidataReader


def read(given, label_of=LABELS.get, **options):
    """Return the entity and the report."""
    reader = WikidataReader(DumpOptions(**options))
    return reader.entity(given, label_of), reader.report


def values(entity, name):
    return [(field.value, field.id) for field in entity.fields if field.name == name]


def of(claims, **more):
    """Return the entity of somebody of whom this is stated."""
    return read(item(1, {"en": "A"}, claims, **more))[0]


class TestAnItem:
    def test_all_of_it(self):
        entity, report = read(ADAMS, languages=("en", "mul", "de"))
        assert (entity.id, entity.name, entity.types) == ("Q42", "Douglas Adams", ("human",))
        assert entity.aliases == ("Douglas Noel Adams", "DNA", "Douglas N. Adams")
        assert entity.fields == (
            Field("instance_of", "human", "Q5"),
            *(Field("sex", "male", "Q6581097"), Field("born", "1952-03-11"), Field("birthplace", "Cambridge", "Q350")),
            *(Field("died", "2001-05-11"), Field("occupation", "playwright", "Q214917")),
            *(Field("occupation", "novelist", "Q6625963"), Field("spouse", "Q999", "Q999")),
            *(Field("image", "Douglas adams.jpg"), Field("sitelinks", "3")),
            *(Field("wikipedia:en", "Douglas Adams"), Field("wikipedia:de", "Douglas Adams (Autor)")),
        )
        assert report.counts["statements: deprecated"] == 1
        assert report.counts["properties of items that are not kept"] == 1

    def test_its_texts(self):
        entity, _ = read(ADAMS, languages=("en", "de"))
        told = {(text.kind, text.language): text.text for text in entity.representations}
        assert told["properties", "en"] == (
            "Sex: male. Birth: 1952-03-11, Cambridge. Death: 2001-05-11. Occupation: playwright, novelist."
        )
        assert told["description", "en"] == "English author"
        assert told["description", "de"] == "britischer Schriftsteller"
        assert len(told) == 3
        for text in entity.representations:
            assert (text.source, text.licence) == ("wikidata", "CC0 1.0")
            assert (text.revision, text.created_at) == ("1600533266", "2024-03-17T05:11:46Z")

    def test_the_text_of_properties_is_that_of_its_settings(self):
        settings = PropertiesConfig(with_name=True)
        entity, _ = read(ADAMS, properties=settings)
        assert entity.representations[0].text.startswith("Douglas Adams. Sex: male.")
        assert properties_text([], ["Q5"], settings, name="x") == ""

    def test_one_with_nothing_but_a_name(self):
        entity, _ = read(item(7, {"en": "Nothing"}))
        assert (entity.name, entity.aliases, entity.types, entity.representations) == ("Nothing", (), (), ())
        assert entity.fields == (Field("sitelinks", "0"),)

    def test_parts_that_are_missing_altogether(self):
        entity, _ = read({"type": "item", "id": "Q7", "labels": texts({"en": "Nothing"})})
        assert entity.name == "Nothing"


class TestNames:
    def test_the_first_wanted_language_that_has_a_label(self):
        labels = {"de": "Köln", "mul": "Koeln", "fr": "Cologne"}
        assert read(item(1, labels), languages=("en", "mul", "de"))[0].name == "Koeln"
        assert read(item(1, labels), languages=("de", "mul"))[0].aliases == ("Koeln",)

    def test_without_a_label_the_title_of_its_page(self):
        given = item(1, {"ru": "Кёльн"}, sitelinks={"frwiki": "Cologne", "dewiki": "Köln"})
        assert read(given, languages=("en", "de", "fr"))[0].name == "Köln"
        given = item(1, {}, sitelinks={"nowiki": "Oslo"})
        assert read(given, languages=("nb",))[0].fields[-1] == Field("wikipedia:nb", "Oslo")

    def test_any_language_where_that_is_wished(self):
        given = item(1, {"ru": "Кёльн", "el": "Κολωνία"})
        entity, report = read(given)
        assert entity is None
        assert report.dropped["neither a label nor a page in en, mul"].examples == [("Q1", "")]
        assert read(given, any_language=True)[0].name == "Кёльн"
        assert read(item(1), any_language=True)[0] is None

    def test_a_label_of_spaces_is_none(self):
        assert read(item(1, {"en": " \t", "mul": "A"}))[0].name == "A"

    def test_aliases_are_told_once_and_never_the_name(self):
        given = item(1, {"en": "A", "de": "B"}, aliases={"en": ["B", "A", " C ", ""], "de": ["C"]})
        assert read(given, languages=("en", "de"))[0].aliases == ("B", "C")


class TestStatements:
    def test_preferred_ones_come_first_and_deprecated_ones_never(self):
        claims = [statement("P106", 214917), statement("P106", 6625963, rank="preferred")]
        claims.append(statement("P106", 5, rank="deprecated"))
        entity = of({"P31": [statement("P31", 5)], "P106": claims})
        assert values(entity, "occupation") == [("novelist", "Q6625963"), ("playwright", "Q214917")]
        # The text tells the best rank only, as Wikidata's own queries do.
        assert entity.representations[0].text == "Occupation: novelist."

    def test_what_has_ended_comes_after_what_has_not(self):
        claims = [statement("P39", 350, ended=True), statement("P39", 5), statement("P39", 214917, rank="preferred")]
        claims[2]["qualifiers"] = {"P582": [{"snaktype": "somevalue", "property": "P582"}]}
        assert [label for label, _ in values(of({"P39": claims}), "position")] == ["playwright", "human", "Cambridge"]
        claims[0]["qualifiers"]["P582"] = [{"snaktype": "novalue", "property": "P582"}]  # it goes on
        assert [label for label, _ in values(of({"P39": claims}), "position")] == ["playwright", "Cambridge", "human"]

    def test_unknown_values_and_none_are_counted(self):
        given = item(1, {"en": "A"}, {"P19": [statement("P19", "somevalue")], "P570": [statement("P570", "novalue")]})
        entity, report = read(given)
        assert [field.name for field in entity.fields] == ["sitelinks"]
        assert report.counts["statements: the value is unknown or there is none"] == 2

    def test_the_same_value_is_told_once(self):
        entity = of({"P106": [statement("P106", 5), statement("P106", 5, rank="preferred")]})
        assert values(entity, "occupation") == [("human", "Q5")]

    def test_dates_of_all_kinds(self):
        born = [
            dated("P569", "+1564-04-26T00:00:00Z", calendar="Q1985786"),
            dated("P569", "-0044-00-00T00:00:00Z", 9),
            dated("P569", "+1900-00-00T00:00:00Z", 7),
            dated("P569", "-5000000-00-00T00:00:00Z", 3),
        ]
        entity, report = read(item(1, {"en": "A"}, {"P569": born}))
        assert [date for date, _ in values(entity, "born")] == ["1564-05-06", "-0043", "18XX"]
        assert report.notes["values of P569 that cannot be kept"].count == 1

    def test_places_on_the_moon_are_not_on_earth(self):
        entity, report = read(item(1, {"en": "A"}, {"P625": [located(1.5, 2, "Q405"), located(3.5, -4)]}))
        assert values(entity, "coordinates") == [("3.5,-4", "")]
        assert report.notes["values of P625 that cannot be kept"].count == 1

    def test_both_parents_are_parents(self):
        entity = of({"P25": [statement("P25", 350)], "P22": [statement("P22", 5)]})
        assert values(entity, "parent") == [("human", "Q5"), ("Cambridge", "Q350")]

    def test_a_number_of_units_is_told_where_it_is_asked_for(self):
        from dualway.sources.properties import Line

        height = {"amount": "+1.96", "unit": "http://www.wikidata.org/entity/Q11573"}
        claims = {"P2048": [statement("P2048", height, kind="quantity", datatype="quantity")]}
        settings = PropertiesConfig(lines={**PropertiesConfig().lines, "other": (Line("Height", ("P2048",)),)})
        assert (
            read(item(1, {"en": "A"}, claims), properties=settings)[0].representations[0].text == "Height: 1.96 metre."
        )

    def test_a_value_without_a_label_keeps_its_id_and_is_not_told(self):
        entity, _ = read(item(1, {"en": "A"}, {"P31": [statement("P31", 5)], "P19": [statement("P19", 350)]}), {}.get)
        assert values(entity, "birthplace") == [("Q350", "Q350")]
        assert (entity.types, entity.representations) == ((), ())

    def test_so_many_values_that_the_rest_is_counted(self):
        claims = {"P40": [statement("P40", number) for number in range(1, MAX_VALUES + 11)]}
        entity, report = read(item(1, {"en": "A"}, claims))
        assert len(values(entity, "child")) == MAX_VALUES
        assert report.notes[f"values of a property beyond the first {MAX_VALUES}, left out"].count == 1

    @pytest.mark.parametrize(
        "broken",
        [
            *({}, [], None, 7, "text", {"mainsnak": None}, {"mainsnak": {"snaktype": "value"}}),
            {"mainsnak": {"snaktype": "value", "datavalue": {"type": "time", "value": {"time": 7, "precision": 11}}}},
            {
                "mainsnak": {
                    "snaktype": "value",
                    "datavalue": {"type": "time", "value": {"time": "+1-01-01T", "precision": ""}},
                }
            },
            {"mainsnak": {"snaktype": "value", "datavalue": {"type": "globecoordinate", "value": {"latitude": "x"}}}},
            {"mainsnak": {"snaktype": "value", "datavalue": {"type": "wikibase-entityid", "value": {"id": ["Q5"]}}}},
            {"mainsnak": {"snaktype": "value", "datavalue": {"type": "quantity", "value": {"amount": 5, "unit": 1}}}},
            {"mainsnak": {"snaktype": "value", "datavalue": {"type": ["time"], "value": 1}}},
            {**statement("P569", 5), "qualifiers": 7},
        ],
        ids=repr,
    )
    def test_what_cannot_be_understood_is_counted_and_the_rest_is_kept(self, broken):
        given = item(1, {"en": "A"}, {"P569": [broken, dated("P569", "+1946-06-14T00:00:00Z")]})
        entity, report = read(given)
        assert ("1946-06-14", "") in values(entity, "born")
        assert report.notes["statements that cannot be understood, left out"].examples == [("Q1", "P569")]


class TestWhatIsNoEntity:
    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            ({"entity": "Q1", "redirect": "Q2"}, "redirects"),
            ({"id": "Q1", "missing": ""}, "deleted or unknown items"),
            (
                {"type": "property", "id": "P31", "labels": texts({"en": "instance of"})},
                "properties: only items are read",
            ),
            ({"type": "lexeme", "id": "L1"}, "lexemes: only items are read"),
            ({"type": "mediainfo", "id": "M1"}, "entities of other kinds: only items are read"),
            (item(1, {"en": "A"}, {"P31": [statement("P31", 4167410)]}), "disambiguation pages and other pages of"),
            (item(1, {"en": "A"}, {"P31": [statement("P31", 5), statement("P31", 4167836)]}), "disambiguation pages"),
        ],
    )
    def test_it_is_left_out_and_counted(self, given, reason):
        entity, report = read(given)
        assert entity is None
        assert [key.startswith(reason) for key in report.dropped] == [True]

    def test_by_class_and_sitelinks(self):
        assert read(ADAMS, classes=("Q5",))[0] is not None
        assert list(read(ADAMS, classes=("Q515",))[1].dropped) == ["of none of the wanted classes"]
        assert list(read(item(1, {"en": "A"}), classes=("Q5",))[1].dropped) == ["of none of the wanted classes"]
        assert read(ADAMS, min_sitelinks=3)[0] is not None
        assert list(read(ADAMS, min_sitelinks=4)[1].dropped) == ["fewer than 4 sitelinks"]

    def test_pages_of_wikimedias_own_where_they_are_wanted(self):
        given = item(1, {"en": "A"}, {"P31": [statement("P31", 4167410)]})
        assert read(given, leave_out=())[0] is not None

    @pytest.mark.parametrize(
        "given",
        [
            *(None, [], "Q1", 7, {}, {"type": "item"}, {"type": "item", "id": 1}, {"type": "item", "id": "Q0"}),
            *({"type": "item", "id": "Q1\n"}, {"type": "item", "id": "Q" + "9" * 30}, {**ADAMS, "labels": 7}),
            *({**ADAMS, "labels": {"en": "A"}}, {**ADAMS, "labels": {"en": {"value": 7}}}, {**ADAMS, "labels": ["A"]}),
            *({**ADAMS, "claims": {"P31": 7}}, {**ADAMS, "claims": "x"}, {**ADAMS, "aliases": {"en": 7}}),
            *({**ADAMS, "sitelinks": [1]}, {**ADAMS, "descriptions": {"en": None}}),
        ],
        ids=lambda given: str(given)[-40:],
    )
    def test_what_has_not_the_shape_of_an_item_is_an_error(self, given):
        with pytest.raises(ValueError, match=r".+"):
            read(given)

    @pytest.mark.parametrize(
        "options",
        [
            {"languages": ()},
            {"languages": ("en wiki",)},
            {"classes": ("human",)},
            {"leave_out": ("P31",)},
            {"on_error": "x"},
        ],
    )
    def test_options_are_checked(self, options):
        with pytest.raises(UsageError):
            WikidataReader(DumpOptions(**options))
