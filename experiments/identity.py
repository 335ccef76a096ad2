"""Identity by the knowledge base's own pictures: who is found, how often a stranger is taken for somebody, calibration.

    python -m experiments.identity [--json FILE]

Faces of LFW (re-imaged data, joined to Wikidata by name: DUALWAY_REALDATA), found by YuNet, compared by MobileFaceNet
(no licence is stated for its weights, which serve this comparison only; whether LFW's people were among those that it
was trained on is not known, so take the figures as optimistic). A photo numbered _0001 is a probe, those from _0002 on
are the knowledge base's. Two photos that show somebody else than they say are left out: KNOWN_WRONG.

1. Closed set: photo 1 among all WikiMEL people with two photos or more.
2. Open set: the probe's person is not in the gallery; how often does somebody pass the shipped threshold? By gallery
   size; men among men and women among women, which is the worst case, as far as there are enough of a sex. Where a
   gallery needs more people than have a second photo, photos _0001 of strangers stand in; never the probe's person's.
3. The same with a calibration fitted on half of the people and measured on the other half, and how well its
   probabilities are calibrated there.
4. Same surname, several pictures of one person, and controls without alignment.

The shipped numbers (vision/calibration.py) are fitted on all people; what to write there is printed at the end. Face
vectors are kept under .experiments/identity. Three minutes of one core, twenty seconds when the vectors are there.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from benchmarks.machine import describe_machine
from PIL import Image

from dualway.encoders.cache import VectorCache, content_key
from dualway.images import decode_picture, read_picture
from dualway.schema import Face, FloatArray, IntArray
from dualway.vision.align import POINTS, SIDE
from dualway.vision.calibration import SHIPPED, Calibration, Pairs, compare_pictures
from dualway.vision.faces import YunetFinder
from dualway.vision.gallery import FaceEmbedder
from dualway.vision.recognition import OnnxFaceEncoder
from experiments.detector import realdata

WORK = Path(__file__).resolve().parent.parent / ".experiments" / "identity"
KNOWN_WRONG = ("Michael_Schumacher_0008", "Recep_Tayyip_Erdogan_0004")  # look like Barrichello and Gul
GROUPS = {"men": "male", "women": "female"}
SIZES = (1, 10, 100, 1000)  # people in a gallery
SPLITS = 5  # times that people are cut into halves
DRAWS = 20  # galleries drawn for each probe
COUNTS = (1, 2, 4, 7)  # pictures of one person
_COUNTED_AT = 0.4  # cosine
_BINS = 10
_SOURCE = "LFW, {people:,} people, {photos:,} photos"


@dataclass(frozen=True)
class Photos:
    """Photos of people, and who they are.

    vectors: float32 [n, dim].
    person: int64 [n], whose each is; `names`, `sexes` (None: not known) and `in_wikimel` are by person.
    number: int64 [n], the photo's number.
    """

    vectors: FloatArray
    person: IntArray
    number: IntArray
    names: tuple[str, ...]
    sexes: tuple[str | None, ...]
    in_wikimel: tuple[bool, ...]

    def of(self, people: Sequence[int] | IntArray) -> Photos:
        """Return the photos of some people; the people keep their numbers."""
        kept = np.isin(self.person, people)
        return replace(self, vectors=self.vectors[kept], person=self.person[kept], number=self.number[kept])

    @cached_property
    def people(self) -> IntArray:
        """Those of whom there is a photo."""
        return np.unique(self.person)

    def of_sex(self, sex: str) -> IntArray:
        """Return the people of a sex."""
        return np.array([i for i in self.people.tolist() if self.sexes[i] == sex], dtype=np.int64)

    @cached_property
    def probes(self) -> IntArray:
        """The photos numbered _0001."""
        return np.flatnonzero(self.number == 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    embedder = load_embedder(realdata())
    photos = read_photos(realdata() / "lfw", embedder, WORK)
    fitted = fit(photos)
    result = {
        "machine": describe_machine(),
        "photos": len(photos.vectors),
        "people": len(photos.people),
        "left_out": KNOWN_WRONG,
        **measure(photos, SHIPPED.get(embedder.encoder_fingerprint, fitted)),
        "controls": measure_controls(realdata() / "lfw", embedder, photos),
    }
    print(describe(result))
    print(f"\nTo ship, by the encoder's fingerprint {embedder.encoder_fingerprint!r}:\n{as_code(fitted)}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def load_embedder(folder: Path) -> FaceEmbedder:
    """Return YuNet and MobileFaceNet."""
    models = folder / "models"
    finder = YunetFinder(models / "yunet" / "yunet_n_640_640.onnx")
    return FaceEmbedder(finder, OnnxFaceEncoder(models / "mobilefacenet" / "mobilefacenet.onnx"))


def read_photos(
    lfw: Path,
    embedder: FaceEmbedder,
    cache_folder: Path | None,
    *,
    wanted: Callable[[str, int], bool] = lambda name, number: True,
    embed: Callable[[Image.Image], FloatArray] | None = None,
    kind: str = "",
) -> Photos:
    """Return the photos of LFW's people, each vector computed once.

    Args:
        lfw: The folder of LFW.
        embedder: Makes the vectors.
        cache_folder: Where they are kept.
        wanted: Tells by a person's name and a photo's number whether it is read.
        embed: Makes the vectors in another way.
        kind: The name of that way.
    """
    with (lfw / "lfw_to_qid.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    cache = VectorCache(cache_folder, f"{embedder.fingerprint}{kind}", embedder.dim)
    vectors, person, number = list[FloatArray](), list[int](), list[int]()
    for i, row in enumerate(rows):
        for path in sorted((lfw / "images_deepfunneled" / row["lfw_name"]).iterdir()):
            numbered = int(path.stem[-4:])
            if path.stem not in KNOWN_WRONG and wanted(row["lfw_name"], numbered):
                vectors.append(_vector(path, embed or embedder.embed, cache))
                person.append(i)
                number.append(numbered)
    sexes = [re.search(r"\bSex: (male|female)\b", row["text"]) for row in rows]
    return Photos(
        np.array(vectors, dtype=np.float32).reshape(-1, embedder.dim),
        np.array(person, dtype=np.int64),
        np.array(number, dtype=np.int64),
        tuple(row["lfw_name"] for row in rows),
        tuple(sex and sex[1] for sex in sexes),
        tuple(row["in_wikimel"] == "1" for row in rows),
    )


def _vector(path: Path, embed: Callable[[Image.Image], FloatArray], cache: VectorCache) -> FloatArray:
    content = read_picture(path)
    key = content_key(content)
    known = cache.get([key])
    if key not in known:
        known = {key: embed(decode_picture(content, path))}
        cache.put(known)
    return known[key]


def fit(photos: Photos) -> Calibration:
    """Return the calibration of pairs of photos: strangers are of one sex."""
    parts = {group: photos.of(photos.of_sex(sex)) for group, sex in GROUPS.items()}
    pairs = {group: compare_pictures(part.vectors, part.person) for group, part in parts.items()}
    genuine = Pairs(*(np.concatenate(part) for part in zip(*(pair[0] for pair in pairs.values()), strict=True)))
    source = _SOURCE.format(
        people=sum(len(part.people) for part in parts.values()),
        photos=sum(len(part.vectors) for part in parts.values()),
    )
    return Calibration.fit(genuine, {group: pair[1] for group, pair in pairs.items()}, source=source)


def measure(photos: Photos, calibration: Calibration) -> dict[str, Any]:
    """Return all figures that need no picture."""
    return {
        "closed": closed_set(photos),
        "thresholds": {str(n): calibration.threshold(n) for n in (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)},
        "shipped": open_set(photos, calibration, SIZES),
        "held_out": held_out(photos),
        "surnames": same_surname(photos, calibration),
        "counts": several_pictures(photos),
    }


def closed_set(photos: Photos) -> dict[str, dict[str, float]]:
    """Return how often photo 1 finds its person among those of whom there are others, by gallery."""
    gallery = photos.number >= 2
    chosen = gallery & np.array(photos.in_wikimel)[photos.person]
    first = np.zeros(len(gallery), dtype=bool)
    first[[np.flatnonzero(chosen & (photos.person == p))[0] for p in np.unique(photos.person[chosen])]] = True
    probes = np.array([i for i in photos.probes.tolist() if photos.person[i] in photos.person[chosen]])
    galleries = {"WikiMEL, one photo each": first, "WikiMEL, all photos": chosen, "all people, all photos": gallery}
    return {name: _ranked(photos, probes, np.flatnonzero(kept)) for name, kept in galleries.items()}


def _ranked(photos: Photos, probes: IntArray, gallery: IntArray) -> dict[str, float]:
    people, best = _best_by_person(photos, probes, gallery)
    own = best[np.arange(len(probes)), np.searchsorted(people, photos.person[probes])]
    rank = (best > own[:, None]).sum(axis=1)
    return {
        "probes": len(probes),
        "people": len(people),
        "photos": len(gallery),
        "r@1": float((rank < 1).mean()),
        "r@5": float((rank < 5).mean()),
    }


def _best_by_person(photos: Photos, probes: IntArray, gallery: IntArray) -> tuple[IntArray, FloatArray]:
    """Return the people of a gallery, rising, and each probe's best cosine with each, float32 [p, people]."""
    gallery = gallery[np.argsort(photos.person[gallery], kind="stable")]
    people, starts = np.unique(photos.person[gallery], return_index=True)
    cosines = photos.vectors[probes] @ photos.vectors[gallery].T
    return people, np.maximum.reduceat(cosines, starts, axis=1)


