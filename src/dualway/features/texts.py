"""The strings that a text encoder reads: the only place where the templates of `FeatureConfig` are used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dualway.config import FeatureConfig
from dualway.schema import Face, IdentityLabel, IntArray, Mention

if TYPE_CHECKING:
    from dualway.kb.store import KnowledgeBase


def mention_texts(config: FeatureConfig, mentions: Sequence[Mention]) -> list[str]:
    """Return the string of each mention's m."""
    return [config.mention_template.format(mention=m.surface, text=m.text) for m in mentions]


def caption_texts(config: FeatureConfig, mentions: Sequence[Mention]) -> list[str]:
    """Return the string of each mention's t."""
    return [config.text_template.format(mention=m.surface, text=m.text) for m in mentions]


def entity_texts(config: FeatureConfig, kb: KnowledgeBase, rows: IntArray | None = None) -> list[str]:
    """Return the string of E of the chosen rows (all by default); without a text, a name stands for itself."""
    texts, names = kb.texts(config.representation or None), kb.names
    wanted = range(len(names)) if rows is None else rows.tolist()
    return [config.entity_template.format(name=names[i], text=texts[i]) if texts[i] else names[i] for i in wanted]


def face_sentence(config: FeatureConfig, mention: str, face: Face) -> str:
    """Return x_f, "Trump, gender: male, race: white, age: 50" (section 4.3.1), of the attributes that are known."""
    attributes = ", ".join(f"{name}: {value}" for name, value in face.attributes.items())
    return config.face_template.format(mention=mention, attributes=attributes)


def identity_sentences(config: FeatureConfig, labels: Sequence[IdentityLabel]) -> list[str]:
    """Return x_s: a sentence for each label with a score above the threshold, or all of them as one sentence.

    "we only use identity information with confidence scores greater than 0.5 and concatenate them" (section 4.3.2).
    """
    sentences = [
        config.identity_template.format(label=item.label, score=f"{item.score:.3f}")
        for item in labels
        if item.score > config.identity_threshold
    ]
    return [", ".join(sentences)] if sentences and config.identity_keys == "joined" else sentences


def gallery_sentences(
    config: FeatureConfig, labels: Sequence[IdentityLabel], texts: Mapping[str, tuple[str, str]]
) -> list[str]:
    """Return x_s of a mention's identities by the gallery, as `identity_sentences`.

    Args:
        config: The template, the threshold, and whether the sentences are one.
        labels: Who was recognised.
        texts: Entity id -> (name, text).
    """
    sentences: list[str] = []
    for label in labels:
        if label.score > config.identity_threshold:
            name, text = texts.get(label.entity_id or "", (label.label, ""))
            score = f"{label.score:.3f}"
            sentences.append(config.gallery_template.format(name=name, text=text, score=score) if text else name)
    return [", ".join(sentences)] if sentences and config.identity_keys == "joined" else sentences


class EntityTexts(Mapping[str, tuple[str, str]]):
    """Entity id -> (name, text) of a knowledge base, by the chosen kinds of text; read when first asked for."""

    def __init__(self, kb: KnowledgeBase, kinds: Sequence[str] = ()) -> None:
        self._kb, self._kinds = kb, tuple(kinds)

    @cached_property
    def _texts(self) -> list[str]:
        return self._kb.texts(self._kinds or None)

    def __getitem__(self, entity_id: str) -> tuple[str, str]:
        if entity_id not in self._kb:
            raise KeyError(entity_id)
        row = self._kb.row(entity_id)
        return self._kb.names[row], self._texts[row]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kb.ids)

    def __len__(self) -> int:
        return len(self._kb)


@dataclass(frozen=True)
class Texts:
    """The strings behind the text vectors of a Features of n mentions and m entities.

    Attributes:
        mention: n strings, of Features.mention.
        text: n strings, of Features.text.
        entities: m strings, of Features.entities.
    """

    mention: Sequence[str]
    text: Sequence[str]
    entities: Sequence[str]

    @classmethod
    def read(cls, config: FeatureConfig, mentions: Sequence[Mention], kb: KnowledgeBase) -> Texts:
        """Return the strings of mentions and of a whole knowledge base."""
        return cls(mention_texts(config, mentions), caption_texts(config, mentions), entity_texts(config, kb))

    def take(self, index: IntArray, rows: IntArray) -> Texts:
        """Return the strings of the chosen mentions (`index`) and entities (`rows`)."""
        chosen: list[int] = index.tolist()
        entities: list[int] = rows.tolist()
        return Texts(
            [self.mention[i] for i in chosen], [self.text[i] for i in chosen], [self.entities[i] for i in entities]
        )
