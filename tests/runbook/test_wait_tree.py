"""Who waits for whom, as the runbook draws it: queues, deadlocks, prepared transactions; on PostgreSQL 18 and 15."""

from __future__ import annotations

import pytest

from tests.runbook.conftest import BOOK, SLOTS, Connect, until, waiting
from zephyr_lab import Lab
from zephyr_lab.errors import ScheduleError
from zephyr_lab.runbook import Runbook, WaitTree
from zephyr_lab.schedule import specfile


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


def test_a_held_schedule_refuses_another_and_ends_with_its_block(lab: Lab) -> None:
    """Also when the block raises: the next run finds a fresh table and no open transaction."""
    spec = specfile.parse(f"{SLOTS} session A step a {{ begin; {BOOK}; }} session B step b {{ {BOOK}; }}")
    case = lab.case(spec)
    with case.hold("A B"), pytest.raises(ScheduleError, match="a schedule is held"):
        case.run("A")
    with case.hold("A B"):
        for refused in (lambda: lab.explore([lambda conn: conn.execute("select 1")]), case.explore):
            with pytest.raises(ScheduleError, match="a schedule is held"):
                refused()
        assert lab.runbook("who-blocks-whom")["session"].tolist() == ["A", "B"]
    with pytest.raises(ZeroDivisionError), case.hold("A B"):
        raise ZeroDivisionError
    assert lab.runbook("long-transactions", older_than="0 s").empty
    assert "booked=500" in str(case.run("B"))
