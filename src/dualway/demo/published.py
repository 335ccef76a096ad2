"""What the demo downloads, shown before it comes; and MELBench made into a folder of one's own."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dualway.datasets import open_dataset, write_mentions
from dualway.datasets.base import Dataset, is_list, is_object, load_json
from dualway.datasets.melbench import LAYOUT
from dualway.demo.material import Voice
from dualway.downloads.fetch import fetch_plan
from dualway.downloads.planning import Figures, Plan, PlannedFile, plan
from dualway.downloads.unpack import unpack
from dualway.errors import DataError, DownloadError
from dualway.schema import Mention
from dualway.storage import storage_errors, write_text
from dualway.text import match_key, repair

MELBENCH_FILE = "Wikidata-MEL.json"
ENTITIES = "entities.jsonl"
_SHARES = 10  # of the sentences, one goes to dev and one is left aside
_WAY = (
    "run `dualway demo --data FOLDER --text-encoder DIR --image-encoder DIR` on files of your own, or this command "
    "again once the published ones are in place"
)


@dataclass(frozen=True)
class Published:
    """What is in place now.

    Attributes:
        paths: The folder of each name.
        plan: What they are: revisions, figures, licences.
        unchecked: What no hash was known for, put there by hand: "NAME/FILE (sha256 ..)".
    """

    paths: Mapping[str, Path]
    plan: Plan
    unchecked: tuple[str, ...] = ()


def fetch_published(
    names: Sequence[str],
    folder: Path,
    voice: Voice,
    *,
    base_url: str | None = None,
    confirm: Callable[[Plan], bool] | None = None,
) -> Published | None:
    """Show what is to be downloaded, then download it into `folder`; None where `confirm` says no.

    What cannot be asked for and lies there already is taken as it is, held against what is known of it.

    Raises:
        DownloadError: It cannot be had, and is not there; the plan was shown, and the message names the ways without a
            network.
    """
    known = [plan([name], folder=folder, base_url=base_url, ask=False) for name in names]
    if not all(planned.figures.are_enough for part in known for planned in part.files):
        voice.note("asking the hosts for the sizes and hashes that are not known here")
    try:
        ready = [_asked(part, known, folder) for part in known]
    except DownloadError:
        voice.show(_joined(known).describe())
        raise
    whole = _joined(ready)
    voice.show(whole.describe())
    if confirm is not None and not confirm(whole):
        return None
    return _fetch(ready, whole, folder, voice)


def _fetch(parts: Sequence[Plan], whole: Plan, folder: Path, voice: Voice) -> Published:
    paths: dict[str, Path] = {}
    unchecked: list[str] = []
    before = 0
    with voice.progress("bytes", whole.total_bytes) as meter:

        def report(done: int, _: int, path: str) -> None:
            meter.update(before + done, whole.total_bytes, path)

        for part in parts:
            if all(planned.figures.are_enough for planned in part.files):
                paths |= fetch_plan(part, folder, report)
            else:
                paths[part.entries[0].name], remarks = _take(part, folder)
                unchecked += remarks
            before += part.total_bytes
    for remark in unchecked:
        voice.note(f"not checked, as nobody states its hash: {remark}")
    return Published(paths, whole, tuple(unchecked))


def _joined(parts: Sequence[Plan]) -> Plan:
    entries = tuple(entry for part in parts for entry in part.entries)
    return Plan(entries, tuple(planned for part in parts for planned in part.files), parts[0].base_url)


def _asked(part: Plan, all_parts: Sequence[Plan], folder: Path) -> Plan:
    """Return the plan of one name with what its host states; as it is where the host is away and the files are there.

    Raises:
        DownloadError: The host is away, and so is a file; names the folders of all that is missing.
    """
    [entry] = part.entries
    try:
        return plan([entry.name], folder=folder, base_url=part.base_url)
    except DownloadError as error:
        if _is_there(part, folder):
            return part
        missing = [other.entries[0].name for other in all_parts if not _is_there(other, folder)]
        place = folder / missing[0] if len(missing) == 1 else f"{folder}/{{{','.join(missing)}}}"
        raise DownloadError(f"{error.problem}; {_WAY}", name=entry.name, place=place) from error


def _is_there(part: Plan, folder: Path) -> bool:
    return all(_target(planned, folder).is_file() for planned in part.files)


def _target(planned: PlannedFile, folder: Path) -> Path:
    return folder / planned.entry.name / planned.file.path


def _take(part: Plan, folder: Path) -> tuple[Path, list[str]]:
    """Check files that were put there by hand by what is known of them, unpack them, and say what was not checked.

    Raises:
        DownloadError: A file is another one than is known.
    """
    [entry] = part.entries
    remarks: list[str] = []
    for planned in part.files:
        target = _target(planned, folder)
        with storage_errors(target), target.open("rb") as file:
            found = Figures(target.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
        if planned.figures.contradicts(found):
            problem = f"{target} is there and is another file (sha256 {found.sha256}); move it away"
            raise DownloadError(problem, name=entry.name, place=folder / entry.name)
        if planned.figures.sha256 is None:
            remarks.append(f"{entry.name}/{planned.file.path} (sha256 {found.sha256})")
        if planned.file.unpack:
            unpack(target, target.with_suffix(""))
    return folder / entry.name, remarks


@dataclass(frozen=True)
class Converted:
    """MELBench in our own form.

    Attributes:
        folder: With train and dev, and the entities.
        source: The file it was made of.
        entities: How many.
        nameless: Entities that no sample names: their id is their name.
        set_aside: Mentions that were left aside.
    """

    folder: Path
    source: Path
    entities: int
    nameless: int
    set_aside: int


def convert_melbench(download: Path, out: Path, voice: Voice) -> Converted:
    """Make WikiMEL as MELBench publishes it into `out`: train.jsonl, dev.jsonl and entities.jsonl.

    Splits are made by a hash of the sentence: a tenth is dev, a tenth is left aside and written nowhere. The entities
    are the answers of all samples, by the names that stand beside them; they have no texts. Pictures are not named, as
    none are published.

    Raises:
        DataError: The file is not there, or not of MELBench's form.
        StorageError: `out` cannot be written.
    """
    source = _find(download)
    dataset = open_dataset(source)
    if dataset.report.format != LAYOUT.name:
        raise DataError(f"not of MELBench's form, but of {dataset.report.format}'s", path=source)
    for line in dataset.report.remarks():
        voice.note(line)
    names = _entity_names(dataset, load_json(source))
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"id": id, "name": name or id}, ensure_ascii=False) for id, name in names.items())
    write_text(out / ENTITIES, "".join(repair(line) + "\n" for line in lines))
    parts: dict[str, list[Mention]] = {"train": [], "dev": [], "": []}
    for mention in dataset.mentions:
        parts[_split_of(mention)].append(mention)
    for split in ("train", "dev"):
        write_mentions(out / f"{split}.jsonl", _without_pictures(parts[split]), dataset.gold)
    return Converted(out, source, len(names), sum(not name for name in names.values()), len(parts[""]))


def _find(download: Path) -> Path:
    """Return the data set's file, wherever in the download it lies.

    Raises:
        DataError: It is not there; lists what is.
    """
    files = [path for path in sorted(download.rglob("*.json")) if "__MACOSX" not in path.parts]
    found = [path for path in files if path.name == MELBENCH_FILE and path.is_file()]
    if not found:
        there = ", ".join(str(path.relative_to(download)) for path in files[:10]) or "no .json file"
        raise DataError(f"no {MELBENCH_FILE} in it, but {there}; see docs/downloads.md", path=download)
    return min(found, key=lambda path: (len(path.parts), path))


def _entity_names(dataset: Dataset, records: Any) -> dict[str, str]:
    """Return the name that most samples give each answer; empty where none gives it one."""
    counts: dict[str, Counter[str]] = {}
    for mention in dataset.mentions:
        answer = dataset.gold.get(mention.id)
        if answer is None:
            continue
        sample, _, place = mention.id.rpartition("-")
        counts.setdefault(answer, Counter()).update(_names_at(records, sample, int(place)))
    return {answer: max(names, key=lambda name: names[name], default="") for answer, names in counts.items()}


def _names_at(records: Any, sample: str, place: int) -> Iterable[str]:
    """Return the name of a mention's answer, where the sample has one."""
    record = records.get(sample) if is_object(records) else None
    listed = record.get("entities") if is_object(record) else None
    name = listed[place] if is_list(listed) and place < len(listed) else None
    return [repair(name).strip()] if isinstance(name, str) and name.strip() else []


def _split_of(mention: Mention) -> str:
    """Return the split of a mention's sentence, empty for none."""
    share = int.from_bytes(hashlib.sha256(match_key(mention.text).encode()).digest()[:4], "big") % _SHARES
    return {0: "dev", 1: ""}.get(share, "train")


def _without_pictures(mentions: Iterable[Mention]) -> Iterable[Mention]:
    return (replace(mention, image=None) for mention in mentions)
