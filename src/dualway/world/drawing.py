"""Draws a scene: a place, distractor objects and one to four people, as an RGB picture with grain and light.

Nothing here is known to a detector or an encoder: they see pixels. Where each figure stands is returned beside the
picture, for ceilings and for scoring detection only. The tone of the skin is one and the same for everybody but for
light: it tells nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dualway.world.backgrounds import draw_background
from dualway.world.canvas import Canvas, Colour
from dualway.world.distractors import draw_distractor
from dualway.world.looks import Look
from dualway.world.scenes import Scene

if TYPE_CHECKING:
    from PIL.Image import Image

WIDTH, HEIGHT = 384, 288
PORTRAIT = 176, 264  # width and height, before it is cut to the person
Box = tuple[float, float, float, float]

_SKIN: Colour = (222, 178, 140)
_HAIR: dict[str, Colour] = {
    "black": (28, 24, 26),
    "brown": (104, 62, 30),
    "blond": (232, 200, 96),
    "red": (196, 72, 24),
    "blue": (60, 90, 214),
    "grey": (196, 196, 200),
}
CLOTHES: dict[str, Colour] = {
    "red": (200, 36, 40),
    "green": (40, 140, 60),
    "blue": (40, 80, 190),
    "yellow": (240, 206, 40),
    "purple": (124, 52, 160),
    "black": (36, 36, 42),
    "orange": (240, 130, 30),
    "pink": (244, 140, 186),
}


class DrawnFigure(NamedTuple):
    """Where a figure stands, with all that it wears and carries, and where its face is."""

    box: Box
    face: Box


class DrawnScene(NamedTuple):
    """A picture, and where each of the scene's figures is in it, in their order."""

    picture: Image
    figures: tuple[DrawnFigure, ...]


def draw_scene(scene: Scene, seed: int) -> DrawnScene:
    """Return the picture of a scene; the same scene and seed give the same picture."""
    rng = random.Random(f"picture/{seed}/{scene.id}")
    canvas = Canvas(WIDTH, HEIGHT, rng)
    draw_background(canvas, scene.place)
    behind = len(scene.distractors) // 2
    for kind in scene.distractors[:behind]:
        draw_distractor(
            canvas, kind, rng.uniform(20, WIDTH - 20), rng.uniform(0.68, 0.76) * HEIGHT, rng.uniform(50, 80)
        )
    figures = _draw_figures(canvas, scene, rng)
    for kind in scene.distractors[behind:]:
        draw_distractor(
            canvas, kind, rng.choice((0.06, 0.94)) * WIDTH, rng.uniform(0.9, 1.0) * HEIGHT, rng.uniform(40, 70)
        )
    return DrawnScene(_light(canvas.finish(), rng), figures)


def draw_portrait(look: Look, place: str, seed: str) -> Image:
    """Return a picture of one person alone, as a knowledge base has; the same seed gives the same picture."""
    rng = random.Random(f"portrait/{seed}")
    width, height = PORTRAIT
    canvas = Canvas(width, height, rng)
    draw_background(canvas, place)
    x, ground = width * rng.uniform(0.46, 0.54), height * rng.uniform(0.93, 0.98)
    figure = draw_person(canvas, look, x=x, ground=ground, height=height * rng.uniform(0.74, 0.86))
    x0, y0, x1, y1 = map(round, figure.box)
    return _light(canvas.finish(), rng).crop((max(x0 - 4, 0), max(y0 - 4, 0), min(x1 + 4, width), min(y1 + 4, height)))


def _draw_figures(canvas: Canvas, scene: Scene, rng: random.Random) -> tuple[DrawnFigure, ...]:
    """Draw the figures side by side, the smaller (farther) ones first."""
    num = len(scene.figures)
    slot = WIDTH / num
    placed: list[tuple[float, int, float, float]] = []
    for i in range(num):
        height = HEIGHT * rng.uniform(0.66, 0.84) * (1.0, 1.0, 0.88, 0.78)[num - 1]
        x = slot * (i + 0.5) + rng.uniform(-0.08, 0.08) * slot
        placed.append((height, i, x, HEIGHT * rng.uniform(0.93, 0.99)))
    drawn: dict[int, DrawnFigure] = {}
    for height, i, x, ground in sorted(placed):
        drawn[i] = draw_person(canvas, scene.figures[i].look, x=x, ground=ground, height=height)
    return tuple(drawn[i] for i in range(num))


