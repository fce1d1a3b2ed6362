"""Carries out schedules on a real server: a fresh schema, the sessions' connections, an `Execution` for each run."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable

import psycopg

from zephyr_lab.errors import BadInput, ScheduleError, ServerLost, SetupFailed
from zephyr_lab.schedule.channel import Channel
from zephyr_lab.schedule.execution import Execution
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Schedule, Spec
from zephyr_lab.schedule.transcript import Result, Table, Transcript
from zephyr_lab.schedule.waiting import Observer
from zephyr_lab.servers.database import Database
from zephyr_lab.servers.janitor import PREPARED_IN_SCHEMA

STEP_SECONDS = 30.0

# deadlock_timeout of sessions that are not to be a deadlock's victim. Two waits rarely begin further apart than the
# distance, so of sessions that wait for each other the first one of the spec is aborted, unless somebody impatient is
# among them.
PATIENCE_MS, DISTANCE_MS = 1_000, 300
CHOSEN_VICTIM_MS, SPARED_MS = 500, 20_000

_TABLES = """
select quote_ident(relname), relname from pg_class
where relnamespace = '{schema}'::regnamespace and relkind in ('r', 'p') and not relispartition
order by relname collate "C" """


class Runner:
    """Runs schedules on one database, one at a time; keeps the sessions' connections from run to run.

    Not for use from two threads at once. Raises BadInput where `step_seconds` is no positive number of seconds.
    """

    def __init__(self, database: Database, step_seconds: float = STEP_SECONDS) -> None:
        if not (math.isfinite(step_seconds) and step_seconds > 0):
            raise BadInput(f"a step may take a positive number of seconds, not {step_seconds:g}")
        self.database = database
        self.step_seconds = step_seconds
        self._channels: dict[str, Channel] = {}
        self._may_be_prepared = False
        with contextlib.ExitStack() as opened:
            self.control = Channel("lab", database.open("lab", client_min_messages="error", lock_timeout="10s"))
            opened.callback(self.control.close)
            observing = database.open("observer")
            opened.callback(observing.finish)
            self.observer = Observer(observing)
            self._opened = opened.pop_all()

    def run(
        self, spec: Spec, schedule: Schedule, isolation: IsolationLevel, *, victim: str | None = None
    ) -> Transcript:
        """Sets up, carries out the schedule, tears down. `victim` is the session that is to lose a deadlock.

        Raises ScheduleError (a step for a waiting session), SetupFailed, StepTimeout, ServerLost.
        """
        execution = self.begin(spec, isolation, victim=victim)
        try:
            for name in schedule.steps:
                execution.take(spec.steps[name])
            return execution.finish()
        except BaseException:
            self.abandon()
            raise

    def begin(self, spec: Spec, isolation: IsolationLevel, *, victim: str | None = None) -> Execution:
        """Sets up a fresh schema and the sessions; steps are then taken one by one."""
        if victim is not None and victim not in spec.session_names:
            raise ScheduleError(f"the victim {victim!r} is no session of {spec.name} ({', '.join(spec.session_names)})")
        schema = self.database.schema
        patience = self._patience(spec, victim)
        try:
            self._clean_control()
            self._may_be_prepared = spec.mentions("prepare transaction")
            self.control_execute(f"drop schema if exists {schema} cascade; create schema {schema}", "a fresh schema")
            for number, block in enumerate(spec.setups, start=1):
                self.control_execute(block, f"{spec.name}, setup block {number}", self.step_seconds)
            channels = {name: self._channel(name, isolation, patience) for name in spec.session_names}
            for session in spec.sessions:
                if session.setup is not None:
                    what = f"{spec.name}, setup of session {session.name}"
                    channels[session.name].execute(session.setup, what, self.step_seconds)
        except BaseException:
            self.abandon()
            raise
        return Execution(self, spec, isolation, channels, patience, victim)

    def _patience(self, spec: Spec, victim: str | None) -> dict[str, int] | None:
        """Each session's deadlock_timeout in milliseconds; None where the role may not set it, or the spec does."""
        if not self.database.facts.may_set_deadlock_timeout or spec.mentions("deadlock_timeout"):
            return None
        if victim:
            return {name: CHOSEN_VICTIM_MS if name == victim else SPARED_MS for name in spec.session_names}
        return {name: PATIENCE_MS + place * DISTANCE_MS for place, name in enumerate(spec.session_names)}

    def _clean_control(self) -> None:
        """Undoes whatever an earlier spec's setup has left in our own session, and transactions it has prepared."""
        self.control_execute("rollback", "a fresh session")
        self.control_execute("discard all", "a fresh session")
        if self._may_be_prepared:
            left = self.control_execute(PREPARED_IN_SCHEMA.format(schema=self.database.schema), "prepared transactions")
            for (statement,) in left[0].rows:
                self.control_execute(str(statement), "prepared transactions")

    def control_execute(self, sql: str, what: str, seconds: float = STEP_SECONDS) -> list[Result]:
        """Runs SQL outside of all sessions. Raises SetupFailed, ServerLost."""
        if self.control.lost:
            raise ServerLost(f"{what}: the server has closed the lab's connection; start a new Lab")
        try:
            return self.control.execute(sql, what, seconds)
        except SetupFailed as error:
            if self.control.lost:
                raise ServerLost(f"{what}: the server closed the lab's connection; start a new Lab") from error
            raise

    def tables(self) -> dict[str, Table]:
        """Every table of the lab's schema with its rows, sorted; a partitioned table is one table."""
        found = {}
        for quoted, name in self.control_execute(_TABLES.format(schema=self.database.schema), "tables")[0].rows:
            rows = f'select * from {quoted} as t order by t::text collate "C"'
            result = self.control_execute(rows, f"rows of {name}")[0]
            found[str(name)] = Table(result.columns, result.rows)
        return found

    def _channel(self, name: str, isolation: IsolationLevel, patience: dict[str, int] | None) -> Channel:
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = Channel(name, self.database.open(name))
        else:
            channel.execute("discard all", f"session {name}")
        settings = f"set default_transaction_isolation = '{isolation}'"
        if patience:
            settings += f"; set deadlock_timeout = '{patience[name]}ms'"
        channel.execute(settings, f"session {name}")
        return channel

    def abandon(self) -> None:
        """Ends all sessions, whatever they are doing, and rolls their transactions back."""
        for channel in self._channels.values():
            with contextlib.suppress(psycopg.Error):
                channel.cancel()
            channel.close()
        self._channels.clear()
        if self.control.busy:
            self.control.cancel()

    def release(self, names: Iterable[str]) -> None:
        """Forgets connections that cannot be used again."""
        for name in names:
            self._channels.pop(name).close()

    def close(self) -> None:
        self.abandon()
        with contextlib.suppress(psycopg.Error):
            self._opened.close()
