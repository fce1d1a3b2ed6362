"""The pages of functions and classes, from docstrings; those are Markdown, as far as they are marked up at all."""

from __future__ import annotations

import ast
import textwrap
from typing import Any

PAGES = {
    "lab": "The lab and its cases",
    "transcripts": "Schedules, transcripts, sessions by hand",
    "exploration": "Explorations and verdicts",
    "catalogue": "The catalogue and the matrix",
    "check": "Histories and the checker",
    "orders": "The order service",
    "runbook": "The runbook",
    "notebooks": "In notebooks",
    "tests": "In your own tests",
    "services": "Services and programs",
    "errors": "Errors",
}
_MODULES = {
    "lab": ["zephyr_lab.lab.lab", "zephyr_lab.lab.case"],
    "transcripts": ["zephyr_lab.schedule.levels", "zephyr_lab.schedule.transcript", "zephyr_lab.schedule.terminals"],
    "exploration": ["zephyr_lab.explore.exploration", "zephyr_lab.explore.verdict"],
    "catalogue": ["zephyr_lab.anomalies.catalogue", "zephyr_lab.anomalies.matrix"],
    "notebooks": [
        "zephyr_lab.course.magics",
        "zephyr_lab.course.predict",
        "zephyr_lab.views.stepper",
        "zephyr_lab.views.story",
    ],
    "check": [
        "zephyr_lab.check.checker",
        "zephyr_lab.check.many",
        "zephyr_lab.check.history",
        "zephyr_lab.check.read",
        "zephyr_lab.check.report",
        "zephyr_lab.explore.recording",
    ],
    "orders": [
        "zephyr_lab.orders.service",
        "zephyr_lab.orders.slots",
        "zephyr_lab.orders.retry",
        "zephyr_lab.orders.partitions",
    ],
    "runbook": ["zephyr_lab.runbook.ask", "zephyr_lab.runbook.questions", "zephyr_lab.runbook.wait_tree"],
    "tests": ["zephyr_lab.testing"],
    "services": [
        "zephyr_lab.wire.service",
        "zephyr_lab.wire.http",
        "zephyr_lab.wire.called",
        "zephyr_lab.wire.command",
        "zephyr_lab.wire.description",
    ],
    "errors": ["zephyr_lab.errors"],
}


def page(name: str, title: str) -> str:
    """A page's reStructuredText: its modules, or for the index its other pages."""
    head = f"{title}\n{'=' * len(title)}\n\n"
    if name == "index":
        return head + ".. toctree::\n\n" + "".join(f"   {one}\n" for one in PAGES)
    parts = []
    for module in _MODULES[name]:
        parts.append(f"{module}\n{'-' * len(module)}\n\n.. automodule:: {module}\n   :members:\n")
    return head + "\n".join(parts)


def as_rst(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """What Sphinx calls with the lines of a docstring: indented blocks become code, in place."""
    told: list[str] = []
    block: list[str] = []
    for line in [*lines, "end"]:
        if line.startswith("    ") or (block and not line.strip()):
            block.append(line)
            continue
        if block:
            told += _code(block)
            block = []
        told.append(line)
    lines[:] = told[:-1]


def _code(block: list[str]) -> list[str]:
    text = textwrap.dedent("\n".join(block)).strip("\n")
    try:
        ast.parse(text)
        language = "python"
    except SyntaxError:
        language = "text"
    return ["", f".. code-block:: {language}", "", *textwrap.indent(text, "   ").splitlines(), ""]
