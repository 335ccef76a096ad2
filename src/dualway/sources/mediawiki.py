"""Asks the API of a MediaWiki, politely: one request at a time, at a steady pace, with a name to write to.

What its operators ask of programs (mediawiki.org, "API:Etiquette"): a User-Agent with a contact, requests one after the
other, many titles in one, `maxlag`, and waiting as long as an answer says.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Self, TypeVar, cast
from urllib.parse import urlencode

from dualway.downloads.transport import PassingError, Web, is_loopback, received
from dualway.errors import DownloadError, UsageError

USER_AGENT = "DUALWAY_USER_AGENT"
MAXLAG_S = 5
INTERVAL_S = 1.0  # between the beginnings of two requests

_LONGEST = 16 * 2**20  # bytes of an answer
_MAX_TURNS = 500  # answers that one question may be continued over
_LATER = {"maxlag", "ratelimited", "readonly", "timeout"}  # errors that pass

T = TypeVar("T")


class MediaWiki:
    """The API of one wiki.

    Args:
        endpoint: Its address, such as https://en.wikipedia.org/w/api.php; plain http only to this machine.
        user_agent: Who asks, with an address or a page to write to; by default the environment's DUALWAY_USER_AGENT.
        interval_s: Between the beginnings of two requests.
        wait: Sleeps.
        clock: Tells the time in seconds.

    Raises:
        UsageError: No user agent, or one without a contact.
    """

    def __init__(
        self,
        endpoint: str,
        user_agent: str | None = None,
        *,
        interval_s: float = INTERVAL_S,
        wait: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint, self._user_agent = endpoint, check_user_agent(user_agent)
        self._interval_s, self._wait, self._clock = interval_s, wait, clock
        self._next = 0.0
        self._web = Web(local=is_loopback(endpoint), wait=wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._web.__exit__()

    def query(self, **parameters: str) -> dict[str, Any]:
        """Return the whole `query` of a question, over as many answers as it takes.

        A page's values may come in several of them: lists are joined, the others taken as they come.

        Raises:
            DownloadError: The wiki refuses the question, or cannot be reached.
        """
        merged: dict[str, Any] = {}
        pages: dict[Any, dict[str, Any]] = {}
        for answer in self._answers(action="query", **parameters):
            found = _object(answer.get("query", {}), "query", self.endpoint)
            for page in _list(found.get("pages", [])):
                _merge(pages.setdefault(page.get("title"), {}), page)
            for key in ("normalized", "redirects", "interwiki"):
                merged.setdefault(key, []).extend(_list(found.get(key, [])))
        return {**merged, "pages": list(pages.values())}

    def ask(self, **parameters: str) -> dict[str, Any]:
        """Return one answer.

        Raises:
            DownloadError: The wiki refuses the question, or cannot be reached.
        """
        values = {"format": "json", "formatversion": "2", "maxlag": str(MAXLAG_S), **parameters}
        address = f"{self.endpoint}?{urlencode(sorted(values.items()))}"
        return self._web.patiently(lambda: self._read(address))

    def _answers(self, **parameters: str) -> Iterator[dict[str, Any]]:
        going_on: Mapping[str, str] = {}
        for _ in range(_MAX_TURNS):
            answer = self.ask(**{**parameters, **going_on})
            yield answer
            if "continue" not in answer:
                return
            values = _object(answer["continue"], "continue", self.endpoint)
            if values == going_on:
                break
            going_on = {key: str(value) for key, value in values.items()}
        raise DownloadError(f"{self.endpoint}: goes on without end; what has come is kept")

    def _read(self, address: str) -> dict[str, Any]:
        """Ask once.

        Raises:
            PassingError: Worth another attempt.
        """
        self._keep_pace()
        content = bytearray()
        with self._web.get(address, {"User-Agent": self._user_agent}) as response:
            asked = wait_of(response.headers.get("Retry-After", ""))
            for piece in received(response, self.endpoint):
                content += piece
                if len(content) > _LONGEST:
                    raise DownloadError(f"{self.endpoint} answers with more than {_LONGEST:,} bytes")
        try:
            answer: Any = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise PassingError(f"{self.endpoint} answers with something that is not JSON, or cut off") from error
        values = _object(answer, "answer", self.endpoint)
        if "error" in values:
            self._refuse(_object(values["error"], "error", self.endpoint), asked)
        return values

    def _refuse(self, error: dict[str, Any], asked: float) -> None:
        code, words = str(error.get("code", "")), str(error.get("info", ""))
        if code in _LATER or code.startswith("internal_api_error"):
            raise PassingError(f"{self.endpoint} asks to come again later ({code})", asked or float(MAXLAG_S))
        raise DownloadError(f"{self.endpoint} refuses the question: {code}: {words[:300]}")

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


def batches(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield a list in parts of at most `size`."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def wait_of(header: str) -> float:
    """Return the seconds that a Retry-After header asks for, given as a number or as a date; 0 when it does not."""
    text = header.strip()
    if text.isascii() and text.isdigit() and len(text) < 6:
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0) if text else 0.0
    except (ValueError, TypeError, OverflowError):
        return 0.0


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
