"""What is said of a face that was found: age and gender, each only when asked for. `load_taggers` makes the sayers.

Both are soft evidence with errors that differ by group (docs/vision.md). Race and emotion are never read from faces;
they come into sentences only from detection files that carry them (`features.detections`).
"""

from __future__ import annotations

import hashlib
import importlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dualway.encoders import find_model, is_folder
from dualway.encoders.weights import fingerprint_folder, load_complete, load_pretrained
from dualway.errors import ModelError, UsageError
from dualway.images import to_array
from dualway.protocols import FaceTagger
from dualway.schema import Face
from dualway.vision.onnx import check_shapes, find_onnx, load_onnx, picture_tensor

if TYPE_CHECKING:
    from PIL.Image import Image

ATTRIBUTES = ("gender", "age")  # the order of the paper's sentence: "gender: male, race: white, age: 50"
DEEPFACE = "deepface"
FRAMING = 0.95  # side of the square that is looked at, in heights of the box (YuNet's): chosen by experiments/faces.py
_VERSION = 1  # raise it whenever attributes could change: features are keyed by it
_ONNX_SIDE, _CLASSIFIER_SIDE = 112, 224  # pixels of the cut-out
_GENDERS = "male,female"  # the order of the output, unless the file's metadata say otherwise
_WORDS = {"Man": "male", "Woman": "female"}  # the paper's words for DeepFace's
_MAX_AGE = 130
# Labels of classifiers of what is not read from faces here, whatever attribute they are named for.
_REFUSED = re.compile(
    r"\b(white|caucasian|black|african|asian|indian|latino|hispanic|middle[ _]eastern|arab"
    r"|happy|happiness|sad|sadness|angry|anger|disgust|disgusted|fear|fearful|surprise|surprised|contempt)\b",
    re.IGNORECASE,
)
_NAMELESS = re.compile(r"(LABEL_)?\d+")

# Name of an attribute -> (value, confidence or None).
Said = dict[str, tuple[str, float | None]]


class OnnxTagger:
    """Age and gender from one ONNX file; implements FaceTagger.

    The contract is AgeGenderNet's of face-api.js (MIT): input `image` float32 [n, 3, 112, 112], RGB 0 to 255; outputs
    `age` [n] in years and `gender` [n, 2], shares of male and female. Fed BGR it is nearly as good at gender and much
    worse at age. Faces are read one at a time, so that none depends on the others.

    Args:
        path: The .onnx file.
        attributes: Which of the two are said, in any order.
        framing: Side of the square that is looked at, in heights of the face's box.

    Raises:
        UsageError: Another attribute than age and gender, or none.
        ModelError: The file is missing, damaged, or another model.
    """

    def __init__(self, path: Path, attributes: Sequence[str] = ATTRIBUTES, *, framing: float = FRAMING) -> None:
        self.attributes, self.framing = _check_attributes(attributes), framing
        self.path, self._model = path, load_onnx(path)
        side = _ONNX_SIDE
        check_shapes(
            self._model,
            "a model of age and gender",
            inputs={"image": (None, 3, side, side)},
            outputs={"age": (None,), "gender": (None, 2)},
        )
        self._genders = tuple(self._model.metadata.get("gender_classes", _GENDERS).split(","))
        if sorted(self._genders) != sorted(_GENDERS.split(",")):
            raise ModelError(f"{path}: says that its gender_classes are {self._genders}, not male and female")
        self.fingerprint = _digest("onnx", self._model.fingerprint, self.attributes, framing)

    def tag(self, image: Image, faces: Sequence[Face]) -> list[Said]:
        """Return what is said of each face; nothing of one whose box holds no pixel.

        The age is in whole years and has no confidence; that of the gender is the model's share for it.

        Raises:
            ModelError: The model gives numbers that are not finite.
        """
        cuts = cut_faces(image, faces, _ONNX_SIDE, framing=self.framing)
        return [{} if cut is None else self._tag_one(cut) for cut in cuts]

    def _tag_one(self, pixels: NDArray[np.uint8]) -> Said:
        [age], [shares] = self._model.run({"image": picture_tensor(pixels)})
        best = int(np.argmax(shares))
        said: Said = {"gender": (self._genders[best], float(shares[best])), "age": (_years(float(age)), None)}
        return {name: said[name] for name in self.attributes}


