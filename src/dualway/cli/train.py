"""`dualway train`: one model on one's own links."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dualway.cli.candidates import open_candidates
from dualway.cli.output import JsonFlag, Output, Progress, QuietFlag
from dualway.cli.store import open_store

if TYPE_CHECKING:
    from dualway.config import Preset
    from dualway.features.store import FeatureStore
    from dualway.run import Run


def train(
    data: Annotated[Path, typer.Option(help="A folder with a train (and a dev) split, or a file of links.")],
    kb: Annotated[Path, typer.Option(help="The knowledge base's folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The run's folder.")],
    preset: Annotated[str, typer.Option(help="paper or released.")] = "paper",
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings laid over the preset.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, as train.epochs=40; may be repeated.")
    ] = None,
    representation: Annotated[
        str | None,
        typer.Option(
            help="Kinds of text that stand for an entity, in place of the knowledge base's choice, with commas."
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, with commas: 0,1,2.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Start over instead of going on.")] = False,
    regions: Annotated[
        Path | None, typer.Option(help="JSONL file of objects, faces and labels found in the pictures.")
    ] = None,
    candidates: Annotated[
        Path | None, typer.Option(help="A file (or data set) with each mention's candidates, in place of retrieval.")
    ] = None,
    candidates_by_gold: Annotated[
        bool, typer.Option("--candidates-by-gold", help="Use --candidates even if keyed by the answers.")
    ] = False,
    features: Annotated[
        Path | None, typer.Option(help="A folder of `dualway features`, whose vectors are used instead of encoding.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write tensorboard events.")] = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Train a model; a killed training goes on where it was when the same command is given again."""
    from dualway.errors import UsageError
    from dualway.kb.store import KnowledgeBase
    from dualway.run import train_run

    output = Output(json=json, quiet=quiet)
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise UsageError("--tensorboard: tensorboard is not installed: pip install 'dualway[tensorboard]'")
    store = open_store(features, regions)
    settings = [*(set_ or []), *_representation_setting(representation)]
    chosen = read_settings(preset, config, settings, seeds, store)
    given = open_candidates(candidates, candidates_by_gold, output)
    with KnowledgeBase.open(kb) as opened, output.progress("features") as encoding:
        steps = _Steps(output)
        try:
            run = train_run(
                data=data,
                kb=opened,
                preset=chosen,
                out=out,
                resume=not restart,
                note=output.note,
                meter=encoding.update,
                on_step=steps.update,
                regions=regions,
                candidate_file=given,
                by_gold=candidates_by_gold,
                features=store,
                tensorboard=tensorboard,
            )
        finally:
            steps.close()
    output.result({"run": str(out), "preset": chosen.name, "results": run.results})
    output.show(_summary(run))


def read_settings(
    name: str,
    config: Path | None,
    assignments: list[str],
    seeds: str | None = None,
    store: FeatureStore | None = None,
) -> Preset:
    """Return a preset with a file of settings and single ones laid over it.

    What decides on features is as it is in a feature store, where there is one and the call does not say otherwise.

    Raises:
        UsageError: An unknown preset, key or value; a file that cannot be read.
    """
    from dualway.config import get_preset, load_overrides, override, parse_assignments
    from dualway.errors import UsageError

    preset = get_preset(name)
    if store is not None:
        preset = store.settings(preset)
    if config is not None:
        preset = override(preset, load_overrides(config))
    preset = override(preset, parse_assignments(assignments))
    if seeds is None:
        return preset
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise UsageError(f"--seeds {seeds!r}: write whole numbers with commas, as 0,1,2") from error
    return override(preset, {"train": {"seeds": numbers}})


def _representation_setting(kinds: str | None) -> list[str]:
    """Return what --representation says as --set does.

    Raises:
        UsageError: It names no kind.
    """
    import json

    from dualway.errors import UsageError

    if kinds is None:
        return []
    chosen = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    if not chosen:
        raise UsageError(f"--representation {kinds!r}: names no kind; write for example properties,static")
    return [f"features.representation={json.dumps(chosen, ensure_ascii=False)}"]


class _Steps:
    """One progress line per seed."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._seed: int | None = None
        self._meter: Progress | None = None

    def update(self, seed: int, state: Any) -> None:
        if seed != self._seed or self._meter is None:
            self.close()
            self._seed = seed
            self._meter = Progress(f"seed {seed}, steps", state.total_steps, silent=self._output.quiet)
        dev = "" if state.dev_t1 is None else f", dev T@1 {100 * state.dev_t1:.1f} (best {100 * state.best_t1:.1f})"
        note = f"epoch {state.epoch}, loss {state.loss:.3f}, {state.mentions_per_s:,.0f} mentions/s{dev}"
        self._meter.update(state.step, state.total_steps, note)

    def close(self) -> None:
        if self._meter is not None:
            self._meter.close()


def _summary(run: Run) -> str:
    lines = [f"{run.folder}: preset {run.preset.name}"]
    for seed, result in run.results.items():
        best = "no dev" if result["best_dev_t1"] is None else f"dev T@1 {100 * result['best_dev_t1']:.2f}"
        lines.append(
            f"  seed {seed}: {best} at step {result['best_step']:,} of {result['steps']:,}, "
            f"{result['mentions']:,} mentions ({result['skipped']:,} without entity left out), "
            f"{result['seconds']:,.0f} s, {result['mentions_per_s']:,.0f} mentions/s"
        )
    lines.append(f"evaluate it:  dualway evaluate --run {run.folder} --data DATA")
    return "\n".join(lines)
