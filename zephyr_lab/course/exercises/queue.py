"""Exercise: a queue of jobs that several workers share, none waiting for another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from zephyr_lab.course.checker import Exercise, Learners, Scenario, Session
from zephyr_lab.course.observed import Observed
from zephyr_lab.course.rules import COMES_TO_ITS_END, LEVEL_IS_GIVEN, NOBODY_IS_STUCK, Rule, nobody_is_aborted

ORDERS = """
create table orders (id int primary key, baked boolean not null default false);
insert into orders select generate_series(1, {number});
analyze orders;
"""


class OvenBroke(Exception):
    """The error of bake() if the oven is to break."""


def baker(*, breaks: bool) -> Callable[[Learners], Session]:
    """A session that works once, and returns the result of work() and the orders that were baked."""

    def of(work: Learners) -> Session:
        def session(conn: Any) -> dict[str, Any]:
            baked: list[Any] = []

            def bake(order: Any) -> None:
                if breaks:
                    raise OvenBroke(order)
                baked.append(order)

            answer = work(conn, bake)
            return {"returned": answer if isinstance(answer, int | None) else repr(answer), "baked": baked}

        return session

    return of


def working(words: str, orders: int, *breaking: bool) -> Scenario:
    """A baker for each of `breaking`, whether that baker's oven breaks."""
    bakers = dict(zip("ABC", breaking, strict=False))
    return Scenario(
        words,
        ORDERS.format(number=orders),
        {name: baker(breaks=breaks) for name, breaks in bakers.items()},
        (
            Rule(
                "no order is baked twice",
                _twice,
                "From when to when does a session know that the order is its own, and how do the others know?",
            ),
            Rule(
                "an order is marked as baked if it is baked, and only then",
                partial(_not_marked, bakers),
                "What has been committed at the moment in which the oven breaks?",
            ),
            Rule(
                "nobody stands idle while an order is free",
                partial(_idle, bakers, orders),
                "What did this session look at last, and could it have looked at another order?",
            ),
            Rule(
                "work() returns the order that it has baked, or None",
                _other_answer,
                "Every way through the function returns something; which one was taken here?",
            ),
        ),
    )


def _baked_by(run: Observed) -> list[tuple[str, Any]]:
    return [(name, order) for name, (_, baked) in _answers(run).items() for order in baked]


def _twice(run: Observed) -> str | None:
    for name, order in _baked_by(run):
        for other, same in _baked_by(run):
            if order == same and name < other:
                return f"{name} and {other} have both baked order {order}."
    return None


def _not_marked(breaks: dict[str, bool], run: Observed) -> str | None:
    """`breaks` says of each session whether its oven breaks."""
    done = {order for _, order in _baked_by(run)}
    marked = {row["id"] for row in run.rows("orders") if row["baked"]}
    if forgotten := sorted(done - marked, key=repr):
        return f"order {forgotten[0]} is baked, and is not marked as baked."
    if too_early := sorted(marked - done):
        broke = next((name for name in breaks if breaks[name]), "")
        why = f" ({broke}'s oven broke)" if broke else ""
        return f"order {too_early[0]} is marked as baked, and nobody has baked it{why}: it will never be."
    return None


def _idle(breaks: dict[str, bool], orders: int, run: Observed) -> str | None:
    whole = [name for name in breaks if not breaks[name]]
    done = {order for _, order in _baked_by(run)}
    if len(done) < min(orders, len(whole)):
        who = next((name for name in whole if not _answers(run).get(name, (None, []))[1]), whole[0])
        return f"{who} baked nothing, and an order was left that nobody had."
    return None


def _other_answer(run: Observed) -> str | None:
    for name, (answer, baked) in _answers(run).items():
        if answer != (baked[0] if baked else None):
            done = f"baked order {baked[0]}" if baked else "baked nothing"
            return f"{name} {done}, and work() returned {answer!r}."
    return None


def _answers(run: Observed) -> dict[str, tuple[Any, list[Any]]]:
    told = {name: answer if isinstance(answer, dict) else {} for name, answer in run.returned.items()}
    return {name: (answer.get("returned"), answer.get("baked", [])) for name, answer in told.items()}


def _raised(run: Observed) -> str | None:
    """An error other than that of the broken oven."""
    other = {name: error for name, error in run.raised.items() if not error.startswith("OvenBroke(")}
    return COMES_TO_ITS_END.broken(Observed(run.transcript, run.returned, other))


def _waited(run: Observed) -> str | None:
    return f"{run.waits[0].session} {run.waits[0].text()}." if run.waits else None


JOB_QUEUE = Exercise(
    "job-queue",
    "a queue that several bakers share",
    """work(conn, bake) takes one order that is not baked, calls bake(id), marks the order as baked and returns its id;
where there is none left it returns None. bake() may raise: then the order must be there for another baker.""",
    ("conn", "bake"),
    (
        working("one baker, two orders", 2, False),
        working("one baker, and no order", 0, False),
        working("one baker, whose oven breaks", 2, True),
        working("two bakers, two orders", 2, False, False),
        working("two bakers, one order", 1, False, False),
        working("two bakers, two orders, and A's oven breaks", 2, True, False),
        working("three bakers, two orders", 2, False, False, False),
    ),
    (
        nobody_is_aborted("nobody is aborted with an error", "Whom did this session meet, and over what?"),
        Rule(
            "no baker waits for another one",
            _waited,
            "There are other orders than the one that is being baked. How can a query pass over what is locked?",
            first=True,
            minor=True,
        ),
    ),
    before=(
        NOBODY_IS_STUCK,
        LEVEL_IS_GIVEN,
        Rule("the function comes to its end", _raised, "What does fetchone() give where the query has found nothing?"),
    ),
)
