"""The eight places of the generated world."""

from __future__ import annotations

from collections.abc import Callable

from dualway.world.canvas import Canvas, Colour

_HORIZON = 0.62


def draw_background(canvas: Canvas, place: str) -> None:
    """Fill the canvas with a place (`looks.PLACES`)."""
    _PLACES[place](canvas)


def _land(canvas: Canvas, sky: tuple[Colour, Colour], ground: tuple[Colour, Colour]) -> float:
    """Draw sky and ground and return the horizon's y."""
    y = canvas.height * (_HORIZON + canvas.rng.uniform(-0.06, 0.06))
    canvas.gradient(canvas.vary(sky[0], 10), canvas.vary(sky[1], 10), 0, y)
    canvas.gradient(canvas.vary(ground[0], 10), canvas.vary(ground[1], 10), y, canvas.height)
    return y


def _specks(canvas: Canvas, num: int, y0: float, colour: Colour, size: float) -> None:
    for _ in range(num):
        place = (canvas.rng.uniform(0, canvas.width), canvas.rng.uniform(y0, canvas.height))
        canvas.ellipse(place, size, 0.7 * size, canvas.vary(colour, 16))


def _clouds(canvas: Canvas, num: int, colour: Colour) -> None:
    for _ in range(num):
        x, y = canvas.rng.uniform(0, canvas.width), canvas.rng.uniform(10, 0.3 * canvas.height)
        for k in range(3):
            canvas.ellipse((x + 16 * k, y + canvas.rng.uniform(-4, 4)), 20, 10, colour)


def _beach(canvas: Canvas) -> None:
    y = _land(canvas, ((110, 190, 240), (200, 232, 250)), ((236, 214, 150), (224, 196, 120)))
    canvas.gradient((30, 120, 190), (70, 170, 210), y - 26, y)
    canvas.ellipse((canvas.rng.uniform(30, canvas.width - 30), 36), 20, 20, (255, 236, 130))
    _specks(canvas, 40, y + 4, (206, 178, 110), 1.6)


def _fir(canvas: Canvas, x: float, y: float, size: float, colour: Colour) -> None:
    canvas.rectangle((x - 0.06 * size, y - 0.2 * size, x + 0.06 * size, y), (90, 60, 36))
    for k in range(3):
        top, wide = y - size * (0.5 + 0.25 * k), size * (0.36 - 0.09 * k)
        canvas.polygon([(x, top - 0.2 * size), (x - wide, top + 0.3 * size), (x + wide, top + 0.3 * size)], colour)


def _forest(canvas: Canvas) -> None:
    y = _land(canvas, ((170, 206, 180), (130, 170, 130)), ((80, 110, 50), (60, 84, 40)))
    for _ in range(11):
        x = canvas.rng.uniform(-10, canvas.width + 10)
        _fir(canvas, x, y + canvas.rng.uniform(0, 14), canvas.rng.uniform(90, 150), canvas.vary((26, 84, 40), 16))
    _specks(canvas, 50, y + 10, (110, 130, 60), 2.2)


def _city(canvas: Canvas) -> None:
    y = _land(canvas, ((150, 170, 200), (206, 206, 210)), ((120, 120, 124), (96, 96, 100)))
    x = -10.0
    while x < canvas.width:
        wide, tall = canvas.rng.uniform(36, 64), canvas.rng.uniform(80, 170)
        wall = canvas.vary((130, 112, 104), 36)
        canvas.rectangle((x, y - tall, x + wide, y), wall)
        for row in range(int(tall // 18)):
            for column in range(int(wide // 14)):
                lit = (250, 232, 150) if canvas.rng.random() < 0.4 else (70, 80, 100)
                left, top = x + 5 + 14 * column, y - tall + 6 + 18 * row
                canvas.rectangle((left, top, left + 7, top + 9), lit)
        x += wide + canvas.rng.uniform(0, 6)
    canvas.rectangle((0, y + 20, canvas.width, y + 23), (230, 230, 220))


def _mountains(canvas: Canvas) -> None:
    y = _land(canvas, ((120, 170, 230), (200, 220, 240)), ((110, 150, 80), (90, 130, 60)))
    for _ in range(5):
        x, tall = canvas.rng.uniform(0, canvas.width), canvas.rng.uniform(70, 140)
        wide = tall * canvas.rng.uniform(0.7, 1.0)
        canvas.polygon([(x, y - tall), (x - wide, y), (x + wide, y)], canvas.vary((112, 110, 124), 16))
        canvas.polygon(
            [(x, y - tall), (x - 0.25 * wide, y - 0.75 * tall), (x + 0.25 * wide, y - 0.75 * tall)], (244, 246, 250)
        )
    _clouds(canvas, 2, (246, 246, 250))


def _stage(canvas: Canvas) -> None:
    y = _land(canvas, ((40, 10, 20), (70, 16, 30)), ((120, 80, 44), (90, 58, 30)))
    for k in range(14):
        x = canvas.width * k / 13
        canvas.rectangle((x - 7, 0, x + 7, y), canvas.vary((130, 20, 36), 20))
    for _ in range(3):
        x = canvas.rng.uniform(30, canvas.width - 30)
        canvas.polygon([(x, 0), (x - 34, y + 30), (x + 34, y + 30)], (170, 110, 70))
    for k in range(10):
        canvas.line([(canvas.width * k / 9, y), (canvas.width * (1.4 * k / 9 - 0.2), canvas.height)], (76, 48, 24), 1.4)


def _snow(canvas: Canvas) -> None:
    y = _land(canvas, ((170, 190, 214), (214, 224, 234)), ((240, 244, 250), (222, 230, 242)))
    for _ in range(4):
        _fir(canvas, canvas.rng.uniform(0, canvas.width), y + 4, canvas.rng.uniform(60, 100), (150, 180, 176))
    for _ in range(70):
        canvas.ellipse(
            (canvas.rng.uniform(0, canvas.width), canvas.rng.uniform(0, canvas.height)), 1.7, 1.7, (255, 255, 255)
        )


def _desert(canvas: Canvas) -> None:
    y = _land(canvas, ((250, 190, 110), (252, 222, 160)), ((222, 150, 80), (200, 124, 60)))
    for _ in range(3):
        x = canvas.rng.uniform(0, canvas.width)
        canvas.ellipse((x, y + 14), canvas.rng.uniform(80, 130), 26, canvas.vary((230, 160, 86), 12))
    for _ in range(2):
        x, tall = canvas.rng.uniform(20, canvas.width - 20), canvas.rng.uniform(40, 66)
        canvas.line([(x, y + 16), (x, y + 16 - tall)], (60, 120, 64), 9)
        canvas.line([(x, y - 0.3 * tall), (x + 15, y - 0.3 * tall), (x + 15, y - 0.6 * tall)], (60, 120, 64), 6)


def _garden(canvas: Canvas) -> None:
    y = _land(canvas, ((140, 200, 240), (210, 236, 246)), ((96, 170, 70), (76, 146, 54)))
    for k in range(24):
        x = canvas.width * k / 23
        canvas.rectangle((x - 5, y - 34, x + 5, y), (250, 248, 240))
    canvas.rectangle((0, y - 26, canvas.width, y - 21), (236, 232, 220))
    for colour in ((240, 70, 110), (250, 220, 60), (170, 90, 220)):
        _specks(canvas, 18, y + 6, colour, 3.0)


_PLACES: dict[str, Callable[[Canvas], None]] = {
    "beach": _beach,
    "forest": _forest,
    "city": _city,
    "mountains": _mountains,
    "stage": _stage,
    "snow": _snow,
    "desert": _desert,
    "garden": _garden,
}
