"""Which column of one's own table holds which part of an entity: read from flags, and laid over a file's columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualway.errors import UsageError

# Parts of one value; `text` and `description` are short for the text of that kind.
_ONE = ("id", "name", "description", "text", "language", "licence", "revision", "source", "created_at")
_MANY = ("aliases", "types", "picture")
_OF_PICTURES = ("picture-source", "picture-licence")
# Parts whose values have parts of their own, in JSON and Parquet.
STRUCTURED = ("representations", "pictures", "fields")
_NAMED = ("text", "field", "field-id")  # text:KIND, field:NAME, field-id:NAME
_WORD = re.compile(r"[\w.:-]+")
_SHORT_KINDS = {"description": "text:description", "text": "text:text"}
_SHOWN = 40  # columns that a message lists

KNOWN_PARTS = (
    "id, name, aliases, types, description, text, text:KIND, field:NAME, field-id:NAME, picture, picture-source, "
    "picture-licence, language, licence, revision, source, created_at"
)


@dataclass(frozen=True)
class Assignment:
    """What the columns of one file (or the keys of one line) are read as.

    parts: part -> its columns, in their order. unused: columns that nothing reads.
    """

    parts: Mapping[str, tuple[str, ...]]
    unused: tuple[str, ...]


@dataclass(frozen=True)
class ColumnMap:
    """How one's own table says what an entity is; empty: columns are called as the parts that they hold.

    `columns` are pairs of a part ("name", "text:static", "field:born", ..) and a column, or a key of JSON Lines, where
    dots lead into objects ("labels.en"). `separator` divides the values of a list in one cell: None is "|" in tables,
    and no division in JSON Lines. `language`, `licence` and `source` hold for texts whose line does not say it.
    """

    columns: tuple[tuple[str, str], ...] = ()
    separator: str | None = None
    delimiter: str | None = None
    id_prefix: str = ""
    language: str = ""
    licence: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.separator == "":
            raise UsageError("--separator is empty; give the characters between the values of a list, such as '|'")
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise UsageError(f"--delimiter {self.delimiter!r}: give one character, such as ';', or the word tab")
        once: set[str] = set()
        for part, column in self.columns:
            if part in once and not _takes_many(part):
                raise UsageError(f"--column {_shown_part(part)}={column}: this part is given twice; keep one of them")
            once.add(part)

    @classmethod
    def parse(
        cls,
        flags: Sequence[str],
        *,
        separator: str | None = None,
        delimiter: str | None = None,
        id_prefix: str = "",
        language: str = "",
        licence: str = "",
        source: str = "",
    ) -> ColumnMap:
        r"""Return the map that flags such as ["name=title", "field:born=birth_date"] describe.

        Raises:
            UsageError: A flag that is no PART=COLUMN, an unknown part, a part given twice; names the flag.
        """
        columns = tuple(_parse_flag(flag) for flag in flags)
        tab = {"tab": "\t", "\\t": "\t"}.get(delimiter or "", delimiter)
        return cls(columns, separator, tab, id_prefix, language, licence, source)

    def assign_table(self, header: Sequence[str], path: Path) -> Assignment:
        """Return what the columns of a table are read as; names are compared without case.

        Raises:
            UsageError: A column that the file does not have; names the flag and those that it has.
        """
        spelt = {name.casefold(): name for name in header}
        columns: list[tuple[str, str]] = []
        for part, column in self.columns:
            found = spelt.get(column.casefold()) or spelt.get(column.split(".")[0].casefold())
            if found is None:
                raise self.no_column(part, column, header, path)
            whole = column.casefold() in spelt
            columns.append((part, found if whole else found + column[len(found) :]))
        return _assign(columns, header, str.casefold)

    def assign_keys(self, keys: Iterable[str]) -> Assignment:
        """Return what the keys of a line of JSON are read as; one that is asked for may be missing in a line."""
        return _assign(self.columns, keys, str)

    def no_column(self, part: str, column: str, present: Iterable[str], path: Path) -> UsageError:
        """Return the error for a column that a flag names and a file does not have."""
        return UsageError(
            f"--column {_shown_part(part)}={column}: there is no {column!r} in {path}; it has {list_columns(present)}"
        )


def value_of(values: Mapping[str, Any], column: str) -> Any:
    """Return a line's value of a column; where there is none of that name, dots lead into objects.

    Raises:
        TypeError: What stands before a dot is no object; its argument is what it is.
    """
    if column in values:
        return values[column]
    found: Any = values
    for key in column.split("."):
        if found is None:
            return None
        if not isinstance(found, Mapping):
            raise TypeError(found)
        found = found.get(key)
    return found


def part_named(name: str) -> str | None:
    """Return the part that a column of this name holds where no flag says otherwise; None for any other column."""
    if name in _ONE or name in _MANY or name in _OF_PICTURES or name in STRUCTURED:
        return _SHORT_KINDS.get(name, name)
    first, colon, word = name.partition(":")
    return name if colon and first in _NAMED and _WORD.fullmatch(word) else None


def list_columns(columns: Iterable[str]) -> str:
    """Return the names of columns for a message, the first of many."""
    names = [repr(name) for name in columns]
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "no columns") + more


def _parse_flag(flag: str) -> tuple[str, str]:
    part, equals, column = (text.strip() for text in flag.partition("="))
    if not equals or not part or not column:
        raise UsageError(f"--column {flag!r}: write PART=COLUMN, as name=title; parts are {KNOWN_PARTS}")
    known = part_named(part)
    if known is None or known in STRUCTURED:
        raise UsageError(f"--column {flag!r}: there is no part {part!r}; parts are {KNOWN_PARTS}")
    return known, column


def _assign(columns: Iterable[tuple[str, str]], present: Iterable[str], spelling: Callable[[str], str]) -> Assignment:
    """Return what present columns are read as: as `columns` say, the others by their names in `spelling`."""
    parts: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    names = tuple(present)
    for part, column in columns:
        parts[part] = (*parts.get(part, ()), column)
        taken |= {column} if column in names else {column.split(".")[0]}
    unused: list[str] = []
    mapped = frozenset(parts)
    for name in names:
        if name in taken:
            continue
        part = part_named(spelling(name))
        if part is None or part in mapped:
            unused.append(name)
        else:
            parts[part] = (*parts.get(part, ()), name)
    return Assignment(parts, tuple(unused))


def _takes_many(part: str) -> bool:
    return part in _MANY or part.startswith("field:")


def _shown_part(part: str) -> str:
    return next((short for short, long in _SHORT_KINDS.items() if long == part), part)
