"""Where pictures lie, whatever their paths say, and after folders were moved."""

import dataclasses
from pathlib import Path

import pytest

from dualway.errors import PictureError
from dualway.kb.changes import changing
from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Picture


def create(kb: Path, root: Path | str, *paths: str, more: tuple[Path, ...] = ()) -> KnowledgeBase:
    entity = Entity("Q1", "a", pictures=tuple(map(Picture, paths)))
    return KnowledgeBase.create(kb, [entity], picture_root=root, more_picture_roots=more)


def place_of(kb: Path, path: str) -> Path:
    with KnowledgeBase.open(kb) as opened:
        return opened.picture_path(Picture(path))


@pytest.fixture
def folder(tmp_path) -> Path:
    """`pics` beside a secret file, a folder with links, and a folder whose name begins alike."""
    for name in ("pics/sub/a.jpg", "secret.jpg", "pics-other/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "pics" / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (tmp_path / "pics" / "up").symlink_to(tmp_path)
    (tmp_path / "pics" / "within.jpg").symlink_to("sub/a.jpg")
    (tmp_path / "pics" / "circle").symlink_to("circle")
    create(tmp_path / "kb", tmp_path / "pics").close()
    return tmp_path


@pytest.mark.parametrize("path", ["sub/a.jpg", "sub/../sub/a.jpg", "within.jpg", "not there.jpg", "../pics/sub/a.jpg"])
def test_what_lies_in_the_folder(folder, path):
    expected = folder / "pics" / ("not there.jpg" if "not" in path else "sub/a.jpg")
    assert place_of(folder / "kb", path) == expected
    assert place_of(folder / "kb", str(folder / "pics" / path)) == expected


@pytest.mark.parametrize(
    "path",
    [
        "../secret.jpg", "sub/../../secret.jpg", "out.jpg", "up/secret.jpg", "../pics-other/a.jpg", "/etc/passwd", "..",
        "https://example.org/a.jpg", "file:///etc/passwd", "a\x00b.jpg", "circle/../../secret.jpg",
        "~/a.jpg/../../../a",
    ],
)  # fmt: skip
def test_what_leads_out_of_it(folder, path):
    with pytest.raises(PictureError) as caught:
        place_of(folder / "kb", path)
    assert path in str(caught.value) or path.rpartition("/")[2] in str(caught.value)


def test_a_circle_of_links_is_an_error_or_a_path_that_cannot_be_opened(folder):
    try:
        place = place_of(folder / "kb", "circle")
    except PictureError:
        return
    assert place == folder / "pics" / "circle"


def test_an_absolute_path_needs_its_folder_recorded(folder):
    path = str(folder / "pics-other" / "a.jpg")
    with pytest.raises(PictureError, match="leads out of"):
        place_of(folder / "kb", path)
    create(folder / "kb2", folder / "pics", path, more=(folder / "pics-other",)).close()
    assert place_of(folder / "kb2", path) == folder / "pics-other" / "a.jpg"
    with pytest.raises(PictureError):
        place_of(folder / "kb2", str(folder / "secret.jpg"))


def test_a_link_from_one_folder_into_the_other_leads_out(folder):
    create(folder / "kb2", folder / "pics", more=(folder / "pics-other",)).close()
    (folder / "pics" / "link.jpg").symlink_to(folder / "pics-other" / "a.jpg")
    with pytest.raises(PictureError, match="leads out of"):
        place_of(folder / "kb2", "link.jpg")


def test_without_a_folder_paths_start_from_the_knowledge_base(tmp_path, monkeypatch):
    with create(tmp_path / "kb", "") as kb:
        assert kb.picture_root == tmp_path / "kb"
        assert kb.picture_path(Picture("a.jpg")) == tmp_path / "kb" / "a.jpg"
    monkeypatch.chdir(tmp_path)
    with create(Path("kb2"), "pics") as kb:
        assert kb.picture_root == tmp_path / "pics"
        monkeypatch.chdir("/")
        assert kb.picture_root == tmp_path / "pics"


class TestMoved:
    @pytest.fixture
    def moved(self, folder):
        """The knowledge base with its pictures, under another folder, and the path of a second folder as stored."""
        second = str(folder / "pics-other" / "a.jpg")
        (folder / "all").mkdir()
        create(folder / "kb2", folder / "pics", "sub/a.jpg", second, more=(folder / "pics-other",)).close()
        for name in ("kb2", "pics", "pics-other"):
            (folder / name).rename(folder / "all" / name)
        return folder / "all", second

    def test_with_all_its_pictures(self, moved):
        there, second = moved
        assert place_of(there / "kb2", "sub/a.jpg") == there / "pics" / "sub" / "a.jpg"
        assert place_of(there / "kb2", second) == there / "pics-other" / "a.jpg"
        with pytest.raises(PictureError):
            place_of(there / "kb2", "../secret.jpg")

    def test_alone_it_finds_them_where_they_were(self, folder):
        (folder / "elsewhere").mkdir()
        (folder / "kb").rename(folder / "elsewhere" / "kb")
        assert place_of(folder / "elsewhere" / "kb", "sub/a.jpg") == folder / "pics" / "sub" / "a.jpg"

    def test_pictures_given_again_are_the_same_ones(self, moved):
        there, second = moved
        with KnowledgeBase.open(there / "kb2") as kb:
            assert kb.picture_roots.stored(there / "pics" / "sub" / "a.jpg") == "sub/a.jpg"
            assert kb.picture_roots.stored(there / "pics-other" / "a.jpg") == second
            assert kb.picture_roots.stored(there / "neither" / "a.jpg") is None

    def test_pictures_inside_the_knowledge_base_go_with_it(self, tmp_path):
        create(tmp_path / "kb", tmp_path / "kb" / "pictures").close()
        (tmp_path / "kb" / "pictures").mkdir()
        (tmp_path / "kb").rename(tmp_path / "other")
        assert place_of(tmp_path / "other", "a.jpg") == tmp_path / "other" / "pictures" / "a.jpg"


def test_folders_that_no_picture_is_in_are_forgotten(folder):
    second, third = str(folder / "pics-other" / "a.jpg"), "../pics-third/a.jpg"
    more = (folder / "pics-other", folder / "pics-third", folder / "pics-unused")
    create(folder / "kb2", folder / "pics", second, third, more=more).close()
    with changing(folder / "kb2") as change:
        change.keep_out("Q1")
    with KnowledgeBase.open(folder / "kb2") as kb:
        kept = [folder / "pics", folder / "pics-other", folder / "pics-third"]
        assert list(kb.manifest.picture_roots) == list(map(str, kept))
    with changing(folder / "kb2") as change:
        change.update(dataclasses.replace(change.entity("Q1"), pictures=(Picture(third),)))
    with KnowledgeBase.open(folder / "kb2") as kb:
        assert list(kb.manifest.picture_roots) == [str(folder / "pics"), str(folder / "pics-third")]
        assert kb.picture_path(Picture(third)) == folder / "pics-third" / "a.jpg"


def test_a_folder_that_is_a_link(folder):
    (folder / "linked").symlink_to(folder / "pics")
    create(folder / "kb2", folder / "linked").close()
    assert place_of(folder / "kb2", "sub/a.jpg") == folder / "pics" / "sub" / "a.jpg"
    with KnowledgeBase.open(folder / "kb2") as kb:
        assert kb.picture_roots.stored(folder / "pics" / "x.jpg") == "x.jpg"