@dataclass(frozen=True)
class Comparison:
    """Probes, one a person, beside the people of a gallery.

    people: int64 [c]; pictures: int64 [c], how many of each.
    cosines: float32 [p, c], the best with each person.
    owner: int64 [p], the probe's person.
    own: float32 [p], the best with her own pictures from _0002 on; nan where there is none. own_pictures: how many.
    """

    people: IntArray
    pictures: IntArray
    cosines: FloatArray
    owner: IntArray
    own: FloatArray
    own_pictures: IntArray

    @classmethod
    def of(cls, photos: Photos, *, least: int) -> Comparison:
        """Compare photos _0001 with those from number `least` on."""
        probes, gallery = photos.probes, np.flatnonzero(photos.number >= least)
        people, cosines = _best_by_person(photos, probes, gallery)
        owner = photos.person[probes]
        theirs, best = _best_by_person(photos, probes, np.flatnonzero(photos.number >= 2))
        place = np.minimum(np.searchsorted(theirs, owner), len(theirs) - 1)
        own = np.where(theirs[place] == owner, best[np.arange(len(owner)), place], np.nan)
        own_pictures = np.array([((photos.person == p) & (photos.number >= 2)).sum() for p in owner.tolist()])
        pictures = np.array([(photos.person[gallery] == p).sum() for p in people.tolist()])
        return cls(people, pictures, cosines, owner, own.astype(np.float32), own_pictures)


