"""Writes a generated world as a data set's folder: the files that a user would have.

entities.jsonl     the knowledge base (`dualway kb build --from jsonl`)
train.jsonl ..     mentions with gold, a file a split
images/            one picture a caption
annotations.jsonl  faces and identity labels with mistakes in them, as other tools would have found them
portraits/         two pictures of every person, alone, and portraits.tsv, which says whose (`dualway kb pictures`)
world.json         version, seed, sizes, ceilings, fingerprint
truth/             where every figure stands and which mentions the caption decides: for ceilings and for scoring
                   detection; nothing that links reads it
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from dualway.datasets.jsonl import write_mentions
from dualway.schema import Entity, Mention
from dualway.storage import atomic_folder, write_json, write_text
from dualway.world import CAVEAT, VERSION
from dualway.world.drawing import DrawnFigure, draw_portrait, draw_scene
from dualway.world.looks import PLACES, Look, draw_look
from dualway.world.oracle import Ceilings, find_ceilings
from dualway.world.people import Person, make_people
from dualway.world.scenes import DECIDABLE_KINDS, KINDS, Figure, Namesakes, Scene, make_scenes

MANIFEST, PORTRAITS = "world.json", "portraits.tsv"
SPLITS = ("train", "dev", "test")
_JPEG_QUALITY = 90
T = TypeVar("T")
Result = TypeVar("Result")
# Of the annotations: shares found and right.
_FACES_FOUND, _ATTRIBUTES_RIGHT, _LABELS_GIVEN, _LABELS_RIGHT = 0.85, 0.9, 0.6, 0.75


@dataclass(frozen=True)
class WorldConfig:
    """Which world, and how much of it. A smaller split is the beginning of a larger one.

    Attributes:
        seed: Of people, captions and pictures.
        text_decidable: Every caption decides, and everybody looks the same: the picture tells nothing.
        captions: Number of captions in train, dev and test.
    """

    seed: int = 1
    text_decidable: bool = False
    captions: tuple[int, int, int] = (2400, 300, 1000)


MAIN = WorldConfig()
TEXT_DECIDABLE = WorldConfig(text_decidable=True)
DEMO = WorldConfig(captions=(1200, 150, 400))


@dataclass(frozen=True)
class World:
    """A world before it is drawn."""

    config: WorldConfig
    people: list[Person]
    scenes: dict[str, list[Scene]]

    @classmethod
    def make(cls, config: WorldConfig) -> World:
        """Make the people and scenes of a world; takes seconds."""
        uniform = config.text_decidable
        people = make_people(config.seed, uniform=uniform)
        kinds = DECIDABLE_KINDS if uniform else KINDS
        scenes = {
            split: list(make_scenes(people, split, num, seed=config.seed, kinds=kinds, uniform=uniform))
            for split, num in zip(SPLITS, config.captions, strict=True)
        }
        return cls(config, people, scenes)

    def ceilings(self) -> dict[str, Ceilings]:
        """Return the ceilings of each split that is not empty."""
        return {split: find_ceilings(scenes, self.people) for split, scenes in self.scenes.items() if scenes}

    def fingerprint(self) -> str:
        """Return 16 hex digits that change with any entity, caption, or scene (what is drawn, not how)."""
        digest = hashlib.sha256(f"world {VERSION}".encode())
        for person in self.people:
            digest.update(repr(person).encode())
        for scenes in self.scenes.values():
            for scene in scenes:
                digest.update(repr(scene).encode())
        return digest.hexdigest()[:16]


def write_world(
    folder: Path, config: WorldConfig, *, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Write a world into `folder`, whole or not at all, and return the content of its world.json.

    Args:
        folder: Must not exist or be empty.
        config: Which world.
        workers: Processes that draw.
        progress: Called with (pictures drawn, pictures in all).

    Raises:
        StorageError: The folder is not empty, the disk is full, no permission.
    """
    world = World.make(config)
    manifest = {
        "version": VERSION,
        "seed": config.seed,
        "text_decidable": config.text_decidable,
        "captions": dict(zip(SPLITS, config.captions, strict=True)),
        "people": len(world.people),
        "ceilings": {split: found.to_dict() for split, found in world.ceilings().items()},
        "fingerprint": world.fingerprint(),
        "caveat": CAVEAT,
    }
    with atomic_folder(folder) as out:
        for name in ("images", "truth", "portraits"):
            (out / name).mkdir()
        write_jsonl(out / "entities.jsonl", (_entity_record(person.entity()) for person in world.people))
        for split, scenes in world.scenes.items():
            mentions = [mention for scene in scenes for mention in scene_mentions(scene)]
            write_mentions(out / f"{split}.jsonl", mentions, _gold(scenes))
        _write_pictures(out, world, workers, progress)
        _write_portraits(out, world, workers)
        write_jsonl(out / "truth" / "mentions.jsonl", _mention_truth(world))
        write_json(out / MANIFEST, manifest)
    return manifest


def scene_mentions(scene: Scene) -> Iterator[Mention]:
    """Yield the mentions of a scene's caption, named SCENE-0, SCENE-1, ..."""
    for i, named in enumerate(scene.named):
        yield Mention(
            text=scene.caption,
            surface=named.surface,
            id=f"{scene.id}-{i}",
            start=named.start,
            end=named.start + len(named.surface),
            image=f"images/{scene.id}.jpg",
        )


