"""Static text from a dump of Wikipedia: an XML file of pages with their markup, plain, .gz or .bz2, read as a stream.

What is looked for is few pages among many: the dump is read once, up to the last page that is wanted, and again only
where a redirect led to a page that may have gone by.
"""

from __future__ import annotations

import bz2
import gzip
import re
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, cast
from xml.etree import ElementTree

from dualway.datasets.base import ReadReport
from dualway.errors import DataError, UsageError
from dualway.schema import Representation
from dualway.sources.texts import Found, Wanted
from dualway.sources.wikitext import MAX_CHARS, NUM_PARAGRAPHS, StaticText, clean_title, static_text

LICENCE = "CC BY-SA 4.0"

_COUNTED = ("pages", "pages of other namespaces", "pages without text")
_MAX_HOPS = 3  # redirects that are followed one after the other
_HEAD = 1 << 16  # bytes in which a dump says what it is
_PROGRESS = 1000  # pages between two reports of progress
_LONGEST_TEXT = 1 << 22  # characters of one page that are kept: Wikipedia's own limit is 2 MiB
_LONGEST_ELEMENT = 1 << 26  # bytes without the end of an element, beyond which it is no page
_NO_WIKIPEDIA = {"commons", "wikidata", "meta", "species", "mediawiki", "sources", "incubator", "foundation"}
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open}
_ENCODING = re.compile(rb"(?:\xef\xbb\xbf)?<\?xml[^>]{0,100}\bencoding\s*=\s*[\"']([^\"']{1,40})")
_BROKEN = (EOFError, zlib.error, OSError)


class Page(NamedTuple):
    """A page of the main namespace. `redirect`: the title that it leads to, or ""."""

    title: str
    revision: str
    redirect: str
    text: str


class Site(NamedTuple):
    """Which Wikipedia a dump is of. wiki: as in "wikipedia:simple". language: of its texts, as "en"."""

    wiki: str
    language: str


class _Asked(NamedTuple):
    """An entity that waits for a page. path: titles of redirects that led there. turn: the reading it began in."""

    entity_id: str
    path: tuple[str, ...] = ()
    turn: int = 0


