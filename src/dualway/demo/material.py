"""What a demo works on: the generated world, or a user's folder; as a knowledge base, splits and pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, cast

from dualway.datasets import list_splits, open_dataset, write_mentions
from dualway.datasets.base import Dataset
from dualway.errors import DataError, UsageError
from dualway.kb.files import build_from_files
from dualway.kb.store import KnowledgeBase
from dualway.report.records import Ceiling
from dualway.schema import Mention
from dualway.storage import read_json, write_json
from dualway.text import match_key
from dualway.world import CAVEAT
from dualway.world.build import DEMO, MANIFEST, World, write_world

_DEV_SHARE = 10  # one caption in so many goes to dev where a folder has none
_ENTITY_FILES = ("entities.jsonl", "entities.csv", "entities.tsv")


class Meter(Protocol):
    """A progress line."""

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Set how much is done so far."""
        ...


class Voice(Protocol):
    """How the demo speaks: results, remarks, progress."""

    def show(self, text: str) -> None:
        """Print a result."""
        ...

    def note(self, text: str) -> None:
        """Print a remark."""
        ...

    def progress(self, label: str, total: int | None = None) -> AbstractContextManager[Meter]:
        """Open a progress line."""
        ...


@dataclass(frozen=True)
class Material:
    """What the screens are about.

    Attributes:
        folder: A data set with the splits `train` and `dev`, and `evaluated`.
        evaluated: The split that is reported.
        kb: The knowledge base's folder.
        title: What it is called in the report.
        lead: What it is, in sentences.
        caveats: What a reader must know before believing a figure.
        ceilings: Oracles of the generated world.
        photographs: The pictures are a user's own.
        source: What the last screen's commands name as data.
    """

    folder: Path
    evaluated: str
    kb: Path
    title: str
    lead: tuple[str, ...]
    caveats: tuple[str, ...]
    ceilings: tuple[Ceiling, ...]
    photographs: bool
    source: Path


def make_world(out: Path, voice: Voice) -> Material:
    """Draw the generated world into `out` and build its knowledge base; what is there already is kept."""
    folder = out / "world"
    if not _is_world(folder):
        with voice.progress("pictures drawn") as meter:
            write_world(folder, DEMO, workers=min(2, os.cpu_count() or 1), progress=meter.update)
    ceilings = read_json(folder / MANIFEST)["ceilings"]["test"]
    _build_once(folder / "entities.jsonl", out / "kb", ("properties",), voice)
    return Material(
        folder=folder,
        evaluated="test",
        kb=out / "kb",
        title="The generated world",
        lead=(
            "600 made-up people with shared names, captions that name one to three of them, and drawn pictures. "
            f"{100 * ceilings['undecidable']:.0f} % of the test mentions cannot be decided by their captions: "
            "only the picture tells.",
        ),
        caveats=(CAVEAT,),
        ceilings=(
            Ceiling("text-only oracle", ceilings["text_only"], "knows every name and fact, and sees no picture"),
            Ceiling("oracle with picture", ceilings["full"], "sees every look in the picture as well"),
        ),
        photographs=False,
        source=folder,
    )


def open_own(data: Path, out: Path, limit: int, voice: Voice) -> Material:
    """Prepare a user's folder: at most `limit` mentions a split (0: all), and a dev part where it has none.

    Raises:
        DataError: No data set or no entity file is there; says what was looked for.
        UsageError: `data` is a file.
    """
    train, dev = _own_splits(data, voice)
    entities = next((data / name for name in _ENTITY_FILES if (data / name).is_file()), data)
    try:
        _build_once(entities, out / "kb", (), voice)
    except DataError as error:
        if entities != data:
            raise
        raise DataError(f"{error.problem}; or {', '.join(_ENTITY_FILES)}", path=data) from error
    chosen = {"train": _first(train, limit), "dev": _first(dev, limit)}
    outside = {path for dataset in chosen.values() for path in _outside(dataset, data)}
    if outside:
        shown = f"{len(outside):,} pictures lie outside {data}, such as {min(outside)}"
        voice.note(f"{shown}; the report may show them: look before you pass it on")
    folder = out / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for split, dataset in chosen.items():
        write_mentions(folder / f"{split}.jsonl", _with_whole_paths(dataset), dataset.gold)
    counts = {split: f"{len(dataset):,} mentions of {split}" for split, dataset in chosen.items()}
    cut = [split for split, whole in (("train", train), ("dev", dev)) if len(chosen[split]) < len(whole)]
    caveats = [
        "Chosen and reported on dev: the checkpoint was chosen on the same mentions.",
        "Pictures are read by the encoder that comes with the package, which has seen drawings only; name a real one "
        "with --image-encoder.",
    ]
    if cut:
        caveats.insert(0, f"Only {limit:,} mentions of {' and '.join(cut)} were used (--limit), pictured ones first.")
    return Material(
        folder=folder,
        evaluated="dev",
        kb=out / "kb",
        title=data.resolve().name,
        lead=(f"Your data in {data}: {' and '.join(counts.values())}.",),
        caveats=tuple(caveats),
        ceilings=(),
        photographs=any(_has_picture(chosen["dev"], mention) for mention in chosen["dev"].mentions),
        source=data,
    )


