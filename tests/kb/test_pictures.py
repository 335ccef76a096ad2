"""Pictures put into a knowledge base, kept out, erased."""

import csv
import dataclasses
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from dualway.errors import KnowledgeBaseError, UsageError
from dualway.kb.changes import changing
from dualway.kb.files import build_from_files
from dualway.kb.picture_map import read_picture_map
from dualway.kb.pictures import People, PictureReport, change_pictures, check_ids
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Picture


@pytest.fixture
def pics(tmp_path) -> Path:
    (tmp_path / "pics").mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (4, 3)).save(tmp_path / "pics" / f"{name}.png")
    return tmp_path / "pics"


@pytest.fixture
def kb(tmp_path) -> Path:
    KnowledgeBase.create(tmp_path / "kb", [Entity(f"Q{n}", f"name {n}") for n in range(1, 6)]).close()
    return tmp_path / "kb"


def put(kb: Path, root: Path, *lines: str, people: People | None = None, **options) -> PictureReport:
    path = root.parent / "map.tsv"
    path.write_text("\n".join(lines))
    with KnowledgeBase.open(kb) as opened:
        given = read_picture_map(path, root, known=opened, erased=opened.erased)
    assert given.problems == []
    return change_pictures(kb, given, people=people, **options)


def pictures_of(kb: Path, entity_id: str) -> list[Picture]:
    with KnowledgeBase.open(kb) as opened:
        opened.check()
        return list(opened.entity(entity_id).pictures)


def counts_of(report: PictureReport) -> tuple[int, ...]:
    return report.added, report.updated, report.unchanged, report.removed, report.entities


class TestPut:
    def test_added_updated_and_given_again(self, kb, pics):
        report = put(kb, pics, "Q2\ta.png\there\tCC0", "Q1\tb.png", "Q2\tc.png")
        assert (counts_of(report), report.revision, report.changed) == ((3, 0, 0, 0, 2), 2, True)
        assert pictures_of(kb, "Q2") == [Picture("a.png", "here", "CC0"), Picture("c.png")]
        report = put(kb, pics, "Q2\tb.png", "Q2\tc.png\tthere", "Q2\ta.png")
        assert (counts_of(report), report.revision) == ((1, 1, 1, 0, 1), 3)
        # What is left empty says nothing; a picture keeps its place.
        assert pictures_of(kb, "Q2") == [
            Picture("a.png", "here", "CC0"),
            Picture("c.png", "there"),
            Picture("b.png"),
        ]
        report = put(kb, pics, "Q2\tc.png\tthere")
        assert (counts_of(report), report.revision, report.changed) == ((0, 0, 1, 0, 1), 3, False)

    def test_replace(self, kb, pics):
        put(kb, pics, "Q1\ta.png", "Q2\ta.png\there\tCC0", "Q2\tb.png")
        report = put(kb, pics, "Q2\tc.png", "Q2\ta.png\there", replace=True)
        assert counts_of(report) == (1, 1, 0, 1, 1)
        assert pictures_of(kb, "Q2") == [Picture("c.png"), Picture("a.png", "here")]
        assert pictures_of(kb, "Q1") == [Picture("a.png")]

    def test_the_first_folder_is_where_paths_start(self, kb, pics, tmp_path):
        put(kb, pics, "Q1\ta.png")
        with KnowledgeBase.open(kb) as opened:
            assert opened.picture_root == pics
            ((row, picture),) = opened.gallery_pictures()
            assert (row, picture.path, opened.picture_path(picture)) == (0, "a.png", pics / "a.png")
        put(kb, tmp_path, "Q1\tpics/a.png\tx", "Q1\tpics/b.png")  # the same picture from further up
        (tmp_path / "other").mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / "other" / "a.png")
        put(kb, tmp_path / "other", "Q1\ta.png")
        with KnowledgeBase.open(kb) as opened:
            pictures = opened.entity("Q1").pictures
            paths = [picture.path for picture in pictures]
            assert paths == ["a.png", "b.png", str(tmp_path / "other" / "a.png")]
            assert pictures[0].source == "x"
            assert [opened.picture_path(picture).is_file() for picture in pictures] == [True] * 3
            assert opened.picture_root == pics

    def test_content_is_the_same_wherever_the_pictures_lie(self, kb, pics, tmp_path):
        prints: list[str] = []
        for number in range(2):
            folder = tmp_path / f"place {number}"
            KnowledgeBase.create(folder / "kb", [Entity("Q1", "a")], picture_root=folder).close()
            (folder / "pics").mkdir()
            (folder / "pics" / "a.png").write_bytes((pics / "a.png").read_bytes())
            put(folder / "kb", folder / "pics", "Q1\ta.png")
            with KnowledgeBase.open(folder / "kb") as opened:
                prints.append(opened.fingerprint.content)
        assert prints[0] == prints[1]

    def test_a_moved_knowledge_base_takes_the_same_pictures_as_the_same(self, kb, pics, tmp_path):
        put(kb, pics, "Q1\ta.png")
        (tmp_path / "moved").mkdir()
        for folder in (kb, pics):
            folder.rename(tmp_path / "moved" / folder.name)
        report = put(tmp_path / "moved" / "kb", tmp_path / "moved" / "pics", "Q1\ta.png", "Q1\tb.png")
        assert counts_of(report) == (1, 0, 1, 0, 1)
        assert pictures_of(tmp_path / "moved" / "kb", "Q1") == [Picture("a.png"), Picture("b.png")]

    def test_a_folder_inside_the_knowledge_base(self, kb, pics, tmp_path):
        pics.rename(kb / "pictures")
        put(kb, kb / "pictures", "Q1\ta.png")
        kb.rename(tmp_path / "other")
        with KnowledgeBase.open(tmp_path / "other") as opened:
            ((_, picture),) = opened.gallery_pictures()
            assert opened.picture_path(picture) == tmp_path / "other" / "pictures" / "a.png"

    def test_progress(self, kb, pics):
        seen: list[int] = []
        put(kb, pics, "Q1\ta.png", "Q2\ta.png", "Q1\tb.png", progress=seen.append)
        assert seen == [2, 3]

    def test_somebody_erased_in_the_meantime_gets_none(self, kb, pics):
        (pics / "map.tsv").write_text("Q2\ta.png\nQ1\ta.png")
        with KnowledgeBase.open(kb) as opened:
            given = read_picture_map(pics / "map.tsv", known=opened)
        change_pictures(kb, people=People(erase=["Q1"]))
        with pytest.raises(KnowledgeBaseError, match="'Q1' were erased"):
            change_pictures(kb, given)
        assert pictures_of(kb, "Q2") == []


