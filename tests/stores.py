"""A feature store made by the real pipeline with models that cost nothing, for tests of what is done with one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dualway.config import EncoderConfig, FeatureConfig, Preset
from dualway.datasets import open_dataset
from dualway.features.build import Made, Sources, StoreBuilder, Work
from dualway.features.extract import FeatureExtractor
from dualway.features.identities import CandidateIdentifier
from dualway.features.regions import read_regions
from dualway.features.seeing import FaceReader
from dualway.features.texts import EntityTexts
from dualway.kb.store import KnowledgeBase
from dualway.schema import CandidateLists, Face, IdentityLabel, Region, Segment
from dualway.vision.crops import encode_mask

POINTS = ((14.0, 8.0), (20.0, 8.0), (17.0, 11.0), (14.0, 15.0), (20.0, 15.0))
SEEING = EncoderConfig(
    text="letters", image="colours", detector="halves.onnx", faces="one-face.onnx", age="ages.onnx", identity="id.onnx"
)
# Whom the gallery takes the face of every picture for: two above the threshold, one below.
PEOPLE = (("Jodie Foster", "Q1", 0.9, 0.71), ("Mel Gibson", "Q4", 0.8, 0.62), ("João Silva", "Q7", 0.3, 0.41))


class Letters:
    """A vector of a text that no other text has."""

    fingerprint, dim = "letters-of-text", 6

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        digests = b"".join(hashlib.sha256(text.encode()).digest()[: self.dim] for text in texts)
        return np.frombuffer(digests, dtype=np.uint8).reshape(-1, self.dim).astype(np.float32) / 256


class Colours:
    """A picture's colours and size."""

    fingerprint, dim = "colours-of-pictures", 5

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        rows = [(*np.asarray(image).mean(axis=(0, 1)), *image.size) for image in images]
        return np.array(rows, dtype=np.float32).reshape(-1, self.dim) / 256


class Halves:
    """The left half as a box, the right one with an outline."""

    fingerprint = "halves-of-pictures"

    def detect(self, images: Sequence[Image.Image]) -> list[list[Region]]:
        return [self._of(*image.size) for image in images]

    def _of(self, width: int, height: int) -> list[Region]:
        middle = width // 2
        inside = np.ones((height, width - middle), dtype=np.bool_)
        inside[:3] = False
        outline = Segment((middle, 0.0, width, height), "person", 0.6, mask=encode_mask(inside))
        return [Region((0.0, 0.0, middle, height), "person", 0.9), outline]


class OneFace:
    """Finds a face in pictures that are wider than high."""

    fingerprint = "one-face"

    def find(self, image: Image.Image) -> list[Face]:
        wide = image.width > image.height
        return [Face((10.0, 4.0, 26.0, 20.0), {}, score=0.9, landmarks=POINTS)] if wide else []


class Ages:
    """Says how old everybody is."""

    fingerprint, attributes = "ages", ("age",)

    def tag(self, image: Image.Image, faces: Sequence[Face]) -> list[dict[str, tuple[str, float | None]]]:
        return [{"age": ("50", 0.75)} for _ in faces]


class FaceVectors:
    """One vector for all faces, which is found again byte for byte."""

    fingerprint, dim = "face-vectors", 4
    vector = np.array([0.123457, -0.654321, 0.271828, 0.693147], dtype=np.float32)

    def encode_faces(self, image: Image.Image, faces: Sequence[Face]) -> np.ndarray:
        return np.tile(self.vector, (len(faces), 1))


class Recognises:
    """Takes every face for the same people."""

    fingerprint = "recognises"

    def identify(self, probes: np.ndarray, rows: np.ndarray) -> list[IdentityLabel]:
        return [IdentityLabel(name, score, entity, 0, cosine) for name, entity, score, cosine in PEOPLE]


class Everybody:
    """Proposes the same candidates for every mention."""

    fingerprint = "everybody"

    def search(self, mentions: Sequence[Any], k: int) -> CandidateLists:
        rows = np.tile(np.arange(k), (len(mentions), 1))
        return CandidateLists(rows, np.ones(rows.shape, dtype=np.float32))


def photo(path: Path, size: tuple[int, int] = (60, 40), seed: int = 0) -> Path:
    """Write a picture of noise, which no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def write_data(folder: Path) -> Path:
    """Write train (with every kind of picture) and dev.

    a.png has a face and three mentions, sub/b.png and other/b.png have one each, high.png no face; broken.png cannot be
    used.
    """
    for seed, name in enumerate(("a.png", "sub/b.png", "other/b.png", "dev.png")):
        photo(folder / name, seed=seed)
    photo(folder / "high.png", (40, 60), seed=9)
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:80])
    names = ["a.png", "broken.png", "a.png", "sub/b.png", "high.png", None, "https://example.org/a.png", "a.png"]
    for split, images in (("train", [*names, "other/b.png"]), ("dev", ["dev.png"])):
        lines = [
            {"id": f"{split}-{i}", "text": f"Foster, {split} {i}", "surface": "Foster", "image": image}
            for i, image in enumerate(images)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def build_store(
    out: Path,
    data: Path,
    kb: KnowledgeBase,
    *,
    cache: Path | None = None,
    encoders: EncoderConfig = SEEING,
    regions: Path | None = None,
    work: Work | None = None,
    dtype: str = "float32",
    splits: Sequence[str] = ("train", "dev"),
    gallery: str = "gallery-of-pictures",
    **features: Any,
) -> list[Made]:
    """Make or go on with a store of a data set, as `dualway features` does."""
    config = dataclasses.replace(FeatureConfig(), **features)
    by_faces = encoders.identity is not None
    faces = identifier = None
    if encoders.faces is not None:
        faces = FaceReader(config, OneFace(), [Ages()] if encoders.age else [], FaceVectors() if by_faces else None)
    if by_faces:
        identifier = CandidateIdentifier(Recognises(), Everybody(), 3, EntityTexts(kb), gallery=gallery, probes="faces")
    extractor = FeatureExtractor(
        config, Letters(), Colours(), cache_folder=cache, detector=Halves(), faces=faces, identifier=identifier,
        regions=None if regions is None else read_regions(regions),
    )  # fmt: skip
    preset = Preset(name="paper", encoders=encoders, features=config)
    sources = Sources(dtype=dtype, regions=regions)
    builder = StoreBuilder(out, extractor, kb, preset, sources=sources, work=work)
    return builder.add({split: open_dataset(data, split) for split in splits})


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
