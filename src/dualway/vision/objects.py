"""Objects by a trained detector from a `transformers` directory: RT-DETRv2, D-FINE, YOLOS, DETR and their like.

None of it needs torchvision or timm, as long as the model's backbone is one of `transformers`' own: a DETR whose
config.json says `use_timm_backbone` cannot be loaded without timm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualway.encoders.weights import fingerprint_folder, load_complete, load_pretrained
from dualway.errors import ModelError
from dualway.schema import Region

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_SCORE = 0.3
MAX_BOXES = 32
_MAX_RATIO = 8  # of a picture's sides; some processors make nothing of a strip


class TransformersDetector:
    """A trained detector of objects; implements Detector.

    Pictures are read one at a time, so the regions of one do not depend on the others.

    Args:
        folder: Directory of the model, safetensors only, with its picture processor.
        min_score: Boxes below it are left out.
        max_boxes: The best so many of a picture are kept.

    Raises:
        ModelError: Damaged, incomplete, or not a detector.
    """

    def __init__(self, folder: Path, *, min_score: float = MIN_SCORE, max_boxes: int = MAX_BOXES) -> None:
        from transformers import AutoImageProcessor, AutoModelForObjectDetection

        self.folder, self.min_score, self.max_boxes = folder, min_score, max_boxes
        self._model: Any = load_complete(AutoModelForObjectDetection, folder).eval()
        self._processor: Any = load_pretrained(AutoImageProcessor, folder)
        if not hasattr(self._processor, "post_process_object_detection"):
            raise ModelError(f"{folder}: its picture processor is none of a detector's; restore its processor's file")
        self.labels: dict[int, str] = {int(i): str(name) for i, name in self._model.config.id2label.items()}
        self.fingerprint = fingerprint_folder(folder, "objects", 1, min_score, max_boxes)

    def detect(self, images: Sequence[Image]) -> list[list[Region]]:
        """Return the objects of each upright RGB picture, best first, boxes within the picture.

        A box that stands for several labels has the best of them. Equal scores are in the order of boxes.

        Raises:
            ModelError: The model's weights give numbers that are none.
        """
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: Image) -> list[Region]:
        import torch

        inputs = self._processor(images=[without_strips(image)], return_tensors="pt")
        with torch.inference_mode():
            outputs = self._model(**inputs)
            if not all(bool(part.isfinite().all()) for part in (outputs.logits, outputs.pred_boxes)):
                raise ModelError(f"{self.folder}: gives scores or boxes that are not finite; restore its weights")
            [found] = self._processor.post_process_object_detection(
                outputs, threshold=0.0, target_sizes=[(image.height, image.width)]
            )
        rows = zip(found["boxes"].tolist(), found["labels"].tolist(), found["scores"].tolist(), strict=True)
        kept = [
            Region(clip_to_picture(box, image.size), self.labels.get(label, str(label)), float(score))
            for box, label, score in rows
            if score >= self.min_score
        ]
        return best_regions(kept)[: self.max_boxes]


def best_regions(regions: Iterable[Region]) -> list[Region]:
    """Return the regions that hold anything, best first, the best of those with the same box."""
    ordered = sorted(regions, key=lambda region: (-region.score, region.box, region.label))
    distinct: dict[tuple[float, ...], Region] = {}
    for region in ordered:
        x0, y0, x1, y1 = region.box
        if x0 < x1 and y0 < y1:
            distinct.setdefault(region.box, region)
    return list(distinct.values())


def clip_to_picture(box: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the part of a box that lies in a picture of `size`; of no extent where none does."""
    x0, y0, x1, y1 = (min(max(float(value), 0.0), float(size[i % 2])) for i, value in enumerate(box))
    return x0, y0, x1, y1


def without_strips(image: Image) -> Image:
    """Return a picture that is at most _MAX_RATIO times as long as wide; a longer one is stretched across."""
    width, height = image.size
    across = math.ceil(max(width, height) / _MAX_RATIO)
    wanted = (max(width, across), max(height, across))
    return image if wanted == image.size else image.resize(wanted)
