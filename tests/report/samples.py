"""A small world to report on: people who share names, drawn pictures, toy systems."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dualway.candidates.names import NameIndex
from dualway.evaluation import EvaluationData, EvaluationOptions, evaluate, parse_protocols
from dualway.kb.store import KnowledgeBase
from dualway.report import Ceiling, Curve, CurvePoint, Report, ShownCandidate, ShownMention
from dualway.schema import Entity, Mention, Region, Representation
from dualway.systems.lexical import Lexical

FIRST = ("Ada", "Bela", "Carl", "Dora", "Edith", "Franz")
LAST = ("Foster", "Riggs", "Okafor", "Lindqvist")
JOBS = ("actor", "footballer", "painter", "judge", "pilot", "chemist")
COLOURS = ("#c23b22", "#1f5fa8", "#2e8b57", "#d98e04", "#6a3d9a", "#444b54")
SIZE = (480, 360)


@dataclass
class Skilled:
    """A system that puts gold first in a share of the mentions and a hashed other candidate in the rest."""

    gold: dict
    skill: float
    seed: int = 0
    name: str = "dwe_plus"

    def fit(self, task, gold, dev_task, dev_gold):
        pass

    def score(self, task):
        result = []
        for i, mention in enumerate(task.mentions):
            rows = np.arange(len(task.kb)) if task.candidates is None else task.candidates.rows[i]
            rows = rows[rows >= 0].tolist()
            draw = [zlib.crc32(f"{self.seed}/{mention.id}/{row}".encode()) % 1000 / 1250 for row in rows]
            lucky = zlib.crc32(f"{self.seed}/{mention.id}".encode()) % 1000 < 1000 * self.skill
            gold = self.gold[mention.id]
            result.append(np.array([s + (lucky and task.kb.ids[r] == gold) for s, r in zip(draw, rows)], np.float32))
        return result


def people() -> list[Entity]:
    """Every first name with every last name, three times: three jobs a name."""
    made = []
    for i, (first, last, copy) in enumerate((f, s, c) for f in FIRST for s in LAST for c in range(3)):
        job = JOBS[(i + copy) % len(JOBS)]
        text = Representation("description", f"{first} {last}, {job}, born in 19{40 + i % 60} in a small town.")
        made.append(Entity(f"Q{100 + i}", f"{first} {last} ({job})", representations=(text,)))
    return made


def draw_picture(path: Path, seed: int) -> tuple[Region, ...]:
    """Draw figures before a sky; return their boxes with attention."""
    rng = random.Random(seed)
    picture = Image.new("RGB", SIZE, rng.choice(("#bfe0f5", "#f3e6cf", "#d9e7d2")))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 260, *SIZE), fill="#8f9f7a")
    num = rng.randint(1, 4)
    weights = [rng.random() ** 3 + 0.02 for _ in range(num)]
    regions = []
    for i, weight in enumerate(weights):
        x, y = 40 + i * 110 + rng.randint(-10, 10), 120 + rng.randint(-20, 20)
        pen.ellipse((x + 20, y - 60, x + 70, y), fill="#e8b48c")
        pen.rectangle((x, y, x + 90, y + 150), fill=rng.choice(COLOURS))
        pen.rectangle((x + 10, y + 150, x + 35, y + 215), fill="#2b2f36")
        pen.rectangle((x + 55, y + 150, x + 80, y + 215), fill="#2b2f36")
        regions.append(Region((x - 5, y - 66, x + 95, y + 220), "person", 0.99 - 0.05 * i, weight / sum(weights)))
    picture.save(path)
    return tuple(regions)


def make_world(folder: Path, *, num: int = 60, resamples: int = 100):
    """Return (knowledge base, data, evaluation report) of the small world."""
    kb = KnowledgeBase.create(folder / "kb", people())
    rng = random.Random(0)
    mentions, gold = [], {}
    for i in range(num):
        row = rng.randrange(len(kb))
        name = kb.names[row].split(" (")[0]
        surface = name if i % 3 else name.split()[1]
        text = f"{surface} at the opening night in {rng.choice(('Lund', 'Graz', 'Bern'))}, {2009 + i % 14}."
        mentions.append(Mention(text, surface, id=f"m{i}", start=0, end=len(surface)))
        gold[f"m{i}"] = kb.ids[row]
    names = NameIndex(kb.ids, kb.names, kb.aliases)
    data = EvaluationData(mentions, gold, kb, names.search(mentions, 10))
    systems = [Lexical(names), Skilled(gold, 0.5, name="prior"), [Skilled(gold, 0.85, seed=s) for s in range(3)]]
    options = EvaluationOptions(num_resamples=resamples, baseline="lexical")
    return kb, data, evaluate(systems, data, parse_protocols("top10,full-kb"), options=options)


def make_mentions(folder: Path, kb, data, *, num: int) -> list[ShownMention]:
    """Return mentions with drawn pictures and made-up scores."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = []
    system = Skilled(data.gold, 0.6)
    for i, mention in enumerate(data.mentions[:num]):
        rows = [row for row in data.candidates.rows[i].tolist() if row >= 0]
        noise = [zlib.crc32(f"{mention.id}/{row}".encode()) % 1000 / 1000 for row in rows]
        lucky = zlib.crc32(f"0/{mention.id}".encode()) % 1000 < 1000 * system.skill
        gold = data.gold[mention.id]
        candidates = []
        for row, luck in zip(rows, noise):
            name = float(data.candidates.scores[i][rows.index(row)])
            model = round(0.5 * luck + (0.5 if lucky and kb.ids[row] == gold else 0) - 0.05, 4)
            evidence = {"model": model, "name": round(name, 4), "caption": round(luck / 3, 4)}
            text = kb.entity(kb.ids[row]).representations[0].text
            candidates.append(ShownCandidate(kb.ids[row], kb.names[row], text, model, evidence, kb.ids[row] == gold))
        candidates.sort(key=lambda c: -c.score)
        places = [rank for rank, c in enumerate(candidates, 1) if c.is_gold]
        picture = folder / f"{i}.png"
        regions = draw_picture(picture, i)
        gold_name = kb.names[kb.ids.index(gold)]
        rank = float(places[0]) if places else None
        shown.append(
            ShownMention(mention, picture, regions, tuple(candidates), gold, gold_name, rank, "dwe_plus")
        )  # fmt: skip
    return shown


