"""Histories recorded on PostgreSQL: what it promises, it keeps; what it does not promise, is found."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from zephyr_lab import Lab, check
from zephyr_lab.errors import BadInput
from zephyr_lab.explore.recording import PROMISED, record
from zephyr_lab.schedule.levels import IsolationLevel


def tables(lab: Lab) -> list[str]:
    with lab.connect() as connection:
        rows = connection.execute("select relname from pg_class where relname like 'zephyr_lab_history%'").fetchall()
    return [row[0] for row in rows]


@pytest.mark.parametrize("workload", ["list-append", "rw-register"])
@pytest.mark.parametrize("level", list(IsolationLevel), ids=str)
def test_every_level_keeps_what_postgresql_promises(lab: Lab, workload: str, level: IsolationLevel) -> None:
    """Random transactions of four sessions, at what each level is called in the literature."""
    recorded = lab.record(workload, level, transactions=120)
    report = recorded.check()
    assert report.valid is True, str(report)
    assert report.level == PROMISED[level]
    assert len(recorded.history) == 120
    assert tables(lab) == []


def test_write_skew_is_found_below_serializable(lab: Lab) -> None:
    """Snapshots are isolated and not serializable: enough random transactions meet in a cycle of two rw."""
    for seed in range(20):
        recorded = lab.record("list-append", "repeatable read", transactions=150, keys=3, sessions=6, seed=seed)
        report = recorded.check("serializable")
        if report.valid is False:
            break
    assert "G2-item" in report.names
    assert not {"G-single-item", "G-nonadjacent-item", "lost-update"} & set(report.names)


def test_postgresql_18_tells_what_each_write_replaced(lab: Lab) -> None:
    """So that the order of versions is known, and kept in the file."""
    recorded = lab.record("rw-register", "read committed", transactions=60)
    if lab.server < "PostgreSQL 18":
        pytest.skip("RETURNING old is PostgreSQL 18's")
    assert recorded.history.told_order
    again = check.from_transactions([one.to_dict() | {"ops": list(one.ops)} for one in recorded.history.transactions()])
    assert again.to_lines() == recorded.history.to_lines()


def test_a_recording_is_written_and_read_back(lab: Lab, tmp_path: Path) -> None:
    """As JSON lines, with times; one that ends by time may end before anything is done."""
    recorded = lab.record(transactions=60, sessions=2)
    recorded.write(tmp_path / "history.jsonl")
    history = check.read(tmp_path / "history.jsonl")
    assert history.to_lines() == recorded.history.to_lines()
    assert history.timed
    assert len(lab.record(seconds=1e-6, sessions=2).history) == 0


def test_an_error_of_a_session_ends_the_recording_and_leaves_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first error is told, the other sessions stop, the table is taken away."""
    monkeypatch.setattr("zephyr_lab.explore.recording._APPEND", "insert into nowhere values (%s, %s) -- {table}")
    with pytest.raises(psycopg.errors.UndefinedTable):
        lab.record(transactions=50)
    assert tables(lab) == []


@pytest.mark.parametrize("wrong", [{"workload": "queue"}, {"sessions": 0}, {"seconds": -1}, {"isolation": "very"}])
def test_what_cannot_be_recorded_is_refused(lab: Lab, wrong: dict) -> None:
    """Before anything is made."""
    with pytest.raises(BadInput):
        lab.record(**wrong)


@pytest.mark.thorough
def test_a_thousand_histories_at_serializable_are_valid(lab: Lab) -> None:
    """No false alarm, and none of PostgreSQL's."""
    kept = [lab.connect() for _ in range(4)]
    free = queue.SimpleQueue()

    @contextmanager
    def borrowed() -> Iterator[psycopg.Connection]:  # connecting takes longer than the twelve transactions
        connection = free.get()
        yield connection
        free.put(connection)

    try:
        for connection in kept:
            free.put(connection)
        for seed in range(1_000):
            report = record(borrowed, transactions=12, sessions=3, keys=3, seed=seed).check()
            assert report.valid is not False, (seed, str(report))
    finally:
        for connection in kept:
            connection.close()
