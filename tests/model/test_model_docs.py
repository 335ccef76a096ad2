from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dualway.config import ModelConfig, NegativeConfig

PAGE = (Path(__file__).parents[2] / "docs/model.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(ModelConfig)])
def test_every_switch_of_the_model_is_on_its_page(name):
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(NegativeConfig)])
def test_every_switch_of_the_negatives_is_on_its_page(name):
    assert f"`negatives.{name}`" in PAGE
