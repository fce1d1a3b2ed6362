"""Runs a spec as PostgreSQL's isolationtester does, with the same output, byte for byte.

The rules are those of src/test/isolation/README: sessions are kept from permutation to permutation, a step that waits
is reported as `<waiting ...>` and later as `<... completed>`, marks behind a step of a permutation delay its report,
and a file without permutations means all interleavings, first session first. Values and messages are the server's own
text. Errors that the program prints to standard error and survives are part of the output, as they are in
PostgreSQL's expected files.
"""

from __future__ import annotations

import contextlib
import re
import select
import time
from collections.abc import Callable, Iterator, Sequence

import psycopg
from psycopg import pq

from zephyr_lab.errors import ServerLost, SetupFailed, StepTimeout
from zephyr_lab.schedule.model import Blocker, ScheduledStep, Session, Spec, Step
from zephyr_lab.schedule.waiting import Observer, in_a_cycle
from zephyr_lab.servers.database import decoded

TICK = 0.010  # seconds: how long isolationtester lets a step run before it asks whether it waits
FIRST_PAUSE = TICK / 31  # the fifth pause, each twice as long, ends with the tick
NUMBER = frozenset(b"0123456789.Ee -")
# With these in a spec a wait may end although no busy session could end it.
CUTS_SHORT = re.compile(r"(?i)_timeout\b|\bpg_(cancel|terminate)_backend\b")

Connect = Callable[[str], pq.abc.PGconn]
Write = Callable[[str], object]


def run(spec: Spec, connect: Connect, write: Write, step_seconds: float) -> None:
    """Runs every permutation of `spec` and passes the output to `write`, piece by piece.

    `connect` opens a connection for the name of a session. Raises SetupFailed, StepTimeout, ServerLost.
    """
    for name in _unused(spec):
        write(f"unused step name: {name}\n")
    with _Tester(spec, connect, write, step_seconds) as tester:
        write(f"Parsed test spec with {len(spec.sessions)} sessions\n")
        for permutation in spec.permutations or interleavings(spec.sessions):
            tester.run_permutation(permutation)


def interleavings(sessions: Sequence[Session]) -> Iterator[tuple[ScheduledStep, ...]]:
    """Every order of all steps that keeps each session's order, first session first."""

    def recurse(taken: list[int], steps: list[ScheduledStep]) -> Iterator[tuple[ScheduledStep, ...]]:
        ended = True
        for place, session in enumerate(sessions):
            if taken[place] < len(session.steps):
                ended = False
                taken[place] += 1
                steps.append(ScheduledStep(session.steps[taken[place] - 1].name))
                yield from recurse(taken, steps)
                steps.pop()
                taken[place] -= 1
        if ended:
            yield tuple(steps)

    return recurse([0] * len(sessions), [])


def _unused(spec: Spec) -> list[str]:
    """The steps in no permutation, sorted by the bytes of their names."""
    used = {one.step for permutation in spec.permutations for one in permutation}
    return sorted(spec.steps.keys() - used, key=str.encode) if used else []


def _blocks(spec: Spec) -> list[str]:
    """All SQL that is run before a step may wait."""
    setups = [session.setup for session in spec.sessions if session.setup is not None]
    return [*spec.setups, *setups, *(step.sql for step in spec.steps.values())]


class _Running:
    """A launched step, with the marks that delay its report and their limits."""

    def __init__(self, step: Step, blockers: Sequence[Blocker], targets: dict[Blocker, int]) -> None:
        self.step = step
        self.blockers = blockers
        self.targets = targets


