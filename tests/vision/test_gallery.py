"""The gallery follows the knowledge base entity by entity; nothing is computed twice, nobody erased comes back."""

from __future__ import annotations

import os
import pickle
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.galleries import BLACK, ColourEmbedder, gallery_of, make_kb, save_picture, unit

from dualway.errors import ModelError, PictureError, StorageError
from dualway.images import read_picture
from dualway.kb.changes import changing
from dualway.kb.pictures import People, change_pictures
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Face, Picture
from dualway.vision import gallery as module
from dualway.vision.align import POINTS
from dualway.vision.gallery import FOLDER, Embedder, FaceEmbedder, Gallery, WholePictureEmbedder, erase

RED, GREEN, BLUE, GREY = (200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)
COLOURS = {"r.png": RED, "g.png": GREEN, "b.png": BLUE, "grey.png": GREY, "dark.png": BLACK}


@pytest.fixture
def root(tmp_path) -> Path:
    for name, colour in COLOURS.items():
        save_picture(tmp_path / "pics" / name, colour)
    return tmp_path / "pics"


@pytest.fixture
def kb(tmp_path, root):
    """Q1 has no picture, Q2 one, Q3 two, Q4 nothing that can be used."""
    names = {"Q1": [], "Q2": ["r.png"], "Q3": ["g.png", "b.png"], "Q4": ["dark.png", "missing.png"]}
    with make_kb(tmp_path / "kb", root, names) as opened:
        yield opened


@pytest.fixture
def embedder() -> ColourEmbedder:
    return ColourEmbedder()


def again(kb) -> KnowledgeBase:
    return KnowledgeBase.open(kb.path)


def file_of(kb, embedder) -> Path:
    return kb.path / FOLDER / f"{embedder.fingerprint}.sqlite"


def rows_in(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]


class TestSimilarities:
    def test_the_best_of_an_entitys_pictures(self, kb, embedder):
        gallery = Gallery.open(kb, embedder)
        probes = np.stack([unit(RED), unit(BLUE), unit(GREY)])
        found = gallery.similarities(probes, np.array([2, 0, 1, 3, 2]))
        third, half = 3**-0.5, -np.inf
        expected = [[0, half, 1, half, 0], [1, half, 0, half, 1], [third, half, third, half, third]]
        assert found.dtype == np.float32
        assert found == pytest.approx(np.array(expected), abs=1e-6)
        assert (gallery.size, gallery.num_pictures, gallery.dim) == (2, 3, 3)
        assert gallery.kb_rows.tolist() == [1, 2]
        assert gallery.count(np.array([0, 1, 2, 3, 99, -1])).tolist() == [0, 1, 2, 0, 0, 0]

    def test_rows_and_probes_that_are_not_there(self, kb, embedder):
        gallery = Gallery.open(kb, embedder)
        assert gallery.similarities(np.zeros((0, 3), np.float32), np.array([1])).shape == (0, 1)
        assert gallery.similarities(unit(RED)[None], np.array([], dtype=np.int64)).shape == (1, 0)
        assert (gallery.similarities(unit(RED)[None], np.array([-1, 5, 10**9])) == -np.inf).all()

    def test_an_empty_gallery(self, tmp_path, root, embedder):
        with make_kb(tmp_path / "empty", root, {"Q1": []}) as kb:
            gallery = Gallery.open(kb, embedder)
        assert gallery.size == gallery.num_pictures == 0
        assert gallery.count(np.array([0, -1])).tolist() == [0, 0]
        assert gallery.similarities(unit(RED)[None], np.array([0])).tolist() == [[-np.inf]]

    @settings(deadline=None, max_examples=60)
    @given(st.data())
    def test_beside_a_plain_loop(self, data):
        """Any number of pictures an entity, any rows in any order, any batch."""
        rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
        counts = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=8))
        vectors = rng.normal(size=(sum(counts), 5)).astype(np.float32)
        gallery = gallery_of(vectors, counts)
        rows = np.array(data.draw(st.lists(st.integers(-2, len(counts) + 2), max_size=12)), dtype=np.int64)
        probes = rng.normal(size=(data.draw(st.integers(0, 4)), 5)).astype(np.float32)
        found = gallery.similarities(probes, rows)
        starts = np.concatenate([[0], np.cumsum(counts)])
        for i, probe in enumerate(probes):
            for j, row in enumerate(rows.tolist()):
                inside = 0 <= row < len(counts) and counts[row]
                best = max(float(v @ probe) for v in vectors[starts[row] : starts[row + 1]]) if inside else -np.inf
                assert found[i, j] == pytest.approx(best, abs=1e-5)
            assert found[i : i + 1] == pytest.approx(gallery.similarities(probes[i : i + 1], rows), abs=1e-6)


