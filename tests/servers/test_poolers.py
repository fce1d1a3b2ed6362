"""A stranger's server behind PgBouncer, in each of its modes: nothing is done there, and the reason is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from tests.servers.pgbouncer import needs_pgbouncer, pgbouncer
from zephyr_lab import Lab
from zephyr_lab.cli import app
from zephyr_lab.errors import ServerUnavailable
from zephyr_lab.servers import database
from zephyr_lab.servers.embedded import start_postgres

pytestmark = [pytest.mark.server, needs_pgbouncer]

SPEC = """
setup { drop table if exists accounts; create table accounts (who text, n int); insert into accounts values ('a', 1); }
session A
step a { update accounts set n = n + 1; }
session B
step b { update accounts set n = n + 1; }
"""
EVERYTHING = """
select string_agg(relname || ' ' || xmin || ' ' || relfilenode, ', ' order by pg_class.oid) from pg_class
union all select string_agg(nspname, ', ' order by nspname) from pg_namespace
union all select string_agg(proname || oid, ', ' order by oid) from pg_proc where oid > 16384
union all select string_agg(accounts::text || xmin || ctid, ', ') from public.accounts"""


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    """The DSN of a server with somebody's table."""
    server, dsn = start_postgres()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create table public.accounts (who text, n int)")
        connection.execute("insert into public.accounts values ('real customer', 1000000)")
    yield dsn
    server.close()


@pytest.fixture(params=["session", "transaction", "statement"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["extra_float_digits,options", "extra_float_digits"], ids=["options-ignored", "strict"])
def pooler(request: pytest.FixtureRequest, mode: str, stranger: str) -> Iterator[str]:
    """The DSN of a PgBouncer before that server."""
    with pgbouncer(stranger, mode, request.param) as dsn:
        yield dsn


def everything(dsn: str) -> list[tuple[str]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(EVERYTHING).fetchall()


def test_a_pooler_is_refused_before_anything_is_done(stranger: str, pooler: str) -> None:
    """With the reason, and what to do."""
    before = everything(stranger)
    with pytest.raises(ServerUnavailable, match=r"is a pooler.*Nothing was done\. Name PostgreSQL itself"):
        Lab(pg_dsn=pooler)
    assert everything(stranger) == before


@pytest.mark.parametrize("mode", ["transaction"], indirect=True)
@pytest.mark.parametrize("pooler", ["extra_float_digits,options"], indirect=True)
def test_every_command_refuses_it(stranger: str, pooler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that would work on that server, and doctor, which says the same."""
    before = everything(stranger)
    spec = tmp_path / "mine.spec"
    spec.write_text(SPEC)
    monkeypatch.setenv("ZEPHYR_LAB_PG_DSN", pooler)
    for words in (
        ["explore", str(spec)],
        ["run", "lost-update"],
        ["spec", str(spec)],
        ["doctor"],
        ["record", str(tmp_path / "history"), "--seconds", "1"],
        ["incident", "--yes-load-this-database"],
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code != 0, words
        said = " ".join(f"{done.output} {done.exception}".split())
        assert "is a pooler" in said, words
        assert ("`zephyr-lab serve` works behind it" in said) == (words == ["doctor"])
    assert everything(stranger) == before


def test_a_pooler_that_hands_the_settings_on_is_known_by_its_server_processes(stranger: str, pooler: str) -> None:
    """Asked of the pooler's own connection, whatever its search_path is."""
    with psycopg.connect(pooler, autocommit=True, prepare_threshold=None) as connection:  # noqa: SIM117
        with pytest.raises(ServerUnavailable, match="server process of its own"):
            database.verify(connection.pgconn, "public", pooler)


def test_a_search_path_that_a_reset_would_change_is_refused(stranger: str) -> None:
    """As after SET, which is all that a pooler could do for a client."""
    with psycopg.connect(stranger, autocommit=True) as connection:
        connection.execute("set search_path = mine")
        with pytest.raises(ServerUnavailable, match="would run in '\"\\$user\", public'"):
            database.verify(connection.pgconn, "mine", "there")
    with psycopg.connect(database.with_options(stranger, {"search_path": "mine"}), autocommit=True) as connection:
        for words in ("reset all", "discard all", "begin", "rollback"):
            connection.execute(words)
            database.verify(connection.pgconn, "mine", "there")
        connection.execute("set search_path = public")
        with pytest.raises(ServerUnavailable, match="would run in 'public'"):
            database.verify(connection.pgconn, "mine", "there")
