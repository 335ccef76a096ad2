"""A small random world: mentions with pictures, objects, faces, labels and tokens, some of them missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from dualway.features.arrays import Features, Ragged
from dualway.schema import CandidateLists


@dataclass(frozen=True)
class World:
    features: Features
    gold: np.ndarray
    candidates: CandidateLists


def ragged(counts, dim, rng) -> Ragged:
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Ragged(rng.standard_normal((offsets[-1], dim), dtype=np.float32), offsets)


def make_world(n=10, num_entities=30, text_dim=12, image_dim=10, seed=0, k=6) -> World:
    """Every third mention has no picture; lists are of 0 to 3 vectors; gold is among most candidates."""
    rng = np.random.default_rng(seed)
    pictures = max(n // 2, 1)
    picture = rng.integers(0, pictures, n)
    picture[2::3] = -1
    objects = ragged(rng.integers(1, 5, pictures), image_dim, rng)
    face_counts = np.where(picture >= 0, rng.integers(0, 4, n), 0)
    faces = ragged(face_counts, text_dim, rng)
    owner = np.repeat(np.arange(n), face_counts)
    face_object = rng.integers(-1, objects.counts()[picture[owner]])
    entities = rng.standard_normal((num_entities, text_dim), dtype=np.float32)
    gold = rng.integers(0, num_entities, n)
    features = Features(
        mention=entities[gold] + 0.5 * rng.standard_normal((n, text_dim), dtype=np.float32),
        text=entities[gold] + 0.5 * rng.standard_normal((n, text_dim), dtype=np.float32),
        picture=picture,
        entities=entities,
        image=rng.standard_normal((pictures, image_dim), dtype=np.float32),
        objects=objects,
        labels=ragged(rng.integers(0, 3, pictures), text_dim, rng),
        faces=faces,
        face_object=face_object,
        text_tokens=ragged(rng.integers(1, 6, n), text_dim, rng),
    )
    rows = np.stack([rng.permutation(np.delete(np.arange(num_entities), g))[:k] for g in gold])
    rows[:, 1] = gold
    rows[::5, -2:] = -1
    return World(features, gold, CandidateLists(rows, np.zeros(rows.shape, dtype=np.float32)))


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def make():
    return make_world


@pytest.fixture(autouse=True)
def _two_runs_agree():
    torch.manual_seed(0)
