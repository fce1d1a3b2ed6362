"""The effect of a function's round trip, as `explore.effect` gives it for a step.

What a function sends is known only when it parks, so effects are by table, never by row. After a statement that is
not understood the search begins again without reduction; after the first opaque one, with that taken into account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from zephyr_lab.explore.effect import Effect, Effects
from zephyr_lab.explore.footprint import OPAQUE, Footprint, Rows, RowSet
from zephyr_lab.explore.symmetry import NAMES_ITSELF
from zephyr_lab.functions.scheduled import Scheduled
from zephyr_lab.functions.trips import RedisAccess, RoundTrip
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Spec
from zephyr_lab.schedule.transcript import Event, Result
from zephyr_lab.sql.classify import mentions_level

_REDIS = frozenset({Rows("", "redis")})


class NotReducible(Exception):
    """A function chose an isolation level of its own, or sent what is not understood."""


class OpaqueMet(Exception):
    """A function may touch whatever others touch: round trips that were taken as local may not have been."""


class FunctionEffects(Effects):
    """Follows executions of functions. `footprint` is `statement.Schema.footprint`."""

    def __init__(self, spec: Spec, isolation: IsolationLevel, footprint: Callable[[str], Footprint]) -> None:
        self._known: dict[str, Footprint] = {}
        super().__init__(spec, isolation, footprint)

    def touched(self, trip: RoundTrip | None) -> Footprint:
        """What a round trip to PostgreSQL may touch. Raises NotReducible, and OpaqueMet at the first that is opaque."""
        if trip is None:
            return self._met(OPAQUE)
        if trip.whole not in self._known:
            found = self.footprint(trip.whole)
            if found.unknown or mentions_level(trip.whole) or NAMES_ITSELF.search(trip.whole):
                raise NotReducible(trip.whole)
            self._known[trip.whole] = replace(
                found,
                reads=_tables(found.reads),
                locks=_tables(found.locks),
                writes=_tables(found.writes),
                inserts=_tables(found.inserts),
            )
        return self._met(self._known[trip.whole])

    def _met(self, footprint: Footprint) -> Footprint:
        if footprint.opaque and self.note_opaque():
            raise OpaqueMet
        return footprint

    def next_is_local(self, session: Scheduled) -> bool:
        """Whether no other session can notice when the session's next round trip happens."""
        trip = session.log.upcoming()
        if trip is None or trip.redis:
            return False
        self.foresee(session.name, self.touched(trip))
        return self.is_local(session.name)

    def before_turn(self, session: Scheduled, ask: Callable[[str], list[Result]]) -> None:
        """As `check_reads`."""
        trip = session.log.upcoming()
        if self.by_table and trip and not trip.redis:
            self.foresee(session.name, self.touched(trip))
            self.check_reads(session.name, ask)

    def after_turn(self, events: Sequence[Event], sessions: Mapping[str, Scheduled]) -> Effect:
        """The effect of a turn, by the events that it led to."""
        statuses, asked = {}, []
        whole = Effect(frozenset())
        for event in events:
            session = sessions[event.session]
            trip = session.log.last_of(event)
            if trip and trip.redis:
                publishes: RowSet = _REDIS if trip.redis is RedisAccess.WRITES else frozenset()
                whole = whole.joined(Effect(frozenset({event.session}), looks=_REDIS, publishes=publishes))
                continue
            self.foresee(event.step, self.touched(trip))
            statuses[event.session] = trip.status if trip else 0
            asked.append(event)
        whole = whole.joined(self.after(asked, statuses))
        # A sleeping session may go on after any other session's turn.
        napping = any(sessions[event.session].sleeps for event in events)
        return replace(whole, opaque=True) if napping else whole


def _tables(rows: RowSet) -> RowSet:
    return frozenset(Rows(one.table, one.column if not one.table else "") for one in rows)
