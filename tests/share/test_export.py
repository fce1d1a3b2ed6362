"""What others get: each form is used as they use it, and shows the same."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from tests.conftest import ROOT, slots_spec
from tests.share import shop
from tests.wire.programs import SETUP as DRIVERS_SETUP
from tests.wire.programs import asyncpg as by_asyncpg
from tests.wire.programs import pg8000 as by_pg8000
from tests.wire.programs import psycopg2 as by_psycopg2
from zephyr_lab import Lab, once
from zephyr_lab.errors import BadInput, ServerLost
from zephyr_lab.explore.counterexample import Counterexample
from zephyr_lab.explore.verdict import Verdict
from zephyr_lab.functions.surrogates import TIME, UUID
from zephyr_lab.schedule.transcript import Transcript
from zephyr_lab.servers.carriers import find_postgres
from zephyr_lab.servers.embedded import start_postgres

DEADLOCK = """
session A step A1 { begin; select from slots where slot = 'a' for update; }
          step A2 { select from slots where slot = 'b' for update; } step A3 { commit; }
session B step B1 { begin; select from slots where slot = 'b' for update; }
          step B2 { select from slots where slot = 'a' for update; } step B3 { commit; }
"""


def leave(me: str, other: str, conn: psycopg.Connection) -> None:
    """Somebody has to stay, and each sees the other still there."""
    row = conn.execute("select count(*) from shifts where doctor <> %s and on_call", [me]).fetchone()
    if row and row[0] > 0:
        conn.execute("update shifts set on_call = %s where doctor = %s", [False, me])


SHIFTS = """create table shifts (doctor text, on_call bool);
insert into shifts values ('it''s {me}', true), ('she', true)"""
WAYS: dict[str, tuple[Sequence[Any] | Mapping[str, Any], Any, str]] = {
    "lost-update": ([shop.book, shop.book], shop.SCHEMA, "read committed"),
    "parameters": ({"step": partial(shop.book, amount=7), "b-1": shop.book}, once(shop.make_slots), "read committed"),
    "ids": ([shop.order, shop.order], shop.ORDERS, "read committed"),
    "ids-of-a-function": ([shop.order, shop.order], once(shop.make_slots), "read committed"),
    "chance": ([shop.draw, shop.draw], shop.TICKETS, "read committed"),
    "in-pieces": ([shop.book_in_pieces, shop.book_in_pieces], shop.SCHEMA, "serializable"),
    "write-skew": ([partial(leave, "it's {me}", "she"), partial(leave, "she", "it's {me}")], SHIFTS, "repeatable read"),
    "asyncpg": ([by_asyncpg, by_asyncpg], DRIVERS_SETUP, "read committed"),
    "pg8000": ([by_pg8000, by_pg8000], DRIVERS_SETUP, "read committed"),
    "another-driver": ([by_psycopg2, by_psycopg2], DRIVERS_SETUP, "read committed"),
}


def told(transcript: Transcript) -> list[tuple[str, str]]:
    """What each step was answered; times and UUIDs are others in each run."""
    texts = [(one.session, one.text()) for one in transcript.events if not one.is_return]
    return [(name, re.sub(f"{TIME.pattern}|{UUID.pattern[4:]}", "...", text)) for name, text in texts]


def again(lab: Lab, file: Path) -> Verdict:
    """What the command in the file says."""
    (command,) = re.findall(r"(?m)^#   (zephyr-lab run .*)", file.read_text(encoding="utf-8"))
    words = shlex.split(command)
    assert words[2] == file.name
    given = dict(zip(words[3::2], words[4::2], strict=False))
    case = lab.case(file, given["--isolation"])
    return case.verdict(given["--schedule"], whole_sessions="--whole-sessions" in words)


def deadlock(lab: Lab, victim: str = "B") -> Counterexample:
    """B closes the cycle."""
    return lab.case(slots_spec(DEADLOCK)).example("A B A B A B" if victim == "B" else "A B A B B A", victim=victim)


def test_of(file: Path, lab: Lab, tmp_path: Path) -> Callable[[], None]:
    """The test in a file of pytest's."""
    names: dict[str, Any] = {}
    exec(compile(file.read_text(encoding="utf-8"), file.name, "exec"), names)
    ((_, test),) = ((name, one) for name, one in names.items() if name.startswith("test_"))
    more = {"tmp_path": tmp_path} if "tmp_path" in test.__code__.co_varnames else {}
    return partial(test, SimpleNamespace(lab=lab), **more)


test_of.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def found(lab: Lab) -> Callable[[str], Counterexample]:
    """The counterexample of one of `WAYS`, explored once."""
    known: dict[str, Counterexample] = {}

    def explored(way: str) -> Counterexample:
        if way not in known:
            functions, setup, isolation = WAYS[way]
            made = lab.explore(functions, setup=setup, isolation=isolation).counterexample
            assert made is not None
            known[way] = made
        return known[way]

    return explored


