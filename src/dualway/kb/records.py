"""An entity as it is stored: cleaned, checked, and hashed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from dualway.errors import DataError
from dualway.schema import Entity, Field, Picture, Representation
from dualway.text import repair

# Part of the compatibility fingerprint. Raise it when stored records come to mean something else to a trained model;
# a new table or index (a migration) does not.
RECORD_VERSION = 1

_KIND = re.compile(r"[\w.:-]+")
_MODULUS = 1 << 256


def clean(entity: Entity) -> Entity:
    """Return `entity` as it will be stored: unwritable characters replaced, representations without text left out.

    Raises:
        DataError: No id, no name, or a kind of representation that cannot be written in a list of kinds.
    """
    if not entity.id.strip():
        raise DataError(f"an entity named {entity.name!r} has no id; give every entity one of its own")
    if not entity.name.strip():
        raise DataError("has no name, by which mentions are matched; give it one or leave it out", id=entity.id)
    return Entity(
        id=repair(entity.id),
        name=repair(entity.name),
        aliases=tuple(map(repair, entity.aliases)),
        types=tuple(map(repair, entity.types)),
        representations=tuple(_clean_representation(r, entity.id) for r in entity.representations if r.text.strip()),
        pictures=tuple(Picture(repair(p.path), repair(p.source), repair(p.licence)) for p in entity.pictures),
        fields=tuple(_clean_field(field, entity.id) for field in entity.fields if field.value.strip()),
    )


def content_hash(entity: Entity) -> bytes:
    """Return the sha256 of all that the record says; only when a text was made (`created_at`) does not count."""
    record: list[Any] = [
        entity.id,
        entity.name,
        entity.aliases,
        entity.types,
        [(r.kind, r.text, r.source, r.language, r.revision, r.licence) for r in entity.representations],
        [(p.path, p.source, p.licence) for p in entity.pictures],
    ]
    if entity.fields:  # a record without any has the hash that it had before there were fields
        record.append([(f.name, f.value, f.id) for f in entity.fields])
    return hashlib.sha256(json.dumps(record, separators=(",", ":")).encode("ascii")).digest()


def add_hash(total: int, record_hash: bytes) -> int:
    """Return the sum of all record hashes (mod 2^256) with one more; a sum is the same in any order of entities."""
    return (total + int.from_bytes(record_hash, "big")) % _MODULUS


def remove_hash(total: int, record_hash: bytes) -> int:
    """Return the sum of all record hashes (mod 2^256) with one less: the reverse of `add_hash`."""
    return (total - int.from_bytes(record_hash, "big")) % _MODULUS


def format_total(total: int) -> str:
    """Return the sum of record hashes as 64 hex digits, as the revisions table keeps it."""
    return f"{total:064x}"


def content_fingerprint(total: str) -> str:
    """Return the short fingerprint of the content whose record hashes add up to `total` (64 hex digits)."""
    return hashlib.sha256(total.encode("ascii")).hexdigest()[:16]


def compatibility_fingerprint(kinds: Sequence[str]) -> str:
    """Return the short fingerprint of what a trained model relies on: the form of records and the kinds of text."""
    return hashlib.sha256(json.dumps([RECORD_VERSION, *kinds]).encode("ascii")).hexdigest()[:16]


def _clean_representation(representation: Representation, entity_id: str) -> Representation:
    if not _KIND.fullmatch(representation.kind):
        raise DataError(
            f"kind of representation {representation.kind!r}; write a word such as properties or description",
            id=entity_id,
        )
    return Representation(
        kind=representation.kind,
        text=repair(representation.text),
        source=repair(representation.source),
        language=repair(representation.language),
        revision=repair(representation.revision),
        licence=repair(representation.licence),
        created_at=repair(representation.created_at),
    )


def _clean_field(field: Field, entity_id: str) -> Field:
    if not _KIND.fullmatch(field.name):
        raise DataError(f"name of a field {field.name!r}; write a word such as born or coordinates", id=entity_id)
    return Field(field.name, repair(field.value), repair(field.id))
