"""Carries out schedules on a real server: a fresh schema, the sessions' connections, an `Execution` for each run."""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import psycopg
from psycopg import pq

from zephyr_lab.errors import BadInput, ScheduleError, ServerLost, SetupFailed
from zephyr_lab.schedule.channel import Channel
from zephyr_lab.schedule.execution import Execution
from zephyr_lab.schedule.ground import Ground, changes_rows_only, contents, may_differ, survey, tables_of
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Schedule, Spec
from zephyr_lab.schedule.transcript import Result, Table, Transcript, Value
from zephyr_lab.schedule.waiting import Observer
from zephyr_lab.servers.database import Database
from zephyr_lab.servers.janitor import PREPARED_IN_SCHEMA

STEP_SECONDS = 30.0
GLANCE_MS = 100  # how long a look at a table waits; whoever locks it is at rest, and will not let go meanwhile

IN_TRANSACTION = (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)

Settings = dict[str, str]
Rows = tuple[tuple[Value, ...], ...]

# deadlock_timeout of sessions that are not to be a deadlock's victim. Two waits rarely begin further apart than the
# distance, so of sessions that wait for each other the first one of the spec is aborted, unless somebody impatient is
# among them.
PATIENCE_MS, DISTANCE_MS = 1_000, 300
CHOSEN_VICTIM_MS, SPARED_MS = 500, 20_000


class Preparation(Protocol):
    """What goes on beside the setups of a spec, where these are not all. All of it raises SetupFailed."""

    @property
    def repeats(self) -> bool:
        """Whether `repeat` makes rows, as a setup does."""

    @property
    def is_rows_only(self) -> bool:
        """Whether rows of the schema's tables are all that `prepare` has made."""

    def clear(self) -> None:
        """Called before the schema is made anew."""

    def prepare(self) -> None:
        """Goes on with a schema that the spec's setups have just made."""

    def repeat(self) -> bool:
        """Called before every schedule; whether more than rows may have changed."""


