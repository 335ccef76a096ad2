from __future__ import annotations

import json

import pytest

from dualway.datasets import open_dataset, write_mentions
from dualway.errors import DataError, StorageError
from dualway.schema import Mention

LINE = {"id": "a", "text": "Foster with co-star Mel Gibson", "surface": "Foster"}


def test_every_key_is_read_and_gold_is_kept_apart(write):
    full = LINE | {
        "start": 0,
        "end": 6,
        "type": "person",
        "image": "photo.jpg",
        "date": "2011",
        "place": "Cannes",
        "language": "en",
        "source": "wire",
        "entity_id": "Q41351",
    }
    data = open_dataset(write("x.jsonl", [full, LINE | {"id": "b", "entity_id": None}, LINE | {"id": "c"}]))
    first = data.mentions[0]
    assert first == Mention(LINE["text"], "Foster", "a", 0, 6, "person", "photo.jpg", "2011", "Cannes", "en", "wire")
    assert data.gold == {"a": "Q41351", "b": None}
    assert data.report.format == "jsonl"
    assert data.report.repaired == {}


def test_the_name_of_the_file_does_not_matter(write):
    assert len(open_dataset(write("held.back", json.dumps(LINE) + "\n\n" + json.dumps(LINE | {"id": "b"})))) == 2


def test_a_missing_id_is_the_line(write):
    line = {"text": "a b", "surface": "a"}
    data = open_dataset(write("x.jsonl", "\ufeff" + json.dumps(line) + "\n\n" + json.dumps(line)))
    assert [m.id for m in data.mentions] == ["line-1", "line-3"]


def test_numbers_as_ids_are_taken_as_text(write):
    data = open_dataset(write("x.jsonl", [LINE | {"id": 7, "entity_id": 12}]))
    assert data.gold == {"7": "12"}


def test_equal_mentions_of_one_caption_get_successive_places(write):
    line = {"text": "Bush and Bush", "surface": "Bush"}
    data = open_dataset(write("x.jsonl", [line, line, line | {"image": "other.jpg"}]))
    assert [m.start for m in data.mentions] == [0, 9, 0]


@pytest.mark.parametrize(
    ("start", "end", "found", "is_repaired"),
    [
        (20, 30, (20, 30), False),
        (0, 6, (20, 30), True),
        (21, 31, (20, 30), True),
        (20, None, (20, 30), True),
        (-5, 3, (20, 30), True),
        (30, 20, (20, 30), True),
        (0, 10**30, (20, 30), True),
    ],
)
def test_offsets_are_checked_and_put_right(write, start, end, found, is_repaired):
    line = {"text": LINE["text"], "surface": "Mel Gibson", "start": start, "end": end}
    data = open_dataset(write("x.jsonl", [line]))
    assert (data.mentions[0].start, data.mentions[0].end) == found
    assert bool(data.report.repaired) == is_repaired


def test_wrong_offsets_choose_the_nearest_place(write):
    data = open_dataset(write("x.jsonl", [{"text": "Bush, Bush, Bush", "surface": "Bush", "start": 7, "end": 11}]))
    assert data.mentions[0].start == 6


def test_unknown_keys_are_told(write):
    data = open_dataset(write("x.jsonl", [LINE | {"imgPath": "a.jpg"}]))
    assert data.report.notes["unknown key 'imgPath' is not read"].count == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 2: broken JSON"),
        ("[1]", r"line 2: a line must be an object"),
        (b'{"text": "\xff"}', r"line 2: not UTF-8"),
        ('{"surface": "a"}', r"line 2: 'text' is missing or empty"),
        ('{"text": "a"}', r"line 2: 'surface' is missing or empty"),
        ('{"text": "a", "surface": " "}', r"line 2: 'surface' is missing or empty"),
        ('{"text": "", "surface": "a"}', r"line 2: 'text' is missing or empty"),
        ('{"text": 5, "surface": "a"}', r"line 2: 'text' must be text, not 5"),
        ('{"text": "a", "surface": ["a"]}', r"line 2: 'surface' must be text"),
        ('{"text": "a", "surface": "a", "start": "0"}', r"line 2: 'start' must be a whole number"),
        ('{"text": "a", "surface": "a", "end": true}', r"line 2: 'end' must be a whole number"),
        ('{"text": "a", "surface": "a", "image": {}}', r"line 2: 'image' must be text"),
        ('{"text": "a", "surface": "a", "id": []}', r"line 2: 'id' must be text"),
        ('{"text": "a", "surface": "a", "entity_id": ""}', r"line 2: 'entity_id' is empty"),
        ('{"text": "a", "surface": "a", "entity_id": false}', r"line 2: 'entity_id' must be text"),
        ('{"text": "a", "surface": "a", "id": "a"}', r"line 2, id 'a': this id occurs twice"),
    ],
)
def test_a_wrong_line_is_an_error_naming_file_and_line(write, line, message):
    line = line if isinstance(line, bytes) else line.encode()
    with pytest.raises(DataError, match=r"x\.jsonl, " + message):
        open_dataset(write("x.jsonl", json.dumps(LINE).encode() + b"\n" + line + b"\n"))


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_an_error(write, content):
    with pytest.raises(DataError, match="no usable mention"):
        open_dataset(write("x.jsonl", content))


def test_lone_surrogates_are_replaced_and_counted(write):
    path = write("x.jsonl", '{"text": "a \\ud800 b", "surface": "b", "image": "\\u0000.jpg", "id": "\\udfff"}')
    data = open_dataset(path)
    [mention] = data.mentions
    assert (mention.text, mention.image, mention.id) == ("a \ufffd b", "\ufffd.jpg", "\ufffd")
    assert len(data.report.repaired) == 2


def test_what_is_written_is_read_back(tmp_path):
    mentions = [
        Mention("Zoë & Bush", "Bush", "1", 6, 10, "person", "a/b.jpg", "2011", "Rom", "de", "wire"),
        Mention("שלום דוד\u2028 x", "דוד", "2", 5, 8),
        Mention("Nobody here", "Zidane", "3"),
    ]
    gold = {"1": "Q207", "3": None}
    write_mentions(tmp_path / "new" / "x.jsonl", mentions, gold)
    data = open_dataset(tmp_path / "new" / "x.jsonl")
    assert data.mentions == mentions
    assert data.gold == gold


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_mentions(tmp_path / "file" / "x.jsonl", [])
