"""Sessions that wait for each other, as a tree: a line each, the ones that wait for nobody at the left."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from zephyr_lab.views.figure import BAD, GRID, INK, MONO, MONO_WIDTH, PALE, WARN, Picture, blank, box, style

WIDTH, ROW, GAP, HEAD = 10.0, 0.46, 0.1, 0.15  # inches
INDENT, DEEPEST = 0.42, 12  # inches a level; more levels than this are drawn at the last one's place
BOLD = 0.088  # inches of a character of a name


def wait_tree(sessions: Sequence[dict[str, Any]], text: str) -> Picture:
    """Draws sessions in the order of the tree: name, level, waits_for, said, query, deadlock. `text` says the same."""
    height = HEAD + len(sessions) * (ROW + GAP) + 0.05
    with style():
        figure, axes = blank(WIDTH, height)
        above: dict[int, float] = {}  # where the last session of each level ends, for the line down to the next one
        for number, one in enumerate(sessions):
            top, level = HEAD + number * (ROW + GAP), min(one["level"], DEEPEST)
            _draw_session(axes, one, 0.15 + level * INDENT, top, above.get(level - 1))
            above[level] = top + ROW
        return Picture.of(figure, text)


def _draw_session(axes: Axes, one: dict[str, Any], left: float, top: float, above: float | None) -> None:
    colour = BAD if one["deadlock"] or not one["waits_for"] else WARN
    middle = top + ROW / 2
    if one["level"] and above is not None:
        stem = left - INDENT / 2
        axes.plot([stem, stem, left - 0.02], [above, middle, middle], color=PALE, linewidth=1.2, solid_capstyle="butt")
    box(axes, left, top, WIDTH - 0.15 - left, ROW, colour)
    name_width = BOLD * len(one["name"]) + 0.25
    axes.text(left + 0.12, middle, one["name"], va="center", color=colour, weight="bold")
    axes.plot([left + name_width] * 2, [top + 0.06, top + ROW - 0.06], color=GRID, linewidth=1)
    columns = max(20, int((WIDTH - 0.3 - left - name_width) / MONO_WIDTH))
    for place, (line, ink) in enumerate(((one["said"], colour), (one["query"], INK))):
        shown = textwrap.shorten(line, columns, placeholder=" ...")
        at = top + (0.3 + 0.42 * place) * ROW if one["query"] else middle
        axes.text(left + name_width + 0.12, at, shown, va="center", color=ink, family=MONO)
