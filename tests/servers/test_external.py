"""Servers that are somebody else's: what the lab may do there, what it refuses, what it leaves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from zephyr_lab import Lab
from zephyr_lab.errors import ServerUnavailable
from zephyr_lab.schedule import specfile
from zephyr_lab.servers import database, keyvalue
from zephyr_lab.servers.embedded import start_postgres, start_valkey

pytestmark = pytest.mark.server

SECRET = "s3cr3t/pw"


@pytest.fixture(scope="module")
def admin() -> Iterator[psycopg.Connection]:
    """A superuser's connection to a server of its own, with an owner who may create schemas and a guest who may not."""
    server, dsn = start_postgres()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"create role owner login password '{SECRET}'")
        connection.execute(f"create role guest login password '{SECRET}'")
        connection.execute("create database theirs owner owner")
        connection.execute("create database closed")
        with psycopg.connect(dsn, dbname="theirs", user="owner", password=SECRET) as theirs:
            theirs.execute("create table slots (slot text); insert into slots values ('theirs')")
        yield connection
    server.close()


@pytest.fixture
def dsn(admin: psycopg.Connection) -> Callable[..., str]:
    """A DSN to that server: `dsn("owner")`."""

    def make(user: str, password: str = SECRET, dbname: str = "theirs") -> str:
        return psycopg.conninfo.make_conninfo(
            host=admin.info.host, port=5432, user=user, password=password, dbname=dbname
        )

    return make


def schemas(dsn: str) -> list[str]:
    """The lab's schemas on a server."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(r"select nspname from pg_namespace where nspname like 'zephyr\_lab\_%'").fetchall()
    return [row[0] for row in rows]


def wait_until(true: Callable[[], bool], seconds: float = 20) -> bool:
    """Looks until something is so, for a bounded time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.thorough
def test_the_lab_works_in_a_schema_of_its_own_and_removes_it(dsn: Callable[..., str]) -> None:
    """As an ordinary role that owns the database; the table of the same name beside it is not touched."""
    with Lab(pg_dsn=dsn("owner")) as lab:
        assert lab.matrix(["lost-update", "write-skew"]).unexpected() == []
        assert len(schemas(dsn("owner"))) == 1
    assert schemas(dsn("owner")) == []
    with psycopg.connect(dsn("owner")) as connection:
        assert connection.execute("select slot from slots").fetchall() == [("theirs",)]


def test_a_deadlock_ends_although_an_ordinary_role_may_not_set_its_timer(dsn: Callable[..., str]) -> None:
    """It takes the server's own time, and one of the two is aborted."""
    from tests.schedule.test_runner import CROSSING

    with Lab(pg_dsn=dsn("owner")) as lab:
        assert list(lab.case(CROSSING).run("A B A B").failures().values()) == ["40P01"]


def test_two_labs_on_one_server_do_not_meet(dsn: Callable[..., str]) -> None:
    """Each has its schema; closing one leaves the other's."""
    with Lab(pg_dsn=dsn("owner")) as one:
        with Lab(pg_dsn=dsn("owner")) as other:
            assert len(schemas(dsn("owner"))) == 2
            assert other.case("lost-update").verdict().anomalous
        assert one.case("lost-update").verdict().anomalous


