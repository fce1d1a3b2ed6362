"""Dependencies between the transactions of a transcript: ww, wr and rw, each with the two steps that cause it.

Adya's dependencies between committed transactions, as far as an observed transcript shows them. A change concerns the
rows that its WHERE matches before and after it, and those that are new when it is committed; a read concerns the rows
that its WHERE matches. Left out, rather than guessed: statements on several tables, a WHERE with more than comparisons
of columns with constants, rows for which the WHERE is unknown, and what an UPDATE itself reads.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from zephyr_lab.sql.classify import Kind, classify

_COMPARED: dict[type[exp.Expr], Callable[[Any, Any], bool]] = {
    exp.EQ: operator.eq,
    exp.NEQ: operator.ne,
    exp.LT: operator.lt,
    exp.LTE: operator.le,
    exp.GT: operator.gt,
    exp.GTE: operator.ge,
}

_PARSER = logging.getLogger("sqlglot")

Row = dict[str, Any]
Events = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Access:
    """One statement of a committed transaction: what it read or wrote, and when."""

    session: str
    transaction: int
    sent: int  # the event with which its step was sent
    done: int  # the event that completed it
    committed: int  # the event that ended its transaction
    seen: int  # for a read: the event at which its snapshot was taken,
    latest: int  # and the event from which the rows are that it waited for: at READ COMMITTED the newest ones
    table: str
    where: exp.Expr | None
    kind: str  # read, insert, change


def edges(
    transcript: dict[str, Any],
    events: Events,
    ends: Callable[[int], str | None],
    taken: Callable[[int], tuple[int, int]],
) -> list[dict[str, Any]]:
    """`from`, `to`, `kind`, `text`, the two `steps` (indices in `events`), `since`: after how many events it exists.

    `ends` is the end of the transaction that an event ended, `taken` the event at which its snapshot was taken, and
    from which the rows are that it waited for. One edge for each pair of transactions of different sessions, kind and
    table. Empty for a transcript that was not observed.
    """
    if not transcript.get("glances"):
        return []
    accesses = list(_accesses(events, ends, taken))
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in accesses:
        for other in accesses:
            if one.session == other.session or one.table != other.table:
                continue
            kind = _kind(transcript, one, other, accesses)
            key = (one.session, one.transaction, other.session, other.transaction, kind, one.table)
            if kind and key not in found:
                found[key] = {
                    "from": one.session,
                    "to": other.session,
                    "kind": kind,
                    "steps": [one.sent, other.sent],
                    "since": max(one.committed, other.committed) + 1,
                    "text": _words(kind, one, other),
                }
    return list(found.values())


def _words(kind: str, one: Access, other: Access) -> str:
    if kind == "rw":
        return f"{one.session} read {one.table} and did not see what {other.session} wrote"
    if kind == "wr":
        return f"{other.session} read {one.table} with what {one.session} wrote"
    return f"{other.session} wrote {one.table} after {one.session}, the same row"


def _kind(transcript: dict[str, Any], one: Access, other: Access, accesses: Sequence[Access]) -> str | None:
    """The direct dependency of `other` on `one`, if any."""
    if one.kind == other.kind == "read":
        return None
    if one.kind == "read":
        since = _since(one, other)
        later = [] if other.kind == "insert" else _changes(accesses, one.table, since - 1, other.committed)
        return "rw" if since <= other.committed and _concerns(transcript, one, other, later) else None
    if other.kind == "read":
        since = _since(other, one)
        later = _changes(accesses, one.table, one.committed, since)
        return "wr" if since > one.committed and _concerns(transcript, other, one, later) else None
    if one.committed >= other.committed or other.kind == "insert":
        return None
    left = [row for row in _table(transcript, one, after=True) if _touched(transcript, one, row)]
    before = _table(transcript, other, after=False)
    return "ww" if any(row in left and _holds(other.where, row) for row in before) else None


def _since(read: Access, write: Access) -> int:
    return read.seen if write.kind == "insert" else read.latest


def _changes(accesses: Sequence[Access], table: str, after: int, before: int) -> list[Access]:
    """What was changed between two events: a version that it replaced was neither read later, nor read and replaced."""
    return [one for one in accesses if one.kind == "change" and one.table == table and after < one.committed < before]


def _concerns(transcript: dict[str, Any], read: Access, write: Access, later: Sequence[Access]) -> bool:
    """Whether a read would match a row that a change has created or removed, and that no `later` one has changed."""
    rows = [row for row in _table(transcript, write, after=True) if _touched(transcript, write, row)]
    if write.kind != "insert":
        rows += [row for row in _table(transcript, write, after=False) if _holds(write.where, row)]
    return any(_holds(read.where, row) for row in rows if not any(_holds(one.where, row) for one in later))


def _touched(transcript: dict[str, Any], write: Access, row: Row) -> bool:
    """Whether a row that exists after a change was created by it."""
    new = row not in _table(transcript, write, after=False)
    return new or (write.kind == "change" and bool(_holds(write.where, row)))


def _table(transcript: dict[str, Any], access: Access, *, after: bool) -> list[Row]:
    """The committed rows just before, or just after, the commit of an access's transaction."""
    known: dict[str, Any] = {"columns": [], "rows": []}
    for glance in transcript["glances"]:
        known = glance["tables"].get(access.table, known)
        later = glance["after"] > access.committed
        if later if after else _next_after(transcript, glance["after"]) > access.committed:
            break
    return [dict(zip(known["columns"], row, strict=True)) for row in known["rows"]]