def open_set(photos: Photos, calibration: Calibration, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Return a row a gallery: how often a stranger passes, and how often the right person is found, by group."""
    everybody, own = Comparison.of(photos, least=1), Comparison.of(photos, least=2)
    rows = [
        {"gallery": f"{size:,} of one sex", **_rates(photos, everybody, calibration, size, one_sex=True)}
        for size in sizes
        if all(size < len(photos.of_sex(sex)) for sex in GROUPS.values())
    ]
    rows += [
        {"gallery": f"{size:,} of both sexes", **_rates(photos, everybody, calibration, size, one_sex=False)}
        for size in sizes
        if min(len(photos.of_sex(sex)) for sex in GROUPS.values()) <= size < len(photos.people)
    ]
    whole = {
        "the whole gallery (photos from _0002 on)": (own, False),
        "everybody (with strangers' _0001)": (everybody, False),
        "everybody of one sex": (everybody, True),
    }
    return [
        *rows,
        *(
            {"gallery": name, **_rates(photos, part, calibration, None, one_sex=one_sex)}
            for name, (part, one_sex) in whole.items()
        ),
    ]


def _rates(
    photos: Photos, compared: Comparison, calibration: Calibration, size: int | None, *, one_sex: bool
) -> dict[str, Any]:
    trials = _trials(photos, compared, calibration, size, one_sex=one_sex)
    result: dict[str, Any] = {
        "people": float(trials["people"].mean()),
        "pictures": float(trials["pictures"].mean()),
        "threshold": float(trials["threshold"].mean()),
    }
    for group, sex in {"all": None, **GROUPS}.items():
        mine = np.array([sex is None or photos.sexes[p] == sex for p in trials["owner"].tolist()])
        known = mine & np.isfinite(trials["own"])
        result[group] = {
            "probes": len(np.unique(trials["owner"][mine])),
            "false": float((trials["stranger"] >= trials["threshold"])[mine].mean()),
            "found": float(trials["found"][known].mean()),
        }
    return result


def _trials(
    photos: Photos, compared: Comparison, calibration: Calibration, size: int | None, *, one_sex: bool
) -> dict[str, Any]:
    """Return arrays by trial: a probe beside a gallery of so many people, without hers (`stranger`) and with (`found`).

    `best`, `right` and `best_pictures` are those of the gallery with her, for probabilities.
    """
    rng = np.random.default_rng(0)
    columns: dict[str, list[float]] = {
        name: []
        for name in ("owner", "people", "pictures", "threshold", "stranger", "own", "found", "best_pictures", "best")
    }
    for i, owner in enumerate(compared.owner.tolist()):
        sex = photos.sexes[owner]
        if one_sex and sex is None:
            continue
        others = np.flatnonzero(compared.people != owner)
        if one_sex:
            others = others[[photos.sexes[p] == sex for p in compared.people[others].tolist()]]
        for _ in range(1 if size is None else DRAWS):
            chosen = others if size is None else rng.choice(others, size, replace=False)
            stranger = float(compared.cosines[i, chosen].max())
            # With her in it, the gallery has one stranger less.
            rest = chosen if size is None else chosen[1:]
            rival = float(compared.cosines[i, rest].max(initial=-1))
            pictures = int(compared.pictures[chosen].sum())
            own, own_pictures = float(compared.own[i]), int(compared.own_pictures[i])
            best_pictures = int(compared.pictures[rest].sum()) + max(own_pictures, 1)
            found = own >= calibration.threshold(best_pictures) and own > rival
            values = (owner, len(chosen), pictures, calibration.threshold(pictures), stranger, own, found)
            for column, value in zip(columns.values(), (*values, best_pictures, max(own, rival)), strict=True):
                column.append(value)
    return {name: np.array(column) for name, column in columns.items()}


def held_out(photos: Photos) -> dict[str, Any]:
    """Return the mean of the open-set rates over halves of the people that the calibration was not fitted on.

    `worst` is the highest share of any half; one of its probes is most of a percent of the women.
    """
    tables: list[list[dict[str, Any]]] = []
    errors: list[dict[str, float]] = []
    rng = np.random.default_rng(0)
    for _ in range(SPLITS):
        halves = np.array_split(rng.permutation(photos.people), 2)
        for fitted_on, other in (halves, halves[::-1]):
            calibration, part = fit(photos.of(fitted_on)), photos.of(other)
            tables.append(open_set(part, calibration, [size for size in SIZES if size <= 100]))
            errors.append(calibration_errors(part, calibration))
    return {
        "halves": len(tables),
        "rows": [_mean_row(rows) for rows in zip(*tables, strict=True)],
        "calibration_error": {size: float(np.mean([error[size] for error in errors])) for size in errors[0]},
    }


def _mean_row(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of a row over halves."""
    result: dict[str, Any] = {"gallery": rows[0]["gallery"]}
    for name in ("people", "pictures", "threshold"):
        result[name] = float(np.mean([row[name] for row in rows]))
    for group in ("all", *GROUPS):
        parts = [row[group] for row in rows]
        result[group] = {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
        result[group]["worst"] = max(part["false"] for part in parts)
    return result


def calibration_errors(photos: Photos, calibration: Calibration) -> dict[str, float]:
    """Return the expected calibration error of the best candidate's probability, by gallery size, one sex.

    Her pictures are in half of the galleries.
    """
    compared, result = Comparison.of(photos, least=1), dict[str, float]()
    for size in SIZES[:3]:
        trials = _trials(photos, compared, calibration, size, one_sex=True)
        known = np.isfinite(trials["own"])
        right = (trials["best"] == trials["own"])[known]
        cosines = np.concatenate([trials["best"][known], trials["stranger"][known]])
        pictures = np.concatenate([trials["best_pictures"][known], trials["pictures"][known]])
        told = np.array([calibration.probability(s, int(n)) for s, n in zip(cosines, pictures, strict=True)])
        result[str(size)] = expected_error(told, np.concatenate([right, np.zeros(len(right))]))
    return result


def expected_error(told: np.ndarray[Any, Any], true: np.ndarray[Any, Any]) -> float:
    """Return the mean distance between probability and outcome, in ten bins of equal width."""
    place = np.minimum((told * _BINS).astype(int), _BINS - 1)
    parts = [(told[place == b], true[place == b]) for b in np.unique(place)]
    return float(sum(len(p) * abs(p.mean() - t.mean()) for p, t in parts) / len(told))


def same_surname(photos: Photos, calibration: Calibration) -> list[dict[str, Any]]:
    """Return how often two people of one sex pass the threshold for n pictures: strangers, and those of one surname."""
    surnames = np.array([name.rsplit("_", 1)[-1] for name in photos.names])
    rows: list[dict[str, Any]] = []
    parts = [photos.of(photos.of_sex(sex)) for sex in GROUPS.values()]
    pairs = [_pairs_of_people(part) for part in parts]
    left, right, passing = (np.concatenate(column) for column in zip(*pairs, strict=True))
    same = surnames[left] == surnames[right]
    for size in (1, 10, 100):
        reached = np.array([_share(cosines, calibration.threshold(size)) for cosines in passing.tolist()])
        highest = np.argsort(-np.where(same, reached, -1), kind="stable")[:5]
        rows.append(
            {
                "pictures": size,
                "threshold": calibration.threshold(size),
                "strangers": float(reached[~same].mean()),
                "same_surname": float(reached[same].mean()),
                "pairs": int(same.sum()),
                "alike": [
                    f"{photos.names[left[i]]} and {photos.names[right[i]]}" for i in highest.tolist() if reached[i] > 0
                ],
            }
        )
    return rows


def _pairs_of_people(photos: Photos) -> tuple[IntArray, IntArray, Any]:
    """Return all pairs of people, and of each the cosines of their photos (an array of arrays)."""
    cosines = photos.vectors @ photos.vectors.T
    by_person = {p: np.flatnonzero(photos.person == p) for p in photos.people.tolist()}
    left, right = (photos.people[side] for side in np.triu_indices(len(photos.people), 1))
    found = np.empty(len(left), dtype=object)
    for i, (a, b) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        found[i] = cosines[by_person[a][:, None], by_person[b]]
    return left, right, found


def _share(cosines: FloatArray, threshold: float) -> float:
    return float((cosines >= threshold).mean())


def several_pictures(photos: Photos) -> dict[str, list[float]]:
    """Return by how much more often a stranger passes a cosine of .4 by the best of several pictures, by group."""
    result: dict[str, list[float]] = {}
    for group, sex in GROUPS.items():
        part = photos.of(photos.of_sex(sex))
        shares = np.zeros((0, len(COUNTS)))
        for p in part.people.tolist():
            mine, others = np.flatnonzero(part.person == p), np.flatnonzero(part.person != p)
            if len(mine) >= max(COUNTS):
                passing = part.vectors[others] @ part.vectors[mine].T >= _COUNTED_AT
                shares = np.vstack([shares, [passing[:, :count].any(axis=1).mean() for count in COUNTS]])
        result[group] = (shares.mean(axis=0) / shares[:, 0].mean()).tolist() if len(shares) else []
    return result


def measure_controls(lfw: Path, embedder: FaceEmbedder, photos: Photos) -> dict[str, dict[str, float]]:
    """Return the closed set of WikiMEL with one photo each, faces fed in other ways."""
    chosen = {name for name, known in zip(photos.names, photos.in_wikimel, strict=True) if known}
    least = {p: photos.number[(photos.person == p) & (photos.number >= 2)] for p in photos.people.tolist()}
    second = {photos.names[p]: int(numbers.min()) for p, numbers in least.items() if len(numbers)}

    def wanted(name: str, number: int) -> bool:
        return name in chosen and name in second and number in (1, second[name])

    ways: dict[str, Callable[[Image.Image], FloatArray] | None] = {
        "aligned": None,
        "the face's box, not aligned": lambda image: _feed(embedder, _box_crop(embedder, image)),
        "the photo's middle, not aligned": lambda image: _feed(embedder, image.crop((50, 50, 200, 200))),
        "aligned, red and blue exchanged": lambda image: embedder.embed(
            Image.fromarray(np.ascontiguousarray(np.asarray(image)[:, :, ::-1]))
        ),
    }
    return {
        way: closed_set(read_photos(lfw, embedder, WORK, wanted=wanted, embed=embed, kind=f"-{i}" if embed else ""))[
            "WikiMEL, one photo each"
        ]
        for i, (way, embed) in enumerate(ways.items())
    }


def _feed(embedder: FaceEmbedder, part: Image.Image) -> FloatArray:
    """Return the vector of a cut-out as it is: its landmarks are taken to be where they should be."""
    return embedder.encoder.encode_faces(part.resize((SIDE, SIDE)), [Face(None, {}, landmarks=POINTS)])[0]


def _box_crop(embedder: FaceEmbedder, image: Image.Image) -> Image.Image:
    middle = np.array(image.size) / 2

    def distance(face: Face) -> float:
        assert face.box is not None
        return float(np.hypot((face.box[0] + face.box[2]) / 2 - middle[0], (face.box[1] + face.box[3]) / 2 - middle[1]))

    box = min(embedder.finder.find(image), key=distance).box
    assert box is not None
    x, y, half = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, max(box[2] - box[0], box[3] - box[1]) / 2
    return image.crop((round(x - half), round(y - half), round(x + half), round(y + half)))


def as_code(calibration: Calibration) -> str:
    """Return a calibration as it stands in vision/calibration.py; cosines are rounded up."""
    assert calibration.slope is not None
    assert calibration.intercept is not None

    def up(value: float) -> float:
        return math.ceil(value * 1e4) / 1e4

    tails = tuple(replace(t, cosines=tuple(map(up, t.cosines)), scale=up(t.scale)) for t in calibration.tails)
    return repr(Calibration(tails, round(calibration.slope, 2), round(calibration.intercept, 2), calibration.source))


def describe(result: dict[str, Any]) -> str:
    """Return the figures as markdown."""
    lines = [
        f"{result['photos']:,} photos of {result['people']:,} people; left out: {', '.join(result['left_out'])}.",
        "",
        "| gallery | people | photos | probes | R@1 | R@5 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    closed = {**result["closed"], **{f"control: {name}": part for name, part in result["controls"].items()}}
    lines += [
        f"| {name} | {part['people']} | {part['photos']:,} | {part['probes']} | {_percent(part['r@1'])} | "
        f"{_percent(part['r@5'])} |"
        for name, part in closed.items()
    ]
    lines += ["", "| pictures compared | " + " | ".join(f"{int(n):,}" for n in result["thresholds"]) + " |"]
    lines += ["|---|" + "---:|" * len(result["thresholds"])]
    lines += ["| threshold | " + " | ".join(f"{t:.3f}" for t in result["thresholds"].values()) + " |"]
    lines += ["", "Fitted on all people, measured on the same:", "", *_table(result["shipped"])]
    held = result["held_out"]
    lines += ["", f"Fitted on half of the people, measured on the other ({held['halves']} times):", ""]
    lines += _table(held["rows"])
    errors = ", ".join(f"{100 * error:.1f} % ({size})" for size, error in held["calibration_error"].items())
    lines += ["", f"Calibration error of probabilities there, by people in the gallery: {errors}.", ""]
    lines += ["| pairs of one sex that pass | threshold | strangers | same surname | most alike |"]
    lines += ["|---|---:|---:|---:|---|"]
    lines += [
        f"| for {row['pictures']} pictures | {row['threshold']:.3f} | {100 * row['strangers']:.3f} % | "
        f"{100 * row['same_surname']:.2f} % of {row['pairs']} | {', '.join(row['alike'])} |"
        for row in result["surnames"]
    ]
    lines += ["", f"How much more often a stranger passes {_COUNTED_AT} by the best of {COUNTS} pictures: "]
    lines[-1] += "; ".join(f"{group} {', '.join(f'{r:.1f}' for r in row)}" for group, row in result["counts"].items())
    return "\n".join([*lines, "", f"{result['machine']}; OpenCV {cv2.__version__}."])


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "| gallery | people | pictures | threshold | stranger passes: all | men | women | found: all | men | women |",
        "|---|" + "---:|" * 9,
    ]
    for row in rows:
        parts = [row[group] for group in ("all", *GROUPS)]
        false = " | ".join(
            f"{100 * part['false']:.2f} %" + (f" ({100 * part['worst']:.1f})" if "worst" in part else "")
            for part in parts
        )
        found = " | ".join(_percent(part["found"]) for part in parts)
        lines.append(
            f"| {row['gallery']} | {row['people']:,.0f} | {row['pictures']:,.0f} | {row['threshold']:.3f} | "
            f"{false} | {found} |"
        )
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


if __name__ == "__main__":
    main()
