"""The lab's sockets: whoever connects to them works on the lab's servers, and takes turns while a schedule runs.

Sockets are this user's alone: those of PostgreSQL and Redis in a folder that nobody else may enter, those of TCP on the
loopback interface, with a password. One thread serves them: that of the schedule while one runs, else one of its own.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from zephyr_lab.errors import LabError
from zephyr_lab.functions.answers import Answers
from zephyr_lab.servers.database import Database
from zephyr_lab.views.abridged import one_line
from zephyr_lab.wire.asks import Ask
from zephyr_lab.wire.backends import Backends
from zephyr_lab.wire.link import Link
from zephyr_lab.wire.postgres_link import PostgresLink
from zephyr_lab.wire.session import WireSession, Work
from zephyr_lab.wire.streams import Loop

if TYPE_CHECKING:
    from zephyr_lab.servers.keyvalue import KeyValue

PORT = 5432  # in the name of the socket in a folder, as libpq makes it
NAME = "lab"  # of role and database, which the lab's own take the place of


class Endpoint:
    """Where clients connect: `dsn` and `redis_url` by TCP, `host` and `port` by the folder's socket.

    `session` is the only one whose clients come here; None where all do.
    """

    def __init__(self, wire: Wire, folder: Path) -> None:
        self._wire, self.session = wire, None
        folder.mkdir(mode=0o700)
        self.host, self.port = str(folder), PORT
        self._password = secrets.token_urlsafe(12)
        self._listeners: list[socket.socket] = []
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(str(folder / f".s.PGSQL.{PORT}"))
        self._listen(unix, None)
        tcp = socket.socket()
        tcp.bind(("127.0.0.1", 0))
        self.tcp_port: int = tcp.getsockname()[1]
        self._listen(tcp, self._password)

    session: WireSession | None

    def _listen(self, listener: socket.socket, password: str | None) -> None:
        listener.listen(128)
        listener.setblocking(False)

        def accept(events: int) -> None:
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                self._wire.add(PostgresLink(self._wire, client, self.session, password))

        self._wire.loop.watch(listener, 1, accept)
        self._listeners.append(listener)

    @property
    def dsn(self) -> str:
        """A URL for clients that take one. It says that there is no TLS, which lib/pq wants otherwise."""
        return f"{self.url('postgresql')}?sslmode=disable"

    def url(self, scheme: str) -> str:
        """The URL of an engine of SQLAlchemy's, such as `postgresql+asyncpg`."""
        return f"{scheme}://{NAME}:{quote(self._password)}@127.0.0.1:{self.tcp_port}/{NAME}"

    @property
    def environment(self) -> dict[str, str]:
        """What libpq and its like read of the environment."""
        return {
            "PGHOST": "127.0.0.1", "PGPORT": str(self.tcp_port), "PGUSER": NAME, "PGDATABASE": NAME,
            "PGPASSWORD": self._password, "PGSSLMODE": "disable",
        }  # fmt: skip

    def close(self) -> None:
        for listener in self._listeners:
            self._wire.loop.watch(listener, 0, lambda events: None)
            listener.close()


class Wire:
    """All of it, for one lab. `dsn` and the like are of the endpoint that is everybody's.

    `current` is the session that moves. `background` counts what nobody of a schedule has asked, by its text;
    `troubles` are what clients were told because of which they may have failed.
    """

    def __init__(self, database: Database, keyvalue: Callable[[], KeyValue]) -> None:
        self._database, self._keyvalue = database, keyvalue
        self.loop, self.backends = Loop(), Backends(database)
        self.level = "read committed"
        self.current: WireSession | None = None
        self.background: Counter[str] = Counter()
        self.troubles: list[str] = []
        self.is_controlled = False
        self._links: set[Link] = set()
        self._endpoints: dict[str, Endpoint] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="zephyr-lab-wire-"))
        self._bell, self._button = socket.socketpair()
        self._bell.setblocking(False)
        self._button.setblocking(False)
        self.loop.watch(self._bell, 1, self._rung)
        self._rests = False
        self._idle: threading.Thread | None = None
        self.shared = self.endpoint("")
        self._serve()

    def endpoint(self, name: str) -> Endpoint:
        """That of the sessions of this name; with an empty one that of all."""
        if name not in self._endpoints:
            with self.controlled():
                self._endpoints[name] = Endpoint(self, self._folder / f"{len(self._endpoints)}")
        return self._endpoints[name]

    @property
    def dsn(self) -> str:
        return self.shared.dsn

    def session(self, name: str, work: Work, answers: Answers, *, own: bool) -> WireSession:
        """A session of a schedule. With `own`, connections to the endpoint of its name are its own."""
        session = WireSession(name, work, self, answers, own=own)
        if own:
            self.endpoint(name).session = session
        return session

    # -- who serves

    def _serve(self) -> None:
        self._rests = False
        self._idle = threading.Thread(name="zephyr-lab wire", target=self._serve_idly, daemon=True)
        self._idle.start()

    def _serve_idly(self) -> None:
        while not self._rests:
            self.loop.pump(None)

    @contextlib.contextmanager
    def controlled(self) -> Iterator[None]:
        """While it lasts, the thread that calls serves, by `loop.pump`."""
        thread, self._idle = self._idle, None
        if thread is not None:
            self._rests = True
            self.wake()
            thread.join()
        try:
            yield
        finally:
            if thread is not None:
                self._serve()

    def wake(self) -> None:
        """Has whoever serves look again. From any thread."""
        with contextlib.suppress(OSError):
            self._button.send(b".")

    def _rung(self, events: int) -> None:
        with contextlib.suppress(OSError):
            self._bell.recv(4096)

    # -- schedules

    def begin(self, level: str) -> None:
        """Before each schedule. What clients have kept open gets the level, and belongs to nobody."""
        self.level, self.current, self.is_controlled = level, None, True
        for link in self._links:
            link.owner = link.session
            if isinstance(link, PostgresLink) and link.backend and not link.keeps_owner:
                link.backend.set_level(level)
                link.be_patient()

    def end(self) -> None:
        """After an exploration: nobody takes turns."""
        self.is_controlled, self.current = False, None
        for link in list(self._links):
            link.go_on()

    # -- as the links ask

    def add(self, link: Link) -> None:
        self._links.add(link)

    def forget(self, link: Link) -> None:
        self._links.discard(link)

    def pass_on(self, ask: Ask) -> None:
        if not ask.trip.private:
            self.background[one_line(ask.trip.sql, 80)] += 1

    def note(self, trouble: str) -> None:
        if trouble not in self.troubles:
            self.troubles.append(trouble)

    def cancel(self, pid: int, key: bytes) -> None:
        for link in self._links:
            if isinstance(link, PostgresLink) and link.backend and link.backend.pid == pid and link.backend.key == key:
                link.backend.cancel()

    def close(self) -> None:
        """Ends all connections, and removes the sockets."""
        self._rests = True
        self.wake()
        if self._idle is not None and self._idle is not threading.current_thread():
            self._idle.join()
        for link in list(self._links):
            with contextlib.suppress(LabError):
                link.close()
        for endpoint in self._endpoints.values():
            endpoint.close()
        self.backends.close()
        self._bell.close()
        self._button.close()
        self.loop.close()
        shutil.rmtree(self._folder, ignore_errors=True)
