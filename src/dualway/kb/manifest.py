"""`manifest.json`: what a knowledge base folder holds, readable by a person and without opening the database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from dualway.errors import DataError, KnowledgeBaseError
from dualway.kb.migrations import SCHEMA_VERSION
from dualway.kb.records import compatibility_fingerprint
from dualway.schema import Fingerprint
from dualway.storage import read_json, write_json

FORMAT = "dualway-kb"
MANIFEST = "manifest.json"
DATABASE = "kb.sqlite"  # of a fresh build; a changed one carries its revision, see `database_of`

_DATABASE = re.compile(r"kb(-[1-9][0-9]*)?\.sqlite")
_DELTA = re.compile(r"(kb-[1-9][0-9]*\.delta\.sqlite)?")
_TYPES: dict[str, type] = {
    "schema": int,
    "compatibility": str,
    "content": str,
    "revision": int,
    "representation": list,
    "counts": dict,
    "source": str,
    "picture_root": str,
    "created": str,
    "dualway": str,
}


@dataclass(frozen=True)
class Manifest:
    """The manifest's values; the two fingerprints are written flat, as `compatibility` and `content`."""

    schema: int
    compatibility: str
    content: str
    revision: int
    representation: tuple[str, ...]  # kinds whose texts stand for an entity unless others are asked for
    counts: Mapping[str, Any]
    source: str
    picture_root: str  # the folder that relative picture paths start from
    created: str
    dualway: str
    database: str = DATABASE  # the file beside the manifest that holds this revision, but for
    delta: str = ""  # what was changed since, in a file of its own; "" where nothing was
    # Every folder that pictures are taken from, with the way to it from this one: see roots.PictureRoots.
    picture_roots: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def fingerprint(self) -> Fingerprint:
        """Both fingerprints."""
        return Fingerprint(self.compatibility, self.content)


def database_of(revision: int) -> str:
    """Return the name of the database file of a changed knowledge base."""
    return f"kb-{revision}.sqlite"


def delta_of(revision: int) -> str:
    """Return the name of the file of what was changed up to a revision."""
    return f"kb-{revision}.delta.sqlite"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` whole or not at all."""
    write_json(folder / MANIFEST, {"format": FORMAT, **asdict(manifest)})


def read_manifest(folder: Path) -> Manifest:
    """Read and check `manifest.json`.

    Raises:
        KnowledgeBaseError: Missing, damaged, of another format, or written by a newer version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise KnowledgeBaseError(
            f"{folder}: not a knowledge base (no {MANIFEST}); build one with `dualway kb build SOURCE --out FOLDER`"
        )
    try:
        values: Any = read_json(path)
    except DataError as error:
        raise _damaged(path, error.problem) from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise _damaged(path, f"not a manifest of format {FORMAT!r}")
    check_schema(path, values.get("schema"))
    manifest = _parse(path, cast("dict[str, Any]", values))
    if manifest.compatibility != compatibility_fingerprint(manifest.representation):
        raise _damaged(path, "its compatibility fingerprint is not that of its representation kinds")
    return manifest


def check_schema(path: Path, version: object) -> None:
    """Refuse a schema version that this dualway cannot read.

    Raises:
        KnowledgeBaseError: Newer than this dualway, or not a version at all.
    """
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise KnowledgeBaseError(
            f"{path}: written by a newer dualway (schema {version}, this one reads up to {SCHEMA_VERSION}); "
            "upgrade dualway, or build the knowledge base again"
        )
    if not isinstance(version, int) or version < 1:
        raise _damaged(path, f"schema version {version!r}")


def _parse(path: Path, values: dict[str, Any]) -> Manifest:
    for key, kind in _TYPES.items():
        if not isinstance(values.get(key), kind):
            raise _damaged(path, f"{key!r} is {values.get(key)!r}")
    representation, kinds = values["representation"], values["counts"].get("representations")
    if not isinstance(kinds, dict) or not all(isinstance(kind, str) and kind in kinds for kind in representation):
        raise _damaged(path, f"'representation' is {representation!r}, 'counts' do not hold these kinds")
    database, roots = values.get("database", DATABASE), values.get("picture_roots", {})
    if not isinstance(database, str) or not _DATABASE.fullmatch(database):
        raise _damaged(path, f"'database' is {database!r}")
    delta = values.get("delta", "")
    if not isinstance(delta, str) or not _DELTA.fullmatch(delta):
        raise _damaged(path, f"'delta' is {delta!r}")
    if not isinstance(roots, dict) or not all(isinstance(text, str) for pair in roots.items() for text in pair):
        raise _damaged(path, "'picture_roots' is not a table of folders")
    return replace(
        Manifest(**{key: values[key] for key in _TYPES}),
        representation=tuple(representation),
        database=database,
        delta=delta,
        picture_roots=roots,
    )


def _damaged(path: Path, problem: str) -> KnowledgeBaseError:
    return KnowledgeBaseError(f"{path}: damaged ({problem}); restore the folder or build the knowledge base again")
