"""Processes that make shards. One that dies costs its shard in hand, and tells which picture it died on.

A process is started anew (spawned), loads the models itself and takes one shard after the other. When a picture brings
it down (a decoder that crashes, memory, a picture that takes minutes), its shard is given out again; a picture that
does so twice is left out and named. Any other fault ends the work as it would in one process. A process ends by itself
when its parent is gone, in the middle of a picture too.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from dualway.config import EncoderConfig, FeatureConfig
from dualway.errors import DualwayError, ModelError
from dualway.features.seeing import PictureReader
from dualway.features.shards import OnError, Shard, make_shard, read_shard

PICTURE_S = 300.0  # a picture that takes longer has brought its process down
MAX_WORKERS, WORTHWHILE = 8, 500  # processes, each with its models in memory; pictures that repay their start
# Of glibc's mallopt: blocks of this size are the system's, not the heap's; so much may stay free at the heap's end.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1
_DEATHS = 3  # of processes in a row, none of them on a picture


@dataclass(frozen=True)
class Recipe:
    """What a process needs to make shards as any other would.

    Attributes:
        encoders, features: The settings.
        fingerprints: Of the models that they name, so that a model changed in between is not used unnoticed.
        work: The folder of finished shards.
        on_error: See `make_shard`.
    """

    encoders: EncoderConfig
    features: FeatureConfig
    fingerprints: dict[str, str]
    work: Path
    on_error: OnError


def choose_workers(wanted: int | None, num_pictures: int) -> int:
    """Return how many processes to use: as many as wanted, else one a processor once there is enough to read.

    `num_pictures` are those of the data, not those that remain: work that was killed goes on as it began. A process of
    its own uses one thread, and another number of threads may change the last bits of a vector.
    """
    if wanted is not None:
        return wanted if num_pictures else 0
    return min(len(os.sched_getaffinity(0)), MAX_WORKERS) if num_pictures >= WORTHWHILE else 0


def make_shards(
    shards: Sequence[Shard],
    recipe: Recipe,
    workers: int,
    finished: Callable[[Shard], None],
    *,
    progress: Callable[[int], None] = lambda _: None,
    picture_s: float = PICTURE_S,
    load: Callable[[Recipe], PictureReader] | None = None,
) -> None:
    """Make shards in several processes.

    Args:
        shards: What to make.
        recipe: How.
        workers: Number of processes.
        finished: Called with each shard once it is committed, in any order.
        progress: Called with the number of pictures read so far.
        picture_s: Longest time for one picture.
        load: Loads the models in each process, a function of a module; by default, those that `recipe` names.

    Raises:
        DualwayError: What a process raised: a model, the disk, a picture under "stop".
        ModelError: Processes die, and not on a picture.
        RuntimeError: A fault in a process; its traceback is on stderr.
    """
    pool = _Pool(list(shards), recipe, picture_s, load or load_models)
    try:
        for _ in range(min(workers, len(shards))):
            pool.start()
        while pool.working:
            for shard in pool.step():
                finished(shard)
            progress(pool.pictures())
    finally:
        pool.stop()


def load_models(recipe: Recipe) -> PictureReader:
    """Load the models that a recipe names, to run in one thread.

    Raises:
        ModelError: One cannot be loaded, or is not the one that the parent has.
    """
    import cv2
    import torch

    from dualway.features.models import load_reader

    torch.set_num_threads(1)  # the processes share the machine
    cv2.setNumThreads(1)
    _return_large_blocks()
    reader = load_reader(recipe.encoders, recipe.features)
    if reader.fingerprints() != recipe.fingerprints:
        raise ModelError("a model's files have changed while features are made; give the same command again")
    return reader


def _return_large_blocks() -> None:
    """Have glibc give a large picture's memory back as it is freed; it would keep 100 MB and more of it."""
    with suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 2**22)
        # Who sets the first has 128 kB of the second: memory went to and fro for every crop, a tenth of all time.
        library.mallopt(_M_TRIM_THRESHOLD, 2**25)


@dataclass
class _Worker:
    process: Any
    connection: Connection
    shard: Shard | None = None
    place: int = -1  # of the picture in hand
    since: float = field(default_factory=time.monotonic)


