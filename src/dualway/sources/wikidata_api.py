"""Items of Wikidata by their ids, from its web service: in the shape in which its dumps have them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Self

from dualway.datasets.base import ReadReport
from dualway.schema import Entity
from dualway.sources.mediawiki import (
    INTERVAL_S,
    WIKIDATA,
    AnswerTooLongError,
    MediaWiki,
    asked_id,
    batches,
    entities_of,
)
from dualway.sources.wikidata import Digest, WikidataReader

_IDS = 50  # a request, for those who are no bots
_LONGEST = 64 * 2**20  # bytes of an answer: an item may have several millions
_ITEM = re.compile(r"Q[1-9]\d{0,17}")


class WikidataApi:
    """Wikidata's items and labels, asked one request after the other.

    Args:
        user_agent: Who asks: see MediaWiki.
        endpoint: Of its API.
        interval_s: Between the beginnings of two requests.
        wait: Sleeps.

    Attributes:
        report: What was not found (dropped), and ids that lead to another item (noted).

    Raises:
        UsageError: No user agent, or one without a contact.
    """

    def __init__(
        self,
        user_agent: str | None = None,
        *,
        endpoint: str = WIKIDATA,
        interval_s: float = INTERVAL_S,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._wiki = MediaWiki(endpoint, user_agent, interval_s=interval_s, longest=_LONGEST, wait=wait)
        self._labels: dict[tuple[str, tuple[str, ...]], str | None] = {}
        self.report = ReadReport(Path("wikidata"), "wikidata")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._wiki.close()

    def items(self, ids: Iterable[str], languages: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """Yield the items of ids, each once, as a dump has them; ids that have none are in the report.

        Args:
            ids: Such as "Q42". An id that was merged into another one gives that one's item.
            languages: Of labels, descriptions and aliases; all where empty.

        Raises:
            DownloadError: The service refuses, or cannot be reached for too long.
        """
        seen: set[str] = set()
        for part in batches(self._askable(ids), _IDS):
            for item in self._fetched(part, languages):
                item_id = str(item.get("id"))
                if item_id not in seen:
                    seen.add(item_id)
                    yield item

    def labels(self, ids: Iterable[str], languages: Sequence[str]) -> dict[str, str]:
        """Return the label of each item in the first of the languages that it has one in; without those without.

        What was asked for once is not asked for again.

        Raises:
            DownloadError: The service refuses, or cannot be reached for too long.
        """
        chosen, wanted = tuple(languages), list(dict.fromkeys(i for i in ids if _ITEM.fullmatch(i)))
        unknown = [item_id for item_id in wanted if (item_id, chosen) not in self._labels]
        for part in batches(unknown, _IDS):
            found = {asked_id(i, item): item for i, item in self._ask(part, "labels", chosen).items()}
            for item_id in part:
                self._labels[item_id, chosen] = _label(found.get(item_id, {}), chosen)
        known = {item_id: self._labels[item_id, chosen] for item_id in wanted}
        return {item_id: label for item_id, label in known.items() if label}

    def entities(self, ids: Iterable[str], reader: WikidataReader) -> Iterator[Entity]:
        """Yield the entities of ids, with what their statements say in words; what is left out is in the reports.

        Args:
            ids: Such as "Q42".
            reader: Which items are taken, and what of them.

        Raises:
            DownloadError: The service refuses, or cannot be reached for too long.
        """
        languages = reader.options.languages
        asked_for = () if reader.options.any_language else languages
        items = self.items(ids, asked_for)
        while part := list(islice(items, _IDS)):
            digests = [digest for item in part if (digest := self._digest(item, reader)) is not None]
            ids_told = (item_id for _, digest in digests for item_id in digest.item_ids())
            labels = self.labels(ids_told, languages)
            for item_id, digest in digests:
                yield reader.compose(item_id, digest, labels.get)

    def _digest(self, item: Mapping[str, Any], reader: WikidataReader) -> tuple[str, Digest] | None:
        try:
            number = reader.number(item)
            digest = None if number is None else reader.digest(item, number)
        except ValueError as error:
            reader.report.drop("not the shape of an item", str(item.get("id")), str(error))
            return None
        return None if digest is None else (f"Q{number}", digest)

    def _askable(self, ids: Iterable[str]) -> list[str]:
        """Return the ids that can be asked for: one that is none would spoil a request for all."""
        good: dict[str, None] = {}
        for item_id in ids:
            if _ITEM.fullmatch(item_id):
                good[item_id] = None
            else:
                self.report.drop("no id of an item, such as Q42", item_id[:40])
        return list(good)

    def _fetched(self, ids: Sequence[str], languages: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield items, in two requests where their answer would be too long for one."""
        try:
            found = self._ask(ids, "info|labels|descriptions|aliases|claims|sitelinks", languages)
        except AnswerTooLongError:
            if len(ids) == 1:
                raise
            half = len(ids) // 2
            yield from self._fetched(ids[:half], languages)
            yield from self._fetched(ids[half:], languages)
            return
        by_id = {asked_id(item_id, item): item for item_id, item in found.items()}
        for item_id in ids:
            item = by_id.get(item_id, {"missing": ""})
            if "missing" in item:
                self.report.drop("deleted or unknown items", item_id)
                continue
            if item.get("id") != item_id:
                self.report.note("merged into another item", item_id, f"now {item.get('id')}")
            yield item

    def _ask(self, ids: Sequence[str], props: str, languages: Sequence[str]) -> dict[str, dict[str, Any]]:
        chosen = {"languages": "|".join(languages)} if languages else {}
        return entities_of(
            self._wiki.ask(action="wbgetentities", ids="|".join(ids), props=props, redirects="yes", **chosen)
        )


def fetch_items(
    ids: Iterable[str],
    *,
    user_agent: str | None = None,
    languages: Sequence[str] = (),
    report: ReadReport | None = None,
    endpoint: str = WIKIDATA,
    interval_s: float = INTERVAL_S,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[dict[str, Any]]:
    """Yield the items of ids as a dump has them.

    Args:
        ids: Such as "Q42".
        user_agent: Who asks: see MediaWiki.
        languages: Of labels, descriptions and aliases; all where empty.
        report: Counts what was not found, and ids that lead to another item.
        endpoint: Of Wikidata's API.
        interval_s: Between the beginnings of two requests.
        wait: Sleeps.

    Raises:
        DownloadError: The service refuses, or cannot be reached for too long.
        UsageError: No user agent, or one without a contact.
    """
    with WikidataApi(user_agent, endpoint=endpoint, interval_s=interval_s, wait=wait) as service:
        service.report = report or service.report
        yield from service.items(ids, languages)


def _label(item: Mapping[str, Any], languages: Sequence[str]) -> str | None:
    labels: Any = item.get("labels")
    for language in languages:
        label: Any = labels.get(language) if isinstance(labels, dict) else None
        value: Any = label.get("value") if isinstance(label, dict) else None
        if isinstance(value, str) and value:
            return value
    return None
