"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dualway.kb.store import KnowledgeBase
from dualway.schema import Entity, Representation

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real data: DUALWAY_REALDATA, by default `shared/realdata` beside the checkout."""
    folder = Path(os.environ.get("DUALWAY_REALDATA", ROOT.parent / "shared" / "realdata"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set DUALWAY_REALDATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Vectors that tests compute go to a folder of their own, shared by the workers of one run."""
    if "DUALWAY_CACHE" not in os.environ:
        base = tmp_path_factory.getbasetemp()
        os.environ["DUALWAY_CACHE"] = str((base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "cache")


_KINDS = {"realdata": "real data", "realmodel": "real models", "gpu": "a GPU"}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end what ran on real data, real models and a GPU, and what was skipped and why."""
    say = terminalreporter.write_line
    terminalreporter.section("what was run on what")
    say(f"real data at {os.environ.get('DUALWAY_REALDATA', '../shared/realdata')}; real model: all-MiniLM-L6-v2")
    for marker, label in _KINDS.items():
        counts = {
            outcome: sum(marker in report.keywords for report in terminalreporter.stats.get(outcome, []))
            for outcome in ("passed", "failed", "error", "skipped")
        }
        shown = ", ".join(f"{number} {outcome}" for outcome, number in counts.items() if number)
        say(f"tests on {label}: {shown or 'none in this run'}")
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        say(f"skipped {report.nodeid}: {reason}")


PEOPLE = [
    ("Q1", "Jodie Foster", ("Alicia Foster",), "Sex: female. Birth: 1962, Los Angeles. Occupation: actor, director."),
    ("Q2", "Ben Foster (actor)", (), "Sex: male. Birth: 1980, Boston. Occupation: actor."),
    ("Q3", "Ben Foster (footballer)", (), "Sex: male. Birth: 1983. Occupation: association football player."),
    ("Q4", "Mel Gibson", (), "Sex: male. Birth: 1956, Peekskill. Occupation: actor, film director."),
    ("Q5", "Wayne Gretzky", ("The Great One",), "Sex: male. Occupation: ice hockey player. Spouse: Janet Jones."),
    ("Q6", "Janet Jones", (), "Sex: female. Occupation: actor. Spouse: Wayne Gretzky."),
    ("Q7", "João Silva", (), "Sex: male. Occupation: photographer."),
    ("Q8", "محمد صلاح", ("Mohamed Salah",), "Sex: male. Occupation: association football player."),
    ("Q9", "東京", ("Tokyo",), "Capital of Japan."),
    ("Q10", "João Silva", (), "Sex: male. Occupation: swimmer."),
    ("Q11", "Дмитрий Шостакович", ("Dmitri Shostakovich",), ""),
]


@pytest.fixture(scope="session")
def people() -> list[Entity]:
    """A handful of entities: homonyms, brackets, aliases, four scripts, one without text."""
    return [
        Entity(i, name, aliases, (), (Representation("properties", text),) if text else ())
        for i, name, aliases, text in PEOPLE
    ]


@pytest.fixture
def people_kb(people: list[Entity], tmp_path: Path):
    """A knowledge base of `people`."""
    with KnowledgeBase.create(tmp_path / "kb", people) as kb:
        yield kb
