"""Splits SQL into tokens and statements by PostgreSQL's lexical rules.

A statement's first words and the names before parentheses bound what it can do. Text that the server might tokenise
differently is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple


def names(*lines: str) -> frozenset[str]:
    """A set of names, from lines of them."""
    return frozenset(name for line in lines for name in line.split())


def folded(name: str) -> str:
    """An unquoted identifier as PostgreSQL folds it in a UTF-8 database: only A to Z become lower case."""
    return name.translate(_SMALL)


_SMALL = str.maketrans(ascii_uppercase, ascii_lowercase)


class Token(NamedTuple):
    """`kind` is "word" (text as `folded`), "quoted" (an identifier, without its quotes), "string", "number" or "".

    "escaped" is a string or an identifier written as U&'...', which is not decoded.
    """

    kind: str
    text: str
    start: int
    end: int

    @property
    def name(self) -> str:
        """The identifier or keyword; '' for other tokens."""
        return self.text if self.kind in ("word", "quoted") else ""


_TOKEN = re.compile(
    r"""(?xs)
    (?P<blank>\s+|--[^\n\r]*)
    |(?P<string>[eE]'(?:[^'\\]|\\.|'')*+'|(?:[bBxXnN])?'(?:[^']|'')*+'|\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)
    |"(?P<quoted>(?:[^"]|"")++)"
    |(?P<escaped>[uU]&(?:'(?:[^']|'')*+'|"(?:[^"]|"")++"))
    |(?P<word>(?![uU]&['"]|[eE]')[^\W\d][\w$]*)
    |(?P<number>\.?\d[\w.]*)
    |(?P<other>(?!\$(?:[^\W\d]\w*)?\$)[^'"\s\w\\])
    """
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


class UnclearSQL(ValueError):
    """A quote or a comment is not closed, or identifiers are written in escapes."""


def tokens(sql: str) -> list[Token]:
    """The tokens of a message. Raises UnclearSQL."""
    found = _scan(sql)
    if escaped := next((token for token in found if token.kind == "escaped"), None):
        raise UnclearSQL(f"written in escapes: {escaped.text!r}")
    return found


def _scan(sql: str) -> list[Token]:
    found, place = [], 0
    while place < len(sql):
        if sql.startswith("/*", place):
            place = _end_of_comment(sql, place)
            continue
        match = _TOKEN.match(sql, place)
        if match is None:
            raise UnclearSQL(f"not understood from here: {sql[place : place + 40]!r}")
        kind, text = match.lastgroup or "", match[0]
        if kind == "tag":
            kind = "string"
        if kind == "word":
            text = folded(text)
        elif kind == "quoted":
            text = match["quoted"].replace('""', '"')
        if kind != "blank":
            found.append(Token("" if kind == "other" else kind, text, place, match.end()))
        place = match.end()
    return found


def _end_of_comment(sql: str, place: int) -> int:
    """Comments nest."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(sql, place):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    raise UnclearSQL(f"a comment is not closed: {sql[place : place + 40]!r}")


def statements(sql: str) -> Iterator[list[Token]]:
    """The tokens of each statement of a message, without the semicolon. Raises UnclearSQL."""
    for statement in _cut(tokens(sql)):
        yield statement[:-1] if _is_semicolon(statement[-1]) else statement


def split(sql: str) -> list[str]:
    """The text of each statement of a message, with trailing comments. Raises UnclearSQL."""
    cut = [(one[0].start, one[-1].start if _is_semicolon(one[-1]) else len(sql)) for one in _cut(_scan(sql))]
    return [sql[start:end].strip() for start, end in cut]


def _is_semicolon(token: Token) -> bool:
    return token.text == ";" and not token.kind


def _cut(found: Sequence[Token]) -> Iterator[list[Token]]:
    """Splits at semicolons, but not in parentheses (CREATE RULE) nor from BEGIN ATOMIC to its END (CREATE FUNCTION)."""
    statement: list[Token] = []
    parentheses = body = 0
    for token in found:
        if _is_semicolon(token) and not parentheses and not body:
            if statement:
                yield [*statement, token]
            statement = []
            continue
        if not token.kind and token.text in "()":
            parentheses = max(0, parentheses + (1 if token.text == "(" else -1))
        elif token.kind == "word" and not parentheses:
            if body:
                body += (token.text == "case") - (token.text == "end")
            elif token.text == "atomic" and _makes_a_routine(statement) and statement[-1].name == "begin":
                body = 1
        statement.append(token)
    if statement:
        yield statement


def _makes_a_routine(statement: Sequence[Token]) -> bool:
    words = [token.name for token in statement[:4] if token.name not in ("or", "replace")]
    return words[:2] in (["create", "function"], ["create", "procedure"])


def called(statement: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """Every name before a parenthesis, with the text of the token before it ('' if there is none)."""
    for place, token in enumerate(statement[:-1]):
        if token.name and statement[place + 1].text == "(" and not statement[place + 1].kind:
            yield token.name, statement[place - 1].text if place else ""
