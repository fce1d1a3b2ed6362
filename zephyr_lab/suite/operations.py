"""Operations as plain data: what one call of application code has asked, each with the values that it had."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Self

from zephyr_lab.sql.tokens import UnclearSQL, tokens

SAMPLES = 3
"""How many calls of the same operation are kept."""

_LISTS = re.compile(r"\(\?(?:,\?)+\)")


@dataclass(frozen=True)
class Statement:
    """SQL with its values, and the file and line that asked it.

    `transaction` is a number of `Operation.transactions`, or None for one of its own; `changed` is the number of rows
    that it has found or changed, None if the server refused it.
    """

    sql: str
    file: str
    line: int
    transaction: int | None
    changed: int | None


@dataclass(frozen=True)
class Transaction:
    """How it began, such as `begin isolation level serializable`, and whether it was rolled back."""

    number: int
    begin: str
    is_rolled_back: bool


@dataclass(frozen=True)
class Operation:
    """`name` is that of the function that was called, defined at `line` of `file`; `test` is the test that did.

    `rows` is the number of the rows that were there when it began, in `rows.Rows`; None if they could not be read.
    `holds_back`: an ORM session may have held changes back, since the transaction was the test's.
    """

    name: str
    file: str
    line: int
    test: str
    statements: tuple[Statement, ...]
    transactions: tuple[Transaction, ...]
    rows: int | None
    holds_back: bool = False

    @property
    def kind(self) -> tuple[Any, ...]:
        """The same for operations that differ in values alone."""
        said = tuple((without_values(one.sql), one.transaction, one.changed is None) for one in self.statements)
        return self.file, self.name, said, tuple((one.begin, one.is_rolled_back) for one in self.transactions)

    @property
    def effect(self) -> int:
        """How many rows its statements have found or changed."""
        return sum(one.changed or 0 for one in self.statements)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for another process."""
        return asdict(self)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """From `to_dict`."""
        statements = tuple(Statement(**one) for one in said["statements"])
        transactions = tuple(Transaction(**one) for one in said["transactions"])
        return cls(**{**said, "statements": statements, "transactions": transactions})


@lru_cache(maxsize=8192)
def without_values(sql: str) -> str:
    """A statement's text up to its values, and up to how many of them a list has."""
    try:
        said = tokens(sql)
    except UnclearSQL:
        return sql
    words = ["?" if one.kind in ("string", "number") else one.text for one in said]
    signs = " ".join(words).replace("? , ?", "?,?").replace("( ?", "(?").replace("? )", "?)")
    return _LISTS.sub("(?)", re.sub(r"\? , ", "?,", signs))


def at_home_in(sql: str, home: str) -> str:
    """Without the name of the schema whose tables are in the lab's."""
    if not home or home not in sql:
        return sql
    name = re.escape(home)
    return re.sub(rf"""(?<![\w"'.])(?:{name}|"{name}")\s*\.\s*(?=[\w"])""", "", sql)


def distinct(operations: Iterable[Operation]) -> dict[str, list[Operation]]:
    """By a name that is one word, calls of the same operation, those that did most first; at most SAMPLES of each."""
    kinds: dict[tuple[Any, ...], list[Operation]] = {}
    for one in operations:
        kinds.setdefault(one.kind, []).append(one)
    named: dict[str, list[Operation]] = {}
    for calls in kinds.values():
        name = calls[0].name
        number = 1 + sum(known == name or known.startswith(f"{name}~") for known in named)
        calls.sort(key=lambda one: -one.effect)
        named[name if number == 1 else f"{name}~{number}"] = calls[:SAMPLES]
    return named
