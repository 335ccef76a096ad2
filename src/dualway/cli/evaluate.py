"""`dualway evaluate`: one data set under stated protocols, always beside `lexical` and `prior`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dualway.cli.candidates import open_candidates
from dualway.cli.output import Output, QuietFlag
from dualway.cli.store import open_store

if TYPE_CHECKING:
    from dualway.candidates.prior import MentionPrior
    from dualway.config import Preset
    from dualway.datasets.base import Dataset
    from dualway.datasets.candidate_files import CandidateFile
    from dualway.features.store import FeatureStore
    from dualway.kb.store import KnowledgeBase
    from dualway.run import Pipeline, Run


def evaluate(
    data: Annotated[Path, typer.Option(help="A folder (see --split) or a file with gold entities.")],
    run: Annotated[Path | None, typer.Option(help="A trained run; without one, the untrained linker.")] = None,
    kb: Annotated[Path | None, typer.Option(help="A knowledge base; by default the run's own.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of a folder; dev unless given.")] = None,
    protocol: Annotated[str, typer.Option(help="With commas: top100, top100-gold, full-kb (or top16, ..).")] = "top100",
    retriever: Annotated[str | None, typer.Option(help="names, names+prior or fuzzy; by default the run's.")] = None,
    candidates: Annotated[
        Path | None, typer.Option(help="A file (or data set) with each mention's candidates, in place of retrieval.")
    ] = None,
    candidates_by_gold: Annotated[
        bool, typer.Option("--candidates-by-gold", help="Use --candidates even if keyed by the answers.")
    ] = False,
    features: Annotated[
        Path | None, typer.Option(help="A folder of `dualway features`, whose vectors are used instead of encoding.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="Row that the others are compared with.")] = None,
    regions: Annotated[
        Path | None, typer.Option(help="JSONL file of objects, faces and labels found in the pictures.")
    ] = None,
    predictions: Annotated[Path | None, typer.Option(help="JSONL file for the ranking of every mention.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.", min=0)] = 0,
    json: Annotated[Path | None, typer.Option(help="JSON file for the whole report; - for stdout.")] = None,
    quiet: QuietFlag = False,
) -> None:
    """Evaluate a run (or the untrained linker) on a data set; choose on dev, report test once."""
    from dualway.evaluation import EvaluationData, EvaluationOptions, format_report, parse_protocols
    from dualway.evaluation import evaluate as run_evaluation
    from dualway.run import note_failures, note_given, select
    from dualway.storage import write_json

    output = Output(json=str(json) == "-", quiet=quiet)
    protocols = parse_protocols(protocol)
    report_path = None if json is None or str(json) == "-" else json
    _check_call(run, kb, regions, report_path, predictions)
    _check_sources(run, features, retriever, candidates)
    store = open_store(features, regions)
    given = open_candidates(candidates, candidates_by_gold, output)
    dataset = _open_data(data, split, output)
    with output.progress("features") as encoding:
        subject = _Subject.open(
            run,
            kb,
            data,
            retriever=retriever,
            regions=regions,
            meter=encoding.update,
            output=output,
            candidates=given,
            by_gold=candidates_by_gold,
            features=store,
        )
        num = max((p.num_candidates or 0 for p in protocols), default=0)
        # More than there are entities would only be padding, and memory.
        num = max(min(num, len(subject.kb)), 100)
        dataset = select(subject.pipeline, dataset, output.note)
        searched, vectors, failures = subject.pipeline.prepare(dataset, num)
    note_given(subject.pipeline, output.note)
    note_failures(failures, output.note)
    with output.progress("mentions scored") as meter:
        report = run_evaluation(
            subject.systems(output.note),
            EvaluationData(
                dataset.mentions, dataset.gold, subject.kb, searched, vectors, train_captions=subject.captions
            ),
            protocols,
            options=EvaluationOptions(seed=seed, baseline=baseline),
            predictions=predictions,
            progress=meter.update,
        )
    record = {
        **report.to_dict(),
        "data": {"path": str(data), "split": dataset.split, "reading": dataset.report.to_dict()},
        "run": None if run is None else str(run),
        "face_attributes": list(failures.attributes),
        **subject.describe(),
    }
    output.result(record)
    if report_path is not None:
        write_json(report_path, record)
    if subject.pipeline.given is not None:
        output.show(subject.pipeline.given.describe() + "\n")
    output.show(format_report(report))


class _Subject:
    """What is evaluated: a run or a knowledge base alone, with its candidates, encoders and prior."""

    def __init__(self, kb: KnowledgeBase, preset: Preset, prior: MentionPrior, pipeline: Pipeline) -> None:
        self.kb, self.preset, self.prior, self.pipeline = kb, preset, prior, pipeline
        self.run: Run | None = None
        self.captions: frozenset[str] = frozenset()

    @classmethod
    def open(
        cls,
        run: Path | None,
        kb: Path | None,
        data: Path,
        *,
        retriever: str | None,
        regions: Path | None,
        candidates: CandidateFile | None,
        by_gold: bool,
        features: FeatureStore | None,
        meter: Any,
        output: Output,
    ) -> _Subject:
        from dualway.config import UNTRAINED, override
        from dualway.kb.store import KnowledgeBase
        from dualway.run import Pipeline, Run

        overrides = {} if retriever is None else {"candidates": {"retriever": retriever}}
        if run is None:
            opened = KnowledgeBase.open(kb or Path())
            preset = override(UNTRAINED, overrides)
            prior, captions = _count_training_links(data, output)
            pipeline = Pipeline(preset, opened, prior, meter=meter, candidates=candidates, by_gold=by_gold)
            subject = cls(opened, preset, prior, pipeline)
            subject.captions = captions
            return subject
        opened_run = Run.open(run)
        opened_run.note_regions(regions, output.note, features)
        opened_run.note_features(None if features is None else features.folder, output.note)
        opened_run.note_candidates(None if candidates is None else candidates.path, output.note)
        opened = opened_run.open_kb(kb)
        preset = override(opened_run.preset, overrides)
        prior = opened_run.prior()
        pipeline = Pipeline(
            preset,
            opened,
            prior,
            meter=meter,
            regions=regions,
            candidates=candidates,
            by_gold=by_gold,
            features=features,
        )
        subject = cls(opened, preset, prior, pipeline)
        subject.pipeline.check_encoders(opened_run.encoders)
        subject.run, subject.captions = opened_run, opened_run.captions()
        return subject

    def systems(self, note: Callable[[str], None]) -> Sequence[Any]:
        """Return the rows: lexical, prior, from_kb, and the run's model, a run per seed."""
        from dualway.systems import system_class

        names = self.pipeline.names
        rows: list[Any] = [system_class("lexical")(names)]
        rows.append(system_class("prior")(names, self.prior))
        rows.append(self.pipeline.untrained(note))
        if self.run is not None:
            model, run = system_class("dwe_plus"), self.run
            rows.append([model(run.preset, run.trained_folder(s), seed=s) for s in run.preset.train.seeds])
        return rows

    def describe(self) -> dict[str, Any]:
        """Return what was evaluated, for the report's JSON."""
        from dualway.config import to_dict

        pipeline = self.pipeline
        return {
            "retriever": self.preset.candidates.retriever if pipeline.given is None else None,
            "candidates": _describe_given(pipeline),
            "features": None if pipeline.store is None else str(pipeline.store.folder),
            "encoders": pipeline.encoder_fingerprints(),
            "preset": to_dict(self.preset),
        }


