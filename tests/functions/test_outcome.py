"""What is compared when a schedule is over, what is put back before the next, and what is only named."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis as redis_py

from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, NothingTested, ScheduleError, SetupFailed
from zephyr_lab.functions.once import once
from zephyr_lab.servers import keyvalue
from zephyr_lab.servers.embedded import start_valkey

Conn = psycopg.Connection[Any]
Redis = redis_py.Redis

T = "create table t (n int); insert into t values (0);"


READ_SKEW = "A B B A A A"  # of a reader that reads twice, and a writer


def writes(conn: Conn) -> None:
    conn.execute("update t set n = 1")


def skewed(conn: Conn) -> list[int]:
    """[0, 1] in that schedule, and in no serial order."""
    return [conn.execute("select n from t").fetchone()[0] for _ in range(2)]  # type: ignore[index]


# -- Redis


def of_database(redis: Redis, number: int) -> Redis:
    pool = redis.connection_pool
    kwargs = {**pool.connection_kwargs, "db": number}
    kwargs.pop("retry_on_timeout", None)
    return Redis(connection_pool=redis_py.ConnectionPool(connection_class=pool.connection_class, **kwargs))


def in_another_database(redis: Redis, seen: list[int]) -> None:
    of_database(redis, 1).set("seen", str(seen))


def list_or_string(redis: Redis, seen: list[int]) -> None:
    redis.set("seen", "list [a]") if seen == [0, 1] else redis.rpush("seen", "a")


def two_words_or_one(redis: Redis, seen: list[int]) -> None:
    redis.rpush("seen", *(["a, b"] if seen == [0, 1] else ["a", "b"]))


def read_by_a_group(redis: Redis, seen: list[int]) -> None:
    redis.xadd("seen", {"same": 1})
    redis.xgroup_create("seen", "group", "0")
    if seen == [0, 1]:
        redis.xreadgroup("group", "consumer", {"seen": ">"})


LEFT_IN_REDIS: dict[str, Callable[[Redis, list[int]], Any]] = {
    "a stream's entries": lambda redis, seen: redis.xadd("seen", {"seen": str(seen)}),
    "a stream's group": read_by_a_group,
    "bytes": lambda redis, seen: redis.set("seen", pickle.dumps(201 if seen == [0, 1] else 200)),
    "whether it expires": lambda redis, seen: redis.set("seen", 1, ex=1000 if seen == [0, 1] else None),
    "another database": in_another_database,
    "the kind": list_or_string,
    "commas": two_words_or_one,
}


@pytest.mark.thorough_but("a stream's group", "bytes", "another database", "the kind")
@pytest.mark.parametrize("name", list(LEFT_IN_REDIS))
def test_whatever_differs_in_redis_differs_in_the_outcome(lab: Lab, name: str) -> None:
    found = lab.replay(
        [lambda conn, redis: LEFT_IN_REDIS[name](redis, skewed(conn)) and None, writes], READ_SKEW, setup=T
    )
    assert found.anomalous
    assert "\N{REPLACEMENT CHARACTER}" not in str(found)


def test_other_databases_of_redis_are_put_back(lab: Lab) -> None:
    """A counter there begins at what the setup made, in every schedule; what others left there is gone."""
    other = of_database(lab.redis, 2)

    def prepare(redis: Redis) -> None:
        other.set("n", 5)

    found = lab.explore([lambda redis: other.incr("n")] * 2, setup=prepare)
    assert (found.anomalous, found.complete) == (0, True)
    assert "redis db 2: key=n, value=7" in str(found)


def adds(redis: Redis) -> Any:
    first = redis.xadd("jobs", {"job": "mill"})
    with redis.pipeline() as pipe:
        pipe.xadd("jobs", {"job": "bake"}, maxlen=10, approximate=False)
        (second,) = pipe.execute()
    redis.xack("jobs", "bakers", first)
    return [first, second]


def by_script(redis: Redis) -> None:
    redis.eval("redis.call('XADD', KEYS[1], '*', 'job', 'mill')", 1, "jobs")


def test_ids_of_streams_are_not_the_clocks(lab: Lab) -> None:
    """Returned, handed on to another command, made by a script: the same whenever a schedule is run."""

    def prepare(redis: Redis) -> None:
        redis.xadd("jobs", {"job": "sow"})
        redis.xgroup_create("jobs", "bakers", "0")

    found = lab.explore([adds, adds], setup=prepare)
    assert (found.schedules, found.complete, found.run.undecided) == (20, True, 0)
    assert found.anomalous == 12  # entries of the two lie between each other's
    alone = lab.explore([by_script], setup=prepare)
    assert "stream [#1 {job: sow}, #2 {job: mill}, group bakers: delivered 0-0, consumers [], pending []]" in str(alone)


def test_ids_that_are_said_are_compared(lab: Lab) -> None:
    def add(conn: Conn, redis: Redis) -> None:
        n = conn.execute("select n from t").fetchone()[0]  # type: ignore[index]
        redis.xadd("jobs", {"job": "mill"}, id=f"1-{n + 1}")

    found = lab.explore([add, writes], setup=T)
    assert {"jobs, value=stream [1-1 {job: mill}]", "jobs, value=stream [1-2 {job: mill}]"} == {
        one.text().partition("key=")[2].partition(";")[0] for one in found.outcomes.values()
    }


def test_a_table_of_the_name_redis_is_compared_beside_redis(lab: Lab) -> None:
    def both(conn: Conn, redis: Redis) -> None:
        seen = skewed(conn)
        redis.set("k", "same")
        conn.execute("update redis set seen = %s", [str(seen)])

    setup = T + "create table redis (seen text); insert into redis values ('');"
    assert lab.replay([both, writes], READ_SKEW, setup=setup).anomalous


def test_on_a_redis_of_ones_own_one_database_is_explored(lab: Lab) -> None:
    """Another one would be left as it is, and is refused before a byte is sent."""
    server, url = start_valkey()
    try:
        with keyvalue.client(url) as theirs, Lab(pg_dsn=lab.engine.database.conninfo("lab"), redis_url=url) as other:
            key = other.redis_prefix + "k"
            second = of_database(theirs, 1)
            with pytest.raises(ScheduleError, match="another database of a server of yours"):
                other.explore([lambda redis: second.set(key, 1)])
            for command in (("SELECT", 1), ("MOVE", key, 1), ("COPY", key, key, "DB", 1)):
                with pytest.raises(ScheduleError, match="in one database"):
                    other.explore([lambda redis, command=command: redis.execute_command(*command)])
            assert second.dbsize() == 0
    finally:
        server.close()


# -- PostgreSQL


def sql(statement: str) -> Callable[[Conn, list[int]], Any]:
    return lambda conn, seen: conn.execute(statement.format(seen=seen, n=5 + seen[1] - seen[0]))


LEFT_IN_POSTGRES: dict[str, tuple[str, Callable[[Conn, list[int]], Any]]] = {
    "another schema": (
        "create schema other; create table other.s (x text)", sql("insert into other.s values ('{seen}')")),
    "public": ("create table public.s (x text)", sql("insert into public.s values ('{seen}')")),
    "a table that a function makes": ("", sql("create table public.made as select '{seen}' as x")),
    "a materialized view": (
        "create materialized view m as select n from t",
        lambda conn, seen: seen == [0, 1] and conn.execute("refresh materialized view m")),
    "a sequence's position": ("create sequence s", sql("select setval('s', {n})")),
    "a default": ("create table s (x int)", sql("alter table s alter x set default {n}")),
    "a function": ("", sql("create function f() returns int language sql return {n}")),
    "an index": ("create table s (x int)", sql("create index on s ((x + {n}))")),
    "a right": (
        "create table s (x int)",
        lambda conn, seen: seen == [0, 1] and conn.execute("grant select on s to public")),
}  # fmt: skip


@pytest.mark.thorough_but("another schema", "a materialized view", "a sequence's position", "a default")
@pytest.mark.parametrize("name", list(LEFT_IN_POSTGRES))
def test_whatever_differs_in_postgres_differs_in_the_outcome(lab: Lab, name: str) -> None:
    """And is gone when the next one begins: the setup is run several times."""
    setup, leave = LEFT_IN_POSTGRES[name]

    def leaves(conn: Conn) -> None:
        leave(conn, skewed(conn))

    lab.explore([skewed], setup=T + setup)  # so that the rows are put back, of a setup that is known
    for _ in range(2):
        assert lab.replay([leaves, writes], READ_SKEW, setup=T + setup).anomalous
    with lab.connect() as conn:
        left = "select from pg_class where relnamespace = 'public'::regnamespace or relname = 's'"
        assert conn.execute("select from pg_namespace where nspname = 'other'").fetchone() is None
        assert conn.execute(left + " and relnamespace <> current_schema::regnamespace").fetchone() is None


def test_tables_of_other_schemas_are_put_back(lab: Lab) -> None:
    """A counter there begins at what the setup has made, whether SQL or a function has made it."""
    setup = "create schema other; create table other.counters (n int); insert into other.counters values (0);"

    def count(conn: Conn) -> None:
        conn.execute("update other.counters set n = n + 1")

    for one in (setup, once(lambda conn: conn.execute(setup)), lambda conn: conn.execute(setup)):
        found = lab.explore([count, count], setup=one)
        assert (found.schedules, found.anomalous) == (4, 0)
        assert "other.counters: n=2" in str(found)
    with lab.connect() as conn:
        conn.execute("create schema mine; create table mine.kept (n int)")
        lab.explore([count, count], setup=setup)
        conn.execute("drop schema mine cascade")  # it is there: no exploration has made it


def test_ids_and_clocks_of_other_schemas_are_as_good_as_others(lab: Lab) -> None:
    """By their columns there, with a reference and without; the greatest id is not the one that was inserted."""
    setup = """
    create schema other;
    create table other.orders (id serial primary key, guest text, made timestamptz default clock_timestamp());
    create table other.lines (order_id int references other.orders, dish text);"""

    def order(conn: Conn) -> Any:
        found = conn.execute("insert into other.orders (guest) values ('Anna') returning id, made").fetchone()
        conn.execute("insert into other.lines values (%s, 'pizza')", found[:1])
        return found

    def latest(conn: Conn) -> Any:
        conn.execute("insert into other.orders (guest) values ('Anna')")
        conn.commit()
        return conn.execute("select max(id) from other.orders").fetchone()

    found = lab.explore([order, order], setup=setup)
    assert (found.anomalous, found.run.undecided) == (0, 0)
    assert found.schedules > 2
    assert "order_id=(guest=Anna) #1, dish=pizza; order_id=(guest=Anna) #2, dish=pizza" in str(found)
    assert lab.explore([latest, latest], setup=setup, shrink=False).anomalous > 0


def test_positions_of_sequences_count_where_they_are_read_only(lab: Lab) -> None:
    """A number that a rolled back insert has taken is missing, and nobody minds; who reads the position does."""

    def insert(conn: Conn) -> None:
        with conn.transaction(), conn.transaction():
            if skewed(conn) == [0, 1]:
                conn.execute("select nextval('s')")

    def reads(conn: Conn) -> None:
        insert(conn)
        conn.execute("select last_value >= 1 from s")

    assert not lab.replay([insert, writes], READ_SKEW, setup=T + "create sequence s").anomalous
    assert lab.replay([reads, writes], READ_SKEW, setup=T + "create sequence s").anomalous


# -- what every schedule begins with


def test_a_setup_function_is_run_before_every_schedule(lab: Lab) -> None:
    """Serial ones included: what it clears in Python's memory is clear; what is run once is not run again."""
    mailbox: list[int] = []
    calls = {"migrate": 0, "clear": 0}

    def migrate(conn: Conn) -> None:
        calls["migrate"] += 1
        conn.execute(T)

    def clear() -> None:
        calls["clear"] += 1
        mailbox.clear()

    def sends(conn: Conn) -> int:
        conn.execute("update t set n = n + 1")
        mailbox.append(1)
        return len(mailbox)

    found = lab.explore([sends, sends], setup=[once(migrate), clear])
    assert (found.schedules, found.anomalous, found.complete) == (4, 0, True)
    assert calls["migrate"] <= 2  # one more, to see whether its rows can be put back
    assert calls["clear"] > 8
    assert lab.explore([sends, sends], setup=[T, clear]).anomalous == 0
    calls["migrate"] = 0
    assert lab.explore([sends, sends], setup=[migrate, clear]).anomalous == 0
    assert calls["migrate"] > 8
    with pytest.raises(BadInput, match="setup migrate is to be run once, and comes after clear"):
        lab.explore([sends], setup=[clear, once(migrate)])


