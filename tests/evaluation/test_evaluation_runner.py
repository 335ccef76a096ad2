"""The harness is honest: chance, oracle, invariance, errors that name the mention, intervals, reports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualway.errors import ScoreError, UsageError
from dualway.evaluation import EvaluationOptions, Protocol, evaluate, format_report, parse_protocols
from dualway.evaluation import runner as runner_module
from dualway.evaluation.protocol import num_candidates
from dualway.features.arrays import Features
from dualway.metrics import METRICS, estimate_means
from dualway.schema import CandidateLists, Mention

from .toy_systems import ByFunction, constant, hashed, make_data, oracle

ALL = parse_protocols("top8,top8-gold,full-kb")
FEW = EvaluationOptions(num_resamples=50)


def metrics_of(report):
    """Everything of a report but its times."""
    result = report.to_dict()
    del result["seconds"]
    for table in result["protocols"].values():
        for row in table["systems"]:
            del row["seconds"], row["mentions_per_second"]
    return result


def test_constant_scorer_lands_exactly_at_chance(kb):
    data = make_data(kb, outside={3}, recall=0.7)
    report = evaluate([constant()], data, ALL, options=FEW)
    found = (data.candidates.rows == kb.rows([data.gold[m.id] for m in data.mentions])[:, None]).any(axis=1)
    top, gold, full = report.protocols
    assert top.systems[0].metrics["hits@1"].value == pytest.approx(found.mean() / 8)
    assert top.systems[0].metrics["hits@5"].value == pytest.approx(found.mean() * 5 / 8)
    assert top.systems[0].metrics["mrr"].value == pytest.approx(found.mean() * np.mean(1 / np.arange(1, 9)))
    assert top.systems[0].metrics["mean_rank"].value == pytest.approx(4.5)
    assert top.chance == pytest.approx(found.mean() / 8)
    assert full.systems[0].metrics["hits@1"].value == pytest.approx(1 / 40)
    assert full.systems[0].metrics["mean_rank"].value == pytest.approx(20.5)
    # Ties go to gold where gold is put in: the report says what is left when they are averaged.
    assert gold.systems[0].metrics["hits@1"].value == pytest.approx(59 / 60)
    assert gold.systems[0].tie_rules["average"] == pytest.approx(59 / 60 / 8)
    assert gold.systems[0].tie_rules["pessimistic"] == 0.0
    assert gold.systems[0].num_tied == 59


def test_oracle_is_at_one_where_gold_competes(data):
    report = evaluate([oracle(data)], data, ALL, options=FEW)
    for table in report.protocols:
        expected = 1.0 if table.protocol.name != "top8" else table.recall.value
        for name in METRICS[:-1]:
            assert table.systems[0].metrics[name].value == pytest.approx(expected)
        assert table.systems[0].metrics["mean_rank"].value == 1.0
    assert report.protocols[1].num_missed == 0
    assert report.protocols[0].num_missed == round(60 * (1 - report.protocols[0].recall.value))


@given(chunk_size=st.integers(1, 70), seed=st.integers(0, 99), levels=st.sampled_from([2, 5, 1000]))
@settings(max_examples=12, deadline=None)
def test_order_of_candidates_and_chunk_size_change_nothing(kb, chunk_size, seed, levels):
    data = make_data(kb, seed=seed)
    plain = evaluate([hashed(levels=levels)], data, ALL, options=FEW)
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(8), (60, 1)), axis=1)
    shuffled = CandidateLists(*(np.take_along_axis(part, order, axis=1) for part in data.candidates))
    again = evaluate(
        [hashed(levels=levels)],
        replace(data, candidates=shuffled),
        [ALL[0], ALL[2]],  # under top8-gold order matters once: gold takes the place of the last
        options=replace(FEW, chunk_size=chunk_size),
    )
    chunked = evaluate([hashed(levels=levels)], data, ALL, options=replace(FEW, chunk_size=chunk_size))
    assert metrics_of(chunked) == metrics_of(plain)
    for name in ("top8", "full-kb"):
        assert metrics_of(again)["protocols"][name] == metrics_of(plain)["protocols"][name]


def test_padding_changes_nothing(data):
    rows, scores = (
        np.pad(part, ((0, 0), (0, 4)), constant_values=fill) for part, fill in zip(data.candidates, (-1, 0))
    )
    padded = replace(data, candidates=CandidateLists(rows, scores))
    narrow = evaluate([hashed(), constant()], data, parse_protocols("top8,top8-gold"), options=FEW)
    wide = evaluate([hashed(), constant()], padded, parse_protocols("top12,top12-gold"), options=FEW)
    for a, b in zip(narrow.protocols, wide.protocols, strict=True):
        assert [r.metrics for r in a.systems] == [r.metrics for r in b.systems]
        assert a.num_candidates == b.num_candidates == 8


def test_mentions_without_candidates_are_misses(data):
    rows = data.candidates.rows.copy()
    rows[:10] = -1
    report = evaluate([oracle(data)], replace(data, candidates=CandidateLists(rows, data.candidates.scores)), ALL[:2])
    assert report.protocols[0].num_missed >= 10
    assert report.protocols[1].systems[0].metrics["hits@1"].value == 1.0


def test_full_kb_is_scored_in_pieces_of_bounded_size(data, monkeypatch):
    sizes = []

    class Watching(ByFunction):
        def score(self, task):
            sizes.append(len(task.mentions) * int(num_candidates(task)[0]))
            return super().score(task)

    monkeypatch.setattr(runner_module, "_SCORES_PER_CHUNK", 130)
    evaluate([Watching("w", lambda *_: 0.0)], data, [Protocol(None)], options=FEW)
    assert max(sizes) <= 130
    assert len(sizes) == 1 + 20


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("protocol", ["top8", "top8-gold", "full-kb"])
def test_a_score_that_is_not_finite_names_system_protocol_and_mention(data, bad, protocol):
    system = ByFunction("mine", lambda mention, row, *_: bad if mention.id == "m41" else 1.0)
    with pytest.raises(ScoreError, match=f"system 'mine' under {protocol}: mention 'm41': the score of candidate 0"):
        evaluate([system], data, parse_protocols(protocol))


class Returning:
    """A system that returns whatever it is told to."""

    name = "odd"

    def __init__(self, make):
        self.make = make

    def fit(self, task, gold, dev_task, dev_gold):
        pass

    def score(self, task):
        return self.make(task)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda task: [np.ones(8)], "mention 'm0': 1 lists of scores for 2 mentions"),
        (lambda task: [np.ones(8), np.ones(8), np.ones(8)], "3 lists of scores for 2 mentions"),
        (lambda task: [np.ones(8), np.ones(7)], r"mention 'm0': scores of shape \(7,\) for 8 candidates"),
        (lambda task: np.ones((2, 8, 1)), r"mention 'm1': scores of shape \(8, 1\)"),
        (lambda task: [["a"] * 8] * 2, "mention 'm1': scores of type <U1"),
        (lambda task: [[True] * 8] * 2, "scores of type bool"),
        (lambda task: None, "expected a list with one array of scores a mention"),
        (lambda task: [[[1], [1, 2]]] * 2, "expected a list with one array of scores a mention"),
    ],
)
def test_output_of_a_wrong_shape_is_refused_at_the_probe(data, make, message):
    with pytest.raises(ScoreError, match=message):
        evaluate([Returning(make)], data, ALL[:1])


def test_all_systems_are_probed_before_the_first_long_run(data):
    calls = []
    good = Returning(lambda task: calls.append(len(task.mentions)) or [np.arange(n) for n in num_candidates(task)])
    bad = ByFunction("bad", lambda *_: np.nan)
    with pytest.raises(ScoreError, match="system 'bad'"):
        evaluate([good, bad], data, ALL)
    assert calls == [2]


def test_scores_that_depend_on_the_batch_are_noted(data):
    padded = Returning(lambda task: [np.arange(8) * len(task.mentions) ** 2 for _ in task.mentions])
    row = evaluate([padded], data, ALL[:1], options=FEW).protocols[0].systems[0]
    assert "'m0' change with the other mentions" in row.notes[0]
    assert "note on odd: " in format_report(evaluate([padded], data, ALL[:1], options=FEW))
    assert evaluate([hashed()], data, ALL[:1], options=FEW).protocols[0].systems[0].notes == []
    rounding = Returning(lambda task: [np.arange(8) + 1e-6 * len(task.mentions) for _ in task.mentions])
    assert evaluate([rounding], data, ALL[:1], options=FEW).protocols[0].systems[0].notes == []


def test_zero_or_broken_vectors_are_errors_that_name_the_mention(data):
    vectors = np.ones((60, 4), dtype=np.float32)
    features = Features(vectors, vectors.copy(), np.full(60, -1), np.ones((40, 4), dtype=np.float32))
    evaluate([constant()], replace(data, features=features), ALL[:1], options=FEW)
    features.text[9] = 0.0
    with pytest.raises(ScoreError, match="mention 'm9': the vector of its caption is zero"):
        evaluate([constant()], replace(data, features=features), ALL[:1])
    features.mention[7, 2] = np.nan
    with pytest.raises(ScoreError, match="mention 'm7': the vector of its mention is zero or not finite"):
        evaluate([constant()], replace(data, features=features), ALL[:1])


def test_features_follow_their_mentions(kb):
    data = make_data(kb, nil={0, 4})
    marks = np.arange(1, 61, dtype=np.float32)[:, None]
    features = Features(marks, marks, np.full(60, -1), np.ones((40, 1), dtype=np.float32))

    class Reading(Returning):
        def score(self, task):
            for mention, vector in zip(task.mentions, task.features.mention, strict=True):
                assert mention.id == f"m{int(vector[0]) - 1}"
            return [np.zeros(n) for n in num_candidates(task)]

    evaluate([Reading(None)], replace(data, features=features), ALL, options=replace(FEW, chunk_size=7))


def test_a_system_never_sees_gold(data):
    seen = []
    spy = Returning(lambda task: seen.append(task) or [np.zeros(n) for n in num_candidates(task)])
    evaluate([spy], data, ALL, options=FEW)
    for task in seen:
        assert set(vars(task)) == {"mentions", "candidates", "kb", "features"}
        assert all(isinstance(m, Mention) for m in task.mentions)


def test_runs_of_several_seeds(data):
    runs = [hashed("mine", salt=str(seed), levels=3) for seed in range(3)]
    report = evaluate([runs, constant()], data, ALL[:1], options=replace(FEW, baseline="constant"))
    row = report.result("top8", "mine")
    values = [run["hits@1"] for run in row.per_run]
    assert len(set(values)) > 1
    assert row.metrics["hits@1"].value == pytest.approx(np.mean(values))
    assert row.seeds["hits@1"].std == pytest.approx(np.std(values, ddof=1))
    single = [evaluate([run], data, ALL[:1], options=FEW).result("top8", "mine").metrics["mrr"].value for run in runs]
    assert [run["mrr"] for run in row.per_run] == pytest.approx(single)
    written = report.to_dict()["protocols"]["top8"]["systems"]
    assert written[0]["runs"] == 3
    assert written[0]["metrics"]["mrr"]["seeds"]["std"] > 0
    assert "seeds" not in written[1]["metrics"]["mrr"]
    assert "+- seeds" in format_report(report)


def test_captions_shared_with_train(kb):
    data = make_data(kb, captions=20, train=[Mention("caption 3!", "x"), Mention("Caption 5", "y")])
    report = evaluate([hashed(levels=3)], data, ALL[:1], options=FEW)
    table = report.protocols[0]
    assert (report.num_shared, table.num_unseen, table.num_captions) == (6, 54, 20)
    unseen = [i for i in range(60) if i % 20 not in (3, 5)]
    assert table.systems[0].unseen.value == pytest.approx(table.hits()["hashed"][unseen].mean())
    draws = {"seed": FEW.seed, "num_resamples": FEW.num_resamples}
    hits, captions = table.hits()["hashed"], np.arange(60) % 20
    assert table.systems[0].metrics["hits@1"] == pytest.approx(
        estimate_means(hits[:, None], groups=captions, **draws)[0]
    )
    alone = estimate_means(hits[unseen, None], groups=captions[unseen], **draws)[0]
    assert table.systems[0].unseen == pytest.approx(alone)
    assert "6 of 60 mentions stand in a caption that is in train too" in format_report(report)
    nothing = evaluate([hashed()], replace(data, train_captions=()), ALL[:1], options=FEW)
    assert nothing.protocols[0].systems[0].unseen is None


def test_comparison_with_a_baseline(data):
    options = replace(FEW, baseline="constant")
    report = evaluate([oracle(data), constant(), hashed()], data, ALL[:1], options=options)
    best, other = report.protocols[0].comparisons
    hits = report.protocols[0].hits()
    assert (best.system, other.system) == ("oracle", "hashed")
    assert best.difference == pytest.approx(hits["oracle"].mean() - hits["constant"].mean())
    assert best.bootstrap_p < 0.001
    assert best.wins == round(60 * report.protocols[0].recall.value)
    assert "T@1 against constant" in format_report(report)


@pytest.mark.parametrize(
    ("systems", "protocols", "options", "message"),
    [
        ([], ALL, FEW, "no system was given"),
        ([constant()], [], FEW, "no protocol was given"),
        ([constant(), constant()], ALL, FEW, "two systems are called 'constant'"),
        ([[constant(), hashed()]], ALL, FEW, r"must have one name, got \['constant', 'hashed'\]"),
        ([[]], ALL, FEW, "got no run"),
        ([constant()], ALL, replace(FEW, baseline="x"), "baseline 'x' is not among the systems constant"),
        ([constant()], ALL, replace(FEW, chunk_size=0), "chunk_size"),
    ],
)
def test_wrong_calls(data, systems, protocols, options, message):
    with pytest.raises(UsageError, match=message):
        evaluate(systems, data, protocols, options=options)


def test_report_holds_what_the_contract_asks_for(kb):
    data = make_data(kb, nil={1}, outside={2})
    report = evaluate([constant(), hashed()], data, ALL, options=replace(FEW, seed=7))
    written = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert list(written["protocols"]) == ["top8", "top8-gold", "full-kb"]
    assert written["kb"] == {"size": 40, "compatibility": kb.fingerprint[0], "content": kb.fingerprint[1]}
    assert written["seed"] == 7
    assert {"python", "numpy", "dualway"} <= set(written["versions"])
    assert written["seconds"] > 0
    assert list(written["candidate_recall_at"]) == ["1", "5", "8"]
    for name, table in written["protocols"].items():
        assert table["mentions"] == (58 if name == "full-kb" else 59)
        assert (table["nil"], table["gold_outside_kb"]) == (1, 1)
        assert (
            table["candidate_recall"]["low"] <= table["candidate_recall"]["value"] <= table["candidate_recall"]["high"]
        )
        for row in table["systems"]:
            assert list(row["metrics"]) == list(METRICS)
            for estimate in row["metrics"].values():
                assert estimate["low"] <= estimate["value"] + 1e-12
                assert estimate["value"] <= estimate["high"] + 1e-12
    assert written["protocols"]["full-kb"]["candidate_recall"]["value"] == 1.0
    with pytest.raises(KeyError):
        report.result("top8", "nobody")


def test_the_documentation_names_every_key_of_the_report(data):
    documented = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    report = evaluate([[hashed(), hashed()]], data, ALL[:1], options=FEW).to_dict()
    (table,) = report["protocols"].values()
    (row,) = table["systems"]
    for key in (*report, *report["kb"], *table, *row, *row["metrics"]["hits@1"], *row["metrics"]["hits@1"]["seeds"]):
        assert f'"{key}"' in documented


def test_text_says_protocol_tie_rule_and_whether_gold_is_put_in(kb):
    data = make_data(kb, nil={1}, outside={2})
    text = format_report(evaluate([constant(), hashed()], data, ALL, options=FEW))
    assert "top8: 8 retrieved candidates, gold never put in (a miss is a miss); ties averaged" in text
    assert "gold PUT IN when retrieval missed it; ties go to gold" in text
    assert "every entity of the knowledge base competes; ties averaged" in text
    assert "59 mentions in 59 captions; recall of the candidates" in text
    assert "NIL, left out: 1; gold outside the knowledge base, counted as errors: 1; misses in all" in text
    assert "gold outside the knowledge base, left out: 1" in text
    assert "note on constant: gold is tied in 58 mentions and they go to gold; T@1 is 12.29 with ties averaged" in text
    assert "Numbers of different protocols cannot be compared" in text
    rows = [line for line in text.splitlines() if line.startswith(("system", "constant", "hashed"))]
    assert len({len(line) for line in rows[:3]}) == 1


def test_same_seed_same_report(data):
    first, second = (evaluate([hashed(levels=3)], data, ALL, options=replace(FEW, baseline="hashed")) for _ in range(2))
    assert metrics_of(first) == metrics_of(second)


def test_progress_reaches_its_total(data):
    calls = []
    evaluate(
        [constant(), [hashed(), hashed()]],
        data,
        ALL,
        options=replace(FEW, chunk_size=25),
        progress=lambda done, total, note: calls.append((done, total, note)),
    )
    assert calls[-1][:2] == (540, 540)
    assert [done for done, _, _ in calls] == sorted({done for done, _, _ in calls})
    assert calls[0][2] == "constant, top8"


def test_one_mention(kb):
    report = evaluate([constant()], make_data(kb, num=1, recall=1.0), ALL, options=FEW)
    assert report.protocols[0].systems[0].metrics["hits@1"].value == 1 / 8
    assert report.to_dict()["protocols"]["top8"]["systems"][0]["metrics"]["hits@1"]["low"] is None
    row = next(line for line in format_report(report).splitlines() if line.startswith("constant"))
    assert row.split()[1] == "12.50"
    assert "[" not in row
