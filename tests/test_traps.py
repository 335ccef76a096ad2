"""The ten traps met in the public code, in one place: a test each, here or where it is named.

 1. padding attended to, predictions change with the company
 2. an input that silently never enters the model
 3. squeeze and broadcasting change the loss with the number of negatives
 4. trained on dot products, ranked by cosine
 5. exp without logsumexp; a batch of one
 6. samples that share entity or picture as false negatives
 7. a face model on faceless crops
 8. candidates or negatives keyed by the gold entity
 9. caches whose name ignores encoder and template
10. one broken picture ends an extraction, or the denominator shrinks
"""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from dualway.config import FeatureConfig, ModelConfig
from dualway.encoders.cache import CachedTextEncoder
from dualway.evaluation import EvaluationData, evaluate, parse_protocols
from dualway.features.extract import FeatureExtractor
from dualway.schema import CandidateLists, Mention
from dualway.systems.lexical import Lexical

TESTS = Path(__file__).parent
ELSEWHERE = {
    1: ("model/test_dwe_plus.py", "test_a_prediction_does_not_depend_on_the_batch"),
    2: ("model/test_dwe_plus.py", "test_an_input_counts_exactly_when_it_is_switched_on"),
    3: ("model/test_losses.py", "test_shapes_that_would_broadcast_are_refused"),
    4: ("model/test_model_scoring.py", "test_scores_are_the_cosines_of_the_model_in_eval_mode"),
    5: ("model/test_losses.py", "test_extreme_vectors_give_finite_losses_and_gradients"),
    6: ("model/test_losses.py", "test_samples_that_share_entity_or_picture_are_in_conflict"),
    7: ("features/test_regions.py", "test_no_face_in_the_file_means_no_attributes"),
    8: ("model/test_negatives.py", "test_hard_negatives_depend_on_the_mentions_list_and_not_on_gold"),
}


@pytest.mark.parametrize("trap", ELSEWHERE)
def test_the_trap_has_its_test(trap: int):
    file, name = ELSEWHERE[trap]
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


class CountingEncoder:
    """A text is its length; counts what it is asked."""

    dim = 2

    def __init__(self, fingerprint: str, factor: float = 1.0) -> None:
        self.fingerprint, self.factor, self.asked = fingerprint, factor, 0

    def encode_texts(self, texts):
        self.asked += len(texts)
        return np.array([[len(text) * self.factor, 1.0] for text in texts], dtype=np.float32).reshape(-1, 2)

    def encode_images(self, images):
        return np.array([[*image.size] for image in images], dtype=np.float32)


def test_trap_4_the_papers_training_compares_what_ranks():
    assert ModelConfig().rank_loss == "triplet"


def test_trap_8_candidates_are_keyed_by_the_mention_alone(people_kb):
    from dualway.candidates.names import NameIndex

    index = NameIndex(people_kb.ids, people_kb.names, people_kb.aliases)
    told = Mention("Foster, Jodie", "Foster", id="Q3", image="Q3.jpg", source="Q3")
    bare = Mention("Foster, Jodie", "Foster", id="x")
    assert index.search([told], 5).rows.tolist() == index.search([bare], 5).rows.tolist()


def test_trap_9_vectors_are_kept_by_encoder_and_by_the_text_that_the_template_made(people_kb, tmp_path):
    first, second = CountingEncoder("first"), CountingEncoder("second", factor=2.0)
    plain, named = FeatureConfig(), FeatureConfig(entity_template="{name}: {text}")
    one = FeatureExtractor(plain, CachedTextEncoder(first, tmp_path)).entities(people_kb)
    assert np.array_equal(FeatureExtractor(plain, CachedTextEncoder(first, tmp_path)).entities(people_kb), one)
    assert first.asked == len(people_kb)
    assert not np.array_equal(FeatureExtractor(named, CachedTextEncoder(first, tmp_path)).entities(people_kb), one)
    other = FeatureExtractor(plain, CachedTextEncoder(second, tmp_path)).entities(people_kb)
    assert np.array_equal(other[:, 0], 2 * one[:, 0])


def test_trap_10_a_broken_picture_is_counted_and_its_mention_stays(people_kb, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 6)).save(tmp_path / "good.png")
    (tmp_path / "broken.jpg").write_bytes(b"<html>not a picture</html>")
    mentions = [Mention("Foster", "Foster", n, image=n) for n in ("good.png", "broken.jpg", "missing.jpg")]
    encoder = CountingEncoder("e")
    extractor = FeatureExtractor(FeatureConfig(), encoder, encoder)
    features, report = extractor.extract(mentions, lambda m: tmp_path / str(m.image), extractor.entities(people_kb))
    assert features.picture.tolist() == [0, -1, -1]
    assert len(features) == 3
    assert {Path(path).name for path in report.failures} == {"broken.jpg", "missing.jpg"}


def test_trap_10_a_miss_stays_in_the_denominator(people_kb):
    from dualway.candidates.names import NameIndex

    index = NameIndex(people_kb.ids, people_kb.names, people_kb.aliases)
    mentions = [Mention("Mel Gibson", "Mel Gibson", "found"), Mention("Somebody", "Somebody", "missed")]
    lists = index.search(mentions, 100)
    rows = np.where(lists.rows == people_kb.row("Q8"), -1, lists.rows)
    data = EvaluationData(
        mentions, {"found": "Q4", "missed": "Q8"}, people_kb, CandidateLists(np.sort(rows)[:, ::-1], lists.scores)
    )
    report = evaluate([Lexical(index)], data, parse_protocols("top11"))
    assert report.result("top11", "lexical").metrics["hits@1"].value == 0.5
