"""Vectors kept between runs, keyed by the content's hash and the encoder's fingerprint."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from dualway.protocols import TextEncoder
from dualway.schema import FloatArray

KEY_BYTES = 16
_CHUNK = 1024  # texts between commits: what a killed run loses at most
_QUERY = 500  # keys a query, below SQLite's limit on variables


def default_cache_folder() -> Path:
    """Return where vectors are kept: DUALWAY_CACHE, else the user's cache folder."""
    chosen = os.environ.get("DUALWAY_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dualway"


def content_key(content: bytes) -> bytes:
    """Return the key of a content: the first bytes of its SHA-256."""
    return hashlib.sha256(content).digest()[:KEY_BYTES]


class ByteCache:
    """One SQLite file of values by key; several processes may use it at once.

    Args:
        path: The file; None keeps nothing (every `get` misses).
        table: Name of its table.
        column: Name of the values' column.
    """

    def __init__(self, path: Path | None, table: str, column: str) -> None:
        self._path, self._table, self._column = path, table, column

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the known values among `keys`; what another program put there as text comes as UTF-8."""
        if self._path is None or not os.path.exists(self._path):  # noqa: PTH110 - False where Path.exists raises
            return {}
        found: dict[bytes, bytes] = {}
        try:
            with closing(self._connect()) as connection:
                for start in range(0, len(keys), _QUERY):
                    part = list(keys[start : start + _QUERY])
                    marks = ",".join("?" * len(part))
                    query = f"SELECT key, CAST({self._column} AS BLOB) FROM {self._table} WHERE key IN ({marks})"
                    found.update((key, value) for key, value in connection.execute(query, part) if value is not None)
        except (sqlite3.DatabaseError, OSError):
            return {}  # a damaged cache is only a slower run; `put` replaces it
        return found

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """Keep values; a full disk or a read-only folder is not the caller's problem, so nothing is raised."""
        if self._path is None or not values:
            return
        for attempt in range(2):
            try:
                with closing(self._connect()) as connection, connection:
                    connection.executemany(f"INSERT OR REPLACE INTO {self._table} VALUES (?, ?)", values.items())
                return
            except (sqlite3.OperationalError, OSError):
                return  # full, read-only or locked for too long: the values are in memory all the same
            except sqlite3.DatabaseError:
                if attempt == 0:
                    with suppress(OSError):
                        self._path.unlink(missing_ok=True)  # damaged: start afresh

    def _connect(self) -> sqlite3.Connection:
        assert self._path is not None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=60)
        columns = f"(key BLOB PRIMARY KEY, {self._column} BLOB) WITHOUT ROWID"
        try:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {self._table} {columns}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection


class VectorCache:
    """The vectors of one encoder, in a file named after its fingerprint.

    Args:
        folder: Where the files are; None keeps nothing (every `get` misses).
        fingerprint: The encoder's.
        dim: Width of the vectors; rows of another width are ignored.
    """

    def __init__(self, folder: Path | None, fingerprint: str, dim: int) -> None:
        path = None if folder is None else folder / f"vectors-{fingerprint}.sqlite"
        self._values, self._dim = ByteCache(path, "vectors", "vector"), dim

    def get(self, keys: Sequence[bytes]) -> dict[bytes, FloatArray]:
        """Return the known vectors among `keys`."""
        found = self._values.get(keys)
        return {
            key: np.frombuffer(value, dtype="<f4").astype(np.float32)
            for key, value in found.items()
            if len(value) == 4 * self._dim
        }

    def put(self, vectors: Mapping[bytes, FloatArray]) -> None:
        """Keep vectors, as `ByteCache.put`."""
        self._values.put({key: vector.astype("<f4").tobytes() for key, vector in vectors.items()})


class CachedTextEncoder:
    """A text encoder that encodes each distinct text once, ever; implements TextEncoder.

    Args:
        encoder: What encodes the texts that are not yet known.
        folder: Where vectors are kept; None keeps them only for the call.
        progress: Called with (texts done, texts in all) while encoding.
    """

    def __init__(
        self, encoder: TextEncoder, folder: Path | None, *, progress: Callable[[int, int], None] | None = None
    ) -> None:
        self.encoder = encoder
        self.progress = progress
        self._cache = VectorCache(folder, encoder.fingerprint, encoder.dim)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.encoder.dim

    @property
    def fingerprint(self) -> str:
        """The wrapped encoder's."""
        return self.encoder.fingerprint

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [n, dim]; only texts never seen by this encoder are computed."""
        keys = [content_key(text.encode("utf-8", "surrogatepass")) for text in texts]
        known = self._cache.get(list(dict.fromkeys(keys)))
        missing = {key: text for key, text in zip(keys, texts) if key not in known}
        # Like lengths together, so that a chunk's batches need little padding.
        waiting = sorted(missing, key=lambda key: len(missing[key]))
        for start in range(0, len(waiting), _CHUNK):
            chunk = waiting[start : start + _CHUNK]
            vectors = self.encoder.encode_texts([missing[key] for key in chunk])
            fresh = dict(zip(chunk, vectors))
            self._cache.put(fresh)
            known.update(fresh)
            if self.progress is not None:
                self.progress(min(start + _CHUNK, len(waiting)), len(waiting))
        return np.stack([known[key] for key in keys]) if keys else np.zeros((0, self.dim), dtype=np.float32)
