"""Rankings written and read back; broken files are refused with their line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualway.errors import DataError, ScoreError, StorageError
from dualway.evaluation import EvaluationOptions, evaluate, parse_protocols, read_predictions
from dualway.evaluation.predictions import rank_candidates

from .toy_systems import ByFunction, constant, hashed, make_data

GOOD = {"id": "m", "system": "s", "protocol": "top8", "run": 0, "gold": "Q1", "rank": 1.5, "candidates": [["Q1", 0.5]]}


def test_predictions_say_what_the_report_says(kb, tmp_path):
    data = make_data(kb, nil={0})
    path = tmp_path / "p.jsonl"
    systems = [[hashed(levels=4), hashed(salt="b", levels=4)], constant()]
    options = EvaluationOptions(num_resamples=20, chunk_size=13)
    report = evaluate(systems, data, parse_protocols("top8,top8-gold,full-kb"), options=options, predictions=path)
    read = list(read_predictions(path))
    assert len(read) == 59 * 3 * 3
    for table in report.protocols:
        for row in table.systems:
            mine = [p for p in read if (p.system, p.protocol) == (row.system, table.protocol.name)]
            ranks = [p.rank for p in mine if p.rank is not None]
            assert row.metrics["mean_rank"].value == pytest.approx(np.mean(ranks))
            assert len(mine) - len(ranks) == table.num_missed * len(row.per_run)
    for p in read:
        assert p.gold == data.gold[p.id]
        assert len(p.candidates) == (40 if p.protocol == "full-kb" else 8)
        scores = [score for _, score in p.candidates]
        assert scores == sorted(scores, reverse=True)
        if p.rank is not None and p.protocol != "top8-gold":
            best = 1 + sum(s > dict(p.candidates)[p.gold] for s in scores)
            assert p.rank == best + (scores.count(dict(p.candidates)[p.gold]) - 1) / 2


@given(
    scores=st.lists(st.integers(0, 4), min_size=1, max_size=30),
    limit=st.integers(1, 12),
    shuffle=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_ranking_equals_a_full_sort_in_any_order(scores, limit, shuffle):
    ids = [f"Q{i}" for i in range(len(scores))]
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:limit]
    assert [i for i, _ in rank_candidates(np.float32(scores), None, ids, limit=limit)] == [ids[i] for i in expected]
    order = np.array(shuffle.sample(range(len(scores)), len(scores)))
    ranked = rank_candidates(np.float32(scores)[order], order, ids, limit=limit)
    assert ranked == tuple((ids[i], float(scores[i])) for i in expected)


def test_written_scores_are_exact():
    scores = np.random.default_rng(0).standard_normal(200).astype(np.float32)
    ranked = dict(rank_candidates(scores, None, [str(i) for i in range(200)], limit=200))
    assert all(np.float32(ranked[str(i)]) == score for i, score in enumerate(scores))
    wide = rank_candidates(np.array([0.1 + 0.2]), None, ["a"])
    assert wide == (("a", 0.1 + 0.2),)
    assert rank_candidates(np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64), []) == ()


def test_a_failed_run_leaves_no_file(data, tmp_path):
    path = tmp_path / "p.jsonl"
    late = ByFunction("late", lambda mention, *_: np.nan if mention.id == "m50" else 0.0)
    with pytest.raises(ScoreError):
        evaluate([late], data, parse_protocols("top8"), options=EvaluationOptions(chunk_size=5), predictions=path)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"p\.jsonl"):
        evaluate([constant()], data, parse_protocols("top8"), predictions=tmp_path / "file" / "p.jsonl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 3}, "'id' must be a text, got 3"),
        ({"system": None}, "'system' must be a text"),
        ({"run": -1}, "'run' must be a number from 0"),
        ({"run": True}, "'run' must be a number from 0"),
        ({"rank": 0}, "'rank' must be a number from 1"),
        ({"rank": float("nan")}, "'rank' must be"),
        ({"candidates": {"Q1": 1}}, "'candidates' must be a list"),
        ({"candidates": [["Q1"]]}, "a candidate must be"),
        ({"candidates": [["Q1", float("nan")]]}, "finite score"),
        ({"candidates": [["Q1", "1"]]}, "finite score"),
        ({"candidates": [["Q1", 1], ["Q1", 0]]}, "candidate 'Q1' comes twice"),
    ],
)
def test_broken_lines_are_refused_with_their_place(tmp_path, change, message):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({**GOOD, "id": "ok"}) + "\n" + json.dumps({**GOOD, **change}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"p\.jsonl, line 2: .*{message}"):
        list(read_predictions(path))


def test_other_broken_files(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("[]\n")
    with pytest.raises(DataError, match="line 1: expected an object"):
        list(read_predictions(path))
    path.write_text(json.dumps(GOOD) + "\n\n" + json.dumps(GOOD))
    with pytest.raises(DataError, match="line 3, id 'm': this mention was ranked before"):
        list(read_predictions(path))
    with pytest.raises(DataError, match="no such file"):
        list(read_predictions(tmp_path / "none"))
