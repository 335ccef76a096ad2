"""Killed at any moment, is the feature store the one that was never killed?

    python -m experiments.survival [--pictures 2000] [--kills 20] [--work .experiments/survival] [--json FILE]

Photographs of LFW (DUALWAY_REALDATA) as a data set of one's own, everything looked for that can be: objects without
weights, faces, age and gender, identity by the knowledge base's pictures; two processes. One build runs through. The
other is killed (SIGKILL, the parent alone: its processes must end by themselves) and started again, and in the end left
to finish. Three of four kills come at random points of the pictures' part, spread over all of it, and one of four
while splits are joined and written. Compared: every byte of both stores; that no finished shard was made again (its
files keep their inodes and times); how many pictures were committed in all; that no process was left.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import describe_machine

from dualway.kb.files import build_from_files
from dualway.kb.picture_map import read_picture_map
from dualway.kb.pictures import change_pictures
from dualway.kb.store import KnowledgeBase
from dualway.storage import write_json, write_text

SHARD_SIZE = 64
WORKERS = 2
_ORPHAN_S = 15.0  # by when processes must have ended after their parent's death
_GALLERY = 40  # people with pictures in the knowledge base
_SPLITS = ("train", "dev")


class Moment(NamedTuple):
    """When a run is killed: `delay` seconds after `finished` shards are there and, if it is named, `path` is."""

    finished: int
    path: str
    delay: float


@dataclass
class Found:
    """What the killed build came to.

    Attributes:
        kills: (seconds into the run, finished shards, what else was there) of each.
        shards: Each finished shard ever seen: (name, inode, time) -> its pictures.
        orphans: Processes that outlived their parent by 15 s.
        ended_s: The longest that one took to end.
    """

    kills: list[tuple[float, int, str]] = field(default_factory=list[tuple[float, int, str]])
    shards: dict[tuple[str, int, int], int] = field(default_factory=dict[tuple[str, int, int], int])
    orphans: int = 0
    ended_s: float = 0.0

    def remade(self) -> list[str]:
        """Return the shards that were finished more than once."""
        names = [name for name, _, _ in self.shards]
        return sorted({name for name in names if names.count(name) > 1})


def realdata() -> Path:
    """Return the folder of real data."""
    return Path(os.environ.get("DUALWAY_REALDATA", "../shared/realdata")).resolve()


def prepare(data: Path, work: Path, pictures: int) -> None:
    """Write data set and knowledge base."""
    lfw = data / "lfw"
    with (lfw / "lfw_to_qid.tsv").open(encoding="utf-8", newline="") as file:
        people = list(csv.DictReader(file, delimiter="\t"))
    name_of = {person["lfw_name"]: person for person in people}
    photos = sorted((lfw / "images_deepfunneled").glob("*/*.jpg"))[:pictures]
    (work / "data").mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "id": str(i),
            "text": f"{photo.parent.name.replace('_', ' ')} at event {i % 50}",
            "surface": photo.parent.name.replace("_", " "),
            "entity_id": name_of[photo.parent.name]["qid"],
            "image": str(photo),
        }
        for i, photo in enumerate(photos)
    ]
    third = len(lines) // 3
    for split, part in (("train", lines[:-third]), ("dev", lines[-third:])):
        write_text(work / "data" / f"{split}.jsonl", "".join(json.dumps(line) + "\n" for line in part))
    entities = {p["qid"]: {"id": p["qid"], "name": p["lfw_name"].replace("_", " "), "text": p["text"]} for p in people}
    write_text(work / "entities.jsonl", "".join(json.dumps(entity) + "\n" for entity in entities.values()))
    rows = [
        f"{person['qid']}\t{photo.relative_to(lfw)}"
        for person in people[:_GALLERY]
        for photo in sorted((lfw / "images_deepfunneled" / person["lfw_name"]).glob("*.jpg"))
        if not photo.stem.endswith("_0001")
    ]
    write_text(work / "gallery.tsv", "\n".join(rows) + "\n")
    build_from_files(work / "entities.jsonl", work / "kb")
    with KnowledgeBase.open(work / "kb") as kb:
        gallery = read_picture_map(work / "gallery.tsv", lfw, known=kb)
    change_pictures(work / "kb", gallery)


def command(data: Path, work: Path, out: Path, workers: int) -> list[str]:
    """Return the call that both builds make."""
    models = data / "models"
    age_gender = str(models / "age_gender" / "age_gender.onnx")
    options = {
        "--data": work / "data",
        "--kb": work / "kb",
        "--out": out,
        "--image-encoder": "mini-clip",
        "--detector": "proposals",
        "--faces": models / "yunet" / "yunet_n_640_640.onnx",
        "--age": age_gender,
        "--gender": age_gender,
        "--identity": models / "mobilefacenet" / "mobilefacenet.onnx",
        "--workers": workers,
        "--shard-size": SHARD_SIZE,
    }
    program = str(Path(sys.executable).parent / "dualway")
    return [program, "features", *(str(word) for pair in options.items() for word in pair), "--json", "-q"]


def choose_moments(kills: int, shards: int, seconds: float, rng: random.Random) -> list[Moment]:
    """Return when to kill: three of four while pictures are read, spread over all of them, the rest while writing.

    Args:
        kills: How many.
        shards: How many there will be.
        seconds: That a process needs for a shard, about.
        rng: Chance.
    """
    late = kills // 4
    early = kills - late
    moments = [
        Moment(int((number + rng.random()) / early * shards), "", rng.uniform(0.0, seconds)) for number in range(early)
    ]
    signs = ["", "manifest.json", "work/splits", *(split for split in _SPLITS)]
    chosen = sorted(rng.randrange(len(signs)) for _ in range(late))
    return moments + [Moment(shards, signs[sign], rng.uniform(0.0, 0.2)) for sign in chosen]


def run_killed(call: Sequence[str], out: Path, cache: Path, moments: Sequence[Moment]) -> Found:
    """Run a build that is killed at these moments; the last run goes to its end.

    Raises:
        SystemExit: A run failed.
    """
    found = Found()
    for number, moment in enumerate(moments):
        there = sum(1 for _ in find_shards(out))
        if number and there >= moment.finished:  # the run before came as far already: this one goes further
            moment = moment._replace(finished=min(there + 1, max(moment.finished for moment in moments)))
        start = time.monotonic()
        process = _start(call, cache)
        if not wait_until(process, lambda moment=moment: _has_come(out, moment)):
            _check(process)
            break  # it had less left to do than that
        time.sleep(moment.delay)
        children = kill_alone(process)
        at = round(time.monotonic() - start, 1)
        orphans, took = wait_for_end(children)
        found.orphans, found.ended_s = found.orphans + orphans, max(found.ended_s, took)
        finished = read_shards(out)
        found.shards |= finished
        found.kills.append((at, len(finished), moment.path))
        print(f"kill {number + 1}: after {at} s, {len(finished)} shards, {moment.path}", file=sys.stderr, flush=True)
    last = _start(call, cache)
    while last.poll() is None:  # shards are removed at the end: they are looked at until then
        found.shards |= read_shards(out)
        time.sleep(0.02)
    _check(last)
    return found


def _start(call: Sequence[str], cache: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "DUALWAY_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def _check(process: subprocess.Popen[str]) -> None:
    out, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"dualway features failed with exit code {process.returncode}\n{out}\n{errors}")


def wait_until(process: subprocess.Popen[str], come: Callable[[], bool]) -> bool:
    """Wait until something has come; tell whether it has before the process ended."""
    while process.poll() is None:
        if come():
            return True
        time.sleep(0.005)
    return False


def _has_come(out: Path, moment: Moment) -> bool:
    there = not moment.path or (out / moment.path).exists()
    return there and sum(1 for _ in find_shards(out)) >= moment.finished


def find_shards(out: Path) -> Iterator[Path]:
    """Yield the folders of finished shards of a build in hand."""
    return (path for path in (out / "work" / "pictures").glob("*/*") if not path.name.startswith("."))


def read_shards(out: Path) -> dict[tuple[str, int, int], int]:
    """Return the finished shards: name, inode and time of change of their record -> pictures."""
    found: dict[tuple[str, int, int], int] = {}
    for path in find_shards(out):
        try:
            status = (path / "shard.json").stat()
            record = json.loads((path / "shard.json").read_text(encoding="utf-8"))
        except FileNotFoundError:  # removed just now, at the end of all
            continue
        rows = int(record["arrays"]["sources"].partition("[")[2].rstrip("]"))
        found[path.name, status.st_ino, status.st_mtime_ns] = rows + len(record["lost"])
    return found


def kill_alone(process: subprocess.Popen[str]) -> list[Path]:
    """Kill a process alone, and return the /proc folders of the processes below it."""
    os.kill(process.pid, signal.SIGSTOP)  # it starts no more of them
    children = list(_below(process.pid))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    return children


def _below(parent: int) -> Iterator[Path]:
    """Yield the /proc folders of a process's children, and of theirs."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (line := _status(entry)) is not None and line[1] == str(parent):
            yield entry
            yield from _below(int(entry.name))


