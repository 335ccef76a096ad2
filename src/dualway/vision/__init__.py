"""Vision: what finds the objects in pictures. `load_detector` turns a setting into one."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from dualway.errors import ModelError, UsageError
from dualway.protocols import Detector

__all__ = ["DETECTORS", "load_detector"]

# By name, as (module, class): nothing is imported before it is asked for.
DETECTORS: dict[str, tuple[str, str]] = {
    "proposals": ("dualway.vision.proposals", "Proposals"),
}


def load_detector(name: str) -> Detector:
    """Return the detector called `name`, with its defaults.

    Args:
        name: One of DETECTORS, an .onnx file (YOLOX, FastestDet), or the directory or hub name of a `transformers`
            detector or model of instance segmentation.

    Raises:
        UsageError: No such detector.
        ModelError: The model is not to be had, damaged, or not a detector.
    """
    if name in DETECTORS:
        module, attribute = DETECTORS[name]
        return getattr(importlib.import_module(module), attribute)()
    if name.lower().endswith(".onnx"):
        return _load_file(name)
    return _load_folder(name)


def _load_file(name: str) -> Detector:
    from dualway.vision.onnx import find_onnx
    from dualway.vision.onnx_objects import load_onnx_detector

    return load_onnx_detector(find_onnx(name) or Path(name))


def _load_folder(name: str) -> Detector:
    from dualway.encoders import find_model, is_folder
    from dualway.vision.objects import TransformersDetector
    from dualway.vision.segmenters import TransformersSegmenter, is_segmenter

    if os.path.isfile(name):  # noqa: PTH113 - False, not an error, for a name that no file system takes
        raise ModelError(f"{name}: a file, but not an .onnx one; give an .onnx file or a model's directory")
    if "/" not in name and not is_folder(name):
        known = ", ".join(DETECTORS)
        raise UsageError(
            f"unknown detector {name!r}; choose {known}, an .onnx file, or a directory or hub name (OWNER/NAME) of a "
            "model"
        )
    folder = find_model(name)
    return TransformersSegmenter(folder) if is_segmenter(folder) else TransformersDetector(folder)
