"""Does each mechanism work? Preset `paper` on the generated worlds, with pictures, without, and with whole pictures.

    python -m experiments.world --work .experiments/world

Trains every variant with five seeds and evaluates all of them in one run, so that the differences are paired: test
split, protocol top100, 95 % intervals by bootstrap over captions. One row more asks what the pictures tell the trained
model: `paper` again, each caption with the picture of another one. Resumable; prints the tables as markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from benchmarks.machine import describe_machine

from dualway.config import PRESETS, Preset, override
from dualway.datasets import open_dataset
from dualway.evaluation import EvaluationData, EvaluationOptions, Protocol, evaluate
from dualway.evaluation.report import EvaluationReport
from dualway.features.arrays import Features
from dualway.kb.files import build_from_files
from dualway.kb.picture_map import read_picture_map
from dualway.kb.pictures import change_pictures
from dualway.kb.store import KnowledgeBase
from dualway.protocols import Task
from dualway.run import Pipeline, Run, train_run
from dualway.schema import FloatArray, Mention
from dualway.storage import read_json, write_json
from dualway.systems.dwe_plus import DwePlusSystem
from dualway.systems.lexical import Lexical
from dualway.systems.prior import Prior
from dualway.world import CAVEAT
from dualway.world.build import MAIN, MANIFEST, PORTRAITS, TEXT_DECIDABLE, WorldConfig, write_world

SEEDS = (0, 1, 2, 3, 4)
# The paper: 5e-5 for 300 epochs. Fewer epochs at a higher rate, chosen on dev between 5e-5 and 1.5e-4.
EPOCHS, LEARNING_RATE, EVALUATE_EVERY = 40, 1.5e-4, 295
WORLDS: dict[str, WorldConfig] = {"main": MAIN, "text-decidable": TEXT_DECIDABLE}
SWAPPED = "paper, pictures swapped"
# What each variant changes of the preset. The first is the one that the others are compared with.
VARIANTS: dict[str, dict[str, dict[str, object]]] = {
    "paper": {},
    "paper, no picture": {"encoders": {"image": None, "detector": None}},
    "paper, whole picture": {"encoders": {"detector": None}},
}


@dataclass(frozen=True)
class Prepared:
    """A world on disk with its knowledge base."""

    name: str
    folder: Path
    kb: Path


class OwnFeatures:
    """A system that reads features of its own instead of the task's: variants see different pictures.

    Args:
        system: What is evaluated.
        mentions: Those that `features` belong to.
        features: As extracted for the system's settings.
        name: Of the row; the system's by default.
    """

    def __init__(
        self, system: DwePlusSystem, mentions: Sequence[Mention], features: Features, name: str | None = None
    ) -> None:
        self.name = name or system.name
        self._system, self._features = system, features
        self._row = {mention.id: i for i, mention in enumerate(mentions)}

    def score(self, task: Task) -> list[FloatArray]:
        """Return the system's scores."""
        index = np.array([self._row[mention.id] for mention in task.mentions], dtype=np.int64)
        return self._system.score(replace(task, features=self._features.take(index)))


def world_preset(name: str, changes: dict[str, dict[str, object]]) -> Preset:
    """Return preset `paper` with the package's own encoders, names before entity texts, and a variant's changes."""
    base = override(
        PRESETS["paper"],
        {
            "name": name,
            "encoders": {"text": "minilm+mini-clip", "image": "mini-clip", "detector": "proposals"},
            "features": {"entity_template": "{name}. {text}"},
            "train": {
                "epochs": EPOCHS,
                "learning_rate": LEARNING_RATE,
                "evaluate_every": EVALUATE_EVERY,
                "checkpoint_every": EVALUATE_EVERY,
                "seeds": list(SEEDS),
            },
        },
    )
    return override(base, changes)


def prepare(name: str, work: Path) -> Prepared:
    """Draw a world and build its knowledge base, once."""
    world = Prepared(name, work / name / "world", work / name / "kb")
    if not (world.folder / MANIFEST).is_file():
        write_world(world.folder, WORLDS[name], workers=2)
    if not world.kb.is_dir():
        build_from_files(world.folder / "entities.jsonl", world.kb, representation=("properties",))
    return world


def give_portraits(world: Path, kb: Path) -> None:
    """Give a world's knowledge base its pictures of people."""
    with KnowledgeBase.open(kb) as opened:
        portraits = read_picture_map(world / PORTRAITS, known=opened)
    change_pictures(kb, portraits)


def train_variant(world: Prepared, preset: Preset, out: Path) -> Run:
    """Train all seeds of a variant; goes on where it was."""
    with KnowledgeBase.open(world.kb) as kb:
        return train_run(data=world.folder, kb=kb, preset=preset, out=out, note=_note)


