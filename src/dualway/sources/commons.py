"""Pictures of Wikimedia Commons: where a file is to be had, who made it, and under which licence."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from dualway.sources.mediawiki import INTERVAL_S, MediaWiki, batches, is_askable

COMMONS = "https://commons.wikimedia.org/w/api.php"
WIDTH = 960  # one of the widths that Wikimedia keeps ready (20, 40, 60, 120, 250, 330, 500, 960, 1280, 1920, 3840)

_FILES = 50  # a request, for those who are no bots; nor are more pictures scaled in one
_UPLOADS = "upload.wikimedia.org"
_PATH = re.compile(r"^(?:https?://[^/]+/wiki/)?Special:(?:FilePath|Redirect/file)/", re.IGNORECASE)
_PREFIX = re.compile(r"^\s*(?:file|image)\s*:", re.IGNORECASE)
_SHA1 = re.compile(r"[0-9a-f]{40}")
_LONGEST = 300  # characters of an author or a licence
_LONGEST_HTML = 20_000
_UNSPOKEN = {"script", "style"}


@dataclass(frozen=True, slots=True)
class CommonsFile:
    """A file as it can be had.

    `address`: of the picture, scaled down where it is wider than asked for. `mime`: of what is there. `is_original`:
    it is the file itself, whose bytes have `sha1`, and of which there are `num_bytes`; else `sha1` is still that of the
    file itself. `author`, `licence`, `licence_url`: in words, "" where not stated. `page`: its description page.
    """

    name: str
    address: str
    mime: str
    width: int
    height: int
    sha1: str
    num_bytes: int
    is_original: bool
    author: str
    licence: str
    licence_url: str
    page: str


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """The answer for one file name: the file, or why there is none. `name` is as it was asked for."""

    name: str
    file: CommonsFile | None = None
    problem: str = ""


class Commons:
    """The files of Wikimedia Commons, or of another MediaWiki, asked one request after the other.

    Args:
        user_agent: Who asks: see MediaWiki.
        endpoint: Of its API.
        width: Wider pictures come scaled down to about this width: the wiki gives the next one that it keeps ready.
        interval_s: Between the beginnings of two requests.
        wait: Sleeps.

    Raises:
        UsageError: No user agent, or one without a contact.
    """

    def __init__(
        self,
        user_agent: str | None = None,
        *,
        endpoint: str = COMMONS,
        width: int = WIDTH,
        interval_s: float = INTERVAL_S,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._wiki = MediaWiki(endpoint, user_agent, interval_s=interval_s, wait=wait)
        self._width = width
        self._hosts = {_UPLOADS, urlsplit(endpoint).hostname}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._wiki.close()

    def files(self, names: Sequence[str]) -> Iterator[FileAnswer]:
        """Yield one answer for each distinct name, in any order.

        Args:
            names: Of files, as "Adam Smith.jpg"; with "File:" before it, or as an address of `Special:FilePath`, too.

        Raises:
            DownloadError: The wiki refuses, or cannot be reached for too long.
        """
        asked: list[tuple[str, str]] = []
        for name in dict.fromkeys(names):
            title = f"File:{file_name(name)}"
            if is_askable(title) and file_name(name):
                asked.append((name, title))
            else:
                yield FileAnswer(name, problem="no possible name of a file")
        for part in batches(asked, _FILES, lambda pair: pair[1]):
            yield from self._ask(part)

    def content(self, file: CommonsFile, longest: int) -> bytes:
        """Return the bytes of a picture.

        Raises:
            AnswerTooLongError: There are more than `longest`.
            DownloadError: It cannot be had.
        """
        return self._wiki.content(file.address, longest)

    def _ask(self, asked: Sequence[tuple[str, str]]) -> Iterator[FileAnswer]:
        answer = self._wiki.query(
            not_further={"iistart"},
            titles="|".join(dict.fromkeys(title for _, title in asked)),
            prop="imageinfo",
            iiprop="url|size|mime|thumbmime|sha1|extmetadata",
            iiurlwidth=str(self._width),
            iiextmetadatafilter="LicenseShortName|LicenseUrl|UsageTerms|Artist|Credit",
            iiextmetadatalanguage="en",
            redirects="1",
        )
        normal = {str(step.get("from")): str(step.get("to")) for step in answer.get("normalized", [])}
        moved = {str(step.get("from")): str(step.get("to")) for step in answer.get("redirects", [])}
        pages = {str(page.get("title")): page for page in answer["pages"]}
        for name, title in asked:
            title = normal.get(title, title)
            yield self._answer(name, pages.get(moved.get(title, title), {}))

    def _answer(self, name: str, page: Mapping[str, Any]) -> FileAnswer:
        infos: Any = page.get("imageinfo")
        info: Any = infos[0] if isinstance(infos, list) and infos else None
        if not isinstance(info, dict):
            return FileAnswer(name, problem="no possible name of a file" if page.get("invalid") else "no such file")
        try:
            file = _file(name, info)
        except (KeyError, TypeError, ValueError):
            return FileAnswer(name, problem="hidden, or not described")
        if urlsplit(file.address).hostname not in self._hosts:
            return FileAnswer(name, problem="on another host")
        return FileAnswer(name, file)


def file_name(name: str) -> str:
    """Return the name of a file without what may stand before it: "File:", or the address of `Special:FilePath`."""
    text, is_address = _PATH.subn("", name.strip())
    text = unquote(text) if is_address else text
    return _PREFIX.sub("", text).replace("_", " ").strip()


def plain_words(html: str) -> str:
    """Return what a reader sees of a piece of HTML, on one line, at most 300 characters."""
    reader = _Words()
    reader.feed(html[:_LONGEST_HTML])
    reader.close()
    words = " ".join("".join(character if character.isprintable() else " " for character in reader.text).split())
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


class _Words(HTMLParser):
    """Collects the words between tags, but no scripts and styles and nothing that is not shown."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._within = 0  # elements that are not shown

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._within += tag in _UNSPOKEN
        if tag in ("br", "p", "div", "li", "td", "tr"):
            self.text += " "

    def handle_endtag(self, tag: str) -> None:
        self._within -= tag in _UNSPOKEN and self._within > 0

    def handle_data(self, data: str) -> None:
        if not self._within:
            self.text += data


