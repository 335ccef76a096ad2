"""The index of names of a knowledge base, kept in its folder so that it need not be built each time it is opened."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path

from dualway.candidates.name_segments import Named, blocks
from dualway.candidates.name_store import SegmentFile, write_block, write_list
from dualway.candidates.names import NameIndex
from dualway.kb.changes import changing, only_writer
from dualway.kb.store import KnowledgeBase

FOLDER = "names"

_PAGE = 20_000  # entities read at once
_WAITING = 4  # blocks that are being built, at most
_MANY = 200_000  # entities from which a second process is worth its start


def open_names(kb: KnowledgeBase) -> NameIndex:
    """Return the index of a knowledge base's names: what its folder keeps, and what that lacks indexed now."""
    folder = kb.path / FOLDER
    return NameIndex.of_kb(kb, folder if folder.is_dir() else None)


def index_names(
    path: Path | str, *, processes: int | None = None, progress: Callable[[int], None] | None = None
) -> int:
    """Build and keep the index of a knowledge base's names in constant memory; return how many names are in it.

    Args:
        path: The knowledge base's folder.
        processes: That build it; by default one, and two for a large knowledge base.
        progress: Called now and then with the number of entities indexed so far.

    Raises:
        KnowledgeBaseError: It cannot be read.
        StorageError: It cannot be written, or another process is changing the knowledge base.
    """
    folder = Path(path)
    with only_writer(folder), KnowledgeBase.open(folder) as kb:
        state = kb.fingerprint.content
        num = processes or (2 if len(kb) >= _MANY else 1)
        parts = _blocks(kb, progress)
        if num == 1:
            files = [write_block(folder / FOLDER, block, kb.revision, state) for block in parts]
        else:
            files = _in_processes(folder / FOLDER, parts, kb.revision, state, num)
        write_list(folder / FOLDER, files)
    return sum(file.num_strings for file in files)


def optimise(path: Path | str, *, forget_history: bool = False) -> tuple[int, int]:
    """Write the files of a knowledge base and its index of names anew, without gaps; return bytes before and after.

    Args:
        path: The knowledge base's folder.
        forget_history: Also erase what records were in earlier revisions.
    """
    folder = Path(path)
    before = _size(folder)
    with changing(folder) as change:
        change.describe("optimised, history forgotten" if forget_history else "optimised")
        change.rewrite()
        if forget_history:
            change.forget_history()
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    index_names(folder)
    return before, _size(folder)


def _blocks(kb: KnowledgeBase, progress: Callable[[int], None] | None) -> Iterator[list[Named]]:
    num_done = 0
    for block in blocks(_named(kb)):
        yield block
        num_done += len(block)
        if progress is not None:
            progress(num_done)


def _named(kb: KnowledgeBase) -> Iterator[Named]:
    """Yield (key, name, aliases) of every entity, some of them read at once."""
    last = -1
    while page := kb.query("SELECT row, name FROM entities WHERE row > ? ORDER BY row LIMIT ?", last, _PAGE):
        first, last = page[0][0], page[-1][0]
        found = kb.query(
            "SELECT entity, alias FROM aliases WHERE entity BETWEEN ? AND ? ORDER BY entity, number", first, last
        )
        aliases = {key: tuple(alias for _, alias in group) for key, group in groupby(found, key=lambda pair: pair[0])}
        for key, name in page:
            yield key, name, aliases.get(key, ())


def _in_processes(folder: Path, parts: Iterator[list[Named]], revision: int, state: str, num: int) -> list[SegmentFile]:
    waiting: list[Future[SegmentFile]] = []
    files: list[SegmentFile] = []
    with ProcessPoolExecutor(num, mp_context=get_context("spawn")) as pool:
        for block in parts:
            waiting.append(pool.submit(write_block, folder, block, revision, state))
            if len(waiting) >= _WAITING:
                files.append(waiting.pop(0).result())
        files += [future.result() for future in waiting]
    return files


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
