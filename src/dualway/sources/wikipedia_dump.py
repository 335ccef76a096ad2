"""Static text from a dump of Wikipedia: an XML file of pages with their markup, plain, .gz or .bz2, read as a stream.

What is looked for is few pages among many, so the dump is read once for the titles and redirects of what is wanted, and
a second time only where a redirect led to a page that had gone by.
"""

from __future__ import annotations

import bz2
import gzip
import re
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, cast
from xml.etree import ElementTree

from dualway.datasets.base import ReadReport
from dualway.errors import DataError, UsageError
from dualway.schema import Representation
from dualway.sources.texts import Found, Wanted
from dualway.sources.wikitext import MAX_CHARS, NUM_PARAGRAPHS, clean_title, static_text

LICENCE = "CC BY-SA 4.0"

_MAX_HOPS = 3  # redirects that are followed one after the other
_HEAD = 1 << 20  # bytes before the first page in which a document type is looked for
_PROGRESS = 1000  # pages between two reports of progress
_LONGEST_TEXT = 1 << 24  # characters of one page: Wikipedia's own limit is 2 MB


class Page(NamedTuple):
    """A page of the main namespace. `redirect`: the title that it leads to, or ""."""

    title: str
    revision: str
    redirect: str
    text: str


class WikipediaDump:
    """The texts of a dump; implements TextSource.

    Args:
        path: pages-articles.xml, .xml.gz or .xml.bz2.
        language: Of the texts; by default what the dump says of itself.
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
        num_paragraphs: int = NUM_PARAGRAPHS,
        max_chars: int = MAX_CHARS,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._path, self._progress = path, progress
        self._num_paragraphs, self._max_chars = num_paragraphs, max_chars
        self.report = ReadReport(path, "wikipedia-dump")
        self.language = language or read_language(path)

    @property
    def name(self) -> str:
        """What is kept as a text's source."""
        return f"wikipedia:{self.language}"

    def texts(self, wanted: Sequence[Wanted]) -> Iterator[Found]:
        """Yield one answer for each of `wanted`: by the title of its page if that is known, else by its name.

        Raises:
            DataError: The dump is damaged or cut off; names the page before.
        """
        by_title: dict[str, list[str]] = {}
        for entity in wanted:
            by_title.setdefault(clean_title(entity.title or entity.name), []).append(entity.entity_id)
        waiting = by_title
        for _ in range(_MAX_HOPS + 1):
            if not waiting:
                return
            passed: dict[str, list[str]] = {}
            yield from self._pass(waiting, passed)
            waiting = passed
        yield from (Found(id, problem="redirects in a circle") for ids in waiting.values() for id in ids)

    def revisions(self, wanted: Sequence[Wanted]) -> Mapping[str, str]:
        """Return the revision of each entity's page, without those that have no text."""
        found = ((answer.entity_id, answer.representation) for answer in self.texts(wanted))
        return {entity_id: text.revision for entity_id, text in found if text is not None}

    def _pass(self, waiting: Mapping[str, list[str]], passed: dict[str, list[str]]) -> Iterator[Found]:
        """Read the dump once; what redirects lead to is put into `passed`, for the next time."""
        left = dict(waiting)
        for page in read_pages(self._path, self.report, progress=self._progress):
            ids = left.pop(clean_title(page.title), None)
            if ids is None:
                continue
            found = static_text(
                page.text,
                title=page.title,
                language=self.language,
                num_paragraphs=self._num_paragraphs,
                max_chars=self._max_chars,
            )
            target = clean_title(page.redirect) if page.redirect else found.target
            if (
                target
                and found.kind in ("redirect", "article", "no text")
                and (page.redirect or found.kind == "redirect")
            ):
                passed.setdefault(target, []).extend(ids)
                continue
            for entity_id in ids:
                yield self._answer(entity_id, page, found.text, found.problem)
        for ids in left.values():
            yield from (Found(entity_id, problem="no such page") for entity_id in ids)

    def _answer(self, entity_id: str, page: Page, text: str, problem: str) -> Found:
        if not text:
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


def read_language(path: Path) -> str:
    """Return the language that a dump says it is in.

    Raises:
        DataError: It does not say.
    """
    with _opened(path) as file:
        head = file.read(_HEAD).decode("utf-8", "replace")
    found = re.search(r"<mediawiki\b[^>]*\bxml:lang=[\"']([a-z-]{2,20})[\"']", head) or re.search(
        r"<dbname>([a-z_]{2,20})wiki</dbname>", head
    )
    if found is None:
        raise DataError(
            "does not say which language it is in; is it a dump of MediaWiki? Or give --language", path=path
        )
    return found[1]


def read_pages(path: Path, report: ReadReport, *, progress: Callable[[int], None] | None = None) -> Iterator[Page]:
    """Yield the pages of the main namespace of a dump, in its order, in constant memory.

    Raises:
        DataError: Damaged, cut off, with a document type (which could define entities without end), or no dump.
        UsageError: mwxml is not installed.
    """
    last = ""
    report.counts.clear()
    with _opened(path) as file:
        _refuse_document_type(file, path)
        try:
            for number, page in enumerate(_dump(file), start=1):
                last = str(page.title)
                report.counts["pages"] += 1
                if progress is not None and number % _PROGRESS == 0:
                    progress(number)
                if page.namespace not in (0, None):
                    report.counts["pages of other namespaces"] += 1
                    continue
                revision: Any = deque(page, maxlen=1).pop()  # of a full history the last one
                text = str(getattr(revision, "text", None) or "")
                if not text:
                    report.counts["pages without text"] += 1
                yield Page(last, str(getattr(revision, "id", "") or ""), str(page.redirect or ""), text[:_LONGEST_TEXT])
        except (ElementTree.ParseError, ValueError, TypeError, AttributeError, LookupError, _malformed()) as error:
            after = f"after the page {last!r}" if last else "before its first page"
            raise DataError(
                f"not whole, or no dump of MediaWiki, {after} ({error}); fetch it again", path=path
            ) from error


@contextmanager
def _opened(path: Path) -> Generator[IO[bytes]]:
    openers = {".gz": gzip.open, ".bz2": bz2.open}
    try:
        with cast("IO[bytes]", openers.get(path.suffix.lower(), open)(path, "rb")) as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"damaged or cut off ({error}); fetch it again", path=path) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path=path) from error


def _refuse_document_type(file: IO[bytes], path: Path) -> None:
    head = file.read(_HEAD)
    before = head.split(b"<mediawiki", 1)[0]
    if b"<!DOCTYPE" in before.upper() or b"<!ENTITY" in before.upper():
        raise DataError("has a document type, which no dump of MediaWiki has; it is not read", path=path)
    file.seek(0)


def _dump(file: IO[bytes]) -> Iterable[Any]:
    """Return mwxml's pages; its elements are forgotten as soon as they were read."""
    iterator, pointer, dump = _mwxml()
    events = _events(file)
    _, root = next(events)
    start: Any = pointer(_chain(root, events))
    next(start)
    return dump.from_element(iterator(root, start))


def _chain(root: Any, events: Iterator[Any]) -> Iterator[Any]:
    yield "start", root
    yield from events


def _events(file: IO[bytes]) -> Iterator[Any]:
    root: Any = None
    for event, element in ElementTree.iterparse(file, events=("start", "end")):
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


def _malformed() -> type[Exception]:
    try:
        from mwxml.errors import MalformedXML
    except ImportError:
        return DataError
    return cast("type[Exception]", MalformedXML)
