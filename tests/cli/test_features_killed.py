"""`dualway features`, killed with SIGKILL: what is finished in the end is the store that was never killed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from experiments.survival import differing, find_shards, kill_alone, read_shards, wait_for_end, wait_until
from PIL import Image, ImageDraw

from .calls import COMMAND, LINKS, call, write_lines

PICTURES, SHARD = 60, 8


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Bits are those of a build with the same number of threads a process; calls in this process use one, too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of two splits with a drawing for each mention, one of which is broken, and some shared."""
    folder = tmp_path_factory.mktemp("drawn")
    for number in range(PICTURES):
        image = Image.new("RGB", (64, 48), (4 * number, 90, 255 - 4 * number))
        ImageDraw.Draw(image).ellipse((number % 30, 8, 20 + number % 30, 30), fill=(255, 4 * number, 0))
        image.save(folder / f"{number}.png")
    (folder / "7.png").write_bytes((folder / "7.png").read_bytes()[:60])
    for split, numbers in (("train", range(40)), ("dev", range(35, PICTURES))):
        lines: list[dict[str, Any]] = []
        for number in numbers:
            text, surface, gold = LINKS[number % len(LINKS)]
            given = {"text": f"{text} {number}", "surface": surface, "entity_id": gold, "image": f"{number}.png"}
            lines += [{"id": f"{number}-{i}", **given} for i in range(1 + number % 2)]
        write_lines(folder / f"{split}.jsonl", lines)
    return folder


@pytest.fixture(scope="module")
def command(drawn: Path, kb: Path, small: list[str], tiny_clip: Path) -> list[str]:
    options = [*small, "--image-encoder", tiny_clip, "--detector", "proposals", "--shard-size", SHARD, "--json"]
    return list(map(str, ["features", "--data", drawn, "--kb", kb, *options]))


@pytest.fixture(scope="module")
def whole(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that was not killed."""
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUALWAY_CACHE", str(place / "cache"))
        done = call(*command, "--out", place / "F", "--workers", 0)
    assert done.code == 0, done.err
    assert [split["pictures"] for split in done.json["splits"].values()] == [39, 25]
    return place / "F"


@pytest.mark.slow
def test_what_is_killed_and_goes_on_is_what_was_never_killed(command, whole, tmp_path, monkeypatch):
    """Killed with two processes at work, with none but itself, and while splits are written; each goes on."""
    out = tmp_path / "F"
    environment = {**os.environ, "DUALWAY_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    seen: dict[tuple[str, int, int], int] = {}

    def enough(shards: int) -> bool:
        return sum(1 for _ in find_shards(out)) >= shards

    moments = [(2, lambda: enough(1)), (0, lambda: enough(5)), (0, lambda: (out / "manifest.json").exists())]
    for workers, come in moments:
        process = subprocess.Popen(
            [*COMMAND, *command, "--out", str(out), "--workers", str(workers)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert wait_until(process, come), process.communicate()
        children = kill_alone(process)
        assert (len(children) > workers) == (workers > 0)  # they, and what tracks their resources
        orphans, _ = wait_for_end(children)
        assert orphans == 0
        seen |= read_shards(out)
    monkeypatch.setenv("DUALWAY_CACHE", str(tmp_path / "cache"))
    done = call(*command, "--out", out, "--workers", 2)
    assert done.code == 0, done.err
    assert differing(whole, out) == []
    assert sum(seen.values()) == PICTURES  # each shard was committed once, and all were before the last run
    assert json.loads((out / "train" / "failures.json").read_text()).keys() == {str(Path(command[2]) / "7.png")}
