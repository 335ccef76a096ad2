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


def test_the_python_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    space: dict[str, object] = {}
    for code in sorted(blocks, key=lambda code: "KnowledgeBase.create" not in code):  # the one that makes it first
        exec(code, space)
    assert (tmp_path / "kbs" / "small" / "kb-2.sqlite").is_file()
    assert len(blocks) == 2


def test_the_docstring_example_runs():
    assert doctest.testmod(store) == doctest.TestResults(failed=0, attempted=3)