class TestFollowing:
    def test_a_second_time_computes_nothing(self, kb, embedder):
        first = Gallery.open(kb, embedder)
        assert (first.num_computed, first.kept) == (4, True)
        seen = len(embedder.seen)
        second = Gallery.open(kb, embedder)
        assert len(embedder.seen) == seen
        assert second.num_computed == 0
        assert second.fingerprint == first.fingerprint
        assert (second._vectors == first._vectors).all()
        assert second.failures == first.failures

    def test_failures_are_named(self, kb, embedder):
        assert Gallery.open(kb, embedder).failures == {"dark.png": "no colour in it", "missing.png": "no such picture"}

    def test_unchanged_files_are_not_read_again(self, kb, embedder, root, monkeypatch):
        Gallery.open(kb, embedder)
        read: list[str] = []

        def record(path: Path) -> bytes:
            read.append(path.name)
            return read_picture(path)

        monkeypatch.setattr(module, "read_picture", record)
        save_picture(root / "b.png", GREY)
        Gallery.open(kb, embedder)
        assert read == ["b.png", "missing.png"]

    def test_only_what_is_new_or_changed_is_computed(self, kb, embedder, root):
        before = Gallery.open(kb, embedder)
        embedder.seen.clear()
        save_picture(root / "r.png", GREY)
        with changing(kb.path) as change:
            change.update(Entity("Q1", "one", pictures=(Picture("b.png"), Picture("more.png"))))
        save_picture(root / "more.png", (7, 8, 9))
        with again(kb) as changed:
            after = Gallery.open(changed, embedder)
        assert sorted(embedder.seen) == [(7, 8, 9), GREY]  # b.png is known by its content
        assert after.fingerprint != before.fingerprint
        assert after.similarities(unit(GREY)[None], np.array([1])) == pytest.approx(np.array([[1.0]]))
        assert after.count(np.arange(4)).tolist() == [2, 1, 2, 0]

    def test_a_file_that_was_touched_is_read_and_not_computed(self, kb, embedder, root):
        Gallery.open(kb, embedder)
        os.utime(root / "r.png", ns=(1, 1))
        assert Gallery.open(kb, embedder).num_computed == 0

    def test_a_picture_that_is_away_for_a_while_is_not_forgotten(self, kb, embedder, root):
        first = Gallery.open(kb, embedder)
        root.rename(root.with_name("away"))
        without = Gallery.open(kb, embedder)
        assert without.size == 0
        assert len(without.failures) == 5
        root.with_name("away").rename(root)
        back = Gallery.open(kb, embedder)
        assert (back.num_computed, back.fingerprint) == (0, first.fingerprint)

    def test_those_kept_out_leave_and_are_removed_from_the_file(self, kb, embedder):
        Gallery.open(kb, embedder)
        change_pictures(kb.path, people=People(keep_out=["Q3"]))
        with again(kb) as changed:
            gallery = Gallery.open(changed, embedder)
        assert gallery.kb_rows.tolist() == [1]
        content = file_of(kb, embedder).read_bytes()
        assert unit(RED).tobytes() in content
        assert unit(GREEN).tobytes() not in content
        assert b"Q3" not in content
        change_pictures(kb.path, people=People(admit=["Q3"]))
        with again(kb) as changed:
            assert Gallery.open(changed, embedder).num_computed == 2

    def test_the_order_of_entities_does_not_change_the_fingerprint(self, tmp_path, root, embedder):
        names = {"Q2": ["r.png"], "Q3": ["g.png", "b.png"]}
        prints = set[str]()
        for order in (["Q2", "Q3"], ["Q3", "Q2"]):
            with make_kb(tmp_path / "-".join(order), root, {i: names[i] for i in order}) as kb:
                prints.add(Gallery.open(kb, embedder).fingerprint)
        with make_kb(tmp_path / "other", root, {"Q2": ["g.png"], "Q3": ["r.png", "b.png"]}) as kb:
            assert len(prints) == 1
            assert Gallery.open(kb, embedder).fingerprint not in prints

    def test_one_picture_twice_and_one_of_two_people(self, tmp_path, root, embedder):
        """Twice for one entity counts once; of two entities it is shared, and left out of the sample."""
        (root / "copy.png").write_bytes((root / "r.png").read_bytes())
        names = {"Q1": ["r.png", "copy.png", "g.png"], "Q2": ["g.png", "b.png"]}
        with make_kb(tmp_path / "twice", root, names) as kb:
            gallery = Gallery.open(kb, embedder)
        assert embedder.seen == [RED, GREEN, BLUE]
        assert gallery.count(np.array([0, 1])).tolist() == [2, 2]
        assert gallery.num_shared == 1
        vectors, owners = gallery.sample(10, 10)
        assert owners.tolist() == [0, 1]
        assert vectors == pytest.approx(np.stack([unit(RED), unit(BLUE)]))

    def test_progress_and_about(self, kb, embedder):
        told: list[tuple[int, int]] = []
        Gallery.open(kb, embedder, progress=lambda done, total: told.append((done, total)))
        assert told[-1] == (5, 5)
        with closing(sqlite3.connect(file_of(kb, embedder))) as connection:
            about = dict(connection.execute("SELECT key, value FROM about"))
        assert about["what"] == "colours"
        assert "--erase" in about["to erase a person"]

    def test_a_sample_is_even_and_bounded(self):
        gallery = gallery_of(np.arange(30, dtype=np.float32).reshape(10, 3), [3, 0, 1, 2, 4])
        vectors, owners = gallery.sample(2, 2)
        assert owners.tolist() == [0, 0, 3, 3]  # of those who are in it
        assert vectors[:, 0].tolist() == [0, 3, 18, 21]
        assert gallery.sample(99, 99)[1].tolist() == [0, 0, 0, 1, 2, 2, 3, 3, 3, 3]

    def test_it_may_be_pickled(self, kb, embedder):
        gallery = Gallery.open(kb, embedder)
        copy = pickle.loads(pickle.dumps(gallery))
        assert copy.fingerprint == gallery.fingerprint
        assert (copy._vectors == gallery._vectors).all()


