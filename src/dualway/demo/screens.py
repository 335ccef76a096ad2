"""The screens of the demo, in their order: five links at once, a trained model, its figures, a report, what is next."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualway import __version__
from dualway.datasets import open_dataset
from dualway.demo.material import Material, Voice, claim, make_world, open_own
from dualway.demo.steps import evaluate_run, last_screen, make_preset, train_paper, write_page
from dualway.example import CAPTIONS, ENTITIES
from dualway.kb.files import build_from_files
from dualway.linker import Linker
from dualway.linking.batch import link_record
from dualway.schema import Link, Mention

_CAPTIONS_SHOWN = 5


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

    def settings(self) -> dict[str, Any]:
        """Return what the results depend on, beside the data."""
        encoders = [self.text_encoder, self.image_encoder, self.detector]
        return {"limit": self.limit, "encoders": encoders, "version": __version__}


def run_demo(options: DemoOptions, voice: Voice) -> dict[str, Any]:
    """Run all screens and return what they came to, as JSON values.

    Raises:
        DualwayError: As the commands that it stands for.
    """
    began = time.perf_counter()
    claim(options.out, options.data, options.settings())
    if options.data is None:
        links = _link_examples(options.out, voice)
        material = make_world(options.out, voice)
    else:
        material = open_own(options.data, options.out, options.limit, voice)
        links = _link_own(material, voice)
    preset = make_preset(material, text=options.text_encoder, image=options.image_encoder, detector=options.detector)
    run = train_paper(material, preset, options.out / "run", voice)
    evaluation, shown = evaluate_run(material, run, voice, lambda pipeline: pipeline.untrained())
    path = options.out / "report.html"
    write_page(material, run, evaluation, shown, path, settings={}, pictures=options.pictures)
    seconds = time.perf_counter() - began
    voice.show(last_screen(material, run, path, seconds))
    return {
        "links": links,
        "run": str(run.folder),
        "report": str(path),
        "seconds": round(seconds, 1),
        "evaluation": evaluation.to_dict(),
        "ceilings": {ceiling.name: ceiling.value for ceiling in material.ceilings},
        "caveats": list(material.caveats),
    }


def _link_examples(out: Path, voice: Voice) -> list[dict[str, Any]]:
    """Screen 1 on the bundled examples: links before anything is trained."""
    kb = out / "example-kb"
    if not (kb / "manifest.json").is_file():
        build_from_files(ENTITIES, kb, form="jsonl")
    return _show_links(kb, open_dataset(CAPTIONS).mentions, voice)


def _link_own(material: Material, voice: Voice) -> list[dict[str, Any]]:
    """Screen 1 on the user's own captions."""
    by_caption = {mention.text: mention for mention in reversed(open_dataset(material.folder, "dev").mentions)}
    return _show_links(material.kb, list(by_caption.values())[::-1][:_CAPTIONS_SHOWN], voice)


def _show_links(kb: Path, mentions: Sequence[Mention], voice: Voice) -> list[dict[str, Any]]:
    with voice.progress("features") as meter:
        linker = Linker.from_kb(kb, meter=meter.update)
        links = linker.link(list(mentions))
    voice.show(f"{len(links)} captions against a knowledge base of {len(linker.kb):,} entities, before any training:\n")
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
    return "\n".join([*lines, f"    next: {rivals or 'no other candidate'}\n"])
