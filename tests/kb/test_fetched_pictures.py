"""Pictures of entities fetched from a wiki on this machine: checked, credited, and going on after a kill."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.calls import call
from tests.sources.mediawiki_server import Wiki, serving

from dualway.errors import DataError, DownloadError, KnowledgeBaseError, StorageError, UsageError
from dualway.images import picture_size
from dualway.kb import fetched_pictures
from dualway.kb.changes import changing
from dualway.kb.fetched_pictures import CREDITS, FetchReport, fetch_pictures
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Field, Picture
from dualway.sources.commons import WIDTH
from dualway.storage import locked

AGENT = "tests/1.0 (tests@example.org)"


def drawn(number: int, kind: str = "JPEG", size: tuple[int, int] = (40, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (number % 256, number // 256, 90)).save(file, kind)
    return file.getvalue()


@pytest.fixture(autouse=True)
def _online(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("DUALWAY_USER_AGENT", raising=False)


@pytest.fixture
def wiki():
    wiki = Wiki()
    wiki.add_file("One.jpg", drawn(1), "image/jpeg", 40, 30)
    wiki.add_file("Two.png", drawn(2, "PNG"), "image/png", 40, 30)
    wiki.add_file("Flag.svg", b"<svg/>", "image/svg+xml", 512, 512, thumb=(drawn(3, "PNG"), "image/png", 40, 30))
    with serving(wiki) as served:
        yield served


def make_kb(tmp_path: Path, **images: str | list[str]) -> Path:
    entities = [
        Entity(
            entity_id,
            f"name of {entity_id}",
            fields=tuple(Field("image", name) for name in ([names] if isinstance(names, str) else names)),
        )
        for entity_id, names in images.items()
    ]
    KnowledgeBase.create(tmp_path / "kb", entities).close()
    return tmp_path / "kb"


def fetch(kb: Path, wiki: Wiki, **options) -> FetchReport:
    waits = options.pop("waits", [])
    return fetch_pictures(
        kb,
        kb.parent / "pics",
        user_agent=AGENT,
        endpoint=wiki.address,
        interval_s=0,
        wait=waits.append,
        **options,
    )


def pictures_of(kb: Path, entity_id: str) -> list[Picture]:
    with KnowledgeBase.open(kb) as opened:
        opened.check()
        return list(opened.entity(entity_id).pictures)


def on_disk(kb: Path) -> list[str]:
    return sorted(path.name for path in (kb.parent / "pics").iterdir() if path.suffix in (".jpg", ".png"))


class TestFetching:
    def test_into_the_folder_and_the_knowledge_base(self, tmp_path, wiki):
        kb = make_kb(tmp_path, Q1=["One.jpg", "Two.png"], Q2="Flag.svg", Q3=[])
        calls: list[tuple[int, int]] = []
        report = fetch(kb, wiki, progress=lambda *done: calls.append(done))
        assert (report.named, report.fetched, report.there, report.added, report.revision) == (3, 3, 0, 3, 2)
        assert report.problems == []
        assert calls == [(1, 3), (2, 3), (3, 3)]
        one, two = pictures_of(kb, "Q1")
        sha1 = wiki.files["One.jpg"]["sha1"]
        assert one == Picture(f"Q1-{sha1[:16]}.jpg", "https://commons.wikimedia.org/wiki/File:One.jpg", "CC BY-SA 4.0")
        assert two.path.endswith(".png")
        (flag,) = pictures_of(kb, "Q2")
        assert flag.path == f"Q2-{wiki.files['Flag.svg']['sha1'][:16]}-960.png"
        with KnowledgeBase.open(kb) as opened:
            assert picture_size(opened.picture_path(flag)) == (40, 30)
        credits = [json.loads(line) for line in (tmp_path / "pics" / CREDITS).read_text().splitlines()]
        assert {line["path"] for line in credits} == set(on_disk(kb))
        assert credits[0] == {
            "path": one.path,
            "entity": "Q1",
            "file": "One.jpg",
            "source": one.source,
            "author": "Jane Doe",
            "licence": "CC BY-SA 4.0",
            "licence_url": "https://creativecommons.org/licenses/by-sa/4.0",
        }
        assert set(wiki.agents) == {AGENT}

    def test_again_nothing_is_fetched_and_nothing_changes(self, tmp_path, wiki):
        kb = make_kb(tmp_path, Q1="One.jpg", Q2="Two.png")
        fetch(kb, wiki)
        wiki.fetched.clear()
        report = fetch(kb, wiki)
        assert (report.fetched, report.there, report.unchanged, report.changed, report.revision) == (0, 2, 2, False, 2)
        assert wiki.fetched == []

    def test_a_file_that_was_changed_is_fetched_anew(self, tmp_path, wiki):
        kb = make_kb(tmp_path, Q1="One.jpg")
        fetch(kb, wiki)
        wiki.add_file("One.jpg", drawn(7), "image/jpeg", 40, 30)
        assert fetch(kb, wiki).added == 1

    def test_one_picture_of_two_is_fetched_once(self, tmp_path, wiki):
        kb = make_kb(tmp_path, Q1="One.jpg", Q2="One.jpg")
        assert fetch(kb, wiki).fetched == 2
        assert len(wiki.fetched) == 1
        assert len({*on_disk(kb)}) == 2

    def test_at_most_so_many_and_then_the_others(self, tmp_path, wiki):
        kb = make_kb(tmp_path, Q1="One.jpg", Q2="Two.png", Q3="Flag.svg")
        report = fetch(kb, wiki, limit=2)
        assert (report.fetched, report.left, report.added) == (2, 1, 2)
        report = fetch(kb, wiki, limit=2)
        assert (report.fetched, report.there, report.left, report.added) == (1, 2, 0, 1)

    def test_only_of_some(self, tmp_path, wiki):
        kb = make_kb(tmp_path, Q1="One.jpg", Q2="Two.png")
        assert fetch(kb, wiki, ids=["Q2"]).named == 1
        assert pictures_of(kb, "Q1") == []
        with pytest.raises(KnowledgeBaseError, match="Q404"):
            fetch(kb, wiki, ids=["Q404"])

    def test_nobody_who_is_kept_out_is_asked_for(self, tmp_path, wiki):
        kb = make_kb(tmp_path, Q1="One.jpg", Q2="Two.png", Q3="Flag.svg")
        with changing(kb) as change:
            change.keep_out("Q1")
            change.erase("Q2")
        report = fetch(kb, wiki)
        assert (report.named, report.kept_out, report.added) == (1, 2, 1)
        assert [asked["titles"] for asked in wiki.asked] == ["File:Flag.svg"]

    def test_somebody_erased_meanwhile(self, tmp_path, wiki):
        kb = make_kb(tmp_path, Q1="One.jpg", Q2="Two.png")

        def erase(*_):
            with changing(kb) as change:
                change.erase("Q1")

        report = fetch(kb, wiki, progress=erase)
        assert (report.passed_over, report.added) == (1, 1)
        assert pictures_of(kb, "Q1") == []


class TestWhatIsNotTaken:
    @pytest.mark.parametrize(
        ("info", "content", "kind", "words"),
        [
            ({}, b"<html>no</html>", "not what was stated", "a web page"),
            ({}, b"", "not what was stated", "empty"),
            ({}, drawn(1, "PNG"), "not what was stated", "a PNG picture, where image/jpeg was stated"),
            ({}, drawn(8), "not what was stated", "sha1"),
            ({}, drawn(1)[:25], "not what was stated", "cut short"),
            ({"mime": "image/svg+xml"}, None, "a kind that is not read", "a kind that is not read"),
            ({"mime": "text/html"}, None, "a kind that is not read", "a kind that is not read"),
            ({"width": 60_000, "height": 60_000}, None, "too large", "too large"),
            ({"size": 2**40}, None, "too large", "too large"),
            ({"url": "http://10.0.0.1/x", "thumburl": "http://10.0.0.1/x"}, None, "on another host", "on another host"),
            ({"url": "file:///etc/passwd", "thumburl": "file:///etc/passwd"}, None, "on another host", "on another"),
            ({"sha1": "../../../x"}, None, "hidden, or not described", "hidden"),
        ],
    )
    def test_is_counted_and_nothing_is_stored(self, tmp_path, wiki, info, content, kind, words):
        wiki.files["One.jpg"] |= info
        if content is not None:
            wiki.uploads["/upload/One.jpg"] = content
        kb = make_kb(tmp_path, Q1="One.jpg", Q2="Two.png")
        report = fetch(kb, wiki)
        (problem,) = report.problems
        assert (problem.entity_id, problem.name, problem.kind) == ("Q1", "One.jpg", kind)
        assert words in problem.problem
        assert report.to_dict()["not_taken"] == {kind: 1}
        assert [name[:2] for name in on_disk(kb)] == ["Q2"]
        assert pictures_of(kb, "Q1") == []
        assert len(pictures_of(kb, "Q2")) == 1
        if content is None:
            assert len(wiki.fetched) == 1

    def test_an_upload_larger_than_pictures_may_be(self, tmp_path, wiki, monkeypatch):
        monkeypatch.setattr(fetched_pictures, "MAX_BYTES", 5_000)
        wiki.uploads["/upload/thumb/Flag.svg"] += b"\0" * 5_000
        report = fetch(make_kb(tmp_path, Q1="Flag.svg"), wiki)
        assert [(p.kind, "more than 5,000 bytes" in p.problem) for p in report.problems] == [("too large", True)]

    def test_missing_ones_and_one_that_is_refused(self, tmp_path, wiki):
        del wiki.uploads["/upload/One.jpg"]
        report = fetch(make_kb(tmp_path, Q1="One.jpg", Q2="Nothing.jpg", Q3="Two.png", Q4="a|b"), wiki)
        assert {p.entity_id: p.kind for p in report.problems} == {
            "Q1": "cannot be had",
            "Q2": "no such file",
            "Q4": "no possible name of a file",
        }
        assert report.added == 1

    def test_a_cut_off_picture_is_fetched_again(self, tmp_path, wiki):
        wiki.faults, waits = ["", "cut", "503"], []
        report = fetch(make_kb(tmp_path, Q1="One.jpg"), wiki, waits=waits)
        assert (report.fetched, waits) == (1, [1, 11])

    def test_names_that_lead_elsewhere(self, tmp_path, wiki):
        evil = "../../../evil.jpg"
        wiki.add_file(evil, drawn(5), "image/jpeg", 40, 30)
        kb = make_kb(tmp_path, **{"../../Q1/\x00": [evil], "q" * 300: [evil]})
        report = fetch(kb, wiki)
        assert report.added == 2
        names = on_disk(kb)
        assert len(names) == 2
        assert all(name.startswith("x") and "." not in name[:-4] for name in names)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["kb", "pics"]


class TestTheEnd:
    def test_a_host_that_gives_no_picture_is_left_alone(self, tmp_path, wiki):
        for n in range(9):
            wiki.add_file(f"P{n}.jpg", drawn(n), "image/jpeg", 40, 30)
        wiki.uploads = {"/upload/P0.jpg": drawn(0)}
        kb = make_kb(tmp_path, **{f"Q{n}": f"P{n}.jpg" for n in range(9)})
        with pytest.raises(DownloadError, match="5 pictures in a row cannot be had"):
            fetch(kb, wiki)
        assert len(wiki.fetched) == 6
        assert len(on_disk(kb)) == 1
        assert pictures_of(kb, "Q0") == []

    def test_pictures_that_cannot_be_had_among_others(self, tmp_path, wiki):
        for n in range(9):
            wiki.add_file(f"P{n}.jpg", drawn(n), "image/jpeg", 40, 30)
        wiki.uploads = {"/upload/P4.jpg": drawn(4)}
        report = fetch(make_kb(tmp_path, **{f"Q{n}": f"P{n}.jpg" for n in range(9)}), wiki)
        assert (report.added, report.kinds) == (1, {"cannot be had": 8})

    def test_a_host_that_asks_to_be_left_alone(self, tmp_path, wiki):
        wiki.faults, wiki.retry_after = ["", "429"], "7200"
        with pytest.raises(DownloadError, match="come again in 7,200 s"):
            fetch(make_kb(tmp_path, Q1="One.jpg", Q2="Two.png"), wiki)
        assert len(wiki.fetched) == 1

    def test_a_damaged_picture_is_fetched_anew(self, tmp_path, wiki):
        kb = make_kb(tmp_path, Q1="One.jpg")
        fetch(kb, wiki)
        (name,) = on_disk(kb)
        (tmp_path / "pics" / name).write_bytes(drawn(9))
        assert fetch(kb, wiki).fetched == 1
        assert (tmp_path / "pics" / name).read_bytes() == drawn(1)

    def test_no_link_is_written_through(self, tmp_path, wiki):
        kb = make_kb(tmp_path, Q1="One.jpg")
        (tmp_path / "pics").mkdir()
        (tmp_path / "pics" / f"Q1-{wiki.files['One.jpg']['sha1'][:16]}.jpg").symlink_to(tmp_path / "elsewhere.jpg")
        with pytest.raises(StorageError, match="a link, where a picture is to be put"):
            fetch(kb, wiki)
        assert not (tmp_path / "elsewhere.jpg").exists()

    def test_credits_of_others_stay_and_damaged_ones_are_told(self, tmp_path, wiki):
        kb = make_kb(tmp_path, Q1="One.jpg", Q2="Two.png")
        fetch(kb, wiki, ids=["Q1"])
        fetch(kb, wiki, ids=["Q2"])
        path = tmp_path / "pics" / CREDITS
        assert [json.loads(line)["entity"] for line in path.read_text().splitlines()] == ["Q1", "Q2"]
        path.write_text("{")
        with pytest.raises(DataError, match="broken JSON"):
            fetch(kb, wiki)

    def test_one_call_at_a_time(self, tmp_path, wiki):
        kb = make_kb(tmp_path, Q1="One.jpg")
        (tmp_path / "pics").mkdir()
        with locked(tmp_path / "pics" / ".fetch.lock", ""), pytest.raises(StorageError, match="fetching pictures"):
            fetch(kb, wiki)

    def test_nobody_asks(self, tmp_path, wiki):
        kb = make_kb(tmp_path, Q1="One.jpg")
        with pytest.raises(UsageError, match="user-agent"):
            fetch_pictures(kb, tmp_path / "pics", endpoint=wiki.address)
        assert not (tmp_path / "pics").exists()
        assert wiki.agents == []

    def test_the_network_is_switched_off(self, tmp_path, wiki, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(DownloadError, match="switched off"):
            fetch(make_kb(tmp_path, Q1="One.jpg"), wiki)
        assert wiki.agents == []

    def test_killed_and_going_on(self, tmp_path, wiki):
        for n in range(12):
            wiki.add_file(f"P{n}.jpg", drawn(n), "image/jpeg", 40, 30)
        kb = make_kb(tmp_path, **{f"Q{n}": f"P{n}.jpg" for n in range(12)})
        code = (
            "import sys; from dualway.kb.fetched_pictures import fetch_pictures\n"
            "fetch_pictures(sys.argv[1], sys.argv[2], user_agent=sys.argv[3], endpoint=sys.argv[4], interval_s=0)"
        )
        wiki.upload_delay_s = 0.1
        command = [sys.executable, "-c", code, str(kb), str(tmp_path / "pics"), AGENT, wiki.address]
        process = subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": ""})
        deadline = time.monotonic() + 60
        while len(wiki.fetched) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert pictures_of(kb, "Q0") == []
        whole = len(on_disk(kb))
        assert 3 <= whole < 12
        wiki.upload_delay_s = 0
        wiki.fetched.clear()
        report = fetch(kb, wiki)
        assert (report.there, report.fetched, report.added) == (whole, 12 - whole, 12)
        assert len(wiki.fetched) == 12 - whole
        for n in range(12):
            (picture,) = pictures_of(kb, f"Q{n}")
            assert (tmp_path / "pics" / picture.path).read_bytes() == drawn(n)


class TestAsTyped:
    def test_fetched_and_told(self, tmp_path, wiki):
        kb = make_kb(tmp_path, Q1="One.jpg", Q2="Nothing.jpg", Q3="Flag.svg")
        typed = ("kb", "pictures", kb, "--fetch", tmp_path / "pics", "--endpoint", wiki.address)
        done = call(*typed, "--user-agent", AGENT, "--limit", 1)
        assert done.code == 0, done.err
        assert "fetched       1 pictures (0.0 MiB)" in done.out
        assert "not taken     1 no such file" in done.out
        assert "left          1 not asked for, as --limit was reached" in done.out
        assert "gallery       1 pictures of 1 entities, 0 without a licence" in done.out
        assert "Q2: 'Nothing.jpg': no such file" in done.err
        assert wiki.asked[0]["iiurlwidth"] == str(WIDTH)
        done = call(*typed, "--user-agent", AGENT, "--width", 500, "--json")
        assert (done.json["there"], done.json["fetched"], done.json["revision"]) == (1, 1, 3)
        assert done.json["not_taken"] == {"no such file": 1}
        assert done.json["gallery"]["pictures"] == 2
        assert wiki.asked[-1]["iiurlwidth"] == "500"

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--fetch", "pics"], "--user-agent"),
            (["--fetch", "pics", "--user-agent", "python"], "--user-agent"),
            (["--fetch", "pics", "--user-agent", AGENT, "--erase", "Q1"], "--fetch goes alone"),
            (["--fetch", "pics", "--user-agent", AGENT, "--map", "x.tsv"], "--fetch goes alone"),
            (["--limit", "3"], "say where by --fetch"),
            (["--user-agent", AGENT], "say where by --fetch"),
        ],
    )
    def test_calls_that_are_wrong(self, tmp_path, monkeypatch, options, words):
        monkeypatch.chdir(tmp_path)
        done = call("kb", "pictures", make_kb(tmp_path, Q1="One.jpg"), *options)
        assert done.code == 2
        assert words in done.err
        assert not (tmp_path / "pics").exists()
