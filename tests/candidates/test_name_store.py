"""The index on disk: what was written comes back, and a file that is not what it should be is noticed, never used."""

from __future__ import annotations

import json
import os
import sys
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Thread

import numpy as np
import pytest

from dualway.candidates.name_segments import blocks, build_segment
from dualway.candidates.name_store import (
    LIST,
    obsolete,
    read_list,
    read_segment,
    read_segments,
    write_block,
    write_list,
    write_segment,
    write_segments,
)
from dualway.errors import DataError, KnowledgeBaseError, StorageError
from dualway.storage import write_json

ENTITIES = [(1, "Jodie Foster", ("Alicia Foster",)), (4, "Ben Foster (actor)", ()), (9, "東京", ("Tokyo",))]
ARRAYS = ("features", "starts", "strings", "trigram_values", "word_values", "owners")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_segments(tmp_path / "names", ENTITIES, revision=3, state="abc")
    return tmp_path / "names"


def damaged(folder: Path) -> list[str]:
    stored = read_segments(folder)
    return [path.name for path in stored.damaged]


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rewrite(folder: Path, content: bytes, **other) -> None:
    """Replace the only segment by other bytes, and let the list say that these are right."""
    (file,) = read_list(folder)
    (folder / file.file).write_bytes(content)
    entry = {**file.__dict__, "sha256": sha256(content).hexdigest(), "size": len(content), **other}
    write_json(folder / LIST, {"format": 1, "segments": [entry]})


def change_header(folder: Path, change) -> None:
    """Let the header of the only segment say something else."""
    (file,) = read_list(folder)
    content = (folder / file.file).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rewrite(folder, len(text).to_bytes(8, "little") + text + content[8 + length :])


