"""What the pages promise: links that resolve, files that exist, an example of a new system that works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import dualway

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FACE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*FACE, *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
# Words of the place where this was made, which a reader elsewhere cannot know.
FOREIGN = re.compile(r"\bsessions?\b|\bworkplace\b|/work/|/tmp/|/root/", re.IGNORECASE)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def by_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_relative_links_resolve(page):
    for target in LINK.findall(FENCE.sub("", text_of(page))):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target}: no such file"
        if anchor:
            assert anchor in anchors(file), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_pages_say_nothing_that_only_their_authors_understand(page):
    assert not FOREIGN.findall(text_of(page))


def nav_files(nav: list) -> list[str]:
    files: list[str] = []
    for entry in nav:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        files += nav_files(value) if isinstance(value, list) else [value]
    return files


def test_the_navigation_lists_every_page_once():
    site = yaml.safe_load(text_of(ROOT / "mkdocs.yml"))
    assert site["theme"] == {**site["theme"], "name": "material", "font": False}  # nothing is fetched from outside
    assert sorted(nav_files(site["nav"])) == sorted(page.name for page in DOCS.glob("*.md"))


def test_docs_pages_link_inside_docs_only():
    """The built site holds nothing else."""
    for page in DOCS.glob("*.md"):
        for target in LINK.findall(FENCE.sub("", text_of(page))):
            if not re.match(r"https?:|mailto:|#", target):
                assert (page.parent / target.partition("#")[0]).resolve().is_relative_to(DOCS), f"{page.name}: {target}"


def test_the_versions_agree():
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    citation = yaml.safe_load(text_of(ROOT / "CITATION.cff"))
    assert str(citation["version"]) == project["version"] == dualway.__version__
    assert citation["license"] == project["license"] == "Apache-2.0"
    assert "Apache License" in text_of(ROOT / "LICENSE")
    assert "Copyright 2026 The dualway authors" in text_of(ROOT / "LICENSE")
    assert re.search(r"^## \[Unreleased\]$", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)


def test_the_results_block_is_there_to_be_filled():
    assert text_of(ROOT / "README.md").count("<!-- results:begin -->") == 1
    assert text_of(ROOT / "README.md").count("<!-- results:end -->") == 1


def test_the_architecture_names_what_exists():
    """Every module that the page names is there, and every room and module of the package is named."""
    package, page = ROOT / "src" / "dualway", text_of(DOCS / "architecture.md")
    rooms = re.search(r"## The rooms\n(.*?)\n## ", page, re.DOTALL)
    assert rooms is not None
    for line in filter(re.compile(r"\|").match, rooms[1].splitlines()):
        cells = re.findall(r"`([\w/]+(?:\.py|/))`", line)
        folder = package / cells[0] if cells and cells[0].endswith("/") else package
        for name in cells:
            assert (package / name).exists() or (folder / name).exists(), f"{name}: named, but not there"
    for name in re.findall(r"`(\w+/\w+\.py)`", page):
        assert (package / name).exists(), f"{name}: named, but not there"
    present = {f"{p.name}/" for p in package.iterdir() if (p / "__init__.py").exists()}
    present |= {p.name for p in package.glob("*.py") if p.name != "__init__.py"}
    assert not {name for name in present if f"`{name}`" not in rooms[1]}, "not named in the table of rooms"


def contributed(page: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the files and the lines of CONTRIBUTING's example, each by path."""
    blocks = re.findall(r"^<!-- (file|line): (\S+) -->\n```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    files = {path: code for kind, path, code in blocks if kind == "file"}
    lines = {path: code for kind, path, code in blocks if kind == "line"}
    return files, lines


@pytest.fixture
def copy_with_the_example(tmp_path):
    """A copy of the package and the shared fixtures with the three files of CONTRIBUTING's example in it."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "tests/conftest.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    files, lines = contributed(text_of(ROOT / "CONTRIBUTING.md"))
    assert len(files) == 2
    assert len(lines) == 1
    for path, code in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(code, encoding="utf-8")
    for path, line in lines.items():
        head, opening, rest = text_of(tmp_path / path).partition("SYSTEMS: dict[str, tuple[str, str]] = {\n")
        assert opening, "SYSTEMS is written in another way; adapt CONTRIBUTING and this test"
        (tmp_path / path).write_text(head + opening + line + rest, encoding="utf-8")
    return tmp_path


def test_the_example_of_a_new_system_works(copy_with_the_example):
    """The three files are put in place, the new test is run, and ruff has nothing to say."""
    folder, python = copy_with_the_example, sys.executable
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    environment.pop("PYTEST_ADDOPTS", None)
    where = [python, "-c", "import dualway; print(dualway.__file__)"]
    found = subprocess.run(where, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(folder)
    tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/systems"]
    done = subprocess.run(tests, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    files, lines = contributed(text_of(ROOT / "CONTRIBUTING.md"))
    for command in (["format", "--check"], ["check", "--no-cache"]):
        linted = subprocess.run(
            [python, "-m", "ruff", *command, *files, *lines], cwd=folder, capture_output=True, text=True, check=False
        )
        assert linted.returncode == 0, linted.stdout + linted.stderr