def test_what_a_setup_makes_before_every_schedule_is_made_from_the_same_ground(lab: Lab) -> None:
    """Rows, tables, keys of Redis: one that adds to what was run once finds that as it was."""

    def adds(conn: Conn, redis: Redis) -> None:
        conn.execute("insert into t values (7)")
        conn.execute("create table more (n int)")
        redis.incr("n")

    def counts(conn: Conn, redis: Redis) -> Any:
        conn.execute("insert into more values (1)")
        return redis.incr("n"), conn.execute("select count(*) from t").fetchone()

    first = once(lambda conn, redis: (conn.execute(T), redis.set("n", 5)))
    found = lab.explore([counts], setup=[first, adds])
    assert "A returned (7, (2,)); more: n=1; t: n=0; n=7" in str(found)
    assert lab.explore([counts], setup=[first, adds]).anomalous == 0


def test_tables_of_a_setup_are_analysed(lab: Lab) -> None:
    """Those with rows; whatever has made them, and by what is put back too."""
    setup = "create table empty (n int); create table t (n int primary key); insert into t select generate_series(1, 9)"

    def looks(conn: Conn) -> Any:
        conn.execute("update t set n = n where n = 1")
        return conn.execute(
            "select relname, reltuples from pg_class where relname in ('empty', 't') order by 1"
        ).fetchall()

    for one in (setup, once(lambda conn: conn.execute(setup)), lambda conn: conn.execute(setup)):
        found = lab.explore([looks, looks], setup=one)
        assert (found.complete, len(found.outcomes)) == (True, 1)
        assert "A returned [('empty', -1.0), ('t', 9.0)]" in str(found)


