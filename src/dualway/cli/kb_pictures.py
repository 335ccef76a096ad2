"""`dualway kb pictures`: pictures of entities, with source and licence; and who is kept out of galleries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dualway.cli.output import JsonFlag, Output, QuietFlag

if TYPE_CHECKING:
    from dualway.kb.fetched_pictures import FetchReport
    from dualway.kb.picture_map import PictureMap
    from dualway.kb.pictures import People, PictureReport
    from dualway.kb.store import KnowledgeBase, PictureCounts

_SHOWN = 20


def pictures(
    kb: Annotated[Path, typer.Argument(help="The folder of a knowledge base.")],
    map_: Annotated[
        Path | None,
        typer.Option("--map", help="A file of ids and pictures, .tsv or .csv; source and licence as you have them."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="The folder that its paths start from; by default the file's own.")
    ] = None,
    on_error: Annotated[
        str, typer.Option(help="Lines that cannot be taken: stop and change nothing, or drop them.")
    ] = "stop",
    replace: Annotated[
        bool, typer.Option("--replace", help="The given pictures of an entity replace all that it has.")
    ] = False,
    keep_out: Annotated[
        list[str] | None, typer.Option(help="An id: its pictures are compared with nothing; may be repeated.")
    ] = None,
    admit: Annotated[
        list[str] | None, typer.Option(help="An id that was kept out or erased, to be let in again; may be repeated.")
    ] = None,
    erase: Annotated[
        list[str] | None,
        typer.Option(help="An id: its pictures and their vectors are removed, none are taken; may be repeated."),
    ] = None,
    fetch: Annotated[
        Path | None,
        typer.Option(help="A folder: the pictures that the entities name are fetched into it from Wikimedia Commons."),
    ] = None,
    user_agent: Annotated[
        str | None,
        typer.Option(help="Who fetches, with a contact: NAME/1.0 (you@example.org); or DUALWAY_USER_AGENT."),
    ] = None,
    width: Annotated[int, typer.Option(help="Wider pictures come scaled down to about this width.", min=1)] = 960,
    limit: Annotated[int | None, typer.Option(help="Fetch at most so many pictures.", min=1)] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="The api.php of another wiki than Wikimedia Commons, or of a mirror.")
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Give entities their pictures, keep people out of the gallery, erase them.

    Without an option: say what the gallery holds.
    """
    from dualway.kb.pictures import People, change_pictures, check_ids
    from dualway.kb.store import KnowledgeBase

    output = Output(json=json, quiet=quiet)
    _check_call(on_error, map_, root, replace)
    people = People(keep_out or (), admit or (), erase or ())
    asked = _Fetch(fetch, user_agent, width, limit, endpoint)
    if fetch is not None or asked != _Fetch():
        _check_fetch(asked, map_, people)
        _fetch(kb, asked, output)
        return
    with KnowledgeBase.open(kb) as opened:
        check_ids(opened, people)
        given = None if map_ is None else _read_map(map_, root, opened, people, output)
    report = None
    if given is not None and given.problems:
        _tell_problems(given, on_error, output)
    if given is not None or people:
        with output.progress("pictures put in", None if given is None else len(given.rows)) as meter:
            report = change_pictures(kb, given, replace=replace, people=people, progress=meter.update)
    vectors = _erase_vectors(kb, people.erase)
    with KnowledgeBase.open(kb) as opened:
        counts, revision = opened.picture_counts(), opened.revision
    output.result(_record(kb, revision, counts, given, report, vectors))
    output.show("\n".join([*_report_lines(given, report, vectors), *gallery_lines(counts)]))


def gallery_lines(counts: PictureCounts) -> list[str]:
    """Return what a gallery would hold, for people."""
    return [
        f"gallery       {counts.pictures:,} pictures of {counts.entities:,} entities, "
        f"{counts.without_licence:,} without a licence",
        f"kept out      {counts.kept_out:,} entities ({counts.erased:,} of them erased) "
        f"with {counts.kept_out_pictures:,} pictures",
    ]


class _Fetch(NamedTuple):
    """What is to be fetched, and how."""

    folder: Path | None = None
    user_agent: str | None = None
    width: int = 960
    limit: int | None = None
    endpoint: str | None = None


def _check_fetch(asked: _Fetch, map_: Path | None, people: People) -> None:
    from dualway.errors import UsageError

    if asked.folder is None:
        raise UsageError(
            "--user-agent, --width, --limit and --endpoint say how to fetch pictures; say where by --fetch"
        )
    if map_ is not None or people:
        raise UsageError("--fetch goes alone: give --map, --keep-out, --admit and --erase in a call of their own")


def _fetch(kb: Path, asked: _Fetch, output: Output) -> None:
    from dualway.kb.fetched_pictures import fetch_pictures
    from dualway.kb.store import KnowledgeBase
    from dualway.sources.commons import COMMONS

    assert asked.folder is not None
    with output.progress("pictures") as meter:
        report = fetch_pictures(
            kb,
            asked.folder,
            user_agent=asked.user_agent,
            limit=asked.limit,
            width=asked.width,
            endpoint=asked.endpoint or COMMONS,
            progress=meter.update,
        )
    for problem in report.problems[:_SHOWN]:
        output.note(f"{problem.entity_id}: {problem.name!r}: {problem.problem}")
    if len(report.problems) > _SHOWN:
        output.note(f"{len(report.problems) - _SHOWN:,} more were not taken; --json lists them all")
    with KnowledgeBase.open(kb) as opened:
        counts = opened.picture_counts()
    output.result({"path": str(kb), **report.to_dict(), "gallery": asdict(counts)})
    output.show("\n".join([*_fetch_lines(report), *gallery_lines(counts)]))


