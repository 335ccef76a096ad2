"""Faces and what is said of them: YuNet on original pictures, gender and age beside what Wikidata says of the people.

    python -m experiments.faces [--json FILE]

1. YuNet on the 42 original pictures at DUALWAY_REALDATA: 39 of WikiMEL, 3 of Richpedia. Its 85 faces were looked at by
   eye, boxes drawn on contact sheets; NOT_FACES has those that are nobody's. Nobody whose face shows was missed: the
   people without a face in 3315.jpg, 13431.jpg (one each) are seen from behind.
2. Gender and age on LFW (re-imaged data, joined to Wikidata by name): the first photo of each person, the face that is
   largest and most central. Gender is compared with "Sex", age with 2003 minus the year of birth; most photos were
   taken in 2002 and 2003, so the true ages are uncertain by some years too.

How much of the surroundings is looked at (FRAMING) was chosen on a quarter of the people, by a hash of the name; the
figures are of all people, and of the other three quarters alone. Controls: colours given in the wrong order, and
pictures a quarter as wide. Half a minute of one core.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from benchmarks.machine import describe_machine
from PIL import Image

from dualway.images import open_picture
from dualway.schema import Face
from dualway.vision.attributes import OnnxTagger
from dualway.vision.faces import YunetFinder
from experiments.detector import realdata

# By picture: the centre of the box in shares of width and height, and what is there. Looked at by eye.
NOT_FACES = {
    "2083.jpg": (0.68, 0.58, "a hand in front of a suit"),
    "47215.jpg": (0.71, 0.88, "a hand below a patterned cuff"),
    "13524.jpg": (0.52, 0.14, "the face of a stone statue"),
}
DRAWN = {"13416.jpg": "a painted woman on a film poster"}  # a face, but no photograph of one
FRAMINGS = (0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2)
BANDS = ((0, 30), (30, 40), (40, 50), (50, 60), (60, 200))
YEAR = 2003
_SURE = 0.9  # confidence
_SMALL = 4  # times smaller


class Person(NamedTuple):
    """Somebody of LFW: the name, the first photo, and what Wikidata says; None where it does not."""

    name: str
    photo: Path
    sex: str | None
    age: int | None


class Said(NamedTuple):
    """What the model said of a person's face."""

    person: Person
    gender: str
    confidence: float
    age: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    result = {"machine": describe_machine(), "opencv": cv2.__version__, **measure(realdata())}
    print(describe(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def measure(folder: Path, every: int = 1) -> dict[str, Any]:
    """Return all figures; of every so manieth person of LFW."""
    finder, tagger = load_models(folder)
    people = [person for person in read_people(folder / "lfw")[::every] if person.sex is not None]
    start = time.process_time()
    faces = {person: face for person in people if (face := face_of(finder, person)) is not None}
    found_s = time.process_time() - start
    start = time.process_time()
    said = ask(tagger, faces)
    said_s = time.process_time() - start
    chosen_on = {person: face for person, face in faces.items() if is_for_choosing(person)}
    controls = {
        "colours in the wrong order": ask(tagger, faces, swapped),
        f"pictures 1/{_SMALL} as wide": ask(tagger, faces, smaller, 1 / _SMALL),
    }
    return {
        "pictures": count_faces(finder, original_pictures(folder)),
        "people": len(people),
        "without_face": [person.name for person in people if person not in faces],
        "ms_finding": 1e3 * found_s / len(people),
        "ms_saying": 1e3 * said_s / max(len(faces), 1),
        "framings": {
            framing: summarise(ask(OnnxTagger(tagger.path, framing=framing), chosen_on)) for framing in FRAMINGS
        },
        "groups": {name: summarise(part) for name, part in groups(said).items()},
        "controls": {name: summarise(part) for name, part in controls.items()},
    }


def load_models(folder: Path) -> tuple[YunetFinder, OnnxTagger]:
    """Return YuNet and the model of age and gender."""
    models = folder / "models"
    return YunetFinder(models / "yunet" / "yunet_n_640_640.onnx"), OnnxTagger(models / "age_gender" / "age_gender.onnx")


def original_pictures(folder: Path) -> list[Path]:
    """Return the pictures of WikiMEL and Richpedia."""
    return [*sorted((folder / "wikimel" / "KVQAimgs").iterdir()), *sorted((folder / "richpedia" / "images").iterdir())]


def count_faces(finder: YunetFinder, paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Return of each picture how many faces were found, and the scores of those that are nobody's."""
    result: dict[str, dict[str, Any]] = {}
    for path in paths:
        picture = open_picture(path)
        faces = finder.find(picture)
        wrong = [face.score for face in faces if is_known_wrong(path.name, face, picture.size)]
        result[path.name] = {"faces": len(faces), "not_faces": wrong}
    return result


def is_known_wrong(name: str, face: Face, size: tuple[int, int]) -> bool:
    """Tell whether a face of the picture called `name` is the one that was seen to be none."""
    assert face.box is not None
    if name not in NOT_FACES:
        return False
    x, y, _ = NOT_FACES[name]
    x0, y0, x1, y1 = face.box
    return x0 <= x * size[0] <= x1 and y0 <= y * size[1] <= y1


def read_people(folder: Path) -> list[Person]:
    """Return the people of LFW with the first of their photos."""
    people: list[Person] = []
    with (folder / "lfw_to_qid.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            sex = re.search(r"\bSex: (male|female)\b", row["text"])
            birth = re.search(r"\bBirth: (\d{4})\b", row["text"])
            photo = min((folder / "images_deepfunneled" / row["lfw_name"]).iterdir())
            people.append(Person(row["lfw_name"], photo, sex and sex[1], birth and YEAR - int(birth[1])))
    return people


def is_for_choosing(person: Person) -> bool:
    """Tell whether a person is of the quarter that settings are chosen on."""
    return int(hashlib.sha256(person.name.encode()).hexdigest(), 16) % 4 == 0


def face_of(finder: YunetFinder, person: Person) -> Face | None:
    """Return the largest and most central face of a person's photo: height less distance from the middle."""
    picture = open_picture(person.photo)

    def prominence(face: Face) -> float:
        assert face.box is not None
        x0, y0, x1, y1 = face.box
        return y1 - y0 - float(np.hypot(x0 + x1 - picture.width, y0 + y1 - picture.height)) / 2

    return max(finder.find(picture), key=prominence, default=None)


def swapped(picture: Image.Image) -> Image.Image:
    """Return a picture with red and blue exchanged."""
    return Image.fromarray(np.ascontiguousarray(np.asarray(picture)[:, :, ::-1]))


def smaller(picture: Image.Image) -> Image.Image:
    """Return a picture of a fraction of the size."""
    return picture.reduce(_SMALL)


def ask(
    tagger: OnnxTagger,
    faces: dict[Person, Face],
    change: Callable[[Image.Image], Image.Image] = lambda picture: picture,
    scale: float = 1.0,
) -> list[Said]:
    """Return what the model says of each face, in pictures that were changed, and scaled by that."""
    said: list[Said] = []
    for person, face in faces.items():
        assert face.box is not None
        x0, y0, x1, y1 = (value * scale for value in face.box)
        [values] = tagger.tag(change(open_picture(person.photo)), [Face((x0, y0, x1, y1), {})])
        gender, confidence = values["gender"]
        assert confidence is not None
        said.append(Said(person, gender, confidence, int(values["age"][0])))
    return said


def groups(said: Sequence[Said]) -> dict[str, list[Said]]:
    """Return the people by what the figures are told apart by."""
    parts = {
        "all": list(said),
        "not used for choosing": [item for item in said if not is_for_choosing(item.person)],
        "men": [item for item in said if item.person.sex == "male"],
        "women": [item for item in said if item.person.sex == "female"],
        f"confidence {_SURE} or more": [item for item in said if item.confidence >= _SURE],
    }
    for low, high in BANDS:
        name = f"under {high}" if not low else f"{low} and over" if high > 100 else f"{low} to {high - 1}"
        parts[f"aged {name}"] = [i for i in said if i.person.age is not None and low <= i.person.age < high]
    return parts


def summarise(said: Sequence[Said]) -> dict[str, Any]:
    """Return agreement on gender, and correlation, mean absolute error and bias of age in years."""
    aged = [item for item in said if item.person.age is not None]
    told, true = (np.array(part, dtype=float) for part in ([i.age for i in aged], [i.person.age for i in aged]))
    spread = len(aged) > 1 and np.ptp(told) > 0 and np.ptp(true) > 0
    return {
        "people": len(said),
        "agree": sum(item.gender == item.person.sex for item in said),
        "confusion": {
            f"{sex} told {gender}": sum(item.person.sex == sex and item.gender == gender for item in said)
            for sex in ("male", "female")
            for gender in ("male", "female")
        },
        "aged": len(aged),
        "r": float(np.corrcoef(told, true)[0, 1]) if spread else None,
        "mae": float(np.abs(told - true).mean()) if aged else None,
        "bias": float((told - true).mean()) if aged else None,
    }


def describe(result: dict[str, Any]) -> str:
    """Return the figures as markdown."""
    pictures = result["pictures"]
    total = sum(item["faces"] for item in pictures.values())
    lines = [
        f"YuNet finds {total} faces in {sum(item['faces'] > 0 for item in pictures.values())} of {len(pictures)} "
        "pictures: " + ", ".join(f"{Path(name).stem} {item['faces']}" for name, item in pictures.items()) + ".",
        "",
        "| not somebody's face (by eye) | score | what is there |",
        "|---|---:|---|",
    ]
    for name, item in pictures.items():
        lines += [f"| {name} | {score:.2f} | {NOT_FACES[name][2]} |" for score in item["not_faces"]]
    lines += [f"| {name} | | {what}: kept as a face |" for name, what in DRAWN.items() if name in pictures]
    head = "| people | gender agrees | r of age | mean error, years | bias, years |"
    rule = "|---|---:|---:|---:|---:|---:|"
    lines += ["", f"|  {head}", rule, *(_row(*item) for item in (result["groups"] | result["controls"]).items())]
    lines += ["", "Confusion: " + ", ".join(f"{k} {v}" for k, v in result["groups"]["all"]["confusion"].items()) + "."]
    lines += ["", f"| side, heights of the box {head}", rule]
    lines += [_row(f"{framing:g}", part) for framing, part in result["framings"].items()]
    lines += [
        "",
        f"{result['ms_finding']:.0f} ms to decode and find, {result['ms_saying']:.1f} ms to decode and say, a photo of "
        f"250 pixels. {result['machine']}; OpenCV {result['opencv']}.",
    ]
    return "\n".join(lines)


_DIGITS = {"r": 3, "mae": 1, "bias": 1}


def _row(name: str, part: dict[str, Any]) -> str:
    if not part["people"]:
        return f"| {name} | 0 | | | | |"
    # Within a band of ages a correlation is low for want of spread, and says nothing.
    shown = {key: None if key == "r" and name.startswith("aged") else part[key] for key in _DIGITS}
    age = ["" if value is None else f"{value:.{_DIGITS[key]}f}" for key, value in shown.items()]
    return f"| {name} | {part['people']:,} | {100 * part['agree'] / part['people']:.1f} % | " + " | ".join(age) + " |"


if __name__ == "__main__":
    main()
