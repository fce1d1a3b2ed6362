"""Reads EDN (github.com/edn-format/edn), as Jepsen writes its histories: one form after another, without recursion.

Keywords, symbols and characters become strings; lists, vectors and sets lists; tags are dropped. That is all that a
history needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from zephyr_lab.errors import BadInput

DEEPEST = 64
_BLANK = re.compile(r"(?:[\s,]+|;[^\n]*)*")  # matches anywhere, possibly empty
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ATOM = re.compile(r"\\(?:[a-zA-Z]+|.)|[^\s,;()\[\]{}\"]+", re.DOTALL)
_INTEGER = re.compile(r"[+-]?\d{1,40}N?\Z")
_FLOAT = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?M?\Z")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_CLOSES = {"(": ")", "[": "]", "{": "}", "#{": "}"}
_SPECIAL = {"nil": None, "true": True, "false": False}
_DISCARD, _TAG = object(), object()
_BARE = "a tag or #_ without a form after it"
_Wrong = Callable[[str], BadInput]


def forms(text: str, source: str) -> Iterator[tuple[int, Any]]:
    """Every top-level form with its first line. Raises BadInput with the line if the text is not EDN."""
    position, line, counted = 0, 1, 0
    stack: list[_Open] = []
    pending: list[object] = []  # tags and discards that wait for their form, at the depth of the stack

    def wrong(what: str) -> BadInput:
        return BadInput(f"{source}, line {line}: {what}")

    while True:
        position = _BLANK.match(text, position).end()  # type: ignore[union-attr]
        line += text.count("\n", counted, position)
        counted = position
        if position >= len(text):
            break
        char, begun = text[position], line
        if text.startswith("#_", position):
            pending.append(_DISCARD)
            position += 2
            continue
        if char in "([{" or text.startswith("#{", position):
            opening = "#{" if char == "#" else char
            if len(stack) >= DEEPEST:
                raise wrong(f"brackets nested more than {DEEPEST} deep")
            stack.append(_Open(opening, [], line, pending))
            pending = []
            position += len(opening)
            continue
        if char in ")]}":
            form, begun, pending = _closed(char, stack, pending, wrong)
            position += 1
        else:
            form, position = _scalar(text, position, wrong)
            if form is _TAG:
                pending.append(_TAG)
                continue
        dropped = _DISCARD in pending
        pending = pending[1:] if dropped and pending[0] is _DISCARD and len(pending) > 1 else []
        if stack and not dropped:
            stack[-1].held.append(form)
        elif not dropped:
            yield begun, form
    if stack:
        line = stack[-1].line
        raise wrong(f"{stack[-1].bracket!r} is not closed before the end: truncated?")
    if pending:
        raise wrong(_BARE)


class _Open(NamedTuple):
    """An open bracket, its content so far, and the tags and discards before it."""

    bracket: str
    held: list[Any]
    line: int
    pending: list[object]


def _closed(char: str, stack: list[_Open], pending: list[object], wrong: _Wrong) -> tuple[Any, int, list[object]]:
    """What the innermost bracket holds, the line it begins on, and what waits for it."""
    if not stack or _CLOSES[stack[-1].bracket] != char:
        raise wrong(f"{char!r} closes nothing" if not stack else f"{char!r} closes {stack[-1].bracket!r}")
    if pending:
        raise wrong(_BARE)
    bracket, held, line, before = stack.pop()
    return _map(held, wrong) if bracket == "{" else held, line, before


def _scalar(text: str, position: int, wrong: _Wrong) -> tuple[Any, int]:
    """A string, an atom or a tag, and where it ends."""
    if text[position] == '"':
        match = _STRING.match(text, position)
        if not match:
            raise wrong("a string that does not end")
        return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), match[1]), match.end()
    match = _ATOM.match(text, position)
    if not match:
        raise wrong(f"{text[position : position + 20]!r} is not EDN")
    return _TAG if match[0][0] == "#" else _atom(match[0]), match.end()


def _map(held: list[Any], wrong: _Wrong) -> dict[Any, Any]:
    if len(held) % 2:
        raise wrong("a map with a key without a value")
    try:
        return dict(zip(held[::2], held[1::2], strict=True))
    except TypeError:
        raise wrong("a map whose key is a collection") from None


def _atom(text: str) -> Any:
    if text in _SPECIAL:
        return _SPECIAL[text]
    if text[0] == ":":
        return text[1:]
    if _INTEGER.match(text):
        return int(text.rstrip("N"))
    if _FLOAT.match(text):
        return float(text.rstrip("M"))
    return text[1:] if text[0] == "\\" and len(text) > 1 else text
