"""A host of one's own on this machine: files with ranges, statements of their figures, and every way to go wrong."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REVISION = "0123456789abcdef0123456789abcdef01234567"

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        if value:
            handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def whole(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """Answer as an honest host: the file, or the range that was asked for."""
    tag = f'"{sha256(content)[:16]}"'
    asked = handler.headers.get("Range", "")
    if asked.startswith("bytes=") and handler.headers.get("If-Range", tag) == tag:
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(content):
            send(handler, 416, b"", ETag=tag)
            return
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        send(handler, 206, content[start:], ETag=tag, Content_Range=span)
        return
    send(handler, 200, content, ETag=tag)


def status(code: int, **headers: str) -> Answer:
    return lambda handler, content: send(handler, code, b"no", **headers)


def redirect(place: str) -> Answer:
    return lambda handler, content: send(handler, 302, b"", Location=place)


def cut_after(num: int) -> Answer:
    """Promise the whole file, send `num` bytes of it, and hang up."""

    def answer(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        send(handler, 200, content[:num], Content_Length=str(len(content)), ETag=f'"{sha256(content)[:16]}"')
        handler.close_connection = True

    return answer


def other(body: bytes, **headers: str) -> Answer:
    """Answer with something else."""
    return lambda handler, content: send(handler, 200, body, **headers)


def endless(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """Send without an end and without a length."""
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"x" * 65536)
    except OSError:
        handler.close_connection = True


@dataclass
class Request:
    path: str
    range: str | None
    if_range: str | None


@dataclass
class Server:
    """`files` by path; `answers` by path: what to do at the first, second, .. request (then the honest answer)."""

    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def put(self, path: str, content: bytes, *answers: Answer) -> None:
        self.files[path] = content
        self.answers[path] = list(answers)

    def state_github(self, repository: str, files: dict[str, bytes], **changes: Any) -> None:
        tree = [
            {"path": path, "type": "blob", "size": len(content), "sha": git_sha1(content)}
            for path, content in files.items()
        ]
        body = {"sha": REVISION, "tree": tree, "truncated": False} | changes
        self.files[f"/api.github.com/repos/{repository}/git/trees/{REVISION}?recursive=1"] = json.dumps(body).encode()

    def state_hub(self, repository: str, files: dict[str, bytes], large: set[str], **changes: Any) -> None:
        siblings: list[dict[str, Any]] = []
        for path, content in files.items():
            record: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": git_sha1(content)}
            if path in large:
                record["blobId"] = "f" * 40  # of the pointer
                record["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(record)
        body = {"sha": REVISION, "siblings": siblings} | changes
        self.files[f"/huggingface.co/api/models/{repository}/revision/{REVISION}?blobs=true"] = json.dumps(
            body
        ).encode()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up are what the tests are about."""


def serve(server: Server) -> ThreadingHTTPServer:
    """Start answering in a thread, and set the server's address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.requests.append(Request(self.path, self.headers.get("Range"), self.headers.get("If-Range")))
            answers = server.answers.get(self.path, [])
            answer = answers.pop(0) if answers else whole
            content = server.files.get(self.path)
            try:
                if content is None and answer is whole:
                    send(self, 404, b"not here")
                else:
                    answer(self, content or b"")
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    httpd = _QuietServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return httpd
