"""Runs schedules on a real server: a workspace, the sessions' connections, an `Execution` for each run."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from zephyr_lab.errors import BadInput, ScheduleError
from zephyr_lab.schedule.channel import Channel
from zephyr_lab.schedule.execution import Execution
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Schedule, Spec
from zephyr_lab.schedule.sessions import Sessions
from zephyr_lab.schedule.transcript import Transcript
from zephyr_lab.schedule.waiting import Observer
from zephyr_lab.schedule.workspace import STEP_SECONDS, Preparation, Workspace
from zephyr_lab.servers.database import Database


@dataclass(frozen=True)
class Prepared:
    """Sessions that are ready for their first step; `patience` is each one's deadlock_timeout in milliseconds, None
    if the lab does not set it."""

    channels: dict[str, Channel]
    patience: dict[str, int] | None


class Runner:
    """Runs schedules on one database, one at a time; not thread-safe. Raises BadInput unless `step_seconds` > 0."""

    def __init__(self, database: Database, step_seconds: float = STEP_SECONDS) -> None:
        self.database = database
        self.begun = 0  # executions so far
        self._held = False
        self._connect(_checked(step_seconds))

    def _connect(self, step_seconds: float) -> None:
        with contextlib.ExitStack() as opened:
            self.sessions = Sessions(self.database)
            self.workspace = Workspace(self.database, step_seconds)
            opened.callback(self.workspace.close)
            observing = self.database.open("observer")
            opened.callback(observing.finish)
            self.observer = Observer(observing)
            self._opened = opened.pop_all()

    @property
    def step_seconds(self) -> float:
        """The seconds that a step may take without waiting for a session."""
        return self.workspace.step_seconds

    @step_seconds.setter
    def step_seconds(self, seconds: float) -> None:
        self.workspace.step_seconds = seconds

    def run(
        self,
        spec: Spec,
        schedule: Schedule,
        isolation: IsolationLevel,
        *,
        victim: str | None = None,
        observed: bool = False,
    ) -> Transcript:
        """Sets up, runs the schedule, tears down. `victim` is the session to be aborted in a deadlock.

        `observed`: the transcript also has the rows committed after each step.

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
        """Sets the seconds that a step may take inside the block; None leaves them unchanged. Raises BadInput."""
        before = self.step_seconds
        self.step_seconds = before if seconds is None else _checked(seconds)
        try:
            yield
        finally:
            self.step_seconds = before

    @contextlib.contextmanager
    def hold(self, spec: Spec, schedule: Schedule, isolation: IsolationLevel) -> Iterator[Execution]:
        """Runs a schedule, and keeps its sessions as they are, open or waiting, until the block ends.

        Raises what `run` raises; inside the block nothing else can be run.
        """
        execution = self.begin(spec, isolation)
        try:
            for name in schedule.steps:
                execution.take(spec.steps[name])
            self._held = True
            yield execution
            execution.finish()
        except BaseException:
            self._end_all()
            raise
        finally:
            self._held = False

    def begin(
        self,
        spec: Spec,
        isolation: IsolationLevel,
        *,
        victim: str | None = None,
        recreate: bool = False,
    ) -> Execution:
        """Sets up a fresh schema and the sessions; steps are then taken one by one. `recreate` as in `prepare`."""
        ready = self.prepare(spec, isolation, victim=victim, recreate=recreate)
        return Execution(
            spec, isolation, ready.channels, ready.patience, victim,
            workspace=self.workspace, sessions=self.sessions, observer=self.observer,
        )  # fmt: skip

    def prepare(
        self,
        spec: Spec,
        isolation: IsolationLevel,
        *,
        victim: str | None = None,
        preparation: Preparation | None = None,
        recreate: bool = False,
    ) -> Prepared:
        """Sets up a fresh schema and the sessions. Raises ScheduleError, SetupFailed, ServerLost.

        `recreate`: recreates the schema, without learning how to restore it, since the steps are not known yet.
        """
        if self._held:
            raise ScheduleError("a schedule is held: leave its `with` block before another one is run")
        if victim is not None and victim not in spec.session_names:
            raise ScheduleError(f"the victim {victim!r} is no session of {spec.name} ({', '.join(spec.session_names)})")
        self.workspace.check_bounds(spec)
        patience = self.sessions.patience(spec, victim)
        self.begun += 1
        if self.sessions.unfinished:
            self.abandon()
        try:
            channels = self.sessions.start(spec, isolation, patience)
            self.workspace.prepare(spec, preparation, recreate=recreate)
            self.sessions.settle(channels, spec, isolation, patience)
            for session in spec.sessions:
                if session.setup is not None:
                    what = f"{spec.name}, setup of session {session.name}"
                    channels[session.name].execute(session.setup, what, self.step_seconds)
        except BaseException:
            self.abandon()
            raise
        return Prepared(channels, patience)

    def abandon(self) -> None:
        """Ends all sessions, whatever they are doing, and rolls their transactions back.

        Except held ones: a caller that was refused meanwhile has begun nothing.
        """
        if not self._held:
            self._end_all()

    def _end_all(self) -> None:
        self.workspace.forget()
        self.sessions.abandon()
        self.workspace.cancel()

    def connect_again(self) -> None:
        """Reconnects after the server has recovered from a crash that ended all sessions. Raises ServerUnavailable."""
        self.close()
        self._connect(self.step_seconds)

    def close(self) -> None:
        self._end_all()
        with contextlib.suppress(psycopg.Error):
            self._opened.close()


def _checked(step_seconds: float) -> float:
    if not (math.isfinite(step_seconds) and step_seconds > 0):
        raise BadInput(f"a step may take a positive number of seconds, not {step_seconds:g}")
    return step_seconds
