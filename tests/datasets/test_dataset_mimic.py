"""MIMIC's cleaned sets: mentions in a list, `kb_entity.json`, `qid2id.json`, two folders of pictures."""

from __future__ import annotations

from typing import Any

import pytest
from tests.folders import CAPTIONS, PEOPLE, write_mimic

from dualway.datasets import audit, list_splits, open_dataset, read_entities
from dualway.errors import DataError
from dualway.kb.files import build_from_files
from dualway.kb.store import KnowledgeBase


def sample(**changes: Any) -> dict[str, Any]:
    record = {
        "id": "46351", "sentence": "Powers with Noel Harrison", "imgPath": "KVQAimgs/46351.JPG", "mentions": "Powers",
        "entities": "Stefanie Powers", "answer": "Q256474",
    }  # fmt: skip
    return record | changes


def entity(**changes: Any) -> dict[str, Any]:
    record = {
        "id": 0, "qid": "Q1", "type": "entity", "entity_name": "Noel%20Harrison", "attr": "Sex: male.",
        "image_list": ["Q1_0.jpg"],
    }  # fmt: skip
    return record | changes


class TestMentions:
    def test_a_list_of_single_mentions_is_mimics_and_a_table_is_dwes(self, write):
        assert open_dataset(write("x.json", [sample()])).report.format == "mimic"
        assert open_dataset(write("y.json", {"46351": sample()})).report.format == "dwe"
        assert open_dataset(write("z.json", [sample(id="Q1")])).report.format == "mimic"

    def test_ids_that_repeat_are_numbered_and_names_decoded(self, write):
        records = [sample(), sample(mentions="Noel%20Harrison", answer="nil"), sample(id=7, mentions="100%")]
        data = open_dataset(write("x.json", records))
        assert [(m.id, m.surface) for m in data.mentions] == [
            ("46351-0", "Powers"), ("46351-1", "Noel Harrison"), ("7", "100%"),
        ]  # fmt: skip
        assert data.gold == {"46351-0": "Q256474", "46351-1": None, "7": "Q256474"}

    @pytest.mark.parametrize("key", ["candidates", "cands"])
    def test_candidates_of_later_systems_are_carried_apart(self, write, key):
        data = open_dataset(write("x.json", [sample(**{key: ["Q1", "Q256474", "Q1"]})]))
        assert data.candidates == {"46351": ("Q1", "Q256474")}

    @pytest.mark.parametrize("folder", ["mention_image", "mention_images"])
    def test_pictures_are_called_by_what_stands_before_the_dot(self, write, folder):
        picture = write(f"{folder}/46351.jpg", b"")
        data = open_dataset(write("x.json", [sample(), sample(id="8", imgPath="")]))
        assert data.image_path(data.mentions[0]) == picture
        assert data.mentions[1].image is None

    def test_a_picture_that_was_not_converted_is_found_under_its_own_name(self, write):
        picture = write("mention_image/46351.JPG", b"")
        data = open_dataset(write("x.json", [sample(), sample(id="8", imgPath="a/none.png")]))
        assert data.image_path(data.mentions[0]) == picture
        assert data.mentions[1].image == "a/none.png"

    def test_a_picture_path_never_leads_out_of_the_picture_folder(self, write, tmp_path):
        write("secret.jpg", b"")
        (tmp_path / "set" / "mention_image").mkdir(parents=True)
        write("set/train.json", [sample(imgPath="../../secret.jpg")])
        found = audit(tmp_path / "set")["splits"]["train"]["pictures"]
        assert (found["present"], found["unreadable"]) == (0, 0)

    @pytest.mark.parametrize(
        ("record", "reason"),
        [
            (5, "record is not an object"),
            (sample(mentions=["Powers"]), "mention is not text"),
            (sample(answer=7), "answer is not text"),
            ({"mentions": "Powers"}, "no 'sentence'"),
            ({"sentence": "Powers"}, "no 'mentions'"),
        ],
    )
    def test_one_bad_record_is_dropped_and_counted(self, write, record, reason):
        data = open_dataset(write("x.json", [sample(), sample(id="8"), record]))
        assert {why: tally.count for why, tally in data.report.dropped.items()} == {reason: 1}


