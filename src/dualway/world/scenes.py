"""Captions that name generated people, and what the picture beside each caption shows.

Three kinds of mention:
- `name`: the full name, which nobody else has.
- `facts`: a name that several people share, with an occupation or a town that only one of them has.
- `undecidable`: a name that several people share, and a caption that says no more: only the picture tells.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dualway.world.looks import DISTRACTORS, PLACES, Look, draw_look, uniform_look
from dualway.world.people import Person, find_homonyms

NAME, FACTS, UNDECIDABLE = "name", "facts", "undecidable"
# Of every five mentions: 40 % undecidable; in the text-decidable world none.
KINDS = (UNDECIDABLE, UNDECIDABLE, NAME, FACTS, FACTS)
DECIDABLE_KINDS = (NAME, NAME, FACTS, FACTS, FACTS)
UNSEEN_SHARE = 0.2  # of the people are in no training caption
MAX_FIGURES = 4
# fmt: off
_EVENTS = (
    "at the opening night", "during a break on Sunday", "before the charity run", "after the annual meeting",
    "at the summer festival", "waiting for the press", "on the second day of the fair", "at the farewell party",
    "while the cameras were rolling", "at the reunion", "shortly before the start", "in a rare public appearance",
    "at the rehearsal", "after the award ceremony", "on a visit last spring", "at the museum opening",
)
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Named:
    """A mention of a scene's caption: who is meant, by which words, and what the caption says of them."""

    person: Person
    surface: str
    start: int
    kind: str
    occupation: str | None
    town: str | None


@dataclass(frozen=True, slots=True)
class Figure:
    """Somebody in the picture; `person_id` is None for a passer-by."""

    look: Look
    person_id: str | None


@dataclass(frozen=True, slots=True)
class Scene:
    """One caption and its picture, before it is drawn. Figures stand from left to right."""

    id: str
    caption: str
    named: tuple[Named, ...]
    figures: tuple[Figure, ...]
    place: str
    distractors: tuple[str, ...]


class _Words(NamedTuple):
    """How a person is to be named."""

    surface: str
    kind: str
    occupation: str | None
    town: str | None


class Namesakes:
    """Who can be meant by which words: full names, first names and surnames, in every script of a person."""

    def __init__(self, people: list[Person]) -> None:
        self.people = people
        self.homonyms = find_homonyms(people)
        self._by_words: dict[str, list[Person]] = {}
        for person in people:
            for word in dict.fromkeys(word for form in person.forms() for word in form):
                self._by_words.setdefault(word, []).append(person)

    def of(self, surface: str) -> list[Person]:
        """Return everybody whom these words can mean."""
        return self._by_words.get(surface, [])

    def consistent(self, named: Named | _Words) -> list[Person]:
        """Return everybody whom these words and the caption's facts can mean."""
        return [
            person
            for person in self.of(named.surface)
            if named.occupation in (None, person.occupation) and named.town in (None, person.town)
        ]


def make_scenes(
    people: list[Person], split: str, num: int, *, seed: int, kinds: tuple[str, ...], uniform: bool
) -> Iterator[Scene]:
    """Yield the first `num` scenes of a split; a shorter split is the beginning of a longer one."""
    namesakes = Namesakes(people)
    pool = _split_people(people, split, seed)
    stream = _kind_stream(kinds, split, seed)
    for number in range(num):
        rng = random.Random(f"scene/{seed}/{split}/{number}")
        yield _Maker(rng, namesakes, pool, uniform=uniform).scene(f"{split}-{number}", stream)


def _split_people(people: list[Person], split: str, seed: int) -> list[Person]:
    """Return who may be named in a split: a fifth of all people are in no training caption."""
    order = list(people)
    random.Random(f"unseen/{seed}").shuffle(order)
    return order[int(UNSEEN_SHARE * len(order)) :] if split == "train" else order


def _kind_stream(kinds: tuple[str, ...], split: str, seed: int) -> Iterator[str]:
    """Yield kinds of mentions without end; every block of five holds the kinds in their exact shares."""
    rng = random.Random(f"kinds/{seed}/{split}")
    while True:
        block = list(kinds)
        rng.shuffle(block)
        yield from block


