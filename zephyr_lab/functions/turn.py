"""A function's thread waits for its turn before each round trip; the scheduler says whose turn it is.

Between two turns a function runs on until its next round trip, or to its end. A thread knows its own turn (`here`), so
that clients that nobody handed to it, such as a Redis client in a global variable, can be asked to wait as well.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from zephyr_lab.errors import BadInput, LabError, ScheduleError
from zephyr_lab.functions.places import line_of_yours
from zephyr_lab.functions.trips import RoundTrip, Trips

if TYPE_CHECKING:
    from zephyr_lab.functions.content import Content
    from zephyr_lab.servers.bounds import Bounds


class Abandoned(BaseException):
    """Raised in a function's thread when its schedule is given up; no `except Exception` catches it."""


class Owner(Protocol):
    """On whose behalf a thread runs: a session's `Turn`, or what is run beside the sessions.

    `title` says who it is, `content` is the lab's Redis where one is explored; `bounds` is how far SQL may go, on a
    server of somebody else's; `said`, what it has said to PostgreSQL, where nobody else keeps that;
    `kept` is what a framework has one of, and `at_end` lets go of it.
    """

    title: str
    said: list[str]
    kept: dict[str, Any]
    at_end: contextlib.ExitStack
    content: Content | None
    bounds: Bounds | None

    def refuse(self, error: LabError) -> LabError:
        """Keeps the first thing that cannot be explored, for whoever explores to raise."""
        ...


class Unscheduled(Owner, Protocol):
    """An owner that is no session: its connections lead to the lab's schema, and wait for no turn."""

    def connecting(self, connect: Callable[[str], Generator[Any, Any, Any]]) -> Generator[Any, Any, Any]:
        """psycopg's generator that connects, to the lab's schema whatever the DSN was."""
        ...

    def controls(self, connection: Any) -> bool:
        """Whether a psycopg connection leads into the lab's schema."""
        ...


class Turn:
    """Stands between a function's thread and the scheduler: the thread parks before a round trip until it is let go.

    `log` is what it waits to send and has sent; `sleeps` counts sleeps since somebody else moved. `misuse` is what the
    function did that cannot be explored, whatever it makes of the error
    that it was told. `refused` is the SQLSTATE with which the last transaction was aborted; what is committed after
    it clears it. `outside` is what it has used that no outcome holds, as sentences. `locks_on`: it may hold locks that
    a transaction's end does not let go. `made_up` counts the ids and tokens that it was given.
    """

    def __init__(
        self, name: str, open_connection: Callable[[type], Any], content: Content | None, bounds: Bounds | None
    ) -> None:
        self.name, self.title = name, f"session {name}"
        self.content, self.bounds = content, bounds
        self.open_connection = open_connection  # for the class of psycopg's that is asked for one
        self.log = Trips(name)
        self.sleeps = 0
        self.trips = 0
        self.made_up = 0
        self.misuse: LabError | None = None
        self.said: list[str] = []
        self.outside: set[str] = set()
        self.kept: dict[str, Any] = {}
        self.at_end = contextlib.ExitStack()
        self.refused = ""
        self.locks_on = False
        self.is_aside = False
        # Redis connections by id: those whose messages belong to a larger one, and what each has asked last.
        self.inside: set[int] = set()
        self.on_the_wire: dict[int, RoundTrip | None] = {}
        self._go = threading.Semaphore(0)
        self.abandoned = False
        self.wakeup_fd, self._notify_fd = socket.socketpair()

    # -- the thread's side

    def take(self, trip: RoundTrip) -> RoundTrip:
        """Waits until it is this session's turn, unless the trip is private. Raises Abandoned."""
        self._check()
        trip.where = line_of_yours()
        if not trip.private:
            if self.log.next is not None:
                raise self.refuse(
                    ScheduleError(
                        f"session {self.name} asked two things at once, in threads of its own: {self.log.next.sql!r} "
                        f"and {trip.sql!r}; let one wait for the other, or make two functions of it, two sessions"
                    )
                )
            self.log.next = trip
            self.notify()
            self._go.acquire()
            self._check()
            self.log.next = None
        self.trips += 1
        self.locks_on = self.locks_on or "advisory_lock" in trip.sql
        self.log.done.append(trip)
        return trip

    @contextlib.contextmanager
    def outside_schedule(self) -> Iterator[None]:
        """What is asked meanwhile is part of no schedule."""
        self.is_aside = True
        try:
            yield
        finally:
            self.is_aside = False

    def _check(self) -> None:
        if self.abandoned:
            raise Abandoned

    def refuse(self, error: LabError) -> LabError:
        """Keeps the first thing that cannot be explored, for the scheduler to raise."""
        self.misuse = self.misuse or error
        return error

    def notify(self) -> None:
        """Tells the scheduler that the thread has parked, or has ended."""
        with contextlib.suppress(OSError):
            self._notify_fd.send(b".")

    # -- the scheduler's side

    def let_go(self) -> None:
        self._go.release()

    def heard(self) -> bool:
        """Whether the thread has parked or ended since it was let go."""
        return bool(self.wakeup_fd.recv(1))

    def abandon(self) -> None:
        self.abandoned = True
        self._go.release()

    def close(self) -> None:
        self.at_end.close()
        self.wakeup_fd.close()
        self._notify_fd.close()


def check_bounds(owner: Owner, sql: str) -> None:
    """Raises BadInput, and keeps it, for SQL that would leave the lab's schema on a server of somebody else's."""
    if owner.bounds is None:
        return
    try:
        owner.bounds.check(sql, owner.title)
    except BadInput as error:
        raise owner.refuse(error) from None


_local = threading.local()
_owners: dict[int, Owner] = {}  # by thread, for those that another thread asks for


def owner() -> Owner | None:
    """On whose behalf the thread that asks runs; None for anybody else's."""
    return getattr(_local, "owner", None)


def owner_of(thread: int) -> Owner | None:
    """On whose behalf another thread runs, by its ident."""
    return _owners.get(thread)


def current_session() -> Turn | None:
    """The turn of the thread that asks; None where it is not a session's."""
    found = owner()
    return found if isinstance(found, Turn) else None


def bind_thread(owner: Owner | None) -> None:
    """Makes the thread that calls a session's."""
    _local.owner = owner
    if owner is None:
        _owners.pop(threading.get_ident(), None)
    else:
        _owners[threading.get_ident()] = owner


def on_behalf_of(owner: Owner | None, function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function; what it does is done for that owner, whichever thread it runs in."""

    def run(*args: Any, **kwargs: Any) -> Any:
        before = getattr(_local, "owner", None)
        bind_thread(owner)
        try:
            return function(*args, **kwargs)
        finally:
            bind_thread(before)

    return run
