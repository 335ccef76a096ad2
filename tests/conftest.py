"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Representation
from dualway.storage import write_json

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real data: DUALWAY_REALDATA, by default `shared/realdata` beside the checkout."""
    folder = Path(os.environ.get("DUALWAY_REALDATA", ROOT.parent / "shared" / "realdata"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set DUALWAY_REALDATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Vectors that tests compute go to a folder of their own, shared by the workers of one run."""
    if "DUALWAY_CACHE" not in os.environ:
        base = tmp_path_factory.getbasetemp()
        os.environ["DUALWAY_CACHE"] = str((base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "cache")


_KINDS = {"realdata": "real data", "realmodel": "real models", "gpu": "a GPU"}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end what ran on real data, real models and a GPU, and what was skipped and why."""
    say = terminalreporter.write_line
    terminalreporter.section("what was run on what")
    say(f"real data at {os.environ.get('DUALWAY_REALDATA', '../shared/realdata')}; real model: all-MiniLM-L6-v2")
    for marker, label in _KINDS.items():
        counts = {
            outcome: sum(
                marker in getattr(report, "keywords", ()) for report in terminalreporter.stats.get(outcome, [])
            )
            for outcome in ("passed", "failed", "error", "skipped")
        }
        shown = ", ".join(f"{number} {outcome}" for outcome, number in counts.items() if number)
        say(f"tests on {label}: {shown or 'none in this run'}")
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        say(f"skipped {report.nodeid}: {reason}")


PEOPLE = [
    ("Q1", "Jodie Foster", ("Alicia Foster",), "Sex: female. Birth: 1962, Los Angeles. Occupation: actor, director."),
    ("Q2", "Ben Foster (actor)", (), "Sex: male. Birth: 1980, Boston. Occupation: actor."),
    ("Q3", "Ben Foster (footballer)", (), "Sex: male. Birth: 1983. Occupation: association football player."),
    ("Q4", "Mel Gibson", (), "Sex: male. Birth: 1956, Peekskill. Occupation: actor, film director."),
    ("Q5", "Wayne Gretzky", ("The Great One",), "Sex: male. Occupation: ice hockey player. Spouse: Janet Jones."),
    ("Q6", "Janet Jones", (), "Sex: female. Occupation: actor. Spouse: Wayne Gretzky."),
    ("Q7", "João Silva", (), "Sex: male. Occupation: photographer."),
    ("Q8", "محمد صلاح", ("Mohamed Salah",), "Sex: male. Occupation: association football player."),
    ("Q9", "東京", ("Tokyo",), "Capital of Japan."),
    ("Q10", "João Silva", (), "Sex: male. Occupation: swimmer."),
    ("Q11", "Дмитрий Шостакович", ("Dmitri Shostakovich",), ""),
]


@pytest.fixture(scope="session")
def people() -> list[Entity]:
    """A handful of entities: homonyms, brackets, aliases, four scripts, one without text."""
    return [
        Entity(i, name, aliases, (), (Representation("properties", text),) if text else ())
        for i, name, aliases, text in PEOPLE
    ]


@pytest.fixture
def people_kb(people: list[Entity], tmp_path: Path):
    """A knowledge base of `people`."""
    with KnowledgeBase.create(tmp_path / "kb", people) as kb:
        yield kb


def _byte_letters() -> list[str]:
    """The 256 characters by which byte-level tokenizers write bytes."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(c) for c in [*shown, *(256 + i for i in range(len(hidden)))]]


def save_tiny_clip(folder: Path, *, seed: int = 0, siglip: bool = False) -> Path:
    """Save a random CLIP or SigLIP of a few kilobytes with a tokenizer of single bytes and a picture processor."""
    import torch
    import transformers

    letters = _byte_letters()
    words = [*letters, *(letter + "</w>" for letter in letters), "fo", "<|startoftext|>", "<|endoftext|>"]
    start, end = len(words) - 2, len(words) - 1
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {
        "vocab_size": len(words), "max_position_embeddings": 24, "bos_token_id": start, "eos_token_id": end,
        "pad_token_id": end, **layers,
    }  # fmt: skip
    vision = {"image_size": 32, "patch_size": 8, **layers}
    torch.manual_seed(seed)
    if siglip:
        config = transformers.SiglipConfig(text_config={**text, "projection_size": 16}, vision_config=vision)
        transformers.SiglipModel(config).save_pretrained(folder)
    else:
        dims = {"projection_dim": 12}
        config = transformers.CLIPConfig(text_config={**text, **dims}, vision_config={**vision, **dims}, **dims)
        transformers.CLIPModel(config).save_pretrained(folder)
    vocab = {word: i for i, word in enumerate(words)}
    transformers.CLIPTokenizer(vocab=vocab, merges=[("f", "o")]).save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPImageProcessor(**sizes).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_tiny_clip():
    """`save_tiny_clip`, for tests that need more than `tiny_clip`."""
    return save_tiny_clip


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny random CLIP: 24 tokens, 32 x 32 pixels, vectors of 12 numbers."""
    return save_tiny_clip(tmp_path_factory.mktemp("models") / "clip")


def save_tiny_sentence_encoder(folder: Path, *, seed: int = 0, layout: bool = True) -> Path:
    """Save a random BERT of a few kilobytes in sentence-transformers' layout, or as a bare transformer."""
    import torch
    import transformers

    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + list(".,-0123456789é東")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=48,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    vocab = {word: i for i, word in enumerate(words)}
    transformers.BertTokenizer(vocab=vocab).save_pretrained(folder)
    if layout:
        kinds = ["Transformer", "Pooling", "Normalize"]
        modules = [{"idx": i, "type": f"sentence_transformers.models.{kind}"} for i, kind in enumerate(kinds)]
        write_json(folder / "modules.json", modules)
        write_json(folder / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True})
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": 20})
    return folder


@pytest.fixture(scope="session")
def tiny_sentence_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny random sentence encoder: 20 tokens, vectors of 16 numbers of length 1."""
    return save_tiny_sentence_encoder(tmp_path_factory.mktemp("models") / "sentence")
