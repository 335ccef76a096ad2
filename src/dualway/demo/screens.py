"""The screens of the demo, in their order: five links at once, a trained model, its figures, a report, what is next."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualway.config import PRESETS, Preset, override
from dualway.datasets import open_dataset
from dualway.datasets.base import Dataset
from dualway.demo.material import Material, Voice, make_world, open_kb, open_own
from dualway.demo.shown import choose_errors, choose_examples, read_curve, show_links
from dualway.evaluation import EvaluationData, EvaluationOptions, Protocol, evaluate, format_report
from dualway.evaluation.report import EvaluationReport
from dualway.example import CAPTIONS, ENTITIES
from dualway.kb.files import build_from_files
from dualway.linker import Linker
from dualway.report import Report, write_report
from dualway.run import Pipeline, Run, note_failures, train_run
from dualway.schema import Link, Mention
from dualway.systems.dwe_plus import DwePlusSystem
from dualway.systems.lexical import Lexical
from dualway.systems.prior import Prior

EPOCHS, LEARNING_RATE = 40, 1.5e-4  # the paper: 300 and 5e-5
_CAPTIONS_SHOWN = 5
_EVALUATIONS = 14  # on dev, at most, before the last epoch
_PATIENCE = 4
_NOTES = {
    "lexical": "name similarity alone",
    "prior": "and how often a name meant an entity in train",
    "from_kb": "untrained: names, caption words, text",
    "paper": "DWE+, trained here",
}


@dataclass(frozen=True)
class DemoOptions:
    """What the demo runs on.

    Attributes:
        out: Its folder; what an earlier, unfinished demo left there is used.
        data: A user's folder; None: the generated world.
        limit: Mentions a split of the user's folder, at most; 0: all.
        text_encoder: As in `encoders.text`.
        image_encoder: As in `encoders.image`.
        detector: As in `encoders.detector`.
        pictures: Put pictures into the report.
    """

    out: Path
    data: Path | None = None
    limit: int = 4000
    text_encoder: str = "minilm+mini-clip"
    image_encoder: str = "mini-clip"
    detector: str | None = "proposals"
    pictures: bool = True


def run_demo(options: DemoOptions, voice: Voice) -> dict[str, Any]:
    """Run all screens and return what they came to, as JSON values.

    Raises:
        DualwayError: As the commands that it stands for.
    """
    began = time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.data is None:
        links = _link_examples(options.out, voice)
        material = make_world(options.out, voice)
    else:
        material = open_own(options.data, options.out, options.limit, voice)
        links = _link_own(material, voice)
    preset = demo_preset(options, material)
    run = _train(material, preset, options.out / "run", voice)
    report, system = _evaluate(material, run, voice)
    path = options.out / "report.html"
    _write(material, run, report, system, path, options.pictures)
    seconds = time.perf_counter() - began
    voice.show(_last_screen(material, run, path, seconds))
    return {
        "links": links,
        "run": str(run.folder),
        "report": str(path),
        "seconds": round(seconds, 1),
        "evaluation": report.to_dict(),
        "ceilings": {ceiling.name: ceiling.value for ceiling in material.ceilings},
        "caveats": list(material.caveats),
    }


def demo_preset(options: DemoOptions, material: Material) -> Preset:
    """Return the paper's preset with what the demo changes: encoders, fewer epochs, early stopping."""
    steps = -(-len(open_dataset(material.folder, "train")) // PRESETS["paper"].train.batch_size)
    every = max(steps * EPOCHS // _EVALUATIONS, 1)
    return override(
        PRESETS["paper"],
        {
            "encoders": {
                "text": options.text_encoder,
                "image": options.image_encoder,
                "detector": options.detector,
            },
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


def _link_examples(out: Path, voice: Voice) -> list[dict[str, Any]]:
    """Screen 1 on the bundled examples: links before anything is trained."""
    kb = out / "example-kb"
    if not (kb / "manifest.json").is_file():
        build_from_files(ENTITIES, kb, form="jsonl")
    return _show_links(kb, open_dataset(CAPTIONS).mentions, voice)


def _link_own(material: Material, voice: Voice) -> list[dict[str, Any]]:
    """Screen 1 on the user's own captions."""
    dataset = open_dataset(material.folder, "dev")
    by_caption = {mention.text: mention for mention in reversed(dataset.mentions)}
    return _show_links(material.kb, list(by_caption.values())[::-1][:_CAPTIONS_SHOWN], voice)


def _show_links(kb: Path, mentions: Sequence[Mention], voice: Voice) -> list[dict[str, Any]]:
    from dualway.linking.batch import link_record

    with voice.progress("features") as meter:
        linker = Linker.from_kb(kb, meter=meter.update)
        links = linker.link(list(mentions))
    voice.show(f"Five captions against a knowledge base of {len(linker.kb):,} entities, before any training:\n")
    linker.kb.close()
    for link in links:
        voice.show(_describe_link(link))
    return [link_record(link) for link in links]


def _describe_link(link: Link) -> str:
    lines = [f"  {link.mention.text}"]
    if not link.candidates:
        return "\n".join([*lines, f"    {link.mention.surface} -> no candidate\n"])
    best = link.candidates[0]
    parts = ", ".join(f"{name} {value:.2f}" for name, value in best.evidence.items())
    lines.append(f"    {link.mention.surface} -> {best.entity_id} {best.name} {best.score:.2f}  ({parts})")
    rivals = ", ".join(f"{candidate.name} {candidate.score:.2f}" for candidate in link.candidates[1:3])
    return "\n".join([*lines, f"    next: {rivals}\n"])


def _train(material: Material, preset: Preset, out: Path, voice: Voice) -> Run:
    """Screen 2: features and training."""
    paper = PRESETS["paper"].train
    voice.show(
        f"Training preset `paper` on {material.title}: 1 seed, at most {preset.train.epochs} epochs in place of the "
        f"paper's {paper.epochs}, stopped after {preset.train.patience} evaluations without a better dev T@1; entity "
        f"texts with their names before them; objects found by `{preset.encoders.detector}`.\n"
    )
    with (
        open_kb(material) as kb,
        voice.progress("features") as encoding,
        voice.progress("training steps") as steps,
    ):

        def on_step(_: int, state: Any) -> None:
            dev = "" if state.dev_t1 is None else f", dev T@1 {100 * state.dev_t1:.1f}"
            steps.update(state.step, state.total_steps, f"epoch {state.epoch}, loss {state.loss:.3f}{dev}")

        return train_run(
            data=material.folder, kb=kb, preset=preset, out=out, note=voice.note, meter=encoding.update, on_step=on_step
        )


def _evaluate(material: Material, run: Run, voice: Voice) -> tuple[EvaluationReport, tuple[Dataset, list[Link]]]:
    """Screen 3: the model beside lexical, prior and the ceilings; and its links, for the report."""
    dataset = open_dataset(material.folder, material.evaluated)
    seed = run.preset.train.seeds[0]
    with open_kb(material) as kb, voice.progress("features") as encoding:
        pipeline = Pipeline(run.preset, kb, run.prior(), meter=encoding.update)
        candidates, features, failures = pipeline.prepare(dataset, run.preset.candidates.num_candidates)
        note_failures(failures, voice.note)
        names = pipeline.names
        systems = [
            Lexical(names),
            Prior(names, run.prior()),
            pipeline.untrained(),
            DwePlusSystem(run.preset, run.trained_folder(seed), seed=seed),
        ]
        data = EvaluationData(dataset.mentions, dataset.gold, kb, candidates, features, train_captions=run.captions())
        options = EvaluationOptions(baseline="lexical")
        report = evaluate(systems, data, [Protocol()], options=options)
        links = Linker.load(run.folder, kb=kb, note=voice.note).link(dataset.mentions, image_path=dataset.image_path)
    voice.show(format_report(report))
    for ceiling in material.ceilings:
        voice.show(f"  ceiling: {ceiling.name} {100 * ceiling.value:.1f} ({ceiling.note})")
    for caveat in material.caveats:
        voice.show(f"  {caveat}")
    return report, (dataset, links)


def _write(
    material: Material,
    run: Run,
    evaluation: EvaluationReport,
    linked: tuple[Dataset, list[Link]],
    path: Path,
    pictures: bool,
) -> None:
    """Screen 4: the report."""
    dataset, links = linked
    with open_kb(material) as kb:
        shown = show_links(dataset, links, kb, system=run.preset.name)
    report = Report(
        title=f"dualway on {material.title}",
        lead=(*material.lead, "Protocol top100: 100 candidates by name, gold is never put in, ties are averaged."),
        caveats=material.caveats,
        settings=_settings(run, evaluation),
        evaluation=evaluation,
        ceilings=material.ceilings,
        curves=(read_curve(run),),
        examples=choose_examples(shown),
        errors=choose_errors(shown),
        commands=_commands(material, run),
        embeds_photographs=material.photographs,
        system_notes=_NOTES,
    )
    write_report(report, path, pictures=pictures)


def _settings(run: Run, evaluation: EvaluationReport) -> dict[str, str]:
    preset, result = run.preset, run.results[str(run.preset.train.seeds[0])]
    return {
        "hardware": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        **evaluation.versions,
        "preset": preset.name,
        "deviation from the paper": (
            f"1 seed; at most {preset.train.epochs} epochs in place of {PRESETS['paper'].train.epochs}, early "
            f"stopping; learning rate {preset.train.learning_rate:g} in place of {PRESETS['paper'].train.learning_rate:g}; "
            f"text by {preset.encoders.text} and pictures by {preset.encoders.image} in place of CLIP ViT-B/32; objects "
            f"by {preset.encoders.detector}"
        ),
        "training": (
            f"{result['mentions']:,} mentions, {result['steps']:,} steps, {result['seconds']:,.0f} s, best dev T@1 at "
            f"step {result['best_step']:,}"
        ),
        "entity template": preset.features.entity_template,
    }


def _commands(material: Material, run: Run) -> tuple[str, ...]:
    return (
        f"dualway data check {material.source}",
        f"dualway evaluate --run {run.folder} --data {material.folder} --split {material.evaluated} "
        "--protocol top100,top100-gold,full-kb",
        f"dualway link --run {run.folder} --in mentions.jsonl --out links.jsonl",
    )


def _last_screen(material: Material, run: Run, report: Path, seconds: float) -> str:
    commands = "\n".join(f"  {command}" for command in _commands(material, run))
    return (
        f"\nDone in {seconds:,.0f} s. The report, with pictures, attention and errors:\n  {report}\n\nNext:\n{commands}"
    )
