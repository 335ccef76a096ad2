"""A MediaWiki on this machine, answering in the real API's shapes: continuation, redirects, lag, limits, faults.

Pages, items of a Wikibase, and files with their uploads; what the answers look like is that of formatversion=2 with
errorformat=plaintext, or of an older wiki (`old`).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

LAG = "Waiting for 10.64.16.7: 6.8 seconds lagged."
INVALID = {"invalidreason": "The requested page title contains invalid characters", "invalid": True}
API_ERRORS = ("maxlag", "ratelimited", "badvalue", "internal_api_error_DBQueryError")


@dataclass
class Wiki:
    """What the wiki holds, what goes wrong in turn, and what it was asked.

    faults: one is used up by each request before it is answered: "maxlag", "ratelimited", "badvalue" (errors of the
    API), "429", "503" or another status (with Retry-After where `retry_after` is set), "cut", "html", "huge", "bomb",
    "gzip cut", "stall", "drip".
    per_answer: extracts in one answer; the others come when the question is continued.
    """

    pages: dict[str, dict[str, Any]] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    knows: tuple[str, ...] = ("extracts", "revisions", "pageprops", "imageinfo")
    per_answer: int = 2
    faults: list[str] = field(default_factory=list)
    retry_after: str = "11"
    old: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    longest_address: int = 0
    address: str = ""
    upload_delay_s: float = 0.0

    def add_file(self, name: str, content: bytes, mime: str, width: int, height: int, **more: Any) -> None:
        """Let the wiki have a file, with its upload; `thumb`: (bytes, mime, width, height) of it scaled down."""
        place = f"/upload/{quote(name.replace(' ', '_'), safe='')}"
        self.uploads[unquote(place)] = content
        info = {
            "size": len(content),
            "width": width,
            "height": height,
            "url": place,
            "descriptionurl": f"https://commons.wikimedia.org/wiki/File:{quote(name.replace(' ', '_'), safe='')}",
            "sha1": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
            "mime": mime,
            "extmetadata": {
                "LicenseShortName": {"value": "CC BY-SA 4.0", "source": "commons-desc-page", "hidden": ""},
                "Artist": {"value": '<a href="//x.example/">Jane <b>Doe</b></a>', "source": "commons-desc-page"},
                "LicenseUrl": {"value": "https://creativecommons.org/licenses/by-sa/4.0", "source": "x"},
            },
        }
        if "thumb" in more:
            data, thumbmime, thumbwidth, thumbheight = more.pop("thumb")
            info |= {"thumburl": f"/upload/thumb/{quote(name, safe='')}?utm_source=x", "thumbmime": thumbmime}
            info |= {"thumbwidth": thumbwidth, "thumbheight": thumbheight}
            self.uploads[f"/upload/thumb/{name}"] = data
        else:
            info |= {"thumburl": place, "thumbwidth": width, "thumbheight": height, "thumbmime": mime}
        self.files[name] = {**info, **more}

    def answer(self, values: dict[str, str]) -> dict[str, Any]:
        """Return the answer to a question without faults."""
        if values.get("action") == "wbgetentities":
            return self._items(values)
        titles = values["titles"].split("|")
        props = [prop for prop in values["prop"].split("|") if prop in self.knows]
        normalized = [{"fromencoded": False, "from": t, "to": normal(t)} for t in titles if normal(t) != t]
        led = {normal(t): self.redirects[normal(t)] for t in titles if normal(t) in self.redirects}
        wanted = list(dict.fromkeys(led.get(normal(t), normal(t)).partition("#")[0] for t in titles))
        elsewhere = [t for t in wanted if t.startswith("de:")]
        wanted = [t for t in wanted if t not in elsewhere]
        start, done = int(values.get("excontinue", 0)), "excontinue" in values
        end = start + self.per_answer
        # What was answered in full is not answered again when the question is continued ("||revisions|pageprops").
        now = {"extracts"} if done else set(props)
        query: dict[str, Any] = {
            "pages": [self._page(t, now & set(props), start <= n < end) for n, t in enumerate(wanted)]
        }
        answer: dict[str, Any] = {"query": query}
        if normalized:
            query["normalized"] = normalized
        if led:
            query["redirects"] = [redirect(a, b) for a, b in led.items()]
        if elsewhere:
            query["interwiki"] = [{"title": t, "iw": "de"} for t in elsewhere]
        if "extracts" in props and end < len(wanted):
            answer["continue"] = {"excontinue": end, "continue": "||revisions|pageprops"}
        elif "imageinfo" in props and len(titles) == 1 and self.files.get(titles[0].partition(":")[2], {}).get("older"):
            answer["continue"] = {"iistart": "2009-09-30T06:04:51Z", "continue": "||"}
        else:
            answer["batchcomplete"] = True
        unknown = [prop for prop in values["prop"].split("|") if prop not in self.knows]
        if unknown:
            answer["warnings"] = self._warnings(
                "unrecognizedvalues", "query", f'Unrecognized value for parameter "prop": {unknown[0]}.'
            )
        elif int(values.get("exlimit", 1)) > 20:
            answer["warnings"] = self._warnings("exlimit", "extracts", '"exlimit" was too large.')
        return answer

    def _warnings(self, code: str, module: str, words: str) -> Any:
        return {module: {"warnings": words}} if self.old else [{"code": code, "text": words, "module": module}]

    def error(self, code: str) -> dict[str, Any]:
        if self.old:
            return {"error": {"code": code, "info": LAG, "host": "10.64.16.7", "lag": 6.8, "type": "db"}}
        return {"errors": [{"code": code, "text": LAG, "data": {"lag": 6.8}, "module": "main"}], "docref": "See .."}

    def _page(self, title: str, props: set[str], with_extract: bool) -> dict[str, Any]:
        if "[" in title:
            return {"title": title, **INVALID}
        if title.startswith("File:"):
            return self._file(title)
        page = self.pages.get(title)
        if page is None:
            return {"ns": 0, "title": title, "missing": True}
        found = {"pageid": page["id"], "ns": page.get("ns", 0), "title": title}
        if "revisions" in props:
            found["revisions"] = [{"revid": page["rev"], "parentid": 1, "timestamp": "2026-01-01T00:00:00Z"}]
        if "pageprops" in props and page.get("disambiguation"):
            found["pageprops"] = {"disambiguation": ""}
        if "extracts" in props and with_extract:
            found["extract"] = page["text"]
        return found

    def _file(self, title: str) -> dict[str, Any]:
        info = self.files.get(title.removeprefix("File:"))
        if info is None:
            return {"ns": 6, "title": title, "missing": True, "imagerepository": ""}
        host = self.address.removesuffix("/w/api.php")
        whole = {k: f"{host}{v}" if k in ("url", "thumburl") and str(v).startswith("/") else v for k, v in info.items()}
        whole.pop("older", None)
        return {"pageid": 1, "ns": 6, "title": title, "imagerepository": "local", "imageinfo": [whole]}

    def _items(self, values: dict[str, str]) -> dict[str, Any]:
        ids = values["ids"].split("|")
        if len(ids) > 50:
            return self.error("toomanyvalues")
        if any(not asked[1:].isdigit() for asked in ids):
            return self.error("no-such-entity")
        return {"entities": {asked: self._item(asked, values) for asked in ids}, "success": 1}

    def _item(self, asked: str, values: dict[str, str]) -> dict[str, Any]:
        item = self.items.get(asked)
        if item is None:
            return {"id": asked, "missing": ""}
        item = {"type": "item", "id": item.get("id", asked), **item}
        if values.get("props") == "labels":
            item = {key: item[key] for key in ("type", "id", "labels", "redirects") if key in item}
        if "languages" in values and isinstance(item.get("labels"), dict):
            chosen = values["languages"].split("|")
            item["labels"] = {k: v for k, v in item["labels"].items() if k in chosen}
        return item


def normal(title: str) -> str:
    words = " ".join(title.replace("_", " ").split())
    if words.startswith("File:"):
        return f"File:{normal(words[5:])}"
    return words if words.startswith("de:") else words[:1].upper() + words[1:]


def redirect(place: str, to: str) -> dict[str, Any]:
    page, _, part = to.partition("#")
    return {"from": place, "to": page, **({"tofragment": part} if part else {})}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, wiki: Wiki) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.wiki, self.stopped = wiki, threading.Event()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        parts, wiki = urlsplit(self.path), self.server.wiki
        wiki.agents.append(self.headers.get("User-Agent", ""))
        wiki.longest_address = max(wiki.longest_address, len(self.path))
        fault = wiki.faults.pop(0) if wiki.faults else ""
        if parts.path.startswith("/upload/"):
            wiki.fetched.append(unquote(parts.path))
            self.server.stopped.wait(wiki.upload_delay_s)
            body = wiki.uploads.get(unquote(parts.path))
            self._send(fault or ("404" if body is None else ""), body or b"", "application/octet-stream")
        elif parts.path == "/moved/api.php":
            self._reply(301, {"Location": f"{wiki.address}?{parts.query}"}, b"", "")
        else:
            self._answer(fault, {key: value[0] for key, value in parse_qs(parts.query).items()})

    def _answer(self, fault: str, values: dict[str, str]) -> None:
        wiki = self.server.wiki
        wiki.asked.append(values)
        mime = "application/json; charset=utf-8"
        if fault in API_ERRORS:
            self._reply(200, {"Content-Type": mime, "Retry-After": "7"}, json.dumps(wiki.error(fault)).encode(), "")
        else:
            self._send(fault, json.dumps(wiki.answer(values)).encode(), mime)

    def _send(self, fault: str, body: bytes, mime: str) -> None:
        status, headers = 200, {"Content-Type": mime}
        if fault.isdigit():
            status, body = int(fault), b"<html>too many requests</html>"
            headers |= {"Retry-After": self.server.wiki.retry_after} if self.server.wiki.retry_after else {}
        elif fault == "html":
            body = b"<!DOCTYPE html><html>Our servers are having a problem</html>"
        elif fault == "huge":
            body += b" " * 2**20
        elif fault == "bomb":
            headers["Content-Encoding"], body = "gzip", gzip.compress(b" " * 2**27)
        elif fault in ("", "gzip cut") and "gzip" in self.headers.get("Accept-Encoding", "") and "json" in mime:
            headers["Content-Encoding"], body = "gzip", gzip.compress(body)
            body = body[:-4] if fault else body  # all words are there, but not their sum
        self._reply(status, headers, body, fault)

    def _reply(self, status: int, headers: dict[str, str], body: bytes, fault: str) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if fault == "stall":
            self.wfile.write(body[:10])
            self.server.stopped.wait(5)
        elif fault == "drip":
            for place in range(0, len(body), 10):
                self.wfile.write(body[place : place + 10])
                self.wfile.flush()
                time.sleep(0.002)
        else:
            self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
        self.close_connection = fault in ("cut", "stall")

    def handle(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # whoever asked has heard enough
            super().handle()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(wiki: Wiki) -> Iterator[Wiki]:
    """Let a wiki answer on this machine while the block runs."""
    server = _Server(wiki)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    wiki.address = f"http://127.0.0.1:{server.server_address[1]}/w/api.php"
    try:
        yield wiki
    finally:
        server.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()
