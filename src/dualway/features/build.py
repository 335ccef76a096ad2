"""Makes a feature store of a data set's splits: what is there and unchanged stays, the rest is computed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualway.config import Preset
from dualway.datasets.base import Dataset
from dualway.errors import DataError
from dualway.features.extract import ExtractionReport, FeatureExtractor
from dualway.features.h5 import FilePictures, Missing, VectorFile, entity_vectors
from dualway.features.identity import hash_order, hash_pictures, identify
from dualway.features.manifest import Manifest, Origin, SplitRecord, check_split_name, read_manifest
from dualway.features.store import MANIFEST, check_new, check_origin, open_features, save_features
from dualway.schema import FloatArray

if TYPE_CHECKING:
    from dualway.kb.store import KnowledgeBase


@dataclass(frozen=True)
class Sources:
    """What goes into a store beside what encoders give.

    Attributes:
        dtype: Of the vectors on disk, float32 or float16.
        entities: E by entity id, in place of encoding the entities' texts.
        missing: What to do about entities that this file lacks.
        pictures: v by picture, in place of a picture encoder.
        regions: The regions file that the extractor was given.
    """

    dtype: str = "float32"
    entities: VectorFile | None = None
    missing: Missing = "error"
    pictures: VectorFile | None = None
    regions: Path | None = None

    def records(self) -> dict[str, dict[str, Any]]:
        """Return what the manifest keeps of the files: path and hash."""
        files = {"entities": self.entities, "pictures": self.pictures}
        records = {part: file.record() for part, file in files.items() if file is not None}
        if self.regions is not None:
            records["regions"] = {"path": str(self.regions), "sha256": _hash(self.regions)}
        return records


@dataclass(frozen=True)
class Made:
    """What became of one split: `report` is None where it was there and unchanged."""

    split: str
    record: SplitRecord
    report: ExtractionReport | None


class StoreBuilder:
    """Puts splits into the store in `folder`.

    Args:
        folder: The store's; may be there, from the same settings and knowledge base.
        extractor: Makes the features, by the encoders and regions of `preset` and `sources`.
        kb: The knowledge base.
        preset: The settings.
        sources: What comes from files.

    Raises:
        CompatibilityError: The store holds features that were made otherwise.
        StorageError: The folder holds other things.
        ModelError, DataError: The file of entity vectors does not fit.
    """

    def __init__(
        self,
        folder: Path,
        extractor: FeatureExtractor,
        kb: KnowledgeBase,
        preset: Preset,
        *,
        sources: Sources | None = None,
    ) -> None:
        self.folder, self.kb, self.preset = folder, kb, preset
        self.sources = sources or Sources()
        if self.sources.pictures is not None:
            pictures = FilePictures(self.sources.pictures, no_object=preset.features.no_object)
            extractor = extractor.with_pictures(pictures)
        self.extractor = extractor
        self.origin = _make_origin(extractor, kb, preset, self.sources)
        self._entities: FloatArray | None = None
        self._encoded = 0  # entities that the file lacks
        if self._manifest() is None:
            check_new(folder)

    def _manifest(self) -> Manifest | None:
        """Return the manifest of what is there, checked; None before the first split."""
        if not (self.folder / MANIFEST).is_file():
            return None
        manifest = read_manifest(self.folder)
        check_origin(self.folder, manifest, self.origin)
        return manifest

    def add(self, datasets: Mapping[str, Dataset], done: Callable[[Made], None] | None = None) -> list[Made]:
        """Put splits into the store; one whose mentions and pictures are as they were is kept.

        Args:
            datasets: By split; gold is not looked at.
            done: Called after each split.

        Raises:
            UsageError: A split's name is no name for a folder.
            DataError, ModelError, StorageError: As features are made and written.
        """
        for split in datasets:
            check_split_name(split)
        made: list[Made] = []
        for item in self._each(datasets):
            made.append(item)
            if done is not None:
                done(item)
        return made

    def _each(self, datasets: Mapping[str, Dataset]) -> Iterator[Made]:
        for split, dataset in datasets.items():
            there = self._unchanged(split, dataset)
            yield self._make(split, dataset) if there is None else Made(split, there, None)

    def _unchanged(self, split: str, dataset: Dataset) -> SplitRecord | None:
        manifest = self._manifest()
        record = None if manifest is None else manifest.splits.get(split)
        if record is None or record.sha256 != identify(dataset).sha256:
            return None
        return record if record.pictures_sha256 == hash_pictures(dataset) else None

    def _make(self, split: str, dataset: Dataset) -> Made:
        entities = self.entities()
        features, report = self.extractor.extract(
            dataset.mentions, dataset.image_path, entities, model=self.preset.model
        )
        _check_pictures_found(self.sources.pictures, report)
        record = save_features(self.folder, split, features, report, dataset=dataset, origin=self._origin_with_counts())
        return Made(split, record, report)

    def entities(self) -> FloatArray:
        """Return E: as it is in the store, from a file, or encoded; made once."""
        if self._entities is None:
            self._entities = self._make_entities()
        return self._entities

    def _make_entities(self) -> FloatArray:
        if self._manifest() is not None:
            return open_features(self.folder).entities
        if self.sources.entities is None:
            return self.extractor.entities(self.kb)
        vectors, self._encoded = entity_vectors(
            self.sources.entities,
            self.kb,
            lambda rows: self.extractor.entities(self.kb, rows),
            dim=self.extractor.text.dim,
            missing=self.sources.missing,
        )
        return vectors

    def _origin_with_counts(self) -> Origin:
        if self.sources.entities is None:
            return self.origin
        record = {**self.origin.files["entities"], "encoded": self._encoded}
        return replace(self.origin, files={**self.origin.files, "entities": record})


def _make_origin(extractor: FeatureExtractor, kb: KnowledgeBase, preset: Preset, sources: Sources) -> Origin:
    image = extractor.image
    return Origin(
        dtype=sources.dtype,
        encoders_config=preset.encoders,
        features_config=preset.features,
        text_keys=preset.model.text_keys,
        encoders={"text": extractor.text.fingerprint, **({} if image is None else {"image": image.fingerprint})},
        detector=extractor.detector_fingerprint,
        files=sources.records(),
        kb={"path": str(kb.path.resolve()), **kb.fingerprint._asdict(), "order": hash_order(kb.ids)},
    )


def _check_pictures_found(file: VectorFile | None, report: ExtractionReport) -> None:
    if file is not None and not report.pictures and report.failures:
        raise DataError(
            f"none of the {len(report.failures):,} pictures of the data is among its {len(file.ids):,} ids "
            f"(the first: {file.ids[0]!r}, the data's: {next(iter(report.failures))!r}); name another list",
            path=file.order_path,
        )


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path=path) from error
