"""Data sets: WikiMEL, Richpedia, WikiDiverse as they are published, our JSON Lines, and their entity files."""

from dualway.datasets.audit import audit
from dualway.datasets.base import Dataset, ReadReport
from dualway.datasets.candidate_files import read_candidate_file
from dualway.datasets.entities import read_entities
from dualway.datasets.jsonl import write_mentions
from dualway.datasets.reader import list_splits, open_dataset

__all__ = [
    "Dataset",
    "ReadReport",
    "audit",
    "list_splits",
    "open_dataset",
    "read_candidate_file",
    "read_entities",
    "write_mentions",
]