def _fetch_lines(report: FetchReport) -> list[str]:
    lines = [
        f"revision      {report.revision}{'' if report.changed else ', as it was: nothing to change'}",
        f"fetched       {report.fetched:,} pictures ({report.num_bytes / 2**20:,.1f} MiB) into {report.folder}, "
        f"{report.there:,} were there, {report.without_licence:,} of all without a licence",
        f"pictures      {report.added:,} added, {report.updated:,} updated, {report.unchanged:,} as they were",
    ]
    lines += [f"not taken     {count:,} {kind}" for kind, count in report.kinds.items()]
    told = {
        "not asked for, as --limit was reached: give the call again": report.left,
        "not asked for, as their entity is kept out": report.kept_out,
        "left out, as others removed their entity or keep it out meanwhile": report.passed_over,
    }
    lines += [f"left          {count:,} {what}" for what, count in told.items() if count]
    return lines


def _check_call(on_error: str, map_: Path | None, root: Path | None, replace: bool) -> None:
    from dualway.errors import UsageError

    if on_error not in ("stop", "drop"):
        raise UsageError(f"--on-error {on_error!r}: choose stop or drop")
    if map_ is None and (root is not None or replace or on_error != "stop"):
        raise UsageError("--root, --replace and --on-error say how to take a file of pictures; give it with --map")


def _read_map(path: Path, root: Path | None, kb: KnowledgeBase, people: People, output: Output) -> PictureMap:
    from dualway.kb.picture_map import read_picture_map

    erased = (kb.erased | set(people.erase)) - set(people.admit)
    with output.progress("lines checked") as meter:
        given = read_picture_map(path, root, known=kb, erased=erased, progress=meter.update)
    for name in given.unread:
        output.note(f"{path}: the column {name!r} is not read")
    return given


def _tell_problems(given: PictureMap, on_error: str, output: Output) -> None:
    """Say what is wrong with which lines.

    Raises:
        DataError: No line may be dropped, or none is left.
    """
    from dualway.errors import DataError

    num_bad, num_all = len(given.problems), len(given.problems) + len(given.rows)
    for problem in given.problems[:_SHOWN]:
        output.note(given.place(problem))
    if num_bad > _SHOWN:
        output.note(f"{given.path}: {num_bad - _SHOWN:,} more; --on-error drop --json lists them all")
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in given.kinds.items())
    output.note(f"{given.path}: {num_bad:,} of {num_all:,} lines cannot be taken ({kinds})")
    if on_error == "stop" or not given.rows:
        first = given.problems[0]
        remedy = "put them right, or leave them out with --on-error drop" if given.rows else "put them right"
        raise DataError(
            f"{first.problem} ({num_bad:,} of {num_all:,} lines cannot be taken: {kinds}); "
            f"nothing was changed, {remedy}",
            path=given.path,
            line=first.line,
        )


def _erase_vectors(kb: Path, entity_ids: Sequence[str]) -> int:
    """Erase the vectors of entities from every gallery of the knowledge base, and return how many there were."""
    if not entity_ids or not (kb / "gallery").is_dir():
        return 0
    from dualway.vision.gallery import erase

    return erase(kb, list(entity_ids))


def _record(
    kb: Path,
    revision: int,
    counts: PictureCounts,
    given: PictureMap | None,
    report: PictureReport | None,
    vectors: int,
) -> dict[str, Any]:
    record: dict[str, Any] = {"path": str(kb), "revision": revision, "gallery": asdict(counts)}
    if report is not None:
        record |= {**report.to_dict(), "erased_vectors": vectors}
    if given is not None:
        problems = [asdict(problem) for problem in given.problems]
        record |= {"dropped": len(problems), "dropped_by_kind": given.kinds, "problems": problems}
    return record


def _report_lines(given: PictureMap | None, report: PictureReport | None, vectors: int) -> list[str]:
    if report is None:
        return []
    lines = [f"revision      {report.revision}{'' if report.changed else ', as it was: nothing to change'}"]
    if given is not None:
        removed = f", {report.removed:,} removed" if report.removed else ""
        lines.append(
            f"pictures      {report.added:,} added, {report.updated:,} updated, {report.unchanged:,} as they were"
            f"{removed}, of {report.entities:,} entities"
        )
        if given.problems:
            lines.append(f"dropped       {len(given.problems):,} lines of {given.path}")
    for what, ids in (("now kept out", report.kept_out), ("admitted", report.admitted)):
        lines += [f"{what:<13} {entity_id}" for entity_id in ids]
    for entity_id, paths in report.erased.items():
        lines.append(f"erased        {entity_id}: {len(paths):,} pictures")
    if report.erased:
        lines.append(f"vectors       {vectors:,} erased from galleries")
        lines.append(
            "files         are left where they are; features and caches made of them: `dualway features purge`"
        )
    if report.shared:
        lines.append(f"shared        {len(report.shared):,} of the erased pictures are also given to other entities")
    return lines
