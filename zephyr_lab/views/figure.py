"""A figure that Jupyter shows and git can store: PNG, SVG and text of the same content, byte-identical when redrawn.

PNG, because JupyterLab does not show a stored SVG in an untrusted notebook; SVG, because it stays
sharp and nbval can compare it; text, for terminals, diffs and screen readers.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PALE, GRID = "#1b1f24", "#57606a", "#d0d7de"
# One colour per session, in all figures; Okabe and Ito's palette, distinguishable for colour-blind readers.
SESSIONS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
# The same, darker: white letters on them have a contrast of at least 4.5.
BADGES = ("#0072b2", "#ad4c00", "#007757", "#a34a7d", "#8a5f00", "#1f70a3")
GOOD, BAD, WARN = "#1a7f37", "#b42318", "#9a6700"
SIZE = 9.0  # points; nothing in a figure is smaller
# For notebooks that are only compared or made into pages: drawing the PNG takes three times as long as the SVG.
WITHOUT_PNG = "ZEPHYR_LAB_WITHOUT_PNG"
MONO, MONO_WIDTH = "DejaVu Sans Mono", 0.0782  # inches of one of its characters at this size, and a little


def session_colour(name: str, place: int, colours: Sequence[str] = SESSIONS) -> str:
    """A session's colour: those of A, B, ... are fixed, other names have that of their position."""
    letter = ord(name) - ord("A") if len(name) == 1 and "A" <= name <= "Z" else place
    return colours[letter % len(colours)]


_SIZE = re.compile(r'<svg([^>]*?) width="[\d.]+pt" height="[\d.]+pt"')
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "zephyr_lab",
    "svg.fonttype": "none",  # text stays text: small, searchable, readable aloud
    "font.family": ["DejaVu Sans"],
    "font.size": SIZE,
    **{f"{name}.labelsize": SIZE for name in ("xtick", "ytick", "axes")},
    "axes.titlesize": SIZE,
    "legend.fontsize": SIZE,
    "figure.facecolor": "white",
}


@contextmanager
def style() -> Iterator[None]:
    """The lab's style, whatever the notebook has set."""
    import matplotlib  # here and below: colours are needed without drawing

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure of `width` x `height` inches that belongs to no GUI and no pyplot state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def blank(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure without axes to be seen, and what to draw on: in inches, from the upper left corner downwards."""
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0))
    return figure, axes


def box(axes: Axes, left: float, top: float, width: float, height: float, colour: str) -> None:
    """Draws a white box with rounded corners and an edge of this colour."""
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(
        FancyBboxPatch(
            (left, top), width, height, boxstyle="round,pad=0,rounding_size=0.05", facecolor="white", edgecolor=colour,
            linewidth=1.2,
        )
    )  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A drawn figure with an equivalent text; `png` is empty under WITHOUT_PNG."""

    png: bytes
    svg: str
    text: str

    @classmethod
    def of(cls, figure: Figure, text: str) -> Picture:
        png, svg = io.BytesIO(), io.StringIO()
        if WITHOUT_PNG not in os.environ:
            figure.savefig(png, format="png", dpi=96, metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        return cls(png.getvalue(), svg.getvalue(), text)

    def mimebundle(self) -> dict[str, Any]:
        # JupyterLab shows an SVG as an <img> that may exceed the cell: without a fixed size it fits.
        fitting = _SIZE.sub('<svg\\1 width="100%"', self.svg, count=1)
        bundle = {"text/plain": self.text, "image/svg+xml": fitting}
        return {**bundle, "image/png": self.png} if self.png else bundle

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self.mimebundle()
