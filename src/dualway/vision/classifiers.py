"""Names of people by a picture classifier that knows a fixed set of them: the identity labels of section 4.3.2.

It is asked about a picture that came with a caption, and its labels become the sentences x_s beside that caption; it
proposes no candidate. The paper's own classifier is not part of this package: any of the right form can be given.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualway.encoders import find_model, is_folder
from dualway.encoders.weights import fingerprint_folder, load_complete, load_pretrained
from dualway.errors import ModelError, UsageError
from dualway.schema import IdentityLabel
from dualway.vision.objects import without_strips

if TYPE_CHECKING:
    from PIL.Image import Image

TOP = 5  # labels a picture; only those above .5 become sentences, so one does by default
_VERSION = 1  # raise it whenever labels could change: features are keyed by it
_NAMELESS = re.compile(r"(LABEL_)?\d+")
# A label that says nothing but race or emotion: such a classifier names nobody ("Barry White" is a name).
_REFUSED = re.compile(
    r"(white|caucasian|black|african([ _-]american)?|asian|(east|south(east)?)[ _-]asian|indian|latino|hispanic"
    r"|latino[ _-]hispanic|middle[ _-]eastern|arab|happy|happiness|sad|sadness|angry|anger|disgust(ed)?|fear(ful)?"
    r"|surprised?|contempt)",
    re.IGNORECASE,
)


class TransformersLabelClassifier:
    """A picture classifier whose labels are names; implements LabelClassifier.

    Scores are the softmax over all labels. Pictures are read one at a time, so that none depends on the others.

    Args:
        folder: Directory of the model, safetensors only, with its picture processor.
        top: The best so many labels of a picture are returned.

    Raises:
        UsageError: `top` is below 1.
        ModelError: Damaged, incomplete, not a picture classifier, or its labels are no names.
    """

    def __init__(self, folder: Path, top: int = TOP) -> None:
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        if top < 1:
            raise UsageError(f"{top} labels a picture; ask for at least 1")
        self.folder, self.top = folder, top
        self._model: Any = load_complete(AutoModelForImageClassification, folder).eval()
        self._processor: Any = load_pretrained(AutoImageProcessor, folder)
        self.labels: dict[int, str] = {int(i): str(name).strip() for i, name in self._model.config.id2label.items()}
        _check_labels(self.labels, folder)
        self.fingerprint = fingerprint_folder(folder, "labels", _VERSION, top)

    def classify(self, images: Sequence[Image]) -> list[list[IdentityLabel]]:
        """Return the best labels of each upright RGB picture or cut-out, best first, equal scores by name.

        Raises:
            ModelError: The model's weights give numbers that are none.
        """
        return [self._classify_one(image) for image in images]

    def _classify_one(self, image: Image) -> list[IdentityLabel]:
        import torch

        inputs = self._processor(images=[without_strips(image)], return_tensors="pt")
        with torch.inference_mode():
            [shares] = self._model(**inputs).logits.double().softmax(dim=-1)
        if not bool(shares.isfinite().all()):
            raise ModelError(f"{self.folder}: gives scores that are not finite; restore its weights")
        scores: dict[str, float] = {}
        for i, share in enumerate(shares.tolist()):
            name = self.labels.get(i, "")
            scores[name] = scores.get(name, 0.0) + share  # two classes of one name are that name
        ordered = sorted((-score, name) for name, score in scores.items() if name)
        return [IdentityLabel(name, min(-score, 1.0)) for score, name in ordered[: self.top]]


def load_label_classifier(name: str) -> TransformersLabelClassifier:
    """Return the classifier of a setting (`encoders.identity`): a model's directory or hub name.

    Raises:
        UsageError: Neither a directory nor a hub name.
        ModelError: Not to be had, damaged, not a picture classifier, or its labels are no names.
    """
    if not name or os.path.isfile(name) or ("/" not in name and not is_folder(name)):  # noqa: PTH113 - never raises
        raise UsageError(
            f"unknown model of identity {name!r}; give an .onnx file of face recognition, 'pictures', or the directory "
            "or hub name (OWNER/NAME) of a picture classifier (docs/identity.md)"
        )
    return TransformersLabelClassifier(find_model(name))


def _check_labels(labels: Mapping[int, str], folder: Path) -> None:
    if all(not label or _NAMELESS.fullmatch(label) for label in labels.values()):
        raise ModelError(f"{folder}: its labels have no names; write them into id2label of its config.json")
    refused = next((label for label in labels.values() if _REFUSED.fullmatch(label)), None)
    if refused is not None:
        raise ModelError(
            f"{folder}: its label {refused!r} is one of race or emotion, which are not read from faces; "
            "give a classifier of people's names"
        )