class ClassifierTagger:
    """One attribute from a picture classifier in a `transformers` directory; implements FaceTagger.

    The value is the text of the likeliest label as it stands in config.json, the confidence its softmax.

    Args:
        folder: Directory of the model, safetensors only, with its picture processor.
        attribute: "age" or "gender".

    Raises:
        UsageError: Another attribute.
        ModelError: Damaged, incomplete, not a classifier of pictures; labels without names, or of race or emotion.
    """

    def __init__(self, folder: Path, attribute: str) -> None:
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        self.folder, self.attributes = folder, _check_attributes([attribute])
        self._model: Any = load_complete(AutoModelForImageClassification, folder).eval()
        self._processor: Any = load_pretrained(AutoImageProcessor, folder)
        self.labels: dict[int, str] = {int(i): str(name) for i, name in self._model.config.id2label.items()}
        _check_labels(self.labels, folder)
        self.fingerprint = fingerprint_folder(folder, "faces", _VERSION, attribute, FRAMING)

    def tag(self, image: Image, faces: Sequence[Face]) -> list[Said]:
        """Return what is said of each face; nothing of one whose box holds no pixel.

        Raises:
            ModelError: The model's weights give numbers that are none.
        """
        return [{} if cut is None else self._tag_one(cut) for cut in cut_faces(image, faces, _CLASSIFIER_SIDE)]

    def _tag_one(self, pixels: NDArray[np.uint8]) -> Said:
        import torch
        from PIL import Image

        with torch.inference_mode():
            inputs = self._processor(images=[Image.fromarray(pixels)], return_tensors="pt")
            [shares] = self._model(**inputs).logits.softmax(dim=-1)
        if not bool(shares.isfinite().all()):
            raise ModelError(f"{self.folder}: gives scores that are not finite; restore its weights")
        best = int(shares.argmax())
        return {self.attributes[0]: (self.labels[best], float(shares[best]))}


class DeepFaceTagger:
    """Age and gender by the package `deepface`, where it is installed; implements FaceTagger.

    Nothing of it is imported before. It fetches its own weights at first use (to ~/.deepface); its code is MIT, its
    weights are under their makers' terms. It is asked for nothing but `attributes`, and never looks for faces itself.

    Args:
        attributes: "age", "gender", or both, in any order.

    Raises:
        UsageError: Another attribute than age and gender, or none.
        ModelError: The package is not installed, or cannot be imported.
    """

    def __init__(self, attributes: Sequence[str] = ATTRIBUTES) -> None:
        self.attributes = _check_attributes(attributes)
        try:
            version = getattr(importlib.import_module(DEEPFACE), "__version__", "")
            self._analyze: Any = importlib.import_module(f"{DEEPFACE}.DeepFace").analyze
        except ModuleNotFoundError as error:
            missing = f"{error.name} is not installed" if error.name else str(error)
            raise ModelError(f"attributes by deepface: {missing}; pip install deepface tf-keras") from error
        except Exception as error:
            raise ModelError(
                f"attributes by deepface: it cannot be imported ({error}); pip install --upgrade deepface"
            ) from error
        self.fingerprint = _digest(DEEPFACE, str(version), self.attributes)

    def tag(self, image: Image, faces: Sequence[Face]) -> list[Said]:
        """Return what is said of each face; nothing of one whose box holds no pixel.

        Raises:
            ModelError: The package fails, or answers in a form that is not known.
        """
        pixels = to_array(image)
        return [self._tag_one(pixels, face) for face in faces]

    def _tag_one(self, pixels: NDArray[np.uint8], face: Face) -> Said:
        if face.box is None or (part := _pixel_box(face.box, pixels.shape)) is None:
            return {}
        x0, y0, x1, y1 = part
        cut = np.ascontiguousarray(pixels[y0:y1, x0:x1, ::-1])  # it takes arrays as BGR
        try:
            answer = self._analyze(
                cut, actions=self.attributes, enforce_detection=False, detector_backend="skip", align=False, silent=True
            )
        except Exception as error:  # tensorflow's, the downloader's, the package's own
            raise ModelError(
                f"attributes by deepface: it failed ({error}); try another model of age or gender"
            ) from error
        return _read_deepface(answer, self.attributes)


def load_taggers(age: str | None = None, gender: str | None = None) -> list[FaceTagger]:
    """Return what says age and gender of faces, by the settings `encoders.age` and `encoders.gender`; None: not asked.

    A setting is an .onnx file, a classifier's directory or hub name, or "deepface". The same file for both is loaded
    once. Their attributes come in the order of a sentence: gender, then age.

    Raises:
        UsageError: No such kind of model, or one classifier for both.
        ModelError: The model is not to be had, damaged, or of another kind.
    """
    wanted = {"gender": gender, "age": age}
    groups: dict[str, list[str]] = {}
    for attribute, name in wanted.items():
        if name is not None:
            groups.setdefault(_canonical(name), []).append(attribute)
    return [_load_tagger(name, attributes) for name, attributes in groups.items()]


def cut_faces(
    image: Image, faces: Sequence[Face], side: int, *, framing: float = FRAMING
) -> list[NDArray[np.uint8] | None]:
    """Return a square around each face of an RGB picture, uint8 [side, side, 3]; None where there is nothing to see.

    The square is `framing` heights of the face's box wide and has its centre; what lies outside of the picture is
    black. Memory is bounded whatever the box.
    """
    pixels = to_array(image)
    return [None if face.box is None else _cut(pixels, face.box, side, framing) for face in faces]


