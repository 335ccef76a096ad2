"""Instance segmentation from tiny random directories: outlines, what is kept, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.detectors import KINDS, LABELS, SEGMENTERS, save_tiny_detector, save_tiny_segmenter

from dualway.errors import ModelError
from dualway.protocols import Detector
from dualway.schema import Segment
from dualway.vision import load_detector
from dualway.vision.crops import crop_region, decode_mask, mask_problem, outline_box
from dualway.vision.objects import MAX_BOXES, TransformersDetector
from dualway.vision.segmenters import TransformersSegmenter, is_segmenter, trace


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("segmenters")
    return {kind: save_tiny_segmenter(base / kind, kind) for kind in SEGMENTERS}


@pytest.fixture(params=SEGMENTERS)
def folder(request, folders):
    return folders[request.param]


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


PICTURES = [picture(50, 40), picture(64, 64, 1), picture(200, 90, 2)]


def with_stub(segmenter, logits, masks):
    """Let a segmenter's model say what is given: logits by query and class (the last: nothing), masks by query."""

    class Output:
        class_queries_logits = torch.tensor([logits], dtype=torch.float32)
        masks_queries_logits = torch.tensor(np.asarray(masks)[None], dtype=torch.float32)

    config = segmenter._model.config

    class Stub:
        def __call__(self, **inputs):
            return Output

    Stub.config = config
    segmenter._model = Stub()
    return segmenter


def whole_mask(segment: Segment, size: tuple[int, int]) -> np.ndarray:
    x0, y0, x1, y1 = outline_box(segment.box)
    mask = np.zeros(size[::-1], dtype=bool)
    mask[y0:y1, x0:x1] = decode_mask(segment)
    return mask


class TestEveryKind:
    def test_it_runs_without_torchvision_and_timm(self, folder):
        segmenter: Detector = TransformersSegmenter(folder, min_score=0.0)
        found = segmenter.detect(PICTURES)
        assert sum(map(len, found)) > 0
        for regions, image in zip(found, PICTURES):
            assert len(regions) <= MAX_BOXES
            for region in regions:
                assert isinstance(region, Segment)
                x0, y0, x1, y1 = region.box
                assert 0 <= x0 < x1 <= image.width
                assert 0 <= y0 < y1 <= image.height
                assert mask_problem(region.box, region.mask) == ""
                inside = decode_mask(region)
                assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))  # tight
                assert region.label in LABELS.values()
                assert 0 <= region.score <= 1
                assert crop_region(image, region, "mask").size == (x1 - x0, y1 - y0)
            assert [r.score for r in regions] == sorted((r.score for r in regions), reverse=True)
        assert not {"torchvision", "timm"} & set(sys.modules)

    def test_a_picture_has_its_objects_whatever_the_others_are(self, folder):
        segmenter = TransformersSegmenter(folder, min_score=0.0)
        together = segmenter.detect(PICTURES)
        assert [segmenter.detect([image])[0] for image in PICTURES] == together
        assert TransformersSegmenter(folder, min_score=0.0).detect(PICTURES[::-1])[::-1] == together
        assert segmenter.detect([]) == []

    @pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (7, 900)])
    def test_odd_shapes_are_read(self, folder, size):
        for region in TransformersSegmenter(folder, min_score=0.0).detect([picture(*size)])[0]:
            assert 0 <= region.box[0] < region.box[2] <= size[0]
            assert 0 <= region.box[1] < region.box[3] <= size[1]

    def test_a_directory_is_told_from_a_detectors(self, folder):
        assert is_segmenter(folder)
        segmenter = load_detector(str(folder))
        assert isinstance(segmenter, TransformersSegmenter)
        assert segmenter.fingerprint == TransformersSegmenter(folder).fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_a_detectors_directory_stays_a_detectors(kind, tmp_path):
    save_tiny_detector(tmp_path, kind)
    assert not is_segmenter(tmp_path)
    assert isinstance(load_detector(str(tmp_path)), TransformersDetector)


