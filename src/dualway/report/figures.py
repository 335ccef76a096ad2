"""Bars, and boxes over a picture, as inline SVG; colours are in report.css."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from dualway.metrics import Estimate
from dualway.report.markup import Html, el, number
from dualway.report.pictures import Photo
from dualway.schema import Region

MAX_BOXES = 5  # drawn over one picture: more hide it
SCREEN = 480.0  # units of a picture's longer side, whatever its pixels: strokes and letters keep their size
_FONT, _LETTER, _BADGE = 17.0, 10.0, 22.0  # of a box's badge: size, width of a letter, height


class Box(NamedTuple):
    """A region ready to be drawn; the corners are shares of the picture, None where nothing of it lies inside."""

    number: int
    region: Region
    attention: float | None
    corners: tuple[float, float, float, float] | None


def score_bar(score: float, low: float, high: float) -> Html | None:
    """Return a bar from zero to the score on an axis from `low` to `high` (which hold zero); None for no number."""
    if not math.isfinite(score) or high <= low:
        return None
    zero, end = 100 * (0.0 - low) / (high - low), 100 * (score - low) / (high - low)
    marks = [el("rect", class_="bar-value", x=min(zero, end), width=abs(end - zero), height=8)]
    if low < 0 < high:
        marks.append(el("line", class_="bar-zero", x1=zero, x2=zero, y1=0, y2=8))
    return _strip(8, "bar", *marks)


def interval_bar(estimate: Estimate, *, chance: float | None = None, marks: Sequence[float] = ()) -> Html | None:
    """Return a share as a bar from 0 to 100 % with its interval, chance as a dot, ceilings as ticks."""
    if not math.isfinite(estimate.value):
        return None
    parts = [el("rect", class_="bar-value", x=0, y=3, width=_percent(estimate.value), height=8)]
    for share in marks:
        if math.isfinite(share):
            parts.append(el("line", class_="bar-ceiling", x1=_percent(share), x2=_percent(share), y1=0, y2=14))
    if chance is not None and math.isfinite(chance):
        parts.append(el("line", class_="bar-chance", x1=_percent(chance), x2=_percent(chance), y1=0, y2=14))
    if math.isfinite(estimate.low) and math.isfinite(estimate.high):
        low, high = _percent(estimate.low), _percent(estimate.high)
        parts.append(el("line", class_="bar-interval", x1=low, x2=high, y1=7, y2=7))
        parts += [el("line", class_="bar-interval", x1=x, x2=x, y1=4, y2=10) for x in (low, high)]
    return _strip(14, "bar bar-share", *parts)


def share_bar(share: float | None) -> Html | None:
    """Return a share of 1 as a plain bar; None for no number."""
    return None if share is None else score_bar(min(max(share, 0.0), 1.0), 0.0, 1.0)


def _strip(height: int, class_: str, *marks: Html) -> Html:
    """Return a drawing that fills the width it is given; the number stands beside it, so readers aloud skip it."""
    track = el("rect", class_="bar-track", width=100, height=height)
    box = f"0 0 100 {height}"
    return el("svg", track, *marks, class_=class_, viewBox=box, preserveAspectRatio="none", aria_hidden="true")


def _percent(share: float) -> float:
    return 100 * min(max(share, 0.0), 1.0)


def make_boxes(regions: Sequence[Region], photo: Photo | None) -> list[Box]:
    """Return regions by falling attention, numbered from 1; those without attention come last, in their order."""
    attentions = [_finite(region.attention) for region in regions]
    keys = [-math.inf if attention is None else attention for attention in attentions]
    order = sorted(range(len(regions)), key=lambda i: -keys[i])
    return [
        Box(rank, regions[i], attentions[i], None if photo is None else _inside(regions[i], photo))
        for rank, i in enumerate(order, start=1)
    ]


def draw_boxes(boxes: Sequence[Box], photo: Photo) -> Html:
    """Return the overlay of a picture: a box a region, the more attention the thicker and stronger, with a badge."""
    scale = SCREEN / max(photo.full_width, photo.full_height)
    width, height = photo.full_width * scale, photo.full_height * scale
    drawn = [box for box in boxes[:MAX_BOXES] if box.corners is not None]
    taken: list[tuple[float, float, float]] = []
    badges = [_badge(box, width, height, taken) for box in drawn]
    most = max((box.attention or 0.0 for box in drawn), default=0.0)
    frames = [_frame(box, width, height, most) for box in reversed(drawn)]  # the most attended on top
    return el(
        "svg",
        *frames,
        *badges,
        class_="boxes",
        viewBox=f"0 0 {width:.2f} {height:.2f}",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def _frame(box: Box, width: float, height: float, most: float) -> Html:
    """Return the box's lines; how thick and strong they are is its attention beside the `most` that a box has."""
    x0, y0, x1, y1 = box.corners or (0.0, 0.0, 0.0, 0.0)
    # Two units inside, so that a box around the whole picture is seen.
    left, top = max(x0 * width, 2.0), max(y0 * height, 2.0)
    place = {
        "x": left,
        "y": top,
        "width": max(min(x1 * width, width - 2.0) - left, 1.0),
        "height": max(min(y1 * height, height - 2.0) - top, 1.0),
    }
    if box.attention is None:
        stroke, opacity, kind = 2.0, 0.9, "box box-plain"
    else:
        share = box.attention / most if most > 0 else 0.0
        stroke, opacity, kind = 1.5 + 3.5 * share, 0.4 + 0.6 * share, "box"
    return el(
        "g",
        el("rect", class_="box-halo", stroke_width=stroke + 2.5, **place),
        el("rect", class_=kind, stroke_width=stroke, **place),
        opacity=opacity,
    )


def _badge(box: Box, width: float, height: float, taken: list[tuple[float, float, float]]) -> Html:
    """Return a box's number and attention, above the box where there is room: what it marks is often a face."""
    words = str(box.number) if box.attention is None else f"{box.number} · {number(box.attention, 2)}"
    x0, y0, _, y1 = box.corners or (0.0, 0.0, 0.0, 0.0)
    if len(words) * _LETTER + 10.0 > width:  # a narrow picture: the list below it has the attention
        words = str(box.number)
    size = len(words) * _LETTER + 10.0
    left = min(x0 * width, max(width - size, 0.0))
    above, below = y0 * height - _BADGE, y1 * height
    top = above if above >= 0 else below if below + _BADGE <= height else 0.0
    for other_left, other_top, other_size in sorted(taken, key=lambda place: place[1]):
        beside = left >= other_left + other_size or other_left >= left + size
        if not beside and abs(top - other_top) < _BADGE:
            top = other_top + _BADGE + 1.0
    taken.append((left, top, size))
    return el(
        "g",
        el("rect", class_="badge", x=left, y=top, width=size, height=_BADGE, rx=3),
        el("text", words, class_="badge-text", x=left + 5.0, y=top + _BADGE - 6.0, font_size=_FONT),
    )


def _inside(region: Region, photo: Photo) -> tuple[float, float, float, float] | None:
    """Return the part of a region's box that lies in the picture, as shares of it; None where there is none."""
    if not all(math.isfinite(value) for value in region.box):
        return None
    x0, y0, x1, y1 = region.box
    left, right = max(x0 / photo.full_width, 0.0), min(x1 / photo.full_width, 1.0)
    top, bottom = max(y0 / photo.full_height, 0.0), min(y1 / photo.full_height, 1.0)
    return (left, top, right, bottom) if left < right and top < bottom else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
