"""The pytest plugin, seen from another project: pytest in a process of its own, as an engineer runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.test_kill import Outside
from tests.conftest import ROOT
from tests.pytest_plugin.conftest import Project

pytestmark = pytest.mark.server

pytest_plugins = "pytester"

BOOKING = """
    import pytest

    pytestmark = pytest.mark.zephyr(setup='''
        create table slots (slot text primary key, booked int); insert into slots values ('18:00', 0);
    ''')

    def book(conn):
        (booked,) = conn.execute("select booked from slots").fetchone()
        conn.execute("update slots set booked = %s", [booked + 1])

    def guarded(conn):
        conn.execute("update slots set booked = booked + 1")
"""


@pytest.mark.thorough
def test_outcomes_are_those_of_the_explorations(project: Project) -> None:
    """Whatever is no proof is not simply green; each level is a test of its own; the nearest marker wins."""
    project.tests(
        BOOKING,
        """
    import random
    from zephyr_lab.testing import NothingTested

    def endless_if_booked(conn):
        (booked,) = conn.execute("select booked from slots").fetchone()
        conn.execute("select pg_sleep(600 * (booked - %s)) is null from slots", [booked])

    @pytest.mark.zephyr(isolation=["read committed", "serializable"])
    def test_levels(zephyr, zephyr_isolation):
        assert zephyr.isolation == zephyr_isolation
        zephyr.explore([book, book])

    def test_second_call(zephyr):
        zephyr.explore([guarded, guarded])
        zephyr.explore([guarded, guarded], invariant="select booked < 2 from slots")

    def test_expected(zephyr):
        zephyr.expect_anomaly([book, book])

    def test_not_as_expected(zephyr):
        zephyr.expect_anomaly([guarded, guarded])

    def test_undefined(zephyr):
        zephyr.explore([lambda conn: conn.execute("select missing"), guarded])

    def test_meant_to_raise(zephyr):
        missing = lambda conn: conn.execute("select missing, pg_notify('booked', '')")
        zephyr.explore([missing, guarded], may_raise=True)

    @pytest.mark.xfail(raises=NothingTested, strict=True)
    def test_too_many_serial_orders(zephyr):
        zephyr.explore([guarded] * 7, samples=1)

    def test_cut_short(zephyr):
        zephyr.explore([guarded] * 4, budget=0.001)

    def test_sampled(zephyr):
        zephyr.explore([guarded] * 3, samples=2)

    def test_never_ends(zephyr):
        zephyr.explore([endless_if_booked, guarded])

    def test_chance(zephyr):
        zephyr.explore([lambda conn: conn.execute("select %s", [random.random()]).fetchall()])
    """,
    )
    run = project.pytest("-v", "-rs", "--strict-markers")
    run.assert_outcomes(passed=4, failed=6, skipped=1, xfailed=1)
    run.stdout.fnmatch_lines_random(
        [
            "*::test_levels[[]read-committed] FAILED*",
            "*::test_levels[[]serializable] PASSED*",
            "*InvariantViolated: 4 of all 4 schedules (A guarded, B guarded; read committed) violate the invariant",
            "*is violated although a serial order ends so, too: the functions break it, not their order",
            "*::test_second_call --zephyr-replay *2: A A B B*",
            "*NothingTested: 2 of all * cannot be judged",
            "*session A in or after 'select pg_slee*: no answer within 6 s, *; cancelled. After *'A B B A'",
            "*NothingFound: an anomaly was expected, and none of all 4 schedules is anomalous",
            "*NothingTested: session A returned in none of all *, it raised 42703 undefined column: *",
            "SKIPPED [[]1] test_outcomes*.py:*: incomplete after 0.001 s: none of the * run (not all) is anomalous, *",
            "*::test_meant_to_raise: used, and not compared: notifications (NOTIFY): *",
            "*::test_sampled: A guarded, B guarded, C guarded at read committed: 2 schedules, not all, 0 anomalous*",
            "E *Nondeterminism: session A, round trip 1 of the schedule 'A*",
        ]
    )
    assert "lab.py" not in run.stdout.str()


@pytest.mark.thorough
def test_a_failure_shows_the_tables_that_differ_and_counts_the_others(project: Project) -> None:
    """Of a schema of many tables; an invariant that breaks although no table differs is shown with all of them."""
    many = "".join(f"create table menu_{n} as select {n} as price;" for n in range(20))
    project.tests(
        BOOKING,
        f"""
    SETUP = "create table slots (booked int); insert into slots values (0); {many}"

    @pytest.mark.zephyr(setup=SETUP)
    def test_lost(zephyr):
        zephyr.explore([book, book])

    @pytest.mark.zephyr(setup=SETUP)
    def test_invariant(zephyr):
        zephyr.explore([guarded, guarded], invariant="select booked < 2 from slots")
    """,
    )
    lost = project.pytest("-k", "lost").stdout.str()
    assert "final:  slots: booked=1" in lost
    assert "menu_" not in lost
    assert "lost update: notebooks/03-lost-update.ipynb: " in lost
    assert "at repeatable read this schedule is refused: 40001" in lost
    assert "20 more tables are the same in all these orders" in lost
    kept = project.pytest("-k", "invariant").stdout.str()
    assert "menu_19: price=19" in kept
    assert "more tables" not in kept


def test_refusals_are_declared_for_all_tests_or_for_one(project: Project) -> None:
    """By their full names in the ini file; what is not there is said."""
    project.tests("""
    import builtins, pytest

    def number(conn):
        (n,) = conn.execute("select coalesce(max(n), 0) + 1 from numbers").fetchone()
        if n > 1:
            raise builtins.LookupError
        conn.execute("insert into numbers values (%s)", [n])

    SETUP = "create table numbers (n int primary key)"

    @pytest.mark.zephyr(refusals=[LookupError])
    def test_one(zephyr):
        with pytest.raises(AssertionError, match="no serial order"):
            zephyr.explore([number, number], setup=SETUP)

    def test_all(zephyr):
        assert zephyr.explore([number, number], setup=SETUP).aborted > 0
    """)
    project.write("pytest.ini", "[pytest]\nzephyr_refusals = builtins.LookupError 23505")
    project.pytest().assert_outcomes(passed=2)
    project.write("pytest.ini", "[pytest]\nzephyr_refusals = builtins.Nothing")
    run = project.pytest("-k", "test_all")
    run.assert_outcomes(errors=1)
    run.stdout.fnmatch_lines(["*zephyr_refusals: there is no builtins.Nothing*"])


def test_a_replay_runs_one_schedule_of_one_call_and_ends_the_test(project: Project) -> None:
    """A serial one, of functions that most others break; what the test would look at next is not looked at."""
    project.tests(
        BOOKING,
        """
    def test_two_calls(zephyr):
        assert zephyr.explore([guarded, guarded]).schedules == 4
        zephyr.explore([book, book])
        raise AssertionError("went on")

    def test_not_as_expected(zephyr):
        zephyr.explore([guarded, guarded])
        zephyr.expect_anomaly([book, book])

    def test_one_call(zephyr):
        zephyr.explore([guarded, guarded])
    """,
    )
    run = project.pytest("--zephyr-replay", "2: B B B A")
    run.assert_outcomes(passed=2, failed=1)
    run.stdout.fnmatch_lines(
        [
            "*NothingFound: schedule 'B B B A A A' at read committed: prevented: the same as 'A then B'",
            "*::test_two_calls",
            "functions at read committed, schedule B B B A A A",
            "asked for 'B B B A': then the sessions ran on",
        ]
    )


@pytest.mark.thorough
def test_every_worker_has_servers_of_its_own_and_leaves_nothing(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under xdist, with a worker that dies in the midst of its test."""
    monkeypatch.delenv("ZEPHYR_LAB_PG_DSN")
    folder = Path(os.path.realpath(tmp_path)) / "tmp"
    folder.mkdir()
    outside = Outside(folder)
    monkeypatch.setenv("TMPDIR", str(folder))
    project.tests(
        BOOKING,
        """
    import os
    import threading

    together = threading.Event()

    @pytest.mark.parametrize("n", range(2))
    def test_book(zephyr, n):
        zephyr.explore([book, book], isolation="serializable")

    def test_race(zephyr):
        zephyr.explore([book, book])

    def test_dies(zephyr):
        zephyr.explore([book, lambda conn: os._exit(3)])
    """,
    )
    run = project.pytest("-p", "xdist.plugin", "-n", "2")
    run.stdout.fnmatch_lines_random(["worker 'gw*' crashed*", "*AnomalyFound: 12 of all 14 schedules*"])
    assert run.parseoutcomes()["failed"] == 2
    assert run.parseoutcomes()["passed"] == 2
    assert outside.is_clean(), outside.leftovers()


