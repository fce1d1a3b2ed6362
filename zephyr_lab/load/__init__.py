"""The order service under load: what is asked, who asks, what came of it, and whether the report can be believed."""

from zephyr_lab.load.conditions import Incident
from zephyr_lab.load.processes import Idle
from zephyr_lab.load.report import Report, compared, comparison, frame, save, to_html, to_json
from zephyr_lab.load.run import Place, Progress, run

__all__ = [
    "Idle",
    "Incident",
    "Place",
    "Progress",
    "Report",
    "compared",
    "comparison",
    "frame",
    "run",
    "save",
    "to_html",
    "to_json",
]
