"""What the runbook answers about sessions: isolation levels, locks, waits, transactions; on PostgreSQL 18 and 15."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import psycopg
import pytest

from tests.runbook.conftest import DATABASE, Connect, Server
from zephyr_lab import Lab
from zephyr_lab.errors import ScheduleError
from zephyr_lab.runbook import Runbook, WaitTree
from zephyr_lab.schedule import specfile

Connection = psycopg.Connection[Any]
LEVEL = "default_transaction_isolation"
SLOTS = """
setup { create table slots (slot text primary key, booked int);
        insert into slots values ('18:00', 0), ('18:15', 0); analyze slots; }
teardown { drop table slots; }
"""
BOOK = "update slots set booked = booked + 500 where slot = '18:00'"


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Looks until something is so, for a bounded time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came to be so"
        time.sleep(0.01)


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


# -- who waits


def test_a_queue_is_a_chain_below_the_one_that_holds_it_up(lab: Lab) -> None:
    """Three levels and more: rows, then DDL, then a reader that only wants to look; nobody waits for everybody."""
    spec = specfile.parse(f"""{SLOTS}
        session holder step h {{ begin; {BOOK}; }}
        session first step f {{ {BOOK}; }}
        session second step s {{ {BOOK}; }}
        session ddl step d {{ alter table slots add note text; }}
        session reader step r {{ select * from slots; }}
    """)
    with lab.case(spec).hold("holder first second ddl reader") as events:
        assert [event.session for event in events if event.wait] == ["first", "second", "ddl", "reader"]
        answer = lab.runbook("who-blocks-whom")
        tree = WaitTree.of(answer)
    assert list(answer["depth"]) == [0, 1, 2, 3, 4]
    assert list(answer["session"]) == ["holder", "first", "second", "ddl", "reader"]
    pids = dict(zip(answer["session"], answer["pid"], strict=True))
    below = [[], ["holder"], ["first"], ["second"], ["ddl"]]
    assert list(answer["waits_for"]) == [[pids[name] for name in names] for names in below]
    assert sorted(answer["blockers"][3]) == sorted(pids[name] for name in ("holder", "first", "second"))
    assert list(answer["lock"])[1:] == ["transactionid", "tuple", "relation", "relation"]
    assert set(answer["relation"][1:]) == {"slots"}
    assert tree.roots == ("holder",)
    assert str(tree).splitlines()[:2] == [
        f"holder              idle in transaction: begin; {BOOK};",
        f"└─ first            waits for holder (transactionid, slots): {BOOK};",
    ]
    picture = tree._repr_mimebundle_()
    assert picture["image/png"].startswith(b"\x89PNG")
    assert "waits for ddl (relation, slots, AccessShareLock)" in picture["image/svg+xml"]
    assert lab.runbook("who-blocks-whom").empty
    assert str(WaitTree.of(lab.runbook("who-blocks-whom"))) == "nobody waits"


def test_only_what_conflicts_blocks(lab: Lab) -> None:
    """A reader and a writer hold the table, somebody wants SHARE: the writer is in the way, and the reader is not."""
    spec = specfile.parse(
        f"""{SLOTS}
        session reader step r {{ begin isolation level serializable; select * from slots; }}
        session writer step w {{ begin; update slots set booked = 0 where slot = '18:15'; }}
        session wants step x {{ lock table slots in share mode; }}
    """.replace("lock table", "begin; lock table")
    )
    with lab.case(spec).hold("reader writer wants"):
        tree = WaitTree.of(lab.runbook("who-blocks-whom"))
    assert [(one.name, one.level) for one in tree.sessions] == [("writer", 0), ("wants", 1)]


def test_two_trees_and_a_session_behind_both(lab: Lab) -> None:
    """Each root has its own; whoever waits for two stands below one, and names both."""
    spec = specfile.parse(f"""{SLOTS}
        session one step a {{ begin; select * from slots; }}
        session two step b {{ begin; {BOOK}; }}
        session ddl step c {{ alter table slots add note text; }}
        session lone step d {{ begin; select pg_advisory_lock(7); }}
        session late step e {{ select pg_advisory_lock(7); }}
    """)
    with lab.case(spec).hold("one two ddl lone late"):
        tree = WaitTree.of(lab.runbook("who-blocks-whom"))
    assert set(tree.roots) == {"one", "two", "lone"}
    found = {one.name: one for one in tree.sessions}
    assert len(found) == len(tree.sessions) == 5
    assert set(found["ddl"].waits_for) == {"one", "two"}
    assert found["ddl"].said.endswith("(relation, slots, AccessExclusiveLock)")
    assert (found["late"].waits_for, found["late"].lock) == (("lone",), "advisory")


def test_a_wait_for_a_safe_snapshot_is_seen(lab: Lab) -> None:
    """Which is no lock: pg_blocking_pids and pg_locks know nothing of it."""
    spec = specfile.parse(f"""{SLOTS}
        session writer step w {{ begin isolation level serializable; {BOOK}; }}
        session report step r {{
            begin isolation level serializable, read only, deferrable; select sum(booked) from slots; }}
    """)
    with lab.case(spec).hold("writer report"):
        answer = lab.runbook("who-blocks-whom")
        with lab.connect() as connection:
            count = connection.execute("select count(*) from pg_locks where not granted").fetchone()
        tree = WaitTree.of(answer)
    assert count == (0,)
    assert list(answer["lock"][1:]) == ["safe snapshot"]
    assert [(one.name, one.said) for one in tree.sessions] == [
        ("writer", "idle in transaction"),
        ("report", "waits for writer (safe snapshot)"),
    ]


def test_a_deadlock_that_is_not_noticed_yet_is_drawn_as_one(connect: Connect) -> None:
    """With whoever waits behind it; it has no root."""
    with waiting(connect) as send:
        for name, key in (("A", 1), ("B", 2)):
            send(name, f"begin; select pg_advisory_xact_lock({key})", waits=False)
        send("A", "select pg_advisory_xact_lock(2)")
        send("B", "select pg_advisory_xact_lock(1)")
        send("C", "select pg_advisory_xact_lock(1)")
        answer = Runbook(connect("")).ask("who-blocks-whom").set_index("session")
        tree = WaitTree.of(answer.reset_index())
    assert list(answer.loc[["A", "B", "C"]]["deadlock"]) == [True, True, False]
    assert answer["depth"].isna().all()
    assert tree.roots == ()
    assert {one.name for one in tree.sessions} == {"A", "B", "C"}
    assert {one.said for one in tree.sessions if one.deadlock} == {
        "waits for B (advisory), a deadlock",
        "waits for A (advisory), a deadlock",
    }


def test_a_prepared_transaction_holds_up_others_without_a_session(connect: Connect) -> None:
    """pid 0 in the tree; long-transactions knows its name."""
    keeper, superuser = connect("keeper"), connect("")
    keeper.execute("insert into slots (id, start_time, end_time) values ('slot:1', now(), now())")
    keeper.execute("begin; update slots set booked = 1; prepare transaction 'forgotten'")
    try:
        with waiting(connect) as send:
            send("A", "update slots set booked = 2")
            tree = WaitTree.of(Runbook(superuser).ask("who-blocks-whom"))
            open_ones = Runbook(superuser, older_than="0 s").ask("long-transactions")
        assert tree.roots == ("a prepared transaction",)
        assert tree.sessions[1].waits_for == tree.roots
        forgotten = open_ones[open_ones["state"] == "prepared"].iloc[0]
        assert (forgotten["session"], forgotten["role"]) == ("a prepared transaction: forgotten", "keeper")
    finally:
        keeper.execute("rollback prepared 'forgotten'")


def test_a_role_without_rights_sees_who_waits_and_not_what_they_ask(connect: Connect) -> None:
    """Other roles' sessions, a safe-snapshot wait included; pg_read_all_stats shows their queries and ages as well."""
    connect("keeper").execute("insert into slots (id, start_time, end_time) values ('slot:1', now(), now())")
    clerk, superuser = connect("clerk"), connect("")
    with waiting(connect) as send:
        send("A", "begin isolation level serializable; update slots set booked = 1", waits=False)
        send("B", "update slots set booked = 2")
        send("C", "begin isolation level serializable, read only, deferrable; select * from slots")
        until(lambda: len(Runbook(clerk).ask("who-blocks-whom")) == 3)
        answer = Runbook(clerk).ask("who-blocks-whom").set_index("session")
        assert list(answer["depth"]) == [0, 1, 1]
        assert set(answer["query"]) == {"<insufficient privilege>"}
        assert (answer.loc["B"]["lock"], answer.loc["C"]["lock"]) == ("transactionid", "safe snapshot")
        assert answer["state"].isna().all()
        assert Runbook(clerk, older_than="0 s").ask("long-transactions").empty
        superuser.execute("grant pg_read_all_stats to clerk")
        try:
            seen = Runbook(clerk, older_than="0 s").ask("long-transactions")
        finally:
            superuser.execute("revoke pg_read_all_stats from clerk")
    assert {"A", "B", "C"} <= set(seen["session"])


