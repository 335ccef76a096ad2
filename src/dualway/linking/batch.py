"""Linking a file: one line in, one line out, in order; a killed job goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualway.datasets import open_dataset
from dualway.datasets.base import Dataset
from dualway.errors import UsageError
from dualway.schema import Link
from dualway.storage import check_target, storage_errors
from dualway.text import repair

if TYPE_CHECKING:
    from dualway.linker import Linker

_CHUNK = 256
_BROKEN = object()


def link_record(link: Link) -> dict[str, Any]:
    """Return a link as a line of links.jsonl."""
    return {
        "id": link.mention.id,
        "entity_id": link.entity_id,
        "nil_probability": link.nil_probability,
        "candidates": [
            {
                "entity_id": candidate.entity_id,
                "name": candidate.name,
                "score": round(candidate.score, 6),
                "probability": candidate.probability,
                "evidence": {name: round(value, 6) for name, value in candidate.evidence.items()},
            }
            for candidate in link.candidates
        ],
        "regions": [asdict(region) for region in link.regions],
        "kb": link.kb,
        "model": link.model,
    }


def link_file(
    linker: Linker,
    source: Path,
    target: Path,
    *,
    k: int = 100,
    note: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
    dataset: Dataset | None = None,
) -> dict[str, Any]:
    """Link every mention of `source` into `target` (links.jsonl), in the order of the input.

    The whole input is read and checked before the first mention is linked. Finished chunks are kept in a hidden file
    beside `target`, and beside it what made them; the next call with the same input, knowledge base, model and `k`
    goes on after them, and `target` appears when all are done.

    Args:
        linker: What links.
        source: mentions.jsonl, or a data set in any other known format.
        target: links.jsonl, replaced when it exists.
        k: Candidates kept a mention.
        note: Told what the user should know.
        progress: Called with (mentions linked, mentions in all).
        dataset: What `source` holds, when it is read already.

    Returns:
        Counts: mentions, nil (no candidate), resumed (taken from an interrupted job).

    Raises:
        DataError: A broken line, or a candidate file keyed by gold; names file and line. Nothing is linked then.
        StorageError: The target cannot be written.
        UsageError: `target` is `source`.
    """
    if target.resolve() == source.resolve():
        raise UsageError(f"{target}: is the input; write the links to another file")
    check_target(target)
    dataset = dataset or open_dataset(source)
    for line in dataset.report.remarks():
        note(line)
    if not linker.reads_pictures and any(mention.image for mention in dataset.mentions):
        note("this model does not read pictures: they play no part")
    if linker.given is not None:
        note(linker.given.describe())
        linker.given.for_dataset(dataset)  # where the input is labelled: a file keyed by its answers is refused
    job = _Job(target, _origin(linker, dataset, k))
    done, nil = job.resume()
    resumed = done
    while done < len(dataset):
        chunk = dataset.mentions[done : done + _CHUNK]
        links = linker.link(chunk, k, image_path=dataset.image_path, folders=dataset.picture_folders)
        job.append(links)
        done += len(links)
        nil += sum(link.is_nil for link in links)
        if progress is not None:
            progress(done, len(dataset))
    job.publish()
    for line in () if linker.given is None else linker.given.report.remarks():
        note(line)
    return {"links": str(target), "mentions": len(dataset), "nil": nil, "resumed": resumed}


class _Job:
    """The hidden files of an unfinished job: the lines so far, and the origin that made them."""

    def __init__(self, target: Path, origin: str) -> None:
        self._target, self._origin = target, origin
        self._lines = target.with_name(f".{target.name}.partial")
        self._made_by = target.with_name(f".{target.name}.origin")

    def resume(self) -> tuple[int, int]:
        """Return (lines, lines without an entity) to keep; start afresh when something else made them."""
        with storage_errors(self._target):
            self._target.parent.mkdir(parents=True, exist_ok=True)
            if not (self._lines.exists() and self._made_by.exists() and self._made_by.read_text() == self._origin):
                self._lines.write_bytes(b"")
                self._made_by.write_text(self._origin)
                return 0, 0
            done = nil = size = 0
            with self._lines.open("rb") as file:
                for line in file:
                    entity_id = _entity_id(line)
                    if entity_id is _BROKEN:
                        break  # cut off by the kill
                    done, size = done + 1, size + len(line)
                    nil += entity_id is None
            os.truncate(self._lines, size)
            return done, nil

    def append(self, links: Sequence[Link]) -> None:
        """Write the lines of links and see them on the disk."""
        lines = "".join(json.dumps(link_record(link), ensure_ascii=False, allow_nan=False) + "\n" for link in links)
        with storage_errors(self._target), self._lines.open("ab") as file:
            file.write(repair(lines).encode())
            file.flush()
            os.fsync(file.fileno())

    def publish(self) -> None:
        """Put the finished lines in the target's place."""
        with storage_errors(self._target):
            self._lines.replace(self._target)
            self._made_by.unlink(missing_ok=True)


def _entity_id(line: bytes) -> Any:
    """Return the entity of a whole line, _BROKEN of any other."""
    try:
        return json.loads(line)["entity_id"] if line.endswith(b"\n") else _BROKEN
    except (ValueError, KeyError, TypeError):
        return _BROKEN


def _origin(linker: Linker, dataset: Dataset, k: int) -> str:
    digest = hashlib.sha256(str(dataset.root.resolve()).encode("utf-8", "surrogatepass"))
    for mention in dataset.mentions:
        digest.update(repr(mention).encode("utf-8", "surrogatepass"))
    given = "" if linker.given is None else linker.given.file.sha256
    made_by = [linker.kb.fingerprint.content, linker.ranker.fingerprint, linker.regions, given]
    return json.dumps([digest.hexdigest(), *made_by, k])
