"""Whatever JSON a file holds, readers answer with a data set or with an error of ours."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dualway.datasets import audit, open_dataset, read_entities
from dualway.datasets.candidate_files import read_candidate_file
from dualway.errors import DualwayError

KEYS = ["sentence", "mentions", "mention", "answer", "imgPath", "img_list", "id", "img-url"]
KEYS += ["entity", "mention_type", "mention_image", "cands", "candidates", "qid", "entity_name", "attr", "image_list"]
KEYS += ["text", "surface", "start", "end", "entity_id", "name", "aliases", "types", "description"]
TEXT = st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=12)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from(["Kao", "Kao sat", "Q1", "c"])
VALUE = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=2))
RECORD = st.dictionaries(st.sampled_from(KEYS), VALUE, max_size=8) | VALUE
TABLE = st.dictionaries(st.sampled_from(["Q1", "Q2", "7", "7-0"]) | TEXT, RECORD, max_size=4) | st.lists(
    RECORD, max_size=4
)
GOOD = {"sentence": "Kao sat", "mentions": ["Kao"], "answer": ["Q1"]}
MANY = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(TABLE)
@MANY
def test_any_table_is_survived(tmp_path: Path, table: Any):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(table))
    for read in (open_dataset, read_entities, audit, read_candidate_file):
        with contextlib.suppress(DualwayError):
            read(path)


PAGE = SCALAR | st.sampled_from(["nil", "https://en.wikipedia.org/wiki/Kao", "nhttps://en.wikipedia.org/wiki/%FF"])
ADDRESS = SCALAR | st.sampled_from(["https://a.example.org/Kao.svg", "https://a.example.org/..", "../../etc/passwd"])
ANNOTATION = st.lists(VALUE, max_size=6) | st.tuples(SCALAR, SCALAR, SCALAR, SCALAR, PAGE).map(list) | VALUE
SENTENCE = st.tuples(SCALAR, ADDRESS, SCALAR, st.lists(ANNOTATION, max_size=3) | VALUE).map(list)
LISTED = st.lists(PAGE | st.lists(PAGE, max_size=2), max_size=3) | VALUE
FIELDS = st.tuples(SCALAR, ADDRESS, SCALAR, SCALAR, VALUE, VALUE, PAGE, LISTED, SCALAR, SCALAR, SCALAR).map(list)
GOOD_ROWS = [
    ["Kao sat", "https://a.example.org/Kao.jpg", "x", [["Kao", "Person", 0, 3, "https://en.wikipedia.org/wiki/Kao"]]],
    ["Kao sat", "u", "Kao", "Person", [], [], "https://en.wikipedia.org/wiki/Kao", [], "x", 0, 3],
    {"sentence": "Kao sat", "mention": "Kao", "entity": "Kao", "cands": [["Kao", None]]},
    {"sentence": "Kao sat", "mentions": "Kao", "answer": "Q1", "imgPath": "a.jpg"},
]


@given(st.lists(SENTENCE | FIELDS | RECORD, max_size=4), st.sampled_from(GOOD_ROWS))
@MANY
def test_any_rows_are_survived_and_never_hide_a_good_one(tmp_path: Path, rows: list[Any], good: Any):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([*rows, *[good] * 5]))
    for read in (audit, read_candidate_file):
        with contextlib.suppress(DualwayError):
            read(path)
    with contextlib.suppress(DualwayError):  # ids that repeat among the records of a table
        data = open_dataset(path)
        assert data.report.counts["records"] == len(rows) + 5
        assert sum(m.text == "Kao sat" and m.surface == "Kao" for m in data.mentions) >= 5
        for mention in data.mentions:
            assert mention.start is None or mention.text[mention.start : mention.end]
            path_of = data.image_path(mention)
            assert path_of is None or isinstance(path_of, Path)


@given(st.text(alphabet=st.sampled_from("Ada@[]N%_\n\t\x00\u2028é:/."), max_size=60), st.booleans())
@MANY
def test_any_table_of_wikipedia_is_survived(tmp_path: Path, text: str, images: bool):
    path = tmp_path / ("entity2imgs.tsv" if images else "entity2desc.tsv")
    path.write_bytes(f"Kao@@@@https://a.example.org/b.jpg[AND]x\n{text}".encode())
    with contextlib.suppress(DualwayError):
        entities, report = read_entities(path)
        lines = path.read_bytes().decode().split("\n")
        lost = sum(tally.count for tally in report.dropped.values())
        assert entities[0].id == "Kao"
        assert len(entities) + lost <= len(lines)


@given(st.binary(max_size=40))
@MANY
def test_any_bytes_are_survived(tmp_path: Path, content: bytes):
    for name in ("x.pkl", "x.json", "entity2desc", "kb_entity.json", "search_top100.json"):
        (tmp_path / name).write_bytes(content)
        for read in (open_dataset, read_entities, read_candidate_file):
            with contextlib.suppress(DualwayError):
                read(tmp_path / name)


@given(st.dictionaries(TEXT, RECORD, max_size=4))
@MANY
def test_bad_records_never_hide_a_good_one(tmp_path: Path, bad: dict[str, Any]):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({str(i): record for i, record in enumerate(bad.values())} | {"a": GOOD, "b": GOOD}))
    with contextlib.suppress(DualwayError):  # where the bad ones look like another format, that is what is said
        data = open_dataset(path)
        lost = sum(tally.count for tally in data.report.dropped.values())
        assert data.report.format != "melbench" or {"a-0", "b-0"} <= {mention.id for mention in data.mentions}
        assert data.report.counts["records"] == len(bad) + 2
        assert lost + len(data) >= data.report.counts["samples"]


@given(st.lists(RECORD, max_size=3))
@MANY
def test_any_lines_are_survived(tmp_path: Path, records: list[Any]):
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records))
    with contextlib.suppress(DualwayError):
        data = open_dataset(path)
        assert len(data) <= len(records)
        for mention in data.mentions:
            assert mention.start is None or mention.end is not None
