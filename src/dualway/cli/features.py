"""`dualway features`: what is in a data set's pictures and texts, computed once and kept for `train` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dualway.cli.output import JsonFlag, Output, QuietFlag
from dualway.cli.seeing import (
    AgeOption,
    DetectorOption,
    FacesOption,
    GenderOption,
    IdentityOption,
    ImageOption,
    seeing_settings,
)
from dualway.cli.train import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from dualway.config import Preset
    from dualway.datasets.base import Dataset
    from dualway.features.build import Made, Sources, Work
    from dualway.features.h5 import VectorFile

_COLUMNS = ("mentions", "pictures", "failures", "dropped", "objects", "faces", "labels", "identities")
MAX_PROCESSES = 256
_SHOWN = 10  # pictures that could not be used, before --json tells all

app = typer.Typer(invoke_without_command=True, help="Make a feature store; look into one; purge one.")


@app.callback()
def features(
    context: typer.Context,
    data: Annotated[Path | None, typer.Option(help="A data set's folder, or one file of it.")] = None,
    kb: Annotated[Path | None, typer.Option(help="The knowledge base's folder.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder to make, or to go on with.")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Only this split of the folder; may be repeated. Else every one.")
    ] = None,
    preset: Annotated[str, typer.Option(help="paper or released.")] = "paper",
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings laid over the preset.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, as encoders.image=MODEL; may be repeated.")
    ] = None,
    image: ImageOption = None,
    detector: DetectorOption = None,
    faces: FacesOption = None,
    age: AgeOption = None,
    gender: GenderOption = None,
    identity: IdentityOption = None,
    regions: Annotated[
        Path | None, typer.Option(help="JSONL file of objects, faces and labels found in the pictures.")
    ] = None,
    on_error: Annotated[
        str,
        typer.Option(help="A mention whose picture cannot be used: keep-text, drop it, or stop at the first."),
    ] = "keep-text",
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that read pictures; 0: none but this one. Else one a processor for 500 or more."),
    ] = None,
    shard_size: Annotated[
        int, typer.Option(help="Pictures that are committed together: what a kill costs at most, per process.")
    ] = 256,
    dtype: Annotated[
        str, typer.Option(help="Numbers on disk: float32, or float16 for half the size and rounded vectors.")
    ] = "float32",
    entity_vectors: Annotated[
        Path | None, typer.Option(help="h5 file of the entities' vectors, in place of encoding their texts.")
    ] = None,
    entity_order: Annotated[
        Path | None, typer.Option(help="JSON list of the entity ids in the order of its rows.")
    ] = None,
    missing: Annotated[
        str, typer.Option(help="Entities that it lacks: error, or encode to encode their texts.")
    ] = "error",
    picture_vectors: Annotated[
        Path | None, typer.Option(help="h5 file of vectors of whole pictures, in place of a picture encoder.")
    ] = None,
    picture_order: Annotated[
        Path | None, typer.Option(help="JSON list of the pictures in the order of its rows.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Remove what is there and start over.")] = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Read a data set's pictures and texts and keep what is found; what is there and unchanged is kept. No gold."""
    if context.invoked_subcommand is not None:
        return
    from dualway.features.build import StoreBuilder
    from dualway.features.writing import start_over
    from dualway.kb.store import KnowledgeBase
    from dualway.run import Pipeline

    output = Output(json=json, quiet=quiet)
    data, kb, out = _required(data, "--data"), _required(kb, "--kb"), _required(out, "--out")
    seeing = seeing_settings(image, detector, faces, age, gender, identity)
    chosen = read_settings(preset, config, [*(set_ or []), *seeing])
    sources = _sources(
        dtype, missing, regions, (entity_vectors, entity_order), (picture_vectors, picture_order), chosen
    )
    datasets = _open_data(data, split or [], output)
    with KnowledgeBase.open(kb) as opened, output.progress("features") as encoding:
        pipeline = Pipeline(_without_prior(chosen), opened, meter=encoding.update, regions=regions)
        if restart:
            start_over(out)
        work = _work(on_error, workers, shard_size, lambda done, total: encoding.update(done, total, "pictures"))
        builder = StoreBuilder(out, pipeline.extractor, opened, chosen, sources=sources, work=work, note=output.note)
        made = builder.add(datasets, lambda item: output.note(_progress(item)))
    for item in made:
        if item.report is not None:
            _note_failures(item.split, item.report.failures, output)
    splits = {item.split: _record(item) for item in made}
    seconds = {stage: round(spent, 3) for stage, spent in builder.seconds.items()}
    output.result({"features": str(out), "dtype": dtype, "seconds": seconds, "splits": splits})
    output.show(_describe(out, made))


