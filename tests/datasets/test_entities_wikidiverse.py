"""WikiDiverse's tables of entities, and DWE's."""

from __future__ import annotations

import pytest
from tests.folders import PEOPLE, write_wikidiverse

from dualway.datasets import read_entities
from dualway.datasets.pictures import dwe_name, wikinews_name
from dualway.errors import DataError, UsageError
from dualway.kb.files import build_from_files
from dualway.kb.store import KnowledgeBase
from dualway.schema import Picture

ADDRESS = "https://upload.example.org/commons/a/Ada_%281%29.svg"
OTHER = "https://upload.example.org/commons/b/Ada.jpg"


def test_descriptions_and_pictures_are_joined_by_title(write, tmp_path):
    write("wikipedia_entity2desc_filtered.tsv", "Ada_Lisk@@@@A singer.@@@@Still her.\nCoca-Cola@@@@A drink.\r\n")
    write(
        "wikipedia_entity2imgs.tsv",
        f"entity@@@@wiki_img\nAda Lisk@@@@{ADDRESS}[AND] {OTHER}[AND]\nUnknown@@@@{OTHER}\nAda%20Lisk@@@@{OTHER}\n",
    )
    write(f"images/{dwe_name(ADDRESS)}", b"")
    entities, report = read_entities(tmp_path)
    assert report.format == "wikidiverse"
    assert [(e.id, e.name) for e in entities] == [("Ada Lisk", "Ada Lisk"), ("Coca-Cola", "Coca-Cola")]
    assert [r.text for e in entities for r in e.representations] == ["A singer.@@@@Still her.", "A drink."]
    assert entities[0].pictures == (Picture(f"images/{dwe_name(ADDRESS)}", ADDRESS), Picture(OTHER, OTHER))
    assert report.counts["titles with pictures only, left out"] == 1
    assert (report.counts["pictures present"], report.counts["pictures missing"]) == (1, 1)
    assert report.notes["picture not on disk, its address is kept"].examples == [("Ada Lisk", OTHER)]


def test_pictures_above_the_folder_are_relative_to_it(write, tmp_path):
    write("set/entity2desc.tsv", "Ada@@@@A singer.\n")
    write("set/entity2imgs.tsv", f"Ada@@@@{OTHER}\n")
    write(f"images/{wikinews_name(OTHER)}", b"")
    build_from_files(tmp_path / "set", tmp_path / "kb")
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        [picture] = kb.entity("Ada").pictures
        assert picture.path == f"../images/{wikinews_name(OTHER)}"
        assert (kb.picture_root / picture.path).is_file()


def test_pictures_alone_make_entities(write):
    entities, _ = read_entities(write("entity2imgs", f"title@@@@imgs\nAda@@@@{OTHER}\nBen_L@@@@{ADDRESS}\n"))
    assert [(e.name, len(e.pictures), e.representations) for e in entities] == [("Ada", 1, ()), ("Ben L", 1, ())]


def test_dwes_names_and_types_are_kept_as_they_stand(write, tmp_path):
    write("entity2desc.json", {"Coca Cola": "A drink.", "a_b%20c": "None", "Ada": ""})
    write("type2entity.json", {"Product": ["Coca Cola", "Coca Cola"], "Other": ["Ada", 5, "Nobody"], "Odd": 3})
    entities, report = read_entities(tmp_path)
    assert [(e.id, e.types) for e in entities] == [("Coca Cola", ("Product",)), ("a_b%20c", ()), ("Ada", ("Other",))]
    assert report.notes["no text in entity2desc.json"].count == 2
    assert report.notes["name of type2entity.json that is no entity"].examples == [("Nobody", "")]
    assert report.dropped["members of a type are not a list"].count == 1
    assert report.dropped["a member of a type is not text"].count == 1


def test_a_mapping_gives_wikidata_ids_and_joins_titles_of_one_entity(write, tmp_path):
    write("entity2desc.tsv", "Ada@@@@A singer.\nAda_Lisk@@@@The same.\nBen@@@@A cyclist.\n")
    write("wikipedia2qid.json", {"Ada": "Q1", "Ada_Lisk": "Q1"})
    entities, report = read_entities(tmp_path)
    assert [(e.id, e.name, e.aliases) for e in entities] == [("Q1", "Ada", ("Ada Lisk",)), ("Ben", "Ben", ())]
    assert report.repaired["two titles of one id, the second is an alias"].count == 1
    assert report.notes["title without a Wikidata id, kept as the id"].count == 1


def test_odd_lines_are_counted(write, tmp_path):
    content = "no separator\n\n@@@@without a title\nAda@@@@\x00A singer.\nAda@@@@again\n"
    entities, report = read_entities(write("entity2desc.tsv", content))
    assert [(e.id, e.representations[0].text) for e in entities] == [("Ada", "\ufffdA singer.")]
    assert report.dropped["line without @@@@ in entity2desc.tsv"].examples == [("line 1", "no separator")]
    assert report.dropped["description without a title"].count == 1
    assert report.dropped["title given before"].count == 1
    assert report.repaired["lone surrogates or NUL replaced"].examples[0][0] == "line 4"


def test_broken_bytes_are_an_error_naming_file_and_line(write):
    with pytest.raises(DataError, match=r"entity2desc\.tsv, line 2: not UTF-8"):
        read_entities(write("entity2desc.tsv", b"Ada@@@@x\nBen@@@@\xff\n"))


def test_a_table_is_told_by_its_content(write, tmp_path):
    for name in ("wiki.tsv", "descriptions", "x.csv"):
        report = build_from_files(write(name, "Ada@@@@A singer.\n"), tmp_path / f"kb-{name}")
        assert report.form == "wikidiverse"
    assert build_from_files(write("real.tsv", "id\tname\nQ1\tAda\n"), tmp_path / "kb-real").form == "csv"


def test_two_forms_in_one_folder_must_be_chosen_from(write, tmp_path):
    write("entity2desc.tsv", "Ada@@@@A singer.\n")
    write("brief.json", {"Ada": "Ada [SEP]. A singer."})
    with pytest.raises(UsageError, match="ghmfc or wikidiverse"):
        read_entities(tmp_path)
    assert read_entities(tmp_path, "wikidiverse")[0][0].id == "Ada"


@pytest.mark.parametrize("form", ["sentences", "candidates", "dwe"])
def test_the_folders_build_into_the_same_knowledge_base(tmp_path, form):
    data = write_wikidiverse(tmp_path, form)
    report = build_from_files(tmp_path if form == "candidates" else data, tmp_path / "kb")
    assert (report.form, report.manifest.counts["entities"]) == ("wikidiverse", len(PEOPLE))
    assert report.manifest.representation == ("description",)
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        assert ("Coca-Cola" in kb, "Teodóra Lisk" in kb) == (False, True)
        assert ("Jun Okabe-Rhys" in kb) == (form != "dwe")
        assert kb.types[kb.row("Tolmar")] == (("Location",) if form == "dwe" else ())
