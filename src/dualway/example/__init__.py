"""A small knowledge base and five captions, written for `dualway demo`; it shows the way, not an accuracy."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
ENTITIES = FOLDER / "entities.jsonl"
CAPTIONS = FOLDER / "captions.jsonl"