class _Session:
    def __init__(self, name: str, connection: pq.abc.PGconn, write: Write | None) -> None:
        self.name = name
        self.connection = connection
        self.active: _Running | None = None
        self.last_step = ""
        self.notices = 0
        self._write = write
        connection.notice_handler = self._on_notice

    def _on_notice(self, result: pq.abc.PGresult) -> None:
        if self._write:
            self._write(f"{self.name}: {decoded(result.error_message)}")
            self.notices += 1

    @property
    def pid(self) -> int:
        return self.connection.backend_pid

    def is_busy(self) -> bool:
        return bool(self.connection.is_busy())

    def left_open(self) -> bool:
        return self.connection.transaction_status in (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)

    def cancel(self) -> None:
        with contextlib.suppress(psycopg.OperationalError):
            self.connection.get_cancel().cancel()

    def consume(self) -> None:
        try:
            self.connection.consume_input()
        except psycopg.OperationalError:
            raise ServerLost(f"session {self.name} is lost: {decoded(self.connection.error_message)}") from None


class _Tester:
    def __init__(self, spec: Spec, connect: Connect, write: Write, step_seconds: float) -> None:
        self.spec, self.write, self.step_seconds = spec, write, step_seconds
        self.control = _Session("control connection", connect("control connection"), None)
        self.sessions = {one.name: _Session(one.name, connect(one.name), write) for one in spec.sessions}
        self.names = {session.pid: name for name, session in self.sessions.items()}
        self.observer = Observer(self.control.connection)
        self.hasty = not any(map(CUTS_SHORT.search, _blocks(spec)))

    def __enter__(self) -> _Tester:
        return self

    def __exit__(self, *_: object) -> None:
        for session in [self.control, *self.sessions.values()]:
            if session.active:
                session.cancel()
            session.connection.finish()

    def run_permutation(self, permutation: Sequence[ScheduledStep]) -> None:
        self.write("\nstarting permutation:" + "".join(f" {one.step}" for one in permutation) + "\n")
        for block in self.spec.setups:
            self._set_up(self.control, block, "setup failed")
        for one in self.spec.sessions:
            if one.setup is not None:
                self._set_up(self.sessions[one.name], one.setup, f"setup of session {one.name} failed")
        waiting: list[_Running] = []
        for scheduled in permutation:
            step = self.spec.steps[scheduled.step]
            self._wait_for_session(self.sessions[step.session], waiting)
            running = self._launch(step, scheduled.blockers)
            must_wait = self._try_complete(running, first=True)
            self._try_complete_all(waiting)
            if must_wait:
                waiting.append(running)
        self._try_complete_all(waiting, may_block=False)
        if waiting:
            raise StepTimeout("failed to complete permutation due to mutually-blocking steps")
        for one in self.spec.sessions:
            if one.teardown is not None:
                self._tear_down(self.sessions[one.name], one.teardown, f"teardown of session {one.name} failed")
        if self.spec.teardown is not None:
            self._tear_down(self.control, self.spec.teardown, "teardown failed")

    def _set_up(self, session: _Session, sql: str, failed: str) -> None:
        if not self._execute(session, sql, failed):
            raise SetupFailed(f"{failed}: {decoded(session.connection.error_message)}".rstrip())

    def _tear_down(self, session: _Session, sql: str, failed: str) -> None:
        if not self._execute(session, sql, failed):
            self.write(f"{failed}: {decoded(session.connection.error_message)}")

    def _execute(self, session: _Session, sql: str, failed: str) -> bool:
        """Whether a block succeeded; for isolationtester one without a statement does not.

        Unlike there it has a time limit. Raises StepTimeout, which names the sessions that may block it.
        """
        try:
            result = self._last_result(session, sql, failed)
        except psycopg.OperationalError:  # an earlier step has ended the session
            return False
        if result is not None and result.status == pq.ExecStatus.TUPLES_OK:
            self.write(table(result))
        return result is not None and result.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)

    def _last_result(self, session: _Session, sql: str, failed: str) -> pq.abc.PGresult | None:
        """Waits like PQexec, which no signal interrupts."""
        connection, last = session.connection, None
        deadline = time.monotonic() + self.step_seconds
        connection.send_query(sql.encode())
        try:
            while True:
                while connection.is_busy():
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise StepTimeout(self._block_never_ends(failed))
                    if select.select([connection.socket], [], [], left)[0]:
                        try:
                            connection.consume_input()
                        except psycopg.OperationalError:  # the result has the reason
                            break
                result = connection.get_result()
                if result is None:
                    return last
                last = result
                if result.status in (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT):
                    return last
        except (StepTimeout, KeyboardInterrupt):
            session.cancel()
            raise

    def _block_never_ends(self, failed: str) -> str:
        said = f"{failed}: no answer within {self.step_seconds:g} s; cancelled"
        still = [
            f"the transaction of session {one.name} after its step {one.last_step}"
            for one in self.sessions.values()
            if one.last_step and one.left_open()
        ]
        if not still:
            return said
        return f"{said}. Still open: {', '.join(still)}; end it in a step, or in a teardown of the session"

    def _launch(self, step: Step, blockers: Sequence[Blocker]) -> _Running:
        targets = {
            blocker: blocker.notices + self._session_of(blocker).notices
            for blocker in blockers
            if blocker.notices is not None
        }
        running = _Running(step, blockers, targets)
        session = self.sessions[step.session]
        session.last_step = step.name
        try:
            session.connection.send_query(step.sql.encode())
        except psycopg.OperationalError:  # an earlier step has ended the session
            failed = f"failed to send query for step {step.name}: {decoded(session.connection.error_message)}"
            self.write(f"{failed}\n")
            raise ServerLost(failed.rstrip()) from None
        session.active = running
        return running

    def _session_of(self, blocker: Blocker) -> _Session:
        assert blocker.step is not None
        return self.sessions[self.spec.steps[blocker.step].session]

    def _wait_for_session(self, session: _Session, waiting: list[_Running]) -> None:
        """A session that is still busy must end its earlier step before it takes another one."""
        deadline = time.monotonic() + 2 * self.step_seconds
        while (earlier := session.active) is not None:
            if not self._try_complete(earlier, may_block=False):
                waiting.remove(earlier)
            self._try_complete_all(waiting)
            if session.active is not None and time.monotonic() > deadline:
                raise StepTimeout(f"step {earlier.step.name} timed out after {2 * self.step_seconds:g} seconds")

    def _try_complete_all(self, waiting: list[_Running], may_block: bool = True) -> None:
        """Completes the waiting steps that it can, repeatedly, while a delayed report may have been released."""
        while True:
            before, notices = len(waiting), sum(session.notices for session in self.sessions.values())
            for running in list(waiting):
                if not self._try_complete(running, may_block=may_block):
                    waiting.remove(running)
            changed = len(waiting) < before or notices < sum(session.notices for session in self.sessions.values())
            if not (changed and any(running.blockers for running in waiting)):
                return

    def _try_complete(self, running: _Running, *, first: bool = False, may_block: bool = True) -> bool:
        """Reports a step if it is over; True if it must wait. `may_block`: a wait for a session ends the attempt."""
        step, session = running.step, self.sessions[running.step.session]
        waits = f"step {step.name}: {step.sql} <waiting ...>\n"
        if first and Blocker() in running.blockers:
            self.write(waits)
            return True
        if not self._is_over(session, running, may_block) or self._is_held_back(running):
            if first:
                self.write(waits)
            return True
        self.write(f"step {step.name}: {step.sql}\n" if first else f"step {step.name}: <... completed>\n")
        self._report(session)
        session.active = None
        return False

    def _is_over(self, session: _Session, running: _Running, may_block: bool) -> bool:
        began, pause = time.monotonic(), FIRST_PAUSE if self.hasty else TICK
        canceled = False
        while session.is_busy():
            if select.select([session.connection.socket], [], [], pause)[0]:
                session.consume()
                continue
            now = time.monotonic()
            if may_block and self._waits(session, patient=now - began >= TICK):
                session.consume()  # a notice may have arrived during the query
                return not session.is_busy()
            if not canceled and now - began > self.step_seconds:
                self.write(f"isolationtester: canceling step {running.step.name} after {int(now - began)} seconds\n")
                session.cancel()
                canceled = True
            if now - began > 2 * self.step_seconds:
                raise StepTimeout(f"step {running.step.name} timed out after {2 * self.step_seconds:g} seconds")
            pause = min(2 * pause, TICK)
        return True

    def _waits(self, session: _Session, patient: bool) -> bool:
        """Whether a session waits. Before the tick is over only a wait counts that no busy session could end."""
        busy = [one.pid for one in self.sessions.values() if one.active]
        graph = self.observer.who_waits(busy, self.names)
        if session.pid not in graph or patient:
            return session.pid in graph
        holders = {pid for held_up_by in graph.values() for pid in held_up_by}
        return not in_a_cycle(session.pid, graph) and not any(pid in busy and pid not in graph for pid in holders)

    def _is_held_back(self, running: _Running) -> bool:
        for blocker in running.blockers:
            if blocker.notices is not None:
                if self._session_of(blocker).notices < running.targets[blocker]:
                    return True
            elif blocker.step is not None:
                active = self._session_of(blocker).active
                if active is not None and active.step.name == blocker.step:
                    return True
        return False

    def _report(self, session: _Session) -> None:
        connection = session.connection
        while (result := connection.get_result()) is not None:
            match result.status:
                case pq.ExecStatus.COMMAND_OK | pq.ExecStatus.EMPTY_QUERY:
                    continue
                case pq.ExecStatus.TUPLES_OK:
                    self.write(table(result))
                case pq.ExecStatus.FATAL_ERROR:
                    self.write(f"{_failure(result)}\n")
                case status:
                    self.write(f"unexpected result status: PGRES_{pq.ExecStatus(status).name}\n")
                    if result.status in (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT):
                        raise StepTimeout("a step cannot copy from or to the client")
        self._report_notifications(session)

    def _report_notifications(self, session: _Session) -> None:
        try:
            session.connection.consume_input()
        except psycopg.Error:
            return  # the step ended its own session
        while (notify := session.connection.notifies()) is not None:
            sender = self.names.get(notify.be_pid, f"PID {notify.be_pid}")
            name, payload = decoded(notify.relname), decoded(notify.extra)
            self.write(f'{session.name}: NOTIFY "{name}" with payload "{payload}" from {sender}\n')
            session.connection.consume_input()


