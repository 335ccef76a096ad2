from __future__ import annotations

import pytest

from dualway.datasets import read_entities
from dualway.errors import DataError, UsageError
from dualway.schema import Entity, Representation


def test_ghmfc_files_are_joined_by_id_and_homonyms_survive(write, tmp_path):
    write("qid2ne.json", {"Q1": "Fred (footballer)", "Q2": "Fred", "Q3": "Fred", "Q5": ""})
    write("ne2qid.json", {"Fred": "Q3"})
    write("qid2abs.json", {"Q1": "Sex: male.", "Q2": "", "Q3": "None", "Q4": "Birth: 1900."})
    entities, report = read_entities(tmp_path)
    assert [entity.id for entity in entities] == ["Q1", "Q2", "Q3", "Q5", "Q4"]
    assert entities[0] == Entity(
        "Q1", "Fred (footballer)", representations=(Representation("properties", "Sex: male.", "qid2abs.json"),)
    )
    assert [len(entity.representations) for entity in entities] == [1, 0, 0, 0, 1]
    assert [entity.name for entity in entities[3:]] == ["Q5", "Q4"]
    assert report.counts["entities"] == 5
    assert report.counts["names shared"] == 2
    assert report.notes["no text in qid2abs.json"].count == 2
    assert report.notes["id not in qid2abs.json"].count == 1
    assert report.repaired["no name, the id stands for it"].count == 2


def test_the_long_text_is_the_default_and_the_short_one_is_kept(write, tmp_path):
    write("qid2ne.json", {"Q1": "A", "Q2": "B"})
    write("qid2abs.json", {"Q1": "short", "Q2": ""})
    write("qid2abs_long.json", {"Q1": "long", "Q2": "long too"})
    entities, _ = read_entities(tmp_path, "ghmfc")
    assert [(r.kind, r.text) for r in entities[0].representations] == [
        ("properties", "long"),
        ("properties_short", "short"),
    ]
    assert [(r.kind, r.text) for r in entities[1].representations] == [("properties", "long too")]


@pytest.mark.parametrize(
    ("text", "name", "kept"),
    [
        ("Jodie Foster [SEP]. American actress. [SEP]. Born 1962.", "Jodie Foster", "Born 1962."),
        ("Jodie Foster [SEP]. None", "Jodie Foster", None),
        ("Jodie Foster [SEP]. ", "Jodie Foster", None),
        ("None", "Q1", None),
        ("American actress", "Q1", "American actress"),
    ],
)
def test_text_follows_the_last_separator(write, text, name, kept):
    [entity], _ = read_entities(write("brief.json", {"Q1": text}))
    assert entity.name == name
    assert [r.text for r in entity.representations] == ([kept] if kept else [])
    assert all(r.kind == "description" for r in entity.representations)


def test_kgmel_has_descriptions_aliases_and_types(write, tmp_path):
    write(
        "entities.json",
        {
            "Q2": {
                "name": "Earth",
                "description": "planet",
                "aliases": ["Terra", "Earth", "Terra", ""],
                "types": ["planet"],
            },
            "Q4": {"name": "death"},
            "Q5": {"name": 5, "aliases": "x", "types": [1, "y"], "description": ["z"]},
            "Q6": "text",
        },
    )
    entities, report = read_entities(tmp_path)
    assert entities[0] == Entity(
        "Q2", "Earth", ("Terra",), ("planet",), (Representation("description", "planet", "entities.json"),)
    )
    assert entities[1] == Entity("Q4", "death")
    assert entities[2] == Entity("Q5", "Q5", (), ("y",))
    assert {reason: tally.count for reason, tally in report.dropped.items()} == {
        "a name is not text": 1,
        "'aliases' is not a list": 1,
        "one of 'types' is not text": 1,
        "a description is not text": 1,
        "entity is not an object": 1,
    }


def test_a_file_is_told_by_its_content(write):
    assert read_entities(write("held.json", {"Q1": {"name": "A"}}))[1].format == "kgmel"
    assert read_entities(write("back.json", {"Q1": "a text"}))[0][0].representations[0].kind == "properties"


def test_lone_surrogates_are_replaced_and_counted(write):
    [entity], report = read_entities(write("x.json", {"Q1": {"name": "a\ud800"}}))
    assert entity.name == "a\ufffd"
    assert len(report.repaired) == 1


def test_both_forms_in_one_folder_must_be_chosen_from(write, tmp_path):
    write("entities.json", {"Q1": {"name": "A"}})
    write("qid2ne.json", {"Q1": "B"})
    with pytest.raises(UsageError, match=r"several forms.*kgmel"):
        read_entities(tmp_path)
    assert read_entities(tmp_path, "kgmel")[0][0].name == "A"
    assert read_entities(tmp_path, "ghmfc")[0][0].name == "B"


def test_errors_name_the_place_and_the_remedy(write, tmp_path):
    with pytest.raises(DataError, match=r"looked for entities\.json, qid2ne\.json"):
        read_entities(tmp_path)
    with pytest.raises(UsageError, match="unknown form 'csv'"):
        read_entities(tmp_path, "csv")
    with pytest.raises(DataError, match=r"qid2ne\.json, line 2: broken JSON"):
        read_entities(write("qid2ne.json", '{\n"Q1": '))
    with pytest.raises(DataError, match="expected an object keyed by entity id"):
        read_entities(write("qid2ne.json", []))
    with pytest.raises(DataError, match="no usable entity"):
        read_entities(write("qid2ne.json", {}))
    with pytest.raises(DataError, match=r"id 'Q1': this key occurs twice"):
        read_entities(write("qid2ne.json", '{"Q1": "a", "Q1": "b"}'))
