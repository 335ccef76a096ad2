"""The gallery: vectors of a knowledge base's own pictures, which the faces of a mention's picture are compared with.

It follows the knowledge base entity by entity. A picture is known by its content, so only a new or changed one is
looked at; those of entities that were removed, kept out or erased leave it. It answers for given entities only: it
cannot be asked whose a face is.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dualway.errors import PictureError, StorageError
from dualway.images import decode_picture, read_picture
from dualway.protocols import FaceEncoder, FaceFinder, ImageEncoder
from dualway.schema import Face, FloatArray, IntArray, Picture
from dualway.vision.align import can_align
from dualway.vision.gallery_file import FOLDER, Embedded, GalleryFile, Key, Stamp, erase, open_file

if TYPE_CHECKING:
    from PIL.Image import Image

    from dualway.kb.store import KnowledgeBase

__all__ = ["FOLDER", "Embedder", "FaceEmbedder", "Gallery", "WholePictureEmbedder", "erase"]

MIN_SIDE = 16.0  # pixels of a face's shorter side
_VERSION = 1  # raise it whenever vectors could change: files are named by it
_CHUNK = 64  # pictures between commits: what a killed process loses at most


class Embedder(Protocol):
    """A picture of an entity to one vector that stands for her in comparisons."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vectors could; names the file that they are kept in."""
        ...

    @property
    def encoder_fingerprint(self) -> str:
        """That of what makes the vectors, which decides what cosines mean (`vision.calibration`)."""
        ...

    @property
    def about(self) -> Mapping[str, str]:
        """What the vectors are, for whoever finds the file."""
        ...

    def embed(self, image: Image) -> FloatArray:
        """Return the vector of an upright RGB picture, float32 [dim] of length 1.

        Raises:
            PictureError: It shows nothing that can be compared, such as no face.
        """
        ...


class FaceEmbedder:
    """The face of the person whom an entity's picture shows: the largest, weighed by how central it is.

    Args:
        finder: Finds the faces, with landmarks.
        encoder: Makes the vector.
    """

    def __init__(self, finder: FaceFinder, encoder: FaceEncoder) -> None:
        self.finder, self.encoder, self.dim = finder, encoder, encoder.dim
        self.encoder_fingerprint = encoder.fingerprint
        self.fingerprint = _digest("face", finder.fingerprint, encoder.fingerprint, MIN_SIDE)
        self.about = {
            "what": "biometric data: a face vector of each picture of this knowledge base's entities",
            "faces found by": finder.fingerprint,
            "vectors made by": encoder.fingerprint,
        }

    def embed(self, image: Image) -> FloatArray:
        """Return the vector of the picture's main face.

        Raises:
            PictureError: No face with landmarks, of at least MIN_SIDE pixels, is in it.
        """
        faces = [face for face in self.finder.find(image) if can_align(face) and _shorter_side(face) >= MIN_SIDE]
        if not faces:
            raise PictureError(f"no face of at least {MIN_SIDE:g} pixels is found in it")
        weights = [_prominence(face, image.size) for face in faces]
        return self.encoder.encode_faces(image, [faces[int(np.argmax(weights))]])[0]


class WholePictureEmbedder:
    """The whole picture by a picture encoder, for `encoders.identity` = "pictures".

    Args:
        encoder: The picture encoder.
    """

    def __init__(self, encoder: ImageEncoder) -> None:
        self.encoder, self.dim, self.encoder_fingerprint = encoder, encoder.dim, encoder.fingerprint
        self.fingerprint = _digest("picture", encoder.fingerprint)
        self.about = {
            "what": "a vector of each picture of this knowledge base's entities; may tell people apart",
            "vectors made by": encoder.fingerprint,
        }

    def embed(self, image: Image) -> FloatArray:
        """Return the picture's vector.

        Raises:
            PictureError: The encoder gives the vector 0, or numbers that are not finite.
        """
        vector = self.encoder.encode_images([image])[0].astype(np.float64)
        length = float(np.linalg.norm(vector))
        if not (np.isfinite(length) and length):
            raise PictureError("its vector is zero or not finite")
        return (vector / length).astype(np.float32)


