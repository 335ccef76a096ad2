import json
import re
from pathlib import Path

import pytest

from dualway.datasets.pictures import wikinews_name
from dualway.errors import DataError, KnowledgeBaseError, PictureError, UsageError
from dualway.kb.files import build_from_files
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Picture, Representation

UNIVERSE = Entity(
    "Q1",
    "Universe",
    aliases=("宇宙", "Вселенная", "الكون", "ब्रह्माण्ड"),
    types=("physical object",),
    representations=(
        Representation("description", "everything in space and time", source="mine.jsonl"),
        Representation("text", "All that there is.", source="mine.jsonl"),
        Representation("static", "The universe is all of space and time.", "wikipedia", "en", "99", "CC", "2026"),
    ),
    pictures=(Picture("u.jpg"), Picture("v.jpg", "commons", "CC0")),
)
UNIVERSE_JSON = {
    "id": "Q1",
    "name": " Universe ",
    "aliases": ["宇宙", "Вселенная", "الكون", "ब्रह्माण्ड", "宇宙", ""],
    "types": ["physical object"],
    "description": "everything in space and time",
    "text": "All that there is.",
    "representations": [
        {
            "kind": "static",
            "text": "The universe is all of space and time.",
            "source": "wikipedia",
            "language": "en",
            "revision": "99",
            "licence": "CC",
            "created_at": "2026",
        }
    ],
    "pictures": ["u.jpg", {"path": "v.jpg", "source": "commons", "licence": "CC0"}],
}


