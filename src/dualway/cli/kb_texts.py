"""`dualway kb enrich|refresh`: texts from Wikipedia, DBpedia and tables, taken and kept current."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from dualway.cli.output import JsonFlag, Output, QuietFlag

if TYPE_CHECKING:
    from dualway.cli.output import Progress
    from dualway.kb.enriching import EnrichReport
    from dualway.kb.refreshing import DriftReport
    from dualway.sources.texts import TextSource

KbArgument = Annotated[Path, typer.Argument(help="The folder of a knowledge base.")]
FilesArgument = Annotated[list[Path] | None, typer.Argument(help="The source's files, where it is one of files.")]
FromOption = Annotated[str, typer.Option("--from", help="wikipedia-dump, wikipedia (its web service) or table.")]
LanguageOption = Annotated[str | None, typer.Option(help="Of the texts; a dump says its own.")]
ParagraphsOption = Annotated[int, typer.Option(help="How many paragraphs of a page.", min=1)]
MaxCharsOption = Annotated[int, typer.Option(help="Each text is cut at a sentence within.", min=1)]

AgentOption = Annotated[
    str | None,
    typer.Option(help="Who asks the web service, with a contact: NAME/1.0 (you@example.org); or DUALWAY_USER_AGENT."),
]
EndpointOption = Annotated[str | None, typer.Option(help="The api.php of another wiki than Wikipedia, or of a mirror.")]

SOURCES = ("wikipedia-dump", "wikipedia", "table")
_SHOWN = 10


def enrich(
    kb: KbArgument,
    files: FilesArgument = None,
    form: FromOption = "wikipedia-dump",
    language: LanguageOption = None,
    user_agent: AgentOption = None,
    endpoint: EndpointOption = None,
    as_: Annotated[str, typer.Option("--as", help="The kind that the texts get.")] = "static",
    without_text: Annotated[
        str, typer.Option(help="Entities that the source has no text of: keep, or drop from the knowledge base.")
    ] = "keep",
    paragraphs: ParagraphsOption = 2,
    max_chars: MaxCharsOption = 1000,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Give entities a text of a source, in one revision; a killed call goes on when it is given again."""
    from dualway.kb.enriching import enrich as enrich_from

    output = Output(json=json, quiet=quiet)
    with output.progress("pages read") as pages:
        web = _Web(user_agent, endpoint)
        with _opened(form, files or [], language, paragraphs, max_chars, pages.update, web) as source:
            report = enrich_from(kb, source, kind=as_, policy=without_text, progress=_asked(form, pages))
    output.result({"path": str(kb), **report.to_dict()})
    output.show(_enrich_text(kb, report))


def refresh(
    kb: KbArgument,
    files: FilesArgument = None,
    form: FromOption = "wikipedia-dump",
    language: LanguageOption = None,
    user_agent: AgentOption = None,
    endpoint: EndpointOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what has changed.")] = False,
    report: Annotated[Path | None, typer.Option(help="A JSON Lines file of every text that changed.")] = None,
    paragraphs: ParagraphsOption = 2,
    max_chars: MaxCharsOption = 1000,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Read again the texts that their source has changed, in one revision, and tell how much they drifted."""
    from dualway.kb.refreshing import refresh as refresh_from

    output = Output(json=json, quiet=quiet)
    with output.progress("pages read") as pages:
        web = _Web(user_agent, endpoint)
        with _opened(form, files or [], language, paragraphs, max_chars, pages.update, web) as source:
            found = refresh_from(kb, source, dry_run=dry_run, progress=_asked(form, pages))
    if report is not None:
        _write_report(report, found)
    output.result({"path": str(kb), "dry_run": dry_run, **found.to_dict()})
    output.show(_drift_text(kb, found, dry_run))


def register(app: typer.Typer) -> None:
    """Add these commands to `dualway kb`."""
    for command in (enrich, refresh):
        app.command(command.__name__)(command)


class _Web(NamedTuple):
    """How a web service is asked."""

    user_agent: str | None
    endpoint: str | None


@contextmanager
def _opened(
    form: str,
    files: list[Path],
    language: str | None,
    paragraphs: int,
    max_chars: int,
    progress: Callable[[int], None],
    web: _Web,
) -> Generator[TextSource]:
    from dualway.errors import UsageError

    if form not in SOURCES:
        raise UsageError(f"--from {form!r}: choose {', '.join(SOURCES)}")
    if form == "wikipedia":
        if files or language is None:
            raise UsageError("--from wikipedia asks a web service: no file, and --language en (or another) says which")
        from dualway.sources.wikipedia_api import WikipediaApi

        with closing(
            WikipediaApi(
                language,
                web.user_agent,
                endpoint=web.endpoint,
                num_paragraphs=paragraphs,
                max_chars=max_chars,
            )
        ) as service:
            yield service
        return
    if len(files) != 1 or any(web):
        raise UsageError(f"--from {form} reads one file; give it after the knowledge base, and nothing about the web")
    if form == "table":
        from dualway.sources.text_table import TextTable

        yield TextTable(files[0], language=language or "", num_paragraphs=paragraphs, max_chars=max_chars)
        return
    from dualway.sources.wikipedia_dump import WikipediaDump

    yield WikipediaDump(files[0], language=language, num_paragraphs=paragraphs, max_chars=max_chars, progress=progress)


def _asked(form: str, pages: Progress) -> Callable[[int, int], None] | None:
    """Return what shows how many entities are answered; a dump shows the pages that were read."""
    return None if form == "wikipedia-dump" else pages.update


def _enrich_text(kb: Path, report: EnrichReport) -> str:
    share = f"{report.share_without:.2f} %"
    lines = [
        f"{kb}: {report.with_text:,} of {report.asked:,} entities have a text of {report.source}, "
        f"{report.mean_chars:,.0f} characters in the mean; revision {report.revision}",
        *(f"without       {count:,} {reason}" for reason, count in report.without.items()),
        f"in all        {sum(report.without.values()):,} without ({share}), "
        f"{'removed' if report.dropped else 'kept: another text, or the name, stands for them'}",
    ]
    if report.resumed:
        lines.append(f"resumed       {report.resumed:,} answers of an interrupted call")
    return "\n".join(lines)


def _drift_text(kb: Path, report: DriftReport, dry_run: bool) -> str:
    lines = [
        f"{drift.similarity:.2f}  {drift.entity_id}  {drift.name}\n"
        f"      was  {drift.before[:160]}\n      now  {drift.after[:160]}"
        for drift in report.drifted[:_SHOWN]
    ]
    if len(report.drifted) > _SHOWN:
        lines.append(f"{len(report.drifted) - _SHOWN:,} more; --report FILE lists all")
    lines += [f"gone  {entity_id}: {why}; its text stays" for entity_id, why in list(report.vanished.items())[:_SHOWN]]
    what = "nothing was changed" if dry_run else f"revision {report.revision}"
    lines.append(
        f"{kb}: {report.checked:,} texts of {report.source}, {report.newer:,} read again, "
        f"{len(report.drifted):,} changed (similarity {report.mean_similarity:.2f} in the mean), "
        f"{len(report.vanished):,} gone; {what}"
    )
    return "\n".join(lines)


def _write_report(path: Path, report: DriftReport) -> None:
    from dataclasses import asdict
    from json import dumps

    from dualway.storage import write_text

    lines = [{"what": "changed", **asdict(drift)} for drift in report.drifted]
    lines += [{"what": "gone", "entity_id": entity_id, "why": why} for entity_id, why in report.vanished.items()]
    write_text(path, "".join(dumps(line, ensure_ascii=False) + "\n" for line in lines))
