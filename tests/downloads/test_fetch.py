"""Fetching from a host that is honest, broken, slow to come round, or hostile."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dualway.downloads import Plan, fetch_plan, plan
from dualway.downloads.catalogue import Host, RemoteFile
from dualway.errors import DownloadError, StorageError

from .server import cut_after, endless, other, redirect, send, sha256, status

CONTENT = random.Random(7).randbytes(1_500_000)
NAME = "data.json"
PATH = f"/raw.githubusercontent.com/owner/mine/0123456789abcdef0123456789abcdef01234567/data/{NAME}"


def fetch(server, folder: Path, name: str = "mine", **options) -> dict[str, Path]:
    ready = plan([name], folder=folder, base_url=server.url)
    return fetch_plan(ready, folder, wait=lambda seconds: None, **options)


def refused(server, folder: Path, *words: str, leaves: bool = False) -> str:
    """Check that fetching fails with one sentence that names the way by hand, and that no file gets its name."""
    with pytest.raises(DownloadError) as caught:
        fetch(server, folder)
    message = str(caught.value)
    for word in ("mine: ", *words, f"by hand, into {folder / 'mine'} (docs/downloads.md)"):
        assert word in message
    assert "\n" not in message
    assert not (folder / "mine" / NAME).exists()
    assert not (folder / "mine.lock.json").exists()
    if not leaves:
        assert not [path for path in folder.rglob("*") if path.is_file()]
    return message


class TestAnHonestHost:
    def test_a_file_gets_its_name_and_a_lock_beside_the_folder(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT, "inside/b.txt": b"b"})
        seen: list[tuple[int, int, str]] = []
        paths = fetch(server, tmp_path, progress=lambda *state: seen.append(state))
        assert paths == {"mine": tmp_path / "mine"}
        assert (tmp_path / "mine" / NAME).read_bytes() == CONTENT
        assert (tmp_path / "mine" / "inside" / "b.txt").read_bytes() == b"b"
        assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["b.txt", NAME, "mine.lock.json"]
        assert seen[-1] == (len(CONTENT) + 1, len(CONTENT) + 1, "inside/b.txt")
        assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
        lock = json.loads((tmp_path / "mine.lock.json").read_text())
        assert lock["files"][NAME] == {"bytes": len(CONTENT), "sha256": sha256(CONTENT)}

    def test_what_is_there_is_not_fetched_again(self, server, make_entry, tmp_path, monkeypatch):
        make_entry("mine", {NAME: CONTENT})
        fetch(server, tmp_path)
        asked = len(server.requests)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # so it works without a network
        fetch(server, tmp_path)
        assert len(server.requests) == asked

    def test_files_put_there_by_hand_are_taken_when_they_are_right(self, server, make_entry, tmp_path, monkeypatch):
        make_entry("mine", {NAME: CONTENT})
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / NAME).write_bytes(CONTENT)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        fetch(server, tmp_path)
        assert (tmp_path / "mine.lock.json").exists()
        assert server.requests == []

    def test_what_is_there_and_is_wrong_is_never_replaced(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT})
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / NAME).write_bytes(b"my own notes")
        with pytest.raises(DownloadError, match="is there and is another file"):
            fetch(server, tmp_path)
        assert (tmp_path / "mine" / NAME).read_bytes() == b"my own notes"

    def test_an_empty_file(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: b""})
        assert (fetch(server, tmp_path)["mine"] / NAME).read_bytes() == b""

    def test_a_redirect_within_the_allowed(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT}, redirect("/elsewhere?signed=1"))
        server.put("/elsewhere?signed=1", CONTENT)
        fetch(server, tmp_path)
        assert [request.path for request in server.requests] == [PATH, "/elsewhere?signed=1"]


class TestGoingOn:
    def test_a_broken_connection_goes_on_where_it_was(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT}, cut_after(600_000))
        fetch(server, tmp_path)
        first, second = server.requests
        assert (first.range, second.range) == (None, "bytes=600000-")
        assert second.if_range == f'"{sha256(CONTENT)[:16]}"'
        assert (tmp_path / "mine" / NAME).read_bytes() == CONTENT

    def test_a_killed_download_goes_on_where_it_was(self, server, make_entry, tmp_path):
        """A process of its own is killed with SIGKILL in the middle of the body; the first bytes are not sent again."""
        half = len(CONTENT) // 2

        def hang(handler, content):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(content)))
            handler.send_header("ETag", f'"{sha256(content)[:16]}"')
            handler.end_headers()
            handler.wfile.write(content[:half])
            handler.wfile.flush()
            time.sleep(20)

        entry = make_entry("mine", {NAME: CONTENT}, hang)
        code = (
            "import sys; from pathlib import Path; from dualway.downloads import catalogue, fetch_plan, plan\n"
            "from dualway.downloads.catalogue import Entry, Host, RemoteFile\n"
            f"catalogue.CATALOGUE['mine'] = {entry!r}\n".replace(repr(entry.host), "Host.GITHUB")
            + f"fetch_plan(plan(['mine'], base_url={server.url!r}), Path({str(tmp_path)!r}))"
        )
        process = subprocess.Popen([sys.executable, "-c", code])
        part = tmp_path / "mine" / f"{NAME}.part"
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size > 0) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kept = part.stat().st_size
        assert 0 < kept <= half
        fetch(server, tmp_path)
        assert [request.range for request in server.requests] == [None, f"bytes={kept}-"]
        assert (tmp_path / "mine" / NAME).read_bytes() == CONTENT
        assert not list(tmp_path.rglob("*.part*"))

    def test_a_finished_part_only_needs_its_name(self, server, make_entry, tmp_path):
        """Killed between the last byte and the renaming."""
        make_entry("mine", {NAME: CONTENT}, cut_after(600_000))
        ready = plan(["mine"], base_url=server.url)
        with pytest.raises(KeyboardInterrupt):
            fetch_plan(ready, tmp_path, wait=interrupt)
        (tmp_path / "mine" / f"{NAME}.part").write_bytes(CONTENT)
        fetch(server, tmp_path)
        assert len(server.requests) == 1

    def test_a_host_without_ranges_starts_over(self, server, make_entry, tmp_path):
        def ignore_range(handler, content):
            send(handler, 200, content)

        make_entry("mine", {NAME: CONTENT}, cut_after(600_000), ignore_range)
        fetch(server, tmp_path)
        assert (tmp_path / "mine" / NAME).read_bytes() == CONTENT

    def test_a_file_that_has_changed_meanwhile_is_fetched_from_the_start(self, server, make_entry, tmp_path):
        """If-Range names the first answer's tag; the host then sends all."""
        make_entry("mine", {NAME: CONTENT}, cut_after(600_000))
        with pytest.raises(KeyboardInterrupt):
            fetch_plan(plan(["mine"], base_url=server.url), tmp_path, wait=interrupt)
        origin = tmp_path / "mine" / f"{NAME}.part-origin"
        origin.write_text(origin.read_text().replace(sha256(CONTENT)[:16], "an older tag"))
        fetch(server, tmp_path)
        assert server.requests[-1].if_range == '"an older tag"'
        assert (tmp_path / "mine" / NAME).read_bytes() == CONTENT

    def test_a_host_that_sends_another_tag_with_the_rest_is_not_believed(self, server, make_entry, tmp_path):
        def rest_of_another(handler, content):
            span = f"bytes 600000-{len(content) - 1}/{len(content)}"
            send(handler, 206, bytes(len(content) - 600_000), ETag='"new"', Content_Range=span)

        make_entry("mine", {NAME: CONTENT}, cut_after(600_000), rest_of_another)
        fetch(server, tmp_path)
        assert [request.range for request in server.requests] == [None, "bytes=600000-", None]

    @pytest.mark.parametrize("span", ["bytes 5-1499999/1500000", "bytes 600000-1499999/9", "words", ""])
    def test_another_part_than_was_asked_for(self, server, make_entry, tmp_path, span):
        def wrong(handler, content):
            send(handler, 206, content[600_000:], ETag=f'"{sha256(content)[:16]}"', Content_Range=span)

        make_entry("mine", {NAME: CONTENT}, cut_after(600_000), wrong)
        fetch(server, tmp_path)
        assert server.requests[-1].range is None
        assert (tmp_path / "mine" / NAME).read_bytes() == CONTENT

    def test_a_range_that_the_host_refuses(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT}, cut_after(600_000), status(416))
        fetch(server, tmp_path)
        assert [request.range for request in server.requests] == [None, "bytes=600000-", None]

    def test_what_another_address_left_is_thrown_away(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT})
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / f"{NAME}.part").write_bytes(b"x" * 1000)
        fetch(server, tmp_path)
        assert server.requests[0].range is None
        assert (tmp_path / "mine" / NAME).read_bytes() == CONTENT

    def test_a_wrong_beginning_is_found_out_and_fetched_once_more(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT}, cut_after(600_000))
        with pytest.raises(KeyboardInterrupt):
            fetch_plan(plan(["mine"], base_url=server.url), tmp_path, wait=interrupt)
        part = tmp_path / "mine" / f"{NAME}.part"
        part.write_bytes(b"\0" * part.stat().st_size)
        fetch(server, tmp_path)
        assert [request.range for request in server.requests] == [None, "bytes=600000-", None]
        assert (tmp_path / "mine" / NAME).read_bytes() == CONTENT


