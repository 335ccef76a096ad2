"""`dualway kb build`: a knowledge base from files and tables, from a dump of Wikidata, or from RDF."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dualway.cli.output import JsonFlag, Output, QuietFlag

if TYPE_CHECKING:
    from dualway.datasets.columns import ColumnMap
    from dualway.kb.dump_build import DumpReport
    from dualway.kb.files import BuildReport
    from dualway.sources.wikidata import DumpOptions

WIKIDATA, RDF = "wikidata", "rdf"


def build(
    source: Annotated[
        Path,
        typer.Argument(help="A folder of a published set's entity files, a .jsonl, .csv or .tsv file, or a dump."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make; must not exist, or be empty.")],
    form: Annotated[
        str,
        typer.Option(
            "--from",
            help="ghmfc, kgmel, wikidiverse, mimic, jsonl, csv, parquet, wikidata, rdf; auto tells it from the files.",
        ),
    ] = "auto",
    representation: Annotated[
        str | None,
        typer.Option(
            help="Kinds of text that stand for an entity, with commas: static,properties.", show_default=False
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="Tables: what a column is: name=title, text:static=abstract, field:born=birth, picture=file; repeated."
        ),
    ] = None,
    separator: Annotated[
        str | None, typer.Option(help="Tables: between the values of a list in one cell; | unless given.")
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="Tables: between the columns of a text file, one character or the word tab.")
    ] = None,
    id_prefix: Annotated[str, typer.Option(help="Tables: put before every id.")] = "",
    text_source: Annotated[
        str, typer.Option("--source", help="Tables: where the texts come from; the file's name unless given.")
    ] = "",
    licence: Annotated[str, typer.Option(help="Tables: of the texts and pictures.")] = "",
    language: Annotated[
        str | None,
        typer.Option(help="Of names and texts; wikidata: with commas, the preferred first (en,mul)."),
    ] = None,
    class_: Annotated[
        list[str] | None, typer.Option("--class", help="wikidata, rdf: take instances of this class (Q5); repeated.")
    ] = None,
    no_subclasses: Annotated[
        bool, typer.Option("--no-subclasses", help="wikidata: not of its subclasses, which need a pass of their own.")
    ] = False,
    min_sitelinks: Annotated[
        int, typer.Option(help="wikidata: take items with at least so many pages in Wikimedia's projects.", min=0)
    ] = 0,
    any_language: Annotated[
        bool, typer.Option("--any-language", help="wikidata: a name in any language where there is none in these.")
    ] = False,
    properties: Annotated[
        str | None,
        typer.Option(help="wikidata, rdf: what that text tells: standard, long, short, or a TOML file."),
    ] = None,
    on_error: Annotated[str, typer.Option(help="wikidata: stop at a line that cannot be read, or drop it.")] = "stop",
    workers: Annotated[int | None, typer.Option(help="wikidata: processes that read.", min=0)] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Build a knowledge base, whole or not at all; a build from a dump that was killed goes on when given again."""
    from dualway.errors import UsageError

    output = Output(json=json, quiet=quiet)
    kinds = [kind.strip() for kind in (representation or "").split(",") if kind.strip()]
    if representation is not None and not kinds:
        raise UsageError(f"--representation {representation!r}: names no kind; write for example properties,static")
    of_dumps = (no_subclasses, min_sitelinks, any_language, on_error != "stop", workers is not None)
    of_both = (class_, properties)
    of_tables = (column, separator is not None, delimiter is not None, id_prefix, text_source, licence)
    if (form != WIKIDATA and any(of_dumps)) or (form not in (WIKIDATA, RDF) and any(of_both)):
        raise UsageError("options of wikidata were given; add --from wikidata (or rdf), or leave them out")
    if form in (WIKIDATA, RDF) and any(of_tables):
        raise UsageError(f"options of tables were given; --from {form} reads none")
    if form == WIKIDATA:
        options = _options(language, class_, no_subclasses, min_sitelinks, any_language, properties, on_error)
        _from_dump(source, out, options, kinds, workers, output)
        return
    if form == RDF:
        _from_rdf(source, out, language or "en", class_ or [], properties, kinds, output)
        return
    from dualway.datasets.columns import ColumnMap

    columns = ColumnMap.parse(
        column or [],
        separator=separator,
        delimiter=delimiter,
        id_prefix=id_prefix,
        language=language or "",
        licence=licence,
        source=text_source,
    )
    _from_files(source, out, form, kinds, columns, output)