class TestKept:
    def test_nothing_is_left_on_disk_when_it_should_not_be(self, kb, embedder):
        gallery = Gallery.open(kb, embedder, keep=False)
        assert (gallery.kept, gallery.size) == (False, 2)
        assert not (kb.path / FOLDER).exists()
        Gallery.open(kb, embedder)
        content = file_of(kb, embedder).read_bytes()
        assert Gallery.open(kb, embedder, keep=False).num_computed == 0  # what is there is read
        assert file_of(kb, embedder).read_bytes() == content

    def test_a_folder_that_cannot_be_written(self, kb, embedder):
        (kb.path / FOLDER).write_text("in the way")
        gallery = Gallery.open(kb, embedder)
        assert (gallery.kept, gallery.size, gallery.num_computed) == (False, 2, 4)

    def test_a_file_that_cannot_be_written(self, kb, embedder, root, monkeypatch):
        """As on a read-only medium: what is kept is used, what is new stays in memory."""
        Gallery.open(kb, embedder)
        save_picture(root / "r.png", GREY)
        monkeypatch.setattr(os, "access", lambda *_: False)
        embedder.seen.clear()
        gallery = Gallery.open(kb, embedder)
        assert (gallery.kept, embedder.seen) == (False, [GREY])
        assert gallery.similarities(unit(GREY)[None], np.array([1])) == pytest.approx(np.array([[1.0]]))
        monkeypatch.undo()
        embedder.seen.clear()
        assert Gallery.open(kb, embedder).kept
        assert embedder.seen == [GREY]

    def test_a_full_disk_in_the_middle(self, kb, embedder, monkeypatch):
        """The first pictures are kept, the rest stays in memory; with space again only the rest is computed."""
        monkeypatch.setattr(module, "_CHUNK", 2)
        original = module.open_file

        def small(*args, **kwargs):
            file = original(*args, **kwargs)
            pages = file._connection.execute("PRAGMA page_count").fetchone()[0]
            file._connection.execute(f"PRAGMA max_page_count = {pages}")  # what is in these pages already may grow
            return file

        far = "./" + "a/../" * 150  # long paths, so that a page is soon full
        with changing(kb.path) as change:
            for n in range(1, 5):
                pictures = tuple(Picture(f"{far}{n}-{name}") for name in ("r.png", "g.png", "b.png", "grey.png"))
                change.update(Entity(f"Q{n}", "x", pictures=pictures))
                for i, picture in enumerate(pictures):
                    save_picture(kb.picture_path(picture), (10 * n, 50 * i, 7))
        with again(kb) as changed:
            monkeypatch.setattr(module, "open_file", small)
            gallery = Gallery.open(changed, embedder)
            assert not gallery.kept
            assert gallery.count(np.arange(4)).tolist() == [4] * 4
            kept = rows_in(file_of(kb, embedder), "pictures")
            assert 0 < kept < 16
            assert rows_in(file_of(kb, embedder), "vectors") == kept
            monkeypatch.undo()
            after = Gallery.open(changed, embedder)
        assert (after.kept, after.num_computed, after.fingerprint) == (True, 16 - kept, gallery.fingerprint)
        assert (after._vectors == gallery._vectors).all()

    @pytest.mark.parametrize("damage", ["garbage", "cut", "empty", "foreign", "newer", "vectors"])
    def test_a_damaged_file_is_made_again(self, kb, embedder, damage):
        first = Gallery.open(kb, embedder)
        path = file_of(kb, embedder)
        if damage == "garbage":
            path.write_bytes(b"not a database at all" * 300)
        elif damage == "cut":
            path.write_bytes(path.read_bytes()[:5000])
        elif damage == "empty":
            path.write_bytes(b"")
        else:
            statement = {
                "foreign": "PRAGMA application_id = 1",
                "newer": "PRAGMA user_version = 99",
                "vectors": "UPDATE vectors SET vector = x'0000c07f' || substr(vector, 5) WHERE vector NOT NULL",
            }[damage]
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute(statement)
        embedder.seen.clear()
        gallery = Gallery.open(kb, embedder)
        assert (gallery.kept, gallery.fingerprint) == (True, first.fingerprint)
        assert len(embedder.seen) == (3 if damage == "vectors" else 4)
        assert Gallery.open(kb, embedder).num_computed == 0

    def test_what_was_computed_is_kept_when_a_model_fails(self, kb, embedder):
        embedder.broken = BLUE
        with pytest.raises(ModelError):
            Gallery.open(kb, embedder)
        embedder.broken = None
        embedder.seen.clear()
        Gallery.open(kb, embedder)
        assert RED not in embedder.seen
        assert BLUE in embedder.seen

    def test_several_processes_at_once(self, kb, embedder, tmp_path):
        """All begin without a file, and end with the same gallery."""
        code = (
            "import sys; from dualway.kb.store import KnowledgeBase; from dualway.vision.gallery import Gallery\n"
            "from tests.galleries import ColourEmbedder\n"
            "with KnowledgeBase.open(sys.argv[1]) as kb:\n"
            "    for _ in range(3): gallery = Gallery.open(kb, ColourEmbedder())\n"
            "    print(gallery.fingerprint, gallery.kept, gallery.num_computed)"
        )
        command = [sys.executable, "-c", code, str(kb.path)]
        root = Path(__file__).resolve().parent.parent.parent
        running = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        said = {process.communicate(timeout=120)[0].strip() for process in running}
        assert said == {f"{Gallery.open(kb, embedder).fingerprint} True 0"}


