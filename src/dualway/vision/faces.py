"""Faces by YuNet, through OpenCV: boxes, five landmarks and a score. `load_face_finder` turns a setting into a finder.

YuNet: Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023; weights of libfacedetection.train, Apache-2.0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from dualway.config import FeatureConfig
from dualway.errors import ModelError, UsageError
from dualway.images import to_array
from dualway.schema import Face, FloatArray
from dualway.vision.onnx import OnnxModel, Shape, check_shapes, find_onnx, read_onnx

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_SCORE = 0.6
MIN_OVERLAP = 0.3  # intersection over union from which two boxes are one face
MAX_SIDE = 1280  # pixels
_VERSION = 1  # raise it whenever faces could change: features are keyed by it
_LEAST = 64  # pixels a side; in its own 32, OpenCV 4.14 reads memory that nothing was written to: faces by chance
_TOP = 5000  # boxes that are compared with each other
_STRIDES = (8, 16, 32)
_OUTPUTS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}  # of each stride, and the numbers of each cell


class YunetFinder:
    """Finds faces with YuNet; implements FaceFinder.

    A picture is looked at in its own size, or at `max_side`; strips and single pixels are no error. It may be pickled.

    Args:
        path: The .onnx file.
        min_score: Faces below it are left out.
        min_overlap: Of two boxes that overlap by more, the better is kept.
        max_side: A picture with a longer side, in pixels, is scaled down to it.

    Raises:
        UsageError: A setting out of its range.
        ModelError: The file is missing, damaged, or not YuNet.
    """

    def __init__(
        self,
        path: Path,
        *,
        min_score: float = MIN_SCORE,
        min_overlap: float = MIN_OVERLAP,
        max_side: int = MAX_SIDE,
    ) -> None:
        if not (0 <= min_score <= 1 and 0 <= min_overlap <= 1 and max_side >= 1):
            raise UsageError("a face finder's min_score and min_overlap are from 0 to 1, its max_side is at least 1")
        self.path, self.min_score, self.min_overlap, self.max_side = path, min_score, min_overlap, max_side
        data = read_onnx(path)
        settings = (_VERSION, _check_yunet(OnnxModel(path, data)), min_score, min_overlap, max_side)
        self.fingerprint = hashlib.sha256(repr(settings).encode()).hexdigest()[:16]
        buffer, nothing = np.frombuffer(data, np.uint8), np.empty(0, np.uint8)
        try:
            self._detector: Any = cv2.FaceDetectorYN.create(
                "onnx", buffer, nothing, (32, 32), min_score, min_overlap, _TOP
            )
        except cv2.error as error:
            raise ModelError(f"{path}: OpenCV cannot read it as YuNet: {_reason(error)}; get the file anew") from error

    def find(self, image: Image) -> list[Face]:
        """Return the faces of an upright RGB picture, best first, equal scores in the order of boxes.

        Boxes are cut at the picture; landmarks may lie outside of it.

        Raises:
            ModelError: The model cannot be run on the picture, or gives numbers that are not finite.
        """
        pixels = to_array(image)
        height, width = pixels.shape[:2]
        scale = min(1.0, self.max_side / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if size != (width, height):
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        below, beside = max(0, _LEAST - size[1]), max(0, _LEAST - size[0])
        rows = self._detect(cv2.copyMakeBorder(pixels[:, :, ::-1], 0, below, 0, beside, cv2.BORDER_CONSTANT))
        rows[:, :14] *= np.array([width / size[0], height / size[1]] * 7, dtype=np.float32)
        faces = [_face(row, width, height) for row in rows.tolist()]
        return sorted(filter(None, faces), key=lambda face: (-face.score, face.box))

    def _detect(self, pixels: Any) -> FloatArray:
        """Return a row a face of a BGR picture, float32 [n, 15]: x, y, width, height, five landmarks, score."""
        try:
            self._detector.setInputSize((pixels.shape[1], pixels.shape[0]))
            _, found = self._detector.detect(pixels)
        except cv2.error as error:
            raise ModelError(
                f"{self.path}: cannot be run on a picture of {pixels.shape[1]} x {pixels.shape[0]} pixels: "
                f"{_reason(error)}; get the file anew"
            ) from error
        rows = np.zeros((0, 15), np.float32) if found is None else np.array(found, dtype=np.float32)
        if not np.isfinite(rows).all():
            raise ModelError(f"{self.path}: gives boxes or scores that are not finite; get the file anew")
        return rows

    def __reduce__(self) -> tuple[Any, ...]:
        settings = {"min_score": self.min_score, "min_overlap": self.min_overlap, "max_side": self.max_side}
        return partial(YunetFinder, **settings), (self.path,)


def load_face_finder(name: str, *, min_score: float = MIN_SCORE) -> YunetFinder:
    """Return the face finder of a setting (`encoders.faces`): the path of YuNet's .onnx file.

    Raises:
        UsageError: Not the path of an .onnx file.
        ModelError: The file is missing, damaged, or not YuNet.
    """
    path = find_onnx(name)
    if path is None:
        raise UsageError(f"unknown face finder {name!r}; give the .onnx file of YuNet (docs/vision.md)")
    return YunetFinder(path, min_score=min_score)


def choose_faces(config: FeatureConfig, faces: Sequence[Face]) -> tuple[Face, ...]:
    """Return the faces that the settings keep: minimum score, and of the box's shorter side; in their order.

    A face without a box has no size, and is kept by its score.
    """
    return tuple(
        face
        for face in faces
        if face.score >= config.min_face_score and (face.box is None or min(box_size(face.box)) >= config.min_face_size)
    )


def box_size(box: tuple[float, float, float, float]) -> tuple[float, float]:
    """Return a box's width and height."""
    return box[2] - box[0], box[3] - box[1]


def _check_yunet(model: OnnxModel) -> str:
    """Return the fingerprint of a file whose inputs and outputs are YuNet's, which OpenCV does not check."""
    outputs: dict[str, Shape] = {
        f"{name}_{stride}": (None, None, numbers) for name, numbers in _OUTPUTS.items() for stride in _STRIDES
    }
    check_shapes(model, "YuNet", inputs=[(None, 3, None, None)], outputs=outputs)
    return model.fingerprint


def _face(row: list[float], width: int, height: int) -> Face | None:
    """Return the face of a row; None where no pixel of the picture is in its box."""
    x, y = row[0], row[1]
    x0, y0, x1, y1 = (
        min(max(value, 0.0), float(side))
        for value, side in ((x, width), (y, height), (x + row[2], width), (y + row[3], height))
    )
    if x1 <= x0 or y1 <= y0:
        return None
    landmarks = tuple(zip(row[4:14:2], row[5:14:2], strict=True))
    return Face((x0, y0, x1, y1), {}, score=min(max(row[14], 0.0), 1.0), landmarks=landmarks)


def _reason(error: cv2.error) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