class Runner:
    """Runs schedules on one database, one at a time; keeps the sessions' connections from run to run.

    Not for use from two threads at once. Raises BadInput where `step_seconds` is no positive number of seconds.
    """

    def __init__(self, database: Database, step_seconds: float = STEP_SECONDS) -> None:
        self.database = database
        self.step_seconds = _checked(step_seconds)
        self._channels: dict[str, tuple[Channel, Settings]] = {}  # with what each connection was opened with
        self._ground: tuple[tuple[str, ...], Ground] | None = None  # the setups that made it, and the way back to it
        self._first: tuple[tuple[str, ...], tuple[str, ...]] | None = None  # setups, and the rows they first made
        self._unfit: set[tuple[str, ...]] = set()  # setups whose rows cannot be put back
        self.others: weakref.WeakSet[psycopg.Connection] = weakref.WeakSet()
        self.begun = 0  # executions up to now
        self._held = False
        self._within: Spec | None = None  # the bounds of a server that is somebody else's
        self._connect()

    def _connect(self) -> None:
        with contextlib.ExitStack() as opened:
            self.control = Channel("lab", self.database.open("lab", client_min_messages="error", lock_timeout="10s"))
            opened.callback(self.control.close)
            observing = self.database.open("observer")
            opened.callback(observing.finish)
            self.observer = Observer(observing)
            self._opened = opened.pop_all()

    def run(
        self,
        spec: Spec,
        schedule: Schedule,
        isolation: IsolationLevel,
        *,
        victim: str | None = None,
        observed: bool = False,
    ) -> Transcript:
        """Sets up, carries out the schedule, tears down. `victim` is the session that is to lose a deadlock.

        `observed`: the transcript also tells what was committed after each step.

        Raises ScheduleError (a step for a waiting session), SetupFailed, StepTimeout, ServerLost.
        """
        execution = self.begin(spec, isolation, victim=victim)
        try:
            if observed:
                execution.observe()
            for name in schedule.steps:
                execution.take(spec.steps[name])
            return execution.finish()
        except BaseException:
            self.abandon()
            raise

    @contextlib.contextmanager
    def steps_within(self, seconds: float | None) -> Iterator[None]:
        """While it lasts a step may take so many seconds; None leaves it as it is. Raises BadInput."""
        before = self.step_seconds
        self.step_seconds = before if seconds is None else _checked(seconds)
        try:
            yield
        finally:
            self.step_seconds = before

    @contextlib.contextmanager
    def hold(self, spec: Spec, schedule: Schedule, isolation: IsolationLevel) -> Iterator[Execution]:
        """Carries out a schedule, and keeps its sessions as they are, open or waiting, until the block ends.

        Raises what `run` raises; meanwhile nothing else can be run.
        """
        execution = self.begin(spec, isolation)
        try:
            for name in schedule.steps:
                execution.take(spec.steps[name])
            self._held = True
            yield execution
            execution.finish()
        except BaseException:
            self.abandon()
            raise
        finally:
            self._held = False

    def begin(
        self,
        spec: Spec,
        isolation: IsolationLevel,
        *,
        victim: str | None = None,
        preparation: Preparation | None = None,
        anew: bool = False,
    ) -> Execution:
        """Sets up a fresh schema and the sessions; steps are then taken one by one.

        `anew`: the schema is made anew in any case, and once only, since nobody knows yet what the steps will be.
        """
        if self._held:
            raise ScheduleError("a schedule is held: leave its `with` block before another one is run")
        if victim is not None and victim not in spec.session_names:
            raise ScheduleError(f"the victim {victim!r} is no session of {spec.name} ({', '.join(spec.session_names)})")
        self.check_bounds(spec)
        patience = self.patience(spec, victim)
        self.begun += 1
        if any(channel.busy or channel.status in IN_TRANSACTION for channel, _ in self._channels.values()):
            self.abandon()  # an execution that nobody has finished
        try:
            settings = self._settings(spec, isolation, patience)
            # What an absent session still holds, such as an advisory lock of its own, would hold up the others.
            self.release([name for name in self._channels if name not in settings])
            channels = self._channels_for(settings)
            if anew:
                self._ground = None
                self._make_anew(spec, preparation)
            else:
                self._lay_ground(spec, preparation)
            if preparation:
                if preparation.repeat():
                    self._ground = None
                if preparation.repeats:
                    self._make_as_first(spec)
            self._settle(channels, settings)
            for session in spec.sessions:
                if session.setup is not None:
                    what = f"{spec.name}, setup of session {session.name}"
                    channels[session.name].execute(session.setup, what, self.step_seconds)
        except BaseException:
            self.abandon()
            raise
        return Execution(self, spec, isolation, channels, patience, victim)

    def _lay_ground(self, spec: Spec, preparation: Preparation | None) -> None:
        """The schema as `spec` sets it up, made anew unless the last run of the same has put its rows back."""
        undisturbed = all(connection.closed for connection in self.others)
        eligible = self.database.is_ours and undisturbed and changes_rows_only(spec) and spec.setups not in self._unfit
        if self._ground and self._ground[0] == spec.setups and eligible:
            return
        self._ground = None
        self._make_anew(spec, preparation)
        eligible = eligible and (preparation is None or preparation.is_rows_only)
        if eligible and self.control.status == pq.TransactionStatus.IDLE:
            if found := survey(self._ask):
                self._ground = spec.setups, found
            else:
                self._unfit.add(spec.setups)
                self._make_anew(spec, preparation)  # what was tried has left traces

    def _make_anew(self, spec: Spec, preparation: Preparation | None) -> None:
        schema = self.database.schema
        self._clean_control()
        if preparation:
            preparation.clear()
        self.control_execute(f"drop schema if exists {schema} cascade; create schema {schema}", "a fresh schema")
        for number, block in enumerate(spec.setups, start=1):
            self.control_execute(block, f"{spec.name}, setup block {number}", self.step_seconds)
        if preparation:
            preparation.prepare()
        if not preparation.repeats if preparation else may_differ(spec.setups):
            self._make_as_first(spec)

    def _make_as_first(self, spec: Spec) -> None:
        """Rows for which a clock or chance had other values than the first time become what they were then."""
        if not (self.database.facts.is_superuser and self.control.status == pq.TransactionStatus.IDLE):
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
        self.others.add(connection)
        self._ground = None

    def forget_ground(self) -> None:
        """Has the schema made anew for the next run: more than rows has changed in it."""
        self._ground = None

    def clear_up(
        self, spec: Spec, session_teardowns: Callable[[], None], question: str | None
    ) -> tuple[dict[str, Table], Rows]:
        """What a run has left in every table, rows sorted, and the answer to a question about them.

        Then tears down, or puts the rows back for the next run.
        """
        ground, self._ground = self._ground, None
        if question and self.database.bounds:
            self.database.bounds.check(question, "the invariant")
        asked = self.control_execute(question, "invariant") if question else []
        answer = tuple(row for result in asked for row in result.rows)
        tables = ground[1].tables if ground else tables_of(self._ask)
        reads = [f'select * from {quoted} as t order by t::text collate "C"' for _, quoted in tables]
        results = self._ask("; ".join(reads + ([ground[1].undo] if ground else []))) if tables else []
        if ground:
            if ground[1].is_as_new(results):
                self._ground = ground
        else:
            session_teardowns()
            if spec.teardown is not None:
                self.control_execute(spec.teardown, f"{spec.name}, teardown")
        found = zip(tables, results, strict=False)
        return {name: Table(one.columns, one.rows) for (name, _), one in found}, answer

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
        return self.control_execute(sql, "rows of the tables")

    def check_bounds(self, spec: Spec) -> None:
        """Raises BadInput for SQL that would leave the lab's schema on a server of somebody else's."""
        if self.database.bounds and spec is not self._within:
            for whose, sql in spec.blocks():
                self.database.bounds.check(sql, whose)
            self._within = spec

    def patience(self, spec: Spec, victim: str | None) -> dict[str, int] | None:
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

    def _settings(self, spec: Spec, isolation: IsolationLevel, patience: dict[str, int] | None) -> dict[str, Settings]:
        level = {"default_transaction_isolation": str(isolation)}
        if patience is None:
            return dict.fromkeys(spec.session_names, level)
        return {name: {**level, "deadlock_timeout": f"{patience[name]}ms"} for name in spec.session_names}

    def _channels_for(self, wanted: dict[str, Settings]) -> dict[str, Channel]:
        """Each session's connection; it begins to forget whatever it was told since it was opened."""
        channels = {}
        for name, settings in wanted.items():
            known = self._channels.get(name)
            if known and known[1].keys() != settings.keys():
                self.release([name])
                known = None
            if known is None:
                known = self._channels[name] = Channel(name, self.database.open(name, **settings)), settings
            channels[name] = known[0]
            channels[name].start("discard all", f"session {name}")
        return channels

    def join(self, spec: Spec, isolation: IsolationLevel, session: str) -> Channel:
        """The connection of a session of `spec` that comes to an execution underway."""
        wanted = {session: self._settings(spec, isolation, self.patience(spec, None))[session]}
        channels = self._channels_for(wanted)
        self._settle(channels, wanted)
        return channels[session]

    def _settle(self, channels: dict[str, Channel], wanted: dict[str, Settings]) -> None:
        for name, channel in channels.items():
            try:
                channel.finish()
            except SetupFailed:
                if not channel.lost:
                    raise
                self.release([name])  # an earlier run had it ended when all was over
                channels |= self._channels_for({name: wanted[name]})
                channels[name].finish()
            opened_with = self._channels[name][1]
            other = [f"set {key} = '{value}'" for key, value in wanted[name].items() if opened_with[key] != value]
            if other:
                channels[name].execute("; ".join(other), f"session {name}")

    def abandon(self) -> None:
        """Ends all sessions, whatever they are doing, and rolls their transactions back."""
        self._ground = None
        for channel, _ in self._channels.values():
            with contextlib.suppress(psycopg.Error):
                channel.cancel()
            channel.close()
        self._channels.clear()
        if self.control.busy:
            self.control.cancel()

    def connect_again(self) -> None:
        """For a server that ended all sessions itself, and has recovered from a crash. Raises ServerUnavailable."""
        self.close()
        self._connect()

    def release(self, names: Iterable[str]) -> None:
        """Forgets connections that cannot be used again."""
        for name in names:
            self._channels.pop(name)[0].close()

    def close(self) -> None:
        self.abandon()
        with contextlib.suppress(psycopg.Error):
            self._opened.close()


def _checked(step_seconds: float) -> float:
    if not (math.isfinite(step_seconds) and step_seconds > 0):
        raise BadInput(f"a step may take a positive number of seconds, not {step_seconds:g}")
    return step_seconds
