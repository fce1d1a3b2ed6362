"""Long statements in a line: what decides is still there."""

from __future__ import annotations

import pytest

from zephyr_lab.views.abridged import one_line
from zephyr_lab.views.timeline import _wrapped

ORM = (
    "SELECT customers.id, customers.first_name, customers.last_name, coalesce(customers.nick, 'a, from b') AS nick,\n"
    "  customers.city \nFROM customers \nWHERE customers.id = 1 FOR UPDATE"
)
CTE = (
    "with new as (insert into identities values ('k', 1) on conflict do nothing returning id) "
    "select id from new union all select id from identities where key = 'k'"
)


@pytest.mark.parametrize(
    ("sql", "width", "shown"),
    [
        ("select 1; -- one", 72, "select 1"),
        (ORM, 73, "SELECT customers.id, ... FROM customers WHERE customers.id = 1 FOR UPDATE"),
        (ORM, 72, "SELECT ... FROM customers WHERE customers.id = 1 FOR UPDATE"),
        (ORM, 40, "SELECT ... = 1 FOR UPDATE"),
        ("begin; select a, b, c from t for update", 35, "begin; select ... from t for update"),
        (CTE, 72, "with new as (insert into ... select id from identities where key = 'k'"),
        ("select count(*) from t where a = 1 and b = 2", 30, "select ... a = 1 and b = 2"),
        ("insert into t select a, b from u where x in (1, 2, 3)", 40, "insert into t ... where x in (1, 2, 3)"),
        ("x" * 100, 20, "xxxxxx ... xxxxxxxxx"),
    ],
)
def test_both_ends_stay(sql: str, width: int, shown: str) -> None:
    """Of a list of columns the first; blanks and comments go first."""
    assert one_line(sql, width) == shown
    assert len(shown) <= width


def test_a_box_of_the_timeline_has_three_lines_and_both_ends() -> None:
    """However narrow it is."""
    for columns in (20, 30, 45):
        lines = _wrapped(CTE, columns)
        assert len(lines) <= 3
        assert lines[0].startswith("with new as")
        assert lines[-1].endswith("where key = 'k'" if columns > 20 else "'k'")
