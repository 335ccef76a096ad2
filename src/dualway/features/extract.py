"""From mentions, pictures and a knowledge base to Features in memory (paper, section 4: features extraction)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dualway.config import FeatureConfig, ModelConfig
from dualway.encoders.cache import VectorCache, content_key
from dualway.errors import ModelError, PictureError
from dualway.features.arrays import Features, Ragged
from dualway.images import open_picture
from dualway.protocols import ImageEncoder, TextEncoder, TokenEncoder
from dualway.schema import FloatArray, IntArray, Mention

if TYPE_CHECKING:
    from dualway.kb.store import KnowledgeBase

_IMAGE_BATCH = 32
_TOKEN_BATCH = 256


@dataclass
class ExtractionReport:
    """What could not be used: path of each unusable picture and why. Its mentions keep their texts."""

    pictures: int = 0
    failures: dict[str, str] = field(default_factory=dict[str, str])


class FeatureExtractor:
    """Turns texts and pictures into Features with fixed encoders and templates.

    Args:
        config: Templates.
        text: The text encoder, usually a CachedTextEncoder.
        image: The picture encoder; None: pictures are not read.
        cache_folder: Where picture vectors are kept; None keeps none.
    """

    def __init__(
        self,
        config: FeatureConfig,
        text: TextEncoder,
        image: ImageEncoder | None = None,
        *,
        cache_folder: Path | None = None,
    ) -> None:
        self.config, self.text, self.image = config, text, image
        self._pictures = None if image is None else VectorCache(cache_folder, image.fingerprint, image.dim)

    def entities(self, kb: KnowledgeBase, rows: IntArray | None = None) -> FloatArray:
        """Return E of the chosen rows (all by default), float32 [m, dim]; without a text, a name stands for itself."""
        texts, names = kb.texts(), kb.names
        template = self.config.entity_template
        wanted = range(len(names)) if rows is None else rows.tolist()
        return self.text.encode_texts(
            [template.format(name=names[i], text=texts[i]) if texts[i] else names[i] for i in wanted]
        )

    def extract(
        self,
        mentions: Sequence[Mention],
        image_path: Callable[[Mention], Path | None],
        entities: FloatArray,
        *,
        model: ModelConfig | None = None,
    ) -> tuple[Features, ExtractionReport]:
        """Return the features of `mentions`; the whole picture is each picture's one object.

        Args:
            mentions: What to extract.
            image_path: Where a mention's picture lies, None for none.
            entities: E, as from `entities`.
            model: Tells whether token vectors are needed.
        """
        surfaces = [self.config.mention_template.format(mention=m.surface, text=m.text) for m in mentions]
        texts = [self.config.text_template.format(mention=m.surface, text=m.text) for m in mentions]
        report = ExtractionReport()
        picture, image = self._whole_pictures(mentions, image_path, report)
        objects = None if image is None else Ragged(image, np.arange(len(image) + 1, dtype=np.int64))
        features = Features(
            mention=self.text.encode_texts(surfaces),
            text=self.text.encode_texts(texts),
            picture=picture,
            entities=entities,
            image=image,
            objects=objects,
            text_tokens=self._tokens(texts) if model is not None and model.text_keys == "tokens" else None,
        )
        return features, report

    def _whole_pictures(
        self, mentions: Sequence[Mention], image_path: Callable[[Mention], Path | None], report: ExtractionReport
    ) -> tuple[IntArray, FloatArray | None]:
        picture = np.full(len(mentions), -1, dtype=np.int64)
        if self.image is None:
            return picture, None
        paths = [image_path(mention) for mention in mentions]
        distinct = list(dict.fromkeys(path for path in paths if path is not None))
        vectors, position = self._encode_pictures(distinct, report)
        for i, path in enumerate(paths):
            picture[i] = -1 if path is None else position.get(path, -1)
        return picture, vectors

    def _encode_pictures(self, paths: Sequence[Path], report: ExtractionReport) -> tuple[FloatArray, dict[Path, int]]:
        assert self.image is not None
        assert self._pictures is not None
        done: list[FloatArray] = []
        position: dict[Path, int] = {}
        for start in range(0, len(paths), _IMAGE_BATCH):
            keys: dict[Path, bytes] = {}
            fresh: dict[bytes, FloatArray] = {}
            for path in paths[start : start + _IMAGE_BATCH]:
                try:
                    keys[path] = content_key(path.read_bytes())
                except OSError as error:
                    report.failures[str(path)] = error.strerror or "cannot be read"
            known = self._pictures.get(list(keys.values()))
            for path, key in keys.items():
                if key not in known and key not in fresh:
                    try:
                        fresh[key] = self.image.encode_images([open_picture(path)])[0]
                    except PictureError as error:
                        report.failures[str(path)] = error.problem
            self._pictures.put(fresh)
            known.update(fresh)
            for path, key in keys.items():
                if key in known:
                    position[path] = len(done)
                    done.append(known[key])
        report.pictures = len(done)
        return np.stack(done) if done else np.zeros((0, self.image.dim), dtype=np.float32), position

    def _tokens(self, texts: Sequence[str]) -> Ragged:
        encoder: Any = getattr(self.text, "encoder", self.text)
        if not hasattr(encoder, "encode_tokens"):
            raise ModelError("model.text_keys = 'tokens' needs an encoder with token vectors: a sentence encoder")
        values: list[FloatArray] = []
        counts: list[int] = []
        tokens: TokenEncoder = encoder
        for start in range(0, len(texts), _TOKEN_BATCH):
            states, mask = tokens.encode_tokens(texts[start : start + _TOKEN_BATCH])
            kept = mask.astype(bool)
            values.append(states[kept])
            counts.extend(kept.sum(axis=1).tolist())
        stacked = np.concatenate(values) if values else np.zeros((0, self.text.dim), dtype=np.float32)
        return Ragged(stacked, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
