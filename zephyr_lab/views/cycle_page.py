"""The anomalies of a history as one HTML file, with the stepper's look: a lane per session, a box per transaction, and
the edges of a cycle, which light their two transactions. No request to anywhere, light or dark as the reader's.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from zephyr_lab.views.figure import session_colour
from zephyr_lab.views.page import document

_HERE = Path(__file__).parent


def cycle_page(title: str, lead: str, text: str, anomalies: Sequence[dict[str, Any]]) -> str:
    """The file's text. `anomalies`: each with name, count, allowed (by the level), text, transactions and edges as
    `dependencies` has them; `text`: the report, which stands in for the drawing without JavaScript."""
    body = (
        f'<div id="cycles"></div>\n<details open id="report"><summary>The report</summary>\n<pre>{escape(text)}</pre>\n'
        "</details>"
    )
    code = (_HERE / "cycle_page.js").read_text(encoding="utf-8")
    return document(title, lead, body, [_laid_out(one) for one in anomalies], code)


def _laid_out(anomaly: dict[str, Any]) -> dict[str, Any]:
    """With a lane for each session and a row for each transaction: by their begin, or in the order of the file."""
    transactions = anomaly["transactions"]
    sessions = sorted({one["session"] for one in transactions if one["session"]})
    timed = all(one["begin"] is not None for one in transactions)
    place = {one["name"]: one["begin"] if timed else number for number, one in enumerate(transactions)}
    ordered = sorted(transactions, key=lambda one: place[one["name"]])
    return {
        **{name: anomaly[name] for name in ("name", "count", "allowed", "text")},
        "order": "in the order in which they began" if timed else "in the order of the cycle",
        "sessions": [{"name": name, "colour": session_colour(name, i)} for i, name in enumerate(sessions)],
        "transactions": [{**one, "lane": sessions.index(one["session"]) if one["session"] else -1} for one in ordered],
        "edges": anomaly["edges"],
    }
