"""YOLOX and FastestDet: decoding and suppression beside plain loops, real photographs, and files that are none."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from experiments.detector import count_persons, fastestdet_file, yolox_file
from PIL import Image
from tests.tiny_onnx import save_constant_onnx

from dualway.errors import ModelError, UsageError
from dualway.protocols import Detector
from dualway.vision import load_detector
from dualway.vision.crops import keep_distinct
from dualway.vision.onnx_objects import (
    COCO,
    FASTEST_SCORE,
    OVERLAP,
    YOLOX_SCORE,
    FastestDetDetector,
    Found,
    YoloxDetector,
    decode_fastestdet,
    decode_yolox,
    suppress,
)

SIDE = 64  # of the tiny models' input: grids of 8 x 8, 4 x 4 and 2 x 2 cells
ROWS = 64 + 16 + 4


def nothing(classes: int = 80) -> np.ndarray:
    return np.zeros((1, ROWS, 5 + classes), dtype=np.float32)


def save_yolox(path, output=None, size=(SIDE, SIDE)):
    inputs = {"images": (1, 3, *size)}
    return save_constant_onnx(path, inputs, {"output": nothing() if output is None else output})


def save_fastestdet(path, output=None):
    grid = np.zeros((1, 85, 4, 4), dtype=np.float32) if output is None else output
    return save_constant_onnx(path, {"input.1": (1, 3, SIDE, SIDE)}, {"758": grid})


def put(output, row, box, score, kind=0):
    """Let a row of a tiny YOLOX's output stand for a box (x0, y0, x1, y1 in pixels of its input)."""
    stride, x, y = plain_cells()[row]
    x0, y0, x1, y1 = box
    output[0, row, :2] = (x0 + x1) / 2 / stride - x, (y0 + y1) / 2 / stride - y
    output[0, row, 2:4] = math.log((x1 - x0) / stride), math.log((y1 - y0) / stride)
    output[0, row, 4:6] = (score, 0)
    output[0, row, 5 + kind] = 1


