"""Pictures to arrays: the whole picture v, its objects d (paper, Eqs. 2 and 3) and faces, each picture decoded once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from dualway.errors import PictureError
from dualway.features.arrays import Ragged
from dualway.features.regions import PictureRegions
from dualway.features.seeing import PictureReader, Vectors
from dualway.features.seen import Seen
from dualway.schema import FloatArray


@dataclass
class PictureVectors:
    """What was found in p usable pictures, picture by picture.

    Attributes:
        seen: The record of each.
        position: path of each usable picture -> its place.
        failures: path of each unusable one -> why; of cut-outs too, which are left out of their picture's objects.
        image: float32 [p, dim], v; None without a picture encoder.
        objects: Ragged of p lists, d, never empty; None without a picture encoder.
        faces: Ragged of p lists, the vectors that tell people apart; None when none are made.
    """

    seen: Sequence[Seen]
    position: Mapping[Path, int]
    failures: dict[str, str] = field(default_factory=dict[str, str])
    image: FloatArray | None = None
    objects: Ragged | None = None
    faces: Ragged | None = None


class PictureSource(Protocol):
    """Where what is known of pictures comes from: models, a file, or shards that were made before."""

    def encode(
        self,
        paths: Sequence[Path],
        known: Sequence[PictureRegions],
        names: Sequence[str] | None = None,
        folders: Sequence[Path] | None = None,
    ) -> PictureVectors:
        """Return what is in distinct pictures.

        Args:
            paths: The pictures.
            known: What a file says of each.
            names: Their names in the records.
            folders: Those that a link may not lead out of; None: any link is followed.
        """
        ...


class PictureEncoder:
    """Reads pictures one after the other in this process; implements PictureSource.

    Args:
        reader: The models.
        progress: Called with (pictures done, pictures in all).
    """

    def __init__(self, reader: PictureReader, *, progress: Callable[[int, int], None] | None = None) -> None:
        self.reader, self._progress = reader, progress

    def encode(
        self,
        paths: Sequence[Path],
        known: Sequence[PictureRegions],
        names: Sequence[str] | None = None,
        folders: Sequence[Path] | None = None,
    ) -> PictureVectors:
        """Return what is in distinct pictures; see PictureSource."""
        seen: list[Seen] = []
        vectors: list[Vectors] = []
        position: dict[Path, int] = {}
        failures: dict[str, str] = {}
        for number, (path, regions) in enumerate(zip(paths, known, strict=True)):
            if self._progress is not None:
                self._progress(number + 1, len(paths))
            try:
                record, found = self.reader.read(path, regions, name=names[number] if names else "", folders=folders)
            except PictureError as error:
                failures[str(path)] = error.problem
                continue
            failures |= record.failures
            position[path] = len(seen)
            seen.append(record)
            vectors.append(found)
        return PictureVectors(seen, position, failures, *stack(vectors, self.reader.dim, self.reader.face_dim))


Columns = tuple[FloatArray | None, Ragged | None, Ragged | None]  # image, objects, faces of PictureVectors


def stack(vectors: Sequence[Vectors], dim: int | None, face_dim: int | None) -> Columns:
    """Return the vectors of pictures as `PictureVectors` holds them: image, objects, faces.

    Args:
        vectors: Of each picture.
        dim: Width of v and objects; None: there are none.
        face_dim: Width of faces; None: there are none.
    """
    image = objects = faces = None
    if dim is not None:
        image = _rows([line.image for line in vectors if line.image is not None], dim)
        objects = _lists([line.objects for line in vectors if line.objects is not None], dim)
    if face_dim is not None:
        faces = _lists([line.faces for line in vectors if line.faces is not None], face_dim)
    return image, objects, faces


def _rows(rows: Sequence[FloatArray], dim: int) -> FloatArray:
    return np.stack(rows) if rows else np.zeros((0, dim), dtype=np.float32)


def _lists(lists: Sequence[FloatArray], dim: int) -> Ragged:
    values = np.concatenate([np.zeros((0, dim), dtype=np.float32), *lists])
    return Ragged(values, np.cumsum([0, *map(len, lists)]).astype(np.int64))
