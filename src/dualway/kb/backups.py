"""A knowledge base in one file, to be kept elsewhere, and back."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

from dualway.errors import KnowledgeBaseError, UsageError
from dualway.kb.manifest import DATABASE, MANIFEST, Manifest, read_manifest, write_manifest
from dualway.kb.store import KnowledgeBase
from dualway.kb.writer import sqlite_errors
from dualway.storage import atomic_folder, atomic_path, storage_errors

_MEMBERS = {MANIFEST, DATABASE}
_PIECE = 1 << 20
_LARGEST_RATIO = 200  # times its size in the archive that a member may unpack to: real ones come to about 5


def back_up(kb_path: Path | str, target: Path) -> Manifest:
    """Write the present state of a knowledge base into one .zip file, and return its manifest.

    It holds the records, their history, the revisions and who is kept out; neither galleries nor indexes, which are
    made again from them, nor the pictures' own files. Who changes the knowledge base meanwhile is not disturbed.

    Raises:
        KnowledgeBaseError: Missing or damaged.
        StorageError: `target` cannot be written.
        UsageError: `target` is no .zip file.
    """
    if target.suffix.lower() != ".zip":
        raise UsageError(f"{target}: a backup is a .zip file; give it that suffix")
    with tempfile.TemporaryDirectory(dir=_place(target), prefix=".backup.") as name, atomic_path(target) as written:
        work = Path(name)
        with KnowledgeBase.open(kb_path) as kb, sqlite_errors(target):
            manifest = replace(kb.manifest, database=DATABASE, delta="")
            kb.copy_to(work / DATABASE)
        write_manifest(work, manifest)
        with storage_errors(target), zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
            for member in (MANIFEST, DATABASE):
                archive.write(work / member, member)
    return manifest


def restore(archive: Path, out: Path) -> Manifest:
    """Make the knowledge base folder `out` from a backup, whole and checked or not at all; return its manifest.

    Raises:
        KnowledgeBaseError: `archive` is no backup, or damaged: every record is compared with its hash.
        StorageError: `out` is taken or cannot be written.
    """
    if not archive.is_file():
        raise KnowledgeBaseError(f"{archive}: no such backup; give the .zip file that `dualway kb backup` wrote")
    with atomic_folder(out) as folder:
        _unpack(archive, folder)
        try:
            with KnowledgeBase.open(folder) as kb:
                kb.check()
        except KnowledgeBaseError as error:
            raise KnowledgeBaseError(f"{archive}: not a whole backup ({error}); take another one") from error
        return read_manifest(folder)


def _place(target: Path) -> Path:
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    return target.parent


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the two files that a backup holds; any other, and any that grows beyond reason, is refused."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            if sorted(member.filename for member in members) != sorted(_MEMBERS):
                raise KnowledgeBaseError(
                    f"{archive}: not a backup (it holds other files than {MANIFEST} and {DATABASE})"
                )
            for member in members:
                if member.file_size > max(member.compress_size, 1) * _LARGEST_RATIO + _PIECE:
                    raise KnowledgeBaseError(f"{archive}: {member.filename} would unpack to {member.file_size:,} bytes")
                with opened.open(member) as packed, (folder / member.filename).open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked, _PIECE)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise KnowledgeBaseError(f"{archive}: not a backup, or damaged ({error}); take another one") from error
