"""A client of PostgreSQL and its backend: batches that wait for their turn, cancel requests, their end."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from zephyr_lab.errors import REFUSALS, BadInput, LabError, ScheduleError
from zephyr_lab.functions.mishaps import limit_of
from zephyr_lab.functions.trips import RoundTrip
from zephyr_lab.sql.classify import Kind, classify
from zephyr_lab.wire import backends, housekeeping
from zephyr_lab.wire.asks import Ask
from zephyr_lab.wire.backends import Backends, PooledBackend
from zephyr_lab.wire.link import Link, Owner, Traffic
from zephyr_lab.wire.postgres import Backend, Batch, Frontend
from zephyr_lab.wire.startup import NO_TLS, Rejected, Startup
from zephyr_lab.wire.streams import Stream

DIED = "its session has died"
_STATUS = {b"I": 0, b"T": 2, b"E": 3}  # as pq.TransactionStatus


class PostgresTraffic(Traffic, Protocol):
    backends: Backends
    level: str

    def cancel(self, pid: int, key: bytes) -> None:
        """Passes a cancel request on."""

    def note(self, trouble: str) -> None:
        """Keeps an error that a client was sent, for the report."""


class PostgresLink(Link):
    """One connection. The client has to know `password`."""

    wire: PostgresTraffic

    def __init__(self, wire: PostgresTraffic, client: socket.socket, session: Owner | None, password: str) -> None:
        self._received: Callable[[bytes], None] = self._start
        self._startup = Startup(password)
        self.backend: PooledBackend | None = None
        self.frontend = Frontend()
        self.state = Backend(self.frontend)
        self._leaves = False
        self._begun: list[RoundTrip] = []  # what its transaction has asked, if no other session can notice any of it
        self._is_given_up = self._is_broken = False
        self._opening: list[str] = []  # the statements that began the transaction, which no other session can notice
        self._has_looked = self._has_worked = False  # whether it then asked about the connection, or anything else
        super().__init__(wire, client, session)

    @property
    def pid(self) -> int:  # type: ignore[override]
        return self.backend.pid if self.backend else 0

    @property
    def keeps_owner(self) -> bool:
        return self.in_transaction or self.flying is not None

    @property
    def in_transaction(self) -> bool:
        return self.state.status != b"I"

    def _from_client(self, data: bytes) -> None:
        if data:
            self._received(data)
        else:
            self._left()

    # -- startup

    def _start(self, data: bytes) -> None:
        try:
            for answer in self._startup.feed(data):
                self.client.send(answer)
        except Rejected as error:
            self._give_up(error.state, str(error))
            return
        if self._startup.cancels:
            self.wire.cancel(*self._startup.cancels)
            self.close()
        elif self._startup.is_over:
            self._open(self._startup.rest)

    def _open(self, rest: bytes) -> None:
        try:
            self.backend = self.wire.backends.open(self._startup.settings, self.wire.level)
        except LabError as error:
            self._give_up("53300", str(error))
            return
        if "default_transaction_isolation" in self._startup.settings.get("options", ""):
            self.wire.note("a client names an isolation level as it connects; it is given that of the exploration")
        self._received = self._batches
        self.server = Stream(self.wire.loop, self.backend.socket(), self._from_server)
        self.server.peer, self.client.peer = self.client, self.server
        self.client.send(self.backend.greeting + backends.ready())
        self.wire.stir()
        if rest:
            self._batches(rest)

    def _give_up(self, state: str, text: str) -> None:
        self.wire.note(text)
        self.client.send(backends.error_message(state, text))
        self.close()

    # -- batches

    def _batches(self, data: bytes) -> None:
        if self.state.copying:
            self._copy(data)
            return
        try:
            for batch in self.frontend.feed(data):
                self.wire.backends.check_bounds(batch)
                self.ask(self._ask_of(batch))
        except BadInput as error:
            owner = self.owner if self._is_owned else self.wire.current
            if owner and self.wire.is_controlled:
                owner.refuse(error)
            self._give_up("42501", str(error))
            return
        except (ValueError, IndexError) as error:
            self._give_up("08P01", f"this is not PostgreSQL's protocol: {error}")
            return
        if self.frontend.is_terminated:
            self._left()

    def _ask_of(self, batch: Batch) -> Ask:
        local = batch.is_local or housekeeping.asks_about(batch.sql)
        trip = RoundTrip(batch.sql, batch.sql, local)
        return Ask(batch.raw, trip, batch.prepares and not local, batch, _listens(batch.sql), batch.pattern)

    def _whose(self, ask: Ask) -> Owner | None:
        """A transaction that has only begun belongs to whoever sends its first statement."""
        if self._begun and self.session is None and self.owner is not None and self.wire.is_habit(ask):
            self.owner.disown(self, self._begun)
            return None
        return super()._whose(ask)

    def go_on(self, claimed: Owner | None = None) -> None:
        if self.asked and not self.flying and self.is_open:
            ask = self.asked[0]
            ask.trip.private = ask.trip.private or self._ends_nothing(ask.batch) or self._only_gives_back(ask.batch.sql)
        super().go_on(claimed)

    def _ends_nothing(self, batch: Batch) -> bool:
        """Whether it ends a transaction, and there is none, or one that has only asked about the connection."""
        return batch.only_ends and (not self.in_transaction or (self._has_looked and not self._has_worked))

    def _only_gives_back(self, sql: str) -> bool:
        """Whether it resets the connection, and no session can have waited for that."""
        return (
            housekeeping.gives_back(sql)
            and not self.in_transaction
            and self.backend is not None
            and not self.backend.holds_advisory_locks()
        )

    def _follow(self, ask: Ask) -> None:
        """Notes what the transaction has done.

        If it has a snapshot only because its driver asked about the connection, it is begun anew when its work begins,
        which is when it would have taken its snapshot otherwise.
        """
        if not self.in_transaction:
            self._opening, self._has_looked, self._has_worked = [], False, False
        if housekeeping.asks_about(ask.batch.sql):
            self._has_looked = True
        elif ask.trip.private:
            self._opening += [] if ask.batch.is_empty or ask.batch.prepares else [ask.batch.sql]
        elif not (self._has_worked or ask.batch.only_ends):
            self._has_worked = True
            if self._has_looked and self.state.status == b"T" and self.backend:
                for sql in ("rollback", *self._opening):
                    self.backend.execute(sql)

    def _copy(self, data: bytes) -> None:
        """Passes on data of a COPY, in the turn in which it began."""
        assert self.server
        self.server.send(data)

    def send(self, ask: Ask) -> None:
        if self.backend and not self.in_transaction:
            self.backend.set_level(self.wire.level)
        self._begun = [*self._begun, ask.trip] if ask.trip.private else []
        self._follow(ask)
        self.state.expect(ask.batch)
        super().send(ask)
        if self._is_given_up:
            self.cancel()

    def _from_server(self, data: bytes) -> None:
        if not data:
            self._lost()
            return
        if not self.loses_answer:
            self.client.send(data)
        flew = self.flying
        self.state.feed(data)
        if flew and self.state.answer.is_done:
            self._land(flew)

    def _land(self, ask: Ask) -> None:
        trip, answer = ask.trip, self.state.answer
        trip.results, trip.failure, trip.status = answer.results, answer.failure, _STATUS[self.state.status]
        kinds = {one.kind for one in classify(trip.sql)}
        if self.backend and not self.in_transaction and kinds & {Kind.RESET, Kind.DISCARD}:
            self.backend.forget_settings()
        if not self.in_transaction:
            self._begun = []
        loses, self.loses_answer = self.loses_answer, False
        if loses and trip.answer_lost and self.in_transaction:
            trip.lost, trip.answer_lost = True, False  # rolled back: there is nothing to have an answer to
        if loses:
            self._keep_answer(ask)
            return
        self.landed()
        if self._leaves and not self.flying and not self.asked:
            self._release()

    def _keep_answer(self, ask: Ask) -> None:
        """A client whose session has died may go on, as a service does with another request: it gets an error."""
        self.asked.clear()
        self.landed()
        if self.session is None and self.owner is not None and self.owner.died and self.is_open:
            self.asked.append(ask)
            self.refuse()
        else:
            self.break_off()

    def refuse(self) -> None:
        if self.flying or self.state.copying or self.backend is None or any(one.batch.owed for one in self.asked):
            self.break_off()
            return
        if self.in_transaction:
            self.backend.execute("rollback")
            self.state.status = b"I"
        while self.asked:
            self.asked.popleft()
            self.client.send(backends.error_message("57P01", DIED, "ERROR") + backends.ready())

    def cancel(self) -> None:
        """Cancels the question under way, or else the one that waits for its turn, as soon as it is sent."""
        self._is_given_up = bool(self.asked) and not self.flying
        if self.backend and self.flying:
            self.backend.cancel()

    # -- the end

    def _left(self) -> None:
        """The client has closed, or died: an open transaction is rolled back, a step that others may notice."""
        if not self.is_open:
            return
        if self.backend is None:
            if self._startup.asked_tls:
                self.wire.note(f"a client asked for TLS and left: {NO_TLS}")
            self.close()
            return
        self._leaves = True
        self.asked.clear()
        if self.state.copying:
            self.backend.cancel()
        if not self.flying:
            self._release()

    def _release(self) -> None:
        if self._is_broken and self.in_transaction and self.backend:
            self.backend.execute("rollback")
            self.state.status = b"I"
        if self.in_transaction:
            sql = "rollback"
            batch = Batch(backends.query(sql), (sql,))
            self.ask(Ask(batch.raw, RoundTrip(sql, sql), batch=batch))
            return
        backend, self.backend = self.backend, None
        self.close()
        if backend:
            self.wire.backends.keep(backend)

    def end(self) -> None:
        """Closes it as if its client had left."""
        self.client.close()
        self._left()

    def break_off(self) -> None:
        """The rollback is no step of its own: it is a part of what has broken the connection."""
        self._is_broken = True
        self.end()

    def _lost(self) -> None:
        """The backend has ended: the client sees the end of the connection, as it would without the lab."""
        if self.flying:
            self.flying.trip.lost, self.flying.trip.failure = True, self.state.answer.failure
        self.landed()
        self.close()

    def close(self) -> None:
        backend, self.backend = self.backend, None
        super().close()
        if backend:
            backend.close()

    def be_patient(self) -> None:
        """Undoes `make_impatient`."""
        if self.backend and self.backend.is_impatient and not self.keeps_owner:
            self.backend.is_impatient = not self.backend.execute("reset deadlock_timeout")

    def time_limit(self) -> float:
        """As `Scheduled.time_limit`, while nothing is under way."""
        if self.backend is None or self.flying or self.state.status == b"E":
            return 0.0
        return limit_of(self.backend.connection)

    def make_impatient(self, milliseconds: int) -> bool:
        if self.backend is None or self.flying or self.state.status == b"E":
            return False
        self.backend.is_impatient = self.backend.execute(f"set deadlock_timeout = '{milliseconds}ms'")
        return self.backend.is_impatient


def refused(trip: RoundTrip) -> str:
    """The SQLSTATE by which a round trip was refused because of another session, or ''."""
    return trip.failure.sqlstate if trip.failure and trip.failure.sqlstate in REFUSALS else ""


def _listens(sql: str) -> ScheduleError | None:
    """The refusal of LISTEN: notifications arrive at times that no schedule controls; None for anything else."""
    if all(one.kind is not Kind.LISTEN for one in classify(sql)):
        return None
    return ScheduleError(
        f"a session listens ({sql!r}), and what it would hear comes at a time that nobody can order: explore what is "
        "done when it has come, in a session that needs no notification"
    )
