"""Detectors on real photographs: how many people each finds, and how many the weight-free one's regions hold.

    python -m experiments.detector [--drawn 200] [--json FILE]

Photographs: the 39 pictures of WikiMEL at DUALWAY_REALDATA; the persons are those that YOLOX-nano finds in them (score
.5, non-maximum suppression .45; no licence is stated for its weights, which serve this comparison only), so they are a
detector's word, not a person's. `count_persons` compares its and FastestDet's counts with those that were taken by
another program and looked at on contact sheets. The weight-free detector's few numbers were tuned on these pictures.
Drawings: pictures of the generated world, whose figures are known; no number was fitted to them. A person is covered
when a region overlaps the box by half (intersection over union). The time is the processor's, of one thread; of the
weight-free detector for a decoded picture of 500 pixels.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from benchmarks.machine import describe_machine
from PIL import Image

from dualway.images import open_picture
from dualway.protocols import Detector
from dualway.schema import FloatArray
from dualway.vision.onnx_objects import FastestDetDetector, YoloxDetector
from dualway.vision.proposals import Measures, Proposals, choose_windows, rate_windows
from dualway.vision.windows import find_overlap, make_windows

DEFAULT = Proposals().max_regions
NUMBERS = (4, 8, DEFAULT, 16, 32)
COVERED = 0.5
_SCORE, _PERSON = 0.5, "person"
_TIMED = 500  # pixels of the longer side

# Persons that YOLOX-nano was found to see in each photograph, where it is not one: 78 in all, in 37 of them.
SEEN_BEFORE = {
    "509": 5, "735": 5, "848": 5, "1342": 5, "2083": 4, "2815": 4, "2888": 4, "2939": 3, "3142": 4, "3199": 4,
    "3315": 4, "3441": 4, "41487": 2, "47215": 2, "13524": 0, "13550": 0,
}  # fmt: skip

# A picture and the boxes of its people, float [n, 4], in pixels.
Scene = tuple[Image.Image, FloatArray]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawn", type=int, default=200, help="pictures of the generated world")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    folder = realdata()
    photographs = photographed(folder)
    result = {
        "machine": describe_machine(),
        "default": DEFAULT,
        "ms": time_detector([picture for picture, _ in photographs]),
        "persons": count_persons(folder),
        "photographs": compare(photographs),
        "drawings": compare(drawn(options.drawn)),
    }
    print(describe(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def photographed(folder: Path) -> list[Scene]:
    """Return WikiMEL's pictures with the persons that YOLOX-nano finds in them."""
    detector = YoloxDetector(yolox_file(folder), min_score=_SCORE)
    return [(picture, find_persons(detector, picture)) for picture in photographs_of(folder).values()]


def photographs_of(folder: Path) -> dict[str, Image.Image]:
    """Return WikiMEL's pictures by their number."""
    paths = sorted((folder / "wikimel" / "KVQAimgs").iterdir())
    return {path.stem: open_picture(path) for path in paths}


def yolox_file(folder: Path) -> Path:
    """Return where YOLOX-nano is."""
    return folder / "models" / "yolox_nano" / "yolox_nano.onnx"


def fastestdet_file(folder: Path) -> Path:
    """Return where FastestDet is."""
    return folder / "models" / "fastestdet" / "FastestDet.onnx"


def find_persons(detector: Detector, picture: Image.Image) -> FloatArray:
    """Return the boxes of the persons that a detector finds in an RGB picture, float32 [n, 4], in its pixels."""
    [regions] = detector.detect([picture])
    boxes = [region.box for region in regions if region.label == _PERSON]
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def count_persons(folder: Path) -> dict[str, Any]:
    """Return how many persons YOLOX-nano (score .5) and FastestDet (its own .65) find in WikiMEL's photographs.

    Of each: `persons`, `pictures` with any, `ms` a picture (median), and `counts` by picture. Of YOLOX-nano also
    `different`, the pictures whose count is not that of SEEN_BEFORE; of FastestDet `matched`, how many of YOLOX-nano's
    persons one of its boxes overlaps by half.
    """
    pictures = photographs_of(folder)
    found = {
        "yolox_nano": _persons(YoloxDetector(yolox_file(folder), min_score=_SCORE), pictures),
        "fastestdet": _persons(FastestDetDetector(fastestdet_file(folder)), pictures),
    }
    result: dict[str, Any] = {name: _summary(boxes, times) for name, (boxes, times) in found.items()}
    counts = result["yolox_nano"]["counts"]
    result["yolox_nano"]["different"] = sorted(name for name in counts if counts[name] != SEEN_BEFORE.get(name, 1))
    persons, others = (list(boxes.values()) for boxes, _ in found.values())
    overlaps = [find_overlap(one, other).max(axis=1, initial=0) for one, other in zip(persons, others, strict=True)]
    result["fastestdet"]["matched"] = int((np.concatenate(overlaps) >= COVERED).sum())
    return result


def _persons(detector: Detector, pictures: Mapping[str, Image.Image]) -> tuple[dict[str, FloatArray], list[float]]:
    boxes, times = dict[str, FloatArray](), list[float]()
    for name, picture in pictures.items():
        start = time.process_time()
        boxes[name] = find_persons(detector, picture)
        times.append(1e3 * (time.process_time() - start))
    return boxes, times


def _summary(boxes: Mapping[str, FloatArray], times: Sequence[float]) -> dict[str, Any]:
    counts = {name: len(found) for name, found in boxes.items()}
    return {
        "persons": sum(counts.values()),
        "pictures": sum(count > 0 for count in counts.values()),
        "ms": statistics.median(times),
        "counts": counts,
    }


