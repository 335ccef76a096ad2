"""Asks the API of a MediaWiki, politely: one request at a time, at a steady pace, with a name to write to.

What its operators ask of programs (mediawiki.org, "API:Etiquette"): a User-Agent with a contact, requests one after the
other, many titles in one, `maxlag`, and waiting as long as an answer says.
"""

from __future__ import annotations

import json
import os
import re
import time
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar, cast
from urllib.parse import quote_plus, urlencode, urlsplit

from dualway.downloads.transport import PassingError, Web, is_loopback, received, wait_of
from dualway.errors import DownloadError, UsageError

WIKIDATA = "https://www.wikidata.org/w/api.php"
USER_AGENT = "DUALWAY_USER_AGENT"
MAXLAG_S = 5
INTERVAL_S = 1.0  # between the beginnings of two requests: no number is asked for, and with 50 in each this is enough

_LONGEST = 16 * 2**20  # bytes of an answer
_LONGEST_S = 300.0  # that an answer may take to come, and that we wait when asked to
_LONGEST_TITLES = 5_000  # bytes of titles in an address: Wikipedia's hosts take 8,192 of a whole one
_LONGEST_TITLE = 255  # bytes
_UNASKABLE = re.compile("[|#\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_MAX_TURNS = 500  # answers that one question may be continued over
_LATER = {"maxlag", "ratelimited", "readonly", "timeout"}  # errors that pass
_TOLD = 300  # characters of what a wiki says that we repeat

T = TypeVar("T")


class AnswerTooLongError(DownloadError):
    """An answer is longer than it may be; a smaller question may have a shorter one."""


class AskedToWaitError(DownloadError):
    """A wiki asks to be left alone for longer than one waits; nothing else should be asked of it either."""


class MediaWiki:
    """The API of one wiki.

    Args:
        endpoint: Its address, such as https://en.wikipedia.org/w/api.php; plain http only to this machine.
        user_agent: Who asks, with an address or a page to write to; by default the environment's DUALWAY_USER_AGENT.
        interval_s: Between the beginnings of two requests.
        longest: Bytes of an answer.
        wait: Sleeps.
        clock: Tells the time in seconds.

    Attributes:
        warnings: What the wiki warned of, and how often.

    Raises:
        UsageError: No user agent, or one without a contact.
    """

    def __init__(
        self,
        endpoint: str,
        user_agent: str | None = None,
        *,
        interval_s: float = INTERVAL_S,
        longest: int = _LONGEST,
        wait: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint, self._user_agent = endpoint, check_user_agent(user_agent)
        self.warnings: Counter[str] = Counter()
        self._interval_s, self._longest, self._wait, self._clock = interval_s, longest, wait, clock
        self._next = 0.0
        self._web = Web(local=is_loopback(endpoint), wait=wait, longest_wait_s=_LONGEST_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._web.__exit__()

    def query(self, *, not_further: Collection[str] = (), **parameters: str) -> dict[str, Any]:
        """Return the whole `query` of a question, over as many answers as it takes.

        A page's values may come in several of them: lists are joined, the others taken as they come.

        Args:
            not_further: Names by which an answer offers to go on with what is not wanted ("iistart": what files were
                before).
            **parameters: Of the API.

        Raises:
            DownloadError: The wiki refuses the question, does not know what is asked for, or cannot be reached.
        """
        merged: dict[str, Any] = {}
        pages: dict[Any, dict[str, Any]] = {}
        for answer in self._answers(not_further, action="query", **parameters):
            found = _object(answer.get("query", {}), "query", self.endpoint)
            for page in _list(found.get("pages", [])):
                _merge(pages.setdefault(page.get("title"), {}), page)
            for key in ("normalized", "redirects", "interwiki"):
                merged.setdefault(key, []).extend(_list(found.get(key, [])))
        return {**merged, "pages": list(pages.values())}

    def ask(self, **parameters: str) -> dict[str, Any]:
        """Return one answer.

        Raises:
            DownloadError: The wiki refuses the question, does not know what is asked for, or cannot be reached.
        """
        fixed = {"format": "json", "formatversion": "2", "errorformat": "plaintext", "maxlag": str(MAXLAG_S)}
        address = f"{self.endpoint}?{urlencode(sorted({**fixed, **parameters}.items()))}"
        return self._web.patiently(lambda: self._read(address))

    def content(self, address: str, longest: int) -> bytes:
        """Return a file that the wiki gave the address of.

        Raises:
            AnswerTooLongError: It is longer than `longest` bytes.
            AskedToWaitError: The host asks to be left alone for long.
            DownloadError: The address is not https (or this machine's), or cannot be had.
        """
        return self._web.patiently(lambda: self._receive(address, longest)[0])

    def _answers(self, not_further: Collection[str], **parameters: str) -> Iterator[dict[str, Any]]:
        going_on: Mapping[str, str] = {}
        for _ in range(_MAX_TURNS):
            answer = self.ask(**{**parameters, **going_on})
            yield answer
            offered = _object(answer.get("continue", {}), "continue", self.endpoint)
            values = {key: str(value) for key, value in offered.items() if key not in not_further}
            if not set(values) - {"continue"}:
                return
            if values == going_on:
                break
            going_on = values
        raise DownloadError(f"{self.endpoint}: goes on without end; what has come is kept")

    def _read(self, address: str) -> dict[str, Any]:
        """Ask once.

        Raises:
            PassingError: Worth another attempt.
        """
        content, asked = self._receive(address, self._longest)
        try:
            answer: Any = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise PassingError(f"{self.endpoint} answers with something that is not JSON, or cut off") from error
        values = _object(answer, "answer", self.endpoint)
        for code, words in _told(values, "error", "errors"):
            self._refuse(code, words, asked)
        for code, words in _told(values, "warnings"):
            if code == "unrecognizedvalues" or words.startswith("Unrecognized value"):
                raise DownloadError(f"{self.endpoint} does not know what it is asked for: {words}")
            self.warnings[words] += 1
        return values

    def _receive(self, address: str, longest: int) -> tuple[bytes, float]:
        """Return a body, and how many seconds the host asks to wait."""
        self._keep_pace()
        begun, content = self._clock(), bytearray()
        try:
            with self._web.get(address, {"User-Agent": self._user_agent, "Accept-Encoding": "gzip"}) as response:
                asked = wait_of(response.headers.get("Retry-After", ""))
                coding = response.headers.get("Content-Encoding", "").strip().lower()
                for piece in _decoded(received(response, address), coding, address):
                    content += piece
                    if len(content) > longest:
                        raise AnswerTooLongError(f"{_place(address)} answers with more than {longest:,} bytes")
                    if self._clock() - begun > _LONGEST_S:
                        raise PassingError(f"{_place(address)}: no whole answer within {_LONGEST_S:.0f} s")
        except PassingError as error:
            self._check_wait(error.wait_s)
            raise PassingError(str(error).replace(address, _place(address)), error.wait_s) from error
        except (AnswerTooLongError, AskedToWaitError):
            raise
        except DownloadError as error:
            raise DownloadError(error.problem.replace(address, _place(address))) from error
        return bytes(content), asked

    def _refuse(self, code: str, words: str, asked: float) -> None:
        if code in _LATER or code.startswith("internal_api_error"):
            self._check_wait(asked)
            raise PassingError(f"{self.endpoint} asks to come again later ({code})", asked or float(MAXLAG_S))
        raise DownloadError(f"{self.endpoint} refuses the question: {code}: {words}")

    def _check_wait(self, asked: float) -> None:
        if asked > _LONGEST_S:
            raise AskedToWaitError(
                f"{self.endpoint} asks to come again in {asked:,.0f} s; run again then, what has come is kept"
            )

    def _keep_pace(self) -> None:
        now = self._clock()
        if now < self._next:
            self._wait(self._next - now)
            now = self._next
        self._next = now + self._interval_s


def check_user_agent(user_agent: str | None) -> str:
    """Return who asks, as given or as the environment says.

    Raises:
        UsageError: Nobody, or without a contact.
    """
    name = (user_agent or os.environ.get(USER_AGENT, "")).strip()
    if not name or ("@" not in name and "http" not in name) or not name.isprintable() or not name.isascii():
        raise UsageError(
            "the wiki's operators ask every program to say who runs it and how to reach them: give "
            f'--user-agent "NAME/1.0 (you@example.org)", or set {USER_AGENT}; nobody else is named in your place'
        )
    return name


def batches(values: Sequence[T], size: int, title_of: Callable[[T], str] | None = None) -> Iterator[Sequence[T]]:
    """Yield a list in parts of at most `size`; with `title_of`, also of few enough titles for an address.

    A title in another script than Latin takes nine bytes a letter there.
    """
    start = length = 0
    for end, value in enumerate(values):
        more = 0 if title_of is None else len(quote_plus(title_of(value), errors="replace")) + 3
        if end > start and (end - start == size or length + more > _LONGEST_TITLES):
            yield values[start:end]
            start, length = end, 0
        length += more
    if start < len(values):
        yield values[start:]


def is_askable(title: str) -> bool:
    """Tell whether a title can be asked for by its words: it says nothing else in a question.

    "|" and U+001F stand between titles, and what follows "#" is a part of a page: "C#" would be answered by "C".
    """
    return bool(title.strip()) and not _UNASKABLE.search(title) and len(title.encode()) <= _LONGEST_TITLE


def entities_of(answer: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the items of an answer of `wbgetentities`, by the ids under which they come."""
    found = answer.get("entities")
    items = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    return {item_id: item for item_id, item in items.items() if isinstance(item, dict)}


def asked_id(item_id: str, item: Mapping[str, Any]) -> str:
    """Return the id that an item was asked for by: one that was merged into another comes under that one's id."""
    redirects: Any = item.get("redirects")
    return str(redirects.get("from", item_id)) if isinstance(redirects, dict) else item_id


def _decoded(pieces: Iterator[bytes], coding: str, address: str) -> Iterator[bytes]:
    """Yield a body as it was before it was packed, in pieces that stay small whatever was packed.

    Raises:
        PassingError: It is damaged or cut off.
    """
    if coding not in ("gzip", "x-gzip"):
        yield from pieces
        return
    unpacker = zlib.decompressobj(wbits=31)
    try:
        for piece in pieces:
            while piece and not unpacker.eof:
                yield unpacker.decompress(piece, 2**16)
                piece = unpacker.unconsumed_tail
    except zlib.error as error:
        raise PassingError(f"{_place(address)}: the answer is damaged ({error})") from error
    while not unpacker.eof and (rest := unpacker.decompress(b"", 2**16)):
        yield rest
    if not unpacker.eof:
        raise PassingError(f"{_place(address)}: the answer is cut off")


def _place(address: str) -> str:
    """Return an address without the question."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _told(answer: Mapping[str, Any], *keys: str) -> Iterator[tuple[str, str]]:
    """Yield (code, words) of errors or warnings: a list, or as older wikis have them an object or one for each part."""
    for key in keys:
        value = answer.get(key)
        parts = value if isinstance(value, list) else [value] if key == "error" and isinstance(value, dict) else []
        if key == "warnings" and isinstance(value, dict):
            parts = list(cast("dict[str, Any]", value).values())
        for part in _list(parts):
            words = next((part[name] for name in ("text", "info", "warnings", "*") if part.get(name)), "")
            yield str(part.get("code", "")), str(words)[:_TOLD]


def _merge(page: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, list) and isinstance(page.get(key), list):
            page[key] = [*page[key], *cast("list[Any]", value)]
        elif isinstance(value, dict) and isinstance(page.get(key), dict):
            page[key] = {**page[key], **cast("dict[str, Any]", value)}
        else:
            page[key] = value


def _object(value: Any, what: str, endpoint: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DownloadError(f"{endpoint}: its {what} is no object; is this the address of an api.php?")
    return cast("dict[str, Any]", value)


def _list(value: Any) -> list[dict[str, Any]]:
    found = cast("list[Any]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", item) for item in found if isinstance(item, dict)]