class TestErasing:
    def test_vectors_are_gone_from_every_file(self, kb):
        embedders = [ColourEmbedder("a"), ColourEmbedder("b")]
        for embedder in embedders:
            Gallery.open(kb, embedder)
        sizes = [file_of(kb, embedder).stat().st_size for embedder in embedders]
        change_pictures(kb.path, people=People(erase=["Q3"]))
        assert erase(kb.path, ["Q3", "Q4", "Q3", "nobody"]) == 4
        for embedder, size in zip(embedders, sizes, strict=True):
            content = file_of(kb, embedder).read_bytes()
            assert unit(RED).tobytes() in content
            for colour in (GREEN, BLUE):
                assert unit(colour).tobytes() not in content
            assert b"Q3" not in content
            assert b"g.png" not in content
            assert len(content) <= size
        assert [path.name for path in (kb.path / FOLDER).iterdir() if "journal" in path.name] == []
        with again(kb) as changed:
            assert Gallery.open(changed, embedders[0]).kb_rows.tolist() == [1]

    def test_a_picture_that_another_has_too_stays_hers(self, tmp_path, root, embedder):
        with make_kb(tmp_path / "two", root, {"Q1": ["r.png"], "Q2": ["r.png", "g.png"]}) as kb:
            Gallery.open(kb, embedder)
            assert erase(kb.path, ["Q2"]) == 2
            content = file_of(kb, embedder).read_bytes()
            assert unit(RED).tobytes() in content
            assert unit(GREEN).tobytes() not in content

    def test_a_process_that_began_before_does_not_bring_her_back(self, kb, embedder, monkeypatch):
        """The knowledge base is changed, and the file erased from, while a gallery is being made."""
        monkeypatch.setattr(module, "_CHUNK", 1)
        erased: list[int] = []

        def progress(done: int, total: int) -> None:
            if done == 2:  # Q2 and a picture of Q3 are in the file
                change_pictures(kb.path, people=People(erase=["Q3"]))
                erased.append(erase(kb.path, ["Q3"]))

        gallery = Gallery.open(kb, embedder, progress=progress)
        assert erased == [1]
        assert not gallery.kept
        assert gallery.kb_rows.tolist() == [1, 2]  # what it opened stays as it was, in memory
        content = file_of(kb, embedder).read_bytes()
        assert b"Q3" not in content
        for colour in (GREEN, BLUE):
            assert unit(colour).tobytes() not in content

    def test_an_old_knowledge_base_writes_nothing(self, kb, embedder):
        change_pictures(kb.path, people=People(erase=["Q3"]))
        assert not Gallery.open(kb, embedder).kept
        assert not (kb.path / FOLDER).exists()

    def test_nothing_to_erase(self, kb, tmp_path):
        assert erase(kb.path, ["Q3"]) == 0
        assert erase(tmp_path / "none", ["Q3"]) == 0

    def test_damaged_and_outdated_files_go_as_a_whole_foreign_ones_stay(self, kb, embedder):
        Gallery.open(kb, embedder)
        folder = kb.path / FOLDER
        (folder / "damaged.sqlite").write_bytes(b"x" * 5000)
        old, foreign = folder / "old.sqlite", folder / "foreign.sqlite"
        old.write_bytes(file_of(kb, embedder).read_bytes())
        for path, statement in ((old, "PRAGMA user_version = 77"), (foreign, "CREATE TABLE pictures (entity)")):
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute(statement)
        before = foreign.read_bytes()
        assert erase(kb.path, ["Q3"]) == 2
        assert sorted(path.name for path in folder.iterdir()) == sorted([file_of(kb, embedder).name, "foreign.sqlite"])
        assert foreign.read_bytes() == before

    def test_a_file_that_is_held_is_an_error(self, kb, embedder, monkeypatch):
        from dualway.vision import gallery_file

        Gallery.open(kb, embedder)
        monkeypatch.setattr(gallery_file, "_WAIT_S", 0.1)
        with closing(sqlite3.connect(file_of(kb, embedder), isolation_level=None)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StorageError, match="cannot be erased"):
                erase(kb.path, ["Q3"])
        assert erase(kb.path, ["Q3"]) == 2


