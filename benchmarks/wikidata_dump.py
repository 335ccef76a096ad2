"""A knowledge base from a generated dump of Wikidata's form: speed, memory, and builds that are killed.

    python -m benchmarks.wikidata_dump FOLDER [--items 1000000] [--suffix .json.gz] [--names] [--json FILE]

FOLDER takes the dump, which stays for the next run, and two knowledge bases: one is built without interruption; the
other is killed three times (kill -9) at random places and goes on each time. Both must be equal, row by row; no process
may outlive the one that was killed. Memory is that of all processes together, pages that they share counted once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.generated_dump import write_dump
from benchmarks.machine import describe_machine
from benchmarks.memory import MemoryWatch, family

LANGUAGES = ("en", "mul", "de")
SPEED, MEMORY_MB = 4_000, 600  # entities a second at least, and memory at most
_TABLES = {  # what is compared of each, and in which order; only when a revision was made may differ
    **dict.fromkeys(("aliases", "types", "representations", "pictures", "fields"), "*"),
    "entities": "*",
    "revisions": "number, content",
    "kept_out": "*",
    "history": "*",
}


def main() -> None:
    """Measure, print, and say by the exit code whether all held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", "--entities", type=int, default=1_000_000)
    parser.add_argument("--suffix", default=".json", choices=(".json", ".json.gz", ".json.bz2"))
    parser.add_argument("--classes", default="", help="only instances of these, such as Q5,Q43229: a pass more")
    parser.add_argument("--names", action="store_true", help="index the names too")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)  # what the processes that are measured do
    options = parser.parse_args()
    source = options.folder / f"dump-{options.items}-{options.seed}{options.suffix}"
    if options.build:
        build(source, options.build, options)
        return
    if not source.exists():
        options.folder.mkdir(parents=True, exist_ok=True)
        print(f"generating {source}", file=sys.stderr)
        half = source.with_name(f"half-{source.name}")
        write_dump(half, options.items, options.seed)
        half.replace(source)
    result = {"machine": describe_machine(), **measure(source, options)}
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(0 if result["held"] else 1)


def build(source: Path, out: Path, options: argparse.Namespace) -> None:
    """Build a knowledge base, or go on with it, and print the report."""
    from dualway.kb.dump_build import build_from_dump
    from dualway.sources.wikidata import DumpOptions

    classes = tuple(filter(None, options.classes.split(",")))
    report = build_from_dump(
        source,
        out,
        DumpOptions(languages=LANGUAGES, classes=classes),
        workers=options.workers,
        index_names=_index_names if options.names else None,
    )
    print(json.dumps(report.to_dict()))


def _index_names(folder: Path, rows: Any) -> None:
    from dualway.candidates.name_store import write_segments

    write_segments(folder / "names", rows, revision=1)


def measure(source: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one build that is let alone, and of one that is killed."""
    whole, killed = options.folder / "whole", options.folder / "killed"
    for out in (whole, killed):
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(out.with_name(f".{out.name}.building"), ignore_errors=True)
    start = time.perf_counter()
    with _started(whole) as process:
        memory = MemoryWatch(process.pid)
        output, _ = process.communicate()
        memory.stop()
    seconds, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(output)
    orphans = kill_and_go_on(killed, seconds, options)
    equal = {table: _digest(whole, table) == _digest(killed, table) for table in _TABLES}
    equal["names"] = _sizes(whole / "names") == _sizes(killed / "names")
    speed, peak_mb = report["entities"] / seconds, memory.peak / 1e6
    return {
        "held": all(equal.values()) and not orphans and speed >= SPEED and peak_mb < MEMORY_MB,
        "dump_mb": round(source.stat().st_size / 1e6),
        "items": options.items,
        "entities": report["entities"],
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "seconds_by_pass": report["seconds"],
        "entities_per_s": round(speed),
        "us_an_entity": round(1e6 / speed, 1),
        "peak_mb": round(peak_mb),
        "peak_mb_by_process": [round(held / 1e6) for held in memory.at_peak],
        "kills": options.kills,
        "processes_that_outlived": orphans,
        "equal": equal,
        "kb_mb": round(sum(path.stat().st_size for path in whole.rglob("*")) / 1e6),
    }


def kill_and_go_on(out: Path, seconds: float, options: argparse.Namespace) -> int:
    """Build with kills at random places; return how many processes outlived the one that was killed."""
    chance, orphans, before = random.Random(options.seed), 0, 0.0
    for place in sorted(chance.uniform(0.05, 0.95) * seconds for _ in range(options.kills)):
        with _started(out) as process:
            time.sleep(max(place - before, 0.3))
            before = place
            running = list(family(process.pid))
            process.send_signal(signal.SIGKILL)
            process.wait()
        time.sleep(1)
        alive = [pid for pid in running if _is_alive(pid)]
        orphans += len(alive)
        done = "was complete" if out.exists() else f"{len(running)} processes"
        print(f"killed after {place:.1f} s of {seconds:.1f}: {done}", file=sys.stderr)
    with _started(out) as process:
        process.communicate()
    return orphans


def _started(out: Path) -> subprocess.Popen[bytes]:
    arguments = sys.argv[1:]
    command = [sys.executable, "-m", "benchmarks.wikidata_dump", *arguments, "--build", str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _sizes(folder: Path) -> list[tuple[str, int]]:
    """Return the files of an index of names, which are named by their content."""
    return sorted((path.name, path.stat().st_size) for path in folder.glob("*"))


def _digest(kb: Path, table: str) -> str:
    digest = hashlib.sha256()
    with closing(sqlite3.connect(f"{(kb / 'kb.sqlite').resolve().as_uri()}?mode=ro", uri=True)) as connection:
        for row in connection.execute(f"SELECT {_TABLES[table]} FROM {table} ORDER BY 1, 2"):
            digest.update(repr(row).encode())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
