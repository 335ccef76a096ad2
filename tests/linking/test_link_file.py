"""Linking a file: in order, whole or not at all, and the same whether or not it was interrupted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dualway.errors import DataError, StorageError, UsageError
from dualway.linker import Linker
from dualway.linking import batch
from dualway.linking.batch import link_file

SURFACES = ["Foster", "Mel Gibson", "Gretzky", "محمد صلاح", "Zzyzx", "João Silva", "Jones"]


def write_mentions(path: Path, num: int = 20, **more) -> Path:
    lines = [
        {"id": f"m{i}", "text": f"{SURFACES[i % 7]} in caption {i}", "surface": SURFACES[i % 7], **more}
        for i in range(num)
    ]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def linker(people_kb) -> Linker:
    return Linker.from_kb(people_kb, text_encoder=None)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder for input and output; four mentions a chunk."""
    monkeypatch.setattr(batch, "_CHUNK", 4)
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def run(linker, source, target, **more):
    notes: list[str] = []
    counts = link_file(linker, source, target, note=notes.append, **more)
    return counts, notes


def test_one_line_a_mention_in_the_order_of_the_input(linker, place):
    source = write_mentions(place / "in.jsonl")
    told = []
    counts, notes = run(linker, source, place / "new" / "out.jsonl", k=3, progress=lambda *state: told.append(state))
    lines = read(place / "new" / "out.jsonl")
    assert [line["id"] for line in lines] == [f"m{i}" for i in range(20)]
    assert counts == {"links": str(place / "new" / "out.jsonl"), "mentions": 20, "nil": 3, "resumed": 0}
    assert sum(line["entity_id"] is None for line in lines) == 3
    assert all(len(line["candidates"]) <= 3 for line in lines)
    assert told == [(4, 20), (8, 20), (12, 20), (16, 20), (20, 20)]
    assert notes == []
    assert names(place / "new") == ["out.jsonl"]


def test_a_line_is_the_link_of_its_mention_alone(linker, place):
    source = write_mentions(place / "in.jsonl")
    run(linker, source, place / "out.jsonl")
    for i, line in enumerate(read(place / "out.jsonl")):
        alone = write_mentions(place / "one.jsonl", num=20).read_text(encoding="utf-8").splitlines()[i]
        (place / "one.jsonl").write_text(alone, encoding="utf-8")
        run(linker, place / "one.jsonl", place / "one-out.jsonl")
        assert read(place / "one-out.jsonl") == [line]


class Killed(BaseException):
    """As hard an end as a process can give itself."""


def kill_after(linker: Linker, chunks: int) -> Linker:
    """The same linker, which dies at the start of a chunk."""
    killed = Linker(linker.kb, linker._source, linker.ranker, names=linker.names)
    link, calls = killed.link, []

    def dying(*args, **kwargs):
        calls.append(1)
        if len(calls) > chunks:
            raise Killed
        return link(*args, **kwargs)

    killed.link = dying
    return killed


class TestResuming:
    @pytest.fixture
    def whole(self, linker, place) -> bytes:
        run(linker, write_mentions(place / "in.jsonl"), place / "whole.jsonl")
        return (place / "whole.jsonl").read_bytes()

    @pytest.mark.parametrize("chunks", [0, 1, 3])
    @pytest.mark.parametrize("cut", [0, 1, 50])
    def test_a_killed_job_goes_on_and_ends_the_same(self, chunks, cut, linker, place, whole):
        target = place / "out.jsonl"
        with pytest.raises(Killed):
            run(kill_after(linker, chunks), place / "in.jsonl", target)
        assert not target.exists()
        partial = place / ".out.jsonl.partial"
        os.truncate(partial, max(partial.stat().st_size - cut, 0))  # the last line never reached the disk whole
        counts, _ = run(linker, place / "in.jsonl", target)
        assert counts["resumed"] == (4 * chunks - (cut > 0) if chunks else 0)
        assert counts["mentions"] == 20
        assert counts["nil"] == 3
        assert target.read_bytes() == whole
        assert names(place) == ["in.jsonl", "out.jsonl", "whole.jsonl"]

    def test_lines_that_are_no_links_are_made_anew(self, linker, place, whole):
        with pytest.raises(Killed):
            run(kill_after(linker, 3), place / "in.jsonl", place / "out.jsonl")
        partial = place / ".out.jsonl.partial"
        lines = partial.read_bytes().splitlines(keepends=True)
        partial.write_bytes(b"".join([*lines[:2], b"\0" * 100 + b"\n", *lines[3:]]))
        counts, _ = run(linker, place / "in.jsonl", place / "out.jsonl")
        assert counts["resumed"] == 2
        assert (place / "out.jsonl").read_bytes() == whole

    @pytest.mark.parametrize("change", ["input", "k", "kb", "regions", "origin"])
    def test_another_job_starts_afresh(self, change, linker, people, place, whole):
        from dualway.kb.store import KnowledgeBase

        with pytest.raises(Killed):
            run(kill_after(linker, 3), place / "in.jsonl", place / "out.jsonl")
        if change == "input":
            write_mentions(place / "in.jsonl", date="2020")
        if change == "kb":
            linker = Linker.from_kb(KnowledgeBase.create(place / "kb", people[:-1]), text_encoder=None)
        if change == "regions":
            linker = Linker(linker.kb, linker._source, linker.ranker, names=linker.names, regions="other")
        if change == "origin":
            (place / ".out.jsonl.origin").unlink()
        counts, _ = run(linker, place / "in.jsonl", place / "out.jsonl", k=5 if change == "k" else 100)
        assert counts["resumed"] == 0
        assert len(read(place / "out.jsonl")) == 20
        if change == "kb":
            linker.kb.close()

    def test_a_finished_job_is_not_taken_for_an_unfinished_one(self, linker, place, whole):
        for _ in range(2):
            counts, _ = run(linker, place / "in.jsonl", place / "out.jsonl")
            assert counts["resumed"] == 0
            assert (place / "out.jsonl").read_bytes() == whole


