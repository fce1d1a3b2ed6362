"""The schema that schedules run in: made as a spec's setups say, looked at when a run is over, put back for the next.

All of it goes over one connection of the lab's own, outside of all sessions.
"""

from __future__ import annotations

import contextlib
import weakref
from dataclasses import dataclass
from typing import Protocol

import psycopg
from psycopg import pq

from zephyr_lab.errors import ServerLost, SetupFailed
from zephyr_lab.schedule.channel import Channel
from zephyr_lab.schedule.model import Spec
from zephyr_lab.schedule.reset import RowReset, changes_rows_only, contents, may_differ, survey, tables_of
from zephyr_lab.schedule.transcript import Result, Table, Value
from zephyr_lab.servers.database import Database
from zephyr_lab.servers.janitor import PREPARED_IN_SCHEMA

STEP_SECONDS = 30.0
GLANCE_MS = 100  # how long a look at a table waits; whoever locks it is at rest, and will not let go meanwhile

Rows = tuple[tuple[Value, ...], ...]


class Preparation(Protocol):
    """What goes on beside the setups of a spec, where these are not all. All of it raises SetupFailed."""

    @property
    def repeats(self) -> bool:
        """Whether `repeat` makes rows, as a setup does."""
        ...

    @property
    def is_rows_only(self) -> bool:
        """Whether rows of the schema's tables are all that `prepare` has made."""
        ...

    def clear(self) -> None:
        """Called before the schema is made anew."""

    def prepare(self) -> None:
        """Goes on with a schema that the spec's setups have just made."""

    def repeat(self) -> bool:
        """Called before every schedule; whether more than rows may have changed."""
        ...


@dataclass(frozen=True)
class Left:
    """What a run has left: the tables by name, the answer to a question about them, and whether rows were put back."""

    final: dict[str, Table]
    answer: Rows
    restored: bool


