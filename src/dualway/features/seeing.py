"""One picture, read once: its objects, faces and their attributes, labels, and the vectors of all these.

The picture is decoded once however much is looked for in it. What is found depends on the picture alone, not on which
others are read before or beside it, so a store that was killed and went on is the store that was not.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dualway.encoders.cache import KEY_BYTES, VectorCache
from dualway.errors import PictureError
from dualway.features.objects import ObjectFinder
from dualway.features.regions import CutOut, PictureRegions, choose_objects
from dualway.features.seen import Seen
from dualway.images import DECODING, content_size, decode_picture, read_picture
from dualway.schema import Face, FloatArray, IdentityLabel, Region
from dualway.vision.crops import crop_region

if TYPE_CHECKING:
    from PIL.Image import Image

    from dualway.config import FeatureConfig
    from dualway.protocols import FaceEncoder, FaceFinder, FaceTagger, ImageEncoder, LabelClassifier

_BATCH = 32
MAX_SIDE = 1024  # pixels that an encoder is given of a side; encoders see 224 to 512 of them
WHOLE = "picture"  # label of the one object of a picture without objects


class Vectors(NamedTuple):
    """The vectors of one picture.

    image: float32 [dim], v; None without a picture encoder.
    objects: float32 [n, dim], a row each of `Seen.objects`; None without a picture encoder.
    faces: float32 [f, face_dim], a row each of `Seen.faces`, 0 where a face has no landmarks; None without an encoder
        of faces.
    """

    image: FloatArray | None
    objects: FloatArray | None
    faces: FloatArray | None


class FaceReader:
    """Finds faces, says of them what it was asked to say, and makes the vectors that tell people apart.

    Args:
        config: Which faces count (`choose_faces`).
        finder: Finds them.
        taggers: Say what is asked for; none by default.
        encoder: Makes their vectors; None makes none.
    """

    def __init__(
        self,
        config: FeatureConfig,
        finder: FaceFinder,
        taggers: Sequence[FaceTagger] = (),
        encoder: FaceEncoder | None = None,
    ) -> None:
        self.config, self.finder, self.taggers, self.encoder = config, finder, tuple(taggers), encoder

    def fingerprints(self) -> dict[str, str]:
        """Return what decides on faces: "faces", and by the name of each attribute."""
        found = {"faces": self.finder.fingerprint}
        for tagger in self.taggers:
            found |= dict.fromkeys(tagger.attributes, tagger.fingerprint)
        return found

    def find(self, image: Image) -> tuple[Face, ...]:
        """Return the faces that count, best first."""
        from dualway.vision.faces import choose_faces

        return tuple(choose_faces(self.config, self.finder.find(image)))

    def tag(self, image: Image, faces: tuple[Face, ...]) -> tuple[Face, ...]:
        """Return the faces with their attributes; no face, no attributes (METHOD.md, trap 7)."""
        for tagger in self.taggers if faces else ():
            said = tagger.tag(image, faces)
            faces = tuple(_with(face, values) for face, values in zip(faces, said, strict=True))
        return faces


class PictureReader:
    """Reads pictures by fixed models and settings.

    Args:
        config: Which objects and faces are kept, and how objects are cut out.
        encoder: The picture encoder; None: no v and no objects.
        finder: Finds the objects of pictures of which they are not known; None: they have none.
        faces: Finds and reads faces; None: only those of a file.
        classifier: Names people by the whole picture and by each object; None: only the labels of a file.
        cache_folder: Where vectors of pictures and objects are kept by content, encoder and box; None keeps none.
    """

    def __init__(
        self,
        config: FeatureConfig,
        encoder: ImageEncoder | None = None,
        *,
        finder: ObjectFinder | None = None,
        faces: FaceReader | None = None,
        classifier: LabelClassifier | None = None,
        cache_folder: Path | None = None,
    ) -> None:
        self.config, self.encoder, self.finder, self.faces, self.classifier = config, encoder, finder, faces, classifier
        self._cache = None if encoder is None else VectorCache(cache_folder, encoder.fingerprint, encoder.dim)
        self.seconds: defaultdict[str, float] = defaultdict(float)  # spent so far, by stage

    @property
    def dim(self) -> int | None:
        """Width of v and of objects' vectors; None without a picture encoder."""
        return None if self.encoder is None else self.encoder.dim

    @property
    def face_dim(self) -> int | None:
        """Width of faces' vectors; None when none are made."""
        return None if self.faces is None or self.faces.encoder is None else self.faces.encoder.dim

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of each model, by the setting of `encoders` that names it."""
        found: dict[str, str] = {}
        if self.encoder is not None:
            found["image"] = self.encoder.fingerprint
        if self.finder is not None:
            found["detector"] = self.finder.detector.fingerprint
        if self.faces is not None:
            found |= self.faces.fingerprints()
        if self.classifier is not None:
            found["identity"] = self.classifier.fingerprint
        elif self.faces is not None and self.faces.encoder is not None:
            found["identity"] = self.faces.encoder.fingerprint
        return found

    def read(
        self, path: Path, known: PictureRegions, *, name: str = "", folders: Sequence[Path] | None = None
    ) -> tuple[Seen, Vectors]:
        """Return what is in a picture.

        Args:
            path: The picture.
            known: What a file says of it, which is taken in place of looking.
            name: Its name in the record.
            folders: Those that a link on the way to it may not lead out of; None: any link is followed.

        Raises:
            PictureError: It cannot be used.
        """
        with self._timed("read"):
            content = read_picture(path, folders)
        view = _View(content, path, self.seconds)
        objects = choose_objects(self.config, known) if known.objects is not None else self._find(view)
        failures: dict[str, str] = {}
        vectors, objects = self._encode(view, objects, failures)
        faces, face_vectors = self._read_faces(view, known)
        labels = known.labels if known.labels is not None else self._classify(view, objects)
        if not objects and self.encoder is not None:
            objects = (Region((0.0, 0.0, float(view.size[0]), float(view.size[1])), WHOLE),)
        seen = Seen(name or path.name, view.size, objects, faces, labels, failures)
        if vectors is None:
            return seen, Vectors(None, None, face_vectors)
        image, rows = vectors[0], vectors[1:]
        if not len(rows):
            rows = vectors[:1] * np.float32(self.config.no_object == "picture")
        return seen, Vectors(image, rows, face_vectors)

    def _find(self, view: _View) -> tuple[Region, ...]:
        if self.finder is None:
            return ()
        with self._timed("detect"):
            return self.finder.find(view.content, view.decode)

    def _encode(
        self, view: _View, objects: tuple[Region, ...], failures: dict[str, str]
    ) -> tuple[FloatArray | None, tuple[Region, ...]]:
        """Return float32 [1 + n, dim], the whole picture and each object, and the objects that could be used."""
        if self.encoder is None or self._cache is None:
            return None, objects
        keys = PictureKeys(view.content)
        crops = [_Crop(None, keys.whole(), view.decode), *self._crops(view, keys, objects, failures)]
        known = self._cache.get([crop.key for crop in crops])
        missing = _decode([crop for crop in crops if crop.key not in known], failures)
        with self._timed("encode"):
            for start in range(0, len(missing), _BATCH):
                batch = missing[start : start + _BATCH]
                vectors = self.encoder.encode_images([picture for _, picture in batch])
                if not np.isfinite(vectors).all():
                    raise PictureError("the encoder makes numbers of it that are not finite", path=view.path)
                known.update((key, vector) for (key, _), vector in zip(batch, vectors, strict=True))
        self._cache.put({key: known[key] for key, _ in missing})
        crops = [crop for crop in crops if crop.key in known]
        kept = tuple(crop.region for crop in crops if crop.region is not None)
        return np.stack([known[crop.key] for crop in crops]), kept

    def _crops(
        self, view: _View, keys: PictureKeys, objects: Sequence[Region], failures: dict[str, str]
    ) -> list[_Crop]:
        """Return what to encode of each object; a cut-out that cannot be read is left out and among the failures."""
        crops: list[_Crop] = []
        for region in objects:
            if not isinstance(region, CutOut):
                key = keys.of(region, self.config.crop)
                crops.append(_Crop(region, key, lambda r=region: self._cut(view, r)))
                continue
            own_path = Path(region.picture)
            try:
                own = read_picture(own_path)
            except PictureError as error:
                failures[region.picture] = error.problem
            else:
                crops.append(_Crop(region, picture_key(own), lambda o=own, p=own_path: decode_picture(o, p)))
        return crops

    def _cut(self, view: _View, region: Region) -> Image:
        return crop_region(view.decode(), region, self.config.crop)

    def _read_faces(self, view: _View, known: PictureRegions) -> tuple[tuple[Face, ...], FloatArray | None]:
        faces = known.faces
        if faces is None and self.faces is None:
            return (), None
        if faces is None and self.faces is not None:
            with self._timed("faces"):
                found = self.faces.find(view.decode())
            with self._timed("attributes"):
                faces = self.faces.tag(view.decode(), found)
        assert faces is not None
        if self.faces is None or self.faces.encoder is None:
            return faces, None
        with self._timed("identity"):
            return faces, self.faces.encoder.encode_faces(view.decode(), faces)

    def _classify(self, view: _View, objects: Sequence[Region]) -> tuple[IdentityLabel, ...]:
        """Return the labels of the whole picture and of each object, section 4.3.2."""
        if self.classifier is None:
            return ()
        inside = [(i, region) for i, region in enumerate(objects) if not isinstance(region, CutOut)]
        with self._timed("identity"):
            crops = [view.decode(), *(self._cut(view, region) for _, region in inside)]
            said = self.classifier.classify(crops)
        probes = [-1, *(i for i, _ in inside)]
        return tuple(replace(label, probe=i) for i, labels in zip(probes, said, strict=True) for label in labels)

    @contextmanager
    def _timed(self, stage: str) -> Generator[None]:
        """Count the time of a stage; what decoding takes within it is counted as decoding alone."""
        start, decoding = time.perf_counter(), self.seconds["decode"]
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start - (self.seconds["decode"] - decoding)


class _View:
    """A picture's bytes, decoded when first asked for, and not again."""

    def __init__(self, content: bytes, path: Path, seconds: dict[str, float]) -> None:
        self.content, self.path, self._seconds = content, path, seconds
        self._image: Image | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture; from the header where nothing had to be decoded."""
        return content_size(self.content, self.path) if self._image is None else self._image.size

    def decode(self) -> Image:
        """Return the upright RGB picture."""
        if self._image is None:
            start = time.perf_counter()
            self._image = decode_picture(self.content, self.path)
            self._seconds["decode"] += time.perf_counter() - start
        return self._image


class _Crop(NamedTuple):
    """Something to be encoded: the whole picture (region None), or an object of it."""

    region: Region | None
    key: bytes
    decode: Callable[[], Image]


def _decode(crops: Sequence[_Crop], failures: dict[str, str]) -> list[tuple[bytes, Image]]:
    """Return the keys and pictures of what is to be encoded; a cut-out that is broken is among the failures.

    Large ones are made smaller at once: a dozen crops of a large photograph would take a gigabyte.
    """
    decoded: list[tuple[bytes, Image]] = []
    for crop in crops:
        try:
            decoded.append((crop.key, _smaller(crop.decode())))
        except PictureError as error:
            if not isinstance(crop.region, CutOut):
                raise
            failures[crop.region.picture] = error.problem
    return decoded


def _smaller(image: Image) -> Image:
    """Return a picture whose longer side is at most MAX_SIDE pixels."""
    longer = max(image.size)
    if longer <= MAX_SIDE:
        return image
    width, height = (max(1, round(side * MAX_SIDE / longer)) for side in image.size)
    return image.resize((width, height))


class PictureKeys:
    """The keys of what is encoded of one picture; another way of decoding or of making smaller makes other keys.

    Args:
        content: The picture's file, which is hashed once, however many objects it has.
    """

    def __init__(self, content: bytes) -> None:
        self._hash = hashlib.sha256(b"%d/%d/" % (DECODING, MAX_SIDE))
        self._hash.update(content)

    def whole(self) -> bytes:
        """Return the key of the whole picture."""
        return self._hash.digest()[:KEY_BYTES]

    def of(self, region: Region, crop: str) -> bytes:
        """Return the key of a part of it, cut out by "box" or "mask"."""
        mask = getattr(region, "mask", ()) if crop == "mask" else ()
        part = self._hash.copy()
        part.update(repr(region.box).encode() + (repr(mask).encode() if mask else b""))
        return part.digest()[:KEY_BYTES]


def crop_key(content: bytes, region: Region, crop: str) -> bytes:
    """Return the key of a part of the picture with this content, cut out by "box" or "mask"."""
    return PictureKeys(content).of(region, crop)


def picture_key(content: bytes) -> bytes:
    """Return the key of the whole picture with this content."""
    return PictureKeys(content).whole()


def _with(face: Face, values: Mapping[str, tuple[str, float | None]]) -> Face:
    attributes = {name: value for name, (value, _) in values.items()}
    confidence = {name: sure for name, (_, sure) in values.items() if sure is not None}
    return replace(face, attributes={**face.attributes, **attributes}, confidence={**face.confidence, **confidence})
