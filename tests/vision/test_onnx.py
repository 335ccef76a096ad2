"""Files named .onnx: opened, told apart, and refused with the file's name and what to do."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from tests.tiny_onnx import save_constant_onnx

from dualway.errors import ModelError
from dualway.vision.onnx import check_shapes, find_onnx, load_onnx, picture_tensor

INPUTS = {"image": ("n", 3, 4, 4)}
OUTPUTS = {"age": np.array([31.5], np.float32), "gender": np.array([[0.25, 0.75]], np.float32)}
FEED = {"image": np.zeros((2, 3, 4, 4), np.float32)}


@pytest.fixture
def path(tmp_path):
    return save_constant_onnx(tmp_path / "model.onnx", INPUTS, OUTPUTS)


def record(field: int, content: bytes) -> bytes:
    """Return a field of the file's format (protobuf) that holds bytes, under 128 of them."""
    return bytes([field << 3 | 2, len(content)]) + content


# A tensor `e` of the graph, 4 floats that lie in w.bin. Messages of this format are joined by putting them together.
ELSEWHERE = record(
    7,
    record(
        5,
        b"\x08\x04\x10\x01"
        + record(8, b"e")
        + record(13, record(1, b"location") + record(2, b"w.bin"))
        + bytes([14 << 3, 1]),
    ),
)