@pytest.mark.thorough_but("lost-update", "ids", "in-pieces", "write-skew")
@pytest.mark.parametrize("way", WAYS)
def test_a_spec_of_functions_has_the_same_anomaly(
    lab: Lab, found: Callable[[str], Counterexample], way: str, tmp_path: Path
) -> None:
    """Each step is answered as the function was, ids and braces included, and the verdict is the same."""
    file = found(way).export(tmp_path / f"{way}.spec")
    verdict = again(lab, file)
    assert verdict.anomalous
    if way != "asyncpg":  # of which the wire does not know the rows
        assert told(verdict.transcript) == told(found(way).transcript)
    assert "# -> " in (text := file.read_text(encoding="utf-8"))
    assert "; ;" not in text
    assert ("--whole-sessions" in text) is (way == "in-pieces")


@pytest.mark.parametrize("level", ["read committed", "repeatable read"])
def test_a_spec_of_a_case_sets_its_level_itself(lab: Lab, tmp_path: Path, level: str) -> None:
    """So that isolationtester, which knows none, runs it at that level."""
    case = lab.case("write-skew", level)
    shown = case.explore().counterexample
    assert shown is not None
    file = shown.export(tmp_path / "skew.spec")
    assert told(again(lab, file).transcript) == told(shown.transcript)
    assert told(lab.case(file).run(shown)) == told(shown.transcript)
    levels = re.findall("set default_transaction_isolation = '(.*)'", file.read_text(encoding="utf-8"))
    assert set(levels) == ({level} - {"read committed"})


@pytest.mark.thorough_but("B")
@pytest.mark.parametrize("victim", ["A", "B"])
def test_a_deadlock_has_the_same_victim(lab: Lab, tmp_path: Path, victim: str) -> None:
    """Also the one that had waited first: sessions set their deadlock_timeout."""
    shown = deadlock(lab, victim)
    assert shown.verdict.kind == "aborts 40P01"
    verdict = again(lab, shown.export(tmp_path / "deadlock.spec"))
    assert (verdict.kind, told(verdict.transcript)) == ("aborts 40P01", told(shown.transcript))
    with pytest.raises(AssertionError, match="40P01 deadlock detected"):
        test_of(shown.export(tmp_path / "test_deadlock.py"), lab, tmp_path)()


@pytest.mark.thorough
@pytest.mark.parametrize("way", [*WAYS, "deadlock, A", "deadlock, B"])
def test_isolationtester_itself_takes_the_spec(
    lab: Lab, found: Callable[[str], Counterexample], way: str, tmp_path: Path
) -> None:
    """PostgreSQL's own program, where the wheel has it: every step, in this order, and nothing else."""
    program = find_postgres().path.parents[1] / "lib/pgxs/src/test/isolation/isolationtester"
    if not program.exists():
        pytest.skip("this PostgreSQL comes without isolationtester")
    shown = found(way) if way in WAYS else deadlock(lab, way[-1])
    file = shown.export(tmp_path / f"{way}.spec")
    with lab.connect() as connection:
        connection.execute("drop database if exists shared")
        connection.execute("create database shared")
    dsn = re.sub(r"dbname=\S+", "dbname=shared", lab.conninfo())
    dsn = psycopg.conninfo.make_conninfo(dsn, options="")
    done = subprocess.run([program, dsn], stdin=file.open(), capture_output=True, text=True, timeout=60, check=True)
    steps = re.findall(r"(?m)^  (\S+) +#", file.read_text(encoding="utf-8").partition("\npermutation\n")[2])
    ran = re.findall(r"(?m)^step (\S+): (?!<\.\.\.)", done.stdout)
    assert ran == [name.strip('"') for name in steps], done.stdout
    assert "unused step" not in done.stderr
    assert done.stdout.count("ERROR:") == (way not in WAYS)