class WikipediaDump:
    """The texts of a dump; implements TextSource.

    `created_at` of a text is the time when it was taken; `revision` says which state of the page it is.

    Args:
        path: pages-articles.xml, .xml.gz or .xml.bz2.
        language: Of the texts, and of the Wikipedia; by default what the dump says of itself.
        report: Where pages that were read are counted, those of other namespaces and those without text apart.
        num_paragraphs: How many paragraphs of a page.
        max_chars: Each text is cut at a sentence within.
        progress: Called now and then with the number of pages read so far.

    Raises:
        DataError: It is no such dump.
        UsageError: mwxml is not installed.
    """

    def __init__(
        self,
        path: Path,
        *,
        language: str | None = None,
        report: ReadReport | None = None,
        num_paragraphs: int = NUM_PARAGRAPHS,
        max_chars: int = MAX_CHARS,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._path, self._progress = path, progress
        self._num_paragraphs, self._max_chars = num_paragraphs, max_chars
        self.report = report or ReadReport(path, "wikipedia-dump")
        self._site = Site(language, language) if language else read_site(path)

    @property
    def name(self) -> str:
        """What is kept as a text's source."""
        return f"wikipedia:{self._site.wiki}"

    @property
    def language(self) -> str:
        """The language of the texts."""
        return self._site.language

    def texts(self, wanted: Sequence[Wanted]) -> Iterator[Found]:
        """Yield one answer for each of `wanted`: by the title of its page if that is known, else by its name.

        Raises:
            DataError: The dump is damaged or cut off; names the page before.
        """
        waiting: dict[str, list[_Asked]] = {}
        for entity in wanted:
            waiting.setdefault(clean_title(entity.title or entity.name), []).append(_Asked(entity.entity_id))
        for name in _COUNTED:  # of this reading alone
            self.report.counts.pop(name, None)
        turn = 0
        while waiting:
            turn += 1
            waiting = yield from self._read(waiting, turn)

    def revisions(self, wanted: Sequence[Wanted]) -> Mapping[str, str]:
        """Return the revision of each entity's page, without those that have no text."""
        found = ((answer.entity_id, answer.representation) for answer in self.texts(wanted))
        return {entity_id: text.revision for entity_id, text in found if text is not None}

    def _read(self, waiting: dict[str, list[_Asked]], turn: int) -> Generator[Found, None, dict[str, list[_Asked]]]:
        """Read the dump once; return who waits for a page that a redirect led to, and that may have gone by."""
        report = self.report if turn == 1 else ReadReport(self._path)
        with closing(read_pages(self._path, report, progress=self._progress)) as pages:
            while waiting and (page := next(pages, None)) is not None:
                title = clean_title(page.title)
                if (asked := waiting.pop(title, None)) is None:
                    continue
                found = self._static_text(page)
                for one in asked:
                    problem = _stop(one, title, found) if found.kind == "redirect" else found.problem
                    if found.kind == "redirect" and not problem:
                        following = _Asked(one.entity_id, (*one.path, title), turn)
                        waiting.setdefault(found.target, []).append(following)
                    else:
                        yield self._answer(one.entity_id, page, found.text, problem)
        later: dict[str, list[_Asked]] = {}
        for title, asked in waiting.items():
            for one in asked:
                if one.turn == turn:
                    later.setdefault(title, []).append(one)
                else:
                    yield Found(one.entity_id, problem="no such page")
        return later

    def _static_text(self, page: Page) -> StaticText:
        found = static_text(
            page.text,
            title=page.title,
            language=self.language,
            num_paragraphs=self._num_paragraphs,
            max_chars=self._max_chars,
        )
        if page.redirect and found.problem != "redirect to a part of another page":  # which `redirect` does not say
            return StaticText(kind="redirect", target=clean_title(page.redirect), problem="redirect")
        return found

    def _answer(self, entity_id: str, page: Page, text: str, problem: str) -> Found:
        if problem or not text:
            return Found(entity_id, problem=problem or "no text")
        return Found(
            entity_id,
            Representation(
                kind="static",
                text=text,
                source=self.name,
                language=self.language,
                revision=page.revision,
                licence=LICENCE,
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            ),
        )


def read_site(path: Path) -> Site:
    """Return which Wikipedia a dump says it is of.

    Raises:
        DataError: It does not say, or is of another project.
    """
    with _opened(path) as file:
        head = file.read(_HEAD).decode("utf-8", "replace")
    language = re.search(r"<mediawiki\b[^>]{0,2000}?\bxml:lang=[\"']([a-z][a-z-]{1,20})[\"']", head)
    name = re.search(r"<dbname>([a-z_]{2,30})</dbname>", head)
    wiki = name[1].removesuffix("wiki").replace("_", "-") if name else language[1] if language else ""
    if not wiki or (name and (not name[1].endswith("wiki") or wiki in _NO_WIKIPEDIA)):
        what = f"a dump of {name[1]!r}, which is no Wikipedia" if name else "does not say which language it is in"
        raise DataError(f"{what}; expected pages-articles.xml of a Wikipedia, or give --language", path=path)
    return Site(wiki, language[1] if language else wiki)


def read_pages(path: Path, report: ReadReport, *, progress: Callable[[int], None] | None = None) -> Generator[Page]:
    """Yield the pages of the main namespace of a dump, in its order, in constant memory.

    Raises:
        DataError: Damaged, cut off, with a document type (which could define entities without end), or no dump.
        UsageError: mwxml is not installed.
    """
    malformed = _malformed()
    last = ""
    with _opened(path) as file:
        try:
            for number, page in enumerate(_dump(_Guarded(file)), start=1):
                last = str(page.title)
                report.counts["pages"] += 1
                if progress is not None and number % _PROGRESS == 0:
                    progress(number)
                if page.namespace in (0, None):
                    yield _page_of(page, report)
                else:
                    report.counts["pages of other namespaces"] += 1
        except (*malformed, *_BROKEN) as error:
            after = f"in or after the page {last!r}" if last else "before its first page"
            problem = f"damaged, cut off or no dump of MediaWiki, {after} ({error}); fetch it again"
            raise DataError(problem, path=path) from error


def _stop(one: _Asked, title: str, found: StaticText) -> str:
    """Return why a redirect is not followed; "" where it is."""
    if found.problem != "redirect":
        return found.problem
    if found.target == title or found.target in one.path:
        return "redirects in a circle"
    return "too many redirects" if len(one.path) >= _MAX_HOPS else ""


def _page_of(page: Any, report: ReadReport) -> Page:
    revisions: deque[Any] = deque(page, maxlen=1)  # of a full history the last one
    revision = revisions.pop() if revisions else None
    text = str(getattr(revision, "text", None) or "")
    if not text:
        report.counts["pages without text"] += 1
    if len(text) > _LONGEST_TEXT:
        report.note("longer than any page of Wikipedia; its beginning was read", str(page.title))
    return Page(
        str(page.title), str(getattr(revision, "id", None) or ""), str(page.redirect or ""), text[:_LONGEST_TEXT]
    )


@contextmanager
def _opened(path: Path) -> Generator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            start = file.read(2)
        opener: Any = _OPENERS.get(start, open)
        with cast("IO[bytes]", opener(path, "rb")) as file:
            yield file
    except _BROKEN as error:
        raise DataError(f"cannot be read ({getattr(error, 'strerror', None) or error})", path=path) from error


class _Guarded:
    """A file of XML that is refused where it could grow beyond itself, or is no dump's.

    A dump has no document type, so no entities of its own; "<" in a page is escaped, so the search takes no text for
    one. Other encodings than UTF-8 would hide it.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._tail, self._since = file, b"", 0

    def read(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            ValueError: A document type, an encoding other than UTF-8, or an element without end.
        """
        piece = self._file.read(size)
        seen = self._tail + piece
        if b"<!DOCTYPE" in seen or b"<!ENTITY" in seen:
            raise ValueError("it has a document type, which no dump of MediaWiki has")
        declared = None if self._tail else _ENCODING.match(piece)  # it is at the very beginning, or none
        if b"\x00" in piece or (declared and declared[1].lower() not in (b"utf-8", b"utf8")):
            raise ValueError("it is not in UTF-8")
        end = piece.rfind(b"</")
        self._since = len(piece) - end if end >= 0 else self._since + len(piece)
        if self._since > _LONGEST_ELEMENT:
            raise ValueError(f"an element of more than {_LONGEST_ELEMENT:,} bytes")
        self._tail = seen[-200:]
        return piece


def _dump(file: _Guarded) -> Iterable[Any]:
    """Return mwxml's pages; its elements are forgotten as soon as they were read."""
    iterator, pointer, dump = _mwxml()
    events = _events(file)
    first = next(events, None)
    if first is None:
        raise ValueError("it is empty")
    start: Any = pointer(_chain(first, events))
    next(start)
    return dump.from_element(iterator(first[1], start))


def _chain(first: Any, events: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from events


def _events(file: _Guarded) -> Iterator[Any]:
    root: Any = None
    for event, element in ElementTree.iterparse(cast("IO[bytes]", file), events=("start", "end")):
        root = element if root is None else root
        yield event, element
        if event == "end" and element.tag.endswith("page"):
            root.clear()


def _mwxml() -> tuple[Any, Any, Any]:
    try:
        from mwxml import Dump
        from mwxml.element_iterator import ElementIterator, EventPointer
    except ImportError as error:
        raise UsageError("dumps of Wikipedia are read by mwxml: pip install 'dualway[kb]'") from error
    return ElementIterator, EventPointer, Dump


def _malformed() -> tuple[type[Exception], ...]:
    """Return what mwxml raises on elements that are not where a dump has them; its own error alone is not all."""
    _mwxml()
    from mwxml.errors import MalformedXML

    return (cast("type[Exception]", MalformedXML), ElementTree.ParseError, ValueError, TypeError, AttributeError)
