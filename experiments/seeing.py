"""What does each thing that is seen add? Preset `paper` with text only, + objects, + faces, + identity.

    python -m experiments.seeing --work .experiments/seeing [--parts lfw,world] [--json FILE]

`lfw`: the mentions of WikiMEL's train and dev whose person has two photographs or more in LFW (DUALWAY_REALDATA), in
five folds by person. Photograph _0001 is the mention's picture, those from _0002 on are the knowledge base's. This is
re-imaged data, joined by name: its scores are no scores of WikiMEL. Objects by YOLOX-nano, faces by YuNet, age and
gender by a small ONNX model, identity by MobileFaceNet. Objects are encoded by the package's mini CLIP, which was
trained on drawings and knows nothing of photographs: no other picture encoder can be had without a network, so the row
"+ objects" says that objects enter, not what they are worth.

`world`: the same rows on the generated world: proposals, faces as its annotations have them, identity by the mini
CLIP's vectors of portraits, and beside it labels, the paper's form, as the annotations have them.

One feature store serves all rows, which differ in switches of the model. Resumable; prints the tables as markdown.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.machine import describe_machine
from numpy.typing import NDArray

from dualway.candidates.names import NameIndex
from dualway.config import PRESETS, Preset, override
from dualway.datasets import open_dataset
from dualway.datasets.base import Dataset
from dualway.evaluation.significance import paired_bootstrap
from dualway.features.arrays import Features, Ragged
from dualway.features.build import StoreBuilder
from dualway.features.store import open_features
from dualway.kb.files import build_from_files
from dualway.kb.picture_map import read_picture_map
from dualway.kb.pictures import change_pictures
from dualway.kb.store import KnowledgeBase
from dualway.metrics import count_ranks, estimate_means, hits_at_k
from dualway.protocols import Task
from dualway.run import Pipeline
from dualway.schema import IntArray
from dualway.storage import read_json, write_json, write_text
from dualway.systems.dwe_plus import DwePlusSystem, gold_rows
from dualway.systems.lexical import Lexical
from dualway.world import CAVEAT
from dualway.world.build import DEMO, MANIFEST, write_world
from experiments.world import give_portraits

SEEDS = (0, 1, 2)
FOLDS = 5
KNOWN_WRONG = ("Michael_Schumacher_0008", "Recep_Tayyip_Erdogan_0004")  # show somebody else than they say
# The paper: 5e-5 for 300 epochs, for twenty times as many mentions; these were chosen on a tenth of training's people.
LFW_TRAIN = {"epochs": 40, "learning_rate": 1e-3, "evaluate_every": 70}
WORLD_TRAIN = {"epochs": 40, "learning_rate": 1.5e-4, "evaluate_every": 150}
_OFF = {"use_objects": False, "use_faces": False, "use_identity": False}
# What each row changes of the model's switches.
ROWS: dict[str, dict[str, bool]] = {
    "text only": {},
    "+ objects": {"use_objects": True},
    "+ objects, faces": {"use_objects": True, "use_faces": True},
    "+ objects, faces, identity": {"use_objects": True, "use_faces": True, "use_identity": True},
    "text, identity": {"use_identity": True},
}
LABELS = "+ objects, faces, labels"  # of the world: the paper's form of identity, in the gallery's place
# No face is looked at: the label is the candidate of the likeliest name among those of whom the gallery has pictures.
# Few entities have any, and the right one always does, so that this alone tells much of the answer.
CONTROL = "text, best-named candidate with pictures"
_AS = {LABELS: "+ objects, faces, identity", CONTROL: "text, identity"}
PAIRS = (
    ("text, identity", "text only"),
    ("+ objects", "text only"),
    ("+ objects, faces", "+ objects"),
    ("+ objects, faces, identity", "+ objects, faces"),
    ("+ objects, faces, identity", "text only"),
)

Hits = NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """Mentions with their features, ready for any row.

    name: Of the part.
    task: All mentions, their candidates and features.
    gold: Entity of each mention, by id.
    parts: int64 [f, n] in each line 0 where a mention is learnt from, 1 where dev is, 2 where it is tested.
    groups: The captions, for intervals: int64 [n].
    subsets: Name -> bool [n], mentions that are also reported apart.
    """

    name: str
    task: Task
    gold: Mapping[str, str | None]
    parts: IntArray
    groups: IntArray
    subsets: Mapping[str, NDArray[np.bool_]]


def realdata() -> Path:
    """Return the folder of real data."""
    return Path(os.environ.get("DUALWAY_REALDATA", "../shared/realdata"))


def lfw_preset(models: Path) -> Preset:
    """Return preset `paper` with the models that look at photographs."""
    age_gender = str(models / "age_gender" / "age_gender.onnx")
    encoders = {
        "image": "mini-clip",
        "detector": str(models / "yolox_nano" / "yolox_nano.onnx"),
        "faces": str(models / "yunet" / "yunet_n_640_640.onnx"),
        "age": age_gender,
        "gender": age_gender,
        "identity": str(models / "mobilefacenet" / "mobilefacenet.onnx"),
    }
    return override(
        PRESETS["paper"],
        {"encoders": encoders, "features": {"entity_template": "{name}. {text}"}, "train": LFW_TRAIN},
    )


def write_lfw(data: Path, folder: Path, limit: int | None = None) -> None:
    """Write the mentions as one's own JSON Lines, and which photographs are the knowledge base's.

    Args:
        data: The folder of real data.
        folder: Where to write.
        limit: At most so many mentions, for a trial.
    """
    lfw = (data / "lfw").resolve()
    records = json.loads((lfw / "wikimel_lfw.json").read_text(encoding="utf-8"))
    chosen = [record for record in records if len(record["images"]) > 1 and _first(record["images"])]
    lines = [
        {
            "id": f"{record['id']}-{number}",
            "text": record["sentence"],
            "surface": record["mention"],
            "entity_id": record["qid"],
            "image": str(lfw / _first(record["images"])),
        }
        for number, record in enumerate(chosen[:limit])
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "mentions.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    rows = ["entity\tpicture\tsource\tlicence"]
    with (lfw / "lfw_to_qid.tsv").open(encoding="utf-8", newline="") as file:
        for person in csv.DictReader(file, delimiter="\t"):
            if person["in_wikimel"] == "1":
                photos = sorted((lfw / "images_deepfunneled" / person["lfw_name"]).glob("*.jpg"))
                rows += [
                    f"{person['qid']}\t{photo.relative_to(lfw)}\tLFW\tnone stated, research benchmark"
                    for photo in photos
                    if not photo.stem.endswith("_0001") and photo.stem not in KNOWN_WRONG
                ]
    write_text(folder / "gallery.tsv", "\n".join(rows) + "\n")


def prepare_lfw(work: Path, data: Path, *, limit: int | None = None, folds: int = FOLDS) -> Material:
    """Build the knowledge base with its gallery and the feature store, once, and return the mentions in folds."""
    folder, kb_path = work / "data", work / "kb"
    if not (folder / "mentions.jsonl").is_file():
        write_lfw(data, folder, limit)
    if not kb_path.is_dir():
        build_from_files(data / "wikimel", kb_path, form="ghmfc")
    with KnowledgeBase.open(kb_path) as kb:
        gallery = read_picture_map(folder / "gallery.tsv", data / "lfw", known=kb)
    change_pictures(kb_path, gallery)
    dataset = open_dataset(folder / "mentions.jsonl")
    preset = lfw_preset(data / "models")
    kb = KnowledgeBase.open(kb_path)
    task = _read(work / "features", preset, kb, dataset)
    full = np.array(
        [mention.surface == kb.names[kb.row(str(dataset.gold[mention.id]))] for mention in dataset.mentions]
    )
    people = [str(dataset.gold[mention.id]) for mention in dataset.mentions]
    return Material(
        "lfw", task, dataset.gold, fold_people(people, folds), _captions(dataset), {"not the full name": ~full}
    )


def prepare_world(work: Path) -> Material:
    """Draw a world, build its knowledge base with portraits and its feature store, once."""
    world, kb_path = work / "world", work / "kb"
    if not (world / MANIFEST).is_file():
        write_world(world, DEMO, workers=2)
    if not kb_path.is_dir():
        build_from_files(world / "entities.jsonl", kb_path, representation=("properties",))
        give_portraits(world, kb_path)
    encoders = {"text": "minilm+mini-clip", "image": "mini-clip", "detector": "proposals", "identity": "pictures"}
    preset = override(
        PRESETS["paper"],
        {"encoders": encoders, "features": {"entity_template": "{name}. {text}"}, "train": WORLD_TRAIN},
    )
    splits = [open_dataset(world, split) for split in ("train", "dev", "test")]
    mentions = [mention for dataset in splits for mention in dataset.mentions]
    gold = {key: value for dataset in splits for key, value in dataset.gold.items()}
    whole = replace(splits[0], split=None, mentions=mentions, gold=gold)
    task = _read(work / "features", preset, KnowledgeBase.open(kb_path), whole, world / "annotations.jsonl")
    part = np.repeat(np.arange(3), [len(dataset) for dataset in splits])
    return Material("world", task, gold, part[None], _captions(whole), {})


def _read(store: Path, preset: Preset, kb: KnowledgeBase, dataset: Dataset, regions: Path | None = None) -> Task:
    """Return mentions with candidates and what was found in their pictures, kept in a feature store."""
    pipeline = Pipeline(preset, kb, regions=regions)
    builder = StoreBuilder(store, pipeline.extractor, kb, preset, note=_note)
    builder.add({"all": replace(dataset, split="all")})
    candidates = NameIndex(kb.ids, kb.names, kb.aliases).search(dataset.mentions, 100)
    features, _ = open_features(store).load(replace(dataset, split="all"))
    return Task(dataset.mentions, candidates, kb, features)


def fold_people(people: Sequence[str], folds: int) -> IntArray:
    """Return `Material.parts`: each person's mentions are tested in one fold; a tenth of the others' people are dev."""
    distinct = sorted(set(people))
    random.Random("folds").shuffle(distinct)
    place = {person: i for i, person in enumerate(distinct)}
    where = np.array([place[person] for person in people], dtype=np.int64)
    lines = []
    for fold in range(folds):
        rest = [i for i in range(len(distinct)) if i % folds != fold]
        random.Random(f"dev/{fold}").shuffle(rest)
        dev = rest[: max(1, len(rest) // 10)]
        lines.append(np.where(where % folds == fold, 2, np.where(np.isin(where, dev), 1, 0)))
    return np.stack(lines)


def run_row(material: Material, preset: Preset, row: str, seed: int, work: Path) -> Hits:
    """Train a row in every fold with one seed, and return the T@1 of each mention, float64 [n]; NaN if never tested."""
    number = [*ROWS, LABELS, CONTROL].index(row)
    path = work / "rows" / f"{number}-{seed}.npy"
    if path.is_file():
        return np.load(path, allow_pickle=False)
    hits = np.full(len(material.task.mentions), np.nan)
    model = override(preset, {"model": {**_OFF, **_switches(row)}})
    task = replace(material.task, features=_features_of(row, material))
    for fold, part in enumerate(material.parts):
        learnt, dev, tested = (task.take(np.flatnonzero(part == what)) for what in range(3))
        system = DwePlusSystem(model, work / "runs" / f"{number}-{seed}-{fold}", seed=seed)
        system.fit(learnt, material.gold, dev, material.gold)
        hits[part == 2] = _hits(material, tested, system.score(tested))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, hits)
    return hits


def _switches(row: str) -> dict[str, bool]:
    return ROWS[_AS.get(row, row)]


def _features_of(row: str, material: Material) -> Features | None:
    """Return the features that a row reads: identity is the gallery's, a classifier's, or the control's."""
    features, candidates = material.task.features, material.task.candidates
    if features is None or candidates is None:
        return None
    if row == CONTROL:
        pictured = {place for place, _ in material.task.kb.gallery_pictures()}
        first = [next((r for r in rows if r in pictured), -1) for rows in candidates.rows.tolist()]
        found = np.array([r for r in first if r >= 0], dtype=np.int64)
        offsets = np.cumsum([0, *(r >= 0 for r in first)]).astype(np.int64)
        # The sentence of an identity is the entity's own: `gallery_template` is what `entity_template` is here.
        return replace(features, labels=None, identities=Ragged(features.entities[found], offsets))
    return replace(features, identities=None) if row == LABELS else replace(features, labels=None)