@dataclass(frozen=True)
class Gallery:
    """The vectors of a knowledge base's pictures, in memory. Make one with `open`. It may be pickled.

    kb_rows: int64 [size], rising: the rows of the entities that have a vector.
    failures: Why a picture has none, by its path as the knowledge base has it.
    fingerprint: Changes with the embedder, and with the content of the pictures and whose they are.
    encoder_fingerprint: That of what made the vectors.
    kept: Whether they are kept on disk; False where the knowledge base's folder cannot be written.
    num_computed: Pictures that were looked at in this call.
    num_shared: Pictures that several entities have.
    """

    kb_rows: IntArray
    failures: Mapping[str, str]
    fingerprint: str
    encoder_fingerprint: str
    kept: bool
    num_computed: int
    num_shared: int
    _vectors: FloatArray  # [m, dim], in the order of `kb_rows`
    _starts: IntArray  # [size + 1]: where each entity's vectors begin
    _own: NDArray[np.bool_]  # [m]: no other entity has this picture

    @classmethod
    def open(
        cls,
        kb: KnowledgeBase,
        embedder: Embedder,
        *,
        keep: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> Gallery:
        """Bring the kept vectors up to date with a knowledge base, and return them.

        They are kept in its folder, `gallery/FINGERPRINT.sqlite`. A picture whose file has the size and time of change
        that it had is not read again.

        Args:
            kb: The knowledge base.
            embedder: What makes the vectors.
            keep: False leaves nothing on disk.
            progress: Called now and then with (pictures done, pictures in all).

        Raises:
            ModelError: A model fails. What has been computed is kept.
            StorageError: The file is held by another process for too long, or was damaged while in use.
        """
        about = {**embedder.about, **_ABOUT}
        try:
            with closing(open_file(kb, embedder.fingerprint, embedder.dim, about, keep=keep)) as file:
                return _Following(kb, embedder, file).follow(progress)
        except sqlite3.DatabaseError as error:
            place = kb.path / FOLDER / f"{embedder.fingerprint}.sqlite"
            raise StorageError(f"{place}: cannot be used ({error}); remove it and run again") from error

    @property
    def size(self) -> int:
        """Number of entities with a vector."""
        return len(self.kb_rows)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self._vectors.shape[1])

    @property
    def num_pictures(self) -> int:
        """Number of vectors."""
        return len(self._vectors)

    def count(self, rows: IntArray) -> IntArray:
        """Return how many vectors each of the entities `rows` has, int64 [k]."""
        if not self.size:
            return np.zeros(len(rows), dtype=np.int64)
        place, known = self._places(rows)
        return np.where(known, self._starts[place + 1] - self._starts[place], 0)

    def similarities(self, probes: FloatArray, rows: IntArray) -> FloatArray:
        """Return the best cosine of each probe with each entity's pictures, float32 [p, k]; -inf where it has none.

        Args:
            probes: float32 [p, dim] of length 1.
            rows: int64 [k], the entities' rows in the knowledge base.
        """
        place, known = self._places(rows)
        best = np.full((len(probes), len(place)), -np.inf, dtype=np.float32)
        if not known.any() or not len(probes):
            return best
        counts = (self._starts[place + 1] - self._starts[place])[known]
        ends = np.cumsum(counts)
        inside = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
        chosen = self._vectors[np.repeat(self._starts[place[known]], counts) + inside]
        # In doubles, so that a cosine does not depend on how many are computed at once.
        cosines = probes.astype(np.float64) @ chosen.astype(np.float64).T
        best[:, known] = np.maximum.reduceat(cosines, ends - counts, axis=1)
        return best

    def sample(self, max_entities: int, max_pictures: int) -> tuple[FloatArray, IntArray]:
        """Return vectors to measure on how alike strangers are, float32 [n, dim], and a number for whose each is.

        Entities are taken evenly over all; a picture that several entities have is left out.
        """
        owners = np.repeat(np.arange(self.size), np.diff(self._starts))
        own = np.flatnonzero(self._own)
        number = _number_within(owners[own])
        own = own[number < max_pictures]
        entities = np.unique(owners[own])
        if len(entities) > max_entities:
            entities = entities[np.linspace(0, len(entities) - 1, max_entities).astype(np.int64)]
        own = own[np.isin(owners[own], entities)]
        return self._vectors[own], owners[own]

    def _places(self, rows: IntArray) -> tuple[IntArray, NDArray[np.bool_]]:
        """Return where each row is in `kb_rows` (0 where it is not), and whether it is."""
        rows = np.asarray(rows, dtype=np.int64)
        if not self.size:
            return np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.bool_)
        place = np.minimum(np.searchsorted(self.kb_rows, rows), self.size - 1)
        known = self.kb_rows[place] == rows
        return np.where(known, place, 0), known


_ABOUT = {
    "use": "compared with the faces or pictures of captions that name one of these entities",
    "made by": "dualway; may be deleted at any time, and is then made again",
    "to erase a person": "dualway kb pictures KB --erase ID",
}


class _Item(NamedTuple):
    """A picture of the knowledge base: its row there, its key in the file, where it lies."""

    row: int
    key: Key
    picture: Picture


