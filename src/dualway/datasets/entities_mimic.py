"""MIMIC's `kb_entity.json`: a list of entities, numbered, with the names of their pictures.

`[{id: number, qid, type: "entity", entity_name, attr, [desc], image_list: [..]}..]`, and `qid2id.json` `{QID: number}`
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from dualway.datasets.base import ReadReport, is_list, is_object, load_json
from dualway.datasets.entity_fields import EntityPictures, nameless, text_of, texts_of
from dualway.errors import DataError
from dualway.schema import Entity, Picture, Representation

ENTITIES, _NUMBERS = "kb_entity.json", "qid2id.json"
_FOLDERS = ("kb_image", "kb_images", "images")
_TEXTS = {"attr": "properties", "desc": "description"}


def read_mimic(path: Path, report: ReadReport) -> list[Entity]:
    """Return the entities of a `kb_entity.json`; an entity without QID has the one that `qid2id.json` has for it.

    Raises:
        DataError: The file is broken or no list.
    """
    value = load_json(path)
    if not is_list(value):
        raise DataError('expected a list of entities, such as [{"qid": "Q42", "entity_name": ..}]', path=path)
    reader = _Reader(path, report)
    entities: dict[str, Entity] = {}
    for place, record in enumerate(value):
        entity = reader.entity(place, record)
        if entity is not None and entity.id in entities:
            report.drop("id given before", entity.id, entity.name)
        elif entity is not None:
            entities[entity.id] = entity
    reader.note_missing(entities)
    return list(entities.values())


class _Reader:
    def __init__(self, path: Path, report: ReadReport) -> None:
        self._path, self._report = path, report
        self._pictures = EntityPictures(path.parent, _FOLDERS, report)
        self._numbers = _read_numbers(path.parent / _NUMBERS)
        self._by_number = {number: id for id, number in self._numbers.items()}

    def entity(self, place: int, record: Any) -> Entity | None:
        report = self._report
        if not is_object(record):
            report.drop("entity is not an object", f"entity-{place}", str(record))
            return None
        number = record.get("id")
        id = text_of(record.get("qid"), "'qid'", f"entity-{place}", report).strip()
        if not id and isinstance(number, int):
            id = self._by_number.get(number, "")
        if not id:
            report.drop(f"no 'qid', and none in {_NUMBERS}", f"entity-{place}", str(record))
            return None
        if self._numbers and self._numbers.get(id) != number:
            report.note(f"{_NUMBERS} has another number for it, or none", id, str(number))
        name = unquote(text_of(record.get("entity_name"), "a name", id, report)).strip() or nameless(id, report)
        return Entity(
            id=id,
            name=name,
            representations=tuple(self._texts(record, id)),
            pictures=tuple(self._images(record, id)),
        )

    def note_missing(self, entities: dict[str, Entity]) -> None:
        for id in self._numbers.keys() - entities.keys():
            self._report.note(f"id of {_NUMBERS} that is no entity", id)

    def _texts(self, record: dict[str, Any], id: str) -> list[Representation]:
        texts = {kind: text_of(record.get(key), f"{key!r}", id, self._report) for key, kind in _TEXTS.items()}
        return [Representation(kind, text, self._path.name) for kind, text in texts.items() if text]

    def _images(self, record: dict[str, Any], id: str) -> list[Picture]:
        pictures: list[Picture] = []
        for image in texts_of(record, "image_list", id, self._report):
            name = PurePosixPath(image).name
            found = self._pictures.path_of([name]) if name else None
            if found is None:
                self._report.note("picture not on disk", id, image)
            pictures.append(Picture(path=found or f"{_FOLDERS[0]}/{name}"))
        return pictures


def _read_numbers(path: Path) -> dict[str, int]:
    """Return MIMIC's numbers of entities; empty without the file, and for DWE's of that name (it has sample ids)."""
    value = load_json(path) if path.is_file() else {}
    if not is_object(value):
        raise DataError('expected {"Q42": 0, ..}', path=path)
    return {id: number for id, number in value.items() if isinstance(number, int)}
