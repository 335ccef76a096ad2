"""Cards and mistakes: verdicts, kinds, gold in words, hostile and odd values."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualway.errors import UsageError
from dualway.report import Ceiling, Curve, CurvePoint, Report, ShownCandidate, ShownMention, render
from dualway.report.cards import verdict
from dualway.report.markup import Html, el, escape, number, words
from dualway.report.mistakes import KINDS, mistake_kind
from dualway.schema import Candidate, Link, Mention, Region

from .reading import Page

NAN, INF = float("nan"), float("inf")
EVIL = "<x-evil onload=alert(1)>\"'&amp;</style></p>-->\x00\x1b\x9f\ud800\u202e\ufffe"
SHOWN = "<x-evil onload=alert(1)>\"'&amp;</style></p>-->" + "\ufffd" * 6


def candidate(id, name="Foster", score=1.0, *, gold=False, text="", evidence=None):
    return ShownCandidate(id, name, text, score, evidence or {}, gold)


def shown(*candidates, gold_id="Q1", gold_name="Foster", rank=None, text="Foster at sea", surface="Foster", **fields):
    return ShownMention(Mention(text, surface, **fields), None, (), candidates, gold_id, gold_name, rank, "system")


def page_of(*examples, errors=()):
    return Page(render(Report("R", examples=examples, errors=errors)))


class TestVerdicts:
    @pytest.mark.parametrize(
        ("mention", "kind", "said"),
        [
            (shown(candidate("Q1", gold=True), rank=1.0), "right", "gold is first"),
            (shown(candidate("Q1", gold=True)), "right", "gold is first"),
            (shown(candidate("Q2"), candidate("Q1", gold=True), rank=2.0), "wrong", "gold is at rank 2"),
            (shown(candidate("Q2"), candidate("Q1", gold=True)), "wrong", "gold is at rank 2"),
            (shown(candidate("Q2"), rank=37.5), "wrong", "gold is at rank 37.5"),
            (shown(candidate("Q2")), "wrong", "not among the candidates"),
            (shown(candidate("Q2"), rank=NAN), "wrong", "not among the candidates"),
            (shown(candidate("Q1", gold=True), rank=1.5), "open", "shares the first place"),
            (shown(candidate("Q2"), gold_id=None), "open", "NIL"),
        ],
    )
    def test_it_is_told_by_word_and_sign(self, mention, kind, said):
        found = verdict(mention)
        assert (found.kind, said in found.words, found.sign != "") == (kind, True, True)
        assert said in page_of(mention).text

    @pytest.mark.parametrize(
        ("mention", "kind"),
        [
            (shown(candidate("Q2")), "missed"),
            (shown(), "missed"),
            (
                shown(candidate("Q2", "FOSTER (actor)"), candidate("Q1", "Foster", 0.5, gold=True), rank=2.0),
                "same-name",
            ),
            (shown(candidate("Q2", "Fóster"), gold_name="Foster (judge)", rank=9.0), "same-name"),
            (shown(candidate("Q2", "Riggs"), candidate("Q1", "Foster", 0.5, gold=True), rank=2.0), "other-name"),
            (shown(candidate("Q2", "♠"), gold_name="♣", rank=2.0), "other-name"),
            (shown(candidate("Q2"), candidate("Q1", gold=True), rank=1.5), "tied"),
            (shown(candidate("Q1", gold=True), candidate("Q2"), rank=1.5), "tied"),
            (shown(candidate("Q2"), gold_id=None), "nil"),
            (shown(candidate("Q1", gold=True), rank=1.0), "right"),
        ],
    )
    def test_mistakes_are_grouped_by_kind(self, mention, kind):
        assert mistake_kind(mention) == kind
        page = page_of(errors=(mention,))
        assert f"{KINDS[kind][0]} (1)" in page.texts("h3")
        assert "1 of 1" in page.inside("mistakes")

    def test_a_link_becomes_a_card_with_golds_rank(self):
        found = tuple(Candidate(f"Q{i}", f"n{i}", score) for i, score in enumerate((0.9, 0.5, 0.5, 0.5, 0.1)))
        link = Link(Mention("a b", "b"), "Q0", found, (Region((0, 0, 1, 1)),))
        made = ShownMention.from_link(link, system="s", gold_id="Q2", gold_name="n2", texts={"Q2": "text"})
        assert made.gold_rank == 3.0  # one above, three level: ranks 2, 3 and 4
        assert made.gold == ShownCandidate("Q2", "n2", "text", 0.5, {}, True)
        assert made.regions == link.regions
        assert ShownMention.from_link(link, system="s", gold_id="Q9", texts={}).gold_rank is None
        assert ShownMention.from_link(link, system="s", gold_id=None, texts={}).gold_rank is None

    def test_gold_must_be_the_same_everywhere(self):
        with pytest.raises(UsageError, match="mention 'm': candidate 'Q2' has is_gold=True, yet gold is 'Q1'"):
            shown(candidate("Q2", gold=True), id="m")
        with pytest.raises(UsageError, match="is_gold=False"):
            shown(candidate("Q1"))


class TestTheCard:
    def test_the_mention_is_marked_in_its_caption(self):
        text = "Foster met Foster, then João Silva"
        marks = [
            page_of(shown(text=text, start=11, end=17)),
            page_of(shown(text=text, surface="Joao Silva")),
            page_of(shown(text=text, start=900, end=-3)),
        ]
        assert [page.texts("mark") for page in marks] == [["Foster"], ["João Silva"], ["Foster"]]
        assert "Foster met <mark>Foster</mark>, then" in marks[0].source

    def test_a_mention_that_is_not_in_its_caption_is_said_to_be_so(self):
        page = page_of(shown(text="Nobody here", surface="Zzyzx"), shown(text="", surface="Foster"))
        assert not page.find("mark")
        assert "do not stand in this caption" in page.text
        assert "No caption." in page.text

    @pytest.mark.parametrize("start", [0, 5_000, 99_994])
    def test_of_a_very_long_caption_the_part_around_the_mention_is_shown(self, start):
        text = ("x " * 50_000)[:start] + "Foster" + ("x " * 50_000)[start + 6 :]
        page = page_of(shown(text=text))
        assert page.texts("mark") == ["Foster"]
        assert len(page.texts("p", "caption")[0]) < 2000
        assert "…" in page.texts("p", "caption")[0]

    def test_five_candidates_and_gold_wherever_it_stands(self):
        many = [candidate(f"Q{i}", f"Foster {i}", 1 - i / 50) for i in range(2, 32)]
        many.insert(20, candidate("Q1", "The One", 0.5, gold=True))
        page = page_of(shown(*many, rank=21.0))
        ranks = [a["value"] for a in page.find("li") if "value" in a]
        assert ranks == ["1", "2", "3", "4", "5", "21"]
        assert page.texts("li", "gold")[0].startswith("21The One Q1 ✓ gold")
        assert "and 25 candidates more" in page.text
        assert "−0.460" in page.texts("li", "gold")[0]  # from the first

    def test_gold_outside_the_list_is_named(self):
        page = page_of(shown(candidate("Q2"), gold_name="Jodie"), shown(candidate("Q2"), rank=80.0, gold_name="Jodie"))
        assert "✓ gold: Jodie Q1 is not among the candidates." in page.text
        assert "✓ gold: Jodie Q1 is at rank 80, beyond those given here." in page.text

    def test_evidence_marks_the_highest_where_one_candidate_alone_has_it(self):
        pair = (
            candidate("Q2", score=0.9, evidence={"name": 1.0, "model": 0.4, "odd": NAN}),
            candidate("Q1", score=0.8, evidence={"name": 1.0, "model": 0.7, "odd": 0.5}, gold=True),
        )
        parts = page_of(shown(*pair, rank=2.0)).texts("dl", "parts")
        assert parts == ["name1.00model0.40odd–", "name1.00model0.70 ▲odd0.50"]

    def test_a_mistake_shows_gold_beside_the_choice_and_the_difference(self):
        pair = (
            candidate("Q2", "Ben", 0.9, evidence={"name": 0.25}, text="footballer"),
            candidate("Q1", "Jodie", 0.65, evidence={"name": 1.0}, text="actress", gold=True),
        )
        page = page_of(errors=(shown(*pair, rank=2.0),))
        assert page.texts("div", "chosen") == ["✗ chosenBen Q2footballer"]
        assert page.texts("div", "side") == ["✗ chosenBen Q2footballer", "✓ goldJodie Q1actress"]
        assert "score0.9000.650−0.250" in page.text
        assert "name0.2501.000+0.750" in page.text

    def test_bars_start_at_zero_and_negative_scores_go_left(self):
        page = page_of(shown(candidate("Q2", score=0.5), candidate("Q3", score=-0.5)))
        bars = [(a["x"], a["width"]) for a in page.find("rect", "bar-value")]
        assert bars == [("50", "50"), ("0", "50")]


class TestHostileData:
    def hostile(self):
        evil = ShownMention(
            mention=Mention(EVIL, EVIL, id=EVIL, type=EVIL, date=EVIL, place=EVIL, source=EVIL),
            picture=None,
            regions=(Region((0, 0, 1, 1), EVIL, 0.5, 0.5),),
            candidates=(ShownCandidate(EVIL, EVIL, EVIL, 1.0, {EVIL: 1.0}, False), candidate("Q1", EVIL, gold=True)),
            gold_id="Q1",
            gold_name=EVIL,
            gold_rank=2.0,
            system=EVIL,
        )
        point = CurvePoint(1, 1, 1.0, 0.5)
        return Report(
            title=EVIL, lead=(EVIL,), caveats=(EVIL,), settings={EVIL: EVIL}, ceilings=(Ceiling(EVIL, 0.5, EVIL),),
            curves=(Curve(EVIL, (point,), 1),), examples=(evil,), errors=(evil, replace(evil, gold_rank=1.0)),
            commands=(EVIL,), system_notes={EVIL: EVIL},
        )  # fmt: skip

    def test_no_text_becomes_markup(self, report):
        plain = {name for name, _ in Page(render(report)).elements} | {"ul", "li"}
        page = Page(render(self.hostile()))
        assert page.faults == []
        assert {name for name, _ in page.elements} <= plain
        assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
        for told in (page.texts("h1")[0], page.texts("p", "lead")[0], page.texts("pre")[0], page.texts("h3")[0]):
            assert told == SHOWN

    def test_what_cannot_be_shown_is_replaced_not_dropped(self):
        source = render(self.hostile())
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202d\u202e\ufffe\uffff\ud800-\udfff]", source)
        source.encode("utf-8")

    def test_systems_and_notes_of_an_evaluation_are_escaped_too(self, report):
        table = report.evaluation.protocols[0]
        row = replace(table.systems[0], system=EVIL, notes=(EVIL,))
        evaluation = replace(report.evaluation, protocols=[replace(table, systems=[row])])
        page = Page(render(Report("R", evaluation=evaluation, system_notes={EVIL: EVIL})))
        assert page.text.count(SHOWN) >= 3
        assert page.faults == []

    def test_texts_of_data_keep_their_own_direction(self):
        arabic = "محمد صلاح"
        mention = shown(
            candidate("Q8", arabic, text="لاعب كرة قدم"), text=f"{arabic} يسجل هدفا", surface=arabic, gold_id=None
        )
        page = Page(render(Report(arabic, lead=(arabic,), caveats=(arabic,), examples=(mention,))))
        for name, attributes in page.elements:
            if attributes.get("class") in {"lead", "caption", "entity-text"} or name in {"h1", "bdi"}:
                assert attributes["dir"] == "auto"
        assert page.texts("bdi").count(arabic) >= 3  # chip, heading, candidate
        assert page.texts("mark") == [arabic]

    @given(st.text(st.characters()))
    def test_escaping_keeps_the_length_and_what_can_be_shown(self, text):
        read = Page(el("p", text)).text
        assert len(read) == len(text.replace("\r\n", "\n")) or "\r" in text
        assert all(a == b or b == "\ufffd" for a, b in zip(text, read)) or "\r" in text
        assert not re.search("[<>\"']", escape(text))

    def test_children_are_text_unless_they_were_made_here(self):
        assert el("b", "<i>", Html("<i></i>"), None, title='"', hidden=True, value=None) == (
            '<b title="&quot;" hidden>&lt;i&gt;<i></i></b>'
        )
        assert words("a" * 300, limit=5) == '<bdi dir="auto">aaaa…</bdi>'


class TestOddNumbers:
    def test_nothing_says_nan_none_or_inf(self, report):
        odd = shown(
            candidate("Q2", score=NAN, evidence={"a": NAN, "b": INF}),
            candidate("Q1", score=-INF, evidence={"a": 1.0, "b": -INF}, gold=True),
            candidate("Q3", score=1e300),
            rank=NAN,
        )
        odd = replace(odd, regions=(Region((NAN, 0, 1, 1), "r", NAN, NAN), Region((0, 0, 1, 1), "r", INF, -INF)))
        points = (CurvePoint(0, 0, NAN, None), CurvePoint(5, 1, INF, NAN), CurvePoint(9, 2, -1e308, 0.5))
        table = report.evaluation.protocols[0]
        rows = [
            replace(row, metrics={name: e._replace(low=NAN, high=NAN) for name, e in row.metrics.items()}, seeds={})
            for row in table.systems
        ]
        evaluation = replace(report.evaluation, protocols=[replace(table, systems=rows)], recall_at={})
        page = Page(
            render(
                Report(
                    "R",
                    evaluation=evaluation,
                    ceilings=(Ceiling("broken", NAN, "note"), Ceiling("far", INF, "note")),
                    curves=(Curve("c", points, 5), Curve("empty", (), None)),
                    examples=(odd,),
                    errors=(odd,),
                )
            )
        )
        assert page.faults == []
        assert not re.search(r"\b(nan|none|inf|infinity)\b", page.text, re.IGNORECASE)
        values = [
            v for n, a in page.elements if n in {"rect", "line", "circle", "text", "polyline"} for v in a.values()
        ]
        assert not [v for v in values if re.search(r"\b(nan|inf)\b", v)]

    @pytest.mark.parametrize(
        ("value", "expected"),
        [(None, "–"), (NAN, "–"), (INF, "–"), (0.0, "0.000"), (-0.0001, "0.000"), (-1.5, "−1.500"),
         (1234.5, "1,234.500"), (-1e30, "−1.000e+30"), (1e-9, "0.000")],
    )  # fmt: skip
    def test_numbers_for_people(self, value, expected):
        assert number(value) == expected

    def test_signed_numbers(self):
        assert [number(v, 2, signed=True) for v in (0.5, -0.5, 0.001, -0.001, 0)] == [
            "+0.50",
            "−0.50",
            "0.00",
            "0.00",
            "0.00",
        ]
