"""A race as a history, for `zephyr-lab check`, Elle, or a colleague: Jepsen's operations of list-append, in EDN.

A register is a column of a row, and a list of the versions that it has had: who writes it appends one, and who reads it
has read all up to one. So the order of versions is told, and equal values are told apart. An operation is one
transaction, as the hunt judges it, also where it has had several of the server's; one that was refused is left out. All
of them begin at once. The first transaction is the setup, and the last one reads what is left.

A history may only say what is known, and must say all of it: else it would be valid by omission. `by_key` and `telling`
raise Untold for what they cannot tell. The checker then reads what was written: unless it finds that serializability is
violated, as the hunt has found, something is missing; and if it finds that what the server promises is, something is
wrong. Then the file is not kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zephyr_lab import check
from zephyr_lab.explore.recording import PROMISED
from zephyr_lab.hunt.by_key import Statements, Untold
from zephyr_lab.hunt.telling import SETUP, Chain, Op, Row, Telling, Version, of_column
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.transcript import Result, Transcript
from zephyr_lab.sql.classify import mentions_level

LEVEL = "serializable"
SUFFIX = ".edn"
_SETUP = "setup"  # no operation, though one may be called so
_WIDTH = 40  # of a value
Names = Mapping[tuple[Row, str], Mapping[Version, str]]  # of the versions of each column of a row, in their order


def write(path: Path, transcript: Transcript, execute: Callable[[str], list[Result]]) -> str:
    """Writes the history of an observed run, and says what the checker finds in it. `execute` asks the run's schema.

    Raises Untold where there is none to be written, OSError.
    """
    if not transcript.glances:
        raise Untold("its schedule could not be run once more, observed")
    columns = {name: one.columns for name, one in transcript.glances[0].tables.items()}
    told = Telling(transcript, Statements.ask(execute, columns))
    lines = _lines(told, transcript)
    unchecked = path.with_name(f"{path.name}.unchecked")
    try:
        unchecked.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        history = check.read(unchecked)
        report = check.check(history, LEVEL)
        if report.valid is not False:
            raise Untold(
                f"what they read and wrote of rows is {report.said} at {LEVEL}, so the race is in something else"
            )
        promised = _promised(told, transcript)
        if promised and check.check(history, promised).valid is False:
            raise Untold(
                f"what they read and wrote of rows is not {promised}, which the server promises: it is not as it seems"
            )
        unchecked.replace(path)
    finally:
        unchecked.unlink(missing_ok=True)
    return f"not valid at {LEVEL}: {', '.join(report.names)}"


def _promised(told: Telling, transcript: Transcript) -> str:
    """The checker's level that the server promises; '' where an operation has had several transactions."""
    if max(told.transactions.values(), default=0) > 1:
        return ""
    own = any(mentions_level(event.whole or event.sql) for event in transcript.events)
    return PROMISED[IsolationLevel.READ_COMMITTED if own else IsolationLevel.of(transcript.isolation)]


def _lines(told: Telling, transcript: Transcript) -> Iterator[str]:
    """The operations, as events: an invocation, whose reads are not known yet, and a completion."""
    written = {(op.row, column) for ops in told.ops.values() for op in ops if op.version for column in op.columns}
    names = {(row, column): _named(tuple(told.chains[row]), column) for row, column in sorted(written)}
    set_up: list[list[Any]] = [
        ["append", _key(one), name] for one, some in names.items() for at, name in some.items() if at.by == SETUP
    ]
    left: list[list[Any]] = [["r", _key(one), list(some.values())] for one, some in names.items()]
    last = {event.session: at for at, event in enumerate(transcript.events) if not event.is_return}
    asked = {
        session: [one for op in told.ops[session] for one in _ops(op, names)]
        for session in sorted(told.ops, key=lambda one: last[one])
    }
    process = {session: number for number, session in enumerate([SETUP, *transcript.sessions])}
    events = [("invoke", SETUP, set_up), ("ok", SETUP, set_up)]
    events += [(kind, session, ops) for kind in ("invoke", "ok") for session, ops in asked.items()]
    events += [("invoke", SETUP, left), ("ok", SETUP, left)]
    for index, (kind, session, ops) in enumerate(events):
        known = [[*op[:2], None] if (kind, op[0]) == ("invoke", "r") else op for op in ops]
        yield (
            f"{{:index {index}, :time {index}, :process {process[session]}, :type :{kind}, :f :txn, "
            f":value [{' '.join(map(_op_text, known))}], :operation {_text(session or _SETUP)}}}"
        )


def _ops(op: Op, names: Names) -> Iterator[list[Any]]:
    """What it does to columns that somebody writes; the others depend on nothing."""
    for column in sorted(op.columns):
        if some := names.get((op.row, column)):
            if op.version:
                yield ["append", _key((op.row, column)), some[op.version]]
            else:
                yield ["r", _key((op.row, column)), [some[one] for one in of_column(op.versions, column)]]


def _key(register: tuple[Row, str]) -> str:
    (table, key), column = register
    return "/".join(one.replace("%", "%25").replace("/", "%2F") for one in (table, *key, column))


def _named(chain: Chain, column: str) -> dict[Version, str]:
    """A name for each version of a column: `book: 0`; `book: ?` of one that was written over before it was seen."""
    named: dict[Version, str] = {}
    for one in of_column(chain, column):
        content = {column: "deleted"} if one.content is None else {name: _text(it) for name, it in one.content.items()}
        text = f"{one.by or _SETUP}: {content.get(column, '?')}"
        text = text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."
        again = sum(other == text or other.startswith(f"{text} again ") for other in named.values())
        named[one] = text + f" again {again}" * bool(again)
    return named


def _op_text(op: Sequence[Any]) -> str:
    kind, key, value = op
    said = f"[{' '.join(map(_text, value))}]" if isinstance(value, list) else "nil" if value is None else _text(value)
    return f"[:{kind} {_text(key)} {said}]"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
