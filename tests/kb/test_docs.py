import doctest
import re
from pathlib import Path

import pytest

from dualway.kb import store
from dualway.kb.files import build_from_files

PAGE = Path(__file__).parents[2] / "docs" / "kb.md"


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return found


@pytest.mark.parametrize(("form", "num_entities"), [("jsonl", 3), ("csv", 2)])
def test_the_examples_build(tmp_path, form, num_entities):
    source = tmp_path / f"mine.{form}"
    source.write_text(block(form), encoding="utf-8")
    report = build_from_files(source, tmp_path / "kb")
    assert report.manifest.counts["entities"] == num_entities
    assert report.manifest.counts["homonyms"] == 2
    assert report.reading["notes"] == {}


def test_the_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(block("python"), {})
    assert (tmp_path / "kbs" / "small" / "kb.sqlite").is_file()


def test_the_docstring_example_runs():
    assert doctest.testmod(store) == doctest.TestResults(failed=0, attempted=3)
