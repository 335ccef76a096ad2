"""What text stands for an entity decides: Richpedia by its short text of properties, its long one, and both.

    python -m experiments.representations --work .experiments/representations

One knowledge base, of which every row is one flag: `dualway train --representation properties_short` (the brief file of
the data set), `properties` (the long one), or both; each alone, and with the entity's name before it
(`--set 'features.entity_template={name}. {text}'`). T@1 is on dev, among the 100 candidates that names find.

Preset `paper` otherwise, but for a tenfold learning rate and 10 epochs in place of 300, so that a row is trained in a
minute. Rows that are trained are not trained again; a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import describe_machine

from dualway.config import PRESETS, Preset, override
from dualway.datasets import open_dataset
from dualway.errors import ModelError
from dualway.evaluation import EvaluationData, EvaluationOptions, EvaluationReport, Protocol, evaluate
from dualway.kb.files import build_from_files
from dualway.kb.store import KnowledgeBase
from dualway.run import Pipeline, Run, train_run
from dualway.storage import write_json
from dualway.systems.dwe_plus import DwePlusSystem
from dualway.systems.lexical import Lexical
from experiments.world import OwnFeatures

EPOCHS, LEARNING_RATE, EVERY = 10, 5e-4, 242  # 242 steps are two epochs of Richpedia's train
SEEDS = (0, 1, 2)
LONG, SHORT = "properties", "properties_short"
TEXTS: dict[str, tuple[str, ...]] = {"short": (SHORT,), "long": (LONG,), "both": (LONG, SHORT)}
TEMPLATES = {"": "{text}", "name + ": "{name}. {text}"}
BASELINE = "long"


@dataclass(frozen=True)
class Row:
    """One row: which texts stand for an entity, and whether its name stands before them."""

    kinds: tuple[str, ...]
    template: str

    @property
    def flags(self) -> str:
        """What is given to `dualway train`."""
        named = f" --set 'features.entity_template={self.template}'" if self.template != TEMPLATES[""] else ""
        return f"--representation {','.join(self.kinds)}{named}"


ROWS: dict[str, Row] = {
    f"{prefix}{name}": Row(kinds, template) for prefix, template in TEMPLATES.items() for name, kinds in TEXTS.items()
}


def row_preset(name: str, *, epochs: int = EPOCHS, seeds: Sequence[int] = SEEDS) -> Preset:
    """Return the settings of a row."""
    row = ROWS[name]
    return override(
        PRESETS["paper"],
        {
            "name": name,
            "features": {"representation": list(row.kinds), "entity_template": row.template},
            "train": {
                "epochs": epochs,
                "learning_rate": LEARNING_RATE,
                "evaluate_every": EVERY,
                "checkpoint_every": EVERY,
                "seeds": list(seeds),
            },
        },
    )


def build_kb(data: Path, folder: Path) -> Path:
    """Build the one knowledge base of all rows, once; it keeps every text."""
    if not folder.is_dir():
        build_from_files(data, folder, form="ghmfc")
    return folder


def train_row(data: Path, kb: Path, preset: Preset, out: Path) -> Run:
    """Train a row, or return its run where it is trained."""
    try:
        run = Run.open(out)
        if run.preset == preset and all(str(seed) in run.results for seed in preset.train.seeds):
            return run
    except ModelError:
        pass  # not begun, or not finished
    with KnowledgeBase.open(kb) as opened:
        return train_run(data=data, kb=opened, preset=preset, out=out, note=_note)


def evaluate_rows(data: Path, kb_path: Path, runs: Sequence[Run]) -> EvaluationReport:
    """Evaluate names alone and every row on dev, all against the row of the long text."""
    dataset = open_dataset(data, "dev")
    with KnowledgeBase.open(kb_path) as kb:
        first = Pipeline(runs[0].preset, kb)
        candidates = first.source.search(dataset.mentions, 100)
        systems: list[object] = [Lexical(first.names)]
        for run in runs:
            _, features, _ = Pipeline(run.preset, kb).prepare(dataset, 100)
            seeds = run.preset.train.seeds
            models = (DwePlusSystem(run.preset, run.trained_folder(seed), seed=seed) for seed in seeds)
            systems.append([OwnFeatures(model, dataset.mentions, features) for model in models])
        data_of = EvaluationData(dataset.mentions, dataset.gold, kb, candidates, train_captions=runs[0].captions())
        names = [run.preset.name for run in runs]
        options = EvaluationOptions(baseline=BASELINE if BASELINE in names else names[0])
        return evaluate(systems, data_of, [Protocol()], options=options)  # type: ignore[arg-type]


def table(report: EvaluationReport, baseline: str) -> Iterator[str]:
    """Yield the lines of the table."""
    result = report.protocols[0]
    against = {comparison.system: comparison for comparison in result.comparisons}
    yield (
        f"Richpedia dev, top100: {len(result.mention_ids):,} mentions, recall@100 {100 * result.recall.value:.1f}; "
        "tied scores count by the mean of their places."
    )
    yield ""
    yield f"| Entity's text | Flags of `dualway train` | T@1 [95 %] | seeds | T@5 | MRR | minus `{baseline}` [95 %] |"
    yield "|---|---|---|---|---|---|---|"
    for row in result.systems:
        t1 = row.metrics["hits@1"]
        found = against.get(row.system)
        paired = ""
        if found is not None:
            paired = f"{100 * found.difference:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
        spread = f"+- {100 * row.seeds['hits@1'].std:.1f}" if row.seeds else ""
        flags = f"`{ROWS[row.system].flags}`" if row.system in ROWS else ""
        yield (
            f"| {row.system} | {flags} | {100 * t1.value:.1f} [{100 * t1.low:.1f}, {100 * t1.high:.1f}] | {spread} | "
            f"{100 * row.metrics['hits@5'].value:.1f} | {100 * row.metrics['mrr'].value:.1f} | {paired} |"
        )


def main() -> None:
    """Train and evaluate all rows, and print the table."""
    parser = argparse.ArgumentParser(description="Richpedia by its short text, its long one, and both.")
    parser.add_argument("--work", type=Path, default=Path(".experiments/representations"))
    parser.add_argument("--data", type=Path, default=None, help="Richpedia's folder, of DUALWAY_REALDATA by default")
    parser.add_argument("--rows", default=",".join(ROWS), help=f"with commas, of {', '.join(ROWS)}")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--json", type=Path, default=None, help="file for the whole report")
    arguments = parser.parse_args()
    data = arguments.data or Path(os.environ.get("DUALWAY_REALDATA", "../shared/realdata")) / "richpedia"
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    kb = build_kb(data, arguments.work / "kb")
    runs: list[Run] = []
    for name in arguments.rows.split(","):
        preset = row_preset(name, epochs=arguments.epochs, seeds=seeds)
        _note(f"{name}: {ROWS[name].flags}")
        runs.append(train_row(data, kb, preset, arguments.work / "runs" / name.replace(" + ", "-and-")))
    report = evaluate_rows(data, kb, runs)
    if arguments.json is not None:
        write_json(arguments.json, report.to_dict())
    names = [run.preset.name for run in runs]
    lines = [
        f"{describe_machine()}; preset `paper` with learning rate {LEARNING_RATE:g} and {arguments.epochs} epochs; "
        f"seeds {', '.join(map(str, seeds))}",
        "",
        *table(report, BASELINE if BASELINE in names else names[0]),
    ]
    print("\n".join(lines))


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
