"""What is compared when a schedule is over, and what is put back before the next."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import redis as redis_py

from zephyr_lab import Lab
from zephyr_lab.errors import ScheduleError
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
        "create schema other; create table other.s (x text)",
        sql("insert into other.s values ('{seen}')"),
    ),
    "public": ("create table public.s (x text)", sql("insert into public.s values ('{seen}')")),
    "a table that a function makes": ("", sql("create table public.made as select '{seen}' as x")),
    "a materialized view": (
        "create materialized view m as select n from t",
        lambda conn, seen: seen == [0, 1] and conn.execute("refresh materialized view m"),
    ),
    "a sequence's position": ("create sequence s", sql("select setval('s', {n})")),
    "a default": ("create table s (x int)", sql("alter table s alter x set default {n}")),
    "a function": ("", sql("create function f() returns int language sql return {n}")),
    "an index": ("create table s (x int)", sql("create index on s ((x + {n}))")),
    "a right": (
        "create table s (x int)",
        lambda conn, seen: seen == [0, 1] and conn.execute("grant select on s to public"),
    ),
}


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
