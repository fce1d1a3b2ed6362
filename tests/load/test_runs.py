"""Runs on a real server, short ones: totals are exact, what is wrong is said, and nothing is left behind.

No time is compared with a clock here. Concurrency comes from closed loops, so that it does not depend on the machine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest

from zephyr_lab import Lab
from zephyr_lab.check import operations
from zephyr_lab.errors import BadInput
from zephyr_lab.load import Incident, Progress, Report, compared, frame, save, server_monitor, to_html, to_json
from zephyr_lab.load.conditions import KNOWN
from zephyr_lab.load.counts import Outcome
from zephyr_lab.load.strategies.faulty import WRONG
from zephyr_lab.load.strategies.lock_held import HELD
from zephyr_lab.orders.strategies import STRATEGIES, Load
from zephyr_lab.servers.embedded import start_postgres, start_valkey

CROWD: dict[str, Any] = {"arrivals": "closed", "connections": 16, "pool": 16, "seconds": 0.6}
FIXED = ("redis-get-then-incrby", "redis-lua", "redis-lua-serializable")


def crowd(strategy: str, **conditions: Any) -> Incident:
    """Many at once, and small slots where the strategy allows it, so that many fill up."""
    small = {} if strategy in FIXED else {"capacity": 10_000}
    return Incident(strategy=strategy, **{**CROWD, **small, **conditions})


def rows(lab: Lab) -> set[tuple[Any, ...]]:
    with lab.connect() as connection:
        return set(connection.execute("select id, final_price from orders").fetchall())


def exact(report: Report) -> None:
    """Whoever was told yes has an order; nobody else has, but some of those who were told nothing."""
    truth = report.truth
    assert truth.lost == truth.unexpected == truth.twice == []
    assert truth.rows == truth.acknowledged + truth.saved_unanswered
    assert truth.acknowledged == report.created > 0
    assert (
        truth.unanswered
        + report.created
        + sum(report.counts.of_outcome(one) for one in (Outcome.FULL, Outcome.GIVEN_UP, Outcome.FAILED))
        == report.sent
    )


def test_totals_are_exact_and_figures_are_there(lab: Lab, tmp_path: Path) -> None:
    """Orders by their customers' word and by rows, and as a history; durations, lock waits, processors."""
    history = tmp_path / "orders.jsonl"
    report = lab.incident(crowd("one-statement", lock="order_ids@0.1s:0.3s"), history=history)
    exact(report)
    judged = operations.check(history, "counter")
    assert (judged.valid, judged.operations) == (True, report.sent + 1)
    assert report.wrong == []
    assert report.counts.latency.total() == report.created
    assert 0 < report.latency(50) <= report.latency(99) <= report.latency(100)
    assert report.counts.attempts == report.sent
    assert report.watched.mean_waiting > 0, "sixteen want a table that is locked for 0.3 s, 12 samples"
    assert report.cpu.client > 0
    assert report.cpu.postgresql
    assert 0 <= report.cpu.others_share <= 1
    assert sum(report.counts.created.values()) == report.created


@pytest.mark.thorough
def test_the_same_seed_saves_the_same_orders(lab: Lab) -> None:
    """Two open-loop runs: the same ids with the same prices."""
    one = Incident(strategy="one-statement", rate=60, seconds=0.5, seed=3)
    lab.incident(one)
    first = rows(lab)
    lab.incident(one)
    assert first == rows(lab) != set()


OF_EACH_KIND = (
    "one-statement",
    "select-for-update",
    "serializable-retry",
    "redis-lua-idempotent",
)
"""One message, a lock that is held, retries, two systems."""


