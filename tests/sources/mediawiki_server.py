"""A MediaWiki on this machine, answering in the real API's shapes: continuation, redirects, lag, limits, faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Wiki:
    """What the wiki holds, what goes wrong in turn, and what it was asked.

    faults: one is used up by each request before it is answered: "maxlag", "429", "503", "cut", "html", "ratelimited".
    per_answer: extracts in one answer; the others come when the question is continued.
    """

    pages: dict[str, dict[str, Any]] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    per_answer: int = 2
    faults: list[str] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, values: dict[str, str]) -> dict[str, Any]:
        """Return the answer to a question without faults."""
        if values.get("action") == "wbgetentities":
            return {"entities": {asked: self._item(asked) for asked in values["ids"].split("|")}, "success": 1}
        titles = values["titles"].split("|")
        normalized = [{"fromencoded": False, "from": t, "to": normal(t)} for t in titles if normal(t) != t]
        led = {normal(t): self.redirects[normal(t)] for t in titles if normal(t) in self.redirects}
        wanted = list(dict.fromkeys(led.get(normal(t), normal(t)) for t in titles))
        start = int(values.get("excontinue", 0))
        end = start + self.per_answer
        answer: dict[str, Any] = {
            "query": {"pages": [self._page(t, values, start <= n < end) for n, t in enumerate(wanted)]}
        }
        if normalized:
            answer["query"]["normalized"] = normalized
        if led:
            answer["query"]["redirects"] = [{"from": a, "to": b} for a, b in led.items()]
        if "extracts" in values["prop"] and end < len(wanted):
            answer["continue"] = {"excontinue": end, "continue": "||revisions|pageprops"}
        else:
            answer["batchcomplete"] = True
        return answer

    def _page(self, title: str, values: dict[str, str], with_extract: bool) -> dict[str, Any]:
        if "[" in title:
            return {
                "title": title,
                "invalidreason": "The requested page title contains invalid characters",
                "invalid": True,
            }
        page = self.pages.get(title)
        if page is None:
            return {"ns": 0, "title": title, "missing": True}
        found = {"pageid": page["id"], "ns": 0, "title": title}
        found["revisions"] = [{"revid": page["rev"], "parentid": 1, "timestamp": "2026-01-01T00:00:00Z"}]
        if page.get("disambiguation"):
            found["pageprops"] = {"disambiguation": ""}
        if "extracts" in values["prop"] and with_extract:
            found["extract"] = page["text"]
        return found

    def _item(self, asked: str) -> dict[str, Any]:
        item = self.items.get(asked)
        if item is None:
            return {"id": asked, "missing": ""}
        return {"type": "item", "id": item.get("id", asked), **item}


def normal(title: str) -> str:
    words = title.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


@contextmanager
def serving(wiki: Wiki) -> Iterator[Wiki]:
    """Let a wiki answer on this machine while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            values = {key: value[0] for key, value in parse_qs(urlsplit(self.path).query).items()}
            wiki.asked.append(values)
            wiki.agents.append(self.headers.get("User-Agent", ""))
            fault = wiki.faults.pop(0) if wiki.faults else ""
            body = json.dumps(wiki.answer(values)).encode()
            headers = {"Content-Type": "application/json; charset=utf-8"}
            status = 200
            if fault in ("maxlag", "ratelimited", "badvalue"):
                body = json.dumps(
                    {"error": {"code": fault, "info": "Waiting for 10.64.16.7: 6.8 seconds lagged."}}
                ).encode()
                headers["Retry-After"] = "7"
            elif fault in ("429", "503"):
                status, body = int(fault), b"<html>too many requests</html>"
                headers["Retry-After"] = "11"
            elif fault == "html":
                body = b"<!DOCTYPE html><html>Our servers are having a problem</html>"
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
            self.close_connection = fault == "cut"

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    wiki.address = f"http://127.0.0.1:{server.server_address[1]}/w/api.php"
    try:
        yield wiki
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
