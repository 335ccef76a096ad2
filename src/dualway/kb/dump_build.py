"""Building a knowledge base from a JSON dump of Wikidata, in passes that go on where they were when they are killed.

1. *classes* (only where subclasses count): what is a subclass of what.
2. *items*: of each item its label; of those that are wanted, all that an entity needs. Both go to a working database.
3. *entities*: ids become labels, and the knowledge base's own database is filled.

Processes read blocks of lines and return rows; this one writes them, in the order of the dump. So the result does not
depend on the number of processes, nor on where a build was killed. Memory stays the same however long the dump is.
"""

from __future__ import annotations

import dataclasses
import json
import marshal
import shutil
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dualway.datasets.base import ReadReport, Tally
from dualway.errors import DataError, KnowledgeBaseError, StorageError
from dualway.kb.dump_workers import choose_workers, in_order
from dualway.kb.filling import FillingDatabase, entity_rows
from dualway.kb.manifest import MANIFEST, Manifest, read_manifest
from dualway.kb.staging import Position, Staging, StagingReader, merge
from dualway.kb.writer import sqlite_errors
from dualway.sources.json_lines import parser
from dualway.sources.line_blocks import LONGEST_LINE, ahead, read_blocks
from dualway.sources.wikidata import Digest, DumpOptions, WikidataReader
from dualway.sources.wikidata_classes import ItemSet, item_numbers, subclass_pairs
from dualway.storage import check_target, locked, read_json, storage_errors, write_json

Named = tuple[int, str, tuple[str, ...]]  # row, name, aliases
# Called with the name of a pass, how much of it is done, and of how much: bytes of the file on disk, or entities.
Progress = Callable[[str, int, int], None]

CLASSES, ITEMS, ENTITIES = "classes", "items", "entities"
SLICE = 500  # entities that a process composes at a time
COMMIT_BYTES, COMMIT_ENTITIES = 1 << 26, 20_000  # what a kill costs at most

_FORMAT = 1  # of the working folder: raise it when what lies in one cannot be gone on with
_ORIGIN, _STAGING, _FOLDER, _LOCK = "origin.json", "staging.sqlite", "kb", "lock"
_UNKNOWN = "values whose label is not in the dump: their id stands for it"
_EMPTY_LINES = (b"", b"[", b"]", b"[]", b",")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class DumpReport:
    """What a build made of a dump.

    Attributes:
        reading: What was dropped or left out, and why.
        seconds: Of each pass, in this run.
        went_on: With what a build before it had left.
    """

    source: str
    path: str
    manifest: Manifest
    reading: ReadReport
    seconds: dict[str, float]
    went_on: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "path": self.path,
            "form": self.reading.format,
            "source": self.source,
            **self.manifest.counts,
            "representation": list(self.manifest.representation),
            "compatibility": self.manifest.compatibility,
            "content": self.manifest.content,
            "reading": self.reading.to_dict(),
            "went_on": self.went_on,
            "seconds": {name: round(seconds, 3) for name, seconds in self.seconds.items()},
        }


def build_from_dump(
    source: Path,
    out: Path,
    options: DumpOptions | None = None,
    *,
    representation: Sequence[str] = (),
    workers: int | None = None,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
    index_names: Callable[[Path, Iterable[Named]], None] | None = None,
) -> DumpReport:
    """Build the knowledge base `out` from a dump, or go on with a build of it that was ended.

    Args:
        source: A JSON dump (.json, .json.gz, .json.bz2), an item a line, or a .jsonl file of items.
        out: The folder to make. Until it is complete, all lies in `.NAME.building` beside it.
        options: Which items, and what of them. With others than before, or another dump, the build starts afresh.
        representation: Kinds of text that stand for an entity by default; all that are present when empty.
        workers: Processes that read; None: one for each processor up to four; 0: none.
        progress: See `Progress`.
        note: Called with what is worth telling: that a build goes on, or starts afresh.
        index_names: Called with the complete folder, before it is published, and (row, name, aliases) of all entities.

    Raises:
        DataError: The dump is missing or damaged, or (`on_error` "stop") has a line that is no item; names the line.
        KnowledgeBaseError: No item of it is wanted, or a kind in `representation` that none has.
        StorageError: `out` is taken, another build of it is at work, or it cannot be written.
        UsageError: Wrong options, or orjson is not installed.
    """
    options = options or DumpOptions()
    options.check()
    parser()
    _check_out(out)
    build = _Build(source, out, options, choose_workers(workers), progress or _say_nothing, note or _say_nothing)
    with build.only_one():
        went_on = build.prepare()
        with sqlite_errors(out), Staging(build.work / _STAGING) as staging:
            build.read_classes(staging)
            build.read_items(staging)
            manifest = build.make_entities(staging, representation, index_names)
        build.publish()
    return DumpReport(str(source), str(out), manifest, build.report, build.seconds, went_on)


