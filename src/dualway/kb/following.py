"""From one state of a knowledge base to the next, in time that goes with what was changed, not with what is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dualway.kb.records import content_fingerprint
from dualway.kb.store import KnowledgeBase
from dualway.schema import IntArray

_QUERY = 500  # ids a query, below SQLite's limit on variables
_LISTS = ("ids", "names", "aliases", "types")  # what a knowledge base keeps of each entity once it was asked for


class Step(NamedTuple):
    """From an older state to a newer one.

    kb: The newer state.
    changed: Rows of entities that were added or changed, in the newer state, rising.
    removed: Rows of entities that are gone, in the older state, rising.
    kept: int64 [n of the newer state]: the row that each entity had in the older state; -1: it was added or changed.
    is_whole: Nothing is known to be the same, so that all rows are in `changed`.
    """

    kb: KnowledgeBase
    changed: IntArray
    removed: IntArray
    kept: IntArray
    is_whole: bool = False


def advance(kb: KnowledgeBase) -> Step | None:
    """Return the step to the state that the folder of `kb` holds now; None when that is the same.

    What `kb` has loaded is taken over but for what was changed; `kb` itself stays as it is, and usable.

    Raises:
        KnowledgeBaseError: The folder is missing or damaged.
    """
    new = KnowledgeBase.open(kb.path)
    if (new.revision, new.fingerprint) == (kb.revision, kb.fingerprint):
        new.close()
        return None
    step = _follow(kb, new) if _is_later(kb, new) else None
    return step or Step(
        new,
        np.arange(len(new), dtype=np.int64),
        np.arange(len(kb), dtype=np.int64),
        np.full(len(new), -1, dtype=np.int64),
        is_whole=True,
    )


def _is_later(old: KnowledgeBase, new: KnowledgeBase) -> bool:
    """Tell whether `old` is among the states that `new` came from, and not of another knowledge base."""
    found = new.query("SELECT content FROM revisions WHERE number = ?", old.revision)
    return bool(found) and content_fingerprint(found[0][0]) == old.fingerprint.content and new.revision > old.revision


def _follow(old: KnowledgeBase, new: KnowledgeBase) -> Step | None:
    """Return the step by what was changed; None where erased entities leave no trace of which they were."""
    rows = new.query("SELECT row, id, name, revision FROM entities WHERE revision > ? ORDER BY +row", old.revision)
    keys = np.array([key for key, *_ in rows], dtype=np.int64)
    place = np.minimum(np.searchsorted(old.keys, keys), len(old) - 1)
    is_known = old.keys[place] == keys
    removed = _removed(old, new)
    if len(old) - len(removed) + int((~is_known).sum()) != len(new):
        return None
    stays = np.ones(len(old), dtype=np.bool_)
    stays[removed] = False
    new_keys = np.concatenate([old.keys[stays], keys[~is_known]])
    kept = np.concatenate([np.flatnonzero(stays), np.full(int((~is_known).sum()), -1)]).astype(np.int64)
    changed = np.searchsorted(new_keys, keys)
    kept[changed] = -1
    changed_in = np.concatenate([old.changed_in[stays], np.zeros(int((~is_known).sum()), dtype=np.int64)])
    changed_in[changed] = [revision for *_, revision in rows]
    _hand_over(old, new, stays, rows, changed)
    new.__dict__.update(keys=new_keys, changed_in=changed_in)
    return Step(new, changed, removed, kept)


def _removed(old: KnowledgeBase, new: KnowledgeBase) -> IntArray:
    """Return the rows in `old` of entities that are gone, as the history tells, or that have come back anew."""
    ids = [
        entity_id
        for (entity_id,) in new.query("SELECT DISTINCT id FROM history WHERE revision > ? AND id <> ''", old.revision)
        if entity_id in old
    ]
    keys: dict[str, int] = {}
    for start in range(0, len(ids), _QUERY):
        part = ids[start : start + _QUERY]
        marks = ", ".join("?" * len(part))
        keys.update(new.query(f"SELECT id, row FROM entities WHERE id IN ({marks})", *part))
    rows = (old.row(entity_id) for entity_id in ids if keys.get(entity_id) != old.keys[old.row(entity_id)])
    return np.array(sorted(rows), dtype=np.int64)


def _hand_over(
    old: KnowledgeBase, new: KnowledgeBase, stays: NDArray[np.bool_], rows: Sequence[Any], changed: IntArray
) -> None:
    """Give `new` the lists that `old` has loaded, with what was changed."""
    loaded = {name: old.__dict__[name] for name in _LISTS if name in old.__dict__}
    everybody = bool(stays.all())
    places: list[int] = changed.tolist()
    for name, values in loaded.items():
        taken = list(values) if everybody else [value for value, stay in zip(values, stays.tolist()) if stay]
        taken += [None] * (len(new) - len(taken))
        for place, value in zip(places, _values(new, name, rows), strict=True):
            taken[place] = value
        new.__dict__[name] = taken
    if everybody and "_row_of" in old.__dict__:
        row_of: dict[str, int] = dict(old.__dict__["_row_of"])
        row_of.update((entity_id, place) for place, (_, entity_id, *_) in zip(places, rows))
        new.__dict__["_row_of"] = row_of


def _values(new: KnowledgeBase, name: str, rows: Sequence[Any]) -> list[Any]:
    if name in ("ids", "names"):
        return [row[1 if name == "ids" else 2] for row in rows]
    column = {"aliases": "alias", "types": "type"}[name]
    query = f"SELECT {column} FROM {name} WHERE entity = ? ORDER BY number"
    return [tuple(value for (value,) in new.query(query, key)) for key, *_ in rows]
