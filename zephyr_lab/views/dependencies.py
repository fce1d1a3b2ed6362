"""A dependency graph of a few transactions, above their timeline: one lane per session."""

from __future__ import annotations

import math
import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch

from zephyr_lab.views.figure import (
    BAD,
    GOOD,
    GRID,
    GROUND,
    INK,
    MONO,
    PALE,
    SESSIONS,
    WARN,
    Picture,
    blank,
    box,
    session_colour,
    style,
)

MOST_CHARACTERS = 98  # of a line
KINDS = {"ww": SESSIONS[0], "wr": GOOD, "rw": BAD, "process": PALE, "realtime": WARN}
WIDTH, RADIUS, LINE, LANE = 8.0, 0.32, 0.2, 0.5


def dependencies(drawn: dict[str, Any], text: str) -> Picture:
    """`drawn`: `title`; `transactions`, each with name, session, text, begin and end (None where unknown); `edges`,
    each with from, to, type (ww, wr, rw, process, realtime) and text. Twelve transactions at the most; one without a
    session stands for those that are left out.
    """
    transactions = drawn["transactions"]
    sessions = sorted({one["session"] for one in transactions if one["session"]})
    colours = {name: session_colour(name, i) for i, name in enumerate(sessions)}
    words = [line for edge in drawn["edges"] if edge["text"] for line in _words(edge)]
    known = [one for one in transactions if one["session"]]
    nodes = [
        textwrap.shorten(f"{one['name']}: {one['text']}", MOST_CHARACTERS, placeholder=" ...") for one in transactions
    ]
    graph = 0.0 if not transactions else 1.5 if len(transactions) < 3 else 3.2 if len(transactions) < 9 else 4.6
    lanes = LANE * len(sessions)
    height = 0.45 + graph + LINE * (len(words) + len(nodes)) + lanes + 0.5
    with style():
        figure, axes = blank(WIDTH, height)
        axes.text(0.12, 0.22, drawn["title"], va="center", color=INK, weight="bold")
        at = _draw_graph(axes, transactions, drawn["edges"], colours, 0.45 + graph / 2, graph)
        top = 0.45 + graph
        for number, line in enumerate(nodes + words):
            axes.text(
                0.12, top + (number + 0.5) * LINE, line, va="center",
                color=INK if number < len(nodes) else PALE,
                family=MONO if number < len(nodes) else None,
            )  # fmt: skip
        if at:
            _draw_lanes(axes, known, colours, top + LINE * (len(words) + len(nodes)) + 0.25)
        return Picture.of(figure, text)


def _words(edge: dict[str, Any]) -> list[str]:
    said = f"{edge['from']} → {edge['to']} ({edge['type']}): {edge['text']}"
    return textwrap.wrap(said, MOST_CHARACTERS, subsequent_indent="    ")[:2]


def _draw_graph(
    axes: Axes, transactions: list[dict[str, Any]], edges: list[dict[str, Any]], colours: dict[str, str], middle: float,
    height: float,
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """Nodes on a circle, in the order of the cycle, and an arrow per edge; returns the nodes' positions."""
    count = len(transactions)
    wide, high = (1.6, 0.0) if count < 3 else (2.2 if count < 9 else 2.8, height / 2 - RADIUS - 0.15)
    at = {}
    for i, one in enumerate(transactions):
        angle = math.pi if count < 3 and i == 0 else 0.0 if count < 3 else -math.pi / 2 + 2 * math.pi * i / count
        at[one["name"]] = (WIDTH / 2 + wide * math.cos(angle), middle + high * math.sin(angle))
    for edge in edges:
        if edge["from"] not in at or edge["to"] not in at:
            continue
        colour = KINDS.get(edge["type"], INK)
        (x, y), (u, v) = at[edge["from"]], at[edge["to"]]
        bend = 0.28 if count < 3 else 0.16
        axes.add_patch(
            FancyArrowPatch(
                (x, y), (u, v), arrowstyle="-|>", mutation_scale=13, shrinkA=24, shrinkB=24, color=colour,
                linewidth=1.5,
                connectionstyle=f"arc3,rad={bend}", linestyle="-" if edge["type"] in ("ww", "wr", "rw") else "--",
            )
        )  # fmt: skip
        # The bulge of an arc3 is at half of `rad` times the chord, to its right; in these axes y points down.
        dx, dy = u - x, v - y
        axes.text(
            (x + u) / 2 - dy * bend / 2, (y + v) / 2 + dx * bend / 2, edge["type"], ha="center", va="center",
            color=colour, weight="bold", bbox={"facecolor": GROUND, "edgecolor": "none", "pad": 1.0},
        )  # fmt: skip
    for one in transactions:
        axes.add_patch(
            Circle(
                at[one["name"]],
                RADIUS,
                linestyle="-" if one["session"] else ":",
                facecolor=GROUND,
                edgecolor=colours.get(one["session"], PALE),
                linewidth=1.6,
            )
        )
        x, y = at[one["name"]]
        axes.text(x, y, one["name"], ha="center", va="center", color=INK, weight="bold")
    return at


def _draw_lanes(axes: Axes, transactions: list[dict[str, Any]], colours: dict[str, str], top: float) -> None:
    """Each transaction from its invocation to its completion, in the order of these events and not to scale."""
    timed = all(one["begin"] is not None and one["end"] is not None for one in transactions)
    if timed:
        moments = sorted({one[name] for one in transactions for name in ("begin", "end")})
        place = {moment: i for i, moment in enumerate(moments)}
        spans = [(place[one["begin"]], place[one["end"]]) for one in transactions]
    else:  # the order within sessions only
        counted: dict[str, int] = {}
        by_number = sorted(range(len(transactions)), key=lambda i: int(transactions[i]["name"].strip("T") or 0))
        spans = [(0, 0)] * len(transactions)
        for i in by_number:
            session = transactions[i]["session"]
            spans[i] = (2 * counted.get(session, 0), 2 * counted.get(session, 0) + 1)
            counted[session] = counted.get(session, 0) + 1
    last = max((end for _, end in spans), default=1) or 1
    left, wide = 1.3, WIDTH - 1.5
    for lane, (session, colour) in enumerate(colours.items()):
        y = top + lane * LANE
        axes.text(0.12, y, f"session {session}"[:14], va="center", color=colour, weight="bold")
        axes.plot([left, left + wide], [y, y], color=GRID, linewidth=1, zorder=0)
        for one, (begin, end) in zip(transactions, spans, strict=True):
            if one["session"] == session:
                x, u = left + wide * begin / last, left + wide * end / last
                box(axes, x, y - 0.14, max(u - x, 0.3), 0.28, colour)
                axes.text((x + max(u, x + 0.3)) / 2, y, one["name"], ha="center", va="center", color=INK)
    axes.text(
        left + wide, top + len(colours) * LANE - 0.14,
        "events in order, not to scale" if timed else "order within sessions",
        ha="right", va="center", color=PALE,
    )  # fmt: skip
