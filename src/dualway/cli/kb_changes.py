"""`dualway kb add|remove|represent|diff|verify|optimise|backup|restore`: a knowledge base that lives."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dualway.cli.output import JsonFlag, Output, QuietFlag

if TYPE_CHECKING:
    from dualway.index.erasing import Erasure
    from dualway.kb.history import EntityChange
    from dualway.kb.verifying import Verification

KbArgument = Annotated[Path, typer.Argument(help="The folder of a knowledge base.")]

_SHOWN = 20  # entities that are listed for people
_FOUND = 1  # exit code of `verify` where something is wrong


def add(
    kb: KbArgument,
    source: Annotated[Path, typer.Argument(help="A file or folder of entities, of any form that `kb build` reads.")],
    form: Annotated[str, typer.Option("--from", help="As for `kb build`; auto tells it from the files.")] = "auto",
    on_existing: Annotated[
        str, typer.Option(help="What becomes of an id that is there with another record: stop, keep, replace or merge.")
    ] = "stop",
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Add entities, in one revision or not at all."""
    from dualway.kb.adding import add_entities
    from dualway.kb.files import opened_source

    output = Output(json=json, quiet=quiet)
    with opened_source(source, form) as (entities, reading), output.progress("entities added") as meter:
        report = add_entities(kb, entities, on_existing=on_existing, progress=meter.update)
    output.result({"path": str(kb), **report.to_dict(), "reading": reading.to_dict()})
    output.show(
        f"{kb}: {len(report.added):,} added, {len(report.replaced):,} changed, {report.unchanged:,} as they were, "
        f"{report.kept:,} kept as they were against the file; revision {report.revision}"
    )


