"""A stranger's server and Redis, before and after every command, ended or killed: not a bit of theirs is another.

Rows with the transactions that wrote them, the files that hold them, sequences, functions, roles, settings, comments,
large objects, prepared transactions; keys of Redis with their time to live.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis as redis_py
from typer.testing import CliRunner

from tests.conftest import ROOT
from zephyr_lab import Lab
from zephyr_lab.cli import app
from zephyr_lab.errors import LabError
from zephyr_lab.schedule import specfile
from zephyr_lab.servers.embedded import start_postgres, start_valkey

pytestmark = pytest.mark.server

THEIRS = """
create role clerk; alter role clerk set search_path = shop; comment on database postgres is 'production';
create schema shop;
create table public.slots (slot text primary key, booked int); insert into public.slots values ('18:00', 7);
create table public.orders (id bigserial primary key, amount int); insert into public.orders (amount) values (5), (6);
create table shop.accounts (id int primary key, balance int check (balance >= 0));
insert into shop.accounts values (1, 9);
create view shop.rich as select * from shop.accounts where balance > 5;
create function public.remember(int) returns int language sql as 'select $1'; create function public.plan_slots(date)
  returns void language sql as 'select';
create type shop.state as enum ('new', 'done'); select lo_from_bytea(4711, 'photograph');
grant select on shop.accounts to clerk; comment on table shop.accounts is 'do not touch';
"""
LOOK = """
select string_agg(t::text || xmin || ctid, ',') from public.slots t
union all select string_agg(t::text || xmin || ctid, ',') from public.orders t
union all select string_agg(t::text || xmin || ctid, ',') from shop.accounts t
union all select string_agg(concat_ws(' ', oid, relname, relfilenode, relacl, xmin), ',' order by oid) from pg_class
  where relnamespace in ('public'::regnamespace, 'shop'::regnamespace)
union all select string_agg(concat_ws(' ', oid, proname, prosrc), ',' order by oid) from pg_proc where oid >= 16384
union all select string_agg(concat_ws(' ', oid, typname), ',' order by oid) from pg_type where oid >= 16384
union all select string_agg(concat_ws(' ', oid, nspname, nspacl), ',' order by oid) from pg_namespace
union all select string_agg(concat_ws(' ', oid, rolname, rolconfig), ',' order by oid) from pg_roles
union all select string_agg(concat_ws(' ', oid, datname, datacl), ',' order by oid) from pg_database
union all select string_agg(concat_ws(' ', setdatabase, setrole, setconfig), ',') from pg_db_role_setting
union all select string_agg(concat_ws(' ', objoid, objsubid, description), ',' order by objoid) from pg_description
  where objoid >= 16384
union all select string_agg(concat_ws(' ', loid, data), ',' order by loid) from pg_largeobject
union all select string_agg(gid, ',') from pg_prepared_xacts
union all select concat_ws(' ', last_value, is_called) from public.orders_id_seq
union all select string_agg(extname, ',') from pg_extension"""

LOADED = "select count(*) from pg_stat_activity where application_name like 'zephyr%load' and query ilike '%orders%'"


class Stranger:
    """A PostgreSQL and a Valkey with things of somebody's in them."""

    def __init__(self, dsn: str, url: str) -> None:
        self.dsn, self.url = dsn, url
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(THEIRS)
        with redis_py.Redis.from_url(url) as keys:
            keys.set("slot:1", "theirs")
            keys.hset("booked", mapping={"18:00": 7})
            keys.set("expires", 1, ex=100_000)
            keys.set("other", 1)

    def everything(self) -> list[object]:
        with psycopg.connect(self.dsn) as connection, redis_py.Redis.from_url(self.url) as keys:
            rows = connection.execute(LOOK).fetchall()
            return [*rows, sorted((key, keys.dump(key), keys.expiretime(key)) for key in keys.keys("*"))]

    def is_as_it_was(self, before: list[object], seconds: float = 30) -> bool:
        """Looks until it is, for a bounded time: the schema of a lab that was killed goes a moment later."""
        deadline = time.monotonic() + seconds
        while self.everything() != before:
            if time.monotonic() > deadline:
                assert self.everything() == before
            time.sleep(0.05)
        return True


