"""Detection files of the field (DWE, DWET) as a regions file: parts of pictures, what a face model said, who it may be.

    wiki_segement/PART.jpg     a person cut out of a picture; PART is IMAGE_k (the folder's name is spelt so)
    wiki_detection/PART.json   a list: DeepFace's objects {age, gender, race, emotion, region, ..}, and {score, label}
    total2part_map.json        {IMAGE: [PART, ..]}; without it parts are told by their names
    rich_detection/IMAGE.json  the same of a whole picture, faces in its own pixels

The cut-out pictures are the objects, as there is no box of theirs in the whole picture; a face belongs to the object
that it was found in. A face model that is run on a cut-out without a face answers all the same, with a region that is
the whole of it: such a face was not detected and is left out, unless it is asked for. Race and emotion are read only
where the files carry them and the call asks for them. What is left out is counted with its reason.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualway.datasets.base import ReadReport, is_list, is_object, load_json
from dualway.datasets.reader import list_splits, open_dataset
from dualway.errors import DataError, PictureError, UsageError
from dualway.images import picture_size
from dualway.storage import atomic_path

ATTRIBUTES = ("age", "gender", "race", "emotion")
DEFAULT_ATTRIBUTES = ("age", "gender")
_ORDER = ("gender", "race", "age", "emotion")  # of a face's sentence: the paper's, then the public code's
_WORDS = {"Man": "male", "Woman": "female"}  # the paper's words for DeepFace's
_PLAIN = re.compile(r"[^/\\\0]{1,200}")
_PERSON = "person"  # the only class that the public code cuts out
_MAX_AGE = 130
_EDGE = 1  # pixels by which a region may miss the edges and still be the whole picture

FORMAT = "detections"


@dataclass(frozen=True)
class _Folder:
    """Where things are: files of detections, cut-out pictures, and the parts of each image."""

    detections: Path
    parts: Path | None
    parts_of: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class _Place:
    """Where faces are: in a cut-out, in the whole picture, or in a picture that is not there.

    name: Of the detection file; size: of the picture, None where unknown; keys: what a face's record says of it;
    has_boxes: False where a box would be in no picture that there is.
    """

    name: str
    size: tuple[int, int] | None
    keys: Mapping[str, str]
    has_boxes: bool


def write_regions_file(
    folder: Path,
    out: Path,
    *,
    images: Path | None = None,
    attributes: Sequence[str] = DEFAULT_ATTRIBUTES,
    all_faces: bool = False,
) -> ReadReport:
    """Write a regions file from a folder of detection files, whole or not at all; return what was met.

    Args:
        folder: Holds `*_detection`, and perhaps `*_segement` and `total2part*.json`.
        out: The regions file; paths in it are relative to its folder.
        images: The whole pictures' folder; by default they are those that the data set in `folder` names.
        attributes: Which facial attributes are kept, of `ATTRIBUTES`.
        all_faces: Also keep faces that were not detected.

    Raises:
        UsageError: An attribute that there is not.
        DataError: No detections, no pictures, a broken or ambiguous `total2part` file; nothing usable.
        StorageError: `out` cannot be written.
    """
    if unknown := [name for name in attributes if name not in ATTRIBUTES]:
        raise UsageError(f"--attributes: {unknown[0]!r} is none; choose of {','.join(ATTRIBUTES)}")
    report = ReadReport(folder, FORMAT)
    pictures = _pictures_in(images, report) if images is not None else _pictures_of_dataset(folder)
    reading = _Reading(_find(folder, report), out.absolute().parent, tuple(attributes), all_faces, report)
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for record in reading.records(pictures):
            file.write(json.dumps(record) + "\n")
        if not report.counts["pictures"]:
            why = "; ".join(report.remarks()[:3])
            raise DataError(f"no usable detection for any of {len(pictures):,} pictures ({why})", path=folder)
    return report


class _Reading:
    """Turns the files of one folder into records of a regions file."""

    def __init__(
        self, folder: _Folder, base: Path, attributes: tuple[str, ...], all_faces: bool, report: ReadReport
    ) -> None:
        self.folder, self.base, self.attributes = folder, base, attributes
        self.all_faces, self.report = all_faces, report
        self._unused = {path.stem for path in folder.detections.glob("*.json") if path.is_file()}

    def records(self, pictures: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
        """Yield a record for each picture that has detections, in the order of the pictures."""
        for image, path in pictures.items():
            record: dict[str, Any] = {"image": self._relative(path), "objects": [], "faces": [], "labels": []}
            for part in self.folder.parts_of.get(image, ()):
                self._add_part(record, part)
            if image in self._unused:
                self._add_items(record, image, _Place(image, _size(path), {}, True))
            if any(record[kind] for kind in ("objects", "faces", "labels")):
                self.report.counts["pictures"] += 1
                # Without cut-outs nothing is known of objects: they are left to a detector.
                yield {key: value for key, value in record.items() if value}
        for image in sorted(self.folder.parts_of.keys() - pictures.keys()):
            self.report.drop("parts of an image that is not among the pictures", image)
        for name in sorted(self._unused):
            self.report.drop("detection file of no picture in use", name)

    def _add_part(self, record: dict[str, Any], part: str) -> None:
        """Add a cut-out picture as an object, with the faces and labels that were found in it."""
        if not _PLAIN.fullmatch(part) or part in (".", ".."):
            self.report.drop("part whose name is no plain file name", part)
            return
        picture = None if self.folder.parts is None else self.folder.parts / f"{part}.jpg"
        if picture is not None and not _inside(picture, self.folder.parts):
            self.report.drop("part whose picture is a link out of the folder", part)
            return
        size = None if picture is None else _size(picture)
        place: dict[str, str] = {}
        if picture is None or size is None:
            self.report.note("part without a readable picture: its faces belong to no object", part)
        else:
            place = {"picture": self._relative(picture)}
            record["objects"].append({**place, "label": _PERSON})
            self.report.counts["objects"] += 1
        self._add_items(record, part, _Place(part, size, place, bool(place)))

    def _add_items(self, record: dict[str, Any], name: str, place: _Place) -> None:
        """Add what `NAME.json` says."""
        for item in self._items(name):
            if is_object(item) and "score" in item and "label" in item:
                self._add_label(record, item, name)
            elif is_object(item) and any(key in item for key in ("region", "age", "dominant_gender")):
                self._add_face(record, item, place)
            else:
                self.report.drop("item that is neither a face nor a label with a score", name, str(item))

    def _items(self, name: str) -> list[Any]:
        path = self.folder.detections / f"{name}.json"
        if name not in self._unused:
            self.report.note("part without a detection file", name)
            return []
        self._unused.discard(name)
        if not _inside(path, self.folder.detections):
            self.report.drop("detection file that is a link out of the folder", name)
            return []
        try:
            value = load_json(path)
        except DataError as error:
            self.report.drop("detection file that cannot be read", name, error.problem)
            return []
        if not is_list(value):
            self.report.drop("detection file that holds no list", name, str(value))
            return []
        return value

    def _add_label(self, record: dict[str, Any], item: dict[str, Any], name: str) -> None:
        label, score = item["label"], _number(item["score"], 0, 1)
        if score is None or not isinstance(label, str) or not label.strip():
            self.report.drop("identity label without a name, or a score outside 0 to 1", name, str(item))
            return
        record["labels"].append({"label": label, "score": score})
        self.report.counts["labels"] += 1

    def _add_face(self, record: dict[str, Any], item: dict[str, Any], place: _Place) -> None:
        box = _box(item.get("region"))
        if box is None:
            self.report.drop("face without a region {x, y, w, h}", place.name, str(item.get("region")))
            return
        if not self.all_faces and not _detected(item, box, place.size):
            self.report.drop("face that was not detected: its region is the whole picture", place.name)
            return
        face: dict[str, Any] = {"box": box, **place.keys} if place.has_boxes else {}
        face["attributes"] = {key: value for key in _ORDER if (value := self._attribute(item, key, place.name))}
        record["faces"].append(face)
        self.report.counts["faces"] += 1
        for key in face["attributes"]:
            self.report.counts[f"faces with {key}"] += 1

    def _attribute(self, item: dict[str, Any], key: str, name: str) -> str | None:
        """Return an attribute in the words of a sentence, None where it is not wanted or the file does not carry it."""
        if key not in self.attributes or (key not in item and f"dominant_{key}" not in item):
            return None
        value = _age(item.get(key)) if key == "age" else _dominant(item, key)
        if value is None:
            self.report.drop(f"{key} of a face that is not in DeepFace's form", name, str(item.get(key)))
        return value

    def _relative(self, path: Path) -> str:
        return Path(os.path.relpath(path.absolute(), self.base)).as_posix()


def _find(folder: Path, report: ReadReport) -> _Folder:
    """Return where detections and cut-outs are, and the parts of each image."""
    detections = _one_folder(folder, "*_detection")
    if detections is None:
        raise DataError("no folder of detection files in it (wiki_detection, rich_detection)", path=folder)
    parts = _one_folder(folder, "*_segement") or _one_folder(folder, "*_segment")
    return _Folder(detections, parts, _parts_of(folder, detections, report))


def _one_folder(folder: Path, pattern: str) -> Path | None:
    found = sorted(path for path in folder.glob(pattern) if path.is_dir())
    if len(found) > 1:
        raise DataError(f"holds {' and '.join(path.name for path in found)}; name a folder with one", path=folder)
    return found[0] if found else None


def _parts_of(folder: Path, detections: Path, report: ReadReport) -> dict[str, list[str]]:
    """Return the parts of each image: from the file that lists them, else by the parts' names."""
    files = sorted(folder.glob("total2part*.json"))
    if len(files) > 1:
        raise DataError(f"holds {' and '.join(path.name for path in files)}; keep one of them", path=folder)
    if not files:
        report.note("no total2part file: parts are told by their names, IMAGE_k", folder.name)
        return _parts_by_name(detections)
    table = load_json(files[0])
    if not is_object(table):
        raise DataError("expected {image: [part, ..]}", path=files[0])
    parts: dict[str, list[str]] = {}
    for image, listed in table.items():
        if not is_list(listed) or not all(isinstance(part, str) for part in listed):
            raise DataError("expected a list of names of parts", path=files[0], id=image)
        parts[image] = listed
    return parts