def draw_person(canvas: Canvas, look: Look, *, x: float, ground: float, height: float) -> DrawnFigure:
    """Draw a person who stands at (x, ground), an adult of `height` pixels, and return where it is."""
    person = _Person(canvas, look, x, ground, height)
    canvas.start_box()
    person.draw()
    box = canvas.end_box()
    (fx, fy), r = person.face, person.head
    return DrawnFigure(box, canvas.clip((fx - r, fy - r, fx + r, fy + r)))


class _Person:
    """Draws one figure part by part, from behind to the front."""

    def __init__(self, canvas: Canvas, look: Look, x: float, ground: float, height: float) -> None:
        self.canvas, self.look, self.rng = canvas, look, canvas.rng
        tall = height * (0.66 if look.age == "child" else 1.0)
        self.head = height * (0.095 if look.age == "child" else 0.085)  # radius
        self.side = self.rng.choice((-1, 1))
        if look.carries != "nothing":
            x -= self.side * 1.1 * self.head  # room for what is carried
        self.ground, self.x = ground, x
        self.top = ground - tall
        self.lean = self.rng.uniform(-0.03, 0.03) * tall
        self.neck = (x + self.lean, self.top + 2 * self.head)
        self.hip = (x, ground - 0.42 * (tall - 2 * self.head))
        self.wide = tall * self.rng.uniform(0.115, 0.135)  # half the shoulders
        self.face = (self.neck[0], self.neck[1] - self.head)
        self.cloth = canvas.vary(CLOTHES[look.colour], 14)
        self.skin = canvas.vary(_SKIN, 8)

    def draw(self) -> None:
        self._hair_behind()
        self._legs()
        hands = self._arms()
        self._clothes()
        self._head()
        self._hair_before()
        self._glasses()
        _CARRIED[self.look.carries](self.canvas, hands[self.side], self.head * 2.2)

    def _legs(self) -> None:
        bare = self.look.garment == "dress"
        colour = self.skin if bare else self.canvas.vary((70, 70, 84), 16)
        step = self.rng.uniform(0.35, 0.7) * self.wide
        for side in (-1, 1):
            foot = (self.x + side * step, self.ground - 3)
            self.canvas.line([(self.hip[0] + side * 0.35 * self.wide, self.hip[1]), foot], colour, 0.45 * self.wide)
            self.canvas.ellipse((foot[0] + side * 2, foot[1]), 0.4 * self.wide, 3.5, (50, 40, 36))

    def _arms(self) -> dict[int, tuple[float, float]]:
        """Draw both arms; the one that carries something is bent outwards. Return the hands by side."""
        hands: dict[int, tuple[float, float]] = {}
        length = (self.hip[1] - self.neck[1]) * 0.9
        for side in (-1, 1):
            busy = side == self.side and self.look.carries != "nothing"
            angle = self.rng.uniform(0.4, 0.65) if busy else self.rng.uniform(0.1, 0.5)
            shoulder = (self.neck[0] + side * 0.9 * self.wide, self.neck[1] + 0.12 * length)
            hand = (shoulder[0] + side * math.sin(angle) * length, shoulder[1] + math.cos(angle) * length)
            self.canvas.line([shoulder, hand], self.canvas.darker(self.cloth, 0.85), 0.42 * self.wide)
            self.canvas.ellipse(hand, 0.26 * self.wide, 0.26 * self.wide, self.skin)
            hands[side] = hand
        return hands

    def _clothes(self) -> None:
        (nx, ny), (hx, hy) = self.neck, self.hip
        low = {"coat": 0.62, "dress": 0.5}.get(self.look.garment, 0.0) * (self.ground - hy)
        flare = {"coat": 1.15, "dress": 1.75}.get(self.look.garment, 0.85)
        w = self.wide
        shape = [(nx - w, ny + 0.1 * w), (nx + w, ny + 0.1 * w), (hx + flare * w, hy + low), (hx - flare * w, hy + low)]
        self.canvas.polygon(shape, self.cloth)
        _DETAILS[self.look.garment](self, hy + low)

    def buttons(self, low: float) -> None:
        dark = self.canvas.darker(self.cloth, 0.55)
        middle = [(self.neck[0], self.neck[1] + 2), (self.hip[0], low)]
        self.canvas.line(middle, dark, 1.6)
        for part in (0.2, 0.4, 0.6, 0.8):
            y = self.neck[1] + part * (low - self.neck[1])
            self.canvas.ellipse((self.neck[0] + 3, y), 1.8, 1.8, (240, 230, 200))
        for side in (-1, 1):
            tip = (self.neck[0] + side * 0.5 * self.wide, self.neck[1] + 0.9 * self.wide)
            self.canvas.polygon(
                [(self.neck[0], self.neck[1]), tip, (self.neck[0] + side * 0.7 * self.wide, self.neck[1])], dark
            )

    def collar(self, low: float) -> None:
        for side in (-1, 1):
            self.canvas.polygon(
                [
                    (self.neck[0], self.neck[1] + 0.45 * self.wide),
                    (self.neck[0] + side * 0.5 * self.wide, self.neck[1] + 0.1 * self.wide),
                    (self.neck[0], self.neck[1]),
                ],
                self.canvas.darker(self.cloth, 1.25),
            )
        self.canvas.line(
            [(self.hip[0] - 0.85 * self.wide, low), (self.hip[0] + 0.85 * self.wide, low)], (60, 44, 30), 3
        )

    def sash(self, low: float) -> None:
        y = self.neck[1] + 0.5 * (self.hip[1] - self.neck[1])
        self.canvas.line(
            [(self.neck[0] - self.wide, y), (self.neck[0] + self.wide, y)], self.canvas.darker(self.cloth, 0.6), 4
        )

    def stripes(self, low: float) -> None:
        for part in (0.18, 0.36, 0.54, 0.72, 0.9):
            y = self.neck[1] + part * (low - self.neck[1])
            x = self.neck[0] + part * (self.hip[0] - self.neck[0])
            w = self.wide * (1 - 0.15 * part) - 1
            self.canvas.line([(x - w, y), (x + w, y)], (244, 244, 240), 2.6)

    def _head(self) -> None:
        fx, fy = self.face
        self.canvas.line([(fx, fy), (fx, self.neck[1] + 2)], self.canvas.darker(self.skin, 0.9), 0.8 * self.head)
        self.canvas.ellipse(self.face, 0.86 * self.head, self.head, self.skin)
        for side in (-1, 1):
            self.canvas.ellipse((fx + side * 0.34 * self.head, fy - 0.05 * self.head), 1.5, 1.7, (30, 30, 36))
        mouth = self.rng.uniform(-0.05, 0.12) * self.head
        y = fy + 0.5 * self.head
        self.canvas.line([(fx - 0.3 * self.head, y), (fx, y + mouth), (fx + 0.3 * self.head, y)], (150, 60, 56), 1.4)
        if self.look.age == "elderly":
            self._wrinkles()

    def _wrinkles(self) -> None:
        (fx, fy), dark = self.face, self.canvas.darker(self.skin, 0.58)
        for part in (-0.5, -0.35):
            y = fy + part * self.head
            self.canvas.line([(fx - 0.4 * self.head, y), (fx + 0.4 * self.head, y)], dark, 1.5)
        for side in (-1, 1):
            x = fx + side * 0.5 * self.head
            self.canvas.line(
                [(x, fy + 0.2 * self.head), (x - side * 0.12 * self.head, fy + 0.5 * self.head)], dark, 1.5
            )

    def _hair_behind(self) -> None:
        if self.look.hair_style == "long":
            fx, fy = self.face
            self.canvas.ellipse((fx, fy + 0.75 * self.head), 1.3 * self.head, 1.85 * self.head, self._hair())

    def _hair_before(self) -> None:
        (fx, fy), r = self.face, self.head
        if self.look.hair_style == "bald":
            self.canvas.ellipse((fx - 0.3 * r, fy - 0.62 * r), 0.2 * r, 0.14 * r, self.canvas.darker(self.skin, 1.15))
        elif self.look.hair_style == "curly":
            for k in range(9):
                angle = math.pi * (1.02 + 0.96 * k / 8)
                self.canvas.ellipse(
                    (fx + 0.95 * r * math.cos(angle), fy + 0.95 * r * math.sin(angle)), 0.46 * r, 0.46 * r, self._hair()
                )
        else:
            self.canvas.pieslice((fx, fy - 0.12 * r), 0.98 * r, 1.0 * r, (180, 360), self._hair())

    def _hair(self) -> Colour:
        return self.canvas.vary(_HAIR[self.look.hair_colour], 6)

    def _glasses(self) -> None:
        if self.look.glasses == "no":
            return
        (fx, fy), r = self.face, self.head
        dark = self.look.glasses == "dark"
        for side in (-1, 1):
            centre = (fx + side * 0.37 * r, fy - 0.04 * r)
            if dark:
                self.canvas.ellipse(centre, 0.36 * r, 0.26 * r, (16, 16, 20))
            else:
                self.canvas.ring(centre, 0.32 * r, (30, 30, 40), 1.4)
        self.canvas.line([(fx - 0.12 * r, fy - 0.06 * r), (fx + 0.12 * r, fy - 0.06 * r)], (20, 20, 26), 1.4)


