"""The mistakes of a system, by kind, each with gold beside what was chosen."""

from __future__ import annotations

from collections.abc import Sequence

from dualway.report.cards import candidate_list, card, entity, entity_text, gold_rank, index_of
from dualway.report.figures import share_bar
from dualway.report.markup import Html, el, join, number, plural, scrolling, words
from dualway.report.pictures import Album
from dualway.report.records import ShownCandidate, ShownMention
from dualway.text import match_key, without_brackets

# Kind to its heading and what it tells, in the order of the page.
KINDS = {
    "missed": (
        "Gold was not among the candidates",
        "The candidate search did not find the right entity, so no order of the candidates could have been right.",
    ),
    "same-name": (
        "Same name as gold",
        "The name alone cannot tell the two apart; the caption, the texts or the picture would have had to.",
    ),
    "other-name": ("Another name than gold", "An entity of another name was put before the right one."),
    "tied": (
        "Gold shares the first place",
        "Gold has the same score as the others in front; with ties averaged this is not a whole hit.",
    ),
    "nil": ("No entity was right", "The right answer is not in the knowledge base (NIL), so every choice is wrong."),
    "right": ("No mistake", "Gold is first; these were given as mistakes all the same."),
}


def mistake_kind(shown: ShownMention) -> str:
    """Return a key of KINDS, told from the record alone."""
    if shown.gold_id is None:
        return "nil"
    rank = gold_rank(shown)
    if rank is None or not shown.candidates:
        return "missed"
    first, gold = shown.candidates[0], shown.gold
    if rank <= 1:
        return "right"
    if first.is_gold or (gold is not None and gold.score == first.score):
        return "tied"
    return "same-name" if _same_name(first.name, shown.gold_name or (gold.name if gold else "")) else "other-name"


def mistakes_section(errors: Sequence[ShownMention], album: Album) -> Html:
    """Return the groups of mistakes, with their counts first."""
    groups: dict[str, list[tuple[str, ShownMention]]] = {kind: [] for kind in KINDS}
    for place, shown in enumerate(errors, start=1):
        groups[mistake_kind(shown)].append((f"mistake-{place}", shown))
    present = {kind: cards for kind, cards in groups.items() if cards}
    parts = [_counts(present, len(errors))]
    for kind, cards in present.items():
        title, meaning = KINDS[kind]
        parts += [
            el("h3", f"{title} ({len(cards)})", id=f"mistakes-{kind}"),
            el("p", meaning),
            index_of(cards, f"Mistakes: {title}"),
            *(card(shown, album, anchor=anchor, level=4, body=_comparison(shown)) for anchor, shown in cards),
        ]
    return join(*parts)


def _counts(groups: dict[str, list[tuple[str, ShownMention]]], total: int) -> Html:
    head = el("tr", *(el("th", name, scope="col") for name in ("kind", "of those shown", "share")))
    rows = [
        el(
            "tr",
            el("th", el("a", KINDS[kind][0], href=f"#mistakes-{kind}"), scope="row"),
            el("td", f"{len(cards)} of {total}", class_="num"),
            el("td", share_bar(len(cards) / total), class_="bar-cell"),
        )
        for kind, cards in groups.items()
    ]
    caption = el("caption", f"The {plural(total, 'mistake')} shown here, by kind")
    return scrolling(el("table", caption, el("thead", head), el("tbody", *rows)), "Mistakes by kind")


def _comparison(shown: ShownMention) -> Html:
    """Return gold beside the choice, their scores and evidence part by part, and the whole list folded away."""
    chosen, gold = (shown.candidates[0] if shown.candidates else None), shown.gold
    if chosen is not None and chosen is gold:
        return candidate_list(shown)
    pair = el("div", _side("✗ chosen", "chosen", chosen), _gold_side(shown), class_="pair")
    numbers = _differences(chosen, gold) if chosen is not None and gold is not None else None
    summary = el("summary", "The candidates in order")
    return join(pair, numbers, el("details", summary, candidate_list(shown)))


def _side(title: str, kind: str, candidate: ShownCandidate | None) -> Html:
    if candidate is None:
        return el(
            "div",
            el("p", title, class_="side-title"),
            el("p", "nothing: there were no candidates"),
            class_=f"side {kind}",
        )
    return el(
        "div",
        el("p", title, class_="side-title"),
        el("p", entity(candidate), class_="entity"),
        entity_text(candidate.text),
        class_=f"side {kind}",
    )


def _gold_side(shown: ShownMention) -> Html:
    if shown.gold is not None:
        return _side("✓ gold", "gold", shown.gold)
    title = el("p", "✓ gold", class_="side-title")
    if shown.gold_id is None:
        return el("div", title, el("p", "NIL: not in the knowledge base"), class_="side gold")
    name = el("p", el("strong", words(shown.gold_name or "(no name)")), " ", el("code", words(shown.gold_id)))
    rank = gold_rank(shown)
    where = "not among the candidates, so it has no score" if rank is None else f"rank {rank:,g}, score not given"
    return el("div", title, name, el("p", where, class_="note"), class_="side gold")


def _differences(chosen: ShownCandidate, gold: ShownCandidate) -> Html:
    """Return a table of score and evidence: chosen, gold, and gold minus chosen."""
    names = [name for name in chosen.evidence if name in gold.evidence]
    lines = [("score", chosen.score, gold.score), *((n, chosen.evidence[n], gold.evidence[n]) for n in names)]
    head = el("tr", *(el("th", name, scope="col") for name in ("", "chosen", "gold", "gap")))
    rows = [
        el(
            "tr",
            el("th", words(name, limit=30), scope="row"),
            *(el("td", number(value), class_="num") for value in (first, second)),
            el("td", number(second - first, signed=True), class_="num"),
            class_="total" if place == 0 else None,
        )
        for place, (name, first, second) in enumerate(lines)
    ]
    table = el(
        "table",
        el("caption", "Score and evidence; the gap is gold minus chosen"),
        el("thead", head),
        el("tbody", *rows),
        class_="compact",
    )
    return scrolling(table, "Score and evidence")


def _same_name(one: str, other: str) -> bool:
    key = match_key(without_brackets(one))
    return key != "" and key == match_key(without_brackets(other))