def write_jsonl(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def build_error(source: Path, content: bytes | str) -> str:
    """Build from a broken file; return what is said, with the file's own name cut off."""
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    out = source.parent / "kb"
    with pytest.raises(DataError) as caught:
        build_from_files(source, out)
    assert [path.name for path in source.parent.iterdir()] == [source.name]
    assert str(caught.value).startswith(str(source))
    return str(caught.value).removeprefix(str(source))


class TestJsonl:
    def test_every_key(self, tmp_path):
        source = write_jsonl(tmp_path / "mine.jsonl", UNIVERSE_JSON, {"id": "Q2", "name": "Earth", "aliases": None})
        report = build_from_files(source, tmp_path / "kb")
        assert report.form == "jsonl"
        assert report.reading["counts"] == {"entities": 2}
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert list(kb.entities()) == [UNIVERSE, Entity("Q2", "Earth")]
            assert kb.representation == ("description", "static", "text")
            assert kb.picture_root == tmp_path

    def test_chosen_kinds(self, tmp_path):
        source = write_jsonl(tmp_path / "mine.jsonl", UNIVERSE_JSON)
        build_from_files(source, tmp_path / "kb", representation=["static"])
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert kb.texts() == ["The universe is all of space and time."]
        with pytest.raises(KnowledgeBaseError, match=r"'dynamic'.*description \(1 entities\)"):
            build_from_files(source, tmp_path / "other", representation=["static", "dynamic"])

    def test_byte_order_mark_and_empty_lines(self, tmp_path):
        source = tmp_path / "mine.jsonl"
        source.write_bytes(b'\xef\xbb\xbf{"id": "Q1", "name": "a"}\r\n\r\n{"id": "Q2", "name": "a"}')
        assert build_from_files(source, tmp_path / "kb").manifest.counts["homonyms"] == 2

    def test_unknown_keys_and_repairs_are_counted(self, tmp_path):
        source = tmp_path / "mine.jsonl"
        source.write_text('{"id": "Q1", "name": "a\\ud800", "alias": ["b"]}\n{"id": "Q2", "name": "c", "alias": 1}\n')
        reading = build_from_files(source, tmp_path / "kb").reading
        assert reading["notes"]["unknown 'alias', not read"]["count"] == 2
        (repaired,) = reading["repaired"].values()
        assert repaired == {"count": 1, "examples": [{"id": "line 1", "text": "name"}]}

    @pytest.mark.parametrize(
        ("line", "complaint"),
        [
            ("{", "broken JSON"),
            ("[" * 100_000, "broken JSON"),
            ("[]", "expected an object"),
            ('"Universe"', "expected an object"),
            ("null", "expected an object"),
            ('{"name": "a"}', "'id' is missing or empty"),
            ('{"id": "Q2"}', "'name' is missing or empty"),
            ('{"id": "Q2", "name": "  "}', "'name' is missing or empty"),
            ('{"id": true, "name": "a"}', "'id' holds True, expected text"),
            ('{"id": 1e400, "name": "a"}', "'id' holds inf, expected a number or text"),
            ('{"id": "Q2", "name": ["a"]}', r"'name' holds \['a'\], expected text"),
            ('{"id": "Q2", "name": NaN}', "'name' holds nan"),
            ('{"id": "Q2", "name": "a", "aliases": "b"}', "'aliases' is 'b'; write a list"),
            ('{"id": "Q2", "name": "a", "aliases": [1]}', "'aliases' holds 1"),
            ('{"id": "Q2", "name": "a", "types": {}}', "'types' is {}; write a list"),
            ('{"id": "Q2", "name": "a", "text": 1}', "'text' holds 1"),
            ('{"id": "Q2", "name": "a", "representations": ["b"]}', "a representation is 'b'"),
            ('{"id": "Q2", "name": "a", "representations": [{"text": "b"}]}', "'kind' is missing"),
            ('{"id": "Q2", "name": "a", "representations": [{"kind": "static"}]}', "'text' is missing"),
            ('{"id": "Q2", "name": "a", "pictures": [1]}', "a picture is 1"),
            ('{"id": "Q2", "name": "a", "pictures": [{"source": "b"}]}', "'path' is missing"),
            ('{"id": "Q1", "name": "other"}', "id 'Q1': the id was already given in line 1"),
        ],
    )
    def test_a_broken_line_is_named(self, tmp_path, line, complaint):
        said = build_error(tmp_path / "mine.jsonl", '{"id": "Q1", "name": "a"}\n\n' + line + "\n")
        assert re.match(rf", line 3(: |, ){complaint}", said)

    def test_invalid_utf8(self, tmp_path):
        said = build_error(tmp_path / "mine.jsonl", b'{"id": "Q1", "name": "a"}\n{"id": "Q2", "name": "\xff"}')
        assert said.startswith(", line 2: not UTF-8: byte 0xff")

    @pytest.mark.parametrize("content", ["", "\n \n"])
    def test_an_empty_file(self, tmp_path, content):
        assert build_error(tmp_path / "mine.jsonl", content) == ": no entities in it"

    def test_a_long_value_is_cut_in_the_message(self, tmp_path):
        said = build_error(tmp_path / "mine.jsonl", json.dumps({"id": "Q1", "name": ["x" * 10**6]}))
        assert len(said) < 200

    def test_a_megabyte_of_text(self, tmp_path):
        source = write_jsonl(tmp_path / "mine.jsonl", {"id": "Q1", "name": "a", "text": "wort " * 200_000})
        build_from_files(source, tmp_path / "kb")
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert len(kb.texts()[0]) == 999_999


class TestCsv:
    CONTENT = (
        "\ufeffID,name,aliases,types,description,text\n"
        'Q1,Universe,宇宙|Вселенная,,"everything, in\nspace",\n'
        "\n"
        'Q2,"The ""Earth""",,planet|rock|planet,,Third.\n'
    )
    ENTITIES = (
        Entity(
            "Q1",
            "Universe",
            ("宇宙", "Вселенная"),
            representations=(Representation("description", "everything, in\nspace", "mine.csv"),),
        ),
        Entity(
            "Q2",
            'The "Earth"',
            types=("planet", "rock"),
            representations=(Representation("text", "Third.", "mine.csv"),),
        ),
    )

    def test_every_column(self, tmp_path):
        (tmp_path / "mine.csv").write_text(self.CONTENT, encoding="utf-8")
        report = build_from_files(tmp_path / "mine.csv", tmp_path / "kb")
        assert report.form == "csv"
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert list(kb.entities()) == list(self.ENTITIES)
            assert kb.representation == ("description", "text")

    def test_tabs_by_suffix_and_windows_line_ends(self, tmp_path):
        (tmp_path / "mine.tsv").write_bytes(b"name\tid\tborn\r\nSmith, Adam\tQ1\t1723\r\n")
        report = build_from_files(tmp_path / "mine.tsv", tmp_path / "kb")
        assert report.reading["notes"]["unknown 'born', not read"]["count"] == 1
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert list(kb.entities()) == [Entity("Q1", "Smith, Adam")]

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("", ": no entities in it"),
            ("id,name\n", ": no entities in it"),
            ("id;name\nQ1;a\n", ", line 1: the first row is ['id;name']; expected the columns id and name"),
            ("Q1,Universe\n", ", line 1: the first row is ['Q1', 'Universe']; expected the columns"),
            ("id,name,name\n", ", line 1: the first row names a column twice"),
            ("id,name\nQ1,a\nQ2,b,c\n", ", line 3: 3 values under 2 columns; quote values that contain the delimiter"),
            ("id,name\nQ1\n", ", line 2: 1 values under 2 columns"),
            ("id,name\nQ1,\n", ", line 2: 'name' is missing or empty"),
            ("id,name\nQ1,a\nQ1,b\n", ", line 3, id 'Q1': the id was already given in line 2"),
            ('id,name\nQ1,"a\n', ", line 2: broken CSV: unexpected end of data"),
            ('id,name\nQ1,"a"b\n', ", line 2: broken CSV: "),
            (f"id,name\nQ1,{'x' * 200_000}\n", ", line 2: broken CSV: field larger than field limit"),
            (b"id,name\nQ1,\xe9\n", ", line 2: not UTF-8: byte 0xe9"),
        ],
    )
    def test_a_broken_file_is_named(self, tmp_path, content, said):
        assert build_error(tmp_path / "mine.csv", content).startswith(said)