# -- what is named only


def test_what_no_outcome_holds_is_named(lab: Lab, tmp_path: Path) -> None:
    """Only what is used, once each, on the screen and in JSON."""

    def uses(conn: Conn, redis: Redis) -> None:
        conn.execute("select pg_notify('bakers', 'mill')")
        conn.execute("select pg_advisory_lock(1)")
        redis.publish("bakers", "mill")
        redis.set("k", 1, ex=1000)
        (tmp_path / "out.txt").write_text("mill")
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
            pass

    found = lab.explore([uses], setup=T)
    assert found.not_compared == (
        "advisory locks that a session still holds at its end",
        "files that functions write",
        "how long keys of Redis have to live: only whether they expire",
        "messages published in Redis (PUBLISH)",
        "notifications (NOTIFY): who would hear them, and when",
        "what other servers are sent or answer (HTTP, mail)",
    )
    assert "used, and not compared: advisory locks that a session still holds at its end; files" in str(found)
    assert found.to_dict()["not_compared"] == list(found.not_compared)
    assert lab.explore([skewed, writes], setup=T).not_compared == ()


def test_an_advisory_lock_that_was_let_go_is_not_named(lab: Lab) -> None:
    """As often as it was taken."""

    def locks(unlocks: int) -> Callable[[Conn], None]:
        def lock(conn: Conn) -> None:
            conn.execute("select pg_advisory_lock(1), pg_advisory_lock(1)")
            for _ in range(unlocks):
                conn.execute("select pg_advisory_unlock(1)")

        return lock

    assert lab.explore([locks(2)], setup=T).not_compared == ()
    assert lab.explore([locks(1)], setup=T).not_compared == ("advisory locks that a session still holds at its end",)