def interrupt(seconds: float) -> None:
    raise KeyboardInterrupt


class TestPatience:
    def test_500_then_a_file(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT}, status(500), status(503, Retry_After="7"), status(429))
        waits: list[float] = []
        fetch_plan(plan(["mine"], base_url=server.url), tmp_path, wait=waits.append)
        assert waits == [1.0, 7.0, 4.0]
        assert (tmp_path / "mine" / NAME).read_bytes() == CONTENT

    def test_500_for_ever(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT}, *[status(500)] * 9)
        refused(server, tmp_path, "the host answers 500", "5 attempts")
        assert len(server.requests) == 5

    def test_a_host_that_asks_for_a_year(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT}, status(503, Retry_After="31536000"), status(503, Retry_After="99999"))
        waits: list[float] = []
        fetch_plan(plan(["mine"], base_url=server.url), tmp_path, wait=waits.append)
        assert waits == [1.0, 60.0]

    def test_a_body_that_always_ends_early(self, server, make_entry, tmp_path):
        """Each attempt hangs up after one byte more; what has come is kept for the next run."""

        def one_byte(handler, content):
            start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            send(
                handler,
                206 if start else 200,
                content[start : start + 1],
                Content_Length=str(len(content) - start),
                Content_Range=span if start else "",
            )
            handler.close_connection = True

        make_entry("mine", {NAME: CONTENT}, *[one_byte] * 5)
        refused(server, tmp_path, "the connection broke", "what has come is kept", leaves=True)
        assert (tmp_path / "mine" / f"{NAME}.part").read_bytes() == CONTENT[:5]
        fetch(server, tmp_path)
        assert server.requests[-1].range == "bytes=5-"

    @pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 204])
    def test_other_answers_are_final(self, server, make_entry, tmp_path, code):
        make_entry("mine", {NAME: CONTENT}, status(code, Content_Length="" if code == 204 else "2"))
        refused(server, tmp_path, f"the host answers {code}")
        assert len(server.requests) == 1


