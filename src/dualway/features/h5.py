"""Vectors from the h5 files of the field (GHMFC, DWE, DWET), with the list that names their rows.

A file holds one dataset `features`, float [N, dim], vectors as the encoder gave them (not of length 1); a JSON list
beside it holds the N ids in the order of the rows. The order is never inferred: some lists are sorted as text, others
are not, and two lists of the same length need not be the same (docs/formats.md).

Files from outside are read with care: a dataset that lies elsewhere (links, virtual or external storage) is refused,
sizes are compared before anything is read, and a row that is zero or not finite is an error that names its id.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dualway.errors import DataError, ModelError, PictureError, UsageError
from dualway.features.arrays import Ragged
from dualway.features.pictures import PictureVectors
from dualway.features.regions import PictureRegions
from dualway.features.seeing import WHOLE
from dualway.features.seen import Seen
from dualway.images import picture_size
from dualway.schema import FloatArray, IntArray, Region
from dualway.storage import read_json

if TYPE_CHECKING:
    from dualway.kb.store import KnowledgeBase

DATASET = "features"
MAX_DIM = 65_536
_ROWS = 8192  # read at a time
_FILTERS = {1, 2, 3, 32000}  # deflate, shuffle, fletcher32, lzf: what h5py itself writes
_SHOWN = 3
_SUFFIX = re.compile(r"\.(jpe?g|png|gif|webp|bmp|tiff?|svg)$", re.IGNORECASE)

Missing = Literal["error", "encode"]


@dataclass(frozen=True)
class VectorFile:
    """The rows of one file with their ids.

    Attributes:
        path, order_path: The h5 file and the list of its rows.
        sha256: First digits of the hash of both files' bytes.
        ids: One id a row, all different.
        vectors: float32 [N, dim], as stored.
    """

    path: Path
    order_path: Path
    sha256: str
    ids: tuple[str, ...]
    vectors: FloatArray

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.vectors.shape[1]

    @cached_property
    def row_of(self) -> Mapping[str, int]:
        """Row of each id."""
        return {id: row for row, id in enumerate(self.ids)}

    def record(self) -> dict[str, Any]:
        """Return what a feature store keeps of the file, as JSON values."""
        return {"path": str(self.path), "order": str(self.order_path), "sha256": self.sha256}


def read_vector_file(path: Path, order: Path) -> VectorFile:
    """Read the vectors of an h5 file and the list that names its rows.

    Raises:
        UsageError: h5py is not installed.
        DataError: Not such a file or list; another number of ids than rows; an id twice; a row that is zero or not
            finite; a dataset that lies outside the file. Names file and id.
    """
    ids = _read_order(order)
    with _opened(path) as file:
        dataset = _find(file, path)
        _check_shape(dataset, ids, path, order)
        vectors = _read_rows(dataset, path)
    _check_rows(vectors, ids, path)
    return VectorFile(path, order, _hash(path, order), ids, vectors)


def entity_vectors(
    file: VectorFile, kb: KnowledgeBase, encode: Callable[[IntArray], FloatArray], *, dim: int, missing: Missing
) -> tuple[FloatArray, int]:
    """Return E of a knowledge base from a file, float32 [num_entities, dim], and how many of them were encoded.

    Args:
        file: Vectors by entity id.
        kb: Its rows decide the order.
        encode: Encodes chosen rows (int64 [m]), for entities that the file lacks.
        dim: Width of the text encoder's vectors.
        missing: What to do about these: refuse, or encode them.

    Raises:
        ModelError: Another width than the text encoder's.
        DataError: Ids that the knowledge base lacks, or entities that the file lacks and that are not to be encoded.
    """
    if file.dim != dim:
        raise ModelError(
            f"{file.path}: its vectors are {file.dim} wide, those of the text encoder {dim}. The model maps mentions, "
            "captions and entities by one text map (model.project_entity=own maps entities by their own, of the same "
            "width), so both must come from encoders of one width: choose encoders.text to match, or leave "
            "--entity-vectors out"
        )
    known = set(kb.ids)
    unknown = [id for id in file.ids if id not in known]
    if unknown:
        raise DataError(
            f"{len(unknown):,} of its {len(file.ids):,} ids are not in the knowledge base {kb.path} "
            f"({_examples(unknown)}); build the knowledge base from the files that the list belongs to, or name the "
            "list that the h5 file was written with",
            path=file.order_path,
        )
    rows = np.array([file.row_of.get(id, -1) for id in kb.ids], dtype=np.int64)
    lacking = np.flatnonzero(rows < 0)
    if len(lacking) and missing == "error":
        raise DataError(
            f"lacks {len(lacking):,} of the {len(kb):,} entities of {kb.path} "
            f"({_examples([kb.ids[row] for row in lacking[:_SHOWN].tolist()])}); add --missing encode to encode their "
            "texts with encoders.text (right only where the file was made by the same encoder), or name another list",
            path=file.order_path,
        )
    vectors = file.vectors[np.maximum(rows, 0)]
    if len(lacking):
        vectors[lacking] = encode(lacking)
    return vectors, len(lacking)


class FilePictures:
    """Whole-picture vectors v from a file, in a picture encoder's place.

    Crops of objects cannot be encoded, so every picture is its own one object, as a picture without objects is. An id
    is a picture's path, its file's name, or that without its ending: `wikipedia/123.jpg`, `123.jpg` and `123` are the
    picture `.../wikipedia/123.jpg`.

    Args:
        file: Vectors by path, name or id of pictures.
        no_object: What stands for a picture without objects (`features.no_object`).
    """

    def __init__(self, file: VectorFile, *, no_object: Literal["picture", "zero"] = "picture") -> None:
        self.file = file
        self._scale = np.float32(no_object == "picture")
        self._by_name = _grouped(file.ids, _name)
        self._by_stem = _grouped(file.ids, _stem)

    def encode(
        self,
        paths: Sequence[Path],
        known: Sequence[PictureRegions],
        names: Sequence[str] | None = None,
        folders: Sequence[Path] | None = None,
    ) -> PictureVectors:
        """Return the vectors of distinct pictures; a picture that the file lacks is among the failures.

        Faces and labels are those that a file says (`known`); see PictureSource.

        Raises:
            DataError: Two rows of the file may be one picture; names both.
        """
        rows: list[int] = []
        seen: list[Seen] = []
        position: dict[Path, int] = {}
        failures: dict[str, str] = {}
        for number, (path, regions) in enumerate(zip(paths, known, strict=True)):
            row = self.row_of(path)
            if row is None:
                failures[str(path)] = f"not among the pictures of {self.file.order_path}"
            else:
                position[path] = len(rows)
                rows.append(row)
                whole, size = _whole(path)
                name = names[number] if names else path.name
                seen.append(Seen(name, size, (whole,), regions.faces or (), regions.labels or ()))
        image = self.file.vectors[np.array(rows, dtype=np.int64)]
        objects = Ragged(image * self._scale, np.arange(len(rows) + 1, dtype=np.int64))
        return PictureVectors(seen, position, failures, image, objects)

    def row_of(self, path: Path) -> int | None:
        """Return the row of a picture, None where the file lacks it.

        Raises:
            DataError: Two rows may be this picture; names both.
        """
        rows = self._by_name.get(path.name) or self._by_stem.get(_stem(path.name))
        if not rows:
            return None
        whole = _SUFFIX.sub("", path.as_posix())
        best = [row for row in rows if whole.endswith("/" + _SUFFIX.sub("", self.file.ids[row]).strip("/"))] or rows
        if len(best) > 1:
            names = " and ".join(repr(self.file.ids[row]) for row in best[:2])
            raise DataError(f"{names} may both be the picture {path}; list whole paths", path=self.file.order_path)
        return best[0]


def _whole(path: Path) -> tuple[Region, tuple[int, int]]:
    """Return the region around a whole picture and its size; of no size where the picture itself is not at hand."""
    try:
        width, height = picture_size(path)
    except PictureError:
        width = height = 0
    return Region((0.0, 0.0, float(width), float(height)), WHOLE), (width, height)


def _grouped(ids: Sequence[str], key: Callable[[str], str]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, id in enumerate(ids):
        rows.setdefault(key(id), []).append(row)
    return rows


def _name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _stem(path: str) -> str:
    """Return a picture's name without the ending of a picture: `J. Doe.jpg` is `J. Doe`, not `J`."""
    return _SUFFIX.sub("", _name(path))