def _status(entry: Path) -> list[str] | None:
    """Return state, parent and so on of a process; None when it has ended."""
    try:
        line = (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if line[0] == "Z" else line


def wait_for_end(children: Sequence[Path]) -> tuple[int, float]:
    """Wait for the children of a process that was killed; return how many do not end, and how long it took."""
    start = time.monotonic()
    while (left := [child for child in children if _status(child) is not None]) and (
        time.monotonic() - start < _ORPHAN_S
    ):
        time.sleep(0.02)
    return len(left), time.monotonic() - start


def differing(one: Path, other: Path) -> list[str]:
    """Return the files of which the two folders do not hold the same bytes."""
    names = {str(path.relative_to(folder)) for folder in (one, other) for path in folder.rglob("*") if path.is_file()}
    return sorted(name for name in names if _content(one / name) != _content(other / name))


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def measure(data: Path, work: Path, pictures: int, kills: int) -> dict[str, Any]:
    """Build both stores and return the figures."""
    shutil.rmtree(work, ignore_errors=True)
    prepare(data, work, pictures)
    whole, killed = work / "whole", work / "killed"
    begin = time.monotonic()
    process = _start(command(data, work, whole, WORKERS), work / "cache-whole")
    come: list[float] = []  # when the next shard was there
    while process.poll() is None:
        come += [time.monotonic()] * max(sum(1 for _ in find_shards(whole)) - len(come), 0)
        time.sleep(0.1)
    _check(process)
    seconds = time.monotonic() - begin
    shards = -(-pictures // SHARD_SIZE)
    pace = WORKERS * (come[-1] - come[0]) / max(len(come) - 1, 1)
    moments = choose_moments(kills, shards, pace, random.Random(0))
    found = run_killed(command(data, work, killed, WORKERS), killed, work / "cache-killed", moments)
    return {
        "machine": describe_machine(),
        "pictures": pictures,
        "kills": len(found.kills),
        "moments": found.kills,
        "shards": shards,
        "identical": not (different := differing(whole, killed)),
        "files": sum(1 for path in whole.rglob("*") if path.is_file()),
        "different": different,
        "remade_shards": len(found.remade()),
        "committed_pictures": sum(found.shards.values()),
        "orphans": found.orphans,
        "longest_end_s": round(found.ended_s, 1),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--work", type=Path, default=Path(".experiments/survival"))
    parser.add_argument("--json", type=Path, default=None, help="also write the figures there")
    arguments = parser.parse_args()
    result = measure(realdata(), arguments.work.resolve(), arguments.pictures, arguments.kills)
    print(
        f"{result['machine']}\n\n{result['pictures']:,} photographs in {result['shards']} shards; a build that is not "
        f"killed takes {result['seconds']:.0f} s.\n\n"
        f"- killed {result['kills']} times: (seconds into the run, shards finished, what was written) "
        f"{result['moments']}\n"
        f"- files that differ, of {result['files']}: {', '.join(result['different']) or 'none'}\n"
        f"- finished shards that were made again: {result['remade_shards']}\n"
        f"- pictures committed, in all runs together: {result['committed_pictures']:,}\n"
        f"- processes that outlived their parent by {_ORPHAN_S:.0f} s: {result['orphans']}; "
        f"the slowest ended after {result['longest_end_s']} s"
    )
    if arguments.json is not None:
        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