def _say_nothing(*_: object) -> None:
    pass


def _check_out(out: Path) -> None:
    """Check before long work that the folder can be made at its end; remove what a build that made it has left.

    Raises:
        StorageError: It is there, or cannot be.
    """
    work = _work_folder(out)
    if out.is_symlink() or out.exists():
        if (out / MANIFEST).is_file() and work.is_dir() and not (work / _FOLDER).exists():
            shutil.rmtree(work, ignore_errors=True)  # killed after it was published
        if not out.is_dir() or any(out.iterdir()):
            raise StorageError(f"{out}: already exists; remove it or choose another --out")
    check_target(work.with_name(f"{work.name}.check"))


def _work_folder(out: Path) -> Path:
    return out.absolute().parent / f".{out.absolute().name}.building"


@dataclass
class _Build:
    source: Path
    out: Path
    options: DumpOptions
    workers: int
    progress: Progress
    note: Callable[[str], object]
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        self.work = _work_folder(self.out)
        self.report = ReadReport(self.source, "wikidata")

    @contextmanager
    def only_one(self) -> Generator[None]:
        """Hold the lock of the working folder, which is made."""
        with storage_errors(self.work):
            self.work.mkdir(parents=True, exist_ok=True)
        with locked(self.work / _LOCK, f"{self.out}: another process is building this knowledge base"):
            yield

    def prepare(self) -> bool:
        """Make the working folder fit for this build; return whether there is something to go on with."""
        origin, path = self._origin(), self.work / _ORIGIN
        present = _read_origin(path)
        if present == origin and (self.work / _FOLDER).is_dir():
            self.note(f"{self.out}: going on with the build that was ended ({self.work.name})")
            return True
        if present is not None and present != origin:
            self.note(f"{self.out}: another dump or other options than those of the build that was ended: from anew")
        with storage_errors(self.work):
            for old in (self.work / _FOLDER, *self.work.glob(f"{_STAGING}*"), path):
                shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
            (self.work / _FOLDER).mkdir()
        write_json(path, origin)
        return False

    def read_classes(self, staging: Staging) -> None:
        """Read what is a subclass of what, where that is asked for."""
        if not (self.options.classes and self.options.with_subclasses):
            return

        def add(result: Any, report: ReadReport) -> None:
            staging.add_subclasses(result)
            report.counts["statements: subclass of"] += len(result)

        self._read(CLASSES, staging, _make_classes, None, add)

    def read_items(self, staging: Staging) -> None:
        """Read all items."""
        wanted, unwanted = item_numbers(self.options.classes), item_numbers(self.options.leave_out)
        expand = staging.with_subclasses if wanted and self.options.with_subclasses else ItemSet
        setting = _ItemSetting(self.source, self.options, expand(wanted) if wanted else None, expand(unwanted))

        def add(result: Any, report: ReadReport) -> None:
            labels, items, read, problem = result
            if problem is not None:
                raise DataError(problem[0], path=self.source, line=problem[1])
            staging.add_labels(labels)
            for number in staging.add_items(items):
                report.drop("items that came before: the first is kept", f"Q{number}")
            merge(report, read)

        self._read(ITEMS, staging, _make_items, setting, add)

    def make_entities(
        self,
        staging: Staging,
        representation: Sequence[str],
        index_names: Callable[[Path, Iterable[Named]], None] | None,
    ) -> Manifest:
        """Fill, seal and index the knowledge base, in the working folder."""
        start = time.perf_counter()
        folder = self.work / _FOLDER
        if not staging.num_items():
            shutil.rmtree(self.work, ignore_errors=True)
            raise KnowledgeBaseError(f"{self.source}: no entities in it that are wanted: {_reasons(self.report)}")
        with closing(FillingDatabase(folder)) as database:
            if not (folder / MANIFEST).is_file():
                self._fill(staging, database)
                manifest = database.seal(representation=representation, source=f"wikidata {self.source}")
            else:
                manifest = read_manifest(folder)
            self._note_unknown(database)
            self.seconds[ENTITIES] = time.perf_counter() - start
            if index_names is not None:
                start = time.perf_counter()
                index_names(folder, database.named())
                self.seconds["names"] = time.perf_counter() - start
        self.report.counts["entities"] = manifest.counts["entities"]
        return manifest

    def publish(self) -> None:
        """Put the complete folder in its place."""
        with storage_errors(self.out):
            if self.out.is_dir():
                self.out.rmdir()
            (self.work / _FOLDER).replace(self.out)
        shutil.rmtree(self.work, ignore_errors=True)

    def _note_unknown(self, database: FillingDatabase) -> None:
        count, first = database.fetch("SELECT COUNT(*), MIN(id) FROM fields WHERE value = id")[0]
        if count:
            self.report.notes[_UNKNOWN] = Tally(count, [(first, "")])

    def _fill(self, staging: Staging, database: FillingDatabase) -> None:
        total, since, row = staging.num_items(), 0, database.num_rows()
        setting = _EntitySetting(self.source, self.work / _STAGING, self.options, _time_of(self.source))
        tasks = map(marshal.dumps, staging.slices(row, SLICE))
        database.begin()
        with closing(in_order(tasks, _make_entities, setting, self.workers)) as results:
            for result in results:
                rows = marshal.loads(result)
                database.append(rows)
                row += len(rows["entities"])
                since += len(rows["entities"])
                self.progress(ENTITIES, row, total)
                if since >= COMMIT_ENTITIES:
                    database.commit()
                    database.begin()
                    since = 0
        database.commit()

    def _read(
        self,
        name: str,
        staging: Staging,
        make: Callable[[Any], Callable[[bytes], bytes]],
        setting: Any,
        add: Callable[[Any, ReadReport], None],
    ) -> None:
        """Do a pass over the dump, or what remains of it, and add what it reports to the report of the build."""
        start = time.perf_counter()
        report = ReadReport(self.source, "wikidata")
        staging.restore(name, report)
        position = staging.position(name)
        if not position.done:
            size, places = self.source.stat().st_size if self.source.is_file() else 0, deque[tuple[Position, int]]()
            since = 0
            staging.begin()
            with (
                closing(_tasks(self.source, position, places)) as tasks,
                closing(in_order(tasks, make, setting, self.workers)) as results,
            ):
                for result in results:
                    add(marshal.loads(result), report)
                    since += places[0][0].position - position.position
                    position, read = places.popleft()
                    self.progress(name, read, size)
                    if since >= COMMIT_BYTES:
                        staging.commit(name, position, report)
                        staging.begin()
                        since = 0
            staging.commit(name, position._replace(done=True), report)
        merge(self.report, report.to_dict())
        self.seconds[name] = time.perf_counter() - start

    def _origin(self) -> dict[str, Any]:
        """Return what must be the same for a build to go on."""
        try:
            file = self.source.stat()
        except OSError as error:
            raise DataError("no such file", path=self.source) from error
        return {
            "format": _FORMAT,
            "source": str(self.source.resolve()),
            "size": file.st_size,
            "changed": file.st_mtime_ns,
            "options": json.loads(json.dumps(dataclasses.asdict(self.options))),
        }


