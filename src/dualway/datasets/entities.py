"""Reads the entities of the published data sets: GHMFC's and DWE's `{QID: text}` files, KGMEL's `entities.json`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from dualway.datasets.base import ReadReport, is_folder, is_list, is_object, load_json
from dualway.datasets.records import repaired
from dualway.errors import DataError, UsageError
from dualway.schema import Entity, Representation

FORMS = ("auto", "ghmfc", "kgmel")
_NAMES = "qid2ne.json"
_KGMEL = "entities.json"
# Files of texts and the kind of representation each gives. Where the long text is, the short one is kept beside it.
_TEXTS = {
    "qid2abs_long.json": "properties",
    "qid2abs.json": "properties",
    "property.json": "properties",
    "brief.json": "description",
    "fact.json": "facts",
}
_LONG, _BRIEF, _SHORT = "qid2abs_long.json", "qid2abs.json", "properties_short"
_SEPARATOR = "[SEP]. "


def read_entities(path: Path, form: str = "auto") -> tuple[list[Entity], ReadReport]:
    """Return the entities of a folder (or of one file) and what was missing, repaired or dropped.

    Forms: `ghmfc` (`qid2ne.json` for names, `qid2abs.json`, `qid2abs_long.json`, DWE's `property.json`, `brief.json`,
    `fact.json` for texts), `kgmel` (`entities.json`: name, description, aliases, types), `auto` (what is there; a
    file is told by its content). Ids come from the files keyed by id: `ne2qid.json` loses homonyms and is not read.
    Where both are there, the long text is the "properties" and the short one "properties_short".

    Raises:
        UsageError: `form` is unknown, or the folder holds both forms and `auto` was asked for.
        DataError: No entity file is there (lists what was looked for), or one is broken.
    """
    if form not in FORMS:
        raise UsageError(f"unknown form {form!r} of entity files; known: {', '.join(FORMS)}")
    tables = {file: _load(file) for file in (_find(path, form) if is_folder(path) else [path])}
    first, table = next(iter(tables.items()))
    is_kgmel = form == "kgmel" or (form == "auto" and any(is_object(record) for record in table.values()))
    report = ReadReport(path, "kgmel" if is_kgmel else "ghmfc")
    entities = _read_kgmel(table, first, report) if is_kgmel else _read_ghmfc(tables, report)
    if not entities:
        raise DataError("no usable entity in it", path=path)
    _count(entities, report)
    return entities, report


def find_entity_files(folder: Path, form: str = "auto") -> list[Path]:
    """Return the entity files of a folder in the order in which they are read; empty when there are none."""
    wanted = {"ghmfc": [_NAMES, *_TEXTS], "kgmel": [_KGMEL], "auto": [_KGMEL, _NAMES, *_TEXTS]}[form]
    return [folder / name for name in wanted if (folder / name).is_file()]


def _find(folder: Path, form: str) -> list[Path]:
    files = find_entity_files(folder, form)
    if not files:
        looked_for = ", ".join([_KGMEL, _NAMES, *_TEXTS])
        raise DataError(f"no entity file of form {form!r} in this folder; looked for {looked_for}", path=folder)
    if files[0].name == _KGMEL and len(files) > 1:
        raise UsageError(f"{folder} holds entity files of both forms; say which is meant: ghmfc or kgmel")
    return files


def _load(path: Path) -> dict[str, Any]:
    value = load_json(path)
    if not is_object(value):
        raise DataError('expected an object keyed by entity id, such as {"Q42": ..}', path=path)
    return value


def _count(entities: list[Entity], report: ReadReport) -> None:
    report.counts["entities"] = len(entities)
    report.counts["without text"] = sum(not entity.representations for entity in entities)
    report.counts["names shared"] = sum(times for times in Counter(e.name for e in entities).values() if times > 1)
    for entity in entities:
        report.counts.update(f"with {representation.kind}" for representation in entity.representations)


def _read_ghmfc(tables: dict[Path, dict[str, Any]], report: ReadReport) -> list[Entity]:
    """Join names and texts by id; an id that only one of the files has is kept."""
    names: dict[str, Any] = {}
    texts: dict[Path, tuple[str, dict[str, Any]]] = {}
    has_long = any(file.name == _LONG for file in tables)
    for file, table in tables.items():
        if file.name == _NAMES:
            names = table
        else:
            kind = _SHORT if has_long and file.name == _BRIEF else _TEXTS.get(file.name, "properties")
            texts[file] = kind, table
    ids = dict.fromkeys([*names, *(id for _, table in texts.values() for id in table)])
    return [_join(id, names, texts, report) for id in ids]


def _join(id: str, names: dict[str, Any], texts: dict[Path, tuple[str, dict[str, Any]]], report: ReadReport) -> Entity:
    name = _text(names.get(id), "a name", id, report) if id in names else ""
    representations: list[Representation] = []
    for file, (kind, table) in texts.items():
        if id not in table:
            report.note(f"id not in {file.name}", id)
            continue
        titled = _text(table[id], f"a text of {file.name}", id, report)
        title, _, text = titled.rpartition(_SEPARATOR)
        name = name or title.split(_SEPARATOR)[0].strip()
        if text.strip() and text.strip() != "None":
            representations.append(Representation(kind=kind, text=text, source=file.name))
        else:
            report.note(f"no text in {file.name}", id, name)
    return Entity(id=id, name=name or _nameless(id, report), representations=tuple(representations))


def _read_kgmel(table: dict[str, Any], path: Path, report: ReadReport) -> list[Entity]:
    entities: list[Entity] = []
    for id, record in table.items():
        if not is_object(record):
            report.drop("entity is not an object", id, str(record))
            continue
        name = _text(record.get("name"), "a name", id, report) or _nameless(id, report)
        description = _text(record.get("description"), "a description", id, report)
        described = (Representation(kind="description", text=description, source=path.name),) if description else ()
        aliases = _texts(record, "aliases", id, report)
        entities.append(
            Entity(
                id=id,
                name=name,
                aliases=tuple(alias for alias in aliases if alias != name),
                types=tuple(_texts(record, "types", id, report)),
                representations=described,
            )
        )
    return entities


def _texts(record: dict[str, Any], key: str, id: str, report: ReadReport) -> list[str]:
    """Return the distinct texts of a list, in its order."""
    values = record.get(key)
    if values is None:
        return []
    if not is_list(values):
        report.drop(f"{key!r} is not a list", id, str(values))
        return []
    texts = [_text(value, f"one of {key!r}", id, report) for value in values]
    return list(dict.fromkeys(text for text in texts if text))


def _text(value: Any, where: str, id: str, report: ReadReport) -> str:
    """Return a text as it stands; empty for a missing, blank or wrong one (the last is counted)."""
    if value is None:
        return ""
    if not isinstance(value, str):
        report.drop(f"{where} is not text", id, str(value))
        return ""
    return repaired(value, where, id, report) if value.strip() else ""


def _nameless(id: str, report: ReadReport) -> str:
    report.repair("no name, the id stands for it", id)
    return id
