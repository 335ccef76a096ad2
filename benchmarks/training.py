"""Training speed of preset `paper` from cached features, beside the machine's matrix rate in the same process.

    python benchmarks/training.py [--json] [--rounds 3] [--mentions 18880]

Batch 128, d = 512, both encoders 512 wide, 4 objects, 1 face and 1 label a mention. A round measures, one after the
other: the rate of a 2048 x 2048 float32 matrix product, `dualway.model.train` over one epoch, and a plain
implementation of the same step (padded inputs, `nn.MultiheadAttention`, `nn.Dropout`, default AdamW). On a busy
machine rates vary from round to round: compare within a round. Threads wait without spinning
(OMP_WAIT_POLICY=passive). Peak memory is the process's after its first epoch, before the plain implementation ran.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dualway.config import Preset, get_preset, override
from dualway.features.arrays import Features, Ragged
from dualway.features.batching import make_batch
from dualway.model.losses import eq10_loss, find_conflicts, triplet_loss
from dualway.model.negatives import draw_negatives
from dualway.model.train import train
from dualway.schema import CandidateLists

DIM, OBJECTS, ENTITIES, CANDIDATES = 512, 4, 17391, 100
TARGET = 1500  # mentions a second on two cores


def make_world(num: int) -> tuple[Features, np.ndarray, CandidateLists]:
    """Random vectors in the shape of WikiMEL."""
    rng = np.random.default_rng(0)

    def vectors(n):
        return rng.standard_normal((n, DIM), dtype=np.float32)

    one = np.arange(num + 1)
    features = Features(
        mention=vectors(num),
        text=vectors(num),
        picture=np.arange(num),
        entities=vectors(ENTITIES),
        objects=Ragged(vectors(num * OBJECTS), one * OBJECTS),
        labels=Ragged(vectors(num), one),
        faces=Ragged(vectors(num), one),
        face_object=rng.integers(0, OBJECTS, num),
    )
    rows = rng.integers(0, ENTITIES, (num, CANDIDATES))
    return features, rng.integers(0, ENTITIES, num), CandidateLists(rows, np.zeros(rows.shape, dtype=np.float32))


def matrix_rate(size: int = 2048, repeats: int = 6) -> float:
    """Return GFLOP/s of a float32 matrix product, the median of `repeats`."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds) / 1e9