_DETAILS: dict[str, Callable[[_Person, float], None]] = {
    "coat": _Person.buttons,
    "shirt": _Person.collar,
    "dress": _Person.sash,
    "striped sweater": _Person.stripes,
}


def _nothing(canvas: Canvas, hand: tuple[float, float], size: float) -> None:
    """Draw nothing: empty hands."""


def _umbrella(canvas: Canvas, hand: tuple[float, float], size: float) -> None:
    x, y = hand
    canvas.line([(x, y + 0.3 * size), (x, y - 2.4 * size)], (90, 70, 50), 2.4)
    canvas.pieslice((x, y - 1.8 * size), 1.15 * size, 0.9 * size, (180, 360), (32, 120, 140))
    for part in (-0.55, 0.0, 0.55):
        canvas.line([(x + part * 1.15 * size, y - 1.8 * size), (x, y - 2.7 * size)], (20, 80, 96), 1.2)


def _guitar(canvas: Canvas, hand: tuple[float, float], size: float) -> None:
    x, y = hand
    canvas.line([(x, y), (x + 0.7 * size, y - 1.5 * size)], (80, 50, 24), 4)
    canvas.ellipse((x - 0.12 * size, y + 0.3 * size), 0.62 * size, 0.6 * size, (176, 106, 40))
    canvas.ellipse((x + 0.14 * size, y - 0.3 * size), 0.44 * size, 0.42 * size, (176, 106, 40))
    canvas.ellipse((x - 0.05 * size, y + 0.12 * size), 0.17 * size, 0.17 * size, (40, 24, 12))


