"""Exercise: an order is created once, however often its request arrives."""

from __future__ import annotations

from zephyr_lab.course.checker import Exercise, Scenario, call
from zephyr_lab.course.observed import Observed
from zephyr_lab.course.rules import Rule, nobody_is_aborted

ORDERS = """
create table orders (id int primary key, request int not null unique);
insert into orders values (18, 6);
analyze orders;
"""


def creating(words: str, *requests: tuple[int, int]) -> Scenario:
    """Concurrent requests, each with the number that a new order would get."""
    named = dict(zip("ABC", requests, strict=False))

    def orders(run: Observed) -> dict[int, int]:
        return {row["request"]: row["id"] for row in run.rows("orders")}

    def missing(run: Observed) -> str | None:
        return next(
            (
                f"{name}'s request {request} has no order, and {name} returned {run.returned[name]!r}."
                for name, (request, _) in named.items()
                if name in run.returned and request not in orders(run)
            ),
            None,
        )

    def other_number(run: Observed) -> str | None:
        for name, (request, _) in named.items():
            if name in run.returned and run.returned[name] != orders(run)[request]:
                number = orders(run)[request]
                return (
                    f"the order of request {request} has number {number}, and {name} returned {run.returned[name]!r}."
                )
        return None

    return Scenario(
        words,
        ORDERS,
        {name: call(*request) for name, request in named.items()},
        (
            Rule("every request has its order", missing, "Does every way through the function insert, or find, it?"),
            Rule(
                "everybody is told the number of the order that is there",
                other_number,
                "Whoever came second has inserted nothing. Where, and at which moment, is the number to be found?",
            ),
        ),
    )


IDEMPOTENT = Exercise(
    "idempotent-create",
    "one order, however often the request arrives",
    """create(conn, request, number) returns the number of a request's order. If there is none yet, it creates one
with that `number`; a request that arrives twice gives one order, and the same number to both.""",
    ("conn", "request", "number"),
    (
        creating("one request that is new, alone", (7, 19)),
        creating("one request that was answered long ago, alone", (6, 19)),
        creating("the same request twice", (7, 19), (7, 20)),
        creating("two different requests", (7, 19), (8, 20)),
        creating("the same request three times", (7, 19), (7, 20), (7, 21)),
    ),
    (
        nobody_is_aborted(
            "a request that arrives twice is no error for anybody",
            "The key was free when this session looked, and taken when it inserted. Whose word is the last one?",
        ),
    ),
)