def _read_order(path: Path) -> tuple[str, ...]:
    """Return the ids of a list, checked: text, not empty, all different."""
    value = read_json(path)
    if not isinstance(value, list) or not value:
        raise DataError('expected a list of ids, ["Q1", "Q2", ..], one for each row of the h5 file', path=path)
    seen: dict[str, int] = {}
    for place, id in enumerate(value):
        if isinstance(id, int) and not isinstance(id, bool):
            id = str(id)
        if not isinstance(id, str) or not id.strip():
            raise DataError(f"entry {place} is {str(id)[:80]!r}, not an id", path=path)
        if id in seen:
            raise DataError(f"entries {seen[id]} and {place} are the same, so its rows are ambiguous", path=path, id=id)
        seen[id] = place
    return tuple(seen)


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    try:
        import h5py
    except ImportError as error:
        raise UsageError(
            f"{path}: h5py, which reads such files, is not installed: pip install 'dualway[h5]'"
        ) from error
    if not path.is_file():
        raise DataError("no such file" if not path.exists() else "not a file", path=path)
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # what h5py raises on broken files
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"cannot be read as an h5 file ({reason}); get it again", path=path) from error


def _find(file: Any, path: Path) -> Any:
    """Return the dataset `features`, which must lie in the file itself."""
    import h5py

    names = list(file)
    if DATASET not in names:  # `in file` would follow links
        known = ", ".join(map(repr, names[:_SHOWN])) or "nothing"
        raise DataError(f"no dataset {DATASET!r} in it (it holds {known}); expected one, float [N, dim]", path=path)
    if not isinstance(file.get(DATASET, getlink=True), h5py.HardLink):
        raise DataError(f"{DATASET!r} is a link to another place; it must be in the file itself", path=path)
    dataset = file[DATASET]
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{DATASET!r} is a {type(dataset).__name__.lower()}, expected a dataset [N, dim]", path=path)
    if dataset.is_virtual or dataset.external:
        raise DataError(f"the numbers of {DATASET!r} lie in other files; they must be in the file itself", path=path)
    plist = dataset.id.get_create_plist()
    filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
    if filters - _FILTERS:
        raise DataError(f"{DATASET!r} is packed by filters {sorted(filters - _FILTERS)}; write it by h5py", path=path)
    return dataset


