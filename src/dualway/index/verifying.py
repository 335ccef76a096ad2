"""Whether a knowledge base and what follows it are whole; what can be made again is made again."""

from __future__ import annotations

import shutil
from pathlib import Path

from dualway.candidates.name_store import obsolete, read_list
from dualway.errors import DataError, KnowledgeBaseError
from dualway.index.names import FOLDER, index_names, open_names
from dualway.kb.store import KnowledgeBase
from dualway.kb.verifying import Verification, verify


def verify_all(path: Path | str, *, mend: bool = False) -> Verification:
    """Check a knowledge base (`kb.verifying.verify`) and its index of names.

    Raises:
        KnowledgeBaseError: It cannot be opened at all.
        StorageError: Another process is changing it (when mending).
    """
    folder = Path(path)
    found = verify(folder, mend=mend)
    if not (folder / FOLDER).is_dir():
        return found
    with KnowledgeBase.open(folder) as kb:
        damaged = [path.name for path in open_names(kb).damaged]
    leftovers = _leftovers(folder / FOLDER)
    if mend and (damaged or leftovers):
        shutil.rmtree(folder / FOLDER)
        index_names(folder)
        found.mended += [f"{FOLDER}/{name}: damaged, the index was built again" for name in damaged]
        found.mended += [f"{FOLDER}/{name}: left by a process that was killed, removed" for name in leftovers]
    else:
        found.problems += [f"{FOLDER}/{name}: damaged or of another state; --mend builds it again" for name in damaged]
        found.leftovers += [f"{FOLDER}/{name}" for name in leftovers]
    return found


def _leftovers(folder: Path) -> list[str]:
    try:
        return [path.name for path in obsolete(folder, read_list(folder))]
    except (DataError, KnowledgeBaseError):
        return []  # told as damaged
