"""Vectors kept between runs: found again by content and encoder, never confused, never in the way."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualway.encoders.cache import CachedTextEncoder, VectorCache, content_key, default_cache_folder


class Counting:
    """Encodes a text as its length and first character, and counts."""

    dim = 2

    def __init__(self, fingerprint="counting", scale=1.0):
        self.fingerprint, self.scale = fingerprint, scale
        self.seen: list[str] = []

    def encode_texts(self, texts):
        self.seen.extend(texts)
        return np.array([[len(t), ord(t[0]) if t else 0] for t in texts], dtype=np.float32).reshape(-1, 2) * self.scale


TEXTS = ["b", "aaa", "b", "", "ü\ud800", "aaa"]


class TestCachedTextEncoder:
    def test_each_distinct_text_is_encoded_once(self, tmp_path):
        inner = Counting()
        vectors = CachedTextEncoder(inner, tmp_path).encode_texts(TEXTS)
        assert sorted(inner.seen) == sorted(set(TEXTS))
        np.testing.assert_array_equal(vectors, Counting().encode_texts(TEXTS))
        assert vectors.dtype == np.float32

    def test_a_second_run_encodes_nothing(self, tmp_path):
        first = CachedTextEncoder(Counting(), tmp_path).encode_texts(TEXTS)
        inner = Counting()
        second = CachedTextEncoder(inner, tmp_path).encode_texts([*TEXTS, "new"])
        assert inner.seen == ["new"]
        np.testing.assert_array_equal(second[:-1], first)

    def test_without_a_folder_vectors_are_kept_for_the_call_alone(self):
        inner = Counting()
        encoder = CachedTextEncoder(inner, None)
        encoder.encode_texts(["a", "a"])
        encoder.encode_texts(["a"])
        assert inner.seen == ["a", "a"]

    def test_two_encoders_do_not_mix(self, tmp_path):
        one = CachedTextEncoder(Counting("one"), tmp_path)
        other = CachedTextEncoder(Counting("other", scale=10), tmp_path)
        a, b = one.encode_texts(TEXTS), other.encode_texts(TEXTS)
        np.testing.assert_array_equal(b, 10 * a)
        np.testing.assert_array_equal(one.encode_texts(TEXTS), a)
        assert len(list(tmp_path.glob("vectors-*.sqlite"))) == 2

    def test_it_passes_as_its_encoder(self):
        encoder = CachedTextEncoder(Counting(), None)
        assert (encoder.dim, encoder.fingerprint) == (2, "counting")
        assert encoder.encode_texts([]).shape == (0, 2)

    def test_progress_is_told_of_what_is_encoded(self, tmp_path):
        told = []
        encoder = CachedTextEncoder(Counting(), tmp_path, progress=lambda done, total: told.append((done, total)))
        encoder.encode_texts([str(i) for i in range(2500)])
        assert told == [(1024, 2500), (2048, 2500), (2500, 2500)]
        encoder.encode_texts([str(i) for i in range(2500)])
        assert len(told) == 3

    def test_what_was_encoded_before_an_interrupt_is_kept(self, tmp_path):
        class Failing(Counting):
            def encode_texts(self, texts):
                if len(self.seen) >= 1024:
                    raise KeyboardInterrupt
                return super().encode_texts(texts)

        texts = [f"{i:05}" for i in range(3000)]
        with pytest.raises(KeyboardInterrupt):
            CachedTextEncoder(Failing(), tmp_path).encode_texts(texts)
        inner = Counting()
        CachedTextEncoder(inner, tmp_path).encode_texts(texts)
        assert len(inner.seen) == 3000 - 1024

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.text(max_size=3), max_size=20))
    def test_any_texts_in_any_order(self, texts):
        encoder = CachedTextEncoder(Counting(), None)
        np.testing.assert_array_equal(encoder.encode_texts(texts), Counting().encode_texts(texts))


KEYS = [content_key(bytes([i])) for i in range(5)]
VECTORS = {key: np.full(3, i, dtype=np.float32) for i, key in enumerate(KEYS)}


class TestVectorCache:
    def test_hits_and_misses(self, tmp_path):
        cache = VectorCache(tmp_path, "x", 3)
        assert cache.get(KEYS) == {}
        cache.put({key: VECTORS[key] for key in KEYS[:2]})
        found = cache.get(KEYS)
        assert sorted(found) == sorted(KEYS[:2])
        assert found[KEYS[1]].tolist() == [1, 1, 1]
        assert found[KEYS[1]].dtype == np.float32

    def test_more_keys_than_a_query_takes(self, tmp_path):
        cache = VectorCache(tmp_path, "x", 1)
        many = {content_key(str(i).encode()): np.array([i], dtype=np.float32) for i in range(3000)}
        cache.put(many)
        assert {key: vector[0] for key, vector in cache.get(list(many)).items()} == {k: v[0] for k, v in many.items()}

    def test_vectors_of_another_width_are_not_handed_out(self, tmp_path):
        VectorCache(tmp_path, "x", 3).put(VECTORS)
        assert VectorCache(tmp_path, "x", 4).get(KEYS) == {}

    @pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"\xff" * 4096])
    def test_a_damaged_file_is_a_slower_run(self, content, tmp_path):
        cache = VectorCache(tmp_path, "x", 3)
        (tmp_path / "vectors-x.sqlite").write_bytes(content)
        assert cache.get(KEYS) == {}
        cache.put(VECTORS)
        assert sorted(cache.get(KEYS)) == sorted(KEYS)

    def test_a_truncated_file_is_a_slower_run(self, tmp_path):
        cache = VectorCache(tmp_path, "x", 300)
        many = {content_key(str(i).encode()): np.ones(300, dtype=np.float32) for i in range(200)}
        cache.put(many)
        path = tmp_path / "vectors-x.sqlite"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert len(cache.get(list(many))) < 200
        cache.put(many)
        cache.put(many)
        assert all(v.tolist() == [1.0] * 300 for v in cache.get(list(many)).values())

    def test_a_database_of_another_kind_is_a_slower_run(self, tmp_path):
        with closing(sqlite3.connect(tmp_path / "vectors-x.sqlite")) as connection:
            connection.execute("CREATE TABLE vectors (other TEXT)")
        cache = VectorCache(tmp_path, "x", 3)
        assert cache.get(KEYS) == {}
        cache.put(VECTORS)

    @pytest.mark.parametrize("folder", ["file/inside", "file"])
    def test_a_folder_that_cannot_be_written_is_not_the_callers_problem(self, folder, tmp_path):
        (tmp_path / "file").write_text("x")
        cache = VectorCache(tmp_path / folder, "x", 3)
        cache.put(VECTORS)
        assert cache.get(KEYS) == {}
        inner = Counting()
        assert CachedTextEncoder(inner, tmp_path / folder).encode_texts(["a"]).tolist() == [[1, 97]]

    def test_proc_is_such_a_folder(self):
        if not Path("/proc/self").exists():
            pytest.skip("no /proc here")
        VectorCache(Path("/proc/dualway"), "x", 3).put(VECTORS)

    def test_a_folder_in_the_files_place_is_not_the_callers_problem(self, tmp_path):
        (tmp_path / "vectors-x.sqlite").mkdir()
        cache = VectorCache(tmp_path, "x", 3)
        cache.put(VECTORS)
        assert cache.get(KEYS) == {}

    def test_several_processes_may_use_it_at_once(self, tmp_path):
        commands = [[sys.executable, "-c", FILL, str(tmp_path), start] for start in ("0", "100")]
        processes = [subprocess.Popen(command) for command in commands]
        assert [process.wait(timeout=60) for process in processes] == [0, 0]
        cache = VectorCache(tmp_path, "x", 3)
        assert len(cache.get([content_key(str(i).encode()) for i in [*range(20), *range(100, 120)]])) == 40


FILL = """
import sys
from pathlib import Path
import numpy as np
from dualway.encoders.cache import VectorCache, content_key
cache, start = VectorCache(Path(sys.argv[1]), "x", 3), int(sys.argv[2])
for i in range(start, start + 20):
    cache.put({content_key(str(i).encode()): np.full(3, i, dtype=np.float32)})
"""


def test_the_folder_can_be_chosen(monkeypatch):
    monkeypatch.setenv("DUALWAY_CACHE", "/chosen")
    assert default_cache_folder() == Path("/chosen")
    monkeypatch.delenv("DUALWAY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache_folder() == Path("/xdg/dualway")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_cache_folder() == Path("/home/somebody/.cache/dualway")