def drawn(number: int) -> list[Scene]:
    """Return pictures of the generated world's test split with the figures in them."""
    from dualway.world.build import WorldConfig, write_world

    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "world"
        write_world(folder, WorldConfig(captions=(0, 0, number)))
        records = map(json.loads, (folder / "truth" / "figures.jsonl").read_text(encoding="utf-8").splitlines())
        return [
            (open_picture(folder / record["image"]), np.array([f["box"] for f in record["figures"]], dtype=np.float32))
            for record in records
        ]


def detected(picture: Image.Image) -> FloatArray:
    """Return the detector's regions, best first, float32 [n, 4]. The first n of many are those of `max_regions` n."""
    [regions] = Proposals(max(NUMBERS)).detect([picture])
    return np.array([region.box for region in regions], dtype=np.float32).reshape(-1, 4)


def likely(picture: Image.Image) -> FloatArray:
    """Return what the detector would choose by size and place alone, without looking at the picture."""
    grid = np.array([max(4, round(side * 32 / max(picture.size))) for side in picture.size] * 2, dtype=np.float32)
    windows = make_windows(int(grid[0]), int(grid[1]))
    nothing = np.zeros(len(windows), dtype=np.float32)
    boxes, _ = choose_windows(windows, rate_windows(Measures(nothing, nothing, nothing), windows / grid), max(NUMBERS))
    return boxes / grid * np.array([*picture.size, *picture.size], dtype=np.float32)


def cells(picture: Image.Image, number: int) -> FloatArray:
    """Return the cells of a grid of that many over the picture, at least as many columns as rows."""
    rows = max(n for n in range(1, number + 1) if number % n == 0 and n * n <= number)
    columns = number // rows
    x, y = (part.ravel() for part in np.meshgrid(np.arange(columns), np.arange(rows)))
    scale = np.array([picture.width / columns, picture.height / rows] * 2, dtype=np.float32)
    return np.stack([x, y, x + 1, y + 1], axis=1).astype(np.float32) * scale


def whole(picture: Image.Image) -> FloatArray:
    """Return the picture as one box."""
    return np.array([[0, 0, *picture.size]], dtype=np.float32)


def coverage(boxes: Iterable[FloatArray], scenes: Sequence[Scene], number: int | None = None) -> float:
    """Return the share of all persons that one of the first `number` boxes of their picture covers."""
    found = [
        bool((find_overlap(chosen[:number], person[None]) >= COVERED).any())
        for chosen, (_, persons) in zip(boxes, scenes, strict=True)
        for person in persons
    ]
    return sum(found) / len(found)


def compare(scenes: Sequence[Scene]) -> dict[str, Any]:
    """Return the coverage of each way to choose boxes, by how many are chosen; a list in the order of NUMBERS."""
    pictures = [picture for picture, _ in scenes]

    def prefixes(choose: Callable[[Image.Image], FloatArray]) -> list[float]:
        boxes = [choose(picture) for picture in pictures]
        return [coverage(boxes, scenes, number) for number in NUMBERS]

    return {
        "pictures": len(scenes),
        "persons": sum(len(persons) for _, persons in scenes),
        "proposals": prefixes(detected),
        "likely": prefixes(likely),
        "cells": [coverage([cells(picture, n) for picture in pictures], scenes) for n in NUMBERS],
        "whole": prefixes(whole),
    }


def time_detector(pictures: Sequence[Image.Image]) -> dict[str, float]:
    """Return median and largest milliseconds of processor time a picture, each scaled to 500 pixels."""
    detector, spent = Proposals(), list[float]()
    for picture in pictures:
        small = picture.copy()
        small.thumbnail((_TIMED, _TIMED))
        detector.detect([small])  # warm-up: windows of this shape are made once
        start = time.process_time()
        detector.detect([small])
        spent.append(1e3 * (time.process_time() - start))
    return {"median": statistics.median(spent), "largest": max(spent)}


def realdata() -> Path:
    """Return the folder of real data."""
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "realdata"
    return Path(os.environ.get("DUALWAY_REALDATA", default))


_ROWS = {
    "proposals": "`proposals`",
    "likely": "likely sizes and places alone",
    "cells": "a grid of as many cells",
    "whole": "the whole picture",
}


def describe(result: dict[str, Any]) -> str:
    """Return the figures as markdown."""
    head = " | ".join(f"{n} (default)" if n == result["default"] else str(n) for n in NUMBERS)
    lines = [f"| persons covered, %, by regions a picture | {head} |", "|---|" + "---:|" * len(NUMBERS)]
    for name in ("photographs", "drawings"):
        part = result[name]
        lines.append(f"| **{part['pictures']} {name}, {part['persons']} persons** |" + " |" * len(NUMBERS))
        for row, title in _ROWS.items():
            lines.append(f"| {title} | " + " | ".join(f"{100 * share:.1f}" for share in part[row]) + " |")
    ms, yolox, fastest = result["ms"], result["persons"]["yolox_nano"], result["persons"]["fastestdet"]
    return "\n".join(
        [
            *lines,
            "",
            f"{ms['median']:.0f} ms a picture of {_TIMED} pixels on one core (median; largest {ms['largest']:.0f}).",
            "",
            f"YOLOX-nano: {yolox['persons']} persons in {yolox['pictures']} photographs, counted otherwise than before "
            f"in {len(yolox['different'])}; {yolox['ms']:.0f} ms. FastestDet: {fastest['persons']} in "
            f"{fastest['pictures']}, {fastest['matched']} of YOLOX-nano's among them; {fastest['ms']:.0f} ms.",
            "",
            f"{result['machine']}; OpenCV {cv2.__version__}.",
        ]
    )


if __name__ == "__main__":
    main()
