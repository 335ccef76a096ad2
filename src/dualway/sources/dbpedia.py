"""DBpedia's abstracts as static text of entities (paper, section 3.1: "from Wikipedia or other knowledge bases")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dualway.datasets.base import ReadReport
from dualway.errors import DataError
from dualway.schema import Representation
from dualway.sources.rdf_dbpedia import (
    ABSTRACT,
    COMMENT,
    DISAMBIGUATES,
    LICENCE,
    REDIRECTS,
    RESOURCE,
    SAME,
    WIKIDATA,
    title_of,
)
from dualway.sources.rdf_triples import IRI, TEXT, RdfStaging, Triple, stage
from dualway.sources.texts import Found, Wanted
from dualway.sources.wikitext import MAX_CHARS, NUM_PARAGRAPHS, clean_title, static_from_plain

_MOST_REDIRECTS = 5


class DBpediaAbstracts:
    """Gives entities the abstracts of DBpedia's dumps; a `TextSource`.

    The files needed are those of abstracts; with those of `sameAs` entities are found by their Wikidata id, with those
    of redirects and disambiguations by titles that lead on or lead nowhere.

    Args:
        paths: .nt, .nq or .ttl files, compressed or not, read together.
        language: Of the abstracts.
        report: Counts what was read and dropped.
        num_paragraphs: At most so many; an abstract mostly is one.
        max_chars: At most so many characters, cut at a sentence.
        on_error: "stop" at a line that cannot be read, or "drop" it.
        scratch: The folder in which the working database is made.

    Raises:
        DataError: A file cannot be read, or there is no abstract in this language in any.
        StorageError: The working database cannot be written.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        language: str,
        report: ReadReport,
        *,
        num_paragraphs: int = NUM_PARAGRAPHS,
        max_chars: int = MAX_CHARS,
        on_error: str = "stop",
        scratch: Path | None = None,
    ) -> None:
        self._language, self._report = language, report
        self._limits = {"num_paragraphs": num_paragraphs, "max_chars": max_chars}
        self._staging = RdfStaging(scratch)
        try:
            stage(paths, self._staging, _PREDICATES, self._sieve, report, on_error=on_error)
            if not report.counts["abstracts"]:
                raise DataError(f"no abstracts (dbo:abstract) in {language!r} in it", path=paths[0] if paths else None)
        except BaseException:
            self._staging.close()
            raise
        self._has_ids = self._staging.has_links("same")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove the working database."""
        self._staging.close()

    @property
    def name(self) -> str:
        """What is kept as a text's `source`."""
        return f"dbpedia:{self._language}"

    def texts(self, wanted: Sequence[Wanted]) -> Iterator[Found]:
        """Yield one answer for each of `wanted`, in their order."""
        for one in wanted:
            address, problem = self._resource(one)
            yield self._found(one.entity_id, address) if address else Found(one.entity_id, problem=problem)

    def revisions(self, wanted: Sequence[Wanted]) -> Mapping[str, str]:
        """Return the address of each entity's resource: dumps do not say from which revision an abstract is."""
        found = ((one.entity_id, self._resource(one)[0]) for one in wanted)
        return {entity_id: address for entity_id, address in found if address}

    def _sieve(self, triple: Triple) -> Iterator[tuple[str, Sequence[Any]]]:
        found = RESOURCE.fullmatch(triple.subject)
        if found is None or found[1] not in (None, self._language):
            self._report.counts["triples of other things"] += 1
            return
        subject, predicate, value, kind, language = triple
        if predicate in _TEXTS:
            if kind == TEXT and language == self._language:
                self._report.counts["abstracts"] += 1
                yield "labels", (subject, predicate != ABSTRACT, value)
                yield "links", ("title", clean_title(title_of(subject)), subject)
        elif kind == IRI and predicate == DISAMBIGUATES:
            yield "links", ("disambiguation", subject, value)
            yield "links", ("title", clean_title(title_of(subject)), subject)
        elif kind == IRI and predicate == REDIRECTS:
            yield "links", ("redirect", subject, value)
            yield "links", ("title", clean_title(title_of(subject)), subject)
        elif kind == IRI and (item := WIKIDATA.fullmatch(value)):
            yield "links", ("same", subject, item[1])

    def _resource(self, one: Wanted) -> tuple[str, str]:
        """Return the address of an entity's resource, or "" and why there is none.

        By its Wikidata id first, then by the title of its page. Its name is trusted only where nothing better can be
        known: a homonym's text would be worse than none.
        """
        if one.wikidata_id:
            by_id = self._staging.sources("same", one.wikidata_id, 1)
            if by_id:
                return self._followed(by_id[0])
            if self._has_ids and not one.title:
                return "", "no resource is the same as this item of Wikidata"
        title = one.title or one.name
        found = self._staging.targets("title", clean_title(title), 1)
        if not found:
            return "", "no such page"
        address, problem = self._followed(found[0])
        items = self._staging.targets("same", address) if address and one.wikidata_id else []
        if items and one.wikidata_id not in items:
            return "", f"the page of this title is another item of Wikidata ({items[0]})"
        return address, problem

    def _followed(self, address: str) -> tuple[str, str]:
        """Return where redirects lead to; "" and why, where that is nowhere or to a disambiguation page."""
        for _ in range(_MOST_REDIRECTS):
            if self._staging.targets("disambiguation", address, 1):
                return "", "disambiguation page"
            onward = self._staging.targets("redirect", address, 1)
            if not onward:
                return address, ""
            address = onward[0]
        return "", "redirects without end"

    def _found(self, entity_id: str, address: str) -> Found:
        text = self._staging.label(address)
        if text is None:
            return Found(entity_id, problem=f"no abstract in {self._language!r}")
        static = static_from_plain(text, language=self._language, **self._limits)
        if not static.text:
            return Found(entity_id, problem=static.problem)
        return Found(entity_id, Representation("static", static.text, self.name, self._language, address, LICENCE))


_TEXTS = {ABSTRACT, COMMENT}
_PREDICATES = frozenset((*_TEXTS, SAME, REDIRECTS, DISAMBIGUATES))
