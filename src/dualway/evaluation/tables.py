"""A report as text for people: one table a protocol, with what the protocol is written above it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dualway.evaluation.report import EvaluationReport, ProtocolResult, SystemResult
from dualway.metrics import HIT_LEVELS, Estimate


def format_report(report: EvaluationReport) -> str:
    """Return the whole report as aligned text, shares in per cent, intervals of 95 % in brackets."""
    parts = [_format_table(table) for table in report.protocols]
    parts.append("\n".join(_format_footer(report)))
    return "\n\n".join(parts)


def align(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as text columns: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def percent(value: float) -> str:
    """Return a share as per cent with two digits; "-" for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def percent_interval(estimate: Estimate) -> str:
    """Return "81.50 [80.02, 82.94]" of a share; without brackets where there is no interval."""
    if math.isnan(estimate.low):
        return percent(estimate.value)
    return f"{percent(estimate.value)} [{percent(estimate.low)}, {percent(estimate.high)}]"


def _format_table(table: ProtocolResult) -> str:
    with_unseen = any(row.unseen is not None for row in table.systems)
    with_seeds = any(row.seeds for row in table.systems)
    header = ["system", "T@1 [95 %]", *(["+- seeds"] if with_seeds else []), *(f"T@{k}" for k in HIT_LEVELS[1:])]
    header += ["MRR", "mean rank", *(["T@1 unseen"] if with_unseen else []), "mentions/s"]
    rows = [header, *(_format_row(row, with_seeds, with_unseen) for row in table.systems)]
    lines = [f"{table.protocol.name}: {table.protocol.description}", *_format_facts(table), align(rows)]
    lines += [note for row in table.systems for note in _format_notes(row, table)]
    if table.comparisons:
        lines += ["", _format_comparisons(table)]
    return "\n".join(lines)


def _format_row(row: SystemResult, with_seeds: bool, with_unseen: bool) -> list[str]:
    cells = [row.system, percent_interval(row.metrics["hits@1"])]
    if with_seeds:
        spread = row.seeds.get("hits@1")
        cells.append("-" if spread is None else f"{percent(spread.std)} ({spread.num_seeds})")
    cells += [percent(row.metrics[f"hits@{k}"].value) for k in HIT_LEVELS[1:]]
    rank = row.metrics["mean_rank"].value
    cells += [percent(row.metrics["mrr"].value), "-" if math.isnan(rank) else f"{rank:,.2f}"]
    if with_unseen:
        cells.append("-" if row.unseen is None else percent(row.unseen.value))
    return [*cells, f"{row.mentions_per_second:,.0f}"]


def _format_facts(table: ProtocolResult) -> list[str]:
    facts = [f"{len(table.mention_ids):,} mentions in {table.num_captions:,} captions"]
    facts.append(f"recall of the candidates {percent_interval(table.recall)}")
    facts.append(f"{table.num_candidates:,.1f} candidates a mention")
    facts.append(f"chance {percent(table.chance)}")
    lines = ["; ".join(facts)]
    left = [f"NIL, left out: {table.num_nil:,}"] if table.num_nil else []
    if table.num_gold_outside_kb:
        fate = "left out" if table.protocol.num_candidates is None else "counted as errors"
        left.append(f"gold outside the knowledge base, {fate}: {table.num_gold_outside_kb:,}")
    if table.num_missed:
        left.append(f"misses in all, without a rank: {table.num_missed:,}")
    return [*lines, "; ".join(left)] if left else lines


def _format_notes(row: SystemResult, table: ProtocolResult) -> list[str]:
    notes = [f"note on {row.system}: {note}" for note in row.notes]
    rules = row.tie_rules
    if table.protocol.gold_added and rules["optimistic"] > rules["average"]:
        notes.append(
            f"note on {row.system}: gold is tied in {row.num_tied:,.0f} mentions and they go to gold; "
            f"T@1 is {percent(rules['average'])} with ties averaged, {percent(rules['pessimistic'])} against gold"
        )
    return notes


def _format_comparisons(table: ProtocolResult) -> str:
    baseline = table.comparisons[0].baseline
    rows = [[f"T@1 against {baseline}", "points [95 %]", "wins", "losses", "bootstrap p", "McNemar p"]]
    for c in table.comparisons:
        difference = percent_interval(Estimate(c.difference, c.low, c.high))
        p_values = [f"{p:.4f}" if p >= 0.0001 else "<0.0001" for p in (c.bootstrap_p_holm, c.mcnemar_p_holm)]
        rows.append([c.system, difference, str(c.wins), str(c.losses), *p_values])
    return align(rows) + "\np-values are corrected for the number of systems (Holm)"


def _format_footer(report: EvaluationReport) -> list[str]:
    lines: list[str] = []
    if report.recall_at:
        at = ", ".join(f"{k}: {percent(e.value)}" for k, e in report.recall_at.items())
        lines.append(f"Recall of the retrieved candidates at {at}")
    if report.num_shared:
        lines.append(
            f"{report.num_shared:,} of {report.num_mentions:,} mentions stand in a caption that is in train too; "
            '"T@1 unseen" is without them.'
        )
    lines.append("Numbers of different protocols cannot be compared with each other.")
    lines.append(
        f"Intervals: percentile bootstrap over captions, {report.num_resamples:,} resamples, seed {report.seed};\n"
        "they tell what other mentions would change, not what another training seed would."
    )
    found = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    lines.append(
        f"Knowledge base of {report.kb_size:,} entities, content {report.fingerprint.content}; {found}; "
        f"{report.seconds:.1f} s."
    )
    return lines
