"""Exercises with one slot: make book() safe at READ COMMITTED, and then without anybody having to wait."""

from __future__ import annotations

from typing import Any

from zephyr_lab.course.checker import Exercise, Scenario, call
from zephyr_lab.course.observed import Observed
from zephyr_lab.course.rules import Rule, nobody_is_aborted, yes_or_no

SLOTS = """
create table slots (slot text primary key, booked int not null, capacity int not null);
insert into slots values ('18:00', 90000, 100000), ('18:15', 50000, 100000);
analyze slots;
"""
BEFORE = {"18:00": 90_000, "18:15": 50_000}
TASK = """book(conn, slot, price) books an order into a slot and returns True; if the order does not fit,
it changes nothing and returns False. At 18:00 there is room for 10,000 roubles."""


def slots(run: Observed) -> dict[str, dict[str, Any]]:
    return {row["slot"]: row for row in run.rows("slots")}


def booking(words: str, *orders: tuple[str, int]) -> Scenario:
    """Concurrent orders, a session each: accepted ones must equal what is booked, and one that fits be accepted."""
    named = dict(zip("ABC", orders, strict=False))

    def miscounted(run: Observed) -> str | None:
        for slot, before in BEFORE.items():
            accepted = [name for name, order in named.items() if order[0] == slot and run.returned.get(name) is True]
            wanted, booked = before + sum(named[name][1] for name in accepted), slots(run)[slot]["booked"]
            if booked != wanted:
                who = " and ".join(accepted) or "nobody"
                told = f"{who} {'were' if len(accepted) > 1 else 'was'} told True"
                return f"{told}, so {wanted:,} should be booked at {slot}, and {booked:,} are."
        return None

    def oversold(run: Observed) -> str | None:
        over = [row for row in run.rows("slots") if row["booked"] > row["capacity"]]
        return f"{over[0]['slot']} holds {over[0]['booked']:,} of {over[0]['capacity']:,}." if over else None

    def refused(run: Observed) -> str | None:
        for name, (slot, price) in named.items():
            room = slots(run)[slot]["capacity"] - slots(run)[slot]["booked"]
            if run.returned.get(name) is False and price <= room:
                return f"{name} was told False, although its {price:,} would fit: there is room for {room:,}."
        return None

    look = "What does the function know of the slot at the moment at which it writes, and how old is that knowledge?"
    return Scenario(
        words,
        SLOTS,
        {name: call(*order) for name, order in named.items()},
        (
            yes_or_no("book"),
            Rule("no slot holds more than its capacity", oversold, look),
            Rule("an order that was accepted is counted, and no other", miscounted, look),
            Rule(
                "an order that fits is accepted",
                refused,
                "Somebody else is at the slot just now: whether the order fits is known when they are done.",
            ),
        ),
    )


ABORTED = nobody_is_aborted(
    "nobody is aborted with an error",
    "At this level nobody needs to be aborted: a session can wait for the other one, and then look.",
)
ALONE = (
    booking("one order of 10,000, alone", ("18:00", 10_000)),
    booking("one order of 10,001, alone, for which there is no room", ("18:00", 10_001)),
    booking("one order of 20,000 at 18:15, alone", ("18:15", 20_000)),
)
TWO = (
    booking("two orders of 10,000, of which one fits", ("18:00", 10_000), ("18:00", 10_000)),
    booking("two orders of 5,000, which both fit", ("18:00", 5_000), ("18:00", 5_000)),
)
THREE = booking("three orders of 5,000, of which two fit", *[("18:00", 5_000)] * 3)

SAFE = Exercise(
    "safe-booking",
    "make book() safe at READ COMMITTED",
    TASK,
    ("conn", "slot", "price"),
    (*ALONE, *TWO, THREE),
    (ABORTED,),
)


def _somebody_waited(run: Observed) -> str | None:
    if not run.waits:
        return None
    one = run.waits[0]
    return f"{one.session} {one.text()}, and could go on only after a later message of another session."


UNHINDERED = Exercise(
    "booking-without-waits",
    "make book() safe with the fewest blocked steps",
    TASK + "\nNo session may have to wait for another one's next message.",
    ("conn", "slot", "price"),
    (*ALONE, *TWO, booking("two orders of 5,000 in different slots", ("18:00", 5_000), ("18:15", 5_000)), THREE),
    (
        ABORTED,
        Rule(
            "no session has to wait for another one's next message",
            _somebody_waited,
            "A lock that one message takes and a later one gives back is held as long as network and program take in "
            "between. In how few messages can a whole booking be done, its COMMIT included?",
            first=True,
            minor=True,
        ),
    ),
)
