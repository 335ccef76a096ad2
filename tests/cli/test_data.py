from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dualway.cli.data import app
from dualway.downloads.catalogue import CATALOGUE, Entry, Host, RemoteFile
from dualway.errors import DataError, UsageError
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Representation

from .calls import call, listing, spawn, write_lines

runner = CliRunner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sample = {
        "sentence": "Hermann von Beckerath\nsat.",
        "mentions": ["Hermann Beckerath", "Zidane"],
        "answer": ["Q1", None],
    }
    (tmp_path / "train.json").write_text(json.dumps({"1": sample | {"imgPath": "a.jpg"}, "2": 5}))
    (tmp_path / "dev.json").write_text(json.dumps({"1": sample}))
    return tmp_path


def test_check_prints_counts_reasons_and_examples_for_people(folder: Path):
    result = runner.invoke(app, ["check", str(folder)])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].endswith(": melbench")
    assert lines[2].split() == ["train", "dev"]
    assert ["mentions", "2", "2"] in [line.split() for line in lines]
    assert ["found", "fuzzily", "1", "1"] in [line.split() for line in lines]
    assert "  1  record is not an object" in lines
    assert "       1-1: Zidane" in lines
    assert "sentences shared by train and dev: 1 (2 mentions of dev)" in lines
    assert lines[-1] == "entity files: none in this folder"
    assert len({len(line) for line in lines[2:6]}) == 1
    assert result.stderr.startswith("checking ")


def test_check_prints_one_json_object_for_machines(folder: Path):
    result = runner.invoke(app, ["check", str(folder), "--split", "train", "--json", "--quiet"])
    assert result.exit_code == 0
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert found["splits"]["train"]["nil"] == 1
    assert found["splits"]["train"]["dropped"]["record is not an object"]["examples"] == [{"id": "2", "text": "5"}]


def test_check_lists_entity_files(folder: Path):
    (folder / "qid2ne.json").write_text(json.dumps({"Q2": "A"}))
    (folder / "qid2abs.json").write_text(json.dumps({"Q2": "None"}))
    lines = runner.invoke(app, ["check", str(folder)]).stdout.splitlines()
    assert "entity files (ghmfc): qid2ne.json, qid2abs.json" in lines
    assert "  1  gold entities of train are not among them: Q1" in lines


def test_check_lists_entity_files_of_one_s_own(folder: Path):
    """Those of the forms that `kb build` reads, and `data convert` and `demo` write."""
    (folder / "entities.jsonl").write_text(json.dumps({"id": "Q2", "name": "A"}))
    lines = runner.invoke(app, ["check", str(folder)]).stdout.splitlines()
    assert "entity files (jsonl): entities.jsonl" in lines
    assert "  1  gold entities of train are not among them: Q1" in lines
    assert "entity files: none in this folder" not in lines


def test_pictures_of_a_converted_set_are_present(folder: Path):
    from PIL import Image

    Image.new("RGB", (4, 4)).save(folder / "a.jpg")
    assert call("data", "convert", folder, "--out", folder / "out").code == 0
    assert '"../a.jpg"' in (folder / "out" / "train.jsonl").read_text()
    pictures = call("data", "check", folder / "out", "--json").json["splits"]["train"]["pictures"]
    assert (pictures["named"], pictures["present"], pictures["outside"]) == (1, 1, 0)


def test_check_raises_errors_of_the_tree(tmp_path: Path):
    assert isinstance(runner.invoke(app, ["check", str(tmp_path)]).exception, DataError)
    (tmp_path / "train.json").write_text("{")
    assert isinstance(runner.invoke(app, ["check", str(tmp_path), "--split", "dev"]).exception, (DataError, UsageError))


