"""A function's thread waits for its turn before each round trip; the scheduler decides whose turn it is.

Between two turns a function runs on until its next round trip, or to its end. The turn is found by thread
(`current_session`), so that clients that were not provided, such as a global Redis client, wait as well.
"""

from __future__ import annotations

import contextlib
import ctypes
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
    """Raised in a function's thread when its schedule is abandoned; no `except Exception` catches it."""


def interrupt(thread: threading.Thread) -> None:
    """Raises Abandoned in a thread as soon as it runs Python, if it has not ended."""
    if thread.ident and thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Abandoned))


class Owner(Protocol):
    """The owner of a thread: a session's `Turn`, or code that runs beside the sessions.

    `title` names it, `content` is the lab's Redis if one is explored; `bounds` limits SQL on an external server; `said`
    are statements sent to PostgreSQL that are kept nowhere else; `kept` are singletons, which `at_end` releases.
    """

    title: str
    said: list[str]
    kept: dict[str, Any]
    at_end: contextlib.ExitStack
    content: Content | None
    bounds: Bounds | None

    def refuse(self, error: LabError) -> LabError:
        """Keeps the first error of what cannot be explored, for the exploration to raise."""
        ...


class Unscheduled(Owner, Protocol):
    """An owner that is no session: its connections lead to the lab's schema, without turns."""

    def connecting(self, connect: Callable[[str], Generator[Any, Any, Any]]) -> Generator[Any, Any, Any]:
        """psycopg's connecting generator, redirected to the lab's schema."""
        ...

    def controls(self, connection: Any) -> bool:
        """Whether a psycopg connection leads into the lab's schema."""
        ...


class Turn:
    """Passes control between a function's thread and the scheduler: the thread parks before each round trip.

    `log` has its round trips; `sleeps` counts sleeps since another session moved. `misuse` is what the function did
    that cannot be explored, even if it caught the error. `refused` is the SQLSTATE that aborted the last transaction; a
    later commit clears it. `outside` is what it used that is in no outcome, as sentences. `locks_on`: it may hold locks
    that outlive a transaction. `made_up` counts the random ids and tokens that it got. `dies_next`: the session dies
    once its next round trip has been carried out. `in_redis` is the connection of a command that may wait
    inside Redis, and whether that has a time limit; `gave_up`: one has given up since another session moved.
    """

    def __init__(
        self, name: str, open_connection: Callable[[type], Any], content: Content | None, bounds: Bounds | None
    ) -> None:
        self.name, self.title = name, f"session {name}"
        self.content, self.bounds = content, bounds
        self.open_connection = open_connection  # for the requested psycopg class
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
        # Redis connections by id: those whose messages are part of a larger one, and the last command of each.
        self.inside: set[int] = set()
        self.on_the_wire: dict[int, RoundTrip | None] = {}
        self.dies_next = False
        self.in_redis: tuple[int, bool] | None = None
        self.gave_up = False
        self._handed_over = threading.Event()
        self._handed_over.set()
        self._go = threading.Semaphore(0)
        self.abandoned = False
        self.wakeup_fd, self._notify_fd = socket.socketpair()

    # -- the thread's side

    def take(self, trip: RoundTrip) -> RoundTrip:
        """Waits for this session's turn, unless the trip is private. Raises Abandoned."""
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

    def survive(self) -> None:
        """Called when a round trip has been carried out. Raises Abandoned if the session dies then."""
        if self.dies_next:
            self.abandoned = True
            raise Abandoned

    def woken(self) -> None:
        """Called when a command that may have waited inside Redis is answered: its answer may be held back."""
        self.in_redis = None
        self._handed_over.wait()

    @contextlib.contextmanager
    def outside_schedule(self) -> Iterator[None]:
        """Round trips inside the block are part of no schedule."""
        self.is_aside = True
        try:
            yield
        finally:
            self.is_aside = False

    def _check(self) -> None:
        if self.abandoned:
            raise Abandoned

    def refuse(self, error: LabError) -> LabError:
        """Keeps the first error of what cannot be explored, for the scheduler to raise."""
        self.misuse = self.misuse or error
        return error

    def notify(self) -> None:
        """Notifies the scheduler that the thread has parked, or has ended."""
        with contextlib.suppress(OSError):
            self._notify_fd.send(b".")

    # -- the scheduler's side

    def let_go(self) -> None:
        self._go.release()

    def hold(self, held: bool) -> None:
        """Whether the answer to a command that waits inside Redis is held back."""
        if held:
            self._handed_over.clear()
        else:
            self._handed_over.set()

    def heard(self) -> bool:
        """Whether the thread has parked or ended since it was resumed."""
        return bool(self.wakeup_fd.recv(1))

    def abandon(self) -> None:
        self.abandoned = True
        self._handed_over.set()
        self._go.release()

    def close(self) -> None:
        self.at_end.close()
        self.wakeup_fd.close()
        self._notify_fd.close()


def check_bounds(owner: Owner, sql: str) -> None:
    """Raises BadInput, and keeps it, for SQL that would leave the lab's schema on an external server."""
    if owner.bounds is None:
        return
    try:
        owner.bounds.check(sql, owner.title)
    except BadInput as error:
        raise owner.refuse(error) from None


_local = threading.local()
_owners: dict[int, Owner] = {}  # by thread, for lookups from another thread


def owner() -> Owner | None:
    """The owner of the calling thread, or None."""
    return getattr(_local, "owner", None)


def owner_of(thread: int) -> Owner | None:
    """The owner of another thread, by its ident."""
    return _owners.get(thread)


def current_session() -> Turn | None:
    """The turn of the calling thread; None if it is not a session's."""
    found = owner()
    return found if isinstance(found, Turn) else None


def bind_thread(owner: Owner | None) -> None:
    """Makes `owner` the owner of the calling thread."""
    _local.owner = owner
    if owner is None:
        _owners.pop(threading.get_ident(), None)
    else:
        _owners[threading.get_ident()] = owner


def on_behalf_of(owner: Owner | None, function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which runs for `owner` in whichever thread."""

    def run(*args: Any, **kwargs: Any) -> Any:
        before = getattr(_local, "owner", None)
        bind_thread(owner)
        try:
            return function(*args, **kwargs)
        finally:
            bind_thread(before)

    return run