def test_a_role_that_may_not_create_a_schema_is_told_the_grant(dsn: Callable[..., str]) -> None:
    """Before anything is done."""
    with pytest.raises(ServerUnavailable, match="GRANT CREATE ON DATABASE theirs TO guest"):
        Lab(pg_dsn=dsn("guest"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"password": "wrong"}, "refused the user name and password"),
        ({"password": ""}, "asks for a password, and the DSN has none"),
        ({"dbname": "nowhere"}, "refused"),
    ],
)
def test_a_refused_connection_says_why_and_shows_no_password(
    dsn: Callable[..., str], change: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told from the connection's state, not from the server's text."""
    monkeypatch.delenv("PGPASSWORD", raising=False)
    with pytest.raises(ServerUnavailable, match=said) as error:
        Lab(pg_dsn=dsn("owner", **change))
    assert SECRET not in str(error.value)
    assert "wrong" not in str(error.value)


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        (f"host=127.0.0.1 port=1 user=u password={SECRET} dbname=d", "no PostgreSQL answers at .*127.0.0.1"),
        (f"postgresql://u:{SECRET.replace('/', '@')}@h/d", "percent-encode"),
        (f"postgresql://u:{SECRET}@h:notaport/d", "malformed|percent-encode"),
        ("host", "the DSN is malformed"),
    ],
)
def test_an_unreachable_or_malformed_dsn_is_refused_without_its_password(dsn: str, said: str) -> None:
    """In well under the time that a network takes to give up."""
    with pytest.raises(ServerUnavailable, match=said) as error:
        Lab(pg_dsn=dsn)
    assert "s3cr3t" not in str(error.value)


def test_a_server_older_than_13_is_refused(admin: psycopg.Connection) -> None:
    """Through a proxy that lets a real server say another version, since a 12 cannot be had from a wheel."""
    with old_server(f"{admin.info.host}/.s.PGSQL.5432") as port:
        where = psycopg.conninfo.make_conninfo(
            host="127.0.0.1",
            port=port,
            user="owner",
            password=SECRET,
            dbname="theirs",
            sslmode="disable",
            gssencmode="disable",
        )
        with pytest.raises(ServerUnavailable, match=r"is PostgreSQL 12; the lab needs 13 or newer"):
            Lab(pg_dsn=where)


class old_server:  # noqa: N801  used as a function
    """A loopback port that passes one connection to a real server and turns its `server_version` into 12."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> int:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return self._listener.getsockname()[1]

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._path)
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            self._pass(server, client, True)

    def _pass(self, source: socket.socket, target: socket.socket, edit: bool) -> None:
        try:
            while data := source.recv(65536):
                if edit and b"server_version\x00" in data:
                    head, _, rest = data.partition(b"server_version\x00")
                    version, _, tail = rest.partition(b"\x00")
                    data = (
                        head
                        + b"server_version\x00"
                        + b"12.22"[: len(version)].ljust(len(version), b"0")
                        + b"\x00"
                        + tail
                    )
                target.sendall(data)
        except OSError:
            pass


def test_a_killed_lab_leaves_no_schema_and_no_session(dsn: Callable[..., str]) -> None:
    """SIGKILL, with one session waiting for another; the server is not ours, so somebody has to tidy up."""
    program = (
        "import os, signal\n"
        "from zephyr_lab import Lab\n"
        "from zephyr_lab.schedule.levels import IsolationLevel\n"
        "lab = Lab()\n"
        "case = lab.case('lost-update')\n"
        "run = lab.engine.runner.begin(case.spec, IsolationLevel.READ_COMMITTED)\n"
        "for step in ('A_read', 'B_read', 'A_write', 'B_write'): run.take(case.spec.steps[step])\n"
        "print('waiting', flush=True)\n"
        "signal.pause()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "ZEPHYR_LAB_PG_DSN": dsn("owner")},
    )
    assert process.stdout
    assert process.stdout.readline() == "waiting\n"
    assert len(schemas(dsn("owner"))) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_until(lambda: schemas(dsn("owner")) == [])
    left = "select from pg_stat_activity where application_name like 'zephyr%'"
    with psycopg.connect(dsn("owner"), autocommit=True) as connection:  # a backend ends a while after it is told to
        assert wait_until(lambda: connection.execute(left).rowcount == 0)