class Plain(nn.Module):
    """The same equations written the usual way: pad, mask, `nn.MultiheadAttention` for every attention."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.image = self.make_map(), self.make_map()
        self.attention = nn.MultiheadAttention(DIM, 8, batch_first=True)
        self.epsilon = nn.Parameter(torch.tensor(0.0))
        self.gate = nn.Linear(DIM, DIM)

    @staticmethod
    def make_map() -> nn.Sequential:
        """Linear, ReLU, LayerNorm, Dropout."""
        return nn.Sequential(nn.Linear(DIM, DIM), nn.ReLU(), nn.LayerNorm(DIM), nn.Dropout(0.4))

    def attend(self, m, keys, mask):
        """Return Cross-Att(m, keys), m [b, d], keys [b, r, d]."""
        return self.attention(m[:, None], keys, keys, key_padding_mask=~mask)[0].squeeze(1)  # [b, 1, d] -> [b, d]

    def forward(self, batch, entities):
        """Return g, the encoded entities, and the pairs of the coarse and the fine contrast."""
        m, t = self.text(batch.mention), self.text(batch.text)
        objects, faces = self.image(batch.objects.padded()), self.text(batch.faces.padded())  # [b, r, d]
        labels = self.text(batch.labels.padded())
        m_v = self.attend(m, objects, batch.objects.mask())
        m_f, m_s = self.attend(m, faces, batch.faces.mask()), self.attend(m, labels, batch.labels.mask())
        m_t = self.attend(m, t[:, None], torch.ones(len(m), 1, dtype=torch.bool))
        e = torch.sigmoid(self.epsilon)
        g = self.gate((1 - e) * (m + m_t + m_v) + e * (m_f + m_s))
        d = objects.flatten(0, 1)[batch.face_object]
        return g, self.text(entities), (m_t, m_v), (faces.squeeze(1), d)


def plain_rate(preset: Preset, features: Features, gold: np.ndarray, candidates: CandidateLists, num: int) -> float:
    """Return mentions a second of `Plain`, over `num` mentions, with the same losses and negatives."""
    model = Plain()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=1e-3)
    rng, size, config = np.random.default_rng(0), preset.train.batch_size, preset.model
    order = rng.permutation(len(gold))[:num]
    start = time.perf_counter()
    for first in range(0, num, size):
        index = order[first : first + size]
        batch, own = make_batch(features, index), gold[index]
        negatives = draw_negatives(preset.negatives, candidates.rows[index], own, rng)
        rows, places = np.unique(np.column_stack([own, negatives.rows]), return_inverse=True)
        places = torch.from_numpy(places.reshape(len(index), -1))
        g, entities, coarse, fine = model(batch, torch.from_numpy(features.entities[rows]))
        scores = (F.normalize(g) @ F.normalize(entities).T).gather(1, places)
        conflict = find_conflicts(torch.from_numpy(own), batch.picture)
        rank = triplet_loss(scores[:, 0], scores[:, 1:], torch.from_numpy(negatives.mask), config.margin)
        loss = eq10_loss(*fine, conflict) + eq10_loss(*coarse, conflict) + config.rank_weight * rank
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return num / (time.perf_counter() - start)


def measure(rounds: int, num: int) -> dict:
    """Return every figure of every round."""
    preset = override(get_preset("paper"), {"train": {"batch_size": 128, "epochs": 1}})
    features, gold, candidates = make_world(num)
    found, peak = [], 0.0
    for number in range(rounds):
        before = matrix_rate()
        with tempfile.TemporaryDirectory() as folder:
            result = train(
                preset, features, gold_rows=gold, candidates=candidates, dev=None, out=Path(folder), seed=number
            )
        after = matrix_rate()
        peak = peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        plain = plain_rate(preset, features, gold, candidates, min(num, 2560))
        rate = (before + after) / 2
        found.append(
            {
                "mentions_per_s": round(result.mentions_per_s),
                "gflop_per_s": round(rate),
                "mentions_per_gflop": round(result.mentions_per_s / rate, 1),
                "plain_mentions_per_s": round(plain),
                "ratio": round(result.mentions_per_s / plain, 2),
                "load": round(os.getloadavg()[0], 1),
            }
        )
    best = max(found, key=lambda r: r["mentions_per_s"])
    processor = platform.processor() or platform.machine()
    return {
        "setting": f"paper, batch 128, d {DIM}, {OBJECTS} objects, 1 face, 1 label, {num} mentions",
        "machine": f"{processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "rounds": found,
        "best": best,
        "median_mentions_per_s": statistics.median(r["mentions_per_s"] for r in found),
        "median_ratio": statistics.median(r["ratio"] for r in found),
        "peak_rss_gb": round(peak, 2),
        "target_met": statistics.median(r["mentions_per_s"] for r in found) >= TARGET and peak < 2,
    }


def main() -> None:
    """Measure and print."""
    if "OMP_WAIT_POLICY" not in os.environ:  # read when torch loads; a spinning thread on a busy core stops them all
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_WAIT_POLICY": "passive"})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mentions", type=int, default=18880)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    report = measure(options.rounds, options.mentions)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{report['setting']}\n{report['machine']}, torch {report['torch']}")
    for r in report["rounds"]:
        print(
            f"{r['mentions_per_s']:6} mentions/s at {r['gflop_per_s']:4} GFLOP/s; plain {r['plain_mentions_per_s']:6}; "
            f"ratio {r['ratio']:.2f}; load {r['load']}"
        )
    print(f"peak memory {report['peak_rss_gb']} GB; target {TARGET} mentions/s below 2 GB: {report['target_met']}")


if __name__ == "__main__":
    main()
