"""Erasing entities: from records, history, the index of names, galleries, caches and features, and a proof of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dualway.candidates.name_store import read_list, read_segment, write_list
from dualway.config import FeatureConfig
from dualway.encoders.cache import content_key, default_cache_folder
from dualway.errors import DataError, KnowledgeBaseError, StorageError
from dualway.features.purge import purge_store
from dualway.index.names import FOLDER, open_names
from dualway.kb.adding import remove_entities
from dualway.kb.changes import only_writer
from dualway.kb.enriching import forget_answers
from dualway.kb.history import from_json
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity
from dualway.vision.gallery import FOLDER as GALLERY
from dualway.vision.gallery import erase as erase_from_gallery

_SHORTEST = 4  # characters of what is searched for: shorter ones are found by chance
_LONGEST = 40  # characters: a long text may lie in several pages of a database
_PIECE = 1 << 22
_OVERLAP = 4 * _LONGEST
_WAIT_S = 60.0
_OF_ENTITY = "JOIN entities e ON e.row = v.entity"
_TEMPLATES = ("{text}", "{name}. {text}", FeatureConfig().entity_template)


@dataclass
class Erasure:
    """What was erased, and what a search of the folder's files found of it afterwards.

    still_found: "FILE: what", for what is also in other entities' records or was not reached.
    stores: What was removed from each feature store.
    """

    revision: int = 0
    erased: list[str] = field(default_factory=list[str])
    gallery_vectors: int = 0
    text_vectors: int = 0
    searched_for: int = 0
    searched_files: int = 0
    searched_bytes: int = 0
    still_found: list[str] = field(default_factory=list[str])
    stores: list[str] = field(default_factory=list[str])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def erase_entities(path: Path | str, ids: Sequence[str], *, stores: Sequence[Path] = ()) -> Erasure:
    """Erase entities, and search the knowledge base's files for what is left of them.

    What was made of the records goes first: when this is killed, the same call completes it.

    Args:
        path: The knowledge base's folder.
        ids: Whom to erase; who was removed before is erased from the history.
        stores: Feature stores that they leave too.

    Raises:
        KnowledgeBaseError: No such knowledge base, or an id that was never in it.
        StorageError: Another process is changing it, or something cannot be written.
    """
    folder, erasure = Path(path), Erasure(erased=list(dict.fromkeys(ids)))
    with KnowledgeBase.open(folder) as kb:
        records = list(_records(kb, erasure.erased))
        keys = {int(kb.keys[kb.row(entity_id)]) for entity_id in erasure.erased if entity_id in kb}
        strings = _strings(records, kb.representation)
    erasure.stores = [
        f"{store}: {purge_store(store, entities=erasure.erased, really=True).describe()}" for store in stores
    ]
    forget_answers(folder, erasure.erased)
    erasure.text_vectors = _erase_text_vectors(default_cache_folder(), strings)
    if (folder / GALLERY).is_dir():
        erasure.gallery_vectors = erase_from_gallery(folder, erasure.erased)
    _drop_segments(folder, keys)
    _, erasure.revision = remove_entities(folder, erasure.erased, erase=True)
    with KnowledgeBase.open(folder) as kb:
        if (folder / FOLDER).is_dir():
            with only_writer(folder):
                open_names(kb).save(folder / FOLDER, state=kb.fingerprint.content)
        wanted = _needles(records)
        erasure.searched_for = len(wanted)
        _search(folder, wanted, erasure)
        erasure.still_found = [_explain(kb, found) for found in erasure.still_found]
    return erasure


def _records(kb: KnowledgeBase, ids: Iterable[str]) -> Iterator[Entity]:
    """Yield the records of entities as they are and as they were."""
    for entity_id in ids:
        if entity_id in kb:
            yield kb.entity(entity_id)
        for (before,) in kb.query("SELECT before FROM history WHERE id = ? AND before IS NOT NULL", entity_id):
            yield from_json(before)


def _strings(records: Iterable[Entity], kinds: Sequence[str]) -> set[str]:
    """Return what a text encoder may have been given of entities."""
    strings: set[str] = set()
    for record in records:
        first: dict[str, str] = {}
        for text in reversed(record.representations):
            first[text.kind] = text.text
        texts = {text.text for text in record.representations}
        texts.add(" ".join(filter(None, (first.get(kind) for kind in kinds))))
        strings |= {record.name, *record.aliases}
        strings |= {template.format(name=record.name, text=text) for template in _TEMPLATES for text in texts if text}
    return strings


def _erase_text_vectors(cache: Path, strings: Iterable[str]) -> int:
    """Remove the vectors of texts from the caches of all encoders, overwritten; return how many there were."""
    keys = [(content_key(string.encode("utf-8", "surrogatepass")),) for string in strings]
    erased = 0
    for path in sorted(cache.glob("vectors-*.sqlite")):
        try:
            with closing(sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)) as connection:
                connection.execute("PRAGMA secure_delete = ON")
                before = connection.total_changes
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("DELETE FROM vectors WHERE key = ?", keys)
                connection.execute("COMMIT")
                erased += connection.total_changes - before
        except sqlite3.Error as error:
            raise StorageError(f"{path}: vectors cannot be erased ({error}); remove the file and run again") from error
    return erased


def _drop_segments(folder: Path, keys: set[int]) -> None:
    """Take out of the index the segments that hold names of these entities; what is lost is indexed again."""
    names = folder / FOLDER
    if not names.is_dir() or not keys:
        return
    with only_writer(folder):
        try:
            files = read_list(names)
            kept = [file for file in files if keys.isdisjoint(read_segment(names, file).keys.tolist())]
        except (DataError, KnowledgeBaseError):
            kept = []
        write_list(names, kept)


def _needles(records: Iterable[Entity]) -> dict[bytes, str]:
    """Return what to search for, with the words for people."""
    words: set[str] = set()
    for record in records:
        words |= {record.id, record.name, *record.aliases}
        words |= {text.text for text in record.representations}
        words |= {picture.path for picture in record.pictures}
    return {word[:_LONGEST].encode(): word[:_LONGEST] for word in words if len(word) >= _SHORTEST}


def _search(folder: Path, wanted: dict[bytes, str], erasure: Erasure) -> None:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found: set[bytes] = set()
        erasure.searched_files += 1
        with path.open("rb") as file:
            tail = b""
            while piece := file.read(_PIECE):
                erasure.searched_bytes += len(piece)
                window = tail + piece
                found |= {needle for needle in wanted if needle in window}
                tail = window[-_OVERLAP:]
        erasure.still_found += [f"{path.relative_to(folder)}: {wanted[needle]!r}" for needle in sorted(found)]


def _explain(kb: KnowledgeBase, found: str) -> str:
    """Say whether what is still found is what other entities' records say."""
    word = found.split(": ", 1)[1][1:-1]
    queries = (
        "SELECT id FROM entities WHERE instr(name || ' ' || id, ?) LIMIT 1",
        f"SELECT e.id FROM aliases v {_OF_ENTITY} WHERE instr(v.alias, ?) LIMIT 1",
        f"SELECT e.id FROM representations v {_OF_ENTITY} WHERE instr(v.text, ?) LIMIT 1",
        f"SELECT e.id FROM fields v {_OF_ENTITY} WHERE instr(v.value || ' ' || v.id, ?) LIMIT 1",
    )
    for query in queries:
        if rows := kb.query(query, word):
            return f"{found}, which the record of {rows[0][0]} says too"
    return found
