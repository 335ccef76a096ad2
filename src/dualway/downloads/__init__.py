"""Downloads of data sets and models: at pinned commits, shown before they start, held against hashes, resumable."""

from dualway.downloads.catalogue import CATALOGUE, Entry
from dualway.downloads.fetch import fetch_plan
from dualway.downloads.planning import Plan, plan

__all__ = ["CATALOGUE", "Entry", "Plan", "fetch_plan", "plan"]
