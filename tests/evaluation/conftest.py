"""A small real knowledge base, and data on it."""

from __future__ import annotations

import pytest

from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity

from .toy_systems import make_data

NUM_ENTITIES = 40


@pytest.fixture(scope="session")
def kb(tmp_path_factory):
    entities = [Entity(id=f"Q{i * 7 % NUM_ENTITIES}", name=f"name {i}") for i in range(NUM_ENTITIES)]
    with KnowledgeBase.create(tmp_path_factory.mktemp("evaluation") / "kb", entities) as opened:
        yield opened


@pytest.fixture
def data(kb):
    return make_data(kb)
