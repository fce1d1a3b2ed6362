"""Waits for a quiet state: every session has completed its step, or waits for another one of the schedule.

Quiet is a property of one observation of all sessions: no busy session can proceed on its own. Then each waiting one
waits, directly or through others, for an idle one, and nothing more happens until the next step is sent.

Waiting sessions are *stopped* (SIGSTOP, on an embedded server) while a step runs, and continued one after another in
the order in which their steps were sent, each until quiet. Otherwise two sessions woken at once would race inside the
server: measured, two updates of one row behind a table lock ended 111 to 89 in 200 runs. A session that waits for a
lock holds none of the server's internal locks, except during its deadlock check; if it is stopped just then, the
step's deadline limits the harm.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from zephyr_lab.schedule.transcript import Wait
from zephyr_lab.schedule.waiting import SAFE_SNAPSHOT, Observer, in_a_cycle

FIRST_PAUSE, LONGEST_PAUSE = 0.0003, 0.010  # seconds between observations; most steps are over within the first
INSIDE, INSIDE_REDIS = "inside its program", "inside Redis"
IMPATIENCE_IS_OVER = 0.005  # seconds after which a waiting impatient session has run its deadlock check

Graph = Mapping[int, frozenset[int]]
Waits = dict[str, tuple[frozenset[int], Wait]]


class Watched(Protocol):
    """A session as settling sees it: the backend's `pid`, and whether it is `busy` with its last request."""

    @property
    def name(self) -> str: ...

    @property
    def pid(self) -> int: ...

    @property
    def backends(self) -> Collection[int]:
        """The pids of all its backends."""
        ...

    @property
    def busy(self) -> bool: ...

    @property
    def server_is_busy(self) -> bool:
        """Whether PostgreSQL executes something for it; only then can it wait for a lock there."""
        ...

    @property
    def can_move(self) -> bool:
        """Whether it has a step left to take: it is at rest, or may give up waiting."""
        ...

    def wait_elsewhere(self) -> Wait | None:
        """What it waits for while nothing of it is at PostgreSQL: inside Redis, as that reports, or INSIDE its own
        program, having done nothing for long. None while it moves."""
        ...

    @property
    def socket(self) -> int:
        """A descriptor, readable when there is something to `receive` or `collect`; used while the session is busy."""
        ...

    def receive(self) -> None:
        """Reads what has arrived. Of sessions that share a socket, all do so before any is asked to `collect`."""

    def collect(self) -> bool:
        """Whether its request is completed by what has arrived; then `busy` is False."""
        ...

    def hold_answers(self) -> bool:
        """Withholds its backend's results until `hand_over`; False if that is not possible."""
        ...

    def hand_over(self) -> None: ...


