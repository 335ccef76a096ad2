"""`dualway demo --real`: published text and models, shown before they are downloaded; for machines with a network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dualway.datasets import list_splits, open_dataset
from dualway.demo.material import Material, Voice, claim, open_own
from dualway.demo.published import Converted, Published, convert_melbench, fetch_published
from dualway.demo.screens import DemoOptions
from dualway.demo.steps import evaluate_run, last_screen, make_preset, train_paper, write_page
from dualway.downloads.planning import Plan
from dualway.errors import UsageError
from dualway.systems.zero_shot import ZeroShotClip

DATA, CLIP, DETECTOR = "melbench", "clip-vit-b32", "rtdetr-v2-r18"


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
    claim(options.out, options.data, options.settings())
    material = _own(options, options.data, voice) if options.data else _melbench(options, published, voice)
    material = _with_remarks(material, published)
    clip, detector = (str(published.paths[name].resolve()) for name in (CLIP, DETECTOR))
    preset = make_preset(material, text=clip, image=clip, detector=detector)
    run = train_paper(material, preset, options.out / "run", voice)
    evaluation, shown = evaluate_run(material, run, voice, lambda _: ZeroShotClip())
    path = options.out / "report.html"
    settings = {"downloads": _licences(published)}
    write_page(material, run, evaluation, shown, path, settings=settings, pictures=options.pictures)
    seconds = time.perf_counter() - began
    voice.show(last_screen(material, run, path, seconds))
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


def _licences(published: Published) -> str:
    return "; ".join(
        f"{entry.name} at {entry.revision[:12]} (licence: {entry.licence})" for entry in published.plan.entries
    )
