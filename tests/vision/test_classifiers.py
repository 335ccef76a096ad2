"""Classifiers of people's names from tiny random directories: the paper's label form, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dualway.config import FeatureConfig
from dualway.errors import ModelError, UsageError
from dualway.protocols import LabelClassifier
from dualway.vision.classifiers import TOP, TransformersLabelClassifier, load_label_classifier

NAMES = ["Barack Obama", "Barry White", "Angela Merkel", "Jodie Foster", "Mel Gibson", "Ümit Özat", "Barack Obama"]


def save_tiny_classifier(folder, names, *, seed=0):
    """Save a random picture classifier of a few kilobytes."""
    import transformers as t

    torch.manual_seed(seed)
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = t.ViTConfig(image_size=32, patch_size=8, id2label=dict(enumerate(names)), **layers)
    t.ViTForImageClassification(config).save_pretrained(folder)
    t.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_classifier(tmp_path_factory.mktemp("classifiers") / "names", NAMES)


@pytest.fixture
def classifier(folder):
    return TransformersLabelClassifier(folder)


def pictures(number, size=(50, 40)):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)) for _ in range(number)]


def with_logits(classifier, logits):
    class Output:
        pass

    Output.logits = torch.tensor([logits], dtype=torch.float32)
    classifier._model = lambda **inputs: Output
    return classifier


class TestLabels:
    def test_softmax_best_first_two_classes_of_a_name_together(self, classifier):
        logits = [1.0, 2.0, 0.5, 3.0, -1.0, 0.0, 2.5]
        shares = np.exp(logits) / np.exp(logits).sum()
        [found] = with_logits(classifier, logits).classify(pictures(1))
        expected = {"Barack Obama": shares[0] + shares[6], **{NAMES[i]: shares[i] for i in (1, 2, 3, 4, 5)}}
        assert {label.label: label.score for label in found} == pytest.approx(
            dict(sorted(expected.items(), key=lambda item: -item[1])[:TOP])
        )
        assert [label.score for label in found] == sorted((label.score for label in found), reverse=True)
        assert all((label.entity_id, label.probe, label.similarity) == (None, -1, None) for label in found)

    def test_the_papers_rule_keeps_one_at_most(self, classifier):
        """Section 4.3.2: "confidence scores greater than 0.5"."""
        config = FeatureConfig()
        [sure] = with_logits(classifier, [9.0, 0, 0, 0, 0, 0, 0]).classify(pictures(1))
        [unsure] = with_logits(classifier, [0.0] * 7).classify(pictures(1))
        assert [label.label for label in sure if label.score > config.identity_threshold] == ["Barack Obama"]
        assert [label for label in unsure if label.score > config.identity_threshold] == []

    def test_equal_scores_are_in_the_order_of_names(self, classifier):
        [found] = with_logits(classifier, [-99.0, 0, 0, 0, 0, 0, -99.0]).classify(pictures(1))
        assert [label.label for label in found] == sorted(NAMES[1:6])

    def test_a_picture_does_not_depend_on_the_others(self, classifier):
        images = pictures(3)
        together = classifier.classify(images)
        assert [classifier.classify([image])[0] for image in images] == together
        assert together[0] != together[1]
        assert classifier.classify([]) == []

    @pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (3, 500)])
    def test_odd_shapes_are_read(self, classifier, size):
        assert len(classifier.classify(pictures(1, size))[0]) == TOP

    def test_top(self, folder):
        best = TransformersLabelClassifier(folder, top=1)
        every = TransformersLabelClassifier(folder, top=99)
        [image] = pictures(1)
        assert best.classify([image])[0] == every.classify([image])[0][:1]
        assert len(every.classify([image])[0]) == 6  # names, not classes
        assert sum(label.score for label in every.classify([image])[0]) == pytest.approx(1)
        assert best.fingerprint != every.fingerprint
        with pytest.raises(UsageError, match="at least 1"):
            TransformersLabelClassifier(folder, top=0)


class TestLoading:
    def test_by_directory(self, folder):
        loaded: LabelClassifier = load_label_classifier(str(folder))
        assert loaded.fingerprint == TransformersLabelClassifier(folder).fingerprint

    @pytest.mark.parametrize("names", [["LABEL_0", "LABEL_1", "LABEL_2"], ["0", "1"], ["", " "]])
    def test_labels_without_names_are_refused(self, names, tmp_path):
        with pytest.raises(ModelError, match="id2label"):
            TransformersLabelClassifier(save_tiny_classifier(tmp_path, names))

    @pytest.mark.parametrize("names", [["Asian", "White"], ["happy", "neutral"], ["x", "Middle Eastern"]])
    def test_race_and_emotion_are_refused(self, names, tmp_path):
        with pytest.raises(ModelError, match="race or emotion"):
            TransformersLabelClassifier(save_tiny_classifier(tmp_path, names))

    def test_weights_that_give_no_numbers(self, classifier):
        with pytest.raises(ModelError, match="not finite"):
            with_logits(classifier, [float("nan")] * 7).classify(pictures(1))

    def test_another_model_is_refused(self, tiny_clip, tmp_path):
        with pytest.raises(ModelError):
            TransformersLabelClassifier(tiny_clip)
        with pytest.raises(ModelError, match="no such directory"):
            load_label_classifier(str(tmp_path / "none"))

    @pytest.mark.parametrize("name", ["", "arcface", "\0", "FILE"])
    def test_what_names_no_model_is_told_what_does(self, name, folder):
        with pytest.raises(UsageError, match=r"unknown model of identity.*'pictures', or the directory"):
            load_label_classifier(str(folder / "model.safetensors") if name == "FILE" else name)

    def test_missing_weights_are_refused(self, folder, tmp_path):
        import shutil

        from safetensors.torch import load_file, save_file

        copy = shutil.copytree(folder, tmp_path / "copy")
        weights = load_file(copy / "model.safetensors")
        weights.pop("classifier.weight")
        save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError, match="weights of the model are not in it"):
            TransformersLabelClassifier(copy)
        config = json.loads((copy / "config.json").read_text())
        assert config["id2label"]["0"] == "Barack Obama"
