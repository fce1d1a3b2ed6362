"""Operations are the same up to values, and are chosen so that they meet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zephyr_lab.suite.chosen import apart, chosen, readings_of
from zephyr_lab.suite.operations import (
    Operation,
    Statement,
    Transaction,
    at_home_in,
    distinct,
    without_values,
)


def operation(*statements: str, test: str = "test_one", changed: int | None = 1, rows: int | None = 0) -> Operation:
    said = tuple(Statement(one, "shop.py", line, 1, changed) for line, one in enumerate(statements, start=2))
    return Operation("book", "shop.py", 1, test, said, (Transaction(1, "begin", False),), rows)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("select 1 from slots where id = 1", "select 1 from slots where id = 22", True),
        ("select 1 from slots where name = 'a'", "select 1 from slots where name = 'it''s'", True),
        ("insert into t values (1, 'a')", "insert into t values (1, 'a'), (2, 'b')", False),
        ("select 1 from t where id in (1, 2, 3)", "select 1 from t where id in (1)", True),
        ("select 1 from slots", "select 1 from orders", False),
        ("select 1 from t where id = 1 for update", "select 1 from t where id = 1", False),
    ],
)
def test_values_make_no_difference(one: str, other: str, same: bool) -> None:
    assert (without_values(one) == without_values(other)) is same


def test_calls_of_one_operation_are_joined() -> None:
    """How often a row was found makes no difference either; another end of the transaction does."""
    calls = [operation(f"update t set n = n + 1 where id = {number}", changed=number % 2) for number in range(5)]
    ended = replace(calls[0], transactions=(Transaction(1, "begin", True),))
    found = distinct([*calls, ended, operation("select 1")])
    assert {name: len(some) for name, some in found.items()} == {"book": 3, "book~2": 1, "book~3": 1}
    assert found["book"][0].effect == 1


def test_the_call_is_chosen_that_meets_others() -> None:
    calls = [operation(f"select 1 from slots where id = {number}") for number in (1, 2, 3)]
    other = operation("update slots set n = 0 where id = 2")
    picked = chosen({"read": calls, "write": [other]})
    assert picked["read"] == calls[1]
    assert apart(picked["read"], picked["write"]) == ""
    assert apart(calls[0], other) == "slots.id"
    assert apart(operation("select 1 from slots"), other) == ""


def test_of_one_test_the_later_rows_are_taken() -> None:
    """What it needs may have been made by the call before; those of another test are other rows."""
    some = [operation("select 1", rows=number, test=test) for number, test in [(0, "a"), (3, "a"), (1, "b")]]
    assert readings_of(some) == [1, 3]
    assert readings_of([operation("select 1", rows=None)]) == []


def test_the_schema_s_name_is_left_out() -> None:
    said = 'select public.t.id, "public"."t".n, \'public.t\' from public . t where republic.x = 1'
    assert at_home_in(said, "public") == "select t.id, \"t\".n, 'public.t' from t where republic.x = 1"
    assert at_home_in(said, "") == said


def test_operations_travel_as_plain_data() -> None:
    one = operation("select 1", "select 2")
    assert Operation.of(one.to_dict()) == one
