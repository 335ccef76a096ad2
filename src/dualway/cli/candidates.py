"""The option `--candidates`, which `train`, `evaluate` and `link` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dualway.cli.output import Output
    from dualway.datasets.candidate_files import CandidateFile


def open_candidates(path: Path | None, by_gold: bool, output: Output) -> CandidateFile | None:
    """Return the candidate file of the call, None without one.

    Raises:
        UsageError: `--candidates-by-gold` without a file.
        DataError: The file cannot be read as candidates.
    """
    from dualway.datasets.candidate_files import read_candidate_file
    from dualway.errors import UsageError

    if path is None:
        if by_gold:
            raise UsageError("--candidates-by-gold goes with --candidates FILE")
        return None
    found = read_candidate_file(path)
    for line in found.report.remarks():
        output.note(line)
    return found
