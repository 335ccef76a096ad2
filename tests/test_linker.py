"""The facade and the run behind it: from a knowledge base alone, and from a tiny model trained on the spot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dualway import KnowledgeBase, Linker, Mention
from dualway.config import get_preset, override
from dualway.datasets.jsonl import write_mentions
from dualway.errors import CompatibilityError, KnowledgeBaseError, ModelError, UsageError
from dualway.linking.batch import link_record
from dualway.run import Run, train_run
from dualway.schema import Entity, Representation

TRAIN = [
    (Mention("Foster with co-star Mel Gibson", "Foster", "a"), "Q1"),
    (Mention("Ben Foster saves a penalty", "Ben Foster", "b"), "Q3"),
    (Mention("Janet & Wayne Gretzky", "Wayne Gretzky", "c"), "Q5"),
    (Mention("João Silva at the pool", "João Silva", "d"), "Q10"),
    (Mention("A stranger", "Nobody", "e"), None),
]
SETTINGS = {
    "model": {"dim": 16, "heads": 2},
    "train": {"epochs": 2, "batch_size": 2, "seeds": [0, 7], "evaluate_every": 3},
}


def silent(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def place(tmp_path_factory, people) -> Path:
    """A knowledge base, a data set and a trained run."""
    folder = tmp_path_factory.mktemp("linker")
    (folder / "data").mkdir()
    for split in ("train", "dev"):
        write_mentions(folder / "data" / f"{split}.jsonl", [m for m, _ in TRAIN], {m.id: g for m, g in TRAIN})
    with KnowledgeBase.create(folder / "kb", people) as kb:
        preset = override(get_preset("paper"), SETTINGS)
        train_run(data=folder / "data", kb=kb, preset=preset, out=folder / "run", note=silent)
    return folder


@pytest.fixture
def linker(people_kb):
    return Linker.from_kb(people_kb, text_encoder=None)


def test_links_by_names_without_an_encoder(linker):
    [foster, penalty] = linker.link([TRAIN[0][0], TRAIN[1][0]], k=3)
    assert {c.entity_id for c in foster.candidates} <= {"Q1", "Q2", "Q3", "Q4"}
    assert penalty.candidates[0].evidence == {"name": 1.0, "caption": 0.0}
    assert penalty.candidates[0].probability is None
    assert penalty.nil_probability is None
    assert penalty.entity_id == penalty.candidates[0].entity_id
    assert [c.score for c in foster.candidates] == sorted((c.score for c in foster.candidates), reverse=True)


def test_a_mention_like_nothing_has_no_entity(linker):
    [link] = linker.link([Mention("zzzqqq", "zzzqqq")])
    assert link.is_nil
    assert link.candidates == ()


def test_a_link_does_not_depend_on_the_other_mentions(linker):
    mentions = [mention for mention, _ in TRAIN]
    together = linker.link(mentions)
    assert [linker.link([mention])[0] for mention in mentions] == together


@pytest.mark.parametrize(("mention", "k"), [(Mention("x", " "), 5), (Mention("Foster", "Foster"), 0)])
def test_impossible_calls_are_refused(linker, mention, k):
    with pytest.raises(UsageError):
        linker.link([mention], k)


def test_captions_are_searched_for_mentions(linker):
    links = linker.link_caption("Janet & Wayne Gretzky in December 2013.", k=1)
    assert [(link.mention.surface, link.entity_id) for link in links] == [("Janet", "Q6"), ("Wayne Gretzky", "Q5")]


def test_pictures_are_no_part_of_the_untrained_linker(linker):
    assert not linker.reads_pictures
    assert linker.link([Mention("Foster", "Foster", image="/nowhere.jpg")])[0].regions == ()


@pytest.mark.realmodel
def test_text_tells_namesakes_apart(people_kb):
    linker = Linker.from_kb(people_kb)
    swimmer, photographer = linker.link(
        [
            Mention("João Silva, the swimmer, wins the race", "João Silva"),
            Mention("João Silva takes photographs", "João Silva"),
        ]
    )
    assert (swimmer.entity_id, photographer.entity_id) == ("Q10", "Q7")
    assert set(swimmer.candidates[0].evidence) == {"name", "caption", "text"}


@pytest.mark.realmodel
class TestTrained:
    def test_a_run_says_what_it_is(self, place):
        run = Run.open(place / "run")
        assert run.preset.train.seeds == (0, 7)
        assert run.results["0"]["mentions"] == 4
        assert run.results["0"]["skipped"] == 1
        assert run.prior().probabilities("foster") == {"Q1": 0.5}
        assert len(run.captions()) == 5

    def test_it_links_with_the_models_cosine(self, place):
        linker = Linker.load(place / "run")
        [link] = linker.link([TRAIN[1][0]])
        assert set(link.candidates[0].evidence) == {"model", "name", "caption"}
        assert link.candidates[0].score == link.candidates[0].evidence["model"]
        assert link.kb == linker.kb.fingerprint.content
        assert link.model.startswith("paper-")
        assert json.loads(json.dumps(link_record(link)))["id"] == "b"

    def test_seeds_are_different_models(self, place):
        first, second = Linker.load(place / "run"), Linker.load(place / "run", seed=7)
        one, other = first.link([TRAIN[0][0]])[0], second.link([TRAIN[0][0]])[0]
        assert one.model != other.model
        assert {c.score for c in one.candidates} != {c.score for c in other.candidates}
        with pytest.raises(UsageError, match="no model of seed 3"):
            Linker.load(place / "run", seed=3)

    def test_training_again_changes_nothing(self, place, people):
        before = {p: p.read_bytes() for p in (place / "run").rglob("model.safetensors")}
        with KnowledgeBase.open(place / "kb") as kb:
            preset = override(get_preset("paper"), SETTINGS)
            train_run(data=place / "data", kb=kb, preset=preset, out=place / "run", note=silent)
        assert {p: p.read_bytes() for p in before} == before

    def test_a_knowledge_base_that_grew_still_fits(self, place, people, tmp_path):
        more = [*people, Entity("Q99", "Foster Brooks", (), (), (Representation("properties", "Sex: male."),))]
        with KnowledgeBase.create(tmp_path / "more", more):
            pass
        linker = Linker.load(place / "run", kb=tmp_path / "more")
        assert "Q99" in {c.entity_id for c in linker.link([TRAIN[0][0]])[0].candidates}

    def test_another_kind_of_text_does_not_fit(self, place, tmp_path):
        other = [Entity("Q1", "Jodie Foster", (), (), (Representation("static", "An actor."),))]
        with KnowledgeBase.create(tmp_path / "static", other):
            pass
        with pytest.raises(CompatibilityError, match="static"):
            Linker.load(place / "run", kb=tmp_path / "static")

    def test_another_encoder_does_not_fit(self, place, tmp_path):
        shutil.copytree(place / "run", tmp_path / "run")
        record = json.loads((tmp_path / "run" / "run.json").read_text())
        record["encoders"]["text"] = "0" * 16
        (tmp_path / "run" / "run.json").write_text(json.dumps(record))
        with pytest.raises(CompatibilityError, match="text encoder"):
            Linker.load(tmp_path / "run")

    @pytest.mark.parametrize("file", ["seed-0/model.safetensors", "run.json", "prior.json"])
    def test_a_damaged_run_is_a_clear_error(self, place, tmp_path, file):
        shutil.copytree(place / "run", tmp_path / "run")
        (tmp_path / "run" / file).write_bytes(b"{broken")
        with pytest.raises(ModelError, match=Path(file).name):
            Linker.load(tmp_path / "run")


def test_no_knowledge_base_no_linker(tmp_path):
    with pytest.raises(KnowledgeBaseError):
        Linker.from_kb(tmp_path)


def test_scores_do_not_depend_on_what_else_is_known(people, tmp_path):
    with (
        KnowledgeBase.create(tmp_path / "small", people[:4]) as small,
        KnowledgeBase.create(tmp_path / "large", people) as large,
    ):
        mention = [Mention("Foster with co-star Mel Gibson", "Foster")]
        few = {c.entity_id: c.score for c in Linker.from_kb(small, text_encoder=None).link(mention)[0].candidates}
        many = {c.entity_id: c.score for c in Linker.from_kb(large, text_encoder=None).link(mention)[0].candidates}
    assert np.allclose([many[i] for i in few], list(few.values()))
