"""Reads EDN (github.com/edn-format/edn), as Jepsen writes its histories: one form after another, without recursion.

Keywords, symbols and characters become strings; lists, vectors and sets lists; a tag is dropped for what it tags. That
is all that a history needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from zephyr_lab.errors import BadInput

DEEPEST = 64
_BLANK = re.compile(r"(?:[\s,]+|;[^\n]*)+")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ATOM = re.compile(r"\\(?:[a-zA-Z]+|.)|[^\s,;()\[\]{}\"]+", re.DOTALL)
_INTEGER = re.compile(r"[+-]?\d{1,40}N?\Z")
_FLOAT = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?M?\Z")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_CLOSES = {"(": ")", "[": "]", "{": "}", "#{": "}"}
_SPECIAL = {"nil": None, "true": True, "false": False}
_DISCARD, _TAG = object(), object()


def forms(text: str, source: str) -> Iterator[tuple[int, Any]]:
    """Every top-level form with the line it begins on. Raises BadInput with the line where the text is not EDN."""
    position, line, counted = 0, 1, 0
    stack: list[tuple[str, list[Any], int]] = []  # opening bracket, what it holds so far, line
    pending: list[object] = []  # tags and discards that wait for their form, at the depth of the stack
    waiting: list[list[object]] = []

    def wrong(what: str) -> BadInput:
        return BadInput(f"{source}, line {line}: {what}")

    while True:
        if blank := _BLANK.match(text, position):
            position = blank.end()
        line += text.count("\n", counted, position)
        counted = position
        if position >= len(text):
            break
        char = text[position]
        if text.startswith("#_", position):
            pending.append(_DISCARD)
            position += 2
            continue
        if char in "([{" or text.startswith("#{", position):
            opening = "#{" if char == "#" else char
            if len(stack) >= DEEPEST:
                raise wrong(f"brackets nested more than {DEEPEST} deep")
            stack.append((opening, [], line))
            waiting.append(pending)
            pending = []
            position += len(opening)
            continue
        if char in ")]}":
            if not stack or _CLOSES[stack[-1][0]] != char:
                raise wrong(f"{char!r} closes nothing" if not stack else f"{char!r} closes {stack[-1][0]!r}")
            if pending:
                raise wrong("a tag or #_ without a form after it")
            opening, held, begun = stack.pop()
            pending = waiting.pop()
            form = _map(held, wrong) if opening == "{" else held
            position += 1
        elif char == '"':
            match = _STRING.match(text, position)
            if not match:
                raise wrong("a string that does not end")
            form, begun = re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), match[1]), line
            position = match.end()
        else:
            match = _ATOM.match(text, position)
            if not match:
                raise wrong(f"{text[position : position + 20]!r} is not EDN")
            position, begun = match.end(), line
            if match[0][0] == "#":
                pending.append(_TAG)
                continue
            form = _atom(match[0])
        dropped = _DISCARD in pending
        pending = pending[1:] if dropped and pending[0] is _DISCARD and len(pending) > 1 else []
        if dropped:
            continue
        if stack:
            stack[-1][1].append(form)
        else:
            yield begun, form
    if stack:
        raise BadInput(f"{source}, line {stack[-1][2]}: {stack[-1][0]!r} is not closed before the end: truncated?")
    if pending:
        raise wrong("a tag or #_ without a form after it")


def _map(held: list[Any], wrong: Any) -> dict[Any, Any]:
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