def _check_shape(dataset: Any, ids: Sequence[str], path: Path, order: Path) -> None:
    """Compare kind and sizes before anything is read: a file must not decide how much memory is taken."""
    shape = dataset.shape or ()
    if dataset.dtype.kind != "f" or dataset.dtype.itemsize > 8:
        raise DataError(f"{DATASET!r} is of type {dataset.dtype}, expected float32", path=path)
    if len(shape) != 2 or not 1 <= shape[1] <= MAX_DIM:
        raise DataError(f"{DATASET!r} has the shape {tuple(shape)}, expected [N, dim], one vector a row", path=path)
    if shape[0] != len(ids):
        raise DataError(
            f"{DATASET!r} has {shape[0]:,} rows, the list {order} {len(ids):,} ids; "
            "name the list that the file was written with",
            path=path,
        )


def _read_rows(dataset: Any, path: Path) -> FloatArray:
    vectors = np.empty(dataset.shape, dtype=np.float32)
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, and is told of as such
        for start in range(0, len(vectors), _ROWS):
            vectors[start : start + _ROWS] = dataset[start : start + _ROWS]
    return vectors


def _check_rows(vectors: FloatArray, ids: Sequence[str], path: Path) -> None:
    for start in range(0, len(vectors), _ROWS):
        block = vectors[start : start + _ROWS]
        # The largest number of a row is infinite or NaN when one of them is, and 0 when all are.
        largest = np.abs(block).max(axis=1)
        for row in np.flatnonzero(~(np.isfinite(largest) & (largest > 0))).tolist():
            what = "is zero" if largest[row] == 0 else "is not finite"
            id = ids[start + row]
            raise DataError(f"row {start + row} of {DATASET!r} {what}, so it stands for nothing", path=path, id=id)


def _hash(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _examples(ids: Sequence[str]) -> str:
    return ", ".join(map(repr, ids[:_SHOWN])) + (", .." if len(ids) > _SHOWN else "")
