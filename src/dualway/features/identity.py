"""What a data set is as far as features depend on it: hashes of its mentions. Gold is not looked at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dualway.datasets.base import Dataset


@dataclass(frozen=True)
class Identity:
    """The mentions of a data set, in order.

    Attributes:
        keys: uint64 [n], a hash of each mention's id, caption, surface and name of its picture.
        sha256: Hash of all these.
    """

    keys: NDArray[np.uint64]
    sha256: str


def identify(dataset: Dataset) -> Identity:
    """Return the identity of a data set's mentions."""
    lines = [json.dumps([m.id, m.text, m.surface, m.image]).encode() for m in dataset.mentions]
    keys = b"".join(hashlib.blake2b(line, digest_size=8).digest() for line in lines)
    return Identity(np.frombuffer(keys, dtype="<u8").astype(np.uint64), hashlib.sha256(b"\n".join(lines)).hexdigest())


def hash_keys(keys: Iterable[int]) -> str:
    """Return a hash of the pictures' keys (`shards.Source.key`), in order."""
    return hashlib.sha256(np.fromiter(keys, dtype="<u8").tobytes()).hexdigest()


def hash_order(ids: Sequence[str]) -> str:
    """Return a hash of entity ids in their order: the rows of E belong to it."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()[:16]
