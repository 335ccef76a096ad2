"""The experiments: every switch has its row, and the worlds' table is made from what was trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from experiments import switches, world

from dualway.config import Preset, to_dict
from dualway.world.build import WorldConfig

# Settings that are no switch of the model: which encoder, how long and how fast is trained.
_NOT_SWITCHES = {"encoders.image", "encoders.faces", "encoders.age", "encoders.gender"}
# Settings that nothing of the package can move: no detector of outlines and no face finder is part of it. What they do
# is tested where they are used (tests/features/test_seeing.py, tests/vision/test_crops.py, tests/vision/test_faces.py).
_NOT_MOVED_HERE = {"features.crop", "features.min_face_score", "features.min_face_size"}


def test_every_switch_has_a_row():
    settings = {
        f"{section.name}.{setting.name}"
        for section in dataclasses.fields(Preset)
        if section.name in ("encoders", "features", "model", "negatives", "candidates")
        for setting in dataclasses.fields(type(getattr(Preset("x"), section.name)))
    }
    assert settings - _NOT_SWITCHES - _NOT_MOVED_HERE == {key for key, _ in switches.SWITCHES}


def test_every_choice_of_a_switch_has_a_row():
    """A setting with named choices is tried at each of them, but for the base's own."""
    import typing

    base = switches.base_preset()
    for section in ("features", "model", "negatives", "candidates"):
        part = getattr(base, section)
        for name, hint in typing.get_type_hints(type(part)).items():
            if typing.get_origin(hint) is typing.Literal and f"{section}.{name}" not in _NOT_MOVED_HERE:
                tried = {value for key, value in switches.SWITCHES if key == f"{section}.{name}"}
                assert tried == set(typing.get_args(hint)) - {getattr(part, name)}, name


@pytest.mark.parametrize(("key", "value"), switches.SWITCHES)
def test_a_row_differs_from_the_base_in_its_switch(key, value):
    base, row = to_dict(switches.base_preset(key)), to_dict(switches.switch_preset(key, value))
    section, name = key.split(".")
    assert row[section][name] != base[section][name]


@pytest.mark.realmodel
def test_the_worlds_table_on_a_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(world, "WORLDS", {"main": WorldConfig(captions=(40, 10, 20))})
    monkeypatch.setattr(world, "EPOCHS", 1)
    monkeypatch.setattr(world, "SEEDS", (0, 1))
    made = world.prepare("main", tmp_path)
    runs = [
        world.train_variant(made, world.world_preset(name, changes), tmp_path / f"run-{place}")
        for place, (name, changes) in enumerate(world.VARIANTS.items())
    ]
    report = world.evaluate_world(made, runs)
    lines = list(world.table(made, report))
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("| `")]
    first, *others = world.VARIANTS
    assert rows == [f"`{name}`" for name in ("lexical", "prior", "from_kb", first, world.SWAPPED, *others)]
    compared = {comparison.system for comparison in report.protocols[0].comparisons}
    assert compared == {"lexical", "prior", "from_kb", world.SWAPPED, *others}
    results = [report.result("top100", name).per_run for name in world.VARIANTS]
    assert all(len(per_run) == 2 for per_run in results)
    assert results[0] != results[1]
