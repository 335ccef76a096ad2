"""The demo's screens: on a small part of the generated world, and on a user's folder, pictures included."""

from __future__ import annotations

import contextlib
import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.cli.calls import call

from dualway.demo import material, steps
from dualway.demo.material import claim, make_world, open_own
from dualway.demo.steps import deviation, make_preset, next_commands
from dualway.errors import DataError, StorageError, UsageError
from dualway.world import CAVEAT
from dualway.world.build import WorldConfig

TINY = WorldConfig(captions=(40, 10, 20))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small part of the world, and two epochs."""
    monkeypatch.setattr(material, "DEMO", TINY)
    monkeypatch.setattr(steps, "EPOCHS", 2)


class Silent:
    """A voice that keeps what is said."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def show(self, text: str) -> None:
        self.shown.append(text)

    def note(self, text: str) -> None:
        self.shown.append(text)


@pytest.mark.realmodel
class TestOnTheGeneratedWorld:
    @pytest.fixture
    def done(self, short, tmp_path):
        return call("demo", "--out", tmp_path / "demo"), tmp_path / "demo"

    def test_every_screen_is_there_and_in_order(self, done):
        result, folder = done
        assert result.code == 0, result.err
        screen = [
            "5 captions against a knowledge base of 12 entities",
            "at most 2 epochs in place of the paper's 300",
            "\nlexical ",
            "\nprior ",
            "\nfrom_kb ",
            "\npaper ",
            "ceiling: text-only oracle",
            "ceiling: oracle with picture 100.0",
            CAVEAT,
            str(folder / "report.html"),
            "Next:",
            "dualway data check",
            "dualway evaluate --run",
            "dualway link --run",
        ]
        place = 0
        for part in screen:
            place = result.out.index(part, place)

    def test_the_report_stands_alone_and_shows_regions_and_the_caveat(self, done):
        page = (done[1] / "report.html").read_text(encoding="utf-8")
        assert "data:image/jpeg;base64," in page
        assert CAVEAT in page
        assert "<script src" not in page
        assert 'href="http' not in page
        assert "text-only oracle" in page

    def test_json_and_quiet_leave_one_object(self, short, tmp_path):
        done = call("demo", "--out", tmp_path / "demo", "--json", "--quiet")
        assert (done.code, done.err) == (0, "")
        assert done.out.count("\n") == 1
        assert len(done.json["links"]) == 5
        assert done.json["ceilings"]["oracle with picture"] == 1.0
        rows = done.json["evaluation"]["protocols"]["top100"]["systems"]
        assert [row["system"] for row in rows] == ["lexical", "prior", "from_kb", "paper"]

    def test_a_second_demo_uses_what_is_there(self, done):
        _, folder = done
        made = {path: path.stat().st_mtime_ns for path in (folder / "world").rglob("*.jpg")}
        again = call("demo", "--out", folder)
        assert again.code == 0, again.err
        assert {path: path.stat().st_mtime_ns for path in made} == made
        assert "using the knowledge base" in again.err


