"""A mention as a card: its caption, its picture with the regions marked, its candidates in order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dualway.datasets.offsets import Given, Span, locate
from dualway.report.figures import MAX_BOXES, Box, draw_boxes, make_boxes, score_bar, share_bar
from dualway.report.markup import Html, el, join, number, plural, shorten, words
from dualway.report.pictures import Album, Photo
from dualway.report.records import ShownCandidate, ShownMention
from dualway.schema import Mention

MAX_CANDIDATES = 5  # shown of a mention, gold beside them wherever it stands
_MAX_CAPTION = 1200  # characters; of a longer caption the part around the mention
_MAX_TEXT = 240  # characters of an entity's text
_MAX_LISTED = 6
_MAX_PARTS = 12  # parts of the evidence
_MIN_SHOWN = 240  # pixels: a smaller picture is shown enlarged


class Verdict(NamedTuple):
    """What became of a mention, in words and a sign; `kind` is right, wrong or open."""

    kind: str
    sign: str
    words: str


def verdict(shown: ShownMention) -> Verdict:
    """Return whether gold came first, and where it stands if not."""
    if shown.gold_id is None:
        return Verdict("open", "○", "no entity is right (NIL)")
    rank = gold_rank(shown)
    if rank is None:
        return Verdict("wrong", "✗", "wrong: gold is not among the candidates")
    if rank > 1 and shown.candidates and shown.candidates[0].is_gold:
        return Verdict("open", "≈", f"gold shares the first place (rank {rank:g})")
    if rank > 1:
        return Verdict("wrong", "✗", f"wrong: gold is at rank {rank:,g}")
    return Verdict("right", "✓", "right: gold is first")


def gold_rank(shown: ShownMention) -> float | None:
    """Return gold's rank as given, or else its place among the candidates given; None when it is not there."""
    if shown.gold_rank is not None and math.isfinite(shown.gold_rank):
        return shown.gold_rank
    places = [place for place, candidate in enumerate(shown.candidates, start=1) if candidate.is_gold]
    return float(places[0]) if places else None


def card(shown: ShownMention, album: Album, *, anchor: str, level: int, body: Html) -> Html:
    """Return the card of a mention around `body`, which stands beside the picture.

    Args:
        shown: The mention.
        album: Where pictures come from.
        anchor: The card's id on the page.
        level: Of its heading, 2 to 6.
        body: Candidates or a comparison.
    """
    found = verdict(shown)
    heading = el(f"h{level}", _surface(shown.mention), id=f"{anchor}-title")
    about = el("p", "system ", el("b", words(shown.system)), *_mention_id(shown.mention), class_="card-about")
    outcome = el("p", f"{found.sign} {found.words}", class_=f"pill pill-{found.kind}")
    return el(
        "article",
        el("header", heading, outcome, about),
        *_caption(shown.mention),
        el("div", el("div", *_picture(shown, album), class_="card-picture"), el("div", body), class_="card-body"),
        class_="card",
        id=anchor,
        aria_labelledby=f"{anchor}-title",
    )


def index_of(cards: Sequence[tuple[str, ShownMention]], label: str) -> Html:
    """Return links to cards, (anchor, mention) each, with what became of every mention."""
    links = [el("li", el("a", f"{verdict(m).sign} ", _surface(m.mention), href=f"#{anchor}")) for anchor, m in cards]
    return el("nav", el("ul", *links, class_="chips", role="list"), aria_label=label)


def candidate_list(shown: ShownMention) -> Html:
    """Return the first candidates and gold, each with rank, name, id, score, evidence and text."""
    if not shown.candidates:
        return el("p", "No candidates: no name of the knowledge base is like the mention.", class_="note")
    chosen = list(enumerate(shown.candidates, start=1))
    first = chosen[:MAX_CANDIDATES]
    beyond = [(rank, candidate) for rank, candidate in chosen[MAX_CANDIDATES:] if candidate.is_gold]
    best = _best_parts([candidate for _, candidate in first + beyond])
    span = _span([candidate.score for _, candidate in first + beyond])
    items = [_candidate(rank, candidate, shown, span=span, best=best) for rank, candidate in first]
    if beyond:
        items.append(el("li", "⋯", class_="gap", aria_hidden="true"))
        items += [_candidate(rank, candidate, shown, span=span, best=best) for rank, candidate in beyond]
    rest = len(chosen) - len(first) - len(beyond)
    note = f"and {plural(rest, 'candidate')} more" if rest else None
    return join(el("ol", *items, class_="candidates", role="list"), _gold_note(shown), _note(note))