class TestWhatIsNotTheFile:
    def test_wrong_size_stated(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT}, other(CONTENT + b"x"))
        refused(server, tmp_path, "1500001 bytes would come where 1,500,000 are expected")

    def test_wrong_hash(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT}, other(bytes(len(CONTENT))))
        refused(server, tmp_path, "is not the planned file", f"instead of {sha256(CONTENT)}")

    def test_an_endless_body(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT}, endless)
        refused(server, tmp_path, "sends more than the 1,500,000 bytes")

    def test_a_page_instead_of_a_file(self, server, make_entry, tmp_path):
        page = b"<html>Log in</html>".ljust(len(CONTENT))
        make_entry("mine", {NAME: CONTENT}, other(page, Content_Type="text/html; charset=utf-8"))
        refused(server, tmp_path, "a web page came instead of the file")

    def test_a_packed_body(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT}, other(CONTENT, Content_Encoding="gzip"))
        refused(server, tmp_path, "the host packs the file (gzip)")

    def test_weights_that_are_no_safetensors(self, server, make_entry, tmp_path):
        make_entry("mine", {"model.safetensors": b"\x80\x04 a pickle under another name"})
        with pytest.raises(DownloadError, match="not a safetensors file"):
            fetch(server, tmp_path)
        assert not (tmp_path / "mine" / "model.safetensors").exists()

    def test_weights_that_are_safetensors(self, server, make_entry, tmp_path):
        head = b'{"__metadata__":{}}'
        make_entry("mine", {"model.safetensors": len(head).to_bytes(8, "little") + head})
        fetch(server, tmp_path)

    @pytest.mark.parametrize("name", ["pytorch_model.bin", "a.pt", "b.PKL", "c.npz", "d.ckpt", "e.h5"])
    def test_pickled_weights_are_not_planned(self, server, make_entry, name):
        make_entry("mine", {name: b"x"})
        with pytest.raises(DownloadError, match="weights are safetensors only"):
            plan(["mine"], base_url=server.url)
        assert server.requests == []


