"""Statements that drivers and pools send for the connection, not for the program that uses it.

They are sent when a connection is new or returned to its pool: in some schedules and not in others, depending on which
ran first. They are recognised by their exact text; any other statement takes its turn.
"""

from __future__ import annotations

import re
from functools import lru_cache

# These read what no session writes, or settings of the connection.
_ASKS_ABOUT = [
    "select pg_catalog.version()", "select current_schema()",  # SQLAlchemy, of a new engine
    "select t.oid, typarray from pg_type t join pg_namespace ns on typnamespace = ns.oid where typname = 'hstore'",
    "select typname as name, oid, typarray as array_oid, oid::regtype::text as regtype, typdelim as delimiter "
    "from pg_type t where t.oid = to_regtype('hstore') order by t.oid",
    "select current_setting('jit') as cur, set_config('jit', 'off', false) as new",  # asyncpg, before the next two
]  # fmt: skip
_ALSO = re.compile(
    r"with recursive typeinfo_tree\( oid, ns, name, kind, basetype, elemtype, elemdelim, .*"
    r"|select set_config\('jit', '[^']*', false\)"
)
# These reset the connection: asyncpg's pool, and others by DISCARD ALL.
_GIVES_BACK = {
    "select pg_advisory_unlock_all()", "close all", "unlisten *", "reset all", "discard all", "deallocate all",
}  # fmt: skip


def asks_about(sql: str) -> bool:
    """Whether it asks about the connection: its only effect that others can notice is the snapshot that it takes."""
    plain = _plain(sql)
    return plain in _ASKS_ABOUT or bool(_ALSO.fullmatch(plain))


@lru_cache(maxsize=512)
def gives_back(sql: str) -> bool:
    """Whether it resets a connection: its only effect that others can notice is that advisory locks are released."""
    parts = [_plain(part) for part in sql.split(";")]
    return any(parts) and all(part in _GIVES_BACK for part in parts if part)


@lru_cache(maxsize=512)
def _plain(sql: str) -> str:
    return " ".join(sql.lower().split()).rstrip("; ")