def _parts_by_name(detections: Path) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for path in sorted(detections.glob("*.json"), key=lambda path: (len(path.name), path.name)):
        image, mark, number = path.stem.rpartition("_")
        if mark and number.isdecimal():
            parts.setdefault(image, []).append(path.stem)
    return parts


def _pictures_in(images: Path, report: ReadReport) -> dict[str, Path]:
    """Return the pictures of a folder by id: what stands before the first dot of the name, as in the public code."""
    if not images.is_dir():
        raise DataError("no such folder; --images names that of the whole pictures", path=images)
    found: dict[str, Path] = {}
    for path in sorted(images.iterdir()):
        id = path.name.partition(".")[0]
        if id and path.is_file() and found.setdefault(id, path) != path:
            report.drop("picture whose id another one has", path.name, found[id].name)
    return found


def _pictures_of_dataset(folder: Path) -> dict[str, Path]:
    """Return the pictures that the mentions of a data set name, by id; gold is not looked at."""
    try:
        splits = list_splits(folder)
    except DataError as error:
        raise DataError(
            f"no data set beside the detections that would name the pictures ({error.problem}); give their folder "
            "with --images",
            path=folder,
        ) from error
    found: dict[str, Path] = {}
    for split in splits:
        dataset = open_dataset(folder, split)
        for mention in dataset.mentions:
            path = dataset.image_path(mention)
            if path is not None and (id := path.name.partition(".")[0]):
                found.setdefault(id, path)
    return found


