"""One's own tables, whatever their columns are called: CSV, JSON Lines, Parquet."""

import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualway.datasets.base import ReadReport
from dualway.datasets.columns import ColumnMap
from dualway.datasets.entities_own import read_csv_entities, read_jsonl_entities, read_parquet_entities
from dualway.errors import DataError, UsageError
from dualway.schema import Field, Picture, Representation

FLAGS = [
    *("id=inv", "name=Title", "aliases=Also", "text:static=Long text", "field:born=Birth", "field:occupation=Trades"),
    "picture=File",
]
CSV = (
    "inv;Title;Also;Long text;Birth;Trades;File;Shelf\n"
    '7;Ada;Countess/AAL;"First; programmer";1815-12-10;poet/writer;a.jpg;3\n'
)


def columns(**more) -> ColumnMap:
    return ColumnMap.parse(FLAGS, separator="/", id_prefix="m:", language="en", licence="CC0", **more)


def check(entity, source: str) -> None:
    assert (entity.id, entity.name, entity.aliases) == ("m:7", "Ada", ("Countess", "AAL"))
    assert [(r.kind, r.text, r.language, r.licence) for r in entity.representations] == [
        ("static", "First; programmer", "en", "CC0")
    ]
    assert entity.fields == (
        Field("born", "1815-12-10"),
        Field("occupation", "poet"),
        Field("occupation", "writer"),
    )
    assert entity.pictures == (Picture("a.jpg", licence="CC0"),)
    assert source


def test_csv(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(CSV, encoding="utf-8-sig")
    report = ReadReport(path, "csv")
    (entity,) = read_csv_entities(path, report, columns(delimiter=";"))
    check(entity, "csv")
    assert report.notes["unknown 'Shelf', not read"].count == 1


def test_jsonl_with_values_inside_others(tmp_path):
    path = tmp_path / "t.jsonl"
    line = {"inv": 7, "labels": {"en": "Ada"}, "Also": ["Countess", "AAL"], "Long text": "First; programmer"}
    path.write_text(json.dumps({**line, "Birth": "1815-12-10", "Trades": ["poet", "writer"], "File": "a.jpg"}))
    flags = ["name=labels.en" if flag == "name=Title" else flag for flag in FLAGS]
    (entity,) = read_jsonl_entities(
        path, ReadReport(path, "jsonl"), ColumnMap.parse(flags, id_prefix="m:", language="en", licence="CC0")
    )
    check(entity, "jsonl")


def test_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    table = pa.table(
        {
            "inv": [7, 8],
            "Title": ["Ada", "Bob"],
            "Also": [["Countess", "AAL"], None],
            "Long text": ["First; programmer", ""],
            "Birth": [datetime.date(1815, 12, 10), None],
            "Trades": ["poet/writer", None],
            "File": ["a.jpg", None],
            "weight": [1.5, float("nan")],
        }
    )
    pq.write_table(table, path)
    report = ReadReport(path, "parquet")
    first, second = read_parquet_entities(path, report, columns())
    check(first, "parquet")
    assert (second.id, second.name, second.representations, second.fields) == ("m:8", "Bob", (), ())


def test_parquet_without_flags_and_in_many_rows(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"id": [f"Q{n}" for n in range(5000)], "name": ["x"] * 5000, "text": ["words"] * 5000}), path
    )
    entities = list(read_parquet_entities(path, ReadReport(path, "parquet")))
    assert len(entities) == 5000
    assert entities[4999].representations == (Representation("text", "words", source="t.parquet"),)


@pytest.mark.parametrize("content", [b"", b"PAR1 not really PAR1", b"id,name\nQ1,x\n"])
def test_what_is_no_parquet_file(tmp_path, content):
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"t\.parquet.*no Parquet file"):
        list(read_parquet_entities(path, ReadReport(path, "parquet")))


@pytest.mark.parametrize("flag", ["name", "name=", "=x", "colour=x", "text:=x", "label:en=x"])
def test_flags_that_say_nothing(flag):
    with pytest.raises(UsageError, match="--column"):
        ColumnMap.parse([flag])


def test_a_column_that_is_not_there_is_named_beside_those_that_are(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,name\nQ1,x\n")
    with pytest.raises(UsageError, match="'titel', which is not there; there are id, name"):
        list(read_csv_entities(path, ReadReport(path, "csv"), ColumnMap.parse(["name=titel"])))


class TestFields:
    def read(self, tmp_path, fields):
        path = tmp_path / "t.jsonl"
        path.write_text(json.dumps({"id": "Q1", "name": "x", "fields": fields}))
        report = ReadReport(path, "jsonl")
        return next(iter(read_jsonl_entities(path, report))).fields, report

    def test_both_forms(self, tmp_path):
        short, _ = self.read(
            tmp_path, {"born": "1946", "occupation": ["actor", {"value": "director", "id": "Q2"}], "n": 5}
        )
        assert short == (
            Field("born", "1946"),
            Field("occupation", "actor"),
            Field("occupation", "director", "Q2"),
            Field("n", "5"),
        )
        long, _ = self.read(tmp_path, [{"name": "born", "value": "194X"}, {"name": "empty", "value": ""}])
        assert long == (Field("born", "194X"),)

    def test_a_date_that_is_none_is_kept_and_noted(self, tmp_path):
        fields, report = self.read(tmp_path, {"born": "June 14, 1946"})
        assert fields == (Field("born", "June 14, 1946"),)
        assert any("born: no date" in note for note in report.notes)

    @pytest.mark.parametrize("fields", ["born", [5], [{"value": "x"}], {"born": {"id": 5, "value": "x"}}])
    def test_what_is_none(self, tmp_path, fields):
        with pytest.raises(DataError, match="line 1"):
            self.read(tmp_path, fields)