class TestRoundTrip:
    def test_what_was_written_comes_back(self, folder):
        stored = read_segments(folder)
        assert stored.damaged == ()
        ((file, segment),) = stored.segments
        expected = build_segment(ENTITIES, 3)
        for name in ARRAYS:
            assert getattr(segment, name).tolist() == getattr(expected, name).tolist()
            assert getattr(segment, name).dtype == getattr(expected, name).dtype
        assert (segment.revision, file.revision, file.state, file.num_strings) == (3, 3, "abc", 5)

    def test_any_reader_of_safetensors_reads_it(self, folder):
        from safetensors.numpy import load_file

        (file,) = read_list(folder)
        arrays = load_file(folder / file.file)
        expected = build_segment(ENTITIES, 3)
        assert {name: array.tolist() for name, array in arrays.items()} == {
            name: getattr(expected, name).tolist() for name in ARRAYS
        }

    def test_nothing_is_a_folder_without_segments(self, tmp_path):
        assert write_segments(tmp_path / "none", [], revision=1) == []
        assert read_segments(tmp_path / "none") == ([], ())
        assert read_segments(tmp_path / "missing") == ([], ())

    def test_processes_write_blocks_of_their_own(self, tmp_path):
        entities = [(i, f"name {i}", ()) for i in range(50)]
        write = partial(write_block, tmp_path, revision=2, state="s")
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            files = list(pool.map(write, blocks(entities, 20)))
        assert read_segments(tmp_path).segments == []  # nothing is there before it is listed
        write_list(tmp_path, files)
        owners = [segment.owners.tolist() for _, segment in read_segments(tmp_path).segments]
        assert owners == [list(range(20)), list(range(20, 40)), list(range(40, 50))]

    def test_a_reader_keeps_what_it_has_open_while_the_index_is_replaced(self, folder):
        ((_, segment),) = read_segments(folder).segments
        before = [getattr(segment, name).tolist() for name in ARRAYS]
        write_segments(folder, [(2, "Somebody Else", ())], revision=4)
        assert [getattr(segment, name).tolist() for name in ARRAYS] == before
        ((file, other),) = read_segments(folder).segments
        assert other.owners.tolist() == [2]
        assert listing(folder) == sorted([LIST, file.file])

    def test_opening_while_the_index_is_replaced_finds_one_or_the_other(self, folder):
        def replace() -> None:
            for i in range(150):
                write_segments(folder, [(i, f"name {i}", ())], revision=4)

        writer = Thread(target=replace)
        writer.start()
        opened = 0
        while writer.is_alive():
            stored = read_segments(folder)
            assert (stored.damaged, len(stored.segments)) == ((), 1)
            opened += 1
        writer.join()
        assert opened > 5

    def test_what_a_killed_process_left_is_told_and_swept(self, folder):
        files = read_list(folder)
        left = write_segment(folder, build_segment([(7, "left over", ())], 9))
        (folder / ".names-0123.abc.tmp").write_bytes(b"half")
        (folder / "mine.txt").write_text("not ours")
        assert [path.name for path in obsolete(folder, files)] == [".names-0123.abc.tmp", left.file]
        write_list(folder, files)
        assert listing(folder) == sorted([LIST, "mine.txt", files[0].file])
        assert damaged(folder) == []

    def test_a_writer_killed_at_any_time_leaves_a_whole_index(self, folder):
        code = (
            "import sys; from pathlib import Path; from dualway.candidates.name_store import write_segments\n"
            "print('ready', flush=True)\n"
            "while True: write_segments(Path(sys.argv[1]), [(i, f'name {i}', ()) for i in range(50)], revision=4)"
        )
        for wait in (0.0, 0.003, 0.011):
            with Popen([sys.executable, "-c", code, str(folder)], stdout=PIPE) as writer:
                assert writer.stdout is not None
                writer.stdout.readline()
                time.sleep(wait)
                writer.kill()
            stored = read_segments(folder)
            assert (stored.damaged, len(stored.segments)) == ((), 1)
        files = write_segments(folder, ENTITIES, revision=5)
        assert listing(folder) == sorted([LIST, *(file.file for file in files)])

    def test_memory_does_not_go_with_the_number_of_names(self, tmp_path):
        def peak(num_entities: int) -> int:
            tracemalloc.start()
            write_segments(tmp_path, ((i, f"Name {i % 977} of {i}", ()) for i in range(num_entities)), revision=1)
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return most

        few, many = peak(33_000), peak(66_000)
        assert many < 1.2 * few
        assert many < 100e6

    def test_a_place_that_takes_no_file_is_told(self, tmp_path):
        (tmp_path / "taken").write_text("a file")
        with pytest.raises(StorageError):
            write_segments(tmp_path / "taken", ENTITIES, revision=1)


