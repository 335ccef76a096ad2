"""Archives that nobody has looked into."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from dualway.downloads import fetch_plan, plan
from dualway.downloads.unpack import Limits, check_space, needed_bytes, unpack
from dualway.errors import DownloadError, StorageError

HOSTILE_NAMES = [
    "../evil", "a/../../evil", "/etc/evil", "a/..", "..", "C:\\evil", "a\\..\\evil", "a\nb", "a\u202eb", "a?",
    "/".join("abcdefghijklmnopqrstuvwxyz"), "x" * 500,
]  # fmt: skip


def make_zip(path: Path, files: dict[str, bytes], **options) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content, **options)
    return path


def make_tar(path: Path, files: dict[str, bytes], pack=gzip.compress) -> Path:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    path.write_bytes(pack(content.getvalue()))
    return path


MAKERS = {
    "zip": make_zip,
    "tar": lambda path, files: make_tar(path, files, bytes),
    "tar.gz": make_tar,
    "tar.bz2": lambda path, files: make_tar(path, files, bz2.compress),
    "tar.xz": lambda path, files: make_tar(path, files, lzma.compress),
}


def listing(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder in a folder, so that what climbs out of it is seen."""
    (tmp_path / "deep" / "place").mkdir(parents=True)
    return tmp_path / "deep" / "place"


FILES = {"a.json": b"{}", "inside/b.json": b"[1]", "inside/東京.txt": bytes(3_000_000), "empty": b""}


@pytest.mark.parametrize("kind", MAKERS)
class TestEachKind:
    def test_all_comes_out(self, place, kind):
        archive = MAKERS[kind](place / "a", FILES)
        unpack(archive, place / "out")
        assert listing(place / "out") == FILES
        unpack(archive, place / "out")  # as it is there already

    def test_a_folder_that_holds_something_else_stays_as_it_is(self, place, kind):
        archive = MAKERS[kind](place / "a", FILES)
        unpack(archive, place / "out")
        for change in (b"changed", None):
            (place / "out" / "a.json").write_bytes(b"changed") if change else (place / "out" / "a.json").unlink()
            before = listing(place / "out")
            with pytest.raises(DownloadError, match="holds something else than a; remove it"):
                unpack(archive, place / "out")
            assert listing(place / "out") == before

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    def test_names_that_lead_elsewhere(self, place, kind, name):
        archive = MAKERS[kind](place / "a", {"good": b"1", name: b"evil"})
        with pytest.raises(DownloadError, match="a: holds a file with the name"):
            unpack(archive, place / "out")
        assert sorted(p.name for p in place.parents[1].rglob("*")) == ["a", "deep", "place"]

    @pytest.mark.parametrize("pair", [("a", "A"), ("é", "e\u0301"), ("a/b", "./a/b")])
    def test_two_files_of_one_name(self, place, kind, pair):
        archive = MAKERS[kind](place / "a", {pair[0]: b"1", pair[1]: b"2"})
        with pytest.raises(DownloadError, match="two files of the name"):
            unpack(archive, place / "out")
        assert not (place / "out").exists()

    def test_a_bomb(self, place, kind):
        archive = MAKERS[kind](place / "a", {"zeros": bytes(5_000_000), "more": bytes(5_000_000)})
        with pytest.raises(DownloadError, match="more than 8,000,000 bytes come out of it"):
            unpack(archive, place / "out", limits=Limits(size=8_000_000))
        assert not (place / "out").exists()

    def test_too_many_files(self, place, kind):
        archive = MAKERS[kind](place / "a", {str(i): b"" for i in range(20)})
        with pytest.raises(DownloadError, match="more than 10 files"):
            unpack(archive, place / "out", limits=Limits(members=10))

    @pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
    def test_a_cut_archive(self, place, kind, share):
        content = MAKERS[kind](place / "a", {"a": bytes(range(256)) * 4000, "b": bytes(range(256)) * 4000}).read_bytes()
        (place / "a").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(DownloadError, match="damaged archive"):
            unpack(place / "a", place / "out")
        assert not (place / "out").exists()


