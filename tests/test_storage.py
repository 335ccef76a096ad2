"""Files are written whole or not at all, and read with errors that name file and line."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualway.errors import DataError, StorageError
from dualway.storage import (
    atomic_folder,
    atomic_path,
    read_json,
    read_jsonl,
    read_text,
    storage_errors,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_half_way(path: Path, error: BaseException) -> None:
    path.write_text("half")
    raise error


class TestAtomicPath:
    def test_the_file_appears_when_all_is_written(self, tmp_path):
        target = tmp_path / "deep" / "er" / "file.txt"
        with atomic_path(target) as temporary:
            temporary.write_text("new")
            assert not target.exists()
            assert temporary.parent == target.parent  # the same file system: the last step cannot be half done
        assert target.read_text() == "new"
        assert names(target.parent) == ["file.txt"]

    def test_an_error_leaves_the_old_file_and_nothing_else(self, tmp_path):
        target = tmp_path / "file.txt"
        target.write_text("old")
        with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
            fail_half_way(temporary, ZeroDivisionError())
        assert target.read_text() == "old"
        assert names(tmp_path) == ["file.txt"]

    def test_an_interrupt_leaves_nothing(self, tmp_path):
        with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "file.txt") as temporary:
            fail_half_way(temporary, KeyboardInterrupt())
        assert names(tmp_path) == []

    def test_the_file_has_the_rights_of_an_ordinary_new_file(self, tmp_path):
        old = os.umask(0o027)
        try:
            write_text(tmp_path / "file.txt", "x")
        finally:
            os.umask(old)
        assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o640

    @pytest.mark.parametrize("name", ["x" * 250, "名" * 80, "🙂.json"])
    def test_a_name_as_long_as_the_file_system_takes_is_written(self, name, tmp_path):
        write_text(tmp_path / name, "x")
        assert names(tmp_path) == [name]

    def test_an_error_of_the_callers_own_is_not_called_a_failed_write(self, tmp_path):
        with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "out.txt"):
            (tmp_path / "missing.txt").read_text()
        assert names(tmp_path) == []

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
    def test_a_full_disk_while_the_caller_writes_is_a_storage_error(self, code, tmp_path):
        with (
            pytest.raises(StorageError, match=r"out\.txt: the disk is full.*Free space"),
            atomic_path(tmp_path / "out.txt"),
        ):
            raise OSError(code, os.strerror(code))
        assert names(tmp_path) == []

    def test_a_read_only_file_system_while_the_caller_writes_is_a_storage_error(self, tmp_path):
        with pytest.raises(StorageError, match="no permission"), atomic_path(tmp_path / "out.txt"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def test_a_folder_in_the_way_is_a_storage_error(self, tmp_path):
        (tmp_path / "out" / "full").mkdir(parents=True)
        with pytest.raises(StorageError, match="out"):
            write_text(tmp_path / "out", "x")
        assert names(tmp_path) == ["out"]


class TestAtomicFolder:
    def test_the_folder_appears_when_all_is_written(self, tmp_path):
        with atomic_folder(tmp_path / "deep" / "out") as temporary:
            (temporary / "a").write_text("a")
            assert not (tmp_path / "deep" / "out").exists()
        assert names(tmp_path / "deep") == ["out"]
        assert names(tmp_path / "deep" / "out") == ["a"]

    def test_an_empty_folder_is_replaced_and_a_full_one_refused(self, tmp_path):
        (tmp_path / "out").mkdir()
        with atomic_folder(tmp_path / "out") as temporary:
            (temporary / "a").write_text("a")
        with (
            pytest.raises(StorageError, match="already exists; remove it or choose another"),
            atomic_folder(tmp_path / "out"),
        ):
            pytest.fail("the block must not run")
        assert names(tmp_path) == ["out"]

    def test_an_error_leaves_nothing(self, tmp_path):
        with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "out") as temporary:
            fail_half_way(temporary / "a", ZeroDivisionError())
        assert names(tmp_path) == []

    def test_an_error_of_the_callers_own_is_not_called_a_failed_write(self, tmp_path):
        with pytest.raises(PermissionError), atomic_folder(tmp_path / "out"):
            raise PermissionError(errno.EACCES, "a file that the caller reads")
        with pytest.raises(StorageError, match="disk is full"), atomic_folder(tmp_path / "out"):
            raise OSError(errno.ENOSPC, "no space")
        assert names(tmp_path) == []


FULL_DISK = """
import resource, sys
from pathlib import Path
from dualway.errors import StorageError
from dualway.storage import atomic_folder, write_json
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
out = Path(sys.argv[1])
for make in (lambda: write_json(out / "big.json", ["x" * 100] * 1000), lambda: fill(out / "folder")):
    def fill(path):
        with atomic_folder(path) as folder:
            (folder / "big").write_bytes(b"x" * 10000)
    try:
        make()
    except StorageError as error:
        print(error)
    else:
        sys.exit("nothing was raised")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
