"""A canvas in picture coordinates, drawn at twice the size and scaled down, that knows the extent of what is drawn."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = tuple[int, int, int]
Point = tuple[float, float]

_SCALE = 2


class Canvas:
    """Draws shapes on a picture of `width` x `height` pixels.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        rng: For what varies.
    """

    def __init__(self, width: int, height: int, rng: random.Random) -> None:
        from PIL import Image, ImageDraw

        self.width, self.height, self.rng = width, height, rng
        self._image = Image.new("RGB", (width * _SCALE, height * _SCALE))
        self._draw = ImageDraw.Draw(self._image)
        self._extent: list[Point] = []

    def finish(self) -> Image:
        """Return the picture, scaled down to its size."""
        from PIL import Image

        return self._image.resize((self.width, self.height), Image.Resampling.BOX)

    def start_box(self) -> None:
        """Forget the extent of what was drawn."""
        self._extent = []

    def end_box(self) -> tuple[float, float, float, float]:
        """Return the box around what was drawn since `start_box`, within the picture."""
        xs, ys = [x for x, _ in self._extent], [y for _, y in self._extent]
        return self.clip((min(xs), min(ys), max(xs), max(ys)))

    def clip(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Return the part of a box (x0, y0, x1, y1) that lies in the picture, to a tenth of a pixel."""
        x0, y0, x1, y1 = box
        right, bottom = float(self.width), float(self.height)
        return (round(max(x0, 0.0), 1), round(max(y0, 0.0), 1), round(min(x1, right), 1), round(min(y1, bottom), 1))

    def vary(self, colour: Colour, amount: int) -> Colour:
        """Return a colour near this one."""
        r, g, b = (min(max(part + self.rng.randint(-amount, amount), 0), 255) for part in colour)
        return r, g, b

    def darker(self, colour: Colour, factor: float) -> Colour:
        """Return the colour times a factor (above 1: lighter)."""
        r, g, b = (min(int(part * factor), 255) for part in colour)
        return r, g, b

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """Draw a line with round joints."""
        half = width / 2
        self._seen([p for x, y in points for p in ((x - half, y - half), (x + half, y + half))])
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self._draw.line(scaled, fill=colour, width=max(round(width * _SCALE), 1), joint="curve")

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        self._seen(points)
        self._draw.polygon([(x * _SCALE, y * _SCALE) for x, y in points], fill=colour)

    def rectangle(self, box: tuple[float, float, float, float], colour: Colour) -> None:
        """Fill a rectangle (x0, y0, x1, y1)."""
        self._seen([box[:2], box[2:]])
        self._draw.rectangle([part * _SCALE for part in box], fill=colour)

    def ellipse(self, centre: Point, rx: float, ry: float, colour: Colour) -> None:
        """Fill an ellipse."""
        self._draw.ellipse(self._around(centre, rx, ry), fill=colour)

    def ring(self, centre: Point, radius: float, colour: Colour, width: float) -> None:
        """Draw a circle's outline."""
        box = self._around(centre, radius, radius)
        self._draw.ellipse(box, outline=colour, width=max(round(width * _SCALE), 1))

    def pieslice(self, centre: Point, rx: float, ry: float, angles: tuple[int, int], colour: Colour) -> None:
        """Fill a slice of an ellipse between two angles in degrees, clockwise from three o'clock."""
        self._draw.pieslice(self._around(centre, rx, ry), *angles, fill=colour)

    def gradient(self, top: Colour, bottom: Colour, y0: float, y1: float) -> None:
        """Fill the rows from y0 to y1 with colours from `top` to `bottom`."""
        rows = max(int((y1 - y0) * _SCALE), 1)
        for row in range(rows):
            part = row / rows
            colour = tuple(int(a + part * (b - a)) for a, b in zip(top, bottom, strict=True))
            y = int(y0 * _SCALE) + row
            self._draw.line([(0, y), (self.width * _SCALE, y)], fill=colour)

    def _around(self, centre: Point, rx: float, ry: float) -> list[float]:
        (x, y) = centre
        self._seen([(x - rx, y - ry), (x + rx, y + ry)])
        return [(x - rx) * _SCALE, (y - ry) * _SCALE, (x + rx) * _SCALE, (y + ry) * _SCALE]

    def _seen(self, points: Sequence[Point]) -> None:
        self._extent.extend(points)
