"""Columns of one's own tables: which of them is an entity's id, its name, a text, a field, a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from dualway.errors import UsageError

TARGETS = ("id", "name", "aliases", "types", "description", "text")
_LISTS = ("aliases", "types")


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """How a row of a table becomes an entity. Without any, columns mean what they are called.

    Attributes:
        columns: `TARGETS` -> column.
        texts: Kind of text -> column.
        fields: Field -> column; several values where the column is a list, or split.
        pictures: Columns of pictures' paths.
        separator: At which texts are split into lists.
        delimiter: Between the columns of a text file; by default commas, or tabs in a .tsv file.
        id_prefix: Put before every id.
        language, licence: Of the texts.
    """

    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    texts: Mapping[str, str] = field(default_factory=dict[str, str])
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    pictures: tuple[str, ...] = ()
    separator: str = "|"
    delimiter: str | None = None
    id_prefix: str = ""
    language: str = ""
    licence: str = ""

    @classmethod
    def parse(cls, flags: Sequence[str], **settings: Any) -> ColumnMap:
        """Return what flags such as "name=title", "text:static=abstract" and "field:born=birth_date" say.

        Raises:
            UsageError: A flag that says something else; names it.
        """
        columns: dict[str, str] = {}
        texts: dict[str, str] = {}
        fields: dict[str, str] = {}
        pictures: list[str] = []
        for flag in flags:
            target, equals, column = (part.strip() for part in flag.partition("="))
            kind, colon, name = target.partition(":")
            if not equals or not column:
                raise UsageError(f"--column {flag!r}: write TARGET=COLUMN, such as name=title")
            if colon and name and kind in ("text", "field"):
                (texts if kind == "text" else fields)[name] = column
            elif target == "picture":
                pictures.append(column)
            elif target in TARGETS:
                columns[target] = column
            else:
                known = ", ".join([*TARGETS, "text:KIND", "field:NAME", "picture"])
                raise UsageError(f"--column {flag!r}: {target!r} is not known; choose {known}")
        return cls(columns, texts, fields, tuple(pictures), **settings)

    @property
    def is_empty(self) -> bool:
        """True when columns mean what they are called, and nothing is added to them."""
        return self == ColumnMap(separator=self.separator, delimiter=self.delimiter)

    def named(self) -> set[str]:
        """Return all columns that are named."""
        return {*self.columns.values(), *self.texts.values(), *self.fields.values(), *self.pictures}

    def check(self, present: Sequence[str]) -> None:
        """Check that every named column is there.

        Raises:
            UsageError: One is not; names it, and those that are.
        """
        missing = sorted(self.named() - set(present))
        if missing:
            raise UsageError(f"--column names {missing[0]!r}, which is not there; there are {', '.join(present)}")

    def apply(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row by the names that the reader of entities knows; unnamed columns stay as they are."""
        named = self.named()
        row = {key: value for key, value in values.items() if key not in named or key in TARGETS}
        row |= {target: _at(values, column) for target, column in self.columns.items()}
        row |= {name: self.split(row[name]) for name in _LISTS if isinstance(row.get(name), str)}
        row["id"] = self._id(row.get("id"))
        parts = {
            "representations": [*_list(row.get("representations")), *self._texts(row, values)],
            "fields": [*_field_list(row.get("fields")), *self._fields(values)],
            "pictures": [*_list(row.get("pictures")), *self._pictures(values)],
        }
        return row | {name: items for name, items in parts.items() if items}

    def split(self, text: str) -> list[str]:
        """Return the parts of a text between separators."""
        return [part.strip() for part in text.split(self.separator) if part.strip()]

    def _id(self, value: Any) -> Any:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        return self.id_prefix + text.strip() if isinstance(text, str) and text.strip() else text

    def _texts(self, row: dict[str, Any], values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        origin = {"language": self.language, "licence": self.licence}
        if any(origin.values()):
            for kind in ("description", "text"):
                if row.get(kind):
                    yield {"kind": kind, "text": row.pop(kind), **origin}
        for kind, column in self.texts.items():
            text = _at(values, column)
            if text not in (None, ""):
                yield {"kind": kind, "text": text, **origin}

    def _fields(self, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for name, column in self.fields.items():
            for value in self._values(_at(values, column)):
                yield {"name": name, **value} if isinstance(value, dict) else {"name": name, "value": str(value)}

    def _pictures(self, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for column in self.pictures:
            for path in self._values(_at(values, column)):
                yield {"path": path, "licence": self.licence}

    def _values(self, value: Any) -> list[Any]:
        if value is None or value == "":
            return []
        if isinstance(value, str):
            return self.split(value)
        return _list(value) if isinstance(value, list) else [value]


def field_items(values: Mapping[str, Any]) -> list[Any]:
    """Return the items that {"born": "1946", "occupation": ["actor", {"value": .., "id": ..}]} is short for."""
    return [
        {"name": name, **cast("dict[str, Any]", one)} if isinstance(one, dict) else {"name": name, "value": one}
        for name, given in values.items()
        for one in (_list(given) if isinstance(given, list) else [given])
    ]


def _field_list(value: Any) -> list[Any]:
    return field_items(cast("dict[str, Any]", value)) if isinstance(value, dict) else _list(value)


def _at(values: Mapping[str, Any], column: str) -> Any:
    """Return a column's value; "labels.en" leads into an object."""
    if column in values or "." not in column:
        return values.get(column)
    place: Any = values
    for step in column.split("."):
        place = cast("dict[str, Any]", place).get(step) if isinstance(place, dict) else None
    return place


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
