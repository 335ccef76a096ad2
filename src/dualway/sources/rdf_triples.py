"""Triples of RDF files as a stream, and a working database in which those of one subject come together.

A subject's triples are scattered over a file, or over many; the labels of what they name stand anywhere. So what is
needed of them goes into a temporary SQLite database, and is read back in order.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from dualway.datasets.base import ReadReport
from dualway.errors import DataError, StorageError, UsageError
from dualway.sources.compressed import opened
from dualway.text import is_broken, repair

SUFFIXES = {".nt": "N_TRIPLES", ".nq": "N_QUADS", ".ttl": "TURTLE"}
_COMPRESSED = (".gz", ".bz2")
_LINES = {".nt", ".nq"}  # of which each line stands alone, so that reading can go on after a broken one
_ROWS = 10_000
_MAX_FACTS = 100_000  # triples of one subject: far more than any has that is meant
_LONGEST = 100_000  # characters of a literal that are kept
_LONGEST_NAME = 8_000  # characters of an address
_MARK = b"\xef\xbb\xbf"

IRI, BLANK, TEXT = "iri", "blank", "text"


class Triple(NamedTuple):
    """A triple whose subject is an IRI. `kind` of its object: IRI, BLANK, TEXT (with `language`), or its datatype."""

    subject: str
    predicate: str
    object: str
    kind: str
    language: str


class Fact(NamedTuple):
    """A triple of the working database; `node`: what the triple is really about, where that belongs to the subject."""

    subject: str
    node: str
    predicate: str
    object: str
    kind: str
    language: str


def read_triples(
    path: Path, predicates: Collection[str], report: ReadReport, *, on_error: str = "stop"
) -> Generator[Triple]:
    """Yield the triples of a file that have one of these predicates, in constant memory.

    Args:
        path: N-Triples, N-Quads or Turtle, by its suffix (.nt, .nq, .ttl), as it is or compressed (.gz, .bz2). Graphs
            of quads do not count.
        predicates: IRIs.
        report: Counts all triples, and those that cannot be read.
        on_error: "stop" at what cannot be read, or "drop" the line; in Turtle, whose lines belong together, always
            stop.

    Raises:
        DataError: Not of these forms, broken, cut off, not UTF-8, or a literal without end; names file and line.
        UsageError: pyoxigraph is not installed.
    """
    suffix = rdf_suffix(path)
    pyoxigraph = _pyoxigraph()
    with opened(path) as file:
        _skip_mark(file, path)
        parser = pyoxigraph.parse(
            input=file,
            format=getattr(pyoxigraph.RdfFormat, SUFFIXES[suffix]),
            lenient=True,  # DBpedia has names with characters that no IRI may have
        )
        drop = on_error == "drop" and suffix in _LINES
        for quad in _parsed(parser, path, report, drop):
            predicate = quad.predicate.value
            if predicate in predicates:
                triple = _triple(quad, predicate, pyoxigraph)
                if triple is not None and _is_whole(triple, report):
                    yield _mended(triple, report)


def rdf_suffix(path: Path) -> str:
    """Return which of `SUFFIXES` a file has, that of a compressed file in front of its own.

    Raises:
        DataError: None of them.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    if not suffixes or suffixes[-1] not in SUFFIXES:
        raise DataError(
            f"no RDF file by its name; expected {', '.join(SUFFIXES)}, as it is or with .gz or .bz2; "
            "convert other forms to N-Triples",
            path=path,
        )
    return suffixes[-1]


def _parsed(parser: Iterator[Any], path: Path, report: ReadReport, drop: bool) -> Iterator[Any]:
    """Yield quads, counting them; a syntax error names its line, and ends the reading unless it is dropped."""
    number = 0
    try:
        while True:
            try:
                for quad in parser:
                    number += 1
                    yield quad
                return
            except SyntaxError as error:
                if not drop:
                    raise _broken(error, path) from error
                report.drop("lines that are no RDF", f"{path}, line {error.lineno}", _reason(error))
            except MemoryError as error:
                raise DataError(
                    f"after {number:,} triples there is a literal or a name of more than 16 MB, or one that never ends "
                    "(a quotation mark is missing?); mend or remove it",
                    path=path,
                ) from error
    finally:
        report.counts["triples"] += number


def _broken(error: SyntaxError, path: Path) -> DataError:
    reason = _reason(error)
    if "utf-8" in str(error.msg).lower():
        return DataError(f"not UTF-8 ({reason}); convert the file to UTF-8", path=path, line=error.lineno)
    return DataError(f"broken RDF: {reason}; mend or remove this line", path=path, line=error.lineno)


