"""Processes that turn blocks of a dump into rows, whose results come in the order of the blocks.

A process is started anew (spawned) and loads little. It has one block in hand and the next one beside it, so that it
need not wait for its parent, and no more, so that memory stays what it is. It ends by itself when its parent is gone;
when it dies, the work ends with an error, and goes on where it was when it is given again.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from typing import Any, TypeVar

from dualway.errors import DualwayError, StorageError

MAX_WORKERS = 4
_IN_HAND = 2  # tasks of a process: the one that it works on, and the next
_LOOK_S = 0.5
_END_S = 5.0

Setting = TypeVar("Setting")
Work = Callable[[bytes], bytes]  # a task -> its result, both packed


def choose_workers(wanted: int | None) -> int:
    """Return how many processes to use: as many as wanted, else one for each processor up to `MAX_WORKERS`."""
    return min(len(os.sched_getaffinity(0)), MAX_WORKERS) if wanted is None else wanted


def in_order(
    tasks: Iterable[bytes], make: Callable[[Setting], Work], setting: Setting, workers: int
) -> Generator[bytes]:
    """Yield the result of each task, in the order of the tasks.

    Args:
        tasks: Taken as results are asked for, a few ahead.
        make: A function of a module, called once in each process: `setting` -> what does a task.
        setting: Sent to each process once.
        workers: Number of processes; 0: none, all is done in this one.

    Raises:
        DualwayError: What a process raised.
        StorageError: A process died.
        RuntimeError: A fault in a process; its traceback is on stderr.
    """
    if workers == 0:
        yield from map(make(setting), tasks)
        return
    pool = [_start(make, setting) for _ in range(workers)]
    try:
        yield from _results(pool, iter(tasks))
    finally:
        for worker in pool:
            worker.process.kill()
        for worker in pool:
            worker.process.join(_END_S)
            worker.connection.close()


@dataclass
class _Worker:
    process: Any
    connection: Connection
    in_hand: deque[int] = field(default_factory=deque[int])  # numbers of its tasks, in their order


def _start(make: Callable[[Setting], Work], setting: Setting) -> _Worker:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make, setting), daemon=True)
    # Ctrl-C goes to every process of a terminal; this one alone is to hear it, from the child's first moment on.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    there.close()
    return _Worker(process, here)


def _results(pool: list[_Worker], tasks: Iterable[bytes]) -> Generator[bytes]:
    numbered = iter(enumerate(tasks))
    results: dict[int, bytes] = {}
    next_result, given, is_end = 0, 0, False
    while True:
        # A process that is far ahead of the others waits: what is kept for its turn stays little.
        while not is_end and given - next_result < len(pool) * (_IN_HAND + 1):
            worker = min(pool, key=lambda worker: len(worker.in_hand))
            if len(worker.in_hand) == _IN_HAND:
                break
            task = next(numbered, None)
            if task is None:
                is_end = True
                break
            worker.in_hand.append(task[0])
            given += 1
            _send(worker, task[1])
        if is_end and next_result == given:
            return
        _receive(pool, results, _LOOK_S if next_result not in results else 0)
        if next_result in results:
            yield results.pop(next_result)
            next_result += 1


def _send(worker: _Worker, task: bytes) -> None:
    try:
        worker.connection.send(task)
    except OSError as error:
        raise _death(worker) from error


def _receive(pool: list[_Worker], results: dict[int, bytes], timeout: float) -> None:
    by_connection = {worker.connection: worker for worker in pool if worker.in_hand}
    for ready in wait(list(by_connection), timeout=timeout):
        worker = by_connection[ready]  # pyright: ignore[reportArgumentType] - only connections were waited for
        try:
            result = worker.connection.recv()
        except (EOFError, OSError) as error:
            raise _death(worker) from error
        if isinstance(result, Exception):
            raise result
        results[worker.in_hand.popleft()] = result


def _death(worker: _Worker) -> StorageError:
    worker.process.join(_END_S)
    return StorageError(
        f"a process that reads the dump died (exit code {worker.process.exitcode}): too little memory, most likely. "
        "What was read is kept: give the same command again, with fewer --workers where it dies again"
    )


def _serve(connection: Connection, make: Callable[[Setting], Work], setting: Setting) -> None:
    """Do the tasks that come, until the parent is gone or ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Blocks become many small objects and none in circles: looking for circles took a tenth of the time.
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    try:
        work = make(setting)
        # A thread takes tasks in as they come: the parent never waits to give one while this waits to hand one over.
        tasks: SimpleQueue[bytes] = SimpleQueue()
        threading.Thread(target=_take, args=(connection, tasks), daemon=True).start()
        while True:
            connection.send(work(tasks.get()))
    except (BrokenPipeError, ConnectionResetError, MemoryError):
        os._exit(1)
    except DualwayError as error:
        with suppress(OSError):
            connection.send(error)
    except Exception as error:
        traceback.print_exc()
        with suppress(OSError):
            connection.send(RuntimeError(f"a process that reads a dump failed: {error!r}"))


def _take(connection: Connection, tasks: SimpleQueue[bytes]) -> None:
    try:
        while True:
            tasks.put(connection.recv())
    except (EOFError, OSError):
        os._exit(1)  # the parent is gone


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