@pytest.mark.thorough_but("one-statement")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in OF_EACH_KIND else pytest.mark.thorough)
        for name in STRATEGIES
    ],
)
def test_a_killed_postgresql_costs_no_strategy_an_acknowledged_order(lab: Lab, name: str) -> None:
    """SIGKILL in the middle: what was acknowledged is there, what is ambiguous is listed, and resolved."""
    report = lab.incident(Incident(strategy=name, rate=150, seconds=0.7, kill="postgres@0.1s"))
    assert [one.name for one in report.faults] == ["killed backend"]
    exact(report)
    if KNOWN[name].promises and KNOWN[name].load is not Load.REDIS:
        assert report.wrong == []


@pytest.mark.thorough
def test_a_killed_postgresql_comes_back_within_a_run(lab: Lab) -> None:
    """With orders saved before and after; each lost connection is counted."""
    report = lab.incident(Incident(strategy="server-side-function", rate=100, seconds=1.5, kill="postgres@0.5s"))
    exact(report)
    assert [one.name for one in report.faults] == ["killed backend"]
    assert sum(count for code, count in report.counts.refusals.items() if code not in ("40001", "40P01")) > 0
    assert "killed" in str(report)
    assert lab.case("lost-update").run().final, "the lab's own sessions are there again"


@pytest.mark.thorough_but("swallowed-40001-lost orders: ")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no-capacity-check", "oversold: "),
        ("retry-around-the-write", "lost updates: "),
        ("swallowed-40001", "lost orders: "),
    ],
)
def test_a_wrong_service_is_caught(lab: Lab, tmp_path: Path, name: str, said: str) -> None:
    """The report says what is wrong, and so does the checker of the history, which does not know the capacity."""
    history = tmp_path / "orders.jsonl"
    report = lab.incident(crowd(name), history=history)
    assert operations.check(history, "counter").valid is (name == "no-capacity-check")
    assert any(line.startswith(said) for line in report.wrong)
    assert said in str(report)
    assert set(WRONG) == {"no-capacity-check", "retry-around-the-write", "swallowed-40001"}


@pytest.mark.thorough_but("check-then-insert")
@pytest.mark.parametrize("name", [name for name, one in STRATEGIES.items() if not one.promises])
def test_what_promises_nothing_oversells(lab: Lab, name: str) -> None:
    """Each of the broken strategies, in a crowd."""
    report = lab.incident(crowd(name, seconds=1.2))
    exact(report)
    assert report.truth.oversold > 0
    assert report.truth.roubles_over > 0
    assert not report.breaks_a_promise, "it made none"


def test_serializable_fails_on_a_hot_slot_and_a_pool_of_one_cures_it(lab: Lab) -> None:
    """More than 20 % of the attempts with sixteen connections, none with one; nothing oversold by either."""
    many = lab.incident(crowd("serializable-retry"))
    one = lab.incident(crowd("serializable-retry", pool=1))
    assert many.wrong == one.wrong == []
    assert many.failed_attempts > 0.2
    assert one.refusals == 0
    assert many.retries_an_order > one.retries_an_order == 0


@pytest.mark.thorough
def test_the_clients_detector_cries_at_a_correct_service(lab: Lab) -> None:
    """Where nothing is oversold it counts race conditions: others have booked between its two reads."""
    report = lab.incident(crowd("one-statement", detector=True, seconds=1.5))
    assert report.truth.oversold == 0
    assert report.counts.hits > 0
    assert "race conditions; oversold slots in truth: 0" in str(report)


def test_nobody_begins_before_the_clock_does(lab: Lab) -> None:
    """Where a row is held for 20 ms, so many orders cannot be created sooner, on any machine."""
    report = lab.incident(crowd("held-20ms", capacity=10**9))
    assert 0 < report.created <= report.counts.last_end / 0.02 + 1


@pytest.mark.thorough
def test_what_a_row_is_held_for_is_what_limits_the_orders(lab: Lab) -> None:
    """Five milliseconds more, and no crowd gets more than one order in five; each waits for all those before it."""
    short, long = (lab.incident(crowd(name, capacity=100_000)) for name in ("held-0ms", "held-5ms"))
    exact(long)
    assert short.wrong == long.wrong == []
    assert long.achieved_rate < min(short.achieved_rate, 1.1 * 1000 / 5)
    assert long.lock_wait > 5 * 5, "fifteen are before it"
    assert set(HELD) == {"held-0ms", "held-1ms", "held-2ms", "held-5ms", "held-20ms"}