class TestZip:
    @pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
    def test_links_and_devices(self, place, kind):
        with zipfile.ZipFile(place / "a", "w") as archive:
            info = zipfile.ZipInfo("link")
            info.external_attr = (kind | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
        with pytest.raises(DownloadError, match="'link' is a link or a device"):
            unpack(place / "a", place / "out")

    def test_a_size_that_is_a_lie(self, place):
        """The table says one byte; the content is larger than the archive may hold."""
        content = bytearray(make_zip(place / "a", {"zeros": bytes(3_000_000)}).read_bytes())
        table = content.rindex(b"PK\x01\x02")
        content[table + 24 : table + 28] = (1).to_bytes(4, "little")
        (place / "a").write_bytes(content)
        with pytest.raises(DownloadError, match=r"damaged archive|come out of it"):
            unpack(place / "a", place / "out", limits=Limits(size=2_000_000))
        assert not (place / "out").exists()

    def test_an_encrypted_file(self, place):
        content = bytearray(make_zip(place / "a", {"secret": b"1"}).read_bytes())
        content[content.rindex(b"PK\x01\x02") + 8] |= 1
        (place / "a").write_bytes(content)
        with pytest.raises(DownloadError, match="encrypted"):
            unpack(place / "a", place / "out")

    def test_a_wrong_checksum(self, place):
        content = bytearray(make_zip(place / "a", {"a": b"hello world"}).read_bytes())
        content[content.rindex(b"PK\x01\x02") + 16] ^= 0xFF
        (place / "a").write_bytes(content)
        with pytest.raises(DownloadError, match="damaged archive"):
            unpack(place / "a", place / "out")


class TestTar:
    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
    def test_links_and_devices(self, place, kind):
        with tarfile.open(place / "a", "w") as archive:
            info = tarfile.TarInfo("link")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        with pytest.raises(DownloadError, match="'link' is a link or a device"):
            unpack(place / "a", place / "out")

    def test_a_link_and_then_a_file_through_it(self, place):
        with tarfile.open(place / "a", "w") as archive:
            info = tarfile.TarInfo("door")
            info.type, info.linkname = tarfile.SYMTYPE, "../.."
            archive.addfile(info)
            inside = tarfile.TarInfo("door/evil")
            inside.size = 4
            archive.addfile(inside, io.BytesIO(b"evil"))
        with pytest.raises(DownloadError, match="'door' is a link"):
            unpack(place / "a", place / "out")

    def test_a_header_that_would_fill_the_memory(self, place):
        """A long-name record of 64 MB of zeros, a few kilobytes when packed."""
        info = tarfile.TarInfo("long")
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, 64_000_000
        (place / "a").write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(64_000_512)))
        with pytest.raises(DownloadError, match="a record of 64,000,000 bytes"):
            unpack(place / "a", place / "out")


@pytest.mark.parametrize("content", [b"", b"hello", b"<html>", b"PK\x03\x04", b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\x00"])
def test_what_is_no_archive(place, content):
    (place / "a").write_bytes(content)
    with pytest.raises(DownloadError, match="a: a damaged archive, or of an unknown kind"):
        unpack(place / "a", place / "out")
    assert needed_bytes(place / "a") == 0


def test_an_honest_archive_packs_text_well(place):
    """A hundred times smaller is still no bomb."""
    archive = make_zip(place / "a", {"a.json": b"[" + b'{"sentence": "the same"},' * 1_000_000 + b"]"})
    assert needed_bytes(archive) == 25_000_002
    unpack(archive, place / "out")


def test_room(tmp_path):
    check_space(tmp_path / "not" / "there" / "yet", 1)
    with pytest.raises(StorageError, match="bytes are needed"):
        check_space(tmp_path, 2**60)


def test_an_archive_of_a_plan_is_unpacked_beside_itself(server, make_entry, tmp_path):
    content = make_zip(tmp_path / "a.zip", {"Data/train.json": b"{}"}).read_bytes()
    make_entry("mine", {"text.zip": content}, unpack=True)
    folder = fetch_plan(plan(["mine"], base_url=server.url), tmp_path / "out")["mine"]
    assert listing(folder) == {"text.zip": content, "text/Data/train.json": b"{}"}
    fetch_plan(plan(["mine"], base_url=server.url), tmp_path / "out")
    assert len(server.requests) == 1


def test_a_hostile_archive_of_a_plan(server, make_entry, tmp_path):
    content = make_zip(tmp_path / "a.zip", {"../../evil": b"1"}).read_bytes()
    make_entry("mine", {"text.zip": content}, unpack=True)
    with pytest.raises(DownloadError, match=r"mine: text\.zip: holds a file with the name '\.\./\.\./evil'"):
        fetch_plan(plan(["mine"], base_url=server.url), tmp_path / "out")
    assert listing(tmp_path / "out") == {"mine/text.zip": content}
