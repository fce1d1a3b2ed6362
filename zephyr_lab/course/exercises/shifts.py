"""Exercise: a rule between rows, kept without SERIALIZABLE."""

from __future__ import annotations

from zephyr_lab.course.checker import Exercise, Scenario, call
from zephyr_lab.course.observed import Observed
from zephyr_lab.course.rules import Rule, nobody_is_aborted, yes_or_no

COURIERS = """
create table couriers (name text primary key, on_shift boolean not null);
insert into couriers values ('Anna', true), ('Boris', {boris}), ('Clara', {clara});
analyze couriers;
"""


def leaving(words: str, *names: str, boris: bool = True, clara: bool = False) -> Scenario:
    """Concurrent calls of couriers who want to go home."""
    named = dict(zip("ABC", names, strict=False))
    on_shift = 1 + boris + clara

    def still_there(run: Observed) -> set[str]:
        return {row["name"] for row in run.rows("couriers") if row["on_shift"]}

    def nobody_left(run: Observed) -> str | None:
        gone = " and ".join(named[name] for name, answer in run.returned.items() if answer is True)
        return None if still_there(run) else f"{gone or 'everybody'} went home, and nobody is on shift."

    def other_answer(run: Observed) -> str | None:
        for name, answer in run.returned.items():
            if answer is (named[name] in still_there(run)):
                where = "on shift" if answer else "gone"
                return f"{named[name]} is {where}, and go_home() returned {answer}."
        return None

    def kept(run: Observed) -> str | None:
        could = min(len(names), on_shift - 1)
        gone = list(run.returned.values()).count(True)
        return f"{gone} went home, and {could} could have: somebody stays for nothing." if gone < could else None

    look = "What did each of them look at, and who might change just that before the other one has gone?"
    return Scenario(
        words,
        COURIERS.format(boris=str(boris).lower(), clara=str(clara).lower()),
        {name: call(who) for name, who in named.items()},
        (
            yes_or_no("go_home"),
            Rule("somebody is on shift", nobody_left, look),
            Rule("who was told True is gone, and who was told False is there", other_answer, look),
            Rule(
                "whoever can go home may go",
                kept,
                "Being made to wait is no reason to stay: look again after the wait.",
            ),
        ),
    )


WRITE_SKEW = Exercise(
    "somebody-stays",
    "a guard against write skew, without SERIALIZABLE",
    """go_home(conn, me) ends a courier's shift and returns True, if somebody else is on shift; otherwise it changes
nothing and returns False. Anna and Boris are on shift; in some cases Clara is, too.""",
    ("conn", "me"),
    (
        leaving("Anna, while Boris is there", "Anna"),
        leaving("Anna, who is the only one", "Anna", boris=False),
        leaving("Anna and Boris, of whom one can go", "Anna", "Boris"),
        leaving("Anna and Boris, while Clara stays", "Anna", "Boris", clara=True),
        leaving("Anna, Boris and Clara, of whom two can go", "Anna", "Boris", "Clara", clara=True),
    ),
    (
        nobody_is_aborted(
            "nobody is aborted with an error",
            "Which rows does the function lock, in which order, and does the other one lock them in the same order?",
        ),
    ),
)
