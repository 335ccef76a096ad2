"""A knowledge base that is changed ten thousand times by a process that is killed: nothing is lost, nothing is doubled.

    python -m experiments.kb_survival [--entities 20000] [--changes 10000] [--kills 20] [--json FILE]

Each change is one revision: an entity is added, changed or removed, as a seeded draw by the revision's number says. The
process that does it keeps an index in use, writes the index of names now and then, and is killed (SIGKILL) at random
moments; another one goes on. In the end the knowledge base is compared with one that was built in one go from what the
draws come to: records, `verify`, and the answers to queries by name, before and after `optimise`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dualway.candidates.names import NameIndex
from dualway.index.living import Index
from dualway.index.names import FOLDER, index_names, open_names, optimise
from dualway.index.verifying import verify_all
from dualway.kb.changes import only_writer
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Mention, Representation

_FIRST = [
    "Adam",
    "Ben",
    "Carla",
    "Dina",
    "Emil",
    "Fanny",
    "Hana",
    "Igor",
    "Jodie",
    "Karl",
    "Lena",
    "Mel",
    "Nora",
    "Rosa",
]
_LAST = [
    "Foster",
    "Gibson",
    "Smith",
    "Jones",
    "Novak",
    "Silva",
    "Weber",
    "Khan",
    "Kim",
    "Lopez",
    "Rossi",
    "Sato",
    "Singh",
]
_SAVE_EVERY = 500  # changes between two writings of the index of names


def main() -> None:
    """Run the experiment and print what came of it."""
    parser = argparse.ArgumentParser(description="Random changes of a knowledge base, with kills.")
    parser.add_argument("--entities", type=int, default=20_000)
    parser.add_argument("--changes", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        result = survive(Path(place), options.entities, options.changes, options.kills)
    print(describe(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def survive(place: Path, num_entities: int, num_changes: int, num_kills: int) -> dict[str, Any]:
    """Change a knowledge base in `place`, killed as often, and return what it came to."""
    folder = place / "kb"
    KnowledgeBase.create(folder, (made(number, 0) for number in range(num_entities))).close()
    index_names(folder)
    chance = random.Random(7)
    stops = sorted(chance.sample(range(1, num_changes), num_kills))
    start, kills, mended = time.perf_counter(), 0, 0
    for stop in [*stops, None]:
        kills += _run(folder, num_changes, stop, chance)
    seconds = time.perf_counter() - start
    found = verify_all(folder)
    if not found.is_clean:
        mended = len(verify_all(folder, mend=True).mended)
    expected = expected_state(num_entities, num_changes)
    with KnowledgeBase.open(folder) as kb:
        applied = kb.revision - 1
        records = {entity.id: entity for entity in kb.entities()} == expected
        with_delta = bool(kb.manifest.delta)
    same_before = compare(folder, expected, place / "fresh")
    optimise(folder)
    same_after = compare(folder, expected, place / "fresh2")
    return {
        "entities": num_entities,
        "changes": num_changes,
        "applied": applied,
        "kills": kills,
        "seconds": round(seconds, 1),
        "verify_clean": found.is_clean,
        "verify": found.to_dict(),
        "mended": mended,
        "verify_clean_after_optimise": verify_all(folder).is_clean,
        "records_equal": records,
        "delta_at_the_end": with_delta,
        "queries": same_before[1],
        "queries_equal": same_before[0],
        "queries_equal_after_optimise": same_after[0],
    }


def draw(number: int, ids: list[str]) -> tuple[str, Entity]:
    """Return what change `number` does: add, change or remove, and the entity (only its id counts for a removal)."""
    chance = random.Random(number)
    what = chance.choice(("add", "change", "remove"))
    if what == "add":
        return what, made(1_000_000 + number, number)
    return what, replace(made(number, number), id=ids[chance.randrange(len(ids))])


def made(number: int, seed: int) -> Entity:
    """Return an entity whose name many others have in part."""
    chance = random.Random(number * 7919 + seed)
    name = f"{chance.choice(_FIRST)} {chance.choice(_FIRST)[0]}. {chance.choice(_LAST)}"
    aliases = tuple(chance.choice(_LAST) + str(chance.randrange(50)) for _ in range(chance.randrange(3)))
    text = Representation("static", f"{name}, of {chance.choice(_LAST)} number {number}, draw {seed}.")
    return Entity(f"Q{number}", name, tuple(dict.fromkeys(aliases)), ("human",), (text,))


def expected_state(num_entities: int, num_changes: int) -> dict[str, Entity]:
    """Return the records that the draws come to, without any knowledge base."""
    state = {entity.id: entity for entity in (made(number, 0) for number in range(num_entities))}
    ids = list(state)
    for number in range(1, num_changes + 1):
        what, entity = draw(number, ids)
        if what == "remove":
            del state[entity.id]
            ids.remove(entity.id)
        else:
            if what == "add":
                ids.append(entity.id)
            state[entity.id] = entity
    return state


def compare(folder: Path, expected: dict[str, Entity], fresh: Path) -> tuple[int, int]:
    """Return how many of how many queries have the answers, scores and order included, of a fresh index."""
    chance = random.Random(3)
    mentions = [
        Mention(f"{chance.choice(_FIRST)} {word} with {chance.choice(_LAST)}", word)
        for word in [*_LAST, *_FIRST, *(entity.name for entity in chance.sample(list(expected.values()), 460))]
    ]
    with KnowledgeBase.open(folder) as kb:
        found = open_names(kb).search(mentions, 100)
        mine = [[kb.ids[row] for row in rows if row >= 0] for rows in found.rows.tolist()]
    shutil.rmtree(fresh, ignore_errors=True)
    with KnowledgeBase.create(fresh, expected.values()) as kb:
        other = NameIndex(kb.ids, kb.names, kb.aliases).search(mentions, 100)
        theirs = [[kb.ids[row] for row in rows if row >= 0] for rows in other.rows.tolist()]
    same = [a == b for a, b in zip(mine, theirs)]
    same = [s and np.array_equal(x, y) for s, x, y in zip(same, found.scores, other.scores)]
    return sum(same), len(mentions)


def describe(result: dict[str, Any]) -> str:
    """Return the result for people."""
    return "\n".join(f"{name:<30} {value}" for name, value in result.items())


def _run(folder: Path, num_changes: int, stop: int | None, chance: random.Random) -> int:
    """Run the changing process, killed a moment after it has come to change `stop`; return 1 when it was killed."""
    process = multiprocessing.get_context("fork").Process(target=_change, args=(folder, num_changes))
    process.start()
    while process.is_alive() and stop is not None:
        with KnowledgeBase.open(folder) as kb:
            done = kb.revision - 1
        if done >= stop:
            time.sleep(chance.uniform(0, 0.05))
            process.kill()
            process.join()
            return 1
        time.sleep(0.02)
    process.join()
    if process.exitcode not in (0, -9):
        raise SystemExit(f"the changing process failed with code {process.exitcode}")
    return 0


def _change(folder: Path, num_changes: int) -> None:
    """Go on with the changes from where the knowledge base is."""
    index = Index.open(folder)
    number = index.snapshot.kb.revision
    ids = _ids_at(folder, number)
    while number <= num_changes:
        what, entity = draw(number, ids)
        if what == "add":
            index.add([entity])
            ids.append(entity.id)
        elif what == "change":
            index.update([entity])
        else:
            index.remove([entity.id])
            ids.remove(entity.id)
        number += 1
        if number % _SAVE_EVERY == 0:
            with only_writer(folder):
                index.snapshot.names.save(folder / FOLDER, state=index.snapshot.kb.fingerprint.content)
    index.close()


def _ids_at(folder: Path, revision: int) -> list[str]:
    """Return the ids in the order in which the draws know them."""
    with KnowledgeBase.open(folder) as kb:
        present = set(kb.ids)
    first = [f"Q{number}" for number in range(len(present) + revision) if f"Q{number}" in present]
    return first + [i for number in range(1, revision) if (i := f"Q{1_000_000 + number}") in present]


if __name__ == "__main__":
    main()
