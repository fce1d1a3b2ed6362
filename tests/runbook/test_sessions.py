"""What the runbook answers about sessions: isolation levels, locks, transactions; on PostgreSQL 18 and 15."""

from __future__ import annotations

from typing import Any

import pandas as pd
import psycopg
import pytest

from tests.runbook.conftest import BOOK, DATABASE, SLOTS, Connect, Connection, Server, until, waiting
from zephyr_lab import Lab
from zephyr_lab.runbook import Runbook
from zephyr_lab.schedule import specfile

LEVEL = "default_transaction_isolation"


# -- isolation


def test_each_source_of_the_isolation_level_beats_those_before_it(connect: Connect, server: Server) -> None:
    """Server, database, role, session, transaction: set one after another, and SHOW agrees each time."""
    superuser = connect("", application_name="superuser")
    default = ("server", "built in")

    def told(level: str, **options: Any) -> tuple[tuple[str, str], tuple[str, str]]:
        """Which source wins in a new session of keeper's, and which in the one that is opened to ask."""
        with server.connect("keeper", **options) as keeper:
            assert keeper.execute("show transaction_isolation").fetchone() == (level,)
            return winners(keeper, level)

    def winners(keeper: Connection, level: str) -> tuple[tuple[str, str], tuple[str, str]]:
        answer = Runbook(keeper).ask("isolation-level")
        here = answer[answer["wins_here"]].iloc[0]
        # What a role without rights cannot see of the server's files it says, by an empty cell.
        assert list(answer[answer["wins_here"]]["value"]) == [level]
        new = answer[answer["wins_in_new_session"].fillna(False)]
        return (new["source"].iloc[0], new["set_by"].iloc[0]), (here["source"], here["set_by"])

    assert told("read committed") == (default, default)
    try:
        superuser.execute(f"alter system set {LEVEL} = 'repeatable read'")
        superuser.execute("select pg_reload_conf()")
        until(lambda: server_level(server) == "repeatable read")
        file = ("server", "configuration file, ALTER SYSTEM or command line")
        assert told("repeatable read") == (file, file)

        superuser.execute(f"alter role all set {LEVEL} = 'serializable'")
        everybody = ("role", "ALTER ROLE ALL SET")
        assert told("serializable") == (everybody, everybody)

        with server.connect("keeper") as keeper:  # its owner, who is no superuser
            keeper.execute(f"alter database {DATABASE} set {LEVEL} = 'repeatable read'")
            assert keeper.execute("show transaction_isolation").fetchone() == ("serializable",)  # a new session only
        database = ("database", "ALTER DATABASE ... SET")
        assert told("repeatable read") == (database, database)

        superuser.execute(f"alter role keeper set {LEVEL} = 'serializable'")
        role = ("role", "ALTER ROLE ... SET")
        assert told("serializable") == (role, role)

        superuser.execute(f"alter role keeper in database {DATABASE} set {LEVEL} = 'repeatable read'")
        role_here = ("role", "ALTER ROLE ... IN DATABASE ... SET")
        assert told("repeatable read") == (role_here, role_here)

        option = ("session", "options of the connection (PGOPTIONS, driver)")
        assert told("serializable", options=f"-c {LEVEL}=serializable") == (role_here, option)

        with server.connect("keeper") as keeper:
            keeper.execute("set session characteristics as transaction isolation level serializable")
            assert winners(keeper, "serializable") == (
                role_here,
                ("session", "SET default_transaction_isolation, SET SESSION CHARACTERISTICS"),
            )
            keeper.execute("begin isolation level read committed")
            assert winners(keeper, "read committed") == (
                role_here,
                ("transaction", "BEGIN ISOLATION LEVEL, SET TRANSACTION"),
            )

        answer = Runbook(superuser, role="keeper").ask("isolation-level")
        assert list(answer["value"])[:6] == [
            "read committed",
            "repeatable read",
            "serializable",
            "repeatable read",
            "serializable",
            "repeatable read",
        ]
        assert list(answer["source"].drop_duplicates()) == [
            "server",
            "role",
            "database",
            "session",
            "transaction",
        ]
        assert answer["wins_here"].isna().all()  # the asker is another role
        hidden = Runbook(connect("clerk"), role="keeper").ask("isolation-level")
        assert pd.isna(hidden["value"][1])
        assert hidden["wins_in_new_session"][5]
    finally:
        for statement in (
            f"alter system reset {LEVEL}",
            f"alter role all reset {LEVEL}",
            "alter role keeper reset all",
            f"alter role keeper in database {DATABASE} reset all",
            f"alter database {DATABASE} reset all",
            "select pg_reload_conf()",
        ):
            superuser.execute(statement)
        until(lambda: server_level(server) == "read committed")


def server_level(server: Server) -> str:
    """What a session starts with that nothing else has a say in."""
    with server.connect(database="postgres") as superuser:
        found = superuser.execute(f"select reset_val from pg_settings where name = '{LEVEL}'").fetchone()
    assert found
    return found[0]


# -- locks and transactions


