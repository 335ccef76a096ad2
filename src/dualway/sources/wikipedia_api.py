"""Static text from Wikipedia's API: the extracts of pages, by title or by Wikidata id."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dualway.errors import UsageError
from dualway.schema import Representation
from dualway.sources.mediawiki import WIKIDATA, MediaWiki, asked_id, batches, entities_of, is_askable
from dualway.sources.texts import Found, Wanted
from dualway.sources.wikipedia_dump import LICENCE
from dualway.sources.wikitext import MAX_CHARS, NUM_PARAGRAPHS, clean_title, static_from_plain

_LANGUAGE = re.compile(r"[a-z]{2,12}(-[a-z0-9]{2,12})*")
_EXTRACTS = 20  # pages a request: what the API gives of extracts of whole introductions
_TITLES = 50  # titles or ids a request, for those who are no bots


class WikipediaApi:
    """The texts of a Wikipedia, asked one request after the other; implements TextSource.

    Args:
        language: Of the Wikipedia.
        user_agent: Who asks: see MediaWiki.
        endpoint: Of its API, by default Wikipedia's own.
        wikidata: Of Wikidata's API, which knows the titles of entities by their id.
        num_paragraphs: How many paragraphs of a page.
        max_chars: Each text is cut at a sentence within.
        interval_s: Between the beginnings of two requests.
        wait: Sleeps.

    Raises:
        UsageError: No user agent, or one without a contact; a language that no Wikipedia can have.
    """

    def __init__(
        self,
        language: str,
        user_agent: str | None = None,
        *,
        endpoint: str | None = None,
        wikidata: str = WIKIDATA,
        num_paragraphs: int = NUM_PARAGRAPHS,
        max_chars: int = MAX_CHARS,
        interval_s: float = 1.0,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        patience: dict[str, Any] = {} if wait is None else {"wait": wait}
        if not _LANGUAGE.fullmatch(language):
            raise UsageError(f"{language!r} is no Wikipedia's language; write one such as en, de or zh-yue")
        address = endpoint or f"https://{language}.wikipedia.org/w/api.php"
        self.language = language
        self._wiki = MediaWiki(address, user_agent, interval_s=interval_s, **patience)
        self._wikidata = MediaWiki(wikidata, user_agent, interval_s=interval_s, **patience)
        self._num_paragraphs, self._max_chars = num_paragraphs, max_chars

    def close(self) -> None:
        """Close the connections."""
        self._wiki.close()
        self._wikidata.close()

    @property
    def warnings(self) -> Counter[str]:
        """What the wikis warned of so far, and how often."""
        return self._wiki.warnings + self._wikidata.warnings

    @property
    def name(self) -> str:
        """What is kept as a text's source."""
        return f"wikipedia:{self.language}"

    def texts(self, wanted: Sequence[Wanted]) -> Iterator[Found]:
        """Yield one answer for each of `wanted`: by its page's title, else by its Wikidata id, else by its name.

        Raises:
            DownloadError: The wiki refuses, or cannot be reached for too long.
        """
        for part in batches(wanted, _TITLES):
            titles = self._titles(part)
            asked: list[tuple[Wanted, str]] = []
            for one in part:
                title = titles.get(one.entity_id)
                if title is None:
                    yield Found(one.entity_id, problem="no page in this Wikipedia")
                elif not is_askable(title):
                    yield Found(one.entity_id, problem="no possible title")
                else:
                    asked.append((one, title))
            for group in batches(asked, _EXTRACTS, lambda pair: pair[1]):
                yield from self._extracts(group)

    def revisions(self, wanted: Sequence[Wanted]) -> Mapping[str, str]:
        """Return the present revision of each entity's page, without those that have none."""
        found: dict[str, str] = {}
        for part in batches(wanted, _TITLES):
            titles = {entity_id: title for entity_id, title in self._titles(part).items() if is_askable(title)}
            for group in batches(list(titles.items()), _TITLES, lambda pair: pair[1]):
                answer = self._wiki.query(
                    titles="|".join(dict.fromkeys(title for _, title in group)),
                    prop="revisions",
                    rvprop="ids",
                    redirects="1",
                )
                pages = _Pages(answer)
                for entity_id, title in group:
                    page = pages.of(title)
                    if page is not None and (revision := _revision(page)):
                        found[entity_id] = revision
        return found

    def _titles(self, wanted: Sequence[Wanted]) -> dict[str, str]:
        """Return the title of each entity's page, without those of which Wikidata knows that there is none."""
        titles = {one.entity_id: one.title for one in wanted if one.title}
        by_id = {one.wikidata_id: one.entity_id for one in wanted if not one.title and one.wikidata_id}
        for ids in batches(list(by_id), _TITLES):
            site = f"{self.language.replace('-', '_')}wiki"
            answer = self._wikidata.ask(
                action="wbgetentities", ids="|".join(ids), props="sitelinks", sitefilter=site, redirects="yes"
            )
            for asked, item in entities_of(answer).items():
                origin, title = asked_id(asked, item), _sitelink(item, site)
                if title and origin in by_id:
                    titles[by_id[origin]] = title
        for one in wanted:
            if one.entity_id not in titles and not one.wikidata_id:
                titles[one.entity_id] = one.name
        return titles

    def _extracts(self, asked: Sequence[tuple[Wanted, str]]) -> Iterator[Found]:
        answer = self._wiki.query(
            titles="|".join(dict.fromkeys(title for _, title in asked)),
            prop="extracts|revisions|pageprops",
            exintro="1",
            explaintext="1",
            exlimit=str(_EXTRACTS),
            rvprop="ids|timestamp",
            ppprop="disambiguation",
            redirects="1",
        )
        pages = _Pages(answer)
        for one, title in asked:
            yield self._answer(one.entity_id, pages.of(title), pages.problem_of(title))

    def _answer(self, entity_id: str, page: dict[str, Any] | None, problem: str) -> Found:
        if page is None:
            return Found(entity_id, problem=problem)
        if "disambiguation" in (page.get("pageprops") or {}):
            return Found(entity_id, problem="disambiguation page")
        found = static_from_plain(
            str(page.get("extract") or ""),
            language=self.language,
            num_paragraphs=self._num_paragraphs,
            max_chars=self._max_chars,
        )
        if found.problem:
            return Found(entity_id, problem=found.problem)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        text = Representation("static", found.text, self.name, self.language, _revision(page), LICENCE, now)
        return Found(entity_id, text)


