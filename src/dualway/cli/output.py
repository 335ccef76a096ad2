"""What commands print: results on stdout (for people, or one JSON object), everything else on stderr."""

from __future__ import annotations

import json as jsonlib
import os
import re
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer

from dualway.errors import StorageError

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, for machines.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress and no notes.")]


_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BROKEN_PIPE = 141  # as a shell reports a program that SIGPIPE ended


class Output:
    """Where a command's words go.

    Args:
        json: Print results as JSON instead of text.
        quiet: Print neither notes nor progress.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json, self.quiet = json, quiet

    def note(self, text: str) -> None:
        """Print a remark for people on stderr."""
        if not self.quiet:
            print(printable(text), file=sys.stderr, flush=True)

    def show(self, text: str) -> None:
        """Print a result for people on stdout; nothing under --json."""
        if not self.json:
            _print(printable(text))

    def result(self, value: dict[str, Any]) -> None:
        """Print the machine's form of the result on stdout; nothing without --json."""
        if self.json:
            unicode = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"
            _print(jsonlib.dumps(value, ensure_ascii=not unicode))

    @contextmanager
    def progress(self, label: str, total: int | None = None) -> Generator[Progress]:
        """Yield a progress meter that prints to stderr: a live line on a terminal, a line every 10 s elsewhere."""
        meter = Progress(label, total, silent=self.quiet)
        try:
            yield meter
        finally:
            meter.close()


def printable(text: str) -> str:
    """Replace control characters: a caption or a name must not drive the terminal."""
    return _CONTROL.sub("\ufffd", text)


def _print(text: str) -> None:
    """Print to stdout.

    Raises:
        StorageError: It cannot be written.
        typer.Exit: Its reader has gone, as `head` does: nobody is left to be told.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        with suppress(OSError, ValueError):  # what is left in the buffer must not fail again when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(_BROKEN_PIPE) from error
        raise StorageError(f"standard output: cannot be written ({error.strerror}); free space or redirect") from error


class Progress:
    """A line on stderr: what is done, of how much, at which rate, how long it will take."""

    def __init__(self, label: str, total: int | None, *, silent: bool) -> None:
        self._label, self._total, self._silent = label, total, silent
        self._live = sys.stderr.isatty()
        self._done, self._note, self._start = 0, "", time.monotonic()
        self._base = 0  # what was done at the start
        self._printed = self._start

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Set how much is done so far (and of how much), with an optional remark such as the current loss."""
        now = time.monotonic()
        if done < self._done:  # other work has begun: its rate is its own, counted from here
            self._start, self._base = now, done
        self._done, self._total = done, total or self._total
        self._note = note or self._note
        if not self._silent and now - self._printed >= (0.2 if self._live else 10.0):
            self._printed = now
            self._print(end="" if self._live else "\n")

    def close(self) -> None:
        """Print the last state, when anything was done and it took longer than a second or is shown live."""
        if self._done and not self._silent and (self._live or time.monotonic() - self._start > 1.0):
            self._print(end="\n")

    def _print(self, end: str) -> None:
        elapsed = max(time.monotonic() - self._start, 1e-6)
        parts = [f"{self._label}: {self._done:,}"]
        if self._total:
            parts[0] += f" of {self._total:,} ({100 * self._done // self._total} %)"
        made = self._done - self._base
        if made or not self._base:
            parts.append(f"{made / elapsed:,.0f}/s")
        if self._total and made and self._done < self._total:
            parts.append(f"{(self._total - self._done) * elapsed / made:,.0f} s left")
        if self._note:
            parts.append(self._note)
        start = "\r\x1b[K" if self._live else ""
        print(start + ", ".join(parts), end=end, file=sys.stderr, flush=True)