@pytest.mark.thorough_but("ids", "deadlock")
@pytest.mark.parametrize("way", ["lost-update", "ids", "write-skew", "deadlock"])
def test_the_statements_for_windows_are_answered_as_is_said(
    lab: Lab, found: Callable[[str], Counterexample], way: str, tmp_path: Path
) -> None:
    """By hand: the setup, what each window says first, and the numbered statements in their order."""
    shown = deadlock(lab) if way == "deadlock" else found(way)
    text = shown.export(tmp_path / f"{way}.sql").read_text(encoding="utf-8")
    setup, _, rest = text.partition("\\echo")
    first, steps = rest.split("\n-- 1. window", 1)
    common, *own = re.split(r"-- and in window (\w+):\n", first.partition("-- First, in each window:\n")[2])
    begin = {name: common + sql for name, sql in zip(own[::2], own[1::2], strict=True)}
    pattern = r"-- \d+\. window (\w+)\n(.*?)\n--    ([^\n]*(?:\n--    [^\n]*)*)"
    numbered = re.findall(pattern, f"-- 1. window{steps}", re.DOTALL)
    windows = lab.terminals(setup)
    try:
        for window in dict.fromkeys(name for name, *_ in numbered):
            windows.send(window, begin.get(window, common))
        for window, sql, expected in numbered:
            events = windows.send(window, sql).events
            said = [one.text() for one in events if one.session == window][-1:]
            said += [f"{one.session} goes on: {one.text()[9:]}" for one in events if one.session != window]
            assert said == expected.replace(": no prompt yet", "").split("\n--    "), sql
        assert [name for name, *_ in numbered] == shown.split()
    finally:
        lab.case("lost-update").run()  # ends the windows
        with lab.connect() as connection:
            connection.execute("drop schema if exists zephyr_counterexample cascade")


def test_psql_makes_the_tables_and_leaves_the_steps_to_the_reader(
    lab: Lab, found: Callable[[str], Counterexample], tmp_path: Path
) -> None:
    file = found("ids").export(tmp_path / "ids.sql")
    psql = find_postgres().path.with_name("psql")
    done = subprocess.run(
        [psql, "-X", "-v", "ON_ERROR_STOP=1", "-f", file, lab.conninfo()], capture_output=True, text=True, check=True
    )
    assert "go on with the steps in ids.sql, by hand" in done.stdout
    with lab.connect() as connection:
        rows = connection.execute("select about from zephyr_counterexample.orders").fetchall()
        connection.execute("drop schema zephyr_counterexample cascade")
    assert rows == [({"by": "it's {me}"},)]


@pytest.mark.thorough_but("lost-update", "write-skew")
@pytest.mark.parametrize("way", ["lost-update", "parameters", "ids", "another-driver", "write-skew"])
def test_a_test_fails_as_long_as_the_schedule_is_anomalous(
    lab: Lab, found: Callable[[str], Counterexample], way: str, tmp_path: Path
) -> None:
    file = found(way).export(tmp_path / "test_it.py")
    assert "SPEC" not in (text := file.read_text(encoding="utf-8"))
    assert ("import functools" in text) is (way in ("parameters", "write-skew"))
    with pytest.raises(AssertionError, match="no serial order gives this outcome"):
        test_of(file, lab, tmp_path)()


