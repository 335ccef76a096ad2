"""Trains the mini CLIP that the package ships: a `transformers` CLIP of a few megabytes for drawn pictures.

    python -m experiments.mini_clip --out models/mini-clip

It is trained on drawn people of another seed than any world: other people, and looks of the half that worlds never use
(`Look.for_worlds`). Contrastive loss (Radford et al. 2021, CLIP, section 2.3) between crops and the texts that
describe them, with an auxiliary classification of the drawn features from each tower's vector, which a small model on
few pictures needs to find small things such as glasses; its heads are thrown away. Then it reports retrieval on looks
that it has not seen (those of worlds, again of another seed).

Generated pictures: says nothing about accuracy on photographs.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from dualway.world import looks
from dualway.world.drawing import HEIGHT, WIDTH, draw_scene
from dualway.world.looks import DISTRACTORS, PLACES, Look, describe_properties, describe_prose, draw_look
from dualway.world.people import Person, make_people
from dualway.world.scenes import Figure, Scene

TRAIN_SEED, TEST_SEED = 1001, 2002
NUM_PICTURES, NUM_TEST_PICTURES = 9000, 400
SIZE, PATCH, DIM = 96, 16, 128
EPOCHS, BATCH, LEARNING_RATE = 9, 256, 1.5e-3
NUM_MERGES = 700
MAX_TOKENS = 80
FEATURES: dict[str, Sequence[str]] = {
    "hair_style": looks.HAIR_STYLES,
    "hair_colour": (*looks.HAIR_COLOURS, looks.GREY, "no"),
    "glasses": looks.GLASSES,
    "age": looks.AGES,
    "garment": looks.GARMENTS,
    "colour": looks.COLOURS,
    "carries": looks.OBJECTS,
    "place": looks.PLACES,
}
UNKNOWN = -100  # the label that cross entropy leaves out


class Corpus:
    """Crops of drawn pictures, each with what describes it.

    pixels: uint8 [n, SIZE, SIZE, 3]; labels: int64 [n, features], UNKNOWN where a crop shows no single person.
    """

    def __init__(self, seed: int, num_pictures: int, *, for_worlds: bool) -> None:
        people = make_people(seed, uniform=False)
        pixels: list[np.ndarray] = []
        self.described: list[tuple[Person | None, str, tuple[Look, ...]]] = []
        labels: list[list[int]] = []
        for scene in _scenes(seed, num_pictures, for_worlds=for_worlds):
            rng = random.Random(f"crops/{seed}/{scene.id}")
            drawn = draw_scene(scene, seed)
            for figure, place in zip(scene.figures, drawn.figures, strict=True):
                pixels.append(_crop(drawn.picture, _shaken(place.box, rng)))
                person = replace(rng.choice(people), look=figure.look, place=scene.place)
                self.described.append((person, scene.place, (figure.look,)))
                labels.append(_label(figure.look, scene.place))
            if rng.random() < 0.6:
                pixels.append(_crop(drawn.picture, (0, 0, WIDTH, HEIGHT)))
                self.described.append((None, scene.place, tuple(figure.look for figure in scene.figures)))
                labels.append([UNKNOWN] * (len(FEATURES) - 1) + [PLACES.index(scene.place)])
        self.pixels = torch.from_numpy(np.stack(pixels))
        self.labels = torch.tensor(labels)

    def __len__(self) -> int:
        return len(self.described)

    def texts(self, index: Sequence[int], rng: random.Random) -> list[str]:
        """Return one of the texts that describe each crop."""
        return [_text(*self.described[i], rng) for i in index]


def _scenes(seed: int, num: int, *, for_worlds: bool) -> Iterator[Scene]:
    for number in range(num):
        rng = random.Random(f"mini-clip/{seed}/{number}")
        figures = tuple(Figure(draw_look(rng, for_worlds=for_worlds), None) for _ in range(rng.randint(1, 4)))
        things = tuple(rng.sample(DISTRACTORS, rng.randint(0, 3)))
        yield Scene(f"clip-{number}", "", (), figures, rng.choice(PLACES), things)


def _shaken(box: Sequence[float], rng: random.Random) -> tuple[float, ...]:
    """Return a box near this one, as a detector would give it."""
    wide, tall = box[2] - box[0], box[3] - box[1]
    parts = (wide, tall, wide, tall)
    x0, y0, x1, y1 = (edge + rng.gauss(0, 0.07) * part for edge, part in zip(box, parts, strict=True))
    return max(x0, 0), max(y0, 0), min(x1, WIDTH), min(y1, HEIGHT)


def _crop(picture: Image.Image, box: Sequence[float]) -> np.ndarray:
    x0, y0, x1, y1 = (int(edge) for edge in box)
    return np.asarray(picture.crop((x0, y0, x1, y1)).resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def _label(look: Look, place: str) -> list[int]:
    return [list(values).index(part) for values, part in zip(FEATURES.values(), (*astuple(look), place), strict=True)]


def _text(person: Person | None, place: str, shown: tuple[Look, ...], rng: random.Random) -> str:
    """Return property text, static text, a part of either, with or without a name; for whole pictures a list."""
    if person is None:
        parts = [f"a {look.age} in a {look.colour} {look.garment}, hair {look.hair()}" for look in shown]
        return f"{len(shown)} people at the {place}: {'; '.join(parts)}."
    properties, static = (representation.text for representation in person.entity().representations)
    choices = (
        properties,
        f"{person.name}. {properties}",
        static,
        describe_properties(person.look, place),
        describe_prose(person.look, place),
        f"{person.name}. {_some(describe_properties(person.look, place), rng)}",
    )
    return rng.choice(choices)


def _some(text: str, rng: random.Random) -> str:
    """Return some of the sentences, in their order."""
    sentences = text.removesuffix(".").split(". ")
    return ". ".join(s for s in sentences if rng.random() < 0.7) + "."


def make_tokenizer(texts: Sequence[str]) -> transformers.CLIPTokenizer:
    """Return a CLIP tokenizer (byte-level BPE, lower case) with NUM_MERGES merges learnt from `texts`."""
    learner = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = tokenizers.normalizers.Lowercase()
    words = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "removed", invert=True)
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    learner.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([words, level])
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=NUM_MERGES + 2 * len(letters),
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(sorted(texts), trainer)
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    words_known = [*letters, *(letter + "</w>" for letter in letters), *("".join(merge) for merge in merges)]
    vocabulary = list(dict.fromkeys([*words_known, "<|startoftext|>", "<|endoftext|>"]))
    return transformers.CLIPTokenizer(vocab={word: i for i, word in enumerate(vocabulary)}, merges=merges)


def make_model(vocabulary: int) -> transformers.CLIPModel:
    """Return the untrained model."""
    end = vocabulary - 1
    text = {
        "vocab_size": vocabulary, "max_position_embeddings": MAX_TOKENS, "hidden_size": 128, "intermediate_size": 256,
        "num_hidden_layers": 2, "num_attention_heads": 4, "bos_token_id": end - 1, "eos_token_id": end,
        "pad_token_id": end,
    }  # fmt: skip
    vision = {
        "image_size": SIZE, "patch_size": PATCH, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
        "num_attention_heads": 4,
    }  # fmt: skip
    return transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config={**text, "projection_dim": DIM},
            vision_config={**vision, "projection_dim": DIM},
            projection_dim=DIM,
        )
    )


def make_processor() -> transformers.CLIPImageProcessor:
    """Return the picture processor: the whole crop, squeezed to a square, so that no head is cut off."""
    size = {"height": SIZE, "width": SIZE}
    return transformers.CLIPImageProcessor(size=size, do_center_crop=False, crop_size=size)


def train(model: Any, tokenizer: Any, corpus: Corpus, epochs: int) -> float:
    """Train in place and return the seconds it took."""
    start, rng = time.perf_counter(), random.Random(TRAIN_SEED)
    heads = nn.ModuleList(nn.Linear(DIM, len(values)) for values in FEATURES.values())
    parameters = [*model.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.05)
    steps = epochs * (len(corpus) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.08)
    step = 0
    for epoch in range(epochs):
        order = torch.randperm(len(corpus)).tolist()
        for first in range(0, len(order) - BATCH + 1, BATCH):
            index = order[first : first + BATCH]
            images, texts = encode(model, tokenizer, corpus.pixels[index], corpus.texts(index, rng))
            loss = contrast(images, texts, model.logit_scale) + classify(heads, images, texts, corpus.labels[index])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
            model.logit_scale.data.clamp_(max=4.6052)
            step += 1
            if step % 20 == 0:
                left = (steps - step) * (time.perf_counter() - start) / step
                print(f"epoch {epoch}, step {step} of {steps}, loss {loss.item():.3f}, {left:.0f} s left", flush=True)
    return time.perf_counter() - start


def encode(model: Any, tokenizer: Any, pixels: Tensor, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Return the vectors of crops and of texts, each float [b, DIM]."""
    values = pixels.permute(0, 3, 1, 2).float() / 255  # [b, 3, SIZE, SIZE]
    processor = make_processor()
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (processor.image_mean, processor.image_std))
    images = model.get_image_features(pixel_values=(values - mean) / std).pooler_output
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    return images, model.get_text_features(**tokens).pooler_output


