"""What figures have in common: their text can be read, and a session has its colour."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from zephyr_lab.views.dependencies import dependencies
from zephyr_lab.views.figure import (
    BAD,
    DARK,
    GOOD,
    GROUND,
    INK,
    PALE,
    SESSIONS,
    SIZE,
    TINT,
    WARN,
    Picture,
    session_colour,
)
from zephyr_lab.views.grid import grid
from zephyr_lab.views.load import course, curves, strategies, verdicts
from zephyr_lab.views.service import service_picture
from zephyr_lab.views.slots import slot_chart
from zephyr_lab.views.wait_tree import wait_tree

FAULT = {"name": "locked orders", "began": 1.0, "gone": 1.5, "recovered": 0.25}

REPORT: dict[str, Any] = {
    "figures": {
        "strategy": "redis-lua", "isolation": "serializable", "roubles_over": 100, "created": 900, "sent": 1000,
        "achieved_rate": 783, "p99_ms": 4878, "failed_attempts": 0.83,
    },
    "verdict": "oversold", "wrong": True, "faults": [FAULT], "retries": {"0": 2400, "1": 300},
    "latency_ms": {"50": 4.9, "90": 12.8, "95": 18, "99": 34, "99.9": 61, "100": 2062.4},
    "course": {"period_seconds": 0.25, "offered": [200, 210], "created": [190, 210], "oversold": {"0": 0, "1": 2}},
}  # fmt: skip
TRANSACTIONS = [
    {"name": f"T{number}", "session": session, "text": "r x", "begin": None, "end": None}
    for number, session in enumerate("CB", start=1)
]
EDGES = [
    {"from": "T1", "to": "T2", "type": "rw", "text": "one"},
    {"from": "T2", "to": "T1", "type": "ww", "text": "two"},
]
WAITING = {"name": "A", "level": 0, "waits_for": [], "said": "idle", "query": "select 1", "deadlock": False}
PICTURES = {
    "dependencies": lambda: dependencies({"title": "t", "transactions": TRANSACTIONS, "edges": EDGES}, "t"),
    "grid": lambda: grid(["read committed"], [["lost-update", "occurs: 12 of 14"]], {"occurs": "it does"}, "t"),
    "course": lambda: course(REPORT, "t"),
    "strategies": lambda: strategies([REPORT, REPORT], "t"),
    "curves": lambda: curves([1, 4], {"a": [1, 2], "b": [2, 3]}, across="slots", up="refused", text="t", limit=1),
    "verdicts": lambda: verdicts({"part": {"holds": 1, "does not hold": 2}}, "t"),
    "service": lambda: service_picture(gaps=True),
    "slots": lambda: slot_chart(["18:00"], {"orders": [110_000], "Redis": [90_000]}, [100_000], "t"),
    "wait tree": lambda: wait_tree([WAITING], "t"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_no_text_in_a_figure_is_smaller_than_nine_points(name: str) -> None:
    """As it is shown, at 100 %; exponents and small print included."""
    picture: Picture = PICTURES[name]()
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: (?:[a-z0-9]+ )*([\d.]+)px", picture.svg)]
    assert sizes
    assert min(sizes) >= SIZE


def test_the_word_of_a_dependency_stands_on_its_own_arc() -> None:
    """From left to right below, from right to left above, both in the colours of their kinds."""
    svg = PICTURES["dependencies"]().svg
    at = {}
    for kind in ("rw", "ww"):
        found = re.search(rf'<text[^>]*?(?: y="|translate\([\d.]+ )([\d.]+)[^>]*>{kind}<', svg)
        assert found, kind
        at[kind] = float(found[1])
    assert at["rw"] > at["ww"]


def test_sessions_have_their_colours_in_dependency_graphs_too() -> None:
    """C's and B's, although they are the first two that are drawn."""
    svg = PICTURES["dependencies"]().svg
    assert session_colour("C", 0) in svg
    assert session_colour("B", 1) in svg
    assert f"stroke: {session_colour('A', 0)}; stroke-width: 1.6" not in svg


def _luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it; `colour` is `#rrggbb`."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _tinted(colour: str, ground: str) -> str:
    """A colour at TINT on a ground."""
    parts = ((int(colour[at : at + 2], 16), int(ground[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(TINT * over + (1 - TINT) * under):02x}" for over, under in parts)


@pytest.mark.parametrize("seen", [lambda colour: colour, DARK.__getitem__], ids=["light", "dark"])
def test_text_in_a_figure_has_contrast_on_light_and_dark_pages(seen: Callable[[str], str]) -> None:
    """4.5 on the ground and, where it is a verdict, on its own tint; what is not text is told apart from the ground."""
    ground = seen(GROUND)
    for colour in (INK, PALE, GOOD, BAD, WARN, *SESSIONS):
        assert _contrast(seen(colour), ground) >= 4.5, colour
    for colour in (GOOD, BAD, WARN, PALE):
        assert _contrast(seen(colour), _tinted(seen(colour), ground)) >= 4.5, colour
        assert _contrast(seen(PALE), _tinted(seen(colour), ground)) >= 4.5, colour


@pytest.mark.parametrize("name", PICTURES)
def test_every_colour_of_a_figure_has_another_on_dark_pages(name: str) -> None:
    """None is left as it is drawn, and the rules are in the SVG, for its own elements only."""
    svg = PICTURES[name]().svg
    style, drawn = svg.split("</style>", 1)
    used = set(re.findall(r"(?:fill|stroke): (#\w+)", drawn))
    assert used <= set(DARK)
    assert GROUND in used
    assert "@media (prefers-color-scheme: dark)" in style
    assert all(line.startswith("svg.zephyr ") for line in style.splitlines() if "fill:" in line)
