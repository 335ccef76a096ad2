from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from dualway.downloads.catalogue import CATALOGUE, Entry, Host, RemoteFile

from .server import REVISION, Server, serve, sha256

MakeEntry = Callable[..., Entry]


@pytest.fixture(autouse=True)
def _network_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    httpd = serve(server)
    yield server
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def make_entry(server: Server, monkeypatch: pytest.MonkeyPatch) -> MakeEntry:
    """Put an entry into the catalogue whose files the server has; `known`: their figures stand in the catalogue."""

    def make(
        name: str, files: dict[str, bytes], *answers, host: Host = Host.GITHUB, known: bool = True, unpack: bool = False
    ) -> Entry:
        remote = tuple(
            RemoteFile(f"data/{path}", path, len(content), sha256(content), unpack)
            if known
            else RemoteFile(f"data/{path}", path, unpack=unpack)
            for path, content in files.items()
        )
        entry = Entry(name, "data set", "A test.", host, f"owner/{name}", REVISION, remote, "CC0", "nobody", "none", "")
        monkeypatch.setitem(CATALOGUE, name, entry)
        for file in remote:
            server.put("/" + entry.address(file).removeprefix("https://"), files[file.path], *answers)
        return entry

    return make
