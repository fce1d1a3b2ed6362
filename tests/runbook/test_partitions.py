"""What the runbook answers about partitions: the tree, months without one, gaps; on PostgreSQL 18 and 15."""

from __future__ import annotations

import pytest
from psycopg import errors

from tests.runbook.conftest import THIS_MONTH, Connect, Connection, waiting
from tests.runbook.test_answers import ORDER
from zephyr_lab.runbook import Runbook
from zephyr_lab.shipped import shipped


def test_the_whole_tree_is_listed_with_bounds_and_sizes(book: Runbook, keeper: Connection) -> None:
    """A partition that is partitioned again, and the default one; none by its name."""
    keeper.execute("""
        create table orders2_archive (id int);
        create table old partition of orders for values from ('2020-01-01Z') to ('2021-01-01Z')
            partition by range (created_at);
        create table deep partition of old for values from ('2020-01-01Z') to ('2020-02-01Z');
        create table rest partition of orders default;
    """)
    keeper.execute(ORDER.format(moment="'2020-01-15Z'"))
    keeper.execute("analyze deep")
    found = book.ask("partitions").set_index("relation")
    assert list(found["level"]) == [0, 1, 1, 1, 2]
    assert found.loc["deep"]["parent"] == "old"
    assert found.loc["deep"]["bound"] == "FOR VALUES FROM ('2020-01-01 00:00:00+00') TO ('2020-02-01 00:00:00+00')"
    assert found.loc["rest"]["is_default"]
    assert found.loc["deep"]["estimated_rows"] == 1
    assert found.loc["deep"]["bytes"] >= 8192
    assert "orders2_archive" not in found.index


def test_months_without_a_partition_are_named(book: Runbook, keeper: Connection) -> None:
    """And the server agrees: an order of that month is refused until its partition is made."""
    found = book.ask("missing-partitions")
    assert list(found["in_months"]) == [0, 1, 2]
    assert list(found["verdict"]) == ["covered", *["missing: every INSERT fails with 23514"] * 2]
    next_month = ORDER.format(moment=f"{THIS_MONTH} + interval '1 month'")
    with pytest.raises(errors.CheckViolation):
        keeper.execute(next_month)
    keeper.execute("select create_orders_partition(current_date + interval '1 month')")
    keeper.execute(next_month)
    assert list(book.ask("missing-partitions")["verdict"].str.partition(":")[0]) == ["covered", "covered", "missing"]
    assert len(Runbook(book.connection, months=11).ask("missing-partitions")) == 12


def test_half_a_month_is_not_covered_and_a_default_partition_takes_what_is_left(
    book: Runbook, keeper: Connection
) -> None:
    """The gap is named, with its bounds."""
    keeper.execute(f"""
        do $$ declare m timestamptz := {THIS_MONTH} + interval '1 month'; begin
            execute format('create table half partition of orders for values from (%L) to (%L)',
                           m, m + interval '10 days');
        end $$""")
    found = book.ask("missing-partitions").iloc[1]
    assert found["verdict"] == "partly missing: an INSERT into the gap fails with 23514"
    assert found["partitions"] == "half"
    assert found["gap"].startswith('{["' + found["month"] + "-11 00:00:00+00")
    keeper.execute("create table rest partition of orders default")
    assert list(book.ask("missing-partitions")["verdict"]) == ["covered", *["left to the DEFAULT partition"] * 2]


def test_a_partition_that_is_being_detached_does_not_count(connect: Connect, book: Runbook, keeper: Connection) -> None:
    """DETACH CONCURRENTLY marks it first and then waits for old readers: no order goes into it any more."""
    month = book.ask("missing-partitions")["partitions"][0]
    with waiting(connect) as send:
        send("reader", "begin; select count(*) from orders", waits=False)
        send("ddl", f"alter table orders detach partition {month} concurrently")
        assert book.ask("missing-partitions")["verdict"][0] == "missing: every INSERT fails with 23514"
        assert book.ask("partitions").set_index("relation").loc[month]["detaching"]
        with pytest.raises(errors.CheckViolation):
            keeper.execute(ORDER.format(moment="now()"))


def test_bounds_made_in_another_time_zone_leave_a_gap(book: Runbook, connect: Connect) -> None:
    """The write-up's function, called from Moscow, makes a month that begins and ends three hours early."""
    moscow = connect(options="-c timezone=Europe/Moscow")
    moscow.execute(
        shipped("sql", "orders", "as-documented", "create_orders_partition.sql")
        .read_text()
        .replace("create function create_orders_partition", "create function as_documented")
    )
    # The month after next, so that no partition is in its way.
    moscow.execute("select as_documented((current_date + interval '2 months')::date)")
    verdicts = list(book.ask("missing-partitions")["verdict"].str.partition(":")[0])
    assert verdicts == ["covered", "partly missing", "partly missing"]


def test_tables_that_are_partitioned_otherwise_are_not_guessed_at(book: Runbook, keeper: Connection) -> None:
    """By date as by timestamp; by list or by number there is nothing to say; a plain table takes every month."""
    keeper.execute(f"""
        create table days (day date) partition by range (day);
        create table early partition of days for values from (minvalue) to ('{"2000-01-01"}');
        create table late partition of days for values from ('2000-01-01') to (maxvalue);
        create table stamps (moment timestamp) partition by range (moment);
        create table ids (id int) partition by range (id);
        create table ids_1 partition of ids for values from (1) to (2);
        create table kinds (kind text) partition by list (kind);
        create table kinds_a partition of kinds for values in ('a');
        create table expressions (moment timestamptz) partition by range (date_part('year', moment at time zone 'UTC'));
    """)

    def verdict(table: str) -> str:
        return Runbook(book.connection, table=table, months=0).ask("missing-partitions")["verdict"][0]

    assert verdict("days") == "covered"
    assert verdict("stamps") == "missing: every INSERT fails with 23514"
    assert verdict("slots") == "not partitioned: one table takes every month"
    assert {verdict(one) for one in ("ids", "kinds", "expressions")} == {
        "cannot say: the partition key is not one date or time"
    }
