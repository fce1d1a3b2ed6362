"""The write-up's own snippets, run as they stand: how each fails or misleads, and what the runbook says instead."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.runbook.conftest import BOOK, DATABASE, DEBIAN, SLOTS, Connect, Server, waiting
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, QuestionFailed
from zephyr_lab.runbook import Runbook, as_written
from zephyr_lab.schedule import specfile
from zephyr_lab.servers.embedded import find_postgres
from zephyr_lab.shipped import shipped

Connection = psycopg.Connection[Any]


def run(connection: Connection, name: str) -> list[tuple[Any, ...]]:
    """A snippet as it stands, in whatever transaction the connection is in."""
    cursor = connection.execute(as_written(name).sql.encode())
    return cursor.fetchall() if cursor.description else []


def test_every_snippet_has_a_test_here() -> None:
    """So that none is kept without a reason."""
    names = {path.stem for path in shipped("sql", "runbook", "as_written").glob("*.sql")}
    text = Path(__file__).read_text(encoding="utf-8")
    assert {name for name in names if f'"{name}"' not in text} == set()
    with pytest.raises(BadInput, match="the write-up has no snippet 'nope'; there are: indexes-list"):
        as_written("nope")


def test_exists_says_missing_for_a_table_that_is_inaccessible(connect: Connect) -> None:
    """The owner is told true, and the role that cannot get at it: false."""
    assert run(connect("keeper"), "table-exists") == [(True,)]
    clerk = connect("clerk")
    assert run(clerk, "table-exists") == [(False,)]
    assert Runbook(clerk).ask("table-exists")["verdict"][0].startswith("exists, inaccessible")


def test_sizes_by_name_give_the_parent_nothing_and_fail_for_a_name_in_capitals(connect: Connect) -> None:
    """0 bytes for the table that holds every order; a table that is no partition; 42P01."""
    keeper = connect("keeper")
    keeper.execute("create table orders2_archive (id int)")
    sizes = {table: size for _, table, size in run(keeper, "partitions-size-of-all")}
    assert sizes["orders"] == "0 bytes"
    assert "orders2_archive" in sizes
    assert "orders2_archive" in {table for _, table, _ in run(keeper, "partitions-list")}
    keeper.execute('create table "orders_Old" (id int)')
    for name in ("partitions-size-of-all", "partitions-list"):
        with pytest.raises(errors.UndefinedTable):
            run(keeper, name)
    found = Runbook(keeper).ask("partitions")
    assert not {"orders2_archive", "orders_Old"} & set(found["relation"])


def test_bounds_and_missing_partitions_are_always_empty(connect: Connect) -> None:
    """With this month's partition there and next month's not: "missing" for both, or for none, as one reads it."""
    keeper = connect("keeper")
    assert run(keeper, "partitions-bounds") == []
    assert run(keeper, "missing-partitions") == []
    keeper.execute("select ensure_orders_partitions(3)")
    assert run(keeper, "partitions-bounds") == []
    assert run(keeper, "missing-partitions") == []
    assert len(Runbook(keeper).ask("partitions")) == 5
    assert set(Runbook(keeper).ask("missing-partitions")["verdict"]) == {"covered"}


def test_the_next_partition_is_made_only_by_a_function_that_was_repaired(connect: Connect) -> None:
    """With the function as documented it is 42883; the lab's takes a timestamp too."""
    keeper = connect("keeper")
    run(keeper, "missing-partitions-create-next")
    keeper.execute("drop table orders cascade")
    keeper.execute(
        "drop function create_orders_partition(timestamp); drop function create_orders_partition(timestamptz)"
    )
    with pytest.raises(errors.UndefinedFunction):
        run(keeper, "missing-partitions-create-next")


def test_indexes_show_the_definitions_of_the_parent_and_their_use_is_an_error(connect: Connect) -> None:
    """And where the names are put right, it is empty: the parent's indexes are never scanned."""
    keeper = connect("keeper")
    listed = run(keeper, "indexes-list")
    assert listed
    assert all(" ON ONLY " in definition for _, definition in listed)
    with pytest.raises(errors.UndefinedColumn):
        run(keeper, "indexes-use")
    repaired = as_written("indexes-use").sql.replace("tablename", "relname").replace("indexname", "indexrelname")
    assert keeper.execute(repaired.encode()).fetchall() == []
    assert len(Runbook(keeper).ask("indexes")) == len(listed)


def test_permissions_are_filtered_by_who_asks_and_say_nothing_of_partitions(connect: Connect) -> None:
    """No rows for a role without grants; the runbook shows it everybody's."""
    assert {grantee for grantee, _ in run(connect("keeper"), "permissions")} == {"keeper", "pizza_admin"}
    clerk = connect("clerk")
    assert run(clerk, "permissions") == []
    found = Runbook(clerk).ask("permissions")
    assert {"keeper", "pizza_admin"} <= set(found["grantee"])
    assert "(next partition)" in set(found["relation"])


def test_the_grant_does_not_reach_next_months_partition(connect: Connect) -> None:
    """Which is 42501 when it is made as documented, though the tables of today are readable."""
    keeper, pizza_admin = connect("keeper"), connect("pizza_admin")
    run(keeper, "permissions-grant")
    keeper.execute("create table newer partition of orders for values from ('2020-01-01Z') to ('2020-02-01Z')")
    pizza_admin.execute("select count(*) from slots")
    with pytest.raises(errors.InsufficientPrivilege):
        pizza_admin.execute("select count(*) from newer")
    found = Runbook(keeper).ask("permissions")
    newer = found[(found["relation"] == "newer") & (found["grantee"] == "pizza_admin")]
    assert list(newer["lacking"]) == ["delete, insert, select, update"]


