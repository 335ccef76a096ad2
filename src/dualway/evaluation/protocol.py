"""Which candidates compete, whether gold is put among them, and who wins a tie (docs/evaluation.md).

Numbers of different protocols cannot be compared with each other, so every result carries its protocol. Gold is
used in this package only: a system receives a Task, and a Task does not tell which candidate was put in.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dualway.errors import DataError, UsageError
from dualway.metrics import BoolArray, TieRule
from dualway.protocols import Task
from dualway.schema import CandidateLists, IntArray, Mention

if TYPE_CHECKING:
    from dualway.features.arrays import Features
    from dualway.kb.store import KnowledgeBase

_NAME = re.compile(r"top([1-9][0-9]{0,5})(-gold)?|full-kb")


@dataclass(frozen=True, slots=True)
class Protocol:
    """A way to evaluate: `top100` (the default), `top100-gold`, `full-kb`, or another number than 100.

    Attributes:
        num_candidates: How many retrieved candidates compete; None: every entity of the knowledge base.
        gold_added: Gold takes the last candidate's place when retrieval missed it, and ties go to gold.
    """

    num_candidates: int | None = 100
    gold_added: bool = False

    @property
    def name(self) -> str:
        """The name that `parse_protocols` reads."""
        if self.num_candidates is None:
            return "full-kb"
        return f"top{self.num_candidates}{'-gold' if self.gold_added else ''}"

    @property
    def ties(self) -> TieRule:
        """The tie rule: optimistic where gold is put in (as the public code), averaged elsewhere."""
        return "optimistic" if self.gold_added else "average"

    @property
    def description(self) -> str:
        """One sentence that says which candidates compete, whether gold is put in, and who wins ties."""
        if self.num_candidates is None:
            return "every entity of the knowledge base competes; ties averaged"
        if self.gold_added:
            return f"{self.num_candidates} retrieved candidates, gold PUT IN when retrieval missed it; ties go to gold"
        return f"{self.num_candidates} retrieved candidates, gold never put in (a miss is a miss); ties averaged"


@dataclass(frozen=True)
class EvaluationData:
    """What systems are evaluated on.

    Attributes:
        mentions: With distinct ids.
        gold: Mention id to entity id, None for NIL; every mention must be there.
        kb: The knowledge base that the rows of `candidates` refer to.
        candidates: The retrieved lists of `mentions`, best first; None serves full-kb only.
        features: Those of `mentions`, for systems that need some.
        train_captions: Keys of the training captions (`caption_key`), to tell how many evaluated ones were seen.
    """

    mentions: Sequence[Mention]
    gold: Mapping[str, str | None]
    kb: KnowledgeBase
    candidates: CandidateLists | None = None
    features: Features | None = None
    train_captions: Collection[str] = ()


@dataclass(frozen=True)
class Case:
    """One protocol made ready to run.

    Attributes:
        protocol: The protocol.
        task: What a system sees: the evaluated mentions with the candidates of the protocol.
        gold: int64 [n], position of gold among the mention's candidates (its row under full-kb); -1: not there.
        gold_ids: The gold entity of each evaluated mention.
        retrieved: bool [n], gold was among the candidates before it was put in.
        num_nil: Mentions left out because they have no entity.
        num_gold_outside_kb: Mentions whose gold is not in the knowledge base: misses under topN and topN-gold
            (nothing can be put in), left out under full-kb, which is defined over mentions with gold in the KB.
    """

    protocol: Protocol
    task: Task
    gold: IntArray
    gold_ids: Sequence[str]
    retrieved: BoolArray
    num_nil: int
    num_gold_outside_kb: int

    def num_candidates(self) -> IntArray:
        """Return how many candidates each evaluated mention has, int64 [n]."""
        return num_candidates(self.task)


def num_candidates(task: Task) -> IntArray:
    """Return how many candidates each mention of `task` has, padding left out, int64 [n]."""
    if task.candidates is None:
        return np.full(len(task.mentions), len(task.kb), dtype=np.int64)
    return np.count_nonzero(task.candidates.rows >= 0, axis=1).astype(np.int64)


def parse_protocols(text: str) -> list[Protocol]:
    """Return the protocols named in a comma-separated list, each once, in its order.

    Example:
        >>> [p.name for p in parse_protocols("top100,top16-gold,full-kb")]
        ['top100', 'top16-gold', 'full-kb']

    Raises:
        UsageError: An unknown name, or none at all.
    """
    protocols: list[Protocol] = []
    for name in (part.strip() for part in text.split(",")):
        match = _NAME.fullmatch(name)
        if match is None:
            raise UsageError(f"unknown protocol {name!r}; choose from top100, top100-gold, full-kb (or top16, ..)")
        number = match.group(1)
        protocol = Protocol(int(number) if number else None, gold_added=match.group(2) is not None)
        if protocol not in protocols:
            protocols.append(protocol)
    return protocols


def check_data(data: EvaluationData) -> None:
    """Check what every protocol relies on.

    Raises:
        DataError: No mentions, repeated ids, a mention without an entry in gold, or a candidate list with repeated
            or unknown rows or with padding before its end; names the mention.
        UsageError: Candidates or features are not those of the mentions.
    """
    if not data.mentions:
        raise DataError("no mentions to evaluate: the data set (or the chosen split) is empty")
    seen: set[str] = set()
    for mention in data.mentions:
        if mention.id in seen:
            raise DataError("two mentions have this id; ids must be distinct", id=mention.id)
        if mention.id not in data.gold:
            raise DataError("the mention has no gold; give an entity id, or null for NIL", id=mention.id)
        seen.add(mention.id)
    num = len(data.mentions)
    if data.features is not None and len(data.features) != num:
        raise UsageError(f"features are of {len(data.features)} mentions, the data set has {num}")
    if data.candidates is not None:
        _check_candidates(data.candidates, data)


def build_case(protocol: Protocol, data: EvaluationData) -> Case:
    """Make the task of `protocol`, and keep gold apart from it.

    Under topN-gold the candidates are ordered by their row in the knowledge base, for every mention alike, and gold
    that was put in inherits the retrieval score of the candidate it replaced, so a task depends on gold only through
    which entities compete. What no order can hide: the entity put in is the least retrievable of its list.

    Raises:
        DataError: No mention is left to evaluate (all are NIL, or no gold is in the knowledge base).
        UsageError: The protocol needs candidates and there are none, or fewer than it asks for.
    """
    linked = np.array([data.gold[m.id] is not None for m in data.mentions], dtype=np.bool_)
    rows = np.full(len(linked), -1, dtype=np.int64)
    rows[linked] = data.kb.rows([data.gold[m.id] or "" for m, yes in zip(data.mentions, linked, strict=True) if yes])
    outside = linked & (rows < 0)
    index = np.flatnonzero(linked & ~outside if protocol.num_candidates is None else linked)
    if not len(index):
        raise DataError(
            f"no mentions to evaluate under {protocol.name}: of {len(linked)} mentions {int((~linked).sum())} are NIL "
            f"and {int(outside.sum())} have a gold entity that is not in the knowledge base"
        )
    rows = rows[index]
    chosen, gold, retrieved = None, rows, np.ones(len(index), dtype=np.bool_)
    if protocol.num_candidates is not None:
        chosen = _first_candidates(data, protocol.num_candidates, protocol.name).take(index)
        retrieved = find_gold(chosen, rows) >= 0
        chosen = add_gold(chosen, rows) if protocol.gold_added else chosen
        gold = find_gold(chosen, rows)
    task = Task([data.mentions[i] for i in index.tolist()], chosen, data.kb, _take_features(data.features, index))
    gold_ids = [data.gold[m.id] or "" for m in task.mentions]
    return Case(protocol, task, gold, gold_ids, retrieved, int((~linked).sum()), int(outside.sum()))


def find_gold(candidates: CandidateLists, gold_rows: IntArray) -> IntArray:
    """Return the position of each gold row (int64 [n], -1 for none) in its list; -1 when it is not there."""
    same = (candidates.rows == gold_rows[:, None]) & (gold_rows[:, None] >= 0)
    return np.where(same.any(axis=1), same.argmax(axis=1), -1).astype(np.int64)


def add_gold(candidates: CandidateLists, gold_rows: IntArray) -> CandidateLists:
    """Put gold in the last candidate's place where it is missing, then order every list by row.

    A list without any candidate gets gold as its only one. Gold that has no row (-1) is not put in.
    """
    rows = candidates.rows.copy()
    missing = np.flatnonzero((gold_rows >= 0) & (find_gold(candidates, gold_rows) < 0))
    last = np.maximum(np.count_nonzero(rows >= 0, axis=1) - 1, 0)
    rows[missing, last[missing]] = gold_rows[missing]
    order = np.argsort(np.where(rows < 0, np.iinfo(np.int64).max, rows), axis=1, kind="stable")
    return CandidateLists(np.take_along_axis(rows, order, axis=1), np.take_along_axis(candidates.scores, order, axis=1))


def _first_candidates(data: EvaluationData, num: int, name: str) -> CandidateLists:
    if data.candidates is None:
        raise UsageError(f"protocol {name} ranks retrieved candidates, and none were given; use full-kb")
    width = data.candidates.rows.shape[1]
    if width < min(num, len(data.kb)):
        raise UsageError(f"protocol {name} needs {num} candidates a mention, {width} were retrieved; retrieve more")
    return CandidateLists(data.candidates.rows[:, :num], data.candidates.scores[:, :num])


def _take_features(features: Features | None, index: IntArray) -> Features | None:
    return features if features is None or len(index) == len(features) else features.take(index)


def _check_candidates(candidates: CandidateLists, data: EvaluationData) -> None:
    rows = candidates.rows
    if len(rows) != len(data.mentions):
        raise UsageError(f"candidates are of {len(rows)} mentions, the data set has {len(data.mentions)}")
    if rows.ndim != 2 or rows.shape != candidates.scores.shape:
        raise UsageError(
            f"candidate rows {rows.shape} and scores {candidates.scores.shape} must be of one shape [n, k]"
        )
    ordered = np.sort(rows, axis=1)
    faults = {
        f"a candidate's row lies outside the {len(data.kb)} entities of the knowledge base": (rows >= len(data.kb))
        | (rows < -1),
        "an entity is twice among the candidates": (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0),
        "padding (-1) stands before a candidate; it belongs at the end": (rows[:, :-1] < 0) & (rows[:, 1:] >= 0),
    }
    for fault, where in faults.items():
        if (wrong := np.flatnonzero(where.any(axis=1))).size:
            raise DataError(fault, id=data.mentions[int(wrong[0])].id)
