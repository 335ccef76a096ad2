"""CLIP (and SigLIP) by directory: text and picture vectors of one space, through transformers.

As in the public code of the paper: pooled features after the projection, not normalised, texts cut at the model's
length (77 tokens for OpenAI's).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dualway.encoders.sentence import in_order, length_batches
from dualway.encoders.weights import check_sha256, check_vocabulary, fingerprint_folder, load_pretrained
from dualway.schema import FloatArray
from dualway.text import repair

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

_BATCH_TOKENS = 4096
_BATCH_IMAGES = 32
_CHARACTERS_PER_TOKEN = 64


class ClipEncoder:
    """A CLIP or SigLIP model; implements TextEncoder, ImageEncoder and TrainableEncoder.

    Args:
        folder: Directory of the model with tokenizer and picture processor.
        sha256: What its weights must hash to; None: not checked.

    Raises:
        ModelError: Damaged or incomplete.
    """

    def __init__(self, folder: Path, *, sha256: str | None = None) -> None:
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

        if sha256 is not None:
            check_sha256(folder / "model.safetensors", sha256)

        self.folder = folder
        self._model: Any = load_pretrained(AutoModel, folder).eval()
        self._tokenizer: Any = load_pretrained(AutoTokenizer, folder)
        check_vocabulary(self._tokenizer, self._model.config.text_config, folder)
        self._processor: Any = load_pretrained(AutoImageProcessor, folder)
        self.max_tokens = int(self._model.config.text_config.max_position_embeddings)
        self.fingerprint = fingerprint_folder(folder, "clip", self.max_tokens)
        # SigLIP was trained on texts padded to its full length, and knows no mask.
        self._pads_fully = self._model.config.model_type != "clip"

    @property
    def dim(self) -> int:
        """Width of the vectors, the same for texts and pictures."""
        config = self._model.config
        return int(getattr(config, "projection_dim", 0) or config.text_config.hidden_size)

    @property
    def module(self) -> nn.Module:
        """The text tower with its projection, in eval mode until it is trained; the picture tower is not in it."""
        from torch import nn

        names = [name for name in ("text_model", "text_projection") if hasattr(self._model, name)]  # SigLIP: the first
        return nn.ModuleDict({name: getattr(self._model, name) for name in names})

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [n, dim]; texts are cut at the model's length."""
        import torch

        with torch.inference_mode():
            return self.encode_batch(texts).cpu().numpy()

    def encode_batch(self, texts: Sequence[str]) -> Tensor:
        """Return what `encode_texts` does, on the module's device and with gradients where torch records them."""
        order: list[int] = []
        vectors: list[Tensor] = []
        device = next(self.module.parameters()).device
        cut = [repair(text[: self.max_tokens * _CHARACTERS_PER_TOKEN]) for text in texts]
        ids: list[list[int]] = (
            self._tokenizer(cut, truncation=True, max_length=self.max_tokens)["input_ids"] if cut else []
        )
        lengths = [self.max_tokens if self._pads_fully else len(row) for row in ids]
        for batch in length_batches(lengths, _BATCH_TOKENS):
            inputs = self._tokenizer.pad(
                {"input_ids": [ids[i] for i in batch]},
                padding="max_length" if self._pads_fully else True,
                max_length=self.max_tokens if self._pads_fully else None,
                return_tensors="pt",
            )
            if self._pads_fully:
                inputs.pop("attention_mask", None)
            vectors.append(_pooled(self._model.get_text_features(**inputs.to(device))))
            order += batch
        return in_order(vectors, order, self.dim)

    def encode_images(self, images: Sequence[Image]) -> FloatArray:
        """Return float32 [n, dim] of upright RGB pictures."""
        import torch

        vectors = np.zeros((len(images), self.dim), dtype=np.float32)
        for start in range(0, len(images), _BATCH_IMAGES):
            batch = list(images[start : start + _BATCH_IMAGES])
            inputs = self._processor(images=batch, return_tensors="pt")
            with torch.inference_mode():
                vectors[start : start + len(batch)] = _pooled(self._model.get_image_features(**inputs)).numpy()
        return vectors


def _pooled(output: Any) -> Tensor:
    """Return the projected vectors, whether transformers hands out a tensor or an output object."""
    return getattr(output, "pooler_output", output).float()
