"""WikiDiverse's entities: `title@@@@description` and `title@@@@address[AND]address..`, or DWE's `entity2desc.json`.

An entity's id is its title, or the Wikidata id that a mapping beside the files has for it (`titles.MAPPINGS`).
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dualway.datasets.base import ReadReport, is_list
from dualway.datasets.entity_fields import EntityPictures, load_table, text_of
from dualway.datasets.pictures import dwe_name, wikinews_name
from dualway.datasets.titles import Titles, title_of
from dualway.errors import DataError
from dualway.schema import Entity, Picture, Representation
from dualway.text import is_broken, repair

SEPARATOR, _AND = "@@@@", "[AND]"
_TABLE = r"(?:wikipedia_)?entity2{}(?:_filtered)?(?:\.\w+)?"
_DESCRIPTIONS = re.compile(_TABLE.format("desc"), re.IGNORECASE)
_IMAGES = re.compile(_TABLE.format(r"ima?ge?(?:s|urls)"), re.IGNORECASE)
_TYPES = "type2entity.json"
_FOLDERS = ("images", "wikipediaImgs", "../images", "../ImgData/wikidiverse")
_HEADERS = {"entity", "title", "name"}
_HEAD = 1 << 16


def is_table(path: Path) -> bool:
    """Tell whether a file is one of WikiDiverse's tables: by the separator in its beginning, DWE's JSON by its name."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError):
        return False
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        return _DESCRIPTIONS.fullmatch(path.name) is not None
    return SEPARATOR.encode() in head


def find_tables(folder: Path) -> list[Path]:
    """Return WikiDiverse's tables in a folder: descriptions, addresses of pictures, types."""
    try:
        files = sorted(folder.iterdir())
    except OSError:
        return []
    named = [file for pattern in (_DESCRIPTIONS, _IMAGES) for file in files if pattern.fullmatch(file.name)]
    tables, types = [file for file in named if file.is_file()], folder / _TYPES
    return [*tables, types] if tables and types.is_file() else tables


def read_wikidiverse(files: Iterable[Path], report: ReadReport) -> list[Entity]:
    """Return the entities of WikiDiverse's tables, joined by title.

    Where descriptions are there, they say which entities there are: the tables of pictures cover all of Wikipedia, and
    what they have for other titles is counted. Pictures are found by the md5 of their addresses; one that is not on
    disk keeps its address.

    Raises:
        DataError: A file is broken; names file and line.
    """
    tables = _Tables(report)
    listed = list(files)
    for file in listed:
        if file.name == _TYPES:
            tables.read_types(file)
        elif _is_images(file):
            tables.read_images(file)
        elif file.suffix.lower() == ".json":
            tables.read_json(file)
        else:
            tables.read_lines(file)
    return tables.entities(listed[0].parent)


