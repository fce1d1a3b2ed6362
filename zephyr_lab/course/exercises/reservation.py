"""Exercise: a reservation in Redis that cannot oversell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zephyr_lab.course.answer import Answer
from zephyr_lab.course.checker import Exercise, Learners, Scenario, Session
from zephyr_lab.course.observed import Observed
from zephyr_lab.course.rules import COMES_TO_ITS_END, Rule, yes_or_no
from zephyr_lab.lab import Lab

SLOT, BEFORE, CAPACITY = "slot:18:00", 90_000, 100_000
LOOK = "What does the function know of the slot at the moment at which it adds, and how old is that knowledge?"


def reserving(key: str, words: str, *prices: int) -> Scenario:
    """Concurrent reservations, a session each, in the slot of that key."""
    named = dict(zip("ABC", prices, strict=False))

    def prepare(redis: Any) -> None:
        redis.set(key, BEFORE)

    def reserved(run: Observed) -> int:
        value = next((row["value"] for row in run.rows("redis") if row["key"] == SLOT), "nothing")
        return int(value) if value.lstrip("-").isdigit() else 0

    def oversold(run: Observed) -> str | None:
        return f"{SLOT} holds {reserved(run):,} of {CAPACITY:,}." if reserved(run) > CAPACITY else None

    def miscounted(run: Observed) -> str | None:
        accepted = [name for name, answer in run.returned.items() if answer is True]
        wanted = BEFORE + sum(named[name] for name in accepted)
        if wanted == reserved(run):
            return None
        who = " and ".join(accepted) or "nobody"
        return f"True was told to {who}, and {SLOT} holds {reserved(run):,}, not {wanted:,}."

    def refused(run: Observed) -> str | None:
        room = CAPACITY - reserved(run)
        for name, answer in run.returned.items():
            if answer is False and named[name] <= room:
                return f"{name} was told False, and its {named[name]:,} would fit: there is room for {room:,}."
        return None

    return Scenario(
        words,
        prepare,
        {name: _call(key, price) for name, price in named.items()},
        (
            yes_or_no("reserve"),
            Rule("the slot never holds more than its capacity", oversold, LOOK),
            Rule("what was accepted is reserved, and nothing else", miscounted, LOOK),
            Rule(
                "a reservation that fits is accepted",
                refused,
                "What had the other one put into the slot, and was it entitled to?",
            ),
        ),
    )


def _call(key: str, price: int) -> Callable[[Learners], Session]:
    def of(function: Learners) -> Session:
        def session(redis: Any) -> Any:
            return function(redis, key, price)

        return session

    return of


def _watch_error(run: Observed) -> str | None:
    return next((f"{name} ended with {error}." for name, error in run.raised.items() if "WatchError" in error), None)


@dataclass(frozen=True)
class Reservation:
    """The exercise: see `exercise.Checker`. On an external Redis the slot's key begins with the lab's prefix."""

    name: str = "reservation"
    title: str = "a reservation in Redis that cannot oversell"
    task: str = f"""reserve(redis, slot, price) adds `price` to the integer under the key `slot`
and returns True; if there would then be more than {CAPACITY:,}, it changes nothing and returns False.
The slot holds {BEFORE:,}."""

    def details(self) -> str:
        return self.with_prefix("").details()

    def check(self, lab: Lab, function: Learners) -> Answer:
        """As of any exercise that is explored."""
        return self.with_prefix("" if lab.engine.keyvalue.is_embedded else lab.redis_prefix).check(lab, function)

    def with_prefix(self, prefix: str) -> Exercise:
        """The exercise with another prefix of its keys."""
        key = prefix + SLOT
        return Exercise(
            self.name,
            self.title,
            self.task,
            ("redis", "slot", "price"),
            (
                reserving(key, "one reservation of 10,000, alone", 10_000),
                reserving(key, "one reservation of 10,001, alone, for which there is no room", 10_001),
                reserving(key, "two reservations of 10,000, of which one fits", 10_000, 10_000),
                reserving(key, "two reservations of 5,000, which both fit", 5_000, 5_000),
                reserving(key, "one of 15,000, which does not fit, and one of 10,000, which does", 15_000, 10_000),
                reserving(key, "three reservations of 5,000, of which two fit", 5_000, 5_000, 5_000),
            ),
            (),
            before=(
                Rule(
                    "nobody is aborted with an error",
                    _watch_error,
                    "Redis has carried out nothing of that transaction, because the key had changed. What now?",
                    first=True,
                ),
                COMES_TO_ITS_END,
            ),
        )


RESERVATION = Reservation()
