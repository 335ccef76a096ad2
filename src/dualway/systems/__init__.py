"""The systems that can be compared, by name. Adding one: a file here, a line below, a test.

Each entry is (module, class): nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

from dualway.errors import UsageError

SYSTEMS: dict[str, tuple[str, str]] = {
    "lexical": ("dualway.systems.lexical", "Lexical"),
    "prior": ("dualway.systems.prior", "Prior"),
    "from_kb": ("dualway.systems.untrained", "FromKb"),
    "dwe_plus": ("dualway.systems.dwe_plus", "DwePlusSystem"),
    "zero_shot_clip": ("dualway.systems.zero_shot", "ZeroShotClip"),
}


def system_class(name: str) -> Any:
    """Return the class of the system called `name`.

    Raises:
        UsageError: No such system.
    """
    if name not in SYSTEMS:
        raise UsageError(f"unknown system {name!r}; choose one of {', '.join(SYSTEMS)}")
    module, attribute = SYSTEMS[name]
    return getattr(importlib.import_module(module), attribute)