@dataclass
class _Tables:
    """What the files say, by title."""

    report: ReadReport
    descriptions: dict[str, Representation] = field(default_factory=dict[str, Representation])
    images: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    types: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def read_json(self, path: Path) -> None:
        """Read DWE's `{name: description}`; names are kept as they stand, `entity_list.json` has the same."""
        for name, value in load_table(path).items():
            text = text_of(value, "a description", name, self.report)
            self._describe(repair(name).strip(), text, path)

    def read_lines(self, path: Path) -> None:
        for title, text in _entries(path, self.report):
            self._describe(title, text, path)

    def read_images(self, path: Path) -> None:
        wanted = self.descriptions
        for title, text in _entries(path, self.report):
            if wanted and title not in wanted:
                self.report.counts["titles with pictures only, left out"] += 1
                continue
            addresses = [address.strip() for address in text.split(_AND) if address.strip()]
            self.images.setdefault(title, []).extend(addresses)

    def read_types(self, path: Path) -> None:
        for type, members in load_table(path).items():
            if not is_list(members):
                self.report.drop("members of a type are not a list", type, str(members))
                continue
            for member in members:
                name = text_of(member, "a member of a type", type, self.report).strip()
                if name:
                    self.types.setdefault(name, []).append(type)

    def entities(self, root: Path) -> list[Entity]:
        titles, pictures = Titles.beside(root), EntityPictures(root, _FOLDERS, self.report)
        found: dict[str, Entity] = {}
        for title in self.descriptions or self.images:
            entity = self._entity(title, titles.id_of(title), pictures)
            if not titles.knows(title):
                self.report.note("title without a Wikidata id, kept as the id", title)
            before = found.get(entity.id)
            found[entity.id] = entity if before is None else _merge(before, entity, self.report)
        for name in self.types.keys() - (self.descriptions or self.images).keys():
            self.report.note(f"name of {_TYPES} that is no entity", name)
        return list(found.values())

    def _describe(self, title: str, text: str, path: Path) -> None:
        if not title:
            self.report.drop("description without a title", path.name, text)
        elif title in self.descriptions:
            self.report.drop("title given before", title, text)
        else:
            self.descriptions[title] = Representation("description", text.strip(), path.name)

    def _entity(self, title: str, id: str, pictures: EntityPictures) -> Entity:
        description = self.descriptions.get(title)
        if description is not None and description.text in ("", "None"):
            self.report.note(f"no text in {description.source}", id, title)
            description = None
        return Entity(
            id=id,
            name=title,
            types=tuple(dict.fromkeys(self.types.get(title, []))),
            representations=() if description is None else (description,),
            pictures=tuple(
                self._picture(address, id, pictures) for address in dict.fromkeys(self.images.get(title, []))
            ),
        )

    def _picture(self, address: str, id: str, pictures: EntityPictures) -> Picture:
        found = pictures.path_of([dwe_name(address), wikinews_name(address)])
        if found is None:
            self.report.note("picture not on disk, its address is kept", id, address)
        return Picture(path=found or address, source=address)


def _merge(first: Entity, second: Entity, report: ReadReport) -> Entity:
    """Join two titles of one Wikidata id: the second is another name, and fills in what the first lacks."""
    report.repair("two titles of one id, the second is an alias", first.id, second.name)
    return Entity(
        id=first.id,
        name=first.name,
        aliases=(*first.aliases, second.name),
        types=first.types or second.types,
        representations=first.representations or second.representations,
        pictures=tuple(dict.fromkeys([*first.pictures, *second.pictures])),
    )


def _is_images(path: Path) -> bool:
    """Tell whether a table holds addresses of pictures: by its name, that of another file by its content."""
    if _IMAGES.fullmatch(path.name) or _DESCRIPTIONS.fullmatch(path.name):
        return _IMAGES.fullmatch(path.name) is not None
    with path.open("rb") as file:
        head = file.read(_HEAD).decode("utf-8", "replace")
    values = [line.partition(SEPARATOR)[2].strip() for line in head.splitlines() if SEPARATOR in line][1:]
    return bool(values) and all("://" in value.split(_AND)[0] and " " not in value for value in values[:-1] or values)


def _entries(path: Path, report: ReadReport) -> Generator[tuple[str, str]]:
    """Yield (title, text) of each line, without a header; a line without the separator is counted."""
    for number, line in _lines(path):
        key, found, text = line.partition(SEPARATOR)
        if not line.strip() or (number == 1 and key.strip() in _HEADERS):
            continue
        where = f"line {number}"
        if not found:
            report.drop(f"line without {SEPARATOR} in {path.name}", where, line)
            continue
        if is_broken(line):
            report.repair("lone surrogates or NUL replaced", where, line)
        yield title_of(repair(key)), repair(text)


def _lines(path: Path) -> Generator[tuple[int, str]]:
    try:
        with path.open("rb") as lines:
            for number, raw in enumerate(lines, start=1):
                try:
                    yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    problem = f"not UTF-8: byte 0x{raw[error.start]:02x}; convert the file to UTF-8"
                    raise DataError(problem, path=path, line=number) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path=path) from error
