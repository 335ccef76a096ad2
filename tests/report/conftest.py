"""One report with every part, made once."""

from __future__ import annotations

import pytest

from dualway.report import render

from .reading import Page
from .samples import make_report


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    return make_report(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def page(report):
    return Page(render(report))
