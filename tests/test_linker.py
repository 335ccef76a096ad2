"""The facade: links of an untrained and of a trained linker, what is in them, and what never influences them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dualway import Link, Linker, Mention
from dualway.config import PRESETS, override
from dualway.errors import CompatibilityError, KnowledgeBaseError, ModelError, UsageError
from dualway.kb.store import KnowledgeBase
from dualway.linking.batch import link_record
from dualway.run import Run, train_run
from dualway.schema import Entity, Representation

CAPTION = "Foster with co-star Mel Gibson"


def mention(surface: str, text: str = "", **more) -> Mention:
    return Mention(text=text or surface, surface=surface, **more)


def ids(link: Link) -> list[str]:
    return [candidate.entity_id for candidate in link.candidates]


def scores(link: Link) -> list[float]:
    return [candidate.score for candidate in link.candidates]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("linker")


@pytest.fixture(scope="module")
def kb(place, people):
    with KnowledgeBase.create(place / "kb", people) as opened:
        yield opened


@pytest.fixture(scope="module")
def run(place, kb, tiny_sentence_encoder, make_tiny_clip) -> Run:
    """A run of one epoch on tiny random encoders, pictures included."""
    data = place / "data"
    data.mkdir()
    for i, color in enumerate(["red", "green", "blue"]):
        Image.new("RGB", (40 + i, 30), color).save(data / f"{i}.png")
    lines = [
        {"id": f"t{i}", "text": f"{name} in picture {i}", "surface": name, "image": f"{i}.png", "entity_id": gold}
        for i, (name, gold) in enumerate([("Foster", "Q1"), ("Mel Gibson", "Q4"), ("Gretzky", "Q5")])
    ]
    (data / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shutil.copytree(tiny_sentence_encoder, place / "text")
    preset = override(
        PRESETS["paper"],
        {
            "name": "tiny",
            "encoders": {"text": str(place / "text"), "image": str(make_tiny_clip(place / "clip"))},
            "model": {"dim": 8, "heads": 2},
            "train": {"epochs": 1, "batch_size": 4},
        },
    )
    return train_run(data=data, kb=kb, preset=preset, out=place / "run", note=lambda _: None)


@pytest.fixture(scope="module")
def names_only(kb) -> Linker:
    return Linker.from_kb(kb, text_encoder=None)


@pytest.fixture(scope="module")
def with_texts(kb, tiny_sentence_encoder) -> Linker:
    return Linker.from_kb(kb, text_encoder=str(tiny_sentence_encoder))


@pytest.fixture(scope="module")
def trained(run) -> Linker:
    return Linker.load(run.folder)


@pytest.fixture(params=["names_only", "with_texts", "trained"])
def linker(request) -> Linker:
    return request.getfixturevalue(request.param)


MENTIONS = [
    mention("Foster", CAPTION, id="a", start=0, end=6),
    mention("Mel Gibson", CAPTION, id="b"),
    mention("João Silva", "João Silva, photographer", id="c"),
    mention("محمد صلاح", id="d"),
    mention("Zzyzx", id="e"),
    mention("東京", id="f"),
]


class TestEveryLinker:
    def test_one_link_a_mention_in_their_order(self, linker):
        links = linker.link(MENTIONS)
        assert [link.mention for link in links] == MENTIONS
        assert linker.link([]) == []

    def test_candidates_are_sorted_and_the_best_is_the_answer(self, linker):
        for link in linker.link(MENTIONS):
            assert scores(link) == sorted(scores(link), reverse=True)
            assert len(set(ids(link))) == len(link.candidates)
            assert link.entity_id == (ids(link)[0] if link.candidates else None)
            assert link.is_nil == (not link.candidates)
            assert all(np.isfinite(v) for c in link.candidates for v in (c.score, *c.evidence.values()))

    def test_a_mention_that_is_like_no_name_is_nil(self, linker):
        assert linker.link([mention("Zzyzx")])[0].entity_id is None

    def test_k_cuts_the_list_and_changes_nothing_else(self, linker):
        whole = linker.link(MENTIONS)
        for k in (1, 2, 5, 1000):
            for short, full in zip(linker.link(MENTIONS, k), whole, strict=True):
                assert short.candidates == full.candidates[:k]
                assert short.entity_id == full.entity_id

    @pytest.mark.parametrize("k", [0, -1])
    def test_k_below_one_is_refused(self, k, linker):
        with pytest.raises(UsageError, match=f"k is {k}; ask for at least one"):
            linker.link(MENTIONS, k)

    @pytest.mark.parametrize("surface", ["", "  ", "\n"])
    def test_an_empty_surface_is_refused_by_the_mentions_id(self, surface, linker):
        with pytest.raises(UsageError, match="mention 'x': its surface is empty"):
            linker.link([MENTIONS[0], mention(surface, "text", id="x")])

    def test_a_link_does_not_depend_on_the_other_mentions(self, linker):
        together = linker.link(MENTIONS * 60)  # more than one chunk
        backwards = linker.link(MENTIONS[::-1])[::-1]
        for i, m in enumerate(MENTIONS):
            (alone,) = linker.link([m])
            for other in (together[i], together[-len(MENTIONS) + i], backwards[i]):
                assert ids(other) == ids(alone)
                np.testing.assert_allclose(scores(other), scores(alone), atol=1e-5)

    def test_id_and_name_of_the_picture_never_influence_a_rank(self, linker, place):
        """They can hold the gold entity: Richpedia's do."""
        shutil.copy(place / "data" / "0.png", place / "Q3.png")
        given = dataclasses.replace(MENTIONS[0], image=str(place / "data" / "0.png"))
        telling = dataclasses.replace(given, id="Q3", image=str(place / "Q3.png"), type="Q3", source="Q3", date="Q3")
        one, other = linker.link([given, telling])
        assert ids(one) == ids(other)
        np.testing.assert_allclose(scores(one), scores(other), atol=1e-6)

    def test_the_record_has_the_keys_of_the_contract(self, linker):
        for link in linker.link(MENTIONS):
            record = json.loads(json.dumps(link_record(link)))
            assert list(record) == [
                "id", "entity_id", "nil_probability", "candidates", "regions", "kb", "model"
            ]  # fmt: skip
            assert record["id"] == link.mention.id
            assert record["kb"] == linker.kb.fingerprint.content
            assert record["model"] == linker.ranker.fingerprint
            for candidate in record["candidates"]:
                assert list(candidate) == ["entity_id", "name", "score", "probability", "evidence"]
                assert candidate["name"] == linker.kb.entity(candidate["entity_id"]).name
                assert candidate["evidence"]

    def test_lone_surrogates_and_long_texts_are_linked(self, linker):
        given = [
            mention("Foster", "Foster \ud800\x00"),
            mention("Foster", "Foster " * 150_000),
            mention("🙂", "🙂 \u200f"),
        ]
        assert len(linker.link(given, 3)) == 3

    def test_mentions_of_a_caption_are_found_and_linked(self, linker):
        links = linker.link_caption("Foster's friend: Mel Gibson.", k=3)
        assert [link.mention.surface for link in links] == ["Foster", "Mel Gibson"]
        for link in links:
            m = link.mention
            assert m.text[m.start : m.end] == m.surface
            assert len(link.candidates) <= 3
        assert linker.link_caption("nobody is here") == []


