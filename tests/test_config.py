"""Settings: every preset survives every way of writing it down, and nothing impossible gets as far as the work."""

from __future__ import annotations

import dataclasses
import json

import pytest

from dualway.config import (
    PRESETS,
    UNTRAINED,
    EncoderConfig,
    FeatureConfig,
    ModelConfig,
    Preset,
    TrainConfig,
    from_dict,
    get_preset,
    load_overrides,
    override,
    parse_assignments,
    to_dict,
)
from dualway.errors import UsageError

ALL = [*PRESETS.values(), UNTRAINED]


def to_toml(values: dict[str, object]) -> str:
    """A plain writer, enough for our settings: None is left out, as TOML has none."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, dict | None)]
    for section, inner in values.items():
        if isinstance(inner, dict):
            lines += [f"[{section}]", *(f"{k} = {json.dumps(v)}" for k, v in inner.items() if v is not None)]
    return "\n".join(lines)


@pytest.mark.parametrize("preset", ALL, ids=lambda preset: preset.name)
class TestRoundTrips:
    def test_dict(self, preset):
        assert from_dict(Preset, to_dict(preset)) == preset

    def test_json(self, preset):
        assert from_dict(Preset, json.loads(json.dumps(to_dict(preset)))) == preset

    def test_toml(self, preset, tmp_path):
        path = tmp_path / "preset.toml"
        path.write_text(to_toml(to_dict(preset)), encoding="utf-8")
        assert from_dict(Preset, load_overrides(path)) == preset

    def test_nothing_overridden_changes_nothing(self, preset):
        assert override(preset, {}) == preset

    def test_one_setting_overridden_changes_that_one(self, preset):
        changed = override(preset, {"train": {"epochs": 41}})
        assert changed == dataclasses.replace(preset, train=dataclasses.replace(preset.train, epochs=41))

    def test_it_cannot_be_changed_in_place(self, preset):
        with pytest.raises(dataclasses.FrozenInstanceError):
            preset.name = "other"


def test_presets_are_found_by_their_name():
    assert all(get_preset(name).name == name for name in PRESETS)
    with pytest.raises(UsageError, match=r"unknown preset 'papre'; choose one of .*paper"):
        get_preset("papre")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trian": {}}, "unknown key 'trian'; known: .*train"),
        ({"train": {"epoch": 3}}, r"train: unknown key 'epoch'; known: .*epochs"),
        ({"train": {"epochs": "3"}}, r"train\.epochs: expected int, got '3'"),
        ({"train": {"epochs": 3.5}}, r"train\.epochs: expected int, got 3\.5"),
        ({"train": {"epochs": True}}, r"train\.epochs: expected int, got True"),
        ({"train": {"epochs": None}}, r"train\.epochs: expected int, got None"),
        ({"train": {"learning_rate": "fast"}}, r"train\.learning_rate: expected float"),
        ({"train": {"linear_decay": 1}}, r"train\.linear_decay: expected bool"),
        ({"train": {"seeds": 1}}, r"train\.seeds: expected a list, got 1"),
        ({"train": {"seeds": "12"}}, r"train\.seeds: expected a list"),
        ({"train": {"seeds": [1, "2"]}}, r"train\.seeds: expected int"),
        ({"train": 5}, r"train: expected a table of settings, got 5"),
        ({"train": [1]}, r"train: expected a table of settings"),
        ({"model": {"gate": "sigmod"}}, r"model\.gate: 'sigmod' is not one of 'sigmoid', 'raw', 'vector', 'none'"),
        ({"model": {"gate": ["none"]}}, r"model\.gate: \['none'\] is not one of"),
        ({"train": {"precision": True}}, r"train\.precision: True is not one of"),
        ({"encoders": {"image": 3}}, r"encoders\.image: expected str"),
        ({"name": None}, r"name: expected str"),
    ],
)
def test_a_wrong_value_is_a_usage_error_that_names_the_key(values, message):
    with pytest.raises(UsageError, match=message):
        override(PRESETS["paper"], values)


def test_settings_that_are_no_table_or_lack_their_name_are_usage_errors():
    for values in (5, None, [1, 2], "paper"):
        with pytest.raises(UsageError, match=r"file\.json: expected a table"):
            from_dict(Preset, values, where="file.json")
    with pytest.raises(UsageError, match=r"file\.json: 'name' is missing"):
        from_dict(Preset, {}, where="file.json")


def test_numbers_may_be_written_without_a_point_and_options_be_switched_off():
    preset = override(PRESETS["released"], {"model": {"margin": 1, "temperature": None}, "train": {"clip_norm": None}})
    assert (preset.model.margin, preset.model.temperature, preset.train.clip_norm) == (1.0, None, None)
    assert isinstance(preset.model.margin, float)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.batch_size", 0),
        ("train.batch_size", -64),
        ("train.epochs", -1),
        ("train.learning_rate", 0.0),
        ("train.learning_rate", float("nan")),
        ("train.learning_rate", float("inf")),
        ("train.weight_decay", -0.1),
        ("train.warmup_steps", -1),
        ("train.clip_norm", 0.0),
        ("train.evaluate_every", 0),
        ("train.checkpoint_every", 0),
        ("train.patience", 0),
        ("train.seeds", ()),
        ("train.seeds", (1, 1)),
        ("train.seeds", (-1,)),
        ("model.dim", 0),
        ("model.dim", 510),
        ("model.heads", 0),
        ("model.heads", 7),
        ("model.dropout", 1.0),
        ("model.dropout", -0.1),
        ("model.dropout", float("nan")),
        ("model.temperature", 0.0),
        ("model.margin", -1.0),
        ("model.rank_weight", float("nan")),
        ("negatives.num_hard", -1),
        ("negatives.num_in_batch", -2),
        ("candidates.num_candidates", 0),
        ("candidates.num_candidates", -100),
        ("candidates.num_candidates", 10**9),
        ("features.max_objects", 0),
        ("features.identity_threshold", 1.5),
    ],
)
def test_an_impossible_number_is_a_usage_error_when_the_settings_are_made(key, value):
    section, _, name = key.partition(".")
    with pytest.raises(UsageError, match=rf"paper: .*{section}\.{name}"):
        override(PRESETS["paper"], {section: {name: value}})
    part = dataclasses.replace(getattr(PRESETS["paper"], section), **{name: value})
    with pytest.raises(UsageError, match=rf"paper: .*{section}\.{name}"):
        dataclasses.replace(PRESETS["paper"], **{section: part})


def test_the_limits_themselves_are_possible():
    override(
        PRESETS["paper"],
        {
            "train": {"batch_size": 1, "epochs": 1, "warmup_steps": 0, "patience": 1, "seeds": [0, 114514]},
            "model": {"dropout": 0.0, "dim": 8, "heads": 8, "fine_weight": 0},
            "negatives": {"num_hard": 0, "num_in_batch": -1},
            "candidates": {"num_candidates": 1},
        },
    )


@pytest.mark.parametrize(
    ("key", "template", "message"),
    [
        ("entity_template", "{nope}", r"unknown placeholder \{nope\}; known: \{name\} and \{text\}"),
        ("entity_template", "{mention}", r"unknown placeholder \{mention\}"),
        ("entity_template", "{}", r"unknown placeholder \{\}"),
        ("entity_template", "{0}", r"unknown placeholder \{0\}"),
        ("entity_template", "{text.__class__}", "unknown placeholder"),
        ("entity_template", "{text[0]}", "unknown placeholder"),
        ("entity_template", "{text:>9999999999}", "unknown placeholder"),
        ("entity_template", "{text!r}", "unknown placeholder"),
        ("entity_template", "{text", "write a brace that is meant as text twice"),
        ("entity_template", "text}", "write a brace that is meant as text twice"),
        ("entity_template", "text", "every text would be the same"),
        ("entity_template", "", "every text would be the same"),
        ("mention_template", "{name}", r"known: \{mention\} and \{text\}"),
        ("text_template", "{caption}", r"known: \{mention\} and \{text\}"),
        ("face_template", "{text}", r"known: \{mention\} and \{attributes\}"),
        ("identity_template", "{name}", r"known: \{label\}"),
    ],
)
def test_a_template_that_cannot_be_filled_is_a_usage_error_when_the_settings_are_made(key, template, message):
    with pytest.raises(UsageError, match=rf"features\.{key} = .*{message}"):
        Preset("mine", features=dataclasses.replace(FeatureConfig(), **{key: template}))


def test_templates_may_say_anything_around_their_placeholders():
    preset = Preset(
        "mine", features=FeatureConfig(entity_template="{{{name}}}: {text} {text}", text_template="{text}!")
    )
    assert preset.features.entity_template.format(name="a", text="b") == "{a}: b b"


class TestAssignments:
    def test_values_are_read_as_toml_and_bare_words_as_text(self):
        assignments = ["train.epochs=40", "train.seeds=[1, 2]", "model.gate=raw", "model.use_text=false", "name = mine"]
        assert parse_assignments([*assignments, "model.margin=.5", "model.temperature=1e-2", "name=a=b"]) == {
            "train": {"epochs": 40, "seeds": [1, 2]},
            "model": {"gate": "raw", "use_text": False, "margin": ".5", "temperature": 0.01},
            "name": "a=b",
        }

    def test_a_template_is_text(self):
        values = parse_assignments(["features.entity_template={name}. {text}"])
        assert override(PRESETS["paper"], values).features.entity_template == "{name}. {text}"

    @pytest.mark.parametrize("word", ["none", "None", "null"])
    def test_none_switches_off_what_can_be_switched_off_and_is_a_choice_elsewhere(self, word):
        values = parse_assignments([f"model.gate={word}", f"model.project_entity={word}", f"model.temperature={word}"])
        model = override(PRESETS["released"], values).model
        assert (model.gate, model.project_entity, model.temperature) == ("none", "none", None)

    @pytest.mark.parametrize("assignment", ["", "train.epochs", "=3", " = 3", "train.epochs 3"])
    def test_what_is_no_assignment_is_a_usage_error(self, assignment):
        with pytest.raises(UsageError, match=r"write SECTION\.KEY=VALUE"):
            parse_assignments([assignment])

    def test_a_section_cannot_be_a_value_as_well(self):
        with pytest.raises(UsageError, match="'train' was already set to 5"):
            parse_assignments(["train=5", "train.epochs=3"])

    @pytest.mark.parametrize("assignment", ["train.epochs.x=3", "a.b.c=3", "train..epochs=3", ".=3"])
    def test_a_key_that_leads_nowhere_is_a_usage_error(self, assignment):
        with pytest.raises(UsageError):
            override(PRESETS["paper"], parse_assignments([assignment]))


class TestFiles:
    def test_a_broken_or_missing_file_is_a_usage_error(self, tmp_path):
        with pytest.raises(UsageError, match=r"nowhere\.toml: cannot be read .*check --config"):
            load_overrides(tmp_path / "nowhere.toml")
        (tmp_path / "a.toml").write_text("train = {")
        with pytest.raises(UsageError, match=r"a\.toml: not a TOML file"):
            load_overrides(tmp_path / "a.toml")
        (tmp_path / "b.toml").write_bytes(b'name = "\xff"')
        with pytest.raises(UsageError, match=r"b\.toml: not a TOML file"):
            load_overrides(tmp_path / "b.toml")

    def test_dates_are_no_setting(self, tmp_path):
        (tmp_path / "a.toml").write_text("name = 2024-01-01")
        with pytest.raises(UsageError, match="name: expected str"):
            override(PRESETS["paper"], load_overrides(tmp_path / "a.toml"))


def test_sections_alone_are_plain_values():
    """A part is checked when it becomes settings: what makes no sense alone may make sense beside another part."""
    assert ModelConfig(dim=12).dim == 12
    assert to_dict(TrainConfig(seeds=(1, 2)))["seeds"] == [1, 2]
    assert from_dict(EncoderConfig, {"text": "x"}) == EncoderConfig(text="x")
