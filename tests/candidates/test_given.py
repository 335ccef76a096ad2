"""Candidates from a file: what it says, completed as the paper says, whatever the batch and the order of entities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.folders import write_wikidiverse

from dualway.candidates.given import GivenCandidates
from dualway.candidates.names import NameIndex
from dualway.datasets import open_dataset
from dualway.datasets.base import Dataset, ReadReport
from dualway.datasets.candidate_files import CandidateFile, read_candidate_file
from dualway.errors import DataError, UsageError
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Mention


def entities(num: int = 300) -> list[Entity]:
    """Two in three are persons; the places share no word with any mention here."""
    return [Entity(f"E{i:03}", f"Name {i}", types=("Person",) if i % 3 else ("Location",)) for i in range(num)]


@pytest.fixture
def kb(tmp_path: Path):
    with KnowledgeBase.create(tmp_path / "kb", entities()) as opened:
        yield opened


def source(kb: KnowledgeBase, file: CandidateFile, **options: Any) -> GivenCandidates:
    return GivenCandidates(file, kb, NameIndex(kb.ids, kb.names, kb.aliases), **options)


def by_surface(path: Path, table: dict[str, list[str]]) -> CandidateFile:
    path.write_text(json.dumps(table))
    return read_candidate_file(path)


def ten(lists: dict[tuple[str, str], Sequence[str]]) -> CandidateFile:
    """WikiDiverse's lists, of any length."""
    given = {key: tuple(ids) for key, ids in lists.items()}
    return CandidateFile(Path("w"), "0" * 16, "wikidiverse-candidates", {}, given, ReadReport(Path("w")))


def ids_of(kb: KnowledgeBase, lists: Any, i: int = 0) -> list[str]:
    return [kb.ids[row] for row in lists.rows[i] if row >= 0]


FOSTER, KAO = Mention("Foster sat", "Foster", "1", type="Person"), Mention("Kao sat", "Kao", "2", type="Person")


class TestLists:
    def test_order_padding_and_scores(self, kb, tmp_path):
        given = source(kb, by_surface(tmp_path / "x.json", {"Foster": ["E005", "E001", "E299"], "Kao": ["E002"]}))
        found = given.search([FOSTER, KAO, replace(KAO, surface="Lisk", id="3")], 5)
        assert found.rows.dtype == np.int64
        assert found.scores.dtype == np.float32
        assert found.rows.tolist() == [[5, 1, 299, -1, -1], [2, -1, -1, -1, -1], [-1] * 5]
        assert found.scores[0].tolist() == pytest.approx([1, 1 / 2, 1 / 3, 0, 0])
        assert given.report.notes["fewer candidates than asked for"].count == 3
        assert given.report.notes["mention that the candidate file does not have"].examples == [("3", "Lisk")]

    def test_long_lists_are_cut_at_k(self, kb, tmp_path):
        given = source(kb, by_surface(tmp_path / "x.json", {"Foster": kb.ids}))
        assert ids_of(kb, given.search([FOSTER], 100)) == kb.ids[:100]
        assert given.report.notes == {}

    def test_unknown_ids_are_left_out_and_counted(self, kb, tmp_path):
        given = source(kb, by_surface(tmp_path / "x.json", {"Foster": ["Q1", "E001", "Q2"]}))
        assert ids_of(kb, given.search([FOSTER], 3)) == ["E001"]
        tally = given.report.dropped["candidate that the knowledge base does not have"]
        assert (tally.count, tally.examples[0]) == (2, ("1", "Q1"))

    def test_no_mentions(self, kb, tmp_path):
        given = source(kb, by_surface(tmp_path / "x.json", {"Foster": ["E001"]}))
        assert given.search([], 3).rows.shape == (0, 3)

    def test_what_is_said_of_it(self, kb, tmp_path):
        given = source(kb, by_surface(tmp_path / "x.json", {"Foster": ["E001"]}))
        assert given.describe() == (
            f"candidates from {tmp_path / 'x.json'} (sha256 {given.file.sha256}), not retrieved: by the mention's words"
        )
        assert given.record() == {
            "path": str(tmp_path / "x.json"), "sha256": given.file.sha256, "form": "surfaces", "by_gold": False,
        }  # fmt: skip


