"""YuNet: what is kept of what it finds, odd pictures, hostile files, and real photographs beside a decoding by hand."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.tiny_onnx import save_constant_onnx

from dualway.config import FeatureConfig
from dualway.errors import ModelError, UsageError
from dualway.images import open_picture
from dualway.protocols import FaceFinder
from dualway.schema import Face
from dualway.vision.faces import YunetFinder, choose_faces, load_face_finder
from dualway.vision.onnx import load_onnx, picture_tensor


@pytest.fixture(scope="module")
def yunet(realdata):
    return realdata / "models" / "yunet" / "yunet_n_640_640.onnx"


@pytest.fixture(scope="module")
def finder(yunet) -> YunetFinder:
    return YunetFinder(yunet)


@pytest.fixture(scope="module")
def pair(realdata) -> Image.Image:
    """Figure 1 of the paper: two people."""
    return open_picture(realdata / "wikimel" / "KVQAimgs" / "41487.jpg")


class Stub:
    """Stands for OpenCV's detector: says what it is given, and keeps what it was asked."""

    def __init__(self, rows):
        self.rows, self.asked = rows, []

    def setInputSize(self, size):
        self.asked.append(size)

    def detect(self, pixels):
        assert pixels.dtype == np.uint8
        assert pixels.flags["C_CONTIGUOUS"]
        assert (pixels.shape[1], pixels.shape[0]) == self.asked[-1]
        self.pixels = pixels
        return 1, None if self.rows is None else np.array(self.rows, dtype=np.float32)


def with_stub(finder: YunetFinder, rows) -> Stub:
    finder._detector = Stub(rows)
    return finder._detector


def row(x, y, width, height, score, landmarks=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10))):
    return [x, y, width, height, *(value for point in landmarks for value in point), score]


@pytest.mark.realdata
class TestWhatIsKept:
    @pytest.fixture
    def finder(self, yunet):
        return YunetFinder(yunet, max_side=100)

    def test_boxes_landmarks_and_scores_in_order(self, finder):
        stub = with_stub(finder, [row(10, 10, 20, 30, 0.7), row(50, 10, 20, 30, 0.9), row(5, 10, 20, 30, 0.7)])
        picture = Image.new("RGB", (90, 60), (200, 100, 0))
        faces = finder.find(picture)
        assert [face.box for face in faces] == [(50, 10, 70, 40), (5, 10, 25, 40), (10, 10, 30, 40)]
        assert [face.score for face in faces] == pytest.approx([0.9, 0.7, 0.7])
        assert faces[0].landmarks == ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10))
        assert faces[0].attributes == {}
        assert all(type(value) is float for value in (*faces[0].box, faces[0].score, *faces[0].landmarks[0]))
        assert stub.asked == [(90, 64)]
        assert not stub.pixels[60:].any()  # OpenCV needs two rows of its cells of 32
        assert stub.pixels[0, 0].tolist() == [0, 100, 200]  # BGR

    def test_a_large_picture_is_scaled_down_and_its_faces_back(self, finder):
        stub = with_stub(finder, [row(10, 20, 30, 20, 0.9)])
        [face] = finder.find(Image.new("RGB", (401, 200)))
        assert stub.asked == [(100, 64)]
        assert face.box == pytest.approx((40.1, 80, 160.4, 160), rel=1e-5)
        assert face.landmarks[1] == pytest.approx((3 * 4.01, 16), rel=1e-5)

    def test_boxes_are_cut_at_the_picture_landmarks_are_not(self, finder):
        with_stub(finder, [row(-5, -5, 20, 500, 0.9, [(-4, -3)] * 5)])
        [face] = finder.find(Image.new("RGB", (90, 60)))
        assert face.box == (0, 0, 15, 60)
        assert face.landmarks[0] == (-4, -3)

    @pytest.mark.parametrize("box", [(95, 5, 10, 10), (5, -20, 10, 10), (5, 5, 0, 10), (5, 5, 10, -1), (90, 0, 5, 5)])
    def test_a_box_with_nothing_in_it_is_left_out(self, finder, box):
        with_stub(finder, [row(*box, 0.9)])
        assert finder.find(Image.new("RGB", (90, 60))) == []

    def test_no_faces(self, finder):
        for rows in (None, np.zeros((0, 15))):
            with_stub(finder, rows)
            assert finder.find(Image.new("RGB", (90, 60))) == []

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    @pytest.mark.parametrize("place", [0, 5, 14])
    def test_numbers_that_are_none(self, finder, bad, place):
        rows = np.array([row(5, 5, 10, 10, 0.9)])
        rows[0, place] = bad
        with_stub(finder, rows)
        with pytest.raises(ModelError, match=r"yunet_n_640_640\.onnx: gives boxes or scores that are not finite"):
            finder.find(Image.new("RGB", (90, 60)))

    def test_what_opencv_refuses(self, finder):
        class Refusing(Stub):
            def detect(self, pixels):
                return cv2.resize(pixels, (0, 0))  # any of OpenCV's own errors

        finder._detector = Refusing(None)
        with pytest.raises(ModelError, match=r"onnx: cannot be run on a picture of 90 x 64 pixels: OpenCV"):
            finder.find(Image.new("RGB", (90, 60)))


