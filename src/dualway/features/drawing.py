"""Draws a picture with what was found in it, and words beside it; readable on any picture.

Lines have a dark rim and labels a ground of their own, so that neither depends on what is below. The font is the one
inside Pillow, which has little more than ASCII: letters with marks are written without them, other letters as escapes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from dualway.features.regions import CutOut
from dualway.features.seeing import WHOLE
from dualway.features.seen import Seen
from dualway.schema import Face, Region, Segment
from dualway.text import repair
from dualway.vision.crops import decode_mask, outline_box

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Colour = tuple[int, int, int]
Mark = tuple[Literal["object", "face"], int]  # an object or face by its position
Rectangle = tuple[float, float, float, float]

LARGEST, SMALLEST = 1100, 800  # pixels of the drawing's longer side
_MARGIN, _COLUMN, _GAP = 16, 350, 24  # of the words
_TITLE, _TEXT, _TAG = 17, 14, 14  # sizes of the font
_LINE = 3  # width of lines
_TAGGED = 8  # objects up to which each has its label in the picture; else a number alone

_GROUND, _INK, _FAINT, _RIM = (252, 252, 250), (25, 25, 25), (105, 105, 105), (20, 20, 20)
# Okabe and Ito's colours, which differ for the colour-blind too; yellow is for faces.
_OBJECTS: tuple[Colour, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (0, 114, 178),
    (213, 94, 0),
)
_FACE: Colour = (250, 232, 60)
# The subject's right eye, left eye, nose, right and left corner of the mouth.
_POINTS: tuple[Colour, ...] = ((235, 60, 50), (60, 220, 80), (255, 255, 255), (235, 60, 50), (60, 220, 80))

# Letters that Unicode does not divide into a letter and a mark, and signs, as the font has them.
_ALIKE = str.maketrans(
    {"ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ø": "o", "Ø": "O", "ı": "i", "ß": "ss", "æ": "ae", "Æ": "AE"}
    | {"œ": "oe", "Œ": "OE", "–": "-", "—": "-", "−": "-", "×": "x", "\u00a0": " ", "ð": "d", "þ": "th"}
)
_NOWHERE = "\U0010ffff"  # no font has it
_ESCAPED = 8  # letters in a row that are written as escapes; of more, how many they are


class Row(NamedTuple):
    """A line of words about a picture.

    text: The words.
    mark: Which object or face of the drawing they are about.
    minor: Whether they may be passed over: details, and what the model is not given.
    """

    text: str
    mark: Mark | None = None
    minor: bool = False


class Section(NamedTuple):
    """Some lines under a title."""

    title: str
    rows: list[Row]


def draw(picture: Image.Image, seen: Seen, sections: Sequence[Section], named: Mapping[Mark, str]) -> Image.Image:
    """Return a drawing, RGB.

    Args:
        picture: The picture; boxes that reach out of it are cut at its edges.
        seen: What was found in it.
        sections: The words beside it.
        named: Who was recognised in a face.

    Raises:
        DataError: The outline of an object is not one.
    """
    sketch = _Sketch(picture)
    sketch.add_objects(seen.objects)
    sketch.add_faces(seen.faces, named)
    return _with_words(sketch.finish(), sections)


def colour_of(mark: Mark) -> Colour:
    """Return the colour in which an object or face is drawn."""
    kind, number = mark
    return _FACE if kind == "face" else _OBJECTS[number % len(_OBJECTS)]


def writable(text: str) -> str:
    """Return a text in letters that the font has, on one line."""
    plain = " ".join(repair(text).translate(_ALIKE).split())
    if all(map(_has, plain)):
        return plain
    pieces: list[str] = []
    lacking: list[str] = []
    for letter in unicodedata.normalize("NFC", plain):
        base = letter if _has(letter) else _base(letter)
        if base is None:
            lacking.append(letter)
            continue
        pieces += [*_escapes(lacking), base]
        lacking = []
    return "".join([*pieces, *_escapes(lacking)])


class _Tag(NamedTuple):
    """A label that waits for its place beside a box."""

    box: Rectangle
    words: str
    colour: Colour
    below: bool


class _Sketch:
    """The picture in the size in which it is drawn."""

    def __init__(self, picture: Image.Image) -> None:
        self._size, longest = picture.size, max(picture.size)
        self.scale = min(max(longest, SMALLEST), LARGEST) / longest
        size = max(round(picture.width * self.scale), 1), max(round(picture.height * self.scale), 1)
        self.image = picture.resize(size, Image.Resampling.LANCZOS).convert("RGB")
        self._draw = ImageDraw.Draw(self.image)
        self._tags: list[_Tag] = []

    def add_objects(self, regions: Sequence[Region]) -> None:
        """Draw the box or outline of each object that has a place, the best on top."""
        if [region.label for region in regions] == [WHOLE]:
            return
        placed = [(i, region) for i, region in enumerate(regions) if not isinstance(region, CutOut)]
        for i, region in reversed(placed):
            box, colour = self._scaled(region.box), colour_of(("object", i))
            if box is None:
                continue
            if isinstance(region, Segment) and region.mask:
                self._outline(region, colour)
            else:
                self._rectangle(box, colour)
            words = f"{i + 1}: {region.label} {region.score:.2f}" if len(placed) <= _TAGGED else f"{i + 1}"
            self._tags.append(_Tag(box, words, colour, below=False))

    def add_faces(self, faces: Sequence[Face], named: Mapping[Mark, str]) -> None:
        """Draw the box and the landmarks of each face of the picture itself, and who it was recognised as."""
        for i, face in enumerate(faces):
            box = None if face.box is None or face.picture else self._scaled(face.box)
            if box is None:
                continue
            colour, name = colour_of(("face", i)), named.get(("face", i))
            self._rectangle(box, colour)
            radius = min(max((box[2] - box[0]) / 40, 2), 4)
            for (x, y), dot in zip(face.landmarks, _POINTS, strict=False):
                self._dot(x * self.scale, y * self.scale, radius, dot)
            self._tags.append(_Tag(box, f"face {i + 1}: {name}" if name else f"face {i + 1}", colour, below=True))

    def finish(self) -> Image.Image:
        """Write the labels, each where it hides least; return the drawing."""
        faces = [tag.box for tag in self._tags if tag.below]
        taken: list[Rectangle] = []
        for tag in reversed(self._tags):  # faces first, then the best objects
            words = _cut(writable(tag.words), _font(_TAG), self.image.width - 8)
            size = _font(_TAG).getlength(words) + 8, _TAG + 6
            places = [self._inside(place, size) for place in _places(tag, size)]
            place = min(places, key=lambda place: _covered(place, taken, 4) + _covered(place, faces, 1))
            taken.append(place)
            self._draw.rectangle(place, fill=tag.colour, outline=_RIM)
            self._draw.text((place[0] + 4, place[1] + 2), words, fill=_ink_on(tag.colour), font=_font(_TAG))
        return self.image

    def _scaled(self, box: Sequence[float]) -> Rectangle | None:
        """Return a box in the drawing, cut at its edges; None: it is not in the picture."""
        (width, height), (x0, y0, x1, y1) = self._size, box
        x0, x1, y0, y1 = max(min(x0, x1), 0), min(max(x0, x1), width), max(min(y0, y1), 0), min(max(y0, y1), height)
        if x0 > x1 or y0 > y1:
            return None
        left, top = min(x0 * self.scale, self.image.width - 1), min(y0 * self.scale, self.image.height - 1)
        right, bottom = min(x1 * self.scale, self.image.width), min(y1 * self.scale, self.image.height)
        return left, top, max(right - 1, left), max(bottom - 1, top)

    def _rectangle(self, box: Rectangle, colour: Colour) -> None:
        x0, y0, x1, y1 = box
        self._draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=_RIM, width=_LINE + 2)
        self._draw.rectangle(box, outline=colour, width=_LINE)

    def _dot(self, x: float, y: float, radius: float, colour: Colour) -> None:
        if 0 <= x <= self.image.width and 0 <= y <= self.image.height:
            box = (x - radius, y - radius, x + radius, y + radius)
            self._draw.ellipse(box, fill=colour, outline=_RIM)

    def _outline(self, segment: Segment, colour: Colour) -> None:
        x0, y0, x1, y1 = outline_box(segment.box)
        x1, y1 = min(x1, self._size[0]), min(y1, self._size[1])
        if x0 >= x1 or y0 >= y1:
            return
        inside = Image.fromarray(decode_mask(segment)[: y1 - y0, : x1 - x0].astype(np.uint8) * 255)
        left, top = round(x0 * self.scale), round(y0 * self.scale)
        size = max(round(x1 * self.scale) - left, 1), max(round(y1 * self.scale) - top, 1)
        rim = _LINE + 2
        mask = Image.new("L", (size[0] + 2 * rim, size[1] + 2 * rim))
        mask.paste(inside.resize(size, Image.Resampling.NEAREST), (rim, rim))
        corner = left - rim, top - rim
        wide, inner = mask.filter(ImageFilter.MaxFilter(2 * _LINE + 3)), mask.filter(ImageFilter.MinFilter(3))
        self.image.paste(_RIM, corner, ImageChops.subtract(wide, inner))
        self.image.paste(colour, corner, ImageChops.subtract(mask.filter(ImageFilter.MaxFilter(2 * _LINE - 1)), inner))
        self.image.paste(colour, corner, inner.point([value // 5 for value in range(256)]))

    def _inside(self, corner: tuple[float, float], size: tuple[float, float]) -> Rectangle:
        """Return a label's place, moved into the picture."""
        x = max(min(corner[0], self.image.width - 1 - size[0]), 0)
        y = max(min(corner[1], self.image.height - 1 - size[1]), 0)
        return x, y, x + size[0], y + size[1]