def write_jsonl(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write records, one a line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _gold(scenes: list[Scene]) -> dict[str, str | None]:
    return {f"{scene.id}-{i}": named.person.id for scene in scenes for i, named in enumerate(scene.named)}


def _entity_record(entity: Entity) -> dict[str, Any]:
    return {
        "id": entity.id,
        "name": entity.name,
        "aliases": list(entity.aliases),
        "types": list(entity.types),
        "representations": [{"kind": r.kind, "text": r.text, "source": r.source} for r in entity.representations],
    }


def _mention_truth(world: World) -> Iterator[dict[str, Any]]:
    namesakes = Namesakes(world.people)
    for scenes in world.scenes.values():
        for scene in scenes:
            for i, named in enumerate(scene.named):
                left = len(namesakes.consistent(named))
                yield {"id": f"{scene.id}-{i}", "kind": named.kind, "left_by_text": left}


def _write_pictures(out: Path, world: World, workers: int, progress: Callable[[int, int], None] | None) -> None:
    """Draw all pictures, and write where the figures stand and what other tools would have said of them."""
    scenes = [scene for scenes in world.scenes.values() for scene in scenes]
    by_id = {person.id: person for person in world.people}
    truth: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    for scene, figures in zip(scenes, _draw_all(scenes, out / "images", world.config.seed, workers), strict=True):
        image = f"images/{scene.id}.jpg"
        truth.append({"image": image, "figures": [_figure_record(*pair) for pair in zip(scene.figures, figures)]})
        notes.append({"image": image, **_annotate(scene, figures, by_id, world.config.seed)})
        if progress is not None:
            progress(len(truth), len(scenes))
    write_jsonl(out / "truth" / "figures.jsonl", truth)
    write_jsonl(out / "annotations.jsonl", notes)


def _write_portraits(out: Path, world: World, workers: int) -> None:
    """Draw what a knowledge base would have of its entities: each person alone, elsewhere than in the captions."""
    portraits = [(f"portraits/{person.id}-{number}.jpg", person) for person in world.people for number in (1, 2)]
    for _ in _map(partial(_draw_portrait, out, world.config.seed), portraits, workers):
        pass
    lines = [f"{person.id}\t{name}\tgenerated world\tCC0" for name, person in portraits]
    write_text(out / PORTRAITS, "\n".join(["entity\tpicture\tsource\tlicence", *lines]) + "\n")


def _draw_portrait(out: Path, seed: int, portrait: tuple[str, Person]) -> None:
    name, person = portrait
    place = random.Random(f"place/{seed}/{name}").choice(PLACES)
    draw_portrait(person.look, place, f"{seed}/{name}").save(out / name, quality=_JPEG_QUALITY)


def _draw_all(scenes: list[Scene], images: Path, seed: int, workers: int) -> Iterator[tuple[DrawnFigure, ...]]:
    return _map(partial(_draw_one, images, seed), scenes, workers)


def _map(draw: Callable[[T], Result], items: Sequence[T], workers: int) -> Iterator[Result]:
    """Yield what is drawn of each item, in order, by so many processes."""
    if workers < 2:
        yield from map(draw, items)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(draw, items, chunksize=32)


def _draw_one(images: Path, seed: int, scene: Scene) -> tuple[DrawnFigure, ...]:
    drawn = draw_scene(scene, seed)
    drawn.picture.save(images / f"{scene.id}.jpg", quality=_JPEG_QUALITY)
    return drawn.figures


def _figure_record(figure: Figure, drawn: DrawnFigure) -> dict[str, Any]:
    return {"entity_id": figure.person_id, "box": list(drawn.box), "face": list(drawn.face), **asdict(figure.look)}


def _annotate(scene: Scene, figures: tuple[DrawnFigure, ...], by_id: dict[str, Person], seed: int) -> dict[str, Any]:
    """Return faces with attributes and identity labels, as tools with mistakes would: some missing, some wrong.

    A passer-by has a face and is now and then taken for somebody.
    """
    rng = random.Random(f"annotations/{seed}/{scene.id}")
    people = list(by_id.values())
    faces: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for figure, drawn in zip(scene.figures, figures, strict=True):
        if rng.random() < _FACES_FOUND:
            faces.append({"box": list(drawn.face), "attributes": _attributes(figure.look, rng)})
        known = by_id.get(figure.person_id or "")
        if rng.random() < _LABELS_GIVEN:
            right = known is not None and rng.random() < _LABELS_RIGHT
            named = known if known is not None and right else rng.choice(people)
            labels.append({"label": named.name, "score": round(rng.uniform(0.3, 0.99 if right else 0.7), 3)})
    return {"faces": faces, "labels": labels}


def _attributes(look: Look, rng: random.Random) -> dict[str, str]:
    seen = look if rng.random() < _ATTRIBUTES_RIGHT else draw_look(rng, for_worlds=True)
    return {"age": seen.age, "hair": seen.hair(), "glasses": seen.glasses}