class TestForbiddenPlaces:
    @pytest.mark.parametrize(
        "place",
        ["http://example.org/data.json", "file:///etc/passwd", "ftp://example.org/a", "//example.org/a", "https:///a"],
    )
    def test_a_redirect_elsewhere(self, server, make_entry, tmp_path, place):
        make_entry("mine", {NAME: CONTENT}, redirect(place))
        refused(server, tmp_path, "not an https address")

    def test_redirects_without_an_end(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT}, *[redirect(PATH)] * 50)
        refused(server, tmp_path, "more than 5 redirects")
        assert len(server.requests) == 6

    def test_plain_http_is_for_this_machine_only_when_asked_for(self, make_entry, tmp_path):
        from dualway.downloads.transport import Web

        with Web() as web, pytest.raises(DownloadError, match="not an https address"), web.get("http://127.0.0.1:1/a"):
            pass


class TestNoNetwork:
    def test_switched_off(self, server, make_entry, tmp_path, monkeypatch):
        make_entry("mine", {NAME: CONTENT})
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        refused(server, tmp_path, "the network is switched off (HF_HUB_OFFLINE)")
        assert server.requests == []

    def test_nobody_listens(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT})
        ready = plan(["mine"], base_url="http://127.0.0.1:9")
        with pytest.raises(DownloadError, match=r"127\.0\.0\.1 cannot be reached .* by hand, into "):
            fetch_plan(ready, tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_no_such_host(self, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT})
        ready = plan(["mine"], base_url="https://no-such-host.invalid")
        with pytest.raises(DownloadError, match=r"no-such-host\.invalid cannot be reached"):
            fetch_plan(ready, tmp_path)


class TestTheDisk:
    def test_too_little_room_is_told_before_anything_is_fetched(self, server, make_entry, tmp_path, monkeypatch):
        entry = make_entry("mine", {NAME: CONTENT})
        ready = plan(["mine"], base_url=server.url)
        huge = RemoteFile("data/huge", "huge", 2**40, "0" * 64)
        files = (
            ready.files[0],
            type(ready.files[0])(entry, huge, "", type(ready.files[0].figures)(2**60, "0" * 64), ""),
        )
        with pytest.raises(StorageError, match=r"1,152,921,504,608,346,976 bytes are needed and [\d,]+ are free"):
            fetch_plan(Plan(ready.entries, files, server.url), tmp_path)
        assert server.requests == []

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_read_only_folder(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT})
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(StorageError, match="no permission"):
                fetch(server, tmp_path)
        finally:
            tmp_path.chmod(0o700)


