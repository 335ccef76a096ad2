"""Faces to vectors that tell people apart, by a recognition model in an .onnx file. `load_face_encoder` makes one.

Vectors of faces are biometric data. They are compared only with those of a mention's candidates (`vision.identity`),
and kept only in a knowledge base's gallery and in feature stores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dualway.errors import ModelError, UsageError
from dualway.schema import Face, FloatArray
from dualway.vision.align import POINTS, SIDE, align_face, can_align
from dualway.vision.onnx import check_shapes, find_onnx, load_onnx, picture_tensor

if TYPE_CHECKING:
    from PIL.Image import Image

_VERSION = 1  # raise it whenever vectors could change: galleries, features and calibrations are keyed by it
_MEAN, _SCALE = 127.5, 1 / 128


class OnnxFaceEncoder:
    """Face recognition from an .onnx file; implements FaceEncoder.

    The contract is that of MobileFaceNet and of ArcFace's models: one input float32 [1 or n, 3, 112, 112], RGB minus
    127.5 by 128, of a face whose landmarks lie on `align.POINTS`; one output float32 [1 or n, dim], of any length.
    Faces are read one at a time, so that none depends on the others. It may be pickled.

    Args:
        path: The .onnx file.

    Raises:
        ModelError: The file is missing, damaged, or another model.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._model = path, load_onnx(path)
        check_shapes(self._model, "a model of face recognition", inputs=[(None, 3, SIDE, SIDE)], outputs=[(None, None)])
        [self._input] = self._model.inputs
        self.dim = len(self._run(np.zeros((SIDE, SIDE, 3), np.uint8)))
        settings = (_VERSION, self._model.fingerprint, POINTS, _MEAN, _SCALE)
        self.fingerprint = hashlib.sha256(repr(settings).encode()).hexdigest()[:16]

    def encode_faces(self, image: Image, faces: Sequence[Face]) -> FloatArray:
        """Return float32 [n, dim] of length 1; 0 for a face without its five landmarks.

        Raises:
            ModelError: The model gives a vector that is zero or not finite.
        """
        vectors = np.zeros((len(faces), self.dim), dtype=np.float32)
        for row, face in zip(vectors, faces, strict=True):
            if can_align(face):
                row[:] = self._unit(self._run(align_face(image, face)))
        return vectors

    def _run(self, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> FloatArray:
        found = self._model.run({self._input: picture_tensor(pixels, mean=_MEAN, scale=_SCALE)})[0]
        if found.ndim != 2 or found.shape[0] != 1 or not found.shape[1]:
            raise ModelError(f"{self.path}: gives an array of {found.shape} for one face; get the file anew")
        return found[0]

    def _unit(self, vector: FloatArray) -> FloatArray:
        length = float(np.linalg.norm(vector.astype(np.float64)))
        if not length:
            raise ModelError(f"{self.path}: gives the vector 0 for a face; get the file anew")
        return (vector.astype(np.float64) / length).astype(np.float32)


def load_face_encoder(name: str) -> OnnxFaceEncoder:
    """Return the face encoder of a setting (`encoders.identity`): the path of an .onnx file.

    Raises:
        UsageError: Not the path of an .onnx file.
        ModelError: The file is missing, damaged, or not a model of face recognition.
    """
    path = find_onnx(name)
    if path is None:
        raise UsageError(f"unknown model of face recognition {name!r}; give an .onnx file (docs/identity.md)")
    return OnnxFaceEncoder(path)