class TestOpened:
    def test_what_it_is_and_what_it_says(self, path):
        model = load_onnx(path)
        assert model.inputs == {"image": (None, 3, 4, 4)}
        assert model.outputs == {"age": (1,), "gender": (1, 2)}
        assert model.metadata == {}
        age, gender = model.run(FEED)
        assert age.tolist() == [31.5]
        assert gender.tolist() == [[0.25, 0.75]]

    def test_what_a_file_says_of_itself(self, path):
        said = record(14, record(1, b"gender_classes") + record(2, b"female,male"))
        path.write_bytes(path.read_bytes() + said)
        assert load_onnx(path).metadata == {"gender_classes": "female,male"}

    def test_the_fingerprint_is_that_of_the_content(self, path, tmp_path):
        copy = tmp_path / "copy.onnx"
        copy.write_bytes(path.read_bytes())
        other = save_constant_onnx(tmp_path / "other.onnx", INPUTS, {**OUTPUTS, "age": np.array([32], np.float32)})
        prints = [load_onnx(file).fingerprint for file in (path, copy, other)]
        assert prints[0] == prints[1] != prints[2]
        assert len(prints[0]) == 16
        assert int(prints[0], 16) >= 0

    def test_a_link_will_do(self, path, tmp_path):
        link = tmp_path / "link.onnx"
        link.symlink_to(path)
        assert load_onnx(link).fingerprint == load_onnx(path).fingerprint

    def test_it_goes_to_another_process(self, path):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            age, _ = pool.submit(load_onnx(path).run, FEED).result(timeout=120)
        assert age.tolist() == [31.5]

    def test_but_not_when_the_file_has_changed(self, path):
        packed = pickle.dumps(load_onnx(path))
        save_constant_onnx(path, INPUTS, {**OUTPUTS, "age": np.array([9], np.float32)})
        with pytest.raises(ModelError, match=r"model\.onnx: changed while it was in use"):
            pickle.loads(packed)

    def test_a_picture_as_input(self):
        pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
        values = picture_tensor(pixels, mean=127.5, scale=1 / 128)
        assert values.shape == (1, 3, 2, 4)
        assert values.dtype == np.float32
        assert values.flags["C_CONTIGUOUS"]
        assert values[0, 2, 1, 0] == pytest.approx((float(pixels[1, 0, 2]) - 127.5) / 128)

    @pytest.mark.parametrize("name", ["a.onnx", "A.ONNX", "~/models/a.onnx", "~nobody-here/a.onnx", "\0.onnx"])
    def test_settings_that_name_a_file(self, name):
        found = find_onnx(name)
        assert found is not None
        assert "~/" not in str(found)

    @pytest.mark.parametrize("name", ["deepface", "owner/name", "onnx", "a.onnx/model", ""])
    def test_settings_that_name_none(self, name):
        assert find_onnx(name) is None

    def test_nothing_is_said_on_the_terminal(self, path):
        """Neither for a good file nor for a bad one, whose error is raised."""
        bad = path.with_name("bad.onnx")
        bad.write_bytes(b"\x08\x08" + b"\0" * 50)
        code = (
            "import sys; from pathlib import Path; from dualway.vision.onnx import load_onnx\n"
            "from dualway.errors import ModelError\n"
            "load_onnx(Path(sys.argv[1]))\n"
            "try: load_onnx(Path(sys.argv[2]))\n"
            "except ModelError: print('refused')"
        )
        command = [sys.executable, "-c", code, str(path), str(bad)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        assert (done.stdout, done.stderr) == ("refused\n", "")


class TestHostileFiles:
    @pytest.mark.parametrize(
        "content",
        [
            b"<!doctype html><p>Not found",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3998018\n",
            b"\0" * 1000,
            b"\x08\x08",
            b"PK\x03\x04" + b"\xff" * 200,
            b"\xff\xfe broken \x80\x81",
        ],
    )
    def test_what_is_no_model(self, tmp_path, content):
        path = tmp_path / "bad.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"bad\.onnx: not an ONNX model .*; get the file anew"):
            load_onnx(path)

    def test_an_empty_file(self, tmp_path):
        path = tmp_path / "bad.onnx"
        path.touch()
        with pytest.raises(ModelError, match=r"bad\.onnx: the file is empty; get the file anew"):
            load_onnx(path)

    def test_every_cut_of_a_file(self, path, tmp_path):
        content, bad = path.read_bytes(), tmp_path / "bad.onnx"
        for length in range(1, len(content) - 1, 3):
            bad.write_bytes(content[:length])
            with contextlib.suppress(ModelError):  # nothing else; cut between two parts, the rest is a whole file
                load_onnx(bad)

    def test_flipped_bytes(self, path, tmp_path):
        content, bad, rng = path.read_bytes(), tmp_path / "bad.onnx", np.random.default_rng(0)
        refused = 0
        for _ in range(150):
            changed = bytearray(content)
            changed[rng.integers(len(content))] ^= 1 << rng.integers(8)
            bad.write_bytes(changed)
            try:
                load_onnx(bad).run(FEED)
            except ModelError:
                refused += 1
        assert refused > 50

    def test_no_file(self, tmp_path):
        (tmp_path / "folder.onnx").mkdir()
        os.mkfifo(tmp_path / "pipe.onnx")
        (tmp_path / "dangling.onnx").symlink_to(tmp_path / "gone")
        for name, reason in {
            "missing.onnx": "no such file",
            "folder.onnx": "not a file",
            "pipe.onnx": "not a file",
            "dangling.onnx": "no such file",
            "missing.onnx/model.onnx": "no such file",
            "\0.onnx": "no such file|cannot be read",
            "a" * 5000 + ".onnx": "no such file|cannot be read",
        }.items():
            with pytest.raises(ModelError, match=rf"\.onnx: ({reason}).*; give an \.onnx file"):
                load_onnx(tmp_path / name)

    def test_a_device_that_never_ends(self, tmp_path):
        (tmp_path / "zero.onnx").symlink_to("/dev/zero")
        with pytest.raises(ModelError, match="not a file"):
            load_onnx(tmp_path / "zero.onnx")

    def test_more_than_the_format_can_hold_is_not_read(self, tmp_path):
        path = tmp_path / "huge.onnx"
        with path.open("wb") as file:
            file.truncate(2**31)  # takes no room on the disk
        with pytest.raises(ModelError, match="over 2 GiB"):
            load_onnx(path)

    def test_weights_in_another_file(self, path, tmp_path):
        (tmp_path / "w.bin").write_bytes(b"\0" * 16)
        path.write_bytes(path.read_bytes() + ELSEWHERE)
        with pytest.raises(ModelError, match="keeps weights in another file; save the model as one file"):
            load_onnx(path)


class TestRefused:
    @pytest.mark.parametrize(
        "feed",
        [
            {},
            {"picture": FEED["image"]},
            {"image": np.zeros((2, 3, 4, 5), np.float32)},
            {"image": np.zeros((2, 3, 4, 4))},
            {"image": np.zeros((2, 3, 4), np.float32)},
            {**FEED, "mask": FEED["image"]},
        ],
    )
    def test_what_does_not_fit(self, path, feed):
        with pytest.raises(ModelError, match=r"model\.onnx: cannot be run: "):
            load_onnx(path).run(feed)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_numbers_that_are_none(self, tmp_path, bad):
        outputs = {**OUTPUTS, "gender": np.array([[0.5, bad]], np.float32)}
        model = load_onnx(save_constant_onnx(tmp_path / "model.onnx", INPUTS, outputs))
        with pytest.raises(ModelError, match="output 'gender' holds numbers that are not finite"):
            model.run(FEED)

    def test_another_kind_of_model(self, path):
        model = load_onnx(path)
        fits = {"inputs": {"image": (None, 3, 4, 4)}, "outputs": {"gender": (None, 2), "age": (None,)}}
        check_shapes(model, "it", **fits)
        check_shapes(model, "it", inputs=[(1, 3, None, None)], outputs=[(1,), (1, 2)])
        for change in (
            {"inputs": {"picture": (None, 3, 4, 4)}},
            {"inputs": {"image": (None, 3, 8, 8)}},
            {"inputs": {"image": (None, 3, 4)}},
            {"inputs": {}},
            {"outputs": {"age": (None,)}},
            {"outputs": {"gender": (None, 3), "age": (None,)}},
            {"outputs": [(1, 2), (1,)]},
            {"outputs": [(1,), (1, 2), (1,)]},
        ):
            with pytest.raises(ModelError, match=r"model\.onnx: not it: its (in|out)puts are (image|age) \[.*\]"):
                check_shapes(model, "it", **{**fits, **change})

    def test_another_type_of_numbers(self, tmp_path):
        outputs = {"age": np.array([31.5], np.float64)}
        model = load_onnx(save_constant_onnx(tmp_path / "model.onnx", INPUTS, outputs))
        with pytest.raises(ModelError, match=r"output 'age' is of tensor\(double\); get the file in 32-bit floats"):
            check_shapes(model, "it", inputs={"image": (None, 3, 4, 4)}, outputs={"age": (None,)})

    def test_what_it_has_is_told_in_few_words(self, tmp_path):
        outputs = {f"o{i}": np.zeros((1, i + 1), np.float32) for i in range(9)}
        model = load_onnx(save_constant_onnx(tmp_path / "model.onnx", INPUTS, outputs))
        with pytest.raises(ModelError, match=r"its outputs are o0 \[1, 1\], .*, o3 \[1, 4\] and 5 more; get the file"):
            check_shapes(model, "it", inputs=[(None, 3, 4, 4)], outputs=[(1,)])


@pytest.mark.realdata
def test_real_models_are_opened(realdata):
    files = sorted((realdata / "models").glob("*/*.onnx"))
    assert len(files) == 5
    assert len({load_onnx(file).fingerprint for file in files}) == 5