def test_the_culprit_on_a_partition_and_a_queue_for_rows_are_among_the_locks(connect: Connect, lab: Lab) -> None:
    """Who locks one partition, and nothing on the parent; and who waits for a transaction, which is no relation."""
    keeper = connect("keeper")
    month = Runbook(keeper).ask("missing-partitions")["partitions"][0]
    with waiting(connect) as send:
        send("culprit", f"begin; lock table {month}", waits=False)
        send("victim", "select count(*) from orders")
        send("books", "insert into slots (id, start_time, end_time) values ('slot:1', now(), now())", waits=False)
        locks = Runbook(keeper).ask("locks")
    culprit = locks[locks["session"] == "culprit"]
    assert {"relation", month} <= set(culprit["lock"]) | set(culprit["relation"])
    assert "orders" not in set(culprit["relation"])
    first = locks.iloc[0]
    assert (first["session"], first["relation"], first["granted"]) == ("victim", month, False)
    assert first["waiting"] > pd.Timedelta(0)
    assert "books" not in set(locks["session"])
    spec = specfile.parse(f"{SLOTS} session A step a {{ begin; {BOOK}; }} session B step b {{ {BOOK}; }}")
    with lab.case(spec).hold("A B"):
        rows = lab.runbook("locks", table="slots")
    waits = rows[~rows["granted"]]
    assert list(zip(waits["session"], waits["lock"], strict=True)) == [("B", "transactionid")]
    assert "runbook" not in set(rows["session"])


def test_long_transactions_are_listed_by_age(connect: Connect) -> None:
    """From the age that is asked for; idle ones say for how long, and whether they have written."""
    keeper, superuser = connect("keeper"), connect("")
    with waiting(connect) as send:
        send("old", "begin isolation level repeatable read; select count(*) from orders", waits=False)
        send("young", "begin; delete from slot_plans", waits=False)
        found = Runbook(superuser, older_than="0 s").ask("long-transactions").set_index("session")
        assert Runbook(superuser, older_than="1 hour").ask("long-transactions").empty
        assert "old" in set(Runbook(keeper, older_than="0 s").ask("long-transactions")["session"])  # keeper's own role
    assert list(found.loc[["old", "young"]].index) == [name for name in found.index if name in ("old", "young")]
    assert list(found.loc[["old", "young"]]["has_written"]) == [False, True]
    assert found.loc["old"]["holds_back_vacuum_by"] >= 1
    assert found.loc["old"]["state"] == "idle in transaction"
    assert pd.Timedelta(0) <= found.loc["old"]["idle"] <= found.loc["old"]["transaction_age"]


def test_siread_locks_say_what_was_read_and_outlive_commit(lab: Lab) -> None:
    """A row by the index, a whole table by a scan, and both after COMMIT while another transaction overlaps."""
    spec = specfile.parse(f"""{SLOTS}
        session byrow step a {{ begin; set local enable_seqscan = off; select * from slots where slot = '18:00'; }}
        session scans step b {{ begin; select sum(booked) from slots; }} step b2 {{ commit; }}
        session plain step c {{ begin isolation level repeatable read; select * from slots; }}
    """)
    with lab.case(spec, "serializable").hold("byrow scans plain scans"):
        found = lab.runbook("ssi-locks", table="slots").set_index(["session", "relation"])
        elsewhere = lab.runbook("ssi-locks", table="pg_catalog.pg_class")
    assert set(found.index.get_level_values("session")) == {"byrow", "scans"}
    assert found.loc["byrow", "slots"]["tuples"] == 1
    assert not found.loc["byrow", "slots"]["whole_relation"]
    assert found.loc["byrow", "slots_pkey"]["table"] == "slots"
    assert found.loc["scans", "slots"]["whole_relation"]
    assert found["transaction"].to_dict() == {
        ("byrow", "slots"): "open",
        ("byrow", "slots_pkey"): "open",
        ("scans", "slots"): "committed, kept",
    }
    assert found["in_tree"].all()
    assert not elsewhere["in_tree"].any()


def test_rollbacks_and_deadlocks_are_counted_and_serialization_failures_are_not_told_apart(connect: Connect) -> None:
    """Each 40001 is one rollback more, and nothing else."""
    keeper = connect("keeper")

    def counted() -> pd.Series:
        return Runbook(keeper).ask("counters").iloc[0]

    keeper.execute("insert into slots (id, start_time, end_time) values ('slot:1', now(), now())")
    before = counted()
    one, other = connect("keeper"), connect("keeper")
    one.execute("begin isolation level repeatable read; select * from slots")
    other.execute("update slots set booked = 1")
    with pytest.raises(psycopg.errors.SerializationFailure):
        one.execute("update slots set booked = 2")
    one.execute("rollback; select pg_stat_force_next_flush()")
    until(lambda: counted()["rollbacks"] > before["rollbacks"])
    after = counted()
    assert after["deadlocks"] == before["deadlocks"]
    assert "serialization_failures" not in after.index
    assert 0 < after["rollbacks_percent"] < 100
