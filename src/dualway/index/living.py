"""A knowledge base in use: its names, vectors and gallery follow every change, and readers see all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from dualway.candidates.names import NameIndex
from dualway.config import FeatureConfig
from dualway.features.texts import entity_texts
from dualway.index.names import open_names
from dualway.kb.changes import Change, changing
from dualway.kb.following import Step, advance
from dualway.kb.store import KnowledgeBase
from dualway.protocols import TextEncoder
from dualway.schema import CandidateLists, Entity, FloatArray, IntArray, Mention
from dualway.vision.gallery import Embedder, Gallery


@dataclass(frozen=True)
class Snapshot:
    """One state of a knowledge base with all that belongs to it; it stays as it is while others follow.

    vectors: float32 [num_entities, dim], E of each entity; None without a text encoder.
    gallery: None without an embedder.
    """

    kb: KnowledgeBase
    names: NameIndex
    vectors: FloatArray | None = None
    gallery: Gallery | None = None

    def search(self, mentions: Sequence[Mention], k: int) -> CandidateLists:
        """Return the entities whose names are most like each mention: see NameIndex.search."""
        return self.names.search(mentions, k)


class Index:
    """A knowledge base that is searched while it changes. Make one with `open`.

    A change is published for everybody when its block ends. This index then follows: only what was added or changed is
    indexed and encoded. Other processes' changes are followed by `follow`. Whoever took a `snapshot` keeps it whole.
    May be shared between threads; one of them follows at a time.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "kb"
        >>> KnowledgeBase.create(folder, [Entity("Q41351", "Jodie Foster")]).close()
        >>> index = Index.open(folder)
        >>> index.add([Entity("Q42574", "Mel Gibson")])
        >>> found = index.snapshot.search([Mention("Gibson at the premiere", "Gibson")], k=1)
        >>> index.snapshot.kb.ids[found.rows[0, 0]]
        'Q42574'
        >>> index.close()
    """

    def __init__(
        self, snapshot: Snapshot, text: TextEncoder | None, config: FeatureConfig, embedder: Embedder | None
    ) -> None:
        self._snapshot, self._text, self._config, self._embedder = snapshot, text, config, embedder
        self._following = Lock()

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        text: TextEncoder | None = None,
        config: FeatureConfig | None = None,
        embedder: Embedder | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Index:
        """Open a knowledge base with its index of names, and what else is asked for.

        Args:
            path: The knowledge base's folder.
            text: Encodes the texts that stand for entities.
            config: Its `entity_template` makes an entity's text of its name and representation.
            embedder: Encodes the pictures of entities.
            progress: Called with (pictures done, in all) while the gallery is brought up to date.

        Raises:
            KnowledgeBaseError: Missing or damaged.
        """
        kb = KnowledgeBase.open(path)
        config = config or FeatureConfig()
        _ = kb.ids, kb.names, kb.aliases
        vectors = None if text is None else _encode(text, config, kb, np.arange(len(kb), dtype=np.int64))
        gallery = None if embedder is None else Gallery.open(kb, embedder, progress=progress)
        return cls(Snapshot(kb, open_names(kb), vectors, gallery), text, config, embedder)

    @property
    def snapshot(self) -> Snapshot:
        """The present state."""
        return self._snapshot

    @contextmanager
    def changing(self) -> Generator[Change]:
        """Yield a change of the knowledge base; when the block ends it is published, and this index has followed.

        Raises:
            KnowledgeBaseError, StorageError: As `kb.changes.changing`.
        """
        with changing(self._snapshot.kb.path) as change:
            yield change
        self.follow()

    def add(self, entities: Iterable[Entity]) -> None:
        """Add entities, in one revision."""
        with self.changing() as change:
            for entity in entities:
                change.add(entity)

    def update(self, entities: Iterable[Entity]) -> None:
        """Put records in the place of those that have their ids, in one revision."""
        with self.changing() as change:
            for entity in entities:
                change.update(entity)

    def remove(self, ids: Iterable[str]) -> None:
        """Remove entities, in one revision. To erase them, see `index.erasing`."""
        with self.changing() as change:
            for entity_id in ids:
                change.remove(entity_id)

    def follow(self) -> bool:
        """Bring this index to the knowledge base's present state; False when it was there already.

        Raises:
            KnowledgeBaseError: The folder is missing or damaged; the snapshot stays as it was.
        """
        with self._following:
            old = self._snapshot
            step = advance(old.kb)
            if step is None:
                return False
            try:
                names = old.names.follow(step)
                vectors = None if old.vectors is None else self._vectors(old.vectors, step)
                gallery = old.gallery
                if self._embedder is not None and gallery is not None and _may_differ(old.kb, step):
                    gallery = Gallery.open(step.kb, self._embedder)
            except BaseException:
                step.kb.close()
                raise
            self._snapshot = Snapshot(step.kb, names, vectors, gallery)
            old.kb.close_when_unused()
            return True

    def close(self) -> None:
        """Close the knowledge base; what was loaded stays usable."""
        self._snapshot.kb.close()

    def _vectors(self, old: FloatArray, step: Step) -> FloatArray:
        assert self._text is not None
        vectors = np.zeros((len(step.kept), old.shape[1]), dtype=np.float32)
        known = step.kept >= 0
        vectors[known] = old[step.kept[known]]
        if len(step.changed):
            vectors[step.changed] = _encode(self._text, self._config, step.kb, step.changed)
        return vectors


def _encode(text: TextEncoder, config: FeatureConfig, kb: KnowledgeBase, rows: IntArray) -> FloatArray:
    return text.encode_texts(entity_texts(config, kb, rows))


def _may_differ(old: KnowledgeBase, step: Step) -> bool:
    """Tell whether a picture, or whose it is, can have changed."""
    if step.is_whole or len(step.removed):
        return True
    kb = step.kb
    before = set(old.keys.tolist())
    for row in step.changed.tolist():
        key = int(kb.keys[row])
        if kb.query("SELECT 1 FROM pictures WHERE entity = ? LIMIT 1", key):
            return True
        if key in before and old.query("SELECT 1 FROM pictures WHERE entity = ? LIMIT 1", key):
            return True
    return False