def _places(tag: _Tag, size: tuple[float, float]) -> list[tuple[float, float]]:
    """Return where a label may begin, the likeliest first: at the corners of its box, outside and inside."""
    (x0, y0, x1, y1), (width, height) = tag.box, size
    above = [(x0, y0 - height), (x1 - width, y0 - height)]
    below = [(x0, y1 + 1), (x1 - width, y1 + 1)]
    inside = [(x0, y0), (x1 - width, y0), (x0, y1 - height), (x1 - width, y1 - height)]
    return [*below, *above, *inside] if tag.below else [*above, *inside, *below]


def _covered(place: Rectangle, others: Sequence[Rectangle], weight: float) -> float:
    """Return how much of others a rectangle hides, in pixels times `weight`."""
    hidden = 0.0
    for x0, y0, x1, y1 in others:
        across, down = min(place[2], x1) - max(place[0], x0), min(place[3], y1) - max(place[1], y0)
        hidden += across * down if across > 0 and down > 0 else 0
    return hidden * weight


def _with_words(picture: Image.Image, sections: Sequence[Section]) -> Image.Image:
    """Return the picture with the words at its right, or below when it is wide, in as many columns as fit."""
    beside = picture.width < 1.5 * picture.height
    number = 1 if beside else max((picture.width + _GAP) // (_COLUMN + _GAP), 1)
    width = _COLUMN if beside else max((picture.width - (number - 1) * _GAP) // number, _COLUMN)
    columns = _columns([_Words(section, width) for section in sections], number)
    height = max(sum(words.height for words in column) for column in columns)
    left, top = (picture.width + _GAP, 0) if beside else (0, picture.height + _MARGIN)
    size = max(picture.width, left + number * (width + _GAP) - _GAP), max(picture.height, top + height)
    canvas = Image.new("RGB", (size[0] + 2 * _MARGIN, size[1] + 2 * _MARGIN), _GROUND)
    canvas.paste(picture, (_MARGIN, _MARGIN))
    writer = ImageDraw.Draw(canvas)
    for i, column in enumerate(columns):
        y = _MARGIN + top
        for words in column:
            y = words.write(writer, _MARGIN + left + i * (width + _GAP), y)
    return canvas


def _columns(sections: Sequence[_Words], number: int) -> list[list[_Words]]:
    """Return sections in their order in at most `number` columns that are as low as can be."""
    limit = max(words.height for words in sections)
    while True:
        columns: list[list[_Words]] = [[]]
        for words in sections:
            if columns[-1] and sum(item.height for item in columns[-1]) + words.height > limit:
                columns.append([])
            columns[-1].append(words)
        if len(columns) <= number:
            return columns
        limit += _TEXT


class _Words:
    """A section, broken into lines of a column's width."""

    def __init__(self, section: Section, width: int) -> None:
        self._title = _wrap(section.title, _font(_TITLE), width)
        self._rows = [(_wrap(row.text, _font(_TEXT), width - _indent(row)), row) for row in section.rows]

    @property
    def height(self) -> int:
        """Pixels from top to bottom, with the space after it."""
        return len(self._title) * (_TITLE + 6) + sum(len(lines) for lines, _ in self._rows) * (_TEXT + 5) + 14

    def write(self, draw: ImageDraw.ImageDraw, x: int, y: int) -> int:
        """Write it and return where the next begins."""
        for line in self._title:
            for shift in (0, 1):  # the font has no bold face
                draw.text((x + shift, y), line, fill=_INK, font=_font(_TITLE))
            y += _TITLE + 6
        for lines, row in self._rows:
            if row.mark is not None:
                _swatch(draw, row.mark, x, y + 2)
            for line in lines:
                draw.text((x + _indent(row), y), line, fill=_FAINT if row.minor else _INK, font=_font(_TEXT))
                y += _TEXT + 5
        return y + 14


def _indent(row: Row) -> int:
    return 0 if row.mark is None else 20


def _swatch(draw: ImageDraw.ImageDraw, mark: Mark, x: int, y: int) -> None:
    shape = draw.ellipse if mark[0] == "face" else draw.rectangle
    shape((x, y, x + 12, y + 12), fill=colour_of(mark), outline=_RIM)


def _wrap(text: str, font: FreeTypeFont, width: float) -> list[str]:
    """Return a text in lines that are no wider than `width`; a longer word is broken."""
    lines: list[str] = []
    line = ""
    for word in writable(text).split(" "):
        joined = f"{line} {word}" if line else word
        if font.getlength(joined) <= width:
            line = joined
            continue
        lines += [line] if line else []
        line = word
        while font.getlength(line) > width:
            head = _cut(line, font, width)
            lines.append(head)
            line = line[len(head) :]
    return [*lines, line]


def _cut(text: str, font: FreeTypeFont, width: float) -> str:
    """Return as much of the beginning of a text as fits, a letter at least."""
    end = next((i for i in range(1, len(text) + 1) if font.getlength(text[:i]) > width), len(text) + 1) - 1
    return text[: max(end, 1)]


def _ink_on(ground: Colour) -> Colour:
    red, green, blue = ground
    return _INK if 0.299 * red + 0.587 * green + 0.114 * blue > 125 else (255, 255, 255)


@lru_cache
def _font(size: int) -> FreeTypeFont:
    font = ImageFont.load_default(size)
    assert not isinstance(font, ImageFont.ImageFont)  # that is what Pillow gives when no size is asked for
    return font


@lru_cache(maxsize=4096)
def _has(letter: str) -> bool:
    """Tell whether the font has a letter: it does not draw it as it draws what no font has."""
    return letter == " " or _drawn(letter) != _drawn(_NOWHERE)


@lru_cache(maxsize=4096)
def _drawn(letter: str) -> bytes:
    image = Image.new("L", (3 * _TEXT, 3 * _TEXT))
    ImageDraw.Draw(image).text((_TEXT, _TEXT), letter, fill=255, font=_font(_TEXT))
    return image.tobytes()


def _base(letter: str) -> str | None:
    """Return a letter that the font lacks without its marks, nothing for one that is not seen; None: it has none."""
    if unicodedata.category(letter) in ("Cf", "Mn", "Me"):
        return ""
    plain = "".join(part for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part))
    return plain if plain and all(map(_has, plain)) else None


def _escapes(letters: Sequence[str]) -> Iterator[str]:
    for letter in letters[:_ESCAPED]:
        yield f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"
    if len(letters) > _ESCAPED:
        yield f"[and {len(letters) - _ESCAPED} more]"
