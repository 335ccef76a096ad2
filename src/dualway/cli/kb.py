"""`dualway kb`: look into a knowledge base; `kb_build` makes, `kb_pictures`, `kb_texts` and `kb_changes` change one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dualway.cli import kb_changes, kb_texts
from dualway.cli.kb_build import build, count_lines
from dualway.cli.kb_pictures import gallery_lines, pictures
from dualway.cli.output import JsonFlag, Output, QuietFlag

if TYPE_CHECKING:
    from dualway.kb.store import KnowledgeBase
    from dualway.schema import Entity

app = typer.Typer(help="Build a knowledge base, look into it, give it pictures.", no_args_is_help=True)
app.command("build")(build)
app.command("pictures")(pictures)
kb_changes.register(app)
kb_texts.register(app)


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


def _summary_text(kb: KnowledgeBase) -> str:
    manifest, last = kb.manifest, kb.revisions()[-1]
    changed = f"; last changed {last.time}: {last.what}" if last.number > 1 else ""
    lines = [
        f"{kb.path}: {len(kb):,} entities from {manifest.source or 'unknown source'}",
        *count_lines(manifest.counts, manifest.representation),
        *gallery_lines(kb.picture_counts()),
        f"revision      {manifest.revision}, built {manifest.created} by dualway {manifest.dualway}{changed}",
        f"fingerprints  compatibility {manifest.compatibility}, content {manifest.content}",
    ]
    return "\n".join(lines)


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
