"""What is common to encoders read from a directory: their fingerprint, and loading without pickle."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from dualway.errors import ModelError

# Files that decide what a vector is: weights, tokenizer, configuration, pooling, picture processing.
_DECIDING = ("*.safetensors", "*.json", "vocab.txt", "merges.txt", "*.model", "1_Pooling/config.json")


def fingerprint_folder(folder: Path, *settings: object) -> str:
    """Return 16 hex digits that change when any deciding file of the model or any of `settings` changes."""
    digest = hashlib.sha256(repr(settings).encode())
    for path in sorted({path for pattern in _DECIDING for path in folder.glob(pattern)}):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def check_sha256(path: Path, expected: str) -> None:
    """Check a weight file against the hash it is known by.

    Raises:
        ModelError: The file differs or is missing.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); reinstall the model") from error
    if found != expected:
        raise ModelError(f"{path}: sha256 {found[:12]}.. is not {expected[:12]}..; reinstall the model")


def load_pretrained(kind: Any, folder: Path) -> Any:
    """Load a transformers model or processor from a directory: nothing remote, no pickle, no code from the folder.

    Raises:
        ModelError: Damaged or incomplete; names the directory.
    """
    return _load(kind, folder, {})


def load_complete(kind: Any, folder: Path) -> Any:
    """Load a transformers model as `load_pretrained` does; it must find every weight in the directory.

    Raises:
        ModelError: Damaged, or a weight is missing, which transformers would make at random; names the directory.
    """
    model, found = _load(kind, folder, {"output_loading_info": True})
    missing = sorted(found["missing_keys"])
    if missing:
        raise ModelError(
            f"{folder}: {len(missing):,} weights of the model are not in it (such as {missing[0]}); get it anew"
        )
    return model


def _load(kind: Any, folder: Path, more: dict[str, Any]) -> Any:
    from transformers.utils import logging

    logging.disable_progress_bar()  # progress is the command line's business
    settings: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False, **more}
    if kind.__name__.startswith("AutoModel"):
        settings["use_safetensors"] = True
    try:
        return kind.from_pretrained(folder, **settings)
    except Exception as error:
        raise ModelError(f"{folder}: cannot be loaded as {kind.__name__}: {_first_line(error)}") from error


def check_vocabulary(tokenizer: Any, config: Any, folder: Path) -> None:
    """Check that a tokenizer is the model's: without its files transformers silently makes one of two words.

    Raises:
        ModelError: It knows less than half the words that the model has vectors for.
    """
    if 2 * len(tokenizer) < int(config.vocab_size):
        raise ModelError(
            f"{folder}: its tokenizer knows {len(tokenizer)} words, the model {config.vocab_size}; "
            "the directory lacks tokenizer.json (or vocab.json and merges.txt)"
        )


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
