"""How a generated person looks, and the words for it. Looks follow from nothing but the entity's own text."""

from __future__ import annotations

import hashlib
import random
from dataclasses import astuple, dataclass, replace

HAIR_COLOURS = ("black", "brown", "blond", "red", "blue")
GREY = "grey"  # of the elderly, and of nobody else
HAIR_STYLES = ("short", "long", "curly", "bald")
GLASSES = ("no", "round", "dark")
AGES = ("child", "adult", "elderly")
GARMENTS = ("coat", "shirt", "dress", "striped sweater")
COLOURS = ("red", "green", "blue", "yellow", "purple", "black", "orange", "pink")
OBJECTS = ("nothing", "umbrella", "guitar", "book", "ball", "camera", "flag", "suitcase", "flowers")
PLACES = ("beach", "forest", "city", "mountains", "stage", "snow", "desert", "garden")
DISTRACTORS = ("car", "bench", "lamp", "balloon", "dog", "box", "sign", "bush")


@dataclass(frozen=True, slots=True)
class Look:
    """What is drawn of a person. `hair_colour` is "no" for the bald and grey for the elderly."""

    hair_style: str
    hair_colour: str
    glasses: str
    age: str
    garment: str
    colour: str
    carries: str

    @property
    def for_worlds(self) -> bool:
        """Tell whether worlds may use this look; the others are those the mini CLIP is trained on."""
        return hashlib.sha256("/".join(astuple(self)).encode()).digest()[0] % 2 == 0

    def difference(self, other: Look) -> int:
        """Return in how many of the seven features two looks differ."""
        return sum(one != two for one, two in zip(astuple(self), astuple(other), strict=True))

    def hair(self) -> str:
        """Return the hair in words: "bald", "long, red"."""
        return "bald" if self.hair_style == "bald" else f"{self.hair_style}, {self.hair_colour}"


def draw_look(rng: random.Random, *, for_worlds: bool) -> Look:
    """Return a random look of the half that worlds use, or of the other half."""
    while True:
        age = rng.choices(AGES, (1, 4, 2))[0]
        style = rng.choices(HAIR_STYLES, (3, 3, 2, 1))[0]
        colour = rng.choice(HAIR_COLOURS)
        look = Look(
            hair_style=style,
            hair_colour="no" if style == "bald" else GREY if age == "elderly" else colour,
            glasses=rng.choices(GLASSES, (2, 1, 1))[0],
            age=age,
            garment=rng.choice(GARMENTS),
            colour=rng.choice(COLOURS),
            carries=rng.choices(OBJECTS, (2, 1, 1, 1, 1, 1, 1, 1, 1))[0],
        )
        if look.for_worlds == for_worlds:
            return look


def uniform_look() -> Look:
    """Return the one look of a world in which pictures tell nothing."""
    look = Look("short", "brown", "no", "adult", "coat", "blue", "nothing")
    for colour in COLOURS:
        if replace(look, colour=colour).for_worlds:
            return replace(look, colour=colour)
    raise AssertionError("no colour of this look is for worlds")


def describe_properties(look: Look, place: str) -> str:
    """Return a look as property text: "Hair: long, red. Glasses: round. ..."."""
    return (
        f"Hair: {look.hair()}. Glasses: {look.glasses}. Age: {look.age}. Clothes: {look.colour} {look.garment}. "
        f"Carries: {look.carries}. Seen at: {place}."
    )


def describe_prose(look: Look, place: str) -> str:
    """Return a look as two sentences, for static texts."""
    hair = "is bald" if look.hair_style == "bald" else f"has {look.hair_style} {look.hair_colour} hair"
    glasses = {"no": "without glasses", "round": "with round glasses", "dark": "with dark glasses"}[look.glasses]
    carries = "and carries nothing" if look.carries == "nothing" else f"and carries {_article(look.carries)}"
    person = {"child": "This child", "adult": "This adult", "elderly": "This elderly person"}[look.age]
    garment = f"{look.colour} {look.garment}"
    return f"{person} {hair} and is seen {glasses}, wears {_article(garment)} {carries}. Often met at the {place}."


def _article(noun: str) -> str:
    if noun == "flowers":
        return noun
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
