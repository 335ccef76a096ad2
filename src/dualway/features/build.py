"""Makes a feature store of a data set's splits: what is there and unchanged stays, the rest is computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dualway.config import Preset
from dualway.datasets.base import Dataset
from dualway.errors import CompatibilityError, DataError
from dualway.features.extract import ExtractionReport, FeatureExtractor
from dualway.features.h5 import FilePictures, Missing, VectorFile, entity_vectors
from dualway.features.identity import hash_keys, hash_order, identify
from dualway.features.manifest import MANIFEST, Manifest, Origin, SplitRecord, check_split_name, read_manifest
from dualway.features.purge import end_purge
from dualway.features.seeing import PictureReader
from dualway.features.shards import (
    SHARD_SIZE,
    Known,
    OnError,
    Shard,
    ShardedPictures,
    Source,
    make_shard,
    stopped_by,
)
from dualway.features.store import open_features
from dualway.features.tables import check_width, open_table
from dualway.features.workers import Recipe, choose_workers, make_shards
from dualway.features.writing import (
    LOCK,
    WORK,
    Extra,
    adopt_split,
    advance,
    check_new,
    check_origin,
    clear_work,
    remove_empty,
    remove_outdated,
    save_features,
)
from dualway.schema import FloatArray, IntArray
from dualway.storage import locked, storage_errors

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
class Work:
    """How pictures are read.

    Attributes:
        workers: Processes; 0: in this one; None: as many as there are processors when there is much to do.
        on_error: What becomes of a mention whose picture cannot be used: it keeps its text, is dropped, or all stops.
        shard_size: Pictures that are committed together.
        progress: Called with (pictures read, pictures to be read).
    """

    workers: int | None = 0
    on_error: OnError = "keep-text"
    shard_size: int = SHARD_SIZE
    progress: Callable[[int, int], None] = lambda _done, _total: None


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
        work: How pictures are read.
        note: Told what the user should know.

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
        work: Work | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder, self.kb, self.preset, self.note = folder, kb, preset, note
        self.sources, self.work = sources or Sources(), work or Work()
        if self.sources.pictures is not None:
            pictures = FilePictures(self.sources.pictures, no_object=preset.features.no_object)
            extractor = extractor.with_vectors(pictures)
        self.extractor = extractor
        self.origin = _make_origin(extractor, kb, preset, self.sources, self.work.on_error)
        self.seconds: dict[str, float] = {}  # spent on pictures, by stage, in all processes together
        self._entities: FloatArray | None = None
        self._encoded = 0  # entities that the file lacks
        if self._manifest() is None:
            check_new(folder)

    def _manifest(self) -> Manifest | None:
        """Return the manifest of what is there, checked; None before the first split."""
        if not (self.folder / MANIFEST).is_file():
            return None
        manifest = read_manifest(self.folder)
        if not self.origin.follows(manifest.origin):
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
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.folder / LOCK, f"{self.folder}: another process is making these features"):
                return self._add(datasets, done or (lambda _: None))
        finally:
            remove_empty(self.folder)

    def _add(self, datasets: Mapping[str, Dataset], done: Callable[[Made], None]) -> list[Made]:
        end_purge(self.folder)  # a purge that was killed comes first: what it removes must not come back
        self._advance(set(datasets))
        pictures = {split: self._pictures_of(dataset) for split, dataset in datasets.items()}
        there = {split: self._unchanged(split, datasets[split], pictures[split]) for split in datasets}
        wanted = [source for split in datasets if not there[split] for source in pictures[split]]
        shards = self._read_pictures(wanted, len({source.path for found in pictures.values() for source in found}))
        made: list[Made] = []
        for split, dataset in datasets.items():
            record = there[split]
            item = Made(split, record, None) if record else self._make(split, dataset, pictures[split], shards)
            made.append(item)
            done(item)
        if (self.folder / MANIFEST).is_file():
            remove_outdated(self.folder)
        clear_work(self.folder)
        return made

    def _advance(self, splits: set[str]) -> None:
        """Go on from a store of another content of the knowledge base: pictures that are known are not read again."""
        manifest = self._manifest()
        if manifest is None:
            return
        changed = bool(manifest.origin.differences(self.origin))
        # Outdated ones are left where a call that went on from such a change was killed.
        lost = sorted(
            (set(manifest.outdated) - set(manifest.splits) | set(manifest.splits if changed else ())) - splits
        )
        if lost:
            raise CompatibilityError(
                f"{self.folder}: the knowledge base or its pictures have changed since, so all its splits are made "
                f"anew, and {', '.join(lost)} is not among those of this call; name every split, or another --out"
            )
        if not changed:
            return
        self.note("the knowledge base or its pictures have changed: splits are made anew, known pictures are not read")
        self._entities = self._make_entities()
        advance(self.folder, self._origin_with_counts(), self._entities)

    def _pictures_of(self, dataset: Dataset) -> list[Source]:
        """Return the distinct pictures of a data set as they are now; none where nothing looks at pictures."""
        if not self.extractor.looks_at_pictures:
            return []
        found: dict[Path, Source] = {}
        for mention in dataset.mentions:
            path = dataset.image_path(mention)
            if path is not None and path not in found:
                found[path] = Source.find(
                    path, mention.image or "", self.extractor.regions_of(path), dataset.picture_folders
                )
        return list(found.values())

    def _unchanged(self, split: str, dataset: Dataset, pictures: Sequence[Source]) -> SplitRecord | None:
        """Return the record of a split that need not be made; one that was only not yet published is published."""
        manifest = self._manifest()
        if manifest is None:
            return None
        wanted = (identify(dataset).sha256, hash_keys(source.key for source in pictures))
        adopted = adopt_split(self.folder, split, self.origin, wanted)
        if adopted is not None:
            return adopted
        record = manifest.splits.get(split)
        return record if record is not None and (record.sha256, record.pictures_sha256) == wanted else None

    def _read_pictures(self, sources: Sequence[Source], in_all: int) -> ShardedPictures | None:
        """Read what is not known of pictures, shard by shard; None where no model looks at them.

        Args:
            sources: Those of the splits that are to be made.
            in_all: Number of pictures of all splits, those that are there too.

        Raises:
            DataError: A picture cannot be used, and all is to stop there.
        """
        reader = self.extractor.reader
        if reader is None:
            return None
        dims = (reader.dim, reader.face_dim)
        # Shards of other models or settings, which a killed build left before there was a manifest, are not these.
        place = self.folder / WORK / "pictures" / _name_recipe(self.origin)
        shards = ShardedPictures(place, self._known(dims), dims)
        waiting = shards.plan(sources, self.work.shard_size)
        for source in sources if self.work.on_error == "stop" else ():
            if source.key in shards.known.lost:  # a build that did not stop has found it
                raise stopped_by(source, shards.known.lost[source.key])
        self._make_shards(waiting, shards, reader, choose_workers(self.work.workers, in_all))
        self.seconds = shards.known.seconds
        return shards

    def _make_shards(
        self, waiting: Sequence[Shard], shards: ShardedPictures, reader: PictureReader, workers: int
    ) -> None:
        total = sum(len(shard.sources) for shard in waiting)
        if workers:
            recipe = Recipe(
                self.preset.encoders, self.preset.features, reader.fingerprints(), shards.work, self.work.on_error
            )
            progress = self.work.progress
            make_shards(waiting, recipe, workers, shards.finished, progress=lambda done: progress(done, total))
            return
        before = 0
        for shard in waiting:
            at = partial(_report, self.work.progress, before, total)
            make_shard(reader, shard, shards.work, on_error=self.work.on_error, at=at)
            shards.finished(shard)
            before += len(shard.sources)

    def _known(self, dims: tuple[int | None, int | None]) -> Known:
        """Return what an older state of the store knows of pictures."""
        known, manifest = Known(), self._manifest()
        if manifest is None or manifest.origin.of_pictures() != self.origin.of_pictures():
            return known
        for split, record in {**manifest.outdated, **manifest.splits}.items():
            with suppress(DataError):  # what is damaged is made again
                table = open_table(self.folder / split, record.arrays)
                if len(table.keys) and check_width(table, *dims):
                    known.add(table)
        return known

    def _make(self, split: str, dataset: Dataset, pictures: Sequence[Source], shards: ShardedPictures | None) -> Made:
        extractor = self.extractor if shards is None else self.extractor.with_pictures(shards)
        features, report = extractor.extract(
            dataset.mentions,
            dataset.image_path,
            self.entities(),
            model=self.preset.model,
            folders=dataset.picture_folders,
        )
        _check_pictures_found(self.sources.pictures, report)
        kept = None
        if self.work.on_error == "drop":
            kept = _usable(dataset, report)
            features, report = features.take(kept), report.take(kept)
        record = save_features(
            self.folder,
            split,
            features,
            report,
            dataset=dataset,
            origin=self._origin_with_counts(),
            extra=Extra(
                keys=None if shards is None else shards.keys(report.paths),
                pictures_sha256=hash_keys(source.key for source in pictures),
                kept=kept,
            ),
        )
        return Made(split, record, report)

    def entities(self) -> FloatArray:
        """Return E: as it is in the store, from a file, or encoded; made once."""
        if self._entities is None:
            self._entities = self._make_entities()
        return self._entities

    def _make_entities(self) -> FloatArray:
        manifest = self._manifest()
        if manifest is not None and not manifest.origin.differences(self.origin):
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


def _make_origin(
    extractor: FeatureExtractor, kb: KnowledgeBase, preset: Preset, sources: Sources, on_error: OnError
) -> Origin:
    return Origin(
        dtype=sources.dtype,
        encoders_config=preset.encoders,
        features_config=preset.features,
        text_keys=preset.model.text_keys,
        models=extractor.fingerprints(),
        files=sources.records(),
        kb={"path": str(kb.path.resolve()), **kb.fingerprint._asdict(), "order": hash_order(kb.ids)},
        gallery=None if extractor.identifier is None else extractor.identifier.gallery,
        on_error="drop" if on_error == "drop" else "keep-text",  # "stop" leaves nothing that differs
    )


def _name_recipe(origin: Origin) -> str:
    """Return a name for all that decides on what is found in a picture."""
    return hashlib.sha256(json.dumps(origin.of_pictures(), sort_keys=True).encode()).hexdigest()[:12]


def _usable(dataset: Dataset, report: ExtractionReport) -> IntArray:
    """Return the positions of the mentions whose picture could be used, or that name none."""
    paths = map(dataset.image_path, dataset.mentions)
    return np.array([i for i, path in enumerate(paths) if str(path) not in report.failures], dtype=np.int64)


def _report(progress: Callable[[int, int], None], before: int, total: int, place: int) -> None:
    progress(before + place, total)


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
