"""Carries out schedules on a real server: a workspace, the sessions' connections, an `Execution` for each run."""

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
    where it is not ours to set."""

    channels: dict[str, Channel]
    patience: dict[str, int] | None


class Runner:
    """Runs schedules on one database, one at a time.

    Not for use from two threads at once. Raises BadInput where `step_seconds` is no positive number of seconds.
    """

    def __init__(self, database: Database, step_seconds: float = STEP_SECONDS) -> None:
        self.database = database
        self.begun = 0  # executions up to now
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
        """How long a step may take that waits for nobody."""
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
        anew: bool = False,
    ) -> Execution:
        """Sets up a fresh schema and the sessions; steps are then taken one by one. `anew` as in `prepare`."""
        ready = self.prepare(spec, isolation, victim=victim, anew=anew)
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
        anew: bool = False,
    ) -> Prepared:
        """Sets up a fresh schema and the sessions. Raises ScheduleError, SetupFailed, ServerLost.

        `anew`: the schema is made anew in any case, and once only, since nobody knows yet what the steps will be.
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
            self.workspace.prepare(spec, preparation, anew=anew)
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

        But not those that are held: whoever asks meanwhile was refused, and has begun nothing.
        """
        if not self._held:
            self._end_all()

    def _end_all(self) -> None:
        self.workspace.forget()
        self.sessions.abandon()
        self.workspace.cancel()

    def connect_again(self) -> None:
        """For a server that ended all sessions itself, and has recovered from a crash. Raises ServerUnavailable."""
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
