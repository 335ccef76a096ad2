"""The facade: mentions in, links out, with a knowledge base alone or with a trained model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from dualway import __version__
from dualway.candidates.fuzzy import FuzzyNames
from dualway.candidates.given import GivenCandidates
from dualway.candidates.names import NameIndex
from dualway.candidates.prior import MentionPrior
from dualway.config import UNTRAINED, EncoderConfig
from dualway.datasets.candidate_files import CandidateFile
from dualway.encoders.weights import fingerprint_folder
from dualway.errors import KnowledgeBaseError, UsageError
from dualway.features.extract import ExtractionReport
from dualway.index.names import open_names
from dualway.kb.store import KnowledgeBase
from dualway.linking.mentions import MentionFinder
from dualway.protocols import CandidateSource, Task
from dualway.run import Meter, Note, Pipeline, Run, note_failures
from dualway.schema import Candidate, CandidateLists, FloatArray, Link, Mention, Region
from dualway.systems.untrained import FromKb

ImagePath = Callable[[Mention], Path | None]

_CHUNK = 256


class Pictures(NamedTuple):
    """Where the pictures of mentions lie, and the folders that a link to one may not lead out of (None: anywhere)."""

    path_of: ImagePath
    folders: Sequence[Path] | None = None


class Ranking(NamedTuple):
    """Scores of n mentions' candidates, named evidence beside them, and attention over each picture's objects.

    scores: float32 [n, k]; padded places count for nothing.
    evidence: name -> float32 [n, k].
    regions: the objects of each mention's picture with its attention on them; None where pictures play no part.
    """

    scores: FloatArray
    evidence: dict[str, FloatArray]
    regions: list[tuple[Region, ...]] | None = None


class Ranker(Protocol):
    """What orders the candidates of prepared mentions."""

    fingerprint: str
    reads_pictures: bool
    num_candidates: int  # how many compete, whatever number is asked for

    def rank(self, mentions: list[Mention], candidates: CandidateLists, pictures: Pictures) -> Ranking:
        """Return scores and evidence for every candidate."""
        ...


class Linker:
    """Links mentions to the entities of a knowledge base.

    Make one with `from_kb` or `load`.

    Example:
        >>> linker = Linker.from_kb("kbs/mine")  # doctest: +SKIP
        >>> linker.link([Mention(text="Foster with Mel Gibson", surface="Foster")], k=5)  # doctest: +SKIP
    """

    def __init__(
        self,
        kb: KnowledgeBase,
        source: CandidateSource,
        ranker: Ranker,
        *,
        names: NameIndex,
        prior: MentionPrior | None = None,
        compares_pictures: bool = False,
        regions: str = "",
    ) -> None:
        self.kb, self.ranker = kb, ranker
        self.names, self.prior = names, prior  # by which candidates are found
        self.compares_pictures = compares_pictures  # with those of the knowledge base
        self.regions = regions  # hash of the regions file in use: links depend on it, the model does not
        self.given = source if isinstance(source, GivenCandidates) else None  # the candidate file in use
        self._source = source
        self._finder: MentionFinder | None = None

    @classmethod
    def from_kb(
        cls,
        kb: KnowledgeBase | Path | str,
        *,
        text_encoder: str | None = "minilm",
        meter: Meter | None = None,
        candidates: CandidateFile | None = None,
    ) -> Linker:
        """Return a linker that works at once, untrained: by names, the caption's words and text similarity.

        Args:
            kb: A knowledge base or its folder.
            text_encoder: Encoder of captions and representations; None links by names and caption words alone.
            meter: Progress of encoding.
            candidates: Proposes candidates in place of retrieval (`read_candidate_file`).

        Raises:
            KnowledgeBaseError: The knowledge base is missing, damaged or empty.
            ModelError: The encoder cannot be loaded.
        """
        opened = _open(kb)
        if text_encoder is None:
            names = open_names(opened)
            source = names if candidates is None else GivenCandidates(candidates, opened, names)
            return cls(opened, source, _UntrainedRanker(FromKb(names, None)), names=names)
        preset = replace(UNTRAINED, encoders=EncoderConfig(text=text_encoder))
        pipeline = Pipeline(preset, opened, meter=meter, candidates=candidates)
        return cls(opened, pipeline.source, _UntrainedRanker(pipeline.untrained()), names=pipeline.names)

    @classmethod
    def load(
        cls,
        run: Path | str,
        *,
        kb: KnowledgeBase | Path | str | None = None,
        seed: int | None = None,
        regions: Path | str | None = None,
        candidates: CandidateFile | None = None,
        note: Note | None = None,
        meter: Meter | None = None,
    ) -> Linker:
        """Return the linker of a trained run.

        Args:
            run: The run's folder.
            kb: Another knowledge base than the run's, of the same compatibility.
            seed: Which of the run's models; the first by default.
            regions: A file of objects, faces and labels of the pictures (docs/formats.md).
            candidates: Proposes candidates in place of retrieval (`read_candidate_file`).
            note: Told what the user should know.
            meter: Progress of encoding.

        Raises:
            ModelError: The run is missing, unfinished or damaged.
            KnowledgeBaseError: The knowledge base is missing, damaged or does not fit.
        """
        opened_run = Run.open(Path(run))
        opened = kb if isinstance(kb, KnowledgeBase) else opened_run.open_kb(None if kb is None else Path(kb))
        opened_run.check_kb(opened)
        found = None if regions is None else Path(regions)
        opened_run.note_regions(found, note or _silent)
        opened_run.note_candidates(None if candidates is None else candidates.path, note or _silent)
        prior = opened_run.prior()
        pipeline = Pipeline(opened_run.preset, opened, prior, meter=meter, regions=found, candidates=candidates)
        pipeline.check_encoders(opened_run.encoders)
        ranker = _TrainedRanker(opened_run, pipeline, seed, note or _silent)
        return cls(
            opened,
            pipeline.source,
            ranker,
            names=pipeline.names,
            prior=prior,
            compares_pictures=pipeline.extractor.identifier is not None,
            regions="" if found is None else _hash(found),
        )

    @property
    def candidates_by_name(self) -> bool:
        """Tell whether candidates come from the index of names, and the prior, alone."""
        return self.given is None and not isinstance(self._source, FuzzyNames)

    @property
    def reads_pictures(self) -> bool:
        """Tell whether a mention's picture plays a part in its links."""
        return self.ranker.reads_pictures

    def link(
        self,
        mentions: Sequence[Mention],
        k: int = 100,
        *,
        image_path: ImagePath | None = None,
        folders: Sequence[Path] | None = None,
    ) -> list[Link]:
        """Return one link a mention, in their order, each with at most `k` candidates.

        Args:
            mentions: What to link; a mention does not influence another one.
            k: Candidates kept, 1 or more. As many as the settings say (100) compete when `k` is smaller.
            image_path: Where a mention's picture lies (None for none); by default its `image` as a path.
            folders: Those that a link to a picture may not lead out of; None: any link is followed.

        Raises:
            UsageError: `k` is below 1, or a mention has an empty surface.
        """
        if k < 1:
            raise UsageError(f"k is {k}; ask for at least one candidate")
        for mention in mentions:
            if not mention.surface.strip():
                raise UsageError(f"mention {mention.id!r}: its surface is empty; name what is to be linked")
        links: list[Link] = []
        for start in range(0, len(mentions), _CHUNK):
            links += self._link_chunk(
                list(mentions[start : start + _CHUNK]), k, Pictures(image_path or _own_path, folders)
            )
        return links

    def link_caption(self, text: str, image: str | Path | None = None, k: int = 100) -> list[Link]:
        """Find the mentions of a caption by the knowledge base's names and return their links, in order.

        Args:
            text: The caption.
            image: The picture's path.
            k: Candidates kept a mention.
        """
        if self._finder is None:
            self._finder = MentionFinder(self.kb.names, self.kb.aliases)
        picture = None if image is None else str(image)
        spans = self._finder.find(text)
        return self.link(
            [
                Mention(text=text, surface=text[start:end], id=str(i), start=start, end=end, image=picture)
                for i, (start, end) in enumerate(spans)
            ],
            k,
        )

    def _link_chunk(self, mentions: list[Mention], k: int, pictures: Pictures) -> list[Link]:
        # More than there are entities would only be padding, and memory.
        candidates = self._source.search(mentions, min(max(k, self.ranker.num_candidates), max(len(self.kb), 1)))
        ranking = self.ranker.rank(mentions, candidates, pictures)
        return [self._make_link(mention, i, candidates, ranking, k) for i, mention in enumerate(mentions)]

    def _make_link(self, mention: Mention, i: int, candidates: CandidateLists, ranking: Ranking, k: int) -> Link:
        rows = candidates.rows[i]
        num = int((rows >= 0).sum())
        # Equal scores keep the order of retrieval, so that a link never depends on chance.
        order = np.argsort(-ranking.scores[i, :num], kind="stable")[:k].tolist()
        best = tuple(
            Candidate(
                entity_id=self.kb.ids[rows[j]],
                name=self.kb.names[rows[j]],
                score=float(ranking.scores[i, j]),
                evidence={name: float(values[i, j]) for name, values in ranking.evidence.items()},
            )
            for j in order
        )
        return Link(
            mention=mention,
            entity_id=best[0].entity_id if best else None,
            candidates=best,
            regions=ranking.regions[i] if ranking.regions else (),
            kb=self.kb.fingerprint.content,
            model=self.ranker.fingerprint,
        )