def _reason(error: SyntaxError) -> str:
    return str(error.msg).rpartition(": ")[2]


def _skip_mark(file: IO[bytes], path: Path) -> None:
    """Skip a byte order mark of UTF-8; name the other encodings that have one."""
    head = file.peek(4)[:3]  # type: ignore[attr-defined]  # all that `opened` returns are buffered
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError("not UTF-8 but UTF-16; convert the file to UTF-8", path=path, line=1)
    if head == _MARK:
        file.read(len(_MARK))


def _triple(quad: Any, predicate: str, pyoxigraph: Any) -> Triple | None:
    """Return a quad as a triple; None where its subject is a blank node, or its object a triple (RDF 1.2)."""
    named = pyoxigraph.NamedNode
    subject, value = quad.subject, quad.object
    if not isinstance(subject, named):
        return None
    if isinstance(value, named):
        return Triple(subject.value, predicate, value.value, IRI, "")
    if isinstance(value, pyoxigraph.Literal):
        language = value.language
        if language is not None:
            return Triple(subject.value, predicate, value.value, TEXT, language)
        return Triple(subject.value, predicate, value.value, value.datatype.value, "")
    is_blank = isinstance(value, pyoxigraph.BlankNode)
    return Triple(subject.value, predicate, value.value, BLANK, "") if is_blank else None


def _is_whole(triple: Triple, report: ReadReport) -> bool:
    """Tell whether a triple can be kept: addresses are absolute, nothing is endless; else it is counted."""
    if ":" not in triple.subject or (triple.kind == IRI and ":" not in triple.object):
        report.drop("relative addresses, which could be anything's", triple.subject, triple.object)
        return False
    if len(triple.subject) > _LONGEST_NAME or (triple.kind == IRI and len(triple.object) > _LONGEST_NAME):
        report.drop(f"addresses of more than {_LONGEST_NAME:,} characters", triple.subject, triple.object)
        return False
    if len(triple.object) > _LONGEST:
        report.drop(f"literals of more than {_LONGEST:,} characters", triple.subject, triple.object)
        return False
    return True


def _mended(triple: Triple, report: ReadReport) -> Triple:
    if not is_broken(triple.object):
        return triple
    report.repair("characters that no text can hold", triple.subject, repr(triple.object))
    return triple._replace(object=repair(triple.object))


def _pyoxigraph() -> Any:
    try:
        import pyoxigraph
    except ImportError as error:
        raise UsageError("pyoxigraph, which reads RDF, is not installed: pip install 'dualway[kb]'") from error
    return pyoxigraph