def test_a_test_passes_when_the_function_has_been_mended(
    lab: Lab, found: Callable[[str], Counterexample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs the function as it is now, in that schedule as nearly as it can."""
    test = test_of(found("lost-update").export(tmp_path / "test_it.py"), lab, tmp_path)

    def mended(conn: psycopg.Connection) -> None:
        conn.execute("update slots set booked = booked + 5000")

    monkeypatch.setattr(shop, "book", mended)
    test()


def test_functions_that_nobody_can_import_are_a_spec_in_the_test(lab: Lab, tmp_path: Path) -> None:
    shown = lab.explore([lambda conn: shop.book(conn)] * 2, setup=shop.SCHEMA).counterexample
    assert shown is not None
    file = shown.export(tmp_path / "test_it.py")
    with pytest.raises(AssertionError, match="no serial order gives this outcome"):
        test_of(file, lab, tmp_path)()
    locked = re.sub(r"(select booked .*?) \}", r"\1 for update }", file.read_text(encoding="utf-8"))
    file.write_text(locked, encoding="utf-8")
    with pytest.raises(Exception, match=r"cannot be sent|waits for"):  # in this order nobody could go on then
        test_of(file, lab, tmp_path)()


def test_a_race_in_redis_is_told_and_not_put_into_a_spec(lab: Lab, tmp_path: Path) -> None:
    """Alone, or with PostgreSQL where the answer of Redis decides."""

    def counts(redis: Any) -> int:
        value = int(redis.get("n") or 0) + 1
        redis.set("n", value)
        return value

    def both(conn: psycopg.Connection, redis: Any) -> None:
        conn.autocommit = True
        value = int(redis.get("n") or 0) + 1
        redis.set("n", value)
        conn.execute("insert into numbers values (%s)", [value])

    for function, why in ((counts, "nothing of it is in PostgreSQL"), (both, "commands of Redis, which are part")):
        shown = lab.explore([function, function], setup="create table numbers (n int)").counterexample
        assert shown is not None
        with pytest.raises(BadInput, match=rf"{why}.*export it as \.html or \.sql"):
            shown.export(tmp_path / "redis.spec")
        with pytest.raises(BadInput, match=why):
            shown.export(tmp_path / "test_redis.py")
        text = shown.export(tmp_path / "redis.sql").read_text(encoding="utf-8")
        assert why in text
        assert text.count("which is no SQL: redis: GET n") == 2
        assert "redis: GET n" in shown.export(tmp_path / "redis.html").read_text(encoding="utf-8")


def test_redis_beside_a_race_in_postgresql_is_a_comment_where_it_came(lab: Lab, tmp_path: Path) -> None:
    def book(conn: psycopg.Connection, redis: Any) -> None:
        shop.book(conn)
        redis.incr("orders")

    shown = lab.explore([book, book], setup=shop.SCHEMA).counterexample
    assert shown is not None
    file = shown.export(tmp_path / "beside.spec")
    assert again(lab, file).anomalous
    text = file.read_text(encoding="utf-8")
    comment = r"(?m)^# here [AB]: redis: INCRBY orders 1: -> .* \(no SQL, and not in this file\)$"
    assert len(re.findall(comment, text)) == 2
    assert "# Left out: the commands of Redis" in text


@pytest.mark.thorough
def test_a_session_that_dies_is_told_and_not_put_into_a_spec(lab: Lab, tmp_path: Path) -> None:
    """The test runs the functions, which die again."""
    shown = lab.explore([shop.move], setup=shop.ACCOUNTS, faults={"crash": 1}).counterexample
    assert shown is not None
    with pytest.raises(BadInput, match=r"a.spec: run as a spec, by its SQL alone, there is no anomaly"):
        shown.export(tmp_path / "a.spec")
    text = shown.export(tmp_path / "a.sql").read_text(encoding="utf-8")
    assert "A, which is no SQL: (crash)" in text
    assert "Left out: that a session dies" in text
    file = shown.export(tmp_path / "test_a.py")
    assert "faults={'crash': 1}" in file.read_text(encoding="utf-8")
    with pytest.raises(AssertionError, match="whether A happened wholly or not at all"):
        test_of(file, lab, tmp_path)()


@pytest.mark.thorough
def test_requests_to_a_service(lab: Lab, tmp_path: Path) -> None:
    """By the wire: the statements that the service has sent, with their parameters."""
    program = [sys.executable, str(ROOT / "tests" / "wire" / "hard.py")]
    setup = "create table slots (id int primary key, booked int); insert into slots values (1, 0)"
    with lab.service(program, ready="/", redis=False) as service:
        shown = lab.explore([service.post("/orders")] * 2, setup=setup).counterexample
        assert shown is not None
        for suffix in (".spec", ".sql", ".html"):
            shown.export(tmp_path / f"orders{suffix}")
        test = test_of(shown.export(tmp_path / "test_orders.py"), lab, tmp_path)
    verdict = again(lab, tmp_path / "orders.spec")
    assert verdict.anomalous
    assert told(verdict.transcript) == told(shown.transcript)
    assert "A, POST /orders, ended with HTTP 201(5000)" in (tmp_path / "orders.spec").read_text(encoding="utf-8")
    with pytest.raises(AssertionError, match="no serial order gives this outcome"):
        test()


@pytest.mark.server
@pytest.mark.thorough
def test_on_a_server_of_yours(tmp_path: Path) -> None:
    """The lab's schema alone is written down, by a pg_dump that gets the password in private."""
    server, dsn = start_postgres()
    try:
        with Lab(pg_dsn=dsn) as lab:
            with psycopg.connect(dsn) as connection:
                connection.execute("create table theirs (secret text)")
            shown = lab.explore([shop.order, shop.order], setup=shop.make_slots).counterexample
            assert shown is not None
            file = shown.export(tmp_path / "ids.spec")
            assert again(lab, file).anomalous
            assert not re.search("theirs|zephyr_lab_", file.read_text(encoding="utf-8"))
    finally:
        server.close()


def test_what_cannot_be_written_is_refused_before_anything_is_run(
    lab: Lab, found: Callable[[str], Counterexample], tmp_path: Path
) -> None:
    shown = found("lost-update")
    with pytest.raises(BadInput, match=r"by the file's suffix: \.spec .*\.sql .*\.py .*\.html"):
        shown.export(tmp_path / "lost.txt")
    with pytest.raises(BadInput, match="there is no folder"):
        shown.export(tmp_path / "nowhere" / "lost.spec")
    assert not list(tmp_path.iterdir())


@pytest.mark.server
def test_a_closed_lab_exports_nothing(tmp_path: Path) -> None:
    with Lab() as lab:
        shown = lab.case("lost-update").example("A B A B A B")
    with pytest.raises(ServerLost, match="this lab is closed"):
        shown.export(tmp_path / "lost.html")
