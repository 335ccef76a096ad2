"""What a kill leaves of a store between two of its files is gone on from, and never taken for something else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.stores import Colours, build_store, files_of, photo, write_data

import dualway.features.writing as writing_module
from dualway.errors import CompatibilityError, StorageError
from dualway.features.build import Made
from dualway.features.manifest import MANIFEST, read_manifest
from dualway.features.seeing import PictureReader
from dualway.features.store import open_features
from dualway.kb.store import KnowledgeBase
from dualway.storage import locked


class Killed(BaseException):
    """In place of SIGKILL."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures that are read, as they are read."""
    names: list[str] = []
    original = PictureReader.read

    def reading(self, path, *args, **more):
        names.append(path.name)
        return original(self, path, *args, **more)

    monkeypatch.setattr(PictureReader, "read", reading)
    return names


def unname(store: Path, split: str) -> None:
    """Take a split out of the manifest: as it is when a build is killed after moving it to its place."""
    content = json.loads((store / MANIFEST).read_text())
    del content["splits"][split]
    (store / MANIFEST).write_text(json.dumps(content, indent=1) + "\n")


def made(items: list[Made]) -> list[str]:
    return [item.split for item in items if item.report is not None]


@pytest.mark.parametrize("where", ["train", "work/splits/train"])
def test_a_split_that_is_complete_and_not_named_is_taken_as_it_is(people_kb, data, tmp_path, read, where):
    """As when one of many pictures had changed, and the build that read it was killed at its very end."""
    store = tmp_path / "F"
    build_store(store, data, people_kb)
    photo(data / "a.png", seed=42)
    build_store(store, data, people_kb)
    before = files_of(store)
    unname(store, "train")
    if where != "train":
        (store / where).parent.mkdir(parents=True)
        shutil.move(store / "train", store / where)
    read.clear()
    assert made(build_store(store, data, people_kb)) == []
    assert read == []
    assert {name: content for name, content in before.items() if name != MANIFEST} == {
        name: content for name, content in files_of(store).items() if name != MANIFEST
    }
    assert read_manifest(store).splits.keys() == {"train", "dev"}


@pytest.mark.parametrize("where", ["train", "work/splits/train"])
@pytest.mark.parametrize("change", ["gallery", "mentions", "picture", "record", "no record"])
def test_one_of_another_state_is_made_anew(people_kb, data, tmp_path, where, change):
    store, more = tmp_path / "F", {}
    build_store(store, data, people_kb)
    unname(store, "train")
    if where != "train":
        (store / where).parent.mkdir(parents=True)
        shutil.move(store / "train", store / where)
    if change == "gallery":
        more = {"gallery": "with one picture more"}
    elif change == "mentions":
        (data / "train.jsonl").write_text((data / "train.jsonl").read_text().replace("train 3", "train three"))
    elif change == "picture":
        photo(data / "a.png", seed=42)
    elif change == "record":
        (store / where / "record.json").write_text("[1]")
    else:
        (store / where / "record.json").unlink()
    assert "train" in made(build_store(store, data, people_kb, **more))
    build_store(tmp_path / "whole", data, people_kb, **more)
    assert _but_order(files_of(store)) == _but_order(files_of(tmp_path / "whole"))


def _but_order(files: dict[str, bytes]) -> dict[str, object]:
    """Return files with the manifest parsed: splits stand in it in the order in which they were made."""
    return {**files, MANIFEST: json.loads(files[MANIFEST])}


@pytest.mark.parametrize("back", [True, False])
def test_killed_while_a_changed_knowledge_base_is_taken_over(people_kb, data, tmp_path, monkeypatch, back, read):
    """The vectors of entities are those of the new one, the manifest still the old one's; then it is put back."""
    store = tmp_path / "F"
    build_store(store, data, people_kb)
    originals, written = writing_module.write_manifest, 0

    def write_once(folder: Path, manifest) -> None:
        nonlocal written
        written += 1
        if written > 1:
            raise Killed
        originals(folder, manifest)

    monkeypatch.setattr(writing_module, "write_manifest", write_once)
    with pytest.raises(Killed):
        build_store(store, data, people_kb, gallery="another")
    monkeypatch.setattr(writing_module, "write_manifest", originals)
    with KnowledgeBase.open(people_kb.path) as kb, pytest.raises(CompatibilityError, match="another content"):
        open_features(store)._check_kb(kb)  # it is of neither
    read.clear()
    gallery = "gallery-of-pictures" if back else "another"
    assert made(build_store(store, data, people_kb, gallery=gallery)) == ([] if back else ["train", "dev"])
    assert read == ([] if back else ["broken.png"])
    build_store(tmp_path / "whole", data, people_kb, gallery=gallery)
    assert files_of(store) == files_of(tmp_path / "whole")


def test_starting_over_takes_along_a_split_that_is_in_its_place_and_not_named(people_kb, data, tmp_path):
    store = tmp_path / "F"
    build_store(store, data, people_kb)
    unname(store, "train")
    (store / "mine").mkdir()
    (store / "mine" / "record.json").write_text('{"origin": "mine"}')
    writing_module.remove_store(store)
    assert [path.name for path in store.iterdir()] == ["mine"]


def test_of_a_store_that_was_removed_in_part_nothing_half_is_taken(people_kb, data, tmp_path, monkeypatch):
    store = tmp_path / "F"
    build_store(store, data, people_kb)
    whole = files_of(store)

    def remove_half(folder: Path) -> None:
        (folder / "image.npy").unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(writing_module.shutil, "rmtree", remove_half)
        with pytest.raises(Killed):
            writing_module.remove_store(store)
    assert made(build_store(store, data, people_kb)) == ["train"]  # dev was whole
    assert _but_order(files_of(store)) == _but_order(whole)


def test_a_store_that_is_being_made_is_not_started_over(people_kb, data, tmp_path):
    store = tmp_path / "F"
    build_store(store, data, people_kb)
    before = files_of(store)
    with locked(store / ".lock", "here"), pytest.raises(StorageError, match="another process is making"):
        writing_module.start_over(store)
    assert files_of(store) == before
    writing_module.start_over(store)
    assert list(store.iterdir()) == []
    writing_module.start_over(store)
    writing_module.start_over(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_picture_of_which_the_encoder_makes_no_finite_numbers_is_named(people_kb, data, tmp_path, monkeypatch):
    original = Colours.encode_images
    monkeypatch.setattr(Colours, "encode_images", lambda self, images: original(self, images) / (images[0].width - 40))
    with np.errstate(divide="ignore"):
        build_store(tmp_path / "F", data, people_kb)
    failures = json.loads((tmp_path / "F/train/failures.json").read_text())
    assert "not finite" in failures[str(data / "high.png")]
    assert "not finite" not in failures[str(data / "broken.png")]