def _cut(
    pixels: NDArray[np.uint8], box: tuple[float, float, float, float], side: int, framing: float
) -> NDArray[np.uint8] | None:
    if _pixel_box(box, pixels.shape) is None:
        return None
    length = max(1, round((box[3] - box[1]) * framing))
    left, top = (round((box[i] + box[i + 2] - length) / 2) for i in (0, 1))
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + length, width), min(top + length, height)
    if x1 <= x0 or y1 <= y0:
        return None
    # Where the part lies in the square, at least a pixel of it.
    spans = [(x0 - left, x1 - left), (y0 - top, y1 - top)]
    (tx0, tx1), (ty0, ty1) = (
        (start := min(side * low // length, side - 1), max(start + 1, round(side * high / length)))
        for low, high in spans
    )
    # A mean of pixels where it shrinks: single pixels of a large face are noise, which makes it look older.
    how = cv2.INTER_AREA if length > side else cv2.INTER_LINEAR
    square = np.zeros((side, side, 3), np.uint8)
    square[ty0:ty1, tx0:tx1] = cv2.resize(pixels[y0:y1, x0:x1], (tx1 - tx0, ty1 - ty0), interpolation=how)
    return square


def _pixel_box(box: tuple[float, float, float, float], shape: Sequence[int]) -> tuple[int, int, int, int] | None:
    """Return the box in whole pixels, rounded outwards and cut at a picture of (height, width, ..); None: nothing."""
    if not all(map(math.isfinite, box)) or max(map(abs, box)) > 1e9:
        return None
    x0, y0 = max(math.floor(box[0]), 0), max(math.floor(box[1]), 0)
    x1, y1 = min(math.ceil(box[2]), shape[1]), min(math.ceil(box[3]), shape[0])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _check_attributes(attributes: Sequence[str]) -> tuple[str, ...]:
    """Return them in the order of a sentence."""
    other = [name for name in attributes if name not in ATTRIBUTES]
    if other:
        raise UsageError(
            f"{other[0]!r} is not read from faces: only age and gender are; "
            "race and emotion come only from detection files that carry them"
        )
    if not attributes:
        raise UsageError("name what is to be said of faces: age, gender, or both")
    return tuple(name for name in ATTRIBUTES if name in attributes)


def _check_labels(labels: Mapping[int, str], folder: Path) -> None:
    if all(_NAMELESS.fullmatch(label) for label in labels.values()):
        raise ModelError(f"{folder}: its labels have no names; write them into id2label of its config.json")
    refused = next((label for label in labels.values() if _REFUSED.search(label)), None)
    if refused is not None:
        raise ModelError(
            f"{folder}: its label {refused!r} is one of race or emotion, which are not read from faces; "
            "give a classifier of age or gender"
        )


def _canonical(name: str) -> str:
    """Return a setting, the same for every way to write the path of one file."""
    path = find_onnx(name)
    if path is None:
        return name
    return str(path.resolve() if path.is_file() else path)


def _load_tagger(name: str, attributes: list[str]) -> FaceTagger:
    path = find_onnx(name)
    if path is not None:
        return OnnxTagger(path, attributes)
    if name == DEEPFACE:
        return DeepFaceTagger(attributes)
    if len(attributes) > 1:
        raise UsageError(f"{name}: a classifier has labels of one kind; give age and gender a model each")
    if "/" not in name and not is_folder(name):
        raise UsageError(
            f"unknown model of {attributes[0]} {name!r}; give an .onnx file, a directory or hub name (OWNER/NAME) of a "
            "picture classifier, or deepface"
        )
    return ClassifierTagger(find_model(name), attributes[0])


def _read_deepface(answer: Any, attributes: Sequence[str]) -> Said:
    """Return what is said in deepface's answer: a list of one object, {"age": 50, "gender": {"Man": 99.9, ..}}."""
    try:
        [found] = answer
        said: Said = {}
        if "gender" in attributes:
            label, share = max(found["gender"].items(), key=lambda item: (item[1], item[0]))
            said["gender"] = (_WORDS[label], min(max(float(share) / 100, 0.0), 1.0))
        if "age" in attributes:
            said["age"] = (_years(float(found["age"])), None)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ModelError(
            f"attributes by deepface: its answer is of an unknown form ({type(error).__name__}: {error}); "
            "pip install 'deepface<0.1'"
        ) from error
    return said


def _years(age: float) -> str:
    """Return an age in whole years as text."""
    return str(round(min(max(age, 0.0), _MAX_AGE)))


def _digest(*settings: object) -> str:
    return hashlib.sha256(repr((_VERSION, *settings)).encode()).hexdigest()[:16]