# facts: what is said of a subject. labels: names, the lowest rank first. nodes: what belongs to many subjects, such as
# Wikidata's values. links: from a subject to another (redirects, subclasses, the same elsewhere).
_TABLES = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA cache_size = -32768;
    PRAGMA temp_store = FILE;
    CREATE TABLE facts (subject TEXT, node TEXT, predicate TEXT, object TEXT, kind TEXT, language TEXT);
    CREATE TABLE nodes (subject TEXT, node TEXT, predicate TEXT, object TEXT, kind TEXT, language TEXT);
    CREATE TABLE labels (subject TEXT, rank INTEGER, label TEXT);
    CREATE TABLE links (kind TEXT, source TEXT, target TEXT);
    CREATE TABLE taken (id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_INDEXES = """
    CREATE INDEX nodes_by_subject ON nodes (subject);
    CREATE INDEX labels_by_subject ON labels (subject, rank);
    CREATE INDEX links_by_source ON links (kind, source);
    CREATE INDEX links_by_target ON links (kind, target);
"""
_BELOW = """
    WITH RECURSIVE below (name) AS (
        SELECT value FROM json_each(?)
        UNION
        SELECT source FROM links JOIN below ON kind = ? AND target = name
    )
    SELECT name FROM below
"""


class RdfStaging:
    """The working database, in a folder of its own that is removed at the end.

    Args:
        scratch: Where that folder is made, the system's place for such when None. It takes about the size of what is
            needed of the files, decompressed.
    """

    def __init__(self, scratch: Path | None = None) -> None:
        with sqlite_errors():
            self._folder = tempfile.TemporaryDirectory(prefix="dualway-rdf-", dir=scratch)
            self._connection = sqlite3.connect(Path(self._folder.name) / "rdf.sqlite", isolation_level=None)
            self._connection.executescript(_TABLES)
            self._connection.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove the database."""
        self._connection.close()
        self._folder.cleanup()

    def fill(self, rows: Iterable[tuple[str, Sequence[Any]]]) -> None:
        """Write (table, values) rows; indexes are made at the end, so this is called once."""
        with sqlite_errors():
            waiting: dict[str, list[Sequence[Any]]] = {}
            for table, values in rows:
                batch = waiting.setdefault(table, [])
                batch.append(values)
                if len(batch) >= _ROWS:
                    self._write(table, batch)
            for table, batch in waiting.items():
                if batch:
                    self._write(table, batch)
            self._connection.execute("COMMIT")
            self._connection.executescript(_INDEXES)

    def _write(self, table: str, batch: list[Sequence[Any]]) -> None:
        places = ", ".join("?" * len(batch[0]))
        self._connection.executemany(f"INSERT INTO {table} VALUES ({places})", batch)
        batch.clear()

    def subjects(self, report: ReadReport) -> Iterator[tuple[str, list[Fact]]]:
        """Yield each subject with its facts as they came, subjects in the order of length and letters: Q9 before Q10.

        Args:
            report: Counts subjects of which more is said than can be kept.
        """
        with sqlite_errors():
            rows = self._connection.execute("SELECT * FROM facts ORDER BY length(subject), subject, rowid")
            for subject, group in groupby(map(Fact._make, rows), key=lambda fact: fact.subject):
                facts = list(islice(group, _MAX_FACTS + 1))
                if len(facts) > _MAX_FACTS:
                    report.drop(f"triples of one subject beyond the first {_MAX_FACTS:,}", subject)
                yield subject, facts[:_MAX_FACTS]

    def node(self, subject: str) -> list[Fact]:
        """Return what is said of a node that belongs to many subjects."""
        rows = self._connection.execute("SELECT * FROM nodes WHERE subject = ? ORDER BY rowid LIMIT 100", (subject,))
        return list(map(Fact._make, rows))

    def label(self, subject: str) -> str | None:
        """Return the best label of a subject."""
        query = "SELECT label FROM labels WHERE subject = ? ORDER BY rank, rowid LIMIT 1"
        row = self._connection.execute(query, (subject,)).fetchone()
        return None if row is None else row[0]

    def targets(self, kind: str, source: str, limit: int = 100) -> list[str]:
        """Return what a subject is linked to, in the order of the files."""
        query = "SELECT target FROM links WHERE kind = ? AND source = ? ORDER BY rowid LIMIT ?"
        return [target for (target,) in self._connection.execute(query, (kind, source, limit))]

    def sources(self, kind: str, target: str, limit: int = 100) -> list[str]:
        """Return what is linked to a subject, in the order of the files."""
        query = "SELECT source FROM links WHERE kind = ? AND target = ? ORDER BY rowid LIMIT ?"
        return [source for (source,) in self._connection.execute(query, (kind, target, limit))]

    def below(self, kind: str, names: Sequence[str]) -> set[str]:
        """Return all that is linked to one of `names` over any number of links, themselves included."""
        return {name for (name,) in self._connection.execute(_BELOW, (json.dumps(list(names)), kind))}

    def has_links(self, kind: str) -> bool:
        """Tell whether there are links of a kind."""
        return self._connection.execute("SELECT 1 FROM links WHERE kind = ? LIMIT 1", (kind,)).fetchone() is not None

    def take(self, id: str) -> bool:
        """Take an id; False where it was taken before."""
        return self._connection.execute("INSERT OR IGNORE INTO taken VALUES (?)", (id,)).rowcount == 1


@contextmanager
def sqlite_errors() -> Generator[None]:
    """Turn a disk that is full, or a folder that cannot be written to, into a StorageError."""
    try:
        yield
    except (sqlite3.OperationalError, PermissionError, FileNotFoundError) as error:
        raise StorageError(
            f"the working database of the RDF files cannot be written ({error}); it takes about the size of what is "
            "needed of them: free space, or choose another folder by TMPDIR"
        ) from error


Sieve = Callable[[Triple], Iterable[tuple[str, Sequence[Any]]]]


def stage(
    paths: Sequence[Path],
    staging: RdfStaging,
    predicates: Collection[str],
    sieve: Sieve,
    report: ReadReport,
    *,
    on_error: str = "stop",
) -> None:
    """Read all files into the working database; `sieve` says what is kept of each triple, and where."""

    def rows() -> Iterator[tuple[str, Sequence[Any]]]:
        for path in paths:
            for triple in read_triples(path, predicates, report, on_error=on_error):
                yield from sieve(triple)

    staging.fill(rows())
