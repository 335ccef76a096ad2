"""Hostile pictures, read in a process of their own: a picture or a PictureError each, in bounded memory and time.

The whole of `dualway features` over 500 of them is `python -m experiments.hostile_pictures`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.hostile_pictures import Hostile, hand_made, mutations, write_pictures

from dualway.images import MAX_BYTES, MAX_MEMORY

NUMBER = 300  # all kinds that are made by hand, and mutations
SLOWEST_S = 10.0  # of processor time; the largest pictures take half a second
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
_PYTHON = 64 * 2**20  # bytes: the interpreter, Pillow and NumPy are 30 million, and the heap has holes

# Reads every file as features do, and prints a line each: name, size or problem, seconds.
READ_ALL = """
import json, sys, time
from pathlib import Path
import numpy
from dualway.errors import PictureError
from dualway.images import open_picture, picture_size

def attempt(read, path, folder):
    try:
        return read(path, [folder])
    except PictureError as error:
        assert error.path == path and str(error).startswith(f"{path}: ")
        return error.problem

folder = Path(sys.argv[1])
for path in sorted(folder.iterdir()):
    start = time.process_time()
    size = attempt(picture_size, path, folder)
    found = attempt(open_picture, path, folder)
    if not isinstance(found, str):
        assert found.mode == "RGB" and found.size == size, (path, found, size)
        found = list(found.size)
    print(json.dumps([path.name, found, time.process_time() - start]))
# Not ru_maxrss, which counts what the process that started this one held.
[peak] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps(int(peak) * 1024))
"""


class Reading(NamedTuple):
    hostile: list[Hostile]
    found: dict[str, str | list[int]]  # name -> problem, or size
    seconds: dict[str, float]
    peak: int  # bytes
    words: str  # on stderr


@pytest.fixture(scope="module")
def reading(tmp_path_factory) -> Reading:
    folder = tmp_path_factory.mktemp("hostile") / "data"
    hostile = write_pictures(folder, NUMBER, seed=7)
    command = [sys.executable, "-c", READ_ALL, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    *lines, peak = [json.loads(line) for line in done.stdout.splitlines()]
    found, seconds = {name: said for name, said, _ in lines}, {name: spent for name, _, spent in lines}
    return Reading(hostile, found, seconds, peak, done.stderr)


def test_every_file_gives_a_picture_or_says_why_not(reading):
    assert reading.found.keys() == {hostile.name for hostile in reading.hostile}
    assert len(reading.found) == NUMBER
    for name, said in reading.found.items():
        assert isinstance(said, list) or said.strip(), name
    usable = sum(isinstance(said, list) for said in reading.found.values())
    assert usable + sum(isinstance(said, str) for said in reading.found.values()) == len(reading.hostile)


def test_kinds_made_by_hand_are_read_or_refused_as_they_should(reading):
    wrong = {
        hostile.name: reading.found[hostile.name]
        for hostile in reading.hostile
        if hostile.usable is not None and hostile.usable != isinstance(reading.found[hostile.name], list)
    }
    assert wrong == {}
    judged = [hostile.usable for hostile in reading.hostile if hostile.usable is not None]
    assert min(judged.count(True), judged.count(False)) >= 100


def test_a_refusal_says_what_to_do(reading):
    """The problem, a semicolon, the remedy; a file that is missing or none says enough."""
    plain = {"no such picture", "not a file"}
    silent = {said for said in reading.found.values() if isinstance(said, str) and "; " not in said}
    assert silent <= plain


def test_memory_stays_within_what_is_stated(reading):
    largest = max(len(hostile.content) for hostile in reading.hostile if isinstance(hostile.content, bytes))
    assert largest < MAX_BYTES
    assert reading.peak < MAX_MEMORY + 2 * largest + _PYTHON


def test_no_picture_takes_long(reading):
    slowest = max(reading.seconds, key=reading.seconds.__getitem__)
    assert reading.seconds[slowest] < SLOWEST_S, slowest
    assert "Traceback" not in reading.words


def test_the_same_seed_gives_the_same_pictures(reading):
    good = [b"\x89PNG\r\n\x1a\n" + bytes(500), b"\xff\xd8\xff" + bytes(300)]
    first, second, other = (mutations(good, 50, seed) for seed in (1, 1, 2))
    assert first == second != other
    assert len({hostile.name for hostile in first}) == 50
    made = hand_made()
    assert NUMBER - len(made) >= 50
    assert len({hostile.name for hostile in made}) == len(made)
    before = {hostile.name: hostile.content for hostile in reading.hostile}
    assert all(before[hostile.name] == hostile.content for hostile in made if isinstance(hostile.content, bytes))


@pytest.mark.realdata
def test_photographs_are_damaged_too(realdata, tmp_path):
    photographs = sorted((realdata / "wikimel" / "KVQAimgs").iterdir())[:5]
    before = [Path(photo).read_bytes() for photo in photographs]
    damaged = mutations(before, 70, 3)
    for hostile in damaged:
        hostile.write(tmp_path)
    command = [sys.executable, "-c", READ_ALL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == 71
    assert [Path(photo).read_bytes() for photo in photographs] == before
