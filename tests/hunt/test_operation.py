"""How operations are called in schedules."""

from __future__ import annotations

from zephyr_lab.hunt.operation import named, session_names


def test_a_session_has_a_word_of_its_own_that_is_no_faults_and_not_the_clocks() -> None:
    names = session_names(["book", "POST /orders", "POST:/orders", "time", "a:crash", "''"])
    assert list(names.values()) == ["book", "POST-/orders", "POST-/orders_", "time_", "a-crash", "operation"]


def test_an_operation_that_is_there_twice_has_a_number() -> None:
    found = dict(named(("book", "a b", "book"), session_names(["book", "a b"])))
    assert found == {"book": "book", "a-b": "a b", "book-2": "book"}
