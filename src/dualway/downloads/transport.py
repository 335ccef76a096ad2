"""Asks hosts for files: https only, few redirects, bounded answers, and a clear word for whatever goes wrong."""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Self, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx2

from dualway import __version__
from dualway.errors import DownloadError

_MAX_REDIRECTS = 5
_MAX_STATEMENT = 8 * 2**20  # bytes of what a host states of a commit's files
_ATTEMPTS = 5
_LONGEST_WAIT_S = 60.0
_TIMEOUT = httpx2.Timeout(30.0, connect=10.0)
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_REDIRECTS = {301, 302, 303, 307, 308}
_PASSING = {408, 425, 429}  # as all from 500 on: the same question may be answered later

T = TypeVar("T")


class PassingError(Exception):
    """Something that may go well at the next attempt. wait_s: what the host asked for, 0 when it did not."""

    def __init__(self, problem: str, wait_s: float = 0.0) -> None:
        super().__init__(problem)
        self.wait_s = wait_s


def is_switched_off() -> bool:
    """Tell whether the user has forbidden the network (HF_HUB_OFFLINE)."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in {"1", "ON", "YES", "TRUE"}


def is_loopback(address: str) -> bool:
    """Tell whether an address names this machine by plain http."""
    parts = urlsplit(address)
    return parts.scheme == "http" and parts.hostname in _LOOPBACK


class Web:
    """A connection to hosts, for one plan.

    Args:
        local: Plain http to this machine is allowed (a mirror on it); all else is https in any case.
        wait: Sleeps; between attempts 1, 2, 4, .. seconds, or as long as the host asks for.
        longest_wait_s: No wait is longer, whatever the host asks for.
    """

    def __init__(
        self,
        *,
        local: bool = False,
        wait: Callable[[float], object] = time.sleep,
        longest_wait_s: float = _LONGEST_WAIT_S,
    ) -> None:
        self._local, self._wait, self._longest_wait_s = local, wait, longest_wait_s
        self._client = _make_client(proxies=not local)  # none stands before this machine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def patiently(self, action: Callable[[], T]) -> T:
        """Return what `action` returns, tried again while it fails in passing.

        Raises:
            DownloadError: It failed for good, or too often.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return action()
            except PassingError as error:
                if attempt + 1 == _ATTEMPTS:
                    raise DownloadError(f"{error} ({_ATTEMPTS} attempts); what has come is kept") from error
                self._wait(min(error.wait_s or 2.0**attempt, self._longest_wait_s))
        raise AssertionError("unreachable")

    def json(self, address: str) -> Any:
        """Return a JSON answer.

        Raises:
            DownloadError: It cannot be had, is too long, or is not JSON.
        """
        content = self.patiently(lambda: self._read_all(address))
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DownloadError(f"{address} does not answer with JSON") from error

    def _read_all(self, address: str) -> bytes:
        content = bytearray()
        with self.get(address) as response:
            for chunk in received(response, address):
                content += chunk
                if len(content) > _MAX_STATEMENT:
                    raise DownloadError(f"{address} answers with more than {_MAX_STATEMENT:,} bytes")
        return bytes(content)

    @contextmanager
    def get(self, address: str, headers: Mapping[str, str] | None = None) -> Generator[httpx2.Response]:
        """Yield the answer (200, 206 or 416) with its body still to come; redirects are followed where they may lead.

        Raises:
            DownloadError: No network, a forbidden address, any other answer.
            PassingError: Worth another attempt.
        """
        if is_switched_off():
            raise DownloadError("the network is switched off (HF_HUB_OFFLINE)")
        for _ in range(_MAX_REDIRECTS + 1):
            self._check(address)
            with _network_errors(address):
                response = self._client.send(
                    self._client.build_request("GET", address, headers=dict(headers or {})), stream=True
                )
            try:
                if response.status_code not in _REDIRECTS:
                    _check_status(response, address)
                    yield response
                    return
                address = urljoin(address, response.headers.get("Location", ""))
            finally:
                response.close()
        raise DownloadError(f"more than {_MAX_REDIRECTS} redirects, the last to {address}")

    def _check(self, address: str) -> None:
        """Refuse an address that is neither https nor, where that is allowed, this machine's."""
        try:
            parts = urlsplit(address)
            allowed = (parts.scheme == "https" and bool(parts.hostname)) or (self._local and is_loopback(address))
        except ValueError:
            allowed = False
        if not allowed:
            raise DownloadError(f"{address}: not an https address, so it is not fetched")


def _make_client(*, proxies: bool) -> httpx2.Client:
    headers = {"User-Agent": f"dualway/{__version__}", "Accept-Encoding": "identity"}
    try:
        return httpx2.Client(timeout=_TIMEOUT, trust_env=proxies, headers=headers)
    except (ImportError, OSError, ValueError) as error:
        raise DownloadError(f"the environment's proxy or certificates cannot be used ({error})") from error


def received(response: httpx2.Response, address: str) -> Generator[bytes]:
    """Yield the pieces of a body as they were sent.

    Raises:
        PassingError: The connection broke.
    """
    with _network_errors(address):
        yield from response.iter_raw()  # as they come: a size would hold pieces back that a broken connection loses


@contextmanager
def _network_errors(address: str) -> Generator[None]:
    """Say what went wrong on the network, and whether to try again."""
    host = urlsplit(address).hostname
    try:
        yield
    except (httpx2.TimeoutException, httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError) as error:
        raise PassingError(f"{host}: the connection broke ({type(error).__name__})") from error
    except httpx2.ConnectError as error:
        if isinstance(error.__cause__ or error.__context__, ssl.SSLError) or "CERTIFICATE" in str(error):
            raise DownloadError(f"{host}: no trusted connection ({error})") from error
        raise DownloadError(f"{host} cannot be reached ({error})") from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise DownloadError(f"{address}: {error or type(error).__name__}") from error


def _check_status(response: httpx2.Response, address: str) -> None:
    status = response.status_code
    if status in _PASSING or status >= 500:
        raise PassingError(f"{address}: the host answers {status}", _asked_wait(response))
    if status not in {200, 206, 416}:
        raise DownloadError(f"{address}: the host answers {status} {response.reason_phrase}".rstrip())


def _asked_wait(response: httpx2.Response) -> float:
    return wait_of(response.headers.get("Retry-After", ""))


def wait_of(header: str) -> float:
    """Return the seconds that a Retry-After header asks for, given as a number or as a date; 0 when it does not."""
    text = header.strip()
    if text.isascii() and text.isdigit() and len(text) < 6:
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0) if text else 0.0
    except (ValueError, TypeError, OverflowError):
        return 0.0
