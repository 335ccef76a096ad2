"""One's own tables, whatever their columns are called: CSV, JSON Lines, Parquet."""

import datetime
import gzip
import json
import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualway.datasets.base import ReadReport
from dualway.datasets.columns import ColumnMap
from dualway.datasets.entities_own import own_form, read_csv_entities, read_jsonl_entities, read_parquet_entities
from dualway.datasets.entity_lines import is_coordinates, is_edtf
from dualway.errors import DataError, UsageError
from dualway.kb.files import build_from_files
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Field, Picture, Representation

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
    with pytest.raises(UsageError, match=r"--column name=titel: .*t\.csv; it has 'id', 'name'"):
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


READERS = {"jsonl": read_jsonl_entities, "csv": read_csv_entities, "parquet": read_parquet_entities}


def read(path, flags=(), **settings):
    """Return the entities of a file and the report, read by its suffix."""
    form = own_form(path) or ""
    report = ReadReport(path, form)
    return list(READERS[form](path, report, ColumnMap.parse(flags, **settings))), report


def write_jsonl(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


class TestTables:
    def test_columns_called_as_parts_need_no_flag(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text(
            "ID,Name,text:static,field:born,field:wikipedia:en,field:birthplace,field-id:birthplace,picture,licence\n"
            "1,Ada,Long.,1815,Ada Lovelace,London|Paris,Q84|Q90,a.jpg|b.jpg,CC0\n"
        )
        (entity,), report = read(path)
        assert entity == Entity(
            "1",
            "Ada",
            representations=(Representation("static", "Long.", "t.csv", licence="CC0"),),
            pictures=(Picture("a.jpg"), Picture("b.jpg")),
            fields=(
                Field("born", "1815"),
                Field("wikipedia:en", "Ada Lovelace"),
                Field("birthplace", "London", "Q84"),
                Field("birthplace", "Paris", "Q90"),
            ),
        )
        assert report.notes == {}

    def test_a_part_of_several_columns(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text("id,name,one,two,aliases\nQ1,Ada,A|B,B|C,X\n")
        (entity,), report = read(path, ["aliases=one", "aliases=two"])
        assert entity.aliases == ("A", "B", "C")
        assert list(report.notes) == ["unknown 'aliases', not read"]  # another column was named for them

    def test_a_column_that_a_flag_names_is_read_for_that_alone(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text("id,name,description\nQ1,Ada,Long.\n")
        (entity,), _ = read(path, ["text:static=Description"])
        assert [r.kind for r in entity.representations] == ["static"]

    def test_coordinates_are_one_value_whatever_divides_others(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text("id;name;place;also\nQ1;Ada;51.5,-0.1;A,B\nQ2;Bob;91,0;C\n")
        flags = ["field:coordinates=place", "aliases=also"]
        (first, second), report = read(path, flags, delimiter=";", separator=",")
        assert (first.fields, first.aliases) == ((Field("coordinates", "51.5,-0.1"),), ("A", "B"))
        assert second.fields == (Field("coordinates", "91,0"),)
        assert report.notes["coordinates: not LATITUDE,LONGITUDE in degrees, kept as they are"].examples[0][0] == "Q2"

    def test_ids_that_do_not_match_their_values(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text("id,name,field:child,field-id:child\nQ1,Ada,A|B,Q2\n")
        with pytest.raises(DataError, match=r"line 2: 2 values of the field 'child' and 1 ids"):
            read(path)

    def test_a_quote_that_is_not_closed_is_named_where_its_row_begins(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text('id,name\nQ1,a\nQ2,"b\nQ3,c\nQ4,d\n')
        with pytest.raises(DataError, match=r"line 5: broken CSV: .* in the row that begins in line 3"):
            read(path)

    def test_the_wrong_delimiter_is_told(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text("id;name\nQ1;a\n")
        with pytest.raises(DataError, match=r"first row is \['id;name'\].*split at ','.*--delimiter"):
            read(path)
        assert read(path, delimiter=";")[0] == [Entity("Q1", "a")]
        path.write_text("id\tname\nQ1\ta\n")
        assert read(path, delimiter="tab")[0] == [Entity("Q1", "a")]

    @pytest.mark.parametrize(
        ("flags", "settings", "said"),
        [
            (["name=a", "name=b"], {}, "--column name=b: this part is given twice"),
            (["text=a", "text:text=b"], {}, "given twice"),
            (["fields=a"], {}, "no part 'fields'"),
            ([], {"separator": ""}, "--separator is empty"),
            ([], {"delimiter": ";;"}, "give one character"),
            ([], {"delimiter": '"'}, "give one character"),
        ],
    )
    def test_flags_that_cannot_be_meant(self, flags, settings, said):
        with pytest.raises(UsageError, match=re.escape(said)):
            ColumnMap.parse(flags, **settings)


class TestCompressed:
    @pytest.mark.parametrize("name", ["t.jsonl.gz", "t.csv.gz", "t.tsv.gz", "t.NDJSON.GZ"])
    def test_as_it_is(self, tmp_path, name):
        path, delimiter = tmp_path / name, "\t" if ".tsv" in name else ","
        line = json.dumps({"id": "Q1", "name": "Ada"}) if "json" in name.lower() else ""
        table = f"id{delimiter}name\nQ1{delimiter}Ada\n"
        path.write_bytes(gzip.compress(("\ufeff" + (line or table)).encode()))
        build_from_files(path, tmp_path / "kb")
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert list(kb.entities()) == [Entity("Q1", "Ada")]

    def test_cut_off_or_no_archive(self, tmp_path):
        path = tmp_path / "t.jsonl.gz"
        whole = gzip.compress(b"".join(b'{"id": "Q%d", "name": "x"}\n' % n for n in range(5000)))
        for content in (whole[: len(whole) // 2], whole[:-4], b'{"id": "Q1", "name": "x"}', whole[:50] + b"\xff" * 50):
            path.write_bytes(content)
            with pytest.raises(DataError, match=r"t\.jsonl\.gz, line \d+: damaged or cut off"):
                read(path)

    def test_a_line_that_never_ends_is_not_kept_in_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr("dualway.storage.LONGEST_LINE", 1000)
        path = tmp_path / "t.jsonl.gz"
        path.write_bytes(gzip.compress(b'{"id": "Q1", "name": "x"}\n' + b" " * 10_000_000))
        with pytest.raises(DataError, match=r"line 2: a line of more than 1,000 bytes"):
            read(path)


class TestJsonLines:
    def test_a_number_is_an_id_and_a_prefix_stands_before_it(self, tmp_path):
        path = write_jsonl(tmp_path / "t.jsonl", {"id": 7, "name": "Ada"}, {"id": 12.0, "name": "Bob"})
        assert [entity.id for entity in read(path, id_prefix="m:")[0]] == ["m:7", "m:12"]

    def test_what_holds_for_all_gives_way_to_what_a_line_says(self, tmp_path):
        own = {"kind": "static", "text": "b", "licence": "CC BY", "source": "x"}
        path = write_jsonl(
            tmp_path / "t.jsonl",
            {"id": "Q1", "name": "Ada", "text": "a", "language": "de", "revision": 12, "representations": [own]},
        )
        (entity,), _ = read(path, language="en", licence="CC0", source="museum")
        assert entity.representations == (
            Representation("text", "a", "museum", "de", "12", "CC0"),
            Representation("static", "b", "x", "en", "", "CC BY"),
        )

    def test_a_key_of_no_line_is_an_error_one_of_some_lines_is_not(self, tmp_path):
        path = write_jsonl(tmp_path / "t.jsonl", {"id": "Q1", "name": "a"}, {"id": "Q2", "name": "b", "abstract": "c"})
        entities, _ = read(path, ["text:static=abstract"])
        assert [len(entity.representations) for entity in entities] == [0, 1]
        with pytest.raises(UsageError, match=r"--column text:static=abstrakt: .* it has 'id', 'name', 'abstract'"):
            read(path, ["text:static=abstrakt"])
        with pytest.raises(
            DataError, match=r"'titel' \(--column name=titel\) is missing .* this line has 'id', 'name'"
        ):
            read(path, ["name=titel"])

    def test_a_dot_that_leads_into_a_text(self, tmp_path):
        path = write_jsonl(tmp_path / "t.jsonl", {"id": "Q1", "labels": "Ada"})
        with pytest.raises(DataError, match=r"line 1: 'labels.en' leads into 'Ada', which is no object"):
            read(path, ["name=labels.en"])
        write_jsonl(path, {"id": "Q1", "labels.en": "Ada"})  # a key with a dot is itself
        assert read(path, ["name=labels.en"])[0] == [Entity("Q1", "Ada")]

    def test_texts_are_divided_only_where_it_is_asked_for(self, tmp_path):
        path = write_jsonl(tmp_path / "t.jsonl", {"id": "Q1", "name": "Ada", "also": "A;B", "field:child": "C;D"})
        with pytest.raises(DataError, match="'also' is 'A;B'; write a list"):
            read(path, ["aliases=also"])
        (entity,), _ = read(path, ["aliases=also"], separator=";")
        assert (entity.aliases, [field.value for field in entity.fields]) == (("A", "B"), ["C", "D"])

    def test_a_delimiter_is_for_tables_of_text(self, tmp_path):
        with pytest.raises(UsageError, match="--delimiter"):
            read(write_jsonl(tmp_path / "t.jsonl", {"id": "Q1", "name": "a"}), delimiter=";")


@pytest.mark.parametrize(
    "text", ["1946-06-14", "1946-06", "1946", "194X", "19XX", "-0043", "-0043-03-15", "2000-02-29"]
)
def test_dates(text):
    assert is_edtf(text)


@pytest.mark.parametrize(
    "text", ["", "1946-13", "1946-02-30", "1900-02-29", "46", "1946-6-1", "14.06.1946", "19X", "X", "1946-"]
)
def test_no_dates(text):
    assert not is_edtf(text)


def test_coordinates():
    assert all(map(is_coordinates, ["51.5,-0.1", "-90,180", "0,0", "51.5, -0.1"]))
    assert not any(map(is_coordinates, ["", "91,0", "0,181", "51.5", "51.5;0", "nan,0", "1e1,0", "51.5,0.1,3"]))


class TestParquet:
    def write(self, tmp_path, **columns):
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table(columns), path)
        return path

    def test_types_that_say_the_same(self, tmp_path):
        """Numbers as ids, dates with and without time, decimals, dictionaries, bytes, lists, parts of structs."""
        day = datetime.date(1946, 6, 14)
        path = self.write(
            tmp_path,
            key=pa.array([7.0, 8.0]),
            label=pa.array([{"en": "Ada", "de": "Adä"}, {"en": "Bob", "de": None}]),
            also=pa.array([["A", None], None], pa.list_(pa.large_string())),
            born=pa.array([datetime.datetime(1946, 6, 14), None], pa.timestamp("ns")),
            died=pa.array([day, None]),
            seen=pa.array([datetime.datetime(2020, 1, 2, 3, 4, 5, 123456), None], pa.timestamp("us")),
            weight=pa.array([1.5, float("nan")]),
            trade=pa.array(["poet", "baker"]).dictionary_encode(),
            note=pa.array([b"bytes", None]),
            big=pa.array([2**60, None]),
        )
        flags = ["id=key", "name=label.en", "aliases=also", "text:static=note"]
        flags += [f"field:{name}={name}" for name in ("born", "died", "seen", "weight", "trade", "big")]
        (first, second), report = read(path, flags, id_prefix="m:")
        assert (first.id, first.name, first.aliases) == ("m:7", "Ada", ("A",))
        assert first.representations == (Representation("static", "bytes", "t.parquet"),)
        found = {field.name: field.value for field in first.fields}
        assert found == {
            "born": "1946-06-14", "died": "1946-06-14", "seen": "2020-01-02T03:04:05.123456", "weight": "1.5",
            "trade": "poet", "big": "1152921504606846976",
        }  # fmt: skip
        assert second == Entity("m:8", "Bob", fields=(Field("trade", "baker"),))
        assert report.notes == {}

    def test_the_shapes_of_json(self, tmp_path):
        path = self.write(
            tmp_path,
            id=["Q1"],
            name=["Ada"],
            representations=[[{"kind": "static", "text": "Long.", "licence": "CC0"}]],
            pictures=[["a.jpg"]],
            fields=pa.array(
                [{"born": "1815", "occupation": [{"value": "poet", "id": "Q1"}, {"value": "x", "id": None}]}]
            ),
        )
        (entity,), _ = read(path)
        assert entity.representations == (Representation("static", "Long.", licence="CC0"),)
        assert entity.pictures == (Picture("a.jpg"),)
        assert entity.fields == (Field("born", "1815"), Field("occupation", "poet", "Q1"), Field("occupation", "x"))

    @pytest.mark.parametrize(
        ("values", "kind"),
        [
            (pa.array([[["a"]]]), "list<"),
            (pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string())), "map<"),
            (pa.array([{"x": "y"}]), "struct<"),
            (pa.array([True]), "bool"),
        ],
    )
    def test_types_that_are_not_read_are_named_when_they_are_wanted(self, tmp_path, values, kind):
        path = self.write(tmp_path, id=["Q1"], name=["Ada"], odd=values)
        with pytest.raises(DataError, match=f"the column 'odd' is {kind}"):
            read(path, ["aliases=odd"])
        entities, report = read(path)
        assert entities == [Entity("Q1", "Ada")]
        assert list(report.notes) == ["unknown 'odd', not read"]

    def test_values_that_cannot_be_read_are_named_by_row(self, tmp_path):
        broken = pa.array([b"ok", b"\xff"])
        with pytest.raises(DataError, match=r"t\.parquet, line 2: the value of 'name' cannot be read"):
            read(self.write(tmp_path, id=["Q1", "Q2"], name=broken))
        early = pa.array([0, -(10**14)], pa.timestamp("ms"))
        with pytest.raises(DataError, match=r"line 2: the value of 'born' cannot be read"):
            read(self.write(tmp_path, id=["Q1", "Q2"], name=["a", "b"], born=early), ["field:born=born"])
        with pytest.raises(DataError, match=r"line 2: 'id' is missing or empty"):
            read(self.write(tmp_path, id=["Q1", None], name=["a", "b"]))
        with pytest.raises(DataError, match=r"'label.fr' .*|there is no 'label.fr' in it"):
            read(self.write(tmp_path, id=["Q1"], label=[{"en": "a"}]), ["name=label.fr"])

    def test_a_file_that_was_damaged_or_cut(self, tmp_path):
        path = self.write(tmp_path, id=[f"Q{n}" for n in range(5000)], name=[f"name {n}" for n in range(5000)])
        whole = path.read_bytes()
        for content in (whole[:-100], whole[: len(whole) // 2], whole[:4] + b"\0" * 3000 + whole[3004:]):
            path.write_bytes(content)
            with pytest.raises(DataError, match=r"t\.parquet.*(no Parquet file|damaged|cannot be read)"):
                read(path)
        with pytest.raises(DataError, match="no such file"):
            read(tmp_path / "none.parquet")

    def test_two_columns_of_one_name(self, tmp_path):
        path = tmp_path / "t.parquet"
        pq.write_table(pa.Table.from_arrays([pa.array(["Q1"])] * 3, names=["id", "name", "Name"]), path)
        with pytest.raises(DataError, match="two columns called"):
            read(path)

    def test_an_encrypted_file_is_told_as_one(self, tmp_path):
        path = tmp_path / "t.parquet"
        path.write_bytes(b"PARE" + b"\0" * 100 + b"PARE")
        with pytest.raises(DataError, match=r"t\.parquet: is encrypted"):
            read(path)

    def test_one_row_group_of_many_rows_does_not_fill_the_memory(self, tmp_path):
        """150,000 rows of 1 kB, twice, in one row group: a process of its own needs far less than they are."""
        path = tmp_path / "t.parquet"
        num = 150_000
        texts = pa.array([f"{n} " + "word " * 200 for n in range(num)])
        table = pa.table({"id": [f"Q{n}" for n in range(num)], "name": ["x"] * num, "text": texts, "unused": texts})
        pq.write_table(table, path, row_group_size=num, use_dictionary=False)
        code = (
            "import re, sys; from pathlib import Path\n"
            "from dualway.datasets.base import ReadReport\n"
            "from dualway.datasets.entities_own import read_parquet_entities\n"
            "path = Path(sys.argv[1]); report = ReadReport(path, 'parquet')\n"
            "print(sum(1 for _ in read_parquet_entities(path, report)))\n"
            "print(int(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024)\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
        rows, megabytes = map(int, done.stdout.split())
        assert rows == num
        assert megabytes < 200