def remove(
    kb: KbArgument,
    entity: Annotated[list[str] | None, typer.Argument(help="Ids of entities to remove.")] = None,
    ids: Annotated[Path | None, typer.Option(help="A file of further ids, one a line.")] = None,
    erase: Annotated[
        bool,
        typer.Option("--erase", help="Nothing of them stays: not in earlier revisions, galleries, indexes, caches."),
    ] = False,
    features: Annotated[
        list[Path] | None, typer.Option(help="With --erase: a feature store that they leave too; may be repeated.")
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Remove entities, in one revision or not at all; with --erase, show that no byte of them is left."""
    from dualway.errors import UsageError

    output = Output(json=json, quiet=quiet)
    wanted = [*(entity or []), *([] if ids is None else _read_ids(ids))]
    if not wanted:
        raise UsageError("no id of an entity to remove; give some, or a file of them with --ids")
    if features and not erase:
        raise UsageError("--features goes with --erase: features of a removed entity are made anew in any case")
    if not erase:
        from dualway.kb.adding import remove_entities

        removed, revision = remove_entities(kb, wanted)
        output.result({"path": str(kb), "revision": revision, "removed": [record.id for record in removed]})
        output.show(f"{kb}: {len(removed):,} entities removed; revision {revision}")
        return
    from dualway.index.erasing import erase_entities

    erasure = erase_entities(kb, wanted, stores=features or [])
    output.result({"path": str(kb), **erasure.to_dict()})
    output.show(_erasure_text(kb, erasure))


def represent(
    kb: KbArgument,
    kinds: Annotated[str, typer.Argument(help="Kinds of text that stand for an entity, with commas.")],
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Choose the texts that stand for an entity: Wiki and Wiki-S are two choices for one knowledge base."""
    from dualway.errors import UsageError
    from dualway.kb.changes import changing
    from dualway.kb.store import KnowledgeBase

    output = Output(json=json, quiet=quiet)
    chosen = tuple(filter(None, (kind.strip() for kind in kinds.split(","))))
    if not chosen:
        raise UsageError(f"{kinds!r} names no kind of text; write for example static,properties")
    with changing(kb) as change:
        change.describe(f"represented by {' + '.join(chosen)}")
        changed = change.represent(chosen)
    with KnowledgeBase.open(kb) as opened:
        manifest = opened.manifest
    output.result(
        {
            "path": str(kb),
            "changed": changed,
            "representation": list(manifest.representation),
            "without_text": manifest.counts["without_text"],
            "compatibility": manifest.compatibility,
        }
    )
    output.show(
        f"{kb}: represented by {' + '.join(manifest.representation)}; {manifest.counts['without_text']:,} entities "
        f"without such a text; compatibility {manifest.compatibility}"
    )


def diff(
    kb: KbArgument,
    since: Annotated[int | None, typer.Argument(help="The older revision; by default the last but one.")] = None,
    until: Annotated[int | None, typer.Argument(help="The newer revision; by default the present one.")] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Show what differs between two revisions."""
    from dualway.kb.store import KnowledgeBase

    output = Output(json=json, quiet=quiet)
    with KnowledgeBase.open(kb) as opened:
        until = opened.revision if until is None else until
        since = max(until - 1, 1) if since is None else since
        changes = list(opened.differences(since, until))
        revisions = [revision for revision in opened.revisions() if since < revision.number <= until]
    output.result(
        {"path": str(kb), "since": since, "until": until, "changes": [_change_record(change) for change in changes]}
    )
    output.show(
        "\n".join(
            [
                *(f"revision {revision.number}, {revision.time}: {revision.what}" for revision in revisions),
                *(_change_line(change) for change in changes[:_SHOWN]),
                *([f"{len(changes) - _SHOWN:,} more; --json lists all"] if len(changes) > _SHOWN else []),
                f"{kb}, revision {since} to {until}: {_change_counts(changes)}",
            ]
        )
    )


def verify(
    kb: KbArgument,
    mend: Annotated[
        bool, typer.Option("--mend", help="Remove what a crash left, count again, make damaged indexes anew.")
    ] = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Compare every record with its hash, and what belongs to the knowledge base with its records."""
    from dualway.index.verifying import verify_all

    output = Output(json=json, quiet=quiet)
    found = verify_all(kb, mend=mend)
    output.result({"path": str(kb), **found.to_dict()})
    output.show(_verification_text(kb, found))
    if not found.is_clean:
        raise typer.Exit(_FOUND)


def optimise(
    kb: KbArgument,
    forget_history: Annotated[
        bool, typer.Option("--forget-history", help="Also erase what records were in earlier revisions.")
    ] = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Write the files of a knowledge base anew, without gaps, and its index of names."""
    from dualway.index.names import optimise as optimise_all

    output = Output(json=json, quiet=quiet)
    before, after = optimise_all(kb, forget_history=forget_history)
    output.result({"path": str(kb), "bytes_before": before, "bytes": after})
    output.show(f"{kb}: {before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB now")


def backup(
    kb: KbArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="The .zip file to write.")],
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Write a knowledge base into one file; who is changing it is not disturbed."""
    from dualway.kb.backups import back_up

    output = Output(json=json, quiet=quiet)
    manifest = back_up(kb, out)
    output.result({"path": str(out), "revision": manifest.revision, "content": manifest.content})
    output.show(f"{out}: revision {manifest.revision} of {kb}, {manifest.counts['entities']:,} entities")


def restore(
    archive: Annotated[Path, typer.Argument(help="A file that `kb backup` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make; must not exist, or be empty.")],
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Make a knowledge base from a backup, every record checked, whole or not at all."""
    from dualway.kb.backups import restore as restore_from

    output = Output(json=json, quiet=quiet)
    manifest = restore_from(archive, out)
    output.result({"path": str(out), "revision": manifest.revision, "content": manifest.content})
    output.show(f"{out}: revision {manifest.revision}, {manifest.counts['entities']:,} entities from {archive}")


def register(app: typer.Typer) -> None:
    """Add these commands to `dualway kb`."""
    for command in (add, remove, represent, diff, verify, optimise, backup, restore):
        app.command(command.__name__)(command)


def _read_ids(path: Path) -> list[str]:
    from dualway.storage import read_text

    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def _change_record(change: EntityChange) -> dict[str, Any]:
    from dataclasses import asdict

    return {"what": change.what, "parts": list(change.parts), **asdict(change)}


def _change_line(change: EntityChange) -> str:
    record = change.after or change.before
    name = "" if record is None else record.name
    was = f" (was {change.before.name})" if "name" in change.parts and change.before is not None else ""
    parts = f": {', '.join(change.parts)}" if change.parts else ""
    return f"{change.what:<8} {change.id}  {name}{was}{parts}"


def _change_counts(changes: list[EntityChange]) -> str:
    counts = Counter(change.what for change in changes)
    return ", ".join(f"{counts[what]:,} {what}" for what in ("added", "changed", "removed"))


def _verification_text(kb: Path, found: Verification) -> str:
    lines = [f"problem   {problem}" for problem in found.problems]
    lines += [f"left      {name}: by a process that was killed; --mend removes it" for name in found.leftovers]
    lines += [f"mended    {what}" for what in found.mended]
    state = "clean" if found.is_clean else "not clean"
    return "\n".join([*lines, f"{kb}: {state}, {found.entities:,} records compared with their hashes"])


def _erasure_text(kb: Path, erasure: Erasure) -> str:
    lines = [
        f"{kb}: {len(erasure.erased):,} entities erased; revision {erasure.revision}",
        f"galleries     {erasure.gallery_vectors:,} vectors erased",
        f"text vectors  {erasure.text_vectors:,} erased from the cache",
        f"proof         {erasure.searched_bytes:,} bytes of {erasure.searched_files:,} files searched for "
        f"{erasure.searched_for:,} texts, names and paths: {len(erasure.still_found):,} found",
    ]
    lines += [f"  {where}" for where in erasure.still_found]
    lines += [f"features      {line}" for line in erasure.stores]
    lines.append(
        "not reached   the pictures' own files, backups and copies of the folder, what other processes have open"
    )
    return "\n".join(lines)
