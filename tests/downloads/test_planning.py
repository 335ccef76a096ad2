"""Plans and the catalogue: what is known, what the host is asked, what a person is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath

import pytest

from dualway.downloads import CATALOGUE, fetch_plan, plan
from dualway.downloads.catalogue import Host
from dualway.errors import DownloadError, UsageError

from .server import REVISION, git_sha1, sha256, status

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "downloads.md").read_text(encoding="utf-8")
FILES = {"a.json": b"{}", "model.safetensors": b"\x02\0\0\0\0\0\0\0{}"}
STATED = {f"data/{path}": content for path, content in FILES.items()}


class TestTheCatalogue:
    @pytest.mark.parametrize("entry", CATALOGUE.values(), ids=list(CATALOGUE))
    def test_an_entry_is_complete(self, entry):
        assert CATALOGUE[entry.name] is entry
        assert entry.kind in {"data set", "model"}
        assert re.fullmatch(r"[0-9a-f]{40}", entry.revision)
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.repository)
        assert all((entry.title, entry.licence, entry.citation, entry.note, entry.files))
        for file in entry.files:
            assert entry.revision in entry.address(file)
            assert entry.address(file).startswith("https://")
            path = PurePosixPath(file.path)
            assert not path.is_absolute()
            assert ".." not in path.parts
            assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
            assert file.size is None or 0 < file.size < 2**40
        assert len({file.path for file in entry.files}) == len(entry.files)

    @pytest.mark.parametrize("entry", CATALOGUE.values(), ids=list(CATALOGUE))
    def test_weights_are_safetensors_of_a_known_hash(self, entry):
        weights = [file for file in entry.files if file.path.endswith(".safetensors")]
        assert len(weights) == (entry.kind == "model")
        assert all(file.size and file.sha256 for file in weights)

    @pytest.mark.parametrize("entry", CATALOGUE.values(), ids=list(CATALOGUE))
    def test_the_page_names_it_with_revision_and_licence(self, entry):
        assert f"`{entry.name}`" in PAGE
        assert entry.revision in PAGE
        assert entry.page in PAGE
        for file in entry.files:
            assert file.sha256 is None or file.sha256 in PAGE

    def test_without_a_network_all_of_it_can_be_listed(self, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        ready = plan(list(CATALOGUE), ask=False)
        text = ready.describe()
        for entry in CATALOGUE.values():
            assert entry.revision in text
            assert entry.licence in text
        assert "99d28a652e6ec46629ab7047a0ac82c69b1fe11e0ce672c43af65d3a9a3fc05d" in text
        assert "605,157,884" in text
        assert "asked first" in text
        assert "files whose size the host is asked for" in text
        assert json.loads(json.dumps(ready.to_dict()))["total_bytes"] == ready.total_bytes > 600_000_000

    def test_clip_needs_no_question(self, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        ready = plan(["clip-vit-b32"])
        assert ready.total_bytes == 608_774_393
        assert {planned.stated_by for planned in ready.files} == {"dualway"}

    def test_what_must_be_asked_is_said_when_it_cannot_be(self, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(DownloadError, match=r"^melbench: the network is switched off .* by hand \(docs/downl"):
            plan(["melbench"])


class TestAskingTheHost:
    def test_github(self, server, make_entry):
        make_entry("mine", FILES, known=False)
        server.state_github("owner/mine", STATED)
        ready = plan(["mine"], base_url=server.url)
        for planned in ready.files:
            content = FILES[planned.file.path]
            assert planned.figures.size == len(content)
            assert (planned.figures.sha256, planned.figures.git_sha1) == (None, git_sha1(content))
            assert planned.stated_by == "host"
        assert ready.total_bytes == 12
        assert git_sha1(b"{}") == "9e26dfeeb6e641a33dae4961196235bdb965b21b"  # as `git hash-object` says
        assert f"git sha1 {git_sha1(b'{}')}  host" in ready.describe()

    def test_hugging_face_states_git_hashes_of_small_files_and_sha256_of_large_ones(self, server, make_entry):
        make_entry("mine", FILES, known=False, host=Host.HUGGING_FACE)
        server.state_hub("owner/mine", STATED, {"data/model.safetensors"})
        small, large = plan(["mine"], base_url=server.url).files
        assert (small.figures.sha256, small.figures.git_sha1) == (None, git_sha1(b"{}"))
        assert (large.figures.sha256, large.figures.git_sha1) == (sha256(FILES["model.safetensors"]), None)

    @pytest.mark.parametrize("host", [Host.GITHUB, Host.HUGGING_FACE])
    def test_what_the_host_stated_is_checked(self, server, make_entry, tmp_path, host):
        entry = make_entry("mine", FILES, known=False, host=host)
        server.state_github("owner/mine", STATED)
        server.state_hub("owner/mine", STATED, {"data/model.safetensors"})
        ready = plan(["mine"], base_url=server.url)
        assert (fetch_plan(ready, tmp_path)["mine"] / "a.json").read_bytes() == b"{}"
        server.put("/" + entry.address(entry.files[0]).removeprefix("https://"), b"[]")
        with pytest.raises(DownloadError, match=f"git sha1 {git_sha1(b'[]')} instead of {git_sha1(b'{}')}"):
            fetch_plan(ready, tmp_path / "again")

    def test_a_host_that_contradicts_the_catalogue(self, server, make_entry, monkeypatch):
        entry = make_entry("mine", FILES)
        first = type(entry.files[0])("data/a.json", "a.json", sha256=sha256(b"{}"))
        changed = type(entry)(**{**vars(entry), "files": (first, *entry.files[1:]), "host": Host.HUGGING_FACE})
        monkeypatch.setitem(CATALOGUE, "mine", changed)
        server.state_hub("owner/mine", {**STATED, "data/a.json": b"{ }"}, {"data/a.json"})
        with pytest.raises(DownloadError, match=r"mine: the host states other figures of a\.json"):
            plan(["mine"], base_url=server.url)

    @pytest.mark.parametrize("host", [Host.GITHUB, Host.HUGGING_FACE])
    @pytest.mark.parametrize(
        "answer",
        [
            b"", b"<html>", b"[]", b"{}", b'{"tree": 5, "sha": "REV", "siblings": 5}', b"[" * 100_000, b"\xff",
            b'{"sha": "REV", "siblings": [5, {"rfilename": 3}], "tree": [5, {"path": 3, "type": "blob"}]}',
            b'{"sha": "REV", "siblings": [{"rfilename": "data/a.json", "size": 2}],'
            b' "tree": [{"path": "data/a.json", "type": "blob", "size": 2}]}',
            b'{"sha": "REV", "siblings": [{"rfilename": "data/a.json", "size": -2, "blobId": "x"}],'
            b' "tree": [{"path": "data/a.json", "type": "blob", "size": "2", "sha": 7}]}',
            b'{"sha": "REV", "siblings": [{"rfilename": "data/a.json", "size": true, "lfs": {}}],'
            b' "tree": [{"path": "data/a.json", "type": "tree", "size": 2}]}',
        ],
    )  # fmt: skip
    def test_a_broken_statement(self, server, make_entry, host, answer):
        make_entry("mine", FILES, known=False, host=host)
        server.state_github("owner/mine", STATED)
        server.state_hub("owner/mine", STATED, set())
        for path in list(server.files):
            if path.startswith(("/api.", "/huggingface.co/api")):
                server.files[path] = answer.replace(b"REV", REVISION.encode())
        with pytest.raises(DownloadError, match=r"^mine: .*\(docs/downloads\.md\)$"):
            plan(["mine"], base_url=server.url)

    def test_a_statement_for_another_revision(self, server, make_entry):
        make_entry("mine", FILES, known=False, host=Host.HUGGING_FACE)
        server.state_hub("owner/mine", STATED, set(), sha="f" * 40)
        with pytest.raises(DownloadError, match="answers for another revision"):
            plan(["mine"], base_url=server.url)

    def test_a_statement_without_an_end(self, server, make_entry):
        make_entry("mine", FILES, known=False)
        server.put(f"/api.github.com/repos/owner/mine/git/trees/{REVISION}?recursive=1", b" " * (9 * 2**20))
        with pytest.raises(DownloadError, match="answers with more than 8,388,608 bytes"):
            plan(["mine"], base_url=server.url)

    def test_too_many_questions(self, server, make_entry):
        """GitHub's answer to a machine that has asked too often."""
        make_entry("mine", FILES, known=False)
        server.put(f"/api.github.com/repos/owner/mine/git/trees/{REVISION}?recursive=1", b"", status(403))
        with pytest.raises(DownloadError, match="the host answers 403"):
            plan(["mine"], base_url=server.url)


class TestCalls:
    def test_an_unknown_name_lists_the_known(self):
        with pytest.raises(UsageError, match="'clip' is not in the catalogue; it has: melbench, "):
            plan(["clip"])

    @pytest.mark.parametrize("address", ["http://example.org", "ftp://example.org", "example.org", "", "file:///a"])
    def test_a_mirror_must_be_https(self, address):
        with pytest.raises(UsageError, match="give an https address"):
            plan(["clip-vit-b32"], base_url=address)

    def test_a_mirror_keeps_hosts_as_folders(self):
        ready = plan(["clip-vit-b32"], base_url="https://mirror.example.org/hub/")
        assert ready.files[1].address == (
            "https://mirror.example.org/hub/huggingface.co/openai/clip-vit-base-patch32/resolve/"
            "eaee4c876b93e66f7fac584b529025a96d71ad66/config.json"
        )

    def test_a_plan_whose_figures_are_missing_is_not_fetched(self, make_entry, server, tmp_path):
        make_entry("mine", FILES, known=False)
        with pytest.raises(DownloadError, match=r"neither size nor hash of a\.json is known"):
            fetch_plan(plan(["mine"], base_url=server.url, ask=False), tmp_path)
        assert server.requests == []
