"""What a person has before calling the command line: a knowledge base, data, encoders, a trained run; all tiny."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dualway.kb.store import KnowledgeBase

from .calls import LINKS, call, listing, write_lines

Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Check that a call in an otherwise untouched folder fails with one clear line and leaves nothing behind."""

    def check(code: int, *arguments: object, says: Sequence[str] = ()) -> str:
        before = listing(tmp_path)
        done = call(*arguments)
        assert done.code == code, done
        assert done.out == ""
        last = done.err.splitlines()[-1]
        assert last.startswith("dualway: " if code != 2 or "Usage:" not in done.err else "Error: "), done.err
        for word in says:
            assert word in last, f"{word!r} is not in {last!r}"
        assert listing(tmp_path) == before
        return last

    return check


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="session")
def kb(place: Path, people: Any) -> Path:
    KnowledgeBase.create(place / "kb", people).close()
    return place / "kb"


@pytest.fixture(scope="session")
def data(place: Path) -> Path:
    """A folder with train, dev and test; a third of the captions of dev and test are captions of train."""
    folder = place / "data"
    folder.mkdir()
    for split, times in (("train", 3), ("dev", 1), ("test", 1)):
        write_lines(
            folder / f"{split}.jsonl",
            [
                {"id": f"{split}-{t}-{i}", "text": text, "surface": surface, "entity_id": gold}
                for t in range(times)
                for i, (caption, surface, gold) in enumerate(LINKS)
                for text in [caption if i % 3 == 0 else f"{caption}, {split} {t}"]
            ],
        )
    return folder


@pytest.fixture(scope="session")
def tiny_text(place: Path) -> Path:
    """A sentence encoder of two small layers with random weights; a character is a token."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = place / "tiny-text"
    letters = sorted({letter for text, surface, _ in LINKS for letter in (text + surface).lower()} - {" "})
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {word: number for number, word in enumerate(words)}
    BertTokenizerFast(vocab=vocabulary, do_lower_case=True).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_clip(place: Path) -> Path:
    """A CLIP of two small layers with random weights."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    folder = place / "tiny-clip"
    letters = [chr(number) for number in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[]).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = CLIPConfig(
        text_config={
            **sizes,
            "vocab_size": len(words),
            "max_position_embeddings": 32,
            "bos_token_id": len(words) - 2,
            "eos_token_id": len(words) - 1,
        },
        vision_config={**sizes, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small(tiny_text: Path) -> list[str]:
    """Options that make a training take a moment."""
    return ["--set", f"encoders.text={tiny_text}", "--set", "model.dim=16", "--set", "train.epochs=2"]


@pytest.fixture(scope="session")
def run(place: Path, kb: Path, data: Path, small: list[str]) -> Path:
    """A trained run of two seeds."""
    done = call("train", "--data", data, "--kb", kb, "--out", place / "run", "--seeds", "0,1", *small)
    assert done.code == 0, done.err
    return place / "run"


@pytest.fixture
def run_copy(run: Path, tmp_path: Path) -> Path:
    """A run to be damaged."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture(scope="session")
def picture_run(place: Path, kb: Path, pictured: Path, small: list[str], tiny_clip: Path) -> Path:
    """A run whose model reads pictures."""
    options = [*small, "--set", f"encoders.image={tiny_clip}"]
    done = call("train", "--data", pictured, "--kb", kb, "--out", place / "picture-run", *options)
    assert done.code == 0, done.err
    assert "2 pictures could not be used" in done.err
    assert "missing.png" in done.err
    assert "broken.png" in done.err
    return place / "picture-run"


@pytest.fixture(scope="session")
def pictured(place: Path) -> Path:
    """A file of links with pictures: a good one, a missing one, a broken one, an address."""
    from PIL import Image

    folder = place / "pictured"
    folder.mkdir()
    Image.new("RGB", (48, 40), "red").save(folder / "good.png")
    (folder / "broken.png").write_bytes((folder / "good.png").read_bytes()[:40])
    names = ["good.png", "missing.png", "broken.png", "https://example.org/a.png"]
    return write_lines(
        folder / "links.jsonl",
        [
            {"id": str(i), "text": text, "surface": surface, "entity_id": gold, "image": names[i % 4]}
            for i, (text, surface, gold) in enumerate(LINKS)
        ],
    )


@pytest.fixture
def mentions(tmp_path: Path) -> Path:
    """A file to be linked."""
    return write_lines(
        tmp_path / "mentions.jsonl", [{"id": f"m{i}", "text": t, "surface": s} for i, (t, s, _) in enumerate(LINKS)]
    )


@pytest.fixture
def elsewhere(tmp_path: Path):
    """The folder in which a call is made."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)
