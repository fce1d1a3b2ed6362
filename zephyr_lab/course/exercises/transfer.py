"""Exercise: move bookings from one slot to another without a deadlock."""

from __future__ import annotations

from zephyr_lab.course.checker import Exercise, Scenario, call
from zephyr_lab.course.observed import Observed
from zephyr_lab.course.rules import Rule, nobody_is_aborted, yes_or_no

BEFORE = {"18:00": 50_000, "18:15": 50_000, "18:30": 95_000}
CAPACITY = 100_000
SLOTS = """
create table slots (slot text primary key, booked int not null, capacity int not null);
insert into slots values ('18:00', 50000, 100000), ('18:15', 50000, 100000), ('18:30', 95000, 100000);
analyze slots;
"""
STALE = "Which of the rows that the function decides by may another session change before it is done?"


def moving(words: str, *moves: tuple[str, str, int]) -> Scenario:
    """Concurrent moves, a session each."""
    named = dict(zip("ABC", moves, strict=False))

    def miscounted(run: Observed) -> str | None:
        wanted = dict(BEFORE)
        for name, (source, target, price) in named.items():
            if run.returned.get(name) is True:
                wanted[source] -= price
                wanted[target] += price
        for row in run.rows("slots"):
            if row["booked"] != wanted[row["slot"]]:
                who = " and ".join(name for name, answer in run.returned.items() if answer is True) or "nobody"
                slot, booked = row["slot"], row["booked"]
                return f"True was told to {who}, so {wanted[slot]:,} should be booked at {slot}, and {booked:,} are."
        return None

    def oversold(run: Observed) -> str | None:
        over = [row for row in run.rows("slots") if row["booked"] > row["capacity"]]
        return f"{over[0]['slot']} holds {over[0]['booked']:,} of {CAPACITY:,}." if over else None

    def refused(run: Observed) -> str | None:
        booked = {row["slot"]: row["booked"] for row in run.rows("slots")}
        for name, (_, target, price) in named.items():
            if run.returned.get(name) is False and booked[target] + price <= CAPACITY:
                return f"{name} was told False, although {price:,} more would fit into {target}."
        return None

    return Scenario(
        words,
        SLOTS,
        {name: call(*move) for name, move in named.items()},
        (
            yes_or_no("transfer"),
            Rule("no slot holds more than its capacity", oversold, STALE),
            Rule("what leaves one slot arrives in the other, and nothing else moves", miscounted, STALE),
            Rule("a move that fits is made", refused, "Is there a way in which False is returned without a look?"),
        ),
    )


def _deadlock(run: Observed) -> str | None:
    told = next((step for step in run.steps if step.failure and step.failure.sqlstate == "40P01"), None)
    if told is None:
        return None
    healed = (
        "" if told.session in run.raised else ", tried again, and let the other one wait for the time-out each time"
    )
    return f"{told.session} was told 40P01 deadlock detected{healed}."


WITHOUT_DEADLOCK = Exercise(
    "transfer-without-deadlock",
    "move bookings between slots, and never into a deadlock",
    """transfer(conn, source, target, price) moves bookings for `price` roubles from one slot to another and returns
True; if they do not fit into the target, it changes nothing and returns False.""",
    ("conn", "source", "target", "price"),
    (
        moving("one move of 5,000, alone", ("18:00", "18:15", 5_000)),
        moving("one move of 10,000, alone, for which the target has no room", ("18:00", "18:30", 10_000)),
        moving("two moves in opposite directions", ("18:00", "18:15", 5_000), ("18:15", "18:00", 5_000)),
        moving("two moves to the same slot, of which one fits", ("18:00", "18:30", 5_000), ("18:15", "18:30", 5_000)),
        moving(
            "three moves in a circle",
            ("18:00", "18:15", 5_000),
            ("18:15", "18:30", 5_000),
            ("18:30", "18:00", 5_000),
        ),
    ),
    (
        Rule(
            "no two sessions ever wait for each other",
            _deadlock,
            "A deadlock that is retried has still cost its time-out.",
        ),
        nobody_is_aborted("nobody is aborted with an error", "What would have let this session wait instead?"),
    ),
)
