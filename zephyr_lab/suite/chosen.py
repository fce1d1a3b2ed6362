"""Which calls of each operation are replayed, and which pairs have met the same rows at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from zephyr_lab.sql.tokens import UnclearSQL, tokens
from zephyr_lab.suite.operations import Operation

Sought = dict[tuple[str, str], frozenset[str]]
"""By table and column, the values that rows were sought by, or inserted with."""


def chosen(operations: Mapping[str, Sequence[Operation]]) -> dict[str, Operation]:
    """Of each operation the call whose values are most often those of others, so that they meet."""
    often = Counter(
        value for calls in operations.values() for value in {one for call in calls for one in _values(call)}
    )

    def worth(call: Operation) -> tuple[bool, float, int]:
        values = _values(call)
        return call.rows is not None, sum(often[one] for one in values) / max(1, len(values)), call.effect

    return {name: max(calls, key=worth) for name, calls in operations.items()}


def readings_of(operations: Sequence[Operation]) -> list[int]:
    """The rows that some operations begin with: of those of one test, what the last of them has met, since that is what
    it needs; those of different tests have all of theirs."""
    by_test: dict[str, int] = {}
    for one in operations:
        if one.rows is not None:
            by_test[one.test] = max(one.rows, by_test.get(one.test, -1))
    return sorted(by_test.values())


def apart(one: Operation, other: Operation) -> str:
    """The column by which two operations have met different rows of a table, as `slots.id`; '' if they may have met."""
    mine, others = sought(one), sought(other)
    for place in sorted(mine.keys() & others.keys()):
        if not mine[place] & others[place]:
            return ".".join(place)
    return ""


def sought(operation: Operation) -> Sought:
    found: dict[tuple[str, str], set[str]] = {}
    for one in operation.statements:
        for table, column, value in _constants(one.sql):
            found.setdefault((table, column), set()).add(value)
    return {place: frozenset(values) for place, values in found.items()}


@lru_cache(maxsize=4096)
def _constants(sql: str) -> tuple[tuple[str, str, str], ...]:
    """Columns that are compared with a constant in the WHERE of a statement on one table."""
    try:
        parsed = sqlglot.parse_one(sql, read="postgres")
    except SqlglotError:
        return ()
    tables = {one.name for one in parsed.find_all(exp.Table)}
    where = parsed.args.get("where")
    if len(tables) != 1 or where is None:
        return ()
    (table,) = tables
    equal = ((one.this, one.expression.unalias()) for one in where.find_all(exp.EQ))
    return tuple(
        (table, left.name, right.sql("postgres"))
        for left, right in equal
        if isinstance(left, exp.Column) and isinstance(right, exp.Literal)
    )


def _values(call: Operation) -> set[str]:
    found: set[str] = set()
    for one in call.statements:
        try:
            found |= {token.text for token in tokens(one.sql) if token.kind in ("string", "number")}
        except UnclearSQL:
            continue
    return found
