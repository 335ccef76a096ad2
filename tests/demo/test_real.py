"""`demo --real`: what is downloaded, MELBench made one's own, the table of four rows; and without a network."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.calls import call
from tests.detectors import LABELS, save_tiny_detector
from tests.downloads.server import REVISION, Server, git_sha1, serve, sha256

from dualway.datasets import open_dataset
from dualway.demo import steps
from dualway.demo.published import ENTITIES, convert_melbench
from dualway.demo.real import run_real
from dualway.demo.screens import DemoOptions
from dualway.downloads.catalogue import CATALOGUE, Entry, Host, RemoteFile
from dualway.errors import DataError, DownloadError, UsageError
from dualway.linker import Linker
from dualway.run import Run

NAMES = ["Ann Marlow", "Bob Marlow", "Cy Marlow", "Dee Stone", "Eli Stone", "Flo Reed", "Guy Reed", "Hal Moss"]
WAYS = ("get the files by hand, into", "dualway demo --data FOLDER --text-encoder DIR --image-encoder DIR")


@dataclass
class Voice:
    """Keeps what is said: results, remarks, and the last state of each progress line."""

    shown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    meters: dict[str, tuple] = field(default_factory=dict)

    def show(self, text):
        self.shown.append(text)

    def note(self, text):
        self.notes.append(text)

    @contextmanager
    def progress(self, label, total=None):
        voice = self

        class Meter:
            def update(self, done, total=None, note=""):
                voice.meters[label] = (done, total, note)

        yield Meter()


def make_samples(num: int = 60) -> dict:
    """Return made-up samples in MELBench's form: one or two mentions each, by full name or surname."""
    rng = random.Random(3)
    samples = {}
    for i in range(num):
        chosen = rng.sample(range(len(NAMES)), 1 + i % 2)
        said = [NAMES[j] if rng.random() < 0.5 else NAMES[j].split()[-1] for j in chosen]
        samples[str(1000 + i)] = {
            "id": str(1000 + i),
            "sentence": f"{' with '.join(said)} at event {i}",
            "imgPath": f"KVQAimgs/{i}.jpg",
            "mentions": said,
            "entities": [NAMES[j] for j in chosen],
            "answer": [f"Q{j + 1}" for j in chosen],
        }
    return samples


