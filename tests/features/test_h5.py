"""The h5 files of the field, in their exact layout; and files that are not what they seem."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from dualway.errors import DataError, ModelError, UsageError
from dualway.features.h5 import FilePictures, entity_vectors, read_vector_file
from dualway.features.regions import PictureRegions
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Region

IDS = ["Q1", "Q10", "Q2", "Q3"]  # sorted as text, as neg_list.json of DWE is


def vectors(n: int = 4, dim: int = 512) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, dim)).astype(np.float32) * 7  # not of length 1


def order(folder: Path, ids: Any, name: str = "neg_list.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(ids, indent=2))
    return path


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    return order(tmp_path, IDS)


def write(folder: Path, data: Any, name: str = "gt_feats_brief.h5", **options: Any) -> Path:
    """Write a file as the public code does."""
    path = folder / name
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=data, **options)
    return path


@pytest.fixture
def h5(tmp_path: Path) -> Path:
    return write(tmp_path, vectors())


def kb_of(folder: Path, ids: list[str]) -> KnowledgeBase:
    return KnowledgeBase.create(folder / "kb", [Entity(id, f"Name {id}") for id in ids])


class TestReading:
    def test_the_public_layout(self, h5, lists):
        found = read_vector_file(h5, lists)
        assert found.ids == tuple(IDS)
        assert found.vectors.dtype == np.float32
        np.testing.assert_array_equal(found.vectors, vectors())
        assert found.record() == {"path": str(h5), "order": str(lists), "sha256": found.sha256}

    def test_the_hash_is_of_both_files(self, tmp_path, h5, lists):
        first = read_vector_file(h5, lists).sha256
        assert read_vector_file(h5, order(tmp_path, IDS[::-1], "other.json")).sha256 != first
        assert read_vector_file(write(tmp_path, vectors() + 1, "other.h5"), lists).sha256 != first

    @pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f4"])
    @pytest.mark.parametrize("options", [{}, {"compression": "gzip", "shuffle": True}, {"compression": "lzf"}])
    def test_other_types_and_packings_of_h5py(self, tmp_path, lists, kind, options):
        found = read_vector_file(write(tmp_path, vectors().astype(kind), **options), lists)
        assert found.vectors.dtype == np.float32
        np.testing.assert_array_equal(found.vectors, vectors().astype(kind).astype(np.float32))

    def test_whole_numbers_are_ids_too(self, tmp_path, h5):
        assert read_vector_file(h5, order(tmp_path, [7, 8, 9, 10])).ids == ("7", "8", "9", "10")

    def test_without_h5py(self, h5, lists, monkeypatch):
        monkeypatch.setitem(sys.modules, "h5py", None)
        with pytest.raises(UsageError, match=r"pip install 'dualway\[h5\]'"):
            read_vector_file(h5, lists)


class TestRefused:
    def refused(self, path: Path, lists: Path, *words: str) -> None:
        with pytest.raises(DataError) as caught:
            read_vector_file(path, lists)
        for word in words:
            assert word in str(caught.value)

    def test_another_number_of_ids(self, tmp_path, h5):
        self.refused(h5, order(tmp_path, IDS[:3]), "4 rows", "3 ids", "written with", str(h5))

    @pytest.mark.parametrize(
        ("ids", "words"),
        [
            (["Q1", "Q2", "Q1", "Q3"], ["id 'Q1'", "entries 0 and 2"]),
            ([1, 2, "1", 3], ["id '1'", "entries 0 and 2"]),
            (["Q1", "", "Q2", "Q3"], ["entry 1"]),
            (["Q1", None, "Q2", "Q3"], ["entry 1 is 'None'"]),
            (["Q1", True, "Q2", "Q3"], ["entry 1"]),
            (["Q1", ["Q2"], "Q4", "Q3"], ["entry 1"]),
            ([], ["a list of ids"]),
            ({"Q1": 0}, ["a list of ids"]),
            ("Q1", ["a list of ids"]),
        ],
    )
    def test_lists_that_name_no_rows(self, tmp_path, h5, ids, words):
        self.refused(h5, order(tmp_path, ids), "neg_list.json", *words)

    @pytest.mark.parametrize("content", [b"", b"[", b"\xff[]"])
    def test_a_list_that_is_no_json(self, tmp_path, h5, content):
        (tmp_path / "broken.json").write_bytes(content)
        self.refused(h5, tmp_path / "broken.json", "broken.json")

    @pytest.mark.parametrize(
        ("data", "word"),
        [
            (vectors()[0], "(512,)"),
            (np.zeros((4, 196, 8), np.float32), "(4, 196, 8)"),  # GHMFC's img_features.h5
            (np.zeros((4, 0), np.float32), "(4, 0)"),
            (np.zeros((4, 70_000), np.float32), "70000"),
            (np.float32(1), "()"),
            (np.zeros((4, 8), np.int32), "int32"),
            (np.array([[b"a"] * 8] * 4), "type"),
        ],
    )
    def test_another_shape_or_type(self, tmp_path, lists, data, word):
        self.refused(write(tmp_path, data), lists, "'features'", word)

    def test_no_dataset_of_this_name(self, tmp_path, lists):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("10-1", data=vectors())  # DWE's img_feats_new.h5: a dataset a picture
        self.refused(tmp_path / "a.h5", lists, "no dataset 'features'", "'10-1'")
        with h5py.File(tmp_path / "b.h5", "w"):
            pass
        self.refused(tmp_path / "b.h5", lists, "it holds nothing")
        with h5py.File(tmp_path / "c.h5", "w") as file:
            file.create_group("features").create_dataset("features", data=vectors())
        self.refused(tmp_path / "c.h5", lists, "is a group")

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_row_that_is_not_finite_is_named(self, tmp_path, lists, value):
        data = vectors()
        data[2, 511] = value
        self.refused(write(tmp_path, data), lists, "id 'Q2'", "row 2", "not finite")

    def test_a_zero_row_is_named(self, tmp_path, lists):
        data = vectors()
        data[1] = 0
        self.refused(write(tmp_path, data), lists, "id 'Q10'", "row 1", "is zero")

    def test_a_double_beyond_float32(self, tmp_path, lists):
        data = vectors().astype(np.float64)
        data[3, 0] = 1e300
        self.refused(write(tmp_path, data), lists, "id 'Q3'", "not finite")

    @pytest.mark.parametrize("target", [h5py.SoftLink("/other"), h5py.ExternalLink("gt_feats_brief.h5", "/features")])
    def test_a_link_is_not_followed(self, tmp_path, h5, lists, target):
        with h5py.File(tmp_path / "link.h5", "w") as file:
            file.create_dataset("other", data=vectors())
            file["features"] = target
        self.refused(tmp_path / "link.h5", lists, "a link to another place")

    def test_a_virtual_dataset_is_not_read(self, tmp_path, h5, lists):
        layout = h5py.VirtualLayout(shape=(4, 512), dtype="f4")
        layout[:] = h5py.VirtualSource(h5, "features", shape=(4, 512))
        with h5py.File(tmp_path / "virtual.h5", "w") as file:
            file.create_virtual_dataset("features", layout)
        self.refused(tmp_path / "virtual.h5", lists, "lie in other files")

    def test_numbers_outside_the_file_are_not_read(self, tmp_path, lists):
        (tmp_path / "secret.bin").write_bytes(vectors().tobytes())
        path = tmp_path / "external.h5"
        with h5py.File(path, "w") as file:
            where = [(str(tmp_path / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset("features", shape=(4, 512), dtype="f4", external=where)
        self.refused(path, lists, "lie in other files")

    def test_a_packing_that_may_load_code_is_not_unpacked(self, tmp_path, lists):
        path = tmp_path / "packed.h5"
        with h5py.File(path, "w") as file:
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk((4, 512))
            plist.set_filter(305, h5py.h5z.FLAG_OPTIONAL)
            space = h5py.h5s.create_simple((4, 512))
            h5py.h5d.create(file.id, b"features", h5py.h5t.NATIVE_FLOAT, space, plist)
        self.refused(path, lists, "filters [305]")

    @pytest.mark.parametrize("content", [b"", b"not h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 500])
    def test_no_h5_file(self, tmp_path, lists, content):
        (tmp_path / "a.h5").write_bytes(content)
        self.refused(tmp_path / "a.h5", lists, "a.h5: cannot be read as an h5 file")

    def test_a_truncated_file(self, tmp_path, h5, lists):
        h5.write_bytes(h5.read_bytes()[:5000])
        self.refused(h5, lists, "cannot be read as an h5 file")

    def test_a_huge_shape_costs_no_memory(self, tmp_path, lists):
        path = tmp_path / "huge.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("features", shape=(10**12, 512), chunks=(1, 512), dtype="f4")
        self.refused(path, lists, "1,000,000,000,000 rows")

    def test_missing_files_and_folders(self, tmp_path, h5, lists):
        self.refused(tmp_path / "none.h5", lists, "none.h5: no such file")
        self.refused(tmp_path, lists, "not a file")
        self.refused(h5, tmp_path / "none.json", "none.json: no such file")


class TestEntities:
    def encode(self, rows):
        self.asked = rows.tolist()
        return np.full((len(rows), 512), 9, np.float32)

    def test_rows_follow_the_knowledge_base(self, tmp_path, h5, lists):
        with kb_of(tmp_path, ["Q3", "Q2", "Q10", "Q1"]) as kb:
            found, encoded = entity_vectors(read_vector_file(h5, lists), kb, self.encode, dim=512, missing="error")
        np.testing.assert_array_equal(found, vectors()[[3, 2, 1, 0]])
        assert encoded == 0

    def test_entities_that_the_file_lacks(self, tmp_path, h5, lists):
        with kb_of(tmp_path, ["Q9", "Q1", "Q2", "Q3", "Q10"]) as kb:
            file = read_vector_file(h5, lists)
            with pytest.raises(DataError, match=r"lacks 1 of the 5 entities.*'Q9'.*--missing encode"):
                entity_vectors(file, kb, self.encode, dim=512, missing="error")
            found, encoded = entity_vectors(file, kb, self.encode, dim=512, missing="encode")
        assert (encoded, self.asked) == (1, [0])
        assert (found[0] == 9).all()
        np.testing.assert_array_equal(found[1:], vectors()[[0, 2, 3, 1]])
        np.testing.assert_array_equal(file.vectors, vectors())

    def test_ids_that_the_knowledge_base_lacks(self, tmp_path, h5, lists):
        with kb_of(tmp_path, ["Q1", "Q2"]) as kb, pytest.raises(DataError, match=r"2 of its 4 ids.*'Q10', 'Q3'"):
            entity_vectors(read_vector_file(h5, lists), kb, self.encode, dim=512, missing="encode")

    def test_another_width_than_the_encoder_s(self, tmp_path, h5, lists):
        with kb_of(tmp_path, IDS) as kb, pytest.raises(ModelError) as caught:
            entity_vectors(read_vector_file(h5, lists), kb, self.encode, dim=384, missing="error")
        for word in ("512 wide", "384", "one text map", "project_entity=own", "encoders.text"):
            assert word in str(caught.value)


class TestPictures:
    def pictures(self, folder: Path, ids: list[str], **settings: Any) -> FilePictures:
        path = write(folder, vectors(len(ids), 6), "image.h5")
        return FilePictures(read_vector_file(path, order(folder, ids, "img_list.json")), **settings)

    def test_rows_by_path_name_and_id(self, tmp_path):
        pictures = self.pictures(tmp_path, ["wikipedia/1.jpg", "2.jpg", "3", "J. Doe.jpg", "other/1.jpg"])
        found = {name: pictures.row_of(Path("/data") / name) for name in (
            "wikipedia/1.jpg", "other/1.jpg", "wikipedia/2.jpg", "2.png", "3.jpg", "J. Doe.jpeg", "J. Smith.jpg",
            "4.jpg",
        )}  # fmt: skip
        assert list(found.values()) == [0, 4, 1, 1, 2, 3, None, None]

    def test_two_rows_for_one_picture(self, tmp_path):
        pictures = self.pictures(tmp_path, ["a/1.jpg", "b/1.jpg"])
        with pytest.raises(DataError, match=r"'a/1\.jpg' and 'b/1\.jpg' may both be the picture"):
            pictures.row_of(Path("/data/c/1.jpg"))

    def test_every_picture_is_its_own_object(self, tmp_path):
        Image.new("RGB", (30, 20)).save(tmp_path / "2.png")
        paths = [tmp_path / "2.png", tmp_path / "none.png", tmp_path / "1.png"]
        found = self.pictures(tmp_path, ["1", "2"]).encode(paths, [PictureRegions()] * 3)
        np.testing.assert_array_equal(found.image, vectors(2, 6)[[1, 0]])
        np.testing.assert_array_equal(found.objects.values, found.image)
        assert found.position == {paths[0]: 0, paths[2]: 1}
        assert [seen.objects for seen in found.seen] == [
            (Region((0, 0, 30, 20), "picture"),), (Region((0, 0, 0, 0), "picture"),)
        ]  # fmt: skip
        assert list(found.failures) == [str(paths[1])]

    def test_a_zero_object_where_the_settings_say_so(self, tmp_path):
        found = self.pictures(tmp_path, ["1"], no_object="zero").encode([tmp_path / "1.png"], [PictureRegions()])
        assert found.image.any()
        assert not found.objects.values.any()
