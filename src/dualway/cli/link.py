"""`dualway link`: one mention from the command line, or many from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dualway.cli.output import JsonFlag, Output, QuietFlag

if TYPE_CHECKING:
    from dualway.linker import Linker
    from dualway.schema import Link


def link(
    run: Annotated[Path | None, typer.Option(help="A trained run.")] = None,
    kb: Annotated[Path | None, typer.Option(help="A knowledge base: untrained, or in place of the run's own.")] = None,
    text: Annotated[str | None, typer.Option(help="A caption.")] = None,
    mention: Annotated[
        str | None, typer.Option(help="The mention in it; without one, mentions are found by the KB's names.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="The caption's picture.")] = None,
    in_: Annotated[Path | None, typer.Option("--in", help="mentions.jsonl, one mention a line.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="links.jsonl, one link a line.")] = None,
    k: Annotated[
        int | None, typer.Option("-k", help="Candidates a mention; 100 in files, 5 on the terminal.", min=1)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Which of the run's models; the first by default.")] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Link a mention of a caption, or a file of mentions; a killed job goes on when the same command is given again."""
    from dualway.errors import UsageError

    output = Output(json=json, quiet=quiet)
    if (text is None) == (in_ is None):
        raise UsageError("give either --text CAPTION or --in FILE")
    if run is None and kb is None:
        raise UsageError("give --run RUN (a trained model) or --kb KB (untrained)")
    if in_ is not None:
        if out is None:
            raise UsageError("--in needs --out FILE for the links")
        _link_file(_load(run, kb, seed, output), in_, out, 100 if k is None else k, output)
        return
    _check_mention(text or "", mention)
    linker = _load(run, kb, seed, output)
    links = _link_text(linker, text or "", mention, image, 100 if k is None and json else k or 5)
    output.result({"links": [_record(link) for link in links]})
    output.show("\n".join(_describe(link) for link in links) or "no mention found in the caption")


def _load(run: Path | None, kb: Path | None, seed: int | None, output: Output) -> Linker:
    from dualway.linker import Linker

    meter = output.progress("texts encoded")
    with meter as encoding:
        if run is not None:
            return Linker.load(run, kb=kb, seed=seed, note=output.note, meter=encoding.update)
        return Linker.from_kb(kb or Path())


def _check_mention(text: str, mention: str | None) -> None:
    from dualway.errors import UsageError

    if not text.strip():
        raise UsageError("--text is empty; give the caption")
    if mention is not None and not mention.strip():
        raise UsageError("--mention is empty; name what is to be linked")
    if mention is not None and mention not in text:
        raise UsageError(f"--mention {mention!r} does not occur in --text; write it as it stands there")


def _link_text(linker: Linker, text: str, mention: str | None, image: Path | None, k: int) -> list[Link]:
    from dualway.schema import Mention

    if mention is None:
        return linker.link_caption(text, image=image, k=k)
    start = text.index(mention)
    picture = None if image is None else str(image)
    return linker.link([Mention(text, mention, "0", start, start + len(mention), image=picture)], k)


def _link_file(linker: Linker, source: Path, target: Path, k: int, output: Output) -> None:
    from dualway.linking.batch import link_file

    with output.progress("mentions linked") as meter:
        summary = link_file(linker, source, target, k=k, note=output.note, progress=meter.update)
    output.result(summary)
    output.show(
        f"{target}: {summary['mentions']:,} links, {summary['nil']:,} without an entity, "
        f"{summary['resumed']:,} of them from an earlier, interrupted run"
    )


def _record(link: Link) -> dict[str, Any]:
    from dualway.linking.batch import link_record

    return link_record(link)


def _describe(link: Link) -> str:
    mention = link.mention
    lines = [f"{mention.surface}  ({mention.text})"]
    for place, candidate in enumerate(link.candidates, start=1):
        evidence = "  ".join(f"{name} {value:.2f}" for name, value in candidate.evidence.items())
        lines.append(f"  {place:2}. {candidate.score:6.3f}  {candidate.entity_id:<10} {candidate.name:<40} {evidence}")
    if not link.candidates:
        lines.append("  nothing in the knowledge base has a name like this")
    return "\n".join(lines)