def zipped(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


MELBENCH = {
    "Wikidata-MEL.zip": zipped({
        "Wikidata-MEL/Wikidata-MEL.json": json.dumps(make_samples()), "__MACOSX/Wikidata-MEL/Wikidata-MEL.json": "{}"
    }),
    "Richpedia-MEL.zip": zipped({"Richpedia-MEL/Richpedia-MEL.json": "{}"}),
    "LICENSE": b"MIT",
}  # fmt: skip


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return save_tiny_detector(tmp_path_factory.mktemp("detector") / "rt")


@pytest.fixture
def server():
    server = Server()
    httpd = serve(server)
    yield server
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture(autouse=True)
def catalogue(server, tiny_clip, detector, monkeypatch) -> dict[str, dict[str, bytes]]:
    """Put tiny things in the place of the published ones; as there, MELBench's figures are asked for."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(steps, "EPOCHS", 2)
    content = {"melbench": MELBENCH, "clip-vit-b32": files_of(tiny_clip), "rtdetr-v2-r18": files_of(detector)}
    for name, files in content.items():
        is_data = name == "melbench"
        remote = tuple(
            RemoteFile(path, path, unpack=path.endswith(".zip"))
            if is_data
            else RemoteFile(path, path, len(body), sha256(body))
            for path, body in files.items()
        )
        host = Host.GITHUB if is_data else Host.HUGGING_FACE
        entry = Entry(name, "a kind", "A tiny one.", host, f"owner/{name}", REVISION, remote, "CC0", "none", "-", "")
        monkeypatch.setitem(CATALOGUE, name, entry)
        for file in remote:
            server.put("/" + entry.address(file).removeprefix("https://"), files[file.path])
    server.state_github("owner/melbench", MELBENCH)
    return content


def put_by_hand(folder: Path, catalogue: dict[str, dict[str, bytes]], *names: str) -> None:
    for name in names or catalogue:
        (folder / name).mkdir(parents=True)
        for path, body in catalogue[name].items():
            (folder / name / path).write_bytes(body)


class TestWithANetwork:
    @pytest.fixture
    def done(self, server, tmp_path):
        voice = Voice()
        return run_real(DemoOptions(tmp_path / "out"), voice, base_url=server.url), voice, tmp_path / "out"

    def test_everything_from_the_download_to_the_report(self, done, catalogue, server):
        result, voice, out = done
        # What comes is shown before anything else, with figures that the host was asked for.
        plan = voice.shown[0]
        for part in (*catalogue, REVISION, "CC0", f"{len(MELBENCH['LICENSE']):,}", git_sha1(MELBENCH["LICENSE"])):
            assert part in plan
        assert sha256(catalogue["clip-vit-b32"]["model.safetensors"]) in plan
        assert "asked first" not in plan
        total = sum(len(body) for files in catalogue.values() for body in files.values())
        assert voice.meters["bytes"][:2] == (total, total)
        # The table.
        rows = result["evaluation"]["protocols"]["top100"]["systems"]
        assert [row["system"] for row in rows] == ["lexical", "prior", "zero_shot_clip", "paper"]
        assert result["evaluation"]["protocols"]["top100"]["candidate_recall"]["value"] == 1.0
        table = next(text for text in voice.shown if "zero_shot_clip" in text)
        assert all(word in table for word in ("lexical", "prior", "paper", "T@1"))
        # The run: CLIP for both, the detector, early stopping, one seed.
        preset = Run.open(out / "run").preset
        clip, found = ((out / "downloads" / name).resolve() for name in ("clip-vit-b32", "rtdetr-v2-r18"))
        assert (preset.encoders.text, preset.encoders.image, preset.encoders.detector) == (*[str(clip)] * 2, str(found))
        assert (preset.train.epochs, preset.train.seeds, preset.train.patience) == (2, (0,), 6)
        # The report.
        page = (out / "report.html").read_text(encoding="utf-8")
        assert "zero_shot_clip" in page
        assert "MELBench publishes no pictures" in page
        assert "licence: CC0" in page
        assert result["report"] == str(out / "report.html")
        assert str(out / "report.html") in voice.shown[-1]

    def test_the_caveats_say_what_was_made_of_it(self, done):
        result, voice, _ = done
        caveats = " ".join(result["caveats"])
        for words in (
            "8 answers of all samples",
            "by its name",
            "left aside as test",
            "no pictures",
            "reported on dev",
        ):
            assert words in caveats
        assert "seen drawings only" not in caveats
        assert all(any(caveat in text for text in voice.shown) for caveat in result["caveats"])

    def test_a_second_run_needs_no_network(self, done, server, monkeypatch, tmp_path):
        asked = len(server.requests)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        again = run_real(DemoOptions(tmp_path / "out"), Voice(), base_url=server.url)
        assert len(server.requests) == asked
        assert again["unchecked"] == []

    def test_no_is_an_answer(self, server, tmp_path):
        voice, asked = Voice(), []
        result = run_real(
            DemoOptions(tmp_path / "out"), voice, base_url=server.url, confirm=lambda plan: bool(asked.append(plan))
        )
        assert result == {"downloads": None}
        assert asked[0].describe() == voice.shown[-1]
        assert not (tmp_path / "out").exists()

    def test_limit(self, server, tmp_path):
        result = run_real(DemoOptions(tmp_path / "out", limit=4), Voice(), base_url=server.url)
        assert len(open_dataset(tmp_path / "out" / "data" / "train.jsonl")) == 4
        assert any("Only 4 mentions" in caveat for caveat in result["caveats"])


class TestWithOnesOwnData:
    @pytest.fixture
    def folder(self, tmp_path):
        source = tmp_path / "mine"
        source.mkdir()
        entities = [{"id": f"E{i}", "name": name, "text": f"number {i}"} for i, name in enumerate(NAMES)]
        (source / ENTITIES).write_text("".join(json.dumps(line) + "\n" for line in entities))
        lines = []
        for i in range(40):
            line = {"id": str(i), "text": f"{NAMES[i % 8]} at {i}", "surface": NAMES[i % 8], "entity_id": f"E{i % 8}"}
            if i % 4 == 0:
                pixels = np.random.default_rng(i).integers(0, 255, (40, 60, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(source / f"{i}.png")
                line["image"] = f"{i}.png"
            lines.append(line)
        for split, part in (("train", lines[:30]), ("dev", lines[30:])):
            (source / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in part))
        return source

    def test_models_are_downloaded_and_no_data(self, folder, server, tmp_path):
        voice = Voice()
        result = run_real(DemoOptions(tmp_path / "out", data=folder), voice, base_url=server.url)
        assert "melbench" not in voice.shown[0]
        assert not (tmp_path / "out" / "downloads" / "melbench").exists()
        rows = result["evaluation"]["protocols"]["top100"]["systems"]
        assert [row["system"] for row in rows] == ["lexical", "prior", "zero_shot_clip", "paper"]
        assert "seen drawings only" not in " ".join(result["caveats"])
        page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        assert "photograph" in page

    def test_the_downloaded_detector_finds_the_regions(self, folder, server, tmp_path):
        """A tiny one, which gives its labels to chance boxes."""
        out = tmp_path / "out"
        run_real(DemoOptions(out, data=folder), Voice(), base_url=server.url)
        dev = open_dataset(out / "data", "dev")
        links = Linker.load(out / "run", kb=out / "kb").link(dev.mentions, image_path=dev.image_path)
        found = [link.regions for link in links if link.mention.image]
        assert len(found) >= 2
        assert {region.label for regions in found for region in regions} <= set(LABELS.values())

    def test_without_pictures_in_the_report(self, folder, server, tmp_path):
        run_real(DemoOptions(tmp_path / "out", data=folder, pictures=False), Voice(), base_url=server.url)
        assert "data:image/jpeg" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")

    def test_what_could_not_be_used_is_refused_before_the_download(self, folder, server, tmp_path):
        voice, out = Voice(), tmp_path / "out"
        with pytest.raises(UsageError, match="leave out --text-encoder"):
            run_real(DemoOptions(out, data=folder, text_encoder="x"), voice, base_url=server.url)
        with pytest.raises(UsageError, match="give a folder"):
            run_real(DemoOptions(out, data=folder / "train.jsonl"), voice, base_url=server.url)
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="no data set"):
            run_real(DemoOptions(out, data=tmp_path / "empty"), voice, base_url=server.url)
        assert server.requests == []
        assert not out.exists()


class TestWithoutANetwork:
    @pytest.mark.parametrize("switched_off", [True, False])
    def test_the_table_first_then_one_sentence(self, switched_off, tmp_path, monkeypatch):
        voice, base_url = Voice(), None if switched_off else "http://127.0.0.1:9"
        if switched_off:
            monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(DownloadError) as caught:
            run_real(DemoOptions(tmp_path / "out"), voice, base_url=base_url)
        message = str(caught.value)
        place = f"{tmp_path / 'out' / 'downloads'}/{{melbench,clip-vit-b32,rtdetr-v2-r18}}"
        for words in (*WAYS, place, "docs/downloads.md"):
            assert words in message
        assert ("switched off" if switched_off else "cannot be reached") in message
        assert "\n" not in message
        [table] = voice.shown
        assert all(name in table for name in ("melbench", "clip-vit-b32", "rtdetr-v2-r18", "asked first", REVISION))
        assert not (tmp_path / "out").exists()

    def test_the_command_line_ends_with_the_exit_code_of_downloads(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        done = call("demo", "--real", "--out", tmp_path / "out")
        assert done.code == DownloadError.exit_code == 8
        assert done.out.count("revision  ") == 3
        said = [line for line in done.err.splitlines() if line.startswith("dualway: ")]
        assert len(said) == 1
        assert all(words in said[0] for words in WAYS)

    def test_the_published_figures_are_shown_too(self, tmp_path, monkeypatch):
        """With the catalogue as it is shipped."""
        monkeypatch.undo()
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        done = call("demo", "--real", "--out", tmp_path / "out", "--quiet")
        assert done.code == 8
        for figure in ("605,157,884", "80,904,640", "dfcbb3c6c17605ce4991a64786d828fca41e0f4e", "Apache-2.0", "MIT"):
            assert figure in done.out
        assert done.err.count("\n") == 1

    def test_files_put_there_by_hand_are_enough(self, tmp_path, catalogue, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        put_by_hand(tmp_path / "out" / "downloads", catalogue)
        voice = Voice()
        result = run_real(DemoOptions(tmp_path / "out"), voice)
        assert (tmp_path / "out" / "report.html").is_file()
        unchecked = [f"melbench/{path} (sha256 {sha256(body)})" for path, body in MELBENCH.items()]
        assert result["unchecked"] == unchecked
        assert any("not checked" in note and unchecked[0] in note for note in voice.notes)
        assert unchecked[0] in " ".join(result["caveats"])

    def test_files_put_there_by_hand_are_held_against_what_is_known(self, tmp_path, catalogue, monkeypatch):
        """As with RT-DETRv2's config.json, whose hash is known and whose size is not."""
        entry = CATALOGUE["clip-vit-b32"]
        changed = [
            RemoteFile(f.source, f.path, None if f.path == "config.json" else f.size, f.sha256) for f in entry.files
        ]
        monkeypatch.setitem(
            CATALOGUE,
            entry.name,
            Entry(entry.name, "", "", entry.host, entry.repository, REVISION, tuple(changed), "", "", "", ""),
        )
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        folder = tmp_path / "out" / "downloads"
        put_by_hand(folder, catalogue)
        assert len(run_real(DemoOptions(tmp_path / "out"), Voice())["unchecked"]) == len(MELBENCH)
        (folder / "clip-vit-b32" / "config.json").write_text("{}")
        with pytest.raises(DownloadError, match="is there and is another file"):
            run_real(DemoOptions(tmp_path / "out"), Voice())
        (folder / "clip-vit-b32" / "config.json").unlink()
        with pytest.raises(DownloadError, match="switched off"):
            run_real(DemoOptions(tmp_path / "out"), Voice())

    def test_a_part_that_is_missing_is_asked_for(self, tmp_path, catalogue, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        folder = tmp_path / "out" / "downloads"
        put_by_hand(folder, catalogue)
        (folder / "rtdetr-v2-r18" / "model.safetensors").unlink()
        with pytest.raises(DownloadError, match=r"rtdetr-v2-r18: .*switched off.*downloads/rtdetr-v2-r18 \("):
            run_real(DemoOptions(tmp_path / "out"), Voice())

    def test_a_hostile_archive_is_not_unpacked(self, tmp_path, catalogue, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        folder = tmp_path / "out" / "downloads"
        put_by_hand(folder, catalogue)
        (folder / "melbench" / "Wikidata-MEL.zip").write_bytes(zipped({"../../../evil.json": "{}"}))
        with pytest.raises(DownloadError, match="not unpacked"):
            run_real(DemoOptions(tmp_path / "out"), Voice())
        assert not list(tmp_path.rglob("evil.json"))


class TestMelbench:
    def convert(self, tmp_path, samples, name="Wikidata-MEL.json"):
        (tmp_path / "in" / "deep").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / "deep" / name).write_text(samples if isinstance(samples, str) else json.dumps(samples))
        return convert_melbench(tmp_path / "in", tmp_path / "made", Voice())

    def entities(self, made):
        lines = [json.loads(line) for line in (made.folder / ENTITIES).read_text(encoding="utf-8").splitlines()]
        return {line["id"]: line["name"] for line in lines}

    def test_a_sentence_is_in_one_split_and_a_tenth_is_nowhere(self, tmp_path):
        samples = make_samples(600)
        for i in range(50):  # the same sentence again, in other letters
            twin = dict(samples[str(1000 + i)], id=f"x{i}")
            samples[f"x{i}"] = {**twin, "sentence": twin["sentence"].upper()}
        made = self.convert(tmp_path, samples)
        parts = {split: open_dataset(made.folder / f"{split}.jsonl") for split in ("train", "dev")}
        seen = [{m.text.lower() for m in part.mentions} for part in parts.values()]
        assert not seen[0] & seen[1]
        total = sum(len(sample["mentions"]) for sample in samples.values())
        assert len(parts["train"]) + len(parts["dev"]) + made.set_aside == total
        shares = [len(parts["train"]) / total, len(parts["dev"]) / total, made.set_aside / total]
        assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.04)
        assert not list(made.folder.glob("test*"))

    def test_every_answer_is_an_entity_by_its_name_also_those_left_aside(self, tmp_path):
        made = self.convert(tmp_path, make_samples())
        assert self.entities(made) == {f"Q{i + 1}": name for i, name in enumerate(NAMES)}
        assert (made.entities, made.nameless) == (8, 0)

    def test_gold_and_pictures(self, tmp_path):
        made = self.convert(tmp_path, make_samples())
        train = open_dataset(made.folder / "train.jsonl")
        names = self.entities(made)
        assert all(train.gold[m.id] in names and m.surface in names[train.gold[m.id] or ""] for m in train.mentions)
        assert all(m.image is None for m in train.mentions)

    def test_the_name_that_most_samples_give_wins(self, tmp_path):
        samples = make_samples()
        samples["1000"]["entities"][0] = "A slip"
        made = self.convert(tmp_path, samples)
        assert "A slip" not in self.entities(made).values()

    def test_broken_names_are_no_names(self, tmp_path):
        samples = {
            str(i): {
                "id": str(i),
                "sentence": f"x{i} there",
                "mentions": [f"x{i}"],
                "entities": bad,
                "answer": [f"Q{i}"],
            }
            for i, bad in enumerate([None, [], [7], ["  "], "Name", {"0": "Name"}, ["\ud800ok"], ["Fine"]])
        }
        made = self.convert(tmp_path, samples)
        assert self.entities(made) == {
            "Q0": "Q0", "Q1": "Q1", "Q2": "Q2", "Q3": "Q3", "Q4": "Q4", "Q5": "Q5", "Q6": "\ufffdok", "Q7": "Fine"
        }  # fmt: skip
        assert made.nameless == 6

    def test_a_misspelt_answer_is_put_right_here_too(self, tmp_path):
        samples = make_samples()
        samples["x"] = {
            "id": "x",
            "sentence": "Zed was there",
            "mentions": ["Zed"],
            "entities": ["Zed"],
            "answer": ["c"],
        }
        names = self.entities(self.convert(tmp_path, samples))
        assert "c" not in names
        assert names["Q5729149"] == "Zed"

    @pytest.mark.parametrize(
        ("samples", "words"),
        [
            ("{", "JSON"),
            ("[]", "not a known data set"),
            (
                json.dumps({"Q1": {"id": "1", "sentence": "a b", "mentions": "a", "entities": "A", "answer": "Q1"}}),
                "MELBench",
            ),
        ],
    )
    def test_another_file_is_refused(self, tmp_path, samples, words):
        with pytest.raises(DataError, match=words):
            self.convert(tmp_path, samples)

    def test_a_download_without_the_file_says_what_is_there(self, tmp_path):
        with pytest.raises(DataError, match=r"no Wikidata-MEL\.json in it, but deep/other\.json"):
            self.convert(tmp_path, {}, name="other.json")

    @pytest.mark.realdata
    def test_the_train_part_of_the_published_file(self, tmp_path, realdata):
        """The real form, at its size."""
        text = (realdata / "wikimel" / "Wikidata-MEL.train.json").read_text(encoding="utf-8")
        made = self.convert(tmp_path, text)
        sizes = Counter({split: len(open_dataset(made.folder / f"{split}.jsonl")) for split in ("train", "dev")})
        assert sizes.total() + made.set_aside == 18_088
        assert (made.entities, made.nameless) == (13_230, 0)
