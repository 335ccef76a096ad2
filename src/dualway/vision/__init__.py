"""Vision: what finds the objects in pictures. `load_detector` turns a setting into one."""

from __future__ import annotations

import importlib
from pathlib import Path

from dualway.errors import UsageError
from dualway.protocols import Detector

__all__ = ["DETECTORS", "load_detector"]

# By name, as (module, class): nothing is imported before it is asked for.
DETECTORS: dict[str, tuple[str, str]] = {
    "proposals": ("dualway.vision.proposals", "Proposals"),
}


def load_detector(name: str) -> Detector:
    """Return the detector called `name`, with its defaults: one of DETECTORS, or a model's directory or hub name.

    Raises:
        UsageError: No such detector.
        ModelError: The model is not to be had, damaged, or not a detector.
    """
    if name not in DETECTORS:
        return _load_objects(name)
    module, attribute = DETECTORS[name]
    return getattr(importlib.import_module(module), attribute)()


def _load_objects(name: str) -> Detector:
    from dualway.encoders import find_model
    from dualway.vision.objects import TransformersDetector

    if "/" not in name and not Path(name).is_dir():
        known = ", ".join(DETECTORS)
        raise UsageError(
            f"unknown detector {name!r}; choose {known}, or a directory or hub name (OWNER/NAME) of a model"
        )
    return TransformersDetector(find_model(name))
