"""`dualway kb`: build a knowledge base from files, look into one; `kb_pictures` and `kb_changes` change it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dualway.cli import kb_changes, kb_texts
from dualway.cli.kb_pictures import gallery_lines, pictures
from dualway.cli.output import JsonFlag, Output, QuietFlag

if TYPE_CHECKING:
    from dualway.kb.files import BuildReport
    from dualway.kb.store import KnowledgeBase
    from dualway.schema import Entity

app = typer.Typer(help="Build a knowledge base, look into it, give it pictures.", no_args_is_help=True)
app.command("pictures")(pictures)
kb_changes.register(app)
kb_texts.register(app)


@app.command()
def build(
    source: Annotated[
        Path, typer.Argument(help="A folder of a published set's entity files, or a .jsonl, .csv or .tsv file.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make; must not exist, or be empty.")],
    form: Annotated[
        str,
        typer.Option("--from", help="ghmfc, kgmel, wikidiverse, mimic, jsonl or csv; auto tells it from the files."),
    ] = "auto",
    representation: Annotated[
        str | None,
        typer.Option(
            help="Kinds of text that stand for an entity, with commas: static,properties.", show_default=False
        ),
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Build a knowledge base from files, whole or not at all."""
    from dualway.errors import UsageError
    from dualway.index.names import index_names
    from dualway.kb.files import build_from_files

    output = Output(json=json, quiet=quiet)
    kinds = [kind.strip() for kind in (representation or "").split(",") if kind.strip()]
    if representation is not None and not kinds:
        raise UsageError(f"--representation {representation!r}: names no kind; write for example properties,static")
    with output.progress("entities written") as meter:
        report = build_from_files(source, out, form=form, representation=kinds, progress=meter.update)
    with output.progress("names indexed", report.manifest.counts["entities"]) as meter:
        index_names(out, progress=meter.update)
    output.result(report.to_dict())
    output.show(_build_text(report))


@app.command()
def show(
    kb: Annotated[Path, typer.Argument(help="The folder of a knowledge base.")],
    entity: Annotated[
        str | None, typer.Argument(help="An id, or an exact name: every entity of that name is shown.")
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Show what a knowledge base holds, or the whole record of an entity."""
    from dualway.kb.store import KnowledgeBase

    output = Output(json=json, quiet=quiet)
    with KnowledgeBase.open(kb) as opened:
        if entity is None:
            output.result({"path": str(kb), **asdict(opened.manifest), "gallery": asdict(opened.picture_counts())})
            output.show(_summary_text(opened))
            return
        found, kept_out = _find(opened, entity), opened.kept_out
    records = [{**asdict(record), "kept_out": record.id in kept_out} for record in found]
    output.result({"path": str(kb), "entities": records})
    output.show("\n\n".join(_record_text(record, record.id in kept_out) for record in found))


def _find(kb: KnowledgeBase, entity: str) -> list[Entity]:
    from dualway.errors import KnowledgeBaseError

    ids = [entity] if entity in kb else kb.ids_named(entity)
    if not ids:
        raise KnowledgeBaseError(f"{kb.path}: no entity has the id or the exact name {entity!r}")
    return [kb.entity(entity_id) for entity_id in ids]


def _build_text(report: BuildReport) -> str:
    manifest = report.manifest
    lines = [
        f"{report.path}: {manifest.counts['entities']:,} entities from {report.source} ({report.form}) "
        f"in {report.seconds:.1f} s",
        *_count_lines(manifest.counts, manifest.representation),
        *_reading_lines(report.reading),
        f"fingerprints  compatibility {manifest.compatibility}, content {manifest.content}",
    ]
    return "\n".join(lines)


def _summary_text(kb: KnowledgeBase) -> str:
    manifest, last = kb.manifest, kb.revisions()[-1]
    changed = f"; last changed {last.time}: {last.what}" if last.number > 1 else ""
    lines = [
        f"{kb.path}: {len(kb):,} entities from {manifest.source or 'unknown source'}",
        *_count_lines(manifest.counts, manifest.representation),
        *gallery_lines(kb.picture_counts()),
        f"revision      {manifest.revision}, built {manifest.created} by dualway {manifest.dualway}{changed}",
        f"fingerprints  compatibility {manifest.compatibility}, content {manifest.content}",
    ]
    return "\n".join(lines)


def _count_lines(counts: Any, representation: tuple[str, ...]) -> list[str]:
    texts = ", ".join(f"{kind} of {n:,}" for kind, n in counts["representations"].items()) or "none"
    return [
        f"homonyms      {counts['homonyms']:,} entities share {counts['shared_names']:,} names",
        f"aliases       {counts['aliases']:,}",
        f"types         {counts['types']:,}",
        f"pictures      {counts['pictures']:,}",
        f"texts         {texts}",
        f"represented   by {' + '.join(representation) or 'the name alone'}; "
        f"{counts['without_text']:,} without such a text fall back to their name",
    ]


def _reading_lines(reading: dict[str, Any]) -> list[str]:
    return [
        f"{what:<13} {tally['count']:,} {reason}"
        for what in ("dropped", "repaired", "notes")
        for reason, tally in reading[what].items()
    ]


def _record_text(entity: Entity, kept_out: bool) -> str:
    lines = [f"{entity.id}  {entity.name}"]
    if entity.aliases:
        lines.append(f"  aliases: {' | '.join(entity.aliases)}")
    if entity.types:
        lines.append(f"  types: {' | '.join(entity.types)}")
    for text in entity.representations:
        origin = ", ".join(filter(None, (text.source, text.language, text.revision, text.licence)))
        lines.append(f"  {text.kind}{f' ({origin})' if origin else ''}: {text.text}")
    for picture in entity.pictures:
        origin = ", ".join(filter(None, (picture.source, picture.licence or "no licence stated")))
        lines.append(f"  picture ({origin}): {picture.path}")
    if kept_out:
        lines.append("  kept out: its pictures are compared with nothing")
    return "\n".join(lines)
