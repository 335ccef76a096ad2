"""The people of a generated world: names that many share, facts, and the texts that stand for them."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from dualway.schema import Entity, Representation
from dualway.world.looks import PLACES, Look, describe_properties, describe_prose, draw_look, uniform_look

NUM_PEOPLE = 600
_NUM_OTHER_SCRIPTS = 30
_LEAST_DIFFERENCE = 3  # features in which people of one surname or one full name differ
# fmt: off
_FIRST = (
    "Ada", "Bruno", "Clara", "Daniel", "Edith", "Felix", "Greta", "Hugo", "Irene", "Jonas", "Karin", "Leo", "Marta",
    "Nils", "Olive", "Paul", "Quentin", "Rosa", "Simon", "Thea", "Ulrich", "Vera", "Walter", "Xenia", "Yara", "Zeno",
    "Albert", "Beate", "Carl", "Dora",
)
_LAST = (
    "Abbott", "Barlow", "Carver", "Dalton", "Ellery", "Foster", "Garland", "Hale", "Ivory", "Jarvis", "Keller",
    "Lorimer", "Mercer", "Norwood", "Osborne", "Pell", "Quill", "Ramsey", "Sutton", "Thorne", "Underhill", "Vance",
    "Wheeler", "Yates", "Zeller", "Ashby", "Brandt", "Conrad", "Draper", "Easton", "Fenwick", "Grimaldi", "Hobson",
    "Ingram", "Jessup", "Kendall", "Langley", "Morrow",
)
# (first, last) in the own script and in Latin letters; two families a script.
_OTHER = (
    ((("Анна", "Anna"), ("Борис", "Boris"), ("Вера", "Vera"), ("Иван", "Ivan"), ("Нина", "Nina")),
     (("Соколов", "Sokolov"), ("Орлов", "Orlov"))),
    ((("Ελένη", "Eleni"), ("Νίκος", "Nikos"), ("Σοφία", "Sofia"), ("Γιώργος", "Giorgos"), ("Μαρία", "Maria")),
     (("Παππάς", "Pappas"), ("Δήμου", "Dimou"))),
    ((("明", "Akira"), ("恵", "Megumi"), ("誠", "Makoto"), ("愛", "Ai"), ("健", "Ken")),
     (("田中", "Tanaka"), ("鈴木", "Suzuki"))),
)
OCCUPATIONS = (
    "cellist", "baker", "architect", "swimmer", "judge", "painter", "pilot", "chemist", "novelist", "surgeon", "farmer",
    "goalkeeper", "translator", "carpenter", "banker", "sculptor", "sailor", "teacher", "singer", "mayor", "cyclist",
    "botanist", "editor", "plumber",
)
TOWNS = (
    "Northfield", "Eastbridge", "Millbrook", "Harrowgate", "Silverton", "Oakham", "Redcliff", "Fairview", "Stonewell",
    "Ashford", "Lakeside", "Windermere", "Kingsport", "Brayton", "Dunmore", "Elmhurst",
)
_PASTIMES = ("chess", "gardening", "old maps", "folk songs", "kites", "crosswords", "rowing", "bees", "clocks", "ferns")
_PRIZES = ("town medal", "jubilee prize", "golden acorn", "silver pen", "bridge award", "harvest cup")
# fmt: on
_BORN = {"child": (2008, 2014), "adult": (1965, 1995), "elderly": (1930, 1950)}


@dataclass(frozen=True, slots=True)
class Person:
    """One generated entity. `latin` is the name in Latin letters where the own script is another one."""

    id: str
    first: str
    last: str
    latin: tuple[str, str] | None
    occupation: str
    town: str
    born: int
    place: str
    look: Look
    pastime: str
    prize: str

    @property
    def name(self) -> str:
        """The full name in the own script."""
        return f"{self.first} {self.last}"

    def forms(self) -> tuple[tuple[str, str, str], ...]:
        """Return (full name, first, last) for each script."""
        own = (self.name, self.first, self.last)
        return (own,) if self.latin is None else (own, (" ".join(self.latin), *self.latin))

    def entity(self) -> Entity:
        """Return the person as an entity with property text and a longer static text."""
        facts = f"Occupation: {self.occupation}. Born: {self.born}, {self.town}."
        prose = (
            f"{self.name}, born {self.born}, is a {self.occupation} from {self.town}. "
            f"{describe_prose(self.look, self.place)} "
            f"In free hours {self.last} turns to {self.pastime}, and once won the {self.prize} of {self.town}."
        )
        return Entity(
            id=self.id,
            name=self.name,
            aliases=() if self.latin is None else (" ".join(self.latin),),
            types=("person",),
            representations=(
                Representation("properties", f"{facts} {describe_properties(self.look, self.place)}", "generated"),
                Representation("static", prose, "generated"),
            ),
        )


def make_people(seed: int, *, uniform: bool) -> list[Person]:
    """Return NUM_PEOPLE people; with `uniform` they all look the same.

    People of one surname (and so of one full name) differ in at least three features of their looks and have no
    two facts alike, so that a caption can single each of them out.
    """
    rng = random.Random(f"people/{seed}")
    named = _draw_names(rng)
    people: list[Person] = []
    families: dict[str, list[Person]] = {}
    for number, (first, last, latin) in enumerate(named, start=1):
        family = families.setdefault(last, [])
        look = uniform_look() if uniform else _distinct_look(rng, family)
        occupation, town = _distinct_facts(rng, family)
        person = Person(
            id=f"W{number}",
            first=first,
            last=last,
            latin=latin,
            occupation=occupation,
            town=town,
            born=rng.randint(*_BORN[look.age]),
            place=rng.choice(PLACES),
            look=look,
            pastime=rng.choice(_PASTIMES),
            prize=rng.choice(_PRIZES),
        )
        family.append(person)
        people.append(person)
    return people


def find_homonyms(people: list[Person]) -> set[str]:
    """Return the full names that several people have."""
    return {name for name, times in Counter(person.name for person in people).items() if times > 1}


def _draw_names(rng: random.Random) -> list[tuple[str, str, tuple[str, str] | None]]:
    names: list[tuple[str, str, tuple[str, str] | None]] = []
    for number in range(NUM_PEOPLE - _NUM_OTHER_SCRIPTS):
        names.append((rng.choice(_FIRST), _LAST[number % len(_LAST)], None))
    for number in range(_NUM_OTHER_SCRIPTS):
        firsts, lasts = _OTHER[number % len(_OTHER)]
        first, last = rng.choice(firsts), lasts[number // len(_OTHER) % len(lasts)]
        names.append((first[0], last[0], (first[1], last[1])))
    rng.shuffle(names)
    return names


def _distinct_look(rng: random.Random, family: list[Person]) -> Look:
    while True:
        look = draw_look(rng, for_worlds=True)
        if all(look.difference(other.look) >= _LEAST_DIFFERENCE for other in family):
            return look


def _distinct_facts(rng: random.Random, family: list[Person]) -> tuple[str, str]:
    while True:
        facts = rng.choice(OCCUPATIONS), rng.choice(TOWNS)
        if all(facts != (other.occupation, other.town) for other in family):
            return facts
