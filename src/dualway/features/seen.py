"""What was seen in a picture, vectors apart: as a record in memory and as a line of regions.jsonl."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from dualway.features.regions import CutOut
from dualway.schema import Face, IdentityLabel, Region, Segment


@dataclass(frozen=True)
class Seen:
    """One picture.

    Attributes:
        image: Its name as the first mention with it gives it.
        size: Width and height of the upright picture; (0, 0) where the picture was not at hand.
        objects: What `Features.objects` has a row for; a picture without objects is its own one object.
        faces: Those found or given, with what is said of them.
        labels: Whom a classifier or a file took somebody in it for.
        failures: Cut-outs of it that could not be used -> why.
    """

    image: str
    size: tuple[int, int] = (0, 0)
    objects: tuple[Region, ...] = ()
    faces: tuple[Face, ...] = ()
    labels: tuple[IdentityLabel, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict[str, str])

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON values; parts that hold nothing are left out."""
        record: dict[str, Any] = {"image": self.image, "size": list(self.size)}
        record["objects"] = [_object_record(region) for region in self.objects]
        parts = {
            "faces": [_face_record(face) for face in self.faces],
            "labels": [label_record(label) for label in self.labels],
            "failures": dict(self.failures),
        }
        return record | {name: part for name, part in parts.items() if part}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Seen:
        """Return the record that `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is none.
        """
        width, height = record["size"]
        return cls(
            image=str(record["image"]),
            size=(int(width), int(height)),
            objects=tuple(_object(item) for item in record["objects"]),
            faces=tuple(_face(item) for item in record.get("faces", ())),
            labels=tuple(label_from(item) for item in record.get("labels", ())),
            failures={str(name): str(why) for name, why in record.get("failures", {}).items()},
        )


def label_record(label: IdentityLabel) -> dict[str, Any]:
    """Return an identity label as JSON values."""
    record: dict[str, Any] = {"label": label.label, "score": label.score, "probe": label.probe}
    others = {"entity": label.entity_id, "similarity": label.similarity}
    return record | {name: value for name, value in others.items() if value is not None}


def label_from(item: Mapping[str, Any]) -> IdentityLabel:
    """Return the label that `label_record` wrote."""
    entity, similarity = item.get("entity"), item.get("similarity")
    return IdentityLabel(
        label=str(item["label"]),
        score=_finite(item["score"]),
        entity_id=None if entity is None else str(entity),
        probe=int(item.get("probe", -1)),
        similarity=None if similarity is None else _finite(similarity),
    )


def _object_record(region: Region) -> dict[str, Any]:
    record: dict[str, Any] = {"box": list(region.box), "label": region.label, "score": region.score}
    if isinstance(region, CutOut):
        return record | {"picture": region.picture}
    return record | {"mask": list(region.mask)} if isinstance(region, Segment) else record


def _object(item: Mapping[str, Any]) -> Region:
    box, label, score = _box(item["box"]), str(item["label"]), _finite(item["score"])
    if "picture" in item:
        return CutOut(box, label, score, picture=str(item["picture"]))
    if "mask" in item:
        return Segment(box, label, score, mask=tuple(int(run) for run in item["mask"]))
    return Region(box, label, score)


def _face_record(face: Face) -> dict[str, Any]:
    record: dict[str, Any] = {"box": None if face.box is None else list(face.box), "score": face.score}
    parts = {
        "attributes": dict(face.attributes),
        "confidence": dict(face.confidence),
        "landmarks": [list(point) for point in face.landmarks],
        "picture": face.picture,
    }
    return record | {name: part for name, part in parts.items() if part}


def _face(item: Mapping[str, Any]) -> Face:
    points = cast("list[tuple[float, float]]", item.get("landmarks", []))
    return Face(
        box=None if item["box"] is None else _box(item["box"]),
        attributes={str(name): str(value) for name, value in item.get("attributes", {}).items()},
        picture=str(item.get("picture", "")),
        score=_finite(item["score"]),
        landmarks=tuple((_finite(x), _finite(y)) for x, y in points),
        confidence={str(name): _finite(value) for name, value in item.get("confidence", {}).items()},
    )


def _box(value: Any) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (_finite(number) for number in value)
    return x0, y0, x1, y1


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number")
    return number