def evaluate_world(world: Prepared, runs: Sequence[Run]) -> EvaluationReport:
    """Evaluate lexical, prior and every variant's seeds on the test split, all against the first variant."""
    dataset = open_dataset(world.folder, "test")
    with KnowledgeBase.open(world.kb) as kb:
        first = Pipeline(runs[0].preset, kb)
        candidates = first.source.search(dataset.mentions, 100)
        systems: list[object] = [Lexical(first.names), Prior(first.names, runs[0].prior()), first.untrained()]
        for run in runs:
            _, features, _ = Pipeline(run.preset, kb).prepare(dataset, 100)
            seeds = run.preset.train.seeds
            models = (DwePlusSystem(run.preset, run.trained_folder(seed), seed=seed) for seed in seeds)
            systems.append([OwnFeatures(model, dataset.mentions, features) for model in models])
            if run is runs[0]:
                systems.append(_swapped(run, dataset.mentions, features))
        data = EvaluationData(dataset.mentions, dataset.gold, kb, candidates, train_captions=runs[0].captions())
        options = EvaluationOptions(baseline=runs[0].preset.name)
        return evaluate(systems, data, [Protocol()], options=options)  # type: ignore[arg-type]


def _swapped(run: Run, mentions: Sequence[Mention], features: Features) -> list[OwnFeatures]:
    """Return a run's models, for which every caption has the picture of another one."""
    num = int(features.picture.max()) + 1
    order = np.random.default_rng(0).permutation(num)
    other = np.empty(num, dtype=np.int64)
    other[order] = np.roll(order, 1)  # one cycle through all pictures: none keeps its own
    moved = replace(features, picture=np.where(features.picture >= 0, other[features.picture], -1))
    models = (DwePlusSystem(run.preset, run.trained_folder(seed), seed=seed) for seed in run.preset.train.seeds)
    return [OwnFeatures(model, mentions, moved, SWAPPED) for model in models]


def table(world: Prepared, report: EvaluationReport) -> Iterator[str]:
    """Yield the lines of a world's table."""
    result = report.protocols[0]
    ceilings = read_json(world.folder / MANIFEST)["ceilings"]["test"]
    against = {comparison.system: comparison for comparison in result.comparisons}
    yield (
        f"World `{world.name}`: {len(result.mention_ids):,} test mentions, {100 * ceilings['undecidable']:.1f} % "
        f"undecidable by text; recall@100 {100 * result.recall.value:.1f}; text-only oracle "
        f"{100 * ceilings['text_only']:.1f}, oracle with picture {100 * ceilings['full']:.1f}."
    )
    yield ""
    yield "| System | T@1 [95 %] | T@5 | MRR | over seeds | minus `paper` [95 %, paired] |"
    yield "|---|---|---|---|---|---|"
    for row in result.systems:
        t1 = row.metrics["hits@1"]
        spread = f"+- {100 * row.seeds['hits@1'].std:.1f}" if row.seeds else ""
        found = against.get(row.system)
        paired = ""
        if found is not None:
            paired = f"{100 * found.difference:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
        yield (
            f"| `{row.system}` | {100 * t1.value:.1f} [{100 * t1.low:.1f}, {100 * t1.high:.1f}] | "
            f"{100 * row.metrics['hits@5'].value:.1f} | {100 * row.metrics['mrr'].value:.1f} | {spread} | {paired} |"
        )
    yield ""


def main() -> None:
    """Train and evaluate all variants in all worlds, and print the tables."""
    parser = argparse.ArgumentParser(description="Variants of preset paper on the generated worlds.")
    parser.add_argument("--work", type=Path, default=Path(".experiments/world"))
    parser.add_argument("--worlds", default=",".join(WORLDS))
    parser.add_argument("--train-only", default=None, help="one variant, by its place; for several processes at once")
    parser.add_argument("--json", type=Path, default=None, help="file for the whole reports")
    arguments = parser.parse_args()
    lines = [CAVEAT, "", describe_machine(), ""]
    found: dict[str, object] = {}
    for name in arguments.worlds.split(","):
        world = prepare(name, arguments.work)
        runs = [
            train_variant(world, world_preset(variant, changes), arguments.work / name / f"run-{place}")
            for place, (variant, changes) in enumerate(VARIANTS.items())
            if arguments.train_only in (None, str(place))
        ]
        if arguments.train_only is None:
            report = evaluate_world(world, runs)
            found[name] = report.to_dict()
            lines += table(world, report)
    if arguments.json is not None:
        write_json(arguments.json, found)
    print("\n".join(lines))


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
