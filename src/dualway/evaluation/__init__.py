"""Evaluation under stated protocols: `evaluate(systems, data, parse_protocols("top100,full-kb"))`."""

from dualway.evaluation.captions import caption_groups, caption_key, shared_sentences
from dualway.evaluation.predictions import Prediction, read_predictions
from dualway.evaluation.protocol import EvaluationData, Protocol, parse_protocols
from dualway.evaluation.report import EvaluationReport, ProtocolResult, SystemResult
from dualway.evaluation.runner import EvaluationOptions, evaluate
from dualway.evaluation.significance import Comparison, compare
from dualway.evaluation.tables import format_report

__all__ = [
    "Comparison",
    "EvaluationData",
    "EvaluationOptions",
    "EvaluationReport",
    "Prediction",
    "Protocol",
    "ProtocolResult",
    "SystemResult",
    "caption_groups",
    "caption_key",
    "compare",
    "evaluate",
    "format_report",
    "parse_protocols",
    "read_predictions",
    "shared_sentences",
]
