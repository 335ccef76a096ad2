"""Splits of folders and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualway.datasets import list_splits, open_dataset
from dualway.datasets.ghmfc import in_dev
from dualway.errors import DataError, UsageError


def sample(word: str) -> dict[str, object]:
    return {"sentence": f"{word} sat.", "mentions": [word], "answer": ["Q1"]}


def ghmfc(count: int) -> dict[str, object]:
    return {f"Q{i}": {"sentence": "Kao sat.", "mentions": "Kao", "answer": f"Q{i}"} for i in range(count)}


@pytest.mark.parametrize("pattern", ["{}.json", "Wikidata-MEL.{}.json", "wiki_{}.json", "{}.jsonl"])
def test_split_files_are_found_by_name(write, tmp_path, pattern):
    for word, split in [("B", "dev"), ("C", "test"), ("A", "train")]:
        lines = [{"text": word, "surface": word}]
        write(pattern.format(split), lines if pattern.endswith("l") else {"1": sample(word)})
    write("qid2ne.json", {"Q1": "a"})
    assert list_splits(tmp_path) == ["train", "dev", "test"]
    data = open_dataset(tmp_path, "dev")
    assert data.mentions[0].surface == "B"
    assert (data.name, data.split, data.root) == (tmp_path.name, "dev", tmp_path)


def test_valid_is_dev(write, tmp_path):
    write("valid.json", {"1": sample("B")})
    assert open_dataset(tmp_path, "dev").mentions == open_dataset(tmp_path, "valid").mentions


def test_an_unknown_split_lists_those_present(write, tmp_path):
    write("train.json", {"1": sample("A")})
    write("dev.json", {"1": sample("A")})
    with pytest.raises(UsageError, match=r"no split 'test'; it has: train, dev"):
        open_dataset(tmp_path, "test")
    with pytest.raises(UsageError, match=r"several splits; name one of: train, dev"):
        open_dataset(tmp_path)


def test_a_folder_with_one_file_needs_no_split(write, tmp_path):
    write("mine.jsonl", [{"text": "a b", "surface": "a"}])
    assert len(open_dataset(tmp_path)) == 1
    assert list_splits(tmp_path) == ["all"]


def test_a_folder_without_data_lists_what_was_looked_for(write, tmp_path):
    write("qid2abs.json", {})
    write("notes.txt", "")
    with pytest.raises(DataError, match=r"no data set in this folder; looked for train/dev/test\.json"):
        open_dataset(tmp_path, "train")


def test_files_that_cannot_be_told_apart_are_an_error(write, tmp_path):
    write("a.train.json", {"1": sample("A")})
    write("b.train.json", {"1": sample("A")})
    with pytest.raises(DataError, match=r"a\.train\.json and b\.train\.json both look like the split 'train'"):
        open_dataset(tmp_path, "train")
    write("train.json", {"1": sample("C")})
    assert open_dataset(tmp_path, "train").mentions[0].surface == "C"


def test_richpedia_dev_is_taken_from_train(write, tmp_path):
    path = write("train.json", ghmfc(200))
    train, dev, whole = (open_dataset(tmp_path, "train"), open_dataset(tmp_path, "dev"), open_dataset(path))
    assert list_splits(tmp_path) == ["train", "dev"]
    assert {m.id for m in dev.mentions} == {f"Q{i}" for i in range(200) if in_dev(f"Q{i}")}
    assert {m.id for m in train.mentions} | {m.id for m in dev.mentions} == {m.id for m in whole.mentions}
    assert len(train) + len(dev) == len(whole) == 200
    assert dev.report.counts["records"] == len(dev)
    assert open_dataset(path, "dev").mentions == dev.mentions


def test_a_published_dev_of_richpedia_goes_before(write, tmp_path):
    write("train.json", ghmfc(50))
    write("dev.json", ghmfc(3))
    assert len(open_dataset(tmp_path, "train")) == 50
    assert len(open_dataset(tmp_path, "dev")) == 3


def test_splits_json_divides_one_big_file(write, tmp_path):
    write("Wikidata-MEL.json", {"1": sample("A"), "2": sample("B"), "3": sample("C")})
    write("splits.json", {"train": ["1", "3"], "dev": [2, 99]})
    assert [m.id for m in open_dataset(tmp_path, "train").mentions] == ["1-0", "3-0"]
    dev = open_dataset(tmp_path, "dev")
    assert [m.id for m in dev.mentions] == ["2-0"]
    assert list(dev.report.notes) == ["1 of the 2 ids of splits.json are not in the file"]


def test_a_broken_splits_json_is_an_error(write, tmp_path):
    write("Wikidata-MEL.json", {"1": sample("A")})
    write("splits.json", {"train": "1"})
    with pytest.raises(DataError, match=r"splits\.json: expected"):
        open_dataset(tmp_path, "train")


def test_a_file_is_read_whole(write):
    path = write("odd.json", {"1": sample("A")})
    data = open_dataset(path)
    assert (data.name, data.split) == ("odd", None)
    write("train.json", {"1": sample("A")})
    with pytest.raises(UsageError, match="is read whole"):
        open_dataset(path, "dev")


@pytest.mark.parametrize("path", ["missing.json", "x" * 5000])
def test_a_path_that_is_not_there_is_an_error(tmp_path, path):
    with pytest.raises(DataError):
        open_dataset(tmp_path / path)


def test_pictures_that_are_addresses_have_no_path(write):
    path = write("x.jsonl", [{"text": "a", "surface": "a", "image": "https://example.org/a.jpg"}])
    data = open_dataset(path)
    assert data.image_path(data.mentions[0]) is None
    write("x.jsonl", [{"text": "a", "surface": "a", "image": "/pictures/a.jpg"}])
    data = open_dataset(path)
    assert data.image_path(data.mentions[0]) == Path("/pictures/a.jpg")


def test_a_table_on_one_line_is_no_json_lines(write):
    compact = '{"1": {"sentence": "A sat.", "mentions": ["A"], "answer": ["Q1"]}, "2": 5}'
    assert open_dataset(write("x.json", compact)).report.format == "melbench"
    assert open_dataset(write("x.json", '{"text": "A sat.", "surface": "A", "extra": {}}')).report.format == "jsonl"


def test_entities_and_regions_beside_one_file_of_mentions_are_not_taken_for_it(tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"text": "Foster at home", "surface": "Foster"}\n')
    (tmp_path / "entities.jsonl").write_text('{"id": "Q1", "name": "Jodie Foster"}\n')
    (tmp_path / "annotations.jsonl").write_text('{"image": "a.jpg"}\n')
    assert len(open_dataset(tmp_path)) == 1
