"""Verifies a run by the database: rows against acknowledgements, money against capacity and counters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg

from zephyr_lab.load.arrivals import asks
from zephyr_lab.load.conditions import Incident
from zephyr_lab.load.counts import Outcome
from zephyr_lab.orders.documented import DocumentedSlots
from zephyr_lab.orders.models import Slot
from zephyr_lab.orders.session import run_sync
from zephyr_lab.orders.slots import RedisSlots
from zephyr_lab.orders.strategies import Load

_SLOTS = """
select slots.id, capacity, booked, coalesce(sum(final_price), 0)::bigint, count(orders.id)
from slots left join orders on target_slot_id = slots.id and target_slot_id > '' and status <> 'cancelled'
group by slots.id having slots.booked <> 0 or count(orders.id) > 0"""


@dataclass
class Truth:
    """`acknowledged` orders are those that the service reported as created; some `unanswered` are `saved_unanswered`.

    `lost` were acknowledged and do not exist; `unexpected` exist although their customers got another reply; `twice`
    exist more than once. Money in roubles: `roubles_over` above capacity in `oversold` slots;
    `lost_updates` roubles are in orders and not in the slots' counter, `leaked` the other way round; `counted` are in
    all of these.
    """

    acknowledged: int = 0
    rows: int = 0
    unanswered: int = 0
    saved_unanswered: int = 0
    lost: list[UUID] = field(default_factory=list)
    unexpected: list[UUID] = field(default_factory=list)
    twice: list[UUID] = field(default_factory=list)
    slots: int = 0
    oversold: int = 0
    roubles_over: int = 0
    lost_updates: int = 0
    leaked: int = 0
    counted: int = 0

    def wrong(self) -> list[str]:
        """The violations, in words; empty if there are none."""
        found = []
        if self.oversold:
            found.append(f"oversold: {self.oversold} of {self.slots} slots, by {self.roubles_over:,} roubles")
        if self.lost_updates:
            found.append(f"lost updates: the slots' counter lacks {self.lost_updates:,} roubles that orders have")
        if self.lost:
            found.append(f"lost orders: {len(self.lost)} were acknowledged and are not in the database")
        if self.unexpected:
            found.append(f"unexpected orders: {len(self.unexpected)} are saved though their customers were told no")
        if self.twice:
            found.append(f"saved twice: {len(self.twice)} orders")
        return found


def orders(connection: psycopg.Connection[Any]) -> list[UUID]:
    """The ids of the run's orders."""
    return [id for (id,) in connection.execute("select id from orders where target_slot_id > ''").fetchall()]


def look(connection: psycopg.Connection[Any], redis: Any, incident: Incident, outcomes: bytearray) -> Truth:
    """Compares replies with rows, after the run and all of its transactions have ended."""
    found = Truth()
    saved: dict[UUID, int] = {}
    for id in orders(connection):
        saved[id] = saved.get(id, 0) + 1
    found.rows = sum(saved.values())
    found.twice = [id for id, times in saved.items() if times > 1]
    for ask, told in zip(asks(incident), outcomes, strict=False):
        there = ask.id in saved
        if told == Outcome.CREATED:
            found.acknowledged += 1
            if not there:
                found.lost.append(ask.id)
        elif told in (Outcome.UNANSWERED, Outcome.NO_CONNECTION):
            # After an attempt whose answer was lost there must be no other connection.
            found.unanswered += 1
            found.saved_unanswered += there
        elif there:
            found.unexpected.append(ask.id)
    _money(connection, redis, incident, found)
    return found


def _money(connection: psycopg.Connection[Any], redis: Any, incident: Incident, found: Truth) -> None:
    rows = connection.execute(_SLOTS).fetchall()
    load = incident.as_strategy().load
    kept = {id: booked for id, _, booked, *_ in rows}
    if load is Load.REDIS:
        slots = [Slot.of_id(id) for id in kept]
        for keeper in (DocumentedSlots(redis), RedisSlots(redis)):
            kept = dict.fromkeys(kept, 0) | run_sync(keeper.loads(slots))
            if any(kept.values()):
                break
    found.counted = sum(kept.values())
    for id, capacity, _, ordered, orders in rows:
        found.slots += bool(orders)
        found.oversold += ordered > capacity
        found.roubles_over += max(0, ordered - capacity)
        if load is not Load.ORDERS:
            found.lost_updates += max(0, ordered - kept[id])
            found.leaked += max(0, kept[id] - ordered)
