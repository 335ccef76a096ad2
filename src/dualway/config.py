"""Settings as frozen dataclasses, the shipped presets, and reading and writing them as TOML or JSON.

Section numbers are the paper's. `paper` follows the paper's text; `released` follows what its public code ran.
"""

from __future__ import annotations

import dataclasses
import json
import math
import string
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dualway.errors import UsageError


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoders make the features."""

    text: str = "minilm"  # "minilm" (a package, offline), or a directory or hub name of a CLIP or sentence encoder
    image: str | None = None  # a CLIP directory or hub name; None: pictures are not read
    trainable: bool = False  # fine-tune the text encoder together with the model instead of using cached vectors
    # Finds objects: "proposals", an ONNX file (YOLOX, FastestDet), or a directory or hub name of a trained detector.
    detector: str | None = None  # None: none, or those of a regions file
    faces: str | None = None  # finds faces: a YuNet ONNX file; None: those of a regions file
    # What is said of a face, each its own switch: an ONNX file, a classifier's directory or hub name, or "deepface".
    age: str | None = None
    gender: str | None = None
    # Who may be in the picture: an ONNX file of face recognition or "pictures" (both compare with the knowledge base's
    # own pictures of a mention's candidates), or the directory of a picture classifier (the paper's labels).
    identity: str | None = None


@dataclass(frozen=True)
class FeatureConfig:
    """How mention, caption, entity, faces and labels become the texts that are encoded, and which objects are kept."""

    mention_template: str = "{mention}"  # the paper's "representation m"; the public code encodes the string alone
    text_template: str = "{text}"  # the sentence; the public code prepends "{mention} [SEP] "
    entity_template: str = "{text}"  # the representation as it stands; "{name}. {text}" puts the name before it
    # Kinds of text that are {text} of an entity, joined in this order; none: those that the knowledge base says.
    representation: tuple[str, ...] = ()
    face_template: str = "{mention}, {attributes}"  # section 4.3.1: "Trump, gender: male, race: white, age: 50"
    identity_template: str = "{label}"  # section 4.3.2 keeps label and score; a sentence of the label encodes better
    identity_threshold: float = 0.5  # "confidence scores greater than 0.5": strict
    identity_keys: Literal["per_label", "joined"] = "per_label"  # s has n_s rows; "concatenate them" = joined
    gallery_template: str = "{name}. {text}"  # of an entity that the gallery found: it is told apart from its namesakes
    object_classes: tuple[str, ...] = ()  # empty: all classes; the public code keeps ("person",)
    max_objects: int | None = None  # None: all are kept, as in the public code
    no_object: Literal["picture", "zero"] = "picture"  # what stands for no object kept; the public code: a zero vector
    min_object_score: float = 0.0
    min_object_size: float = 1.0  # pixels of the shorter side
    duplicate_overlap: float = (
        0.9  # intersection over union above which the lesser of two objects of a label is left out
    )
    crop: Literal["box", "mask"] = "box"  # mask: what lies outside a segment's outline is black, as in the public code
    min_face_score: float = 0.6
    min_face_size: float = 16.0  # pixels of the shorter side


@dataclass(frozen=True)
class ModelConfig:
    """Every switch of the model (docs/model.md, equation by equation)."""

    dim: int = 512
    heads: int = 8
    dropout: float = 0.4
    # Section 4: "a non-linear function to map m, t, v and E into the same feature space".
    project_entity: Literal["shared_text", "own", "none"] = "shared_text"
    use_text: bool = True  # Eq. 7
    use_objects: bool = True  # Eq. 4
    use_faces: bool = True  # Eq. 5
    use_identity: bool = True  # Eq. 6
    use_image: bool = False  # the whole picture v: extracted by the paper, in none of its equations
    face_attention: Literal["shared_module", "shared_map"] = "shared_module"  # Eq. 5: shares Eq. 4's parameters
    share_text_attention: bool = True  # Eq. 7 does not say
    text_keys: Literal["pooled", "tokens"] = "pooled"
    fusion: Literal["additive", "concat"] = "additive"  # Eq. 8
    gate: Literal["sigmoid", "raw", "vector", "none"] = "sigmoid"  # Eq. 9: epsilon is learnable
    gate_input: Literal["sum", "concat"] = "sum"  # Eq. 9: W_g in 2d x d_m is the literal concat
    mask_padding: bool = True  # False only to reproduce the public code's attention to zero padding
    # Losses, section 4.5.
    contrast: Literal["eq10", "msc", "infonce"] = "eq10"
    temperature: float | None = None  # tau; None: .5 for eq10 (code), .25 for msc (published), .07 for infonce (code)
    coarse_pair: Literal["mt_mv", "t_v"] = "mt_mv"  # Eq. 11 against section 4's overview
    fine_pair: Literal["f_d", "m_mv"] = "f_d"  # Eq. 12 against abstract and introduction
    rank_loss: Literal["triplet", "npair"] = "triplet"  # Eq. 13
    margin: float = 0.5
    fine_weight: float = 1.0  # Eq. 14
    coarse_weight: float = 1.0  # alpha
    rank_weight: float = 10.0  # beta


@dataclass(frozen=True)
class NegativeConfig:
    """Section 5.1.4: hard negatives and in-batch negatives."""

    num_hard: int = 1
    num_in_batch: int = 1  # -1: every other entity of the batch
    share_hard: bool = False  # every mention meets the whole batch's hard negatives: the public code's broadcast
    hard_source: Literal["retrieved", "similar_text"] = "retrieved"


@dataclass(frozen=True)
class TrainConfig:
    """Section 5.1.2."""

    batch_size: int = 64
    epochs: int = 300
    learning_rate: float = 5e-5
    encoder_learning_rate: float = 1e-5  # of a text encoder that is trained too (ours: the paper's is frozen)
    weight_decay: float = 1e-3
    warmup_steps: int = 0
    linear_decay: bool = False
    clip_norm: float | None = None
    evaluate_every: int = 2000  # steps
    patience: int | None = None  # evaluations without a better dev T@1 before stopping; None: never
    checkpoint_every: int = 2000  # steps between checkpoints from which a killed run goes on
    precision: Literal["no", "fp16", "bf16"] = "no"
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class CandidateConfig:
    """Section 5.1.3: lambda candidates by name."""

    # "fuzzy": the ranking of fuzzywuzzy, as the paper; "names+prior" adds what the surface meant in training.
    retriever: Literal["names", "names+prior", "fuzzy"] = "names"
    num_candidates: int = 100


@dataclass(frozen=True)
class Preset:
    """All settings of one model, saved in every run."""

    name: str
    encoders: EncoderConfig = field(default_factory=EncoderConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    negatives: NegativeConfig = field(default_factory=NegativeConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    candidates: CandidateConfig = field(default_factory=CandidateConfig)

    def __post_init__(self) -> None:
        _check_templates(self)
        _check_numbers(self)


# What each template of FeatureConfig may hold.
_PLACEHOLDERS = {
    "mention_template": ("mention", "text"),
    "text_template": ("mention", "text"),
    "entity_template": ("name", "text"),
    "face_template": ("mention", "attributes"),
    "identity_template": ("label", "score"),
    "gallery_template": ("name", "text", "score"),
}


def _check_templates(preset: Preset) -> None:
    for key, allowed in _PLACEHOLDERS.items():
        template = getattr(preset.features, key)
        where, known = f"{preset.name}: features.{key} = {template!r}", " and ".join(f"{{{name}}}" for name in allowed)
        try:
            parts = [part for part in string.Formatter().parse(template) if part[1] is not None]
        except ValueError as error:
            raise UsageError(f"{where}: {error}; write a brace that is meant as text twice") from error
        for _, name, spec, conversion in parts:
            if name not in allowed or spec or conversion:
                raise UsageError(f"{where}: unknown placeholder {{{name}}}; known: {known}")
        if not parts:
            raise UsageError(f"{where}: every text would be the same; use {known}")


# Lowest and highest value of each number; "<" leaves the bound itself out. A setting that may be None is not checked
# when it is.
_LIMITS: dict[str, tuple[float, float, str]] = {
    "features.max_objects": (1, math.inf, ""),
    "features.min_object_score": (0, 1, ""),
    "features.min_object_size": (0, math.inf, ""),
    "features.duplicate_overlap": (0, 1, ""),
    "features.min_face_score": (0, 1, ""),
    "features.min_face_size": (0, math.inf, ""),
    "features.identity_threshold": (0, 1, ""),
    "model.dim": (1, 65_536, ""),
    "model.heads": (1, math.inf, ""),
    "model.temperature": (0, math.inf, "<"),
    "model.margin": (0, math.inf, ""),
    "model.fine_weight": (0, math.inf, ""),
    "model.coarse_weight": (0, math.inf, ""),
    "model.rank_weight": (0, math.inf, ""),
    "negatives.num_hard": (0, math.inf, ""),
    "negatives.num_in_batch": (-1, math.inf, ""),
    "train.batch_size": (1, math.inf, ""),
    "train.epochs": (0, math.inf, ""),
    "train.learning_rate": (0, math.inf, "<"),
    "train.encoder_learning_rate": (0, math.inf, "<"),
    "train.weight_decay": (0, math.inf, ""),
    "train.warmup_steps": (0, math.inf, ""),
    "train.clip_norm": (0, math.inf, "<"),
    "train.evaluate_every": (1, math.inf, ""),
    "train.patience": (1, math.inf, ""),
    "train.checkpoint_every": (1, math.inf, ""),
    "candidates.num_candidates": (1, 100_000, ""),
}


def _check_numbers(preset: Preset) -> None:
    for key, (low, high, strict) in _LIMITS.items():
        section, _, name = key.partition(".")
        value = getattr(getattr(preset, section), name)
        if value is not None and not (math.isfinite(value) and low <= value <= high and (value > low or not strict)):
            least = f"more than {low:g}" if strict else f"at least {low:g}"
            most = "" if high == math.inf else f" and at most {high:,}"
            raise UsageError(f"{preset.name}: {key} is {value}; it must be {least}{most}")
    model, seeds = preset.model, preset.train.seeds
    if not 0 <= model.dropout < 1:
        raise UsageError(f"{preset.name}: model.dropout is {model.dropout}; it must be at least 0 and below 1")
    if model.dim % model.heads:
        raise UsageError(f"{preset.name}: model.dim = {model.dim} is no multiple of model.heads = {model.heads}")
    if preset.encoders.trainable and model.text_keys == "tokens":
        raise UsageError(
            f"{preset.name}: encoders.trainable=true reads the caption as one vector; use model.text_keys=pooled"
        )
    _check_seeing(preset)
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UsageError(f"{preset.name}: train.seeds is {list(seeds)}; give different whole numbers of at least 0")


def _check_seeing(preset: Preset) -> None:
    encoders, where = preset.encoders, preset.name
    if encoders.detector is not None and encoders.image is None:
        raise UsageError(f"{where}: encoders.detector finds objects that nothing encodes; set encoders.image")
    if encoders.identity == "pictures" and encoders.image is None:
        raise UsageError(f"{where}: encoders.identity=pictures compares by the picture encoder; set encoders.image")
    for part in ("age", "gender"):
        if getattr(encoders, part) is not None and encoders.faces is None:
            raise UsageError(f"{where}: encoders.{part} looks at faces that nothing finds; set encoders.faces")
    by_faces = encoders.identity is not None and encoders.identity.lower().endswith(".onnx")
    if by_faces and encoders.faces is None:
        raise UsageError(f"{where}: encoders.identity compares faces that nothing finds; set encoders.faces")


# The untrained linker's settings: the name before the text, so that an entity without text is not at a loss.
UNTRAINED = Preset(name="from_kb", features=FeatureConfig(entity_template="{name}. {text}"))

PRESETS: dict[str, Preset] = {
    "paper": Preset(name="paper"),
    "released": Preset(
        name="released",
        encoders=EncoderConfig(text="openai/clip-vit-base-patch32", image="openai/clip-vit-base-patch32"),
        features=FeatureConfig(
            text_template="{mention} [SEP] {text}", object_classes=("person",), no_object="zero", crop="mask"
        ),
        model=ModelConfig(
            project_entity="none",
            use_faces=False,
            use_identity=False,
            use_image=True,
            fusion="concat",
            gate="none",
            mask_padding=False,
            contrast="infonce",
            temperature=0.07,
            coarse_pair="t_v",
            fine_pair="m_mv",
            rank_loss="npair",
            fine_weight=1.0,
            coarse_weight=1.0,
            rank_weight=1.0,
        ),
        negatives=NegativeConfig(num_hard=1, num_in_batch=0, share_hard=True, hard_source="similar_text"),
        train=TrainConfig(batch_size=128, warmup_steps=100, linear_decay=True, clip_norm=1.0, seeds=(114514,)),
    ),
}


def get_preset(name: str) -> Preset:
    """Return the shipped preset called `name`.

    Raises:
        UsageError: No such preset.
    """
    if name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}; choose one of {', '.join(sorted(PRESETS))}")
    return PRESETS[name]


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config dataclass as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(kind: type[Any], values: Mapping[str, Any], *, where: str = "config") -> Any:
    """Build a config dataclass of `kind`; keys left out keep their defaults.

    Raises:
        UsageError: An unknown key or a value of the wrong type or choice; the message names the key.
    """
    if not isinstance(values, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - it comes from files
        raise UsageError(f"{where}: expected a table of settings, got {values!r}")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in values:
        if key not in fields:
            raise UsageError(f"{where}: unknown key {key!r}; known: {', '.join(sorted(fields))}")
    for name, known in fields.items():
        if name not in values and known.default is known.default_factory is dataclasses.MISSING:
            raise UsageError(f"{where}: {name!r} is missing")
    return kind(**{key: _convert(hints[key], value, f"{where}.{key}") for key, value in values.items()})


def override(preset: Preset, values: Mapping[str, Any]) -> Preset:
    """Return `preset` with nested `values` ({"train": {"epochs": 40}}) laid over it."""
    merged = to_dict(preset)
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), dict):
            merged[key] = {**merged[key], **value}
        else:
            merged[key] = value
    return from_dict(Preset, merged, where=preset.name)


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn ["train.epochs=40", "model.gate=none"] into nested values; a bare word is a string."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {assignment!r}: write SECTION.KEY=VALUE, as in train.epochs=40")
        *sections, name = key.strip().split(".")
        target = values
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise UsageError(f"--set {assignment!r}: {section!r} was already set to {target!r}, a single value")
        target[name] = _parse_value(text.strip())
    return values


def load_overrides(path: Path) -> dict[str, Any]:
    """Read nested values from a TOML file.

    Raises:
        UsageError: The file is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a TOML file ({error})") from error


def _parse_value(text: str) -> Any:
    if text.lower() in ("none", "null"):
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast("type[Any]", hint), value, where=where)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value is None and "none" in args:
            return "none"  # model.gate=none names a choice
        if value not in args:
            raise UsageError(f"{where}: {value!r} is not one of {', '.join(map(repr, args))}")
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UsageError(f"{where}: expected a list, got {value!r}")
        return tuple(_convert(args[0], item, where) for item in typing.cast("Sequence[Any]", value))
    return _convert_plain(hint, value, where)


def _convert_plain(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise UsageError(f"{where}: expected {hint.__name__}, got {value!r}")
