"""`dualway demo --real`: published text and models, shown before they are downloaded; for machines with a network."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dualway.config import PRESETS, Preset
from dualway.datasets import list_splits, open_dataset
from dualway.demo.material import Material, Voice, open_kb, open_own
from dualway.demo.published import Converted, Published, convert_melbench, fetch_published
from dualway.demo.screens import DemoOptions, demo_preset
from dualway.demo.shown import choose_errors, choose_examples, read_curve, show_links
from dualway.downloads.planning import Plan
from dualway.errors import UsageError
from dualway.evaluation import EvaluationData, EvaluationOptions, Protocol, evaluate, format_report
from dualway.evaluation.report import EvaluationReport
from dualway.linker import Linker
from dualway.report import Report, write_report
from dualway.report.records import ShownMention
from dualway.run import Pipeline, Run, note_failures, train_run
from dualway.systems.dwe_plus import DwePlusSystem
from dualway.systems.lexical import Lexical
from dualway.systems.prior import Prior
from dualway.systems.zero_shot import ZeroShotClip

DATA, CLIP, DETECTOR = "melbench", "clip-vit-b32", "rtdetr-v2-r18"
_NOTES = {
    "lexical": "name similarity alone",
    "prior": "and how often a name meant an entity in train",
    "zero_shot_clip": "CLIP ViT-B/32 untrained: caption, picture, entity text",
    "paper": "DWE+, trained here",
}


def run_real(
    options: DemoOptions,
    voice: Voice,
    *,
    base_url: str | None = None,
    confirm: Callable[[Plan], bool] | None = None,
) -> dict[str, Any]:
    """Download what is needed, train, evaluate, write a report, and return what it came to, as JSON values.

    What would be downloaded is shown first, also where no host can be reached: MELBench's text (none where there is
    `options.data`), CLIP ViT-B/32 for texts and pictures, RT-DETRv2 for objects.

    Args:
        options: What the demo runs on.
        voice: How it speaks.
        base_url: A mirror (`downloads.planning.plan`).
        confirm: Asked with the plan that was shown; False ends the demo before anything is downloaded.

    Raises:
        UsageError: Encoders are named as well.
        DownloadError: What is needed is not there and cannot be had; names the ways without a network.
        DualwayError: As the commands that it stands for.
    """
    began = time.perf_counter()
    _check(options)
    names = (DATA, CLIP, DETECTOR) if options.data is None else (CLIP, DETECTOR)
    published = fetch_published(names, options.out / "downloads", voice, base_url=base_url, confirm=confirm)
    if published is None:
        return {"downloads": None}
    material = _own(options, options.data, voice) if options.data else _melbench(options, published, voice)
    material = _with_remarks(material, published)
    clip, detector = (str(published.paths[name].resolve()) for name in (CLIP, DETECTOR))
    preset = demo_preset(replace(options, text_encoder=clip, image_encoder=clip, detector=detector), material)
    run = _train(material, preset, options.out / "run", voice)
    evaluation, shown = _evaluate(material, run, voice)
    path = options.out / "report.html"
    report = _report(material, published, run, evaluation, shown)
    write_report(report, path, pictures=options.pictures)
    seconds = time.perf_counter() - began
    commands = "\n".join(f"  {command}" for command in report.commands)
    voice.show(f"\nDone in {seconds:,.0f} s. The report:\n  {path}\n\nNext:\n{commands}")
    return {
        "downloads": published.plan.to_dict(),
        "unchecked": list(published.unchecked),
        "run": str(run.folder),
        "report": str(path),
        "seconds": round(seconds, 1),
        "evaluation": evaluation.to_dict(),
        "caveats": list(material.caveats),
    }


def _check(options: DemoOptions) -> None:
    """Refuse, before anything is downloaded, what could not be used after it."""
    own = DemoOptions(options.out)
    if (options.text_encoder, options.image_encoder) != (own.text_encoder, own.image_encoder):
        raise UsageError("--real brings its encoders; leave out --text-encoder and --image-encoder, or --real")
    if options.data is not None and options.data.is_dir():
        list_splits(options.data)
    elif options.data is not None:
        raise UsageError(f"{options.data}: give a folder with train and dev files and entity files (docs/formats.md)")


def _own(options: DemoOptions, data: Path, voice: Voice) -> Material:
    """Prepare the user's folder, whose pictures a real encoder reads."""
    material = open_own(data, options.out, options.limit, voice)
    return replace(material, caveats=_without_encoder_remark(material))


def _melbench(options: DemoOptions, published: Published, voice: Voice) -> Material:
    """Prepare WikiMEL's captions and mentions as MELBench publishes them."""
    made = convert_melbench(published.paths[DATA], options.out / DATA, voice)
    material = open_own(made.folder, options.out, options.limit, voice)
    counts = [f"{len(open_dataset(material.folder, split)):,} mentions of {split}" for split in ("train", "dev")]
    return replace(
        material,
        title="WikiMEL's text (MELBench)",
        lead=(f"WikiMEL's captions and mentions as MELBench publishes them: {' and '.join(counts)}.",),
        caveats=(*_melbench_caveats(made), *_without_encoder_remark(material)),
        photographs=False,
        source=made.source,
    )


