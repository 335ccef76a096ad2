"""Candidates that a file proposes, in place of retrieval (paper, section 5.1.3, "the dataset provides 10").

WikiDiverse's ten are completed by entities of the mention's type. The public code draws them at random for each *gold*
entity; here the draw depends on the mention alone, its words and its caption. (The paper's text has them searched by
name; random ones are easier, and the report says which were used.)
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dualway.candidates.names import NameIndex
from dualway.datasets.base import Dataset, ReadReport
from dualway.datasets.candidate_files import SURFACES, CandidateFile, find_keys, gold_keys
from dualway.errors import DataError, UsageError
from dualway.schema import CandidateLists, Mention

if TYPE_CHECKING:
    from dualway.kb.store import KnowledgeBase


class GivenCandidates:
    """The lists of a candidate file; implements CandidateSource.

    What a search met is counted in `report`: mentions that the file lacks, ids that the knowledge base lacks, short
    lists, and how lists were completed.

    Args:
        file: The lists.
        kb: The knowledge base; a candidate that it lacks is left out and counted.
        names: Completes a list of WikiDiverse's where the mention's type has too few entities.
        by_gold: The file is keyed by gold, and the user wants it all the same (`for_dataset`).
        seed: Of the draw of others of the mention's type.
    """

    def __init__(
        self, file: CandidateFile, kb: KnowledgeBase, names: NameIndex, *, by_gold: bool = False, seed: int = 0
    ) -> None:
        self.file, self.by_gold = file, by_gold
        self.report = ReadReport(file.path, file.form)
        self._kb, self._names, self._seed = kb, names, seed
        self._row_of = {entity_id: row for row, entity_id in enumerate(kb.ids)}
        self._gold: Mapping[str, str] = {}

    def for_dataset(self, dataset: Dataset) -> GivenCandidates:
        """Return the source for a data set: itself, or, for a file keyed by gold that was asked for, one that knows it.

        Raises:
            DataError: The file is keyed by gold and was not asked for as such; says why that is refused.
            UsageError: It was asked for as keyed by gold, and is not.
        """
        keys = find_keys(self.file, dataset, self._names_by_id)
        if not self.by_gold:
            if keys.are_gold:
                raise DataError(
                    f"keyed by the gold entities, not by the mentions ({keys.by_gold:,} mentions are found by their "
                    f"answer alone, {keys.by_surface:,} by their words alone): a mention's candidates would depend on "
                    "its answer, which no linker knows, and figures from them compare with nothing. Leave "
                    "--candidates out, or add --candidates-by-gold to use the file all the same",
                    path=self.file.path,
                )
            return self
        if keys.by_surface > keys.by_gold:
            raise UsageError(f"--candidates-by-gold: {self.file.path} is not keyed by gold entities; leave it out")
        source = GivenCandidates(self.file, self._kb, self._names, by_gold=True, seed=self._seed)
        source.report = self.report
        source._gold = {id: gold for id, gold in dataset.gold.items() if gold is not None}
        return source

    def search(self, mentions: Sequence[Mention], k: int) -> CandidateLists:
        """Return the file's candidates, in its order, at most `k` a mention; short lists are padded.

        WikiDiverse's ten are completed to `k` (see the module's text). A mention's list does not depend on the others.
        """
        chosen = [self._known(mention, k) for mention in mentions]
        if self.file.has_ten:
            chosen = [self._complete(mention, rows, k) for mention, rows in zip(mentions, chosen)]
            self._complete_by_name(mentions, chosen, k)
        rows = np.full((len(mentions), k), -1, dtype=np.int64)
        scores = np.zeros((len(mentions), k), dtype=np.float32)
        for i, (mention, found) in enumerate(zip(mentions, chosen)):
            rows[i, : len(found)] = found
            scores[i, : len(found)] = 1 / np.arange(1, len(found) + 1)
            if len(found) < min(k, len(self._kb)):
                self.report.note("fewer candidates than asked for", mention.id, f"{mention.surface}: {len(found)}")
        return CandidateLists(rows, scores)

    def describe(self) -> str:
        """Return one line for reports: where the candidates come from."""
        file = self.file
        what = "each mention's own, completed by random entities of its type" if file.has_ten else "each mention's own"
        if file.form == SURFACES:
            what = "KEYED BY GOLD, not comparable with anything" if self.by_gold else "by the mention's words"
        return f"candidates from {file.path} (sha256 {file.sha256}), not retrieved: {what}"

    def record(self) -> dict[str, object]:
        """Return what a run and an evaluation keep of the file, as JSON values."""
        file = self.file
        return {"path": str(file.path), "sha256": file.sha256, "form": file.form, "by_gold": self.by_gold}

    @cached_property
    def _names_by_id(self) -> dict[str, str]:
        return dict(zip(self._kb.ids, self._kb.names))

    @cached_property
    def _rows_of_type(self) -> dict[str, list[int]]:
        """Rows of each type, by folded type, in the order of ids: a draw must not depend on the order of entities."""
        rows: dict[str, list[int]] = {}
        for row in sorted(range(len(self._kb)), key=self._kb.ids.__getitem__):
            for type in self._kb.types[row]:
                rows.setdefault(type.casefold(), []).append(row)
        return rows

    def _known(self, mention: Mention, k: int) -> list[int]:
        """Return the rows of the file's candidates for a mention; those that the knowledge base lacks are counted."""
        listed = self._lists_for(mention)
        if listed is None:
            self.report.note("mention that the candidate file does not have", mention.id, mention.surface)
            return []
        for entity_id in listed:
            if entity_id not in self._row_of:
                self.report.drop("candidate that the knowledge base does not have", mention.id, entity_id)
        return [self._row_of[entity_id] for entity_id in listed if entity_id in self._row_of][:k]

    def _lists_for(self, mention: Mention) -> tuple[str, ...] | None:
        if not self.by_gold:
            return self.file.lists_for(mention)
        keys = gold_keys(self._gold[mention.id], self._names_by_id) if mention.id in self._gold else ()
        return next((self.file.by_surface[key] for key in keys if key in self.file.by_surface), None)

    def _complete(self, mention: Mention, rows: list[int], k: int) -> list[int]:
        """Add random entities of the mention's type."""
        same_type = self._rows_of_type.get((mention.type or "").casefold(), [])
        taken = dict.fromkeys(rows)
        for row in _draw(same_type, f"{self._seed}\0{mention.surface}\0{mention.text}"):
            if len(taken) >= k:
                break
            taken[row] = None
        return list(taken)

    def _complete_by_name(self, mentions: Sequence[Mention], chosen: list[list[int]], k: int) -> None:
        """Complete by retrieval what the mention's type could not, and count it."""
        short = [i for i, rows in enumerate(chosen) if len(rows) < min(k, len(self._kb))]
        if not short:
            return
        found = self._names.search([mentions[i] for i in short], k)
        for i, retrieved in zip(short, found.rows.tolist()):
            others = [row for row in retrieved if row >= 0 and row not in set(chosen[i])]
            added = others[: k - len(chosen[i])]
            chosen[i] = [*chosen[i], *added]
            if added:
                reason = f"type {mentions[i].type!r} has too few entities in the knowledge base, completed by name"
                self.report.note(reason, mentions[i].id, mentions[i].surface)


def _draw(rows: Sequence[int], key: str) -> Iterator[int]:
    """Yield the rows in an order drawn by `key`; the first ones cost no more than they are."""
    chance = random.Random(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest())
    moved: dict[int, int] = {}  # a shuffle in which only what was touched is kept
    for i in range(len(rows)):
        j = chance.randrange(i, len(rows))
        moved[i], moved[j] = moved.get(j, j), moved.get(i, i)
        yield rows[moved[i]]
