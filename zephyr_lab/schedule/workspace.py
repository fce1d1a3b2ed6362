"""The schema that schedules run in: created by a spec's setups, read after a run, restored for the next one.

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
GLANCE_MS = 100  # how long reading a table waits; a session that locks it is idle, and does not release it meanwhile

Rows = tuple[tuple[Value, ...], ...]


class Preparation(Protocol):
    """Further setup beside the setups of a spec. All methods raise SetupFailed."""

    @property
    def repeats(self) -> bool:
        """Whether `repeat` creates rows, as a setup does."""
        ...

    @property
    def is_rows_only(self) -> bool:
        """Whether `prepare` has created nothing but rows of the schema's tables."""
        ...

    def clear(self) -> None:
        """Called before the schema is recreated."""

    def prepare(self) -> None:
        """Called after the spec's setups have recreated the schema."""

    def repeat(self) -> bool:
        """Called before every schedule; returns whether more than rows may have changed."""
        ...


@dataclass(frozen=True)
class Left:
    """The state after a run: tables by name, the answer to a question about them, and whether rows were restored."""

    final: dict[str, Table]
    answer: Rows
    restored: bool


class Workspace:
    """The lab's own schema, and the connection that sets it up. `step_seconds` is how long a setup may take."""

    def __init__(self, database: Database, step_seconds: float) -> None:
        self.database, self.step_seconds = database, step_seconds
        self._reset: tuple[tuple[str, ...], RowReset] | None = None  # the setups that created it, and how to restore it
        self._first: tuple[tuple[str, ...], tuple[str, ...]] | None = None  # setups, and the rows they first created
        self._unfit: set[tuple[str, ...]] = set()  # setups whose rows cannot be restored
        self._others: weakref.WeakSet[psycopg.Connection] = weakref.WeakSet()
        self._within: Spec | None = None  # the bounds on an external server
        self._control = Channel("lab", database.open("lab", client_min_messages="error", lock_timeout="10s"))

    def prepare(self, spec: Spec, preparation: Preparation | None = None, *, recreate: bool = False) -> None:
        """The schema as `spec` and the preparation set it up. Raises SetupFailed, ServerLost.

        `recreate`: recreates it, without learning how to restore it, since the steps are not known yet.
        """
        if recreate:
            self.forget()
            self._recreate(spec, preparation)
        else:
            self._prepare_schema(spec, preparation)
        if preparation:
            if preparation.repeat():
                self.forget()
            if preparation.repeats:
                self._make_as_first(spec)

    def _prepare_schema(self, spec: Spec, preparation: Preparation | None) -> None:
        """The schema as `spec` sets it up, recreated unless the last run of the same spec has restored its rows."""
        undisturbed = all(connection.closed for connection in self._others)
        eligible = (
            self.database.is_embedded and undisturbed and changes_rows_only(spec) and spec.setups not in self._unfit
        )
        if self._reset and self._reset[0] == spec.setups and eligible:
            return
        self._reset = None
        self._recreate(spec, preparation)
        eligible = eligible and (preparation is None or preparation.is_rows_only)
        if eligible and self._control.status == pq.TransactionStatus.IDLE:
            if found := survey(self._ask):
                self._reset = spec.setups, found
            else:
                self._unfit.add(spec.setups)
                self._recreate(spec, preparation)  # the trial has left traces

    def _recreate(self, spec: Spec, preparation: Preparation | None) -> None:
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
        """Restores the first run's rows if a clock or chance gave other values this time."""
        if not (self.database.facts.is_superuser and self._control.status == pq.TransactionStatus.IDLE):
            return
        rows = contents(self._ask)
        if self._first is None or self._first[0] != spec.setups:
            self._first = spec.setups, rows
        elif self._first[1] and rows != self._first[1]:
            try:
                self._ask("; ".join(["begin", *self._first[1], "commit"]))
            except SetupFailed:  # a constraint that was added after them: the rows of this setup stay
                self._ask("rollback")
                self._first = spec.setups, ()

    def disturbed_by(self, connection: psycopg.Connection) -> None:
        """Another connection may change the schema until it is closed."""
        self._others.add(connection)
        self.forget()

    def forget(self) -> None:
        """Makes the next run recreate the schema: more than rows has changed in it."""
        self._reset = None

    def collect(self, question: str | None = None) -> Left:
        """The rows of every table after a run, sorted, and the answer to a question about them.

        Restores the rows for the next run if it is known how; else runs the teardown.
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
        """Runs the spec's teardown, if any. Raises SetupFailed."""
        if spec.teardown is not None:
            self.execute(spec.teardown, f"{spec.name}, teardown")

    def tables_now(self) -> dict[str, Table]:
        """The committed rows of every table; one that a session has locked against reading is left out."""
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
        """Raises BadInput for SQL that would leave the lab's schema on an external server."""
        if self.database.bounds and spec is not self._within:
            for whose, sql in spec.blocks():
                self.database.bounds.check(sql, whose)
            self._within = spec

    def _clean_control(self) -> None:
        """Reverts what an earlier spec's setup has left in our own session, and transactions that it prepared."""
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
        """Cancels a statement that an interrupt has left running."""
        if self._control.busy:
            self._control.cancel()

    def close(self) -> None:
        self._control.close()
