"""Reads the entities of the published data sets: GHMFC's and DWE's `{QID: text}` files, and KGMEL's, told apart.

WikiDiverse's tables, MIMIC's list and one's own files have readers of their own beside this one.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from dualway.datasets.base import ReadReport, is_folder, is_list, is_object, load_json
from dualway.datasets.entities_mimic import ENTITIES as _MIMIC
from dualway.datasets.entities_mimic import read_mimic
from dualway.datasets.entities_own import LINE_FORMS, SUFFIXES, own_form
from dualway.datasets.entities_wikidiverse import find_tables, is_table, read_wikidiverse
from dualway.datasets.entity_fields import load_table, nameless, text_of, texts_of
from dualway.datasets.pickles import refuse_pickle
from dualway.errors import DataError, UsageError
from dualway.schema import Entity, Representation

FORMS = ("auto", "ghmfc", "kgmel", "wikidiverse", "mimic")
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
    `fact.json` for texts), `kgmel` (`entities.json`: name, description, aliases, types), `wikidiverse` (`entity2desc`,
    `entity2imgs`, DWE's `entity2desc.json`, `type2entity.json`), `mimic` (`kb_entity.json`, `qid2id.json`), `auto`
    (what is there; a file is told by its content). Ids come from the files keyed by id: `ne2qid.json` loses homonyms
    and is not read. Where both are there, the long text is the "properties" and the short one "properties_short".

    Raises:
        UsageError: `form` is unknown, or the folder holds several forms and `auto` was asked for.
        DataError: No entity file is there (lists what was looked for), or one is broken or a pickle.
    """
    if form not in FORMS:
        raise UsageError(f"unknown form {form!r} of entity files; known: {', '.join(FORMS)}")
    if is_folder(path):
        form, files = _find(path, form)
    else:
        refuse_pickle(path)
        form, files = (_form_of_file(path) if form == "auto" else form), [path]
    report = ReadReport(path, form)
    entities = _read(form, files, report)
    if not entities:
        raise DataError("no usable entity in it", path=path)
    _count(entities, report)
    return entities, report


def find_entity_files(folder: Path, form: str) -> list[Path]:
    """Return the entity files of a form in the order in which they are read; empty when there are none."""
    if form == "wikidiverse":
        return find_tables(folder)
    wanted = {"ghmfc": [_NAMES, *_TEXTS], "kgmel": [_KGMEL], "mimic": [_MIMIC]}[form]
    return [folder / name for name in wanted if (folder / name).is_file()]


def find_forms(folder: Path) -> list[str]:
    """Return the forms of entity files that a folder holds."""
    return [form for form in FORMS[1:] if find_entity_files(folder, form)]


def find_own_files(folder: Path) -> list[Path]:
    """Return one's own entity files in a folder: `entities.jsonl`, `entities.csv` and other endings of `SUFFIXES`."""
    return [
        file for file in (folder / f"entities{suffix}" for suffix in SUFFIXES) if file.is_file() and not is_table(file)
    ]


def read_own_entities(file: Path) -> tuple[list[Entity], ReadReport]:
    """Return the entities of one's own file, its form told by its suffix, and what was repaired or not read.

    Raises:
        DataError: A line that is no entity (names it), none at all, or a pickle.
    """
    refuse_pickle(file)
    report = ReadReport(file, own_form(file) or "")
    entities = list(LINE_FORMS[report.format](file, report))
    _count(entities, report)
    return entities, report


def _find(folder: Path, form: str) -> tuple[str, list[Path]]:
    forms = find_forms(folder) if form == "auto" else [form]
    if len(forms) > 1:
        raise UsageError(f"{folder} holds entity files of several forms; say which is meant: {' or '.join(forms)}")
    files = find_entity_files(folder, forms[0]) if forms else []
    if not files:
        looked_for = ", ".join([_KGMEL, _NAMES, *_TEXTS, _MIMIC, "entity2desc, entity2imgs (.json, .tsv)"])
        raise DataError(f"no entity file of form {form!r} in this folder; looked for {looked_for}", path=folder)
    return forms[0], files


def _form_of_file(path: Path) -> str:
    if is_table(path):
        return "wikidiverse"
    value = load_json(path)
    if is_list(value) and any(is_object(record) and "entity_name" in record for record in value):
        return "mimic"
    return "kgmel" if is_object(value) and any(is_object(record) for record in value.values()) else "ghmfc"


def _read(form: str, files: list[Path], report: ReadReport) -> list[Entity]:
    if form == "wikidiverse":
        return read_wikidiverse(files, report)
    if form == "mimic":
        return read_mimic(files[0], report)
    if form == "kgmel":
        return _read_kgmel(load_table(files[0]), files[0], report)
    return _read_ghmfc({file: load_table(file) for file in files}, report)


def _count(entities: list[Entity], report: ReadReport) -> None:
    report.counts["entities"] = len(entities)
    report.counts["without text"] = sum(not entity.representations for entity in entities)
    report.counts["with pictures"] = sum(bool(entity.pictures) for entity in entities)
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
    name = text_of(names.get(id), "a name", id, report) if id in names else ""
    representations: list[Representation] = []
    for file, (kind, table) in texts.items():
        if id not in table:
            report.note(f"id not in {file.name}", id)
            continue
        titled = text_of(table[id], f"a text of {file.name}", id, report)
        title, _, text = titled.rpartition(_SEPARATOR)
        name = name or title.split(_SEPARATOR)[0].strip()
        if text.strip() and text.strip() != "None":
            representations.append(Representation(kind=kind, text=text, source=file.name))
        else:
            report.note(f"no text in {file.name}", id, name)
    return Entity(id=id, name=name or nameless(id, report), representations=tuple(representations))


def _read_kgmel(table: dict[str, Any], path: Path, report: ReadReport) -> list[Entity]:
    entities: list[Entity] = []
    for id, record in table.items():
        if not is_object(record):
            report.drop("entity is not an object", id, str(record))
            continue
        name = text_of(record.get("name"), "a name", id, report) or nameless(id, report)
        description = text_of(record.get("description"), "a description", id, report)
        described = (Representation(kind="description", text=description, source=path.name),) if description else ()
        aliases = texts_of(record, "aliases", id, report)
        entities.append(
            Entity(
                id=id,
                name=name,
                aliases=tuple(alias for alias in aliases if alias != name),
                types=tuple(texts_of(record, "types", id, report)),
                representations=described,
            )
        )
    return entities
