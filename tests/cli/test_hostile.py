"""What attackers and accidents bring: for each an error that says what to do, or a skip that is counted and told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .calls import COMMAND, call, listing, parse, read_lines, spawn, write_lines

GOOD = b'{"text": "Foster", "surface": "Foster", "entity_id": "Q1"}\n'
# name: what stands in the second line of the file, and what the message says of it
BROKEN = {
    "broken JSON": (b'{"text": "Foster", \n', ["broken JSON"]),
    "cut off": (b'{"text": "Fos', ["broken JSON"]),
    "no surface": (b'{"text": "Foster", "entity_id": "Q1"}\n', ["'surface' is missing"]),
    "no text": (b'{"surface": "Foster", "entity_id": "Q1"}\n', ["'text' is missing"]),
    "empty mention": (b'{"text": "Foster", "surface": " \\t", "entity_id": "Q1"}\n', ["'surface' is missing or empty"]),
    "text of a wrong type": (b'{"text": ["Foster"], "surface": "Foster"}\n', ["'text' must be text"]),
    "picture of a wrong type": (b'{"text": "F", "surface": "F", "image": 7}\n', ["'image' must be text, not 7"]),
    "entity of a wrong type": (b'{"text": "F", "surface": "F", "entity_id": ["Q1"]}\n', ["'entity_id'"]),
    "no entity, but empty": (b'{"text": "F", "surface": "F", "entity_id": ""}\n', ["'entity_id' is empty", "null"]),
    "offset of a wrong type": (b'{"text": "F", "surface": "F", "start": "0"}\n', ["'start' must be a whole number"]),
    "offset that is no number": (b'{"text": "F", "surface": "F", "start": NaN}\n', ["'start' must be a whole number"]),
    "no object": (b'["Foster"]\n', ["a line must be an object"]),
    "invalid UTF-8": (b'{"text": "Foster \xe9", "surface": "Foster"}\n', ["not UTF-8", "0xe9", "convert"]),
    "UTF-16": (GOOD.decode().encode("utf-16"), ["not UTF-8", "convert"]),
    "nested too deeply": (b"[" * 100_000 + b"\n", ["nested too deeply"]),
    "a number of 5,000 digits": (b'{"text": "F", "surface": "F", "id": ' + b"9" * 5000 + b"}\n", ["broken JSON"]),
    "NUL bytes": (b"\0" * 64 + b"\n", ["broken JSON"]),
}
COMMANDS = ["link", "train", "evaluate", "data check"]


def command(name: str, file: Path, run: Path, kb: Path, out: Path) -> list[object]:
    return {
        "link": ["link", "--run", run, "--in", file, "--out", out],
        "train": ["train", "--data", file, "--kb", kb, "--out", out],
        "evaluate": ["evaluate", "--run", run, "--data", file, "--json", out],
        "data check": ["data", "check", file],
    }[name]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_line_is_named(run, kb, tmp_path, refused, fault, name):
    line, words = BROKEN[fault]
    file = tmp_path / "mine.jsonl"
    file.write_bytes(GOOD + line)
    refused(3, *command(name, file, run, kb, tmp_path / "out"), says=[f"{file}, line 2: ", *words])


@pytest.mark.parametrize("name", COMMANDS)
def test_files_that_hold_nothing(run, kb, tmp_path, refused, name):
    for content, word in ((b"", "no usable mention"), (b"\n\n", "no usable mention"), (b"{}", "'text' is missing")):
        file = tmp_path / "mine.jsonl"
        file.write_bytes(content)
        refused(3, *command(name, file, run, kb, tmp_path / "out"), says=[str(file), word])
    refused(3, *command(name, tmp_path / "none.jsonl", run, kb, tmp_path / "out"), says=["none.jsonl", "no such file"])


@pytest.mark.parametrize("name", COMMANDS)
def test_an_id_given_twice(run, kb, tmp_path, refused, name):
    file = write_lines(tmp_path / "mine.jsonl", [{"id": "a", "text": "F", "surface": "F", "entity_id": "Q1"}] * 2)
    says = [f"{file}, line 2", "'a'", "twice"]
    refused(3, *command(name, file, run, kb, tmp_path / "out"), says=says)


def test_splits_that_are_not_there(run, data, refused):
    refused(2, "evaluate", "--run", run, "--data", data, "--split", "gold", says=["'gold'", "train, dev, test"])
    refused(2, "data", "check", data, "--split", "gold", says=["'gold'", "train, dev, test"])
    refused(2, "link", "--run", run, "--in", data, "--out", "x", says=["several splits", "train, dev, test"])


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """Lines that are odd, but can be worked with."""
    records = [
        {"text": "Somebody else", "surface": "Foster"},  # not in its text
        {"text": "Foster \ud800 \u0000", "surface": "Foster \ud800"},  # what no UTF-8 file can hold
        {"text": "\u202eFoster\u202c \x1b[2J\x07", "surface": "Foster"},  # would drive a terminal
        {"text": "محمد صلاح ضد 東京 и Шостакович, João", "surface": "محمد صلاح"},  # four scripts, right to left
        {"text": "Foster " * 150_000, "surface": "Foster"},  # a megabyte
        {"text": "Foster", "surface": "Foster " * 150_000},
        {"text": "🏒🏒", "surface": "🏒"},
        {"text": "Foster", "surface": "Foster", "start": 10**12, "end": -5},
        {"text": "Foster", "surface": "Foster", "unheard_of": 1},
        {"text": "Foster", "surface": "Foster", "image": "a\u0000b" + "/x" * 5000},
    ]
    return write_lines(
        tmp_path / "strange.jsonl", [{"id": f"s{i}", **r, "entity_id": "Q1"} for i, r in enumerate(records)]
    )


def check_remarks(err: str) -> None:
    assert "noted: mention not found in its sentence, kept without offsets (first: s0)" in err
    assert "repaired: lone surrogates or NUL in 'text' replaced (first: s1)" in err
    assert "repaired: offsets that do not hold the mention (first: s7)" in err
    assert "noted: unknown key 'unheard_of' is not read (first: s8)" in err


def test_strange_mentions_are_linked(run, strange, tmp_path):
    done = call("link", "--run", run, "--in", strange, "--out", tmp_path / "links.jsonl")
    assert done.code == 0
    check_remarks(done.err)
    links = read_lines(tmp_path / "links.jsonl")
    assert [link["id"] for link in links] == [f"s{i}" for i in range(10)]
    assert links[3]["candidates"][0]["entity_id"]
    assert listing(tmp_path) == {"strange.jsonl", "links.jsonl"}


def test_strange_mentions_are_trained_on_and_evaluated(run, kb, small, strange, tmp_path):
    done = call("train", "--data", strange, "--kb", kb, "--out", tmp_path / "run", *small)
    assert done.code == 0
    check_remarks(done.err)
    files = ["--json", tmp_path / "out.json", "--predictions", tmp_path / "p.jsonl"]
    done = call("evaluate", "--run", run, "--data", strange, *files)
    assert done.code == 0
    check_remarks(done.err)
    assert parse((tmp_path / "out.json").read_text(encoding="utf-8"))["mentions"] == 10
    assert {line["id"] for line in read_lines(tmp_path / "p.jsonl")} == {f"s{i}" for i in range(10)}


def test_strange_pictures(picture_run, strange, tmp_path):
    done = call("link", "--run", picture_run, "--in", strange, "--out", tmp_path / "links.jsonl")
    assert done.code == 0
    assert "1 pictures could not be used" in done.err


def test_strange_words_on_the_command_line(run):
    broken = os.fsdecode(b"Foster \xff")
    assert call("link", "--run", run, "--text", broken, "--mention", broken, "--json").code == 0
    done = call("link", "--run", run, "--text", "Foster\x1b[2J\r", "--mention", "Foster")
    assert "\x1b" not in done.out
    assert "\r" not in done.out
    long = call("link", "--run", run, "--text", "Mel Gibson, Foster, " * 5_000, "--mention", "Foster")
    assert long.code == 0
    assert len(long.out) < 2000


def test_many_odd_keys_are_summed_up(run, tmp_path):
    file = write_lines(tmp_path / "m.jsonl", [{"text": "F", "surface": "F", **{f"k{i}": i for i in range(5000)}}])
    done = call("link", "--run", run, "--in", file, "--out", tmp_path / "links.jsonl")
    assert len(done.err.splitlines()) <= 22
    assert "4980 more remarks; `dualway data check` prints them" in done.err


class TestKnowledgeBases:
    """Broken, empty, missing, moved, or of another kind."""

    @pytest.mark.parametrize("content", [b"", b"\n", b'{"id": "Q1"}', b'{"id": "Q1", "name": 5}', b"{", b"[]", b"\xff"])
    def test_no_knowledge_base_is_made_of_a_broken_file(self, tmp_path, refused, content):
        (tmp_path / "mine.jsonl").write_bytes(content)
        says = ["mine.jsonl, line 1" if content.strip() else "mine.jsonl: no entities"]
        refused(3, "kb", "build", tmp_path / "mine.jsonl", "--out", tmp_path / "kb", says=says)

    @pytest.mark.parametrize("fault", ["empty", "no manifest", "broken manifest", "no database", "broken database"])
    def test_a_damaged_one(self, run, kb, data, tmp_path, refused, fault):
        copy = tmp_path / "kb"
        if fault == "empty":
            copy.mkdir()
        else:
            shutil.copytree(kb, copy)
            file = copy / ("manifest.json" if "manifest" in fault else "kb.sqlite")
            file.unlink() if fault.startswith("no") else file.write_bytes(file.read_bytes()[:100])
        calls = [
            ["link", "--kb", copy, "--text", "Foster"],
            ["link", "--run", run, "--kb", copy, "--text", "Foster"],
            ["link", "--kb", copy, "--in", data / "dev.jsonl", "--out", tmp_path / "out.jsonl"],
            ["evaluate", "--kb", copy, "--data", data],
            ["train", "--kb", copy, "--data", data, "--out", tmp_path / "new"],
            ["kb", "show", copy],
        ]
        for arguments in calls:
            last = refused(4, *arguments, says=[str(copy)])
            assert "kb build" in last or "build the knowledge base again" in last, last

    def test_one_without_an_entity(self, run, kb, data, tmp_path, refused):
        """None can be built; one that was emptied by hand does not agree with its manifest."""
        import sqlite3

        copy = Path(shutil.copytree(kb, tmp_path / "kb"))
        with sqlite3.connect(copy / "kb.sqlite") as database:
            database.execute("PRAGMA foreign_keys = OFF")
            database.execute("DELETE FROM entities")
        database.close()
        for arguments in (["link", "--kb", copy, "--text", "Foster"], ["evaluate", "--kb", copy, "--data", data]):
            refused(4, *arguments, says=[str(copy)])

    def test_one_that_was_moved_or_deleted(self, run_copy, data, kb, tmp_path, refused):
        record = json.loads((run_copy / "run.json").read_text())
        record["kb"]["path"] = str(tmp_path / "gone")
        (run_copy / "run.json").write_text(json.dumps(record))
        for arguments in (["link", "--text", "Foster"], ["evaluate", "--data", data]):
            refused(4, *arguments, "--run", run_copy, says=[str(tmp_path / "gone"), str(run_copy), "--kb KB"])
        assert call("link", "--run", run_copy, "--kb", kb, "--text", "Foster").code == 0

    def test_one_of_another_compatibility(self, run, data, tmp_path, refused):
        write_lines(tmp_path / "mine.jsonl", [{"id": "Q1", "name": "Jodie Foster", "text": "An actor."}])
        assert call("kb", "build", tmp_path / "mine.jsonl", "--out", tmp_path / "kb").code == 0
        for arguments in (["link", "--text", "Foster"], ["evaluate", "--data", data]):
            says = [str(tmp_path / "kb"), "text", str(run), "compatibility", "--representation"]
            refused(4, *arguments, "--run", run, "--kb", tmp_path / "kb", says=says)

    def test_names_that_would_drive_a_terminal(self, tmp_path):
        entity = {"id": "E", "name": "Foster\x1b[31m\x07", "text": "\x9b31m"}
        write_lines(tmp_path / "mine.jsonl", [entity])
        assert call("kb", "build", tmp_path / "mine.jsonl", "--out", tmp_path / "kb").code == 0
        assert not {"\x1b", "\x07", "\x9b"} & set(call("kb", "show", tmp_path / "kb", "E").out)
        assert call("kb", "show", tmp_path / "kb", "E", "--json").json["entities"][0]["name"] == entity["name"]


class TestRuns:
    """A run's folder with a file missing or damaged."""

    @pytest.mark.parametrize("content", [None, b"", b"{", b"{}", b"[]", b"5", b"\xff", b'{"format": 99}'])
    @pytest.mark.parametrize("name", ["run.json", "seed-0/config.json", "seed-0/model.safetensors"])
    def test_damaged(self, run_copy, data, refused, name, content):
        file = run_copy / name
        file.unlink() if content is None else file.write_bytes(content)
        for arguments in (["link", "--text", "Foster", "--mention", "Foster"], ["evaluate", "--data", data]):
            last = refused(5, *arguments, "--run", run_copy, says=[str(run_copy)])
            assert "dualway train" in last or "train again" in last

    def test_a_model_cut_off_or_with_a_byte_changed_in_its_header(self, run_copy, refused):
        file = run_copy / "seed-0" / "model.safetensors"
        whole = file.read_bytes()
        for content in (
            whole[:-1],
            whole[: len(whole) // 2],
            whole[:8] + b"\xff" + whole[9:],
            whole.replace(b"F32", b"F64"),
        ):
            file.write_bytes(content)
            refused(5, "link", "--run", run_copy, "--text", "Foster", says=[str(file), "train again"])

    @pytest.mark.parametrize("content", [None, b"", b"[", b"5", b'{"foster": {"Q1": "often"}}', b'{"foster": ["Q1"]}'])
    def test_a_damaged_prior(self, run_copy, data, refused, content):
        file = run_copy / "prior.json"
        file.unlink() if content is None else file.write_bytes(content)
        for arguments in (["link", "--text", "Foster"], ["evaluate", "--data", data]):
            refused(5, *arguments, "--run", run_copy, says=[str(file), "train again"])

    @pytest.mark.parametrize("content", [None, b"", b"[", b"5", b"\xff"])
    def test_damaged_captions(self, run_copy, data, refused, content):
        file = run_copy / "captions.json"
        file.unlink() if content is None else file.write_bytes(content)
        refused(5, "evaluate", "--run", run_copy, "--data", data, says=[str(file), "train again"])

    def test_an_encoder_that_is_no_longer_the_same(self, run_copy, data, tiny_text, tmp_path, refused):
        copy = Path(shutil.copytree(tiny_text, tmp_path / "encoder"))
        record = json.loads((run_copy / "run.json").read_text())
        record["preset"]["encoders"]["text"] = str(copy)
        (run_copy / "run.json").write_text(json.dumps(record))
        assert call("link", "--run", run_copy, "--text", "Foster").code == 0
        settings = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps({**settings, "layer_norm_eps": 0.1}))
        refused(4, "link", "--run", run_copy, "--text", "Foster", says=["text encoder", str(copy), "fingerprint"])
        shutil.rmtree(copy)
        refused(5, "link", "--run", run_copy, "--text", "Foster", says=[str(copy), "no such directory"])


