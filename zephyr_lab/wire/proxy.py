"""The proxy: clients that connect to it use the lab's servers, and take turns while a schedule runs.

This module attributes the traffic to sessions; `endpoint` has the sockets, `serving` the thread that serves them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from zephyr_lab.errors import BadInput, LabError, ScheduleError
from zephyr_lab.functions.answers import Answers
from zephyr_lab.servers.database import Database
from zephyr_lab.wire.asks import Ask
from zephyr_lab.wire.backends import Backends
from zephyr_lab.wire.background import Background
from zephyr_lab.wire.calls import Call
from zephyr_lab.wire.endpoint import Endpoint
from zephyr_lab.wire.link import Link
from zephyr_lab.wire.loop_thread import LoopThread
from zephyr_lab.wire.postgres_link import PostgresLink
from zephyr_lab.wire.serving import Serving
from zephyr_lab.wire.session import WireSession
from zephyr_lab.wire.stillness import Habits, Stillness
from zephyr_lab.wire.work import Work

if TYPE_CHECKING:
    from zephyr_lab.servers.keyvalue import KeyValue
    from zephyr_lab.wire.programs import Programs

DAY_MS = 86_400_000
LINGER, LONGEST_LINGER = 0.005, 0.1  # seconds within which a program asks all that it asks at once
LATE = 0.05  # seconds within which a request that goes on after its answer is seen to


class Wire:
    """The proxy of one lab. `dsn`, `url` and the like are those of the endpoint that all sessions share.

    `current` is the session that moves. `troubles` are errors that clients were sent, which may be why they failed.
    """

    def __init__(self, database: Database, keyvalue: Callable[[], KeyValue]) -> None:
        self._database, self._keyvalue = database, keyvalue
        self.serving, self.backends = Serving(), Backends(database)
        self.loop, self.wake = self.serving.loop, self.serving.wake
        self.level = "read committed"
        self.current: WireSession | None = None
        self.background = Background()
        self._schedules = 0
        self.troubles: list[str] = []
        self.is_controlled = False
        self.stillness, self.habits = Stillness(), Habits()
        self._sessions: dict[str, WireSession] = {}
        self._contested: list[Link] = []
        self._is_over = False
        self._links: set[Link] = set()
        self._endpoints: dict[str, Endpoint] = {}
        self.stream_ids = int(time.time() * 1000) + DAY_MS
        self._scripts: set[str] = set()
        self.shared = self.endpoint("")
        self.serving.start()

    def endpoint(self, name: str) -> Endpoint:
        """The endpoint of the sessions of this name; with an empty name the one that all share."""
        if name not in self._endpoints:
            with self.serving.paused():
                self._endpoints[name] = Endpoint(self)
        return self._endpoints[name]

    @property
    def dsn(self) -> str:
        return self.shared.dsn

    @property
    def redis_url(self) -> str:
        return self.shared.redis_url

    def url(self, scheme: str) -> str:
        """The URL of a SQLAlchemy engine: `postgresql+asyncpg`, `postgresql+psycopg2`, `postgresql+pg8000`."""
        return self.shared.url(scheme)

    @property
    def django(self) -> dict[str, Any]:
        """A value of Django's `DATABASES`."""
        return self.shared.django

    @cached_property
    def loop_thread(self) -> LoopThread:
        """The event loop of asynchronous functions that share an engine or a pool."""
        return LoopThread("zephyr-lab functions")

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Call:
        """A session that calls a function whose connections pass the wire: those of an engine or a pool that all
        sessions share, or of an app's test client. Asynchronous functions run on one event loop. Raises BadInput."""
        return Call(self, function, args, kwargs)  # pyright: ignore[reportArgumentType]  # no property of its protocol

    def session(self, name: str, work: Work, answers: Answers, *, own: bool) -> WireSession:
        """A session of a schedule. With `own`, connections to the endpoint of its name are its own."""
        session = self._sessions[name] = WireSession(name, work, self, answers, own=own)
        if own:
            self.endpoint(name).session = session
        return session

    @cached_property
    def programs(self) -> Programs:
        """The process that starts commands; the first use starts it."""
        from zephyr_lab.wire.programs import Programs

        programs = Programs()
        self.stillness.programs.add(programs.are_working)
        return programs

    def aside(self, call: Callable[[], object]) -> None:
        """Runs something that may use the wire, outside of any schedule. Raises what it raises."""
        before, self.is_controlled = self.is_controlled, False
        try:
            self.serving.serve_while(call)
        finally:
            self.is_controlled = before

    # -- schedules

    def begin(self, level: str) -> None:
        """Before each schedule. Raises ScheduleError if a client keeps a transaction open, and Nondeterminism."""
        self.background.check()
        self.level, self.current, self.is_controlled, self._is_over = level, None, True, False
        self._schedules += 1
        until = time.monotonic() + LONGEST_LINGER
        while any(one.pid and one.keeps_owner for one in self._links) and time.monotonic() < until:
            self.loop.pump(LINGER)  # transactions of the background end soon
        for link in self._links:
            link.owner = link.session
            if isinstance(link, PostgresLink):
                if link.in_transaction:
                    raise ScheduleError(
                        f"a client keeps a transaction open on backend {link.pid} before the schedule begins, which no "
                        "order would be about: let it commit, or close its connection"
                    )
                link.be_patient()

    def learn_habits(self, seconds: float) -> bool:
        """Serves for so long while no session moves: a question in both halves is a habit. Whether one is new."""
        halves: list[set[str]] = []
        self.is_controlled, self.current, self._is_over = True, None, False
        for _ in range(2):
            before, until = self.background.passed_on.copy(), time.monotonic() + seconds / 2
            while (left := until - time.monotonic()) > 0:
                self.loop.pump(left)
            halves.append(set(self.background.passed_on - before))
        self.is_controlled = False
        return self.background.learn(halves[0] & halves[1])

    @property
    def lingers(self) -> bool:
        """Whether a session at rest is waited for, as it may ask more at once: in the first schedule, to find out."""
        return self._schedules == 1

    def linger(self) -> None:
        """Serves until nothing has come for LINGER seconds, and every new client has asked something."""
        now = time.monotonic()
        until = now + LONGEST_LINGER
        while now < until and (self.loop.pump(LINGER) or any(now < one.is_new_until for one in self._links)):
            now = time.monotonic()
        self.wake()  # others may have received something meanwhile

    def linger_for(self, comes: Callable[[], bool]) -> None:
        """Serves until something comes, for LATE seconds at most."""
        until = time.monotonic() + LATE
        while not comes() and (left := until - time.monotonic()) > 0:
            self.loop.pump(left)
        self.wake()

    def begin_all(self) -> None:
        """Before an exploration."""
        self.background.begin()
        self._schedules = 0

    def end(self) -> None:
        """After an exploration: there are no turns any more."""
        self.release()
        self.is_controlled = False
        for link in list(self._links):
            link.go_on()

    def release(self) -> None:
        self.current, self._is_over = None, True
        self._sessions.clear()
        contested, self._contested = self._contested, []
        for link in contested:
            link.go_on()

    # -- as the links ask

    def stir(self) -> None:
        self.stillness.stir()

    def is_contested(self, link: Link) -> bool:
        """Whether a session that waited inside the service may have been resumed there, and ask this."""
        if not any(one.is_inside for one in self._sessions.values()):
            return False
        if link not in self._contested:
            self.stir()
            self._contested.append(link)
        return True

    def claim(self) -> None:
        links, self._contested = self._contested, []
        for link in links:
            # Pools are queues: of the sessions that may ask this, one that has waited comes before the one that moves.
            able = [one for one in self._sessions.values() if one.is_inside]
            if self.current and self.current.is_silent:
                able.append(self.current)
            likely = (one for one in able if link.asked and one.may_ask(link.asked[0].trip.sql))
            link.go_on(next(likely, self.current))
        if links:
            self.wake()

    def add(self, link: Link) -> None:
        self.stir()
        self._links.add(link)

    def forget(self, link: Link) -> None:
        self._links.discard(link)

    def pass_on(self, ask: Ask) -> None:
        if not self._is_over:
            self.background.pass_on(ask, in_schedule=self._schedules > 0)

    def is_habit(self, ask: Ask) -> bool:
        return self.background.is_habit(ask)

    def note(self, trouble: str) -> None:
        if trouble not in self.troubles:
            self.troubles.append(trouble)

    def redis_url_behind(self) -> str:
        """The URL of the lab's Redis itself. Raises BadInput where it is not the lab's own."""
        if not self.keyvalue.is_embedded:
            raise BadInput(
                "at the wire only the lab's own Redis can be explored, since any key may be written: unset "
                "ZEPHYR_LAB_REDIS_URL"
            )
        return self.keyvalue.url

    @property
    def keyvalue(self) -> KeyValue:
        return self._keyvalue()

    def knows_script(self, sha: str) -> bool:
        if sha not in self._scripts and self.keyvalue.client.script_exists(sha)[0]:
            self._scripts.add(sha)
        return sha in self._scripts

    def cancel(self, pid: int, key: bytes) -> None:
        for link in self._links:
            if isinstance(link, PostgresLink) and link.backend and link.backend.pid == pid and link.backend.key == key:
                link.cancel()

    def close(self) -> None:
        """Ends all connections and programs, and removes the sockets."""
        if "programs" in vars(self):
            self.programs.close()
        if "loop_thread" in vars(self):
            self.loop_thread.close()
        self.serving.stop()
        for link in list(self._links):
            with contextlib.suppress(LabError):
                link.close()
        for endpoint in self._endpoints.values():
            endpoint.close()
        self.backends.close()
        self.serving.close()