class TestOutlines:
    @pytest.mark.parametrize("seed", range(6))
    def test_they_are_those_of_the_whole_mask_enlarged(self, seed):
        rng = np.random.default_rng(seed)
        coarse = rng.normal(-0.5, 1, (6, 9)).astype(np.float32)
        if seed % 2:  # the outline ends beyond the cells that are inside
            coarse = -np.abs(coarse) / 9
            coarse[2:4, 3:6] = 3
        size = int(rng.integers(9, 80)), int(rng.integers(6, 70))
        segment = trace(coarse, (9.0, 6.0), size, "x", 0.5)
        large = torch.nn.functional.interpolate(
            torch.from_numpy(coarse)[None, None], size=size[::-1], mode="bilinear", align_corners=False
        )[0, 0].numpy()
        assert isinstance(segment, Segment)
        sure = np.abs(large) > 1e-4
        assert np.array_equal(whole_mask(segment, size)[sure], (large > 0)[sure])

    def test_padding_is_no_part_of_the_picture(self):
        coarse = np.full((4, 8), -5, dtype=np.float32)
        coarse[:, 4:] = 5  # the right half of what the model saw, of which the picture is the left three quarters
        segment = trace(coarse, (6.0, 4.0), (60, 40), "x", 0.5)
        assert segment.box == (40.0, 0.0, 60.0, 40.0)
        coarse[:, :] = -5
        coarse[:, 7] = 5
        assert trace(coarse, (6.0, 4.0), (60, 40), "x", 0.5) is None

    def test_a_mask_of_nothing_is_no_object(self):
        assert trace(np.full((4, 4), -1, np.float32), (4.0, 4.0), (40, 40), "x", 0.5) is None

    def test_only_what_the_mask_reaches_of_a_large_picture_is_looked_at(self):
        coarse = np.full((64, 64), -1, dtype=np.float32)
        coarse[10, 20] = 1
        segment = trace(coarse, (64.0, 64.0), (640_000, 64_000), "x", 0.5)  # as a whole: 160 GB
        x0, y0, x1, y1 = segment.box
        assert 195_000 < x0 < x1 < 215_000
        assert 9_500 < y0 < y1 < 11_500


class TestWhatIsKept:
    @pytest.fixture
    def segmenter(self, folders):
        return TransformersSegmenter(folders["mask2former"])

    def test_outlines_labels_and_scores_are_those_of_the_model(self, segmenter):
        masks = np.full((3, 4, 8), -9.0)
        masks[0, :, :4], masks[1, :2], masks[2] = 9, 2, 9
        logits = [[0, 9, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 9]]  # the last: nothing
        [regions] = with_stub(segmenter, logits, masks).detect([picture(64, 32)])
        assert [region.label for region in regions] == ["dog", "person"]
        half = np.zeros((32, 64), dtype=bool)
        half[:, :32] = True
        assert (whole_mask(regions[0], (64, 32)) == half).mean() > 0.97
        chances = [np.exp(9) / (np.exp(9) + 5), np.exp(5) / (np.exp(5) + 5)]
        expected = [chances[0] / (1 + np.exp(-9)), chances[1] / (1 + np.exp(-2))]
        assert [region.score for region in regions] == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("given", [True, False])
    def test_a_picture_that_was_padded_for_the_model(self, segmenter, given):
        """The model sees 32 columns, of which the picture is the first 24; its mask is 8 columns wide."""
        masks = np.full((1, 4, 8), -9.0)
        masks[0, :, 3:] = 9
        seen = torch.zeros((1, 16, 32))
        seen[:, :, :24] = 1
        inputs = {"pixel_values": torch.zeros((1, 3, 16, 32)), **({"pixel_mask": seen} if given else {})}
        segmenter._processor = lambda **asked: dict(inputs)
        [[region]] = with_stub(segmenter, [[9, 0, 0, 0, 0, 0]], masks).detect([picture(48, 32)])
        assert region.box == ((24.0, 0.0, 48.0, 32.0) if given else (18.0, 0.0, 48.0, 32.0))

    def test_the_surest_so_many(self, folders):
        masks = np.full((40, 4, 4), 9.0)
        logits = [[i / 4, 0, 0, 0, 0, 0] for i in range(40)]
        for settings, number in (({"min_score": 0.0}, 32), ({"min_score": 0.0, "max_boxes": 3}, 3), ({}, 36)):
            segmenter = with_stub(TransformersSegmenter(folders["mask2former"], **settings), logits, masks)
            [regions] = segmenter.detect([picture(64, 64)])
            assert len(regions) == min(number, 32)
            assert regions[0].score == pytest.approx(np.exp(39 / 4) / (np.exp(39 / 4) + 5), abs=1e-3)

    def test_equal_scores_have_the_order_of_boxes(self, segmenter):
        masks = np.full((3, 4, 12), -9.0)
        masks[0, :, 8:], masks[1, :, :4], masks[2, :, 4:8] = 9, 9, 9
        [regions] = with_stub(segmenter, [[9, 0, 0, 0, 0, 0]] * 3, masks).detect([picture(120, 40)])
        assert len(regions) == 3
        assert [r.box for r in regions] == sorted(r.box for r in regions)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_numbers_that_are_none_are_an_error(self, segmenter, bad):
        masks = np.zeros((1, 4, 4))
        with pytest.raises(ModelError, match="not finite"):
            with_stub(segmenter, [[bad, 0, 0, 0, 0, 0]], masks).detect(PICTURES[:1])
        with pytest.raises(ModelError, match="not finite"):
            with_stub(segmenter, [[0, 0, 0, 0, 0, 0]], masks + bad).detect(PICTURES[:1])

    def test_the_fingerprint_changes_with_weights_and_settings(self, folders, tmp_path):
        folder = folders["mask2former"]
        prints = {
            TransformersSegmenter(folder).fingerprint,
            TransformersSegmenter(folder, min_score=0.4).fingerprint,
            TransformersSegmenter(folder, max_boxes=8).fingerprint,
            TransformersSegmenter(save_tiny_segmenter(tmp_path, seed=1)).fingerprint,
        }
        assert len(prints) == 4
        assert TransformersSegmenter(folder).fingerprint in prints