class TestDamage:
    @pytest.mark.parametrize("place", [0, 9, 200, 1000, -1])
    def test_one_other_bit_anywhere_is_noticed(self, folder, place):
        (file,) = read_list(folder)
        content = bytearray((folder / file.file).read_bytes())
        content[place] ^= 1
        (folder / file.file).write_bytes(content)
        assert damaged(folder) == [file.file]
        with pytest.raises(KnowledgeBaseError, match=r"safetensors: .* damaged"):
            read_segment(folder, file)

    @pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 8, b"\xff" * 9, b"{}" * 50, bytes(1000)])
    def test_other_content_is_noticed_even_when_the_list_agrees(self, folder, content):
        rewrite(folder, content)
        assert len(damaged(folder)) == 1

    def test_a_missing_cut_or_longer_file_is_noticed(self, folder):
        (file,) = read_list(folder)
        content = (folder / file.file).read_bytes()
        for other in (content[:-1], content + b"\0", None):
            (folder / file.file).unlink()
            if other is not None:
                (folder / file.file).write_bytes(other)
            assert damaged(folder) == [file.file]

    def test_a_link_a_folder_or_a_pipe_is_not_followed(self, folder, tmp_path):
        (file,) = read_list(folder)
        path = folder / file.file
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        assert damaged(folder) == [file.file]
        path.unlink()
        path.mkdir()
        assert damaged(folder) == [file.file]
        path.rmdir()
        os.mkfifo(path)
        assert damaged(folder) == [file.file]

    @pytest.mark.parametrize(
        ("name", "place", "value"),
        [
            ("strings", 0, 5),
            ("strings", -1, 65535),
            ("starts", 0, 1),
            ("starts", -1, 10**9),
            ("starts", 3, -1),
            ("features", 1, 0),
            ("owners", 0, 99),
            ("trigram_values", 0, np.nan),
            ("word_values", 0, np.inf),
            ("word_values", 0, -1.0),
        ],
    )
    def test_numbers_out_of_range_are_noticed_even_when_the_hash_is_right(self, tmp_path, name, place, value):
        segment = build_segment(ENTITIES, 1)
        getattr(segment, name)[place] = value
        write_list(tmp_path, [write_segment(tmp_path, segment)])
        assert len(damaged(tmp_path)) == 1

    @pytest.mark.parametrize(
        "change",
        [
            lambda h: h.pop("owners"),
            lambda h: h["owners"].update(dtype="F64"),
            lambda h: h["owners"].update(shape=[2**62]),
            lambda h: h["owners"].update(shape=[5, 1]),
            lambda h: h["owners"].update(shape=[True]),
            lambda h: h["owners"].update(shape=None),
            lambda h: h["owners"].update(data_offsets=[-8, 32]),
            lambda h: h["owners"].update(data_offsets=[0.0, 40.0]),
            lambda h: h["owners"].update(data_offsets=[10**30, 10**30 + 40]),
            lambda h: h["owners"].update(data_offsets=[h["owners"]["data_offsets"][0] + 1, 0]),
            lambda h: h.update(owners=[]),
            lambda h: h["owners"].update(data_offsets=[o + 4 for o in h["owners"]["data_offsets"]]),
        ],
    )
    def test_a_header_that_does_not_fit_is_noticed(self, folder, change):
        change_header(folder, change)
        assert len(damaged(folder)) == 1

    def test_the_number_of_strings_must_be_the_listed_one(self, folder):
        (file,) = read_list(folder)
        rewrite(folder, (folder / file.file).read_bytes(), num_strings=4)
        assert len(damaged(folder)) == 1

    def test_the_others_are_used(self, tmp_path):
        files = [write_block(tmp_path, block, 1) for block in blocks(ENTITIES, 2)]
        write_list(tmp_path, files)
        (tmp_path / files[1].file).unlink()
        stored = read_segments(tmp_path)
        assert [path.name for path in stored.damaged] == [files[1].file]
        assert [segment.keys.tolist() for _, segment in stored.segments] == [[1], [9]]


class TestTheList:
    @pytest.mark.parametrize(
        "content",
        [
            "", "[", "null", "[]", "{}", '{"format": 2, "segments": []}', '{"format": 1, "segments": 3}',
            '{"format": 1, "segments": [{}]}', '{"format": 1, "segments": [null]}', "[" * 10**5,
            '{"format": ' + "9" * 5000 + "}",
        ],
    )  # fmt: skip
    def test_a_list_of_something_else_is_damage(self, folder, content):
        (folder / LIST).write_text(content)
        assert damaged(folder) == [LIST]
        with pytest.raises((DataError, KnowledgeBaseError)):
            read_list(folder)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("file", "../names.json"),
            ("file", "/etc/passwd"),
            ("file", "names-" + "0" * 32 + ".safetensors\n"),
            ("file", None),
            ("size", -1),
            ("size", 1e3),
            ("size", True),
            ("size", 10**30),
            ("revision", "3"),
            ("revision", 10**30),
            ("state", 3),
            ("sha256", None),
        ],
    )
    def test_an_entry_that_no_writer_writes_is_damage(self, folder, name, value):
        (file,) = read_list(folder)
        write_json(folder / LIST, {"format": 1, "segments": [{**file.__dict__, name: value}]})
        assert damaged(folder) == [LIST]

    def test_bytes_that_are_no_text_are_damage(self, folder):
        (folder / LIST).write_bytes(b"\xff\xfe{}")
        assert damaged(folder) == [LIST]
        (folder / LIST).unlink()
        (folder / LIST).mkdir()
        assert damaged(folder) == [LIST]
