"""`dualway train --representation`: which texts stand for an entity, by one flag on one knowledge base."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from dualway.config import FeatureConfig
from dualway.features.texts import EntityTexts, entity_texts
from dualway.kb.store import KnowledgeBase
from dualway.schema import Representation

from .calls import call


@pytest.fixture(scope="module")
def with_static(tmp_path_factory, people) -> Path:
    """The people with a static text besides: represented by their properties."""
    folder = tmp_path_factory.mktemp("represented") / "kb"
    entities = [
        dataclasses.replace(one, representations=(*one.representations, Representation("static", f"About {one.name}.")))
        for one in people
    ]
    KnowledgeBase.create(folder, entities, representation=["properties"]).close()
    return folder


def test_the_settings_choose_the_texts(with_static):
    with KnowledgeBase.open(with_static) as kb:
        own = entity_texts(FeatureConfig(), kb)
        static = entity_texts(FeatureConfig(representation=("static",)), kb)
        both = entity_texts(FeatureConfig(representation=("static", "properties")), kb)
        assert own[0].startswith("Sex: female.")
        assert static[0] == "About Jodie Foster."
        assert both[0] == f"{static[0]} {own[0]}"
        assert EntityTexts(kb, ["static"])["Q1"] == ("Jodie Foster", "About Jodie Foster.")


def test_wiki_and_wiki_s_are_two_names_for_one_knowledge_base(with_static, data, small, tmp_path):
    """A run by --representation is the run of a knowledge base that was built so, and is used as such."""
    train = ["train", "--data", data, *small, "--json", "-q"]
    entities = list(KnowledgeBase.open(with_static).entities())
    KnowledgeBase.create(tmp_path / "wiki-s", entities, representation=["static"]).close()
    chosen = call(*train, "--kb", with_static, "--representation", "static", "--out", tmp_path / "chosen")
    built = call(*train, "--kb", tmp_path / "wiki-s", "--out", tmp_path / "built")
    own = call(*train, "--kb", with_static, "--out", tmp_path / "own")
    assert chosen.code == built.code == own.code == 0, chosen.err

    def kept(name: str) -> str:
        return json.loads((tmp_path / name / "run.json").read_text())["kb"]["compatibility"]

    def model(name: str) -> bytes:
        return (tmp_path / name / "seed-0" / "model.safetensors").read_bytes()

    assert kept("chosen") == kept("built") != kept("own")
    assert model("chosen") == model("built") != model("own")
    evaluate = ["evaluate", "--data", data, "--protocol", "top100", "-q"]
    assert call(*evaluate, "--run", tmp_path / "chosen").code == 0  # with the knowledge base's own choice unchanged
    assert call(*evaluate, "--run", tmp_path / "chosen", "--kb", tmp_path / "wiki-s").code == 0
    refused = call(*evaluate, "--run", tmp_path / "built", "--kb", with_static)
    assert (refused.code, "--representation" in refused.err) == (4, True)


def test_a_knowledge_base_without_the_chosen_text_does_not_fit(with_static, kb, data, small, tmp_path):
    train = ["train", "--data", data, *small, "-q"]
    done = call(*train, "--kb", kb, "--representation", "static", "--out", tmp_path / "run")
    assert done.code == 4
    assert "no representation of kind 'static'" in done.err
    assert call(*train, "--kb", with_static, "--representation", "static", "--out", tmp_path / "run").code == 0
    done = call("evaluate", "--run", tmp_path / "run", "--kb", kb, "--data", data)
    assert done.code == 4
    assert "does not fit" in done.err
    other = call(*train, "--kb", with_static, "--representation", "properties", "--out", tmp_path / "run")
    assert other.code == 2
    assert "features.representation" in other.err


@pytest.mark.parametrize("kinds", ["", " , "])
def test_no_kind_is_named(kb, data, tmp_path, kinds):
    done = call("train", "--data", data, "--kb", kb, "--out", tmp_path / "run", "--representation", kinds)
    assert done.code == 2
    assert "names no kind" in done.err