class TestPeople:
    def test_keep_out_and_admit(self, kb, pics):
        put(kb, pics, "Q1\ta.png", "Q2\tb.png")
        report = change_pictures(kb, people=People(keep_out=["Q2", "Q3", "Q2"]))
        assert (report.kept_out, report.changed, report.revision) == (["Q2", "Q3"], True, 3)
        assert change_pictures(kb, people=People(keep_out=["Q2"])).changed is False
        with KnowledgeBase.open(kb) as opened:
            assert [row for row, _ in opened.gallery_pictures()] == [0]
            assert opened.revisions()[-1].what == "2 entities kept out"
        report = put(kb, pics, "Q2\tc.png", people=People(admit=["Q2", "Q4"]))
        assert (report.admitted, report.added) == (["Q2"], 1)
        with KnowledgeBase.open(kb) as opened:
            assert [row for row, _ in opened.gallery_pictures()] == [0, 1, 1]
            assert opened.kept_out == {"Q3"}

    def test_pictures_of_somebody_kept_out_are_taken_and_not_shown(self, kb, pics):
        put(kb, pics, "Q1\ta.png", people=People(keep_out=["Q1"]))
        assert pictures_of(kb, "Q1") == [Picture("a.png")]
        with KnowledgeBase.open(kb) as opened:
            assert list(opened.gallery_pictures()) == []
            assert dataclasses.astuple(opened.picture_counts()) == (0, 0, 0, 1, 1, 0)

    def test_calls_that_make_no_sense(self, kb):
        for people in ({"keep_out": ["Q1"]}, {"erase": ["Q1"]}):
            with pytest.raises(UsageError, match="'Q1'"):
                People(admit=["Q1"], **people)
        with KnowledgeBase.open(kb) as opened, pytest.raises(KnowledgeBaseError, match="'Q8', 'Q7', 'Q9'; nothing"):
            check_ids(opened, People(keep_out=["Q8", "Q1"], erase=["Q7", "Q2"], admit=["Q9"]))
        with KnowledgeBase.open(kb) as opened:
            check_ids(opened, People(keep_out=["Q1"], erase=["Q2"], admit=["Q3"]))
        with pytest.raises(KnowledgeBaseError, match="'Q9'"):
            change_pictures(kb, people=People(keep_out=["Q1", "Q9"]))
        with KnowledgeBase.open(kb) as opened:
            assert (opened.kept_out, opened.revision) == (frozenset(), 1)


def files_with(folder: Path, words: str) -> list[str]:
    found = [path for path in folder.rglob("*") if path.is_file() and words.encode() in path.read_bytes()]
    return [path.name for path in found]


