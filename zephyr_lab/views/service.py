"""The order service as a figure: its calls in order, and where a reply may be lost."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from zephyr_lab.views.figure import BAD, GROUND, INK, PALE, SESSIONS, Picture, new_figure, style

WIDTH, HEIGHT = 10.0, 3.7  # inches

# name: (left, bottom, width, height, lines)
BOXES = {
    "client": (0.1, 1.5, 1.3, 0.8, ("client", "gRPC")),
    "service": (2.3, 1.3, 2.1, 1.2, ("OrderService", "CreateOrder", "pool of 25")),
    "redis": (6.3, 2.5, 3.5, 1.0, ("Redis or Valkey", "a slot's load, by Lua")),
    "postgres": (
        6.3,
        0.15,
        3.5,
        1.7,
        ("PostgreSQL", "orders, a partition a month", "order_ids, over all months", "slots"),
    ),
}
# (from x, y, to x, y, number, words, where the words stand)
ARROWS = (
    (1.4, 2.05, 2.3, 2.05, "1", "order", (1.85, 2.2)),
    (4.4, 2.4, 6.3, 3.3, "2", "assign a slot", (4.9, 3.1)),
    (4.4, 1.6, 6.3, 1.0, "3", "save the order, COMMIT", (5.0, 0.95)),
    (4.4, 2.1, 6.3, 2.75, "4", "release, if 3 failed", (5.6, 2.2)),
    (2.3, 1.7, 1.4, 1.7, "5", "answer", (1.85, 1.52)),
)
TEXT = """client -1-> OrderService -2-> Redis: assign a slot
                         -3-> PostgreSQL: save the order, COMMIT
                         -4-> Redis: release the slot, if 3 failed
       <-5- answer"""


def service_picture(gaps: bool = False) -> Picture:
    """The documented CreateOrder; with `gaps`, where a crash or a lost reply leaves the two systems inconsistent."""
    with style():
        figure = new_figure(WIDTH, HEIGHT)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
        for place, (left, bottom, width, height, lines) in enumerate(BOXES.values()):
            _box(axes, left, bottom, width, height, lines, SESSIONS[place])
        for x, y, to_x, to_y, number, words, at in ARROWS:
            axes.annotate("", (to_x, to_y), (x, y), arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 1.2})
            axes.text(*at, f"{number} {words}", ha="center", va="center", color=INK)
            if gaps and number in "234":
                axes.text(
                    (x + to_x) / 2, (y + to_y) / 2, "×", ha="center", va="center", color=BAD, size=18, weight="bold"
                )
        return Picture.of(figure, TEXT + ("\nlost at 2, 3 or 4: the two are apart" if gaps else ""))


def _box(
    axes: Axes, left: float, bottom: float, width: float, height: float, lines: tuple[str, ...], colour: str
) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (left, bottom),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=GROUND,
            edgecolor=colour,
            linewidth=1.6,
        )
    )
    for number, line in enumerate(lines):
        at = bottom + height - (number + 0.7) * height / (len(lines) + 0.4)
        axes.text(
            left + width / 2,
            at,
            line,
            ha="center",
            va="center",
            color=INK if number == 0 else PALE,
            weight="bold" if number == 0 else "normal",
        )
