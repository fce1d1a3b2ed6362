"""A figure that Jupyter shows and git can store: PNG, SVG and text of the same content, byte-identical when redrawn.

PNG, because JupyterLab does not show a stored SVG in an untrusted notebook; SVG, because it stays
sharp, nbval can compare it, and it is light or dark as the page is; text, for terminals, diffs and screen readers.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PALE, GRID, GROUND, LIT = "#1b1f24", "#57606a", "#d0d7de", "#ffffff", "#fff8c5"
# One colour per session, in all figures; Okabe and Ito's hues, distinguishable for colour-blind readers, and so dark
# that white letters on them, and they as letters on white, have a contrast of at least 4.5.
SESSIONS = ("#0072b2", "#ad4c00", "#007757", "#a34a7d", "#8a5f00", "#4d4d4d")
GOOD, BAD, WARN = "#1a7f37", "#b42318", "#8a5a00"
BLACK = "#000000"  # matplotlib's own, of axes
# What stands for each on a dark page; the ground is that of JupyterLab's dark theme.
DARK = {
    INK: "#e6edf3", BLACK: "#e6edf3", PALE: "#b1bac4", GRID: "#484f58", GROUND: "#111111", LIT: "#3d3300",
    GOOD: "#56d364", BAD: "#ff8e84", WARN: "#e3b341",
    **dict(zip(SESSIONS, ("#58a6ff", "#ff9a4d", "#3fc79a", "#e29bc4", "#e6b84d", "#d0d0d0"), strict=True)),
}  # fmt: skip
TINT = 0.08  # of a colour that is a ground: letters of the same colour on it have a contrast of at least 4.5
SIZE = 9.0  # points; nothing in a figure is smaller
# For notebooks that are only compared or made into pages: drawing the PNG takes three times as long as the SVG.
WITHOUT_PNG = "ZEPHYR_LAB_WITHOUT_PNG"
MONO, MONO_WIDTH = "DejaVu Sans Mono", 0.0782  # inches of one of its characters at this size, and a little


def session_colour(name: str, place: int) -> str:
    """A session's colour: those of A, B, ... are fixed, other names have that of their position."""
    letter = ord(name) - ord("A") if len(name) == 1 and "A" <= name <= "Z" else place
    return SESSIONS[letter % len(SESSIONS)]


_HEAD = re.compile(r"<svg([^>]*)>")
_SIZE = re.compile(r'<svg([^>]*?) width="[\d.]+pt" height="[\d.]+pt"')
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "zephyr_lab",
    "svg.fonttype": "none",  # text stays text: small, searchable, readable aloud
    "font.family": ["DejaVu Sans"],
    "font.size": SIZE,
    **{f"{name}.labelsize": SIZE for name in ("xtick", "ytick", "axes")},
    "axes.titlesize": SIZE,
    "legend.fontsize": SIZE,
    "figure.facecolor": GROUND,
}


def dark(within: str, ground: str = DARK[GROUND]) -> str:
    """CSS that gives every colour of a figure the one that stands for it on a dark page; `within` is a selector."""
    rules = [f"{within} text:not([style*=fill]) {{ fill: {DARK[BLACK]} }}"]
    for light, other in {**DARK, GROUND: ground}.items():
        rules += [
            f'{within} [style*="{name}: {light}"] {{ {name}: {other} !important }}' for name in ("fill", "stroke")
        ]
    return "\n".join(rules)


def themed(svg: str) -> str:
    """An SVG that is dark where the page is. An image takes its page's colour scheme, which JupyterLab's themes set."""
    rules = f"<style>\n@media (prefers-color-scheme: dark) {{\n{dark('svg.zephyr')}\n}}\n</style>"
    return _HEAD.sub(f'<svg class="zephyr"\\1>\n{rules}', svg, count=1)


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
    """Draws an empty box with rounded corners and an edge of this colour."""
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(
        FancyBboxPatch(
            (left, top), width, height, boxstyle="round,pad=0,rounding_size=0.05", facecolor=GROUND,
            edgecolor=colour, linewidth=1.2,
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
        return cls(png.getvalue(), themed(svg.getvalue()), text)

    @property
    def image(self) -> bytes:
        """The SVG as a file for a widget."""
        return self.svg.encode()

    def mimebundle(self) -> dict[str, Any]:
        # JupyterLab shows an SVG as an <img> that may exceed the cell: without a fixed size it fits.
        fitting = _SIZE.sub('<svg\\1 width="100%"', self.svg, count=1)
        bundle = {"text/plain": self.text, "image/svg+xml": fitting}
        return {**bundle, "image/png": self.png} if self.png else bundle

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self.mimebundle()
