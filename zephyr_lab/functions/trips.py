"""The round trips of a session, requests and results, as events of a transcript."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from zephyr_lab.schedule.transcript import Event, EventKind, Failure, Result


class RedisAccess(Enum):
    READS = auto()
    WRITES = auto()


@dataclass
class RoundTrip:
    """A request and its result. A `private` one takes no turn.

    `whole` is all that is sent, an implicit BEGIN included; `status` is the transaction's state before it, as a
    pq.TransactionStatus; `redis` describes a message to Redis; `where` is the line that sent it. `answer_lost`: the
    server has carried it out, and the session gets an error of the connection instead of the answer. `awaits`: how many
    replies of Redis are still to come.
    """

    sql: str
    whole: str = ""
    private: bool = False
    redis: RedisAccess | None = None
    status: int = 0
    results: list[Result] = field(default_factory=list)
    failure: Failure | None = None
    lost: bool = False
    where: str = ""
    answer_lost: bool = False
    awaits: int = 1


@dataclass
class Trips:
    """A session's round trips: `next` is pending, `done` were made since `events` was called, `all` before that."""

    session: str
    next: RoundTrip | None = None
    done: list[RoundTrip] = field(default_factory=list)
    last: RoundTrip | None = None  # the round trip of the last events, if it was one
    all: list[RoundTrip] = field(default_factory=list)

    def events(self, *, resumed: bool) -> list[Event]:
        """The events of the round trips since the last call; the first that takes a turn may have been blocked."""
        trips = merged(self.done)
        # Private ones are shown with the next one.
        self.done = self.done[_end_of_told(self.done) :]
        self.last = trips[-1] if len(trips) == 1 else None
        self.all += trips
        blocked = next((place for place, trip in enumerate(trips) if not trip.private), 0)
        return [self._event(trip, resumed and place == blocked) for place, trip in enumerate(trips)]

    def _event(self, trip: RoundTrip, resumed: bool) -> Event:
        kind = EventKind.LOST if trip.lost else EventKind.FAILED if trip.failure else EventKind.COMPLETED
        return Event(
            self.session, self.session, trip.sql, kind,
            resumed=resumed, results=tuple(trip.results), failure=trip.failure, where=trip.where,
            notices=("the answer is lost",) if trip.answer_lost else (), whole=trip.whole,
        )  # fmt: skip

    def underway(self) -> RoundTrip:
        """What the session was last resumed to do."""
        trips = merged(self.done)
        return trips[-1] if trips else RoundTrip("")

    def last_of(self, event: Event) -> RoundTrip | None:
        """The round trip of an event of the last turn, if it was the only one."""
        if event.kind is not EventKind.WAITS:
            return self.last
        trips = merged(self.done)
        return trips[-1] if len(trips) == 1 else None

    def upcoming(self) -> RoundTrip | None:
        """The pending round trip, with the private ones before it."""
        trips = merged([*self.done, self.next]) if self.next else []
        return trips[-1] if len(trips) == 1 else None


def _end_of_told(trips: Sequence[RoundTrip]) -> int:
    """The index of the trailing private round trips."""
    place = len(trips)
    while place and trips[place - 1].private and not trips[place - 1].failure:
        place -= 1
    return place


def merged(trips: Iterable[RoundTrip]) -> list[RoundTrip]:
    """Groups private round trips with the one that follows."""
    told: list[RoundTrip] = []
    before: list[RoundTrip] = []
    for trip in trips:
        if trip.private and not trip.failure:
            before.append(trip)
            continue
        sql = "; ".join([*(one.sql for one in before), trip.sql])
        whole = "; ".join([*(one.whole for one in before), trip.whole])
        told.append(replace(trip, sql=sql, whole=whole))
        before = []
    return told
