"""Objects with their outlines, by instance segmentation from a `transformers` directory: Mask2Former, MaskFormer, DETR.

None of it needs torchvision or timm, as long as the model's backbone is one of `transformers`' own (Swin, ResNet).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dualway.encoders.weights import fingerprint_folder, load_complete, load_pretrained
from dualway.errors import DataError, ModelError
from dualway.schema import FloatArray, Region, Segment
from dualway.storage import read_json
from dualway.vision.crops import encode_mask
from dualway.vision.objects import MAX_BOXES, MIN_SCORE, without_strips

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS = ("mask2former", "maskformer", "detr")  # their config.json's model_type
_VERSION = 1  # raise it whenever regions could change: caches and runs are keyed by it


class TransformersSegmenter:
    """A trained model of instance segmentation; implements Detector, and its regions are Segments.

    Each of the model's queries gives at most one object: its likeliest class, and the outline where its mask is more
    likely than not. The score is the class's probability times the mask's mean probability inside the outline, as
    Mask2Former's authors do; DETR's leave out the second part. Outlines may overlap. A panoptic model also finds sky
    and grass; `features.object_classes` leaves them out.

    Args:
        folder: Directory of the model, safetensors only, with its picture processor.
        min_score: Objects below it are left out.
        max_boxes: The best so many of a picture are kept.

    Raises:
        ModelError: Damaged, incomplete, or not a model of instance segmentation.
    """

    def __init__(self, folder: Path, *, min_score: float = MIN_SCORE, max_boxes: int = MAX_BOXES) -> None:
        from transformers import AutoImageProcessor, AutoModelForUniversalSegmentation

        self.folder, self.min_score, self.max_boxes = folder, min_score, max_boxes
        self._model: Any = load_complete(AutoModelForUniversalSegmentation, folder).eval()
        if self._model.config.model_type not in KINDS:
            raise ModelError(
                f"{folder}: segments by {self._model.config.model_type}; choose a model of {_one_of(KINDS)}"
            )
        self._processor: Any = load_pretrained(AutoImageProcessor, folder)
        if not hasattr(self._processor, "post_process_instance_segmentation"):
            raise ModelError(f"{folder}: its picture processor is none of a segmenter's; restore its processor's file")
        self.labels: dict[int, str] = {int(i): str(name) for i, name in self._model.config.id2label.items()}
        self.fingerprint = fingerprint_folder(folder, "segments", _VERSION, min_score, max_boxes)

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """Return the objects of each upright RGB picture, best first, each a Segment; boxes are tight around outlines.

        Pictures are read one at a time, so the objects of one do not depend on the others.

        Raises:
            ModelError: The model's weights give numbers that are none.
        """
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: Image) -> list[Region]:
        logits, masks, part = self._run(without_strips(image))
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances = chances / chances.sum(axis=1, keepdims=True)
        classes = chances[:, :-1].argmax(axis=1)  # the last column is "nothing"
        scores = chances[np.arange(len(classes)), classes] * _confidence(masks)
        order = np.argsort(-scores, kind="stable")
        found: list[Segment] = []
        for query in order[scores[order] >= self.min_score].tolist():
            kind, score = int(classes[query]), float(scores[query])
            segment = trace(masks[query], part, image.size, self.labels.get(kind, str(kind)), min(score, 1.0))
            if segment is not None:
                found.append(segment)
        ordered = sorted(found, key=lambda region: (-region.score, region.box, region.label, region.mask))
        return [*ordered[: self.max_boxes]]

    def _run(self, image: Image) -> tuple[FloatArray, FloatArray, tuple[float, float]]:
        """Return class logits [q, classes + 1], mask logits [q, h, w], and how many of w and h are not padding."""
        import torch

        inputs = self._processor(images=[image], return_tensors="pt")
        with torch.inference_mode():
            outputs = self._model(**inputs)
        if self._model.config.model_type == "detr":
            logits, masks = outputs.logits[0].float().numpy(), outputs.pred_masks[0].float().numpy()
        else:
            logits = outputs.class_queries_logits[0].float().numpy()
            masks = outputs.masks_queries_logits[0].float().numpy()
        if not (np.isfinite(logits).all() and np.isfinite(masks).all()):
            raise ModelError(f"{self.folder}: gives classes or masks that are not finite; restore its weights")
        _, down, across = masks.shape
        seen = np.asarray(inputs.get("pixel_mask", np.ones((1, 1, 1))))[0] > 0  # 0 where the picture was padded
        return logits, masks, (float(seen.any(axis=0).mean() * across), float(seen.any(axis=1).mean() * down))


def is_segmenter(folder: Path) -> bool:
    """Tell from its config.json whether a `transformers` directory holds a model of segmentation or a detector.

    Raises:
        ModelError: The file cannot be read.
    """
    try:
        config = read_json(folder / "config.json")
    except DataError as error:
        raise ModelError(f"{error}; restore the model's directory") from error
    if not isinstance(config, dict):
        return False
    named = config.get("architectures")
    if isinstance(named, list) and named:
        return any("Segmentation" in str(name) for name in named)
    return config.get("model_type") in ("mask2former", "maskformer")


def trace(
    logits: FloatArray, part: tuple[float, float], size: tuple[int, int], label: str, score: float
) -> Segment | None:
    """Return the object whose mask a model gives on a coarse grid; None when none of it is in the picture.

    The grid's numbers are interpolated, so that the outline is not made of the grid's cells. Only the part of the
    picture that the mask can reach is looked at: a picture may have tens of millions of pixels.

    Args:
        logits: float32 [h, w], above 0 where it is more likely inside than not.
        part: Columns and rows of the grid that lie on the picture, from its upper left corner; the rest is padding.
        size: Width and height of the picture.
        label: Of the object.
        score: Of the object.
    """
    from PIL import Image as images

    rows, columns = (np.flatnonzero((logits > 0).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    (x0, x1), (y0, y1) = (
        (max(math.floor((cells[0] - 1) * side / known), 0), min(math.ceil((cells[-1] + 2) * side / known), side))
        for cells, side, known in zip((columns, rows), size, part, strict=True)
    )
    if x0 >= x1 or y0 >= y1:
        return None
    across, down = part[0] / size[0], part[1] / size[1]
    box = (x0 * across, y0 * down, min(x1 * across, logits.shape[1]), min(y1 * down, logits.shape[0]))
    window = images.fromarray(np.ascontiguousarray(logits, dtype=np.float32))
    inside = np.asarray(window.resize((x1 - x0, y1 - y0), images.Resampling.BILINEAR, box=box)) > 0
    return _tight(inside, x0, y0, label, score)


def _tight(inside: NDArray[np.bool_], left: int, top: int, label: str, score: float) -> Segment | None:
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    (x0, x1), (y0, y1) = ((int(cells[0]), int(cells[-1]) + 1) for cells in (columns, rows))
    box = (float(left + x0), float(top + y0), float(left + x1), float(top + y1))
    return Segment(box, label, score, mask=encode_mask(inside[y0:y1, x0:x1]))


def _confidence(masks: FloatArray) -> FloatArray:
    """Return the mean probability of each mask (logits [q, h, w]) over its inside, float32 [q]; 0 where it has none."""
    chance, inside = (1 + np.tanh(masks / 2)) / 2, masks > 0  # the logistic function, of any number
    total = (chance * inside).sum(axis=(1, 2))
    return (total / np.maximum(inside.sum(axis=(1, 2)), 1)).astype(np.float32)


def _one_of(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " or " + names[-1]