def test_keys_on_a_redis_of_ones_own_are_removed_and_others_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what begins with the lab's prefix is the lab's."""
    server, url = start_valkey()
    try:
        with keyvalue.client(url) as theirs:
            theirs.set("slot", "theirs")
            with Lab(redis_url=url) as lab:
                lab.redis.set(lab.redis_prefix + "slot", 1)
                assert theirs.dbsize() == 2
            assert theirs.keys("*") == ["slot"]
    finally:
        server.close()


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@127.0.0.1:1/0",
        "http://127.0.0.1/",
        "redis://[bad/",
        "redis://u:12#s3cr3t@h:1/0",
        "redis://:12?s3cr3t@h",
        "unix://:12/s3cr3t@/tmp/x.sock",
        "redis://u:s3cr3t@127.0.0.1:1/0?foo=bar",
    ],
)
def test_an_unusable_redis_url_is_refused_without_its_password(url: str) -> None:
    """When it is first used: who needs no Redis is not asked for one."""
    with pytest.raises(ServerUnavailable) as error:
        keyvalue.KeyValue(url, external=False)
    assert "s3cr3t" not in str(error.value)


def test_passwords_never_show() -> None:
    """In no form in which a DSN can be written."""
    for written in (
        f"postgresql://u:{SECRET}@h/d".replace("/pw", "%2Fpw"),
        f"host=h user=u password='{SECRET}' dbname=d",
    ):
        assert "s3cr3t" not in database.without_password(written)
        assert "u" in database.without_password(written)
    assert "s3cr3t" not in keyvalue.url_without_password("redis://u:s3cr3t@h:1/0?password=s3cr3t")


def test_a_role_that_reads_only_by_default_is_no_obstacle(admin: psycopg.Connection, dsn: Callable[..., str]) -> None:
    """What the lab needs it sets for its own sessions."""
    admin.execute(
        "alter role owner set default_transaction_read_only = on; alter role owner set timezone = 'Asia/Tokyo'"
    )
    try:
        with Lab(pg_dsn=dsn("owner")) as lab:
            assert lab.case("phantom").verdict().anomalous
        assert schemas(dsn("owner")) == []
    finally:
        admin.execute("alter role owner reset all")


def test_a_spec_may_take_another_role_on(admin: psycopg.Connection, dsn: Callable[..., str], tmp_path: Path) -> None:
    """Which finds the tables that it was given rights to."""
    admin.execute("grant guest to owner")
    path, said = tmp_path / "x.spec", []
    path.write_text("""
        setup { create table t as select 1 as one; grant select on t to guest; }
        teardown { drop table t; }
        session s1 setup { set role guest; } step look { table t; } teardown { reset role; }
    """)
    with Lab(pg_dsn=dsn("owner")) as lab:
        lab.isolationtester(path, said.append)
    assert "".join(said).endswith("step look: table t;\none\n---\n  1\n(1 row)\n\n")


def test_a_role_with_too_few_connections_is_told_so(admin: psycopg.Connection, dsn: Callable[..., str]) -> None:
    """And what was made by then is taken away again."""
    admin.execute("alter role owner connection limit 1")
    try:
        with pytest.raises(ServerUnavailable, match="could not connect"):
            Lab(pg_dsn=dsn("owner"))
    finally:
        admin.execute("alter role owner connection limit -1")
    assert wait_until(lambda: schemas(dsn("owner")) == [])


def test_a_transaction_that_a_step_prepared_does_not_outlive_the_lab(
    admin: psycopg.Connection, dsn: Callable[..., str]
) -> None:
    """It survives its session, and holds its locks; somebody else's is left alone."""
    with psycopg.connect(dsn("owner")) as theirs:
        theirs.execute("insert into slots values ('prepared')")
        theirs.execute("prepare transaction 'theirs'")
    spec = specfile.parse("""
        setup { create table q (n int); }
        session A step a { begin; insert into q values (1); prepare transaction 'ours'; }
    """)
    with Lab(pg_dsn=dsn("owner")) as lab:
        lab.case(spec).run("A")
    assert schemas(dsn("owner")) == []
    assert admin.execute("select gid from pg_prepared_xacts").fetchall() == [("theirs",)]
    with psycopg.connect(dsn("owner"), autocommit=True) as theirs:
        theirs.execute("rollback prepared 'theirs'")