def _melbench_caveats(made: Converted) -> tuple[str, ...]:
    nameless = f" {made.nameless:,} of them have no name there, and their id stands for it." if made.nameless else ""
    return (
        f"The knowledge base holds the {made.entities:,} answers of all samples, so that every answer is in it and "
        f"rivals are few. It has their names and no texts: each entity is represented by its name.{nameless}",
        "MELBench publishes no pictures: picture encoder and detector had nothing to look at, so the rows compare text "
        "alone.",
        "Splits are made here, by a hash of the sentence: one in ten is dev, one in ten is left aside as test "
        f"({made.set_aside:,} mentions, never used), the rest is train. They are not the published splits: compare the "
        "figures with no published table.",
    )


def _without_encoder_remark(material: Material) -> tuple[str, ...]:
    """Return the caveats without the one on the encoder of the package, which is not in use here."""
    return tuple(caveat for caveat in material.caveats if "--image-encoder" not in caveat)


def _with_remarks(material: Material, published: Published) -> Material:
    if not published.unchecked:
        return material
    caveat = f"Put there by hand and checked against no hash: {', '.join(published.unchecked)}."
    return replace(material, caveats=(*material.caveats, caveat))


def _train(material: Material, preset: Preset, out: Path, voice: Voice) -> Run:
    voice.show(
        f"\nTraining preset `paper` on {material.title}: 1 seed, at most {preset.train.epochs} epochs in place of the "
        f"paper's {PRESETS['paper'].train.epochs}, stopped after {preset.train.patience} evaluations without a better "
        "dev T@1; texts and pictures by CLIP ViT-B/32, objects by RT-DETRv2, entity texts with their names before them."
        "\n"
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


def _evaluate(material: Material, run: Run, voice: Voice) -> tuple[EvaluationReport, list[ShownMention]]:
    """Return the figures of lexical, prior, zero-shot CLIP and the model in one table, and the model's links."""
    dataset = open_dataset(material.folder, material.evaluated)
    seed = run.preset.train.seeds[0]
    with open_kb(material) as kb, voice.progress("features") as encoding:
        pipeline = Pipeline(run.preset, kb, run.prior(), meter=encoding.update)
        candidates, features, failures = pipeline.prepare(dataset, run.preset.candidates.num_candidates)
        note_failures(failures, voice.note)
        systems = [
            Lexical(pipeline.names),
            Prior(pipeline.names, run.prior()),
            ZeroShotClip(),
            DwePlusSystem(run.preset, run.trained_folder(seed), seed=seed),
        ]
        data = EvaluationData(dataset.mentions, dataset.gold, kb, candidates, features, train_captions=run.captions())
        evaluation = evaluate(systems, data, [Protocol()], options=EvaluationOptions(baseline="lexical"))
        links = Linker.load(run.folder, kb=kb, note=voice.note).link(dataset.mentions, image_path=dataset.image_path)
        shown = show_links(dataset, links, kb, system=run.preset.name)
    voice.show(format_report(evaluation))
    for caveat in material.caveats:
        voice.show(f"  {caveat}")
    return evaluation, shown


def _report(
    material: Material, published: Published, run: Run, evaluation: EvaluationReport, shown: list[ShownMention]
) -> Report:
    return Report(
        title=f"dualway on {material.title}",
        lead=(*material.lead, "Protocol top100: 100 candidates by name, gold is never put in, ties are averaged."),
        caveats=material.caveats,
        settings=_settings(published, run, evaluation),
        evaluation=evaluation,
        curves=(read_curve(run),),
        examples=choose_examples(shown),
        errors=choose_errors(shown),
        commands=(
            f"dualway data check {material.source}",
            f"dualway evaluate --run {run.folder} --data {material.folder} --split {material.evaluated} "
            "--protocol top100,top100-gold,full-kb",
            f"dualway link --run {run.folder} --in mentions.jsonl --out links.jsonl",
        ),
        embeds_photographs=material.photographs,
        system_notes=_NOTES,
    )


def _settings(published: Published, run: Run, evaluation: EvaluationReport) -> dict[str, str]:
    preset, result = run.preset, run.results[str(run.preset.train.seeds[0])]
    return {
        "hardware": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        **evaluation.versions,
        "downloads": "; ".join(
            f"{entry.name} at {entry.revision[:12]} (licence: {entry.licence})" for entry in published.plan.entries
        ),
        "preset": preset.name,
        "deviation from the paper": (
            f"1 seed; at most {preset.train.epochs} epochs in place of {PRESETS['paper'].train.epochs}, early "
            f"stopping; objects by RT-DETRv2, at most {preset.features.max_objects} a picture; candidates by our name "
            "index in place of fuzzywuzzy"
        ),
        "training": (
            f"{result['mentions']:,} mentions, {result['steps']:,} steps, {result['seconds']:,.0f} s, best dev T@1 at "
            f"step {result['best_step']:,}"
        ),
        "entity template": preset.features.entity_template,
    }
