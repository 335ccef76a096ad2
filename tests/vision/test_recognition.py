"""Face encoders from .onnx files: lengths, faces without landmarks, and files that are something else."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image
from tests.tiny_onnx import save_constant_onnx

from dualway.errors import ModelError, UsageError
from dualway.protocols import FaceEncoder
from dualway.schema import Face
from dualway.vision.align import POINTS
from dualway.vision.recognition import OnnxFaceEncoder, load_face_encoder

FACE = Face((0, 0, 100, 100), {}, landmarks=POINTS)
IMAGE = Image.new("RGB", (112, 112), (200, 90, 40))
INPUT = {"input": (1, 3, 112, 112)}


def save(path, values, inputs=None):
    return save_constant_onnx(path, inputs or INPUT, {"out": np.array(values, dtype=np.float32)})


@pytest.fixture
def path(tmp_path):
    return save(tmp_path / "faces.onnx", [[3.0, 0.0, -4.0]])


class TestVectors:
    def test_they_have_length_1_and_0_without_landmarks(self, path):
        encoder: FaceEncoder = OnnxFaceEncoder(path)
        few = Face((0, 0, 9, 9), {}, landmarks=POINTS[:3])
        found = encoder.encode_faces(IMAGE, [FACE, Face((0, 0, 9, 9), {}), few, FACE])
        assert found.dtype == np.float32
        assert found == pytest.approx(np.array([[0.6, 0, -0.8], [0, 0, 0], [0, 0, 0], [0.6, 0, -0.8]]))
        assert encoder.dim == 3
        assert encoder.encode_faces(IMAGE, []).shape == (0, 3)

    def test_any_batch_size_and_any_names_are_taken(self, tmp_path):
        path = save(tmp_path / "any.onnx", [[1.0, 1.0]], {"data": ("batch", 3, 112, 112)})
        assert OnnxFaceEncoder(path).encode_faces(IMAGE, [FACE])[0] == pytest.approx([2**-0.5] * 2)

    def test_the_fingerprint_is_the_files(self, path, tmp_path):
        same = tmp_path / "other name.onnx"
        same.write_bytes(path.read_bytes())
        assert OnnxFaceEncoder(path).fingerprint == OnnxFaceEncoder(same).fingerprint
        assert OnnxFaceEncoder(save(tmp_path / "b.onnx", [[3, 0, -5]])).fingerprint != OnnxFaceEncoder(path).fingerprint

    def test_it_may_be_pickled(self, path):
        encoder = OnnxFaceEncoder(path)
        copy = pickle.loads(pickle.dumps(encoder))
        assert copy.fingerprint == encoder.fingerprint
        assert copy.encode_faces(IMAGE, [FACE]) == pytest.approx(encoder.encode_faces(IMAGE, [FACE]))


class TestWhatIsRefused:
    @pytest.mark.parametrize("values", [[1.0, 2.0], [[[1.0, 2.0]]], [[1.0], [2.0]], np.zeros((1, 0))])
    def test_other_outputs(self, values, tmp_path):
        with pytest.raises(ModelError, match=r"x\.onnx"):
            OnnxFaceEncoder(save(tmp_path / "x.onnx", values))

    @pytest.mark.parametrize("shape", [(1, 3, 160, 160), (1, 112, 112, 3), (1, 1, 112, 112)])
    def test_other_inputs(self, shape, tmp_path):
        with pytest.raises(ModelError, match="not a model of face recognition"):
            OnnxFaceEncoder(save(tmp_path / "x.onnx", [[1.0]], {"input": shape}))

    def test_a_vector_of_zeros(self, tmp_path):
        encoder = OnnxFaceEncoder(save(tmp_path / "x.onnx", [[0.0, 0.0]]))
        with pytest.raises(ModelError, match="the vector 0"):
            encoder.encode_faces(IMAGE, [FACE])

    def test_numbers_that_are_none(self, tmp_path):
        with pytest.raises(ModelError, match="not finite"):
            OnnxFaceEncoder(save(tmp_path / "x.onnx", [[np.nan, 1.0]]))

    def test_what_is_no_file(self, tmp_path):
        with pytest.raises(ModelError, match="no such file"):
            load_face_encoder(str(tmp_path / "none.onnx"))
        (tmp_path / "folder.onnx").mkdir()
        with pytest.raises(ModelError, match="not a file"):
            load_face_encoder(str(tmp_path / "folder.onnx"))
        for name in ("arcface", "", str(tmp_path), "owner/name"):
            with pytest.raises(UsageError, match=r"give an \.onnx file"):
                load_face_encoder(name)

    def test_a_path_in_capitals_and_from_the_home_folder(self, path, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        path.rename(tmp_path / "FACES.ONNX")
        assert load_face_encoder("~/FACES.ONNX").path == tmp_path / "FACES.ONNX"


@pytest.fixture(scope="module")
def encoder(realdata):
    return OnnxFaceEncoder(realdata / "models" / "mobilefacenet" / "mobilefacenet.onnx")


@pytest.mark.realdata
class TestTheRealModel:
    def test_what_it_is_fed_is_the_contracts(self, encoder, realdata):
        """Beside the model fed by hand: RGB, less 127.5, by 128."""
        import onnxruntime as ort

        pixels = np.random.default_rng(0).integers(0, 255, (112, 112, 3), dtype=np.uint8)
        session = ort.InferenceSession(str(encoder.path), providers=["CPUExecutionProvider"])
        [[raw]] = session.run(None, {"input": ((pixels.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)[None]})
        [vector] = encoder.encode_faces(Image.fromarray(pixels), [FACE])  # aligned as it is
        assert encoder.dim == 128
        assert vector == pytest.approx(raw / np.linalg.norm(raw), abs=1e-5)

    def test_a_face_does_not_depend_on_the_others(self, encoder):
        pixels = np.random.default_rng(1).integers(0, 255, (200, 200, 3), dtype=np.uint8)
        moved = [Face(None, {}, landmarks=tuple((x + i, y + 2 * i) for x, y in POINTS)) for i in range(4)]
        image = Image.fromarray(pixels)
        together = encoder.encode_faces(image, moved)
        for i, face in enumerate(moved):
            assert (encoder.encode_faces(image, [face])[0] == together[i]).all()
        assert len({row.tobytes() for row in together}) == 4
