"""The strings that a text encoder reads: the only place where the templates of mention, caption and entity are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dualway.config import FeatureConfig
from dualway.schema import IntArray, Mention

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
    texts, names = kb.texts(), kb.names
    wanted = range(len(names)) if rows is None else rows.tolist()
    return [config.entity_template.format(name=names[i], text=texts[i]) if texts[i] else names[i] for i in wanted]


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