def _next_after(transcript: dict[str, Any], after: int) -> int:
    return min((one["after"] for one in transcript["glances"] if one["after"] > after), default=after + 1)


def _accesses(
    events: Events, ends: Callable[[int], str | None], taken: Callable[[int], tuple[int, int]]
) -> Iterator[Access]:
    over = {(event["session"], event["transaction"]): at for at, event in enumerate(events) if ends(at) == "committed"}
    for at, event in enumerate(events):
        committed = over.get((event["session"], event["transaction"]))
        if event["event"] != "completed" or committed is None:
            continue
        of_step = [
            place
            for place in range(at + 1)
            if all(events[place][name] == event[name] for name in ("session", "transaction", "step"))
        ]
        seen, latest = taken(at)
        for table, where, kind in statements(event):
            yield Access(
                event["session"], event["transaction"], of_step[0], at, committed, seen, latest, table, where, kind
            )


def statements(event: dict[str, Any]) -> Iterator[tuple[str, exp.Expr | None, str]]:
    """Table, WHERE and kind of the understood statements in a step's SQL, without changes of no row."""
    said = _PARSER.level
    _PARSER.setLevel(logging.ERROR)  # it warns of statements that it cannot parse, which do not matter here
    try:
        parsed = [one for one in sqlglot.parse(without_begin(event["sql"]), dialect="postgres") if one]
    except SqlglotError:
        return
    finally:
        _PARSER.setLevel(said)
    tags = [result["tag"] for result in event.get("results", [])][-len(parsed) :]
    for number, one in enumerate(parsed):
        none = len(tags) == len(parsed) and tags[number].endswith(" 0")
        if isinstance(one, exp.Insert):
            if one.args.get("conflict"):
                continue
            if isinstance(one.expression, exp.Select):
                yield from _simple(one.expression, "read")
            if not none:
                yield _target(one), None, "insert"
        elif isinstance(one, exp.Select):
            yield from _simple(one, "read")
        elif isinstance(one, (exp.Update, exp.Delete)) and not none:
            yield from _simple(one, "change")


def _target(insert: exp.Insert) -> str:
    table = insert.find(exp.Table)
    assert table is not None
    return table.name


def without_begin(sql: str) -> str:
    """A message without the BEGIN with which it begins, whose options are not all known to sqlglot."""
    found = classify(sql)
    return ";\n".join(one.text for one in (found[1:] if found and found[0].kind is Kind.BEGIN else found))


def _simple(one: exp.Expr, kind: str) -> Iterator[tuple[str, exp.Expr | None, str]]:
    tables = [table.name for table in one.find_all(exp.Table) if table.name]
    clause = one.args.get("where")
    alone = len(tables) == 1 and len(list(one.find_all(exp.Select))) == isinstance(one, exp.Select)
    if alone and _is_plain(clause and clause.this):
        yield tables[0], clause and clause.this, kind


def _is_plain(where: exp.Expr | None) -> bool:
    """Whether `_holds` understands it."""
    if where is None or where.find(exp.Column) is None:
        return True
    if isinstance(where, (exp.And, exp.Or)):
        return _is_plain(where.left) and _is_plain(where.right)
    if isinstance(where, (exp.Paren, exp.Not)):
        return _is_plain(where.this)
    if isinstance(where, exp.Column):
        return True
    return type(where) in _COMPARED and isinstance(where.this, exp.Column) and _constant(where.expression) is not None


def _constant(node: exp.Expr) -> str | Decimal | None:
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal):  # as drivers write them
        same = exp.DataType.TEXT_TYPES if node.this.is_string else exp.DataType.INTEGER_TYPES
        node = node.this if node.to.is_type(*same) else node
    if not isinstance(node, exp.Literal):
        return None
    return str(node.this) if node.is_string else _number(node.this)


def _number(value: Any) -> Decimal | None:
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return None if number.is_nan() else number  # NaN is ordered in PostgreSQL, and not in Python


def _holds(where: exp.Expr | None, row: Row) -> bool | None:
    """Whether a row satisfies a plain WHERE, in SQL's three-valued logic: None is unknown.

    A term without columns, such as a call, counts as true.
    """
    if where is None or where.find(exp.Column) is None:
        return True
    if isinstance(where, (exp.And, exp.Or)):
        both = {_holds(where.left, row), _holds(where.right, row)}
        decides = isinstance(where, exp.Or)
        return decides if decides in both else None if None in both else not decides
    if isinstance(where, exp.Paren):
        return _holds(where.this, row)
    if isinstance(where, exp.Not):
        inner = _holds(where.this, row)
        return None if inner is None else not inner
    if isinstance(where, exp.Column):
        value = row.get(where.name)
        return value if isinstance(value, bool) else None
    return _compared(where, row.get(where.this.name))


def _compared(where: exp.Expr, value: Any) -> bool | None:
    """Unknown for NULL, and if the result depends on the column's type and the values do not show the type.

    A number in the statement implies a numeric column. A string takes the column's type, and a column that is neither
    an integer nor boolean is given as text: `'10' < '9'` holds for text only.
    """
    constant = _constant(where.expression)
    if value is None or isinstance(value, bool):
        return None
    holds = _COMPARED[type(where)]
    answers = set()
    if isinstance(value, str) and isinstance(constant, str):
        answers.add(holds(value, constant))
        if isinstance(where.expression, exp.Cast):  # to text
            return answers.pop()
    number, limit = _number(value), _number(constant)
    if number is not None and limit is not None:
        answers.add(holds(number, limit))
    return answers.pop() if len(answers) == 1 else None
