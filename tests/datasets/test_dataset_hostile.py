"""Whatever JSON a file holds, readers answer with a data set or with an error of ours."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dualway.datasets import audit, open_dataset, read_entities
from dualway.errors import DualwayError

KEYS = ["sentence", "mentions", "mention", "answer", "imgPath", "img_list", "id", "img-url"]
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
    for read in (open_dataset, read_entities, audit):
        with contextlib.suppress(DualwayError):
            read(path)


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
