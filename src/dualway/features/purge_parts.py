"""What becomes of a split of a feature store when faces or people are removed from it: a new folder beside the old one.

Files that stay as they are are linked where the file system can, so that millions of vectors need not be copied.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dualway.config import FeatureConfig
from dualway.errors import DataError
from dualway.features.manifest import Origin, SplitRecord, damaged, split_content
from dualway.features.npy import read_array, write_array
from dualway.features.seen import label_from, label_record
from dualway.features.tables import FACES, REGIONS, Records, seen_line
from dualway.features.writing import FAILURES, IDENTITIES, RECORD
from dualway.schema import IdentityLabel, IntArray
from dualway.storage import read_jsonl, write_json

_ROWS = "identities"  # the arrays of s by the gallery
# Arrays, by the part of their name before the dot, that hold what was read from faces or says who somebody is.
_OF_FACES = {"faces", "face_object", FACES, "labels", _ROWS}


def count_faces(folder: Path, record: SplitRecord) -> Counter[str]:
    """Return how much a split holds of faces and of who somebody is."""
    counts: Counter[str] = Counter()
    for seen in Records(folder / REGIONS):
        counts["faces"] += len(seen.faces)
        counts["attributes"] += sum(len(face.attributes) for face in seen.faces)
        counts["labels"] += len(seen.labels)
    counts["face_vectors"] = _num_rows(record, FACES)
    counts["face_sentences"] = _num_rows(record, "faces")
    counts["identity_sentences"] = _num_rows(record, _ROWS)
    counts["identities"] = sum(len(labels) for _, labels in _lines(folder))
    return counts


def holds_faces(folder: Path, record: SplitRecord, counts: Counter[str]) -> bool:
    """Tell whether a split has to be written anew to be without faces; arrays of no rows count too."""
    arrays = any(_part(name) in _OF_FACES for name in record.arrays)
    return arrays or bool(record.attributes) or counts.total() > 0 or (folder / IDENTITIES).exists()


def without_faces(folder: Path, record: SplitRecord, origin: Origin, place: Path) -> SplitRecord:
    """Write a split without faces, and without whom anything took somebody for, into `place`; return its record.

    Args:
        folder: The split.
        record: What the manifest says of it.
        origin: What it is said to be made with from then on.
        place: A new folder.
    """
    arrays = {name: shape for name, shape in record.arrays.items() if _part(name) not in _OF_FACES}
    _carry(folder, place, [*(f"{name}.npy" for name in arrays), FAILURES])
    with (place / REGIONS).open("wb") as file:
        for seen in Records(folder / REGIONS):
            file.write(seen_line(replace(seen, faces=(), labels=())))
    return _finish(place, replace(record, arrays=arrays, attributes=()), origin)


class Choice(NamedTuple):
    """What of a split's identities is removed with some entities.

    lines: Those of identities.jsonl that stay.
    rows: bool [N], which of the vectors of identities stay.
    offsets: int64 [n + 1], of what stays.
    removed: How much goes: "identities", "identity_sentences", "mentions", and "others", who go with a joined sentence.
    found: The entities that were there.
    """

    lines: list[str]
    rows: NDArray[np.bool_]
    offsets: IntArray
    removed: Counter[str]
    found: Set[str]


def choose_identities(folder: Path, record: SplitRecord, config: FeatureConfig, entities: Set[str]) -> Choice:
    """Return which identities of a split stay when some entities go.

    A mention's vectors are those of its labels above the threshold, in their order, or one for all of them together
    (`features.identity_keys=joined`). The latter cannot be made anew without the text encoder, so it goes as a whole,
    and with it the mention's other identities.

    Raises:
        DataError: The labels are not those of the vectors.
    """
    offsets = _offsets(folder, record)
    counts, removed, found = np.diff(offsets), Counter[str](), set[str]()
    rows, lines = np.ones(int(offsets[-1]), dtype=np.bool_), list[str]()
    starts = iter(offsets[:-1][counts > 0].tolist())
    filled = iter(counts[counts > 0].tolist())
    joined = config.identity_keys == "joined"
    for mention, labels in _lines(folder):
        used = [label.score > config.identity_threshold for label in labels]
        gone = [label.entity_id in entities for label in labels]
        start, number = (next(starts, -1), min(sum(used), 1) if joined else sum(used)) if any(used) else (0, 0)
        if number and next(filled, -1) != number:
            raise damaged(folder / IDENTITIES, "its labels are not those of identities.values.npy")
        rest = [label for label, goes in zip(labels, gone, strict=True) if not goes]
        if joined and any(use and goes for use, goes in zip(used, gone, strict=True)):
            rows[start], removed["others"], rest = False, removed["others"] + len(rest), []
        elif not joined:
            rows[start : start + number] = [not goes for use, goes in zip(used, gone, strict=True) if use]
        found |= {str(label.entity_id) for label, goes in zip(labels, gone, strict=True) if goes}
        removed += Counter(identities=sum(gone), mentions=int(any(gone)))
        if rest:
            lines.append(_line(mention, rest))
    if next(filled, None) is not None:
        raise damaged(folder / IDENTITIES, "it lacks labels of identities.values.npy")
    removed["identity_sentences"] = int((~rows).sum())
    ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(rows, dtype=np.int64)])
    return Choice(lines, rows, ends[offsets], removed, found)


def without_entities(folder: Path, record: SplitRecord, origin: Origin, choice: Choice, place: Path) -> SplitRecord:
    """Write a split with the identities that stay into `place`; return its record."""
    arrays = dict(record.arrays)
    mine = {name for name in arrays if _part(name) == _ROWS}
    _carry(folder, place, [*(f"{name}.npy" for name in arrays if name not in mine), FAILURES, REGIONS])
    (place / IDENTITIES).write_text("".join(f"{line}\n" for line in choice.lines), encoding="utf-8")
    if mine:
        values = read_array(folder / f"{_ROWS}.values.npy", arrays[f"{_ROWS}.values"])[choice.rows]
        for name, array in ((f"{_ROWS}.values", values), (f"{_ROWS}.offsets", choice.offsets)):
            arrays[name] = write_array(place / f"{name}.npy", array, origin.dtype, name=name)
    return _finish(place, replace(record, arrays=arrays), origin)


def _finish(place: Path, record: SplitRecord, origin: Origin) -> SplitRecord:
    write_json(place / RECORD, {**split_content(record), "origin": origin.digest()})
    for path in place.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return record


def _carry(folder: Path, place: Path, names: Iterable[str]) -> None:
    """Have files in a new folder too.

    Raises:
        DataError: One is missing.
    """
    for name in names:
        source, target = folder / name, place / name
        try:
            try:
                os.link(source, target)
            except FileNotFoundError:
                raise
            except OSError:  # a file system without links, or a file that another user owns
                shutil.copyfile(source, target)
        except FileNotFoundError as error:
            raise damaged(source, "no such file") from error


def _lines(folder: Path) -> Iterator[tuple[str, list[IdentityLabel]]]:
    """Yield the id and the identities of each mention that has any.

    Raises:
        DataError: The file is damaged.
    """
    path = folder / IDENTITIES
    if not path.is_file():
        return
    for number, record in read_jsonl(path):
        try:
            yield str(record["mention"]), [label_from(item) for item in record["identities"]]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"no mention's identities ({error})", path=path, line=number) from error


def _line(mention: str, labels: list[IdentityLabel]) -> str:
    content: dict[str, Any] = {"mention": mention, "identities": [label_record(label) for label in labels]}
    return json.dumps(content)


def _offsets(folder: Path, record: SplitRecord) -> IntArray:
    """Return where each mention's vectors begin, int64 [n + 1]; all 0 where there are none."""
    name = f"{_ROWS}.offsets"
    if name not in record.arrays:
        return np.zeros(record.mentions + 1, dtype=np.int64)
    offsets = read_array(folder / f"{name}.npy", record.arrays[name])
    whole = offsets.shape == (record.mentions + 1,) and offsets[0] == 0 and offsets[-1] == _num_rows(record, _ROWS)
    if not whole or bool((np.diff(offsets) < 0).any()):
        raise damaged(folder / f"{name}.npy", f"expected offsets of {record.mentions} lists")
    return offsets.astype(np.int64)


def _num_rows(record: SplitRecord, name: str) -> int:
    return record.arrays.get(f"{name}.values", ("", (0,)))[1][0]


def _part(name: str) -> str:
    return name.partition(".")[0]
