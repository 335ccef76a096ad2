"""A run: a trained model's folder, what it was trained on, and how it is made.

run.json        preset, seeds, paths and fingerprints of KB and encoders, what training came to
prior.json      how often each surface meant each entity in train
captions.json   hashes of the training captions, to tell which evaluated captions were seen
seed-N/         the model of each seed (model/checkpoint.py)
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dualway import __version__
from dualway.candidates.given import GivenCandidates
from dualway.candidates.prior import MentionPrior
from dualway.candidates.union import make_source
from dualway.config import UNTRAINED, Preset, from_dict, to_dict
from dualway.datasets.base import Dataset, is_folder
from dualway.datasets.candidate_files import CandidateFile
from dualway.datasets.reader import list_splits, open_dataset
from dualway.encoders import load_image_encoder, load_text_encoder
from dualway.encoders.cache import CachedTextEncoder, default_cache_folder
from dualway.errors import CompatibilityError, DataError, KnowledgeBaseError, ModelError, UsageError
from dualway.evaluation.captions import caption_key
from dualway.features.arrays import Features
from dualway.features.extract import EntityVectors, ExtractionReport, FeatureExtractor
from dualway.features.identities import CandidateIdentifier
from dualway.features.models import PICTURES, compares_faces, load_classifier, load_face_reader, load_identifier
from dualway.features.regions import read_regions
from dualway.features.texts import EntityTexts, Texts
from dualway.index.names import open_names
from dualway.kb.records import compatibility_fingerprint
from dualway.kb.rows import require_kinds
from dualway.kb.store import KnowledgeBase
from dualway.schema import CandidateLists, FloatArray
from dualway.storage import check_target, read_json, storage_errors, write_json
from dualway.systems.untrained import FromKb
from dualway.vision import load_detector

if TYPE_CHECKING:
    from dualway.features.seeing import FaceReader
    from dualway.features.store import FeatureStore
    from dualway.model.live import TrainingTexts
    from dualway.model.train import DevSet, TrainResult
    from dualway.protocols import ImageEncoder

RUN, PRIOR, CAPTIONS = "run.json", "prior.json", "captions.json"
_FORMAT = 1

Note = Callable[[str], None]
Meter = Callable[[int, int | None, str], None]


@dataclass(frozen=True)
class Run:
    """What `run.json` says of a trained run.

    Attributes:
        folder: The run's folder.
        preset: Its settings.
        kb_path: The knowledge base it was trained with.
        kb_compatibility: That knowledge base's compatibility fingerprint.
        encoders: Fingerprint of each encoder, by "text" and "image"; where vectors came from files, the hashes of
            these by "entities" and "pictures".
        results: What training came to, by seed.
        candidates: The candidate file it was trained with (`GivenCandidates.record`), None where they were retrieved.
        features: The feature store it was trained with (`path`), None where features were computed.
    """

    folder: Path
    preset: Preset
    kb_path: Path
    kb_compatibility: str
    encoders: dict[str, str]
    results: dict[str, Any]
    candidates: dict[str, Any] | None = None
    features: dict[str, Any] | None = None

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Read a run's folder.

        Raises:
            ModelError: Not a run, unfinished, or damaged; says what to do.
        """
        path = folder / RUN
        if not path.is_file():
            raise ModelError(f"{folder}: not a run (no {RUN} in it); make one with `dualway train`")
        try:
            record = cast("dict[str, Any]", read_json(path))
            if record["format"] != _FORMAT:
                raise ModelError(f"{path}: made by another version of dualway ({record['format']}); train again")
            return cls(
                folder=folder,
                preset=from_dict(Preset, record["preset"], where=str(path)),
                kb_path=Path(record["kb"]["path"]),
                kb_compatibility=record["kb"]["compatibility"],
                encoders=dict(record["encoders"]),
                results=dict(record["results"]),
                candidates=None if record.get("candidates") is None else dict(record["candidates"]),
                features=None if record.get("features") is None else dict(record["features"]),
            )
        except (DataError, UsageError, KeyError, TypeError, ValueError) as error:
            problem = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ModelError(f"{path}: damaged ({problem}); restore it or train again with --restart") from error

    def note_regions(self, regions: Path | None, note: Note, features: FeatureStore | None = None) -> None:
        """Tell when the run was trained with a regions file and is now used without one, or the other way round.

        With a feature store it is the store that has regions or not.
        """
        trained = any(result.get("regions") for result in self.results.values())
        used = regions is not None if features is None else _has_regions(features)
        if trained == used or not self.results:
            return
        there, here = ("with", "without") if trained else ("without", "with")
        told = f"{self.folder} was trained {there} a regions file and is used {here} one"
        if features is None:
            note(f"{told}; {'give --regions FILE' if trained else 'leave --regions out'}")
        else:
            remedy = "with --regions FILE" if trained else "without --regions"
            note(f"{told}: the features of {features.folder}; make them {remedy} (`dualway features`)")

    def note_candidates(self, candidates: Path | None, note: Note) -> None:
        """Tell when the run was trained with a candidate file and is now used with retrieved candidates."""
        if candidates is None and self.candidates is not None:
            path = self.candidates.get("path")
            note(f"{self.folder} was trained on the candidates of {path}; they are now retrieved (--candidates FILE)")

    def note_features(self, features: Path | None, note: Note) -> None:
        """Tell when the run was trained with a feature store and is now used without one."""
        if features is None and self.features is not None:
            path = self.features.get("path")
            note(f"{self.folder} was trained on the features of {path}; they are now computed (--features FOLDER)")

    def seed_folder(self, seed: int) -> Path:
        """Return the folder of one seed's model."""
        return self.folder / f"seed-{seed}"

    def trained_folder(self, seed: int) -> Path:
        """Return the folder of one seed's model, which training has finished.

        Raises:
            ModelError: It has not; says what to do.
        """
        if str(seed) not in self.results:
            raise ModelError(
                f"{self.folder}: seed {seed} is not trained yet; give the same `dualway train` command again"
            )
        return self.seed_folder(seed)

    def prior(self) -> MentionPrior:
        """Return the prior counted on the training links.

        Raises:
            ModelError: The file is missing or damaged.
        """
        try:
            return MentionPrior.from_file(self.folder / PRIOR)
        except DataError as error:
            raise ModelError(f"{error}; restore it or train again") from error

    def captions(self) -> frozenset[str]:
        """Return the keys of the training captions (`caption_key`).

        Raises:
            ModelError: The file is missing or damaged.
        """
        try:
            return frozenset(cast("list[str]", read_json(self.folder / CAPTIONS)))
        except (DataError, TypeError) as error:
            raise ModelError(f"{self.folder / CAPTIONS}: damaged ({error}); restore it or train again") from error

    def open_kb(self, path: Path | None = None) -> KnowledgeBase:
        """Open the run's knowledge base, or another one that fits.

        Raises:
            KnowledgeBaseError: Missing or damaged.
            CompatibilityError: Its schema or kinds of representation are not those of the training.
        """
        if path is None and not is_folder(self.kb_path):
            raise KnowledgeBaseError(
                f"{self.kb_path}: the knowledge base of {self.folder} is no longer there; name its place with --kb KB"
            )
        kb = KnowledgeBase.open(path or self.kb_path)
        try:
            self.check_kb(kb)
        except CompatibilityError:
            kb.close()
            raise
        return kb

    def check_kb(self, kb: KnowledgeBase) -> None:
        """Check that a knowledge base fits the run.

        Raises:
            CompatibilityError: Its schema or kinds of representation are not those of the training.
        """
        try:
            found = _compatibility(self.preset, kb)
        except KnowledgeBaseError as error:
            raise CompatibilityError(f"{kb.path}: does not fit {self.folder}: {error}") from error
        if found != self.kb_compatibility:
            raise CompatibilityError(
                f"{kb.path}: its representation ({', '.join(kb.representation)}) is not the one {self.folder} was "
                f"trained with (compatibility {found}, expected {self.kb_compatibility}); "
                "build it with the same --representation, or train with this knowledge base"
            )