class TestInput:
    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("{", r"in\.jsonl, line 21: broken JSON"),
            ('{"text": "a"}', r"in\.jsonl, line 21: 'surface' is missing"),
            ('{"text": "a", "surface": " "}', r"in\.jsonl, line 21: 'surface' is missing or empty"),
            ('{"text": 5, "surface": "a"}', r"in\.jsonl, line 21: 'text' must be text"),
            ('{"id": "m3", "text": "a", "surface": "a"}', r"in\.jsonl.*m3"),
        ],
    )
    def test_a_bad_line_anywhere_means_that_nothing_is_written(self, line, message, linker, place):
        source = write_mentions(place / "in.jsonl")
        with source.open("a") as file:
            file.write(line + "\n")
        with pytest.raises(DataError, match=message):
            run(linker, source, place / "out.jsonl")
        assert names(place) == ["in.jsonl"]

    def test_a_file_without_a_mention_is_an_error_and_writes_nothing(self, linker, place):
        (place / "in.jsonl").write_text("\n\n")
        with pytest.raises(DataError, match=r"in\.jsonl: no usable mention"):
            run(linker, place / "in.jsonl", place / "out.jsonl")
        assert names(place) == ["in.jsonl"]

    def test_a_missing_file_is_told(self, linker, place):
        with pytest.raises(DataError, match=r"nowhere\.jsonl: no such file"):
            run(linker, place / "nowhere.jsonl", place / "out.jsonl")

    def test_a_folder_with_one_data_set_is_taken(self, linker, place):
        (place / "data").mkdir()
        write_mentions(place / "data" / "test.jsonl", num=5)
        counts, _ = run(linker, place / "data", place / "out.jsonl")
        assert counts["mentions"] == 5

    def test_lone_surrogates_and_other_dirt_come_out_as_utf_8(self, linker, place):
        line = r'{"id": "\ud800", "text": "Foster \ud800 \u0000", "surface": "Foster"}'
        (place / "in.jsonl").write_text(line)
        counts, notes = run(linker, place / "in.jsonl", place / "out.jsonl")
        assert counts["mentions"] == 1
        assert read(place / "out.jsonl")[0]["id"] == "\ufffd"
        assert any("repaired" in note for note in notes)

    def test_pictures_that_play_no_part_are_told_of(self, linker, place):
        source = write_mentions(place / "in.jsonl", image="photo.jpg")
        _, notes = run(linker, source, place / "out.jsonl")
        assert any("does not read pictures" in note for note in notes)


class TestOutput:
    def test_the_input_is_never_overwritten(self, linker, place):
        source = write_mentions(place / "in.jsonl")
        before = source.read_bytes()
        with pytest.raises(UsageError, match="is the input"):
            run(linker, source, place / "x" / ".." / "in.jsonl")
        assert source.read_bytes() == before

    def test_a_folder_in_the_way_is_told_before_the_work(self, linker, place):
        (place / "out.jsonl").mkdir()
        with pytest.raises(StorageError, match=r"out\.jsonl"):
            run(kill_after(linker, 0), write_mentions(place / "in.jsonl"), place / "out.jsonl")
        assert names(place) == ["in.jsonl", "out.jsonl"]

    def test_a_place_that_cannot_be_written_is_told_before_the_work(self, linker, place):
        source = write_mentions(place / "in.jsonl")
        with pytest.raises(StorageError):
            run(kill_after(linker, 0), source, source / "inside.jsonl")

    def test_a_disk_that_fills_up_leaves_the_old_file_and_can_go_on(self, linker, place, monkeypatch):
        import errno

        source = write_mentions(place / "in.jsonl")
        (place / "out.jsonl").write_text("old")
        calls = []

        def full(_):
            calls.append(1)
            if len(calls) > 2:
                raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(StorageError, match="the disk is full"):
                run(linker, source, place / "out.jsonl")
        assert (place / "out.jsonl").read_text() == "old"
        counts, _ = run(linker, source, place / "out.jsonl")
        assert counts["resumed"] >= 8
        assert len(read(place / "out.jsonl")) == 20
