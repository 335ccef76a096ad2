"""The figures of an evaluation as tables: one a protocol, with what was measured and how written beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from dualway.evaluation.report import EvaluationReport, ProtocolResult, SystemResult
from dualway.evaluation.significance import Comparison
from dualway.evaluation.tables import percent, percent_interval
from dualway.metrics import HIT_LEVELS, Estimate
from dualway.report.figures import interval_bar
from dualway.report.markup import Html, el, join, number, plural, scrolling, words
from dualway.report.records import Ceiling, Report


def summary_section(report: Report) -> Html:
    """Return the tables of a report's evaluation, its caveats beside each, or a sentence where there is none."""
    evaluation = report.evaluation
    if evaluation is None:
        ceilings = _for_protocol(report.ceilings, None)
        told = [el("li", words(c.name), f": T@1 {percent(c.value)}. ", words(c.note, limit=300)) for c in ceilings]
        return join(el("p", "No evaluation was run."), el("ul", *told) if told else None)
    parts: list[Html | None] = []
    for table in evaluation.protocols:
        ceilings = _for_protocol(report.ceilings, table.protocol.name)
        parts += [
            el("h3", words(table.protocol.name)) if len(evaluation.protocols) > 1 else None,
            el("p", _protocol_sentence(table)),
            _facts(table, evaluation.recall_at),
            *(el("p", f"⚠ {caveat}", class_="caveat-line", dir="auto") for caveat in report.caveats),
            _table(table, ceilings, report.system_notes),
            _legend(ceilings),
            *_notes(table),
            _comparisons(table.comparisons),
        ]
    return join(*parts, _footer(evaluation))


def _for_protocol(ceilings: Sequence[Ceiling], protocol: str | None) -> list[Ceiling]:
    return [c for c in ceilings if protocol is None or c.protocol in (None, protocol)]


def _protocol_sentence(table: ProtocolResult) -> Html:
    name, mentions = table.protocol.name, plural(len(table.mention_ids), "mention")
    return join(
        "Protocol ", el("b", name), f": {table.protocol.description}. Measured on {mentions} in ",
        f"{plural(table.num_captions, 'caption')}.",
    )  # fmt: skip


def _facts(table: ProtocolResult, recall_at: Mapping[int, Estimate]) -> Html:
    """Return chance, recall and what was left out as a list of terms."""
    facts = {"Chance (T@1)": f"{percent(table.chance)} %"}
    if table.protocol.num_candidates is not None:
        facts["Recall of the candidates"] = f"{percent_interval(table.recall)} %"
    at = 100 if 100 in recall_at else max(recall_at, default=None)
    if at is not None and at != table.protocol.num_candidates:
        facts[f"Recall@{at}"] = f"{percent_interval(recall_at[at])} %"
    facts["Candidates a mention"] = f"{table.num_candidates:,.1f}"
    counts = {
        "NIL, left out": table.num_nil,
        "Gold outside the knowledge base": table.num_gold_outside_kb,
        "Gold missed by the search": table.num_missed,
    }
    facts |= {name: f"{count:,}" for name, count in counts.items() if count}
    return el("dl", *(el("div", el("dt", name), el("dd", value)) for name, value in facts.items()), class_="facts")


def _table(table: ProtocolResult, ceilings: Sequence[Ceiling], notes: Mapping[str, str]) -> Html:
    unseen = any(row.unseen is not None for row in table.systems)
    titles = ["system", "T@1, % [95 % interval]", *(f"T@{k}" for k in HIT_LEVELS[1:]), "MRR"]
    titles += [*(["T@1, captions not in train"] if unseen else []), "seeds"]
    head = el("tr", *(el("th", title, scope="col") for title in titles))
    shares = [ceiling.value for ceiling in ceilings]
    rows = [_row(row, table.chance, shares, notes, unseen=unseen) for row in table.systems]
    bounds = [_ceiling_row(ceiling, len(titles)) for ceiling in ceilings]
    caption = el("caption", f"Systems under {table.protocol.name}, in per cent")
    body = el("tbody", *rows), el("tbody", *bounds, class_="ceilings") if bounds else None
    content = el("table", caption, el("thead", head), *body, class_="systems")
    return scrolling(content, f"Systems under {table.protocol.name}")


