from __future__ import annotations

import contextlib
import io
import json
import pickle
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from dualway.datasets import audit
from dualway.errors import DataError, UsageError


def png(width: int = 2, height: int = 2) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that unpacks to side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def sample(sentence: str, image: str | None, answer: str | None = "Q1") -> dict[str, object]:
    return {"sentence": sentence, "mentions": [sentence.split()[0]], "answer": [answer], "imgPath": image}


def test_pictures_are_checked_without_following_links_out_of_the_folder(write, tmp_path):
    folder = tmp_path / "set"
    outside = write("secret.png", png())
    write("set/a.png", png())
    write("set/broken.png", png()[:30])
    write("set/text.jpg", "not a picture")
    write("set/bomb.png", bomb(50_000))
    write("set/large.png", bomb(11_000))
    (folder / "link.png").symlink_to(outside)
    write("away/a.png", png())
    (tmp_path / "elsewhere").symlink_to(tmp_path / "away")
    (folder / "inner.png").symlink_to(folder / "a.png")
    (folder / "folder.png").mkdir()
    names = [
        "a.png",
        "a.png",
        "inner.png",
        "broken.png",
        "text.jpg",
        "bomb.png",
        "large.png",
        "link.png",
        "../secret.png",
        "../elsewhere/a.png",
    ]
    names += ["folder.png", "missing.png", "x" * 400, "https://example.org/a.png", None]
    write("set/train.json", {str(i): sample("Kao sat", name) for i, name in enumerate(names)})
    pictures = audit(folder)["splits"]["train"]["pictures"]
    examples = pictures.pop("examples")
    assert pictures == {
        "named": 13,
        "present": 3,
        "missing": 3,
        "unreadable": 2,
        "too_large": 2,
        "outside": 2,
        "addresses": 1,
        "by_md5": 0,
        "mentions_without": 1,
    }
    assert examples["outside"] == ["link.png", "../elsewhere/a.png"]
    assert examples["unreadable"] == ["broken.png", "text.jpg"]


def test_sentences_shared_by_splits_are_counted_after_normalisation(write, tmp_path):
    write("train.json", {"1": sample("Kao sat.", None), "2": sample("Only here", None)})
    write("dev.json", {"1": sample("KAO  sat", None), "2": sample("Kao sat!", None), "3": sample("New one", None)})
    [shared] = audit(tmp_path)["shared_sentences"]
    assert shared == {"splits": ["train", "dev"], "sentences": 1, "mentions": 2, "examples": ["KAO  sat", "Kao sat!"]}


def test_gold_outside_the_entity_files_and_captions_inside_entity_texts_are_told(write, tmp_path):
    first = "Otto Weininger was an Austrian thinker who lived in Vienna."
    write("qid2ne.json", {"Q1": "Otto Weininger", "Q2": "Other"})
    write("qid2abs.json", {"Q1": f"{first} He wrote one book.", "Q2": "Sex: male."})
    samples = [sample(first, None), sample(first, None, "Q2"), sample("Otto sat", None), sample("Kao sat", None, "Q9")]
    samples.append(sample(f"Photo: {first.lower()} He wrote", None))
    samples.append(sample("Nobody", None, None))
    write("train.json", {str(i): record for i, record in enumerate(samples)})
    found = audit(tmp_path)
    [files] = found["entity_files"]
    assert files["files"] == ["qid2ne.json", "qid2abs.json"]
    assert files["gold"]["train"] == {
        "missing": 1,
        "missing_examples": ["Q9"],
        "sentence_in_entity_text": 2,
        "sentence_in_entity_text_examples": ["0-0", "4-0"],
    }
    assert found["splits"]["train"]["nil"] == 1


def test_a_relative_path_out_of_the_folder_is_no_link(write, tmp_path):
    """As `data convert` writes them; how the folder itself is reached (a link, a relative path) is no matter."""
    write("images/a.png", png())
    write("set/train.json", {"1": sample("Kao sat", "../images/a.png")})
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "set").symlink_to(tmp_path / "set")
    with contextlib.chdir(tmp_path / "set"):
        for folder in (tmp_path / "set", tmp_path / "links" / "set", Path(), Path("../set")):
            pictures = audit(folder)["splits"]["train"]["pictures"]
            assert (pictures["present"], pictures["outside"], pictures["missing"]) == (1, 0, 0), folder


OWN = {
    "entities.jsonl": '{"id": "Q1", "name": "Kao", "description": "Kao sat.", "odd": 1}\n',
    "entities.ndjson": '{"id": "Q1", "name": "Kao"}\n',
    "entities.csv": "id,name,description,odd\nQ1,Kao,Kao sat.,1\n",
    "entities.tsv": "id\tname\nQ1\tKao\n",
}


@pytest.mark.parametrize("name", OWN)
def test_gold_outside_one_s_own_entity_file_is_told(write, tmp_path, name):
    write("train.json", {"1": sample("Kao sat", None), "2": sample("Lu sat", None, "Q9")})
    write(name, OWN[name])
    [files] = audit(tmp_path)["entity_files"]
    assert (files["files"], files["counts"]["entities"]) == ([name], 1)
    assert files["format"] == ("jsonl" if name.endswith(("jsonl", "ndjson")) else "csv")
    assert files["gold"]["train"]["missing_examples"] == ["Q9"]
    assert list(files["notes"]) == (["unknown 'odd', not read"] if "odd" in OWN[name] else [])


def test_own_and_published_entity_files_are_told_apart(write, tmp_path):
    write("train.json", {"1": sample("Kao sat", None)})
    write("qid2ne.json", {"Q2": "Other"})
    write("entities.jsonl", OWN["entities.jsonl"])
    found = audit(tmp_path)["entity_files"]
    assert [(files["format"], files["gold"]["train"]["missing"]) for files in found] == [("ghmfc", 1), ("jsonl", 0)]


def test_a_broken_entity_file_of_one_s_own_is_named_with_its_line(write, tmp_path):
    write("train.json", {"1": sample("Kao sat", None)})
    write("entities.jsonl", OWN["entities.jsonl"] + '{"id": "Q2"}\n')
    with pytest.raises(DataError, match=r"entities\.jsonl, line 2: 'name' is missing"):
        audit(tmp_path)
    (tmp_path / "entities.jsonl").write_bytes(pickle.dumps({}))
    with pytest.raises(DataError, match="a Python pickle"):
        audit(tmp_path)


def test_the_result_is_json_and_counts_what_was_dropped(write, tmp_path):
    path = write("odd.json", {"1": sample("Kao sat", None), "2": 5})
    found = json.loads(json.dumps(audit(path)))
    split = found["splits"]["odd"]
    assert (split["samples"], split["records"], split["mentions"], split["entities"]) == (1, 2, 1, 1)
    assert split["located"] == {"given": 0, "exact": 1, "folded": 0, "fuzzy": 0, "not": 0}
    assert split["dropped"]["record is not an object"]["count"] == 1
    assert found["entity_files"] == []


def test_one_split_can_be_asked_for(write, tmp_path):
    write("train.json", {"1": sample("Kao sat", None)})
    write("dev.json", {"1": sample("Kao sat", None)})
    assert list(audit(tmp_path, "dev")["splits"]) == ["dev"]
    with pytest.raises(UsageError, match="it has: train, dev"):
        audit(tmp_path, "test")


def test_a_folder_without_data_is_an_error(tmp_path):
    with pytest.raises(DataError, match="looked for"):
        audit(tmp_path)