@pytest.mark.realdata
class TestOddPictures:
    @pytest.mark.parametrize(
        "size", [(1, 1), (2, 1), (1, 3000), (3000, 1), (7, 900), (31, 33), (33, 31), (1281, 1279), (5000, 40)]
    )
    def test_shapes(self, finder, size):
        pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        for face in finder.find(Image.fromarray(pixels)):
            assert 0 <= face.box[0] < face.box[2] <= size[0]
            assert 0 <= face.box[1] < face.box[3] <= size[1]

    @pytest.mark.parametrize("size", [(1280, 10), (1280, 1), (10, 1280), (32, 32), (640, 32)])
    def test_narrow_ones_say_nothing_by_chance(self, yunet, size):
        """OpenCV looked at a side of up to 32 pixels with what was in the memory: faces came and went."""
        pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        asked = YunetFinder(yunet, min_score=0.0)
        first = asked.find(Image.fromarray(pixels))
        for _ in range(4):
            litter = [np.full(n, 1e20, np.float32) for n in range(1000, 300_000, 5000)]
            del litter
            assert YunetFinder(yunet, min_score=0.0).find(Image.fromarray(pixels)) == first

    @pytest.mark.parametrize("colour", ["black", "white", (0, 255, 0)])
    def test_nothing_in_it(self, finder, colour):
        assert finder.find(Image.new("RGB", (300, 200), colour)) == []


