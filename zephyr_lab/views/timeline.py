"""A transcript as a timeline: a lane for each session, time downwards, waiting drawn as waiting."""

from __future__ import annotations

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from zephyr_lab.views.abridged import one_line
from zephyr_lab.views.figure import (
    BAD,
    GOOD,
    GRID,
    INK,
    LIT,
    MONO,
    MONO_WIDTH,
    PALE,
    WARN,
    Picture,
    blank,
    box,
    session_colour,
    style,
)

WIDTH = 10.0  # inches
LINE, PAD, GAP, HEAD = 0.178, 0.07, 0.13, 0.62  # inches: a line of text, inside a box, between boxes, above all


def timeline(transcript: dict[str, Any], text: str) -> Picture:
    """Draws `Transcript.to_dict()`; `text` is shown where no picture can be."""
    lanes = {name: place for place, name in enumerate(transcript["sessions"])}
    lane = WIDTH / len(lanes)
    columns = int((lane - 0.5) / MONO_WIDTH)
    boxes = [(event, _lines(event, columns)) for event in transcript["events"]]
    below = HEAD + sum(_height(lines) + GAP for _, lines in boxes)
    height = below + 0.12 + LINE * len(transcript["summary"])
    with style():
        figure, axes = blank(WIDTH, height)
        title = f"{transcript['case']} at {transcript['isolation']}"
        axes.text(0.1, 0.2, title, va="center", color=INK, weight="bold")
        axes.text(WIDTH - 0.1, 0.2, transcript["schedule"], va="center", ha="right", color=PALE, family=MONO)
        for name, place in lanes.items():
            middle = (place + 0.5) * lane
            axes.text(
                middle, 0.48, name, ha="center", va="center", color=session_colour(name, place), weight="bold", size=11
            )
            axes.plot([middle, middle], [HEAD, below], color=GRID, linewidth=1, zorder=0)
        _draw_boxes(axes, boxes, lanes, lane)
        for number, line in enumerate(transcript["summary"]):
            place_at = below + (number + 0.7) * LINE
            axes.text(0.12, place_at, line, va="center", color=INK, family=MONO)
        return Picture.of(figure, text)


def _lines(event: dict[str, Any], columns: int) -> list[tuple[str, str]]:
    """The lines of an event's box, each with its colour: its SQL, unless it was shown already, and what came of it."""
    shown = [] if event["resumed"] else _wrapped(event["sql"], columns)
    if shown and event.get("where"):
        shown.insert(0, event["where"][-columns:])
    said = textwrap.wrap(event["text"], columns, max_lines=3, placeholder=" ...")
    return [(line, INK) for line in shown] + [(line, _said_colour(event)) for line in said]


def _wrapped(sql: str, columns: int) -> list[str]:
    """At most three lines, with both ends of the statement."""
    for width in range(3 * columns, 2 * columns, -1):
        lines = textwrap.wrap(one_line(sql, width), columns)
        if len(lines) <= 3:
            return lines
    return textwrap.wrap(sql, columns, max_lines=3, placeholder=" ...")


def _said_colour(event: dict[str, Any]) -> str:
    if event["event"] == "waits":
        return WARN
    return GOOD if event["event"] == "completed" and "ROLLBACK, and no error" not in event["text"] else BAD


def _height(lines: list[tuple[str, str]]) -> float:
    return len(lines) * LINE + 2 * PAD


def _draw_boxes(
    axes: Axes, boxes: list[tuple[dict[str, Any], list[tuple[str, str]]]], lanes: dict[str, int], lane: float
) -> None:
    top = HEAD
    waiting_since: dict[str, float] = {}
    for event, lines in boxes:
        place, height = lanes[event["session"]], _height(lines)
        left, colour = place * lane + 0.12, session_colour(event["session"], place)
        if event["resumed"] and (since := waiting_since.pop(event["session"], None)) is not None:
            _draw_wait(axes, (place + 0.5) * lane, since, top)
        box(axes, left, top, lane - 0.24, height, colour)
        for number, (line, ink) in enumerate(lines):
            bold = "bold" if ink is not INK else "normal"
            axes.text(
                left + 0.1, top + PAD + (number + 0.5) * LINE, line, va="center", color=ink, family=MONO, weight=bold
            )
        if event["event"] == "waits":
            waiting_since[event["session"]] = top + height
        top += height + GAP
    for name, since in waiting_since.items():
        _draw_wait(axes, (lanes[name] + 0.5) * lane, since, top)


def _draw_wait(axes: Axes, middle: float, top: float, bottom: float) -> None:
    axes.add_patch(
        Rectangle((middle - 0.09, top), 0.18, bottom - top, facecolor=LIT, edgecolor=WARN, hatch="////", linewidth=0.8)
    )
