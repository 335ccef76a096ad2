from __future__ import annotations

import bz2
import gzip
import random
import threading
import time

import pytest

from dualway.errors import DataError
from dualway.sources.line_blocks import ahead, read_blocks

LINES = [b'{"number":%d,"text":"%s"},\n' % (n, b"x" * (n * 7919 % 300)) for n in range(3_000)]
CONTENT = b"[\n" + b"".join(LINES) + b"]"


def pack(kind, content):
    middle = len(content) // 2 - 7  # within a line
    if kind == "gz":
        return gzip.compress(content[:middle]) + gzip.compress(content[middle:]) + b"\0" * 100
    return bz2.compress(content[:middle]) + bz2.compress(content[middle:]) if kind == "bz2" else content


@pytest.fixture(params=["plain", "gz", "bz2"])
def path(request, tmp_path):
    path = tmp_path / "dump"
    path.write_bytes(pack(request.param, CONTENT))
    return path


class TestBlocks:
    @pytest.mark.parametrize("size", [500, 70_000, 1 << 22])
    def test_together_they_are_the_file(self, path, size):
        blocks = list(read_blocks(path, size=size))
        assert b"".join(block.content for block in blocks) == CONTENT
        assert all(block.content.endswith(b"\n") for block in blocks[:-1])
        assert blocks[-1].read <= path.stat().st_size

    def test_reading_goes_on_at_any_block(self, path):
        for block in random.Random(0).sample(list(read_blocks(path, size=5_000)), 5):
            rest = list(read_blocks(path, position=block.next_position, line=block.next_line, size=3_000))
            assert b"".join(part.content for part in rest) == CONTENT[block.next_position :]
            assert block.line == CONTENT.count(b"\n", 0, block.position) + 1
            assert block.next_line == CONTENT.count(b"\n", 0, block.next_position) + 1

    def test_at_the_end_there_is_nothing(self, path):
        assert list(read_blocks(path, position=len(CONTENT), line=3_002)) == []

    def test_a_line_that_is_too_long_is_cut_and_passed_over(self, tmp_path):
        content = b"a\n" + b"b" * 50_000 + b"\nc\n" + b"d" * 50_000
        path = tmp_path / "dump"
        path.write_bytes(content)
        blocks = list(read_blocks(path, size=1_000, longest=10_000))
        assert [block.is_cut for block in blocks] == [False, True, False, True]
        assert [block.content[:1] for block in blocks] == [b"a", b"b", b"c", b"d"]
        assert all(len(block.content) < 1_000 for block in blocks)
        assert [block.line for block in blocks] == [1, 2, 3, 4]
        assert sum(block.length for block in blocks) == len(content)
        assert blocks[2].position == content.index(b"c")


class TestDamage:
    @pytest.mark.parametrize("kind", ["gz", "bz2"])
    def test_a_file_that_did_not_come_whole(self, kind, tmp_path):
        path = tmp_path / "dump.json"
        path.write_bytes(pack(kind, CONTENT).rstrip(b"\0")[:-20])
        with pytest.raises(DataError, match=r"dump\.json: ends in the middle, after .* fetch it again"):
            list(read_blocks(path))

    @pytest.mark.parametrize("kind", ["gz", "bz2"])
    def test_a_file_with_a_wrong_byte(self, kind, tmp_path):
        packed = bytearray(pack(kind, CONTENT))
        packed[len(packed) // 4] ^= 255
        (tmp_path / "dump").write_bytes(packed)
        with pytest.raises(DataError, match="damaged after"):
            list(read_blocks(tmp_path / "dump"))

    def test_what_follows_a_member_must_be_one(self, tmp_path):
        (tmp_path / "dump").write_bytes(gzip.compress(CONTENT) + b"something else")
        with pytest.raises(DataError, match="damaged after"):
            list(read_blocks(tmp_path / "dump"))

    @pytest.mark.parametrize(
        ("start", "name"), [(b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz"), (b"PK\3\4", "zip")]
    )
    def test_other_packers_are_named(self, start, name, tmp_path):
        (tmp_path / "dump").write_bytes(start + b"\0" * 20)
        with pytest.raises(DataError, match=f"packed with {name}"):
            list(read_blocks(tmp_path / "dump"))

    def test_a_missing_file_and_a_folder(self, tmp_path):
        with pytest.raises(DataError, match="no such file"):
            list(read_blocks(tmp_path / "none"))
        with pytest.raises(DataError, match="is a folder"):
            list(read_blocks(tmp_path))

    def test_an_empty_file_has_no_lines(self, tmp_path):
        (tmp_path / "dump").touch()
        assert list(read_blocks(tmp_path / "dump")) == []


class TestAhead:
    def test_the_same_values_in_the_same_order(self):
        assert list(ahead(range(1_000))) == list(range(1_000))

    def test_it_is_only_so_far_ahead(self):
        made = []

        def values():
            for number in range(100):
                made.append(number)
                yield number

        numbers = ahead(values(), 3)
        assert next(numbers) == 0
        time.sleep(0.1)
        assert len(made) <= 6
        numbers.close()

    def test_its_errors_are_raised(self):
        def values():
            yield 1
            raise DataError("broken")

        with pytest.raises(DataError, match="broken"):
            list(ahead(values()))

    def test_its_thread_ends_when_nobody_waits(self):
        before = threading.active_count()
        numbers = ahead(iter(range(1_000_000)))
        next(numbers)
        numbers.close()
        assert threading.active_count() == before
