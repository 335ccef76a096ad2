"""Mentions with gold, candidate lists, and toy systems for the tests of the harness."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from dualway.evaluation import EvaluationData, caption_key
from dualway.schema import CandidateLists, Mention


@dataclass
class ByFunction:
    """A system that scores each candidate by a function of (mention, row, position, retrieval score)."""

    name: str
    function: object
    dtype: type = np.float32

    def fit(self, task, gold, dev_task, dev_gold):
        pass

    def score(self, task):
        result = []
        for i, mention in enumerate(task.mentions):
            if task.candidates is None:
                rows, given = np.arange(len(task.kb)), np.zeros(len(task.kb))
            else:
                kept = task.candidates.rows[i] >= 0
                rows, given = task.candidates.rows[i][kept], task.candidates.scores[i][kept]
            values = [self.function(mention, r, p, s) for p, (r, s) in enumerate(zip(rows.tolist(), given.tolist()))]
            result.append(np.array(values, dtype=self.dtype))
        return result


def constant(name="constant"):
    return ByFunction(name, lambda mention, row, position, score: 0.25)


def hashed(name="hashed", salt="", levels=1000):
    return ByFunction(name, lambda mention, row, *_: zlib.crc32(f"{salt}{mention.id}-{row}".encode()) % levels)


def oracle(data, name="oracle"):
    return ByFunction(name, lambda mention, row, *_: float(data.kb.ids[row] == data.gold[mention.id]))


def make_data(kb, *, num=60, width=8, seed=0, nil=(), outside=(), captions=None, train=(), recall=0.8):
    """Mentions with random gold; each list holds gold with probability `recall`, at a random place."""
    generator = np.random.default_rng(seed)
    mentions = [
        Mention(text=f"Caption {i if captions is None else i % captions}", surface="x", id=f"m{i}") for i in range(num)
    ]
    gold, rows = {}, np.zeros((num, width), dtype=np.int64)
    for i, mention in enumerate(mentions):
        row = int(generator.integers(len(kb)))
        others = generator.permutation([r for r in range(len(kb)) if r != row])
        rows[i] = others[:width]
        if generator.random() < recall:
            rows[i, generator.integers(width)] = row
        gold[mention.id] = None if i in nil else "Q-unknown" if i in outside else kb.ids[row]
    scores = -np.sort(-generator.random((num, width)).astype(np.float32), axis=1)
    captions = [caption_key(m.text) for m in train]
    return EvaluationData(mentions, gold, kb, CandidateLists(rows, scores), train_captions=captions)
