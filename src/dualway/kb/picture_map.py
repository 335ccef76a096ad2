"""Files that say which pictures show which entities: every line is taken, or named with its fault."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Container, Generator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dualway.errors import DataError, PictureError
from dualway.images import picture_size
from dualway.kb.roots import absolute, inside
from dualway.schema import Picture

_COLUMNS = ("id", "picture", "source", "licence")
# What a header may call them; a first line with a name of an id and one of a picture is a header.
_NAMES = {
    "id": ("id", "entity", "entity_id", "entity id", "qid"),
    "picture": ("picture", "path", "image", "file"),
    "source": ("source",),
    "licence": ("licence", "license"),
}
_LONGEST_LINE = 1 << 20
_WIDTH = 80


@dataclass(frozen=True, slots=True)
class MapRow:
    """A line that can be taken: the picture's path is relative to the map's root."""

    line: int
    entity_id: str
    picture: Picture


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that cannot be taken, and why. `kind` groups problems for counting."""

    line: int
    kind: str
    problem: str


@dataclass(frozen=True)
class PictureMap:
    """What a file says of pictures. Every line that is not empty, but the header, is in `rows` or in `problems`."""

    path: Path
    root: Path  # absolute, free of links
    columns: tuple[str, ...]  # as the header names them; none where there is no header
    rows: list[MapRow]
    problems: list[Problem]

    @property
    def kinds(self) -> dict[str, int]:
        """How many problems there are of each kind."""
        return dict(Counter(problem.kind for problem in self.problems).most_common())

    @property
    def unread(self) -> list[str]:
        """Columns that the header has and that say nothing here."""
        return [name for name in self.columns if _column(name) is None]

    def place(self, problem: Problem) -> str:
        """Return a problem with its place, for people."""
        return f"{self.path}, line {problem.line}: {problem.problem}"


class _Fault(Exception):
    """Why a line cannot be taken: its kind, and what is said."""


def read_picture_map(
    path: Path,
    root: Path | None = None,
    *,
    known: Container[str],
    erased: Container[str] = (),
    progress: Callable[[int], None] | None = None,
) -> PictureMap:
    """Read and check a tab-separated file (by its suffix .csv: with commas) of ids and pictures.

    Args:
        path: The file: id, picture, and optionally source and licence a line; see docs/formats.md.
        root: The folder that the pictures' paths start from; by default the file's own.
        known: The ids that there are.
        erased: Ids of entities of whom no pictures are taken.
        progress: Called with the number of lines checked so far.

    Raises:
        DataError: The file is missing or empty, or `root` is no folder. What is wrong with a line is a `Problem`.
    """
    root = absolute(root if root is not None else path.parent)
    if not root.is_dir():
        raise DataError("no such folder, from which the pictures' paths would start", path=root)
    reader = _Lines(root.resolve(), ".csv" if path.suffix.lower() == ".csv" else ".tsv", known, erased)
    for num_checked, (line, raw) in enumerate(_raw_lines(path), start=1):
        reader.take(line, raw)
        if progress is not None:
            progress(num_checked)
    if not reader.rows and not reader.problems:
        raise DataError("names no pictures; write an id and a picture's path a line, with a tab between", path=path)
    return PictureMap(path, reader.root, reader.header, reader.rows, reader.problems)


