"""WikiDiverse's three other forms: annotated sentences, mentions with candidates, DWE's."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.folders import CAPTIONS, write_wikidiverse

from dualway.datasets import audit, list_splits, open_dataset
from dualway.datasets.pictures import PictureFolders, dwe_name, wikinews_name
from dualway.datasets.titles import is_stray, title_of
from dualway.errors import DataError
from dualway.schema import Mention

WIKI = "https://en.wikipedia.org/wiki/"
ADDRESS = "https://upload.wikimedia.org/wikipedia/commons/0/06/DetroitLionsRunningPlay-2007.jpg"
SENTENCE = "The Lions versus the Packers (2007)."


def annotated(*mentions: list[Any], image: Any = ADDRESS) -> list[Any]:
    return [SENTENCE, image, "sports", list(mentions)]


LIONS = ["Lions", "Organization", 4, 9, f"{WIKI}Detroit_Lions"]
PACKERS = ["Packers", "Organization", 21, 28, f"{WIKI}Green_Bay_Packers"]


def with_candidates(**changes: Any) -> list[Any]:
    fields = {
        "sentence": SENTENCE, "image": ADDRESS, "mention": "Lions", "type": "Organization", "left": [], "right": ["x"],
        "page": f"{WIKI}Detroit_Lions", "candidates": [f"{WIKI}Lion", f"{WIKI}Detroit_Lions"], "topic": "sports",
        "start": 4, "end": 9,
    }  # fmt: skip
    return list((fields | changes).values())


def dwe(**changes: Any) -> dict[str, Any]:
    record = {
        "sentence": SENTENCE, "mention": "Lions", "mention_type": "Organization", "mention_image": "ab.jpg",
        "entity": "Detroit Lions", "cands": [["Lion", None], ["Detroit Lions", ["x.jpg"]]],
    }  # fmt: skip
    return record | changes


class TestSentences:
    def test_a_sentence_has_several_mentions_with_types_and_offsets(self, write):
        data = open_dataset(write("x.json", [annotated(LIONS, PACKERS), annotated(PACKERS)]))
        assert data.report.format == "wikidiverse-sentences"
        assert [(m.id, m.surface, m.type, m.start, m.end) for m in data.mentions] == [
            ("record-0-0", "Lions", "Organization", 4, 9),
            ("record-0-1", "Packers", "Organization", 21, 28),
            ("record-1-0", "Packers", "Organization", 21, 28),
        ]
        assert data.gold == {
            "record-0-0": "Detroit Lions",
            "record-0-1": "Green Bay Packers",
            "record-1-0": "Green Bay Packers",
        }
        assert data.report.counts["located given"] == 3
        assert data.report.counts["samples"] == data.report.counts["picture addresses"] == 2
        assert data.candidates == {}

    def test_wrong_offsets_are_put_right_and_counted(self, write):
        data = open_dataset(
            write("x.json", [annotated([*LIONS[:2], 0, 5, LIONS[4]], [*PACKERS[:2], None, 3.5, "nil"])])
        )
        assert [(m.start, m.end) for m in data.mentions] == [(4, 9), (21, 28)]
        assert data.report.repaired["offsets that do not hold the mention"].count == 1
        assert data.report.repaired["offsets that are not whole numbers left out"].count == 1

    @pytest.mark.parametrize("page", ["nil", "NIL", "", None, " nil "])
    def test_nil(self, write, page):
        data = open_dataset(write("x.json", [annotated([*LIONS[:4], page], PACKERS)]))
        assert data.gold["record-0-0"] is None
        assert data.report.counts["nil"] == 1

    def test_a_mapping_beside_gives_wikidata_ids_and_what_it_lacks_keeps_its_title(self, write):
        path = write("x.json", [annotated(LIONS, PACKERS)])
        write("wikipedia2qid.json", {"Detroit_Lions": "Q271880"})
        data = open_dataset(path)
        assert list(data.gold.values()) == ["Q271880", "Green Bay Packers"]
        assert data.report.notes["title without a Wikidata id, kept as the id"].examples == [
            ("record-0-1", "Green Bay Packers")
        ]

    def test_a_mapping_of_the_wrong_form_is_an_error_naming_it(self, write):
        path = write("x.json", [annotated(LIONS)])
        write("title2qid.json", {"Detroit Lions": 5})
        with pytest.raises(DataError, match=r"title2qid\.json, id 'Detroit Lions'"):
            open_dataset(path)

    @pytest.mark.parametrize(
        ("record", "reason"),
        [
            (5, "record is not [sentence, image, topic, mentions]"),
            ([SENTENCE, ADDRESS, "sports"], "record is not [sentence, image, topic, mentions]"),
            ([SENTENCE, ADDRESS, "sports", "Lions"], "mentions are not a list"),
            ([None, ADDRESS, "sports", []], "sentence is not text"),
            (["  ", ADDRESS, "sports", []], "empty sentence"),
            (annotated(["Lions"]), "mention is not text"),
            (annotated("Lions"), "mention is not text"),
            (annotated([" ", *LIONS[1:]]), "empty mention"),
            (annotated([*LIONS[:4], 7]), "answer is not text"),
            (annotated([*LIONS[:4], WIKI]), "the answer's address has no title"),
        ],
    )
    def test_one_bad_record_is_dropped_and_counted(self, write, record, reason):
        data = open_dataset(write("x.json", [annotated(LIONS), annotated(PACKERS), record]))
        assert len(data) == 2
        assert {why: tally.count for why, tally in data.report.dropped.items()} == {reason: 1}
        assert data.report.dropped[reason].examples[0][0].startswith("record-2")
        assert data.report.counts["records"] == 3

    def test_types_and_pictures_of_the_wrong_type_are_left_out_and_counted(self, write):
        data = open_dataset(write("x.json", [annotated(["Lions", 5, *LIONS[2:]], image=[ADDRESS])]))
        assert (data.mentions[0].type, data.mentions[0].image) == (None, None)
        assert data.report.repaired["mention type that is not text left out"].count == 1
        assert data.report.repaired["picture path that is not text left out"].count == 1


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (f"{WIKI}Detroit_Lions", "Detroit Lions"),
        ("http://en.wikipedia.org//wiki/AC/DC", "AC/DC"),
        (f"{WIKI}Jos%C3%A9_%22Pepe%22", 'José "Pepe"'),
        (f"{WIKI}Who_Framed%3F", "Who Framed?"),
        (f"{WIKI}Who?", "Who?"),
        (f"{WIKI}Ada?oldid=5#Life", "Ada"),
        (f"  {WIKI}__Ada__  ", "Ada"),
        ("nhttps://en.wikipedia.org/wiki/Ada", "Ada"),
        ("]https://en.wikipedia.org/wiki/Coca-Cola", "Coca-Cola"),
        ("ttps://en.wikipedia.org/wiki/iPhone", "iPhone"),
        ("https://www.wikidata.org/wiki/Q42", "Q42"),
        ("https://example.org/pages/Ada_B", "Ada B"),
        ("Detroit_Lions", "Detroit Lions"),
        (f"{WIKI}%FF%zz", "\ufffd%zz"),
        (WIKI, ""),
    ],
)
def test_titles(page, title):
    assert title_of(page) == title


def test_stray_letters_before_an_address_are_told(write):
    assert [is_stray(p) for p in ("nhttps://a/wiki/B", "]https://a", "https://a", "http://a", "Ada")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    data = open_dataset(write("x.json", [annotated([*LIONS[:4], f"n{LIONS[4]}"])]))
    assert data.gold == {"record-0-0": "Detroit Lions"}
    assert data.report.repaired["stray letters before the address of an answer"].count == 1


class TestPictureNames:
    """Known vectors: `printf %s NAME | md5sum`."""

    @pytest.mark.parametrize(
        ("base", "ending"),
        [
            ("Obama_speaking_%2823%29.jpg", ".jpg"),
            ("Map.svg", ".png"),
            ("MAP.SVG", ".png"),
            ("120px-Map.svg.png", ".png"),
            ("photo.JPG", ".JPG"),
            ("photo.jpeg", ".jpeg"),
            ("photo.jpg.jpeg", ".jpeg"),
            ("photo.jpg?width=5", ".jpg?width=5"),
            ("photo.Jpg", "photo.Jpg"),
            ("map.gif", "map.gif"),
            ("Map of Tolmar.svg", "Map of .png"),
        ],
    )
    def test_wikinews(self, base, ending):
        address = f"https://upload.wikimedia.org/a/b/{base}"
        assert wikinews_name(address) == hashlib.md5(base.encode()).hexdigest() + ending

    def test_fixed_vectors(self):
        """Written out, so that a change of what is hashed cannot pass unseen."""
        assert wikinews_name("https://upload.example.org/a/abc.jpg") == "75639d4112bb5a157b65bb18136ccd4e.jpg"
        assert wikinews_name(ADDRESS) == "062ce5e341a566a4208d801e53557538.jpg"

    def test_dwe_hashes_the_whole_address_and_converts_gif_too(self):
        for ending, kept in ((".jpg", ".jpg"), (".gif", ".png"), (".SVG", ".png"), (".jpg?x=1", ".jpg")):
            address = f"https://upload.example.org/a/abc{ending}"
            assert dwe_name(address) == hashlib.md5(address.encode()).hexdigest() + kept

    def test_names_that_no_file_can_hold_are_survived(self, tmp_path):
        for address in ("https://a/\ud800.jpg", "https://a/" + "x" * 5000, "https://a/..", "https://a/\x00.png"):
            names = (wikinews_name(address), dwe_name(address))
            assert all("/" not in name for name in names)
            assert PictureFolders(tmp_path, ["images"]).find(names) is None


@pytest.mark.parametrize("folder", ["set/wikinewsImgs", "set/images", "wikinewsImgs", "images", "ImgData/wikidiverse"])
@pytest.mark.parametrize("name_of", [wikinews_name, dwe_name])
def test_pictures_are_found_by_md5_in_the_usual_folders(write, folder, name_of):
    picture = write(f"{folder}/{name_of(ADDRESS)}", b"")
    data = open_dataset(write("set/train.json", [annotated(LIONS, PACKERS)]))
    assert [data.image_path(mention) for mention in data.mentions] == [picture, picture]
    assert data.report.counts["pictures found by md5"] == 1
    found = audit(data.root)["splits"]["train"]["pictures"]
    assert (found["named"], found["unreadable"], found["outside"], found["missing"]) == (1, 1, 0, 0)


def test_a_picture_that_is_nowhere_is_counted_as_missing(write):
    data = open_dataset(write("train.json", [annotated(LIONS)]))
    assert data.mentions[0].image == wikinews_name(ADDRESS)
    found = audit(data.root)["splits"]["train"]["pictures"]
    assert (found["missing"], found["addresses"], found["by_md5"]) == (1, 1, 0)


def test_a_link_out_of_a_picture_folder_is_not_followed(write, tmp_path):
    secret = write("secret.jpg", b"")
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "images" / wikinews_name(ADDRESS)).symlink_to(secret)
    write("set/train.json", [annotated(LIONS)])
    assert audit(tmp_path / "set")["splits"]["train"]["pictures"]["outside"] == 1


class TestCandidates:
    def test_a_mention_carries_its_candidates_apart(self, write):
        data = open_dataset(write("train_w_10cands.json", [with_candidates(), with_candidates(candidates=[])]))
        assert data.report.format == "wikidiverse-candidates"
        assert data.gold == {"record-0": "Detroit Lions", "record-1": "Detroit Lions"}
        assert data.candidates == {"record-0": ("Lion", "Detroit Lions"), "record-1": ()}
        assert "candidates" not in {field.name for field in fields(Mention)}
        assert data.report.counts["with candidates"] == 1
        assert (data.mentions[0].start, data.mentions[0].end, data.mentions[0].type) == (4, 9, "Organization")
        assert data.take([1]).candidates == {"record-1": ()}
        assert data.take([]).candidates == {}

    def test_odd_candidates_are_counted(self, write):
        odd = [f"{WIKI}Lion", "Lion", 5, None, [], "nil", ["Tiger", None]]
        data = open_dataset(write("x.json", [with_candidates(candidates=odd), with_candidates(candidates="Lion")]))
        assert data.candidates == {"record-0": ("Lion", "Tiger"), "record-1": ()}
        assert data.report.dropped["candidate that names no entity"].count == 4
        assert data.report.dropped["candidates are not a list"].count == 1

    def test_the_splits_of_the_published_folder_are_told_by_name(self, write, tmp_path):
        for split in ("train", "valid", "test"):
            write(f"{split}_w_10cands.json", [with_candidates()])
        assert list_splits(tmp_path) == ["train", "dev", "test"]

    @pytest.mark.parametrize("record", [[], with_candidates()[:10], "x", None, {"sentence": "x"}])
    def test_a_record_of_another_length_is_dropped(self, write, record):
        data = open_dataset(write("x.json", [with_candidates(), with_candidates(), record]))
        assert len(data) == 2
        assert data.report.dropped["record has not 11 fields"].count == 1


class TestDwe:
    def test_names_are_ids_as_they_stand(self, write):
        data = open_dataset(
            write("x.json", [dwe(), dwe(entity="nil"), dwe(mention="Packers", entity="Coca Cola 100%")])
        )
        assert data.report.format == "wikidiverse-dwe"
        assert list(data.gold.values()) == ["Detroit Lions", None, "Coca Cola 100%"]
        assert data.candidates["record-0"] == ("Lion", "Detroit Lions")
        assert (data.mentions[0].type, data.mentions[0].image) == ("Organization", "ab.jpg")

    def test_unlabelled_mentions_have_no_gold(self, write):
        record = dwe()
        del record["entity"], record["cands"]
        data = open_dataset(write("x.json", [record]))
        assert data.gold == data.candidates == {}

    def test_kgmel_stays_kgmel(self, write):
        record = {"sentence": SENTENCE, "mention": ["Lions"], "answer": ["Q1"], "imgPath": "a.jpg"}
        assert open_dataset(write("x.json", [record])).report.format == "wikidiverse"

    @pytest.mark.parametrize(
        ("record", "reason"),
        [
            ({"mention": "Lions"}, "no 'sentence'"),
            ({"sentence": SENTENCE}, "no 'mention'"),
            (dwe(mention=5), "mention is not text"),
            (dwe(entity=["Detroit Lions"]), "answer is not text"),
            ([1], "record is not an object"),
        ],
    )
    def test_one_bad_record_is_dropped_and_counted(self, write, record, reason):
        data = open_dataset(write("x.json", [dwe(), dwe(), record]))
        assert {why: tally.count for why, tally in data.report.dropped.items()} == {reason: 1}


@pytest.mark.parametrize("form", ["sentences", "candidates", "dwe"])
def test_the_folders_hold_the_same_mentions_in_every_form(tmp_path, form):
    folder = write_wikidiverse(tmp_path, form)
    assert list_splits(folder) == ["train", "dev", "test"]
    for split, captions in CAPTIONS.items():
        data = open_dataset(folder, split)
        expected = Counter((c.sentence, surface) for c in captions for surface, _ in c.mentions)
        found = Counter((m.text, m.surface) for m in data.mentions)
        assert found - expected == Counter(
            {("A stranger watches the race.", "stranger"): 1} if split == "train" else {}
        )
        assert expected - found == Counter()
        assert data.report.counts["located given"] == len(data)
        assert data.report.counts["nil"] == (split == "train")
        assert data.report.dropped == data.report.repaired == {}
        for mention in data.mentions:
            path = data.image_path(mention)
            assert path is not None
            assert path.is_file()
        found = audit(folder, split)["splits"][split]
        assert found["pictures"]["present"] == found["pictures"]["named"] > 0
        assert found["types"]["Person"] > 0
        [files] = audit(folder, split)["entity_files"]  # those of the form with candidates lie in the folder above
        assert files["format"] == "wikidiverse"
        assert files["gold"][split]["missing"] == 0
        if form != "sentences":
            assert found["candidates"]["mentions"] == len(data)
            assert (
                found["candidates"]["gold_among"] + found["candidates"]["gold_missed"]
                == found["candidates"]["with_gold"]
            )


@pytest.mark.realdata
@pytest.mark.parametrize("split", ["train", "dev"])
def test_real_captions_survive_the_way_through_every_form(realdata: Path, tmp_path: Path, split: str):
    """KGMEL's WikiDiverse, written as annotated sentences, with candidates and as DWE does, is read back the same."""
    source = open_dataset(realdata / "wikidiverse", split)
    names = {
        id: record["name"] for id, record in json.loads((realdata / "wikidiverse/entities.json").read_text()).items()
    }
    sentences: dict[tuple[str, str | None], list[Any]] = {}
    flat, objects = [], []
    for mention in source.mentions:
        address = f"https://upload.example.org/{mention.image}"
        title = names[source.gold[mention.id] or ""]
        page = WIKI + quote(title.replace(" ", "_"))
        annotation = [mention.surface, "Other", mention.start, mention.end, page]
        record = sentences.setdefault((mention.text, mention.image), [mention.text, address, "x", []])
        record[3].append(annotation)
        flat.append([mention.text, address, mention.surface, "Other", [], [], page, [page], "x", *annotation[2:4]])
        objects.append(
            {"sentence": mention.text, "mention": mention.surface, "entity": title, "cands": [[title, None]]}
        )
    expected = Counter((m.text, m.surface, " ".join(names[source.gold[m.id] or ""].split())) for m in source.mentions)
    for name, records in (("s", list(sentences.values())), ("c", flat), ("d", objects)):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(records))
        data = open_dataset(path)
        gold = [" ".join((data.gold[m.id] or "").split()) for m in data.mentions]
        assert Counter((m.text, m.surface, g) for m, g in zip(data.mentions, gold)) == expected
        assert data.report.dropped == {}
        if name != "d":
            assert data.report.counts["located given"] == len(source)