def plain_cells(height: int = SIDE, width: int = SIDE):
    return [(s, x, y) for s in (8, 16, 32) for y in range(height // s) for x in range(width // s)]


def plain_overlap(a, b):
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0) * max(high, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def random_boxes(rng, number, span=30.0):
    corners = rng.uniform(0, span, (number, 2))
    return np.concatenate([corners, corners + rng.uniform(2, 15, (number, 2))], axis=1).astype(np.float32)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


class TestDecoding:
    def test_yolox_is_that_of_a_plain_loop(self):
        rng, height, width = np.random.default_rng(0), 64, 96
        cells = plain_cells(height, width)
        rows = rng.normal(0, 1, (len(cells), 8)).astype(np.float32)
        rows[:, 4:] = rng.random((len(cells), 4))
        found = decode_yolox(rows, (height, width))
        for row, (stride, gx, gy) in enumerate(cells):
            o = rows[row].tolist()
            cx, cy, w, h = (o[0] + gx) * stride, (o[1] + gy) * stride, math.exp(o[2]) * stride, math.exp(o[3]) * stride
            expected = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            np.testing.assert_allclose(found.boxes[row], expected, rtol=1e-4, atol=1e-4)
            best = max(range(3), key=lambda c: o[5 + c])
            assert found.classes[row] == best
            assert found.scores[row] == pytest.approx(o[4] * o[5 + best])

    def test_fastestdet_is_that_of_a_plain_loop(self):
        rng = np.random.default_rng(1)
        output = rng.normal(0, 2, (5 + 3, 4, 6)).astype(np.float32)
        output[0], output[5:] = rng.random((4, 6)), rng.random((3, 4, 6))
        found = decode_fastestdet(output)
        for y in range(4):
            for x in range(6):
                o, place = output[:, y, x].tolist(), y * 6 + x
                cx, cy = (x + math.tanh(o[1])) / 6, (y + math.tanh(o[2])) / 4
                w, h = 1 / (1 + math.exp(-o[3])), 1 / (1 + math.exp(-o[4]))
                np.testing.assert_allclose(
                    found.boxes[place], [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], rtol=1e-4, atol=1e-5
                )
                best = max(range(3), key=lambda c: o[5 + c])
                assert found.classes[place] == best
                assert found.scores[place] == pytest.approx(o[0] ** 0.6 * o[5 + best] ** 0.4, rel=1e-5)

    @pytest.mark.parametrize("seed", range(8))
    def test_suppression_is_that_of_a_plain_loop(self, seed):
        rng = np.random.default_rng(seed)
        scores = rng.choice([0.2, 0.4, 0.5, 0.6, 0.8], 60).astype(np.float32)  # many are equal
        found = Found(random_boxes(rng, 60), scores, rng.integers(0, 3, 60))
        waiting = sorted((i for i in range(60) if scores[i] >= 0.4), key=lambda i: (-scores[i], i))
        expected: list[int] = []
        for i in waiting:
            rivals = [j for j in expected if found.classes[j] == found.classes[i]]
            if all(plain_overlap(found.boxes[i].tolist(), found.boxes[j].tolist()) <= 0.3 for j in rivals):
                expected.append(i)
        kept = suppress(found, min_score=0.4, overlap=0.3)
        assert len(expected) < len(waiting)
        assert np.array_equal(kept.boxes, found.boxes[expected])
        assert np.array_equal(kept.classes, found.classes[expected])
        assert np.array_equal(kept.scores, found.scores[expected])

    def test_a_higher_threshold_keeps_the_first_of_a_lower_one(self):
        rng = np.random.default_rng(3)
        found = Found(random_boxes(rng, 80), rng.random(80).astype(np.float32), rng.integers(0, 2, 80))
        low, high = suppress(found, min_score=0.2, overlap=0.45), suppress(found, min_score=0.6, overlap=0.45)
        assert 0 < len(high.scores) < len(low.scores)
        assert np.array_equal(high.boxes, low.boxes[: len(high.boxes)])

    def test_no_boxes_are_no_trouble(self):
        empty = Found(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
        assert len(suppress(empty, min_score=0.5, overlap=0.5).boxes) == 0
        assert keep_distinct(np.zeros((0, 4)), [], 0.5) == []

    def test_boxes_of_any_size_are_compared_without_a_warning(self):
        boxes = np.array([[0, 0, 1e300, 1e300], [0, 0, 1e300, 1e300], [0, 0, 1e-200, 1e-200], [5, 5, 6, 6]])
        assert 3 in keep_distinct(boxes, [0, 0, 0, 0], 0.5)


class TestATinyYolox:
    def test_boxes_come_back_in_the_pictures_pixels(self, tmp_path):
        output = nothing()
        put(output, 10, (8, 4, 24, 20), 0.9)
        put(output, 70, (32, 0, 64, 24), 0.6, kind=27)
        put(output, 30, (9, 4, 24, 20), 0.5)  # the first once more
        detector: Detector = YoloxDetector(save_yolox(tmp_path / "m.onnx", output))
        [regions] = detector.detect([picture(128, 96)])
        assert [(r.label, round(r.score, 4)) for r in regions] == [("person", 0.9), ("tie", 0.6)]
        np.testing.assert_allclose(regions[0].box, (16, 8, 48, 40), atol=1e-3)
        np.testing.assert_allclose(regions[1].box, (64, 0, 128, 48), atol=1e-3)
        assert all(type(value) is float for region in regions for value in (*region.box, region.score))

    def test_boxes_are_cut_at_the_picture_and_those_beside_it_are_left_out(self, tmp_path):
        output = nothing()
        put(output, 0, (-20, -8, 32, 200), 0.9)
        put(output, 50, (4, 40, 30, 60), 0.9, kind=3)  # in the grey below a wide picture
        [regions] = YoloxDetector(save_yolox(tmp_path / "m.onnx", output)).detect([picture(64, 32)])
        assert [region.box for region in regions] == [(0.0, 0.0, 32.0, 32.0)]

    @pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (7, 900)])
    def test_odd_shapes_are_read(self, tmp_path, size):
        output = nothing()
        put(output, 0, (0, 0, 64, 64), 0.9)
        [[region]] = YoloxDetector(save_yolox(tmp_path / "m.onnx", output)).detect([picture(*size)])
        np.testing.assert_allclose(region.box, (0, 0, *size), rtol=1e-4)

    def test_settings_choose_and_are_in_the_fingerprint(self, tmp_path):
        output = nothing()
        put(output, 10, (8, 4, 24, 20), 0.9)
        put(output, 30, (8, 10, 24, 26), 0.4)
        put(output, 40, (40, 4, 60, 20), 0.2)
        path = save_yolox(tmp_path / "m.onnx", output)
        given = [{}, {"min_score": 0.1}, {"overlap": 0.9}, {"max_boxes": 1}, {"min_score": 0.95}]
        detectors = [YoloxDetector(path, **settings) for settings in given]
        assert [len(d.detect([picture(64, 64)])[0]) for d in detectors] == [1, 2, 2, 1, 0]
        assert len({d.fingerprint for d in detectors}) == len(given)
        assert YoloxDetector(path).fingerprint == detectors[0].fingerprint
        assert YoloxDetector(save_yolox(tmp_path / "other.onnx")).fingerprint not in {d.fingerprint for d in detectors}

    def test_equal_scores_have_the_order_of_boxes(self, tmp_path):
        output = nothing()
        for row, left in ((3, 40), (60, 0), (20, 20)):
            put(output, row, (left, 0, left + 15, 30), 0.7)
        [regions] = YoloxDetector(save_yolox(tmp_path / "m.onnx", output)).detect([picture(64, 64)])
        assert [round(region.box[0]) for region in regions] == [0, 20, 40]

    def test_another_size_of_input_is_read_from_the_model(self, tmp_path):
        cells = plain_cells(32, 96)
        output = np.zeros((1, len(cells), 85), dtype=np.float32)
        output[0, 0, 4:6] = 0.9, 1
        path = save_yolox(tmp_path / "m.onnx", output, size=(32, 96))
        [[region]] = YoloxDetector(path).detect([picture(96, 32)])
        np.testing.assert_allclose(region.box, (0, 0, 4, 4), atol=1e-4)

    def test_it_may_go_to_another_process(self, tmp_path):
        detector = YoloxDetector(save_yolox(tmp_path / "m.onnx"))
        assert pickle.loads(pickle.dumps(detector)).fingerprint == detector.fingerprint


class TestATinyFastestDet:
    def test_boxes_come_back_in_the_pictures_pixels(self, tmp_path):
        output = np.zeros((1, 85, 4, 4), dtype=np.float32)
        output[0, [0, 5 + 16], 2, 1] = 0.9, 0.8  # a dog around the corner of cell (1, 2), half as large as the picture
        path = save_fastestdet(tmp_path / "m.onnx", output)
        [[region]] = FastestDetDetector(path).detect([picture(200, 40)])
        assert region.label == "dog"
        assert region.score == pytest.approx(0.9**0.6 * 0.8**0.4)
        np.testing.assert_allclose(region.box, (0, 10, 100, 30), atol=1e-3)
        assert FastestDetDetector(path, min_score=0.9).detect([picture(200, 40)]) == [[]]

    def test_its_fingerprint_is_its_own(self, tmp_path):
        path = save_fastestdet(tmp_path / "m.onnx")
        prints = {FastestDetDetector(path, min_score=score).fingerprint for score in (0.6, 0.65)}
        assert len(prints) == 2
        assert FastestDetDetector(path).fingerprint in prints


class TestNames:
    def test_coco_has_80_and_a_person_comes_first(self):
        assert len(set(COCO)) == len(COCO) == 80
        assert COCO[0] == "person"

    @pytest.mark.parametrize("file", ["coco.names", "labels.txt"])
    def test_a_file_beside_the_model_names_its_classes(self, tmp_path, file):
        output = nothing(classes=2)
        put(output, 0, (0, 0, 30, 30), 0.9, kind=1)
        path = save_yolox(tmp_path / "m.onnx", output)
        (tmp_path / file).write_text("flag\nsculpture of somebody \n\n", encoding="utf-8")
        [[region]] = YoloxDetector(path).detect([picture(64, 64)])
        assert region.label == "sculpture of somebody"
        fingerprint = YoloxDetector(path).fingerprint
        (tmp_path / file).write_text("flag\nstatue\n")
        assert YoloxDetector(path).fingerprint != fingerprint

    def test_a_file_of_another_model_is_not_this_ones(self, tmp_path):
        (tmp_path / "labels.txt").write_text("flag\n")
        assert YoloxDetector(save_yolox(tmp_path / "m.onnx")).labels == COCO

    def test_classes_without_names_are_told_with_the_remedy(self, tmp_path):
        (tmp_path / "coco.names").write_text("\n".join(COCO))
        with pytest.raises(ModelError, match=r"has 3 classes without names; coco\.names beside it has 80 lines; write"):
            YoloxDetector(save_yolox(tmp_path / "m.onnx", nothing(classes=3)))

    def test_names_that_are_no_text(self, tmp_path):
        (tmp_path / "labels.txt").write_bytes(b"per\xffson")
        with pytest.raises(ModelError, match=r"labels\.txt.*not UTF-8"):
            YoloxDetector(save_yolox(tmp_path / "m.onnx"))


class TestLoading:
    def test_the_kind_is_told_by_the_output(self, tmp_path):
        yolox, fastest = save_yolox(tmp_path / "a.onnx"), save_fastestdet(tmp_path / "B.ONNX")
        assert isinstance(load_detector(str(yolox)), YoloxDetector)
        assert isinstance(load_detector(str(fastest)), FastestDetDetector)
        assert load_detector(str(yolox)).fingerprint == YoloxDetector(yolox).fingerprint
        (tmp_path / "link.onnx").symlink_to(yolox)
        assert load_detector(str(tmp_path / "link.onnx")).fingerprint == YoloxDetector(yolox).fingerprint

    def test_the_home_folder_is_found(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        save_yolox(tmp_path / "m.onnx")
        assert isinstance(load_detector("~/m.onnx"), YoloxDetector)

    @pytest.mark.parametrize(
        ("content", "problem"),
        [(b"", "is empty"), (b"<html>404</html>", "not an ONNX model"), (None, "no such file")],
    )
    def test_files_that_are_no_models(self, tmp_path, content, problem):
        path = tmp_path / "m.onnx"
        if content is not None:
            path.write_bytes(content)
        for load in (lambda: load_detector(str(path)), lambda: YoloxDetector(path), lambda: FastestDetDetector(path)):
            with pytest.raises(ModelError, match=problem) as raised:
                load()
            assert str(path) in str(raised.value)

    def test_a_model_cut_short(self, tmp_path):
        path = save_yolox(tmp_path / "m.onnx")
        content = path.read_bytes()
        for length in (1, 20, len(content) // 2, len(content) - 5):
            path.write_bytes(content[:length])
            with pytest.raises(ModelError, match=str(path)):
                load_detector(str(path))

    @pytest.mark.parametrize(
        ("inputs", "outputs", "problem"),
        [
            ((1, 3, 64, 64), {"output": (1, 7)}, "no detector of objects"),
            ((1, 3, 64, 64), {"a": (1, 84, 85), "b": (1, 85, 4, 4)}, "no detector of objects.* this has 2"),
            ((1, 3, 64, 64), {"output": (1, 85, 84)}, r"one for pictures of 64 x 64 has \[1, 84, 5 \+ classes\]"),
            ((1, 3, 64, 64), {"output": (1, 252, 85)}, r"not a YOLOX.* is \[1, 252, 85\]"),
            ((1, 3, 64, 64), {"output": (1, 84, 5)}, "not a YOLOX"),
            ((1, 3, 64, 64), {"output": (1, 85, 8, 8)}, r"not a FastestDet.*\[1, 5 \+ classes, 4, 4\]"),
            ((1, 3, 64, 64), {"output": (1, 5, 4, 4)}, "not a FastestDet"),
            ((1, 3, 60, 64), {"output": (1, 84, 85)}, "60 x 64 pixels.* multiples of 32"),
            ((1, 3, "h", "w"), {"output": (1, 84, 85)}, r"\? x \? pixels.*fixed size"),
            ((1, 1, 64, 64), {"output": (1, 84, 85)}, r"not a YOLOX: its inputs are .*\[1, 1, 64, 64\]"),
            ((1, 12), {"output": (1, 85, 4, 4)}, "not a FastestDet: its inputs"),
            ((8, 3, 64, 64), {"output": (8, 84, 85)}, "not a YOLOX"),
        ],
    )
    def test_models_of_another_kind(self, tmp_path, inputs, outputs, problem):
        arrays = {name: np.zeros(shape, np.float32) for name, shape in outputs.items()}
        path = save_constant_onnx(tmp_path / "m.onnx", {"images": inputs}, arrays)
        with pytest.raises(ModelError, match=problem) as raised:
            load_detector(str(path))
        assert str(path) in str(raised.value)

    def test_a_model_for_any_number_of_pictures_is_asked_one_by_one(self, tmp_path):
        output = nothing()
        put(output, 0, (0, 0, 30, 30), 0.9)
        path = save_constant_onnx(tmp_path / "m.onnx", {"images": ("batch", 3, SIDE, SIDE)}, {"output": output})
        assert [len(found) for found in load_detector(str(path)).detect([picture(64, 64)] * 3)] == [1, 1, 1]

    def test_other_precision(self, tmp_path):
        with pytest.raises(ModelError, match=r"float16.*32-bit"):
            load_detector(str(save_yolox(tmp_path / "m.onnx", nothing().astype(np.float16))))

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_numbers_that_are_none(self, tmp_path, bad):
        output = nothing()
        output[0, 5, 2] = bad
        with pytest.raises(ModelError, match=r"m\.onnx.*not finite; get"):
            load_detector(str(save_yolox(tmp_path / "m.onnx", output)))

    def test_scores_before_the_logistic_function_are_told(self, tmp_path):
        output = nothing()
        output[0, 5, 4] = -4.0
        with pytest.raises(ModelError, match="scores from -4 to 0"):
            YoloxDetector(save_yolox(tmp_path / "a.onnx", output)).detect([picture(64, 64)])
        grid = np.full((1, 85, 4, 4), 7, dtype=np.float32)
        with pytest.raises(ModelError, match="scores from 7 to 7"):
            FastestDetDetector(save_fastestdet(tmp_path / "b.onnx", grid)).detect([picture(64, 64)])

    @pytest.mark.parametrize("size", [20.0, 300.0])
    def test_boxes_that_the_model_decodes_itself_are_told(self, tmp_path, size):
        output = nothing()
        output[0, 3, :6] = (30, 30, size, size, 0.9, 1)
        with pytest.raises(ModelError, match="--decode_in_inference"):
            YoloxDetector(save_yolox(tmp_path / "m.onnx", output)).detect([picture(64, 64)])

    def test_a_file_of_another_ending_is_not_looked_for_on_the_hub(self, tmp_path):
        path = tmp_path / "model.pt"
        path.write_bytes(b"PK")
        with pytest.raises(ModelError, match=r"not an \.onnx one"):
            load_detector(str(path))

    def test_a_name_that_no_file_system_takes(self):
        for name in ("a\0.onnx", "x" * 5000 + ".onnx"):
            with pytest.raises(ModelError):
                load_detector(name)
        with pytest.raises(UsageError, match=r"choose proposals, an \.onnx file"):
            load_detector("yolox")


@pytest.mark.realdata
class TestRealModels:
    """models/README.md of the real data: counted by another program, and looked at on contact sheets."""

    def test_the_persons_of_39_photographs(self, realdata):
        found = count_persons(realdata)
        yolox, fastest = found["yolox_nano"], found["fastestdet"]
        assert len(yolox["counts"]) == 39
        assert abs(yolox["persons"] - 78) <= 2
        assert abs(yolox["pictures"] - 37) <= 1
        assert len(yolox["different"]) <= 3
        assert abs(fastest["persons"] - 88) <= 3
        assert abs(fastest["matched"] - 73) <= 2

    def test_blue_and_red_are_not_swapped_and_the_picture_is_not_scaled_to_one(self, realdata, monkeypatch):
        """Fed otherwise than the contract says, the same model finds fewer."""
        from dualway.vision import onnx_objects

        right = count_persons(realdata)["yolox_nano"]["persons"]
        tensor, resized = onnx_objects.picture_tensor, onnx_objects._resized
        monkeypatch.setattr(onnx_objects, "_resized", lambda *given: resized(*given)[:, :, ::-1])
        assert count_persons(realdata)["yolox_nano"]["persons"] < right
        monkeypatch.setattr(onnx_objects, "_resized", resized)
        monkeypatch.setattr(onnx_objects, "picture_tensor", lambda pixels, **how: tensor(pixels, scale=1 / 255))
        assert count_persons(realdata)["yolox_nano"]["persons"] == 0

    def test_they_are_loaded_by_name_and_know_their_classes(self, realdata):
        yolox, fastest = load_detector(str(yolox_file(realdata))), load_detector(str(fastestdet_file(realdata)))
        assert isinstance(yolox, YoloxDetector)
        assert isinstance(fastest, FastestDetDetector)
        assert yolox.labels == fastest.labels == COCO
        assert (yolox.min_score, fastest.min_score, yolox.overlap) == (YOLOX_SCORE, FASTEST_SCORE, OVERLAP)

    def test_a_mirrored_picture_has_mirrored_persons(self, realdata):
        image = Image.open(realdata / "wikimel" / "KVQAimgs" / "41487.jpg").convert("RGB")
        detector = YoloxDetector(yolox_file(realdata), min_score=0.5)
        [there], [back] = detector.detect([image]), detector.detect([image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)])
        persons, others = ([r.box for r in regions if r.label == "person"] for regions in (there, back))
        assert len(persons) == len(others) == 2
        mirrored = [(image.width - x1, y0, image.width - x0, y1) for x0, y0, x1, y1 in others]
        assert min(max(plain_overlap(a, b) for b in mirrored) for a in persons) > 0.85