def _describe_given(pipeline: Pipeline) -> dict[str, Any] | None:
    given = pipeline.given
    return None if given is None else {**given.record(), "reading": given.report.to_dict()}


def _check_call(
    run: Path | None, kb: Path | None, regions: Path | None, report: Path | None, predictions: Path | None
) -> None:
    """Tell before the long work what would spoil it at its end."""
    from dualway.errors import UsageError
    from dualway.storage import check_target

    if run is None and kb is None:
        raise UsageError("give --run RUN (a trained model) or --kb KB (the untrained linker)")
    if run is None and regions is not None:
        raise UsageError("--regions goes with --run; the untrained linker reads no pictures")
    if report is not None and predictions is not None and report.resolve() == predictions.resolve():
        raise UsageError(f"--json and --predictions both name {report}; give two files")
    for target in filter(None, (report, predictions)):
        check_target(target)


def _check_sources(run: Path | None, features: Path | None, retriever: str | None, candidates: Path | None) -> None:
    """Tell of two options that ask for different things."""
    from dualway.errors import UsageError

    if features is not None and run is None:
        raise UsageError("--features goes with --run; the untrained linker encodes its own texts")
    if candidates is not None and retriever is not None:
        raise UsageError("--retriever and --candidates: candidates come from one of them; leave the other out")


def _open_data(data: Path, split: str | None, output: Output) -> Dataset:
    from dualway.datasets import open_dataset
    from dualway.datasets.base import is_folder
    from dualway.errors import DataError

    if is_folder(data):
        dataset = open_dataset(data, split or "dev")
    else:
        # `isfile` because it is False, not an error, for a name that no file system takes.
        dataset = open_dataset(data, split if os.path.isfile(data) else None)  # noqa: PTH113
    for line in dataset.report.remarks():
        output.note(line)
    for mention in dataset.mentions:
        if mention.id not in dataset.gold:
            problem = 'no "entity_id"; give the entity, or null for NIL (or use `dualway link` where it is not known)'
            raise DataError(problem, path=dataset.report.path, id=mention.id)
    return dataset


def _count_training_links(data: Path, output: Output) -> tuple[MentionPrior, frozenset[str]]:
    """Count the train split beside the evaluated one, when there is one: the prior of an untrained linker."""
    from dualway.candidates.prior import MentionPrior
    from dualway.datasets import list_splits, open_dataset
    from dualway.datasets.base import is_folder
    from dualway.errors import DataError
    from dualway.evaluation import caption_key

    folder = data if is_folder(data) else data.parent
    try:
        found = "train" in list_splits(folder)
    except DataError:  # a file among others that are no data set
        found = False
    if not found:
        output.note("no train split beside the data: the prior row knows no links and equals lexical")
        return MentionPrior(), frozenset()
    train = open_dataset(folder, "train")
    if folder != data:
        output.note(f"prior counted on the train split of {folder}")
    return MentionPrior.build(train.mentions, train.gold), frozenset(caption_key(m.text) for m in train.mentions)
