"""From mentions, pictures and a knowledge base to Features in memory (paper, section 4: features extraction)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dualway.config import FeatureConfig, ModelConfig
from dualway.errors import ModelError
from dualway.features.arrays import Features, Ragged
from dualway.features.identities import CandidateIdentifier
from dualway.features.objects import ObjectFinder
from dualway.features.pictures import PictureEncoder, PictureSource, PictureVectors
from dualway.features.regions import (
    PictureRegions,
    choose_objects,
    object_of_face,
)
from dualway.features.seeing import FaceReader, PictureReader
from dualway.features.seen import Seen
from dualway.features.texts import caption_texts, entity_texts, face_sentence, identity_sentences, mention_texts
from dualway.protocols import Detector, ImageEncoder, LabelClassifier, TextEncoder, TokenEncoder
from dualway.schema import FloatArray, IdentityLabel, IntArray, Mention, Region

if TYPE_CHECKING:
    from dualway.kb.store import KnowledgeBase

_TOKEN_BATCH = 256


@dataclass
class ExtractionReport:
    """What was found in pictures, and what could not be used.

    Attributes:
        pictures: Pictures in use.
        failures: Path of each unusable picture -> why. Its mentions keep their texts.
        seen: What is in each picture in use, in the order of `Features.picture`.
        attributes: Names of the facial attributes that went into face sentences.
        identities: Whom the knowledge base's pictures say each mention's picture shows; empty where none were asked.
        paths: Of the pictures in use, in order.
        face_vectors: Of the faces of each picture in use; None where none were made.
    """

    pictures: int = 0
    failures: dict[str, str] = field(default_factory=dict[str, str])
    seen: Sequence[Seen] = ()
    attributes: tuple[str, ...] = ()
    identities: Sequence[tuple[IdentityLabel, ...]] = ()
    paths: Sequence[Path] = ()
    face_vectors: Ragged | None = None

    def take(self, index: IntArray) -> ExtractionReport:
        """Return the report of the chosen mentions (int64 [m]); what is said of pictures stays."""
        identities = [self.identities[i] for i in index.tolist()] if self.identities else ()
        return replace(self, identities=identities)

    @property
    def regions(self) -> list[tuple[Region, ...]]:
        """Objects of each picture in use, in the order of `Features.picture`; all read into memory."""
        return [seen.objects for seen in self.seen]

    def objects_of(self, picture: int) -> tuple[Region, ...]:
        """Return the objects of a picture in use (`Features.picture`); none for -1."""
        return self.seen[picture].objects if 0 <= picture < len(self.seen) else ()


class FeatureExtractor:
    """Turns texts and pictures into Features with fixed encoders and templates.

    Args:
        config: Templates and which objects and faces are kept.
        text: The text encoder, usually a CachedTextEncoder.
        image: The picture encoder; None: neither v nor objects.
        cache_folder: Where picture vectors are kept; None keeps none.
        regions: Objects, faces and labels of pictures, by path (`read_regions`), taken in place of looking.
        detector: Finds the objects of pictures of which `regions` says none; without it, the whole picture is its one
            object.
        faces: Finds and reads the faces of pictures of which `regions` says none.
        classifier: Labels pictures of which `regions` says nothing (section 4.3.2).
        identifier: Compares with the knowledge base's own pictures of each mention's candidates.
        progress: Called with (pictures done, pictures in all) while pictures are read.
    """

    def __init__(
        self,
        config: FeatureConfig,
        text: TextEncoder,
        image: ImageEncoder | None = None,
        *,
        cache_folder: Path | None = None,
        regions: Mapping[Path, PictureRegions] | None = None,
        detector: Detector | None = None,
        faces: FaceReader | None = None,
        classifier: LabelClassifier | None = None,
        identifier: CandidateIdentifier | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.config, self.text, self.image, self.identifier = config, text, image, identifier
        finder = None if detector is None or image is None else ObjectFinder(detector, config, cache_folder)
        self.reader: PictureReader | None = None
        self._pictures: PictureSource | None = None
        if image is not None or faces is not None or classifier is not None:
            self.reader = PictureReader(
                config, image, finder=finder, faces=faces, classifier=classifier, cache_folder=cache_folder
            )
            self._pictures = PictureEncoder(self.reader, progress=progress)
        self._regions = {path.resolve(): found for path, found in (regions or {}).items()}

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of each model that is used, by "text" and the settings of `encoders`."""
        found = {"text": self.text.fingerprint, **({} if self.reader is None else self.reader.fingerprints())}
        return found if self.identifier is None else {**found, "identity": self.identifier.fingerprint}

    @property
    def looks_at_pictures(self) -> bool:
        """Tell whether pictures are opened."""
        return self._pictures is not None

    def with_pictures(self, pictures: PictureSource) -> FeatureExtractor:
        """Return an extractor that has what is in pictures from elsewhere."""
        other = copy.copy(self)
        other._pictures = pictures
        return other

    def with_vectors(self, pictures: PictureSource) -> FeatureExtractor:
        """Return an extractor that has its pictures' vectors from elsewhere and looks for nothing in pictures."""
        other = self.with_pictures(pictures)
        other.image, other.reader, other.identifier = None, None, None
        return other

    def regions_of(self, path: Path) -> PictureRegions:
        """Return what the regions file says of a picture."""
        try:
            return self._regions.get(path.resolve(), PictureRegions()) if self._regions else PictureRegions()
        except (OSError, ValueError, RuntimeError):  # no name for a file, or links in a circle: told when it is read
            return PictureRegions()

    def entities(self, kb: KnowledgeBase, rows: IntArray | None = None) -> FloatArray:
        """Return E of the chosen rows (all by default), float32 [m, dim]; without a text, a name stands for itself."""
        return self.text.encode_texts(entity_texts(self.config, kb, rows))

    def extract(
        self,
        mentions: Sequence[Mention],
        image_path: Callable[[Mention], Path | None],
        entities: FloatArray,
        *,
        model: ModelConfig | None = None,
        folders: Sequence[Path] | None = None,
    ) -> tuple[Features, ExtractionReport]:
        """Return the features of `mentions`.

        Args:
            mentions: What to extract.
            image_path: Where a mention's picture lies, None for none.
            entities: E, as from `entities`.
            model: Tells whether token vectors are needed.
            folders: Those that a link to a picture may not lead out of; None: any link is followed.
        """
        texts = caption_texts(self.config, mentions)
        features = Features(
            mention=self.text.encode_texts(mention_texts(self.config, mentions)),
            text=self.text.encode_texts(texts),
            picture=np.full(len(mentions), -1, dtype=np.int64),
            entities=entities,
            text_tokens=self._tokens(texts) if model is not None and model.text_keys == "tokens" else None,
        )
        if self._pictures is None and not self._regions:
            return features, ExtractionReport()
        return self._add_pictures(features, mentions, [image_path(mention) for mention in mentions], folders)

    def _add_pictures(
        self,
        features: Features,
        mentions: Sequence[Mention],
        paths: Sequence[Path | None],
        folders: Sequence[Path] | None,
    ) -> tuple[Features, ExtractionReport]:
        """Add what pictures and the regions file give: v, d, faces, labels and identities."""
        names = {path: mention.image or "" for mention, path in zip(mentions, paths, strict=True) if path is not None}
        distinct = list(names)
        known = [self.regions_of(path) for path in distinct]
        if self._pictures is None:  # texts about pictures only: faces and labels
            found = _as_told(self.config, distinct, known)
        else:
            found = self._pictures.encode(distinct, known, list(names.values()), folders)
        picture = np.array([-1 if path is None else found.position.get(path, -1) for path in paths], dtype=np.int64)
        features = replace(features, picture=picture, image=found.image, objects=found.objects)
        report = ExtractionReport(
            len(found.position), found.failures, found.seen, paths=list(found.position), face_vectors=found.faces
        )
        if self._regions or self._says("identity"):
            features = self._add_labels(features, found)
        if self._regions or self._says("age") or self._says("gender"):
            features, report.attributes = self._add_faces(features, mentions, found)
        if self.identifier is not None:
            report.identities = self.identifier.identify(mentions, picture, found)
            sentences = [self.identifier.sentences(self.config, labels) for labels in report.identities]
            features = replace(features, identities=self._encode_lists(sentences))
        return features, report

    def _says(self, part: str) -> bool:
        """Tell whether a model fills the part: "identity" (labels of a classifier), or an attribute."""
        if self.reader is None:
            return False
        if part == "identity":
            return self.reader.classifier is not None
        return self.reader.faces is not None and part in self.reader.faces.fingerprints()

    def _add_labels(self, features: Features, found: PictureVectors) -> Features:
        """Add the encoded identity sentences of each picture (Eq. 6's s)."""
        sentences = [identity_sentences(self.config, record.labels) for record in found.seen]
        return replace(features, labels=self._encode_lists(sentences))

    def _add_faces(
        self, features: Features, mentions: Sequence[Mention], found: PictureVectors
    ) -> tuple[Features, tuple[str, ...]]:
        """Add the encoded face sentences of each mention (Eq. 5's f), and each face's object."""
        sentences: list[list[str]] = []
        owners: list[int] = []
        names: dict[str, None] = {}
        for mention, i in zip(mentions, features.picture.tolist(), strict=True):
            seen = found.seen[i] if i >= 0 else None
            faces = [] if seen is None else [face for face in seen.faces if face.attributes]
            sentences.append([face_sentence(self.config, mention.surface, face) for face in faces])
            owners += [] if seen is None else [object_of_face(face, seen.objects) for face in faces]
            names.update(dict.fromkeys(name for face in faces for name in face.attributes))
        face_object = np.array(owners, dtype=np.int64)
        return replace(features, faces=self._encode_lists(sentences), face_object=face_object), tuple(names)

    def _encode_lists(self, lists: Sequence[Sequence[str]]) -> Ragged:
        flat = [text for texts in lists for text in texts]
        return Ragged(self.text.encode_texts(flat), np.cumsum([0, *map(len, lists)]).astype(np.int64))

    def _tokens(self, texts: Sequence[str]) -> Ragged:
        encoder: Any = getattr(self.text, "encoder", self.text)
        if not hasattr(encoder, "encode_tokens"):
            raise ModelError("model.text_keys = 'tokens' needs an encoder with token vectors: a sentence encoder")
        values: list[FloatArray] = []
        counts: list[int] = []
        tokens: TokenEncoder = encoder
        for start in range(0, len(texts), _TOKEN_BATCH):
            states, mask = tokens.encode_tokens(texts[start : start + _TOKEN_BATCH])
            kept = mask.astype(bool)
            values.append(states[kept])
            counts.extend(kept.sum(axis=1).tolist())
        stacked = np.concatenate(values) if values else np.zeros((0, self.text.dim), dtype=np.float32)
        return Ragged(stacked, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


class EntityVectors:
    """E of a knowledge base's entities, each encoded when it is first asked for.

    Args:
        extractor: Whose encoder and template are used.
        kb: The knowledge base.
    """

    def __init__(self, extractor: FeatureExtractor, kb: KnowledgeBase) -> None:
        self.extractor, self.kb = extractor, kb
        self._vectors = np.zeros((len(kb), extractor.text.dim), dtype=np.float32)
        self._encoded = np.zeros(len(kb), dtype=np.bool_)

    def all(self) -> FloatArray:
        """Return float32 [num_entities, dim]; always the same array."""
        return self.of(np.arange(len(self.kb)))

    def of(self, rows: IntArray) -> FloatArray:
        """Return float32 [num_entities, dim] in which at least the chosen rows are encoded (-1 is passed over)."""
        missing = np.unique(rows[rows >= 0])
        missing = missing[~self._encoded[missing]]
        if len(missing):
            self._vectors[missing] = self.extractor.entities(self.kb, missing)
            self._encoded[missing] = True
        return self._vectors


def _as_told(config: FeatureConfig, paths: Sequence[Path], known: Sequence[PictureRegions]) -> PictureVectors:
    """Return what a regions file says of pictures that nothing looks at."""
    seen = [
        Seen(path.name, objects=choose_objects(config, of), faces=of.faces or (), labels=of.labels or ())
        for path, of in zip(paths, known, strict=True)
    ]
    return PictureVectors(seen, {path: i for i, path in enumerate(paths)})
