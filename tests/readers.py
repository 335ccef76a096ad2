"""Readers of pictures that misbehave as their pictures' names say, for processes that are started anew.

A name holds one of the words below. What a process writes down, it writes into the folder `notes` beside its work.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.stores import Colours

from dualway.config import FeatureConfig
from dualway.errors import ModelError, PictureError
from dualway.features.regions import PictureRegions
from dualway.features.seeing import PictureReader, Vectors
from dualway.features.seen import Seen
from dualway.features.workers import Recipe


class Misbehaving(PictureReader):
    """Reads pictures, and does what their names say; `load` loads it."""

    def __init__(self, notes: Path) -> None:
        super().__init__(FeatureConfig(), Colours())
        self.notes = notes

    def read(
        self, path: Path, known: PictureRegions, *, name: str = "", folders: Sequence[Path] | None = None
    ) -> tuple[Seen, Vectors]:
        """Return what is in a picture, if that is what its name says."""
        note(self.notes, f"read {path.name}")
        word = path.stem.partition("-")[0]
        if word == "once" and self.is_first(path):
            os.kill(os.getpid(), signal.SIGKILL)
        _WORDS.get(word, lambda: None)()
        return super().read(path, known, name=name, folders=folders)

    def is_first(self, path: Path) -> bool:
        """Tell whether the picture is read for the first time, by any process."""
        return sum(line == f"read {path.name}" for line in read_notes(self.notes)) == 1


class DiesWriting(Misbehaving):
    """Reads pictures, and dies when they are to be written; `load_dying_late` loads it."""

    @property
    def face_dim(self) -> int | None:
        """Width of faces' vectors, which is asked for when a shard is put together."""
        os.kill(os.getpid(), signal.SIGKILL)
        return None


def load(recipe: Recipe) -> PictureReader:
    """Return a reader that does what names say."""
    return _started(Misbehaving(notes_of(recipe)))


def load_dying_late(recipe: Recipe) -> PictureReader:
    """Return a reader that dies when a shard is to be written."""
    return _started(DiesWriting(notes_of(recipe)))


def load_dying(recipe: Recipe) -> PictureReader:
    """Die."""
    note(notes_of(recipe), f"start {os.getpid()}")
    os._exit(9)


def load_failing(recipe: Recipe) -> PictureReader:
    """Fail as a model does that is not there."""
    raise ModelError("m.onnx: no such file")


def notes_of(recipe: Recipe) -> Path:
    """Return the folder in which processes write down what they do."""
    return recipe.work.parent / "notes"


def note(notes: Path, line: str) -> None:
    """Write a line down."""
    notes.mkdir(exist_ok=True)
    with (notes / "notes.txt").open("a") as file:
        file.write(line + "\n")


def read_notes(notes: Path) -> list[str]:
    """Return what has been written down so far."""
    path = notes / "notes.txt"
    return path.read_text().splitlines() if path.exists() else []


def _started(reader: Misbehaving) -> Misbehaving:
    note(reader.notes, f"start {os.getpid()}")
    return reader


def _hang() -> None:
    time.sleep(600)


def _fill_memory() -> None:
    raise MemoryError


def _lose() -> None:
    raise PictureError("not a picture")


def _fail_model() -> None:
    raise ModelError("m.onnx: cannot be run")


def _fault() -> None:
    print("here it is", file=sys.stderr)
    raise ZeroDivisionError("a fault of ours")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


_WORDS = {
    "bomb": _die,
    "hangs": _hang,
    "large": _fill_memory,
    "lost": _lose,
    "model": _fail_model,
    "fault": _fault,
    "slow": lambda: time.sleep(0.3),
}