class TestTheLockFile:
    def test_another_content_at_the_same_commit_is_refused(self, server, make_entry, tmp_path):
        """The host's own statement changes with the file; the lock file does not."""
        make_entry("mine", {NAME: CONTENT}, known=False)
        server.state_github("owner/mine", {f"data/{NAME}": CONTENT})
        fetch(server, tmp_path)
        shutil.rmtree(tmp_path / "mine")
        changed = CONTENT[::-1]
        server.put(PATH, changed)
        server.state_github("owner/mine", {f"data/{NAME}": changed})
        with pytest.raises(DownloadError, match="is not the planned file"):
            fetch(server, tmp_path)
        other_size = plan(["mine"], base_url=server.url)
        server.state_github("owner/mine", {f"data/{NAME}": b"short"})
        other_size = plan(["mine"], base_url=server.url)
        with pytest.raises(DownloadError, match=r"is not the file that .*mine\.lock\.json records"):
            fetch_plan(other_size, tmp_path)

    def test_with_a_lock_file_no_host_is_asked(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT}, known=False)
        server.state_github("owner/mine", {f"data/{NAME}": CONTENT})
        fetch(server, tmp_path)
        ready = plan(["mine"], folder=tmp_path, base_url="http://127.0.0.1:9")
        assert ready.files[0].stated_by == "lock file"
        assert fetch_plan(ready, tmp_path) == {"mine": tmp_path / "mine"}

    @pytest.mark.parametrize(
        "damage",
        [
            "{", "[]", "{}", '{"revision": 5, "files": {}}', '{"revision": "REV", "files": []}',
            '{"revision": "REV", "files": {"a": {"bytes": -1, "sha256": "x"}}}',
            '{"revision": "REV", "files": {"a": {"bytes": true, "sha256": "x"}}}',
            '{"revision": "REV", "files": {"a": 1}}', "\x00", "[" * 100_000,
        ],
    )  # fmt: skip
    def test_a_damaged_one(self, server, make_entry, tmp_path, damage):
        entry = make_entry("mine", {NAME: CONTENT})
        (tmp_path / "mine.lock.json").write_text(damage.replace("REV", entry.revision))
        with pytest.raises(DownloadError, match=r"mine\.lock\.json is (damaged|of revision)"):
            plan(["mine"], folder=tmp_path, base_url=server.url)

    def test_one_of_another_revision(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT})
        fetch(server, tmp_path)
        lock = tmp_path / "mine.lock.json"
        lock.write_text(lock.read_text().replace("0123456789abcdef", "ffffffffffffffff", 1))
        with pytest.raises(DownloadError, match="is of revision 'ffffffffffffffff"):
            fetch(server, tmp_path)

    def test_one_that_contradicts_the_catalogue(self, server, make_entry, tmp_path):
        make_entry("mine", {NAME: CONTENT})
        fetch(server, tmp_path)
        lock = tmp_path / "mine.lock.json"
        lock.write_text(lock.read_text().replace(sha256(CONTENT), "0" * 64))
        with pytest.raises(DownloadError, match="states other figures"):
            fetch(server, tmp_path)


def test_several_at_once(server, make_entry, tmp_path):
    make_entry("mine", {NAME: CONTENT})
    make_entry("yours", {"a.json": b"{}"}, host=Host.HUGGING_FACE)
    ready = plan(["mine", "yours", "mine"], base_url=server.url)
    assert fetch_plan(ready, tmp_path) == {"mine": tmp_path / "mine", "yours": tmp_path / "yours"}
    assert server.requests[-1].path.startswith("/huggingface.co/owner/yours/resolve/")
