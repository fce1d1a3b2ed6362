"""Reports of results: as text for a terminal and a ticket, as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from zephyr_lab.errors import LabError
from zephyr_lab.runbook.ask import Answer
from zephyr_lab.runbook.questions import question, questions
from zephyr_lab.runbook.wait_tree import WaitTree

Answers = Mapping[str, Answer | LabError]
QUERY = 80  # characters of a query in a line of text


def listing() -> str:
    """The names of the questions, and their titles."""
    width = max(len(one.name) for one in questions())
    return "\n".join(f"{one.name:<{width}}  {one.title}" for one in questions())


def to_text(answers: Answers) -> str:
    """Each question with its result as a table, wide rather than cut; who-blocks-whom with its tree."""
    return "\n\n".join(f"== {name}: {question(name).title}\n{_body(name, found)}" for name, found in answers.items())


def to_json(answers: Answers) -> str:
    """`{name: {"title": ..., "rows": [{column: value}]}}`, or `"error"`. Lengths of time in seconds."""
    told: dict[str, dict[str, Any]] = {}
    for name, found in answers.items():
        told[name] = {"title": question(name).title}
        told[name] |= {"error": str(found)} if isinstance(found, LabError) else {"rows": _rows(found)}
    return json.dumps(told, indent=1)


def _body(name: str, found: Answer | LabError) -> str:
    if isinstance(found, LabError):
        return f"no answer: {found}"
    if not found.rows:
        return "(no rows)"
    lines = [found.columns, *(tuple(map(_cell, row)) for row in found.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return f"{text}\n\n{WaitTree.of(found.records())}" if name == "who-blocks-whom" else text


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, timedelta):
        return str(timedelta(milliseconds=round(value / timedelta(milliseconds=1)))).removesuffix("000")
    text = " ".join(str(value).split())
    return text if len(text) <= QUERY else text[: QUERY - 4] + " ..."


def _rows(found: Answer) -> list[dict[str, Any]]:
    return [{name: _value(value) for name, value in row.items()} for row in found.records()]


def _value(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value if value is None or isinstance(value, str | int | float | bool | list) else str(value)
