"""The models that look at pictures, as the settings name them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dualway.config import EncoderConfig, FeatureConfig
from dualway.features.seeing import FaceReader, PictureReader
from dualway.protocols import FaceEncoder, ImageEncoder, LabelClassifier

if TYPE_CHECKING:
    from dualway.kb.store import KnowledgeBase
    from dualway.vision.identity import GalleryIdentifier

PICTURES = "pictures"  # encoders.identity: compare whole pictures and objects by the picture encoder


def compares_faces(encoders: EncoderConfig) -> bool:
    """Tell whether identity is by faces: an ONNX file of face recognition."""
    return encoders.identity is not None and encoders.identity.lower().endswith(".onnx")


def load_face_reader(encoders: EncoderConfig, features: FeatureConfig) -> FaceReader | None:
    """Load what finds and reads faces; None where the settings name nothing.

    Raises:
        ModelError, UsageError: A model cannot be loaded, or is no such model.
    """
    if encoders.faces is None:
        return None
    from dualway.vision.attributes import load_taggers
    from dualway.vision.faces import MIN_SCORE, load_face_finder

    taggers = load_taggers(encoders.age, encoders.gender)
    finder = load_face_finder(encoders.faces, min_score=min(MIN_SCORE, features.min_face_score))
    return FaceReader(features, finder, taggers, _load_face_encoder(encoders))


def load_classifier(encoders: EncoderConfig) -> LabelClassifier | None:
    """Load the picture classifier that `encoders.identity` names; None where it names none.

    Raises:
        ModelError: It cannot be loaded.
    """
    if encoders.identity is None or encoders.identity == PICTURES or compares_faces(encoders):
        return None
    from dualway.vision.classifiers import load_label_classifier

    return load_label_classifier(encoders.identity)


def load_identifier(
    kb: KnowledgeBase,
    faces: FaceReader | None,
    image: ImageEncoder | None,
    *,
    by_faces: bool,
    progress: Callable[[int, int], None] | None = None,
) -> GalleryIdentifier:
    """Return what compares a picture with the knowledge base's own, whose gallery is brought up to date.

    Args:
        kb: The knowledge base; `dualway kb pictures` gives it pictures.
        faces: What finds faces and makes their vectors, for a comparison by faces.
        image: The picture encoder, for a comparison of whole pictures.
        by_faces: Which of the two.
        progress: Called with (pictures of entities done, in all).

    Raises:
        KnowledgeBaseError: The knowledge base has no pictures to compare with.
        ModelError: Scores of this model cannot be calibrated; says why.
    """
    from dualway.vision.calibration import find_calibration
    from dualway.vision.gallery import FaceEmbedder, Gallery, WholePictureEmbedder
    from dualway.vision.identity import GalleryIdentifier

    if by_faces and faces is not None and faces.encoder is not None:
        embedder = FaceEmbedder(faces.finder, faces.encoder)
    else:
        assert image is not None  # config.py requires it
        embedder = WholePictureEmbedder(image)
    gallery = Gallery.open(kb, embedder, progress=progress)
    return GalleryIdentifier(gallery, find_calibration(gallery), kb.ids, kb.names)


def load_reader(encoders: EncoderConfig, features: FeatureConfig, cache_folder: Path | None = None) -> PictureReader:
    """Load all models that look at pictures.

    Raises:
        ModelError, UsageError: One cannot be loaded, or is no such model.
    """
    from dualway.encoders import load_image_encoder
    from dualway.features.objects import ObjectFinder
    from dualway.vision import load_detector

    image = None if encoders.image is None else load_image_encoder(encoders.image)
    detector = None if encoders.detector is None else load_detector(encoders.detector)
    return PictureReader(
        features,
        image,
        finder=None if detector is None else ObjectFinder(detector, features, cache_folder),
        faces=load_face_reader(encoders, features),
        classifier=load_classifier(encoders),
        cache_folder=cache_folder,
    )


def _load_face_encoder(encoders: EncoderConfig) -> FaceEncoder | None:
    if not compares_faces(encoders):
        return None
    from dualway.vision.recognition import load_face_encoder

    return load_face_encoder(encoders.identity or "")
