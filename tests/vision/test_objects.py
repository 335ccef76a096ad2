"""Trained detectors from tiny random directories: what is kept of what they find, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.detectors import KINDS, LABELS, save_tiny_detector

from dualway.config import FeatureConfig
from dualway.errors import ModelError, UsageError
from dualway.features.regions import PictureRegions, choose_objects
from dualway.protocols import Detector
from dualway.vision import load_detector
from dualway.vision.objects import MAX_BOXES, TransformersDetector


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("detectors")
    return {kind: save_tiny_detector(base / kind, kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def folder(request, folders):
    return folders[request.param]


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


PICTURES = [picture(50, 40), picture(64, 64, 1), picture(200, 90, 2)]


def with_stub(detector, boxes, logits):
    """Let a detector's model say what is given: boxes as (cx, cy, w, h) in shares, logits by box and label."""

    class Output:
        pred_boxes = torch.tensor([boxes], dtype=torch.float32)

    Output.logits = torch.tensor([logits], dtype=torch.float32)
    detector._model = lambda **inputs: Output
    return detector


class TestEveryKind:
    def test_it_runs_without_torchvision_and_timm(self, folder):
        detector: Detector = TransformersDetector(folder, min_score=0.0)
        found = detector.detect(PICTURES)
        assert len(found) == 3
        for regions, image in zip(found, PICTURES):
            assert 0 < len(regions) <= MAX_BOXES
            for region in regions:
                x0, y0, x1, y1 = region.box
                assert 0 <= x0 < x1 <= image.width
                assert 0 <= y0 < y1 <= image.height
                assert all(type(value) is float for value in region.box)
                assert region.label in LABELS.values()
                assert 0 <= region.score <= 1
            assert [r.score for r in regions] == sorted((r.score for r in regions), reverse=True)
        assert not {"torchvision", "timm"} & set(sys.modules)

    def test_a_picture_has_its_objects_whatever_the_others_are(self, folder):
        detector = TransformersDetector(folder, min_score=0.0)
        together = detector.detect(PICTURES)
        assert [detector.detect([image])[0] for image in PICTURES] == together
        assert detector.detect(PICTURES[::-1])[::-1] == together
        assert TransformersDetector(folder, min_score=0.0).detect(PICTURES) == together
        assert detector.detect([]) == []

    @pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (7, 900)])
    def test_odd_shapes_are_read(self, folder, size):
        for region in TransformersDetector(folder, min_score=0.0).detect([picture(*size)])[0]:
            assert 0 <= region.box[0] < region.box[2] <= size[0]
            assert 0 <= region.box[1] < region.box[3] <= size[1]

    def test_its_regions_are_what_the_features_choose_from(self, folder):
        [regions] = TransformersDetector(folder, min_score=0.0).detect(PICTURES[:1])
        chosen = choose_objects(FeatureConfig(max_objects=2), PictureRegions(tuple(regions)))
        assert chosen == tuple(regions[:2])


