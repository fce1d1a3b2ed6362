"""What operations have read and written of rows, from an observed run: which versions of which columns.

What is written is seen in the rows that are committed after each step, in which nobody else ran: each change must be
one that a statement names. A change makes the next version of its row, whose lock is held until the transaction's end.
A read is of a version that was there, and has the values that it returned; where several are left it is not told.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from zephyr_lab.errors import REFUSALS
from zephyr_lab.hunt.by_key import Action, ByKey, Statements, Untold
from zephyr_lab.schedule.transcript import SQL_WIDTH, Event, EventKind, Failure, Glance, Result, Transcript, Value
from zephyr_lab.sql.classify import Kind, Statement, classify
from zephyr_lab.views.abridged import one_line
from zephyr_lab.wire.housekeeping import asks_about

SETUP = ""  # in place of an operation
_SILENT = {
    Kind.SAVEPOINT, Kind.RELEASE, Kind.SET_TRANSACTION, Kind.SET, Kind.RESET, Kind.SHOW, Kind.LOCK, Kind.DEALLOCATE,
}  # fmt: skip
_OF_ROWS = {"SELECT", "INSERT", "UPDATE", "DELETE"}

Row = tuple[str, tuple[str, ...]]  # table, primary key as text
Content = Mapping[str, Value]
Chain = tuple["Version", ...]


@dataclass(eq=False)
class Version:
    """Of a row: who made it, and which columns. `content` has the columns whose values are known; None without the row.

    `settled`: nothing more will be known of it.
    """

    by: str
    columns: frozenset[str]
    content: Content | None = None
    settled: bool = True

    def may_be(self, asked: ByKey, answer: Result) -> bool:
        """Whether a statement that got this answer may have read it."""
        if self.content is None:
            return not answer.rows
        if not answer.rows:
            has_all = all(_is(self.content.get(name), value) for name, value in asked.asks)
            return asked.is_conditional or not has_all
        shown = zip(asked.shows, answer.rows[0], strict=True)
        return all(_is(self.content.get(name, value), value) for name, value in asked.asks) and all(
            _may_show(self.content.get(name, value), value, loosely=name in asked.loosely) for name, value in shown
        )


@dataclass(eq=False)
class Op:
    """Of columns of a row: a read of the last of `versions`, or the append of `version`."""

    row: Row
    columns: frozenset[str]
    versions: Chain = ()
    version: Version | None = None


@dataclass
class Work:
    """What a transaction of the server's has done: `written` are its versions, `unplaced` what it did to rows whose key
    is the server's, and `own` what it has read of its own."""

    by: str = ""
    is_open: bool = False
    is_refused: bool = False
    ops: list[Op] = field(default_factory=list)
    written: dict[Row, list[Version]] = field(default_factory=dict)
    unplaced: list[Op] = field(default_factory=list)
    own: list[tuple[Op, ByKey, Result]] = field(default_factory=list)