class Finder:
    """Says what it was given."""

    fingerprint = "finder"

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)

    def find(self, image):
        return self.faces


class Encoder:
    """A face's vector tells where it is."""

    fingerprint, dim = "encoder", 2

    def encode_faces(self, image, faces):
        return np.stack([unit(face.box[:2]) for face in faces])


def face(x0, y0, side, landmarks=POINTS) -> Face:
    return Face((x0, y0, x0 + side, y0 + side), {}, landmarks=landmarks)


class TestEmbedders:
    image = Image.new("RGB", (200, 100))

    def chosen(self, *faces: Face) -> int:
        vector = FaceEmbedder(Finder(*faces), Encoder()).embed(self.image)
        return next(i for i, f in enumerate(faces) if f.box and unit(f.box[:2]) == pytest.approx(vector))

    def test_the_largest_face_weighed_by_how_central_it_is(self):
        assert self.chosen(face(10, 10, 20), face(80, 30, 40)) == 1
        assert self.chosen(face(80, 30, 30), face(0, 1, 35)) == 0  # larger, but in the corner
        assert self.chosen(face(80, 30, 20), face(10, 10, 60)) == 1

    def test_small_faces_and_those_without_landmarks_do_not_count(self):
        assert self.chosen(face(90, 40, 15), face(1, 2, 16)) == 1
        assert self.chosen(face(90, 40, 50, ()), face(1, 2, 16)) == 1
        for faces in ([], [face(90, 40, 15)], [face(90, 40, 50, ())], [Face(None, {}, landmarks=POINTS)]):
            with pytest.raises(PictureError, match="no face of at least 16 pixels"):
                FaceEmbedder(Finder(*faces), Encoder()).embed(self.image)

    def test_fingerprints_depend_on_finder_and_encoder(self):
        one: Embedder = FaceEmbedder(Finder(), Encoder())
        finder, encoder = Finder(), Encoder()
        finder.fingerprint = encoder.fingerprint = "another"
        others = [FaceEmbedder(finder, Encoder()), FaceEmbedder(Finder(), encoder)]
        assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 3
        assert [other.encoder_fingerprint for other in others] == ["encoder", "another"]
        assert "biometric" in one.about["what"]

    def test_whole_pictures(self):
        class Images:
            fingerprint, dim = "images", 2

            def __init__(self, *vector):
                self.vector = vector

            def encode_images(self, images):
                return np.array([self.vector] * len(images), dtype=np.float32)

        embedder: Embedder = WholePictureEmbedder(Images(3, 4))
        assert embedder.embed(self.image) == pytest.approx([0.6, 0.8])
        assert embedder.fingerprint != FaceEmbedder(Finder(), Encoder()).fingerprint
        for vector in ((0, 0), (float("nan"), 1), (float("inf"), 1)):
            with pytest.raises(PictureError, match="zero or not finite"):
                WholePictureEmbedder(Images(*vector)).embed(self.image)
