"""Protocols: parsing, which mentions and candidates compete, and that gold put in cannot be recognised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dualway.errors import DataError, UsageError
from dualway.evaluation import (
    EvaluationData,
    Protocol,
    caption_groups,
    caption_key,
    evaluate,
    parse_protocols,
    shared_sentences,
)
from dualway.evaluation.protocol import add_gold, build_case, check_data, find_gold
from dualway.schema import CandidateLists, Mention

from .toy_systems import ByFunction, make_data


def lists(rows, scores=None):
    rows = np.array(rows, dtype=np.int64)
    return CandidateLists(rows, np.zeros(rows.shape, dtype=np.float32) if scores is None else np.float32(scores))


def test_parse_protocols():
    parsed = parse_protocols(" top100, top16-gold,full-kb,top100")
    assert parsed == [Protocol(100), Protocol(16, gold_added=True), Protocol(None)]
    assert [p.name for p in parsed] == ["top100", "top16-gold", "full-kb"]
    assert [p.ties for p in parsed] == ["average", "optimistic", "average"]


@pytest.mark.parametrize("text", ["", "top0", "top100,", "full-kb-gold", "top-100", "TOP100", "top100-golden", "top٣"])
def test_unknown_protocols_are_refused(text):
    with pytest.raises(UsageError, match="unknown protocol"):
        parse_protocols(text)


def test_gold_takes_the_last_place_and_rows_order_the_list():
    given = lists([[5, 3, 9], [7, 2, -1], [-1, -1, -1], [4, 8, 6], [1, 0, 2]], np.arange(15).reshape(5, 3)[:, ::-1])
    gold = np.array([3, 6, 1, -1, 0])
    added = add_gold(given, gold)
    assert added.rows.tolist() == [[3, 5, 9], [6, 7, -1], [1, -1, -1], [4, 6, 8], [0, 1, 2]]
    assert added.scores[1].tolist() == [4, 5, 3]  # gold (row 6) inherits the score of row 2, which it replaced
    assert find_gold(added, gold).tolist() == [0, 0, 0, -1, 0]
    assert given.rows[:2].tolist() == [[5, 3, 9], [7, 2, -1]]  # the retrieved lists are left alone


def test_a_task_is_the_same_whichever_of_its_candidates_is_gold(kb):
    """What a system sees depends on gold only through which entities compete."""
    data = make_data(kb, num=1, width=6, recall=1.0)
    row = data.candidates.rows[0]
    tasks = []
    for gold in row.tolist():
        task = build_case(Protocol(6, gold_added=True), replace(data, gold={"m0": kb.ids[gold]})).task
        tasks.append((task.candidates.rows.tolist(), task.candidates.scores.tolist()))
    assert all(task == tasks[0] for task in tasks)
    # An entity put in gives the very task that it would give as an ordinary last candidate of a found gold.
    outsider = next(r for r in range(len(kb)) if r not in row)
    put_in = build_case(Protocol(6, gold_added=True), replace(data, gold={"m0": kb.ids[outsider]})).task
    row = row.copy()
    row[-1] = outsider
    ordinary = replace(data, candidates=CandidateLists(row[None], data.candidates.scores), gold={"m0": kb.ids[row[0]]})
    natural = build_case(Protocol(6, gold_added=True), ordinary).task
    assert put_in.candidates.rows.tolist() == natural.candidates.rows.tolist()
    assert put_in.candidates.scores.tolist() == natural.candidates.scores.tolist()


def test_position_length_and_duplicates_do_not_give_gold_away(kb):
    """Nothing was retrieved, gold is always put in: scoring by place or oddity stays at chance."""
    data = make_data(kb, num=3000, width=8, recall=0.0)

    spies = [
        ByFunction("first", lambda mention, row, position, score: -position),
        ByFunction("last", lambda mention, row, position, score: position),
        ByFunction("third", lambda mention, row, position, score: -abs(position - 3)),
    ]
    report = evaluate(spies, data, [Protocol(8, gold_added=True)])
    for spy in spies[:2]:
        value = report.result("top8-gold", spy.name).metrics["hits@1"].value
        assert value == pytest.approx(1 / 8, abs=0.025)  # 4 standard deviations
    third = report.result("top8-gold", "third").tie_rules["average"]
    assert third == pytest.approx(1 / 8, abs=0.025)
    case = build_case(Protocol(8, gold_added=True), data)
    rows = np.sort(case.task.candidates.rows, axis=1)
    assert (rows[:, 1:] > rows[:, :-1]).all()
    assert (case.num_candidates() == 8).all()
    scores = np.sort(case.task.candidates.scores, axis=1)
    assert (scores == np.sort(data.candidates.scores, axis=1)).all()


def test_what_the_protocol_cannot_hide_is_bounded_by_the_misses(kb):
    """Gold that was put in is the least retrievable of its list, by any retriever; that gives away misses only."""
    data = make_data(kb, num=3000, width=8, recall=0.9)
    spy = ByFunction("least", lambda mention, row, position, score: -score)
    table = evaluate([spy], data, [Protocol(8, gold_added=True)]).protocols[0]
    missed = 1 - table.recall.value
    assert table.systems[0].metrics["hits@1"].value == pytest.approx(missed + (1 - missed) / 8, abs=0.025)


def test_top_n_leaves_lists_as_they_are_and_shortens_them(data):
    case = build_case(Protocol(5), data)
    assert (case.task.candidates.rows == data.candidates.rows[:, :5]).all()
    assert (case.retrieved == (case.gold >= 0)).all()
    assert 0 < (case.gold < 0).sum() < len(case.gold)


def test_nil_and_gold_outside_the_knowledge_base(kb):
    data = make_data(kb, nil={0, 1, 2}, outside={5, 7})
    for protocol, evaluated in ((Protocol(8), 57), (Protocol(8, gold_added=True), 57), (Protocol(None), 55)):
        case = build_case(protocol, data)
        assert len(case.gold) == len(case.task.mentions) == len(case.gold_ids) == evaluated
        assert (case.num_nil, case.num_gold_outside_kb) == (3, 2)
        assert "m0" not in {m.id for m in case.task.mentions}
    with_gold = build_case(Protocol(8, gold_added=True), data)
    missing = [m.id for m, g in zip(with_gold.task.mentions, with_gold.gold.tolist()) if g < 0]
    assert missing == ["m5", "m7"]  # what is not in the knowledge base cannot be put in
    full = build_case(Protocol(None), data)
    assert full.task.candidates is None
    assert [kb.ids[r] for r in full.gold.tolist()] == list(full.gold_ids)


def test_nothing_to_evaluate(kb, data):
    with pytest.raises(DataError, match="no mentions to evaluate: the data set"):
        check_data(EvaluationData([], {}, kb))
    with pytest.raises(DataError, match="under top8: of 4 mentions 4 are NIL"):
        build_case(Protocol(8), make_data(kb, num=4, nil=range(4)))
    with pytest.raises(DataError, match="under full-kb: of 4 mentions 1 are NIL and 3 have a gold entity that is not"):
        build_case(Protocol(None), make_data(kb, num=4, nil={0}, outside={1, 2, 3}))


def test_candidates_that_a_protocol_lacks(data):
    with pytest.raises(UsageError, match="none were given"):
        build_case(Protocol(8), replace(data, candidates=None))
    with pytest.raises(UsageError, match="top16 needs 16 candidates a mention, 8 were retrieved"):
        build_case(Protocol(16), data)
    with pytest.raises(UsageError, match="candidates are of 2 mentions, the data set has 60"):
        check_data(replace(data, candidates=data.candidates.take([0, 1])))


def test_a_small_knowledge_base_need_not_fill_the_list(kb):
    data = make_data(kb, num=3, width=8)
    every = np.tile(np.arange(len(kb)), (3, 1))
    case = build_case(Protocol(100), replace(data, candidates=lists(every)))
    assert case.num_candidates().tolist() == [40, 40, 40]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ([0, 1, 40], "outside the 40 entities"),
        ([0, 1, -2], "outside the 40 entities"),
        ([5, 1, 5], "twice among the candidates"),
        ([1, -1, 2], "padding"),
    ],
)
def test_broken_candidate_lists_name_the_mention(kb, row, fault):
    data = make_data(kb, num=2)
    with pytest.raises(DataError, match=f"id 'm1': .*{fault}"):
        check_data(replace(data, candidates=lists([[0, 1, 2], row])))


def test_broken_gold_and_ids(data):
    gold = {k: v for k, v in data.gold.items() if k != "m3"}
    with pytest.raises(DataError, match="id 'm3': the mention has no gold"):
        check_data(replace(data, gold=gold))
    with pytest.raises(DataError, match="id 'm1': two mentions have this id"):
        check_data(replace(data, mentions=[data.mentions[1], *data.mentions[1:]]))


def test_captions_are_compared_as_matched():
    mentions = [
        Mention("Ada met  Grace.", "Ada", "a"),
        Mention("ADA met Grace", "Grace", "b"),
        Mention("Other", "O", "c"),
    ]
    mentions += [Mention("", "x", "d"), Mention("…", "y", "e")]
    assert caption_groups(mentions).tolist() == [0, 0, 1, 2, 3]
    train = [Mention("ada met grace!", "ada", "t"), Mention("", "z", "u")]
    assert shared_sentences([caption_key(m.text) for m in train], mentions) == ["a", "b"]
    assert shared_sentences([], mentions) == []