def _is_world(folder: Path) -> bool:
    """Tell whether the demo's world is there, of this version."""
    return _read_object(folder / MANIFEST).get("fingerprint") == World.make(DEMO).fingerprint()


def claim(out: Path, data: Path | None, settings: Mapping[str, Any]) -> None:
    """Make a demo's folder, or take up the one of an earlier demo with the same data and settings.

    Raises:
        UsageError: `data` is no folder, or `out` holds a demo of other data or settings.
    """
    if data is not None and not data.is_dir():
        problem = "is a file: give its folder," if data.exists() else "no such folder: give one"
        raise UsageError(f"{data}: {problem} with train and dev files and entity files (docs/formats.md)")
    wanted = {**settings, "data": None if data is None else _describe_folder(data)}
    path = out / "demo.json"
    if not path.exists():
        write_json(path, wanted)
        return
    found = _read_object(path)
    differing = [key for key in wanted if found.get(key) != json.loads(json.dumps(wanted[key]))]
    if differing:
        raise UsageError(
            f"{out}: holds a demo with other {' and '.join(differing)}; remove the folder or choose another --out"
        )


def _read_object(path: Path) -> dict[str, Any]:
    """Return the object in a file of the demo's own; an empty one where it is missing or damaged."""
    try:
        found: Any = read_json(path)
    except DataError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _describe_folder(data: Path) -> dict[str, Any]:
    """Return the folder's place, and name, size and time of the files in it: they tell whether it has changed."""
    files = sorted(path for path in data.iterdir() if path.is_file())
    stamps = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    return {"folder": str(data.resolve()), "files": stamps}


def _build_once(source: Path, kb: Path, representation: tuple[str, ...], voice: Voice) -> None:
    if (kb / "manifest.json").is_file():
        voice.note(f"using the knowledge base in {kb}")
        return
    report = build_from_files(source, kb, representation=representation)
    voice.note(f"knowledge base: {report.manifest.counts['entities']:,} entities of {source}, {report.seconds:.1f} s")


def _own_splits(data: Path, voice: Voice) -> tuple[Dataset, Dataset]:
    """Return train and dev; where there is no dev, a tenth of train's captions.

    Raises:
        DataError: There is no train split, nor one file of all mentions: nothing else is trained on.
    """
    splits = list_splits(data)
    name = next((name for name in ("train", "all") if name in splits), None)
    if name is None:
        raise DataError(f"no train split, only {' and '.join(splits)}; the demo trains on train alone", path=data)
    train = open_dataset(data, name)
    for line in train.report.remarks():
        voice.note(line)
    if "dev" in splits:
        return _linked(train), _linked(open_dataset(data, "dev"))
    voice.note(f"{data}: no dev split; one caption in {_DEV_SHARE} of {train.split or train.name} is taken for it")
    in_dev = [_hash(mention) % _DEV_SHARE == 0 for mention in train.mentions]
    parts = [train.take([i for i, inside in enumerate(in_dev) if inside == wanted]) for wanted in (False, True)]
    if not all(map(len, parts)):
        raise DataError("too few captions to train and to evaluate on", path=data)
    return _linked(parts[0]), _linked(parts[1])


def _linked(dataset: Dataset) -> Dataset:
    """Return the mentions that have gold."""
    rows = [i for i, mention in enumerate(dataset.mentions) if mention.id in dataset.gold]
    if not rows:
        raise DataError("no mention has gold, so nothing can be trained or evaluated", path=dataset.report.path)
    return dataset.take(rows)


def _first(dataset: Dataset, limit: int) -> Dataset:
    """Return the first mentions, those whose picture is there before the others, in the file's order."""
    if not limit or len(dataset) <= limit:
        return dataset
    pictured = [i for i, mention in enumerate(dataset.mentions) if _has_picture(dataset, mention)]
    chosen = set(pictured[:limit])
    for i in range(len(dataset)):
        if len(chosen) == limit:
            break
        chosen.add(i)
    return dataset.take(sorted(chosen))


def _has_picture(dataset: Dataset, mention: Mention) -> bool:
    path = dataset.image_path(mention)
    try:
        return path is not None and path.is_file()
    except (OSError, ValueError):
        return False


def _outside(dataset: Dataset, folder: Path) -> set[Path]:
    """Return the pictures that a data set's paths and links lead to outside its folder."""
    named = {dataset.image_path(mention) for mention in dataset.mentions if _has_picture(dataset, mention)}
    found = {path.resolve() for path in named if path is not None}
    return {path for path in found if not path.is_relative_to(folder.resolve())}


def _with_whole_paths(dataset: Dataset) -> Iterable[Mention]:
    for mention in dataset.mentions:
        path = dataset.image_path(mention)
        yield mention if path is None else replace(mention, image=str(path.resolve()))


def _hash(mention: Mention) -> int:
    return int.from_bytes(sha256(match_key(mention.text).encode()).digest()[:4], "big")


def open_kb(material: Material) -> KnowledgeBase:
    """Open the material's knowledge base."""
    return KnowledgeBase.open(material.kb)