def _book(canvas: Canvas, hand: tuple[float, float], size: float) -> None:
    x, y = hand
    canvas.polygon(
        [
            (x, y - 0.2 * size),
            (x - 0.8 * size, y - 0.45 * size),
            (x - 0.8 * size, y + 0.35 * size),
            (x, y + 0.55 * size),
        ],
        (250, 246, 232),
    )
    canvas.polygon(
        [
            (x, y - 0.2 * size),
            (x + 0.8 * size, y - 0.45 * size),
            (x + 0.8 * size, y + 0.35 * size),
            (x, y + 0.55 * size),
        ],
        (236, 228, 206),
    )
    canvas.line([(x, y - 0.2 * size), (x, y + 0.55 * size)], (130, 40, 40), 2.4)


def _ball(canvas: Canvas, hand: tuple[float, float], size: float) -> None:
    x, y = hand
    canvas.ellipse((x, y + 0.4 * size), 0.66 * size, 0.66 * size, (250, 250, 250))
    canvas.ellipse((x, y + 0.4 * size), 0.24 * size, 0.24 * size, (20, 20, 24))
    for k in range(5):
        angle = 2 * math.pi * k / 5
        canvas.ellipse(
            (x + 0.5 * size * math.cos(angle), y + 0.4 * size + 0.5 * size * math.sin(angle)),
            0.11 * size,
            0.11 * size,
            (20, 20, 24),
        )