class _Following:
    """One pass over a knowledge base's pictures, which brings a gallery file up to date."""

    def __init__(self, kb: KnowledgeBase, embedder: Embedder, file: GalleryFile) -> None:
        self._kb, self._embedder, self._file = kb, embedder, file
        self._rows: list[int] = []
        self._contents: list[bytes] = []
        self._vectors: list[FloatArray] = []
        self._failures: dict[str, str] = {}
        self._num_computed = 0

    def follow(self, progress: Callable[[int, int], None] | None) -> Gallery:
        num_done, num_all = 0, self._kb.picture_counts().pictures
        for items in _chunks(self._items()):
            self._file.mark(item.key for item in items)
            self._take(items)
            num_done += len(items)
            if progress is not None:
                progress(num_done, num_all)
        self._file.remove_unmarked()
        return self._gallery()

    def _items(self) -> Iterator[_Item]:
        ids = self._kb.ids
        for row, picture in self._kb.gallery_pictures():
            yield _Item(row, (ids[row], picture.path), picture)

    def _take(self, items: Sequence[_Item]) -> None:
        """Add the vectors of some pictures; compute what is not known, and keep it even when a model then fails."""
        known = self._file.stamps(item.key[0] for item in items)
        stamps: dict[Key, Stamp] = {}
        fresh: dict[bytes, Embedded] = {}
        embedded = self._file.embedded(stamp.content for stamp in known.values())
        try:
            for item in items:
                try:
                    stamp, found = self._look(item, known.get(item.key), embedded, fresh)
                except PictureError as error:
                    self._failures[item.picture.path] = error.problem
                    continue
                if stamp != known.get(item.key):
                    stamps[item.key] = stamp
                if found.vector is None:
                    self._failures[item.picture.path] = found.problem
                else:
                    self._rows.append(item.row)
                    self._contents.append(stamp.content)
                    self._vectors.append(found.vector)
        finally:
            self._file.add(stamps, fresh)

    def _look(
        self, item: _Item, stamp: Stamp | None, embedded: dict[bytes, Embedded], fresh: dict[bytes, Embedded]
    ) -> tuple[Stamp, Embedded]:
        """Return how a picture's file is, and what it comes to.

        Raises:
            PictureError: It cannot be read or decoded.
        """
        path = self._kb.picture_path(item.picture)
        size, changed = _status(path)
        if stamp is not None and (stamp.size, stamp.changed) == (size, changed) and stamp.content in embedded:
            return stamp, embedded[stamp.content]
        content = read_picture(path)
        now = Stamp(size, changed, hashlib.sha256(content).digest())
        if now.content not in embedded:
            embedded |= self._file.embedded([now.content])
        if now.content not in embedded:
            image = decode_picture(content, path)
            self._num_computed += 1
            try:
                embedded[now.content] = Embedded(self._embedder.embed(image))
            except PictureError as error:
                embedded[now.content] = Embedded(None, error.problem)
            fresh[now.content] = embedded[now.content]
        return now, embedded[now.content]

    def _gallery(self) -> Gallery:
        rows = np.array(self._rows, dtype=np.int64)
        # A picture that an entity has under two names counts once.
        first = list(
            {pair: place for place, pair in reversed(list(enumerate(zip(self._rows, self._contents))))}.values()
        )
        chosen = np.array(sorted(first), dtype=np.int64)
        kb_rows, counts = np.unique(rows[chosen], return_counts=True)
        contents = [self._contents[place] for place in chosen.tolist()]
        owners = Counter(contents)
        vectors = np.array([self._vectors[place] for place in chosen.tolist()], dtype=np.float32)
        ids = self._kb.ids
        what = [f"{ids[row]}\0{content.hex()}" for row, content in zip(rows[chosen].tolist(), contents, strict=True)]
        return Gallery(
            kb_rows=kb_rows,
            failures=self._failures,
            fingerprint=_digest(self._embedder.fingerprint, *sorted(what)),
            encoder_fingerprint=self._embedder.encoder_fingerprint,
            kept=self._file.kept,
            num_computed=self._num_computed,
            num_shared=sum(count > 1 for count in owners.values()),
            _vectors=vectors.reshape(-1, self._embedder.dim),
            _starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            _own=np.array([owners[content] == 1 for content in contents], dtype=np.bool_),
        )


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _status(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return -1, -1  # told by `read_picture`
    return status.st_size, status.st_mtime_ns


def _shorter_side(face: Face) -> float:
    return 0.0 if face.box is None else min(face.box[2] - face.box[0], face.box[3] - face.box[1])


def _prominence(face: Face, size: tuple[int, int]) -> float:
    """Return the area of a face's box, times how near its centre is to the picture's: 1 there, 0 in a corner."""
    assert face.box is not None
    x0, y0, x1, y1 = face.box
    across, down = ((low + high) / side - 1 for low, high, side in ((x0, x1, size[0]), (y0, y1, size[1])))
    return (x1 - x0) * (y1 - y0) * (1 - min(float(np.hypot(across, down)) / 2**0.5, 1.0))


def _number_within(owners: IntArray) -> IntArray:
    """Return how many of the same owner come before each, int64 [n]; owners are in order."""
    _, first, counts = np.unique(owners, return_index=True, return_counts=True)
    return np.arange(len(owners)) - np.repeat(first, counts)


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr((_VERSION, *parts)).encode()).hexdigest()[:16]