@app.command()
def show(
    mention: Annotated[str, typer.Argument(help="A mention's id, or the name of a picture.")],
    store: Annotated[Path, typer.Option("--features", help="The store.")],
    data: Annotated[Path, typer.Option(help="The data set's folder or file, where the pictures are.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write, .png or .jpg.")],
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Draw what was found in a mention's picture: objects, faces with what is said of them, and who is recognised."""
    from dualway.features.show import draw_features, find_picture

    output = Output(json=json, quiet=quiet)
    found = find_picture(store, data, mention)
    draw_features(found, out)
    output.result(found.to_dict() | {"picture": str(out)})
    output.show(found.describe(out))


@app.command()
def purge(
    store: Annotated[Path, typer.Argument(help="The store.")],
    faces: Annotated[
        bool, typer.Option("--faces", help="Only what was read from faces: vectors, attributes, identities.")
    ] = False,
    entity: Annotated[
        list[str] | None, typer.Option(help="Only that this entity was recognised in pictures; may be repeated.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The data set's folder or file, to find its pictures in the cache.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; else only tell what would be removed.")] = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Remove a store and what the cache keeps of its pictures, or only what it says of faces or of a person."""
    from dualway.features.purge import purge_store

    output = Output(json=json, quiet=quiet)
    purged = purge_store(store, faces=faces, entities=entity or [], data=data, really=yes)
    output.result(purged.to_dict())
    output.show(purged.describe())


def _required(value: Path | None, option: str) -> Path:
    from dualway.errors import UsageError

    if value is None:
        raise UsageError(f"Missing option '{option}'. `dualway features --help` shows an example of a call.")
    return value


def _work(on_error: str, workers: int | None, shard_size: int, progress: Callable[[int, int], None]) -> Work:
    from dualway.errors import UsageError
    from dualway.features.build import Work

    if on_error not in ("keep-text", "drop", "stop"):
        raise UsageError(f"--on-error {on_error!r}: choose keep-text, drop or stop")
    if workers is not None and not 0 <= workers <= MAX_PROCESSES:
        raise UsageError(f"--workers {workers}: give a number from 0 to {MAX_PROCESSES}")
    if shard_size < 1:
        raise UsageError(f"--shard-size {shard_size}: give a number of at least 1")
    return Work(workers=workers, on_error=on_error, shard_size=shard_size, progress=progress)


def _note_failures(split: str, failures: dict[str, str], output: Output) -> None:
    """Tell which pictures could not be used, and why."""
    if not failures:
        return
    output.note(f"{split}: {len(failures):,} pictures could not be used (--json lists all):")
    for path, reason in list(failures.items())[:_SHOWN]:
        output.note(f"  {path}: {reason}")


def _sources(
    dtype: str,
    missing: str,
    regions: Path | None,
    entities: tuple[Path | None, Path | None],
    pictures: tuple[Path | None, Path | None],
    preset: Preset,
) -> Sources:
    """Return what the call takes from files, read and checked before anything is encoded."""
    from dualway.errors import UsageError
    from dualway.features.build import Sources
    from dualway.features.manifest import DTYPES

    if dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype!r}: choose {' or '.join(DTYPES)}")
    if missing not in ("error", "encode"):
        raise UsageError(f"--missing {missing!r}: choose error or encode")
    if pictures[0] is not None and preset.encoders.image is not None:
        raise UsageError(
            f"--picture-vectors and encoders.image={preset.encoders.image}: pictures get their vectors from one of "
            "them; leave the other out (--set encoders.image=none)"
        )
    return Sources(
        dtype=dtype,
        entities=_read_vectors("entity", *entities),
        missing=missing,
        pictures=_read_vectors("picture", *pictures),
        regions=regions,
    )


def _read_vectors(what: str, path: Path | None, order: Path | None) -> VectorFile | None:
    from dualway.errors import UsageError
    from dualway.features.h5 import read_vector_file

    if (path is None) != (order is None):
        raise UsageError(
            f"--{what}-vectors and --{what}-order go together: the h5 file, and the list of its rows that was written "
            "with it (docs/formats.md says which)"
        )
    if path is None or order is None:
        return None
    return read_vector_file(path, order)


def _open_data(data: Path, wanted: list[str], output: Output) -> dict[str, Dataset]:
    """Return the splits to be encoded, all read before anything else: a broken file is told at once."""
    from dualway.datasets import list_splits, open_dataset
    from dualway.datasets.base import is_folder
    from dualway.errors import UsageError

    if not is_folder(data):
        if wanted:
            raise UsageError(f"--split goes with a folder; {data} is a file and is encoded whole")
        found = {data.stem: open_dataset(data)}
    else:
        found = {split: open_dataset(data, split) for split in wanted or list_splits(data)}
    for dataset in found.values():
        for line in dataset.report.remarks():
            output.note(line)
    return found


def _without_prior(preset: Preset) -> Preset:
    """Return the preset with a retriever that needs no links: features do not depend on candidates."""
    from dualway.config import override

    return override(preset, {"candidates": {"retriever": "names"}})


def _progress(item: Made) -> str:
    if item.report is None:
        return f"{item.split}: unchanged, kept"
    return f"{item.split}: {item.record.mentions:,} mentions, {item.record.pictures:,} pictures"


def _record(item: Made) -> dict[str, Any]:
    counts = dict(zip(_COLUMNS, _counts(item), strict=True))
    failures = {} if item.report is None else item.report.failures
    return {
        "made": item.report is not None,
        **counts,
        "attributes": list(item.record.attributes),
        "failed": failures,
    }


def _counts(item: Made) -> list[int]:
    record = item.record
    names = ("objects", "faces", "labels", "identities")
    lists = [record.arrays.get(f"{name}.values", ("", (0,)))[1][0] for name in names]
    return [record.mentions, record.pictures, record.failures, record.dropped, *lists]


def _describe(out: Path, made: list[Made]) -> str:
    width = max(len("split"), *(len(item.split) for item in made))
    lines = [f"{out}:", f"{'split':<{width}}" + "".join(f"  {name:>{max(9, len(name))}}" for name in _COLUMNS)]
    for item in made:
        state = "" if item.report is not None else "  unchanged, kept"
        lines.append(
            f"{item.split:<{width}}"
            + "".join(f"  {n:>{max(9, len(name))},}" for name, n in zip(_COLUMNS, _counts(item), strict=True))
            + state
        )
    attributes = sorted({name for item in made for name in item.record.attributes})
    if attributes:
        lines.append(f"face sentences hold {', '.join(attributes)}")
    return "\n".join(lines)