class TestDisks:
    """Full, read-only, or not there; what a command had begun is gone afterwards."""

    # `ulimit -f` counts blocks of 512 bytes; Python ignores the signal, so a write fails as on a full disk.
    @pytest.mark.parametrize("name", ["link", "train", "evaluate", "kb build"])
    def test_a_full_disk(self, run, kb, data, small, tmp_path, name):
        cached = {**os.environ, "DUALWAY_CACHE": str(tmp_path.parent / "no-cache-here")}
        many = [{"id": i, "text": "Foster", "surface": "Foster", "entity_id": "Q1"} for i in range(300)]
        source = write_lines(tmp_path / "mine.jsonl", many)
        entities = write_lines(tmp_path / "entities.jsonl", [{"id": str(i), "name": "x" * 99} for i in range(2000)])
        arguments = {
            "link": ["link", "--run", run, "--in", source, "--out", tmp_path / "out"],
            "train": [
                "train",
                "--data",
                source,
                "--kb",
                kb,
                "--out",
                tmp_path / "out",
                *small,
                "--set",
                "model.dim=64",
            ],
            "evaluate": ["evaluate", "--run", run, "--data", source, "--predictions", tmp_path / "out"],
            "kb build": ["kb", "build", entities, "--out", tmp_path / "out"],
        }[name]
        done = spawn(*arguments, shell='ulimit -f 60; exec "$@"', env=cached)
        assert done.returncode == 7, done
        assert "Traceback" not in done.stderr
        last = done.stderr.splitlines()[-1]
        assert last.startswith(f"dualway: {tmp_path / 'out'}")
        assert "the disk is full" in last or name == "kb build"  # SQLite says "disk I/O error" instead
        assert "Free space" in last
        left = listing(tmp_path) - {"mine.jsonl", "entities.jsonl"}
        # Whole files of an unfinished job may wait for its next call; nothing that looks finished is there.
        kept = {"link": {".out.partial", ".out.origin"}, "train": {"out", "out/seed-0", "out/seed-0/config.json"}}
        assert left <= kept.get(name, set()), left
        if name == "link":
            again = call(*arguments, "--json")
            assert again.code == 0
            assert [link["id"] for link in read_lines(tmp_path / "out")] == [str(i) for i in range(300)]
            assert listing(tmp_path) == {"mine.jsonl", "entities.jsonl", "out"}

    def test_a_full_standard_output(self, kb):
        for options in ([], ["--json"]):
            done = spawn("kb", "show", kb, *options, shell='exec "$@" >/dev/full')
            assert done.returncode == 7
            assert done.stderr.startswith("dualway: standard output: cannot be written")
            assert len(done.stderr.splitlines()) == 1

    @pytest.fixture
    def read_only(self, tmp_path: Path):
        """A folder that is mounted read-only: the superuser, too, is refused."""
        folder = tmp_path / "read-only"
        folder.mkdir()
        try:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", folder], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("mounting is not allowed here")
        yield folder
        subprocess.run(["umount", folder], check=True)

    def test_a_read_only_folder(self, run, kb, data, small, mentions, read_only):
        self.check_refused(run, kb, data, mentions, read_only, "no permission to write here")

    def test_a_place_below_a_file(self, run, kb, data, small, mentions, tmp_path):
        (tmp_path / "file").write_text("")
        self.check_refused(run, kb, data, mentions, tmp_path / "file", "cannot be written")
        self.check_refused(run, kb, data, mentions, Path("/proc/self"), "cannot be written")

    def check_refused(self, run, kb, data, mentions, folder, word):
        source = write_lines(mentions.parent / "kb.jsonl", [{"id": "a", "name": "b"}])
        for arguments in (
            ["link", "--run", run, "--in", mentions, "--out", folder / "out"],
            ["train", "--data", data, "--kb", kb, "--out", folder / "out"],
            ["evaluate", "--run", run, "--data", data, "--json", folder / "out"],
            ["evaluate", "--run", run, "--data", data, "--predictions", folder / "out"],
            ["kb", "build", source, "--out", folder / "out"],
        ):
            done = call(*arguments)
            assert done.code == 7, done
            assert str(folder / "out") in done.err.splitlines()[-1]
            assert word in done.err.splitlines()[-1] or "cannot be written" in done.err.splitlines()[-1]

    def test_a_cache_that_cannot_be_written_is_done_without(self, run, data, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        for place in (tmp_path / "file", tmp_path / "file" / "cache", "/proc/nowhere"):
            monkeypatch.setenv("DUALWAY_CACHE", str(place))
            done = call("link", "--run", run, "--text", f"Foster {place}", "--mention", "Foster")
            assert done.code == 0, done.err


class TestPlaces:
    """Odd paths, other folders, other environments."""

    @pytest.mark.parametrize("name", ["dürre 東京 صلاح", "two\nlines", "-dash", "sp ace'\"$x", "x" * 200])
    def test_odd_names_of_folders(self, kb, data, small, elsewhere, name):
        base = elsewhere / name
        base.mkdir()
        shutil.copytree(kb, base / "kb")
        shutil.copytree(data, base / "data")
        paths = ["--data", base / "data", "--kb", base / "kb", "--out", base / "run"]
        assert call("train", *paths, *small).code == 0
        assert call("evaluate", "--run", base / "run", "--data", base / "data", "--json", base / "out.json").code == 0
        out = base / "links.jsonl"
        assert call("link", "--run", base / "run", "--in", base / "data" / "dev.jsonl", "--out", out).code == 0
        assert {path.name for path in base.iterdir()} == {"kb", "data", "run", "out.json", "links.jsonl"}

    def test_relative_paths_hold_from_another_folder(self, kb, data, small, elsewhere, monkeypatch):
        shutil.copytree(kb, elsewhere / "kb")
        shutil.copytree(data, elsewhere / "data")
        assert call("train", "--data", "data", "--kb", "kb", "--out", "runs/a", *small).code == 0
        (elsewhere / "below").mkdir()
        monkeypatch.chdir(elsewhere / "below")
        assert call("evaluate", "--run", "../runs/a", "--data", "../data").code == 0
        assert call("link", "--run", "../runs/a", "--in", "../data/dev.jsonl", "--out", "links.jsonl").code == 0
        assert listing(elsewhere / "below") == {"links.jsonl"}

    def test_a_run_moved_together_with_its_knowledge_base(self, kb, data, small, tmp_path):
        old, new = tmp_path / "old", tmp_path / "new"
        shutil.copytree(kb, old / "kb")
        assert call("train", "--data", data, "--kb", old / "kb", "--out", old / "run", *small).code == 0
        old.rename(new)
        done = call("link", "--run", new / "run", "--text", "Foster", "--mention", "Foster")
        assert done.code == 4
        assert (
            f"{old / 'kb'}: the knowledge base of {new / 'run'} is no longer there; name its place with --kb"
            in done.err
        )
        assert (
            call("link", "--run", new / "run", "--kb", new / "kb", "--text", "Foster", "--mention", "Foster").code == 0
        )

    @pytest.mark.parametrize(
        "settings", [{"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}]
    )
    def test_terminals_that_lack_characters(self, kb, settings):
        done = subprocess.run(
            [*COMMAND, "kb", "show", kb, "Q8"], env={**os.environ, **settings}, capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"\\u0645\\u062d\\u0645\\u062f" in done.stdout
        done = subprocess.run(
            [*COMMAND, "kb", "show", kb, "Q7", "--json"],
            env={**os.environ, **settings},
            capture_output=True,
            check=False,
        )
        assert json.loads(done.stdout)["entities"][0]["name"] == "João Silva"

    def test_a_name_that_is_not_utf_8(self, run, mentions):
        done = subprocess.run(
            [
                *map(os.fsencode, COMMAND),
                b"link",
                b"--run",
                bytes(run),
                b"--in",
                bytes(mentions),
                b"--out",
                b"\xff.jsonl",
            ],
            cwd=mentions.parent,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
        assert Path(os.fsdecode(bytes(mentions.parent) + b"/\xff.jsonl")).is_file()

    def test_values_without_end(self, run, kb, data, tmp_path, refused):
        endless = "x" * 100_000
        refused(2, "train", "--data", data, "--kb", kb, "--out", tmp_path / "r", "--preset", endless, says=["released"])
        for arguments in (
            ["evaluate", "--run", endless, "--data", data],
            ["evaluate", "--run", run, "--kb", endless, "--data", data],
            ["evaluate", "--run", run, "--data", endless],
            ["link", "--run", endless, "--text", "Foster"],
            ["link", "--kb", endless, "--text", "Foster"],
            ["link", "--run", run, "--in", endless, "--out", tmp_path / "o"],
            ["link", "--run", run, "--in", data / "dev.jsonl", "--out", endless],
            ["train", "--data", data, "--kb", kb, "--out", endless],
            ["train", "--data", data, "--kb", endless, "--out", tmp_path / "r"],
            ["train", "--data", endless, "--kb", kb, "--out", tmp_path / "r"],
            ["train", "--data", data, "--kb", kb, "--out", tmp_path / "r", "--config", endless],
            ["data", "check", endless],
            ["kb", "show", endless],
            ["kb", "build", endless, "--out", tmp_path / "k"],
            ["kb", "build", data / "dev.jsonl", "--out", endless],
        ):
            done = call(*arguments)
            assert done.code in (2, 3, 4, 5, 7), (arguments[:2], done.err[-300:])
        assert listing(tmp_path) == set()
        assert call("link", "--run", run, "--text", "Foster", "--mention", "Foster", "--image", endless).code == 0