class TestConvert:
    def test_prints_what_was_written(self, folder: Path):
        done = call("data", "convert", folder, "--out", folder / "out")
        assert done.code == 0
        assert done.out.splitlines() == [
            f"{folder / 'out' / 'train.jsonl'}: 2 mentions, 2 with gold, 1 NIL",
            f"{folder / 'out' / 'dev.jsonl'}: 2 mentions, 2 with gold, 1 NIL",
        ]
        assert "1 dropped: record is not an object" in done.err

    def test_prints_one_json_object_for_machines(self, folder: Path):
        done = call(
            "data", "convert", folder, "--out", folder / "out", "--split", "dev", "--to", "dwe", "--json", "--quiet"
        )
        assert (done.code, done.err) == (0, "")
        assert done.json["splits"]["dev"]["mentions"] == 2
        assert done.json["lost"] == {}
        assert listing(folder / "out") == {"dev.json"}

    def test_refuses_what_would_be_lost_and_says_how_much(self, tmp_path: Path, refused):
        line = {"id": "1-0", "text": "Ada", "surface": "Ada", "type": "Person"}
        (tmp_path / "a.jsonl").write_text(json.dumps(line))
        arguments = ["data", "convert", tmp_path / "a.jsonl", "--to", "melbench", "--out", tmp_path / "b.json"]
        refused(2, *arguments, says=["type of 1 mentions (first: 1-0: Person -> None)", "--lossy"])
        done = call(*arguments, "--lossy")
        assert (done.code, done.out.splitlines()[-1]) == (0, "lost: type of 1 mentions")
        refused(7, *arguments, "--lossy", says=["b.json: already exists", "--force"])
        assert call(*arguments, "--lossy", "--force").code == 0

    def test_calls_that_cannot_be(self, folder: Path, refused):
        refused(2, "data", "convert", folder, "--out", folder / "x", "--to", "csv", says=["unknown form 'csv'"])
        refused(2, "data", "convert", folder, "--out", folder / "x.jsonl", says=["one file for train, dev"])
        refused(2, "data", "convert", folder, "--out", folder, "--force", says=["is where the input lies"])
        refused(3, "data", "convert", folder / "none.json", "--out", folder / "x", says=["none.json", "no such file"])
        refused(2, "data", "convert", folder)


FILE = b"{}"


