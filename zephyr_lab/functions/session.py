"""A session that runs a function in a thread of its own; its steps are the function's round trips."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

import psycopg
from psycopg import pq

from zephyr_lab.errors import LabError, ScheduleError
from zephyr_lab.functions.answers import Answers, Ending
from zephyr_lab.functions.arguments import is_async, name_of, parameters_of
from zephyr_lab.functions.interception import held
from zephyr_lab.functions.mishaps import limit_of, possible
from zephyr_lab.functions.places import stands_at
from zephyr_lab.functions.postgres import AsyncControlledConnection, ControlledConnection
from zephyr_lab.functions.providers import Providers
from zephyr_lab.functions.scheduled import Scheduled
from zephyr_lab.functions.trips import Trips
from zephyr_lab.functions.turn import Abandoned, Turn, bind_thread, interrupt
from zephyr_lab.functions.values import is_from_server, raised_in
from zephyr_lab.schedule.channel import Channel
from zephyr_lab.schedule.faults import Fault
from zephyr_lab.schedule.settling import INSIDE_REDIS
from zephyr_lab.schedule.transcript import AnswerKind, Failure, Result, Wait

Function = Callable[..., Any]

END_SECONDS = 2.0  # for abandoned threads to end


class FunctionSession:
    """A function's thread and its turn, as `schedule.settling` follows it."""

    def __init__(self, channel: Channel, function: Function, providers: Providers, answers: Answers) -> None:
        self.channel, self.function, self._providers, self._answers = channel, function, providers, answers
        self.name, self.pid, self.lost = channel.name, channel.pid, False
        self.busy = False
        self.ended = False
        self.raised: BaseException | None = None
        self.died = self.is_faulty = False
        self._ending = Ending()
        self._is_blocked = False
        self._connection: ControlledConnection | AsyncControlledConnection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self.turn = Turn(self.name, self.open_connection, providers.content, providers.bounds)
        self._thread = threading.Thread(name=f"session {self.name}", daemon=True)

    def start(self) -> None:
        """Runs the function until its first round trip, or its end."""
        self.busy = True
        with held(self._run) as self._thread.run:  # type: ignore[method-assign]
            self._thread.start()

    # -- in the thread

    def open_connection(self, asked: type) -> ControlledConnection | AsyncControlledConnection:
        """A new connection object for the session's backend. Raises ScheduleError while one is open."""
        if self._connection is not None and not self._connection.closed:
            raise self.turn.refuse(
                ScheduleError(
                    f"session {self.name} ({name_of(self.function)}) opened a second connection while its first one "
                    "was open: a session is one connection; close the first, or make two functions of it, two sessions"
                )
            )
        if self.channel.connection.status != pq.ConnStatus.OK:
            raise psycopg.OperationalError("the session's backend has ended, and it gets no other one")
        kind = AsyncControlledConnection if issubclass(asked, psycopg.AsyncConnection) else ControlledConnection
        self._connection = kind.of(self.channel.connection, self.turn)
        return self._connection

    def _run(self) -> None:
        with contextlib.suppress(Abandoned):  # an interrupt that comes late
            self._run_function()

    def _run_function(self) -> None:
        bind_thread(self.turn)
        try:
            call = self._call_async() if is_async(self.function) else None
            self._read(self._providers.loops.run(call) if call else self._call())
        except BaseException as error:
            self.raised = error
            if not self.died:
                self._read(error)
        finally:
            self.ended = True
            self.turn.notify()

    def _read(self, end: Any) -> None:
        self._ending = self._answers.read(end, self.raised)
        if self._ending.trouble:
            self.turn.refuse(ScheduleError(f"session {self.name} ({name_of(self.function)}): {self._ending.trouble}"))

    def _call(self) -> Any:
        parameters = parameters_of(self.function)
        with contextlib.ExitStack() as stack:
            stack.callback(self._drop_connection)
            give = [
                stack.enter_context(self._providers.provide(self.open_connection, kind))
                for kind in parameters.positional
            ]
            named = {
                name: stack.enter_context(self._providers.provide(self.open_connection, kind))
                for name, kind in parameters.named.items()
            }
            given = self.function(*give, **named)
            if not inspect.iscoroutine(given):
                return given
            given.close()  # from a lambda that calls an async function, which has not started
            if self._connection is not None:
                self._connection.disown()
        return self._providers.loops.run(self._call_async())

    async def _call_async(self) -> Any:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        parameters = parameters_of(self.function)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._drop_connection)
            give = [
                await stack.enter_async_context(self._providers.provide_async(self.open_connection, k))
                for k in parameters.positional
            ]
            named = {
                name: await stack.enter_async_context(self._providers.provide_async(self.open_connection, kind))
                for name, kind in parameters.named.items()
            }
            return await self.function(*give, **named)

    def _drop_connection(self) -> None:
        """As at a process's end: closes what is still open, which rolls its transaction back."""
        if self._connection is None or self._connection.closed:
            return
        self._connection.disown()
        if self.turn.abandoned or self.channel.connection.status != pq.ConnStatus.OK:
            return
        ControlledConnection.of(self.channel.connection, self.turn).close()

    # -- in the scheduler's thread

    @property
    def is_under_way(self) -> bool:
        """Whether the function has been started, and has not ended."""
        return self._thread.ident is not None and not self.ended

    @property
    def log(self) -> Trips:
        return self.turn.log

    @property
    def trips(self) -> int:
        return self.turn.trips

    @property
    def sleeps(self) -> int:
        return self.turn.sleeps

    @sleeps.setter
    def sleeps(self, number: int) -> None:
        self.turn.sleeps, self.turn.gave_up = number, False

    @property
    def misuse(self) -> LabError | None:
        return self.turn.misuse

    @property
    def outside(self) -> Collection[str]:
        return self.turn.outside

    @property
    def backends(self) -> Collection[int]:
        return (self.pid,)

    @property
    def can_move(self) -> bool:
        return self.is_under_way and (not self.busy or self._may_give_up)

    @property
    def _may_give_up(self) -> bool:
        return self._is_blocked and self.turn.in_redis is not None and self.turn.in_redis[1]

    def wait_elsewhere(self) -> Wait | None:
        """Inside Redis; a wait inside the program is not known of a thread."""
        asked, content = self.turn.in_redis, self.turn.content
        self._is_blocked = bool(asked and content and content.keyvalue.is_blocked(asked[0]))
        return Wait((), INSIDE_REDIS) if self._is_blocked else None

    @property
    def server_is_busy(self) -> bool:
        return self.channel.status == pq.TransactionStatus.ACTIVE

    @property
    def is_unanswered(self) -> bool:
        return self.server_is_busy or self.turn.in_redis is not None

    @property
    def is_lost(self) -> bool:
        return self.channel.connection.status != pq.ConnStatus.OK

    def make_impatient(self, milliseconds: int) -> bool:
        at_rest = self.channel.status in (pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS)
        if not (at_rest and self.channel.connection.pipeline_status == pq.PipelineStatus.OFF):
            return False
        self.channel.execute(f"set deadlock_timeout = '{milliseconds}ms'", f"session {self.name}")
        return True

    def again(self) -> FunctionSession:
        session = FunctionSession(self.channel, self.function, self._providers, self._answers)
        session.turn.made_up = self.turn.made_up
        return session

    def hold_answers(self) -> bool:
        if self.turn.in_redis:
            self.turn.hold(True)
        return self.turn.in_redis is not None

    def hand_over(self) -> None:
        self.turn.hold(False)

    @property
    def socket(self) -> int:
        return self.turn.wakeup_fd.fileno()

    def receive(self) -> None:
        """Its socket is its own: `collect` reads what has arrived."""

    def collect(self) -> bool:
        """Whether the function has reached its next round trip, or its end."""
        self.busy = not self.turn.heard()
        if self.died and self.ended:
            self._roll_back()
        return not self.busy

    def go(self) -> None:
        self.busy, gives_up, self._is_blocked = True, self._may_give_up, False
        if gives_up:
            self.turn.gave_up = True
            self._unblock()
        else:
            self.turn.let_go()

    def _unblock(self, *, by_error: bool = False) -> None:
        """Ends its wait inside Redis."""
        if self.turn.in_redis and self.turn.content:
            self.turn.content.keyvalue.unblock(self.turn.in_redis[0], by_error=by_error)

    def faults(self) -> Collection[Fault]:
        trip = self.log.next
        if trip is None or self.channel.connection.pipeline_status != pq.PipelineStatus.OFF:
            return ()
        return possible(trip, in_transaction=self.channel.status != pq.TransactionStatus.IDLE)

    def suffer(self, fault: Fault) -> None:
        self.is_faulty = True
        if fault is Fault.TIMEOUT:
            return
        self.died = fault.is_crash
        if fault is Fault.CRASH:
            self.busy = True
            self.turn.abandon()
            return
        assert self.log.next
        self.log.next.answer_lost = fault.loses_answer
        self.turn.dies_next = fault is Fault.CRASH_AFTER
        self.go()

    def time_limit(self) -> float:
        return limit_of(self.channel.connection)

    def _roll_back(self) -> None:
        """What the server does when a client has died."""
        backend = self.channel.connection
        if backend.status == pq.ConnStatus.OK and backend.transaction_status != pq.TransactionStatus.IDLE:
            backend.exec_(b"rollback")
        if backend.status == pq.ConnStatus.OK and self.turn.locks_on:
            backend.exec_(b"select pg_advisory_unlock_all()")

    @property
    def last_refusal(self) -> str:
        """The refusal because of another session that was its last outcome, or ''."""
        return self._ending.refusal or self.turn.refused

    @property
    def was_refused(self) -> bool:
        """Whether it was refused and reported that. A function that returns in spite of a refusal reports success."""
        return bool(self._ending.refusal or (self.turn.refused and self.raised))

    def told(self) -> Result | Failure:
        """What the function returned or raised, as part of the outcome."""
        if isinstance(self.raised, psycopg.Error) and is_from_server(self.raised):
            state, constraint = str(self.raised.sqlstate), self.raised.diag.constraint_name or ""
            return Failure(state, constraint, raised_in(self.raised))
        kind = AnswerKind.RETURNED if self.raised is None else AnswerKind.RAISED
        return self._ending.result(kind, "nothing: its schedule was abandoned")

    def stands_at(self) -> str:
        """The line of application code that its thread is in, or ''."""
        return stands_at(self._thread.ident)

    def abandon(self) -> None:
        """Ends its thread at its next round trip, or in the current one."""
        self.turn.abandon()
        if not self.ended:
            with contextlib.suppress(psycopg.Error):
                self.channel.connection.get_cancel().cancel()
            self._cut_off()

    def _cut_off(self) -> None:
        with contextlib.suppress(LabError):
            self._unblock(by_error=True)

    def interrupt(self) -> None:
        """Ends its thread while it waits in an event loop, or runs Python only."""
        self._cut_off()
        if self._loop and self._task:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)
        interrupt(self._thread)

    def join(self, seconds: float) -> None:
        if self._thread.ident:
            self._thread.join(seconds)

    def close(self) -> None:
        self.turn.close()


def end(sessions: Iterable[Scheduled]) -> None:
    """Ends the threads; one that is still running, in C, is abandoned."""
    sessions = list(sessions)
    for one in sessions:
        one.abandon()
    for hurry in (False, True):
        deadline = time.monotonic() + END_SECONDS / 2
        for one in sessions:
            if hurry:
                one.interrupt()
            one.join(max(0.0, deadline - time.monotonic()))
    for one in sessions:
        one.close()
