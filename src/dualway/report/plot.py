"""The training plot as inline SVG: loss above dev T@1 over the same steps; colours are in report.css."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dualway.report.markup import Html, el, shorten
from dualway.report.records import Ceiling, Curve

_WIDTH, _LEFT, _RIGHT = 360.0, 40.0, 8.0  # of the drawing, and its margins
_LOSS, _HITS = (22.0, 102.0), (146.0, 276.0)  # where the two panels lie, top and bottom
_LINE = 12.0  # height of a line of letters
_TICKS_X, _TICKS_Y = 5, 3
_MAX_DOTS = 40  # a curve of more points is drawn without dots
_COLOURS = 4  # later curves take them again, dashed


@dataclass(frozen=True)
class _Panel:
    """One plot: where it lies, and which values its edges stand for."""

    top: float
    bottom: float
    last_step: int
    low: float
    high: float

    def x(self, step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / max(self.last_step, 1)

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


def training_plot(curves: Sequence[Curve], ceilings: Sequence[Ceiling] = ()) -> Html:
    """Return loss above dev T@1 over the same steps; the kept models are ringed, ceilings dashed lines.

    A point that is not finite leaves a gap. What the plot says is also in the table beside it.
    """
    points = [point for curve in curves for point in curve.points]
    last = max((point.step for point in points), default=1)
    loss_ticks = _round_ticks([point.loss for point in points if math.isfinite(point.loss)])
    above = _Panel(*_LOSS, last, loss_ticks[0], loss_ticks[-1])
    below = _Panel(*_HITS, last, 0.0, 1.0)
    shares = {f"{tick}": tick / 100 for tick in (0, 25, 50, 75, 100)}
    parts = [*_axis_y(above, "Loss", {f"{tick:g}": tick for tick in loss_ticks}), *_axis_y(below, "Dev T@1, %", shares)]
    parts += _axis_x(below)
    parts += _ceiling_lines(below, ceilings)
    for index, curve in enumerate(curves):
        parts += _draw_curve(above, curve, index, [point.loss for point in curve.points])
        parts += _draw_curve(below, curve, index, [point.dev_t1 for point in curve.points])
    label = "Training: loss and dev T@1 over the steps; the table below holds the same numbers."
    box = f"0 0 {_WIDTH:g} {_HITS[1] + 36:g}"
    return el("svg", *parts, class_="plot", viewBox=box, role="img", aria_label=label)


def line_sample(index: int) -> Html:
    """Return a short piece of the line of the curve with this index, for the legend."""
    line = el("line", class_=_line_class(index), x1=1, x2=27, y1=5, y2=5)
    return el("svg", line, class_="sample", viewBox="0 0 28 10", aria_hidden="true")


def _axis_y(panel: _Panel, title: str, ticks: Mapping[str, float]) -> Iterator[Html]:
    yield el("text", title, class_="plot-title", x=0, y=panel.top - 10)
    for words, value in ticks.items():
        y = panel.y(value)
        yield el("line", class_="grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y)
        yield el("text", words, class_="tick tick-y", x=_LEFT - 5, y=y + 3.8)


def _axis_x(panel: _Panel) -> Iterator[Html]:
    step = max(_round_step(panel.last_step / _TICKS_X), 1.0)
    for tick in (i * step for i in range(int(panel.last_step / step + 1e-9) + 1)):
        yield el("text", f"{tick:,.0f}", class_="tick tick-x", x=panel.x(tick), y=panel.bottom + 15)
    yield el("text", "step", class_="tick tick-x", x=(_LEFT + _WIDTH - _RIGHT) / 2, y=panel.bottom + 31)


def _ceiling_lines(panel: _Panel, ceilings: Sequence[Ceiling]) -> Iterator[Html]:
    """Yield a dashed line a ceiling, its name above it at the right, moved where two names would overlap."""
    free = panel.bottom + _LINE
    for ceiling in sorted(ceilings, key=lambda c: c.value if math.isfinite(c.value) else 0.0):
        if not math.isfinite(ceiling.value):
            continue
        y = panel.y(ceiling.value)
        yield el("line", class_="ceiling-line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y)
        free = min(y - 3.0, free - _LINE)
        text = f"{shorten(ceiling.name, 34)} {100 * ceiling.value:.0f}"
        yield el("text", text, class_="ceiling-name", x=_WIDTH - _RIGHT - 2, y=free)


def _draw_curve(panel: _Panel, curve: Curve, index: int, values: Sequence[float | None]) -> Iterator[Html]:
    places = [
        (panel.x(point.step), panel.y(value)) if value is not None and math.isfinite(value) else None
        for point, value in zip(curve.points, values, strict=True)
    ]
    for run in _runs(places):
        if len(run) > 1:
            way = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
            yield el("polyline", points=way, class_=_line_class(index))
    known = [place for place in places if place is not None]
    if len(known) <= _MAX_DOTS:
        yield from (el("circle", class_=f"dot dot-{index % _COLOURS + 1}", cx=x, cy=y, r=2.2) for x, y in known)
    for point, place in zip(curve.points, places, strict=True):
        if place is not None and point.step == curve.best_step:
            yield el("circle", class_=f"best dot-{index % _COLOURS + 1}", cx=place[0], cy=place[1], r=5.0)


def _runs(places: Sequence[tuple[float, float] | None]) -> Iterator[list[tuple[float, float]]]:
    """Yield the stretches without a gap."""
    run: list[tuple[float, float]] = []
    for place in places:
        if place is None:
            yield run
            run = []
        else:
            run.append(place)
    yield run


def _round_ticks(values: Sequence[float]) -> list[float]:
    """Return round numbers from zero, or from below it, to a little above all values; a loss may be negative."""
    low, high = min([0.0, *values]), max([0.0, *values])
    if not 1e-300 < high - low < 1e300:
        return [0.0, 1.0]
    step = _round_step((high - low) / _TICKS_Y)
    return [i * step for i in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


def _round_step(about: float) -> float:
    """Return 1, 2, 2.5 or 5 times a power of ten, at or above `about`."""
    if about <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(about))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= about * (1 - 1e-9))


def _line_class(index: int) -> str:
    return f"line line-{index % _COLOURS + 1}" + (" line-dashed" if index // _COLOURS % 2 else "")
