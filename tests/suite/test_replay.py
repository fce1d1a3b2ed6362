"""What a replay compares."""

from __future__ import annotations

import pytest

from tests.suite.test_operations import operation
from zephyr_lab.functions.places import place_of
from zephyr_lab.suite.replay import _is_decided, _made_up, function_of

UUID = "6fa459ea-ee8a-3ca4-894e-db77e160355e"


@pytest.mark.parametrize(
    ("sql", "decided"),
    [
        ("update slots set free = 3 where id = 1", True),
        ("update slots set free = free - 1 where id = 1 and free > 0", False),
        ("update slots set free = free - 1, note = 'x' where id = 1", True),
        ("update pages set body = 'x', version = 2 where id = 1 and version = 1", False),
        ("update pages set body = 'x', version = 2 where id = 1", True),
        ("insert into orders (id) values (1)", True),
        ("insert into orders (id) values (1) on conflict do nothing", False),
        ("insert into n (id, n) values (1, 5) on conflict (id) do update set n = excluded.n", True),
        ("insert into n (id, n) values (1, 5) on conflict (id) do update set n = n.n + excluded.n", False),
        ("delete from orders where id = 1", True),
        ("select 1 from orders for update", False),
    ],
)
def test_a_write_that_looks_again_decides_nothing(sql: str, decided: bool) -> None:
    assert _is_decided(sql) is decided


def test_ids_that_a_program_makes_up_are_fresh() -> None:
    """Not those that it has read, or was given."""
    assert _made_up(operation(f"insert into t values ('{UUID}')")) == [f"'{UUID}'"]
    assert _made_up(operation(f"select 1 from t where id = '{UUID}'", f"insert into t values ('{UUID}')")) == []


def test_a_function_is_found_where_the_application_s_is() -> None:
    function = function_of(operation("select 1"))
    assert (function.__name__, place_of(function)) == ("book", "shop.py:1")
