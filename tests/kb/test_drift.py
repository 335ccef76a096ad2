"""How alike two texts are, and the file that tells it."""

import json

import pytest

from dualway.errors import StorageError
from dualway.kb.drift import Drift, DriftReport, similarity, write_report


def drift(entity_id="Q1", before="An actor.", after="A director.", alike=0.5) -> Drift:
    return Drift(entity_id, "Foster", "static", before, after, "1", "2", alike)


class TestSimilarity:
    @pytest.mark.parametrize(
        ("before", "after", "least", "most"),
        [
            ("An American actor.", "an american  actor", 1.0, 1.0),
            ("actor, American", "American actor", 1.0, 1.0),
            ("An actor.", "Quantum physics", 0.0, 0.5),
            ("Foster is an actress.", "Foster is an actress and director.", 0.6, 0.9),
            ("演員朱迪", "演員朱迪·福斯特", 0.5, 0.9),
            ("...", "...", 1.0, 1.0),
            ("An actor.", "...", 0.0, 0.0),
        ],
    )
    def test_words_count(self, before, after, least, most):
        assert least <= similarity(before, after) <= most
        assert similarity(before, after) == similarity(after, before)


class TestReport:
    def test_lines(self, tmp_path):
        report = DriftReport("w", 5, 2, [drift(before="a\nb\u2028c\ud800")], {"Q3": "1"}, {"Q2": "no such page"})
        write_report(tmp_path / "d.jsonl", report)
        lines = (tmp_path / "d.jsonl").read_bytes().decode("utf-8").split("\n")
        changed, gone, older = map(json.loads, lines[:-1])
        assert (changed["what"], changed["before"], changed["similarity"]) == ("changed", "a\nb\u2028c\ufffd", 0.5)
        assert gone == {"what": "gone", "entity_id": "Q2", "why": "no such page"}
        assert older == {"what": "older", "entity_id": "Q3", "revision": "1"}

    def test_a_table_has_no_markup_of_others(self, tmp_path):
        text = "a | b\n<script>x</script> [l](javascript:x) `c` *d*"
        report = DriftReport("w", 5, 1, [drift(before=text, after="x" * 1000)], {}, {"Q|2": "gone | away"})
        write_report(tmp_path / "d.md", report)
        page = (tmp_path / "d.md").read_text(encoding="utf-8")
        (row,) = [line for line in page.splitlines() if line.startswith("| 0.50")]
        assert row.replace("\\|", "").count("|") == 6
        assert "<script" not in page
        assert "\\[l\\](javascript" in row
        assert len(row) < 700
        assert "| Q\\|2 | gone \\| away |" in page
        assert "5 texts looked at, 1 newer, 1 changed (similarity 0.50 in the mean), 1 gone" in page

    def test_a_place_that_cannot_be_written(self, tmp_path):
        with pytest.raises(StorageError):
            write_report(tmp_path, DriftReport("w"))

    def test_plain_values(self):
        report = DriftReport("w", 2, 2, [drift(alike=0.25), drift(alike=0.5)])
        assert json.loads(json.dumps(report.to_dict()))["mean_similarity"] == 0.375
