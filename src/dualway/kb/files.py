"""Building a knowledge base from files on disk: those of the published data sets, and one's own tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualway.datasets.base import ReadReport
from dualway.datasets.columns import ColumnMap
from dualway.datasets.entities import read_entities
from dualway.datasets.entities_own import LINE_FORMS, SUFFIXES, own_form
from dualway.datasets.entities_wikidiverse import is_table
from dualway.datasets.pickles import refuse_pickle
from dualway.errors import DataError, UsageError
from dualway.kb.manifest import Manifest
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity
from dualway.sources.properties import DEFAULT, PropertiesConfig
from dualway.sources.rdf import read_rdf_entities

# Each form with the kinds of text that stand for an entity unless others are chosen; none: all that are present.
FORMS: dict[str, tuple[str, ...]] = {
    "ghmfc": ("properties",),
    "kgmel": ("description",),
    "wikidiverse": ("description",),
    "mimic": ("properties",),
    "jsonl": (),
    "csv": (),
    "parquet": (),
}


@dataclass(frozen=True)
class BuildReport:
    """What a build made of its source. `reading` is the reader's own report: what was repaired, dropped, ignored."""

    form: str
    source: str
    path: str
    manifest: Manifest
    reading: dict[str, Any]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "path": self.path,
            "form": self.form,
            "source": self.source,
            **self.manifest.counts,
            "representation": list(self.manifest.representation),
            "compatibility": self.manifest.compatibility,
            "content": self.manifest.content,
            "reading": self.reading,
            "seconds": round(self.seconds, 3),
        }


def build_from_files(
    source: Path,
    out: Path,
    *,
    form: str = "auto",
    representation: Sequence[str] = (),
    columns: ColumnMap | None = None,
    progress: Callable[[int], None] | None = None,
) -> BuildReport:
    """Build the knowledge base `out` from a file or folder, and return what was read, repaired and dropped.

    Args:
        source: A folder (or one file) of a published data set's entities, or a JSONL, CSV or Parquet file.
        out: The folder to make.
        form: One of `FORMS`, or "auto" to tell it from the file names.
        representation: Kinds of text that stand for an entity; the form's own (`FORMS`) when empty.
        columns: What the columns of one's own table mean.
        progress: Called now and then with the number of entities written so far.

    Raises:
        DataError: The source is missing, broken or of no known form; names file and line.
        KnowledgeBaseError: No entities, or a kind in `representation` that none of them has.
        StorageError: `out` cannot be written.
        UsageError: An unknown form.
    """
    start = time.perf_counter()
    root = source if source.is_dir() else source.parent
    with opened_source(source, form, columns) as (entities, reading):
        kinds = tuple(representation) or _default_kinds(reading.format, entities)
        with KnowledgeBase.create(
            out,
            entities,
            representation=kinds,
            source=f"{reading.format} {source}",
            picture_root=root.resolve(),
            more_picture_roots=_folders_outside(root.resolve(), entities),
            progress=progress,
        ) as kb:
            manifest = kb.manifest
    seconds = time.perf_counter() - start
    return BuildReport(reading.format, str(source), str(out), manifest, reading.to_dict(), seconds)


def build_from_rdf(
    source: Path,
    out: Path,
    *,
    language: str = "en",
    classes: Sequence[str] = (),
    properties: PropertiesConfig = DEFAULT,
    representation: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> BuildReport:
    """Build the knowledge base `out` from RDF of Wikidata or DBpedia: a file, or all files of a folder.

    Args:
        source: N-Triples, N-Quads or Turtle, as they are or compressed.
        out: The folder to make.
        language: Of names and texts.
        classes: Take instances of these alone.
        properties: What the text of properties tells.
        representation: Kinds of text that stand for an entity; all that are present when empty.
        progress: Called now and then with the number of entities written so far.

    Raises:
        DataError: The source is missing or broken; names file and line.
        KnowledgeBaseError: No entities, or a kind in `representation` that none of them has.
        StorageError: `out` cannot be written.
        UsageError: pyoxigraph is not installed.
    """
    start = time.perf_counter()
    if not source.exists():
        raise DataError("no such file or folder", path=source)
    paths = sorted(path for path in source.iterdir() if path.is_file()) if source.is_dir() else [source]
    reading = ReadReport(source, "rdf")
    found = read_rdf_entities(paths, language=language, report=reading, classes=classes, properties=properties)
    with closing(found) as entities:
        made_of = f"rdf {source}"
        kb = KnowledgeBase.create(out, entities, representation=representation, source=made_of, progress=progress)
    with kb:
        manifest = kb.manifest
    return BuildReport("rdf", str(source), str(out), manifest, reading.to_dict(), time.perf_counter() - start)


@contextmanager
def opened_source(
    source: Path, form: str, columns: ColumnMap | None = None
) -> Generator[tuple[Iterable[Entity], ReadReport]]:
    """Yield the entities of a source and the reader's report, which is complete once they were read.

    Raises:
        DataError: The source is missing, broken or of no known form; names file and line.
        UsageError: An unknown form.
    """
    if form not in ("auto", *FORMS):
        raise UsageError(f"unknown form {form!r}; choose one of auto, {', '.join(FORMS)}")
    if not source.exists():
        raise DataError("no such file or folder", path=source)
    refuse_pickle(source)
    if form == "auto":
        form = _guess_form(source)
    if form not in LINE_FORMS:
        if columns is not None and columns != ColumnMap():
            raise UsageError(f"{source}: columns are told of one's own tables only ({', '.join(LINE_FORMS)})")
        yield read_entities(source, form)
        return
    if source.is_dir():
        raise DataError(f"is a folder; give the .{form} file in it", path=source)
    report = ReadReport(source, form)
    with closing(LINE_FORMS[form](source, report, columns)) as entities:
        yield entities, report


def _guess_form(source: Path) -> str:
    """Tell the form by the suffix; folders and .json files stay "auto", their own reader looks inside."""
    if source.is_dir() or source.suffix.lower() == ".json":
        return "auto"
    if is_table(source):
        return "wikidiverse"
    form = own_form(source)
    if form is None:
        raise DataError(
            f"cannot tell the form of this file by its name; expected {', '.join(SUFFIXES)} or .json, "
            f"or say it with --from {'|'.join(FORMS)}",
            path=source,
        )
    return form


def _folders_outside(root: Path, entities: Iterable[Entity]) -> list[Path]:
    """Return the folders beside a published set in which its reader found pictures ("../images/a.jpg").

    Only such paths begin with "..", and what the set itself says (an address that was not found) is its own source. Of
    one's own files, whose words are not ours, nothing outside is taken.
    """
    if not isinstance(entities, Sequence):
        return []
    pictures = (picture for entity in entities for picture in entity.pictures if picture.path != picture.source)
    folders = dict.fromkeys(Path(picture.path).parent for picture in pictures)
    return [root / folder for folder in folders if folder.parts[:1] == ("..",)]


def _default_kinds(form: str, entities: Iterable[Entity]) -> tuple[str, ...]:
    if not isinstance(entities, Sequence):
        return ()  # a stream: the store takes all kinds that it meets
    present = {r.kind for entity in entities for r in entity.representations}
    return tuple(kind for kind in FORMS[form] if kind in present)