@pytest.mark.realdata
class TestRealPictures:
    def test_the_papers_figure(self, finder: FaceFinder, pair):
        faces = finder.find(pair)
        assert len(faces) == 2
        for face in faces:
            (right, left, nose, *mouth) = face.landmarks
            assert right[0] < left[0]  # the subject's right eye is on the picture's left
            assert max(right[1], left[1]) < nose[1] < min(point[1] for point in mouth)
            assert all(face.box[0] - 20 < x < face.box[2] + 20 for x, _ in face.landmarks)

    def test_it_is_the_same_every_time(self, finder, yunet, pair):
        first = finder.find(pair)
        finder.find(Image.new("RGB", (77, 33)))  # what was looked at before does not matter
        assert finder.find(pair) == first
        assert YunetFinder(yunet).find(pair) == first
        assert pickle.loads(pickle.dumps(finder)).find(pair) == first

    def test_faces_lie_where_they_lie_at_any_size(self, finder, pair):
        [small, large] = (
            sorted(finder.find(pair.resize((round(pair.width * s), round(pair.height * s)))), key=lambda f: f.box)
            for s in (0.4, 1.5)
        )
        assert len(small) == len(large) == 2
        for a, b in zip(small, large):
            assert np.array(a.box) / 0.4 == pytest.approx(np.array(b.box) / 1.5, abs=20)

    def test_weak_faces_are_left_out(self, yunet, pair):
        assert YunetFinder(yunet, min_score=0.99).find(pair) == []
        assert len(load_face_finder(str(yunet), min_score=0.3).find(pair)) >= 2

    def test_it_is_what_the_network_says(self, yunet, realdata):
        """Beside a plain decoding of the network's output, run by another library; 640 x 640, its own size."""
        picture = open_picture(realdata / "wikimel" / "KVQAimgs" / "1342.jpg").resize((640, 640))
        outputs = load_onnx(yunet)
        said = dict(zip(outputs.outputs, outputs.run({"input": picture_tensor(np.asarray(picture)[:, :, ::-1])})))
        expected = []
        for stride in (8, 16, 32):
            cls, obj = (np.clip(said[f"{name}_{stride}"][0, :, 0], 0, 1) for name in ("cls", "obj"))
            for cell in np.flatnonzero(np.sqrt(cls * obj) >= 0.6):
                gy, gx = divmod(int(cell), 640 // stride)
                b, k = said[f"bbox_{stride}"][0, cell], said[f"kps_{stride}"][0, cell]
                cx, cy, w, h = (gx + b[0]) * stride, (gy + b[1]) * stride, *(np.exp(b[2:]) * stride)
                points = [((gx + k[2 * i]) * stride, (gy + k[2 * i + 1]) * stride) for i in range(5)]
                expected.append(
                    (math.sqrt(cls[cell] * obj[cell]), (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), points)
                )
        faces = YunetFinder(yunet).find(picture)
        assert len(faces) == 5
        for face in faces:
            score, box, points = min(expected, key=lambda item: abs(np.array(item[1]) - face.box).sum())
            assert face.score == pytest.approx(score, abs=1e-4)
            assert face.box == pytest.approx(box, abs=0.01)
            assert np.array(face.landmarks) == pytest.approx(np.array(points), abs=0.01)
        assert max(score for score, _, _ in expected) == pytest.approx(faces[0].score, abs=1e-4)

    def test_it_goes_to_another_process(self, yunet, pair, tmp_path):
        (tmp_path / "finder").write_bytes(pickle.dumps(YunetFinder(yunet, min_score=0.5, max_side=640)))
        code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).fingerprint)"
        command = [sys.executable, "-c", code, str(tmp_path / "finder")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        assert done.stdout.strip() == YunetFinder(yunet, min_score=0.5, max_side=640).fingerprint


@pytest.mark.realdata
class TestFingerprint:
    def test_it_changes_with_file_and_settings(self, yunet, tmp_path):
        other = tmp_path / "yunet.onnx"
        other.write_bytes(yunet.read_bytes() + b"\x32\x00")  # an empty remark on the model
        prints = {
            YunetFinder(yunet).fingerprint,
            YunetFinder(yunet, min_score=0.5).fingerprint,
            YunetFinder(yunet, min_overlap=0.4).fingerprint,
            YunetFinder(yunet, max_side=640).fingerprint,
            YunetFinder(other).fingerprint,
        }
        assert len(prints) == 5
        assert load_face_finder(str(yunet)).fingerprint in prints

    def test_not_with_where_the_file_lies(self, yunet, tmp_path):
        link = tmp_path / "link.onnx"
        link.symlink_to(yunet)
        assert YunetFinder(link).fingerprint == YunetFinder(yunet).fingerprint


class TestRefused:
    @pytest.mark.parametrize("name", ["yunet", "owner/yunet", "", "yunet.caffemodel"])
    def test_names_of_no_file(self, name):
        with pytest.raises(UsageError, match=r"unknown face finder .*; give the \.onnx file of YuNet"):
            load_face_finder(name)

    def test_no_such_file(self, tmp_path):
        with pytest.raises(ModelError, match=r"gone\.onnx: no such file"):
            load_face_finder(str(tmp_path / "gone.onnx"))

    def test_text_in_place_of_the_file(self, tmp_path):
        (tmp_path / "bad.onnx").write_text("<html>404</html>")
        with pytest.raises(ModelError, match=r"bad\.onnx: not an ONNX model"):
            load_face_finder(str(tmp_path / "bad.onnx"))

    def test_a_file_that_only_has_yunets_outputs(self, tmp_path, capfd):
        numbers = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
        outputs = {f"{k}_{s}": np.zeros((1, 4, n), np.float32) for k, n in numbers.items() for s in (8, 16, 32)}
        path = save_constant_onnx(tmp_path / "fake.onnx", {"input": (1, 3, 64, 64)}, outputs)
        with pytest.raises(ModelError, match=r"fake\.onnx: OpenCV cannot read it as YuNet"):
            YunetFinder(path)
        capfd.readouterr()  # OpenCV also writes of it

    @pytest.mark.realdata
    def test_other_models(self, realdata):
        for name in ("yolox_nano/yolox_nano", "mobilefacenet/mobilefacenet", "age_gender/age_gender"):
            path = realdata / "models" / f"{name}.onnx"
            with pytest.raises(ModelError, match=r"\.onnx: not YuNet: its outputs are"):
                load_face_finder(str(path))

    @pytest.mark.realdata
    def test_every_cut_of_the_file(self, yunet, tmp_path):
        content, bad = yunet.read_bytes(), tmp_path / "cut.onnx"
        for length in np.linspace(1, len(content) - 1, 25, dtype=int):
            bad.write_bytes(content[:length])
            with pytest.raises(ModelError, match=r"cut\.onnx: "):
                YunetFinder(bad)

    @pytest.mark.parametrize(
        "settings", [{"min_score": -0.1}, {"min_score": math.nan}, {"min_overlap": 2}, {"max_side": 0}]
    )
    def test_settings_out_of_range(self, tmp_path, settings):
        with pytest.raises(UsageError, match="a face finder's min_score"):
            YunetFinder(tmp_path / "any.onnx", **settings)


class TestTheChoice:
    FACES = (
        Face((0, 0, 40, 40), {}, score=0.95),
        Face((0, 0, 10, 40), {}, score=0.9),
        Face(None, {"age": "50"}, score=0.8),
        Face((0, 0, 16, 16), {}, score=0.6),
        Face((0, 0, 40, 40), {}, score=0.59),
    )

    def test_by_score_and_shorter_side_in_their_order(self):
        a, b, c, d, e = self.FACES
        assert choose_faces(FeatureConfig(), self.FACES) == (a, c, d)
        assert choose_faces(FeatureConfig(min_face_size=0.0, min_face_score=0.0), self.FACES) == (a, b, c, d, e)
        assert choose_faces(FeatureConfig(min_face_size=30.0), self.FACES[::-1]) == (c, a)
        assert choose_faces(FeatureConfig(min_face_score=1.0), self.FACES) == ()
        assert choose_faces(FeatureConfig(), ()) == ()


def test_importing_changes_nothing_for_others():
    """OpenCV's number of threads is everybody's."""
    code = "import cv2; n = cv2.getNumThreads(); import dualway.vision.faces; assert cv2.getNumThreads() == n"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
