"""Rankings of every mention as JSON Lines: written while the evaluation runs, whole or not at all, and read back.

One line a mention, system, protocol and run (several seeds of one system are runs 0, 1, ..):
`{"id", "system", "protocol", "run", "gold", "rank", "candidates": [[entity id, score], ..]}`. `rank` is gold's under
the protocol's tie rule, null for a miss; at most 100 candidates, best first, equal scores in the order of the
knowledge base. Gold is in the file so that errors can be read; it is not part of what a system saw.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from dualway.errors import DataError
from dualway.schema import IntArray
from dualway.storage import atomic_path, read_jsonl

NUM_KEPT = 100


class Prediction(NamedTuple):
    """One ranked mention; `rank` is None when gold was not among the candidates."""

    id: str
    system: str
    protocol: str
    run: int
    gold: str
    rank: float | None
    candidates: tuple[tuple[str, float], ...]


class PredictionWriter:
    """Appends predictions to an open file."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, prediction: Prediction) -> None:
        """Write one line."""
        self._file.write(json.dumps(prediction._asdict(), ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def prediction_writer(path: Path) -> Generator[PredictionWriter]:
    """Yield a writer; `path` appears when the block ends without an error.

    Raises:
        StorageError: Disk full, read-only folder, no permission.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield PredictionWriter(file)


def read_predictions(path: Path) -> Iterator[Prediction]:
    """Yield the predictions of a file in constant memory but for the keys that tell duplicates.

    Raises:
        DataError: The file is missing or broken, a key is missing or of the wrong type, a score is not finite, a
            candidate or a whole line comes twice; names file and line.
    """
    seen: set[tuple[str, str, str, int]] = set()
    for line, value in read_jsonl(path):
        try:
            prediction = _parse(value)
        except ValueError as error:
            raise DataError(str(error), path=path, line=line) from error
        key = (prediction.system, prediction.protocol, prediction.id, prediction.run)
        if key in seen:
            raise DataError("this mention was ranked before by the same run", path=path, line=line, id=prediction.id)
        seen.add(key)
        yield prediction


def rank_candidates(
    scores: NDArray[Any], rows: IntArray | None, ids: Sequence[str], *, limit: int = NUM_KEPT
) -> tuple[tuple[str, float], ...]:
    """Return the best candidates as (entity id, score), best first, equal scores by row in the knowledge base.

    Args:
        scores: [k], finite.
        rows: int64 [k], row of each candidate; None when candidate i is row i (full-kb).
        ids: Entity ids by row.
        limit: How many to keep.
    """
    kept = np.arange(len(scores))
    if 0 < limit < len(scores):
        least = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        kept = np.flatnonzero(scores >= least)
    of_row = kept if rows is None else rows[kept]
    values = scores[kept].astype(np.float64)
    order = np.lexsort((of_row, -values))[:limit]
    shown = values[order].tolist()
    if scores.dtype.itemsize <= 4:
        shown = [float(f"{value:.9g}") for value in shown]  # nine digits tell any two float32 apart
    best: list[int] = of_row[order].tolist()
    return tuple((ids[row], value) for row, value in zip(best, shown, strict=True))


def _parse(value: Any) -> Prediction:
    if not isinstance(value, dict):
        raise ValueError("expected an object with id, system, protocol, run, gold, rank, candidates")
    fields = cast("dict[str, Any]", value)
    for name in ("id", "system", "protocol", "gold"):
        if not isinstance(fields.get(name), str):
            raise ValueError(f"{name!r} must be a text, got {fields.get(name)!r}")
    run, rank = fields.get("run", 0), fields.get("rank")
    if not isinstance(run, int) or isinstance(run, bool) or run < 0:
        raise ValueError(f"'run' must be a number from 0, got {run!r}")
    if rank is not None and not (_is_number(rank) and rank >= 1):
        raise ValueError(f"'rank' must be a number from 1, or null for a miss, got {rank!r}")
    candidates = _parse_candidates(fields.get("candidates"))
    rank = None if rank is None else float(rank)
    return Prediction(fields["id"], fields["system"], fields["protocol"], run, fields["gold"], rank, candidates)


def _parse_candidates(value: Any) -> tuple[tuple[str, float], ...]:
    if not isinstance(value, list):
        raise ValueError("'candidates' must be a list of [entity id, score]")
    parsed: dict[str, float] = {}
    for pair in cast("list[Any]", value):
        if not isinstance(pair, list) or len(cast("list[Any]", pair)) != 2:
            raise ValueError(f"a candidate must be [entity id, score], got {pair!r}")
        entity, score = cast("list[Any]", pair)
        if not isinstance(entity, str) or not _is_number(score):
            raise ValueError(f"a candidate must be [entity id, finite score], got {pair!r}")
        if entity in parsed:
            raise ValueError(f"candidate {entity!r} comes twice")
        parsed[entity] = float(score)
    return tuple(parsed.items())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