def _hits(material: Material, task: Task, scores: Sequence[Any]) -> Hits:
    """Return each mention's T@1 under top100: a gold that is no candidate is a miss, ties are averaged."""
    assert task.candidates is not None
    matches = task.candidates.rows == gold_rows(task, material.gold)[:, None]
    place = np.where(matches.any(1), matches.argmax(1), -1)
    return hits_at_k(count_ranks(scores, place, [mention.id for mention in task.mentions]), 1)


def measure(material: Material, preset: Preset, work: Path, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Train and test every row, and return the figures.

    Returns:
        `rows`: name -> subset ("all" and those of the material) -> t1, low, high and std (over seeds), in points;
        `differences`: "A minus B" -> subset -> difference, low, high; `mentions`: how many of each subset; `identity`:
        mentions of whose candidates somebody was recognised, right and wrong.
    """
    tested = (material.parts == 2).any(0)
    found: dict[str, Hits] = {"lexical": _lexical(material)[None]}
    has_labels = material.task.features is not None and material.task.features.labels is not None
    more = LABELS if has_labels else CONTROL
    for row in [*ROWS, more]:
        found[row] = np.stack([_told(material, preset, row, seed, work) for seed in seeds])
    subsets = {"all": tested, **{name: tested & chosen for name, chosen in material.subsets.items()}}
    return {
        "mentions": {name: int(chosen.sum()) for name, chosen in subsets.items()},
        "rows": {
            row: {name: _estimate(hits[:, chosen], material.groups[chosen]) for name, chosen in subsets.items()}
            for row, hits in found.items()
        },
        "differences": {
            f"{one} minus {other}": {
                name: _difference(found[one][:, chosen], found[other][:, chosen], material.groups[chosen])
                for name, chosen in subsets.items()
            }
            for one, other in [*PAIRS, (LABELS, "+ objects, faces") if has_labels else ("text, identity", CONTROL)]
        },
        "identity": _recognised(material, work / "features"),
    }


def _told(material: Material, preset: Preset, row: str, seed: int, work: Path) -> Hits:
    _note(f"{material.name}: {row}, seed {seed}")
    return run_row(material, preset, row, seed, work)


def _lexical(material: Material) -> Hits:
    kb = material.task.kb
    system = Lexical(NameIndex(kb.ids, kb.names, kb.aliases))
    return _hits(material, material.task, system.score(material.task))


def _estimate(hits: Hits, groups: IntArray) -> dict[str, float]:
    [found] = estimate_means(hits.mean(0)[:, None], groups=groups)
    std = float(hits.mean(1).std(ddof=1)) if len(hits) > 1 else 0.0
    return {"t1": 100 * found.value, "low": 100 * found.low, "high": 100 * found.high, "std": 100 * std}


def _difference(one: Hits, other: Hits, groups: IntArray) -> dict[str, float]:
    [found] = paired_bootstrap((one.mean(0) - other.mean(0))[:, None], groups=groups)
    return {"difference": 100 * found.difference, "low": 100 * found.low, "high": 100 * found.high}


def _recognised(material: Material, store: Path) -> dict[str, int]:
    """Count the mentions of which the gallery recognised their own entity, and those of which it did another."""
    said = open_features(store).reader("all").identities()
    right = sum(any(label.entity_id == material.gold[key] for label in labels) for key, labels in said.items())
    wrong = sum(any(label.entity_id != material.gold[key] for label in labels) for key, labels in said.items())
    return {"mentions": len(material.task.mentions), "right": right, "wrong": wrong}


def _captions(dataset: Dataset) -> IntArray:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(mention.text, len(numbers)) for mention in dataset.mentions], dtype=np.int64)


def _first(images: Sequence[str]) -> str:
    return next((image for image in images if image.endswith("_0001.jpg")), "")


def table(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a part's tables."""
    subsets = list(figures["mentions"])
    yield "| Row | " + " | ".join(f"{name} ({figures['mentions'][name]:,})" for name in subsets) + " | over seeds |"
    yield "|---|" + "---|" * (len(subsets) + 1)
    for row, of in figures["rows"].items():
        cells = [f"{of[name]['t1']:.1f} [{of[name]['low']:.1f}, {of[name]['high']:.1f}]" for name in subsets]
        yield f"| {row} | " + " | ".join(cells) + f" | +- {of['all']['std']:.1f} |"
    yield ""
    yield "| Difference, points [95 %, paired] | " + " | ".join(subsets) + " |"
    yield "|---|" + "---|" * len(subsets)
    for pair, of in figures["differences"].items():
        cells = [f"{of[n]['difference']:+.1f} [{of[n]['low']:+.1f}, {of[n]['high']:+.1f}]" for n in subsets]
        yield f"| {pair} | " + " | ".join(cells) + " |"
    told = figures["identity"]
    yield ""
    yield (
        f"The gallery recognised the right entity among the candidates of {told['right']:,} of {told['mentions']:,} "
        f"mentions, and another one in {told['wrong']:,}."
    )
    yield ""


def main() -> None:
    """Measure both parts and print the tables."""
    parser = argparse.ArgumentParser(description="What each thing that is seen adds.")
    parser.add_argument("--work", type=Path, default=Path(".experiments/seeing"))
    parser.add_argument("--parts", default="lfw,world")
    parser.add_argument("--json", type=Path, default=None, help="file for the figures")
    arguments = parser.parse_args()
    lines = [describe_machine(), ""]
    found: dict[str, Any] = {}
    for part in arguments.parts.split(","):
        work = arguments.work / part
        kept = work / "figures.json"
        if not kept.is_file():
            write_json(kept, _measure_part(part, work))
        found[part] = read_json(kept)
        lines += [
            f"### {part}",
            "",
            f"{CAVEAT} Test split, top100, 2 seeds." if part == "world" else _LFW,
            "",
            *table(found[part]),
        ]
    if arguments.json is not None:
        write_json(arguments.json, found)
    print("\n".join(lines))


_LFW = (
    "LFW-backed mentions of WikiMEL, T@1 under top100 over all 18,880 entities, gold never put in; five folds by "
    "person, trained on the other folds' mentions; 3 seeds; intervals over captions. Re-imaged: no scores of WikiMEL."
)


def _measure_part(part: str, work: Path) -> dict[str, Any]:
    if part == "lfw":
        material = prepare_lfw(work, realdata())
        return measure(material, lfw_preset(realdata() / "models"), work)
    material = prepare_world(work)
    preset = override(PRESETS["paper"], {"features": {"entity_template": "{name}. {text}"}, "train": WORLD_TRAIN})
    return measure(material, preset, work, SEEDS[:2])


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
