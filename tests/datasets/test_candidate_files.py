"""Files that propose candidates: by surface, by gold, and data sets that carry them."""

from __future__ import annotations

import pytest
from tests.folders import PEOPLE, surfaces, write_dwe, write_mimic, write_wikidiverse

from dualway.datasets import audit, open_dataset
from dualway.datasets.candidate_files import Keys, find_keys, read_candidate_file
from dualway.errors import DataError
from dualway.schema import Mention

NAMES = {person.id: person.name for person in PEOPLE}


def test_lists_by_surface(write):
    file = read_candidate_file(
        write("search_top100.json", {"Foster": ["Q1", "Q1", 5, " "], "Kao": [], "\ud800": ["Q2"]})
    )
    assert file.form == "surfaces"
    assert file.by_surface == {"Foster": ("Q1",), "Kao": (), "\ufffd": ("Q2",)}
    assert file.lists_for(Mention("Foster sat", "Foster")) == ("Q1",)
    assert file.lists_for(Mention("foster sat", "foster")) is None
    assert file.report.dropped["candidate that is no entity id"].count == 2
    assert len(file.sha256) == 16
    assert not file.has_ten


def test_the_hash_is_that_of_the_content(write):
    first = read_candidate_file(write("a.json", {"Foster": ["Q1"]}))
    same = read_candidate_file(write("b.json", {"Foster": ["Q1"]}))
    other = read_candidate_file(write("c.json", {"Foster": ["Q2"]}))
    assert first.sha256 == same.sha256 != other.sha256


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"Foster": []}, "no candidates in it"),
        ({"Foster": [5]}, "no candidates in it"),
        ({}, "'text' is missing"),
        ([], "not a known data set"),
        ({"Q1": {"sentence": "Kao sat", "mentions": "Kao", "answer": "Q1"}}, "no candidates in it"),
    ],
)
def test_another_file_is_an_error_naming_it(write, value, message):
    with pytest.raises(DataError, match=rf"x\.json.*{message}"):
        read_candidate_file(write("x.json", value))


def test_lists_of_a_data_set_are_found_by_caption_and_words_in_any_form(tmp_path):
    folder = write_wikidiverse(tmp_path / "c", "candidates")
    file = read_candidate_file(folder)
    assert file.form == "wikidiverse-candidates"
    assert file.has_ten
    one = read_candidate_file(folder / "train_w_10cands.json")
    assert one.sha256 != file.sha256
    assert len(one.by_mention) < len(file.by_mention)
    sentences = open_dataset(write_wikidiverse(tmp_path / "s", "sentences"), "dev")
    for mention in sentences.mentions:
        listed = file.lists_for(mention)
        assert listed is not None
        assert len(listed) == 10
    assert file.lists_for(Mention("Another caption", "Brennick")) is None


def test_the_same_words_with_other_candidates_are_noted(write):
    record = {"id": "1", "sentence": "Kao sat", "mentions": "Kao", "answer": "Q1", "candidates": ["Q1"]}
    file = read_candidate_file(write("x.json", [record, record | {"id": "2", "candidates": ["Q2"]}]))
    assert list(file.by_mention.values()) == [("Q1",)]
    assert sum(tally.count for tally in file.report.notes.values()) == 1


def test_dwes_wikimel_is_keyed_by_the_mention_and_its_wikidiverse_by_gold(tmp_path):
    wiki = write_dwe(tmp_path / "wiki")
    file = read_candidate_file(wiki / "search_top100.json")
    for split in ("train", "dev", "test"):
        assert not find_keys(file, open_dataset(wiki, split), NAMES).are_gold
    diverse = write_wikidiverse(tmp_path / "diverse", "dwe")
    file = read_candidate_file(diverse / "search_top100.json")
    for split in ("train", "dev", "test"):
        keys = find_keys(file, open_dataset(diverse, split), {})
        assert keys.are_gold
        assert keys.by_surface == 0


def test_keys_that_are_ids_of_gold_are_told_too(tmp_path, write):
    data = open_dataset(write_mimic(tmp_path), "train")
    file = read_candidate_file(write("x.json", {id: ["Q1"] for id in NAMES}))
    unlike = [m for m in data.mentions if NAMES.get(data.gold[m.id] or "", m.surface) != m.surface]
    assert find_keys(file, data, NAMES) == Keys(0, len(unlike))
    by_words = read_candidate_file(write("y.json", {surface: ["Q1"] for surface in surfaces()}))
    assert find_keys(by_words, data, NAMES).by_gold == 0


def test_unlabelled_mentions_tell_nothing(write):
    data = open_dataset(write("m.jsonl", [{"text": "Kao sat", "surface": "Kao"}]))
    assert find_keys(read_candidate_file(write("x.json", {"Q1": ["Q1"]})), data, {}) == Keys(0, 0)


def test_the_audit_says_how_files_of_candidates_are_keyed(tmp_path):
    [file] = audit(write_dwe(tmp_path / "wiki"))["candidate_files"]
    assert (file["file"], file["keyed_by"]) == ("search_top100.json", "surface")
    assert file["splits"]["dev"] == {
        "mentions": 4, "mean": 12.0, "with_gold": 4, "gold_among": 4, "gold_missed": 0, "of": 4,
    }  # fmt: skip
    [file] = audit(write_wikidiverse(tmp_path / "diverse", "dwe"))["candidate_files"]
    assert file["keyed_by"] == "gold"
    assert file["splits"]["train"]["mentions"] < file["splits"]["train"]["of"]