class TestFromKb:
    def test_names_alone(self, names_only):
        links = names_only.link(MENTIONS)
        assert [link.entity_id for link in links[1:]] == ["Q4", "Q10", "Q8", None, "Q9"]
        assert set(ids(links[0])[:3]) == {"Q1", "Q2", "Q3"}
        assert set(links[0].candidates[0].evidence) == {"name", "caption"}

    def test_texts_have_a_say(self, with_texts):
        (link,) = with_texts.link([MENTIONS[0]])
        evidence = link.candidates[0].evidence
        assert set(evidence) == {"name", "caption", "text"}
        from dualway.systems import untrained

        for candidate in link.candidates:
            total = (
                untrained.NAME_WEIGHT * candidate.evidence["name"]
                + untrained.CAPTION_WEIGHT * candidate.evidence["caption"]
                + untrained.TEXT_WEIGHT * candidate.evidence["text"]
            )
            assert candidate.score == pytest.approx(total, abs=1e-5)

    def test_homonyms_are_both_there(self, names_only):
        (link,) = names_only.link([mention("João Silva")])
        assert ids(link)[:2] == ["Q10", "Q7"]
        assert scores(link)[0] == scores(link)[1]

    def test_it_opens_a_folder_by_its_path(self, kb):
        linker = Linker.from_kb(str(kb.path), text_encoder=None)
        assert linker.link([MENTIONS[1]])[0].entity_id == "Q4"
        linker.kb.close()

    def test_models_differ_by_their_encoder(self, names_only, with_texts):
        assert names_only.ranker.fingerprint != with_texts.ranker.fingerprint
        assert not names_only.reads_pictures

    def test_what_is_missing_is_told(self, kb, tmp_path):
        with pytest.raises(KnowledgeBaseError, match="no such knowledge base"):
            Linker.from_kb(tmp_path / "nowhere")
        with pytest.raises(ModelError, match="no such directory"):
            Linker.from_kb(kb, text_encoder=str(tmp_path / "nowhere"))

    @pytest.mark.realmodel
    def test_with_the_default_encoder_the_caption_decides_between_homonyms(self, kb):
        linker = Linker.from_kb(kb)
        given = [
            mention("Ben Foster", "Ben Foster saves a penalty for his football club", id="1"),
            mention("Ben Foster", "Ben Foster at the premiere of his film", id="2"),
            mention("João Silva", "João Silva swims to a medal", id="3"),
        ]
        assert [link.entity_id for link in linker.link(given)] == ["Q3", "Q2", "Q10"]