def entity(candidate: ShownCandidate) -> Html:
    """Return an entity's name and id in one line."""
    return join(el("strong", words(candidate.name or "(no name)")), " ", el("code", words(candidate.entity_id)))


def entity_text(text: str) -> Html | None:
    """Return what the knowledge base says of an entity, shortened; None when that is nothing."""
    return el("p", shorten(text, _MAX_TEXT), class_="entity-text", dir="auto") if text.strip() else None


def _surface(mention: Mention) -> Html:
    return words(mention.surface if mention.surface.strip() else "(no words)", limit=80)


def _mention_id(mention: Mention) -> tuple[str, ...]:
    return (" · mention ", el("code", words(mention.id, limit=60))) if mention.id else ()


# ---- the caption


def _caption(mention: Mention) -> list[Html]:
    """Return the caption with the mention marked in it, and remarks on the mention."""
    text, span = mention.text, None
    if mention.surface.strip():
        span = locate(text, [mention.surface], [Given(mention.start, mention.end)])[0]
    parts: list[Html | None] = []
    if text.strip():
        parts.append(el("p", _marked(text, span), class_="caption", dir="auto"))
        if span is None:
            parts.append(_note("The mention's words do not stand in this caption, so none are marked."))
    else:
        parts.append(_note("No caption."))
    facts = [("type", mention.type), ("date", mention.date), ("place", mention.place), ("source", mention.source)]
    told = [join(f"{name} ", words(value)) for name, value in facts if value]
    if told:
        parts.append(el("p", *_between(told, " · "), class_="note"))
    return [part for part in parts if part is not None]


