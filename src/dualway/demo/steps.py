"""The steps that every demo takes, whatever its data and its encoders: train, evaluate, write the report."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dualway.config import PRESETS, Preset, override
from dualway.datasets import open_dataset
from dualway.demo.material import Material, Meter, Voice, open_kb
from dualway.demo.shown import choose_errors, choose_examples, read_curve, show_links
from dualway.evaluation import EvaluationData, EvaluationOptions, Protocol, evaluate, format_report
from dualway.evaluation.report import EvaluationReport
from dualway.linker import Linker
from dualway.protocols import System
from dualway.report import Report, ShownMention, write_report
from dualway.run import Pipeline, Run, note_failures, train_run
from dualway.systems.dwe_plus import DwePlusSystem
from dualway.systems.lexical import Lexical
from dualway.systems.prior import Prior

EPOCHS, LEARNING_RATE = 40, 1.5e-4  # the paper: 300 and 5e-5
_EVALUATIONS = 14  # on dev, at most, before the last epoch
_PATIENCE = 6
NOTES = {
    "lexical": "name similarity alone",
    "prior": "and how often a name meant an entity in train",
    "from_kb": "untrained: names, caption words, text",
    "zero_shot_clip": "CLIP untrained: caption, picture, entity text",
    "paper": "DWE+, trained here",
}


def make_preset(material: Material, *, text: str, image: str, detector: str | None) -> Preset:
    """Return the paper's preset with what a demo changes: encoders, fewer epochs at a higher rate, early stopping."""
    steps = -(-len(open_dataset(material.folder, "train")) // PRESETS["paper"].train.batch_size)
    every = max(steps * EPOCHS // _EVALUATIONS, 1)
    return override(
        PRESETS["paper"],
        {
            "encoders": {"text": text, "image": image, "detector": detector},
            "features": {"entity_template": "{name}. {text}"},
            "train": {
                "epochs": EPOCHS,
                "learning_rate": LEARNING_RATE,
                "evaluate_every": every,
                "checkpoint_every": every,
                "patience": _PATIENCE,
            },
        },
    )


def deviation(preset: Preset) -> str:
    """Return in words what the training changes of the paper's."""
    paper, train = PRESETS["paper"].train, preset.train
    return (
        f"1 seed; at most {train.epochs} epochs in place of the paper's {paper.epochs}, stopped after {train.patience} "
        f"evaluations without a better dev T@1; learning rate {train.learning_rate:g} in place of "
        f"{paper.learning_rate:g}; entity texts with their names before them; text by {_short(preset.encoders.text)}, "
        f"pictures by {_short(preset.encoders.image)}, objects by {_short(preset.encoders.detector)}; candidates by "
        "our name index in place of fuzzywuzzy"
    )


def _short(name: str | None) -> str:
    """Return an encoder's name, of a directory its last part."""
    return "nothing" if name is None else Path(name).name if "/" in name else name


def train_paper(material: Material, preset: Preset, out: Path, voice: Voice) -> Run:
    """Extract features and train, saying what departs from the paper."""
    voice.show(f"Training preset `paper` on {material.title}: {deviation(preset)}.\n")
    with open_kb(material) as kb, voice.progress("features") as encoding, ExitStack() as opened:
        meters: list[Meter] = []

        def on_step(_: int, state: Any) -> None:
            if not meters:  # only now: its rate is that of the training
                meters.append(opened.enter_context(voice.progress("training steps")))
            dev = "" if state.dev_t1 is None else f", dev T@1 {100 * state.dev_t1:.1f}"
            meters[0].update(state.step, state.total_steps, f"epoch {state.epoch}, loss {state.loss:.3f}{dev}")

        return train_run(
            data=material.folder, kb=kb, preset=preset, out=out, note=voice.note, meter=encoding.update, on_step=on_step
        )


def evaluate_run(
    material: Material, run: Run, voice: Voice, rival: Callable[[Pipeline], System]
) -> tuple[EvaluationReport, list[ShownMention]]:
    """Return lexical, prior, an untrained rival and the model in one table, and the model's links for the report."""
    dataset = open_dataset(material.folder, material.evaluated)
    seed = run.preset.train.seeds[0]
    with open_kb(material) as kb, voice.progress("features") as encoding:
        pipeline = Pipeline(run.preset, kb, run.prior(), meter=encoding.update)
        candidates, features, failures = pipeline.prepare(dataset, run.preset.candidates.num_candidates)
        note_failures(failures, voice.note)
        systems: list[System] = [
            Lexical(pipeline.names),
            Prior(pipeline.names, run.prior()),
            rival(pipeline),
            DwePlusSystem(run.preset, run.trained_folder(seed), seed=seed),
        ]
        data = EvaluationData(dataset.mentions, dataset.gold, kb, candidates, features, train_captions=run.captions())
        evaluation = evaluate(systems, data, [Protocol()], options=EvaluationOptions(baseline="lexical"))
        # Without notes: which pictures cannot be used was said above.
        links = Linker.load(run.folder, kb=kb).link(dataset.mentions, image_path=dataset.image_path)
        shown = show_links(dataset, links, kb, system=run.preset.name)
    voice.show(format_report(evaluation))
    for ceiling in material.ceilings:
        voice.show(f"  ceiling: {ceiling.name} {100 * ceiling.value:.1f} ({ceiling.note})")
    for caveat in material.caveats:
        voice.show(f"  {caveat}")
    return evaluation, shown


def write_page(
    material: Material,
    run: Run,
    evaluation: EvaluationReport,
    shown: list[ShownMention],
    path: Path,
    *,
    settings: Mapping[str, str],
    pictures: bool,
) -> None:
    """Write the report."""
    result = run.results[str(run.preset.train.seeds[0])]
    training = (
        f"{result['mentions']:,} mentions, {result['steps']:,} steps, {result['seconds']:,.0f} s, best dev T@1 at step "
        f"{result['best_step']:,}"
    )
    report = Report(
        title=f"dualway on {material.title}",
        lead=(*material.lead, "Protocol top100: 100 candidates by name, gold is never put in, ties are averaged."),
        caveats=material.caveats,
        settings={
            "hardware": f"{os.cpu_count()} CPU cores, {platform.machine()}",
            **evaluation.versions,
            **settings,
            "preset": run.preset.name,
            "deviation from the paper": deviation(run.preset),
            "training": training,
        },
        evaluation=evaluation,
        ceilings=material.ceilings,
        curves=(read_curve(run),),
        examples=choose_examples(shown),
        errors=choose_errors(shown),
        commands=next_commands(material, run),
        embeds_photographs=material.photographs,
        system_notes=NOTES,
    )
    write_report(report, path, pictures=pictures)


def next_commands(material: Material, run: Run) -> tuple[str, ...]:
    """Return three commands to go on with, ready for a shell."""
    split, data = material.evaluated, material.folder
    commands = (
        ["data", "check", material.source],
        ["evaluate", "--run", run.folder, "--data", data, "--split", split, "--protocol", "top100,top100-gold,full-kb"],
        ["link", "--run", run.folder, "--in", data / f"{split}.jsonl", "--out", "links.jsonl"],
    )
    return tuple(shlex.join([_program(), *map(str, command)]) for command in commands)


def _program() -> str:
    """Return how this program is called: by its name where the shell finds it, else as it was now."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "dualway" and shutil.which("dualway") is None else "dualway"


def last_screen(material: Material, run: Run, report: Path, seconds: float) -> str:
    """Return the last screen: how long it took, where the report is, what to type next."""
    commands = "\n".join(f"  {command}" for command in next_commands(material, run))
    done = f"Done in {seconds:,.0f} s. The report, with pictures, attention and errors:"
    return f"\n{done}\n  {report}\n\nNext:\n{commands}"
