"""500 hostile pictures through the whole of `dualway features`: none brings it down, and every failure is named.

    python -m experiments.hostile_pictures [--pictures 500] [--workers 2] [--faces YUNET.onnx] [--json FILE]

The pictures are those of `tests/hostile_pictures.py`: kinds made by hand, then seeded mutations of photographs and
flags at DUALWAY_REALDATA (of drawn pictures, where that is absent), written to a temporary folder and removed. The data
set names each in a line of JSONL; the picture encoder is the package's own, the detector the weight-free one. Memory is
looked at every 50 ms: `peak_gb` is that of all processes together, pages that they share counted once; `largest_gb` is
the most that one process ever held, as the kernel says.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from tests.hostile_pictures import Hostile, write_pictures

from dualway.features.shards import CRASHED
from dualway.text import is_broken, repair

LIMIT_GB = 1.5
_LOOK_S = 0.05
_ENTITIES = [
    {"id": "Q1", "name": "Ada Brennick", "description": "Sex: female. Occupation: aviator."},
    {"id": "Q2", "name": "Orrin Vasque", "description": "Sex: male. Occupation: politician."},
]


def main() -> None:
    """Measure, print, and say by the exit code whether all held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes that read pictures")
    parser.add_argument("--faces", default="", help="YuNet's .onnx file; empty: faces are not looked for")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "data"
        hostile = write_pictures(folder, options.pictures, seed=options.seed, originals=originals())
        result = measure(folder, hostile, workers=options.workers, faces=options.faces)
    result = {"machine": describe_machine(), "seed": options.seed, **result}
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(0 if result["held"] else 1)


def originals() -> list[Path]:
    """Return good pictures to be damaged: photographs and flags, read in place; none without the real data."""
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "realdata"
    folder = Path(os.environ.get("DUALWAY_REALDATA", default))
    photographs = sorted((folder / "wikimel" / "KVQAimgs").glob("*"))
    small = [path for path in photographs if path.stat().st_size < 500_000]
    return [*small, *sorted((folder / "lfw").rglob("*.jpg"))[:20], *sorted((folder / "flags").rglob("*.png"))[:20]]


def measure(folder: Path, hostile: Sequence[Hostile], *, workers: int, faces: str) -> dict[str, Any]:
    """Return what became of the pictures in `folder`, and what that took."""
    kb, out = folder.parent / "kb", folder.parent / "features"
    _write_lines(folder / "train.jsonl", (_mention(i, picture.name) for i, picture in enumerate(hostile)))
    _write_lines(folder.parent / "entities.jsonl", _ENTITIES)
    dualway = [str(Path(sys.executable).with_name("dualway"))]
    made = [*dualway, "kb", "build", str(folder.parent / "entities.jsonl"), "--out", str(kb), "--quiet"]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    command = [*dualway, "features", "--data", str(folder / "train.jsonl"), "--kb", str(kb), "--out", str(out)]
    models = {"image": "mini-clip", "detector": "proposals"} | ({"faces": faces} if faces else {})
    command += ["--workers", str(workers), "--json", "--quiet"]
    command += [part for name, model in models.items() for part in ("--set", f"encoders.{name}={model}")]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(folder)) as process:
        memory = Memory(process.pid)
        output, words = process.communicate()
        memory.stop()
    seconds = time.perf_counter() - start
    if process.returncode:
        print(words.decode(errors="replace")[-3000:], file=sys.stderr)
        return {"held": False, "exit_code": process.returncode, "pictures": len(hostile)}
    failed = {Path(path).name: why for path, why in json.loads(output)["splits"]["train"]["failed"].items()}
    return judge(hostile, failed, memory) | {"seconds": round(seconds, 1), "workers": workers, "faces": bool(faces)}


def judge(hostile: Sequence[Hostile], failed: dict[str, str], memory: Memory) -> dict[str, Any]:
    """Return the figures, and whether every unusable picture was named and memory stayed within LIMIT_GB."""
    # JSON holds no name that is not UTF-8: such a picture is told as missing, under the name that could be read.
    named = {repair(picture.name): picture.usable and not is_broken(picture.name) for picture in hostile}
    unnamed = [name for name, usable in named.items() if usable is False and name not in failed]
    refused = [name for name, usable in named.items() if usable and name in failed]
    strange = [name for name in failed if name not in named]
    crashes = sum(why == CRASHED for why in failed.values())
    return {
        "held": not unnamed and not refused and not strange and not crashes and memory.peak < LIMIT_GB * 1e9,
        "exit_code": 0,
        "pictures": len(hostile),
        "usable": len(hostile) - len(failed),
        "failed": len(failed),
        "unusable_but_not_named": unnamed,
        "usable_but_refused": refused,
        "named_but_not_there": strange,
        "failures_by_reason": dict(Counter(map(_reason, failed.values())).most_common()),
        "crashes": crashes,
        "peak_gb": round(memory.peak / 1e9, 3),
        "peak_gb_by_process": [round(held / 1e9, 3) for held in memory.at_peak],
        "largest_gb": round(memory.largest / 1e9, 3),
    }


class Memory:
    """Watches what a process and those that it starts hold, until stopped.

    Attributes:
        at_peak: Bytes of each process, the first is the command itself, when all together held most; shared pages are
            counted once.
        largest: Most bytes of one.
    """

    def __init__(self, pid: int) -> None:
        self.at_peak, self.largest = list[int](), 0
        self._pid, self._ended = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    @property
    def peak(self) -> int:
        """Most bytes of all together."""
        return sum(self.at_peak)

    def stop(self) -> None:
        """Stop watching."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            pids = list(_family(self._pid))
            held = [_bytes(pid, "smaps_rollup", "Pss:") for pid in pids]
            self.at_peak = max(self.at_peak, held, key=sum)
            self.largest = max(self.largest, *(_bytes(pid, "status", "VmHWM:") for pid in pids), 0)


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return
    for child in children:
        yield from _family(int(child))


def _bytes(pid: int, file: str, key: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)


def _mention(number: int, name: str) -> dict[str, str]:
    return {"id": f"m{number}", "text": "Brennick waves.", "surface": "Brennick", "image": name}


def _write_lines(path: Path, records: Any) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "DUALWAY_CACHE": str(folder.parent / "cache")}


def _reason(problem: str) -> str:
    """Return a problem without what differs from picture to picture."""
    return re.sub(r"\d[\d,]*", "N", re.sub(r"to '.*'", "to ..", problem)).partition(";")[0]


if __name__ == "__main__":
    main()
