"""Conversions: there and back again, what would be lost, where pictures lead, what is never overwritten."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.folders import write_dwe, write_ghmfc, write_mimic, write_wikidiverse

from dualway.datasets import open_dataset, read_entities
from dualway.datasets.base import Dataset, ReadReport
from dualway.datasets.convert import FORMS, Options, convert
from dualway.datasets.entities_own import read_jsonl_entities
from dualway.errors import DataError, StorageError, UsageError
from dualway.kb.files import build_from_files

CAPTION = "Ada Brennick with Orrin Vasque in Tolmar, Ada again"
MELBENCH = {
    "1": {
        "id": "1",
        "sentence": CAPTION,
        "imgPath": "pics/1.jpg",
        "mentions": ["Ada Brennick", "Orrin Vasque", "Tolmar"],
        "entities": ["Ada Brennick", "Orrin Vasque", ""],
        "answer": ["Q1", "Q3", None],
    },
    "20-0": {"sentence": "Ada sings.", "mentions": ["Ada"], "answer": ["Q2"]},
    "x": {"sentence": "Who is Pia?", "mentions": ["Pia"]},
}
WIKIDIVERSE = [
    {"id": 7, "sentence": CAPTION, "imgPath": "7.jpg", "mention": ["Ada", "Tolmar"], "answer": ["Q1", "nil"]},
    {"id": "b", "sentence": "Ada sings.", "imgPath": "b.jpg", "mention": ["Ada"], "answer": ["Q2"], "img-url": "http"},
]
DWE = {
    "1-0": {"id": "1", "sentence": CAPTION, "imgPath": "1.jpg", "mentions": "Ada", "answer": "Q1"},
    "1-1": {"id": "1", "sentence": CAPTION, "imgPath": "1.jpg", "mentions": "Ada", "answer": None},
    "x": {"sentence": "Pia", "mentions": "Pia"},
}
GHMFC = {
    "Q1": {"id": "1", "sentence": CAPTION, "mentions": "Ada", "answer": "Q1", "img_list": ["images/Q1.jpg"]},
    "Q2": {"id": "2", "sentence": "She sings.", "mentions": "Ada", "answer": "Q2"},
}
PUBLISHED: dict[str, Any] = {"melbench": MELBENCH, "wikidiverse": WIKIDIVERSE, "dwe": DWE, "ghmfc": GHMFC}


def plain(dataset: Dataset) -> tuple[list[Any], list[Any]]:
    """What a data set holds, pictures by where they lie."""
    mentions = [
        (m.id, m.text, m.surface, m.start, m.end, m.type, m.date, m.place, m.language, m.source, resolved(dataset, m))
        for m in dataset.mentions
    ]
    return mentions, [dataset.gold.get(m.id, "no gold") for m in dataset.mentions]


def resolved(dataset: Dataset, mention) -> str | None:
    path = dataset.image_path(mention)
    return mention.image if path is None else os.path.realpath(path)


@pytest.mark.parametrize("form", PUBLISHED)
class TestThereAndBack:
    def test_published_to_jsonl_to_published(self, write, tmp_path, form):
        first = write("published/a.json", PUBLISHED[form])
        done = convert(first, tmp_path / "lines" / "a.jsonl")
        assert done.lost == {}
        lines = open_dataset(tmp_path / "lines" / "a.jsonl")
        assert plain(lines) == plain(open_dataset(first))
        back = tmp_path / "back" / "deeper" / "a.json"
        assert convert(tmp_path / "lines" / "a.jsonl", back, Options(form=form)).lost == {}
        assert open_dataset(back).report.format == form
        assert plain(open_dataset(back)) == plain(open_dataset(first))

    def test_jsonl_to_published_to_jsonl_is_identical(self, write, tmp_path, form):
        """Where the new file lies where the old one lay, picture paths are the same too."""
        convert(write("a.json", PUBLISHED[form]), tmp_path / "one.jsonl")
        convert(tmp_path / "one.jsonl", tmp_path / "two.json", Options(form=form))
        convert(tmp_path / "two.json", tmp_path / "three.jsonl")
        assert (tmp_path / "three.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()

    def test_the_content_is_that_of_the_published_file(self, write, tmp_path, form):
        """Every key that is read comes back as it was; those that name the answer in words are not written."""
        convert(write("a.json", PUBLISHED[form]), tmp_path / "a.jsonl")
        convert(tmp_path / "a.jsonl", tmp_path / "b.json", Options(form=form))
        written = json.loads((tmp_path / "b.json").read_text())
        read = {"sentence", "imgPath", "mentions", "mention", "answer", "img_list"}

        def kept(record: dict[str, Any]) -> dict[str, Any]:
            answer = record.get("answer")
            nil = [None if a == "nil" else a for a in answer] if isinstance(answer, list) else answer
            return {key: nil if key == "answer" else value for key, value in record.items() if key in read}

        if form == "wikidiverse":
            assert [record["id"] for record in written] == [7, "b"]
            assert [kept(record) for record in written] == [kept(record) for record in WIKIDIVERSE]
        else:
            assert {id: kept(record) for id, record in written.items()} == {
                id: kept(record) for id, record in PUBLISHED[form].items()
            }


LAYOUTS = {
    "dwe": write_dwe,
    "ghmfc": write_ghmfc,
    "mimic": write_mimic,
    "sentences": lambda root: write_wikidiverse(root, "sentences"),
    "candidates": lambda root: write_wikidiverse(root, "candidates"),
    "dwe-diverse": lambda root: write_wikidiverse(root, "dwe"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
class TestEveryLayout:
    """The folders that people of the field have on disk, pictures and entities included."""

    def test_all_of_it_in_our_form(self, tmp_path, layout):
        data = LAYOUTS[layout](tmp_path / "theirs")
        done = convert(data, tmp_path / "ours" / "x", Options(lossy=True))
        assert set(done.lost) == ({"given candidates"} if layout in {"candidates", "dwe-diverse"} else set())
        for split in done.files:
            before, after = open_dataset(data, split), open_dataset(tmp_path / "ours" / "x", split)
            assert plain(after) == plain(before)
            assert any(os.path.isfile(resolved(after, m) or "") for m in after.mentions)  # noqa: PTH113
        if layout != "candidates":  # whose entity files lie in the folder above
            theirs, _ = read_entities(data)
            ours = list(read_jsonl_entities(tmp_path / "ours" / "x" / "entities.jsonl", ReadReport(tmp_path)))
            assert [replace(entity, pictures=()) for entity in ours] == [replace(e, pictures=()) for e in theirs]
            assert [len(entity.pictures) for entity in ours] == [len(entity.pictures) for entity in theirs]
            assert done.entities == len(theirs)

    def test_a_copy_needs_nothing_of_the_original(self, tmp_path, layout):
        data = LAYOUTS[layout](tmp_path / "theirs")
        before = {split: open_dataset(data, split) for split in ("train", "dev", "test")}
        there = {split: [found(d, m) for m in d.mentions] for split, d in before.items()}
        convert(data, tmp_path / "ours", Options(lossy=True, copy_pictures=True))
        shutil.rmtree(tmp_path / "theirs")
        for split in before:
            after = open_dataset(tmp_path / "ours", split)
            assert [found(after, m) for m in after.mentions] == there[split]
            assert any(content is not None for content in there[split])


def found(dataset: Dataset, mention) -> bytes | None:
    path = dataset.image_path(mention)
    return path.read_bytes() if path is not None and path.is_file() else None


FULL = {
    "id": "5-0", "text": "Ada meets Ada", "surface": "Ada", "start": 0, "end": 3, "type": "Person", "image": "5.jpg",
    "date": "2001", "place": "Tolmar", "language": "en", "source": "me", "entity_id": "Q1",
}  # fmt: skip


class TestWhatIsLost:
    def test_jsonl_keeps_every_field(self, write, tmp_path):
        convert(write("a.jsonl", [FULL]), tmp_path / "out" / "a.jsonl")
        assert json.loads((tmp_path / "out" / "a.jsonl").read_text()) == FULL | {"image": "../5.jpg"}

    def test_jsonl_to_jsonl_keeps_the_file(self, write, tmp_path):
        first = write(
            "a.jsonl", [FULL, {"id": "n", "text": "A b", "surface": "b", "start": 2, "end": 3, "entity_id": None}]
        )
        convert(first, tmp_path / "b.jsonl")
        assert [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()] == [
            json.loads(line) for line in first.read_text().splitlines()
        ]

    @pytest.mark.parametrize("form", ["melbench", "wikidiverse", "dwe"])
    def test_each_field_that_a_form_lacks_is_named_and_counted(self, write, tmp_path, form):
        path = write("a.jsonl", [FULL, FULL | {"id": "5-1", "start": 10, "end": 13, "place": None}])
        with pytest.raises(UsageError) as caught:
            convert(path, tmp_path / "b.json", Options(form=form))
        message = str(caught.value)
        for loss in (
            "type of 2 mentions (first: 5-0: Person -> None)", "date of 2 mentions", "place of 1 mentions",
            "language of 2 mentions", "source of 2 mentions", "--lossy",
        ):  # fmt: skip
            assert loss in message
        assert "offsets" not in message  # the same two places are found again
        assert "id of" not in message
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl"]
        notes: list[str] = []
        done = convert(path, tmp_path / "b.json", Options(form=form, lossy=True), note=notes.append)
        assert {what: tally.count for what, tally in done.lost.items()} == {
            "type": 2, "date": 2, "place": 1, "language": 2, "source": 2,
        }  # fmt: skip
        assert "lost: type of 2 mentions (first: 5-0: Person -> None)" in notes
        assert len(open_dataset(tmp_path / "b.json")) == 2

    def test_offsets_that_would_be_found_elsewhere(self, write, tmp_path):
        """Only the second Ada is a mention: without offsets the first one would be taken."""
        line = {"id": "1-0", "text": "Ada meets Ada", "surface": "Ada", "start": 10, "end": 13}
        with pytest.raises(UsageError, match=r"offsets of 1 mentions \(first: 1-0: 10 -> 0\)"):
            convert(write("a.jsonl", [line]), tmp_path / "b.json", Options(form="melbench"))

    def test_ids_that_are_not_numbered_within_a_sample(self, write, tmp_path):
        lines = [{"text": "Ada and Pia", "surface": s} for s in ("Ada", "Pia")] + [
            {"id": "9", "text": "Ada", "surface": "Ada"}
        ]
        path = write("a.jsonl", lines)
        with pytest.raises(UsageError, match=r"id of 3 mentions \(first: line-1: line-1 -> line-1-0\)"):
            convert(path, tmp_path / "b.json", Options(form="melbench"))
        convert(path, tmp_path / "b.json", Options(form="melbench", lossy=True))
        assert [m.id for m in open_dataset(tmp_path / "b.json").mentions] == ["line-1-0", "line-1-1", "9-0"]
        convert(path, tmp_path / "c.json", Options(form="dwe"))  # which takes any id
        assert [m.id for m in open_dataset(tmp_path / "c.json").mentions] == ["line-1", "line-2", "9"]

    def test_numbers_with_a_gap_and_a_sample_in_two_places(self, write, tmp_path):
        lines = [
            {"id": id, "text": text, "surface": "Ada", "entity_id": "Q1"}
            for id, text in [("1-0", "Ada"), ("1-2", "Ada"), ("2-0", "Ada b"), ("1-1", "Ada"), ("2-1", "Ada b")]
        ]
        done = convert(write("a.jsonl", lines), tmp_path / "b.json", Options(form="melbench", lossy=True))
        assert done.lost["id"].count == 3
        assert len(open_dataset(tmp_path / "b.json")) == 5

    def test_nil_and_no_gold_stay_apart(self, write, tmp_path):
        lines = [
            {"id": "1-0", "text": "Ada and Pia", "surface": "Ada", "entity_id": None},
            {"id": "1-1", "text": "Ada and Pia", "surface": "Pia"},
        ]
        for form in ("melbench", "wikidiverse"):
            done = convert(write("a.jsonl", lines), tmp_path / f"{form}.json", Options(form=form, lossy=True))
            assert set(done.lost) == {"id"}  # put into two samples rather than given an answer
            back = open_dataset(tmp_path / f"{form}.json")
            assert [back.gold.get(m.id, "no gold") for m in back.mentions] == [None, "no gold"]

    @pytest.mark.parametrize("answer", ["c", "nil", "NIL"])
    def test_answers_that_a_published_form_would_take_for_others(self, write, tmp_path, answer):
        path = write("a.jsonl", [{"id": "1-0", "text": "Ada", "surface": "Ada", "entity_id": answer}])
        with pytest.raises(UsageError, match="entity id of 1 mentions"):
            convert(path, tmp_path / "b.json", Options(form="melbench"))

    def test_candidates_of_the_file_are_not_lost_in_silence(self, tmp_path, write):
        row = [
            "Ada sings",
            "http://x/a.jpg",
            "Ada",
            "Person",
            [],
            [],
            "http://x/wiki/Ada_B",
            ["Ada B", "Ada C"],
            "t",
            0,
            3,
        ]
        path = write("a.json", [row])
        assert open_dataset(path).candidates
        with pytest.raises(UsageError, match="given candidates of 1 mentions"):
            convert(path, tmp_path / "b.jsonl")

    def test_ghmfc_wants_wikidata_ids_and_other_forms_do_not_want_them_alone(self, write, tmp_path):
        lines = [{"id": str(i), "text": "Ada", "surface": "Ada"} for i in range(3)]
        for lossy in (False, True):
            with pytest.raises(UsageError, match=r"ghmfc names its samples by Wikidata ids .* choose dwe"):
                convert(write("a.jsonl", lines), tmp_path / "b.json", Options(form="ghmfc", lossy=lossy))
        named = [line | {"id": f"Q{line['id']}"} for line in lines]
        with pytest.raises(UsageError, match="would be read as ghmfc, not as dwe"):
            convert(write("c.jsonl", named), tmp_path / "b.json", Options(form="dwe"))
        convert(write("c.jsonl", named), tmp_path / "b.json", Options(form="ghmfc"))

    @pytest.mark.parametrize(
        "text", ["line\u2028break", 'tab\tquote"\\', "صلاح 東京 é", "a" * 5000, "\u200bAda", "\ufeffAda"]
    )
    def test_texts_of_all_kinds(self, write, tmp_path, text):
        path = write("a.jsonl", [{"id": "1-0", "text": f"Ada {text}", "surface": "Ada", "start": 0, "end": 3}])
        for form in ("melbench", "wikidiverse", "dwe"):
            convert(path, tmp_path / f"{form}.json", Options(form=form))
            assert open_dataset(tmp_path / f"{form}.json").mentions[0].text == f"Ada {text}"

    def test_what_reading_drops_is_told(self, write, tmp_path):
        notes: list[str] = []
        convert(write("a.json", MELBENCH | {"bad": 5}), tmp_path / "a.jsonl", note=notes.append)
        assert any("1 dropped: record is not an object (first: bad)" in line for line in notes)


@pytest.fixture
def pictured(tmp_path: Path, write) -> Path:
    """A data set whose pictures lie in several places, some of which are no pictures."""
    folder = tmp_path / "data"
    for name in ("a.png", "pics/b.png", "images/c.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), "red").save(folder / name)
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "a.png")
    (folder / "notes.txt").write_text("private")
    images = [
        "a.png", "pics/b.png", "c.png", "./a.png", "pics/../a.png", "missing.png", "../a.png", str(tmp_path / "a.png"),
        "https://example.org/a.png", "notes.txt", "x" * 300, None,
    ]  # fmt: skip
    lines = [
        {"id": str(i), "text": f"Ada {i}", "surface": "Ada"} | ({"image": image} if image else {})
        for i, image in enumerate(images)
    ]
    write("data/train.jsonl", lines)
    return folder


class TestPictures:
    @pytest.mark.parametrize("out", ["out", "data/inside", "a/b/c/out"])
    def test_relative_paths_lead_where_they_led(self, pictured, tmp_path, out):
        convert(pictured, tmp_path / out)
        before, after = open_dataset(pictured), open_dataset(tmp_path / out)
        assert plain(after) == plain(before)
        images = [m.image for m in after.mentions]
        assert images[8] == "https://example.org/a.png"
        assert images[7] == str(tmp_path / "a.png")
        assert images[11] is None
        assert sum(os.path.isfile(resolved(after, m) or "") for m in after.mentions) == 8  # noqa: PTH113 - odd names

    def test_through_a_linked_folder(self, pictured, tmp_path):
        """`..` of a linked folder is not the folder in which the link lies."""
        (tmp_path / "far" / "away").mkdir(parents=True)
        (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
        convert(pictured, tmp_path / "link", Options())
        assert plain(open_dataset(tmp_path / "link")) == plain(open_dataset(pictured))

    def test_copies(self, pictured, tmp_path):
        notes: list[str] = []
        done = convert(pictured, tmp_path / "out", Options(copy_pictures=True), note=notes.append)
        after = open_dataset(tmp_path / "out")
        images = [m.image for m in after.mentions]
        assert images[:3] == ["images/a.png", "images/pics/b.png", "images/c.png"]
        assert images[5] == "images/missing.png"
        assert images[8] == "https://example.org/a.png"
        assert images[6] == images[7] != "images/a.png"  # another picture of the same name
        assert (tmp_path / "out" / images[6]).read_bytes() == (tmp_path / "a.png").read_bytes()
        assert (tmp_path / "out" / "images" / "a.png").read_bytes() == (pictured / "a.png").read_bytes()
        copied = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*"))
        assert "images/notes.txt" not in copied
        assert len(copied) == 5  # train.jsonl and four pictures
        assert done.pictures["unreadable, not copied"] == 1
        assert "pictures missing, not copied: 2" in notes
        shutil.rmtree(pictured)
        assert sum(os.path.isfile(resolved(after, m) or "") for m in after.mentions) == 7  # noqa: PTH113 - odd names

    def test_what_is_no_picture_is_not_copied_whatever_its_path(self, write, tmp_path):
        secret = tmp_path / "secret"
        secret.write_text("key")
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "link.png").symlink_to(secret)
        os.mkfifo(tmp_path / "data" / "pipe.png")
        images = [
            "../secret",
            "link.png",
            "pipe.png",
            ".",
            "..",
            "/etc/passwd",
            "/",
            "//",
            "///",
            "images/",
            "a\\..\\b",
        ]
        write("data/a.jsonl", [{"id": str(i), "text": "A", "surface": "A", "image": x} for i, x in enumerate(images)])
        convert(tmp_path / "data" / "a.jsonl", tmp_path / "out", Options(copy_pictures=True))
        assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == ["a.jsonl"]
        assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "out", "secret"]

    def test_a_picture_found_by_its_samples_name(self, write, tmp_path):
        """GHMFC names none: `images/QID.*` is taken."""
        write(
            "data/train.json", {f"Q{i}": {"sentence": "Ada", "mentions": "Ada", "answer": f"Q{i}"} for i in range(30)}
        )
        (tmp_path / "data" / "images").mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / "data" / "images" / "Q7.png")
        convert(tmp_path / "data", tmp_path / "out")
        found = [m for m in open_dataset(tmp_path / "out", "train").mentions if m.image]
        assert [(m.id, m.image) for m in found] == [("Q7", "../data/images/Q7.png")]


class TestFolders:
    def test_a_file_a_split_and_the_entities(self, write, tmp_path):
        write("data/train.json", MELBENCH)
        write("data/dev.json", MELBENCH)
        write("data/qid2ne.json", {"Q1": "Ada Brennick", "Q3": "Orrin Vasque"})
        write(
            "data/qid2abs_long.json", {"Q1": "Ada Brennick [SEP]. Sex: female.", "Q3": "Orrin Vasque [SEP]. Sex: male."}
        )
        write("data/qid2abs.json", {"Q1": "Sex: female."})
        done = convert(tmp_path / "data", tmp_path / "out")
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["dev.jsonl", "entities.jsonl", "train.jsonl"]
        assert done.entities == 2
        assert done.files["train"] == {
            "file": str(tmp_path / "out" / "train.jsonl"),
            "mentions": 5,
            "with_gold": 4,
            "nil": 1,
        }
        entities = list(read_jsonl_entities(tmp_path / "out" / "entities.jsonl", ReadReport(tmp_path)))
        assert entities == read_entities(tmp_path / "data")[0]
        ours = build_from_files(tmp_path / "out" / "entities.jsonl", tmp_path / "b", representation=["properties"])
        theirs = build_from_files(tmp_path / "data", tmp_path / "a")
        assert ours.manifest.content == theirs.manifest.content
        assert plain(open_dataset(tmp_path / "out", "dev")) == plain(open_dataset(tmp_path / "data", "dev"))

    def test_pictures_of_entities_lead_where_they_led(self, write, tmp_path):
        write("data/train.json", MELBENCH)
        record = {"qid": "Q1", "entity_name": "Ada", "desc": "aviator", "image_list": ["Q1.jpg"]}
        write("data/kb_entity.json", [record])
        (tmp_path / "data" / "kb_image").mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / "data" / "kb_image" / "Q1.jpg")
        (before,), _ = read_entities(tmp_path / "data")
        convert(tmp_path / "data", tmp_path / "out")
        (after,) = read_jsonl_entities(tmp_path / "out" / "entities.jsonl", ReadReport(tmp_path))
        assert len(after.pictures) == len(before.pictures) > 0
        for old, new in zip(before.pictures, after.pictures):
            assert os.path.realpath(tmp_path / "out" / new.path) == os.path.realpath(tmp_path / "data" / old.path)

    def test_entity_files_of_two_forms_are_named_or_left_out(self, write, tmp_path):
        write("data/train.json", MELBENCH)
        write("data/qid2ne.json", {"Q1": "Ada"})
        write("data/entities.json", {"Q1": {"name": "Ada"}, "Q2": {"name": "Pia"}})
        with pytest.raises(UsageError, match="kgmel"):
            convert(tmp_path / "data", tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert convert(tmp_path / "data", tmp_path / "a", Options(entities="kgmel")).entities == 2
        notes: list[str] = []
        assert convert(tmp_path / "data", tmp_path / "b", Options(entities="none"), note=notes.append).entities is None

    def test_entities_that_stay_behind_are_told(self, write, tmp_path):
        write("data/train.jsonl", [{"id": "1", "text": "Ada", "surface": "Ada"}])
        write("data/entities.jsonl", [{"id": "Q1", "name": "Ada"}])
        notes: list[str] = []
        convert(tmp_path / "data", tmp_path / "out", Options(form="dwe"), note=notes.append)
        assert any("entities (entities.jsonl) are not part of this conversion" in line for line in notes)

    def test_one_split(self, write, tmp_path):
        write("data/train.json", MELBENCH)
        write("data/valid.json", MELBENCH)
        convert(tmp_path / "data", tmp_path / "out", Options(split="dev"))
        assert [p.name for p in (tmp_path / "out").iterdir()] == ["dev.jsonl"]
        convert(tmp_path / "data", tmp_path / "dev.jsonl", Options(split="dev"))
        assert len(open_dataset(tmp_path / "dev.jsonl")) == 5
        with pytest.raises(UsageError, match="no split 'test'"):
            convert(tmp_path / "data", tmp_path / "x", Options(split="test"))

    def test_splits_by_ids(self, write, tmp_path):
        write("data/all.json", MELBENCH)
        write("data/splits.json", {"train": ["1"], "test": ["20-0", "x"]})
        convert(tmp_path / "data", tmp_path / "out")
        assert [len(open_dataset(tmp_path / "out", split)) for split in ("train", "test")] == [3, 2]

    @pytest.mark.parametrize("name", ["../evil", "/evil", "..", "a/b", "", ".hidden", "a\nb", "x" * 200])
    def test_splits_whose_names_lead_elsewhere(self, write, tmp_path, name):
        write("data/all.json", MELBENCH)
        write("data/splits.json", {"train": ["1"], name: ["x"]})
        with pytest.raises(DataError, match="cannot be a file's name"):
            convert(tmp_path / "data", tmp_path / "deep" / "out")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]

    def test_richpedia_keeps_its_dev(self, write, tmp_path):
        write(
            "data/train.json",
            {f"Q{i}": {"sentence": f"Ada {i}", "mentions": "Ada", "answer": f"Q{i}"} for i in range(50)},
        )
        convert(tmp_path / "data", tmp_path / "lines")
        convert(tmp_path / "lines", tmp_path / "back", Options(form="ghmfc"))
        for split in ("train", "dev"):
            assert plain(open_dataset(tmp_path / "back", split)) == plain(open_dataset(tmp_path / "data", split))
        notes: list[str] = []
        convert(tmp_path / "lines", tmp_path / "t", Options(form="ghmfc", split="train"), note=notes.append)
        assert any("a tenth of train will be dev" in line for line in notes)


class TestTargets:
    def test_what_is_there_stays(self, write, tmp_path):
        path = write("a.json", MELBENCH)
        for out in (tmp_path / "out", tmp_path / "b.jsonl"):
            convert(path, out)
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        for out in (tmp_path / "out", tmp_path / "b.jsonl"):
            with pytest.raises(StorageError, match="already exists; remove it, choose another --out, or give --force"):
                convert(path, out)
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before

    def test_force_replaces_files_of_the_same_names_only(self, write, tmp_path):
        path = write("a.json", MELBENCH)
        write("out/a.jsonl", "old")
        write("out/notes.txt", "mine")
        write("b.jsonl", "old")
        convert(path, tmp_path / "out", Options(force=True))
        convert(path, tmp_path / "b.jsonl", Options(force=True))
        assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
        assert (tmp_path / "out" / "a.jsonl").read_bytes().count(b"\n") == 5
        assert (tmp_path / "b.jsonl").read_bytes().count(b"\n") == 5
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "b.jsonl", "out"]

    def test_force_replaces_nothing_when_something_would_be_lost(self, write, tmp_path):
        write("out/train.json", "old")
        path = write("train.jsonl", [FULL])
        with pytest.raises(UsageError, match="would be lost"):
            convert(path, tmp_path / "out", Options(form="melbench", force=True))
        assert (tmp_path / "out" / "train.json").read_text() == "old"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "train.jsonl"]

    @pytest.mark.parametrize("force", [False, True])
    def test_never_into_the_input(self, write, tmp_path, force):
        path = write("data/train.json", MELBENCH)
        before = path.read_bytes()
        for source, out, form in [
            (path, path, "melbench"),
            (tmp_path / "data", tmp_path / "data", "jsonl"),
            (path, tmp_path / "data", "jsonl"),
            (tmp_path / "data", tmp_path / "data" / ".." / "data", "jsonl"),
        ]:
            with pytest.raises(UsageError, match="is where the input lies"):
                convert(source, out, Options(form=form, force=force))
        assert path.read_bytes() == before
        assert [p.name for p in (tmp_path / "data").iterdir()] == ["train.json"]

    def test_impossible_calls(self, write, tmp_path):
        write("data/train.json", MELBENCH)
        write("data/dev.json", MELBENCH)
        data = tmp_path / "data"
        for out, options, words in [
            ("out", Options(form="csv"), "unknown form 'csv'; choose one of jsonl, melbench, ghmfc, dwe, wikidiverse"),
            ("out.jsonl", Options(), "one file for train, dev; give a folder, or --split"),
            ("out.json", Options(split="dev"), r"ends in \.jsonl"),
            ("out.jsonl", Options(form="dwe", split="dev"), r"ends in \.json"),
            ("out.jsonl", Options(split="dev", copy_pictures=True), "needs a folder"),
            ("out", Options(entities="xml"), "unknown form 'xml'"),
        ]:
            with pytest.raises(UsageError, match=words):
                convert(data, tmp_path / out, options)
        write("file", "x")
        for force in (False, True):
            with pytest.raises(StorageError):
                convert(data / "dev.json", tmp_path / "file", Options(force=force))
            with pytest.raises(StorageError):
                convert(data / "dev.json", tmp_path / "file" / "deeper", Options(force=force))
        assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "file"]

    def test_a_broken_input_leaves_nothing(self, write, tmp_path):
        write("data/train.json", MELBENCH)
        write("data/dev.json", "{")
        with pytest.raises(DataError, match="broken JSON"):
            convert(tmp_path / "data", tmp_path / "out")
        assert [p.name for p in tmp_path.iterdir()] == ["data"]

    def test_a_failure_half_way_leaves_nothing(self, write, tmp_path):
        """The entities are broken, and they come last."""
        write("data/train.json", MELBENCH)
        write("data/qid2ne.json", "[1]")
        with pytest.raises(DataError):
            convert(tmp_path / "data", tmp_path / "out")
        assert [p.name for p in tmp_path.iterdir()] == ["data"]


@pytest.mark.realdata
class TestRealData:
    """The published files: to JSON Lines and back, the same mentions and gold; identical files on the second round."""

    @pytest.mark.parametrize(
        ("name", "split", "form", "others"),
        [
            ("wikimel/Wikidata-MEL.dev.json", None, "melbench", ["dwe", "wikidiverse"]),
            ("wikidiverse/dev.json", None, "wikidiverse", ["dwe", "melbench"]),
            ("richpedia", "dev", "ghmfc", []),
        ],
    )
    def test_there_and_back(self, realdata, tmp_path, name, split, form, others):
        before = open_dataset(realdata / name, split)
        lines = tmp_path / "a.jsonl"
        assert convert(realdata / name, lines, Options(split=split)).lost == {}
        assert plain(open_dataset(lines)) == plain(before)
        for other in [form, *others]:
            assert convert(lines, tmp_path / f"{other}.json", Options(form=other)).lost == {}
            back = open_dataset(tmp_path / f"{other}.json")
            assert back.report.format == other
            assert plain(back) == plain(before)
            convert(tmp_path / f"{other}.json", tmp_path / f"{other}.jsonl")
            assert (tmp_path / f"{other}.jsonl").read_bytes() == lines.read_bytes()

    def test_richpedias_entities_make_the_same_knowledge_base(self, realdata, tmp_path):
        convert(realdata / "richpedia", tmp_path / "out")
        ours = build_from_files(tmp_path / "out" / "entities.jsonl", tmp_path / "b", representation=["properties"])
        theirs = build_from_files(realdata / "richpedia", tmp_path / "a")
        assert ours.manifest.content == theirs.manifest.content


def test_every_form_is_tried_above():
    assert {*PUBLISHED, "jsonl"} == set(FORMS)
