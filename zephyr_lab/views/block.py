"""Explorations, verdicts and checks as HTML that wraps at any width: a title, lines with a verdict's badge, notes.

Without a style sheet, a script or a colour of text, so that it is right on light and dark pages, on a phone, and where
JupyterLab removes what it does not trust. Its text is that of `text/plain`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from zephyr_lab.views.figure import BAD, GOOD, PALE, WARN

_LINE = "border-top: 1px solid #8c959f66; padding: 4px 0"
_BOX = "border: 1px solid #8c959f88; border-radius: 6px; padding: 8px 12px; margin: 6px 0; line-height: 1.5"
_BADGE = "color: #ffffff; border-radius: 3px; padding: 1px 7px; font-weight: bold; white-space: nowrap"
# One that is too long for the page is broken; code is not marked by its ground, which themes choose for their own.
_WRAPS = "display: inline-block; max-width: 100%; overflow-wrap: anywhere; white-space: pre-wrap"
_CODE = f"{_WRAPS}; background: none; color: inherit; padding: 0"


@dataclass(frozen=True)
class Line:
    """One of many: `badge` is a verdict or a word, `count` how many there are of it, `code` a schedule."""

    text: str
    badge: str = ""
    count: str = ""
    label: str = ""
    code: str = ""


def block(
    title: str, lines: Iterable[Line] = (), notes: Iterable[str] = (), badge: str = "", more: Iterable[str] = ()
) -> str:
    """The HTML; what stands in a `note` before its first `: ` is its label, and `more` is HTML that comes last."""
    head = f'<div style="padding: 0 0 4px">{_badge(badge)}<b style="{_WRAPS}">{escape(title)}</b></div>'
    told = "".join(_line(one) for one in lines)
    said = "".join(_note(one) for one in notes if one)
    return f'<div style="{_BOX}">{head}{told}{said}{"".join(more)}</div>'


def folded(title: str, text: str, code: bool = False) -> str:
    """What a click opens; as code it scrolls where it is too wide."""
    shown = (
        f'<pre style="overflow-x: auto; margin: 4px 0">{escape(text)}</pre>' if code else f"<div>{escape(text)}</div>"
    )
    return f'<details style="{_LINE}"><summary style="cursor: pointer">{escape(title)}</summary>{shown}</details>'


def colour_of(word: str) -> str:
    """One colour per verdict, the same in every figure and on every page."""
    return _COLOURS.get(word.partition(" ")[0].rstrip(":"), WARN)


_COLOURS = {"prevented": GOOD, "right": GOOD, "valid": GOOD, "occurs": BAD, "broken": BAD, "not": BAD, "serial": PALE}


def _badge(word: str) -> str:
    return f'<span style="{_BADGE}; background: {colour_of(word)}">{escape(word)}</span> ' if word else ""


def _line(one: Line) -> str:
    label = f"<b>{escape(one.label)}</b>: " if one.label else ""
    count = f"<b>{escape(one.count)}</b> " if one.count else ""
    code = f' <code style="{_CODE}">[{escape(one.code)}]</code>' if one.code else ""
    return (
        f'<div style="{_LINE}; overflow-wrap: anywhere">{count}{_badge(one.badge)}{label}{escape(one.text)}{code}</div>'
    )


def _note(text: str) -> str:
    label, parted, rest = text.partition(": ")
    words = f"<b>{escape(label)}</b>: {escape(rest)}" if parted else escape(text)
    return f'<div style="{_LINE}; overflow-wrap: anywhere">{words}</div>'
