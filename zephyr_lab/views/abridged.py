"""Shortens SQL: both ends stay, since the last words (FOR UPDATE, RETURNING, WHERE) often matter."""

from __future__ import annotations

import re

GAP = " ... "
_PIECE = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[(),]|\w+|.""", re.DOTALL)


def one_line(sql: str, width: int) -> str:
    """SQL without comments and needless blanks; beyond `width` characters columns or the middle are left out."""
    whole = " ".join(re.sub(r"--[^\n]*", "", sql).split()).removesuffix(";")
    shorter = [whole, *_with_fewer_columns(whole)]
    for text in shorter:
        if len(text) <= width:
            return text
    text = shorter[-1]
    room = width - len(GAP)
    if room < 10:
        return text[: width - 3].rstrip() + "..."
    head = room * 2 // 5
    return _cut(text, head).removesuffix(GAP.rstrip()) + GAP + _cut(text[::-1], room - head)[::-1]


def _cut(text: str, most: int) -> str:
    """The beginning of a text, up to a blank unless that is far away."""
    blank = text.rfind(" ", 0, most + 1)
    return text[: blank if blank > most // 2 else most].rstrip()


def _with_fewer_columns(text: str) -> list[str]:
    """`select a, b, c from t ...` as `select a, ... from t ...`, and as `select ... from t ...`."""
    begun = re.match(r"(?i)((begin|start transaction)[^;]*; )?select ", text)
    if not begun:
        return []
    depth, comma = 0, 0
    for piece in _PIECE.finditer(text, begun.end()):
        if piece[0] in "()":
            depth += 1 if piece[0] == "(" else -1
        elif piece[0] == "," and depth == 0:
            comma = comma or piece.start()
        elif piece[0].lower() == "from" and depth == 0:
            rest = text[piece.start() :]
            return [f"{text[:comma]}, ... {rest}", f"{begun[0]}... {rest}"] if comma else []
    return []