def test_the_level_is_shown_for_ones_own_session_and_set_for_nothing(connect: Connect) -> None:
    """A warning, and READ COMMITTED as before; inside a transaction that has begun to read, an error."""
    keeper, warnings = connect("keeper"), []
    connect("clerk").execute("set default_transaction_isolation = 'serializable'")
    assert run(keeper, "isolation-level-show") == [("read committed",)]
    keeper.add_notice_handler(lambda notice: warnings.append(notice.sqlstate))
    run(keeper, "isolation-level-set")
    assert warnings == ["25P01"]
    assert run(keeper, "isolation-level-show") == [("read committed",)]
    keeper.execute("begin; select 1")
    with pytest.raises(errors.ActiveSqlTransaction):
        run(keeper, "isolation-level-set")


def test_the_default_of_a_database_needs_no_superuser_and_reaches_new_sessions_only(connect: Connect) -> None:
    """Its owner may, another role may not, and the session that is open keeps its level."""
    keeper = connect("keeper")
    with pytest.raises(errors.InsufficientPrivilege):
        run(connect("clerk"), "isolation-level-database")
    with pytest.raises(QuestionFailed, match="isolation-level-database: 25006"):
        Runbook(keeper).ask(as_written("isolation-level-database"))
    try:
        run(keeper, "isolation-level-database")
        assert run(keeper, "isolation-level-show") == [("read committed",)]
        assert run(connect("keeper"), "isolation-level-show") == [("serializable",)]
    finally:
        keeper.execute(f"alter database {DATABASE} reset all")


def test_locks_are_an_error_and_repaired_they_miss_the_culprit(connect: Connect) -> None:
    """42702; then the victim's lock on the parent is listed, and not the session that holds a partition."""
    keeper = connect("keeper")
    with pytest.raises(errors.AmbiguousColumn):
        run(keeper, "locks")
    repaired = as_written("locks").sql.replace("    pid,\n", "    pg_locks.pid,\n    application_name,\n")
    month = Runbook(keeper).ask("missing-partitions")["partitions"][0]
    with waiting(connect) as send:
        send("culprit", f"begin; lock table {month}", waits=False)
        send("victim", "select count(*) from orders")
        listed = {row[5] for row in keeper.execute(repaired.encode())}
        found = set(Runbook(keeper).ask("locks")["session"])
    assert listed == {"victim"}
    assert found == {"culprit", "victim"}


def test_blocking_is_drawn_as_everybody_against_everybody(lab: Lab) -> None:
    """One holder and four waiters: ten rows with waiters that block each other; the runbook has a chain of four."""
    waiters = " ".join(f"session W{n} step w{n} {{ {BOOK}; }}" for n in range(1, 5))
    spec = specfile.parse(f"{SLOTS} session H step h {{ begin; {BOOK}; }} {waiters}")
    with lab.case(spec).hold("H W1 W2 W3 W4"), lab.connect() as connection:
        pairs = {row[:2] for row in run(connection, "who-blocks-whom")}
        rows = run(connection, "who-blocks-whom")
        found = lab.runbook("who-blocks-whom")
    assert len(rows) == 10
    assert len([pair for pair in pairs if pair[::-1] in pairs]) == 6  # three cycles that are none
    assert [len(one) for one in found["waits_for"]] == [0, 1, 1, 1, 1]
    assert not found["deadlock"].any()


def test_blocking_names_readers_and_holders_of_compatible_locks(lab: Lab) -> None:
    """A SIREAD lock blocks nobody, and neither does ACCESS SHARE whoever wants SHARE."""
    spec = specfile.parse(f"""{SLOTS}
        session reader step r {{ begin isolation level serializable; set local enable_seqscan = off;
                                select * from slots where slot = '18:00'; }}
        session H step h {{ begin; {BOOK}; }}
        session W1 step w1 {{ {BOOK}; }}
        session W2 step w2 {{ {BOOK}; }}
        session wants step x {{ begin; lock table slots in share mode; }}
    """)
    with lab.case(spec).hold("reader H W1 W2 wants"), lab.connect() as connection:
        blocking = {row[1] for row in run(connection, "who-blocks-whom")}
        found = lab.runbook("who-blocks-whom")
        locks = lab.runbook("ssi-locks", table="slots")
    reader = locks[locks["session"] == "reader"]["pid"].iloc[0]
    assert reader in blocking
    assert reader not in set(found["pid"])


def test_psql_shows_a_partitioned_table_by_its_number_of_partitions(server: Server, connect: Connect) -> None:
    r"""\d says how many, \d+ which; \dt works."""
    connect("keeper")
    psql = DEBIAN / "psql" if DEBIAN.is_dir() else find_postgres().path.with_name("psql")

    def said(command: str) -> str:
        done = subprocess.run([psql, "-Xc", command, server.dsn("keeper")], capture_output=True, text=True, timeout=30)
        return done.stdout

    assert "partitioned table" in said(r"\dt")
    assert "Number of partitions: 1" in said(r"\d orders")
    assert "FOR VALUES" not in said(r"\d orders")
    assert "FOR VALUES FROM" in said(r"\d+ orders")