def test_a_disk_that_takes_no_more_is_a_storage_error_and_leaves_nothing(tmp_path):
    (tmp_path / "big.json").write_text("old")
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the disk is full; nothing was left half-written. Free space and run again.") == 2
    assert names(tmp_path) == ["big.json"]
    assert (tmp_path / "big.json").read_text() == "old"


@pytest.mark.parametrize("write", [lambda p: write_text(p, "x"), lambda p: atomic_folder(p).__enter__()])
def test_a_place_that_cannot_be_written_is_a_storage_error(write, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"file.inside.*(cannot be written|no permission)"):
        write(tmp_path / "file" / "inside")
    if Path("/proc/self").exists():
        with pytest.raises(StorageError, match="/proc/dualway"):
            write(Path("/proc/dualway"))


@pytest.mark.parametrize(
    ("code", "remedy"), [(errno.EACCES, "choose another place"), (errno.ENOSPC, "Free space"), (errno.EIO, "error")]
)
def test_storage_errors_name_path_and_remedy(code, remedy):
    with pytest.raises(StorageError, match=rf"^some/place: .*{remedy}"), storage_errors(Path("some/place")):
        raise OSError(code, os.strerror(code))


class TestReading:
    def test_what_is_no_file_is_said_so(self, tmp_path):
        for read in (read_text, read_json, lambda path: list(read_jsonl(path))):
            with pytest.raises(DataError, match=r"nowhere: no such file"):
                read(tmp_path / "nowhere")
            with pytest.raises(DataError, match="is a folder, expected a file"):
                read(tmp_path)
            with pytest.raises(DataError, match="cannot be read"):
                read(tmp_path / ("x" * 300))

    def test_bytes_that_are_not_utf_8_name_their_line(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_bytes(b'{"a":\n "\xff"}')
        with pytest.raises(DataError, match=r"a\.json, line 2: not UTF-8: byte 0xff; convert the file"):
            read_json(path)
        with pytest.raises(DataError, match=r"a\.json, line 1: broken JSON"):
            list(read_jsonl(path))
        path.write_bytes(b'{}\n\n"\xe9"\n')
        with pytest.raises(DataError, match=r"a\.json, line 3: not UTF-8: byte 0xe9"):
            list(read_jsonl(path))

    def test_utf_16_is_not_utf_8(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_text("{}", encoding="utf-16")
        with pytest.raises(DataError, match="line 1: not UTF-8: byte 0xff"):
            read_json(path)

    def test_a_byte_order_mark_is_skipped(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_bytes(b"\xef\xbb\xbf[1]\n[2]\n")
        assert list(read_jsonl(path)) == [(1, [1]), (2, [2])]
        path.write_bytes(b"\xef\xbb\xbf[1]")
        assert read_json(path) == [1]
        assert read_text(path) == "[1]"

    @pytest.mark.parametrize(
        ("text", "line"),
        [("", 1), ("{", 1), ('{\n"a": 1,\n}', 3), ("[1]\n[2]", 2), ("{'a': 1}", 1), ('["a\nb"]', 1), ("nul", 1)],
    )
    def test_broken_json_names_file_line_and_column(self, text, line, tmp_path):
        path = tmp_path / "a.json"
        path.write_text(text)
        with pytest.raises(DataError, match=rf"a\.json, line {line}: broken JSON: .*, column \d+"):
            read_json(path)

    @pytest.mark.parametrize("text", ["1" * 5000, "[" * 100_000, '{"a":' * 100_000], ids=["number", "lists", "objects"])
    def test_numbers_and_nesting_beyond_all_measure_are_broken_json(self, text, tmp_path):
        path = tmp_path / "a.json"
        path.write_text(f"[]\n{text}\n")
        with pytest.raises(DataError, match=r"a\.json, line 2: broken JSON"):
            list(read_jsonl(path))
        path.write_text(text)
        with pytest.raises(DataError, match=r"a\.json.*: broken JSON"):
            read_json(path)

    def test_empty_lines_are_skipped_and_counted(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_bytes(b"\n1\r\n   \n\n2")
        assert list(read_jsonl(path)) == [(2, 1), (5, 2)]

    def test_lines_before_a_broken_one_are_read(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text("1\n2\nx\n")
        lines = read_jsonl(path)
        assert [next(lines), next(lines)] == [(1, 1), (2, 2)]
        with pytest.raises(DataError, match="line 3"):
            next(lines)

    def test_separators_of_unicode_are_no_line_ends(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text('"a\u2028b\u0085c"\n2\n', encoding="utf-8")
        assert list(read_jsonl(path)) == [(1, "a\u2028b\u0085c"), (2, 2)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=10,
)


@given(JSON)
def test_json_comes_back_as_it_was(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "round.json"
    write_json(path, value)
    assert read_json(path) == value


def test_json_is_written_for_people_and_never_fails_on_a_lone_surrogate(tmp_path):
    write_json(tmp_path / "a.json", {"é": ["\ud800"]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "é" in text
    assert json.loads(text) == {"é": ["\ufffd"]}
