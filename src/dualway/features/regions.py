"""Regions from a file: objects, faces and identity labels of pictures, as other tools have found them.

One JSON object a line, one line a picture:

    {"image": "41487.jpg",
     "objects": [{"box": [x0, y0, x1, y1], "label": "person", "score": 0.98}, ..],
     "faces": [{"box": [x0, y0, x1, y1], "attributes": {"gender": "male", "age": 50}}, ..],
     "labels": [{"label": "Barack Obama", "score": 0.756}, ..]}

An object may have a "mask" beside its "box", the runs of its outline (`schema.Segment`). In place of its "box" it may
have {"picture": "parts/41487_1.jpg"}: it is that file as a whole, cut out of the picture before, and its place there is
not known. A face with a "picture" beside its box was found in that cut-out and
belongs to it; one without a box belongs to no object.

Every part may be left out. What is left out is looked for by the models that the settings name, where they name one;
an empty list says that there is nothing of the kind. Paths are relative to the file's folder; boxes are pixels of the
upright picture. Nothing is inferred: an attribute that the file does not carry is not in the sentence (section 4.3.1),
and a picture without faces has no face sentences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from dualway.config import FeatureConfig
from dualway.errors import DataError
from dualway.schema import Face, IdentityLabel, Region, Segment
from dualway.storage import read_jsonl
from dualway.vision.crops import keep_distinct, mask_problem

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class CutOut(Region):
    """An object that is a picture of its own; as its place in the whole picture is not known, its box has no size."""

    picture: str = ""


@dataclass(frozen=True)
class PictureRegions:
    """What a file says of one picture: of each kind, None where it says nothing, empty where there are none."""

    objects: tuple[Region, ...] | None = None
    faces: tuple[Face, ...] | None = None
    labels: tuple[IdentityLabel, ...] | None = None


def read_regions(path: Path) -> dict[Path, PictureRegions]:
    """Read a regions file: what it says of each picture, by the picture's path.

    Raises:
        DataError: A broken line, a value of the wrong kind, or a picture named twice; names file and line.
    """
    found: dict[Path, PictureRegions] = {}
    for number, record in read_jsonl(path):
        try:
            image, regions = _parse(record, path.parent)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise DataError(f"not a picture's regions: {_explain(error)}", path=path, line=number) from error
        picture = path.parent / image
        if picture in found:
            raise DataError(f"{image!r} was named before; put its regions on one line", path=path, line=number)
        found[picture] = regions
    return found


def choose_objects(config: FeatureConfig, regions: PictureRegions) -> tuple[Region, ...]:
    """Return the objects that the settings keep, best first, in a stable order.

    Kept are those of the classes, scores and sizes asked for. Of two of one label that overlap by more than
    `duplicate_overlap` the lesser is left out; at last the best `max_objects` stay. A cut-out has no place, so its size
    is not known and it has no duplicates.
    """
    kept = [
        region
        for region in regions.objects or ()
        if region.score >= config.min_object_score
        and (not config.object_classes or region.label in config.object_classes)
        and (isinstance(region, CutOut) or _shorter_side(region) >= config.min_object_size)
    ]
    kept.sort(key=lambda region: (-region.score, region.box, region.label, _picture_of(region)))
    groups: dict[object, int] = {}
    numbers = [
        groups.setdefault(i if isinstance(region, CutOut) else region.label, len(groups))
        for i, region in enumerate(kept)
    ]
    distinct = keep_distinct(np.array([region.box for region in kept]), numbers, config.duplicate_overlap)
    return tuple(kept[i] for i in distinct[: config.max_objects])


def object_of_face(face: Face, objects: Sequence[Region]) -> int:
    """Return the position of the cut-out that a face was found in, or of the smallest object around its centre.

    -1 where there is none.
    """
    if face.picture:
        return next((i for i, region in enumerate(objects) if _picture_of(region) == face.picture), -1)
    if face.box is None:
        return -1
    x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
    around = [
        ((box[2] - box[0]) * (box[3] - box[1]), i)
        for i, box in enumerate(region.box for region in objects)
        if box[0] <= x <= box[2] and box[1] <= y <= box[3] and not _picture_of(objects[i])
    ]
    return min(around)[1] if around else -1


def _shorter_side(region: Region) -> float:
    x0, y0, x1, y1 = region.box
    return min(x1 - x0, y1 - y0)


def _picture_of(region: Region) -> str:
    return region.picture if isinstance(region, CutOut) else ""


def _parse(record: Any, folder: Path) -> tuple[str, PictureRegions]:
    if not isinstance(record, dict):
        raise TypeError("expected an object")
    values = cast("dict[str, Any]", record)
    image = values["image"]
    if not isinstance(image, str) or not image or "\0" in image:
        raise TypeError("'image' must be the path of a picture")
    for part in ("objects", "faces", "labels"):
        if not all(isinstance(item, dict) for item in values.get(part, [])):
            raise TypeError(f"'{part}' must be a list of objects")
    objects = faces = labels = None
    if "objects" in values:
        objects = tuple(_object(item, folder) for item in values["objects"])
    if "faces" in values:
        faces = tuple(_face(item, folder) for item in values["faces"])
    if "labels" in values:
        labels = tuple(IdentityLabel(str(item["label"]), _score(item["score"])) for item in values["labels"])
    return image, PictureRegions(objects, faces, labels)


def _object(item: dict[str, Any], folder: Path) -> Region:
    label, score = str(item.get("label", "")), _score(item.get("score", 1.0))
    if "picture" not in item:
        box = _box(item["box"])
        if "mask" in item:
            return Segment(box, label, score, mask=_mask(item["mask"], box))
        return Region(box, label, score)
    if "mask" in item:
        raise ValueError("a 'mask' belongs to a 'box'; an object with a 'picture' of its own has none")
    if "box" in item:
        raise ValueError("an object has a 'box' or a 'picture' of its own, not both")
    return CutOut((0.0, 0.0, 0.0, 0.0), label, score, picture=_path(item["picture"], folder))


def _face(item: dict[str, Any], folder: Path) -> Face:
    box = _box(item["box"]) if "box" in item else None
    picture = _path(item["picture"], folder) if "picture" in item else ""
    return Face(box, _attributes(item.get("attributes", {})), picture)


def _path(value: Any, folder: Path) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise TypeError("'picture' must be the path of a picture")
    return str(folder / value)


def _attributes(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError("'attributes' must be an object of names and values")
    return {str(name): str(known) for name, known in cast("dict[str, Any]", value).items()}


def _box(value: Any) -> Box:
    x0, y0, x1, y1 = (float(number) for number in value)
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or x1 <= x0 or y1 <= y0:
        raise ValueError(f"'box' {value!r} is not [x0, y0, x1, y1] with x0 < x1 and y0 < y1")
    return x0, y0, x1, y1


def _mask(value: Any, box: Box) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise TypeError("'mask' must be a list of whole numbers")
    runs = tuple(cast("list[Any]", value))
    if problem := mask_problem(box, runs):
        raise ValueError(problem)
    return runs


def _score(value: Any) -> float:
    score = float(value)
    if not 0 <= score <= 1:
        raise ValueError(f"'score' {value!r} is not between 0 and 1")
    return score


def _explain(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)