class _Pages:
    """The pages of an answer by the title that was asked for: normalised, and led on by redirects."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self._to = {str(step.get("from")): str(step.get("to")) for step in answer.get("normalized", [])}
        self._on = {str(step.get("from")): str(step.get("to")) for step in answer.get("redirects", [])}
        self._parts = {str(step.get("from")) for step in answer.get("redirects", []) if step.get("tofragment")}
        self._elsewhere = {str(step.get("title")) for step in answer.get("interwiki", [])}
        self._pages = {str(page.get("title")): page for page in answer["pages"]}

    def of(self, title: str) -> dict[str, Any] | None:
        """Return the page that speaks of what is called so; None where there is none, see `problem_of`."""
        page = None if self._steps(title) & self._parts else self._find(title)
        if page is None or page.get("missing") or page.get("invalid"):
            return None
        return page if page.get("ns", 0) == 0 else None

    def problem_of(self, title: str) -> str:
        page, normal = self._find(title), self._to.get(title, title)
        if page is not None and page.get("invalid"):
            return f"no possible title ({page.get('invalidreason', 'invalid')})"
        if page is None and (title in self._elsewhere or normal in self._elsewhere):
            return "a page of another wiki"
        if page is not None and page.get("ns", 0) != 0:
            return "not a page of an encyclopedia: a category, a user's, .."
        if page is not None and not page.get("missing") and self._steps(title) & self._parts:
            return "only a part of another page"
        return "no such page"

    def _find(self, title: str) -> dict[str, Any] | None:
        ends = self._steps(title) - set(self._on)
        place = next(iter(ends), title)
        return self._pages.get(place) or self._pages.get(clean_title(place))

    def _steps(self, title: str) -> set[str]:
        """Return the titles that an asked one leads over, the last one included."""
        place, steps = self._to.get(title, title), set[str]()
        while place not in steps:
            steps.add(place)
            place = self._on.get(place, place)
        return steps


def _revision(page: Mapping[str, Any]) -> str:
    revisions: Any = page.get("revisions")
    first = revisions[0] if isinstance(revisions, list) and revisions else None
    return str(first.get("revid") or "") if isinstance(first, dict) else ""


def _sitelink(item: Mapping[str, Any], site: str) -> str:
    """Return the title of an item's page in a wiki; a table without entries may come as an empty list."""
    links: Any = item.get("sitelinks")
    link: Any = links.get(site) if isinstance(links, dict) else None
    title: Any = link.get("title") if isinstance(link, dict) else None
    return title if isinstance(title, str) else ""
