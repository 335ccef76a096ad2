"""dualway: links mentions in captioned pictures to the entities of a knowledge base.

The names below are loaded when first used, so that `import dualway` takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dualway.kb.store import KnowledgeBase
    from dualway.linker import Linker
    from dualway.schema import Candidate, Entity, Link, Mention, Region, Representation

__version__ = "0.1.0"
__all__ = [
    "Candidate",
    "Entity",
    "KnowledgeBase",
    "Link",
    "Linker",
    "Mention",
    "Region",
    "Representation",
    "__version__",
]

_HOMES = {"KnowledgeBase": "dualway.kb.store", "Linker": "dualway.linker"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES.get(name, "dualway.schema")), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
