"""`dualway link`: one mention from the command line, or many from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dualway.cli.candidates import open_candidates
from dualway.cli.output import JsonFlag, Output, QuietFlag
from dualway.text import repair

if TYPE_CHECKING:
    from dualway.datasets.candidate_files import CandidateFile
    from dualway.linker import Linker
    from dualway.schema import Link

NO_PICTURES = "this model does not read pictures, so the picture plays no part; train with --set encoders.image=MODEL"


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
    regions: Annotated[
        Path | None, typer.Option(help="JSONL file of objects, faces and labels found in the pictures.")
    ] = None,
    candidates: Annotated[
        Path | None, typer.Option(help="A file (or data set) with each mention's candidates, in place of retrieval.")
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Link a mention of a caption, or a file of mentions; a killed job goes on when the same command is given again."""
    output = Output(json=json, quiet=quiet)
    _refuse(
        {
            "give either --text CAPTION or --in FILE": (text is None) == (in_ is None),
            "give --run RUN (a trained model) or --kb KB (untrained)": run is None and kb is None,
            "--in needs --out FILE for the links": in_ is not None and out is None,
            "--mention goes with --text; in a file every line names its own": in_ is not None and mention is not None,
            "--image goes with --text; in a file every line names its own": in_ is not None and image is not None,
            "--out goes with --in; a caption's links are printed (add --json)": text is not None and out is not None,
            "--regions goes with --run; the untrained linker reads no pictures": regions is not None and run is None,
            "--seed chooses among the models of a run; give --run RUN": seed is not None and run is None,
        }
    )
    given = open_candidates(candidates, False, output)

    def load() -> Linker:
        return load_linker(run, kb, seed, regions, given, output)

    if in_ is not None:
        _link_file(load, in_, out or Path(), k or 100, output)
        return
    caption, surface = repair(text or ""), None if mention is None else repair(mention)
    _check_mention(caption, surface)
    linker = load()
    if image is not None and not linker.reads_pictures:
        output.note(NO_PICTURES)
    links = _link_text(linker, caption, surface, image, k or (100 if json else 5))
    output.result({"links": [_record(link) for link in links]})
    output.show("\n".join(_describe(link) for link in links) or "no mention found in the caption")


def _refuse(mistakes: dict[str, bool]) -> None:
    from dualway.errors import UsageError

    for remedy, made in mistakes.items():
        if made:
            raise UsageError(remedy)


def load_linker(
    run: Path | None,
    kb: Path | None,
    seed: int | None,
    regions: Path | None,
    given: CandidateFile | None,
    output: Output,
) -> Linker:
    """Load what a command links with, and show how it goes."""
    from dualway.linker import Linker

    with output.progress("features") as encoding:
        if run is None:
            return Linker.from_kb(kb or Path(), meter=encoding.update, candidates=given)
        return Linker.load(
            run, kb=kb, seed=seed, regions=regions, candidates=given, note=output.note, meter=encoding.update
        )


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


def _link_file(load: Callable[[], Linker], source: Path, target: Path, k: int, output: Output) -> None:
    from dualway.datasets import open_dataset
    from dualway.linking.batch import link_file
    from dualway.storage import check_target

    check_target(target)
    dataset = open_dataset(source)  # a broken line is told before anything is loaded
    linker = load()
    with output.progress("mentions linked") as meter:
        summary = link_file(linker, source, target, k=k, note=output.note, progress=meter.update, dataset=dataset)
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
    lines = [f"{_short(mention.surface, 60)}  ({_short(mention.text, 200)})"]
    for place, candidate in enumerate(link.candidates, start=1):
        evidence = "  ".join(f"{name} {value:.2f}" for name, value in candidate.evidence.items())
        lines.append(f"  {place:2}. {candidate.score:6.3f}  {candidate.entity_id:<10} {candidate.name:<40} {evidence}")
    if not link.candidates:
        lines.append("  nothing in the knowledge base has a name like this")
    return "\n".join(lines)


def _short(text: str, width: int) -> str:
    line = " ".join(text[: 2 * width].split())
    return line if len(line) <= width else line[: width - 1] + "…"