@pytest.fixture
def mirror(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """The address of a mirror on this machine that has one small entry of the catalogue."""
    import functools
    import hashlib
    import threading
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    remote = RemoteFile("a.json", "train.json", len(FILE), hashlib.sha256(FILE).hexdigest())
    entry = Entry(
        "mine", "data set", "A test.", Host.GITHUB, "o/r", "a" * 40, (remote,), "CC0", "nobody", "none", "next {folder}"
    )
    monkeypatch.setitem(CATALOGUE, "mine", entry)
    root = tmp_path_factory.mktemp("mirror")
    target = root / entry.address(remote).removeprefix("https://")
    target.parent.mkdir(parents=True)
    target.write_bytes(FILE)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


class TestDownload:
    def test_the_list_needs_no_network(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        done = call("data", "download", "--list", "--out", tmp_path)
        assert (done.code, done.err) == (0, "")
        for entry in CATALOGUE.values():
            assert entry.name in done.out
            assert entry.revision in done.out
            assert entry.licence in done.out
        one = call("data", "download", "clip-vit-b32", "--list", "--json")
        assert [entry["name"] for entry in one.json["entries"]] == ["clip-vit-b32"]
        assert one.json["total_bytes"] == 608_774_393

    def test_a_download(self, mirror: str, tmp_path: Path):
        arguments = ["data", "download", "mine", "--out", tmp_path, "--base-url", mirror]
        dry = call(*arguments, "--dry-run")
        assert dry.code == 0
        assert "sha256 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a  dualway" in dry.out
        assert listing(tmp_path) == set()
        done = call(*arguments, "--yes")
        assert done.code == 0
        folder = tmp_path / "mine"
        assert done.out.splitlines()[-3:] == [f"mine: {folder}", f"  dualway data check {folder}", f"  next {folder}"]
        assert listing(tmp_path) == {"mine", "mine/train.json", "mine.lock.json"}
        again = call(*arguments, "--yes", "--json", "--quiet")
        assert (again.code, again.err) == (0, "")
        assert again.json["paths"] == {"mine": str(tmp_path / "mine")}

    def test_nothing_is_fetched_without_a_word(self, mirror: str, tmp_path: Path, refused):
        done = call("data", "download", "mine", "--out", tmp_path / "out", "--base-url", mirror)
        assert done.code == 2
        assert done.err.splitlines()[-1] == "dualway: nothing is downloaded without a word of yours: give --yes"
        assert listing(tmp_path) == set()

    @pytest.mark.parametrize(("word", "files"), [("y", True), ("n", False)])
    def test_a_person_is_asked(self, mirror: str, tmp_path: Path, word: str, files: bool, monkeypatch):
        import sys

        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        monkeypatch.setattr(sys, "stdin", Terminal(f"{word}\n"))
        done = call("data", "download", "mine", "--out", tmp_path / "out", "--base-url", mirror)
        assert done.code == 0
        assert "Download 2 bytes?" in done.err
        assert bool(listing(tmp_path)) is files

    def test_a_wrong_file(self, mirror: str, tmp_path: Path, refused, monkeypatch):
        entry = CATALOGUE["mine"]
        wrong = RemoteFile("a.json", "train.json", len(FILE), "0" * 64)
        monkeypatch.setitem(CATALOGUE, "mine", Entry(**{**vars(entry), "files": (wrong,)}))
        done = call("data", "download", "mine", "--out", tmp_path / "out", "--base-url", mirror, "--yes", "--json")
        assert (done.code, done.out) == (8, "")
        assert done.err.splitlines()[-1].startswith("dualway: mine: what came from http://127.0.0.1:")
        assert "(docs/downloads.md)" in done.err
        assert listing(tmp_path) <= {"out", "out/mine"}

    def test_no_network(self, tmp_path: Path, monkeypatch, refused):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        refused(8, "data", "download", "melbench", "--out", tmp_path / "out", "--dry-run", says=["by hand (docs/downl"])
        done = call("data", "download", "clip-vit-b32", "--out", tmp_path / "out", "--yes")
        assert done.code == 8
        assert done.err.splitlines()[-1] == (
            "dualway: clip-vit-b32: the network is switched off (HF_HUB_OFFLINE); get the files by hand, into "
            f"{tmp_path / 'out' / 'clip-vit-b32'} (docs/downloads.md)"
        )
        assert listing(tmp_path) == set()

    def test_calls_that_cannot_be(self, tmp_path: Path, refused):
        refused(2, "data", "download", says=["name what to download, or give --list; there are melbench, ghmfc"])
        refused(2, "data", "download", "clip", "--yes", says=["'clip' is not in the catalogue; it has: melbench"])
        refused(2, "data", "download", "melbench", "--base-url", "http://example.org", says=["give an https address"])

    def test_a_closed_input_is_nobody_who_could_agree(self, tmp_path: Path):
        done = spawn("data", "download", "clip-vit-b32", "--out", tmp_path / "out", shell='exec "$@" <&-')
        assert done.returncode == 2
        assert "give --yes" in done.stderr


def test_check_tells_captions_that_are_texts_of_a_knowledge_base(tmp_path):
    caption = "Otto Weininger was an Austrian thinker who lived in Vienna."
    write_lines(tmp_path / "train.jsonl", [{"id": "7", "text": caption, "surface": "Otto", "entity_id": "Q1"}])
    given = Entity("Q1", "Otto Weininger", representations=(Representation("static", f"{caption} He died young."),))
    KnowledgeBase.create(tmp_path / "kb", [given, Entity("Q2", "Vienna")]).close()
    done = call("data", "check", tmp_path, "--kb", tmp_path / "kb", "-q")
    assert done.code == 0
    assert "1  captions of train stand in the text of their own entity (0 exactly, 1 nearly)" in done.out
    assert "7 in Q1: 100 %" in done.out
    found = call("data", "check", tmp_path, "--kb", tmp_path / "kb", "--json").json["knowledge_base"]
    assert found["train"]["gold"]["mentions"] == 1
    assert call("data", "check", tmp_path, "--json").json["knowledge_base"] is None
    assert call("data", "check", tmp_path, "--kb", tmp_path / "none").code == 4
