"""The ten traps met in the paper's public code, each with the tests that keep us out of it, in one place.

Most are guarded where the code is; this file names those tests, checks that they still exist, and adds what needs
several rooms at once.

1. Padding attended to, so that predictions changed with the batch's other members.
2. An input that silently never entered the model.
3. Squeezing and broadcasting changed the loss with the number of negatives.
4. Trained on dot products, ranked by cosine.
5. exp without logsumexp gave inf and NaN; a batch of one has an empty denominator.
6. Two samples of one batch that share an entity or a picture were each other's negatives.
7. A face model run on pictures without a face invented an age.
8. Candidates or negatives keyed by the gold entity.
9. Caches whose name ignored encoder, prompt or detector.
10. One broken picture ended an extraction; elsewhere errors were swallowed and the denominator shrank.
"""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dualway.candidates.names import NameIndex
from dualway.candidates.prior import MentionPrior
from dualway.candidates.union import make_source
from dualway.config import CandidateConfig, FeatureConfig
from dualway.encoders.cache import CachedTextEncoder
from dualway.encoders.clip import ClipEncoder
from dualway.features.batching import make_batch
from dualway.features.extract import FeatureExtractor
from dualway.features.regions import Face, PictureRegions
from dualway.schema import Mention, Region

TESTS = Path(__file__).parent

GUARDS = {
    1: [
        "model/test_dwe_plus.py::test_a_prediction_does_not_depend_on_the_batch",
        "model/test_dwe_plus.py::test_unmasked_padding_reproduces_the_public_code_in_training_only",
        "model/test_model_scoring.py::test_scores_are_the_same_bits_in_any_company_chunk_and_order",
        "features/test_batching.py::test_a_mention_brings_the_same_vectors_in_any_company",
        "systems/test_systems.py::test_batch_and_order_change_nothing",
        "test_linker.py::test_a_link_does_not_depend_on_the_other_mentions",
    ],
    2: [
        "model/test_dwe_plus.py::test_an_input_counts_exactly_when_it_is_switched_on",
        "model/test_dwe_plus.py::test_the_caption_counts_exactly_when_it_is_switched_on",
        "model/test_dwe_plus.py::test_the_mention_always_counts",
        "model/test_dwe_plus.py::test_every_switch_trains_every_parameter",
    ],
    3: [
        "model/test_losses.py::test_shapes_that_would_broadcast_are_refused",
        "model/test_losses.py::test_the_number_of_negatives_does_not_scale_the_triplet",
    ],
    4: [
        "model/test_losses.py::test_the_length_of_g_does_not_change_the_triplet_but_changes_npair",
        "model/test_model_scoring.py::test_scores_are_the_cosines_of_the_model_in_eval_mode",
    ],
    5: [
        "model/test_losses.py::test_extreme_vectors_give_finite_losses_and_gradients",
        "model/test_losses.py::test_a_batch_of_one_is_finite",
        "model/test_training.py::test_a_loss_that_is_not_finite_names_step_and_mention",
        "model/test_model_scoring.py::test_a_vector_without_direction_is_an_error_that_names_it",
    ],
    6: [
        "model/test_losses.py::test_samples_that_share_entity_or_picture_are_in_conflict",
        "model/test_losses.py::test_a_sample_in_conflict_leaves_the_other_alone",
        "model/test_negatives.py::test_in_batch_negatives_are_other_mentions_gold_and_never_the_own",
    ],
    7: [
        "test_traps.py::test_trap_7_without_a_face_nothing_is_said_of_one",
        "model/test_dwe_plus.py::test_missing_inputs_leave_a_plain_query",
    ],
    8: [
        "test_traps.py::test_trap_8_candidates_know_the_mention_alone",
        "candidates/test_sources.py::test_gold_id_and_picture_of_a_mention_have_no_say",
        "model/test_negatives.py::test_hard_negatives_depend_on_the_mentions_list_and_not_on_gold",
        "systems/test_systems.py::test_the_sources_scores_and_ids_have_no_say",
        "test_linker.py::test_id_and_name_of_the_picture_never_influence_a_rank",
    ],
    9: [
        "test_traps.py::test_trap_9_cached_texts_are_those_of_their_encoder_and_template",
        "test_traps.py::test_trap_9_cached_pictures_are_those_of_their_encoder_content_and_box",
        "encoders/test_sentence.py::test_it_changes_with_every_file_that_decides",
        "encoders/test_cache.py::test_two_encoders_do_not_mix",
        "test_run.py::test_the_template_decides_what_is_cached",
    ],
    10: [
        "test_traps.py::test_trap_10_a_broken_picture_neither_ends_the_work_nor_shrinks_it",
        "features/test_extract.py::test_a_broken_picture_is_counted_and_its_mention_keeps_its_text",
        "test_images.py::test_damaged_bytes_give_a_picture_or_a_picture_error",
        "test_linker.py::test_a_picture_that_cannot_be_used_is_told_of_and_the_text_is_linked",
    ],
}


@pytest.mark.parametrize(("trap", "guard"), [(trap, guard) for trap, guards in GUARDS.items() for guard in guards])
def test_each_trap_has_its_guards(trap, guard):
    path, _, name = guard.partition("::")
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name]
    assert found, f"trap {trap}: {guard} is gone; name the test that took its place"
    assert any(word in ast.unparse(found[0]) for word in ("assert", "raises"))


def test_no_trap_is_left_out():
    assert sorted(GUARDS) == list(range(1, 11))


