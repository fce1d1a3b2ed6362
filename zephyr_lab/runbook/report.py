"""Answers on paper: as text for a terminal and a ticket, as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from zephyr_lab.errors import LabError
from zephyr_lab.runbook.questions import question, questions
from zephyr_lab.runbook.wait_tree import WaitTree

Answers = Mapping[str, "pd.DataFrame | LabError"]
QUERY = 80  # characters of a query that a line of text has


def listing() -> str:
    """The names of the questions, and what each answers."""
    width = max(len(one.name) for one in questions())
    return "\n".join(f"{one.name:<{width}}  {one.title}" for one in questions())


def to_text(answers: Answers) -> str:
    """Each question with its answer as a table, wide rather than cut; who-blocks-whom with its tree."""
    return "\n\n".join(f"== {name}: {question(name).title}\n{_body(name, found)}" for name, found in answers.items())


def to_json(answers: Answers) -> str:
    """`{name: {"title": ..., "rows": [{column: value}]}}`, or `"error"`. Lengths of time in seconds."""
    told: dict[str, dict[str, Any]] = {}
    for name, found in answers.items():
        told[name] = {"title": question(name).title}
        told[name] |= {"error": str(found)} if isinstance(found, LabError) else {"rows": _rows(found)}
    return json.dumps(told, indent=1)


def _body(name: str, found: pd.DataFrame | LabError) -> str:
    if isinstance(found, LabError):
        return f"no answer: {found}"
    if found.empty:
        return "(no rows)"
    text = found.map(_cell).to_string(index=False)
    return f"{text}\n\n{WaitTree.of(found)}" if name == "who-blocks-whom" else text


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if pd.isna(value):
        return ""
    if isinstance(value, pd.Timedelta):
        return str(value.round("ms"))
    text = " ".join(str(value).split())
    return text if len(text) <= QUERY else text[: QUERY - 4] + " ..."


def _rows(found: pd.DataFrame) -> list[dict[str, Any]]:
    return [{name: _value(value) for name, value in row.items()} for row in found.to_dict("records")]


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return value
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timedelta):
        return value.total_seconds()
    return value if isinstance(value, str | int | float | bool) else str(value)
