"""Regions from a file: objects, faces and identity labels of pictures, as other tools have found them.

One JSON object a line, one line a picture:

    {"image": "41487.jpg",
     "objects": [{"box": [x0, y0, x1, y1], "label": "person", "score": 0.98}, ..],
     "faces": [{"box": [x0, y0, x1, y1], "attributes": {"gender": "male", "age": 50}}, ..],
     "labels": [{"label": "Barack Obama", "score": 0.756}, ..]}

Every part may be left out. `image` is relative to the file's folder; boxes are pixels of the upright picture. Nothing
is inferred: an attribute that the file does not carry is not in the sentence (section 4.3.1), and a picture without
faces has no face sentences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from dualway.config import FeatureConfig
from dualway.errors import DataError
from dualway.schema import Region
from dualway.storage import read_jsonl

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Face:
    """A face and what is said of it, in the file's order."""

    box: Box
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class IdentityLabel:
    """Whom a classifier took somebody in the picture for (section 4.3.2)."""

    label: str
    score: float


@dataclass(frozen=True)
class PictureRegions:
    """What a file says of one picture."""

    objects: tuple[Region, ...] = ()
    faces: tuple[Face, ...] = ()
    labels: tuple[IdentityLabel, ...] = ()


def read_regions(path: Path) -> dict[Path, PictureRegions]:
    """Read a regions file: what it says of each picture, by the picture's path.

    Raises:
        DataError: A broken line, a value of the wrong kind, or a picture named twice; names file and line.
    """
    found: dict[Path, PictureRegions] = {}
    for number, record in read_jsonl(path):
        try:
            image, regions = _parse(record)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise DataError(f"not a picture's regions: {_explain(error)}", path=path, line=number) from error
        picture = path.parent / image
        if picture in found:
            raise DataError(f"{image!r} was named before; put its regions on one line", path=path, line=number)
        found[picture] = regions
    return found


def choose_objects(config: FeatureConfig, regions: PictureRegions) -> tuple[Region, ...]:
    """Return the objects that the settings keep: class, minimum score, best `max_objects`, in a stable order."""
    kept = [
        region
        for region in regions.objects
        if region.score >= config.min_object_score
        and (not config.object_classes or region.label in config.object_classes)
    ]
    kept.sort(key=lambda region: (-region.score, region.box, region.label))
    return tuple(kept[: config.max_objects])


def object_of_face(face: Face, objects: Sequence[Region]) -> int:
    """Return the position of the smallest object that contains the face's centre, -1 for none."""
    x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
    around = [
        ((box[2] - box[0]) * (box[3] - box[1]), i)
        for i, box in enumerate(region.box for region in objects)
        if box[0] <= x <= box[2] and box[1] <= y <= box[3]
    ]
    return min(around)[1] if around else -1


def face_sentence(config: FeatureConfig, mention: str, face: Face) -> str:
    """Return x_f, "Trump, gender: male, race: white, age: 50" (section 4.3.1), of the attributes that are known."""
    attributes = ", ".join(f"{name}: {value}" for name, value in face.attributes.items())
    return config.face_template.format(mention=mention, attributes=attributes)


def identity_sentences(config: FeatureConfig, labels: Sequence[IdentityLabel]) -> list[str]:
    """Return x_s: a sentence for each label with a score above the threshold, or all of them as one sentence.

    "we only use identity information with confidence scores greater than 0.5 and concatenate them" (section 4.3.2).
    """
    sentences = [
        config.identity_template.format(label=item.label, score=f"{item.score:.3f}")
        for item in labels
        if item.score > config.identity_threshold
    ]
    return [", ".join(sentences)] if sentences and config.identity_keys == "joined" else sentences


def _parse(record: Any) -> tuple[str, PictureRegions]:
    if not isinstance(record, dict):
        raise TypeError("expected an object")
    values = cast("dict[str, Any]", record)
    image = values["image"]
    if not isinstance(image, str) or not image or "\0" in image:
        raise TypeError("'image' must be the path of a picture")
    for part in ("objects", "faces", "labels"):
        if not all(isinstance(item, dict) for item in values.get(part, [])):
            raise TypeError(f"'{part}' must be a list of objects")
    objects = [
        Region(_box(item["box"]), str(item.get("label", "")), _score(item.get("score", 1.0)))
        for item in values.get("objects", [])
    ]
    faces = [Face(_box(item["box"]), _attributes(item.get("attributes", {}))) for item in values.get("faces", [])]
    labels = [IdentityLabel(str(item["label"]), _score(item["score"])) for item in values.get("labels", [])]
    return image, PictureRegions(tuple(objects), tuple(faces), tuple(labels))


def _attributes(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError("'attributes' must be an object of names and values")
    return {str(name): str(known) for name, known in cast("dict[str, Any]", value).items()}


def _box(value: Any) -> Box:
    x0, y0, x1, y1 = (float(number) for number in value)
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or x1 <= x0 or y1 <= y0:
        raise ValueError(f"'box' {value!r} is not [x0, y0, x1, y1] with x0 < x1 and y0 < y1")
    return x0, y0, x1, y1


def _score(value: Any) -> float:
    score = float(value)
    if not 0 <= score <= 1:
        raise ValueError(f"'score' {value!r} is not between 0 and 1")
    return score


def _explain(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)