class Settler:
    """Follows the sessions of a run, and asks the server which one waits for which.

    `sessions` is held, not copied. `waits` maps each waiting session's name to the backends that block it, and the wait
    in words. `impatient` names the sessions whose deadlock_timeout is short. `on_deadlock` is called with the graph if
    there is a cycle in it.
    """

    def __init__(
        self, sessions: Mapping[str, Watched], observer: Observer, *, may_stop: bool,
        on_deadlock: Callable[[Graph], None],
    ) -> None:  # fmt: skip
        self._sessions = sessions
        self.waits: Waits = {}
        self.impatient: set[str] = set()
        self._observer = observer
        self._may_stop = may_stop
        self._on_deadlock = on_deadlock
        self._stopped: dict[str, int] = {}  # the backends, by session; 0 if only results are withheld
        self._elsewhere: dict[str, Wait] = {}  # when last asked
        self._last_look: Graph = {}

    def send_and_settle(self, send: Callable[[], None], waiting: Sequence[str], deadline: float) -> set[str]:
        """Calls `send`, and follows it and then each of `waiting` until all is quiet.

        Returns the names of the sessions that completed. Raises TimeoutError at the deadline (of time.monotonic).
        """
        try:
            for name in waiting:
                self._stop(name)
            send()
            over = self._settle(FIRST_PAUSE, deadline)
            for name in waiting:
                if self._let_go(name):
                    over |= self._settle(0, deadline)
        finally:
            for name in list(self._stopped):
                self._let_go(name)
        self.waits = self._describe()
        while self._has_gone_on():
            over |= self._settle(0, deadline)
            self.waits = self._describe()
        return over

    def _has_gone_on(self) -> bool:
        """Whether a wait without a lock is over: it was seen while its lock was handed on, and all was not quiet."""
        doubtful = [self._sessions[name] for name, (_, wait) in self.waits.items() if wait.lock == SAFE_SNAPSHOT]
        graph = self._ask(doubtful) if doubtful else {}
        return any(one.pid not in graph for one in doubtful)

    def _settle(self, pause: float, deadline: float) -> set[str]:
        over: set[str] = set()
        seen: Graph = {}
        quiet_from = 0.0
        while busy := [one for one in self._sessions.values() if one.busy]:
            ready, _, _ = select.select([one.socket for one in busy], [], [], pause)
            if ready:
                called = [one for one in busy if one.socket in ready]
                for one in called:
                    one.receive()
                over |= {one.name for one in called if one.collect()}
                pause = 0
                continue
            now = time.monotonic()
            at_server = [one for one in busy if one.server_is_busy]
            if not self._all_wait([one for one in busy if one not in at_server]):
                if now > deadline:
                    raise TimeoutError
                pause = _longer(pause)
                continue
            graph = self._ask(at_server) if at_server else {}
            if any(graph.get(one.pid) != seen.get(one.pid) for one in busy if one.name in self.impatient):
                quiet_from = now + IMPATIENCE_IS_OVER
            seen = graph
            if not self._moving(at_server, graph) and now >= quiet_from:
                self._last_look = graph
                break
            if now > deadline:
                raise TimeoutError
            pause = _longer(pause)
        return over

    def _all_wait(self, away: Sequence[Watched]) -> bool:
        """Whether the sessions that are not at the server wait for steps that another session has yet to take."""
        free = [one for one in away if one.name not in self._stopped]
        # Each is asked, and not only up to the first that moves: the question may attribute what has come.
        self._elsewhere = {one.name: wait for one in free if (wait := one.wait_elsewhere())}
        if len(self._elsewhere) < len(free):
            return False
        # Of a wait inside a program nobody knows whether it is one; so one for ever would be a guess.
        guessed = any(wait.lock == INSIDE for wait in self._elsewhere.values())
        return not guessed or any(one.can_move for one in self._sessions.values())

    def _moving(self, busy: Sequence[Watched], graph: Graph) -> list[str]:
        """The sessions that proceed by themselves: those not waiting, and those in a deadlock."""
        deadlocked = [one.name for one in busy if in_a_cycle(one.pid, graph)]
        if deadlocked:
            self._on_deadlock(graph)
            for name in deadlocked:
                self._let_go(name)
        free = [one.name for one in busy if one.pid not in graph and one.name not in self._stopped]
        return free + deadlocked

    def moving(self) -> list[str]:
        """The names of the sessions that move now."""
        busy = [one for one in self._sessions.values() if one.busy]
        return self._moving(busy, self._ask(busy)) if busy else []

    def _ask(self, busy: Sequence[Watched]) -> Graph:
        return self._observer.who_waits([one.pid for one in busy], self.names)

    def _describe(self) -> Waits:
        """The waiting sessions, by the observation that found all quiet."""
        waits: Waits = {}
        for session in (one for one in self._sessions.values() if one.busy):
            if not session.server_is_busy:
                waits[session.name] = frozenset(), self._elsewhere.get(session.name, Wait((), INSIDE))
                continue
            held_up_by = self._last_look.get(session.pid, frozenset())
            known = self.waits.get(session.name)
            if known is None or known[0] != held_up_by:
                known = held_up_by, self._observer.describe(session.pid, held_up_by, self.names, self._sessions)
            waits[session.name] = known
        return waits

    @property
    def names(self) -> dict[int, str]:
        """The sessions' names by the pids of their backends."""
        return {pid: name for name, one in self._sessions.items() for pid in one.backends}

    def _stop(self, name: str) -> None:
        session = self._sessions[name]
        if session.hold_answers() or self._may_stop:
            pid = session.pid if self._may_stop else 0
            self._stopped[name] = pid  # before the signal and, in _let_go, after it: an interrupt may come in between
            if pid:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGSTOP)

    def _let_go(self, name: str) -> bool:
        """Continues a stopped session; False if it was not stopped."""
        if name not in self._stopped:
            return False
        if pid := self._stopped[name]:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGCONT)
        self._sessions[name].hand_over()
        self._stopped.pop(name, None)
        return True


def _longer(pause: float) -> float:
    return min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
