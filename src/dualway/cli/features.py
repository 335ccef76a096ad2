"""`dualway features`: the vectors of a data set, computed once and kept in a folder for `train` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dualway.cli.output import JsonFlag, Output, QuietFlag
from dualway.cli.train import read_settings

if TYPE_CHECKING:
    from dualway.config import Preset
    from dualway.datasets.base import Dataset
    from dualway.features.build import Made, Sources
    from dualway.features.h5 import VectorFile

_COLUMNS = ("mentions", "pictures", "failures", "objects", "faces", "labels")


def features(
    data: Annotated[Path, typer.Option(help="A data set's folder, or one file of it.")],
    kb: Annotated[Path, typer.Option(help="The knowledge base's folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make, or to go on with.")],
    split: Annotated[
        list[str] | None, typer.Option(help="Only this split of the folder; may be repeated. Else every one.")
    ] = None,
    preset: Annotated[str, typer.Option(help="paper or released.")] = "paper",
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings laid over the preset.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, as encoders.image=MODEL; may be repeated.")
    ] = None,
    regions: Annotated[
        Path | None, typer.Option(help="JSONL file of objects, faces and labels found in the pictures.")
    ] = None,
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
    """Encode a data set and keep its vectors; splits that are there and unchanged are kept, gold is not used."""
    from dualway.features.build import StoreBuilder
    from dualway.features.store import remove_store
    from dualway.kb.store import KnowledgeBase
    from dualway.run import Pipeline, note_failures

    output = Output(json=json, quiet=quiet)
    chosen = read_settings(preset, config, set_ or [])
    sources = _sources(
        dtype, missing, regions, (entity_vectors, entity_order), (picture_vectors, picture_order), chosen
    )
    datasets = _open_data(data, split or [], output)
    with KnowledgeBase.open(kb) as opened, output.progress("features") as encoding:
        pipeline = Pipeline(_without_prior(chosen), opened, meter=encoding.update, regions=regions)
        if restart:
            remove_store(out)
        builder = StoreBuilder(out, pipeline.extractor, opened, chosen, sources=sources)
        made = builder.add(datasets, lambda item: output.note(_progress(item)))
    for item in made:
        if item.report is not None:
            note_failures(item.report, output.note)
    output.result({"features": str(out), "dtype": dtype, "splits": {item.split: _record(item) for item in made}})
    output.show(_describe(out, made))


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
    return {"made": item.report is not None, **counts, "attributes": list(item.record.attributes)}


def _counts(item: Made) -> list[int]:
    record = item.record
    lists = [record.arrays.get(f"{name}.values", ("", (0,)))[1][0] for name in ("objects", "faces", "labels")]
    return [record.mentions, record.pictures, record.failures, *lists]


def _describe(out: Path, made: list[Made]) -> str:
    width = max(len("split"), *(len(item.split) for item in made))
    lines = [f"{out}:", f"{'split':<{width}}" + "".join(f"  {name:>9}" for name in _COLUMNS)]
    for item in made:
        state = "" if item.report is not None else "  unchanged, kept"
        lines.append(f"{item.split:<{width}}" + "".join(f"  {number:>9,}" for number in _counts(item)) + state)
    attributes = sorted({name for item in made for name in item.record.attributes})
    if attributes:
        lines.append(f"face sentences hold {', '.join(attributes)}, from the regions file")
    return "\n".join(lines)