class TestRefused:
    def copy(self, folders, tmp_path, kind="mask2former"):
        return shutil.copytree(folders[kind], tmp_path / "copy")

    def test_another_kind_of_model(self, tiny_clip, tmp_path):
        with pytest.raises(ModelError, match="AutoModelForUniversalSegmentation"):
            TransformersSegmenter(tiny_clip)
        with pytest.raises(ModelError, match="AutoModelForUniversalSegmentation"):
            TransformersSegmenter(save_tiny_detector(tmp_path / "yolos", "yolos"))

    def test_weights_that_are_not_there_are_not_made_up(self, folders, tmp_path):
        folder = self.copy(folders, tmp_path, "detr_segmentation")
        weights = load_file(folder / "model.safetensors")
        missing = [name for name in weights if "mask_head" in name]  # as in a detector's directory
        save_file({name: weights[name] for name in weights if name not in missing}, folder / "model.safetensors")
        with pytest.raises(ModelError, match=f"{len(missing)} weights of the model are not in it"):
            load_detector(str(folder))

    def test_a_kind_that_is_not_read(self, folders, tmp_path, monkeypatch):
        folder = self.copy(folders, tmp_path)
        monkeypatch.setattr("dualway.vision.segmenters.KINDS", ("maskformer", "detr"))
        with pytest.raises(ModelError, match="segments by mask2former; choose a model of maskformer or detr"):
            TransformersSegmenter(folder)

    def test_damaged_or_pickled_weights(self, folders, tmp_path):
        folder = self.copy(folders, tmp_path)
        (folder / "model.safetensors").write_bytes(b"\0" * 100)
        with pytest.raises(ModelError, match=str(folder)):
            load_detector(str(folder))
        (folder / "model.safetensors").unlink()
        torch.save({}, folder / "pytorch_model.bin")
        with pytest.raises(ModelError, match="safetensors"):
            load_detector(str(folder))

    def test_the_processor_of_another_kind_of_model(self, folders, tiny_clip, tmp_path):
        folder = self.copy(folders, tmp_path)
        shutil.copy(tiny_clip / "preprocessor_config.json", folder)
        with pytest.raises(ModelError, match="picture processor"):
            load_detector(str(folder))

    @pytest.mark.parametrize("content", ["", "[", "\xff", '{"a": '])
    def test_a_broken_configuration(self, folders, tmp_path, content):
        folder = self.copy(folders, tmp_path)
        (folder / "config.json").write_bytes(content.encode("latin-1"))
        with pytest.raises(ModelError, match=r"config\.json"):
            load_detector(str(folder))

    @pytest.mark.parametrize("config", [[], 7, {"architectures": 7}, {"architectures": [None]}, {"model_type": ["x"]}])
    def test_an_odd_configuration(self, folders, tmp_path, config):
        folder = self.copy(folders, tmp_path)
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(ModelError, match=str(folder)):
            load_detector(str(folder))

    def test_without_architectures_the_model_type_tells(self, folders, tmp_path):
        for kind, expected in (("mask2former", True), ("maskformer", True), ("detr_segmentation", False)):
            folder = shutil.copytree(folders[kind], tmp_path / kind)
            config = json.loads((folder / "config.json").read_text())
            del config["architectures"]
            (folder / "config.json").write_text(json.dumps(config))
            assert is_segmenter(folder) is expected
