"""Entities from RDF files of Wikidata and of DBpedia: N-Triples, N-Quads and Turtle, compressed or not."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

from dualway.datasets.base import ReadReport
from dualway.errors import DataError, UsageError
from dualway.schema import Entity
from dualway.sources.properties import DEFAULT, PropertiesConfig
from dualway.sources.rdf_dbpedia import DBpediaRdf
from dualway.sources.rdf_triples import RdfStaging, read_triples, stage
from dualway.sources.rdf_wikidata import WikidataRdf
from dualway.sources.wikidata import DumpOptions

KINDS = ("auto", "wikidata", "dbpedia")
_LOOKED_AT = 1_000  # triples of each file, to tell whose they are


def read_rdf_entities(
    paths: Sequence[Path],
    *,
    language: str = "en",
    report: ReadReport,
    kind: str = "auto",
    classes: Sequence[str] = (),
    ids: str = "own",
    properties: PropertiesConfig = DEFAULT,
    on_error: str = "stop",
    scratch: Path | None = None,
) -> Generator[Entity]:
    """Yield the entities of RDF files, read together, in an order that does not depend on theirs.

    Memory is bounded; a working database takes disk, about the size of what is needed of the files.

    Args:
        paths: .nt, .nq or .ttl, as they are or with .gz or .bz2.
        language: Of names and texts. Wikidata's "mul" is taken where there is none in it.
        report: Counts what is read, dropped or not understood.
        kind: One of `KINDS`; "auto" tells it by the first triples.
        classes: Take entities of these classes, and of subclasses as far as the files say which there are: items of
            Wikidata (Q5), or classes of DBpedia's ontology (Person).
        ids: "own" or, of DBpedia, "wikidata": see `DBpediaRdf`.
        properties: What the text of properties tells.
        on_error: "stop" at a line that cannot be read, or "drop" it and count it (N-Triples and N-Quads).
        scratch: The folder in which the working database is made.

    Raises:
        DataError: A file cannot be read, is broken, or no entities are in the files.
        StorageError: The working database cannot be written.
        UsageError: An unknown kind, class or language; pyoxigraph is missing.
    """
    _check(paths, kind, ids, on_error)
    kind = _kind(paths, report, on_error) if kind == "auto" else kind
    report.format = f"{kind} rdf"
    if kind == "wikidata":
        options = DumpOptions((language, "mul"), tuple(classes), properties=properties)
        reader = WikidataRdf(options, report)
    else:
        reader = DBpediaRdf(language, report, classes=classes, ids=ids, properties=properties)
    with RdfStaging(scratch) as staging:
        stage(paths, staging, reader.predicates, reader.sieve, report, on_error=on_error)
        number = 0
        for entity in reader.entities(staging):
            number += 1
            yield entity
    report.counts["entities"] += number
    if not number:
        raise DataError(_nothing(report, kind, language), path=paths[0])


def _check(paths: Sequence[Path], kind: str, ids: str, on_error: str) -> None:
    if not paths:
        raise UsageError("no RDF files given")
    for name, value, choices in (
        ("kind of RDF", kind, KINDS),
        ("choice of ids", ids, ("own", "wikidata")),
        ("way with lines that cannot be read", on_error, ("stop", "drop")),
    ):
        if value not in choices:
            raise UsageError(f"unknown {name} {value!r}; choose one of {', '.join(choices)}")


def _kind(paths: Sequence[Path], report: ReadReport, on_error: str) -> str:
    """Tell by the subjects of the first triples of each file whether they are Wikidata's or DBpedia's."""
    both = WikidataRdf(DumpOptions(), report).predicates | DBpediaRdf("en", report).predicates
    for path in paths:
        with closing(read_triples(path, both, ReadReport(path), on_error=on_error)) as triples:
            for triple in islice(triples, _LOOKED_AT):
                if "wikidata.org/" in triple.subject:
                    return "wikidata"
                if "dbpedia.org/" in triple.subject:
                    return "dbpedia"
    raise DataError(
        "neither Wikidata's nor DBpedia's RDF: no subject at www.wikidata.org/entity/ or dbpedia.org/resource/ among "
        "the first triples; other RDF must be converted to one's own JSONL (docs/formats.md)",
        path=paths[0],
    )


def _nothing(report: ReadReport, kind: str, language: str) -> str:
    reasons = sorted(((tally.count, reason) for reason, tally in report.dropped.items()), reverse=True)
    why = "; ".join(f"{count:,} {reason}" for count, reason in reasons[:3])
    return f"no entities of {kind} in it, with names in {language!r}{': ' if why else ''}{why}"