def _read_origin(path: Path) -> Any:
    """Return what a build before this one was made of; None where there was none, or it cannot be told."""
    try:
        return read_json(path)
    except DataError:
        return None


def _reasons(report: ReadReport) -> str:
    reasons = ", ".join(f"{tally.count:,} {reason}" for reason, tally in report.dropped.items())
    return reasons or "the file holds no items"


def _time_of(source: Path) -> str:
    """Return when the dump was made, as its file says: the time of texts of items that do not say theirs."""
    return datetime.fromtimestamp(source.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _tasks(source: Path, start: Position, places: deque[tuple[Position, int]]) -> Generator[bytes]:
    """Yield the blocks of the dump, packed; put into `places` how far the pass has come after each."""
    with closing(ahead(read_blocks(source, position=start.position, line=start.line))) as blocks:
        for block in blocks:
            places.append((Position(block.next_position, block.next_line), block.read))
            yield marshal.dumps((block.position, block.line, block.is_cut, block.content))


def _make_classes(_: None) -> Callable[[bytes], bytes]:
    def work(task: bytes) -> bytes:
        _, _, is_cut, content = marshal.loads(task)
        return marshal.dumps([] if is_cut else subclass_pairs(content))

    return work


@dataclass(frozen=True)
class _ItemSetting:
    source: Path
    options: DumpOptions
    classes: ItemSet | None
    leave_out: ItemSet


def _make_items(setting: _ItemSetting) -> Callable[[bytes], bytes]:
    """Return what reads a block of lines: (labels, digests, report, the problem that ends the build or None)."""
    import orjson

    parse, broken = parser()
    reader = WikidataReader(setting.options, classes=setting.classes, leave_out=setting.leave_out)
    stops = setting.options.on_error == "stop"

    def work(task: bytes) -> bytes:
        position, line, is_cut, content = marshal.loads(task)
        reader.report = ReadReport(setting.source)
        labels: list[tuple[int, str]] = []
        items: list[tuple[int, bytes]] = []
        for place, number, raw in _lines(content, position, line):
            try:
                if is_cut:
                    raise ValueError(f"longer than {LONGEST_LINE:,} bytes, which no item is")
                item = parse(raw)
                item_number = reader.number(item)
                if item_number is None:
                    continue
                name = reader.name_of(item)
                if name:
                    labels.append((item_number, name))
                digest = reader.digest(item, item_number, name)
                if digest is not None:
                    items.append((item_number, orjson.dumps(tuple(digest))))
            except (broken, ValueError) as error:
                problem = _problem(raw, place, error)
                if stops:
                    return marshal.dumps((labels, items, reader.report.to_dict(), (problem, number)))
                reader.report.drop("lines that cannot be read", f"line {number}", problem)
        return marshal.dumps((labels, items, reader.report.to_dict(), None))

    return work


def _lines(content: bytes, position: int, line: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield (position, number, text) of the lines that hold something, without the comma at the end."""
    for number, raw in enumerate(content.split(b"\n"), start=line):
        text = raw.strip(b" \t\r,") if raw[:1] == b"{" else raw.strip().removeprefix(_BYTE_ORDER_MARK).rstrip(b" ,")
        if text not in _EMPTY_LINES:
            yield position, number, text
        position += len(raw) + 1


def _problem(raw: bytes, position: int, error: Exception) -> str:
    """Return what is wrong with a line, and what to do."""
    what = f"not an item: {error}"
    if raw[:1] == b"[":
        what = "expected one item a line, as Wikidata's dumps have them"
    return f"{what} (byte {position:,} of the unpacked file); mend the line, or drop such lines with --on-error drop"


@dataclass(frozen=True)
class _EntitySetting:
    source: Path
    staging: Path
    options: DumpOptions
    default_time: str


def _make_entities(setting: _EntitySetting) -> Callable[[bytes], bytes]:
    """Return what composes a slice of entities: their rows, by table."""
    parse, _ = parser()
    staging = StagingReader(setting.staging)
    reader = WikidataReader(setting.options, default_time=setting.default_time)

    def work(task: bytes) -> bytes:
        row, first, last = marshal.loads(task)
        digests = [(f"Q{number}", Digest(*parse(digest))) for number, digest in staging.items(first, last)]
        labels = staging.labels({item_id for _, digest in digests for item_id in digest.item_ids()})
        entities = [reader.compose(item_id, digest, labels.get) for item_id, digest in digests]
        return marshal.dumps(entity_rows(row, entities))

    return work