def test_a_service_ends_with_its_test_or_with_the_fixture_that_started_it(project: Project) -> None:
    """Each later test sees who is still there."""
    project.tests(f"""
    import sys
    import pytest
    from zephyr_lab.errors import ServerLost

    SERVICE = [sys.executable, {str(ROOT / "tests/wire/shop.py")!r}]
    SETUP = "create table slots (id int primary key, booked int); insert into slots values (1, 0)"
    seen = []

    @pytest.fixture(scope="class")
    def shop(zephyr_service):
        with zephyr_service(SERVICE, ready="/", redis=False) as shop:
            seen.append(shop)
            yield shop

    class TestShop:
        def test_race(self, zephyr, shop):
            found = zephyr.expect_anomaly([shop.post("/orders"), shop.post("/orders")], setup=SETUP)
            assert (found.schedules, found.anomalous) == (14, 12)

        def test_one_service(self, shop):
            seen.append(shop)
            assert seen[0] is shop

        def test_own(self, zephyr):
            seen.append(zephyr.service(SERVICE, ready="/", redis=False))

    def test_ended(zephyr):
        for shop in seen:
            with pytest.raises(ServerLost, match="was closed, and its requests"):
                shop.get("/").ask()
        zephyr.explore([zephyr.lab.command("sh -c 'exit 3'")])
    """)
    run = project.pytest("-v")
    run.assert_outcomes(passed=3, failed=1)
    run.stdout.fnmatch_lines(["*::test_race: A POST /orders, B POST /orders at read committed: all 14 schedules, 12 *"])
    run.stdout.fnmatch_lines(["E *the command \"sh -c 'exit 3'\" ended with 3; it has printed nothing*"])