class TestForms:
    def write_ghmfc(self, folder: Path, **files: dict[str, str]) -> Path:
        folder.mkdir()
        for name, values in files.items():
            (folder / f"{name}.json").write_text(json.dumps(values), encoding="utf-8")
        return folder

    def test_ghmfc_is_told_by_its_files(self, tmp_path):
        source = self.write_ghmfc(
            tmp_path / "source",
            qid2ne={"Q1": "Richard Wagner", "Q2": "Richard Wagner"},
            qid2abs={"Q1": "Sex: male.", "Q2": ""},
            qid2abs_long={"Q1": "Sex: male. Birth: 1813, Leipzig.", "Q2": "Sex: male. Birth: 1952."},
        )
        report = build_from_files(source, tmp_path / "kb")
        assert report.form == "ghmfc"
        assert report.to_dict()["homonyms"] == 2
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert kb.ids == ["Q1", "Q2"]
            assert kb.representation == ("properties",)
            assert kb.kinds == {"properties": 2, "properties_short": 1}
            assert kb.texts()[0] == "Sex: male. Birth: 1813, Leipzig."
            assert kb.texts(["properties_short"]) == ["Sex: male.", ""]

    def test_names_alone(self, tmp_path):
        source = self.write_ghmfc(tmp_path / "source", qid2ne={"Q1": "Richard Wagner"})
        assert build_from_files(source, tmp_path / "kb", form="ghmfc").manifest.representation == ()

    def test_kgmel_is_told_by_its_file(self, tmp_path):
        path = tmp_path / "entities.json"
        path.write_text(json.dumps({"Q2": {"name": "Earth", "description": "third planet", "aliases": ["Terra"]}}))
        for number, source in enumerate([tmp_path, path]):
            out = tmp_path / f"kb{number}"
            assert build_from_files(source, out).form == "kgmel"
            with KnowledgeBase.open(out) as kb:
                assert kb.representation == ("description",)
                assert kb.aliases == [("Terra",)]

    def test_the_form_can_be_said(self, tmp_path):
        source = write_jsonl(tmp_path / "mine.txt", {"id": "Q1", "name": "Universe"})
        with pytest.raises(DataError, match=r"--from ghmfc\|kgmel\|wikidiverse\|mimic\|jsonl\|csv"):
            build_from_files(source, tmp_path / "kb")
        assert build_from_files(source, tmp_path / "kb", form="jsonl").manifest.counts["entities"] == 1

    def test_pictures_beside_a_published_set_are_within_its_folders(self, tmp_path):
        """Found there by the set's reader; what a set says itself leads nowhere else."""
        address, hostile = "https://upload.example.org/b/Ada.jpg", "../secret/a.jpg"
        for name in ("set", "images", "secret"):
            (tmp_path / name).mkdir()
        (tmp_path / "images" / wikinews_name(address)).write_bytes(b"")
        (tmp_path / "secret" / "a.jpg").write_bytes(b"")
        (tmp_path / "set" / "entity2desc.tsv").write_text("Ada@@@@A singer.\n")
        (tmp_path / "set" / "entity2imgs.tsv").write_text(f"Ada@@@@{address}[AND]{hostile}\n")
        build_from_files(tmp_path / "set", tmp_path / "kb")
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            (_, found), (_, other) = kb.gallery_pictures()
            assert kb.picture_path(found) == tmp_path / "images" / wikinews_name(address)
            assert other.path == hostile
            with pytest.raises(PictureError, match="leads out of"):
                kb.picture_path(other)

    def test_what_is_refused(self, tmp_path):
        with pytest.raises(UsageError, match="unknown form 'rdf'"):
            build_from_files(tmp_path, tmp_path / "kb", form="rdf")
        with pytest.raises(DataError, match="no such file"):
            build_from_files(tmp_path / "nowhere", tmp_path / "kb")
        with pytest.raises(DataError, match="no entity file"):
            build_from_files(tmp_path, tmp_path / "kb")
        with pytest.raises(DataError, match=r"give the \.csv file"):
            build_from_files(tmp_path, tmp_path / "kb", form="csv")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.realdata