class Telling:
    """What the operations of an observed run have read and written: `ops` by session. Raises Untold.

    `transactions` are the server's, by session, that have counted.
    """

    def __init__(self, transcript: Transcript, statements: Statements) -> None:
        self._statements, self.ops, self.transactions = statements, dict[str, list[Op]](), Counter[str]()
        self._work: dict[str, Work] = defaultdict(Work)
        self._tables = transcript.glances[0].tables
        self.chains: dict[Row, list[Version]] = {
            (table, key): [Version(SETUP, frozenset(content), content)]
            for table in statements.keys
            for key, content in self._contents(transcript.glances[0], table).items()
        }
        self._alone = set[str]()  # sessions that have asked something outside of a transaction
        self._committed: list[Work] = []  # in this step
        self._asked: list[tuple[str, ByKey]] = []
        for before, after in pairwise(transcript.glances):
            step = transcript.events[before.after : after.after]
            for event in step:
                self._take(event)
            self._check_order(step)
            self._settle(after)
        if any(not one.is_return for one in transcript.events[transcript.glances[-1].after :]):
            raise Untold("it goes on after its last observed step")
        for session in list(self._work):  # a connection that was closed
            self._end(session, commits=False)
        self._check_keys()

    def _contents(self, glance: Glance, table: str) -> dict[tuple[str, ...], Content]:
        if table not in glance.tables:
            raise Untold(f"table {table} could not be read between the steps")
        found = glance.tables[table]
        rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
        return {tuple(str(row[one]) for one in self._statements.keys[table]): row for row in rows}

    # -- what is asked

    def _take(self, event: Event) -> None:
        if event.is_return or event.kind is EventKind.WAITS:
            return
        text = one_line(event.sql, SQL_WIDTH)
        if event.sql.startswith("redis: "):
            raise Untold(f"it is about Redis, too: {text}")
        if event.kind not in (EventKind.COMPLETED, EventKind.FAILED) or event.notices:
            raise Untold(f"a fault befalls {event.session}")
        if event.failure:
            self._fail(event, event.failure, text)
            return
        statements = classify(event.whole or event.sql)
        answers = _answers(event, statements)
        for one in statements:
            if not self._begins_or_ends(event.session, one) and (asked := self._statements.of(one)):
                self._do(event.session, asked, answers[one], text)
        if not self._work[event.session].is_open:
            if self._work[event.session].ops:
                self._alone.add(event.session)
            self._end(event.session, commits=True)

    def _begins_or_ends(self, session: str, statement: Statement) -> bool:
        """Whether a statement is about the transaction or the session alone."""
        work = self._work[session]
        if statement.kind is Kind.BEGIN and not work.is_open:
            work.is_open = True
            self._alone.discard(session)
        elif statement.kind in (Kind.COMMIT, Kind.ROLLBACK) and not statement.chains:
            if not work.is_open and session in self._alone:
                raise Untold(f"it is not known which of the statements of {session} are one transaction")
            self._end(session, commits=statement.kind is Kind.COMMIT)
        else:
            return statement.kind in _SILENT
        return True

    def _fail(self, event: Event, failure: Failure, text: str) -> None:
        """A statement that was refused has told nothing of rows; nor has what came before it, which is rolled back."""
        if failure.sqlstate not in REFUSALS:
            raise Untold(f"a statement fails ({failure.text()}), and what it read is not known: {text}")
        work, kinds = self._work[event.session], classify(event.whole or event.sql)
        work.is_refused = True
        work.is_open = work.is_open or any(one.kind is Kind.BEGIN for one in kinds)
        if not work.is_open or any(one.ends for one in kinds):
            self._end(event.session, commits=False)

    def _do(self, session: str, asked: ByKey, answer: Result, text: str) -> None:
        work, row = self._work[session], (asked.table, asked.key)
        number = int(answer.tag.rpartition(" ")[2])
        shape = len(answer.rows), len(answer.columns)
        if number > 1 or (asked.action is Action.READ and shape != (number, len(asked.shows))):
            raise Untold(f"its answer was not seen, or is no row: {text}")
        self._asked.append((session, asked))
        if asked.key and not asked.is_exact and row not in self.chains:
            raise Untold(f"whether it names a row is not known: {text}")
        made = any(one.row[0] == asked.table for one in work.unplaced)
        if made and asked.key and self._chain(row)[-1].content is None and row not in work.written:
            raise Untold(f"whether it names a row that it has made is not known: {text}")
        if asked.action is Action.READ or not number:
            self._read(work, row, asked, answer, text)
            return
        before = (*self._chain(row), *work.written.get(row, ())) if asked.key else ()
        version = Version(session, asked.sets, None if asked.action is Action.DELETE else {}, settled=False)
        done = [Op(row, asked.finds | asked.takes, before), Op(row, asked.sets, version=version)]
        work.ops += done
        if asked.key:
            work.written.setdefault(row, []).append(version)
        else:
            work.unplaced += done

    def _read(self, work: Work, row: Row, asked: ByKey, answer: Result, text: str) -> None:
        """Of the one version, as far as its columns go, that may have been read."""
        chain = self._chain(row)
        columns = asked.finds | (asked.takes if asked.action is Action.READ else frozenset())
        if own := work.written.get(row):
            work.ops.append(Op(row, columns, (*chain, *own)))
            work.own.append((work.ops[-1], asked, answer))
            return
        able = [tuple(chain[: place + 1]) for place, one in enumerate(chain) if one.may_be(asked, answer)]
        if not able:
            raise Untold(f"no version of the row has what it returned: {text}")
        if any(of_column(some, one) != of_column(able[-1], one) for some in able for one in columns):
            raise Untold(f"which of several versions it read is not known: {text}")
        work.ops.append(Op(row, columns, able[-1]))

    def _chain(self, row: Row) -> list[Version]:
        return self.chains.setdefault(row, [Version(SETUP, frozenset())])

    # -- what has come of it

    def _end(self, session: str, *, commits: bool) -> None:
        """The session's transaction has ended. What a refused one has read, nobody acts upon."""
        work = self._work.pop(session, Work())
        own = {*(one for some in work.written.values() for one in some), *(one.version for one in work.unplaced)}
        ops = self.ops.setdefault(session, [])
        if work.is_refused:
            return
        work.by = session
        self.transactions[session] += bool(work.ops)
        if not commits:
            ops += (one for one in work.ops if own.isdisjoint((one.version or SETUP, *one.versions)))
            return
        for row, versions in work.written.items():
            self._chain(row).extend(versions)
        ops += work.ops
        self._committed.append(work)

    def _check_order(self, step: Sequence[Event]) -> None:
        """Of several that had waited, and go on in one step, it is not known who came first."""
        resumed = {one.session for one in step if one.resumed and one.kind is not EventKind.WAITS}
        if len(resumed) > 1 and any(work.ops for work in self._committed if work.by in resumed):
            raise Untold(f"in which order {' and '.join(sorted(resumed))} went on after a wait is not known")

    def _settle(self, glance: Glance) -> None:
        """The rows after a step: each that is not as it was has been written by it."""
        if glance.tables.keys() != self._tables.keys():
            raise Untold("a table is made, dropped, or locked against reading")
        for table, was in self._tables.items():
            if table in self._statements.keys:
                now = self._contents(glance, table)
                self._place(table, now)
                for row in [*self.chains]:
                    if row[0] == table:
                        self._know(row, now.get(row[1]))
            elif glance.tables[table] != was:
                raise Untold(f"table {table} has no primary key, and is written")
        for read, asked, answer in (one for work in self._committed for one in work.own):
            if not read.versions[-1].may_be(asked, answer):
                raise Untold(f"it did not read what it had written itself, in {asked.table}")
        self._committed.clear()

    def _place(self, table: str, now: Mapping[tuple[str, ...], Content]) -> None:
        """Finds the rows that were inserted with a key of the server's."""
        makers = [work for work in self._committed if any(one.row[0] == table for one in work.unplaced)]
        if not makers:
            return
        last = {key: self._chain((table, key))[-1] for key in now}
        appeared = sorted(key for key, one in last.items() if one.settled and one.content is None)
        ops = [one for one in makers[0].unplaced if one.row[0] == table]
        if len(makers) > 1 or len(ops) != 2 * len(appeared):
            raise Untold(f"which rows of {table} were inserted by whom is not known")
        for read, append, key in zip(ops[::2], ops[1::2], appeared, strict=True):
            assert append.version
            read.row = append.row = table, key
            read.versions = tuple(self._chain(read.row))
            self._chain(read.row).append(append.version)

    def _know(self, row: Row, now: Content | None) -> None:
        """What the versions of a row hold that this step has made: a column is seen if no later one of them sets it."""
        chain = self.chains[row]
        made = [one for one in chain if not one.settled]
        last = chain[-1 - len(made)].content or {}
        changed = {name for name in {**last, **(now or {})} if last.get(name) != (now or {}).get(name)}
        explained = frozenset[str]().union(*(one.columns for one in made))
        if not changed <= explained or (chain[-1].content is None) != (now is None):
            raise Untold(f"a row of {row[0]} is changed by something that no statement names, such as a trigger")
        for place, one in enumerate(made):
            later = frozenset[str]().union(*(other.columns for other in made[place + 1 :]))
            if one.content is not None:
                kept = {name: value for name, value in last.items() if name not in one.columns}
                one.content = kept | {name: (now or {})[name] for name in one.columns - later}
            last, one.settled = one.content or {}, True

    def _check_keys(self) -> None:
        """What the server has looked for, by foreign keys and unique columns, must not have changed."""
        moved, changed = defaultdict[str, set[str]](set), set[str]()
        for session, asked in self._asked:
            if asked.action in (Action.INSERT, Action.DELETE):
                moved[asked.table].add(session)
            if asked.action is not Action.READ:
                changed.add(asked.table)
        for _, asked in self._asked:
            if asked.others & (changed if asked.action is Action.DELETE else moved.keys()):
                raise Untold(f"{asked.table} has foreign keys to or from what is written as well")
            if asked.unique and len(moved[asked.table]) > 1:
                raise Untold(f"rows that several insert into {asked.table} must differ in {', '.join(asked.unique)}")


def _answers(event: Event, statements: Sequence[Statement]) -> dict[Statement, Result]:
    """What each statement about rows was answered; what a driver has asked about its connection may not be told."""
    told = [one for one in event.results if one.tag.partition(" ")[0] in _OF_ROWS]
    asked = [one for one in statements if one.kind in (Kind.QUERY, Kind.CHANGE)]
    if len(told) != len(asked):
        asked = [one for one in asked if not asks_about(one.text)]
    if len(told) != len(asked) or len(set(asked)) != len(asked):
        raise Untold(f"its answer was not seen: {one_line(event.sql, SQL_WIDTH)}")
    return dict(zip(asked, told, strict=True))


def _is(value: Value, text: str) -> bool:
    return value is not None and str(value) == text


def _may_show(value: Value, shown: Value, *, loosely: bool) -> bool:
    return value == shown or (loosely and isinstance(value, str) and isinstance(shown, str))


def of_column(versions: Chain, column: str) -> Chain:
    """Those that wrote a column."""
    return tuple(one for one in versions if column in one.columns)
