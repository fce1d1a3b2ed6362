"""Which SQL may leave the lab's schema, on a server of somebody else's."""

from __future__ import annotations

import pytest

from zephyr_lab.errors import BadInput
from zephyr_lab.lab.case import cases, load_case
from zephyr_lab.servers.bounds import Bounds

BOUNDS = Bounds(["public", "shop", "Odd one"])


@pytest.mark.parametrize(
    "sql",
    [
        "update public.slots set n = 1",
        "select * from PUBLIC . slots",
        'table "public"."slots"',
        'drop table "Odd one".t',
        "do $$ begin execute 'delete from shop.accounts'; end $$",
        "set search_path to x",
        "SET LOCAL search_path = x",
        "select set_config('search_path', 'x', false)",
        "set schema 'x'",
        "alter role me set search_path = x",
        "create schema other",
        "drop schema if exists other",
        "grant all on schema shop to me",
        "create role r",
        "create extension pgcrypto",
        "create event trigger e on ddl_command_end execute function f()",
        "drop owned by me",
        "alter system set jit = off",
        "comment on database postgres is 'x'",
        "select lo_create(1)",
        "select dblink('x')",
        "copy t to '/etc/x'",
        "copy t from program 'ls'",
        "select pg_terminate_backend(1)",
        "vacuum",
        "analyze; select 1",
        "vacuum (full)",
        "reindex database postgres",
        "import foreign schema x from server y into z",
        "alter default privileges grant select on tables to me",
    ],
)
def test_what_may_leave_the_schema_is_refused(sql: str) -> None:
    """By what it names, wherever that stands."""
    with pytest.raises(BadInput, match=r"step a has .* It was not sent"):
        BOUNDS.check(sql, "step a")


@pytest.mark.parametrize(
    "sql",
    [
        "update slots set n = 1",
        "select s.public from slots s",
        "select 'in public'",
        "select n.shopping from n",
        "show search_path",
        "create table users (role text, schema text)",
        "create or replace function f() returns int language sql as 'select 1'",
        "analyze slots",
        "vacuum slots",
        "copy slots from stdin",
        "set role clerk",
        "create trigger t before insert on slots execute function f()",
        "select pg_catalog.now()",
        "grant select on t to me",
        "select * from information_schema.tables",
        "prepare transaction 'x'",
        "select pg_advisory_lock(1)",
    ],
)
def test_what_stays_in_it_is_let_through(sql: str) -> None:
    """Columns, strings and words that only look so."""
    BOUNDS.check(sql, "step a")


@pytest.mark.parametrize("name", cases())
def test_the_labs_own_cases_stay_in_it(name: str) -> None:
    """All of their SQL."""
    for whose, sql in load_case(name).blocks():
        BOUNDS.check(sql, whose)
