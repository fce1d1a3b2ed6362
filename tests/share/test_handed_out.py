"""When defaults give the values of a schedule again: a later statement names one, and all of them are known."""

from __future__ import annotations

import pytest

from zephyr_lab.schedule.transcript import Event, EventKind, Result, Transcript
from zephyr_lab.share.handed_out import FilledIn, same_values

ONE, OTHER = "c085dcb7-e2ac-47c5-b2a1-092b76b72e5d", "fe5a741d-6015-41fc-98eb-c437bb71a401"
IDS = FilledIn("tickets", "id", "tickets", "id", "uuid")
INSERT = "insert into tickets (n) values (1) returning n, id"


def inserted(value: str, sql: str = INSERT) -> Event:
    result = Result("INSERT 0 1", ("n", "id"), (("1", value),))
    return Event("A", "A", sql, EventKind.COMPLETED, results=(result,))


def sent(sql: str) -> Event:
    return Event("A", "A", sql, EventKind.COMPLETED)


def said(*events: Event) -> list[str]:
    return same_values([IDS], Transcript("case", "level", "", ("A",), events, ()))


@pytest.mark.parametrize("written", [ONE, ONE.replace("-", "")])
def test_all_values_come_in_their_order_when_one_is_named(written: str) -> None:
    """As drivers write it; also those that come after it."""
    made = said(inserted(ONE), sent(f"update tickets set n = 2 where id = '{written}'"), inserted(OTHER))
    assert made == [
        "create sequence handed_out_1 owned by tickets.id",
        f"alter table tickets alter column id set default (array['{ONE}', '{OTHER}']::uuid[])[nextval('handed_out_1')]",
    ]


@pytest.mark.parametrize(
    "events",
    [
        [inserted(ONE), sent("select id from tickets")],
        [sent(f"select '{ONE}'"), inserted(ONE)],
        [inserted(ONE), sent("insert into tickets (n) values (2)"), sent(f"select '{ONE}'")],
        [inserted(ONE, "insert into tickets (id, n) values (gen_random_uuid(), 1) returning n, id"), sent(ONE)],
        [inserted(ONE, "insert into tickets_sold (n) values (1) returning n, id"), sent(ONE)],
    ],
    ids=["not named", "named before", "not all told", "by the statement itself", "another table"],
)
def test_else_the_default_stays(events: list[Event]) -> None:
    assert said(*events) == []


@pytest.mark.parametrize("table", ["tickets", '"tickets"', "shop.tickets", '"shop"."tickets"'])
def test_a_table_is_known_however_it_is_written(table: str) -> None:
    assert said(inserted(ONE, INSERT.replace("tickets", table)), sent(ONE))