class TestEntities:
    def test_name_text_and_pictures(self, write, tmp_path):
        write("kb_image/Q1_0.jpg", b"")
        write("qid2id.json", {"Q1": 0})
        write("kb_entity.json", [entity(image_list=["Q1_0.jpg", "../x/Q1_1.jpg"], desc="A singer.")])
        [found], report = read_entities(tmp_path)
        assert report.format == "mimic"
        assert (found.id, found.name) == ("Q1", "Noel Harrison")
        assert [(r.kind, r.text) for r in found.representations] == [
            ("properties", "Sex: male."), ("description", "A singer."),
        ]  # fmt: skip
        assert [picture.path for picture in found.pictures] == ["kb_image/Q1_0.jpg", "kb_image/Q1_1.jpg"]
        assert (report.counts["pictures present"], report.counts["pictures missing"]) == (1, 1)
        assert report.notes["picture not on disk"].count == 1

    def test_an_id_comes_from_qid2id_where_the_record_has_none(self, write, tmp_path):
        write("qid2id.json", {"Q1": 0, "Q2": 1, "Q9": 2})
        records = [entity(), entity(id=1, qid=None), entity(id=7, qid=""), entity(id=5, qid="Q3"), entity(), 5]
        write("kb_entity.json", records)
        entities, report = read_entities(tmp_path)
        assert [e.id for e in entities] == ["Q1", "Q2", "Q3"]
        assert report.dropped["no 'qid', and none in qid2id.json"].count == 1
        assert report.dropped["id given before"].count == 1
        assert report.dropped["entity is not an object"].count == 1
        assert report.notes["qid2id.json has another number for it, or none"].examples == [("Q3", "5")]
        assert report.notes["id of qid2id.json that is no entity"].examples == [("Q9", "")]

    def test_a_file_alone_is_told_by_its_content(self, write):
        path = write("anything.json", [entity(entity_name=None, attr=5)])
        [found], report = read_entities(path)
        assert (found.name, found.representations) == ("Q1", ())
        assert report.dropped["'attr' is not text"].count == 1
        assert report.repaired["no name, the id stands for it"].count == 1

    @pytest.mark.parametrize(
        ("value", "message"),
        [({"Q1": entity()}, "expected a list"), ([5], "no usable entity"), ([], "no usable entity")],
    )
    def test_another_content_is_an_error_naming_the_file(self, write, tmp_path, value, message):
        write("kb_entity.json", value)
        with pytest.raises(DataError, match=message):
            read_entities(tmp_path)

    def test_a_broken_qid2id_is_an_error_naming_it(self, write, tmp_path):
        write("kb_entity.json", [entity()])
        write("qid2id.json", ["Q1"])
        with pytest.raises(DataError, match=r"qid2id\.json"):
            read_entities(tmp_path)


@pytest.mark.parametrize("name", ["WikiMEL", "RichpediaMEL", "wiki_diverse"])
def test_the_folder_is_read_whole(tmp_path, name):
    folder = write_mimic(tmp_path, name)
    assert list_splits(folder) == ["train", "dev", "test"]
    found = audit(folder)
    for split, captions in CAPTIONS.items():
        part = found["splits"][split]
        assert part["mentions"] == sum(len(c.mentions) for c in captions) + (split == "train")
        assert part["nil"] == (split == "train")
        assert part["pictures"]["present"] == part["pictures"]["named"] > 0
        assert part["dropped"] == part["repaired"] == {}
    [files] = found["entity_files"]
    assert (files["format"], files["counts"]["entities"]) == ("mimic", len(PEOPLE))
    assert all(gold["missing"] == 0 for gold in files["gold"].values())
    report = build_from_files(folder, tmp_path / "kb")
    assert (report.form, report.manifest.representation) == ("mimic", ("properties",))
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        pictures = [picture for record in kb.entities() for picture in record.pictures]
        assert len(pictures) == sum(i % 3 for i in range(len(PEOPLE)))
        assert all((kb.picture_root / picture.path).is_file() for picture in pictures)