class _Maker:
    """Makes one scene with its own random numbers."""

    def __init__(self, rng: random.Random, namesakes: Namesakes, pool: list[Person], *, uniform: bool) -> None:
        self.rng, self.namesakes, self.pool, self.uniform = rng, namesakes, pool, uniform

    def scene(self, id: str, stream: Iterator[str]) -> Scene:
        chosen: dict[str, tuple[Person, _Words]] = {}
        for _ in range(self.rng.choices((1, 2, 3), (55, 33, 12))[0]):
            person, words = self._choose(next(stream), chosen)
            chosen[person.id] = person, words
        caption, named = self._caption(list(chosen.values()))
        figures = self._figures(named)
        lead = named[0].person.place
        return Scene(
            id=id,
            caption=caption,
            named=named,
            figures=figures,
            place=self.rng.choice(PLACES) if self.uniform else lead,
            distractors=tuple(self.rng.sample(DISTRACTORS, self.rng.choices((0, 1, 2, 3), (2, 3, 3, 2))[0])),
        )

    def _choose(self, kind: str, chosen: Mapping[str, tuple[Person, _Words]]) -> tuple[Person, _Words]:
        """Return somebody to be named, whom no other mention of the caption can mean, and the words for it."""
        while True:
            person = self.rng.choice(self.pool)
            words = self._words(person, kind)
            if words is None:
                continue
            others = [(p, self.namesakes.of(w.surface)) for p, w in chosen.values()]
            sakes = self.namesakes.of(words.surface)
            if all(not set(_ids(sakes)) & set(_ids(theirs)) for _, theirs in others) and (
                self.uniform or all(_free(person.look, theirs) and _free(other.look, sakes) for other, theirs in others)
            ):
                return person, words

    def _words(self, person: Person, kind: str) -> _Words | None:
        """Return words of the kind for a person, None when there are none."""
        full, first, last = self.rng.choice(person.forms())
        if kind == NAME:
            return _Words(full, NAME, None, None) if self.namesakes.of(full) == [person] else None
        shared = [full] if len(self.namesakes.of(full)) > 1 else [last]
        surface = self.rng.choices((last, first, *shared), (6, 2, 2))[0]
        if len(self.namesakes.of(surface)) < 2:
            return None
        if kind == UNDECIDABLE:
            return _Words(surface, UNDECIDABLE, None, None)
        occupation, town = person.occupation, person.town
        ways = ((occupation, None), (None, town), (occupation, town))
        telling = [_Words(surface, FACTS, *way) for way in ways]
        telling = [words for words in telling if self.namesakes.consistent(words) == [person]]
        return self.rng.choice(telling) if telling else None

    def _caption(self, chosen: list[tuple[Person, _Words]]) -> tuple[str, tuple[Named, ...]]:
        """Return the caption and its mentions with offsets."""
        text, named = "", []
        for place, (person, words) in enumerate(chosen):
            text += "" if place == 0 else " and " if place == len(chosen) - 1 else ", "
            before, after = "", ""
            if words.occupation is not None:
                before = f"{'The' if not text else 'the'} {words.occupation} "
            if words.town is not None:
                after = f" of {words.town}"
            start = len(text) + len(before)
            text += f"{before}{words.surface}{after}"
            named.append(Named(person, words.surface, start, words.kind, words.occupation, words.town))
        when = f", {self.rng.choice(_MONTHS)} {self.rng.randint(2009, 2023)}" if self.rng.random() < 0.5 else ""
        return f"{text} {self.rng.choice(_EVENTS)}{when}.", tuple(named)

    def _figures(self, named: tuple[Named, ...]) -> tuple[Figure, ...]:
        """Return who stands in the picture: everybody named, and passers-by whom nobody can take for a namesake."""
        figures = [Figure(item.person.look, item.person.id) for item in named]
        free = MAX_FIGURES - len(figures)
        for _ in range(self.rng.choices(range(free + 1), (4, 3, 2, 1)[: free + 1])[0]):
            figures.append(Figure(self._stranger(named), None))
        self.rng.shuffle(figures)
        return tuple(figures)

    def _stranger(self, named: tuple[Named, ...]) -> Look:
        if self.uniform:
            return uniform_look()
        while True:
            look = draw_look(self.rng, for_worlds=True)
            if all(_free(look, self.namesakes.of(item.surface)) for item in named):
                return look


def _ids(people: list[Person]) -> list[str]:
    return [person.id for person in people]


def _free(look: Look, people: list[Person]) -> bool:
    """Tell whether a look is nobody's of these."""
    return all(look != person.look for person in people)