class TestErase:
    @pytest.fixture
    def many(self, tmp_path) -> Path:
        """A knowledge base whose pages have been written, split and emptied often, with one person in many of them."""
        for n in range(60):
            (tmp_path / "pics" / f"folder-{n}").mkdir(parents=True)
            Image.new("RGB", (2, 2)).save(tmp_path / "pics" / f"folder-{n}" / "x-secretname.png")
        Image.new("RGB", (2, 2)).save(tmp_path / "pics" / "group.png")
        KnowledgeBase.create(tmp_path / "kb", [Entity(f"Q{n}", f"name {n}") for n in range(300)]).close()
        lines = [f"Q7\tfolder-{n}/x-secretname.png\tsecretsource\tsecretlicence" for n in range(60)]
        lines += [f"Q{n}\tgroup.png\t{'source' * 20}" for n in range(300)]
        put(tmp_path / "kb", tmp_path / "pics", *lines)
        for n in range(3):  # pages are written anew, and parts of them become free
            put(tmp_path / "kb", tmp_path / "pics", *[f"Q{i}\tgroup.png\t{'s' * i}" for i in range(n, 300, 3)])
        return tmp_path / "kb"

    def test_no_byte_stays(self, many):
        assert files_with(many, "secretname") == ["kb-5.sqlite"]
        report = change_pictures(many, people=People(erase=["Q7"]))
        assert [len(paths) for paths in report.erased.values()] == [61]
        assert report.shared == ["group.png"]
        for words in ("secretname", "secretsource", "secretlicence", "folder-5"):
            assert files_with(many, words) == []
        with KnowledgeBase.open(many) as opened:
            opened.check()
            assert opened.entity("Q7").pictures == ()
            assert (opened.kept_out, opened.erased) == ({"Q7"}, {"Q7"})
            assert len(list(opened.gallery_pictures())) == 299
            assert opened.revisions()[-1].what == "1 entities erased"

    def test_nor_of_what_had_been_removed_before(self, many):
        """A database page may keep what was removed from it; erasing makes a fresh file whatever is left to remove."""
        with changing(many) as change:
            change.update(dataclasses.replace(change.entity("Q7"), pictures=()))
        # As a program does that does not overwrite what it deletes.
        with closing(sqlite3.connect(many / "kb-6.sqlite")) as connection:
            connection.executescript(
                "PRAGMA secure_delete = OFF; CREATE TABLE t (x); INSERT INTO t VALUES ('secretname'); DROP TABLE t;"
            )
        assert files_with(many, "secretname") == ["kb-6.sqlite"]
        report = change_pictures(many, people=People(erase=["Q7"]))
        assert (report.erased, report.changed) == ({"Q7": []}, True)
        assert files_with(many, "secretname") == []

    def test_the_folder_of_the_pictures_is_forgotten_too(self, kb, pics, tmp_path):
        put(kb, pics, "Q1\ta.png")
        (tmp_path / "secretname").mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / "secretname" / "a.png")
        put(kb, tmp_path / "secretname", "Q2\ta.png")
        assert sorted(files_with(kb, "secretname")) == ["kb-3.sqlite", "manifest.json"]
        change_pictures(kb, people=People(erase=["Q2"]))
        assert files_with(kb, "secretname") == []

    def test_again_it_removes_what_a_killed_one_left(self, many):
        old = (many / "kb-5.sqlite").read_bytes()
        change_pictures(many, people=People(erase=["Q7"]))
        (many / "kb-5.sqlite").write_bytes(old)
        report = change_pictures(many, people=People(erase=["Q7"]))
        assert (report.changed, report.revision) == (False, 6)
        assert files_with(many, "secretname") == []


def lfw_map(realdata: Path, known: set[str], out: Path) -> int:
    """Write the map of the photos that are the knowledge base's: never the first, which is a mention's."""
    photos: dict[str, list[str]] = {}
    for path in sorted((realdata / "lfw" / "images_deepfunneled").rglob("*.jpg")):
        photos.setdefault(path.stem[:-5], []).append(path.relative_to(realdata / "lfw").as_posix())
    lines: list[str] = []
    with (realdata / "lfw" / "lfw_to_qid.tsv").open(encoding="utf-8") as file:
        for record in csv.DictReader(file, delimiter="\t"):
            if record["qid"] in known:
                names = photos.get(record["lfw_name"], [])
                lines += [f"{record['qid']}\t{name}\tLFW" for name in names if not name.endswith("_0001.jpg")]
    out.write_text("id\tpicture\tsource\n" + "\n".join(lines), encoding="utf-8")
    return len(lines)


@pytest.mark.realdata
def test_photos_of_real_people(realdata, tmp_path):
    build_from_files(realdata / "wikimel", tmp_path / "kb", form="ghmfc")
    known = set(json.loads((realdata / "wikimel" / "qid2ne.json").read_text(encoding="utf-8")))
    num_lines = lfw_map(realdata, known, tmp_path / "map.tsv")
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        given = read_picture_map(tmp_path / "map.tsv", realdata / "lfw", known=kb)
        before = kb.fingerprint
    assert given.problems == []
    report = change_pictures(tmp_path / "kb", given)
    assert (report.added, report.entities, num_lines) == (1571, 447, 1571)
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        kb.check()
        found = list(kb.gallery_pictures())
        assert len(found) == 1571
        assert len({row for row, _ in found}) == 447
        assert not [picture for _, picture in found if picture.path.endswith("_0001.jpg")]
        assert all(kb.picture_path(picture).is_file() for _, picture in found[::50])
        assert kb.fingerprint.compatibility == before.compatibility
        assert dataclasses.astuple(kb.picture_counts()) == (447, 1571, 1571, 0, 0, 0)