@pytest.fixture(scope="module")
def clip(tiny_clip) -> ClipEncoder:
    return ClipEncoder(tiny_clip)


@pytest.fixture
def photos(tmp_path) -> Path:
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    return tmp_path


def extract(extractor: FeatureExtractor, images: list[str], folder: Path):
    mentions = [Mention(text="Foster and Mel", surface="Foster", image=image) for image in images]
    return extractor.extract(mentions, lambda m: folder / str(m.image), np.ones((2, extractor.text.dim), np.float32))


class TestTrap7:
    def test_trap_7_without_a_face_nothing_is_said_of_one(self, clip, photos):
        features, report = extract(FeatureExtractor(FeatureConfig(), clip, clip), ["0.png"], photos)
        assert features.faces is features.face_object is None
        assert report.attributes == ()
        assert make_batch(features, np.array([0])).faces is None

    def test_trap_7_a_file_that_names_no_face_or_no_attribute_gives_no_sentence(self, clip, photos):
        bare = Face((1.0, 1.0, 9.0, 9.0), {})
        known = Face((1.0, 1.0, 9.0, 9.0), {"age": "50"})
        regions = {
            photos / "0.png": PictureRegions(),
            photos / "1.png": PictureRegions(faces=(bare,)),
            photos / "2.png": PictureRegions(faces=(bare, known)),
        }
        extractor = FeatureExtractor(FeatureConfig(), clip, clip, regions=regions)
        features, report = extract(extractor, ["0.png", "1.png", "2.png"], photos)
        assert features.faces is not None
        assert features.faces.counts().tolist() == [0, 0, 1]
        np.testing.assert_allclose(features.faces.values, clip.encode_texts(["Foster, age: 50"]), atol=1e-5)
        assert report.attributes == ("age",)


@pytest.mark.parametrize("retriever", ["names", "names+prior", "fuzzy"])
def test_trap_8_candidates_know_the_mention_alone(retriever, people_kb):
    """A source is given mentions, on which gold has no place, and reads nothing of them but their words."""
    names = NameIndex(people_kb.ids, people_kb.names, people_kb.aliases)
    source = make_source(CandidateConfig(retriever=retriever), people_kb, names, MentionPrior({"foster": {"Q2": 1}}))
    lists = [
        source.search([Mention("Foster in a film", "Foster", id=gold, image=f"{gold}.jpg", type=gold)], 4)
        for gold in ("Q1", "Q3", "Q9")
    ]
    assert all(np.array_equal(lists[0].rows, other.rows) for other in lists[1:])
    assert not {"gold", "entity_id", "answer"} & {f.name for f in dataclasses.fields(Mention)}


class TestTrap9:
    def test_trap_9_cached_texts_are_those_of_their_encoder_and_template(self, make_tiny_clip, people_kb, tmp_path):
        """One cache folder, two encoders and two templates: each gets its own vectors, in any order of asking."""
        encoders = [ClipEncoder(make_tiny_clip(tmp_path / f"model{seed}", seed=seed)) for seed in (0, 1)]
        templates = ["{text}", "{name}. {text}"]

        def vectors(encoder, template, folder):
            text = CachedTextEncoder(encoder, folder)
            return FeatureExtractor(FeatureConfig(entity_template=template), text).entities(people_kb)

        ways = [(encoder, template) for encoder in encoders for template in templates]
        fresh = [vectors(encoder, template, None) for encoder, template in ways]
        for _ in range(2):
            for (encoder, template), expected in zip(ways, fresh, strict=True):
                np.testing.assert_allclose(vectors(encoder, template, tmp_path / "cache"), expected, atol=1e-5)
        assert not any(np.allclose(fresh[0], other) for other in fresh[1:])

    def test_trap_9_cached_pictures_are_those_of_their_encoder_content_and_box(self, make_tiny_clip, photos, tmp_path):
        encoders = [ClipEncoder(make_tiny_clip(tmp_path / f"model{seed}", seed=seed)) for seed in (0, 1)]
        boxes = [(0.0, 0.0, 20.0, 20.0), (10.0, 10.0, 40.0, 40.0), (0.0, 0.0, 20.0, 21.0)]

        def vectors(encoder, box, folder):
            regions = {photos / "0.png": PictureRegions(objects=(Region(box),))}
            extractor = FeatureExtractor(FeatureConfig(), encoder, encoder, cache_folder=folder, regions=regions)
            return extract(extractor, ["0.png"], photos)[0].objects.values

        for _ in range(2):
            for encoder in encoders:
                for box in boxes:
                    expected = vectors(encoder, box, None)
                    np.testing.assert_allclose(vectors(encoder, box, tmp_path / "cache"), expected, atol=1e-5)


class TestTrap10:
    def test_trap_10_a_broken_picture_neither_ends_the_work_nor_shrinks_it(self, clip, photos):
        (photos / "broken.png").write_bytes((photos / "0.png").read_bytes()[:100])
        images = ["0.png", "broken.png", "1.png", "missing.png", "2.png", "broken.png"]
        features, report = extract(FeatureExtractor(FeatureConfig(), clip, clip), images, photos)
        assert len(features) == len(images)  # every mention is still there, with its text
        assert features.picture.tolist() == [0, -1, 1, -1, 2, -1]
        assert len(report.failures) == 2  # and every failure is told of, once
        assert report.pictures == 3
        batch = make_batch(features, np.arange(len(images)))
        assert len(batch) == len(images)
        assert batch.objects is not None
        assert batch.objects.counts.tolist() == [1, 0, 1, 0, 1, 0]