def _camera(canvas: Canvas, hand: tuple[float, float], size: float) -> None:
    x, y = hand
    canvas.rectangle((x - 0.65 * size, y - 0.45 * size, x + 0.65 * size, y + 0.4 * size), (46, 46, 54))
    canvas.rectangle((x - 0.4 * size, y - 0.65 * size, x - 0.05 * size, y - 0.4 * size), (46, 46, 54))
    canvas.ellipse((x + 0.08 * size, y), 0.33 * size, 0.33 * size, (150, 190, 220))
    canvas.ellipse((x + 0.08 * size, y), 0.16 * size, 0.16 * size, (20, 30, 50))


def _flag(canvas: Canvas, hand: tuple[float, float], size: float) -> None:
    x, y = hand
    canvas.line([(x, y + 0.4 * size), (x, y - 2.4 * size)], (130, 110, 90), 2.4)
    canvas.rectangle((x, y - 2.4 * size, x + 1.4 * size, y - 1.95 * size), (216, 30, 50))
    canvas.rectangle((x, y - 1.95 * size, x + 1.4 * size, y - 1.5 * size), (250, 250, 250))


def _suitcase(canvas: Canvas, hand: tuple[float, float], size: float) -> None:
    x, y = hand
    canvas.line(
        [
            (x - 0.25 * size, y + 0.2 * size),
            (x - 0.25 * size, y),
            (x + 0.25 * size, y),
            (x + 0.25 * size, y + 0.2 * size),
        ],
        (50, 34, 20),
        2.4,
    )
    canvas.rectangle((x - 0.75 * size, y + 0.2 * size, x + 0.75 * size, y + 1.2 * size), (140, 84, 44))
    for part in (-0.4, 0.4):
        canvas.line([(x + part * size, y + 0.2 * size), (x + part * size, y + 1.2 * size)], (86, 50, 26), 3)


def _flowers(canvas: Canvas, hand: tuple[float, float], size: float) -> None:
    x, y = hand
    for k, colour in enumerate(((240, 80, 130), (250, 210, 60), (190, 90, 220), (250, 120, 60), (250, 250, 250))):
        tip = (x + (k - 2) * 0.34 * size, y - (1.0 - 0.12 * abs(k - 2)) * size)
        canvas.line([(x, y + 0.3 * size), tip], (50, 130, 50), 1.8)
        canvas.ellipse(tip, 0.2 * size, 0.2 * size, colour)
        canvas.ellipse(tip, 0.08 * size, 0.08 * size, (110, 60, 20))


_CARRIED: dict[str, Callable[[Canvas, tuple[float, float], float], None]] = {
    "nothing": _nothing,
    "umbrella": _umbrella,
    "guitar": _guitar,
    "book": _book,
    "ball": _ball,
    "camera": _camera,
    "flag": _flag,
    "suitcase": _suitcase,
    "flowers": _flowers,
}


def _light(picture: Image, rng: random.Random) -> Image:
    """Return the picture under another light, with grain."""
    from PIL import Image

    pixels = np.asarray(picture, dtype=np.float32)
    tint = np.array([rng.uniform(0.93, 1.07) for _ in range(3)], dtype=np.float32) * rng.uniform(0.88, 1.08)
    across = np.linspace(rng.uniform(0.92, 1.0), rng.uniform(0.92, 1.0), pixels.shape[1], dtype=np.float32)
    grain = np.random.default_rng(rng.getrandbits(64)).normal(0.0, 5.0, pixels.shape[:2]).astype(np.float32)
    lit = pixels * tint * across[None, :, None] + grain[:, :, None]
    return Image.fromarray(lit.clip(0, 255).astype(np.uint8))
