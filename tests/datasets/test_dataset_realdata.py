"""The real data sets, read in place; counts as published beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualway.datasets import audit, list_splits, open_dataset, read_entities

pytestmark = pytest.mark.realdata


@pytest.mark.parametrize(
    ("folder", "split", "samples", "mentions", "not_literal", "not_located"),
    [
        ("wikimel", "train", 15_511, 18_088, 518, 0),
        ("wikimel", "dev", 2_213, 2_627, 66, 0),
        ("richpedia", "train", 7_699, 7_699, 753, 387),
        ("richpedia", "dev", 846, 846, 96, 49),
        ("wikidiverse", "train", 5_265, 10_582, 0, 0),
        ("wikidiverse", "dev", 692, 1_371, 0, 0),
    ],
)
def test_every_mention_is_read(
    realdata: Path, folder: str, split: str, samples: int, mentions: int, not_literal: int, not_located: int
):
    data = open_dataset(realdata / folder, split)
    counts = data.report.counts
    assert counts["records"] == counts["samples"] == samples
    assert len(data) == len(data.gold) == len({mention.id for mention in data.mentions}) == mentions
    assert counts["nil"] == 0
    assert counts["not literal"] == not_literal
    # Better finding may lower this; it must not rise, nor what was found in the text be lost.
    assert counts["not located"] <= not_located
    assert data.report.dropped == {}
    assert all(answer is not None and answer.startswith("Q") for answer in data.gold.values())
    for mention in data.mentions:
        if mention.surface in mention.text:
            assert mention.text[mention.start : mention.end].casefold() == mention.surface.casefold()


@pytest.mark.parametrize(
    ("folder", "format"), [("wikimel", "melbench"), ("richpedia", "ghmfc"), ("wikidiverse", "wikidiverse")]
)
def test_richpedia_alone_has_no_dev_file(realdata: Path, folder: str, format: str):
    assert list_splits(realdata / folder) == ["train", "dev"]
    assert open_dataset(realdata / folder, "dev").report.format == format


def test_a_file_of_richpedia_is_read_whole(realdata: Path):
    data = open_dataset(realdata / "richpedia" / "train.json")
    assert len(data) == 8_545
    pictures = [path for mention in data.mentions if (path := data.image_path(mention)) is not None]
    assert len(pictures) == 3
    assert all(path.is_file() for path in pictures)


@pytest.mark.parametrize(
    ("folder", "entities", "counts"),
    [
        ("wikimel", 18_880, {"with properties": 18_880, "names shared": 0}),
        ("richpedia", 17_805, {"with properties": 17_805, "with properties_short": 17_625, "names shared": 137}),
        ("wikidiverse", 20_844, {"with description": 3_554}),
    ],
)
def test_every_entity_is_read(realdata: Path, folder: str, entities: int, counts: dict[str, int]):
    found, report = read_entities(realdata / folder)
    assert len(found) == len({entity.id for entity in found}) == entities
    assert {key: report.counts[key] for key in counts} == counts
    assert report.dropped == {}


@pytest.mark.parametrize(
    ("folder", "present", "shared"), [("wikimel", (36, 3), 9), ("richpedia", (2, 1), 5), ("wikidiverse", (0, 0), 7)]
)
def test_the_audit_finds_pictures_and_shared_sentences(
    realdata: Path, folder: str, present: tuple[int, int], shared: int
):
    found = audit(realdata / folder)
    pictures = [split["pictures"] for split in found["splits"].values()]
    assert tuple(picture["present"] for picture in pictures) == present
    assert all(picture["unreadable"] == picture["outside"] == 0 for picture in pictures)
    assert found["shared_sentences"][0]["sentences"] == shared
    [files] = found["entity_files"]
    assert all(gold["missing"] == 0 for gold in files["gold"].values())
