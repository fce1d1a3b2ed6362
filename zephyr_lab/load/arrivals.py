"""Orders and their times: the same for the same seed.

Open loop: orders arrive at their times, independent of earlier ones, as customers do. Closed loop: the next one arrives
after the last reply, so that a slow service gets fewer orders, and looks better than it is.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import islice
from typing import Any
from uuid import UUID

from zephyr_lab.load.conditions import QUANTITIES, Incident
from zephyr_lab.orders.models import Item, Order, customers, menu

DAY_SHAPE = (4, 6, 11, 14, 9, 6, 5, 7, 12, 15, 12, 7)
"""Orders an hour from 10:00 to 22:00, as shares: lunch, and dinner. Made up for the lab."""


@dataclass(frozen=True)
class Ask:
    """One order to be sent. `at` is in seconds from the start, 0 in a closed loop; `lane` is its hot slot."""

    number: int
    at: float
    id: UUID
    pizza: str
    quantity: int
    customer: int
    lane: int

    @cached_property
    def item(self) -> Item:
        """Its item, at the menu's price."""
        return Item.from_menu(self.pizza, self.quantity)

    def order(self, incident: Incident, today: date) -> Order:
        """It as the service's order."""
        now = incident.moment(self.number, self.lane, today)
        return Order.of([self.item], id=self.id, now=now, **customers()[self.customer])

    def request(self) -> dict[str, Any]:
        """The fields of a PizzaOrderRequest."""
        return {"pizza_name": self.pizza, "quantity": self.quantity, **customers()[self.customer]}


def times(incident: Incident) -> Iterator[float]:
    """Intended starts, ascending, in seconds from the start of the run up to its end; endless zeros if closed."""
    chance = random.Random(f"{incident.seed} times")
    if incident.is_closed:
        while True:
            yield 0.0
    elif incident.arrivals == "constant":
        for number in range(round(incident.rate * incident.seconds)):
            yield number / incident.rate
    else:
        # A Poisson process of rate 1 in the demand so far; the shape says how demand grows with time.
        demand, whole = 0.0, incident.rate * incident.seconds
        while (demand := demand + chance.expovariate(1.0)) < whole:
            share = demand / whole
            yield incident.seconds * (_when(share) if incident.arrivals == "day" else share)


def _when(share: float) -> float:
    """The fraction of the day after which that fraction of its orders has arrived."""
    left = share * sum(DAY_SHAPE)
    for hour, orders in enumerate(DAY_SHAPE):
        if left <= orders:
            return (hour + left / orders) / len(DAY_SHAPE)
        left -= orders
    return 1.0


def asks(incident: Incident) -> Iterator[Ask]:
    """Every order of a run, by time. The same seed gives the same orders."""
    chance = random.Random(f"{incident.seed} orders")
    pizzas, people = sorted(menu()), range(len(customers()))
    for number, at in enumerate(times(incident)):
        yield Ask(
            number,
            at,
            UUID(int=chance.getrandbits(128), version=4),
            chance.choice(pizzas),
            chance.choice(QUANTITIES),
            chance.choice(people),
            chance.randrange(incident.slots),
        )


def share_of(incident: Incident, share: int) -> Iterator[Ask]:
    """The share of one process: every n-th order."""
    return islice(asks(incident), share, None, incident.processes)
