"""The experiments: every switch has its row, and the worlds' table is made from what was trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from experiments import representations, switches, world

from dualway.config import Preset, to_dict
from dualway.evaluation import EvaluationReport
from dualway.run import Run
from dualway.schema import Mention
from dualway.storage import write_json
from dualway.world.build import WorldConfig

# Settings that are no switch of the model: which encoder, how long and how fast is trained.
_NOT_SWITCHES = {"encoders.image", "encoders.faces", "encoders.age", "encoders.gender"}
# Settings that nothing of the package can move: no detector of outlines and no face finder is part of it. What they do
# is tested where they are used (tests/features/test_seeing.py, tests/vision/test_crops.py, tests/vision/test_faces.py).
# The generated world has one kind of text: `experiments/representations.py` is the table of that.
_NOT_MOVED_HERE = {
    *("features.crop", "features.min_face_score", "features.min_face_size"),
    "features.representation",
}


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


class TestRepresentations:
    def test_each_row_changes_one_flag(self):
        """Rows of one template differ in nothing but the kinds of text, and the other way round."""
        assert len(representations.ROWS) == len(representations.TEXTS) * len(representations.TEMPLATES)
        settings = {name: to_dict(representations.row_preset(name)) for name in representations.ROWS}
        for name, row in settings.items():
            assert name == row.pop("name")
            kinds, template = row["features"].pop("representation"), row["features"].pop("entity_template")
            assert (tuple(kinds), template) == (representations.ROWS[name].kinds, representations.ROWS[name].template)
        assert all(row == settings["long"] for row in settings.values())

    @pytest.mark.realmodel
    def test_the_table_on_a_slice(self, tmp_path: Path):
        data = self.write_data(tmp_path / "data")
        kb = representations.build_kb(data, tmp_path / "kb")
        runs = self.train(data, kb, tmp_path)
        assert [run.preset.features.representation for run in runs] == [("properties_short",), ("properties",)]
        assert runs[0].kb_compatibility != runs[1].kb_compatibility
        before = (tmp_path / "long" / "run.json").read_bytes()
        assert [run.results for run in self.train(data, kb, tmp_path)] == [run.results for run in runs]
        assert (tmp_path / "long" / "run.json").read_bytes() == before  # nothing was trained again
        report = representations.evaluate_rows(data, kb, runs)
        assert isinstance(report, EvaluationReport)
        rows = [line.split("|")[1].strip() for line in representations.table(report, "long") if line.startswith("|")]
        assert rows[2:] == ["lexical", "short", "long"]

    def train(self, data: Path, kb: Path, tmp_path: Path) -> list[Run]:
        presets = [representations.row_preset(name, epochs=1, seeds=(0,)) for name in ("short", "long")]
        return [representations.train_row(data, kb, preset, tmp_path / preset.name) for preset in presets]

    def write_data(self, folder: Path) -> Path:
        """Write people of two trades in the files of Richpedia's form: the short text does not tell the trade."""
        trades = ["singer", "chemist"]
        mentions = [
            Mention(f"Ada N{n // 2} the {trades[n % 2]} at work", f"Ada N{n // 2}", id=f"Q{n}") for n in range(60)
        ]
        files = {
            "qid2ne.json": {m.id: m.surface for m in mentions},
            "qid2abs.json": {m.id: "Sex: female." for m in mentions},
            "qid2abs_long.json": {m.id: f"Sex: female. Occupation: {m.text.split()[3]}." for m in mentions},
            "train.json": {m.id: {"sentence": m.text, "mentions": m.surface, "answer": m.id} for m in mentions},
        }
        for name, value in files.items():
            write_json(folder / name, value)
        return folder