@contextlib.contextmanager
def waiting(connect: Connect) -> Iterator[Callable[..., None]]:
    """Sends SQL as keeper in sessions by name, and goes on when the session waits for another; ended afterwards."""
    sessions: dict[str, Connection] = {}
    watcher = connect("")

    def send(name: str, sql: str, *, waits: bool = True) -> None:
        if name not in sessions:
            sessions[name] = connect("keeper", application_name=name)
        if not waits:
            sessions[name].execute(sql)
            return
        sessions[name].pgconn.send_query(sql.encode())
        pid = sessions[name].info.backend_pid
        asked = "select pg_blocking_pids(%s) || pg_safe_snapshot_blocking_pids(%s) <> '{}'"
        until(lambda: watcher.execute(asked, [pid, pid]).fetchone() == (True,))

    watcher.execute("alter role keeper set deadlock_timeout = '1min'")  # for superusers only to set
    try:
        yield send
    finally:
        watcher.execute("alter role keeper reset deadlock_timeout")
        for session in sessions.values():
            watcher.execute("select pg_terminate_backend(%s, 5000)", [session.info.backend_pid])
            session.close()


def test_a_held_schedule_refuses_another_and_ends_with_its_block(lab: Lab) -> None:
    """Also when the block raises: the next run finds a fresh table and no open transaction."""
    spec = specfile.parse(f"{SLOTS} session A step a {{ begin; {BOOK}; }} session B step b {{ {BOOK}; }}")
    case = lab.case(spec)
    with case.hold("A B"), pytest.raises(ScheduleError, match="a schedule is held"):
        case.run("A")
    with pytest.raises(ZeroDivisionError), case.hold("A B"):
        raise ZeroDivisionError
    assert lab.runbook("long-transactions", older_than="0 s").empty
    assert "booked=500" in str(case.run("B"))


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
