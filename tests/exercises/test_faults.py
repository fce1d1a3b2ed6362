"""What exactly-once does to a transaction is what it says that it does."""

from __future__ import annotations

import psycopg
import pytest

from tests.exercises.retry import asks_first
from zephyr_lab import Lab
from zephyr_lab.course.exercises.retry import Outcome, run_against
from zephyr_lab.course.faults import FAULTS, Attempts
from zephyr_lab.course.recording_connection import Record, WatchedConnection
from zephyr_lab.servers.fault_injection import cut, lost_on_the_way_back

MET = {
    "nothing in its way": [],
    "40001 at the SELECT": [("select booked from slots where slot = '18:00' for update", "40001")],
    "40001 at the UPDATE": [("update till set roubles = roubles + 5000", "40001")],
    "40001 at the COMMIT": [("commit", "40001")],
    "40P01 at the UPDATE": [("update till set roubles = roubles + 5000", "40P01")],
    "23505 at the INSERT, because the ticket's number is taken": [
        ("insert into orders values (19, 5000, 18)", "23505")
    ],
    "the session ended by an administrator at the UPDATE": [("update till set roubles = roubles + 5000", "57P01")],
    "the connection lost at COMMIT, before the server had it": [("commit", "08006")],
    "the connection lost at COMMIT, after the server had carried it out": [("commit", "08006")],
    "40001 at the UPDATE, again and again": [("update till set roubles = roubles + 5000", "40001")] * 10,
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.words)
def test_a_fault_is_met_where_its_name_says(lab: Lab, fault: object) -> None:
    """The statement, and the SQLSTATE that it was answered with; 08006 stands for none at all."""
    with lab.connect() as control:
        outcome = run_against(asks_first, Attempts(lab, fault, control))  # type: ignore[arg-type]
    assert isinstance(outcome, Outcome)
    failed = [event for event in outcome.run.record.events if event.failure]
    assert [(event.sql, event.failure.sqlstate) for event in failed if event.failure] == MET[outcome.run.fault.words]
    assert outcome.broken() is None


@pytest.mark.parametrize("arrived", [False, True], ids=["before", "after"])
def test_a_commit_whose_connection_is_lost_may_have_been_carried_out(lab: Lab, arrived: bool) -> None:
    """libpq says the same in both cases; only the table knows."""
    record = Record()
    with lab.connect() as control:
        control.execute("drop table if exists t; create table t (i int)")
        connection = WatchedConnection.over(lab.connect(), "A", record)
        connection.execute("insert into t values (1)")
        if arrived:
            record.at_commit = lambda conn: lambda gen: lost_on_the_way_back(conn, gen)
        else:
            cut(connection)
        with pytest.raises(psycopg.OperationalError) as told:
            connection.commit()
        assert told.value.sqlstate is None
        assert connection.broken
        connection.close()
        assert control.execute("select count(*) from t").fetchone() == (int(arrived),)
        control.execute("drop table t")


def test_nothing_is_left_behind(lab: Lab) -> None:
    """No table, no connection, and the next exploration begins as ever."""
    with lab.connect() as control:
        tables = "select tablename from pg_tables where schemaname = current_schema"
        others = set(control.execute(tables))
        sessions = "select pid from pg_stat_activity where backend_type = 'client backend'"
        before = set(control.execute(sessions))
        for fault in FAULTS:
            run_against(asks_first, Attempts(lab, fault, control))
        assert set(control.execute(tables)) <= others
        while set(control.execute(sessions)) - before:  # until those that were closed have ended
            pass