def make_report(folder: Path, *, num: int = 60, shown: int = 12, resamples: int = 100) -> Report:
    """Return a report with every part present."""
    kb, data, evaluation = make_world(folder, num=num, resamples=resamples)
    mentions = make_mentions(folder / "pictures", kb, data, num=num)
    kb.close()
    wrong = [m for m in mentions if m.gold_rank != 1.0]
    points = tuple(
        CurvePoint(200 * i, i / 2, 2.4 * 0.8**i + 0.1, None if i == 0 else 0.93 - 0.65 * 0.7**i) for i in range(15)
    )
    other = tuple(CurvePoint(p.step, p.epoch, p.loss * 1.15, p.dev_t1 and p.dev_t1 * 0.96) for p in points)
    return Report(
        title="dualway demo: a generated world, trained and evaluated",
        lead=(
            "A model was trained on captions with drawn pictures of invented people, and evaluated on captions it had "
            "not seen.",
            "Several people share a name; in two of five captions only the picture tells who is meant.",
        ),
        caveats=("Generated pictures: shows that the parts work; says nothing about accuracy on photographs.",),
        settings={
            "preset": "dualway",
            "hardware": "2 CPU cores, no GPU",
            "python": "3.11",
            "differs from the paper": "drawn pictures instead of photographs; 20 epochs instead of 300",
        },
        evaluation=evaluation,
        ceilings=(
            Ceiling("text-only oracle", 0.65, "The best that anybody can do who does not look at the picture."),
            Ceiling("recall of the candidates", 0.98, "No order of the candidates can be above it.", "top10"),
        ),
        curves=(Curve("seed 0", points, 2400), Curve("seed 1", other, 2600)),
        examples=tuple(mentions[:shown]),
        errors=tuple(wrong[:shown]),
        commands=(
            "dualway link --run demo/run --in mentions.jsonl --out links.jsonl",
            "dualway train --data demo/world --kb demo/kb --out runs/mine --set train.epochs=40",
        ),
        system_notes={"lexical": "names alone", "prior": "what the words meant in training"},
    )
