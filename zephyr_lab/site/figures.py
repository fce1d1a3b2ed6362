"""A figure on a page: its SVG inside the page, in the page's colours, with what it says as its alternative and as text.

On a narrow page it keeps a size at which it can be read, and scrolls in its box.
"""

from __future__ import annotations

import re
from html import escape

from zephyr_lab.views.figure import dark

SMALLEST = 0.8  # of its natural size: text of 9.6 pixels, and a figure as wide as the text of a page on a laptop
_PROLOG = re.compile(r"^.*?(?=<svg)|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
_GROUP = re.compile(r'<g id="\w+?_\d+">')
_SIZE = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
_HEAD = re.compile(r"<svg[^>]*>")
_MOST = 300  # characters of an alternative
# What the texts of figures begin their findings with, beside their first lines.
_FINDINGS = ("ends:", "final:", "verdict", "not:", "Red cells")
_NUMBER = re.compile(r"\d+\.\d{3,}")


def figure(svg: str, text: str) -> str:
    """The HTML of a figure; `text` is the same in words."""
    inside = _GROUP.sub("<g>", _PROLOG.sub("", svg))
    said = escape(finding(text), quote=True)
    size = _SIZE.search(inside)
    width = float(size[1]) * 4 / 3 if size else 600.0  # points to pixels
    head = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {size[0] if size else ""} role="img" aria-label="{said}" '
        f'style="min-width: {SMALLEST * width:.0f}px">'
    )
    drawn = _HEAD.sub(lambda _: head, inside, count=1)
    scroll = '<div class="zephyr-scroll" tabindex="0" role="group" aria-label="A figure">'
    return (
        f'<div class="zephyr-figure">{scroll}{drawn}</div>'
        f"<details><summary>The same as text</summary><pre>{escape(text)}</pre></details></div>"
    )


def style() -> str:
    """The style sheet of figures: light as they were drawn, and dark where the page is."""
    return dark('html[data-theme="dark"] .zephyr-figure svg', "var(--pst-color-background)")


def finding(text: str) -> str:
    """What a figure shows, in a sentence or two, from its text."""
    first, *lines = [line.strip() for line in text.strip("{}'").splitlines()] or [""]
    if first.startswith("anomaly "):
        counts = {word: len(re.findall(rf"\b{word}\b(?=:| \S+:)", text.partition("\n\n")[0])) for word in _WORDS}
        told = ", ".join(f"{word} in {number}" for word, number in counts.items() if number)
        return f"Anomalies by isolation level: {told} cells."
    said = [first, *(line for line in lines if line.startswith(_FINDINGS))]
    words = " ".join(" ".join(said).split())
    words = _NUMBER.sub(lambda number: f"{float(number[0]):.3g}", words)
    return words if len(words) <= _MOST else words[: _MOST - 4] + " ..."


_WORDS = ("occurs", "aborts", "prevented")
