"""`dualway demo`: five captions linked against a small knowledge base, from files to links."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dualway.cli.output import JsonFlag, Output, QuietFlag


def demo(json: JsonFlag = False, quiet: QuietFlag = False) -> None:
    """Build the bundled example knowledge base and link five captions, untrained."""
    from dualway.datasets import open_dataset
    from dualway.example import CAPTIONS, ENTITIES
    from dualway.kb.files import build_from_files
    from dualway.linker import Linker
    from dualway.linking.batch import link_record

    output = Output(json=json, quiet=quiet)
    with tempfile.TemporaryDirectory(prefix="dualway-demo-") as folder:
        build_from_files(ENTITIES, Path(folder) / "kb", form="jsonl")
        captions = open_dataset(CAPTIONS)
        linker = Linker.from_kb(Path(folder) / "kb")
        links = linker.link(captions.mentions)
        names = len(linker.kb)
        linker.kb.close()
    output.result({"links": [link_record(link) for link in links]})
    output.show(f"A knowledge base of {names} entities, five captions, no training:\n")
    for link in links:
        best = link.candidates[0]
        rivals = ", ".join(f"{c.name} {c.score:.2f}" for c in link.candidates[1:3])
        parts = ", ".join(f"{name} {value:.2f}" for name, value in best.evidence.items())
        output.show(f"  {link.mention.text}")
        output.show(f"    {link.mention.surface} -> {best.entity_id} {best.name} {best.score:.2f}  ({parts})")
        output.show(f"    next: {rivals}\n")
    output.show(
        "Then on your own files:\n"
        "  dualway kb build --from jsonl entities.jsonl --out kbs/mine\n"
        "  dualway link --kb kbs/mine --in mentions.jsonl --out links.jsonl\n"
        "  dualway train --data DATA --kb kbs/mine --out runs/mine"
    )