class Pipeline:
    """Everything between mentions and a system, made from a preset: candidates, encoders, features.

    Args:
        preset: The settings.
        kb: The knowledge base.
        prior: For retrievers that use it.
        meter: Called with (done, total, what) while texts are encoded.
        regions: A file of objects, faces and labels (`features.regions`).
        candidates: Proposes candidates in place of the preset's retriever.
        by_gold: That file is keyed by gold, and wanted all the same.
        features: A store that vectors are read from; an encoder is then loaded when something asks for it.

    Raises:
        ModelError: An encoder cannot be loaded.
        DataError: The regions file is broken.
        CompatibilityError: The store's features are those of other settings or another knowledge base.
    """

    def __init__(
        self,
        preset: Preset,
        kb: KnowledgeBase,
        prior: MentionPrior | None = None,
        *,
        meter: Meter | None = None,
        regions: Path | None = None,
        candidates: CandidateFile | None = None,
        by_gold: bool = False,
        features: FeatureStore | None = None,
    ) -> None:
        self.preset, self.kb, self.store = preset, kb, features
        self._meter, self._regions = meter, regions
        if features is not None:
            features.check(preset, kb)
        self.names = open_names(kb)
        self.given = None if candidates is None else GivenCandidates(candidates, kb, self.names, by_gold=by_gold)
        self.source = self.given or make_source(preset.candidates, kb, self.names, prior)
        if features is None:
            _ = self.extractor  # what cannot be loaded is told now

    @cached_property
    def text(self) -> CachedTextEncoder:
        """The text encoder; loaded at once, or with a store when something asks for it.

        Raises:
            CompatibilityError: It is not the one that made the store's vectors.
        """
        encoder = CachedTextEncoder(load_text_encoder(self.preset.encoders.text), default_cache_folder())
        made_by = None if self.store is None else self.store.origin.models.get("text")
        if made_by not in (None, encoder.fingerprint):
            raise CompatibilityError(
                f"the text encoder {self.preset.encoders.text!r} is not the one that made the features (fingerprint "
                f"{encoder.fingerprint}, expected {made_by}); restore it, or make the features again in another folder"
            )
        if self._meter is not None:
            encoder.progress = partial(_report, self._meter, "texts")
        return encoder

    @cached_property
    def extractor(self) -> FeatureExtractor:
        """What makes features by the preset's encoders and templates."""
        preset, encoders = self.preset, self.preset.encoders
        faces = load_face_reader(encoders, preset.features)
        image = None if encoders.image is None else load_image_encoder(encoders.image)
        known = None if self._regions is None else read_regions(self._regions)
        return FeatureExtractor(
            preset.features,
            self.text,
            image,
            cache_folder=default_cache_folder(),
            regions=known,
            detector=None if encoders.detector is None else load_detector(encoders.detector),
            faces=faces,
            classifier=load_classifier(encoders),
            identifier=self._make_identifier(faces, image),
            progress=None if self._meter is None else partial(_report, self._meter, "pictures"),
        )

    def _make_identifier(self, faces: FaceReader | None, image: ImageEncoder | None) -> CandidateIdentifier | None:
        """Return what compares with the knowledge base's own pictures; None where the settings ask for nothing."""
        encoders, meter = self.preset.encoders, self._meter
        if not compares_faces(encoders) and encoders.identity != PICTURES:
            return None
        progress = None if meter is None else partial(_report, meter, "gallery")
        identifier = load_identifier(self.kb, faces, image, by_faces=compares_faces(encoders), progress=progress)
        retriever = "fuzzy" if self.preset.candidates.retriever == "fuzzy" else "names"
        source = make_source(replace(self.preset.candidates, retriever=retriever), self.kb, self.names, None)
        return CandidateIdentifier(
            identifier,
            source,
            self.preset.candidates.num_candidates,
            EntityTexts(self.kb, self.preset.features.representation),
            gallery=identifier.gallery_fingerprint,
            probes="faces" if compares_faces(encoders) else "pictures",
        )

    @cached_property
    def vectors(self) -> EntityVectors:
        """E by the preset's encoder and template."""
        return EntityVectors(self.extractor, self.kb)

    @property
    def entities(self) -> FloatArray:
        """E of every entity, float32 [num_entities, dim]; encoded at first use, or the store's."""
        return self.vectors.all() if self.store is None else self.store.entities

    def untrained(self, note: Note | None = None) -> FromKb:
        """Return the untrained linker on this knowledge base and text encoder, with its own templates.

        Args:
            note: Told when it has to do without text similarity: features are from a store, the encoder not at hand.
        """
        try:
            chosen = self.preset.features.representation
            extractor = FeatureExtractor(replace(UNTRAINED.features, representation=chosen), self.text)
        except ModelError as error:
            if self.store is None:
                raise
            if note is not None:
                note(f"from_kb works without text similarity here, its encoder cannot be loaded: {error}")
            return FromKb(self.names, None)
        return FromKb(self.names, EntityVectors(extractor, self.kb))

    def encoder_fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of each model, by the setting of `encoders` that names it, and the hashes of files.

        A part that is not in use is left out.
        """
        if self.store is not None:
            return self.store.fingerprints()
        return self.extractor.fingerprints()

    def check_encoders(self, expected: dict[str, str]) -> None:
        """Check that the encoders are those of a run, and so are the files that vectors came from.

        Raises:
            CompatibilityError: Weights, settings or files differ.
        """
        found = self.encoder_fingerprints()
        for part in {**expected, **found}:
            what, remedy = f"the file of {part}' vectors", "give --features with the store that it was trained with"
            if hasattr(self.preset.encoders, part):
                kind = f"{part} encoder" if part in ("text", "image") else f"model of {part}"
                what, remedy = f"the {kind} {getattr(self.preset.encoders, part)!r}", "restore it or train again"
            if found.get(part) != expected.get(part):
                raise CompatibilityError(
                    f"{what} is not the one the run was trained with (fingerprint {found.get(part)}, expected "
                    f"{expected.get(part)}); {remedy}"
                )

    def prepare(self, dataset: Dataset, k: int) -> tuple[CandidateLists, Features, ExtractionReport]:
        """Return candidates and features of a data set's mentions.

        Raises:
            DataError: The candidate file is keyed by gold.
            CompatibilityError: The store holds no features of these mentions.
        """
        source = self.source if self.given is None else self.given.for_dataset(dataset)
        candidates = source.search(dataset.mentions, k)
        if self.store is not None:
            tokens = self.preset.model.text_keys == "tokens"
            return candidates, *self.store.load(dataset, tokens=tokens)
        features, report = self.extractor.extract(
            dataset.mentions,
            dataset.image_path,
            self.entities,
            model=self.preset.model,
            folders=dataset.picture_folders,
        )
        return candidates, features, report


def _compatibility(preset: Preset, kb: KnowledgeBase) -> str:
    """Return what a run relies on in a knowledge base: the kinds that the settings choose count, else its own.

    Raises:
        KnowledgeBaseError: It has no text of a kind that is chosen.
    """
    kinds = preset.features.representation
    return compatibility_fingerprint(require_kinds(kb.kinds, kinds)) if kinds else kb.fingerprint.compatibility


def _report(meter: Meter, what: str, done: int, total: int) -> None:
    meter(done, total, what)


def open_training_data(data: Path, note: Note) -> tuple[Dataset, Dataset | None]:
    """Return the train and dev parts of a folder, or a file as train without dev."""
    if not is_folder(data):
        train_set = open_dataset(data)
        _note_reading(train_set, note)
        note(f"{data}: trained on the whole file; without a dev split the last model is kept, not the best")
        return train_set, None
    splits = list_splits(data)
    train_set = open_dataset(data, "train")
    _note_reading(train_set, note)
    if "dev" not in splits:
        note(f"{data}: no dev split; the last model is kept, not the best")
        return train_set, None
    dev_set = open_dataset(data, "dev")
    _note_reading(dev_set, note)
    return train_set, dev_set


def _note_reading(dataset: Dataset, note: Note) -> None:
    for line in dataset.report.remarks():
        note(line)


def describe(run: Run, kb: KnowledgeBase, data: Path, results: dict[str, Any]) -> dict[str, Any]:
    """Return the content of `run.json`."""
    return {
        "format": _FORMAT,
        "dualway": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "preset": to_dict(run.preset),
        "kb": {"path": str(run.kb_path), "compatibility": run.kb_compatibility, "content": kb.fingerprint.content},
        "data": str(data),
        "encoders": run.encoders,
        "candidates": run.candidates,
        "features": run.features,
        "results": results,
    }


def _describe_result(result: TrainResult, *, with_regions: bool) -> dict[str, Any]:
    return {
        "best_dev_t1": result.best_t1,
        "best_step": result.best_step,
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "mentions": result.mentions,
        "skipped": result.skipped,
        "mentions_per_s": round(result.mentions_per_s, 1),
        "regions": with_regions,
        "notes": list(result.notes),
    }


def train_run(
    *,
    data: Path,
    kb: KnowledgeBase,
    preset: Preset,
    out: Path,
    resume: bool = True,
    note: Note,
    meter: Meter | None = None,
    on_step: Callable[[int, Any], None] | None = None,
    regions: Path | None = None,
    candidate_file: CandidateFile | None = None,
    by_gold: bool = False,
    features: FeatureStore | None = None,
    tensorboard: bool = False,
) -> Run:
    """Train every seed of a preset and leave a run in `out`; a killed run goes on where it was.

    Args:
        data: A folder with a train and perhaps a dev split, or a file.
        kb: The knowledge base.
        preset: The settings.
        out: The run's folder.
        resume: False starts over.
        note: Told what the user should know.
        meter: Progress of encoding.
        on_step: Called with (seed, model.train.Progress).
        regions: A file of objects, faces and labels of the pictures.
        candidate_file: Proposes candidates in place of the preset's retriever.
        by_gold: That file is keyed by gold, and wanted all the same.
        features: A store that vectors are read from in place of encoding.
        tensorboard: Also write tensorboard events.

    Raises:
        UsageError, DataError, ModelError, StorageError: As `model.train.train`.
    """
    from dualway.model.train import train

    train_set, dev_set = open_training_data(data, note)
    _check_folder(out, preset, resume)
    prior = MentionPrior.build(train_set.mentions, train_set.gold)
    pipeline = Pipeline(
        preset, kb, prior, meter=meter, regions=regions, candidates=candidate_file, by_gold=by_gold, features=features
    )
    train_set = select(pipeline, train_set, note)
    dev_set = None if dev_set is None else select(pipeline, dev_set, note)
    learnt, dev = _prepare_training(pipeline, train_set, dev_set, note)
    note_given(pipeline, note)
    run = _new_run(out, pipeline)
    captions = sorted({caption_key(mention.text) for mention in train_set.mentions})
    texts = _training_texts(pipeline, train_set, dev_set) if preset.encoders.trainable else None
    results: dict[str, Any] = {}
    if not resume:
        with storage_errors(out):
            (out / RUN).unlink(missing_ok=True)  # what it tells of is about to go
    for seed in preset.train.seeds:
        result = train(
            preset,
            learnt.features,
            gold_rows=learnt.gold_rows,
            candidates=learnt.candidates,
            dev=dev,
            out=run.seed_folder(seed),
            seed=seed,
            resume=resume,
            texts=texts,
            mention_ids=[mention.id for mention in train_set.mentions],
            progress=None if on_step is None else lambda state, seed=seed: on_step(seed, state),
            tensorboard=tensorboard,
        )
        for remark in result.notes if not results else ():  # the same for every seed
            note(remark)
        results[str(seed)] = _describe_result(result, with_regions=regions is not None or _has_regions(features))
        # Only now: `train` has refused a folder that holds another run, which stays as it was.
        prior.to_file(out / PRIOR)
        write_json(out / CAPTIONS, captions)
        write_json(out / RUN, describe(run, kb, data.resolve(), results))
    return Run.open(out)


def select(pipeline: Pipeline, dataset: Dataset, note: Note) -> Dataset:
    """Return the data set without the mentions that its features were made without (`--on-error drop`); tell so."""
    kept = dataset if pipeline.store is None else pipeline.store.select(dataset)
    if len(kept) < len(dataset):
        note(
            f"{dataset.name} {dataset.split or ''}: {len(dataset) - len(kept):,} of {len(dataset):,} mentions are left "
            "out, as their pictures could not be used (features were made with --on-error drop)"
        )
    return kept


def _prepare_training(
    pipeline: Pipeline, train_set: Dataset, dev_set: Dataset | None, note: Note
) -> tuple[DevSet, DevSet | None]:
    """Return features, gold and candidates of train and of dev."""
    from dualway.model.train import DevSet
    from dualway.protocols import Task
    from dualway.systems.dwe_plus import gold_rows

    def prepare(dataset: Dataset) -> DevSet:
        candidates, features, _ = _prepare(pipeline, dataset, pipeline.preset.candidates.num_candidates, note)
        rows = gold_rows(Task(dataset.mentions, candidates, pipeline.kb), dataset.gold)
        return DevSet(features, rows, candidates)

    return prepare(train_set), None if dev_set is None else prepare(dev_set)


def _new_run(out: Path, pipeline: Pipeline) -> Run:
    """Return the run that a training begins: no results yet."""
    kb, store = pipeline.kb, pipeline.store
    return Run(
        folder=out,
        preset=pipeline.preset,
        kb_path=kb.path.resolve(),
        kb_compatibility=_compatibility(pipeline.preset, kb),
        encoders=pipeline.encoder_fingerprints(),
        results={},
        candidates=None if pipeline.given is None else pipeline.given.record(),
        features=None if store is None else {"path": str(store.folder.resolve())},
    )


def _has_regions(features: FeatureStore | None) -> bool:
    return features is not None and "regions" in features.origin.files


def _training_texts(pipeline: Pipeline, train_set: Dataset, dev_set: Dataset | None) -> TrainingTexts:
    from dualway.model.live import TrainingTexts

    config, kb = pipeline.preset.features, pipeline.kb
    dev = None if dev_set is None else Texts.read(config, dev_set.mentions, kb)
    return TrainingTexts(pipeline.text.encoder, Texts.read(config, train_set.mentions, kb), dev)


def _check_folder(out: Path, preset: Preset, resume: bool) -> None:
    """Refuse, before the long work, a folder that cannot be written or that holds a run of other settings."""
    check_target(out / RUN)
    if not resume or not (out / RUN).is_file():
        return
    there, wanted = _flat(Run.open(out).preset), _flat(preset)
    differing = [key for key in wanted if there[key] != wanted[key]]
    if differing:
        key = differing[0]
        raise UsageError(
            f"{out}: holds a run of other settings ({key}: {there[key]!r} there, {wanted[key]!r} now); "
            "choose another --out, or start over with --restart"
        )


def _flat(preset: Preset) -> dict[str, Any]:
    nested = to_dict(preset)
    name = {"name": nested.pop("name")}
    return name | {f"{section}.{key}": value for section, values in nested.items() for key, value in values.items()}


def _prepare(
    pipeline: Pipeline, dataset: Dataset, k: int, note: Note
) -> tuple[CandidateLists, Features, ExtractionReport]:
    candidates, features, report = pipeline.prepare(dataset, k)
    note_failures(report, note)
    if report.attributes:
        note(f"{dataset.name} {dataset.split or ''}: face sentences hold {', '.join(report.attributes)}")
    return candidates, features, report


def note_given(pipeline: Pipeline, note: Note) -> None:
    """Tell that the candidates come from a file, and what was met in it."""
    if pipeline.given is not None:
        for line in (pipeline.given.describe(), *pipeline.given.report.remarks()):
            note(line)


def note_failures(report: ExtractionReport, note: Note) -> None:
    """Tell which pictures could not be used: their number and the first few with reasons."""
    if report.failures:
        shown = "; ".join(f"{path}: {reason}" for path, reason in list(report.failures.items())[:3])
        note(f"{len(report.failures):,} pictures could not be used, their mentions keep their text: {shown}")