def _detected(item: dict[str, Any], box: list[float], size: tuple[int, int] | None) -> bool:
    """Tell whether a face was found, or the model was run on the whole picture for want of one.

    Without the picture's size a region that starts in the corner counts as the whole of it: faces seldom do.
    """
    if _number(item.get("face_confidence", 1), 0, math.inf) == 0:
        return False
    if box[0] > _EDGE or box[1] > _EDGE:
        return True
    if size is None:
        return False
    # Older versions of DeepFace gave height and width the wrong way round.
    return not any(box[2] >= w - _EDGE and box[3] >= h - _EDGE for w, h in (size, size[::-1]))


def _box(region: Any) -> list[float] | None:
    if not is_object(region):
        return None
    x, y = (_number(region.get(key), -math.inf, math.inf) for key in "xy")
    w, h = (_number(region.get(key), 0, math.inf) for key in "wh")
    if x is None or y is None or not w or not h:
        return None
    return [x, y, x + w, y + h]


def _age(value: Any) -> str | None:
    age = _number(value, 0, _MAX_AGE)
    return None if age is None else str(round(age))


def _dominant(item: dict[str, Any], key: str) -> str | None:
    """Return the value that DeepFace calls dominant, else that of the largest share."""
    value = item.get(f"dominant_{key}", item.get(key))
    if is_object(value):
        shares = {name: share for name, known in value.items() if (share := _number(known, 0, 100)) is not None}
        value = max(shares, key=shares.__getitem__) if shares and len(shares) == len(value) else None
    if not isinstance(value, str) or not value.strip():
        return None
    return _WORDS.get(value.strip(), value.strip())


def _number(value: Any, low: float, high: float) -> float | None:
    """Return a finite number within limits, None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and low <= number <= high else None


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return picture_size(path)
    except PictureError:
        return None


def _inside(path: Path, folder: Path | None) -> bool:
    try:
        return folder is not None and path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle
        return False