def table(result: pq.abc.PGresult) -> str:
    """A result as libpq's PQprint aligns it: widths in bytes, numbers to the right, a line below the names."""
    columns = range(result.nfields)
    if not columns:
        return ""
    names = [result.fname(i) or b"" for i in columns]
    rows = [[result.get_value(row, i) or b"" for i in columns] for row in range(result.ntuples)]
    widths = [max([len(names[i]), *(len(row[i]) for row in rows)]) for i in columns]
    to_the_right = [all(_is_number(row[i]) for row in rows if row[i]) for i in columns]

    def line(values: Sequence[bytes]) -> bytes:
        cells = [
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(values, widths, to_the_right, strict=True)
        ]
        return b"|".join(cells)

    lines = [line(names), b"+".join(b"-" * width for width in widths), *(line(row) for row in rows)]
    count = f"({len(rows)} row{'' if len(rows) == 1 else 's'})\n\n"
    return (b"\n".join(lines) + b"\n").decode(errors="replace") + count


def _is_number(value: bytes) -> bool:
    """Digits and a few signs, a digit last, no E first: what PQprint takes for a number."""
    return set(value) <= NUMBER and value[:1] not in (b"E", b"e") and value[-1:].isdigit()


def _failure(result: pq.abc.PGresult) -> str:
    """An error's first line; the whole message if it is libpq's own, such as the loss of a connection."""
    severity = result.error_field(pq.DiagnosticField.SEVERITY)
    message = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY)
    if severity is None or message is None:
        return decoded(result.error_message)
    return f"{decoded(severity)}:  {decoded(message)}"