def test_a_setup_of_c_that_takes_nothing_is_given_nothing(lab: Lab) -> None:
    """A dict's `clear`; of what does not say what it takes, the error says what it was given."""
    told: dict[str, int] = {}

    def tells(conn: Conn) -> int:
        writes(conn)
        return told.setdefault("told", len(told))

    assert lab.explore([tells], setup=[T, told.clear]).schedules == 1
    with pytest.raises(SetupFailed, match="does not say what it takes, and was given a connection"):
        lab.explore([tells], setup=[T, told.pop])


def test_where_nothing_was_tested_the_way_on_fits_the_error(lab: Lab) -> None:
    """Names in SQL only where the database was asked; a client that decodes, where bytes were to be read."""

    def of_python(conn: Conn) -> int:
        writes(conn)
        return {"a": 1}["b"]

    def of_redis(redis: Redis) -> Any:
        redis.set("k", pickle.dumps({"a": 1}))
        return pickle.loads(redis.get("k"))  # type: ignore[arg-type]

    with pytest.raises(NothingTested, match="Is there a mistake in the function"):
        lab.explore([of_python], setup=T)
    with pytest.raises(NothingTested, match="decodes what it reads"):
        lab.explore([of_redis], setup=T)
    url = lab.redis_url

    def of_its_own(conn: Conn) -> Any:
        with Redis.from_url(url) as redis:
            redis.set("k", pickle.dumps({"a": 1}))
            return pickle.loads(redis.get("k"))  # type: ignore[arg-type]

    assert "returned {'a': 1}" in str(lab.explore([of_its_own], setup=T))


def test_nothing_is_called_safe_where_every_function_raises(lab: Lab) -> None:
    """A name that is wrong everywhere; one that returns, or is sent away, or an anomaly, is another matter."""

    def wrong(conn: Conn) -> None:
        conn.execute("select n from tt")

    with pytest.raises(NothingTested, match=r"session A raised 42P01 undefined table; session B .* may_raise=True"):
        lab.explore([wrong, wrong], setup=T)
    assert lab.explore([wrong, wrong], setup=T, may_raise=True).anomalous == 0
    assert lab.explore([wrong, writes], setup=T).anomalous == 0


def test_what_is_to_be_ignored_must_be_there(lab: Lab) -> None:
    with pytest.raises(BadInput, match=r"ignore='t.m': the columns of t are n"):
        lab.explore([skewed, writes], setup=T, ignore=["t.m"])
    with pytest.raises(BadInput, match=r"ignore='tt.n': there is no table 'tt' in the end; there are: t"):
        lab.replay([skewed, writes], "A B", setup=T, ignore=["tt.n"])