class TestWhatIsKept:
    @pytest.fixture
    def detector(self, folders):
        return TransformersDetector(folders["yolos"])

    def test_boxes_labels_and_scores_are_those_of_the_model(self, detector):
        boxes = [[0.5, 0.5, 0.2, 0.4], [0.25, 0.5, 0.5, 1.0]]
        certain = [[0, 9, 0, 0, 0, 0], [0, 0, 0, 0, 5, 0]]  # softmax; the last column is "nothing"
        [regions] = with_stub(detector, boxes, certain).detect([picture(100, 50)])
        assert [(r.label, tuple(round(v, 3) for v in r.box)) for r in regions] == [
            ("dog", (40, 15, 60, 35)),
            ("car", (0, 0, 50, 50)),
        ]
        expected = [float(np.exp(9) / (np.exp(9) + 5)), float(np.exp(5) / (np.exp(5) + 5))]
        assert [r.score for r in regions] == pytest.approx(expected, abs=1e-6)

    def test_boxes_are_cut_at_the_picture_and_those_outside_are_left_out(self, detector):
        boxes = [[0.0, 0.5, 1.0, 3.0], [2.0, 2.0, 0.1, 0.1], [0.5, 0.5, 0.0, 0.5]]
        [regions] = with_stub(detector, boxes, [[9, 0, 0, 0, 0, 0]] * 3).detect([picture(100, 50)])
        assert [r.box for r in regions] == [(0.0, 0.0, 50.0, 50.0)]

    def test_weak_boxes_are_left_out(self, folders):
        boxes, logits = [[0.5, 0.5, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2]], [[2, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
        for min_score, expected in ((0.3, 1), (0.1, 2), (0.9, 0)):
            detector = TransformersDetector(folders["yolos"], min_score=min_score)
            assert len(with_stub(detector, boxes, logits).detect(PICTURES[:1])[0]) == expected

    def test_at_most_so_many_and_the_best(self, folders):
        boxes = [[0.5, 0.5, 0.01 * (i + 1), 0.5] for i in range(40)]
        logits = [[i / 4, 0, 0, 0, 0, 0] for i in range(40)]
        detector = with_stub(TransformersDetector(folders["yolos"], min_score=0), boxes, logits)
        [regions] = detector.detect([picture(100, 100)])
        assert len(regions) == 32
        assert regions[0].box[2] == pytest.approx(70)

    def test_equal_scores_have_the_order_of_boxes(self, detector):
        boxes = [[0.8, 0.5, 0.2, 0.2], [0.2, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]]
        [regions] = with_stub(detector, boxes, [[9, 0, 0, 0, 0, 0]] * 3).detect(PICTURES[:1])
        assert [r.box for r in regions] == sorted(r.box for r in regions)

    def test_a_box_of_two_labels_counts_once(self, folders):
        """RT-DETR takes the best pairs of box and label, so that a box may come twice."""
        detector = TransformersDetector(folders["rt_detr_v2"])
        [regions] = with_stub(detector, [[0.5, 0.5, 0.4, 0.4]] * 2, [[3, 4, -9, -9, -9], [2, -9, -9, -9, -9]]).detect(
            PICTURES[:1]
        )
        assert [r.label for r in regions] == ["dog"]

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_numbers_that_are_none_are_an_error(self, detector, bad):
        with pytest.raises(ModelError, match="not finite"):
            with_stub(detector, [[0.5, 0.5, 0.2, bad]], [[9, 0, 0, 0, 0, 0]]).detect(PICTURES[:1])
        with pytest.raises(ModelError, match="not finite"):
            with_stub(detector, [[0.5, 0.5, 0.2, 0.2]], [[bad, 0, 0, 0, 0, 0]]).detect(PICTURES[:1])


class TestFingerprint:
    def test_it_changes_with_weights_and_settings(self, folders, tmp_path):
        folder = folders["rt_detr_v2"]
        prints = {
            TransformersDetector(folder).fingerprint,
            TransformersDetector(folder, min_score=0.4).fingerprint,
            TransformersDetector(folder, max_boxes=8).fingerprint,
            TransformersDetector(save_tiny_detector(tmp_path, seed=1)).fingerprint,
        }
        assert len(prints) == 4
        assert TransformersDetector(folder).fingerprint in prints


class TestRefused:
    def copy(self, folders, tmp_path):
        return shutil.copytree(folders["rt_detr_v2"], tmp_path / "copy")

    def test_another_kind_of_model(self, tiny_clip):
        with pytest.raises(ModelError, match="AutoModelForObjectDetection"):
            TransformersDetector(tiny_clip)

    def test_pickled_weights_are_not_opened(self, folders, tmp_path):
        folder = self.copy(folders, tmp_path)
        (folder / "model.safetensors").unlink()
        torch.save({}, folder / "pytorch_model.bin")
        with pytest.raises(ModelError, match="safetensors"):
            TransformersDetector(folder)

    def test_damaged_weights(self, folders, tmp_path):
        folder = self.copy(folders, tmp_path)
        (folder / "model.safetensors").write_bytes(b"\0" * 100)
        with pytest.raises(ModelError, match=str(folder)):
            TransformersDetector(folder)

    def test_weights_that_are_not_there_are_not_made_up(self, folders, tmp_path):
        folder = self.copy(folders, tmp_path)
        weights = load_file(folder / "model.safetensors")
        del weights["model.backbone.model.embedder.embedder.0.convolution.weight"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError, match="1 weights of the model are not in it"):
            TransformersDetector(folder)

    def test_without_its_processor(self, folders, tmp_path):
        folder = self.copy(folders, tmp_path)
        (folder / "preprocessor_config.json").unlink()
        with pytest.raises(ModelError, match="AutoImageProcessor"):
            TransformersDetector(folder)

    def test_with_the_processor_of_another_kind_of_model(self, folders, tiny_clip, tmp_path):
        folder = self.copy(folders, tmp_path)
        shutil.copy(tiny_clip / "preprocessor_config.json", folder)
        with pytest.raises(ModelError, match="picture processor"):
            TransformersDetector(folder)

    def test_a_backbone_that_is_not_to_be_had_here(self, folders, tmp_path):
        folder = shutil.copytree(folders["detr"], tmp_path / "copy")
        config = json.loads((folder / "config.json").read_text())
        config.update(use_timm_backbone=True, backbone="resnet50", backbone_config=None)
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(ModelError, match="timm"):
            TransformersDetector(folder)


def test_a_processor_that_was_saved_where_torchvision_is_serves_here_too(folders, tmp_path):
    folder = shutil.copytree(folders["rt_detr_v2"], tmp_path / "copy")
    path = folder / "preprocessor_config.json"
    path.write_text(path.read_text().replace("RTDetrImageProcessor", "RTDetrImageProcessorFast"))
    expected = TransformersDetector(folders["rt_detr_v2"], min_score=0).detect(PICTURES)
    assert TransformersDetector(folder, min_score=0).detect(PICTURES) == expected


class TestByName:
    def test_a_directory_is_a_detector_of_objects(self, folders):
        detector = load_detector(str(folders["rt_detr_v2"]))
        assert isinstance(detector, TransformersDetector)
        assert detector.fingerprint == TransformersDetector(folders["rt_detr_v2"]).fingerprint

    def test_other_names(self, tiny_clip, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(UsageError, match=r"unknown detector 'proposal'; choose proposals, an \.onnx file, or"):
            load_detector("proposal")
        with pytest.raises(ModelError, match="no such directory"):
            load_detector(str(tmp_path / "nothing"))
        with pytest.raises(ModelError, match=r"no config\.json"):
            load_detector(str(tmp_path))
        with pytest.raises(ModelError, match="AutoModelForObjectDetection"):
            load_detector(str(tiny_clip))