class _Pool:
    def __init__(
        self, waiting: list[Shard], recipe: Recipe, picture_s: float, load: Callable[[Recipe], PictureReader]
    ) -> None:
        self.waiting, self.recipe, self.picture_s, self.load = waiting[::-1], recipe, picture_s, load
        self.working: list[_Worker] = []
        self.blamed: Counter[tuple[str, int]] = Counter()  # (shard, place) -> deaths on it
        self.deaths = 0  # in a row, on no picture
        self.done = 0

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, self.recipe, self.load), daemon=True)
        # Ctrl-C goes to every process of a terminal; this one alone is to hear it, from the child's first moment on.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        there.close()
        self.working.append(_Worker(process, here))

    def step(self) -> list[Shard]:
        """Wait for news from the processes, and return the shards that were finished."""
        by_connection = {worker.connection: worker for worker in self.working}
        finished: list[Shard] = []
        for ready in wait(list(by_connection), timeout=0.5):
            worker = by_connection[ready]  # pyright: ignore[reportArgumentType] - only connections were waited for
            messages, alive = _receive(worker.connection)
            for message in messages:
                finished += self._hear(worker, *message)
            if not alive and worker in self.working:
                finished += self._bury(worker)
        for worker in list(self.working):
            if worker.shard is not None and time.monotonic() - worker.since > self.picture_s:
                worker.process.kill()
                finished += self._bury(worker)
        return finished

    def _hear(self, worker: _Worker, what: str, value: Any) -> list[Shard]:
        worker.since = time.monotonic()
        if what == "at":
            worker.place = value
            return []
        if what == "error":
            raise value
        done = self._finish(worker)
        self._give(worker)
        return done

    def _finish(self, worker: _Worker) -> list[Shard]:
        """Return the shard that a process has made, none before its first."""
        done = [] if worker.shard is None else [worker.shard]
        worker.shard = None
        self.done += sum(len(shard.sources) for shard in done)
        self.deaths = 0 if done else self.deaths
        return done

    def _give(self, worker: _Worker) -> None:
        """Give a process its next shard, or let it go."""
        worker.shard, worker.place = (self.waiting.pop(), -1) if self.waiting else (None, -1)
        if worker.shard is None:
            self.working.remove(worker)
            self._dismiss(worker)
            return
        name = worker.shard.name
        crashed = frozenset(place for (shard, place), times in self.blamed.items() if shard == name and times > 1)
        with suppress(OSError):  # a process that has died is buried when its end of the line is found closed
            worker.connection.send((worker.shard, crashed))

    def _bury(self, worker: _Worker) -> list[Shard]:
        """Put the shard of a process that died back, blame the picture in hand, and start another process.

        Returns the shard if it is finished all the same: the process died between its commit and its report.
        """
        self.working.remove(worker)
        self._dismiss(worker)
        shard, place = worker.shard, worker.place
        if shard is not None and read_shard(self.recipe.work / shard.name) is not None:
            done = self._finish(worker)
        else:
            self._blame(worker.process.exitcode, shard, place)
            done = []
            self.waiting += [] if shard is None else [shard]
        if self.waiting:
            self.start()
        return done

    def _blame(self, exitcode: int | None, shard: Shard | None, place: int) -> None:
        if shard is not None and 0 <= place < len(shard.sources):
            self.blamed[shard.name, place] += 1
            return
        self.deaths += 1
        if self.deaths >= _DEATHS:
            raise ModelError(
                f"processes that read pictures die before or after that (exit code {exitcode}): too little memory for "
                "the models or for a shard, most likely; use --workers 1, or 0 for none, and a smaller --shard-size"
            )

    def _dismiss(self, worker: _Worker) -> None:
        with suppress(OSError):
            worker.connection.send(None)
        worker.connection.close()
        worker.process.join(5)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()

    def pictures(self) -> int:
        """Return how many pictures have been read, those of shards in hand among them."""
        return self.done + sum(max(worker.place, 0) for worker in self.working)

    def stop(self) -> None:
        """End all processes; what they have in hand is lost."""
        for worker in self.working:
            worker.process.kill()
        for worker in self.working:
            worker.process.join()
            worker.connection.close()
        self.working.clear()


def _receive(connection: Connection) -> tuple[list[tuple[str, Any]], bool]:
    """Return what a process has sent, and whether its end of the line is still open."""
    messages: list[tuple[str, Any]] = []
    try:
        while connection.poll():
            messages.append(connection.recv())
    except (EOFError, OSError):
        return messages, False
    return messages, True


def _work(connection: Connection, recipe: Recipe, load: Callable[[Recipe], PictureReader]) -> None:
    """Make the shards that come, until none comes or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _serve(connection, recipe, load)
    except (EOFError, BrokenPipeError, ConnectionResetError, MemoryError):
        os._exit(1)  # the parent is gone, or the picture in hand takes too much
    except DualwayError as error:
        with suppress(OSError):
            connection.send(("error", error))
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        with suppress(OSError):
            connection.send(("error", RuntimeError(f"a process that reads pictures failed: {error!r}")))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _serve(connection: Connection, recipe: Recipe, load: Callable[[Recipe], PictureReader]) -> None:
    reader = load(recipe)
    connection.send(("ready", None))
    while (task := connection.recv()) is not None:
        shard, crashed = task
        make_shard(
            reader,
            shard,
            recipe.work,
            on_error=recipe.on_error,
            crashed=crashed,
            at=lambda place: connection.send(("at", place)),
        )
        connection.send(("ready", None))
