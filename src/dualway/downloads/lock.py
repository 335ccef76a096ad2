"""The lock file beside a download: what was fetched, with its hashes, so that a later download must be the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from dualway.downloads.catalogue import Entry
from dualway.errors import DataError, DownloadError
from dualway.storage import read_json, write_json

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Lock:
    """What a lock file states: path of each file to (bytes, SHA-256). It lies beside the folder, `NAME.lock.json`."""

    path: Path | None = None
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])

    @classmethod
    def read(cls, folder: Path, entry: Entry) -> Lock:
        """Return the lock of an entry that was downloaded into `folder`; an empty one where there is none.

        Raises:
            DownloadError: It is damaged, or of another revision than this version of dualway fetches.
        """
        path = lock_path(folder, entry)
        if not path.exists():
            return cls(path)
        try:
            fields = cast("dict[str, Any]", read_json(path))
            if fields["revision"] != entry.revision:
                problem = f"{path} is of revision {str(fields['revision'])[:40]!r}, not {entry.revision}"
                raise DownloadError(f"{problem}; choose another folder, or remove it and what it describes")
            files = {str(name): _file(stated) for name, stated in fields["files"].items()}
        except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise DownloadError(f"{path} is damaged; remove it and what it describes", name=entry.name) from error
        return cls(path, files)

    def figures(self, path: str) -> tuple[int | None, str | None]:
        """Return bytes and SHA-256 of a file, None where the lock does not know it."""
        return self.files.get(path, (None, None))


def lock_path(folder: Path, entry: Entry) -> Path:
    """Return where an entry's lock file lies: beside its folder, so that no reader takes it for data."""
    return folder / f"{entry.name}.lock.json"


def write_lock(folder: Path, entry: Entry, files: Mapping[str, tuple[int, str]]) -> None:
    """Record what was fetched, whole or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    value = {
        "name": entry.name,
        "page": entry.page,
        "revision": entry.revision,
        "licence": entry.licence,
        "files": {path: {"bytes": size, "sha256": sha256} for path, (size, sha256) in files.items()},
    }
    write_json(lock_path(folder, entry), value)


def _file(stated: Any) -> tuple[int, str]:
    size, sha256 = stated["bytes"], stated["sha256"]
    if type(size) is not int or size < 0 or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError("not a size and a hash")
    return size, sha256