class _Lines:
    """Takes the lines of a map one by one."""

    def __init__(self, root: Path, form: str, known: Container[str], erased: Container[str]) -> None:
        self.root, self.rows, self.problems = root, list[MapRow](), list[Problem]()
        self.header: tuple[str, ...] = ()
        self._form, self._known, self._erased = form, known, erased
        self._columns: dict[str, int] | None = None  # where each value stands; told by the first line
        self._lines: dict[tuple[str, str], int] = {}  # of what was taken
        self._faults: dict[str, str] = {}  # of pictures looked at before; "" for none

    def take(self, line: int, raw: bytes) -> None:
        try:
            cells = self._cells(raw, first=line == 1)
            if not any(cells):
                return
            if self._columns is None:
                self._columns = self._read_header(cells)
                if self.header:
                    return
            self.rows.append(self._row(line, cells, self._columns))
        except _Fault as fault:
            kind, problem = fault.args
            self.problems.append(Problem(line, kind, problem))

    def _cells(self, raw: bytes, *, first: bool) -> list[str]:
        if len(raw) > _LONGEST_LINE:
            raise _Fault("broken line", f"longer than {_LONGEST_LINE:,} bytes")
        try:
            text = raw.decode("utf-8-sig" if first else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise _Fault("broken line", f"not UTF-8: byte 0x{raw[error.start]:02x}") from error
        try:
            # Line by line: a quote that is not closed costs no other line.
            cells = next(csv.reader([text], delimiter="," if self._form == ".csv" else "\t", strict=True))
        except csv.Error as error:
            raise _Fault("broken line", f"{error}; check its quotes") from error
        return [cell.strip() for cell in cells]

    def _read_header(self, cells: list[str]) -> dict[str, int]:
        columns: dict[str, int] = {}
        for place, name in enumerate(cells):
            column = _column(name)
            if column is not None:
                columns.setdefault(column, place)
        if "id" not in columns or "picture" not in columns:
            return {name: place for place, name in enumerate(_COLUMNS)}
        self.header = tuple(cells)
        return columns

    def _row(self, line: int, cells: list[str], columns: dict[str, int]) -> MapRow:
        width = len(self.header) or len(_COLUMNS)
        values = {name: cells[place] if place < len(cells) else "" for name, place in columns.items()}
        if len(cells) > width:
            raise _Fault("broken line", f"{len(cells)} values, expected at most {width}; quote what holds a separator")
        if len(cells) == 1:
            where = "commas" if self._form == ".csv" else "tabs (a file with commas is called .csv)"
            raise _Fault(
                "broken line", f"{_short(cells[0])} alone, expected an id and a picture; lines are split at {where}"
            )
        entity_id, path = values["id"], self._path(values["picture"])
        self._check_entity(entity_id)
        self._check_picture(path)
        before = self._lines.setdefault((entity_id, path), line)
        if before != line:
            raise _Fault("given twice", f"{_short(path)} was given to {entity_id!r} in line {before}")
        return MapRow(line, entity_id, Picture(path, values.get("source", ""), values.get("licence", "")))

    def _check_entity(self, entity_id: str) -> None:
        if not entity_id:
            raise _Fault("broken line", "no id of an entity")
        if entity_id not in self._known:
            raise _Fault("unknown entity", f"no entity has the id {_short(entity_id)}")
        if entity_id in self._erased:
            raise _Fault("erased entity", f"the pictures of {entity_id!r} were erased and none are taken")

    def _path(self, text: str) -> str:
        """Return a path as it is kept: relative, and always the same for the same words."""
        if not text:
            raise _Fault("broken line", "no picture")
        if "://" in text:
            raise _Fault("path", f"{_short(text)} is an address; download the picture and give its path")
        path = PurePosixPath(text)
        if path.is_absolute() or ".." in path.parts:
            raise _Fault("path", f"{_short(text)} is absolute or has '..'; write paths from --root on")
        return str(path)

    def _check_picture(self, path: str) -> None:
        if path not in self._faults:
            self._faults[path] = _fault_of(self.root, path)
        if self._faults[path]:
            raise _Fault("picture", f"{_short(path)}: {self._faults[path]}")


def _fault_of(root: Path, path: str) -> str:
    try:
        picture_size(inside(root, Path(path)))
    except PictureError as error:
        return error.problem
    return ""


def _column(name: str) -> str | None:
    name = name.strip().lower()
    return next((column for column, names in _NAMES.items() if name in names), None)


def _raw_lines(path: Path) -> Generator[tuple[int, bytes]]:
    """Yield (1-based line, its bytes) of each line that is not empty; of a line too long only its beginning."""
    try:
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(_LONGEST_LINE + 1):
                number += 1
                if raw.strip():
                    yield number, raw
                while len(raw) > _LONGEST_LINE and not raw.endswith(b"\n"):
                    raw = file.readline(_LONGEST_LINE + 1)
    except OSError as error:
        what = {"FileNotFoundError": "no such file", "IsADirectoryError": "is a folder, expected a file"}
        reason = what.get(type(error).__name__, f"cannot be read ({error.strerror})")
        raise DataError(reason, path=path) from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
