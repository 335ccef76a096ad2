"""Objects that stand about in pictures and belong to nobody."""

from __future__ import annotations

from collections.abc import Callable

from dualway.world.canvas import Canvas


def draw_distractor(canvas: Canvas, kind: str, x: float, ground: float, size: float) -> None:
    """Draw an object (`looks.DISTRACTORS`) that stands at (x, ground), about `size` pixels wide."""
    _KINDS[kind](canvas, x, ground, size)


def _car(canvas: Canvas, x: float, ground: float, size: float) -> None:
    body = canvas.vary((90, 130, 170), 60)
    canvas.rectangle((x - 0.8 * size, ground - 0.5 * size, x + 0.8 * size, ground - 0.14 * size), body)
    roof = [(-0.5, 0.5), (-0.3, 0.85), (0.3, 0.85), (0.55, 0.5)]
    canvas.polygon([(x + a * size, ground - b * size) for a, b in roof], canvas.darker(body, 0.8))
    for part in (-0.45, 0.45):
        canvas.ellipse((x + part * size, ground - 0.14 * size), 0.17 * size, 0.17 * size, (24, 24, 26))


def _bench(canvas: Canvas, x: float, ground: float, size: float) -> None:
    wood = canvas.vary((150, 100, 56), 20)
    for part in (0.32, 0.5, 0.66):
        canvas.line([(x - 0.8 * size, ground - part * size), (x + 0.8 * size, ground - part * size)], wood, 5)
    for part in (-0.65, 0.65):
        canvas.line([(x + part * size, ground), (x + part * size, ground - 0.7 * size)], (50, 50, 54), 4)


def _lamp(canvas: Canvas, x: float, ground: float, size: float) -> None:
    canvas.line([(x, ground), (x, ground - 2.0 * size)], (40, 44, 48), 4)
    canvas.ellipse((x, ground - 2.05 * size), 0.2 * size, 0.2 * size, (255, 244, 190))


def _balloon(canvas: Canvas, x: float, ground: float, size: float) -> None:
    colour = canvas.vary((210, 70, 120), 60)
    canvas.line([(x, ground - 0.6 * size), (x + 4, ground - 1.4 * size)], (90, 90, 90), 1.2)
    canvas.ellipse((x + 4, ground - 1.8 * size), 0.36 * size, 0.44 * size, colour)


def _dog(canvas: Canvas, x: float, ground: float, size: float) -> None:
    fur = canvas.vary((140, 100, 66), 50)
    canvas.ellipse((x, ground - 0.38 * size), 0.5 * size, 0.22 * size, fur)
    canvas.ellipse((x + 0.52 * size, ground - 0.62 * size), 0.2 * size, 0.18 * size, fur)
    for part in (-0.35, -0.2, 0.25, 0.4):
        canvas.line([(x + part * size, ground - 0.3 * size), (x + part * size, ground)], fur, 0.1 * size)
    canvas.line([(x - 0.48 * size, ground - 0.45 * size), (x - 0.7 * size, ground - 0.7 * size)], fur, 0.08 * size)


def _box(canvas: Canvas, x: float, ground: float, size: float) -> None:
    card = canvas.vary((190, 150, 100), 20)
    canvas.rectangle((x - 0.45 * size, ground - 0.7 * size, x + 0.45 * size, ground), card)
    canvas.line([(x, ground - 0.7 * size), (x, ground)], canvas.darker(card, 0.7), 5)


def _sign(canvas: Canvas, x: float, ground: float, size: float) -> None:
    canvas.line([(x, ground), (x, ground - 1.3 * size)], (110, 110, 110), 4)
    canvas.rectangle((x - 0.45 * size, ground - 1.6 * size, x + 0.45 * size, ground - 1.0 * size), (250, 250, 250))
    for part in (1.45, 1.3, 1.15):
        canvas.line(
            [(x - 0.32 * size, ground - part * size), (x + 0.32 * size, ground - part * size)], (60, 60, 120), 2
        )


def _bush(canvas: Canvas, x: float, ground: float, size: float) -> None:
    leaf = canvas.vary((56, 120, 56), 24)
    for dx, dy in ((-0.35, 0.25), (0.0, 0.45), (0.35, 0.25), (0.0, 0.15)):
        canvas.ellipse((x + dx * size, ground - dy * size), 0.34 * size, 0.3 * size, canvas.vary(leaf, 10))


_KINDS: dict[str, Callable[[Canvas, float, float, float], None]] = {
    "car": _car,
    "bench": _bench,
    "lamp": _lamp,
    "balloon": _balloon,
    "dog": _dog,
    "box": _box,
    "sign": _sign,
    "bush": _bush,
}