@pytest.mark.realdata
class TestOnOnesOwnData:
    def test_the_same_screens_on_wikimel_with_its_pictures(self, short, realdata, tiny_clip, tmp_path):
        """With tiny random encoders: what is tested is the way, not the accuracy."""
        done = call(
            "demo", "--data", realdata / "wikimel", "--out", tmp_path / "demo", "--limit", 150,
            "--text-encoder", tiny_clip, "--image-encoder", tiny_clip,
        )  # fmt: skip
        assert done.code == 0, done.err
        assert "a knowledge base of 18,880 entities" in done.out
        assert "Only 150 mentions of train and dev were used (--limit), pictured ones first." in done.out
        assert "ceiling" not in done.out
        page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
        assert "photograph" in page
        lines = (tmp_path / "demo" / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()
        pictures = {Path(json.loads(line)["image"]) for line in lines if "image" in json.loads(line)}
        assert sum(path.is_file() for path in pictures) >= 20
        assert all(path.is_absolute() for path in pictures)


class TestMaterial:
    @pytest.fixture
    def folder(self, tmp_path):
        source = tmp_path / "mine"
        source.mkdir()
        (source / "entities.jsonl").write_text(
            "".join(json.dumps({"id": f"E{i}", "name": f"Name {i}", "text": f"number {i}"}) + "\n" for i in range(5))
        )
        lines = [
            {"id": str(i), "text": f"Name {i % 5} at event {i}", "surface": f"Name {i % 5}", "entity_id": f"E{i % 5}"}
            for i in range(60)
        ]
        (source / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return source

    def test_a_folder_without_dev_gives_a_tenth_of_its_captions(self, folder, tmp_path, voice):
        made = open_own(folder, tmp_path / "out", 0, voice)
        counts = {s: len((made.folder / f"{s}.jsonl").read_text().splitlines()) for s in ("train", "dev")}
        assert sum(counts.values()) == 60
        assert 1 <= counts["dev"] <= 15
        assert "no dev split" in "\n".join(voice.shown)
        assert not made.photographs  # there are no pictures

    def test_limit(self, folder, tmp_path, voice):
        made = open_own(folder, tmp_path / "out", 3, voice)
        assert len((made.folder / "train.jsonl").read_text().splitlines()) == 3
        assert "Only 3 mentions of train and dev were used" in made.caveats[0]

    @pytest.mark.parametrize(("name", "problem"), [("train.jsonl", "is a file"), ("nothing", "no such folder")])
    def test_what_is_no_folder_is_refused_before_anything_is_made(self, folder, tmp_path, name, problem):
        with pytest.raises(UsageError, match=problem):
            claim(tmp_path / "out", folder / name, {})
        assert not (tmp_path / "out").exists()

    def test_a_demo_of_other_data_or_settings_is_not_mixed_up_with_this_one(self, folder, tmp_path):
        out = tmp_path / "out"
        claim(out, folder, {"limit": 3})
        claim(out, folder, {"limit": 3})
        with pytest.raises(
            UsageError, match=r"holds a demo with other limit; remove the folder or choose another --out"
        ):
            claim(out, folder, {"limit": 4})
        (folder / "entities.jsonl").write_text('{"id": "E9", "name": "Another"}\n')
        with pytest.raises(UsageError, match="other data"):
            claim(out, folder, {"limit": 3})

    @pytest.mark.parametrize("content", [b"", b"[]", b"\xff{", b"null", b'{"limit": [3]}', b"[" * 99999])
    def test_a_damaged_note_of_an_earlier_demo_is_another_demo(self, folder, tmp_path, content):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "demo.json").write_bytes(content)
        with pytest.raises(UsageError, match="remove the folder or choose another --out"):
            claim(tmp_path / "out", folder, {"limit": 3})
        assert (tmp_path / "out" / "demo.json").read_bytes() == content

    @pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"fingerprint": 3}'])
    def test_a_damaged_world_is_told_and_not_written_over(self, tmp_path, voice, content):
        (tmp_path / "out" / "world").mkdir(parents=True)
        (tmp_path / "out" / "world" / "world.json").write_bytes(content)
        voice.progress = lambda *_: contextlib.nullcontext(SimpleNamespace(update=None))
        with pytest.raises(StorageError, match="already exists; remove it"):
            make_world(tmp_path / "out", voice)

    def test_pictures_from_elsewhere_are_told_as_a_report_may_show_them(self, folder, tmp_path, voice):
        for name in ("private.png", "linked.png"):
            (tmp_path / name).write_bytes(b"a picture")
        (folder / "link.png").symlink_to(tmp_path / "linked.png")
        lines = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
        lines[0]["image"], lines[1]["image"], lines[2]["image"] = "../private.png", "link.png", "train.jsonl"
        (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        open_own(folder, tmp_path / "out", 0, voice)
        assert any("2 pictures lie outside" in line and "linked.png" in line for line in voice.shown)

    def test_nothing_but_train_is_trained_on(self, folder, tmp_path, voice):
        (folder / "train.jsonl").rename(folder / "dev.jsonl")
        (folder / "test.jsonl").write_text((folder / "dev.jsonl").read_text())
        with pytest.raises(DataError, match="no train split, only dev and test"):
            open_own(folder, tmp_path / "out", 0, voice)

    def test_a_folder_without_entities_is_refused_before_anything_is_made(self, folder, tmp_path, voice):
        (folder / "entities.jsonl").unlink()
        with pytest.raises(DataError, match=r"entities.jsonl, entities.csv"):
            open_own(folder, tmp_path / "out", 0, voice)
        assert not (tmp_path / "out" / "kb").exists()

    def test_the_next_commands_can_be_pasted_into_a_shell(self, folder, tmp_path, voice):
        spaced = folder.rename(tmp_path / "my data")
        made = open_own(spaced, tmp_path / "out", 0, voice)
        run = SimpleNamespace(folder=tmp_path / "the run")
        check, evaluate, link = (shlex.split(command) for command in next_commands(made, run))
        assert check[1:] == ["data", "check", str(spaced)]
        assert evaluate[1:4] == ["evaluate", "--run", str(tmp_path / "the run")]
        assert Path(link[link.index("--in") + 1]).is_file()

    def test_the_preset_states_what_it_changes(self, folder, tmp_path, voice):
        made = open_own(folder, tmp_path / "out", 0, voice)
        preset = make_preset(made, text="minilm", image="mini-clip", detector="proposals")
        assert preset.train.epochs <= 40
        assert preset.train.patience is not None
        words = deviation(preset)
        assert "40 epochs in place of the paper's 300" in words
        assert "0.00015 in place of 5e-05" in words

    @pytest.fixture
    def voice(self):
        return Silent()