def _row(
    row: SystemResult, chance: float, ceilings: Sequence[float], notes: Mapping[str, str], *, unseen: bool
) -> Html:
    first = row.metrics["hits@1"]
    note = el("span", words(notes[row.system]), class_="system-note") if notes.get(row.system) else None
    cells = [
        el("th", words(row.system), note, scope="row"),
        el("td", percent_interval(first), interval_bar(first, chance=chance, marks=ceilings), class_="num t1"),
        *(el("td", percent(row.metrics[f"hits@{k}"].value), class_="num") for k in HIT_LEVELS[1:]),
        el("td", percent(row.metrics["mrr"].value), class_="num"),
    ]
    if unseen:
        cells.append(el("td", "–" if row.unseen is None else percent(row.unseen.value), class_="num"))
    return el("tr", *cells, el("td", _seeds(row), class_="num"))


def _seeds(row: SystemResult) -> str:
    spread = row.seeds.get("hits@1")
    if spread is None or not math.isfinite(spread.std):
        return f"{len(row.per_run)}"
    return f"{spread.num_seeds} (± {percent(spread.std)})"


def _ceiling_row(ceiling: Ceiling, num_columns: int) -> Html:
    value = Estimate(ceiling.value, math.nan, math.nan)
    return el(
        "tr",
        el("th", words(ceiling.name), el("span", "not a system", class_="system-note"), scope="row"),
        el("td", percent(ceiling.value), interval_bar(value), class_="num t1"),
        el("td", ceiling.note, colspan=num_columns - 2, class_="ceiling-note", dir="auto"),
    )


def _legend(ceilings: Sequence[Ceiling]) -> Html:
    dashed = "; dashed: rows that are not a system" if ceilings else ""
    text = f"Bars run from 0 to 100 %. Thin line: 95 % interval; dotted: chance{dashed}. Seeds: how many trainings"
    return el("p", f"{text}, with the standard deviation of T@1 between them.", class_="note")


def _notes(table: ProtocolResult) -> list[Html]:
    """Return remarks of the harness on single systems, and what ties are worth where they go to gold."""
    found = [
        el("p", el("b", words(row.system)), f": {note}", class_="note") for row in table.systems for note in row.notes
    ]
    for row in table.systems:
        rules = row.tie_rules
        if table.protocol.gold_added and rules["optimistic"] > rules["average"]:
            told = (
                f": gold is tied in {row.num_tied:,.0f} mentions; with ties averaged T@1 is {percent(rules['average'])}"
            )
            found.append(
                el(
                    "p",
                    el("b", words(row.system)),
                    f"{told}, against gold {percent(rules['pessimistic'])}.",
                    class_="note",
                )
            )
    return found


def _comparisons(comparisons: Sequence[Comparison]) -> Html | None:
    if not comparisons:
        return None
    titles = ("system", "points [95 % interval]", "wins", "losses", "p, bootstrap", "p, McNemar")
    rows = [
        el(
            "tr",
            el("th", words(c.system), scope="row"),
            el("td", _points(c), class_="num"),
            *(el("td", f"{count:,}", class_="num") for count in (c.wins, c.losses)),
            *(el("td", _p_value(p), class_="num") for p in (c.bootstrap_p_holm, c.mcnemar_p_holm)),
        )
        for c in comparisons
    ]
    caption = el("caption", "T@1 against ", words(comparisons[0].baseline), ", in points; p corrected by Holm")
    head = el("thead", el("tr", *(el("th", title, scope="col") for title in titles)))
    return scrolling(el("table", caption, head, el("tbody", *rows), class_="figures"), "Comparison with the baseline")


def _points(comparison: Comparison) -> str:
    value, low, high = (
        number(100 * share, 2, signed=True) for share in (comparison.difference, comparison.low, comparison.high)
    )
    return value if math.isnan(comparison.low) else f"{value} [{low}, {high}]"


def _p_value(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"


def _footer(evaluation: EvaluationReport) -> Html:
    shared = ""
    if evaluation.num_shared:
        shared = (
            f" {evaluation.num_shared:,} of {plural(evaluation.num_mentions, 'mention')} stand in a caption that is "
            "in train too."
        )
    several = (
        " Numbers of different protocols cannot be compared with each other." if len(evaluation.protocols) > 1 else ""
    )
    return el(
        "p",
        f"Intervals: percentile bootstrap over captions, {evaluation.num_resamples:,} resamples, seed "
        f"{evaluation.seed}; they tell what other mentions would change, not what another training would.{several}"
        f"{shared} Knowledge base: {evaluation.kb_size:,} entities, content ",
        el("code", words(evaluation.fingerprint.content)),
        ".",
        class_="note",
    )
