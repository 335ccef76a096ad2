"""The command line as a whole: help, exit codes, streams, signals, and the page that describes it."""

from __future__ import annotations

from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