class TestRealData:
    @pytest.mark.parametrize(
        ("name", "form", "num_entities", "num_homonyms", "kinds"),
        [
            ("wikimel", "ghmfc", 18_880, 0, {"properties": 18_880}),
            ("richpedia", "ghmfc", 17_805, 137, {"properties": 17_805, "properties_short": 17_625}),
            ("wikidiverse", "kgmel", 20_844, 479, {"description": 3_554}),
        ],
    )
    def test_build(self, realdata, tmp_path, name, form, num_entities, num_homonyms, kinds):
        report = build_from_files(realdata / name, tmp_path / "kb")
        assert report.form == form
        assert report.seconds < 20
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert len(kb) == len(set(kb.ids)) == num_entities
            assert kb.manifest.counts["homonyms"] == num_homonyms
            assert kb.kinds == kinds
            assert kb.representation == tuple(kinds)[:1]
            kb.check()

    def test_richpedia_homonyms_are_both_there(self, realdata, tmp_path):
        build_from_files(realdata / "richpedia", tmp_path / "kb")
        names = json.loads((realdata / "richpedia" / "qid2ne.json").read_text(encoding="utf-8"))
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert kb.manifest.counts["shared_names"] == 67
            assert dict(zip(kb.ids, kb.names)) == names
            wagners = kb.ids_named("Richard Wagner")
            assert len(wagners) == 2
            assert len({kb.entity(entity_id).representations[0].text for entity_id in wagners}) == 2
