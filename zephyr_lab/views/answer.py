"""Results of sessions, cell by cell: a badge for each session, rows as a table. HTML without a style sheet."""

from __future__ import annotations

from html import escape
from typing import Any

from zephyr_lab.views.figure import session_colour

MOST_ROWS = 20
_BADGE = "background: {}; color: #ffffff; border-radius: 3px; padding: 1px 7px; font-weight: bold"
_CELL = "padding: 2px 10px; text-align: left; border: 1px solid #8c959f"


def answer(said: dict[str, Any]) -> dict[str, Any]:
    """The forms of `schedule.terminals.Answer.to_dict()` for Jupyter: text and HTML of the same content."""
    lines = [_line(event) for event in said["events"]]
    if said["unsent"]:
        lines.append(f"<div><i>{escape(said['unsent'])}</i></div>")
    return {"text/plain": said["text"], "text/html": "\n".join(lines)}


def _line(event: dict[str, Any]) -> str:
    badge = f'<span style="{_BADGE.format(session_colour(event["session"], 0))}">{escape(event["session"])}</span>'
    sql = f" <code>{escape(event['sql'])}</code>" if event["sql"] else ""
    tables = "".join(map(_table, event["results"]))
    weight = ' style="font-weight: bold"' if event["event"] != "completed" else ""
    return f'<div style="margin: 3px 0">{badge}{sql} <span{weight}>{escape(event["text"])}</span></div>{tables}'


def _table(result: dict[str, Any]) -> str:
    rows, columns = result["rows"], result["columns"]
    if len(rows) == 1 and len(columns) == 1:  # `-> 90000` has shown it
        return ""
    head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{_value(value)}</td>' for value in row) + "</tr>"
        for row in rows[:MOST_ROWS]
    )
    more = f"<div>... {len(rows)} rows</div>" if len(rows) > MOST_ROWS else ""
    return f'<table style="border-collapse: collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}'


def _value(value: Any) -> str:
    return "<i>null</i>" if value is None else escape(str(value))
