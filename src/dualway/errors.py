"""Every error that dualway raises on purpose, as one tree.

DualwayError                  anything below; its `exit_code` is the command line's exit code
├── UsageError                the call is wrong: an unknown preset, an impossible combination of options (exit 2)
├── DataError                 a data set or another input file is wrong; names file, line or id (exit 3)
│   └── PictureError          a picture cannot be used; names the path
├── KnowledgeBaseError        a knowledge base is missing, damaged or empty (exit 4)
│   └── CompatibilityError    a run and a knowledge base do not fit together (exit 4)
├── ModelError                an encoder or a checkpoint cannot be loaded (exit 5)
├── ScoreError                a system produced a score that cannot be ranked; names the mention (exit 6)
├── StorageError              the disk is full, the folder is read-only (exit 7)
└── DownloadError             no network, or a file of a host that is not what it should be (exit 8)

A message names the value, the place (file and line, or id) and the remedy.
"""

from __future__ import annotations

from pathlib import Path


class DualwayError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class UsageError(DualwayError):
    """The call itself is wrong: unknown name, impossible combination, value out of range."""

    exit_code = 2


class DataError(DualwayError):
    """An input file is broken; the message starts with its place.

    Args:
        problem: What is wrong, and the remedy.
        path: The file, when there is one.
        line: 1-based line of the file, when known.
        id: The sample, mention or entity concerned, when known.
    """

    exit_code = 3

    def __init__(
        self, problem: str, *, path: Path | str | None = None, line: int | None = None, id: str | None = None
    ) -> None:
        self.problem, self.path, self.line, self.id = problem, path, line, id
        place = f"{path}" if path is not None else ""
        if line is not None:
            place += f", line {line}"
        if id is not None:
            place += f"{', ' if place else ''}id {id!r}"
        super().__init__(f"{place}: {problem}" if place else problem)


class PictureError(DataError):
    """A picture is missing, broken, too large or not a picture."""


class KnowledgeBaseError(DualwayError):
    """A knowledge base is missing, damaged, empty or does not hold what was asked for."""

    exit_code = 4


class CompatibilityError(KnowledgeBaseError):
    """A run and a knowledge base do not fit: schema, encoder or kind of representation differ."""


class ModelError(DualwayError):
    """An encoder, model or checkpoint cannot be loaded or does not fit its configuration."""

    exit_code = 5


class ScoreError(DualwayError):
    """A score is not finite or a vector is zero, so no honest rank exists."""

    exit_code = 6


class StorageError(DualwayError):
    """Writing failed: disk full, read-only folder, or no permission."""

    exit_code = 7


class DownloadError(DualwayError):
    """A download failed, or what came is not what was asked for; the message ends with the way without a network.

    Args:
        problem: What is wrong.
        name: What was to be downloaded.
        place: Where its files can be put by hand.
    """

    exit_code = 8

    def __init__(self, problem: str, *, name: str = "", place: Path | str | None = None) -> None:
        self.problem = problem
        by_hand = "get the files by hand" if place is None else f"get the files by hand, into {place}"
        super().__init__(f"{name}{': ' if name else ''}{problem}; {by_hand} (docs/downloads.md)")
