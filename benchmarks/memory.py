"""How much memory a process and all that it starts hold together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

_LOOK_S = 0.1


class MemoryWatch:
    """Watches a process and those that it starts until it is stopped; pages that they share count once (PSS).

    Attributes:
        at_peak: Bytes of each process when all together held most, the first process first.
    """

    def __init__(self, pid: int) -> None:
        self.at_peak = list[int]()
        self._pid, self._ended = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    @property
    def peak(self) -> int:
        """Most bytes of all together."""
        return sum(self.at_peak)

    def stop(self) -> None:
        """Stop watching."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self.at_peak = max(self.at_peak, [_held(pid) for pid in family(self._pid)], key=sum)


def family(pid: int) -> Iterator[int]:
    """Yield the ids of a process and of those that it has started, and they."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return
    for child in children:
        yield from family(int(child))


def _held(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
