"""Sentence encoders: any directory in sentence-transformers' layout, read with transformers.

sentence-transformers itself takes seconds to import and adds nothing here: the layout's transformer, pooling (mean or
first token) and normalisation are applied as its files say. A directory with modules of another kind is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dualway.encoders.weights import check_sha256, check_vocabulary, fingerprint_folder, load_pretrained
from dualway.errors import DataError, ModelError
from dualway.schema import FloatArray
from dualway.storage import read_json
from dualway.text import repair

if TYPE_CHECKING:
    from torch import Tensor, nn

_KNOWN_MODULES = {"Transformer", "Pooling", "Normalize"}
_BATCH_TOKENS = 4096  # tokens a batch, padding included: long texts go in small batches
_CHARACTERS_PER_TOKEN = 64  # far more than any tokenizer needs; keeps a megabyte of text away from it


class SentenceEncoder:
    """A transformer with pooling; implements TextEncoder, TokenEncoder and TrainableEncoder.

    Args:
        folder: Directory of the model.
        sha256: Hash that model.safetensors must have, when known.

    Raises:
        ModelError: Damaged, incomplete, or with modules that are not supported.
    """

    def __init__(self, folder: Path, *, sha256: str | None = None) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.folder = folder
        if sha256 is not None:
            check_sha256(folder / "model.safetensors", sha256)
        try:
            self._pooling, self._normalise = _read_layout(folder)
            limit = _read_limit(folder)
        except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{folder}: damaged layout ({error}); restore the model's directory") from error
        self._tokenizer: Any = load_pretrained(AutoTokenizer, folder)
        self._model: Any = load_pretrained(AutoModel, folder).eval()
        check_vocabulary(self._tokenizer, self._model.config, folder)
        # A tokenizer knows of positions that a model keeps for itself (RoBERTa: 512 of 514).
        limit = limit or int(self._tokenizer.model_max_length)
        self.max_tokens = min(limit, int(getattr(self._model.config, "max_position_embeddings", 512)))
        # Hash of weights, tokenizer, configuration, pooling and truncation.
        self.fingerprint = fingerprint_folder(folder, "sentence", self._pooling, self._normalise, self.max_tokens)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self._model.config.hidden_size)

    @property
    def module(self) -> nn.Module:
        """The transformer, in eval mode until it is trained."""
        return self._model

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [n, dim]; texts are cut at `max_tokens` tokens."""
        import torch

        with torch.inference_mode():
            return self.encode_batch(texts).cpu().numpy()

    def encode_batch(self, texts: Sequence[str]) -> Tensor:
        """Return what `encode_texts` does, on the module's device and with gradients where torch records them."""
        from torch.nn.functional import normalize

        order: list[int] = []
        pooled: list[Tensor] = []
        for batch, states, mask in self._batches(texts):
            vectors = states[:, 0] if self._pooling == "cls" else _mean(states, mask)
            pooled.append(normalize(vectors) if self._normalise else vectors)
            order += batch
        return in_order(pooled, order, self.dim)

    def encode_tokens(self, texts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Return the last hidden states, float32 [n, t, dim], and their mask, float32 [n, t]."""
        import torch

        with torch.inference_mode():
            parts = [(i, states.cpu().numpy(), mask.cpu().numpy()) for i, states, mask in self._batches(texts)]
        longest = max((mask.shape[1] for _, _, mask in parts), default=0)
        values = np.zeros((len(texts), longest, self.dim), dtype=np.float32)
        masks = np.zeros((len(texts), longest), dtype=np.float32)
        for batch, states, mask in parts:
            values[batch, : states.shape[1]] = states * mask[:, :, None]
            masks[batch, : mask.shape[1]] = mask
        return values, masks

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Encode texts of like length together; yield positions, states [b, t, dim] and mask [b, t] of each batch."""
        import torch

        cut = [repair(text[: self.max_tokens * _CHARACTERS_PER_TOKEN]) for text in texts]
        ids: list[list[int]] = (
            self._tokenizer(cut, truncation=True, max_length=self.max_tokens)["input_ids"] if cut else []
        )
        device = next(self.module.parameters()).device
        for batch in length_batches([len(row) for row in ids], _BATCH_TOKENS):
            width = max(len(ids[i]) for i in batch)
            tokens = torch.full((len(batch), width), int(self._tokenizer.pad_token_id or 0), dtype=torch.long)
            mask = torch.zeros((len(batch), width), dtype=torch.long)
            for line, i in enumerate(batch):
                tokens[line, : len(ids[i])] = torch.tensor(ids[i], dtype=torch.long)
                mask[line, : len(ids[i])] = 1
            tokens, mask = tokens.to(device), mask.to(device)
            states = self._model(input_ids=tokens, attention_mask=mask).last_hidden_state
            yield batch, states.float(), mask.float()


def length_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group positions by length so that each group's padded size stays within `budget` tokens."""
    batches: list[list[int]] = []
    current: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if current and lengths[i] * (len(current) + 1) > budget:
            batches.append(current)
            current = []
        current.append(i)
    return [*batches, current] if current else batches


def in_order(parts: Sequence[Tensor], order: Sequence[int], dim: int) -> Tensor:
    """Join the vectors of `length_batches` and undo its order: float32 [n, dim], row i the text at position i."""
    import torch

    if not parts:
        return torch.zeros(0, dim)
    return torch.cat(list(parts)).float()[torch.tensor(order).argsort()]


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    return (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True).clamp_min(1e-9)  # [b, t, dim] -> [b, dim]


def _read_layout(folder: Path) -> tuple[str, bool]:
    """Return (pooling, normalise) as the directory's files say; mean without normalisation for a bare transformer."""
    if not (folder / "modules.json").is_file():
        return "mean", False
    modules = [str(module["type"]).rsplit(".", 1)[-1] for module in read_json(folder / "modules.json")]
    unknown = sorted(set(modules) - _KNOWN_MODULES)
    if unknown:
        raise ModelError(f"{folder}: module {unknown[0]} of this sentence encoder is not supported")
    pooling = read_json(folder / "1_Pooling" / "config.json") if "Pooling" in modules else {}
    chosen = [key for key, value in pooling.items() if key.startswith("pooling_mode_") and value is True]
    if pooling.get("pooling_mode") in ("mean", "cls"):
        return str(pooling["pooling_mode"]), "Normalize" in modules
    if chosen not in ([], ["pooling_mode_mean_tokens"], ["pooling_mode_cls_token"]):
        raise ModelError(f"{folder}: pooling {', '.join(chosen)} is not supported; mean and first token are")
    return "cls" if chosen == ["pooling_mode_cls_token"] else "mean", "Normalize" in modules


def _read_limit(folder: Path) -> int:
    """Return the number of tokens at which the directory says texts are cut; 0 when it says nothing."""
    settings = folder / "sentence_bert_config.json"
    return int(read_json(settings).get("max_seq_length") or 0) if settings.is_file() else 0