@pytest.fixture(scope="module")
def stranger() -> Iterator[Stranger]:
    server, dsn = start_postgres()
    valkey, url = start_valkey()
    yield Stranger(dsn, url)
    server.close()
    valkey.close()


@pytest.fixture(autouse=True)
def environment(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEPHYR_LAB_PG_DSN", stranger.dsn)
    monkeypatch.setenv("ZEPHYR_LAB_REDIS_URL", stranger.url)


# `serve`, `partitions` and `reconcile` are the service's own, and work on the tables that they are pointed to.
INCIDENT = "incident --rate 40 --seconds 1"
YES = "--yes-load-this-database --strategy"
COMMANDS = {
    "doctor": 0, "run lost-update": 0, "explore lost-update": 0, "explore write-skew --isolation serializable": 0,
    "explore lost-update --samples 3": 0, "matrix lost-update phantom": 0, "spec {spec}": 0, "runbook --all": 0,
    "record {folder}/history.jsonl --seconds 0.2": 0, "strategies --explore one-statement --samples 2": 0,
    f"{INCIDENT} {YES} one-statement": 0, f"{INCIDENT} {YES} conditional-update --missing-partition": 0,
    f"{INCIDENT} {YES} one-statement --through grpc": 0,
    f"{INCIDENT} {YES} redis-lua": 2,  # books under keys without the prefix
    INCIDENT: 2,  # says what to add
}  # fmt: skip


@pytest.mark.thorough_but(
    "doctor",
    "run lost-update",
    "explore lost-update",
    "spec {spec}",
    "runbook --all",
    "record {folder}/history.jsonl --seconds 0.2",
    f"{INCIDENT} {YES} redis-lua",
    INCIDENT,
)
@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_changes_nothing_of_theirs(stranger: Stranger, words: str, tmp_path: Path) -> None:
    """Also where their tables have the names that the lab uses."""
    before = stranger.everything()
    spec = ROOT / "sql" / "schedules" / "lost-update.spec"
    done = CliRunner().invoke(app, [word.format(folder=tmp_path, spec=spec) for word in words.split()])
    code = 2 if done.exception and not isinstance(done.exception, SystemExit) else done.exit_code
    assert code == COMMANDS[words], f"{done.output}{done.exception!r}"
    assert stranger.is_as_it_was(before)


def functions(lab: Lab) -> None:
    def book(conn: psycopg.Connection, redis: redis_py.Redis) -> None:
        conn.execute("update slots set booked = booked + 1")
        redis.incr(lab.redis_prefix + "booked")

    setup = "create table slots (slot text, booked int); insert into slots values ('18:00', 0)"
    assert lab.explore([book, book], setup=setup).complete


def by_hand(lab: Lab) -> None:
    two = lab.terminals("create table slots (booked int); insert into slots values (0)")
    two.send("A", "begin; update slots set booked = booked + 1")
    two.send("B", "update slots set booked = booked + 1")
    two.send("A", "commit")


def with_own_connections(lab: Lab) -> None:
    with psycopg.connect(lab.conninfo()) as conn:
        conn.execute("create table slots (n int)")
        conn.execute("reset all")
        conn.execute("create table orders (n int)")
    with lab.connect() as conn:
        conn.execute("discard all")
        conn.execute("create table accounts (n int)")


@pytest.mark.parametrize("use", [functions, by_hand, with_own_connections], ids=lambda one: one.__name__)
def test_the_api_changes_nothing_of_theirs(stranger: Stranger, use: Callable[[Lab], None]) -> None:
    """Functions, statements by hand, connections that are handed out."""
    before = stranger.everything()
    with Lab() as lab:
        use(lab)
    assert stranger.is_as_it_was(before)


KILLED = {
    "explore": "lab.case('lost-update').explore(samples=100_000, on_progress=seen)",
    "functions": "lab.redis.set(lab.redis_prefix + 'x', 1); "
    "lab.explore([book, book, book], setup=SETUP, on_progress=seen)",
}
PROGRAM = """
from zephyr_lab import Lab
SETUP = 'create table slots (slot text, booked int); insert into slots values (1, 0)'
def book(conn):
    (n,) = conn.execute('select booked from slots').fetchone()
    conn.execute('update slots set booked = %s', [n + 1])
def seen(_): print('underway', flush=True)
with Lab() as lab: """


def leaving_setup(lab: Lab) -> None:
    lab.explore([stays, stays], setup=TABLE + "update public.slots set booked = 8")


def leaving_setup_function(lab: Lab) -> None:
    def setup(conn: psycopg.Connection) -> None:
        conn.execute(TABLE)
        conn.execute("update public.slots set booked = %s", [8])

    lab.explore([stays, stays], setup=setup)


def leaving_own_connection(lab: Lab) -> None:
    def setup() -> None:
        with psycopg.connect("dbname=anything") as conn:
            conn.execute(TABLE + "set search_path = public")

    lab.explore([stays, stays], setup=setup)


def leaving_function(lab: Lab) -> None:
    def leaves(conn: psycopg.Connection) -> None:
        stays(conn)
        with contextlib.suppress(Exception):
            conn.execute("select set_config('search_path', 'public', false)")
        conn.execute("update slots set booked = 8")

    lab.explore([leaves, stays], setup=TABLE)


def leaving_async_function(lab: Lab) -> None:
    async def leaves(conn: psycopg.AsyncConnection) -> None:
        await conn.execute("update shop.accounts set balance = 0")

    lab.explore([leaves, stays], setup=TABLE)


def leaving_invariant(lab: Lab) -> None:
    lab.explore([stays, stays], setup=TABLE, invariant="select count(*) = 1 from public.slots")


def leaving_spec(lab: Lab) -> None:
    lab.case(specfile.parse("session A step a { update public.slots set booked = 8; }", name="x")).run("a")


def leaving_terminal(lab: Lab) -> None:
    lab.terminals(TABLE).send("A", "drop table shop.accounts")


TABLE = "create table slots (slot text, booked int); insert into slots values ('18:00', 0);"


def stays(conn: psycopg.Connection) -> None:
    conn.execute("update slots set booked = booked + 1")


@pytest.mark.parametrize(
    "use",
    [
        leaving_setup,
        leaving_setup_function,
        leaving_own_connection,
        leaving_function,
        leaving_async_function,
        leaving_invariant,
        leaving_spec,
        leaving_terminal,
    ],
    ids=lambda one: one.__name__,
)
def test_sql_that_would_leave_the_labs_schema_is_refused(stranger: Stranger, use: Callable[[Lab], None]) -> None:
    """Whatever is made of being told so."""
    before = stranger.everything()
    with Lab() as lab, pytest.raises(LabError, match="nothing but the lab's schema is touched"):
        use(lab)
    assert stranger.is_as_it_was(before)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("explore", signal.SIGKILL),
        ("functions", signal.SIGKILL),
        ("functions", signal.SIGINT),
        *(
            pytest.param(name, number, marks=pytest.mark.thorough)
            for name, number in (("explore", signal.SIGTERM), ("explore", signal.SIGINT), ("functions", signal.SIGTERM))
        ),
    ],
)
def test_whoever_is_killed_has_changed_nothing_of_theirs(stranger: Stranger, name: str, number: signal.Signals) -> None:
    """In the midst of it, when the first schedule is behind."""
    before = stranger.everything()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM + KILLED[name]], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "underway\n"
    process.send_signal(number)
    process.stdout.close()
    process.wait(30)
    assert stranger.is_as_it_was(before)


@pytest.mark.thorough
def test_a_load_that_is_killed_has_changed_nothing_of_theirs(stranger: Stranger) -> None:
    """With its processes at work."""
    before = stranger.everything()
    words = f"incident --rate 40 --seconds 60 {YES} one-statement".split()
    process = subprocess.Popen(
        [sys.executable, "-m", "zephyr_lab", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with psycopg.connect(stranger.dsn, autocommit=True) as connection:
            deadline = time.monotonic() + 60
            while connection.execute(LOADED).fetchone() == (0,):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert stranger.is_as_it_was(before)
