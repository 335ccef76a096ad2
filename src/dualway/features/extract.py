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
from dualway.features.objects import ObjectFinder
from dualway.features.pictures import PictureEncoder, PictureSource, PictureVectors
from dualway.features.regions import (
    PictureRegions,
    choose_objects,
    face_sentence,
    identity_sentences,
    object_of_face,
)
from dualway.features.texts import caption_texts, entity_texts, mention_texts
from dualway.protocols import Detector, ImageEncoder, TextEncoder, TokenEncoder
from dualway.schema import FloatArray, IntArray, Mention, Region

if TYPE_CHECKING:
    from dualway.kb.store import KnowledgeBase

_TOKEN_BATCH = 256


@dataclass
class ExtractionReport:
    """What was found in pictures, and what could not be used.

    Attributes:
        pictures: Pictures in use.
        failures: Path of each unusable picture -> why. Its mentions keep their texts.
        regions: Objects of each picture in use, in the order of `Features.picture`; empty without a picture encoder.
        attributes: Names of the facial attributes that went into face sentences.
    """

    pictures: int = 0
    failures: dict[str, str] = field(default_factory=dict[str, str])
    regions: list[tuple[Region, ...]] = field(default_factory=list[tuple[Region, ...]])
    attributes: tuple[str, ...] = ()


class FeatureExtractor:
    """Turns texts and pictures into Features with fixed encoders and templates.

    Args:
        config: Templates and which objects are kept.
        text: The text encoder, usually a CachedTextEncoder.
        image: The picture encoder; None: pictures are not read.
        cache_folder: Where picture vectors are kept; None keeps none.
        regions: Objects, faces and labels of pictures, by path (`read_regions`); without an entry, a picture has
            neither faces nor labels.
        detector: Finds the objects of pictures of which `regions` says none; without it, the whole picture is its one
            object.
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
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.config, self.text, self.image, self.detector = config, text, image, detector
        finder = None if detector is None else ObjectFinder(detector, config, cache_folder)
        self._pictures: PictureSource | None = None
        if image is not None:
            self._pictures = PictureEncoder(
                image, cache_folder, no_object=config.no_object, finder=finder, progress=progress
            )
        self._regions = {path.resolve(): found for path, found in (regions or {}).items()}

    @property
    def detector_fingerprint(self) -> str | None:
        """Fingerprint of the detector in use; None without one, or where no picture is read."""
        return None if self.detector is None or self.image is None else self.detector.fingerprint

    def with_pictures(self, pictures: PictureSource) -> FeatureExtractor:
        """Return an extractor that has its pictures' vectors from elsewhere: no encoder and no detector are used."""
        other = copy.copy(self)
        other.image, other.detector, other._pictures = None, None, pictures
        return other

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
    ) -> tuple[Features, ExtractionReport]:
        """Return the features of `mentions`.

        Args:
            mentions: What to extract.
            image_path: Where a mention's picture lies, None for none.
            entities: E, as from `entities`.
            model: Tells whether token vectors are needed.
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
        return self._add_pictures(features, mentions, [image_path(mention) for mention in mentions])

    def _add_pictures(
        self, features: Features, mentions: Sequence[Mention], paths: Sequence[Path | None]
    ) -> tuple[Features, ExtractionReport]:
        """Add what pictures and the regions file give: v, d, faces and labels."""
        distinct = list(dict.fromkeys(path for path in paths if path is not None))
        found = [self._regions_of(path) for path in distinct]
        objects = [choose_objects(self.config, regions) for regions in found]
        wanted = [chosen if self._knows_objects(of) else None for of, chosen in zip(found, objects, strict=True)]
        report = ExtractionReport()
        if self._pictures is None:  # texts about pictures only: faces and labels
            position = {path: i for i, path in enumerate(distinct)}
        else:
            encoded = self._pictures.encode(distinct, wanted)
            position, report.failures, report.regions = encoded.position, encoded.failures, encoded.regions
            features = _with_vectors(features, encoded)
            found = [regions for path, regions in zip(distinct, found, strict=True) if path in position]
            objects = encoded.regions
        report.pictures = len(position)
        picture = np.array([-1 if path is None else position.get(path, -1) for path in paths], dtype=np.int64)
        features = replace(features, picture=picture)
        if self._regions:
            features = self._add_labels(features, found)
            features, report.attributes = self._add_faces(features, mentions, found, objects)
        return features, report

    def _regions_of(self, path: Path) -> PictureRegions:
        try:
            return self._regions.get(path.resolve(), PictureRegions())
        except (OSError, ValueError, RuntimeError):  # no name for a file, or links in a circle: told when it is read
            return PictureRegions()

    def _knows_objects(self, regions: PictureRegions) -> bool:
        return self.detector is None or regions.objects is not None

    def _add_labels(self, features: Features, found: Sequence[PictureRegions]) -> Features:
        """Add the encoded identity sentences of each picture (Eq. 6's s)."""
        return replace(features, labels=self._encode_lists([identity_sentences(self.config, f.labels) for f in found]))

    def _add_faces(
        self,
        features: Features,
        mentions: Sequence[Mention],
        found: Sequence[PictureRegions],
        objects: Sequence[Sequence[Region]],
    ) -> tuple[Features, tuple[str, ...]]:
        """Add the encoded face sentences of each mention (Eq. 5's f), and each face's object."""
        sentences: list[list[str]] = []
        owners: list[int] = []
        names: dict[str, None] = {}
        for mention, i in zip(mentions, features.picture.tolist(), strict=True):
            faces = [face for face in found[i].faces if face.attributes] if i >= 0 else []
            sentences.append([face_sentence(self.config, mention.surface, face) for face in faces])
            owners += [object_of_face(face, objects[i]) for face in faces]
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


def _with_vectors(features: Features, encoded: PictureVectors) -> Features:
    return replace(features, image=encoded.image, objects=encoded.objects)