class Workspace:
    """A schema of the lab's own, and the connection that sets it up. `step_seconds` is how long a setup may take."""

    def __init__(self, database: Database, step_seconds: float) -> None:
        self.database, self.step_seconds = database, step_seconds
        self._reset: tuple[tuple[str, ...], RowReset] | None = None  # the setups that made it, and the way back to it
        self._first: tuple[tuple[str, ...], tuple[str, ...]] | None = None  # setups, and the rows they first made
        self._unfit: set[tuple[str, ...]] = set()  # setups whose rows cannot be put back
        self._others: weakref.WeakSet[psycopg.Connection] = weakref.WeakSet()
        self._within: Spec | None = None  # the bounds of a server that is somebody else's
        self._control = Channel("lab", database.open("lab", client_min_messages="error", lock_timeout="10s"))

    def prepare(self, spec: Spec, preparation: Preparation | None = None, *, anew: bool = False) -> None:
        """The schema as `spec` and the preparation set it up. Raises SetupFailed, ServerLost.

        `anew`: it is made anew in any case, and once only, since nobody knows yet what the steps will be.
        """
        if anew:
            self.forget()
            self._make_anew(spec, preparation)
        else:
            self._prepare_schema(spec, preparation)
        if preparation:
            if preparation.repeat():
                self.forget()
            if preparation.repeats:
                self._make_as_first(spec)

    def _prepare_schema(self, spec: Spec, preparation: Preparation | None) -> None:
        """The schema as `spec` sets it up, made anew unless the last run of the same has put its rows back."""
        undisturbed = all(connection.closed for connection in self._others)
        eligible = (
            self.database.is_embedded and undisturbed and changes_rows_only(spec) and spec.setups not in self._unfit
        )
        if self._reset and self._reset[0] == spec.setups and eligible:
            return
        self._reset = None
        self._make_anew(spec, preparation)
        eligible = eligible and (preparation is None or preparation.is_rows_only)
        if eligible and self._control.status == pq.TransactionStatus.IDLE:
            if found := survey(self._ask):
                self._reset = spec.setups, found
            else:
                self._unfit.add(spec.setups)
                self._make_anew(spec, preparation)  # what was tried has left traces

    def _make_anew(self, spec: Spec, preparation: Preparation | None) -> None:
        schema = self.database.schema
        self._clean_control()
        if preparation:
            preparation.clear()
        self.execute(f"drop schema if exists {schema} cascade; create schema {schema}", "a fresh schema")
        for number, block in enumerate(spec.setups, start=1):
            self.execute(block, f"{spec.name}, setup block {number}", self.step_seconds)
        if preparation:
            preparation.prepare()
        if not preparation.repeats if preparation else may_differ(spec.setups):
            self._make_as_first(spec)

    def _make_as_first(self, spec: Spec) -> None:
        """Rows for which a clock or chance had other values than the first time become what they were then."""
        if not (self.database.facts.is_superuser and self._control.status == pq.TransactionStatus.IDLE):
            return
        rows = contents(self._ask)
        if self._first is None or self._first[0] != spec.setups:
            self._first = spec.setups, rows
        elif self._first[1] and rows != self._first[1]:
            try:
                self._ask("; ".join(["begin", *self._first[1], "commit"]))
            except SetupFailed:  # a constraint that came after them: what this setup has made stays
                self._ask("rollback")
                self._first = spec.setups, ()

    def disturbed_by(self, connection: psycopg.Connection) -> None:
        """Somebody else may change the schema until that connection is closed."""
        self._others.add(connection)
        self.forget()

    def forget(self) -> None:
        """Has the schema made anew for the next run: more than rows has changed in it."""
        self._reset = None

    def collect(self, question: str | None = None) -> Left:
        """What a run has left in every table, rows sorted, and the answer to a question about them.

        Rows are put back for the next run where that is known how; else the run's teardown follows.
        """
        reset, self._reset = self._reset, None
        if question and self.database.bounds:
            self.database.bounds.check(question, "the invariant")
        asked = self.execute(question, "invariant") if question else []
        answer = tuple(row for result in asked for row in result.rows)
        tables = reset[1].tables if reset else tables_of(self._ask)
        reads = [f'select * from {quoted} as t order by t::text collate "C"' for _, quoted in tables]
        results = self._ask("; ".join(reads + ([reset[1].undo] if reset else []))) if tables else []
        if reset and reset[1].is_as_new(results):
            self._reset = reset
        found = zip(tables, results, strict=False)
        return Left({name: Table(one.columns, one.rows) for (name, _), one in found}, answer, bool(reset))

    def tear_down(self, spec: Spec) -> None:
        """Runs the spec's teardown, where it has one. Raises SetupFailed."""
        if spec.teardown is not None:
            self.execute(spec.teardown, f"{spec.name}, teardown")

    def tables_now(self) -> dict[str, Table]:
        """What is committed in every table; one that a session has locked against reading is left out."""
        found = {}
        for name, quoted in tables_of(self._ask):
            read = f'select * from {quoted} as t order by t::text collate "C"'
            with contextlib.suppress(SetupFailed):
                _, result = self._ask(f"set lock_timeout = '{GLANCE_MS}ms'; {read}")
                found[name] = Table(result.columns, result.rows)
            self._ask("reset lock_timeout")
        return found

    def _ask(self, sql: str) -> list[Result]:
        return self.execute(sql, "rows of the tables")

    def check_bounds(self, spec: Spec) -> None:
        """Raises BadInput for SQL that would leave the lab's schema on a server of somebody else's."""
        if self.database.bounds and spec is not self._within:
            for whose, sql in spec.blocks():
                self.database.bounds.check(sql, whose)
            self._within = spec

    def _clean_control(self) -> None:
        """Undoes whatever an earlier spec's setup has left in our own session, and transactions it has prepared."""
        self.execute("rollback", "a fresh session")
        self.execute("discard all", "a fresh session")
        left = self.execute(PREPARED_IN_SCHEMA.format(schema=self.database.schema), "prepared transactions")
        for (statement,) in left[0].rows:
            self.execute(str(statement), "prepared transactions")

    def execute(self, sql: str, what: str, seconds: float = STEP_SECONDS) -> list[Result]:
        """Runs SQL outside of all sessions. Raises SetupFailed, ServerLost."""
        if self._control.lost:
            raise ServerLost(f"{what}: the server has closed the lab's connection; start a new Lab")
        try:
            return self._control.execute(sql, what, seconds)
        except SetupFailed as error:
            if self._control.lost:
                raise ServerLost(f"{what}: the server closed the lab's connection; start a new Lab") from error
            raise

    def cancel(self) -> None:
        """Cancels what an interrupt has left running."""
        if self._control.busy:
            self._control.cancel()

    def close(self) -> None:
        self._control.close()
