"""Objects by small detectors in .onnx files: YOLOX (any size) and FastestDet.

Both are read as their own repositories export them: one picture at a time, and the scores already between 0 and 1. The
boxes are decoded here, so YOLOX must be exported without `--decode_in_inference` (its default).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dualway.errors import DataError, ModelError
from dualway.images import to_array
from dualway.schema import FloatArray, IntArray, Region
from dualway.storage import read_text
from dualway.vision.crops import keep_distinct
from dualway.vision.objects import MAX_BOXES, best_regions, clip_to_picture
from dualway.vision.onnx import OnnxModel, check_shapes, load_onnx, picture_tensor

if TYPE_CHECKING:
    from PIL.Image import Image

# The 80 classes of COCO by the names that both models' own lists use.
COCO = (
    "person", "bicycle", "car", "motorbike", "aeroplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "sofa", "pottedplant", "bed", "diningtable", "toilet",
    "tvmonitor", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
LABEL_FILES = ("coco.names", "labels.txt")  # looked for beside the model, in this order

# YOLOX's usual threshold is .5. From .3 on it finds a person in 38 of 39 group photographs and portraits (.5: 37), and
# what a detector leaves out no setting brings back, while `features.min_object_score` leaves out more at no cost.
YOLOX_SCORE = 0.3
FASTEST_SCORE = 0.65  # its own; its scores are roots, so they are higher
OVERLAP = 0.45  # intersection over union above which the lesser of two boxes of a class is left out

_VERSION = 1  # raise it whenever regions could change: caches and runs are keyed by it
_STRIDES = (8, 16, 32)  # pixels of the cells of YOLOX's three grids
_CELL = 16  # pixels of the cells of FastestDet's grid
_GREY = 114  # what YOLOX was trained to see beside a picture that is not square
_FARTHEST = 1e6  # pixels of the input; a box that is farther away, or larger, is none
_NUMBERS = 5  # of each box before its classes: objectness, and four of place and size


class Found(NamedTuple):
    """What a model says of n places, of each its likeliest class.

    boxes: float32 [n, 4], x0, y0, x1, y1; scores: float32 [n]; classes: int64 [n].
    """

    boxes: FloatArray
    scores: FloatArray
    classes: IntArray


class YoloxDetector:
    """A YOLOX of any size; implements Detector.

    Args:
        file: The .onnx file, or the opened one. Classes are COCO's, unless one of LABEL_FILES beside it has a line for
            each class of the model.
        min_score: Boxes below it are left out; a score is objectness times the class's probability.
        overlap: Intersection over union above which the lesser of two boxes of a class is left out.
        max_boxes: The best so many of a picture are kept.

    Raises:
        ModelError: Missing, damaged, or not a YOLOX; no names for its classes.
    """

    def __init__(
        self,
        file: Path | OnnxModel,
        *,
        min_score: float = YOLOX_SCORE,
        overlap: float = OVERLAP,
        max_boxes: int = MAX_BOXES,
    ) -> None:
        self._model = file if isinstance(file, OnnxModel) else load_onnx(file)
        self.min_score, self.overlap, self.max_boxes = min_score, overlap, max_boxes
        self._size = _input_size(self._model, "a YOLOX", (1, None, None))
        rows, columns = _try_out(self._model, self._size)[1:]
        expected = len(_cells(*self._size))
        if rows != expected or columns <= _NUMBERS:
            raise ModelError(
                f"{self._model.path}: not a YOLOX: its output is [1, {rows}, {columns}], and one for pictures of "
                f"{_text(self._size)} has [1, {expected}, 5 + classes]; export it as YOLOX's own tool does"
            )
        self.labels = _class_names(self._model.path, columns - _NUMBERS)
        self.fingerprint = _fingerprint("yolox", self._model, self.labels, min_score, overlap, max_boxes)

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """Return the objects of each upright RGB picture, best first, boxes within the picture.

        Raises:
            ModelError: The model's numbers are not what its kind gives.
        """
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: Image) -> list[Region]:
        height, width = self._size
        scale = min(height / image.height, width / image.width)
        across, down = (max(1, round(side * scale)) for side in image.size)
        canvas = np.full((height, width, 3), _GREY, dtype=np.uint8)
        canvas[:down, :across] = _resized(image, across, down)
        [output] = self._model.run({_input_name(self._model): picture_tensor(canvas)})
        _check_scores(self._model, output[0, :, 4:])
        kept = suppress(decode_yolox(output[0], self._size), min_score=self.min_score, overlap=self.overlap)
        if not (np.abs(kept.boxes) < _FARTHEST).all():
            raise ModelError(
                f"{self._model.path}: gives boxes of {np.abs(kept.boxes).max():.3g} pixels: it decodes them itself; "
                "export it without `--decode_in_inference`"
            )
        return _to_regions(kept, 1 / scale, self.labels, image)[: self.max_boxes]


class FastestDetDetector:
    """A FastestDet; implements Detector.

    Args:
        file: As YoloxDetector's.
        min_score: Boxes below it are left out; a score is objectness to the power of .6 times the class's probability
            to the power of .4.
        overlap: Intersection over union above which the lesser of two boxes of a class is left out.
        max_boxes: The best so many of a picture are kept.

    Raises:
        ModelError: Missing, damaged, or not a FastestDet; no names for its classes.
    """

    def __init__(
        self,
        file: Path | OnnxModel,
        *,
        min_score: float = FASTEST_SCORE,
        overlap: float = OVERLAP,
        max_boxes: int = MAX_BOXES,
    ) -> None:
        self._model = file if isinstance(file, OnnxModel) else load_onnx(file)
        self.min_score, self.overlap, self.max_boxes = min_score, overlap, max_boxes
        self._size = _input_size(self._model, "a FastestDet", (1, None, None, None))
        channels, *grid = _try_out(self._model, self._size)[1:]
        expected = [side // _CELL for side in self._size]
        if grid != expected or channels <= _NUMBERS:
            raise ModelError(
                f"{self._model.path}: not a FastestDet: its output is [1, {channels}, {_text(grid, ', ')}], and one "
                f"for pictures of {_text(self._size)} has [1, 5 + classes, {_text(expected, ', ')}]; export it as "
                "FastestDet's own tool does"
            )
        self.labels = _class_names(self._model.path, channels - _NUMBERS)
        self.fingerprint = _fingerprint("fastestdet", self._model, self.labels, min_score, overlap, max_boxes)

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """Return the objects of each upright RGB picture, best first, boxes within the picture.

        Raises:
            ModelError: The model's numbers are not what its kind gives.
        """
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: Image) -> list[Region]:
        height, width = self._size
        tensor = picture_tensor(_resized(image, width, height), scale=1 / 255)
        [output] = self._model.run({_input_name(self._model): tensor})
        _check_scores(self._model, output[0, [0, *range(_NUMBERS, output.shape[1])]])
        kept = suppress(decode_fastestdet(output[0]), min_score=self.min_score, overlap=self.overlap)
        return _to_regions(kept, np.array([*image.size] * 2), self.labels, image)[: self.max_boxes]


def load_onnx_detector(path: Path) -> YoloxDetector | FastestDetDetector:
    """Return the detector in an .onnx file; its kind is told by the shape of its output.

    Raises:
        ModelError: Missing, damaged, or of neither kind.
    """
    model = load_onnx(path)
    ranks = [len(shape) for shape in model.outputs.values()]
    if ranks == [3]:
        return YoloxDetector(model)
    if ranks == [4]:
        return FastestDetDetector(model)
    shapes = ", ".join(f"{name} [{_text(shape, ', ')}]" for name, shape in [*model.outputs.items()][:4])
    raise ModelError(
        f"{path}: no detector of objects: a YOLOX has one output [1, boxes, 5 + classes], a FastestDet "
        f"[1, 5 + classes, height, width]; this has {len(ranks)}: {shapes}"
    )


def decode_yolox(rows: NDArray[np.floating], size: tuple[int, int]) -> Found:
    """Return what the rows of YOLOX's output say, boxes in pixels of its input.

    Args:
        rows: float [n, 5 + classes]: the cells of three grids (strides 8, 16, 32), each row by row. Of each the box's
            centre from the cell's corner and the logarithm of its size, both in cells, then objectness and classes.
        size: Height and width of the input.
    """
    cells = _cells(*size)
    with np.errstate(over="ignore", invalid="ignore"):  # looked at later, where the box counts
        centre, extent = (rows[:, :2] + cells[:, :2]) * cells[:, 2:], np.exp(rows[:, 2:4]) * cells[:, 2:]
        boxes = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1).astype(np.float32)
    classes = rows[:, _NUMBERS:].argmax(axis=1)
    scores = rows[:, 4] * rows[np.arange(len(rows)), _NUMBERS + classes]
    return Found(boxes, scores.astype(np.float32), classes.astype(np.int64))


def decode_fastestdet(output: NDArray[np.floating]) -> Found:
    """Return what FastestDet's output says, boxes in shares of the picture's sides.

    Args:
        output: float [5 + classes, height, width] of the grid: objectness, the box's centre from the cell's corner (in
            cells, before tanh) and its size (in shares, before the logistic function), and classes.
    """
    _, down, across = output.shape
    values = output.reshape(len(output), -1).astype(np.float32)  # [5 + classes, cells], row by row
    y, x = np.divmod(np.arange(down * across), across)
    centre = np.stack([(x + np.tanh(values[1])) / across, (y + np.tanh(values[2])) / down], axis=1)
    extent = (1 + np.tanh(values[3:5].T / 2)) / 2  # the logistic function, of any number
    classes = values[_NUMBERS:].argmax(axis=0)
    likeliest = values[_NUMBERS:].max(axis=0)
    scores = np.clip(values[0], 0, None) ** 0.6 * np.clip(likeliest, 0, None) ** 0.4
    boxes = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1)
    return Found(boxes.astype(np.float32), scores.astype(np.float32), classes.astype(np.int64))


def suppress(found: Found, *, min_score: float, overlap: float) -> Found:
    """Return the boxes that score enough and that no better one of their class overlaps by more, best first.

    Equal scores are in the order in which the model gives them.
    """
    enough = np.flatnonzero(found.scores >= min_score)
    order = enough[np.argsort(-found.scores[enough], kind="stable")]
    kept = order[keep_distinct(found.boxes[order], found.classes[order], overlap)]
    return Found(found.boxes[kept], found.scores[kept], found.classes[kept])


def _to_regions(found: Found, scale: Any, labels: tuple[str, ...], image: Image) -> list[Region]:
    boxes = found.boxes.astype(np.float64) * scale
    rows = zip(boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
    return best_regions(
        Region(clip_to_picture(box, image.size), labels[kind], min(score, 1.0)) for box, score, kind in rows
    )


def _cells(height: int, width: int) -> FloatArray:
    """Return x, y and stride of each cell of YOLOX's grids, float32 [n, 3]."""
    grids: list[NDArray[Any]] = []
    for stride in _STRIDES:
        y, x = np.indices((height // stride, width // stride)).reshape(2, -1)
        grids.append(np.stack([x, y, np.full(len(x), stride)], axis=1))
    return np.concatenate(grids).astype(np.float32)


def _resized(image: Image, width: int, height: int) -> NDArray[np.uint8]:
    """Return an RGB picture as uint8 [height, width, 3] in the order blue, green, red."""
    pixels = cv2.resize(to_array(image), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(np.asarray(pixels, dtype=np.uint8)[:, :, ::-1])


def _input_name(model: OnnxModel) -> str:
    return next(iter(model.inputs))


def _input_size(model: OnnxModel, kind: str, output: tuple[int | None, ...]) -> tuple[int, int]:
    """Check number, type and rank of inputs and outputs; return height and width of the input."""
    check_shapes(model, kind, inputs=[(1, 3, None, None)], outputs=[output])
    [[*_, height, width]] = model.inputs.values()
    if height is None or width is None or not height or not width or height % 32 or width % 32:
        raise ModelError(
            f"{model.path}: takes pictures of {_text((height, width))} pixels; export it for a fixed size, both sides "
            "multiples of 32"
        )
    return height, width


def _try_out(model: OnnxModel, size: tuple[int, int]) -> tuple[int, ...]:
    """Return the shape of what the model says of a grey picture, so that a wrong one is told before the work."""
    [output] = model.run({_input_name(model): picture_tensor(np.full((*size, 3), _GREY, dtype=np.uint8))})
    return output.shape


def _check_scores(model: OnnxModel, scores: NDArray[Any]) -> None:
    low, high = float(scores.min()), float(scores.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise ModelError(
            f"{model.path}: gives scores from {low:.3g} to {high:.3g}, not from 0 to 1; export it as its own tool does"
        )


def _class_names(path: Path, count: int) -> tuple[str, ...]:
    """Return the names of a model's classes: those of a file beside it that has as many lines, or COCO's."""
    seen = ""
    for file in (path.parent / name for name in LABEL_FILES):
        if file.is_file():
            names = _read_names(file)
            if len(names) == count:
                return names
            seen += f"{file.name} beside it has {len(names)} lines; "
    if count == len(COCO):
        return COCO
    raise ModelError(
        f"{path}: has {count} classes without names; {seen}write one a line, in their order, into "
        f"{path.parent / LABEL_FILES[-1]}"
    )


def _read_names(file: Path) -> tuple[str, ...]:
    try:
        return tuple(line.strip() for line in read_text(file).splitlines() if line.strip())
    except DataError as error:
        raise ModelError(f"{error}; it holds the names of the model's classes, one a line") from error


def _fingerprint(kind: str, model: OnnxModel, *settings: object) -> str:
    deciding = repr((kind, _VERSION, model.fingerprint, settings))
    return hashlib.sha256(deciding.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _text(sides: Sequence[int | None], between: str = " x ") -> str:
    return between.join("?" if side is None else str(side) for side in sides)
