"""`dualway kb enrich|refresh`: texts from Wikipedia, DBpedia and tables, taken and kept current."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dualway.cli.output import JsonFlag, Output, QuietFlag

if TYPE_CHECKING:
    from dualway.datasets import Dataset, ReadReport
    from dualway.kb.drift import DriftReport
    from dualway.kb.enriching import EnrichReport, GoldLoss
    from dualway.sources.texts import TextSource

KbArgument = Annotated[Path, typer.Argument(help="The folder of a knowledge base.")]
FilesArgument = Annotated[list[Path] | None, typer.Argument(help="The source's files, where it is one of files.")]
FromOption = Annotated[
    str, typer.Option("--from", help="wikipedia-dump, wikipedia (its web service), dbpedia or table.")
]
LanguageOption = Annotated[str | None, typer.Option(help="Of the texts; a dump of Wikipedia says its own.")]
ParagraphsOption = Annotated[int, typer.Option(help="How many paragraphs of a page.", min=1)]
MaxCharsOption = Annotated[int, typer.Option(help="Each text is cut at a sentence within.", min=1)]

AgentOption = Annotated[
    str | None,
    typer.Option(help="Who asks the web service, with a contact: NAME/1.0 (you@example.org); or DUALWAY_USER_AGENT."),
]
EndpointOption = Annotated[str | None, typer.Option(help="The api.php of another wiki than Wikipedia, or of a mirror.")]

SOURCES = ("wikipedia-dump", "wikipedia", "dbpedia", "table")
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
        str, typer.Option(help="Entities without a text of this kind: keep, or drop from the knowledge base.")
    ] = "keep",
    only_missing: Annotated[
        bool, typer.Option("--only-missing", help="Ask only for entities that have no such text of this source.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="A data set: tell how many of its mentions lose their gold by drop.")
    ] = None,
    paragraphs: ParagraphsOption = 2,
    max_chars: MaxCharsOption = 1000,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Give entities a text of a source, in one revision; a killed call goes on when it is given again."""
    from dualway.kb.enriching import enrich as enrich_from
    from dualway.kb.enriching import gold_loss

    output = Output(json=json, quiet=quiet)
    asked = _Asked(form, files or [], language, paragraphs, max_chars, user_agent, endpoint)
    datasets = [] if data is None else _datasets(data)
    with _opened(asked, output) as (source, progress):
        report = enrich_from(
            kb,
            source,
            kind=as_,
            policy=without_text,
            replace_existing=not only_missing,
            settings=_settings(asked),
            progress=progress,
            note=output.note,
        )
    losses = gold_loss(datasets, report)
    told = {split: {**loss._asdict(), "share": round(loss.share, 2)} for split, loss in losses.items()}
    output.result({"path": str(kb), **report.to_dict(), **({"data": told} if told else {})})
    output.show(_enrich_text(kb, report, losses))


