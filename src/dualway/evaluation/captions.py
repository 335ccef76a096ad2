"""Which mentions stand in one caption, and which captions a model has seen in training."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

import numpy as np

from dualway.schema import IntArray, Mention
from dualway.text import match_key


def caption_groups(mentions: Sequence[Mention]) -> IntArray:
    """Return int64 [n]: equal numbers for mentions whose captions are equal as matched (`text.match_key`).

    A mention without a caption is a group of its own. Pictures do not join groups: data sets use one stand-in picture
    for many captions.
    """
    number: dict[str, int] = {}
    return np.array(
        [number.setdefault(match_key(m.text) or f"\x00{i}", len(number)) for i, m in enumerate(mentions)],
        dtype=np.int64,
    )


def caption_key(text: str) -> str:
    """Return 16 hex digits of a caption as matched, by which a run remembers its training captions; "" for no words."""
    key = match_key(text)
    return hashlib.sha256(key.encode()).hexdigest()[:16] if key else ""


def shared_sentences(train_captions: Collection[str], mentions: Sequence[Mention]) -> list[str]:
    """Return the ids of the mentions whose caption was seen in training (`caption_key`), in order."""
    known = set(train_captions) - {""}
    return [m.id for m in mentions if caption_key(m.text) in known]
