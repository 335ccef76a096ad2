"""The option `--features`, which `train` and `evaluate` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dualway.features.store import FeatureStore


def open_store(path: Path | None, regions: Path | None) -> FeatureStore | None:
    """Return the feature store of the call, None without one.

    Raises:
        UsageError: A regions file beside it, which would not be read.
        DataError: Not a store, or damaged.
    """
    from dualway.errors import UsageError
    from dualway.features.store import open_features

    if path is None:
        return None
    if regions is not None:
        raise UsageError("--regions goes into the features when they are made (`dualway features`); leave it out here")
    return open_features(path)
