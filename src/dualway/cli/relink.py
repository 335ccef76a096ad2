"""`dualway relink`: links made again where a change of the knowledge base can touch them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dualway.cli.candidates import open_candidates
from dualway.cli.link import load_linker
from dualway.cli.output import JsonFlag, Output, QuietFlag

if TYPE_CHECKING:
    from dualway.linking.relink import RelinkReport

_SHOWN = 20


def relink(
    links: Annotated[Path, typer.Argument(help="links.jsonl, as `dualway link --out` wrote it.")],
    in_: Annotated[Path, typer.Option("--in", help="The mentions that were linked.")],
    run: Annotated[Path | None, typer.Option(help="The trained run that made the links.")] = None,
    kb: Annotated[Path | None, typer.Option(help="A knowledge base: untrained, or in the run's place.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where they go; by default in their place.")] = None,
    k: Annotated[
        int | None, typer.Option("-k", help="Candidates a mention; by default as many as the links keep.", min=1)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Make all links again, another model's too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell how many would be, and why.")] = False,
    seed: Annotated[int | None, typer.Option(help="Which of the run's models; the first by default.")] = None,
    regions: Annotated[Path | None, typer.Option(help="The regions file that the links were made with.")] = None,
    candidates: Annotated[Path | None, typer.Option(help="The candidate file that they were made with.")] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Make those links again that a change of the knowledge base can touch; the others stay."""
    from dualway.datasets import open_dataset
    from dualway.linking.relink import relink_file

    _check_call(run, kb, seed, regions)
    output = Output(json=json, quiet=quiet)
    dataset = open_dataset(in_)  # a broken line is told before anything is loaded
    linker = load_linker(run, kb, seed, regions, open_candidates(candidates, False, output), output)
    with output.progress("links made again") as meter:
        report = relink_file(
            linker,
            links,
            in_,
            out,
            k=k,
            everything=everything,
            dry_run=dry_run,
            note=output.note,
            progress=meter.update,
            dataset=dataset,
        )
    output.result({**report.to_dict(), "dry_run": dry_run, "path": str(out or links)})
    output.show(_text(out or links, report, dry_run))


def _check_call(run: Path | None, kb: Path | None, seed: int | None, regions: Path | None) -> None:
    from dualway.errors import UsageError

    if run is None and kb is None:
        raise UsageError("give --run RUN (a trained model) or --kb KB (untrained)")
    if seed is not None and run is None:
        raise UsageError("--seed chooses among the models of a run; give --run RUN")
    if regions is not None and run is None:
        raise UsageError("--regions goes with --run; the untrained linker reads no pictures")


def _text(links: Path, report: RelinkReport, dry_run: bool) -> str:
    lines = [f"{count:>8,}  {reason}" for reason, count in report.reasons.items()]
    lines += [
        f"{mention}: {before or 'no entity'} -> {after or 'no entity'}"
        for mention, (before, after) in list(report.changed.items())[:_SHOWN]
    ]
    if len(report.changed) > _SHOWN:
        lines.append(f"{len(report.changed) - _SHOWN:,} more; --json lists all")
    made = "would be made again" if dry_run else f"made again, {len(report.changed):,} with another answer"
    lines.append(
        f"{links}: {report.links:,} links of at most {report.k} candidates, {report.current:,} of the present content, "
        f"{report.untouched:,} that no change can touch, {report.redone:,} {made}"
    )
    return "\n".join(lines)