def _marked(text: str, span: Span | None) -> Html:
    """Return the text with its span marked; of a very long text the part around the span."""
    start, end = (span.start, span.end) if span is not None else (0, 0)
    end = min(end, start + _MAX_CAPTION)
    left = max(start - _MAX_CAPTION // 2, 0) if len(text) > _MAX_CAPTION else 0
    right = min(max(left + _MAX_CAPTION, end), len(text))
    mark = el("mark", text[start:end]) if span is not None else None
    before, after = "…" if left else "", "…" if right < len(text) else ""
    return join(before, text[left:start], mark, text[end:right], after)


# ---- the picture


def _picture(shown: ShownMention, album: Album) -> list[Html]:
    found = album.find(shown.picture)
    photo = found if isinstance(found, Photo) else None
    boxes = make_boxes(shown.regions, photo)
    if photo is None:
        figure = el("p", str(found), class_="no-picture", dir="auto")
    else:
        figure = el("div", _image(photo, boxes), draw_boxes(boxes, photo), class_="photo")
    return [figure, *_region_list(boxes, photo)]


def _image(photo: Photo, boxes: Sequence[Box]) -> Html:
    larger = max(1.0, _MIN_SHOWN / max(photo.width, photo.height))
    marked = f", with {plural(len(boxes), 'region')} marked; the list below names them" if boxes else ""
    return el(
        "img",
        src=photo.uri,
        alt=f"The caption's picture{marked}",
        width=max(round(photo.width * larger), 1),
        height=max(round(photo.height * larger), 1),
    )


def _region_list(boxes: Sequence[Box], photo: Photo | None) -> list[Html]:
    """Return the regions in words, those with the most attention first."""
    if not boxes:
        return []
    items = [_region(box, photo) for box in boxes[:_MAX_LISTED]]
    rest = len(boxes) - len(items)
    if rest:
        items.append(el("li", f"and {plural(rest, 'region')} more, with no more attention than these", class_="note"))
    attended = any(box.attention is not None for box in boxes)
    title = "Regions (detector's score), and attention" if attended else "Regions"
    return [el("p", title, class_="small-title"), el("ol", *items, class_="regions", role="list")]


def _region(box: Box, photo: Photo | None) -> Html:
    label = words(box.region.label or "region", limit=60)
    remark = None
    if photo is not None and box.corners is None:
        remark = " (outside the picture, not drawn)"
    elif photo is not None and box.number > MAX_BOXES:
        remark = " (not drawn)"
    return el(
        "li",
        el("span", str(box.number), class_="region-number"),
        el("span", label, f" {number(box.region.score, 2)}" if box.region.score != 1.0 else None, remark),
        el("b", number(box.attention, 2), class_="num"),
        share_bar(box.attention),
    )


# ---- candidates


def _candidate(
    rank: int, candidate: ShownCandidate, shown: ShownMention, *, span: tuple[float, float], best: Mapping[str, float]
) -> Html:
    pills: list[Html] = []
    if rank == 1:
        wrong = shown.gold_id is not None and not candidate.is_gold
        pills.append(el("span", "✗ chosen" if wrong else "chosen", class_="pill pill-wrong" if wrong else "pill"))
    if candidate.is_gold:
        pills.append(el("span", "✓ gold", class_="pill pill-right"))
    behind = candidate.score - shown.candidates[0].score
    score = el(
        "p",
        el("span", number(candidate.score), class_="num"),
        score_bar(candidate.score, *span),
        el("span", number(behind, signed=True) if rank > 1 else None, class_="num behind"),
        class_="score",
    )
    return el(
        "li",
        el("span", str(rank), class_="rank"),
        el("p", entity(candidate), " ", *_between(pills, " "), class_="entity"),
        score,
        _parts(candidate, best),
        entity_text(candidate.text),
        class_="gold" if candidate.is_gold else None,
        value=rank,
    )


def _parts(candidate: ShownCandidate, best: Mapping[str, float]) -> Html | None:
    """Return the evidence as pairs of name and number; the highest of a part among the candidates is marked."""
    items: list[Html] = []
    for name, value in list(candidate.evidence.items())[:_MAX_PARTS]:
        top = name in best and value == best[name]
        shown = (
            el("b", number(value, 2), el("span", " ▲", role="img", aria_label="highest of those shown"))
            if top
            else number(value, 2)
        )
        items.append(el("div", el("dt", words(name, limit=30)), el("dd", shown, class_="num")))
    return el("dl", *items, class_="parts") if items else None


def _best_parts(candidates: Sequence[ShownCandidate]) -> dict[str, float]:
    """Return the highest value of each part of the evidence, where one candidate alone has it."""
    values: dict[str, list[float]] = {}
    for candidate in candidates:
        for name, value in candidate.evidence.items():
            if math.isfinite(value):
                values.setdefault(name, []).append(value)
    highest = {name: max(held) for name, held in values.items() if len(held) > 1}
    return {name: top for name, top in highest.items() if values[name].count(top) == 1}


def _span(scores: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis that holds zero and all scores."""
    finite = [score for score in scores if math.isfinite(score)]
    return min([0.0, *finite]), max([0.0, *finite])


def _gold_note(shown: ShownMention) -> Html | None:
    """Say what gold is where it does not stand among the candidates given."""
    if shown.gold_id is None:
        return _note("Gold is NIL: the right answer is not in the knowledge base.")
    if shown.gold is not None:
        return None
    rank = gold_rank(shown)
    where = "is not among the candidates." if rank is None else f"is at rank {rank:,g}, beyond those given here."
    name = words(shown.gold_name or "(no name)")
    return el("p", "✓ gold: ", el("strong", name), " ", el("code", words(shown.gold_id)), f" {where}", class_="note")


def _note(text: str | None) -> Html | None:
    return el("p", text, class_="note") if text else None


def _between(parts: Sequence[Html], separator: str) -> list[str]:
    """Return the parts with a separator between them."""
    return [piece for part in parts for piece in (separator, part)][1:]