@pytest.mark.thorough
def test_ctrl_c_ends_the_test_run(project: Project) -> None:
    """`Lab.explore` keeps what it has found by then; the next test is not begun."""
    project.tests(
        BOOKING,
        """
    import os
    import signal

    runs = []

    def impatient(conn):
        runs.append(conn.execute("select 1"))
        if len(runs) == 20:
            os.kill(os.getpid(), signal.SIGINT)

    def test_interrupted(zephyr):
        zephyr.explore([impatient, book, book])

    def test_next(zephyr):
        print("was begun")
    """,
    )
    run = project.pytest("-s")
    assert run.ret == pytest.ExitCode.INTERRUPTED
    assert "was begun" not in run.stdout.str()


def test_what_is_misspelt_is_said_before_any_server_is_started(project: Project) -> None:
    """As errors of the collection, which name the test and what there is."""
    project.tests("""
    import pytest

    @pytest.mark.zephyr(isolation="snapshot")
    def test_level(zephyr):
        pass
    """)
    project.pytest("--zephyr-dsn", "host=nowhere.invalid").stdout.fnmatch_lines(
        ["*::test_level: zephyr: unknown isolation level 'snapshot'; PostgreSQL's are: *; or 'all'"]
    )
    project.tests("""
    import pytest

    @pytest.mark.zephyr(isolatoin="serializable")
    def test_word(zephyr):
        pass
    """)
    project.pytest().stdout.fnmatch_lines(["*::test_word: zephyr takes isolation=, setup=, *; not isolatoin"])
    run = project.pytest("--zephyr-budget", "0")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["*a budget is a positive number of seconds, not '0'"])


def test_a_server_that_does_not_answer_is_an_error_and_shows_no_password(project: Project) -> None:
    """Not a skip, and without the lab's internals; the option wins over the environment."""
    project.tests("def test_one(zephyr): pass\n", "    def test_none(): pass")
    run = project.pytest("--zephyr-dsn", "host=127.0.0.1 port=1 user=u password=s3cr3t dbname=d")
    run.assert_outcomes(errors=1, passed=1)
    run.stdout.fnmatch_lines(["zephyr: no PostgreSQL answers at *127.0.0.1*"])
    assert "s3cr3t" not in run.stdout.str()


def test_a_project_that_does_not_use_it_imports_nothing_for_it() -> None:
    """But the modules of the plugin."""
    program = (
        "import sys, pytest; before = {*sys.modules}; import zephyr_lab.pytest_plugin; print({*sys.modules} - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(re.findall(r"'(.+?)'", done.stdout)) == {
        "zephyr_lab",
        "zephyr_lab.options",
        "zephyr_lab.pytest_plugin",
        "zephyr_lab.testing",
    }