def _options(
    language: str | None,
    classes: list[str] | None,
    no_subclasses: bool,
    min_sitelinks: int,
    any_language: bool,
    properties: str | None,
    on_error: str,
) -> DumpOptions:
    from dualway.sources.properties import DEFAULT, properties_config
    from dualway.sources.wikidata import DumpOptions

    return DumpOptions(
        languages=tuple(filter(None, (word.strip() for word in (language or "en,mul").split(",")))),
        classes=tuple(classes or ()),
        with_subclasses=not no_subclasses,
        min_sitelinks=min_sitelinks,
        any_language=any_language,
        properties=DEFAULT if properties is None else properties_config(properties),
        on_error=on_error,
    )


def _from_rdf(
    source: Path,
    out: Path,
    language: str,
    classes: list[str],
    properties: str | None,
    kinds: list[str],
    output: Output,
) -> None:
    from dualway.index.names import index_names
    from dualway.kb.files import build_from_rdf
    from dualway.sources.properties import DEFAULT, properties_config

    with output.progress("entities written") as meter:
        report = build_from_rdf(
            source,
            out,
            language=language,
            classes=classes,
            properties=DEFAULT if properties is None else properties_config(properties),
            representation=kinds,
            progress=meter.update,
        )
    index_names(out)
    output.result(report.to_dict())
    output.show(_build_text(report))


def _from_files(source: Path, out: Path, form: str, kinds: list[str], columns: ColumnMap, output: Output) -> None:
    from dualway.index.names import index_names
    from dualway.kb.files import build_from_files

    with output.progress("entities written") as meter:
        report = build_from_files(source, out, form=form, representation=kinds, columns=columns, progress=meter.update)
    with output.progress("names indexed", report.manifest.counts["entities"]) as meter:
        index_names(out, progress=meter.update)
    output.result(report.to_dict())
    output.show(_build_text(report))


def _from_dump(
    source: Path, out: Path, options: DumpOptions, kinds: list[str], workers: int | None, output: Output
) -> None:
    from dualway.index.names import index_names
    from dualway.kb.dump_build import build_from_dump

    with output.progress("read") as meter:

        def progress(what: str, done: int, total: int) -> None:
            meter.update(done, total, note=what)

        def index(folder: Path, _: object) -> None:
            index_names(folder)

        report = build_from_dump(
            source,
            out,
            options,
            representation=kinds,
            workers=workers,
            progress=progress,
            note=output.note,
            index_names=index,
        )
    output.result(report.to_dict())
    output.show(_dump_text(report))


def _build_text(report: BuildReport) -> str:
    manifest = report.manifest
    lines = [
        f"{report.path}: {manifest.counts['entities']:,} entities from {report.source} ({report.form}) "
        f"in {report.seconds:.1f} s",
        *count_lines(manifest.counts, manifest.representation),
        *_reading_lines(report.reading),
        f"fingerprints  compatibility {manifest.compatibility}, content {manifest.content}",
    ]
    return "\n".join(lines)


def _dump_text(report: DumpReport) -> str:
    manifest = report.manifest
    seconds = ", ".join(f"{name} {value:,.1f} s" for name, value in report.seconds.items())
    lines = [
        f"{report.path}: {manifest.counts['entities']:,} entities from {report.source} ({seconds})",
        *count_lines(manifest.counts, manifest.representation),
        *_reading_lines(report.reading.to_dict()),
        f"fingerprints  compatibility {manifest.compatibility}, content {manifest.content}",
    ]
    return "\n".join(lines)


def count_lines(counts: Any, representation: tuple[str, ...]) -> list[str]:
    """Return what is in a knowledge base, for people."""
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