def _file(name: str, info: dict[str, Any]) -> CommonsFile:
    """Return a file as `imageinfo` describes it.

    Raises:
        KeyError, TypeError, ValueError: It is hidden, or described otherwise.
    """
    original = _words(info["url"])
    scaled = info.get("thumburl") or original
    is_original = urlsplit(scaled)[:3] == urlsplit(original)[:3]
    sha1 = str(info["sha1"])
    if not _SHA1.fullmatch(sha1):
        raise ValueError("no sha1")
    about: Any = info.get("extmetadata")
    about = about if isinstance(about, dict) else {}
    return CommonsFile(
        name=name,
        address=original if is_original else _words(scaled),
        mime=_words(info["mime"] if is_original else info.get("thumbmime") or ""),
        width=int(info["width" if is_original else "thumbwidth"]),
        height=int(info["height" if is_original else "thumbheight"]),
        sha1=sha1,
        num_bytes=int(info["size"]),
        is_original=is_original,
        author=_stated(about, "Artist") or _stated(about, "Credit"),
        licence=_stated(about, "LicenseShortName") or _stated(about, "UsageTerms"),
        licence_url=_stated(about, "LicenseUrl"),
        page=_words(info["descriptionurl"]),
    )


def _words(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no words")
    return value


def _stated(about: Mapping[str, Any], key: str) -> str:
    entry: Any = about.get(key)
    value: Any = entry.get("value") if isinstance(entry, dict) else None
    return plain_words(value) if isinstance(value, str) else ""