def refresh(
    kb: KbArgument,
    files: FilesArgument = None,
    form: FromOption = "wikipedia-dump",
    language: LanguageOption = None,
    user_agent: AgentOption = None,
    endpoint: EndpointOption = None,
    kinds: Annotated[str | None, typer.Option(help="Only texts of these kinds, with commas.")] = None,
    older_than: Annotated[
        datetime | None, typer.Option(help="Only texts taken before this day.", formats=["%Y-%m-%d"])
    ] = None,
    gone: Annotated[str, typer.Option(help="Texts of pages that are gone: keep or remove.")] = "keep",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what has changed.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="A file of every text that changed: JSON Lines, or a table (.md).")
    ] = None,
    paragraphs: ParagraphsOption = 2,
    max_chars: MaxCharsOption = 1000,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Read again the texts that their source has changed, in one revision, and tell how much they drifted."""
    from dualway.kb.drift import write_report
    from dualway.kb.refreshing import refresh as refresh_from
    from dualway.storage import check_target

    output = Output(json=json, quiet=quiet)
    asked = _Asked(form, files or [], language, paragraphs, max_chars, user_agent, endpoint)
    if report is not None:
        check_target(report)
    with _opened(asked, output) as (source, progress):
        found = refresh_from(
            kb,
            source,
            kinds=None if kinds is None else [kind.strip() for kind in kinds.split(",") if kind.strip()],
            older_than=None if older_than is None else older_than.date(),
            gone=gone,
            dry_run=dry_run,
            progress=progress,
        )
    if report is not None:
        write_report(report, found)
    output.result({"path": str(kb), "dry_run": dry_run, **found.to_dict()})
    output.show(_drift_text(kb, found, dry_run))


def register(app: typer.Typer) -> None:
    """Add these commands to `dualway kb`."""
    for command in (enrich, refresh):
        app.command(command.__name__)(command)


class _Asked(NamedTuple):
    """Which source was asked for, and how it is read."""

    form: str
    files: list[Path]
    language: str | None
    paragraphs: int
    max_chars: int
    user_agent: str | None
    endpoint: str | None

    @property
    def limits(self) -> dict[str, Any]:
        return {"num_paragraphs": self.paragraphs, "max_chars": self.max_chars}


_Progress = Callable[[int, int], None]


@contextmanager
def _opened(asked: _Asked, output: Output) -> Generator[tuple[TextSource, _Progress | None]]:
    """Yield a source, and what shows how many entities are answered; a dump shows the pages that were read."""
    _check(asked)
    report: ReadReport | None = None
    with output.progress("pages read" if asked.form == "wikipedia-dump" else "entities answered") as meter:
        if asked.form == "wikipedia-dump":
            from dualway.sources.wikipedia_dump import WikipediaDump

            source = WikipediaDump(asked.files[0], language=asked.language, progress=meter.update, **asked.limits)
            report = source.report
            yield source, None
        elif asked.form == "wikipedia":
            from dualway.sources.wikipedia_api import WikipediaApi

            service = WikipediaApi(asked.language or "", asked.user_agent, endpoint=asked.endpoint, **asked.limits)
            with closing(service) as source:
                yield source, meter.update
        elif asked.form == "dbpedia":
            from dualway.datasets import ReadReport
            from dualway.sources.dbpedia import DBpediaAbstracts

            report = ReadReport(asked.files[0], "dbpedia")
            with DBpediaAbstracts(asked.files, asked.language or "", report, **asked.limits) as source:
                yield source, meter.update
        else:
            from dualway.sources.text_table import TextTable

            source = TextTable(asked.files[0], language=asked.language or "", **asked.limits)
            report = source.report
            yield source, meter.update
    for line in report.remarks() if report is not None else ():
        output.note(line)


def _check(asked: _Asked) -> None:
    from dualway.errors import UsageError

    if asked.form not in SOURCES:
        raise UsageError(f"--from {asked.form!r}: choose {', '.join(SOURCES)}")
    if asked.form == "wikipedia":
        if asked.files or asked.language is None:
            raise UsageError("--from wikipedia asks a web service: no file, and --language en (or another) says which")
        return
    if asked.user_agent or asked.endpoint:
        raise UsageError(f"--user-agent and --endpoint are of --from wikipedia; --from {asked.form} reads files")
    if asked.form == "dbpedia":
        if not asked.files or asked.language is None:
            raise UsageError("--from dbpedia reads files of abstracts: give them, and --language en (or another)")
        return
    if len(asked.files) != 1:
        raise UsageError(f"--from {asked.form} reads one file; give it after the knowledge base")


def _settings(asked: _Asked) -> str:
    """Return what the texts depend on: with other files or limits, answers of an interrupted call do not hold."""
    files = [(str(path.resolve()), path.stat()) for path in asked.files if path.exists()]
    stated = [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in files]
    words = (asked.form, f"{asked.paragraphs} paragraphs", f"{asked.max_chars} characters", asked.endpoint or "")
    return "; ".join(filter(None, [*words, *stated]))


def _datasets(path: Path) -> list[Dataset]:
    from dualway.datasets import list_splits, open_dataset

    if path.is_dir():
        return [open_dataset(path, split) for split in list_splits(path)]
    return [open_dataset(path)]


def _enrich_text(kb: Path, report: EnrichReport, losses: dict[str, GoldLoss]) -> str:
    without = sum(report.without.values())
    rows = [
        ("asked for", report.asked),
        ("with a text", report.with_text),
        ("without", without),
        *((f"  {reason}", count) for reason, count in report.without.items()),
    ]
    if report.dropped or without != len(report.lacking):
        kept = f"no {report.kind} text from elsewhere either"
        rows.append((f"  removed: {kept}" if report.dropped else f"  {kept}", len(report.lacking)))
    width = max(len(label) for label, _ in rows)
    lines = [f"{label:<{width}}  {count:>10,}  {report.share(count):6.2f} %" for label, count in rows]
    lines += _remarks(report)
    lines += [
        f"data set, {split}: {loss.lost:,} of {loss.mentions:,} mentions ({loss.share:.2f} %) "
        f"{'lose' if report.dropped else 'would lose'} their gold"
        for split, loss in losses.items()
    ]
    kept = "" if report.dropped or not without else "; those without stay: another text, or the name, stands for them"
    lines.append(
        f"{kb}: {report.with_text:,} of {report.asked:,} entities have a text of {report.source}, "
        f"{report.mean_chars:,.0f} characters in the mean{kept}; revision {report.revision}"
    )
    return "\n".join(lines)


def _remarks(report: EnrichReport) -> list[str]:
    told: dict[str, Any] = {
        "end within a sentence, which is longer than --max-chars": report.cut,
        "have the same text as another entity, mostly as homonyms whose page only the name leads to": report.shared,
        f"have an earlier {report.kind} text of another source, which goes on standing for them": report.behind,
        "were removed, or renamed, by others meanwhile, and stay as those left them": len(report.passed_over),
        "were answered in an interrupted call": report.resumed,
    }
    return [f"{count:,} {what}" for what, count in told.items() if count]


def _drift_text(kb: Path, report: DriftReport, dry_run: bool) -> str:
    lines = [
        f"{drift.similarity:.2f}  {drift.entity_id}  {drift.name}\n"
        f"      was  {drift.before[:160]}\n      now  {drift.after[:160]}"
        for drift in report.drifted[:_SHOWN]
    ]
    if len(report.drifted) > _SHOWN:
        lines.append(f"{len(report.drifted) - _SHOWN:,} more; --report FILE lists all")
    fate = "its text is removed" if report.removed else "its text stays"
    lines += [f"gone  {entity_id}: {why}; {fate}" for entity_id, why in list(report.vanished.items())[:_SHOWN]]
    if len(report.vanished) > _SHOWN:
        lines.append(f"{len(report.vanished) - _SHOWN:,} more are gone; --report FILE lists all")
    if report.older:
        lines.append(f"older  {len(report.older):,} texts are newer here than in the source, and stay")
    if report.passed_over:
        lines.append(f"{len(report.passed_over):,} entities were changed by others meanwhile, and stay")
    what = "nothing was changed" if dry_run else f"revision {report.revision}"
    lines.append(
        f"{kb}: {report.checked:,} texts of {report.source}, {report.newer:,} newer, "
        f"{len(report.drifted):,} changed (similarity {report.mean_similarity:.2f} in the mean), "
        f"{len(report.vanished):,} gone; {what}"
    )
    return "\n".join(lines)
