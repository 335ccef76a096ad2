"""The fast JSON parser, which is optional."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dualway.errors import UsageError


def parser() -> tuple[Callable[[bytes], Any], type[Exception]]:
    """Return orjson's parser, and what it raises for broken JSON (which invalid UTF-8 is too).

    Raises:
        UsageError: It is not installed.
    """
    try:
        import orjson
    except ImportError as error:
        raise UsageError("orjson, which reads dumps, is not installed: pip install 'dualway[kb]'") from error
    return orjson.loads, orjson.JSONDecodeError
