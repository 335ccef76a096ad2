"""One HTML file that shows a training and its evaluation to people: `write_report(report, path)`.

The file needs nothing but itself: no script, no request to anywhere, pictures inside. Everything that comes from
data is escaped (`markup.py`) and cannot leave its place on the page.
"""

from dualway.report.page import render, write_report
from dualway.report.records import Ceiling, Curve, CurvePoint, Report, ShownCandidate, ShownMention

__all__ = [
    "Ceiling",
    "Curve",
    "CurvePoint",
    "Report",
    "ShownCandidate",
    "ShownMention",
    "render",
    "write_report",
]
