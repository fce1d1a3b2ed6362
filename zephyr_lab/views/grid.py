"""The matrix as a figure: one row per anomaly, one column per level, a word and a colour in each cell."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.patches import Rectangle

from zephyr_lab.views.block import colour_of
from zephyr_lab.views.figure import INK, PALE, TINT, Picture, blank, style

WIDTH, ROW, HEAD = 10.0, 0.58, 0.42  # inches
CHARACTER = 0.088  # inches of a bold one, on average
NUMBERS_WIDTH = 26  # characters that fit into a cell


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]], legend: Mapping[str, str], text: str) -> Picture:
    """Draws words in cells; `rows` begin with their name. `text` is shown where figures are not possible.

    Of `occurs: 18 of 20` the word stands above the numbers.
    """
    first = CHARACTER * max(len(row[0]) for row in rows) + 0.3
    cell = (WIDTH - first - 0.1) / len(columns)
    below = HEAD + len(rows) * ROW
    height = below + 0.12 + 0.2 * len(legend)
    with style():
        figure, axes = blank(WIDTH, height)
        for number, name in enumerate(columns):
            axes.text(first + (number + 0.5) * cell, HEAD / 2, name, ha="center", va="center", color=INK, weight="bold")
        for line, (name, *words) in enumerate(rows):
            top = HEAD + line * ROW
            axes.text(first - 0.15, top + ROW / 2, name, ha="right", va="center", color=INK, weight="bold")
            for number, word in enumerate(words):
                left, colour = first + number * cell, colour_of(word)
                axes.add_patch(
                    Rectangle((left + 0.03, top + 0.03), cell - 0.06, ROW - 0.06, facecolor=colour, alpha=TINT)
                )
                verdict, _, numbers = word.partition(": ")
                middle, line_at = left + cell / 2, top + (0.3 if numbers else 0.5) * ROW
                axes.text(middle, line_at, verdict, ha="center", va="center", color=colour, weight="bold")
                below_word = textwrap.fill(numbers, NUMBERS_WIDTH)
                axes.text(middle, top + 0.7 * ROW, below_word, ha="center", va="center", color=PALE)
        for number, (word, meaning) in enumerate(legend.items()):
            axes.text(0.1, below + 0.2 * (number + 0.8), f"{word}: {meaning}", va="center", color=PALE)
        return Picture.of(figure, text)