def _own_path(mention: Mention) -> Path | None:
    return None if not mention.image or "://" in mention.image else Path(mention.image)


class _UntrainedRanker:
    """Names, caption words and text similarity; a representation is encoded when it first becomes a candidate."""

    reads_pictures = False
    num_candidates = UNTRAINED.candidates.num_candidates

    def __init__(self, system: FromKb) -> None:
        self._system = system
        encoder = "names" if system.vectors is None else system.vectors.extractor.text.fingerprint
        self.fingerprint = f"from_kb-{__version__}-{encoder}"

    def rank(self, mentions: list[Mention], candidates: CandidateLists, pictures: Pictures) -> Ranking:
        """Return name, caption and text similarities and their weighted sum; pictures play no part."""
        evidence = self._system.evidence(mentions, candidates.rows)
        parts = evidence._asdict()
        if self._system.vectors is None:
            del parts["text"]
        return Ranking(evidence.total(), parts)


class _TrainedRanker:
    """A trained model's cosine of g and E; name and caption similarity are shown beside it, not used."""

    def __init__(self, run: Run, pipeline: Pipeline, seed: int | None, note: Note) -> None:
        from dualway.systems.dwe_plus import DwePlusSystem

        seeds = run.preset.train.seeds
        if seed is not None and seed not in seeds:
            raise UsageError(f"{run.folder} has no model of seed {seed}; it has {', '.join(map(str, seeds))}")
        folder = run.trained_folder(seeds[0] if seed is None else seed)
        self._system = DwePlusSystem(run.preset, folder, progress=pipeline.text.progress)
        own = run.preset.encoders.trainable
        self._entities = self._system.entities(pipeline.kb) if own else pipeline.entities
        self._scorer = self._system.scorer(self._entities)
        self._pipeline, self._names, self._note = pipeline, FromKb(pipeline.names, None), note
        self.reads_pictures = pipeline.extractor.looks_at_pictures
        self.num_candidates = run.preset.candidates.num_candidates
        self.fingerprint = f"{run.preset.name}-{fingerprint_folder(folder, *sorted(run.encoders.items()))}"

    def rank(self, mentions: list[Mention], candidates: CandidateLists, pictures: Pictures) -> Ranking:
        """Return the model's cosines, and where it looked in each picture."""
        pipeline = self._pipeline
        extracted, report = pipeline.extractor.extract(
            mentions,
            pictures.path_of,
            self._entities,
            model=pipeline.preset.model,
            folders=pictures.folders,
        )
        note_failures(report, self._note)
        features = self._system.features(Task(mentions, candidates, pipeline.kb, extracted))
        encoded = self._scorer.encode(features, [mention.id for mention in mentions])
        scores = np.zeros(candidates.rows.shape, dtype=np.float32)
        for i, line in enumerate(self._scorer.iter_scores(encoded.g, candidates)):
            scores[i, : len(line)] = line
        evidence = self._names.evidence(mentions, candidates.rows)
        parts = {"model": scores, "name": evidence.name, "caption": evidence.caption}
        if pipeline.extractor.identifier is not None:
            parts["identity"] = _recognised(report, candidates, pipeline.kb)
        regions = [_attended(report, i, a) for i, a in zip(features.picture.tolist(), encoded.attention, strict=True)]
        return Ranking(scores, parts, regions)


def _recognised(report: ExtractionReport, candidates: CandidateLists, kb: KnowledgeBase) -> FloatArray:
    """Return the probability that a candidate's own pictures show who is in the mention's, float32 [n, k]; else 0."""
    values = np.zeros(candidates.rows.shape, dtype=np.float32)
    for i, labels in enumerate(report.identities):
        for label in labels:
            if label.entity_id is not None:
                values[i, candidates.rows[i] == kb.row(label.entity_id)] = label.score
    return values


def _attended(report: ExtractionReport, picture: int, attention: FloatArray) -> tuple[Region, ...]:
    """Return a picture's objects with the mention's attention on each, None where the model does not attend."""
    objects = report.objects_of(picture)
    weights = attention.tolist() or [None] * len(objects)
    return tuple(replace(r, attention=w) for r, w in zip(objects, weights, strict=True))


def _open(kb: KnowledgeBase | Path | str) -> KnowledgeBase:
    opened = kb if isinstance(kb, KnowledgeBase) else KnowledgeBase.open(kb)
    if not len(opened):
        raise KnowledgeBaseError(f"{opened.path}: the knowledge base is empty, so nothing can be linked to it")
    return opened


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _silent(_: str) -> None:
    pass