class TestTheTenAndNinetyOthers:
    def test_others_are_of_the_mentions_type(self, kb):
        listed = ["E003", "E001"]
        found = source(kb, ten({("Foster sat", "Foster"): listed})).search([FOSTER], 100)
        ids = ids_of(kb, found)
        assert ids[:2] == listed
        assert len(ids) == len(set(ids)) == 100
        assert all(kb.types[kb.row(id)] == ("Person",) for id in ids[2:])

    def test_they_depend_on_seed_words_and_caption_alone(self, kb):
        file = ten({("Foster sat", "Foster"): ["E003"]})

        def drawn(mention: Mention, **options: Any) -> list[str]:
            return ids_of(kb, source(kb, file, **options).search([mention], 50))

        assert drawn(FOSTER) == drawn(replace(FOSTER, id="another", image="x.jpg"))
        assert drawn(FOSTER) != drawn(FOSTER, seed=1)
        other = replace(FOSTER, text="Foster sat down")
        assert set(drawn(FOSTER)[1:]) != set(drawn(other))
        assert drawn(FOSTER)[:20] == ids_of(kb, source(kb, file).search([FOSTER], 20))

    def test_the_batch_and_the_order_of_entities_change_nothing(self, kb, tmp_path):
        file = ten({("Foster sat", "Foster"): ["E003"], ("Kao sat", "Kao"): []})
        together = source(kb, file).search([KAO, FOSTER], 80)
        with KnowledgeBase.create(tmp_path / "reversed", reversed(entities())) as other:
            alone = source(other, file).search([FOSTER], 80)
            assert ids_of(other, alone) == ids_of(kb, together, 1)

    def test_a_draw_reaches_everything_evenly(self, kb):
        """Over many captions every person comes up about equally often (binomial, five standard deviations)."""
        mentions = [Mention(f"caption {i}", "Kao", str(i), type="Person") for i in range(1000)]
        rows = source(kb, ten({("", ""): []})).search(mentions, 20).rows
        times = np.bincount(rows.ravel(), minlength=len(kb))
        persons = np.array([types == ("Person",) for types in kb.types])
        assert times[~persons].sum() == 0
        expected = 1000 * 20 / persons.sum()
        assert np.abs(times[persons] - expected).max() < 5 * expected**0.5

    def test_the_case_of_a_type_does_not_matter(self, kb):
        given = source(kb, ten({("Kao sat", "Kao"): []}))
        ids = ids_of(kb, given.search([replace(KAO, type="LOCATION")], 100))
        assert all(kb.types[kb.row(id)] == ("Location",) for id in ids)
        assert given.report.notes == {}

    @pytest.mark.parametrize("type", ["Event", None, ""])
    def test_without_entities_of_the_type_names_fill_and_it_is_told(self, kb, type):
        mention = Mention("Name 7 sat", "Name 7", "9", type=type)
        given = source(kb, ten({("Name 7 sat", "Name 7"): ["E001"]}))
        ids = ids_of(kb, given.search([mention], 100))
        assert (ids[:2], len(ids), len(set(ids))) == (["E001", "E007"], 100, 100)
        reason = f"type {type!r} has too few entities in the knowledge base, completed by name"
        assert given.report.notes[reason].count == 1

    def test_too_few_of_the_type_are_completed_by_name(self, tmp_path):
        people = [Entity(f"E{i}", f"Name {i}", types=("Person",) if i < 3 else ()) for i in range(20)]
        with KnowledgeBase.create(tmp_path / "kb", people) as small:
            given = source(small, ten({("Name 9", "Name 9"): ["E5"]}))
            ids = ids_of(small, given.search([Mention("Name 9", "Name 9", "1", type="Person")], 10))
        assert ids[0] == "E5"
        assert set(ids[1:4]) == {"E0", "E1", "E2"}
        assert ids[4] == "E9"
        assert len(set(ids)) == 10

    def test_more_than_there_are_entities_is_padding(self, tmp_path):
        with KnowledgeBase.create(tmp_path / "kb", entities(4)) as small:
            found = source(small, ten({("Kao sat", "Kao"): ["E003"]})).search([KAO], 100)
        assert found.rows.shape == (1, 100)
        assert (found.rows[0] >= 0).sum() <= 4

    def test_gold_is_never_looked_at(self, kb, tmp_path):
        """The same mentions with other answers get the same lists."""
        data = open_dataset(write_wikidiverse(tmp_path, "candidates"), "train")
        file = read_candidate_file(tmp_path / "wikidiverse_w_cands")
        other = replace(data, gold=dict.fromkeys(data.gold, "E001"))
        given = source(kb, file)
        lists = [given.for_dataset(d).search(d.mentions, 50).rows.tolist() for d in (data, other)]
        assert lists[0] == lists[1]


class TestFilesKeyedByGold:
    @pytest.fixture
    def data(self) -> Dataset:
        mentions = [FOSTER, KAO, Mention("Nobody", "Nobody", "3")]
        gold: dict[str, str | None] = {"1": "E005", "2": "E006", "3": None}
        return Dataset("x", None, mentions, gold, ReadReport(Path("x")), Path())

    @pytest.mark.parametrize("keys", [("E005", "E006"), ("Name 5", "Name 6")])
    def test_they_are_refused_and_it_is_said_why(self, kb, tmp_path, data, keys):
        given = source(kb, by_surface(tmp_path / "x.json", {key: ["E001", "E005"] for key in keys}))
        with pytest.raises(DataError, match=r"x\.json: keyed by the gold.*its answer.*--candidates-by-gold"):
            given.for_dataset(data)

    def test_asked_for_they_are_used_and_told(self, kb, tmp_path, data):
        file = by_surface(tmp_path / "x.json", {"Name 5": ["E001", "E005"], "E006": ["E002"]})
        given = source(kb, file, by_gold=True)
        found = given.for_dataset(data).search(data.mentions, 3)
        assert [ids_of(kb, found, i) for i in range(3)] == [["E001", "E005"], ["E002"], []]
        assert "KEYED BY GOLD" in given.describe()
        assert given.record()["by_gold"] is True
        assert given.report.notes["mention that the candidate file does not have"].count == 1

    def test_the_flag_on_another_file_is_an_error(self, kb, tmp_path, data):
        given = source(kb, by_surface(tmp_path / "x.json", {"Foster": ["E001"]}), by_gold=True)
        with pytest.raises(UsageError, match="not keyed by gold"):
            given.for_dataset(data)

    def test_a_file_by_surface_is_itself(self, kb, tmp_path, data):
        given = source(kb, by_surface(tmp_path / "x.json", {"Foster": ["E001"], "Name 6": ["E002"]}))
        assert given.for_dataset(data) is given
