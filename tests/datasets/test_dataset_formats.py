"""Every published format, on small files in its exact form, with the dirt that was met in it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from dualway.datasets import open_dataset
from dualway.datasets.ghmfc import in_dev
from dualway.errors import DataError


def melbench(**changes: Any) -> dict[str, Any]:
    sample = {
        "id": "46351",
        "sentence": "Powers with Noel Harrison in The Girl from U.N.C.L.E.",
        "imgPath": "KVQAimgs/46351.JPG",
        "mentions": ["Noel Harrison", "Powers"],
        "entities": ["Noel Harrison", "Stefanie Powers"],
        "answer": ["Q532915", "Q256474"],
    }
    return sample | changes


GOOD = {"46351": melbench()}


def test_melbench_has_several_mentions_a_sample(write):
    data = open_dataset(write("anything.json", GOOD))
    assert [(m.id, m.surface, m.start, m.end) for m in data.mentions] == [
        ("46351-0", "Noel Harrison", 12, 25),
        ("46351-1", "Powers", 0, 6),
    ]
    assert data.gold == {"46351-0": "Q532915", "46351-1": "Q256474"}
    assert data.mentions[0].image == "KVQAimgs/46351.JPG"
    assert data.report.format == "melbench"
    assert data.report.counts["samples"] == 1
    assert data.image_path(data.mentions[0]) == data.root / "KVQAimgs" / "46351.JPG"


def test_ghmfc_has_one_mention_a_sample(write):
    data = open_dataset(
        write(
            "x.json",
            {
                "Q16389": {
                    "id": "Q16389",
                    "sentence": "Sir Charles Kuen Kao was an engineer.",
                    "mentions": "Kao",
                    "entities": "Charles K. Kao",
                    "answer": "Q16389",
                    "img_list": ["a.jpg", "b.jpg"],
                    "brief": "Nobel laureate",
                }
            },
        )
    )
    assert data.gold == {"Q16389": "Q16389"}
    assert (data.mentions[0].id, data.mentions[0].image, data.mentions[0].start) == ("Q16389", "a.jpg", 17)
    assert data.report.format == "ghmfc"
    assert data.report.notes["several pictures, the first is used"].count == 1


def test_ghmfc_pictures_named_after_their_sample_are_found(write):
    write("images/Q1.jpg", b"")
    sample = {"sentence": "Kao sat.", "mentions": "Kao", "answer": "Q1"}
    data = open_dataset(write("train.json", {"Q1": sample, "Q2": sample | {"answer": "Q2"}}))
    assert [m.image for m in data.mentions] == ["images/Q1.jpg", None]


def test_a_picture_beside_in_images_is_found(write):
    picture = write("images/a.jpg", b"")
    sample = {"sentence": "Kao sat.", "mentions": "Kao", "answer": "Q1", "img_list": ["a.jpg"]}
    data = open_dataset(write("train.json", {"Q1": sample}))
    assert data.image_path(data.mentions[0]) == picture


def test_dwes_pictures_lie_beside_the_data(write):
    """`imgPath` is a path in ImgData, beside the data's folder; Richpedia's pictures have a folder of their own."""
    sample = {"sentence": "Kao sat.", "mentions": "Kao", "answer": "Q1"}
    wiki, rich = write("ImgData/wikipedia/1.jpg", b""), write("ImgData/richpedia/images/Q1.jpg", b"")
    data = open_dataset(write("wikipedia/train.json", {"1": sample | {"imgPath": "KVQAimgs/1.jpg"}}))
    assert data.image_path(data.mentions[0]) == wiki
    data = open_dataset(write("richpedia/train.json", {"Q1": sample | {"img_list": ["Q1.jpg"]}}))
    assert data.image_path(data.mentions[0]) == rich
    data = open_dataset(write("wikipedia/dev.json", {"1": sample | {"imgPath": "../../richpedia/images/Q1.jpg"}}))
    assert data.image_path(data.mentions[0]) == data.root / "../../richpedia/images/Q1.jpg"  # never out of a folder


def test_dwe_has_one_mention_a_record_and_repeated_names_get_successive_places(write):
    record = {
        "id": "123",
        "sentence": "Bush and Bush",
        "imgPath": "KVQAimgs/123.jpg",
        "mentions": "Bush",
        "entities": "George W. Bush",
        "answer": "Q207",
        "brief": "43rd president",
    }
    data = open_dataset(write("x.json", {"123-0": record, "123-1": record | {"answer": "Q23505"}, "7": record}))
    assert data.gold == {"123-0": "Q207", "123-1": "Q23505", "7": "Q207"}
    assert [m.start for m in data.mentions] == [0, 9, 0]
    assert data.report.format == "dwe"


def test_wikidiverse_counts_missing_addresses(write):
    sample = {
        "id": 4,
        "sentence": "Students outside the UK parliament.",
        "imgPath": "mention_4.jpg",
        "mention": ["UK", "parliament"],
        "entity": ["United Kingdom", "Parliament"],
        "answer": ["Q145", None],
    }
    data = open_dataset(
        write("x.json", [sample, sample | {"id": 5, "img-url": None}, sample | {"id": 6, "img-url": "u"}])
    )
    assert [m.id for m in data.mentions] == ["4-0", "4-1", "5-0", "5-1", "6-0", "6-1"]
    assert data.gold["4-0"] == "Q145"
    assert data.gold["4-1"] is None
    assert data.report.counts["nil"] == 3
    assert data.report.notes["no picture address (img-url)"].count == 2
    assert data.report.format == "wikidiverse"


@pytest.mark.parametrize("answer", ["", "nil", "NIL", None])
def test_nil_is_an_answer(write, answer):
    data = open_dataset(write("x.json", {"1": melbench(answer=["Q1", answer])}))
    assert data.gold == {"1-0": "Q1", "1-1": None}


def test_unlabelled_mentions_have_no_gold(write):
    sample = melbench()
    del sample["answer"]
    data = open_dataset(write("x.json", {"1": sample}))
    assert len(data) == 2
    assert data.gold == {}


def test_the_known_misspelt_answer_is_put_right_and_counted(write):
    data = open_dataset(write("x.json", {"1": melbench(answer=["c", "Q1"])}))
    assert data.gold["1-0"] == "Q5729149"
    assert sum(tally.count for tally in data.report.repaired.values()) == 1


def test_nothing_that_gives_the_answer_away_reaches_a_mention(write):
    secret = "SECRET"
    sample = melbench(entities=[secret, secret], brief=secret, answer=[secret, secret], entity=[secret])
    data = open_dataset(write("x.json", {"1": sample}))
    assert all(secret not in str(asdict(mention)) for mention in data.mentions)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("text", "record is not an object"),
        (None, "record is not an object"),
        ({"id": "1"}, "no 'sentence'"),
        (melbench(sentence=3), "'sentence' is not text"),
        (melbench(sentence=" \n"), "empty sentence"),
        (melbench(mentions="Powers"), "'mentions' is not a list"),
        (melbench(mentions=None), "'mentions' is not a list"),
        (melbench(answer="Q1"), "'answer' is not a list"),
        (melbench(answer=["Q1"]), "number of answers is not the number of mentions"),
        (melbench(mentions=[], answer=[]), None),
    ],
)
def test_one_bad_record_is_dropped_and_counted(write, bad, reason):
    data = open_dataset(write("x.json", GOOD | {"bad": bad}))
    assert len(data) == 2
    assert {why: tally.count for why, tally in data.report.dropped.items()} == ({reason: 1} if reason else {})
    if reason:
        assert data.report.dropped[reason].examples[0][0] == "bad"


@pytest.mark.parametrize(
    ("surface", "answer", "reason"),
    [
        (" ", "Q1", "empty mention"),
        ("", "Q1", "empty mention"),
        (5, "Q1", "mention is not text"),
        (None, "Q1", "mention is not text"),
        ("Powers", 5, "'answer' is not an entity id"),
        ("Powers", ["Q1"], "'answer' is not an entity id"),
    ],
)
def test_one_bad_mention_is_dropped_and_the_ids_of_the_others_stay(write, surface, answer, reason):
    sample = melbench(mentions=[surface, "Noel Harrison"], answer=[answer, "Q532915"])
    data = open_dataset(write("x.json", {"1": sample}))
    assert [m.id for m in data.mentions] == ["1-1"]
    assert data.report.dropped[reason].count == 1


@pytest.mark.parametrize("answer", [[], ["Q1", "Q2"]])
def test_a_single_mention_needs_one_answer(write, answer):
    sample = {"sentence": "Kao sat.", "mentions": "Kao"}
    data = open_dataset(write("x.json", {"Q1": sample | {"answer": answer}, "Q2": sample | {"answer": ["Q2"]}}))
    assert data.gold == {"Q2": "Q2"}


def test_a_picture_path_of_the_wrong_type_is_left_out_and_counted(write):
    data = open_dataset(write("x.json", {"1": melbench(imgPath={"a": 1})}))
    assert data.mentions[0].image is None
    assert data.report.repaired["picture path that is not text left out"].count == 1


def test_a_mention_not_in_its_sentence_is_kept_and_reported(write):
    data = open_dataset(write("x.json", {"1": melbench(mentions=["Zinedine Zidane", "Powers"])}))
    assert (data.mentions[0].start, data.mentions[0].end) == (None, None)
    assert data.report.counts["not located"] == 1
    [(id, text)] = data.report.notes["mention not found in its sentence, kept without offsets"].examples
    assert (id, text) == ("1-0", "Zinedine Zidane")


def test_lone_surrogates_and_nul_are_replaced_and_counted(write):
    data = open_dataset(write("x.json", {"1": melbench(sentence="Noel Harrison \ud800 and \x00 Powers")}))
    assert data.mentions[0].text == "Noel Harrison \ufffd and \ufffd Powers"
    data.mentions[0].text.encode()
    assert data.report.repaired["lone surrogates or NUL in a sentence replaced"].count == 1


@pytest.mark.parametrize(
    ("sentence", "surface"),
    [
        ("習近平在北京會見馬克宏", "馬克宏"),
        ("Владимир Путин и Шойгу", "Шойгу"),
        ("التقى محمد صلاح بالمدرب", "محمد صلاح"),
        ("נתניהו ופרס בירושלים", "ופרס"),
        ("नरेन्द्र मोदी दिल्ली में", "मोदी"),
        ("👩‍👩‍👧 Zoë 🇫🇷", "Zoë"),
    ],
)
def test_every_script_is_kept_as_given(write, sentence, surface):
    data = open_dataset(write("x.json", {"1": melbench(sentence=sentence, mentions=[surface], answer=["Q1"])}))
    [mention] = data.mentions
    assert (mention.text, mention.surface) == (sentence, surface)
    assert sentence[mention.start : mention.end] == surface


def test_a_sentence_of_a_megabyte_is_read(write):
    sentence = "word " * 200_000 + "and Hermann von Beckerath."
    data = open_dataset(
        write("x.json", {"1": melbench(sentence=sentence, mentions=["Hermann Beckerath"], answer=["Q1"])})
    )
    [mention] = data.mentions
    assert sentence[mention.start : mention.end] == "Hermann von Beckerath"


def test_a_key_that_occurs_twice_is_an_error_naming_file_and_id(write):
    path = write("x.json", '{"7": {"sentence": "a", "mentions": ["a"]}, "7": {"sentence": "b", "mentions": ["b"]}}')
    with pytest.raises(DataError, match=r"x\.json, id '7'.*twice"):
        open_dataset(path)


def test_two_list_records_with_one_id_are_an_error_naming_file_and_id(write):
    record = {"id": 1, "sentence": "a b", "mention": ["a"], "answer": ["Q1"]}
    with pytest.raises(DataError, match=r"x\.json, id '1-0'.*twice"):
        open_dataset(write("x.json", [record, record]))


def test_a_list_record_without_id_is_called_by_its_place(write):
    record = {"sentence": "a b", "mention": ["a"], "answer": ["Q1"]}
    assert open_dataset(write("x.json", [record, record])).gold == {"record-0-0": "Q1", "record-1-0": "Q1"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{\n"1": {"sentence": "a",\n"mentions": [}}', r"x\.json, line 3: broken JSON"),
        ("", r"x\.json, line 1: broken JSON"),
        (b'{"1":\n {"sentence": "\xff"}}', r"x\.json, line 2: not UTF-8"),
        ("[" * 100_000, r"x\.json.*nested too deeply"),
        ('{"a": %s}' % ("9" * 5000), r"x\.json: broken JSON"),
        ("{}", r"x\.json"),
        ("[]", r"x\.json: not a known data set"),
        ("3", r"x\.json: not a known data set"),
        ('{"Q1": "a text"}', r"x\.json"),
        ('{"1": {"sentence": "a", "mentions": ["b", " "], "answer": ["Q1"]}}', "no usable mention in it: number of"),
    ],
)
def test_a_file_broken_as_a_whole_is_an_error_naming_it(write, content, message):
    with pytest.raises(DataError, match=message):
        open_dataset(write("x.json", content))


def test_the_format_is_told_by_most_of_the_first_records(write):
    data = open_dataset(
        write("x.json", {"bad": 1, "worse": {"mentions": "Kao", "sentence": "Kao"}} | GOOD | {"2": melbench()})
    )
    assert data.report.format == "melbench"
    assert len(data) == 4


def test_dev_of_richpedia_is_a_tenth_by_sha1():
    assert sum(in_dev(f"Q{i}") for i in range(10_000)) == pytest.approx(1000, abs=100)
    assert in_dev("Q1319")
    assert not in_dev("Q78513")


def test_the_report_is_plain_values(write):
    import json

    data = open_dataset(write("x.json", {"1": melbench(), "2": None}))
    report = json.loads(json.dumps(data.report.to_dict()))
    assert report["dropped"]["record is not an object"] == {"count": 1, "examples": [{"id": "2", "text": "None"}]}
    assert report["counts"]["records"] == 2


def test_take_keeps_gold_of_the_chosen(write):
    data = open_dataset(write("x.json", GOOD)).take([1])
    assert [m.id for m in data.mentions] == ["46351-1"]
    assert data.gold == {"46351-1": "Q256474"}
