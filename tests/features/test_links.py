"""A picture that a link puts into the data's folder from elsewhere is not read, and named among the failures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.stores import build_store, photo

from dualway.datasets import open_dataset
from dualway.features.store import open_features
from dualway.kb.store import KnowledgeBase


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A split of a picture, of links in and out, and of a path to elsewhere."""
    folder = tmp_path / "data"
    photo(folder / "own.png")
    photo(tmp_path / "elsewhere" / "other.png", seed=1)
    (folder / "in.png").symlink_to("own.png")
    (folder / "out.png").symlink_to("../elsewhere/other.png")
    names = ["own.png", "in.png", "out.png", "../elsewhere/other.png", str(tmp_path / "elsewhere" / "other.png")]
    lines = [{"id": str(i), "text": "Foster", "surface": "Foster", "image": name} for i, name in enumerate(names)]
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_store_has_what_lies_in_the_folders_or_is_named_by_its_path(people_kb: KnowledgeBase, data: Path, tmp_path):
    build_store(tmp_path / "F", data, people_kb, splits=["train"])
    found, report = open_features(tmp_path / "F").load(open_dataset(data, "train"))
    [(path, why)] = report.failures.items()
    assert path == str(data / "out.png")
    place = (tmp_path / "elsewhere" / "other.png").resolve()
    assert why.startswith(f"a link out of the folder, to {str(place)!r}; put the picture itself there")
    assert [i >= 0 for i in found.picture.tolist()] == [True, True, False, True, True]