class TestLoad:
    def test_evidence_and_fingerprint_of_a_trained_model(self, trained, run):
        (link,) = trained.link([MENTIONS[0]])
        assert set(link.candidates[0].evidence) == {"model", "name", "caption"}
        assert all(c.score == c.evidence["model"] for c in link.candidates)
        assert all(-1.0001 <= s <= 1.0001 for s in scores(link))
        assert trained.ranker.fingerprint.startswith("tiny-")
        assert Linker.load(run.folder).ranker.fingerprint == trained.ranker.fingerprint

    def test_a_picture_is_shown_with_the_attention_on_it(self, trained, place):
        assert trained.reads_pictures
        bare, seen = trained.link([MENTIONS[0], dataclasses.replace(MENTIONS[0], image=str(place / "data" / "1.png"))])
        assert bare.regions == ()
        assert [region.box for region in seen.regions] == [(0.0, 0.0, 41.0, 30.0)]
        assert seen.regions[0].attention == pytest.approx(1.0, abs=1e-5)
        assert scores(bare) != scores(seen)
        assert list(link_record(seen)["regions"][0]) == ["box", "label", "score", "attention"]

    def test_a_picture_that_cannot_be_used_is_told_of_and_the_text_is_linked(self, run, place):
        notes: list[str] = []
        linker = Linker.load(run.folder, note=notes.append)
        (place / "broken.jpg").write_text("<html>")
        bare = MENTIONS[0]
        for image in (str(place / "broken.jpg"), str(place / "missing.jpg"), "a\x00b"):
            link, plain = linker.link([dataclasses.replace(bare, image=image), bare])
            assert (ids(link), scores(link), link.regions) == (ids(plain), scores(plain), ())
            assert notes.pop().startswith("1 pictures could not be used, their mentions keep their text: ")
        (link,) = linker.link([dataclasses.replace(bare, image="https://example.org/a.jpg")])
        assert link.regions == ()
        assert notes == []  # an address is no path: nothing is fetched

    def test_the_place_of_pictures_can_be_given(self, trained, place):
        given = dataclasses.replace(MENTIONS[0], image="1.png")
        (link,) = trained.link([given], image_path=lambda m: place / "data" / str(m.image))
        assert len(link.regions) == 1

    def test_another_knowledge_base_of_the_same_kind(self, run, people, tmp_path):
        more = [*people[:3], Entity("Q99", "Mel Gibson", representations=(Representation("properties", "A chef."),))]
        with KnowledgeBase.create(tmp_path / "kb", more) as other:
            linker = Linker.load(run.folder, kb=other)
            (link,) = linker.link([MENTIONS[1]])
            assert "Q99" in ids(link)
            assert "Q5" not in ids(link)
            assert link.kb == other.fingerprint.content

    def test_a_knowledge_base_of_another_kind_does_not_fit(self, run, tmp_path):
        entities = [Entity("Q1", "Foster", representations=(Representation("static", "text"),))]
        with KnowledgeBase.create(tmp_path / "kb", entities) as other:
            for given in (other, tmp_path / "kb"):
                with pytest.raises(CompatibilityError, match="representation"):
                    Linker.load(run.folder, kb=given)

    @pytest.mark.parametrize("part", ["text", "clip"])
    def test_a_changed_encoder_does_not_fit(self, part, run, place):
        path = place / part / "model.safetensors"
        before = path.read_bytes()
        try:
            path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
            with pytest.raises(CompatibilityError, match=r"encoder .* is not the one the run was trained with"):
                Linker.load(run.folder)
        finally:
            path.write_bytes(before)

    def test_an_encoder_that_is_gone_is_told(self, run, place):
        (place / "text").rename(place / "elsewhere")
        try:
            with pytest.raises(ModelError, match="text: no such directory"):
                Linker.load(run.folder)
        finally:
            (place / "elsewhere").rename(place / "text")

    def test_seeds_and_folders_that_are_not_there_are_told(self, run, tmp_path):
        with pytest.raises(UsageError, match="has no model of seed 7; it has 0"):
            Linker.load(run.folder, seed=7)
        with pytest.raises(ModelError, match="not a run"):
            Linker.load(tmp_path)
        copy = Path(shutil.copytree(run.folder, tmp_path / "copy"))
        (copy / "seed-0" / "model.safetensors").write_bytes(b"x")
        with pytest.raises(ModelError, match=r"model\.safetensors"):
            Linker.load(copy)
        (copy / "prior.json").unlink()
        with pytest.raises(ModelError, match=r"prior\.json"):
            Linker.load(copy)


def test_a_run_trained_with_regions_says_so_when_they_are_missing(tmp_path):
    from dualway.config import get_preset as preset_of
    from dualway.run import Run as AnyRun

    base = {"folder": tmp_path, "preset": preset_of("paper"), "kb_path": tmp_path, "kb_compatibility": "x"}
    said: list[str] = []
    AnyRun(**base, encoders={}, results={"0": {"regions": True}}).note_regions(None, said.append)
    assert len(said) == 1
    assert "--regions" in said[0]
    AnyRun(**base, encoders={}, results={"0": {"regions": True}}).note_regions(tmp_path, said.append)
    AnyRun(**base, encoders={}, results={"0": {}}).note_regions(None, said.append)
    assert len(said) == 1
    AnyRun(**base, encoders={}, results={"0": {"regions": False}}).note_regions(tmp_path, said.append)
    assert "trained without a regions file and is used with one; leave --regions out" in said[1]
    AnyRun(**base, encoders={}, results={}).note_regions(tmp_path, said.append)
    assert len(said) == 2