@pytest.mark.thorough
def test_sampling_agrees_with_a_lock_that_times_itself(lab: Lab) -> None:
    """The mean wait for a slot's row: by Little's law over samples, and by the server's own clock."""
    report = lab.incident(crowd("select-for-update-timed", seconds=1.5))
    with lab.connect() as connection:
        number, seconds, longest = connection.execute(
            "select count(*), extract(epoch from sum(waited))::float8, extract(epoch from max(waited))::float8 "
            "from lock_waits"
        ).fetchone() or (0, 0, 0)
    assert number >= report.created
    assert report.lock_wait / (1000 * seconds / number) == pytest.approx(1, rel=0.5)
    assert report.watched.longest_wait <= 1.2 * longest + 0.05


@pytest.mark.thorough_but("_WAITING")
@pytest.mark.parametrize("question", ["_WAITING", "_LONGEST", "_OVERSOLD"])
def test_what_could_not_be_measured_is_said_and_is_no_zero(
    lab: Lab, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answers one of the observer's questions with an error; the run goes on."""
    monkeypatch.setattr(
        server_monitor, question, "select 1 / 0, 1 where %s <> ''" if question != "_OVERSOLD" else "select 1 / 0"
    )
    report = lab.incident(crowd("select-for-update", seconds=0.3))
    exact(report)
    figures = report.row()
    assert (figures["lock_wait_ms"] is None) == (question == "_WAITING")
    assert (figures["longest_lock_wait_ms"] is None) == (question != "_OVERSOLD")
    lock_wait = next(line for line in str(report).splitlines() if line.startswith("lock wait"))
    assert ("not measured" in lock_wait) == (question != "_OVERSOLD")
    assert "not seen for " in lock_wait
    assert lock_wait.endswith("DivisionByZero: division by zero")
    assert "DivisionByZero: division by zero" in report.to_dict()["not_measured"]


def test_without_the_months_partition_every_order_fails_and_is_told_why(lab: Lab) -> None:
    """By its SQLSTATE; and the partition is back afterwards."""
    report = lab.incident(crowd("one-statement", missing_partition=True, seconds=0.3))
    assert report.created == 0
    assert report.counts.of_outcome(Outcome.FAILED) == report.sent
    assert "23514 check_violation" in report.verdict
    with lab.connect() as connection:
        parts = connection.execute("select from pg_inherits where inhparent = 'orders'::regclass")
        assert parts.rowcount == 2


def test_a_full_disk_is_told_by_its_name(lab: Lab) -> None:
    """The server answers 53100 from some moment on: those orders are told so, and the totals are exact."""

    def fill(far: Progress) -> None:
        if far.errors and done == ["full"]:
            done.append("told")
            raise KeyboardInterrupt
        if far.created and not done:
            done.append("full")
            with lab.connect() as connection:
                connection.execute(
                    "create function no_space() returns trigger language plpgsql as $$ begin "
                    "raise exception 'could not extend file' using errcode = 'disk_full'; end $$;"
                    "create trigger no_space before insert on orders for each row execute function no_space()"
                )

    done: list[str] = []
    report = lab.incident(crowd("one-statement", capacity=10**9, seconds=30), fill)
    exact(report)
    assert report.counts.errors["53100"] == report.counts.of_outcome(Outcome.FAILED) > 0
    assert "53100 disk_full" in report.verdict


def test_through_grpc_the_totals_are_as_exact(lab: Lab) -> None:
    """The service in a process of its own; its attempts and its pool are in the report too."""
    report = lab.incident(Incident(strategy="one-statement", rate=80, seconds=0.8, through="grpc"))
    exact(report)
    assert report.wrong == []
    assert report.counts.attempts == report.created
    assert report.counts.transaction.total() >= report.created


def test_an_interrupt_gives_the_report_so_far(lab: Lab) -> None:
    """Exact as well; and the lab goes on."""

    def interrupt(far: Progress) -> None:
        if far.created and not pressed:
            pressed.append(far)
            raise KeyboardInterrupt

    pressed: list[Progress] = []
    report = lab.incident(Incident(strategy="one-statement", rate=50, seconds=30), interrupt)
    assert report.stopped
    assert 0 < report.sent < 50 * 30
    exact(report)
    assert "stopped early" in str(report)
    assert not lab.incident(crowd("one-statement", seconds=0.2)).stopped


def test_a_pool_larger_than_the_server_allows_is_refused(lab: Lab) -> None:
    """Before anything is started, with what would be right."""
    with pytest.raises(BadInput, match=r"a pool of 500 needs 503 connections, and the server has \d+ free"):
        lab.incident(Incident(strategy="one-statement", pool=500))


@pytest.mark.thorough
def test_limits_per_slot_and_other_retries_are_kept_to(lab: Lab) -> None:
    """One at a time is never refused; one attempt is no retry."""
    alone = lab.incident(crowd("serializable-retry", per_slot=1, seconds=0.3))
    assert (alone.refusals, alone.wrong) == (0, [])
    once = lab.incident(crowd("serializable-retry", attempts=1, full_jitter=True, seconds=0.3))
    assert set(once.counts.retries) == {0}
    assert once.counts.of_outcome(Outcome.GIVEN_UP) == once.refusals > 0


@pytest.mark.thorough
def test_reports_go_to_files_pages_and_tables(lab: Lab, tmp_path: Path) -> None:
    """CSV and Parquet hold the same; the page has the verdict and a picture; JSON can be read."""
    reports = [lab.incident(crowd(name, seconds=0.3)) for name in ("one-statement", "no-capacity-check")]
    save(reports, tmp_path / "runs.csv")
    save(reports, tmp_path / "runs.parquet")
    table = frame(reports)
    for read in (pd.read_csv(tmp_path / "runs.csv"), pd.read_parquet(tmp_path / "runs.parquet")):
        assert list(read.columns) == list(table.columns)
        assert read["created"].tolist() == table["created"].tolist() == [one.created for one in reports]
    page = to_html(reports)
    assert page.count("<svg") == 3
    assert "oversold: " in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert [one["figures"]["created"] for one in json.loads(to_json(reports))] == [one.created for one in reports]
    assert len(compared(reports).splitlines()) == 3
    with pytest.raises(BadInput, match=r"ends in \.csv or \.parquet"):
        save(reports, tmp_path / "runs.xlsx")


@pytest.mark.server
@pytest.mark.thorough
def test_a_server_of_yours_is_loaded_only_if_you_say_so() -> None:
    """And its Redis never; afterwards nothing is left on it."""
    postgres, dsn = start_postgres()
    valkey, url = start_valkey()
    try:
        with Lab(pg_dsn=dsn, redis_url=url) as lab:
            with pytest.raises(BadInput, match="--yes-load-this-database"):
                lab.incident(crowd("one-statement"))
            with pytest.raises(BadInput, match="unset ZEPHYR_LAB_REDIS_URL"):
                lab.incident(crowd("redis-lua-idempotent"), yes_load_this_database=True)
            with pytest.raises(BadInput, match="only a server of the lab's own"):
                lab.incident(crowd("one-statement", kill="postgres@0.1s"), yes_load_this_database=True)
            report = lab.incident(crowd("one-statement", seconds=0.3), yes_load_this_database=True)
            exact(report)
            assert report.cpu.postgresql is None
        with psycopg.connect(dsn) as connection:
            left = connection.execute("select nspname from pg_namespace where nspname like 'zephyr_lab_%'").fetchall()
        assert left == []
    finally:
        valkey.close()
        postgres.close()
