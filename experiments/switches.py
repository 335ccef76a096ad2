"""Is any switch dead? Every switch of the model, its features, losses and negatives, trained once, shortly.

    python -m experiments.switches --work .experiments/switches

On the demo's part of the generated world, with its annotations (faces and identity labels), one seed, a few epochs: the
T@1 of a row says that the switch was trained, not how good it is. The last column is what the switch moved: the share
of test mentions whose ten best candidates differ from the base's in order. 0 % would be a dead switch, and an error.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.machine import describe_machine

from dualway.config import Preset, override
from dualway.datasets import open_dataset
from dualway.evaluation import EvaluationData, Protocol, evaluate
from dualway.kb.files import build_from_files
from dualway.kb.store import KnowledgeBase
from dualway.protocols import Task
from dualway.run import Pipeline, train_run
from dualway.systems.dwe_plus import DwePlusSystem
from dualway.world import CAVEAT
from dualway.world.build import DEMO, MANIFEST, write_world
from experiments.world import give_portraits, world_preset

EPOCHS = 4
_SHORT = {"train": {"epochs": EPOCHS, "evaluate_every": 100, "checkpoint_every": 10_000, "seeds": [0]}}
# Section and setting, and what it is set to; the base is preset `paper` with the package's encoders.
SWITCHES: tuple[tuple[str, Any], ...] = (
    ("encoders.text", "mini-clip"),
    ("encoders.trainable", True),
    ("encoders.detector", None),
    ("encoders.identity", "pictures"),
    ("features.mention_template", "{mention}: {text}"),
    ("features.text_template", "{mention} [SEP] {text}"),
    ("features.entity_template", "{text}"),
    ("features.face_template", "{attributes}"),
    ("features.identity_template", "This is {label}."),
    ("features.identity_threshold", 0.9),
    ("features.identity_keys", "joined"),
    ("features.gallery_template", "{name}"),
    ("features.object_classes", ["person"]),
    ("features.max_objects", 2),
    ("features.min_object_score", 0.6),
    ("features.min_object_size", 90.0),
    ("features.duplicate_overlap", 0.2),
    ("features.no_object", "zero"),
    ("model.project_entity", "own"),
    ("model.project_entity", "none"),
    ("model.use_text", False),
    ("model.use_objects", False),
    ("model.use_faces", False),
    ("model.use_identity", False),
    ("model.use_image", True),
    ("model.face_attention", "shared_map"),
    ("model.share_text_attention", False),
    ("model.text_keys", "tokens"),
    ("model.fusion", "concat"),
    ("model.gate", "raw"),
    ("model.gate", "vector"),
    ("model.gate", "none"),
    ("model.gate_input", "concat"),
    ("model.mask_padding", False),
    ("model.contrast", "msc"),
    ("model.contrast", "infonce"),
    ("model.temperature", 0.1),
    ("model.coarse_pair", "t_v"),
    ("model.fine_pair", "m_mv"),
    ("model.rank_loss", "npair"),
    ("model.margin", 0.1),
    ("model.fine_weight", 0.0),
    ("model.coarse_weight", 0.0),
    ("model.rank_weight", 1.0),
    ("model.dim", 256),
    ("model.heads", 4),
    ("model.dropout", 0.0),
    ("negatives.num_hard", 4),
    ("negatives.num_in_batch", -1),
    ("negatives.share_hard", True),
    ("negatives.hard_source", "similar_text"),
    ("candidates.retriever", "fuzzy"),
    ("candidates.retriever", "names+prior"),
    ("candidates.num_candidates", 16),
)
# Switches that need more than themselves: what they are compared with has these settings too.
_WITH: dict[str, dict[str, Any]] = {
    "features.no_object": {"features": {"object_classes": ["person"]}},  # which the detector's regions never are
    "features.gallery_template": {"encoders": {"identity": "pictures"}},
    "encoders.trainable": {"encoders": {"text": "mini-clip"}, "train": {"epochs": 1}},
    "model.text_keys": {"encoders": {"text": "minilm"}},
    "candidates.retriever": {"candidates": {"num_candidates": 16}},  # a hundred hold all that the prior would add
}


@dataclass(frozen=True)
class Row:
    """What one training came to: T@1 on the test split, and each mention's ten best candidates."""

    t1: float
    best: list[list[str]]


def base_preset(key: str = "") -> Preset:
    """Return what a switch is compared with: the base, or the base with what the switch needs."""
    return override(override(world_preset("paper", {}), _SHORT), _WITH.get(key, {}))


def switch_preset(key: str, value: Any) -> Preset:
    """Return that preset with one setting changed."""
    section, _, name = key.partition(".")
    return override(base_preset(key), {section: {name: value}})


def train_row(preset: Preset, work: Path, out: Path) -> Row:
    """Train a row and rank the test split."""
    world, regions = work / "world", work / "world" / "annotations.jsonl"
    dataset = open_dataset(world, "test")
    with KnowledgeBase.open(work / "kb") as kb:
        run = train_run(data=world, kb=kb, preset=preset, out=out, note=_note, regions=regions)
        pipeline = Pipeline(preset, kb, run.prior(), regions=regions)
        candidates, features, _ = pipeline.prepare(dataset, preset.candidates.num_candidates)
        system = DwePlusSystem(preset, run.trained_folder(0))
        data = EvaluationData(dataset.mentions, dataset.gold, kb, candidates, features)
        report = evaluate([system], data, [Protocol(preset.candidates.num_candidates)])
        scores = system.score(Task(dataset.mentions, candidates, kb, features))
        order = [np.argsort(-line, kind="stable")[:10] for line in scores]
        best = [[kb.ids[row] for row in candidates.rows[i][places]] for i, places in enumerate(order)]
    return Row(report.protocols[0].systems[0].metrics["hits@1"].value, best)


def main() -> None:
    """Train every row and print the table; fail on a dead switch."""
    parser = argparse.ArgumentParser(description="Every switch, trained once.")
    parser.add_argument("--work", type=Path, default=Path(".experiments/switches"))
    work = parser.parse_args().work
    if not (work / "world" / MANIFEST).is_file():
        write_world(work / "world", DEMO, workers=2)
    if not (work / "kb").is_dir():
        build_from_files(work / "world" / "entities.jsonl", work / "kb", representation=("properties",))
        give_portraits(work / "world", work / "kb")
    print(f"{CAVEAT}\n\n{describe_machine()}; {EPOCHS} epochs, 1 seed, test split, top100\n")
    print("| Setting | Value | T@1 | mentions whose ten best changed |\n|---|---|---|---|", flush=True)
    dead: list[str] = []
    bases: dict[str, Row] = {}
    for number, (key, value) in enumerate(SWITCHES):
        needs = key if key in _WITH else ""
        if needs not in bases:
            bases[needs] = train_row(base_preset(key), work, work / "runs" / f"base-{needs}")
            label = f"base with what `{needs}` needs: `{_WITH[needs]}`" if needs else "base"
            print(f"| {label} | | {100 * bases[needs].t1:.1f} | |", flush=True)
        row = train_row(switch_preset(key, value), work, work / "runs" / f"{number}-{key}")
        moved = sum(one != other for one, other in zip(row.best, bases[needs].best, strict=True)) / len(row.best)
        print(f"| `{key}` | `{value}` | {100 * row.t1:.1f} | {100 * moved:.0f} % |", flush=True)
        if not moved:
            dead.append(f"{key}={value}")
    if dead:
        sys.exit(f"dead switches: {', '.join(dead)}")


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