def contrast(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Return CLIP's symmetric cross entropy."""
    logits = scale.exp() * functional.normalize(images) @ functional.normalize(texts).T  # [b, b]
    target = torch.arange(len(logits))
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def classify(heads: nn.ModuleList, images: Tensor, texts: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy of the drawn features, by one head for both towers."""
    losses = [
        functional.cross_entropy(head(vectors), labels[:, k], ignore_index=UNKNOWN)
        for k, head in enumerate(heads)
        for vectors in (images, texts)
    ]
    return torch.stack(losses).mean()


def score(model: Any, tokenizer: Any, corpus: Corpus) -> dict[str, float]:
    """Return retrieval of crops by their property text and back, among all single people of the corpus."""
    index = [i for i, (person, _, _) in enumerate(corpus.described) if person is not None]
    texts = [describe_properties(shown[0], place) for _, place, shown in (corpus.described[i] for i in index)]
    with torch.inference_mode():
        parts = [
            encode(model, tokenizer, corpus.pixels[index[k : k + BATCH]], texts[k : k + BATCH])
            for k in range(0, len(index), BATCH)
        ]
    images, described = (functional.normalize(torch.cat(side)) for side in zip(*parts, strict=True))
    similarity = described @ images.T  # [texts, images]
    found: dict[str, float] = {"crops": len(index)}
    for name, table in (("text to picture", similarity), ("picture to text", similarity.T)):
        rank = (table > table.diagonal()[:, None]).sum(dim=1)
        found |= {f"{name} R@{k}": round(100 * (rank < k).float().mean().item(), 1) for k in (1, 5, 10)}
    return found


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save as a transformers directory, the weights in 16 bits (they are computed with in 32)."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.dtype = "float32"
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    make_processor().save_pretrained(folder)
    halves = {
        name: value.half().contiguous() for name, value in model.state_dict().items() if value.is_floating_point()
    }
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    """Draw, train, save, and print what retrieval came to."""
    parser = argparse.ArgumentParser(description="Train the mini CLIP.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=NUM_PICTURES)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    arguments = parser.parse_args()
    torch.manual_seed(TRAIN_SEED)
    corpus = Corpus(TRAIN_SEED, arguments.pictures, for_worlds=False)
    print(f"{len(corpus):,} crops of {arguments.pictures:,} pictures", flush=True)
    sample = corpus.texts(range(min(4000, len(corpus))), random.Random(TRAIN_SEED))
    tokenizer = make_tokenizer(sample)
    model = make_model(len(tokenizer))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer):,} tokens", flush=True)
    seconds = train(model, tokenizer, corpus, arguments.epochs)
    save(model, tokenizer, arguments.out)
    model = transformers.CLIPModel.from_pretrained(arguments.out).eval()
    found = score(model, tokenizer, Corpus(TEST_SEED, NUM_TEST_PICTURES, for_worlds=True))
    print(json.dumps({"seconds": round(seconds), **found}))


if __name__ == "__main__":
    main()
